/* IEEE binary16 and bfloat16 on the host. */
#include "half.h"
#include <string.h>

uint16_t half_from_float(float f) {
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

float half_to_float(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 0x3ff;
    if (exponent == 31)
        return float_of_bits(sign | 0x7f800000 | mantissa << 13);
    if (exponent == 0) {
        float small = (float)mantissa * 0x1p-24f;
        return sign ? -small : small;
    }
    return float_of_bits(sign | (exponent + 127 - 15) << 23 | mantissa << 13);
}

uint16_t bf16_from_float(float f) {
    uint32_t bits = bits_of_float(f);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float bf16_to_float(uint16_t b) {
    return float_of_bits((uint32_t)b << 16);
}

uint16_t dtype_from_float(enum dtype dtype, float f) {
    return dtype == DTYPE_BF16 ? bf16_from_float(f) : half_from_float(f);
}

float dtype_to_float(enum dtype dtype, uint16_t bits) {
    return dtype == DTYPE_BF16 ? bf16_to_float(bits) : half_to_float(bits);
}

/* Exponents are moved from the bias of 15 to that of 127; those of infinity and NaN once more. Where the exponent is 0, a
 * one before the mantissa makes a number from which that one is taken off again, exactly. */
void floats_from_half(const uint16_t *h, float *out, size_t count) {
    const uint32_t bias = (127u - 15u) << 23, one = 1u << 23;
    for (size_t i = 0; i < count; i++) {
        const uint32_t magnitude = (uint32_t)(h[i] & 0x7fff) << 13, sign = (uint32_t)(h[i] & 0x8000) << 16;
        const uint32_t large = magnitude + bias + (magnitude >= 0x7c00u << 13 ? bias : 0);
        const uint32_t small = bits_of_float(float_of_bits(magnitude + bias + one) - float_of_bits(bias + one));
        out[i] = float_of_bits((magnitude < one ? small : large) | sign);
    }
}

void floats_from_bf16(const uint16_t *b, float *out, size_t count) {
    for (size_t i = 0; i < count; i++)
        out[i] = float_of_bits((uint32_t)b[i] << 16);
}
