/* What of a space can run at all. */
#ifndef MT_PLAN_FIT_H
#define MT_PLAN_FIT_H

#include "runtime/gpu/device.h"
#include "space.h"
#include "workload.h"

/* Whether some problem of the workload allows a configuration; if not, why the first one does not. */
bool fit_somewhere(const struct config *config, const struct workload *workload, const struct device_limits *limits,
                   char reason[160]);

/* Says on standard error how many of the configurations none of the problems allows on that device, and the commonest
 * reason; and for which problems there is none. A default that no space lists counts for nothing. MT_USAGE with the
 * reasons, the commonest first, if no configuration can run. */
enum mt_status fit_check(const struct config_list *configs, const struct workload *workload, const struct device *dev);

/* MT_USAGE for a problem whose operands are larger than the device's memory; if not `each`, only where none is left that
 * fits. */
enum mt_status fit_memory(const struct workload *workload, const struct device *dev, bool each);

#endif
