/* What a warp executed, as machine code. */
#include "parts.h"

#include <math.h>
#include <string.h>

/* Of a region that waits, the first iteration of each time is work. */
static double work(const struct region *r, uint64_t steps, uint64_t entries) {
    const double once = (double)entries * r->steps;
    return r->waits && once < (double)steps ? once : (double)steps;
}

void count_machine_code(struct warp *w) {
    const struct expansion *e = run_of(w)->launch->expansion;
    struct sg_counters *c = &w->count;
    double issued = 0, pipe[SG_PIPE_COUNT] = {0};
    for (uint32_t k = 0; e && k < e->regions; k++) {
        const double steps = work(&e->region[k], w->region[k].steps, w->region[k].entries);
        issued += steps * (double)e->region[k].issued;
        for (int p = 0; p < SG_PIPE_COUNT; p++)
            pipe[p] += steps * (double)e->region[k].pipe[p];
    }
    c->machine_instructions = e ? (uint64_t)llround(issued) : c->warp_instructions;
    for (int p = 0; p < SG_PIPE_COUNT; p++)
        c->machine_pipe[p] = e ? (uint64_t)llround(pipe[p]) : c->pipe[p];
    c->max_warp_instructions = c->machine_instructions;
}
