/* The store: what goes in comes out, resuming, staleness, migrations, and every file that is not a database of ours. */
#include "test_store.h"

#include "db/key.h"
#include "db/schema.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <xxhash.h>

static void samples_come_back_bit_for_bit(void **state) {
    struct fixture *f = *state;
    double samples[37];
    uint64_t seed = 88172645463325252u;
    for (int i = 0; i < 37; i++) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        samples[i] = 1000 + (double)(seed >> 11) / 4096.0;
    }
    struct store *store = open_run(f->path, &gpu, &env);
    struct store_measurement m = good(samples, 37);
    assert_int_equal(store_record(store, &m), MT_OK);
    store_close(store);

    store = open_run(f->path, &gpu, &env);
    sqlite3_stmt *query;
    sqlite3_prepare_v2(store_handle(store), "SELECT samples, median_ns, low_ns, high_ns FROM measurement", -1, &query,
                       NULL);
    assert_int_equal(sqlite3_step(query), SQLITE_ROW);
    assert_int_equal(sqlite3_column_bytes(query, 0), sizeof samples);
    const unsigned char *bytes = sqlite3_column_blob(query, 0);
    for (int i = 0; i < 37; i++) {
        uint64_t bits = 0;
        for (int b = 7; b >= 0; b--)
            bits = bits << 8 | bytes[8 * i + b];
        double value;
        memcpy(&value, &bits, 8);
        assert_true(value == samples[i]);
    }
    assert_true(sqlite3_column_double(query, 1) == m.median_ns && sqlite3_column_double(query, 2) == m.low_ns &&
                sqlite3_column_double(query, 3) == m.high_ns);
    assert_int_equal(sqlite3_step(query), SQLITE_DONE);
    sqlite3_finalize(query);
    assert_int_equal(number(store, "SELECT value FROM knob WHERE name = 'stages'"), 4);
    store_close(store);
}

/* Each number another one, so that none stands in the place of another. */
static void every_column_is_what_was_given(void **state) {
    struct fixture *f = *state;
    const struct store_device device = {"uuid", "name", 91, 133, 0};
    const struct store_environment environment = {13001,    1301,   "templates", "cublas",
                                                  "clocks", "gate", "model",     "compiler"};
    const double samples[3] = {5, 6.5, 7};
    struct store *store;
    assert_int_equal(store_open(f->path, &store), MT_OK);
    assert_int_equal(store_begin(store, &device, &environment, "command"), MT_OK);
    struct store_measurement m = {.layer = {"model", "layer", 101, 102, 3},
                                  .m = 104,
                                  .group = 105,
                                  .scheme = "scheme",
                                  .dtype = "bf16",
                                  .family = "family",
                                  .config = "a=1,b=2",
                                  .binary = "hash",
                                  .cache_state = "hot",
                                  .message = "of no use",
                                  .samples_ns = samples,
                                  .sample_count = 3,
                                  .median_ns = 6.5,
                                  .low_ns = 6.25,
                                  .high_ns = 6.75,
                                  .registers = 106,
                                  .smem_bytes = 107,
                                  .spill_bytes = 108,
                                  .rejected = 109,
                                  .low_clock = 0.5,
                                  .rows8 = 100};
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_int_equal(
        number(
            store,
            "SELECT count(*) FROM measurement AS x JOIN run ON run.id = run JOIN device ON device.id = device JOIN "
            "environment AS e ON e.id = environment JOIN layer ON layer.id = x.layer JOIN config ON config.id = "
            "x.config WHERE uuid = 'uuid' AND name = 'name' AND cc = 91 AND sm_count = 133 AND software = 0 AND "
            "driver_version = 13001 AND nvrtc_version = 1301 AND template_hash = 'templates' AND cublas_version = "
            "'cublas' AND clocks = 'clocks' AND missing = 'gate' AND nvrtc = 'compiler' AND command = 'command' AND "
            "model = 'model' AND "
            "layer.layer = 'layer' AND n = 101 AND k = 102 AND tp = 3 AND m = 104 AND group_size = 105 AND scheme = "
            "'scheme' AND dtype = 'bf16' AND family = 'family' AND config.config = 'a=1,b=2' AND binary = 'hash' "
            "AND cache_state = 'hot' AND outcome = 'ok' AND message = '' AND origin = 'measured' AND median_ns = 6.5 "
            "AND low_ns = 6.25 AND high_ns = 6.75 AND registers = 106 AND smem_bytes = 107 AND spill_bytes = 108 AND "
            "rejected = 109 AND low_clock = 0.5 AND rows8 = 100 AND length(samples) = 24"),
        1);
    sqlite3_stmt *query;
    assert_int_equal(sqlite3_prepare_v2(store_handle(store), "SELECT samples FROM measurement", -1, &query, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(query), SQLITE_ROW);
    for (int i = 0; i < 3; i++)
        assert_true(store_decode_sample(sqlite3_column_blob(query, 0), i) == samples[i]);
    sqlite3_finalize(query);

    /* What is not given. */
    m = (struct store_measurement){.layer = {NULL, NULL, 1, 1, 0},
                                   .m = 1,
                                   .scheme = "s",
                                   .dtype = "fp16",
                                   .family = "g",
                                   .outcome = OUTCOME_REFUSED,
                                   .message = "why",
                                   .origin = ORIGIN_MODELLED};
    assert_int_equal(store_record(store, &m), MT_OK);
    m.cache_state = "";
    m.layer.tp = 1;
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_int_equal(number(store,
                            "SELECT count(*) FROM fact WHERE model = '' AND layer = '' AND tp = 1 AND config = '' "
                            "AND binary = '' AND cache_state = 'cold' AND message = 'why' AND outcome = 'refused' "
                            "AND origin = 'modelled' AND median_ns IS NULL AND sample_count IS NULL"),
                     2);
    assert_int_equal(number(store, "SELECT count(*) FROM measurement WHERE low_clock IS NULL AND rejected = 0"), 2);
    assert_int_equal(number(store, "SELECT count(*) FROM layer"), 2);
    store_close(store);
}

/* What is no number is no knob. */
static void knobs_are_taken_from_the_text(void **state) {
    struct fixture *f = *state;
    struct store *store = open_run(f->path, &gpu, &env);
    double sample = 5000;
    struct store_measurement m = good(&sample, 1);
    m.config = "a=1,,word,b=,c=3x,d=-5,e=0,f=99999999999";
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_int_equal(number(store, "SELECT count(*) FROM knob"), 4);
    assert_int_equal(number(store, "SELECT sum(value) FROM knob WHERE name IN ('a', 'd', 'e')"), -4);
    assert_int_equal(number(store, "SELECT value FROM knob WHERE name = 'f'"), 99999999999);
    store_close(store);
}

/* A key is the hash of a row's contents: numbers by eight bytes, the lowest first, all else by its size and bytes. */
static void keys_are_hashes_of_contents(void **state) {
    struct fixture *f = *state;
    struct store *store;
    static const char bytes[] =
        "\5\0\0\0\0\0\0\0table\2\0\0\0\0\0\0\0ab\0\0\0\0\0\0\0\0\xfe\xff\xff\xff\xff\xff\xff\xff"
        "\3\0\0\0\0\0\0\0x\0y"
        "\0\0\0\0\0\0\xf8\x3f\0\0\0\0\0\0\0\0"; /* 1.5 and 0 */
    const int64_t want = (int64_t)XXH3_64bits(bytes, sizeof bytes - 1);
    assert_int_equal(store_open(f->path, &store), MT_OK);
    assert_int_equal(number(store, "SELECT content_key('table', 'ab', NULL, -2, x'780079', 1.5, -0.0)"), want);
    assert_int_equal(number(store, "SELECT content_key('table', 'ab', '', -2, x'780079', 1.5, 0.0)"), want);
    assert_int_equal(number(store, "SELECT content_key('a', 'bc') = content_key('ab', 'c')"), 0);
    assert_int_equal(number(store, "SELECT content_key(1) = content_key('1')"), 0);
    store_close(store);
}

static void every_outcome_is_a_row(void **state) {
    struct fixture *f = *state;
    struct store *store = open_run(f->path, &gpu, &env);
    double sample = 5000;
    for (int outcome = OUTCOME_OK; outcome < OUTCOMES; outcome++) {
        struct store_measurement m = good(&sample, 1);
        m.outcome = (enum store_outcome)outcome;
        m.message = "because";
        m.m = outcome + 1;
        if (store_record(store, &m) != MT_OK)
            fail_msg("%s: %s", store_outcome_name(m.outcome), fail_message());
        char sql[160];
        snprintf(sql, sizeof sql, "SELECT count(*) FROM fact WHERE outcome = '%s' AND m = %d AND (message = '') = %d",
                 store_outcome_name(m.outcome), outcome + 1, outcome == OUTCOME_OK);
        assert_int_equal(number(store, sql), 1);
    }
    assert_int_equal(number(store, "SELECT count(*) FROM measurement WHERE samples IS NULL"), OUTCOMES - 1);
    store_close(store);
}

static void nonsense_is_refused(void **state) {
    struct fixture *f = *state;
    struct store *store = open_run(f->path, &gpu, &env);
    double sample = 5000;
    struct store_measurement bad[6];
    for (int i = 0; i < 6; i++)
        bad[i] = good(&sample, 1);
    bad[0].sample_count = 0;
    bad[1].median_ns = -1;
    bad[2].low_ns = bad[2].median_ns * 2;
    bad[3].cache_state = "lukewarm";
    bad[4].m = 0;
    bad[5].dtype = "int3";
    for (int i = 0; i < 6; i++) {
        assert_int_equal(store_record(store, &bad[i]), MT_FAILURE);
        assert_non_null(strstr(fail_message(), "CHECK"));
    }
    assert_int_equal(number(store, "SELECT count(*) FROM measurement"), 0);
    store_close(store);

    store = open_run(f->path, &soft, &env);
    struct store_measurement m = good(&sample, 1);
    assert_int_equal(store_record(store, &m), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "modelled, never measured"));
    m.origin = ORIGIN_MODELLED;
    assert_int_equal(store_record(store, &m), MT_OK);
    store_close(store);
}

static int has(struct store *store, const struct store_measurement *m) {
    int found;
    if (store_has(store, m, &found) != MT_OK)
        fail_msg("%s", fail_message());
    return found;
}

static void resuming_skips_what_is_there(void **state) {
    struct fixture *f = *state;
    struct store *store = open_run(f->path, &gpu, &env);
    double sample = 5000;
    struct store_measurement m = good(&sample, 1), other;
    assert_false(has(store, &m));
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_true(has(store, &m));
    m.outcome = OUTCOME_TIMEOUT, m.m = 32;
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_false(has(store, &m)); /* once may have been the machine's fault */
    m.tries = 2;
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_true(has(store, &m));
#define DIFFERS(change) (other = m, other.change, assert_false(has(store, &other)))
    DIFFERS(m = 17);
    DIFFERS(group = 64);
    DIFFERS(scheme = "mixed");
    DIFFERS(rows8 = 7);
    DIFFERS(dtype = "bf16");
    DIFFERS(cache_state = "hot");
    DIFFERS(config = "tile_n=64");
    DIFFERS(family = "sm90");
    DIFFERS(layer.k = 128);
    DIFFERS(layer.model = "other");
    DIFFERS(origin = ORIGIN_MODELLED);
#undef DIFFERS
    store_close(store);
    store = open_run(f->path, &gpu, &env); /* another run in the same environment */
    assert_true(has(store, &m));
    store_close(store);
    struct store_device sibling = gpu;
    sibling.uuid = "GPU-2";
    store = open_run(f->path, &sibling, &env);
    assert_false(has(store, &m));
    store_close(store);
}

/* What a change of the environment makes stale: kernels of ours by driver, NVRTC and templates; libraries by driver and
 * cuBLAS; all by the time model. */
static void stale_rows_stay_and_do_not_count(void **state) {
    struct fixture *f = *state;
    struct store_environment changed[6] = {env, env, env, env, env, env};
    changed[0].driver_version++, changed[1].nvrtc_version++, changed[2].template_hash = "templates-2";
    changed[3].cublas_version = "13.1", changed[4].clocks = "{\"sm\": 1}", changed[5].time_model = "model-2";
    static const int ours[6] = {1, 1, 1, 0, 0, 1}, library[6] = {1, 0, 0, 1, 0, 1};
    double sample = 5000;
    struct store_measurement m = good(&sample, 1), base = good(&sample, 1), third = good(&sample, 1);
    base.family = "cublas", base.config = "", base.scheme = "fp16";
    third.m = 99;
    for (int i = 0; i < 6; i++) {
        struct store *store = open_run(f->path, &gpu, &env);
        assert_int_equal(store_record(store, &m), MT_OK);
        assert_int_equal(store_record(store, &base), MT_OK);
        assert_int_equal(number(store, "SELECT count(*) FROM current WHERE m = 16"), 2);
        store_close(store);
        store = open_run(f->path, &gpu, &changed[i]);
        assert_int_equal(number(store, "SELECT count(*) FROM current WHERE m = 16"), 2); /* nothing recorded yet */
        assert_int_equal(has(store, &m), !ours[i]);
        assert_int_equal(has(store, &base), !library[i]);
        assert_int_equal(store_record(store, &third), MT_OK);
        assert_int_equal(number(store, "SELECT count(*) FROM current WHERE m = 16 AND NOT is_baseline"), !ours[i]);
        assert_int_equal(number(store, "SELECT count(*) FROM current WHERE m = 16 AND is_baseline"), !library[i]);
        assert_int_equal(number(store, "SELECT count(*) FROM fact WHERE m = 16 AND NOT is_baseline"), i + 1);
        store_close(store);
    }
}

/* A driver, an NVRTC, a cuBLAS or a time model that was tried and taken back: what was measured before counts again, once
 * a run has found all of it there, and does not for one that only began. */
static void a_toolchain_comes_back(void **state) {
    struct fixture *f = *state;
    struct store_environment changed[5] = {env, env, env, env, env};
    changed[0].driver_version++, changed[1].nvrtc_version++, changed[2].template_hash = "templates-2";
    changed[3].cublas_version = "13.1", changed[4].time_model = "model-2";
    static const int lost[5] = {2, 1, 1, 1, 2}; /* of one kernel of ours and one of a library */
    double sample = 5000;
    struct store_measurement m = good(&sample, 1), base = good(&sample, 1), other = good(&sample, 1);
    base.family = "cublas", base.config = "", base.scheme = "fp16";
    for (int i = 0; i < 5; i++) {
        struct store *store = open_run(f->path, &gpu, &env);
        m.m = base.m = 100 + i, other.m = 200 + i;
        char shown[80];
        snprintf(shown, sizeof shown, "SELECT count(*) FROM current WHERE m = %d", m.m);
        assert_int_equal(store_record(store, &m), MT_OK);
        assert_int_equal(store_record(store, &base), MT_OK);
        store_close(store);
        store = open_run(f->path, &gpu, &changed[i]);
        assert_int_equal(has(store, &m) + has(store, &base), 2 - lost[i]);
        assert_int_equal(number(store, shown), 2);
        assert_int_equal(store_record(store, &other), MT_OK);
        assert_int_equal(number(store, shown), 2 - lost[i]);
        store_close(store);
        store = open_run(f->path, &gpu, &env);
        assert_true(has(store, &m) && has(store, &base));
        assert_int_equal(has(store, &other), i == 3); /* ours know no cuBLAS */
        assert_int_equal(number(store, shown), 2 - lost[i]);
        const int64_t runs = number(store, "SELECT count(*) FROM run");
        assert_int_equal(store_confirm(store), MT_OK);
        assert_int_equal(number(store, shown), 2);
        assert_int_equal(store_confirm(store), MT_OK);
        assert_int_equal(number(store, "SELECT count(*) FROM run"), runs + 1); /* the second had nothing to say */
        store_close(store);
    }
}

static void a_repeated_measurement_replaces_in_queries_only(void **state) {
    struct fixture *f = *state;
    struct store *store = open_run(f->path, &gpu, &env);
    double first = 5000, second = 7000;
    struct store_measurement m = good(&first, 1);
    assert_int_equal(store_record(store, &m), MT_OK);
    m = good(&second, 1);
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_int_equal(number(store, "SELECT count(*) FROM measurement"), 2);
    assert_int_equal(number(store, "SELECT count(*) FROM current"), 1);
    assert_int_equal(number(store, "SELECT median_ns FROM winner"), 7000);
    m.outcome = OUTCOME_WRONG;
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_int_equal(number(store, "SELECT count(*) FROM winner"), 0);
    store_close(store);
}

/* Nanoseconds since 1970, and always later than what is there: a clock may be put back. */
static void rows_have_times_that_grow(void **state) {
    struct fixture *f = *state;
    struct timespec now;
    double sample = 5000;
    struct store_measurement m = good(&sample, 1);
    const struct store_limit limit = {"fma", "lanes", 128, ORIGIN_MEASURED};
    clock_gettime(CLOCK_REALTIME, &now);
    const int64_t before = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    struct store *store = open_run(f->path, &gpu, &env);
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_int_equal(store_record_limit(store, &limit), MT_OK);
    clock_gettime(CLOCK_REALTIME, &now);
    const int64_t after = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    const int64_t started = number(store, "SELECT started FROM run"),
                  created = number(store, "SELECT created FROM measurement");
    assert_true(before <= started && started <= created && created <= after);
    assert_true(created <= number(store, "SELECT created FROM device_limit"));
    assert_true(number(store, "SELECT created FROM device_limit") <= after);

    assert_int_equal(sqlite3_exec(store_handle(store),
                                  "UPDATE run SET started = 9000000000000000000; UPDATE measurement SET created = "
                                  "8000000000000000000; UPDATE device_limit SET created = 7000000000000000000",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(store_begin(store, &gpu, &env, "a second run"), MT_OK);
    assert_int_equal(number(store, "SELECT max(started) FROM run"), 9000000000000000001);
    assert_int_equal(store_record(store, &m), MT_OK);
    assert_int_equal(number(store, "SELECT max(created) FROM measurement"), 8000000000000000001);
    assert_int_equal(store_record_limit(store, &limit), MT_OK);
    assert_int_equal(number(store, "SELECT max(created) FROM device_limit"), 7000000000000000001);
    store_close(store);
}

/* What `open` writes to standard error while the file is opened. */
static void said_while_opening(const char *path, const char *log, struct str *out) {
    fflush(stderr);
    int kept = dup(2), fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(kept >= 0 && fd >= 0);
    dup2(fd, 2);
    struct store *store;
    enum mt_status status = store_open(path, &store);
    fflush(stderr);
    dup2(kept, 2);
    close(kept);
    close(fd);
    assert_int_equal(status, MT_OK);
    store_close(store);
    assert_int_equal(file_read(log, out), MT_OK);
}

/* A database that was brought up to date is told of, a new one and one of today are not. */
static void a_migration_is_told(void **state) {
    struct fixture *f = *state;
    char log[112], old[112];
    sqlite3 *db;
    struct str said = {0}, want = {0};
    snprintf(log, sizeof log, "%s/log", f->folder);
    snprintf(old, sizeof old, "%s/old.db", f->folder);
    said_while_opening(f->path, log, &said);
    said_while_opening(f->path, log, &said);
    assert_string_equal(said.data, "");
    assert_int_equal(sqlite3_open(old, &db), SQLITE_OK);
    key_register(db);
    for (int i = 0; i < 5; i++)
        assert_int_equal(sqlite3_exec(db, schema_steps(NULL)[i], NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 5; PRAGMA application_id = 1296652372", NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    said_while_opening(old, log, &said);
    int newest;
    schema_steps(&newest);
    str_printf(&want, "%s: brought from database version 5 to %d\n", old, newest);
    assert_string_equal(said.data, want.data);
    str_clear(&said);
    said_while_opening(old, log, &said);
    assert_string_equal(said.data, "");
    str_release(&said);
    str_release(&want);
}

static void copying_rows_twice_changes_nothing(void **state) {
    struct fixture *f = *state;
    struct store *store = open_run(f->path, &gpu, &env);
    double sample = 5000;
    struct store_measurement m = good(&sample, 1);
    assert_int_equal(store_record(store, &m), MT_OK);
    store_close(store);
    char copy[112];
    /* Another machine's database of the same device, layer and configuration. */
    snprintf(copy, sizeof copy, "%s/other.db", f->folder);
    store = open_run(copy, &gpu, &env);
    m.median_ns = 5001;
    assert_int_equal(store_record(store, &m), MT_OK);
    store_close(store);
    assert_int_equal(store_open(f->path, &store), MT_OK);
    char sql[640];
    snprintf(
        sql, sizeof sql,
        "ATTACH '%s' AS other; INSERT OR IGNORE INTO device SELECT * FROM other.device; "
        "INSERT OR IGNORE INTO environment SELECT * FROM other.environment; "
        "INSERT OR IGNORE INTO run SELECT * FROM other.run; INSERT OR IGNORE INTO layer SELECT * FROM other.layer; "
        "INSERT OR IGNORE INTO config SELECT id, family, config FROM other.config; "
        "INSERT OR IGNORE INTO measurement SELECT * FROM other.measurement; DETACH other",
        copy);
    for (int i = 0; i < 2; i++) {
        if (sqlite3_exec(store_handle(store), sql, NULL, NULL, NULL) != SQLITE_OK)
            fail_msg("%s", sqlite3_errmsg(store_handle(store)));
        assert_int_equal(number(store, "SELECT count(*) FROM measurement"), 2);
        assert_int_equal(number(store, "SELECT count(*) FROM run"), 2);
        assert_int_equal(number(store, "SELECT count(*) FROM device") + number(store, "SELECT count(*) FROM layer") +
                             number(store, "SELECT count(*) FROM config"),
                         3);
    }
    store_close(store);
}

/* Opening must fail with one sentence that holds `part`, and must leave the file as it is. */
static void refused(const char *path, const char *part) {
    struct str before = {0}, after = {0};
    struct stat st;
    int regular = stat(path, &st) == 0 && S_ISREG(st.st_mode);
    if (regular)
        file_read(path, &before);
    struct store *store;
    assert_int_equal(store_open(path, &store), MT_FAILURE);
    assert_null(store);
    if (!strstr(fail_message(), part) || strchr(fail_message(), '\n'))
        fail_msg("not the sentence with `%s`: %s", part, fail_message());
    if (regular)
        file_read(path, &after);
    assert_int_equal(before.length, after.length);
    if (before.length)
        assert_memory_equal(before.data, after.data, before.length);
    str_release(&before);
    str_release(&after);
}

static void put(const char *path, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    fclose(file);
}

static void what_is_no_database_of_ours_is_refused(void **state) {
    struct fixture *f = *state;
    char garbage[5000];
    for (size_t i = 0; i < sizeof garbage; i++)
        garbage[i] = (char)(i * 37 + 11);
    put(f->path, garbage, sizeof garbage);
    refused(f->path, "not a database");
    unlink(f->path);

    sqlite3 *db;
    sqlite3_open(f->path, &db);
    sqlite3_exec(db, "CREATE TABLE cake (slices)", NULL, NULL, NULL);
    sqlite3_close(db);
    refused(f->path, "another program");
    unlink(f->path);

    struct store *store = open_run(f->path, &gpu, &env);
    sqlite3_exec(store_handle(store), "PRAGMA user_version = 1000", NULL, NULL, NULL);
    store_close(store);
    refused(f->path, "newer mixtune (database version 1000");
    unlink(f->path);

    char path[160];
    put(f->path, "x", 1);
    snprintf(path, sizeof path, "%s/below-a-file.db", f->path);
    refused(path, "folder does not exist or cannot be written");
    snprintf(path, sizeof path, "%s/missing/t.db", f->folder);
    refused(path, "folder does not exist");
    refused(f->folder, "is a folder");
    refused("/proc/self/t.db", "folder does not exist or cannot be written");
    refused("/dev/full", "/dev/full");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(store_open(i ? "" : NULL, &store), MT_USAGE);
        assert_null(store);
        assert_string_equal(fail_message(), "a database needs a file name: give one with --db");
    }
}

static void a_truncated_file_is_refused(void **state) {
    struct fixture *f = *state;
    struct store *store = open_run(f->path, &gpu, &env);
    double sample = 5000;
    for (int i = 1; i < 200; i++) {
        struct store_measurement m = good(&sample, 1);
        m.m = i;
        assert_int_equal(store_record(store, &m), MT_OK);
    }
    store_close(store);
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(truncate(f->path, st.st_size / 2), 0);
    refused(f->path, "damaged or cut short");
}

static void migrations_keep_rows_or_change_nothing(void **state) {
    struct fixture *f = *state;
    struct store *store = open_run(f->path, &gpu, &env);
    double sample = 5000;
    struct store_measurement m = good(&sample, 1);
    assert_int_equal(store_record(store, &m), MT_OK);
    int count;
    const char *const *now = schema_steps(&count);
    const char *steps[16];
    assert_in_range(count, 1, 13);
    memcpy(steps, now, sizeof *steps * (size_t)count);
    steps[count] = "ALTER TABLE measurement ADD COLUMN note TEXT NOT NULL DEFAULT 'old'";
    steps[count + 1] = "CREATE TABLE half (x); SELECT no_such_function()";
    assert_int_equal(schema_migrate(store_handle(store), f->path, steps, count + 2), MT_FAILURE);
    assert_int_equal(number(store, "PRAGMA user_version"), count);
    assert_int_equal(number(store, "SELECT count(*) FROM sqlite_schema WHERE name = 'half'"), 0);
    assert_int_equal(schema_migrate(store_handle(store), f->path, steps, count + 1), MT_OK);
    assert_int_equal(number(store, "PRAGMA user_version"), count + 1);
    assert_int_equal(number(store, "SELECT count(*) FROM measurement WHERE note = 'old' AND median_ns = 5000"), 1);
    store_close(store);
    refused(f->path, "newer mixtune");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_remove)
    const struct CMUnitTest tests[] = {
        TEST(samples_come_back_bit_for_bit),
        TEST(every_column_is_what_was_given),
        TEST(knobs_are_taken_from_the_text),
        TEST(keys_are_hashes_of_contents),
        TEST(every_outcome_is_a_row),
        TEST(nonsense_is_refused),
        TEST(resuming_skips_what_is_there),
        TEST(stale_rows_stay_and_do_not_count),
        TEST(a_toolchain_comes_back),
        TEST(a_repeated_measurement_replaces_in_queries_only),
        TEST(rows_have_times_that_grow),
        TEST(a_migration_is_told),
        TEST(copying_rows_twice_changes_nothing),
        TEST(what_is_no_database_of_ours_is_refused),
        TEST(a_truncated_file_is_refused),
        TEST(migrations_keep_rows_or_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
