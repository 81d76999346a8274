// Activations fp16/bf16 [M][ldx] -> int8 [M][Kp], scales fp32 [groups][M], sums int32 [groups][M]; arguments in gemm_args.h.
//
// Symmetric per token and group: s = max|x| / 127, q = clamp(rint(x / s), -127, 127), both divisions IEEE. A group whose scale would be
// subnormal (all zeros, say) gets the smallest normal scale and zeros. NaN becomes 0.
// One warp per (token, group). Grid: ceil(m * groups / 4), block 128.
#include "gemm_args.h"
#include "ptx/convert.cuh"

#ifndef GROUP // group size along K: 64, 128 or 256
#error GROUP is unset
#endif
#ifndef IN_BF16 // the input is bf16, else fp16
#error IN_BF16 is unset
#endif

constexpr int per_lane = GROUP / 32; // consecutive elements of one lane: 2, 4 or 8
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

extern "C" __global__ void __launch_bounds__(128) quantize_act(const __grid_constant__ mt_quantize_args args) {
    const int work = static_cast<int>(blockIdx.x * 4 + threadIdx.x / 32), lane = threadIdx.x % 32;
    if (work >= args.m * args.groups)
        return;
    const int token = work / args.groups, group = work % args.groups; // a CTA reads along K
    const int k0 = group * GROUP + lane * per_lane;
    float x[per_lane], largest = 0.0f;
    load_elements(x, static_cast<const unsigned short *>(args.x) + static_cast<long long>(token) * args.ldx, k0, args.k);
#pragma unroll
    for (int i = 0; i < per_lane; i++)
        largest = fmaxf(largest, fabsf(x[i]));
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, distance));

    float scale = __fdiv_rn(largest, 127.0f);
    const bool flush = scale < smallest_normal;
    scale = flush ? smallest_normal : scale;
    struct alignas(per_lane) Codes {
        signed char e[per_lane];
    } codes;
    int sum = 0;
#pragma unroll
    for (int i = 0; i < per_lane; i++) {
        const int q = flush ? 0 : max(-127, min(127, __float2int_rn(__fdiv_rn(x[i], scale))));
        codes.e[i] = static_cast<signed char>(q);
        sum += q;
    }
    if (k0 < args.k_padded) // the last group may be short
        *reinterpret_cast<Codes *>(args.q + static_cast<long long>(token) * args.k_padded + k0) = codes;
    sum = __reduce_add_sync(0xffffffffu, sum);
    if (lane == 0) {
        args.scales[static_cast<long long>(group) * args.m + token] = scale;
        args.sums[static_cast<long long>(group) * args.m + token] = sum;
    }
}
