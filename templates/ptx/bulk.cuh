// Bulk copies, global -> shared, by the copy engine; they complete on an mbarrier. sm_90. PTX ISA "cp.async.bulk", "cp.async.bulk.tensor".
#pragma once

#include "mbarrier.cuh"

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

__device__ __forceinline__ void tensor_map_prefetch(const void *map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
