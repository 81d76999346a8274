/* The schema, db/current.sql, and the list of columns that rows and keys are made from. `test_schema --print`
 * writes db/current.sql. */
#include "test_store.h"

#include "db/columns.h"
#include "db/reading.h"
#include "db/schema.h"
#include <glob.h>

#define SHIPPED MT_SOURCE_DIR "/db/shipped/h100-sxm.db"

static struct store *empty(void) {
    struct store *store;
    if (reading_empty("the schema", &store))
        fail_msg("%s", fail_message());
    return store;
}

/* The rows of a query, the columns of each joined, as one text. */
static void join(struct store *store, const char *sql, const char *between, const char *after, struct str *out) {
    sqlite3_stmt *query;
    int rc;
    if (sqlite3_prepare_v2(store_handle(store), sql, -1, &query, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(store_handle(store)));
    for (int row = 0; (rc = sqlite3_step(query)) == SQLITE_ROW; row++)
        str_printf(out, "%s%s%s", row ? between : "", (const char *)sqlite3_column_text(query, 0), after);
    assert_int_equal(rc, SQLITE_DONE);
    sqlite3_finalize(query);
}

/* Each table with its indexes and triggers, then the views, as they were made. */
static void describe(struct str *out) {
    struct store *store = empty();
    str_printf(
        out,
        "-- The database as version %d has it: db/schema.sql and all steps after it, as one. What tables and views\n"
        "-- mean stands at the heads of the steps. For people: the program never reads this file. To change it, add\n"
        "-- a step and run `make db/current.sql`; tests/unit/db/test_schema.c compares.\n\n",
        (int)number(store, "PRAGMA user_version"));
    join(store,
         "SELECT sql FROM sqlite_schema AS x WHERE sql IS NOT NULL ORDER BY type = 'view', "
         "(SELECT min(rowid) FROM sqlite_schema AS y WHERE y.tbl_name = x.tbl_name), type = 'trigger', type = 'index', "
         "rowid",
         "\n", ";\n", out);
    store_close(store);
}

static void current_sql_is_current(void **state) {
    (void)state;
    struct str want = {0}, got = {0};
    describe(&want);
    assert_int_equal(file_read(MT_SOURCE_DIR "/db/current.sql", &got), MT_OK);
    if (strcmp(want.data, got.data) != 0) {
        size_t same = 0;
        while (want.data[same] == got.data[same])
            same++;
        fail_msg("db/current.sql is not what the steps make, from byte %zu on: run `make db/current.sql`", same);
    }
    str_release(&want);
    str_release(&got);
}

/* It can be run, and makes the same database. */
static void current_sql_is_whole(void **state) {
    (void)state;
    struct str text = {0}, want = {0}, got = {0};
    struct store *store = empty(), *copy = empty();
    const char *rows =
        "SELECT type || name || tbl_name || sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name";
    assert_int_equal(file_read(MT_SOURCE_DIR "/db/current.sql", &text), MT_OK);
    join(copy,
         "SELECT 'DROP ' || type || ' ' || name FROM sqlite_schema WHERE sql IS NOT NULL AND type IN ('table', 'view') "
         "ORDER BY rowid DESC",
         "", ";", &got);
    assert_int_equal(sqlite3_exec(store_handle(copy), got.data, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(number(copy, "SELECT count(*) FROM sqlite_schema"), 0);
    if (sqlite3_exec(store_handle(copy), text.data, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("db/current.sql: %s", sqlite3_errmsg(store_handle(copy)));
    str_clear(&got);
    join(store, rows, "\n", "", &want);
    join(copy, rows, "\n", "", &got);
    assert_string_equal(got.data, want.data);
    store_close(store);
    store_close(copy);
    str_release(&text);
    str_release(&want);
    str_release(&got);
}

static void every_step_is_a_file(void **state) {
    (void)state;
    int count;
    glob_t files;
    const char *const *steps = schema_steps(&count);
    assert_int_equal(glob(MT_SOURCE_DIR "/db/schema*.sql", 0, NULL, &files), 0);
    assert_int_equal(files.gl_pathc, count);
    globfree(&files);
    for (int i = 0; i < count; i++) {
        struct str path = {0}, text = {0};
        str_printf(&path, i ? MT_SOURCE_DIR "/db/schema_%d.sql" : MT_SOURCE_DIR "/db/schema.sql", i + 1);
        assert_int_equal(file_read(path.data, &text), MT_OK);
        assert_string_equal(steps[i], text.data);
        str_release(&path);
        str_release(&text);
    }
}

/* The columns after the key, in the order in which the schema made them; what is generated follows from others. */
static void columns_of_schema(struct store *store, const char *table, struct str *out) {
    char sql[160];
    snprintf(sql, sizeof sql,
             "SELECT name FROM pragma_table_xinfo('%s') WHERE name <> 'id' AND hidden = 0 ORDER BY cid", table);
    join(store, sql, ", ", "", out);
}

static void the_list_has_every_column(void **state) {
    (void)state;
    struct store *store = empty();
    struct str names = {0}, listed = {0};
    for (int t = 0; t < STORE_TABLES; t++) {
        struct str want = {0};
        columns_of_schema(store, store_tables[t].name, &want);
        if (strcmp(store_tables[t].columns, want.data) != 0)
            fail_msg("db/columns.c: the columns of %s are %s, and the schema has %s", store_tables[t].name,
                     store_tables[t].columns, want.data);
        str_printf(&listed, "%s ", store_tables[t].name);
        str_release(&want);
    }
    str_append(&listed, "knob ");
    join(store, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid", "",
         " ", &names);
    assert_int_equal(names.length, listed.length);
    for (int t = 0; t < STORE_TABLES; t++)
        assert_non_null(strstr(names.data, store_tables[t].name));
    store_close(store);
    str_release(&names);
    str_release(&listed);
}

/* ---- keys ---- */

/* Every row is what its key says, by the columns that the database itself has. */
static void assert_keys(struct store *store) {
    for (int t = 0; t < STORE_TABLES; t++) {
        struct str columns = {0}, sql = {0};
        columns_of_schema(store, store_tables[t].name, &columns);
        str_printf(&sql, "SELECT count(*) FROM %s WHERE id <> content_key('%s', %s)", store_tables[t].name,
                   store_tables[t].name, columns.data);
        assert_int_equal(number(store, sql.data), 0);
        str_release(&columns);
        str_release(&sql);
    }
}

/* These keys are in databases that exist. */
static void keys_are_those_of_before(void **state) {
    struct fixture *f = *state;
    struct store *store = open_run(f->path, &gpu, &env);
    double samples[] = {5000, 5001, 5002};
    struct store_measurement m = good(samples, 3);
    const struct store_limit limit = {"fma", "lanes/clock/SM", 128, ORIGIN_MEASURED};
    assert_int_equal(store_record(store, &m), MT_OK);
    m.outcome = OUTCOME_WRONG, m.message = "because";
    assert_int_equal(store_record(store, &m), MT_OK);
    m = good(samples, 3);
    m.rejected = 7, m.low_clock = 0.5;
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_int_equal(store_record_limit(store, &limit), MT_OK);
    assert_true(number(store, "SELECT id FROM device") == -7523417588749540104);
    assert_true(number(store, "SELECT id FROM environment") == 5646156810844798535);
    assert_true(number(store, "SELECT id FROM layer") == 8213498957690949402);
    assert_true(number(store, "SELECT id FROM config") == -4773569575009986061);
    assert_int_equal(number(store, "SELECT count(*) FROM measurement"), 3);
    assert_int_equal(number(store, "SELECT count(*) FROM measurement WHERE low_clock IS NULL"), 2);
    assert_keys(store);
    store_close(store);
}

/* What was recorded by earlier programs is found again: rows of the shipped database are there when they are added. */
static void shipped_rows_are_found(void **state) {
    struct fixture *f = *state;
    struct str text = {0}, tools = {0};
    struct store *store;
    sqlite3_stmt *query;
    int rows = 0;
    assert_int_equal(file_read(SHIPPED, &text), MT_OK);
    assert_int_equal(file_write_atomic(f->path, text.data, text.length), MT_OK);
    str_release(&text);
    assert_int_equal(store_open(f->path, &store), MT_OK);
    assert_keys(store);
    const int64_t devices = number(store, "SELECT count(*) FROM device"),
                  environments = number(store, "SELECT count(*) FROM environment");
    assert_int_equal(
        sqlite3_prepare_v2(
            store_handle(store),
            "SELECT uuid, device_name, cc, sm_count, software, driver_version, nvrtc_version, template_hash, "
            "cublas_version, clocks, model, layer, n, k, tp, m, group_size, scheme, dtype, family, config, "
            "cache_state, origin, rows8 FROM fact WHERE id % 20 = 0 AND NOT doubtful AND NOT is_peer "
            "ORDER BY device, driver_version, nvrtc_version, template_hash, cublas_version, time_model",
            -1, &query, NULL),
        SQLITE_OK);
    while (sqlite3_step(query) == SQLITE_ROW) {
#define TEXT(c)   ((const char *)sqlite3_column_text(query, c))
#define NUMBER(c) sqlite3_column_int(query, c)
        const struct store_device device = {TEXT(0), TEXT(1), NUMBER(2), NUMBER(3), NUMBER(4)};
        const struct store_environment environment = {NUMBER(5), NUMBER(6), TEXT(7), TEXT(8), TEXT(9), "", "", ""};
        const struct store_measurement key = {.layer = {TEXT(10), TEXT(11), NUMBER(12), NUMBER(13), NUMBER(14)},
                                              .m = NUMBER(15),
                                              .group = NUMBER(16),
                                              .scheme = TEXT(17),
                                              .rows8 = NUMBER(23),
                                              .dtype = TEXT(18),
                                              .family = TEXT(19),
                                              .config = TEXT(20),
                                              .cache_state = TEXT(21),
                                              .origin =
                                                  !strcmp(TEXT(22), "modelled") ? ORIGIN_MODELLED : ORIGIN_MEASURED};
        int found = 0;
        str_clear(&tools);
        for (int c = 0; c < 9; c++)
            str_printf(&tools, "%s ", TEXT(c));
        if (!text.data || strcmp(text.data, tools.data) != 0) /* a run of its own for every toolchain of a device */
            assert_int_equal(store_begin(store, &device, &environment, "test"), MT_OK);
        str_clear(&text);
        str_append(&text, tools.data);
        assert_int_equal(store_has(store, &key, &found), MT_OK);
        assert_int_equal(found, 1);
        rows++;
    }
    sqlite3_finalize(query);
    str_release(&text);
    str_release(&tools);
    assert_in_range(rows, 100, 1000);
    assert_int_equal(number(store, "SELECT count(*) FROM device"), devices);
    assert_int_equal(number(store, "SELECT count(*) FROM environment"), environments);
    store_close(store);
}

/* Version 8 had a percentage of the layer's features in a scheme's name. */
static void shares_become_rows(void **state) {
    static const struct {
        int n;
        const char *before, *family, *after;
        int rows8;
    } rows[] = {{4096, "w4a8", "sm80", "w4a8", 0},        {4096, "w8a8", "sm80", "w8a8", 4096},
                {4096, "w4.4a8", "sm80", "mixed", 410},   {6144, "w6a8", "sm90", "mixed", 3072},
                {49, "w4.04a8", "sm80", "w4a8", 0},       {50, "w4.04a8", "sm80", "mixed", 1},
                {1, "w6a8", "sm80", "w8a8", 1},           {4096, "fp16", "cublas", "fp16", 0},
                {33, "w8a8", "peer:torch", "w8a8", 33},   {33, "w4a16", "peer:torch", "w4a16", 0},
                {96, "w4.8a8", "peer:other", "mixed", 19}};
    struct fixture *f = *state;
    struct str sql = {0};
    sqlite3 *db;
    char *error = NULL;
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(schema_migrate(db, f->path, schema_steps(NULL), 8), MT_OK); /* registers content_key() */
    str_append(&sql, "INSERT INTO device VALUES (1, 'u', 'GPU', 90, 132, 0);"
                     "INSERT INTO environment VALUES (2, 13000, 1300, 't', '', '', '');"
                     "INSERT INTO run VALUES (3, 1, 2, 'test', 5, '');");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        str_printf(
            &sql,
            "INSERT INTO layer VALUES (%zu, 'a', 'layer %zu', %d, 64, 1);"
            "INSERT OR IGNORE INTO config VALUES (content_key('config', '%s', ''), '%s', '');"
            "INSERT INTO measurement VALUES (%zu, 3, %zu, content_key('config', '%s', ''), 1, 128, '%s', 'fp16', "
            "'', 'ok', '', 'measured', 'cold', zeroblob(8), 5, 4, 6, 1, 2, 3, %zu, 0, NULL);",
            i, i, rows[i].n, rows[i].family, rows[i].family, i, i, rows[i].family, rows[i].before, 100 + i);
    if (sqlite3_exec(db, sql.data, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s", error);
    sqlite3_close(db);

    struct store *store;
    assert_int_equal(store_open(f->path, &store), MT_OK);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        str_clear(&sql);
        str_printf(&sql,
                   "SELECT count(*) FROM fact WHERE layer = 'layer %zu' AND scheme = '%s' AND rows8 = %d "
                   "AND created = %zu AND median_ns = 5",
                   i, rows[i].after, rows[i].rows8, 100 + i);
        if (number(store, sql.data) != 1)
            fail_msg("%s of %d features is not %s with %d", rows[i].before, rows[i].n, rows[i].after, rows[i].rows8);
    }
    assert_int_equal(number(store, "SELECT count(*) FROM measurement"), sizeof rows / sizeof *rows);
    assert_int_equal(number(store,
                            "SELECT count(*) FROM measurement WHERE id <> content_key('measurement', run, layer, "
                            "config, m, group_size, scheme, dtype, binary, outcome, message, origin, "
                            "cache_state, samples, median_ns, low_ns, high_ns, registers, smem_bytes, "
                            "spill_bytes, created, rejected, low_clock, rows8, tries)"),
                     0);
    store_close(store);
    str_release(&sql);
}

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "--print")) {
        struct str text = {0};
        describe(&text);
        fputs(text.data, stdout);
        str_release(&text);
        return fflush(stdout) != 0;
    }
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_remove)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(current_sql_is_current),
        cmocka_unit_test(current_sql_is_whole),
        cmocka_unit_test(every_step_is_a_file),
        cmocka_unit_test(the_list_has_every_column),
        TEST(keys_are_those_of_before),
        TEST(shipped_rows_are_found),
        TEST(shares_become_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
