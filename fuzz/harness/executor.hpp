// SPDX-License-Identifier: Apache-2.0
// Runs a program against the allocator and judges every answer by the model.
//
// After each operation: what was handed out is apart from everything live, aligned, long enough and where promised zero; errno is what
// mpmm.h says; contents are kept. At the end everything is freed, and the heap must be as empty as before, down to the backend.
//
// When a check fails the allocator's state is unknown: the process should do no more runs.
#pragma once

#include "harness/model.hpp"
#include "harness/operation.hpp"
#include "harness/races.hpp"
#include "harness/subject.hpp"
#include "harness/test_backend.hpp"
#include "harness/virtual_threads.hpp"

#include <iosfwd>
#include <optional>

namespace mpmm::fuzz {

class Executor {
  public:
    /// Of more live blocks no operation makes another.
    static constexpr std::size_t max_blocks = 1500;

    explicit Executor(Subject& subject) : subject_(subject) {}
    virtual ~Executor() = default;

    /// Runs the program; nothing when all checks held. Every operation is written to `steps` before it runs, when that is given.
    std::optional<Failure> run(const Program& program, std::ostream* steps = nullptr);
    /// From now on the backend also answers wrongly, and refuses what `fault` operations say; `reports` says how often it was reported.
    void let_backend_misbehave(const std::size_t& reports) { reports_ = &reports; }
    /// Each run begins with the backend told to refuse this.
    void refuse_from_the_start(TestBackend::Call call, unsigned after, unsigned times) { first_refusal_ = {call, after, times}; }

  protected:
    /// What a request's block must be besides apart from all others.
    struct Wanted {
        std::size_t size = 0;
        std::size_t alignment = 1;
        bool zeroed = false;
        bool of_class = false;  ///< exactly what round_size() says, with the natural alignment of its size
    };
    struct Persistent {
        std::byte* address;
        std::size_t size;
        std::uint64_t seed;
    };

    /// Everything as a run begins.
    virtual void prepare(std::uint8_t flavour);
    void step(const Operation& operation);
    /// What the operation does, in its thread.
    virtual void perform(const Operation& operation);
    /// Everything is freed, and checked to be gone.
    void finish();

    /// Calls `function` with a known errno, and notes the errno afterwards.
    template <class Function>
    auto call(Function function) {
        struct Note {
            Executor& self;
            explicit Note(Executor& executor) : self(executor) { errno = no_errno; }
            ~Note() { self.mine().errno_after = errno; }
        } note(*this);
        const races::Watched watched;
        return function();
    }
    void expect_errno_kept(const char* what) const;
    /// NULL is right when the size is impossible or the backend refused; ENOMEM tells it.
    void expect_refusal(std::size_t size, const char* what) const;
    bool backend_refused() const { return backend_.refused_allocations() != mine().refused_before; }
    /// Whether the numbers of the heap and of the backend can be compared.
    bool exact() const { return !flavour_.system && !concurrent_; }
    /// Judges the answer to a request and puts it into the model.
    void obtained(void* block, const Wanted& wanted, const char* what);
    void check_block(void* block, const Wanted& wanted, const char* what);
    bool full() const { return model_.size() >= max_blocks; }
    std::size_t bounded_size(std::uint16_t selector) const;
    std::size_t zeroed_size(std::size_t size) const;
    void give_back(const Model::Block& block, unsigned how, std::size_t other_size);
    void give_back_all(const std::vector<Model::Block>& blocks, const Operation& operation);

    // operations_blocks.cpp
    void do_malloc(const Operation& operation);
    void do_zalloc(const Operation& operation);
    void do_aligned(const Operation& operation);
    void do_malloc_batch(const Operation& operation);
    void do_free(const Operation& operation);
    void do_free_range(const Operation& operation);
    void do_free_sparse(const Operation& operation);
    void do_free_batch(const Operation& operation);
    void do_realloc(const Operation& operation);
    void do_resize(const Operation& operation);
    void do_pairs(const Operation& operation);
    void do_tcache_malloc(const Operation& operation);
    void do_lcache_malloc(const Operation& operation);

    // operations_heap.cpp
    void do_tcache_flush(const Operation& operation);
    void do_tcache_release(const Operation& operation);
    void do_tcache_init(const Operation& operation);
    void do_lcache_purge(const Operation& operation);
    void do_purge(const Operation& operation);
    void do_trim(const Operation& operation);
    void do_time(const Operation& operation);
    void do_option(const Operation& operation);
    void do_persistent(const Operation& operation);
    void do_backend_memory(const Operation& operation);
    void do_fault(const Operation& operation);
    void do_bad_arguments(const Operation& operation);
    void in_forked_child(const Operation& operation);

    // operations_look.cpp
    void do_stats(const Operation& operation);
    void do_walk(const Operation& operation);
    void do_verify(const Operation& operation);
    void do_find(const Operation& operation);
    void do_check(const Operation& operation);
    void do_fork(const Operation& operation);
    mpmm_stats checked_stats();
    void check_walk();
    void flush_all();

    static constexpr int no_errno = 9999;
    static constexpr unsigned max_persistent = 2000;

    Subject& subject_;
    TestBackend& backend_ = TestBackend::instance();
    Flavour flavour_;
    Model model_;
    std::vector<Persistent> persistent_;
    std::optional<VirtualThreads> threads_;
    const std::size_t* reports_ = nullptr;
    std::size_t unreported_ = 0;  ///< wrong answers less reports, before the run
    struct {
        TestBackend::Call call = TestBackend::Call::allocate;
        unsigned after = 0, times = 0;
    } first_refusal_;
    std::size_t mapped_base_ = 0;
    unsigned persistent_left_ = max_persistent;
    bool forked_ = false;
    /// Zeroing and copying more than this would be all a run does.
    std::size_t max_written_ = std::size_t{16} << 20;
    bool concurrent_ = false;  ///< other threads may be in the middle of an operation

  private:
    /// What the operation that a thread is in has seen so far.
    struct Seen {
        int errno_after = 0;
        std::size_t refused_before = 0;
    };
    Seen& mine() { return seen_[VirtualThreads::here()]; }
    const Seen& mine() const { return seen_[VirtualThreads::here()]; }

    Seen seen_[thread_count];
};

}  // namespace mpmm::fuzz
