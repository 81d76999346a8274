/* Dense linear algebra in fp64: LAPACKE over OpenBLAS, opened when it is needed, so that neither is needed to build or
 * to run what does without. OpenBLAS runs every call on the thread that makes it; the loops over threads are ours
 * (runtime/base/parallel.h), so that the numbers do not depend on how many there are. */
#ifndef MT_BLAS_H
#define MT_BLAS_H

#include "runtime/base/status.h"

/* The values of CBLAS and LAPACKE. */
enum {
    BLAS_ROWS = 101, /* row-major */
    BLAS_COLUMNS = 102,
    BLAS_PLAIN = 111,
    BLAS_TRANSPOSED = 112,
    BLAS_LOWER = 122,
    BLAS_NOT_UNIT = 131,
    BLAS_LEFT = 141,
    BLAS_RIGHT = 142
};

struct blas {
    void (*gemm)(int order, int transpose_a, int transpose_b, int m, int n, int k, double alpha, const double *a,
                 int lda, const double *b, int ldb, double beta, double *c, int ldc);
    void (*syrk)(int order, int triangle, int transpose, int n, int k, double alpha, const double *a, int lda,
                 double beta, double *c, int ldc);
    void (*trsm)(int order, int side, int triangle, int transpose, int unit, int m, int n, double alpha,
                 const double *a, int lda, double *b, int ldb);
    int (*potrf)(int order, char triangle, int n, double *a, int lda); /* > 0: not positive definite */
    void (*set_threads)(int threads);
    int (*parallel)(void); /* 1: built with threads */
    char *(*config)(void); /* "OpenBLAS 0.3.21 ... MAX_THREADS=64" */
};

/* Set by blas_open(). */
extern struct blas blas;

/* Opens the libraries, the first time, and lowers parallel_limit() to the number of threads that may call OpenBLAS at
 * once: as many as it was built for (more end the process), and only one where it was built without locks of its own, for
 * one thread or for OpenMP. MT_FAILURE with one sentence where they are missing. */
enum mt_status blas_open(void);

#endif
