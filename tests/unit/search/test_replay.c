/* What replay reads of a database: problems with their configurations, and the modelled times that guide measured ones.
 */
#include "tuner/report/query.h"
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
                                          .config_hash = "b",
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
    const struct store_environment env = {13000, 1300, "t", "", "", ""};
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
        if (!strcmp(rows_cell(&set->rows, set->item[i].row, "device"), device) && set->item[i].problem.m == m)
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

static void test_read_and_run(void **state) {
    (void)state;
    char path[] = "/tmp/test_replay_XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    close(file);
    unlink(path);
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
    for (int i = 0; i < 3; i++) {
        static const char *const ends[] = {"", "-wal", "-shm"};
        char name[64];
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_read_and_run)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
