/* The instruction handlers of the software device: bound as the parser binds them, run on a warp of random registers
 * with all lanes and with some, into a register of their own and into a source, and compared lane by lane. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fenv.h>
#include <stdlib.h>

#include "runtime/softgpu/op/numeric.h"
#include "runtime/softgpu/op/op.h"
#include "runtime/softgpu/warp/warp.h"

enum { SLOT = 256, SLOTS = 16, RESULT = 8, RESULT2 = 9 };
static _Alignas(64) uint8_t frame[SLOT * SLOTS];
static _Alignas(64) uint8_t bank[SLOT * SLOTS];
static struct warp warp;

static uint64_t state = 0x243f6a8885a308d3ull;
static uint64_t draw(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545f4914f6cdd1dull;
}

/* Random bits, often of few values, so that carries, equal operands and large shifts happen. */
static uint64_t draw_operand(void) {
    const uint64_t x = draw();
    switch (x & 7) {
    case 0:
        return 0;
    case 1:
        return ~0ull;
    case 2:
        return x >> 58;
    case 3:
        return 0x8000800080008000ull;
    case 4:
        return 0x80000000ull << (x >> 58);
    default:
        return draw();
    }
}

static unsigned register_bytes(enum ptx_type type) {
    return type_size(type) < 2 ? 2 : type_size(type);
}

static struct operand reg(int slot, unsigned width) {
    return (struct operand){
        .kind = width ? O_REG : O_PRED, .bank = BANK_FRAME, .width = (uint8_t)width, .slot = (uint32_t)(slot * SLOT)};
}

/* An instruction whose sources 0 … n-1 are slots 0 … n-1 of the given widths and whose result is slot RESULT. */
static struct insn make(enum ptx_op op, enum ptx_type type, uint64_t flags, int sources, unsigned width) {
    struct insn i = {
        .op = (uint16_t)op, .types = 1, .flags = flags, .dsts = 1, .srcs = (uint8_t)sources, .vec = 1, .text = ""};
    i.type[0] = (uint8_t)type;
    for (int k = 0; k < sources; k++)
        i.src[k] = reg(k, register_bytes(type));
    i.dst[0] = reg(RESULT, width);
    i.dst[1] = reg(RESULT2, 0);
    i.dst[1].kind = O_SINK;
    return i;
}

static void bind(struct insn *i) {
    char error[200] = "";
    if (!op_bind(i, error, sizeof error))
        fail_msg("%s", error);
}

static void randomise(void) {
    for (size_t k = 0; k < sizeof frame / 8; k++)
        ((uint64_t *)(void *)frame)[k] = draw_operand();
    warp.base[BANK_FRAME] = frame;
    warp.base[BANK_CONST] = bank;
    warp.carry = (uint32_t)draw();
}

static uint64_t read_lane(const uint8_t *from, const struct operand *o, int lane) {
    uint64_t x = 0;
    memcpy(&x, from + o->slot + (size_t)lane * o->width, o->width);
    return x;
}

typedef uint64_t lane_fn(const uint64_t *source, const struct insn *i);

/* Compares every lane with `want`; inactive lanes must keep what they had. */
static void check(struct insn i, lane_fn *want) {
    for (int round = 0; round < 24; round++) {
        static uint8_t before[sizeof frame];
        randomise();
        const bool alias = round % 3 == 2 && i.src[0].width == i.dst[0].width;
        i.dst[0].slot = alias ? i.src[0].slot : RESULT * SLOT;
        bind(&i);
        warp.exec = round % 2 ? (uint32_t)draw() | 1 : ~0u;
        memcpy(before, frame, sizeof frame);
        i.run(&warp, &i);
        for (int lane = 0; lane < LANES; lane++) {
            uint64_t source[MAX_SRC] = {0};
            for (int k = 0; k < i.srcs; k++)
                source[k] = i.src[k].kind == O_PRED ? *(uint32_t *)(void *)(before + i.src[k].slot) >> lane & 1
                                                    : read_lane(before, &i.src[k], lane);
            const uint64_t old = read_lane(before, &i.dst[0], lane);
            const uint64_t mask = i.dst[0].width == 8 ? ~0ull : (1ull << (8 * i.dst[0].width)) - 1;
            const uint64_t expect = warp.exec >> lane & 1 ? want(source, &i) & mask : old;
            const uint64_t got = read_lane(frame, &i.dst[0], lane);
            if (got != expect)
                fail_msg("%s.%s flags %llx lane %d of %08x: %llx, %llx, %llx gave %llx, not %llx", op_name(i.op),
                         type_name(i.type[0]), (unsigned long long)i.flags, lane, warp.exec,
                         (unsigned long long)source[0], (unsigned long long)source[1], (unsigned long long)source[2],
                         (unsigned long long)got, (unsigned long long)expect);
        }
    }
}

/* ---- integers, in 128 bits ---- */
static __int128 extend(uint64_t x, enum ptx_type type) {
    const unsigned bits = 8 * type_size(type);
    const __int128 v = bits == 64 ? (__int128)x : (__int128)(x & ((1ull << bits) - 1));
    return type_is_signed(type) && v >> (bits - 1) ? v - ((__int128)1 << bits) : v;
}

static uint64_t want_int(const uint64_t *s, const struct insn *i) {
    const enum ptx_type t = i->type[0];
    const unsigned bits = 8 * type_size(t);
    const __int128 a = extend(s[0], t), b = extend(s[1], t), c = extend(s[2], t);
    const __int128 least = -((__int128)1 << 31), most = ((__int128)1 << 31) - 1;
    __int128 r = 0;
    switch (i->op) {
    case OP_add:
        r = a + b;
        break;
    case OP_sub:
        r = a - b;
        break;
    case OP_mul:
    case OP_mad:
        r = (__int128)((unsigned __int128)a * (unsigned __int128)b); /* 64-bit factors fill all 128 */
        if (i->flags & F_HI)
            r = bits == 64 && !type_is_signed(t) ? (__int128)((unsigned __int128)r >> 64) : r >> bits;
        if (i->op == OP_mad)
            r += i->flags & F_WIDE ? (__int128)s[2] : c;
        break;
    case OP_sad:
        r = c + (a > b ? a - b : b - a);
        break;
    case OP_div:
        r = b ? a / b : -1;
        break;
    case OP_rem:
        r = b ? a % b : a;
        break;
    case OP_abs:
        r = a < 0 ? -a : a;
        break;
    case OP_neg:
        r = -a;
        break;
    case OP_min:
        r = a < b ? a : b;
        break;
    default:
        r = a > b ? a : b;
    }
    if (i->flags & F_SAT)
        r = r < least ? least : r > most ? most : r;
    return (uint64_t)(i->flags & F_RELU && r < 0 ? 0 : r);
}

static void integers(void **unused) {
    (void)unused;
    const enum ptx_type types[] = {T_U16, T_S16, T_U32, T_S32, T_U64, T_S64};
    const enum ptx_op two[] = {OP_add, OP_sub, OP_div, OP_rem, OP_min, OP_max};
    for (int t = 0; t < 6; t++) {
        const unsigned size = type_size(types[t]);
        for (int k = 0; k < 6; k++)
            check(make(two[k], types[t], 0, 2, size), want_int);
        for (int k = 0; k < 2; k++) {
            check(make(OP_mul, types[t], k ? F_HI : F_LO, 2, size), want_int);
            check(make(OP_mad, types[t], k ? F_HI : F_LO, 3, size), want_int);
        }
        check(make(OP_sad, types[t], 0, 3, size), want_int);
        if (size < 8) {
            struct insn wide = make(OP_mad, types[t], F_WIDE, 3, 2 * size);
            wide.src[2] = reg(2, 2 * size);
            check(wide, want_int);
            check(make(OP_mul, types[t], F_WIDE, 2, 2 * size), want_int);
        }
        if (type_is_signed(types[t])) {
            check(make(OP_abs, types[t], 0, 1, size), want_int);
            check(make(OP_neg, types[t], 0, 1, size), want_int);
        }
    }
    check(make(OP_add, T_S32, F_SAT, 2, 4), want_int);
    check(make(OP_sub, T_S32, F_SAT, 2, 4), want_int);
    check(make(OP_mad, T_S32, F_SAT | F_HI, 3, 4), want_int);
    check(make(OP_max, T_S32, F_RELU, 2, 4), want_int);
    check(make(OP_min, T_S32, F_RELU, 2, 4), want_int);
}

static uint64_t want_pairs(const uint64_t *s, const struct insn *i) {
    const enum ptx_type t = i->type[0] == T_S16X2 ? T_S16 : T_U16;
    struct insn one = *i;
    one.type[0] = (uint8_t)t;
    const uint64_t l[3] = {s[0] & 65535, s[1] & 65535, 0}, h[3] = {s[0] >> 16, s[1] >> 16, 0};
    return (want_int(h, &one) & 65535) << 16 | (want_int(l, &one) & 65535);
}

static uint64_t want_24(const uint64_t *s, const struct insn *i) {
    const bool sign = type_is_signed(i->type[0]);
    int64_t x[2];
    for (int k = 0; k < 2; k++)
        x[k] = (int64_t)(s[k] & 0xffffff) - (sign && s[k] & 0x800000 ? 1 << 24 : 0);
    const int64_t product = x[0] * x[1], part = i->flags & F_HI ? product >> 16 : product;
    return (uint64_t)part + (i->op == OP_mad24 ? s[2] : 0);
}

static void odd_widths(void **unused) {
    (void)unused;
    const enum ptx_type pairs[] = {T_U16X2, T_S16X2};
    for (int k = 0; k < 2; k++) {
        check(make(OP_add, pairs[k], 0, 2, 4), want_pairs);
        check(make(OP_sub, pairs[k], 0, 2, 4), want_pairs);
        check(make(OP_min, pairs[k], 0, 2, 4), want_pairs);
        check(make(OP_max, pairs[k], 0, 2, 4), want_pairs);
        check(make(OP_mul24, k ? T_S32 : T_U32, F_LO, 2, 4), want_24);
        check(make(OP_mul24, k ? T_S32 : T_U32, F_HI, 2, 4), want_24);
        check(make(OP_mad24, k ? T_S32 : T_U32, F_LO, 3, 4), want_24);
        check(make(OP_mad24, k ? T_S32 : T_U32, F_HI, 3, 4), want_24);
    }
    check(make(OP_min, T_S16X2, F_RELU, 2, 4), want_pairs);
}

/* 128-bit sums in four words, whose flags run through the warp. */
static void carries(void **unused) {
    (void)unused;
    for (int subtract = 0; subtract < 2; subtract++)
        for (int round = 0; round < 200; round++) {
            unsigned __int128 x[LANES], y[LANES];
            randomise();
            warp.exec = round & 1 ? (uint32_t)draw() : ~0u;
            for (int lane = 0; lane < LANES; lane++) {
                x[lane] = (unsigned __int128)draw_operand() << 64 | draw_operand();
                y[lane] = (unsigned __int128)draw_operand() << 64 | draw_operand();
            }
            for (int word = 0; word < 4; word++) {
                for (int lane = 0; lane < LANES; lane++) {
                    ((uint32_t *)(void *)frame)[lane] = (uint32_t)(x[lane] >> (32 * word));
                    ((uint32_t *)(void *)(frame + SLOT))[lane] = (uint32_t)(y[lane] >> (32 * word));
                }
                const enum ptx_op first = subtract ? OP_sub : OP_add, next = subtract ? OP_subc : OP_addc;
                struct insn i = make(word ? next : first, T_U32, word < 3 ? F_CC : 0, 2, 4);
                bind(&i);
                i.run(&warp, &i);
                for (int lane = 0; lane < LANES; lane++)
                    if (warp.exec >> lane & 1) {
                        const unsigned __int128 want = subtract ? x[lane] - y[lane] : x[lane] + y[lane];
                        assert_int_equal(read_lane(frame, &i.dst[0], lane), (uint32_t)(want >> (32 * word)));
                    }
            }
        }
    /* After a subtraction the flag is "no borrow", as addc sees it. */
    struct insn sub = make(OP_sub, T_U32, F_CC, 2, 4), addc = make(OP_addc, T_U32, 0, 2, 4);
    randomise();
    warp.exec = ~0u;
    bind(&sub);
    bind(&addc);
    sub.run(&warp, &sub);
    addc.dst[0] = reg(RESULT2, 4);
    addc.run(&warp, &addc);
    for (int lane = 0; lane < LANES; lane++) {
        const uint32_t x = (uint32_t)read_lane(frame, &sub.src[0], lane),
                       y = (uint32_t)read_lane(frame, &sub.src[1], lane);
        assert_int_equal(read_lane(frame, &addc.dst[0], lane), x + y + (x >= y));
    }
    struct insn mad = make(OP_mad, T_U32, F_LO | F_CC, 3, 4), madc = make(OP_madc, T_U32, F_HI, 3, 4);
    randomise();
    warp.exec = ~0u;
    memset(frame + 2 * SLOT, 0xff, SLOT);
    bind(&mad);
    bind(&madc);
    mad.run(&warp, &mad);
    madc.dst[0] = reg(RESULT2, 4);
    madc.run(&warp, &madc);
    for (int lane = 0; lane < LANES; lane++) {
        const uint64_t want = read_lane(frame, &mad.src[0], lane) * read_lane(frame, &mad.src[1], lane) - 1;
        assert_int_equal(read_lane(frame, &mad.dst[0], lane), (uint32_t)want);
        assert_int_equal(read_lane(frame, &madc.dst[0], lane), (uint32_t)(want >> 32));
    }
}

/* ---- bits ---- */
static uint64_t want_shift(const uint64_t *s, const struct insn *i) {
    const unsigned bits = 8 * type_size(i->type[0]);
    const uint64_t n = s[1] < bits ? s[1] : bits;
    const __int128 a = extend(s[0], i->type[0]);
    return (uint64_t)(i->op == OP_shl ? (unsigned __int128)a << n : (unsigned __int128)(a >> n));
}
static uint64_t want_logic(const uint64_t *s, const struct insn *i) {
    switch (i->op) {
    case OP_and:
        return s[0] & s[1];
    case OP_or:
        return s[0] | s[1];
    case OP_xor:
        return s[0] ^ s[1];
    case OP_cnot:
        return s[0] == 0;
    default:
        return ~s[0];
    }
}
static uint64_t want_count(const uint64_t *s, const struct insn *i) {
    uint64_t ones = 0, zeros = 0;
    const int bits = i->type[0] == T_B64 ? 64 : 32;
    for (int k = 0; k < bits; k++) {
        ones += s[0] >> k & 1;
        zeros = s[0] >> k & 1 ? 0 : zeros + 1;
    }
    return i->op == OP_popc ? ones : zeros;
}
static uint64_t want_lop3(const uint64_t *s, const struct insn *i) {
    return lop3((uint32_t)s[0], (uint32_t)s[1], (uint32_t)s[2], (uint32_t)i->src[3].imm);
}
static uint64_t want_prmt(const uint64_t *s, const struct insn *i) {
    return prmt((uint32_t)s[0], (uint32_t)s[1], i->src[2].kind == O_IMM ? (uint32_t)i->src[2].imm : (uint32_t)s[2],
                i->sub);
}
static uint64_t want_funnel(const uint64_t *s, const struct insn *i) {
    return funnel((uint32_t)s[0], (uint32_t)s[1], (uint32_t)s[2], (i->flags & F_LEFT) != 0, (i->flags & F_WRAP) != 0);
}
static uint64_t want_field(const uint64_t *s, const struct insn *i) {
    const unsigned bits = 8 * type_size(i->type[0]);
    return i->op == OP_bfe ? bfe(s[0], (uint32_t)s[1], (uint32_t)s[2], bits, type_is_signed(i->type[0]))
                           : bfi(s[0], s[1], (uint32_t)s[2], (uint32_t)s[3], bits);
}

static void bits(void **unused) {
    (void)unused;
    const enum ptx_type shifted[] = {T_B16, T_U16, T_S16, T_B32, T_U32, T_S32, T_B64, T_U64, T_S64};
    for (int t = 0; t < 9; t++)
        for (int left = t % 3 == 0; left >= 0; left--) {
            struct insn i = make(left ? OP_shl : OP_shr, shifted[t], 0, 2, type_size(shifted[t]));
            i.src[1] = reg(1, 4);
            check(i, want_shift);
        }
    const enum ptx_type plain[] = {T_B16, T_B32, T_B64};
    const enum ptx_op logic[] = {OP_and, OP_or, OP_xor, OP_not, OP_cnot};
    for (int t = 0; t < 3; t++)
        for (int k = 0; k < 5; k++)
            check(make(logic[k], plain[t], 0, k < 3 ? 2 : 1, type_size(plain[t])), want_logic);
    for (int t = 1; t < 3; t++) {
        check(make(OP_popc, plain[t], 0, 1, 4), want_count);
        check(make(OP_clz, plain[t], 0, 1, 4), want_count);
    }
    for (int64_t lut = 0; lut < 256; lut++) {
        struct insn i = make(OP_lop3, T_B32, 0, 4, 4);
        i.src[3] = (struct operand){.kind = O_IMM, .bank = BANK_CONST, .width = 4, .imm = lut};
        check(i, want_lop3);
    }
    for (int k = 0; k < 40; k++) {
        struct insn i = make(OP_prmt, T_B32, 0, 3, 4);
        if (k & 1) {
            const uint32_t selector = (uint32_t)draw() & 65535;
            for (int lane = 0; lane < LANES; lane++)
                memcpy(bank + 4 * lane, &selector, 4);
            i.src[2] = (struct operand){.kind = O_IMM, .bank = BANK_CONST, .width = 4, .imm = selector};
        } else
            i.sub = (uint8_t)(k / 2 % 7 ? SUB_F4E + k / 2 % 7 - 1 : SUB_NONE);
        check(i, want_prmt);
    }
    for (int k = 0; k < 4; k++)
        check(make(OP_shf, T_B32, (k & 1 ? F_LEFT : F_RIGHT) | (k & 2 ? F_WRAP : F_CLAMP), 3, 4), want_funnel);
    const enum ptx_type fields[] = {T_U32, T_S32, T_U64, T_S64};
    for (int t = 0; t < 4; t++) {
        struct insn i = make(OP_bfe, fields[t], 0, 3, type_size(fields[t]));
        i.src[1] = reg(1, 4);
        i.src[2] = reg(2, 4);
        check(i, want_field);
        i = make(OP_bfi, t < 2 ? T_B32 : T_B64, 0, 4, type_size(fields[t]));
        i.src[2] = reg(2, 4);
        i.src[3] = reg(3, 4);
        check(i, want_field);
    }
}

/* ---- f32 and f64: the host's arithmetic, one lane at a time ---- */
static float flush(float x, const struct insn *i) {
    return i->flags & F_FTZ && fabsf(x) < 0x1p-126f ? copysignf(0, x) : x;
}
static const int host_modes[] = {[RND_NONE] = FE_TONEAREST,
                                 [RND_RN] = FE_TONEAREST,
                                 [RND_RZ] = FE_TOWARDZERO,
                                 [RND_RM] = FE_DOWNWARD,
                                 [RND_RP] = FE_UPWARD};

static uint64_t want_f32(const uint64_t *s, const struct insn *i) {
    volatile float a = flush(f32_of((uint32_t)s[0]), i), b = flush(f32_of((uint32_t)s[1]), i);
    volatile float c = flush(f32_of((uint32_t)s[2]), i), r;
    fesetround(host_modes[i->rnd]);
    switch (i->op) {
    case OP_add:
        r = a + b;
        break;
    case OP_sub:
        r = a - b;
        break;
    case OP_mul:
        r = a * b;
        break;
    case OP_div:
        r = a / b;
        break;
    case OP_rcp:
        r = 1 / a;
        break;
    case OP_sqrt:
        r = sqrtf(a);
        break;
    default:
        r = fmaf(a, b, c);
    }
    fesetround(FE_TONEAREST);
    if (i->flags & F_SAT)
        return f32_bits(flush(r > 1 ? 1 : r > 0 ? r : 0, i));
    return r != r ? F32_NAN : f32_bits(flush(r, i));
}

static uint64_t want_f64(const uint64_t *s, const struct insn *i) {
    volatile double a = f64_of(s[0]), b = f64_of(s[1]), c = f64_of(s[2]), r;
    fesetround(host_modes[i->rnd]);
    switch (i->op) {
    case OP_add:
        r = a + b;
        break;
    case OP_sub:
        r = a - b;
        break;
    case OP_mul:
        r = a * b;
        break;
    case OP_div:
        r = a / b;
        break;
    case OP_rcp:
        r = 1 / a;
        break;
    case OP_sqrt:
        r = sqrt(a);
        break;
    default:
        r = fma(a, b, c);
    }
    fesetround(FE_TONEAREST);
    return f64_bits(r);
}

static void floats(void **unused) {
    (void)unused;
    const enum ptx_op ops[] = {OP_add, OP_sub, OP_mul, OP_fma, OP_div, OP_rcp, OP_sqrt};
    const int sources[] = {2, 2, 2, 3, 2, 1, 1};
    for (int k = 0; k < 7; k++)
        for (int rnd = RND_RN; rnd <= RND_RP; rnd++) {
            const uint64_t flags[] = {0, F_FTZ, F_SAT, F_FTZ | F_SAT};
            for (int f = 0; f < 4; f++) {
                struct insn i = make(ops[k], T_F32, flags[f], sources[k], 4);
                i.rnd = (uint8_t)rnd;
                check(i, want_f32);
            }
            struct insn i = make(ops[k], T_F64, 0, sources[k], 8);
            i.rnd = (uint8_t)rnd;
            check(i, want_f64);
        }
}

/* ---- f16, bf16: exact in 128 bits, one rounding ---- */
static double decode(uint64_t bits, bool wide, const struct insn *i) {
    const double x = float_to_double(wide ? &format_bf16 : &format_f16, bits & 65535);
    return i->flags & F_FTZ && fabs(x) < (wide ? 0x1p-126 : 0x1p-14) ? copysign(0, x) : x;
}

static uint64_t want_one_half(const uint64_t *s, const struct insn *i, bool wide) {
    const struct float_format *f = wide ? &format_bf16 : &format_f16;
    const double a = decode(s[0], wide, i), b = decode(s[1], wide, i), p = a * b;
    double c = decode(s[2], wide, i);
    if (c != 0 && fabs(c) < fabs(p) * 0x1p-80 &&
        !isinf(p)) /* far below: only its sign counts; this keeps 128 bits enough */
        c = copysign(fabs(p) * 0x1p-80, c);
    __float128 r = i->op == OP_add   ? (__float128)a + b
                   : i->op == OP_sub ? (__float128)a - b
                   : i->op == OP_mul ? (__float128)a * b
                                     : (__float128)a * b + c;
    /* The sum to a double whose last bit records what was lost: then one rounding. */
    double d = (double)r;
    if (d == d && !isinf(d) && (__float128)d != r && !(f64_bits(d) & 1))
        d = f64_of(f64_bits(d) + ((r > d) == (d > 0) ? 1 : ~0ull));
    if (i->flags & F_SAT)
        d = d > 1 ? 1 : d > 0 ? d : 0;
    if (i->flags & F_RELU && d <= 0)
        d = 0;
    const uint64_t bits = float_from_double(f, d, RND_RN, false);
    return i->flags & F_FTZ && !(bits & (wide ? 0x7f80 : 0x7c00)) ? bits & 0x8000 : bits;
}

static uint64_t want_half(const uint64_t *s, const struct insn *i) {
    const bool wide = i->type[0] == T_BF16 || i->type[0] == T_BF16X2;
    uint64_t r = 0;
    for (unsigned k = 0; k < type_size(i->type[0]); k += 2) {
        const uint64_t part[3] = {s[0] >> (8 * k), s[1] >> (8 * k), s[2] >> (8 * k)};
        r |= want_one_half(part, i, wide) << (8 * k);
    }
    return r;
}

static void halves(void **unused) {
    (void)unused;
    const enum ptx_type types[] = {T_F16, T_F16X2, T_BF16, T_BF16X2};
    const enum ptx_op ops[] = {OP_add, OP_sub, OP_mul, OP_fma};
    const uint64_t flags[] = {0, F_FTZ, F_SAT, F_FTZ | F_SAT, F_RELU, F_FTZ | F_RELU};
    for (int t = 0; t < 4; t++)
        for (int k = 0; k < 4; k++)
            for (int f = 0; f < (k == 3 ? 6 : 4); f++)
                for (int round = 0; round < 8; round++)
                    check(make(ops[k], types[t], flags[f], k == 3 ? 3 : 2, type_size(types[t])), want_half);
}

/* ---- comparisons ---- */
static bool holds(double a, double b, enum ptx_compare cmp) {
    const bool nan = a != a || b != b;
    switch (cmp) {
    case CMP_EQ:
        return a == b;
    case CMP_NE:
        return !nan && a != b;
    case CMP_LT:
        return a < b;
    case CMP_LE:
        return a <= b;
    case CMP_GT:
        return a > b;
    case CMP_GE:
        return a >= b;
    case CMP_EQU:
        return nan || a == b;
    case CMP_NEU:
        return a != b;
    case CMP_LTU:
        return nan || a < b;
    case CMP_LEU:
        return nan || a <= b;
    case CMP_GTU:
        return nan || a > b;
    case CMP_GEU:
        return nan || a >= b;
    case CMP_NUM:
        return !nan;
    default:
        return nan;
    }
}

static void compares(void **unused) {
    (void)unused;
    for (int cmp = CMP_EQ; cmp <= CMP_NAN; cmp++)
        for (int boolop = 0; boolop < 4; boolop++) {
            const bool is_int = cmp >= CMP_LO && cmp <= CMP_HS;
            struct insn i = make(OP_setp, is_int ? T_U32 : T_F32, 0, boolop ? 3 : 2, 0);
            const enum ptx_sub combine[] = {SUB_NONE, SUB_AND, SUB_OR, SUB_XOR};
            i.cmp = (uint8_t)cmp;
            i.boolop = (uint8_t)combine[boolop];
            i.src[2] = reg(2, 0);
            i.src[2].negated = boolop & 1;
            i.dst[1].kind = O_PRED;
            bind(&i);
            randomise();
            for (int lane = 0; lane < 8; lane++) /* equal operands, and NaN, in the first lanes */
                memcpy(frame + SLOT + 4 * lane, frame + 4 * lane, 4);
            memset(frame + 4 * 9, 0xff, 4);
            memset(frame + SLOT + 4 * 10, 0xff, 4);
            warp.exec = (uint32_t)draw();
            uint32_t old[2];
            memcpy(&old[0], frame + RESULT * SLOT, 4);
            memcpy(&old[1], frame + RESULT2 * SLOT, 4);
            i.run(&warp, &i);
            for (int lane = 0; lane < LANES; lane++) {
                const uint32_t a = (uint32_t)read_lane(frame, &(struct operand){.slot = 0, .width = 4}, lane);
                const uint32_t b = (uint32_t)read_lane(frame, &(struct operand){.slot = SLOT, .width = 4}, lane);
                const bool unsigned_holds = cmp == CMP_LO   ? a < b
                                            : cmp == CMP_LS ? a <= b
                                            : cmp == CMP_HI ? a > b
                                                            : a >= b;
                const bool t = is_int ? unsigned_holds : holds(f32_of(a), f32_of(b), (enum ptx_compare)cmp);
                const bool c = (*(uint32_t *)(void *)(frame + 2 * SLOT) >> lane & 1) != (boolop & 1);
                for (int k = 0; k < 2; k++) {
                    const bool x = k ? !t : t;
                    const bool full = boolop == 0 ? x : boolop == 1 ? x && c : boolop == 2 ? x || c : x != c;
                    const bool want = warp.exec >> lane & 1 ? full : old[k] >> lane & 1;
                    const uint32_t mask = *(uint32_t *)(void *)(frame + (k ? RESULT2 : RESULT) * SLOT);
                    assert_int_equal(mask >> lane & 1, want);
                }
            }
        }
}

static uint64_t want_choice(const uint64_t *s, const struct insn *i) {
    if (i->op == OP_selp)
        return s[2] & 1 ? s[0] : s[1];
    return i->type[1] == T_S32 ? ((int32_t)s[2] >= 0 ? s[0] : s[1]) : (f32_of((uint32_t)s[2]) >= 0 ? s[0] : s[1]);
}
static uint64_t want_set(const uint64_t *s, const struct insn *i) {
    const bool t = i->type[1] == T_S64 ? (int64_t)s[0] < (int64_t)s[1] : s[0] < s[1];
    return t ? (i->type[0] == T_F32 ? f32_bits(1) : UINT32_MAX) : 0;
}

static void selects(void **unused) {
    (void)unused;
    const enum ptx_type types[] = {T_B16, T_B32, T_F32, T_B64};
    for (int t = 0; t < 4; t++) {
        struct insn i = make(OP_selp, types[t], 0, 3, type_size(types[t]));
        i.src[2] = reg(2, 0);
        check(i, want_choice);
        for (int k = 0; k < 2; k++) {
            i = make(OP_slct, types[t], 0, 3, type_size(types[t]));
            i.src[2] = reg(2, 4);
            i.types = 2;
            i.type[1] = k ? T_S32 : T_F32;
            check(i, want_choice);
            i = make(OP_set, k ? T_F32 : T_U32, 0, 2, 4);
            i.types = 2;
            i.type[1] = k ? T_S64 : T_U32;
            i.cmp = CMP_LT;
            i.src[0] = reg(0, k ? 8 : 4);
            i.src[1] = reg(1, k ? 8 : 4);
            check(i, want_set);
        }
    }
}

/* ---- conversions ---- */
static uint64_t want_cvt(const uint64_t *s, const struct insn *i) {
    const enum ptx_type to = i->type[0], from = i->type[1];
    const unsigned bits = 8 * type_size(to);
    double real = 0;
    __int128 whole = 0;
    if (to == T_F32 && from == T_BF16)
        return s[0] << 16;
    if (!type_is_float(from))
        real = (double)(whole = extend(s[0], from));
    else
        real = from == T_F64   ? f64_of(s[0])
               : from == T_F32 ? f32_of((uint32_t)s[0])
                               : float_to_double(from == T_F16 ? &format_f16 : &format_bf16, s[0]);
    if (type_is_float(to)) {
        if (to == T_F64)
            return type_is_float(from) && from != T_F32 ? float_from_double(&format_f64, real, RND_RN, false)
                                                        : f64_bits(real); /* a float's NaN keeps its payload */
        const __int128 magnitude = whole < 0 ? -whole : whole;
        const struct float_format *f = to == T_F16 ? &format_f16 : to == T_BF16 ? &format_bf16 : &format_f32;
        return type_is_float(from) ? float_from_double(f, real, RND_RN, false)
                                   : float_round(f, whole < 0, (uint64_t)magnitude, 0, RND_RN, false);
    }
    __int128 low = type_is_signed(to) ? -((__int128)1 << (bits - 1)) : 0;
    __int128 high = ((__int128)1 << (type_is_signed(to) ? bits - 1 : bits)) - 1;
    if (type_is_float(from)) {
        real = i->rnd == RND_RNI   ? rint(real)
               : i->rnd == RND_RMI ? floor(real)
               : i->rnd == RND_RPI ? ceil(real)
                                   : trunc(real);
        if (real != real)
            whole = bits == 64 || from == T_F64 ? (__int128)1 << (bits - 1) : 0;
        else
            whole = real <= (double)low ? low : real >= (double)high ? high : (__int128)real;
    } else if (i->flags & F_SAT) {
        whole = whole < low ? low : whole > high ? high : whole;
    }
    return (uint64_t)extend((uint64_t)whole, to); /* extended to the register */
}

static void conversions(void **unused) {
    (void)unused;
    const enum ptx_type types[] = {T_U8, T_S8, T_U16, T_S16, T_U32, T_S32, T_U64, T_S64, T_F16, T_BF16, T_F32, T_F64};
    for (int t = 0; t < 12; t++)
        for (int f = 0; f < 12; f++)
            for (int k = 0; k < 4; k++) {
                const bool to_float = type_is_float(types[t]), from_float = type_is_float(types[f]);
                struct insn i = make(OP_cvt, types[t], !to_float && !from_float && k & 1 ? F_SAT : 0, 1, 0);
                i.types = 2;
                i.type[1] = (uint8_t)types[f];
                i.rnd = (uint8_t)(!to_float && from_float        ? RND_RNI + k
                                  : to_float && !from_float      ? RND_RN
                                  : to_float && t < f            ? RND_RN
                                  : to_float && t == 9 && f == 8 ? RND_RN
                                                                 : RND_NONE);
                /* integers may live in wider registers */
                const unsigned narrow_to = register_bytes(types[t]), narrow_from = register_bytes(types[f]);
                i.dst[0] = reg(RESULT, !to_float && k & 2 && narrow_to < 8 ? 2 * narrow_to : narrow_to);
                i.src[0] = reg(0, !from_float && k & 2 && narrow_from < 8 ? 2 * narrow_from : narrow_from);
                check(i, want_cvt);
            }
}

static uint64_t want_packed(const uint64_t *s, const struct insn *i) {
    const struct float_format *f = i->type[0] == T_F16X2    ? &format_f16
                                   : i->type[0] == T_BF16X2 ? &format_bf16
                                   : i->type[0] == T_E4M3X2 ? &format_e4m3
                                                            : &format_e5m2;
    const unsigned width = i->type[0] == T_F16X2 || i->type[0] == T_BF16X2 ? 16 : 8;
    uint64_t r = 0;
    for (int k = 0; k < 2; k++) {
        double x = f32_of((uint32_t)s[1 - k]);
        x = i->flags & F_RELU && x < 0 ? 0 : x;
        r |= (float_from_double(f, x == 0 && i->flags & F_RELU ? 0 : x, i->rnd, (i->flags & F_SATFINITE) != 0))
             << (width * (unsigned)k);
    }
    return r;
}

static void packing(void **unused) {
    (void)unused;
    const enum ptx_type types[] = {T_F16X2, T_BF16X2, T_E4M3X2, T_E5M2X2};
    for (int t = 0; t < 4; t++)
        for (int k = 0; k < 4; k++) {
            struct insn i = make(OP_cvt, types[t], (t >= 2 ? F_SATFINITE : 0) | (k & 1 ? F_RELU : 0), 2, t < 2 ? 4 : 2);
            i.types = 2;
            i.type[1] = T_F32;
            i.rnd = k & 2 && t < 2 ? RND_RZ : RND_RN;
            i.src[0] = reg(0, 4);
            i.src[1] = reg(1, 4);
            check(i, want_packed);
        }
}

/* ---- moves ---- */
static void vectors(void **unused) {
    (void)unused;
    const struct {
        enum ptx_type type;
        unsigned count;
    } kinds[] = {{T_B32, 2}, {T_B64, 2}, {T_B64, 4}, {T_B128, 2}};
    for (int k = 0; k < 4; k++) {
        const unsigned size = type_size(kinds[k].type), part = size / kinds[k].count;
        struct operand parts[4];
        for (unsigned e = 0; e < kinds[k].count; e++)
            parts[e] = reg((int)e, part);
        struct insn i = make(OP_mov, kinds[k].type, 0, 1, size);
        i.dst[0].slot = 10 * SLOT; /* 512 bytes for b128 */
        i.src[0] = (struct operand){.kind = O_VEC, .count = (uint8_t)kinds[k].count, .vec = parts};
        randomise();
        static uint8_t before[sizeof frame];
        memcpy(before, frame, sizeof frame);
        warp.exec = k & 1 ? (uint32_t)draw() : ~0u;
        bind(&i);
        i.run(&warp, &i);
        for (int lane = 0; lane < LANES; lane++)
            for (unsigned e = 0; e < kinds[k].count; e++) {
                const size_t at = 10 * SLOT + (size_t)lane * size + e * part;
                const uint8_t *want = warp.exec >> lane & 1 ? before + e * SLOT + (size_t)lane * part : before + at;
                assert_memory_equal(frame + at, want, part);
            }
        struct insn back = make(OP_mov, kinds[k].type, 0, 1, size);
        back.src[0] = i.dst[0];
        back.dst[0] = i.src[0];
        for (unsigned e = 0; e < kinds[k].count; e++)
            memset(frame + e * SLOT, 0x5a, (size_t)part * LANES);
        bind(&back);
        back.run(&warp, &back);
        for (int lane = 0; lane < LANES; lane++)
            for (unsigned e = 0; e < kinds[k].count && warp.exec >> lane & 1; e++)
                assert_memory_equal(frame + e * SLOT + (size_t)lane * part, before + e * SLOT + (size_t)lane * part,
                                    part);
    }
}

/* What is not known is refused with its name, not guessed. */
static void unknown_combinations(void **unused) {
    (void)unused;
    struct insn bad[] = {make(OP_add, T_B32, 0, 2, 4),      make(OP_add, T_F64, F_SAT, 2, 8),
                         make(OP_mul, T_U64, F_WIDE, 2, 8), make(OP_shf, T_B32, F_LEFT, 3, 4),
                         make(OP_cvt, T_S32, 0, 1, 4),      make(OP_bra, T_NONE, 0, 0, 0)};
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
        char error[200] = "";
        assert_false(op_bind(&bad[k], error, sizeof error));
        assert_non_null(strstr(error, op_name(bad[k].op)));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers), cmocka_unit_test(odd_widths), cmocka_unit_test(carries),
        cmocka_unit_test(bits),     cmocka_unit_test(floats),     cmocka_unit_test(halves),
        cmocka_unit_test(compares), cmocka_unit_test(selects),    cmocka_unit_test(conversions),
        cmocka_unit_test(packing),  cmocka_unit_test(vectors),    cmocka_unit_test(unknown_combinations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
