/* Which order of addition a layer's batch-invariant kernels have: of those in which kernels were timed at all of its M
 * the one that takes least, each M counting as much as any other. */
#ifndef MT_TREE_SET_H
#define MT_TREE_SET_H

#include "runtime/family/sum_tree.h"
#include "tuner/report/rows.h"
#include <jansson.h>

/* What that costs a layer. */
struct tree_cost {
    int row;              /* the first of the layer's winners */
    struct sum_tree sums; /* none: no order was timed at all of its M */
    double mean, worst;   /* of the times over those of the winners */
    int worst_m;
};

/* `winners` are rows of reports/export.sql of which winner_set_keep() has kept one for each problem, `timed` those of
 * reports/trees.sql. Keeps one of the latter for each winner of a layer that has such an order: a kernel of that order
 * within 1 % of its fastest. Fills one of `costs` [winners->count] for each layer, and returns how many. */
int tree_set_keep(const struct rows *winners, struct rows *timed, int sm_count, struct tree_cost *costs);

/* Appends lines for people. */
void tree_costs_print(const struct tree_cost *costs, int count, const struct rows *winners, struct str *out);
/* The same as an array; the caller's. */
json_t *tree_costs_json(const struct tree_cost *costs, int count, const struct rows *winners);

#endif
