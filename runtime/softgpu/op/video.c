/* Video instructions: byte and halfword arithmetic with selectors, and the dot products dp4a and dp2a. */
#include "lanes.h"

enum video_op {
    VIDEO_NONE,
    VIDEO_ADD,
    VIDEO_SUB,
    VIDEO_ABSDIFF,
    VIDEO_MIN,
    VIDEO_MAX,
    VIDEO_AVERAGE,
    VIDEO_SET,
    VIDEO_SHL,
    VIDEO_SHR
};
struct video {
    uint8_t op;    /* enum video_op */
    uint8_t parts; /* 1, 2 or 4 elements in a register */
};

#define IN_PARTS(name, op) [OP_##name##2] = {op, 2}, [OP_##name##4] = {op, 4}
#define IN_ALL(name, op)   [OP_##name] = {op, 1}, IN_PARTS(name, op)
static const struct video video_table[OP_COUNT] = {
    IN_ALL(vadd, VIDEO_ADD),        IN_ALL(vsub, VIDEO_SUB),    IN_ALL(vabsdiff, VIDEO_ABSDIFF),
    IN_ALL(vmin, VIDEO_MIN),        IN_ALL(vmax, VIDEO_MAX),    IN_ALL(vset, VIDEO_SET),
    IN_PARTS(vavrg, VIDEO_AVERAGE), [OP_vshl] = {VIDEO_SHL, 1}, [OP_vshr] = {VIDEO_SHR, 1},
};

/* `bits` bits of x from `pos`, extended. */
static int64_t field(uint32_t x, int pos, int bits, bool sign) {
    return (int64_t)bfe(x, (uint32_t)pos, (uint32_t)bits, 64, false) -
           (sign && x >> (pos + bits - 1) & 1 ? 1ll << bits : 0);
}

/* A scalar operand: a selected byte or halfword, or all of it. */
static int64_t selected(uint32_t x, uint16_t select, bool sign) {
    if (!select)
        return sign ? (int64_t)(int32_t)x : (int64_t)x;
    const int bits = SELECT_IS_HALF(select) ? 16 : 8;
    return field(x, (int)SELECT_DIGIT(select, 0) * bits, bits, sign);
}

/* Element k of a SIMD operand, whose selector may permute the elements. */
static int64_t part_of(uint32_t x, uint16_t select, int k, int bits, bool sign) {
    const int at = select ? (int)SELECT_DIGIT(select, k) : k;
    return field(x, at * bits, bits, sign);
}

static bool holds(enum ptx_compare cmp, int64_t a, int64_t b) {
    switch (cmp) {
    case CMP_EQ:
        return a == b;
    case CMP_NE:
        return a != b;
    case CMP_LT:
        return a < b;
    case CMP_LE:
        return a <= b;
    case CMP_GT:
        return a > b;
    default:
        return a >= b;
    }
}

static int64_t apply(const struct insn *i, enum video_op op, int64_t a, int64_t b) {
    /* shifts: the count is the low five bits, or at most 32 with .clamp */
    const uint32_t count = i->flags & F_CLAMP ? (uint32_t)((uint64_t)b < 32 ? b : 32) : (uint32_t)b & 31;
    switch (op) {
    case VIDEO_ADD:
        return a + b;
    case VIDEO_SUB:
        return a - b;
    case VIDEO_ABSDIFF:
        return a > b ? a - b : b - a;
    case VIDEO_MIN:
        return a < b ? a : b;
    case VIDEO_MAX:
        return a > b ? a : b;
    case VIDEO_AVERAGE: /* halves round away from zero */
        return a + b < 0 ? -((-(a + b) + 1) >> 1) : (a + b + 1) >> 1;
    case VIDEO_SET:
        return holds(i->cmp, a, b);
    case VIDEO_SHL:
        return (int64_t)((uint64_t)a << count);
    default:
        return a >> count;
    }
}

static uint32_t secondary(enum ptx_sub sub, uint32_t x, uint32_t c, bool sign) {
    if (sub == SUB_ADD)
        return x + c;
    const bool less = sign ? (int32_t)x < (int32_t)c : x < c;
    return (sub == SUB_MIN) == less ? x : c;
}

static uint32_t video_scalar(const struct insn *i, enum video_op op, uint32_t a, uint32_t b, uint32_t c) {
    const bool set = op == VIDEO_SET;
    const bool sign = !set && type_is_signed(i->type[0]);
    const enum ptx_type ta = i->type[!set], tb = i->type[set ? 1 : 2];
    int64_t x =
        apply(i, op, selected(a, i->select[1], type_is_signed(ta)), selected(b, i->select[2], type_is_signed(tb)));
    if (i->flags & F_SAT) { /* to the destination's type, or to its selected part */
        const unsigned bits = !i->select[0] ? 32 : SELECT_IS_HALF(i->select[0]) ? 16 : 8;
        x = (int64_t)int_clamp((uint64_t)x, true, bits, sign);
    }
    if (i->select[0]) { /* merged into c */
        const uint32_t bits = SELECT_IS_HALF(i->select[0]) ? 16 : 8;
        return (uint32_t)bfi((uint64_t)x, c, SELECT_DIGIT(i->select[0], 0) * bits, bits, 32);
    }
    return i->sub ? secondary(i->sub, (uint32_t)x, c, sign) : (uint32_t)x;
}

static uint32_t video_simd(const struct insn *i, struct video v, uint32_t a, uint32_t b, uint32_t c) {
    const bool set = v.op == VIDEO_SET;
    const bool sign = !set && type_is_signed(i->type[0]);
    const enum ptx_type ta = i->type[!set], tb = i->type[set ? 1 : 2];
    const int bits = 32 / v.parts;
    uint32_t mask = ~0u, r = c;
    if (i->select[0]) {
        mask = 0;
        for (unsigned k = 0; k < SELECT_COUNT(i->select[0]); k++)
            mask |= 1u << SELECT_DIGIT(i->select[0], k);
    }
    for (int k = 0; k < v.parts; k++) {
        if (!(mask >> k & 1))
            continue;
        int64_t x = apply(i, v.op, part_of(a, i->select[1], k, bits, type_is_signed(ta)),
                          part_of(b, i->select[2], k, bits, type_is_signed(tb)));
        if (i->flags & F_SAT)
            x = (int64_t)int_clamp((uint64_t)x, true, (unsigned)bits, sign);
        if (i->sub == SUB_ADD)
            r += (uint32_t)x;
        else
            r = (uint32_t)bfi((uint64_t)x, r, (uint32_t)(k * bits), (uint32_t)bits, 32);
    }
    return r;
}

static void video_op(struct warp *w, const struct insn *i) {
    const struct video v = video_table[i->op];
    const uint32_t *pa = src_lanes(w, &i->src[0]), *pb = src_lanes(w, &i->src[1]);
    const uint32_t *pc = src_lanes(w, &i->src[i->srcs > 2 ? 2 : 0]);
    uint32_t r[LANES];
    for (int l = 0; l < LANES; l++)
        r[l] = v.parts == 1 ? video_scalar(i, v.op, pa[l], pb[l], pc[l]) : video_simd(i, v, pa[l], pb[l], pc[l]);
    lanes_store(w, &i->dst[0], r, 4);
}

/* vmad.dtype.atype.btype{.sat}{.shr7|.shr15} d, a, b, c: a * b + c, shifted right. .po adds one. */
static void vmad_op(struct warp *w, const struct insn *i) {
    const bool sign = type_is_signed(i->type[0]);
    const uint32_t *pa = src_lanes(w, &i->src[0]), *pb = src_lanes(w, &i->src[1]), *pc = src_lanes(w, &i->src[2]);
    uint32_t r[LANES];
    for (int l = 0; l < LANES; l++) {
        const __int128 a = selected(pa[l], i->select[1], type_is_signed(i->type[1]));
        const __int128 b = selected(pb[l], i->select[2], type_is_signed(i->type[2]));
        const __int128 c = sign ? (__int128)(int32_t)pc[l] : (__int128)pc[l];
        const __int128 sum = a * b * (i->src[0].negated != i->src[1].negated ? -1 : 1) + (i->src[2].negated ? -c : c) +
                             (i->flags & F_PO ? 1 : 0);
        const __int128 x = sum >> (i->flags & F_SHR7 ? 7 : i->flags & F_SHR15 ? 15 : 0);
        const int64_t low = sign ? INT32_MIN : 0, high = sign ? INT32_MAX : UINT32_MAX;
        r[l] = i->flags & F_SAT ? (uint32_t)(x < low ? low : x > high ? high : (int64_t)x) : (uint32_t)x;
    }
    lanes_store(w, &i->dst[0], r, 4);
}

static void dot_op(struct warp *w, const struct insn *i) {
    const bool a = type_is_signed(i->type[0]), b = type_is_signed(i->type[1]), high = (i->flags & F_HI) != 0;
    const uint32_t *pa = src_lanes(w, &i->src[0]), *pb = src_lanes(w, &i->src[1]), *pc = src_lanes(w, &i->src[2]);
    uint32_t r[LANES];
    for (int l = 0; l < LANES; l++)
        r[l] = i->op == OP_dp4a ? dp4a(pa[l], pb[l], pc[l], a, b) : dp2a(pa[l], pb[l], pc[l], a, b, high);
    lanes_store(w, &i->dst[0], r, 4);
}

static bool is_word(enum ptx_type type) {
    return type == T_U32 || type == T_S32;
}

op_fn *op_video_find(struct insn *i) {
    const bool words = is_word(i->type[0]) && is_word(i->type[1]) && (i->types < 3 || is_word(i->type[2]));
    const struct video v = video_table[i->op];
    if (!words)
        return NULL;
    if (i->op == OP_dp4a || i->op == OP_dp2a)
        return i->types == 2 && i->srcs == 3 && !(i->flags & ~(F_LO | F_HI)) ? dot_op : NULL;
    if (i->op == OP_vmad)
        return i->types == 3 && i->srcs == 3 && !(i->flags & ~(F_SAT | F_PO | F_SHR7 | F_SHR15)) ? vmad_op : NULL;
    if (v.op == VIDEO_NONE || i->types != (v.op == VIDEO_SET ? 2 : 3) || (i->flags & ~(F_SAT | F_CLAMP | F_WRAP)))
        return NULL;
    if (v.op == VIDEO_SET && (i->cmp < CMP_EQ || i->cmp > CMP_GE))
        return NULL;
    const bool needs_c = v.parts > 1 || i->sub || i->select[0];
    return i->srcs == (needs_c ? 3 : 2) ? video_op : NULL;
}
