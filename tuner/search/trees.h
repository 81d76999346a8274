/* Kernels that add up alike at every M of a layer, for batch invariance. A search, and most spaces, have none that were
 * timed at all of them. */
#ifndef MT_TREES_H
#define MT_TREES_H

#include "tuner/plan/plan.h"

/* Fills `out`: for each layer of the workload and each of its M kernels that add up in order, in 2 and 4 parts, and in
 * the other orders whose times come nearest to the winners'. They are the winner at this M and the fastest that add up
 * so at the nearest M, made to do so by what shares K: split_k, cluster_k, share_k. Times of these tell more: plan anew
 * when they are there. Adds to `binaries`, which are wanted. Release with plan_release(). */
enum mt_status trees_plan(struct plan *out, const struct workload *workload, const struct device *dev,
                          struct binaries *binaries, struct store *store);

#endif
