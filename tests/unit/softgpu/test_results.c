/* What integer instructions compute in forms that kernels seldom use, and operands in every way to write them. */
#include "lines.h"

/* ---- bits ---- */

static word find(wide x, int bits, bool sign, bool amount) {
    const wide top = x >> (bits - 1) & 1;
    for (int k = bits - 1; k >= 0; k--)
        if ((x >> k & 1) != (sign ? top : 0))
            return (word)(amount ? bits - 1 - k : k);
    return ~0u;
}
F(find_u32) {
    return find(a, 32, false, false);
}
F(find_s32) {
    return find(a, 32, true, false);
}
F(find_u64) {
    return find(pair(a, b), 64, false, false);
}
F(find_s64) {
    return find(pair(a, b), 64, true, false);
}
F(amount_u32) {
    return find(a, 32, false, true);
}
F(amount_s32) {
    return find(a, 32, true, true);
}
F(amount_u64) {
    return find(pair(a, b), 64, false, true);
}
F(amount_s64) {
    return find(pair(a, b), 64, true, true);
}

static wide reverse(wide x, int bits) {
    wide r = 0;
    for (int k = 0; k < bits; k++)
        r |= (x >> k & 1) << (bits - 1 - k);
    return r;
}
F(reverse_32) {
    return reverse(a, 32);
}
F(reverse_64) {
    return reverse(pair(a, b), 64);
}

static word ones(word at, word count) {
    word r = 0;
    for (word k = 0; k < 32; k++)
        r |= (word)(k >= at && k < (wide)at + count) << k;
    return r;
}
F(mask_clamp) {
    return ones(a < 32 ? a : 32, b < 32 ? b : 32);
}
F(mask_wrap) {
    return ones(a & 31, b & 31);
}

static word extended(word x, word count, bool sign) {
    const word low = x & ones(0, count);
    return sign && count && x >> (count - 1) & 1 ? low | ~ones(0, count) : low;
}
F(extend_clamp_u) {
    return extended(a, b < 32 ? b : 32, false);
}
F(extend_clamp_s) {
    return extended(a, b < 32 ? b : 32, true);
}
F(extend_wrap_u) {
    return extended(a, b & 31, false);
}
F(extend_wrap_s) {
    return extended(a, b & 31, true);
}

/* The n-th set bit of a from position `base` on, upwards or downwards; PTX ISA, "fns". */
F(nth_set) {
    const int base = (int)(b & 31), n = (int)(c % 9) - 4;
    int found = 0;
    if (n == 0)
        return a >> base & 1 ? (word)base : ~0u;
    for (int k = base; k >= 0 && k<32; k += n> 0 ? 1 : -1) {
        found += a >> k & 1;
        if (found == (n > 0 ? n : -n))
            return (word)k;
    }
    return ~0u;
}
F(left_16) {
    return b < 16 ? (a & 0xffff) << b & 0xffff : 0;
}
F(left_32) {
    return b < 32 ? a << b : 0;
}
F(left_64) {
    return c < 64 ? pair(a, b) << c : 0;
}
F(right_u16) {
    return b < 16 ? (a & 0xffff) >> b : 0;
}
F(right_s16) {
    return (uint16_t)((int16_t)a >> (b < 15 ? b : 15));
}
F(right_u32) {
    return b < 32 ? a >> b : 0;
}
F(right_s32) {
    return (word)((int32_t)a >> (b < 31 ? b : 31));
}
F(right_u64) {
    return c < 64 ? pair(a, b) >> c : 0;
}
F(right_s64) {
    return (wide)((int64_t)pair(a, b) >> (c < 63 ? c : 63));
}
F(funnel_left) {
    return (word)((pair(a, b) << (c & 31)) >> 32);
}
F(funnel_right) {
    return (word)(c < 32 ? pair(a, b) >> c : b);
}
F(field_u32) { /* positions and lengths beyond the end */
    wide r = 0;
    for (word k = 0; k < (c & 255) && k < 32; k++)
        r |= (wide)((b & 255) + k < 32 ? a >> ((b & 255) + k) & 1 : 0) << k;
    return r;
}
F(logic) {
    return ((a & 1) && (b & 1)) ^ ((a & 1) || !(b & 1));
}
F(moved) {
    return !(a & 1);
}
F(lop_and) {
    return (((a & b) ^ c) != 0) && (a & 1);
}
F(lop_or) {
    return (((a & b) ^ c) != 0) || (a & 1);
}
F(lop_xor) {
    return (((a & b) ^ c) != 0) != (a & 1);
}

static void test_bits(void **state) {
    (void)state;
    static const struct line table[] = {
        {"bfind.u32 %r9, %r1;", find_u32},
        {"bfind.s32 %r9, %r1;", find_s32},
        {"bfind.u64 %r9, %rd1;", find_u64},
        {"bfind.s64 %r9, %rd1;", find_s64},
        {"bfind.shiftamt.u32 %r9, %r1;", amount_u32},
        {"bfind.shiftamt.s32 %r9, %r1;", amount_s32},
        {"bfind.shiftamt.u64 %r9, %rd1;", amount_u64},
        {"bfind.shiftamt.s64 %r9, %rd1;", amount_s64},
        {"brev.b32 %r9, %r1;", reverse_32},
        {"brev.b64 %rd9, %rd1;", reverse_64},
        {"bmsk.clamp.b32 %r9, %r1, %r2;", mask_clamp},
        {"bmsk.wrap.b32 %r9, %r1, %r2;", mask_wrap},
        {"szext.clamp.u32 %r9, %r1, %r2;", extend_clamp_u},
        {"szext.clamp.s32 %r9, %r1, %r2;", extend_clamp_s},
        {"szext.wrap.u32 %r9, %r1, %r2;", extend_wrap_u},
        {"szext.wrap.s32 %r9, %r1, %r2;", extend_wrap_s},
        {"shl.b16 %h9, %h1, %r2;", left_16},
        {"shl.b32 %r9, %r1, %r2;", left_32},
        {"shl.b64 %rd9, %rd1, %r3;", left_64},
        {"shr.u16 %h9, %h1, %r2;", right_u16},
        {"shr.s16 %h9, %h1, %r2;", right_s16},
        {"shr.b32 %r9, %r1, %r2;", right_u32},
        {"shr.s32 %r9, %r1, %r2;", right_s32},
        {"shr.u64 %rd9, %rd1, %r3;", right_u64},
        {"shr.s64 %rd9, %rd1, %r3;", right_s64},
        {"shf.l.wrap.b32 %r9, %r1, %r2, %r3;", funnel_left},
        {"shf.r.clamp.b32 %r9, %r1, %r2, %r3;", funnel_right},
        {"bfe.u32 %r9, %r1, %r2, %r3;", field_u32},
        {"and.b32 %r5, %r2, 31; rem.u32 %r6, %r3, 9; sub.s32 %r6, %r6, 4; fns.b32 %r9, %r1, %r5, %r6;", nth_set},
        {"and.pred %p3, %p1, %p2; not.pred %p4, %p2; or.pred %p5, %p1, %p4; xor.pred %p9, %p3, %p5;", logic},
        {"mov.pred %p9, !%p1;", moved},
        {"lop3.and.b32 %r5|%p9, %r1, %r2, %r3, 0x6a, %p1;", lop_and},
        {"lop3.or.b32 %r5|%p9, %r1, %r2, %r3, 0x6a, %p1;", lop_or},
        {"lop3.xor.b32 %r5|%p9, %r1, %r2, %r3, 0x6a, %p1;", lop_xor},
    };
    CHECK(table);
}

/* ---- integers ---- */

static int64_t clamp(int64_t x, int64_t low, int64_t high) {
    return x < low ? low : x > high ? high : x;
}
static int64_t s24(word x) {
    return (int64_t)(x & 0xffffff) - (x & 0x800000 ? 1 << 24 : 0);
}
F(mad24_sat) {
    return (word)clamp((s24(a) * s24(b) >> 16) + (int32_t)c, INT32_MIN, INT32_MAX);
}
static wide two_relu(word a, word b, bool most) {
    wide r = 0;
    for (int k = 0; k < 32; k += 16) {
        const int x = (int16_t)(a >> k), y = (int16_t)(b >> k), z = most == (x > y) ? x : y;
        r |= (wide)(z < 0 ? 0 : z) << k;
    }
    return r;
}
F(max_relu) {
    return two_relu(a, b, true);
}
F(min_relu) {
    return two_relu(a, b, false);
}
static word byte_product(word a, word b, int k, bool a_signed, bool b_signed) {
    const int x = a_signed ? (int8_t)(a >> k) : (uint8_t)(a >> k), y = b_signed ? (int8_t)(b >> k) : (uint8_t)(b >> k);
    return (word)(x * y);
}
F(dot4_su) {
    for (int k = 0; k < 32; k += 8)
        c += byte_product(a, b, k, true, false);
    return c;
}
F(dot4_us) {
    for (int k = 0; k < 32; k += 8)
        c += byte_product(a, b, k, false, true);
    return c;
}
F(dot2_lo) {
    return c + (word)((int16_t)a * (int)(uint8_t)b) + (word)((int16_t)(a >> 16) * (int)(uint8_t)(b >> 8));
}
F(dot2_hi) {
    return c + (a & 65535) * (word)(int8_t)(b >> 16) + (a >> 16) * (word)(int8_t)(b >> 24);
}
F(wide_imm) {
    return (wide)a * b + 0x123456789abull;
}
F(wide_neg) {
    return (wide)((int64_t)(int32_t)a * (int32_t)b - 5);
}
F(field_imm) {
    return a >> 3 & 0x1f;
}
F(field_signed) {
    return (wide)((int64_t)(pair(a, b) << 20) >> 54);
}
F(insert_imm) {
    return (b & ~0x3f00u) | (a & 0x3f) << 8;
}

F(wide_carry) { /* the upper half of 128 bits; the carry of the lower halves */
    const unsigned __int128 x = (unsigned __int128)pair(a, b) + pair(c, a);
    return pair(b, c) + pair(a, b) + (wide)(x >> 64);
}
F(wide_borrow) {
    return pair(b, c) - pair(a, b) - (pair(a, b) < pair(c, a));
}
F(wide_high) {
    const unsigned __int128 x = (unsigned __int128)pair(a, b) * pair(c, a);
    const unsigned __int128 low = (unsigned __int128)(wide)x + pair(b, c);
    return (wide)(x >> 64) + 5 + (wide)(low >> 64);
}
F(wide_high_signed) {
    return (wide)((__int128)(int64_t)pair(a, b) * (int64_t)pair(c, a) >> 64) + pair(b, c);
}

static void test_integers(void **state) {
    (void)state;
    static const struct line table[] = {
        {"add.cc.u64 %rd5, %rd1, %rd2; addc.u64 %rd9, %rd3, %rd1;", wide_carry},
        {"sub.cc.u64 %rd5, %rd1, %rd2; subc.u64 %rd9, %rd3, %rd1;", wide_borrow},
        {"mad.lo.cc.u64 %rd5, %rd1, %rd2, %rd3; madc.hi.u64 %rd9, %rd1, %rd2, 5;", wide_high},
        {"mad.hi.s64 %rd9, %rd1, %rd2, %rd3;", wide_high_signed},
        {"mad.hi.cc.s64 %rd9, %rd1, %rd2, %rd3;", wide_high_signed},
        {"mad24.hi.sat.s32 %r9, %r1, %r2, %r3;", mad24_sat},
        {"max.relu.s16x2 %r9, %r1, %r2;", max_relu},
        {"min.relu.s16x2 %r9, %r1, %r2;", min_relu},
        {"dp4a.s32.u32 %r9, %r1, %r2, %r3;", dot4_su},
        {"dp4a.u32.s32 %r9, %r1, %r2, %r3;", dot4_us},
        {"dp2a.lo.s32.u32 %r9, %r1, %r2, %r3;", dot2_lo},
        {"dp2a.hi.u32.s32 %r9, %r1, %r2, %r3;", dot2_hi},
        {"mad.wide.u32 %rd9, %r1, %r2, 0x123456789ab;", wide_imm},
        {"mad.wide.s32 %rd9, %r1, %r2, -5;", wide_neg},
        {"bfe.u32 %r9, %r1, 3, 5;", field_imm},
        {"bfe.s64 %rd9, %rd1, 34, 10;", field_signed},
        {"bfi.b32 %r9, %r1, %r2, 8, 6;", insert_imm},
    };
    CHECK(table);
}

/* ---- video ---- */

F(video_mad) {
    return (word)(((int64_t)(int8_t)(a >> 8) * (b >> 16) + (int32_t)c) >> 7);
}
F(video_mad_neg) {
    return (word)clamp((-((int64_t)(int16_t)a * (int32_t)b) + (int32_t)c) >> 15, INT32_MIN, INT32_MAX);
}
F(video_mad_sub) {
    return (word)((int64_t)(uint8_t)a * (uint8_t)b - (int64_t)(wide)c);
}
F(video_mad_plus) {
    return (word)clamp((int64_t)(uint16_t)a * (uint16_t)b + (int64_t)c + 1, 0, UINT32_MAX);
}
F(video_set) {
    return ((int8_t)(a >> 24) >= (int32_t)b) + c;
}
F(video_more) {
    return ((int16_t)a > (int16_t)b ? 1 : 0) | ((int16_t)(a >> 16) > (int16_t)(b >> 16) ? 0x10000 : 0);
}
F(video_most) {
    return (uint8_t)a <= b;
}
F(video_other) {
    return c + (a != b);
}
F(video_sub) {
    return (word)((int64_t)(int32_t)a - (int64_t)(uint8_t)(b >> 16));
}
F(video_diff) {
    const int64_t x = (int64_t)(a >> 16) - (int64_t)(int32_t)b;
    return (word)clamp(x < 0 ? -x : x, 0, UINT32_MAX);
}
F(video_min) {
    const int32_t x = (int16_t)a < (int32_t)b ? (int16_t)a : (int32_t)b;
    return (word)(x < (int32_t)c ? x : (int32_t)c);
}
F(video_max) {
    return (c & 0xffff00ffu) | ((a & 0xff) > b ? a & 0xff : b & 0xff) << 8;
}
F(video_sat_half) {
    return (c & 0xffff) | (word)clamp((int64_t)(int32_t)a + (int32_t)b, INT16_MIN, INT16_MAX) << 16;
}
F(video_sat_byte) {
    return (c & 0xff00ffffu) | (word)clamp((int64_t)a + (int64_t)b, 0, 255) << 16;
}
F(video_shl) {
    return b < 32 ? (word)((wide)a << b) : 0;
}
F(video_shl_wrap) {
    return a << (b & 31);
}
F(video_shr) {
    return (word)((int64_t)(int32_t)a >> (b < 32 ? b : 32));
}
F(video_shr_low) {
    return (c & ~0xffffu) | ((a >> (b & 31)) & 0xffff);
}
F(video_swapped) { /* byte 0 of a with byte 3 of b, and so on */
    word r = 0;
    for (int k = 0; k < 4; k++)
        r |= (((a >> (8 * k)) + (b >> (24 - 8 * k))) & 0xff) << (8 * k);
    return r;
}
F(video_halves) { /* the high half of a with both of b; the low half of the result alone */
    return (c & 0xffff0000u) | (((a >> 16) - (b & 0xffff)) & 0xffff);
}

static void test_video(void **state) {
    (void)state;
    static const struct line table[] = {
        {"vmad.s32.s32.u32.shr7 %r9, %r1.b1, %r2.h1, %r3;", video_mad},
        {"vmad.s32.s32.s32.sat.shr15 %r9, -%r1.h0, %r2, %r3;", video_mad_neg},
        {"vmad.u32.u32.u32 %r9, %r1.b0, %r2.b0, -%r3;", video_mad_sub},
        {"vmad.u32.u32.u32.po.sat %r9, %r1.h0, %r2.h0, %r3;", video_mad_plus},
        {"vset.s32.s32.ge.add %r9, %r1.b3, %r2, %r3;", video_set},
        {"vset2.s32.s32.gt %r9, %r1, %r2, %r3;", video_more},
        {"vset.u32.u32.le %r9, %r1.b0, %r2;", video_most},
        {"vset.u32.u32.ne.add %r9, %r1, %r2, %r3;", video_other},
        {"vsub.s32.s32.u32 %r9, %r1, %r2.b2;", video_sub},
        {"vabsdiff.u32.u32.s32.sat %r9, %r1.h1, %r2;", video_diff},
        {"vmin.s32.s32.s32.min %r9, %r1.h0, %r2, %r3;", video_min},
        {"vmax.u32.u32.u32 %r9.b1, %r1.b0, %r2, %r3;", video_max},
        {"vadd.s32.s32.s32.sat %r9.h1, %r1, %r2, %r3;", video_sat_half},
        {"vadd.u32.u32.u32.sat %r9.b2, %r1, %r2, %r3;", video_sat_byte},
        {"vshl.u32.u32.u32.clamp %r9, %r1, %r2;", video_shl},
        {"vshl.u32.u32.u32.wrap %r9, %r1, %r2;", video_shl_wrap},
        {"vshr.s32.s32.u32.clamp %r9, %r1, %r2;", video_shr},
        {"vshr.u32.u32.u32.wrap %r9.h0, %r1, %r2, %r3;", video_shr_low},
        {"vadd4.u32.u32.u32 %r9, %r1, %r2.b0123, %r3;", video_swapped},
        {"vsub2.u32.u32.u32 %r9.h0, %r1.h01, %r2, %r3;", video_halves},
    };
    CHECK(table);
}

/* ---- operands as they can be written ---- */

F(literals) {
    return (0x1f + 017 + 5 + 100 + 2 + 32) ^ a;
}
F(complement) {
    return a & ~0xf0u;
}
F(negated) {
    return a + (word)-3;
}
F(not_zero) {
    return a + 1;
}
F(halves_put) {
    return (a & 0xffff) | 7u << 16;
}
F(words_put) {
    return pair(9, a);
}
F(high_taken) {
    return a >> 16;
}
F(four_taken) {
    return (a & 0xffff) + (b >> 16);
}
F(shifted) {
    return pair(a, b) << 33;
}
F(backwards) { /* the bytes of a, from the last to the first */
    return __builtin_bswap32(a);
}
F(behind) {
    return a & 1 ? 3 : 1;
}
F(in_a_scope) {
    return a + 12;
}

static void test_operands(void **state) {
    (void)state;
    static const struct line table[] = {
        {"mov.u32 %r5, 0x1f; add.u32 %r5, %r5, 017; add.u32 %r5, %r5, 0b101; add.u32 %r5, %r5, 100U;\n"
         "add.u32 %r5, %r5, 0x2U; add.u32 %r5, %r5, WARP_SZ; xor.b32 %r9, %r5, %r1;",
         literals},
        {"and.b32 %r9, %r1, ~0xf0;", complement},
        {"add.s32 %r9, %r1, -3;", negated},
        {"add.s32 %r9, %r1, !0;", not_zero},
        {"mov.b32 %r9, {%h1, 7};", halves_put},
        {"mov.b64 %rd9, {9, %r1};", words_put},
        {"mov.b32 {_, %h9}, %r1;", high_taken},
        {"mov.b64 {%h5, _, _, %h6}, %rd1; cvt.u32.u16 %r5, %h5; cvt.u32.u16 %r6, %h6; add.u32 %r9, %r5, %r6;",
         four_taken},
        {"{ .reg .b8 %b<4>; mov.b32 {%b0, %b1, %b2, %b3}, %r1; mov.b32 %r9, {%b3, %b2, %b1, %b0}; }", backwards},
        {"{ { @%p1 bra AHEAD; } mov.u32 %r9, 1; bra NEXT; } AHEAD: mov.u32 %r9, 3; NEXT:", behind},
        {"shl.b64 %rd9, %rd1, 33;", shifted},
        {"{ .reg .b32 %r1, %x; mov.u32 %x, 12; mov.u32 %r1, %x; { add.u32 %r9, %r1, 0; } } add.u32 %r9, %r9, %r1;",
         in_a_scope},
    };
    CHECK(table);
    /* a special register as an operand of any instruction, also behind a guard */
    struct str ptx = {0};
    struct world w;
    str_printf(&ptx,
               "%sadd.u32 %%r9, %%r4, %%tid.x; @%%p1 add.u32 %%r9, %%laneid, %%ntid.x;\n"
               "setp.gt.u64 %%p3, %%clock64, 0; selp.u32 %%r5, 1000, 0, %%p3; add.u32 %%r9, %%r9, %%r5;\n"
               "cvt.u64.u32 %%rd9, %%r9;\n%s",
               before, after);
    world_open(&w, ptx.data);
    word *in = world_alloc(&w, 64 * 12);
    wide *out = world_alloc(&w, 64 * 8);
    const void *p[] = {in, out};
    w.launch.block[0] = 64;
    world_run_good(&w, p);
    for (word k = 0; k < 64; k++)
        assert_int_equal(out[k], 1000 + (in[3 * k] & 1 ? k % 32 + 64 : 2 * k));
    world_close(&w);
    str_release(&ptx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_video),
        cmocka_unit_test(test_operands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
