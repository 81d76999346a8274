/* The Cholesky factor of a large matrix, on all cores. */
#ifndef MT_FACTOR_H
#define MT_FACTOR_H

#include <stdbool.h>

/* a fp64 [n][n], rows `stride` apart, symmetric; only its lower triangle is read, and becomes L with a = L Lᵀ. What is
 * above the diagonal stays. It goes tile by tile, each by a fixed sequence of calls of one thread, so that L is the same
 * on any number of threads. False if it is not positive definite, or after ^C (tuner/progress.h). n³/3 operations.
 * blas_open() comes before it. */
bool factor_cholesky(double *a, int n, int stride);

#endif
