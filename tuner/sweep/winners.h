/* The winners of a workload, as the store derives them. */
#ifndef MT_WINNERS_H
#define MT_WINNERS_H

#include "runtime/gpu/device.h"
#include "tuner/plan/workload.h"

/* Prints the fastest configuration of every problem beside its baseline, as `mixtune show` does. Problems without
 * a good configuration are left out, with a warning; MT_FAILURE says why when all candidates failed. */
enum mt_status winners_print(struct store *store, const struct device *dev, const struct workload *workload, bool json);

#endif
