#include "finals.h"
#include "runtime/base/str.h"
#include <stdlib.h>

static const double least_win = 0.01;

/* One for each round; freed by the caller. */
static double *ratios(const struct finals *f, int a, int b) {
    double *ratio = xmalloc((size_t)f->rounds * sizeof *ratio);
    for (int r = 0; r < f->rounds; r++)
        ratio[r] = f->ns[r * f->finalists + a] / f->ns[r * f->finalists + b];
    return ratio;
}

struct estimate finals_ratio(const struct finals *f, int a, int b) {
    double *ratio = ratios(f, a, b);
    struct estimate e = stats_estimate(ratio, f->rounds);
    free(ratio);
    return e;
}

bool finals_wins(const struct estimate *ratio) {
    return ratio->median <= 1 - least_win && ratio->high < 1;
}

/* By the median ratio to the first finalist. */
static int fastest(const struct finals *f) {
    int best = 0;
    double least = 1;
    for (int i = 1; i < f->finalists; i++) {
        double *ratio = ratios(f, i, 0), median = stats_median(ratio, f->rounds);
        free(ratio);
        if (median < least) {
            least = median;
            best = i;
        }
    }
    return best;
}

int finals_winner(const struct finals *f) {
    const int best = fastest(f);
    for (int i = 0; i < best; i++) {
        struct estimate ratio = finals_ratio(f, best, i);
        if (!finals_wins(&ratio))
            return i;
    }
    return best;
}
