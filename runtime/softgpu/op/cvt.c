/* cvt: every pair of number types goes through one of four loops over wide intermediates (64-bit integers, doubles),
 * which hold any source exactly, so that each conversion rounds once. The pairs that kernels use all the time have
 * loops of their own. */
#include "lanes.h"

static inline float round_f32(float x, enum ptx_round rnd) {
    return rnd == RND_RNI   ? __builtin_rintf(x)
           : rnd == RND_RMI ? __builtin_floorf(x)
           : rnd == RND_RPI ? __builtin_ceilf(x)
                            : __builtin_truncf(x);
}
/* Rounded to an integer, clamped, NaN to zero; the cast sees only what fits. */
static inline int32_t s32_of_f32(float x, enum ptx_round rnd) {
    const float y = round_f32(x, rnd);
    const int32_t r = (int32_t)(y >= -2147483648.0f && y < 2147483648.0f ? y : 0);
    return y >= 2147483648.0f ? INT32_MAX : y < -2147483648.0f ? INT32_MIN : r;
}

LANES_1(u64_of_u32, uint64_t, uint32_t, a)
LANES_1(s64_of_s32, int64_t, int32_t, a)
LANES_1(u32_of_u64, uint32_t, uint64_t, a)
LANES_1(u32_of_u16, uint32_t, uint16_t, a)
LANES_1(s32_of_s16, int32_t, int16_t, a)
LANES_1(u16_of_u32, uint16_t, uint32_t, a)
LANES_1(f32_of_s32, float, int32_t, a)
LANES_1(f32_of_u32, float, uint32_t, a)
LANES_1(s32_of_f32_rni, int32_t, float, s32_of_f32(a, RND_RNI))
LANES_1(s32_of_f32_rzi, int32_t, float, s32_of_f32(a, RND_RZI))
LANES_1(s32_of_f32_rni_ftz, int32_t, float, s32_of_f32(f32_flush(a), RND_RNI))
LANES_1(s32_of_f32_rzi_ftz, int32_t, float, s32_of_f32(f32_flush(a), RND_RZI))
LANES_1(f32_rni, float, float, f32_canonical(round_f32(a, RND_RNI)))
LANES_1(f32_rni_ftz, float, float, f32_canonical(round_f32(f32_flush(a), RND_RNI)))
LANES_1(f64_of_f32, double, float, a)
LANES_1(f32_of_f64, float, double, f32_canonical((float)a))
LANES_1(f32_of_bf16, uint32_t, uint16_t, (uint32_t)a << 16) /* a shift: NaN keeps its payload */
LANES_1(bf16_of_f32_rn, uint16_t, float, bf16_of_f32(a))

/* Bytes in wider registers: the value is extended from its type to the register. */
LANES_1(u8_in_32, uint32_t, uint32_t, a & 0xff)
LANES_1(s8_in_32, uint32_t, uint32_t, (int32_t)(int8_t)a)
LANES_1(u8_in_16, uint16_t, uint16_t, a & 0xff)
LANES_1(s8_in_16, uint16_t, uint16_t, (int8_t)a)
LANES_1(u8_16_of_32, uint16_t, uint32_t, a & 0xff)
LANES_1(s8_16_of_32, uint16_t, uint32_t, (int8_t)a)
LANES_1(u8_32_of_16, uint32_t, uint16_t, a & 0xff)
LANES_1(s8_32_of_16, uint32_t, uint16_t, (int32_t)(int8_t)a)

/* cvt to or from an 8-bit type and no wider than 32 bits: the narrower type decides. */
static op_fn *find_byte(const struct insn *i) {
    const enum ptx_type to = i->type[0], from = i->type[1];
    const bool to_byte = type_size(to) == 1, from_byte = type_size(from) == 1;
    const unsigned wide_to = i->dst[0].width, wide_from = i->src[0].width;
    const bool sign = type_is_signed(from_byte ? from : to);
    if (i->flags || i->rnd || (!to_byte && !from_byte) || (to_byte && from_byte) || wide_to > 4 || wide_from > 4 ||
        (from_byte && type_size(to) != wide_to))
        return NULL;
    if (wide_to == 4)
        return wide_from == 4 ? (sign ? s8_in_32 : u8_in_32) : (sign ? s8_32_of_16 : u8_32_of_16);
    return wide_from == 4 ? (sign ? s8_16_of_32 : u8_16_of_32) : (sign ? s8_in_16 : u8_in_16);
}

static void f32_of_f16(struct warp *w, const struct insn *i) {
    float r[LANES];
    f16_to_f32_n(src_lanes(w, &i->src[0]), r, LANES);
    for (int l = 0; l < LANES; l++)
        r[l] = f32_canonical(r[l]);
    lanes_store(w, &i->dst[0], r, 4);
}
static void f16_of_f32_rn(struct warp *w, const struct insn *i) {
    uint16_t r[LANES];
    f16_of_f32_n(src_lanes(w, &i->src[0]), r, LANES);
    lanes_store(w, &i->dst[0], r, 2);
}

/* Conversions whose registers are as wide as their types, with exactly this rounding and these flags. */
static const struct {
    uint8_t to, from, rnd;
    uint64_t flags;
    op_fn *run;
} quick[] = {
    {T_U64, T_U32, RND_NONE, 0, u64_of_u32},
    {T_S64, T_U32, RND_NONE, 0, u64_of_u32},
    {T_S64, T_S32, RND_NONE, 0, s64_of_s32},
    {T_U64, T_S32, RND_NONE, 0, s64_of_s32},
    {T_U32, T_U64, RND_NONE, 0, u32_of_u64},
    {T_S32, T_U64, RND_NONE, 0, u32_of_u64},
    {T_U32, T_S64, RND_NONE, 0, u32_of_u64},
    {T_S32, T_S64, RND_NONE, 0, u32_of_u64},
    {T_U32, T_U16, RND_NONE, 0, u32_of_u16},
    {T_S32, T_U16, RND_NONE, 0, u32_of_u16},
    {T_S32, T_S16, RND_NONE, 0, s32_of_s16},
    {T_U32, T_S16, RND_NONE, 0, s32_of_s16},
    {T_U16, T_U32, RND_NONE, 0, u16_of_u32},
    {T_S16, T_S32, RND_NONE, 0, u16_of_u32},
    {T_S16, T_U32, RND_NONE, 0, u16_of_u32},
    {T_U16, T_S32, RND_NONE, 0, u16_of_u32},
    {T_F32, T_S32, RND_RN, 0, f32_of_s32},
    {T_F32, T_U32, RND_RN, 0, f32_of_u32},
    {T_S32, T_F32, RND_RNI, 0, s32_of_f32_rni},
    {T_S32, T_F32, RND_RZI, 0, s32_of_f32_rzi},
    {T_S32, T_F32, RND_RNI, F_FTZ, s32_of_f32_rni_ftz},
    {T_S32, T_F32, RND_RZI, F_FTZ, s32_of_f32_rzi_ftz},
    {T_F32, T_F32, RND_RNI, 0, f32_rni},
    {T_F32, T_F32, RND_RNI, F_FTZ, f32_rni_ftz},
    {T_F64, T_F32, RND_NONE, 0, f64_of_f32},
    {T_F32, T_F64, RND_RN, 0, f32_of_f64},
    {T_F32, T_F16, RND_NONE, 0, f32_of_f16},
    {T_F32, T_F16, RND_NONE, F_FTZ, f32_of_f16},
    {T_F16, T_F32, RND_RN, 0, f16_of_f32_rn},
    {T_F32, T_BF16, RND_NONE, 0, f32_of_bf16},
    {T_BF16, T_F32, RND_RN, 0, bf16_of_f32_rn},
};

static const struct float_format *format_of(enum ptx_type type) {
    switch (type) {
    case T_F16:
        return &format_f16;
    case T_BF16:
        return &format_bf16;
    case T_TF32:
        return &format_tf32;
    case T_F32:
        return &format_f32;
    default:
        return &format_f64;
    }
}

/* The source as integers extended from its type, which may be narrower than the register. */
static void load_int(const struct warp *w, const struct insn *i, uint64_t *x) {
    const enum ptx_type type = i->type[1];
    const struct operand *o = &i->src[0];
    const void *p = src_lanes(w, o);
    const unsigned unused = 64 - 8 * type_size(type);
    for (int l = 0; l < LANES; l++) {
        const uint64_t raw = o->width == 2   ? ((const uint16_t *)p)[l]
                             : o->width == 4 ? ((const uint32_t *)p)[l]
                                             : ((const uint64_t *)p)[l];
        x[l] = type_is_signed(type) ? (uint64_t)((int64_t)(raw << unused) >> unused) : raw << unused >> unused;
    }
}

/* Integers to the destination's type and, extended as that type is, to its register. */
static void store_int(const struct warp *w, const struct insn *i, const uint64_t *x) {
    const enum ptx_type type = i->type[0];
    const unsigned unused = 64 - 8 * type_size(type);
    uint64_t wide[LANES];
    uint32_t middle[LANES];
    uint16_t narrow[LANES];
    for (int l = 0; l < LANES; l++) {
        wide[l] = type_is_signed(type) ? (uint64_t)((int64_t)(x[l] << unused) >> unused) : x[l] << unused >> unused;
        middle[l] = (uint32_t)wide[l];
        narrow[l] = (uint16_t)wide[l];
    }
    const unsigned size = i->dst[0].width;
    lanes_store(w, &i->dst[0], size == 2 ? (const void *)narrow : size == 4 ? (const void *)middle : wide, size);
}

/* Of a register that may be wider than the type. */
static void load_float(const struct warp *w, const struct insn *i, double *x) {
    const struct operand *o = &i->src[0];
    const uint8_t *p = src_lanes(w, o);
    for (int l = 0; l < LANES; l++) {
        uint64_t raw = 0;
        memcpy(&raw, p + (size_t)l * o->width, o->width);
        switch (i->type[1]) {
        case T_F16:
            x[l] = f16_to_f32((uint16_t)raw);
            break;
        case T_BF16:
            x[l] = bf16_to_f32((uint16_t)raw);
            break;
        case T_F32:
            x[l] = f32_of((uint32_t)raw);
            x[l] = i->flags & F_FTZ ? f32_flush((float)x[l]) : x[l];
            break;
        default:
            x[l] = f64_of(raw);
        }
    }
}

/* Bits of the destination's type; tf32 sits in the upper bits of a float. */
static void store_bits(const struct warp *w, const struct insn *i, const uint64_t *bits) {
    uint64_t wide[LANES];
    uint32_t middle[LANES];
    uint16_t narrow[LANES];
    for (int l = 0; l < LANES; l++) {
        uint64_t x = bits[l];
        if (i->type[0] == T_TF32)
            x = x == format_tf32.nan ? F32_NAN : x << 13;
        wide[l] = x;
        middle[l] = (uint32_t)x;
        narrow[l] = (uint16_t)x;
    }
    const unsigned size = i->dst[0].width;
    lanes_store(w, &i->dst[0], size == 2 ? (const void *)narrow : size == 4 ? (const void *)middle : wide, size);
}

static double round_to_integer(double x, enum ptx_round rnd) {
    switch (rnd) {
    case RND_RNI:
        return rint(x);
    case RND_RZI:
        return trunc(x);
    case RND_RMI:
        return floor(x);
    case RND_RPI:
        return ceil(x);
    default:
        return x;
    }
}

static void int_to_int(struct warp *w, const struct insn *i) {
    uint64_t x[LANES];
    load_int(w, i, x);
    if (i->flags & F_SAT)
        for (int l = 0; l < LANES; l++)
            x[l] = int_clamp(x[l], type_is_signed(i->type[1]), 8 * type_size(i->type[0]), type_is_signed(i->type[0]));
    store_int(w, i, x);
}

static void float_to_int(struct warp *w, const struct insn *i) {
    const unsigned bits = 8 * type_size(i->type[0]);
    const bool sign = type_is_signed(i->type[0]), nan_high = bits == 64 || i->type[1] == T_F64;
    double x[LANES];
    uint64_t r[LANES];
    load_float(w, i, x);
    for (int l = 0; l < LANES; l++)
        r[l] = int_of_double(round_to_integer(x[l], i->rnd), bits, sign, nan_high);
    store_int(w, i, r);
}

static void int_to_float(struct warp *w, const struct insn *i) {
    const struct float_format *f = format_of(i->type[0]);
    const bool sign = type_is_signed(i->type[1]);
    uint64_t x[LANES];
    load_int(w, i, x);
    for (int l = 0; l < LANES; l++) {
        const bool negative = sign && (int64_t)x[l] < 0;
        uint64_t m = negative ? -x[l] : x[l];
        if (i->flags & F_SAT) /* [0, 1] */
            m = negative ? 0 : m ? 1 : 0;
        x[l] = float_round(f, negative && m, m, 0, i->rnd, false);
    }
    store_bits(w, i, x);
}

static void float_to_float(struct warp *w, const struct insn *i) {
    const struct float_format *f = format_of(i->type[0]);
    const bool finite = (i->flags & F_SATFINITE) != 0, flush = (i->flags & F_FTZ) && i->type[0] == T_F32;
    double x[LANES];
    uint64_t r[LANES];
    load_float(w, i, x);
    for (int l = 0; l < LANES; l++) {
        double y = round_to_integer(x[l], i->rnd);
        if (i->flags & F_SAT)
            y = f64_saturate(y);
        if (i->flags & F_RELU)
            y = y <= 0 ? 0 : y;
        r[l] = float_from_double(f, y, i->rnd, finite);
        if (flush)
            r[l] = f32_bits(f32_flush(f32_of((uint32_t)r[l])));
    }
    store_bits(w, i, r);
}

static bool is_fp8(enum ptx_type type) {
    return type == T_E4M3X2 || type == T_E5M2X2;
}

static const struct float_format *pair_format(enum ptx_type type) {
    return type == T_F16X2    ? &format_f16
           : type == T_BF16X2 ? &format_bf16
           : type == T_E4M3X2 ? &format_e4m3
                              : &format_e5m2;
}

/* Two numbers to one register, the first in the upper half: from two f32, an f16x2, or a pair of fp8. */
static void to_pair(struct warp *w, const struct insn *i) {
    const enum ptx_type from = i->type[1], to = i->type[0];
    const struct float_format *f = pair_format(to);
    const unsigned bits = is_fp8(to) ? 8 : 16, source_bits = is_fp8(from) ? 8 : 16;
    const void *pa = src_lanes(w, &i->src[0]), *pb = src_lanes(w, &i->src[from == T_F32]);
    uint32_t r[LANES];
    uint16_t narrow[LANES];
    for (int l = 0; l < LANES; l++) {
        double x[2]; /* low, high */
        if (from == T_F32) {
            x[0] = ((const float *)pb)[l];
            x[1] = ((const float *)pa)[l];
        } else {
            const uint32_t raw = is_fp8(from) ? ((const uint16_t *)pa)[l] : ((const uint32_t *)pa)[l];
            for (unsigned k = 0; k < 2; k++)
                x[k] = float_to_double(pair_format(from), raw >> (k * source_bits) & ((1u << source_bits) - 1));
        }
        r[l] = 0;
        for (unsigned k = 0; k < 2; k++) {
            const double y = (i->flags & F_RELU) && x[k] <= 0 ? 0 : x[k];
            r[l] |= (uint32_t)float_from_double(f, y, i->rnd, (i->flags & F_SATFINITE) != 0) << (k * bits);
        }
        narrow[l] = (uint16_t)r[l];
    }
    lanes_store(w, &i->dst[0], bits == 8 ? (const void *)narrow : r, bits / 4);
}

/* The common one: cvt.rn.f16x2.f32 and bf16x2, nothing else asked for. */
static void to_pair_nearest(struct warp *w, const struct insn *i) {
    const float *pa = src_lanes(w, &i->src[0]), *pb = src_lanes(w, &i->src[1]);
    float x[2 * LANES];
    uint16_t r[2 * LANES];
    for (int l = 0; l < LANES; l++) {
        x[2 * l] = pb[l];
        x[2 * l + 1] = pa[l];
    }
    (i->type[0] == T_F16X2 ? f16_of_f32_n : bf16_of_f32_n)(x, r, 2 * LANES);
    lanes_store(w, &i->dst[0], r, 4);
}

static op_fn *find_pair(const struct insn *i) {
    const enum ptx_type to = i->type[0], from = i->type[1];
    const uint64_t allowed = F_RELU | F_SATFINITE;
    const bool halves = to == T_F16X2 || to == T_BF16X2;
    if ((i->flags & ~allowed) || (i->rnd != RND_RN && i->rnd != RND_RZ))
        return NULL;
    if (halves && from == T_F32 && i->srcs == 2)
        return i->rnd == RND_RN && !i->flags ? to_pair_nearest : to_pair;
    if (is_fp8(to) && ((from == T_F32 && i->srcs == 2) || (from == T_F16X2 && i->srcs == 1)))
        return i->flags & F_SATFINITE ? to_pair : NULL;
    return to == T_F16X2 && is_fp8(from) && i->srcs == 1 ? to_pair : NULL;
}

static bool is_number(enum ptx_type type) {
    return type == T_F16 || type == T_BF16 || type == T_F32 || type == T_F64;
}

_Static_assert(T_S64 - T_U8 == 7, "the integers are a range");
_Static_assert(RND_RP - RND_RN == 3 && RND_RPI - RND_RNI == 3 && RND_RPI + 1 == RND_COUNT,
               "rounding to a type begins the list, rounding to an integer ends it");
static bool is_integer(enum ptx_type type) {
    return type >= T_U8 && type <= T_S64;
}

static op_fn *find_scalar(const struct insn *i) {
    const enum ptx_type to = i->type[0], from = i->type[1];
    const bool tidy = i->dst[0].width == type_size(to) && i->src[0].width == type_size(from);
    if (i->srcs != 1)
        return NULL;
    for (size_t k = 0; tidy && k < sizeof quick / sizeof quick[0]; k++)
        if (quick[k].to == to && quick[k].from == from && quick[k].rnd == i->rnd && quick[k].flags == i->flags)
            return quick[k].run;
    if (is_integer(to) && is_integer(from)) {
        op_fn *byte = find_byte(i);
        return byte ? byte : i->flags & ~F_SAT || i->rnd ? NULL : int_to_int;
    }
    if (is_integer(to) && is_number(from))
        return i->flags & ~(F_SAT | F_FTZ) || i->rnd < RND_RNI ? NULL : float_to_int;
    if (is_integer(from) && (is_number(to)))
        return i->flags & ~(F_SAT | F_FTZ) || i->rnd > RND_RP ? NULL : int_to_float;
    if (is_number(from) && (is_number(to) || to == T_TF32))
        return i->flags & ~(F_SAT | F_FTZ | F_RELU | F_SATFINITE) || i->rnd == RND_RS ? NULL : float_to_float;
    return NULL;
}

op_fn *op_cvt_find(struct insn *i) {
    const enum ptx_type to = i->type[0];
    if (i->types != 2)
        return NULL;
    return to == T_F16X2 || to == T_BF16X2 || is_fp8(to) ? find_pair(i) : find_scalar(i);
}
