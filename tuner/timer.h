/* Times a launch: cold inputs, CUDA events, samples until their median is known well enough.
 *
 * Nothing here knows whether the device is real: on a software one the same calls give modelled times. */
#ifndef MT_TIMER_H
#define MT_TIMER_H

#include "../runtime/device.h"
#include "stats.h"

/* Launches once on `stream`, asynchronously, with the inputs of turn 0, 1, 2, ... */
typedef enum mt_status (*timed_launch)(void *context, int turn, CUstream stream);

struct timer_limits {
    int min_samples;
    double half_width;  /* stop when the 95 % interval's half-width is below this share of the median */
    double max_seconds; /* or after this long */
};
extern const struct timer_limits timer_limits_normal, timer_limits_quick;

struct timing {
    double *samples_ns; /* owned; one time per sample, of one launch */
    int count;
    struct estimate estimate;
    int launches_per_sample; /* 1, or the launches of the graph */
};

/* `rotation` turns pass before inputs come again. timing_release() frees the samples. On failure nothing is held. */
enum mt_status timer_measure(struct device *dev, timed_launch launch, void *context, int rotation,
                             const struct timer_limits *limits, struct timing *out);
void timing_release(struct timing *timing);

#endif
