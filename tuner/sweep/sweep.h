/* A sweep: every configuration of a space, measured for every problem of a workload, into a database. */
#ifndef MT_SWEEP_H
#define MT_SWEEP_H

#include "tuner/options.h"
#include "tuner/search/order.h"

struct sweep_options {
    struct common_options common;
    struct work_options work;
    const char *space; /* names or paths, separated by commas; NULL: the family's own, or its quick one */
    const char *db;
    double time_limit;         /* seconds; 0: none */
    struct order_rules search; /* exhaustive: max_configs is of each family, spread over the space */
    double patience; /* seconds without a sign of life after which a candidate counts as hung; 0: as the device is */
    int finals;      /* rounds; 0: none, -1: as the device is */
    const char *const *skip; /* labels of candidates that are left out (candidate_label()) */
    int skip_count;
    bool retry;           /* also measures what failed before */
    bool no_wait;         /* refuses at once when another sweep has the device */
    bool no_lock;         /* the user sees to it that no other sweep has the device */
    bool quick;           /* fewer configurations, looser timing */
    bool batch_invariant; /* also measures kernels that add up alike at every M (tuner/search/trees.h) */
    const char *command;  /* for the database: what the user typed */
};

/* Candidates that do not compile, do not launch or compute wrong numbers are rows of the database, not failures of the
 * sweep, unless it is all of them. What befalls the machine is MT_FAILURE and no row. MT_INTERRUPTED after ^C or at the
 * time limit: running it again goes on from there. */
enum mt_status sweep_run(const struct sweep_options *options);

#endif
