/* Times a launch: CUDA events, samples until their median is known well enough.
 *
 * Nothing here knows whether the device is real: on a software one the same calls give modelled times, without a
 * gate. */
#ifndef MT_TIMER_H
#define MT_TIMER_H

#include "gate.h"
#include "runtime/gpu/device.h"
#include "tuner/stats.h"
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
    int *turn;                    /* counted on by all who take turns on the same inputs; NULL: nobody else does */
    struct gate *gate;            /* NULL: none */
    double *bad_since;            /* seconds_now() of the first sample that did not count since the last that did, 0:
                                   * none; kept between timings of one device. NULL: each finds out by itself */
    double beat_ns;               /* what is over twice as slow is not worth a full timing; 0: everything is */
    void (*alive)(void *context); /* called between batches of samples; NULL: nobody asks */
    const struct timer_limits *limits;
};

/* Samples that were not good: the clock had dropped, or the device had to wait for the host. */
struct rejected {
    int samples;  /* that were thrown away; where the device stays so, the next ones are kept */
    double clock; /* the lowest that was too low, of either, over the device's highest; 0: there was none */
};
void rejected_add(struct rejected *sum, const struct rejected *more);

struct timing {
    double *samples_ns; /* owned; one time per sample, of one launch */
    int count;
    struct estimate estimate;
    int launches_per_sample; /* 1, or the launches of the graph */
    struct rejected rejected;
    bool probed_only; /* twice as slow as what it had to beat: the samples are those of the probe */
};

/* For taking turns with others: warmed up and ready to be sampled, by single launches. `job` must live as long. */
struct timer;
enum mt_status timer_open(struct device *dev, const struct timer_job *job, struct timer **out);
/* Whether a single launch takes less than timer_graph_below_ns. */
bool timer_is_short(const struct timer *t);
/* From here on a sample is a graph of launches. Times of the two forms do not compare: a single launch has its own
 * overhead in it. So those who take turns all have one form: a graph where any of them is short. */
enum mt_status timer_capture(struct timer *t);
/* One sample; taken again a few times when it does not count. */
enum mt_status timer_sample(struct timer *t, double *ns);
/* What timer_open() and timer_sample() threw away. */
const struct rejected *timer_rejected(const struct timer *t);
/* NULL is allowed. */
void timer_close(struct timer *t);

/* timing_release() frees the samples. On failure nothing is held. */
enum mt_status timer_measure(struct device *dev, const struct timer_job *job, struct timing *out);
void timing_release(struct timing *timing);

#endif
