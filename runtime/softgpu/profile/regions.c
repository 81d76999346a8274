/* Loops of PTX and of machine code are paired, the most alike first. */
#include "regions.h"
#include "runtime/base/str.h"
#include "runtime/softgpu/ptx/module.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ALIKE_LEAST 0.4 /* of 1: below this, two loops are different loops */
enum { WAIT_STEPS_MOST = 64, UNROLLED_MOST = 64 };

/* ---- PTX as a flow of steps ---- */

static enum flow_mark access_mark(const struct insn *i, bool store) {
    if (i->space == SPACE_SHARED)
        return store ? MARK_SHARED_STORE : MARK_SHARED_LOAD;
    bool plain = i->space == SPACE_GLOBAL || i->space == SPACE_GENERIC;
    return !plain ? MARK_NONE : store ? MARK_STORE : MARK_LOAD;
}

static enum flow_mark copy_mark(const struct insn *i) {
    if (i->boolop == SUB_COMMIT_GROUP || i->boolop == SUB_WAIT_GROUP || i->boolop == SUB_WAIT_ALL)
        return MARK_NONE;
    return i->flags & F_BULK ? MARK_BULK : i->boolop == SUB_ARRIVE ? MARK_MBARRIER : MARK_COPY;
}

static enum flow_mark mark_of(const struct insn *i) {
    switch (i->op) {
    case OP_mma:
        return MARK_MMA;
    case OP_wgmma:
        return i->sub == SUB_MMA ? MARK_MMA : MARK_NONE;
    case OP_cp:
        return copy_mark(i);
    case OP_ldmatrix:
    case OP_stmatrix:
        return MARK_MATRIX;
    case OP_bar:
    case OP_barrier:
        return i->flags & F_CLUSTER ? MARK_NONE : MARK_BARRIER;
    case OP_mbarrier:
        return MARK_MBARRIER;
    case OP_atom:
    case OP_red:
        return MARK_ATOMIC;
    case OP_shfl:
        return MARK_SHUFFLE;
    case OP_ld:
    case OP_ldu:
    case OP_st:
        return access_mark(i, i->op == OP_st);
    case OP_div: /* integers too: their quotient begins with a reciprocal */
    case OP_rem:
    case OP_ex2:
    case OP_lg2:
    case OP_rcp:
    case OP_rsqrt:
    case OP_sqrt:
    case OP_sin:
    case OP_cos:
    case OP_tanh:
        return MARK_SPECIAL;
    default:
        return MARK_NONE;
    }
}

static void ptx_read(const struct sg_function *f, struct flow *out) {
    const struct insn *code = f->module->code;
    *out = (struct flow){0};
    for (uint32_t k = f->first; k < f->end; k++) {
        const struct insn *i = &code[k];
        const bool ends = i->op == OP_bra || i->op == OP_brx || i->op == OP_ret || i->op == OP_exit || i->op == OP_trap;
        flow_add_step(out, (struct flow_step){.pipe = i->pipe,
                                              .mark = (uint8_t)mark_of(i),
                                              .falls = !ends || i->guarded & GUARD_PREDICATE,
                                              .filler = true}); /* what no branch names is never executed */
        const uint64_t to = (uint64_t)i->src[0].imm - f->first;
        if (i->op == OP_bra && to < f->end - f->first)
            flow_add_edge(out, k - f->first, (uint32_t)to);
        for (uint32_t t = 0; i->op == OP_brx && t < i->aux[1]; t++)
            if (f->module->targets[i->aux[0] + t] - f->first < f->end - f->first)
                flow_add_edge(out, k - f->first, f->module->targets[i->aux[0] + t] - f->first);
    }
    flow_find_loops(out);
}

/* ---- loops that only wait ---- */

static bool asks_others(const struct insn *i) {
    const bool waits = i->op == OP_mbarrier && (i->sub == SUB_TEST_WAIT || i->sub == SUB_TRY_WAIT);
    const bool strong = i->op == OP_ld && i->flags & (F_VOLATILE | F_STRONG | F_ACQUIRE);
    return waits || strong || i->op == OP_atom;
}

struct wanted { /* registers that decide whether the loop goes on, by their slots */
    uint32_t slot[WAIT_STEPS_MOST * 4];
    unsigned count;
};

static bool is_wanted(const struct wanted *w, const struct operand *o) {
    for (unsigned k = 0; k < w->count; k++)
        if ((o->kind == O_REG || o->kind == O_PRED) && w->slot[k] == o->slot)
            return true;
    return false;
}

static void want(struct wanted *w, const struct operand *o) {
    if ((o->kind == O_REG || o->kind == O_PRED) && o->bank == BANK_FRAME && !is_wanted(w, o) &&
        w->count < sizeof w->slot / sizeof *w->slot)
        w->slot[w->count++] = o->slot;
}

/* Whether the end of the loop depends on what others write, and it does nothing else that anybody could see. */
static bool loop_waits(const struct sg_function *f, const struct flow *flow, uint16_t loop) {
    const struct flow_loop *l = &flow->loop[loop];
    if (loop == 0 || l->each.steps + l->some.steps > WAIT_STEPS_MOST)
        return false;
    struct wanted wanted = {.count = 0};
    bool asks = false, waits = false;
    for (uint32_t s = 0; s < flow->steps; s++) {
        const struct insn *i = &f->module->code[f->first + s];
        if (flow->step[s].loop != loop)
            continue;
        asks |= asks_others(i);
        if ((flow->step[s].mark != MARK_NONE && !asks_others(i)) || i->op == OP_call)
            return false;
        if (i->op == OP_bra && i->guarded & GUARD_PREDICATE)
            want(&wanted, &(struct operand){.kind = O_PRED, .bank = BANK_FRAME, .slot = i->guard_slot & INT32_MAX});
    }
    if (!asks)
        return false;
    for (int pass = 0; pass < 3; pass++) /* a chain of three that runs against the text is long for a wait */
        for (uint32_t s = (uint32_t)flow->steps; s-- > 0;) {
            const struct insn *i = &f->module->code[f->first + s];
            if (flow->step[s].loop != loop || !(is_wanted(&wanted, &i->dst[0]) || is_wanted(&wanted, &i->dst[1])))
                continue;
            waits |= asks_others(i);
            for (int k = 0; k < i->srcs; k++)
                want(&wanted, &i->src[k]);
        }
    return waits;
}

/* ---- pairs ---- */

struct pair {
    double alike, unrolled;
    uint16_t ptx, machine;
};

static double marks_of(const struct flow_loop *l, int mark) {
    return (double)l->each.mark[mark] + l->some.mark[mark];
}

static double steps_of(const struct flow_loop *l) {
    return (double)l->each.steps + l->some.steps;
}

/* How alike two loops are, 0 to 1, if the second is the first unrolled; the mark that says most, of those that both
 * have, says how often. What reaches memory through registers may be merged, hoisted or spilled, so it weighs least. */
static double loops_alike(const struct flow_loop *p, const struct flow_loop *m, double *unrolled) {
    static const double weight[MARK_COUNT] = {
        [MARK_MMA] = 4,         [MARK_BULK] = 4,         [MARK_COPY] = 4,    [MARK_MATRIX] = 4, [MARK_BARRIER] = 4,
        [MARK_MBARRIER] = 4,    [MARK_ATOMIC] = 4,       [MARK_SHUFFLE] = 4, [MARK_LOAD] = 2,   [MARK_STORE] = 2,
        [MARK_SHARED_LOAD] = 1, [MARK_SHARED_STORE] = 1, [MARK_SPECIAL] = 1};
    double both = 0, either = 0;
    *unrolled = 0;
    for (int k = 0; k < MARK_COUNT && *unrolled == 0; k++)
        if (marks_of(p, k) > 0 && marks_of(m, k) > 0)
            *unrolled = fmax(1, round(marks_of(m, k) / marks_of(p, k)));
    for (int k = 0; k < MARK_COUNT; k++) {
        both += weight[k] * fmin(*unrolled * marks_of(p, k), marks_of(m, k));
        either += weight[k] * fmax((*unrolled > 0 ? *unrolled : 1) * marks_of(p, k), marks_of(m, k));
    }
    if (either > 0)
        return both / either;
    *unrolled = 1; /* neither has any: arithmetic alone */
    return 0.5 * fmin(steps_of(p), steps_of(m)) / fmax(fmax(steps_of(p), steps_of(m)), 1);
}

static int by_likeness(const void *a, const void *b) {
    const struct pair *x = a, *y = b;
    return x->alike != y->alike ? (x->alike > y->alike ? -1 : 1)
           : x->ptx != y->ptx   ? x->ptx - y->ptx
                                : x->machine - y->machine;
}

/* All pairs that could be, the most alike first. Compilers keep the order and the depth of loops, mostly. */
static struct pair *pairs_list(const struct flow *ptx, const struct flow *machine, size_t *count) {
    struct pair *pair = xcalloc(ptx->loops * machine->loops + 1, sizeof *pair);
    *count = 0;
    for (size_t p = 1; p < ptx->loops; p++)
        for (size_t m = 1; m < machine->loops; m++) {
            const struct flow_loop *a = &ptx->loop[p], *b = &machine->loop[m];
            struct pair new = {.ptx = (uint16_t)p, .machine = (uint16_t)m};
            new.alike = loops_alike(a, b, &new.unrolled);
            if (new.alike < ALIKE_LEAST)
                continue;
            new.alike -= 0.1 * fabs((double)a->head / (double)ptx->steps - (double)b->head / (double)machine->steps);
            new.alike -= 0.02 * abs(a->depth - b->depth) + 0.02 * fabs(log2(new.unrolled));
            pair[(*count)++] = new;
        }
    qsort(pair, *count, sizeof *pair, by_likeness);
    return pair;
}

/* For each PTX loop its like. Of a loop that was unrolled and its remainder, both of which are alike, the unrolled one
 * does the work. */
static void loops_pair(const struct flow *ptx, const struct flow *machine, struct pair *of) {
    size_t count;
    struct pair *pair = pairs_list(ptx, machine, &count);
    bool *taken = xcalloc(machine->loops, sizeof *taken);
    for (size_t k = 0; k < count; k++)
        if (!of[pair[k].ptx].machine && !taken[pair[k].machine]) {
            of[pair[k].ptx] = pair[k];
            taken[pair[k].machine] = true;
        }
    for (size_t k = 0; k < count; k++) {
        struct pair *now = &of[pair[k].ptx];
        if (!taken[pair[k].machine] && pair[k].unrolled >= 1.9 * now->unrolled) {
            *now = pair[k];
            taken[pair[k].machine] = true;
        }
    }
    free(taken);
    free(pair);
}

/* ---- regions ---- */

/* Iterations of a loop that has no like, so was unrolled wholly: as many as its marks are missing in the code around
 * it. */
static double iterations_missing(const struct flow_loop *loop, const struct flow_loop *around,
                                 const struct flow_loop *machine) {
    for (int k = 0; k < MARK_COUNT; k++)
        if (marks_of(loop, k) > 0)
            return fmin(fmax((marks_of(machine, k) - marks_of(around, k)) / marks_of(loop, k), 1), UNROLLED_MOST);
    return 1;
}

/* `steps` of PTX stand for what `machine` counts, and `more`. */
static void region_expand(struct region *r, const struct flow_counts *machine, const struct flow_counts *more,
                          double steps) {
    const double each = steps > 0 ? 1 / steps : 0;
    r->issued = (float)((machine->steps + (more ? more->steps : 0.0)) * each);
    for (int p = 0; p < SG_PIPE_COUNT; p++)
        r->pipe[p] = (float)((machine->pipe[p] + (more ? more->pipe[p] : 0.0)) * each);
}

/* The loop in whose machine code a PTX loop is: its own, or that of the next loop around it that has a like. */
static uint16_t like_around(const struct flow *ptx, const struct pair *of, uint16_t loop) {
    while (loop && !of[loop].machine)
        loop = ptx->loop[loop].parent;
    return loop;
}

/* The regions of a loop, numbers in the expansion; alike where nothing is behind a condition. */
struct numbers {
    uint16_t each, some;
    bool own; /* there was room */
};

static void expand_all(const struct flow *ptx, const struct flow *machine, const struct pair *of,
                       const struct numbers *number, struct expansion *out) {
    double *steps = xcalloc(ptx->loops, sizeof *steps); /* of every iteration, with loops inside that have no like */
    for (size_t l = 0; l < ptx->loops; l++) {
        const uint16_t home = like_around(ptx, of, (uint16_t)l);
        const struct flow_loop *loop = &ptx->loop[l], *like = &machine->loop[of[home].machine];
        steps[home] += home == l ? loop->each.steps * of[l].unrolled
                                 : steps_of(loop) * iterations_missing(loop, &ptx->loop[home], like);
    }
    for (size_t l = 0; l < ptx->loops; l++) {
        const uint16_t home = like_around(ptx, of, (uint16_t)l);
        const struct flow_loop *loop = &ptx->loop[l], *like = &machine->loop[of[home].machine];
        struct region *each = &out->region[number[l].each], *some = &out->region[number[l].some];
        if (l && !number[l].own)
            continue;
        /* What only machine code has behind a condition is issued with the rest. */
        region_expand(each, &like->each, ptx->loop[home].some.steps ? NULL : &like->some, steps[home]);
        if (some == each)
            continue;
        if (home == l)
            region_expand(some, &like->some, NULL, loop->some.steps * of[l].unrolled);
        else
            region_expand(some, &like->each, NULL, steps[home]);
    }
    free(steps);
}

/* Numbers for all regions, outer loops first; those of more loops than there is room for count as what is around. */
static void regions_number(const struct flow *ptx, struct numbers *number, struct expansion *out) {
    *out = (struct expansion){.regions = 1};
    for (size_t l = ptx->loops; l-- > 1;) {
        number[l] = number[ptx->loop[l].parent];
        number[l].own = out->regions + 2 <= REGIONS_MOST;
        if (number[l].own)
            number[l].each = number[l].some = (uint16_t)out->regions++;
        if (number[l].own && ptx->loop[l].some.steps)
            number[l].some = (uint16_t)out->regions++;
    }
    for (size_t l = 0; l < ptx->loops; l++) {
        out->region[number[l].each].steps += ptx->loop[l].each.steps;
        out->region[number[l].some].steps += ptx->loop[l].some.steps;
    }
}

void regions_find(const struct sg_function *kernel, const struct flow *machine, struct expansion *out) {
    struct flow ptx;
    ptx_read(kernel, &ptx);
    struct numbers *number = xcalloc(ptx.loops, sizeof *number);
    struct pair *of = xcalloc(ptx.loops, sizeof *of);
    of[0].unrolled = 1;
    regions_number(&ptx, number, out);
    for (uint32_t s = 0; s < ptx.steps; s++) {
        const struct numbers n = number[ptx.step[s].loop];
        kernel->module->code[kernel->first + s].region = (uint8_t)(ptx.step[s].always ? n.each : n.some);
    }
    loops_pair(&ptx, machine, of);
    expand_all(&ptx, machine, of, number, out);
    for (size_t l = 1; l < ptx.loops; l++)
        if (number[l].own)
            out->region[number[l].each].waits = loop_waits(kernel, &ptx, (uint16_t)l);
    free(of);
    free(number);
    flow_free(&ptx);
}
