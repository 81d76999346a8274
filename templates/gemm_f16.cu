// Plain fp16/bf16 GEMM, Y[M, N] = X[M, K] . W[N, K]^T + bias: the baseline where there is no cuBLAS. cp.async + mma.sync, sm_80 and later.
// Grid: x = output tiles, z = split-K. Arguments in gemm_args.h.
#include "gemm_args.h"
#include "ptx/mma.cuh"
#include "tile/epilogue.cuh"
#include "tile/rows.cuh"
#include "tile/schedule.cuh"

// ---- knobs ----
#ifndef TILE_N // output features per CTA
#error TILE_N is unset
#endif
#ifndef TILE_M // tokens per CTA
#error TILE_M is unset
#endif
#ifndef TILE_K // K step: 32, 64 or 128 elements
#error TILE_K is unset
#endif
#ifndef STAGES // pipeline depth
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
#ifndef BF16 // operands and output are bf16, else fp16
#error BF16 is unset
#endif

using Team = CtaTeam<TILE_N, TILE_M, WARPS_N, WARPS_M>;
constexpr int threads = Team::threads, MI = Team::MI, NI = Team::NI;
constexpr int w_bytes = TILE_N * TILE_K * 2, stage_bytes = w_bytes + TILE_M * TILE_K * 2;
using Tiles = Rows<TILE_K * 2>;
using Out = Epilogue<Team, TILE_N * TILE_M, BF16>;

struct Operand {
    const unsigned char *tile; // first byte of the tile's first row
    int pitch, rows;           // bytes; rows that exist
};

__device__ __forceinline__ void load_step(uint dst, const Operand &w, const Operand &x, int step, int k) {
    const int chunks = (k - step * TILE_K + 7) / 8; // 8 elements each; the padding of a row is zero
    Tiles::load<TILE_N, threads>(dst, w.tile + step * TILE_K * 2, w.pitch, w.rows, chunks);
    Tiles::load<TILE_M, threads>(dst + w_bytes, x.tile + step * TILE_K * 2, x.pitch, x.rows, chunks);
}

__device__ __forceinline__ void multiply_step(Out::Accumulators &acc, uint stage, int warp_n, int warp_m) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int u = 0; u < TILE_K / 32; u++) { // 32 k: two MMAs deep, one ldmatrix of 8 tokens
        uint a[MI][2][4], b[NI][4];
#pragma unroll
        for (int i = 0; i < MI; i++)
#pragma unroll
            for (int h = 0; h < 2; h++) // registers in the order rows 0-7, rows 8-15, then the second 8 k
                ldmatrix_x4(a[i][h], stage + Tiles::offset((warp_n * MI + i) * 16 + lane % 16, u * 4 + h * 2 + lane / 16));
#pragma unroll
        for (int j = 0; j < NI; j++)
            ldmatrix_x4(b[j], stage + w_bytes + Tiles::offset((warp_m * NI + j) * 8 + lane % 8, u * 4 + lane / 8));
#pragma unroll
        for (int h = 0; h < 2; h++)
#pragma unroll
            for (int i = 0; i < MI; i++)
#pragma unroll
                for (int j = 0; j < NI; j++)
                    mma_m16n8k16<BF16>(acc[i][j], a[i][h], b[j][h * 2], b[j][h * 2 + 1]);
    }
}

extern "C" __global__ void __launch_bounds__(WARPS_N *WARPS_M * 32, CTAS)
    gemm_f16(const __grid_constant__ mt_gemm_f16_args args) {
    extern __shared__ __align__(128) unsigned char shared[];
    const Tile tile = tile_of(static_cast<int>(blockIdx.x), (args.m + TILE_M - 1) / TILE_M, (args.n + TILE_N - 1) / TILE_N,
                              args.raster);
    const int m0 = tile.m * TILE_M, n0 = tile.n * TILE_N, tokens = min(TILE_M, args.m - m0);
    const Operand w = {static_cast<const unsigned char *>(args.w) + static_cast<long long>(n0) * args.ldw * 2, args.ldw * 2,
                       args.n - n0};
    const Operand x = {static_cast<const unsigned char *>(args.x) + static_cast<long long>(m0) * args.ldx * 2, args.ldx * 2,
                       tokens};
    const Steps steps = steps_of((args.k + TILE_K - 1) / TILE_K, static_cast<int>(blockIdx.z), args.split_k);
    const int warp = threadIdx.x / 32, warp_n = warp % WARPS_N, warp_m = warp / WARPS_N;
    const uint base = shared_address(shared);

    Out::Accumulators acc;
#pragma unroll
    for (int i = 0; i < MI * NI * 4; i++)
        acc[i / 4 / NI][i / 4 % NI][i % 4] = 0.0f;
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
        if (steps.begin + s < steps.end)
            load_step(base + s * stage_bytes, w, x, steps.begin + s, args.k);
        cp_async_commit();
    }
    int stage = 0, filling = STAGES - 1;
    for (int step = steps.begin; step < steps.end; step++) {
        cp_async_wait<STAGES - 2>();
        __syncthreads();
        if (step + STAGES - 1 < steps.end)
            load_step(base + filling * stage_bytes, w, x, step + STAGES - 1, args.k);
        cp_async_commit();
        multiply_step(acc, base + stage * stage_bytes, warp_n, warp_m);
        stage = stage + 1 == STAGES ? 0 : stage + 1;
        filling = filling + 1 == STAGES ? 0 : filling + 1;
    }
    const int index = static_cast<int>(blockIdx.x);
    if (args.split_k > 1 && !Out::reduce_parts(acc, args.partials, &args.counters[index],
                                               parts_of_split(index, static_cast<int>(blockIdx.z), args.split_k)))
        return;
    __syncthreads();
    Out::write(acc, shared, args.y, args.ldy, args.bias, nullptr, m0, tokens, n0, args.n);
}
