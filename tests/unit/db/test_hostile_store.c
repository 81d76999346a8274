/* Databases that somebody made on purpose: every column at its extremes, a schema with more in it than is ours, files
 * that are none. Each ends in one sentence or in good output, and nothing of them is run. */
#include "test_rows.h"

#include "db/guard.h"
#include "db/key.h"
#include "db/merge.h"
#include "db/schema.h"
#include "runtime/base/log.h"
#include "tuner/report/files.h"
#include "tuner/report/query.h"
#include "tuner/report/regret.h"
#include "tuner/report/rows.h"
#include "tuner/report/t4.h"
#include "tuner/report/winner_set.h"
#include <endian.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

static void run_sql(sqlite3 *db, const char *sql) {
    char *error = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s: %s", sql, error);
}

static sqlite3 *open_raw(const char *path) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    run_sql(db, "PRAGMA journal_mode = DELETE; PRAGMA synchronous = OFF; PRAGMA ignore_check_constraints = ON");
    return db;
}

/* Winners, baselines, a peer, failures, limits, on two devices. */
static void make_rich(const char *path) {
    const struct store_limit limit = {"read", "GB/s", 2000, ORIGIN_MEASURED};
    static const char *const families[][2] = {{"cublas", "fp16"}, {"f16", "fp16"}, {"peer:torch", "w4a16"}};
    double samples[3] = {9000, 9001, 9002};
    make(path, "GPU-3", "templates-1", 4);
    struct store *store = open_run(path, &gpu, &env);
    check_ok(store_record_limit(store, &limit));
    for (int i = 0; i < 3; i++) {
        struct store_measurement m = good(samples, 3);
        m.family = families[i][0], m.scheme = families[i][1], m.config = i ? "2.4,stages=4" : "";
        check_ok(store_record(store, &m));
    }
    store_close(store);
}

/* ---- whoever reads ---- */

static void is_told(enum mt_status status, const char *what) {
    if (status != MT_OK && (!*fail_message() || strchr(fail_message(), '\n')))
        fail_msg("%s: no sentence: '%s'", what, fail_message());
}

static void print_all(struct rows *rows) {
    struct str out = {0};
    const struct table_style style = {.lift = ",model,", .last = rows->count, .width = 80, .drop = ",config,"};
    rows_print_table(rows, &style, &out);
    rows_print_html(rows, &style, &out);
    rows_print_csv(rows, &out);
    rows_print_json(rows, &out);
    for (int r = 0; r < rows->count && rows_column(rows, "group_size") >= 0; r++) {
        struct problem problem;
        is_told(rows_problem(rows, r, &problem), "a problem");
    }
    str_release(&out);
}

/* As show, report and export do. */
static bool read_as_commands(const char *path) {
    const char *const sql[] = {report_winners_sql, report_measurements_sql, report_failures_sql, report_floor_sql,
                               report_peers_sql,   report_export_sql,       report_trees_sql,    report_sets_sql};
    const struct query_options query = {.db = path, .cache = "all"};
    const struct t4_choice choice = {false, true};
    struct store *store;
    enum mt_status status = query_open(&query, &store);
    is_told(status, "opening");
    if (status != MT_OK)
        return false;
    for (size_t i = 0; i < sizeof sql / sizeof *sql; i++) {
        struct rows rows;
        status = rows_read(store_handle(store), sql[i], NULL, &rows);
        is_told(status, "rows");
        if (status == MT_OK && rows.count)
            print_all(&rows);
        rows_release(&rows);
    }
    struct str text = {0};
    struct rows rows = {0};
    int count;
    is_told(t4_write(store, &choice, &text, &count), "T4");
    is_told(regret_splits(store_handle(store), NULL, 1, &rows), "regret");
    rows_release(&rows);
    str_release(&text);
    store_close(store);
    return true;
}

/* As merge does. */
static bool take_as_source(const char *path) {
    struct store *source;
    const enum mt_status status = merge_source_open(path, &source);
    is_told(status, "merging");
    store_close(source);
    return status == MT_OK;
}

/* ---- values ---- */

static const char *const values[] = {
    "NULL",
    "-1",
    "0",
    "2147483647",
    "9223372036854775807",
    "-9223372036854775808",
    "1e308",
    "9e999",
    "''",
    "CAST(x'610062' AS TEXT)",
    "CAST(x'6180ff62c3' AS TEXT)",
    "char(27) || ']0;x' || char(7, 10) || '<b>&''\"'",
    "printf('%.100000c', 'x')",
    "printf('%.2000000c', 'x')",
    "x'0000000000f87f0102030405060708'",
    "x'000000000000f87f000000000000f07f'",
    "'a,b=9999999999999999999999,=,c='",
    "'w8a8'",
};
enum { VALUES = sizeof values / sizeof *values };

/* Tables whose columns take anything, and the schema as it was, to be put back. */
struct loose {
    struct str bytes, restore;
};

static void loosen(const char *path, struct loose *out) {
    sqlite3 *db = open_raw(path);
    sqlite3_stmt *query;
    assert_int_equal(
        sqlite3_prepare_v2(db, "SELECT name, sql FROM sqlite_schema WHERE type = 'table'", -1, &query, NULL),
        SQLITE_OK);
    str_append(&out->restore, "PRAGMA writable_schema = ON;");
    while (sqlite3_step(query) == SQLITE_ROW) {
        char *sql = sqlite3_mprintf("UPDATE sqlite_schema SET sql = %Q WHERE name = %Q;", sqlite3_column_text(query, 1),
                                    sqlite3_column_text(query, 0));
        str_append(&out->restore, sql);
        sqlite3_free(sql);
    }
    sqlite3_finalize(query);
    run_sql(db,
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = "
            "replace(replace(replace(replace(replace(replace(replace(replace(replace(sql, 'INTEGER PRIMARY KEY', '@'), "
            "'IS NOT NULL', '^'), ' INTEGER', ' '), ' TEXT', ' '), ' REAL', ' '), ' BLOB', ' '), ' NOT NULL', ' '), "
            "' STRICT,', ' '), ' STRICT', ' ') WHERE type = 'table';"
            "UPDATE sqlite_schema SET sql = replace(replace(sql, '@', 'INTEGER PRIMARY KEY'), '^', 'IS NOT NULL')");
    sqlite3_close(db);
    check_ok(file_read(path, &out->bytes));
}

static void write_bytes(const char *path, const struct str *bytes) {
    FILE *file = fopen(path, "wb");
    assert_int_equal(fwrite(bytes->data, 1, bytes->length, file), bytes->length);
    fclose(file);
}

/* One cell, in the first row or in all; false where SQLite itself cannot have it there. */
static bool put_value(const struct loose *loose, const char *path, const char *table, const char *column, int value) {
    struct str sql = {0};
    write_bytes(path, &loose->bytes);
    sqlite3 *db = open_raw(path);
    str_printf(&sql, "UPDATE %s SET %s = %s %s", table, column, values[value],
               value % 2 || !strcmp(table, "knob") ? "" : "WHERE id = (SELECT min(id) FROM this)");
    char *this = strstr(sql.data, "this");
    if (this) {
        *this = 0;
        sql.length = (size_t)(this - sql.data);
        str_printf(&sql, "%s)", table);
    }
    const bool done = sqlite3_exec(db, sql.data, NULL, NULL, NULL) == SQLITE_OK;
    run_sql(db, loose->restore.data);
    sqlite3_close(db);
    str_release(&sql);
    return done;
}

/* Some of them, each value with another column: all take half a minute (-DEVERY=1). */
#if !defined(EVERY) && defined(__SANITIZE_ADDRESS__)
#define EVERY 61
#elif !defined(EVERY)
#define EVERY 11
#endif

static void every_column_at_its_extremes(void **state) {
    struct fixture *f = *state;
    const char *path = strdup(at(f, "victim.db"));
    struct loose loose = {0};
    int tried = 0, refused = 0, merged = 0, at_number = 0;
    make_rich(path);
    assert_true(read_as_commands(path) && take_as_source(path));
    loosen(path, &loose);
    struct store *fresh = open_run(at(f, "fresh.db"), &gpu, &env);
    sqlite3_stmt *query;
    assert_int_equal(
        sqlite3_prepare_v2(store_handle(fresh),
                           "SELECT t.name, c.name FROM sqlite_schema AS t, pragma_table_xinfo(t.name) AS c "
                           "WHERE t.type = 'table' AND c.hidden = 0",
                           -1, &query, NULL),
        SQLITE_OK);
    while (sqlite3_step(query) == SQLITE_ROW)
        for (int v = 0; v < VALUES; v++) {
            const char *table = (const char *)sqlite3_column_text(query, 0),
                       *column = (const char *)sqlite3_column_text(query, 1);
            if (at_number++ % EVERY || !put_value(&loose, path, table, column, v))
                continue;
            tried++;
            refused += !read_as_commands(path);
            merged += take_as_source(path);
        }
    print_message("%d values, %d refused, %d merged\n", tried, refused, merged);
    assert_true(tried > 700 / EVERY && refused > tried / 2 && merged <= tried / 20);
    sqlite3_finalize(query);
    store_close(fresh);
    str_release(&loose.bytes);
    str_release(&loose.restore);
    free((void *)path);
}

/* What later code counts with has no value that it could not take. */
static void what_is_refused_is_named(void **state) {
    struct fixture *f = *state;
    static const struct {
        const char *table, *column;
        int value;
        const char *part;
    } bad[] = {
        {"measurement", "m", 3, "has a value in m that mixtune never writes"},
        {"measurement", "m", 0, "NULL value in measurement.m"},
        {"measurement", "m", 1, "CHECK constraint failed in measurement"},
        {"measurement", "low_clock", 7, "has a value in low_clock that mixtune never writes"},
        {"run", "command", 13, "has a value in command that mixtune never writes"},
        {"layer", "n", 17, "value in layer.n"},
        {"device", "name", 14, "value in device.name"},
        {"device_limit", "value", 7, "has a value in value that mixtune never writes"},
    };
    const char *path = strdup(at(f, "victim.db"));
    struct loose loose = {0};
    struct store *store;
    make_rich(path);
    loosen(path, &loose);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_true(put_value(&loose, path, bad[i].table, bad[i].column, bad[i].value));
        assert_int_equal(store_open(path, &store), MT_FAILURE);
        if (!strstr(fail_message(), bad[i].part) || !strstr(fail_message(), path))
            fail_msg("not the sentence with `%s`: %s", bad[i].part, fail_message());
        assert_int_equal(store_open_reading(path, &store), MT_FAILURE);
        assert_non_null(strstr(fail_message(), bad[i].part));
    }
    str_release(&loose.bytes);
    str_release(&loose.restore);
    free((void *)path);
}

/* ---- schemas ---- */

/* By every way to open one; under a sanitizer by one after another. */
static void refused_everywhere(const char *path, const char *part) {
    static size_t turn;
    const size_t first = EVERY > 20 ? turn++ % 3 : 0, end = EVERY > 20 ? first + 1 : 3;
    struct store *store;
    enum mt_status (*const openers[])(const char *, struct store **) = {store_open_reading, store_open,
                                                                        merge_source_open};
    for (size_t i = first; i < end; i++) {
        assert_int_equal(openers[i](path, &store), MT_FAILURE);
        assert_null(store);
        if (!strstr(fail_message(), part) || !strstr(fail_message(), path) || strchr(fail_message(), '\n'))
            fail_msg("not the sentence with `%s`: %s", part, fail_message());
    }
}

static void foreign_schemas(void **state) {
    struct fixture *f = *state;
    static const char *const sql[][2] = {
        {"CREATE TRIGGER t AFTER INSERT ON run BEGIN DELETE FROM measurement; END", "a foreign trigger `t`"},
        {"CREATE VIEW v AS SELECT 1", "a foreign view `v`"},
        {"CREATE TABLE t (a)", "a foreign table `t`"},
        {"CREATE INDEX i ON run (abs(started))", "a foreign index `i`"},
        {"CREATE VIRTUAL TABLE t USING fts5(a)", "a foreign table `t`"},
        {"ALTER TABLE run ADD COLUMN g INTEGER AS (abs(started))", "another table `run`"},
        {"DROP VIEW winner; CREATE VIEW winner AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) "
         "SELECT n FROM r",
         "another view `winner`"},
        {"DROP VIEW winner; CREATE TABLE winner (a)", "a foreign table `winner`"},
        {"DROP TRIGGER measurement_origin", "no trigger `measurement_origin`"},
        {"DROP INDEX measurement_by_run", "no index `measurement_by_run`"},
        {"ANALYZE", "a foreign table `sqlite_stat1`"},
        {"PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'CHECK (m > 0)', '') WHERE name = "
         "'measurement'",
         "another table `measurement`"},
        {"PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE TABLE' WHERE name = 'run'",
         "malformed database schema"},
        {"PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 999999 WHERE name = 'run'",
         "malformed database schema"},
        {"PRAGMA user_version = 0", "a foreign index"},
        {"PRAGMA user_version = 9", "another "},
        {"PRAGMA user_version = -5", "no database version -5"},
        {"PRAGMA user_version = 11", "newer mixtune"},
        {"PRAGMA application_id = 1", "another program"},
    };
    const char *path = strdup(at(f, "victim.db"));
    struct str bytes = {0};
    make_rich(path);
    sqlite3_close(open_raw(path)); /* all of it is in one file */
    check_ok(file_read(path, &bytes));
    for (size_t i = 0; i < sizeof sql / sizeof *sql; i++) {
        write_bytes(path, &bytes);
        sqlite3 *db = open_raw(path);
        run_sql(db, sql[i][0]);
        sqlite3_close(db);
        refused_everywhere(path, sql[i][1]);
    }
    str_release(&bytes);
    free((void *)path);
}

/* Comments and white space are as the program had them that made it. */
static void older_ones_are_ours(void **state) {
    struct fixture *f = *state;
    int newest;
    const char *const *steps = schema_steps(&newest);
    for (int version = 1; version <= newest; version++) {
        struct store *store;
        const char *path = at(f, "old.db");
        unlink(path);
        sqlite3 *db = open_raw(path);
        assert_true(key_register(db));
        for (int i = 0; i < version; i++)
            run_sql(db, steps[i]);
        char sql[400];
        snprintf(sql, sizeof sql,
                 "PRAGMA application_id = %d; PRAGMA user_version = %d; PRAGMA writable_schema = ON; UPDATE "
                 "sqlite_schema SET sql = replace(sql, 'id       INTEGER', 'id -- a key, isn''t it?' || char(10) || "
                 "' INTEGER')",
                 SCHEMA_APPLICATION, version);
        run_sql(db, sql);
        assert_int_equal(sqlite3_total_changes(db) > 0, 1);
        sqlite3_close(db);
        check_ok(store_open_reading(path, &store));
        store_close(store);
        check_ok(store_open(path, &store));
        assert_int_equal(number(store, "PRAGMA user_version"), newest);
        store_close(store);
    }
}

static void other_encodings(void **state) {
    struct fixture *f = *state;
    const char *path = at(f, "utf16.db");
    int newest;
    const char *const *steps = schema_steps(&newest);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    run_sql(db, "PRAGMA encoding = 'UTF-16le'; PRAGMA synchronous = OFF");
    assert_true(key_register(db));
    for (int i = 0; i < newest; i++)
        run_sql(db, steps[i]);
    char sql[96];
    snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = %d", SCHEMA_APPLICATION, newest);
    run_sql(db, sql);
    sqlite3_close(db);
    refused_everywhere(path, "not UTF-8");
}

/* ---- files ---- */

static void files_that_are_none(void **state) {
    struct fixture *f = *state;
    const char *path = strdup(at(f, "a.db"));
    refused_everywhere(f->folder, "is a folder");
    assert_int_equal(mkfifo(path, 0600), 0);
    refused_everywhere(path, "is a pipe");
    unlink(path);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    struct store *store;
    assert_int_equal(store_open_reading(path, &store), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "is a socket"));
    unlink(path);
    assert_int_equal(store_open_reading("/dev/zero", &store), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "is a device"));
    free((void *)path);
}

static const char *const beside[] = {"-wal", "-journal", "-shm"};

static void what_lies_beside(void **state) {
    struct fixture *f = *state;
    const char *path = strdup(at(f, "a.db")), *precious = strdup(at(f, "precious"));
    make_rich(path);
    sqlite3_close(open_raw(path));
    check_ok(file_write_atomic(precious, "a", 1));
    for (size_t i = 0; i < 3; i++) {
        char name[200];
        snprintf(name, sizeof name, "%s%s", path, beside[i]);
        assert_int_equal(mkfifo(name, 0600), 0);
        refused_everywhere(path, "is a pipe where SQLite keeps a file of its own");
        unlink(name);
        assert_int_equal(symlink(precious, name), 0);
        refused_everywhere(path, "is a link where SQLite keeps a file of its own");
        unlink(name);
    }
    assert_true(read_as_commands(path));
    free((void *)path), free((void *)precious);
}

static void put_number(struct str *out, uint32_t number) {
    const unsigned char bytes[] = {(unsigned char)(number >> 24), (unsigned char)(number >> 16),
                                   (unsigned char)(number >> 8), (unsigned char)number};
    str_append_bytes(out, bytes, sizeof bytes);
}

/* A journal to be rolled back that is part of a larger transaction: SQLite plays it back and deletes the file that it
 * names, whatever that is. */
static void a_journal_names_a_file(void **state) {
    static const unsigned char magic[] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};
    struct fixture *f = *state;
    struct str journal = {0}, bytes = {0};
    const char *path = strdup(at(f, "a.db")), *name = strdup(at(f, "a.db-journal")),
               *precious = strdup(at(f, "precious"));
    make_rich(path);
    sqlite3_close(open_raw(path));
    check_ok(file_read(path, &bytes));
    check_ok(file_write_atomic(precious, "kept", 4));
    str_append_bytes(&journal, magic, sizeof magic);
    put_number(&journal, 0);                               /* pages to be put back */
    put_number(&journal, 1);                               /* what checksums begin with */
    put_number(&journal, (uint32_t)(bytes.length / 4096)); /* of the database */
    put_number(&journal, 512);
    put_number(&journal, 4096);
    str_reserve(&journal, 512);
    memset(journal.data + journal.length, 0, 512 - journal.length);
    journal.length = 512;
    uint32_t sum = 0;
    for (const char *p = precious; *p; p++)
        sum += (uint32_t)*p;
    put_number(&journal, 262145); /* the page that holds the lock */
    str_append(&journal, precious);
    put_number(&journal, (uint32_t)strlen(precious));
    put_number(&journal, sum);
    str_append_bytes(&journal, magic, sizeof magic);
    check_ok(file_write_atomic(name, journal.data, journal.length));
    refused_everywhere(path, "belongs to a transaction over several files");
    assert_int_equal(access(precious, F_OK), 0);
    sqlite3 *db;
    sqlite3_open(path, &db); /* and SQLite does: the case is a real one */
    sqlite3_exec(db, "SELECT * FROM run", NULL, NULL, NULL);
    sqlite3_close(db);
    assert_int_equal(access(precious, F_OK), -1);
    str_release(&journal);
    str_release(&bytes);
    free((void *)path), free((void *)name), free((void *)precious);
}

/* As SQLite adds up its log, in words of the byte order that its magic names. */
static void add_up(const char *bytes, size_t size, uint32_t sum[2]) {
    for (size_t i = 0; i < size; i += 8) {
        uint32_t words[2];
        memcpy(words, bytes + i, sizeof words);
        sum[0] += le32toh(words[0]) + sum[1];
        sum[1] += le32toh(words[1]) + sum[0];
    }
}

/* A log of one page says that the database has 16 GB now: a copy would have them. */
static void a_log_makes_it_large(void **state) {
    struct fixture *f = *state;
    struct str bytes = {0}, log = {0};
    const char *path = strdup(at(f, "a.db")), *name = strdup(at(f, "a.db-wal"));
    struct store *store;
    uint32_t sum[2] = {0, 0};
    make_rich(path);
    check_ok(file_read(path, &bytes));
    assert_int_equal(bytes.data[18], 2);                       /* it has logs */
    memcpy(bytes.data + 28, (const char[]){0, 0x40, 0, 0}, 4); /* of the page that the log has */
    const uint32_t head[] = {0x377f0682, 3007000, 4096, 0, 11, 12}, frame[] = {1, 1u << 22, 11, 12};
    for (size_t i = 0; i < 6; i++)
        put_number(&log, head[i]);
    add_up(log.data, 24, sum);
    put_number(&log, sum[0]);
    put_number(&log, sum[1]);
    for (size_t i = 0; i < 4; i++)
        put_number(&log, frame[i]);
    add_up(log.data + 32, 8, sum);
    add_up(bytes.data, 4096, sum);
    put_number(&log, sum[0]);
    put_number(&log, sum[1]);
    str_append_bytes(&log, bytes.data, 4096);
    check_ok(file_write_atomic(name, log.data, log.length));
    assert_int_equal(store_open_reading(path, &store), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "it says that it has 17179869184 bytes"));
    str_release(&bytes);
    str_release(&log);
    free((void *)path), free((void *)name);
}

/* Mostly a hole: nobody fills a disk or a memory with it. */
static void a_file_of_holes(void **state) {
    struct fixture *f = *state;
    const char *path = strdup(at(f, "a.db")), *name = strdup(at(f, "empty.db"));
    struct store *store;
    make_rich(path);
    sqlite3_close(open_raw(path));
    assert_int_equal(truncate(path, (off_t)10 << 30), 0);
    const int fd = open(path, O_RDWR);
    const unsigned char pages[] = {0, 0x28, 0, 0}; /* in the header, which is then believed */
    assert_int_equal(pwrite(fd, pages, 4, 28), 4);
    close(fd);
    const clock_t start = clock();
    assert_int_equal(merge_source_open(path, &store), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "are holes"));
    assert_true(read_as_commands(path)); /* where it lies: what counts of it is small */
    assert_true(clock() - start < 20 * CLOCKS_PER_SEC);
    assert_int_equal(truncate(path, 200 * 4096), 0); /* and the header says more */
    refused_everywhere(path, "damaged");
    check_ok(file_write_atomic(name, "", 0));
    check_ok(store_open_reading(name, &store));
    assert_int_equal(number(store, "SELECT count(*) FROM measurement"), 0);
    store_close(store);
    free((void *)path), free((void *)name);
}

static int quiet(void **state) {
    (void)state;
    log_set_level(LOG_ERROR);
    return 0;
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_remove)
    const struct CMUnitTest tests[] = {
        TEST(every_column_at_its_extremes),
        TEST(what_is_refused_is_named),
        TEST(foreign_schemas),
        TEST(older_ones_are_ours),
        TEST(other_encodings),
        TEST(files_that_are_none),
        TEST(what_lies_beside),
        TEST(a_journal_names_a_file),
        TEST(a_log_makes_it_large),
        TEST(a_file_of_holes),
    };
    return cmocka_run_group_tests(tests, quiet, NULL);
}
