#include "hessian.h"
#include "factor.h"
#include "runtime/base/log.h"
#include "runtime/base/parallel.h"
#include "runtime/checkpoint/packed.h"
#include "tuner/choice/saliences.h"
#include "tuner/progress.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the file ---- */

static enum mt_status find_tensor(const char *path, const struct folder *file, const struct tensor *weight,
                                  const struct tensor **out) {
    const struct tensor *t = *out = folder_find(file, weight->name);
    const long long k = weight->shape[1];
    if (!t)
        return fail(MT_USAGE, "%s has no tensor %.200s: a Hessian is needed of the input of every layer", path,
                    weight->name);
    if (t->type != TENSOR_F32 || t->rank != 2)
        return fail(MT_USAGE, "%s: tensor %.200s is no matrix of F32 numbers", path, t->name);
    if (t->shape[0] != k || t->shape[1] != k)
        return fail(MT_USAGE,
                    "%s: tensor %.200s is %lld x %lld, but the weight has %lld input features; is it of another model?",
                    path, t->name, (long long)t->shape[0], (long long)t->shape[1], k);
    return MT_OK;
}

/* What one reading of all of them finds. */
struct reading {
    const struct hessians *h;
    struct found {
        char hash[33];
        long long bad; /* the first element that is no part of a Hessian, or -1 */
    } * found;         /* [layers] */
};

/* The first element of row i that is not finite, or its diagonal below 0; or -1. */
static long long bad_element(const float *row, int64_t k, int64_t i) {
    uint32_t worst = 0;
    for (int64_t j = 0; j < k; j++) {
        uint32_t bits;
        memcpy(&bits, row + j, sizeof bits);
        bits &= INT32_MAX;
        worst = bits > worst ? bits : worst;
    }
    const uint32_t infinite = 0x7f800000;
    if (worst < infinite)
        return row[i] < 0 ? i : -1;
    for (int64_t j = 0; j < k; j++)
        if (!isfinite(row[j]))
            return j;
    return -1;
}

static double element_of(const struct tensor *t, int64_t i, int64_t j) {
    float value;
    memcpy(&value, t->data + (size_t)(i * t->shape[1] + j) * sizeof value, sizeof value);
    return (double)value;
}

/* The first element of a tile below the diagonal whose twin above it is another number, beyond what sums in another order
 * do to them; or -1. */
static long long uneven_in_tile(const struct tensor *t, const double *scale, int64_t row, int64_t column,
                                int64_t tile) {
    const double most = 1e-3;
    const int64_t k = t->shape[0], last = row + tile < k ? row + tile : k;
    for (int64_t i = row; i < last; i++)
        for (int64_t j = column; j < column + tile && j < i; j++)
            if (fabs(element_of(t, i, j) - element_of(t, j, i)) > most * scale[i] * scale[j])
                return i * k + j;
    return -1;
}

/* The same of the matrix, whose elements are finite and whose diagonal is not negative. */
static long long uneven_element(const struct tensor *t) {
    enum { TILE = 64 }; /* both tiles stay in a cache */
    const int64_t k = t->shape[0];
    double *scale = xmalloc((size_t)k * sizeof *scale);
    long long uneven = -1;
    for (int64_t i = 0; i < k; i++)
        scale[i] = sqrt(element_of(t, i, i));
    for (int64_t row = 0; row < k && uneven < 0 && !interrupted(); row += TILE)
        for (int64_t column = 0; column <= row && uneven < 0; column += TILE)
            uneven = uneven_in_tile(t, scale, row, column, TILE);
    free(scale);
    return uneven;
}

static void layers_read(void *context, int begin, int end) {
    const struct reading *r = context;
    for (int layer = begin; layer < end; layer++) {
        const struct tensor *t = r->h->of[layer];
        const int64_t k = t->shape[0];
        struct found *found = &r->found[layer];
        float *buffer = xmalloc((size_t)k * sizeof *buffer);
        found->bad = -1;
        for (int64_t i = 0; i < k && found->bad < 0 && !interrupted(); i++) {
            const float *row = tensor_view(t, (size_t)(i * k), (size_t)k, buffer);
            const long long bad = bad_element(row, k, i);
            found->bad = bad < 0 ? -1 : i * k + bad;
        }
        if (found->bad < 0 && !interrupted())
            found->bad = uneven_element(t);
        if (!interrupted())
            packed_hash(t->data, t->bytes, found->hash);
        tensor_drop(t);
        free(buffer);
    }
}

static enum mt_status tell_bad(const char *path, const struct tensor *t, long long at) {
    const long long k = t->shape[0], i = at / k, j = at % k;
    const double value = element_of(t, i, j), twin = element_of(t, j, i);
    if (i > j && isfinite(value) && isfinite(twin))
        return fail(MT_USAGE,
                    "%s: tensor %.200s, row %lld, column %lld is %g, but row %lld, column %lld is %g; a Hessian is "
                    "symmetric",
                    path, t->name, i, j, value, j, i, twin);
    return fail(MT_USAGE, "%s: tensor %.200s, row %lld, column %lld is %g; a Hessian is a finite sum of xᵀx", path,
                t->name, i, j, value);
}

static enum mt_status read_all(const char *path, int layers, struct hessians *h) {
    struct reading r = {.h = h, .found = xcalloc((size_t)layers, sizeof *r.found)};
    struct str all = {0};
    enum mt_status status = MT_OK;
    parallel_for(layers, 1, layers_read, &r);
    if (interrupted())
        status = fail(MT_INTERRUPTED, "interrupted while %s was read; the same command begins again", path);
    for (int i = 0; i < layers && !status; i++) {
        str_append_bytes(&all, r.found[i].hash, sizeof r.found[i].hash);
        if (r.found[i].bad >= 0)
            status = tell_bad(path, h->of[i], r.found[i].bad);
    }
    if (!status)
        packed_hash(all.data, all.length, h->hash);
    str_release(&all);
    free(r.found);
    return status;
}

/* As for saliences, a file may say nothing of itself. */
static enum mt_status check_format(const char *path, const struct folder *file) {
    const char *format = calibration_text(file, "format"), *version = calibration_text(file, "version");
    if (format && !strcmp(format, SALIENCES_FORMAT))
        return fail(MT_USAGE, "%s has saliences, which --salience takes; --hessian takes a file of Hessians", path);
    if (format && !strcmp(format, HESSIANS_FORMAT) && (!version || strcmp(version, CALIBRATION_VERSION) != 0))
        return fail(MT_USAGE,
                    "%s has Hessians of version %.40s, and this mixtune reads version " CALIBRATION_VERSION
                    "; make it again with the salience.py of this one",
                    path, version ? version : "none");
    return MT_OK;
}

enum mt_status hessians_open(const char *path, const struct source *source, struct hessians *out) {
    const int layers = source->modules.count;
    *out = (struct hessians){0};
    enum mt_status status = folder_open(path, &out->file);
    if (status)
        return fail_context(status, "--hessian");
    status = check_format(path, &out->file);
    out->of = xcalloc((size_t)layers, sizeof *out->of);
    for (int i = 0; i < layers && !status; i++)
        status = find_tensor(path, &out->file, source->weight[source->modules.layer[i].part[0]], &out->of[i]);
    if (!status)
        status = read_all(path, layers, out);
    if (status)
        hessians_close(out);
    return status;
}

void hessians_close(struct hessians *hessians) {
    if (hessians->of)
        folder_close(&hessians->file);
    free((void *)hessians->of);
    *hessians = (struct hessians){0};
}

/* ---- the order of inputs ---- */

struct visit {
    double sum;
    int group;
};

static int by_sum(const void *a, const void *b) {
    const struct visit *x = a, *y = b;
    if (x->sum != y->sum)
        return x->sum > y->sum ? -1 : 1;
    return x->group - y->group;
}

static int group_end(const struct hessian *h, int group) {
    const int end = (group + 1) * h->group;
    return end < h->k ? end : h->k;
}

static void order_inputs(const double *diagonal, bool by_index, struct hessian *h) {
    struct visit *visit = xcalloc((size_t)h->groups, sizeof *visit);
    for (int g = 0; g < h->groups; g++) {
        visit[g].group = g;
        for (int i = g * h->group; i < group_end(h, g); i++)
            visit[g].sum += diagonal[i];
    }
    if (!by_index)
        qsort(visit, (size_t)h->groups, sizeof *visit, by_sum);
    h->end[0] = h->k;
    for (int v = 0, place = h->k; v < h->groups; v++) {
        h->visited[v] = visit[v].group;
        for (int i = visit[v].group * h->group; i < group_end(h, visit[v].group); i++)
            h->input[--place] = i;
        h->end[v + 1] = place;
    }
    free(visit);
}

/* ---- one matrix ---- */

struct gathering {
    const struct tensor *t;
    int first_k;
    const struct hessian *h;
};

static const float *input_row(const struct gathering *g, int input, float *buffer) {
    const size_t row = (size_t)(g->first_k + input), whole = (size_t)g->t->shape[1];
    return tensor_view(g->t, row * whole + (size_t)g->first_k, (size_t)g->h->k, buffer);
}

/* The lower triangle, by places, with the ridge. */
static void places_gather(void *context, int begin, int end) {
    const struct gathering *g = context;
    const struct hessian *h = g->h;
    float *buffer = xmalloc((size_t)h->k * sizeof *buffer);
    for (int p = begin; p < end && !interrupted(); p++) {
        const float *row = input_row(g, h->input[p], buffer);
        double *out = h->factor + (size_t)p * (size_t)h->stride;
        for (int q = 0; q <= p; q++)
            out[q] = (double)row[h->input[q]];
        out[p] += h->ridge;
    }
    free(buffer);
}

static void blocks_gather(void *context, int begin, int end) {
    const struct gathering *g = context;
    const struct hessian *h = g->h;
    float *buffer = xmalloc((size_t)h->k * sizeof *buffer);
    for (int v = begin; v < end; v++) {
        const int first = h->end[v + 1], count = h->end[v] - first;
        for (int p = 0; p < count; p++) {
            const float *row = input_row(g, h->input[first + p], buffer);
            double *out = h->blocks + (size_t)h->group * ((size_t)v * (size_t)h->group + (size_t)p);
            for (int q = 0; q < count; q++)
                out[q] = (double)row[h->input[first + q]];
        }
    }
    free(buffer);
}

/* Returns the mean. */
static double read_diagonal(const struct gathering *g, double *diagonal) {
    const int k = g->h->k;
    double sum = 0;
    for (int i = 0; i < k; i++) {
        float value;
        const size_t at = (size_t)(g->first_k + i);
        tensor_floats(g->t, at * (size_t)g->t->shape[1] + at, 1, &value);
        sum += diagonal[i] = (double)value;
    }
    return sum / k;
}

static enum mt_status damp_and_factor(const struct gathering *g, const char *name, double mean, double damping,
                                      struct hessian *out) {
    for (;; damping *= 10) {
        out->ridge = damping * mean;
        parallel_for(out->k, 64, places_gather, (void *)(uintptr_t)g);
        if (factor_cholesky(out->factor, out->k, out->stride))
            return MT_OK;
        if (interrupted())
            return fail(MT_INTERRUPTED, "interrupted");
        if (damping * 10 > 1.001)
            return fail(MT_FAILURE, "the Hessian of %s is not positive definite, even with damping %g", name, damping);
        log_warn("the Hessian of %s is not positive definite: its damping becomes %g", name, damping * 10);
    }
}

enum mt_status hessian_factor(const struct tensor *h, const char *name, const struct cut *cut,
                              const struct hessian_plan *plan, struct hessian *out) {
    enum { APART = 8 }; /* rows whose distance is a power of 2 share their place in a cache */
    const int k = cut->k;
    *out = (struct hessian){.k = k, .stride = k + APART, .group = plan->group};
    out->groups = (k + plan->group - 1) / plan->group;
    const struct gathering g = {h, cut->first_k, out};
    double *diagonal = xmalloc((size_t)k * sizeof *diagonal);
    const double mean = read_diagonal(&g, diagonal);
    enum mt_status status = MT_OK;
    if (mean > 0) {
        out->input = xmalloc((size_t)k * sizeof *out->input);
        out->visited = xmalloc((size_t)out->groups * sizeof *out->visited);
        out->end = xmalloc(((size_t)out->groups + 1) * sizeof *out->end);
        out->factor = xmalloc((size_t)k * (size_t)out->stride * sizeof *out->factor);
        order_inputs(diagonal, plan->by_index, out);
        if (plan->blocks) {
            out->blocks = xcalloc((size_t)out->groups * (size_t)plan->group, (size_t)plan->group * sizeof *out->blocks);
            parallel_for(out->groups, 1, blocks_gather, (void *)(uintptr_t)&g);
        }
        status = damp_and_factor(&g, name, mean, plan->damping, out);
    }
    free(diagonal);
    tensor_drop(h);
    if (status)
        hessian_release(out);
    return status;
}

void hessian_release(struct hessian *hessian) {
    free(hessian->input);
    free(hessian->visited);
    free(hessian->end);
    free(hessian->factor);
    free(hessian->blocks);
    *hessian = (struct hessian){0};
}
