// One output tile of a group-wise quantised GEMM for weights of one width: cp.async pipeline, mma.sync, promotion (sm_80 and later).
//
// Per K step and stage: global -> shared copies of a step that lies Stages - 1 ahead, shared -> register loads, dequantisation, MMA, and
// promotion at the end of each group. A step holds whole groups, so no integer sum lives across steps.
#pragma once

#include "../gemm_args.h"
#include "../ptx/mma.cuh"
#include "dequant.cuh"
#include "epilogue.cuh"
#include "promote.cuh"
#include "rows.cuh"
#include "schedule.cuh"

enum { ORDER_K = 0, ORDER_COLUMN = 1 };

template <class W, int TileN_, int TileM_, int TileK_, int Stages_, int WarpsN_, int WarpsM_, int Group_, int Promote_, int Order_,
          int PartialSize_, bool Bf16_>
struct QuantTile {
    static constexpr int Bits = W::Bits, TileN = TileN_, TileM = TileM_, TileK = TileK_, Stages = Stages_, Group = Group_;
    using Team = CtaTeam<TileN, TileM, WarpsN_, WarpsM_>;
    static constexpr int threads = Team::threads, MI = Team::MI, NI = Team::NI; // fragments per warp
    static constexpr int groups = TileK / Group, units = Group / 64;          // per step; k64 units per group
    static constexpr bool has_zeros = W::has_zeros, start_from_sums = W::start_from_sums;
    using P = Promotion<Promote_>;
    using X = Rows<TileK>;
    using Out = Epilogue<Team, PartialSize_, Bf16_>;

    static_assert(TileK % Group == 0 && Group % 64 == 0, "a K step holds whole groups");
    static_assert(Stages >= 2, "one stage is computed while another is filled");
    static_assert(promotion_is_exact<Group>(W::most), "|P| must stay below 2^22");

    // A stage (its layout is in gemm_args.h), and what of it is weights.
    static constexpr int w_bytes = TileN * TileK * Bits / 8;
    static constexpr int weights_k128 = w_bytes / (TileK < 128 ? 1 : TileK / 128); // bytes within one slab of 128 k
    static constexpr int w_at = mt_stage_weights_at(TileM, TileK), sw_at = mt_stage_scales_at(Bits, TileN, TileM, TileK);
    static constexpr int sx_at = mt_stage_token_scales_at(Bits, TileN, TileM, TileK, Group);
    static constexpr int sums_at = mt_stage_sums_at(Bits, TileN, TileM, TileK, Group);
    static constexpr int zeros_at = mt_stage_zeros_at(Bits, TileN, TileM, TileK, Group, start_from_sums);
    static constexpr int stage_bytes = mt_stage_bytes(Bits, TileN, TileM, TileK, Group, start_from_sums, has_zeros);

    const mt_gemm_args &args;
    const mt_gemm_part &part;
    unsigned char *shared;
    const int m0, n0, tokens; // first token and feature of the tile; how many tokens of it exist

    // ---- global -> shared ----

    __device__ __forceinline__ void load_weights(uint dst, int k0) const {
        constexpr int feature_bytes = 16 * 128 * Bits / 8;      // 16 features x 128 k
        constexpr int used_bytes = weights_k128 / (TileN / 16); // of these, what a step needs: half when TileK is 64
        constexpr int step = threads * 16;                      // bytes that the CTA copies at once
        static_assert(used_bytes == feature_bytes || step % used_bytes == 0, "a thread steps over whole features");
        const int features = part.padded_rows / 16, byte = static_cast<int>(threadIdx.x) * 16;
        const int offset = byte / used_bytes * feature_bytes + byte % used_bytes;
        const unsigned char *src = static_cast<const unsigned char *>(part.weights) +
                                   (k0 / 128 * static_cast<long long>(features) + n0 / 16) * feature_bytes +
                                   (TileK < 128 ? k0 % 128 / 64 * used_bytes : 0);
#pragma unroll
        for (int slab = 0; slab < w_bytes / weights_k128; slab++) {
            const int valid = k0 + slab * 128 < args.k_padded ? (features - n0 / 16) * used_bytes - byte : 0;
#pragma unroll
            for (int i = 0; i < (weights_k128 + step - 1) / step; i++)
                if (weights_k128 % step == 0 || byte + i * step < weights_k128)
                    cp_async_16(dst + slab * weights_k128 + byte + i * step,
                                src + offset + i * (step / used_bytes * feature_bytes + step % used_bytes), i * step < valid);
            src += static_cast<long long>(features) * feature_bytes;
        }
    }

    // `Count` elements of `Bytes` bytes of each of the step's groups, from rows [groups][pitch]; elements from `valid` on become zero.
    template <int Count, int Bytes>
    __device__ __forceinline__ void load_group_rows(uint dst, const void *rows, int pitch, int first, int valid, int group) const {
        constexpr int chunk = Bytes == 4 ? 1 : 16 / Bytes; // tokens are not padded: their rows go one by one
        constexpr int chunks = Count / chunk;
        const unsigned char *src = static_cast<const unsigned char *>(rows);
#pragma unroll
        for (int i = 0; i < (groups * chunks + threads - 1) / threads; i++) {
            const int index = i * threads + static_cast<int>(threadIdx.x);
            const int g = index / chunks, e = index % chunks * chunk;
            const bool ok = e < valid && group + g < args.groups;
            const unsigned char *from = src + (static_cast<long long>(group + g) * pitch + first + e) * Bytes;
            if (groups * chunks % threads == 0 || index < groups * chunks) {
                if constexpr (chunk == 1)
                    cp_async_4(dst + index * 4, from, ok);
                else
                    cp_async_16(dst + index * 16, from, ok);
            }
        }
    }

    __device__ __forceinline__ void load_step(int step, int stage) const {
        const uint dst = shared_address(shared) + stage * stage_bytes;
        const int k0 = step * TileK, group = step * groups;
        const unsigned char *x = reinterpret_cast<const unsigned char *>(args.x);
        X::template load<TileM, threads>(dst, x + static_cast<long long>(m0) * args.k_padded + k0, args.k_padded, tokens,
                                         (args.k_padded - k0) / 16);
        load_weights(dst + w_at, k0);
        const int features = part.padded_rows - n0;
        load_group_rows<TileN, 2>(dst + sw_at, part.scales, part.padded_rows, n0, features, group);
        load_group_rows<TileM, 4>(dst + sx_at, args.x_scales, args.m, m0, tokens, group);
        if constexpr (start_from_sums)
            load_group_rows<TileM, 4>(dst + sums_at, args.x_sums, args.m, m0, tokens, group);
        if constexpr (has_zeros)
            load_group_rows<TileN, 1>(dst + zeros_at, part.zeros, part.padded_rows, n0, features, group);
    }

    // ---- shared -> registers ----

    // What a lane needs of its 2 * MI features for one group. Row r of fragment i is feature i * 16 + lane / 4 + 8 r of the warp.
    struct Features {
        float scale[MI][2], offset[MI][2];
        uint zero[MI][2]; // W::packed_zero()
    };
    __device__ __forceinline__ void load_features(Features &f, const unsigned char *stage, int group, int warp_n) const {
        const int first = group * TileN + warp_n * MI * 16 + static_cast<int>(threadIdx.x) % 32 / 4;
        const unsigned short *scales = reinterpret_cast<const unsigned short *>(stage + sw_at) + first;
#pragma unroll
        for (int i = 0; i < MI; i++)
#pragma unroll
            for (int r = 0; r < 2; r++) {
                f.scale[i][r] = W::scale(scales[i * 16 + r * 8]);
                f.offset[i][r] = P::offset(f.scale[i][r]);
                f.zero[i][r] = 0;
                if constexpr (has_zeros)
                    f.zero[i][r] = W::packed_zero((stage + zeros_at)[first + i * 16 + r * 8]);
            }
    }

    // The B fragments of 8 tokens x 64 k: registers 0, 1 for the first 32 k, 2, 3 for the second.
    __device__ __forceinline__ void load_tokens_k64(uint (&b)[4], uint stage, int column, int unit, int warp_m) const {
        const int lane = threadIdx.x % 32;
        ldmatrix_x4(b, stage + X::offset(warp_m * NI * 8 + column * 8 + lane % 8, unit * 4 + lane / 8));
    }
    __device__ __forceinline__ void load_weights_unit(uint (&a)[2][4], const unsigned char *stage, int i, int unit, int warp_n,
                                                      const Features &f) const {
        const int at = weights_offset<Bits, TileN, TileK>(warp_n * MI + i, unit) + threadIdx.x % 32 * 16;
        W::load_k64(a, stage + w_at + at, f.zero[i][0], f.zero[i][1]);
    }

    // The value a group's sum starts from, so that it ends as (promotion start) + P.
    __device__ __forceinline__ void start(int (&c)[4], const Features &f, int i, const unsigned char *stage, int token) const {
        c[0] = c[1] = c[2] = c[3] = P::start;
        if constexpr (start_from_sums) {
            const Ints2 sums = *reinterpret_cast<const Ints2 *>(stage + sums_at + token * 4);
            c[0] += static_cast<int>(f.zero[i][0]) * sums.x, c[1] += static_cast<int>(f.zero[i][0]) * sums.y;
            c[2] += static_cast<int>(f.zero[i][1]) * sums.x, c[3] += static_cast<int>(f.zero[i][1]) * sums.y;
        }
    }
    __device__ __forceinline__ void promote(float (&acc)[4], const int (&sum)[4], const Features &f, int i,
                                            const Floats2 &sx) const {
#pragma unroll
        for (int r = 0; r < 4; r++)
            acc[r] = P::add(acc[r], sum[r], f.scale[i][r / 2], f.offset[i][r / 2], r % 2 ? sx.y : sx.x);
    }
    __device__ __forceinline__ static Floats2 token_scales(const unsigned char *stage, int token) {
        return *reinterpret_cast<const Floats2 *>(stage + sx_at + token * 4);
    }

    // ---- one group ----

    // Weights and tokens stream through registers along k; every integer sum of the warp tile is live: MI * NI * 4 of them.
    __device__ __forceinline__ void group_by_k(typename Out::Accumulators &acc, const unsigned char *stage, int group, int warp_n,
                                               int warp_m) const {
        const uint stage_address = shared_address(stage);
        const int token0 = group * TileM + warp_m * NI * 8 + threadIdx.x % 4 * 2;
        Features f;
        load_features(f, stage, group, warp_n);
        int sum[MI][NI][4];
#pragma unroll
        for (int i = 0; i < MI; i++)
#pragma unroll
            for (int j = 0; j < NI; j++)
                start(sum[i][j], f, i, stage, token0 + j * 8);
#pragma unroll
        for (int u = 0; u < units; u++) {
            uint a[MI][2][4], b[NI][4];
#pragma unroll
            for (int i = 0; i < MI; i++)
                load_weights_unit(a[i], stage, i, group * units + u, warp_n, f);
#pragma unroll
            for (int j = 0; j < NI; j++)
                load_tokens_k64(b[j], stage_address, j, group * units + u, warp_m);
#pragma unroll
            for (int h = 0; h < 2; h++)
#pragma unroll
                for (int i = 0; i < MI; i++)
#pragma unroll
                    for (int j = 0; j < NI; j++)
                        mma_m16n8k32<W::codes_unsigned>(sum[i][j], a[i][h], b[j][h * 2], b[j][h * 2 + 1], sum[i][j]);
        }
#pragma unroll
        for (int j = 0; j < NI; j++) {
            const Floats2 sx = token_scales(stage, token0 + j * 8);
#pragma unroll
            for (int i = 0; i < MI; i++)
                promote(acc[i][j], sum[i][j], f, i, sx);
        }
    }

    // The group's weights stay in registers, tokens stream through eight at a time: few integer sums are live, and one column's
    // promotion overlaps the next column's multiplications.
    __device__ __forceinline__ void group_by_column(typename Out::Accumulators &acc, const unsigned char *stage, int group,
                                                    int warp_n, int warp_m) const {
        const uint stage_address = shared_address(stage);
        const int token0 = group * TileM + warp_m * NI * 8 + threadIdx.x % 4 * 2;
        Features f;
        load_features(f, stage, group, warp_n);
        uint a[MI][units][2][4];
#pragma unroll
        for (int i = 0; i < MI; i++)
#pragma unroll
            for (int u = 0; u < units; u++)
                load_weights_unit(a[i][u], stage, i, group * units + u, warp_n, f);
#pragma unroll
        for (int j = 0; j < NI; j++) {
            uint b[units][4];
            int sum[MI][4];
#pragma unroll
            for (int u = 0; u < units; u++)
                load_tokens_k64(b[u], stage_address, j, group * units + u, warp_m);
            const Floats2 sx = token_scales(stage, token0 + j * 8);
#pragma unroll
            for (int i = 0; i < MI; i++)
                start(sum[i], f, i, stage, token0 + j * 8);
#pragma unroll
            for (int u = 0; u < units; u++)
#pragma unroll
                for (int h = 0; h < 2; h++)
#pragma unroll
                    for (int i = 0; i < MI; i++)
                        mma_m16n8k32<W::codes_unsigned>(sum[i], a[i][u][h], b[u][h * 2], b[u][h * 2 + 1], sum[i]);
#pragma unroll
            for (int i = 0; i < MI; i++)
                promote(acc[i][j], sum[i], f, i, sx);
        }
    }

    // ---- the tile ----

    __device__ __forceinline__ void accumulate(typename Out::Accumulators &acc, Steps steps) const {
        const int warp = threadIdx.x / 32, warp_n = warp % WarpsN_, warp_m = warp / WarpsN_;
#pragma unroll
        for (int s = 0; s < Stages - 1; s++) {
            if (steps.begin + s < steps.end)
                load_step(steps.begin + s, s);
            cp_async_commit(); // one group per step, also when empty: the waits below count them
        }
        int stage = 0, filling = Stages - 1;
        for (int step = steps.begin; step < steps.end; step++) {
            cp_async_wait<Stages - 2>(); // this thread's part of `step` has arrived
            __syncthreads();             // everybody's has, and nobody reads the stage that is filled next
            if (step + Stages - 1 < steps.end)
                load_step(step + Stages - 1, filling);
            cp_async_commit();
#pragma unroll 1 // unrolled, ptxas loads for several groups at once and runs out of registers
            for (int g = 0; g < groups; g++) {
                if constexpr (Order_ == ORDER_COLUMN)
                    group_by_column(acc, shared + stage * stage_bytes, g, warp_n, warp_m);
                else
                    group_by_k(acc, shared + stage * stage_bytes, g, warp_n, warp_m);
            }
            stage = stage + 1 == Stages ? 0 : stage + 1;
            filling = filling + 1 == Stages ? 0 : filling + 1;
        }
    }

    // `index` is the tile's number in the whole launch, for its split-K counter.
    __device__ __forceinline__ void run(int index) const {
        typename Out::Accumulators acc;
#pragma unroll
        for (int i = 0; i < MI * NI * 4; i++)
            acc[i / 4 / NI][i / 4 % NI][i % 4] = 0.0f;
        const int steps = (args.k_padded + TileK - 1) / TileK;
        accumulate(acc, steps_of(steps, blockIdx.z, args.split_k));
        if (args.split_k > 1 &&
            !Out::reduce_parts(acc, args.partials, &args.counters[index], parts_of_split(index, blockIdx.z, args.split_k)))
            return;
        __syncthreads(); // the stages are read no more: their memory becomes the output tile
        Out::write(acc, shared, args.y, args.ldy, args.bias, part.columns, m0, tokens, n0, part.rows);
    }
};
