# SPDX-License-Identifier: Apache-2.0
# What is compiled on Windows beside what every system has, and how its libraries are made. See docs/platforms/windows.md.
list(APPEND core backend/system_backend_windows.cpp platform/memory_windows.cpp platform/os_windows.cpp platform/thread_windows.cpp)
list(APPEND verify
    platform/fault_windows.cpp
    platform/modules_windows.cpp
    platform/reader_windows.cpp
    platform/roots_windows.cpp
    platform/stop_world_windows.cpp
    platform/unwind_windows.cpp
    verify/symbolize_plain.cpp)
# operator new and delete; the C library's functions cannot be replaced from outside of it.
list(APPEND drop_in malloc/new_runtime_windows.cpp)
set(interpose)
# For the test that reads them as MSVC would.
set_property(GLOBAL PROPERTY mpmm_windows_verify ${core} ${drop_in} ${verify})

function(mpmm_windows_library target kind)
    if(kind STREQUAL "SHARED")
        # mpmm.dll, whatever the compiler.
        set_target_properties(${target} PROPERTIES PREFIX "")
        target_compile_definitions(${target} INTERFACE MPMM_SHARED)
        if(NOT MSVC)
            target_link_options(${target} PRIVATE -static-libgcc)
        endif()
    elseif(MSVC)
        # The DLL's import library has the other name.
        set_target_properties(${target} PROPERTIES ARCHIVE_OUTPUT_NAME ${target}_static)
    endif()
endfunction()
