/* Integer arithmetic: everything but carries, which op/carry.c has. */
#include "lanes.h"

/* Wrapping arithmetic is the same for both signs. */
LANES_2(add_16, uint16_t, uint16_t, a + b)
LANES_2(add_32, uint32_t, uint32_t, a + b)
LANES_2(add_64, uint64_t, uint64_t, a + b)
LANES_2(add_16x2, uint32_t, uint32_t, ((a & 0xffff0000u) + (b & 0xffff0000u)) | ((a + b) & 0xffff))
LANES_2(sub_16, uint16_t, uint16_t, a - b)
LANES_2(sub_32, uint32_t, uint32_t, a - b)
LANES_2(sub_64, uint64_t, uint64_t, a - b)
LANES_2(sub_16x2, uint32_t, uint32_t, ((a & 0xffff0000u) - (b & 0xffff0000u)) | ((a - b) & 0xffff))
LANES_2(mul_lo_16, uint16_t, uint16_t, ((uint32_t)a * b))
LANES_2(mul_lo_32, uint32_t, uint32_t, (a * b))
LANES_2(mul_lo_64, uint64_t, uint64_t, (a * b))
LANES_3(mad_lo_16, uint16_t, uint16_t, ((uint32_t)a * b + c))
LANES_3(mad_lo_32, uint32_t, uint32_t, (a * b + c))
LANES_3(mad_lo_64, uint64_t, uint64_t, (a * b + c))

static inline int32_t sat32(int64_t x) {
    return x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : (int32_t)x;
}
LANES_2(add_sat, int32_t, int32_t, sat32((int64_t)a + b))
LANES_2(sub_sat, int32_t, int32_t, sat32((int64_t)a - b))
LANES_3(mad_hi_sat, int32_t, int32_t, sat32(((int64_t)a * b >> 32) + c))

LANES_2(mul_hi_u16, uint16_t, uint16_t, ((uint32_t)a * b >> 16))
LANES_2(mul_hi_s16, int16_t, int16_t, ((int32_t)a * b >> 16))
LANES_2(mul_hi_u32, uint32_t, uint32_t, ((uint64_t)a * b >> 32))
LANES_2(mul_hi_s32, int32_t, int32_t, ((int64_t)a * b >> 32))
LANES_2(mul_hi_u64, uint64_t, uint64_t, high_u64(a, b))
LANES_2(mul_hi_s64, int64_t, int64_t, high_s64(a, b))
LANES_3(mad_hi_u16, uint16_t, uint16_t, ((uint32_t)a * b >> 16) + c)
LANES_3(mad_hi_s16, int16_t, int16_t, ((int32_t)a * b >> 16) + c)
LANES_3(mad_hi_u32, uint32_t, uint32_t, ((uint64_t)a * b >> 32) + c)
LANES_3(mad_hi_s32, uint32_t, int32_t, (uint32_t)((int64_t)a *b >> 32) + (uint32_t)c)
LANES_3(mad_hi_u64, uint64_t, uint64_t, high_u64(a, b) + c)
LANES_3(mad_hi_s64, uint64_t, int64_t, (uint64_t)high_s64(a, b) + (uint64_t)c)
LANES_2(mul_wide_u16, uint32_t, uint16_t, ((uint32_t)a * b))
LANES_2(mul_wide_s16, int32_t, int16_t, ((int32_t)a * b))
LANES_2(mul_wide_u32, uint64_t, uint32_t, ((uint64_t)a * b))
LANES_2(mul_wide_s32, int64_t, int32_t, ((int64_t)a * b))
LANES_21(mad_wide_u16, uint32_t, uint16_t, uint32_t, ((uint32_t)a * b + c))
LANES_21(mad_wide_s16, uint32_t, int16_t, uint32_t, (uint32_t)((int32_t)a *b) + c)
LANES_21(mad_wide_u32, uint64_t, uint32_t, uint64_t, ((uint64_t)a * b + c))
LANES_21(mad_wide_s32, uint64_t, int32_t, uint64_t, (uint64_t)((int64_t)a *b) + c)

/* 24-bit operands, 48-bit product: its low or high 32 bits. */
static inline uint64_t product_u24(uint32_t a, uint32_t b) {
    return (uint64_t)(a & 0xffffff) * (b & 0xffffff);
}
static inline int64_t product_s24(uint32_t a, uint32_t b) {
    return (int64_t)((int32_t)(a << 8) >> 8) * ((int32_t)(b << 8) >> 8);
}
LANES_2(mul24_lo_u32, uint32_t, uint32_t, product_u24(a, b))
LANES_2(mul24_lo_s32, uint32_t, uint32_t, product_s24(a, b))
LANES_2(mul24_hi_u32, uint32_t, uint32_t, product_u24(a, b) >> 16)
LANES_2(mul24_hi_s32, uint32_t, uint32_t, product_s24(a, b) >> 16)
LANES_3(mad24_lo_u32, uint32_t, uint32_t, product_u24(a, b) + c)
LANES_3(mad24_lo_s32, uint32_t, uint32_t, (uint32_t)product_s24(a, b) + c)
LANES_3(mad24_hi_u32, uint32_t, uint32_t, (product_u24(a, b) >> 16) + c)
LANES_3(mad24_hi_s32, uint32_t, uint32_t, (uint32_t)(product_s24(a, b) >> 16) + c)
LANES_3(mad24_hi_sat, int32_t, uint32_t, sat32((product_s24(a, b) >> 16) + (int32_t)c))

LANES_3(sad_u16, uint16_t, uint16_t, c + (a > b ? a - b : b - a))
LANES_3(sad_s16, int16_t, int16_t, c + (a > b ? a - b : b - a))
LANES_3(sad_u32, uint32_t, uint32_t, c + (a > b ? a - b : b - a))
LANES_3(sad_s32, uint32_t, int32_t, (uint32_t)c + (a > b ? (uint32_t)a - (uint32_t)b : (uint32_t)b - (uint32_t)a))
LANES_3(sad_u64, uint64_t, uint64_t, c + (a > b ? a - b : b - a))
LANES_3(sad_s64, uint64_t, int64_t, (uint64_t)c + (a > b ? (uint64_t)a - (uint64_t)b : (uint64_t)b - (uint64_t)a))

/* Division by zero gives all ones and leaves the dividend as the remainder, as the hardware's sequences do. The most
 * negative number divided by -1 wraps: negation does that without undefined behaviour. */
LANES_2(div_u16, uint16_t, uint16_t, b ? a / b : 0xffff)
LANES_2(div_u32, uint32_t, uint32_t, b ? a / b : UINT32_MAX)
LANES_2(div_u64, uint64_t, uint64_t, b ? a / b : UINT64_MAX)
LANES_2(div_s16, int16_t, int16_t, b ? a / b : -1)
LANES_2(div_s32, uint32_t, int32_t, b == -1 ? -(uint32_t)a : b ? (uint32_t)(a / b) : UINT32_MAX)
LANES_2(div_s64, uint64_t, int64_t, b == -1 ? -(uint64_t)a : b ? (uint64_t)(a / b) : UINT64_MAX)
LANES_2(rem_u16, uint16_t, uint16_t, b ? a % b : a)
LANES_2(rem_u32, uint32_t, uint32_t, b ? a % b : a)
LANES_2(rem_u64, uint64_t, uint64_t, b ? a % b : a)
LANES_2(rem_s16, int16_t, int16_t, b ? a % b : a)
LANES_2(rem_s32, int32_t, int32_t, b == -1 ? 0 : b ? a % b : a)
LANES_2(rem_s64, int64_t, int64_t, b == -1 ? 0 : b ? a % b : a)

LANES_1(abs_16, uint16_t, int16_t, a < 0 ? -a : a)
LANES_1(abs_32, uint32_t, int32_t, a < 0 ? -(uint32_t)a : (uint32_t)a)
LANES_1(abs_64, uint64_t, int64_t, a < 0 ? -(uint64_t)a : (uint64_t)a)
LANES_1(neg_16, uint16_t, uint16_t, -a)
LANES_1(neg_32, uint32_t, uint32_t, -a)
LANES_1(neg_64, uint64_t, uint64_t, -a)

LANES_2(min_u16, uint16_t, uint16_t, a < b ? a : b)
LANES_2(min_u32, uint32_t, uint32_t, a < b ? a : b)
LANES_2(min_u64, uint64_t, uint64_t, a < b ? a : b)
LANES_2(min_s16, int16_t, int16_t, a < b ? a : b)
LANES_2(min_s32, int32_t, int32_t, a < b ? a : b)
LANES_2(min_s64, int64_t, int64_t, a < b ? a : b)
LANES_2(max_u16, uint16_t, uint16_t, a > b ? a : b)
LANES_2(max_u32, uint32_t, uint32_t, a > b ? a : b)
LANES_2(max_u64, uint64_t, uint64_t, a > b ? a : b)
LANES_2(max_s16, int16_t, int16_t, a > b ? a : b)
LANES_2(max_s32, int32_t, int32_t, a > b ? a : b)
LANES_2(max_s64, int64_t, int64_t, a > b ? a : b)
LANES_2(min_relu, int32_t, int32_t, (a < b ? a : b) < 0 ? 0 : (a < b ? a : b))
LANES_2(max_relu, int32_t, int32_t, (a > b ? a : b) < 0 ? 0 : (a > b ? a : b))

/* Pairs of halfwords. */
static inline uint32_t pair(uint32_t high, uint32_t low) {
    return high << 16 | (low & 0xffff);
}
static inline int32_t least(int32_t a, int32_t b) {
    return a < b ? a : b;
}
static inline int32_t most(int32_t a, int32_t b) {
    return a > b ? a : b;
}
static inline int32_t high_s(uint32_t a) {
    return (int32_t)a >> 16;
}
static inline int32_t low_s(uint32_t a) {
    return (int16_t)a;
}
static inline int32_t high_u(uint32_t a) {
    return (int32_t)(a >> 16);
}
static inline int32_t low_u(uint32_t a) {
    return (int32_t)(a & 0xffff);
}
static inline uint32_t pair_s(int32_t high, int32_t low) {
    return pair((uint32_t)high, (uint32_t)low);
}
LANES_2(min_u16x2, uint32_t, uint32_t, pair_s(least(high_u(a), high_u(b)), least(low_u(a), low_u(b))))
LANES_2(max_u16x2, uint32_t, uint32_t, pair_s(most(high_u(a), high_u(b)), most(low_u(a), low_u(b))))
LANES_2(min_s16x2, uint32_t, uint32_t, pair_s(least(high_s(a), high_s(b)), least(low_s(a), low_s(b))))
LANES_2(max_s16x2, uint32_t, uint32_t, pair_s(most(high_s(a), high_s(b)), most(low_s(a), low_s(b))))
LANES_2(min_relu_s16x2, uint32_t, uint32_t,
        pair_s(most(0, least(high_s(a), high_s(b))), most(0, least(low_s(a), low_s(b)))))
LANES_2(max_relu_s16x2, uint32_t, uint32_t,
        pair_s(most(0, most(high_s(a), high_s(b))), most(0, most(low_s(a), low_s(b)))))

/* Rows of an operation that has all six types. */
#define ROWS_WRAP(op, flags, f16, f32, f64)                                                                            \
    {op, T_U16, flags, f16}, {op, T_S16, flags, f16}, {op, T_U32, flags, f32}, {op, T_S32, flags, f32},                \
        {op, T_U64, flags, f64}, {                                                                                     \
        op, T_S64, flags, f64                                                                                          \
    }
#define ROWS_SIGN(op, flags, name)                                                                                     \
    {op, T_U16, flags, name##_u16}, {op, T_S16, flags, name##_s16}, {op, T_U32, flags, name##_u32},                    \
        {op, T_S32, flags, name##_s32}, {op, T_U64, flags, name##_u64}, {                                              \
        op, T_S64, flags, name##_s64                                                                                   \
    }
static const struct op_row rows[] = {
    ROWS_WRAP(OP_add, 0, add_16, add_32, add_64),
    ROWS_WRAP(OP_sub, 0, sub_16, sub_32, sub_64),
    {OP_add, T_U16X2, 0, add_16x2},
    {OP_add, T_S16X2, 0, add_16x2},
    {OP_sub, T_U16X2, 0, sub_16x2},
    {OP_sub, T_S16X2, 0, sub_16x2},
    {OP_add, T_S32, F_SAT, add_sat},
    {OP_sub, T_S32, F_SAT, sub_sat},
    ROWS_WRAP(OP_mul, F_LO, mul_lo_16, mul_lo_32, mul_lo_64),
    ROWS_WRAP(OP_mad, F_LO, mad_lo_16, mad_lo_32, mad_lo_64),
    ROWS_SIGN(OP_mul, F_HI, mul_hi),
    ROWS_SIGN(OP_mad, F_HI, mad_hi),
    {OP_mad, T_S32, F_HI | F_SAT, mad_hi_sat},
    {OP_mul, T_U16, F_WIDE, mul_wide_u16},
    {OP_mul, T_S16, F_WIDE, mul_wide_s16},
    {OP_mul, T_U32, F_WIDE, mul_wide_u32},
    {OP_mul, T_S32, F_WIDE, mul_wide_s32},
    {OP_mad, T_U16, F_WIDE, mad_wide_u16},
    {OP_mad, T_S16, F_WIDE, mad_wide_s16},
    {OP_mad, T_U32, F_WIDE, mad_wide_u32},
    {OP_mad, T_S32, F_WIDE, mad_wide_s32},
    {OP_mul24, T_U32, F_LO, mul24_lo_u32},
    {OP_mul24, T_S32, F_LO, mul24_lo_s32},
    {OP_mul24, T_U32, F_HI, mul24_hi_u32},
    {OP_mul24, T_S32, F_HI, mul24_hi_s32},
    {OP_mad24, T_U32, F_LO, mad24_lo_u32},
    {OP_mad24, T_S32, F_LO, mad24_lo_s32},
    {OP_mad24, T_U32, F_HI, mad24_hi_u32},
    {OP_mad24, T_S32, F_HI, mad24_hi_s32},
    {OP_mad24, T_S32, F_HI | F_SAT, mad24_hi_sat},
    ROWS_SIGN(OP_sad, 0, sad),
    ROWS_SIGN(OP_div, 0, div),
    ROWS_SIGN(OP_rem, 0, rem),
    {OP_abs, T_S16, 0, abs_16},
    {OP_abs, T_S32, 0, abs_32},
    {OP_abs, T_S64, 0, abs_64},
    {OP_neg, T_S16, 0, neg_16},
    {OP_neg, T_S32, 0, neg_32},
    {OP_neg, T_S64, 0, neg_64},
    ROWS_SIGN(OP_min, 0, min),
    ROWS_SIGN(OP_max, 0, max),
    {OP_min, T_S32, F_RELU, min_relu},
    {OP_max, T_S32, F_RELU, max_relu},
    {OP_min, T_U16X2, 0, min_u16x2},
    {OP_max, T_U16X2, 0, max_u16x2},
    {OP_min, T_S16X2, 0, min_s16x2},
    {OP_max, T_S16X2, 0, max_s16x2},
    {OP_min, T_S16X2, F_RELU, min_relu_s16x2},
    {OP_max, T_S16X2, F_RELU, max_relu_s16x2},
};

op_fn *op_int_find(struct insn *i) {
    return op_row_find(rows, sizeof rows / sizeof rows[0], i->op, i->type[0], i->flags);
}
