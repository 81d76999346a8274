/* Rounds rows of weights to codes: the one copy of the arithmetic that quant.h states. */
#ifndef MT_ROUND_H
#define MT_ROUND_H

#include "half.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct round_shape {
    int k, k_padded, group;
    bool clip; /* rows.h */
};

/* Where the codes of a row go at one width. */
struct round_codes {
    int8_t *q;        /* [k_padded]; NULL: this width is not wanted. Groups wholly beyond K are left as they are. */
    uint16_t *scales; /* fp16, that of group g at [g * stride] */
    uint8_t *zeros;   /* likewise; NULL: 8 bits, or 4 bits without zero points */
    size_t stride;
    double *error; /* the row's squared rounding error; NULL: not wanted */
};

/* w fp32 [k] -> out[MT_PART_W8] and out[MT_PART_W4]. Returns the index of the first weight that is not finite, behind
 * which nothing is written; or -1. */
int round_row(const struct round_shape *shape, const float *w, const struct round_codes *out);

/* Codes of a row that were rounded elsewhere: q [k], scale and zero point of group g at [g * stride]. */
struct round_given {
    const int8_t *q;
    const uint16_t *scales;
    const uint8_t *zeros; /* NULL: 8; not read for 8 bits */
    size_t stride;
};
/* Takes them for `width`. Returns the first input that is out of its range, or -1 (quant_rows_import()). */
int round_import(const struct round_shape *shape, int width, const struct round_given *given,
                 const struct round_codes *out);

/* What follows a row's K real codes within their last group. */
void round_pad(const struct round_shape *shape, int zero, int8_t *q);

/* What a group's weights are rounded to: (q - zero) s, with q - zero in low .. high. */
struct round_grid {
    uint16_t scale;
    float s;
    int zero, low, high;
};
/* What --clip multiplies a range with, the largest first (rows.h). */
enum { ROUND_RATIOS = 11 };
extern const float round_ratios[ROUND_RATIOS];
/* The grid of a group w fp32 [count] whose range is multiplied by `ratio`. count is a multiple of 64: zeros, which widen
 * no range, fill a group up. False if a weight is not finite. */
bool round_grid(int width, bool symmetric, const float *w, int count, float ratio, struct round_grid *out);

/* What vectorises, without calls. Adding 1.5 * 2^23 to a float of magnitude below 2^22 rounds it to an integer, nearest
 * even. */
#define ROUNDER      12582912.0f
#define ROUNDER_BITS 0x4b400000
INLINE int round_even(float f) {
    return (int)(bits_of_float(f + ROUNDER) - ROUNDER_BITS);
}
INLINE float clamp(float f, float low, float high) {
    const float above = f < low ? low : f;
    return above > high ? high : above;
}

/* ROUNDER + (q - zero) of a weight on the grid of these s, low and high. Quotients of any size may be added to it: those
 * beyond 2^22 are not rounded to integers, but clamped, and numbers around ROUNDER order as their bits do. */
INLINE float round_shifted(float w, float s, int low, int high) {
    int32_t bits = (int32_t)bits_of_float(w / s + ROUNDER);
    bits = bits > ROUNDER_BITS + low ? bits : ROUNDER_BITS + low;
    bits = bits < ROUNDER_BITS + high ? bits : ROUNDER_BITS + high;
    return float_of_bits((uint32_t)bits);
}

#endif
