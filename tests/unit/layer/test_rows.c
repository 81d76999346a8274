/* Rows quantised one by one at both widths: against quant_layer_init(), and against the definition of the numbers. */
#include "runtime/base/str.h"
#include "runtime/layer/pack.h"
#include "runtime/layer/round.h"
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

/* A weight of a group of the given kind. */
enum kind { ORDINARY, ABOVE, BELOW, CONSTANT, ZERO, MINUS_ZERO, SMALL, DENORMAL, HUGE, MIXED, TIES, OUTLIER, KINDS };
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
    case TIES: /* halves of a step of 4 bits and of 8 */
        return k % 64 == 0 ? 127 : (float)(lrand48() % 255 - 127) / 2;
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

static void any_choice_is_the_layer_of_that_choice(void **state) {
    (void)state;
    static const int sizes[][2] = {{1, 1}, {5, 300}, {16, 128}, {33, 257}, {48, 384}, {37, 700}, {17, 40}};
    srand48(1);
    for (int trial = 0; trial < 7 * 3 * 2 * 3; trial++) {
        const int *size = sizes[trial % 7];
        struct problem p = {.m = 1, .n = size[0], .k = size[1], .group = 64 << trial / 7 % 3};
        p.symmetric = trial / 21 % 2;
        float *w = nasty_weights(p.n, p.k);
        uint8_t *is8 = xcalloc((size_t)p.n, 1);
        for (int i = 0; i < p.n; i++) {
            is8[i] = trial / 42 == 0 ? 0 : trial / 42 == 1 ? 1 : lrand48() % 3 == 0;
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
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_choice_is_the_layer_of_that_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
