# SPDX-License-Identifier: Apache-2.0
# Which tests run on Windows. What is left out, and why, is in docs/platforms/windows.md.
list(APPEND layer_tests backend/backend_windows_test.cpp platform/os_windows_test.cpp)
set(no_fork verify/fork_locks_test.cpp)

function(mpmm_windows_tests)
    mpmm_internal_test(windows_machinery_test mpmm_verify_objects platform/windows_machinery_test.cpp)
    target_compile_definitions(windows_machinery_test PRIVATE MPMM_VERIFY_BUILD)
    foreach(mode IN ITEMS malloc malloc_verify)
        set(target windows_new_test_${mode})
        add_executable(${target} malloc/windows_new_test.cpp)
        target_link_libraries(${target} PRIVATE mpmm_test_warnings mpmm::${mode}_static GTest::gtest_main Threads::Threads)
        mpmm_add_suites(${target} malloc/windows_new_test.cpp)
    endforeach()
    add_executable(windows_dll_test api/windows_dll_test.cpp)
    target_link_libraries(windows_dll_test PRIVATE mpmm_test_warnings GTest::gtest_main Threads::Threads)
    add_dependencies(windows_dll_test mpmm_shared mpmm_verify_shared)
    add_test(NAME windows_dll_test COMMAND windows_dll_test)
    find_program(clang NAMES clang++-19)
    if(MINGW AND clang)
        # Where the two modes differ, and all else.
        add_test(NAME msvc_syntax.release COMMAND ${PROJECT_SOURCE_DIR}/tests/structure/msvc_syntax.sh ${PROJECT_SOURCE_DIR} -DNDEBUG
                                                  api/mpmm.cpp malloc/new_delete.cpp verify/report.cpp)
        get_property(sources GLOBAL PROPERTY mpmm_windows_verify)
        add_test(NAME msvc_syntax.verify COMMAND ${PROJECT_SOURCE_DIR}/tests/structure/msvc_syntax.sh ${PROJECT_SOURCE_DIR} -DMPMM_VERIFY_BUILD ${sources})
    endif()
    add_subdirectory(api)
    if(NOT MSVC)
        # POSIX threads.
        add_subdirectory(stress)
    endif()
endfunction()
