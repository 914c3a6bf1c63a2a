// SPDX-License-Identifier: Apache-2.0
// The operations on the heap as a whole: threads, time, memory back, the backend and its faults.
#include "harness/executor.hpp"
#include "harness/child.hpp"
#include "harness/sizes.hpp"
#include "harness/test_clock.hpp"

#include <cerrno>

namespace mpmm::fuzz {

namespace {

/// An address that is none of the allocator's.
const int some_global = 0;

}  // namespace

void Executor::do_tcache_flush(const Operation&) {
    call([] { mpmm_tcache_flush(); });
    expect_errno_kept("tcache_flush");
}

void Executor::do_tcache_release(const Operation& operation) {
    if (operation.variant % 2 == 0) call([] { mpmm_tcache_release(); });
    else call([&] { threads_->end_for_good(); });
    expect_errno_kept("tcache_release");
}

void Executor::do_tcache_init(const Operation& operation) {
    if (operation.variant % 2 == 0) threads_->revive();
    const int result = mpmm_tcache_init();
    const int wanted = threads_->ended() || backend_refused() ? ENOMEM : 0;
    // The backend may have refused another thread.
    expect(result == wanted || (concurrent_ && result == 0), "tcache_init returned ", result, ", not ", wanted);
}

void Executor::do_lcache_purge(const Operation&) {
    const std::size_t before = backend_.outstanding(), released = mpmm_lcache_purge(), now = backend_.outstanding();
    if (exact()) expect(before - now == released, "lcache_purge says ", released, " bytes, the backend got ", before - now);
}

void Executor::do_purge(const Operation&) {
    if (concurrent_) {
        mpmm_purge();
        return;
    }
    const std::size_t before = checked_stats().purged_bytes, purged = mpmm_purge(), now = checked_stats().purged_bytes;
    expect(now - before == purged, "purge says ", purged, " bytes, the statistics ", now - before);
}

void Executor::do_trim(const Operation& operation) {
    const std::size_t before = backend_.outstanding();
    const int result = mpmm_trim(request_size(operation.size));
    expect(result == 0 || result == 1, "trim returned ", result);
    if (!concurrent_ && backend_.outstanding() < before) expect(result == 1, "trim gave memory back and returned 0");
}

void Executor::do_time(const Operation& operation) {
    static constexpr std::uint16_t steps[] = {1, 2, 10, 50, 200, 600, 2000, 20000};
    advance_clock(steps[operation.size % std::size(steps)]);
}

void Executor::do_option(const Operation& operation) {
    static constexpr const char* settings[][2] = {{"purge", "0"},     {"purge", "1"},     {"decay_ms", "0"},    {"decay_ms", "1"},
                                                  {"decay_ms", "50"}, {"decay_ms", "1k"}, {"cache_limit", "0"}, {"cache_limit", "3m"},
                                                  {"thp", "1"},       {"thp", "0"}};
    const auto& [key, value] = settings[operation.size % std::size(settings)];
    expect(mpmm_set_option(key, value) == 0, "set_option refused ", key, "=", value);
}

void Executor::do_persistent(const Operation& operation) {
    // It is never freed: a process that runs many programs must end somewhere.
    if (persistent_left_ == 0) return;
    --persistent_left_;
    const std::size_t size = operation.size % 129u, alignment = std::size_t{1} << operation.slot % 14u, used = mpmm_persistent_used();
    auto* const block = static_cast<std::byte*>(call([&] { return mpmm_persistent_alloc(size, alignment); }));
    if (alignment > mpmm_backend_page_size()) {
        expect(block == nullptr && mine().errno_after == EINVAL, "persistent_alloc took an alignment of ", alignment);
        return;
    }
    if (block == nullptr) {
        expect_refusal(size, "persistent_alloc");
        return;
    }
    expect_errno_kept("persistent_alloc");
    expect(reinterpret_cast<std::uintptr_t>(block) % alignment == 0, "misaligned: persistent_alloc gave ", block, " for ", alignment);
    expect(!model_.covers(block), "overlap: persistent memory at ", block);
    expect(mpmm_persistent_used() >= used + size, "persistent_used() did not grow");
    Signature::check_zero(block, size);
    persistent_.push_back({block, size, operation.slot});
    Signature::fill(block, size, operation.slot);
}

void Executor::do_backend_memory(const Operation& operation) {
    const std::size_t page = mpmm_backend_page_size(), size = 1 + operation.size, rounded = (size + page - 1) / page * page;
    const std::size_t alignment = operation.slot % 8 == 7 ? 0 : page << operation.slot % 8;
    auto* const memory = static_cast<std::byte*>(call([&] { return mpmm_backend_allocate(size, alignment); }));
    if (memory == nullptr) {
        expect_refusal(size, "backend_allocate");
        return;
    }
    expect(reinterpret_cast<std::uintptr_t>(memory) % (alignment == 0 ? page : alignment) == 0, "misaligned: backend_allocate gave ",
           memory);
    expect(!model_.covers(memory), "overlap: memory from the backend at ", memory);
    memory[0] = memory[rounded - 1] = std::byte{1};
    expect(mpmm_backend_deallocate(memory + 1, size) == EINVAL, "backend_deallocate took an address inside a page");
    mpmm_backend_purge(memory, rounded);
    mpmm_backend_deallocate(memory, size);
}

void Executor::do_fault(const Operation& operation) {
    const auto which = static_cast<TestBackend::Call>(operation.variant % TestBackend::call_count);
    const unsigned times = operation.size % 8 == 7 ? 1000 : operation.size % 8, after = operation.slot % 12u;
    const unsigned wrong = operation.variant / TestBackend::call_count;
    if (reports_ != nullptr && wrong < TestBackend::wrong_count)
        backend_.answer_wrongly(static_cast<TestBackend::Wrong>(wrong), after, times);
    else backend_.refuse(which, after, times);
}

/// The child has the forking thread and all blocks: it checks them, frees those it may, allocates, and looks at what is left.
void Executor::do_fork(const Operation& operation) {
    // A process more costs as much as hundreds of operations.
    if (forked_ || concurrent_ || operation.variant % 8 != 0) return;
    forked_ = true;
    const auto failure = in_child([&]() -> std::optional<Failure> {
        try {
            in_forked_child(operation);
            return std::nullopt;
        } catch (Failure& failed) {
            return failed;
        }
    });
    expect(!failure, "in the forked child: ", failure ? failure->message : "");
}

void Executor::in_forked_child(const Operation& operation) {
    model_.check_all("in the forked child");
    expect(subject_.verify() == 0, "the heap does not verify");
    for (unsigned i = 0; i < 4 && !model_.empty(); ++i)
        give_back(model_.remove(model_.slot(operation.slot + i)), operation.variant, operation.size);
    for (std::uint16_t i = 0; i < 4 && !full(); ++i) {
        const std::size_t size = request_size(static_cast<std::uint16_t>(operation.size + i)) % 100'000;
        obtained(call([&] { return subject_.malloc(size); }), {.size = size, .of_class = true}, "malloc");
    }
    model_.check_all("after the forked child went on");
    expect(subject_.verify() == 0, "the heap does not verify after the forked child went on");
    expect(backend_.misuse().empty(), backend_.misuse());
}

void Executor::do_bad_arguments(const Operation& operation) {
    const auto refused = [&](auto function, int wanted, const char* what) {
        void* const block = call(function);
        expect(block == nullptr && mine().errno_after == wanted, "nonsense: ", what, " gave ", block, " with errno ", mine().errno_after);
    };
    const auto code = [](int result, int wanted, const char* what) { expect(result == wanted, "nonsense: ", what, " returned ", result); };
    const std::size_t size = request_size(operation.size), huge = ~std::size_t{0} - operation.slot;
    switch (operation.variant % 6) {
        case 0:
            refused([&] { return subject_.aligned(0, size); }, EINVAL, "alignment 0");
            refused([&] { return subject_.aligned(3 * (operation.slot + std::size_t{1}), size); }, EINVAL, "alignment 3 n");
            refused([&] { return subject_.aligned_zeroed(~std::size_t{0}, size); }, EINVAL, "alignment -1");
            break;
        case 1:
            refused([&] { return subject_.malloc(huge); }, ENOMEM, "malloc");
            refused([&] { return subject_.zalloc(huge); }, ENOMEM, "zalloc");
            refused([&] { return subject_.aligned(64, huge); }, ENOMEM, "aligned_alloc");
            refused([&] { return subject_.aligned(SIZE_MAX / 2 + 1, 1); }, ENOMEM, "aligned_alloc to half of all memory");
            refused([&] { return subject_.tcache_malloc(huge); }, ENOMEM, "tcache_malloc");
            refused([&] { return subject_.lcache_malloc(huge); }, ENOMEM, "lcache_malloc");
            refused([&] { return mpmm_persistent_alloc(huge, 8); }, ENOMEM, "persistent_alloc");
            refused([&] { return mpmm_backend_allocate(huge, 0); }, ENOMEM, "backend_allocate");
            break;
        case 2:
            refused([&] { return mpmm_persistent_alloc(8, 3); }, EINVAL, "persistent alignment 3");
            refused([&] { return mpmm_backend_allocate(size, 5); }, EINVAL, "backend alignment 5");
            refused([&] { return mpmm_backend_allocate(0, 0); }, EINVAL, "0 bytes of the backend");
            code(mpmm_backend_deallocate(nullptr, size), EINVAL, "backend_deallocate of NULL");
            code(mpmm_backend_purge(nullptr, size), EINVAL, "backend_purge of NULL");
            break;
        case 3: {
            mpmm_backend backend{};
            mpmm_options options{};
            options.backend = &backend;
            code(mpmm_init(&options), EINVAL, "init with struct_size 0");
            options.struct_size = sizeof options;
            code(mpmm_init(&options), EINVAL, "init with an empty backend");
            code(mpmm_init(nullptr), 0, "init with NULL");
            code(mpmm_set_option(nullptr, "1"), EINVAL, "set_option without key");
            code(mpmm_set_option("purge", nullptr), EINVAL, "set_option without value");
            break;
        }
        case 4: {
            mpmm_stats stats{};
            code(mpmm_get_stats(nullptr), EINVAL, "get_stats of NULL");
            code(mpmm_get_stats(&stats), EINVAL, "get_stats with struct_size 0");
            code(mpmm_heap_walk(nullptr, nullptr), EINVAL, "heap_walk without callback");
            break;
        }
        default:
            expect(subject_.round_size(huge) == 0, "nonsense: round_size(", huge, ") is ", subject_.round_size(huge));
            expect(mpmm_good_alignment(huge) == 0, "nonsense: good_alignment(", huge, ") is ", mpmm_good_alignment(huge));
            expect(subject_.usable_size(nullptr) == 0, "nonsense: NULL has a usable size");
            expect(subject_.usable_size(&some_global) == 0, "nonsense: a global has a usable size");
            expect(subject_.malloc_batch(size, 0, nullptr) == 0, "nonsense: a batch of none gave some");
            code(subject_.resize(nullptr, 0, size), 0, "resize of NULL");
            subject_.free(nullptr, size);
            subject_.free_unsized(nullptr);
            break;
    }
}

}  // namespace mpmm::fuzz
