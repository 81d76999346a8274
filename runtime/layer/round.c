#include "round.h"
#include "quant.h"
#include "templates/gemm_args.h"
#include <string.h>

#define SMALLEST_SCALE 0x1p-24f /* smallest half above 0, a subnormal one */
#define LARGEST_SCALE  65504.0f /* largest half */
#define LARGEST_GROUP  256
#define BLOCK          64 /* all groups are multiples of it, padding included */
#define LANES          16
#define LINE           16   /* weights in a line of a cache */
#define AHEAD          1024 /* weights that memory is asked for before their turn; behind the last ones it matters not */
#define INFINITE       0x7f800000 /* bits of infinity; those of NaN are above it, those of numbers below */

/* The range of a group, widened to contain 0. */
struct range {
    float low, high;
};

/* The bits of positive floats order as integers do, so that one pass finds both ends and what is not finite. False if
 * something is not. */
INLINE bool range_find(const float *w, int count, struct range *out) {
    int32_t high = 0, low = 0;
    for (int at = 0; at < count; at += BLOCK) {
        for (int i = at; i < at + BLOCK; i += LINE)
            __builtin_prefetch(w + i + AHEAD);
        for (int i = at; i < at + BLOCK; i++) {
            const int32_t bits = (int32_t)bits_of_float(w[i]), negated = bits ^ INT32_MIN;
            high = bits > high ? bits : high;
            low = negated > low ? negated : low;
        }
    }
    out->high = float_of_bits((uint32_t)high);
    out->low = -float_of_bits((uint32_t)low);
    return high < INFINITE && low < INFINITE;
}

static int first_not_finite(const float *w) {
    int i = 0;
    while ((bits_of_float(w[i]) & INT32_MAX) < INFINITE)
        i++;
    return i;
}

INLINE struct round_grid grid_make(int width, bool symmetric, struct range range) {
    const float most = range.high > -range.low ? range.high : -range.low;
    const float span = symmetric ? 2 * most : range.high - range.low;
    const float step = width == MT_PART_W8 ? most / 127.0f : span / 15.0f;
    struct round_grid grid = {.scale = half_from_float(clamp(step, SMALLEST_SCALE, LARGEST_SCALE))};
    grid.s = half_to_float(grid.scale);
    if (width == MT_PART_W8) {
        grid.low = -127;
        grid.high = 127;
        return grid;
    }
    grid.zero = symmetric ? QUANT_SYMMETRIC_ZERO : round_even(clamp(-range.low / grid.s, 0, 15));
    grid.low = -grid.zero;
    grid.high = 15 - grid.zero;
    return grid;
}

/* What rounding takes off a weight. The product has 19 bits at most, and the difference to a weight that it stands for
 * fits fp32, too (below 2^29; above, where the largest scale is far from its weights, it is off by 2^-24 of itself). So
 * this is exact. */
INLINE float rounding_of(float w, float shifted, struct round_grid grid) {
    const float product = (shifted - ROUNDER) * grid.s;
    return w - product;
}

INLINE void group_round(const float *restrict w, int count, struct round_grid grid, int8_t *restrict q,
                        float *restrict off) {
    for (int at = 0; at < count; at += BLOCK) {
        for (int i = at; i < at + BLOCK; i++) {
            const float shifted = round_shifted(w[i], grid.s, grid.low, grid.high);
            q[i] = (int8_t)((int)(bits_of_float(shifted) - ROUNDER_BITS) + grid.zero);
            off[i] = rounding_of(w[i], shifted, grid);
        }
    }
}

/* Sixteen sums that run beside each other: the order is the same on every machine. */
INLINE double squares_sum(const float *off, int count) {
    double sum[LANES] = {0};
    for (int at = 0; at < count; at += LANES)
        for (int i = 0; i < LANES; i++)
            sum[i] += (double)off[at + i] * (double)off[at + i];
    for (int i = 0; i < 4; i++)
        sum[i] = (sum[i] + sum[i + 4]) + (sum[i + 8] + sum[i + 12]);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

INLINE double grid_error(const float *restrict w, int count, struct round_grid grid) {
    float off[LARGEST_GROUP];
    for (int at = 0; at < count; at += BLOCK)
        for (int i = at; i < at + BLOCK; i++)
            off[i] = rounding_of(w[i], round_shifted(w[i], grid.s, grid.low, grid.high), grid);
    return squares_sum(off, count);
}

const float round_ratios[ROUND_RATIOS] = {1, 0.98f, 0.96f, 0.94f, 0.92f, 0.90f, 0.88f, 0.86f, 0.84f, 0.82f, 0.80f};

/* The ratio of the range that loses least, of equals the largest. */
INLINE struct round_grid grid_clip(int width, bool symmetric, struct range range, const float *w, int count) {
    struct round_grid grids[ROUND_RATIOS];
    int best = 0;
    double least = 0;
    for (int i = 0; i < ROUND_RATIOS; i++) {
        const struct range clipped = {range.low * round_ratios[i], range.high * round_ratios[i]};
        grids[i] = grid_make(width, symmetric, clipped);
    }
    for (int i = 0; i < ROUND_RATIOS; i++) {
        const double error = grid_error(w, count, grids[i]);
        if (i == 0 || error < least) {
            best = i;
            least = error;
        }
    }
    return grids[best];
}

bool round_grid(int width, bool symmetric, const float *w, int count, float ratio, struct round_grid *out) {
    struct range range;
    if (!range_find(w, count, &range))
        return false;
    *out = grid_make(width, symmetric, (struct range){range.low * ratio, range.high * ratio});
    return true;
}

INLINE void group_take(const struct round_codes *out, int width, bool clip, int g, int group, struct range range,
                       const float *w, int count) {
    float off[LARGEST_GROUP];
    const bool symmetric = !out->zeros;
    const struct round_grid grid =
        clip ? grid_clip(width, symmetric, range, w, count) : grid_make(width, symmetric, range);
    group_round(w, count, grid, out->q + (size_t)g * (size_t)group, off);
    out->scales[(size_t)g * out->stride] = grid.scale;
    if (out->zeros)
        out->zeros[(size_t)g * out->stride] = (uint8_t)grid.zero;
    if (out->error)
        *out->error += squares_sum(off, count);
}

/* A group that reaches beyond K ends in zeros: they widen no range, lose nothing and have the zero point as code, as
 * padding must. */
INLINE int row_round(const struct round_shape *shape, const float *w, const struct round_codes *out) {
    float padded[LARGEST_GROUP];
    for (int i = 0; i < MT_PARTS; i++)
        if (out[i].q && out[i].error)
            *out[i].error = 0;
    for (int g = 0, first = 0; first < shape->k; g++, first += shape->group) {
        const int room = shape->k_padded - first, left = shape->k - first;
        const int count = room < shape->group ? room : shape->group;
        const float *from = w + first;
        struct range range;
        if (left < count) {
            memcpy(padded, from, (size_t)left * sizeof *padded);
            memset(padded + left, 0, (size_t)(count - left) * sizeof *padded);
            from = padded;
        }
        if (!range_find(from, count, &range))
            return first + first_not_finite(from);
        if (out[MT_PART_W8].q)
            group_take(&out[MT_PART_W8], MT_PART_W8, shape->clip, g, shape->group, range, from, count);
        if (out[MT_PART_W4].q)
            group_take(&out[MT_PART_W4], MT_PART_W4, shape->clip, g, shape->group, range, from, count);
    }
    return -1;
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static int row_round_avx2(const struct round_shape *shape, const float *w,
                                                          const struct round_codes *out) {
    return row_round(shape, w, out);
}
#endif

int round_row(const struct round_shape *shape, const float *w, const struct round_codes *out) {
#ifdef __x86_64__
    if (vectors_wide())
        return row_round_avx2(shape, w, out);
#endif
    return row_round(shape, w, out);
}

void round_pad(const struct round_shape *shape, int zero, int8_t *q) {
    const int groups_end = (shape->k + shape->group - 1) / shape->group * shape->group;
    const int end = groups_end < shape->k_padded ? groups_end : shape->k_padded;
    memset(q + shape->k, zero, (size_t)(end - shape->k));
}

/* The first of q [count] that has more than 4 bits, or -1. */
static int wide_code(const int8_t *q, int count) {
    for (int i = 0; i < count; i++)
        if (q[i] < 0 || q[i] > 15)
            return i;
    return -1;
}

int round_import(const struct round_shape *shape, int width, const struct round_given *given,
                 const struct round_codes *out) {
    const bool narrow = width == MT_PART_W4;
    int zero = 0;
    for (int first = 0, g = 0; first < shape->k; first += shape->group, g++) {
        const size_t from = (size_t)g * given->stride, to = (size_t)g * out->stride;
        const int left = shape->k - first, count = left < shape->group ? left : shape->group;
        if (narrow)
            zero = given->zeros ? given->zeros[from] : QUANT_SYMMETRIC_ZERO;
        if ((given->scales[from] & 0x7c00) == 0x7c00 || zero > 15 ||
            (narrow && !out->zeros && zero != QUANT_SYMMETRIC_ZERO))
            return first;
        const int wide = narrow ? wide_code(given->q + first, count) : -1;
        if (wide >= 0)
            return first + wide;
        memcpy(out->q + first, given->q + first, (size_t)count);
        out->scales[to] = given->scales[from];
        if (out->zeros)
            out->zeros[to] = (uint8_t)zero;
    }
    round_pad(shape, zero, out->q);
    return -1;
}
