/* Cross times: what the winner of one problem takes at the problems beside it, which are the same layer with the next
 * lower and the next higher rows8, and with the two next M on either side. By them the library chooses a kernel between
 * the two (runtime/layer/split.h, runtime/serve/stairs.h). An exhaustive sweep has most of them; a search has measured
 * other configurations at every problem. */
#ifndef MT_CROSSES_H
#define MT_CROSSES_H

#include "tuner/plan/plan.h"

/* Fills `out`: of each problem the winners of the problems beside it, among those of the workload with the same
 * kernels, as far as they are allowed there and `store` has no current time of them. Adds to `binaries`, which are
 * wanted. Release with plan_release(). */
enum mt_status crosses_plan(struct plan *out, const struct workload *workload, const struct device *dev,
                            struct binaries *binaries, struct store *store);

#endif
