// Group-wise quantised GEMM on Hopper for weights of one width: the warps of a producer warp group fill stages by bulk copies, consumers
// (warp groups) dequantise weights into registers, multiply with wgmma and promote (sm_90a).
//
// Stages are handed over by mbarriers: `full` completes when the producer's announced bytes have landed, `empty` when the consumers of a stage
// have read it; with a cluster that shares tokens, the consumers of all its CTAs. A step holds whole groups; a job is the multiplications of
// one group for one block of 64 features. Where registers allow it, one job's sums are promoted while the next one multiplies.
#pragma once

#include "../gemm_args.h"
#include "../ptx/cluster.cuh"
#include "../ptx/wgmma.cuh"
#include "dequant.cuh"
#include "hopper_epilogue.cuh"
#include "promote.cuh"
#include "schedule.cuh"

// Which stage comes next, and the parity of its phase.
template <int Stages> struct Pipe {
    int stage = 0, parity = 0;
    template <int Steps> __device__ __forceinline__ void advance_by() {
        static_assert(Steps <= Stages, "past at most one end");
        const bool wraps = stage + Steps >= Stages;
        stage += wraps ? Steps - Stages : Steps;
        parity ^= wraps;
    }
    __device__ __forceinline__ void skip(int steps) {
        stage += steps;
        parity = (parity + stage / Stages) % 2;
        stage %= Stages;
    }
};

template <class W, int Blocks, int TileM_, int TileK_, int Stages_, int Consumers, bool PingPong, bool ShareK, int Group_, int Promote_,
          int JobsAtOnce_, int Spare_, int Cluster_, int ClusterK_, bool TensorStore_, int PartialSize_, bool Bf16_>
struct HopperTile {
    static constexpr int Bits = W::Bits, TileM = TileM_, TileK = TileK_, Stages = Stages_, Group = Group_;
    static constexpr int Cluster = Cluster_, ClusterK = ClusterK_; // CTAs that share tokens; that share K
    static constexpr int teams = PingPong ? Consumers : 1;
    static constexpr int members = PingPong || ShareK ? 1 : Consumers; // consumers that split the features of a tile
    static constexpr int stride = ShareK ? Consumers : 1;              // a consumer takes every step of so many
    using Team = HopperTeam<Blocks, TileM, members>;
    static constexpr int TileN = Team::TileN, NI = Team::NI;
    static constexpr int jobs = TileK / Group * Blocks; // of a step, each a group of wgmma
    static constexpr bool overlapped = JobsAtOnce_ == 2;
    static constexpr bool loads_ahead = Spare_ >= 80, keeps_offsets = Spare_ >= 24; // registers that are left beside one job
    static constexpr int slabs = TileK / 128, groups = TileK / Group, units = Group / 64; // per step, per step, k64 per group
    static constexpr bool has_zeros = W::has_zeros, start_from_sums = W::start_from_sums;
    static constexpr bool start_from_zero = !start_from_sums && Promote_ == PROMOTE_CONVERT; // the first wgmma need not add
    using P = Promotion<Promote_>;
    using Out = HopperEpilogue<Team, PartialSize_, Bf16_, TensorStore_>;

    static_assert(TileK % 128 == 0 && TileK % Group == 0 && Group % 64 == 0, "a K step holds whole slabs and whole groups");
    static_assert(!ShareK || (!PingPong && ClusterK == 1), "K is shared in one way");
    static_assert(Cluster == 1 || ClusterK == 1, "a cluster shares tokens or K");
    static_assert(TileM % (8 * Cluster) == 0, "each CTA of a cluster loads whole groups of 8 tokens");
    static_assert(promotion_is_exact<Group>(W::most), "|P| must stay below 2^22");

    // A stage: the layout of gemm_args.h. A group's scales (and sums) of the tokens stand in the order of token_slot().
    static constexpr int w_bytes = TileN * TileK * Bits / 8, slab_bytes = w_bytes / slabs;
    static constexpr int w_at = mt_stage_weights_at(TileM, TileK), sw_at = mt_stage_scales_at(Bits, TileN, TileM, TileK);
    static constexpr int sx_at = mt_stage_token_scales_at(Bits, TileN, TileM, TileK, Group);
    static constexpr int sums_at = mt_stage_sums_at(Bits, TileN, TileM, TileK, Group);
    static constexpr int zeros_at = mt_stage_zeros_at(Bits, TileN, TileM, TileK, Group, start_from_sums);
    static constexpr int stage_bytes = mt_round_up(mt_stage_bytes(Bits, TileN, TileM, TileK, Group, start_from_sums, has_zeros), 1024);

    const mt_gemm_args &args;
    const mt_gemm_part &part;
    unsigned char *stages;  // 1024-byte aligned
    const int stage_pitch;  // bytes from one to the next; both parts of a mixed layer share the stages
    Barrier *full, *empty;  // [Stages]
    Barrier *turns;         // [teams]: completed when the team before has read the last stage of its tile
    Barrier *ready, *freed; // [teams], for reduce_in_cluster()
    const int m0, n0, tokens;
    const int index;  // of the tile in the launch: its counter
    const Steps steps;
    const Parts parts;

    static __device__ __forceinline__ void init_barriers(Barrier *full, Barrier *empty, Barrier *turns, Barrier *ready, Barrier *freed) {
        for (int s = 0; s < Stages; s++) {
            mbarrier_init(&full[s], 1 + 32);                           // the announcement, and each producer lane's small copies
            mbarrier_init(&empty[s], Cluster * members * 4); // one lane per warp that reads the stage in any CTA
        }
        for (int t = 0; t < teams; t++) {
            mbarrier_init(&turns[t], members * 4);
            if constexpr (ClusterK > 1) { // one lane per warp: of all other CTAs, of the first
                mbarrier_init(&ready[t], (ClusterK - 1) * members * 4);
                mbarrier_init(&freed[t], members * 4);
            }
        }
        mbarrier_init_fence();
    }

    // ---- producers: warps that take the steps in turns ----
    //
    // Filling a stage is some hundred instructions that wait for each other, and a step takes the tensor core no longer: one warp would be the
    // bottleneck. A stage always has the same producer: a parity cannot tell a phase from one that is two rounds away.
    static constexpr int producers = Stages % 4 == 0 ? 4 : Stages % 3 == 0 ? 3 : Stages % 2 == 0 ? 2 : 1;
    static_assert(Stages % stride == 0, "a stage always has the same consumer, for the same reason");

    struct Live { // what of a step lies inside the weights
        int features, slabs, groups;
    };
    __device__ __forceinline__ Live live_in(int step, int features) const {
        return {features, slabs == 1 ? 1 : min(slabs, args.k_padded / 128 - step * slabs), groups == 1 ? 1 : min(groups, args.groups - step * groups)};
    }
    // Everything that is contiguous and 16-byte aligned goes by bulk copy, announced and issued by one lane.
    __device__ __forceinline__ void load_bulk(unsigned char *stage, Barrier *barrier, int step, const Live &live) const {
        const int k0 = step * TileK, group0 = step * groups;
        const int slab_live_bytes = live.features * 16 * Bits; // 128 k of these features
        mbarrier_arrive_expect(barrier, TileM * TileK + live.slabs * slab_live_bytes + live.groups * live.features * (has_zeros ? 3 : 2));
#pragma unroll
        for (int s = 0; s < slabs; s++) { // tokens and k beyond the tensor arrive as zeros
            unsigned char *tokens_at = stage + s * TileM * 128;
            if constexpr (Cluster == 1) {
                bulk_copy_box(tokens_at, args.x_map, k0 + s * 128, m0, barrier);
            } else { // every CTA of the cluster works on these tokens: each loads its share for all
                const int share = TileM / Cluster, first = cluster_rank() * share;
                bulk_copy_box_to((1 << Cluster) - 1, tokens_at + first * 128, args.x_map, k0 + s * 128, m0 + first, barrier);
            }
        }
        if (live.features == 0) // a cluster reaches over the edge
            return;
#pragma unroll
        for (int s = 0; s < slabs; s++)
            if (s < live.slabs)
                bulk_copy(stage + w_at + s * slab_bytes,
                          static_cast<const unsigned char *>(part.weights) +
                              (static_cast<long long>(k0 / 128 + s) * part.padded_rows + n0) * 16 * Bits,
                          slab_live_bytes, barrier);
#pragma unroll
        for (int g = 0; g < groups; g++)
            if (g < live.groups) {
                const long long row = static_cast<long long>(group0 + g) * part.padded_rows + n0;
                bulk_copy(stage + sw_at + g * TileN * 2, static_cast<const unsigned short *>(part.scales) + row, live.features * 2, barrier);
                if constexpr (has_zeros)
                    bulk_copy(stage + zeros_at + g * TileN, part.zeros + row, live.features, barrier);
            }
    }
    // A lane needs two tokens of every fragment of 8: those of a pair of fragments stand together, so that one load has all four.
    static __device__ __forceinline__ int token_slot(int token) {
        const int fragment = token / 8;
        return NI % 2 && fragment == NI - 1 ? token : (fragment / 2 * 4 + token % 8 / 2) * 4 + fragment % 2 * 2 + token % 2;
    }
    // Rows of scales and sums of tokens are not aligned: 4 bytes at a time, a lane per token. Slots repeat every 32 tokens.
    __device__ __forceinline__ void load_tokens(uint stage, int step, int live_groups) const {
        const int lane = threadIdx.x % 32;
        const uint to = stage + token_slot(lane) * 4;
#pragma unroll
        for (int g = 0; g < groups; g++) {
            const long long from = static_cast<long long>(step * groups + g) * args.m + m0 + lane;
#pragma unroll
            for (int i = 0; i < TileM; i += 32) {
                const bool valid = i + lane < tokens && (groups == 1 || g < live_groups);
                if (TileM % 32 == 0 || i + 32 <= TileM || i + lane < TileM) {
                    cp_async_4(to + (g * TileM + i) * 4 + sx_at, args.x_scales + from + i, valid);
                    if constexpr (start_from_sums)
                        cp_async_4(to + (g * TileM + i) * 4 + sums_at, args.x_sums + from + i, valid);
                }
            }
        }
    }
    // At the right and lower edge of the weights: what the bulk copies leave out is zero.
    __device__ __forceinline__ void clear_edge(uint stage, const Live &live) const {
#pragma unroll 1
        for (int s = 0; s < slabs; s++)
#pragma unroll 1
            for (int b = (s < live.slabs ? live.features * 16 * Bits : 0) + threadIdx.x % 32 * 16; b < slab_bytes; b += 512)
                cp_async_16(stage + w_at + s * slab_bytes + b, part.weights, false);
#pragma unroll 1
        for (int g = 0; g < groups; g++) {
            const int from = g < live.groups ? live.features : 0;
#pragma unroll 1
            for (int b = from * 2 + threadIdx.x % 32 * 16; b < TileN * 2; b += 512)
                cp_async_16(stage + sw_at + g * TileN * 2 + b, part.scales, false);
            if constexpr (has_zeros)
#pragma unroll 1
                for (int b = from + threadIdx.x % 32 * 16; b < TileN; b += 512)
                    cp_async_16(stage + zeros_at + g * TileN + b, part.zeros, false);
        }
    }
    // `pipe` stands at this warp's next step, which is `ahead` steps from the tile's first, and goes on from tile to tile of this CTA; all lanes
    // of the warp call this.
    __device__ __forceinline__ void produce(Pipe<Stages> &pipe, int &ahead) const {
        const int features = agreed(max(0, min(TileN, part.padded_rows - n0))), end = agreed(steps.end);
        int step = agreed(steps.begin + ahead);
        for (; step < end; step += producers, pipe.template advance_by<producers>()) {
            const int s = pipe.stage;
            unsigned char *stage = stages + s * stage_pitch;
            const Live live = live_in(step, features);
            mbarrier_wait(&empty[s], pipe.parity ^ 1);
            if (elected())
                load_bulk(stage, &full[s], step, live);
            __syncwarp();
            if (features < TileN || live.slabs < slabs || live.groups < groups)
                clear_edge(shared_address(stage), live);
            load_tokens(shared_address(stage), step, live.groups);
            mbarrier_arrive_on_cp_async(&full[s]);
        }
        ahead = step - end;
    }

    // ---- consumers ----

    // This warp has read the stage; the producers of all CTAs that fill it hear of it.
    static __device__ __forceinline__ void release(Barrier *empty) {
        const int lane = threadIdx.x % 32;
        if constexpr (Cluster > 1) {
            if (lane < Cluster)
                mbarrier_arrive_at(empty, lane);
        } else if (lane == 0) {
            mbarrier_arrive(empty);
        }
    }

    struct View { // of a stage, by a lane
        const unsigned char *stage;
        uint weights, tokens; // where it reads: its 16 bytes of a block of weights; of the scales or sums of a pair of fragments
    };
    // The compiler works these out anew in every step, unless it cannot: that wants registers.
    static __device__ __forceinline__ uint lane_offset(int bytes) {
        return keeps_offsets ? afresh(bytes) : bytes;
    }
    struct Features { // of a lane: rows lane / 4 and lane / 4 + 8 of its warp's 16
        float scale[2], offset[2];
        uint zero[2]; // W::packed_zero()
    };
    __device__ __forceinline__ Features load_features(const View &view, int group, int block) const {
        const unsigned char *stage = view.stage;
        const int first = group * TileN + Team::feature0() + block * 64 + static_cast<int>(threadIdx.x) % 32 / 4;
        Features f;
#pragma unroll
        for (int r = 0; r < 2; r++) {
            f.scale[r] = W::scale(reinterpret_cast<const unsigned short *>(stage + sw_at)[first + r * 8]);
            f.offset[r] = P::offset(f.scale[r]);
            f.zero[r] = 0;
            if constexpr (has_zeros)
                f.zero[r] = W::packed_zero((stage + zeros_at)[first + r * 8]);
        }
        return f;
    }
    // What stands at `at` (sx_at or sums_at) for this lane's two tokens of fragment `j`, and then for those of fragment j + 1. `j` is even.
    static __device__ __forceinline__ void load_tokens_of_pair(uint (&value)[4], const View &view, int at, int group, int j) {
        const unsigned char *row = view.stage + at + (group * TileM + j * 8) * 4;
        if (NI % 2 && j == NI - 1) {
            const Ints2 two = *reinterpret_cast<const Ints2 *>(row + view.tokens / 2);
            value[0] = two.x, value[1] = two.y;
        } else {
            const Words4 four = *reinterpret_cast<const Words4 *>(row + view.tokens);
            value[0] = four.x, value[1] = four.y, value[2] = four.z, value[3] = four.w;
        }
    }
    // Registers that ptxas sees start from one constant it fills by moves when it sees fit, and if another wgmma is under way it then
    // serialises all of them (C7518). So with two jobs in a step each start value depends on something: on acc, multiplied by a value that is
    // always zero, which the compiler cannot prove. A multiply-add costs no more than the move.
    __device__ __forceinline__ void start(int (&sum)[TileM / 2], const Features &f, const View &view, int group,
                                          const float (&acc)[NI][4]) const {
        const int nothing = args.raster >> 31; // raster is positive
#pragma unroll
        for (int i = 0; i < TileM / 2; i++)
            sum[i] = P::start + (overlapped && !start_from_sums ? nothing * __float_as_int(acc[i / 4][i % 4]) : 0);
        if constexpr (start_from_sums)
#pragma unroll
            for (int j = 0; j < NI; j += 2) {
                uint sums[4];
                load_tokens_of_pair(sums, view, sums_at, group, j);
#pragma unroll
                for (int i = 0; i < 8 && j * 4 + i < TileM / 2; i++)
                    sum[j * 4 + i] += static_cast<int>(f.zero[i % 4 / 2] * sums[i / 4 * 2 + i % 2]);
            }
    }
    // Issues the multiplications of one group for one block and commits them.
    __device__ __forceinline__ void multiply(int (&sum)[TileM / 2], uint (&a)[units][2][4], const Features &f, const View &view,
                                             int group, int block, const float (&acc)[NI][4]) const {
        const int features16 = (Team::feature0() + block * 64) / 16;
#pragma unroll
        for (int u = 0; u < units; u++)
            W::load_k64(a[u], view.stage + w_at + weights_offset<Bits, TileN, TileK>(features16, group * units + u) + view.weights, f.zero[0],
                        f.zero[1]);
        if constexpr (!start_from_zero)
            start(sum, f, view, group, acc);
        wgmma_fence(sum, a);
        const uint tokens_at = shared_address(view.stage);
#pragma unroll
        for (int u = 0; u < units; u++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const int k32 = (group * units + u) * 2 + h; // of the step; 128 k lie side by side, then the next slab
                wgmma_m64k32<TileM, W::codes_unsigned>(sum, a[u][h], wgmma_rows128(tokens_at, k32 / 4 * TileM * 128 + k32 % 4 * 32),
                                                            start_from_zero && u == 0 && h == 0 ? 0 : 1);
            }
        wgmma_commit();
    }
    static __device__ __forceinline__ void promote_pair(float (&acc)[NI][4], const int (&sum)[TileM / 2], const Features &f,
                                                        const uint (&sx)[4], int j) {
#pragma unroll
        for (int i = 0; i < 8 && j * 4 + i < TileM / 2; i++)
            acc[j + i / 4][i % 4] = P::add(acc[j + i / 4][i % 4], sum[j * 4 + i], f.scale[i % 4 / 2], f.offset[i % 4 / 2],
                                           __uint_as_float(sx[i / 4 * 2 + i % 2]));
    }
    __device__ __forceinline__ void promote(float (&acc)[NI][4], int (&sum)[TileM / 2], const Features &f, const View &view,
                                            int group) const {
        wgmma_settled(sum);
#pragma unroll
        for (int j = 0; j < NI; j += 2) {
            uint sx[4];
            load_tokens_of_pair(sx, view, sx_at, group, j);
            promote_pair(acc, sum, f, sx, j);
        }
    }
    // One job after the other. Where a step's groups are unrolled, ptxas loads for the next one ahead, and must have the registers for it.
    __device__ __forceinline__ void consume_in_turn(typename Out::Accumulators &acc, const View &view) const {
        constexpr int unroll = loads_ahead && groups == 2 && Blocks == 1 ? 2 : 1;
#pragma unroll unroll
        for (int group = 0; group < groups; group++) {
            uint sx[Blocks > 1 ? (NI + 1) / 2 : 1][4]; // the blocks share what shared memory would have to deliver to each
            if constexpr (Blocks > 1)
#pragma unroll
                for (int j = 0; j < NI; j += 2)
                    load_tokens_of_pair(sx[j / 2], view, sx_at, group, j);
#pragma unroll
            for (int block = 0; block < Blocks; block++) {
                int sum[TileM / 2];
                uint a[units][2][4];
                const Features f = load_features(view, group, block);
                multiply(sum, a, f, view, group, block, acc[block]);
                wgmma_wait<0>();
                if constexpr (Blocks > 1) {
                    wgmma_settled(sum);
#pragma unroll
                    for (int j = 0; j < NI; j += 2)
                        promote_pair(acc[block], sum, f, sx[j / 2], j);
                } else {
                    promote(acc[block], sum, f, view, group);
                }
            }
        }
    }
    // Each job is promoted while the next one multiplies.
    __device__ __forceinline__ void consume_overlapped(typename Out::Accumulators &acc, const View &view) const {
        int sum[2][TileM / 2];
        uint a[2][units][2][4];
        Features f[2];
#pragma unroll
        for (int job = 0; job < jobs; job++) {
            f[job % 2] = load_features(view, job / Blocks, job % Blocks);
            multiply(sum[job % 2], a[job % 2], f[job % 2], view, job / Blocks, job % Blocks, acc[job % Blocks]);
            if (job > 0) {
                wgmma_wait<1>();
                promote(acc[(job - 1) % Blocks], sum[(job - 1) % 2], f[(job - 1) % 2], view, (job - 1) / Blocks);
            }
        }
        wgmma_wait<0>();
        promote(acc[(jobs - 1) % Blocks], sum[(jobs - 1) % 2], f[(jobs - 1) % 2], view, (jobs - 1) / Blocks);
    }

    // `turn` counts the tiles of this CTA. `ahead`: as in produce().
    __device__ __forceinline__ void consume(typename Out::Accumulators &acc, Pipe<Stages> &pipe, int turn, int &ahead) const {
#pragma unroll
        for (int i = 0; i < Blocks * NI * 4; i++)
            acc[i / 4 / NI][i / 4 % NI][i % 4] = 0.0f;
        // A parity tells two phases apart, no more: a team that ran ahead of the others would take the stage of two rounds ago for its own.
        if constexpr (teams > 1)
            mbarrier_wait(&turns[turn % teams], (turn / teams + (turn % teams == 0)) % 2);
        const int count = agreed(steps.end - steps.begin);
        const uint weights = lane_offset(threadIdx.x % 32 * 16), tokens_at = lane_offset(threadIdx.x % 4 * 16);
        int step = ShareK ? ahead : 0;
        for (; step < count; step += stride, pipe.template advance_by<stride>()) {
            const int s = pipe.stage;
            const View view = {stages + s * stage_pitch, weights, tokens_at};
            mbarrier_wait(&full[s], pipe.parity);
            if constexpr (overlapped)
                consume_overlapped(acc, view);
            else
                consume_in_turn(acc, view);
            __syncwarp();
            release(&empty[s]);
        }
        if constexpr (ShareK)
            ahead = step - count;
        if (teams > 1 && threadIdx.x % 32 == 0)
            mbarrier_arrive(&turns[(turn + 1) % teams]);
    }
    // `output` is this team's staging memory.
    __device__ __forceinline__ void finish(typename Out::Accumulators &acc, unsigned char *output, int turn) const {
        const int team = turn % teams;
        bool whole = true;
        if constexpr (ShareK)
            if (!Out::template reduce_in_cta<Consumers>(acc, output))
                return;
        if constexpr (ClusterK > 1)
            whole = Out::template reduce_in_cluster<ClusterK>(acc, output, &ready[team], &freed[team], turn / teams);
        else if (parts.count > 1)
            whole = Out::reduce_parts(acc, args.partials, &args.counters[index], parts);
        if (whole)
            Out::write(acc, output, args, part, m0, tokens, n0);
    }
};
