// SPDX-License-Identifier: Apache-2.0
/// The models allocate much and shortly: long stacks and a long quarantine for them would cost more than the runs.
extern "C" const char* __asan_default_options() { return "malloc_context_size=3:quarantine_size_mb=1"; }
/// The input that ran when a race was found is the one to keep.
extern "C" const char* __tsan_default_options() { return "halt_on_error=1"; }
