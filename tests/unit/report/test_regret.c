/* What tuning a few splits costs: of tables made by hand, where every number can be worked out. */
#include "runtime/base/file.h"
#include "tuner/report/regret.h"
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

static sqlite3 *db;

static void run(const char *sql) {
    char *why = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", sql, why);
}

/* What query_open() makes of a database, as far as it is read here. */
static int open_tables(void **state) {
    (void)state;
    if (sqlite3_open(":memory:", &db) != SQLITE_OK)
        return 1;
    run("CREATE TABLE asked_fact (origin, device_name, uuid, cache_state, time_model, model, tp, layer, layer_order, "
        "n, k, "
        "group_size, dtype, scheme, rows8, m, config_id, median_ns, state, outcome, is_baseline, is_peer);"
        "CREATE VIEW asked AS SELECT *, min(median_ns) FROM asked_fact WHERE state = 'current' AND outcome = 'ok' AND "
        "NOT "
        "is_baseline AND NOT is_peer GROUP BY device_name, cache_state, layer, group_size, scheme, rows8, m;");
    return 0;
}

static int close_tables(void **state) {
    (void)state;
    return sqlite3_close(db);
}

enum { A = 1, B, C };

/* A configuration's time at a split of layer o, 1600x4096. */
static void add_time(const char *scheme, int rows8, int m, int config, double ns) {
    char sql[400];
    snprintf(
        sql, sizeof sql,
        "INSERT INTO asked_fact VALUES ('modelled', 'a device', 'soft', 'cold', 'x', 'some model', 1, 'o', 1, 1600, "
        "4096, 128, 'fp16', '%s', %d, %d, %d, %.17g, 'current', 'ok', 0, 0)",
        scheme, rows8, m, config, ns);
    run(sql);
}

/* A is best for few features in 8 bits and B for many; they meet at 480. C is best between. B has no time at 640, a
 * stale one does not count, and neither does a baseline's. */
static void add_layer(void) {
    for (int rows8 = 160; rows8 <= 800; rows8 += 160) {
        add_time("mixed", rows8, 16, A, 100 + 0.10 * rows8);
        if (rows8 != 640)
            add_time("mixed", rows8, 16, B, 124 + 0.05 * rows8);
    }
    add_time("mixed", 320, 16, C, 120); /* A takes 132 */
    add_time("mixed", 640, 16, C, 150);
    run("INSERT INTO asked_fact SELECT origin, device_name, uuid, cache_state, time_model, model, tp, layer, "
        "layer_order, n, "
        "k, group_size, dtype, scheme, 640, m, config_id, 10, 'stale', outcome, 0, 0 FROM asked_fact WHERE config_id = "
        "2 AND "
        "rows8 = 800;"
        "INSERT INTO asked_fact SELECT origin, device_name, uuid, cache_state, time_model, model, tp, layer, "
        "layer_order, n, "
        "k, group_size, dtype, 'fp16', 0, m, 9, 10, 'current', outcome, 1, 0 FROM asked_fact WHERE config_id = 3");
}

static const char *cell(const struct rows *rows, const char *section, const char *layer, const char *most,
                        const char *name) {
    for (int r = 0; r < rows->count; r++)
        if (rows_is(rows, r, "section", section) && rows_is(rows, r, "layer", layer) && rows_is(rows, r, "most", most))
            return rows_cell(rows, r, name);
    fail_msg("no row of %s, %s, %s", section, layer, most);
    return NULL;
}

static void check(const struct rows *rows, const char *section, const char *layer, const char *most,
                  const char *const want[8]) {
    static const char *const names[8] = {"splits",        "points",   "mean_percent", "p95_percent",
                                         "worst_percent", "worst_at", "unknown",      "untuned"};
    for (int i = 0; i < 8; i++)
        if (strcmp(cell(rows, section, layer, most, names[i]), want[i]) != 0)
            fail_msg("%s, %s, at most %s: %s is `%s`, not `%s`", section, layer, most, names[i],
                     cell(rows, section, layer, most, names[i]), want[i]);
}

static struct split_table table_of(const char *text) {
    char path[] = "/tmp/mixtune-regret-XXXXXX";
    struct split_table table;
    int fd = mkstemp(path);
    assert_true(fd >= 0 && !close(fd));
    assert_int_equal(file_write_atomic(path, text, strlen(text)), MT_OK);
    assert_int_equal(split_table_read(path, &table), MT_OK);
    unlink(path);
    return table;
}

/* The weights make 160 and 800 the two points. Between them 320 runs A, which takes 10 % more than C; 480 runs A, for
 * the two meet there, and loses nothing; 640 would run B, and nobody knows what that takes. 1000 was never tuned. */
static void test_two_points(void **state) {
    (void)state;
    struct split_table table = table_of("o,160,100\no,800,100\no,320\no,480\no,640\no,1000\n");
    struct rows rows;
    add_layer();
    assert_int_equal(regret_splits(db, &table, 1, &rows), MT_OK);
    check(
        &rows, "points", "all", "2",
        (const char *const[]){"6", "2", "0.05", "0.0", "10.0", "o 320, m 16", "1", "1"}); /* 10 / (100 + 100 + 1 + 1) */
    check(&rows, "points", "all", "8", (const char *const[]){"6", "5", "0.0", "0.0", "0.0", "", "0", "1"});
    check(&rows, "splits", "o", "6", (const char *const[]){"6", "5", "0.0", "0.0", "0.0", "", "0", "1"});
    check(&rows, "splits", "all", "6", (const char *const[]){"6", "5", "0.0", "0.0", "0.0", "", "0", "1"});
    assert_int_equal(rows.count, 2 + 5);
    struct str out = {0};
    regret_print(&rows, &out);
    assert_non_null(strstr(out.data, "MODELLED"));
    assert_non_null(strstr(out.data, "o 320, m 16"));
    str_release(&out);
    rows_release(&rows);
    split_table_release(&table);
}

/* One point in twenty is the worst 5 %: what lies beyond it is in the worst, not in the percentile. */
static void test_percentile(void **state) {
    (void)state;
    struct split_table table = table_of("o,160,100\no,800,81\no,320,9\no,480,0.5\n");
    struct rows rows;
    add_layer();
    assert_int_equal(regret_splits(db, &table, 1, &rows), MT_OK);
    check(&rows, "points", "all", "2",
          (const char *const[]){"4", "2", "0.47", "0.0", "10.0", "o 320, m 16", "0", "0"}); /* 9 of 190.5 */
    rows_release(&rows);
    split_table_release(&table);
    close_tables(NULL);
    open_tables(NULL);
    table = table_of("o,160,100\no,800,81\no,320,10\no,480,0.5\n");
    add_layer();
    assert_int_equal(regret_splits(db, &table, 1, &rows), MT_OK);
    check(&rows, "points", "all", "2",
          (const char *const[]){"4", "2", "0.52", "10.0", "10.0", "o 320, m 16", "0", "0"}); /* 10 of 191.5 */
    rows_release(&rows);
    split_table_release(&table);
}

/* Without a table all count alike; all in 8 bits is a split of the layer with zero points and of the one without, and
 * a point of both, for no other has its binaries. */
static void test_kinds(void **state) {
    (void)state;
    struct rows rows;
    for (int rows8 = 100; rows8 < 500; rows8 += 100) {
        add_time("mixed", rows8, 1, A, 100 + rows8);
        add_time("mixed-sym", rows8, 1, A, 90 + rows8);
        add_time("mixed-sym", rows8, 1, B, rows8 < 400 ? 200 + rows8 : 440);
    }
    add_time("w8a8", 1600, 1, A, 5000);
    add_time("w8a8", 1600, 1, B, 4000);
    assert_int_equal(regret_splits(db, NULL, 1, &rows), MT_OK);
    assert_int_equal(rows.count, 2 * (2 + 5));
    int symmetric = 0;
    for (int r = 0; r < rows.count; r++) {
        assert_string_equal(rows_cell(&rows, r, "splits"), "5");
        assert_string_equal(rows_cell(&rows, r, "unknown"), "0");
        symmetric += rows_is(&rows, r, "zeros", "symmetric");
        if (rows_is(&rows, r, "most", "2")) /* one of the four, and all in 8 bits */
            assert_string_equal(rows_cell(&rows, r, "points"), "2");
    }
    assert_int_equal(symmetric, 7);
    rows_release(&rows);
}

/* The only winner beside a split may have no time at the other neighbour: then it is taken in proportion to the bytes,
 * and another that has a time wins where it is less. */
static void test_one_sided_times(void **state) {
    (void)state;
    struct split_table table = table_of("o,160,100\no,800,100\no,480\n");
    struct rows rows;
    add_time("mixed", 160, 1, A, 100); /* about 130 at 480 by its bytes */
    add_time("mixed", 800, 1, B, 120); /* about 102 there */
    add_time("mixed", 480, 1, A, 101);
    add_time("mixed", 480, 1, B, 202);
    assert_int_equal(regret_splits(db, &table, 1, &rows), MT_OK);
    assert_string_equal(cell(&rows, "points", "all", "2", "worst_percent"), "100.0");
    rows_release(&rows);
    split_table_release(&table);
}

static void test_nothing(void **state) {
    (void)state;
    struct split_table table = table_of("qkv,1\n");
    struct rows rows;
    assert_int_equal(regret_splits(db, NULL, 1, &rows), MT_OK);
    assert_int_equal(rows.count, 0);
    rows_release(&rows);
    close_tables(NULL);
    open_tables(NULL);
    add_layer();
    assert_int_equal(regret_splits(db, &table, 1, &rows), MT_OK); /* no layer of the table */
    assert_int_equal(rows.count, 0);
    rows_release(&rows);
    split_table_release(&table);
    assert_int_equal(regret_splits(db, NULL, 1, &rows), MT_FAILURE); /* the temporary tables are there */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_two_points, open_tables, close_tables),
        cmocka_unit_test_setup_teardown(test_percentile, open_tables, close_tables),
        cmocka_unit_test_setup_teardown(test_kinds, open_tables, close_tables),
        cmocka_unit_test_setup_teardown(test_one_sided_times, open_tables, close_tables),
        cmocka_unit_test_setup_teardown(test_nothing, open_tables, close_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
