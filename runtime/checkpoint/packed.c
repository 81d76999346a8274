/* What both sides of a packed checkpoint know. */
#include "packed.h"
#include "packed_private.h"
#include "runtime/base/str.h"
#include "runtime/layer/pack.h"
#include "templates/gemm_args.h"
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

_Static_assert(PACK_LAYOUT == 1, "PACKED_LAYOUT is the text of PACK_LAYOUT");

const char *const packed_part_names[2] = {[MT_PART_W8] = "w8", [MT_PART_W4] = "w4"};
const char *const packed_kind_names[PACKED_KINDS] = {"blocks", "scales", "zeros", "columns"};

void packed_layer_release(struct packed_layer *layer) {
    for (int i = 0; i < layer->source_count; i++)
        free(layer->source[i].name);
    free(layer->source);
    free(layer->name);
    free(layer->layer);
    *layer = (struct packed_layer){0};
}

struct problem packed_problem(const struct packed_layer *layer) {
    return (struct problem){.m = 1,
                            .n = layer->n,
                            .k = layer->k,
                            .rows8 = layer->rows8,
                            .group = layer->group,
                            .symmetric = layer->symmetric};
}

int packed_rows(const struct packed_layer *layer, int width) {
    return width == MT_PART_W8 ? layer->rows8 : layer->n - layer->rows8;
}

void packed_shape(const struct packed_layer *layer, int width, enum packed_kind kind, struct packed_shape *out) {
    const struct problem p = packed_problem(layer);
    const int rows = packed_rows(layer, width), padded = pack_padded(rows);
    const int k_padded = problem_k_padded(&p), groups = problem_groups(&p), bits = width == MT_PART_W8 ? 8 : 4;
    *out = (struct packed_shape){.rank = 2, .size = {groups, padded}};
    if (rows == 0)
        return;
    switch (kind) {
    case PACKED_BLOCKS:
        *out = (struct packed_shape){TENSOR_U8, 4, {k_padded / MT_K_PAD, padded / MT_N_PAD, bits / 2, 512}, 0};
        break;
    case PACKED_SCALES:
        out->type = TENSOR_F16;
        break;
    case PACKED_ZEROS:
        if (bits == 8 || layer->symmetric)
            return;
        out->type = TENSOR_U8;
        break;
    default:
        if (rows == layer->n)
            return;
        *out = (struct packed_shape){TENSOR_I32, 1, {rows}, 0};
    }
    out->bytes = tensor_type_bytes(out->type);
    for (int i = 0; i < out->rank; i++)
        out->bytes *= (size_t)out->size[i];
}

size_t packed_tensor_bytes(const struct packed_layer *layer, int width, enum packed_kind kind) {
    struct packed_shape shape;
    packed_shape(layer, width, kind, &shape);
    return shape.bytes;
}

size_t packed_layer_bytes(const struct packed_layer *layer) {
    size_t bytes = 0;
    for (int width = 0; width < MT_PARTS; width++)
        for (int kind = 0; kind < PACKED_KINDS; kind++)
            bytes += packed_tensor_bytes(layer, width, (enum packed_kind)kind);
    return bytes;
}

void packed_hash(const void *data, size_t bytes, char out[33]) {
    const XXH128_hash_t hash = XXH3_128bits(data, bytes);
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)hash.high64, (unsigned long long)hash.low64);
}
