/* The median, and how often the bootstrap interval holds the truth. */
#include "tuner/stats.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
/* after the above */
#include <cmocka.h>

static void test_median(void **state) {
    (void)state;
    assert_true(stats_median((double[]){7}, 1) == 7);
    assert_true(stats_median((double[]){3, 1, 2}, 3) == 2);
    assert_true(stats_median((double[]){4, 1, 3, 2}, 4) == 2.5);
    double samples[] = {9, 1, 5};
    stats_median(samples, 3);
    assert_true(samples[0] == 9 && samples[1] == 1 && samples[2] == 5);
}

static void test_equal_samples(void **state) {
    (void)state;
    double samples[40];
    for (int i = 0; i < 40; i++)
        samples[i] = 12.5;
    struct estimate e = stats_estimate(samples, 40);
    assert_true(e.median == 12.5 && e.low == 12.5 && e.high == 12.5);
    assert_true(estimate_half_width(&e) == 0);
}

/* The interval is an order statistic of the samples, so it moves with them and scales with them. */
static void test_shift_and_scale(void **state) {
    (void)state;
    double a[51], b[51];
    srand48(11);
    for (int i = 0; i < 51; i++) {
        a[i] = drand48();
        b[i] = 4 * a[i] + 64;
    }
    struct estimate x = stats_estimate(a, 51), y = stats_estimate(b, 51);
    assert_true(x.low < x.median && x.median < x.high);
    assert_true(fabs(y.low - (4 * x.low + 64)) < 1e-9 && fabs(y.high - (4 * x.high + 64)) < 1e-9);
    assert_true(fabs(estimate_half_width(&x) - (x.high - x.low) / 2 / x.median) < 1e-12);
}

/* Of few samples every resample can be written down: of those of 1, 2, 4 ... 2^(n-1) these are the medians at 2.5 and
 * 97.5 %. */
static void test_exact_intervals(void **state) {
    (void)state;
    static const struct {
        int count;
        double median, low, high;
    } exact[] = {{1, 1, 1, 1},  {2, 1.5, 1, 2},  {3, 2, 1, 4}, {4, 3, 1, 8},
                 {5, 4, 1, 16}, {6, 6, 1.5, 24}, {7, 8, 2, 32}};
    static const double samples[] = {1, 2, 4, 8, 16, 32, 64};
    for (int i = 0; i < 7; i++) {
        const struct estimate e = stats_estimate(samples, exact[i].count);
        if (e.median != exact[i].median || e.low != exact[i].low || e.high != exact[i].high)
            fail_msg("%d samples: %g (%g to %g), not %g (%g to %g)", exact[i].count, e.median, e.low, e.high,
                     exact[i].median, exact[i].low, exact[i].high);
    }
    assert_true(estimate_half_width(&(struct estimate){8, 2, 32}) == 1.875);
    assert_true(estimate_half_width(&(struct estimate){0, -1, 1}) == 0);
}

/* A heavy right tail, as timings have: exponential, median log 2. */
static double draw_exponential(void) {
    return -log(1 - drand48());
}

static double draw_normal(void) {
    return 100 + sqrt(-2 * log(1 - drand48())) * cos(6.283185307179586 * drand48());
}

/* Share of intervals that hold the true median. */
static double coverage(double (*draw)(void), double truth, int count) {
    enum { TRIALS = 400 };
    double samples[200];
    int held = 0;
    for (int trial = 0; trial < TRIALS; trial++) {
        for (int i = 0; i < count; i++)
            samples[i] = draw();
        struct estimate e = stats_estimate(samples, count);
        assert_true(e.low <= e.median && e.median <= e.high);
        held += e.low <= truth && truth <= e.high;
    }
    return (double)held / TRIALS;
}

/* 95 %, within four standard deviations of 400 trials; the percentile bootstrap of a median is known to be a little off
 * at small counts. */
static void test_coverage(void **state) {
    (void)state;
    srand48(20240611);
    const double low = 0.95 - 4 * sqrt(0.95 * 0.05 / 400), high = 0.95 + 4 * sqrt(0.95 * 0.05 / 400);
    for (int count = 30; count <= 200; count += 85) {
        double normal = coverage(draw_normal, 100, count), tail = coverage(draw_exponential, log(2), count);
        print_message("%d samples: normal %.3f, exponential %.3f\n", count, normal, tail);
        assert_true(normal > low && normal < high);
        assert_true(tail > low && tail < high);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_median),          cmocka_unit_test(test_equal_samples),
        cmocka_unit_test(test_shift_and_scale), cmocka_unit_test(test_exact_intervals),
        cmocka_unit_test(test_coverage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
