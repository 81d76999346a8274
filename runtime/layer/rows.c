#include "rows.h"
#include "half.h"
#include "pack.h"
#include "round.h"
#include "runtime/base/memory.h"
#include "runtime/base/parallel.h"
#include "templates/gemm_args.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const width_names[MT_PARTS] = {[MT_PART_W8] = "8", [MT_PART_W4] = "4"};

enum mt_status quant_rows_init(struct quant_rows *rows, const struct problem *p, bool w8, bool w4) {
    struct problem shape = *p;
    *rows = (struct quant_rows){0};
    shape.m = 1;
    shape.rows8 = 0;
    enum mt_status status = problem_check(&shape);
    if (status != MT_OK)
        return status;
    if (!w8 && !w4)
        return fail(MT_USAGE, "rows are quantised to 8 bits, to 4 bits or to both, but neither is asked for");
    *rows = (struct quant_rows){.n = p->n,
                                .k = p->k,
                                .k_padded = problem_k_padded(p),
                                .group = p->group,
                                .groups = problem_groups(p),
                                .symmetric = p->symmetric};
    const size_t n = (size_t)p->n, groups = (size_t)rows->groups;
    for (int i = 0; i < MT_PARTS; i++) {
        if (!(i == MT_PART_W8 ? w8 : w4))
            continue;
        rows->q[i] = quant_huge(mem_zeroed(n, (size_t)rows->k_padded), n * (size_t)rows->k_padded);
        rows->scales[i] = mem_zeroed(n * groups, sizeof *rows->scales[i]);
        rows->error[i] = mem_zeroed(n, sizeof *rows->error[i]);
        if (!rows->q[i] || !rows->scales[i] || !rows->error[i])
            status = MT_FAILURE;
    }
    if (w4 && !p->symmetric && !(rows->zeros = mem_zeroed(n, groups)))
        status = MT_FAILURE;
    if (status != MT_OK)
        quant_rows_release(rows);
    return status;
}

void quant_rows_release(struct quant_rows *rows) {
    for (int i = 0; i < MT_PARTS; i++) {
        free(rows->q[i]);
        free(rows->scales[i]);
        free(rows->error[i]);
    }
    free(rows->zeros);
    *rows = (struct quant_rows){0};
}

static struct round_codes row_codes(const struct quant_rows *rows, int width, int row) {
    const size_t at = (size_t)row, groups = (size_t)rows->groups;
    if (!rows->q[width])
        return (struct round_codes){0};
    return (struct round_codes){.q = rows->q[width] + at * (size_t)rows->k_padded,
                                .scales = rows->scales[width] + at * groups,
                                .zeros = width == MT_PART_W4 && rows->zeros ? rows->zeros + at * groups : NULL,
                                .stride = 1,
                                .error = rows->error[width] + at};
}

int quant_rows_take(struct quant_rows *rows, int row, const float *w) {
    const struct round_shape shape = {rows->k, rows->k_padded, rows->group, rows->clip};
    const struct round_codes out[MT_PARTS] = {
        [MT_PART_W8] = row_codes(rows, MT_PART_W8, row), [MT_PART_W4] = row_codes(rows, MT_PART_W4, row)};
    return round_row(&shape, w, out);
}

int quant_rows_import(struct quant_rows *rows, int width, int row, const int8_t *q, const uint16_t *scales,
                      const uint8_t *zeros) {
    const struct round_shape shape = {rows->k, rows->k_padded, rows->group, false};
    const struct round_codes out = row_codes(rows, width, row);
    return round_import(&shape, width, &(struct round_given){q, scales, zeros, 1}, &out);
}

/* Copies the scales and zero points of the features in `part`, and where they are in the layer. */
struct gather {
    const struct quant_rows *rows;
    struct quant_layer *layer;
};

static void factors_gather(void *context, int begin, int end) {
    const struct gather *gather = context;
    const struct quant_rows *rows = gather->rows;
    for (int g = begin; g < end; g++) {
        for (int i = 0; i < MT_PARTS; i++) {
            struct quant_part *part = &gather->layer->part[i];
            for (int row = 0; row < part->rows; row++) {
                const size_t from = (size_t)(part->columns ? part->columns[row] : row) * (size_t)rows->groups;
                const size_t at = (size_t)g * (size_t)part->padded_rows + (size_t)row;
                part->scales[at] = rows->scales[i][from + (size_t)g];
                if (part->zeros)
                    part->zeros[at] = rows->zeros[from + (size_t)g];
            }
        }
    }
}

enum mt_status quant_rows_pack(const struct quant_rows *rows, const uint8_t *is8, struct quant_layer *out) {
    struct problem p = {.m = 1, .n = rows->n, .k = rows->k, .group = rows->group, .symmetric = rows->symmetric};
    *out = (struct quant_layer){0};
    for (int i = 0; i < rows->n; i++) {
        const int width = is8[i] ? MT_PART_W8 : MT_PART_W4;
        p.rows8 += is8[i] != 0;
        if (!rows->q[width])
            return fail(MT_USAGE, "feature %d is to have %s bits, but the rows were not quantised to that width", i,
                        width_names[width]);
    }
    enum mt_status status = quant_layer_shape(out, &p, is8, false);
    if (status != MT_OK)
        return status;
    struct gather gather = {rows, out};
    parallel_for(rows->groups, 1, factors_gather, &gather);
    for (int i = 0; i < MT_PARTS && status == MT_OK; i++) {
        const struct quant_part *part = &out->part[i];
        if (part->rows > 0)
            status = pack_weights(part->bits, part->rows, part->padded_rows, rows->k_padded, rows->q[i], part->columns,
                                  part->packed);
    }
    if (status != MT_OK)
        quant_layer_release(out);
    return status;
}
