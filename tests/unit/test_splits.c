/* Tables of splits, and which splits of a layer stand for all: against every choice that there is. */
#include "runtime/base/file.h"
#include "tuner/plan/workload.h"
#include "tuner/splits.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

static char path[] = "/tmp/mixtune-splits-XXXXXX";

static int make_file(void **state) {
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 || close(fd);
}

static int remove_file(void **state) {
    (void)state;
    return unlink(path);
}

static enum mt_status read_bytes(const char *text, size_t size, struct split_table *table) {
    assert_int_equal(file_write_atomic(path, text, size), MT_OK);
    return split_table_read(path, table);
}

static enum mt_status read_text(const char *text, struct split_table *table) {
    return read_bytes(text, strlen(text), table);
}

static void check_line(const struct split_line *line, const char *layer, int rows8, double weight, int number) {
    assert_string_equal(line->layer, layer);
    assert_int_equal(line->split.rows8, rows8);
    assert_true(line->split.weight == weight);
    assert_int_equal(line->number, number);
}

static void test_table(void **state) {
    (void)state;
    struct split_table table;
    assert_int_equal(read_text("# what for\n\nlayer,rows8,weight\r\nqkv, 85 ,3\r\n o,0 # none\n"
                               "4096x14336,4096,0.5\nqkv,12\nqkv,85,2",
                               &table),
                     MT_OK);
    assert_int_equal(table.count, 5);
    check_line(&table.line[0], "qkv", 85, 3, 4);
    check_line(&table.line[1], "o", 0, 1, 5);
    check_line(&table.line[2], "4096x14336", 4096, 0.5, 6);
    check_line(&table.line[4], "qkv", 85, 2, 8);
    struct split_list qkv = {0}, none = {0};
    assert_int_equal(split_table_of(&table, "qkv", 90, 1, &qkv), MT_OK);
    assert_int_equal(qkv.count, 2); /* in order; the same one twice counts with both its weights */
    assert_int_equal(qkv.item[0].rows8, 12);
    assert_int_equal(qkv.item[1].rows8, 85);
    assert_true(qkv.item[1].weight == 5);
    assert_int_equal(split_table_of(&table, "down", 90, 1, &none), MT_OK);
    assert_int_equal(none.count, 0);
    split_list_release(&qkv);
    assert_int_equal(split_table_of(&table, "qkv", 90, 16, &qkv), MT_OK);
    assert_int_equal(qkv.item[0].rows8, 16);
    assert_int_equal(qkv.item[1].rows8, 90); /* 96 are more than there are */
    split_list_release(&qkv);
    struct split_table many = {0};
    str_append(&many.path, "many.csv");
    for (int i = 0; i <= 1024; i++) /* choosing among 60000 took hours */
        split_table_add(&many, (struct split_line){.layer = "o", .split = {i, 1}});
    struct split_list o = {0};
    assert_int_equal(split_table_of(&many, "o", 1023, 1, &o), MT_USAGE); /* the last is more than there are */
    split_list_release(&o);
    assert_int_equal(split_table_of(&many, "o", 2000, 2, &o), MT_OK); /* some become the same */
    split_list_release(&o);
    assert_int_equal(split_table_of(&many, "o", 2000, 1, &o), MT_USAGE);
    assert_string_equal(fail_message(), "many.csv: o has 1025 different splits, and can have 1024");
    split_list_release(&o);
    split_table_release(&many);
    char want[200];
    snprintf(want, sizeof want,
             "%s, line 4: 85 features of qkv cannot keep 8 bits where there are 84; rows8 are of the layer as it is "
             "after --tp",
             path);
    assert_int_equal(split_table_of(&table, "qkv", 84, 1, &qkv), MT_USAGE);
    assert_string_equal(fail_message(), want);
    split_list_release(&qkv);
    split_table_release(&table);
}

static void test_bad_tables(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"qkv\n", ", line 1: this is not layer,rows8,weight; write for example qkv,85,3"},
        {"\n#\nqkv,85,3,4\n", ", line 3: this is not layer,rows8,weight; write for example qkv,85,3"},
        {",85\n", ", line 1: this is not layer,rows8,weight; write for example qkv,85,3"},
        {"qkv,85\nqkv,8.5,1\n", ", line 2: `8.5` is no number of output features; write how many keep 8 bits"},
        {"qkv,-1\n", ", line 1: `-1` is no number of output features; write how many keep 8 bits"},
        {"qkv,\n", ", line 1: `` is no number of output features; write how many keep 8 bits"},
        {"qkv,99999999999\n", ", line 1: `99999999999` is no number of output features; write how many keep 8 bits"},
        {"qkv,85,0\n", ", line 1: the weight `0` is no number above 0 and below 1e9; write how many layers have this "
                       "split, or leave it out"},
        {"qkv,85,inf\n", ", line 1: the weight `inf` is no number above 0 and below 1e9; write how many layers have "
                         "this split, or leave it out"},
        {"qkv,85,1e9\n",
         ", line 1: the weight `1e9` is no number above 0 and below 1e9; write how many layers have this "
         "split, or leave it out"},
        {"qkv,85,0x9\n",
         ", line 1: the weight `0x9` is no number above 0 and below 1e9; write how many layers have this "
         "split, or leave it out"},
        {"qkv,85,\n", ", line 1: the weight `` is no number above 0 and below 1e9; write how many layers have this "
                      "split, or leave it out"},
        {"qkv,85\nlayer,rows8,weight\n",
         ", line 2: `rows8` is no number of output features; write how many keep 8 bits"},
        {"a23456789012345678901234567890123,1\n",
         ", line 1: the layer's name has 33 characters and can have 31: write qkv, or NxK"},
        {"# nothing\nlayer,rows8\n", " names no split; write lines of layer,rows8,weight"},
        {"", " names no split; write lines of layer,rows8,weight"},
    };
    struct split_table table;
    char want[300];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(want, sizeof want, "%s%s", path, bad[i][1]);
        if (read_text(bad[i][0], &table) != MT_USAGE || strcmp(fail_message(), want) != 0)
            fail_msg("`%s`: `%s`, not `%s`", bad[i][0], fail_message(), want);
    }
    assert_int_equal(read_bytes("qkv,85\nqkv\0,86\n", 14, &table), MT_USAGE);
    snprintf(want, sizeof want, "%s, line 2: a byte is 0, so this is not text", path);
    assert_string_equal(fail_message(), want);
    assert_int_equal(split_table_read("/nowhere/splits.csv", &table), MT_USAGE);
}

/* ---- points ---- */

static uint64_t state_of_chance = 20261127;

static int chance(int below) {
    state_of_chance ^= state_of_chance << 13;
    state_of_chance ^= state_of_chance >> 7;
    state_of_chance ^= state_of_chance << 17;
    return (int)(state_of_chance % (uint64_t)below);
}

/* What the splits lose to the points in a set of bits. */
static double loss_of(const struct problem *layer, const struct split *splits, int count, unsigned set) {
    double sum = 0;
    for (int i = 0; i < count; i++) {
        double least = 1;
        for (int p = 0; p < count; p++)
            if (set >> p & 1)
                least = fmin(least, point_loss(layer, splits[i].rows8, splits[p].rows8));
        sum += splits[i].weight * least;
    }
    return sum;
}

static double least_of_all(const struct problem *layer, const struct split *splits, int count, int most) {
    double least = INFINITY;
    for (unsigned set = 1; set < 1u << count; set++)
        if (__builtin_popcount(set) <= most)
            least = fmin(least, loss_of(layer, splits, count, set));
    return least;
}

/* Random splits in order, the pure ones among them more often than chance would have it. */
static int random_splits(int n, struct split *splits, int count) {
    struct split_list list = {0};
    for (int i = 0; i < count; i++)
        split_list_add(&list, chance(5) ? chance(n + 1) : chance(2) * n, 1 + chance(4));
    split_list_sort(&list);
    memcpy(splits, list.item, (size_t)list.count * sizeof *splits);
    count = list.count;
    split_list_release(&list);
    return count;
}

static void test_points_are_the_best(void **state) {
    (void)state;
    enum { CASES = 400, SPLITS = 11 };
    int chosen_fewer = 0, with_pure = 0;
    for (int c = 0; c < CASES; c++) {
        const struct problem layer = {
            .m = 1, .n = 17 + chance(c % 2 ? 40 : 5000), .k = 100 + chance(2000), .group = 128, .symmetric = chance(2)};
        struct split splits[SPLITS];
        int stands[SPLITS];
        unsigned set = 0;
        const int count = random_splits(layer.n, splits, 1 + chance(SPLITS)), most = 1 + chance(7);
        const double loss = points_choose(&layer, splits, count, most, stands);
        for (int i = 0; i < count; i++)
            set |= stands[i] == i ? 1u << i : 0;
        assert_in_range(__builtin_popcount(set), 1, most);
        assert_true(fabs(loss - least_of_all(&layer, splits, count, most)) < 1e-9);
        assert_true(fabs(loss - loss_of(&layer, splits, count, set)) < 1e-9);
        for (int i = 0; i < count; i++) { /* each is with the nearest of its kind */
            double least = 1;
            for (int p = 0; p < count; p++)
                if (set >> p & 1)
                    least = fmin(least, point_loss(&layer, splits[i].rows8, splits[p].rows8));
            assert_true(stands[i] < 0
                            ? least == 1
                            : fabs(point_loss(&layer, splits[i].rows8, splits[stands[i]].rows8) - least) < 1e-12);
        }
        chosen_fewer += count > most;
        with_pure += splits[0].rows8 == 0 || splits[count - 1].rows8 == layer.n;
    }
    assert_true(chosen_fewer > CASES / 4 && with_pure > CASES / 4);
}

/* A whole layer in 4 or in 8 bits runs another binary: it is tuned as soon as there are points enough. */
static void test_pure_splits(void **state) {
    (void)state;
    const struct problem layer = {.m = 1, .n = 1600, .k = 4096, .group = 128};
    const struct split splits[] = {{0, 1}, {10, 1}, {400, 1}, {800, 1}, {1590, 1}, {1600, 1}};
    int stands[6];
    points_choose(&layer, splits, 6, 3, stands);
    assert_int_equal(stands[0], 0);
    assert_int_equal(stands[5], 5);
    assert_int_equal(stands[1], stands[2]);
    assert_int_equal(stands[4], stands[2]);
    points_choose(&layer, splits, 6, 1, stands); /* four mixed ones count for more than one that is not */
    assert_int_equal(stands[0], -1);
    assert_int_equal(stands[5], -1);
    assert_in_range(stands[1], 1, 4);
    assert_true(point_loss(&layer, 0, 10) == 1);
    assert_true(point_loss(&layer, 0, 0) == 0);
    /* All features in 8 bits are just about twice the bytes: the loss between far mixed splits stays below 1. */
    assert_true(sqrt(point_loss(&layer, 1, 1599)) > 0.6 && sqrt(point_loss(&layer, 1, 1599)) < 0.7);
}

/* The middle of two equal halves of a layer's weight. */
static void test_weights_count(void **state) {
    (void)state;
    const struct problem layer = {.m = 1, .n = 1600, .k = 4096, .group = 128};
    struct split splits[] = {{100, 1}, {200, 1}, {300, 1}};
    int stands[3];
    points_choose(&layer, splits, 3, 1, stands);
    assert_int_equal(stands[0], 1);
    splits[2].weight = 5;
    points_choose(&layer, splits, 3, 1, stands);
    assert_int_equal(stands[0], 2);
}

/* ---- the problems that follow ---- */

static enum mt_status workload_of(const char *line, struct workload *w) {
    static char copy[1000];
    char *argv[40] = {"test"}, *save;
    struct work_options o;
    int argc = 1;
    snprintf(copy, sizeof copy, "%s --splits %s", line, path);
    for (char *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save))
        argv[argc++] = p;
    work_options_init(&o);
    enum mt_status status = options_parse(&work_argp, argc, argv, &o, NULL);
    if (!status)
        status = workload_init(w, &o);
    work_options_release(&o);
    return status;
}

static void write_table(const char *text) {
    assert_int_equal(file_write_atomic(path, text, strlen(text)), MT_OK);
}

static void test_workload(void **state) {
    (void)state;
    struct workload w;
    write_table("qkv,17\nqkv,40\nqkv,1000\nqkv,1010\nqkv,1020\nqkv,2000\nqkv,2010\nqkv,3000,9\no,0\no,4096\n");
    assert_int_equal(workload_of("--model llama-3.1-8b --m 1,16 --scheme w4a8-sym --points 3", &w), MT_OK);
    static const int points[] = {40, 1010, 3000};
    assert_int_equal(w.count, 2 * (3 + 2));
    for (int i = 0; i < 6; i++) { /* the first three points stand for the rest; down and gate_up are not named */
        assert_string_equal(w.item[i].layer, "qkv");
        assert_int_equal(w.item[i].problem.m, i % 2 ? 16 : 1);
        assert_int_equal(w.item[i].problem.rows8, points[i / 2]);
        assert_true(w.item[i].problem.symmetric);
    }
    assert_string_equal(w.item[6].layer, "o");
    assert_string_equal(problem_scheme(&w.item[6].problem), "w4a8-sym");
    assert_string_equal(problem_scheme(&w.item[8].problem), "w8a8");
    workload_release(&w);
    assert_int_equal(workload_of("--model llama-3.1-8b --layers qkv --m 1 --fill 16", &w), MT_OK);
    assert_int_equal(w.count, 6); /* of 7: 1010 and 1020 are filled up to one */
    for (int i = 0; i < w.count; i++)
        assert_int_equal(w.item[i].problem.rows8 % 16, 0);
    workload_release(&w);
    write_table("300x200,299,2\n300x200,3\n");
    assert_int_equal(workload_of("--shape 300,200 --shape 8,8 --m 1 --fill 16", &w), MT_OK);
    assert_int_equal(w.count, 2); /* 8x8 is not named */
    assert_int_equal(w.item[0].problem.rows8, 16);
    assert_int_equal(w.item[1].problem.rows8, 300);
    workload_release(&w);
}

static void check_refused(const char *line, const char *table, const char *sentence) {
    struct workload w;
    char want[400];
    write_table(table);
    snprintf(want, sizeof want, sentence, path); /* NOLINT: the sentences stand below */
    if (workload_of(line, &w) != MT_USAGE || strcmp(fail_message(), want) != 0)
        fail_msg("%s: `%s`, not `%s`", line, fail_message(), want);
}

static void test_refused(void **state) {
    (void)state;
    check_refused("--model llama-3.1-8b", "qkv,1\nqkw,1\n", "%s, line 2: there is no layer `qkw`; did you mean qkv?");
    check_refused("--shape 300,200", "qkv,1\n",
                  "%s, line 1: there is no layer `qkv`; with --shape N,K a layer's name is NxK, as in 4096x14336");
    check_refused("--model llama-3.1-8b --tp 2", "qkv,6144\n",
                  "%s, line 1: 6144 features of qkv cannot keep 8 bits where there are 3072; rows8 are of the layer as "
                  "it is after --tp");
    check_refused("--model llama-3.1-8b --layers o", "qkv,1\n",
                  "nothing to do: %s names none of the layers that --layers lists");
    check_refused("--shape 8,8 --rows8 1", "8x8,1\n",
                  "--rows8 and --splits both say how many features keep 8 bits; give one of them");
    check_refused("--shape 8,8 --scheme p10", "8x8,1\n",
                  "--splits says how many features keep 8 bits, and --scheme too: with --splits it can be w4a8 or "
                  "w4a8-sym");
    check_refused("--shape 8,8 --points 0", "8x8,1\n", "--points: `0` is not a whole number from 1 to 1000000");
    check_refused("--shape 8,8 --fill all", "8x8,1\n", "--fill: `all` is not a whole number from 1 to 4096");
}

/* The tables that come with mixtune. */
static void test_shipped_tables(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int layers, distinct;
        double features; /* of one decoder layer */
    } shipped[] = {{"smollm2-135m-p10", 30, 110, 960 + 576 + 3072 + 576},
                   {"llama-3.1-8b-p10", 32, 124, 6144 + 4096 + 28672 + 4096}};
    for (int i = 0; i < 2; i++) {
        struct split_table table;
        double weight = 0, rows8 = 0;
        assert_int_equal(split_table_read(shipped[i].name, &table), MT_OK);
        assert_int_equal(table.count, shipped[i].distinct);
        for (int l = 0; l < table.count; l++) {
            weight += table.line[l].split.weight;
            rows8 += table.line[l].split.weight * table.line[l].split.rows8;
        }
        assert_true(weight == 4 * shipped[i].layers);
        assert_true(fabs(rows8 / shipped[i].layers / shipped[i].features - 0.1) < 1e-5);
        split_table_release(&table);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_bad_tables),
        cmocka_unit_test(test_points_are_the_best),
        cmocka_unit_test(test_pure_splits),
        cmocka_unit_test(test_weights_count),
        cmocka_unit_test(test_workload),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_shipped_tables),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
