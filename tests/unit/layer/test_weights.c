/* Weights: without zero points, small, imported, and with a random choice of what keeps 8 bits. */
#include "runtime/base/str.h"
#include "runtime/layer/half.h"
#include "runtime/layer/pack.h"
#include "runtime/layer/quant.h"
#include "templates/gemm_args.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

static float uniform(void) {
    return (float)drand48() * 2 - 1;
}

static float *random_weights(int n, int k, float size) {
    float *w = xmalloc(sizeof *w * (size_t)n * (size_t)k);
    for (int at = 0; at < n * k; at++)
        w[at] = uniform() * size;
    return w;
}

/* ---- symmetric ---- */

/* s = 2 max|w| / 15 in fp32 and then fp16; q = round(w / s) + 8 within 0..15; no zero points anywhere. */
static void symmetric_weights_follow_the_formula(void **state) {
    (void)state;
    struct problem p = {.m = 1, .n = 40, .k = 300, .group = 128, .rows8 = 13, .symmetric = true};
    float *w = random_weights(40, 300, 1);
    for (int at = 0; at < 40 * 300; at++) /* sizes that differ, groups above and below zero */
        w[at] = (w[at] + (float)(at / 300 % 5 - 2)) * ldexpf(1, at / 300 % 7 - 4);
    w[0] = 0.5f; /* halves of a step, which go to the even code */
    struct quant_layer layer;
    assert_int_equal(quant_layer_init(&layer, &p, w, NULL), MT_OK);
    const struct quant_part *part = &layer.part[MT_PART_W4];
    assert_int_equal(part->rows, 27);
    assert_null(part->zeros);
    assert_null(layer.part[MT_PART_W8].zeros);
    int seen[16] = {0};
    for (int row = 0; row < part->rows; row++)
        for (int k = 0; k < layer.k_padded; k++) {
            const int g = k / 128, q = part->q[row * layer.k_padded + k];
            const float *from = w + part->columns[row] * 300;
            float most = 0;
            for (int i = g * 128; i < (g + 1) * 128 && i < 300; i++)
                most = fmaxf(most, fabsf(from[i]));
            const volatile float step = 2 * most / 15;
            const float s = half_to_float(half_from_float(step));
            assert_true(half_to_float(part->scales[g * part->padded_rows + row]) == s);
            assert_int_equal(q, k < 300 ? (int)fmaxf(0, fminf(15, rintf(from[k] / s) + 8)) : 8);
            seen[q] += k < 300;
        }
    for (int q = 0; q < 16; q++)
        assert_true(seen[q] > 0);
    quant_layer_release(&layer);
    free(w);
}

/* q [n][k], scales and zero points of a layer, as a checkpoint has them. */
struct checkpoint {
    int8_t *q;
    uint16_t *scales;
    uint8_t *zeros, *is8;
};

static struct checkpoint checkpoint_of(const struct quant_layer *layer) {
    const size_t n = (size_t)layer->n, k = (size_t)layer->k, groups = (size_t)layer->groups;
    struct checkpoint c = {xmalloc(n * k), xcalloc(groups * n, sizeof *c.scales), xmalloc(groups * n), xcalloc(n, 1)};
    for (int i = 0; i < MT_PARTS; i++) {
        const struct quant_part *part = &layer->part[i];
        for (int row = 0; row < part->rows; row++) {
            const size_t column = (size_t)(part->columns ? part->columns[row] : row);
            c.is8[column] = part->bits == 8;
            memcpy(c.q + column * k, part->q + (size_t)row * (size_t)layer->k_padded, k);
            for (size_t g = 0; g < groups; g++) {
                const size_t at = g * (size_t)part->padded_rows + (size_t)row;
                c.scales[g * n + column] = part->scales[at];
                c.zeros[g * n + column] = (uint8_t)quant_zero(part, at);
            }
        }
    }
    return c;
}

static void checkpoint_release(struct checkpoint *c) {
    free(c->q);
    free(c->scales);
    free(c->zeros);
    free(c->is8);
}

static void assert_same_bytes(const struct quant_layer *a, const struct quant_layer *b) {
    for (int i = 0; i < MT_PARTS; i++) {
        const struct quant_part *x = &a->part[i], *y = &b->part[i];
        assert_int_equal(x->rows, y->rows);
        if (x->rows == 0)
            continue;
        assert_memory_equal(x->packed, y->packed, packed_bytes(x->bits, x->padded_rows, a->k_padded));
        assert_memory_equal(x->scales, y->scales, (size_t)a->groups * (size_t)x->padded_rows * sizeof *x->scales);
        assert_int_equal(!x->columns, !y->columns);
        if (x->columns)
            assert_memory_equal(x->columns, y->columns, (size_t)x->rows * sizeof *x->columns);
    }
}

/* A symmetric layer is one whose zero points are all 8: imported as either it has the same bytes. */
static void symmetric_layers_have_the_bytes_of_eights(void **state) {
    (void)state;
    static const int shapes[][4] = {{1, 1, 64, 0}, {33, 257, 64, 0}, {40, 300, 128, 13}, {17, 129, 256, 16}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct problem p = {.m = 1,
                            .n = shapes[i][0],
                            .k = shapes[i][1],
                            .group = shapes[i][2],
                            .rows8 = shapes[i][3],
                            .symmetric = true};
        struct quant_layer made, back;
        assert_int_equal(quant_layer_random(&made, &p, i), MT_OK);
        assert_null(made.part[MT_PART_W4].zeros);
        struct checkpoint c = checkpoint_of(&made);
        struct quant_codes codes = {c.q, c.scales, NULL};
        for (int zeros = 0; zeros < 2; zeros++) { /* none; and 8 everywhere */
            codes.zeros = zeros ? c.zeros : NULL;
            assert_int_equal(quant_layer_import(&back, &p, &codes, c.is8), MT_OK);
            assert_null(back.part[MT_PART_W4].zeros);
            assert_same_bytes(&made, &back);
            quant_layer_release(&back);
        }
        p.symmetric = false;
        assert_int_equal(quant_layer_import(&back, &p, &codes, c.is8), MT_OK);
        for (int g = 0; g * p.group < p.k; g++)
            for (int row = 0; row < p.n - p.rows8; row++)
                assert_int_equal(back.part[MT_PART_W4].zeros[g * back.part[MT_PART_W4].padded_rows + row], 8);
        assert_same_bytes(&made, &back);
        quant_layer_release(&back);
        quant_layer_release(&made);
        checkpoint_release(&c);
    }
}

static void other_zero_points_are_refused(void **state) {
    (void)state;
    struct problem p = {.m = 1, .n = 37, .k = 300, .group = 128, .rows8 = 9, .symmetric = true};
    struct quant_layer made, back;
    char place[64];
    assert_int_equal(quant_layer_random(&made, &p, 5), MT_OK);
    struct checkpoint c = checkpoint_of(&made);
    const struct quant_codes codes = {c.q, c.scales, c.zeros};
    const int narrow = made.part[MT_PART_W4].columns[3], wide = made.part[MT_PART_W8].columns[2];
    c.zeros[37 + wide] = 99; /* not read */
    assert_int_equal(quant_layer_import(&back, &p, &codes, c.is8), MT_OK);
    quant_layer_release(&back);
    c.zeros[37 + narrow] = 7;
    assert_int_equal(quant_layer_import(&back, &p, &codes, c.is8), MT_USAGE);
    snprintf(place, sizeof place, "feature %d, from input 128 on", narrow);
    assert_non_null(strstr(fail_message(), place));
    assert_non_null(strstr(fail_message(), "zero points 8 in a symmetric layer"));
    assert_null(back.part[MT_PART_W4].q);
    p.symmetric = false;
    assert_int_equal(quant_layer_import(&back, &p, &codes, c.is8), MT_OK);
    quant_layer_release(&back);
    quant_layer_release(&made);
    checkpoint_release(&c);
}

/* ---- ordinary weights ---- */

static uint64_t fold(uint64_t hash, const void *bytes, size_t count) { /* FNV-1a */
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3;
    return hash;
}

/* What packed files hold stays: the hash is from when scales stopped at 2^-14. */
static void ordinary_weights_keep_their_bits(void **state) {
    (void)state;
    struct problem p = {.m = 1, .n = 40, .k = 300, .group = 128, .rows8 = 13};
    struct quant_layer layer;
    float w[40 * 300];
    for (int at = 0; at < 40 * 300; at++) /* between -0.5 and 0.5, and shares of it */
        w[at] = ldexpf((float)(at * 7919 % 10007) / 10007 - 0.5f, -(at / 300 % 4));
    assert_int_equal(quant_layer_init(&layer, &p, w, NULL), MT_OK);
    uint64_t hash = 0xcbf29ce484222325;
    for (int i = 0; i < MT_PARTS; i++) {
        const struct quant_part *part = &layer.part[i];
        const size_t count = (size_t)layer.groups * (size_t)part->padded_rows;
        hash = fold(hash, part->packed, packed_bytes(part->bits, part->padded_rows, layer.k_padded));
        hash = fold(hash, part->scales, count * sizeof *part->scales);
        hash = fold(hash, part->columns, (size_t)part->rows * sizeof *part->columns);
        hash = part->bits == 4 ? fold(hash, part->zeros, count) : hash;
    }
    assert_int_equal(hash, 0xfcf6638018535b91);
    quant_layer_release(&layer);
}

/* ---- small weights ---- */

/* Root mean square error over that of the weights. */
static double relative_error(const struct quant_layer *layer, const struct quant_part *part, const float *w) {
    double error = 0, size = 0;
    for (int row = 0; row < part->rows; row++)
        for (int k = 0; k < layer->k; k++) {
            const size_t at = (size_t)(k / layer->group * part->padded_rows + row);
            const double s = half_to_float(part->scales[at]), want = w[row * layer->k + k];
            const double got = (part->q[row * layer->k_padded + k] - quant_zero(part, at)) * s;
            error += (got - want) * (got - want);
            size += want * want;
        }
    return sqrt(error / size);
}

/* What an error has as its floor: half a step, and what rounding the scale to fp16 takes off the ends of the range. */
static void assert_close(const struct quant_layer *layer, const struct quant_part *part, const float *w) {
    for (int row = 0; row < part->rows; row++)
        for (int g = 0; g * layer->group < layer->k; g++) {
            const size_t at = (size_t)(g * part->padded_rows + row);
            const double s = half_to_float(part->scales[at]);
            const double unit = s < 0x1p-14 ? 0x1p-24 : ldexp(1, ilogb(s) - 10);
            assert_true(s >= 0x1p-24);
            for (int k = g * layer->group; k < (g + 1) * layer->group && k < layer->k; k++) {
                const double want = w[row * layer->k + k];
                const double got = (part->q[row * layer->k_padded + k] - quant_zero(part, at)) * s;
                const int largest = part->bits == 8 ? 127 : 15;
                if (!(fabs(got - want) <= s / 2 + largest * unit / 2 + 1e-6 * fabs(want)))
                    fail_msg("row %d k %d: %g became %g, scale %g", row, k, want, got, s);
            }
        }
}

/* Scales go down to fp16's smallest subnormal: 8 bits keep 0.5 % until their steps come near 2^-24. */
static void small_weights_keep_their_bits(void **state) {
    (void)state;
    static const struct {
        float size;
        double wide, narrow; /* largest relative error with 8 and with 4 bits */
    } cases[] = {{0.1f, 0.005, 0.08},  {0.002f, 0.005, 0.08}, {0.001f, 0.005, 0.08},
                 {1e-4f, 0.006, 0.08}, {3e-5f, 0.03, 0.08},   {1e-6f, 1, 0.11}};
    for (int kind = 0; kind < 3; kind++) /* 8 bits; 4 bits; 4 bits, symmetric */
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct problem p = {.m = 1, .n = 24, .k = 300, .group = 64, .rows8 = kind ? 0 : 24, .symmetric = kind == 2};
            float *w = random_weights(24, 300, cases[i].size);
            struct quant_layer layer;
            assert_int_equal(quant_layer_init(&layer, &p, w, NULL), MT_OK);
            const struct quant_part *part = &layer.part[kind ? MT_PART_W4 : MT_PART_W8];
            const double error = relative_error(&layer, part, w);
            if (!(error < (kind ? cases[i].narrow : cases[i].wide)))
                fail_msg("kind %d, weights of %g: error of %g", kind, (double)cases[i].size, error);
            assert_close(&layer, part, w);
            quant_layer_release(&layer);
            free(w);
        }
}

/* The scale of a group whose largest weight is `most`, which is positive, as is one other of its weights. */
static uint16_t scale_of(int kind, float most) {
    float w[64] = {most, most / 2};
    struct problem p = {.m = 1, .n = 1, .k = 64, .group = 64, .rows8 = kind == 0, .symmetric = kind == 2};
    struct quant_layer layer;
    assert_int_equal(quant_layer_init(&layer, &p, w, NULL), MT_OK);
    const struct quant_part *part = &layer.part[kind ? MT_PART_W4 : MT_PART_W8];
    const uint16_t scale = part->scales[0];
    for (int k = 2; k < 128; k++)
        assert_int_equal(part->q[k], k < 64 ? quant_zero(part, 0) : 0);
    quant_layer_release(&layer);
    return scale;
}

static void scales_are_rounded_to_the_nearest_subnormal(void **state) {
    (void)state;
    static const float steps[] = {127, 15, 7.5f};
    for (int kind = 0; kind < 3; kind++) {
        const float unit = 0x1p-24f * steps[kind]; /* the largest weight of a group whose scale is 2^-24 */
        assert_int_equal(scale_of(kind, 0), 1);
        assert_int_equal(scale_of(kind, 0x1p-149f), 1);
        assert_int_equal(scale_of(kind, unit / 4), 1); /* would be 0 */
        assert_int_equal(scale_of(kind, unit), 1);
        assert_int_equal(scale_of(kind, 1.25f * unit), 1);
        assert_int_equal(scale_of(kind, 1.5f * unit), 2); /* half way: even */
        assert_int_equal(scale_of(kind, 2.5f * unit), 2);
        assert_int_equal(scale_of(kind, 2.75f * unit), 3);
        assert_int_equal(scale_of(kind, 1023 * unit), 1023);
        assert_int_equal(scale_of(kind, 1024 * unit), 1024); /* 2^-14, the smallest normal one */
        assert_int_equal(scale_of(kind, 1e30f), 0x7bff);
    }
}

/* ---- the random choice ---- */

static void random_layers_choose_their_wide_features(void **state) {
    (void)state;
    enum { N = 40, SEEDS = 400 };
    int chosen[N] = {0}, neighbours = 0;
    for (int seed = 0; seed < SEEDS; seed++) {
        struct problem p = {.m = 1, .n = N, .k = 1, .group = 64, .rows8 = 10};
        struct quant_layer layer, again;
        assert_int_equal(quant_layer_random(&layer, &p, (uint64_t)seed), MT_OK);
        assert_int_equal(quant_layer_random(&again, &p, (uint64_t)seed), MT_OK);
        assert_same_bytes(&layer, &again);
        const struct quant_part *wide = &layer.part[MT_PART_W8], *narrow = &layer.part[MT_PART_W4];
        assert_int_equal(wide->rows, 10);
        assert_int_equal(narrow->rows, N - 10);
        bool has[N] = {false};
        for (int i = 0; i < N; i++) {
            const struct quant_part *part = i < 10 ? wide : narrow;
            const int row = i < 10 ? i : i - 10, column = part->columns[row];
            assert_in_range(column, 0, N - 1);
            assert_false(has[column]);
            has[column] = true;
            assert_true(row == 0 || part->columns[row - 1] < column);
            chosen[column] += i < 10;
            neighbours += i > 0 && i < 10 && wide->columns[row - 1] + 1 == column;
        }
        quant_layer_release(&layer);
        quant_layer_release(&again);
    }
    for (int i = 0; i < N; i++) /* 100 are expected, give or take 9 */
        assert_in_range(chosen[i], 60, 140);
    /* Each of 10 has a chosen one before it with a chance of 9 of 40: 2.25 times in a layer. */
    assert_in_range(neighbours, 2 * SEEDS, 5 * SEEDS / 2);
}

int main(void) {
    srand48(21);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(symmetric_weights_follow_the_formula),
        cmocka_unit_test(symmetric_layers_have_the_bytes_of_eights),
        cmocka_unit_test(other_zero_points_are_refused),
        cmocka_unit_test(ordinary_weights_keep_their_bits),
        cmocka_unit_test(small_weights_keep_their_bits),
        cmocka_unit_test(scales_are_rounded_to_the_nearest_subnormal),
        cmocka_unit_test(random_layers_choose_their_wide_features),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
