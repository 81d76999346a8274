// What the device can do at best, one kernel for each limit (tuner/measure/probe.h lists them): bandwidths, rates of single instructions and of the
// tensor core, latencies. Every kernel writes what it computed, so that the host can see that the work was done.
//
// `rounds` repeats the loop body. A `seed` of 0 makes every operand one known number, so that the result is known too; else they are random.
#include "ptx/bulk.cuh"
#include "ptx/mma.cuh"
#include "ptx/probe.cuh"
#include "ptx/wgmma.cuh"

#ifndef WGMMA // 1: the kernels of wgmma (sm_90a); 0: all others, so that their module has none
#error WGMMA is unset
#endif

constexpr int threads = 256, products = 64;

__device__ __forceinline__ uint thread_number() {
    return blockIdx.x * threads + threadIdx.x;
}
__device__ __forceinline__ uint mix(uint x) {
    x ^= x >> 16, x *= 0x7feb352du;
    x ^= x >> 15, x *= 0x846ca68bu;
    return x ^ x >> 16;
}
// Operand `i` of this thread.
__device__ __forceinline__ uint operand(uint seed, uint i, uint known) {
    return seed ? mix(seed + thread_number() * 64 + i) : known;
}

#if !WGMMA

constexpr int chains = 8, instructions = 256;

// ---- single instructions: `instructions` of them a round, in independent chains ----

#define PROBE_CHAINS(NAME, NEXT)                                                                                                       \
    extern "C" __global__ void __launch_bounds__(threads) NAME(uint *out, int rounds, uint seed) {                                     \
        uint x[chains], all = 0;                                                                                                       \
        const uint first = mix(seed + thread_number());                                                                                \
        for (int j = 0; j < chains; j++)                                                                                               \
            x[j] = first + static_cast<uint>(j);                                                                                       \
        for (int r = 0; r < rounds; r++)                                                                                               \
            _Pragma("unroll") for (int i = 0; i < instructions; i++) {                                                                 \
                const int j = i % chains;                                                                                              \
                x[j] = NEXT(x[j], x[(j + 1) % chains], x[(j + 3) % chains]);                                                           \
            }                                                                                                                          \
        for (int j = 0; j < chains; j++)                                                                                               \
            all ^= x[j];                                                                                                               \
        out[thread_number()] = all;                                                                                                    \
    }
// Two registers: three may lie in one bank, and are then read in turns.
#define NEXT_FMA(a, b, c) one_fma(a, a, b)
#define NEXT_ADD(a, b, c) one_add(a, b)
#define NEXT_MAD(a, b, c) one_mad(a, b, c)
#define NEXT_LOP3(a, b, c) one_lop3(a, b, c)
#define NEXT_CONVERT(a, b, c) one_convert(a)
PROBE_CHAINS(probe_fma, NEXT_FMA)
PROBE_CHAINS(probe_add, NEXT_ADD)
PROBE_CHAINS(probe_mad, NEXT_MAD)
PROBE_CHAINS(probe_lop3, NEXT_LOP3)
PROBE_CHAINS(probe_convert, NEXT_CONVERT)

// 16 bytes a lane from shared memory, `passes` times a round. Each round reads other bytes: equal loads would be done once. Threads whose
// numbers are equal modulo `Addresses` read the same.
template <int Addresses> __device__ __forceinline__ void read_shared(uint *out, int rounds, uint seed) {
    constexpr int passes = 8, bytes = passes * threads * 16;
    alignas(16) __shared__ uint memory[bytes / 4];
    for (int i = threadIdx.x; i < bytes / 4; i += threads)
        memory[i] = seed ? mix(seed + i) : i;
    __syncthreads();
    const uint base = shared_address(memory);
    uint all = 0, at = threadIdx.x % Addresses * 16;
    for (int r = 0; r < rounds; r++, at = (at + 512) % (threads * 16))
#pragma unroll
        for (int i = 0; i < passes; i++) {
            const Words4 v = load_shared_16(base + at + i * (threads * 16));
            all += v.x ^ v.y ^ v.z ^ v.w;
        }
    out[thread_number()] = all;
}

extern "C" __global__ void __launch_bounds__(threads) probe_shared(uint *out, int rounds, uint seed) {
    read_shared<threads>(out, rounds, seed);
}
// As the scales of tokens are read: a quad of lanes holds what all quads want.
extern "C" __global__ void __launch_bounds__(threads) probe_shared_quad(uint *out, int rounds, uint seed) {
    read_shared<4>(out, rounds, seed);
}

// ---- tensor core: `products` multiplications of a warp (or warp group) a round ----

extern "C" __global__ void __launch_bounds__(threads) probe_mma_s8(uint *out, int rounds, uint seed) {
    constexpr int tiles = 8;
    int d[tiles][4] = {};
    uint a[2][4], b[2][2], all = 0;
    for (int i = 0; i < 12; i++)
        (i < 8 ? a[i / 4][i % 4] : b[i / 2 % 2][i % 2]) = operand(seed, i, 0x01010101);
    for (int r = 0; r < rounds; r++)
#pragma unroll
        for (int i = 0; i < products; i++)
            mma_m16n8k32<false>(d[i % tiles], a[i % 2], b[i / 2 % 2][0], b[i / 2 % 2][1], d[i % tiles]);
    for (int i = 0; i < tiles * 4; i++)
        all += static_cast<uint>(d[i / 4][i % 4]);
    out[thread_number()] = all;
}

extern "C" __global__ void __launch_bounds__(threads) probe_mma_f16(uint *out, int rounds, uint seed) {
    constexpr int tiles = 8;
    float d[tiles][4] = {}, all = 0;
    uint a[2][4], b[2][2];
    for (int i = 0; i < 12; i++) // random: numbers of 1 to 2, with both signs
        (i < 8 ? a[i / 4][i % 4] : b[i / 2 % 2][i % 2]) =
            seed ? (operand(seed, i, 0) & 0x83ff83ff) | 0x3c003c00 : 0x3c003c00;
    for (int r = 0; r < rounds; r++)
#pragma unroll
        for (int i = 0; i < products; i++)
            mma_m16n8k16<false>(d[i % tiles], a[i % 2], b[i / 2 % 2][0], b[i / 2 % 2][1]);
    for (int i = 0; i < tiles * 4; i++)
        all += d[i / 4][i % 4];
    out[thread_number()] = static_cast<uint>(static_cast<int>(all));
}

// ---- memory ----

// Reads `count` times 16 bytes, `rounds` times over; each time another CTA reads them. `count` is a multiple of 8 * threads.
extern "C" __global__ void __launch_bounds__(threads) probe_load(uint *out, int rounds, const Words4 *in, long long count) {
    constexpr int at_once = 8;
    uint all = 0;
    for (int r = 0; r < rounds; r++) {
        const uint block = (blockIdx.x + static_cast<uint>(r) * 37) % gridDim.x;
        for (long long i = static_cast<long long>(block) * at_once * threads + threadIdx.x; i < count;
             i += static_cast<long long>(gridDim.x) * at_once * threads) {
            Words4 v[at_once];
#pragma unroll
            for (int j = 0; j < at_once; j++)
                v[j] = load_global_16(in + i + j * threads);
#pragma unroll
            for (int j = 0; j < at_once; j++)
                all += v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
        }
    }
    out[thread_number()] = all;
}

// Writes the same: word 4 i + j of it is 4 i + j + `seed`.
extern "C" __global__ void __launch_bounds__(threads) probe_store(Words4 *to, long long count, uint seed) {
    for (long long i = thread_number(); i < count; i += static_cast<long long>(gridDim.x) * threads) {
        const uint word = static_cast<uint>(i) * 4 + seed;
        to[i] = Words4{word, word + 1, word + 2, word + 3};
    }
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
// As probe_load, by bulk copies: 4 stages of 16 KiB in flight for each CTA. `count` is a multiple of 1024.
extern "C" __global__ void __launch_bounds__(threads) probe_bulk(uint *out, int rounds, const Words4 *in, long long count) {
    constexpr int stages = 4, words = 1024, bytes = words * 16;
    extern __shared__ __align__(128) unsigned char memory[];
    __shared__ Barrier full[stages];
    const int pieces = static_cast<int>(count / words), step = static_cast<int>(gridDim.x), first = static_cast<int>(blockIdx.x);
    const int total = (pieces - first + step - 1) / step * rounds;
    int piece = first; // the next to start; of thread 0
    const auto start = [&](int i) {
        mbarrier_arrive_expect(&full[i % stages], bytes);
        bulk_copy(memory + i % stages * bytes, in + static_cast<long long>(piece) * words, bytes, &full[i % stages]);
        piece = piece + step < pieces ? piece + step : first;
    };
    uint all = 0;
    if (threadIdx.x == 0) {
        for (int s = 0; s < stages; s++)
            mbarrier_init(&full[s], 1);
        mbarrier_init_fence();
        for (int i = 0; i < min(stages, total); i++)
            start(i);
    }
    __syncthreads();
    for (int i = 0; i < total; i++) {
        mbarrier_wait(&full[i % stages], i / stages % 2);
#pragma unroll
        for (int j = 0; j < words / threads; j++) {
            const Words4 v = load_shared_16(shared_address(memory) + i % stages * bytes + (j * threads + threadIdx.x) * 16);
            all += v.x ^ v.y ^ v.z ^ v.w;
        }
        __syncthreads();
        if (threadIdx.x == 0 && i + stages < total)
            start(i + stages);
    }
    out[thread_number()] = all;
}
#endif

// One thread follows offsets: each load needs the one before. 16 a round.
extern "C" __global__ void probe_chase(uint *out, int rounds, const unsigned char *links, uint first) {
    uint at = first;
    for (int r = 0; r < rounds; r++)
#pragma unroll
        for (int i = 0; i < 16; i++)
            at = load_global_4(links + at);
    *out = at;
}

extern "C" __global__ void probe_empty(uint *out) {
    if (out)
        *out = 1;
}

#else // WGMMA

// A from registers, B (Tokens rows of 128 bytes) from shared memory.
template <int Tokens> __device__ __forceinline__ void probe_wgmma(uint *out, int rounds, uint seed) {
    alignas(1024) __shared__ uint rows[Tokens * 32];
    int d[Tokens / 2];
    uint a[4][4], all = 0;
    for (int i = threadIdx.x; i < Tokens * 32; i += threads)
        rows[i] = seed ? mix(seed + i) : 0x01010101;
    for (int i = 0; i < 16; i++)
        a[i / 4][i % 4] = operand(seed, i, 0x01010101);
#pragma unroll
    for (int i = 0; i < Tokens / 2; i++)
        d[i] = 0;
    copy_engine_fence();
    __syncthreads();
    const uint b = shared_address(rows);
    for (int r = 0; r < rounds; r++) {
        wgmma_fence(d, a);
#pragma unroll
        for (int i = 0; i < products; i++)
            wgmma_m64k32<Tokens, false>(d, a[i % 4], wgmma_rows128(b, i % 4 * 32), 1);
        wgmma_commit();
        wgmma_wait<0>();
    }
    wgmma_settled(d);
#pragma unroll
    for (int i = 0; i < Tokens / 2; i++)
        all += static_cast<uint>(d[i]);
    out[thread_number()] = all;
}
#define PROBE_WGMMA(N)                                                                                                                 \
    extern "C" __global__ void __launch_bounds__(threads) probe_wgmma_n##N(uint *out, int rounds, uint seed) {                         \
        probe_wgmma<N>(out, rounds, seed);                                                                                             \
    }
PROBE_WGMMA(8)
PROBE_WGMMA(32)
PROBE_WGMMA(64)
PROBE_WGMMA(128)
PROBE_WGMMA(256)
#endif
