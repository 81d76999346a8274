/* The finals of a sweep: of each problem the best configurations, the defaults and the baselines are timed once more,
 * in turns, so that they are compared under the same conditions. What comes out are measurements like any other, newer
 * than those that they were chosen by. */
#ifndef MT_ROUNDS_H
#define MT_ROUNDS_H

#include "worker.h"

enum { ROUNDS_BEST = 10, ROUNDS_DEFAULT = 20 };
/* What the command of a run of finals begins with in the store. */
#define ROUNDS_COMMAND "finals of "

struct rounds {
    struct worker *worker;
    struct binaries *binaries; /* further ones may be added and compiled */
    struct store *store;       /* in a run whose command begins with ROUNDS_COMMAND */
    int count;                 /* rounds */
    struct tally *tally;       /* what was not good is added */
};

/* Samples that were not good, and of how many candidates. */
struct tally {
    struct rejected rejected;
    int candidates;
};
void tally_add(struct tally *tally, const struct rejected *of_candidate);

/* The finals of one problem, unless nothing was measured since its last. A problem with less than two good
 * configurations has none. Finalists that fail together are a warning; MT_INTERRUPTED after ^C. */
enum mt_status rounds_run(const struct rounds *r, const struct work_item *item);

#endif
