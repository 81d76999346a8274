#include "split.h"
#include "pack.h"
#include <string.h>

static size_t part_bytes(const struct problem *p, int bits, int rows, bool zeros) {
    int padded = pack_padded(rows);
    return packed_bytes(bits, padded, problem_k_padded(p)) +
           (size_t)padded * (size_t)problem_groups(p) * (size_t)(2 + zeros);
}

size_t split_bytes(const struct problem *p) {
    return part_bytes(p, 8, p->rows8, false) + part_bytes(p, 4, p->n - p->rows8, problem_has_zeros(p));
}

bool split_siblings(const struct problem *a, const struct problem *b) {
    const bool both_have_4 = a->rows8 < a->n && b->rows8 < b->n;
    return a->n == b->n && a->k == b->k && a->group == b->group && a->dtype == b->dtype &&
           (!both_have_4 || a->symmetric == b->symmetric);
}

static double bytes_at(const struct problem *p, int rows8) {
    struct problem q = *p;
    q.rows8 = rows8;
    return (double)split_bytes(&q);
}

static bool same_kernels(const struct problem *p, int rows8) {
    struct problem q = *p;
    q.rows8 = rows8;
    return !strcmp(problem_scheme(&q), problem_scheme(p));
}

struct split_neighbours split_neighbours(const struct problem *p, const int *rows8, int count) {
    struct split_neighbours near = {-1, -1};
    for (int any = 0; any <= 1 && near.low < 0 && near.high < 0; any++)
        for (int i = 0; i < count; i++) {
            if (rows8[i] < 0 || (!any && !same_kernels(p, rows8[i])))
                continue;
            if (rows8[i] < p->rows8 && (near.low < 0 || rows8[i] > rows8[near.low]))
                near.low = i;
            if (rows8[i] > p->rows8 && (near.high < 0 || rows8[i] < rows8[near.high]))
                near.high = i;
        }
    return near;
}

double time_scaled(double ns, double ratio, double launch) {
    const double rest = ns > launch ? ns - launch : 0;
    return ns - rest + rest * ratio;
}

double split_estimate(const struct problem *p, struct split_time low, struct split_time high, double launch) {
    const double here = (double)split_bytes(p), below = bytes_at(p, low.rows8), above = bytes_at(p, high.rows8);
    if (low.ns <= 0 && high.ns <= 0)
        return 0;
    if (low.ns <= 0)
        return time_scaled(high.ns, here / above, launch);
    if (high.ns <= 0)
        return time_scaled(low.ns, here / below, launch);
    return above > below ? low.ns + (high.ns - low.ns) * (here - below) / (above - below) : low.ns;
}

int split_choose(const struct problem *p, const struct split_candidate *candidates, int count, double launch,
                 double *ns) {
    double least = 0;
    int best = count > 0 ? 0 : -1;
    for (int i = 0; i < count; i++) {
        double estimate = split_estimate(p, candidates[i].low, candidates[i].high, launch);
        if (estimate > 0 && (least == 0 || estimate < least)) {
            least = estimate;
            best = i;
        }
    }
    if (ns)
        *ns = least;
    return best;
}

int split_filled(int rows8, int n, int fill) {
    if (rows8 <= 0)
        return 0;
    int filled = (rows8 + fill - 1) / fill * fill;
    return filled < n ? filled : n;
}
