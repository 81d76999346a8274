/* Handlers that few kernels use: video instructions, approximations, f32 min and max with modifiers, testp, mma. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>

#include "runtime/softgpu/op/numeric.h"
#include "runtime/softgpu/op/op.h"
#include "runtime/softgpu/warp/warp.h"

enum { SLOT = 256, RESULT = 8 };
static _Alignas(64) uint8_t frame[SLOT * 24];
static struct warp warp;

static uint64_t state = 0xb7e151628aed2a6bull;
static uint64_t draw(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545f4914f6cdd1dull;
}

static struct operand reg(int slot, unsigned width) {
    return (struct operand){
        .kind = width ? O_REG : O_PRED, .bank = BANK_FRAME, .width = (uint8_t)width, .slot = (uint32_t)(slot * SLOT)};
}

static struct insn make(enum ptx_op op, enum ptx_type type, uint64_t flags, int sources, unsigned width) {
    struct insn i = {.op = (uint16_t)op, .flags = flags, .dsts = 1, .srcs = (uint8_t)sources, .vec = 1, .text = ""};
    i.types = 1;
    i.type[0] = (uint8_t)type;
    for (int k = 0; k < sources; k++)
        i.src[k] = reg(k, width);
    i.dst[0] = reg(RESULT, width);
    return i;
}

static void run(struct insn *i) {
    char error[200] = "";
    if (!op_bind(i, error, sizeof error))
        fail_msg("%s", error);
    warp.base[BANK_FRAME] = frame;
    warp.exec = ~0u;
    i->run(&warp, i);
}

static uint32_t *slot32(int slot) {
    return (uint32_t *)(void *)(frame + slot * SLOT);
}
static float *slot_float(int slot) {
    return (float *)(void *)(frame + slot * SLOT);
}

static void randomise(void) {
    for (size_t k = 0; k < sizeof frame / 8; k++)
        ((uint64_t *)(void *)frame)[k] = draw() & (draw() & 1 ? ~0ull : 0x80ff00ff7f00ff80ull);
}

/* ---- video ---- */
static int64_t part(uint32_t x, int k, int bits, bool sign) {
    const int64_t v = x >> (k * bits) & ((1ull << bits) - 1);
    return sign && v >> (bits - 1) ? v - (1ll << bits) : v;
}

static int64_t video_result(const struct insn *i, int64_t a, int64_t b) {
    switch (i->op) {
    case OP_vadd4:
    case OP_vadd2:
    case OP_vadd:
        return a + b;
    case OP_vsub4:
    case OP_vsub2:
        return a - b;
    case OP_vabsdiff4:
    case OP_vabsdiff2:
        return llabs(a - b);
    case OP_vmin4:
    case OP_vmin2:
        return a < b ? a : b;
    case OP_vmax4:
    case OP_vmax2:
        return a > b ? a : b;
    case OP_vset4:
    case OP_vset2:
        return i->cmp == CMP_LT ? a < b : a == b;
    default: /* averages, halves away from zero */
        return a + b >= 0 ? (a + b + 1) / 2 : -((-(a + b) + 1) / 2);
    }
}

static void video_simd(void **unused) {
    (void)unused;
    const enum ptx_op four[] = {OP_vadd4, OP_vsub4, OP_vabsdiff4, OP_vmin4, OP_vmax4, OP_vavrg4, OP_vset4};
    const enum ptx_op two[] = {OP_vadd2, OP_vsub2, OP_vabsdiff2, OP_vmin2, OP_vmax2, OP_vavrg2, OP_vset2};
    for (int round = 0; round < 7 * 64; round++) {
        const int op = round % 7, bits = round & 8 ? 8 : 16, parts = 32 / bits;
        const bool sign = round & 16, saturate = round & 32 && op != 6, accumulate = round & 64 && !saturate;
        struct insn i = make(bits == 8 ? four[op] : two[op], sign ? T_S32 : T_U32, saturate ? F_SAT : 0, 3, 4);
        i.types = op == 6 ? 2 : 3;
        i.type[1] = i.type[2] = i.type[0];
        i.cmp = round & 64 ? CMP_LT : CMP_EQ;
        i.sub = accumulate ? SUB_ADD : SUB_NONE;
        if (!accumulate && round & 128) /* d.b20 or d.h1 */
            i.select[0] = bits == 8 ? (uint16_t)(1 << 12 | 2 << 8 | 2 << 2) : (uint16_t)(2 << 12 | 1 << 8 | 1);
        const int mask = !i.select[0] ? 15 : bits == 8 ? 5 : 2;
        randomise();
        run(&i);
        for (int lane = 0; lane < LANES; lane++) {
            const uint32_t a = slot32(0)[lane], b = slot32(1)[lane], c = slot32(2)[lane];
            uint32_t want = c;
            for (int k = 0; k < parts; k++) {
                if (!(mask >> k & 1))
                    continue;
                int64_t x = video_result(&i, part(a, k, bits, sign), part(b, k, bits, sign));
                const int64_t low = sign ? -(1ll << (bits - 1)) : 0, high = (1ll << (sign ? bits - 1 : bits)) - 1;
                if (saturate)
                    x = x < low ? low : x > high ? high : x;
                const uint32_t ones = (1u << bits) - 1;
                if (accumulate)
                    want += (uint32_t)x;
                else
                    want = (want & ~(ones << (k * bits))) | ((uint32_t)x & ones) << (k * bits);
            }
            assert_int_equal(slot32(RESULT)[lane], want);
        }
    }
}

/* vadd.s32.s32.u32.sat.max d, a.b2, b.h1, c and the plain and merging forms. */
static void video_scalar(void **unused) {
    (void)unused;
    for (int form = 0; form < 3; form++) {
        struct insn i = make(OP_vadd, T_S32, form == 0 ? F_SAT : 0, form == 1 ? 2 : 3, 4);
        i.types = 3;
        i.type[1] = T_S32;
        i.type[2] = T_U32;
        i.sub = form == 0 ? SUB_MAX : SUB_NONE;
        i.select[1] = 1 << 12 | 1 << 8 | 2;
        i.select[2] = form == 1 ? 0 : 2 << 12 | 1 << 8 | 1;
        i.select[0] = form == 2 ? 1 << 12 | 1 << 8 | 3 : 0;
        randomise();
        run(&i);
        for (int lane = 0; lane < LANES; lane++) {
            const uint32_t a = slot32(0)[lane], b = slot32(1)[lane], c = slot32(2)[lane];
            const int64_t x = (int8_t)(a >> 16) + (form == 1 ? (int64_t)b : (int64_t)(b >> 16));
            const int32_t most = x > (int32_t)c ? (int32_t)x : (int32_t)c;
            const uint32_t merged = (c & 0x00ffffffu) | (uint32_t)x << 24;
            assert_int_equal(slot32(RESULT)[lane], form == 0 ? (uint32_t)most : form == 1 ? (uint32_t)x : merged);
        }
    }
}

/* ---- approximations: within the error that PTX states, exact where it states the value ---- */
static void approximations(void **unused) {
    (void)unused;
    const enum ptx_op ops[] = {OP_ex2, OP_lg2, OP_rcp, OP_rsqrt, OP_sqrt, OP_tanh, OP_sin, OP_cos};
    const float special[][2] = {{-INFINITY, 0},       {0, -INFINITY}, {INFINITY, 0}, {0, INFINITY},
                                {INFINITY, INFINITY}, {INFINITY, 1},  {0, 0},        {0, 1}};
    for (int k = 0; k < 8; k++) {
        struct insn i = make(ops[k], T_F32, F_APPROX, 1, 4);
        randomise();
        slot_float(0)[0] = special[k][0];
        slot_float(0)[1] = NAN;
        for (int lane = 2; lane < LANES; lane++)
            slot_float(0)[lane] = (k < 6 && k != 0 && k != 5 ? 1e-3f : -40) + (float)(draw() % 80000) / 1000;
        run(&i);
        assert_true(slot_float(RESULT)[0] == special[k][1]);
        assert_int_equal(slot32(RESULT)[1], F32_NAN);
        for (int lane = 2; lane < LANES; lane++) {
            const double x = slot_float(0)[lane];
            const double want[] = {exp2(x), log2(x), 1 / x, 1 / sqrt(x), sqrt(x), tanh(x), sin(x), cos(x)};
            assert_true(fabs(slot_float(RESULT)[lane] - want[k]) <= fabs(want[k]) * 0x1p-22 + 1e-12);
        }
    }
}

static void division_forms(void **unused) {
    (void)unused;
    for (int full = 0; full < 2; full++) {
        struct insn i = make(OP_div, T_F32, full ? F_FULL : F_APPROX, 2, 4);
        for (int lane = 0; lane < LANES; lane++) {
            slot_float(0)[lane] = (float)(int32_t)draw();
            slot_float(1)[lane] = (float)(int32_t)(draw() | 1);
        }
        slot_float(0)[0] = 0x1p127f;
        slot_float(1)[0] = slot_float(1)[1] = 0x1.8p126f;
        slot_float(0)[1] = INFINITY;
        run(&i);
        assert_true(slot_float(RESULT)[0] == (full ? 0x1.555556p0f : 0));
        assert_true(full ? isinf(slot_float(RESULT)[1]) : isnan(slot_float(RESULT)[1]));
        for (int lane = 2; lane < LANES; lane++) {
            const double want = (double)slot_float(0)[lane] / (double)slot_float(1)[lane];
            assert_true(fabs(slot_float(RESULT)[lane] - want) <= fabs(want) * 0x1p-22);
        }
    }
    struct insn coarse = make(OP_rcp, T_F64, F_APPROX | F_FTZ, 1, 8);
    double *x = (double *)(void *)frame, *r = (double *)(void *)(frame + RESULT * SLOT);
    for (int lane = 0; lane < LANES; lane++)
        x[lane] = (double)(int64_t)draw();
    run(&coarse);
    for (int lane = 0; lane < LANES; lane++) {
        assert_int_equal(f64_bits(r[lane]) & UINT32_MAX, 0);
        assert_true(fabs(r[lane] * x[lane] - 1) < 0x1p-18);
    }
    struct insn fine = make(OP_rsqrt, T_F64, F_APPROX, 1, 8);
    for (int lane = 0; lane < LANES; lane++)
        x[lane] = (double)draw();
    run(&fine);
    for (int lane = 0; lane < LANES; lane++)
        assert_true(fabs(r[lane] * r[lane] * x[lane] - 1) < 0x1p-50);
}

/* ---- min, max, testp ---- */
static void extremes(void **unused) {
    (void)unused;
    for (int form = 0; form < 5; form++) {
        const uint64_t flags[] = {0, F_NAN, F_FTZ, F_XORSIGN | F_ABS, F_NAN};
        struct insn i = make(form & 1 ? OP_max : OP_min, T_F32, flags[form], form == 4 ? 3 : 2, 4);
        for (int lane = 0; lane < 3 * LANES; lane++)
            slot_float(lane / LANES)[lane % LANES] = (float)(int32_t)draw() * 0x1p-20f;
        slot32(0)[3] = 0x7fc12345;
        slot32(1)[4] = 0xffc12345;
        slot32(0)[5] = 3; /* subnormal */
        slot32(1)[5] = 0x40000000;
        run(&i);
        for (int lane = 0; lane < LANES; lane++) {
            const float a = slot_float(0)[lane], b = slot_float(1)[lane], c = slot_float(2)[lane];
            const bool nan = a != a || b != b;
            float want = form & 1 ? fmaxf(a, b) : fminf(a, b);
            if (form == 2 && lane == 5)
                want = 0;
            if (form == 3)
                want = nan ? fmaxf(fabsf(a), fabsf(b))
                           : copysignf(fmaxf(fabsf(a), fabsf(b)), signbit(a) != signbit(b) ? -1 : 1);
            if (form == 4)
                want = fminf(want, c);
            if (nan && (flags[form] & F_NAN))
                assert_int_equal(slot32(RESULT)[lane], F32_NAN);
            else if (form == 3 && nan)
                assert_true(fabsf(slot_float(RESULT)[lane]) == want);
            else
                assert_true(slot_float(RESULT)[lane] == want);
        }
    }
}

static void classes(void **unused) {
    (void)unused;
    const float values[] = {0, -1.5f, INFINITY, NAN, 0x1p-140f, 0x1p-126f};
    const uint32_t want[] = {[SUB_FINITE - SUB_FINITE] = 0x33, [SUB_INFINITE - SUB_FINITE] = 0x04,
                             [SUB_NUMBER - SUB_FINITE] = 0x37, [SUB_NOTANUMBER - SUB_FINITE] = 0x08,
                             [SUB_NORMAL - SUB_FINITE] = 0x22, [SUB_SUBNORMAL - SUB_FINITE] = 0x10};
    for (int k = 0; k < 6; k++) {
        struct insn i = make(OP_testp, T_F32, 0, 1, 4);
        i.sub = (uint8_t)(SUB_FINITE + k);
        i.dst[0] = reg(RESULT, 0);
        memcpy(frame, values, sizeof values);
        run(&i);
        assert_int_equal(*slot32(RESULT) & 0x3f, want[k]);
    }
}

/* The ten mantissa bits of tf32, ties away from zero or to even, in the upper bits of a float. */
static void tf32(void **unused) {
    (void)unused;
    const enum ptx_round modes[] = {RND_RNA, RND_RN, RND_RZ};
    const uint32_t from[] = {0x3f801000, 0xbf803000, 0x3f801001, 0x7fc00001, 0xff800000, 0x7f7fffff};
    const uint32_t want[3][6] = {{0x3f802000, 0xbf804000, 0x3f802000, F32_NAN, 0xff800000, 0x7f800000},
                                 {0x3f800000, 0xbf804000, 0x3f802000, F32_NAN, 0xff800000, 0x7f800000},
                                 {0x3f800000, 0xbf802000, 0x3f800000, F32_NAN, 0xff800000, 0x7f7fe000}};
    for (int k = 0; k < 3; k++) {
        struct insn i = make(OP_cvt, T_TF32, 0, 1, 4);
        i.types = 2;
        i.type[1] = T_F32;
        i.rnd = (uint8_t)modes[k];
        memcpy(frame, from, sizeof from);
        run(&i);
        for (int lane = 0; lane < 6; lane++)
            assert_int_equal(slot32(RESULT)[lane], want[k][lane]);
    }
}

/* ---- mma through its handler: fragments found by slot, accumulators that are the result, counters ---- */
static void mma_handler(void **unused) {
    (void)unused;
    struct operand a[4], b[2], c[4];
    for (int k = 0; k < 4; k++) {
        a[k] = reg(k, 4);
        b[k % 2] = reg(4 + k % 2, 4);
        c[k] = reg(RESULT + k, 4);
    }
    struct insn i = make(OP_mma, T_S32, F_SYNC | F_ALIGNED | F_ROW_A | F_COL_B, 3, 4);
    i.types = 4;
    i.type[1] = T_S8;
    i.type[2] = T_U8;
    i.type[3] = T_S32;
    i.shape[0] = 16;
    i.shape[1] = 8;
    i.shape[2] = 32;
    i.src[0] = (struct operand){.kind = O_VEC, .count = 4, .vec = a};
    i.src[1] = (struct operand){.kind = O_VEC, .count = 2, .vec = b};
    i.src[2] = (struct operand){.kind = O_VEC, .count = 4, .vec = c};
    i.dst[0] = i.src[2];
    randomise();
    static uint8_t before[sizeof frame];
    memcpy(before, frame, sizeof frame);
    warp.count.mma_ops_int8 = 0;
    run(&i);
    assert_int_equal(warp.count.mma_ops_int8, 16 * 8 * 32);
    for (int lane = 0; lane < LANES; lane++)
        for (int r = 0; r < 4; r++) {
            const int row = lane / 4 + (r & 2 ? 8 : 0), n = lane % 4 * 2 + (r & 1);
            uint32_t want;
            memcpy(&want, before + (RESULT + r) * SLOT + 4 * lane, 4);
            for (int k = 0; k < 32; k++) {
                const int left = row / 8 + (k / 16) * 2, right = k / 16, byte = k % 4, t = k % 16 / 4;
                const int8_t x = (int8_t)before[left * SLOT + (row % 8 * 4 + t) * 4 + byte];
                const uint8_t y = before[(4 + right) * SLOT + (n * 4 + t) * 4 + byte];
                want += (uint32_t)(x * y);
            }
            assert_int_equal(slot32(RESULT + r)[lane], want);
        }
    char error[200];
    i.flags &= ~F_COL_B;
    assert_false(op_bind(&i, error, sizeof error));
    i.flags |= F_COL_B;
    i.src[0].count = 3;
    assert_false(op_bind(&i, error, sizeof error));
}

/* Every other kind of mma: the registers of the instruction, in its order, against the function that multiplies them,
 * and the counter that the work is added to. */
struct mma_kind {
    enum ptx_type d, a, b, c;
    int m, k, as, bs, cs, ds; /* registers */
    enum ptx_sub sub;
    size_t counter;
};

static void fill_vector(struct operand *o, struct operand *vec, int first, int count, unsigned width) {
    for (int k = 0; k < count; k++)
        vec[k] = reg(first + k, width);
    *o = (struct operand){.kind = O_VEC, .count = (uint8_t)count, .vec = vec};
}

/* The same from the frame as it was. */
static void multiply(const struct mma_kind *t, uint8_t *from, uint8_t *want) {
    const struct mma_shape s = {.m = t->m,
                                .k = t->k,
                                .a = (uint8_t)t->a,
                                .b = (uint8_t)t->b,
                                .saturate = t->a == T_U8,
                                .popc_xor = t->sub == SUB_XOR};
    const void *a[8], *b[8], *c[8];
    void *d[8];
    float tile[16 * 8];
    for (int k = 0; k < 8; k++) {
        a[k] = from + k * SLOT;
        b[k] = from + (8 + k) * SLOT;
        c[k] = from + (12 + k) * SLOT;
        d[k] = want + k * SLOT;
    }
    if (t->d == T_S32)
        mma_int(&s, (const uint32_t *const *)a, (const uint32_t *const *)b, (const int32_t *const *)c,
                (int32_t *const *)d);
    else if (t->d == T_F64)
        mma_double(&s, (const double *const *)a, (const double *const *)b, (const double *const *)c,
                   (double *const *)d);
    if (t->d == T_S32 || t->d == T_F64)
        return;
    if (t->c == T_F16)
        mma_tile_of_f16((const uint16_t *const *)c, t->m, tile);
    else
        mma_tile_of_f32((const float *const *)c, t->m, tile);
    mma_float(&s, (const uint32_t *const *)a, (const uint32_t *const *)b, tile, tile);
    if (t->d == T_F16)
        mma_tile_to_f16(tile, t->m, (uint16_t *const *)d);
    else
        mma_tile_to_f32(tile, t->m, (float *const *)d);
}

static void mma_kinds(void **unused) {
    (void)unused;
    const size_t f16 = offsetof(struct sg_counters, mma_ops_f16), other = offsetof(struct sg_counters, mma_ops_other),
                 int8 = offsetof(struct sg_counters, mma_ops_int8);
    const struct mma_kind kinds[] = {
        {T_F32, T_F16, T_F16, T_F32, 16, 16, 4, 2, 4, 4, SUB_NONE, f16},
        {T_F16, T_F16, T_F16, T_F16, 16, 8, 2, 1, 2, 2, SUB_NONE, f16},
        {T_F16, T_F16, T_F16, T_F32, 16, 16, 4, 2, 4, 2, SUB_NONE, f16},
        {T_F32, T_BF16, T_BF16, T_F32, 16, 16, 4, 2, 4, 4, SUB_NONE, f16},
        {T_F32, T_TF32, T_TF32, T_F32, 16, 8, 4, 2, 4, 4, SUB_NONE, other},
        {T_F32, T_E4M3, T_E5M2, T_F32, 16, 32, 4, 2, 4, 4, SUB_NONE, other},
        {T_F64, T_F64, T_F64, T_F64, 8, 4, 1, 1, 2, 2, SUB_NONE, other},
        {T_S32, T_S4, T_U4, T_S32, 16, 64, 4, 2, 4, 4, SUB_NONE, other},
        {T_S32, T_U8, T_S8, T_S32, 8, 16, 1, 1, 2, 2, SUB_NONE, int8},
        {T_S32, T_B1, T_B1, T_S32, 16, 256, 4, 2, 4, 4, SUB_XOR, other},
        {T_S32, T_B1, T_B1, T_S32, 16, 128, 2, 1, 4, 4, SUB_AND, other},
    };
    for (size_t n = 0; n < sizeof kinds / sizeof *kinds; n++) {
        const struct mma_kind *t = &kinds[n];
        const unsigned width = t->a == T_F64 ? 8 : 4;
        struct operand a[8], b[8], c[8], d[8];
        struct insn i = make(OP_mma, t->d, F_SYNC | F_ALIGNED | F_ROW_A | F_COL_B, 3, 4);
        static uint8_t before[sizeof frame], want[sizeof frame];
        uint64_t count;
        i.types = 4;
        i.type[1] = (uint8_t)t->a;
        i.type[2] = (uint8_t)t->b;
        i.type[3] = (uint8_t)t->c;
        i.sub = (uint8_t)t->sub;
        i.flags |= t->a == T_U8 ? F_SATFINITE : 0;
        memcpy(i.shape, (uint16_t[]){(uint16_t)t->m, 8, (uint16_t)t->k}, sizeof i.shape);
        fill_vector(&i.src[0], a, 0, t->as, width);
        fill_vector(&i.src[1], b, 8, t->bs, width);
        fill_vector(&i.src[2], c, 12, t->cs, width);
        fill_vector(&i.dst[0], d, 18, t->ds, width);
        randomise();
        for (int lane = 0; t->a == T_U8 && lane < LANES; lane++) { /* sums that leave the range */
            slot32(12)[lane] = 0x7fffffff;
            slot32(13)[lane] = 0x80000000;
        }
        memcpy(before, frame, sizeof frame);
        memset(&warp.count, 0, sizeof warp.count);
        run(&i);
        multiply(t, before, want);
        for (int k = 0; k < t->ds; k++)
            assert_memory_equal(frame + (18 + k) * SLOT, want + k * SLOT, width * LANES);
        assert_memory_equal(frame, before, 18 * SLOT);
        memcpy(&count, (const char *)&warp.count + t->counter, sizeof count);
        assert_int_equal(count, t->m * 8 * t->k);
        assert_int_equal(warp.count.mma_ops_f16 + warp.count.mma_ops_int8 + warp.count.mma_ops_other, count);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mma_kinds),      cmocka_unit_test(video_simd),     cmocka_unit_test(video_scalar),
        cmocka_unit_test(approximations), cmocka_unit_test(division_forms), cmocka_unit_test(extremes),
        cmocka_unit_test(classes),        cmocka_unit_test(mma_handler),    cmocka_unit_test(tf32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
