/* Which order of addition is chosen for a layer, and what it costs. */
#include "runtime/base/memory.h"
#include "tuner/bundle/tree_set.h"
#include <math.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

/* A layer of 8 K steps at three M: M, what won there, and the times of kernels with 1, 2 and 4 parts (0: not timed). */
struct times {
    int m;
    double won, parts[3], other; /* the last: with a K step of 256, and 4 parts too */
};
static const int splits[3] = {1, 2, 4};

#define COLUMNS                                                                                                        \
    "'' AS model, 1 AS tp, %Q AS layer, 512 AS n, 1024 AS k, 128 AS group_size, 'w4a8' AS scheme, 0 AS rows8, "        \
    "'fp16' AS dtype, %d AS m, 'sm80' AS family, %Q AS config, %Q AS binary, %.1f AS median_ns"

struct rig {
    sqlite3 *db;
    struct rows winners, timed;
    struct tree_cost costs[4];
    int count;
};

static void add(struct str *sql, const char *prefix, const char *layer, int m, const char *config, double ns) {
    if (ns <= 0)
        return;
    char *row = sqlite3_mprintf("%s%s" COLUMNS, sql->length ? " UNION ALL SELECT " : "SELECT ", prefix, layer, m,
                                config, config, ns);
    str_append(sql, row);
    sqlite3_free(row);
}

static void rig_init(struct rig *r, const struct times *const *layers, int count) {
    struct str winners = {0}, timed = {0};
    int row = 0;
    *r = (struct rig){0};
    assert_int_equal(sqlite3_open(":memory:", &r->db), SQLITE_OK);
    for (int layer = 0; layer < count; layer++)
        for (const struct times *t = layers[layer]; t->m; t++, row++) {
            char name[2] = {(char)('a' + layer), 0}, prefix[32], config[64];
            snprintf(prefix, sizeof prefix, "%d AS row, ", row);
            add(&winners, "", name, t->m, "split_k=8", t->won);
            for (int i = 0; i < 3; i++) {
                snprintf(config, sizeof config, "tile_m=%d,split_k=%d", 8 + 8 * i, splits[i]);
                add(&timed, prefix, name, t->m, config, t->parts[i]);
            }
            add(&timed, prefix, name, t->m, "tile_k=256,stages=3,split_k=4", t->other);
        }
    assert_int_equal(rows_read(r->db, winners.data, NULL, &r->winners), MT_OK);
    assert_int_equal(rows_read(r->db, timed.data, NULL, &r->timed), MT_OK);
    r->count = tree_set_keep(&r->winners, &r->timed, 108, r->costs);
    assert_int_equal(r->count, count);
    str_release(&winners);
    str_release(&timed);
}

static void rig_release(struct rig *r) {
    rows_release(&r->winners);
    rows_release(&r->timed);
    sqlite3_close(r->db);
}

static void the_cheapest_order_of_those_timed_everywhere(void **state) {
    (void)state;
    /* In order: 2, 2, 1. In 2 parts: 1.2, 1.3, 1.1. In 4 parts 1 where it was timed. */
    static const struct times first[] = {{1, 100, {200, 120, 100}, 0},
                                         {16, 100, {200, 130, 100}, 0},
                                         {64, 1000, {1000, 1100, 0}, 0},
                                         {0}},
                              /* The same 4 parts by another K step where one lacks: the same order. */
        second[] = {{1, 100, {200, 120, 100}, 90},
                    {16, 100, {200, 130, 0}, 110},
                    {64, 1000, {1000, 1100, 1050}, 0},
                    {0}},
                              /* None was timed everywhere. */
        third[] = {{1, 100, {200, 0, 100}, 0}, {16, 100, {0, 130, 0}, 0}, {0}},
                              /* Weighed by M and not by time: 1.3 and 1 cost less than 1 and 1.5. */
        fourth[] = {{1, 100, {130, 100, 0}, 0}, {64, 1000, {1000, 1500, 0}, 0}, {0}};
    const struct times *const layers[] = {first, second, third, fourth};
    struct rig r;
    rig_init(&r, layers, 4);
    const struct tree_cost *c = r.costs;
    assert_int_equal(c[0].sums.parts, 2);
    assert_int_equal(c[0].row, 0);
    assert_true(fabs(c[0].mean - 1.2) < 1e-9 && fabs(c[0].worst - 1.3) < 1e-9 && c[0].worst_m == 16);
    assert_int_equal(c[1].sums.parts, 4);
    assert_true(fabs(c[1].mean - (0.9 + 1.1 + 1.05) / 3) < 1e-9 && c[1].worst_m == 16);
    assert_int_equal(c[2].sums.parts, 0);
    assert_int_equal(c[3].sums.parts, 1);
    assert_true(fabs(c[3].mean - 1.15) < 1e-9 && c[3].worst_m == 1);

    /* One row for each winner of the layers that have such an order, in their order. */
    static const char *const kept[] = {
        "tile_m=16,split_k=2",           "tile_m=16,split_k=2", "tile_m=16,split_k=2", "tile_k=256,stages=3,split_k=4",
        "tile_k=256,stages=3,split_k=4", "tile_m=24,split_k=4", "tile_m=8,split_k=1",  "tile_m=8,split_k=1"};
    assert_int_equal(r.timed.count, 8);
    for (int i = 0; i < 8; i++)
        assert_string_equal(rows_cell(&r.timed, i, "config"), kept[i]);

    struct str text = {0};
    tree_costs_print(c, r.count, &r.winners, &text);
    assert_non_null(
        strstr(text.data, "a w4a8: 1.20 on average, 1.30 at worst (M 16); K is added up in 2 parts of 512\n"));
    assert_non_null(strstr(text.data, "1 of 4 layers have no order"));
    str_release(&text);
    json_t *json = tree_costs_json(c, r.count, &r.winners);
    assert_string_equal(json_string_value(json_object_get(json_array_get(json, 1), "sums")), "in 4 parts of 256");
    assert_null(json_object_get(json_array_get(json, 2), "mean_ratio"));
    json_decref(json);

    /* They go behind the winners, by the names of columns: `row` has no place there. */
    const int before = r.winners.count;
    rows_append(&r.winners, &r.timed);
    assert_int_equal(r.winners.count, before + 8);
    assert_string_equal(rows_cell(&r.winners, before + 7, "layer"), "d");
    assert_string_equal(rows_cell(&r.winners, before + 7, "config"), "tile_m=8,split_k=1");
    rig_release(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cheapest_order_of_those_timed_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
