#include "proof.h"
#include "operands.h"
#include "runtime/base/parallel.h"
#include "runtime/base/str.h"
#include "runtime/layer/half.h"
#include "runtime/layer/pack.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* Uniform in [-1, 1). */
static float random_unit(uint64_t *state) {
    return (float)(next_random(state) >> 40) / (float)(1 << 23) - 1;
}

static uint16_t *random_bits(enum dtype dtype, size_t count, float size, uint64_t *state) {
    uint16_t *bits = xmalloc((count ? count : 1) * sizeof *bits);
    for (size_t i = 0; i < count; i++)
        bits[i] = dtype_from_float(dtype, size * random_unit(state));
    return bits;
}

/* Activations of very different size from token to token, one group of zeros, one outlier. */
static uint16_t *random_activations(const struct problem *p, uint64_t *state) {
    uint16_t *x = xmalloc((size_t)p->m * (size_t)p->k * sizeof *x);
    for (int m = 0; m < p->m; m++) {
        float size = exp2f(3 * random_unit(state));
        for (int k = 0; k < p->k; k++)
            x[(size_t)m * (size_t)p->k + (size_t)k] = dtype_from_float(p->dtype, size * random_unit(state));
    }
    size_t zero_row = next_random(state) % (size_t)p->m;
    if (p->k > p->group) /* else the token would have no other number */
        memset(x + zero_row * (size_t)p->k, 0, (size_t)p->group * sizeof *x);
    x[next_random(state) % ((size_t)p->m * (size_t)p->k)] = dtype_from_float(p->dtype, 100);
    return x;
}

/* bits [rows][k] with rows widened to `ld` elements, zero beyond k. */
static uint16_t *widen_rows(const uint16_t *bits, int rows, int k, int ld) {
    uint16_t *wide = xcalloc((size_t)rows * (size_t)ld, sizeof *wide);
    for (int r = 0; r < rows; r++)
        memcpy(wide + (size_t)r * (size_t)ld, bits + (size_t)r * (size_t)k, (size_t)k * sizeof *bits);
    return wide;
}

/* ---- a quantised layer ---- */

static enum mt_status upload_part(struct proof *proof, int index) {
    const struct quant_layer *layer = &proof->layer;
    const struct quant_part *part = &layer->part[index];
    struct mt_gemm_part *out = &proof->gemm.part[index];
    out->rows = part->rows;
    out->padded_rows = part->padded_rows;
    if (part->rows == 0)
        return MT_OK;
    size_t per_group = (size_t)layer->groups * (size_t)part->padded_rows;
    CUdeviceptr weights, scales, zeros = 0, columns = 0;
    struct memory *memory = &proof->memory;
    enum mt_status status;
    if ((status = memory_upload(memory, proof->dev, part->packed,
                                packed_bytes(part->bits, part->padded_rows, layer->k_padded), &weights)) ||
        (status = memory_upload(memory, proof->dev, part->scales, per_group * sizeof *part->scales, &scales)) ||
        (part->zeros && (status = memory_upload(memory, proof->dev, part->zeros, per_group, &zeros))) ||
        (part->columns && (status = memory_upload(memory, proof->dev, part->columns,
                                                  (size_t)part->rows * sizeof *part->columns, &columns))))
        return status;
    out->weights = memory_pointer(weights);
    out->scales = memory_pointer(scales);
    out->zeros = memory_pointer(zeros);
    out->columns = memory_pointer(columns);
    return MT_OK;
}

static enum mt_status upload_acts(struct proof *proof) {
    const struct quant_acts *acts = &proof->acts;
    size_t count = (size_t)acts->groups * (size_t)acts->m;
    struct memory *memory = &proof->memory;
    enum mt_status status;
    if ((status = memory_upload(memory, proof->dev, acts->q, (size_t)acts->m * (size_t)acts->k_padded, &proof->q)) ||
        (status = memory_upload(memory, proof->dev, acts->scales, count * sizeof *acts->scales, &proof->scales)) ||
        (status = memory_upload(memory, proof->dev, acts->sums, count * sizeof *acts->sums, &proof->sums)))
        return status;
    proof->gemm.x = memory_pointer(proof->q);
    proof->gemm.x_scales = memory_pointer(proof->scales);
    proof->gemm.x_sums = memory_pointer(proof->sums);
    proof->gemm.m = acts->m;
    proof->gemm.n = proof->problem.n;
    proof->gemm.k_padded = acts->k_padded;
    proof->gemm.groups = acts->groups;
    return MT_OK;
}

static enum mt_status make_quantised(struct proof *proof, uint64_t seed) {
    const struct problem *p = &proof->problem;
    enum mt_status status = quant_layer_random(&proof->layer, p, seed);
    if (!status && !(status = quant_acts_init(&proof->acts, p, proof->x)))
        status = reference_init(&proof->reference, p, &proof->layer, &proof->acts, proof->bias);
    return status;
}

static enum mt_status upload_quantised(struct proof *proof) {
    enum mt_status status = upload_acts(proof);
    if (!status && !(status = upload_part(proof, MT_PART_W8)))
        status = upload_part(proof, MT_PART_W4);
    return status;
}

/* ---- a fp16/bf16 layer ---- */

struct plain_product {
    struct reference *ref;
    const float *x, *w;
    const uint16_t *bias;
    enum dtype dtype;
    int k;
};

static float *widen_floats(enum dtype dtype, const uint16_t *bits, size_t count) {
    float *out = xmalloc(count * sizeof *out);
    for (size_t i = 0; i < count; i++)
        out[i] = dtype_to_float(dtype, bits[i]);
    return out;
}

/* Tensor cores add in fp32 and may cut instead of round: each of the K additions loses at most 2^-23 of the mass. The
 * mass is scaled so that reference_compare(), which allows 2^-20 of it, allows that. */
enum { COLUMNS = 4 }; /* whose sums do not wait for each other */

static void plain_columns(void *context, int begin, int end) {
    const struct plain_product *c = context;
    struct reference *ref = c->ref;
    for (int first = begin; first < end; first += COLUMNS)
        for (int m = 0; m < ref->m; m++) {
            const float *x = c->x + (size_t)m * (size_t)c->k, *w[COLUMNS];
            double sum[COLUMNS] = {0}, mass[COLUMNS] = {0};
            for (int i = 0; i < COLUMNS; i++) /* what is missing repeats the last */
                w[i] = c->w + (size_t)(first + i < end ? first + i : end - 1) * (size_t)c->k;
            for (int k = 0; k < c->k; k++)
#pragma GCC unroll 4
                for (int i = 0; i < COLUMNS; i++) {
                    const double term = (double)x[k] * w[i][k];
                    sum[i] += term;
                    mass[i] += fabs(term);
                }
            for (int n = first; n < first + COLUMNS && n < end; n++) {
                size_t at = (size_t)m * (size_t)ref->n + (size_t)n;
                ref->y[at] = sum[n - first] + (c->bias ? dtype_to_float(c->dtype, c->bias[n]) : 0);
                ref->mass[at] = mass[n - first] * c->k / 8;
            }
        }
}

void plain_reference(const struct problem *p, const uint16_t *x, const uint16_t *w, const uint16_t *bias,
                     struct reference *out) {
    size_t count = (size_t)p->m * (size_t)p->n;
    *out = (struct reference){p->m, p->n, xcalloc(count, sizeof(double)), xcalloc(count, sizeof(double))};
    float *x_floats = widen_floats(p->dtype, x, (size_t)p->m * (size_t)p->k);
    float *w_floats = widen_floats(p->dtype, w, (size_t)p->n * (size_t)p->k);
    struct plain_product product = {out, x_floats, w_floats, bias, p->dtype, p->k};
    parallel_for(p->n, 8, plain_columns, &product);
    free(x_floats);
    free(w_floats);
}

static void make_plain(struct proof *proof, uint64_t seed) {
    const struct problem *p = &proof->problem;
    uint64_t state = seed * 2 + 1;
    proof->w = random_bits(p->dtype, (size_t)p->n * (size_t)p->k, 0.05f, &state);
    plain_reference(p, proof->x, proof->w, proof->bias, &proof->reference);
}

/* Rows `ld` elements apart; the last one ends where a kernel must end. */
static enum mt_status upload_rows(struct proof *proof, const uint16_t *bits, int rows, int ld, CUdeviceptr *out) {
    const size_t count = (size_t)(rows - 1) * (size_t)ld + (size_t)row_length(&proof->problem);
    uint16_t *wide = widen_rows(bits, rows, proof->problem.k, ld);
    enum mt_status status = memory_upload(&proof->memory, proof->dev, wide, count * sizeof *wide, out);
    free(wide);
    return status;
}

static enum mt_status upload_plain(struct proof *proof) {
    CUdeviceptr w;
    enum mt_status status = upload_rows(proof, proof->w, proof->problem.n, row_length(&proof->problem), &w);
    proof->f16.w = status ? NULL : memory_pointer(w);
    return status;
}

/* ---- both ---- */

/* Tokens are further apart than they are long: the pitch is told from the length. A software device also tells such a
 * launch from those that are timed, which it does not execute. */
enum { MARGIN = 8 };

static enum mt_status upload_inputs(struct proof *proof) {
    const struct problem *p = &proof->problem;
    const int ldw = row_length(p), ldx = ldw + MARGIN;
    enum mt_status status = upload_rows(proof, proof->x, p->m, ldx, &proof->device_x);
    if (status)
        return status;
    proof->f16 = (struct mt_gemm_f16_args){
        .x = memory_pointer(proof->device_x), .m = p->m, .n = p->n, .k = p->k, .ldx = ldx, .ldw = ldw, .raster = 1};
    if (!p->bias)
        return MT_OK;
    CUdeviceptr bias;
    status = memory_upload(&proof->memory, proof->dev, proof->bias, (size_t)p->n * sizeof *proof->bias, &bias);
    proof->f16.bias = proof->gemm.bias = status ? NULL : memory_pointer(bias);
    return status;
}

enum mt_status proof_make(struct proof *proof, const struct problem *p, bool quantised, uint64_t seed) {
    *proof = (struct proof){.problem = *p, .seed = seed, .quantised = quantised};
    uint64_t state = seed * 0x9E3779B97F4A7C15ULL + 1;
    proof->x = random_activations(p, &state);
    proof->bias = p->bias ? random_bits(p->dtype, (size_t)p->n, 2, &state) : NULL;
    if (quantised)
        return make_quantised(proof, seed);
    make_plain(proof, seed);
    return MT_OK;
}

enum mt_status proof_init_acts(struct proof *proof, struct device *dev, const struct problem *p, uint64_t seed) {
    *proof = (struct proof){.problem = *p, .seed = seed, .quantised = true, .dev = dev};
    uint64_t state = seed * 0x9E3779B97F4A7C15ULL + 1;
    proof->x = random_activations(p, &state);
    enum mt_status status = quant_acts_init(&proof->acts, p, proof->x);
    if (!status)
        status = upload_inputs(proof);
    return status ? status : upload_acts(proof);
}

enum mt_status proof_upload(struct proof *proof, struct device *dev) {
    proof->dev = dev;
    enum mt_status status = upload_inputs(proof);
    if (!status)
        status = proof->quantised ? upload_quantised(proof) : upload_plain(proof);
    quant_layer_release(&proof->layer);
    free(proof->w);
    proof->w = NULL;
    return status;
}

enum mt_status proof_init(struct proof *proof, struct device *dev, const struct problem *p, bool quantised,
                          uint64_t seed) {
    enum mt_status status = proof_make(proof, p, quantised, seed);
    return status ? status : proof_upload(proof, dev);
}

void proof_release(struct proof *proof) {
    memory_release(&proof->memory, proof->dev);
    quant_layer_release(&proof->layer);
    quant_acts_release(&proof->acts);
    reference_release(&proof->reference);
    free(proof->x);
    free(proof->w);
    free(proof->bias);
    *proof = (struct proof){0};
}

/* The same share of fewer features, so that a layer with features of both widths keeps both. */
static int rows8_among(const struct problem *p, int n) {
    if (p->rows8 == 0 || p->rows8 == p->n)
        return p->rows8 ? n : 0;
    const int rows8 = (int)((int64_t)p->rows8 * n / p->n);
    return rows8 < 1 ? 1 : rows8;
}

void proof_problem(const struct config *config, const struct problem *p, struct problem *out) {
    int raster = config_get_or(config, "raster", 1),
        split_k = config_get_or(config, "split_k", 1) * config_get_or(config, "cluster_k", 1);
    struct launch_shape shape;
    config->family->shape(config, p, 1, &shape); /* for its tiles, which no device changes */
    int tile_m = shape.tile_m, tile_k = shape.tile_k, tiles_m = raster > 2 ? raster : 2, steps = split_k + 2;
    *out = *p;
    if (p->m > tiles_m * tile_m + 1)
        out->m = tiles_m * tile_m + 1;
    /* Rows of Y start at multiples of 16 bytes exactly where those of the real problem do: kernels store them
     * differently. */
    out->n = 2 * shape.tile_n + (p->n % 8 ? 17 : 24);
    out->rows8 = rows8_among(p, out->n);
    out->k = 5 * 128 + 44;
    if (out->k < steps * tile_k) /* each part of a split has work, and one has more than the others */
        out->k = steps * tile_k - 84;
}
