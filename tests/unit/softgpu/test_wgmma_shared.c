/* wgmma with operands in shared memory and of every type: each element against sums in double over logical matrices that
 * know nothing of fragments, in every layout of PTX ISA's "Matrix Descriptor Format"; then its misuse. */
#include "runtime/base/str.h"
#include "world.h"

#include <math.h>

enum { M = 64, K_BYTES = 32, MAX_N = 256, MAX_STEPS = 4, IMAGE = 98304, B_AT = 40960 };

/* How an operand lies: width of the swizzle (16: none), the two strides in bytes, and whether rows are contiguous. */
struct place {
    unsigned width, leading, stride;
    bool across;
};
struct shared_case {
    const char *d, *a, *b; /* types */
    int n, steps;
    bool a_in_registers;
    struct place at_a, at_b;
    int sign_a, sign_b;
    bool adds;
};

static bool is(const char *type, const char *name) {
    return strcmp(type, name) == 0;
}

static bool is_integer(const struct shared_case *t) {
    return is(t->d, "s32");
}

static unsigned bytes_of(const char *type) {
    return is(type, "tf32") ? 4 : is(type, "f16") || is(type, "bf16") ? 2 : 1;
}

static int elements(const struct shared_case *t) { /* along k, of one step */
    return (int)(K_BYTES / bytes_of(t->a));
}

/* ---- values ---- */

static double small_float(uint32_t bits, int exponent, int mantissa) {
    const uint32_t e = bits >> mantissa & ((1u << exponent) - 1), m = bits & ((1u << mantissa) - 1);
    const int bias = (1 << (exponent - 1)) - 1;
    const double x = e ? ldexp(1 + ldexp(m, -mantissa), (int)e - bias) : ldexp(m, 1 - bias - mantissa);
    return bits >> (exponent + mantissa) & 1 ? -x : x;
}

static double value_of(const char *type, const uint8_t *at) {
    uint32_t bits = 0;
    memcpy(&bits, at, bytes_of(type));
    if (is(type, "s8"))
        return (int8_t)bits;
    if (is(type, "u8"))
        return bits;
    if (is(type, "f16"))
        return small_float(bits, 5, 10);
    if (is(type, "bf16"))
        return small_float(bits, 8, 7);
    if (is(type, "tf32"))
        return small_float(bits >> 13, 8, 10);
    return is(type, "e4m3") ? small_float(bits, 4, 3) : small_float(bits, 5, 2);
}

/* Any number of an ordinary size: not so large that its sums overflow. `whole`: an integer up to 3, and so each sum. */
static void draw(struct world *w, const char *type, bool whole, uint8_t *at) {
    static const uint32_t halves[] = {0, 0x3c00, 0x4000, 0x4200}, singles[] = {0, 0x3f800000, 0x40000000, 0x40400000};
    const uint32_t random = world_random(w), sign = random >> 31;
    const unsigned pick = random >> 8 & 3;
    uint32_t bits = random;
    if (is(type, "f16"))
        bits = (whole ? halves[pick] : 0x2c00 + (random & 0x1fff)) | sign << 15;
    else if (is(type, "bf16"))
        bits = (whole ? singles[pick] >> 16 : 0x3e00 + (random & 0x1ff)) | sign << 15;
    else if (is(type, "tf32")) /* what lies below its mantissa is not read */
        bits = (whole ? singles[pick] | (random & 0x1fff) : 0x3e000000 + (random & 0x1ffffff)) | sign << 31;
    else if (is(type, "e4m3"))
        bits = (whole ? (uint32_t[]){0, 0x38, 0x40, 0x44}[pick] : random & 0x3f) | sign << 7;
    else if (is(type, "e5m2"))
        bits = (whole ? halves[pick] >> 8 : 0x2c + (random & 0x1f)) | sign << 7;
    memcpy(at, &bits, bytes_of(type));
}

/* ---- places ---- */

/* Where byte `byte` of row `row` lies along k, or element k of it with the rows side by side. */
static unsigned k_major(const struct place *p, unsigned row, unsigned byte) {
    const unsigned chunk = byte / 16;
    const unsigned flip = p->width == 128 ? row % 8 : p->width == 64 ? row / 2 % 4 : p->width == 32 ? row / 4 % 2 : 0;
    const unsigned groups = row / 8 * p->stride;
    return p->width == 16 ? groups + chunk * p->leading + row % 8 * 16 + byte % 16
                          : groups + row % 8 * p->width + (chunk ^ flip) * 16 + byte % 16;
}

static unsigned row_major(const struct place *p, unsigned row, unsigned k) {
    const unsigned atom = p->width / 2, chunk = row % atom / 8, inside = row % 8 * 2; /* 2 bytes an element */
    const unsigned flip = p->width == 128 ? k % 8 : p->width == 64 ? k / 2 % 4 : p->width == 32 ? k / 4 % 2 : 0;
    return p->width == 16
               ? row / 8 * p->stride + k / 8 * p->leading + k % 8 * 16 + inside
               : row / atom * p->leading + k / 8 * p->stride + k % 8 * p->width + (chunk ^ flip) * 16 + inside;
}

static unsigned place_of(const struct place *p, unsigned row, unsigned k, unsigned bytes) {
    return p->across ? row_major(p, row, k) : k_major(p, row, k * bytes);
}

static uint64_t descriptor_of(const struct place *p, unsigned start) {
    const uint64_t mode = p->width == 128 ? 1 : p->width == 64 ? 2 : p->width == 32 ? 3 : 0;
    return start / 16 | (uint64_t)(p->leading / 16) << 16 | (uint64_t)(p->stride / 16) << 32 | mode << 62;
}

/* Bytes from one step along k to the next. */
static unsigned step_bytes(const struct place *p) {
    if (p->across)
        return 2 * (p->width == 16 ? p->leading : p->stride);
    return p->width == 16 ? 2 * p->leading : K_BYTES;
}

/* ---- the kernel ---- */

static int registers_of_d(const struct shared_case *t) {
    return t->n / (is(t->d, "f16") ? 4 : 2);
}

static void list(struct str *ptx, const char *name, int first, int count) {
    for (int k = 0; k < count; k++)
        str_printf(ptx, "%s%%%s%d", k ? ", " : "{", name, first + k);
    str_append(ptx, "}");
}

static void multiplication(struct str *ptx, const struct shared_case *t, int step, const char *saturates) {
    const unsigned a = (unsigned)step * step_bytes(&t->at_a) / 16, b = (unsigned)step * step_bytes(&t->at_b) / 16;
    str_printf(ptx, "add.u64 %%rd8, %%rd6, %u; add.u64 %%rd9, %%rd7, %u;\n", a, b);
    str_printf(ptx, "wgmma.mma_async.sync.aligned.m64n%dk%d%s.%s.%s.%s ", t->n, elements(t), saturates, t->d, t->a,
               t->b);
    list(ptx, "d", 0, registers_of_d(t));
    str_append(ptx, ", ");
    if (t->a_in_registers)
        list(ptx, "a", step * 4, 4);
    else
        str_append(ptx, "%rd8");
    str_printf(ptx, ", %%rd9, %s", step ? "1" : "%p3");
    if (!is_integer(t))
        str_printf(ptx, ", %d, %d", t->sign_a, t->sign_b);
    if (bytes_of(t->a) == 2 && !t->a_in_registers)
        str_printf(ptx, ", %d", t->at_a.across);
    if (bytes_of(t->a) == 2)
        str_printf(ptx, ", %d", t->at_b.across);
    str_append(ptx, ";\n");
}

/* What a test changes; NULL: as it should be. */
struct pieces {
    const char *visible, *wait, *saturates;
};

/* k(image, a, d, out, descriptor of A, of B): one warp group that copies the image into its shared memory. */
static void build(struct str *ptx, const struct shared_case *t, const struct pieces *p) {
    str_printf(
        ptx,
        ".version 8.0\n.target sm_90a\n.address_size 64\n.extern .shared .align 1024 .b8 buf[];\n"
        ".visible .entry k(.param .u64 image, .param .u64 a, .param .u64 d, .param .u64 out, .param .u64 da, "
        ".param .u64 db)\n{\n"
        ".reg .pred %%p<9>; .reg .b32 %%r<32>; .reg .b32 %%d<144>; .reg .b32 %%a<32>; .reg .b64 %%rd<32>;\n"
        "ld.param.u64 %%rd1, [image]; ld.param.u64 %%rd2, [a]; ld.param.u64 %%rd3, [d]; ld.param.u64 %%rd4, [out];\n"
        "ld.param.u64 %%rd6, [da]; ld.param.u64 %%rd7, [db]; mov.u32 %%r1, %%tid.x; setp.eq.u32 %%p1, %%r1, 0;\n"
        "mul.wide.u32 %%rd5, %%r1, 16; add.u64 %%rd1, %%rd1, %%rd5; add.u64 %%rd2, %%rd2, %%rd5;\n"
        "mul.wide.u32 %%rd5, %%r1, 4; add.u64 %%rd3, %%rd3, %%rd5; add.u64 %%rd4, %%rd4, %%rd5;\n"
        "mov.u32 %%r2, buf; shl.b32 %%r3, %%r1, 4; add.u32 %%r3, %%r2, %%r3; mov.u32 %%r4, 0;\n"
        "COPY: ld.global.v4.u32 {%%r8, %%r9, %%r10, %%r11}, [%%rd1];\n"
        "st.shared.v4.u32 [%%r3], {%%r8, %%r9, %%r10, %%r11}; add.u64 %%rd1, %%rd1, 2048;\n"
        "add.u32 %%r3, %%r3, 2048; add.u32 %%r4, %%r4, 1; setp.lt.u32 %%p2, %%r4, %d; @%%p2 bra COPY;\n",
        IMAGE / 2048);
    for (int s = 0; t->a_in_registers && s < t->steps; s++) {
        str_append(ptx, "ld.global.v4.u32 ");
        list(ptx, "a", s * 4, 4);
        str_printf(ptx, ", [%%rd2+%d];\n", s * 2048);
    }
    for (int k = 0; k < registers_of_d(t); k++)
        str_printf(ptx, "ld.global.u32 %%d%d, [%%rd3+%d];\n", k, k * 512);
    str_printf(ptx, "%s\nsetp.ne.u32 %%p3, %d, 0; wgmma.fence.sync.aligned;\n",
               p->visible ? p->visible : "fence.proxy.async; bar.sync 0;", t->adds);
    for (int s = 0; s < t->steps; s++)
        multiplication(ptx, t, s, p->saturates ? p->saturates : "");
    str_printf(ptx, "wgmma.commit_group.sync.aligned; %s\n", p->wait ? p->wait : "wgmma.wait_group.sync.aligned 0;");
    for (int k = 0; k < registers_of_d(t); k++)
        str_printf(ptx, "st.global.u32 [%%rd4+%d], %%d%d;\n", k * 512, k);
    str_append(ptx, "ret; }\n");
}

/* ---- matrices ---- */

struct params {
    uint8_t *image, *a;
    uint32_t *d, *out;
    uint64_t at_a, at_b;
};

struct matrices {
    uint8_t a[M][MAX_STEPS * K_BYTES], b[MAX_N][MAX_STEPS * K_BYTES]; /* element k of a row at its own size */
};

static void fill(struct world *w, const struct shared_case *t, bool whole, struct matrices *m, struct params *p) {
    const unsigned bytes = bytes_of(t->a);
    for (unsigned k = 0; k < (unsigned)(t->steps * elements(t)); k++) {
        for (unsigned row = 0; row < M; row++) {
            uint8_t *at = &m->a[row][k * bytes];
            draw(w, t->a, whole, at);
            if (!t->a_in_registers)
                memcpy(p->image + place_of(&t->at_a, row, k, bytes), at, bytes);
            /* in registers: a word holds 4 bytes along k */
            const unsigned byte = k * bytes, in_step = byte % K_BYTES;
            const unsigned thread = row / 16 * 32 + row % 8 * 4 + in_step % 16 / 4;
            const unsigned word = in_step / 16 * 2 + row % 16 / 8;
            memcpy(p->a + (byte / K_BYTES * 128 + thread) * 16 + word * 4 + byte % 4, at, bytes);
        }
        for (unsigned n = 0; n < (unsigned)t->n; n++) {
            uint8_t *at = &m->b[n][k * bytes];
            draw(w, t->b, whole, at);
            memcpy(p->image + B_AT + place_of(&t->at_b, n, k, bytes), at, bytes);
        }
    }
}

/* Element (row, column) of D as registers of the warp group hold it. */
static double element_of_d(const struct shared_case *t, const uint32_t *d, int row, int column) {
    const int thread = row / 16 * 32 + row % 8 * 4 + column % 8 / 2;
    if (is(t->d, "f16")) {
        const uint32_t word = d[(column / 8 * 2 + row % 16 / 8) * 128 + thread];
        return small_float(word >> (column % 2 * 16) & 0xffff, 5, 10);
    }
    const uint32_t word = d[(column / 8 * 4 + row % 16 / 8 * 2 + column % 2) * 128 + thread];
    float x;
    memcpy(&x, &word, sizeof x);
    return is_integer(t) ? (int32_t)word : (double)x;
}

static void fill_d(struct world *w, const struct shared_case *t, bool whole, bool extreme, uint32_t *d) {
    for (int k = 0; k < registers_of_d(t) * 128; k++) {
        uint8_t low[4], high[4];
        if (is(t->d, "f16")) {
            draw(w, "f16", whole, low);
            draw(w, "f16", whole, high);
            d[k] = low[0] | (uint32_t)low[1] << 8 | (uint32_t)high[0] << 16 | (uint32_t)high[1] << 24;
        } else if (is(t->d, "f32")) {
            const float x = whole ? (float)(int)(world_random(w) % 9) - 4 : (float)(world_random(w) % 1000) / 7;
            memcpy(&d[k], &x, sizeof x);
        } else if (extreme) {
            d[k] = k % 2 ? INT32_MAX : (uint32_t)INT32_MIN;
        }
    }
}

static void compare(const struct shared_case *t, const struct matrices *m, const struct params *p, bool whole,
                    bool clamp) {
    const unsigned bytes = bytes_of(t->a);
    for (int row = 0; row < M; row++)
        for (int n = 0; n < t->n; n++) {
            double sum = t->adds ? element_of_d(t, p->d, row, n) : 0, size = fabs(sum);
            for (unsigned k = 0; k < (unsigned)(t->steps * elements(t)); k++) {
                const double term = value_of(t->a, &m->a[row][k * bytes]) * value_of(t->b, &m->b[n][k * bytes]);
                sum += t->sign_a * t->sign_b * term;
                size += fabs(term);
            }
            if (clamp)
                sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
            else if (is_integer(t))
                sum = (int32_t)(uint32_t)(int64_t)sum;
            /* one rounding to float for each addition, and one to f16 for each instruction */
            const double error = whole || is_integer(t) ? 0
                                                        : size * (t->steps * elements(t) + 1) * 0x1p-24 +
                                                              (is(t->d, "f16") ? t->steps * size * 0x1p-11 : 0);
            if (!(fabs(element_of_d(t, p->out, row, n) - sum) <= error))
                fail_msg("%s.%s.%s n %d, A %u%s, B %u%s: D[%d, %d] is %.9g, not %.9g", t->d, t->a, t->b, t->n,
                         t->at_a.width, t->at_a.across ? " across" : "", t->at_b.width, t->at_b.across ? " across" : "",
                         row, n, element_of_d(t, p->out, row, n), sum);
        }
}

static void open_case(struct world *w, struct params *p, struct matrices *m, const struct shared_case *t,
                      const struct pieces *pieces, bool whole) {
    struct str ptx = {0};
    build(&ptx, t, pieces);
    world_open(w, ptx.data);
    str_release(&ptx);
    p->image = world_alloc(w, IMAGE);
    p->a = world_alloc(w, MAX_STEPS * 2048);
    p->d = world_alloc(w, MAX_N / 2 * 512);
    p->out = world_alloc(w, MAX_N / 2 * 512);
    p->at_a = descriptor_of(&t->at_a, 0);
    p->at_b = descriptor_of(&t->at_b, B_AT);
    fill(w, t, whole, m, p);
    fill_d(w, t, whole, pieces->saturates != NULL, p->d);
    w->launch.block[0] = 128;
    w->launch.shared_dynamic = IMAGE;
}

static void check_good(const struct shared_case *t, const struct pieces *pieces) {
    static struct matrices m;
    for (int whole = 0; whole < 2; whole++) {
        struct world w;
        struct params p;
        open_case(&w, &p, &m, t, pieces, whole);
        world_run_good(&w, &p);
        compare(t, &m, &p, whole, pieces->saturates != NULL);
        const uint64_t products = (uint64_t)M * (uint64_t)t->n * (uint64_t)(elements(t) * t->steps);
        const unsigned bytes = bytes_of(t->a);
        assert_int_equal(w.counters.mma_ops_int8, bytes == 1 ? products : 0);
        assert_int_equal(w.counters.mma_ops_f16, bytes == 2 ? products : 0);
        assert_int_equal(w.counters.mma_ops_other, bytes == 4 ? products : 0);
        world_close(&w);
    }
}

static const struct pieces none = {0};
#define K128                                                                                                           \
    { 128, 16, 1024, false }
#define K64                                                                                                            \
    { 64, 16, 512, false }
#define K32                                                                                                            \
    { 32, 16, 256, false }

static void test_bytes(void **state) {
    (void)state;
    static const struct shared_case cases[] = {
        {"s32", "s8", "s8", 8, 4, false, K128, K128, 1, 1, true},
        {"s32", "u8", "s8", 256, 2, false, K64, K128, 1, 1, false},
        {"s32", "s8", "u8", 48, 1, false, K32, K32, 1, 1, true},
        {"s32", "u8", "u8", 24, 3, false, {16, 1024, 128, false}, {16, 128, 768, false}, 1, 1, false},
        {"f32", "e4m3", "e4m3", 40, 2, false, K64, K64, 1, -1, true},
        {"f32", "e5m2", "e4m3", 256, 4, true, K128, K128, 1, 1, false},
        {"f16", "e4m3", "e5m2", 24, 1, false, {16, 1024, 128, false}, {16, 128, 256, false}, -1, -1, true},
        {"f16", "e5m2", "e5m2", 136, 2, true, K128, K64, -1, 1, false},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        check_good(&cases[k], &none);
    check_good(&(struct shared_case){"s32", "s8", "s8", 16, 1, false, K128, K128, 1, 1, true},
               &(struct pieces){.saturates = ".satfinite"});
}

static void test_halves_and_words(void **state) {
    (void)state;
    static const struct shared_case cases[] = {
        {"f32", "f16", "f16", 8, 4, false, K128, K128, 1, 1, true},
        {"f16", "f16", "f16", 72, 1, false, K64, K32, 1, 1, true},
        {"f32", "f16", "f16", 256, 4, true, K128, K128, -1, 1, true},
        {"f16", "f16", "f16", 104, 1, true, K32, K32, 1, -1, false},
        {"f32", "bf16", "bf16", 88, 1, false, K32, K64, -1, -1, false},
        {"f32", "bf16", "bf16", 200, 3, true, K128, {16, 3200, 128, false}, 1, 1, true},
        {"f32", "bf16", "bf16", 16, 2, false, {16, 128, 512, false}, {16, 256, 128, false}, 1, 1, false},
        {"f32", "tf32", "tf32", 32, 4, false, K128, K128, 1, 1, true},
        {"f32", "tf32", "tf32", 248, 2, true, K128, K64, 1, -1, false},
        {"f32", "tf32", "tf32", 56, 1, false, K32, {16, 896, 128, false}, -1, 1, true},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        check_good(&cases[k], &none);
}

/* Rows side by side: a column of 64, 32 or 16 of them is a swizzled row, and `leading` goes to the next column. */
static void test_transposed(void **state) {
    (void)state;
    static const struct shared_case cases[] = {
        {"f32", "f16", "f16", 64, 4, false, {128, 0, 1024, true}, {128, 0, 1024, true}, 1, 1, true},
        {"f32", "bf16", "bf16", 256, 2, false, K128, {128, 8192, 1024, true}, 1, 1, false},
        {"f32", "f16", "f16", 128, 2, false, {64, 2048, 512, true}, {128, 1024, 2048, true}, -1, 1, true},
        {"f16", "f16", "f16", 96, 2, false, {32, 1024, 256, true}, {64, 512, 1536, true}, 1, 1, true},
        {"f32", "bf16", "bf16", 80, 1, true, K128, {32, 512, 256, true}, 1, 1, true},
        {"f16", "f16", "f16", 24, 3, true, K128, {16, 128, 768, true}, 1, 1, false},
        {"f32", "f16", "f16", 8, 2, false, {16, 1024, 128, true}, {16, 128, 512, true}, 1, -1, true},
        {"f32", "bf16", "bf16", 40, 1, false, {16, 128, 256, true}, K32, 1, 1, true},
        {"f32", "f16", "f16", 16, 1, false, {128, 0, 1024, true}, {128, 0, 1024, true}, 1, 1, true},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        check_good(&cases[k], &none);
}

/* A subnormal, infinities and NaN go through as they are. */
static void test_special_values(void **state) {
    (void)state;
    static const struct shared_case t = {"f32", "f16", "f16", 8, 1, false, K32, K32, 1, 1, false};
    static struct matrices m;
    struct world w;
    struct params p;
    open_case(&w, &p, &m, &t, &none, true);
    memset(p.image, 0, IMAGE);
    const uint16_t one = 0x3c00, tiny = 1, infinite = 0x7c00, minus = 0xfc00;
    memcpy(p.image + B_AT + place_of(&t.at_b, 0, 0, 2), &one, 2);
    memcpy(p.image + B_AT + place_of(&t.at_b, 0, 1, 2), &one, 2);
    memcpy(p.image + place_of(&t.at_a, 0, 0, 2), &tiny, 2);
    memcpy(p.image + place_of(&t.at_a, 1, 0, 2), &infinite, 2);
    memcpy(p.image + place_of(&t.at_a, 2, 0, 2), &infinite, 2);
    memcpy(p.image + place_of(&t.at_a, 2, 1, 2), &minus, 2);
    world_run_good(&w, &p);
    assert_true(element_of_d(&t, p.out, 0, 0) == 0x1p-24);
    assert_true(isinf(element_of_d(&t, p.out, 1, 0)));
    assert_int_equal(p.out[8], 0x7fffffff); /* the first register of row 2, column 0 */
    world_close(&w);
}

/* ---- misuse ---- */

static const struct shared_case plain = {"f32", "f16", "f16", 16, 2, false, K128, K128, 1, 1, true};

static void check_bad_at(const struct shared_case *t, const struct pieces *pieces, uint64_t add_a, uint64_t add_b,
                         enum sg_fault_kind kind, const char *text) {
    static struct matrices m;
    for (uint64_t seed = 0; seed < 4; seed++) {
        struct world w;
        struct params p;
        open_case(&w, &p, &m, t, pieces, true);
        p.at_a += add_a;
        p.at_b += add_b;
        w.launch.seed = seed;
        world_run_bad(&w, &p, kind, text);
        world_close(&w);
    }
}

#define WAIT "wgmma.wait_group.sync.aligned 0;"

static void test_misuse(void **state) {
    (void)state;
    check_bad_at(&plain, &(struct pieces){.visible = "bar.sync 0;"}, 0, 0, SG_FAULT_ASYNC,
                 "no fence.proxy.async followed");
    check_bad_at(&plain, &(struct pieces){.wait = "bar.sync 0; @%p1 st.shared.u32 [%r2], %r1; bar.sync 0; " WAIT}, 0, 0,
                 SG_FAULT_ASYNC, "its A tile in shared memory was overwritten before wgmma.wait_group");
    check_bad_at(&plain, &(struct pieces){.wait = "bar.sync 0; @%p1 st.shared.u32 [%r2+40960], %r1; bar.sync 0; " WAIT},
                 0, 0, SG_FAULT_ASYNC, "its B tile in shared memory was overwritten before wgmma.wait_group");
    /* the rows of another warp, which has perhaps not read them: a race, or seen by that warp */
    static struct matrices m;
    for (uint64_t seed = 0; seed < 8; seed++) {
        struct world w;
        struct params p;
        open_case(&w, &p, &m, &plain, &(struct pieces){.wait = WAIT " @%p1 st.shared.u32 [%r2+2048], %r1;"}, true);
        w.launch.seed = seed;
        assert_false(world_run(&w, &p));
        assert_true(w.fault.kind == SG_FAULT_RACE || w.fault.kind == SG_FAULT_ASYNC);
        world_close(&w);
    }
    check_good(&plain, &(struct pieces){.wait = WAIT " bar.sync 0; @%p1 st.shared.u32 [%r2+2048], %r1;"});
}

static void test_descriptors(void **state) {
    (void)state;
    static const struct shared_case across = {
        "f32", "f16", "f16", 128, 1, false, {64, 2048, 512, true}, {128, 2048, 1024, true}, 1, 1, true};
    check_bad_at(&plain, &none, 0x100000000, 0, SG_FAULT_ASYNC, "both must be multiples of 1024");
    check_bad_at(&plain, &none, 8, 0, SG_FAULT_ASYNC, "but for the offset along k");
    check_bad_at(&plain, &none, IMAGE / 16 - 256, 0, SG_FAULT_OUT_OF_BOUNDS, " of A lies at shared 0x1");
    check_bad_at(&plain, &none, 1ull << 49, 0, SG_FAULT_UNSUPPORTED, "base offset");
    check_bad_at(&across, &none, 1, 0, SG_FAULT_ASYNC, "but for the offset along the rows");
    check_bad_at(&across, &none, 1 << 16, 0, SG_FAULT_ASYNC,
                 "descriptor of A has 64-byte swizzle and 2064 bytes between its columns of 32 rows");
    check_bad_at(&across, &none, 0, 1 << 16, SG_FAULT_ASYNC, "descriptor of B has 128-byte swizzle and 2064 bytes");
    check_bad_at(&across, &none, 0, (IMAGE - B_AT) / 16 - 128, SG_FAULT_OUT_OF_BOUNDS, "row 64 of B");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),      cmocka_unit_test(test_halves_and_words),
        cmocka_unit_test(test_transposed), cmocka_unit_test(test_special_values),
        cmocka_unit_test(test_misuse),     cmocka_unit_test(test_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
