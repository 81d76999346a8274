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
    __syncwarp(); // .aligned: the lanes together
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// The address in CTA `rank` of what lies at `address` in this one: for the loads and arrivals below.
__device__ __forceinline__ uint address_at(uint address, int rank) {
    uint there;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank)); // volatile: not for ranks that do not exist
    return there;
}
__device__ __forceinline__ Floats4 load_at(uint there) {
    Floats4 v;
    asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(there) : "memory");
    return v;
}

// One arrival at the barrier that lies in CTA `rank` where `barrier` lies in this one.
__device__ __forceinline__ void mbarrier_arrive_at(Barrier *barrier, int rank) {
    asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(address_at(shared_address(barrier), rank)) : "memory");
}
// The same, after which the writes of this thread are visible to who waits for the phase with mbarrier_wait<true>().
__device__ __forceinline__ void mbarrier_publish_at(Barrier *barrier, int rank) {
    asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(address_at(shared_address(barrier), rank)) : "memory");
}
