#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# msvc_syntax.sh SOURCE_DIR FLAG FILE…: has clang read sources as MSVC would, as far as that goes without MSVC: the target is its own, and so are the
# branches of platform/compiler.hpp and the intrinsics; the headers of the C and C++ libraries are MinGW's.
set -euo pipefail
source=$1 flag=$2
shift 2
headers=$(dirname "$(x86_64-w64-mingw32-g++-posix -print-libgcc-file-name)")/include
failed=0
for file in "$@"; do
    clang++-19 --target=x86_64-pc-windows-msvc -fsyntax-only -std=c++20 -fms-compatibility -fms-extensions -fcxx-exceptions -pedantic-errors \
        -Wno-everything -Werror=unknown-attributes -fgnuc-version=12.2.0 -U_MSC_VER -D__STRICT_ANSI__ \
        -D__MINGW32__ -D__MINGW64__ -D_WIN64 "-D__declspec(x)=__declspec(x)" "-D__int64=long long" -DMPMM_MSVC=1 -D_M_X64=100 \
        -nostdinc++ -isystem "$headers/c++" -isystem "$headers/c++/x86_64-w64-mingw32" -isystem /usr/x86_64-w64-mingw32/include \
        "-I$source/src" "-I$source/include" -DMPMM_BUILD -DMPMM_VERSION='"0"' "$flag" "$source/src/$file" || failed=1
done
exit "$failed"
