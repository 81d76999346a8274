// wgmma at one number of tokens; compare.cu says the rest. in: the tokens' tile, words of A for four steps of 32 k, start values.
#include "ptx/bulk.cuh"
#include "ptx/wgmma.cuh"

#ifndef TOKENS // as s8 wgmma has them
#error TOKENS is unset
#endif

#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)
constexpr int tile_words = TOKENS * 32, a_words = 16 * 128, sums = TOKENS / 2;

// The tile arrives as it lies in memory: random bytes are as random when they are swizzled.
__device__ __forceinline__ unsigned char *load_tile(unsigned char *raw, Barrier *barrier, const uint *in) {
    unsigned char *tile = raw + (1024 - shared_address(raw) % 1024) % 1024;
    if (threadIdx.x == 0) {
        mbarrier_init(barrier, 1);
        mbarrier_init_fence();
        mbarrier_arrive_expect(barrier, tile_words * 4);
        bulk_copy(tile, in, tile_words * 4, barrier);
    }
    __syncthreads();
    mbarrier_wait(barrier, 0);
    return tile;
}

// Steps first .. last - 1 of 32 k; the first of them adds to the sums, or not.
template <bool WeightsUnsigned>
__device__ __forceinline__ void multiply(int (&d)[sums], uint (&a)[4][4], const unsigned char *tile, int first, int last, int add) {
    for (int k = first; k < last; k++)
        wgmma_m64k32<TOKENS, WeightsUnsigned>(d, a[k], wgmma_rows128(shared_address(tile), k * 32), k > first || add);
    wgmma_commit();
}

__device__ __forceinline__ void load_fragments(uint (&a)[4][4], const uint *in) {
    for (int i = 0; i < 16; i++)
        a[i / 4][i % 4] = in[tile_words + i * 128 + threadIdx.x];
}

// Twice: with sums that start from random numbers, and overwriting them.
template <bool WeightsUnsigned> __device__ __forceinline__ void product(const uint *in, uint *out) {
    __shared__ unsigned char raw[1024 + tile_words * 4];
    __shared__ Barrier barrier;
    const unsigned char *tile = load_tile(raw, &barrier, in);
    uint a[4][4];
    load_fragments(a, in);
    for (int add = 0; add < 2; add++) {
        int d[sums];
#pragma unroll
        for (int i = 0; i < sums; i++)
            d[i] = static_cast<int>(in[tile_words + a_words + i * 128 + threadIdx.x]);
        wgmma_fence(d, a);
        multiply<WeightsUnsigned>(d, a, tile, 0, 4, add);
        wgmma_wait<0>();
        wgmma_settled(d);
#pragma unroll
        for (int i = 0; i < sums; i++)
            out[(add * sums + i) * 128 + threadIdx.x] = static_cast<uint>(d[i]);
    }
}
KERNEL(128) wgmma_s8(const uint *in, uint *out) {
    product<false>(in, out);
}
KERNEL(128) wgmma_u8(const uint *in, uint *out) {
    product<true>(in, out);
}

// Two groups under way: the first can be read when the second is not done.
#if TOKENS <= 64
KERNEL(128) wgmma_groups(const uint *in, uint *out) {
    __shared__ unsigned char raw[1024 + tile_words * 4];
    __shared__ Barrier barrier;
    const unsigned char *tile = load_tile(raw, &barrier, in);
    uint a[4][4];
    int first[sums], second[sums];
    load_fragments(a, in);
    wgmma_fence(first, second, a);
    multiply<true>(first, a, tile, 0, 2, 0);
    multiply<true>(second, a, tile, 2, 4, 0);
    wgmma_wait<1>();
    wgmma_settled(first);
#pragma unroll
    for (int i = 0; i < sums; i++)
        out[i * 128 + threadIdx.x] = static_cast<uint>(first[i]);
    wgmma_wait<0>();
    wgmma_settled(second);
#pragma unroll
    for (int i = 0; i < sums; i++)
        out[(sums + i) * 128 + threadIdx.x] = static_cast<uint>(second[i]);
}
#endif
