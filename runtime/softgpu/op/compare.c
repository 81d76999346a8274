/* setp, set, selp, slct, testp. A comparison of 32 (or, of pairs, 64) operands gives three masks, less, equal and
 * greater, from which all eighteen operators follow; where none of the three holds an operand is NaN. */
#include "lanes.h"

enum { PAIRS = 2 * LANES };
struct order {
    uint64_t less, equal, greater;
};

/* One loop per type, 32 lanes at a time. */
#define ORDER(name, T)                                                                                                 \
    static void name(const T *a, const T *b, struct order *o, int first) {                                             \
        uint32_t less = 0, equal = 0, greater = 0;                                                                     \
        for (int l = 0; l < LANES; l++) {                                                                              \
            less |= a[l] < b[l] ? 1u << l : 0;                                                                         \
            equal |= a[l] == b[l] ? 1u << l : 0;                                                                       \
            greater |= a[l] > b[l] ? 1u << l : 0;                                                                      \
        }                                                                                                              \
        o->less |= (uint64_t)less << first;                                                                            \
        o->equal |= (uint64_t)equal << first;                                                                          \
        o->greater |= (uint64_t)greater << first;                                                                      \
    }
ORDER(order_u32, uint32_t)
ORDER(order_s32, int32_t)
ORDER(order_u64, uint64_t)
ORDER(order_s64, int64_t)
ORDER(order_u16, uint16_t)
ORDER(order_s16, int16_t)
ORDER(order_f32, float)
ORDER(order_f64, double)

static bool is_pair(enum ptx_type type) {
    return type == T_F16X2 || type == T_BF16X2;
}

static void order_half(const void *pa, const void *pb, enum ptx_type type, bool ftz, struct order *o) {
    const bool wide = type == T_BF16 || type == T_BF16X2;
    const int n = is_pair(type) ? PAIRS : LANES;
    float a[PAIRS], b[PAIRS];
    (wide ? bf16_to_f32_n : f16_to_f32_n)(pa, a, n);
    (wide ? bf16_to_f32_n : f16_to_f32_n)(pb, b, n);
    for (int k = 0; ftz && k < n; k++) {
        a[k] = fabsf(a[k]) < (wide ? 0x1p-126f : 0x1p-14f) ? 0 : a[k];
        b[k] = fabsf(b[k]) < (wide ? 0x1p-126f : 0x1p-14f) ? 0 : b[k];
    }
    for (int first = 0; first < n; first += LANES)
        order_f32(a + first, b + first, o, first);
}

static void order_ftz(const float *pa, const float *pb, struct order *o) {
    float a[LANES], b[LANES];
    for (int l = 0; l < LANES; l++) {
        a[l] = f32_flush(pa[l]);
        b[l] = f32_flush(pb[l]);
    }
    order_f32(a, b, o, 0);
}

static uint64_t combine(const struct order *o, enum ptx_compare cmp) {
    const uint64_t number = o->less | o->equal | o->greater;
    switch (cmp) {
    case CMP_EQ:
        return o->equal;
    case CMP_NE:
        return o->less | o->greater;
    case CMP_LT:
    case CMP_LO:
        return o->less;
    case CMP_LE:
    case CMP_LS:
        return o->less | o->equal;
    case CMP_GT:
    case CMP_HI:
        return o->greater;
    case CMP_GE:
    case CMP_HS:
        return o->greater | o->equal;
    case CMP_EQU:
        return o->equal | ~number;
    case CMP_NEU:
        return ~o->equal;
    case CMP_LTU:
        return o->less | ~number;
    case CMP_LEU:
        return ~o->greater;
    case CMP_GTU:
        return o->greater | ~number;
    case CMP_GEU:
        return ~o->less;
    case CMP_NUM:
        return number;
    default:
        return ~number;
    }
}

/* The comparison of the first two sources as a bit per element. */
static uint64_t compare(const struct warp *w, const struct insn *i, enum ptx_type type) {
    const void *a = src_lanes(w, &i->src[0]), *b = src_lanes(w, &i->src[1]);
    const bool ftz = (i->flags & F_FTZ) != 0;
    struct order o = {0, 0, 0};
    switch (type) {
    case T_U16:
    case T_B16:
        order_u16(a, b, &o, 0);
        break;
    case T_S16:
        order_s16(a, b, &o, 0);
        break;
    case T_U32:
    case T_B32:
        order_u32(a, b, &o, 0);
        break;
    case T_S32:
        order_s32(a, b, &o, 0);
        break;
    case T_U64:
    case T_B64:
        order_u64(a, b, &o, 0);
        break;
    case T_S64:
        order_s64(a, b, &o, 0);
        break;
    case T_F32:
        if (ftz)
            order_ftz(a, b, &o);
        else
            order_f32(a, b, &o, 0);
        break;
    case T_F64:
        order_f64(a, b, &o, 0);
        break;
    default:
        order_half(a, b, type, ftz, &o);
    }
    return combine(&o, i->cmp);
}

static uint32_t with_predicate(const struct warp *w, const struct insn *i, uint32_t t) {
    if (!i->boolop)
        return t;
    const uint32_t c = src_pred(w, &i->src[2]);
    return i->boolop == SUB_AND ? t & c : i->boolop == SUB_OR ? t | c : t ^ c;
}

/* p|q: the comparison and its complement; of pairs, that of the low and of the high halves. */
static void setp_op(struct warp *w, const struct insn *i) {
    const enum ptx_type type = i->type[0];
    const uint64_t t = compare(w, i, type);
    uint32_t p = (uint32_t)t, q = ~p;
    if (is_pair(type)) {
        p = q = 0;
        for (int l = 0; l < LANES; l++) {
            p |= (uint32_t)(t >> (2 * l) & 1) << l;
            q |= (uint32_t)(t >> (2 * l + 1) & 1) << l;
        }
    }
    p = with_predicate(w, i, p);
    q = with_predicate(w, i, q);
    dst_pred(w, &i->dst[0], p);
    dst_pred(w, &i->dst[1], q);
}

/* What "true" is in a register of the destination type. */
static uint32_t true_bits(enum ptx_type type) {
    switch (type) {
    case T_F32:
        return 0x3f800000u;
    case T_F16:
        return 0x3c00;
    case T_F16X2:
        return 0x3c003c00u;
    case T_BF16:
        return 0x3f80;
    case T_BF16X2:
        return 0x3f803f80u;
    default:
        return ~0u;
    }
}

static void set_op(struct warp *w, const struct insn *i) {
    const enum ptx_type type = i->type[0];
    const bool paired = is_pair(i->type[1]);
    uint64_t t = compare(w, i, i->type[1]);
    if (i->boolop && !paired)
        t = with_predicate(w, i, (uint32_t)t);
    uint32_t r[LANES];
    uint16_t narrow[LANES];
    for (int l = 0; l < LANES; l++) {
        const uint32_t one = t >> l & 1 ? ~0u : 0;
        const uint32_t two = (t >> (2 * l) & 1 ? 0xffff : 0) | (t >> (2 * l + 1) & 1 ? 0xffff0000u : 0);
        r[l] = true_bits(type) & (paired ? two : one);
        narrow[l] = (uint16_t)r[l];
    }
    const unsigned size = type_size(type);
    lanes_store(w, &i->dst[0], size == 2 ? (const void *)narrow : r, size);
}

#define SELECT(name, T)                                                                                                \
    static void name(struct warp *w, const struct insn *i, uint32_t mask) {                                            \
        const T *a = src_lanes(w, &i->src[0]), *b = src_lanes(w, &i->src[1]);                                          \
        T r[LANES];                                                                                                    \
        for (int l = 0; l < LANES; l++)                                                                                \
            r[l] = mask & 1u << l ? a[l] : b[l];                                                                       \
        lanes_store(w, &i->dst[0], r, sizeof(T));                                                                      \
    }
SELECT(select_16, uint16_t)
SELECT(select_32, uint32_t)
SELECT(select_64, uint64_t)

static void select_by(struct warp *w, const struct insn *i, uint32_t mask) {
    switch (type_size(i->type[0])) {
    case 2:
        select_16(w, i, mask);
        break;
    case 4:
        select_32(w, i, mask);
        break;
    default:
        select_64(w, i, mask);
    }
}

static void selp_op(struct warp *w, const struct insn *i) {
    select_by(w, i, src_pred(w, &i->src[2]));
}

/* a where c >= 0 (for f32: NaN chooses b, -0 is 0). */
static void slct_op(struct warp *w, const struct insn *i) {
    const void *pc = src_lanes(w, &i->src[2]);
    uint32_t mask = 0;
    for (int l = 0; l < LANES; l++) {
        const float c = ((const float *)pc)[l];
        const bool up =
            i->type[1] == T_S32 ? ((const int32_t *)pc)[l] >= 0 : (i->flags & F_FTZ ? f32_flush(c) : c) >= 0;
        mask |= up ? 1u << l : 0;
    }
    select_by(w, i, mask);
}

static bool test_double(double x, bool subnormal, enum ptx_sub what) {
    switch (what) {
    case SUB_FINITE:
        return isfinite(x);
    case SUB_INFINITE:
        return isinf(x);
    case SUB_NUMBER:
        return !isnan(x);
    case SUB_NOTANUMBER:
        return isnan(x);
    case SUB_NORMAL:
        return isfinite(x) && x != 0 && !subnormal;
    default:
        return subnormal;
    }
}

static void testp_op(struct warp *w, const struct insn *i) {
    const void *p = src_lanes(w, &i->src[0]);
    uint32_t mask = 0;
    for (int l = 0; l < LANES; l++) {
        const double x = i->type[0] == T_F64 ? ((const double *)p)[l] : ((const float *)p)[l];
        const bool subnormal = x != 0 && fabs(x) < (i->type[0] == T_F64 ? 0x1p-1022 : 0x1p-126);
        mask |= test_double(x, subnormal, i->sub) ? 1u << l : 0;
    }
    dst_pred(w, &i->dst[0], mask);
}

_Static_assert(CMP_GE - CMP_EQ == 5 && CMP_HS - CMP_GE == 4 && CMP_EQU - CMP_HS == 1 && CMP_NAN - CMP_EQU == 7,
               "the comparisons of all numbers, of unsigned ones and of floats are ranges");
_Static_assert(SUB_SUBNORMAL - SUB_FINITE == 5, "what testp tests is a range");
static bool comparable(enum ptx_type type, enum ptx_compare cmp) {
    const bool is_bits = type == T_B16 || type == T_B32 || type == T_B64;
    const bool is_int = is_bits || (!type_is_float(type) && type_size(type) >= 2 && type <= T_S64);
    const bool is_float =
        type == T_F16 || type == T_F16X2 || type == T_BF16 || type == T_BF16X2 || type == T_F32 || type == T_F64;
    if (is_bits)
        return cmp == CMP_EQ || cmp == CMP_NE;
    if (is_int)
        return type != T_B128 && cmp >= CMP_EQ && cmp <= CMP_HS;
    return is_float && cmp != CMP_NONE && (cmp <= CMP_GE || cmp >= CMP_EQU);
}

op_fn *op_compare_find(struct insn *i) {
    const enum ptx_type type = i->type[0];
    const unsigned size = type_size(type);
    switch (i->op) {
    case OP_setp:
        return comparable(type, i->cmp) && !(i->flags & ~F_FTZ) ? setp_op : NULL;
    case OP_set:
        return i->types == 2 && comparable(i->type[1], i->cmp) && (size == 2 || size == 4) && !(i->flags & ~F_FTZ)
                   ? set_op
                   : NULL;
    case OP_selp:
        return (size == 2 || size == 4 || size == 8) && !i->flags ? selp_op : NULL;
    case OP_slct:
        return i->types == 2 && (i->type[1] == T_S32 || i->type[1] == T_F32) && size >= 2 && size <= 8 ? slct_op : NULL;
    default:
        return (type == T_F32 || type == T_F64) && i->sub >= SUB_FINITE && i->sub <= SUB_SUBNORMAL ? testp_op : NULL;
    }
}
