/* T4: what is written has the fields of the schema, comes back as the same rows, and is refused when it was changed. */
#include "tests/unit/db/test_rows.h"

#include "db/merge.h"
#include "tuner/report/query.h"
#include "tuner/report/t4.h"
#include <jansson.h>

static void export(const char *db, const char *json, bool failed) {
    struct query_options query = {.db = db};
    struct t4_choice choice = {.failed = failed, .empty_runs = !failed};
    struct store *store;
    struct str text = {0};
    int count;
    check_ok(query_open(&query, &store));
    check_ok(t4_write(store, &choice, &text, &count));
    assert_true(count > 0);
    check_ok(file_write_atomic(json, text.data, text.length));
    str_release(&text);
    store_close(store);
}

static enum mt_status import(const char *json, const char *db) {
    struct store *source, *target = NULL;
    struct merge_count count;
    enum mt_status status = t4_read(json, &source);
    if (status != MT_OK)
        return status;
    status = store_open(db, &target);
    if (status == MT_OK)
        status = merge_into(target, &source, 1, &count);
    store_close(source);
    store_close(target);
    return status;
}

/* Every outcome, numbers and texts at the edges, a library kernel, a run that measured nothing. */
static void make_strange(const char *path) {
    make(path, "GPU-1", "templates-1", 5);
    struct store_environment other = {12040,
                                      1204,
                                      "",
                                      "",
                                      "{\"sm_mhz\": 1980, \"note\": \"a \\\"b\\\"\"}",
                                      "cublas,gate",
                                      "model-1",
                                      "13.0, libnvrtc.so"};
    struct store *store = open_run(path, &gpu, &other);
    double samples[] = {5e-324, 0.1, 1.0 / 3, 123456789012345678.0, 1e300, 2, 3.0000000000000004};
    for (int outcome = OUTCOME_OK; outcome < OUTCOMES; outcome++) {
        struct store_measurement m = good(samples, 7);
        m.m = outcome + 1;
        m.outcome = (enum store_outcome)outcome;
        m.message = "line 1: \"x\" <y>\n\tline 2, \\ \xc3\xa4 \xf0\x9f\x90\x88";
        m.tries = outcome + 1, m.rejected = 10 * outcome, m.low_clock = outcome % 2 ? 0.1 * outcome : 0;
        m.median_ns = 1.0 / 3, m.low_ns = -1e-300, m.high_ns = 1.7976931348623157e308;
        check_ok(store_record(store, &m));
    }
    struct store_measurement m = good(samples, 1);
    m.layer = (struct store_layer){"", "64x32", 64, 32, 8};
    m.family = "cublas", m.config = "", m.scheme = m.dtype = "bf16", m.binary = "", m.group = 0, m.cache_state = "hot";
    m.median_ns = 5000, m.low_ns = 4000, m.high_ns = 6000;
    check_ok(store_record(store, &m));
    m.family = "sm90", m.config = "tile_n=128,mode=fast,,big=99999999999999999999,neg=-3,bare,pad=007",
    m.scheme = "mixed", m.rows8 = 6;
    check_ok(store_record(store, &m));
    store_close(store);
    store = open_run(path, &soft, &other); /* measures nothing */
    check_ok(store_confirm(store));
    store_close(store);
    store = open_run(path, &soft, &env); /* what the device can do */
    check_ok(store_record_limit(store, &(struct store_limit){"dram_read", "GB/s", 1.0 / 3, ORIGIN_MODELLED}));
    check_ok(store_record_limit(store, &(struct store_limit){"launch", "us", 4, ORIGIN_MODELLED}));
    store_close(store);
}

static void nothing_is_lost(void **state) {
    struct fixture *f = *state;
    make_strange(at(f, "a.db"));
    export(at(f, "a.db"), at(f, "a.json"), false);
    bool t4;
    assert_int_equal(t4_recognise(at(f, "a.json"), &t4), MT_OK);
    assert_true(t4);
    assert_int_equal(t4_recognise(at(f, "a.db"), &t4), MT_OK);
    assert_false(t4);
    check_ok(import(at(f, "a.json"), at(f, "b.db")));
    assert_same_rows(at(f, "a.db"), at(f, "b.db"));
    check_ok(import(at(f, "a.json"), at(f, "b.db")));
    assert_same_rows(at(f, "a.db"), at(f, "b.db"));
    /* And the file is the same file. */
    struct str first = {0}, second = {0};
    export(at(f, "b.db"), at(f, "b.json"), false);
    check_ok(file_read(at(f, "a.json"), &first));
    check_ok(file_read(at(f, "b.json"), &second));
    assert_string_equal(first.data, second.data);
    str_release(&first);
    str_release(&second);
}

static json_t *load(const char *path);

/* Files of earlier versions say nothing of what was missing and thrown away: the same rows as of measurements that had
 * everything and lost nothing. */
static void older_files_are_read(void **state) {
    struct fixture *f = *state;
    size_t i, e;
    json_t *result, *run;
    make(at(f, "a.db"), "GPU-1", "templates-1", 5);
    export(at(f, "a.db"), at(f, "a.json"), false);
    json_t *root = load(at(f, "a.json"));
    json_array_foreach(json_object_get(json_object_get(json_object_get(root, "metadata"), "mixtune"), "runs"), i, run)
        assert_int_equal(
            json_object_del(run, "missing") | json_object_del(run, "nvrtc") | json_object_del(run, "confirms"), 0);
    json_array_foreach(json_object_get(json_object_get(json_object_get(root, "metadata"), "mixtune"), "environments"),
                       i, run) assert_int_equal(json_object_del(run, "time_model"), 0);
    static const char *const added[] = {"rejected", "rows8", "tries"};
    json_array_foreach(json_object_get(root, "results"), i, result) {
        json_t *list = json_object_get(result, "measurements");
        for (int a = 0; a < 3; a++) {
            for (e = 0; strcmp(json_string_value(json_object_get(json_array_get(list, e), "name")), added[a]) != 0; e++)
                ;
            json_array_remove(list, e);
        }
    }
    assert_int_equal(json_dump_file(root, at(f, "old.json"), JSON_REAL_PRECISION(17)), 0);
    json_decref(root);
    check_ok(import(at(f, "old.json"), at(f, "b.db")));
    assert_same_rows(at(f, "a.db"), at(f, "b.db"));
}

static void set_entry(json_t *result, const char *name, json_t *value);

/* Before a layer's number of 8-bit features was written its share stood in the scheme's name. */
static void older_shares_are_read(void **state) {
    static const struct {
        const char *before, *after;
        int rows8;
    } known[] = {{"w4.4a8", "mixed", 614}, {"w6a8", "mixed", 3072}, {"w8a8", "w8a8", 6144}, {"w4a16", "w4a16", 0}};
    struct fixture *f = *state;
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        size_t i, e;
        json_t *result, *one;
        make(at(f, "a.db"), "GPU-1", "templates-1", 5);
        export(at(f, "a.db"), at(f, "a.json"), false);
        json_t *root = load(at(f, "a.json"));
        json_array_foreach(json_object_get(root, "results"), i, result) {
            json_t *list = json_object_get(result, "measurements");
            json_array_foreach(list, e, one) if (!strcmp(json_string_value(json_object_get(one, "name")), "rows8"))
                json_array_remove(list, e--);
            set_entry(result, "scheme", json_string(known[k].before));
        }
        assert_int_equal(json_dump_file(root, at(f, "old.json"), JSON_REAL_PRECISION(17)), 0);
        json_decref(root);
        check_ok(import(at(f, "old.json"), at(f, "b.db")));
        struct store *store;
        char sql[160];
        check_ok(store_open(at(f, "b.db"), &store));
        snprintf(sql, sizeof sql, "SELECT count(*) = sum(scheme = '%s' AND rows8 = %d) FROM measurement",
                 known[k].after, known[k].rows8);
        assert_int_equal(number(store, sql), 1);
        store_close(store);
        unlink(at(f, "a.db"));
        unlink(at(f, "b.db"));
    }
}

static json_t *load(const char *path) {
    json_error_t error;
    json_t *root = json_load_file(path, 0, &error);
    if (!root)
        fail_msg("%s", error.text);
    return root;
}

static const json_t *entry(const json_t *result, const char *name) {
    size_t i;
    const json_t *e;
    json_array_foreach(json_object_get(result, "measurements"), i,
                       e) if (!strcmp(json_string_value(json_object_get(e, "name")), name)) {
        assert_true(json_is_string(json_object_get(e, "unit")));
        return json_object_get(e, "value");
    }
    return NULL;
}

/* The fields that the schema requires of a result, and its words. */
static void the_fields_of_the_schema(void **state) {
    struct fixture *f = *state;
    static const char *const words[][2] = {{"ok", "correct"},
                                           {"refused", "constraints"},
                                           {"compile-failed", "compile"},
                                           {"launch-failed", "runtime"},
                                           {"wrong", "correctness"},
                                           {"timeout", "timeout"},
                                           {"crash", "runtime"},
                                           {"illegal-address", "runtime"},
                                           {"out-of-memory", "runtime"}};
    make_strange(at(f, "a.db"));
    export(at(f, "a.db"), at(f, "a.json"), false);
    json_t *root = load(at(f, "a.json"));
    assert_string_equal(json_string_value(json_object_get(root, "schema_version")), "1.1.0");
    assert_string_equal(json_string_value(json_object_get(json_object_get(root, "metadata"), "timeunit")),
                        "nanoseconds");
    int seen[OUTCOMES] = {0};
    size_t i;
    const json_t *result;
    json_array_foreach(json_object_get(root, "results"), i, result) {
        const char *outcome = json_string_value(entry(result, "outcome"));
        const char *invalidity = json_string_value(json_object_get(result, "invalidity"));
        bool good_one = !strcmp(outcome, "ok");
        for (int w = 0; w < OUTCOMES; w++)
            if (!strcmp(words[w][0], outcome)) {
                assert_string_equal(invalidity, words[w][1]);
                seen[w]++;
            }
        assert_int_equal(json_integer_value(json_object_get(result, "correctness")), good_one);
        const json_t *runtimes = json_object_get(json_object_get(result, "times"), "runtimes");
        assert_true(json_is_array(runtimes));
        assert_int_equal(json_array_size(runtimes) > 0, good_one);
        assert_int_equal(entry(result, "time") != NULL, good_one);
        const json_t *configuration = json_object_get(result, "configuration");
        if (!strcmp(json_string_value(json_object_get(configuration, "family")), "sm80"))
            assert_true(json_is_integer(json_object_get(configuration, "tile_n")));
    }
    assert_int_equal(i, 10 + OUTCOMES + 2);
    for (int w = 0; w < OUTCOMES; w++)
        assert_true(seen[w] > 0);
    json_decref(root);

    export(at(f, "a.db"), at(f, "failed.json"), true);
    root = load(at(f, "failed.json"));
    assert_int_equal(json_array_size(json_object_get(root, "results")), 2 + OUTCOMES - 1);
    json_decref(root);
    check_ok(import(at(f, "failed.json"), at(f, "failed.db")));
    struct store *store; /* what decides on the toolchain goes with any part */
    check_ok(store_open(at(f, "failed.db"), &store));
    assert_int_equal(number(store, "SELECT count(*) FROM run WHERE confirms"), 1);
    store_close(store);
}

/* Reading `root` fails with a sentence that holds `part`, and nothing is made. */
static void refused(struct fixture *f, const json_t *root, const char *part) {
    const char *path = at(f, "changed.json");
    assert_int_equal(json_dump_file(root, path, JSON_INDENT(1) | JSON_REAL_PRECISION(17)), 0);
    assert_int_equal(import(path, at(f, "none.db")), MT_FAILURE);
    if (!strstr(fail_message(), part) || !strstr(fail_message(), path) || strchr(fail_message(), '\n'))
        fail_msg("not the sentence with `%s`: %s", part, fail_message());
    assert_int_equal(access(at(f, "none.db"), F_OK), -1);
}

/* Each member of `object`, taken away, is named. */
static void every_member_is_missed(struct fixture *f, const json_t *root, json_t *object) {
    const char *name;
    json_t *value;
    json_t *members = json_copy(object);
    json_object_foreach(members, name, value) {
        if (!strcmp(name, "objectives") || !strcmp(name, "limits")) /* nobody needs them */
            continue;
        char part[64];
        snprintf(part, sizeof part, "`%s`", name);
        json_object_del(object, name);
        if (strcmp(name, "missing") != 0 && strcmp(name, "nvrtc") != 0 && strcmp(name, "confirms") != 0 &&
            strcmp(name, "time_model") != 0) /* older files have none */
            refused(f, root, part);
        json_object_set(object, name, json_null());
        refused(f, root, part);
        json_object_set(object, name, value);
    }
    json_decref(members);
}

static void a_missing_field_is_named(void **state) {
    struct fixture *f = *state;
    make(at(f, "a.db"), "GPU-1", "templates-1", 5);
    export(at(f, "a.db"), at(f, "a.json"), false);
    json_t *root = load(at(f, "a.json"));
    json_t *mixtune = json_object_get(json_object_get(root, "metadata"), "mixtune");
    json_t *result = json_array_get(json_object_get(root, "results"), 2);
    every_member_is_missed(f, root, mixtune);
    static const char *const list[] = {"devices", "environments", "runs", "layers"};
    for (int i = 0; i < 4; i++)
        every_member_is_missed(f, root, json_array_get(json_object_get(mixtune, list[i]), 0));
    every_member_is_missed(f, root, result);
    every_member_is_missed(f, root, json_object_get(result, "times"));
    json_t *measurements = json_object_get(result, "measurements");
    for (size_t i = 0; i < json_array_size(measurements); i++) {
        json_t *e = json_array_get(measurements, i), *name = json_object_get(e, "name");
        char part[64];
        if (!strcmp(json_string_value(name), "rejected") || !strcmp(json_string_value(name), "tries") ||
            !strcmp(json_string_value(name), "rows8")) /* older files have none */
            continue;
        json_incref(name);
        snprintf(part, sizeof part, "results[2] has no field `%s`", json_string_value(name));
        json_object_set_new(e, "name", json_string("nobody"));
        refused(f, root, part);
        json_object_set_new(e, "name", name);
    }
    json_object_del(root, "metadata");
    refused(f, root, "metadata.mixtune");
    json_decref(root);
}

static void broken_json_names_the_line(void **state) {
    struct fixture *f = *state;
    static const char text[] = "{\"schema_version\": \"1.1.0\",\n\"metadata\": {},\n\"results\": [\n{\"a\" 3}]}\n";
    check_ok(file_write_atomic(at(f, "a.json"), text, sizeof text - 1));
    assert_int_equal(import(at(f, "a.json"), at(f, "none.db")), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "line 4"));
    assert_int_equal(import(at(f, "missing.json"), at(f, "none.db")), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "missing.json"));
    json_t *list = json_pack("[]");
    refused(f, list, "not one");
    json_decref(list);
}

static void set_entry(json_t *result, const char *name, json_t *value) {
    size_t i;
    json_t *e;
    json_array_foreach(json_object_get(result, "measurements"), i,
                       e) if (!strcmp(json_string_value(json_object_get(e, "name")), name))
        json_object_set_new(e, "value", value);
}

static void what_contradicts_itself_is_refused(void **state) {
    struct fixture *f = *state;
    make(at(f, "a.db"), "GPU-1", "templates-1", 5);
    export(at(f, "a.db"), at(f, "a.json"), false);
    json_t *root;
    /* Result 2 is good; 3 is wrong; 5 and on are modelled. */
#define CHANGED(index, change, part)                                                                                   \
    do {                                                                                                               \
        root = load(at(f, "a.json"));                                                                                  \
        json_t *result = json_array_get(json_object_get(root, "results"), index);                                      \
        change;                                                                                                        \
        refused(f, root, part);                                                                                        \
        json_decref(root);                                                                                             \
    } while (0)
    CHANGED(2, json_object_set_new(json_object_get(result, "configuration"), "stages", json_integer(77)),
            "`configuration` of results[2]");
    CHANGED(2, json_object_set_new(result, "invalidity", json_string("timeout")), "`invalidity` of results[2]");
    CHANGED(3, json_object_set_new(result, "correctness", json_integer(1)), "`correctness` of results[3]");
    CHANGED(2, json_object_set_new(result, "timestamp", json_string("yesterday")), "yesterday");
    CHANGED(2, json_object_set_new(result, "timestamp", json_string("2026-11-23T13:05:00.1234567Z")), "not a time");
    CHANGED(2, json_object_set_new(result, "timestamp", json_string("9999-11-23T13:05:00.123456789Z")), "not a time");
    CHANGED(2, json_object_set_new(result, "timestamp", json_string("2262-04-11T23:47:16.854775808Z")), "not a time");
    CHANGED(2, set_entry(result, "m", json_integer(2147483648)), "`m` of results[2] is not a whole number of 32 bits");
    CHANGED(2, set_entry(result, "registers", json_integer(-9223372036854775807)), "`registers` of results[2] is not");
    CHANGED(2, set_entry(result, "run", json_integer(9)), "`run` of results[2] is 9");
    CHANGED(2, set_entry(result, "run", json_integer(2)), "`run` of results[2] is 2, and there are 2 of them");
    CHANGED(2, set_entry(result, "layer", json_integer(-1)), "`layer` of results[2] is -1");
    CHANGED(2, set_entry(result, "outcome", json_string("splendid")), "splendid");
    CHANGED(2, set_entry(result, "rows8", json_integer(-1)), "`rows8` of results[2] is -1");
    CHANGED(2, set_entry(result, "rows8", json_integer(6145)), "`rows8` of results[2] is 6145");
    CHANGED(2, set_entry(result, "rows8", json_integer(5)), "`scheme` of results[2] is `w4a8`");
    CHANGED(2, set_entry(result, "rows8", json_real(5)), "`rows8` of results[2] is not a whole number");
    CHANGED(2, set_entry(result, "scheme", json_string("mixed")), "with 0 of 6144 features");
    CHANGED(2, set_entry(result, "dtype", json_string("int3")), "CHECK");
    CHANGED(2, set_entry(result, "m", json_integer(0)), "CHECK");
    CHANGED(2, set_entry(result, "rejected", json_integer(-1)), "CHECK");
    CHANGED(2, set_entry(result, "rejected", json_string("none")), "`rejected` of results[2] is not a whole number");
    CHANGED(2, json_array_clear(json_object_get(json_object_get(result, "times"), "runtimes")),
            "`times.runtimes` of results[2] is empty");
    CHANGED(2,
            json_array_append_new(json_object_get(json_object_get(result, "times"), "runtimes"), json_string("fast")),
            "runtimes[5]");
    CHANGED(6, set_entry(result, "origin", json_string("measured")), "never measured");
#undef CHANGED
    root = load(at(f, "a.json"));
    json_object_set_new(root, "schema_version", json_string("2.0.0"));
    refused(f, root, "2.0.0");
    json_decref(root);
}

/* What JSON cannot hold is a sentence, not a file that lies. */
static void what_json_cannot_hold(void **state) {
    struct fixture *f = *state;
    struct store *store = open_run(at(f, "a.db"), &gpu, &env);
    double bad = 1e308 * 10;
    struct store_measurement m = good((const double[]){5000}, 1);
    m.samples_ns = &bad;
    check_ok(store_record(store, &m));
    store_close(store);
    struct query_options query = {.db = at(f, "a.db")};
    struct str text = {0};
    int count;
    check_ok(query_open(&query, &store));
    assert_int_equal(t4_write(store, &(struct t4_choice){false, true}, &text, &count), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "no number"));
    str_release(&text);
    store_close(store);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_remove)
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_lost),
        TEST(older_files_are_read),
        TEST(older_shares_are_read),
        TEST(the_fields_of_the_schema),
        TEST(a_missing_field_is_named),
        TEST(broken_json_names_the_line),
        TEST(what_contradicts_itself_is_refused),
        TEST(what_json_cannot_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
