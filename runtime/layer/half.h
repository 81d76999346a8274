/* IEEE binary16 and bfloat16 on the host. */
#ifndef MT_HALF_H
#define MT_HALF_H

#include "problem.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The same 32 bits. */
static inline uint32_t bits_of_float(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}
static inline float float_of_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Round to nearest even. */
static inline uint16_t half_from_float(float f) {
    uint32_t bits = bits_of_float(f), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) /* NaN: quiet */
        return (uint16_t)(sign | 0x7e00);
    if (magnitude >=
        bits_of_float(65520.0f)) /* half way between the largest half and the next: to even, which is infinity */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < bits_of_float(0x1p-14f)) {
        /* Denormal: adding 1/2 leaves multiples of 2^-24 in the low mantissa bits, rounded to nearest even. */
        float shifted = float_of_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of_float(shifted) - bits_of_float(0.5f)));
    }
    uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | (magnitude - ((127u - 15u) << 23) + 0xfff + odd) >> 13);
}

static inline float half_to_float(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 0x3ff;
    if (exponent == 31)
        return float_of_bits(sign | 0x7f800000 | mantissa << 13);
    if (exponent == 0) {
        float small = (float)mantissa * 0x1p-24f;
        return sign ? -small : small;
    }
    return float_of_bits(sign | (exponent + 127 - 15) << 23 | mantissa << 13);
}
uint16_t bf16_from_float(float f);
float bf16_to_float(uint16_t b);
uint16_t dtype_from_float(enum dtype dtype, float f);
float dtype_to_float(enum dtype dtype, uint16_t bits);
/* The same of `count` numbers, with vectors. */
void floats_from_half(const uint16_t *h, float *out, size_t count);
void floats_from_bf16(const uint16_t *b, float *out, size_t count);

/* For loops that are compiled twice, with vectors that not every machine has and without. */
#define INLINE static inline __attribute__((always_inline))
/* Whether this machine has AVX2. */
bool vectors_wide(void);
extern bool vectors_plain; /* it is to do without: for the tests, which compare the two */

#endif
