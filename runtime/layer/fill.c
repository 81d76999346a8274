#include "fill.h"
#include "rows.h"
#include "runtime/base/memory.h"
#include "runtime/base/parallel.h"
#include "templates/gemm_args.h"
#include <stdatomic.h>
#include <stdlib.h>

/* One feature, and what it loses with 4 bits; what is chosen already loses nothing more. */
struct loss {
    int feature;
    double error;
};

struct rounding {
    struct quant_rows *rows; /* all features in 4 bits */
    const float *w;
    atomic_long bad; /* index in [n][k] of a weight that is not finite, or -1 */
};

static void rows_take(void *context, int begin, int end) {
    struct rounding *r = context;
    for (int row = begin; row < end; row++) {
        const long offset = (long)row * r->rows->k;
        const int bad = quant_rows_take(r->rows, row, r->w + offset);
        if (bad >= 0)
            atomic_store(&r->bad, offset + bad);
    }
}

static int by_error(const void *a, const void *b) {
    const struct loss *x = a, *y = b;
    if (x->error != y->error)
        return x->error > y->error ? -1 : 1;
    return x->feature - y->feature;
}

enum mt_status fill_largest(const double *error, int n, int rows8, uint8_t *is8) {
    struct loss *loss = mem_alloc((size_t)n * sizeof *loss);
    int lacking = rows8;
    if (!loss)
        return MT_FAILURE;
    for (int i = 0; i < n; i++) {
        lacking -= is8[i] != 0;
        loss[i] = (struct loss){i, is8[i] ? -1 : error[i]};
    }
    if (lacking > 0)
        qsort(loss, (size_t)n, sizeof *loss, by_error);
    for (int i = 0; i < lacking; i++)
        is8[loss[i].feature] = 1;
    free(loss);
    return MT_OK;
}

enum mt_status fill_choose(const struct problem *p, const float *w, const uint8_t *is8, uint8_t *filled) {
    struct quant_rows rows;
    enum mt_status status = quant_rows_init(&rows, p, false, true);
    if (status != MT_OK)
        return status;
    struct rounding r = {.rows = &rows, .w = w, .bad = -1};
    parallel_for(p->n, 16, rows_take, &r);
    const long bad = atomic_load(&r.bad);
    if (bad >= 0)
        status = quant_weight_bad(bad / p->k, bad % p->k);
    for (int i = 0; i < p->n; i++)
        filled[i] = is8[i] != 0;
    if (!status)
        status = fill_largest(rows.error[MT_PART_W4], p->n, p->rows8, filled);
    quant_rows_release(&rows);
    return status;
}
