/* The arithmetic of the software device against independent references: search in sorted tables of all values of a
 * small format, 128-bit arithmetic, the host's own rounding modes, and triple loops written from the fragment tables
 * of the PTX ISA. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fenv.h>
#include <stdlib.h>

#include "runtime/softgpu/op/numeric.h"

static uint64_t state = 0x9e3779b97f4a7c15ull;
static uint64_t draw(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545f4914f6cdd1dull;
}
static uint32_t draw32(void) {
    return (uint32_t)(draw() >> 32);
}

/* ---- small formats ---- */
/* Finite non-negative values of a format in increasing order; the pattern is the index. One more than finite: where
 * the next value would be. */
struct table {
    const struct float_format *format;
    double *value;
    int finite;
};

static struct table table_make(const struct float_format *f) {
    const int bias = (1 << (f->exponent - 1)) - 1, last = (1 << f->exponent) - (f->infinity ? 1 : 0);
    struct table t = {f, calloc((size_t)(last << f->mantissa) + 1, sizeof(double)),
                      (last << f->mantissa) - (f->infinity ? 0 : 1)};
    for (int k = 0; k <= t.finite; k++) {
        const int e = k >> f->mantissa, m = k & ((1 << f->mantissa) - 1);
        t.value[k] = e ? ldexp(1 + ldexp(m, -f->mantissa), e - bias) : ldexp(m, 1 - bias - f->mantissa);
    }
    return t;
}

static uint64_t table_round(const struct table *t, __float128 x, enum ptx_round rnd, bool finite) {
    const bool negative = signbit((double)x) != 0;
    const __float128 y = negative ? -x : x;
    int low = 0, high = t->finite; /* value[low] <= y < value[high] */
    uint64_t sign = negative ? 1ull << (t->format->exponent + t->format->mantissa) : 0;
    if (y >= t->value[t->finite]) {
        const bool stays = finite || rnd == RND_RZ || (rnd == RND_RM && !negative) || (rnd == RND_RP && negative);
        return sign | (uint64_t)(t->finite - (stays ? 1 : 0));
    }
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (y >= t->value[middle])
            low = middle;
        else
            high = middle;
    }
    const __float128 down = y - t->value[low], up = t->value[high] - y;
    bool away = false;
    if (down != 0)
        switch (rnd) {
        case RND_RZ:
            break;
        case RND_RM:
            away = negative;
            break;
        case RND_RP:
            away = !negative;
            break;
        case RND_RNA:
            away = up <= down;
            break;
        default:
            away = up < down || (up == down && (low & 1));
        }
    uint64_t k = (uint64_t)(away ? high : low);
    return sign | (finite && k == (uint64_t)t->finite ? k - 1 : k);
}

/* A double near a value of the table, near the middle of two, or anywhere. */
static double draw_near(const struct table *t) {
    const int k = (int)(draw32() % (uint32_t)t->finite);
    const double low = t->value[k], high = t->value[k + 1], step = high - low;
    double x = low + step * (double)(draw32() % 9) / 8;
    switch (draw32() % 4) {
    case 0:
        x += x * 0x1p-50;
        break;
    case 1:
        x -= x * 0x1p-50;
        break;
    case 2:
        x = ldexp((double)draw32(), (int)(draw32() % 64) - 64);
        break;
    default:
        break;
    }
    return draw32() & 1 ? -x : x;
}

static void rounds_to_small_formats(void **unused) {
    (void)unused;
    const struct float_format *const all[] = {&format_f16, &format_bf16, &format_e4m3, &format_e5m2};
    const enum ptx_round modes[] = {RND_RN, RND_RZ, RND_RM, RND_RP, RND_RNA};
    for (int f = 0; f < 4; f++) {
        struct table t = table_make(all[f]);
        for (int k = 0; k < 100000; k++) {
            const double x = draw_near(&t);
            const enum ptx_round rnd = modes[draw32() % 5];
            const bool finite = draw32() & 1;
            const uint64_t want = table_round(&t, x, rnd, finite);
            const uint64_t got = float_from_double(all[f], x, rnd, finite);
            if (got != want)
                fail_msg("format %d, %a, mode %d, finite %d: %llx, not %llx", f, x, rnd, finite,
                         (unsigned long long)got, (unsigned long long)want);
        }
        for (int k = 0; k < t.finite; k++)
            assert_true(float_to_double(all[f], (uint64_t)k) == t.value[k]);
        free(t.value);
    }
    assert_int_equal(float_from_double(&format_f16, NAN, RND_RN, false), 0x7fff);
    assert_int_equal(float_from_double(&format_f16, -INFINITY, RND_RN, false), 0xfc00);
    assert_int_equal(float_from_double(&format_f16, INFINITY, RND_RN, true), 0x7bff);
    assert_int_equal(float_from_double(&format_e4m3, 1e9, RND_RN, true), 0x7e);
    assert_int_equal(float_from_double(&format_e5m2, -1e9, RND_RN, true), 0xfb);
}

static void halves_round_trip(void **unused) {
    (void)unused;
    struct table h = table_make(&format_f16), b = table_make(&format_bf16);
    static uint16_t bits[65536], back[65536];
    static float wide[65536];
    for (uint32_t k = 0; k < 65536; k++)
        bits[k] = (uint16_t)k;
    for (int is_bf16 = 0; is_bf16 < 2; is_bf16++) {
        const struct table *t = is_bf16 ? &b : &h;
        (is_bf16 ? bf16_to_f32_n : f16_to_f32_n)(bits, wide, 65536);
        (is_bf16 ? bf16_of_f32_n : f16_of_f32_n)(wide, back, 65536);
        for (int k = 0; k < 65536; k++) {
            const int magnitude = k & 0x7fff;
            const float x = is_bf16 ? bf16_to_f32((uint16_t)k) : f16_to_f32((uint16_t)k);
            if (magnitude > t->finite) { /* NaN */
                assert_true(x != x && wide[k] != wide[k]);
                assert_int_equal(back[k], 0x7fff);
                continue;
            }
            const double want = magnitude == t->finite ? INFINITY : t->value[magnitude];
            assert_true(x == (k & 0x8000 ? -want : want));
            assert_int_equal(f32_bits(wide[k]), f32_bits(x));
            assert_int_equal(back[k], k);
            assert_int_equal(is_bf16 ? bf16_of_f32(x) : f16_of_f32(x), k);
        }
        for (int k = 0; k < 100000; k++) {
            float x[8] = {(float)draw_near(t)};
            uint16_t r[8];
            (is_bf16 ? bf16_of_f32_n : f16_of_f32_n)(x, r, 8);
            assert_int_equal(r[0], table_round(t, x[0], RND_RN, false) | (x[0] == 0 ? f32_bits(x[0]) >> 16 : 0));
            assert_int_equal(is_bf16 ? bf16_of_f32(x[0]) : f16_of_f32(x[0]), r[0]);
        }
    }
    free(h.value);
    free(b.value);
}

/* The host's directed roundings; volatile keeps the conversion between the changes of mode. */
static void rounds_to_f32_and_f64(void **unused) {
    (void)unused;
    const enum ptx_round modes[] = {RND_RN, RND_RZ, RND_RM, RND_RP};
    const int host[] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};
    for (int k = 0; k < 200000; k++) {
        volatile double x = f64_of((draw() & 0x800fffffffffffffull) | (uint64_t)(1023 - 200 + draw32() % 400) << 52);
        volatile uint64_t n = draw() >> (draw32() & 63);
        const int mode = k & 3;
        fesetround(host[mode]);
        volatile float single = (float)x, from_int = (float)n;
        volatile double double_int = (double)n;
        fesetround(FE_TONEAREST);
        assert_int_equal(float_from_double(&format_f32, x, modes[mode], false), f32_bits(single));
        assert_int_equal(float_round(&format_f32, false, n, 0, modes[mode], false), f32_bits(from_int));
        assert_true(float_round(&format_f64, false, n, 0, modes[mode], false) == f64_bits(double_int));
        assert_true(float_from_double(&format_f64, x, modes[mode], false) == f64_bits(x));
    }
}

/* Sums of products: exact in 128 bits for the exponents drawn, so one rounding by search is the truth. */
static void fma_rounds_once(void **unused) {
    (void)unused;
    struct table h = table_make(&format_f16), b = table_make(&format_bf16);
    for (int k = 0; k < 400000; k++) {
        uint16_t x[3];
        for (int j = 0; j < 3; j++)
            x[j] = (uint16_t)draw32();
        float f[3];
        for (int j = 0; j < 3; j++)
            f[j] = f16_to_f32((x[j] & 0x7c00) == 0x7c00 ? x[j] ^ 0x4000 : x[j]);
        const __float128 sum = (__float128)f[0] * f[1] + f[2];
        const uint16_t got = f16_of_f32(f16_fma_odd(f[0], f[1], f[2]));
        if (sum != 0)
            assert_int_equal(got, table_round(&h, sum, RND_RN, false));
        for (int j = 0; j < 3; j++) /* exponents within 2^±40 */
            f[j] = bf16_to_f32((uint16_t)((x[j] & 0x807f) | (127 - 20 * (j < 2) + x[j] / 128 % 40) << 7));
        const __float128 wide = (__float128)f[0] * f[1] + f[2];
        if (wide != 0)
            assert_int_equal(bf16_of_f32(bf16_fma_odd(f[0], f[1], f[2])), table_round(&b, wide, RND_RN, false));
    }
    /* A product half way between two f16, and something too small for a float beside it. */
    assert_int_equal(f16_of_f32(f16_fma_odd(45, 91, 0)), 0x6c00);
    assert_int_equal(f16_of_f32(f16_fma_odd(45, 91, -0x1p-24f)), 0x6bff);
    assert_int_equal(f16_of_f32(f16_fma_odd(9, 257, 0x1p-24f)), 0x6885);
    /* A product half way between two bf16, and something too small for a double beside it. */
    assert_int_equal(bf16_of_f32(bf16_fma_odd(0x1.02p0f, 0x1.02p0f, 0)), 0x3f82);
    assert_int_equal(bf16_of_f32(bf16_fma_odd(9, 29, 0x1p-120f)), 0x4383);
    assert_int_equal(bf16_of_f32(bf16_fma_odd(9, 29, -0x1p-120f)), 0x4382);
    assert_int_equal(bf16_of_f32(bf16_fma_odd(9, 29, 0)), 0x4382);
    /* Below the smallest float: half of the least bf16, and a trifle more. */
    assert_int_equal(bf16_of_f32(bf16_fma_odd(0x1p-67f, 0x1p-67f, 0)), 0);
    assert_int_equal(bf16_of_f32(bf16_fma_odd(0x1.02p-67f, 0x1p-67f, 0)), 1);
    free(h.value);
    free(b.value);
}

static void extremes_and_flags(void **unused) {
    (void)unused;
    assert_int_equal(f32_bits(f32_min(-0.f, 0.f, false)), 0x80000000u);
    assert_int_equal(f32_bits(f32_min(0.f, -0.f, false)), 0x80000000u);
    assert_int_equal(f32_bits(f32_max(-0.f, 0.f, false)), 0);
    assert_true(f32_min(NAN, 3, false) == 3 && f32_max(3, NAN, false) == 3);
    assert_true(isnan(f32_min(NAN, 3, true)) && isnan(f32_max(3, NAN, true)) && isnan(f32_min(NAN, NAN, false)));
    assert_true(f64_min(NAN, 3) == 3 && f64_max(-1, 2) == 2);
    assert_int_equal(f32_bits(f32_flush(f32_of(0x807fffffu))), 0x80000000u);
    assert_int_equal(f32_bits(f32_flush(f32_of(0x00800000u))), 0x00800000u);
    assert_true(f32_saturate(NAN) == 0 && f32_saturate(-1) == 0 && f32_saturate(2) == 1 && f32_saturate(.25f) == .25f);
    assert_int_equal(f32_bits(f32_canonical(f32_of(0xffc01234u))), F32_NAN);
}

/* ---- integers ---- */
static void permutes_bytes(void **unused) {
    (void)unused;
    for (int round = 0; round < 20000; round++) {
        const uint32_t a = draw32(), b = draw32(), s = draw32() & 0xffff;
        uint8_t byte[8];
        for (int k = 0; k < 4; k++) {
            byte[k] = (uint8_t)(a >> (8 * k));
            byte[4 + k] = (uint8_t)(b >> (8 * k));
        }
        uint32_t want = 0;
        for (int k = 0; k < 4; k++) {
            const uint32_t nibble = s >> (4 * k) & 15;
            uint32_t x = byte[nibble & 7];
            if (nibble & 8)
                x = x & 0x80 ? 0xff : 0;
            want |= x << (8 * k);
        }
        assert_int_equal(prmt(a, b, s, SUB_NONE), want);
    }
    const uint32_t a = 0x33221100, b = 0x77665544;
    const uint32_t want[6][4] = {
        {0x33221100, 0x44332211, 0x55443322, 0x66554433}, {0x55667700, 0x66770011, 0x77001122, 0x00112233},
        {0x00000000, 0x11111111, 0x22222222, 0x33333333}, {0x33221100, 0x33221111, 0x33222222, 0x33333333},
        {0x00000000, 0x11111100, 0x22221100, 0x33221100}, {0x11001100, 0x33223322, 0x11001100, 0x33223322}};
    for (int mode = 0; mode < 6; mode++)
        for (uint32_t s = 0; s < 4; s++)
            assert_int_equal(prmt(a, b, s, (enum ptx_sub)(SUB_F4E + mode)), want[mode][s]);
}

static void logic_tables(void **unused) {
    (void)unused;
    for (uint32_t lut = 0; lut < 256; lut++) {
        const uint32_t a = draw32(), b = draw32(), c = draw32();
        uint32_t want = 0;
        for (int k = 0; k < 32; k++) {
            const uint32_t index = (a >> k & 1) << 2 | (b >> k & 1) << 1 | (c >> k & 1);
            want |= (lut >> index & 1) << k;
        }
        assert_int_equal(lop3(a, b, c, lut), want);
    }
}

static void bit_fields(void **unused) {
    (void)unused;
    for (int round = 0; round < 100000; round++) {
        const unsigned bits = round & 1 ? 64 : 32;
        const bool sign = round & 2;
        const uint64_t all = bits == 64 ? ~0ull : UINT32_MAX, a = draw() & all, b = draw() & all;
        const uint32_t pos = draw32() % 8 ? draw32() % 70 : draw32(), len = draw32() % 8 ? draw32() % 70 : draw32();
        const unsigned p = pos & 0xff, n = len & 0xff;
        uint64_t extract = 0, insert = b, reverse = 0;
        const unsigned last = p + n - 1 < bits - 1 ? p + n - 1 : bits - 1;
        const bool fill = sign && n && (a >> last & 1);
        for (unsigned k = 0; k < bits; k++) {
            const bool bit = k < n && p + k < bits ? a >> (p + k) & 1 : fill;
            extract |= (uint64_t)bit << k;
            if (k < n && p + k < bits)
                insert = (insert & ~(1ull << (p + k))) | (a >> k & 1) << (p + k);
            reverse |= (a >> k & 1) << (bits - 1 - k);
        }
        assert_true((bfe(a, pos, len, bits, sign) & all) == extract);
        assert_true((bfi(a, b, pos, len, bits) & all) == insert);
        assert_true(brev(a, bits) == reverse);
        const uint64_t magnitude = (sign && a >> (bits - 1) ? ~a : a) & all;
        uint32_t found = ~0u;
        for (unsigned k = 0; k < bits; k++)
            if (magnitude >> k & 1)
                found = k;
        assert_int_equal(bfind(a, bits, sign, false), found);
        assert_int_equal(bfind(a, bits, sign, true), found == ~0u ? ~0u : bits - 1 - found);
    }
    assert_int_equal(bfind(0, 32, false, true), ~0u);
    assert_int_equal(bfind(~0ull, 64, true, false), ~0u);
}

static void shifts_and_masks(void **unused) {
    (void)unused;
    for (int round = 0; round < 20000; round++) {
        const uint32_t a = draw32(), b = draw32(), n = draw32() % 80;
        const uint32_t wrap = n % 32, clamp = n < 32 ? n : 32;
        for (int w = 0; w < 2; w++) {
            const uint32_t s = w ? wrap : clamp;
            const uint32_t left = s == 0 ? b : s == 32 ? a : b << s | a >> (32 - s);
            const uint32_t right = s == 0 ? a : s == 32 ? b : b << (32 - s) | a >> s;
            assert_int_equal(funnel(a, b, n, true, w), left);
            assert_int_equal(funnel(a, b, n, false, w), right);
            const uint32_t kept = s == 32 ? a : a & ((1u << s) - 1);
            assert_int_equal(szext(a, n, false, w), kept);
            assert_int_equal(szext(a, n, true, w), s && s < 32 && a >> (s - 1) & 1 ? kept | ~0u << s : kept);
            const uint32_t p = b % 40, from = w ? p % 32 : p < 32 ? p : 32;
            uint32_t mask = 0;
            for (uint32_t k = 0; k < 32; k++)
                mask |= k >= from && k < from + s ? 1u << k : 0;
            assert_int_equal(bmsk(p, n, w), mask);
        }
        const int32_t offset = (int32_t)(draw32() % 13) - 6;
        const uint32_t base = draw32() % 32;
        int32_t at = (int32_t)base, left = offset < 0 ? -offset : offset;
        uint32_t want = offset == 0 ? (a >> base & 1 ? base : ~0u) : ~0u;
        for (; offset && at >= 0 && at<32; at += offset> 0 ? 1 : -1)
            if (a >> at & 1 && --left == 0) {
                want = (uint32_t)at;
                break;
            }
        assert_int_equal(fns(a, base, offset), want);
    }
}

static void dot_products(void **unused) {
    (void)unused;
    for (int round = 0; round < 20000; round++) {
        const uint32_t a = draw32(), b = draw32(), c = draw32();
        const bool sa = round & 1, sb = round & 2, high = round & 4;
        int64_t four = (int32_t)c, two = (int32_t)c;
        for (int k = 0; k < 4; k++) {
            const int x = (int)(a >> (8 * k) & 255), y = (int)(b >> (8 * k) & 255);
            four += (int64_t)(sa && x > 127 ? x - 256 : x) * (sb && y > 127 ? y - 256 : y);
        }
        for (int k = 0; k < 2; k++) {
            const int x = (int)(a >> (16 * k) & 65535), y = (int)(b >> (8 * (k + (high ? 2 : 0))) & 255);
            two += (int64_t)(sa && x > 32767 ? x - 65536 : x) * (sb && y > 127 ? y - 256 : y);
        }
        assert_int_equal(dp4a(a, b, c, sa, sb), (uint32_t)four);
        assert_int_equal(dp2a(a, b, c, sa, sb, high), (uint32_t)two);
    }
}

static void clamps_to_integers(void **unused) {
    (void)unused;
    const unsigned widths[] = {8, 16, 32, 64};
    for (int round = 0; round < 100000; round++) {
        const unsigned bits = widths[round & 3];
        const bool sign = round & 4, source = round & 8;
        const uint64_t x = draw() >> (draw32() & 63);
        const __int128 low = sign ? -((__int128)1 << (bits - 1)) : 0;
        const __int128 high = ((__int128)1 << (sign ? bits - 1 : bits)) - 1;
        const __int128 value = source ? (__int128)(int64_t)(x * 3) : (__int128)(x * 3);
        const __int128 want = value < low ? low : value > high ? high : value;
        assert_true(int_clamp(x * 3, source, bits, sign) == (uint64_t)want);
        const double real = ldexp((double)(int64_t)draw(), -(int)(draw32() % 70));
        const __int128 whole = (__int128)trunc(real);
        const __int128 near = whole < low ? low : whole > high ? high : whole;
        assert_true(int_of_double(trunc(real), bits, sign, false) == (uint64_t)near);
    }
    assert_true(int_of_double(NAN, 32, true, false) == 0);
    assert_true(int_of_double(NAN, 64, true, true) == 1ull << 63);
    assert_true(int_of_double(1e300, 64, false, true) == ~0ull);
    assert_true(int_of_double(-1e300, 64, true, true) == 1ull << 63);
}

/* ---- tensor core ---- */
/* Element i (counting through a lane's registers, low to high) of a fragment, by the tables of "Matrix Fragments for
 * mma.m16n8k…": `per` elements in a 32-bit register. */
static void place_a(int lane, int i, int per, int m, int *row, int *k) {
    const int reg = i / per, halves = m / 8;
    *row = lane / 4 + (reg % halves == 1 ? 8 : 0);
    *k = lane % 4 * per + i % per + reg / halves * 4 * per;
}

static double element_value(enum ptx_type type, uint32_t word, int i) {
    switch (type) {
    case T_S8:
        return (int8_t)(word >> (8 * i));
    case T_U8:
        return (uint8_t)(word >> (8 * i));
    case T_S4:
        return (int)((word >> (4 * i) & 15) ^ 8) - 8;
    case T_U4:
        return word >> (4 * i) & 15;
    case T_F16:
        return float_to_double(&format_f16, word >> (16 * i) & 65535);
    case T_BF16:
        return float_to_double(&format_bf16, word >> (16 * i) & 65535);
    case T_E4M3:
        return float_to_double(&format_e4m3, word >> (8 * i) & 255);
    case T_E5M2:
        return float_to_double(&format_e5m2, word >> (8 * i) & 255);
    default:
        return float_to_double(&format_tf32, word >> 13);
    }
}

/* A register of finite, moderate elements, so that float sums can be compared with a double one. */
static uint32_t draw_word(enum ptx_type type) {
    const uint32_t x = draw32();
    switch (type) {
    case T_F16:
        return (x & 0x83ff83ffu) | 0x38003800u;
    case T_BF16:
        return (x & 0x807f807fu) | 0x3f003f00u;
    case T_TF32:
        return (x & 0x807fffffu) | 0x3f000000u;
    case T_E4M3:
    case T_E5M2:
        return x & 0xb7b7b7b7u;
    default:
        return x;
    }
}

struct warp_mma {
    uint32_t a[8][32], b[4][32], c[4][32], d[4][32];
    const uint32_t *pa[8], *pb[4], *pc[4];
    uint32_t *pd[4];
    double left[16][64], right[64][8];
};

static void fill(struct warp_mma *x, const struct mma_shape *s, int per) {
    for (int r = 0; r < 8; r++)
        for (int lane = 0; lane < 32; lane++)
            x->a[r][lane] = draw_word(s->a);
    for (int r = 0; r < 4; r++)
        for (int lane = 0; lane < 32; lane++) {
            x->b[r][lane] = draw_word(s->b);
            x->c[r][lane] = draw32();
            x->d[r][lane] = 0xdeadbeef;
        }
    for (int r = 0; r < 8; r++)
        x->pa[r] = x->a[r];
    for (int r = 0; r < 4; r++) {
        x->pb[r] = x->b[r];
        x->pc[r] = x->c[r];
        x->pd[r] = x->d[r];
    }
    for (int lane = 0; lane < 32; lane++) {
        for (int i = 0; i < s->m * s->k / 32; i++) {
            int row, k;
            place_a(lane, i, per, s->m, &row, &k);
            x->left[row][k] = element_value(s->a, x->a[i / per][lane], i % per);
        }
        for (int i = 0; i < s->k / 4; i++) {
            const int k = lane % 4 * per + i % per + i / per * 4 * per, n = lane / 4;
            x->right[k][n] = element_value(s->b, x->b[i / per][lane], i % per);
        }
    }
}

static double dot(const struct warp_mma *x, int row, int n, int count) {
    double sum = 0;
    for (int k = 0; k < count; k++)
        sum += x->left[row][k] * x->right[k][n];
    return sum;
}

static void mma_integers(void **unused) {
    (void)unused;
    const struct {
        int m, k, per;
        uint8_t a, b;
    } shapes[] = {{16, 32, 4, T_S8, T_S8}, {16, 32, 4, T_U8, T_S8}, {16, 32, 4, T_S8, T_U8}, {16, 32, 4, T_U8, T_U8},
                  {16, 16, 4, T_S8, T_U8}, {8, 16, 4, T_S8, T_S8},  {16, 64, 8, T_S4, T_U4}, {16, 64, 8, T_U4, T_S4},
                  {16, 32, 8, T_S4, T_S4}, {8, 32, 8, T_U4, T_U4}};
    static struct warp_mma x;
    for (size_t t = 0; t < sizeof shapes / sizeof shapes[0]; t++)
        for (int round = 0; round < 50; round++) {
            const struct mma_shape s = {shapes[t].m, shapes[t].k, shapes[t].a, shapes[t].b, round & 1, false};
            fill(&x, &s, shapes[t].per);
            for (int lane = 0; round >= 40 && lane < 32; lane++) /* near the ends of the range */
                for (int r = 0; r < 4; r++)
                    x.c[r][lane] = (x.c[r][lane] & 1023) + (lane & 1 ? 0x7ffffc00u : 0x80000000u);
            mma_int(&s, x.pa, x.pb, (const int32_t *const *)x.pc, (int32_t *const *)x.pd);
            for (int lane = 0; lane < 32; lane++)
                for (int r = 0; r < s.m / 4; r++) {
                    const int row = lane / 4 + (r >= 2 ? 8 : 0), n = lane % 4 * 2 + r % 2;
                    const int64_t exact = (int64_t)dot(&x, row, n, s.k) + (int32_t)x.c[r][lane];
                    const int64_t clamped = exact > INT32_MAX ? INT32_MAX : exact < INT32_MIN ? INT32_MIN : exact;
                    assert_int_equal((int32_t)x.d[r][lane], (int32_t)(uint32_t)(s.saturate ? clamped : exact));
                }
        }
}

static void mma_floats(void **unused) {
    (void)unused;
    const struct {
        int k, per;
        uint8_t a, b;
    } shapes[] = {{16, 2, T_F16, T_F16},  {8, 2, T_F16, T_F16},   {16, 2, T_BF16, T_BF16}, {8, 2, T_BF16, T_BF16},
                  {8, 1, T_TF32, T_TF32}, {4, 1, T_TF32, T_TF32}, {32, 4, T_E4M3, T_E5M2}, {16, 4, T_E5M2, T_E4M3}};
    static struct warp_mma x;
    float tile[128];
    for (size_t t = 0; t < sizeof shapes / sizeof shapes[0]; t++)
        for (int round = 0; round < 30; round++) {
            const struct mma_shape s = {16, shapes[t].k, shapes[t].a, shapes[t].b, false, false};
            const bool half = s.a == T_F16 && round & 1;
            fill(&x, &s, shapes[t].per);
            for (int r = 0; r < 4; r++)
                for (int lane = 0; lane < 32; lane++)
                    x.c[r][lane] = half ? draw_word(T_F16) : f32_bits((float)(draw32() % 1000) / 64);
            if (half)
                mma_tile_of_f16((const uint16_t *const *)x.pc, 16, tile);
            else
                mma_tile_of_f32((const float *const *)x.pc, 16, tile);
            mma_float(&s, x.pa, x.pb, tile, tile);
            if (half)
                mma_tile_to_f16(tile, 16, (uint16_t *const *)x.pd);
            else
                mma_tile_to_f32(tile, 16, (float *const *)x.pd);
            for (int lane = 0; lane < 32; lane++)
                for (int i = 0; i < 4; i++) {
                    const int row = lane / 4 + (i >= 2 ? 8 : 0), n = lane % 4 * 2 + i % 2;
                    const double c = half ? element_value(T_F16, x.c[i / 2][lane], i % 2) : f32_of(x.c[i][lane]);
                    const double got = half ? element_value(T_F16, x.d[i / 2][lane], i % 2) : f32_of(x.d[i][lane]);
                    const double want = dot(&x, row, n, s.k) + c;
                    double mass = fabs(c);
                    for (int k = 0; k < s.k; k++)
                        mass += fabs(x.left[row][k] * x.right[k][n]);
                    assert_true(fabs(got - want) <= mass * 0x1p-20 + (half ? fabs(want) * 0x1p-10 : 0));
                }
        }
}

static void mma_doubles_and_bits(void **unused) {
    (void)unused;
    for (int k = 4; k <= 16; k *= 2) {
        const int m = 16, registers = m / 8 * k / 4;
        double a[8][32], b[4][32], c[4][32], d[4][32];
        const double *pa[8], *pb[4], *pc[4];
        double *pd[4];
        for (int r = 0; r < 8; r++)
            for (int lane = 0; lane < 32; lane++) {
                a[r][lane] = (int32_t)draw32();
                b[r % 4][lane] = (int16_t)draw32();
                c[r % 4][lane] = (int32_t)draw32();
            }
        for (int r = 0; r < 8; r++) {
            pa[r] = a[r];
            pb[r % 4] = b[r % 4];
            pc[r % 4] = c[r % 4];
            pd[r % 4] = d[r % 4];
        }
        const struct mma_shape s = {m, k, T_F64, T_F64, false, false};
        mma_double(&s, pa, pb, pc, pd);
        for (int lane = 0; lane < 32; lane++)
            for (int r = 0; r < 4; r++) {
                const int row = lane / 4 + (r >= 2 ? 8 : 0), n = lane % 4 * 2 + r % 2;
                double want = c[r][lane];
                for (int j = 0; j < registers; j++) /* A's register j: rows 8 (j % 2), k 4 (j / 2) */
                    for (int t = 0; t < 4 && (j % 2) * 8 == row / 8 * 8; t++)
                        want += a[j][row % 8 * 4 + t] * b[j / 2][n * 4 + t];
                assert_true(d[r][lane] == want);
            }
    }
    static struct warp_mma x;
    const struct mma_shape bits = {16, 128, T_B1, T_B1, false, true};
    fill(&x, &(struct mma_shape){16, 32, T_U8, T_U8, false, false}, 4);
    mma_int(&bits, x.pa, x.pb, (const int32_t *const *)x.pc, (int32_t *const *)x.pd);
    for (int lane = 0; lane < 32; lane++)
        for (int r = 0; r < 4; r++) {
            const int row = lane / 4, n = lane % 4 * 2 + r % 2;
            uint32_t want = x.c[r][lane];
            for (int k = 0; k < 128; k++)
                want += (x.a[r / 2][row * 4 + k / 32] ^ x.b[0][n * 4 + k / 32]) >> (k % 32) & 1;
            assert_int_equal(x.d[r][lane], want);
        }
}

static void transposes(void **unused) {
    (void)unused;
    uint32_t from[32], to[32];
    for (int lane = 0; lane < 32; lane++)
        from[lane] = draw32();
    matrix_transpose(from, to);
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 8; j++)
            assert_int_equal(to[4 * i + j / 2] >> (16 * (j % 2)) & 65535,
                             from[4 * j + i / 2] >> (16 * (i % 2)) & 65535);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounds_to_small_formats),
        cmocka_unit_test(halves_round_trip),
        cmocka_unit_test(rounds_to_f32_and_f64),
        cmocka_unit_test(fma_rounds_once),
        cmocka_unit_test(extremes_and_flags),
        cmocka_unit_test(permutes_bytes),
        cmocka_unit_test(logic_tables),
        cmocka_unit_test(bit_fields),
        cmocka_unit_test(shifts_and_masks),
        cmocka_unit_test(dot_products),
        cmocka_unit_test(clamps_to_integers),
        cmocka_unit_test(mma_integers),
        cmocka_unit_test(mma_floats),
        cmocka_unit_test(mma_doubles_and_bits),
        cmocka_unit_test(transposes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
