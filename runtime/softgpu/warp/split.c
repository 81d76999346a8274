/* The splits of a warp: lanes that are at the same instruction with the same callers.
 *
 * The split with the deepest call, then the lowest instruction, runs first: lanes that are behind catch up, and splits
 * at the same place merge. That finds the common ways of the compiler's blocks without a post-dominator analysis. */
#include "cta.h"
#include "runtime/base/array.h"

void split_start(struct warp *w, uint32_t pc, uint32_t mask) {
    struct warp_private *own = w->own;
    array_grow(&own->node, &own->node_capacity, 1, sizeof *own->node);
    own->nodes = 1; /* node 0: no caller */
    own->node[0] = (struct call_node){.function = run_of(w)->function->index};
    own->splits = 1;
    own->running = 0;
    own->split[0] = (struct split){.pc = pc, .mask = mask};
    w->live = mask;
}

static void split_add(struct warp *w, uint32_t pc, uint32_t mask, uint32_t stack) {
    struct warp_private *own = w->own;
    own->split[own->splits++] = (struct split){.pc = pc, .mask = mask, .stack = stack};
}

void split_save(struct warp *w) {
    struct split *s = &w->own->split[w->own->running];
    s->pc = w->pc;
    s->mask = w->active;
    s->last_run = w->count.warp_instructions;
}

static void merge_splits(struct warp_private *own) {
    for (int a = 0; a < own->splits; a++) {
        struct split *s = &own->split[a];
        for (int b = a + 1; b < own->splits; b++) {
            struct split *t = &own->split[b];
            if (t->mask && s->pc == t->pc && s->stack == t->stack && s->state != SPLIT_BARRIER &&
                t->state != SPLIT_BARRIER) {
                s->mask |= t->mask;
                s->state = SPLIT_RUNNABLE;
                t->mask = 0;
            }
        }
    }
    int kept = 0;
    for (int a = 0; a < own->splits; a++)
        if (own->split[a].mask)
            own->split[kept++] = own->split[a];
    own->splits = kept;
}

static bool runs_before(const struct warp_private *own, const struct split *a, const struct split *b) {
    if (own->rotate)
        return a->last_run < b->last_run;
    unsigned depth_a = own->node[a->stack].depth, depth_b = own->node[b->stack].depth;
    return depth_a != depth_b ? depth_a > depth_b : a->pc < b->pc;
}

bool split_pick(struct warp *w) {
    struct warp_private *own = w->own;
    merge_splits(own);
    int best = -1, parked = -1, waiting = 0;
    for (int k = 0; k < own->splits; k++) {
        const struct split *s = &own->split[k];
        waiting += s->state == SPLIT_BARRIER;
        if (s->state == SPLIT_PARKED)
            parked = k;
        if (s->state == SPLIT_RUNNABLE && (best < 0 || runs_before(own, s, &own->split[best])))
            best = k;
    }
    own->forced = best < 0 && parked >= 0 && waiting == 0;
    if (own->forced)
        best = parked;
    own->rotate = false;
    if (best < 0)
        return false;
    own->running = best;
    struct split *s = &own->split[best];
    s->state = SPLIT_RUNNABLE;
    w->pc = s->pc;
    w->active = s->mask;
    own->stop_pc = UINT32_MAX;
    for (int k = 0; k < own->splits; k++) {
        const struct split *t = &own->split[k];
        if (k != best && t->state != SPLIT_BARRIER && t->stack == s->stack && t->pc > s->pc && t->pc < own->stop_pc)
            own->stop_pc = t->pc;
    }
    return true;
}

void split_move(struct warp *w, uint32_t lanes, uint32_t pc, uint32_t stack) {
    struct warp_private *own = w->own;
    struct split *running = &own->split[own->running];
    w->event = own->splits > 1;
    if (lanes == w->active) {
        w->pc = pc;
        w->event |= running->stack != stack;
        running->stack = stack;
        return;
    }
    w->active &= ~lanes;
    w->event = true;
    split_add(w, pc, lanes, stack);
}

void split_release(struct warp *w, unsigned barrier) {
    for (int k = 0; k < w->own->splits; k++) {
        struct split *s = &w->own->split[k];
        if (s->state == SPLIT_BARRIER && s->barrier == barrier)
            s->state = SPLIT_RUNNABLE;
    }
}

bool split_converge(struct warp *w, const struct insn *i, uint32_t members) {
    struct warp_private *own = w->own;
    uint32_t missing = members & w->live & ~w->exec;
    if (!missing)
        return true;
    w->event = true;
    if (own->forced || (missing & ~w->active) == 0) {
        warp_fault(w, i, -1, SG_FAULT_DIVERGENT_BARRIER,
                   "lanes %08x arrive here and lanes %08x, which are named too, never do", w->exec, missing);
        return false;
    }
    w->pc--; /* to be executed again, together */
    own->split[own->running].state = SPLIT_PARKED;
    return false;
}
