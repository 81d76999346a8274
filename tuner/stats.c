#include "stats.h"
#include "runtime/base/str.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { RESAMPLES = 1000 };

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double *sorted_copy(const double *samples, int count) {
    double *copy = xmalloc((size_t)count * sizeof *copy);
    memcpy(copy, samples, (size_t)count * sizeof *copy);
    qsort(copy, (size_t)count, sizeof *copy, compare);
    return copy;
}

static double middle(const double *sorted, int count) {
    return count % 2 ? sorted[count / 2] : 0.5 * (sorted[count / 2 - 1] + sorted[count / 2]);
}

double stats_median(const double *samples, int count) {
    double *sorted = sorted_copy(samples, count);
    double median = middle(sorted, count);
    free(sorted);
    return median;
}

/* xorshift64*: the same resamples every time, whatever else the process draws. */
static uint32_t next_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)((*state * 0x2545F4914F6CDD1DULL) >> 32);
}

/* Median of one resample. Drawing positions of the sorted samples and counting them avoids sorting each resample. */
static double resample_median(const double *sorted, int count, int *drawn, uint64_t *state) {
    memset(drawn, 0, (size_t)count * sizeof *drawn);
    for (int i = 0; i < count; i++)
        drawn[((uint64_t)next_random(state) * (uint64_t)count) >> 32]++;
    int lower_rank = (count - 1) / 2, upper_rank = count / 2, seen = 0;
    double lower = 0;
    for (int i = 0; i < count; i++) {
        if (seen <= lower_rank && lower_rank < seen + drawn[i])
            lower = sorted[i];
        if (upper_rank < seen + drawn[i])
            return 0.5 * (lower + sorted[i]);
        seen += drawn[i];
    }
    return lower;
}

struct estimate stats_estimate(const double *samples, int count) {
    double *sorted = sorted_copy(samples, count);
    struct estimate e = {.median = middle(sorted, count)};
    e.low = e.high = e.median;
    if (sorted[0] < sorted[count - 1]) {
        double medians[RESAMPLES];
        int *drawn = xcalloc((size_t)count, sizeof *drawn);
        uint64_t state = 0x9E3779B97F4A7C15ULL;
        for (int i = 0; i < RESAMPLES; i++)
            medians[i] = resample_median(sorted, count, drawn, &state);
        qsort(medians, RESAMPLES, sizeof *medians, compare);
        e.low = medians[RESAMPLES * 25 / 1000];
        e.high = medians[RESAMPLES - 1 - RESAMPLES * 25 / 1000];
        free(drawn);
    }
    free(sorted);
    /* The interval always holds its own median, also where the resamples all missed it. */
    if (e.low > e.median)
        e.low = e.median;
    if (e.high < e.median)
        e.high = e.median;
    return e;
}

double estimate_half_width(const struct estimate *e) {
    return e->median > 0 ? (e->high - e->low) / 2 / e->median : 0;
}
