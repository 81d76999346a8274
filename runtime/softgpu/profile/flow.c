/* Loops by dominators: Cooper, Harvey and Kennedy, "A simple, fast dominance algorithm" (2001), over basic blocks. */
#include "flow.h"
#include "runtime/base/array.h"
#include "runtime/base/str.h"
#include <stdlib.h>
#include <string.h>

enum { NOWHERE = UINT32_MAX, LOOPS_MOST = 2048 }; /* so that pairs of them are never too many */

struct block {
    uint32_t first, end;      /* steps */
    uint32_t next, nexts;     /* of graph.next: the blocks that may follow */
    uint32_t before, befores; /* of graph.before */
    uint32_t order,
        dominator; /* number in reverse postorder; NOWHERE if unreached; the immediate one, ROOT of a root */
    uint32_t loop;
};
/* Block 0 is no code: it leads to the entry, and to whatever else nothing leads to. */
struct graph {
    struct block *block;
    uint32_t blocks, reached;
    uint32_t *next, *before, *sequence; /* sequence: blocks in reverse postorder */
};

void flow_add_step(struct flow *flow, struct flow_step step) {
    array_grow(&flow->step, &flow->step_capacity, flow->steps, sizeof *flow->step);
    flow->step[flow->steps++] = step;
}

void flow_add_edge(struct flow *flow, uint32_t from, uint32_t to) {
    array_grow(&flow->edge, &flow->edge_capacity, flow->edges, sizeof *flow->edge);
    flow->edge[flow->edges++] = (struct flow_edge){from, to};
}

void flow_free(struct flow *flow) {
    free(flow->step);
    free(flow->edge);
    free(flow->loop);
    *flow = (struct flow){0};
}

/* ---- blocks ---- */

static int by_source(const void *a, const void *b) {
    const struct flow_edge *x = a, *y = b;
    return x->from != y->from ? (x->from < y->from ? -1 : 1) : x->to < y->to ? -1 : x->to > y->to;
}

/* `of` gets the block of each step. */
static void blocks_cut(const struct flow *f, struct graph *g, uint32_t *of) {
    bool *begins = xcalloc(f->steps + 1, sizeof *begins);
    begins[0] = true;
    for (size_t e = 0; e < f->edges; e++) {
        begins[f->edge[e].to] = true;
        begins[f->edge[e].from + 1] = true;
    }
    for (size_t s = 0; s < f->steps; s++)
        begins[s + 1] |= !f->step[s].falls;
    g->blocks = 1;
    for (size_t s = 0; s < f->steps; s++)
        g->blocks += begins[s];
    g->block = xcalloc(g->blocks, sizeof *g->block);
    uint32_t at = 0;
    for (uint32_t s = 0; s < f->steps; s++) {
        if (begins[s])
            g->block[++at].first = s;
        g->block[at].end = s + 1;
        of[s] = at;
    }
    free(begins);
}

static void blocks_link(struct flow *f, struct graph *g, const uint32_t *of) {
    const size_t most = f->edges + g->blocks;
    uint32_t count = 0;
    size_t e = 0;
    if (f->edges)
        qsort(f->edge, f->edges, sizeof *f->edge, by_source);
    g->next = xcalloc(most, sizeof *g->next);
    for (uint32_t b = 1; b < g->blocks; b++) {
        struct block *block = &g->block[b];
        const uint32_t last = block->end - 1;
        block->next = count;
        if (f->step[last].falls && block->end < f->steps)
            g->next[count++] = b + 1;
        for (; e < f->edges && f->edge[e].from <= last; e++)
            g->next[count++] = of[f->edge[e].to];
        block->nexts = count - block->next;
    }
    g->before = xcalloc(most, sizeof *g->before);
    for (uint32_t n = 0; n < count; n++)
        g->block[g->next[n]].befores++;
    uint32_t sum = 0;
    for (uint32_t b = 0; b < g->blocks; b++) {
        g->block[b].before = sum;
        sum += g->block[b].befores;
        g->block[b].befores = 0;
    }
    for (uint32_t b = 1; b < g->blocks; b++)
        for (uint32_t n = 0; n < g->block[b].nexts; n++) {
            struct block *to = &g->block[g->next[g->block[b].next + n]];
            g->before[to->before + to->befores++] = b;
        }
}

/* Blocks in postorder from `root`, appended to `out`. */
static uint32_t walk(struct graph *g, uint32_t root, uint32_t *out, uint32_t count, uint32_t *stack, uint32_t *left) {
    uint32_t depth = 0;
    stack[depth++] = root;
    g->block[root].order = 0;
    left[root] = g->block[root].nexts;
    while (depth) {
        const uint32_t b = stack[depth - 1];
        if (left[b] == 0) {
            out[count++] = b;
            depth--;
            continue;
        }
        const uint32_t to = g->next[g->block[b].next + --left[b]];
        if (g->block[to].order == NOWHERE) {
            g->block[to].order = 0;
            left[to] = g->block[to].nexts;
            stack[depth++] = to;
        }
    }
    return count;
}

/* Reverse postorder over all roots: the entry, then whatever is left and no filler, in the order of the text. */
static void blocks_order(const struct flow *f, struct graph *g) {
    uint32_t *post = xcalloc(g->blocks, sizeof *post), *stack = xcalloc(g->blocks, sizeof *stack),
             *left = xcalloc(g->blocks, sizeof *left), count = 0;
    for (uint32_t b = 0; b < g->blocks; b++) {
        g->block[b].order = NOWHERE;
        g->block[b].dominator = NOWHERE;
    }
    for (uint32_t b = 1; b < g->blocks; b++)
        if (g->block[b].order == NOWHERE && (b == 1 || !f->step[g->block[b].first].filler)) {
            count = walk(g, b, post, count, stack, left);
            g->block[b].dominator = 0;
        }
    g->sequence = xcalloc(count + 1, sizeof *g->sequence);
    g->block[0].order = 0;
    g->block[0].dominator = 0;
    for (uint32_t k = 0; k < count; k++) {
        g->sequence[k + 1] = post[count - 1 - k];
        g->block[post[count - 1 - k]].order = k + 1;
    }
    g->reached = count + 1;
    free(post);
    free(stack);
    free(left);
}

static uint32_t common(const struct graph *g, uint32_t a, uint32_t b) {
    while (a != b) {
        while (g->block[a].order > g->block[b].order)
            a = g->block[a].dominator;
        while (g->block[b].order > g->block[a].order)
            b = g->block[b].dominator;
    }
    return a;
}

static void find_dominators(struct graph *g) {
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t k = 1; k < g->reached; k++) {
            struct block *block = &g->block[g->sequence[k]];
            uint32_t best = block->dominator == 0 ? 0 : NOWHERE;
            for (uint32_t p = 0; p < block->befores && best != 0; p++) {
                const uint32_t from = g->before[block->before + p];
                if (g->block[from].dominator != NOWHERE)
                    best = best == NOWHERE ? from : common(g, from, best);
            }
            changed |= best != block->dominator;
            block->dominator = best;
        }
    }
}

static bool dominates(const struct graph *g, uint32_t above, uint32_t b) {
    while (g->block[b].order > g->block[above].order)
        b = g->block[b].dominator;
    return b == above;
}

/* ---- loops ---- */

/* Claims for loop `own` whatever leads to its back edges without going through its head. Blocks of loops that were
 * found before, which lie inside, are stepped over from their heads. What leads to a block is pushed once, so the stack
 * needs no more room than there are edges. */
static void loop_fill(const struct flow *f, struct graph *g, uint32_t head, uint16_t own, uint32_t *stack) {
    uint32_t depth = 0;
    const struct block *at = &g->block[head];
    for (uint32_t p = 0; p < at->befores; p++)
        if (g->block[g->before[at->before + p]].order != NOWHERE && dominates(g, head, g->before[at->before + p]))
            stack[depth++] = g->before[at->before + p];
    while (depth) {
        uint32_t b = stack[--depth];
        if (g->block[b].loop) { /* the outermost loop that is known around it */
            uint16_t inner = (uint16_t)g->block[b].loop;
            while (f->loop[inner].parent)
                inner = f->loop[inner].parent;
            if (inner == own)
                continue;
            f->loop[inner].parent = own;
            b = f->loop[inner].head; /* a block number, until flow_find_loops() is done */
        } else {
            g->block[b].loop = own;
        }
        if (b == head)
            continue;
        for (uint32_t p = 0; p < g->block[b].befores; p++) {
            const uint32_t from = g->before[g->block[b].before + p];
            if (g->block[from].order != NOWHERE)
                stack[depth++] = from;
        }
    }
    g->block[head].loop = own;
}

static void loop_add(struct flow *f, uint32_t head) {
    array_grow(&f->loop, &f->loop_capacity, f->loops, sizeof *f->loop);
    f->loop[f->loops++] = (struct flow_loop){.head = head};
}

/* Heads from the last in reverse postorder to the first: inner loops before outer ones. */
static void loops_find(struct flow *f, struct graph *g) {
    size_t most = g->blocks;
    for (uint32_t b = 0; b < g->blocks; b++)
        most += g->block[b].befores;
    uint32_t *stack = xcalloc(2 * most, sizeof *stack); /* and once more for the head */
    loop_add(f, 0);
    for (uint32_t k = g->reached - 1; k > 0 && f->loops < LOOPS_MOST; k--) {
        const uint32_t head = g->sequence[k];
        bool loops = false;
        for (uint32_t p = 0; p < g->block[head].befores && !loops; p++) {
            const uint32_t from = g->before[g->block[head].before + p];
            loops = g->block[from].order != NOWHERE && dominates(g, head, from);
        }
        if (!loops)
            continue;
        loop_add(f, head);
        loop_fill(f, g, head, (uint16_t)(f->loops - 1), stack);
    }
    free(stack);
}

/* Whether every iteration of its innermost loop comes through a block: all ways back to the head do. */
static bool is_always(const struct flow *f, const struct graph *g, uint32_t b) {
    const struct block *block = &g->block[b], *head = &g->block[f->loop[block->loop].head];
    for (uint32_t p = 0; p < head->befores && block->loop; p++) {
        const uint32_t from = g->before[head->before + p];
        if (g->block[from].order != NOWHERE && dominates(g, f->loop[block->loop].head, from) && !dominates(g, b, from))
            return false;
    }
    return true;
}

static void counts_add(struct flow_counts *c, const struct flow_step *step) {
    c->steps++;
    if (step->pipe < SG_PIPE_COUNT)
        c->pipe[step->pipe]++;
    if (step->mark < MARK_COUNT)
        c->mark[step->mark]++;
}

/* Heads are numbers of blocks until then. */
static void loops_count(struct flow *f, const struct graph *g, const uint32_t *of) {
    bool *always = xcalloc(g->blocks, sizeof *always);
    for (uint32_t b = 1; b < g->blocks; b++)
        always[b] = g->block[b].order != NOWHERE && is_always(f, g, b);
    for (size_t s = 0; s < f->steps; s++) {
        struct flow_step *step = &f->step[s];
        const struct block *block = &g->block[of[s]];
        step->reachable = block->order != NOWHERE;
        step->loop = (uint16_t)block->loop;
        step->always = always[of[s]];
        if (step->reachable)
            counts_add(step->always ? &f->loop[step->loop].each : &f->loop[step->loop].some, step);
    }
    free(always);
    for (size_t l = f->loops; l-- > 1;) { /* outer loops have higher numbers */
        f->loop[l].depth = (uint16_t)(f->loop[f->loop[l].parent].depth + 1);
        f->loop[l].head = g->block[f->loop[l].head].first;
    }
}

void flow_find_loops(struct flow *f) {
    struct graph g = {0};
    if (!f->steps) {
        loop_add(f, 0);
        return;
    }
    uint32_t *of = xcalloc(f->steps, sizeof *of);
    blocks_cut(f, &g, of);
    blocks_link(f, &g, of);
    blocks_order(f, &g);
    find_dominators(&g);
    loops_find(f, &g);
    loops_count(f, &g, of);
    free(of);
    free(g.block);
    free(g.next);
    free(g.before);
    free(g.sequence);
}
