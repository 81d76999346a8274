/* The public interface to host packing: quant_layer, seen through struct mt_packed. */
#include "runtime/base/memory.h"
#include "runtime/layer/fill.h"
#include "runtime/layer/half.h"
#include "runtime/layer/pack.h"
#include "runtime/layer/quant.h"
#include "runtime/layer/split.h"
#include "sized.h"
#include "table.h"
#include "templates/gemm_args.h"
#include <stdlib.h>

/* Addresses of device memory are multiples of this within one allocation. */
#define ALIGNMENT ((size_t)256)

struct packed {
    struct mt_packed shown; /* first: what the caller points to */
    struct quant_layer layer;
};

static struct mt_packed *packed_show(struct packed *packed, int rows8, int chosen) {
    const struct quant_layer *layer = &packed->layer;
    struct mt_packed *shown = &packed->shown;
    *shown = (struct mt_packed){.size = sizeof *shown, .layout = MT_LAYOUT, .rows8 = rows8, .rows8_chosen = chosen};
    for (int i = 0; i < MT_PARTS; i++) {
        const struct quant_part *part = &layer->part[i];
        const size_t factors = (size_t)layer->groups * (size_t)part->padded_rows;
        shown->rows[i] = part->rows;
        shown->padded_rows[i] = part->padded_rows;
        shown->weights[i] = part->packed;
        shown->scales[i] = part->scales;
        shown->zeros[i] = part->zeros;
        shown->columns[i] = part->columns;
        shown->weights_bytes[i] = packed_bytes(part->bits, part->padded_rows, layer->k_padded);
        shown->scales_bytes[i] = factors * sizeof *part->scales;
        shown->zeros_bytes[i] = part->zeros ? factors : 0;
        shown->columns_bytes[i] = part->columns ? (size_t)part->rows * sizeof *part->columns : 0;
    }
    return shown;
}

/* Hands out what was packed, or frees it if that failed. The codes as they were before packing are as large again, and
 * nobody reads them. */
static enum mt_status packed_end(struct packed *packed, enum mt_status status, int rows8, int chosen,
                                 struct mt_packed **out) {
    if (status != MT_OK) {
        free(packed);
        return status;
    }
    for (int i = 0; i < MT_PARTS; i++) {
        free(packed->layer.part[i].q);
        packed->layer.part[i].q = NULL;
    }
    *out = packed_show(packed, rows8, chosen);
    return MT_OK;
}

/* A layer's problem, as far as weights depend on it. */
static struct problem problem_of(const struct mt_layer *layer) {
    struct problem p = layer->problem;
    p.m = 1;
    return p;
}

enum mt_status mt_pack_float(const struct mt_layer *layer, const float *w, const uint8_t *is8, struct mt_packed **out) {
    enum mt_status status = GIVEN("layer packed", layer, out);
    if (status != MT_OK)
        return status;
    *out = NULL;
    struct packed *packed = mem_zeroed(1, sizeof *packed);
    const struct problem p = problem_of(layer);
    uint8_t *filled = NULL;
    int chosen = is8 ? 0 : p.rows8;
    status = packed ? GIVEN("w", w) : MT_FAILURE;
    for (int i = 0; is8 && i < p.n; i++)
        chosen += is8[i] != 0;
    if (status == MT_OK && chosen < p.rows8 && split_filled(chosen, p.n, MT_N_PAD) == p.rows8) {
        filled = mem_alloc((size_t)p.n);
        status = filled ? fill_choose(&p, w, is8, filled) : MT_FAILURE;
    }
    if (status == MT_OK)
        status = quant_layer_init(&packed->layer, &p, w, filled ? filled : is8);
    free(filled);
    return fail_settled(packed_end(packed, status, p.rows8, chosen, out));
}

enum mt_status mt_pack_codes(const struct mt_layer *layer, const int8_t *codes, const uint16_t *scales,
                             const uint8_t *zeros, const uint8_t *is8, struct mt_packed **out) {
    enum mt_status status = GIVEN("layer packed", layer, out);
    if (status != MT_OK)
        return status;
    *out = NULL;
    status = GIVEN("codes scales", codes, scales);
    if (status != MT_OK)
        return status;
    struct packed *packed = mem_zeroed(1, sizeof *packed);
    if (!packed)
        return MT_FAILURE;
    const struct problem p = problem_of(layer);
    const struct quant_codes given = {codes, scales, zeros};
    status = quant_layer_import(&packed->layer, &p, &given, is8);
    return fail_settled(packed_end(packed, status, p.rows8, p.rows8, out));
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

/* A tensor on its way to the device. */
struct tensor_move {
    const char *from;
    size_t bytes; /* 0: the layer has no such tensor, and *to stays null */
    size_t at;    /* of its place in the allocation */
    CUdeviceptr *to;
};
enum { MOVES = 4 * MT_PARTS };

/* Tensors that were stored somewhere and loaded again: those that a part must have are there, with whole rows. */
static enum mt_status part_check(const struct mt_packed *packed, int i) {
    const bool countable = packed->rows[i] >= 0 && packed->rows[i] <= 1 << 24;
    const size_t rows = countable ? (size_t)packed->rows[i] : 0, padded = (size_t)pack_padded((int)rows);
    const size_t most = (size_t)1 << 41, row = MT_K_PAD * (i == MT_W8 ? 8 : 4) / 8; /* bytes; for each 128 of K */
    const size_t weights = packed->weights_bytes[i], scales = packed->scales_bytes[i], zeros = packed->zeros_bytes[i],
                 columns = packed->columns_bytes[i];
    const bool whole = rows ? weights && weights < most && weights % (padded * row) == 0 && scales && scales < most &&
                                  scales % (padded * sizeof(uint16_t)) == 0 &&
                                  (!zeros || zeros == scales / sizeof(uint16_t)) &&
                                  (!columns || columns == rows * sizeof(int32_t))
                            : !weights && !scales && !zeros && !columns;
    const bool there = (packed->weights[i] || !weights) && (packed->scales[i] || !scales) &&
                       (packed->zeros[i] || !zeros) && (packed->columns[i] || !columns);
    if (!countable || packed->padded_rows[i] != (int)padded || !whole || !there)
        return fail(MT_USAGE,
                    "mt_weights_upload: the sizes of the %d features in %d bits contradict each other, or a tensor is "
                    "NULL: pack the layer again",
                    packed->rows[i], i == MT_W8 ? 8 : 4);
    return MT_OK;
}

/* The tensors in the order of their places; the bytes of all. */
static size_t moves_init(struct tensor_move move[MOVES], const struct mt_packed *packed, struct mt_weights *own) {
    size_t at = 0;
    for (int i = 0; i < MT_PARTS; i++) {
        const struct tensor_move part[4] = {
            {packed->weights[i], packed->weights_bytes[i], 0, &own->weights[i]},
            {packed->scales[i], packed->scales_bytes[i], 0, &own->scales[i]},
            {packed->zeros[i], packed->zeros_bytes[i], 0, &own->zeros[i]},
            {packed->columns[i], packed->columns_bytes[i], 0, &own->columns[i]},
        };
        for (int j = 0; j < 4; j++) {
            move[4 * i + j] = part[j];
            move[4 * i + j].at = at;
            at += aligned(part[j].bytes);
        }
    }
    return at;
}

/* Whether the tensors lie in host memory as they will on the device: what is copied then is all of it from the first
 * tensor on, without the rest of its last 256 bytes. NULL and 0: they do not. */
static const char *moves_in_one(const struct tensor_move move[MOVES], size_t *bytes) {
    const char *first = NULL;
    *bytes = 0;
    for (int i = 0; i < MOVES; i++) {
        if (!move[i].bytes)
            continue;
        if (!first && (uintptr_t)move[i].from % ALIGNMENT == 0)
            first = move[i].from;
        if (!first || (uintptr_t)move[i].from != (uintptr_t)first + move[i].at)
            return NULL;
        *bytes = move[i].at + move[i].bytes;
    }
    return first;
}

static enum mt_status packed_upload(const struct device *dev, const struct mt_packed *packed, struct mt_weights *own) {
    struct tensor_move move[MOVES];
    size_t whole;
    const size_t bytes = moves_init(move, packed, own);
    const char *first = moves_in_one(move, &whole);
    enum mt_status status =
        device_check(dev, dev->drv.MemAlloc(&own->memory, bytes), "no device memory for the weights");
    if (status != MT_OK)
        return status;
    CUresult result = first ? dev->drv.MemcpyHtoD(own->memory, first, whole) : CUDA_SUCCESS;
    for (int i = 0; i < MOVES && result == CUDA_SUCCESS; i++) {
        if (!move[i].bytes)
            continue;
        *move[i].to = own->memory + move[i].at;
        if (!first)
            result = dev->drv.MemcpyHtoD(*move[i].to, move[i].from, move[i].bytes);
    }
    for (int i = 0; i < MT_PARTS; i++)
        own->rows[i] = packed->rows[i];
    status = device_check(dev, result, "the weights cannot be copied to the device");
    if (status != MT_OK)
        dev->drv.MemFree(own->memory);
    return status;
}

enum mt_status mt_weights_upload(const struct mt_table *table, const struct mt_packed *given, struct mt_weights *out) {
    struct mt_weights own = {.layout = MT_LAYOUT};
    struct mt_packed packed;
    enum mt_status status = GIVEN("table", table);
    if (status == MT_OK)
        status = sized_give(out, NULL, sizeof own, "mt_weights");
    if (status == MT_OK)
        status = sized_take(&packed, sizeof packed, given, "mt_packed");
    if (status == MT_OK && packed.layout != MT_LAYOUT)
        status = fail(MT_USAGE,
                      "mt_weights_upload: the weights are packed in layout %d, and the kernels read layout %d: repack "
                      "them",
                      packed.layout, MT_LAYOUT);
    for (int i = 0; status == MT_OK && i < MT_PARTS; i++)
        status = part_check(&packed, i);
    if (status == MT_OK)
        status = packed_upload(&table->dev, &packed, &own);
    return fail_settled(status == MT_OK ? sized_give(out, &own, sizeof own, "mt_weights") : status);
}

void mt_weights_free(const struct mt_table *table, struct mt_weights *weights) {
    struct mt_weights own;
    if (!table || sized_take(&own, sizeof own, weights, "mt_weights") != MT_OK)
        return;
    if (own.memory)
        table->dev.drv.MemFree(own.memory);
    sized_give(weights, NULL, sizeof own, "mt_weights");
}

void mt_from_float(enum mt_dtype dtype, const float *from, uint16_t *to, size_t count) {
    for (size_t i = 0; i < count; i++)
        to[i] = dtype_from_float((enum dtype)dtype, from[i]);
}

void mt_to_float(enum mt_dtype dtype, const uint16_t *from, float *to, size_t count) {
    for (size_t i = 0; i < count; i++)
        to[i] = dtype_to_float((enum dtype)dtype, from[i]);
}
