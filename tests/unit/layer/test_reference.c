/* The reference against a naive long double loop, and the verdict against planted errors. */
#include "runtime/base/str.h"
#include "runtime/layer/half.h"
#include "runtime/layer/pack.h"
#include "runtime/layer/reference.h"
#include "templates/gemm_args.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

struct fixture {
    struct problem p;
    struct quant_layer layer;
    struct quant_acts acts;
    struct reference ref;
    uint16_t *bias;
};

static void fixture_init(struct fixture *f, struct problem p) {
    f->p = p;
    uint16_t *x = xmalloc(sizeof *x * (size_t)p.m * (size_t)p.k);
    for (int i = 0; i < p.m * p.k; i++)
        x[i] = dtype_from_float(p.dtype, (float)drand48() * 4 - 2);
    f->bias = xmalloc(sizeof *f->bias * (size_t)p.n);
    for (int i = 0; i < p.n; i++)
        f->bias[i] = dtype_from_float(p.dtype, (float)drand48() * 4 - 2);
    assert_int_equal(quant_layer_random(&f->layer, &p, (uint64_t)lrand48()), MT_OK);
    assert_int_equal(quant_acts_init(&f->acts, &p, x), MT_OK);
    assert_int_equal(reference_init(&f->ref, &p, &f->layer, &f->acts, p.bias ? f->bias : NULL), MT_OK);
    free(x);
}

static void fixture_release(struct fixture *f) {
    quant_layer_release(&f->layer);
    quant_acts_release(&f->acts);
    reference_release(&f->ref);
    free(f->bias);
}

/* One output element as Y = sum_k x^[k] * w^[k], element by element, from the packed weights. */
static long double naive(const struct fixture *f, const struct quant_part *part, const int8_t *q, int row, int m) {
    long double sum = 0;
    for (int k = 0; k < f->layer.k_padded; k++) {
        int g = k / f->layer.group;
        long double w = q[(size_t)row * (size_t)f->layer.k_padded + (size_t)k];
        if (part->bits == 4)
            w -= f->p.symmetric ? 8 : part->zeros[g * part->padded_rows + row];
        w *= (long double)half_to_float(part->scales[g * part->padded_rows + row]);
        sum += w * f->acts.q[m * f->layer.k_padded + k] * (long double)f->acts.scales[g * f->p.m + m];
    }
    return sum;
}

static void reference_is_the_naive_sum(void **state) {
    (void)state;
    static const struct problem problems[] = {
        {.m = 3, .n = 37, .k = 300, .group = 128, .rows8 = 19, .dtype = DTYPE_F16, .bias = 1},
        {.m = 1, .n = 100, .k = 300, .group = 256, .rows8 = 10, .dtype = DTYPE_BF16},
        {.m = 5, .n = 16, .k = 129, .group = 64, .rows8 = 0, .dtype = DTYPE_F16},
        {.m = 3, .n = 21, .k = 300, .group = 64, .rows8 = 0, .symmetric = true, .dtype = DTYPE_F16},
        {.m = 2, .n = 33, .k = 129, .group = 256, .rows8 = 17, .symmetric = true, .dtype = DTYPE_BF16},
        {.m = 2, .n = 9, .k = 640, .group = 256, .rows8 = 9, .dtype = DTYPE_F16, .bias = 1},
    };
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++) {
        struct fixture f;
        fixture_init(&f, problems[i]);
        int covered = 0;
        for (int part_index = 0; part_index < MT_PARTS; part_index++) {
            const struct quant_part *part = &f.layer.part[part_index];
            int8_t *q = xcalloc((size_t)part->rows + 1, (size_t)f.layer.k_padded);
            if (part->rows)
                unpack_weights(part->bits, part->rows, part->padded_rows, f.layer.k_padded, part->packed, q);
            for (int row = 0; row < part->rows; row++, covered++) {
                int n = part->columns ? part->columns[row] : row;
                for (int m = 0; m < f.p.m; m++) {
                    long double want = naive(&f, part, q, row, m);
                    if (f.p.bias)
                        want += (long double)dtype_to_float(f.p.dtype, f.bias[n]);
                    double mass = f.ref.mass[m * f.p.n + n];
                    assert_true(mass > 0 && mass >= fabs(f.ref.y[m * f.p.n + n]) - 2);
                    assert_true(fabsl(want - (long double)f.ref.y[m * f.p.n + n]) <= 1e-14L * (long double)(mass + 2));
                }
            }
            free(q);
        }
        assert_int_equal(covered, f.p.n);
        fixture_release(&f);
    }
}

/* The same in double: P of each group exact, then the terms in the order of the groups. */
static void element_in_order(const struct fixture *f, const struct quant_part *part, int row, int m, double *y,
                             double *mass) {
    const struct quant_layer *layer = &f->layer;
    *y = *mass = 0;
    for (int g = 0; g < layer->groups; g++) {
        int64_t p = 0;
        for (int k = g * layer->group; k < (g + 1) * layer->group && k < layer->k_padded; k++) {
            int zero = part->bits == 8 ? 0 : f->p.symmetric ? 8 : part->zeros[g * part->padded_rows + row];
            p += (int64_t)f->acts.q[m * layer->k_padded + k] * (part->q[row * layer->k_padded + k] - zero);
        }
        double term = (double)f->acts.scales[g * f->p.m + m] *
                      (double)half_to_float(part->scales[g * part->padded_rows + row]) * (double)p;
        *y += term;
        *mass += fabs(term);
    }
}

static void check_in_order(const struct fixture *f, const struct reference *ref) {
    for (int index = 0; index < MT_PARTS; index++) {
        const struct quant_part *part = &f->layer.part[index];
        for (int row = 0; row < part->rows; row++)
            for (int m = 0; m < f->p.m; m++) {
                double y, mass;
                int n = part->columns ? part->columns[row] : row;
                element_in_order(f, part, row, m, &y, &mass);
                if (ref->y[m * f->p.n + n] != y || ref->mass[m * f->p.n + n] != mass)
                    fail_msg("%d,%d,%d group %d, element %d,%d: %a and %a for %a and %a", f->p.m, f->p.n, f->p.k,
                             f->p.group, m, n, ref->y[m * f->p.n + n], ref->mass[m * f->p.n + n], y, mass);
            }
    }
}

/* Bit for bit, with vectors and without, whatever is left over of tokens, features and K. */
static void reference_is_exact_in_order(void **state) {
    (void)state;
    static const int groups[] = {64, 128, 256}, shares[] = {0, 30, 100};
    for (int i = 0; i < 54; i++) {
        struct fixture f;
        struct reference plain;
        struct problem p = {.m = 1 + (int)(lrand48() % 9),
                            .n = 1 + (int)(lrand48() % 70),
                            .k = 1 + (int)(lrand48() % 700),
                            .group = groups[i % 3],
                            .symmetric = i / 9 % 2,
                            .dtype = i % 2 ? DTYPE_BF16 : DTYPE_F16};
        p.rows8 = (p.n * shares[i / 3 % 3] + 50) / 100;
        fixture_init(&f, p);
        reference_plain = true;
        assert_int_equal(reference_init(&plain, &p, &f.layer, &f.acts, NULL), MT_OK);
        reference_plain = false;
        check_in_order(&f, &f.ref);
        check_in_order(&f, &plain);
        reference_release(&plain);
        fixture_release(&f);
    }
}

/* The right output, rounded, in rows of n + 5. */
static uint16_t *output_of(const struct fixture *f) {
    int ldy = f->p.n + 5;
    uint16_t *y = xmalloc(sizeof *y * (size_t)f->p.m * (size_t)ldy);
    memset(y, 0xff, sizeof *y * (size_t)f->p.m * (size_t)ldy); /* NaN, as poisoned memory is */
    for (int m = 0; m < f->p.m; m++)
        for (int n = 0; n < f->p.n; n++)
            y[m * ldy + n] = dtype_from_float(f->p.dtype, (float)f->ref.y[m * f->p.n + n]);
    return y;
}

static void verdict_catches_planted_errors(void **state) {
    (void)state;
    for (int type = DTYPE_F16; type <= DTYPE_BF16; type++) {
        struct fixture f;
        fixture_init(&f,
                     (struct problem){.m = 7, .n = 33, .k = 256, .group = 128, .rows8 = 7, .dtype = (enum dtype)type});
        int ldy = f.p.n + 5;
        uint16_t *y = output_of(&f);
        struct verdict verdict;
        reference_compare(&f.ref, f.p.dtype, y, ldy, &verdict);
        assert_int_equal(verdict.wrong, 0);
        assert_true(verdict.worst > 0 && verdict.worst <= 0.51);
        static const int at[][2] = {{0, 0}, {3, 17}, {6, 32}};
        for (size_t i = 0; i < 3; i++) {
            int m = at[i][0], n = at[i][1];
            uint16_t *element = &y[m * ldy + n], right = *element;
            /* two units off, either way; the sign; a NaN; never written */
            const uint16_t planted[] = {(uint16_t)(right + 2), (uint16_t)(right - 2), (uint16_t)(right ^ 0x8000),
                                        (uint16_t)(right | 0x7fff), 0xffff};
            for (size_t j = 0; j < sizeof planted / sizeof *planted; j++) {
                *element = planted[j];
                reference_compare(&f.ref, f.p.dtype, y, ldy, &verdict);
                assert_int_equal(verdict.wrong, 1);
                assert_int_equal(verdict.first_m, m);
                assert_int_equal(verdict.first_n, n);
                assert_true(verdict.worst > 1 && verdict.allowed > 0);
            }
            *element = right;
        }
        free(y);
        fixture_release(&f);
    }
}

static void verdict_at_the_ends_of_the_range(void **state) {
    (void)state;
    double want[] = {0, 65503, 65519.5, 65600, 70000, -70000, 0x1p-24, 1, NAN}, mass[9] = {0};
    struct reference ref = {1, 9, want, mass};
    uint16_t right[] = {0, 0x7bff, 0x7bff, 0x7c00, 0x7c00, 0xfc00, 1, 0x3c00, 0x7e00};
    struct verdict verdict;
    reference_compare(&ref, DTYPE_F16, right, 9, &verdict);
    assert_int_equal(verdict.wrong, 1); /* nothing matches a reference that is not a number */
    assert_int_equal(verdict.first_n, 8);
    uint16_t wrong[] = {2, 0x7bfd, 0x7bfd, 0x7bff, 0x7bff, 0x7c00, 3, 0x3c02, 0};
    reference_compare(&ref, DTYPE_F16, wrong, 9, &verdict);
    assert_int_equal(verdict.wrong, 9);
    assert_int_equal(verdict.first_n, 0);
}

/* One element: the bits of an output that is to be `want`, whose terms add up to `mass` in size. */
struct element {
    double want, mass;
    uint16_t bits;
    bool right;
};

static void check_elements(enum dtype dtype, const struct element *elements, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const struct element *e = &elements[i];
        double want = e->want, mass = e->mass;
        struct reference ref = {1, 1, &want, &mass};
        struct verdict verdict;
        reference_compare(&ref, dtype, &e->bits, 1, &verdict);
        if (verdict.wrong != !e->right || (verdict.worst > 1) == e->right || isnan(verdict.worst))
            fail_msg("%s %#x for %a (mass %g): %ld wrong, worst %g", dtype_name(dtype), e->bits, e->want, e->mass,
                     verdict.wrong, verdict.worst);
    }
}

/* Right is one unit in the last place beside the answer, and not two: at 1, at both sides of a power of two, where
 * numbers get subnormal, below the smallest, and at 0. */
static void one_unit_and_not_two(void **state) {
    (void)state;
    static const struct element half[] = {
        {1, 0, 0x3c01, true},
        {1, 0, 0x3c02, false},
        {1, 0, 0x3bfe, true}, /* two of the smaller units below 1 */
        {1, 0, 0x3bfd, false},
        {-1, 0, 0xbc01, true},
        {-1, 0, 0xbc02, false},
        {-1, 0, 0x3c00, false},
        {0x1.ffep-1, 0, 0x3c00, true}, /* half a unit of 1, one of what it should be */
        {0x1.ffep-1, 0, 0x3c01, false},
        {1.5 + 0x1p-30, 0, 0x3e01, true},
        {1.5 - 0x1p-30, 0, 0x3e01, false}, /* a little over one unit */
        {1, 1024, 0x3c02, true},           /* 2^-20 of the mass is one unit more */
        {1, 1024, 0x3c03, false},
        {1, 1023, 0x3c02, false},
        {1, 1023, 0x3c01, true},
        {0x1p-13, 0, 0x0801, true},
        {0x1p-13, 0, 0x0802, false},
        {0x1p-14, 0, 0x0401, true},
        {0x1p-14, 0, 0x0402, false},
        {0x1p-14, 0, 0x03ff, true},
        {0x1p-14, 0, 0x03fe, false},
        {0x1p-15, 0, 0x0201, true}, /* subnormal: the unit shrinks no more */
        {0x1p-15, 0, 0x0202, false},
        {0x5p-24, 0, 0x0006, true},
        {0x5p-24, 0, 0x0007, false},
        {0x1p-24, 0, 0x0002, true},
        {0x1p-24, 0, 0x0003, false},
        {0x1p-24, 0, 0x0000, true},
        {0x1p-24, 0, 0x8001, false},
        {0x1p-40, 0, 0x0000, true},
        {0x1p-40, 0, 0x0001, true},
        {0x1p-40, 0, 0x0002, false},
        {0, 0, 0x8000, true},
        {0, 0, 0x0001, true},
        {0, 0, 0x8001, true},
        {0, 0, 0x0002, false},
    };
    static const struct element bfloat[] = {
        {1, 0, 0x3f81, true},         {1, 0, 0x3f82, false},        {1, 0, 0x3f7e, true},
        {1, 0, 0x3f7d, false},        {1, 8192, 0x3f82, true},      {1, 8191, 0x3f82, false},
        {0x1p-125, 0, 0x0101, true},  {0x1p-125, 0, 0x0102, false}, {0x1p-125, 0, 0x00fe, true},
        {0x1p-125, 0, 0x00fd, false}, {0x1p-126, 0, 0x0081, true},  {0x1p-126, 0, 0x0082, false},
        {0x1p-126, 0, 0x007f, true},  {0x1p-126, 0, 0x007e, false}, {0x1p-127, 0, 0x0041, true},
        {0x1p-127, 0, 0x0042, false}, {0x5p-133, 0, 0x0006, true},  {0x5p-133, 0, 0x0007, false},
        {0x1p-133, 0, 0x0000, true},  {0x1p-133, 0, 0x0002, true},  {0x1p-133, 0, 0x0003, false},
        {0x1p-160, 0, 0x0001, true},  {0x1p-160, 0, 0x0002, false}, {0, 0, 0x8000, true},
        {0, 0, 0x8001, true},         {0, 0, 0x0002, false},
    };
    check_elements(DTYPE_F16, half, sizeof half / sizeof *half);
    check_elements(DTYPE_BF16, bfloat, sizeof bfloat / sizeof *bfloat);
}

/* The largest number of fp16 is 65504, and from 65520 on rounding gives infinity: that is right where the answer may be
 * as large, with one unit (32) or what its mass allows. bf16: 0x1.fep127, 0x1.ffp127, and units of 2^120. */
static void infinity_where_it_may_be(void **state) {
    (void)state;
    static const struct element half[] = {
        {65504, 0, 0x7bff, true},
        {65504, 0, 0x7bfe, true},
        {65504, 0, 0x7bfd, false},
        {65504, 0, 0x7c00, true},
        {65488, 0, 0x7c00, true},
        {65487.9999, 0, 0x7c00, false},
        {-65488, 0, 0xfc00, true},
        {-65487.9999, 0, 0xfc00, false},
        {65488, 0, 0xfc00, false},
        {-65488, 0, 0x7c00, false},
        {1e30, 0, 0x7c00, true},
        {1e30, 0, 0xfc00, false},
        {65536, 0, 0x7bff, true},
        {65569, 0, 0x7bff, false},
        {65000, 488e0 * (1 << 20), 0x7c00, true},
        {65000, 487.9 * (1 << 20), 0x7c00, false},
        {1, 0, 0x7c00, false},
        {0, 0, 0x7c00, false},
        {INFINITY, 0, 0x7c00, false},
        {-INFINITY, 0, 0xfc00, false},
        {INFINITY, 0, 0x7bff, false},
        {NAN, 0, 0x7e00, false},
        {1, 0, 0x7e00, false},
        {1, 0, 0xfe00, false},
        {1e30, 0, 0x7e00, false},
        {NAN, 0, 0x3c00, false},
    };
    static const struct element bfloat[] = {
        {0x1.fep127, 0, 0x7f7f, true},  {0x1.fep127, 0, 0x7f7e, true},
        {0x1.fep127, 0, 0x7f7d, false}, {0x1.fep127, 0, 0x7f80, true},
        {0x1.fdp127, 0, 0x7f80, true},  {0x1.fcffffp127, 0, 0x7f80, false},
        {-0x1.fdp127, 0, 0xff80, true}, {-0x1.fcffffp127, 0, 0xff80, false},
        {0x1.fdp127, 0, 0xff80, false}, {0x1p200, 0, 0x7f80, true},
        {INFINITY, 0, 0x7f80, false},   {NAN, 0, 0x7fc0, false},
        {65600, 0, 0x7f80, false},      {1, 0, 0x7fc0, false},
    };
    check_elements(DTYPE_F16, half, sizeof half / sizeof *half);
    check_elements(DTYPE_BF16, bfloat, sizeof bfloat / sizeof *bfloat);
}

/* All that a verdict says, of an output with gaps: two wrong elements, the second of which is the worse. */
static void the_first_wrong_element_is_told(void **state) {
    (void)state;
    double want[6] = {1, 2, 3, 4, 5, 6}, mass[6] = {0, 0, 0, 0, 1 << 20, 0};
    struct reference ref = {2, 3, want, mass};
    /* rows of 4; 0x4400 is 4 */
    uint16_t y[8] = {0x3c00, 0x4001, 0x4200, 0x1234, 0x4404, 0x4500, 0x4700, 0x1234};
    struct verdict verdict;
    reference_compare(&ref, DTYPE_F16, y, 4, &verdict);
    assert_int_equal(verdict.wrong, 2);
    assert_int_equal(verdict.first_m, 1);
    assert_int_equal(verdict.first_n, 0);
    assert_true(verdict.got == 4.015625 && verdict.want == 4 && verdict.allowed == 0x1p-8);
    assert_true(verdict.worst == 256); /* 7 for 6, in units of 2^-8 */
    y[4] = 0x4400;
    y[6] = 0x4600;
    reference_compare(&ref, DTYPE_F16, y, 4, &verdict);
    assert_int_equal(verdict.wrong, 0);
    assert_int_equal(verdict.first_m, -1);
    assert_int_equal(verdict.first_n, -1);
    assert_true(verdict.worst == 1 && verdict.got == 0 && verdict.allowed == 0);
}

static void reference_refuses_other_shapes(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, (struct problem){.m = 2, .n = 3, .k = 64, .group = 64, .rows8 = 0});
    struct reference ref;
    for (int i = 0; i < 5; i++) {
        struct problem other = f.p;
        struct quant_acts acts = f.acts;
        *(int *[]){&other.n, &other.m, &other.k, &acts.k, &acts.group}[i] += 1;
        assert_int_equal(reference_init(&ref, &other, &f.layer, &acts, NULL), MT_USAGE);
        assert_string_equal(fail_message(),
                            "the layer, the activations and the problem of the reference differ in shape or group");
        assert_null(ref.y);
    }
    fixture_release(&f);
}

int main(void) {
    srand48(22);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_is_the_naive_sum),       cmocka_unit_test(verdict_catches_planted_errors),
        cmocka_unit_test(verdict_at_the_ends_of_the_range), cmocka_unit_test(one_unit_and_not_two),
        cmocka_unit_test(infinity_where_it_may_be),         cmocka_unit_test(the_first_wrong_element_is_told),
        cmocka_unit_test(reference_refuses_other_shapes),   cmocka_unit_test(reference_is_exact_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
