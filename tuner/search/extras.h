/* Candidates that are measured behind a search: kernels that won at one problem, at others. */
#ifndef MT_EXTRAS_H
#define MT_EXTRAS_H

#include "tuner/plan/plan.h"
#include "tuner/report/rows.h"

struct extras {
    struct plan *plan;
    const struct workload *workload;
    const struct device *dev;
    struct device_limits limits;
    struct rows winners;     /* of the device */
    struct problem *problem; /* of each */
    struct binaries *binaries;
    struct store *store;
};

/* `plan` is empty then. All but `limits`, `winners` and `problem` stay the caller's. */
enum mt_status extras_open(struct extras *e, struct plan *plan, const struct workload *workload,
                           const struct device *dev, struct binaries *binaries, struct store *store);
/* Releases the plan, too, unless `status`, which is returned, is MT_OK. */
enum mt_status extras_close(struct extras *e, enum mt_status status);

/* The winner of a problem. False: it has none that this mixtune knows. */
bool extras_winner(const struct extras *e, const struct work_item *item, struct config *out);
/* Plans a configuration with its binary, which is wanted, unless it is planned or the store has a current time. */
enum mt_status extras_add(struct extras *e, const struct work_item *item, const struct config *config);

#endif
