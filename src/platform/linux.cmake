# SPDX-License-Identifier: Apache-2.0
# What is compiled on Linux beside what every system has.
list(APPEND core backend/system_backend.cpp platform/os_linux.cpp platform/thread_posix.cpp)
list(APPEND verify
    platform/child_process.cpp
    platform/elf.cpp
    platform/fault_posix.cpp
    platform/modules.cpp
    platform/reader.cpp
    platform/roots.cpp
    platform/stop_world.cpp
    platform/stopper.cpp
    platform/thread_stacks.cpp
    platform/unwind_cfi.cpp
    platform/unwind_find.cpp
    platform/unwind_frame_pointer.cpp
    platform/unwind_full.cpp
    platform/unwind_stack.cpp
    platform/unwind_x86_64.cpp
    verify/symbolize.cpp
    verify/symbolizer_tool.cpp)
list(APPEND drop_in malloc/malloc.cpp malloc/new_runtime.cpp)
set(interpose malloc/interpose.cpp)
