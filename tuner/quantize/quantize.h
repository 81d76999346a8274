/* From a checkpoint of Hugging Face to packed layers: `mixtune quantize`. */
#ifndef MT_QUANTIZE_H
#define MT_QUANTIZE_H

#include "tuner/options.h"

struct quantize_options {
    struct common_options common;
    const char *model, *out;
    const char *salience; /* file, or NULL */
    struct amount_options amount;
    bool symmetric, clip, leave_rest;
    bool gptq;           /* else round to nearest */
    const char *hessian; /* file or folder, or NULL: gptq is false, and clip goes by the weights' error */
    enum { ORDER_HESSIAN, ORDER_INDEX } group_order; /* in which GPTQ visits the groups of inputs (hessian.h) */
    double damping;                                  /* share of the mean of a Hessian's diagonal, > 0 */
    int group, fill, tp;
    int threads; /* 0: as many as there are cores */
};

/* Quantises each linear layer once at the widths that are needed, puts every scheme and rank together from that, and
 * prints what the layers became. MT_INTERRUPTED after ^C: the same command goes on from there. */
enum mt_status quantize_run(const struct quantize_options *options);

#endif
