/* wgmma: the asynchronous multiplications of a warp group, each warp doing its 16 of the 64 rows.
 *
 * The sums are formed at issue. What asynchrony allows to go wrong is watched: accumulators and the registers of A
 * belong to the tensor core until the wait that covers their group, nobody touches them between a wgmma.fence and the
 * wgmma, and the tiles in shared memory are read once more at that wait, so that whoever overwrites them too early is
 * found (wgmma_operand.c). The four warps of a group must do the same in the same order. */
#include "parts.h"
#include "runtime/base/array.h"
#include "runtime/base/str.h"
#include "runtime/softgpu/op/lanes.h"
#include "runtime/softgpu/op/numeric.h"

#include <stdio.h>
#include <stdlib.h>

enum { LINE = 64, WARPS = 4, WARP_ROWS = 16 };
_Static_assert(WGMMA_MAX_N / 2 <= UINT8_MAX, "operand.count holds every number of accumulators");

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
    wgmma_operand_free(w);
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
    if (written && r->operand &&
        !warp_check(g->w, g->i, -1, SG_CHECK_WGMMA_WAIT,
                    "writes a register of A of a wgmma that is still under way (no wgmma.wait_group covers it)"))
        g->bad = true;
    if (r->sum && !warp_check(g->w, g->i, -1, SG_CHECK_WGMMA_WAIT,
                              "%s an accumulator of a wgmma that is still under way (no wgmma.wait_group covers it)",
                              written ? "writes" : "reads"))
        g->bad = true;
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
    return warp_check(w, i, r->lane, SG_CHECK_WGMMA_FENCE,
                      "%s %s was %s by PTX line %u '%.80s', and no wgmma.fence lies between the two",
                      is_sum ? "accumulator" : "register of A", name, r->written ? "written" : "read", other->line,
                      other->text);
}

/* A wgmma.fence must lie between any access to an accumulator, or a write to a register of A, and the wgmma that uses
 * it, whether that adds to the accumulator or overwrites it. But wgmma of one shape may follow each other on the same
 * accumulators. */
static bool is_fenced(struct warp *w, const struct insn *i) {
    const struct wgmma_state *s = &w->own->wgmma;
    if (!s->fenced &&
        !warp_check(w, i, -1, SG_CHECK_WGMMA_FENCE, "no wgmma.fence since its registers may have changed"))
        return false;
    const struct insn *code = run_of(w)->module->code;
    for (int k = 0; k < i->dst[0].count; k++) {
        const struct wgmma_register *r = register_of(s, &i->dst[0].vec[k]);
        if (r->fences == s->fences &&
            (code[r->pc].op != OP_wgmma || code[r->pc].shape[1] != i->shape[1] || code[r->pc].shape[2] != i->shape[2]))
            return blame_access(w, i, r, true, k);
    }
    for (int k = 0; k < i->src[0].count; k++) {
        const struct wgmma_register *r = register_of(s, &i->src[0].vec[k]);
        if (r->fences == s->fences && r->written && !blame_access(w, i, r, false, k))
            return false;
    }
    return true;
}

/* ---- the four warps of a group ---- */

enum { LOG_MOST = 1024 };

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
        return warp_check(w, i, -1, SG_CHECK_WGMMA_GROUP,
                          "another warp of its warp group executes PTX line %u in its place: all four must do the same",
                          line);
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
            warp_check(last, &c->run->module->code[log->pc[at]], -1, SG_CHECK_WGMMA_GROUP,
                       "this warp has ended without it, and others of its warp group have executed it");
    }
}

/* ---- instructions ---- */

static void need_lines(struct warp *w) {
    struct wgmma_state *s = &w->own->wgmma;
    if (!s->line)
        s->line = xcalloc(w->cta->frame_stride / LINE + 1, sizeof *s->line);
}

void wgmma_fence_op(struct warp *w, const struct insn *i) {
    struct wgmma_state *s = &w->own->wgmma;
    need_lines(w);
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
    if (!group_step(w, i) || !wgmma_operands_settle(w, done))
        return;
    for (size_t k = 0; s->pending && k < w->cta->frame_stride / LINE + 1; k++) {
        release(s, &s->line[k].sum, done);
        release(s, &s->line[k].operand, done);
    }
    s->fenced = false;
    w->event = true;
}

/* ---- the multiplication ---- */

/* Where the operands are that come behind D: A (a vector of registers, or a descriptor), the descriptor of B, scale-d
 * (whether to add to D), then the immediates: signs of A and B, and whether A (if in shared memory) and B are
 * transposed. */
enum { SRC_A, SRC_B, SRC_ADDS, SRC_SIGN_A, SRC_SIGN_B, SRC_TRANS };

static bool has_descriptor(const struct insn *i) { /* of A */
    return i->src[SRC_A].kind == O_REG;
}

static bool is_transposed(const struct insn *i, bool of_a) {
    const int at = of_a ? SRC_TRANS : SRC_TRANS + has_descriptor(i);
    return i->srcs > at && i->src[at].imm;
}

static bool is_negative(const struct insn *i) { /* the product */
    return i->srcs > SRC_SIGN_B && (i->src[SRC_SIGN_A].imm < 0) != (i->src[SRC_SIGN_B].imm < 0);
}

/* The tile of one half of 16 bytes of 8 rows, as a fragment register has it. */
static void fragment_of(const uint8_t *tile, unsigned row, unsigned half, uint32_t fragment[LANES]) {
    for (unsigned n = 0; n < 8; n++)
        memcpy((uint8_t *)fragment + n * 16, tile + (row + n) * WGMMA_K_BYTES + half * 16, 16);
}

/* The four registers of A: the warp's own, or made of its 16 rows in shared memory. */
struct left {
    uint32_t made[4][LANES];
    const uint32_t *a[4];
};

static bool read_left(struct warp *w, const struct insn *i, struct left *l) {
    uint8_t tile[WARP_ROWS * WGMMA_K_BYTES];
    for (int k = 0; k < 4; k++)
        l->a[k] = has_descriptor(i) ? l->made[k] : src_lanes(w, &i->src[SRC_A].vec[k]);
    if (!has_descriptor(i))
        return true;
    const struct wgmma_tile t = {.descriptor = *(const uint64_t *)src_lanes(w, &i->src[SRC_A]),
                                 .first = (uint16_t)(w->index % WARPS * WARP_ROWS),
                                 .rows = WARP_ROWS,
                                 .extent = WARPS * WARP_ROWS,
                                 .name = 'A',
                                 .across = is_transposed(i, true)};
    if (!wgmma_operand_read(w, i, &t, tile))
        return false;
    for (unsigned k = 0; k < 4; k++)
        fragment_of(tile, k % 2 * 8, k / 2, l->made[k]);
    w->count.shared_wavefronts += sizeof tile / 128;
    return true;
}

static void multiply_int(struct warp *w, const struct insn *i, const struct left *l, const uint8_t *tile,
                         bool accumulate) {
    static const int32_t zeros[LANES];
    const struct mma_shape shape = shape_of(i);
    for (unsigned n = 0; n < i->shape[1]; n += 8) {
        uint32_t b[2][LANES];
        const uint32_t *columns[2] = {b[0], b[1]};
        const int32_t *c[4];
        int32_t *d[4];
        fragment_of(tile, n, 0, b[0]);
        fragment_of(tile, n, 1, b[1]);
        for (int k = 0; k < 4; k++) {
            d[k] = dst_lanes(w, &i->dst[0].vec[n / 2 + (unsigned)k]);
            c[k] = accumulate ? d[k] : zeros;
        }
        mma_int(&shape, l->a, columns, c, d);
    }
}

/* D holds eight columns in four registers of floats, or in two of pairs of f16. */
static void multiply_float(struct warp *w, const struct insn *i, const struct left *l, const uint8_t *tile,
                           bool accumulate) {
    const struct mma_shape shape = shape_of(i);
    const bool half = i->type[0] == T_F16;
    const unsigned registers = half ? 2 : 4;
    float product[WGMMA_MAX_N * WARP_ROWS], sum[8 * WARP_ROWS];
    mma_float_wide(&shape, is_negative(i), l->a, tile, i->shape[1], product);
    for (unsigned n = 0; n < i->shape[1] / 8u; n++) {
        void *d[4];
        for (unsigned k = 0; k < registers; k++)
            d[k] = dst_lanes(w, &i->dst[0].vec[n * registers + k]);
        if (half)
            mma_tile_of_f16((const uint16_t *const *)d, WARP_ROWS, sum);
        else
            mma_tile_of_f32((const float *const *)d, WARP_ROWS, sum);
        for (int k = 0; k < 8 * WARP_ROWS; k++)
            sum[k] = f32_canonical((accumulate ? sum[k] : 0) + product[n * 8 * WARP_ROWS + (unsigned)k]);
        if (half)
            mma_tile_to_f16(sum, WARP_ROWS, (uint16_t *const *)d);
        else
            mma_tile_to_f32(sum, WARP_ROWS, (float *const *)d);
    }
}

static uint32_t adds_to_d(const struct warp *w, const struct insn *i) { /* of each lane */
    const struct operand *o = &i->src[SRC_ADDS];
    return o->kind == O_PRED ? src_pred(w, o) : o->imm ? UINT32_MAX : 0;
}

/* Every thread must give the same descriptors and the same choice whether to add. */
static bool is_uniform(struct warp *w, const struct insn *i) {
    const uint64_t *b = src_lanes(w, &i->src[SRC_B]), *a = has_descriptor(i) ? src_lanes(w, &i->src[SRC_A]) : b;
    const uint32_t adds = adds_to_d(w, i);
    for (int lane = 1; lane < LANES; lane++)
        if (a[lane] != a[0] || b[lane] != b[0] || (adds >> lane & 1) != (adds & 1)) {
            return warp_check(w, i, lane, SG_CHECK_WGMMA_UNIFORM,
                              "its descriptor or scale-d differs from that of lane 0");
        }
    return true;
}

static void count_products(struct warp *w, const struct insn *i) {
    const uint64_t products = (uint64_t)WARP_ROWS * i->shape[1] * i->shape[2];
    if (i->type[1] == T_F16 || i->type[1] == T_BF16)
        w->count.mma_ops_f16 += products;
    else if (i->type[1] == T_TF32)
        w->count.mma_ops_other += products;
    else
        w->count.mma_ops_int8 += products; /* those of 8 bits, which run at one rate */
}

/* wgmma.mma_async: D, A, descriptor of B, whether to add to D … */
void wgmma_mma_op(struct warp *w, const struct insn *i) {
    uint8_t tile[WGMMA_MAX_N * WGMMA_K_BYTES];
    struct left left;
    if (!lanes_whole(w, i) || !is_uniform(w, i) || !group_step(w, i))
        return;
    need_lines(w);
    if (!is_fenced(w, i))
        return;
    const struct wgmma_tile b = {.descriptor = *(const uint64_t *)src_lanes(w, &i->src[SRC_B]),
                                 .rows = i->shape[1],
                                 .extent = i->shape[1],
                                 .name = 'B',
                                 .across = is_transposed(i, false)};
    if (!wgmma_operand_read(w, i, &b, tile) || !read_left(w, i, &left))
        return;
    (type_is_float((enum ptx_type)i->type[1]) ? multiply_float : multiply_int)(w, i, &left, tile, adds_to_d(w, i) & 1);
    mark_registers(w, i);
    w->own->wgmma.open++;
    count_products(w, i);
    if (w->index % WARPS == 0) /* B is read once for the four warps of the group */
        w->count.shared_wavefronts += b.rows * WGMMA_K_BYTES / 128u;
    w->event = true;
}

/* ---- which forms there are: PTX ISA, "wgmma.mma_async" ---- */

static bool is_byte(unsigned type, bool is_float) {
    return is_float ? type == T_E4M3 || type == T_E5M2 : type == T_S8 || type == T_U8;
}

/* Types of D, A and B, and the number of columns that go with them. */
static bool are_types(const struct insn *i) {
    const unsigned d = i->type[0], a = i->type[1], b = i->type[2], n = i->shape[1];
    if (i->types != 3 || n < 8 || n > WGMMA_MAX_N || n % 8)
        return false;
    if (is_byte(a, false))
        return is_byte(b, false) && d == T_S32 && (n % 16 == 0 || n == 8 || n == 24);
    if (i->flags & F_SATFINITE)
        return false;
    if (is_byte(a, true))
        return is_byte(b, true) && (d == T_F32 || d == T_F16);
    return a == b && ((a == T_F16 && (d == T_F32 || d == T_F16)) || ((a == T_BF16 || a == T_TF32) && d == T_F32));
}

static bool is_number(const struct operand *o, int64_t one, int64_t other) {
    return o->kind == O_IMM && (o->imm == one || o->imm == other);
}

static bool are_operands(const struct insn *i) {
    const unsigned a = i->type[1], count = i->shape[1] / (i->type[0] == T_F16 ? 4u : 2u);
    const bool is_float = type_is_float((enum ptx_type)a), turns = a == T_F16 || a == T_BF16;
    const int srcs = !is_float ? SRC_SIGN_A : !turns ? SRC_TRANS : SRC_TRANS + 1 + has_descriptor(i);
    if (i->srcs != srcs || i->dst[0].kind != O_VEC || i->dst[0].count != count ||
        !(i->src[SRC_ADDS].kind == O_PRED || is_number(&i->src[SRC_ADDS], 0, 1)))
        return false;
    if (!has_descriptor(i) && i->src[SRC_A].count != 4)
        return false;
    for (int k = SRC_SIGN_A; k < i->srcs; k++)
        if (!is_number(&i->src[k], 1, k < SRC_TRANS ? -1 : 0))
            return false;
    return true;
}

static bool bind_mma(struct insn *i) {
    i->run = wgmma_mma_op;
    const unsigned bytes = type_size((enum ptx_type)i->type[1]);
    if (i->sub != SUB_MMA || i->shape[0] != WARPS * WARP_ROWS || !are_types(i) ||
        i->shape[2] != WGMMA_K_BYTES / bytes || !are_operands(i))
        return false;
    shape_keep(i, (struct mma_shape){.m = WARP_ROWS, /* of each of the four warps */
                                     .k = i->shape[2],
                                     .a = i->type[1],
                                     .b = i->type[2],
                                     .saturate = (i->flags & F_SATFINITE) != 0});
    return true;
}

bool wgmma_bind(struct insn *i) {
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
        known = bind_mma(i);
        break;
    }
    return known && !(i->flags & ~(F_SYNC | F_ALIGNED | F_SATFINITE));
}
