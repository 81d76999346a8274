/* Times a launch: CUDA events, samples until their median is known well enough.
 *
 * Nothing here knows whether the device is real: on a software one the same calls give modelled times, without a gate.
 */
#ifndef MT_TIMER_H
#define MT_TIMER_H

#include "../runtime/device.h"
#include "gate.h"
#include "stats.h"
#include <stdbool.h>

/* Launches once on `stream`, asynchronously, with the inputs of turn 0, 1, 2, ... */
typedef enum mt_status (*timed_launch)(void *context, int turn, CUstream stream);

struct timer_limits {
    int min_samples;
    double half_width;  /* stop when the 95 % interval's half-width is below this share of the median */
    double max_seconds; /* or after this long */
};
extern const struct timer_limits timer_limits_normal, timer_limits_quick;

/* Kernels shorter than this are timed as a graph: the host could not launch them fast enough one by one. */
extern const double timer_graph_below_ns;

/* What is timed, and how. */
struct timer_job {
    timed_launch launch;
    void *context;                /* of `launch` and `alive` */
    int rotation;                 /* turns that pass before inputs come again; 1: the inputs stay in the cache */
    struct gate *gate;            /* NULL: none */
    double beat_ns;               /* what is over twice as slow is not worth a full timing; 0: everything is */
    void (*alive)(void *context); /* called between batches of samples; NULL: nobody asks */
    const struct timer_limits *limits;
};

struct timing {
    double *samples_ns; /* owned; one time per sample, of one launch */
    int count;
    struct estimate estimate;
    int launches_per_sample; /* 1, or the launches of the graph */
    int rejected;            /* samples that were thrown away for the device's clock had dropped */
    bool probed_only;        /* twice as slow as what it had to beat: the samples are those of the probe */
};

/* For taking turns with others: warmed up and ready to be sampled. `job` must live as long. */
struct timer;
enum mt_status timer_open(struct device *dev, const struct timer_job *job, struct timer **out);
/* One sample; taken again a few times when the device was throttled. */
enum mt_status timer_sample(struct timer *t, double *ns);
/* NULL is allowed. */
void timer_close(struct timer *t);

/* timing_release() frees the samples. On failure nothing is held. */
enum mt_status timer_measure(struct device *dev, const struct timer_job *job, struct timing *out);
void timing_release(struct timing *timing);

#endif
