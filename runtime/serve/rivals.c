/* Which kernel serves which M, and what it takes there: the winners at the tuned M around it are compared at every M,
 * by stairs through their known times. */
#include "runtime/base/array.h"
#include "runtime/base/memory.h"
#include "table.h"
#include <stdlib.h>
#include <string.h>

/* ---- what the bundle knows ---- */

/* The bundle's rows are ordered, and a layer has as many as somebody put there: they are found by halving. */
static double entry_ns(const struct bundle *bundle, const struct bundle_entry *wanted) {
    const struct bundle_entry *e =
        bsearch(wanted, bundle->entries, (size_t)bundle->entry_count, sizeof *wanted, bundle_by_entry);
    return e && e->origin == wanted->origin && !strcmp(e->family, wanted->family) && !strcmp(e->config, wanted->config)
               ? e->expected_ns
               : 0;
}

double known_tuned(const struct known *known, const struct slot *slot, int m) {
    const struct bundle *bundle = &known->table->bundle;
    const enum bundle_origin origin = slot->modelled ? BUNDLE_MODELLED : BUNDLE_MEASURED;
    struct bundle_entry entry = {.layer = (int)(known->layer - known->table->layers),
                                 .m = m,
                                 .family = slot->kernel.config.family->name,
                                 .config = slot->tuned,
                                 .origin = origin};
    double ns = 0;
    for (int kind = BUNDLE_KERNEL; ns <= 0 && kind <= BUNDLE_INVARIANT; kind++) {
        entry.kind = (enum bundle_kind)kind;
        ns = entry_ns(bundle, &entry);
    }
    const struct bundle_time time = {.layer = entry.layer, .m = m, .family = entry.family, .config = entry.config};
    const struct bundle_time *t =
        ns <= 0 && bundle->time_count
            ? bsearch(&time, bundle->times, (size_t)bundle->time_count, sizeof time, bundle_by_time)
            : NULL;
    return t && t->origin == origin ? t->expected_ns : ns;
}

/* ---- defaults ---- */

static bool is_for(const struct bundle_build *f, const struct problem *p) {
    return f->group == p->group && !strcmp(f->dtype, dtype_name(p->dtype)) && !strcmp(f->scheme, problem_scheme(p));
}

/* Whether a default is for fewer tokens at a time than the tuned kernels, or for more; and no other default is. */
static bool default_helps(const struct mt_layer *layer, const struct slot *slot) {
    const int tile = slot->plan.every.tile_m;
    for (int i = layer->tuned_count; i < layer->slot_count; i++)
        if (layer->slots[i].plan.every.tile_m == tile)
            return false;
    return !layer->tuned_count || tile < layer->slots[0].plan.every.tile_m ||
           tile > layer->slots[layer->tuned_count - 1].plan.every.tile_m;
}

enum mt_status layer_add_defaults(const struct mt_table *table, struct mt_layer *layer) {
    const struct bundle *bundle = &table->bundle;
    const struct family *chosen = NULL;
    enum mt_status status = MT_OK;
    layer->tuned_count = layer->slot_count;
    for (const struct family *const *f = family_list(); status == MT_OK && *f && !chosen; f++)
        for (int i = 0; status == MT_OK && i < bundle->fallback_count; i++) {
            const struct bundle_build *from = &bundle->fallbacks[i];
            struct slot slot = {.image = table->fallback_image[i], .tuned = from->config};
            bool runs = false;
            if (strcmp(from->family, (*f)->name) != 0 || !is_for(from, &layer->problem))
                continue;
            status = config_parse(*f, from->config, &slot.kernel.config);
            if (status == MT_OK)
                status = slot_prepare(table, layer, &slot, &runs);
            if (status != MT_OK || !runs)
                continue;
            chosen = *f;
            if (default_helps(layer, &slot))
                status = layer_add(layer, slot);
            else
                free(slot.own);
        }
    if (layer->tuned_count || !layer->slot_count)
        return status;
    layer->info.step = MT_STEP_DEFAULT;
    layer->promises = false;
    return status;
}

/* ---- rivals ---- */

static bool same_kernel(const struct slot *a, const struct slot *b) {
    return a->image == b->image && a->kernel.config.family == b->kernel.config.family && !strcmp(a->tuned, b->tuned) &&
           a->modelled == b->modelled;
}

/* A layer while its rivals are made: there is room for all. */
struct making {
    struct mt_layer *layer;
    const struct known *known;
    const struct stair *stairs; /* of the slots */
    int count;
};

static void rival_add(struct making *m, int begin, struct rival rival) {
    const struct slot *slots = m->layer->slots;
    for (int i = begin; i < m->count; i++)
        if (same_kernel(&slots[m->layer->rivals[i].slot], &slots[rival.slot]))
            return;
    m->layer->rivals[m->count++] = rival;
}

static struct stair_time known_at(const struct making *m, int slot, int at) {
    const struct mt_layer *layer = m->layer;
    struct stair_time time = {0};
    if (at < 0 || at >= layer->tuned_count)
        return time;
    time.m = layer->slots[at].m;
    time.ns = at == slot ? layer->slots[at].kernel_ns : m->known->ns(m->known, &layer->slots[slot], time.m);
    return time;
}

/* The winners at the M around interval `i`, those beside it first, so that they are taken where others are as good. */
static void rivals_tuned(struct making *m, int i) {
    const struct mt_layer *layer = m->layer;
    const int begin = m->count;
    for (int far = 0; far < 2 * RIVAL_REACH; far++) {
        const int slot = far % 2 ? i - 1 - far / 2 : i + far / 2;
        if (slot < 0 || slot >= layer->tuned_count)
            continue;
        struct rival rival = {
            .slot = slot, .stair = m->stairs[slot], .promise = layer->promises && layer->slots[slot].as_tuned};
        if (rival_between(&rival, known_at(m, slot, i - 1), known_at(m, slot, i)))
            rival_add(m, begin, rival);
    }
    if (m->count == begin && layer->tuned_count) { /* of which no time is known */
        const int slot = i > 0 ? i - 1 : 0;
        m->layer->rivals[m->count++] = (struct rival){.slot = slot, .stair = m->stairs[slot]};
    }
}

/* A default is compared with the kernel of the outermost slot. Where nothing was tuned defaults have no times, but
 * numbers that compare. */
static void rivals_default(struct making *m, int outer, bool fewer) {
    const struct mt_layer *layer = m->layer;
    for (int i = layer->tuned_count; i < layer->slot_count; i++) {
        struct rival rival = {.slot = i, .stair = m->stairs[i]};
        if (outer < 0) {
            const struct stair unit = {
                .tile_m = 1, .ctas = rival.stair.workers, .workers = rival.stair.workers, .work = 1};
            rival_like(&rival, &unit, (struct stair_time){1, 1});
        } else if ((rival.stair.tile_m < m->stairs[outer].tile_m) != fewer) {
            continue;
        } else {
            const struct slot *slot = &layer->slots[outer];
            rival_like(&rival, &m->stairs[outer], (struct stair_time){slot->m, slot->kernel_ns});
        }
        m->layer->rivals[m->count++] = rival;
    }
}

static void rivals_make(struct making *m) {
    struct mt_layer *layer = m->layer;
    const int last = layer->tuned_count;
    for (int i = 0; i <= last; i++) {
        layer->first_rival[i] = m->count;
        rivals_tuned(m, i);
        if (last == 0)
            rivals_default(m, -1, false);
        else if (i == 0)
            rivals_default(m, 0, true);
        else if (i == last)
            rivals_default(m, last - 1, false);
    }
    layer->first_rival[last + 1] = m->count;
}

enum mt_status layer_set_rivals(struct mt_layer *layer, const struct known *known) {
    const int tuned = layer->tuned_count, defaults = layer->slot_count - tuned;
    const size_t most = (size_t)(tuned + 1) * 2 * RIVAL_REACH + (size_t)defaults * 2;
    if (!layer->slot_count)
        return MT_OK;
    struct stair *stairs = mem_alloc((size_t)layer->slot_count * sizeof *stairs);
    layer->rivals = mem_alloc(most * sizeof *layer->rivals);
    layer->first_rival = mem_alloc((size_t)(tuned + 2) * sizeof *layer->first_rival);
    if (!stairs || !layer->rivals || !layer->first_rival) {
        free(stairs);
        return MT_FAILURE;
    }
    for (int i = 0; i < layer->slot_count; i++)
        stair_of(&layer->slots[i].plan, known->table->limits.sm_count, &stairs[i]);
    rivals_make(&(struct making){.layer = layer, .known = known, .stairs = stairs});
    free(stairs);
    return MT_OK;
}

/* ---- looking up ---- */

/* How many tuned M are at most m: the number of its interval. */
static int interval_of(const struct mt_layer *layer, int m) {
    int low = 0, high = layer->tuned_count;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (layer->slots[middle].m <= m)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool layer_keeps(const struct mt_layer *layer, int i, int m) {
    return i > 0 && layer->slots[i - 1].m == m && layer->info.step != MT_STEP_NEAREST_LAYER;
}

/* At a tuned M. */
static struct pick pick_kept(const struct mt_layer *layer, int i) {
    const struct slot *slot = &layer->slots[i - 1];
    return (struct pick){.interval = i,
                         .slot = i - 1,
                         .estimate = slot->kernel_ns,
                         .promise = layer->promises && slot->as_tuned ? slot->kernel_ns : 0};
}

struct pick layer_pick(const struct mt_layer *layer, int m) {
    const int i = interval_of(layer, m);
    const struct rival *best = &layer->rivals[layer->first_rival[i]], *end = &layer->rivals[layer->first_rival[i + 1]];
    if (layer_keeps(layer, i, m))
        return pick_kept(layer, i);
    double least = rival_ns(best, m);
    for (const struct rival *r = best + 1; r < end; r++) {
        const double other = rival_ns(r, m);
        if (other < least) {
            least = other;
            best = r;
        }
    }
    /* Far below the first tuned M, where weights take the time and not tokens, the stairs lead too deep. */
    const bool deep = i == 0 && least < best->ns / 2;
    return (struct pick){
        .interval = i, .slot = best->slot, .estimate = least, .promise = best->promise && !deep ? least : 0};
}

int layer_interval(const struct mt_layer *layer, int i) {
    return i > 0 ? layer->slots[i - 1].m : 1;
}

/* ---- ranges ---- */

/* How often kernels are compared for the ranges of a layer: up to tens of thousands of tokens. */
enum { RANGE_LOOKS = 1024 };

/* The last M up to which those that compare at m take as long as there: where the shortest token tile is full. */
static int same_until(const struct mt_layer *layer, int m) {
    const int i = interval_of(layer, m);
    const struct rival *r = layer->rivals + layer->first_rival[i], *end = layer->rivals + layer->first_rival[i + 1];
    int last = i < layer->tuned_count ? layer->slots[i].m - 1 : layer->most_tokens;
    if (layer_keeps(layer, i, m))
        return m;
    if (end - r == 1)
        return last;
    for (; r < end; r++) {
        const int64_t full = ((int64_t)(m - 1) / r->stair.tile_m + 1) * r->stair.tile_m;
        if (r->per_token != 0)
            return m;
        last = full < last ? (int)full : last;
    }
    return last;
}

enum mt_status layer_set_ranges(struct mt_layer *layer) {
    int m = 1;
    layer->range_count = 0;
    for (int looks = 0; looks < RANGE_LOOKS && m <= layer->most_tokens; looks++) {
        const struct slot_range range = {m, layer_slot(layer, m)};
        m = same_until(layer, m) + 1;
        if (layer->range_count && layer->ranges[layer->range_count - 1].slot == range.slot)
            continue;
        if (!array_grow(&layer->ranges, &layer->range_capacity, (size_t)layer->range_count, sizeof range))
            return MT_FAILURE;
        layer->ranges[layer->range_count++] = range;
    }
    layer->ranged = m;
    return MT_OK;
}
