/* The public interface to host packing: quant_layer, seen through struct mt_packed. */
#include "runtime/base/str.h"
#include "runtime/layer/half.h"
#include "runtime/layer/pack.h"
#include "runtime/layer/quant.h"
#include "table.h"
#include "templates/gemm_args.h"
#include <stdlib.h>

/* Addresses of device memory are multiples of this within one allocation. */
#define ALIGNMENT ((size_t)256)

struct packed {
    struct mt_packed shown; /* first: what the caller points to */
    struct quant_layer layer;
};

static struct mt_packed *packed_show(struct packed *packed) {
    const struct quant_layer *layer = &packed->layer;
    for (int i = 0; i < MT_PARTS; i++) {
        const struct quant_part *part = &layer->part[i];
        size_t factors = (size_t)layer->groups * (size_t)part->padded_rows;
        packed->shown.part[i] =
            (struct mt_packed_part){.rows = part->rows,
                                    .padded_rows = part->padded_rows,
                                    .weights = part->packed,
                                    .scales = part->scales,
                                    .zeros = part->zeros,
                                    .columns = part->columns,
                                    .weights_bytes = packed_bytes(part->bits, part->padded_rows, layer->k_padded),
                                    .scales_bytes = factors * sizeof *part->scales,
                                    .zeros_bytes = part->zeros ? factors : 0,
                                    .columns_bytes = part->columns ? (size_t)part->rows * sizeof *part->columns : 0};
    }
    return &packed->shown;
}

/* From floats if `w` is given, else from codes. */
static enum mt_status packed_make(const struct mt_layer *layer, const float *w, const struct quant_codes *codes,
                                  const uint8_t *is8, struct mt_packed **out) {
    struct packed *packed = xcalloc(1, sizeof *packed);
    struct problem p = layer->problem;
    *out = NULL;
    p.m = 1; /* weights do not depend on it */
    enum mt_status status =
        w ? quant_layer_init(&packed->layer, &p, w, is8) : quant_layer_import(&packed->layer, &p, codes, is8);
    if (status == MT_OK)
        *out = packed_show(packed);
    else
        free(packed);
    return status;
}

enum mt_status mt_pack_float(const struct mt_layer *layer, const float *w, const uint8_t *is8, struct mt_packed **out) {
    return packed_make(layer, w, NULL, is8, out);
}

enum mt_status mt_pack_codes(const struct mt_layer *layer, const int8_t *codes, const uint16_t *scales,
                             const uint8_t *zeros, const uint8_t *is8, struct mt_packed **out) {
    const struct quant_codes given = {codes, scales, zeros};
    return packed_make(layer, NULL, &given, is8, out);
}

void mt_packed_free(struct mt_packed *packed) {
    if (!packed)
        return;
    struct packed *own = (struct packed *)packed;
    quant_layer_release(&own->layer);
    free(own);
}

static size_t aligned(size_t bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Copies to *at, stores where, and moves on. A tensor without bytes is null. */
static CUresult tensor_upload(const struct device *dev, const void *from, size_t bytes, CUdeviceptr *at,
                              CUdeviceptr *to) {
    *to = bytes ? *at : 0;
    *at += aligned(bytes);
    return bytes ? dev->drv.MemcpyHtoD(*to, from, bytes) : CUDA_SUCCESS;
}

enum mt_status mt_weights_upload(const struct mt_table *table, const struct mt_packed *packed, struct mt_weights *out) {
    const struct device *dev = &table->dev;
    size_t bytes = 0;
    *out = (struct mt_weights){0};
    for (int i = 0; i < MT_PARTS; i++) {
        const struct mt_packed_part *part = &packed->part[i];
        bytes += aligned(part->weights_bytes) + aligned(part->scales_bytes) + aligned(part->zeros_bytes) +
                 aligned(part->columns_bytes);
    }
    CUdeviceptr memory;
    enum mt_status status = device_check(dev, dev->drv.MemAlloc(&memory, bytes), "no device memory for the weights");
    if (status != MT_OK)
        return status;
    CUresult result = CUDA_SUCCESS;
    CUdeviceptr at = memory;
    out->memory = memory;
    for (int i = 0; i < MT_PARTS && result == CUDA_SUCCESS; i++) {
        const struct mt_packed_part *part = &packed->part[i];
        result = tensor_upload(dev, part->weights, part->weights_bytes, &at, &out->part[i].weights);
        if (result == CUDA_SUCCESS)
            result = tensor_upload(dev, part->scales, part->scales_bytes, &at, &out->part[i].scales);
        if (result == CUDA_SUCCESS)
            result = tensor_upload(dev, part->zeros, part->zeros_bytes, &at, &out->part[i].zeros);
        if (result == CUDA_SUCCESS)
            result = tensor_upload(dev, part->columns, part->columns_bytes, &at, &out->part[i].columns);
    }
    status = device_check(dev, result, "the weights cannot be copied to the device");
    if (status != MT_OK)
        mt_weights_free(table, out);
    return status;
}

void mt_weights_free(const struct mt_table *table, struct mt_weights *weights) {
    if (weights->memory)
        table->dev.drv.MemFree(weights->memory);
    *weights = (struct mt_weights){0};
}

void mt_from_float(enum mt_dtype dtype, const float *from, uint16_t *to, size_t count) {
    for (size_t i = 0; i < count; i++)
        to[i] = dtype_from_float((enum dtype)dtype, from[i]);
}

void mt_to_float(enum mt_dtype dtype, const uint16_t *from, float *to, size_t count) {
    for (size_t i = 0; i < count; i++)
        to[i] = dtype_to_float((enum dtype)dtype, from[i]);
}
