/* The winners of a workload, as the store derives them. */
#ifndef MT_WINNERS_H
#define MT_WINNERS_H

#include "../runtime/device.h"
#include "workload.h"

/* Prints the fastest configuration of every problem beside its baseline: a table, or JSON lines. Problems without a
 * good configuration are left out. The heading says when times are modelled. */
enum mt_status winners_print(struct store *store, const struct device *dev, const struct workload *workload, bool json);

#endif
