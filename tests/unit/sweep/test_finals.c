/* Finals decided by hand: who wins, what a win is, and that drift between rounds changes nothing. */
#include "tuner/sweep/finals.h"
#include "tuner/sweep/rounds.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* after the above */
#include <cmocka.h>

enum { ROUNDS = 21, MOST = 4 };

/* Times of `count` finalists that drift from round to round; in rounds `from` on all but the first take `slower` times
 * as long. */
static struct finals make(double ns[ROUNDS * MOST], const double *time, int count, int from, double slower) {
    for (int r = 0; r < ROUNDS; r++)
        for (int f = 0; f < count; f++)
            ns[r * count + f] = (1 + 0.1 * r) * time[f] * (f > 0 && r >= from ? slower : 1);
    return (struct finals){ns, ROUNDS, count};
}

static void the_ratio_is_of_times_within_a_round(void **state) {
    (void)state;
    double ns[ROUNDS * MOST];
    const struct finals f = make(ns, (const double[]){100, 200, 50}, 3, ROUNDS, 1);
    struct estimate e = finals_ratio(&f, 1, 0);
    assert_true(fabs(e.median - 2) < 1e-12 && fabs(e.low - 2) < 1e-12 && fabs(e.high - 2) < 1e-12);
    e = finals_ratio(&f, 2, 1);
    assert_true(fabs(e.median - 0.25) < 1e-12);
    /* Another ratio in ten of the 21 rounds: the median does not see it, the interval does. */
    const struct finals g = make(ns, (const double[]){100, 200, 50}, 3, 11, 1.5);
    e = finals_ratio(&g, 1, 0);
    assert_true(fabs(e.median - 2) < 1e-12 && fabs(e.low - 2) < 1e-12 && fabs(e.high - 3) < 1e-12);
}

static void a_win_is_one_percent_and_sure(void **state) {
    (void)state;
    assert_true(finals_wins(&(struct estimate){0.99, 0.98, 0.999}));
    assert_true(finals_wins(&(struct estimate){0.5, 0.4, 0.6}));
    assert_false(finals_wins(&(struct estimate){0.9901, 0.98, 0.999}));
    assert_false(finals_wins(&(struct estimate){0.9, 0.8, 1}));
    assert_false(finals_wins(&(struct estimate){1.1, 1.05, 1.2}));
}

static void the_simplest_that_is_not_beaten_wins(void **state) {
    (void)state;
    static const struct {
        double time[MOST];
        int count, winner;
    } cases[] = {
        {{100}, 1, 0},
        {{100, 101, 99.5}, 3, 0},  /* the fastest is less than 1 % ahead of the first */
        {{100, 99.5, 98.5}, 3, 2}, /* 1.5 % and 1.005 % ahead */
        {{100, 99.2, 98.5}, 3, 1}, /* 1.5 % ahead of the first, 0.7 % ahead of the second */
        {{100, 98.6, 98.5, 120}, 4, 1},
        {{100, 110, 110, 90}, 4, 3},
        {{90, 100, 110, 120}, 4, 0},
        {{100, 90, 90}, 3, 1}, /* equal ones: the simpler */
    };
    double ns[ROUNDS * MOST];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct finals f = make(ns, cases[i].time, cases[i].count, ROUNDS, 1);
        if (finals_winner(&f) != cases[i].winner)
            fail_msg("case %zu: %d wins, not %d", i, finals_winner(&f), cases[i].winner);
    }
}

/* 5 % ahead in 11 rounds of 21 and behind in the others: the interval of the ratio holds 1. */
static void an_unsure_lead_is_none(void **state) {
    (void)state;
    double ns[ROUNDS * MOST];
    struct finals f = make(ns, (const double[]){100, 95}, 2, 11, 1.1);
    assert_int_equal(finals_winner(&f), 0);
    f = make(ns, (const double[]){100, 95}, 2, 20, 1.1);
    assert_int_equal(finals_winner(&f), 1);
}

/* What was thrown away of all: samples add up, the lowest clock counts, and so do candidates that lost either. */
static void what_was_rejected_adds_up(void **state) {
    (void)state;
    struct tally tally = {0};
    tally_add(&tally, &(struct rejected){0, 0});
    assert_true(tally.candidates == 0 && tally.rejected.samples == 0 && tally.rejected.clock == 0);
    tally_add(&tally, &(struct rejected){3, 0});
    tally_add(&tally, &(struct rejected){0, 0.8});
    tally_add(&tally, &(struct rejected){1, 0.7});
    tally_add(&tally, &(struct rejected){2, 0.9});
    assert_int_equal(tally.candidates, 4);
    assert_int_equal(tally.rejected.samples, 6);
    assert_true(tally.rejected.clock == 0.7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_ratio_is_of_times_within_a_round),
        cmocka_unit_test(a_win_is_one_percent_and_sure),
        cmocka_unit_test(the_simplest_that_is_not_beaten_wins),
        cmocka_unit_test(an_unsure_lead_is_none),
        cmocka_unit_test(what_was_rejected_adds_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
