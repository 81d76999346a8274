/* mma.sync and movmatrix: the fragments of a whole warp. */
#include "lanes.h"

enum { MAX_REGISTERS = 8 };

bool lanes_whole(struct warp *w, const struct insn *i) {
    if (!lanes_all(w))
        warp_fault(w, i, -1, SG_FAULT_DIVERGENT_BARRIER, "all 32 lanes must execute it together; active are 0x%08x",
                   w->exec);
    return lanes_all(w);
}

static void read_registers(const struct warp *w, const struct operand *o, const void **reg) {
    for (int k = 0; k < o->count; k++)
        reg[k] = src_lanes(w, &o->vec[k]);
}

struct fragments {
    const void *a[MAX_REGISTERS], *b[MAX_REGISTERS], *c[MAX_REGISTERS];
    void *d[MAX_REGISTERS];
};

static void read_fragments(const struct warp *w, const struct insn *i, struct fragments *f) {
    read_registers(w, &i->src[0], f->a);
    read_registers(w, &i->src[1], f->b);
    read_registers(w, &i->src[2], f->c);
    for (int k = 0; k < i->dst[0].count; k++)
        f->d[k] = dst_lanes(w, &i->dst[0].vec[k]);
}

static uint64_t products(const struct mma_shape *s) {
    return 8u * s->m * s->k;
}

static void mma_int_op(struct warp *w, const struct insn *i) {
    struct fragments f;
    const struct mma_shape s = shape_of(i);
    if (!lanes_whole(w, i))
        return;
    read_fragments(w, i, &f);
    mma_int(&s, (const uint32_t *const *)f.a, (const uint32_t *const *)f.b, (const int32_t *const *)f.c,
            (int32_t *const *)f.d);
    if (s.a == T_S8 || s.a == T_U8)
        w->count.mma_ops_int8 += products(&s);
    else
        w->count.mma_ops_other += products(&s);
}

static void mma_float_op(struct warp *w, const struct insn *i) {
    struct fragments f;
    float tile[MMA_MOST_M * 8];
    const struct mma_shape s = shape_of(i);
    if (!lanes_whole(w, i))
        return;
    read_fragments(w, i, &f);
    if (i->type[3] == T_F16)
        mma_tile_of_f16((const uint16_t *const *)f.c, s.m, tile);
    else
        mma_tile_of_f32((const float *const *)f.c, s.m, tile);
    mma_float(&s, (const uint32_t *const *)f.a, (const uint32_t *const *)f.b, tile, tile);
    if (i->type[0] == T_F16)
        mma_tile_to_f16(tile, s.m, (uint16_t *const *)f.d);
    else
        mma_tile_to_f32(tile, s.m, (float *const *)f.d);
    if (s.a == T_F16 || s.a == T_BF16)
        w->count.mma_ops_f16 += products(&s);
    else
        w->count.mma_ops_other += products(&s);
}

static void mma_double_op(struct warp *w, const struct insn *i) {
    struct fragments f;
    const struct mma_shape s = shape_of(i);
    if (!lanes_whole(w, i))
        return;
    read_fragments(w, i, &f);
    mma_double(&s, (const double *const *)f.a, (const double *const *)f.b, (const double *const *)f.c,
               (double *const *)f.d);
    w->count.mma_ops_other += products(&s);
}

static void movmatrix_op(struct warp *w, const struct insn *i) {
    if (lanes_whole(w, i))
        matrix_transpose(src_lanes(w, &i->src[0]), dst_lanes(w, &i->dst[0]));
}

/* A vector of `count` registers. */
static bool is_fragment(const struct operand *o, int count) {
    return o->kind == O_VEC && o->count == count && count <= MAX_REGISTERS;
}

static op_fn *find_mma(struct insn *i) {
    const enum ptx_type d = i->type[0], a = i->type[1], b = i->type[2], c = i->type[3];
    const int m = i->shape[0], k = i->shape[2], per = mma_register_k(a);
    const uint64_t allowed = F_SYNC | F_ALIGNED | F_ROW_A | F_COL_B | F_SATFINITE;
    if (i->types != 4 || i->srcs != 3 || (m != 8 && m != 16) || i->shape[1] != 8 || !per || k % per ||
        k > MMA_MOST_K * (a == T_B1 ? 4 : 1) || mma_register_k(b) != per || (i->flags & ~allowed) ||
        (i->flags & (F_ROW_A | F_COL_B)) != (F_ROW_A | F_COL_B))
        return NULL;
    const bool is_int = a == T_S8 || a == T_U8 || a == T_S4 || a == T_U4 || a == T_B1;
    if (!is_fragment(&i->src[0], m / 8 * (k / per)) || !is_fragment(&i->src[1], k / per) ||
        !is_fragment(&i->src[2], c == T_F16 ? m / 8 : m / 4) || !is_fragment(&i->dst[0], d == T_F16 ? m / 8 : m / 4))
        return NULL;
    shape_keep(i, (struct mma_shape){.m = (uint16_t)m,
                                     .k = (uint16_t)k,
                                     .a = i->type[1],
                                     .b = i->type[2],
                                     .saturate = (i->flags & F_SATFINITE) != 0,
                                     .popc_xor = i->sub == SUB_XOR});
    if (a == T_B1 && !(i->sub == SUB_XOR || i->sub == SUB_AND))
        return NULL;
    if (is_int)
        return d == T_S32 && c == T_S32 && (a == T_B1) == (b == T_B1) ? mma_int_op : NULL;
    if (i->flags & F_SATFINITE)
        return NULL;
    if (a == T_F64)
        return b == a && c == a && d == a ? mma_double_op : NULL;
    const bool fp8 = (a == T_E4M3 || a == T_E5M2) && (b == T_E4M3 || b == T_E5M2);
    const bool sums =
        (c == T_F32 || (c == T_F16 && (a == T_F16 || fp8))) && (d == T_F32 || (d == T_F16 && (a == T_F16 || fp8)));
    return (a == b || fp8) && sums ? mma_float_op : NULL;
}

op_fn *op_mma_find(struct insn *i) {
    if (i->op == OP_mma)
        return find_mma(i);
    return i->type[0] == T_B16 && i->shape[0] == 8 && i->shape[1] == 8 && (i->flags & F_TRANS) ? movmatrix_op : NULL;
}
