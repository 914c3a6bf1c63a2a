#!/bin/bash -eu
# SPDX-License-Identifier: Apache-2.0
#
# Builds all fuzz targets with the compiler, flags and engine of OSS-Fuzz's or ClusterFuzzLite's environment, and puts them into $OUT with
# their seed corpora, dictionaries and options. Runs in their images; ci/oss-fuzz/check runs it anywhere.

source=$SRC/mpmm
build=$WORK/mpmm-$SANITIZER
# Optimisation and debug information are the flags' as well: no build type. The images that run the targets have no Boost.
cmake -S "$source" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE= -DMPMM_BUILD_FUZZ=ON -DMPMM_BUILD_TESTS=OFF -DMPMM_BUILD_TOOLS=OFF \
    -DMPMM_FUZZ_ENGINE="$LIB_FUZZING_ENGINE" -DMPMM_SANITIZE="$SANITIZER" -DBoost_USE_STATIC_LIBS=ON
mapfile -t targets < <(cut -d ' ' -f 1 "$build/fuzz_targets")
cmake --build "$build" --target "${targets[@]}"

while read -r target corpus options; do
    cp "$build/bin/$target" "$OUT/"
    rm -f "$OUT/${target}_seed_corpus.zip"
    zip -q -j "$OUT/${target}_seed_corpus.zip" "$source/fuzz/corpus/$corpus"/*
    echo "[libfuzzer]" >"$OUT/$target.options"
    for option in $options; do
        case $option in
            -dict=*) cp "$source/${option#-dict=}" "$OUT/$target.dict" ;;
            -*=*) sed -E 's/^-([a-z_]+)=(.*)/\1 = \2/' <<<"$option" >>"$OUT/$target.options" ;;
        esac
    done
done <"$build/fuzz_targets"
