// SPDX-License-Identifier: Apache-2.0
// Which cases there are. The vocabulary is in cases.hpp.
#pragma once

#include "detect/cases.hpp"

#include <algorithm>
#include <vector>

namespace mpmm::detect {

/// How an error of this kind is found when nothing else is said.
constexpr Found usual(Error error) {
    if (error >= Error::overflow_byte && error <= Error::underflow_eighth) return Found::at_free;
    if (error >= Error::stale_first && error <= Error::stale_after_realloc) return Found::at_exit;
    return leaking(error) ? Found::at_exit : Found::at_once;
}

/// The making an error needs, where malloc's blocks cannot have it.
constexpr Making natural(Error error) {
    if (error == Error::sized_larger || error == Error::sized_smaller || error == Error::sized_by_one || error == Error::wrong_free)
        return Making::operator_new;
    if (error == Error::wrong_realloc) return Making::operator_new;
    if (error == Error::free_aligned_sized_smaller) return Making::aligned_alloc_64;
    return Making::malloc;
}

/// Guarded blocks end exactly at a page, so that the first byte behind them faults.
constexpr std::size_t exact(Error error, std::size_t size) { return guarded(error) ? (size + 15) / 16 * 16 : size; }

class Table {
  public:
    void add(Error error, std::size_t size, Making making, Relation relation, Found found) {
        const Case added{error, exact(error, size), making, relation, found};
        if (std::find(cases_.begin(), cases_.end(), added) != cases_.end()) return;
        cases_.push_back(added);
    }
    void add(Error error, std::size_t size, Relation relation = Relation::same) {
        add(error, size, natural(error), relation, usual(error));
    }
    void add(Error error, std::size_t size, Making making) { add(error, size, making, Relation::same, usual(error)); }
    const std::vector<Case>& cases() const { return cases_; }

  private:
    std::vector<Case> cases_;
};

/// One error of each kind, and every guarded one that matters by itself.
inline constexpr Error leading[] = {Error::double_free,    Error::free_interior,  Error::sized_larger, Error::wrong_delete,
                                    Error::overflow_byte,  Error::underflow_byte, Error::stale_middle, Error::guard_read_freed,
                                    Error::guard_overread, Error::leak_lost};

inline void add_mismatches(Table& table) {
    using enum Making;
    const struct {
        Error error;
        Making making;
    } pairs[] = {
        {Error::wrong_delete, malloc},
        {Error::wrong_delete, calloc},
        {Error::wrong_delete, posix_memalign_64},
        {Error::wrong_delete, operator_new_array},
        {Error::wrong_delete, operator_new_aligned_64},
        {Error::wrong_delete_array, malloc},
        {Error::wrong_delete_array, realloc_grown},
        {Error::wrong_delete_array, operator_new},
        {Error::wrong_delete_array, operator_new_array_aligned},
        {Error::wrong_delete_aligned, operator_new},
        {Error::wrong_delete_aligned, aligned_alloc_64},
        {Error::wrong_free, operator_new},
        {Error::wrong_free, operator_new_array},
        {Error::wrong_free, operator_new_aligned_64},
        {Error::wrong_free, operator_new_nothrow},
        {Error::wrong_realloc, operator_new},
        {Error::wrong_realloc, operator_new_array},
    };
    for (const auto& [error, making] : pairs) table.add(error, small, making);
}

inline std::vector<Case> all_cases() {
    using enum Making;
    Table table;
    for (unsigned i = 0; i < std::size(error_names); ++i) table.add(static_cast<Error>(i), small);
    for (const Error error : leading)
        for (const std::size_t size : sizes) table.add(error, size);
    for (const Error error : leading)
        for (const Relation relation : {Relation::other, Relation::ended, Relation::batch})
            for (const std::size_t size : {tiny, page}) {
                // A leak has no later thread; reading what is guarded needs no frees around it.
                if (leaking(error) && relation != Relation::ended) continue;
                if (guarded(error) && relation == Relation::batch) continue;
                table.add(error, size, relation);
            }
    for (const Making making :
         {calloc, realloc_grown, realloc_shrunk, aligned_alloc_64, aligned_alloc_4096, posix_memalign_64, memalign_256, operator_new,
          operator_new_array, operator_new_aligned_64, operator_new_array_aligned, operator_new_nothrow}) {
        for (const Error error : {Error::double_free, Error::overflow_byte, Error::underflow_byte, Error::stale_middle, Error::leak_lost})
            table.add(error, small, making);
        // Whole pages, so that the end is exact for every alignment.
        table.add(Error::guard_overwrite, medium, making);
    }
    for (const Making making : {calloc, aligned_alloc_4096, memalign_256, operator_new, operator_new_array, operator_new_aligned_64})
        table.add(Error::free_interior, small, making);
    for (const Making making : {operator_new_array, operator_new_aligned_64, operator_new_array_aligned})
        for (const Error error : {Error::sized_larger, Error::sized_smaller}) table.add(error, small, making);
    add_mismatches(table);
    for (const Error error : {Error::overflow_byte, Error::overflow_strcpy, Error::underflow_byte})
        for (const Found found : {Found::at_realloc, Found::at_exit}) table.add(error, small, malloc, Relation::same, found);
    for (const std::size_t size : {tiny, medium, large}) {
        table.add(Error::overflow_memset, size);
        table.add(Error::overflow_byte, size, malloc, Relation::same, Found::at_exit);
        table.add(Error::stale_first, size);
        table.add(Error::stale_last, size);
        table.add(Error::guard_write_freed, size);
    }
    return table.cases();
}

/// The cases of the program over the sized API.
inline std::vector<Case> api_cases() {
    using enum Making;
    Table table;
    const auto add = [&](Error error, std::size_t size, Making making, Relation relation = Relation::same) {
        table.add(error, size, making, relation, usual(error));
    };
    for (const Making making : {mpmm_malloc, mpmm_zalloc, mpmm_aligned_alloc_64, mpmm_realloc}) add(Error::sized_larger, small, making);
    for (const std::size_t size : {tiny, page, large}) add(Error::sized_larger, size, mpmm_malloc);
    add(Error::sized_larger, small, mpmm_malloc, Relation::other);
    add(Error::sized_larger, small, mpmm_malloc_batch, Relation::batch);
    for (const Making making : {mpmm_malloc, mpmm_zalloc, mpmm_malloc_batch, mpmm_tcache_malloc}) add(Error::double_free, small, making);
    add(Error::double_free, large, mpmm_lcache_malloc);
    add(Error::double_free, small, mpmm_malloc, Relation::batch);
    add(Error::free_interior, small, mpmm_malloc);
    add(Error::free_stack, small, mpmm_malloc);
    add(Error::realloc_of_freed, small, mpmm_malloc);
    add(Error::overflow_byte, small, mpmm_malloc);
    add(Error::overflow_byte, small, mpmm_aligned_alloc_64);
    add(Error::underflow_byte, page, mpmm_malloc);
    add(Error::stale_middle, small, mpmm_zalloc);
    add(Error::guard_read_freed, small, mpmm_malloc);
    add(Error::guard_overread, page, mpmm_malloc);
    add(Error::leak_lost, small, mpmm_malloc);
    return table.cases();
}

}  // namespace mpmm::detect
