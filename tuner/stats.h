/* Statistics of timing samples. Everything is deterministic: equal samples give equal results. */
#ifndef MT_STATS_H
#define MT_STATS_H

/* A median and its 95 % confidence interval (percentile bootstrap). */
struct estimate {
    double median, low, high;
};

/* Middle value; of an even count the mean of the middle two. count >= 1; `samples` stays as it is. */
double stats_median(const double *samples, int count);

/* count >= 1. */
struct estimate stats_estimate(const double *samples, int count);

/* Half the width of the interval over the median: what timing stops on. */
double estimate_half_width(const struct estimate *e);

#endif
