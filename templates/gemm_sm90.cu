// Group-wise W4A8, W8A8 and mixed GEMM for Hopper (sm_90a): bulk copies + wgmma, warp-specialised, persistent.
//
// Arguments in gemm_args.h; x_map is the tensor map of x: int8 {Kp, M}, box {128, TILE_M / CLUSTER}; y_map that of y: 16-bit {N, M}, box
// {64, TILE_M}; both with 128-byte swizzle. Grid: as many CTAs as the device holds, or fewer, in whole clusters; each cluster walks over work
// items (Work in tile/schedule.cuh) of CLUSTER adjacent feature tiles. Block: consumer warp groups, then the producer's.
#include "gemm_args.h"
#include "tile/hopper_tile.cuh"

// ---- knobs ----
#ifndef BLOCKS // blocks of 64 output features per consumer warp group
#error BLOCKS is unset
#endif
#ifndef BLOCKS8 // the same in the 8-bit part of a mixed layer
#error BLOCKS8 is unset
#endif
#ifndef TILE_M // tokens per CTA: 8, 16, 24, 32, then multiples of 16
#error TILE_M is unset
#endif
#ifndef TILE_K // K step: input features per pipeline stage; holds whole groups, 128 or 256
#error TILE_K is unset
#endif
#ifndef STAGES // pipeline depth: all of them can be in flight
#error STAGES is unset
#endif
#ifndef CONSUMERS // consumer warp groups: 1 to 3
#error CONSUMERS is unset
#endif
#ifndef PINGPONG // 0 cooperative: consumers share a tile; 1 ping-pong: each has its own, taking turns
#error PINGPONG is unset
#endif
#ifndef SHARE_K // cooperative consumers split 0 the features of a tile; 1 its K steps, which they take in turns
#error SHARE_K is unset
#endif
#ifndef CLUSTER // CTAs of a cluster: adjacent feature tiles that load the tokens of their tile once for all; 1, 2 or 4
#error CLUSTER is unset
#endif
#ifndef CLUSTER_K // CTAs of a cluster that share an output tile along K; 1, 2, 4 or 8, and not together with CLUSTER
#error CLUSTER_K is unset
#endif
#ifndef STORE // Y is written by 0 16-byte stores, 1 the copy engine where the rows of Y are aligned to 16 bytes
#error STORE is unset
#endif
#ifndef CTAS // CTAs per SM
#error CTAS is unset
#endif
#ifndef PROMOTE // 0 convert, 1 subtract, 2 fma (tile/promote.cuh)
#error PROMOTE is unset
#endif
#ifndef ZERO // 0 subtract: from the weights before the MMA; 1 start: through the start value, from the group sums
#error ZERO is unset
#endif
#ifndef YIELD // 1: runs of multiply-adds let other warps go first; done to the machine code (runtime/jit/yield.h), nothing here reads it
#error YIELD is unset
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

constexpr int widest = (BLOCKS > BLOCKS8 ? BLOCKS : BLOCKS8) * 64 * (PINGPONG || SHARE_K ? 1 : CONSUMERS);
// What the registers of a consumer allow: jobs under way; those that one leaves.
template <int Blocks> constexpr int jobs_at_once = mt_consumer_jobs(Blocks, TILE_M, TILE_K, GROUP, CONSUMERS, PINGPONG, CTAS);
template <int Blocks> constexpr int spare = mt_consumer_registers(CONSUMERS, CTAS) - mt_consumer_live(Blocks, TILE_M, GROUP, 1);
template <int Bits, int Blocks>
using TileOf = HopperTile<Weights<Bits, SYMMETRIC, ZERO>, Blocks, TILE_M, TILE_K, STAGES, CONSUMERS, PINGPONG, SHARE_K, GROUP, PROMOTE,
                          jobs_at_once<Blocks>, spare<Blocks>, CLUSTER, CLUSTER_K, STORE, widest * TILE_M, BF16>;
using Tile8 = TileOf<8, BLOCKS8>;
using Tile4 = TileOf<4, BLOCKS>;
constexpr int stage8 = HAS_W8 ? Tile8::stage_bytes : 0, stage4 = HAS_W4 ? Tile4::stage_bytes : 0;
constexpr int stage_pitch = stage8 > stage4 ? stage8 : stage4;
constexpr int output_bytes = mt_swizzled_output_bytes(widest, TILE_M, CLUSTER_K, SHARE_K ? CONSUMERS : 1);
constexpr int cluster_ctas = CLUSTER * CLUSTER_K;

struct Role {
    int team; // of consumers
    unsigned char *stages, *output;
    Barrier *full, *empty, *turns, *ready, *freed;
};

// The clusters' tiles along the features of a part.
template <class T> __device__ __forceinline__ int clusters_along(const mt_gemm_part &part) {
    return (part.rows + T::TileN * CLUSTER - 1) / (T::TileN * CLUSTER);
}

// What this CTA's cluster works on at a turn.
struct Turn {
    Item item;
    int tiles8; // tiles of the launch that belong to the 8-bit part: the first ones
};
__device__ __forceinline__ bool find_turn(const mt_gemm_args &args, int number, Turn &turn) {
    const int tiles_m = (afresh(args.m) + TILE_M - 1) / TILE_M, steps = (afresh(args.k_padded) + TILE_K - 1) / TILE_K;
    turn.tiles8 = clusters_along<Tile8>(args.part[MT_PART_W8]) * tiles_m;
    const Work work = {steps,
                       turn.tiles8 + clusters_along<Tile4>(args.part[MT_PART_W4]) * tiles_m,
                       args.split_k,
                       args.stream_k,
                       afresh(blockIdx.x / cluster_ctas),
                       static_cast<int>(gridDim.x / cluster_ctas)};
    return work.item(number, turn.item);
}

// This CTA's tile of it.
template <class T>
__device__ __forceinline__ T tile_at(const mt_gemm_args &args, const mt_gemm_part &part, const Role &role, const Turn &turn) {
    const int rank = CLUSTER > 1 ? cluster_rank() : 0, index = turn.item.tile - (T::Bits == 4 ? turn.tiles8 : 0);
    const Steps steps = CLUSTER_K > 1 ? steps_of(turn.item.steps.end, cluster_rank(), CLUSTER_K) : turn.item.steps;
    const Tile at = tile_of(index, (args.m + T::TileM - 1) / T::TileM, clusters_along<T>(part), args.raster);
    const int m0 = at.m * T::TileM;
    return {args,
            part,
            role.stages,
            stage_pitch,
            role.full,
            role.empty,
            role.turns,
            role.ready,
            role.freed,
            m0,
            (at.n * CLUSTER + rank) * T::TileN,
            min(T::TileM, args.m - m0),
            turn.item.tile * CLUSTER + rank,
            steps,
            turn.item.parts.of(rank, CLUSTER)};
}

// A turn, if it is this role's; `pipe` moves past its steps either way. `ahead`: see HopperTile::produce().
template <bool Producer, class T>
__device__ __forceinline__ void take_turn(const mt_gemm_args &args, const mt_gemm_part &part, const Role &role, int number,
                                          const Turn &turn, Pipe<STAGES> &pipe, int &ahead) {
    if constexpr (Producer) {
        tile_at<T>(args, part, role, turn).produce(pipe, ahead);
    } else if (number % T::teams == role.team) {
        typename T::Out::Accumulators acc;
        tile_at<T>(args, part, role, turn).consume(acc, pipe, number, ahead);
        Turn again; // found anew rather than kept in registers
        find_turn(args, afresh(number), again);
        tile_at<T>(args, part, role, again).finish(acc, role.output, number);
    } else {
        const Steps steps = tile_at<T>(args, part, role, turn).steps;
        pipe.skip(agreed(steps.end - steps.begin));
    }
}

template <bool Producer> __device__ __forceinline__ void run_turns(const mt_gemm_args &args, const Role &role) {
    const mt_gemm_part &part8 = args.part[MT_PART_W8], &part4 = args.part[MT_PART_W4];
    Pipe<STAGES> pipe;
    int ahead = 0; // of the first step that is this warp's: steps go round among those of one kind
    if constexpr (Producer || SHARE_K) {
        ahead = agreed(Producer ? threadIdx.x / 32 % 4 : threadIdx.x / 128);
        pipe.skip(ahead);
    }
    if constexpr (!Producer && SHARE_K)
        Tile4::Out::template begin_parts<CONSUMERS>();
    Turn turn;
    for (int number = 0; find_turn(args, number, turn); number++) {
#if HAS_W8 && HAS_W4
        if (turn.item.tile < turn.tiles8)
            take_turn<Producer, Tile8>(args, part8, role, number, turn, pipe, ahead);
        else
            take_turn<Producer, Tile4>(args, part4, role, number, turn, pipe, ahead);
#elif HAS_W8
        take_turn<Producer, Tile8>(args, part8, role, number, turn, pipe, ahead);
#else
        take_turn<Producer, Tile4>(args, part4, role, number, turn, pipe, ahead);
#endif
    }
    if constexpr (!Producer) {
        if constexpr (SHARE_K)
            Tile4::Out::template end_parts<CONSUMERS>();
        Tile4::Out::finish();
    }
}

#if CLUSTER * CLUSTER_K > 1
#define CLUSTER_SHAPE __cluster_dims__(CLUSTER *CLUSTER_K, 1, 1)
#else
#define CLUSTER_SHAPE
#endif

extern "C" __global__ void CLUSTER_SHAPE __launch_bounds__((CONSUMERS + 1) * 128, CTAS) gemm_sm90(const __grid_constant__ mt_gemm_args args) {
    extern __shared__ unsigned char shared[];
    constexpr int teams = Tile4::teams;
    __shared__ Barrier barriers[2 * STAGES + teams + (CLUSTER_K > 1 ? 2 * teams : 0)];
    // Swizzled tiles start at multiples of 1024 bytes; dynamic shared memory does not.
    unsigned char *stages = kept(shared + (1024 - shared_address(shared) % 1024) % 1024);
    Barrier *full = kept(barriers);
    const int warp_group = threadIdx.x / 128;
    Barrier *turns = full + 2 * STAGES;
    const bool producer = warp_group == CONSUMERS;
    Role role = {0, stages, stages + STAGES * stage_pitch, full, full + STAGES, turns, turns + teams, turns + 2 * teams};
    if (threadIdx.x == CONSUMERS * 128) {
        tensor_map_prefetch(args.x_map);
        Tile4::init_barriers(role.full, role.empty, role.turns, role.ready, role.freed);
    }
    if (cluster_ctas > 1)
        cluster_sync(); // everybody's barriers are ready
    else
        __syncthreads();
    if (producer) {
        registers_release<MT_PRODUCER_REGISTERS>();
        if (threadIdx.x / 32 - CONSUMERS * 4 < Tile4::producers)
            run_turns<true>(args, role);
    } else {
        registers_take<mt_consumer_registers(CONSUMERS, CTAS)>();
        if (PINGPONG) {
            role.team = warp_group;
            role.output += warp_group * output_bytes;
        }
        run_turns<false>(args, role);
    }
    if (cluster_ctas > 1)
        cluster_sync(); // nobody copies to or arrives at a CTA that is gone
}
