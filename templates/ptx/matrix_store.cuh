// Matrices of 16-bit elements, registers -> shared memory, transposed. PTX ISA "stmatrix". sm_90.
#pragma once

#include "copy.cuh"

// Count (1, 2 or 4) matrices of 8 x 8: lane l holds, of each, the elements (l / 4, 2 (l % 4)) and the next one along the row. Lane l % 8 of
// the l / 8 th eight lanes gives the address of one *column* of that matrix, whose 16 bytes are written there.
template <int Count> __device__ __forceinline__ void stmatrix_transposed(uint address, const uint (&r)[Count]) {
    static_assert(Count == 2 || Count == 4, "two or four matrices");
    if constexpr (Count == 4)
        asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(r[0]), "r"(r[1]),
                     "r"(r[2]), "r"(r[3])
                     : "memory");
    else
        asm volatile("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1, %2};" ::"r"(address), "r"(r[0]), "r"(r[1]) : "memory");
}
