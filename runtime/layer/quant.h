/* Round-to-nearest quantisation on the host (ARCHITECTURE.md, "Numbers"). */
#ifndef MT_QUANT_H
#define MT_QUANT_H

#include "problem.h"
#include <stddef.h>
#include <stdint.h>

/* 4-bit: the range of a group is widened to contain 0, without which a zero point in 0..15 could not reach a group that
 * lies on one side of it. Symmetric 4-bit weights have z = 8 everywhere and s = 2 max|w| / 15. All widths: s is rounded
 * to fp16, kept in [2^-24, 65504] (so it is never 0 or infinite), and z and q are computed with that s in fp32, so that
 * (q - z) * s is what a kernel sees. Input features beyond K hold q = z; groups wholly beyond K and features beyond
 * `rows` hold q = 0 and s = 0. */

/* One part of a layer (all its features have the same width), not packed: what the reference reads.
 * q [rows][k_padded] holds 0..15 (4-bit) or -128..127 as int8; scales fp16 and zeros [groups][padded_rows];
 * padding dequantises to zero. `columns` [rows] is the output column of each row, increasing; NULL for row = column. */
struct quant_part {
    int bits; /* 4 or 8 */
    int rows, padded_rows;
    int8_t *q;
    uint16_t *scales;
    uint8_t *zeros; /* NULL where all are the same: 8-bit and symmetric 4-bit weights */
    int *columns;
    void *packed; /* what the kernels read; packed_bytes() of it */
};

#define QUANT_SYMMETRIC_ZERO 8
/* The zero point that belongs to scales[at]. */
static inline int quant_zero(const struct quant_part *part, size_t at) {
    return part->zeros ? part->zeros[at] : part->bits == 4 ? QUANT_SYMMETRIC_ZERO : 0;
}

/* A quantised layer: part[MT_PART_W8] and part[MT_PART_W4] of templates/gemm_args.h. */
struct quant_layer {
    int n, k, k_padded, group, groups;
    struct quant_part part[2];
};

/* Quantises W fp32 [n][k] row-major. `is8` [n] says which p->rows8 features keep 8 bits; NULL spreads them evenly over
 * the columns. Also packs. Release with quant_layer_release(). MT_USAGE for shapes or groups that are not supported and
 * for weights that are not finite; MT_FAILURE if memory is short, as for all of these. Parts that hold all features or
 * none have no `columns`. */
enum mt_status quant_layer_init(struct quant_layer *layer, const struct problem *p, const float *w, const uint8_t *is8);

/* A layer that was quantised elsewhere: q [n][k] codes, 0..15 where a feature has 4 bits and -128..127 where it has 8;
 * scales fp16 [ceil(k / group)][n], finite; zeros [ceil(k / group)][n], 0..15, not read for 8-bit features (NULL if
 * there are no others). In a symmetric layer zeros are NULL or 8. MT_USAGE with the place of a value that is out of its
 * range. */
struct quant_codes {
    const int8_t *q;
    const uint16_t *scales;
    const uint8_t *zeros;
};
enum mt_status quant_layer_import(struct quant_layer *layer, const struct problem *p, const struct quant_codes *codes,
                                  const uint8_t *is8);

/* A layer with random codes, scales and zero points, and a random choice of the features that keep 8 bits, drawn
 * directly from `seed` (fast: for tuning and tests). */
enum mt_status quant_layer_random(struct quant_layer *layer, const struct problem *p, uint64_t seed);
void quant_layer_release(struct quant_layer *layer);

/* For those who fill a layer in: its sizes, columns and arrays, all zero; part[].q only if `codes`. Release with
 * quant_layer_release(). MT_USAGE as quant_layer_init(). */
enum mt_status quant_layer_shape(struct quant_layer *layer, const struct problem *p, const uint8_t *is8, bool codes);
/* For an array that is about to be written (or NULL): huge pages where the system has some, or faults take longer than
 * packing. Returns it. */
void *quant_huge(void *array, size_t bytes);
/* MT_USAGE with the sentence for a weight that is not finite. */
enum mt_status quant_weight_bad(long feature, long input);

/* Activations: q int8 [m][k_padded], scales fp32 [groups][m], sums int32 [groups][m]. */
struct quant_acts {
    int m, k, k_padded, group, groups;
    int8_t *q;
    float *scales;
    int32_t *sums;
};
/* x: fp16/bf16 bits [m][k]. The same arithmetic as quantize_act.cu, bit for bit, all in fp32 with IEEE division: amax =
 * max |x| (NaN ignored), s = amax / 127; below 2^-126 s is 2^-126 and every q is 0; else q = clamp(rint(x / s), -127,
 * 127), where a quotient that is NaN gives 0. So a NaN input quantises to 0, and an infinite one makes s infinite and q
 * 0 in its group. x beyond K counts as 0. sums are over q. */
enum mt_status quant_acts_init(struct quant_acts *acts, const struct problem *p, const uint16_t *x);
void quant_acts_release(struct quant_acts *acts);

#endif
