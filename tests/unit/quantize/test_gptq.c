/* The factor of a matrix beside plain loops; GPTQ beside plain rounding where there is nothing to feed back; what becomes of
 * numbers that are none. */
#include "runtime/base/parallel.h"
#include "runtime/base/str.h"
#include "runtime/layer/half.h"
#include "templates/gemm_args.h"
#include "tuner/quantize/blas.h"
#include "tuner/quantize/factor.h"
#include "tuner/quantize/gptq.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static float number(void) {
    return (float)(drand48() + drand48() + drand48() - 1.5);
}

/* ---- the factor ---- */

/* Of inputs that are as many as tokens, the diagonal raised a little: [n][stride], rows are padded with 7. */
static double *make_matrix(int n, int stride) {
    double *x = xmalloc((size_t)n * (size_t)n * sizeof *x), *a = xmalloc((size_t)n * (size_t)stride * sizeof *a);
    for (int i = 0; i < n * n; i++)
        x[i] = (double)number();
    for (int i = 0; i < n; i++)
        for (int j = 0; j < stride; j++) {
            double sum = i == j ? 0.01 * n : 0;
            for (int t = 0; t < n && j < n; t++)
                sum += x[i * n + t] * x[j * n + t];
            a[(size_t)i * (size_t)stride + (size_t)j] = j < n ? sum : 7;
        }
    free(x);
    return a;
}

static void check_factor(const double *l, const double *a, int n, int stride) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < stride; j++) {
            const size_t at = (size_t)i * (size_t)stride + (size_t)j;
            double sum = 0;
            for (int t = 0; t <= j && j <= i; t++)
                sum += l[i * stride + t] * l[j * stride + t];
            if (j <= i)
                assert_true(fabs(sum - a[at]) < 1e-10 * n);
            else
                assert_true(l[at] == a[at]); /* not touched */
        }
}

static void test_factor(void **state) {
    static const int sizes[] = {1, 2, 255, 256, 257, 600};
    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const int n = sizes[s], stride = n + 3;
        const size_t bytes = (size_t)n * (size_t)stride * sizeof(double);
        double *a = make_matrix(n, stride), *l[2];
        for (int i = 0; i < 2; i++) {
            l[i] = xmalloc(bytes);
            memcpy(l[i], a, bytes);
            parallel_limit(i + 1);
            assert_true(factor_cholesky(l[i], n, stride));
        }
        assert_memory_equal(l[0], l[1], bytes);
        check_factor(l[0], a, n, stride);
        free(a);
        free(l[0]);
        free(l[1]);
    }
}

static void test_not_positive(void **state) {
    const int n = 300;
    (void)state;
    for (int wrong = 0; wrong < 3; wrong++) {
        double *a = make_matrix(n, n);
        if (wrong == 0)
            a[0] = -1;
        else if (wrong == 1)
            a[299 * n + 299] = 0; /* in the last tile */
        else
            a[270 * n + 10] = NAN;
        assert_false(factor_cholesky(a, n, n));
        free(a);
    }
}

/* ---- one layer ---- */

/* A layer of one part, with its Hessian: both are the caller's. */
struct layer {
    struct tensor weight, matrix;
    const struct tensor *weights[1];
    struct source source;
    struct fused fused;
    struct cut cut;
    struct rank rank;
    struct hessian h;
};

static void layer_init(struct layer *l, const float *w, int n, const float *h, int k) {
    *l = (struct layer){
        .weight = {.name = "w", .type = TENSOR_F32, .rank = 2, .shape = {n, k}, .data = (const uint8_t *)w},
        .matrix = {.name = "h", .type = TENSOR_F32, .rank = 2, .shape = {k, k}, .data = (const uint8_t *)h},
        .fused = {.name = (char *)(uintptr_t) "w", .n = n, .k = k, .part_count = 1},
        .cut = {.n = n, .k = k, .piece = {{.rows = n}}, .count = 1},
    };
    l->weights[0] = &l->weight;
    l->source.weight = l->weights;
    rank_init(&l->source, &l->fused, &l->cut, &l->rank);
}

static enum mt_status layer_factor(struct layer *l, bool clip) {
    const struct hessian_plan plan = {.group = 64, .damping = 0.01, .blocks = clip};
    return hessian_factor(&l->matrix, "the layer", &l->cut, &plan, &l->h);
}

static enum mt_status layer_round(struct layer *l, const struct gptq_plan *plan, bool symmetric,
                                  struct quant_rows *rows) {
    const struct problem p = {.m = 1, .n = l->cut.n, .k = l->cut.k, .group = 64, .symmetric = symmetric};
    assert_int_equal(quant_rows_init(rows, &p, true, true), MT_OK);
    return gptq_round(&l->rank, &l->h, plan, rows);
}

static void same_rows(const struct quant_rows *found, const struct quant_rows *expected) {
    const size_t n = (size_t)expected->n, groups = (size_t)expected->groups, k = (size_t)expected->k_padded;
    for (int i = 0; i < MT_PARTS; i++) {
        assert_memory_equal(found->q[i], expected->q[i], n * k);
        assert_memory_equal(found->scales[i], expected->scales[i], n * groups * sizeof *expected->scales[i]);
    }
    if (expected->zeros)
        assert_memory_equal(found->zeros, expected->zeros, n * groups);
}

/* Inputs that do not depend on each other: there is nothing to feed back, in whatever order they are taken. */
static void test_independent(void **state) {
    enum { N = 130, K = 200 };
    static float w[N * K], h[K * K];
    (void)state;
    for (int i = 0; i < N * K; i++)
        w[i] = number();
    for (int i = 0; i < K; i++)
        h[i * K + i] = i % 7 ? 1 + (float)drand48() * 100 : 0;
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        const struct problem p = {.m = 1, .n = N, .k = K, .group = 64, .symmetric = symmetric};
        struct quant_rows plain, rows;
        struct layer l;
        layer_init(&l, w, N, h, K);
        assert_int_equal(layer_factor(&l, false), MT_OK);
        assert_int_equal(layer_round(&l, &(struct gptq_plan){.feedback = true}, symmetric, &rows), MT_OK);
        assert_int_equal(quant_rows_init(&plain, &p, true, true), MT_OK);
        for (int i = 0; i < N; i++)
            assert_int_equal(quant_rows_take(&plain, i, w + i * K), -1);
        same_rows(&rows, &plain);
        quant_rows_release(&plain);
        quant_rows_release(&rows);
        hessian_release(&l.h);
    }
}

/* Of all inputs the same multiple of one: only their sum counts, so that what is lost is less than one step of one of
 * them, in every row, while plain rounding loses that of many. */
static void test_alike(void **state) {
    enum { N = 70, K = 128 };
    static float w[N * K], h[K * K];
    struct quant_rows rows, plain;
    struct layer l;
    (void)state;
    for (int i = 0; i < N * K; i++)
        w[i] = number();
    for (int i = 0; i < K * K; i++)
        h[i] = i % (K + 1) ? 1 : 1.001f;
    layer_init(&l, w, N, h, K);
    assert_int_equal(layer_factor(&l, false), MT_OK);
    assert_int_equal(layer_round(&l, &(struct gptq_plan){.feedback = true}, false, &rows), MT_OK);
    assert_int_equal(layer_round(&l, &(struct gptq_plan){.feedback = false}, false, &plain), MT_OK);
    double sum = 0, sum_plain = 0;
    for (int r = 0; r < N; r++) {
        double change = 0;
        for (int i = 0; i < K; i++) {
            const size_t at = (size_t)(r * rows.groups + i / 64);
            change += (rows.q[MT_PART_W4][r * rows.k_padded + i] - rows.zeros[at]) *
                          (double)half_to_float(rows.scales[MT_PART_W4][at]) -
                      (double)w[r * K + i];
        }
        assert_true(fabs(change) < 0.3); /* steps are 0.2 */
        sum += rows.error[MT_PART_W4][r];
        sum_plain += plain.error[MT_PART_W4][r];
    }
    assert_true(sum < sum_plain / 10);
    quant_rows_release(&rows);
    quant_rows_release(&plain);
    hessian_release(&l.h);
}

/* What groups lose can cancel out, so that less in each may be more in all: then nothing is clipped. */
static void test_clip(void **state) {
    enum { K = 256, LAYERS = 60 };
    static float w[K], h[K * K];
    int better = 0, same = 0;
    (void)state;
    for (int i = 0; i < K * K; i++)
        h[i] = i % (K + 1) ? 1 : 1.001f;
    for (int i = 0; i < LAYERS; i++) {
        struct quant_rows plain, clipped;
        struct layer l;
        for (int j = 0; j < K; j++)
            w[j] = number();
        layer_init(&l, w, 1, h, K);
        assert_int_equal(layer_factor(&l, true), MT_OK);
        assert_int_equal(layer_round(&l, &(struct gptq_plan){.feedback = false}, false, &plain), MT_OK);
        assert_int_equal(layer_round(&l, &(struct gptq_plan){.feedback = false, .clip = true}, false, &clipped), MT_OK);
        for (int width = 0; width < MT_PARTS; width++) {
            assert_true(clipped.error[width][0] <= plain.error[width][0]);
            better += clipped.error[width][0] < plain.error[width][0];
            same += clipped.error[width][0] == plain.error[width][0];
        }
        quant_rows_release(&plain);
        quant_rows_release(&clipped);
        hessian_release(&l.h);
    }
    assert_true(better > LAYERS / 2);
    assert_true(same > 0);
}

/* ---- what is no number ---- */

static void test_overflow(void **state) {
    enum { N = 3, K = 96 };
    static float w[N * K], h[K * K];
    struct quant_rows rows;
    struct layer l;
    (void)state;
    for (int i = 0; i < K * K; i++)
        h[i] = i % (K + 1) ? 1 : 1.001f;
    for (int i = 0; i < K; i++)
        w[K + i] = i < 64 ? 3e38f : 0.1f; /* far above the largest scale, so that all is fed back to 32 */
    layer_init(&l, w, N, h, K);
    assert_int_equal(layer_factor(&l, false), MT_OK);
    assert_int_equal(layer_round(&l, &(struct gptq_plan){.feedback = true}, false, &rows), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "feature 1 of w infinite"));
    quant_rows_release(&rows);
    w[K] = INFINITY;
    assert_int_equal(layer_round(&l, &(struct gptq_plan){.feedback = true}, false, &rows), MT_USAGE);
    assert_non_null(strstr(fail_message(), "tensor w, row 1, column 0 is inf"));
    quant_rows_release(&rows);
    hessian_release(&l.h);
}

static void test_zero(void **state) {
    static float w[64], h[64 * 64];
    struct layer l;
    (void)state;
    layer_init(&l, w, 1, h, 64);
    assert_int_equal(layer_factor(&l, true), MT_OK);
    assert_null(l.h.factor);
    hessian_release(&l.h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_factor), cmocka_unit_test(test_not_positive), cmocka_unit_test(test_independent),
        cmocka_unit_test(test_alike),  cmocka_unit_test(test_clip),         cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_zero),
    };
    if (blas_open()) {
        fprintf(stderr, "%s\n", fail_message());
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
