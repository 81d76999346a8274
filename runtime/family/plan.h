/* From what a kernel's launches have in common to one of them. Inline, for every launch does it. */
#ifndef MT_FAMILY_PLAN_H
#define MT_FAMILY_PLAN_H

#include "rules.h"

/* How a planned kernel is launched for m >= 1 tokens. Products of what a configuration can have fit 64 bits. */
static inline void launch_plan_at(const struct launch_plan *plan, int m, struct launch_shape *out) {
    *out = plan->every;
    const int64_t tiles = (int64_t)plan->tiles_n * tiles_along_m(m, plan->every.tile_m);
    const int split = tiles > plan->most_split ? 1 : plan->every.split_k;
    int64_t items = tiles * split;
    out->split_k = split;
    if (split > 1) {
        out->partials_bytes = (size_t)tiles * plan->split_partials;
        out->counters_bytes = (size_t)tiles * plan->split_counters;
    }
    if (!plan->workers) {
        out->grid[0] = (unsigned)int_of(tiles);
        out->grid[2] = (unsigned)split;
        out->items = (unsigned)int_of(items);
        return;
    }
    int64_t busy = items < plan->workers ? items : plan->workers;
    if (plan->every.stream_k) {
        const struct stream stream = stream_of(int_of(tiles), plan->workers, plan->steps, plan->every.stream_k);
        items = stream.tiles ? tiles - stream.tiles + stream.workers : items;
        busy = plan->workers;
    }
    out->grid[0] = (unsigned)(busy * plan->every.cluster);
    out->items = (unsigned)int_of(items * plan->every.cluster);
}

#endif
