// SPDX-License-Identifier: Apache-2.0
//
// What the whole-process workloads share. Each workload is a program that does a fixed amount of work from fixed seeds through
// plain malloc/free/new/delete, so that LD_PRELOAD decides which allocator it measures. It takes one optional argument, a
// factor for the amount of work, and prints "checksum HEX", the same under every allocator that keeps the contents of blocks
// intact. Lines "metric NAME VALUE" carry measurements that do depend on the allocator.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

namespace workload {

/// A small, fast generator of 64-bit numbers; the same seed gives the same sequence everywhere.
class Random {
  public:
    explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 0x632be59bd9b4e019u) {}

    std::uint64_t next() {
        state_ += 0x9e3779b97f4a7c15u;
        std::uint64_t mixed = state_;
        mixed = (mixed ^ (mixed >> 32)) * 0xd6e8feb86659fd93u;
        mixed = (mixed ^ (mixed >> 32)) * 0xd6e8feb86659fd93u;
        return mixed ^ (mixed >> 32);
    }

    /// A number in [0, bound), for bounds up to 2^32.
    std::size_t below(std::size_t bound) { return static_cast<std::size_t>(((next() >> 32) * bound) >> 32); }

    /// A number in [low, high].
    std::size_t between(std::size_t low, std::size_t high) { return low + below(high - low + 1); }

  private:
    std::uint64_t state_;
};

/// Keeps the compiler from proving that the memory is unused, and from removing a malloc/free pair.
inline void escape(void* pointer) { asm volatile("" : : "g"(pointer) : "memory"); }

/// One allocated block that knows its size; its first and last byte are written, and read again when it is released.
struct Block {
    unsigned char* data = nullptr;
    std::size_t size = 0;
};

[[noreturn]] inline void fail(const char* what) {
    std::fprintf(stderr, "workload failed: %s\n", what);
    std::exit(EXIT_FAILURE);
}

inline Block take(std::size_t size, std::uint64_t stamp) {
    auto* data = static_cast<unsigned char*>(std::malloc(size));
    if (data == nullptr) fail("out of memory");
    data[0] = static_cast<unsigned char>(stamp);
    data[size - 1] = static_cast<unsigned char>(stamp + size);
    escape(data);
    return {data, size};
}

/// Frees the block and returns a number made from what it held; an empty block gives 0.
inline std::uint64_t release(Block& block) {
    if (block.data == nullptr) return 0;
    const std::uint64_t held = block.size * 0x10001u + block.data[0] * 0x101u + block.data[block.size - 1];
    std::free(block.data);
    block = {};
    return held;
}

/// Writes one byte in every page.
inline void touch(Block& block, std::uint64_t stamp) {
    for (std::size_t offset = 0; offset < block.size; offset += 4096) block.data[offset] = static_cast<unsigned char>(stamp);
    escape(block.data);
}

/// The memory of this process that is resident now, in bytes. Does not allocate.
inline std::size_t resident_bytes() {
    std::array<char, 128> text{};
    const int file = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (file < 0) fail("cannot open /proc/self/statm");
    const ssize_t length = ::read(file, text.data(), text.size() - 1);
    ::close(file);
    unsigned long total = 0;
    unsigned long resident = 0;
    if (length <= 0 || std::sscanf(text.data(), "%lu %lu", &total, &resident) != 2) fail("cannot read /proc/self/statm");
    return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

/// A queue with a bounded number of items between threads.
template <typename Item>
class Channel {
  public:
    explicit Channel(std::size_t capacity) : capacity_(capacity) {}

    void push(Item item) {
        std::unique_lock lock(mutex_);
        not_full_.wait(lock, [this] { return items_.size() < capacity_; });
        items_.push_back(std::move(item));
        not_empty_.notify_one();
    }

    Item pop() {
        std::unique_lock lock(mutex_);
        not_empty_.wait(lock, [this] { return !items_.empty(); });
        Item item = std::move(items_.front());
        items_.pop_front();
        not_full_.notify_one();
        return item;
    }

  private:
    std::mutex mutex_;
    std::condition_variable not_full_;
    std::condition_variable not_empty_;
    std::deque<Item> items_;
    std::size_t capacity_;
};

/// The factor given on the command line; 1 without one.
inline double scale_of(int argc, char** argv) {
    if (argc < 2) return 1.0;
    char* end = nullptr;
    const double scale = std::strtod(argv[1], &end);
    if (end == argv[1] || *end != '\0' || !(scale > 0.0)) fail("the argument is a positive factor for the amount of work");
    return scale;
}

inline std::size_t scaled(double scale, std::size_t count) {
    const double result = scale * static_cast<double>(count);
    return result < 1.0 ? 1 : static_cast<std::size_t>(result);
}

/// An almost idle program: a few blocks come and go every 10 ms, for 3 s at scale 1.
inline std::uint64_t light_traffic(double scale, std::uint64_t seed) {
    Random random(seed);
    std::array<Block, 64> blocks{};
    std::uint64_t checksum = 0;
    for (std::size_t step = scaled(scale, 300); step != 0; --step) {
        for (Block& block : blocks) {
            checksum += release(block);
            block = take(random.between(16, 1024), random.next());
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    for (Block& block : blocks) checksum += release(block);
    return checksum;
}

inline void print_metric(const char* name, double value) { std::printf("metric %s %.4f\n", name, value); }

inline int finish(std::uint64_t checksum) {
    std::printf("checksum %016llx\n", static_cast<unsigned long long>(checksum));
    return EXIT_SUCCESS;
}

}  // namespace workload
