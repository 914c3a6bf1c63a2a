// SPDX-License-Identifier: Apache-2.0
// The verify seam: what the allocator tells a verifier, as a compile-time policy. NoVerify is empty and compiles to nothing; FullVerify
// checks the structures at each seam. The seams are few and named; algorithms call them unconditionally.
#pragma once

#include "verify/full_verify.hpp"

#include <cstdint>

namespace mpmm {

/// Sees the private parts of every structure: the check of the whole heap, and tests that break something.
template <class C>
struct Inspector;

struct NoVerify {
    static constexpr bool enabled = false;
    template <unsigned Words>
    struct BlockRecord {};
    struct BinRecord {};
    struct RunRecord {};
    struct CacheRecord {};
    struct Hold {
        explicit Hold(CacheRecord&) {}
    };

    template <class B, class Memory>
    static bool prepare(B&, Memory&, bool) {
        return true;
    }
    template <class B>
    static void created(B&) {}
    template <class B>
    static void handed_out(B&, unsigned) {}
    template <class B>
    static void aimed(BinRecord&, B&, unsigned) {}
    template <class B>
    static void handed_out_from(BinRecord&, unsigned) {}
    template <class B>
    static bool returned(B&, unsigned) {
        return true;
    }
    template <class B>
    static void remote_published(B&, unsigned, std::uint64_t) {}
    template <class B>
    static void drained(B&) {}
    template <class B>
    static void taken_over(B&, unsigned, std::uint64_t) {}
    template <class B>
    static void withdrawn(B&, unsigned, std::uint64_t) {}
    template <class B>
    static void owner_changed(B&, std::uintptr_t, std::uintptr_t) {}
    template <class B>
    static void owner_is(B&, std::uintptr_t) {}
    template <class B>
    static void listed(B&, bool) {}
    template <class B>
    static void given_back(B&) {}
    template <class B>
    static void after_fork(B&) {}
    static void thread_ends() {}
    static void cache_after_fork(CacheRecord&, bool) {}
    template <class Visit>
    static void for_each_lock(CacheRecord&, Visit) {}
};

#ifdef MPMM_VERIFY_BUILD
using BuildVerify = FullVerify;
#else
using BuildVerify = NoVerify;
#endif

}  // namespace mpmm
