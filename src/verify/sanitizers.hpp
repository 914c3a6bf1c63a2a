// SPDX-License-Identifier: Apache-2.0
// Which of clang's and GCC's sanitizers this is compiled for.
#pragma once

#ifdef __has_feature
#define MPMM_HAS_FEATURE(name) __has_feature(name)
#else
#define MPMM_HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || MPMM_HAS_FEATURE(address_sanitizer)
#define MPMM_ADDRESS_SANITIZER
#endif
#if defined(__SANITIZE_THREAD__) || MPMM_HAS_FEATURE(thread_sanitizer)
#define MPMM_THREAD_SANITIZER
#endif
