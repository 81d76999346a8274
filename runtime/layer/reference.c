#include "reference.h"
#include "half.h"
#include "runtime/base/parallel.h"
#include "runtime/base/str.h"
#include "templates/gemm_args.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 64 /* divides every group and the padding of K */
#define ROWS  4  /* features that share one pass over the tokens */

struct reference_work {
    struct reference *ref;
    const struct quant_layer *layer;
    const struct quant_part *part;
    const struct quant_acts *acts;
    const int16_t *x; /* activations widened: [m][k_padded] */
};

/* The fixed trip count lets the compiler multiply and add 16-bit pairs in vectors. */
static int32_t chunk_dot(const int16_t *a, const int16_t *b) {
    int32_t sum = 0;
    for (int i = 0; i < CHUNK; i++)
        sum += (int32_t)a[i] * b[i];
    return sum;
}

/* One feature against one token. */
static void element_sum(const struct reference_work *work, int row, int m, const int16_t *w, double *y, double *mass) {
    const struct quant_layer *layer = work->layer;
    const int16_t *x = work->x + (size_t)m * (size_t)layer->k_padded;
    double sum = 0, total = 0;
    for (int g = 0; g < layer->groups; g++) {
        int end = (g + 1) * layer->group < layer->k_padded ? (g + 1) * layer->group : layer->k_padded;
        int32_t p = 0;
        for (int k = g * layer->group; k < end; k += CHUNK)
            p += chunk_dot(x + k, w + k);
        /* The bound that kernels rely on to turn P into a float without a conversion. */
        assert(p > -(1 << 22) && p < 1 << 22);
        float sw = half_to_float(work->part->scales[(size_t)g * (size_t)work->part->padded_rows + (size_t)row]);
        double term = (double)work->acts->scales[(size_t)g * (size_t)work->acts->m + (size_t)m] * sw * p;
        sum += term;
        total += fabs(term);
    }
    *y = sum;
    *mass = total;
}

static void row_widen(const struct reference_work *work, int row, int16_t *w) {
    const struct quant_layer *layer = work->layer;
    const int8_t *q = work->part->q + (size_t)row * (size_t)layer->k_padded;
    for (int k = 0; k < layer->k_padded; k++)
        w[k] = q[k];
    for (int g = 0; work->part->bits == 4 && g < layer->groups; g++) {
        int zero = work->part->zeros[(size_t)g * (size_t)work->part->padded_rows + (size_t)row];
        for (int k = g * layer->group; k < layer->k_padded && k < (g + 1) * layer->group; k++)
            w[k] = (int16_t)(w[k] - zero);
    }
}

static void rows_reference(void *context, int begin, int end) {
    const struct reference_work *work = context;
    size_t k_padded = (size_t)work->layer->k_padded;
    struct reference *ref = work->ref;
    int16_t *w = xmalloc(ROWS * k_padded * sizeof *w);
    for (int row = begin; row < end; row += ROWS) {
        int count = end - row < ROWS ? end - row : ROWS;
        for (int i = 0; i < count; i++)
            row_widen(work, row + i, w + (size_t)i * k_padded);
        for (int m = 0; m < ref->m; m++) {
            for (int i = 0; i < count; i++) {
                int column = work->part->columns ? work->part->columns[row + i] : row + i;
                size_t at = (size_t)m * (size_t)ref->n + (size_t)column;
                element_sum(work, row + i, m, w + (size_t)i * k_padded, &ref->y[at], &ref->mass[at]);
            }
        }
    }
    free(w);
}

enum mt_status reference_init(struct reference *ref, const struct problem *p, const struct quant_layer *layer,
                              const struct quant_acts *acts, const uint16_t *bias) {
    *ref = (struct reference){0};
    if (acts->k != layer->k || acts->group != layer->group || p->n != layer->n || p->m != acts->m || p->k != layer->k)
        return fail(MT_USAGE, "the layer, the activations and the problem of the reference differ in shape or group");
    size_t count = (size_t)p->m * (size_t)p->n, inputs = (size_t)p->m * (size_t)acts->k_padded;
    *ref = (struct reference){p->m, p->n, xcalloc(count, sizeof *ref->y), xcalloc(count, sizeof *ref->mass)};
    int16_t *x = xmalloc(inputs * sizeof *x);
    for (size_t i = 0; i < inputs; i++)
        x[i] = acts->q[i];
    for (int part = 0; part < MT_PARTS; part++) {
        struct reference_work work = {ref, layer, &layer->part[part], acts, x};
        parallel_for(layer->part[part].rows, 16, rows_reference, &work);
    }
    for (size_t i = 0; bias && i < count; i++)
        ref->y[i] += dtype_to_float(p->dtype, bias[i % (size_t)p->n]);
    free(x);
    return MT_OK;
}

void reference_release(struct reference *ref) {
    free(ref->y);
    free(ref->mass);
    *ref = (struct reference){0};
}

/* The distance between neighbouring numbers of the type around `value`. */
static double ulp_at(enum dtype dtype, double value) {
    int exponent, digits = dtype == DTYPE_BF16 ? 8 : 11, smallest = dtype == DTYPE_BF16 ? -133 : -24;
    frexp(value, &exponent); /* value in [2^(exponent-1), 2^exponent) */
    exponent -= digits;
    return ldexp(1, value == 0 || exponent < smallest ? smallest : exponent);
}

/* Error over allowance; > 1 is wrong. */
static double error_ratio(double want, double allowed, enum dtype dtype, double got) {
    double largest = dtype == DTYPE_BF16 ? 0x1.fep127 : 65504;
    if (isnan(got) || !isfinite(want))
        return INFINITY;
    if (isinf(got)) /* right where rounding may overflow: half an ulp above the largest number */
        return signbit(got) == signbit(want) && fabs(want) + allowed >= largest + ulp_at(dtype, largest) / 2 ? 0
                                                                                                             : INFINITY;
    return fabs(got - want) / allowed;
}

void reference_compare(const struct reference *ref, enum dtype dtype, const uint16_t *y, int ldy, struct verdict *out) {
    *out = (struct verdict){.first_m = -1, .first_n = -1};
    for (int m = 0; m < ref->m; m++) {
        for (int n = 0; n < ref->n; n++) {
            size_t at = (size_t)m * (size_t)ref->n + (size_t)n;
            double want = ref->y[at], got = dtype_to_float(dtype, y[(size_t)m * (size_t)ldy + (size_t)n]);
            double allowed = ulp_at(dtype, want) + 0x1p-20 * ref->mass[at];
            double ratio = error_ratio(want, allowed, dtype, got);
            if (ratio > out->worst)
                out->worst = ratio;
            if (ratio > 1 && out->wrong++ == 0) {
                out->first_m = m;
                out->first_n = n;
                out->got = got;
                out->want = want;
                out->allowed = allowed;
            }
        }
    }
}
