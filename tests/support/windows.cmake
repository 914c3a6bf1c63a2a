# SPDX-License-Identifier: Apache-2.0
# Which tests run on Windows. What is left out, and why, is in docs/platforms/windows.md.
list(APPEND layer_tests backend/backend_windows_test.cpp platform/os_windows_test.cpp)
set(no_fork verify/fork_locks_test.cpp)

function(mpmm_windows_tests)
    add_subdirectory(api)
    add_subdirectory(stress)
endfunction()
