// SPDX-License-Identifier: Apache-2.0
// All forms of operator new, and all functions that give back a block of each family. They all take a size and an alignment, and use what
// they need.
#pragma once

#include "malloc_abi/functions.hpp"

namespace mpmm::fuzz::abi {

/// Which functions free a block: those of its own family.
enum class Family { c, c_aligned, single, array, single_aligned, array_aligned };
inline constexpr unsigned family_count = 6;

using Take = void* (*)(std::size_t size, Align alignment);
using Give = void (*)(void* block, std::size_t size, Align alignment);

struct NewForm {
    bool throws;
    Family family;
    Take take;
};
inline const NewForm new_forms[] = {
    {true, Family::single, [](std::size_t n, Align) { return new_single(n); }},
    {true, Family::array, [](std::size_t n, Align) { return new_array(n); }},
    {false, Family::single, [](std::size_t n, Align) { return new_single(n, std::nothrow); }},
    {false, Family::array, [](std::size_t n, Align) { return new_array(n, std::nothrow); }},
    {true, Family::single_aligned, [](std::size_t n, Align a) { return new_single(n, a); }},
    {true, Family::array_aligned, [](std::size_t n, Align a) { return new_array(n, a); }},
    {false, Family::single_aligned, [](std::size_t n, Align a) { return new_single(n, a, std::nothrow); }},
    {false, Family::array_aligned, [](std::size_t n, Align a) { return new_array(n, a, std::nothrow); }},
};
inline const Give give_forms[family_count][3] = {
    {[](void* p, std::size_t, Align) { abi_free(p); }, [](void* p, std::size_t, Align) { abi_cfree(p); },
     [](void* p, std::size_t n, Align) { abi_free_sized(p, n); }},
    {[](void* p, std::size_t, Align) { abi_free(p); }, [](void* p, std::size_t, Align) { abi_cfree(p); },
     [](void* p, std::size_t n, Align a) { abi_free_aligned_sized(p, static_cast<std::size_t>(a), n); }},
    {[](void* p, std::size_t, Align) { delete_single(p); }, [](void* p, std::size_t n, Align) { delete_single(p, n); },
     [](void* p, std::size_t, Align) { delete_single(p, std::nothrow); }},
    {[](void* p, std::size_t, Align) { delete_array(p); }, [](void* p, std::size_t n, Align) { delete_array(p, n); },
     [](void* p, std::size_t, Align) { delete_array(p, std::nothrow); }},
    {[](void* p, std::size_t, Align a) { delete_single(p, a); }, [](void* p, std::size_t n, Align a) { delete_single(p, n, a); },
     [](void* p, std::size_t, Align a) { delete_single(p, a, std::nothrow); }},
    {[](void* p, std::size_t, Align a) { delete_array(p, a); }, [](void* p, std::size_t n, Align a) { delete_array(p, n, a); },
     [](void* p, std::size_t, Align a) { delete_array(p, a, std::nothrow); }},
};

}  // namespace mpmm::fuzz::abi
