/* What the tests of merging and of T4 share: databases with rows of every sort, and their rows compared. */
#ifndef MT_TEST_ROWS_H
#define MT_TEST_ROWS_H

#include "test_store.h"

static inline void check_ok(enum mt_status status) {
    if (status != MT_OK)
        fail_msg("%s", fail_message());
}

static uint64_t seed = 88172645463325252u;
static inline double random_ns(void) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return 1000 + (double)(seed >> 11) / 65536.0;
}

/* A database of one machine: runs on a GPU and on a software device, good and bad candidates. */
static inline void make(const char *path, const char *uuid, const char *templates, int rows) {
    struct store_device device = gpu;
    struct store_environment environment = env;
    device.uuid = uuid, environment.template_hash = templates;
    for (int run = 0; run < 2; run++) {
        struct store *store = open_run(path, run ? &soft : &device, &environment);
        for (int i = 0; i < rows; i++) {
            double samples[5];
            for (int s = 0; s < 5; s++)
                samples[s] = random_ns();
            struct store_measurement m = good(samples, 5);
            m.m = 1 + i;
            m.config = i % 3 ? "tile_n=128,stages=4,split_k=1" : "tile_n=64,stages=3,split_k=2";
            m.origin = run ? ORIGIN_MODELLED : ORIGIN_MEASURED;
            m.low_ns = 0, m.high_ns = 1e300;
            if (i % 4 == 3)
                m.outcome = OUTCOME_WRONG, m.message = "y[3, 17] is 1.5, not 2.5";
            if (store_record(store, &m) != MT_OK)
                fail_msg("%s", fail_message());
        }
        store_close(store);
    }
}

static inline const char *at(const struct fixture *f, const char *name) {
    static char path[16][160];
    static int turn;
    turn = (turn + 1) % 16;
    snprintf(path[turn], sizeof path[turn], "%s/%s", f->folder, name);
    return path[turn];
}

/* All rows of all tables, sorted; samples and doubles byte by byte. */
static inline void dump(const char *path, struct str *out) {
    static const char *const sql[] = {
        "SELECT * FROM device ORDER BY id",      "SELECT * FROM environment ORDER BY id",
        "SELECT * FROM run ORDER BY id",         "SELECT * FROM layer ORDER BY id",
        "SELECT * FROM config ORDER BY id",      "SELECT * FROM knob ORDER BY config, name",
        "SELECT * FROM measurement ORDER BY id", "SELECT * FROM device_limit ORDER BY id"};
    struct store *store;
    if (store_open(path, &store) != MT_OK)
        fail_msg("%s", fail_message());
    for (int i = 0; i < 8; i++) {
        sqlite3_stmt *query;
        assert_int_equal(sqlite3_prepare_v2(store_handle(store), sql[i], -1, &query, NULL), SQLITE_OK);
        while (sqlite3_step(query) == SQLITE_ROW)
            for (int c = 0; c < sqlite3_column_count(query); c++) {
                double real = sqlite3_column_double(query, c);
                if (sqlite3_column_type(query, c) == SQLITE_FLOAT)
                    str_append_bytes(out, &real, sizeof real);
                else
                    str_append_bytes(out, sqlite3_column_blob(query, c), (size_t)sqlite3_column_bytes(query, c));
                str_append(out, c + 1 == sqlite3_column_count(query) ? "\n" : "|");
            }
        sqlite3_finalize(query);
    }
    store_close(store);
}

static inline void assert_same_rows(const char *a, const char *b) {
    struct str left = {0}, right = {0};
    dump(a, &left);
    dump(b, &right);
    assert_true(left.length > 100);
    assert_int_equal(left.length, right.length);
    assert_memory_equal(left.data, right.data, left.length);
    str_release(&left);
    str_release(&right);
}

#endif
