// SPDX-License-Identifier: Apache-2.0
// Who may take blocks from a block allocator, and how a full one comes back: the owner word, the two bitmaps, recovered lists, orphans
// and slots, while threads allocate, free, end and begin, in every interleaving. ownership.py explores it with spin.
//
// Each atomic access of the allocator is one step; `//=` behind it quotes the source, and ownership.py checks that the text is there.
// Accesses share a step only where no other thread can tell: what only this thread writes is read, or it follows lock() or precedes
// unlock(). Memory is sequentially consistent, but for the one relaxed counter the protocol reads, which may be old.
//
// Threads have neither end nor script: who has nothing to do chooses anything it may do, for ever, so every number of operations is
// covered. What is bounded is said by the constants below.
//
// Bins and combining buffers are left out, because other threads cannot see them. Instead, a thread takes any free block of its current
// block allocator, and publishes any blocks that the program holds, those of its own block allocators too: what waits in a combining
// buffer counts as held by the program. Left out as well: fork, chunks that leave their pool, records that get another size class.

#ifndef BLOCK_ALLOCATORS
#define BLOCK_ALLOCATORS 1  // at most 2
#endif
#ifndef WORDS
#define WORDS 1  // of a bitmap, at most 2; of these two constants only one is more than 1
#endif
#ifndef BITS
#define BITS 2  // of a word, at most 3
#endif
#ifndef WAKE
#define WAKE 1  // BlockAllocator::wake_threshold()
#endif
#ifndef CACHES
#define CACHES 2  // at most 2
#endif
// What each thread may do beside freeing blocks of others.
#define ALLOCATE 1  // and free its own blocks
#define END 2       // give its cache up; the next allocation takes one again
#define FLUSH 4     // ThreadCache::purge of its cache
#define PURGE 8     // Heap::purge_shared
#define ABSENT 16   // the thread does not exist
#ifndef FIRST
#define FIRST (ALLOCATE | END)
#endif
#ifndef SECOND
#define SECOND (ALLOCATE | END)
#endif
#ifndef THIRD
#define THIRD 0
#endif

#define ONES ((1 << BITS) - 1)
#define COUNT(mask) (((mask) & 1) + ((mask) >> 1 & 1) + ((mask) >> 2 & 1))
#define LOWEST(mask) ((mask) & (~(mask) + 1))
#define AT(block, word) ((block) * WORDS + (word))
#define ALL_FREE(block) (free_map[AT(block, 0)] == ONES && free_map[AT(block, WORDS - 1)] == ONES)

// The owner word.
#define UNUSED 0
#define ORPHAN 1
#define ACTIVE(cache) (4 * (cache) + 4)
#define FULL(cache) (4 * (cache) + 5)
#define QUEUED(cache) (4 * (cache) + 6)
#define IS_FULL(word) ((word) > ORPHAN && (word) % 4 == 1)
#define CACHE_OF(word) ((word) / 4 - 1)
#define NO_CACHE CACHES

// Pointers are numbers, 0 the null pointer and n + 1 block allocator n; lists whose order nobody relies on are masks.
byte owner[BLOCK_ALLOCATORS];
byte free_map[BLOCK_ALLOCATORS * WORDS];
byte remote_map[BLOCK_ALLOCATORS * WORDS];
byte returned[BLOCK_ALLOCATORS];
byte next_recovered[BLOCK_ALLOCATORS];
byte recovered[CACHES];
bit alive[CACHES];
bit recover_lock[CACHES];
byte orphans;
bit orphans_lock;
byte slots;
bit pool_lock;
byte idle_caches;

// What only the proof looks at.
byte held[BLOCK_ALLOCATORS * WORDS];  // blocks that the program has
byte writing[BLOCK_ALLOCATORS];       // threads between load and store of the free map
byte place[BLOCK_ALLOCATORS];         // the list it is on
byte busy;                            // threads in the middle of something
byte i, j;
#define NOWHERE 0
#define POOL 1
#define ORPHANS 2
#define RECOVERED 3
#define IN_BIN(cache) (4 + 2 * (cache))
#define WAITING(cache) (5 + 2 * (cache))

inline move(block, from, to) {
    assert(place[block] == from);
    place[block] = to;
}

// No thread is about to do anything.
inline at_rest() {
    for (i : 0 .. BLOCK_ALLOCATORS - 1) {
        for (j : 0 .. WORDS - 1) {
            // No block is lost, and none is in two places.
            assert(free_map[AT(i, j)] + remote_map[AT(i, j)] + held[AT(i, j)] == ONES);
            assert((free_map[AT(i, j)] | remote_map[AT(i, j)] | held[AT(i, j)]) == ONES);
            sum = sum + COUNT(remote_map[AT(i, j)]);
        }
        k = CACHE_OF(owner[i]);
        if
        :: owner[i] == UNUSED -> assert(place[i] == POOL && ALL_FREE(i));
        :: owner[i] == ORPHAN -> assert(place[i] == ORPHANS);
        :: owner[i] == ACTIVE(k) -> assert(alive[k] && (place[i] == IN_BIN(k) || place[i] == WAITING(k)));
        // No wake-up is lost: neither share alone is enough for one.
        :: owner[i] == FULL(k) -> assert(place[i] == NOWHERE && sum < WAKE && returned[i] < WAKE);
        :: owner[i] == QUEUED(k) -> assert(place[i] == RECOVERED && alive[k]);
        fi;
        sum = 0;
    }
    i = 0; j = 0;
}

// ---- BlockAllocator ----

// The free map has one writer at a time. `all_free` is then what all_free() tells him.
inline read_free_map() {
    assert(writing[a] == 0);
    writing[a]++;
    f = free_map[AT(a, w)];
}
inline write_free_map(value) {
    free_map[AT(a, w)] = value;
    writing[a]--;
    f = 0; m = 0;
    all_free = ALL_FREE(a);
}

inline drain() {
    do
    :: atomic { remote_map[AT(a, w)] == 0 -> w++; all_free = ALL_FREE(a);           //= if (remote_map[w].load(relaxed) == 0) continue;
            if :: w == WORDS -> w = 0; break; :: else -> skip; fi }
    :: remote_map[AT(a, w)] != 0 ->
        atomic { m = remote_map[AT(a, w)]; remote_map[AT(a, w)] = 0;                //= taken = remote_map[w].exchange(0, acquire)
            read_free_map(); assert((f & m) == 0); }
        atomic { write_free_map(f | m); drained = true; w++;                        //= free_map[w].store(free | taken, relaxed);
            if :: w == WORDS -> w = 0; break; :: else -> skip; fi }
    od;
}

inline worth_waking() {
    do
    :: atomic { sum = sum + COUNT(remote_map[AT(a, w)]); w++;                       //= sum += count_ones(remote_map[w].load(seq_cst));
            if :: w == WORDS || sum >= WAKE -> w = 0; break; :: else -> skip; fi }
    od;
}

// ---- SlotPool and OrphanList ----

inline put_back_slot(from) {
    assert(ALL_FREE(a) && held[AT(a, 0)] == 0 && held[AT(a, WORDS - 1)] == 0);
    owner[a] = UNUSED;                                                              //= block.set_owner(Owner(OwnerState::unused));
    move(a, from, POOL);
    slots = slots | 1 << a;
    all_free = false;
}

inline abandon() {
    drain();                                                                        //= block.drain();
    if
    :: atomic { all_free && !pool_lock -> put_back_slot(NOWHERE); }                 //= release(block);
    :: !all_free -> owner[a] = ORPHAN;                                              //= block.set_owner(Owner(OwnerState::orphan));
        atomic { !orphans_lock -> move(a, NOWHERE, ORPHANS); orphans = orphans | 1 << a; }  //= orphans[block.class_index].push(&block);
    fi;
}

// ---- ThreadCache ----

inline rescue() {
    if
    :: atomic { !recover_lock[k] && alive[k] -> skip; }                             //= if (alive.load(relaxed)) return;
    :: atomic { !recover_lock[k] && !alive[k] -> recover_lock[k] = true; }
        atomic { h = recovered[k]; recovered[k] = 0; }                              //= recovered.exchange(nullptr, seq_cst)
        do
        :: atomic { h == 0 -> recover_lock[k] = false; break; }
        :: atomic { h != 0 -> a = h - 1; move(a, RECOVERED, NOWHERE); h = next_recovered[a]; }  //= next = block->next_recovered;
            abandon();                                                              //= shared_->abandon(*block);
        od;
    fi;
}

// Block allocator `a`, whose owner word was read as full.
inline wake() {
    if
    :: sum = returned[a];                                                           //= unsigned sum = returned.load(relaxed);
    :: sum = 0;
    fi;
    worth_waking();                                                                 //= if (!block.worth_waking(all)) return;
    if
    :: atomic { sum < WAKE -> sum = 0; }
    :: atomic { sum >= WAKE && owner[a] != FULL(k) -> sum = 0; }
    :: atomic { sum >= WAKE && owner[a] == FULL(k) -> owner[a] = QUEUED(k); sum = 0; }  //= change_owner(owner, Owner(cache, OwnerState::queued))
        atomic { h = recovered[k]; next_recovered[a] = h; }                         //= Block* head = cache->recovered.load(relaxed);
        do
        :: atomic {
                if
                :: recovered[k] == h -> recovered[k] = a + 1;                       //= compare_exchange_weak(head, &block, seq_cst, relaxed)
                    move(a, NOWHERE, RECOVERED); h = 0; break;
                :: else -> h = recovered[k]; next_recovered[a] = h;                 //= do block.next_recovered = head;
                fi;
            }
        od;
        if
        :: alive[k] -> skip;                                                        //= if (!cache->alive.load(seq_cst)) cache->rescue();
        :: !alive[k] -> rescue();
        fi;
    fi;
}

inline publish() {
    atomic { assert((remote_map[AT(a, w)] & m) == 0 && (free_map[AT(a, w)] & m) == 0);
        remote_map[AT(a, w)] = remote_map[AT(a, w)] | m; m = 0; w = 0; }            //= remote_map[w].fetch_or(mask, seq_cst)
    if
    :: atomic { IS_FULL(owner[a]) -> k = CACHE_OF(owner[a]); }                      //= const Owner owner = block.owner(seq_cst);
        wake();                                                                     //= if (owner.state() == OwnerState::full) wake(block, owner, all);
    :: !IS_FULL(owner[a]) -> skip;
    fi;
}

inline release_if_empty() {
    if
    :: atomic { current != a + 1 && all_free && !pool_lock ->                       //= if (block.in_bin || !block.all_free()) return;
            waiting = waiting & ~(1 << a); put_back_slot(WAITING(c)); }
    :: current == a + 1 || !all_free -> skip;
    fi;
}

inline activate() {
    returned[a] = 0;                                                                //= block->returned.store(0, relaxed);
    drain();                                                                        //= block->drain();
    atomic { waiting = waiting | 1 << a; move(a, NOWHERE, WAITING(c)); }            //= waiting_[block->class_index].push_back(block);
}

inline collect_recovered() {
    if
    :: recovered[c] == 0 -> skip;                                                   //= if (recovered.load(relaxed) == nullptr) return nullptr;
    :: recovered[c] != 0 ->
        atomic { !recover_lock[c] -> h = recovered[c]; recovered[c] = 0; }          //= return recovered.exchange(nullptr, acquire);
        do
        :: h == 0 -> break;
        :: atomic { h != 0 -> a = h - 1; move(a, RECOVERED, NOWHERE); h = next_recovered[a];  //= next = block->next_recovered;
                owner[a] = ACTIVE(c); }                                             //= block->set_owner(Owner(this, block->usable_state()));
            activate();
        od;
    fi;
}

inline retire() {
    returned[a] = 0;                                                                //= block->returned.store(0, relaxed);
    atomic { owner[a] = FULL(c); move(a, IN_BIN(c), NOWHERE); current = 0; }        //= block->set_owner(full, seq_cst);
    worth_waking();                                                                 //= if (!block->worth_waking()) [[likely]]
    if
    :: atomic { sum < WAKE -> sum = 0; }
    :: atomic { sum >= WAKE && owner[a] != FULL(c) -> sum = 0; }
    :: atomic { sum >= WAKE && owner[a] == FULL(c) -> owner[a] = ACTIVE(c); sum = 0; }  //= change_owner(full, Owner(this, block->usable_state()))
        drain();                                                                    //= block->drain();
        atomic { current = a + 1; move(a, NOWHERE, IN_BIN(c)); }
    fi;
}

inline new_block_allocator() {
    if
    :: atomic { !pool_lock && slots == 0 -> done = true; }                          //= if (usable_ == nullptr && !add_chunk(
    :: atomic { !pool_lock && slots != 0 -> pool_lock = true;
            if :: (slots & 1) != 0 -> a = 0; :: else -> a = 1; fi;
            slots = slots & ~(1 << a); move(a, POOL, NOWHERE);
            returned[a] = 0; }                                                      //= returned.store(0, relaxed);
        do
        :: w == WORDS -> break;
        :: w != WORDS -> free_map[AT(a, w)] = ONES;                                 //= free_map[w].store(initial_word(w), relaxed);
            atomic { remote_map[AT(a, w)] = 0; w++; }                               //= remote_map[w].store(0, relaxed);
        od;
        atomic { owner[a] = ORPHAN; w = 0; pool_lock = false; }                     //= owner_word.store(Owner(OwnerState::orphan).word(), relaxed);
        atomic { owner[a] = ACTIVE(c); current = a + 1; move(a, NOWHERE, IN_BIN(c)); }  //= next->set_owner(Owner(this,
    fi;
}

inline allocate() {
    do
    :: atomic { done -> done = false; break; }
    :: atomic { !done && current != 0 -> a = current - 1;
            // Any word that has a block: which one the bin points at is not modelled.
            if
            :: free_map[AT(a, 0)] != 0 -> w = 0;
            :: free_map[AT(a, WORDS - 1)] != 0 -> w = WORDS - 1;
            :: else -> drained = false; goto nothing_free;
            fi;
            read_free_map();                                                        //= const std::uint64_t bits = word.load(relaxed);
            assert((f & remote_map[AT(a, w)]) == 0); }
        atomic {                                                                    //= store(bits & (bits - 1), relaxed);
            assert(owner[a] == ACTIVE(c) && (held[AT(a, w)] & LOWEST(f)) == 0);
            held[AT(a, w)] = held[AT(a, w)] | LOWEST(f);
            write_free_map(f & ~LOWEST(f)); w = 0; all_free = false; done = true; }
        goto next_round;
nothing_free:
        drain();                                                                    //= if (block->drain()) continue;
        if
        :: atomic { drained -> drained = false; }
        :: !drained -> retire();                                                    //= if (retire(block)) {
        fi;
next_round:
        skip;
    :: !done && current == 0 ->
        if
        :: waiting == 0 -> collect_recovered();                                     //= if (waiting_[index].head == nullptr) collect_recovered();
        :: waiting != 0 -> skip;
        fi;
        if
        :: atomic { waiting != 0 ->                                                 //= Block* next = waiting_[index].pop_front();
                if :: (waiting & 1) != 0 -> a = 0; :: (waiting & 2) != 0 -> a = 1; fi;
                waiting = waiting & ~(1 << a); current = a + 1; move(a, WAITING(c), IN_BIN(c)); }
        :: waiting == 0 ->
            if
            :: orphans == 0 -> new_block_allocator();                               //= if (head_.load(relaxed) == nullptr) return nullptr;
            :: orphans != 0 ->
                if
                :: atomic { !orphans_lock && orphans == 0 -> skip; }                //= if (block == nullptr) return nullptr;
                :: atomic { !orphans_lock && orphans != 0 ->                        //= head_.store(block->next, relaxed);
                        if :: (orphans & 1) != 0 -> a = 0; :: (orphans & 2) != 0 -> a = 1; fi;
                        orphans = orphans & ~(1 << a); move(a, ORPHANS, NOWHERE); }
                    atomic { owner[a] = ACTIVE(c); current = a + 1; move(a, NOWHERE, IN_BIN(c)); }  //= next->set_owner(Owner(this,
                fi;
            fi;
        fi;
    od;
}

// Block `m`, whose owner word was read as this cache's.
inline free_own() {
    atomic { write_free_map(f | m); w = 0; }                                        //= part_of(word, index).store(bits, State == OwnerState::full ? release : relaxed);
    if
    :: own == ACTIVE(c) -> release_if_empty();                                      //= !block->in_bin) release_if_empty(*block);
    :: own == QUEUED(c) -> skip;                                                    //= default: block.put_back(index); return;
    :: own == FULL(c) ->
        atomic { returned[a] = returned[a] + 1; sum = returned[a]; }                //= returned.store(now, relaxed);
        if
        :: atomic { sum < WAKE -> sum = 0; }                                        //= return now >= wake_threshold();
        :: atomic { sum >= WAKE && owner[a] != FULL(c) -> sum = 0; }
        :: atomic { sum >= WAKE && owner[a] == FULL(c) -> owner[a] = ACTIVE(c); sum = 0; }  //= change_owner(Owner(this, OwnerState::full),
            activate();                                                             //= activate(&block);
            release_if_empty();                                                     //= release_if_empty(block);
        fi;
    fi;
}

inline flush() {
    collect_recovered();
    if
    :: current == 0 -> skip;
    :: atomic { current != 0 -> a = current - 1; }
        drain();
        if
        :: atomic { all_free && !pool_lock -> current = 0; put_back_slot(IN_BIN(c)); }  //= if (block->all_free() && (now || was_idle)) {
        :: true -> skip;
        fi;
    fi;
    do
    :: atomic { k == BLOCK_ALLOCATORS -> k = 0; break; }
    :: atomic { k != BLOCK_ALLOCATORS && (waiting & 1 << k) == 0 -> k++; }
    :: atomic { k != BLOCK_ALLOCATORS && (waiting & 1 << k) != 0 -> a = k; k++; }
        drain();
        release_if_empty();                                                         //= if (block->all_free()) release_if_empty(*block);
    od;
}

inline retire_cache() {
    do
    :: current == 0 && waiting == 0 -> break;
    :: atomic { current != 0 -> a = current - 1; current = 0; move(a, IN_BIN(c), NOWHERE); }
        abandon();                                                                  //= shared_->abandon(*block);
    :: atomic { current == 0 && waiting != 0 ->                                     //= waiting_[index].pop_front()) shared_->abandon(*block);
            if :: (waiting & 1) != 0 -> a = 0; :: else -> a = 1; fi;
            waiting = waiting & ~(1 << a); move(a, WAITING(c), NOWHERE); }
        abandon();
    od;
    atomic { alive[c] = false; k = c; }                                             //= alive.store(false, seq_cst);
    rescue();                                                                       //= rescue();
    atomic { idle_caches = idle_caches | 1 << c; c = NO_CACHE; }                    //= cache->next_free = free_;
}

// ---- Heap::purge_shared ----

// Pages under free blocks may go: what the program holds must not lie there.
inline purge_recovered() {
    if
    :: recovered[k] == 0 -> skip;
    :: recovered[k] != 0 ->
        atomic { !recover_lock[k] -> recover_lock[k] = true; h = recovered[k]; }    //= Block* block = recovered.load(acquire); block != nullptr;
        do
        :: atomic { h == 0 -> recover_lock[k] = false; break; }
        :: atomic { h != 0 -> a = h - 1; f = free_map[AT(a, w)]; }                  //= free_map[w].load(acquire) | (remote ? remote_map[w].load(acquire) : 0)
            f = f | remote_map[AT(a, w)];
            atomic { assert((held[AT(a, w)] & f) == 0); f = 0; w++;                 //= backend.purge(reinterpret_cast<void*>(from), to - from)
                if :: w == WORDS -> w = 0; h = next_recovered[a]; :: else -> skip; fi }
        od;
    fi;
}

inline purge_orphans() {
    if
    :: orphans == 0 -> skip;                                                        //= if (head_.load(relaxed) == nullptr) return;
    :: orphans != 0 ->
        atomic { !orphans_lock -> orphans_lock = true; h = orphans; }
        do
        :: atomic { h == 0 -> orphans_lock = false; break; }
        :: atomic { h != 0 -> if :: (h & 1) != 0 -> a = 0; :: else -> a = 1; fi; h = h & ~(1 << a); }
            drain();
            if
            :: atomic { all_free && !pool_lock -> orphans = orphans & ~(1 << a);    //= if (block.all_free()) return false;
                    put_back_slot(ORPHANS); }                                       //= [&](Block& block) { release(block); });
            :: !all_free -> skip;
            fi;
        od;
    fi;
}

// ---- threads ----

// Blocks of a word that the program holds. Which ones does not matter, only how many.
#define HOLDS(block, word) ((block) < BLOCK_ALLOCATORS && (word) < WORDS && held[AT(block, word)] != 0)
#define OWNS(block, word) (HOLDS(block, word) && owner[block] > ORPHAN && CACHE_OF(owner[block]) == c)
#define CHOOSE(block, word) a = block; w = word; m = held[AT(block, word)]

proctype Thread(byte may) {
    byte c = NO_CACHE, current, waiting;
    byte a, w, m, f, h, k, own, sum;
    bool drained, all_free, done;
end_nothing_to_do:
    do
    :: if
        // free(): blocks of others, gathered per word. Those that are rightly freed are not free already.
        :: atomic {
                if
                :: HOLDS(0, 0) -> CHOOSE(0, 0);
                :: HOLDS(0, 1) -> CHOOSE(0, 1);
                :: HOLDS(1, 0) -> CHOOSE(1, 0);
                fi;
                if
                :: true -> skip;
                :: m != LOWEST(m) -> m = LOWEST(m);
                :: m != LOWEST(m) && m != 3 -> m = m & ~LOWEST(m);
                fi;
                held[AT(a, w)] = held[AT(a, w)] & ~m;
                assert((free_map[AT(a, w)] & m) == 0);                              //= mask &= ~report_twice(w, free_word(w) & mask);
                busy++;
            }
            publish();
        // free(): a block of its own. Of the looks at the owner word one after the other, those before the last can only find less.
        :: atomic {
                if
                :: OWNS(0, 0) -> CHOOSE(0, 0);
                :: OWNS(0, 1) -> CHOOSE(0, 1);
                :: OWNS(1, 0) -> CHOOSE(1, 0);
                fi;
                m = LOWEST(m);
                held[AT(a, w)] = held[AT(a, w)] & ~m;
                own = owner[a];                                                     //= const Owner owner = block.owner();
                read_free_map();                                                    //= auto bits = part_of(word, index).load(relaxed);
                assert((f & m) == 0);
                busy++;
            }
            free_own();
        // malloc()
        :: if
            :: atomic { (may & ALLOCATE) && c != NO_CACHE -> busy++; }
            :: atomic { (may & ALLOCATE) && c == NO_CACHE && idle_caches != 0 ->    //= free_ = cache->next_free;
                    if :: (idle_caches & 1) != 0 -> c = 0; :: (idle_caches & 2) != 0 -> c = 1; fi;
                    idle_caches = idle_caches & ~(1 << c);
                    busy++;
                }
                atomic { !recover_lock[c] -> alive[c] = true; }                     //= alive.store(true, seq_cst);
            fi;
            allocate();
        :: atomic { (may & END) && c != NO_CACHE -> busy++; }
            retire_cache();
        :: atomic { (may & FLUSH) && c != NO_CACHE -> busy++; }
            flush();
        :: atomic { (may & PURGE) -> busy++; }
            purge_orphans();
            k = 0;
            do
            :: k < CACHES -> purge_recovered(); k++;
            :: k == CACHES -> break;
            od;
        fi;
        atomic {
            a = 0; w = 0; m = 0; f = 0; h = 0; k = 0; own = 0; sum = 0; drained = false; all_free = false; done = false;
            busy--;
            if
            :: busy == 0 -> at_rest(); k = 0;
            :: busy != 0 -> skip;
            fi;
        }
    od
}

init {
    atomic {
        for (i : 0 .. BLOCK_ALLOCATORS - 1) {
            for (j : 0 .. WORDS - 1) {
                free_map[AT(i, j)] = ONES;
            }
            place[i] = POOL;
        }
        i = 0; j = 0;
        slots = (1 << BLOCK_ALLOCATORS) - 1;
        idle_caches = (1 << CACHES) - 1;
        run Thread(FIRST);
        run Thread(SECOND);
        if
        :: THIRD == ABSENT -> skip;
        :: THIRD != ABSENT -> run Thread(THIRD);
        fi;
    }
}
