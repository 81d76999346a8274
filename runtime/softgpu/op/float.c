/* f32 and f64 arithmetic. The common forms, rounded to nearest, are vector loops; .sat and the other rounding modes
 * share one handler per type, which runs the same loops with the host's rounding mode changed. */
#include "lanes.h"
#include <fenv.h>

LANES_2(add_f32, float, float, f32_canonical(a + b))
LANES_2(sub_f32, float, float, f32_canonical(a - b))
LANES_2(mul_f32, float, float, f32_canonical((a * b)))
LANES_3(fma_f32, float, float, f32_canonical(f32_fma(a, b, c)))
LANES_2(add_ftz, float, float, f32_flush(f32_canonical(f32_flush(a) + f32_flush(b))))
LANES_2(sub_ftz, float, float, f32_flush(f32_canonical(f32_flush(a) - f32_flush(b))))
LANES_2(mul_ftz, float, float, f32_flush(f32_canonical(f32_flush(a) * f32_flush(b))))
LANES_3(fma_ftz, float, float, f32_flush(f32_canonical(f32_fma(f32_flush(a), f32_flush(b), f32_flush(c)))))
LANES_2(min_f32, float, float, f32_canonical(f32_min(a, b, false)))
LANES_2(max_f32, float, float, f32_canonical(f32_max(a, b, false)))
LANES_1(abs_f32, uint32_t, uint32_t, a & 0x7fffffffu)
LANES_1(neg_f32, uint32_t, uint32_t, a ^ 0x80000000u)
LANES_1(abs_ftz, float, float, f32_flush(f32_of(f32_bits(a) & 0x7fffffffu)))
LANES_1(neg_ftz, float, float, f32_flush(f32_of(f32_bits(a) ^ 0x80000000u)))
LANES_2(copysign_f32, uint32_t, uint32_t, (a & 0x80000000u) | (b & 0x7fffffffu))

LANES_2(add_f64, double, double, a + b)
LANES_2(sub_f64, double, double, a - b)
LANES_2(mul_f64, double, double, (a * b))
LANES_3(fma_f64, double, double, __builtin_fma(a, b, c))
LANES_2(div_f64, double, double, a / b)
LANES_1(rcp_f64, double, double, 1 / a)
LANES_1(sqrt_f64, double, double, sqrt(a))
LANES_2(min_f64, double, double, f64_min(a, b))
LANES_2(max_f64, double, double, f64_max(a, b))
LANES_1(abs_f64, uint64_t, uint64_t, a & ~(1ull << 63))
LANES_1(neg_f64, uint64_t, uint64_t, a ^ 1ull << 63)
LANES_2(copysign_f64, uint64_t, uint64_t, (a & 1ull << 63) | (b & ~(1ull << 63)))

static int host_rounding(enum ptx_round rnd) {
    switch (rnd) {
    case RND_RZ:
        return FE_TOWARDZERO;
    case RND_RM:
        return FE_DOWNWARD;
    case RND_RP:
        return FE_UPWARD;
    default:
        return FE_TONEAREST;
    }
}

/* Arrays of operands that the compiler must take for changed: arithmetic on them cannot leave the stretch between two
 * changes of the rounding mode. */
static void pin(void *x) {
    __asm__ volatile("" : : "r"(x) : "memory");
}

/* All lanes of one operation, which the host rounds; fma stands for mad, too. */
#define COMPUTE(name, T, root, fused)                                                                                  \
    static void name(enum ptx_op op, const T *a, const T *b, const T *c,                                               \
                     T *r) { /* NOLINT(bugprone-macro-parentheses) */                                                  \
        for (int l = 0; l < LANES; l++)                                                                                \
            switch (op) {                                                                                              \
            case OP_add:                                                                                               \
                r[l] = a[l] + b[l];                                                                                    \
                break;                                                                                                 \
            case OP_sub:                                                                                               \
                r[l] = a[l] - b[l];                                                                                    \
                break;                                                                                                 \
            case OP_mul:                                                                                               \
                r[l] = a[l] * b[l];                                                                                    \
                break;                                                                                                 \
            case OP_div:                                                                                               \
                r[l] = a[l] / b[l];                                                                                    \
                break;                                                                                                 \
            case OP_rcp:                                                                                               \
                r[l] = 1 / a[l];                                                                                       \
                break;                                                                                                 \
            case OP_sqrt:                                                                                              \
                r[l] = root(a[l]);                                                                                     \
                break;                                                                                                 \
            default:                                                                                                   \
                r[l] = fused(a[l], b[l], c[l]);                                                                        \
            }                                                                                                          \
    }
COMPUTE(compute_f32, float, sqrtf, f32_fma)
COMPUTE(compute_f64, double, sqrt, fma)

static void rounded_f32(struct warp *w, const struct insn *i) {
    const bool ftz = (i->flags & F_FTZ) != 0, sat = (i->flags & F_SAT) != 0;
    float in[3][LANES] = {{0}}, r[LANES];
    for (int k = 0; k < i->srcs && k < 3; k++) {
        const float *p = src_lanes(w, &i->src[k]);
        for (int l = 0; l < LANES; l++)
            in[k][l] = ftz ? f32_flush(p[l]) : p[l];
    }
    const int mode = host_rounding(i->rnd), before = fegetround();
    pin(in);
    pin(r);
    if (mode != before)
        fesetround(mode);
    compute_f32(i->op, in[0], in[1], in[2], r);
    pin(r);
    if (mode != before)
        fesetround(before);
    for (int l = 0; l < LANES; l++) {
        const float x = sat ? f32_saturate(r[l]) : f32_canonical(r[l]);
        r[l] = ftz ? f32_flush(x) : x;
    }
    lanes_store(w, &i->dst[0], r, 4);
}

static void rounded_f64(struct warp *w, const struct insn *i) {
    double in[3][LANES] = {{0}}, r[LANES];
    for (int k = 0; k < i->srcs && k < 3; k++)
        memcpy(in[k], src_lanes(w, &i->src[k]), sizeof in[k]);
    const int mode = host_rounding(i->rnd), before = fegetround();
    pin(in);
    pin(r);
    fesetround(mode);
    compute_f64(i->op, in[0], in[1], in[2], r);
    pin(r);
    fesetround(before);
    lanes_store(w, &i->dst[0], r, 8);
}

/* min and max with .ftz, .NaN, .xorsign.abs or three sources. */
static void extreme_f32(struct warp *w, const struct insn *i) {
    const bool ftz = (i->flags & F_FTZ) != 0, nan = (i->flags & F_NAN) != 0, absolute = (i->flags & F_XORSIGN) != 0;
    float r[LANES];
    for (int k = 0; k < i->srcs; k++) {
        const float *p = src_lanes(w, &i->src[k]);
        for (int l = 0; l < LANES; l++) {
            const float x = ftz ? f32_flush(p[l]) : p[l];
            if (k == 0) {
                r[l] = x;
                continue;
            }
            const uint32_t sign = (f32_bits(r[l]) ^ f32_bits(x)) & 0x80000000u;
            const float a = absolute ? fabsf(r[l]) : r[l], b = absolute ? fabsf(x) : x;
            const float y = f32_canonical(i->op == OP_min ? f32_min(a, b, nan) : f32_max(a, b, nan));
            r[l] = absolute && y == y ? f32_of(f32_bits(y) | sign) : y;
        }
    }
    lanes_store(w, &i->dst[0], r, 4);
}

static const struct op_row rows[] = {
    {OP_add, T_F32, 0, add_f32},     {OP_add, T_F32, F_FTZ, add_ftz},       {OP_sub, T_F32, 0, sub_f32},
    {OP_sub, T_F32, F_FTZ, sub_ftz}, {OP_mul, T_F32, 0, mul_f32},           {OP_mul, T_F32, F_FTZ, mul_ftz},
    {OP_fma, T_F32, 0, fma_f32},     {OP_fma, T_F32, F_FTZ, fma_ftz},       {OP_mad, T_F32, 0, fma_f32},
    {OP_mad, T_F32, F_FTZ, fma_ftz}, {OP_min, T_F32, 0, min_f32},           {OP_max, T_F32, 0, max_f32},
    {OP_abs, T_F32, 0, abs_f32},     {OP_abs, T_F32, F_FTZ, abs_ftz},       {OP_neg, T_F32, 0, neg_f32},
    {OP_neg, T_F32, F_FTZ, neg_ftz}, {OP_copysign, T_F32, 0, copysign_f32}, {OP_copysign, T_F64, 0, copysign_f64},
    {OP_add, T_F64, 0, add_f64},     {OP_sub, T_F64, 0, sub_f64},           {OP_mul, T_F64, 0, mul_f64},
    {OP_fma, T_F64, 0, fma_f64},     {OP_mad, T_F64, 0, fma_f64},           {OP_div, T_F64, 0, div_f64},
    {OP_rcp, T_F64, 0, rcp_f64},     {OP_sqrt, T_F64, 0, sqrt_f64},         {OP_min, T_F64, 0, min_f64},
    {OP_max, T_F64, 0, max_f64},     {OP_abs, T_F64, 0, abs_f64},           {OP_neg, T_F64, 0, neg_f64},
};

static bool has_rounding(enum ptx_op op) {
    return op == OP_add || op == OP_sub || op == OP_mul || op == OP_fma || op == OP_mad || op == OP_div ||
           op == OP_rcp || op == OP_sqrt;
}

op_fn *op_float_find(struct insn *i) {
    const enum ptx_type type = i->type[0];
    const bool nearest = i->rnd == RND_NONE || i->rnd == RND_RN, single = type == T_F32;
    if ((type != T_F32 && type != T_F64) || i->rnd > RND_RP || (i->types > 1 && i->type[1] != type))
        return NULL;
    if (i->op == OP_min || i->op == OP_max) {
        if (single && i->srcs <= 3 && !(i->flags & ~(F_FTZ | F_NAN | F_XORSIGN | F_ABS)) && (i->flags || i->srcs == 3))
            return extreme_f32;
        if (i->srcs != 2)
            return NULL;
    }
    op_fn *run = nearest ? op_row_find(rows, sizeof rows / sizeof rows[0], i->op, type, i->flags) : NULL;
    if (run || !has_rounding(i->op))
        return run;
    if (single)
        return i->flags & ~(F_FTZ | F_SAT) ? NULL : rounded_f32;
    return i->flags ? NULL : rounded_f64;
}
