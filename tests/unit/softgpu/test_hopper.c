/* Hopper's mbarriers and bulk copies on the software device: what they do, byte by byte, and that every way of using
 * them wrongly is found and named. */
#include "hopper.h"
#include "runtime/softgpu/memory/tensor_map.h"

/* ---- arrivals and phases ---- */

enum { THREADS = 96, PHASES = 5 };

/* In phase p, thread t reads what thread (t + 40) % 96 wrote. */
static uint32_t exchanged(const uint32_t *in, uint32_t k) {
    return in[(k % THREADS + 40) % THREADS] + k / THREADS;
}

/* PHASES rounds of write, arrive, wait, read; a CTA barrier ends each. */
static void build_exchange(struct str *ptx, const char *init, const char *arrive, const char *wait) {
    head(ptx, TWO_POINTERS);
    str_printf(ptx,
               "%s bar.sync 0;\n"
               "mul.wide.u32 %%rd3, %%r1, 4; add.u64 %%rd4, %%rd1, %%rd3; ld.global.u32 %%r4, [%%rd4];\n"
               "add.u64 %%rd5, %%rd2, %%rd3; shl.b32 %%r5, %%r1, 2; add.u32 %%r6, %%r2, %%r5;\n"
               "add.u32 %%r7, %%r1, 40; rem.u32 %%r7, %%r7, 96; shl.b32 %%r7, %%r7, 2; add.u32 %%r7, %%r2, %%r7;\n"
               "mov.u32 %%r8, 0;\n"
               "PHASE: and.b32 %%r9, %%r8, 1; add.u32 %%r10, %%r4, %%r8; st.shared.u32 [%%r6], %%r10;\n"
               "%s\n%s\n"
               "ld.shared.u32 %%r11, [%%r7]; st.global.u32 [%%rd5], %%r11; add.u64 %%rd5, %%rd5, 384;\n"
               "bar.sync 0; add.u32 %%r8, %%r8, 1; setp.lt.u32 %%p2, %%r8, 5; @%%p2 bra PHASE; ret; }\n",
               init, arrive, wait);
}

#define TRY_PARITY  "A: mbarrier.try_wait.parity.shared::cta.b64 %p8, [bar], %r9; @!%p8 bra A;"
#define TEST_PARITY "A: mbarrier.test_wait.parity.shared::cta.b64 %p8, [bar], %r9; @!%p8 bra A;"
#define TRY_STATE   "A: mbarrier.try_wait.shared::cta.b64 %p8, [bar], %rd9; @!%p8 bra A;"
#define TEST_STATE  "A: mbarrier.test_wait.shared::cta.b64 %p8, [bar], %rd9; @!%p8 bra A;"
#define ARRIVE      "mbarrier.arrive.shared::cta.b64 %rd9, [bar];"

static void check_exchange(const char *init, const char *arrive, const char *wait, enum sg_fault_kind kind,
                           const char *text) {
    struct str ptx = {0};
    build_exchange(&ptx, init, arrive, wait);
    check_run(&ptx, THREADS, &(struct expectation){kind, text, exchanged, THREADS * PHASES, 1, 1});
    str_release(&ptx);
}

static void test_phases(void **state) {
    (void)state;
    check_exchange(INIT("96"), ARRIVE, TRY_PARITY, SG_FAULT_NONE, "");
    check_exchange(INIT("96"), ARRIVE, TEST_PARITY, SG_FAULT_NONE, "");
    check_exchange(INIT("96"), ARRIVE, TRY_STATE, SG_FAULT_NONE, "");
    check_exchange(INIT("96"), ARRIVE, TEST_STATE, SG_FAULT_NONE, "");
    /* one lane speaks for its warp */
    check_exchange(INIT("3"),
                   "bar.warp.sync 0xffffffff; and.b32 %r12, %r1, 31; setp.eq.u32 %p3, %r12, 7;\n"
                   "@%p3 mbarrier.arrive.shared::cta.b64 _, [bar];",
                   TRY_PARITY, SG_FAULT_NONE, "");
}

static void test_counts(void **state) {
    (void)state;
    /* warp 0 arrives twice for each of its threads */
    check_exchange(INIT("128"),
                   "setp.eq.u32 %p3, %r3, 0; selp.u32 %r12, 2, 1, %p3; "
                   "mbarrier.arrive.shared::cta.b64 %rd9, [bar], %r12;",
                   TRY_STATE, SG_FAULT_NONE, "");
    /* after the first phase warp 2 takes part no more; a CTA barrier still orders what it writes */
    check_exchange(INIT("96"),
                   "setp.ne.u32 %p3, %r3, 2; setp.eq.u32 %p4, %r8, 0; and.pred %p5, %p4, %p3; not.pred %p6, %p3;\n"
                   "and.pred %p6, %p6, %p4; @%p6 mbarrier.arrive_drop.shared::cta.b64 _, [bar]; bar.sync 1, 96;\n"
                   "@%p3 mbarrier.arrive.shared::cta.b64 _, [bar];",
                   TRY_PARITY, SG_FAULT_NONE, "");
    /* bytes announced and reported by hand */
    check_exchange(INIT("96"),
                   "@%p1 mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [bar], 100; mbarrier.arrive.shared::cta.b64 "
                   "_, [bar];\n"
                   "@%p1 mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [bar], 60;\n"
                   "@%p1 mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [bar], 40;",
                   TRY_PARITY, SG_FAULT_NONE, "");
}

static void test_wrong_arrivals(void **state) {
    (void)state;
    check_exchange("", ARRIVE, TRY_PARITY, SG_FAULT_UNINITIALIZED, "no initialised mbarrier");
    check_exchange(INIT("3"), "mbarrier.arrive.shared::cta.b64 _, [bar], 2;", TRY_PARITY, SG_FAULT_ASYNC,
                   "lacks only 1 of 3");
    check_exchange(INIT("97"), ARRIVE, TRY_PARITY, SG_FAULT_DEADLOCK,
                   "phase 0 lacks 1 of 97 arrivals (0 under way), 0 bytes");
    check_exchange(INIT("96"), "setp.ne.u32 %p3, %r1, 50; @%p3 mbarrier.arrive.shared::cta.b64 _, [bar];", TRY_PARITY,
                   SG_FAULT_DEADLOCK, "lacks 1 of 96 arrivals");
    check_exchange(INIT("0"), ARRIVE, TRY_PARITY, SG_FAULT_ASYNC, "1 to 2^20 - 1");
    check_exchange("@%p1 mbarrier.init.shared::cta.b64 [bar+4], 96;", ARRIVE, TRY_PARITY, SG_FAULT_MISALIGNED,
                   "multiple of 8");
    /* without the wait: nothing orders the read behind the write */
    check_exchange(INIT("96"), ARRIVE, "", SG_FAULT_UNINITIALIZED, "never written");
    /* the wait of the phase before last returns at once */
    check_exchange(INIT("96"), ARRIVE,
                   "xor.b32 %r9, %r9, 1; A: mbarrier.try_wait.parity.shared::cta.b64 %p8, [bar], %r9; @!%p8 bra A;",
                   SG_FAULT_UNINITIALIZED, "never written");
}

/* An mbarrier that is invalidated is one no more; the memory can hold another one. */
#define GONE "bar.sync 0; @%p1 mbarrier.inval.shared::cta.b64 [bar]; bar.sync 0;\n"
static void test_inval(void **state) {
    (void)state;
    const char *none = "there is no initialised mbarrier at shared 0x2000";
    check_exchange(INIT("7") GONE INIT("96"), ARRIVE, TRY_PARITY, SG_FAULT_NONE, "");
    check_exchange(INIT("96") GONE, ARRIVE, TRY_PARITY, SG_FAULT_UNINITIALIZED, none);
    check_exchange("bar.sync 0; @%p1 mbarrier.inval.shared::cta.b64 [bar];", ARRIVE, TRY_PARITY, SG_FAULT_UNINITIALIZED,
                   none);
    /* of two the other one stays */
    check_exchange("@%p1 mbarrier.init.shared::cta.b64 [bar+8], 5;\n" INIT(
                       "96") "bar.sync 0; @%p1 mbarrier.inval.shared::cta.b64 [bar+8];\n",
                   ARRIVE, TRY_PARITY, SG_FAULT_NONE, "");
}

static void test_limits(void **state) {
    (void)state;
    check_exchange(INIT("96") "@%p1 mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [bar], 1048576;\n", ARRIVE,
                   TRY_PARITY, SG_FAULT_ASYNC, "1048576 bytes announced at mbarrier 0x2000; 2^20 - 1 are the most");
    check_exchange(INIT("96") "@%p1 mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [bar], 1048576;\n", ARRIVE,
                   TRY_PARITY, SG_FAULT_ASYNC, "-1048576 bytes announced");
    check_exchange(INIT("96") "@%p1 mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [bar], 1048575;\n"
                              "@%p1 mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [bar], 1048575;\n",
                   ARRIVE, TRY_PARITY, SG_FAULT_NONE, "");
    check_exchange("@%p1 mbarrier.init.shared::cta.b64 [bar], 1048576;\n", ARRIVE, TRY_PARITY, SG_FAULT_ASYNC,
                   "an mbarrier for 1048576 arrivals; 1 to 2^20 - 1 are possible");
    /* as many as a CTA can have, and one more */
    for (int count = 63; count <= 64; count++) {
        struct str ptx = {0}, init = {0};
        struct world w;
        str_append(&init, INIT("96"));
        for (int k = 0; k < count; k++)
            str_printf(&init, "@%%p1 mbarrier.init.shared::cta.b64 [%%r2+%d], 1;\n", 8 * k);
        build_exchange(&ptx, init.data, "trap;", "");
        world_open(&w, ptx.data);
        struct pointers p = {world_alloc(&w, 8192), world_alloc(&w, 8192)};
        w.launch.block[0] = THREADS;
        if (count == 63)
            world_run_bad(&w, &p, SG_FAULT_TRAP, "");
        else
            world_run_bad(&w, &p, SG_FAULT_UNSUPPORTED, "more than 64 mbarriers in a CTA");
        world_close(&w);
        str_release(&ptx);
        str_release(&init);
    }
}

/* A generic address of an mbarrier is as good as one of the window. */
static void test_generic(void **state) {
    (void)state;
    const char *generic = "mov.u64 %rd10, bar; cvta.shared.u64 %rd10, %rd10; mbarrier.arrive.b64 %rd9, [%rd10];";
    check_exchange(INIT("96"), generic, "A: mbarrier.try_wait.b64 %p8, [%rd10], %rd9; @!%p8 bra A;", SG_FAULT_NONE, "");
    check_exchange("mov.u64 %rd10, bar; cvta.shared.u64 %rd10, %rd10; @%p1 mbarrier.init.b64 [%rd10], 96;\n", ARRIVE,
                   TRY_PARITY, SG_FAULT_NONE, "");
}

/* Initialised, but only thread 0's warp can know. */
static void test_init_without_barrier(void **state) {
    (void)state;
    struct str ptx = {0};
    head(&ptx, TWO_POINTERS);
    str_append(&ptx, INIT("64") "A: @!%p1 bra B;\nB: mbarrier.arrive.shared::cta.b64 _, [bar];\n");
    wait_parity(&ptx, "C", "0");
    str_append(&ptx, "ret; }\n");
    bool raced = false;
    for (uint64_t seed = 0; seed < 8; seed++) {
        struct world w;
        world_open(&w, ptx.data);
        uint32_t *in = world_alloc(&w, 4);
        struct pointers p = {in, in};
        w.launch.block[0] = 64;
        w.launch.seed = seed;
        assert_false(world_run(&w, &p));
        assert_true(w.fault.kind == SG_FAULT_UNINITIALIZED || w.fault.kind == SG_FAULT_RACE);
        raced |= w.fault.kind == SG_FAULT_RACE;
        world_close(&w);
    }
    assert_true(raced);
    str_release(&ptx);
}

/* ---- cp.async that arrives ---- */

static uint32_t chunks_reversed(const uint32_t *in, uint32_t k) {
    return in[(k / 4 ^ 63) * 4 + k % 4];
}

/* 64 threads copy 16 bytes each and read those of thread 63 - t. */
static void check_cp_async(const char *init, const char *arrive, enum sg_fault_kind kind, const char *text) {
    struct str ptx = {0};
    head(&ptx, TWO_POINTERS);
    str_printf(&ptx,
               "%s bar.sync 0; shl.b32 %%r4, %%r1, 4; add.u32 %%r5, %%r2, %%r4; mul.wide.u32 %%rd3, %%r1, 16;\n"
               "add.u64 %%rd4, %%rd1, %%rd3; cp.async.cg.shared.global [%%r5], [%%rd4], 16;\n%s\n",
               init, arrive);
    wait_parity(&ptx, "A", "0");
    str_append(&ptx, "xor.b32 %r6, %r5, 1008; ld.shared.v4.u32 {%r8, %r9, %r10, %r11}, [%r6]; add.u64 %rd5, %rd2, "
                     "%rd3;\nst.global.v4.u32 [%rd5], {%r8, %r9, %r10, %r11}; ret; }\n");
    check_run(&ptx, 64, &(struct expectation){kind, text, chunks_reversed, 256, 1, 1});
    str_release(&ptx);
}

static void test_cp_async_arrives(void **state) {
    (void)state;
    check_cp_async(INIT("64"), "cp.async.mbarrier.arrive.noinc.shared::cta.b64 [bar];", SG_FAULT_NONE, "");
    check_cp_async(INIT("64"),
                   "cp.async.mbarrier.arrive.shared::cta.b64 [bar]; mbarrier.arrive.shared::cta.b64 _, [bar];",
                   SG_FAULT_NONE, "");
    /* arriving says nothing about the copies */
    check_cp_async(INIT("64"), "mbarrier.arrive.shared::cta.b64 _, [bar];", SG_FAULT_ASYNC, "still in flight");
    /* with .noinc the arrivals count among those given to init */
    check_cp_async(INIT("128"), "cp.async.mbarrier.arrive.noinc.shared::cta.b64 [bar];", SG_FAULT_DEADLOCK,
                   "lacks 128 of 128 arrivals (64 under way), 0 bytes");
}

/* ---- bulk copies ---- */

/* Thread 0 starts a bulk copy; all 64 threads wait and write what they find: 1024 words in two halves. */
static void build_bulk(struct str *ptx, const char *init, const char *copy, const char *between, const char *after) {
    head(ptx, TWO_POINTERS);
    str_printf(ptx, "%s bar.sync 0;\n%s\n%s\n", init, copy, between);
    wait_parity(ptx, "WAIT", "0");
    str_printf(ptx,
               "shl.b32 %%r4, %%r1, 4; add.u32 %%r5, %%r2, %%r4; mul.wide.u32 %%rd3, %%r1, 16; add.u64 %%rd4, %%rd2, "
               "%%rd3; mov.u32 %%r6, 0;\n"
               "COPY: ld.shared.v4.u32 {%%r8, %%r9, %%r10, %%r11}, [%%r5]; st.global.v4.u32 [%%rd4], {%%r8, %%r9, "
               "%%r10, %%r11};\n"
               "add.u32 %%r5, %%r5, 1024; add.u64 %%rd4, %%rd4, 1024; add.u32 %%r6, %%r6, 1; setp.lt.u32 %%p2, %%r6, "
               "4; @%%p2 bra COPY;\n%s ret; }\n",
               after);
}

static void check_bulk(const char *init, const char *copy, const char *between, const char *after,
                       enum sg_fault_kind kind, const char *text) {
    struct str ptx = {0};
    build_bulk(&ptx, init, copy, between, after);
    check_run(&ptx, 64, &(struct expectation){kind, text, same_word, 1024, 1, 1});
    str_release(&ptx);
}

#define ONE_COPY   "@%p1 " BULK "[%r2], [%rd1], 4096, [bar];\n"
#define TWO_COPIES "@%p1 " BULK "[%r2], [%rd1], 3072, [bar]; @%p1 " BULK "[%r2+3072], [%rd1+3072], 1024, [bar];\n"

static void test_bulk(void **state) {
    (void)state;
    check_bulk(INIT("1") FENCE, EXPECT("4096") ONE_COPY, "", "", SG_FAULT_NONE, "");
    check_bulk(INIT("1") FENCE, EXPECT("4096") TWO_COPIES, "", "", SG_FAULT_NONE, "");
    check_bulk(INIT("1") "fence.proxy.async;\n", ONE_COPY EXPECT("4096"), "", "", SG_FAULT_NONE, "");
    /* what a copy counts */
    struct str ptx = {0};
    struct world w;
    build_bulk(&ptx, INIT("1") FENCE, EXPECT("4096") TWO_COPIES, "", "");
    world_open(&w, ptx.data);
    struct pointers p = {world_alloc(&w, 4096), world_alloc(&w, 4096)};
    w.launch.block[0] = 64;
    world_run_good(&w, &p);
    assert_int_equal(w.counters.async_bytes, 4096);
    assert_int_equal(w.counters.global_bytes_read, 4096);
    assert_int_equal(w.counters.max_inflight_bytes, 4096);
    assert_int_equal(w.counters.global_sectors, 128 + 128);  /* and what the threads write */
    assert_int_equal(w.counters.shared_wavefronts, 32 + 32); /* written by the copies, read by the threads */
    world_close(&w);
    str_release(&ptx);
}

static void test_wrong_bulk(void **state) {
    (void)state;
    const char *init = INIT("1") FENCE;
    check_bulk("", EXPECT("4096") ONE_COPY, "", "", SG_FAULT_UNINITIALIZED, "no initialised mbarrier");
    check_bulk(INIT("1"), EXPECT("4096") ONE_COPY, "", "", SG_FAULT_ASYNC,
               "neither fence.mbarrier_init nor fence.proxy.async");
    /* the wrong number of bytes: late, the copy waits for its phase; early, it has overfilled it */
    check_bulk(init, EXPECT("4112") ONE_COPY, "", "", SG_FAULT_DEADLOCK, "lacks 0 of 1 arrivals (0 under way), ");
    check_bulk(init, EXPECT("4080") ONE_COPY, "", "", SG_FAULT_DEADLOCK, "lacks 0 of 1 arrivals (0 under way), ");
    check_bulk(init, ONE_COPY, "", "", SG_FAULT_DEADLOCK, "lacks 1 of 1 arrivals");
    check_bulk(init, EXPECT("4096") ONE_COPY, "bar.sync 0; ld.shared.u32 %r4, [%r2];", "", SG_FAULT_ASYNC, "in flight");
    check_bulk(init, EXPECT("4096") ONE_COPY, "bar.sync 0; st.shared.u32 [%r2+256], %r1;", "", SG_FAULT_ASYNC,
               "in flight");
    check_bulk(init, EXPECT("4096") "@%p1 " BULK "[%r2+8], [%rd1], 4096, [bar];", "", "", SG_FAULT_MISALIGNED,
               "shared 0x");
    check_bulk(init, EXPECT("4096") "@%p1 " BULK "[%r2], [%rd1+8], 4096, [bar];", "", "", SG_FAULT_MISALIGNED,
               "multiples of 16");
    check_bulk(init, EXPECT("4096") "@%p1 " BULK "[%r2], [%rd1], 4088, [bar];", "", "", SG_FAULT_MISALIGNED,
               "multiples of 16");
    check_bulk(init, EXPECT("4096") "@%p1 " BULK "[%r2], [%rd1+4112], 4096, [bar];", "", "", SG_FAULT_OUT_OF_BOUNDS,
               "of allocation");
    check_bulk(init, EXPECT("4096") "@%p1 " BULK "[%r2+4144], [%rd1], 4096, [bar];", "", "", SG_FAULT_OUT_OF_BOUNDS,
               "bulk copy of 4096 bytes");
}

/* The next copy into the same bytes: after everybody has said to be done it is right, without that it is a race. */
static void test_stage_reused(void **state) {
    (void)state;
    const char *init = INIT("1") "@%p1 mbarrier.init.shared::cta.b64 [bar+8], 64;\n" FENCE;
    const char *done = "mbarrier.arrive.shared::cta.b64 _, [bar+8];\n"
                       "EMPTY: mbarrier.try_wait.parity.shared::cta.b64 %p8, [bar+8], 0; @!%p8 bra EMPTY;\n";
    const char *again = EXPECT("4096") ONE_COPY "FULL: mbarrier.try_wait.parity.shared::cta.b64 %p8, [bar], 1; @!%p8 "
                                                "bra FULL;";
    struct str reuse = {0};
    str_printf(&reuse, "%s%s", done, again);
    check_bulk(init, EXPECT("4096") ONE_COPY, "", reuse.data, SG_FAULT_NONE, "");
    str_release(&reuse);
    for (uint64_t seed = 0; seed < 8; seed++) {
        struct str ptx = {0};
        struct world w;
        build_bulk(&ptx, init, EXPECT("4096") ONE_COPY, "", again);
        /* both warps have passed the wait before either goes on */
        char *reading = strstr(ptx.data, "shl.b32 %r4, %r1, 4;");
        struct str whole = {0};
        str_append_bytes(&whole, ptx.data, (size_t)(reading - ptx.data));
        str_printf(&whole, "bar.sync 1;\n%s", reading);
        world_open(&w, whole.data);
        struct pointers p = {world_alloc(&w, 4096), world_alloc(&w, 4096)};
        w.launch.block[0] = 64;
        w.launch.seed = seed;
        world_run_bad(&w, &p, SG_FAULT_RACE, "warp 1 read it at PTX line ");
        assert_non_null(strstr(w.fault.text, "cp.async.bulk"));
        world_close(&w);
        str_release(&ptx);
        str_release(&whole);
    }
}

/* Both warps read the same word, at different times; who waits for both may write there, who does not may not. */
#define READ_AND_ARRIVE                                                                                                \
    "bar.sync 0; setp.eq.u32 %p3, %r3, 1; @%p3 fence.acq_rel.cta; @%p3 fence.acq_rel.cta; ld.shared.u32 %r12, "        \
    "[%r2];\n"                                                                                                         \
    "mbarrier.arrive.shared::cta.b64 _, [bar+8]; @!%p1 bra OVER;\n"
#define WAIT_FOR_BOTH "AGAIN: mbarrier.try_wait.parity.shared::cta.b64 %p4, [bar+8], 0; @!%p4 bra AGAIN;\n"
static void test_readers(void **state) {
    (void)state;
    const char *init = INIT("1") "@%p1 mbarrier.init.shared::cta.b64 [bar+8], 64;\n" FENCE;
    check_bulk(init, EXPECT("4096") ONE_COPY, "",
               READ_AND_ARRIVE WAIT_FOR_BOTH "st.shared.u32 [%r2], 0; OVER:", SG_FAULT_NONE, "");
    check_bulk(init, EXPECT("4096") ONE_COPY, "", READ_AND_ARRIVE "st.shared.u32 [%r2], 0; OVER:", SG_FAULT_RACE,
               "and no barrier lies between");
}

static void test_end_in_flight(void **state) {
    (void)state;
    for (int eager = 0; eager < 2; eager++) {
        struct str ptx = {0};
        struct world w;
        head(&ptx, TWO_POINTERS);
        str_append(&ptx, INIT("1") FENCE "bar.sync 0;" EXPECT("4096") ONE_COPY "ret; }\n");
        world_open(&w, ptx.data);
        struct pointers p = {world_alloc(&w, 4096), world_alloc(&w, 4096)};
        w.launch.block[0] = 64;
        w.launch.eager_async = eager;
        world_run_bad(&w, &p, SG_FAULT_ASYNC, "ended while this copy was in flight");
        world_close(&w);
        str_release(&ptx);
    }
}

/* ---- tensors ---- */

struct tensor_case {
    CUtensorMapSwizzle swizzle;
    unsigned width, rows; /* of the box: bytes, rows */
    int x, y;             /* its corner */
};
enum { TENSOR_WIDTH = 304, TENSOR_ROWS = 37, PITCH = 320 };

static void build_tensor(struct str *ptx, unsigned bytes) {
    head(ptx, ".param .align 64 .b8 map[128], .param .u64 in, .param .u64 out, .param .u32 x, .param .u32 y");
    str_append(ptx, "mov.b64 %rd7, map; cvta.param.u64 %rd8, %rd7; ld.param.u32 %r20, [x]; ld.param.u32 %r21, [y];\n"
                    "prefetch.tensormap [%rd8];\n" INIT("1") FENCE "bar.sync 0;\n");
    str_printf(ptx,
               "@%%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [bar], %u;\n"
               "@%%p1 cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%%r2], [%%rd8, "
               "{%%r20, %%r21}], [bar];\n",
               bytes);
    wait_parity(ptx, "WAIT", "0");
    str_printf(ptx,
               "shl.b32 %%r4, %%r1, 2; COPY: setp.ge.u32 %%p2, %%r4, %u; @%%p2 bra END; add.u32 %%r5, %%r2, %%r4;\n"
               "cvt.u64.u32 %%rd3, %%r4; add.u64 %%rd4, %%rd2, %%rd3; ld.shared.u32 %%r6, [%%r5]; st.global.u32 "
               "[%%rd4], %%r6;\n"
               "add.u32 %%r4, %%r4, 256; bra COPY; END: ret; }\n",
               bytes);
}

static CUresult encode(CUtensorMap *map, void *address, const struct tensor_case *t) {
    const cuuint64_t size[] = {TENSOR_WIDTH, TENSOR_ROWS}, stride[] = {PITCH};
    const cuuint32_t box[] = {t->width, t->rows}, step[] = {1, 1};
    return cuTensorMapEncodeTiled(map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, address, size, stride, box, step,
                                  CU_TENSOR_MAP_INTERLEAVE_NONE, t->swizzle, CU_TENSOR_MAP_L2_PROMOTION_NONE,
                                  CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

struct tensor_params {
    CUtensorMap map;
    void *in, *out;
    int x, y;
};

static void check_tensor(const struct tensor_case *t) {
    const unsigned bytes = t->width * t->rows;
    struct str ptx = {0};
    build_tensor(&ptx, bytes);
    for (int eager = 0; eager < 2; eager++) {
        struct world w;
        struct tensor_params p = {.x = t->x, .y = t->y};
        world_open(&w, ptx.data);
        uint8_t *in = world_alloc(&w, (TENSOR_ROWS - 1) * PITCH + TENSOR_WIDTH), *out = world_alloc(&w, bytes);
        p.in = in;
        p.out = out;
        w.launch.block[0] = 64;
        w.launch.eager_async = eager;
        assert_int_equal(encode(&p.map, in, t), CUDA_SUCCESS);
        world_run_good(&w, &p);
        for (unsigned r = 0; r < t->rows; r++)
            for (unsigned b = 0; b < t->width; b++) {
                int x = t->x + (int)b, y = t->y + (int)r;
                bool inside = x >= 0 && x < TENSOR_WIDTH && y >= 0 && y < TENSOR_ROWS;
                uint8_t want = inside ? in[y * PITCH + x] : 0;
                uint8_t got = out[r * t->width + chunk_place(t->swizzle, r, b / 16) * 16 + b % 16];
                if (got != want)
                    fail_msg("swizzle %d, row %u, byte %u: %u, not %u", (int)t->swizzle, r, b, got, want);
            }
        world_close(&w);
    }
    str_release(&ptx);
}

static void test_tensors(void **state) {
    (void)state;
    static const struct tensor_case cases[] = {
        {CU_TENSOR_MAP_SWIZZLE_128B, 128, 32, 0, 0},    {CU_TENSOR_MAP_SWIZZLE_128B, 128, 24, 256, 20},
        {CU_TENSOR_MAP_SWIZZLE_128B, 128, 16, -64, -5}, {CU_TENSOR_MAP_SWIZZLE_64B, 64, 40, 16, 2},
        {CU_TENSOR_MAP_SWIZZLE_64B, 64, 8, 288, 30},    {CU_TENSOR_MAP_SWIZZLE_32B, 32, 48, 32, 1},
        {CU_TENSOR_MAP_SWIZZLE_32B, 32, 16, -16, 36},   {CU_TENSOR_MAP_SWIZZLE_NONE, 240, 20, 80, 25},
        {CU_TENSOR_MAP_SWIZZLE_NONE, 16, 8, 304, 0},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        check_tensor(&cases[k]);
}

static void test_wrong_tensors(void **state) {
    (void)state;
    struct tensor_case t = {CU_TENSOR_MAP_SWIZZLE_64B, 128, 8, 0, 0};
    struct tensor_params p = {.x = 0, .y = 0};
    struct str ptx = {0};
    struct world w;
    build_tensor(&ptx, 1024);
    world_open(&w, ptx.data);
    p.in = world_alloc(&w, TENSOR_ROWS * PITCH);
    p.out = world_alloc(&w, 1024);
    w.launch.block[0] = 64;
    assert_int_equal(encode(&p.map, p.in, &t), CUDA_ERROR_INVALID_VALUE); /* wider than the swizzle spans */
    t.width = 24;
    assert_int_equal(encode(&p.map, p.in, &t), CUDA_ERROR_INVALID_VALUE);
    world_run_bad(&w, &p, SG_FAULT_ASYNC, "no 2-dimensional tensor map"); /* never encoded */
    t = (struct tensor_case){CU_TENSOR_MAP_SWIZZLE_128B, 128, 9, 0, 0};
    assert_int_equal(encode(&p.map, (uint8_t *)p.in + 8, &t), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(encode(&p.map, p.in, &t), CUDA_SUCCESS);
    w.launch.eager_async = false;
    world_run_bad(&w, &p, SG_FAULT_DEADLOCK, "1024 bytes (1152 under way)"); /* the announcement forgot a row */
    t.rows = 8;
    assert_int_equal(encode(&p.map, (uint8_t *)p.in + 256, &t), CUDA_SUCCESS);
    p.y = 30; /* the map reaches further than the allocation */
    world_run_bad(&w, &p, SG_FAULT_OUT_OF_BOUNDS, "of allocation");
    world_close(&w);
    str_release(&ptx);
}

/* What is refused when a map is made, each by itself. */
struct map_case {
    CUtensorMapDataType type;
    cuuint32_t rank;
    uintptr_t address;
    cuuint64_t size[5], stride[4];
    cuuint32_t box[5], step[5];
    CUtensorMapSwizzle swizzle;
    CUtensorMapInterleave interleave;
    CUtensorMapFloatOOBfill fill;
};

static CUresult encode_case(CUtensorMap *map, const struct map_case *c) {
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): no memory is looked at */
    return cuTensorMapEncodeTiled(map, c->type, c->rank, (void *)c->address, c->size, c->rank > 1 ? c->stride : NULL,
                                  c->box, c->step, c->interleave, c->swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                                  c->fill);
}

static void check_map(struct map_case c, CUresult want) {
    static CUtensorMap map; /* aligned as its type is */
    if (encode_case(&map, &c) != want)
        fail_msg("a map of rank %u, type %d, box %u x %u, step %u, swizzle %d gives not %d", c.rank, (int)c.type,
                 c.box[0], c.box[1], c.step[0], (int)c.swizzle, (int)want);
}

static void test_maps(void **state) {
    (void)state;
    const struct map_case good = {.type = CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
                                  .rank = 2,
                                  .address = 4096,
                                  .size = {100, 50},
                                  .stride = {208},
                                  .box = {64, 8},
                                  .step = {1, 1},
                                  .swizzle = CU_TENSOR_MAP_SWIZZLE_128B};
    struct map_case c = good;
#define BAD(change)  (c = good, change, check_map(c, CUDA_ERROR_INVALID_VALUE))
#define GOOD(change) (c = good, change, check_map(c, CUDA_SUCCESS))
    GOOD((void)0);
    BAD(c.box[0] = 72); /* 144 bytes, wider than the swizzle spans */
    BAD(c.box[0] = 60); /* 120 bytes, no multiple of 16 */
    BAD(c.address += 8);
    BAD(c.address = 0);
    BAD(c.rank = 0);
    BAD(c.rank = 6);
    BAD(c.size[0] = 0);
    BAD(c.size[1] = 1ull << 32);
    GOOD(c.size[1] = (1ull << 32) - 1);
    BAD(c.box[1] = 0);
    BAD(c.box[1] = 257);
    GOOD(c.box[1] = 256);
    BAD(c.step[1] = 2);
    BAD(c.step[0] = 0);
    BAD(c.stride[0] = 216);
    BAD(c.stride[0] = 1ull << 40);
    GOOD(c.stride[0] = (1ull << 40) - 16);
    BAD(c.interleave = CU_TENSOR_MAP_INTERLEAVE_16B);
    BAD(c.fill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NAN_REQUEST_ZERO_FMA);
    BAD(c.type = (CUtensorMapDataType)99);
    BAD(c.swizzle = (CUtensorMapSwizzle)77);
    GOOD((c.swizzle = CU_TENSOR_MAP_SWIZZLE_64B, c.box[0] = 32));
    BAD((c.swizzle = CU_TENSOR_MAP_SWIZZLE_64B, c.box[0] = 40));
    GOOD((c.swizzle = CU_TENSOR_MAP_SWIZZLE_32B, c.box[0] = 16));
    BAD((c.swizzle = CU_TENSOR_MAP_SWIZZLE_32B, c.box[0] = 24));
    GOOD((c.swizzle = CU_TENSOR_MAP_SWIZZLE_NONE, c.box[0] = 256));
    GOOD((c.type = CU_TENSOR_MAP_DATA_TYPE_FLOAT64, c.box[0] = 16));
    BAD((c.type = CU_TENSOR_MAP_DATA_TYPE_INT64, c.box[0] = 18));
    GOOD((c.type = CU_TENSOR_MAP_DATA_TYPE_TFLOAT32, c.box[0] = 32));
    BAD((c.type = CU_TENSOR_MAP_DATA_TYPE_INT32, c.box[0] = 36));
    GOOD((c.type = CU_TENSOR_MAP_DATA_TYPE_UINT8, c.box[0] = 128));
    GOOD(c.rank = 1);
    static CUtensorMap maps[2];
    assert_int_equal(encode_case(NULL, &good), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(encode_case((CUtensorMap *)(void *)((char *)maps + 32), &good), CUDA_ERROR_INVALID_VALUE);
}

/* A map in global memory, and what is wrong with the place of a copy. */
static void test_places_of_tensors(void **state) {
    (void)state;
    static const struct {
        const char *map, *to;
        int rank;
        enum sg_fault_kind kind;
        const char *text;
    } cases[] = {
        {"%rd2", "%r2", 2, SG_FAULT_NONE, ""},
        {"%rd2", "%r5", 2, SG_FAULT_MISALIGNED, "a tensor copy at shared 0x40, which is not a multiple of 128"},
        {"%rd3", "%r2", 2, SG_FAULT_OUT_OF_BOUNDS, "of allocation"},
        {"%rd4", "%r2", 2, SG_FAULT_ASYNC, "no 2-dimensional tensor map at 0x"},
        {"%rd2", "%r2", 1, SG_FAULT_ASYNC, "no 1-dimensional tensor map at 0x"}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct str ptx = {0};
        struct world w;
        head(&ptx, TWO_POINTERS);
        str_append(&ptx, INIT("1") FENCE);
        str_printf(
            &ptx,
            "bar.sync 0; add.u64 %%rd3, %%rd2, 8192; add.u64 %%rd4, %%rd2, 32; add.u32 %%r5, %%r2, 64;\n"
            "@%%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [bar], 1024; mov.u32 %%r6, 0;\n"
            "@%%p1 cp.async.bulk.tensor.%dd.shared::cluster.global.mbarrier::complete_tx::bytes [%s], [%s, {%s}], "
            "[bar];\n",
            cases[k].rank, cases[k].to, cases[k].map, cases[k].rank == 1 ? "%r6" : "%r6, %r6");
        wait_parity(&ptx, "WAIT", "0");
        str_append(&ptx,
                   "shl.b32 %r7, %r1, 2; cvt.u64.u32 %rd5, %r7; add.u32 %r7, %r2, %r7; ld.shared.u32 %r8, [%r7];\n"
                   "add.u64 %rd5, %rd2, %rd5; st.global.u32 [%rd5+1024], %r8; ret; }\n");
        world_open(&w, ptx.data);
        uint8_t *in = world_alloc(&w, TENSOR_ROWS * PITCH), *out = world_alloc(&w, 8192);
        struct pointers p = {in, out};
        const struct tensor_case t = {CU_TENSOR_MAP_SWIZZLE_NONE, 128, 8, 0, 0};
        assert_int_equal(encode((CUtensorMap *)(void *)out, in, &t), CUDA_SUCCESS);
        if (cases[k].kind == SG_FAULT_NONE) {
            world_run_good(&w, &p);
            assert_memory_equal(out + 1024, in, 128); /* of 32 threads the first row */
        } else {
            world_run_bad(&w, &p, cases[k].kind, cases[k].text);
        }
        world_close(&w);
        str_release(&ptx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inval),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_generic),
        cmocka_unit_test(test_maps),
        cmocka_unit_test(test_places_of_tensors),
        cmocka_unit_test(test_readers),
        cmocka_unit_test(test_phases),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_wrong_arrivals),
        cmocka_unit_test(test_init_without_barrier),
        cmocka_unit_test(test_cp_async_arrives),
        cmocka_unit_test(test_bulk),
        cmocka_unit_test(test_wrong_bulk),
        cmocka_unit_test(test_stage_reused),
        cmocka_unit_test(test_end_in_flight),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_wrong_tensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
