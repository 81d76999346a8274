#include "numeric.h"

/* The four source bytes (0 … 7, of the pair b:a) of each mode but the general one; PTX ISA, "prmt". */
static const uint8_t prmt_bytes[][4][4] = {
    [SUB_F4E - SUB_F4E] = {{0, 1, 2, 3}, {1, 2, 3, 4}, {2, 3, 4, 5}, {3, 4, 5, 6}},
    [SUB_B4E - SUB_F4E] = {{0, 7, 6, 5}, {1, 0, 7, 6}, {2, 1, 0, 7}, {3, 2, 1, 0}},
    [SUB_RC8 - SUB_F4E] = {{0, 0, 0, 0}, {1, 1, 1, 1}, {2, 2, 2, 2}, {3, 3, 3, 3}},
    [SUB_ECL - SUB_F4E] = {{0, 1, 2, 3}, {1, 1, 2, 3}, {2, 2, 2, 3}, {3, 3, 3, 3}},
    [SUB_ECR - SUB_F4E] = {{0, 0, 0, 0}, {0, 1, 1, 1}, {0, 1, 2, 2}, {0, 1, 2, 3}},
    [SUB_RC16 - SUB_F4E] = {{0, 1, 0, 1}, {2, 3, 2, 3}, {0, 1, 0, 1}, {2, 3, 2, 3}},
};

uint32_t prmt(uint32_t a, uint32_t b, uint32_t selector, enum ptx_sub mode) {
    const uint64_t pair = (uint64_t)b << 32 | a;
    uint32_t r = 0;
    for (int k = 0; k < 4; k++) {
        const uint32_t s = mode == SUB_NONE ? selector >> (4 * k) & 15 : prmt_bytes[mode - SUB_F4E][selector & 3][k];
        uint32_t byte = (uint32_t)(pair >> (8 * (s & 7))) & 0xff;
        if (s & 8)
            byte = byte & 0x80 ? 0xff : 0;
        r |= byte << (8 * k);
    }
    return r;
}

uint32_t lop3(uint32_t a, uint32_t b, uint32_t c, uint32_t lut) {
    uint32_t r = 0;
    for (int k = 0; k < 8; k++)
        if (lut >> k & 1)
            r |= (k & 4 ? a : ~a) & (k & 2 ? b : ~b) & (k & 1 ? c : ~c);
    return r;
}

uint32_t fns(uint32_t mask, uint32_t base, int32_t offset) {
    if (offset == 0)
        return base < 32 && mask >> base & 1 ? base : ~0u;
    int64_t position = base, left = offset > 0 ? offset : -(int64_t)offset;
    const int step = offset > 0 ? 1 : -1;
    for (; position >= 0 && position < 32; position += step)
        if (mask >> position & 1 && --left == 0)
            return (uint32_t)position;
    return ~0u;
}

uint64_t bfe(uint64_t a, uint32_t pos, uint32_t len, unsigned bits, bool sign) {
    pos &= 0xff;
    len &= 0xff;
    const uint32_t top = bits - 1, last = pos + len - 1 < top ? pos + len - 1 : top;
    const bool fill = sign && len && (a >> last & 1);
    const uint64_t field = pos > top ? 0 : a >> pos;
    const uint32_t have = pos > top ? 0 : bits - pos < len ? bits - pos : len; /* bits that come from a */
    const uint64_t mask = have < 64 ? (1ull << have) - 1 : ~0ull;
    return (field & mask) | (fill ? ~mask : 0);
}

uint64_t bfi(uint64_t a, uint64_t b, uint32_t pos, uint32_t len, unsigned bits) {
    pos &= 0xff;
    len &= 0xff;
    if (pos >= bits || !len)
        return b;
    const uint64_t mask = (len < 64 ? (1ull << len) - 1 : ~0ull) << pos;
    return (b & ~mask) | (a << pos & mask);
}

uint32_t bfind(uint64_t a, unsigned bits, bool sign, bool shift_amount) {
    if (sign && a >> (bits - 1) & 1)
        a = ~a;
    if (bits < 64)
        a &= (1ull << bits) - 1;
    if (!a)
        return ~0u;
    const uint32_t top = 63 - (uint32_t)__builtin_clzll(a);
    return shift_amount ? bits - 1 - top : top;
}

uint64_t brev(uint64_t a, unsigned bits) {
    a = (a >> 1 & 0x5555555555555555ull) | (a & 0x5555555555555555ull) << 1;
    a = (a >> 2 & 0x3333333333333333ull) | (a & 0x3333333333333333ull) << 2;
    a = (a >> 4 & 0x0f0f0f0f0f0f0f0full) | (a & 0x0f0f0f0f0f0f0f0full) << 4;
    return __builtin_bswap64(a) >> (64 - bits);
}

/* `bits` bits of `a` from `pos`, extended. */
static int32_t element(uint32_t a, int pos, int bits, bool sign) {
    const uint32_t up = a << (32 - bits - pos);
    return sign ? (int32_t)up >> (32 - bits) : (int32_t)(up >> (32 - bits));
}

uint32_t dp4a(uint32_t a, uint32_t b, uint32_t c, bool a_signed, bool b_signed) {
    for (int k = 0; k < 4; k++)
        c += (uint32_t)(element(a, 8 * k, 8, a_signed) * element(b, 8 * k, 8, b_signed));
    return c;
}

uint32_t dp2a(uint32_t a, uint32_t b, uint32_t c, bool a_signed, bool b_signed, bool high) {
    for (int k = 0; k < 2; k++)
        c += (uint32_t)element(a, 16 * k, 16, a_signed) * (uint32_t)element(b, (high ? 16 : 0) + 8 * k, 8, b_signed);
    return c;
}

/* .clamp limits a count to 32, .wrap takes it modulo 32. */
static uint32_t count_mode(uint32_t n, bool wrap) {
    return wrap ? n & 31 : n < 32 ? n : 32;
}

uint32_t szext(uint32_t a, uint32_t bits, bool sign, bool wrap) {
    const uint32_t n = count_mode(bits, wrap);
    return n == 0 ? 0 : (uint32_t)element(a, 0, (int)n, sign);
}

uint32_t bmsk(uint32_t pos, uint32_t len, bool wrap) {
    const uint32_t p = count_mode(pos, wrap), n = count_mode(len, wrap);
    const uint64_t mask = ((1ull << n) - 1) << p;
    return (uint32_t)mask;
}

uint32_t funnel(uint32_t low, uint32_t high, uint32_t amount, bool left, bool wrap) {
    const uint32_t n = count_mode(amount, wrap);
    const uint64_t pair = (uint64_t)high << 32 | low;
    return left ? (uint32_t)(pair << n >> 32) : (uint32_t)(pair >> n);
}
