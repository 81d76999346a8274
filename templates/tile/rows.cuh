// Row tiles in shared memory: the B operand's tokens (and both operands of the fp16 GEMM), read with ldmatrix.
//
// A row of RowBytes (64, 128 or 256) is cut into 16-byte chunks. ldmatrix reads the same chunk of 8 consecutive rows at once; chunk c of
// row r is stored at chunk c ^ f(r) so that those 8 chunks lie in different banks.
#pragma once

#include "../ptx/copy.cuh"

template <int RowBytes> struct Rows {
    static_assert(RowBytes == 64 || RowBytes == 128 || RowBytes == 256, "a row is 64, 128 or 256 bytes");
    static constexpr int chunks = RowBytes / 16;

    static __device__ __forceinline__ int offset(int row, int chunk) {
        const int f = RowBytes == 64 ? row >> 1 & 3 : row & 7; // two rows of 64 bytes share the 128 bytes of the banks
        return row * RowBytes + (chunk ^ f) * 16;
    }

    // Starts copying `Count` rows from `src` (row 0, this tile's first byte) into `dst`. Rows from `valid_rows` and chunks from
    // `valid_chunks` on become zeros. Pitch in bytes; a tile spans less than 2 GiB.
    template <int Count, int Threads>
    static __device__ __forceinline__ void load(uint dst, const unsigned char *src, int pitch, int valid_rows,
                                                int valid_chunks) {
        // A thread keeps its chunk and steps over whole swizzle periods: one address and constant steps from there on.
        constexpr int step = Threads / chunks;
        static_assert(Threads % chunks == 0 && step % 8 == 0, "every thread of a CTA copies the same chunk of rows 8 apart");
        const int row = static_cast<int>(threadIdx.x) / chunks, chunk = static_cast<int>(threadIdx.x) % chunks;
        const uint to = dst + offset(row, chunk);
        const unsigned char *from = src + row * pitch + chunk * 16;
        const int rows = chunk < valid_chunks ? valid_rows - row : 0;
#pragma unroll
        for (int i = 0; i < (Count + step - 1) / step; i++)
            if (Count % step == 0 || row + i * step < Count)
                cp_async_16(to + i * step * RowBytes, from + i * step * pitch, i * step < rows);
    }
};
