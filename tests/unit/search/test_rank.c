/* Ranks, their correlation and its interval, and regret: against values worked out by hand. */
#include "tuner/search/rank.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* after the above */
#include <cmocka.h>

static void near(double got, double want) {
    if (!(fabs(got - want) <= 1e-12))
        fail_msg("%.15g, not %.15g", got, want);
}

/* Without ties rho is 1 - 6 sum d^2 / (n (n^2 - 1)). */
static void without_ties(void **state) {
    (void)state;
    const double x[] = {106, 100, 86, 101, 99, 103, 97, 113, 112, 110}, y[] = {7, 27, 2, 50, 28, 29, 20, 12, 6, 17};
    near(rank_spearman(x, y, 10), 1 - 6 * 194.0 / (10 * 99)); /* the squared differences add up to 194 */
    const double up[] = {1, 2, 3, 4}, squared[] = {1, 4, 9, 16}, down[] = {4, 3, 2, 1};
    near(rank_spearman(up, squared, 4), 1);
    near(rank_spearman(up, down, 4), -1);
}

static void with_ties(void **state) {
    (void)state;
    /* Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: covariance 4.5, squares 4.5 and 5. */
    const double x[] = {10, 20, 20, 30}, y[] = {1, 2, 3, 4};
    near(rank_spearman(x, y, 4), 4.5 / sqrt(4.5 * 5));
    /* Ranks 2, 2, 2, 4.5, 4.5 and 1.5, 1.5, 3, 4, 5, about 3: 1.5 + 1.5 + 0 + 1.5 + 3, squares 7.5 and 9.5. */
    const double a[] = {5, 5, 5, 9, 9}, b[] = {1, 1, 2, 3, 4};
    near(rank_spearman(a, b, 5), 7.5 / sqrt(7.5 * 9.5));
    near(rank_spearman(b, a, 5), 7.5 / sqrt(7.5 * 9.5));
}

static void without_an_order(void **state) {
    (void)state;
    const double same[] = {3, 3, 3}, y[] = {1, 2, 3};
    assert_true(isnan(rank_spearman(same, y, 3)));
    assert_true(isnan(rank_spearman(y, y, 1)));
    double low, high;
    rank_interval(0.5, 3, &low, &high);
    assert_true(isnan(low) && isnan(high));
}

static void intervals(void **state) {
    (void)state;
    double low, high;
    /* atanh(0.6) = ln 2; half-width 1.95996 sqrt(1.18 / 100) = 0.2129047. */
    rank_interval(0.6, 103, &low, &high);
    double wide = 1.959963984540054 * sqrt(1.18 / 100), up = 4 * exp(2 * wide), down = 4 * exp(-2 * wide);
    near(high, (up - 1) / (up + 1));
    near(low, (down - 1) / (down + 1));
    assert_true(low > 0.44 && low < 0.45 && high > 0.71 && high < 0.72);
    rank_interval(1, 50, &low, &high);
    near(low, 1);
    near(high, 1);
}

static void regret(void **state) {
    (void)state;
    const double model[] = {3, 1, 2, 1}, real[] = {10, 12, 11, 15};
    near(rank_regret(model, real, 4), 1.5); /* the second and the last are first: the dearer one counts */
    near(rank_regret(model, real, 3), 1.2);
    near(rank_regret(real, real, 4), 1);
}

static void pruning(void **state) {
    (void)state;
    const double model[] = {3, 1, 2, 1}, real[] = {10, 12, 11, 15};
    near(rank_pruning(model, real, 4, 1), 1.2); /* both that are first are measured, and the better one is taken */
    near(rank_pruning(model, real, 4, 2), 1.2);
    near(rank_pruning(model, real, 4, 3), 1.1);
    near(rank_pruning(model, real, 4, 4), 1);
    near(rank_pruning(real, real, 4, 1), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_ties), cmocka_unit_test(with_ties), cmocka_unit_test(without_an_order),
        cmocka_unit_test(intervals),    cmocka_unit_test(regret),    cmocka_unit_test(pruning),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
