#include "fill.h"
#include "half.h"
#include "quant.h"
#include "runtime/base/parallel.h"
#include "runtime/base/str.h"
#include "templates/gemm_args.h"
#include <stdlib.h>

/* One feature, and what it loses with 4 bits; what is chosen already loses nothing more. */
struct loss {
    int feature;
    double error;
};

struct rounding {
    const struct quant_layer *layer; /* all features in 4 bits */
    const float *w;
    const uint8_t *is8;
    struct loss *loss;
};

static double feature_error(const struct quant_layer *layer, const float *w, int feature) {
    const struct quant_part *part = &layer->part[MT_PART_W4];
    double error = 0;
    for (int k = 0; k < layer->k; k++) {
        const size_t at = (size_t)(k / layer->group) * (size_t)part->padded_rows + (size_t)feature;
        const int q = part->q[(size_t)feature * (size_t)layer->k_padded + (size_t)k];
        const double off = (double)w[(size_t)feature * (size_t)layer->k + (size_t)k] -
                           (q - quant_zero(part, at)) * (double)half_to_float(part->scales[at]);
        error += off * off;
    }
    return error;
}

static void errors_run(void *context, int begin, int end) {
    const struct rounding *r = context;
    for (int i = begin; i < end; i++)
        r->loss[i] = (struct loss){i, r->is8[i] ? -1 : feature_error(r->layer, r->w, i)};
}

static int by_error(const void *a, const void *b) {
    const struct loss *x = a, *y = b;
    if (x->error != y->error)
        return x->error > y->error ? -1 : 1;
    return x->feature - y->feature;
}

enum mt_status fill_choose(const struct problem *p, const float *w, const uint8_t *is8, uint8_t *filled) {
    struct problem all4 = *p;
    struct quant_layer layer;
    int lacking = p->rows8;
    all4.rows8 = 0;
    enum mt_status status = quant_layer_init(&layer, &all4, w, NULL);
    if (status != MT_OK)
        return status;
    struct rounding r = {&layer, w, is8, xcalloc((size_t)p->n, sizeof *r.loss)};
    parallel_for(p->n, 16, errors_run, &r);
    qsort(r.loss, (size_t)p->n, sizeof *r.loss, by_error);
    for (int i = 0; i < p->n; i++) {
        filled[i] = is8[i] != 0;
        lacking -= filled[i];
    }
    for (int i = 0; i < lacking; i++)
        filled[r.loss[i].feature] = 1;
    free(r.loss);
    quant_layer_release(&layer);
    return MT_OK;
}
