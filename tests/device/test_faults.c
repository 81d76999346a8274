/* The sm80 family broken on purpose (faults.h says how), on a software A100. */
#include "faults.h"

/* Without a barrier the first that goes wrong depends on which warp runs ahead. */
#define BARRIER_IS_MISSING "never written|still in flight|no barrier lies between"

#define TILE  "tile_n=64,tile_m=16,tile_k=128"
#define SMALL TILE ",stages=3,warps_n=2,warps_m=1"

static const struct mutation mutations[] = {
    /* What only the device can see. */
    {"no wait for cp.async", "tile/quant_tile.cuh", "cp_async_wait<Stages - 2>();", "", "w4a8", SMALL, OUTCOME_CRASH,
     "still in flight"},
    {"a wait that is one group short", "tile/quant_tile.cuh", "cp_async_wait<Stages - 2>();",
     "cp_async_wait<Stages - 1>();", "w4a8", SMALL, OUTCOME_CRASH, "still in flight"},
    {"no barrier between the copy and its use", "tile/quant_tile.cuh", "__syncthreads();             // everybody's",
     "// everybody's", "w4a8", SMALL, OUTCOME_CRASH, BARRIER_IS_MISSING},
    /* The last of 8 steps is in the first of 7 stages, which lies where the output tile will be. */
    {"no barrier before the stages become the output tile", "tile/quant_tile.cuh", "__syncthreads(); // the stages",
     "// the stages", "w8a8", TILE ",stages=7,warps_n=2,warps_m=1", OUTCOME_CRASH, BARRIER_IS_MISSING},
    /* Two warps along the tokens: each stores what the other has staged. */
    {"no barrier between staging and storing", "tile/epilogue.cuh", "Team::sync();\n        store(", "store(", "w4a8",
     TILE ",stages=3,warps_n=1,warps_m=2", OUTCOME_CRASH, BARRIER_IS_MISSING},
    {"a barrier that half of the threads skip", "tile/quant_tile.cuh", "__syncthreads();             // everybody's",
     "if (threadIdx.x % 32 < 16) __syncthreads(); // everybody's", "w4a8", SMALL, OUTCOME_CRASH,
     "barrier|" BARRIER_IS_MISSING},
    {"bias one element past the end", "tile/epilogue.cuh", "row >= rows)", "row > rows)", "w4a8", SMALL,
     OUTCOME_ILLEGAL_ADDRESS, "offset 182 of allocation"},
    {"scales past the last feature", "tile/quant_tile.cuh", "e < valid &&", "e <= valid &&", "w4a8", SMALL,
     OUTCOME_ILLEGAL_ADDRESS, "of allocation"},
    {"weights past the last feature", "tile/quant_tile.cuh", "(features - n0 / 16) * used_bytes",
     "(features + 1 - n0 / 16) * used_bytes", "w4a8", SMALL, OUTCOME_ILLEGAL_ADDRESS, "of allocation"},
    {"a copy to an address that is not a multiple of 16", "tile/rows.cuh", "cp_async_16(to + ", "cp_async_16(to + 4 + ",
     "w8a8", SMALL, OUTCOME_ILLEGAL_ADDRESS, "not a multiple of 16"},

    /* What the numbers, the guards around them or the counters give away. */
    {"output rows past the last token", "tile/epilogue.cuh", "m >= tokens ||", "m > tokens ||", "w8a8", SMALL,
     OUTCOME_WRONG, NULL},
    {"two words of the 8-bit fragment swapped", "tile/dequant.cuh", "a[0][0] = first.x, a[0][1] = first.y",
     "a[0][0] = first.y, a[0][1] = first.x", "w8a8", SMALL, OUTCOME_WRONG, NULL},
    {"low and high nibbles swapped", "tile/dequant.cuh", "a[0][j] = low, a[1][j] = high",
     "a[0][j] = high, a[1][j] = low", "w4a8", SMALL, OUTCOME_WRONG, NULL},
    {"the token fragment's registers swapped", "ptx/mma.cuh", "\"r\"(b0), \"r\"(b1), \"r\"(c[0])",
     "\"r\"(b1), \"r\"(b0), \"r\"(c[0])", "w4a8", SMALL, OUTCOME_WRONG, NULL},
    {"scales of the neighbouring group", "tile/quant_tile.cuh", "group = step * groups;",
     "group = (step ^ 1) * groups;", "w4a8", SMALL, OUTCOME_WRONG, NULL},
    {"zero point of the other row", "tile/dequant.cuh", "j % 2 ? z1 : z0", "j % 2 ? z0 : z1", "w4a8", SMALL,
     OUTCOME_WRONG, NULL},
    {"another bit of symmetric weights flipped", "tile/dequant.cuh", "0xf0f0f0f0u, 0x80808080u",
     "0xf0f0f0f0u, 0x88888888u", "w4a8-sym", SMALL, OUTCOME_WRONG, NULL},
    {"low nibbles of symmetric weights not moved up", "tile/dequant.cuh", "(word[j] << 4, ", "(word[j], ", "w4a8-sym",
     SMALL, OUTCOME_WRONG, NULL},
    {"scales of symmetric weights sixteen times too large", "tile/dequant.cuh", "half_to_float(bits) * 0.0625f",
     "half_to_float(bits)", "w4a8-sym", SMALL, OUTCOME_WRONG, NULL},
    {"scales of 8-bit weights divided, too", "tile/dequant.cuh", "return symmetric ? half", "return SYMMETRIC ? half",
     "p20-sym", SMALL, OUTCOME_WRONG, NULL},
    {"the last feature of each part left out", "tile/epilogue.cuh", "row0 + n >= rows)", "row0 + n + 1 >= rows)",
     "p20-sym", SMALL, OUTCOME_WRONG, NULL},
    {"the 4-bit part begins a tile too early", "gemm_sm80.cu", "part4, tiles8)", "part4, tiles8 + 1)", "p20-sym", SMALL,
     OUTCOME_ILLEGAL_ADDRESS, "of allocation"},
    {"a feature too many in each part", "tile/epilogue.cuh", "row0 + n >= rows)", "row0 + n > rows)", "p20-sym", SMALL,
     OUTCOME_ILLEGAL_ADDRESS, "of allocation"},
    {"a split that is added twice", "tile/epilogue.cuh", "acc[i / NI][i % NI][r] = 0.0f;", ";", "w4a8",
     SMALL ",split_k=3", OUTCOME_WRONG, NULL},
    {"a split counter that is left set", "tile/epilogue.cuh", "static_cast<unsigned>(parts.count - 1)) ==",
     "static_cast<unsigned>(parts.count)) ==", "w8a8", SMALL ",split_k=3", OUTCOME_WRONG, NULL},
};

int main(void) {
    suite = (struct suite){"sm80", "soft:a100-sxm-80g", mutations, sizeof mutations / sizeof *mutations, set_up, 91};
    return suite_run();
}
