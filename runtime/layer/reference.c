#include "reference.h"
#include "half.h"
#include "runtime/base/memory.h"
#include "runtime/base/parallel.h"
#include "templates/gemm_args.h"
#include <math.h>
#include <stdatomic.h>
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

enum { NONE, SHORT /* of memory */, BEYOND /* the sums that kernels can hold */ };

struct reference_work {
    struct reference *ref;
    const struct quant_layer *layer;
    const struct quant_part *part;
    const struct quant_acts *acts;
    int32_t *sums;       /* of the activations: [groups][m] */
    atomic_int *trouble; /* NONE, or what befell a block */
};

/* ROWS features. Vectors multiply four along k: codes are [k_padded / 4][ROWS][4], zero points and scales
 * [groups][ROWS]. P is the sum with the codes less zero point times the sum of the activations. */
struct block {
    const struct reference_work *work;
    int row, rows; /* those beyond `rows` are zeros */
    int8_t *q;
    int32_t *zero;
    double *scale;
};

/* Exact sums over `quads` times 4 of k: p[t][r] of token t and feature r. */
typedef void group_sums(const int8_t *const x[TOKENS], const int8_t *q, int quads, int32_t p[TOKENS][ROWS]);

static void sums_plain(const int8_t *const x[TOKENS], const int8_t *q, int quads, int32_t p[TOKENS][ROWS]) {
    memset(p, 0, TOKENS * sizeof *p);
    for (int k = 0; k < quads; k++)
        for (int t = 0; t < TOKENS; t++)
            for (int r = 0; r < ROWS; r++)
                for (int i = 4 * k; i < 4 * k + 4; i++)
                    p[t][r] += x[t][i] * q[4 * (k * ROWS + r) + i % 4];
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
        const int8_t *x[TOKENS];
        int32_t p[TOKENS][ROWS];
        for (int t = 0; t < TOKENS; t++) /* what is missing repeats the first */
            x[t] = acts->q + (size_t)(t < count ? m + t : m) * (size_t)layer->k_padded + begin;
        sums(x, b->q + (size_t)begin * ROWS, (end - begin) / 4, p);
        for (int t = 0; t < count; t++) {
            const size_t at = (size_t)g * (size_t)acts->m + (size_t)(m + t);
            const double sx = acts->scales[at];
            int32_t most = 0;
            for (int r = 0; r < ROWS; r++) {
                p[t][r] -= b->zero[g * ROWS + r] * b->work->sums[at];
                most |= p[t][r] < 0 ? -p[t][r] : p[t][r];
            }
            /* The bound that kernels rely on to turn P into a float without a conversion. */
            if (most >= 1 << 22)
                atomic_store(b->work->trouble, BEYOND);
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
__attribute__((target("avx2"))) static inline __m256i four_of(const int8_t *x) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm256_set1_epi32(four);
}

/* Codes of 0 … 15: eight products of pairs fit 16 bits, at most 8 * 2 * 15 * 128. The loops are unrolled so that sums
 * stay in registers. */
__attribute__((target("avx2"))) static inline void sums_of_4_bits(const int8_t *const x[TOKENS], const int8_t *q,
                                                                  int quads, int32_t p[TOKENS][ROWS]) {
    __m256i sum[TOKENS] = {{0}};
    for (int k = 0; k < quads; k += 8) {
        __m256i part[TOKENS] = {{0}};
        for (int i = k; i < k + 8; i++) {
            const __m256i right = _mm256_loadu_si256((const __m256i *)(const void *)(q + 4 * ROWS * i));
#pragma GCC unroll 4
            for (int t = 0; t < TOKENS; t++)
                part[t] = _mm256_add_epi16(part[t], _mm256_maddubs_epi16(right, four_of(x[t] + 4 * i)));
        }
#pragma GCC unroll 4
        for (int t = 0; t < TOKENS; t++)
            sum[t] = _mm256_add_epi32(sum[t], _mm256_madd_epi16(part[t], _mm256_set1_epi16(1)));
    }
#pragma GCC unroll 4
    for (int t = 0; t < TOKENS; t++)
        _mm256_storeu_si256((__m256i *)(void *)p[t], sum[t]);
}

/* Codes of -128 … 127: bytes 0 and 2, 1 and 3 as pairs of 16 bits. */
__attribute__((target("avx2"))) static inline void sums_of_8_bits(const int8_t *const x[TOKENS], const int8_t *q,
                                                                  int quads, int32_t p[TOKENS][ROWS]) {
    __m256i sum[TOKENS] = {{0}};
    for (int k = 0; k < quads; k++) {
        const __m256i right = _mm256_loadu_si256((const __m256i *)(const void *)(q + 4 * ROWS * k));
        const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(right, 8), 8), odd = _mm256_srai_epi16(right, 8);
#pragma GCC unroll 4
        for (int t = 0; t < TOKENS; t++) {
            const __m256i left = four_of(x[t] + 4 * k);
            const __m256i one = _mm256_madd_epi16(_mm256_srai_epi16(_mm256_slli_epi16(left, 8), 8), even);
            const __m256i other = _mm256_madd_epi16(_mm256_srai_epi16(left, 8), odd);
            sum[t] = _mm256_add_epi32(sum[t], _mm256_add_epi32(one, other));
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < TOKENS; t++)
        _mm256_storeu_si256((__m256i *)(void *)p[t], sum[t]);
}

__attribute__((target("avx2"))) static void block_avx2(const struct block *b) {
    for (int m = 0; m < b->work->ref->m; m += TOKENS)
        if (b->work->part->bits == 4)
            block_tokens(b, m, sums_of_4_bits);
        else
            block_tokens(b, m, sums_of_8_bits);
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

/* Codes, zero points and scales; zeros for the features that a last block lacks. */
static void block_fill(struct block *b) {
    const struct quant_layer *layer = b->work->layer;
    const struct quant_part *part = b->work->part;
    memset(b->q, 0, ROWS * (size_t)layer->k_padded);
    memset(b->zero, 0, ROWS * (size_t)layer->groups * sizeof *b->zero);
    memset(b->scale, 0, ROWS * (size_t)layer->groups * sizeof *b->scale);
    for (int r = 0; r < b->rows; r++) {
        const size_t row = (size_t)(b->row + r);
        const int8_t *q = part->q + row * (size_t)layer->k_padded;
        for (int k = 0; k < layer->k_padded; k += 4)
            memcpy(b->q + (size_t)k * ROWS + (size_t)r * 4, q + k, 4);
        for (int g = 0; g < layer->groups; g++) {
            const size_t at = (size_t)g * (size_t)part->padded_rows + row;
            b->zero[g * ROWS + r] = quant_zero(part, at);
            b->scale[g * ROWS + r] = (double)half_to_float(part->scales[at]);
        }
    }
}

static void rows_reference(void *context, int begin, int end) {
    const struct reference_work *work = context;
    struct block b = {.work = work};
    b.q = mem_alloc(ROWS * (size_t)work->layer->k_padded);
    b.zero = mem_alloc(ROWS * (size_t)work->layer->groups * sizeof *b.zero);
    b.scale = mem_alloc(ROWS * (size_t)work->layer->groups * sizeof *b.scale);
    const bool good = b.q && b.zero && b.scale;
    if (!good)
        atomic_store(work->trouble, SHORT);
    for (b.row = begin; good && b.row < end; b.row += ROWS) {
        b.rows = end - b.row < ROWS ? end - b.row : ROWS;
        block_fill(&b);
        block_sums(&b);
    }
    free(b.q);
    free(b.zero);
    free(b.scale);
}

/* Not acts->sums, which kernels are given: those are on trial too. */
static int32_t *group_totals(const struct quant_acts *acts) {
    int32_t *sums = mem_zeroed((size_t)acts->groups * (size_t)acts->m, sizeof *sums);
    for (int m = 0; sums && m < acts->m; m++)
        for (int k = 0; k < acts->k_padded; k++)
            sums[(size_t)(k / acts->group) * (size_t)acts->m + (size_t)m] +=
                acts->q[(size_t)m * (size_t)acts->k_padded + (size_t)k];
    return sums;
}

enum mt_status reference_init(struct reference *ref, const struct problem *p, const struct quant_layer *layer,
                              const struct quant_acts *acts, const uint16_t *bias) {
    *ref = (struct reference){0};
    if (acts->k != layer->k || acts->group != layer->group || p->n != layer->n || p->m != acts->m || p->k != layer->k)
        return fail(MT_USAGE, "the layer, the activations and the problem of the reference differ in shape or group");
    size_t count = (size_t)p->m * (size_t)p->n;
    *ref = (struct reference){p->m, p->n, mem_zeroed(count, sizeof *ref->y), mem_zeroed(count, sizeof *ref->mass)};
    int32_t *sums = group_totals(acts);
    const bool there = sums && ref->y && ref->mass;
    atomic_int trouble = there ? NONE : SHORT;
    for (int part = 0; part < MT_PARTS && there; part++) {
        struct reference_work work = {ref, layer, &layer->part[part], acts, sums, &trouble};
        parallel_for(layer->part[part].rows, 16, rows_reference, &work);
    }
    for (size_t i = 0; bias && there && i < count; i++)
        ref->y[i] += dtype_to_float(p->dtype, bias[i % (size_t)p->n]);
    free(sums);
    if (trouble == NONE)
        return MT_OK;
    reference_release(ref);
    return trouble == SHORT ? memory_short(count * sizeof *ref->y)
                            : fail(MT_FAILURE, "a sum over a group is 2^22 or more, which kernels do not count on");
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
