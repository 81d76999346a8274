/* The tuner's timing, stopping, rejection and winner rules on a simulated GPU whose true times are known: samples have
 * noise, outliers and drift, and for a stretch of every sweep the clock is throttled. The timer is the real one; the
 * driver, the gate and the clock under it are simulated here. */
#include "tuner/finals.h"
#include "tuner/progress.h"
#include "tuner/timer.h"
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
} world;

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
}
bool gate_held(const struct gate *gate) {
    (void)gate;
    return true;
}
double gate_clock(const struct gate *gate) {
    (void)gate;
    return world.batch_clock;
}

/* ---- what is timed ---- */

static enum mt_status launch(void *context, int turn, CUstream stream) {
    (void)turn;
    (void)stream;
    run_kernel(*(const double *)context);
    return MT_OK;
}

/* Longer than what is timed as a graph: each sample is one launch. */
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
    assert_true(timing.rejected > 0);
    assert_true(fabs(timing.estimate.median / 50e3 - 1) < 0.01);
    timing_release(&timing);
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
 * resolves.
 */
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
        cmocka_unit_test(test_the_same_winner),
        cmocka_unit_test(test_any_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
