// SPDX-License-Identifier: Apache-2.0
// The models allocate much and shortly: long stacks and a long quarantine for them would cost more than the runs.
extern "C" const char* __asan_default_options() { return "malloc_context_size=3:quarantine_size_mb=1"; }
