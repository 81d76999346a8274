/* Layers that were not tuned: of other splits of the same layer, of the nearest layer, or of the default. */
#include "fit.h"
#include "index.h"
#include "runtime/base/memory.h"
#include "runtime/layer/split.h"
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A layer lends its kernels to layers whose N and K are both within this factor. */
#define NEAR_FACTOR 8.0

/* With all of its tuned slots. */
static enum mt_status layer_finish(const struct mt_table *table, struct mt_layer *layer, const struct known *known) {
    enum mt_status status = layer_add_defaults(table, layer);
    return status == MT_OK ? layer_set_rivals(layer, known) : status;
}

/* ---- other splits of the layer ---- */

/* The tuned splits of a layer next to it. */
struct neighbours {
    const struct mt_layer *low, *high; /* NULL: there is none */
};

static enum mt_status neighbours_of(const struct mt_table *table, const struct problem *p, const struct mt_layer *named,
                                    struct neighbours *out) {
    const struct layer_range splits = index_splits(table, p);
    int *rows8 = mem_alloc((size_t)splits.count * sizeof *rows8);
    if (!rows8)
        return MT_FAILURE;
    for (int i = 0; i < splits.count; i++) {
        const struct mt_layer *layer = splits.layer[i];
        const bool counts = split_siblings(&layer->problem, p) && layer->info.step == MT_STEP_EXACT &&
                            (!named || layer_same_names(&layer->info, &named->info));
        rows8[i] = counts ? layer->problem.rows8 : -1;
    }
    const struct split_neighbours near = split_neighbours(p, rows8, splits.count);
    free(rows8);
    *out = (struct neighbours){near.low < 0 ? NULL : splits.layer[near.low],
                               near.high < 0 ? NULL : splits.layer[near.high]};
    return MT_OK;
}

/* What the kernel of a slot took on a tuned layer; no time if it was not timed there. */
static struct split_time time_at(const struct mt_table *table, const struct slot *slot, const struct mt_layer *at,
                                 int m) {
    struct split_time time = {.rows8 = at ? at->problem.rows8 : slot->rows8};
    if (at)
        time.ns = known_tuned(&(struct known){.table = table, .layer = at}, slot, m);
    return time;
}

/* The image of a slot of `owner` for a layer's formats; -1: the bundle has none. */
static int image_for(const struct mt_table *table, const struct slot *slot, const struct mt_layer *owner,
                     const struct problem *p) {
    const struct bundle *bundle = &table->bundle;
    if (!strcmp(problem_scheme(p), problem_scheme(&owner->problem)))
        return slot->image;
    const struct bundle_build wanted = {.family = slot->kernel.config.family->name,
                                        .config = slot->tuned,
                                        .scheme = problem_scheme(p),
                                        .dtype = dtype_name(p->dtype),
                                        .group = p->group};
    const struct bundle_build *found =
        bundle->variant_count
            ? bsearch(&wanted, bundle->variants, (size_t)bundle->variant_count, sizeof wanted, bundle_by_build)
            : NULL;
    return found ? table->variant_image[found - bundle->variants] : -1;
}

/* A neighbour's slot as one of a layer. `runs` is false if its kernel cannot run there. */
static enum mt_status slot_take(const struct mt_table *table, const struct mt_layer *layer, const struct slot *slot,
                                const struct mt_layer *owner, struct slot *out, bool *runs) {
    *out = *slot;
    out->image = image_for(table, slot, owner, &layer->problem);
    *runs = false;
    if (out->image < 0)
        return MT_OK;
    enum mt_status status = config_parse(slot->kernel.config.family, slot->tuned, &out->kernel.config);
    return status == MT_OK ? slot_prepare(table, layer, out, runs) : status;
}

/* A GEMM in fp16 computes with all features in 16 bits: its time is the same for every split, and so is that of
 * quantising. What a slot does not have it takes from another split's. */
static void slot_take_fp16(struct slot *slot, const struct slot *from) {
    if (!from || from->modelled != slot->modelled)
        return;
    if (!(slot->quantize_ns > 0))
        slot->quantize_ns = from->quantize_ns;
    if (!(slot->fp16_ns > 0)) {
        slot->fp16_ns = from->fp16_ns;
        slot->fp16 = from->fp16;
    }
}

/* The better one of the neighbours' kernels at one M, of which at least one was tuned there. */
static enum mt_status layer_choose(const struct mt_table *table, struct mt_layer *layer, struct neighbours near,
                                   const struct slot *low, const struct slot *high) {
    const struct problem *p = &layer->problem;
    struct slot taken[2];
    struct split_candidate candidates[2] = {0};
    enum mt_status status = MT_OK;
    int count = 0;
    for (int i = 0; status == MT_OK && i < 2; i++) {
        const struct slot *slot = i == 0 ? low : high;
        bool runs = false;
        if (slot)
            status = slot_take(table, layer, slot, i == 0 ? near.low : near.high, &taken[count], &runs);
        if (runs)
            candidates[count++] = (struct split_candidate){time_at(table, slot, near.low, slot->m),
                                                           time_at(table, slot, near.high, slot->m)};
    }
    double ns;
    const int best = status == MT_OK ? split_choose(p, candidates, count, table->floor_ns, &ns) : -1;
    for (int i = 0; i < count; i++)
        if (i != best)
            free(taken[i].own);
    if (best < 0)
        return status;
    taken[best].kernel_ns = ns;
    slot_take_fp16(&taken[best], low);
    slot_take_fp16(&taken[best], high);
    return layer_add(layer, taken[best]);
}

/* Of a layer between two splits: `layer` of the base is not read. */
struct known_split {
    struct known base;
    struct neighbours near;
    const struct problem *p;
};

static double known_between(const struct known *base, const struct slot *slot, int m) {
    const struct known_split *known = (const struct known_split *)base;
    return split_estimate(known->p, time_at(base->table, slot, known->near.low, m),
                          time_at(base->table, slot, known->near.high, m), base->table->floor_ns);
}

/* Of two neighbours the one whose bytes are nearer. */
static struct neighbours nearer_of(struct neighbours near, const struct problem *p) {
    const double here = (double)split_bytes(p), low = here - (double)split_bytes(&near.low->problem),
                 high = (double)split_bytes(&near.high->problem) - here;
    return low <= high ? (struct neighbours){near.low, NULL} : (struct neighbours){NULL, near.high};
}

static enum mt_status layer_split(const struct mt_table *table, struct mt_layer *layer, const struct mt_layer *named) {
    struct neighbours near;
    enum mt_status status = neighbours_of(table, &layer->problem, named, &near);
    if (status != MT_OK || (!near.low && !near.high))
        return status;
    if (table->flags & MT_BATCH_INVARIANT && near.low && near.high &&
        !sum_tree_equal(&near.low->sums, &near.high->sums))
        near = nearer_of(near, &layer->problem);
    layer->sums = (near.low ? near.low : near.high)->sums;
    const int lows = near.low ? near.low->tuned_count : 0, highs = near.high ? near.high->tuned_count : 0;
    for (int l = 0, h = 0; status == MT_OK && (l < lows || h < highs);) {
        const struct slot *low = l < lows ? &near.low->slots[l] : NULL;
        const struct slot *high = h < highs ? &near.high->slots[h] : NULL;
        if (low && high && low->m > high->m)
            low = NULL;
        else if (low && high && high->m > low->m)
            high = NULL;
        status = layer_choose(table, layer, near, low, high);
        l += low != NULL;
        h += high != NULL;
    }
    layer->info.step = MT_STEP_NEAREST_ROWS8;
    if (status == MT_OK && layer->slot_count)
        status =
            layer_finish(table, layer, &(struct known_split){{known_between, table, NULL}, near, &layer->problem}.base);
    return status;
}

/* ---- the nearest layer ---- */

/* Whether N and K are both within a factor, so that 1 x 4096 is far from 64 x 64. */
static bool is_within(const struct problem *a, const struct problem *b, double factor) {
    const double n = (double)a->n / b->n, k = (double)a->k / b->k;
    return n <= factor && n >= 1 / factor && k <= factor && k >= 1 / factor;
}

static double bytes_per_feature(const struct problem *p) {
    return (double)split_bytes(p) / p->n;
}

/* Of a slot's kernel on another layer. */
static void stair_on(const struct mt_table *table, const struct slot *slot, const struct problem *p,
                     struct stair *out) {
    struct launch_plan plan;
    slot->kernel.config.family->plan(&slot->kernel.config, p, table->limits.sm_count, &plan);
    stair_of(&plan, table->limits.sm_count, out);
}

/* How much the winners' kernels of a layer would fill the SMs otherwise on `p`, and how much more or less each of their
 * CTAs would read: the mean logarithm of the ratio of loads over its M, and half of that of the bytes of a feature. */
static double layer_distance(const struct mt_table *table, const struct mt_layer *layer, const struct problem *p) {
    double sum = 0;
    for (int i = 0; i < layer->tuned_count; i++) {
        const struct slot *slot = &layer->slots[i];
        struct stair there, here;
        stair_of(&slot->plan, table->limits.sm_count, &there);
        stair_on(table, slot, p, &here);
        sum += fabs(log(stair_load(&here, slot->m) / stair_load(&there, slot->m)));
    }
    return sum / layer->tuned_count + 0.5 * fabs(log(bytes_per_feature(p) / bytes_per_feature(&layer->problem)));
}

/* Of layers whose N and K are within a factor; the nearest, of equals the first. `looks` is how many kernels may still
 * be compared, which is counted down: with none left it is the nearest so far, or the first. */
static const struct mt_layer *layer_nearest(const struct mt_table *table, const struct problem *p, double factor,
                                            int *looks) {
    const struct mt_layer *best = NULL;
    double nearest = INFINITY;
    for (int i = 0; i < table->layer_count; i++) {
        const struct mt_layer *layer = &table->layers[i];
        const struct problem *q = &layer->problem;
        if (strcmp(problem_scheme(q), problem_scheme(p)) != 0 || q->group != p->group || q->dtype != p->dtype ||
            !layer->tuned_count || layer->info.step != MT_STEP_EXACT || !is_within(p, q, factor))
            continue;
        if (*looks < layer->tuned_count)
            return best ? best : layer;
        *looks -= layer->tuned_count;
        const double distance = layer_distance(table, layer, p);
        if (distance < nearest) {
            nearest = distance;
            best = layer;
        }
    }
    return best;
}

/* Of a layer that borrows from another: its times, as bytes or loads grow, whichever grow more, less what every launch
 * takes. */
struct known_borrowed {
    struct known base; /* of the lender */
    const struct problem *p;
};

static double borrowed_ns(const struct known_borrowed *known, const struct slot *slot, int m, double ns) {
    const struct mt_table *table = known->base.table;
    const struct problem *p = known->p, *from = &known->base.layer->problem;
    struct stair here, there;
    stair_on(table, slot, p, &here);
    stair_on(table, slot, from, &there);
    const double bytes = (double)split_bytes(p) / (double)split_bytes(from),
                 loads = stair_load(&here, m) / stair_load(&there, m) * p->k / from->k;
    return ns > 0 ? time_scaled(ns, bytes > loads ? bytes : loads, table->floor_ns) : 0;
}

/* The others of its times grow as that of the kernel does. */
static void slot_scale(struct slot *slot, double kernel_ns) {
    const double growth = slot->kernel_ns > 0 ? kernel_ns / slot->kernel_ns : 1;
    slot->kernel_ns = kernel_ns;
    slot->fp16_ns *= growth;
    slot->quantize_ns *= growth;
}

static double known_borrowed(const struct known *base, const struct slot *slot, int m) {
    return borrowed_ns((const struct known_borrowed *)base, slot, m, known_tuned(base, slot, m));
}

/* How a layer adds up with kernels of another: as they do as tuned, or in order where that would cut another K at other
 * places for one than for another. */
static struct sum_tree borrowed_sums(const struct mt_table *table, const struct problem *p,
                                     const struct mt_layer *from) {
    struct sum_tree all = {0};
    for (int i = 0; i < from->tuned_count; i++) {
        struct problem at = *p;
        at.m = from->slots[i].m;
        const struct sum_tree sums = config_sums(&from->slots[i].kernel.config, &at, table->limits.sm_count);
        if (i == 0)
            all = sums;
        if (!sum_tree_equal(&all, &sums))
            return SUM_IN_ORDER;
    }
    return all;
}

static enum mt_status layer_borrow(const struct mt_table *table, struct mt_layer *layer, const struct mt_layer *from) {
    enum mt_status status = MT_OK;
    if (!from)
        return MT_OK;
    const struct known_borrowed known = {{known_borrowed, table, from}, &layer->problem};
    layer->info.step = MT_STEP_NEAREST_LAYER;
    layer->sums = borrowed_sums(table, &layer->problem, from);
    for (int i = 0; status == MT_OK && i < from->tuned_count; i++) {
        struct slot slot;
        bool runs = false;
        status = slot_take(table, layer, &from->slots[i], from, &slot, &runs);
        if (status != MT_OK || !runs)
            continue;
        slot_scale(&slot, borrowed_ns(&known, &slot, slot.m, slot.kernel_ns));
        status = layer_add(layer, slot);
    }
    return status == MT_OK && layer->slot_count ? layer_finish(table, layer, &known.base) : status;
}

/* The defaults of a family. */
static enum mt_status layer_default(const struct mt_table *table, struct mt_layer *layer) {
    layer->sums = SUM_IN_ORDER;
    return layer_finish(table, layer, &(struct known){known_tuned, table, layer});
}

enum mt_status layer_borrow_any(const struct mt_table *table, struct mt_layer *layer, int *looks) {
    layer->promises = false;
    return layer_borrow(table, layer, layer_nearest(table, &layer->problem, INFINITY, looks));
}

enum mt_status layer_derive(const struct mt_table *table, const struct problem *p, const struct mt_layer *named,
                            struct mt_layer **out) {
    struct mt_layer *layer = mem_zeroed(1, sizeof *layer);
    *out = NULL;
    if (!layer)
        return MT_FAILURE;
    int looks = INT_MAX;
    layer->problem = *p;
    layer_describe(layer, named ? &table->bundle.layers[named - table->layers] : NULL);
    enum mt_status status = layer_split(table, layer, named);
    if (status == MT_OK && !layer->slot_count)
        status = layer_borrow(table, layer, layer_nearest(table, p, NEAR_FACTOR, &looks));
    if (status == MT_OK && !layer->slot_count)
        status = layer_default(table, layer);
    if (status == MT_OK && !layer->slot_count)
        status = layer_borrow(table, layer, layer_nearest(table, p, INFINITY, &looks));
    if (status == MT_OK && !layer->slot_count)
        status = fail(MT_USAGE,
                      "the bundle has no kernel for %s, group %d, %s: sweep a layer of these formats and export again",
                      problem_scheme(p), p->group, dtype_name(p->dtype));
    if (status == MT_OK)
        *out = layer;
    else
        layer_release(layer);
    return status;
}
