/* What the lanes of a warp, and the warps of a CTA, do together: barriers, fences, shuffles, votes. */
#include "parts.h"

#include <stdio.h>
#include <string.h>

static void put_u32(struct warp *w, const struct operand *o, uint32_t value) {
    uint32_t *d = dst_lanes(w, o);
    for (int lane = 0; lane < LANES; lane++)
        d[lane] = w->exec >> lane & 1 ? value : d[lane];
}

static uint32_t first_u32(const struct warp *w, const struct operand *o) {
    return ((const uint32_t *)src_lanes(w, o))[__builtin_ctz(w->exec)];
}

/* ---- barriers of the CTA ---- */

/* Writes the result of a bar.red into the registers of the lanes that wait for it. */
static void deliver_reduction(struct warp *w, const struct split *s, const struct barrier *b) {
    const struct insn *i = &run_of(w)->module->code[s->pc - 1];
    if (i->sub != SUB_RED)
        return;
    w->exec = s->mask;
    if (i->boolop == SUB_POPC)
        put_u32(w, &i->dst[0], b->popc);
    else
        dst_pred(w, &i->dst[0], (i->boolop == SUB_AND ? b->all : b->any) ? UINT32_MAX : 0);
}

static void barrier_complete(struct cta *c, unsigned number) {
    struct barrier *b = &c->barrier[number];
    uint32_t waiters = 0;
    for (int k = 0; k < c->warps; k++) {
        struct warp *w = &c->warp[k];
        for (int s = 0; s < w->own->splits; s++) {
            const struct split *split = &w->own->split[s];
            if (split->state != SPLIT_BARRIER || split->barrier != number)
                continue;
            waiters |= 1u << k;
            deliver_reduction(w, split, b);
        }
        split_release(w, number);
    }
    if (c->shadow)
        shadow_barrier(c, b->participants, waiters);
    *b = (struct barrier){0};
}

static bool barrier_is_full(const struct cta *c, const struct barrier *b) {
    return b->used && b->arrived >= (b->expected ? b->expected : c->live_threads);
}

void sync_exit(struct cta *c) {
    for (unsigned k = 0; k < BARRIERS; k++)
        if (c->barrier[k].expected == 0 && barrier_is_full(c, &c->barrier[k]))
            barrier_complete(c, k);
}

static void count_reduction(struct warp *w, const struct insn *i, struct barrier *b) {
    uint32_t votes = src_pred(w, &i->src[i->srcs - 1]) & w->exec;
    if (!b->used)
        b->all = true;
    b->popc += (uint32_t)__builtin_popcount(votes);
    b->all &= votes == w->exec;
    b->any |= votes != 0;
}

/* bar.sync a{, b}   bar.arrive a, b   bar.red.op d, a{, b}, p */
void sync_barrier(struct warp *w, const struct insn *i) {
    struct cta *c = w->cta;
    bool aligned = i->op == OP_bar || (i->flags & F_ALIGNED);
    if (aligned && !split_converge(w, i, UINT32_MAX))
        return;
    uint32_t number = first_u32(w, &i->src[0]);
    bool counted = i->srcs - (i->sub == SUB_RED) == 2;
    uint32_t expected = counted ? first_u32(w, &i->src[1]) : 0;
    if (number >= BARRIERS || expected % LANES || (counted && !expected)) {
        warp_fault(w, i, -1, SG_FAULT_DIVERGENT_BARRIER, "barrier %u for %u threads does not exist", number, expected);
        return;
    }
    struct barrier *b = &c->barrier[number];
    if (b->used && b->expected != expected) {
        warp_fault(w, i, -1, SG_FAULT_DIVERGENT_BARRIER, "barrier %u is awaited with %u and with %u threads", number,
                   b->expected, expected);
        return;
    }
    if (i->sub == SUB_RED)
        count_reduction(w, i, b);
    b->used = true;
    b->expected = expected;
    /* With a count a warp stands for all its threads, also those that a partial warp lacks. */
    b->arrived += aligned && counted ? LANES : (uint32_t)__builtin_popcount(w->exec);
    b->participants |= 1u << w->index;
    w->count.barriers++;
    if (i->sub != SUB_ARRIVE) {
        uint32_t others = w->active & ~w->exec;
        if (others)
            split_move(w, others, w->pc, w->own->split[w->own->running].stack);
        struct split *s = &w->own->split[w->own->running];
        s->state = SPLIT_BARRIER;
        s->barrier = (uint8_t)number;
        split_save(w);
        w->event = true;
    }
    if (barrier_is_full(c, b))
        barrier_complete(c, number);
}

/* ---- within a warp ---- */

/* Operand `k` is the member mask; it may differ from lane to lane, as with tiles of a warp: the lanes of each mask then
 * execute on their own. Absent in the old forms without .sync: the lanes that are here. */
static void together(struct warp *w, const struct insn *i, int k, op_fn *body) {
    uint32_t all = w->exec, named = 0;
    if (k >= i->srcs) {
        body(w, i);
        return;
    }
    const uint32_t *members = src_lanes(w, &i->src[k]);
    for (uint32_t rest = all; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        named |= members[lane];
        if (!(members[lane] >> lane & 1)) {
            warp_fault(w, i, lane, SG_FAULT_DIVERGENT_BARRIER,
                       "this lane executes it but is not in its member mask %08x", members[lane]);
            return;
        }
    }
    if (!split_converge(w, i, named))
        return;
    uint32_t mask[LANES];
    memcpy(mask, members, sizeof mask);
    for (uint32_t rest = all; rest;) {
        uint32_t first = mask[__builtin_ctz(rest)], same = 0;
        for (int lane = 0; lane < LANES; lane++)
            same |= (uint32_t)(mask[lane] == first) << lane;
        w->exec = rest & same;
        rest &= ~same;
        body(w, i);
    }
}

static void do_nothing(struct warp *w, const struct insn *i) {
    (void)w;
    (void)i;
}

void sync_warp(struct warp *w, const struct insn *i) {
    together(w, i, 0, do_nothing);
}

void sync_fence(struct warp *w, const struct insn *i) {
    atomic_thread_fence(memory_order_seq_cst);
    if (is_strict(w) && i->sub == SUB_PROXY && i->space != SPACE_GLOBAL)
        shadow_fence_proxy(w);
    else if (is_strict(w) && i->sub != SUB_PROXY)
        shadow_fence(w);
    if (i->sub == SUB_MBARRIER_INIT)
        mbarrier_fence_init(w);
}

/* ---- registers, which move between warp groups ---- */

/* setmaxnreg.dec, .inc: a warp gives registers to the pool of its CTA, or waits until it can take them from there. */
void sync_setmaxnreg(struct warp *w, const struct insn *i) {
    struct cta *c = w->cta;
    uint32_t want = (uint32_t)i->src[0].imm, have = w->own->registers;
    bool takes = i->sub == SUB_INC;
    if (want % 8 || want < 24 || want > 256) {
        warp_fault(w, i, -1, SG_FAULT_UNSUPPORTED, "%u registers; multiples of 8 from 24 to 256 are possible", want);
        return;
    }
    if (have && (takes ? want < have : want > have)) {
        warp_fault(w, i, -1, SG_FAULT_ASYNC, "%s to %u registers by a warp that has %u", takes ? "up" : "down", want,
                   have);
        return;
    }
    uint32_t moved = (takes ? want - have : have - want) * LANES;
    if (have && takes && moved > c->pool) {
        struct split *s = &w->own->split[w->own->running];
        s->state = SPLIT_BARRIER;
        s->barrier = REGISTER_WAIT;
        w->pc--; /* to be executed again when somebody has given some */
        split_save(w);
        w->event = true;
        return;
    }
    if (!group_step(w, i) || !have)
        return;
    w->own->registers = want;
    c->pool = takes ? c->pool - moved : c->pool + moved;
    for (int k = 0; k < c->warps && !takes; k++)
        split_release(&c->warp[k], REGISTER_WAIT);
}

void registers_explain(const struct cta *c, char *text, size_t size) {
    for (int k = 0; k < c->warps; k++)
        for (int s = 0; s < c->own[k].splits; s++) {
            const struct split *split = &c->own[k].split[s];
            size_t used = strlen(text);
            if (split->state != SPLIT_BARRIER || split->barrier != REGISTER_WAIT || used >= size)
                continue;
            int64_t want = c->run->module->code[split->pc].src[0].imm;
            snprintf(text + used, size - used,
                     " warp %d has %u registers and wants %lld, which takes %lld, and %u are released;", k,
                     c->own[k].registers, (long long)want, (long long)(want - c->own[k].registers) * LANES, c->pool);
            return; /* one tells it all */
        }
}

void sync_nothing(struct warp *w, const struct insn *i) {
    if (i->op == OP_nanosleep)
        warp_polls(w, 1000);
}

/* Source lane and whether it lies in the segment: PTX ISA, "shfl.sync". */
static bool shuffle_source(const struct insn *i, int lane, uint32_t b, uint32_t c, int *source) {
    int offset = (int)(b & 31), clamp = (int)(c & 31), segment = (int)(c >> 8 & 31);
    int most = (lane & segment) | (clamp & ~segment), least = lane & segment;
    bool inside;
    switch (i->sub) {
    case SUB_UP:
        *source = lane - offset;
        inside = *source >= most;
        break;
    case SUB_DOWN:
        *source = lane + offset;
        inside = *source <= most;
        break;
    case SUB_BFLY:
        *source = lane ^ offset;
        inside = *source <= most;
        break;
    default:
        *source = least | (offset & ~segment);
        inside = *source <= most;
        break;
    }
    if (!inside)
        *source = lane;
    return inside;
}

static void shfl_group(struct warp *w, const struct insn *i) {
    uint32_t value[LANES], valid = 0, *d = dst_lanes(w, &i->dst[0]);
    const uint32_t *b = src_lanes(w, &i->src[1]), *c = src_lanes(w, &i->src[2]);
    memcpy(value, src_lanes(w, &i->src[0]), sizeof value);
    for (int lane = 0; lane < LANES; lane++) {
        int source;
        if (!(w->exec >> lane & 1))
            continue;
        valid |= (uint32_t)shuffle_source(i, lane, b[lane], c[lane], &source) << lane;
        /* A lane that does not take part has no value to give. */
        d[lane] = w->exec >> source & 1 ? value[source] : UINT32_MAX;
    }
    if (i->dst[1].kind == O_PRED)
        dst_pred(w, &i->dst[1], valid);
}

static void vote_group(struct warp *w, const struct insn *i) {
    uint32_t votes = src_pred(w, &i->src[0]) & w->exec;
    bool all = votes == w->exec, any = votes != 0;
    if (i->sub == SUB_BALLOT)
        put_u32(w, &i->dst[0], votes);
    else
        dst_pred(w, &i->dst[0], (i->sub == SUB_ALL ? all : i->sub == SUB_ANY ? any : all || !any) ? UINT32_MAX : 0);
}

static void match_group(struct warp *w, const struct insn *i) {
    const uint8_t *value = src_lanes(w, &i->src[0]);
    unsigned width = i->src[0].width;
    uint32_t mask[LANES], *d = dst_lanes(w, &i->dst[0]);
    bool equal = true;
    for (int lane = 0; lane < LANES; lane++) {
        mask[lane] = 0;
        for (int k = 0; k < LANES; k++)
            mask[lane] |= (uint32_t)(memcmp(value + width * (unsigned)lane, value + width * (unsigned)k, width) == 0)
                          << k;
        mask[lane] &= w->exec;
        if (w->exec >> lane & 1)
            equal &= mask[lane] == w->exec;
    }
    for (int lane = 0; lane < LANES; lane++)
        if (w->exec >> lane & 1)
            d[lane] = i->sub == SUB_ANY ? mask[lane] : equal ? w->exec : 0;
    if (i->dst[1].kind == O_PRED)
        dst_pred(w, &i->dst[1], equal ? UINT32_MAX : 0);
}

static void redux_group(struct warp *w, const struct insn *i) {
    const uint32_t *value = src_lanes(w, &i->src[0]);
    uint32_t sum = value[__builtin_ctz(w->exec)];
    for (uint32_t rest = w->exec & (w->exec - 1); rest; rest &= rest - 1) {
        uint32_t x = value[__builtin_ctz(rest)];
        bool below = i->type[0] == T_S32 ? (int32_t)x < (int32_t)sum : x < sum;
        switch (i->sub) {
        case SUB_ADD:
            sum += x;
            break;
        case SUB_MIN:
            sum = below ? x : sum;
            break;
        case SUB_MAX:
            sum = below ? sum : x;
            break;
        case SUB_AND:
            sum &= x;
            break;
        case SUB_OR:
            sum |= x;
            break;
        default:
            sum ^= x;
            break;
        }
    }
    put_u32(w, &i->dst[0], sum);
}

void sync_activemask(struct warp *w, const struct insn *i) {
    put_u32(w, &i->dst[0], w->exec);
}

static void elect_group(struct warp *w, const struct insn *i) {
    uint32_t leader = (uint32_t)__builtin_ctz(w->exec);
    if (i->dst[0].kind == O_REG)
        put_u32(w, &i->dst[0], leader);
    dst_pred(w, &i->dst[1], 1u << leader);
}

void sync_shfl(struct warp *w, const struct insn *i) {
    together(w, i, 3, shfl_group);
}

void sync_vote(struct warp *w, const struct insn *i) {
    together(w, i, 1, vote_group);
}

void sync_match(struct warp *w, const struct insn *i) {
    together(w, i, 1, match_group);
}

void sync_redux(struct warp *w, const struct insn *i) {
    together(w, i, 1, redux_group);
}

void sync_elect(struct warp *w, const struct insn *i) {
    together(w, i, 0, elect_group);
}
