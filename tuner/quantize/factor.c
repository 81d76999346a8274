#include "factor.h"
#include "blas.h"
#include "runtime/base/parallel.h"
#include "tuner/progress.h"
#include <math.h>
#include <stddef.h>

enum { TILE = 256 };

/* One step: the tiles of column `at` are done, those right of it lose what they have in it. */
struct step {
    double *a;
    int n, stride;
    int at, width, behind; /* its first column, their number, and the first row behind it */
    int tiles;             /* behind it, in a row */
};

static double *element(const struct step *s, int row, int column) {
    return s->a + (size_t)row * (size_t)s->stride + column;
}

static int tile_begin(const struct step *s, int tile) {
    return s->behind + tile * TILE;
}

static int tile_size(const struct step *s, int tile) {
    const int left = s->n - tile_begin(s, tile);
    return left < TILE ? left : TILE;
}

static void column_solve(void *context, int begin, int end) {
    const struct step *s = context;
    for (int i = begin; i < end && !interrupted(); i++)
        blas.trsm(BLAS_ROWS, BLAS_RIGHT, BLAS_LOWER, BLAS_TRANSPOSED, BLAS_NOT_UNIT, tile_size(s, i), s->width, 1,
                  element(s, s->at, s->at), s->stride, element(s, tile_begin(s, i), s->at), s->stride);
}

/* Index: row of tiles * tiles + column; those above the diagonal have nothing to do. */
static void tiles_update(void *context, int begin, int end) {
    const struct step *s = context;
    for (int index = begin; index < end && !interrupted(); index++) {
        const int i = index / s->tiles, j = index % s->tiles, row = tile_begin(s, i), column = tile_begin(s, j);
        if (i == j)
            blas.syrk(BLAS_ROWS, BLAS_LOWER, BLAS_PLAIN, tile_size(s, i), s->width, -1, element(s, row, s->at),
                      s->stride, 1, element(s, row, row), s->stride);
        else if (i > j)
            blas.gemm(BLAS_ROWS, BLAS_PLAIN, BLAS_TRANSPOSED, tile_size(s, i), tile_size(s, j), s->width, -1,
                      element(s, row, s->at), s->stride, element(s, column, s->at), s->stride, 1,
                      element(s, row, column), s->stride);
    }
}

bool factor_cholesky(double *a, int n, int stride) {
    struct step s = {.a = a, .n = n, .stride = stride};
    for (; s.at < n; s.at = s.behind) {
        s.behind = n - s.at < TILE ? n : s.at + TILE;
        s.width = s.behind - s.at;
        s.tiles = (n - s.behind + TILE - 1) / TILE;
        /* The lower triangle by rows is the upper one by columns, which LAPACK takes without a copy. */
        if (blas.potrf(BLAS_COLUMNS, 'U', s.width, element(&s, s.at, s.at), stride) != 0)
            return false;
        /* A number that is none passes through some of OpenBLAS's kernels. */
        if (!isfinite(*element(&s, s.behind - 1, s.behind - 1)))
            return false;
        parallel_for(s.tiles, 1, column_solve, &s);
        parallel_for(s.tiles * s.tiles, 1, tiles_update, &s);
        if (interrupted())
            return false;
    }
    return true;
}
