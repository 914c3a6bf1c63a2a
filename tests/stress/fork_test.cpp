// SPDX-License-Identifier: Apache-2.0
// fork() in a process whose other threads are anywhere in the allocator: it works on in parent and child.
#include "stress/stress_support.hpp"

#include <array>
#include <atomic>
#include <cstring>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace mpmm::test {
namespace {

/// The child of a process whose other threads were anywhere in the allocator: everything must work there too.
[[noreturn]] void child_of_fork(const std::vector<Parcel*>& inherited) {
    int wrong = 0;
    for (Parcel* const parcel : inherited) {
        wrong += !parcel->whole(parcel->size);
        mpmm_free(parcel, parcel->size);
    }
    const auto work = [&] {
        void* blocks[100];
        for (std::size_t i = 0; i < 100; ++i) std::memset(blocks[i] = mpmm_malloc(i * i * 3 + 1), 1, i * i * 3 + 1);
        for (void* const block : blocks) mpmm_free_unsized(block);
    };
    work();
    std::thread one(work), two(work);
    one.join();
    two.join();
    if (wrong != 0) ::_exit(10);
    if (mpmm_verify_heap() != 0) ::_exit(11);
    mpmm_trim(0);
    ::_exit(mpmm_verify_heap() == 0 ? 0 : 12);
}

/// The child frees blocks of the thread that forks, and blocks that the other threads made earlier and still work beside. What those do
/// during the fork itself it cannot know: the kernel copies page after page while they run.
TEST_F(Stress, ForkWithLiveThreads) {
    static std::array<std::atomic<Parcel*>, 64> table;
    std::atomic<bool> over{false};
    std::atomic<int> wrong{0}, ready{0};
    std::vector<std::thread> running;
    std::array<std::vector<Parcel*>, 3> foreign;
    for (unsigned number = 0; number < foreign.size(); ++number)
        running.emplace_back([&, number] {
            std::mt19937_64 random(number);
            for (int i = 0; i < 200; ++i) foreign[number].push_back(new_parcel(random));
            ++ready;
            while (!over.load()) {
                Parcel* const parcel = new_parcel(random);
                if (Parcel* const old = table[random() % table.size()].exchange(parcel, std::memory_order_acq_rel); old != nullptr) {
                    wrong += !old->whole(old->size);
                    mpmm_free(old, old->size);
                }
                if (random() % 2000 == 0) mpmm_purge();
            }
        });
    while (ready.load() != static_cast<int>(foreign.size())) std::this_thread::yield();
    std::mt19937_64 random(99);
    int status = 0;
    for (int repeat = 0; repeat < 300 / scale && status == 0; ++repeat) {
        std::vector<Parcel*> own;
        for (int i = 0; i < 100; ++i) own.push_back(new_parcel(random));
        const pid_t child = ::fork();
        if (child == 0) {
            ::alarm(20);
            for (const auto& parcels : foreign) own.insert(own.end(), parcels.begin(), parcels.end());
            child_of_fork(own);
        }
        for (Parcel* const parcel : own) {
            wrong += !parcel->whole(parcel->size);
            mpmm_free(parcel, parcel->size);
        }
        EXPECT_EQ(::waitpid(child, &status, 0), child);
        EXPECT_EQ(status, 0) << "wait status of child " << repeat;
    }
    over.store(true);
    for (std::thread& thread : running) thread.join();
    for (const auto& parcels : foreign)
        for (Parcel* const parcel : parcels) mpmm_free(parcel, parcel->size);
    for (auto& slot : table)
        if (Parcel* const left = slot.exchange(nullptr); left != nullptr) mpmm_free(left, left->size);
    EXPECT_EQ(wrong.load(), 0);
}

}  // namespace
}  // namespace mpmm::test
