/* Extended-precision arithmetic: the carry flag is one bit per lane of the warp. */
#include "lanes.h"

/* a * b as the `mad` of this instruction adds it: its low or high half. */
static inline uint64_t product_half(uint64_t a, uint64_t b, unsigned bits, bool sign, bool high) {
    if (!high)
        return a * b;
    if (bits == 64)
        return sign ? (uint64_t)high_s64((int64_t)a, (int64_t)b) : high_u64(a, b);
    return sign ? (uint64_t)((int64_t)(int32_t)a * (int32_t)b >> 32) : a * b >> 32;
}

static inline uint64_t lane_value(const void *lanes, int l, unsigned bits) {
    return bits == 64 ? ((const uint64_t *)lanes)[l] : ((const uint32_t *)lanes)[l];
}

/* x + y + carry; the carry out goes to *out. */
static inline uint64_t add_carry(uint64_t x, uint64_t y, bool in, unsigned bits, bool *out) {
    const uint64_t mask = bits == 64 ? ~0ull : UINT32_MAX;
    const uint64_t sum = (x + y + in) & mask;
    *out = sum < (x & mask) || (sum == (x & mask) && in);
    return sum;
}

/* aux[0]: 32 or 64. */
static void carry_op(struct warp *w, const struct insn *i) {
    const bool is_mad = i->op == OP_mad || i->op == OP_madc, subtract = i->op == OP_sub || i->op == OP_subc;
    const bool uses = i->op == OP_addc || i->op == OP_subc || i->op == OP_madc;
    const unsigned bits = i->aux[0];
    const void *pa = src_lanes(w, &i->src[0]), *pb = src_lanes(w, &i->src[1]), *pc = src_lanes(w, &i->src[2]);
    void *pd = dst_lanes(w, &i->dst[0]);
    uint32_t flags = w->carry;
    for (int l = 0; l < LANES; l++) {
        if (!(w->exec >> l & 1))
            continue;
        uint64_t x = lane_value(pa, l, bits), y = lane_value(pb, l, bits);
        if (is_mad) {
            x = product_half(x, y, bits, type_is_signed(i->type[0]), (i->flags & F_HI) != 0);
            y = lane_value(pc, l, bits);
        }
        /* x - y is x + ~y + 1, so the flag holds "no borrow": code that follows a subc with an addc relies on it. */
        const bool in = uses ? w->carry >> l & 1 : subtract;
        bool out;
        const uint64_t r = add_carry(x, subtract ? ~y : y, in, bits, &out);
        if (bits == 64)
            ((uint64_t *)pd)[l] = r;
        else
            ((uint32_t *)pd)[l] = (uint32_t)r;
        flags = (flags & ~(1u << l)) | (uint32_t)out << l;
    }
    if (i->flags & F_CC)
        w->carry = flags;
}

op_fn *op_carry_find(struct insn *i) {
    const bool is_mad = i->op == OP_mad || i->op == OP_madc;
    const uint64_t allowed = F_CC | (is_mad ? F_HI | F_LO : 0);
    i->aux[0] = 8 * type_size(i->type[0]);
    if (type_is_float(i->type[0]) || (i->aux[0] != 32 && i->aux[0] != 64) || (i->flags & ~allowed) ||
        (is_mad && !(i->flags & (F_HI | F_LO))))
        return NULL;
    return carry_op;
}
