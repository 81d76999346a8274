/* The last stage of the funnel: the best configurations, the default and the baselines run in turns, round after round,
 * and are compared by the ratios within a round. Drift and throttling hit both sides of a ratio, so they cancel. */
#ifndef MT_FINALS_H
#define MT_FINALS_H

#include "tuner/stats.h"
#include <stdbool.h>

enum { FINALS_MIN_ROUNDS = 20 };

/* Times of all finalists in all rounds: ns[round * finalists + finalist], each > 0. */
struct finals {
    const double *ns;
    int rounds, finalists;
};

/* Median over the rounds of time(a) / time(b), and its 95 % interval. */
struct estimate finals_ratio(const struct finals *f, int a, int b);

/* Whether a ratio of times is a win: at least 1 % less, with an interval that excludes 1. */
bool finals_wins(const struct estimate *ratio);

/* The finalists stand in order of simplicity, the simplest first. The winner is the simplest of those that the fastest
 * does not win against. */
int finals_winner(const struct finals *f);

#endif
