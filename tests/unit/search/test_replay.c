/* What replay reads of a database: problems with their configurations, and the modelled times that guide measured
 * ones. */
#include "tuner/report/query.h"
#include "tuner/search/guide.h"
#include "tuner/search/replay.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

enum { CONFIGS = 4 };
static const char *const configs[CONFIGS] = {"split_k=1", "split_k=2", "split_k=4", "split_k=8"};

static void record(struct store *store, enum store_origin origin, int m, int config, double ns) {
    struct str text = {0};
    struct config c;
    assert_int_equal(config_parse(family_find("sm80"), configs[config], &c), MT_OK);
    config_format(&c, &text);
    const double samples[3] = {ns, ns, ns};
    const struct store_measurement row = {.layer = {"", "512x4096", 512, 4096, 1},
                                          .m = m,
                                          .group = 128,
                                          .scheme = "w4a8",
                                          .dtype = "fp16",
                                          .family = "sm80",
                                          .config = text.data,
                                          .binary = "b",
                                          .outcome = ns > 0 ? OUTCOME_OK : OUTCOME_WRONG,
                                          .message = ns > 0 ? "" : "wrong on purpose",
                                          .origin = origin,
                                          .cache_state = "cold",
                                          .samples_ns = ns > 0 ? samples : NULL,
                                          .sample_count = ns > 0 ? 3 : 0,
                                          .median_ns = ns,
                                          .low_ns = ns,
                                          .high_ns = ns};
    assert_int_equal(store_record(store, &row), MT_OK);
    str_release(&text);
}

/* On the GPU m = 16 and 32; the software device of its kind ran 16 only, one with other SMs ran it too. */
static void fill(const char *path) {
    struct store *store;
    const struct store_environment env = {13000, 1300, "t", "", "", "", "", ""};
    const struct store_device gpu = {"GPU-1", "a GPU", 80, 108, 0}, soft = {"GPU-2", "software device", 80, 108, 1},
                              other = {"GPU-0", "other software device", 80, 40, 1};
    assert_int_equal(store_open(path, &store), MT_OK);
    assert_int_equal(store_begin(store, &soft, &env, "test"), MT_OK);
    for (int i = 0; i < CONFIGS; i++)
        if (i != 2)
            record(store, ORIGIN_MODELLED, 16, i, 1000 + 100 * i);
    assert_int_equal(store_begin(store, &other, &env, "test"), MT_OK);
    for (int i = 0; i < CONFIGS; i++)
        record(store, ORIGIN_MODELLED, 16, i, 77);
    assert_int_equal(store_begin(store, &gpu, &env, "test"), MT_OK);
    for (int i = 0; i < CONFIGS; i++) {
        record(store, ORIGIN_MEASURED, 16, i, i == 3 ? 0 : 3000 - 500 * i);
        record(store, ORIGIN_MEASURED, 32, i, 5000 + 10 * i);
    }
    store_close(store);
}

static const struct replay_problem *problem_at(const struct replay_set *set, const char *device, int m) {
    for (int i = 0; i < set->count; i++)
        if (!strcmp(rows_cell(&set->rows, set->item[i].row, "device_name"), device) && set->item[i].problem.m == m)
            return &set->item[i];
    fail_msg("no problem m=%d on %s", m, device);
    return NULL;
}

static void check_problems(const struct replay_set *set) {
    static const double guide[CONFIGS] = {1000, 1100, 0, 1300};
    const struct replay_problem *p = problem_at(set, "a GPU", 16);
    assert_int_equal(p->count, CONFIGS);
    assert_int_equal(p->sm_count, 108);
    assert_true(p->best_ns == 2000 && p->ns[3] == 0);
    assert_non_null(p->modelled_ns);
    for (int i = 0; i < CONFIGS; i++) {
        assert_int_equal(config_get(&p->config[i], "split_k"), 1 << i);
        assert_true(p->modelled_ns[i] == guide[i]);
    }
    assert_null(problem_at(set, "a GPU", 32)->modelled_ns);
    assert_null(problem_at(set, "software device", 16)->modelled_ns); /* they are what is searched */
    assert_int_equal(set->count, 4);
}

/* The fastest by modelled time is measured first, what is not modelled last; the failure counts as a measurement. */
static void check_run(const struct replay_problem *p) {
    struct replay_run run;
    const struct search_rules rules = {SEARCH_GUIDED, 0, CONFIGS, false};
    replay_run(p, &rules, NULL, &run);
    assert_int_equal(run.measured, CONFIGS);
    assert_true(run.within >= 1 && run.within <= CONFIGS);
    assert_true(run.distance[0] == 0.5);
    for (int i = 1; i < CONFIGS; i++)
        assert_true(run.distance[i] <= run.distance[i - 1]);
    assert_true(run.distance[CONFIGS - 1] == 0 && run.distance[run.within - 1] == 0);
    replay_run_release(&run);
}

/* Makes a name in path[], which has the pattern. */
static void make_name(char *path) {
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    unlink(path);
}

static void remove_database(const char *path) {
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (int i = 0; i < 3; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
}

static void test_read_and_run(void **state) {
    (void)state;
    char path[] = "/tmp/test_replay_XXXXXX";
    make_name(path);
    fill(path);
    struct store *store;
    struct replay_set set;
    const struct query_options query = {.db = path, .common.quiet = true};
    assert_int_equal(query_open(&query, &store), MT_OK);
    assert_int_equal(replay_read(store_handle(store), &set), MT_OK);
    check_problems(&set);
    check_run(problem_at(&set, "a GPU", 16));
    for (int a = 0; a < set.count; a++)
        for (int b = 0; b < set.count; b++)
            assert_int_equal(replay_same_sweep(&set, a, b), !strcmp(rows_cell(&set.rows, set.item[a].row, "uuid"),
                                                                    rows_cell(&set.rows, set.item[b].row, "uuid")));
    replay_release(&set);
    store_close(store);
    remove_database(path);
}

/* ---- the guide ---- */

static const struct problem guided = {.m = 16, .n = 512, .k = 4096, .group = 128, .dtype = DTYPE_F16};

static struct store_measurement modelled_row(const char *config, const double *ns) {
    return (struct store_measurement){.layer = {"", "512x4096", 512, 4096, 1},
                                      .m = 16,
                                      .group = 128,
                                      .scheme = "w4a8",
                                      .dtype = "fp16",
                                      .family = "sm80",
                                      .config = config,
                                      .binary = "b",
                                      .message = "",
                                      .origin = ORIGIN_MODELLED,
                                      .cache_state = "cold",
                                      .samples_ns = ns,
                                      .sample_count = 1,
                                      .median_ns = *ns,
                                      .low_ns = *ns,
                                      .high_ns = *ns};
}

/* Rows that are no modelled time of the problem's kernels, each by one thing: all of them are faster. */
static void record_strangers(struct store *store, const char *config) {
    static const double ns = 1;
    const struct store_measurement good = modelled_row(config, &ns);
    struct store_measurement row[8];
    for (int i = 0; i < 8; i++)
        row[i] = good;
    row[0].m = 17;
    row[1].group = 64;
    row[2].scheme = "w8a8";
    row[3].dtype = "bf16";
    row[4].cache_state = "hot";
    row[5].layer = (struct store_layer){"", "513x4096", 513, 4096, 1};
    row[6].layer = (struct store_layer){"", "512x4097", 512, 4097, 1};
    row[7].family = "sm90";
    for (int i = 0; i < 8; i++)
        assert_int_equal(store_record(store, &row[i]), MT_OK);
}

/* On three software devices, of 108, 40 and 60 SMs, of which the last has another compute capability. */
static void fill_guide(const char *path, struct config config[2]) {
    static const struct store_environment env = {13000, 1300, "t", "", "", "", "", ""};
    static const struct store_device device[3] = {
        {"S1", "one", 80, 108, 1}, {"S2", "two", 80, 40, 1}, {"S3", "three", 90, 60, 1}};
    struct store *store;
    assert_int_equal(store_open(path, &store), MT_OK);
    for (int c = 0; c < 2; c++)
        assert_int_equal(config_parse(&family_sm80, configs[c], &config[c]), MT_OK);
    for (int d = 0; d < 3; d++) {
        assert_int_equal(store_begin(store, &device[d], &env, "test"), MT_OK);
        for (int c = 0; c < 2; c++) {
            struct str text = {0};
            const double ns = 1000 * (d + 1) + 10 * c, slower = ns + 5;
            config_format(&config[c], &text);
            struct store_measurement row = modelled_row(text.data, &slower);
            assert_int_equal(store_record(store, &row), MT_OK);
            row = modelled_row(text.data, &ns); /* of a layer of the same shape: the faster counts */
            row.layer = (struct store_layer){"a model", "o", 512, 4096, 1};
            assert_int_equal(store_record(store, &row), MT_OK);
            record_strangers(store, text.data);
            str_release(&text);
        }
    }
    store_close(store);
}

static void check_guide(struct store *store, int cc, int sm_count, const struct config *config, double first) {
    double *ns;
    assert_int_equal(guide_read(store_handle(store), &guided, cc, sm_count, config, 3, &ns), MT_OK);
    if (first <= 0) {
        assert_null(ns);
        return;
    }
    assert_non_null(ns);
    assert_true(ns[0] == first && ns[1] == first + 10 && ns[2] == 0);
    free(ns);
}

/* Of the devices with that compute capability the one whose SM count is nearest; the third configuration is unknown. */
static void test_guide(void **state) {
    (void)state;
    char path[] = "/tmp/test_replay_XXXXXX";
    struct config config[3];
    struct store *store;
    make_name(path);
    fill_guide(path, config);
    assert_int_equal(config_parse(&family_sm80, "split_k=16", &config[2]), MT_OK);
    const struct query_options query = {.db = path, .common.quiet = true};
    assert_int_equal(query_open(&query, &store), MT_OK);
    check_guide(store, 80, 100, config, 1000);
    check_guide(store, 80, 132, config, 1000);
    check_guide(store, 80, 75, config, 1000);
    check_guide(store, 80, 73, config, 2000);
    check_guide(store, 80, 1, config, 2000);
    check_guide(store, 90, 108, config, 3000);
    check_guide(store, 89, 108, config, 0);
    double *ns;
    assert_int_equal(guide_read(store_handle(store), &guided, 80, 100, &config[2], 1, &ns), MT_OK);
    assert_null(ns); /* what is not known of any of them is no guide */
    store_close(store);
    remove_database(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_read_and_run), cmocka_unit_test(test_guide)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
