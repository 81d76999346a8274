// Group-wise W4A8, W8A8 and mixed GEMM for sm_80 and later: cp.async + mma.sync.
//
// Y[m, n] = sum_g sx[g, m] * sw[g, n] * P_g + bias[n]; arguments in gemm_args.h, the packed layout in tile/dequant.cuh.
// Grid: x = output tiles (those of the 8-bit part first), z = split-K. Dynamic shared memory: mt_shared_bytes(), the larger of the parts'.
#include "gemm_args.h"
#include "tile/quant_tile.cuh"

// ---- knobs ----
#ifndef TILE_N // output features per CTA
#error TILE_N is unset
#endif
#ifndef TILE_N8 // output features per CTA in the 8-bit part of a mixed layer
#error TILE_N8 is unset
#endif
#ifndef TILE_M // tokens per CTA
#error TILE_M is unset
#endif
#ifndef TILE_K // K step: input features per pipeline stage; holds whole groups
#error TILE_K is unset
#endif
#ifndef STAGES // pipeline depth: stages - 1 steps are in flight
#error STAGES is unset
#endif
#ifndef WARPS_N // warps along the features
#error WARPS_N is unset
#endif
#ifndef WARPS_M // warps along the tokens
#error WARPS_M is unset
#endif
#ifndef CTAS // CTAs per SM that registers are budgeted for
#error CTAS is unset
#endif
#ifndef PROMOTE // 0 convert, 1 subtract, 2 fma: how integer sums become floats (tile/promote.cuh)
#error PROMOTE is unset
#endif
#ifndef ZERO // 0 subtract: from the weights before the MMA; 1 start: through the start value, from the group sums
#error ZERO is unset
#endif
#ifndef ORDER // 0 k: all sums of a warp tile at once; 1 column: a group's weights stay in registers, tokens stream
#error ORDER is unset
#endif

// ---- formats ----
#ifndef GROUP // group size along K: 64, 128 or 256
#error GROUP is unset
#endif
#ifndef HAS_W8 // the layer has 8-bit features
#error HAS_W8 is unset
#endif
#ifndef HAS_W4 // the layer has 4-bit features
#error HAS_W4 is unset
#endif
#ifndef SYMMETRIC // 4-bit features have no zero points: theirs is 8 everywhere
#error SYMMETRIC is unset
#endif
#ifndef BF16 // bias and output are bf16, else fp16
#error BF16 is unset
#endif

constexpr int partial_size = (TILE_N > TILE_N8 ? TILE_N : TILE_N8) * TILE_M;
template <int Bits, int TileN>
using TileOf = QuantTile<Weights<Bits, SYMMETRIC, ZERO>, TileN, TILE_M, TILE_K, STAGES, WARPS_N, WARPS_M, GROUP, PROMOTE, ORDER,
                         partial_size, BF16>;
using Tile8 = TileOf<8, TILE_N8>;
using Tile4 = TileOf<4, TILE_N>;

template <class T> __device__ __forceinline__ void run_tile(const mt_gemm_args &args, const mt_gemm_part &part, int first) {
    extern __shared__ __align__(128) unsigned char shared[];
    const int tiles_n = (part.rows + T::TileN - 1) / T::TileN, tiles_m = (args.m + T::TileM - 1) / T::TileM;
    const Tile tile = tile_of(static_cast<int>(blockIdx.x) - first, tiles_m, tiles_n, args.raster);
    const int m0 = tile.m * T::TileM;
    const T work = {args, part, shared, m0, tile.n * T::TileN, min(T::TileM, args.m - m0)};
    work.run(static_cast<int>(blockIdx.x));
}

extern "C" __global__ void __launch_bounds__(WARPS_N *WARPS_M * 32, CTAS)
    gemm_sm80(const __grid_constant__ mt_gemm_args args) {
    const mt_gemm_part &part8 = args.part[MT_PART_W8], &part4 = args.part[MT_PART_W4];
    const int tiles8 = (part8.rows + TILE_N8 - 1) / TILE_N8 * ((args.m + TILE_M - 1) / TILE_M);
#if HAS_W8 && HAS_W4
    if (static_cast<int>(blockIdx.x) < tiles8)
        run_tile<Tile8>(args, part8, 0);
    else
        run_tile<Tile4>(args, part4, tiles8);
#elif HAS_W8
    run_tile<Tile8>(args, part8, 0);
#else
    run_tile<Tile4>(args, part4, 0);
#endif
}
