#include "choice.h"
#include "runtime/base/str.h"
#include "runtime/checkpoint/packed.h"
#include "runtime/layer/fill.h"
#include "runtime/layer/split.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the order ---- */

static int by_salience(const void *a, const void *b, void *context) {
    const float *salience = context;
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    if (salience[x] != salience[y])
        return salience[x] > salience[y] ? -1 : 1;
    return x < y ? -1 : x > y;
}

void choice_order_init(const struct modules *modules, float *salience, struct choice_order *out) {
    *out = (struct choice_order){.layers = modules->count};
    out->first = xcalloc((size_t)modules->count + 1, sizeof *out->first);
    for (int i = 0; i < modules->count; i++)
        out->first[i + 1] = out->first[i] + (size_t)modules->layer[i].n;
    out->total = out->first[modules->count];
    if (!salience)
        return;
    out->order = xmalloc(out->total * sizeof *out->order);
    out->place = xmalloc(out->total * sizeof *out->place);
    for (size_t i = 0; i < out->total; i++)
        out->order[i] = (uint32_t)i;
    qsort_r(out->order, out->total, sizeof *out->order, by_salience, salience);
    for (size_t i = 0; i < out->total; i++)
        out->place[out->order[i]] = (uint32_t)i;
}

void choice_order_release(struct choice_order *order) {
    free(order->first);
    free(order->order);
    free(order->place);
    *order = (struct choice_order){0};
}

static int layer_of(const struct choice_order *order, size_t feature) {
    int low = 0, high = order->layers;
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
    const struct fused *fused = &sizes->modules->layer[layer];
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
    for (int i = 0; i < sizes->modules->count; i++)
        weights += (size_t)sizes->cut[i].n * (size_t)sizes->cut[i].k;
    return weights * (size_t)sizes->tp;
}

size_t choice_bytes(const struct choice_sizes *sizes, const int *count) {
    size_t bytes = 0;
    for (int i = 0; i < sizes->modules->count; i++)
        bytes += choice_layer_bytes(sizes, i, count[i]);
    return bytes;
}

/* ---- how many ---- */

void choice_first(const struct choice_order *order, size_t length, int *count) {
    memset(count, 0, (size_t)order->layers * sizeof *count);
    for (size_t i = 0; i < length; i++)
        count[layer_of(order, order->order[i])]++;
}

static void share_of_each(const struct choice_order *order, struct scheme scheme, int *count) {
    for (int i = 0; i < order->layers; i++)
        count[i] = scheme_rows8(scheme, (int)(order->first[i + 1] - order->first[i]));
}

void choice_share(const struct choice_order *order, struct scheme scheme, bool uniform, int *count) {
    /* All and none are the same either way, and need no order. */
    if (uniform || scheme.per_mille == 0 || scheme.per_mille == 1000)
        share_of_each(order, scheme, count);
    else
        choice_first(order, (size_t)((__uint128_t)order->total * (unsigned)scheme.per_mille / 1000), count);
}

static enum mt_status check_limits(const struct choice_order *order, const struct choice_sizes *sizes, size_t bytes,
                                   bool bits, int *count) {
    share_of_each(order, (struct scheme){.per_mille = 0}, count);
    const size_t least = choice_bytes(sizes, count);
    share_of_each(order, (struct scheme){.per_mille = 1000}, count);
    const size_t most = choice_bytes(sizes, count);
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
    int *count = xcalloc((size_t)order->layers, sizeof *count);
    size_t now = choice_bytes(sizes, count), longest = 0;
    for (size_t i = 0; i < order->total; i++) {
        const int layer = layer_of(order, order->order[i]);
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
    const enum mt_status status = check_limits(order, sizes, bytes, bits, count);
    if (status)
        return status;
    if (!uniform) {
        choice_first(order, longest_that_fits(order, sizes, bytes), count);
        return MT_OK;
    }
    *per_mille = 1000;
    share_of_each(order, (struct scheme){.per_mille = *per_mille}, count);
    while (choice_bytes(sizes, count) > bytes)
        share_of_each(order, (struct scheme){.per_mille = --*per_mille}, count);
    return MT_OK;
}

/* Without a share: as many features as fit. */
static enum mt_status make_fitting(const struct choice_order *order, const struct choice_sizes *sizes,
                                   const struct amount_options *amount, struct choice *out) {
    const double most = amount->bits > 0 ? amount->bits * (double)choice_weights(sizes) / 8 : (double)amount->bytes;
    int per_mille = 0;
    out->symmetric = sizes->symmetric;
    const enum mt_status status = choice_fit(order, sizes, amount->uniform, most < 1e18 ? (size_t)most : (size_t)1e18,
                                             amount->bits > 0, out->count, &per_mille);
    if (amount->uniform)
        snprintf(out->name, sizeof out->name, "p%g", per_mille / 10.0);
    else if (amount->bits > 0)
        snprintf(out->name, sizeof out->name, "%g bits", amount->bits);
    else
        snprintf(out->name, sizeof out->name, "%lld bytes", amount->bytes);
    return status;
}

enum mt_status choice_make(const struct choice_order *order, const struct choice_sizes *sizes,
                           const struct amount_options *amount, int index, struct choice *out) {
    *out = (struct choice){.count = xcalloc((size_t)order->layers + 1, sizeof *out->count)};
    if (amount->scheme_count == 0)
        return make_fitting(order, sizes, amount, out);
    const struct named_scheme *s = &amount->scheme[index];
    snprintf(out->name, sizeof out->name, "%s", s->name);
    out->symmetric = sizes->symmetric || s->scheme.symmetric;
    choice_share(order, s->scheme, amount->uniform, out->count);
    return MT_OK;
}

/* ---- which ---- */

void choice_mark(const struct choice_order *order, const int *count, uint8_t *is8) {
    int *left = xcalloc((size_t)order->layers + 1, sizeof *left);
    size_t all = 0;
    for (int i = 0; i < order->layers; i++)
        all += (size_t)(left[i] = count[i]);
    memset(is8, 0, order->total);
    for (size_t i = 0; i < order->total && all > 0; i++) {
        const uint32_t feature = order->order[i];
        const int layer = layer_of(order, feature);
        if (left[layer] > 0) {
            left[layer]--;
            all--;
            is8[feature] = 1;
        }
    }
    free(left);
}

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
