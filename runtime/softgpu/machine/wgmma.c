/* wgmma: the asynchronous multiplications of a warp group, each warp doing its 16 of the 64 rows.
 *
 * The sums are formed at issue. What asynchrony allows to go wrong is watched: accumulators and the registers of A
 * belong to the tensor core until the wait that covers their group, nobody touches them between a wgmma.fence and the
 * wgmma, and the B tile in shared memory is read once more at that wait, so that whoever overwrites it too early is
 * found. The four warps of a group must do the same in the same order. */
#include "parts.h"
#include "runtime/base/array.h"
#include "runtime/base/str.h"
#include "runtime/softgpu/op/lanes.h"
#include "runtime/softgpu/op/numeric.h"

#include <stdio.h>
#include <stdlib.h>

enum { K_BYTES = 32, LINE = 64, MAX_N = 256 };
_Static_assert(MAX_N / 2 <= UINT8_MAX, "operand.count holds every number of accumulators");

/* The B tile of an instruction under way: where each row of K_BYTES is, and what it held. */
struct wgmma_read {
    uint32_t group, pc;
    uint64_t descriptor;
    uint32_t rows;
    uint64_t hash;
};

void wgmma_reset(struct warp *w, size_t frame_bytes) {
    struct wgmma_state *s = &w->own->wgmma;
    s->fenced = false;
    s->fences = s->open = s->pending = s->committed = 0;
    s->reads = 0;
    s->steps = 0;
    if (s->line)
        memset(s->line, 0, (frame_bytes / LINE + 1) * sizeof *s->line);
}

void wgmma_free(struct warp *w) {
    free(w->own->wgmma.line);
    free(w->own->wgmma.read);
}

/* ---- B in shared memory: PTX ISA, "Matrix Descriptor Format" ---- */

struct layout {
    uint32_t start, leading, stride; /* bytes */
    unsigned width;                  /* of a swizzled row: 128, 64, 32; 16: no swizzle */
};

static bool read_layout(struct warp *w, const struct insn *i, uint64_t descriptor, struct layout *l) {
    static const unsigned widths[] = {16, 128, 64, 32};
    *l = (struct layout){.start = (uint32_t)(descriptor & 0x3fff) << 4,
                         .leading = (uint32_t)(descriptor >> 16 & 0x3fff) << 4,
                         .stride = (uint32_t)(descriptor >> 32 & 0x3fff) << 4,
                         .width = widths[descriptor >> 62]};
    if (descriptor >> 49 & 7) {
        warp_fault(w, i, -1, SG_FAULT_UNSUPPORTED, "a matrix descriptor with a base offset (0x%llx)",
                   (unsigned long long)descriptor);
        return false;
    }
    /* Rows lie in groups of 8; the pattern of a swizzle repeats after 8 rows, so groups must start at its multiples. */
    if (l->width > 16 && (l->stride % (8 * l->width) || (l->start % (8 * l->width)) + K_BYTES > l->width)) {
        warp_fault(w, i, -1, SG_FAULT_ASYNC,
                   "a matrix descriptor of %u-byte swizzle with start 0x%x and %u bytes between groups of 8 rows; both "
                   "must be "
                   "multiples of %u, but for the offset along k",
                   l->width, l->start, l->stride, 8 * l->width);
        return false;
    }
    return true;
}

/* Shared address of 16 bytes: half 0 or 1 of the 32 bytes along k of row n. */
static uint32_t row_address(const struct layout *l, unsigned n, unsigned half) {
    if (l->width == 16)
        return l->start + half * l->leading + n / 8 * l->stride + n % 8 * 16;
    uint32_t address = l->start + n / 8 * l->stride + n % 8 * l->width + half * 16;
    return address ^ ((address >> 7 & (l->width / 16 - 1)) << 4);
}

/* Copies the tile [n][K_BYTES] out of shared memory. */
static bool copy_tile(struct warp *w, const struct insn *i, const struct layout *l, unsigned rows, uint8_t *tile) {
    for (unsigned n = 0; n < rows; n++)
        for (unsigned half = 0; half < 2; half++) {
            uint32_t address = row_address(l, n, half);
            if (address + 16 > w->cta->shared_bytes) {
                warp_fault(w, i, -1, SG_FAULT_OUT_OF_BOUNDS, "row %u of B lies at shared 0x%x of %u bytes", n, address,
                           w->cta->shared_bytes);
                return false;
            }
            memcpy(tile + n * K_BYTES + half * 16, w->cta->shared + address, 16);
        }
    return true;
}

/* The tensor core reads the tile now. */
static bool watch_tile(struct warp *w, const struct insn *i, const struct layout *l, unsigned rows) {
    for (unsigned n = 0; n < rows; n++)
        for (unsigned half = 0; half < 2; half++)
            if (!shadow_access(w, i, -1, row_address(l, n, half), 16, USE_PROXY_READ))
                return false;
    return true;
}

static uint64_t hash_tile(const uint8_t *tile, size_t bytes) { /* FNV-1a over words */
    uint64_t hash = 0xcbf29ce484222325ull, word;
    for (size_t k = 0; k < bytes; k += sizeof word) {
        memcpy(&word, tile + k, sizeof word);
        hash = (hash ^ word) * 0x100000001b3ull;
    }
    return hash;
}

/* ---- registers under way ---- */

static struct wgmma_register *register_of(const struct wgmma_state *s, const struct operand *o) {
    return &s->line[o->slot / LINE];
}

/* Writes matter more than reads: a register of A may be read. */
static void note_access(struct warp *w, struct wgmma_register *r, bool written) {
    const uint32_t fences = w->own->wgmma.fences;
    if (!written && r->fences == fences)
        return;
    r->fences = fences;
    r->pc = w->pc - 1;
    r->lane = (uint8_t)__builtin_ctz(w->exec);
    r->written = written;
}

static void mark(struct wgmma_state *s, uint32_t *group) {
    s->pending += *group == 0;
    *group = s->committed + 1;
}

static void mark_registers(struct warp *w, const struct insn *i) {
    struct wgmma_state *s = &w->own->wgmma;
    for (int k = 0; k < i->dst[0].count; k++) {
        struct wgmma_register *r = register_of(s, &i->dst[0].vec[k]);
        mark(s, &r->sum);
        note_access(w, r, true);
    }
    for (int k = 0; k < i->src[0].count; k++)
        mark(s, &register_of(s, &i->src[0].vec[k])->operand);
}

struct guard_check {
    struct warp *w;
    const struct insn *i;
    bool bad;
};

static void check_operand(struct guard_check *g, const struct operand *o, bool written) {
    for (unsigned k = 0; o->kind == O_VEC && k < o->count; k++)
        check_operand(g, &o->vec[k], written);
    if (o->bank != BANK_FRAME || (o->kind != O_REG && o->kind != O_ADDRESS))
        return;
    struct wgmma_register *r = register_of(&g->w->own->wgmma, o);
    if (written && r->operand) {
        g->bad = true;
        warp_fault(g->w, g->i, -1, SG_FAULT_ASYNC,
                   "writes a register of A of a wgmma that is still under way (no wgmma.wait_group covers it)");
    }
    if (r->sum) {
        g->bad = true;
        warp_fault(g->w, g->i, -1, SG_FAULT_ASYNC,
                   "%s an accumulator of a wgmma that is still under way (no wgmma.wait_group covers it)",
                   written ? "writes" : "reads");
    }
    note_access(g->w, r, written);
}

void wgmma_guard(struct warp *w, const struct insn *i) {
    struct guard_check g = {.w = w, .i = i};
    const bool own = i->op == OP_wgmma; /* is_fenced() looks at its accumulators */
    for (int k = 0; k < (own ? 1 : i->srcs) && !g.bad; k++)
        check_operand(&g, &i->src[k], false);
    for (int k = 0; k < (own ? 0 : i->dsts) && !g.bad; k++)
        check_operand(&g, &i->dst[k], true);
}

/* ---- registers and wgmma.fence: PTX ISA, "wgmma.fence" ---- */

/* Element k of the n-th vector of an instruction as it is written. */
static void register_name(const struct insn *i, int n, int k, char name[32]) {
    const char *at = i->text;
    for (; n >= 0 && at; n--)
        at = strchr(at, '{') ? strchr(at, '{') + 1 : NULL;
    for (; k > 0 && at; k--)
        at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL;
    at = at ? at + strspn(at, " \t\n") : "";
    snprintf(name, 32, "%.*s", (int)strcspn(at, ",} \t\n"), at);
}

static bool blame_access(struct warp *w, const struct insn *i, const struct wgmma_register *r, bool is_sum, int k) {
    const struct insn *other = &run_of(w)->module->code[r->pc];
    char name[32];
    register_name(i, is_sum ? 0 : 1, k, name);
    warp_fault(
        w, i, r->lane, SG_FAULT_ASYNC, "%s %s was %s by PTX line %u '%.80s', and no wgmma.fence lies between the two",
        is_sum ? "accumulator" : "register of A", name, r->written ? "written" : "read", other->line, other->text);
    return false;
}

/* A wgmma.fence must lie between any access to an accumulator, or a write to a register of A, and the wgmma that uses
 * it, whether that adds to the accumulator or overwrites it. But wgmma of one shape may follow each other on the same
 * accumulators. */
static bool is_fenced(struct warp *w, const struct insn *i) {
    const struct wgmma_state *s = &w->own->wgmma;
    if (!s->fenced) {
        warp_fault(w, i, -1, SG_FAULT_ASYNC, "no wgmma.fence since its registers may have changed");
        return false;
    }
    const struct insn *code = run_of(w)->module->code;
    for (int k = 0; k < i->dst[0].count; k++) {
        const struct wgmma_register *r = register_of(s, &i->dst[0].vec[k]);
        if (r->fences == s->fences && (code[r->pc].op != OP_wgmma || code[r->pc].shape[1] != i->shape[1]))
            return blame_access(w, i, r, true, k);
    }
    for (int k = 0; k < i->src[0].count; k++) {
        const struct wgmma_register *r = register_of(s, &i->src[0].vec[k]);
        if (r->fences == s->fences && r->written)
            return blame_access(w, i, r, false, k);
    }
    return true;
}

/* ---- the four warps of a group ---- */

enum { WARPS = 4, LOG_MOST = 1024 };

void group_reset(struct cta *c) {
    for (int k = 0; k < MAX_WARPS / WARPS; k++)
        c->group[k].count = c->group[k].first = 0;
    c->pool = 0;
}

void group_free(struct cta *c) {
    for (int k = 0; k < MAX_WARPS / WARPS; k++)
        free(c->group[k].pc);
}

/* The warp of the group that has done least. */
static struct warp *last_of(struct cta *c, int group) {
    struct warp *last = &c->warp[group * WARPS];
    for (struct warp *w = last; w < &c->warp[group * WARPS + WARPS]; w++)
        last = w->own->wgmma.steps < last->own->wgmma.steps ? w : last;
    return last;
}

bool group_step(struct warp *w, const struct insn *i) {
    struct cta *c = w->cta;
    const int group = w->index / WARPS;
    struct group_log *log = &c->group[group];
    if (group * WARPS + WARPS > c->warps) {
        warp_fault(w, i, -1, SG_FAULT_ASYNC, "a warp group has %d warps, and of this one there are only %d", WARPS,
                   c->warps - group * WARPS);
        return false;
    }
    const uint64_t at = w->own->wgmma.steps++ - log->first;
    if (at < log->count) {
        const uint32_t line = run_of(w)->module->code[log->pc[at]].line;
        if (log->pc[at] == w->pc - 1)
            return true;
        warp_fault(w, i, -1, SG_FAULT_ASYNC,
                   "another warp of its warp group executes PTX line %u in its place: all four must do the same", line);
        return false;
    }
    if (log->count >= LOG_MOST) {
        const uint64_t done = last_of(c, group)->own->wgmma.steps - log->first;
        log->first += done;
        log->count -= done;
        memmove(log->pc, log->pc + done, log->count * sizeof *log->pc);
    }
    array_grow(&log->pc, &log->capacity, log->count, sizeof *log->pc);
    log->pc[log->count++] = w->pc - 1;
    return true;
}

void group_end(struct cta *c) {
    for (int k = 0; k < c->warps / WARPS; k++) {
        struct warp *last = last_of(c, k);
        const struct group_log *log = &c->group[k];
        const uint64_t at = last->own->wgmma.steps - log->first;
        if (at < log->count)
            warp_fault(last, &c->run->module->code[log->pc[at]], -1, SG_FAULT_ASYNC,
                       "this warp has ended without it, and others of its warp group have executed it");
    }
}

/* ---- instructions ---- */

void wgmma_fence_op(struct warp *w, const struct insn *i) {
    struct wgmma_state *s = &w->own->wgmma;
    if (!s->line)
        s->line = xcalloc(w->cta->frame_stride / LINE + 1, sizeof *s->line);
    s->fenced |= group_step(w, i);
    s->fences++;
    w->event = true; /* the scheduler asks again whether registers are watched */
}

void wgmma_commit_op(struct warp *w, const struct insn *i) {
    if (!group_step(w, i))
        return;
    w->own->wgmma.committed++;
    w->own->wgmma.open = 0;
}

/* What a group read has not changed since, and nobody may have begun to change it: it is read up to here. */
static bool still_there(struct warp *w, const struct wgmma_read *r) {
    uint8_t tile[MAX_N * K_BYTES];
    const struct insn *i = &run_of(w)->module->code[r->pc];
    struct layout l;
    if (!read_layout(w, i, r->descriptor, &l) || !copy_tile(w, i, &l, r->rows, tile))
        return false;
    if (hash_tile(tile, r->rows * K_BYTES) == r->hash)
        return watch_tile(w, i, &l, r->rows);
    warp_fault(w, i, -1, SG_FAULT_ASYNC, "its B tile in shared memory was overwritten before wgmma.wait_group");
    return false;
}

static void release(struct wgmma_state *s, uint32_t *group, uint32_t done) {
    if (*group && *group <= done) {
        *group = 0;
        s->pending--;
    }
}

/* All but the last n committed groups are done. */
void wgmma_wait_op(struct warp *w, const struct insn *i) {
    struct wgmma_state *s = &w->own->wgmma;
    uint32_t keep = (uint32_t)i->src[0].imm, done = s->committed > keep ? s->committed - keep : 0;
    size_t kept = 0;
    if (!group_step(w, i))
        return;
    for (size_t k = 0; k < s->reads; k++) {
        if (s->read[k].group >= done)
            s->read[kept++] = s->read[k];
        else if (is_strict(w) && !still_there(w, &s->read[k]))
            return;
    }
    s->reads = kept;
    for (size_t k = 0; s->pending && k < w->cta->frame_stride / LINE + 1; k++) {
        release(s, &s->line[k].sum, done);
        release(s, &s->line[k].operand, done);
    }
    s->fenced = false;
    w->event = true;
}

static void multiply(struct warp *w, const struct insn *i, const uint8_t *tile, bool accumulate) {
    static const int32_t zeros[LANES];
    const struct mma_shape shape = shape_of(i);
    const uint32_t *a[4];
    for (int k = 0; k < 4; k++)
        a[k] = src_lanes(w, &i->src[0].vec[k]);
    for (int n = 0; n < i->shape[1]; n += 8) {
        uint32_t b[2][LANES];
        const uint32_t *columns[2] = {b[0], b[1]};
        const int32_t *c[4];
        int32_t *d[4];
        for (int row = 0; row < 8; row++) {
            memcpy((uint8_t *)b[0] + row * 16, tile + (n + row) * K_BYTES, 16);
            memcpy((uint8_t *)b[1] + row * 16, tile + (n + row) * K_BYTES + 16, 16);
        }
        for (int k = 0; k < 4; k++) {
            d[k] = dst_lanes(w, &i->dst[0].vec[n / 2 + k]);
            c[k] = accumulate ? d[k] : zeros;
        }
        mma_int(&shape, a, columns, c, d);
    }
}

/* Every thread must give the same descriptor and the same choice whether to add. */
static bool is_uniform(struct warp *w, const struct insn *i) {
    const uint64_t *descriptor = src_lanes(w, &i->src[1]);
    const uint32_t adds = src_pred(w, &i->src[2]);
    for (int lane = 1; lane < LANES; lane++)
        if (descriptor[lane] != descriptor[0] || (adds >> lane & 1) != (adds & 1)) {
            warp_fault(w, i, lane, SG_FAULT_ASYNC, "its descriptor or scale-d differs from that of lane 0");
            return false;
        }
    return true;
}

/* wgmma.mma_async: D, A (registers), descriptor of B, whether to add to D */
void wgmma_mma_op(struct warp *w, const struct insn *i) {
    struct wgmma_state *s = &w->own->wgmma;
    uint8_t tile[MAX_N * K_BYTES];
    const unsigned rows = i->shape[1];
    struct layout l;
    if (!lanes_whole(w, i) || !is_uniform(w, i) || !group_step(w, i))
        return;
    if (!is_fenced(w, i))
        return;
    const uint64_t descriptor = *(const uint64_t *)src_lanes(w, &i->src[1]);
    if (!read_layout(w, i, descriptor, &l) || !copy_tile(w, i, &l, rows, tile) ||
        (is_strict(w) && !watch_tile(w, i, &l, rows)))
        return;
    multiply(w, i, tile, src_pred(w, &i->src[2]) & 1);
    mark_registers(w, i);
    if (is_strict(w)) {
        array_grow(&s->read, &s->read_capacity, s->reads, sizeof *s->read);
        s->read[s->reads++] =
            (struct wgmma_read){s->committed, w->pc - 1, descriptor, rows, hash_tile(tile, rows * K_BYTES)};
    }
    s->open++;
    w->count.mma_ops_int8 += 16ull * rows * 32;
    if (w->index % 4 == 0) /* B is read once for the four warps of the group */
        w->count.shared_wavefronts += rows * K_BYTES / 128;
    w->event = true;
}

bool wgmma_bind(struct insn *i) {
    const unsigned n = i->shape[1];
    bool known = true;
    switch (i->sub) {
    case SUB_FENCE:
        i->run = wgmma_fence_op;
        break;
    case SUB_COMMIT_GROUP:
        i->run = wgmma_commit_op;
        break;
    case SUB_WAIT_GROUP:
        i->run = wgmma_wait_op;
        known = i->srcs == 1 && i->src[0].kind == O_IMM;
        break;
    default:
        i->run = wgmma_mma_op;
        shape_keep(i, (struct mma_shape){.m = 16, /* of each of the four warps */
                                         .k = 32,
                                         .a = i->type[1],
                                         .b = i->type[2],
                                         .saturate = (i->flags & F_SATFINITE) != 0});
        known = i->sub == SUB_MMA && i->types == 3 && i->type[0] == T_S32 &&
                (i->type[1] == T_S8 || i->type[1] == T_U8) && (i->type[2] == T_S8 || i->type[2] == T_U8) &&
                i->shape[0] == 64 && i->shape[2] == 32 && (n == 8 || n == 24 || (n % 16 == 0 && n <= MAX_N)) &&
                i->srcs == 3 && i->dst[0].kind == O_VEC && i->dst[0].count == n / 2 && i->src[0].kind == O_VEC &&
                i->src[0].count == 4 && i->src[1].width == 8 && i->src[2].kind == O_PRED;
        break;
    }
    return known && !(i->flags & ~(F_SYNC | F_ALIGNED | F_SATFINITE));
}
