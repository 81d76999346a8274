// From packed weight blocks in shared memory to the A fragments of m16n8k32.
//
// A block is 512 contiguous bytes, 16 per lane. 8-bit: 16 features x 32 k, a lane's four words are a0..a3. 4-bit: 16 features x 64 k,
// word j holds a_j of the first 32 k in its low nibbles and of the second 32 k in its high nibbles.
#pragma once

#include "../ptx/bits.cuh"
#include "../ptx/convert.cuh"
#include "../ptx/copy.cuh"

enum { ZERO_SUBTRACT = 0, ZERO_START = 1 };

// What weights are to the tensor core, and so what becomes of their zero points:
//   8 bits              code, signed: there is none
//   4 bits, subtract    code - zero, signed
//   4 bits, start       code, unsigned; -zero times the group's sum of the tokens stands in the start value
//   4 bits, symmetric   16 * (code - 8), signed: zero points are 8 everywhere; 1/16 stands in the scale, exactly
template <int Bits_, bool Symmetric, int Zero> struct Weights {
    static constexpr int Bits = Bits_;
    static constexpr bool symmetric = Bits == 4 && Symmetric;
    static constexpr bool has_zeros = Bits == 4 && !Symmetric, subtract = has_zeros && Zero == ZERO_SUBTRACT;
    static constexpr bool start_from_sums = has_zeros && Zero == ZERO_START;
    static constexpr bool codes_unsigned = start_from_sums;
    static constexpr int most = has_zeros ? 15 : 128; // magnitude of a weight less its zero point, at most

    static __device__ __forceinline__ float scale(unsigned short bits) {
        return symmetric ? half_to_float(bits) * 0.0625f : half_to_float(bits);
    }
    // A zero point as it is used: 128 - zero in every byte, for load_k64(), or -zero, which multiplies a group's sum.
    static __device__ __forceinline__ uint packed_zero(uint zero) {
        return subtract ? 0x80808080u - zero * 0x01010101u : 0u - zero;
    }
    // The A fragments of 16 features x 64 k. `block` points at this lane's 16 bytes of the first block; z0 and z1 are packed_zero() of the
    // lane's two features (rows lane / 4 and lane / 4 + 8), where it is subtracted.
    static __device__ __forceinline__ void load_k64(uint (&a)[2][4], const unsigned char *block, uint z0, uint z1) {
        const Words4 first = *reinterpret_cast<const Words4 *>(block);
        if constexpr (Bits == 8) {
            const Words4 second = *reinterpret_cast<const Words4 *>(block + 512);
            a[0][0] = first.x, a[0][1] = first.y, a[0][2] = first.z, a[0][3] = first.w;
            a[1][0] = second.x, a[1][1] = second.y, a[1][2] = second.z, a[1][3] = second.w;
        } else {
            const uint word[4] = {first.x, first.y, first.z, first.w};
#pragma unroll
            for (int j = 0; j < 4; j++) {
                if constexpr (symmetric) {
                    // Of a code in the high nibble of a byte bit 7 is all that is to be flipped. 3 instructions for 8 weights.
                    a[0][j] = masked_and_flipped(word[j] << 4, 0xf0f0f0f0u, 0x80808080u);
                    a[1][j] = masked_and_flipped(word[j], 0xf0f0f0f0u, 0x80808080u);
                    continue;
                }
                uint low = word[j] & 0x0f0f0f0fu, high = word[j] >> 4 & 0x0f0f0f0fu;
                if constexpr (subtract) {
                    // 128 + code - zero is within a byte; flipping bit 7 leaves code - zero in two's complement. 7 instructions for 8 weights.
                    const uint z = j % 2 ? z1 : z0;
                    low = (low + z) ^ 0x80808080u, high = (high + z) ^ 0x80808080u;
                }
                a[0][j] = low, a[1][j] = high;
            }
        }
    }
};

// Where in a stage's weights the blocks of 16 features x 64 k begin. The stage holds [slab of 128 k][16 features][blocks along k]; a K step
// of 64 is half a slab. `features16` and `k64` count from the tile's corner.
template <int Bits, int TileN, int TileK> __device__ __forceinline__ constexpr int weights_offset(int features16, int k64) {
    constexpr int per_slab = TileK < 128 ? 1 : 2, bytes = 64 * Bits * 2; // k64 units per slab; bytes of one
    return ((k64 / per_slab * (TileN / 16) + features16) * per_slab + k64 % per_slab) * bytes;
}
