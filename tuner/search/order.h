/* The order in which the candidates of a plan are measured, and how many of them: a search for each problem. */
#ifndef MT_SEARCH_ORDER_H
#define MT_SEARCH_ORDER_H

#include "search.h"
#include "tuner/plan/plan.h"

struct order_rules {
    enum search_strategy strategy; /* SEARCH_EXHAUSTIVE: the whole plan as it stands */
    enum search_patience patience;
    int max_configs; /* of each problem; 0: as patience has it */
    uint64_t seed;
};

struct order;

/* Reads from `store` what earlier sweeps of this device measured: it counts as measured, and guides. On a real GPU the
 * modelled times of software devices guide too. Unless all is measured, no binary stays wanted but the baselines': each
 * becomes so when its turn comes. `problems` are all of the workload, also those that the plan need not measure any
 * more. All that is pointed to must outlive the order. */
enum mt_status order_open(const struct order_rules *rules, const struct plan *plan, int problems,
                          struct binaries *binaries, const struct device *dev, struct store *store, struct order **out);
void order_close(struct order *order);

/* *index: the next candidate of the plan, -1 at the end. */
enum mt_status order_next(struct order *order, int *index);
/* What became of it: its time in ns, 0 if it is not good. */
void order_tell(struct order *order, int index, double ns);

/* Candidates that will have been measured in the end, as far as is known now. */
int order_total(const struct order *order);

#endif
