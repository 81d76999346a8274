#include "numeric.h"
#ifdef __F16C__
#include <immintrin.h>
#endif

const struct float_format format_f16 = {5, 10, true, F16_NAN};
const struct float_format format_bf16 = {8, 7, true, BF16_NAN};
const struct float_format format_tf32 = {8, 10, true, 0x3ffff};
const struct float_format format_e4m3 = {4, 3, false, 0x7f};
const struct float_format format_e5m2 = {5, 2, true, 0x7f};
const struct float_format format_f32 = {8, 23, true, F32_NAN};
const struct float_format format_f64 = {11, 52, true, 0x7fffffffffffffff};

/* Smallest exponent of a normal number. */
static int format_emin(const struct float_format *f) {
    return 2 - (1 << (f->exponent - 1));
}

/* Pattern one above the largest finite number, without sign. */
static uint64_t format_limit(const struct float_format *f) {
    return f->infinity ? ((1ull << f->exponent) - 1) << f->mantissa : f->nan;
}

/* Whether the magnitude goes up, given its last bit, the first lost bit and whether any lower bit was lost. */
static bool rounds_up(enum ptx_round rnd, bool negative, bool last, bool half, bool rest) {
    switch (rnd) {
    case RND_RZ:
        return false;
    case RND_RM:
        return negative && (half || rest);
    case RND_RP:
        return !negative && (half || rest);
    case RND_RNA:
        return half;
    default:
        return half && (rest || last);
    }
}

uint64_t float_round(const struct float_format *f, bool negative, uint64_t m, int e, enum ptx_round rnd, bool finite) {
    const uint64_t sign = negative ? 1ull << (f->exponent + f->mantissa) : 0;
    if (m == 0)
        return sign;
    const int emin = format_emin(f), top = 63 - __builtin_clzll(m);
    const int exponent = e + top > emin ? e + top : emin; /* of the result, before rounding */
    const int drop = exponent - f->mantissa - e;          /* low bits of m that do not fit */
    uint64_t kept = 0;
    bool half = false, rest = true;
    if (drop <= 0) {
        kept = m << -drop;
        rest = false;
    } else if (drop <= 64) {
        kept = drop < 64 ? m >> drop : 0;
        half = m >> (drop - 1) & 1;
        rest = (m & ((1ull << (drop - 1)) - 1)) != 0;
    }
    kept += rounds_up(rnd, negative, kept & 1, half, rest);
    /* A normal number's leading bit adds the one that the exponent field lacks; a carry out of the mantissa too. */
    const uint64_t bits = ((uint64_t)(exponent - emin) << f->mantissa) + kept;
    const uint64_t limit = format_limit(f);
    if (exponent - emin < (1 << f->exponent) && bits < limit)
        return sign | bits;
    const bool down = rnd == RND_RZ || (rnd == RND_RM && !negative) || (rnd == RND_RP && negative);
    return sign | (finite || down ? limit - 1 : limit);
}

uint64_t float_from_double(const struct float_format *f, double x, enum ptx_round rnd, bool finite) {
    const uint64_t u = f64_bits(x), m = u & 0xfffffffffffffull;
    const int e = (int)(u >> 52 & 0x7ff);
    const bool negative = u >> 63;
    if (e == 0x7ff && m)
        return f->nan;
    if (e == 0x7ff)
        return (negative ? 1ull << (f->exponent + f->mantissa) : 0) | (format_limit(f) - (finite ? 1 : 0));
    return e ? float_round(f, negative, m | 1ull << 52, e - 1075, rnd, finite)
             : float_round(f, negative, m, -1074, rnd, finite);
}

double float_to_double(const struct float_format *f, uint64_t bits) {
    const uint64_t m = bits & ((1ull << f->mantissa) - 1),
                   magnitude = bits & ((1ull << (f->exponent + f->mantissa)) - 1);
    const int e = (int)(magnitude >> f->mantissa);
    double x;
    if (f->infinity ? magnitude > format_limit(f) : magnitude >= f->nan)
        return NAN;
    if (magnitude == format_limit(f))
        x = INFINITY;
    else
        x = ldexp((double)(e ? m | 1ull << f->mantissa : m), (e ? e : 1) - 1 + format_emin(f) - f->mantissa);
    return bits >> (f->exponent + f->mantissa) & 1 ? -x : x;
}

uint16_t f16_of_f32(float x) {
    return (uint16_t)float_from_double(&format_f16, x, RND_RN, false);
}

float f16_to_f32(uint16_t h) {
    /* Moves exponent and mantissa into place and multiplies by 2^(127 - 15): right for subnormals too. */
    const float magnitude = f32_of((uint32_t)(h & 0x7fff) << 13) * 0x1p112f;
    const uint32_t special = (h & 0x7c00) == 0x7c00 ? F32_INF : 0;
    return f32_of(f32_bits(magnitude) | special | (uint32_t)(h & 0x8000) << 16);
}

#ifdef __F16C__
void f16_to_f32_n(const uint16_t *h, float *f, int n) {
    for (int i = 0; i < n; i += 8)
        _mm256_storeu_ps(f + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(h + i))));
}

void f16_of_f32_n(const float *f, uint16_t *h, int n) {
    for (int i = 0; i < n; i += 8) {
        __m256 x = _mm256_loadu_ps(f + i);
        __m256 canonical = _mm256_castsi256_ps(_mm256_set1_epi32((int)F32_NAN));
        x = _mm256_blendv_ps(x, canonical, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
        _mm_storeu_si128((__m128i *)(void *)(h + i), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
    }
}
#else
void f16_to_f32_n(const uint16_t *h, float *f, int n) {
    for (int i = 0; i < n; i++)
        f[i] = f16_to_f32(h[i]);
}

void f16_of_f32_n(const float *f, uint16_t *h, int n) {
    for (int i = 0; i < n; i++)
        h[i] = f16_of_f32(f[i]);
}
#endif

void bf16_to_f32_n(const uint16_t *h, float *f, int n) {
    for (int i = 0; i < n; i++)
        f[i] = bf16_to_f32(h[i]);
}

void bf16_of_f32_n(const float *f, uint16_t *h, int n) {
    for (int i = 0; i < n; i++)
        h[i] = bf16_of_f32(f[i]);
}

float f32_approx(enum ptx_op op, float x) {
    switch (op) {
    case OP_ex2:
        return (float)exp2(x);
    case OP_lg2:
        return (float)log2(x);
    case OP_sin:
        return (float)sin(x);
    case OP_cos:
        return (float)cos(x);
    case OP_rcp:
        return (float)(1 / (double)x);
    case OP_rsqrt:
        return (float)(1 / sqrt(x));
    case OP_sqrt:
        return (float)sqrt(x);
    default:
        return (float)tanh(x);
    }
}

float f32_div_approx(float a, float b, bool full) {
    if (!full && fabsf(b) > 0x1p126f && isfinite(b))
        return isinf(a) ? NAN : copysignf(0, a) * copysignf(1, b);
    return (float)((double)a / (double)b);
}

uint64_t int_of_double(double x, unsigned bits, bool sign, bool nan_high) {
    if (x != x)
        return nan_high ? 1ull << (bits - 1) : 0;
    if (!sign)
        return x <= 0 ? 0 : x >= ldexp(1, (int)bits) ? (bits < 64 ? (1ull << bits) - 1 : ~0ull) : (uint64_t)x;
    const double limit = ldexp(1, (int)bits - 1);
    if (x >= limit)
        return (1ull << (bits - 1)) - 1;
    return x < -limit ? (uint64_t)(-(int64_t)((1ull << (bits - 1)) - 1) - 1) : (uint64_t)(int64_t)x;
}
