/* What floating-point instructions, comparisons and conversions compute in forms that kernels seldom use. */
#include "lines.h"

/* ---- f32 and f64 ---- */

static float flushed(float x) {
    return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x;
}
static float f(word x) {
    return f32_of(x);
}
static wide bits_of(float x) {
    return x != x ? F32_NAN : f32_bits(x);
}
F(sign_f32) {
    return (a & 0x80000000u) | (b & 0x7fffffffu);
}
F(sign_f64) {
    return (pair(a, b) & 1ull << 63) | (pair(c, a) & ~(1ull << 63));
}
F(abs_f) {
    return a & 0x7fffffffu;
}
F(abs_flushed) {
    return f32_bits(fabsf(flushed(f(a))));
}
F(neg_f) {
    return a ^ 0x80000000u;
}
F(neg_flushed) {
    return f32_bits(-flushed(f(a)));
}
F(abs_d) {
    return pair(a, b & 0x7fffffffu);
}
F(neg_d) {
    return pair(a, b ^ 0x80000000u);
}
/* One NaN gives the other, and -0 lies below 0. */
static double smaller(double x, double y) {
    return x != x ? y : y != y ? x : x < y || (x == y && signbit(x)) ? x : y;
}
static double larger(double x, double y) {
    return x != x ? y : y != y ? x : x > y || (x == y && !signbit(x)) ? x : y;
}
F(min_f) {
    return bits_of((float)smaller(f(a), f(b)));
}
F(max_f) {
    return bits_of((float)larger(f(a), f(b)));
}
static wide d_or_nan(double r, wide either) {
    return r != r ? either : f64_bits(r);
}
F(min_d) {
    return d_or_nan(smaller(real(a, b), real(c, a)), pair(a, b));
}
F(max_d) {
    return d_or_nan(larger(real(a, b), real(c, a)), pair(a, b));
}
F(decimal_f) {
    return bits_of(f(a) + 1.1f);
}
F(decimal_neg) {
    return bits_of(f(a) - 2.5f);
}
F(single_in_d) {
    const double x = real(a, b) * 1.5;
    return x != x ? pair(a, b | 0x80000) : f64_bits(x);
}
F(classed) {
    return isfinite(real(a, b)) && (pair(a, b) >> 52 & 0x7ff) != 0;
}
F(subnormal) {
    return (pair(a, b) >> 52 & 0x7ff) == 0 && (pair(a, b) & 0xfffffffffffffull) != 0;
}

static void test_floats(void **state) {
    (void)state;
    static const struct line table[] = {
        {"copysign.f32 %f9, %f1, %f2;", sign_f32},
        {"copysign.f64 %d9, %d1, %d2;", sign_f64},
        {"abs.f32 %f9, %f1;", abs_f},
        {"abs.ftz.f32 %f9, %f1;", abs_flushed},
        {"neg.f32 %f9, %f1;", neg_f},
        {"neg.ftz.f32 %f9, %f1;", neg_flushed},
        {"abs.f64 %d9, %d1;", abs_d},
        {"neg.f64 %d9, %d1;", neg_d},
        {"min.f32 %f9, %f1, %f2;", min_f},
        {"max.f32 %f9, %f1, %f2;", max_f},
        {"add.rn.f32 %f9, %f1, 1.1;", decimal_f}, /* a decimal is a double, here rounded */
        {"add.f32 %f9, %f1, -2.5;", decimal_neg},
        {"testp.normal.f64 %p9, %d1;", classed},
        {"testp.subnormal.f64 %p9, %d1;", subnormal},
    };
    CHECK(table);
    static const struct line doubles[] = {{"min.f64 %d9, %d1, %d2;", min_d},
                                          {"max.f64 %d9, %d1, %d2;", max_d},
                                          {"mul.rn.f64 %d9, %d1, 0f3FC00000;", single_in_d}};
    CHECK(doubles);
}

/* ---- halves ---- */

static double half(word x, bool bf) {
    return float_to_double(bf ? &format_bf16 : &format_f16, x & 65535);
}
static wide to_half(double x, bool bf) {
    return float_from_double(bf ? &format_bf16 : &format_f16, x, RND_RN, false);
}
typedef double half_fn(double x, double y);
static wide both(word a, word b, bool bf, half_fn *fn) {
    return to_half(fn(half(a, bf), half(b, bf)), bf) | to_half(fn(half(a >> 16, bf), half(b >> 16, bf)), bf) << 16;
}
static double smaller_nan(double x, double y) {
    return x != x || y != y ? NAN : smaller(x, y);
}
F(half_min) {
    return to_half(smaller(half(a, false), half(b, false)), false);
}
F(half_max) {
    return both(a, b, true, larger);
}
F(half_min_nan) {
    return both(a, b, false, smaller_nan);
}
F(half_max_signed) { /* .xorsign.abs: of a NaN too, the sign counts */
    return both(a & 0x7fff7fff, b & 0x7fff7fff, true, larger) | ((a ^ b) & 0x80008000);
}
F(half_min_three) {
    return to_half(smaller(smaller(half(a, false), half(b, false)), half(c, false)), false);
}
static double tiny_to_zero(double x) {
    return fabs(x) < 0x1p-14 ? copysign(0, x) : x;
}
F(half_max_ftz) {
    const double r = larger(tiny_to_zero(half(a, false)), tiny_to_zero(half(b, false)));
    return to_half(r, false);
}
F(half_abs) {
    return a & 0x7fff7fff;
}
F(half_neg) {
    return (a ^ 0x8000) & 0xffff;
}
F(half_neg_ftz) {
    wide r = 0;
    for (int k = 0; k < 32; k += 16) {
        const word x = (a >> k ^ 0x8000) & 0xffff;
        r |= (wide)(x & 0x7c00 ? x : x & 0x8000) << k;
    }
    return r;
}
F(bf_abs_ftz) {
    return a & 0x7f80 ? a & 0x7fff : 0;
}
static double ex2(double x, double unused) {
    (void)unused;
    return (float)exp2(x);
}
static double hyperbolic(double x, double unused) {
    (void)unused;
    return (float)tanh(x);
}
F(half_ex2) {
    return both(a, a, false, ex2);
}
F(bf_tanh) {
    return to_half(hyperbolic(half(a, true), 0), true);
}
F(bf_ex2_ftz) {
    const double x = half(a, true), y = ex2(fabs(x) < 0x1p-126 ? 0 : x, 0);
    return to_half(fabs(y) < 0x1p-126 ? 0 : y, true);
}

static void test_halves(void **state) {
    (void)state;
    static const struct line table[] = {
        {"min.f16 %h9, %h1, %h2;", half_min},
        {"max.bf16x2 %r9, %r1, %r2;", half_max},
        {"min.NaN.f16x2 %r9, %r1, %r2;", half_min_nan},
        {"max.xorsign.abs.bf16x2 %r9, %r1, %r2;", half_max_signed},
        {"min.f16 %h9, %h1, %h2, %h3;", half_min_three},
        {"max.ftz.f16 %h9, %h1, %h2;", half_max_ftz},
        {"abs.f16x2 %r9, %r1;", half_abs},
        {"neg.bf16 %h9, %h1;", half_neg},
        {"neg.ftz.f16x2 %r9, %r1;", half_neg_ftz},
        {"abs.ftz.bf16 %h9, %h1;", bf_abs_ftz},
        {"ex2.approx.f16x2 %r9, %r1;", half_ex2},
        {"tanh.approx.bf16 %h9, %h1;", bf_tanh},
        {"ex2.approx.ftz.bf16 %h9, %h1;", bf_ex2_ftz},
    };
    CHECK(table);
}

/* ---- comparisons ---- */

F(less_s16) {
    return (int16_t)a < (int16_t)b;
}
F(higher_u16) {
    return (uint16_t)a > (uint16_t)b;
}
F(same_b16) {
    return (uint16_t)a == (uint16_t)b;
}
F(least_u64) {
    return pair(a, b) >= pair(c, a);
}
F(other_b64) {
    return pair(a, b) != pair(c, a);
}
F(less_s64) {
    return (int64_t)pair(a, b) <= (int64_t)pair(c, a);
}
F(lower_s32) {
    return (int32_t)a < (int32_t)b;
}
F(greater_d) {
    return real(a, b) > real(c, a);
}
F(number_d) {
    return real(a, b) == real(a, b) && real(c, a) == real(c, a);
}
F(less_ftz) {
    return flushed(f(a)) <= flushed(f(b));
}
F(half_less) {
    return half(a, false) < half(b, false);
}
F(bf_not_less) {
    return !(half(a, true) < half(b, true));
}
F(half_same_ftz) {
    return tiny_to_zero(half(a, false)) == tiny_to_zero(half(b, false));
}
F(low_of_pair) {
    return half(a, false) < half(b, false) && (a & 1);
}
F(high_of_pair) {
    return half(a >> 16, true) >= half(b >> 16, true) || (b & 1);
}
F(set_half) {
    return half(a, false) == half(b, false) ? 0x3c00 : 0;
}
F(set_pair) {
    return (half(a, false) != half(b, false) ? 0x3c00u : 0) |
           (half(a >> 16, false) != half(b >> 16, false) ? 0x3c000000u : 0);
}
F(set_mask) {
    return (half(a, true) > half(b, true) ? 0xffffu : 0) |
           (half(a >> 16, true) > half(b >> 16, true) ? 0xffff0000u : 0);
}
F(set_bf) {
    return half(a, true) <= half(b, true) ? 0x3f80 : 0;
}
F(set_bf_pair) {
    return (half(a, true) < half(b, true) ? 0x3f80u : 0) |
           (half(a >> 16, true) < half(b >> 16, true) ? 0x3f800000u : 0);
}
F(set_and) {
    return f(a) < f(b) && (a & 1) ? f32_bits(1) : 0;
}
F(set_or) {
    return pair(a, b) == pair(c, a) || !(b & 1) ? ~0u : 0;
}
F(set_xor) {
    return (real(a, b) >= real(c, a)) != (a & 1) ? ~0u : 0;
}
F(chosen_ftz) {
    return flushed(f(c)) >= 0 ? a : b;
}
F(chosen_imm) {
    return (int32_t)c >= 0 ? 77 : b;
}
F(chosen_d) {
    return f(c) >= 0 ? pair(a, b) : f64_bits(2.5);
}
F(picked) {
    return a & 1 ? 0xfffffff9u : 6;
}
F(picked_half) {
    return a & 1 ? b & 0xffff : 9;
}
F(picked_const) {
    return a;
}

static void test_comparisons(void **state) {
    (void)state;
    static const struct line table[] = {
        {"setp.lt.s16 %p9, %h1, %h2;", less_s16},
        {"setp.hi.u16 %p9, %h1, %h2;", higher_u16},
        {"setp.eq.b16 %p9, %h1, %h2;", same_b16},
        {"setp.hs.u64 %p9, %rd1, %rd2;", least_u64},
        {"setp.ne.b64 %p9, %rd1, %rd2;", other_b64},
        {"setp.le.s64 %p9, %rd1, %rd2;", less_s64},
        {"setp.lt.s32 %p9, %r1, %r2;", lower_s32},
        {"setp.gt.f64 %p9, %d1, %d2;", greater_d},
        {"setp.num.f64 %p9, %d1, %d2;", number_d},
        {"setp.le.ftz.f32 %p9, %f1, %f2;", less_ftz},
        {"setp.lt.f16 %p9, %h1, %h2;", half_less},
        {"setp.geu.bf16 %p9, %h1, %h2;", bf_not_less},
        {"setp.eq.ftz.f16 %p9, %h1, %h2;", half_same_ftz},
        {"setp.lt.and.f16x2 %p9|%p5, %r1, %r2, %p1;", low_of_pair},
        {"setp.ge.or.bf16x2 %p5|%p9, %r1, %r2, %p2;", high_of_pair},
        {"set.eq.f16.f16 %h9, %h1, %h2;", set_half},
        {"set.neu.f16x2.f16x2 %r9, %r1, %r2;", set_pair},
        {"set.gt.u32.bf16x2 %r9, %r1, %r2;", set_mask},
        {"set.le.bf16.bf16 %h9, %h1, %h2;", set_bf},
        {"set.lt.bf16x2.bf16x2 %r9, %r1, %r2;", set_bf_pair},
        {"set.lt.and.f32.f32 %f9, %f1, %f2, %p1;", set_and},
        {"set.eq.or.u32.u64 %r9, %rd1, %rd2, !%p2;", set_or},
        {"set.ge.xor.s32.f64 %r9, %d1, %d2, %p1;", set_xor},
        {"slct.ftz.b32.f32 %r9, %r1, %r2, %f3;", chosen_ftz},
        {"slct.b32.s32 %r9, 77, %r2, %r3;", chosen_imm},
        {"slct.f64.f32 %d9, %d1, 2.5, %f3;", chosen_d},
        {"selp.s32 %r9, -7, 6, %p1;", picked},
        {"selp.b16 %h9, %h2, 9, %p1;", picked_half},
        {"selp.b32 %r9, %r1, %r2, 1;", picked_const},
    };
    CHECK(table);
}

/* ---- conversions ---- */

static int64_t int_of(double x, int64_t low, int64_t high) {
    return x != x ? 0 : x <= (double)low ? low : x >= (double)high ? high : (int64_t)x;
}
F(nearest_ftz) {
    return (word)int_of(rint(flushed(f(a))), INT32_MIN, INT32_MAX);
}
F(zero_ftz) {
    return (word)int_of(trunc(flushed(f(a))), INT32_MIN, INT32_MAX);
}
F(up_ftz) {
    return (word)int_of(ceil(flushed(f(a))), INT32_MIN, INT32_MAX);
}
F(whole) {
    return bits_of(rintf(f(a)));
}
F(whole_ftz) {
    return bits_of(rintf(flushed(f(a))));
}
F(whole_down) {
    return bits_of(floorf(f(a)));
}
F(whole_d) {
    return f64_bits(trunc(real(a, b & ~0x40000000u)));
}
F(clamped) {
    return bits_of(f(a) > 0 ? f(a) < 1 ? f(a) : 1 : 0);
}
F(clamped_half) {
    const float x = f(a);
    return to_half(x > 0 ? x < 1 ? x : 1 : 0, false);
}
F(clamped_int) {
    return (int32_t)a > 0 ? f32_bits(1) : 0;
}
F(relu_half) {
    return to_half(f(a) <= 0 ? 0 : f(a), false);
}
F(relu_bf) {
    return float_from_double(&format_bf16, f(a) <= 0 ? 0 : f(a), RND_RZ, false);
}
F(finite_half) {
    return float_from_double(&format_f16, f(a), RND_RN, true);
}
F(narrow_ftz) {
    const wide r = float_from_double(&format_f32, real(a, b), RND_RM, false);
    return r & 0x7f800000 ? r : r & 0x80000000u;
}
F(widened) {
    return float_from_double(&format_f64, half(a, false), RND_RN, false);
}
F(from_signed) {
    return float_round(&format_f32, (int32_t)a < 0, (int32_t)a < 0 ? 0 - (wide)(int64_t)(int32_t)a : a, 0, RND_RP,
                       false);
}
F(bf_from_wide) {
    return float_round(&format_bf16, false, pair(a, b), 0, RND_RN, false);
}
F(from_fp8) {
    return to_half(float_to_double(&format_e4m3, a & 255), false) |
           to_half(float_to_double(&format_e4m3, a >> 8 & 255), false) << 16;
}
F(from_fp8_relu) {
    wide r = 0;
    for (int k = 0; k < 2; k++) {
        const double x = float_to_double(&format_e5m2, a >> (8 * k) & 255);
        r |= to_half(x <= 0 ? 0 : x, false) << (16 * k);
    }
    return r;
}
F(to_fp8) {
    return float_from_double(&format_e5m2, half(a, false), RND_RN, true) |
           float_from_double(&format_e5m2, half(a >> 16, false), RND_RN, true) << 8;
}
F(pair_down) {
    return float_from_double(&format_bf16, f(b), RND_RZ, false) | float_from_double(&format_bf16, f(a), RND_RZ, false)
                                                                      << 16;
}
F(byte_signed) {
    return (wide)(int64_t)(int8_t)a;
}
F(byte_clamped) {
    return (int32_t)a < 0 ? 0 : (int32_t)a > 255 ? 255 : a;
}

static void test_conversions(void **state) {
    (void)state;
    static const struct line table[] = {
        {"cvt.rni.ftz.s32.f32 %r9, %f1;", nearest_ftz},
        {"cvt.rzi.ftz.s32.f32 %r9, %f1;", zero_ftz},
        {"cvt.rpi.ftz.s32.f32 %r9, %f1;", up_ftz},
        {"cvt.rni.f32.f32 %f9, %f1;", whole},
        {"cvt.rni.ftz.f32.f32 %f9, %f1;", whole_ftz},
        {"cvt.rmi.f32.f32 %f9, %f1;", whole_down},
        {"and.b32 %r5, %r2, 0xbfffffff; mov.b64 %rd5, {%r1, %r5}; mov.b64 %d5, %rd5; cvt.rzi.f64.f64 %d9, %d5;",
         whole_d},
        {"cvt.sat.f32.f32 %f9, %f1;", clamped},
        {"cvt.rn.sat.f16.f32 %h9, %f1;", clamped_half},
        {"cvt.rn.sat.f32.s32 %f9, %r1;", clamped_int},
        {"cvt.rn.relu.f16.f32 %h9, %f1;", relu_half},
        {"cvt.rz.relu.bf16.f32 %h9, %f1;", relu_bf},
        {"cvt.rn.satfinite.f16.f32 %h9, %f1;", finite_half},
        {"cvt.rm.ftz.f32.f64 %f9, %d1;", narrow_ftz},
        {"cvt.f64.f16 %d9, %h1;", widened},
        {"cvt.rp.f32.s32 %f9, %r1;", from_signed},
        {"cvt.rn.bf16.u64 %h9, %rd1;", bf_from_wide},
        {"cvt.rn.f16x2.e4m3x2 %r9, %h1;", from_fp8},
        {"cvt.rn.relu.f16x2.e5m2x2 %r9, %h1;", from_fp8_relu},
        {"cvt.rn.satfinite.e5m2x2.f16x2 %h9, %r1;", to_fp8},
        {"cvt.rz.bf16x2.f32 %r9, %f1, %f2;", pair_down},
        {"cvt.s64.s8 %rd9, %r1;", byte_signed},
        {"cvt.sat.u8.s32 %r9, %r1;", byte_clamped},
    };
    CHECK(table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_floats),
        cmocka_unit_test(test_halves),
        cmocka_unit_test(test_comparisons),
        cmocka_unit_test(test_conversions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
