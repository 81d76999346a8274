// Promotion: the exact int32 sum P of one group becomes part of the fp32 accumulator, acc += (P * sw) * sx.
//
// All modes round in the same two places, t = rn(P * sw) and acc = rn(t * sx + acc), so they agree bit for bit:
//   convert   I2F, FMUL, FFMA. The conversion is slow on sm_80.
//   subtract  the group's sum starts at 0x4B400000, which read as a float is B = 1.5 * 2^23, so that the bits of start + P are the
//             float B + P as long as |P| <= 2^22. FADD -B, FMUL, FFMA; the start is free as the C operand of the first mma.
//   fma       t = fma(B + P, sw, -B * sw), exact before its one rounding because B * sw needs 13 bits: two instructions.
#pragma once

enum { PROMOTE_CONVERT = 0, PROMOTE_SUBTRACT = 1, PROMOTE_FMA = 2 };

template <int Mode> struct Promotion {
    static constexpr int start = Mode == PROMOTE_CONVERT ? 0 : 0x4B400000;
    static constexpr float bias = 12582912.0f; // 0x4B400000 as a float

    // What `add` needs of a feature's scale beside the scale itself.
    static __device__ __forceinline__ float offset(float sw) {
        return Mode == PROMOTE_FMA ? -bias * sw : 0.0f;
    }
    static __device__ __forceinline__ float add(float acc, int sum, float sw, float offset, float sx) {
        float t;
        if constexpr (Mode == PROMOTE_CONVERT)
            t = __fmul_rn(__int2float_rn(sum), sw);
        else if constexpr (Mode == PROMOTE_SUBTRACT)
            t = __fmul_rn(__fadd_rn(__int_as_float(sum), -bias), sw);
        else
            t = __fmaf_rn(__int_as_float(sum), sw, offset);
        return __fmaf_rn(t, sx, acc);
    }
};

// |P| of a whole group of weights of magnitude `most` at most; tokens are within -127..127. 128 * 127 * 256 is 0.8 % below.
template <int Group> __host__ __device__ constexpr bool promotion_is_exact(int most) {
    return most * 127 * Group < (1 << 22);
}
