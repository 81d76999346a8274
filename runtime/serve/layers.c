/* The public interface: finding a layer, by its name or by its shape. */
#include "index.h"
#include "runtime/base/str.h"
#include "runtime/layer/split.h"
#include "sized.h"
#include "table.h"
#include <string.h>

int mt_table_layer_count(const struct mt_table *table) {
    return table->layer_count;
}

const struct mt_layer *mt_table_layer_at(const struct mt_table *table, int index) {
    return index >= 0 && index < table->layer_count ? &table->layers[index] : NULL;
}

enum mt_status mt_layer_describe(const struct mt_layer *layer, struct mt_layer_info *info) {
    enum mt_status status = GIVEN("layer", layer);
    return fail_settled(status ? status : sized_give(info, &layer->info, sizeof layer->info, "mt_layer_info"));
}

/* ---- what there is already ---- */

static bool layer_is(const struct mt_layer *layer, const struct problem *p) {
    return layer->problem.rows8 == p->rows8 && split_siblings(&layer->problem, p);
}

bool layer_same_names(const struct mt_layer_info *a, const struct mt_layer_info *b) {
    return a->tp == b->tp && !strcmp(a->name, b->name) && !strcmp(a->model, b->model);
}

/* A tuned layer, which is handed out with its kernels. */
static enum mt_status layer_give(struct mt_table *table, const struct mt_layer *tuned, const struct mt_layer **out) {
    enum mt_status status = mt_table_load(table, tuned);
    *out = status == MT_OK ? tuned : NULL;
    return status;
}

/* The layer for a problem that a neighbour gives its names to; NULL: it has no name. Made if there is none yet. */
static enum mt_status layer_make(struct mt_table *table, const struct problem *p, const struct mt_layer *named,
                                 const struct mt_layer **out) {
    struct mt_layer *made = NULL;
    enum mt_status status = MT_OK;
    pthread_mutex_lock(&table->lock);
    *out = index_other(table, p, named);
    if (!*out)
        status = layer_derive(table, p, named, &made);
    if (made)
        status = layers_load(table, made, 1);
    if (status == MT_OK && made)
        status = index_add_other(table, made);
    if (status == MT_OK && made)
        *out = made;
    else if (made)
        layer_release(made);
    pthread_mutex_unlock(&table->lock);
    return status;
}

/* ---- by shape ---- */

enum mt_status mt_table_layer_shaped(struct mt_table *table, const struct mt_shape *given,
                                     const struct mt_layer **out) {
    struct mt_shape shape;
    enum mt_status status = GIVEN("table layer", table, out);
    if (status != MT_OK)
        return status;
    *out = NULL;
    status = sized_take(&shape, sizeof shape, given, "mt_shape");
    if (status != MT_OK)
        return status;
    if (shape.dtype != MT_FP16 && shape.dtype != MT_BF16)
        return fail(MT_USAGE, "mt_table_layer_shaped: dtype is %d; it must be MT_FP16 or MT_BF16", (int)shape.dtype);
    struct problem p = {.m = 1,
                        .n = shape.n,
                        .k = shape.k,
                        .rows8 = shape.rows8,
                        .group = shape.group,
                        .symmetric = shape.symmetric != 0,
                        .dtype = (enum dtype)shape.dtype};
    status = problem_check(&p);
    if (status != MT_OK)
        return status;
    p.m = 0;
    const struct mt_layer *tuned = index_shaped(table, &p);
    return tuned ? layer_give(table, tuned, out) : fail_settled(layer_make(table, &p, NULL, out));
}

/* ---- of a checkpoint ---- */

/* Of the layers with that name one with this split, else another split of the same, if there is one with the same
 * ranks. */
static const struct mt_layer *layer_called(const struct mt_table *table, const char *name, int tp,
                                           const struct problem *p) {
    const struct mt_layer *best = NULL;
    int best_points = -1;
    const struct layer_range splits = index_splits(table, p);
    for (int i = 0; i < splits.count; i++) {
        const struct mt_layer *layer = splits.layer[i];
        const int points = 4 * layer_is(layer, p) + 2 * (layer->info.tp == tp) +
                           (layer->problem.rows8 < layer->problem.n); /* tells with or without zero points */
        if (strcmp(layer->info.name, name) != 0 || !split_siblings(&layer->problem, p) || points < best_points ||
            (points == best_points && layer > best))
            continue;
        best = layer;
        best_points = points;
    }
    return best;
}

enum mt_status mt_table_layer_for(struct mt_table *table, const struct mt_weights_info *given, enum mt_dtype dtype,
                                  const struct mt_layer **out) {
    struct mt_weights_info info;
    enum mt_status status = GIVEN("table layer", table, out);
    if (status != MT_OK)
        return status;
    *out = NULL;
    status = sized_take(&info, sizeof info, given, "mt_weights_info");
    if (status != MT_OK)
        return status;
    const struct mt_shape shape = {.size = sizeof shape,
                                   .n = info.n,
                                   .k = info.k,
                                   .rows8 = info.rows8,
                                   .group = info.group,
                                   .dtype = dtype,
                                   .symmetric = info.symmetric};
    const struct problem p = {.n = info.n,
                              .k = info.k,
                              .rows8 = info.rows8,
                              .group = info.group,
                              .symmetric = info.symmetric != 0,
                              .dtype = (enum dtype)dtype};
    const bool possible = info.rows8 >= 0 && info.rows8 <= info.n;
    const struct mt_layer *like = info.layer && possible ? layer_called(table, info.layer, info.tp, &p) : NULL;
    if (!like)
        return mt_table_layer_shaped(table, &shape, out);
    if (!layer_is(like, &p))
        return fail_settled(layer_make(table, &p, like, out));
    return layer_give(table, like, out);
}

/* ---- by name ---- */

static bool query_matches(const struct mt_query *q, const struct mt_layer *layer, bool any_rows8) {
    const struct mt_layer_info *info = &layer->info;
    return (any_rows8 || q->rows8 == MT_ANY || q->rows8 == info->rows8) && (!q->name || !strcmp(info->name, q->name)) &&
           (!q->model || !strcmp(info->model, q->model)) && (!q->tp || info->tp == q->tp) &&
           (!q->group || info->group == q->group) && (q->dtype == MT_ANY || (int)info->dtype == q->dtype) &&
           (q->symmetric == MT_ANY || info->rows8 == info->n || info->symmetric == (q->symmetric != 0));
}

static void query_print(const struct mt_query *q, struct str *out) {
    str_printf(out, "layer %s", q->name ? q->name : "of any name");
    if (q->model)
        str_printf(out, " of %s", q->model);
    if (q->tp)
        str_printf(out, ", tp %d", q->tp);
    if (q->group)
        str_printf(out, ", group %d", q->group);
    if (q->dtype != MT_ANY)
        str_printf(out, ", %s", dtype_name((enum dtype)q->dtype));
    if (q->symmetric != MT_ANY)
        str_append(out, q->symmetric ? ", symmetric" : ", with zero points");
    if (q->rows8 != MT_ANY)
        str_printf(out, ", %d features in 8 bits", q->rows8);
}

static void layer_print(const struct mt_layer *layer, struct str *out) {
    const struct mt_layer_info *i = &layer->info;
    str_printf(out, "%s%s/%s %s group %d tp %d %s with %d of %d features in 8 bits", out->length ? ", " : "", i->model,
               i->name, dtype_name((enum dtype)i->dtype), i->group, i->tp, i->formats, i->rows8, i->n);
}

/* Of all that match, in the order of the table. */
static enum mt_status query_several(const struct mt_table *table, const struct mt_query *q, bool any_rows8) {
    struct str found = {0}, asked = {0};
    int count = 0;
    for (int i = 0; i < table->layer_count; i++) {
        const struct mt_layer *layer = &table->layers[i];
        if (!query_matches(q, layer, any_rows8))
            continue;
        layer_print(layer, &found);
        count++;
    }
    query_print(q, &asked);
    enum mt_status status =
        fail(MT_USAGE, "the bundle has %d times %s: %s; say more, or take one by mt_table_layer_at()", count,
             str_text(&asked), str_text(&found));
    str_release(&found);
    str_release(&asked);
    return status;
}

/* The only tuned layer that matches, NULL if there are none. Several are MT_USAGE, unless `splits` says that splits of
 * one layer count as one: then one that has 4-bit features, if any has. */
static enum mt_status layer_match(const struct mt_table *table, const struct mt_query *q, bool splits,
                                  const struct mt_layer **out) {
    const struct layer_range named = q->name ? index_named(table, q->name, q->model, q->tp)
                                             : (struct layer_range){table->by_name, table->layer_count};
    for (int i = 0; i < named.count; i++) {
        const struct mt_layer *layer = named.layer[i], *first = *out;
        if (!query_matches(q, layer, splits))
            continue;
        if (first && !(splits && layer_same_names(&first->info, &layer->info) &&
                       split_siblings(&first->problem, &layer->problem))) {
            *out = NULL;
            return query_several(table, q, splits);
        }
        if (!first || first->problem.rows8 == first->problem.n)
            *out = layer;
    }
    return MT_OK;
}

static enum mt_status query_nothing(const struct mt_query *q) {
    struct str asked = {0};
    query_print(q, &asked);
    enum mt_status status =
        fail(MT_USAGE, "the bundle has no %s; mt_table_layer_at() tells which layers it has", str_text(&asked));
    str_release(&asked);
    return status;
}

enum mt_status mt_table_layer_named(struct mt_table *table, const struct mt_query *given, const struct mt_layer **out) {
    struct mt_query q;
    const struct mt_layer *like = NULL;
    enum mt_status status = GIVEN("table layer", table, out);
    if (status != MT_OK)
        return status;
    *out = NULL;
    status = sized_take(&q, sizeof q, given, "mt_query");
    if (status == MT_OK && q.flags)
        status = fail(MT_USAGE, "mt_table_layer_named: this library does not know the flags 0x%x", q.flags);
    if (status == MT_OK)
        status = layer_match(table, &q, false, &like);
    if (status != MT_OK)
        return status;
    if (like)
        return layer_give(table, like, out);
    if (q.rows8 != MT_ANY)
        status = layer_match(table, &q, true, &like);
    if (status != MT_OK)
        return status;
    if (!like)
        return query_nothing(&q);
    struct problem p = like->problem;
    p.m = 1;
    p.rows8 = q.rows8;
    if (q.symmetric != MT_ANY)
        p.symmetric = q.symmetric != 0;
    status = problem_check(&p);
    p.m = 0;
    return fail_settled(status == MT_OK ? layer_make(table, &p, like, out) : status);
}
