/* Making a configuration do what it was not tuned for. */
#ifndef MT_FIT_H
#define MT_FIT_H

#include "runtime/family/family.h"

/* For other widths of features: where a layer has one width, its tile is that of this width, and knobs that only the
 * other has take their fallback. The configuration may still not be allowed. */
void config_adapt(struct config *config, const struct problem *p);

/* Makes launch-time knobs small enough for a problem. False if the kernel cannot run it all the same. */
bool config_fit(struct config *config, const struct problem *p, const struct device_limits *limits);

/* In which order the kernel adds up on a problem; no tree where that depends on M. */
struct sum_tree config_sums(const struct config *config, const struct problem *p, int sm_count);

/* Gives launch-time knobs values by which the kernel adds up as `sums` says, whatever M. False if it cannot. */
bool config_sum_as(struct config *config, const struct problem *p, int sm_count, const struct sum_tree *sums);

#endif
