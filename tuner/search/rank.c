#include "rank.h"
#include "runtime/base/str.h"
#include <math.h>
#include <stdlib.h>

struct place {
    double value;
    int at;
};

static int compare(const void *a, const void *b) {
    double x = ((const struct place *)a)->value, y = ((const struct place *)b)->value;
    return (x > y) - (x < y);
}

/* The rank of each value, from 1; equal ones share the mean of theirs. */
static double *ranks(const double *value, int count) {
    struct place *sorted = xcalloc((size_t)count, sizeof *sorted);
    double *rank = xcalloc((size_t)count, sizeof *rank);
    for (int i = 0; i < count; i++)
        sorted[i] = (struct place){value[i], i};
    qsort(sorted, (size_t)count, sizeof *sorted, compare);
    for (int first = 0, last; first < count; first = last) {
        for (last = first + 1; last < count && sorted[last].value == sorted[first].value;)
            last++;
        for (int i = first; i < last; i++)
            rank[sorted[i].at] = (first + 1 + last) / 2.0;
    }
    free(sorted);
    return rank;
}

double rank_spearman(const double *x, const double *y, int count) {
    if (count < 2)
        return NAN;
    double *a = ranks(x, count), *b = ranks(y, count);
    double mean = (count + 1) / 2.0, ab = 0, aa = 0, bb = 0;
    for (int i = 0; i < count; i++) {
        ab += (a[i] - mean) * (b[i] - mean);
        aa += (a[i] - mean) * (a[i] - mean);
        bb += (b[i] - mean) * (b[i] - mean);
    }
    free(a);
    free(b);
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : NAN;
}

void rank_interval(double rho, int count, double *low, double *high) {
    const double two_sided_95 = 1.959963984540054;
    *low = *high = NAN;
    if (count < 4 || isnan(rho))
        return;
    double wide = two_sided_95 * sqrt((1 + rho * rho / 2) / (count - 3));
    *low = tanh(atanh(rho) - wide);
    *high = tanh(atanh(rho) + wide);
}

double rank_regret(const double *predicted, const double *real, int count) {
    double first = INFINITY, chosen = 0, best = INFINITY;
    for (int i = 0; i < count; i++) {
        if (predicted[i] < first)
            first = predicted[i], chosen = 0;
        if (predicted[i] == first && real[i] > chosen)
            chosen = real[i];
        if (real[i] < best)
            best = real[i];
    }
    return chosen / best;
}

double rank_pruning(const double *predicted, const double *real, int count, int keep) {
    double kept = INFINITY, best = INFINITY;
    for (int i = 0; i < count; i++) {
        int lower = 0;
        for (int j = 0; j < count; j++)
            lower += predicted[j] < predicted[i];
        if (lower < keep && real[i] < kept)
            kept = real[i];
        if (real[i] < best)
            best = real[i];
    }
    return kept / best;
}
