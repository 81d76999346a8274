// mbarrier objects in shared memory: phases that complete when all arrivals and all announced bytes are in.
// PTX ISA "Parallel Synchronization and Communication Instructions: mbarrier".
#pragma once

#include "copy.cuh"

using Barrier = unsigned long long;

__device__ __forceinline__ void mbarrier_init(Barrier *barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

// Makes the initialisation visible to the copy engine and to other CTAs of a cluster; a CTA barrier must follow.
__device__ __forceinline__ void mbarrier_init_fence() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

__device__ __forceinline__ void mbarrier_arrive(Barrier *barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}

// One arrival that also announces `bytes` of asynchronous copies to this phase.
__device__ __forceinline__ void mbarrier_arrive_expect(Barrier *barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                 : "memory");
}

// One arrival when all earlier cp.async of this thread have landed; it counts among the arrivals given to mbarrier_init.
__device__ __forceinline__ void mbarrier_arrive_on_cp_async(Barrier *barrier) {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_address(barrier)) : "memory");
}

#define MBARRIER_TRY_WAIT(SEMANTICS)                                                                                                   \
    asm volatile("{\n"                                                                                                                 \
                 ".reg .pred complete;\n"                                                                                              \
                 "mbarrier.try_wait.parity" SEMANTICS ".shared::cta.b64 complete, [%1], %2;\n"                                         \
                 "selp.u32 %0, 1, 0, complete;\n"                                                                                      \
                 "}"                                                                                                                   \
                 : "=r"(done)                                                                                                          \
                 : "r"(address), "r"(parity)                                                                                           \
                 : "memory")

// Waits until the phase of the given parity has completed. The first phase has parity 0; a fresh barrier counts as having completed parity 1.
// OfCluster: what other CTAs published with their arrivals is then visible; else what this one did.
template <bool OfCluster = false> __device__ __forceinline__ void mbarrier_wait(Barrier *barrier, int parity) {
    const uint address = shared_address(barrier);
    uint done;
    do {
        if constexpr (OfCluster)
            MBARRIER_TRY_WAIT(".acquire.cluster");
        else
            MBARRIER_TRY_WAIT("");
    } while (!done);
}

#undef MBARRIER_TRY_WAIT

// A barrier among some warps of the CTA: `threads` of them, numbered 1 to 15 (0 is __syncthreads).
__device__ __forceinline__ void named_barrier(int number, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}
// Counts this warp among those, and does not wait.
__device__ __forceinline__ void named_barrier_arrive(int number, int threads) {
    asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
}
