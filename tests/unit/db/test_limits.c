/* What a device can do at best: recorded, merged, exported and imported; and the floors that follow from it. */
#include "test_rows.h"

#include "db/merge.h"
#include "runtime/gpu/launch.h"
#include "tuner/measure/operands.h"
#include "tuner/options.h"
#include "tuner/report/query.h"
#include "tuner/report/t4.h"
#include <math.h>

static void limit(struct store *store, const char *name, double value, enum store_origin origin) {
    const struct store_limit one = {name, "unit", value, origin};
    check_ok(store_record_limit(store, &one));
}

/* Round numbers: 2000 bytes and 1e6 operations a nanosecond, 64 lanes of 132 SMs at 1 GHz. */
static void make_limits(struct store *store, enum store_origin origin) {
    limit(store, "dram_read_load", 1, origin); /* replaced below */
    limit(store, "dram_read_load", 1900, origin);
    limit(store, "dram_read_bulk", 2000, origin);
    limit(store, "dram_write", 9999, origin);
    limit(store, "l2_read", 4000, origin);
    limit(store, "int8_mma", 600, origin);
    limit(store, "int8_wgmma_n128", 1000, origin);
    limit(store, "f16_mma", 5000, origin);
    limit(store, "fma", 64, origin);
    limit(store, "convert", 16, origin);
    limit(store, "clock", 1000, origin);
    limit(store, "launch", 3, origin);
    limit(store, "graph_node", 1.5, origin);
}

struct winner {
    int m, n, k, group, rows8;
    const char *scheme, *family, *config;
    double ns;
};

static void record(struct store *store, const struct winner *w, enum store_origin origin) {
    struct store_measurement x = good(&w->ns, 1);
    x.m = w->m, x.layer.n = w->n, x.layer.k = w->k, x.group = w->group;
    x.scheme = w->scheme, x.rows8 = w->rows8, x.family = w->family, x.config = w->config, x.origin = origin;
    check_ok(store_record(store, &x));
}

static double real(struct store *store, const char *sql) {
    sqlite3_stmt *query;
    if (sqlite3_prepare_v2(store_handle(store), sql, -1, &query, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(store_handle(store)));
    if (sqlite3_step(query) != SQLITE_ROW)
        fail_msg("%s: no row", sql);
    double value = sqlite3_column_double(query, 0);
    sqlite3_finalize(query);
    return value;
}

static void assert_near(double got, double want) {
    if (!(fabs(got - want) <= 1e-9 * fabs(want)))
        fail_msg("%.12g, not %.12g", got, want);
}

static void a_floor_by_hand(void **state) {
    struct fixture *f = *state;
    struct store *store = open_run(f->path, &gpu, &env);
    make_limits(store, ORIGIN_MEASURED);
    /* 4 bits, 4096 x 4096, groups of 128, 1 token: 8 MiB of weights, 32 groups of 4096 x 3, tokens 4096 + 8 * 32,
     * output 2 * 4096. */
    const struct winner decode = {1, 4096, 4096, 128, 0, "w4a8", "sm90", "promote=2,split_k=4,stages=4", 8000};
    record(store, &decode, ORIGIN_MEASURED);
    const double bytes = 4096.0 * 2048 + 32 * 4096 * 3 + 4096 + 8 * 32 + 2 * 4096;
    assert_near(real(store, "SELECT bytes FROM floor"), bytes);
    assert_near(real(store, "SELECT memory_ns FROM floor"), bytes / 2000);
    assert_near(real(store, "SELECT tensor_ns FROM floor"), 2.0 * 4096 * 4096 / 1e6);
    assert_near(real(store, "SELECT floor_ns FROM floor WHERE term = 'memory'"), bytes / 2000);
    assert_near(real(store, "SELECT over_floor FROM floor"), 8000 / (bytes / 2000));
    assert_near(real(store, "SELECT launch_ns FROM floor"), 1500); /* below 20 us: a graph */
    assert_near(real(store, "SELECT split_ns FROM floor"), 4 * 8 * 4096 / 4000.0);
    assert_near(real(store, "SELECT promote_ns FROM floor"), 4096 * 32 * 3 / (64 * 132.0));
    assert_int_equal(number(store, "SELECT count(*) FROM floor WHERE reason = 'launch'"), 1);
    store_close(store);
}

static void reasons(void **state) {
    struct fixture *f = *state;
    struct store *store = open_run(f->path, &gpu, &env);
    make_limits(store, ORIGIN_MEASURED);
    /* 2048 tokens: 68.7 us of multiplication; conversions over 16 lanes need 127.1 us, three slots over 64 lanes 95.3
     * us. */
    const struct winner convert = {2048, 4096, 4096, 128, 0, "w4a8", "sm80", "promote=0", 130000};
    const struct winner far = {2048, 4096, 4096, 128, 4096, "w8a8", "sm80", "promote=2", 500000};
    const struct winner split = {512, 4096, 4096, 128, 4096, "w8a8", "sm80", "promote=2,split_k=8", 50000};
    record(store, &convert, ORIGIN_MEASURED);
    record(store, &far, ORIGIN_MEASURED);
    record(store, &split, ORIGIN_MEASURED);
    assert_int_equal(number(store, "SELECT count(*) FROM floor"), 3);
    assert_near(real(store, "SELECT floor_ns FROM floor WHERE term = 'tensor' AND reason = 'promotion'"),
                2.0 * 2048 * 4096 * 4096 / 1e6);
    assert_near(real(store, "SELECT promote_ns FROM floor WHERE scheme = 'w4a8'"), 2048.0 * 4096 * 32 / (16 * 132));
    assert_near(real(store, "SELECT promote_ns FROM floor WHERE scheme = 'w8a8' AND m = 2048"),
                2048.0 * 4096 * 32 * 2 / (64 * 132));
    assert_int_equal(number(store, "SELECT median_ns FROM floor WHERE reason = 'unknown'"), 500000);
    assert_near(real(store, "SELECT launch_ns FROM floor WHERE reason = 'unknown'"), 3000);
    assert_near(real(store, "SELECT split_ns FROM floor WHERE reason = 'split-k'"), 8.0 * 8 * 512 * 4096 / 4000);
    store_close(store);
}

/* The view counts the bytes that the operands of a launch have. */
static void the_bytes_of_the_operands(void **state) {
    static const struct winner shapes[] = {{17, 1000, 300, 64, 0, "w4a8", "sm80", "", 1e5},
                                           {33, 257, 129, 128, 257, "w8a8", "sm80", "", 1e5},
                                           {256, 4096, 14336, 256, 410, "mixed", "sm80", "", 1e5},
                                           {4096, 28672, 4096, 128, 14336, "mixed", "sm80", "", 1e6},
                                           {1, 48, 1000, 128, 10, "mixed", "sm80", "", 1e5}};
    struct fixture *f = *state;
    struct store *store = open_run(f->path, &gpu, &env);
    make_limits(store, ORIGIN_MEASURED);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const struct winner *w = &shapes[i];
        struct operands o = {.problem = {.m = w->m, .n = w->n, .k = w->k, .group = w->group}, .quantised = true};
        char sql[80];
        o.problem.rows8 = w->rows8;
        record(store, w, ORIGIN_MEASURED);
        snprintf(sql, sizeof sql, "SELECT bytes FROM floor WHERE m = %d", w->m);
        assert_near(real(store, sql), (double)operands_traffic(&o));
    }
    store_close(store);
}

/* A GPU without limits has no floors, whatever a software device or another GPU has. */
static void no_limit_of_another(void **state) {
    struct fixture *f = *state;
    const struct winner one = {16, 4096, 4096, 128, 0, "w4a8", "sm80", "promote=2", 9000};
    struct store_device other = gpu;
    other.uuid = "GPU-2";
    struct store *store = open_run(f->path, &gpu, &env);
    record(store, &one, ORIGIN_MEASURED);
    store_close(store);
    store = open_run(f->path, &soft, &env);
    make_limits(store, ORIGIN_MODELLED);
    record(store, &one, ORIGIN_MODELLED);
    store_close(store);
    store = open_run(f->path, &other, &env);
    make_limits(store, ORIGIN_MEASURED);
    assert_int_equal(number(store, "SELECT count(*) FROM floor"), 1);
    assert_int_equal(number(store, "SELECT count(*) FROM floor WHERE origin = 'modelled'"), 1);
    store_close(store);
}

static void a_software_device_measures_nothing(void **state) {
    struct fixture *f = *state;
    struct store *store = open_run(f->path, &soft, &env);
    const struct store_limit claim = {"fma", "lanes/clock/SM", 128, ORIGIN_MEASURED};
    assert_int_equal(store_record_limit(store, &claim), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "modelled, never measured"));
    assert_int_equal(number(store, "SELECT count(*) FROM device_limit"), 0);
    store_close(store);
}

static void a_limit_belongs_to_a_run(void **state) {
    struct fixture *f = *state;
    const struct store_limit one = {"fma", NULL, 128, ORIGIN_MEASURED};
    struct store *store;
    check_ok(store_open(f->path, &store));
    assert_int_equal(store_record_limit(store, &one), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "a limit belongs to a run, and none was begun: call store_begin() first"));
    check_ok(store_begin(store, &gpu, &env, "probe"));
    check_ok(store_record_limit(store, &one));
    assert_int_equal(number(store, "SELECT count(*) FROM device_limit JOIN run ON run.id = run WHERE command = 'probe' "
                                   "AND name = 'fma' AND value = 128 AND unit = '' AND origin = 'measured'"),
                     1);
    store_close(store);
}

static void merged_and_exported(void **state) {
    struct fixture *f = *state;
    struct store *source, *target;
    struct merge_count count;
    struct query_options all = {.common.quiet = true, .db = at(f, "x.db")};
    struct str text = {0};
    int results;
    make(at(f, "a.db"), "GPU-1", "templates-1", 4);
    source = open_run(at(f, "a.db"), &gpu, &env);
    make_limits(source, ORIGIN_MEASURED);
    store_close(source);

    check_ok(merge_source_open(at(f, "a.db"), &source));
    check_ok(store_open(at(f, "x.db"), &target));
    for (int twice = 0; twice < 2; twice++)
        check_ok(merge_into(target, &source, 1, &count));
    store_close(target);
    store_close(source);
    assert_same_rows(at(f, "a.db"), at(f, "x.db"));

    const struct t4_choice choice = {.empty_runs = true};
    check_ok(query_open(&all, &source));
    check_ok(t4_write(source, &choice, &text, &results));
    store_close(source);
    check_ok(file_write_atomic(at(f, "x.json"), text.data, text.length));
    check_ok(t4_read(at(f, "x.json"), &source));
    check_ok(store_open(at(f, "y.db"), &target));
    check_ok(merge_into(target, &source, 1, &count));
    assert_int_equal(number(target, "SELECT count(*) FROM device_limit"), 13);
    store_close(target);
    store_close(source);
    assert_same_rows(at(f, "a.db"), at(f, "y.db"));
    str_release(&text);
}

/* A cell that was changed by hand is found out. */
static void an_edited_limit_is_refused(void **state) {
    struct fixture *f = *state;
    struct store *store = open_run(f->path, &gpu, &env);
    make_limits(store, ORIGIN_MEASURED);
    assert_int_equal(
        sqlite3_exec(store_handle(store), "UPDATE device_limit SET value = 7 WHERE name = 'fma'", NULL, NULL, NULL),
        SQLITE_OK);
    store_close(store);
    assert_int_equal(merge_source_open(f->path, &store), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "device_limit"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_make, fixture_remove)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_floor_by_hand),
        CASE(reasons),
        CASE(no_limit_of_another),
        CASE(the_bytes_of_the_operands),
        CASE(a_limit_belongs_to_a_run),
        CASE(merged_and_exported),
        CASE(a_software_device_measures_nothing),
        CASE(an_edited_limit_is_refused),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
