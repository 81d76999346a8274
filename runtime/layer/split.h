/* How many of a layer's features keep 8 bits: what that costs, and what other numbers tell of it. */
#ifndef MT_SPLIT_H
#define MT_SPLIT_H

#include "problem.h"
#include <stddef.h>

/* Bytes of a layer's packed weights, scales and zero points: what a launch must read of it, whatever M. They grow
 * linearly with rows8, up to the padding of the two parts to 16 features. */
size_t split_bytes(const struct problem *p);

/* Whether two problems are splits of one layer: they differ in rows8 and M at most. `symmetric` tells them apart only
 * where both have 4-bit features. */
bool split_siblings(const struct problem *a, const struct problem *b);

/* Of a layer's tuned splits those next to one that was not tuned. */
struct split_neighbours {
    int low, high; /* indexes; -1: there is none on that side */
};
/* `rows8` [count] of the tuned splits in any order; one below 0 does not count. Where a split has features of one width
 * and its neighbour both, the times there are of other binaries: such a neighbour counts only where no split of the
 * same kernels was tuned. */
struct split_neighbours split_neighbours(const struct problem *p, const int *rows8, int count);

/* Where a kernel was timed. */
struct split_time {
    int rows8;
    double ns; /* 0: it was not */
};
/* A time that grows by a ratio, but for the `launch` ns that every launch takes; what took less does not change. */
double time_scaled(double ns, double ratio, double launch);
/* What a kernel takes at `p`, from its times at the two neighbouring splits of the layer: linear in bytes between them;
 * in proportion to the bytes, as time_scaled() has it, where there is only one time; 0 where there is none. */
double split_estimate(const struct problem *p, struct split_time low, struct split_time high, double launch);

/* A kernel that a split which was not tuned may run: its times at the next lower and at the next higher tuned split. */
struct split_candidate {
    struct split_time low, high;
};
/* The candidate with the least split_estimate() at `p`, the first of equals: callers list the lower split's winner
 * first. One without a time is taken only where none has one. `ns`, if not NULL, gets the estimate. -1 if there are no
 * candidates. */
int split_choose(const struct problem *p, const struct split_candidate *candidates, int count, double launch,
                 double *ns);

/* The features that keep 8 bits when a part is filled up to a multiple of `fill` (1: as chosen): never from 0, and
 * never more than the n that there are. After a cut for tensor parallelism, for each rank. */
int split_filled(int rows8, int n, int fill);

#endif
