// SPDX-License-Identifier: Apache-2.0
// What the handler of faults makes of instructions, as the assembler writes them. For AArch64 only.
#include "platform/fault_aarch64.hpp"

#include <cstdint>
#include <gtest/gtest.h>

extern "C" const std::uint32_t test_loads[], test_stores[], test_stores_end[];

asm(R"(
    .pushsection .rodata
    .balign 4
    .arch armv8.2-a+lse
    .globl test_loads, test_stores, test_stores_end
test_loads:
    ldr x0,[x1]
    ldr w0,[x1,#8]!
    ldr w0,[x1],#8
    ldrb w0,[x1,x2]
    ldrsb x0,[x1,#3]
    ldrsw x0,[x1]
    ldur x0,[x1,#-3]
    ldp x0,x1,[x2]
    ldp q0,q1,[x2]
    ldp x0,x1,[x2],#16
    ldpsw x0,x1,[x2]
    ldnp x0,x1,[x2]
    ldr q0,[x1]
    ldr d0,[x1,x2]
    ldr b0,[x1]
    ldur q0,[x1,#-5]
    ldxr x0,[x1]
    ldar x0,[x1]
    ldaxr w0,[x1]
    ld1 {v0.16b},[x1]
    ld4 {v0.4s-v3.4s},[x1]
    ld1 {v0.b}[3],[x1]
    ld1r {v0.4s},[x1]
    ldr x0, test_loads
    ldr q3, test_loads
    ldtr x0,[x1]
    add x0,x1,x2
    nop
    br x3
test_stores:
    str x0,[x1]
    str w0,[x1,#8]!
    str w0,[x1],#8
    strb w0,[x1,x2]
    strh w0,[x1,#2]
    stur x0,[x1,#-3]
    stp x0,x1,[x2]
    stp q0,q1,[x2]
    stp x0,x1,[x2,#-16]!
    stnp x0,x1,[x2]
    str q0,[x1]
    str d0,[x1,x2]
    str b0,[x1]
    str q0,[x1,x2]
    stur q0,[x1,#-5]
    str s0,[x1,#4]
    stxr w3,x0,[x1]
    stlr x0,[x1]
    stlxr w3,w0,[x1]
    cas x0,x1,[x2]
    casal x0,x1,[x2]
    ldadd x0,x1,[x2]
    swpal x0,x1,[x2]
    ldsetal x0,x1,[x2]
    st1 {v0.16b},[x1]
    st4 {v0.4s-v3.4s},[x1]
    st1 {v0.b}[3],[x1]
    sttr x0,[x1]
    dc zva, x0
test_stores_end:
    .popsection
)");

namespace mpmm::fault {
namespace {

TEST(FaultOnAarch64, TellsStoresFromLoads) {
    std::size_t seen = 0;
    for (const std::uint32_t* at = test_loads; at != test_stores; ++at, ++seen) EXPECT_FALSE(stores(*at)) << std::hex << *at;
    for (const std::uint32_t* at = test_stores; at != test_stores_end; ++at, ++seen) EXPECT_TRUE(stores(*at)) << std::hex << *at;
    EXPECT_EQ(seen, 58u);
}

}  // namespace
}  // namespace mpmm::fault
