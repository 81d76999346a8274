/* The multi-function unit's approximations: computed in double and rounded once (numeric.h). */
#include "lanes.h"

static void approx_f32(struct warp *w, const struct insn *i) {
    const bool ftz = (i->flags & F_FTZ) != 0, divides = i->op == OP_div;
    const float *pa = src_lanes(w, &i->src[0]), *pb = src_lanes(w, &i->src[divides]);
    float r[LANES] = {0};
    for (int l = 0; l < LANES; l++) {
        if (!(w->exec >> l & 1))
            continue;
        const float a = ftz ? f32_flush(pa[l]) : pa[l], b = ftz ? f32_flush(pb[l]) : pb[l];
        const float x = f32_canonical(divides ? f32_div_approx(a, b, (i->flags & F_FULL) != 0) : f32_approx(i->op, a));
        r[l] = ftz ? f32_flush(x) : x;
    }
    lanes_store(w, &i->dst[0], r, 4);
}

/* rcp.approx.ftz.f64 and rsqrt.approx.ftz.f64 look at the upper word alone and leave the lower one zero; plain
 * rsqrt.approx.f64 is good to the last place. */
static double upper_word(double x) {
    return f64_of(f64_bits(x) & 0xffffffff00000000ull);
}

static double flush_f64(double x) {
    return f64_bits(x) << 1 >> 53 ? x : f64_of(f64_bits(x) & 1ull << 63);
}

static void approx_f64(struct warp *w, const struct insn *i) {
    const double *p = src_lanes(w, &i->src[0]);
    double r[LANES];
    for (int l = 0; l < LANES; l++) {
        const double a = flush_f64(upper_word(p[l]));
        r[l] = flush_f64(upper_word(i->op == OP_rcp ? 1 / a : 1 / sqrt(a)));
    }
    lanes_store(w, &i->dst[0], r, 8);
}

static void rsqrt_f64(struct warp *w, const struct insn *i) {
    const double *p = src_lanes(w, &i->src[0]);
    double r[LANES];
    for (int l = 0; l < LANES; l++)
        r[l] = 1 / sqrt(p[l]);
    lanes_store(w, &i->dst[0], r, 8);
}

/* ex2 and tanh of f16, bf16 and their pairs. */
static void approx_half(struct warp *w, const struct insn *i) {
    const enum ptx_type type = i->type[0];
    const bool wide = type == T_BF16 || type == T_BF16X2, ftz = (i->flags & F_FTZ) != 0 && wide;
    const int n = type == T_F16X2 || type == T_BF16X2 ? 2 * LANES : LANES;
    float x[2 * LANES];
    uint16_t r[2 * LANES];
    (wide ? bf16_to_f32_n : f16_to_f32_n)(src_lanes(w, &i->src[0]), x, n);
    for (int k = 0; k < n; k++) {
        x[k] = f32_approx(i->op, ftz ? f32_flush(x[k]) : x[k]);
        x[k] = ftz ? f32_flush(x[k]) : x[k];
    }
    (wide ? bf16_of_f32_n : f16_of_f32_n)(x, r, n);
    lanes_store(w, &i->dst[0], r, (unsigned)n / 16);
}

op_fn *op_approx_find(struct insn *i) {
    const enum ptx_type type = i->type[0];
    const bool half = type == T_F16 || type == T_F16X2 || type == T_BF16 || type == T_BF16X2;
    if (i->rnd != RND_NONE || (i->flags & ~(F_FTZ | F_APPROX | F_FULL)) || !(i->flags & (F_APPROX | F_FULL)))
        return NULL;
    if ((i->flags & F_FULL) && (i->op != OP_div || type != T_F32))
        return NULL;
    if (type == T_F32)
        return approx_f32;
    if (type == T_F64)
        return i->op != OP_rcp && i->op != OP_rsqrt ? NULL
               : i->flags & F_FTZ                   ? approx_f64
               : i->op == OP_rsqrt                  ? rsqrt_f64
                                                    : NULL;
    return half && (i->op == OP_ex2 || i->op == OP_tanh) ? approx_half : NULL;
}
