#include "choice.h"
#include "runtime/base/str.h"
#include "runtime/checkpoint/packed.h"
#include "runtime/layer/fill.h"
#include "runtime/layer/split.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the order ---- */

/* Appends the saliences of one weight to `out` [n]. */
static enum mt_status take_saliences(const struct folder *file, const char *path, const struct tensor *weight,
                                     float *out) {
    const struct tensor *t = folder_find(file, weight->name);
    if (!t)
        return fail(MT_USAGE, "%s has no tensor %.200s: saliences are needed of every weight that is quantised", path,
                    weight->name);
    if (t->rank != 1 || !tensor_is_float(t))
        return fail(MT_USAGE, "%s: tensor %.200s is no row of F32, F16 or BF16 numbers", path, t->name);
    if (t->shape[0] != weight->shape[0])
        return fail(MT_USAGE,
                    "%s: tensor %.200s has %lld numbers, but the weight has %lld features; is it of another model?",
                    path, t->name, (long long)t->shape[0], (long long)weight->shape[0]);
    tensor_floats(t, 0, (size_t)t->shape[0], out);
    for (int64_t i = 0; i < t->shape[0]; i++)
        if (!isfinite(out[i]) || out[i] < 0)
            return fail(MT_USAGE, "%s: number %lld of tensor %.200s is %g; a salience is finite and not negative", path,
                        (long long)i, t->name, (double)out[i]);
    return MT_OK;
}

static enum mt_status read_saliences(const struct source *source, const char *path, const struct choice_order *order,
                                     float *out) {
    struct folder file;
    enum mt_status status = folder_open(path, &file);
    if (status)
        return fail_context(status, "--salience");
    for (int i = 0; i < source->modules.count && !status; i++) {
        const struct fused *layer = &source->modules.layer[i];
        float *at = out + order->first[i];
        for (int j = 0; j < layer->part_count && !status; j++) {
            const struct tensor *weight = source->weight[layer->part[j]];
            status = take_saliences(&file, path, weight, at);
            at += weight->shape[0];
        }
    }
    folder_close(&file);
    return status;
}

static int by_salience(const void *a, const void *b, void *context) {
    const float *salience = context;
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    if (salience[x] != salience[y])
        return salience[x] > salience[y] ? -1 : 1;
    return x < y ? -1 : x > y;
}

enum mt_status choice_order_init(const struct source *source, const char *salience, struct choice_order *out) {
    const int layers = source->modules.count;
    *out = (struct choice_order){.first = xcalloc((size_t)layers + 1, sizeof *out->first)};
    for (int i = 0; i < layers; i++)
        out->first[i + 1] = out->first[i] + (size_t)source->modules.layer[i].n;
    out->total = out->first[layers];
    if (!salience)
        return MT_OK;
    float *value = xmalloc(out->total * sizeof *value);
    enum mt_status status = out->total > UINT32_MAX
                                ? fail(MT_USAGE, "the model has too many features to be put in order")
                                : read_saliences(source, salience, out, value);
    if (!status) {
        out->order = xmalloc(out->total * sizeof *out->order);
        out->place = xmalloc(out->total * sizeof *out->place);
        for (size_t i = 0; i < out->total; i++)
            out->order[i] = (uint32_t)i;
        qsort_r(out->order, out->total, sizeof *out->order, by_salience, value);
        for (size_t i = 0; i < out->total; i++)
            out->place[out->order[i]] = (uint32_t)i;
    }
    free(value);
    if (status)
        choice_order_release(out);
    return status;
}

void choice_order_release(struct choice_order *order) {
    free(order->first);
    free(order->order);
    free(order->place);
    *order = (struct choice_order){0};
}

static int layer_of(const struct choice_order *order, int layers, size_t feature) {
    int low = 0, high = layers;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (order->first[middle] <= feature)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* ---- sizes ---- */

size_t choice_layer_bytes(const struct choice_sizes *sizes, int layer, int count) {
    const struct cut *cut = &sizes->cut[layer];
    const struct fused *fused = &sizes->source->modules.layer[layer];
    const struct packed_layer packed = {.n = cut->n,
                                        .k = cut->k,
                                        .rows8 =
                                            split_filled(choice_rank_count(fused, cut, count), cut->n, sizes->fill),
                                        .group = sizes->group,
                                        .symmetric = sizes->symmetric};
    return packed_layer_bytes(&packed) * (size_t)sizes->tp;
}

size_t choice_weights(const struct choice_sizes *sizes) {
    size_t weights = 0;
    for (int i = 0; i < sizes->source->modules.count; i++)
        weights += (size_t)sizes->cut[i].n * (size_t)sizes->cut[i].k;
    return weights * (size_t)sizes->tp;
}

static size_t model_bytes(const struct choice_sizes *sizes, const int *count) {
    size_t bytes = 0;
    for (int i = 0; i < sizes->source->modules.count; i++)
        bytes += choice_layer_bytes(sizes, i, count[i]);
    return bytes;
}

/* ---- how many ---- */

static void first_of_order(const struct choice_order *order, int layers, size_t length, int *count) {
    memset(count, 0, (size_t)layers * sizeof *count);
    for (size_t i = 0; i < length; i++)
        count[layer_of(order, layers, order->order[i])]++;
}

static void share_of_each(const struct choice_order *order, int layers, struct scheme scheme, int *count) {
    for (int i = 0; i < layers; i++)
        count[i] = scheme_rows8(scheme, (int)(order->first[i + 1] - order->first[i]));
}

void choice_share(const struct choice_order *order, int layers, struct scheme scheme, bool uniform, int *count) {
    /* All and none are the same either way, and need no order. */
    if (uniform || scheme.per_mille == 0 || scheme.per_mille == 1000)
        share_of_each(order, layers, scheme, count);
    else
        first_of_order(order, layers, (size_t)((__uint128_t)order->total * (unsigned)scheme.per_mille / 1000), count);
}

static enum mt_status check_limits(const struct choice_order *order, const struct choice_sizes *sizes, size_t bytes,
                                   bool bits, int *count) {
    const int layers = sizes->source->modules.count;
    share_of_each(order, layers, (struct scheme){.per_mille = 0}, count);
    const size_t least = model_bytes(sizes, count);
    share_of_each(order, layers, (struct scheme){.per_mille = 1000}, count);
    const size_t most = model_bytes(sizes, count);
    const double per_byte = 8.0 / (double)choice_weights(sizes);
    if (bytes >= least && bytes <= most)
        return MT_OK;
    if (bits)
        return fail(
            MT_USAGE,
            "--bits %.5g: this model has %.5g bits per weight where all features have 4 bits and %.5g where all "
            "have 8, scales and padding included; take a number between them",
            (double)bytes * per_byte, ceil((double)least * per_byte * 1e4) / 1e4, (double)most * per_byte);
    return fail(MT_USAGE,
                "--bytes %zu: the layers of this model have %zu bytes where all features have 4 bits and %zu where all "
                "have 8; take a number between them",
                bytes, least, most);
}

/* Padding makes sizes go up and down, so every beginning of the order is looked at. */
static size_t longest_that_fits(const struct choice_order *order, const struct choice_sizes *sizes, size_t bytes) {
    const int layers = sizes->source->modules.count;
    int *count = xcalloc((size_t)layers, sizeof *count);
    size_t now = model_bytes(sizes, count), longest = 0;
    for (size_t i = 0; i < order->total; i++) {
        const int layer = layer_of(order, layers, order->order[i]);
        now -= choice_layer_bytes(sizes, layer, count[layer]);
        now += choice_layer_bytes(sizes, layer, ++count[layer]);
        if (now <= bytes)
            longest = i + 1;
    }
    free(count);
    return longest;
}

enum mt_status choice_fit(const struct choice_order *order, const struct choice_sizes *sizes, bool uniform,
                          size_t bytes, bool bits, int *count, int *per_mille) {
    const int layers = sizes->source->modules.count;
    const enum mt_status status = check_limits(order, sizes, bytes, bits, count);
    if (status)
        return status;
    if (!uniform) {
        first_of_order(order, layers, longest_that_fits(order, sizes, bytes), count);
        return MT_OK;
    }
    *per_mille = 1000;
    share_of_each(order, layers, (struct scheme){.per_mille = *per_mille}, count);
    while (model_bytes(sizes, count) > bytes)
        share_of_each(order, layers, (struct scheme){.per_mille = --*per_mille}, count);
    return MT_OK;
}

/* ---- which ---- */

int choice_rank_count(const struct fused *layer, const struct cut *cut, int count) {
    if (fused_along_k(layer))
        return count;
    /* Where heads are repeated a rank has more than its share of the features, and keeps the layer's share of them. */
    return (int)(((int64_t)count * cut->n + layer->n - 1) / layer->n);
}

void choice_features(const struct choice_order *order, int layer, const struct cut *cut, int rank_count,
                     const double *error, uint8_t *is8) {
    double *score = NULL;
    if (order->place) {
        score = xmalloc((size_t)cut->n * sizeof *score);
        for (int i = 0; i < cut->n; i++)
            score[i] = (double)(order->total - order->place[order->first[layer] + (size_t)cut_feature(cut, i)]);
    }
    fill_largest(score ? score : error, cut->n, rank_count, is8);
    free(score);
}
