// From the accumulators of a Hopper team to Y: stmatrix into shared memory, then 16-byte stores, or the copy engine with the tensor map of Y.
//
// The staged tile is [64 features][token][64 features], its 16-byte chunks swizzled as a tensor map with 128-byte swizzle has them: the eight
// rows that stmatrix writes at once and those that a warp reads back lie in different banks.
#pragma once

#include "../ptx/bulk.cuh"
#include "../ptx/cluster.cuh"
#include "../ptx/matrix_store.cuh"
#include "epilogue.cuh"

// The consumer warp groups that share an output tile: all of them (cooperative) or one (ping-pong: they take turns, one tile each).
template <int Blocks, int TileM_, int Groups> struct HopperTeam {
    static constexpr int TileN = 64 * Blocks * Groups, TileM = TileM_, MI = Blocks, NI = TileM / 8;
    static constexpr int threads = Groups * 128, feature_step = 64;
    static __device__ __forceinline__ int thread() {
        return static_cast<int>(threadIdx.x) % threads;
    }
    static __device__ __forceinline__ int number() {
        return static_cast<int>(threadIdx.x) / threads;
    }
    static __device__ __forceinline__ int feature0() {
        return thread() / 128 * 64 * Blocks + thread() / 32 % 4 * 16;
    }
    static __device__ __forceinline__ int token0() {
        return 0;
    }
    static __device__ __forceinline__ int staged(int token, int feature) {
        return ((feature / 64 * TileM + token) * 8 + (feature / 8 % 8 ^ token % 8)) * 8 + feature % 8;
    }
    static __device__ __forceinline__ void sync() {
        named_barrier(1 + number(), threads);
    }
};

template <class Team, int PartialSize, bool Bf16, bool TensorStore> struct HopperEpilogue : Epilogue<Team, PartialSize, Bf16> {
    using Base = Epilogue<Team, PartialSize, Bf16>;
    using typename Base::Accumulators;
    static constexpr int MI = Team::MI, NI = Team::NI, TileN = Team::TileN, TileM = Team::TileM;

    // Matrices of 8 features x 8 tokens: of each token fragment the features lane / 4, then lane / 4 + 8. A pair of fragments goes at once.
    template <int Fragments>
    static __device__ __forceinline__ void stage_fragments(const float (&acc)[NI][4], int j, uint column, const float (&bias)[2]) {
        uint r[Fragments * 2];
#pragma unroll
        for (int i = 0; i < Fragments * 2; i++)
            r[i] = pack_floats<Bf16>(acc[j + i / 2][i % 2 * 2] + bias[i % 2], acc[j + i / 2][i % 2 * 2 + 1] + bias[i % 2]);
        stmatrix_transposed<Fragments * 2>(column + j * 8 * 128, r);
    }
    static __device__ __forceinline__ void stage(const Accumulators &acc, uint tile, const void *bias, const int *columns, int row0,
                                                 int rows) {
        const int lane = threadIdx.x % 32, n0 = Team::feature0();
#pragma unroll
        for (int i = 0; i < MI; i++) {
            const int n = n0 + i * Team::feature_step, row = row0 + n + lane / 4;
            const float b[2] = {Base::bias_of(bias, columns, row, rows), Base::bias_of(bias, columns, row + 8, rows)};
            const uint column = tile + 2 * Team::staged(lane / 16 * 8 + lane % 8, n + lane / 8 % 2 * 8);
#pragma unroll
            for (int j = 0; j + 1 < NI; j += 2)
                stage_fragments<2>(acc[i], j, column, b);
            if constexpr (NI % 2) // the upper half of the warp gives addresses that are not used
                stage_fragments<1>(acc[i], NI - 1, column, b);
        }
    }

    // `y_map` describes y where its rows are aligned; a scattered part (columns) cannot use it. Nor can rows that end within 16 bytes: the copy
    // engine would write all of them, and what lies behind a row is not ours.
    static __device__ __forceinline__ void write(const Accumulators &acc, unsigned char *shared, const mt_gemm_args &args,
                                                 const mt_gemm_part &part, int m0, int tokens, int row0) {
        const bool by_engine = TensorStore && part.columns == nullptr && Base::rows_are_aligned(args.y, args.ldy) && args.n % 8 == 0;
        if (TensorStore && Team::thread() == 0)
            bulk_wait_read();
        Team::sync(); // the previous tile has left the staging memory
        stage(acc, shared_address(shared), args.bias, part.columns, row0, part.rows);
        if (by_engine)
            copy_engine_fence();
        Team::sync();
        if (!by_engine) {
            Base::store(reinterpret_cast<const unsigned short *>(shared), args.y, args.ldy, part.columns, m0, tokens, row0, part.rows);
        } else if (Team::thread() == 0) {
            for (int n = 0; n < TileN && row0 + n < part.rows; n += 64)
                bulk_store_box(args.y_map, row0 + n, m0, shared + n * TileM * 2);
            bulk_commit();
        }
    }
    // Adds the partial sums of a tile that `Groups` warp groups of this CTA share along K, in the first of them: true there. The others leave
    // theirs where no tile is staged. Named barriers: theirs are there; they have been read.
    static constexpr int parts_ready = 4, parts_read = 5;
    template <int Groups> static __device__ __forceinline__ bool reduce_in_cta(Accumulators &acc, unsigned char *shared) {
        Floats4 *parts = reinterpret_cast<Floats4 *>(shared + PartialSize * 2) + Team::thread(); // behind the widest tile
        if (Team::number() > 0) {
            named_barrier(parts_read, Groups * Team::threads);
            Base::put_parts(acc, parts + (Team::number() - 1) * MI * NI * Team::threads);
            named_barrier_arrive(parts_ready, Groups * Team::threads);
            return false;
        }
        named_barrier(parts_ready, Groups * Team::threads);
#pragma unroll 1
        for (int other = 1; other < Groups; other++, parts += MI * NI * Team::threads)
#pragma unroll
            for (int i = 0; i < MI * NI; i++)
                Base::add_part(acc[i / NI][i % NI], parts[i * Team::threads]);
        named_barrier_arrive(parts_read, Groups * Team::threads);
        return true;
    }
    // Before the first tile nobody's parts wait to be read, and after the last one nobody waits for that.
    template <int Groups> static __device__ __forceinline__ void begin_parts() {
        if (Team::number() == 0)
            named_barrier_arrive(parts_read, Groups * Team::threads);
    }
    template <int Groups> static __device__ __forceinline__ void end_parts() {
        if (Team::number() > 0)
            named_barrier(parts_read, Groups * Team::threads);
    }
    // Adds the partial sums of a tile that `Ctas` CTAs of a cluster share along K, in the order of K, in the first of them: true there.
    // The others leave theirs in `shared` until `freed`; `ready` says that all have. `round` counts the team's tiles.
    template <int Ctas>
    static __device__ __forceinline__ bool reduce_in_cluster(Accumulators &acc, unsigned char *shared, Barrier *ready, Barrier *freed,
                                                             int round) {
        const int rank = cluster_rank(), lane = threadIdx.x % 32;
        if (rank > 0) {
            mbarrier_wait<true>(freed, round % 2 ^ 1);
            Base::put_parts(acc, reinterpret_cast<Floats4 *>(shared) + Team::thread());
            __syncwarp();
            if (lane == 0)
                mbarrier_publish_at(ready, 0);
            return false;
        }
        mbarrier_wait<true>(ready, round % 2);
        for (int other = 1; other < Ctas; other++) {
            const uint theirs = address_at(shared_address(shared), other) + Team::thread() * 16;
#pragma unroll
            for (int i = 0; i < MI * NI; i++)
                Base::add_part(acc[i / NI][i % NI], load_at(theirs + i * Team::threads * 16));
        }
        __syncwarp();
        if (lane > 0 && lane < Ctas)
            mbarrier_publish_at(freed, lane);
        return true;
    }

    // Before the CTA ends.
    static __device__ __forceinline__ void finish() {
        if (TensorStore && Team::thread() == 0)
            bulk_wait_read();
    }
};
