#include "plan.h"

void config_plan(const struct config *c, const struct problem *p, int sm_count, size_t counters_bytes,
                 struct launch_plan *out) {
    c->family->plan(c, p, sm_count, out);
    const size_t most = counters_bytes / out->split_counters;
    out->most_split = most < INT_MAX ? (int)most : INT_MAX;
}

void config_shape(const struct config *c, const struct problem *p, int sm_count, struct launch_shape *out) {
    struct launch_plan plan;
    config_plan(c, p, sm_count, SIZE_MAX, &plan);
    launch_plan_at(&plan, p->m, out);
}
