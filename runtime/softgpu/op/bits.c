/* Logic, shifts, bit fields and byte permutations. */
#include "lanes.h"

LANES_2(and_16, uint16_t, uint16_t, (a & b))
LANES_2(and_32, uint32_t, uint32_t, (a & b))
LANES_2(and_64, uint64_t, uint64_t, (a & b))
LANES_2(or_16, uint16_t, uint16_t, a | b)
LANES_2(or_32, uint32_t, uint32_t, a | b)
LANES_2(or_64, uint64_t, uint64_t, a | b)
LANES_2(xor_16, uint16_t, uint16_t, a ^ b)
LANES_2(xor_32, uint32_t, uint32_t, a ^ b)
LANES_2(xor_64, uint64_t, uint64_t, a ^ b)
LANES_1(not_16, uint16_t, uint16_t, ~a)
LANES_1(not_32, uint32_t, uint32_t, ~a)
LANES_1(not_64, uint64_t, uint64_t, ~a)
LANES_1(cnot_16, uint16_t, uint16_t, a == 0)
LANES_1(cnot_32, uint32_t, uint32_t, a == 0)
LANES_1(cnot_64, uint64_t, uint64_t, a == 0)

/* Shift counts are 32 bits wide and clamped to the width of the type. */
LANES_11(shl_16, uint16_t, uint16_t, uint32_t, b < 16 ? (uint32_t)a << (b & 15) : 0)
LANES_11(shl_32, uint32_t, uint32_t, uint32_t, b < 32 ? a << (b & 31) : 0)
LANES_11(shl_64, uint64_t, uint64_t, uint32_t, b < 64 ? a << (b & 63) : 0)
LANES_11(shr_u16, uint16_t, uint16_t, uint32_t, b < 16 ? a >> (b & 15) : 0)
LANES_11(shr_u32, uint32_t, uint32_t, uint32_t, b < 32 ? a >> (b & 31) : 0)
LANES_11(shr_u64, uint64_t, uint64_t, uint32_t, b < 64 ? a >> (b & 63) : 0)
LANES_11(shr_s16, int16_t, int16_t, uint32_t, a >> (b < 15 ? b : 15))
LANES_11(shr_s32, int32_t, int32_t, uint32_t, a >> (b < 31 ? b : 31))
LANES_11(shr_s64, int64_t, int64_t, uint32_t, a >> (b < 63 ? b : 63))

LANES_3(shf_l_wrap, uint32_t, uint32_t, (((uint64_t)b << 32 | a) << (c & 31)) >> 32)
LANES_3(shf_r_wrap, uint32_t, uint32_t, ((uint64_t)b << 32 | a) >> (c & 31))
LANES_3(shf_l_clamp, uint32_t, uint32_t, funnel(a, b, c, true, false))
LANES_3(shf_r_clamp, uint32_t, uint32_t, funnel(a, b, c, false, false))

LANES_1(popc_32, uint32_t, uint32_t, __builtin_popcount(a))
LANES_1(popc_64, uint32_t, uint64_t, __builtin_popcountll(a))
LANES_1(clz_32, uint32_t, uint32_t, a ? __builtin_clz(a) : 32)
LANES_1(clz_64, uint32_t, uint64_t, a ? __builtin_clzll(a) : 64)
LANES_1(brev_32, uint32_t, uint32_t, brev(a, 32))
LANES_1(brev_64, uint64_t, uint64_t, brev(a, 64))
LANES_1(bfind_u32, uint32_t, uint32_t, bfind(a, 32, false, false))
LANES_1(bfind_s32, uint32_t, uint32_t, bfind(a, 32, true, false))
LANES_1(bfind_u64, uint32_t, uint64_t, bfind(a, 64, false, false))
LANES_1(bfind_s64, uint32_t, uint64_t, bfind(a, 64, true, false))
LANES_1(bfind_amount_u32, uint32_t, uint32_t, bfind(a, 32, false, true))
LANES_1(bfind_amount_s32, uint32_t, uint32_t, bfind(a, 32, true, true))
LANES_1(bfind_amount_u64, uint32_t, uint64_t, bfind(a, 64, false, true))
LANES_1(bfind_amount_s64, uint32_t, uint64_t, bfind(a, 64, true, true))
LANES_3(fns_32, uint32_t, uint32_t, fns(a, b, (int32_t)c))
LANES_2(szext_wrap_u32, uint32_t, uint32_t, szext(a, b, false, true))
LANES_2(szext_wrap_s32, uint32_t, uint32_t, szext(a, b, true, true))
LANES_2(szext_clamp_u32, uint32_t, uint32_t, szext(a, b, false, false))
LANES_2(szext_clamp_s32, uint32_t, uint32_t, szext(a, b, true, false))
LANES_2(bmsk_wrap, uint32_t, uint32_t, bmsk(a, b, true))
LANES_2(bmsk_clamp, uint32_t, uint32_t, bmsk(a, b, false))

/* The common extraction, unsigned of 32 bits; a length beyond the register's end takes what there is. */
static inline uint32_t low_bits(uint32_t n) { /* n ones */
    return n < 32 ? (1u << (n & 31)) - 1 : ~0u;
}
static inline uint32_t field_u32(uint32_t a, uint32_t pos, uint32_t len) {
    return (pos & 0xff) < 32 ? a >> (pos & 31) & low_bits(len & 0xff) : 0;
}
LANES_3(bfe_u32, uint32_t, uint32_t, field_u32(a, b, c))

/* Position and length of a field are the second and third (bfi: third and fourth) sources. */
static void bfe_op(struct warp *w, const struct insn *i) {
    const unsigned bits = 8 * type_size(i->type[0]);
    const bool sign = type_is_signed(i->type[0]);
    const void *pa = src_lanes(w, &i->src[0]);
    const uint32_t *pos = src_lanes(w, &i->src[1]), *len = src_lanes(w, &i->src[2]);
    uint64_t wide[LANES];
    uint32_t narrow[LANES];
    for (int l = 0; l < LANES; l++) {
        wide[l] = bits == 64 ? bfe(((const uint64_t *)pa)[l], pos[l], len[l], 64, sign)
                             : bfe(((const uint32_t *)pa)[l], pos[l], len[l], 32, sign);
        narrow[l] = (uint32_t)wide[l];
    }
    lanes_store(w, &i->dst[0], bits == 64 ? (const void *)wide : narrow, bits / 8);
}

static void bfi_op(struct warp *w, const struct insn *i) {
    const unsigned bits = 8 * type_size(i->type[0]);
    const void *pa = src_lanes(w, &i->src[0]), *pb = src_lanes(w, &i->src[1]);
    const uint32_t *pos = src_lanes(w, &i->src[2]), *len = src_lanes(w, &i->src[3]);
    uint64_t wide[LANES];
    uint32_t narrow[LANES];
    for (int l = 0; l < LANES; l++) {
        wide[l] = bits == 64 ? bfi(((const uint64_t *)pa)[l], ((const uint64_t *)pb)[l], pos[l], len[l], 64)
                             : bfi(((const uint32_t *)pa)[l], ((const uint32_t *)pb)[l], pos[l], len[l], 32);
        narrow[l] = (uint32_t)wide[l];
    }
    lanes_store(w, &i->dst[0], bits == 64 ? (const void *)wide : narrow, bits / 8);
}

/* The truth table as a tree of two-way choices: each is base ^ (variable & difference). */
static void lop3_op(struct warp *w, const struct insn *i) {
    const uint32_t lut = (uint32_t)i->src[3].imm;
    const uint32_t *pa = src_lanes(w, &i->src[0]), *pb = src_lanes(w, &i->src[1]), *pc = src_lanes(w, &i->src[2]);
    uint32_t base[4], differs[4], r[LANES];
    for (uint32_t k = 0; k < 4; k++) { /* k = 2a + b; bit 2k of the table is c = 0 */
        base[k] = lut >> (2 * k) & 1 ? ~0u : 0;
        differs[k] = base[k] ^ (lut >> (2 * k + 1) & 1 ? ~0u : 0);
    }
    for (int l = 0; l < LANES; l++) {
        const uint32_t a = pa[l], b = pb[l], c = pc[l];
        const uint32_t x0 = base[0] ^ (c & differs[0]), x1 = base[1] ^ (c & differs[1]);
        const uint32_t x2 = base[2] ^ (c & differs[2]), x3 = base[3] ^ (c & differs[3]);
        const uint32_t y0 = x0 ^ (b & (x0 ^ x1)), y1 = x2 ^ (b & (x2 ^ x3));
        r[l] = y0 ^ (a & (y0 ^ y1));
    }
    if (i->sub) { /* lop3.and d|p, a, b, c, lut, q: p = (d != 0) and q */
        const uint32_t q = src_pred(w, &i->src[4]);
        uint32_t set = 0;
        for (int l = 0; l < LANES; l++)
            set |= (uint32_t)(r[l] != 0) << l;
        dst_pred(w, &i->dst[1], i->sub == SUB_AND ? set & q : i->sub == SUB_OR ? set | q : set ^ q);
    }
    lanes_store(w, &i->dst[0], r, 4);
}

/* The byte that one digit of a selector picks, in the low eight bits; bit 3 of the digit spreads its sign instead. */
static inline uint32_t picked_byte(uint32_t a, uint32_t b, uint32_t digit) {
    const uint32_t word = digit & 4 ? b : a, byte = word >> (8 * (digit & 3)) & 0xff;
    const uint32_t sign = (byte >> 7) * 0xff;
    return digit & 8 ? sign : byte;
}
LANES_3(prmt_general, uint32_t, uint32_t,
        picked_byte(a, b, c) | picked_byte(a, b, c >> 4) << 8 | picked_byte(a, b, c >> 8) << 16 |
            picked_byte(a, b, c >> 12) << 24)
LANES_3(prmt_f4e, uint32_t, uint32_t, prmt(a, b, c, SUB_F4E))
LANES_3(prmt_b4e, uint32_t, uint32_t, prmt(a, b, c, SUB_B4E))
LANES_3(prmt_rc8, uint32_t, uint32_t, prmt(a, b, c, SUB_RC8))
LANES_3(prmt_ecl, uint32_t, uint32_t, prmt(a, b, c, SUB_ECL))
LANES_3(prmt_ecr, uint32_t, uint32_t, prmt(a, b, c, SUB_ECR))
LANES_3(prmt_rc16, uint32_t, uint32_t, prmt(a, b, c, SUB_RC16))
static op_fn *const prmt_mode[SUB_COUNT] = {[SUB_F4E] = prmt_f4e, [SUB_B4E] = prmt_b4e, [SUB_RC8] = prmt_rc8,
                                            [SUB_ECL] = prmt_ecl, [SUB_ECR] = prmt_ecr, [SUB_RC16] = prmt_rc16};

static void logic_pred(struct warp *w, const struct insn *i) {
    const uint32_t a = src_pred(w, &i->src[0]), b = i->srcs > 1 ? src_pred(w, &i->src[1]) : 0;
    dst_pred(w, &i->dst[0], i->op == OP_and ? a & b : i->op == OP_or ? a | b : i->op == OP_xor ? a ^ b : ~a);
}

#define ROWS_LOGIC(op, name)                                                                                           \
    {op, T_B16, 0, name##_16}, {op, T_B32, 0, name##_32}, {                                                            \
        op, T_B64, 0, name##_64                                                                                        \
    }
static const struct op_row rows[] = {
    ROWS_LOGIC(OP_and, and),
    ROWS_LOGIC(OP_or, or),
    ROWS_LOGIC(OP_xor, xor),
    ROWS_LOGIC(OP_not, not ),
    ROWS_LOGIC(OP_cnot, cnot),
    ROWS_LOGIC(OP_shl, shl),
    {OP_and, T_PRED, 0, logic_pred},
    {OP_or, T_PRED, 0, logic_pred},
    {OP_xor, T_PRED, 0, logic_pred},
    {OP_not, T_PRED, 0, logic_pred},
    {OP_shr, T_B16, 0, shr_u16},
    {OP_shr, T_B32, 0, shr_u32},
    {OP_shr, T_B64, 0, shr_u64},
    {OP_shr, T_U16, 0, shr_u16},
    {OP_shr, T_U32, 0, shr_u32},
    {OP_shr, T_U64, 0, shr_u64},
    {OP_shr, T_S16, 0, shr_s16},
    {OP_shr, T_S32, 0, shr_s32},
    {OP_shr, T_S64, 0, shr_s64},
    {OP_shf, T_B32, F_LEFT | F_WRAP, shf_l_wrap},
    {OP_shf, T_B32, F_RIGHT | F_WRAP, shf_r_wrap},
    {OP_shf, T_B32, F_LEFT | F_CLAMP, shf_l_clamp},
    {OP_shf, T_B32, F_RIGHT | F_CLAMP, shf_r_clamp},
    {OP_popc, T_B32, 0, popc_32},
    {OP_popc, T_B64, 0, popc_64},
    {OP_clz, T_B32, 0, clz_32},
    {OP_clz, T_B64, 0, clz_64},
    {OP_brev, T_B32, 0, brev_32},
    {OP_brev, T_B64, 0, brev_64},
    {OP_bfind, T_U32, 0, bfind_u32},
    {OP_bfind, T_S32, 0, bfind_s32},
    {OP_bfind, T_U64, 0, bfind_u64},
    {OP_bfind, T_S64, 0, bfind_s64},
    {OP_bfind, T_U32, F_SHIFTAMT, bfind_amount_u32},
    {OP_bfind, T_S32, F_SHIFTAMT, bfind_amount_s32},
    {OP_bfind, T_U64, F_SHIFTAMT, bfind_amount_u64},
    {OP_bfind, T_S64, F_SHIFTAMT, bfind_amount_s64},
    {OP_fns, T_B32, 0, fns_32},
    {OP_szext, T_U32, F_WRAP, szext_wrap_u32},
    {OP_szext, T_S32, F_WRAP, szext_wrap_s32},
    {OP_szext, T_U32, F_CLAMP, szext_clamp_u32},
    {OP_szext, T_S32, F_CLAMP, szext_clamp_s32},
    {OP_bmsk, T_B32, F_WRAP, bmsk_wrap},
    {OP_bmsk, T_B32, F_CLAMP, bmsk_clamp},
    {OP_bfe, T_U32, 0, bfe_u32},
    {OP_bfe, T_S32, 0, bfe_op},
    {OP_bfe, T_U64, 0, bfe_op},
    {OP_bfe, T_S64, 0, bfe_op},
    {OP_bfi, T_B32, 0, bfi_op},
    {OP_bfi, T_B64, 0, bfi_op},
    {OP_lop3, T_B32, 0, lop3_op},
    {OP_prmt, T_B32, 0, prmt_general},
};

op_fn *op_bits_find(struct insn *i) {
    op_fn *run = op_row_find(rows, sizeof rows / sizeof rows[0], i->op, i->type[0], i->flags);
    if (run == lop3_op && i->sub && i->sub != SUB_AND && i->sub != SUB_OR && i->sub != SUB_XOR)
        return NULL;
    if (run == prmt_general && i->sub)
        return prmt_mode[i->sub];
    return run;
}
