/* Layers that were not tuned: of other splits of the same layer, of the nearest layer, or of the default. */
#include "runtime/base/memory.h"
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

static enum mt_status neighbours_of(const struct mt_table *table, const struct problem *p, const struct mt_layer *named,
                                    struct neighbours *out) {
    int *rows8 = mem_alloc((size_t)table->layer_count * sizeof *rows8);
    if (!rows8)
        return MT_FAILURE;
    for (int i = 0; i < table->layer_count; i++) {
        const struct mt_layer *layer = &table->layers[i];
        const bool counts = split_siblings(&layer->problem, p) && layer->info.step != MT_STEP_DEFAULT &&
                            (!named || layer_same_names(&layer->info, &named->info));
        rows8[i] = counts ? layer->problem.rows8 : -1;
    }
    const struct split_neighbours near = split_neighbours(p, rows8, table->layer_count);
    free(rows8);
    *out = (struct neighbours){near.low < 0 ? NULL : &table->layers[near.low],
                               near.high < 0 ? NULL : &table->layers[near.high]};
    return MT_OK;
}

/* The bundle's rows are ordered (bundle.h), and a layer has as many as somebody put there: they are found by
 * halving. */
static int by_entry(const void *key, const void *row) {
    const struct bundle_entry *x = key, *y = row;
    const int order = x->layer != y->layer ? (x->layer < y->layer ? -1 : 1) : x->m < y->m ? -1 : x->m > y->m;
    return order ? order : (int)x->kind - (int)y->kind;
}

static int by_time(const void *key, const void *row) {
    const struct bundle_time *x = key, *y = row;
    int order = x->layer != y->layer ? (x->layer < y->layer ? -1 : 1) : x->m < y->m ? -1 : x->m > y->m;
    order = order ? order : strcmp(x->family, y->family);
    return order ? order : strcmp(x->config, y->config);
}

static int by_build(const void *key, const void *row) {
    const struct bundle_build *x = key, *y = row;
    int order = strcmp(x->family, y->family);
    order = order ? order : strcmp(x->config, y->config);
    order = order ? order : strcmp(x->scheme, y->scheme);
    order = order ? order : strcmp(x->dtype, y->dtype);
    return order ? order : x->group < y->group ? -1 : x->group > y->group;
}

/* What the kernel of a slot took on a tuned layer, at the slot's M; no time if it was not timed there. */
static struct split_time time_at(const struct mt_table *table, const struct slot *slot, const struct mt_layer *at) {
    const struct bundle *bundle = &table->bundle;
    const char *family = slot->kernel.config.family->name;
    const enum bundle_origin origin = slot->modelled ? BUNDLE_MODELLED : BUNDLE_MEASURED;
    struct split_time time = {.rows8 = at ? at->problem.rows8 : slot->rows8};
    if (!at)
        return time;
    const int index = (int)(at - table->layers);
    const struct bundle_entry entry = {.layer = index, .m = slot->m, .kind = BUNDLE_KERNEL};
    const struct bundle_time split = {.layer = index, .m = slot->m, .family = family, .config = slot->tuned};
    const struct bundle_entry *e =
        bsearch(&entry, bundle->entries, (size_t)bundle->entry_count, sizeof entry, by_entry);
    if (e && e->origin == origin && !strcmp(e->family, family) && !strcmp(e->config, slot->tuned))
        time.ns = e->expected_ns;
    const struct bundle_time *t =
        bundle->time_count ? bsearch(&split, bundle->times, (size_t)bundle->time_count, sizeof split, by_time) : NULL;
    if (t && t->origin == origin)
        time.ns = t->expected_ns;
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
            ? bsearch(&wanted, bundle->variants, (size_t)bundle->variant_count, sizeof wanted, by_build)
            : NULL;
    return found ? table->variant_image[found - bundle->variants] : -1;
}

/* A neighbour's slot as one of a layer with these formats. `runs` is false if its kernel cannot run there. */
static enum mt_status slot_take(const struct mt_table *table, const struct problem *p, const struct slot *slot,
                                const struct mt_layer *owner, struct slot *out, bool *runs) {
    *out = *slot;
    out->image = image_for(table, slot, owner, p);
    *runs = false;
    if (out->image < 0)
        return MT_OK;
    enum mt_status status = config_parse(slot->kernel.config.family, slot->tuned, &out->kernel.config);
    return status == MT_OK ? slot_prepare(table, p, out, runs) : status;
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
            status = slot_take(table, p, slot, i == 0 ? near.low : near.high, &taken[count], &runs);
        if (runs)
            candidates[count++] =
                (struct split_candidate){time_at(table, slot, near.low), time_at(table, slot, near.high)};
    }
    double ns;
    const int best = status == MT_OK ? split_choose(p, candidates, count, &ns) : -1;
    for (int i = 0; i < count; i++)
        if (i != best)
            free(taken[i].own);
    if (best < 0)
        return status;
    /* A GEMM in fp16 computes with all features in 16 bits: its time is the same for every split. */
    const double fp16_ns = low && low->fp16_ns > 0 ? low->fp16_ns : high ? high->fp16_ns : 0;
    taken[best].kernel_ns = ns;
    taken[best].fp16_ns = fp16_ns < ns ? fp16_ns : 0;
    return layer_add(layer, taken[best]);
}

static enum mt_status layer_split(const struct mt_table *table, struct mt_layer *layer, const struct mt_layer *named) {
    struct neighbours near;
    enum mt_status status = neighbours_of(table, &layer->problem, named, &near);
    if (status != MT_OK)
        return status;
    const int lows = near.low ? near.low->slot_count : 0, highs = near.high ? near.high->slot_count : 0;
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
    layer_set_ranges(layer);
    return status;
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

static enum mt_status layer_borrow(const struct mt_table *table, struct mt_layer *layer, const struct mt_layer *from) {
    enum mt_status status = MT_OK;
    if (!from || from->info.step == MT_STEP_DEFAULT)
        return MT_OK;
    layer->info.step = MT_STEP_NEAREST_LAYER;
    for (int i = 0; status == MT_OK && i < from->slot_count; i++) {
        struct slot slot;
        bool runs = false;
        status = slot_take(table, &layer->problem, &from->slots[i], from, &slot, &runs);
        if (status == MT_OK && runs)
            status = layer_add(layer, slot);
    }
    layer_set_ranges(layer);
    return status;
}

enum mt_status layer_derive(const struct mt_table *table, const struct problem *p, const struct mt_layer *named,
                            struct mt_layer **out) {
    struct mt_layer *layer = mem_zeroed(1, sizeof *layer);
    *out = NULL;
    if (!layer)
        return MT_FAILURE;
    layer->problem = *p;
    layer_describe(layer, named ? &table->bundle.layers[named - table->layers] : NULL);
    enum mt_status status = layer_split(table, layer, named);
    if (status == MT_OK && !layer->slot_count)
        status = layer_borrow(table, layer, layer_nearest(table, p, log(NEAR_FACTOR) * (1 + 1.1e-6)));
    if (status == MT_OK && !layer->slot_count)
        status = layer_add_default(table, layer);
    if (status == MT_OK && !layer->slot_count)
        status = layer_borrow(table, layer, layer_nearest(table, p, INFINITY));
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
