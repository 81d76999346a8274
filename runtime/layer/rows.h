/* All rows of a layer, or any of them, each at 4 bits, at 8 bits or both: they are independent, so any choice of the
 * features that keep 8 bits is put together from one pass over the weights. */
#ifndef MT_ROWS_H
#define MT_ROWS_H

#include "quant.h"

/* Rows are [n]; of a row, input features beyond K hold its zero point, groups wholly beyond K zeros and a scale of
 * 0. */
struct quant_rows {
    int n, k, k_padded, group, groups; /* as struct quant_layer */
    bool symmetric;                    /* 4 bits without zero points */
    bool clip;    /* false after quant_rows_init(). true: at each width the range of each group is multiplied by that of
                * 1.00, 0.98 .. 0.80 which gives the group the least squared error, of equals the largest; the scale
                * follows from the range as ever */
    int8_t *q[2]; /* [n][k_padded], indexes MT_PART_W8, MT_PART_W4 of templates/gemm_args.h; NULL: that width is
                          * not wanted */
    uint16_t *scales[2]; /* fp16 [n][groups] */
    uint8_t *zeros;      /* [n][groups], of 4 bits; NULL: symmetric or not wanted */
    double *error[2];    /* [n]: of rows that were taken the squared rounding error |w - (q - z) s|^2 summed over the
                          * inputs in double, in an order that does not depend on the machine or its threads; of
                          * imported rows 0, or what the caller sets */
};

/* p->rows8 and p->m do not count. MT_USAGE for shapes or groups that are not supported, or if no width is wanted;
 * MT_FAILURE if memory is short. Release with quant_rows_release(). */
enum mt_status quant_rows_init(struct quant_rows *rows, const struct problem *p, bool w8, bool w4);
void quant_rows_release(struct quant_rows *rows);

/* Quantises one row from w fp32 [k] at the wanted widths. May be called by many threads for different rows. Returns the
 * index of the first weight that is not finite, which leaves the row without meaning, or -1. */
int quant_rows_take(struct quant_rows *rows, int row, const float *w);

/* Takes codes that were quantised elsewhere for one row at one width, which is wanted: q [k], 0..15 or -128..127;
 * scales [ceil(k / group)]; zeros likewise, 0..15 (NULL: 8), not read for 8 bits. The row's error stays. Returns the
 * first input that is out of its range, which for a scale that is not finite and a zero point (of symmetric rows: not
 * 8) is the first of the group; or -1. */
int quant_rows_import(struct quant_rows *rows, int width, int row, const int8_t *q, const uint16_t *scales,
                      const uint8_t *zeros);

/* Puts a layer together: is8 [n] says which features keep 8 bits, none, some or all. Packs; out->part[].q stays NULL.
 * Release with quant_layer_release(). The bytes are those of quant_layer_init() for the same choice. MT_USAGE if a
 * feature is to have a width that is not there. */
enum mt_status quant_rows_pack(const struct quant_rows *rows, const uint8_t *is8, struct quant_layer *out);

#endif
