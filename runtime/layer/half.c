/* IEEE binary16 and bfloat16 on the host. */
#include "half.h"
#include <string.h>

bool vectors_plain;

bool vectors_wide(void) {
#ifdef __x86_64__
    return !vectors_plain && __builtin_cpu_supports("avx2");
#else
    return false;
#endif
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
INLINE void halves_convert(const uint16_t *h, float *out, size_t count) {
    const uint32_t bias = (127u - 15u) << 23, one = 1u << 23;
    for (size_t i = 0; i < count; i++) {
        const uint32_t magnitude = (uint32_t)(h[i] & 0x7fff) << 13, sign = (uint32_t)(h[i] & 0x8000) << 16;
        const uint32_t large = magnitude + bias + (magnitude >= 0x7c00u << 13 ? bias : 0);
        const uint32_t small = bits_of_float(float_of_bits(magnitude + bias + one) - float_of_bits(bias + one));
        out[i] = float_of_bits((magnitude < one ? small : large) | sign);
    }
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static void halves_convert_avx2(const uint16_t *h, float *out, size_t count) {
    halves_convert(h, out, count);
}
#endif

void floats_from_half(const uint16_t *h, float *out, size_t count) {
#ifdef __x86_64__
    if (vectors_wide()) {
        halves_convert_avx2(h, out, count);
        return;
    }
#endif
    halves_convert(h, out, count);
}

void floats_from_bf16(const uint16_t *b, float *out, size_t count) {
    for (size_t i = 0; i < count; i++)
        out[i] = float_of_bits((uint32_t)b[i] << 16);
}
