/* IEEE binary16 and bfloat16 on the host. */
#ifndef MT_HALF_H
#define MT_HALF_H

#include "problem.h"
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
uint16_t half_from_float(float f);
float half_to_float(uint16_t h);
uint16_t bf16_from_float(float f);
float bf16_to_float(uint16_t b);
uint16_t dtype_from_float(enum dtype dtype, float f);
float dtype_to_float(enum dtype dtype, uint16_t bits);
/* The same of `count` numbers, which vectorises. */
void floats_from_half(const uint16_t *h, float *out, size_t count);
void floats_from_bf16(const uint16_t *b, float *out, size_t count);

#endif
