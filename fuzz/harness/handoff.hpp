// SPDX-License-Identifier: Apache-2.0
// Programs that hand a block from one thread to another order the two somehow. So does the model: who takes a block out of it sees all that
// its maker did. In the builds with one thread at a time that is so anyway.
#pragma once

#ifdef MPMM_SCHEDULE_BUILD
#include "schedule/fiber_scheduler.hpp"
#endif

namespace mpmm::fuzz {

#ifdef MPMM_SCHEDULE_BUILD
class Handoff {
  public:
    void leave();
    void pick_up() const;

  private:
    VectorClock clock_;
};
#else
class Handoff {
  public:
    void leave() {}
    void pick_up() const {}
};
#endif

}  // namespace mpmm::fuzz
