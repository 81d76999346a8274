// From packed weight blocks in shared memory to the A fragments of m16n8k32.
//
// A block is 512 contiguous bytes, 16 per lane. 8-bit: 16 features x 32 k, a lane's four words are a0..a3. 4-bit: 16 features x 64 k,
// word j holds a_j of the first 32 k in its low nibbles and of the second 32 k in its high nibbles.
#pragma once

#include "../ptx/copy.cuh"

// A zero point as it is used: Subtract: 128 - zero in every byte, for load_weights_k64(); else -zero, which multiplies a group's sum.
template <bool Subtract> __device__ __forceinline__ uint packed_zero(uint zero) {
    return Subtract ? 0x80808080u - zero * 0x01010101u : 0u - zero;
}

// The A fragments of 16 features x 64 k. `block` points at this lane's 16 bytes of the first block.
// SubtractZero (4-bit only): the bytes become code - zero, signed; z0 and z1 hold 128 - zero of the lane's two features (rows
// lane / 4 and lane / 4 + 8) in every byte. Otherwise the codes stay unsigned and the zero point is accounted for elsewhere.
template <int Bits, bool SubtractZero>
__device__ __forceinline__ void load_weights_k64(uint (&a)[2][4], const unsigned char *block, uint z0, uint z1) {
    const Words4 first = *reinterpret_cast<const Words4 *>(block);
    if constexpr (Bits == 8) {
        const Words4 second = *reinterpret_cast<const Words4 *>(block + 512);
        a[0][0] = first.x, a[0][1] = first.y, a[0][2] = first.z, a[0][3] = first.w;
        a[1][0] = second.x, a[1][1] = second.y, a[1][2] = second.z, a[1][3] = second.w;
    } else {
        const uint word[4] = {first.x, first.y, first.z, first.w};
#pragma unroll
        for (int j = 0; j < 4; j++) {
            uint low = word[j] & 0x0f0f0f0fu, high = word[j] >> 4 & 0x0f0f0f0fu;
            if constexpr (SubtractZero) {
                // 128 + code - zero is within a byte; flipping bit 7 leaves code - zero in two's complement. 7 instructions for 8 weights.
                const uint z = j % 2 ? z1 : z0;
                low = (low + z) ^ 0x80808080u, high = (high + z) ^ 0x80808080u;
            }
            a[0][j] = low, a[1][j] = high;
        }
    }
}

// Where in a stage's weights the blocks of 16 features x 64 k begin. The stage holds [slab of 128 k][16 features][blocks along k]; a K step
// of 64 is half a slab. `features16` and `k64` count from the tile's corner.
template <int Bits, int TileN, int TileK> __device__ __forceinline__ constexpr int weights_offset(int features16, int k64) {
    constexpr int per_slab = TileK < 128 ? 1 : 2, bytes = 64 * Bits * 2; // k64 units per slab; bytes of one
    return ((k64 / per_slab * (TileN / 16) + features16) * per_slab + k64 % per_slab) * bytes;
}
