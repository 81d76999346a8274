/* The tuner's timing, stopping, rejection and winner rules on a simulated GPU whose true times are known: samples have
 * noise, outliers and drift, and for a stretch of every sweep the clock is throttled. The timer is the real one; the
 * driver, the gate and the clock under it are simulated here. */
#include "tuner/measure/timer.h"
#include "tuner/progress.h"
#include "tuner/sweep/finals.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
/* after the above */
#include <cmocka.h>

/* ---- the simulated world; times in ns ---- */

static struct {
    double now;
    double sigma, outliers;                     /* relative noise; share of samples with a hiccup */
    double drift, period;                       /* amplitude and length of a slow swing */
    double throttle_begin, throttle_end, clock; /* between these the clock is lower: a share of the highest */
    double batch_begin, batch_clock;            /* where the gate's stamps stand */
    double busy, cycles;                        /* since the world began: time in kernels, and their clock times time */
    double overhead;                            /* of a single launch; a graph's have none */
    bool shut, late;                            /* the gate: it is shut; it opened by itself */
    bool lazy, loaded;                          /* a first launch loads; it has done so */
    int held_up;                                /* loads that had to wait for the gate to open by itself */
    bool capturing;
} world;

/* What was captured last. */
static struct {
    double ns[64];
    int turn[64], launches;
    bool uploaded;
} graph;

/* Turns in the order in which they were launched, singly or captured. */
static int turns[4096], turn_count;

static double uniform(void) {
    return drand48();
}

static double normal(void) {
    return sqrt(-2 * log(1 - uniform())) * cos(2 * M_PI * uniform());
}

/* Of one run, around 1. */
static double noise(void) {
    double factor = exp(world.sigma * normal());
    if (uniform() < world.outliers)
        factor *= 1 - 0.3 * log(1 - uniform());
    return factor;
}

static void run_kernel(double true_ns) {
    bool throttled = world.now >= world.throttle_begin && world.now < world.throttle_end;
    double clock = throttled ? world.clock : 1;
    double ns = true_ns * noise() * (1 + world.drift * sin(world.now / world.period)) / clock;
    world.now += ns;
    world.busy += ns;
    world.cycles += ns * clock;
}

double seconds_now(void) {
    return world.now * 1e-9;
}

int nanosleep(const struct timespec *duration, struct timespec *left) {
    (void)left;
    world.now += (double)duration->tv_sec * 1e9 + (double)duration->tv_nsec;
    return 0;
}

/* ---- the driver ---- */

static CUresult create_stream(CUstream *stream, unsigned flags) {
    (void)flags;
    *stream = (CUstream)&world;
    return CUDA_SUCCESS;
}
static CUresult use_stream(CUstream stream) {
    (void)stream;
    return CUDA_SUCCESS;
}
/* Loading waits for all that runs: for a gate that is shut, until that gives up. */
static void load(bool *done) {
    if (world.lazy && !*done && world.shut) {
        world.held_up++;
        world.late = true;
        world.now += 200e6;
    }
    *done = true;
}

static CUresult synchronize(void) {
    return world.shut ? CUDA_ERROR_UNKNOWN : CUDA_SUCCESS;
}
static CUresult begin_capture(CUstream stream, CUstreamCaptureMode mode) {
    (void)stream;
    assert_int_equal(mode, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    memset(&graph, 0, sizeof graph);
    world.capturing = true;
    return CUDA_SUCCESS;
}
static CUresult end_capture(CUstream stream, CUgraph *out) {
    (void)stream;
    world.capturing = false;
    *out = (CUgraph)&graph;
    return CUDA_SUCCESS;
}
static CUresult instantiate(CUgraphExec *out, CUgraph captured, unsigned long long flags) {
    (void)flags;
    void *copy = malloc(sizeof graph);
    memcpy(copy, captured, sizeof graph);
    *out = copy;
    return CUDA_SUCCESS;
}
static CUresult destroy_exec(CUgraphExec exec) {
    free(exec);
    return CUDA_SUCCESS;
}
static CUresult destroy_graph(CUgraph captured) {
    (void)captured;
    return CUDA_SUCCESS;
}
static CUresult launch_graph(CUgraphExec exec, CUstream stream) {
    (void)stream;
    __typeof__(graph) *g = (void *)exec;
    load(&g->uploaded);
    for (int i = 0; i < g->launches; i++)
        run_kernel(g->ns[i]);
    return CUDA_SUCCESS;
}

static CUresult create_event(CUevent *event, unsigned flags) {
    (void)flags;
    double *when = calloc(1, sizeof *when);
    *event = (CUevent)when;
    return when ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
static CUresult destroy_event(CUevent event) {
    free(event);
    return CUDA_SUCCESS;
}
static CUresult record_event(CUevent event, CUstream stream) {
    (void)stream;
    memcpy(event, &world.now, sizeof world.now);
    return CUDA_SUCCESS;
}
static CUresult elapsed(float *ms, CUevent begin, CUevent end) {
    double from, to;
    memcpy(&from, begin, sizeof from);
    memcpy(&to, end, sizeof to);
    *ms = (float)((to - from) * 1e-6);
    return CUDA_SUCCESS;
}

static struct device make_device(void) {
    return (struct device){.drv = {.StreamCreate = create_stream,
                                   .StreamDestroy = use_stream,
                                   .StreamSynchronize = use_stream,
                                   .CtxSynchronize = synchronize,
                                   .StreamBeginCapture = begin_capture,
                                   .StreamEndCapture = end_capture,
                                   .GraphInstantiate = instantiate,
                                   .GraphLaunch = launch_graph,
                                   .GraphExecDestroy = destroy_exec,
                                   .GraphDestroy = destroy_graph,
                                   .EventCreate = create_event,
                                   .EventDestroy = destroy_event,
                                   .EventRecord = record_event,
                                   .EventElapsedTime = elapsed},
                           .spec = "simulated"};
}

/* ---- the gate: its stamps see the simulated clock ---- */

enum mt_status gate_shut(struct gate *gate, CUstream stream) {
    (void)gate;
    (void)stream;
    world.now += 50e3; /* the host queues */
    world.busy = world.cycles = 0;
    world.shut = true;
    world.late = false;
    return MT_OK;
}
enum mt_status gate_stamp(struct gate *gate, CUstream stream) {
    (void)gate;
    (void)stream;
    world.batch_clock = world.cycles / world.busy;
    return MT_OK;
}
void gate_lift(struct gate *gate) {
    (void)gate;
    world.shut = false;
}
bool gate_held(const struct gate *gate) {
    (void)gate;
    return !world.late;
}
double gate_clock(const struct gate *gate) {
    (void)gate;
    return world.batch_clock;
}

/* ---- what is timed ---- */

static enum mt_status launch(void *context, int turn, CUstream stream) {
    const double ns = *(const double *)context;
    (void)stream;
    if (turn_count < (int)(sizeof turns / sizeof *turns))
        turns[turn_count++] = turn;
    if (world.capturing) {
        assert_true(world.loaded && graph.launches < (int)(sizeof graph.ns / sizeof *graph.ns));
        graph.ns[graph.launches] = ns;
        graph.turn[graph.launches++] = turn;
        return MT_OK;
    }
    load(&world.loaded);
    run_kernel(ns + world.overhead);
    return MT_OK;
}

static void time_one(double true_ns, double beat_ns, struct timing *out) {
    struct device dev = make_device();
    const struct timer_job job = {.launch = launch,
                                  .context = &true_ns,
                                  .rotation = 4,
                                  .gate = (struct gate *)&world,
                                  .beat_ns = beat_ns,
                                  .limits = &timer_limits_normal};
    assert_int_equal(timer_measure(&dev, &job, out), MT_OK);
}

static void new_world(long seed, double sigma, double outliers, double drift) {
    memset(&world, 0, sizeof world);
    turn_count = 0;
    srand48(seed);
    world.sigma = sigma;
    world.outliers = outliers;
    world.drift = drift;
    world.period = 40e6;
    world.clock = 1;
}

/* ---- coverage ---- */

enum { TRIALS = 400 };

/* The median of the noise: what an interval of many samples closes in on. */
static double true_median(void) {
    enum { DRAWS = 200001 };
    static double draw[DRAWS];
    for (int i = 0; i < DRAWS; i++)
        draw[i] = noise();
    return stats_median(draw, DRAWS);
}

/* 95 % within four standard deviations of 400 trials. */
static void assert_covers(const char *what, int held) {
    const double share = (double)held / TRIALS, spread = 4 * sqrt(0.95 * 0.05 / TRIALS);
    print_message("%s: %.1f %% of the intervals hold the truth (stated: 95 %%)\n", what, 100 * share);
    assert_true(share > 0.95 - spread && share <= 1);
}

/* The stopping rule looks at the interval until it is narrow: that must not cost its coverage. */
static void test_intervals_of_times(void **state) {
    (void)state;
    for (int noisy = 0; noisy < 2; noisy++) {
        int held = 0;
        new_world(5 + noisy, noisy ? 0.02 : 0.005, noisy ? 0.05 : 0.02, 0);
        const double truth = 50e3 * true_median();
        long samples = 0;
        for (int trial = 0; trial < TRIALS; trial++) {
            struct timing timing;
            time_one(50e3, 0, &timing);
            held += timing.estimate.low <= truth && truth <= timing.estimate.high;
            samples += timing.count;
            timing_release(&timing);
        }
        print_message("%.1f samples on average; ", (double)samples / TRIALS);
        assert_covers(noisy ? "noise of 2 %" : "noise of 0.5 %", held);
    }
}

static void run_rounds(const double *true_ns, int finalists, int rounds, double *ns) {
    for (int i = 0; i < rounds * finalists; i++) {
        double begin = world.now;
        run_kernel(true_ns[i % finalists]);
        ns[i] = world.now - begin;
    }
}

/* Drift of 3 % and a clock of 60 % for a third of the rounds do not reach the ratios. */
static void test_intervals_of_ratios(void **state) {
    (void)state;
    const double true_ns[2] = {40e3, 41e3};
    int held = 0;
    new_world(7, 0.007, 0.02, 0.03);
    for (int trial = 0; trial < TRIALS; trial++) {
        enum { ROUNDS = 30 };
        double ns[2 * ROUNDS];
        world.now = 1e6 * uniform();
        world.throttle_begin = world.now + 800e3;
        world.throttle_end = world.now + 1900e3;
        world.clock = 0.6;
        run_rounds(true_ns, 2, ROUNDS, ns);
        const struct finals f = {ns, ROUNDS, 2};
        struct estimate ratio = finals_ratio(&f, 0, 1);
        held += ratio.low <= true_ns[0] / true_ns[1] && true_ns[0] / true_ns[1] <= ratio.high;
    }
    assert_covers("paired ratios", held);
}

/* ---- rejection ---- */

/* A device that is throttled for its first 300 ms, and a time that shows nothing of it. */
static void test_throttled_samples_are_rejected(void **state) {
    (void)state;
    struct timing timing;
    new_world(9, 0.005, 0, 0);
    world.throttle_end = 300e6;
    world.clock = 0.5;
    time_one(50e3, 0, &timing);
    assert_true(timing.rejected.samples > 0);
    assert_true(fabs(timing.rejected.clock - 0.5) < 0.01);
    assert_true(fabs(timing.estimate.median / 50e3 - 1) < 0.01);
    timing_release(&timing);
}

/* Throttled again, four seconds long, when the timing has gone well for six. */
static void test_a_late_drop_of_the_clock_is_rejected(void **state) {
    (void)state;
    struct timing timing;
    new_world(17, 0.2, 0, 0); /* so noisy that it goes on to the time limit */
    world.throttle_begin = 6e9;
    world.throttle_end = 10e9;
    world.clock = 0.5;
    time_one(50e6, 0, &timing);
    assert_true(timing.rejected.samples >= 30 && timing.rejected.samples < 80);
    int slow = 0; /* of batches in which the clock came or went */
    for (int i = 0; i < timing.count; i++)
        slow += timing.samples_ns[i] > 50e6 * 1.8;
    assert_true(slow <= 10);
    assert_true(fabs(timing.estimate.median / 50e6 - 1) < 0.1);
    timing_release(&timing);
}

/* ---- forms ---- */

/* A driver that loads a kernel when it is launched first, and a graph likewise. */
static void test_nothing_is_loaded_behind_the_gate(void **state) {
    (void)state;
    static const double ns[2] = {5e3, 50e3};
    for (int i = 0; i < 2; i++) {
        struct timing timing;
        new_world(19, 0.005, 0, 0);
        world.lazy = true;
        time_one(ns[i], 0, &timing);
        assert_int_equal(timing.launches_per_sample, i ? 1 : 20);
        assert_true(world.loaded);
        assert_int_equal(world.held_up, 0);
        assert_int_equal(timing.rejected.samples, 0);
        timing_release(&timing);
    }
}

/* What is to be beaten takes 4 us in a graph; a launch by itself takes 6 us more. */
static void test_the_funnel_compares_like_with_like(void **state) {
    (void)state;
    static const struct {
        double ns;
        int dropped, launches_per_sample;
    } cases[] = {{3e3, false, 20}, {7.5e3, false, 20}, {9e3, true, 20}, {16e3, true, 20}, {100e3, true, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct timing timing;
        new_world(23, 0, 0, 0);
        world.overhead = 6e3;
        time_one(cases[i].ns, 4e3, &timing);
        assert_int_equal(timing.probed_only, cases[i].dropped);
        assert_int_equal(timing.launches_per_sample, cases[i].launches_per_sample);
        assert_true(fabs(timing.estimate.median / (cases[i].ns + (cases[i].launches_per_sample == 1) * 6e3) - 1) <
                    1e-3);
        timing_release(&timing);
    }
}

/* Two that take turns, one of them short only by itself: as graphs their ratio is that of the kernels. */
static void test_takers_of_turns_have_one_form(void **state) {
    (void)state;
    static double ns[2] = {12e3, 17e3};
    struct device dev = make_device();
    struct timer_job job[2];
    struct timer *timer[2];
    double sample[2];
    int turn = 0;
    new_world(29, 0, 0, 0);
    world.overhead = 6e3;
    for (int i = 0; i < 2; i++) {
        job[i] = (struct timer_job){.launch = launch,
                                    .context = &ns[i],
                                    .rotation = 15,
                                    .turn = &turn,
                                    .gate = (struct gate *)&world,
                                    .limits = &timer_limits_normal};
        assert_int_equal(timer_open(&dev, &job[i], &timer[i]), MT_OK);
    }
    assert_true(timer_is_short(timer[0]) && !timer_is_short(timer[1]));
    turn_count = 0;
    for (int i = 0; i < 6; i++)
        assert_int_equal(timer_sample(timer[i % 2], &sample[i % 2]), MT_OK);
    assert_true(fabs(sample[0] / sample[1] - 18.0 / 23) < 1e-3);
    /* Whoever launches takes the input that was used the longest ago. */
    for (int i = 1; i < turn_count; i++)
        assert_int_equal(turns[i], (turns[i - 1] + 1) % 15);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(timer_capture(timer[i]), MT_OK);
        assert_int_equal(graph.launches, 30); /* whole rotations, 20 at least */
        for (int l = 0; l < graph.launches; l++)
            assert_int_equal(graph.turn[l], l % 15);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(timer_sample(timer[i], &sample[i]), MT_OK);
    assert_true(fabs(sample[0] / sample[1] - 12.0 / 17) < 1e-3);
    timer_close(timer[0]);
    timer_close(timer[1]);
}

/* A sample that never counts is taken in the end, and what it cost is known. */
static void test_turns_tell_what_they_threw_away(void **state) {
    (void)state;
    static double ns = 50e3;
    struct device dev = make_device();
    const struct timer_job job = {
        .launch = launch, .context = &ns, .rotation = 4, .gate = (struct gate *)&world, .limits = &timer_limits_normal};
    struct timer *timer;
    double sample;
    new_world(31, 0, 0, 0);
    assert_int_equal(timer_open(&dev, &job, &timer), MT_OK);
    assert_int_equal(timer_rejected(timer)->samples, 0);
    world.throttle_end = HUGE_VAL;
    world.clock = 0.6;
    assert_int_equal(timer_sample(timer, &sample), MT_OK);
    assert_int_equal(timer_rejected(timer)->samples, 5);
    assert_true(fabs(timer_rejected(timer)->clock - 0.6) < 1e-6);
    /* After five seconds, a third of the limit, it no longer waits for a device that stays so; only once it
     * recovers. */
    while (world.now < 5.2e9)
        assert_int_equal(timer_sample(timer, &sample), MT_OK);
    const int before = timer_rejected(timer)->samples;
    assert_true(before > 200 && before < 260);
    assert_int_equal(timer_sample(timer, &sample), MT_OK);
    assert_int_equal(timer_rejected(timer)->samples, before);
    world.throttle_end = 0;
    assert_int_equal(timer_sample(timer, &sample), MT_OK);
    world.throttle_end = HUGE_VAL;
    assert_int_equal(timer_sample(timer, &sample), MT_OK);
    assert_int_equal(timer_rejected(timer)->samples, before + 5);
    timer_close(timer);
}

/* ---- sweeps ---- */

enum { SWEEPS = 200, MOST = 24, FINALISTS = 10, ROUNDS = 40 };

static int place_of(const double *ns, int count, int which) {
    int place = 0;
    for (int i = 0; i < count; i++)
        place += ns[i] < ns[which];
    return place;
}

/* The funnel as in the design: a full timing of what is not hopeless, then finals of the best. `true_ns` stands in
 * order of simplicity. Returns the winner. */
static int simulate_sweep(const double *true_ns, int count) {
    double median[MOST], finalist_ns[FINALISTS], ns[ROUNDS * FINALISTS], best = 0;
    int finalist[FINALISTS], finalists = 0;
    world.throttle_begin = world.now + (2 + 30 * uniform()) * 1e6;
    world.throttle_end = world.throttle_begin + 25e6;
    world.clock = 0.55 + 0.2 * uniform();
    for (int i = 0; i < count; i++) {
        struct timing timing;
        time_one(true_ns[i], best, &timing);
        median[i] = timing.estimate.median;
        best = best <= 0 || median[i] < best ? median[i] : best;
        timing_release(&timing);
    }
    for (int i = 0; i < count; i++)
        if (place_of(median, count, i) < FINALISTS && finalists < FINALISTS) {
            finalist_ns[finalists] = true_ns[i];
            finalist[finalists++] = i;
        }
    world.throttle_begin = world.now + 20e6 * uniform(); /* once more, in the finals */
    world.throttle_end = world.throttle_begin + 5e6;
    run_rounds(finalist_ns, finalists, ROUNDS, ns);
    const struct finals f = {ns, ROUNDS, finalists};
    return finalist[finals_winner(&f)];
}

static double least(const double *ns, int count) {
    double best = ns[0];
    for (int i = 1; i < count; i++)
        best = fmin(best, ns[i]);
    return best;
}

/* Fixed true times with ties, near misses and a hopeless one: the winner is one of the tie, every time. */
static void test_the_same_winner(void **state) {
    (void)state;
    static const double true_ns[] = {38e3, 30.8e3, 33e3, 30.12e3, 41e3, 31.4e3, 75e3, 30e3,
                                     36e3, 30.2e3, 34e3, 32.5e3,  47e3, 30.9e3, 31e3, 39e3};
    const int count = sizeof true_ns / sizeof *true_ns;
    int in_band = 0, first_of_tie = 0;
    new_world(11, 0.006, 0.03, 0.02);
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        int winner = simulate_sweep(true_ns, count);
        in_band += true_ns[winner] <= 1.01 * least(true_ns, count);
        first_of_tie += winner == 3;
    }
    print_message("fixed times: %d of %d winners are within 1 %% of the best, %d the simplest of the tie\n", in_band,
                  SWEEPS, first_of_tie);
    assert_int_equal(in_band, SWEEPS);
    assert_true(first_of_tie > SWEEPS * 9 / 10);
}

/* Other true times in every sweep, also some at the very edge of the band: there half a percent is what timing
 * resolves. */
static void test_any_times(void **state) {
    (void)state;
    int in_band = 0, nearly = 0;
    new_world(13, 0.006, 0.03, 0.02);
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        double true_ns[MOST] = {0};
        const int count = 8 + (int)(uniform() * (MOST - 8));
        for (int i = 0; i < count; i++)
            true_ns[i] = 30e3 * (1 + 0.5 * uniform() * uniform());
        const double slower = true_ns[simulate_sweep(true_ns, count)] / least(true_ns, count);
        in_band += slower <= 1.01;
        nearly += slower <= 1.015;
    }
    print_message("random times: %d of %d winners within 1 %% of the best, %d within 1.5 %%\n", in_band, SWEEPS,
                  nearly);
    assert_int_equal(nearly, SWEEPS);
    assert_true(in_band >= SWEEPS * 19 / 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_intervals_of_times),
        cmocka_unit_test(test_intervals_of_ratios),
        cmocka_unit_test(test_throttled_samples_are_rejected),
        cmocka_unit_test(test_a_late_drop_of_the_clock_is_rejected),
        cmocka_unit_test(test_nothing_is_loaded_behind_the_gate),
        cmocka_unit_test(test_the_funnel_compares_like_with_like),
        cmocka_unit_test(test_takers_of_turns_have_one_form),
        cmocka_unit_test(test_turns_tell_what_they_threw_away),
        cmocka_unit_test(test_the_same_winner),
        cmocka_unit_test(test_any_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
