/* Merging: the union of rows, whatever the order and however often; a damaged source changes nothing. */
#include "test_rows.h"

#include "db/key.h"
#include "db/merge.h"
#include "db/schema.h"
#include <sys/stat.h>

static enum mt_status merge(const char *target, const char *const *path, int count, struct merge_count *out) {
    struct store *source[8] = {0}, *into = NULL;
    enum mt_status status = MT_OK;
    for (int i = 0; i < count && status == MT_OK; i++)
        status = merge_source_open(path[i], &source[i]);
    if (status == MT_OK)
        status = store_open(target, &into);
    if (status == MT_OK)
        status = merge_into(into, source, count, out);
    for (int i = 0; i < count; i++)
        store_close(source[i]);
    store_close(into);
    return status;
}

static void the_union_whatever_the_order(void **state) {
    struct fixture *f = *state;
    struct merge_count count;
    const char *a = strdup(at(f, "a.db")), *b = strdup(at(f, "b.db")), *c = strdup(at(f, "c.db"));
    make(a, "GPU-1", "templates-1", 7);
    make(b, "GPU-2", "templates-1", 5);
    make(c, "GPU-1", "templates-2", 3); /* the same device with newer kernels */
    check_ok(merge(at(f, "x.db"), (const char *[]){a, b, c}, 3, &count));
    assert_int_equal(count.measurements, 30);
    assert_int_equal(count.runs, 6);
    check_ok(merge(at(f, "y.db"), (const char *[]){c, b}, 2, &count));
    check_ok(merge(at(f, "y.db"), (const char *[]){a}, 1, &count));
    assert_same_rows(at(f, "x.db"), at(f, "y.db"));

    check_ok(merge(at(f, "y.db"), (const char *[]){b, at(f, "x.db"), b, at(f, "y.db")}, 4, &count));
    assert_int_equal(count.measurements + count.runs, 0);
    assert_int_equal(count.measurements_read, 10 + 30 + 10 + 30);
    assert_same_rows(at(f, "x.db"), at(f, "y.db"));

    struct store *store;
    check_ok(store_open(at(f, "x.db"), &store));
    assert_int_equal(number(store, "SELECT count(*) FROM measurement WHERE outcome = 'ok'"), 2 * (6 + 4 + 3));
    assert_int_equal(number(store, "SELECT count(*) FROM device"), 3);
    assert_int_equal(number(store, "SELECT count(*) FROM environment"), 2);
    assert_int_equal(number(store, "SELECT count(*) FROM knob"), 6);
    /* Of the GPU that was swept twice only the newer kernels count. */
    assert_int_equal(number(store, "SELECT count(*) FROM current WHERE uuid = 'GPU-1'"), 3);
    store_close(store);
    free((void *)a), free((void *)b), free((void *)c);
}

/* The merge is refused with `part` in the sentence, the target keeps its bytes, and so does the source. */
static void refused(struct fixture *f, const char *source, const char *part) {
    struct str before = {0}, after = {0}, source_before = {0}, source_after = {0};
    struct merge_count count;
    check_ok(file_read(at(f, "target.db"), &before));
    file_read(source, &source_before);
    const char *good_one = at(f, "good.db");
    assert_int_equal(merge(at(f, "target.db"), (const char *[]){good_one, source}, 2, &count), MT_FAILURE);
    if (!strstr(fail_message(), part) || !strstr(fail_message(), source) || strchr(fail_message(), '\n'))
        fail_msg("not the sentence with `%s`: %s", part, fail_message());
    check_ok(file_read(at(f, "target.db"), &after));
    file_read(source, &source_after);
    assert_int_equal(before.length, after.length);
    assert_memory_equal(before.data, after.data, before.length);
    assert_int_equal(source_before.length, source_after.length);
    if (source_before.length)
        assert_memory_equal(source_before.data, source_after.data, source_before.length);
    str_release(&before);
    str_release(&after);
    str_release(&source_before);
    str_release(&source_after);
}

/* A database that `sql` has been at. */
static const char *edited(struct fixture *f, const char *sql) {
    unlink(at(f, "edited.db"));
    make(at(f, "edited.db"), "GPU-3", "templates-1", 6);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(at(f, "edited.db"), &db), SQLITE_OK);
    char *error = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s: %s", sql, error);
    sqlite3_close(db);
    return at(f, "edited.db");
}

static void a_changed_row_is_found_out(void **state) {
    struct fixture *f = *state;
    make(at(f, "good.db"), "GPU-1", "templates-1", 6);
    make(at(f, "target.db"), "GPU-2", "templates-1", 6);
    static const char *const device_sql[] = {
        "UPDATE device SET name = 'NVIDIA B200' WHERE uuid = 'GPU-3'",
        "UPDATE environment SET template_hash = 'templates-9'",
        "UPDATE run SET command = 'another' WHERE id = (SELECT max(id) FROM run)",
        "UPDATE run SET started = started + 1",
        "UPDATE run SET missing = 'gate'",
        "UPDATE run SET nvrtc = '13.1'",
        "UPDATE run SET confirms = 1",
        "UPDATE layer SET n = n * 2",
        "UPDATE config SET config = config || ' '",
    };
    for (size_t i = 0; i < sizeof device_sql / sizeof *device_sql; i++)
        refused(f, edited(f, device_sql[i]), "is not what its key says");
    static const char *const column[] = {
        "m = 999",
        "group_size = 64",
        "scheme = 'w8a8'",
        "rows8 = 3",
        "tries = 3",
        "dtype = 'bf16'",
        "binary = 'ff'",
        "outcome = 'timeout' WHERE outcome = 'wrong'",
        "message = 'nothing'",
        "origin = 'modelled' WHERE origin = 'measured'",
        "cache_state = 'hot'",
        "samples = zeroblob(40) WHERE outcome = 'ok'",
        "median_ns = median_ns * 0.5 WHERE outcome = 'ok'",
        "low_ns = 1 WHERE outcome = 'ok'",
        "high_ns = 2e300 WHERE outcome = 'ok'",
        "registers = 1",
        "smem_bytes = 1",
        "spill_bytes = 1",
        "created = created + 1",
        "rejected = 10",
        "rejected = 10, low_clock = 0.5",
        "run = (SELECT min(id) FROM run)",
        "config = (SELECT min(id) FROM config)",
        "id = id + 1 WHERE id = (SELECT max(id) FROM measurement)",
    };
    for (size_t i = 0; i < sizeof column / sizeof *column; i++) {
        char sql[200];
        snprintf(sql, sizeof sql, "UPDATE measurement SET %s", column[i]);
        refused(f, edited(f, sql), "is not what its key says");
    }
}

static void a_damaged_file_is_refused(void **state) {
    struct fixture *f = *state;
    make(at(f, "good.db"), "GPU-1", "templates-1", 6);
    make(at(f, "target.db"), "GPU-2", "templates-1", 6);
    refused(f, edited(f, "DELETE FROM config WHERE id = (SELECT min(id) FROM config)"), "that is not there");
    refused(f, edited(f, "DELETE FROM knob WHERE name = 'stages'"), "knobs");
    refused(f, edited(f, "UPDATE knob SET value = value + 1 WHERE name = 'stages'"), "knobs");
    refused(f,
            edited(f, "DROP VIEW speedup; DROP VIEW baseline; DROP VIEW winner; DROP VIEW current; DROP VIEW fact; "
                      "DROP VIEW toolchain; "
                      "DROP TABLE knob"),
            "it has no index `knob_by_name`");
    refused(f, edited(f, "PRAGMA user_version = 1000"), "newer mixtune (database version 1000");
    refused(f, edited(f, "PRAGMA application_id = 7"), "another program");
    refused(f, edited(f, "PRAGMA ignore_check_constraints = ON; UPDATE measurement SET median_ns = NULL"), "CHECK");

    const char *path = edited(f, "PRAGMA journal_mode = DELETE");
    assert_int_equal(truncate(path, 12 * 4096), 0);
    refused(f, path, "damaged");
    path = edited(f, "PRAGMA journal_mode = DELETE");
    FILE *file = fopen(path, "r+b");
    fseek(file, 5 * 4096 + 1, SEEK_SET);
    for (int i = 0; i < 3000; i++)
        fputc(i * 37 + 11, file);
    fclose(file);
    refused(f, path, "damaged");
    assert_int_equal(truncate(path, 0), 0);
    refused(f, path, "it is empty");
    assert_int_equal(truncate(path, 5000), 0);
    refused(f, path, "neither a database");
    refused(f, at(f, "none.db"), "cannot be read");
    refused(f, f->folder, "is a folder");
}

static void software_times_never_become_measured(void **state) {
    struct fixture *f = *state;
    make(at(f, "good.db"), "GPU-1", "templates-1", 2);
    make(at(f, "target.db"), "GPU-2", "templates-1", 2);
    make(at(f, "forged.db"), "GPU-3", "templates-1", 2);
    sqlite3 *db;
    sqlite3_open(at(f, "forged.db"), &db);
    key_register(db); /* whoever did this also knew the keys */
    char *error = NULL;
    sqlite3_exec(db,
                 "UPDATE measurement SET origin = 'measured'; UPDATE measurement SET id = content_key('measurement', "
                 "run, layer, config, m, "
                 "group_size, scheme, dtype, binary, outcome, message, origin, cache_state, samples, median_ns, "
                 "low_ns, high_ns, "
                 "registers, smem_bytes, spill_bytes, created, rejected, low_clock, rows8, tries)",
                 NULL, NULL, &error);
    assert_null(error);
    sqlite3_close(db);
    refused(f, at(f, "forged.db"), "claims to be measured");
}

/* A file of version 1 is brought up to date in a copy; its keys become those of the same rows recorded today. */
static void an_older_version_is_not_changed_in_place(void **state) {
    struct fixture *f = *state;
    const char *old = strdup(at(f, "old.db"));
    make(at(f, "now.db"), "GPU-1", "templates-1", 6);
    sqlite3 *db;
    sqlite3_open(old, &db);
    char sql[1200];
    snprintf(sql, sizeof sql,
             "PRAGMA application_id = %d; PRAGMA user_version = 1; ATTACH '%s' AS now; INSERT INTO device SELECT * "
             "FROM now.device; "
             "INSERT INTO environment " OLD_ENVIRONMENT "; INSERT INTO run SELECT id + 1, device, "
             "environment, command, started "
             "FROM now.run; INSERT INTO layer SELECT * FROM now.layer; INSERT INTO config SELECT id, family, config "
             "FROM now.config; "
             "INSERT INTO knob SELECT * FROM now.knob; INSERT INTO measurement SELECT x.id + 1, run + 1, x.layer, "
             "x.config, m, group_size, "
             "scheme, dtype, binary, outcome, message, origin, cache_state, samples, median_ns, low_ns, high_ns, "
             "registers, smem_bytes, "
             "spill_bytes, created FROM now.measurement AS x",
             SCHEMA_APPLICATION, at(f, "now.db"));
    char *error = NULL;
    assert_int_equal(sqlite3_exec(db, schema_steps(NULL)[0], NULL, NULL, &error), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s", error);
    sqlite3_close(db);

    struct str before = {0}, after = {0};
    struct merge_count count;
    check_ok(file_read(old, &before));
    check_ok(merge(at(f, "x.db"), &old, 1, &count));
    assert_int_equal(count.measurements, 12);
    check_ok(file_read(old, &after));
    assert_int_equal(before.length, after.length);
    assert_memory_equal(before.data, after.data, before.length);
    assert_same_rows(at(f, "x.db"), at(f, "now.db"));
    str_release(&before);
    str_release(&after);
    free((void *)old);
}

/* Version 5 had neither what a run lacks nor what was thrown away. Its keys, of rows, limits and what refers to them,
 * become those of the same rows recorded today, whether it is a source or the target. */
static void version_5_gets_the_keys_of_today(void **state) {
    struct fixture *f = *state;
    const struct store_limit limit = {"fma", "lanes/clock/SM", 128, ORIGIN_MEASURED};
    struct merge_count count;
    sqlite3 *db;
    char *error = NULL, sql[2400];
    const char *old = strdup(at(f, "old.db")), *now = strdup(at(f, "now.db"));
    make(now, "GPU-1", "templates-1", 6);
    struct store *store = open_run(now, &gpu, &env);
    check_ok(store_record_limit(store, &limit));
    store_close(store);
    assert_int_equal(sqlite3_open(old, &db), SQLITE_OK);
    key_register(db);
    for (int i = 0; i < 5; i++)
        assert_int_equal(sqlite3_exec(db, schema_steps(NULL)[i], NULL, NULL, &error), SQLITE_OK);
#define OLD_RUN "content_key('run', r.device, r.environment, r.command, r.started)"
#define OLD_REST                                                                                                       \
    "x.layer, x.config, m, group_size, scheme, dtype, binary, outcome, message, origin, cache_state, samples, "        \
    "median_ns, low_ns, high_ns, registers, smem_bytes, spill_bytes, created "
    snprintf(sql, sizeof sql,
             "PRAGMA application_id = %d; PRAGMA user_version = 5; ATTACH '%s' AS now;"
             "INSERT INTO device SELECT * FROM now.device; INSERT INTO environment " OLD_ENVIRONMENT ";"
             "INSERT INTO layer SELECT * FROM now.layer; INSERT INTO config SELECT id, family, config FROM now.config;"
             "INSERT INTO knob SELECT * FROM now.knob;"
             "INSERT INTO run SELECT " OLD_RUN ", device, environment, command, started FROM now.run AS r;"
             "INSERT INTO measurement SELECT content_key('measurement', " OLD_RUN ", " OLD_REST "), " OLD_RUN
             ", " OLD_REST "FROM now.measurement AS x JOIN now.run AS r ON r.id = x.run;"
             "INSERT INTO device_limit SELECT content_key('device_limit', " OLD_RUN
             ", name, value, unit, origin, created), " OLD_RUN
             ", name, value, unit, origin, created FROM now.device_limit AS x JOIN now.run AS r ON r.id = x.run",
             SCHEMA_APPLICATION, now);
    if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s", error);
    sqlite3_close(db);

    check_ok(merge(at(f, "x.db"), &old, 1, &count));
    assert_int_equal(count.measurements, 12);
    assert_same_rows(at(f, "x.db"), now);
    check_ok(merge(old, &now, 1, &count));
    assert_int_equal(count.measurements + count.runs, 0);
    assert_same_rows(old, now);
    free((void *)old), free((void *)now);
}

/* A winner of ours, and perhaps the baseline and a limit, all of one time model. */
static void make_modelled(const char *path, const char *time_model, double ns, bool baseline) {
    struct store_environment environment = env;
    const struct store_limit limit = {"fma", "lanes/clock/SM", ns, ORIGIN_MODELLED};
    environment.time_model = time_model;
    struct store *store = open_run(path, &soft, &environment);
    struct store_measurement m = good(&ns, 1);
    m.origin = ORIGIN_MODELLED;
    check_ok(store_record(store, &m));
    check_ok(store_record_limit(store, &limit));
    m.scheme = "fp16", m.family = "f16";
    if (baseline)
        check_ok(store_record(store, &m));
    store_close(store);
}

/* Both are kept, and only those of the newer are current: no ratio and no floor has times of both. */
static void times_of_two_models_never_meet(void **state) {
    struct fixture *f = *state;
    struct merge_count count;
    char paths[2][120];
    snprintf(paths[0], sizeof paths[0], "%s", at(f, "old.db"));
    snprintf(paths[1], sizeof paths[1], "%s", at(f, "new.db"));
    const char *const sources[] = {paths[1], paths[0]};
    make_modelled(paths[0], "model-1", 3000, true);
    make_modelled(paths[1], "model-2", 1000, false);
    check_ok(merge(at(f, "x.db"), sources, 2, &count));
    struct store *store = open_run(at(f, "x.db"), &soft, &env);
    assert_int_equal(number(store, "SELECT count(*) FROM measurement"), 3);
    assert_int_equal(number(store, "SELECT count(DISTINCT time_model) FROM fact"), 2);
    assert_int_equal(number(store, "SELECT count(*) FROM fact WHERE stale = (time_model = 'model-1')"), 3);
    assert_int_equal(number(store, "SELECT count(*) FROM speedup WHERE time_model = 'model-2' AND ratio IS NULL"), 1);
    assert_int_equal(number(store, "SELECT count(*) FROM speedup"), 1);
    assert_int_equal(number(store, "SELECT fma_lanes FROM reach"), 1000);
    store_close(store);
}

/* A sweep has the source open: what it committed so far is in the copy, and it can go on. */
static void a_source_in_use(void **state) {
    struct fixture *f = *state;
    struct merge_count count;
    const char *path = at(f, "busy.db");
    make(path, "GPU-1", "templates-1", 2);
    struct store *store = open_run(path, &gpu, &env);
    double sample = random_ns();
    struct store_measurement m = good(&sample, 1);
    check_ok(store_record(store, &m));
    check_ok(merge(at(f, "x.db"), (const char *[]){path}, 1, &count));
    assert_int_equal(count.measurements, 5);
    m.m++;
    check_ok(store_record(store, &m));
    check_ok(merge(at(f, "x.db"), (const char *[]){path}, 1, &count));
    assert_int_equal(count.measurements, 1);
    store_close(store);
    assert_same_rows(at(f, "x.db"), path);
}

/* A source at rest leaves no files behind it, and its folder need not be writable. */
static void a_source_is_only_read(void **state) {
    struct fixture *f = *state;
    struct merge_count count;
    const char *path = at(f, "a?b#c%20.db");
    make(path, "GPU-1", "templates-1", 2);
    check_ok(merge(at(f, "x.db"), (const char *[]){path}, 1, &count));
    assert_same_rows(at(f, "x.db"), path);
    struct store *source;
    check_ok(merge_source_open(path, &source));
    char name[200];
    snprintf(name, sizeof name, "%s-shm", path);
    assert_int_equal(access(name, F_OK), -1);
    store_close(source);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_remove)
    const struct CMUnitTest tests[] = {
        TEST(the_union_whatever_the_order),
        TEST(a_changed_row_is_found_out),
        TEST(a_damaged_file_is_refused),
        TEST(software_times_never_become_measured),
        TEST(an_older_version_is_not_changed_in_place),
        TEST(version_5_gets_the_keys_of_today),
        TEST(times_of_two_models_never_meet),
        TEST(a_source_in_use),
        TEST(a_source_is_only_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
