// Small kernels around the wrappers of templates/ptx/ that every device since sm_80 has, and around the parts of templates/tile/ whose bits
// matter. compare_wrappers.c runs each on two devices with the same random words and compares what it writes; sizes and launches stand there.
// A CTA reads its own slice of `in` and writes its own of `out`.
#include "ptx/bits.cuh"
#include "ptx/convert.cuh"
#include "ptx/copy.cuh"
#include "ptx/globaltimer.cuh"
#include "ptx/mma.cuh"
#include "ptx/multiprocessor.cuh"
#include "ptx/probe.cuh"
#include "tile/dequant.cuh"
#include "tile/promote.cuh"

#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)

// ---- copies ----

// 128 threads; in: 128 words of choices, 512 of data. Not everything is copied: what is not valid must become zero.
KERNEL(128) async_copy_16(const uint *in, uint *out) {
    __shared__ Words4 data[128];
    const int t = threadIdx.x;
    const uint choice = in[blockIdx.x * 640 + t];
    const Words4 *from = reinterpret_cast<const Words4 *>(in + blockIdx.x * 640 + 128);
    data[t] = {~0u, ~0u, ~0u, ~0u};
    __syncthreads();
    cp_async_16(shared_address(&data[t ^ 5]), from + choice % 128, choice >> 31);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    reinterpret_cast<Words4 *>(out)[blockIdx.x * 128 + t] = data[t];
}

KERNEL(128) async_copy_4(const uint *in, uint *out) {
    __shared__ uint data[128];
    const int t = threadIdx.x;
    const uint choice = in[blockIdx.x * 640 + t];
    data[t] = ~0u;
    __syncthreads();
    cp_async_4(shared_address(&data[t ^ 9]), in + blockIdx.x * 640 + 128 + choice % 512, choice >> 31);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    out[blockIdx.x * 128 + t] = data[t];
}

// Three groups; two of them have landed when one may still be under way.
KERNEL(128) async_copy_groups(const uint *in, uint *out) {
    __shared__ uint data[3][128];
    const int t = threadIdx.x;
    in += blockIdx.x * 384, out += blockIdx.x * 384;
    for (int g = 0; g < 3; g++) {
        cp_async_4(shared_address(&data[g][t]), in + g * 128 + t, true);
        cp_async_commit();
    }
    cp_async_wait<1>();
    out[t] = data[0][t], out[128 + t] = data[1][t];
    cp_async_wait<0>();
    out[256 + t] = data[2][t];
}

// Rows in an order that the input draws.
KERNEL(32) matrix_load(const uint *in, uint *out) {
    __shared__ Words4 rows[64];
    const int lane = threadIdx.x;
    in += blockIdx.x * 288, out += blockIdx.x * 128;
    for (int i = lane; i < 64; i += 32)
        rows[i] = reinterpret_cast<const Words4 *>(in + 32)[i];
    __syncthreads();
    uint r[4];
    ldmatrix_x4(r, shared_address(&rows[in[lane] % 64]));
    for (int i = 0; i < 4; i++)
        out[lane * 4 + i] = r[i];
}

KERNEL(128) plain_loads(const uint *in, uint *out) {
    const int t = blockIdx.x * 128 + threadIdx.x;
    const Floats4 v = load_global_cg(reinterpret_cast<const Floats4 *>(in) + t % 128);
    out[t * 2] = __float_as_uint(v.x) ^ __float_as_uint(v.y) >> 1 ^ __float_as_uint(v.z) << 1 ^ (__float_as_uint(v.w) | 1u);
    out[t * 2 + 1] = load_global_u16(reinterpret_cast<const unsigned short *>(in) + t) | 0x10000u;
}

// A pointer that is passed around in a register is the pointer; and the loads that only probes use.
KERNEL(128) other_loads(const uint *in, uint *out) {
    __shared__ Words4 data[128];
    const int t = threadIdx.x;
    in += blockIdx.x * 512, out += blockIdx.x * 512;
    kept(data)[t ^ (t / 32)] = load_global_16(in + t * 4); // of one address in the whole warp
    __syncthreads();
    Words4 v = load_shared_16(shared_address(&data[t ^ 64]));
    v.x ^= load_global_4(in + t);
    reinterpret_cast<Words4 *>(out)[t] = v;
}

// ---- single instructions of probes ----
KERNEL(128) single_instructions(const uint *in, uint *out) {
    const int t = blockIdx.x * 128 + threadIdx.x;
    const uint a = in[t * 3], b = in[t * 3 + 1], c = in[t * 3 + 2];
    out[t * 5] = one_fma(a, b, c);
    out[t * 5 + 1] = one_add(a, b);
    out[t * 5 + 2] = one_mad(a, b, c);
    out[t * 5 + 3] = one_lop3(a, b, c);
    out[t * 5 + 4] = one_convert(a);
}

// ---- tensor cores of one warp ----

// in: 10 words of each lane, a, b, c.
template <bool WeightsUnsigned> __device__ __forceinline__ void integer_product(const uint *in, uint *out) {
    in += (blockIdx.x * 32 + threadIdx.x) * 10, out += (blockIdx.x * 32 + threadIdx.x) * 4;
    const uint a[4] = {in[0], in[1], in[2], in[3]};
    const int c[4] = {static_cast<int>(in[6]), static_cast<int>(in[7]), static_cast<int>(in[8]), static_cast<int>(in[9])};
    int d[4];
    mma_m16n8k32<WeightsUnsigned>(d, a, in[4], in[5], c);
    for (int i = 0; i < 4; i++)
        out[i] = static_cast<uint>(d[i]);
}
KERNEL(32) mma_s8(const uint *in, uint *out) {
    integer_product<false>(in, out);
}
KERNEL(32) mma_u8(const uint *in, uint *out) {
    integer_product<true>(in, out);
}

// Of each element also the sum of the magnitudes of its terms, which bounds what the order of summation may change.
template <bool Bf16> __device__ __forceinline__ void float_product(const uint *in, uint *out) {
    in += (blockIdx.x * 32 + threadIdx.x) * 10, out += (blockIdx.x * 32 + threadIdx.x) * 8;
    const uint a[4] = {in[0], in[1], in[2], in[3]}, magnitude = 0x7fff7fffu;
    const uint abs_a[4] = {in[0] & magnitude, in[1] & magnitude, in[2] & magnitude, in[3] & magnitude};
    float d[4], mass[4];
    for (int i = 0; i < 4; i++) {
        d[i] = static_cast<float>(static_cast<int>(in[6 + i] % 4096) - 2048);
        mass[i] = fabsf(d[i]);
    }
    mma_m16n8k16<Bf16>(d, a, in[4], in[5]);
    mma_m16n8k16<Bf16>(mass, abs_a, in[4] & magnitude, in[5] & magnitude);
    for (int i = 0; i < 4; i++)
        out[i * 2] = __float_as_uint(d[i]), out[i * 2 + 1] = __float_as_uint(mass[i]);
}
KERNEL(32) mma_f16(const uint *in, uint *out) {
    float_product<false>(in, out);
}
KERNEL(32) mma_bf16(const uint *in, uint *out) {
    float_product<true>(in, out);
}

// ---- conversions ----

// All 65536 patterns, one a thread.
KERNEL(128) widen(const uint *, uint *out) {
    const int t = blockIdx.x * 128 + threadIdx.x;
    const unsigned short bits = static_cast<unsigned short>(t);
    out[t * 3] = __float_as_uint(half_to_float(bits));
    out[t * 3 + 1] = __float_as_uint(to_float<false>(bits));
    out[t * 3 + 2] = __float_as_uint(to_float<true>(bits));
}

KERNEL(128) narrow_f16(const uint *in, uint *out) {
    const int t = blockIdx.x * 128 + threadIdx.x;
    out[t] = from_float<false>(__uint_as_float(in[t]));
}
KERNEL(128) narrow_bf16(const uint *in, uint *out) {
    const int t = blockIdx.x * 128 + threadIdx.x;
    out[t] = from_float<true>(__uint_as_float(in[t]));
}

KERNEL(128) narrow_pairs(const uint *in, uint *out) {
    const int t = blockIdx.x * 128 + threadIdx.x;
    const float low = __uint_as_float(in[t * 2]), high = __uint_as_float(in[t * 2 + 1]);
    out[t * 2] = pack_floats<false>(low, high);
    out[t * 2 + 1] = pack_floats<true>(low, high);
}

// ---- weights to fragments ----

// 256 threads: every pair of zero points; 16 rounds: every code at every place. in: how far the codes of a word are rotated.
template <class W> __device__ __forceinline__ void unpack_4_bits(const uint *in, uint *out) {
    __shared__ Words4 data[256];
    const int t = threadIdx.x;
    for (uint v = 0; v < 16; v++) {
        uint word[4];
        for (uint j = 0; j < 4; j++) {
            word[j] = 0;
            for (uint i = 0; i < 8; i++)
                word[j] |= ((v + i + 3 * j) & 15) << (4 * i);
            word[j] = __funnelshift_l(word[j], word[j], in[v * 4 + j] % 8 * 4);
        }
        data[t] = {word[0], word[1], word[2], word[3]};
        uint a[2][4];
        W::load_k64(a, reinterpret_cast<const unsigned char *>(&data[t]), t % 16 * 0x01010101u, t / 16 * 0x01010101u);
        for (int j = 0; j < 8; j++)
            out[(v * 8 + j) * 256 + t] = a[j / 4][j % 4];
    }
}
KERNEL(256) dequantise_subtract(const uint *in, uint *out) {
    unpack_4_bits<Weights<4, false, ZERO_SUBTRACT>>(in, out);
}
KERNEL(256) dequantise_codes(const uint *in, uint *out) {
    unpack_4_bits<Weights<4, false, ZERO_START>>(in, out);
}
KERNEL(256) dequantise_symmetric(const uint *in, uint *out) {
    unpack_4_bits<Weights<4, true, ZERO_SUBTRACT>>(in, out);
}
KERNEL(128) masked_bits(const uint *in, uint *out) {
    const int t = blockIdx.x * 128 + threadIdx.x;
    out[t] = masked_and_flipped(in[t * 3], in[t * 3 + 1], in[t * 3 + 2]);
}

KERNEL(32) dequantise_8_bits(const uint *in, uint *out) {
    __shared__ Words4 data[64];
    in += blockIdx.x * 256, out += blockIdx.x * 256;
    for (int i = threadIdx.x; i < 64; i += 32)
        data[i] = reinterpret_cast<const Words4 *>(in)[i];
    __syncthreads();
    uint a[2][4];
    Weights<8, false, ZERO_SUBTRACT>::load_k64(a, reinterpret_cast<const unsigned char *>(data) + threadIdx.x * 16, 0, 0);
    for (int j = 0; j < 8; j++)
        out[j * 32 + threadIdx.x] = a[j / 4][j % 4];
}

// ---- integer sums to float ----

// Every sum from -2^22 + 1 to 2^22 - 1 once: 1024 for a thread, folded into one word. Scales are fp16 numbers of weights and floats of tokens.
template <int Mode> __device__ __forceinline__ void promote_all(const uint *in, uint *out) {
    const int t = blockIdx.x * 128 + threadIdx.x, first = t * 1024 - (1 << 22);
    const float sw = half_to_float(static_cast<unsigned short>(in[t] % 0x7bff + 1)); // positive and finite
    const float sx = __uint_as_float((in[t] >> 4) % 0x10000000u + 0x38000000u);        // 3e-5 and larger
    const float offset = Promotion<Mode>::offset(sw);
    float acc = 0;
    uint folded = 0;
    for (int i = 0; i < 1024; i++) {
        const int sum = max(first + i, 1 - (1 << 22)) + Promotion<Mode>::start;
        acc = Promotion<Mode>::add(i % 4 ? acc : 0.0f, sum, sw, offset, sx);
        folded = (folded << 5 | folded >> 27) ^ __float_as_uint(acc);
    }
    out[t] = folded;
}
KERNEL(128) promote_convert(const uint *in, uint *out) {
    promote_all<PROMOTE_CONVERT>(in, out);
}
KERNEL(128) promote_subtract(const uint *in, uint *out) {
    promote_all<PROMOTE_SUBTRACT>(in, out);
}
KERNEL(128) promote_fma(const uint *in, uint *out) {
    promote_all<PROMOTE_FMA>(in, out);
}

// ---- the common clock: never back, and on before long ----
KERNEL(32) common_clock(const uint *, uint *out) {
    const unsigned long long first = globaltimer();
    unsigned long long last = first;
    uint steady = 1;
    for (int i = 0; i < 200000 && last < first + 2; i++) {
        const unsigned long long now = globaltimer();
        steady &= now >= last;
        last = now;
    }
    out[threadIdx.x * 2] = steady, out[threadIdx.x * 2 + 1] = last > first;
}

// ---- the multiprocessor: its number is one of them, and that of the whole CTA ----
KERNEL(64) own_multiprocessor(const uint *, uint *out) {
    __shared__ uint numbers[64];
    const uint here = multiprocessor();
    numbers[threadIdx.x] = here;
    __syncthreads();
    out[(blockIdx.x * 64 + threadIdx.x) * 2] = here < multiprocessors();
    out[(blockIdx.x * 64 + threadIdx.x) * 2 + 1] = numbers[63 - threadIdx.x] == here;
}
