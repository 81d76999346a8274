/* The family of templates/gemm_sm80.cu: group-wise W4A8, W8A8 and mixed, cp.async + mma.sync. */
#include "family.h"
#include "rules.h"
#include "templates/gemm_args.h"
#include <stdio.h>

enum { TILE_N, TILE_N8, TILE_M, TILE_K, STAGES, WARPS_N, WARPS_M, CTAS, PROMOTE, ZERO, ORDER, SPLIT_K, RASTER, KNOBS };
enum { ZERO_START = 1 };
enum { ORDER_COLUMN = 1 };

static const struct knob knobs[KNOBS] = {
    [TILE_N] = {"tile_n", "output features per CTA", 128, false},
    [TILE_N8] = {"tile_n8", "output features per CTA in the 8-bit part of a mixed layer; 0: as tile_n", 0, false},
    [TILE_M] = {"tile_m", "tokens per CTA", 32, false},
    [TILE_K] = {"tile_k", "K step: input features per pipeline stage, whole groups; 0: 128, or the group if larger", 0,
                false},
    [STAGES] = {"stages", "pipeline depth; stages - 1 steps are in flight", 4, false},
    [WARPS_N] = {"warps_n", "warps along the features", 4, false},
    [WARPS_M] = {"warps_m", "warps along the tokens", 1, false},
    [CTAS] = {"ctas", "CTAs per SM that registers and shared memory are budgeted for", 1, false},
    [PROMOTE] = {"promote", "integer sums become floats by 0 convert, 1 subtract, 2 fma", 2, false},
    [ZERO] = {"zero", "4-bit zero point: 0 subtracted before the MMA, 1 through the sum's start value", 0, false},
    [ORDER] = {"order", "0 k: all sums of a warp tile at once; 1 column: weights stay, tokens stream", 1, false},
    [SPLIT_K] = {"split_k", "CTAs that share an output tile along K", 1, true},
    [RASTER] = {"raster", "token tiles walked together before the next feature tile", 1, true},
};

static struct parts parts_for(const struct config *c, const struct problem *p) {
    return parts_of(p, c->value[TILE_N], c->value[TILE_N8]);
}

static int shared_of(const struct config *c, const struct problem *p, int bits, int tile_n) {
    const int *v = c->value;
    const int tile_k = k_step(v[TILE_K], p), zeros = bits == 4 && !p->symmetric, sums = zeros && v[ZERO] == ZERO_START;
    return mt_shared_bytes(v[STAGES], mt_stage_bytes(bits, tile_n, v[TILE_M], tile_k, p->group, sums, zeros), tile_n,
                           v[TILE_M]);
}

/* Registers per thread, from the live values of templates/tile/quant_tile.cuh: with fewer ptxas begins to spill
 * (tests/bench/bench_spills.c). It takes more where there are more. */
static int registers_of(const struct config *c, const struct problem *p, int tile_n) {
    const int *v = c->value;
    const int mi = tile_n / v[WARPS_N] / 16, ni = v[TILE_M] / v[WARPS_M] / 8, units = p->group / 64;
    const int by_column =
        8 * mi + 8 * mi * units + 4 * units + 2 * ni; /* sums, weights, tokens, what loads run ahead */
    const int by_k = 4 * mi * ni + 8 * mi + 4 * ni;
    const struct parts parts = parts_for(c, p); /* a mixed layer has two tiles in one kernel */
    return 4 * mi * ni + (v[ORDER] == ORDER_COLUMN ? by_column : by_k) + 4 * mi + (parts.has8 && parts.has4 ? 56 : 32);
}

static bool tile_allowed(const struct config *c, const struct problem *p, const struct device_limits *d, int bits,
                         int tile_n, char reason[160]) {
    const int *v = c->value, threads = v[WARPS_N] * v[WARPS_M] * 32;
    if (tile_n < 16 || tile_n % (16 * v[WARPS_N]))
        return refuse(reason, "a feature tile of %d cannot be divided among %d warps in fragments of 16", tile_n,
                      v[WARPS_N]);
    const int shared = shared_of(c, p, bits, tile_n), registers = registers_of(c, p, tile_n);
    return resources_allowed(d, threads, v[CTAS], shared, registers, reason);
}

static bool allowed(const struct config *c, const struct problem *p, const struct device_limits *d, char reason[160]) {
    const int *v = c->value, threads = v[WARPS_N] * v[WARPS_M] * 32;
    const int tile_k = k_step(v[TILE_K], p), row_chunks = tile_k / 16;
    const struct parts parts = parts_for(c, p);
    if (v[PROMOTE] > 2 || v[ZERO] > 1 || v[ORDER] > 1)
        return refuse(reason, "promote is 0..2, zero and order are 0 or 1");
    if (tile_k != 64 && tile_k != 128 && tile_k != 256)
        return refuse(reason, "the K step is %d; it can be 64, 128 or 256", tile_k);
    if (tile_k % p->group)
        return refuse(reason, "a K step of %d does not hold whole groups of %d", tile_k, p->group);
    if (!warps_allowed(v[WARPS_N], v[WARPS_M], reason))
        return false;
    if (threads % row_chunks || threads / row_chunks % 8)
        return refuse(reason, "%d threads cannot copy rows of %d bytes in whole swizzle periods", threads, tile_k);
    if (v[TILE_M] < 8 || v[TILE_M] > 256 || v[TILE_M] % (8 * v[WARPS_M]))
        return refuse(reason, "a token tile of %d cannot be divided among %d warps in fragments of 8", v[TILE_M],
                      v[WARPS_M]);
    if (v[STAGES] < 2 || v[STAGES] > 16)
        return refuse(reason, "a pipeline has 2 to 16 stages, not %d", v[STAGES]);
    if (v[ZERO] == ZERO_START && !parts.zeros)
        return refuse(reason, "%s weights have no zero point: zero=1 would be the same kernel",
                      parts.has4 ? "symmetric" : "8-bit");
    if (v[TILE_N8] && !(parts.has8 && parts.has4))
        return refuse(reason, "only a mixed layer has a second feature tile: tile_n8 must be 0");
    if (!split_allowed(v[SPLIT_K], (problem_k_padded(p) + tile_k - 1) / tile_k, reason) ||
        !raster_allowed(v[RASTER], (p->m + v[TILE_M] - 1) / v[TILE_M], reason))
        return false;
    return (!parts.has8 || tile_allowed(c, p, d, 8, parts.width8, reason)) &&
           (!parts.has4 || tile_allowed(c, p, d, 4, parts.width4, reason));
}

static void plan(const struct config *c, const struct problem *p, int sm_count, struct launch_plan *out) {
    (void)sm_count;
    const int *v = c->value;
    const struct parts parts = parts_for(c, p);
    const int shared8 = parts.has8 ? shared_of(c, p, 8, parts.width8) : 0;
    const int shared4 = parts.has4 ? shared_of(c, p, 4, parts.width4) : 0;
    const int widest = parts.width8 > parts.width4 ? parts.width8 : parts.width4;
    const int steps = (problem_k_padded(p) + k_step(v[TILE_K], p) - 1) / k_step(v[TILE_K], p);
    *out = (struct launch_plan){.every = {.tile_n = widest,
                                          .tile_m = v[TILE_M],
                                          .tile_k = k_step(v[TILE_K], p),
                                          .x_rows = v[TILE_M],
                                          .grid = {0, 1, 1},
                                          .block = (unsigned)(v[WARPS_N] * v[WARPS_M] * 32),
                                          .split_k = v[SPLIT_K],
                                          .parts_k = v[SPLIT_K],
                                          .raster = v[RASTER],
                                          .smem_bytes = (size_t)(shared8 > shared4 ? shared8 : shared4),
                                          .sums = sum_tree_of(steps, k_step(v[TILE_K], p), v[SPLIT_K], 1)},
                                .tiles_n = tiles_along_n(p, parts.width8, parts.width4),
                                .split_partials = tile_partials(widest, v[TILE_M]) * (size_t)v[SPLIT_K],
                                .split_counters = sizeof(unsigned)};
}

static void options(const struct config *c, const struct problem *p, struct str *out) {
    const int *v = c->value;
    const struct parts parts = parts_for(c, p);
    str_printf(out, " -DTILE_N=%d -DTILE_N8=%d -DTILE_M=%d -DTILE_K=%d -DSTAGES=%d", parts.width4, parts.width8,
               v[TILE_M], k_step(v[TILE_K], p), v[STAGES]);
    str_printf(out, " -DWARPS_N=%d -DWARPS_M=%d -DCTAS=%d -DPROMOTE=%d -DZERO=%d -DORDER=%d", v[WARPS_N], v[WARPS_M],
               v[CTAS], v[PROMOTE], v[ZERO], v[ORDER]);
    parts_options(&parts, p, out);
}

DEFINE_FAMILY(sm80, knobs, .quick_spaces = "quick-sm80-decode,quick-sm80-prefill",
              .few = "tile_n=64,tile_m=16,stages=4", .many = "tile_n=128,tile_m=64,stages=3", .min_cc = 80,
              .quantised = true, .allowed = allowed, .plan = plan, .options = options);
