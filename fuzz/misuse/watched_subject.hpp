// SPDX-License-Identifier: Apache-2.0
// The allocator with its reports intercepted and compared with what the program did wrong. Keeps its own list of all blocks, live and freed:
//
//     due       reports that the call which comes next must make, one each
//     damage    of a block, at most one: whoever looks at the block next reports it, once
//
// A report that is neither is a false one.
#pragma once

#include "harness/subject.hpp"
#include "verify/error.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace mpmm::fuzz {

class WatchedSubject : public Subject {
  public:
    /// A report as the callback got it.
    struct Report {
        std::string kind, text;
        const std::byte *address, *block;
        std::size_t size;
    };
    struct Damage {
        report::Kind kind;
        const std::byte* address;  ///< the changed byte that is told
    };
    struct Block {
        std::size_t size = 0;
        std::uint16_t allocated_by = 0, freed_by = 0;  ///< numbers of threads
        std::size_t redzone = 0;                       ///< bytes before and behind it that are its own at least
        std::size_t cost = 0;                          ///< in the quarantine, at most
        bool waits = false;                            ///< freed, and in the quarantine for certain
        bool touched = false;                          ///< freed, and one of its inaccessible pages was made accessible
        std::optional<Damage> damage{};
    };
    using Blocks = std::map<const std::byte*, Block>;
    struct Due {
        report::Kind kind;
        std::optional<report::Kind> or_kind{};  ///< both are right
        const std::byte* address = nullptr;
        bool has_block = false, freed = false;  ///< with these facts
        const std::byte* start = nullptr;
        Block block{};
        const char* word = "";  ///< occurs in the text
    };

    WatchedSubject() = default;
    ~WatchedSubject() override { mpmm_debugger_set_callbacks(nullptr); }
    WatchedSubject(const WatchedSubject&) = delete;
    WatchedSubject& operator=(const WatchedSubject&) = delete;

    /// A run begins. Takes the callbacks and sets the options.
    void begin(unsigned guarding, std::size_t redzone, bool stacks);

    const Blocks& live() const { return live_; }
    const Blocks& freed() const { return freed_; }
    /// The live block to which the address belongs, with its redzones; end() when there is none.
    Blocks::const_iterator owner(const std::byte* address) const { return owner(live_, address); }
    Blocks::const_iterator waiting_owner(const std::byte* address) const;
    /// Whether the allocator still knows the freed block; it must while the block waits.
    bool remembered(Blocks::const_iterator block);

    void due(const Due& due) { due_.push_back(due); }
    /// What follows when the address is given to a function that takes a block, and is none.
    Due due_of_bad_address(const std::byte* address);
    void damage(const std::byte* block, const Damage& damage) { (live_.contains(block) ? live_ : freed_).at(block).damage = damage; }
    void touched(const std::byte* freed) { freed_.at(freed).touched = true; }
    /// Sized calls give a size that is wrong by so much, until it is 0 again.
    void lie(std::size_t by) { lie_ = by; }
    void set_option(const char* key, std::size_t value);

    /// Compares the reports so far with what is due; `touched`: the block whose damage was to be told.
    void settle(const char* what, const std::byte* touched = nullptr) { settle(what, touched, touched); }
    /// A thread gave back all that it had and all that waits for everybody.
    void drained(std::uint16_t thread);

    void* malloc(std::size_t size) override;
    void* zalloc(std::size_t size) override;
    void* aligned(std::size_t alignment, std::size_t size) override;
    void* aligned_zeroed(std::size_t alignment, std::size_t size) override;
    void free(void* block, std::size_t size) override;
    void free_unsized(void* block) override;
    void tcache_free(void* block, std::size_t size) override;
    void lcache_free(void* block, std::size_t size) override;
    void* realloc(void* block, std::size_t old_size, std::size_t size) override;
    int resize(void* block, std::size_t old_size, std::size_t size) override;
    std::size_t malloc_batch(std::size_t size, std::size_t count, void** blocks) override;
    void free_batch(std::size_t size, std::size_t count, void* const* blocks) override;
    void* tcache_malloc(std::size_t size) override;
    void* lcache_malloc(std::size_t size) override;
    std::size_t verify() override;

  private:
    static void take(void* self, const mpmm_debugger_error* error);
    static Blocks::const_iterator owner(const Blocks& blocks, const std::byte* address);
    void* obtained(void* block, std::size_t size, std::size_t alignment, const char* what);
    void changed(void* block, std::size_t size);
    std::size_t told_size(void* block, std::size_t size);
    template <class Function>
    void give(void* block, std::size_t size, Function function);
    void bury(const std::byte* block);
    void nothing_waits();
    /// `telling`: the block whose damage may be told; `told`: the one whose must be told.
    void settle(const char* what, const std::byte* telling, const std::byte* told);
    bool takes_due(const Report& report);
    bool takes_damage(Blocks& blocks, const Report& report, const std::byte* only);

    Blocks live_, freed_;
    std::vector<Report> reports_;
    std::vector<Due> due_;
    std::size_t lie_ = 0, redzone_ = 16, quarantine_ = 0, told_damages_ = 0, refused_ = 0;
    std::size_t freed_bytes_ = 0;  ///< more than all freed blocks cost the quarantine
    bool whole_checks_ = false;    ///< any operation may look at all blocks
};

}  // namespace mpmm::fuzz
