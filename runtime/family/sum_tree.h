/* In which order a kernel adds up the groups of K for an element of Y. Sums of floats depend on it: kernels of one tree
 * agree bit for bit, whatever their tiles, pipelines and formats, and kernels of two trees need not.
 *
 * K is cut in `parts`. Each is summed from 0 in order, or in sums that take its K steps in turns and are then added in
 * order; then the parts' sums are added in order. It makes no difference who adds: the CTA that comes last (split_k),
 * the first of a cluster (cluster_k) or of a CTA's warp groups (share_k). Only the sign of a zero may: that of sums
 * which all underflow, where the bias is -0. */
#ifndef MT_SUM_TREE_H
#define MT_SUM_TREE_H

#include "runtime/base/str.h"
#include <stdbool.h>

/* Of one K: trees are compared where K is the same. */
struct sum_tree {
    int parts;  /* of K; 0: none, for the order depends on M or on where a row lies in its batch */
    int first;  /* input features of the first parts, 0 where there is one part */
    int firsts; /* how many these are of those before the last part, which has what is left */
    int rest;   /* input features of the others before the last part; 0: there are none */
    int turns;  /* sums of a part that take its K steps in turns; 1: all in order */
    int step;   /* input features of such a step; 0 where there is one sum */
};

/* All of K in one piece. */
#define SUM_IN_ORDER ((struct sum_tree){.parts = 1, .turns = 1})

/* Of `steps` K steps of `step` features: `parts` (1 to `steps`) as even as they can be, the longer ones first
 * (steps_of() in templates/tile/schedule.cuh), in each of which `turns` sums take the steps in turns. Who takes turns
 * goes on with them from tile to tile, so that it depends on the tile which sum begins. For two sums that is no
 * difference; three have an order where each part is a multiple of three steps. */
struct sum_tree sum_tree_of(int steps, int step, int parts, int turns);

/* Whether both are the same tree, and one at all. */
bool sum_tree_equal(const struct sum_tree *a, const struct sum_tree *b);
bool sum_tree_in_order(const struct sum_tree *tree);
/* Appends what stands behind "adds up": "in order", "in 4 parts of 1024", "in 2 turns of 128". */
void sum_tree_format(const struct sum_tree *tree, struct str *out);

#endif
