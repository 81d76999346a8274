/* Rows quantised one by one at both widths: against quant_layer_init(), and against the definition of the numbers. */
#include "runtime/base/parallel.h"
#include "runtime/base/str.h"
#include "runtime/layer/half.h"
#include "runtime/layer/pack.h"
#include "runtime/layer/rows.h"
#include "templates/gemm_args.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

static float uniform(void) {
    return (float)drand48() * 2 - 1;
}

/* A scale of fp16, the same within 64 inputs. */
static float step_of(int k) {
    return 1 + (float)(k / 64 * 379 % 1024) / 1024;
}

/* A weight of a group of the given kind. */
enum kind {
    ORDINARY,
    ABOVE,
    BELOW,
    CONSTANT,
    ZERO,
    MINUS_ZERO,
    SMALL,
    DENORMAL,
    HUGE,
    MIXED,
    TIES8,
    TIES4,
    OUTLIER,
    KINDS
};
static float weight_of(int kind, int k) {
    switch (kind) {
    case ABOVE:
        return 1 + uniform() / 4;
    case BELOW:
        return -1 + uniform() / 4;
    case CONSTANT:
        return -0.7f;
    case ZERO:
        return 0;
    case MINUS_ZERO:
        return -0.0f;
    case SMALL: /* near the smallest scale */
        return uniform() * 0x1p-21f;
    case DENORMAL:
        return uniform() * 0x1p-128f;
    case HUGE: /* beyond the largest scale; the difference of two overflows */
        return uniform() < 0 ? -3e38f : 3.3e38f;
    case MIXED:
        return uniform() * ldexpf(1, (int)(uniform() * 30));
    case TIES8: /* halves of steps, which a division leaves exact */
        return step_of(k) * (k % 64 == 0 ? 127 : (float)(lrand48() % 255 - 127) / 2);
    case TIES4:
        return step_of(k) * (k % 64 == 0 ? 7.5f : k % 64 == 1 ? -7.5f : (float)(lrand48() % 31 - 15) / 2);
    case OUTLIER:
        return k % 61 == 17 ? 8 : uniform() * 0.1f;
    default:
        return uniform() * 0.05f;
    }
}

/* Groups of every kind, in other places of each row. */
static float *nasty_weights(int n, int k) {
    float *w = xmalloc(sizeof *w * (size_t)n * (size_t)k);
    for (int row = 0; row < n; row++)
        for (int i = 0; i < k; i++)
            w[row * k + i] = weight_of((row + i / 64) % KINDS, i);
    return w;
}

static void take_all(struct quant_rows *rows, const float *w) {
    for (int row = 0; row < rows->n; row++)
        assert_int_equal(quant_rows_take(rows, row, w + (size_t)row * (size_t)rows->k), -1);
}

/* ---- against quant_layer_init() ---- */

static void assert_same_layer(const struct quant_layer *a, const struct quant_layer *b) {
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->k, b->k);
    assert_int_equal(a->k_padded, b->k_padded);
    assert_int_equal(a->group, b->group);
    assert_int_equal(a->groups, b->groups);
    for (int i = 0; i < MT_PARTS; i++) {
        const struct quant_part *x = &a->part[i], *y = &b->part[i];
        const size_t count = (size_t)a->groups * (size_t)x->padded_rows;
        assert_int_equal(x->bits, y->bits);
        assert_int_equal(x->rows, y->rows);
        assert_int_equal(x->padded_rows, y->padded_rows);
        assert_int_equal(!x->zeros, !y->zeros);
        assert_int_equal(!x->columns, !y->columns);
        assert_null(y->q);
        if (x->rows == 0)
            continue;
        assert_memory_equal(x->packed, y->packed, packed_bytes(x->bits, x->padded_rows, a->k_padded));
        assert_memory_equal(x->scales, y->scales, count * sizeof *x->scales);
        if (x->zeros)
            assert_memory_equal(x->zeros, y->zeros, count);
        if (x->columns)
            assert_memory_equal(x->columns, y->columns, (size_t)x->rows * sizeof *x->columns);
    }
}

/* `wide` of 0 to 3: how many of three features keep 8 bits. */
static void check_choice(struct problem p, int wide) {
    float *w = nasty_weights(p.n, p.k);
    uint8_t *is8 = xcalloc((size_t)p.n, 1);
    for (int i = 0; i < p.n; i++) {
        is8[i] = lrand48() % 3 < wide;
        p.rows8 += is8[i];
    }
    struct quant_layer whole, packed;
    struct quant_rows rows;
    assert_int_equal(quant_layer_init(&whole, &p, w, is8), MT_OK);
    assert_int_equal(quant_rows_init(&rows, &p, true, true), MT_OK);
    take_all(&rows, w);
    assert_int_equal(quant_rows_pack(&rows, is8, &packed), MT_OK);
    assert_same_layer(&whole, &packed);
    quant_layer_release(&whole);
    quant_layer_release(&packed);
    quant_rows_release(&rows);
    free(w);
    free(is8);
}

static void any_choice_is_the_layer_of_that_choice(void **state) {
    (void)state;
    static const int sizes[][2] = {{1, 1}, {5, 300}, {16, 128}, {33, 257}, {48, 384}, {37, 700}, {17, 40}};
    srand48(1);
    for (int trial = 0; trial < 7 * 3 * 2 * 3; trial++) {
        const int *size = sizes[trial % 7];
        check_choice(
            (struct problem){
                .m = 1, .n = size[0], .k = size[1], .group = 64 << trial / 7 % 3, .symmetric = trial / 21 % 2},
            trial / 42 == 0   ? 0
            : trial / 42 == 1 ? 3
                              : 1);
    }
    check_choice((struct problem){.m = 1, .n = 2050, .k = 2100, .group = 128}, 1); /* arrays of huge pages */
}

/* ---- against the definition ---- */

/* What one group becomes, restated from the definition. */
struct expected {
    double s, error;
    int zero, q[256];
};

/* The nearest fp16 number, ties to even. */
static double half_nearest(double x) {
    int exponent;
    frexp(x, &exponent);
    const double unit = ldexp(1, exponent - 11 < -24 ? -24 : exponent - 11);
    return rint(x / unit) * unit;
}

static float range_end(const float *w, int count, float sign, float ratio) {
    float most = 0;
    for (int i = 0; i < count; i++)
        most = fmaxf(most, sign * w[i]);
    return most * ratio;
}

static struct expected expect(const float *w, int count, int width, bool symmetric, float ratio) {
    struct expected e = {0};
    const float below = range_end(w, count, -1, ratio), above = range_end(w, count, 1, ratio);
    float step;
    if (width == MT_PART_W8)
        step = fmaxf(below, above) / 127;
    else
        step = (symmetric ? 2 * fmaxf(below, above) : above + below) / 15;
    e.s = half_nearest(fmin(fmax((double)step, 0x1p-24), 65504));
    const float s = (float)e.s;
    if (width == MT_PART_W4)
        e.zero = symmetric ? 8 : (int)fminf(15, rintf(below / s));
    for (int i = 0; i < count; i++) {
        const double code = rint((double)(w[i] / s)) + e.zero;
        e.q[i] = (int)(width == MT_PART_W8 ? fmin(127, fmax(-127, code)) : fmin(15, fmax(0, code)));
        const double off = (double)w[i] - (e.q[i] - e.zero) * e.s;
        e.error += off * off;
    }
    return e;
}

/* Sums in another order differ in the last bits; beyond 2^29 fp32 rounds what the largest scale leaves. */
static void assert_near(double got, double want) {
    if (!(fabs(got - want) <= (want > 0x1p58 ? 1e-6 : 1e-12) * want))
        fail_msg("an error of %.17g instead of %.17g", got, want);
}

static double row_scale(const struct quant_rows *rows, int width, int row, int g) {
    return (double)half_to_float(rows->scales[width][row * rows->groups + g]);
}

static int row_zero(const struct quant_rows *rows, int width, int row, int g) {
    if (width == MT_PART_W8)
        return 0;
    return rows->zeros ? rows->zeros[row * rows->groups + g] : 8;
}

static void assert_group(const struct quant_rows *rows, int width, int row, int g, const struct expected *e,
                         int count) {
    const int8_t *q = rows->q[width] + row * rows->k_padded + g * rows->group;
    assert_true(row_scale(rows, width, row, g) == e->s);
    assert_int_equal(row_zero(rows, width, row, g), e->zero);
    for (int i = 0; i < count; i++)
        assert_int_equal(q[i], e->q[i]);
    for (int i = count; i < rows->group && g * rows->group + i < rows->k_padded; i++)
        assert_int_equal(q[i], e->zero);
}

/* Clipped: the ratio that was taken is one of those with the least error. */
static struct expected expect_clipped(const struct quant_rows *rows, int width, int row, int g, const float *w,
                                      int count) {
    struct expected taken = {.error = INFINITY};
    double least = INFINITY;
    for (int i = 0; i <= 10; i++) {
        const struct expected e = expect(w, count, width, rows->symmetric, (float)(100 - 2 * i) / 100);
        least = fmin(least, e.error);
        if (e.s == row_scale(rows, width, row, g) && e.zero == row_zero(rows, width, row, g))
            taken = e;
    }
    assert_true(taken.error <= least * (1 + 1e-12));
    return taken;
}

static void assert_rows(const struct quant_rows *rows, const float *w) {
    for (int at = 0; at < rows->n * MT_PARTS; at++) {
        const int row = at / MT_PARTS, width = at % MT_PARTS;
        double error = 0;
        for (int g = 0; g * rows->group < rows->k; g++) {
            const int first = g * rows->group, left = rows->k - first, count = left < rows->group ? left : rows->group;
            const float *from = w + row * rows->k + first;
            const struct expected e = rows->clip ? expect_clipped(rows, width, row, g, from, count)
                                                 : expect(from, count, width, rows->symmetric, 1);
            assert_group(rows, width, row, g, &e, count);
            error += e.error;
        }
        assert_near(rows->error[width][row], error);
        for (int g = (rows->k + rows->group - 1) / rows->group; g < rows->groups; g++) { /* all padding */
            assert_true(row_scale(rows, width, row, g) == 0);
            for (int k = g * rows->group; k < rows->k_padded; k++)
                assert_int_equal(rows->q[width][row * rows->k_padded + k], 0);
        }
    }
}

static void rows_are_as_defined(void **state) {
    (void)state;
    static const int k[] = {1, 40, 64, 130, 300, 512};
    srand48(2);
    for (int trial = 0; trial < 6 * 3 * 2 * 2; trial++) {
        const struct problem p = {
            .m = 1, .n = 2 * KINDS, .k = k[trial % 6], .group = 64 << trial / 6 % 3, .symmetric = trial / 18 % 2};
        float *w = nasty_weights(p.n, p.k);
        struct quant_rows rows;
        assert_int_equal(quant_rows_init(&rows, &p, true, true), MT_OK);
        rows.clip = trial / 36;
        take_all(&rows, w);
        assert_rows(&rows, w);
        quant_rows_release(&rows);
        free(w);
    }
}

/* ---- properties ---- */

/* A code is the nearest there is: one more or one less is further from the weight, but for the last bit of a quotient in
 * fp32 that lies half way. */
static void no_other_code_is_nearer(void **state) {
    (void)state;
    enum { N = 8 * KINDS, K = 300, G = 64 };
    srand48(3);
    for (int trial = 0; trial < 4; trial++) {
        const struct problem p = {.m = 1, .n = N, .k = K, .group = G, .symmetric = trial % 2};
        float *w = nasty_weights(N, K);
        struct quant_rows rows;
        assert_int_equal(quant_rows_init(&rows, &p, true, true), MT_OK);
        rows.clip = trial / 2;
        take_all(&rows, w);
        for (int at = 0; at < MT_PARTS * N * K; at++) {
            const int width = at / (N * K), row = at / K % N, i = at % K;
            const int low = width == MT_PART_W8 ? -127 : 0, high = width == MT_PART_W8 ? 127 : 15;
            const int q = rows.q[width][row * rows.k_padded + i], zero = row_zero(&rows, width, row, i / G);
            const double s = row_scale(&rows, width, row, i / G), want = (double)w[row * K + i];
            const double off = fabs(want - (q - zero) * s) - fabs(want) * 0x1p-23;
            assert_true(q >= low && q <= high);
            assert_true(q == low || off <= fabs(want - (q - 1 - zero) * s));
            assert_true(q == high || off <= fabs(want - (q + 1 - zero) * s));
        }
        quant_rows_release(&rows);
        free(w);
    }
}

/* Rows of one group, so that the row's error is the group's. */
static void clipping_raises_no_error(void **state) {
    (void)state;
    enum { N = 8 * KINDS };
    int lowered[MT_PARTS] = {0};
    srand48(4);
    for (int trial = 0; trial < 6; trial++) {
        const struct problem p = {
            .m = 1, .n = N, .k = 50 << trial / 2, .group = 64 << trial / 2, .symmetric = trial % 2};
        float *w = nasty_weights(N, p.k);
        struct quant_rows plain, clipped;
        assert_int_equal(quant_rows_init(&plain, &p, true, true), MT_OK);
        assert_int_equal(quant_rows_init(&clipped, &p, true, true), MT_OK);
        assert_false(clipped.clip);
        clipped.clip = true;
        take_all(&plain, w);
        take_all(&clipped, w);
        for (int at = 0; at < MT_PARTS * N; at++) {
            const int width = at / N, row = at % N;
            assert_true(clipped.error[width][row] <= plain.error[width][row]);
            lowered[width] += clipped.error[width][row] < plain.error[width][row];
        }
        quant_rows_release(&plain);
        quant_rows_release(&clipped);
        free(w);
    }
    assert_true(lowered[MT_PART_W4] > N && lowered[MT_PART_W8] > 0); /* 8 bits seldom gain */
}

/* The smallest scale at every ratio, and a weight half way between the codes that zero points of 1 and 2 allow it. */
static void of_equal_ratios_the_largest_is_taken(void **state) {
    (void)state;
    const struct problem p = {.m = 1, .n = 1, .k = 64, .group = 64};
    const float w[64] = {-1.5f * 0x1p-24f};
    struct quant_rows rows;
    assert_int_equal(quant_rows_init(&rows, &p, false, true), MT_OK);
    rows.clip = true;
    assert_int_equal(quant_rows_take(&rows, 0, w), -1);
    assert_int_equal(rows.scales[MT_PART_W4][0], 1);
    assert_int_equal(rows.zeros[0], 2);
    assert_true(rows.error[MT_PART_W4][0] == 0x1p-50);
    quant_rows_release(&rows);
}

/* 0.80: all weights but one lie on the grid that it gives. */
static void the_smallest_ratio_is_tried(void **state) {
    (void)state;
    const struct problem p = {.m = 1, .n = 1, .k = 256, .group = 256};
    float w[256];
    struct quant_rows rows;
    for (int k = 0; k < 256; k++)
        w[k] = k == 77 ? 15 : (float)(k % 16) * 0.8f;
    assert_int_equal(quant_rows_init(&rows, &p, false, true), MT_OK);
    rows.clip = true;
    take_all(&rows, w);
    assert_true(row_scale(&rows, MT_PART_W4, 0, 0) == half_nearest(0.8));
    quant_rows_release(&rows);
}

/* Steps half way between two fp16 numbers and zero points half way between two codes, which only a division finds. */
static void half_way_goes_to_the_even_one(void **state) {
    (void)state;
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        const struct problem p = {.m = 1, .n = 1, .k = 64, .group = 64, .symmetric = symmetric};
        struct quant_rows rows;
        assert_int_equal(quant_rows_init(&rows, &p, true, true), MT_OK);
        for (int i = 0; i < 1024; i++) {
            const float step = 1 + (float)(2 * i + 1) / 2048;
            const float wide[64] = {step * 127}, narrow[64] = {step * (symmetric ? 7.5f : 15)};
            take_all(&rows, wide);
            assert_true(row_scale(&rows, MT_PART_W8, 0, 0) == half_nearest((double)step));
            take_all(&rows, narrow);
            assert_true(row_scale(&rows, MT_PART_W4, 0, 0) == half_nearest((double)step));
            const float exact = 1 + (float)i / 1024, ends[64] = {-7.5f * exact, 7.5f * exact};
            take_all(&rows, ends);
            assert_int_equal(row_zero(&rows, MT_PART_W4, 0, 0), 8);
        }
        quant_rows_release(&rows);
    }
}

/* Compares every byte that two sets of rows hold. */
static void assert_same_rows(const struct quant_rows *a, const struct quant_rows *b) {
    const size_t n = (size_t)a->n, factors = n * (size_t)a->groups;
    for (int i = 0; i < MT_PARTS; i++) {
        assert_int_equal(!a->q[i], !b->q[i]);
        if (!a->q[i])
            continue;
        assert_memory_equal(a->q[i], b->q[i], n * (size_t)a->k_padded);
        assert_memory_equal(a->scales[i], b->scales[i], factors * sizeof *a->scales[i]);
        assert_memory_equal(a->error[i], b->error[i], n * sizeof *a->error[i]);
    }
    assert_int_equal(!a->zeros, !b->zeros);
    if (a->zeros)
        assert_memory_equal(a->zeros, b->zeros, factors);
}

struct taking {
    struct quant_rows *rows;
    const float *w;
};

static void rows_run(void *context, int begin, int end) {
    const struct taking *t = context;
    for (int row = begin; row < end; row++)
        quant_rows_take(t->rows, row, t->w + (size_t)row * (size_t)t->rows->k);
}

/* One thread or all, with this machine's vectors or without: the same bits, errors included. */
static void threads_and_vectors_change_nothing(void **state) {
    (void)state;
    srand48(5);
    for (int trial = 0; trial < 4; trial++) {
        const struct problem p = {.m = 1, .n = 100, .k = 700, .group = 128, .symmetric = trial % 2};
        float *w = nasty_weights(p.n, p.k);
        struct quant_rows one, all, plain;
        struct quant_rows *sets[] = {&one, &all, &plain};
        for (int i = 0; i < 3; i++) {
            assert_int_equal(quant_rows_init(sets[i], &p, true, true), MT_OK);
            sets[i]->clip = trial / 2;
        }
        take_all(&one, w);
        parallel_for(p.n, 1, rows_run, &(struct taking){&all, w});
        vectors_plain = true;
        take_all(&plain, w);
        vectors_plain = false;
        assert_same_rows(&one, &all);
        assert_same_rows(&one, &plain);
        for (int i = 0; i < 3; i++)
            quant_rows_release(sets[i]);
        free(w);
    }
}

/* A width by itself is what it is beside the other. */
static void widths_do_not_change_each_other(void **state) {
    (void)state;
    const struct problem p = {.m = 1, .n = 3 * KINDS, .k = 400, .group = 128};
    float *w = nasty_weights(p.n, p.k);
    struct quant_rows both, single[MT_PARTS];
    assert_int_equal(quant_rows_init(&both, &p, true, true), MT_OK);
    take_all(&both, w);
    for (int i = 0; i < MT_PARTS; i++) {
        assert_int_equal(quant_rows_init(&single[i], &p, i == MT_PART_W8, i == MT_PART_W4), MT_OK);
        assert_null(single[i].q[1 - i]);
        take_all(&single[i], w);
    }
    /* Put together by hand: the bytes of both. */
    struct quant_rows joined = single[MT_PART_W4];
    joined.q[MT_PART_W8] = single[MT_PART_W8].q[MT_PART_W8];
    joined.scales[MT_PART_W8] = single[MT_PART_W8].scales[MT_PART_W8];
    joined.error[MT_PART_W8] = single[MT_PART_W8].error[MT_PART_W8];
    assert_same_rows(&both, &joined);
    quant_rows_release(&both);
    quant_rows_release(&single[MT_PART_W8]);
    quant_rows_release(&single[MT_PART_W4]);
    free(w);
}

/* ---- what is refused ---- */

static void the_first_weight_that_is_not_finite_is_told(void **state) {
    (void)state;
    enum { K = 300 };
    static const int places[] = {0, 1, 63, 64, 127, 128, 255, 256, 298, 299};
    const float bad[] = {NAN, -NAN, INFINITY, -INFINITY, float_of_bits(0x7f800001), float_of_bits(0xffffffff)};
    for (int group = 64; group <= 256; group *= 2) {
        const struct problem p = {.m = 1, .n = 1, .k = K, .group = group};
        struct quant_rows rows;
        assert_int_equal(quant_rows_init(&rows, &p, true, true), MT_OK);
        for (int plain = 0; plain < 2; plain++) {
            vectors_plain = plain;
            for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
                for (size_t j = 0; j < sizeof bad / sizeof *bad; j++) {
                    float w[K];
                    for (int k = 0; k < K; k++)
                        w[k] = k % 2 ? 3.4e38f : -3.4e38f; /* the largest that are */
                    assert_int_equal(quant_rows_take(&rows, 0, w), -1);
                    w[places[i]] = bad[j];
                    w[K - 1] = places[i] % 2 ? NAN : w[K - 1];
                    assert_int_equal(quant_rows_take(&rows, 0, w), places[i]);
                }
            }
        }
        vectors_plain = false;
        quant_rows_release(&rows);
    }
}

static void codes_from_elsewhere_are_checked(void **state) {
    (void)state;
    enum { K = 300 };
    struct problem p = {.m = 1, .n = 3, .k = K, .group = 128};
    struct quant_rows rows;
    int8_t q[K];
    uint16_t scales[3] = {0x3c00, 0, 0x7bff};
    uint8_t zeros[3] = {0, 15, 3};
    for (int k = 0; k < K; k++)
        q[k] = (int8_t)(k % 16);
    assert_int_equal(quant_rows_init(&rows, &p, true, true), MT_OK);
    assert_int_equal(quant_rows_import(&rows, MT_PART_W4, 1, q, scales, zeros), -1);
    assert_memory_equal(rows.q[MT_PART_W4] + rows.k_padded, q, K);
    for (int k = K; k < rows.k_padded; k++)
        assert_int_equal(rows.q[MT_PART_W4][rows.k_padded + k], 3);
    assert_memory_equal(rows.scales[MT_PART_W4] + 3, scales, sizeof scales);
    assert_memory_equal(rows.zeros + 3, zeros, sizeof zeros);
    assert_int_equal(quant_rows_import(&rows, MT_PART_W4, 2, q, scales, NULL), -1);
    for (int g = 0; g < 3; g++)
        assert_int_equal(rows.zeros[6 + g], 8);
    for (int k = 0; k < rows.k_padded; k++) /* the row beside it stays */
        assert_int_equal(rows.q[MT_PART_W4][k], 0);
    static const int8_t outside[] = {16, -1, 127, -128};
    for (int i = 0; i < 4; i++) {
        q[170 + i] = outside[i];
        assert_int_equal(quant_rows_import(&rows, MT_PART_W4, 0, q, scales, zeros), 170 + i);
        assert_int_equal(quant_rows_import(&rows, MT_PART_W8, 0, q, scales, NULL), -1);
        q[170 + i] = 15;
    }
    zeros[1] = 16;
    assert_int_equal(quant_rows_import(&rows, MT_PART_W4, 0, q, scales, zeros), 128);
    assert_int_equal(quant_rows_import(&rows, MT_PART_W8, 0, q, scales, zeros), -1); /* not read */
    for (int k = K; k < rows.k_padded; k++)
        assert_int_equal(rows.q[MT_PART_W8][k], 0);
    zeros[1] = 15;
    static const uint16_t infinite[] = {0x7c00, 0xfc00, 0x7e00, 0x7c01};
    for (int i = 0; i < 4; i++) {
        scales[2] = infinite[i];
        assert_int_equal(quant_rows_import(&rows, MT_PART_W4, 0, q, scales, zeros), 256);
        assert_int_equal(quant_rows_import(&rows, MT_PART_W8, 0, q, scales, NULL), 256);
    }
    scales[2] = 0x8001;
    assert_int_equal(quant_rows_import(&rows, MT_PART_W4, 0, q, scales, zeros), -1);
    quant_rows_release(&rows);
    p.symmetric = true;
    assert_int_equal(quant_rows_init(&rows, &p, false, true), MT_OK);
    assert_null(rows.zeros);
    assert_int_equal(quant_rows_import(&rows, MT_PART_W4, 0, q, scales, zeros), 0);
    memset(zeros, 8, sizeof zeros);
    assert_int_equal(quant_rows_import(&rows, MT_PART_W4, 0, q, scales, zeros), -1);
    zeros[2] = 9;
    assert_int_equal(quant_rows_import(&rows, MT_PART_W4, 0, q, scales, zeros), 256);
    assert_int_equal(quant_rows_import(&rows, MT_PART_W4, 0, q, scales, NULL), -1);
    assert_int_equal(rows.q[MT_PART_W4][rows.k_padded - 1], 8);
    quant_rows_release(&rows);
}

/* Rows taken apart and imported are the same layer. */
static void imported_rows_are_packed_alike(void **state) {
    (void)state;
    enum { N = 2 * KINDS };
    srand48(6);
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        const struct problem p = {.m = 1, .n = N, .k = 333, .group = 64, .symmetric = symmetric};
        float *w = nasty_weights(N, p.k);
        uint8_t is8[N];
        struct quant_rows made, back;
        struct quant_layer a, b;
        assert_int_equal(quant_rows_init(&made, &p, true, true), MT_OK);
        assert_int_equal(quant_rows_init(&back, &p, true, true), MT_OK);
        take_all(&made, w);
        for (int row = 0; row < N; row++) {
            is8[row] = row % 3 == 1 ? 255 : 0;
            for (int i = 0; i < MT_PARTS; i++)
                assert_int_equal(quant_rows_import(&back, i, row, made.q[i] + row * made.k_padded,
                                                   made.scales[i] + row * made.groups,
                                                   made.zeros ? made.zeros + row * made.groups : NULL),
                                 -1);
        }
        assert_int_equal(quant_rows_pack(&made, is8, &a), MT_OK);
        assert_int_equal(quant_rows_pack(&back, is8, &b), MT_OK);
        assert_same_layer(&a, &b);
        quant_layer_release(&a);
        quant_layer_release(&b);
        quant_rows_release(&made);
        quant_rows_release(&back);
        free(w);
    }
}

static void widths_that_are_not_there_are_refused(void **state) {
    (void)state;
    struct problem p = {.m = 1, .n = 3, .k = 70, .group = 64};
    const uint8_t none[3] = {0}, all[3] = {1, 1, 1}, some[3] = {1, 1, 0};
    float w[3 * 70] = {1};
    struct quant_rows rows;
    struct quant_layer layer;
    assert_int_equal(quant_rows_init(&rows, &p, false, false), MT_USAGE);
    assert_null(rows.q[0]);
    assert_int_equal(quant_rows_init(&rows, &p, true, false), MT_OK);
    assert_null(rows.zeros);
    take_all(&rows, w);
    assert_int_equal(quant_rows_pack(&rows, all, &layer), MT_OK);
    assert_int_equal(layer.part[MT_PART_W8].rows, 3);
    quant_layer_release(&layer);
    assert_int_equal(quant_rows_pack(&rows, some, &layer), MT_USAGE);
    assert_string_equal(fail_message(), "feature 2 is to have 4 bits, but the rows were not quantised to that width");
    assert_null(layer.part[MT_PART_W8].packed);
    quant_rows_release(&rows);
    assert_int_equal(quant_rows_init(&rows, &p, false, true), MT_OK);
    take_all(&rows, w);
    assert_int_equal(quant_rows_pack(&rows, none, &layer), MT_OK);
    quant_layer_release(&layer);
    assert_int_equal(quant_rows_pack(&rows, some, &layer), MT_USAGE);
    assert_non_null(strstr(fail_message(), "feature 0 is to have 8 bits"));
    quant_rows_release(&rows);
    p.group = 96;
    assert_int_equal(quant_rows_init(&rows, &p, true, true), MT_USAGE);
    assert_non_null(strstr(fail_message(), "group size"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_choice_is_the_layer_of_that_choice),
        cmocka_unit_test(rows_are_as_defined),
        cmocka_unit_test(no_other_code_is_nearer),
        cmocka_unit_test(clipping_raises_no_error),
        cmocka_unit_test(of_equal_ratios_the_largest_is_taken),
        cmocka_unit_test(the_smallest_ratio_is_tried),
        cmocka_unit_test(half_way_goes_to_the_even_one),
        cmocka_unit_test(threads_and_vectors_change_nothing),
        cmocka_unit_test(widths_do_not_change_each_other),
        cmocka_unit_test(the_first_weight_that_is_not_finite_is_told),
        cmocka_unit_test(codes_from_elsewhere_are_checked),
        cmocka_unit_test(imported_rows_are_packed_alike),
        cmocka_unit_test(widths_that_are_not_there_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
