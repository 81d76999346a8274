// Activations fp16/bf16 [M][ldx] -> int8 [M][Kp], scales fp32 [groups][M], sums int32 [groups][M]; arguments in gemm_args.h.
//
// Symmetric per token and group: s = max|x| / 127, q = rint(x / s), both divisions IEEE; |q| is 127 at most. A group whose scale would be
// subnormal (all zeros, say) gets the smallest normal scale and zeros. NaN becomes 0.
// 8 elements a lane, 16 bytes: GROUP / 8 lanes for a group. Grid: ceil(Kp / 1024) by tokens, or by 65535; block 128.
#include "gemm_args.h"
#include "ptx/convert.cuh"

#ifndef GROUP // group size along K: 64, 128 or 256
#error GROUP is unset
#endif
#ifndef IN_BF16 // the input is bf16, else fp16
#error IN_BF16 is unset
#endif

constexpr int per_lane = 8, lanes = GROUP / per_lane;
constexpr float smallest_normal = 1.17549435e-38f;

// This lane's elements; those beyond K are zero. One load when the address allows it.
__device__ __forceinline__ void load_elements(float (&x)[per_lane], const unsigned short *row, int k0, int k) {
    struct alignas(per_lane * 2) Vector {
        unsigned short e[per_lane];
    };
    const unsigned short *from = row + k0;
    if (k0 + per_lane <= k && reinterpret_cast<unsigned long long>(from) % sizeof(Vector) == 0) {
        const Vector v = *reinterpret_cast<const Vector *>(from);
#pragma unroll
        for (int i = 0; i < per_lane; i++)
            x[i] = to_float<IN_BF16>(v.e[i]);
    } else {
#pragma unroll
        for (int i = 0; i < per_lane; i++)
            x[i] = k0 + i < k ? to_float<IN_BF16>(from[i]) : 0.0f;
    }
}

// Division by one number many times: its reciprocal, and two corrections, of which the second rounds as IEEE division does (Markstein 1990)
// if the reciprocal is rounded to nearest, the divisor's mantissa is not all ones, and nothing leaves the range of normal numbers.
struct Divisor {
    float s, inverse;
    bool plain; // for those that this is not right for
    __device__ __forceinline__ explicit Divisor(float s)
        : s(s), inverse(__frcp_rn(s)), plain(!(s > 1e-18f && s < 1e18f) || (__float_as_uint(s) & 0x7fffffu) == 0x7fffffu) {}
    __device__ __forceinline__ float quotient(float x) const {
        if (plain)
            return __fdiv_rn(x, s);
        float q = x * inverse;
        q = fmaf(fmaf(-q, s, x), inverse, q);
        return fmaf(fmaf(-q, s, x), inverse, q);
    }
};

__device__ __forceinline__ unsigned pack_bytes(const int (&q)[per_lane], int first) {
    return __byte_perm(__byte_perm(static_cast<unsigned>(q[first]), static_cast<unsigned>(q[first + 1]), 0x0040),
                       __byte_perm(static_cast<unsigned>(q[first + 2]), static_cast<unsigned>(q[first + 3]), 0x0040), 0x5410);
}

__device__ __forceinline__ void quantize(const mt_quantize_args &args, int token, int k0) {
    float x[per_lane], largest = 0.0f;
    load_elements(x, static_cast<const unsigned short *>(args.x) + static_cast<long long>(token) * args.ldx, k0, args.k);
#pragma unroll
    for (int i = 0; i < per_lane; i++)
        largest = fmaxf(largest, fabsf(x[i]));
#pragma unroll
    for (int distance = lanes / 2; distance > 0; distance /= 2)
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, distance));

    float scale = __fdiv_rn(largest, 127.0f);
    const bool flush = scale < smallest_normal;
    scale = flush ? smallest_normal : scale;
    const Divisor divisor(scale);
    int q[per_lane];
#pragma unroll
    for (int i = 0; i < per_lane; i++)
        q[i] = flush ? 0 : __float2int_rn(divisor.quotient(x[i]));
    struct alignas(per_lane) Codes {
        unsigned low, high;
    } const codes = {pack_bytes(q, 0), pack_bytes(q, 4)};
    int sum = 0;
#pragma unroll
    for (int i = 0; i < per_lane; i++)
        sum += q[i];
#pragma unroll
    for (int distance = lanes / 2; distance > 0; distance /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    if (k0 < args.k_padded) // the last group may be short
        *reinterpret_cast<Codes *>(args.q + static_cast<long long>(token) * args.k_padded + k0) = codes;
    const int group = k0 / GROUP;
    if (threadIdx.x % lanes == 0 && group < args.groups) {
        args.scales[static_cast<long long>(group) * args.m + token] = scale;
        args.sums[static_cast<long long>(group) * args.m + token] = sum;
    }
}

extern "C" __global__ void __launch_bounds__(MT_QUANTIZE_THREADS) quantize_act(const __grid_constant__ mt_quantize_args args) {
    const int k0 = static_cast<int>(blockIdx.x * MT_QUANTIZE_THREADS + threadIdx.x) * per_lane;
    for (int token = static_cast<int>(blockIdx.y); token < args.m; token += static_cast<int>(gridDim.y))
        quantize(args, token, k0);
}
