/* Every mistake that the software device promises to catch, made on purpose, and caught under its own name. */
#include "world.h"

/* The lanes of a CTA reverse an array through shared memory. %s: what comes between store and load. */
static const char *reverse(const char *between) {
    static char text[2048];
    snprintf(text, sizeof text,
             PTX_HEAD ".visible .entry k(.param .u64 out)\n"
                      "{ .shared .align 16 .b8 buf[512]; .reg .pred %%p<4>; .reg .b32 %%r<9>; .reg .b64 %%rd<9>;\n"
                      "mov.u32 %%r1, %%tid.x; mov.u32 %%r2, buf; shl.b32 %%r3, %%r1, 2; add.u32 %%r4, %%r2, %%r3; "
                      "ld.param.u64 %%rd1, [out];\n"
                      "st.shared.u32 [%%r4], %%r1;\n%s\n"
                      "xor.b32 %%r5, %%r4, 508; ld.shared.u32 %%r6, [%%r5]; mul.wide.u32 %%rd2, %%r1, 4; add.s64 "
                      "%%rd3, %%rd1, %%rd2;\n"
                      "st.global.u32 [%%rd3], %%r6; ret; }\n",
             between);
    return text;
}

/* Runs it with 128 threads; kind NONE: must work, for several seeds. */
static void check_reverse(const char *between, enum sg_fault_kind kind, const char *message) {
    for (uint64_t seed = 0; seed < 6; seed++) {
        struct world w;
        world_open(&w, reverse(between));
        uint32_t *out = world_alloc(&w, 512);
        w.launch.block[0] = 128;
        w.launch.seed = seed;
        if (kind == SG_FAULT_NONE) {
            world_run_good(&w, &out);
            for (uint32_t k = 0; k < 128; k++)
                assert_int_equal(out[k], 127 - k);
        } else {
            world_run_bad(&w, &out, kind, message);
            assert_non_null(strstr(w.fault.text, "k: CTA (0,0,0), warp "));
        }
        world_close(&w);
    }
}

static void test_barriers(void **state) {
    (void)state;
    check_reverse("bar.sync 0;", SG_FAULT_NONE, "");
    check_reverse("barrier.cta.sync 1;", SG_FAULT_NONE, "");
    check_reverse("bar.sync 2, 128;", SG_FAULT_NONE, "");
    /* lanes that come by different ways meet at the barrier; others have left for good */
    check_reverse(
        "and.b32 %r7, %r1, 3; setp.eq.u32 %p1, %r7, 0; @%p1 bra A; bra B; A: add.u32 %r8, %r7, 1; B: bar.sync 0;",
        SG_FAULT_NONE, "");
    check_reverse("setp.lt.u32 %p1, %r1, 40; @%p1 bra A; B: bar.sync 0; bra C; A: add.u32 %r8, %r1, 1; bra B; C:",
                  SG_FAULT_NONE, "");
}

static void test_missing_barrier(void **state) {
    (void)state;
    check_reverse("", SG_FAULT_UNINITIALIZED, "never written"); /* or a race: both are its marks, see below */
}

static void test_race(void **state) {
    (void)state;
    check_reverse("bar.sync 0; st.shared.u32 [%r4], %r1;", SG_FAULT_RACE, "no barrier lies between");
    check_reverse("bar.sync 0; ld.shared.u32 %r5, [%r4]; xor.b32 %r7, %r4, 508; st.shared.u32 [%r7], %r5; bar.sync 0;",
                  SG_FAULT_RACE, "");
    /* a barrier of each pair of warps orders nothing between the pairs */
    check_reverse("bar.sync 0; st.shared.u32 [%r4], %r1; shr.u32 %r7, %r1, 6; bar.sync %r7, 64;", SG_FAULT_RACE, "");
}

static void test_divergent_barrier(void **state) {
    (void)state;
    check_reverse("setp.lt.u32 %p1, %r1, 7; @%p1 bra A; bar.sync 0; bra B; A: bar.sync 0; B:",
                  SG_FAULT_DIVERGENT_BARRIER, "never do");
    check_reverse("setp.ne.u32 %p1, %r1, 70; @%p1 bar.sync 0;", SG_FAULT_DIVERGENT_BARRIER, "bar.sync 0'");
}

static void test_deadlock(void **state) {
    (void)state;
    check_reverse("bar.sync 0; setp.lt.u32 %p1, %r1, 64; @%p1 bra A; bar.sync 1, 128; bra B; A: bar.sync 2, 128; B:",
                  SG_FAULT_DEADLOCK, "all wait");
}

static void test_timeout_and_trap(void **state) {
    (void)state;
    check_reverse("A: add.u32 %r7, %r7, 1; bra A;", SG_FAULT_TIMEOUT, "instructions");
    check_reverse("setp.eq.u32 %p1, %r1, 77; @%p1 trap; bar.sync 0;", SG_FAULT_TRAP, "warp 2, lane 13");
}

static void test_out_of_bounds(void **state) {
    (void)state;
    check_reverse("bar.sync 0; ld.global.u32 %r7, [%rd1+512];", SG_FAULT_OUT_OF_BOUNDS, "offset 512 of allocation");
    check_reverse("bar.sync 0; mov.u64 %rd4, 64; st.global.u32 [%rd4], 0;", SG_FAULT_OUT_OF_BOUNDS,
                  "before allocation");
    check_reverse("bar.sync 0; ld.shared.u32 %r7, [%r4+4];", SG_FAULT_OUT_OF_BOUNDS, "warp 3, lane 31");
    check_reverse("bar.sync 0; ld.global.v2.u32 {%r7, %r8}, [%rd1+508];", SG_FAULT_MISALIGNED, "multiple of 8");
    check_reverse("bar.sync 0; ld.shared.u32 %r7, [%r2+6];", SG_FAULT_MISALIGNED, "multiple of 4");
}

/* %s: between the issue of the copies and the reading. The barrier is there. */
static void check_copies(const char *between, enum sg_fault_kind kind, const char *message) {
    char text[2048];
    for (int eager = 0; eager < 2; eager++) {
        struct world w;
        snprintf(text, sizeof text,
                 PTX_HEAD
                 ".visible .entry k(.param .u64 data)\n"
                 "{ .shared .align 16 .b8 buf[2048]; .reg .b32 %%r<20>; .reg .b64 %%rd<9>; mov.u32 %%r1, %%tid.x; "
                 "mov.u32 %%r2, buf;\n"
                 "shl.b32 %%r3, %%r1, 4; add.u32 %%r4, %%r2, %%r3; ld.param.u64 %%rd1, [data]; mul.wide.u32 %%rd2, "
                 "%%r1, 16;\n"
                 "add.s64 %%rd3, %%rd1, %%rd2; cp.async.cg.shared.global [%%r4], [%%rd3], 16; cp.async.commit_group;\n"
                 "cp.async.cg.shared.global [%%r4+1024], [%%rd3], 16; cp.async.commit_group;\n%s\n"
                 "xor.b32 %%r5, %%r4, 512; ld.shared.v4.u32 {%%r6, %%r7, %%r8, %%r9}, [%%r5];\n"
                 "st.global.v4.u32 [%%rd3+1024], {%%r6, %%r7, %%r8, %%r9}; ret; }\n",
                 between);
        world_open(&w, text);
        uint8_t *data = world_alloc(&w, 2048);
        w.launch.block[0] = 64;
        w.launch.eager_async = eager;
        if (kind == SG_FAULT_NONE) {
            world_run_good(&w, &data);
            for (int k = 0; k < 1024; k++)
                assert_int_equal(data[1024 + k], data[k ^ 512]);
        } else {
            world_run_bad(&w, &data, kind, message);
        }
        world_close(&w);
    }
}

static void test_async(void **state) {
    (void)state;
    check_copies("cp.async.wait_group 1; bar.sync 0;", SG_FAULT_NONE, "");
    check_copies("bar.sync 0;", SG_FAULT_ASYNC, "in flight");
    check_copies("cp.async.wait_group 2; bar.sync 0;", SG_FAULT_ASYNC, "no wait for its group");
    check_copies("bar.sync 0; cp.async.wait_group 1;", SG_FAULT_ASYNC,
                 "in flight"); /* the wait of the other warp is not ours */
    check_copies("st.shared.u32 [%r4+1024], 0; cp.async.wait_all; bar.sync 0;", SG_FAULT_ASYNC, "in flight");
    check_copies("cp.async.wait_all; bar.sync 0; cp.async.cg.shared.global [%r4+4], [%rd3], 16;", SG_FAULT_MISALIGNED,
                 "");
    check_copies("cp.async.wait_all; bar.sync 0; cp.async.cg.shared.global [%r4], [%rd3+2048], 16;",
                 SG_FAULT_OUT_OF_BOUNDS, "");
}

/* After the wait only a barrier lets others read: without it the access is a race or, before the copy, in flight. */
static void test_async_without_barrier(void **state) {
    (void)state;
    struct world w;
    world_open(&w, PTX_HEAD
               ".visible .entry k(.param .u64 data)\n"
               "{ .shared .align 16 .b8 buf[1024]; .reg .b32 %r<20>; .reg .b64 %rd<9>; mov.u32 %r1, %tid.x; mov.u32 "
               "%r2, buf;\n"
               "shl.b32 %r3, %r1, 4; add.u32 %r4, %r2, %r3; ld.param.u64 %rd1, [data]; mul.wide.u32 %rd2, %r1, 16;\n"
               "add.s64 %rd3, %rd1, %rd2; cp.async.cg.shared.global [%r4], [%rd3], 16; cp.async.wait_all;\n"
               "xor.b32 %r5, %r4, 512; ld.shared.u32 %r6, [%r5]; st.global.u32 [%rd3], %r6; ret; }\n");
    uint8_t *data = world_alloc(&w, 1024);
    w.launch.block[0] = 64;
    assert_false(world_run(&w, &data));
    assert_true(w.fault.kind == SG_FAULT_UNINITIALIZED || w.fault.kind == SG_FAULT_RACE);
    world_close(&w);
}

/* Warps that write different bytes of one word do not race; the same byte they do. */
static void test_bytes(void **state) {
    (void)state;
    for (int shift = 0; shift < 2; shift++) {
        char text[1024];
        snprintf(text, sizeof text,
                 PTX_HEAD ".visible .entry k(.param .u64 out)\n"
                          "{ .shared .align 4 .b8 buf[256]; .reg .b32 %%r<9>; .reg .b64 %%rd<4>; .reg .b16 %%h<3>; "
                          "mov.u32 %%r1, %%tid.x;\n"
                          "mov.u32 %%r2, buf; and.b32 %%r3, %%r1, 31; shl.b32 %%r4, %%r3, 2; shr.u32 %%r5, %%r1, %d; "
                          "add.u32 %%r6, %%r2, %%r4;\n"
                          "add.u32 %%r6, %%r6, %%r5; cvt.u16.u32 %%h1, %%r1; st.shared.u8 [%%r6], %%h1; bar.sync 0; "
                          "shl.b32 %%r7, %%r3, 2;\n"
                          "add.u32 %%r7, %%r2, %%r7; ld.shared.u32 %%r8, [%%r7]; ld.param.u64 %%rd1, [out]; "
                          "mul.wide.u32 %%rd2, %%r3, 4;\n"
                          "add.s64 %%rd3, %%rd1, %%rd2; st.global.u32 [%%rd3], %%r8; ret; }\n",
                 5 + shift);
        struct world w;
        world_open(&w, text);
        uint32_t *out = world_alloc(&w, 128);
        w.launch.block[0] = 128;
        if (shift) {
            world_run_bad(&w, &out, SG_FAULT_RACE, "wrote");
        } else {
            world_run_good(&w, &out);
            for (uint32_t k = 0; k < 32; k++)
                assert_int_equal(out[k], k | (k + 32) << 8 | (k + 64) << 16 | (k + 96) << 24);
        }
        world_close(&w);
    }
}

/* Nothing happens behind a fault. */
static void test_stops(void **state) {
    (void)state;
    struct world w;
    world_open(&w, PTX_HEAD ".visible .entry k(.param .u64 out)\n"
                            "{ .reg .b32 %r<4>; .reg .b64 %rd<4>; ld.param.u64 %rd1, [out]; st.global.u32 [%rd1], 1;\n"
                            "st.global.u32 [%rd1+64], 2; st.global.u32 [%rd1+4], 3; ret; }\n");
    uint32_t *out = world_alloc(&w, 64);
    memset(out, 0, 64);
    world_run_bad(&w, &out, SG_FAULT_OUT_OF_BOUNDS, "'st.global.u32 [%rd1+64], 2'");
    assert_int_equal(out[0], 1);
    assert_int_equal(out[1], 0);
    world_close(&w);
}

/* Warp 0 writes, then publishes; warp 1 waits until all 32 lanes have, and reads. `publish` adds 1 to [%r3] or, by lane
 * 0 alone (%p2), stores 32; `wait` loads %r7 from there. */
static void check_flag(const char *publish, const char *wait, bool good) {
    char text[1600];
    for (uint64_t seed = 0; seed < 6; seed++) {
        struct world w;
        snprintf(text, sizeof text,
                 PTX_HEAD
                 ".visible .entry k(.param .u64 out)\n"
                 "{ .shared .align 16 .b8 buf[512]; .reg .pred %%p<4>; .reg .b32 %%r<12>; .reg .b64 %%rd<9>;\n"
                 "mov.u32 %%r1, %%tid.x; mov.u32 %%r2, buf; add.u32 %%r3, %%r2, 256; setp.eq.u32 %%p2, %%r1, 0;\n"
                 "@%%p2 st.shared.u32 [%%r3], 0; bar.sync 0; shl.b32 %%r4, %%r1, 2; add.u32 %%r4, %%r2, %%r4;\n"
                 "setp.lt.u32 %%p1, %%r1, 32; @!%%p1 bra READER; st.shared.u32 [%%r4], %%r1; %s bra END;\n"
                 "READER: %s setp.ne.u32 %%p3, %%r7, 32; @%%p3 bra READER; ld.shared.u32 %%r6, [%%r4+-128];\n"
                 "ld.param.u64 %%rd1, [out]; mul.wide.u32 %%rd2, %%r1, 4; add.u64 %%rd1, %%rd1, %%rd2;\n"
                 "st.global.u32 [%%rd1], %%r6; END: ret; }\n",
                 publish, wait);
        world_open(&w, text);
        uint32_t *out = world_alloc(&w, 256);
        w.launch.block[0] = 64;
        w.launch.seed = seed;
        if (good) {
            world_run_good(&w, &out);
            for (uint32_t k = 0; k < 32; k++)
                assert_int_equal(out[32 + k], k);
        } else {
            world_run_bad(&w, &out, SG_FAULT_RACE, "no barrier lies between");
        }
        world_close(&w);
    }
}

static void test_flags(void **state) {
    (void)state;
    const char *acquires = "ld.acquire.cta.shared.u32 %r7, [%r3];", *relaxed = "ld.relaxed.cta.shared.u32 %r7, [%r3];";
    check_flag("red.release.cta.shared.add.u32 [%r3], 1;", acquires, true);
    check_flag("red.acq_rel.cta.shared.add.u32 [%r3], 1;", "atom.acquire.cta.shared.or.b32 %r7, [%r3], 0;", true);
    check_flag("fence.acq_rel.cta; red.relaxed.cta.shared.add.u32 [%r3], 1;",
               "ld.relaxed.cta.shared.u32 %r7, [%r3]; fence.acq_rel.cta;", true);
    check_flag("membar.cta; red.shared.add.u32 [%r3], 1;", "ld.volatile.shared.u32 %r7, [%r3]; membar.cta;", true);
    check_flag("bar.warp.sync -1; @%p2 st.release.cta.shared.u32 [%r3], 32;", acquires, true);
    /* the same without an order */
    check_flag("red.relaxed.cta.shared.add.u32 [%r3], 1;", acquires, false);
    check_flag("red.shared.add.u32 [%r3], 1;", relaxed, false);
    check_flag("red.release.cta.shared.add.u32 [%r3], 1;", relaxed, false);
    check_flag("red.relaxed.cta.shared.add.u32 [%r3], 1;", "atom.shared.or.b32 %r7, [%r3], 0;", false);
    check_flag("@%p2 st.volatile.shared.u32 [%r3], 32;", acquires, false);
    check_flag("bar.warp.sync -1; @%p2 st.release.cta.shared.u32 [%r3], 32;", relaxed, false);
    check_flag("fence.acq_rel.cta; red.relaxed.cta.shared.add.u32 [%r3], 1;", relaxed, false);
    check_flag("fence.proxy.async; red.relaxed.cta.shared.add.u32 [%r3], 1;",
               "ld.relaxed.cta.shared.u32 %r7, [%r3]; fence.proxy.async;", false);
}

/* Warp 1 writes, and tells warp 0 by a barrier; warp 0 publishes what it has not written itself. */
static void test_flag_of_another(void **state) {
    (void)state;
    static const char *const publish[] = {"red.release.cta.shared.add.u32 [%r3], 1;",
                                          "fence.acq_rel.cta; red.relaxed.cta.shared.add.u32 [%r3], 1;",
                                          "red.relaxed.cta.shared.add.u32 [%r3], 1;"};
    char text[1600];
    for (uint64_t k = 0; k < 18; k++) {
        struct world w;
        snprintf(text, sizeof text,
                 PTX_HEAD
                 ".visible .entry k(.param .u64 out)\n"
                 "{ .shared .align 16 .b8 buf[512]; .reg .pred %%p<5>; .reg .b32 %%r<12>; .reg .b64 %%rd<9>;\n"
                 "mov.u32 %%r1, %%tid.x; mov.u32 %%r2, buf; add.u32 %%r3, %%r2, 256; setp.eq.u32 %%p2, %%r1, 0;\n"
                 "@%%p2 st.shared.u32 [%%r3], 0; bar.sync 0; and.b32 %%r4, %%r1, 31; shl.b32 %%r4, %%r4, 2;\n"
                 "add.u32 %%r4, %%r2, %%r4; shr.u32 %%r5, %%r1, 5; setp.eq.u32 %%p1, %%r5, 1;\n"
                 "@%%p1 bra WRITER; setp.eq.u32 %%p1, %%r5, 2; @%%p1 bra READER; bar.sync 1, 64; %s bra END;\n"
                 "WRITER: st.shared.u32 [%%r4], %%r1; bar.sync 1, 64; bra END;\n"
                 "READER: ld.acquire.cta.shared.u32 %%r7, [%%r3]; setp.ne.u32 %%p3, %%r7, 32; @%%p3 bra READER;\n"
                 "ld.shared.u32 %%r6, [%%r4]; ld.param.u64 %%rd1, [out]; mul.wide.u32 %%rd2, %%r1, 4;\n"
                 "add.u64 %%rd1, %%rd1, %%rd2; st.global.u32 [%%rd1], %%r6; END: ret; }\n",
                 publish[k % 3]);
        world_open(&w, text);
        uint32_t *out = world_alloc(&w, 384);
        w.launch.block[0] = 96;
        w.launch.seed = k / 3;
        if (k % 3 == 2)
            world_run_bad(&w, &out, SG_FAULT_RACE, "no barrier lies between");
        else
            world_run_good(&w, &out);
        for (uint32_t t = 0; t < 32 && k % 3 != 2; t++)
            assert_int_equal(out[64 + t], 32 + t);
        world_close(&w);
    }
}

static void test_launch(void **state) {
    (void)state;
    struct world w;
    world_open(&w, PTX_HEAD ".visible .entry k()\n.maxntid 64, 1, 1\n{ ret; }\n");
    world_run_good(&w, NULL);
    w.launch.block[0] = 96;
    world_run_bad(&w, NULL, SG_FAULT_LAUNCH, ".maxntid");
    w.launch.block[0] = 0;
    world_run_bad(&w, NULL, SG_FAULT_LAUNCH, "threads");
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_barriers),
        cmocka_unit_test(test_missing_barrier),
        cmocka_unit_test(test_race),
        cmocka_unit_test(test_divergent_barrier),
        cmocka_unit_test(test_deadlock),
        cmocka_unit_test(test_timeout_and_trap),
        cmocka_unit_test(test_out_of_bounds),
        cmocka_unit_test(test_async),
        cmocka_unit_test(test_async_without_barrier),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_stops),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_flag_of_another),
        cmocka_unit_test(test_launch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
