/* Launches that are only timed: which CTAs stand for the grid, what is logged and traced of them, when one is run after
 * all; and the code of each kind of fault. */
#include "driver.h"
#include <math.h>

/* Threads of CTA x of column (x, y) loop once and, where bit x of `heavy` is set, 100 times more. It counts the CTAs
 * that ran at `seen`, which an estimate leaves alone. `trap`: the word at `gate` must not be zero. */
static const char work_body[] =
    ".address_size 64\n"
    ".visible .entry work(.param .u64 pseen, .param .u64 pgate, .param .u64 pheavy)\n"
    "{ .reg .pred %p<4>; .reg .b32 %r<9>; .reg .b64 %rd<9>;\n"
    "ld.param.u64 %rd1, [pseen]; ld.param.u64 %rd2, [pgate]; ld.param.u64 %rd3, [pheavy]; mov.u32 %r1, %ctaid.x;\n"
    "shr.u64 %rd4, %rd3, %r1; and.b64 %rd4, %rd4, 1; setp.ne.u64 %p1, %rd4, 0; selp.u32 %r2, 1000, 10, %p1;\n"
    "setp.eq.u64 %p2, %rd2, 0; @%p2 bra LOOP; ld.global.u32 %r3, [%rd2]; setp.eq.u32 %p3, %r3, 0; @%p3 trap;\n"
    "LOOP: sub.u32 %r2, %r2, 1; setp.ne.u32 %p1, %r2, 0; @%p1 bra LOOP; atom.global.add.u32 %r4, [%rd1], 1; ret; }\n"
    ".visible .entry sparse(.param .u64 px, .param .u64 preads)\n"
    "{ .reg .pred %p<4>; .reg .b32 %r<9>; .reg .b64 %rd<9>; ld.param.u64 %rd1, [px]; ld.param.u64 %rd2, [preads];\n"
    "mov.u32 %r1, %ctaid.x; shr.u64 %rd3, %rd2, %r1; and.b64 %rd3, %rd3, 1; setp.ne.u64 %p1, %rd3, 0;\n"
    "@%p1 ld.global.u32 %r2, [%rd1]; ret; }\n"
    ".visible .entry fail(.param .u64 px, .param .u32 kind)\n"
    "{ .reg .pred %p<4>; .reg .b32 %r<9>; .reg .b64 %rd<9>; .shared .align 4 .b8 buf[64]; ld.param.u64 %rd1, [px];\n"
    "ld.param.u32 %r1, [kind]; T: .branchtargets T0, T1, T2, T3, T4, T5, T6; brx.idx %r1, T;\n"
    "T0: st.global.u32 [%rd1+64], %r1; ret; T1: st.global.u32 [%rd1+2], %r1; ret; T2: trap; T3: bra T3;\n"
    "T4: ld.shared.u32 %r2, [buf]; add.u32 %r2, %r2, 1; ret; T5: { call.uni nowhere; } ret;\n"
    "T6: { .param .b64 a; .param .b32 l; cvta.global.u64 %rd2, text; st.param.b64 [a], %rd2; st.param.b32 [l], 5;\n"
    "call.uni __assertfail, (a, a, l, a, a); } ret; }\n"
    ".extern .func nowhere();\n";
static const char text_of_assert[] =
    ".extern .func __assertfail(.param .b64 m, .param .b64 f, .param .b32 l, .param .b64 n, .param .b64 s);\n"
    ".extern .func nowhere();\n.global .b8 text[3] = {110, 111, 0};\n";

struct timed {
    CUmodule module;
    CUfunction work, sparse, fail;
    CUdeviceptr seen, gate;
    CUevent begin, end;
};

static struct timed open_timed(void) {
    struct timed t;
    static char body[4096];
    snprintf(body, sizeof body, "%s%s", text_of_assert, work_body);
    good(cuModuleLoadData(&t.module, ptx_for("sm_80", body)));
    good(cuModuleGetFunction(&t.work, t.module, "work"));
    good(cuModuleGetFunction(&t.sparse, t.module, "sparse"));
    good(cuModuleGetFunction(&t.fail, t.module, "fail"));
    good(cuMemAlloc_v2(&t.seen, 4));
    good(cuMemAlloc_v2(&t.gate, 4));
    good(cuMemsetD32_v2(t.seen, 0, 1));
    good(cuMemsetD32_v2(t.gate, 1, 1));
    good(cuEventCreate(&t.begin, 0));
    good(cuEventCreate(&t.end, 0));
    return t;
}

static CUresult launch_work(const struct timed *t, unsigned grid, unsigned deep, CUdeviceptr gate, uint64_t heavy) {
    CUdeviceptr seen = t->seen;
    void *params[] = {&seen, &gate, &heavy};
    return cuLaunchKernel(t->work, grid, 1, deep, 1, 1, 1, 0, NULL, params, NULL);
}

/* Modelled microseconds of one launch that is only timed. */
static float time_work(const struct timed *t, unsigned grid, unsigned deep, CUdeviceptr gate, uint64_t heavy) {
    float ms = -1;
    good(cuEventRecord(t->begin, NULL));
    good(launch_work(t, grid, deep, gate, heavy));
    good(cuEventRecord(t->end, NULL));
    good(cuEventSynchronize(t->end));
    good(cuEventElapsedTime(&ms, t->begin, t->end));
    return ms * 1000;
}

static uint32_t word_of(CUdeviceptr x) {
    uint32_t word = 0;
    good(cuMemcpyDtoH_v2(&word, x, 4));
    return word;
}

/* What the driver says of the estimates: SOFTGPU_LOG. */
static void test_log(void **state) {
    (void)state;
    struct timed t = open_timed();
    char said[2048];
    struct capture capture;
    cu_device.log = true;
    capture_begin(&capture, STDERR_FILENO);
    time_work(&t, 5, 2, 0, 0);
    capture_end(&capture, said, sizeof said);
    static const char *const parts[] = {
        "softgpu: estimated work grid 5x1x2 block 1x1x1 shared 0 registers 40 (estimated) "
        "CTAs/SM 32: ",
        " us modelled, limit latency (host "};
    for (int k = 0; k < 2; k++)
        if (!strstr(said, parts[k]))
            fail_msg("'%s' lacks '%s'", said, parts[k]);
    assert_ptr_equal(strchr(said, '\n'), said + strlen(said) - 1); /* one line */
    capture_begin(&capture, STDERR_FILENO);
    assert_int_equal(word_of(t.seen), 10); /* now it has to run; its time is known, and not told again */
    good(launch_work(&t, 3, 1, 0, 0));
    good(cuCtxSynchronize());
    capture_end(&capture, said, sizeof said);
    assert_ptr_equal(strstr(said, "softgpu: ran work grid 3x1x1"), said);
    cu_device.log = false;
}

/* A line for each estimate, and none for what is run: SOFTGPU_TRACE. */
static void test_trace(void **state) {
    (void)state;
    struct timed t = open_timed();
    char path[] = "/tmp/soft-estimate-XXXXXX", got[4096] = "";
    close(mkstemp(path));
    setenv("SOFTGPU_TRACE", path, 1);
    setenv("SOFTGPU_TRACE_LABEL", "tile=\"8\\\"\t", 1);
    time_work(&t, 4, 1, 0, 0);
    time_work(&t, 4, 1, 0, 0); /* is known */
    good(launch_work(&t, 2, 1, 0, 0));
    good(cuCtxSynchronize());
    unsetenv("SOFTGPU_TRACE_LABEL");
    time_work(&t, 6, 1, t.gate, 0);
    unsetenv("SOFTGPU_TRACE");
    time_work(&t, 7, 1, 0, 0);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    got[fread(got, 1, sizeof got - 1, file)] = 0;
    fclose(file);
    unlink(path);
    const char *first =
        "{\"label\":\"tile=\\\"8\\\\\\\"\\u0009\",\"kernel\":\"work\",\"counted\":4,\"ctas\":4,\"threads\":1,"
        "\"ctas_per_sm\":32,\"distinct\":4,\"footprint\":4,\"wgmma\":false,\"counters\":{\"warp_instructions\":";
    assert_memory_equal(got, first, strlen(first));
    char *second = strchr(got, '\n') + 1;
    const char *next = "{\"label\":\"\",\"kernel\":\"work\",\"counted\":6,\"ctas\":6,";
    assert_memory_equal(second, next, strlen(next));
    assert_non_null(strstr(second, "\"distinct\":8,\"footprint\":8,")); /* what is only within reach does not count */
    assert_null(strchr(strchr(second, '\n') + 1, '\n'));                /* two lines */
    assert_non_null(strstr(got, "\"atomics\":4,"));
    assert_non_null(strstr(second, "\"atomics\":6,"));
    assert_non_null(strstr(got, "},\"seconds\":"));
}

/* A counter that an estimate of the whole grid was made with. */
static uint64_t traced(const char *name, const struct timed *t, CUfunction function, unsigned grid, unsigned deep,
                       void **params) {
    char path[] = "/tmp/soft-estimate-XXXXXX", line[2048] = "", key[64];
    close(mkstemp(path));
    setenv("SOFTGPU_TRACE", path, 1);
    good(cuEventRecord(t->begin, NULL));
    good(cuLaunchKernel(function, grid, 1, deep, 1, 1, 1, 0, NULL, params, NULL));
    good(cuEventRecord(t->end, NULL));
    good(cuEventSynchronize(t->end));
    unsetenv("SOFTGPU_TRACE");
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof line, file));
    fclose(file);
    unlink(path);
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(line, key);
    assert_non_null(at);
    return strtoull(at + strlen(key), NULL, 10);
}

static uint64_t traced_work(const struct timed *t, unsigned grid, unsigned deep, uint64_t heavy) {
    CUdeviceptr seen = t->seen, gate = 0;
    void *params[] = {&seen, &gate, &heavy};
    return traced("warp_instructions", t, t->work, grid, deep, params);
}

/* Columns of which some read nothing, with the same instructions. */
static uint64_t traced_reads(const struct timed *t, unsigned grid, uint64_t reads) {
    CUdeviceptr gate = t->gate;
    void *params[] = {&gate, &reads};
    return traced("global_bytes_read", t, t->sparse, grid, 1, params);
}

/* Columns at the ends and in the middle are run, and more where neighbours differ. Each stands for those up to half way
 * to the next. So many of 60 columns are taken to be heavy: */
static void test_samples(void **state) {
    (void)state;
    struct timed t = open_timed();
    const uint64_t light = traced_work(&t, 1, 1, 0), more = traced_work(&t, 1, 1, 1) - light;
    static const struct {
        uint64_t heavy;
        unsigned grid, columns;
    } cases[] = {
        {0, 60, 0},
        {~0ull, 60, 60},
        {1ull << 17, 60, 0}, /* no sample meets it */
        {1, 60, 1},
        {1ull << 59, 60, 1},
        {1ull << 30, 60, 1},
        {(1ull << 30) - 1, 60, 30},
        {(1ull << 20) - 1, 60, 20},
        {0x5555555555555555, 60, 45}, /* every other one: no 32 samples tell */
        {1, 1, 1},
        {2, 2, 1},
        {5, 3, 2},
        {6, 4, 2},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const uint64_t got = traced_work(&t, cases[k].grid, 2, cases[k].heavy);
        const uint64_t want = 2 * (cases[k].grid * light + cases[k].columns * more);
        if (got != want)
            fail_msg("heavy columns %llx of %u: %llu were taken for heavy, not %u", (unsigned long long)cases[k].heavy,
                     cases[k].grid, (unsigned long long)((got / 2 - cases[k].grid * light) / more), cases[k].columns);
    }
}

/* A ragged last column runs what the others run and reads less: it stands for itself alone. */
static void test_samples_of_reads(void **state) {
    (void)state;
    struct timed t = open_timed();
    assert_int_equal(traced_reads(&t, 60, ~0ull), 60 * 4);
    assert_int_equal(traced_reads(&t, 60, (1ull << 59) - 1), 59 * 4);
    assert_int_equal(traced_reads(&t, 60, ((1ull << 59) - 1) & ~(1ull << 9)), 59 * 4); /* which no sample meets */
    assert_int_equal(traced_reads(&t, 60, (1ull << 10) - 1), 10 * 4);
}

/* A kernel that faults in a sample, for its input is not there yet: it is run, behind what it depends on. */
static void test_run_after_all(void **state) {
    const struct fixture *f = *state;
    struct timed t = open_timed();
    float ms = -1;
    unsigned n = 1, mul = 0, add = 1;
    good(cuMemsetD32_v2(t.gate, 0, 1));
    void *params[] = {&t.gate, &n, &mul, &add};
    good(cuEventRecord(t.begin, NULL));
    good(cuLaunchKernel(f->affine, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL)); /* opens the gate */
    good(launch_work(&t, 9, 1, t.gate, 0));
    good(cuEventRecord(t.end, NULL));
    good(cuEventSynchronize(t.end));
    good(cuEventElapsedTime(&ms, t.begin, t.end));
    assert_true(ms > 0.002f);
    assert_int_equal(word_of(t.seen), 9);
    good(cuMemsetD32_v2(t.gate, 0, 1)); /* and one that faults there, too */
    good(cuEventRecord(t.begin, NULL));
    good(launch_work(&t, 11, 1, t.gate, 0));
    good(cuEventRecord(t.end, NULL));
    refused(cuEventSynchronize(t.end), CUDA_ERROR_LAUNCH_FAILED, "'@%p3 trap': the kernel stopped itself");
}

/* Fills before a launch are seen by its sample, those behind it are not. */
static void test_fills(void **state) {
    (void)state;
    struct timed t = open_timed();
    good(cuMemsetD32_v2(t.gate, 0, 1));
    good(cuEventRecord(t.begin, NULL));
    good(cuMemsetD32Async(t.gate, 7, 1, NULL));
    good(launch_work(&t, 5, 1, t.gate, 0));
    good(cuMemsetD32Async(t.gate, 0, 1, NULL));
    good(cuEventRecord(t.end, NULL));
    good(cuEventSynchronize(t.end));
    assert_int_equal(word_of(t.gate), 0);
    assert_int_equal(word_of(t.seen), 5);
}

/* The codes of the driver, one for each kind of fault. */
static void test_faults(void **state) {
    (void)state;
    static const struct {
        CUresult code;
        const char *text;
    } kinds[] = {{CUDA_ERROR_ILLEGAL_ADDRESS, "offset 64 of allocation"},
                 {CUDA_ERROR_MISALIGNED_ADDRESS, "is not a multiple of 4"},
                 {CUDA_ERROR_LAUNCH_FAILED, "the kernel stopped itself"},
                 {CUDA_ERROR_LAUNCH_TIMEOUT, "instructions"},
                 {CUDA_ERROR_LAUNCH_FAILED, "was never written"},
                 {CUDA_ERROR_ILLEGAL_INSTRUCTION, "a call of nowhere, which the module does not define"},
                 {CUDA_ERROR_ASSERT, "assertion 'no' failed in no, no:5"}};
    for (unsigned k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        CUcontext context;
        CUdeviceptr x;
        good(cuCtxCreate_v2(&context, 0, 0));
        struct timed t = open_timed();
        good(cuMemAlloc_v2(&x, 64));
        void *params[] = {&x, &k};
        good(cuLaunchKernel(t.fail, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
        refused(cuCtxSynchronize(), kinds[k].code, kinds[k].text);
        assert_int_equal(cuCtxSynchronize(), kinds[k].code);
        good(cuCtxDestroy_v2(context));
    }
}

/* Equal launches in a row are run until one changes nothing; the reach of a launch is found by its pointers. */
static void test_same_launches(void **state) {
    (void)state;
    struct timed t = open_timed();
    for (int k = 0; k < 6; k++)
        good(launch_work(&t, 3, 1, 0, 0)); /* each changes the count */
    good(cuCtxSynchronize());
    assert_int_equal(word_of(t.seen), 18);
    for (unsigned k = 1; k < 4; k++) { /* the grids differ */
        good(launch_work(&t, k, 1, 0, 0));
        good(launch_work(&t, 1, k, 0, 0));
    }
    good(cuCtxSynchronize());
    assert_int_equal(word_of(t.seen), 18 + 12);
}

int main(void) {
    setenv("SOFTGPU_DEVICE", "a100-sxm-80g", 1);
    setenv("SOFTGPU_WATCHDOG", "100000", 1);
    const struct CMUnitTest tests[] = {
        driver_test(test_log),           driver_test(test_trace),
        driver_test(test_samples),       driver_test(test_samples_of_reads),
        driver_test(test_run_after_all), driver_test(test_fills),
        driver_test(test_faults),        driver_test(test_same_launches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
