/* What single instructions compute, from the PTX text to the register. Each line of a table has a few instructions, and
 * a function that computes the same from the same words. */
#ifndef TEST_SOFT_LINES_H
#define TEST_SOFT_LINES_H

#include "runtime/base/str.h"
#include "runtime/softgpu/op/numeric.h"
#include "world.h"

typedef uint32_t word;
typedef uint64_t wide;
typedef wide result_fn(word a, word b, word c);
struct line {
    const char *code; /* sets the register of its kind: %r9, %h9, %rd9, %f9, %d9, %p9 */
    result_fn *want;
};

/* The registers before the code: %r1 = a, %r2 = b, %r3 = c; %f the same; %h1, %h2, %h3 the low halves; %rd1 = b:a,
 * %rd2 = a:c, %rd3 = c:b; %d the same; %p1 = a & 1, %p2 = b & 1; %r4 = the thread. */
static const char before[] =
    ".version 8.6\n.target sm_90a\n.address_size 64\n"
    ".visible .entry k(.param .u64 in, .param .u64 out)\n"
    "{ .reg .pred %p<12>; .reg .b16 %h<12>; .reg .b32 %r<16>; .reg .b64 %rd<16>; .reg .f32 %f<12>; .reg .f64 %d<12>;\n"
    "ld.param.u64 %rd10, [in]; ld.param.u64 %rd11, [out]; mov.u32 %r4, %tid.x; mul.wide.u32 %rd12, %r4, 12;\n"
    "add.u64 %rd10, %rd10, %rd12; mul.wide.u32 %rd12, %r4, 8; add.u64 %rd11, %rd11, %rd12;\n"
    "ld.global.u32 %r1, [%rd10]; ld.global.u32 %r2, [%rd10+4]; ld.global.u32 %r3, [%rd10+8];\n"
    "mov.b32 %f1, %r1; mov.b32 %f2, %r2; mov.b32 %f3, %r3; cvt.u16.u32 %h1, %r1; cvt.u16.u32 %h2, %r2;\n"
    "cvt.u16.u32 %h3, %r3; mov.b64 %rd1, {%r1, %r2}; mov.b64 %rd2, {%r3, %r1}; mov.b64 %rd3, {%r2, %r3};\n"
    "mov.b64 %d1, %rd1; mov.b64 %d2, %rd2; mov.b64 %d3, %rd3; and.b32 %r10, %r1, 1; setp.ne.u32 %p1, %r10, 0;\n"
    "and.b32 %r10, %r2, 1; setp.ne.u32 %p2, %r10, 0;\n";
static const char after[] = "st.global.u64 [%rd11], %rd9; ret; }\n";

/* Brings the register that the code sets to %rd9. */
static inline const char *bring(const char *code) {
    static const char *const how[][2] = {{"%rd9", ""},
                                         {"%r9", "cvt.u64.u32 %rd9, %r9;\n"},
                                         {"%h9", "cvt.u64.u16 %rd9, %h9;\n"},
                                         {"%f9", "mov.b32 %r9, %f9; cvt.u64.u32 %rd9, %r9;\n"},
                                         {"%d9", "mov.b64 %rd9, %d9;\n"},
                                         {"%p9", "selp.u64 %rd9, 1, 0, %p9;\n"}};
    for (size_t k = 0; k < sizeof how / sizeof *how; k++)
        if (strstr(code, how[k][0]))
            return how[k][1];
    fail_msg("'%s' sets no register", code);
    return NULL;
}

static inline word draw(struct world *w, int k) {
    static const word special[] = {0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 1,
                                   0x807fffff, 0x00800000, 0x7f7fffff, 0x3c003c00, 0x7bfffbff, 0x00010001, 0x7fc00001,
                                   ~0u,        0x7c00fc00, 0x42280000, 0x7fffffff, 0x80018001, 0x03ff83ff, 0x40490fdb};
    const word x = world_random(w), y = world_random(w);
    switch (k % 5) {
    case 0:
        return x;
    case 1:
        return special[x % (sizeof special / sizeof *special)];
    case 2:
        return x % 70; /* counts and positions */
    case 3:
        return (y & 0x807fffff) | (110 + x % 40) << 23; /* floats of like size */
    default:
        return (y & 0x83ff83ff) | (12 + x % 6) << 10 | (12 + x / 7 % 6) << 26; /* halves of like size */
    }
}

static inline int check_line(const struct line *line) {
    struct str ptx = {0};
    struct world w;
    str_printf(&ptx, "%s%s\n%s%s", before, line->code, bring(line->code), after);
    world_open(&w, ptx.data);
    enum { THREADS = 1024 };
    int wrong = 0;
    word *in = world_alloc(&w, THREADS * 12);
    wide *out = world_alloc(&w, THREADS * 8);
    const struct {
        word *in;
        wide *out;
    } p = {in, out};
    for (int k = 0; k < THREADS * 3; k++)
        in[k] = draw(&w, k % 3 == 0 ? k / 3 : k % 3 == 1 ? k / 15 : k / 75);
    for (int k = 0; k < THREADS / 8; k++) /* equal ones */
        in[24 * k + 1] = in[24 * k];
    w.launch.block[0] = THREADS;
    world_run_good(&w, &p);
    for (int k = 0; k < THREADS; k++) {
        const word a = in[3 * k], b = in[3 * k + 1], c = in[3 * k + 2];
        const wide want = line->want(a, b, c);
        if (out[k] != want && !wrong++)
            print_error("'%s' of %08x, %08x, %08x gives %llx, not %llx\n", line->code, a, b, c,
                        (unsigned long long)out[k], (unsigned long long)want);
    }
    world_close(&w);
    str_release(&ptx);
    return wrong;
}

static inline void check_lines(const struct line *line, size_t count) {
    int wrong = 0;
    for (size_t k = 0; k < count; k++)
        wrong += check_line(&line[k]);
    assert_int_equal(wrong, 0);
}
#define CHECK(table) check_lines(table, sizeof(table) / sizeof *(table))

/* `F(name)` is a function of a, b and c. */
#define F(name)                                                                                                        \
    static wide name(__attribute__((unused)) word a, __attribute__((unused)) word b, __attribute__((unused)) word c)

static inline wide pair(word low, word high) {
    return low | (wide)high << 32;
}
static inline double real(word low, word high) {
    return f64_of(pair(low, high));
}

#endif
