/* Packed checkpoints, taken apart into the linear layers that were fused. */
#include "formats.h"
#include "runtime/base/parallel.h"
#include "runtime/base/str.h"
#include "runtime/layer/pack.h"
#include "templates/gemm_args.h"
#include <stdlib.h>
#include <string.h>

/* The output feature of a row of a part. */
static int column_of(const struct packed_layer *layer, int width, int row) {
    const struct tensor *columns = layer->tensor[width][PACKED_COLUMNS];
    int32_t column = row;
    if (columns)
        memcpy(&column, columns->data + (size_t)row * sizeof column, sizeof column);
    return column;
}

static void add_sources(struct checkpoint *from, const struct packed_layer *layer) {
    uint8_t *is8 = xcalloc((size_t)layer->n, 1);
    for (int row = 0; row < packed_rows(layer, MT_PART_W8); row++)
        is8[column_of(layer, MT_PART_W8, row)] = 1;
    for (int i = 0, first = 0; i < layer->source_count; first += layer->source[i++].rows) {
        const char *name = layer->source[i].name;
        struct linear *l = checkpoint_add(from, name, strlen(name));
        l->kind = LINEAR_PACKED;
        l->n = layer->source[i].rows;
        l->k = layer->k;
        l->group = layer->group;
        l->groups = (layer->k + layer->group - 1) / layer->group;
        l->symmetric = layer->symmetric;
        l->packed = layer;
        l->first = first;
        l->bias = layer->bias;
        for (int row = 0; row < l->n; row++)
            l->rows8 += is8[first + row];
    }
    free(is8);
}

enum mt_status packed_find_linears(struct checkpoint *from) {
    enum mt_status status = MT_OK;
    for (int i = 0; i < from->packed.count && !status; i++) {
        const struct packed_layer *layer = &from->packed.layer[i];
        if (layer->tp > 1)
            status = fail(MT_USAGE,
                          "%s holds rank %d of %d of the model alone; convert the folder that was made without --tp",
                          checkpoint_path(from), layer->rank, layer->tp);
        else
            status = packed_check_columns(&from->packed, layer);
        if (!status)
            add_sources(from, layer);
    }
    return status;
}

static enum mt_status unpack(struct checkpoint *from, const struct packed_layer *layer) {
    if (from->unpacked == layer)
        return MT_OK;
    enum mt_status status = packed_check_hashes(&from->packed, layer);
    if (status)
        return status;
    const struct problem p = packed_problem(layer);
    const int k_padded = problem_k_padded(&p);
    from->unpacked = layer;
    for (int width = 0; width < MT_PARTS; width++) {
        const struct tensor *blocks = layer->tensor[width][PACKED_BLOCKS];
        const int rows = packed_rows(layer, width);
        free(from->q[width]);
        from->q[width] = NULL;
        if (!blocks)
            continue;
        /* Blocks lie at multiples of 256 bytes. */
        from->q[width] = xmalloc((size_t)rows * (size_t)k_padded);
        unpack_weights(width == MT_PART_W8 ? 8 : 4, rows, pack_padded(rows), k_padded, blocks->data, from->q[width]);
    }
    return MT_OK;
}

/* Copies one row of a part to feature `to`. */
static void row_copy(const struct checkpoint *from, int width, int row, int to, struct codes *out) {
    const struct packed_layer *layer = from->unpacked;
    const struct problem p = packed_problem(layer);
    const struct tensor *scales = layer->tensor[width][PACKED_SCALES], *zeros = layer->tensor[width][PACKED_ZEROS];
    const int rows = packed_rows(layer, width), padded = pack_padded(rows);
    memcpy(out->q + (size_t)to * (size_t)out->k, from->q[width] + (size_t)row * (size_t)problem_k_padded(&p),
           (size_t)out->k);
    out->is8[to] = width == MT_PART_W8;
    for (int g = 0; g < out->groups; g++) {
        const size_t place = (size_t)g * (size_t)padded + (size_t)row,
                     at = (size_t)to * (size_t)out->groups + (size_t)g;
        memcpy(&out->scales[at], scales->data + place * sizeof *out->scales, sizeof *out->scales);
        out->zeros[at] = zeros ? zeros->data[place] : width == MT_PART_W8 ? 0 : QUANT_SYMMETRIC_ZERO;
    }
}

struct copying {
    const struct checkpoint *from;
    const struct linear *linear;
    struct codes *out;
    int width;
};

static void rows_copy(void *context, int begin, int end) {
    const struct copying *c = context;
    for (int row = begin; row < end; row++) {
        const int column = column_of(c->linear->packed, c->width, row) - c->linear->first;
        if (column >= 0 && column < c->linear->n)
            row_copy(c->from, c->width, row, column, c->out);
    }
}

enum mt_status packed_read(struct checkpoint *from, const struct linear *linear, int group, struct codes *out) {
    enum mt_status status = unpack(from, linear->packed);
    if (status)
        return status;
    codes_init(out, linear->n, linear->k, group);
    out->symmetric = linear->symmetric;
    for (int width = 0; width < MT_PARTS; width++) {
        struct copying c = {from, linear, out, width};
        if (from->q[width])
            parallel_for(packed_rows(linear->packed, width), 16, rows_copy, &c);
    }
    return MT_OK;
}
