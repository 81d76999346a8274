/* The winners of a workload, as the store derives them. */
#ifndef MT_WINNERS_H
#define MT_WINNERS_H

#include "runtime/gpu/device.h"
#include "tuner/plan/workload.h"

/* Prints the fastest configuration of every problem beside its baseline: a table, or JSON lines. Problems without a
 * good configuration are left out. The heading says when times are modelled. */
enum mt_status winners_print(struct store *store, const struct device *dev, const struct workload *workload, bool json);

/* Binds what names a problem on a device: ?1 uuid, ?2 origin, ?3 model, ?4 layer, ?5 tp, ?6 n, ?7 k, ?8 m, ?9 scheme,
 * ?10 group_size, ?11 dtype. */
struct sqlite3_stmt;
void winners_bind(struct sqlite3_stmt *s, const struct device *dev, const struct work_item *item);

#endif
