// From the accumulators of a CTA to Y.
//
// The product is transposed: lane l holds of each 16 x 8 fragment the features l/4 and l/4 + 8 for the tokens 2(l%4) and 2(l%4) + 1. The tile
// goes through shared memory as [token][feature], so that lanes then write along the features of one token.
#pragma once

#include "../gemm_args.h"
#include "../ptx/convert.cuh"
#include "../ptx/copy.cuh"
#include "schedule.cuh"

// Who holds what is told by Team: the warps that share an output tile.
//   TileN, TileM, MI, NI     features and tokens of the tile; 16 x 8 fragments of a warp along each
//   threads, thread(), sync(), number   how many, which one this is, a barrier among them, and which team of the CTA it is
//   feature0(), token0()     where this warp's first fragment lies in the tile
//   feature_step             features between a warp's fragments
//   staged(token, feature)   where an element lies in the staged tile; 8 features from a multiple of 8 on lie side by side
// PartialSize: floats of one tile's partial sums; the same for both parts of a mixed layer.
template <class Team, int PartialSize, bool Bf16> struct Epilogue {
    static constexpr int TileN = Team::TileN, TileM = Team::TileM, MI = Team::MI, NI = Team::NI, threads = Team::threads;
    static_assert(TileN * TileM <= PartialSize, "partial sums of a tile fit their slot");
    using Accumulators = float[MI][NI][4];

    // Partial sums lie as [fragment][thread][4]; `of_thread` points at this thread's first four.
    static __device__ __forceinline__ void put_parts(const Accumulators &acc, Floats4 *of_thread) {
#pragma unroll
        for (int i = 0; i < MI * NI; i++) {
            const float(&a)[4] = acc[i / NI][i % NI];
            of_thread[i * threads] = {a[0], a[1], a[2], a[3]};
        }
    }
    static __device__ __forceinline__ void add_part(float (&a)[4], const Floats4 &part) {
        a[0] += part.x, a[1] += part.y, a[2] += part.z, a[3] += part.w;
    }
    // Adds the partial sums of all parts of this tile, in their order, so that the result does not depend on which CTA comes last.
    // True in the one CTA that now holds the sum. One thread's fence is enough, for the barriers order the others before and after it; all
    // of them at once take microseconds.
    static __device__ __forceinline__ bool reduce_parts(Accumulators &acc, float *partials, unsigned *counter, const Parts &parts) {
        Floats4 *slots = reinterpret_cast<Floats4 *>(partials) + Team::thread();
        const auto slot = [&](int part) { return slots + static_cast<long long>(parts.slot(part)) * (PartialSize / 4); };
        put_parts(acc, slot(parts.own));
        __shared__ bool last[4]; // one per team
        Team::sync();
        if (Team::thread() == 0) { // the counter wraps to zero at the last arrival: ready for the next launch
            __threadfence();
            last[Team::number()] =
                atomicInc(counter, static_cast<unsigned>(parts.count - 1)) == static_cast<unsigned>(parts.count - 1);
            __threadfence();
        }
        Team::sync();
        if (!last[Team::number()])
            return false;
#pragma unroll
        for (int i = 0; i < MI * NI; i++)
#pragma unroll
            for (int r = 0; r < 4; r++)
                acc[i / NI][i % NI][r] = 0.0f;
        for (int p = 0; p < parts.count; p++) {
            const Floats4 *part = slot(p);
#pragma unroll
            for (int i = 0; i < MI * NI; i++)
                add_part(acc[i / NI][i % NI], load_global_cg(part + i * threads));
        }
        return true;
    }

    // columns: the output column of each row of this part, or NULL for the row itself.
    static __device__ __forceinline__ float bias_of(const void *bias, const int *columns, int row, int rows) {
        if (bias == nullptr || row >= rows)
            return 0.0f;
        const int column = columns ? columns[row] : row;
        return to_float<Bf16>(load_global_u16(static_cast<const unsigned short *>(bias) + column));
    }

    // Rounds the tile into shared memory. `row0`: the part's row of the tile's first feature.
    static __device__ __forceinline__ void stage(const Accumulators &acc, unsigned short *tile, const void *bias,
                                                 const int *columns, int row0, int rows) {
        const int lane = threadIdx.x % 32;
        const int n0 = Team::feature0() + lane / 4, m0 = Team::token0() + lane % 4 * 2;
#pragma unroll
        for (int i = 0; i < MI; i++) {
            const int n = n0 + i * Team::feature_step;
            const float b[2] = {bias_of(bias, columns, row0 + n, rows), bias_of(bias, columns, row0 + n + 8, rows)};
#pragma unroll
            for (int j = 0; j < NI; j++)
#pragma unroll
                for (int r = 0; r < 4; r++)
                    tile[Team::staged(m0 + j * 8 + r % 2, n + r / 2 * 8)] = from_float<Bf16>(acc[i][j][r] + b[r / 2]);
        }
    }

    static __device__ __forceinline__ bool rows_are_aligned(const void *y, int ldy) { // to 16 bytes
        return ldy % 8 == 0 && reinterpret_cast<unsigned long long>(y) % 16 == 0;
    }
    // Writes the staged tile to y [m][ldy], tokens from m0, features from row0 on.
    static __device__ __forceinline__ void store(const unsigned short *tile, void *y, int ldy, const int *columns, int m0,
                                                 int tokens, int row0, int rows) {
        unsigned short *out = static_cast<unsigned short *>(y);
        if (columns == nullptr && rows_are_aligned(y, ldy)) {
            for (int i = Team::thread(); i < TileM * (TileN / 8); i += threads) {
                const int m = i / (TileN / 8), n = i % (TileN / 8) * 8;
                if (m >= tokens || row0 + n >= rows)
                    continue;
                const unsigned short *from = tile + Team::staged(m, n);
                unsigned short *to = out + static_cast<long long>(m0 + m) * ldy + row0 + n;
                if (row0 + n + 8 <= rows)
                    *reinterpret_cast<Words4 *>(to) = *reinterpret_cast<const Words4 *>(from);
                else
                    for (int e = 0; e < rows - row0 - n; e++)
                        to[e] = from[e];
            }
            return;
        }
        for (int i = Team::thread(); i < TileM * TileN; i += threads) {
            const int m = i / TileN, n = i % TileN;
            if (m >= tokens || row0 + n >= rows)
                continue;
            const int column = columns ? columns[row0 + n] : row0 + n;
            out[static_cast<long long>(m0 + m) * ldy + column] = tile[Team::staged(m, n)];
        }
    }

    // Rounds, stages and writes the tile; `tile` is shared memory that nobody else reads or writes from the call on.
    static __device__ __forceinline__ void write(const Accumulators &acc, unsigned char *shared, void *y, int ldy, const void *bias,
                                                 const int *columns, int m0, int tokens, int row0, int rows) {
        unsigned short *tile = reinterpret_cast<unsigned short *>(shared);
        stage(acc, tile, bias, columns, row0, rows);
        Team::sync();
        store(tile, y, ldy, columns, m0, tokens, row0, rows);
    }
};

// All warps of a CTA share one tile as a grid of WarpsN x WarpsM, each with adjacent fragments.
template <int TileN_, int TileM_, int WarpsN, int WarpsM> struct CtaTeam {
    static constexpr int TileN = TileN_, TileM = TileM_, MI = TileN / WarpsN / 16, NI = TileM / WarpsM / 8;
    static constexpr int threads = WarpsN * WarpsM * 32, feature_step = 16;
    static_assert(TileN % (16 * WarpsN) == 0 && TileM % (8 * WarpsM) == 0, "warps share the tile in whole fragments");
    static __device__ __forceinline__ int thread() {
        return static_cast<int>(threadIdx.x);
    }
    static __device__ __forceinline__ int number() {
        return 0;
    }
    static __device__ __forceinline__ int feature0() {
        return thread() / 32 % WarpsN * MI * 16;
    }
    static __device__ __forceinline__ int token0() {
        return thread() / 32 / WarpsN * NI * 8;
    }
    static __device__ __forceinline__ int staged(int token, int feature) {
        return token * mt_output_pitch(TileN) + feature;
    }
    static __device__ __forceinline__ void sync() {
        __syncthreads();
    }
};
