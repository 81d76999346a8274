/* The software device's driver: memory, the lazy queue, graphs, events, errors, images. */
#include "runtime/softgpu/cu_state.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* affine: x[i] = x[i] * mul + add, which does not commute. store_at: x[at] = value, anywhere. bump: a module variable
 * and no parameter. gather: dst[i] = src[i] + 1. */
static const char ptx_body[] =
    ".address_size 64\n"
    ".visible .entry affine(.param .u64 px, .param .u32 pn, .param .u32 pm, .param .u32 pa)\n"
    "{\n"
    ".reg .pred %p<2>; .reg .b32 %r<10>; .reg .b64 %rd<5>;\n"
    "ld.param.u64 %rd1, [px];\n"
    "ld.param.u32 %r5, [pn];\n"
    "ld.param.u32 %r6, [pm];\n"
    "ld.param.u32 %r7, [pa];\n"
    "mov.u32 %r1, %ctaid.x;\n"
    "mov.u32 %r2, %ntid.x;\n"
    "mov.u32 %r3, %tid.x;\n"
    "mad.lo.s32 %r4, %r1, %r2, %r3;\n"
    "setp.ge.u32 %p1, %r4, %r5;\n"
    "@%p1 bra DONE;\n"
    "cvta.to.global.u64 %rd2, %rd1;\n"
    "mul.wide.u32 %rd3, %r4, 4;\n"
    "add.s64 %rd4, %rd2, %rd3;\n"
    "ld.global.u32 %r8, [%rd4];\n"
    "mad.lo.s32 %r9, %r8, %r6, %r7;\n"
    "st.global.u32 [%rd4], %r9;\n"
    "DONE: ret;\n"
    "}\n"
    ".visible .entry gather(.param .u64 pd, .param .u64 ps, .param .u32 pn)\n"
    "{\n"
    ".reg .pred %p<2>; .reg .b32 %r<8>; .reg .b64 %rd<8>;\n"
    "ld.param.u64 %rd1, [pd];\n"
    "ld.param.u64 %rd2, [ps];\n"
    "ld.param.u32 %r5, [pn];\n"
    "mov.u32 %r1, %ctaid.x;\n"
    "mov.u32 %r2, %ntid.x;\n"
    "mov.u32 %r3, %tid.x;\n"
    "mad.lo.s32 %r4, %r1, %r2, %r3;\n"
    "setp.ge.u32 %p1, %r4, %r5;\n"
    "@%p1 bra DONE;\n"
    "mul.wide.u32 %rd3, %r4, 4;\n"
    "add.s64 %rd4, %rd2, %rd3;\n"
    "ld.global.u32 %r6, [%rd4];\n"
    "add.s32 %r7, %r6, 1;\n"
    "add.s64 %rd5, %rd1, %rd3;\n"
    "st.global.u32 [%rd5], %r7;\n"
    "DONE: ret;\n"
    "}\n"
    ".visible .entry store_at(.param .u64 px, .param .u64 pi, .param .u32 pv)\n"
    "{\n"
    ".reg .b32 %r<2>; .reg .b64 %rd<4>;\n"
    "ld.param.u64 %rd1, [px];\n"
    "ld.param.u64 %rd2, [pi];\n"
    "ld.param.u32 %r1, [pv];\n"
    "add.s64 %rd3, %rd1, %rd2;\n"
    "st.global.u32 [%rd3], %r1;\n"
    "ret;\n"
    "}\n";

/* Stores through a pointer that it loads from memory. */
static const char indirect_body[] = ".address_size 64\n"
                                    ".visible .entry indirect(.param .u64 pt, .param .u32 pv)\n"
                                    "{\n"
                                    ".reg .b32 %r<2>; .reg .b64 %rd<3>;\n"
                                    "ld.param.u64 %rd1, [pt];\n"
                                    "ld.param.u32 %r1, [pv];\n"
                                    "ld.global.u64 %rd2, [%rd1];\n"
                                    "st.global.u32 [%rd2], %r1;\n"
                                    "ret;\n"
                                    "}\n";

/* The first CTAs (pheavy of them) loop a hundred times as long as the others. */
static const char uneven_body[] = ".address_size 64\n"
                                  ".visible .entry uneven(.param .u64 px, .param .u32 pheavy)\n"
                                  "{\n"
                                  ".reg .pred %p<3>; .reg .b32 %r<5>; .reg .b64 %rd<2>; .reg .f64 %fd<6>;\n"
                                  "ld.param.u64 %rd1, [px];\n"
                                  "ld.param.u32 %r1, [pheavy];\n"
                                  "mov.u32 %r2, %ctaid.x;\n"
                                  "setp.lt.u32 %p1, %r2, %r1;\n"
                                  "selp.b32 %r3, 500, 5, %p1;\n"
                                  "mov.f64 %fd1, 0d3FF0000000000000;\n"
                                  "mov.f64 %fd2, %fd1; mov.f64 %fd3, %fd1; mov.f64 %fd4, %fd1;\n"
                                  "LOOP:\n"
                                  "add.f64 %fd1, %fd1, %fd2;\n"
                                  "add.f64 %fd2, %fd2, %fd3;\n"
                                  "add.f64 %fd3, %fd3, %fd4;\n"
                                  "add.f64 %fd4, %fd4, %fd1;\n"
                                  "sub.s32 %r3, %r3, 1;\n"
                                  "setp.ne.s32 %p2, %r3, 0;\n"
                                  "@%p2 bra LOOP;\n"
                                  "st.global.f64 [%rd1], %fd1;\n"
                                  "ret;\n"
                                  "}\n";

/* A module variable, and no parameter. */
static const char counter_body[] = ".address_size 64\n"
                                   ".visible .global .align 4 .u32 counter[4] = {5, 6, 7, 8};\n"
                                   ".visible .entry bump()\n"
                                   "{\n"
                                   ".reg .b32 %r<3>; .reg .b64 %rd<2>;\n"
                                   "mov.u64 %rd1, counter;\n"
                                   "ld.global.u32 %r1, [%rd1];\n"
                                   "add.s32 %r2, %r1, 1;\n"
                                   "st.global.u32 [%rd1], %r2;\n"
                                   "ret;\n"
                                   "}\n";

struct fixture {
    CUcontext context;
    CUmodule module;
    CUfunction affine, gather, store_at;
};

#define good(call) assert_int_equal(call, CUDA_SUCCESS)
#define COUNT      1000u
#define BYTES      (COUNT * 4)

static char *ptx_for(const char *target, const char *body) {
    static char text[8192];
    snprintf(text, sizeof text, ".version 8.0\n.target %s\n%s", target, body);
    return text;
}

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    good(cuInit(0));
    good(cuCtxCreate_v2(&f->context, 0, 0));
    good(cuModuleLoadData(&f->module, ptx_for("sm_80", ptx_body)));
    good(cuModuleGetFunction(&f->affine, f->module, "affine"));
    good(cuModuleGetFunction(&f->gather, f->module, "gather"));
    good(cuModuleGetFunction(&f->store_at, f->module, "store_at"));
    srand(7);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    good(cuCtxDestroy_v2(f->context));
    free(f);
    return 0;
}

static void launch_affine(struct fixture *f, CUstream stream, CUdeviceptr x, unsigned n, unsigned mul, unsigned add) {
    void *params[] = {&x, &n, &mul, &add};
    good(cuLaunchKernel(f->affine, (n + 127) / 128, 1, 1, 128, 1, 1, 0, stream, params, NULL));
}

static void launch_gather(struct fixture *f, CUstream stream, CUdeviceptr dst, CUdeviceptr src, unsigned n) {
    void *params[] = {&dst, &src, &n};
    good(cuLaunchKernel(f->gather, (n + 127) / 128, 1, 1, 128, 1, 1, 0, stream, params, NULL));
}

static CUresult launch_store(struct fixture *f, CUdeviceptr x, uint64_t at, unsigned value) {
    void *params[] = {&x, &at, &value};
    return cuLaunchKernel(f->store_at, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL);
}

static void random_words(uint32_t *out) {
    for (unsigned i = 0; i < COUNT; i++)
        out[i] = (uint32_t)rand() * 2654435761u + 1;
}

static CUdeviceptr random_buffer(uint32_t *words) {
    CUdeviceptr x;
    random_words(words);
    good(cuMemAlloc_v2(&x, BYTES));
    good(cuMemcpyHtoD_v2(x, words, BYTES));
    return x;
}

static void affine_host(uint32_t *x, uint32_t mul, uint32_t add) {
    for (unsigned i = 0; i < COUNT; i++)
        x[i] = x[i] * mul + add;
}

static void expect(CUdeviceptr x, const uint32_t *want) {
    uint32_t got[COUNT];
    good(cuMemcpyDtoH_v2(got, x, BYTES));
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(got[i], want[i]);
}

static void test_allocation(void **state) {
    (void)state;
    CUdeviceptr a, b, c;
    uint32_t word[2];
    good(cuMemAlloc_v2(&a, 100));
    good(cuMemAlloc_v2(&b, 8));
    assert_int_equal(a % 512, 0);
    assert_int_not_equal(a % 1024, 0); /* nothing is promised beyond that */
    assert_true(b - a >= 512 + 100 || a - b >= 512);
    good(cuMemcpyDtoH_v2(word, b, 8));
    assert_int_equal(word[0], 0xFFADFFAD);
    assert_int_equal(word[1], 0xFFADFFAD);
    assert_int_equal(cuMemcpyDtoH_v2(word, b + 4, 8), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemAlloc_v2(&c, (size_t)82 << 30), CUDA_ERROR_OUT_OF_MEMORY);
    good(cuMemAlloc_v2(&c, (size_t)60 << 30)); /* costs nothing until it is written */
    good(cuMemcpyDtoH_v2(word, c + ((size_t)59 << 30), 8));
    assert_int_equal(word[1], 0xFFADFFAD);
    CUdeviceptr d;
    assert_int_equal(cuMemAlloc_v2(&d, (size_t)30 << 30), CUDA_ERROR_OUT_OF_MEMORY);
    good(cuMemFree_v2(c));
    good(cuMemAlloc_v2(&d, (size_t)30 << 30));
    good(cuMemFree_v2(d));
    good(cuMemFree_v2(a));
    assert_int_equal(cuMemFree_v2(a), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemFree_v2(b + 4), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemcpyHtoD_v2(a, word, 4), CUDA_ERROR_INVALID_VALUE);
    good(cuMemFree_v2(b));
}

static void test_use_after_free(void **state) {
    struct fixture *f = *state;
    CUdeviceptr x;
    good(cuMemAlloc_v2(&x, 64));
    good(cuMemFree_v2(x));
    good(launch_store(f, x, 0, 1));
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    CUdeviceptr y;
    assert_int_equal(cuMemAlloc_v2(&y, 64), CUDA_ERROR_ILLEGAL_ADDRESS); /* sticky */
}

static void test_out_of_bounds(void **state) {
    struct fixture *f = *state;
    CUdeviceptr x;
    uint32_t word = 0;
    good(cuMemAlloc_v2(&x, 64));
    good(launch_store(f, x, 60, 1234));
    good(cuMemcpyDtoH_v2(&word, x + 60, 4));
    assert_int_equal(word, 1234);
    good(launch_store(f, x, 64, 1));
    assert_int_equal(cuMemcpyDtoH_v2(&word, x, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
}

static void test_misaligned(void **state) {
    struct fixture *f = *state;
    CUdeviceptr x;
    good(cuMemAlloc_v2(&x, 64));
    good(launch_store(f, x, 6, 1));
    assert_int_equal(cuStreamSynchronize(NULL), CUDA_ERROR_MISALIGNED_ADDRESS);
}

static void test_order(void **state) {
    struct fixture *f = *state;
    uint32_t x[COUNT], y[COUNT];
    CUdeviceptr dx = random_buffer(x), dy = random_buffer(y);
    for (unsigned i = 0; i < 5; i++) {
        launch_affine(f, NULL, dx, COUNT, 2 * i + 3, 100 + i);
        affine_host(x, 2 * i + 3, 100 + i);
    }
    launch_gather(f, NULL, dy, dx, COUNT);
    memcpy(y, x, sizeof y);
    affine_host(y, 1, 1);
    random_words(x); /* must not reach the gather that is still queued */
    good(cuMemcpyHtoD_v2(dx, x, BYTES));
    expect(dy, y);
    expect(dx, x);
    launch_gather(f, NULL, dy, dx, COUNT);
    good(cuMemsetD32Async(dx, 77, COUNT, NULL));
    affine_host(x, 1, 1);
    expect(dy, x);
    good(cuMemcpyDtoD_v2(dx, dy, BYTES));
    launch_affine(f, NULL, dy, COUNT, 5, 9);
    expect(dx, x);
    good(cuMemFree_v2(dx));
    affine_host(x, 5, 9);
    expect(dy, x);
}

/* Between timing events only the time is asked for: nothing runs until somebody looks. */
static void test_lazy(void **state) {
    struct fixture *f = *state;
    uint32_t x[COUNT];
    CUdeviceptr dx = random_buffer(x);
    CUevent begin, end;
    float ms = -1;
    good(cuEventCreate(&begin, 0));
    good(cuEventCreate(&end, 0));
    good(cuEventRecord(begin, NULL));
    for (unsigned i = 0; i < 7; i++) {
        launch_affine(f, NULL, dx, COUNT, 3, 1);
        affine_host(x, 3, 1);
    }
    good(cuEventRecord(end, NULL));
    assert_int_equal(cuEventElapsedTime(&ms, begin, end), CUDA_ERROR_NOT_READY);
    good(cuEventSynchronize(end));
    good(cuEventElapsedTime(&ms, begin, end));
    assert_true(ms > 0.007f && ms < 1);
    assert_int_equal(f->context->queued, 7);
    expect(dx, x);
    assert_int_equal(f->context->queued, 0);
    launch_affine(f, NULL, dx, COUNT, 3, 1); /* after the last event: it runs at the next wait */
    good(cuStreamSynchronize(NULL));
    assert_int_equal(f->context->queued, 0);
}

/* Equal launches that settle to a fixed point are not run again; those that do not are. */
static void test_repeats(void **state) {
    struct fixture *f = *state;
    uint32_t x[COUNT];
    CUdeviceptr dx = random_buffer(x);
    for (unsigned i = 0; i < 9; i++) {
        launch_affine(f, NULL, dx, COUNT, 7, 3);
        affine_host(x, 7, 3);
    }
    expect(dx, x);
    for (unsigned i = 0; i < 9; i++)
        launch_affine(f, NULL, dx, COUNT, 0, 42);
    affine_host(x, 0, 42);
    launch_affine(f, NULL, dx, COUNT, 2, 1);
    affine_host(x, 2, 1);
    expect(dx, x);
}

static void test_dropped(void **state) {
    struct fixture *f = *state;
    CUdeviceptr x;
    CUevent begin, end;
    float ms;
    unsigned n = 1u << 30;
    good(cuMemAlloc_v2(&x, (size_t)n * 4));
    good(cuEventCreate(&begin, 0));
    good(cuEventCreate(&end, 0));
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    good(cuEventRecord(begin, NULL));
    for (int i = 0; i < 20; i++)
        launch_affine(f, NULL, x, n, 3, 1);
    good(cuEventRecord(end, NULL));
    good(cuEventSynchronize(end));
    good(cuEventElapsedTime(&ms, begin, end));
    assert_int_equal(f->context->queued, 20);
    good(cuMemFree_v2(x));
    assert_int_equal(f->context->queued, 0);
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true(after.tv_sec - before.tv_sec < 3);
    /* 4 GiB read and written at 2039 GB/s, 20 times */
    assert_true(ms > 20 * 4.2f && ms < 20 * 8);
}

/* What is freed can still be needed for what is not. */
static void test_freed_input(void **state) {
    struct fixture *f = *state;
    uint32_t x[COUNT], y[COUNT];
    CUdeviceptr dx = random_buffer(x), dy = random_buffer(y);
    CUevent event;
    good(cuEventCreate(&event, 0));
    good(cuEventRecord(event, NULL));
    launch_affine(f, NULL, dx, COUNT, 11, 5);
    launch_gather(f, NULL, dy, dx, COUNT);
    good(cuEventRecord(event, NULL));
    good(cuMemFree_v2(dx));
    assert_int_equal(f->context->queued, 2);
    affine_host(x, 11, 6);
    expect(dy, x);
}

/* Memory that still waits for such an operation is gone all the same. */
static void test_freed_and_kept(void **state) {
    struct fixture *f = *state;
    uint32_t x[COUNT];
    CUdeviceptr dx = random_buffer(x), dy = random_buffer(x);
    CUevent event;
    good(cuEventCreate(&event, 0));
    good(cuEventRecord(event, NULL));
    launch_gather(f, NULL, dy, dx, COUNT);
    good(cuEventRecord(event, NULL));
    good(cuMemFree_v2(dx));
    assert_int_equal(f->context->queued, 1);
    assert_int_equal(cuMemcpyDtoH_v2(x, dx, 4), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemFree_v2(dx), CUDA_ERROR_INVALID_VALUE);
    good(launch_store(f, dx, 0, 1));
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
}

/* Freeing waits for what uses the memory, so it reports its faults. */
static void test_fault_at_free(void **state) {
    struct fixture *f = *state;
    CUdeviceptr x;
    good(cuMemAlloc_v2(&x, 64));
    good(launch_store(f, x, 64, 1));
    assert_int_equal(cuMemFree_v2(x), CUDA_ERROR_ILLEGAL_ADDRESS);
}

/* The reach of a kernel that loads pointers is everything. */
static void test_indirect(void **state) {
    (void)state;
    CUmodule module;
    CUfunction indirect;
    CUevent event;
    uint32_t x[COUNT];
    unsigned value = 0x1234567;
    good(cuModuleLoadData(&module, ptx_for("sm_80", indirect_body)));
    good(cuModuleGetFunction(&indirect, module, "indirect"));
    CUdeviceptr dx = random_buffer(x), target = dx + 40, table;
    good(cuMemAlloc_v2(&table, 8));
    good(cuMemcpyHtoD_v2(table, &target, 8));
    good(cuEventCreate(&event, 0));
    good(cuEventRecord(event, NULL));
    void *params[] = {&table, &value};
    good(cuLaunchKernel(indirect, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL));
    good(cuEventRecord(event, NULL));
    x[10] = value;
    expect(dx, x);
}

static void test_scales_with_grid(void **state) {
    struct fixture *f = *state;
    CUdeviceptr x;
    CUevent event[3];
    float small, large;
    good(cuMemAlloc_v2(&x, (size_t)1 << 30));
    for (int i = 0; i < 3; i++)
        good(cuEventCreate(&event[i], 0));
    good(cuEventRecord(event[0], NULL));
    launch_affine(f, NULL, x, 1u << 24, 3, 1);
    good(cuEventRecord(event[1], NULL));
    launch_affine(f, NULL, x, 1u << 28, 3, 1);
    good(cuEventRecord(event[2], NULL));
    good(cuCtxSynchronize());
    good(cuEventElapsedTime(&small, event[0], event[1]));
    good(cuEventElapsedTime(&large, event[1], event[2]));
    assert_true(small > 0.01f);
    assert_true(large > 12 * small && large < 20 * small);
    good(cuMemFree_v2(x));
}

/* Milliseconds of one launch of `uneven`, from a module of its own so that no time is known; run wholly or sampled. */
static float uneven_time(bool sampled) {
    CUmodule module;
    CUfunction uneven;
    CUdeviceptr x;
    CUevent begin, end;
    float ms;
    unsigned heavy = 30;
    good(cuModuleLoadData(&module, ptx_for("sm_80", uneven_body)));
    good(cuModuleGetFunction(&uneven, module, "uneven"));
    good(cuMemAlloc_v2(&x, 8));
    good(cuEventCreate(&begin, 0));
    good(cuEventCreate(&end, 0));
    void *params[] = {&x, &heavy};
    good(cuEventRecord(begin, NULL));
    good(cuLaunchKernel(uneven, 200, 1, 1, 1024, 1, 1, 0, NULL, params, NULL));
    if (!sampled)
        good(cuCtxSynchronize());
    good(cuEventRecord(end, NULL));
    good(cuEventSynchronize(end));
    good(cuEventElapsedTime(&ms, begin, end));
    good(cuModuleUnload(module));
    good(cuMemFree_v2(x));
    return ms;
}

static void test_uneven_grid(void **state) {
    (void)state;
    float whole = uneven_time(false), sampled = uneven_time(true);
    assert_true(whole > 0.01f);
    assert_true(fabsf(sampled / whole - 1) < 0.15f);
    assert_true(sampled != whole); /* it was not simply run */
}

static void test_streams(void **state) {
    struct fixture *f = *state;
    uint32_t x[COUNT];
    CUdeviceptr dx = random_buffer(x);
    CUstream a, b;
    CUevent ready, done, begin;
    float ms;
    good(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
    good(cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
    good(cuEventCreate(&ready, 0));
    good(cuEventCreate(&done, 0));
    good(cuEventCreate(&begin, 0));
    good(cuEventRecord(begin, a));
    launch_affine(f, a, dx, COUNT, 3, 1);
    good(cuEventRecord(ready, a));
    good(cuStreamWaitEvent(b, ready, 0));
    launch_affine(f, b, dx, COUNT, 5, 2);
    good(cuEventRecord(done, b));
    good(cuEventSynchronize(done));
    good(cuEventElapsedTime(&ms, begin, done)); /* both kernels, one after the other */
    assert_true(ms > 0.005f);
    affine_host(x, 3, 1);
    affine_host(x, 5, 2);
    expect(dx, x);
    good(cuStreamDestroy_v2(a));
    good(cuStreamDestroy_v2(b));
    assert_int_equal(cuStreamSynchronize(b), CUDA_ERROR_INVALID_HANDLE);
}

static void test_graph(void **state) {
    struct fixture *f = *state;
    uint32_t x[COUNT], y[COUNT];
    CUdeviceptr dx = random_buffer(x), dy = random_buffer(y);
    CUstream a, b;
    CUevent fork;
    CUgraph graph;
    CUgraphExec exec;
    good(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
    good(cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
    good(cuEventCreate(&fork, CU_EVENT_DISABLE_TIMING));
    good(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    launch_affine(f, a, dx, COUNT, 3, 1);
    good(cuEventRecord(fork, a));
    good(cuStreamWaitEvent(b, fork, 0));
    launch_gather(f, b, dy, dx, COUNT);
    good(cuEventRecord(fork, b));
    good(cuStreamWaitEvent(a, fork, 0));
    launch_affine(f, a, dy, COUNT, 5, 2);
    good(cuStreamEndCapture(a, &graph));
    good(cuGraphInstantiateWithFlags(&exec, graph, 0));
    good(cuGraphDestroy(graph));
    expect(dx, x); /* nothing has run */
    for (int i = 0; i < 3; i++) {
        good(cuGraphLaunch(exec, a));
        affine_host(x, 3, 1);
    }
    good(cuStreamSynchronize(a));
    memcpy(y, x, sizeof y);
    affine_host(y, 1, 1);
    affine_host(y, 5, 2);
    expect(dy, y);
    expect(dx, x);
    good(cuGraphExecDestroy(exec));
    good(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    assert_int_equal(cuStreamSynchronize(a), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    assert_int_equal(cuStreamEndCapture(a, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

static uint32_t seen;
static void CUDA_CB look(void *argument) {
    seen = *(volatile uint32_t *)argument;
}

/* The host sees page-locked memory without a call, so waiting is enough, timed or not. */
static void test_host_memory(void **state) {
    struct fixture *f = *state;
    uint32_t *pinned, x[COUNT];
    CUdeviceptr device;
    CUevent event;
    good(cuMemHostAlloc((void **)&pinned, BYTES, CU_MEMHOSTALLOC_DEVICEMAP));
    good(cuMemHostGetDevicePointer_v2(&device, pinned, 0));
    random_words(x);
    memcpy(pinned, x, BYTES);
    good(cuEventCreate(&event, 0));
    good(cuEventRecord(event, NULL));
    launch_affine(f, NULL, device, COUNT, 3, 1);
    good(cuLaunchHostFunc(NULL, look, pinned));
    good(cuEventRecord(event, NULL));
    assert_int_equal(pinned[0], x[0]);
    good(cuEventSynchronize(event));
    affine_host(x, 3, 1);
    assert_memory_equal(pinned, x, BYTES);
    assert_int_equal(seen, x[0]);
    good(cuMemFreeHost(pinned));
}

/* An asynchronous copy from pageable memory has taken its bytes when the call returns. */
static void test_staged_copy(void **state) {
    struct fixture *f = *state;
    uint32_t x[COUNT], fresh[COUNT];
    CUdeviceptr dx = random_buffer(x);
    launch_affine(f, NULL, dx, COUNT, 3, 1);
    random_words(fresh);
    memcpy(x, fresh, sizeof x);
    good(cuMemcpyHtoDAsync_v2(dx, fresh, BYTES, NULL));
    memset(fresh, 0, sizeof fresh);
    launch_affine(f, NULL, dx, COUNT, 5, 4);
    affine_host(x, 5, 4);
    expect(dx, x);
}

static void test_module_variable(void **state) {
    (void)state;
    CUmodule module;
    CUfunction bump;
    CUdeviceptr counter;
    size_t size;
    uint32_t words[4];
    good(cuModuleLoadData(&module, ptx_for("sm_80", counter_body)));
    good(cuModuleGetFunction(&bump, module, "bump"));
    good(cuModuleGetGlobal_v2(&counter, &size, module, "counter"));
    assert_int_equal(size, 16);
    for (int i = 0; i < 3; i++)
        good(cuLaunchKernel(bump, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    good(cuMemcpyDtoH_v2(words, counter, 16));
    assert_int_equal(words[0], 8);
    assert_int_equal(words[3], 8);
    good(cuModuleUnload(module));
    assert_int_equal(cuMemcpyDtoH_v2(words, counter, 16), CUDA_ERROR_INVALID_VALUE);
}

static void test_refusals(void **state) {
    struct fixture *f = *state;
    CUmodule module;
    CUfunction function;
    CUdeviceptr x;
    unsigned n = 1;
    good(cuMemAlloc_v2(&x, 64));
    void *params[] = {&x, &n, &n, NULL};
    assert_int_equal(cuLaunchKernel(f->affine, 1, 1, 1, 128, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
    params[3] = &n;
    assert_int_equal(cuLaunchKernel(f->affine, 0, 1, 1, 128, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuLaunchKernel(f->affine, 1, 1, 1, 2048, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuLaunchKernel(f->affine, 1, 1, 1, 128, 1, 1, 50000, NULL, params, NULL),
                     CUDA_ERROR_INVALID_VALUE);
    good(cuFuncSetAttribute(f->affine, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 163 * 1024));
    good(cuLaunchKernel(f->affine, 1, 1, 1, 128, 1, 1, 163 * 1024, NULL, params, NULL));
    assert_int_equal(cuFuncSetAttribute(f->affine, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 164 * 1024),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuModuleGetFunction(&function, f->module, "affin"), CUDA_ERROR_NOT_FOUND);
    assert_int_equal(cuModuleLoadData(&module, ptx_for("sm_90a", ptx_body)), CUDA_ERROR_NO_BINARY_FOR_GPU);
    assert_int_equal(cuModuleLoadData(&module, "no image"), CUDA_ERROR_INVALID_IMAGE);
    assert_int_equal(cuModuleLoadData(&module, ".version 8.0\n.target sm_80\n.address_size 64\nnonsense\n"),
                     CUDA_ERROR_INVALID_PTX);
    good(cuCtxSynchronize());
}

/* ---- images ---- */

/* Runs a tool of the toolkit; its output goes to `out`. False if it is not there or fails. */
static bool tool(const char *folder, const char *arguments, char *out, size_t size) {
    const char *home = getenv("CUDA_HOME");
    char command[1024];
    snprintf(command, sizeof command, "cd %s && %s/bin/%s 2>&1", folder, home && *home ? home : "/usr/local/cuda",
             arguments);
    FILE *pipe = popen(command, "r");
    if (!pipe)
        return false;
    size_t got = fread(out, 1, size - 1, pipe);
    out[got] = 0;
    return pclose(pipe) == 0;
}

static size_t file_bytes(const char *folder, const char *name, char *out, size_t size) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t got = fread(out, 1, size, file);
    fclose(file);
    unlink(path);
    return got;
}

static void test_images(void **state) {
    struct fixture *f = *state;
    static char image[65536], text[8192];
    char folder[] = "/tmp/soft-driver-XXXXXX", path[512];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/k.ptx", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(ptx_for("sm_80", ptx_body), file);
    fclose(file);
    if (!tool(folder, "ptxas -v -arch sm_80 k.ptx -o k.cubin", text, sizeof text)) {
        unlink(path);
        rmdir(folder);
        skip(); /* no toolkit */
    }
    const char *at = strstr(text, "'gather'");
    assert_non_null(at);
    int want = atoi(strstr(at, "Used ") + 5), registers;
    static const char *const modes[] = {"none", "speed", "size", "balance", "default"};
    for (int i = 0; i < 5; i++) {
        CUmodule module;
        CUfunction function;
        char arguments[400];
        snprintf(
            arguments, sizeof arguments,
            "fatbinary --create k.fatbin -64 --compress-all --compress-mode=%s --image3=kind=elf,sm=80,file=k.cubin "
            "--image3=kind=ptx,sm=80,file=k.ptx",
            modes[i]);
        assert_true(tool(folder, arguments, text, sizeof text));
        size_t size = file_bytes(folder, "k.fatbin", image, sizeof image);
        good(cuModuleLoadData(&module, image));
        good(cuModuleGetFunction(&function, module, "gather"));
        good(cuFuncGetAttribute(&registers, CU_FUNC_ATTRIBUTE_NUM_REGS, function));
        assert_int_equal(registers, want);
        uint32_t x[COUNT];
        CUdeviceptr dx = random_buffer(x), dy = random_buffer(x);
        CUfunction kept = f->gather;
        f->gather = function;
        launch_gather(f, NULL, dx, dy, COUNT);
        f->gather = kept;
        affine_host(x, 1, 1);
        expect(dx, x);
        good(cuModuleUnload(module));
        good(cuMemFree_v2(dx));
        good(cuMemFree_v2(dy));
        image[16 + 4] ^= 0x7f; /* the first entry's header size */
        assert_int_equal(cuModuleLoadData(&module, image), CUDA_ERROR_INVALID_IMAGE);
        assert_true(size > 1000);
    }
    CUmodule module;
    file_bytes(folder, "k.cubin", image, sizeof image);
    assert_int_equal(cuModuleLoadData(&module, image), CUDA_ERROR_NO_BINARY_FOR_GPU);
    unlink(path);
    rmdir(folder);
}

static void test_unpack_damaged(void **state) {
    (void)state;
    /* literals "abc", then 9 bytes from 3 back, then the literal "z" */
    const uint8_t packed[] = {0x35, 'a', 'b', 'c', 3, 0, 0x10, 'z'};
    uint8_t out[13];
    assert_true(dev_unpack_lz4(packed, sizeof packed, out, sizeof out));
    assert_memory_equal(out, "abcabcabcabcz", 13);
    for (size_t size = 0; size < sizeof packed; size++)
        assert_false(dev_unpack_lz4(packed, size, out, sizeof out));
    assert_false(dev_unpack_lz4(packed, sizeof packed, out, 12));
    const uint8_t before_start[] = {0x15, 'a', 2, 0, 0x10, 'z'};
    assert_false(dev_unpack_lz4(before_start, sizeof before_start, out, 11));
}

#define driver_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    setenv("SOFTGPU_DEVICE", "a100-sxm-80g", 1);
    const struct CMUnitTest tests[] = {
        driver_test(test_allocation),
        driver_test(test_use_after_free),
        driver_test(test_out_of_bounds),
        driver_test(test_misaligned),
        driver_test(test_order),
        driver_test(test_lazy),
        driver_test(test_repeats),
        driver_test(test_dropped),
        driver_test(test_freed_input),
        driver_test(test_freed_and_kept),
        driver_test(test_fault_at_free),
        driver_test(test_indirect),
        driver_test(test_scales_with_grid),
        driver_test(test_uneven_grid),
        driver_test(test_streams),
        driver_test(test_graph),
        driver_test(test_host_memory),
        driver_test(test_staged_copy),
        driver_test(test_module_variable),
        driver_test(test_refusals),
        driver_test(test_images),
        cmocka_unit_test(test_unpack_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
