/* The software device's queue: order, laziness, what is dropped, streams, graphs, events and their times. */
#include "driver.h"
#include <math.h>

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

/* Waits until a word of page-locked memory is not zero. */
static const char spin_body[] = ".address_size 64\n"
                                ".visible .entry spin(.param .u64 pf)\n"
                                "{\n"
                                ".reg .pred %p<2>; .reg .b32 %r<2>; .reg .b64 %rd<2>;\n"
                                "ld.param.u64 %rd1, [pf];\n"
                                "LOOP:\n"
                                "ld.volatile.global.u32 %r1, [%rd1];\n"
                                "setp.eq.s32 %p1, %r1, 0;\n"
                                "@%p1 bra LOOP;\n"
                                "ret;\n"
                                "}\n";

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
    assert_int_equal(f->context->queued, 0); /* also those that were not run */
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
    good(cuEventRecord(begin, NULL));
    for (int i = 0; i < 20; i++)
        launch_affine(f, NULL, x, n, 3, 1);
    good(cuEventRecord(end, NULL));
    good(cuEventSynchronize(end));
    good(cuEventElapsedTime(&ms, begin, end));
    assert_int_equal(f->context->queued, 20);
    uint64_t watchdog = cu_device.watchdog;
    cu_device.watchdog = 1; /* whoever runs one of them now is told */
    CUresult freed = cuMemFree_v2(x);
    cu_device.watchdog = watchdog;
    good(freed);
    good(cuCtxSynchronize());
    assert_int_equal(f->context->queued, 0);
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
    char said[512];
    struct capture capture;
    float whole = uneven_time(false);
    cu_device.log = true;
    capture_begin(&capture, STDERR_FILENO);
    float sampled = uneven_time(true);
    capture_end(&capture, said, sizeof said);
    cu_device.log = false;
    assert_true(whole > 0.01f);
    assert_true(fabsf(sampled / whole - 1) < 0.01f); /* the samples find where the heavy CTAs end */
    assert_memory_equal(said, "softgpu: estimated uneven ", 26);
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
    assert_true(ms > 0.004f);
    affine_host(x, 3, 1);
    affine_host(x, 5, 2);
    expect(dx, x);
    good(cuEventRecord(ready, a)); /* the host has waited for b meanwhile */
    good(cuEventSynchronize(ready));
    good(cuEventElapsedTime(&ms, done, ready));
    assert_true(ms >= 0);
    good(cuStreamDestroy_v2(a));
    good(cuStreamDestroy_v2(b));
    assert_int_equal(cuStreamSynchronize(b), CUDA_ERROR_INVALID_HANDLE);
}

/* The default stream waits for ordinary streams, and they for it. */
static void test_default_stream(void **state) {
    struct fixture *f = *state;
    uint32_t x[COUNT], got[COUNT];
    CUdeviceptr dx = random_buffer(x);
    CUstream a, b;
    CUevent event[3];
    float ms;
    good(cuStreamCreate(&a, CU_STREAM_DEFAULT));
    good(cuStreamCreate(&b, CU_STREAM_DEFAULT));
    launch_affine(f, a, dx, COUNT, 3, 1);
    affine_host(x, 3, 1);
    expect(dx, x);
    launch_affine(f, NULL, dx, COUNT, 5, 1);
    affine_host(x, 5, 1);
    good(cuMemcpyDtoHAsync_v2(got, dx, BYTES, b));
    assert_memory_equal(got, x, BYTES);
    for (int i = 0; i < 3; i++)
        good(cuEventCreate(&event[i], 0));
    good(cuEventRecord(event[0], a));
    launch_affine(f, a, dx, COUNT, 3, 1);
    good(cuEventRecord(event[1], NULL));
    launch_affine(f, NULL, dx, COUNT, 3, 1);
    good(cuEventRecord(event[2], b));
    good(cuStreamSynchronize(b));
    good(cuEventElapsedTime(&ms, event[0], event[1]));
    assert_true(ms > 0.002f);
    good(cuEventElapsedTime(&ms, event[1], event[2]));
    assert_true(ms > 0.002f);
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

/* A launch behind a kernel that waits for the host: nothing may force the one before the host lets it go. */
static void test_blocking_kernel(void **state) {
    struct fixture *f = *state;
    CUmodule module;
    CUfunction spin;
    CUstream stream, other;
    CUevent begin, end;
    uint32_t *flag, x[COUNT], y[COUNT];
    float ms;
    CUdeviceptr dx = random_buffer(x), dy = random_buffer(y);
    good(cuModuleLoadData(&module, ptx_for("sm_80", spin_body)));
    good(cuModuleGetFunction(&spin, module, "spin"));
    good(cuMemAllocHost_v2((void **)&flag, 4));
    good(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    good(cuStreamCreate(&other, CU_STREAM_NON_BLOCKING));
    good(cuEventCreate(&begin, 0));
    good(cuEventCreate(&end, 0));
    void *params[] = {&flag};
    for (int round = 0; round < 2; round++) { /* in the second, the kernel lies between two timing events */
        *flag = 0;
        good(cuLaunchKernel(spin, 1, 1, 1, 32, 1, 1, 0, stream, params, NULL));
        good(cuEventRecord(begin, stream));
        launch_affine(f, stream, dx, COUNT, 3, 1);
        good(cuEventRecord(end, stream));
        affine_host(x, 3, 1);
        launch_affine(f, other, dy, COUNT, 5, 1);
        affine_host(y, 5, 1);
        good(cuStreamSynchronize(other));
        expect(dy, y);
        *flag = 1;
        good(cuEventSynchronize(end));
        good(cuEventElapsedTime(&ms, begin, end));
        assert_true(ms > 0.002f && ms < 0.1f);
    }
    expect(dx, x);
    *flag = 0;
    good(cuLaunchKernel(spin, 1, 1, 1, 32, 1, 1, 0, stream, params, NULL));
    assert_int_equal(cuStreamSynchronize(stream), CUDA_ERROR_LAUNCH_TIMEOUT);
}

int main(void) {
    setenv("SOFTGPU_DEVICE", "a100-sxm-80g", 1);
    setenv("SOFTGPU_WATCHDOG", "300000", 1);
    const struct CMUnitTest tests[] = {
        driver_test(test_order),           driver_test(test_lazy),
        driver_test(test_repeats),         driver_test(test_dropped),
        driver_test(test_freed_input),     driver_test(test_freed_and_kept),
        driver_test(test_indirect),        driver_test(test_scales_with_grid),
        driver_test(test_uneven_grid),     driver_test(test_streams),
        driver_test(test_default_stream),  driver_test(test_graph),
        driver_test(test_host_memory),     driver_test(test_staged_copy),
        driver_test(test_blocking_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
