/* What PTX instructions compute, as pure functions of bits: one lane, or an array of lanes.
 *
 * Sources: PTX ISA 9.0, sections "Floating-Point Instructions", "Half Precision Floating-Point Instructions", "cvt",
 * "Integer Arithmetic Instructions", "Video Instructions" and "Warp Level Matrix Instructions". A NaN that an f16,
 * bf16 or f32 instruction makes is the canonical one (0x7fff, 0x7fff, 0x7fffffff), as on the hardware. Where PTX allows
 * an approximation the result is computed in double and rounded once, which satisfies every error bound it states. */
#ifndef SG_OP_NUMERIC_H
#define SG_OP_NUMERIC_H

#include "runtime/softgpu/ptx/insn.h"
#include <math.h>
#include <string.h>

enum { F16_NAN = 0x7fff, BF16_NAN = 0x7fff };
#define F32_NAN 0x7fffffffu
#define F32_INF 0x7f800000u

static inline uint32_t f32_bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
static inline float f32_of(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}
static inline uint64_t f64_bits(double x) {
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
static inline double f64_of(uint64_t u) {
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* ---- f32: the modifiers that follow the operation ---- */
static inline float f32_flush(float x) { /* .ftz: a subnormal becomes zero of the same sign */
    uint32_t u = f32_bits(x);
    return f32_of((u & F32_INF) ? u : u & 0x80000000u);
}
static inline float f32_canonical(float x) {
    return f32_of(x == x ? f32_bits(x) : F32_NAN);
}
static inline float f32_saturate(float x) { /* .sat: to [0, 1], NaN to +0 */
    return x > 0 ? (x < 1 ? x : 1) : 0;
}
static inline double f64_saturate(double x) {
    return x > 0 ? (x < 1 ? x : 1) : 0;
}
static inline float f32_fma(float a, float b, float c) {
    return __builtin_fmaf(a, b, c);
}
/* min and max: -0 is below +0. One NaN gives the other operand, or NaN with `nan`; the caller canonicalises. */
static inline float f32_min(float a, float b, bool nan) {
    uint32_t ua = f32_bits(a), ub = f32_bits(b);
    uint32_t r = a < b ? ua : b < a ? ub : (ua | ub);
    r = a == a ? r : (nan ? F32_NAN : ub);
    return f32_of(b == b ? r : (nan ? F32_NAN : ua));
}
static inline float f32_max(float a, float b, bool nan) {
    uint32_t ua = f32_bits(a), ub = f32_bits(b);
    uint32_t r = a > b ? ua : b > a ? ub : (ua & ub);
    r = a == a ? r : (nan ? F32_NAN : ub);
    return f32_of(b == b ? r : (nan ? F32_NAN : ua));
}
static inline double f64_min(double a, double b) {
    uint64_t ua = f64_bits(a), ub = f64_bits(b);
    uint64_t r = a < b ? ua : b < a ? ub : (ua | ub);
    r = a == a ? r : ub;
    return f64_of(b == b ? r : ua);
}
static inline double f64_max(double a, double b) {
    uint64_t ua = f64_bits(a), ub = f64_bits(b);
    uint64_t r = a > b ? ua : b > a ? ub : (ua & ub);
    r = a == a ? r : ub;
    return f64_of(b == b ? r : ua);
}

/* ---- small floats ---- */
/* A binary format of 1 + exponent + mantissa bits. Without `infinity` the largest exponent holds numbers and only
 * the all-ones pattern is NaN (e4m3). */
struct float_format {
    int exponent, mantissa;
    bool infinity;
    uint64_t nan;
};
extern const struct float_format format_f16, format_bf16, format_tf32, format_e4m3, format_e5m2, format_f32, format_f64;

/* Rounds (-1)^negative * m * 2^e to the format: exact integer arithmetic, every rounding mode (RND_RN, RZ, RM, RP,
 * RNA = ties away from zero). Overflow gives infinity or, with `finite` or when the direction says so, the largest
 * number. */
uint64_t float_round(const struct float_format *f, bool negative, uint64_t m, int e, enum ptx_round rnd, bool finite);
/* The same for a double, NaN and infinity included. With `finite` an infinity becomes the largest number. */
uint64_t float_from_double(const struct float_format *f, double x, enum ptx_round rnd, bool finite);
/* Value of a pattern of the format; exact for all but none (f64 too). */
double float_to_double(const struct float_format *f, uint64_t bits);

/* Nearest even, NaN canonical. */
uint16_t f16_of_f32(float x);
float f16_to_f32(uint16_t h);
static inline uint16_t bf16_of_f32(float x) {
    uint32_t u = f32_bits(x);
    return x == x ? (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16) : BF16_NAN;
}
static inline float bf16_to_f32(uint16_t h) {
    return f32_of((uint32_t)h << 16);
}
/* n must be a multiple of 8. Source and destination do not overlap. */
void f16_to_f32_n(const uint16_t *h, float *f, int n);
void f16_of_f32_n(const float *f, uint16_t *h, int n);
void bf16_to_f32_n(const uint16_t *h, float *f, int n);
void bf16_of_f32_n(const float *f, uint16_t *h, int n);

/* a + b rounded to odd: the last bit is set when anything was lost, so that rounding once more to a format of at
 * least two bits less gives the correctly rounded sum (Boldo and Melquiond, "Emulation of FMA and correctly rounded
 * sums: proved algorithms using rounding to odd", 2008). The error is Knuth's two-sum. */
static inline float f32_add_odd(float a, float b) {
    float s = a + b, t = s - a, error = (a - (s - t)) + (b - t);
    const uint32_t u = f32_bits(s), lost = (error > 0) | (error < 0);
    const uint32_t sign = (f32_bits(error) ^ u) >> 31, odd = lost & ~u; /* the step: up, or down where signs differ */
    return f32_of(u + odd - 2 * (odd & sign));
}
static inline double f64_add_odd(double a, double b) {
    double s = a + b, t = s - a, error = (a - (s - t)) + (b - t);
    const uint64_t u = f64_bits(s), lost = (error > 0) | (error < 0);
    const uint64_t sign = (f64_bits(error) ^ u) >> 63, odd = lost & ~u;
    return f64_of(u + odd - 2 * (odd & sign));
}
static inline float f32_odd_of_f64(double x) {
    float s = (float)x;
    double error = x - (double)s;
    const uint32_t u = f32_bits(s), lost = (error > 0) | (error < 0);
    const uint32_t sign = ((uint32_t)(f64_bits(error) >> 32) ^ u) >> 31, odd = lost & ~u;
    return f32_of(u + odd - 2 * (odd & sign));
}
/* fma of halves in float: a * b is exact; rounding the result to f16 is then the only one that shows. */
static inline float f16_fma_odd(float a, float b, float c) {
    return f32_add_odd(a * b, c);
}
/* Of bf16, whose products leave the range of float. */
static inline float bf16_fma_odd(float a, float b, float c) {
    return f32_odd_of_f64(f64_add_odd((double)a * (double)b, c));
}

/* ---- f32 approximations ---- */
float f32_approx(enum ptx_op op, float x); /* ex2, lg2, sin, cos, rcp, rsqrt, sqrt, tanh */
/* div.full: 2 ulp over the whole range; div.approx: zero (NaN for an infinite a) where 2^126 < |b| < 2^128. */
float f32_div_approx(float a, float b, bool full);

/* ---- conversions to integers ---- */
/* A double, already rounded to an integer, to `bits` (8 … 64) with clamping. NaN gives 0, or 1 << (bits - 1) when the
 * source is f64 or the destination has 64 bits (nan_high). */
uint64_t int_of_double(double x, unsigned bits, bool sign, bool nan_high);
/* Clamps `x` (signed or not) to the range of an integer type. */
static inline uint64_t int_clamp(uint64_t x, bool x_signed, unsigned bits, bool sign) {
    uint64_t top = (sign ? 1ull << (bits - 1) : bits < 64 ? 1ull << bits : 0) - 1;
    if (x_signed && (int64_t)x < 0) {
        int64_t low = sign ? -(int64_t)top - 1 : 0;
        return (int64_t)x < low ? (uint64_t)low : x;
    }
    return x > top ? top : x;
}

/* ---- integers ---- */
static inline uint64_t high_u64(uint64_t a, uint64_t b) {
    return (uint64_t)((unsigned __int128)a * b >> 64);
}
static inline int64_t high_s64(int64_t a, int64_t b) {
    return (int64_t)((__int128)a * b >> 64);
}
uint32_t prmt(uint32_t a, uint32_t b, uint32_t selector, enum ptx_sub mode);
uint32_t lop3(uint32_t a, uint32_t b, uint32_t c, uint32_t lut);
uint32_t fns(uint32_t mask, uint32_t base, int32_t offset);
uint64_t bfe(uint64_t a, uint32_t pos, uint32_t len, unsigned bits, bool sign);
uint64_t bfi(uint64_t a, uint64_t b, uint32_t pos, uint32_t len, unsigned bits);
uint32_t bfind(uint64_t a, unsigned bits, bool sign, bool shift_amount);
uint64_t brev(uint64_t a, unsigned bits);
/* Four bytes of a, signed or not, times four bytes of b, plus c. */
uint32_t dp4a(uint32_t a, uint32_t b, uint32_t c, bool a_signed, bool b_signed);
/* Two halfwords of a times the low or high two bytes of b, plus c. */
uint32_t dp2a(uint32_t a, uint32_t b, uint32_t c, bool a_signed, bool b_signed, bool high);
uint32_t szext(uint32_t a, uint32_t bits, bool sign, bool wrap);
uint32_t bmsk(uint32_t pos, uint32_t len, bool wrap);
uint32_t funnel(uint32_t low, uint32_t high, uint32_t amount, bool left, bool wrap);

/* ---- tensor core: one warp's mma ----
 * Every fragment register of A and B is 32 lanes of 4 bytes that form, row-major, 8 rows (A's rows, B's columns) of 16
 * bytes along k: lane 4g + t holds bytes 4t … 4t+3 of row g. Register r of A is rows 8 (r % 2) … (with 16 rows) and
 * the r/2-th 16 bytes of k; register r of B the r-th 16 bytes. Registers of C and D are the same with elements of 4
 * bytes: lane 4g + t holds columns 2t and 2t+1 of row g in two registers (f32, s32) or in the halves of one (f16). f64
 * elements take 8 bytes per lane and 4 k per register. */
enum { MMA_MOST_M = 16, MMA_MOST_K = 64 /* but four times as many elements of b1 */ };
struct mma_shape {
    uint16_t m, k;           /* m is 8 or 16, n is 8 */
    uint8_t a, b;            /* enum ptx_type of the elements */
    bool saturate, popc_xor; /* of integers: clamp; of b1: xor instead of and */
};
/* Elements of k that one register of A or B holds per row; 0 if the tensor core has no such type. */
int mma_register_k(enum ptx_type type);
/* A fragment register as 8 rows of so many numbers each, row-major; returns how many. */
int mma_unpack_rows(const uint32_t *reg, enum ptx_type type, float *out);
/* Integer: d = a * b + c, wrapping in 32 bits or clamped. c and d may be the same registers. */
void mma_int(const struct mma_shape *s, const uint32_t *const *a, const uint32_t *const *b, const int32_t *const *c,
             int32_t *const *d);
/* d = a * b + c for a, b f16, bf16, tf32, e4m3, e5m2; c and d float, row-major [m][8], may be the same. */
void mma_float(const struct mma_shape *s, const uint32_t *const *a, const uint32_t *const *b, const float *c, float *d);
/* wgmma's product of floats, [n / 8][16][8]: A in four fragment registers, B as n rows of 32 bytes, each a column. */
void mma_float_wide(const struct mma_shape *s, bool negate, const uint32_t *const *a, const uint8_t *tile, int n,
                    float *product);
void mma_double(const struct mma_shape *s, const double *const *a, const double *const *b, const double *const *c,
                double *const *d);
/* Fragment registers (two per 8 rows) <-> row-major [m][8]. */
void mma_tile_of_f32(const float *const *reg, int m, float *tile);
void mma_tile_to_f32(const float *tile, int m, float *const *reg);
void mma_tile_of_f16(const uint16_t *const *reg, int m, float *tile);
void mma_tile_to_f16(const float *tile, int m, uint16_t *const *reg);
/* Transposes an 8 x 8 matrix of 16-bit elements held as 32 lanes of two: ldmatrix.trans, movmatrix.trans. May alias. */
void matrix_transpose(const uint32_t *from, uint32_t *to);

#endif
