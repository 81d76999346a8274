/* Which of two kernels a split that was not tuned runs. */
#include "runtime/layer/split.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* after the above */
#include <cmocka.h>

/* 1600 features, of which `rows8` keep 8 bits. */
static struct problem at(int rows8) {
    return (struct problem){.m = 16, .n = 1600, .k = 4096, .rows8 = rows8, .group = 128};
}

static void lines_cross_between_the_splits(void **state) {
    (void)state;
    /* The first is faster at 160, the second at 800; they meet half way, in bytes and so in multiples of 16 features. */
    const struct split_candidate both[] = {{{160, 100}, {800, 180}}, {{160, 120}, {800, 160}}};
    for (int rows8 = 160; rows8 <= 800; rows8 += 16) {
        const struct problem p = at(rows8);
        double ns, share = (rows8 - 160) / 640.0;
        assert_int_equal(split_choose(&p, both, 2, 0, &ns), rows8 > 480);
        assert_true(fabs(ns - (rows8 > 480 ? 120 + 40 * share : 100 + 80 * share)) < 1e-9);
    }
}

static void ties_go_to_the_first(void **state) {
    (void)state;
    const struct problem p = at(400);
    const struct split_candidate same[] = {{{160, 100}, {800, 180}}, {{160, 100}, {800, 180}}};
    assert_int_equal(split_choose(&p, same, 2, 0, NULL), 0);
}

/* One time grows with the bytes; none is no zero. */
static void missing_times(void **state) {
    (void)state;
    const struct problem p = at(480);
    const struct problem low = at(160), high = at(800);
    double ns, here = (double)split_bytes(&p), below = (double)split_bytes(&low), above = (double)split_bytes(&high);
    const struct split_candidate one_each[] = {{{160, 100}, {800, 0}}, {{160, 0}, {800, 100}}};
    assert_int_equal(split_choose(&p, one_each, 2, 0, &ns), 1);
    assert_true(fabs(ns - 100 * here / above) < 1e-9);
    assert_int_equal(split_choose(&p, one_each, 1, 0, &ns), 0);
    assert_true(fabs(ns - 100 * here / below) < 1e-9);
    const struct split_candidate unknown_first[] = {{{160, 0}, {800, 0}}, {{160, 1e9}, {800, 1e9}}};
    assert_int_equal(split_choose(&p, unknown_first, 2, 0, &ns), 1);
    assert_int_equal(split_choose(&p, unknown_first, 1, 0, &ns), 0);
    assert_true(ns == 0);
    assert_int_equal(split_choose(&p, NULL, 0, 0, &ns), -1);
    assert_true(ns == 0);
}

/* Those of the same kernels, however far they are; others where there is none of these. */
static void neighbours_are_of_a_kind(void **state) {
    (void)state;
    static const struct {
        int rows8, tuned[5], low, high;
    } cases[] = {
        {400, {800, 160, 320, 1440, 480}, 2, 4}, {100, {800, 0, 320, 1600, -1}, -1, 2},
        {1500, {800, 0, 320, 1600, -1}, 0, -1},  {100, {0, 1600, -1, -1, -1}, 0, 1},
        {100, {0, -1, -1, -1, -1}, 0, -1},       {0, {1600, 480, 320, -1, -1}, -1, 2},
        {1600, {0, 480, 320, -1, -1}, 1, -1},    {400, {-1, -1, -1, -1, -1}, -1, -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct problem p = at(cases[i].rows8);
        const struct split_neighbours near = split_neighbours(&p, cases[i].tuned, 5);
        if (near.low != cases[i].low || near.high != cases[i].high)
            fail_msg("case %zu: %d and %d", i, near.low, near.high);
    }
}

/* All but rows8 and M must be the same; all in 8 bits there are no zero points to differ in. */
static void siblings(void **state) {
    (void)state;
    const struct problem p = at(160);
    struct problem q = at(480);
    q.m = 7;
    assert_true(split_siblings(&p, &q));
    q.symmetric = true;
    assert_false(split_siblings(&p, &q));
    q.rows8 = q.n;
    assert_true(split_siblings(&p, &q) && split_siblings(&q, &p));
    for (int i = 0; i < 4; i++) {
        q = at(480);
        q.n += i == 0;
        q.k += i == 1;
        q.group *= i == 2 ? 2 : 1;
        q.dtype = i == 3 ? DTYPE_BF16 : DTYPE_F16;
        assert_false(split_siblings(&p, &q));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_cross_between_the_splits),
        cmocka_unit_test(ties_go_to_the_first),
        cmocka_unit_test(missing_times),
        cmocka_unit_test(neighbours_are_of_a_kind),
        cmocka_unit_test(siblings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
