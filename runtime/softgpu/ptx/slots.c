/* Places for registers: PTX names a new register for nearly every value, so a frame with one slot each would not stay
 * in the caches. Liveness by dataflow gives every register one interval of instructions; registers of the same width
 * whose intervals do not meet share a slot. Slots of different widths never overlap: the lanes of a warp may be at
 * different instructions, and lane n of a wide slot must not be lane m of a narrow one. */
#include "parser.h"
#include "runtime/base/array.h"
#include "runtime/base/str.h"

#include <stdlib.h>
#include <string.h>

static void visit_operand(struct operand *o, bool written, void (*visit)(struct operand *, bool, void *), void *data) {
    if (o->kind == O_VEC) {
        struct operand *element = (struct operand *)(uintptr_t)o->vec;
        for (unsigned k = 0; k < o->count; k++)
            visit_operand(&element[k], written, visit, data);
    } else if (o->bank == BANK_FRAME && (o->kind == O_REG || o->kind == O_PRED)) {
        visit(o, written, data);
    } else if (o->bank == BANK_FRAME && o->kind == O_ADDRESS) {
        visit(o, false, data);
    }
}

void insn_each_register(struct insn *i, void (*visit)(struct operand *o, bool written, void *data), void *data) {
    for (int k = 0; k < MAX_SRC; k++)
        visit_operand(&i->src[k], false, visit, data);
    for (int k = 0; k < MAX_DST; k++)
        visit_operand(&i->dst[k], true, visit, data);
}

/* A register in a block, or in an instruction. */
struct mention {
    uint32_t vreg, where;
};
struct mentions { /* in the order of `where`; once sorted, those of register v are from first[v] on */
    struct mention *list;
    size_t count, capacity;
    uint32_t *first;
};

/* A straight piece of code or, behind all of these, a list of branch targets, through which all its branches go. */
struct node {
    uint32_t first, end; /* instructions; a list has none */
};

struct liveness {
    struct sg_function *f;
    struct insn *code; /* of the function: index 0 is its first */
    uint32_t insns;
    struct node *node;
    uint32_t blocks, nodes;
    uint32_t *block_of;            /* instruction -> block */
    struct mentions before;        /* where a node is entered from: vreg stands for the node that is entered */
    struct mentions used, killed;  /* by block: read before it is written, written for all lanes */
    uint32_t *used_in, *killed_in; /* per register: 1 + the last block that has it there */
    uint32_t *start, *end;         /* per register: the interval */
    uint32_t at, block;
    bool guarded;
};

static void mentions_add(struct mentions *m, uint32_t vreg, uint32_t where) {
    array_grow(&m->list, &m->capacity, m->count, sizeof *m->list);
    m->list[m->count++] = (struct mention){vreg, where};
}

/* By register, of which there are `vregs`; the order of places stays. */
static void mentions_sort(struct mentions *m, uint32_t vregs) {
    struct mention *sorted = xcalloc(m->count + 1, sizeof *sorted);
    m->first = xcalloc(vregs + 2, sizeof *m->first);
    for (size_t k = 0; k < m->count; k++)
        m->first[m->list[k].vreg + 2]++;
    for (uint32_t v = 2; v < vregs + 2; v++)
        m->first[v] += m->first[v - 1];
    for (size_t k = 0; k < m->count; k++)
        sorted[m->first[m->list[k].vreg + 1]++] = m->list[k];
    free(m->list);
    m->list = sorted;
}

static void mentions_free(struct mentions *m) {
    free(m->list);
    free(m->first);
}

static bool ends_block(const struct insn *i) {
    return i->op == OP_bra || i->op == OP_brx || i->op == OP_exit || i->op == OP_ret || i->op == OP_trap;
}

static void find_blocks(struct liveness *l) {
    uint8_t *leader = xcalloc(l->insns + 1, 1);
    const struct sg_module *m = l->f->module;
    leader[0] = 1;
    for (size_t t = l->f->first_target; t < m->target_count; t++)
        leader[m->targets[t] - l->f->first] = 1;
    for (uint32_t k = 0; k < l->insns; k++) {
        const struct insn *i = &l->code[k];
        if (i->op == OP_bra)
            leader[i->src[0].imm - l->f->first] = 1;
        if (ends_block(i))
            leader[k + 1] = 1;
    }
    for (uint32_t k = 0; k < l->insns; k++)
        l->blocks += leader[k];
    l->nodes = l->blocks + (uint32_t)(m->target_count - l->f->first_target);
    l->node = xcalloc(l->nodes + 1, sizeof *l->node);
    l->block_of = xcalloc(l->insns + 1, sizeof *l->block_of);
    uint32_t b = 0;
    for (uint32_t k = 0; k < l->insns; k++) {
        if (leader[k])
            l->node[b++].first = k;
        l->node[b - 1].end = k + 1;
        l->block_of[k] = b - 1;
    }
    free(leader);
}

/* A list is the node of its first target. */
static void find_edges(struct liveness *l) {
    const struct sg_function *f = l->f;
    bool *known = xcalloc(l->nodes + 1, sizeof *known);
    for (uint32_t b = 0; b < l->blocks; b++) {
        const struct insn *last = &l->code[l->node[b].end - 1];
        if (last->op == OP_bra)
            mentions_add(&l->before, l->block_of[last->src[0].imm - f->first], b);
        if ((!ends_block(last) || last->guarded) && b + 1 < l->blocks)
            mentions_add(&l->before, b + 1, b);
        if (last->op != OP_brx || last->aux[1] == 0)
            continue;
        const uint32_t list = l->blocks + last->aux[0] - f->first_target;
        mentions_add(&l->before, list, b);
        for (uint32_t t = 0; !known[list] && t < last->aux[1]; t++)
            mentions_add(&l->before, l->block_of[f->module->targets[last->aux[0] + t] - f->first], list);
        known[list] = true;
    }
    mentions_sort(&l->before, l->nodes);
    free(known);
}

static void interval_reach(struct liveness *l, uint32_t v, uint32_t at) {
    l->start[v] = at < l->start[v] ? at : l->start[v];
    l->end[v] = l->end[v] == UINT32_MAX || at > l->end[v] ? at : l->end[v];
}

static void visit_mention(struct operand *o, bool written, void *data) {
    struct liveness *l = data;
    const uint32_t v = o->slot, block = l->block + 1;
    /* A guarded write leaves the old value in some lanes. */
    if ((!written || l->guarded) && l->killed_in[v] != block && l->used_in[v] != block) {
        l->used_in[v] = block;
        mentions_add(&l->used, v, l->block);
    }
    if (written && !l->guarded && l->killed_in[v] != block) {
        l->killed_in[v] = block;
        mentions_add(&l->killed, v, l->block);
    }
    interval_reach(l, v, l->at);
}

static void visit_guard(struct liveness *l, struct insn *i) {
    struct operand guard = {.kind = O_PRED, .slot = i->guard_slot & 0x7fffffff};
    if (i->guarded)
        visit_mention(&guard, false, l);
}

static void find_mentions(struct liveness *l) {
    const uint32_t vregs = (uint32_t)l->f->vregs;
    l->used_in = xcalloc(vregs, sizeof *l->used_in);
    l->killed_in = xcalloc(vregs, sizeof *l->killed_in);
    for (l->at = 0; l->at < l->insns; l->at++) {
        struct insn *i = &l->code[l->at];
        l->block = l->block_of[l->at];
        l->guarded = i->guarded || i->op == OP_wgmma; /* wgmma adds to its accumulators */
        visit_guard(l, i);
        insn_each_register(i, visit_mention, l);
    }
    mentions_sort(&l->used, vregs);
    mentions_sort(&l->killed, vregs);
    free(l->used_in);
    free(l->killed_in);
}

/* From where a register is used, back to where it is written: as many steps as there are blocks in which it lives. */
static void extend_intervals(struct liveness *l) {
    uint32_t *live = xcalloc(l->nodes + 1, sizeof *live), *killed = xcalloc(l->nodes + 1, sizeof *killed);
    uint32_t *stack = xcalloc(l->nodes + 1, sizeof *stack);
    for (uint32_t v = 1; v < l->f->vregs; v++) {
        size_t depth = 0;
        for (uint32_t k = l->killed.first[v]; k < l->killed.first[v + 1]; k++)
            killed[l->killed.list[k].where] = v;
        for (uint32_t k = l->used.first[v]; k < l->used.first[v + 1]; k++) {
            stack[depth++] = l->used.list[k].where;
            live[l->used.list[k].where] = v;
        }
        while (depth) {
            const uint32_t n = stack[--depth];
            if (n < l->blocks)
                interval_reach(l, v, l->node[n].first);
            for (uint32_t k = l->before.first[n]; k < l->before.first[n + 1]; k++) {
                const uint32_t from = l->before.list[k].where;
                if (from < l->blocks)
                    interval_reach(l, v, l->node[from].end - 1);
                if (live[from] != v && killed[from] != v) {
                    live[from] = v;
                    stack[depth++] = from;
                }
            }
        }
    }
    free(live);
    free(killed);
    free(stack);
}

enum { CLASSES = 5 }; /* predicates, then 2, 4, 8, 16 bytes a lane */

static int width_class(unsigned width) {
    return width == 0 ? 0 : width == 2 ? 1 : width == 4 ? 2 : width == 8 ? 3 : 4;
}

static const uint32_t class_bytes[CLASSES] = {4, 64, 128, 256, 512};

/* Chains registers by where their interval starts or ends. */
static uint32_t *chain(const uint32_t *where, uint32_t vregs, uint32_t insns, uint32_t *next) {
    uint32_t *head = xmalloc((insns + 1) * sizeof *head);
    memset(head, 0xff, (insns + 1) * sizeof *head);
    for (uint32_t v = vregs; v-- > 1;) {
        if (where[v] == UINT32_MAX)
            continue;
        next[v] = head[where[v]];
        head[where[v]] = v;
    }
    return head;
}

/* Slot numbers within the class first, bytes when the sizes of all classes are known. */
static void assign_slots(struct liveness *l) {
    struct sg_function *f = l->f;
    uint32_t n = (uint32_t)f->vregs, count[CLASSES] = {[4] = 1}, free_count[CLASSES] = {0};
    uint32_t *next_start = xcalloc(n, 4), *next_end = xcalloc(n, 4), *free_slot[CLASSES];
    uint32_t *head_start = chain(l->start, n, l->insns, next_start), *head_end = chain(l->end, n, l->insns, next_end);
    for (int c = 0; c < CLASSES; c++)
        free_slot[c] = xmalloc((n + 1) * sizeof *free_slot[c]);
    for (uint32_t k = 0; k < l->insns; k++) {
        for (uint32_t v = head_start[k]; v != UINT32_MAX; v = next_start[v]) {
            int c = width_class(f->vreg[v].width);
            f->vreg[v].slot = free_count[c] ? free_slot[c][--free_count[c]] : count[c]++;
        }
        for (uint32_t v = head_end[k]; v != UINT32_MAX; v = next_end[v]) {
            int c = width_class(f->vreg[v].width);
            free_slot[c][free_count[c]++] = f->vreg[v].slot;
        }
    }
    uint32_t base[CLASSES], total = 0;
    for (int c = 0; c < CLASSES; c++) {
        base[c] = total;
        total += (count[c] * class_bytes[c] + 63) / 64 * 64;
        free(free_slot[c]);
    }
    for (uint32_t v = 0; v < n; v++) {
        int c = width_class(f->vreg[v].width);
        f->vreg[v].slot = base[c] + f->vreg[v].slot * class_bytes[c];
    }
    f->frame_bytes = total;
    f->sink_slot = f->vreg[0].slot;
    free(next_start);
    free(next_end);
    free(head_start);
    free(head_end);
}

static void visit_rewrite(struct operand *o, bool written, void *data) {
    (void)written;
    const struct sg_function *f = data;
    o->slot = f->vreg[o->slot].slot & 0x7fffffff;
}

static void rewrite_sink(struct operand *o, uint32_t slot) {
    struct operand *element = o->kind == O_VEC ? (struct operand *)(uintptr_t)o->vec : o;
    for (unsigned k = 0; k < (o->kind == O_VEC ? o->count : 1u); k++)
        if (element[k].kind == O_SINK)
            element[k].slot = slot & 0x7fffffff;
}

/* A pointer loaded from memory (a 64-bit integer from global or constant memory) that may end up in an address. Not
 * sensitive to the order of instructions, so it errs towards true. */
struct taint {
    bool *vreg;
    uint32_t *stack; /* registers whose readers are not looked at yet */
    size_t depth;
    struct mentions readers; /* instructions */
    uint32_t at;
};

static void visit_taint_read(struct operand *o, bool written, void *data) {
    struct taint *t = data;
    if (!written)
        mentions_add(&t->readers, o->slot, t->at);
}

static void visit_taint_write(struct operand *o, bool written, void *data) {
    struct taint *t = data;
    if (!written || o->width != 8 || t->vreg[o->slot])
        return;
    t->vreg[o->slot] = true;
    t->stack[t->depth++] = o->slot;
}

static bool loads_pointer(const struct insn *i) {
    bool memory = i->space == SPACE_GLOBAL || i->space == SPACE_GENERIC || i->space == SPACE_CONST;
    return i->op == OP_ld && memory && type_size((enum ptx_type)i->type[0]) == 8 && i->type[0] != T_F64;
}

static void spread_taint(struct liveness *l, struct taint *t) {
    for (t->at = 0; t->at < l->insns; t->at++) {
        struct insn *i = &l->code[t->at];
        if (loads_pointer(i))
            insn_each_register(i, visit_taint_write, t);
        if (i->op != OP_ld)
            insn_each_register(i, visit_taint_read, t);
    }
    mentions_sort(&t->readers, (uint32_t)l->f->vregs);
    while (t->depth) {
        const uint32_t v = t->stack[--t->depth];
        for (uint32_t k = t->readers.first[v]; k < t->readers.first[v + 1]; k++)
            insn_each_register(&l->code[t->readers.list[k].where], visit_taint_write, t);
    }
}

static bool finds_opaque(struct liveness *l) {
    const size_t vregs = l->f->vregs;
    struct taint t = {.vreg = xcalloc(vregs, sizeof(bool)), .stack = xcalloc(vregs, sizeof(uint32_t))};
    bool opaque = false;
    spread_taint(l, &t);
    for (uint32_t k = 0; k < l->insns; k++) {
        const struct insn *i = &l->code[k];
        bool local = i->space == SPACE_SHARED || i->space == SPACE_LOCAL || i->space == SPACE_PARAM;
        for (int s = 0; s < i->srcs && !local; s++)
            opaque |= i->src[s].kind == O_ADDRESS && i->src[s].bank == BANK_FRAME && t.vreg[i->src[s].slot];
        opaque |= l->f->calls && loads_pointer(i);
    }
    mentions_free(&t.readers);
    free(t.vreg);
    free(t.stack);
    return opaque;
}

/* The tensor core reads the registers of A until a wait that comes later: nobody else may have their slots, so that a
 * write to one is a write to that register (wgmma.c). */
static void keep_operands(struct liveness *l) {
    for (uint32_t k = 0; k < l->insns; k++) {
        const struct operand *a = &l->code[k].src[0];
        for (unsigned n = 0; l->code[k].op == OP_wgmma && a->kind == O_VEC && n < a->count; n++)
            if (a->vec[n].kind == O_REG) {
                l->start[a->vec[n].slot] = 0;
                l->end[a->vec[n].slot] = l->insns - 1;
            }
    }
}

void function_allocate_registers(struct sg_function *f) {
    struct liveness l = {.f = f, .code = f->module->code + f->first, .insns = f->end - f->first};
    l.start = xmalloc(f->vregs * sizeof *l.start);
    l.end = xmalloc(f->vregs * sizeof *l.end);
    memset(l.start, 0xff, f->vregs * sizeof *l.start);
    memset(l.end, 0xff, f->vregs * sizeof *l.end);
    f->opaque_pointers = finds_opaque(&l);
    find_blocks(&l);
    find_edges(&l);
    find_mentions(&l);
    extend_intervals(&l);
    keep_operands(&l);
    assign_slots(&l);
    for (uint32_t k = 0; k < l.insns; k++) {
        struct insn *i = &l.code[k];
        insn_each_register(i, visit_rewrite, f);
        i->guard_slot = i->guarded ? f->vreg[i->guard_slot].slot : 0;
        for (int d = 0; d < MAX_DST; d++)
            rewrite_sink(&i->dst[d], f->vreg[0].slot);
        for (int s = 0; s < MAX_SRC; s++)
            rewrite_sink(&i->src[s], f->vreg[0].slot);
    }
    mentions_free(&l.before);
    mentions_free(&l.used);
    mentions_free(&l.killed);
    free(l.node);
    free(l.block_of);
    free(l.start);
    free(l.end);
}

static void visit_rebase(struct operand *o, bool written, void *data) {
    (void)written;
    o->slot = (o->slot + *(const uint32_t *)data) & 0x7fffffff;
}

void function_rebase(struct sg_function *f) {
    for (uint32_t k = f->first; f->frame_base && k < f->end; k++) {
        struct insn *i = &f->module->code[k];
        insn_each_register(i, visit_rebase, &f->frame_base);
        i->guard_slot += f->frame_base;
        for (int d = 0; d < MAX_DST; d++)
            rewrite_sink(&i->dst[d], f->frame_base + f->sink_slot);
        for (int s = 0; s < MAX_SRC; s++)
            rewrite_sink(&i->src[s], f->frame_base + f->sink_slot);
    }
}
