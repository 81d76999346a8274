/* Few distinct kernels for a layer, against every choice there is, on random small layers. */
#include "tuner/report/winner_set.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

enum { PROBLEMS = 7, KERNELS = 8 };

static double fastest_of(const double *row, int kernels) {
    double fastest = INFINITY;
    for (int k = 0; k < kernels; k++)
        if (row[k] > 0)
            fastest = fmin(fastest, row[k]);
    return fastest;
}

/* The fewest kernels that serve every problem within 1 %: all subsets are tried. */
static int fewest(double ns[][KERNELS], int problems) {
    int best = KERNELS + 1;
    for (unsigned set = 1; set < 1u << KERNELS; set++) {
        bool serves_all = true;
        for (int p = 0; p < problems && serves_all; p++) {
            bool serves = false;
            for (int k = 0; k < KERNELS; k++)
                serves = serves || (set >> k & 1 && ns[p][k] > 0 && ns[p][k] <= 1.01 * fastest_of(ns[p], KERNELS));
            serves_all = serves;
        }
        if (serves_all && __builtin_popcount(set) < best)
            best = __builtin_popcount(set);
    }
    return best;
}

static int distinct(const int *chosen, int problems) {
    unsigned set = 0;
    for (int p = 0; p < problems; p++)
        set |= 1u << chosen[p];
    return __builtin_popcount(set);
}

static void test_against_all_choices(void **state) {
    (void)state;
    enum { LAYERS = 2000 };
    int optimal = 0, saved = 0;
    srand48(3);
    for (int layer = 0; layer < LAYERS; layer++) {
        double ns[PROBLEMS][KERNELS];
        int chosen[PROBLEMS], plain[PROBLEMS];
        const int problems = 1 + (int)(drand48() * PROBLEMS);
        for (int p = 0; p < problems; p++) {
            for (int k = 0; k < KERNELS; k++)
                ns[p][k] = drand48() < 0.1 ? 0 : 1000 * (1 + 0.03 * drand48());
            ns[p][(int)(drand48() * KERNELS)] = 1000;
        }
        winner_set_choose(&ns[0][0], problems, KERNELS, chosen);
        for (int p = 0; p < problems; p++) {
            assert_in_range(chosen[p], 0, KERNELS - 1);
            assert_true(ns[p][chosen[p]] > 0 && ns[p][chosen[p]] <= 1.01 * fastest_of(ns[p], KERNELS));
            plain[p] = 0;
            for (int k = 0; k < KERNELS; k++)
                if (ns[p][k] > 0 && (ns[p][plain[p]] <= 0 || ns[p][k] < ns[p][plain[p]]))
                    plain[p] = k;
        }
        const int got = distinct(chosen, problems), least = fewest(ns, problems);
        assert_true(got >= least);
        assert_true(got <= least * 2.6); /* greedy set cover: 1 + 1/2 + ... + 1/7 times */
        optimal += got == least;
        saved += distinct(plain, problems) - got;
    }
    print_message(
        "%d of %d layers have the fewest kernels that there are; %.2f fewer than the fastest alone, on average\n",
        optimal, LAYERS, (double)saved / LAYERS);
    assert_true(optimal > LAYERS * 9 / 10);
    assert_true(saved > 0);
}

/* A kernel that greed takes first and that two later ones make needless is dropped. */
static void test_needless_kernel_goes(void **state) {
    (void)state;
    /* The first serves problems 0 to 3; the second 0, 1 and 4; the third 2, 3 and 5. */
    static const double ns[6][3] = {{10, 10, 20}, {10, 10, 20}, {10, 20, 10}, {10, 20, 10}, {20, 10, 20}, {20, 20, 10}};
    int chosen[6];
    winner_set_choose(&ns[0][0], 6, 3, chosen);
    assert_int_equal(distinct(chosen, 6), 2);
    for (int p = 0; p < 6; p++)
        assert_true(chosen[p] != 0 && ns[p][chosen[p]] == 10);
}

/* Of kernels that serve equally many, the first: the rows stand in order of simplicity. */
static void test_ties_go_to_the_first(void **state) {
    (void)state;
    static const double ns[2][3] = {{20, 10.05, 10}, {20, 10, 10.05}};
    int chosen[2];
    winner_set_choose(&ns[0][0], 2, 3, chosen);
    assert_int_equal(chosen[0], 1);
    assert_int_equal(chosen[1], 1);
}

/* ---- on rows ---- */

static const char *const names[] = {"model", "tp",    "layer", "n",      "k",      "group_size", "scheme",
                                    "rows8", "dtype", "m",     "family", "config", "binary",     "median_ns"};
enum { COLUMNS = sizeof names / sizeof *names };

static void add_row(struct rows *rows, const char *layer, const char *rows8, const char *m, const char *config,
                    const char *binary, const char *ns) {
    const char *const cells[COLUMNS] = {"x",   "1",    layer, "64",   "128",  "128",  "mixed",
                                        rows8, "fp16", m,     "sm80", config, binary, ns};
    rows->cell = xrealloc(rows->cell, (size_t)(rows->count + 1) * COLUMNS * sizeof *rows->cell);
    for (int c = 0; c < COLUMNS; c++)
        rows->cell[rows->count * COLUMNS + c] = xstrdup(cells[c]);
    rows->count++;
}

/* Another layer and another split of the layer choose for themselves. */
static void test_rows_of_three_layers(void **state) {
    (void)state;
    struct rows rows = {
        .columns = COLUMNS, .name = xcalloc(COLUMNS, sizeof *rows.name), .text = xcalloc(COLUMNS, sizeof *rows.text)};
    for (int c = 0; c < COLUMNS; c++)
        rows.name[c] = xstrdup(names[c]);
    add_row(&rows, "o", "6", "1", "split_k=1", "A", "100");
    add_row(&rows, "o", "6", "1", "split_k=2", "B", "100.5");
    add_row(&rows, "o", "6", "1", "split_k=4", "B", "100.2"); /* the same kernel, less simple */
    add_row(&rows, "o", "6", "2", "split_k=2", "B", "120");
    add_row(&rows, "o", "7", "1", "split_k=1", "A", "100");
    add_row(&rows, "qkv", "7", "1", "split_k=1", "A", "100");
    winner_set_keep(&rows);
    static const char *const kept[][5] = {{"o", "1", "split_k=2", "B", "6"},
                                          {"o", "2", "split_k=2", "B", "6"},
                                          {"o", "1", "split_k=1", "A", "7"},
                                          {"qkv", "1", "split_k=1", "A", "7"}};
    assert_int_equal(rows.count, 4);
    for (int r = 0; r < 4; r++) {
        assert_string_equal(rows_cell(&rows, r, "layer"), kept[r][0]);
        assert_string_equal(rows_cell(&rows, r, "m"), kept[r][1]);
        assert_string_equal(rows_cell(&rows, r, "config"), kept[r][2]);
        assert_string_equal(rows_cell(&rows, r, "binary"), kept[r][3]);
        assert_string_equal(rows_cell(&rows, r, "rows8"), kept[r][4]);
    }
    rows_release(&rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_all_choices),
        cmocka_unit_test(test_needless_kernel_goes),
        cmocka_unit_test(test_ties_go_to_the_first),
        cmocka_unit_test(test_rows_of_three_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
