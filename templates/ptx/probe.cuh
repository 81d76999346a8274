// What only templates/probe.cu wants: single instructions that no compiler folds away, and loads past L1.
// PTX ISA: "fma", "add", "mad", "lop3", "cvt", "ld". Registers of 32 bits have no type: floats travel as words.
#pragma once

#include "copy.cuh"

__device__ __forceinline__ uint one_fma(uint a, uint b, uint c) {
    uint d;
    asm volatile("fma.rn.f32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}
__device__ __forceinline__ uint one_add(uint a, uint b) {
    uint d;
    asm volatile("add.u32 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b));
    return d;
}
__device__ __forceinline__ uint one_mad(uint a, uint b, uint c) {
    uint d;
    asm volatile("mad.lo.u32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}
// a ^ (b | c)
__device__ __forceinline__ uint one_lop3(uint a, uint b, uint c) {
    uint d;
    asm volatile("lop3.b32 %0, %1, %2, %3, 0x1e;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}
// The bits of the float of a signed integer.
__device__ __forceinline__ uint one_convert(uint a) {
    uint d;
    asm volatile("cvt.rn.f32.s32 %0, %1;" : "=r"(d) : "r"(a));
    return d;
}

__device__ __forceinline__ Words4 load_global_16(const void *p) {
    Words4 v;
    asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
    return v;
}
__device__ __forceinline__ uint load_global_4(const void *p) {
    uint v;
    asm volatile("ld.global.cg.u32 %0, [%1];" : "=r"(v) : "l"(p));
    return v;
}
__device__ __forceinline__ Words4 load_shared_16(uint address) {
    Words4 v;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(address));
    return v;
}
