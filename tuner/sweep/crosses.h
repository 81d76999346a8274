/* Cross times: what the winner at one split of a layer takes at the neighbouring ones. By them a split between the two
 * chooses its kernel (runtime/layer/split.h). An exhaustive sweep has them all; a search has measured other
 * configurations at every problem. */
#ifndef MT_CROSSES_H
#define MT_CROSSES_H

#include "tuner/plan/plan.h"

/* Fills `out`: of each problem the winners of the same layer and batch size at its neighbours in rows8, among problems
 * of the workload with the same kernels, as far as they are allowed there and `store` has no current time of them. Adds
 * to `binaries`, which are wanted. Release with plan_release(). */
enum mt_status crosses_plan(struct plan *out, const struct workload *workload, const struct device *dev,
                            struct binaries *binaries, struct store *store);

#endif
