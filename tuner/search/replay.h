/* Plays a search against a stored exhaustive sweep: the database answers instead of a device. */
#ifndef MT_REPLAY_H
#define MT_REPLAY_H

#include "search.h"
#include "tuner/report/rows.h"

/* One layer at one batch size, with every configuration that was measured. */
struct replay_problem {
    int row; /* of replay_set.rows: the first that belongs to it */
    struct problem problem;
    int sm_count, count;
    struct config *config; /* [count], owned */
    double *ns;            /* [count], owned; 0: not good */
    double *modelled_ns;   /* [count], owned; of the same kernels on a software device; NULL where none is known */
    double best_ns;        /* > 0 */
};

struct replay_set {
    struct rows rows; /* reports/replay.sql */
    struct replay_problem *item;
    int count;
};

/* Reads what query_open() has selected; problems without a good configuration are left out. MT_FAILURE if none is
 * left. */
enum mt_status replay_read(struct sqlite3 *db, struct replay_set *out);
void replay_release(struct replay_set *set);

/* True if a sweep would have measured both in one go, learning from one for the other: device, origin and model are the
 * same. */
bool replay_same_sweep(const struct replay_set *set, int a, int b);

struct replay_run {
    int measured;
    int within;       /* measurements until the best was within 1 %; 0: never */
    double *distance; /* [measured], owned: (best so far) / best - 1; infinite before the first good one */
};
void replay_run(const struct replay_problem *problem, const struct search_rules *rules, struct model_samples *memory,
                struct replay_run *out);
void replay_run_release(struct replay_run *run);

#endif
