// SPDX-License-Identifier: Apache-2.0
// The helper's half of stop_world: traces the threads of a process, and knows where they stand. Runs on the helper's stack, with raw
// system calls only.
//
//             seize             reports a stop                    detach
//   unknown ────────▶ pending ────────────────▶ stopped ─────────────────▶ runs on
//                        │ sleeps where no signal reaches it: asleep, it stops before it runs again
//                        │ ended: gone
#pragma once

#include "platform/stop_world.hpp"
#include "platform/raw_syscall.hpp"

#ifdef MPMM_RAW_SYSCALL

namespace mpmm::stop_world {

class Stopper {
  public:
    /// Room for a thread's registers: general, and the first part of the vector unit's.
    static constexpr std::size_t register_room = 512;
    struct Record {
        enum class State : std::uint8_t { pending, stopped, asleep, gone };
        int tid;
        State state;
        /// What it was about to be told when it stopped; it is told when it goes on.
        std::uint8_t signal;
    };
    /// Its memory, in pages that read as zero.
    struct Tables {
        Record records[max_threads];
        Thread threads[max_threads];
        std::uintptr_t registers[max_threads][register_room];
    };

    Stopper(Tables& tables, int task_directory) : tables_(tables), directory_(task_directory) {}

    /// False when one of the threads cannot be traced, or does not stop in time.
    bool stop_all();
    /// Fills the table of threads; returns how many there are.
    std::size_t read_registers();
    void release_all();

  private:
    enum class Seized { yes, ended, refused };

    Seized seize(int tid);
    /// Seizes the threads not known yet. False when one refuses; `fresh` becomes how many there were.
    bool seize_new(std::size_t& fresh);
    bool wait_all();
    /// Looks whether a thread stopped or ended meanwhile.
    bool poll(Record& record);
    bool read_stopped(const Record& record, Thread& thread, std::uintptr_t (&registers)[register_room]);
    void read_asleep(const Record& record, Thread& thread, std::uintptr_t (&registers)[register_room]);

    Tables& tables_;
    int directory_;
    std::size_t count_ = 0;
};

}  // namespace mpmm::stop_world

#endif
