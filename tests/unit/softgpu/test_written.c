/* Which global memory has been written: by copies, fills and kernels, down to words; and what a kernel may do with the
 * rest. */
#include "driver.h"

static CUdeviceptr fresh(void) {
    CUdeviceptr x;
    good(cuMemAlloc_v2(&x, BYTES));
    return x;
}

/* `gather` adds 1 to the first n words of `src`. */
static void check_reads(struct fixture *f, CUdeviceptr src, unsigned n) {
    launch_gather(f, NULL, fresh(), src, n);
    good(cuCtxSynchronize());
}

/* … and is stopped at the word at byte `at` of `of`, where it is from. */
static void check_stops(struct fixture *f, CUdeviceptr src, unsigned n, CUdeviceptr of, unsigned at) {
    char text[100];
    snprintf(text, sizeof text, "global 0x%llx was never written; PTX line", (unsigned long long)of + at);
    launch_gather(f, NULL, fresh(), src, n);
    refused(cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED, text);
}

static void test_fresh(void **state) {
    CUdeviceptr x = fresh();
    check_stops(*state, x, 1, x, 0);
}

static void test_copies_and_fills(void **state) {
    uint32_t words[COUNT];
    random_words(words);
    CUdeviceptr x = fresh();
    good(cuMemcpyHtoD_v2(x, words, 400));
    check_reads(*state, x, 100);
    good(cuMemcpyHtoDAsync_v2(x + 400, words, 400, NULL));
    check_reads(*state, x, 200);
    good(cuMemsetD8_v2(x + 800, 1, 50)); /* half a word counts as written */
    check_reads(*state, x, 213);
    good(cuMemsetD32Async(x + 852, 5, 7, NULL));
    check_reads(*state, x, 220);
    check_stops(*state, x, 221, x, 880);
}

/* A copy of memory that was never written is not written. */
static void test_copies_on_the_device(void **state) {
    uint32_t words[COUNT];
    random_words(words);
    CUdeviceptr x = fresh(), y = fresh();
    good(cuMemcpyHtoD_v2(x + 40, words, 400));
    good(cuMemcpyDtoD_v2(y, x, BYTES));
    check_reads(*state, y + 40, 100);
    good(cuMemcpyDtoD_v2(y, x + 40, 40)); /* what was lacking before */
    check_reads(*state, y, 110);
    good(cuMemcpyDtoD_v2(y + 36, x, 40));
    check_stops(*state, y, 110, y, 36);
}

static void test_kernels(void **state) {
    struct fixture *f = *state;
    uint32_t words[COUNT];
    CUdeviceptr x = random_buffer(words), y = fresh();
    launch_gather(f, NULL, y, x, 300);
    check_reads(f, y, 300);
    good(launch_store(f, y, 1200, 7));
    check_reads(f, y, 301);
    check_stops(f, y, 302, y, 1204);
}

/* What the host can see is taken as written, and a free allocation that comes again is fresh. */
static void test_kinds(void **state) {
    void *host;
    CUdeviceptr x;
    good(cuMemHostAlloc(&host, BYTES, 0));
    good(cuMemHostGetDevicePointer_v2(&x, host, 0));
    check_reads(*state, x, COUNT);
    good(cuMemFreeHost(host));
    x = fresh();
    good(cuMemsetD32_v2(x, 1, COUNT));
    good(cuMemFree_v2(x));
    good(cuMemAllocAsync(&x, BYTES, NULL));
    check_stops(*state, x, 1, x, 0);
}

/* ---- asynchronous copies bring what was never written into shared memory, atomics use it ---- */

static const char more_ptx[] =
    ".address_size 64\n.global .b32 counter;\n"
    ".visible .entry pass(.param .u64 px, .param .u64 po, .param .u32 pn)\n"
    "{ .reg .b32 %r<9>; .reg .b64 %rd<5>; .reg .pred %p; .shared .align 16 .b8 buf[512];\n"
    "ld.param.u64 %rd1, [px]; ld.param.u64 %rd2, [po]; ld.param.u32 %r5, [pn]; mov.u32 %r1, %tid.x;\n"
    "mul.wide.u32 %rd3, %r1, 16; add.u64 %rd3, %rd1, %rd3; mov.u32 %r2, buf; shl.b32 %r3, %r1, 4;\n"
    "add.u32 %r3, %r2, %r3; cp.async.cg.shared.global [%r3], [%rd3], 16; cp.async.wait_all;\n"
    "ld.shared.u32 %r4, [%r3]; setp.lt.u32 %p, %r1, %r5; mul.wide.u32 %rd4, %r1, 4; add.u64 %rd4, %rd2, %rd4;\n"
    "@%p st.global.u32 [%rd4], %r4; ret; }\n"
    ".visible .entry count(.param .u64 px)\n{ .reg .b32 %r<2>; .reg .b64 %rd<2>; ld.param.u64 %rd1, [px];\n"
    "atom.global.add.u32 %r1, [counter], 1; atom.global.exch.b32 %r1, [%rd1+4], 1;\n"
    "red.global.add.u32 [%rd1], 1; ret; }\n";

static void test_other_accesses(void **state) {
    (void)state;
    CUmodule module;
    CUfunction pass, count;
    CUdeviceptr x = fresh(), out = fresh();
    unsigned n = 10;
    good(cuModuleLoadData(&module, ptx_for("sm_80", more_ptx)));
    good(cuModuleGetFunction(&pass, module, "pass"));
    good(cuModuleGetFunction(&count, module, "count"));
    good(cuMemsetD32_v2(x, 3, 40));
    void *params[] = {&x, &out, &n};
    good(cuLaunchKernel(pass, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
    good(cuCtxSynchronize());
    good(cuLaunchKernel(count, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL)); /* variables of a module have values */
    good(cuCtxSynchronize());
    n = 11;
    good(cuLaunchKernel(pass, 1, 1, 1, 32, 1, 1, 0, NULL, params, NULL));
    refused(cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED,
            "lane 10, PTX line 11 '@%p st.global.u32 [%rd4], %r4': shared");
}

static void test_atomics(void **state) {
    (void)state;
    CUmodule module;
    CUfunction count;
    CUdeviceptr x = fresh();
    good(cuModuleLoadData(&module, ptx_for("sm_80", more_ptx)));
    good(cuModuleGetFunction(&count, module, "count"));
    void *params[] = {&x};
    good(cuLaunchKernel(count, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    refused(cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED, "'red.global.add.u32 [%rd1], 1': global 0x");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        driver_test(test_fresh),
        driver_test(test_copies_and_fills),
        driver_test(test_copies_on_the_device),
        driver_test(test_kernels),
        driver_test(test_kinds),
        driver_test(test_other_accesses),
        driver_test(test_atomics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
