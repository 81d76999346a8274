#include "index.h"
#include "runtime/base/array.h"
#include "runtime/base/memory.h"
#include <stdlib.h>
#include <string.h>

/* ---- orders ---- */

static int compare_int(int a, int b) {
    return a < b ? -1 : a > b;
}

/* What all splits of a layer have in common. */
static int compare_splits(const struct problem *a, const struct problem *b) {
    int order = compare_int(a->n, b->n);
    order = order ? order : compare_int(a->k, b->k);
    order = order ? order : compare_int(a->group, b->group);
    return order ? order : compare_int((int)a->dtype, (int)b->dtype);
}

/* Equal are those of which each serves the other. */
static int compare_shapes(const struct problem *a, const struct problem *b) {
    int order = compare_splits(a, b);
    order = order ? order : compare_int(a->rows8, b->rows8);
    return order ? order : compare_int(problem_symmetric(a), problem_symmetric(b));
}

static int compare_names(const struct mt_layer_info *a, const struct mt_layer_info *b) {
    int order = strcmp(a->name, b->name);
    order = order ? order : strcmp(a->model, b->model);
    return order ? order : compare_int(a->tp, b->tp);
}

/* qsort() hands over addresses of elements; layers lie as in the table. */
#define LAYERS(a, b)                                                                                                   \
    const struct mt_layer *x = *(const struct mt_layer *const *)(a), *y = *(const struct mt_layer *const *)(b)

static int by_name(const void *a, const void *b) {
    LAYERS(a, b);
    const int order = compare_names(&x->info, &y->info);
    return order ? order : x < y ? -1 : x > y;
}

static int by_shape(const void *a, const void *b) {
    LAYERS(a, b);
    const int order = compare_shapes(&x->problem, &y->problem);
    return order ? order : x < y ? -1 : x > y;
}

static const struct mt_layer **sorted(const struct mt_table *table, int (*compare)(const void *, const void *)) {
    const struct mt_layer **list = mem_alloc((size_t)table->layer_count * sizeof *list);
    for (int i = 0; list && i < table->layer_count; i++)
        list[i] = &table->layers[i];
    if (list)
        qsort(list, (size_t)table->layer_count, sizeof *list, compare);
    return list;
}

enum mt_status index_make(struct mt_table *table) {
    table->by_name = sorted(table, by_name);
    table->by_shape = sorted(table, by_shape);
    return table->by_name && table->by_shape ? MT_OK : MT_FAILURE;
}

void index_release(struct mt_table *table) {
    for (int i = 0; i < table->other_count; i++)
        layer_release(table->others[i]);
    free(table->others);
    free(table->by_name);
    free(table->by_shape);
}

/* ---- tuned layers ---- */

struct name_key {
    const char *name, *model;
    int tp;
};

static int name_against(const void *key, const struct mt_layer *layer) {
    const struct name_key *k = key;
    int order = strcmp(k->name, layer->info.name);
    order = order || !k->model ? order : strcmp(k->model, layer->info.model);
    return order || !k->model || !k->tp ? order : compare_int(k->tp, layer->info.tp);
}

static int splits_against(const void *key, const struct mt_layer *layer) {
    return compare_splits(key, &layer->problem);
}

static int shape_against(const void *key, const struct mt_layer *layer) {
    return compare_shapes(key, &layer->problem);
}

typedef int (*against)(const void *key, const struct mt_layer *layer);

/* How many layers stand before the key, or with `after` not behind it. */
static int count_before(const struct mt_layer *const *list, int count, const void *key, against compare, bool after) {
    int low = 0, high = count;
    while (low < high) {
        const int middle = low + (high - low) / 2;
        if (compare(key, list[middle]) >= (after ? 0 : 1))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct layer_range range_of(const struct mt_layer *const *list, int count, const void *key, against compare) {
    const int first = count_before(list, count, key, compare, false);
    return (struct layer_range){list + first, count_before(list + first, count - first, key, compare, true)};
}

struct layer_range index_named(const struct mt_table *table, const char *name, const char *model, int tp) {
    const struct name_key key = {name, model, tp};
    return range_of(table->by_name, table->layer_count, &key, name_against);
}

struct layer_range index_splits(const struct mt_table *table, const struct problem *p) {
    return range_of(table->by_shape, table->layer_count, p, splits_against);
}

const struct mt_layer *index_shaped(const struct mt_table *table, const struct problem *p) {
    const int first = count_before(table->by_shape, table->layer_count, p, shape_against, false);
    return first < table->layer_count && shape_against(p, table->by_shape[first]) == 0 ? table->by_shape[first] : NULL;
}

/* ---- layers that were not tuned ---- */

struct other_key {
    const struct problem *problem;
    const struct mt_layer_info *named; /* NULL: without names */
};

static int other_against(const void *key, const struct mt_layer *layer) {
    static const struct mt_layer_info nameless = {.name = "", .model = "", .tp = 1};
    const struct other_key *k = key;
    const int order = compare_shapes(k->problem, &layer->problem);
    return order ? order : compare_names(k->named ? k->named : &nameless, &layer->info);
}

static int place_of(const struct mt_table *table, const struct other_key *key) {
    return count_before((const struct mt_layer *const *)table->others, table->other_count, key, other_against, false);
}

const struct mt_layer *index_other(const struct mt_table *table, const struct problem *p,
                                   const struct mt_layer *named) {
    const struct other_key key = {p, named ? &named->info : NULL};
    const int place = place_of(table, &key);
    return place < table->other_count && other_against(&key, table->others[place]) == 0 ? table->others[place] : NULL;
}

enum mt_status index_add_other(struct mt_table *table, struct mt_layer *layer) {
    const struct other_key key = {&layer->problem, &layer->info};
    if (!array_grow(&table->others, &table->other_capacity, (size_t)table->other_count, sizeof *table->others))
        return MT_FAILURE;
    const int place = place_of(table, &key);
    memmove(&table->others[place + 1], &table->others[place],
            (size_t)(table->other_count++ - place) * sizeof *table->others);
    table->others[place] = layer;
    return MT_OK;
}
