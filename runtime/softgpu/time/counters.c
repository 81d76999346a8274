#include "counters.h"

#include <string.h>

enum { COUNTERS = sizeof(struct sg_counters) / sizeof(uint64_t) };
_Static_assert(sizeof(struct sg_counters) == COUNTERS * sizeof(uint64_t), "all counters are 64-bit numbers");

static uint64_t larger(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

void counters_add(struct sg_counters *sum, const struct sg_counters *one, uint64_t weight) {
    uint64_t total[COUNTERS], part[COUNTERS];
    const uint64_t inflight = larger(sum->max_inflight_bytes, one->max_inflight_bytes),
                   longest = larger(sum->max_warp_instructions, one->max_warp_instructions);
    memcpy(total, sum, sizeof total);
    memcpy(part, one, sizeof part);
    for (int k = 0; k < COUNTERS; k++)
        total[k] += weight * part[k];
    memcpy(sum, total, sizeof total);
    sum->max_inflight_bytes = inflight;
    sum->max_warp_instructions = longest;
}
