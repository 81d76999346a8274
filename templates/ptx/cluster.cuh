// CTAs of one cluster: who they are, a barrier among them, and arrivals at each other's mbarriers. PTX ISA "barrier.cluster", "mapa". sm_90.
#pragma once

#include "mbarrier.cuh"

__device__ __forceinline__ int cluster_rank() {
    int rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank)); // volatile: read again rather than kept in a register
    return rank;
}

// All threads of all CTAs of the cluster.
__device__ __forceinline__ void cluster_sync() {
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// One arrival at the barrier that lies in CTA `rank` where `barrier` lies in this one.
__device__ __forceinline__ void mbarrier_arrive_at(Barrier *barrier, int rank) {
    asm volatile("{\n"
                 ".reg .b32 there;\n"
                 "mapa.shared::cluster.u32 there, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [there];\n"
                 "}" ::"r"(shared_address(barrier)),
                 "r"(rank)
                 : "memory");
}
