// SPDX-License-Identifier: Apache-2.0
// Programs that commit heap errors. Between the operations of all programs there are some that give freed blocks, addresses inside of
// blocks and foreign ones to functions that take blocks, lie about sizes, and write where no block is, or no more. Each error must be
// reported once, at the latest when the documentation says, with its kind, block, size and threads; nothing else may be reported; and the
// heap goes on, so that everything else is judged as without errors.
//
// Not committed, because the documentation does not promise that they are found: reads outside of guarded blocks; writes beyond redzones;
// writes to freed blocks that left the quarantine; frees of a block whose address somebody else got meanwhile. Wrong families need the
// functions of the drop-in library, see fuzz_malloc_abi.cpp; leaks need the process to stand still.
#pragma once

#include "harness/executor.hpp"
#include "misuse/watched_subject.hpp"

namespace mpmm::fuzz {

class MisuseExecutor : public Executor {
  public:
    MisuseExecutor() : Executor(subject_) {}

  private:
    void prepare(std::uint8_t flavour) override;
    void perform(const Operation& operation) override;

    void do_free_again(const Operation& operation);
    void do_free_inside(const Operation& operation);
    void do_free_foreign(const Operation& operation);
    void do_free_twice(const Operation& operation);
    void do_wrong_size(const Operation& operation);
    void do_write_behind(const Operation& operation);
    void do_write_before(const Operation& operation);
    void do_write_freed(const Operation& operation);
    void do_touch_guarded(const Operation& operation);
    void do_ask_garbage(const Operation& operation);
    void do_verify_option(const Operation& operation);

    /// The address, which is no block, to one of the functions that take blocks.
    void give_bad_address(std::byte* address, const WatchedSubject::Due& due, const Operation& operation);
    struct Foreign {
        std::byte* address;
        const char* where = "";  ///< as a report says it
    };
    /// A foreign address, valid until give_back_borrowed().
    Foreign foreign_address(const Operation& operation);
    void give_back_borrowed();
    void write(const std::byte* block, const std::byte* first, std::size_t count, const WatchedSubject::Damage& damage,
               const Operation& operation);
    /// A touch of a page that must not be touched.
    void touch(WatchedSubject::Blocks::const_iterator block, bool freed, report::Kind kind, const std::byte* address, bool writes);

    WatchedSubject subject_;
    void* borrowed_ = nullptr;
};

}  // namespace mpmm::fuzz
