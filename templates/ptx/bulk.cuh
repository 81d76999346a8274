// Bulk copies by the copy engine. Global -> shared: they complete on an mbarrier. Shared -> global: in groups of the issuing thread. sm_90. PTX ISA "cp.async.bulk", "cp.async.bulk.tensor".
#pragma once

#include "mbarrier.cuh"

// True in one lane of a whole warp, and ptxas knows it: a branch on a lane's number would issue copies in a loop over lanes.
__device__ __forceinline__ bool elected() {
    uint chosen;
    asm volatile("{\n"
                 ".reg .pred chosen;\n"
                 "elect.sync _|chosen, 0xffffffff;\n"
                 "selp.u32 %0, 1, 0, chosen;\n"
                 "}"
                 : "=r"(chosen));
    return chosen;
}

// `bytes` contiguous bytes. Both addresses and the size are multiples of 16.
__device__ __forceinline__ void bulk_copy(void *dst, const void *src, int bytes, Barrier *barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     shared_address(dst)),
                 "l"(src), "r"(bytes), "r"(shared_address(barrier))
                 : "memory");
}

// The box of a 2D tensor map whose first element is (x, y), x along the contiguous dimension; elements outside the tensor are zero and
// count as copied bytes.
__device__ __forceinline__ void bulk_copy_box(void *dst, const void *map, int x, int y, Barrier *barrier) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
                     shared_address(dst)),
                 "l"(map), "r"(x), "r"(y), "r"(shared_address(barrier))
                 : "memory");
}

// The same into every CTA of the cluster whose bit is set in `ctas`: to the place that `dst` has in this one, reporting to the barrier at
// the place of `barrier`.
__device__ __forceinline__ void bulk_copy_box_to(int ctas, void *dst, const void *map, int x, int y, Barrier *barrier) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, %3}], "
                 "[%4], %5;" ::"r"(shared_address(dst)),
                 "l"(map), "r"(x), "r"(y), "r"(shared_address(barrier)), "h"(static_cast<unsigned short>(ctas))
                 : "memory");
}

// Ordinary writes of this thread to shared memory become visible to the copy engine.
__device__ __forceinline__ void copy_engine_fence() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// A box of shared memory to a 2D tensor, from element (x, y) on; what lies outside the tensor is not written, but for the 16 bytes
// in which a row ends. Joins this thread's open group.
__device__ __forceinline__ void bulk_store_box(const void *map, int x, int y, const void *src) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map), "r"(x), "r"(y),
                 "r"(shared_address(src))
                 : "memory");
}
__device__ __forceinline__ void bulk_commit() {
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// Waits until the shared memory of all this thread's committed stores has been read and may be overwritten.
__device__ __forceinline__ void bulk_wait_read() {
    asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}

__device__ __forceinline__ void tensor_map_prefetch(const void *map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
