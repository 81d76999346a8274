/* The timer on a software device, whose times are exact: its forms, its funnel, taking turns, and failures. */
#include "runtime/gpu/launch.h"
#include "tuner/measure/memory.h"
#include "tuner/measure/timer.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

enum { SETS = 3 };

static struct device dev;

static void take(enum mt_status status) {
    if (status != MT_OK)
        fail_msg("%s", fail_message());
}

/* Quantisation of `m` tokens, on one of three sets of buffers. */
struct work {
    struct kernel kernel;
    struct memory memory;
    struct mt_quantize_args args[SETS];
    int launches, turns[SETS], lives;
    int fail_at; /* the launch that fails; 0: none */
};

static void work_init(struct work *w, int m) {
    const struct problem p = {.m = m, .n = 16, .k = 1024, .group = 128, .dtype = DTYPE_F16};
    *w = (struct work){0};
    take(kernel_load_quantize(&dev, &p, &w->kernel));
    for (int i = 0; i < SETS; i++) {
        CUdeviceptr x, q, scales, sums;
        take(memory_alloc(&w->memory, &dev, (size_t)m * 1024 * 2, &x));
        take(memory_alloc(&w->memory, &dev, (size_t)m * 1024, &q));
        take(memory_alloc(&w->memory, &dev, (size_t)m * 8 * 4, &scales));
        take(memory_alloc(&w->memory, &dev, (size_t)m * 8 * 4, &sums));
        w->args[i] = (struct mt_quantize_args){.x = memory_pointer(x),
                                               .q = memory_pointer(q),
                                               .scales = memory_pointer(scales),
                                               .sums = memory_pointer(sums),
                                               .m = m,
                                               .k = 1024,
                                               .k_padded = 1024,
                                               .groups = 8,
                                               .ldx = 1024};
    }
}

static void work_release(struct work *w) {
    memory_release(&w->memory, &dev);
    dev.drv.CtxSynchronize();
    kernel_unload(&dev, &w->kernel);
}

static enum mt_status launch(void *context, int turn, CUstream stream) {
    struct work *w = context;
    w->launches++;
    w->turns[turn]++;
    if (w->launches == w->fail_at)
        return (fail)(MT_FAILURE, "failed on purpose");
    return launch_quantize(&dev, &w->kernel, &w->args[turn], stream);
}

static void alive(void *context) {
    struct work *w = context;
    w->lives++;
}

/* As many samples as it takes, however busy the host is. */
static struct timer_limits unhurried;

static struct timer_job job_of(struct work *w) {
    unhurried = timer_limits_quick;
    unhurried.max_seconds = 1e6;
    return (struct timer_job){.launch = launch, .context = w, .rotation = SETS, .alive = alive, .limits = &unhurried};
}

static double median_of(struct work *w, double beat_ns, struct timing *timing) {
    struct timer_job job = job_of(w);
    job.beat_ns = beat_ns;
    take(timer_measure(&dev, &job, timing));
    return timing->estimate.median;
}

static void short_kernels_are_timed_as_a_graph(void **state) {
    (void)state;
    struct work few, many;
    struct timing a, b;
    work_init(&few, 16);
    work_init(&many, 65536);
    double short_ns = median_of(&few, 0, &a), long_ns = median_of(&many, 0, &b);
    assert_true(short_ns > 0 && short_ns < 20000);
    assert_true(a.launches_per_sample >= 20);
    assert_true(long_ns > 20000);
    assert_int_equal(b.launches_per_sample, 1);
    assert_int_equal(a.count, 30);
    assert_int_equal(b.count, 30);
    assert_false(a.probed_only);
    assert_int_equal(a.rejected.samples, 0);
    /* Every set of inputs is used as often as the others, and signs of life come between batches. */
    for (int i = 1; i < SETS; i++)
        assert_true(abs(many.turns[i] - many.turns[0]) <= 1);
    assert_true(many.lives >= 3 && many.lives < many.launches);
    timing_release(&a);
    timing_release(&b);
    work_release(&few);
    work_release(&many);
}

static void a_hot_timing_repeats_one_set(void **state) {
    (void)state;
    struct work w;
    struct timing timing;
    work_init(&w, 16);
    struct timer_job job = job_of(&w);
    job.rotation = 1;
    take(timer_measure(&dev, &job, &timing));
    assert_true(w.turns[0] > 20);
    assert_int_equal(w.turns[1] + w.turns[2], 0);
    timing_release(&timing);
    work_release(&w);
}

static void the_funnel_drops_what_is_twice_as_slow(void **state) {
    (void)state;
    struct work w;
    struct timing timing;
    work_init(&w, 65536);
    double ns = median_of(&w, 0, &timing);
    timing_release(&timing);
    int before = w.launches;
    assert_true(median_of(&w, ns / 2.1, &timing) == ns);
    assert_true(timing.probed_only);
    assert_int_equal(timing.count, 5);
    assert_int_equal(w.launches - before, 8); /* three to warm up */
    timing_release(&timing);
    median_of(&w, ns / 1.9, &timing);
    assert_false(timing.probed_only);
    assert_int_equal(timing.count, 30);
    timing_release(&timing);
    work_release(&w);
}

static void turns_give_the_same_times(void **state) {
    (void)state;
    struct work few, many;
    struct timing a, b;
    struct timer *first, *second;
    double ns;
    work_init(&few, 16);
    work_init(&many, 65536);
    median_of(&few, 0, &a);
    median_of(&many, 0, &b);
    struct timer_job few_job = job_of(&few), many_job = job_of(&many);
    take(timer_open(&dev, &few_job, &first));
    take(timer_open(&dev, &many_job, &second));
    assert_true(timer_is_short(first) && !timer_is_short(second));
    take(timer_capture(first));
    for (int i = 0; i < 4; i++) {
        take(timer_sample(second, &ns));
        assert_true(ns > 0.9999 * b.estimate.median && ns < 1.0001 * b.estimate.median);
        take(timer_sample(first, &ns));
        assert_true(ns > 0.9999 * a.estimate.median && ns < 1.0001 * a.estimate.median);
    }
    timer_close(first);
    timer_close(second);
    timer_close(NULL);
    timing_release(&a);
    timing_release(&b);
    work_release(&few);
    work_release(&many);
}

/* The gate does its part outside the timed stretches: nothing changes on a device that needs none. */
static void behind_a_gate_times_are_the_same(void **state) {
    (void)state;
    struct work w;
    struct timing timing;
    struct gate *gate;
    work_init(&w, 65536);
    double ns = median_of(&w, 0, &timing);
    timing_release(&timing);
    take(gate_open(&dev, &gate));
    struct timer_job job = job_of(&w);
    job.gate = gate;
    take(timer_measure(&dev, &job, &timing));
    assert_true(timing.estimate.median > 0.9999 * ns && timing.estimate.median < 1.0001 * ns);
    assert_int_equal(timing.count, 30);
    assert_int_equal(timing.rejected.samples, 0);
    assert_true(gate_held(gate));
    timing_release(&timing);
    gate_close(gate);
    gate_close(NULL);
    work_release(&w);
}

/* Of each launch of the stamp: on which multiprocessor it runs, what clock and common clock show there. */
static struct {
    int launch;
    unsigned at[2];
    unsigned long long clock[2], ns[2];
    CUresult (*really)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream,
                       void **, void **);
} stamps;

static CUresult stamp_launch(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                             unsigned bz, unsigned shared, CUstream stream, void **params, void **extra) {
    if (gx == 1) /* the gate itself */
        return stamps.really(function, gx, gy, gz, bx, by, bz, shared, stream, params, extra);
    CUdeviceptr address;
    unsigned room;
    memcpy(&address, params[0], sizeof address);
    memcpy(&room, params[1], sizeof room);
    unsigned long long *out = memory_pointer(address); /* the host's memory has one address for both */
    const int which = stamps.launch++ % 2;
    assert_true(gx == (unsigned)dev.sm_count && stamps.at[which] < room);
    out[stamps.at[which] * 2] = stamps.clock[which];
    out[stamps.at[which] * 2 + 1] = stamps.ns[which];
    return CUDA_SUCCESS;
}

static double clock_between(struct gate *gate) {
    stamps.launch = 0;
    take(gate_shut(gate, NULL));
    take(gate_stamp(gate, NULL));
    gate_lift(gate);
    assert_int_equal(dev.drv.CtxSynchronize(), CUDA_SUCCESS);
    return gate_clock(gate);
}

/* Each multiprocessor has a counter of its own. */
static void only_stamps_of_one_multiprocessor_tell_the_clock(void **state) {
    (void)state;
    struct gate *gate;
    int khz;
    take(gate_open(&dev, &gate));
    assert_int_equal(dev.drv.DeviceGetAttribute(&khz, CU_DEVICE_ATTRIBUTE_CLOCK_RATE, dev.handle), CUDA_SUCCESS);
    const unsigned long long half = (unsigned long long)khz / 2; /* clocks of a millisecond at half the highest clock */
    stamps.really = dev.drv.LaunchKernel;
    dev.drv.LaunchKernel = stamp_launch;
    for (unsigned second = 5; second < 8; second++) {
        stamps.at[0] = 6, stamps.at[1] = second;
        stamps.clock[0] = 1000, stamps.clock[1] = 1000 + half;
        stamps.ns[0] = 77, stamps.ns[1] = 1000077;
        const double clock = clock_between(gate);
        assert_true(second == 6 ? clock > 0.499 && clock < 0.501 : clock == 1);
    }
    /* What one batch left behind is not the next one's. */
    stamps.at[0] = 6, stamps.at[1] = 7;
    assert_true(clock_between(gate) == 1);
    stamps.at[1] = 6;
    stamps.ns[1] = 77 + 19000; /* too short for the steps of the common clock */
    assert_true(clock_between(gate) == 1);
    dev.drv.LaunchKernel = stamps.really;
    gate_close(gate);
}

/* Wherever it happens: while warming up, probing, capturing a graph, sampling. */
static void a_failing_launch_fails_the_timing(void **state) {
    (void)state;
    static const int at[] = {1, 5, 9, 15};
    struct work w;
    struct timing timing;
    work_init(&w, 16);
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        w.launches = 0;
        w.fail_at = at[i];
        struct timer_job job = job_of(&w);
        assert_int_equal(timer_measure(&dev, &job, &timing), MT_FAILURE);
        assert_string_equal(fail_message(), "failed on purpose");
        assert_null(timing.samples_ns);
    }
    w.fail_at = 0;
    assert_true(median_of(&w, 0, &timing) > 0);
    timing_release(&timing);
    work_release(&w);
}

static int open_device(void **state) {
    (void)state;
    return device_open(&dev, "soft:a100-sxm-80g");
}

static int close_device(void **state) {
    (void)state;
    device_close(&dev);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_kernels_are_timed_as_a_graph),
        cmocka_unit_test(a_hot_timing_repeats_one_set),
        cmocka_unit_test(the_funnel_drops_what_is_twice_as_slow),
        cmocka_unit_test(turns_give_the_same_times),
        cmocka_unit_test(behind_a_gate_times_are_the_same),
        cmocka_unit_test(a_failing_launch_fails_the_timing),
        cmocka_unit_test(only_stamps_of_one_multiprocessor_tell_the_clock),
    };
    return cmocka_run_group_tests(tests, open_device, close_device);
}
