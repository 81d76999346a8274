// Group-wise W4A8, W8A8 and mixed GEMM for Hopper (sm_90a): bulk copies + wgmma, warp-specialised, persistent.
//
// Arguments in gemm_args.h; x_map is the tensor map of x: int8 {Kp, M}, box {128, TILE_M}, 128-byte swizzle. Grid: as many CTAs as the device
// holds, or fewer; each walks over work items, an item being one split of one output tile. Block: consumer warp groups, then the producer's.
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
#ifndef CTAS // CTAs per SM
#error CTAS is unset
#endif
#ifndef PROMOTE // 0 convert, 1 subtract, 2 fma (tile/promote.cuh)
#error PROMOTE is unset
#endif
#ifndef ZERO // 0 subtract: from the weights before the MMA; 1 start: through the start value, from the group sums
#error ZERO is unset
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
#ifndef BF16 // bias and output are bf16, else fp16
#error BF16 is unset
#endif

constexpr int widest = (BLOCKS > BLOCKS8 ? BLOCKS : BLOCKS8) * 64 * (PINGPONG ? 1 : CONSUMERS);
using Tile8 = HopperTile<8, BLOCKS8, TILE_M, TILE_K, STAGES, CONSUMERS, PINGPONG, GROUP, PROMOTE, ZERO, widest * TILE_M, BF16>;
using Tile4 = HopperTile<4, BLOCKS, TILE_M, TILE_K, STAGES, CONSUMERS, PINGPONG, GROUP, PROMOTE, ZERO, widest * TILE_M, BF16>;
constexpr int stage8 = HAS_W8 ? Tile8::stage_bytes : 0, stage4 = HAS_W4 ? Tile4::stage_bytes : 0;
constexpr int stage_pitch = stage8 > stage4 ? stage8 : stage4;
constexpr int output_bytes = TILE_M * mt_output_pitch(widest) * 2;

// Registers: the launch bounds give every warp group the same; the producer gives most of its share to the consumers.
constexpr int launch_registers = 512 / ((CONSUMERS + 1) * CTAS) / 8 * 8 > 248 ? 248 : 512 / ((CONSUMERS + 1) * CTAS) / 8 * 8;
constexpr int producer_registers = 40;
constexpr int consumer_share = (launch_registers * (CONSUMERS + 1) - producer_registers) / CONSUMERS / 8 * 8;
constexpr int consumer_registers = consumer_share > 240 ? 240 : consumer_share;

struct Role {
    bool producer;
    int team;
    unsigned char *stages, *output;
    Barrier *full, *empty, *turns;
};

// The work item of `turn`, if it is this role's; `iteration` moves past its steps either way.
template <class T>
__device__ __forceinline__ void run_item(const mt_gemm_args &args, const mt_gemm_part &part, const Role &role, int tile_index,
                                         int first, int split, int turn, int &iteration) {
    const int tiles_n = (part.rows + T::TileN - 1) / T::TileN, tiles_m = (args.m + T::TileM - 1) / T::TileM;
    const Tile tile = tile_of(tile_index - first, tiles_m, tiles_n, args.raster);
    const int m0 = tile.m * T::TileM;
    const T work = {args, part, role.stages, stage_pitch, role.full, role.empty, role.turns, m0, tile.n * T::TileN,
                    min(T::TileM, args.m - m0), tile_index, split};
    if (role.producer)
        work.produce(iteration);
    else if (turn % T::teams == role.team)
        work.consume(iteration, turn, role.output);
    else
        iteration += work.steps().end - work.steps().begin;
}

__device__ __forceinline__ void run_items(const mt_gemm_args &args, const Role &role) {
    const mt_gemm_part &part8 = args.part[MT_PART_W8], &part4 = args.part[MT_PART_W4];
    const int tiles_m = (args.m + TILE_M - 1) / TILE_M;
    const int tiles8 = (part8.rows + Tile8::TileN - 1) / Tile8::TileN * tiles_m;
    const int tiles4 = (part4.rows + Tile4::TileN - 1) / Tile4::TileN * tiles_m;
    int iteration = 0;
    for (int item = blockIdx.x, turn = 0; item < (tiles8 + tiles4) * args.split_k; item += gridDim.x, turn++) {
        const int tile = item / args.split_k, split = item % args.split_k;
#if HAS_W8 && HAS_W4
        if (tile < tiles8)
            run_item<Tile8>(args, part8, role, tile, 0, split, turn, iteration);
        else
            run_item<Tile4>(args, part4, role, tile, tiles8, split, turn, iteration);
#elif HAS_W8
        run_item<Tile8>(args, part8, role, tile, 0, split, turn, iteration);
#else
        run_item<Tile4>(args, part4, role, tile, 0, split, turn, iteration);
#endif
    }
}

extern "C" __global__ void __launch_bounds__((CONSUMERS + 1) * 128, CTAS) gemm_sm90(const __grid_constant__ mt_gemm_args args) {
    extern __shared__ unsigned char shared[];
    __shared__ Barrier barriers[2 * STAGES + Tile4::teams];
    // Swizzled tiles start at multiples of 1024 bytes; dynamic shared memory does not.
    unsigned char *stages = shared + (1024 - shared_address(shared) % 1024) % 1024;
    const int warp_group = threadIdx.x / 128;
    Role role = {warp_group == CONSUMERS, 0, stages, stages + STAGES * stage_pitch, barriers,
                 barriers + STAGES, barriers + 2 * STAGES};
    if (threadIdx.x == CONSUMERS * 128) {
        tensor_map_prefetch(args.x_map);
        Tile4::init_barriers(role.full, role.empty, role.turns);
    }
    __syncthreads();
    if (role.producer) {
        registers_release<producer_registers>();
        if (threadIdx.x / 32 == CONSUMERS * 4) // one warp does the work
            run_items(args, role);
    } else {
        registers_take<consumer_registers>();
        if (PINGPONG) {
            role.team = warp_group;
            role.output += warp_group * output_bytes;
        }
        run_items(args, role);
    }
}
