/* Finding layers without looking at all of them. */
#ifndef MT_INDEX_H
#define MT_INDEX_H

#include "table.h"

/* Some of a table's tuned layers; those with equal keys are in the order of the table. */
struct layer_range {
    const struct mt_layer *const *layer;
    int count;
};

/* Orders the tuned layers. MT_FAILURE if memory is short. */
enum mt_status index_make(struct mt_table *table);
/* The tuned ones in both orders, and the others with them. */
void index_release(struct mt_table *table);

/* The layers of that name, if `model` is not NULL those of that model, and if then `tp` is not 0 those of so many
 * ranks. */
struct layer_range index_named(const struct mt_table *table, const char *name, const char *model, int tp);
/* The splits of all layers with the problem's n, k, group and dtype, with zero points and without. */
struct layer_range index_splits(const struct mt_table *table, const struct problem *p);
/* The first layer for that very problem; NULL: none was tuned. */
const struct mt_layer *index_shaped(const struct mt_table *table, const struct problem *p);

/* A layer that was not tuned, for a problem with the names of `named` (NULL: with none). NULL: nobody has asked for it
 * yet. Under the lock, like the next. */
const struct mt_layer *index_other(const struct mt_table *table, const struct problem *p, const struct mt_layer *named);
/* Takes it over, if it is MT_OK. */
enum mt_status index_add_other(struct mt_table *table, struct mt_layer *layer);

#endif
