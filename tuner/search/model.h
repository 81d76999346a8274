/* What a search knows of times that it has not measured: a small cost model, fitted to those that it has.
 *
 * Two stages. The first is a sum of a few costs with weights that are never negative,
 *     t = c0 + c1 * waves + c2 * waves * steps + ... + c5 * (multiply-accumulates of the busiest SM) + ...
 * so it carries over to other shapes. The second is a ridge regression of what is left, log(t / first stage), on the
 * logarithms of the knobs and their squares; with few measurements it stays near zero. Where a modelled time of the
 * same kernel is known (a software device ran it), that takes the place of the first stage.
 *
 * Measurements of the problem in hand count most; those of other problems count less the farther their shape is. */
#ifndef MT_SEARCH_MODEL_H
#define MT_SEARCH_MODEL_H

#include "runtime/family/family.h"

/* Bytes of shared memory that come on top of what a launch asks for: the system's and the kernel's own. */
enum { EXTRA_SHARED = 1152 };
enum { MODEL_COSTS = 13, MODEL_KNOBS = 2 * MT_MAX_KNOBS };

/* A configuration on a problem, as the model sees it. */
struct model_point {
    const struct family *family;
    double cost[MODEL_COSTS];
    double knob[MODEL_KNOBS];
    double shape[3];    /* log2 of m, n, k */
    double modelled_ns; /* 0: unknown */
};

/* `sm_shared`: bytes of shared memory of an SM, as far as is known: it bounds how many CTAs are resident. */
void model_point_init(struct model_point *point, const struct config *config, const struct problem *problem,
                      int sm_count, int sm_shared, double modelled_ns);

struct model_sample {
    struct model_point point;
    double ns;
};

/* Measured points. Zero-initialised is empty; released with samples_release(). */
struct model_samples {
    struct model_sample *item;
    int count;
    size_t capacity;
};
void samples_add(struct model_samples *samples, const struct model_point *point, double ns);
void samples_release(struct model_samples *samples);

/* The model of one family near one shape. */
struct model_fit {
    int samples; /* of the family that it rests on; 0: it predicts nothing */
    double cost[MODEL_COSTS];
    double mean[MODEL_KNOBS], slope[MODEL_KNOBS], level;
};

/* Fits to the samples of `target`'s family in both lists: those of the problem in hand and those of others. */
void model_fit(struct model_fit *fit, const struct model_point *target, const struct model_samples *own,
               const struct model_samples *others);

/* Log of the time in ns; +inf where nothing is known. */
double model_predict(const struct model_fit *fit, const struct model_point *point);

#endif
