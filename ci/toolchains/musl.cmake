# SPDX-License-Identifier: Apache-2.0
# musl on x86-64 with Debian's musl-tools, which has a C compiler only. The C++ compiler is the system's: its headers over musl's, with
# musl_libstdcxx.hpp to make the two fit, and its libstdc++.a, as far as that needs nothing that only the GNU C library has.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_C_COMPILER musl-gcc)
set(CMAKE_CXX_COMPILER g++)
execute_process(COMMAND g++ -dumpversion OUTPUT_VARIABLE version OUTPUT_STRIP_TRAILING_WHITESPACE)
execute_process(COMMAND g++ -dumpmachine OUTPUT_VARIABLE machine OUTPUT_STRIP_TRAILING_WHITESPACE)

# The kernel's headers, without those of the C library that lie beside them.
set(kernel ${CMAKE_BINARY_DIR}/kernel_headers)
file(MAKE_DIRECTORY ${kernel})
foreach(folder IN ITEMS /usr/include/linux /usr/include/asm-generic /usr/include/${machine}/asm)
    get_filename_component(name ${folder} NAME)
    file(CREATE_LINK ${folder} ${kernel}/${name} SYMBOLIC)
endforeach()

set(CMAKE_C_FLAGS_INIT "-idirafter ${kernel}")
set(CMAKE_CXX_FLAGS_INIT "-nostdinc -nostdinc++ -isystem /usr/include/c++/${version} -isystem /usr/include/${machine}/c++/${version} \
-isystem /usr/include/x86_64-linux-musl -isystem /usr/lib/gcc/${machine}/${version}/include -idirafter ${kernel} \
-include ${CMAKE_CURRENT_LIST_DIR}/musl_libstdcxx.hpp")
# For links of C++ programs; musl-gcc has it.
set(MPMM_MUSL_SPECS /usr/lib/x86_64-linux-musl/musl-gcc.specs)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
