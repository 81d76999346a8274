// Moving data: cp.async (global -> shared), ldmatrix and 16-byte loads (shared -> registers).
// PTX ISA: "cp.async", "cp.async.commit_group", "cp.async.wait_group", "ldmatrix".
#pragma once

using uint = unsigned int;

struct alignas(16) Words4 {
    uint x, y, z, w;
};
struct alignas(16) Floats4 {
    float x, y, z, w;
};
struct alignas(8) Floats2 {
    float x, y;
};
struct alignas(8) Ints2 {
    int x, y;
};

// The 32-bit address of a shared-memory object, as the instructions below want it.
__device__ __forceinline__ uint shared_address(const void *p) {
    return static_cast<uint>(__cvta_generic_to_shared(p));
}

// The same pointer, in a register that is not computed again at every use: the shared window's address costs some instructions.
template <class T> __device__ __forceinline__ T *kept(T *shared) {
    return static_cast<T *>(__cvta_shared_to_generic(__shfl_sync(0xffffffffu, shared_address(shared), 0)));
}

// 16 bytes, past L1. valid = false writes zeros and reads nothing, wherever src points. The L2 is asked for the whole 128-byte line: every stream here is
// read to its end.
__device__ __forceinline__ void cp_async_16(uint dst, const void *src, bool valid) {
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(bytes) : "memory");
}

// 4 bytes: for rows that are not 16-byte aligned.
__device__ __forceinline__ void cp_async_4(uint dst, const void *src, bool valid) {
    int bytes = valid ? 4 : 0;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(dst), "l"(src), "r"(bytes) : "memory");
}

__device__ __forceinline__ void cp_async_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until at most `Pending` of the committed groups are still under way.
template <int Pending> __device__ __forceinline__ void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

// Four 8x8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8. Lane l receives, of each matrix, the
// 32 bits at row l / 4, byte 4 * (l % 4).
__device__ __forceinline__ void ldmatrix_x4(uint (&r)[4], uint address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
}

// A load that other CTAs' recent stores are visible to (past L1).
__device__ __forceinline__ Floats4 load_global_cg(const Floats4 *p) {
    Floats4 v;
    asm volatile("ld.global.cg.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "l"(p) : "memory");
    return v;
}

// 2 bytes through the read-only path.
__device__ __forceinline__ unsigned short load_global_u16(const void *p) {
    unsigned short v;
    asm("ld.global.nc.u16 %0, [%1];" : "=h"(v) : "l"(p));
    return v;
}
