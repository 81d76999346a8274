/* How well one order of things agrees with another. */
#ifndef MT_RANK_H
#define MT_RANK_H

/* Spearman's rho: the correlation of the ranks, equal values sharing the mean of theirs. NAN when count < 2 or all of
 * one side are equal. */
double rank_spearman(const double *x, const double *y, int count);

/* The 95 % interval of such a rho: Fisher's transformation with the variance (1 + rho^2 / 2) / (count - 3) of Bonett
 * and Wright (2000). NAN for fewer than 4 pairs. */
void rank_interval(double rho, int count, double *low, double *high);

/* Of candidates with a predicted and a real cost, what choosing by prediction costs: the real cost of the one with the
 * lowest prediction (the dearest of several) over the lowest real cost. 1: nothing is lost. count >= 1. */
double rank_regret(const double *predicted, const double *real, int count);

/* The same when the `keep` candidates with the lowest predictions (and those that are equal to the last of them) are
 * measured and the best of these is taken: what it costs to leave the others out. 1 <= keep <= count. */
double rank_pruning(const double *predicted, const double *real, int count, int keep);

#endif
