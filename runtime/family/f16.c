/* The family of templates/gemm_f16.cu: plain fp16/bf16, the baseline where there is no cuBLAS. */
#include "family.h"
#include "rules.h"
#include "templates/gemm_args.h"

enum { TILE_N, TILE_M, TILE_K, STAGES, WARPS_N, WARPS_M, CTAS, SPLIT_K, RASTER, KNOBS };

static const struct knob knobs[KNOBS] = {
    [TILE_N] = {"tile_n", "output features per CTA", 128, false},
    [TILE_M] = {"tile_m", "tokens per CTA", 64, false},
    [TILE_K] = {"tile_k", "K step in elements", 64, false},
    [STAGES] = {"stages", "pipeline depth; stages - 1 steps are in flight", 4, false},
    [WARPS_N] = {"warps_n", "warps along the features", 4, false},
    [WARPS_M] = {"warps_m", "warps along the tokens", 1, false},
    [CTAS] = {"ctas", "CTAs per SM that registers and shared memory are budgeted for", 1, false},
    [SPLIT_K] = {"split_k", "CTAs that share an output tile along K", 1, true},
    [RASTER] = {"raster", "token tiles walked together before the next feature tile", 1, true},
};

static int shared_of(const struct config *c) {
    const int *v = c->value;
    return mt_shared_bytes(v[STAGES], (v[TILE_N] + v[TILE_M]) * v[TILE_K] * 2, v[TILE_N], v[TILE_M]);
}

static bool allowed(const struct config *c, const struct problem *p, const struct device_limits *d, char reason[160]) {
    const int *v = c->value, threads = v[WARPS_N] * v[WARPS_M] * 32, row_chunks = v[TILE_K] / 8;
    if (v[TILE_K] != 32 && v[TILE_K] != 64 && v[TILE_K] != 128)
        return refuse(reason, "the K step is %d; it can be 32, 64 or 128", v[TILE_K]);
    if (!warps_allowed(v[WARPS_N], v[WARPS_M], reason))
        return false;
    if (threads % row_chunks || threads / row_chunks % 8)
        return refuse(reason, "%d threads cannot copy rows of %d bytes in whole swizzle periods", threads,
                      v[TILE_K] * 2);
    if (v[TILE_N] < 16 || v[TILE_N] % (16 * v[WARPS_N]))
        return refuse(reason, "a feature tile of %d cannot be divided among %d warps in fragments of 16", v[TILE_N],
                      v[WARPS_N]);
    if (v[TILE_M] < 8 || v[TILE_M] % (8 * v[WARPS_M]))
        return refuse(reason, "a token tile of %d cannot be divided among %d warps in fragments of 8", v[TILE_M],
                      v[WARPS_M]);
    if (v[STAGES] < 2 || v[STAGES] > 16)
        return refuse(reason, "a pipeline has 2 to 16 stages, not %d", v[STAGES]);
    if (!split_allowed(v[SPLIT_K], (p->k + v[TILE_K] - 1) / v[TILE_K], reason) ||
        !raster_allowed(v[RASTER], (p->m + v[TILE_M] - 1) / v[TILE_M], reason))
        return false;
    const int mi = v[TILE_N] / v[WARPS_N] / 16, ni = v[TILE_M] / v[WARPS_M] / 8;
    return resources_allowed(d, threads, v[CTAS], shared_of(c), 4 * mi * ni + 8 * mi + 4 * ni + 40, reason);
}

static void plan(const struct config *c, const struct problem *p, int sm_count, struct launch_plan *out) {
    (void)sm_count;
    const int *v = c->value;
    *out = (struct launch_plan){
        .every = {.tile_n = v[TILE_N],
                  .tile_m = v[TILE_M],
                  .tile_k = v[TILE_K],
                  .x_rows = v[TILE_M],
                  .split_k = v[SPLIT_K],
                  .parts_k = v[SPLIT_K],
                  .raster = v[RASTER],
                  .grid = {0, 1, 1},
                  .block = (unsigned)(v[WARPS_N] * v[WARPS_M] * 32),
                  .smem_bytes = (size_t)shared_of(c),
                  .sums = sum_tree_of((p->k + v[TILE_K] - 1) / v[TILE_K], v[TILE_K], v[SPLIT_K], 1)},
        .tiles_n = (p->n + v[TILE_N] - 1) / v[TILE_N],
        .split_partials = tile_partials(v[TILE_N], v[TILE_M]) * (size_t)v[SPLIT_K],
        .split_counters = sizeof(unsigned)};
}

static void options(const struct config *c, const struct problem *p, struct str *out) {
    const int *v = c->value;
    str_printf(out, " -DTILE_N=%d -DTILE_M=%d -DTILE_K=%d -DSTAGES=%d -DWARPS_N=%d -DWARPS_M=%d -DCTAS=%d -DBF16=%d",
               v[TILE_N], v[TILE_M], v[TILE_K], v[STAGES], v[WARPS_N], v[WARPS_M], v[CTAS], p->dtype == DTYPE_BF16);
}

DEFINE_FAMILY(f16, knobs, .quick_spaces = "quick-f16", .min_cc = 80, .quantised = false, .allowed = allowed,
              .plan = plan, .options = options);
