/* The family of templates/gemm_sm90.cu: group-wise W4A8, W8A8 and mixed on Hopper, bulk copies + wgmma. */
#include "family.h"
#include "rules.h"
#include "templates/gemm_args.h"

enum {
    BLOCKS,
    BLOCKS8,
    TILE_M,
    TILE_K,
    STAGES,
    CONSUMERS,
    PINGPONG,
    SHARE_K,
    CLUSTER,
    CLUSTER_K,
    STORE,
    CTAS,
    PROMOTE,
    ZERO,
    YIELD,
    SPLIT_K,
    STREAM_K,
    RASTER,
    KNOBS
};
enum { ZERO_START = 1, MOST_STEPS = 1 << 30 };
/* Little's law at 3.35 TB/s and some 600 ns, for each of 132 SMs: 15 KiB under way; twice that, to be sure. */
enum { DECODE_TOKENS = 16, DECODE_BYTES = 32 << 10 };

static const struct knob knobs[KNOBS] = {
    [BLOCKS] = {"blocks", "blocks of 64 output features per consumer warp group", 1, false},
    [BLOCKS8] = {"blocks8", "the same in the 8-bit part of a mixed layer; 0: as blocks", 0, false},
    [TILE_M] = {"tile_m", "tokens per CTA: 8, 16, 24, 32, then multiples of 16", 64, false},
    [TILE_K] = {"tile_k", "K step: input features per pipeline stage, whole groups; 0: 128, or the group if larger", 0,
                false},
    [STAGES] = {"stages", "pipeline depth; all stages can be in flight", 4, false},
    [CONSUMERS] = {"consumers", "consumer warp groups beside the producer's", 2, false},
    [PINGPONG] = {"pingpong", "0 consumers share a tile, 1 each has its own and they take turns", 0, false},
    [SHARE_K] = {"share_k", "consumers split 0 the features of a tile, 1 its K steps", 0, false},
    [CLUSTER] = {"cluster", "CTAs of a cluster: adjacent feature tiles that load their tokens once for all", 1, false},
    [CLUSTER_K] = {"cluster_k", "CTAs of a cluster that share an output tile along K", 1, false},
    [STORE] = {"store", "the output is written by 0 16-byte stores, 1 the copy engine where its rows are aligned", 0,
               false},
    [CTAS] = {"ctas", "CTAs per SM", 1, false},
    [PROMOTE] = {"promote", "integer sums become floats by 0 convert, 1 subtract, 2 fma", 2, false},
    [ZERO] = {"zero", "4-bit zero point: 0 subtracted before the MMA, 1 through the sum's start value", 0, false},
    [YIELD] = {"yield", "1: runs of multiply-adds let the wgmma of other warps go first", 0, false},
    [SPLIT_K] = {"split_k", "work items that share an output tile along K", 1, true},
    [STREAM_K] = {"stream_k",
                  "0, or the least K steps of a CTA's share when the tiles of the last wave are shared evenly", 0,
                  true},
    [RASTER] = {"raster", "token tiles walked together before the next feature tile", 1, true},
};

static struct parts parts_for(const struct config *c, const struct problem *p) {
    return parts_of(p, c->value[BLOCKS], c->value[BLOCKS8]);
}

/* Consumer warp groups that split the features of a tile. */
static int members_of(const struct config *c) {
    return c->value[PINGPONG] || c->value[SHARE_K] ? 1 : c->value[CONSUMERS];
}

static int tile_n_of(const struct config *c, int blocks) {
    return 64 * blocks * members_of(c);
}

static int stage_of(const struct config *c, const struct problem *p, int bits, int blocks) {
    const int *v = c->value, zeros = bits == 4 && !p->symmetric, sums = zeros && v[ZERO] == ZERO_START;
    return mt_round_up(
        mt_stage_bytes(bits, tile_n_of(c, blocks), v[TILE_M], k_step(v[TILE_K], p), p->group, sums, zeros), 1024);
}

/* Stages, one output tile per team, and room to align the first stage to 1024 bytes. */
static int shared_of(const struct config *c, const struct problem *p) {
    const int *v = c->value;
    const struct parts parts = parts_for(c, p);
    const int stage8 = parts.has8 ? stage_of(c, p, 8, parts.width8) : 0;
    const int stage4 = parts.has4 ? stage_of(c, p, 4, parts.width4) : 0;
    const int widest = parts.width8 > parts.width4 ? parts.width8 : parts.width4;
    const int output =
        mt_swizzled_output_bytes(tile_n_of(c, widest), v[TILE_M], v[CLUSTER_K], v[SHARE_K] ? v[CONSUMERS] : 1);
    return 1024 + v[STAGES] * (stage8 > stage4 ? stage8 : stage4) + output * (v[PINGPONG] ? v[CONSUMERS] : 1);
}

static bool registers_allowed(const struct config *c, const struct problem *p, int blocks, char reason[160]) {
    const int *v = c->value;
    const int jobs =
        mt_consumer_jobs(blocks, v[TILE_M], k_step(v[TILE_K], p), p->group, v[CONSUMERS], v[PINGPONG], v[CTAS]);
    return jobs > 0 ||
           refuse(reason, "a consumer holds %d values, too many for its %d registers beside what ptxas loads ahead",
                  mt_consumer_live(blocks, v[TILE_M], p->group, 1), mt_consumer_registers(v[CONSUMERS], v[CTAS]));
}

static bool knobs_allowed(const struct config *c, const struct problem *p, char reason[160]) {
    const int *v = c->value;
    const struct parts parts = parts_for(c, p);
    if (v[PROMOTE] > 2 || v[ZERO] > 1 || v[PINGPONG] > 1 || v[SHARE_K] > 1 || v[STORE] > 1 || v[YIELD] > 1)
        return refuse(reason, "promote is 0..2; zero, pingpong, share_k, store and yield are 0 or 1");
    if (v[SHARE_K] && (v[PINGPONG] || v[CLUSTER_K] > 1 || v[CONSUMERS] < 2 || v[STAGES] % v[CONSUMERS]))
        return refuse(reason,
                      "share_k=1 needs 2 or 3 consumers, a multiple of them as stages (there are %d), and neither "
                      "pingpong nor cluster_k",
                      v[STAGES]);
    if (v[BLOCKS] < 1 || v[BLOCKS] > 2 || v[BLOCKS8] > 2)
        return refuse(reason, "a consumer has 1 or 2 blocks of 64 features, not %d and %d", v[BLOCKS], v[BLOCKS8]);
    if (v[CONSUMERS] < 1 || v[CONSUMERS] > 3 || (v[PINGPONG] && v[CONSUMERS] < 2))
        return refuse(reason, "consumers must be 1 to 3, and at least 2 with pingpong; it is %d", v[CONSUMERS]);
    if ((k_step(v[TILE_K], p) != 128 && k_step(v[TILE_K], p) != 256) || k_step(v[TILE_K], p) % p->group)
        return refuse(reason, "the K step is %d; it must be 128 or 256 and hold whole groups of %d",
                      k_step(v[TILE_K], p), p->group);
    if (v[TILE_M] < 8 || v[TILE_M] > 256 || !(v[TILE_M] == 8 || v[TILE_M] == 24 || v[TILE_M] % 16 == 0))
        return refuse(reason, "tile_m must be 8, 16, 24 or a multiple of 16 up to 256 for wgmma; it is %d", v[TILE_M]);
    if ((v[CLUSTER] != 1 && v[CLUSTER] != 2 && v[CLUSTER] != 4) || v[TILE_M] % (8 * v[CLUSTER]))
        return refuse(reason,
                      "cluster must be 1, 2 or 4, and its CTAs must share tile_m in groups of 8 tokens; tile_m is %d",
                      v[TILE_M]);
    if ((v[CLUSTER_K] != 1 && v[CLUSTER_K] != 2 && v[CLUSTER_K] != 4 && v[CLUSTER_K] != 8) ||
        (v[CLUSTER_K] > 1 && v[CLUSTER] > 1))
        return refuse(reason, "cluster_k must be 1, 2, 4 or 8, and above 1 only with cluster=1; they are %d and %d",
                      v[CLUSTER_K], v[CLUSTER]);
    if (v[STAGES] < 2 || v[STAGES] > 16)
        return refuse(reason, "a pipeline has 2 to 16 stages, not %d", v[STAGES]);
    if (v[ZERO] == ZERO_START && !parts.zeros)
        return refuse(reason, "%s weights have no zero point: zero=1 would be the same kernel",
                      parts.has4 ? "symmetric" : "8-bit");
    if (v[BLOCKS8] && !(parts.has8 && parts.has4))
        return refuse(reason, "only a mixed layer has a second block count: blocks8 must be 0");
    return true;
}

/* Weight bytes that the pipelines of an SM hold at most: of the narrower part of a mixed layer. */
static int bytes_in_flight(const struct config *c, const struct problem *p) {
    const int *v = c->value, per_block = 64 * k_step(v[TILE_K], p) * v[STAGES] * v[CTAS] * members_of(c);
    const struct parts parts = parts_for(c, p);
    const int bytes8 = per_block * parts.width8, bytes4 = per_block * parts.width4 / 2;
    return !parts.has4 || (parts.has8 && bytes8 < bytes4) ? bytes8 : bytes4;
}

/* Clusters that the device holds at once, and the work for them: output tiles of a cluster along N, K steps of one. */
struct work {
    int workers, tiles_n, steps;
};

static struct work work_of(const struct config *c, const struct problem *p, int sm_count) {
    const int *v = c->value, step = k_step(v[TILE_K], p);
    const struct parts parts = parts_for(c, p);
    const int workers = sm_count * v[CTAS] / (v[CLUSTER] * v[CLUSTER_K]);
    return (struct work){
        .workers = workers > 0 ? workers : 1,
        .tiles_n = tiles_along_n(p, tile_n_of(c, parts.width8) * v[CLUSTER], tile_n_of(c, parts.width4) * v[CLUSTER]),
        .steps = (problem_k_padded(p) + step - 1) / step};
}

/* Of `tiles` output tiles. */
static bool stream_allowed(const struct config *c, const struct work *w, int tiles, char reason[160]) {
    const int *v = c->value;
    if (v[STREAM_K] < 0 || v[STREAM_K] > w->steps || (v[STREAM_K] && v[SPLIT_K] > 1))
        return refuse(reason, "stream_k must be at most %d, the K steps of a tile, and 0 with split_k; it is %d",
                      w->steps, v[STREAM_K]);
    if (!v[STREAM_K])
        return true;
    const struct stream stream = stream_of(tiles, w->workers, w->steps, v[STREAM_K]);
    if (stream.tiles == 0)
        return refuse(reason, "stream_k=%d has nothing to share: %d tiles are whole waves of %d", v[STREAM_K], tiles,
                      w->workers);
    if ((long long)stream.tiles * w->steps * stream.workers > MOST_STEPS)
        return refuse(reason, "stream_k=%d cannot share %d tiles of %d K steps: they are too many", v[STREAM_K],
                      stream.tiles, w->steps);
    return true;
}

static bool work_allowed(const struct config *c, const struct problem *p, int sm_count, char reason[160]) {
    const int *v = c->value;
    const struct work w = work_of(c, p, sm_count);
    const struct parts parts = parts_for(c, p);
    const int narrowest = tile_n_of(c, parts.width8 < parts.width4 ? parts.width8 : parts.width4);
    if (v[CLUSTER] * v[CLUSTER_K] > sm_count)
        return refuse(reason, "cluster x cluster_k (%d x %d) does not fit the device's %d SMs", v[CLUSTER],
                      v[CLUSTER_K], sm_count);
    if (v[CLUSTER] > 1 && p->n <= (v[CLUSTER] - 1) * narrowest)
        return refuse(reason, "%d features in tiles of %d do not occupy a cluster of %d CTAs", p->n, narrowest,
                      v[CLUSTER]);
    const int tiles_m = tiles_along_m(p->m, v[TILE_M]);
    if (!split_allowed(v[SPLIT_K], w.steps, reason) || !raster_allowed(v[RASTER], tiles_m, reason))
        return false;
    if (v[CLUSTER_K] > w.steps || (v[CLUSTER_K] > 1 && (v[SPLIT_K] > 1 || v[STREAM_K])))
        return refuse(reason,
                      "cluster_k must be at most %d, the K steps of a tile, and 1 with split_k or stream_k; it is %d",
                      w.steps, v[CLUSTER_K]);
    return stream_allowed(c, &w, int_of((int64_t)w.tiles_n * tiles_m), reason);
}

static bool allowed(const struct config *c, const struct problem *p, const struct device_limits *d, char reason[160]) {
    const int *v = c->value;
    const struct parts parts = parts_for(c, p);
    if (d->cc != 90)
        return refuse(reason, "wgmma exists on compute capability 9.0 only; this device has %d.%d", d->cc / 10,
                      d->cc % 10);
    if (!knobs_allowed(c, p, reason) || !work_allowed(c, p, d->sm_count, reason))
        return false;
    if (v[CTAS] < 1 || v[CTAS] * (v[CONSUMERS] + 1) * 128 > d->threads_per_sm ||
        mt_consumer_registers(v[CONSUMERS], v[CTAS]) < 24)
        return refuse(reason, "%d CTAs of %d warp groups do not fit an SM", v[CTAS], v[CONSUMERS] + 1);
    if (p->m <= DECODE_TOKENS && bytes_in_flight(c, p) < DECODE_BYTES)
        return refuse(reason,
                      "keeps %d KiB of weights in flight on an SM; few tokens are bound by memory and need at least %d",
                      bytes_in_flight(c, p) >> 10, DECODE_BYTES >> 10);
    if ((parts.has8 && !registers_allowed(c, p, parts.width8, reason)) ||
        (parts.has4 && !registers_allowed(c, p, parts.width4, reason)))
        return false;
    return resources_allowed(d, (v[CONSUMERS] + 1) * 128, v[CTAS], shared_of(c, p), MT_PRODUCER_REGISTERS, reason);
}

static void plan(const struct config *c, const struct problem *p, int sm_count, struct launch_plan *out) {
    const int *v = c->value;
    const struct parts parts = parts_for(c, p);
    const struct work w = work_of(c, p, sm_count);
    const int tile_n = tile_n_of(c, parts.width8 > parts.width4 ? parts.width8 : parts.width4);
    const size_t tile_bytes = tile_partials(tile_n, v[TILE_M]) * (size_t)v[CLUSTER]; /* of a cluster */
    *out = (struct launch_plan){
        .every = {.tile_n = tile_n,
                  .tile_m = v[TILE_M],
                  .tile_k = k_step(v[TILE_K], p),
                  .x_rows = v[TILE_M] / v[CLUSTER],
                  .grid = {0, 1, 1},
                  .block = (unsigned)((v[CONSUMERS] + 1) * 128),
                  .cluster = v[CLUSTER] * v[CLUSTER_K],
                  .split_k = v[SPLIT_K],
                  .parts_k = v[SPLIT_K] * v[CLUSTER_K],
                  .stream_k = v[STREAM_K],
                  .raster = v[RASTER],
                  .store = v[STORE],
                  .smem_bytes = (size_t)shared_of(c, p),
                  .sums = v[STREAM_K] ? (struct sum_tree){0}
                                      : sum_tree_of(w.steps, k_step(v[TILE_K], p), v[SPLIT_K] * v[CLUSTER_K],
                                                    v[SHARE_K] ? v[CONSUMERS] : 1)},
        .tiles_n = w.tiles_n,
        .steps = w.steps,
        .workers = w.workers,
        .split_partials = tile_bytes * (size_t)v[SPLIT_K],
        .split_counters = (size_t)v[CLUSTER] * sizeof(unsigned)};
    if (v[STREAM_K]) { /* at most, with any number of tokens and however many clusters find room */
        out->every.partials_bytes = 2 * (size_t)w.workers * tile_bytes;
        out->every.counters_bytes = 2 * (size_t)w.workers * out->split_counters;
    }
}

static void options(const struct config *c, const struct problem *p, struct str *out) {
    const int *v = c->value;
    const struct parts parts = parts_for(c, p);
    str_printf(
        out, " -DBLOCKS=%d -DBLOCKS8=%d -DTILE_M=%d -DTILE_K=%d -DSTAGES=%d -DCONSUMERS=%d -DPINGPONG=%d -DSHARE_K=%d",
        parts.width4, parts.width8, v[TILE_M], k_step(v[TILE_K], p), v[STAGES], v[CONSUMERS], v[PINGPONG], v[SHARE_K]);
    str_printf(out, " -DCLUSTER=%d -DCLUSTER_K=%d -DSTORE=%d -DCTAS=%d -DPROMOTE=%d -DZERO=%d -DYIELD=%d", v[CLUSTER],
               v[CLUSTER_K], v[STORE], v[CTAS], v[PROMOTE], v[ZERO], v[YIELD]);
    parts_options(&parts, p, out);
}

DEFINE_FAMILY(sm90, knobs, .quick_spaces = "quick-sm90-decode,quick-sm90-prefill",
              .few = "tile_m=16,stages=8,share_k=1", .many = "tile_m=96,stages=3,store=1,yield=1", .min_cc = 90,
              .quantised = true, .persistent = true, .tensor_map = true, .allowed = allowed, .plan = plan,
              .options = options);
