/* The candidates of a sweep, in the order in which they are measured. */
#ifndef MT_PLAN_H
#define MT_PLAN_H

#include "binaries.h"
#include "candidate.h"
#include "space.h"

/* What candidates are planned for. */
struct plan_target {
    const struct device *dev;
    bool cublas, cublaslt; /* can be measured there */
    bool quick;            /* few baselines */
    bool every;            /* all configurations that can run, also those with tiles that only lose time */
};

struct plan {
    struct candidate *item;
    int count;
    size_t capacity;
    int current; /* candidates left out because the store has a current measurement */
};

/* Names of the space files that belong to a device: of each quantised family that runs on it, "sm80" or its quick
 * spaces. Appends, separated by commas. */
void plan_default_spaces(const struct device *dev, bool quick, struct str *out);

/* Keeps at most `max` configurations of each family (0: all) among those that some problem of the workload allows: the
 * family's first, and others evenly spread over the list. */
void plan_thin(struct config_list *configs, const struct workload *workload, const struct device_limits *limits,
               int max);

/* Per layer first the baselines, then the configurations, m by m; combinations that are refused, and those that `store`
 * (NULL: none) already has, are left out. Adds to `binaries`. The plan points into `workload`. */
enum mt_status plan_make(struct plan *plan, const struct workload *workload, const struct config_list *configs,
                         const struct plan_target *target, struct binaries *binaries, struct store *store);
void plan_release(struct plan *plan);

#endif
