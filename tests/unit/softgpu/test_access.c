/* Loads, stores and atomics of every width in every state space, what they count, and how wrong ones are reported. */
#include "runtime/base/str.h"
#include "runtime/softgpu/op/numeric.h"
#include "world.h"

enum { BYTES = 4096 };

/* in: random bytes; out: what the code writes. %rd1 = in, %rd2 = out, %r1 = the thread; in + 32 t is %rd3, out + 32 t
 * is %rd4. 1 KiB of shared memory at %r2 = buf, 64 bytes of local memory at %rd5 = depot. */
static const char before[] =
    ".version 8.6\n.target sm_90a\n.address_size 64\n"
    ".visible .entry k(.param .u64 in, .param .u64 out, .param .align 16 .b8 s[52])\n"
    "{ .shared .align 128 .b8 buf[1024]; .local .align 16 .b8 depot[64];\n"
    ".reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<24>; .reg .b64 %rd<20>; .reg .b128 %q<4>; .reg .f32 %f<9>;\n"
    "ld.param.u64 %rd1, [in]; ld.param.u64 %rd2, [out]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd3, %r1, 32;\n"
    "add.u64 %rd4, %rd2, %rd3; add.u64 %rd3, %rd1, %rd3; mov.u32 %r2, buf; mov.u64 %rd5, depot;\n"
    "setp.lt.u32 %p1, %r1, 12;\n";

struct params {
    uint8_t *in, *out;
    uint8_t s[52];
};

static void open_code(struct world *w, struct params *p, const char *code) {
    struct str ptx = {0};
    str_printf(&ptx, "%s%s\nret; }\n", before, code);
    world_open(w, ptx.data);
    str_release(&ptx);
    p->in = world_alloc(w, BYTES);
    p->out = world_alloc(w, BYTES);
    memset(p->out, 0xcc, BYTES);
    for (int k = 0; k < 48; k++)
        p->s[k] = (uint8_t)(0x81 + 3 * k);
}

/* What the bytes at out + 32 t must be; the rest of them stays 0xcc. */
typedef void fill_fn(uint8_t *out, const uint8_t *in, int t);

static void check(const char *code, fill_fn *fill) {
    struct world w;
    struct params p;
    open_code(&w, &p, code);
    world_run_good(&w, &p);
    for (int t = 0; t < 32; t++) {
        uint8_t want[32];
        memset(want, 0xcc, sizeof want);
        fill(want, p.in + 32 * t, t);
        if (memcmp(want, p.out + 32 * t, 32) != 0)
            fail_msg("'%s': thread %d writes %02x%02x%02x%02x …, not %02x%02x%02x%02x …", code, t, p.out[32 * t + 3],
                     p.out[32 * t + 2], p.out[32 * t + 1], p.out[32 * t], want[3], want[2], want[1], want[0]);
    }
    world_close(&w);
}

static void check_bad(const char *code, enum sg_fault_kind kind, const char *text) {
    struct world w;
    struct params p;
    open_code(&w, &p, code);
    world_run_bad(&w, &p, kind, text);
    world_close(&w);
}

#define W(name)                                                                                                        \
    static void name(__attribute__((unused)) uint8_t *out, __attribute__((unused)) const uint8_t *in,                  \
                     __attribute__((unused)) int t)
static void put(uint8_t *out, uint64_t value, size_t bytes) {
    memcpy(out, &value, bytes);
}

/* ---- widths ---- */

W(signed_byte) {
    put(out, (uint64_t)(int8_t)in[5], 4);
}
W(signed_wide) {
    put(out, (uint64_t)(int8_t)in[5], 8);
}
W(plain_byte) {
    put(out, in[5], 4);
}
W(signed_half) {
    put(out, (uint64_t)(int16_t)(in[4] | in[5] << 8), 4);
}
W(plain_half) {
    put(out, in[4] | (uint64_t)in[5] << 8, 8);
}
W(signed_word) {
    put(out, (uint64_t)(int32_t)(in[4] | in[5] << 8 | in[6] << 16 | (uint32_t)in[7] << 24), 8);
}
W(byte_in_half) {
    put(out, (uint64_t)(int8_t)in[5], 2);
}
W(copied_16) {
    memcpy(out, in, 16);
}
W(copied_32) {
    memcpy(out, in, 32);
}
W(copied_8) {
    memcpy(out, in, 8);
}
W(swapped) {
    memcpy(out, in + 16, 16);
    memcpy(out + 16, in, 16);
}
W(bytes_of) {
    out[0] = in[0];
    out[2] = in[4];
}
W(part_only) {
    if (t < 12)
        memcpy(out, in, 4);
}
W(some_elements) {
    memcpy(out, in + 4, 4);
    memcpy(out + 4, in + 12, 4);
}

static void test_widths(void **state) {
    (void)state;
    check("ld.global.s8 %r9, [%rd3+5]; st.global.u32 [%rd4], %r9;", signed_byte);
    check("ld.global.s8 %rd9, [%rd3+5]; st.global.u64 [%rd4], %rd9;", signed_wide);
    check("ld.global.u8 %r9, [%rd3+5]; st.global.u32 [%rd4], %r9;", plain_byte);
    check("ld.global.b8 %r9, [%rd3+5]; st.global.u32 [%rd4], %r9;", plain_byte);
    check("ld.global.s16 %r9, [%rd3+4]; st.global.u32 [%rd4], %r9;", signed_half);
    check("ld.global.u16 %rd9, [%rd3+4]; st.global.u64 [%rd4], %rd9;", plain_half);
    check("ld.global.s32 %rd9, [%rd3+4]; st.global.u64 [%rd4], %rd9;", signed_word);
    check("ld.global.s8 %h1, [%rd3+5]; st.global.u16 [%rd4], %h1;", byte_in_half);
    check("ld.global.b128 %q1, [%rd3]; st.global.b128 [%rd4], %q1;", copied_16);
    check("ld.global.v2.b128 {%q1, %q2}, [%rd3]; st.global.v2.b128 [%rd4], {%q2, %q1};", swapped);
    check("ld.global.v4.u64 {%rd6, %rd7, %rd8, %rd9}, [%rd3]; st.global.v4.b64 [%rd4], {%rd6, %rd7, %rd8, %rd9};",
          copied_32);
    check("ld.global.v8.b32 {%r3, %r4, %r5, %r6, %r7, %r8, %r9, %r10}, [%rd3];\n"
          "st.global.v8.b32 [%rd4], {%r3, %r4, %r5, %r6, %r7, %r8, %r9, %r10};",
          copied_32);
    check("ld.global.v4.u16 {%h1, %h2, %h3, %h4}, [%rd3]; st.global.v4.u16 [%rd4], {%h1, %h2, %h3, %h4};", copied_8);
    check("ld.global.v2.f64 {%rd6, %rd7}, [%rd3]; st.global.v2.f64 [%rd4], {%rd6, %rd7};", copied_16);
    check(
        "ld.global.u32 %r3, [%rd3]; ld.global.u32 %r4, [%rd3+4]; st.global.u8 [%rd4], %r3; st.global.u8 [%rd4+2], %r4;",
        bytes_of);
    check("@%p1 ld.global.u32 %r3, [%rd3]; @%p1 st.global.u32 [%rd4], %r3;", part_only);
    check("ld.global.v4.u32 {_, %r3, _, %r4}, [%rd3]; st.global.v2.u32 [%rd4], {%r3, %r4};", some_elements);
}

/* ---- spaces ---- */

#define THROUGH_SHARED(type, registers)                                                                                \
    "shl.b32 %r3, %r1, 5; add.u32 %r3, %r2, %r3; ld.global." type " " registers ", [%rd3]; st.shared." type            \
    " [%r3], " registers "; ld.shared." type " " registers ", [%r3]; st.global." type " [%rd4], " registers ";"
#define THROUGH_LOCAL(type, registers)                                                                                 \
    "ld.global." type " " registers ", [%rd3]; st.local." type " [%rd5+16], " registers "; ld.local." type             \
    " " registers ", [%rd5+16]; st.global." type " [%rd4], " registers ";"

/* Lane by lane another space: global, shared, local or the kernel's parameters. */
#define MIXED                                                                                                          \
    "and.b32 %r4, %r1, 3; setp.eq.u32 %p2, %r4, 1; setp.eq.u32 %p3, %r4, 2; setp.eq.u32 %p4, %r4, 3;\n"                \
    "shl.b32 %r3, %r1, 5; add.u32 %r3, %r2, %r3; cvt.u64.u32 %rd6, %r3; cvta.shared.u64 %rd6, %rd6;\n"                 \
    "cvta.local.u64 %rd7, %rd5; mov.u64 %rd8, s; cvta.param.u64 %rd8, %rd8; mov.u64 %rd9, %rd3;\n"                     \
    "ld.global.u32 %r5, [%rd3]; st.u32 [%rd6], %r5; add.u32 %r5, %r5, 1; st.u32 [%rd7], %r5;\n"                        \
    "@%p2 mov.u64 %rd9, %rd6; @%p3 mov.u64 %rd9, %rd7; @%p4 add.u64 %rd9, %rd8, 8;\n"
W(mixed) {
    uint32_t x;
    memcpy(&x, in, 4);
    if (t % 4 == 2)
        x++;
    if (t % 4 == 3)
        for (int k = 0; k < 4; k++)
            x = x >> 8 | (uint32_t)(0x81 + 3 * (8 + k)) << 24;
    put(out, x, 4);
}
W(mixed_stores) {
    put(out, (uint64_t)(t % 3 == 0 ? 1000 + t : t % 3 == 1 ? 2000 + t : 3000 + t), 4);
}
W(parameter) {
    for (int k = 0; k < 4; k++)
        out[k] = (uint8_t)(0x81 + 3 * (4 * (t % 12) + k));
}

static void test_spaces(void **state) {
    (void)state;
    check(THROUGH_SHARED("v4.u64", "{%rd6, %rd7, %rd8, %rd9}"), copied_32);
    check(THROUGH_SHARED("b128", "%q1"), copied_16);
    check(THROUGH_SHARED("v2.u32", "{%r4, %r5}"), copied_8);
    check(THROUGH_LOCAL("v4.u32", "{%r3, %r4, %r5, %r6}"), copied_16);
    check(THROUGH_LOCAL("u64", "%rd6"), copied_8);
    check(MIXED "ld.u32 %r6, [%rd9]; st.global.u32 [%rd4], %r6;", mixed);
    check("shl.b32 %r3, %r1, 2; add.u32 %r3, %r2, %r3; cvt.u64.u32 %rd6, %r3; cvta.shared.u64 %rd6, %rd6;\n"
          "cvta.local.u64 %rd7, %rd5; rem.u32 %r4, %r1, 3; mov.u64 %rd9, %rd4; setp.eq.u32 %p2, %r4, 1;\n"
          "setp.eq.u32 %p3, %r4, 2; @%p2 mov.u64 %rd9, %rd6; @%p3 mov.u64 %rd9, %rd7; add.u32 %r5, %r4, 1;\n"
          "mad.lo.u32 %r5, %r5, 1000, %r1; st.u32 [%rd9], %r5; @%p2 ld.shared.u32 %r6, [%r3];\n"
          "@%p3 ld.local.u32 %r6, [%rd5]; or.pred %p2, %p2, %p3; @%p2 st.global.u32 [%rd4], %r6;",
          mixed_stores);
    /* parameters at an address that is computed */
    check("rem.u32 %r3, %r1, 12; mul.wide.u32 %rd6, %r3, 4; mov.u64 %rd7, s; add.u64 %rd7, %rd7, %rd6;\n"
          "ld.param.u32 %r4, [%rd7]; st.global.u32 [%rd4], %r4;",
          parameter);
    check_bad("mov.u64 %rd7, s; ld.param.u32 %r4, [%rd7+2];", SG_FAULT_MISALIGNED,
              "parameter offset 18 is not a multiple of 4");
    check_bad("mov.u64 %rd7, s; ld.param.u32 %r4, [%rd7+52];", SG_FAULT_OUT_OF_BOUNDS,
              "4 bytes at offset 68 of 68 parameter bytes");
    check_bad("mov.u64 %rd7, s; cvta.param.u64 %rd7, %rd7; ld.u64 %rd6, [%rd7+48];", SG_FAULT_OUT_OF_BOUNDS,
              "8 bytes at offset 64 of 68 parameter bytes");
    check_bad("mov.u64 %rd7, s; cvta.param.u64 %rd7, %rd7; st.u32 [%rd7], %r1;", SG_FAULT_OUT_OF_BOUNDS,
              "kernel parameters cannot be written");
    check_bad("ld.local.u32 %r3, [%rd5+2];", SG_FAULT_MISALIGNED, "local address 0x2 is not a multiple of 4");
    check_bad("ld.local.u32 %r3, [%rd5+64];", SG_FAULT_OUT_OF_BOUNDS, "4 bytes at local 0x40 of 64 bytes");
    check_bad("st.local.v4.u32 [%rd5+56], {%r1, %r1, %r1, %r1};", SG_FAULT_MISALIGNED, "is not a multiple of 16");
    check_bad("ld.shared.u32 %r3, [%r2+1024];", SG_FAULT_OUT_OF_BOUNDS,
              "4 bytes at shared 0x400 of 1024 bytes (1024 static, 0 dynamic)");
    check_bad("mov.u64 %rd6, 0x100000000; ld.shared.u32 %r3, [%rd6];", SG_FAULT_OUT_OF_BOUNDS,
              "4 bytes at shared 0x100000000 of 1024 bytes");
}

/* ---- atomics ---- */

/* One operation of every lane on a word that begins as `first`: what is left, and that the values that the lanes got
 * are those of one order. */
static void check_atomic(const char *name, uint32_t first, uint32_t operand, uint32_t want) {
    static const char *const spaces[] = {
        "st.global.u32 [%%rd2+2048], %u; atom.global.%s %%r9, [%%rd2+2048], %u; ld.global.u32 %%r8, [%%rd2+2048];",
        "st.shared.u32 [%%r2], %u; atom.shared.%s %%r9, [%%r2], %u; ld.shared.u32 %%r8, [%%r2];",
        "cvta.shared.u64 %%rd6, buf; st.u32 [%%rd6], %u; atom.%s %%r9, [%%rd6], %u; ld.u32 %%r8, [%%rd6];",
        "cvta.local.u64 %%rd6, %%rd5; st.u32 [%%rd6], %u; atom.%s %%r9, [%%rd6], %u; ld.u32 %%r8, [%%rd6];"};
    for (int k = 0; k < 4; k++) {
        struct str code = {0};
        struct world w;
        struct params p;
        str_printf(&code, spaces[k], first, name, operand);
        str_append(&code, "st.global.v2.u32 [%rd4], {%r8, %r9};");
        open_code(&w, &p, code.data);
        w.launch.block[0] = k == 3 ? 1 : 32; /* local memory is each thread's own */
        world_run_good(&w, &p);
        for (uint32_t t = 0; t < w.launch.block[0]; t++) {
            uint32_t left, got;
            memcpy(&left, p.out + 32 * t, 4);
            memcpy(&got, p.out + 32 * t + 4, 4);
            if (k < 3 && left != want)
                fail_msg("'%s' leaves %u, not %u", code.data, left, want);
            if (t == 0 && got != first)
                fail_msg("'%s': the first lane gets %u, not %u", code.data, got, first);
        }
        assert_int_equal(w.counters.atomics, 1);
        world_close(&w);
        str_release(&code);
    }
}

static void test_integer_atomics(void **state) {
    (void)state;
    check_atomic("add.u32", 7, 3, 7 + 32 * 3);
    check_atomic("min.s32", 5, 4294967290u, 4294967290u);
    check_atomic("min.u32", 5, 4294967290u, 5);
    check_atomic("max.s32", 5, 4294967290u, 5);
    check_atomic("max.u32", 5, 4294967290u, 4294967290u);
    check_atomic("and.b32", 0xff3, 0x1f1, 0x1f1);
    check_atomic("or.b32", 0xf00, 0x0f1, 0xff1);
    check_atomic("xor.b32", 0xf0f, 0x0ff, 0xf0f); /* an even number of times */
    check_atomic("exch.b32", 9, 77, 77);
    check_atomic("inc.u32", 3, 6, 0); /* 32 steps of 0 … 6 from 3 */
    check_atomic("inc.u32", 9, 6, 3); /* above: to 0, then 31 steps */
    check_atomic("dec.u32", 3, 6, 6);
    check_atomic("dec.u32", 9, 6, 3);
}

/* Of 64 and 16 bits, with cas, and with vectors. */
static void test_other_atomics(void **state) {
    (void)state;
    struct world w;
    struct params p;
    open_code(&w, &p,
              "mov.u64 %rd6, 0x8000000000; st.global.u64 [%rd2+2048], %rd6; mov.u64 %rd7, 0xffffffff;\n"
              "atom.global.add.u64 %rd8, [%rd2+2048], %rd7; st.global.u64 [%rd2+2056], -5;\n"
              "red.global.min.s64 [%rd2+2056], 3; red.global.max.u64 [%rd2+2056], 3; st.global.u64 [%rd2+2064], 0;\n"
              "cvt.u64.u32 %rd9, %r1; add.u64 %rd9, %rd9, 1; cvt.u64.u32 %rd10, %r1;\n"
              "atom.global.cas.b64 %rd11, [%rd2+2064], %rd10, %rd9; mov.u16 %h1, 7; st.global.u16 [%rd2+2072], %h1;\n"
              "st.global.u16 [%rd2+2074], %h1; mov.u16 %h2, 7; mov.u16 %h3, 900;\n"
              "atom.global.cas.b16 %h4, [%rd2+2074], %h2, %h3; atom.global.exch.b16 %h5, [%rd2+2072], %h3;\n"
              "setp.eq.u32 %p2, %r1, 0; cvt.u32.u16 %r3, %h4; cvt.u32.u16 %r4, %h5;\n"
              "@%p2 st.global.v2.u32 [%rd2+2080], {%r3, %r4}; setp.eq.u32 %p2, %r1, 31;\n"
              "@%p2 st.global.v2.u64 [%rd2+2096], {%rd8, %rd11};");
    world_run_good(&w, &p);
    const uint64_t *left = (const uint64_t *)(const void *)(p.out + 2048);
    assert_int_equal(left[0], 0x8000000000 + 32ull * 0xffffffff);
    assert_int_equal(left[1], ~0ull - 4); /* -5: the smaller of both, and a large number */
    assert_int_equal(left[2], 32);        /* one step by each lane, in order */
    assert_int_equal(left[3] & 0xffffffff, 900 | 900u << 16);
    assert_int_equal(left[4], 7 | 7ull << 32); /* what the first lane found */
    assert_int_equal(left[6], 0x8000000000 + 31ull * 0xffffffff);
    assert_int_equal(left[7], 31);
    world_close(&w);
}

static void test_float_atomics(void **state) {
    (void)state;
    struct world w;
    struct params p;
    open_code(
        &w, &p,
        "setp.eq.u32 %p2, %r1, 0; mov.u32 %r9, 0; mov.b32 %r3, 0x3f800000; mov.b32 %r4, 0xc0000000;\n"
        "st.global.v4.u32 [%rd2+2048], {%r9, %r9, %r3, %r3}; st.global.v4.u32 [%rd2+2064], {%r9, %r9, %r9, %r9};\n"
        "mov.b32 %f1, 0f3F000000; mov.b32 %f2, 0f40000000; red.global.add.v2.f32 [%rd2+2048], {%f1, %f2};\n"
        "mov.b32 %f3, %r4; red.global.min.f32 [%rd2+2056], %f3; red.global.max.f32 [%rd2+2060], %f3;\n"
        "mov.b32 %r5, 0x40003f80; red.global.add.noftz.bf16x2 [%rd2+2064], %r5;\n" /* 1, 2 */
        "mov.b16 %h1, 0x3c00; atom.global.add.noftz.f16 %h2, [%rd2+2068], %h1; mov.b16 %h3, 0x3f80;\n"
        "atom.global.add.noftz.bf16 %h4, [%rd2+2070], %h3; mov.b32 %r6, 0xbc003c00;\n"
        "atom.global.max.noftz.f16x2 %r7, [%rd2+2072], %r6; mov.b32 %r8, 0xbf803f80;\n"
        "red.global.min.noftz.bf16x2 [%rd2+2076], %r8;");
    world_run_good(&w, &p);
    uint32_t got[8];
    memcpy(got, p.out + 2048, sizeof got);
    assert_int_equal(got[0], f32_bits(16));
    assert_int_equal(got[1], f32_bits(64));
    assert_int_equal(got[2], f32_bits(-2));
    assert_int_equal(got[3], f32_bits(1));
    assert_int_equal(got[4], 0x42804200); /* 32 and 64 */
    assert_int_equal(got[5], 0x42005000); /* 32 as f16, and as bf16 */
    assert_int_equal(got[6], 0x00003c00);
    assert_int_equal(got[7], 0xbf800000);
    world_close(&w);
}

static void test_wrong_atomics(void **state) {
    (void)state;
    check_bad("atom.global.add.u32 %r3, [%rd2+2], 1;", SG_FAULT_MISALIGNED, "is not a multiple of 4");
    check_bad("red.global.add.v4.f32 [%rd2+8], {%f1, %f2, %f3, %f4};", SG_FAULT_MISALIGNED, "is not a multiple of 16");
    check_bad("atom.global.add.u32 %r3, [%rd2+4096], 1;", SG_FAULT_OUT_OF_BOUNDS, "offset 4096 of allocation");
    check_bad("st.shared.u32 [%r2], 0; atom.shared.add.u32 %r3, [%r2+1024], 1;", SG_FAULT_OUT_OF_BOUNDS,
              "4 bytes at shared 0x400");
    check_bad("atom.shared.add.u32 %r3, [%r2], 1;", SG_FAULT_UNINITIALIZED, "was never written");
    check_bad("cvta.local.u64 %rd6, %rd5; atom.add.u32 %r3, [%rd6+64], 1;", SG_FAULT_OUT_OF_BOUNDS,
              "4 bytes at local 0x40");
}

/* ---- what is counted ---- */

struct count {
    const char *code;
    uint64_t requests, sectors, read, written, wavefronts, conflicts, spills;
};

static void test_counts(void **state) {
    (void)state;
    static const struct count table[] = {
        {"mul.wide.u32 %rd6, %r1, 4; add.u64 %rd6, %rd1, %rd6; ld.global.u32 %r3, [%rd6];", 1, 4, 128, 0, 0, 0, 0},
        {"ld.global.u32 %r3, [%rd3];", 1, 32, 128, 0, 0, 0, 0},
        {"ld.global.v8.b32 {%r3, %r4, %r5, %r6, %r7, %r8, %r9, %r10}, [%rd3];", 1, 32, 1024, 0, 0, 0, 0},
        {"ld.global.u32 %r3, [%rd1];", 1, 1, 128, 0, 0, 0, 0},
        {"@%p1 st.global.u64 [%rd4], %rd1;", 1, 12, 0, 96, 0, 0, 0},
        {"rem.u32 %r3, %r1, 2; mul.wide.u32 %rd6, %r3, 2048; add.u64 %rd6, %rd1, %rd6; ld.global.u32 %r3, [%rd6];", 1,
         2, 128, 0, 0, 0, 0},
        {"red.global.add.u32 [%rd2], 1;", 1, 1, 0, 128, 0, 0, 0},
        {"shl.b32 %r3, %r1, 5; add.u32 %r3, %r2, %r3; st.shared.u32 [%r3], %r1;", 0, 0, 0, 0, 8, 7, 0},
        {"shl.b32 %r3, %r1, 4; add.u32 %r3, %r2, %r3; st.shared.v4.u32 [%r3], {%r1, %r1, %r1, %r1};", 0, 0, 0, 0, 4, 0,
         0},
        {"shl.b32 %r3, %r1, 5; add.u32 %r3, %r2, %r3; st.shared.v4.u32 [%r3], {%r1, %r1, %r1, %r1};", 0, 0, 0, 0, 8, 4,
         0},
        {"shl.b32 %r3, %r1, 1; add.u32 %r3, %r2, %r3; mov.u16 %h1, 1; st.shared.u16 [%r3], %h1;", 0, 0, 0, 0, 1, 0, 0},
        {"shl.b32 %r3, %r1, 3; add.u32 %r3, %r2, %r3; st.shared.u64 [%r3], %rd1;", 0, 0, 0, 0, 2, 0, 0},
        {"shl.b32 %r3, %r1, 5; add.u32 %r3, %r2, %r3; st.shared.v4.u64 [%r3], {%rd1, %rd1, %rd1, %rd1};", 0, 0, 0, 0, 8,
         0, 0},
        {"shl.b32 %r3, %r1, 5; add.u32 %r3, %r2, %r3; mov.u32 %r4, 4; @%p1 cp.async.ca.shared.global [%r3], [%rd3], 8, "
         "%r4;\ncp.async.wait_all;",
         1, 12, 48, 0, 4, 2, 0},
        {"st.local.u32 [%rd5], %r1; ld.local.u32 %r3, [%rd5];", 0, 0, 0, 0, 0, 0, 2},
    };
    for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
        const struct count *c = &table[k];
        struct world w;
        struct params p;
        open_code(&w, &p, c->code);
        world_run_good(&w, &p);
        const uint64_t got[] = {w.counters.global_requests,   w.counters.global_sectors,
                                w.counters.global_bytes_read, w.counters.global_bytes_written,
                                w.counters.shared_wavefronts, w.counters.shared_conflicts,
                                w.counters.spill_accesses};
        const uint64_t want[] = {c->requests, c->sectors, c->read, c->written, c->wavefronts, c->conflicts, c->spills};
        for (int n = 0; n < 7; n++)
            if (got[n] != want[n])
                fail_msg("'%s': count %d is %llu, not %llu", c->code, n, (unsigned long long)got[n],
                         (unsigned long long)want[n]);
        world_close(&w);
    }
}

/* ---- estimates: writes go aside, and are read back by the CTAs of the sample ---- */

static void test_aside(void **state) {
    (void)state;
    enum { WORDS = 20000 };
    static const uint32_t column[1][2] = {{0, 0}};
    struct world w;
    /* each thread writes every 32nd word, then reads its neighbour's and adds them up; half of a word is written
     * again */
    world_open(
        &w, PTX_HEAD
        ".visible .entry k(.param .u64 data, .param .u64 sum)\n"
        "{ .reg .pred %p<4>; .reg .b16 %h<3>; .reg .b32 %r<12>; .reg .b64 %rd<9>; ld.param.u64 %rd1, [data];\n"
        "mov.u32 %r1, %tid.x; mov.u32 %r2, %r1; mov.u16 %h1, 7;\n"
        "WRITE: mul.wide.u32 %rd2, %r2, 4; add.u64 %rd3, %rd1, %rd2; mul.lo.u32 %r3, %r2, 65537;\n"
        "st.global.u32 [%rd3], %r3; st.global.u16 [%rd3+2], %h1; add.u32 %r2, %r2, 32; setp.lt.u32 %p1, %r2, 20000;\n"
        "@%p1 bra WRITE; bar.sync 0; mov.u32 %r4, 0; xor.b32 %r2, %r1, 1;\n"
        "READ: mul.wide.u32 %rd2, %r2, 4; add.u64 %rd3, %rd1, %rd2; ld.global.u32 %r5, [%rd3];\n"
        "add.u32 %r4, %r4, %r5; add.u32 %r2, %r2, 32; setp.lt.u32 %p1, %r2, 20000; @%p1 bra READ;\n"
        "ld.param.u64 %rd4, [sum]; atom.global.add.u32 %r6, [%rd4], %r4; atom.global.exch.b32 %r7, [%rd4+4], %r4;\n"
        "bar.sync 0; ld.global.u32 %r8, [%rd4]; setp.ne.u32 %p2, %r8, %r9; mov.u32 %r10, 0;\n"
        "LOOP: add.u32 %r10, %r10, 1; setp.lt.u32 %p3, %r10, 4; @%p3 bra LOOP;\n"
        "ld.global.u32 %r11, [%rd4+8]; setp.ne.u32 %p2, %r8, %r11; @%p2 trap; ret; }\n");
    uint32_t *data = world_alloc(&w, WORDS * 4), *sum = world_alloc(&w, 12), total = 0;
    static uint32_t kept[WORDS];
    for (uint32_t k = 0; k < WORDS; k++)
        total += (k * 65537u & 0xffff) | 7u << 16;
    memcpy(sum, ((uint32_t[]){0, 0, total}), 12); /* the kernel traps if it finds another sum */
    memcpy(kept, data, sizeof kept);
    const void *p[] = {data, sum};
    w.launch.sample = column;
    w.launch.sample_count = 1;
    world_run_good(&w, p);
    assert_memory_equal(data, kept, sizeof kept);
    assert_int_equal(sum[0], 0);
    sum[2]++;
    world_run_bad(&w, p, SG_FAULT_TRAP, "the kernel stopped itself");
    sum[2]--;
    w.launch.sample = NULL;
    world_run_good(&w, p);
    assert_int_equal(sum[0], total);
    for (uint32_t k = 0; k < WORDS; k++)
        assert_int_equal(data[k], (k * 65537u & 0xffff) | 7u << 16);
    world_close(&w);
}

/* ---- cp.async ---- */

W(copied_by_predicate) {
    memset(out, 0, 16);
    if (t >= 12)
        memcpy(out, in, 16);
}
W(copied_by_size) {
    memset(out, 0, 16);
    memcpy(out, in, (size_t)(t % 17));
}
W(copied_4) {
    memcpy(out, in, 4);
}
#define SLOT "shl.b32 %r3, %r1, 4; add.u32 %r3, %r2, %r3;\n"
#define READ_16                                                                                                        \
    "cp.async.wait_all; ld.shared.v4.u32 {%r4, %r5, %r6, %r7}, [%r3]; st.global.v4.u32 [%rd4], {%r4, %r5, %r6, %r7};"

static void test_copies(void **state) {
    (void)state;
    check(SLOT "cp.async.cg.shared.global [%r3], [%rd3], 16, %p1;" READ_16, copied_by_predicate);
    check(SLOT "rem.u32 %r8, %r1, 17; cp.async.ca.shared.global [%r3], [%rd3], 16, %r8;" READ_16, copied_by_size);
    check(SLOT "createpolicy.fractional.L2::evict_first.b64 %rd6, 0f3F800000;\n"
               "cp.async.ca.shared.global.L2::cache_hint [%r3], [%rd3], 16, %rd6;" READ_16,
          copied_16);
    check(SLOT "cp.async.ca.shared.global [%r3], [%rd3], 4; cp.async.wait_all; ld.shared.u32 %r4, [%r3];\n"
               "st.global.u32 [%rd4], %r4;",
          copied_4);
    check(SLOT "cp.async.ca.shared.global [%r3], [%rd3], 8; cp.async.commit_group; cp.async.wait_group 0;\n"
               "ld.shared.u64 %rd6, [%r3]; st.global.u64 [%rd4], %rd6;",
          copied_8);
    check_bad(SLOT "mov.u32 %r8, 9; cp.async.ca.shared.global [%r3], [%rd3], 8, %r8;", SG_FAULT_OUT_OF_BOUNDS,
              "source size 9 of a copy of 8 bytes");
    check_bad(SLOT "cp.async.cg.shared.global [%r3], [%rd3+8], 16;", SG_FAULT_MISALIGNED, "is not a multiple of 16");
    check_bad(SLOT "cp.async.cg.shared.global [%r3+1024], [%rd3], 16;", SG_FAULT_OUT_OF_BOUNDS,
              "16 bytes at shared 0x400");
    /* nothing is read: any address will do */
    check(SLOT "mov.u64 %rd6, 8; mov.u32 %r8, 0; cp.async.cg.shared.global [%r3], [%rd6], 16, %r8; cp.async.wait_all;\n"
               "cp.async.cg.shared.global [%r3], [%rd3], 16;" READ_16,
          copied_16);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_widths),          cmocka_unit_test(test_spaces),
        cmocka_unit_test(test_integer_atomics), cmocka_unit_test(test_other_atomics),
        cmocka_unit_test(test_float_atomics),   cmocka_unit_test(test_wrong_atomics),
        cmocka_unit_test(test_counts),          cmocka_unit_test(test_aside),
        cmocka_unit_test(test_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
