// SPDX-License-Identifier: Apache-2.0
// What the stress tests share: measures, and blocks that say what they hold.
#pragma once

#include "mpmm/mpmm.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>
#include <random>

namespace mpmm::test {

inline mpmm_stats stats() {
    mpmm_stats result{};
    result.struct_size = sizeof result;
    EXPECT_EQ(mpmm_get_stats(&result), 0);
    return result;
}

/// Bytes of this process in memory. Sanitizers have shadows that grow by themselves, and emulators keep something of every thread; there only
/// the allocator's own count means something.
inline std::size_t resident() {
#if defined(MPMM_TEST_SANITIZED) || defined(MPMM_TEST_EMULATOR)
    return 0;
#else
    unsigned long total = 0, pages = 0;
    std::FILE* const file = std::fopen("/proc/self/statm", "r");
    EXPECT_NE(file, nullptr);
    EXPECT_EQ(std::fscanf(file, "%lu %lu", &total, &pages), 2);
    std::fclose(file);
    return pages * 4096;
#endif
}

/// Work is scaled down where every access is instrumented.
#ifdef MPMM_TEST_SANITIZED
inline constexpr int scale = 4;
#else
inline constexpr int scale = 1;
#endif
inline constexpr std::size_t mib = std::size_t{1} << 20;

/// What verify withholds by its options: freed blocks in the quarantine, and in the threads' parts of it.
inline std::size_t withheld() {
    const char* const options = std::getenv("MPMM_OPTIONS");
    const bool none = options != nullptr && std::strstr(options, "quarantine_bytes=0") != nullptr;
    return none || std::strstr(mpmm_version(), "+verify") == nullptr ? 0 : 24 * mib;
}

class Stress : public ::testing::Test {
  protected:
    void TearDown() override {
        EXPECT_EQ(mpmm_verify_heap(), 0u);
        EXPECT_EQ(stats().used_blocks, 0u) << "blocks are lost";
        mpmm_trim(0);
        EXPECT_EQ(mpmm_verify_heap(), 0u);
    }
};

/// A block that says what it holds. Every byte follows from the seed.
struct Parcel {
    std::size_t size;
    std::uint64_t seed;

    static unsigned char byte(std::uint64_t seed, std::size_t i) { return static_cast<unsigned char>(seed + i * 7 + i / 255); }
    unsigned char* bytes() { return reinterpret_cast<unsigned char*>(this); }
    void fill(std::size_t from) {
        for (std::size_t i = from; i < size; i += size > 20000 ? 97 : 1) bytes()[i] = byte(seed, i);
    }
    bool whole(std::size_t up_to) {
        for (std::size_t i = sizeof(Parcel); i < up_to; i += size > 20000 ? 97 : 1)
            if (bytes()[i] != byte(seed, i)) return false;
        return true;
    }
};

inline std::size_t random_size(std::mt19937_64& random) {
    const std::uint64_t kind = random() % 1000;
    if (kind < 2) return 2 * mib + random() % (4 * mib);
    if (kind < 20) return random() % 200000 + sizeof(Parcel);
    if (kind < 200) return random() % 8000 + sizeof(Parcel);
    return random() % 500 + sizeof(Parcel);
}

inline Parcel* new_parcel(std::mt19937_64& random) {
    const std::size_t size = random_size(random);
    auto* const parcel = ::new (mpmm_malloc(size)) Parcel{size, random()};
    parcel->fill(sizeof(Parcel));
    return parcel;
}

}  // namespace mpmm::test
