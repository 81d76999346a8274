#include "stairs.h"

/* What unpacking and loading a weight costs a CTA, in tokens that are multiplied by it. */
enum { WEIGHT_TOKENS = 64 };
/* How much more a kernel that was never timed has to promise before it is believed. */
#define UNTIMED 1.1
/* What of the last wave counts as if it were whole. */
#define WHOLE 0.7

void stair_of(const struct launch_plan *plan, int sm_count, struct stair *out) {
    const struct launch_shape *every = &plan->every;
    const int cluster = every->cluster > 0 ? every->cluster : 1;
    *out = (struct stair){.tile_m = every->tile_m,
                          .ctas = plan->tiles_n * cluster * every->split_k,
                          .workers = sm_count,
                          .even = every->stream_k > 0,
                          .work = (double)every->tile_n * (WEIGHT_TOKENS + every->tile_m) / every->parts_k};
}

double stair_load(const struct stair *stair, int m) {
    const int64_t ctas = (int64_t)stair->ctas * ((m - 1) / stair->tile_m + 1);
    const double each = (double)ctas / stair->workers;
    if (stair->even)
        return each;
    const int64_t whole = (ctas - 1) / stair->workers + 1;
    return WHOLE * (double)whole + (1 - WHOLE) * each;
}

static void rival_grows(struct rival *rival, struct stair_time time) {
    rival->m = time.m;
    rival->ns = time.ns;
    rival->load = stair_load(&rival->stair, time.m);
    rival->per_load = time.ns / rival->load;
    rival->per_token = 0;
}

bool rival_between(struct rival *rival, struct stair_time low, struct stair_time high) {
    if (low.ns <= 0 && high.ns <= 0)
        return false;
    rival_grows(rival, low.ns > 0 ? low : high);
    if (low.ns <= 0 || high.ns <= 0)
        return true;
    const double more = stair_load(&rival->stair, high.m) - rival->load, longer = high.ns - low.ns;
    rival->per_load = more > 0 ? longer / more : 0;
    rival->per_token = more > 0 ? 0 : longer / (high.m - low.m);
    return true;
}

void rival_like(struct rival *rival, const struct stair *other, struct stair_time time) {
    const double work = stair_load(&rival->stair, time.m) * rival->stair.work,
                 others = stair_load(other, time.m) * other->work;
    rival_grows(rival, (struct stair_time){time.m, UNTIMED * time.ns * work / others});
}

double rival_ns(const struct rival *rival, int m) {
    return rival->ns + (stair_load(&rival->stair, m) - rival->load) * rival->per_load +
           (m - rival->m) * rival->per_token;
}
