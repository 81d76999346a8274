/* f16 and bf16 arithmetic, single and in pairs. A pair register is 64 halves in lane order, so both are one loop over
 * 32 or 64 numbers: widen, compute in float, round once. Sums of products go through round-to-odd (numeric.h), which
 * makes the second rounding harmless; sums, differences and f16 products are right by themselves, because float has
 * more than twice the bits of f16. */
#include "lanes.h"

enum { HALVES = 2 * LANES };
enum half_op { HALF_ADD, HALF_SUB, HALF_MUL, HALF_FMA, HALF_MIN, HALF_MAX };
struct halves {
    float in[3][HALVES], out[HALVES];
    int count;
};

/* The magnitude below which a number of the format is subnormal. */
static inline float flush_below(float x, float limit) {
    return fabsf(x) < limit ? copysignf(0, x) : x;
}

static inline __attribute__((always_inline)) void compute(struct halves *h, enum half_op op, bool wide, bool nan) {
    const float *a = h->in[0], *b = h->in[1], *c = h->in[2];
    for (int k = 0; k < HALVES; k++) {
        float x;
        switch (op) {
        case HALF_ADD:
            x = a[k] + b[k];
            break;
        case HALF_SUB:
            x = a[k] - b[k];
            break;
        case HALF_MUL: /* the exact product keeps its sign when it is zero */
            x = wide ? f32_odd_of_f64((double)a[k] * (double)b[k]) : a[k] * b[k];
            break;
        case HALF_FMA:
            x = wide ? bf16_fma_odd(a[k], b[k], c[k]) : f16_fma_odd(a[k], b[k], c[k]);
            break;
        case HALF_MIN:
            x = f32_min(a[k], b[k], nan);
            break;
        default:
            x = f32_max(a[k], b[k], nan);
        }
        h->out[k] = x;
    }
}

static void load(const struct warp *w, const struct insn *i, struct halves *h, bool wide) {
    const enum ptx_type type = i->type[0];
    h->count = type == T_F16X2 || type == T_BF16X2 ? HALVES : LANES;
    const float limit = wide ? 0x1p-126f : 0x1p-14f;
    for (int k = 0; k < i->srcs && k < 3; k++) {
        if (h->count < HALVES)
            memset(h->in[k] + LANES, 0, LANES * sizeof(float));
        (wide ? bf16_to_f32_n : f16_to_f32_n)(src_lanes(w, &i->src[k]), h->in[k], h->count);
        if (i->flags & F_FTZ)
            for (int l = 0; l < HALVES; l++)
                h->in[k][l] = flush_below(h->in[k][l], limit);
    }
}

static void store(const struct warp *w, const struct insn *i, struct halves *h, bool wide) {
    uint16_t r[HALVES] = {0};
    if (i->flags & (F_SAT | F_RELU))
        for (int k = 0; k < HALVES; k++) {
            const float x = h->out[k];
            h->out[k] = i->flags & F_SAT ? f32_saturate(x) : x < 0 ? 0 : x;
        }
    (wide ? bf16_of_f32_n : f16_of_f32_n)(h->out, r, HALVES);
    if (i->flags & F_RELU)
        for (int k = 0; k < HALVES; k++)
            r[k] = r[k] == 0x8000 ? 0 : r[k];
    if (i->flags & F_FTZ)
        for (int k = 0; k < HALVES; k++)
            r[k] = r[k] & (wide ? 0x7f80 : 0x7c00) ? r[k] : r[k] & 0x8000;
    lanes_store(w, &i->dst[0], r, (unsigned)h->count / 16);
}

static inline __attribute__((always_inline)) void run(struct warp *w, const struct insn *i, enum half_op op,
                                                      bool wide) {
    struct halves h;
    load(w, i, &h, wide);
    compute(&h, op, wide, (i->flags & F_NAN) != 0);
    store(w, i, &h, wide);
}

static void add_f16(struct warp *w, const struct insn *i) {
    run(w, i, HALF_ADD, false);
}
static void sub_f16(struct warp *w, const struct insn *i) {
    run(w, i, HALF_SUB, false);
}
static void mul_f16(struct warp *w, const struct insn *i) {
    run(w, i, HALF_MUL, false);
}
static void fma_f16(struct warp *w, const struct insn *i) {
    run(w, i, HALF_FMA, false);
}
static void add_bf16(struct warp *w, const struct insn *i) {
    run(w, i, HALF_ADD, true);
}
static void sub_bf16(struct warp *w, const struct insn *i) {
    run(w, i, HALF_SUB, true);
}
static void mul_bf16(struct warp *w, const struct insn *i) {
    run(w, i, HALF_MUL, true);
}
static void fma_bf16(struct warp *w, const struct insn *i) {
    run(w, i, HALF_FMA, true);
}

/* min and max of two or three, with .xorsign.abs. */
static void extreme(struct warp *w, const struct insn *i) {
    const bool wide = i->type[0] == T_BF16 || i->type[0] == T_BF16X2, absolute = (i->flags & F_XORSIGN) != 0;
    uint32_t sign[HALVES];
    struct halves h;
    load(w, i, &h, wide);
    for (int next = 1; next < i->srcs; next++) {
        float *b = h.in[next];
        for (int k = 0; k < HALVES; k++) {
            sign[k] = (f32_bits(h.in[0][k]) ^ f32_bits(b[k])) & 0x80000000u;
            h.in[0][k] = absolute ? fabsf(h.in[0][k]) : h.in[0][k];
            h.in[1][k] = absolute ? fabsf(b[k]) : b[k];
        }
        compute(&h, i->op == OP_min ? HALF_MIN : HALF_MAX, wide, (i->flags & F_NAN) != 0);
        for (int k = 0; k < HALVES; k++) {
            const float x = h.out[k];
            h.in[0][k] = h.out[k] = absolute ? f32_of(f32_bits(x) | sign[k]) : x;
        }
    }
    store(w, i, &h, wide);
}

static void sign_op(struct warp *w, const struct insn *i) {
    const bool wide = i->type[0] == T_BF16 || i->type[0] == T_BF16X2;
    const bool is_pair = i->type[0] == T_F16X2 || i->type[0] == T_BF16X2;
    const int n = is_pair ? HALVES : LANES;
    const uint16_t *p = src_lanes(w, &i->src[0]);
    uint16_t r[HALVES];
    for (int k = 0; k < n; k++) {
        const uint16_t x = i->op == OP_abs ? p[k] & 0x7fff : p[k] ^ 0x8000;
        const bool tiny = (i->flags & F_FTZ) && !(x & (wide ? 0x7f80 : 0x7c00));
        r[k] = tiny ? x & 0x8000 : x;
    }
    lanes_store(w, &i->dst[0], r, (unsigned)n / 16);
}

op_fn *op_half_find(struct insn *i) {
    const enum ptx_type type = i->type[0];
    const bool narrow = type == T_F16 || type == T_F16X2, wide = type == T_BF16 || type == T_BF16X2;
    uint64_t allowed = F_FTZ;
    if ((!narrow && !wide) || (i->rnd != RND_NONE && i->rnd != RND_RN) || i->types > 1)
        return NULL;
    if (i->op == OP_add || i->op == OP_sub || i->op == OP_mul)
        allowed |= F_SAT;
    else if (i->op == OP_fma)
        allowed |= F_SAT | F_RELU;
    else if (i->op == OP_min || i->op == OP_max)
        allowed |= F_NAN | F_XORSIGN | F_ABS;
    if (i->flags & ~allowed)
        return NULL;
    switch (i->op) {
    case OP_add:
        return wide ? add_bf16 : add_f16;
    case OP_sub:
        return wide ? sub_bf16 : sub_f16;
    case OP_mul:
        return wide ? mul_bf16 : mul_f16;
    case OP_fma:
        return wide ? fma_bf16 : fma_f16;
    case OP_min:
    case OP_max:
        return i->srcs == 2 || i->srcs == 3 ? extreme : NULL;
    case OP_abs:
    case OP_neg:
        return sign_op;
    default:
        return NULL;
    }
}
