/* Layers are found by halving what looking at all of them would find. */
#include "runtime/base/memory.h"
#include "runtime/layer/split.h"
#include "runtime/serve/index.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

enum { LAYERS = 600, ASKED = 3000 };

static const char *const names[] = {"", "down", "o", "qkv", "qkv2"}, *const models[] = {"", "a", "b"};

/* Few values of everything, so that most keys are there several times. */
static void draw(struct mt_layer *layer) {
    static const int sizes[] = {64, 65, 128}, groups[] = {64, 128};
    struct problem *p = &layer->problem;
    *layer = (struct mt_layer){.info = {.name = names[lrand48() % 5], .model = models[lrand48() % 3]}};
    layer->info.tp = 1 + (int)(lrand48() % 2);
    p->n = sizes[lrand48() % 3];
    p->k = sizes[lrand48() % 3];
    p->group = groups[lrand48() % 2];
    p->dtype = (enum dtype)(lrand48() % 2);
    p->symmetric = lrand48() % 2;
    p->rows8 = lrand48() % 3 ? (int)(lrand48() % 3) * 16 : p->n;
    layer->info.rows8 = p->rows8;
}

static struct mt_table *table_drawn(int count) {
    struct mt_table *table = xcalloc(1, sizeof *table);
    table->layers = xcalloc((size_t)count + 1, sizeof *table->layers);
    table->layer_count = count;
    for (int i = 0; i < count; i++)
        draw(&table->layers[i]);
    assert_int_equal(index_make(table), MT_OK);
    return table;
}

static void table_free(struct mt_table *table) {
    index_release(table);
    free(table->layers);
    free(table);
}

/* That a range has each layer which `wanted` says, and no other, those with equal keys as in the table. */
static void range_is(const struct mt_table *table, struct layer_range range, const bool *wanted) {
    int count = 0;
    for (int i = 0; i < table->layer_count; i++)
        count += wanted[i];
    assert_int_equal(range.count, count);
    for (int i = 0; i < range.count; i++)
        assert_true(wanted[range.layer[i] - table->layers]);
}

static bool serves(const struct mt_layer *layer, const struct problem *p) {
    return layer->problem.rows8 == p->rows8 && split_siblings(&layer->problem, p);
}

static void tuned_layers_are_found(void **state) {
    (void)state;
    bool wanted[LAYERS];
    for (int count = 0; count <= LAYERS; count = 3 * count + 1 < LAYERS || count == LAYERS ? 3 * count + 1 : LAYERS) {
        struct mt_table *table = table_drawn(count);
        for (int asked = 0; asked < ASKED; asked++) {
            struct mt_layer like;
            const struct mt_layer *first = NULL;
            draw(&like);
            const char *model = asked % 3 ? like.info.model : NULL;
            const int tp = asked % 2 && model ? like.info.tp : 0;
            for (int i = 0; i < count; i++) {
                const struct mt_layer_info *info = &table->layers[i].info;
                wanted[i] = !strcmp(info->name, like.info.name) && (!model || !strcmp(info->model, model)) &&
                            (!tp || info->tp == tp);
            }
            range_is(table, index_named(table, like.info.name, model, tp), wanted);
            for (int i = 0; i < count; i++) {
                const struct mt_layer *layer = &table->layers[i];
                const struct problem *p = &layer->problem, *q = &like.problem;
                wanted[i] = p->n == q->n && p->k == q->k && p->group == q->group && p->dtype == q->dtype;
                first = !first && serves(layer, q) ? layer : first;
            }
            range_is(table, index_splits(table, &like.problem), wanted);
            assert_ptr_equal(index_shaped(table, &like.problem), first);
        }
        table_free(table);
    }
}

/* One of a name and a shape, and each of them again however many came later. */
static void other_layers_are_found_again(void **state) {
    (void)state;
    struct mt_table *table = table_drawn(50);
    for (int asked = 0; asked < ASKED; asked++) {
        struct mt_layer like;
        const struct mt_layer *there = NULL;
        draw(&like);
        const struct mt_layer *named = asked % 3 ? &like : NULL;
        if (!named) {
            like.info.name = like.info.model = "";
            like.info.tp = 1;
        }
        for (int i = 0; i < table->other_count; i++)
            if (serves(table->others[i], &like.problem) && layer_same_names(&table->others[i]->info, &like.info)) {
                assert_null(there);
                there = table->others[i];
            }
        assert_ptr_equal(index_other(table, &like.problem, named), there);
        if (there)
            continue;
        struct mt_layer *made = xcalloc(1, sizeof *made);
        *made = like;
        assert_int_equal(index_add_other(table, made), MT_OK);
        assert_ptr_equal(index_other(table, &like.problem, named), made);
    }
    assert_true(table->other_count > 500);
    table_free(table);
}

/* A search in many layers looks at few of them: there is nothing but what halving comes to. */
static void most_layers_are_not_looked_at(void **state) {
    (void)state;
    enum { MANY = 1 << 14 };
    struct mt_table *table = table_drawn(MANY);
    for (int i = 0; i < MANY; i++)
        table->layers[i].problem.n = 1000 + i;
    free(table->by_shape);
    free(table->by_name);
    assert_int_equal(index_make(table), MT_OK);
    const struct mt_layer **list = xmalloc(MANY * sizeof *list);
    for (int wanted = 0; wanted < MANY; wanted += 101) {
        struct problem p = table->layers[wanted].problem;
        memset(list, 0, MANY * sizeof *list);
        for (int low = 0, high = MANY; low < high;) {
            const int middle = low + (high - low) / 2;
            list[middle] = table->by_shape[middle];
            if (middle < wanted)
                low = middle + 1;
            else
                high = middle;
        }
        list[wanted] = table->by_shape[wanted];
        const struct mt_layer **all = table->by_shape;
        table->by_shape = list;
        assert_ptr_equal(index_shaped(table, &p), &table->layers[wanted]);
        table->by_shape = all;
    }
    free(list);
    table_free(table);
}

/* Nor does the public interface walk through the table: here it could not. */
static void the_table_is_not_walked_through(void **state) {
    (void)state;
    enum { MANY = 1000 };
    struct mt_table *table = table_drawn(MANY);
    struct mt_layer *layers = table->layers;
    for (int i = 0; i < MANY; i++) {
        struct mt_layer *layer = &layers[i];
        layer->problem.n = layer->info.n = 1000 + i;
        layer->info.model = models[1 + i % 2];
        layer->loaded = true;
    }
    layers[7].info.name = "only";
    free(table->by_shape);
    free(table->by_name);
    assert_int_equal(index_make(table), MT_OK);
    table->layers = NULL;
    struct mt_query query = MT_QUERY_INIT;
    const struct mt_layer *found;
    query.name = "only";
    assert_int_equal(mt_table_layer_named(table, &query, &found), MT_OK);
    assert_ptr_equal(found, &layers[7]);
    query.rows8 = layers[7].problem.rows8;
    query.model = layers[7].info.model;
    assert_int_equal(mt_table_layer_named(table, &query, &found), MT_OK);
    assert_ptr_equal(found, &layers[7]);
    query.name = "nobody";
    assert_int_equal(mt_table_layer_named(table, &query, &found), MT_USAGE);
    for (int i = 0; i < MANY; i++) {
        const struct problem *p = &layers[i].problem;
        const struct mt_shape shape = {sizeof shape, p->n, p->k, p->rows8, p->group, (enum mt_dtype)p->dtype,
                                       p->symmetric};
        assert_int_equal(mt_table_layer_shaped(table, &shape, &found), MT_OK);
        assert_ptr_equal(found, &layers[i]);
    }
    table->layers = layers;
    table_free(table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tuned_layers_are_found),
        cmocka_unit_test(other_layers_are_found_again),
        cmocka_unit_test(most_layers_are_not_looked_at),
        cmocka_unit_test(the_table_is_not_walked_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
