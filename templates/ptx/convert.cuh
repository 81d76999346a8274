// Between fp32 and the 16-bit float formats. PTX ISA "cvt". NVRTC then needs no CUDA header, which halves the time of a compile.
#pragma once

__device__ __forceinline__ float half_to_float(unsigned short h) {
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
}

// bf16 is the upper half of a float.
template <bool Bf16> __device__ __forceinline__ float to_float(unsigned short bits) {
    if constexpr (Bf16)
        return __uint_as_float(static_cast<unsigned>(bits) << 16);
    else
        return half_to_float(bits);
}

// Two of them, each rounded to nearest even; `low` in the lower half.
template <bool Bf16> __device__ __forceinline__ unsigned pack_floats(float low, float high) {
    unsigned pair;
    if constexpr (Bf16)
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    else
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// Round to nearest even.
template <bool Bf16> __device__ __forceinline__ unsigned short from_float(float f) {
    unsigned short h;
    if constexpr (Bf16)
        asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(f));
    else
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
    return h;
}
