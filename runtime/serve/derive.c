/* Layers that were not tuned: of other splits of the same layer, of the nearest layer, or of the default. */
#include "runtime/base/str.h"
#include "runtime/layer/split.h"
#include "table.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A layer lends its kernels to layers whose N and K are both within this factor. */
#define NEAR_FACTOR 8.0

/* ---- other splits of the layer ---- */

/* The tuned splits of a layer next to it. */
struct neighbours {
    const struct mt_layer *low, *high; /* NULL: there is none */
};

static struct neighbours neighbours_of(const struct mt_table *table, const struct problem *p,
                                       const struct mt_layer *named) {
    int *rows8 = xmalloc((size_t)table->layer_count * sizeof *rows8);
    for (int i = 0; i < table->layer_count; i++) {
        const struct mt_layer *layer = &table->layers[i];
        const bool counts = split_siblings(&layer->problem, p) && layer->info.step != MT_STEP_DEFAULT &&
                            (!named || layer_same_names(&layer->info, &named->info));
        rows8[i] = counts ? layer->problem.rows8 : -1;
    }
    const struct split_neighbours near = split_neighbours(p, rows8, table->layer_count);
    free(rows8);
    return (struct neighbours){near.low < 0 ? NULL : &table->layers[near.low],
                               near.high < 0 ? NULL : &table->layers[near.high]};
}

/* What the kernel of a slot took on a tuned layer, at the slot's M; no time if it was not timed there. */
static struct split_time time_at(const struct mt_table *table, const struct slot *slot, const struct mt_layer *at) {
    const struct bundle *bundle = &table->bundle;
    const char *family = slot->kernel.config.family->name;
    const int index = at ? (int)(at - table->layers) : -1;
    const enum bundle_origin origin = slot->modelled ? BUNDLE_MODELLED : BUNDLE_MEASURED;
    struct split_time time = {.rows8 = at ? at->problem.rows8 : slot->rows8};
    for (int i = 0; i < bundle->entry_count; i++) {
        const struct bundle_entry *e = &bundle->entries[i];
        if (e->layer == index && e->m == slot->m && e->kind == BUNDLE_KERNEL && e->origin == origin &&
            !strcmp(e->family, family) && !strcmp(e->config, slot->tuned))
            time.ns = e->expected_ns;
    }
    for (int i = 0; i < bundle->split_time_count; i++) {
        const struct bundle_split_time *t = &bundle->split_times[i];
        if (t->layer == index && t->m == slot->m && t->origin == origin && !strcmp(t->family, family) &&
            !strcmp(t->config, slot->tuned))
            time.ns = t->expected_ns;
    }
    return time;
}

/* The image of a slot of `owner` for a layer's formats; -1: the bundle has none. */
static int image_for(const struct mt_table *table, const struct slot *slot, const struct mt_layer *owner,
                     const struct problem *p) {
    if (!strcmp(problem_scheme(p), problem_scheme(&owner->problem)))
        return slot->image;
    for (int i = 0; i < table->bundle.variant_count; i++) {
        const struct bundle_build *v = &table->bundle.variants[i];
        if (!strcmp(v->family, slot->kernel.config.family->name) && !strcmp(v->config, slot->tuned) &&
            !strcmp(v->scheme, problem_scheme(p)) && !strcmp(v->dtype, dtype_name(p->dtype)) && v->group == p->group)
            return image_index(&table->bundle, v->image_hash);
    }
    return -1;
}

/* A neighbour's slot as one of a layer with these formats. False if its kernel cannot run there. */
static bool slot_take(const struct mt_table *table, const struct problem *p, const struct slot *slot,
                      const struct mt_layer *owner, struct slot *out) {
    *out = *slot;
    out->image = image_for(table, slot, owner, p);
    return out->image >= 0 && config_parse(slot->kernel.config.family, slot->tuned, &out->kernel.config) == MT_OK &&
           slot_prepare(table, p, out);
}

/* The better one of the neighbours' kernels at one M, of which at least one was tuned there. */
static void layer_choose(const struct mt_table *table, struct mt_layer *layer, struct neighbours near,
                         const struct slot *low, const struct slot *high) {
    const struct problem *p = &layer->problem;
    struct slot taken[2];
    struct split_candidate candidates[2] = {0};
    int count = 0;
    for (int i = 0; i < 2; i++) {
        const struct slot *slot = i == 0 ? low : high;
        if (!slot || !slot_take(table, p, slot, i == 0 ? near.low : near.high, &taken[count]))
            continue;
        candidates[count++] = (struct split_candidate){time_at(table, slot, near.low), time_at(table, slot, near.high)};
    }
    double ns;
    const int best = split_choose(p, candidates, count, &ns);
    for (int i = 0; i < count; i++)
        if (i != best)
            free(taken[i].own);
    if (best < 0)
        return;
    /* cuBLAS computes with all features in 16 bits: its time is the same for every split. */
    const double cublas_ns = low && low->cublas_ns > 0 ? low->cublas_ns : high ? high->cublas_ns : 0;
    taken[best].kernel_ns = ns;
    taken[best].cublas_ns = cublas_ns < ns ? cublas_ns : 0;
    layer_add(layer, taken[best]);
}

static bool layer_split(const struct mt_table *table, struct mt_layer *layer, const struct mt_layer *named) {
    const struct neighbours near = neighbours_of(table, &layer->problem, named);
    const int lows = near.low ? near.low->slot_count : 0, highs = near.high ? near.high->slot_count : 0;
    for (int l = 0, h = 0; l < lows || h < highs;) {
        const struct slot *low = l < lows ? &near.low->slots[l] : NULL;
        const struct slot *high = h < highs ? &near.high->slots[h] : NULL;
        if (low && high && low->m > high->m)
            low = NULL;
        else if (low && high && high->m > low->m)
            high = NULL;
        layer_choose(table, layer, near, low, high);
        l += low != NULL;
        h += high != NULL;
    }
    layer->info.step = MT_STEP_NEAREST_ROWS8;
    layer_set_ranges(layer);
    return layer->slot_count > 0;
}

/* ---- the nearest layer ---- */

/* The larger of the factors between N and N, K and K, as a logarithm, so that 1 x 4096 is far from 64 x 64; a little of
 * the smaller decides between equals. */
static double layer_distance(const struct problem *a, const struct problem *b) {
    double n = fabs(log((double)a->n / b->n)), k = fabs(log((double)a->k / b->k));
    return n > k ? n + k * 1e-6 : k + n * 1e-6;
}

static double bytes_per_weight(const struct problem *p) {
    return (double)split_bytes(p) / ((double)p->n * p->k);
}

/* Of layers that are equally near, that with the nearest share of bytes. */
static const struct mt_layer *layer_nearest(const struct mt_table *table, const struct problem *p, double limit) {
    const struct mt_layer *best = NULL;
    double least = INFINITY;
    for (int i = 0; i < table->layer_count; i++) {
        const struct mt_layer *layer = &table->layers[i];
        const struct problem *q = &layer->problem;
        if (strcmp(problem_scheme(q), problem_scheme(p)) != 0 || q->group != p->group || q->dtype != p->dtype)
            continue;
        const double distance = layer_distance(p, q), off = fabs(bytes_per_weight(q) - bytes_per_weight(p));
        if (distance < limit || (distance == limit && off < least)) {
            limit = distance;
            least = off;
            best = layer;
        }
    }
    return best;
}

static bool layer_borrow(const struct mt_table *table, struct mt_layer *layer, const struct mt_layer *from) {
    if (!from || from->info.step == MT_STEP_DEFAULT)
        return false;
    layer->info.step = MT_STEP_NEAREST_LAYER;
    for (int i = 0; i < from->slot_count; i++) {
        struct slot slot;
        if (slot_take(table, &layer->problem, &from->slots[i], from, &slot))
            layer_add(layer, slot);
    }
    layer_set_ranges(layer);
    return layer->slot_count > 0;
}

enum mt_status layer_derive(const struct mt_table *table, const struct problem *p, const struct mt_layer *named,
                            struct mt_layer **out) {
    struct mt_layer *layer = xcalloc(1, sizeof *layer);
    *out = NULL;
    layer->problem = *p;
    layer_describe(layer, named ? &table->bundle.layers[named - table->layers] : NULL);
    if (layer_split(table, layer, named) ||
        layer_borrow(table, layer, layer_nearest(table, p, log(NEAR_FACTOR) * (1 + 1.1e-6))) ||
        layer_add_default(table, layer) || layer_borrow(table, layer, layer_nearest(table, p, INFINITY))) {
        *out = layer;
        return MT_OK;
    }
    layer_release(layer);
    return fail(MT_USAGE,
                "the bundle has no kernel for %s, group %d, %s: sweep a layer of these formats and export again",
                problem_scheme(p), p->group, dtype_name(p->dtype));
}
