/* The exact reference of a quantised GEMM, and the comparison that decides whether a kernel is right. */
#ifndef MT_REFERENCE_H
#define MT_REFERENCE_H

#include "quant.h"

struct reference {
    int m, n;
    double *y;    /* [m][n]: the exact integer sums per group, times the scales, summed in double, plus bias */
    double *mass; /* [m][n]: sum over groups of |term| */
};

/* bias: bits of p->dtype [n], or NULL. Runs on all cores. */
enum mt_status reference_init(struct reference *ref, const struct problem *p, const struct quant_layer *layer,
                              const struct quant_acts *acts, const uint16_t *bias);
void reference_release(struct reference *ref);
extern bool reference_plain; /* without this machine's vectors: for the tests, which compare the two */

/* Right when |y - ref| <= 1 ulp of the output type at ref + 2^-20 * mass, for every element. NaN never passes. */
struct verdict {
    long wrong;           /* elements out of bounds */
    int first_m, first_n; /* the first of them */
    double got, want, allowed;
    double worst; /* max of error / allowed over all elements */
};
/* y: bits of p->dtype [m][ldy]. */
void reference_compare(const struct reference *ref, enum dtype dtype, const uint16_t *y, int ldy, struct verdict *out);

#endif
