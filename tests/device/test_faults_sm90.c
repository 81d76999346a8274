/* The sm90 family broken on purpose (faults.h says how), on a software H100 with a single SM, so that its one CTA works
 * on every tile in turn. */
#include "faults.h"
#include "small_device.h"

#define SMALL    "tile_m=16,tile_k=128,stages=3,consumers=2"
#define PINGPONG SMALL ",pingpong=1"
#define DEEP     "tile_m=16,tile_k=128,stages=8,consumers=2"
#define STORE    SMALL ",store=1"
#define SHARE_K  "tile_m=16,tile_k=128,stages=4,consumers=2,share_k=1"
#define GROUPS2  "tile_m=16,tile_k=256,stages=2,consumers=1,zero=1"

/* A stage that changes hands too early: what goes wrong first depends on who runs ahead. */
#define TOO_EARLY "no barrier lies between|still in flight|overwritten before wgmma.wait_group|lacks only"

static const struct mutation mutations[] = {
    /* Handing over stages. */
    {"no fence between the barriers' initialisation and the copy engine", "tile/hopper_tile.cuh",
     "mbarrier_init_fence();", "", "w4a8", SMALL, OUTCOME_CRASH, "neither fence.mbarrier_init nor fence.proxy.async"},
    {"no CTA barrier after the initialisation", "gemm_sm90.cu", "__syncthreads();", "", "w4a8", SMALL, OUTCOME_CRASH,
     "no initialised mbarrier|no barrier lies between"},
    {"fewer bytes announced than copied", "tile/hopper_tile.cuh", "(has_zeros ? 3 : 2));", "2);", "w4a8", SMALL,
     OUTCOME_TIMEOUT, "8384 bytes (8480 under way)"},
    {"zero points announced where there are none", "tile/hopper_tile.cuh", "(has_zeros ? 3 : 2));", "3);", "w4a8-sym",
     SMALL, OUTCOME_TIMEOUT, "8480 bytes (8384 under way)"},
    {"more bytes announced than copied", "tile/hopper_tile.cuh", "TileM * TileK + live.slabs",
     "TileM * TileK + 128 + live.slabs", "w8a8", SMALL, OUTCOME_TIMEOUT, "14656 bytes (14528 under way)"},
    {"consumers do not release stages", "tile/hopper_tile.cuh", "release(&empty[s]);", ";", "w4a8", SMALL,
     OUTCOME_TIMEOUT, "lacks 8 of 8 arrivals"},
    {"one warp does not release stages", "tile/hopper_tile.cuh", "} else if (lane == 0) {",
     "} else if (lane == 0 && threadIdx.x != 96) {", "w4a8", SMALL, OUTCOME_TIMEOUT, "lacks 1 of 8 arrivals"},
    {"a stage filled before it is released", "tile/hopper_tile.cuh", "mbarrier_wait(&empty[s], pipe.parity ^ 1);", "",
     "w4a8", SMALL, OUTCOME_CRASH, TOO_EARLY},
    {"a stage released before it has been multiplied", "tile/hopper_tile.cuh", "wgmma_commit();",
     "wgmma_commit();\n        __syncwarp();\n        if (threadIdx.x % 32 == 0)\n            "
     "mbarrier_arrive(&empty[(view.stage - stages) / stage_pitch]);",
     "w8a8", SMALL, OUTCOME_CRASH, TOO_EARLY},
    {"a stage read before it is filled", "tile/hopper_tile.cuh", "mbarrier_wait(&full[s], pipe.parity);", "", "w4a8",
     SMALL, OUTCOME_CRASH, "never written|still in flight"},
    {"the small copies do not count", "tile/hopper_tile.cuh", "mbarrier_arrive_on_cp_async(&full[s]);",
     "mbarrier_arrive(&full[s]);", "w8a8", SMALL, OUTCOME_CRASH, "still in flight"},
    {"ping-pong loses count of the other's stages", "gemm_sm90.cu", "pipe.skip(agreed(steps.end - steps.begin));", ";",
     "w4a8", PINGPONG, OUTCOME_CRASH, "lacks|no barrier lies between|still in flight"},
    {"ping-pong without turns: a parity of two rounds ago", "tile/hopper_tile.cuh",
     "mbarrier_wait(&turns[turn % teams], (turn / teams + (turn % teams == 0)) % 2);", ";", "w4a8", PINGPONG,
     OUTCOME_TIMEOUT, "lacks 4 of 4 arrivals"},
    {"producers that take each other's steps", "tile/hopper_tile.cuh",
     "step += producers, pipe.template advance_by<producers>()", "step += 1, pipe.template advance_by<1>()", "w4a8",
     SMALL, OUTCOME_CRASH, "lacks|arrive|no barrier lies between|still in flight"},
    {"consumers that take the same steps", "gemm_sm90.cu", "threadIdx.x / 32 % 4 : threadIdx.x / 128",
     "threadIdx.x / 32 % 4 : 0", "w4a8", SHARE_K, OUTCOME_CRASH,
     "lacks|arrive|no barrier lies between|still in flight"},
    {"parts of K added before they are there", "tile/hopper_epilogue.cuh",
     "named_barrier(parts_ready, Groups * Team::threads);\n#pragma", "\n#pragma", "w4a8", SHARE_K, OUTCOME_CRASH,
     "no barrier lies between|never written"},
    {"parts of K overwritten before they are read", "tile/hopper_epilogue.cuh",
     "named_barrier(parts_read, Groups * Team::threads);\n            Base", "Base", "w4a8", SHARE_K, OUTCOME_CRASH,
     "no barrier lies between"},
    /* With more stages than a tile has steps nothing else holds a warp back. */
    {"no barrier before the next tile is staged", "tile/hopper_epilogue.cuh", "Team::sync(); // the previous",
     "// the previous", "w4a8", DEEP, OUTCOME_CRASH, "no barrier lies between"},

    /* The way out. */
    {"no proxy fence before the copy engine reads the staged tile", "tile/hopper_epilogue.cuh", "copy_engine_fence();",
     "", "w4a8", STORE, OUTCOME_CRASH, "fence.proxy.async"},
    {"the staged tile is overwritten while it is stored", "tile/hopper_epilogue.cuh",
     "if (TensorStore && Team::thread() == 0)\n            bulk_wait_read();\n        Team", "Team", "w4a8", STORE,
     OUTCOME_CRASH, "wait_group"},
    {"the CTA ends while its tile is stored", "gemm_sm90.cu", "Tile4::Out::finish();", ";", "w4a8", STORE,
     OUTCOME_CRASH, "wait_group"},
    {"the box of 64 features in the wrong place", "tile/hopper_epilogue.cuh", "shared + n * TileM * 2",
     "shared + (n ^ 64) * TileM * 2", "w8a8", STORE, OUTCOME_WRONG, NULL},
    {"matrices stored for the wrong eight features", "tile/hopper_epilogue.cuh", "lane / 8 % 2 * 8", "lane / 8 % 2 * 4",
     "w8a8", SMALL, OUTCOME_ILLEGAL_ADDRESS, "multiple of 16"},
    {"tokens of a pair of fragments swapped", "tile/hopper_epilogue.cuh", "lane / 16 * 8 + lane % 8",
     "(lane / 16 ^ 1) * 8 + lane % 8", "w8a8", SMALL, OUTCOME_WRONG, NULL},

    /* The tensor core. */
    {"no wait for the last multiplications", "tile/hopper_tile.cuh", "wgmma_wait<0>();", "", "w4a8", SMALL,
     OUTCOME_CRASH, "reads an accumulator of a wgmma that is still under way"},
    {"a wait that is one group short", "tile/hopper_tile.cuh", "wgmma_wait<1>();", "wgmma_wait<2>();", "w4a8", GROUPS2,
     OUTCOME_CRASH, "an accumulator of a wgmma that is still under way"},
    {"multiplications that are never committed", "tile/hopper_tile.cuh", "wgmma_commit();", "", "w4a8", SMALL,
     OUTCOME_CRASH, "no wgmma.wait_group covers it"},
    {"no fence before the multiplications", "tile/hopper_tile.cuh", "wgmma_fence(sum, a);", "", "w4a8", SMALL,
     OUTCOME_CRASH, "no wgmma.fence"},
    {"start values set after the fence", "tile/hopper_tile.cuh", "wgmma_fence(sum, a);",
     "wgmma_fence(sum, a);\n        start(sum, f, view, group, acc);\n        wgmma_settled(sum);", "w4a8", GROUPS2,
     OUTCOME_CRASH, "': accumulator %"},
    {"start values that nothing holds before the fence", "tile/hopper_tile.cuh", "wgmma_fence(sum, a);",
     "wgmma_fence(a);", "w8a8", SMALL, OUTCOME_CRASH, "': accumulator %"},
    {"weights unpacked after the fence", "tile/hopper_tile.cuh", "wgmma_fence(sum, a);",
     "wgmma_fence(sum, a);\n        a[0][1][2] &= ~f.zero[0];\n        wgmma_settled(a);", "w4a8", SMALL, OUTCOME_CRASH,
     "': register of A %"},
    {"half the stride in the descriptor", "ptx/wgmma.cuh", "30 | 64)", "30 | 32)", "w4a8", SMALL, OUTCOME_CRASH,
     "512 bytes between groups of 8 rows"},
    {"tokens 64 bytes off", "tile/hopper_tile.cuh", "stage + s * TileM * 128;", "stage + 64 + s * TileM * 128;", "w8a8",
     SMALL, OUTCOME_ILLEGAL_ADDRESS, "not a multiple of 128"},

    /* What the numbers give away. */
    {"two words of the weight fragment swapped", "ptx/wgmma.cuh", "{%0, %1, %2, %3}", "{%1, %0, %2, %3}", "w8a8", SMALL,
     OUTCOME_WRONG, NULL},
    {"scales of the other group of the step", "tile/hopper_tile.cuh", "first = group * TileN",
     "first = (group ^ 1) * TileN", "w4a8", GROUPS2, OUTCOME_WRONG, NULL},
    {"signs of symmetric weights not flipped", "tile/dequant.cuh", "0xf0f0f0f0u, 0x80808080u", "0xf0f0f0f0u, 0u",
     "w4a8-sym", SMALL, OUTCOME_WRONG, NULL},
    {"scales of symmetric weights sixteen times too large", "tile/dequant.cuh", "half_to_float(bits) * 0.0625f",
     "half_to_float(bits)", "p20-sym", SMALL, OUTCOME_WRONG, NULL},
    {"tiles of the 4-bit part counted from the first of the 8-bit one", "gemm_sm90.cu",
     "turn.item.tile - (T::Bits == 4 ? turn.tiles8 : 0)", "turn.item.tile", "p20-sym", SMALL, OUTCOME_ILLEGAL_ADDRESS,
     "of allocation"},
    {"sums of the neighbouring token", "tile/hopper_tile.cuh", "sums[i / 4 * 2 + i % 2]",
     "sums[i / 4 * 2 + (i + 1) % 2]", "w4a8", GROUPS2, OUTCOME_WRONG, NULL},
    {"scales of a pair of fragments in the order of the tokens", "tile/hopper_tile.cuh",
     "NI % 2 && fragment == NI - 1 ? token", "true ? token", "w8a8", SMALL, OUTCOME_WRONG, NULL},
    {"the next 32 bytes along k in the wrong place", "tile/hopper_tile.cuh", "k32 % 4 * 32", "(k32 % 4 ^ 1) * 32",
     "w4a8", SMALL, OUTCOME_WRONG, NULL},
};

static int start_suite(void **state) {
    return set_up(state) || !small_device("h100-sxm", 1, folder, suite.device) ? -1 : 0;
}

int main(void) {
    suite = (struct suite){"sm90", "", mutations, sizeof mutations / sizeof *mutations, start_suite, 88};
    return suite_run();
}
