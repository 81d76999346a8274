/* Values from memory that was never written. They may be loaded, moved and thrown away, as padding and rows that nobody
 * needs are; whoever computes with one, branches on it, takes it for an address or stores it to global memory is found.
 *
 * A load of such bytes notes them; then the registers of its lanes are poisoned, byte by byte, until something else is
 * written to them. While a warp has such registers, the scheduler asks about each instruction before it is executed
 * (poison_guard); no other warp pays for it. */
#include "memory.h"
#include "runtime/base/array.h"

#include <stdlib.h>
#include <string.h>

void poison_reset(struct warp *w) {
    w->own->poisons = w->own->unwrittens = 0;
}

void poison_free(struct warp *w) {
    free(w->own->poison);
    free(w->own->unwritten);
}

/* ---- what a load finds ---- */

void poison_note(struct warp *w, int lane, enum ptx_space space, uint64_t address, unsigned bytes) {
    struct warp_private *own = w->own;
    array_grow(&own->unwritten, &own->unwritten_capacity, own->unwrittens, sizeof *own->unwritten);
    own->unwritten[own->unwrittens++] =
        (struct unwritten){address, (uint8_t)bytes, (uint8_t)space, space == SPACE_LOCAL ? (int8_t)lane : (int8_t)-1};
}

static const struct unwritten *find_note(const struct warp *w, int lane, uint64_t address) {
    for (size_t k = 0; k < w->own->unwrittens; k++) {
        const struct unwritten *u = &w->own->unwritten[k];
        if ((u->lane < 0 || u->lane == lane) && address - u->address < u->bytes)
            return u;
    }
    return NULL;
}

/* ---- poisoned registers ---- */

static struct poison *find_poison(const struct warp *w, const struct operand *o) {
    if (o->bank != BANK_FRAME || (o->kind != O_REG && o->kind != O_ADDRESS))
        return NULL;
    for (size_t k = 0; k < w->own->poisons; k++)
        if (w->own->poison[k].slot == o->slot)
            return &w->own->poison[k];
    return NULL;
}

static uint16_t poison_of(const struct warp *w, const struct operand *o, int lane) {
    const struct poison *p = find_poison(w, o);
    return p ? p->bytes[lane] : 0;
}

/* Where a lane's poison is from. */
struct origin {
    uint32_t pc;
    uint8_t space;
    uint64_t address;
};

static void set_poison(struct warp *w, const struct operand *o, int lane, uint16_t bytes, struct origin from) {
    struct warp_private *own = w->own;
    struct poison *p = find_poison(w, o);
    if (!p && bytes) {
        array_grow(&own->poison, &own->poison_capacity, own->poisons, sizeof *own->poison);
        p = &own->poison[own->poisons++];
        *p = (struct poison){.slot = o->slot};
    }
    if (!p)
        return;
    p->bytes[lane] = bytes;
    if (bytes) {
        p->pc = from.pc;
        p->space = from.space;
        p->address[lane] = from.address;
        w->event = true; /* the scheduler asks again whether there is a guard */
    }
}

static void drop_clean(struct warp *w) {
    static const uint16_t clean[LANES];
    struct warp_private *own = w->own;
    size_t kept = 0;
    for (size_t k = 0; k < own->poisons; k++)
        if (memcmp(own->poison[k].bytes, clean, sizeof clean) != 0)
            own->poison[kept++] = own->poison[k];
    w->event |= own->poisons && !kept;
    own->poisons = kept;
}

static const struct operand *nth(const struct operand *o, unsigned k) {
    return o->kind == O_VEC ? &o->vec[k] : o;
}

static uint16_t low_bytes(unsigned count) {
    return (uint16_t)((1u << count) - 1);
}

/* Poison of a value of `from` bytes in a register of `to`: extended by its sign, which its highest byte has. */
static uint16_t extended(uint16_t bytes, unsigned from, unsigned to, bool is_signed) {
    const bool high = is_signed && from < to && (bytes >> (from - 1) & 1);
    return (uint16_t)((bytes & low_bytes(from < to ? from : to)) | (high ? low_bytes(to) & ~low_bytes(from) : 0));
}

void poison_load(struct warp *w, const struct insn *i, const struct access *x) {
    const bool is_signed = type_is_signed((enum ptx_type)i->type[0]) && !type_is_float((enum ptx_type)i->type[0]);
    for (unsigned k = 0; k < i->vec; k++) {
        const struct operand *o = nth(&i->dst[0], k);
        for (uint32_t rest = o->kind == O_REG ? x->exec : 0; rest; rest &= rest - 1) {
            const int lane = __builtin_ctz(rest);
            uint16_t bytes = 0;
            struct origin from = {.pc = w->pc - 1};
            for (unsigned b = 0; b < x->element; b++) {
                const uint64_t address = x->address[lane] + k * x->element + b;
                const struct unwritten *u = find_note(w, lane, address);
                if (u && !bytes) {
                    from.space = u->space;
                    from.address = address;
                }
                bytes |= (uint16_t)((u != NULL) << b);
            }
            set_poison(w, o, lane, extended(bytes, x->element, o->width, is_signed), from);
        }
    }
    w->own->unwrittens = 0;
}

void poison_matrices(struct warp *w, const struct insn *i, uint8_t *const *row) {
    if (!w->own->unwrittens)
        return;
    for (int j = 0; j < i->num; j++)
        for (int lane = 0; lane < LANES; lane++) {
            uint16_t bytes = 0;
            struct origin from = {.pc = w->pc - 1, .space = SPACE_SHARED};
            for (int b = 0; b < 4; b++) { /* transposed, a lane has one element of each of two rows */
                const bool turned = i->flags & F_TRANS;
                const int r = 8 * j + (turned ? lane % 4 * 2 + b / 2 : lane / 4);
                const uint64_t address =
                    (uint64_t)(row[r] - w->cta->shared) + (unsigned)(turned ? lane / 4 * 2 + b % 2 : lane % 4 * 4 + b);
                if (!find_note(w, lane, address))
                    continue;
                from.address = bytes ? from.address : address;
                bytes |= (uint16_t)(1 << b);
            }
            set_poison(w, nth(&i->dst[0], (unsigned)j), lane, bytes, from);
        }
    w->own->unwrittens = 0;
}

/* ---- stores of poison: what it was stored to has no value either ---- */

void poison_store(struct cta *c, struct warp *w, const struct insn *i, const struct access *x, enum ptx_space space) {
    for (unsigned k = 0; k < i->vec; k++) {
        const struct operand *o = nth(&i->src[1], k);
        for (uint32_t rest = find_poison(w, o) ? x->exec : 0; rest; rest &= rest - 1) {
            const int lane = __builtin_ctz(rest);
            const uint16_t bytes = poison_of(w, o, lane) & low_bytes(x->element);
            for (unsigned b = 0, run; b < x->element; b += run) {
                const uint64_t address = x->address[lane] + k * x->element + b;
                run = address % 4 == 0 && (bytes >> b & 15) == 15 ? 4 : 1;
                if (!(bytes >> b & 1))
                    continue;
                if (space == SPACE_LOCAL)
                    local_mark(w, lane, address, run, false);
                else if (c->shadow)
                    shadow_access_in(c, w, i, lane, (uint32_t)address, run, USE_FORGET);
            }
        }
    }
}

/* ---- instructions ---- */

static bool report(struct warp *w, const struct insn *i, int lane, const struct poison *p, const char *how) {
    static const char *const names[] = {[SPACE_SHARED] = "shared", [SPACE_LOCAL] = "local", [SPACE_GLOBAL] = "global"};
    return warp_check(w, i, lane, SG_CHECK_UNINITIALIZED,
                      "%s 0x%llx was never written; PTX line %u loaded it, and this %s it", names[p->space],
                      (unsigned long long)p->address[lane], run_of(w)->module->code[p->pc].line, how);
}

/* Does it matter what the register holds? */
static bool use_register(struct warp *w, const struct insn *i, const struct operand *o) {
    for (unsigned k = 0; o->kind == O_VEC && k < o->count; k++)
        if (!use_register(w, i, &o->vec[k]))
            return false;
    const struct poison *p = find_poison(w, o);
    for (uint32_t rest = p ? w->exec : 0; rest; rest &= rest - 1) {
        const int lane = __builtin_ctz(rest);
        if (p->bytes[lane])
            return report(w, i, lane, p, "uses");
    }
    return true;
}

static bool is_global(const struct warp *w, const struct insn *i, int lane) {
    return i->space == SPACE_GLOBAL ||
           (i->space == SPACE_GENERIC && (lane_address(w, &i->src[0], lane) & WINDOW_MASK) != SHARED_WINDOW &&
            (lane_address(w, &i->src[0], lane) & WINDOW_MASK) != LOCAL_WINDOW);
}

/* A value goes to global memory. If a part of it was written, the rest may be padding. */
static bool store_value(struct warp *w, const struct insn *i) {
    for (unsigned k = 0; k < i->vec; k++) {
        const struct operand *o = nth(&i->src[1], k);
        const struct poison *p = find_poison(w, o);
        for (uint32_t rest = p ? w->exec : 0; rest; rest &= rest - 1) {
            const int lane = __builtin_ctz(rest);
            if ((p->bytes[lane] & low_bytes(i->element)) == low_bytes(i->element) && is_global(w, i, lane))
                return report(w, i, lane, p, "stores");
        }
    }
    return true;
}

/* The bytes of a result that are those of one source: what instructions do that only move bytes. */
static uint16_t moved_bytes(const struct warp *w, const struct insn *i, int lane) {
    const uint16_t a = poison_of(w, &i->src[0], lane), b = poison_of(w, &i->src[1], lane);
    uint16_t out = 0;
    switch (i->op) {
    case OP_selp:
        return src_pred(w, &i->src[2]) >> lane & 1 ? a : b;
    case OP_cvt:
        return extended(a, type_size((enum ptx_type)i->type[1]), i->dst[0].width,
                        type_is_signed((enum ptx_type)i->type[1]));
    case OP_and:
        for (unsigned k = 0; k < i->dst[0].width; k++)
            out |= (uint16_t)((a >> k & 1 && i->src[1].imm >> (8 * k) & 255) << k);
        return out;
    case OP_prmt:
        for (unsigned k = 0; k < 4; k++)
            out |= (uint16_t)(((a | b << 4) >> (i->src[2].imm >> (4 * k) & 7) & 1) << k);
        return out;
    default:
        return a;
    }
}

static bool is_integer_type(unsigned type) {
    return !type_is_float((enum ptx_type)type) && type_size((enum ptx_type)type);
}

/* Moves bytes, of the sources up to this number; 0: it does more than that. */
static int moves_bytes(const struct insn *i) {
    switch (i->op) {
    case OP_mov:
        return i->src[0].kind == O_REG || i->src[0].kind == O_VEC;
    case OP_selp:
        return 2;
    case OP_cvt:
        return i->types == 2 && is_integer_type(i->type[0]) && is_integer_type(i->type[1]) && !(i->flags & F_SAT);
    case OP_and:
        return i->src[1].kind == O_IMM;
    case OP_prmt:
        return i->src[2].kind == O_IMM && i->sub == SUB_NONE ? 2 : 0;
    default:
        return 0;
    }
}

static struct origin origin_of(const struct warp *w, const struct insn *i, int lane) {
    for (int k = 0; k < i->srcs; k++)
        for (unsigned n = 0; n < (i->src[k].kind == O_VEC ? i->src[k].count : 1u); n++) {
            const struct poison *p = find_poison(w, nth(&i->src[k], n));
            if (p && p->bytes[lane])
                return (struct origin){p->pc, p->space, p->address[lane]};
        }
    return (struct origin){0};
}

/* mov.b64 d, {a, b}; mov.b64 {d, e}, a; and all else that has one result. */
static void move_poison(struct warp *w, const struct insn *i, int lane) {
    const struct origin from = origin_of(w, i, lane);
    const struct operand *d = &i->dst[0], *s = &i->src[0];
    uint64_t all = 0;
    unsigned at = 0;
    for (unsigned n = 0; s->kind == O_VEC && n < s->count; at += s->vec[n++].width)
        all |= (uint64_t)poison_of(w, &s->vec[n], lane) << at;
    if (s->kind != O_VEC)
        all = moved_bytes(w, i, lane);
    at = 0;
    for (unsigned n = 0; n < (d->kind == O_VEC ? d->count : 1u); n++) {
        const struct operand *o = nth(d, n);
        const unsigned width = d->kind == O_VEC && o->kind != O_REG ? s->width / d->count : o->width;
        if (o->kind == O_REG)
            set_poison(w, o, lane, (uint16_t)(all >> at & low_bytes(width)), from);
        at += width;
    }
}

static void overwrite(struct warp *w, const struct operand *o) {
    for (unsigned k = 0; o->kind == O_VEC && k < o->count; k++)
        overwrite(w, &o->vec[k]);
    struct poison *p = o->kind == O_REG ? find_poison(w, o) : NULL;
    for (int lane = 0; p && lane < LANES; lane++)
        p->bytes[lane] = w->exec >> lane & 1 ? 0 : p->bytes[lane];
}

void poison_guard(struct warp *w, const struct insn *i) {
    const int moved = moves_bytes(i);
    for (int k = moved; k < i->srcs; k++) {
        const bool value = i->op == OP_st && k == 1;
        if (value ? !store_value(w, i) : !use_register(w, i, &i->src[k]))
            return;
    }
    for (uint32_t rest = moved ? w->exec : 0; rest; rest &= rest - 1)
        move_poison(w, i, __builtin_ctz(rest));
    for (int k = moved != 0; k < i->dsts; k++)
        overwrite(w, &i->dst[k]);
    drop_clean(w);
}
