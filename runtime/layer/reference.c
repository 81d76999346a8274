#include "reference.h"
#include "half.h"
#include "runtime/base/parallel.h"
#include "runtime/base/str.h"
#include "templates/gemm_args.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

enum {
    ROWS = 8,   /* features of a block */
    TOKENS = 4, /* that share one pass over a block's weights */
};

bool reference_plain;

struct reference_work {
    struct reference *ref;
    const struct quant_layer *layer;
    const struct quant_part *part;
    const struct quant_acts *acts;
    const int16_t *x; /* activations widened: [m][k_padded] */
};

/* ROWS features. Vectors multiply pairs along k: w is [k_padded / 2][ROWS][2]; scale is [groups][ROWS]. */
struct block {
    const struct reference_work *work;
    int row, rows; /* those beyond `rows` are zeros */
    int16_t *w;
    double *scale;
};

/* Exact sums over `pairs` pairs of k: p[t][r] of token t and feature r. */
typedef void group_sums(const int16_t *const x[TOKENS], const int16_t *w, int pairs, int32_t p[TOKENS][ROWS]);

static void sums_plain(const int16_t *const x[TOKENS], const int16_t *w, int pairs, int32_t p[TOKENS][ROWS]) {
    memset(p, 0, TOKENS * sizeof *p);
    for (int k = 0; k < pairs; k++)
        for (int t = 0; t < TOKENS; t++)
            for (int r = 0; r < ROWS; r++)
                p[t][r] += x[t][2 * k] * w[2 * (k * ROWS + r)] + x[t][2 * k + 1] * w[2 * (k * ROWS + r) + 1];
}

/* The tokens from m on, at most TOKENS. The terms are added in the order of the groups, each element by itself. */
static inline __attribute__((always_inline)) void block_tokens(const struct block *b, int m, group_sums *sums) {
    const struct quant_layer *layer = b->work->layer;
    const struct quant_acts *acts = b->work->acts;
    struct reference *ref = b->work->ref;
    const int count = ref->m - m < TOKENS ? ref->m - m : TOKENS;
    double y[TOKENS][ROWS] = {{0}}, mass[TOKENS][ROWS] = {{0}};
    for (int g = 0; g < layer->groups; g++) {
        const int begin = g * layer->group,
                  end = begin + layer->group < layer->k_padded ? begin + layer->group : layer->k_padded;
        const int16_t *x[TOKENS];
        int32_t p[TOKENS][ROWS];
        for (int t = 0; t < TOKENS; t++) /* what is missing repeats the first */
            x[t] = b->work->x + (size_t)(t < count ? m + t : m) * (size_t)layer->k_padded + begin;
        sums(x, b->w + (size_t)begin * ROWS, (end - begin) / 2, p);
        for (int t = 0; t < count; t++) {
            const double sx = acts->scales[(size_t)g * (size_t)acts->m + (size_t)(m + t)];
            int32_t most = 0;
            for (int r = 0; r < ROWS; r++)
                most |= p[t][r] < 0 ? -p[t][r] : p[t][r];
            /* The bound that kernels rely on to turn P into a float without a conversion. */
            assert(most < 1 << 22);
            for (int r = 0; r < ROWS; r++) {
                const double term = sx * b->scale[g * ROWS + r] * p[t][r];
                y[t][r] += term;
                mass[t][r] += fabs(term);
            }
        }
    }
    for (int t = 0; t < count; t++)
        for (int r = 0; r < b->rows; r++) {
            const int row = b->row + r, column = b->work->part->columns ? b->work->part->columns[row] : row;
            ref->y[(size_t)(m + t) * (size_t)ref->n + (size_t)column] = y[t][r];
            ref->mass[(size_t)(m + t) * (size_t)ref->n + (size_t)column] = mass[t][r];
        }
}

static void block_plain(const struct block *b) {
    for (int m = 0; m < b->work->ref->m; m += TOKENS)
        block_tokens(b, m, sums_plain);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static inline void sums_avx2(const int16_t *const x[TOKENS], const int16_t *w,
                                                             int pairs, int32_t p[TOKENS][ROWS]) {
    __m256i sum[TOKENS] = {{0}}; /* unrolled, so that they stay in registers */
    for (int k = 0; k < pairs; k++) {
        const __m256i right = _mm256_loadu_si256((const __m256i *)(const void *)(w + 2 * ROWS * k));
#pragma GCC unroll 4
        for (int t = 0; t < TOKENS; t++) {
            int32_t pair;
            memcpy(&pair, x[t] + 2 * k, sizeof pair);
            sum[t] = _mm256_add_epi32(sum[t], _mm256_madd_epi16(_mm256_set1_epi32(pair), right));
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < TOKENS; t++)
        _mm256_storeu_si256((__m256i *)(void *)p[t], sum[t]);
}

__attribute__((target("avx2"))) static void block_avx2(const struct block *b) {
    for (int m = 0; m < b->work->ref->m; m += TOKENS)
        block_tokens(b, m, sums_avx2);
}
#endif

static void block_sums(const struct block *b) {
#ifdef __x86_64__
    if (!reference_plain && __builtin_cpu_supports("avx2")) {
        block_avx2(b);
        return;
    }
#endif
    block_plain(b);
}

/* Codes less zero points, and the scales; zeros for the features that a last block lacks. */
static void block_fill(struct block *b) {
    const struct quant_layer *layer = b->work->layer;
    const struct quant_part *part = b->work->part;
    memset(b->w, 0, ROWS * (size_t)layer->k_padded * sizeof *b->w);
    memset(b->scale, 0, ROWS * (size_t)layer->groups * sizeof *b->scale);
    for (int r = 0; r < b->rows; r++) {
        const size_t row = (size_t)(b->row + r);
        const int8_t *q = part->q + row * (size_t)layer->k_padded;
        for (int g = 0; g < layer->groups; g++) {
            const size_t at = (size_t)g * (size_t)part->padded_rows + row;
            const int zero = part->bits == 4 ? part->zeros[at] : 0;
            for (int k = g * layer->group; k < layer->k_padded && k < (g + 1) * layer->group; k += 2) {
                int16_t *pair = b->w + (size_t)k * ROWS + (size_t)r * 2;
                pair[0] = (int16_t)(q[k] - zero);
                pair[1] = (int16_t)(q[k + 1] - zero);
            }
            b->scale[g * ROWS + r] = (double)half_to_float(part->scales[at]);
        }
    }
}

static void rows_reference(void *context, int begin, int end) {
    const struct reference_work *work = context;
    struct block b = {.work = work};
    b.w = xmalloc(ROWS * (size_t)work->layer->k_padded * sizeof *b.w);
    b.scale = xmalloc(ROWS * (size_t)work->layer->groups * sizeof *b.scale);
    for (b.row = begin; b.row < end; b.row += ROWS) {
        b.rows = end - b.row < ROWS ? end - b.row : ROWS;
        block_fill(&b);
        block_sums(&b);
    }
    free(b.w);
    free(b.scale);
}

enum mt_status reference_init(struct reference *ref, const struct problem *p, const struct quant_layer *layer,
                              const struct quant_acts *acts, const uint16_t *bias) {
    *ref = (struct reference){0};
    if (acts->k != layer->k || acts->group != layer->group || p->n != layer->n || p->m != acts->m || p->k != layer->k)
        return fail(MT_USAGE, "the layer, the activations and the problem of the reference differ in shape or group");
    size_t count = (size_t)p->m * (size_t)p->n, inputs = (size_t)p->m * (size_t)acts->k_padded;
    *ref = (struct reference){p->m, p->n, xcalloc(count, sizeof *ref->y), xcalloc(count, sizeof *ref->mass)};
    int16_t *x = xmalloc(inputs * sizeof *x);
    for (size_t i = 0; i < inputs; i++)
        x[i] = acts->q[i];
    for (int part = 0; part < MT_PARTS; part++) {
        struct reference_work work = {ref, layer, &layer->part[part], acts, x};
        parallel_for(layer->part[part].rows, 16, rows_reference, &work);
    }
    for (size_t i = 0; bias && i < count; i++)
        ref->y[i] += dtype_to_float(p->dtype, bias[i % (size_t)p->n]);
    free(x);
    return MT_OK;
}

void reference_release(struct reference *ref) {
    free(ref->y);
    free(ref->mass);
    *ref = (struct reference){0};
}

/* The distance between neighbouring numbers of the type around `value`. */
static double ulp_at(enum dtype dtype, double value) {
    int exponent, digits = dtype == DTYPE_BF16 ? 8 : 11, smallest = dtype == DTYPE_BF16 ? -133 : -24;
    frexp(value, &exponent); /* value in [2^(exponent-1), 2^exponent) */
    exponent -= digits;
    return ldexp(1, value == 0 || exponent < smallest ? smallest : exponent);
}

/* Error over allowance; > 1 is wrong. */
static double error_ratio(double want, double allowed, enum dtype dtype, double got) {
    double largest = dtype == DTYPE_BF16 ? 0x1.fep127 : 65504;
    if (isnan(got) || !isfinite(want))
        return INFINITY;
    if (isinf(got)) /* right where rounding may overflow: half an ulp above the largest number */
        return signbit(got) == signbit(want) && fabs(want) + allowed >= largest + ulp_at(dtype, largest) / 2 ? 0
                                                                                                             : INFINITY;
    return fabs(got - want) / allowed;
}

void reference_compare(const struct reference *ref, enum dtype dtype, const uint16_t *y, int ldy, struct verdict *out) {
    *out = (struct verdict){.first_m = -1, .first_n = -1};
    for (int m = 0; m < ref->m; m++) {
        for (int n = 0; n < ref->n; n++) {
            size_t at = (size_t)m * (size_t)ref->n + (size_t)n;
            double want = ref->y[at], got = dtype_to_float(dtype, y[(size_t)m * (size_t)ldy + (size_t)n]);
            double allowed = ulp_at(dtype, want) + 0x1p-20 * ref->mass[at];
            double ratio = error_ratio(want, allowed, dtype, got);
            if (ratio > out->worst)
                out->worst = ratio;
            if (ratio > 1 && out->wrong++ == 0) {
                out->first_m = m;
                out->first_n = n;
                out->got = got;
                out->want = want;
                out->allowed = allowed;
            }
        }
    }
}
