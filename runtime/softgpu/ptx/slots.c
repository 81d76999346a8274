/* Places for registers: PTX names a new register for nearly every value, so a frame with one slot each would not stay
 * in the caches. Liveness by dataflow gives every register one interval of instructions; registers of the same width
 * whose intervals do not meet share a slot. Slots of different widths never overlap: the lanes of a warp may be at
 * different instructions, and lane n of a wide slot must not be lane m of a narrow one. */
#include "parser.h"
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

struct block {
    uint32_t first, end;
    uint64_t *in, *out, *kill;
};

struct liveness {
    struct sg_function *f;
    struct insn *code; /* of the function: index 0 is its first */
    uint32_t insns;
    struct block *block;
    uint32_t blocks;
    uint32_t *block_of;         /* instruction -> block */
    uint32_t words;             /* of a set */
    uint32_t *start, *end;      /* per register: the interval */
    uint64_t *exposed, *killed; /* of the block at hand; exposed: used before it is written */
    uint32_t at;
    bool guarded;
};

static bool set_has(const uint64_t *set, uint32_t k) {
    return set[k / 64] >> (k % 64) & 1;
}

static void set_add(uint64_t *set, uint32_t k) {
    set[k / 64] |= 1ull << (k % 64);
}

static bool ends_block(const struct insn *i) {
    return i->op == OP_bra || i->op == OP_brx || i->op == OP_exit || i->op == OP_ret || i->op == OP_trap;
}

static void find_blocks(struct liveness *l) {
    uint8_t *leader = xcalloc(l->insns + 1, 1);
    const struct sg_module *m = l->f->module;
    leader[0] = 1;
    for (uint32_t k = 0; k < l->insns; k++) {
        const struct insn *i = &l->code[k];
        if (i->op == OP_bra)
            leader[i->src[0].imm - l->f->first] = 1;
        for (uint32_t t = 0; i->op == OP_brx && t < i->aux[1]; t++)
            leader[m->targets[i->aux[0] + t] - l->f->first] = 1;
        if (ends_block(i))
            leader[k + 1] = 1;
    }
    for (uint32_t k = 0; k < l->insns; k++)
        l->blocks += leader[k];
    l->block = xcalloc(l->blocks + 1, sizeof *l->block);
    l->block_of = xcalloc(l->insns + 1, sizeof *l->block_of);
    uint32_t b = 0;
    for (uint32_t k = 0; k < l->insns; k++) {
        if (leader[k])
            l->block[b++].first = k;
        l->block[b - 1].end = k + 1;
        l->block_of[k] = b - 1;
    }
    free(leader);
}

static void visit_exposed(struct operand *o, bool written, void *data) {
    struct liveness *l = data;
    uint32_t v = o->slot;
    if (!written && !set_has(l->killed, v))
        set_add(l->exposed, v);
    /* A guarded write leaves the old value in some lanes. */
    if (written && !l->guarded)
        set_add(l->killed, v);
    if (written && l->guarded && !set_has(l->killed, v))
        set_add(l->exposed, v);
    if (l->at < l->start[v])
        l->start[v] = l->at;
    if (l->at > l->end[v] || l->end[v] == UINT32_MAX)
        l->end[v] = l->at;
}

static void visit_guard(struct liveness *l, struct insn *i) {
    struct operand guard = {.kind = O_PRED, .slot = i->guard_slot & 0x7fffffff};
    if (i->guarded)
        visit_exposed(&guard, false, l);
}

static void local_sets(struct liveness *l) {
    for (uint32_t b = 0; b < l->blocks; b++) {
        struct block *block = &l->block[b];
        block->in = xcalloc(3 * (size_t)l->words, sizeof *block->in);
        block->out = block->in + l->words;
        block->kill = block->out + l->words;
        l->exposed = block->in;
        l->killed = block->kill;
        for (l->at = block->first; l->at < block->end; l->at++) {
            struct insn *i = &l->code[l->at];
            l->guarded = i->guarded || i->op == OP_wgmma; /* wgmma adds to its accumulators */
            visit_guard(l, i);
            insn_each_register(i, visit_exposed, l);
        }
    }
}

static bool flow_from(struct liveness *l, struct block *block, uint32_t successor) {
    bool changed = false;
    const struct block *next = &l->block[successor];
    for (uint32_t w = 0; w < l->words; w++) {
        uint64_t out = block->out[w] | next->in[w], in = block->in[w] | (out & ~block->kill[w]);
        changed |= in != block->in[w] || out != block->out[w];
        block->out[w] = out;
        block->in[w] = in;
    }
    return changed;
}

static bool flow_block(struct liveness *l, uint32_t b) {
    struct block *block = &l->block[b];
    const struct insn *last = &l->code[block->end - 1];
    bool changed = false;
    if (last->op == OP_bra)
        changed |= flow_from(l, block, l->block_of[last->src[0].imm - l->f->first]);
    for (uint32_t t = 0; last->op == OP_brx && t < last->aux[1]; t++)
        changed |= flow_from(l, block, l->block_of[l->f->module->targets[last->aux[0] + t] - l->f->first]);
    if ((!ends_block(last) || last->guarded) && block->end < l->insns)
        changed |= flow_from(l, block, b + 1);
    return changed;
}

static void extend_intervals(struct liveness *l) {
    for (uint32_t b = 0; b < l->blocks; b++) {
        const struct block *block = &l->block[b];
        for (uint32_t w = 0; w < l->words; w++) {
            for (uint64_t live = block->in[w]; live; live &= live - 1) {
                uint32_t v = w * 64 + (uint32_t)__builtin_ctzll(live);
                l->start[v] = block->first < l->start[v] ? block->first : l->start[v];
                l->end[v] = l->end[v] == UINT32_MAX || block->first > l->end[v] ? block->first : l->end[v];
            }
            for (uint64_t live = block->out[w]; live; live &= live - 1) {
                uint32_t v = w * 64 + (uint32_t)__builtin_ctzll(live), last = block->end - 1;
                l->start[v] = last < l->start[v] ? last : l->start[v];
                l->end[v] = l->end[v] == UINT32_MAX || last > l->end[v] ? last : l->end[v];
            }
        }
    }
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
    bool *vreg, source, reads, changed;
};

static void visit_taint_read(struct operand *o, bool written, void *data) {
    struct taint *t = data;
    t->reads |= !written && t->vreg[o->slot];
}

static void visit_taint_write(struct operand *o, bool written, void *data) {
    struct taint *t = data;
    if (written && o->width == 8 && !t->vreg[o->slot])
        t->vreg[o->slot] = t->changed = true;
}

static bool loads_pointer(const struct insn *i) {
    bool memory = i->space == SPACE_GLOBAL || i->space == SPACE_GENERIC || i->space == SPACE_CONST;
    return i->op == OP_ld && memory && type_size((enum ptx_type)i->type[0]) == 8 && i->type[0] != T_F64;
}

static bool finds_opaque(struct liveness *l) {
    struct taint t = {.vreg = xcalloc(l->f->vregs, sizeof(bool)), .changed = true};
    bool opaque = false;
    while (t.changed) {
        t.changed = false;
        for (uint32_t k = 0; k < l->insns; k++) {
            struct insn *i = &l->code[k];
            t.reads = false;
            insn_each_register(i, visit_taint_read, &t);
            bool local = i->space == SPACE_SHARED || i->space == SPACE_LOCAL || i->space == SPACE_PARAM;
            for (int s = 0; s < i->srcs; s++)
                opaque |=
                    !local && i->src[s].kind == O_ADDRESS && i->src[s].bank == BANK_FRAME && t.vreg[i->src[s].slot];
            if (loads_pointer(i) || (t.reads && i->op != OP_ld))
                insn_each_register(i, visit_taint_write, &t);
            opaque |= l->f->calls && loads_pointer(i);
        }
    }
    free(t.vreg);
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
    l.words = (uint32_t)(f->vregs + 63) / 64;
    l.start = xmalloc(f->vregs * sizeof *l.start);
    l.end = xmalloc(f->vregs * sizeof *l.end);
    memset(l.start, 0xff, f->vregs * sizeof *l.start);
    memset(l.end, 0xff, f->vregs * sizeof *l.end);
    f->opaque_pointers = finds_opaque(&l);
    find_blocks(&l);
    local_sets(&l);
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t b = l.blocks; b-- > 0;)
            changed |= flow_block(&l, b);
    }
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
    for (uint32_t b = 0; b < l.blocks; b++)
        free(l.block[b].in);
    free(l.block);
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
