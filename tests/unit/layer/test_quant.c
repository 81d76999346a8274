/* Number formats, problems, weight and activation quantisation. */
#include "runtime/base/str.h"
#include "runtime/layer/half.h"
#include "runtime/layer/pack.h"
#include "runtime/layer/quant.h"
#include "templates/gemm_args.h"
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

static struct problem problem_of(int m, int n, int k, int group, int pct8) {
    return (struct problem){
        .m = m, .n = n, .k = k, .group = group, .rows8 = (int)(((long)n * pct8 + 50) / 100), .dtype = DTYPE_F16};
}

static float uniform(void) {
    return (float)drand48() * 2 - 1;
}

/* ---- half and bfloat16 ---- */

/* The value of a 16-bit pattern, from the definition of the format. */
static double value_of(uint16_t bits, int mantissa_bits, int bias) {
    int exponent_mask = (1 << (15 - mantissa_bits)) - 1;
    int exponent = bits >> mantissa_bits & exponent_mask, mantissa = bits & ((1 << mantissa_bits) - 1);
    double value;
    if (exponent == exponent_mask)
        value = mantissa ? NAN : INFINITY;
    else if (exponent == 0)
        value = ldexp(mantissa, 1 - bias - mantissa_bits);
    else
        value = ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
    return bits & 0x8000 ? -value : value;
}

static void formats_match_their_definition(void **state) {
    (void)state;
    for (unsigned bits = 0; bits < 65536; bits++) {
        double half = value_of((uint16_t)bits, 10, 15), wide = value_of((uint16_t)bits, 7, 127);
        if (isnan(half))
            assert_true(isnan(half_to_float((uint16_t)bits)) && isnan(half_to_float(half_from_float(NAN))));
        else
            assert_true((double)half_to_float((uint16_t)bits) == half && half_from_float((float)half) == bits);
        if (isnan(wide))
            assert_true(isnan(bf16_to_float((uint16_t)bits)) &&
                        isnan(bf16_to_float(bf16_from_float(bf16_to_float((uint16_t)bits)))));
        else
            assert_true((double)bf16_to_float((uint16_t)bits) == wide && bf16_from_float((float)wide) == bits);
    }
}

/* Every pattern, wherever it stands in a run, with this machine's vectors and without. */
static void runs_are_converted_as_single_numbers(void **state) {
    (void)state;
    enum { PATTERNS = 65536, BEYOND = 3 };
    uint16_t *bits = xmalloc(PATTERNS * sizeof *bits);
    float *out = xmalloc((PATTERNS + BEYOND) * sizeof *out);
    for (int i = 0; i < PATTERNS; i++)
        bits[i] = (uint16_t)(i * 40503); /* odd: every pattern once */
    for (int at = 0; at < 2 * 2 * 4; at++) {
        const bool half = at & 1;
        const int skipped = at >> 2, count = PATTERNS - skipped - (at >> 2 & 1);
        vectors_plain = at >> 1 & 1;
        for (int i = 0; i < BEYOND; i++)
            out[count + i] = 7;
        (half ? floats_from_half : floats_from_bf16)(bits + skipped, out, (size_t)count);
        for (int i = 0; i < count; i++) {
            const float want = half ? half_to_float(bits[skipped + i]) : bf16_to_float(bits[skipped + i]);
            assert_true(isnan(want) ? isnan(out[i]) : bits_of_float(want) == bits_of_float(out[i]));
        }
        for (int i = 0; i < BEYOND; i++)
            assert_true(out[count + i] == 7);
    }
    vectors_plain = false;
    free(bits);
    free(out);
}

/* Between two neighbours: below the middle goes down, above goes up, the middle goes to the even one. */
static void rounding_is_to_nearest_even(void **state) {
    (void)state;
    for (unsigned bits = 0; bits < 0x7bff; bits++) {
        float low = half_to_float((uint16_t)bits), high = half_to_float((uint16_t)(bits + 1)),
              middle = low / 2 + high / 2;
        assert_int_equal(half_from_float(nextafterf(middle, 0)), bits);
        assert_int_equal(half_from_float(nextafterf(middle, INFINITY)), bits + 1);
        assert_int_equal(half_from_float(middle), bits + (bits & 1));
        assert_int_equal(half_from_float(-middle), 0x8000 | (bits + (bits & 1)));
    }
    for (unsigned bits = 0; bits < 0x7f7f; bits += 3) {
        float low = bf16_to_float((uint16_t)bits), high = bf16_to_float((uint16_t)(bits + 1)),
              middle = low / 2 + high / 2;
        assert_int_equal(bf16_from_float(nextafterf(middle, 0)), bits);
        assert_int_equal(bf16_from_float(nextafterf(middle, INFINITY)), bits + 1);
        assert_int_equal(bf16_from_float(middle), bits + (bits & 1));
    }
    assert_int_equal(half_from_float(65519.996f), 0x7bff);
    assert_int_equal(half_from_float(65520.0f), 0x7c00);
    assert_int_equal(bf16_from_float(FLT_MAX), 0x7f80);
}

/* ---- problems ---- */

static void schemes_have_names(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int per_mille;
        bool symmetric;
    } known[] = {{"w4a8", 0, false},    {"w8a8", 1000, false},  {"p0", 0, false},        {"p10", 100, false},
                 {"p100", 1000, false}, {"p12.5", 125, false},  {"p0.1", 1, false},      {"p99.9", 999, false},
                 {"w4a8-sym", 0, true}, {"p10-sym", 100, true}, {"p33.3-sym", 333, true}};
    struct scheme scheme;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        assert_int_equal(scheme_parse(known[i].name, &scheme), MT_OK);
        assert_int_equal(scheme.per_mille, known[i].per_mille);
        assert_int_equal(scheme.symmetric, known[i].symmetric);
    }
    static const char *const unknown[] = {
        "",     "w",      "w4",     "w4a16",     "w3a8",   "w9a8", "w4.4a8",       "w6a8",    "p",    "p-1",
        "p101", "p100.1", "p10.25", "p1.",       "p.5",    "p10%", "x4a8",         "w4a8 ",   "fp16", "W4a8",
        "p+5",  "mixed",  "w4a8-",  "w4a8-asym", "p10-sy", "-sym", "p99999999999", "w8a8-sym"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        assert_int_equal(scheme_parse(unknown[i], &scheme), MT_USAGE);
        assert_true(*unknown[i] == 0 || strstr(fail_message(), unknown[i]));
        assert_true(strstr(fail_message(), ": w4a8, w8a8, or p10") || strstr(fail_message(), "; did you mean "));
    }
    assert_int_equal(scheme_parse("w3a8", &scheme), MT_USAGE);
    assert_string_equal(fail_message(), "unknown scheme \"w3a8\"; did you mean w4a8 or w8a8?");
    enum dtype dtype;
    assert_int_equal(dtype_parse("bf16", &dtype), MT_OK);
    assert_int_equal(dtype, DTYPE_BF16);
    assert_int_equal(dtype_parse("fp16", &dtype), MT_OK);
    assert_int_equal(dtype, DTYPE_F16);
    assert_int_equal(dtype_parse("fp8", &dtype), MT_USAGE);
    assert_string_equal(fail_message(), "unknown data type \"fp8\": fp16 or bf16");
}

static void problems_have_sizes(void **state) {
    (void)state;
    static const int padded[][2] = {{1, 128}, {127, 128}, {128, 128}, {129, 256}, {384, 384}, {385, 512}};
    for (size_t i = 0; i < sizeof padded / sizeof *padded; i++) {
        struct problem q = problem_of(1, 1, padded[i][0], 256, 0);
        assert_int_equal(problem_k_padded(&q), padded[i][1]);
        assert_int_equal(problem_groups(&q), (padded[i][1] + 255) / 256);
    }
    struct problem p = problem_of(3, 100, 300, 256, 10);
    assert_int_equal(problem_k_padded(&p), 384);
    assert_int_equal(problem_groups(&p), 2);
    assert_int_equal(p.rows8, 10);
    p = problem_of(1, 1, 1, 64, 50);
    assert_int_equal(problem_k_padded(&p), 128);
    assert_int_equal(problem_groups(&p), 2);
    assert_int_equal(p.rows8, 1);
    assert_int_equal(problem_check(&p), MT_OK);
    p.group = 96;
    assert_int_equal(problem_check(&p), MT_USAGE);
    p = problem_of(0, 1, 1, 64, 50);
    assert_int_equal(problem_check(&p), MT_USAGE);
    assert_non_null(strstr(fail_message(), "M is 0"));
}

/* The first and the last value of each member, and what the next one says. */
static void problems_have_limits(void **state) {
    (void)state;
    static const struct {
        struct problem p;
        const char *says; /* NULL: good */
    } cases[] = {
        {{.m = 1, .n = 1, .k = 1, .group = 64}, NULL},
        {{.m = 1 << 16, .n = 1 << 24, .k = 1 << 16, .group = 256, .rows8 = 1 << 24}, NULL},
        {{.m = 1 << 24, .n = 1 << 16, .k = 1 << 16, .group = 256}, NULL},
        {{.m = 1 << 16, .n = 1 << 16, .k = 1 << 24, .group = 256}, NULL},
        {{.m = 1 << 16, .n = 1 << 24, .k = 65537, .group = 64},
         "N x K is 16777216 x 65537; a matrix can have at most 1099511627776 elements"},
        {{.m = 1 << 24, .n = 65537, .k = 1, .group = 64}, "M x N is 16777216 x 65537;"},
        {{.m = 65537, .n = 1, .k = 1 << 24, .group = 64}, "K x M is 16777216 x 65537;"},
        {{.m = 1 << 24, .n = 1 << 24, .k = 1 << 24, .group = 64}, "M x N is 16777216 x 16777216;"},
        {{.m = 1, .n = 1, .k = 1, .group = 128}, NULL},
        {{.m = 0, .n = 1, .k = 1, .group = 64}, "M is 0; it must be between 1 and 16777216"},
        {{.m = 1, .n = 0, .k = 1, .group = 64}, "N is 0;"},
        {{.m = 1, .n = 1, .k = 0, .group = 64}, "K is 0;"},
        {{.m = 16777217, .n = 1, .k = 1, .group = 64}, "M is 16777217;"},
        {{.m = 1, .n = 16777217, .k = 1, .group = 64}, "N is 16777217;"},
        {{.m = 1, .n = 1, .k = 16777217, .group = 64}, "K is 16777217;"},
        {{.m = 1, .n = 1, .k = 1, .group = 32}, "the group size is 32; it must be 64, 128 or 256"},
        {{.m = 1, .n = 1, .k = 1, .group = 512}, "the group size is 512;"},
        {{.m = 1, .n = 1, .k = 1, .group = 64, .rows8 = -1},
         "-1 of 1 output features are to keep 8 bits; it must be between 0 and all"},
        {{.m = 1, .n = 1, .k = 1, .group = 64, .rows8 = 2}, "2 of 1 output features"},
    };
    struct quant_acts acts;
    uint16_t x = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(problem_check(&cases[i].p), cases[i].says ? MT_USAGE : MT_OK);
        if (!cases[i].says)
            continue;
        assert_ptr_equal(strstr(fail_message(), cases[i].says), fail_message());
        assert_int_equal(quant_acts_init(&acts, &cases[i].p, &x), MT_USAGE);
        assert_null(acts.q);
    }
    /* Half a feature is one. */
    const struct scheme one = {10, false}, ten = {100, false}, all = {1000, false};
    assert_int_equal(scheme_rows8(ten, 5), 1);
    assert_int_equal(scheme_rows8(ten, 4), 0);
    assert_int_equal(scheme_rows8(one, 49), 0);
    assert_int_equal(scheme_rows8(one, 50), 1);
    assert_int_equal(scheme_rows8(all, 1 << 24), 1 << 24);
}

static void problems_are_compared_in_every_member(void **state) {
    (void)state;
    const struct problem p = {.m = 1, .n = 2, .k = 3, .group = 64, .rows8 = 1, .dtype = DTYPE_F16, .bias = 0};
    struct problem q[7];
    for (int i = 0; i < 7; i++)
        q[i] = p;
    q[0].m++, q[1].n++, q[2].k++, q[3].group++, q[4].rows8++, q[5].dtype = DTYPE_BF16, q[6].bias++;
    assert_true(problem_equal(&p, &p));
    for (int i = 0; i < 7; i++)
        assert_false(problem_equal(&p, &q[i]));
}

/* ---- weights ---- */

static void part_check(const struct quant_layer *layer, const struct quant_part *part, const float *w) {
    for (int row = 0; row < part->rows; row++) {
        int column = part->columns ? part->columns[row] : row;
        for (int k = 0; k < layer->k_padded; k++) {
            size_t at = (size_t)(k / layer->group) * (size_t)part->padded_rows + (size_t)row;
            int q = part->q[(size_t)row * (size_t)layer->k_padded + (size_t)k];
            float s = half_to_float(part->scales[at]), got = (float)(q - quant_zero(part, at)) * s;
            assert_true(isfinite(s));
            assert_in_range(quant_zero(part, at), 0, part->bits == 4 ? 15 : 0);
            assert_true(part->bits == 4 ? q >= 0 && q <= 15 : q >= -127 && q <= 127); /* -128 is not made */
            if (k >= layer->k) {
                assert_true(got == 0);
                continue;
            }
            float want = w[(size_t)column * (size_t)layer->k + (size_t)k];
            /* Half a step, and what rounding the scale to fp16 takes off the ends of the range. */
            float bound =
                s / 2 + fmaxf(s * 0x1p-11f, 0x1p-25f) * (part->bits == 4 ? 15.0f : 127.0f) + 1e-6f * fabsf(want);
            if (!(fabsf(got - want) <= bound))
                fail_msg("row %d k %d: %g became %g, scale %g", row, k, (double)want, (double)got, (double)s);
        }
    }
}

static void weights_stay_within_half_a_step(void **state) {
    (void)state;
    static const int shapes[][3] = {{1, 1, 64}, {5, 300, 128}, {33, 257, 64}, {48, 384, 256}, {100, 1000, 256}};
    static const int percent[] = {0, 10, 50, 100};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        for (size_t j = 0; j < sizeof percent / sizeof *percent; j++) {
            struct problem p = problem_of(1, shapes[i][0], shapes[i][1], shapes[i][2], percent[j]);
            float *w = xmalloc(sizeof *w * (size_t)p.n * (size_t)p.k);
            for (int at = 0; at < p.n * p.k; at++) /* some groups lie on one side of zero */
                w[at] = uniform() * 0.1f + (at / p.k % 3 == 0 ? 0.3f : at / p.k % 7 == 0 ? -0.2f : 0);
            struct quant_layer layer;
            assert_int_equal(quant_layer_init(&layer, &p, w, NULL), MT_OK);
            assert_int_equal(layer.part[MT_PART_W8].rows, p.rows8);
            assert_int_equal(layer.part[MT_PART_W8].rows + layer.part[MT_PART_W4].rows, p.n);
            for (int part = 0; part < MT_PARTS; part++)
                part_check(&layer, &layer.part[part], w);
            quant_layer_release(&layer);
            free(w);
        }
    }
}

/* Scale, zero point and codes as quant.h and ARCHITECTURE.md have them, in the same arithmetic. */
static void weights_follow_the_formula(void **state) {
    (void)state;
    struct problem p = problem_of(1, 40, 300, 128, 50);
    float w[40 * 300];
    for (int at = 0; at < 40 * 300; at++) /* sizes that differ, groups above and below zero */
        w[at] = (uniform() + (float)(at / 300 % 5 - 2)) * ldexpf(1, at / 300 % 7 - 4);
    struct quant_layer layer;
    assert_int_equal(quant_layer_init(&layer, &p, w, NULL), MT_OK);
    for (int i = 0; i < MT_PARTS; i++) {
        const struct quant_part *part = &layer.part[i];
        assert_int_equal(part->rows, 20);
        for (int row = 0; row < part->rows; row++) {
            for (int g = 0; g < 3; g++) {
                const float *from = w + part->columns[row] * 300;
                const int end = g < 2 ? (g + 1) * 128 : 300;
                float low = 0, high = 0;
                for (int k = g * 128; k < end; k++) {
                    low = fminf(low, from[k]);
                    high = fmaxf(high, from[k]);
                }
                const float step = part->bits == 4 ? (high - low) / 15 : fmaxf(high, -low) / 127;
                const float s = half_to_float(half_from_float(step));
                const int z = part->bits == 4 ? (int)rintf(fminf(15, -low / s)) : 0;
                assert_true(half_to_float(part->scales[g * part->padded_rows + row]) == s);
                assert_int_equal(quant_zero(part, (size_t)(g * part->padded_rows + row)), z);
                for (int k = g * 128; k < end; k++) {
                    const int q = (int)rintf(from[k] / s) + z;
                    const int want = part->bits == 4 ? q < 0    ? 0
                                                       : q > 15 ? 15
                                                                : q
                                     : q < -127      ? -127
                                     : q > 127       ? 127
                                                     : q;
                    assert_int_equal(part->q[row * layer.k_padded + k], want);
                }
            }
        }
    }
    quant_layer_release(&layer);
}

static void zero_and_extreme_groups_are_finite(void **state) {
    (void)state;
    static const float values[] = {0, 1e-30f, -1e-30f, 0.5f, -0.5f, 1e-6f, 60000.0f};
    for (int pct8 = 0; pct8 <= 100; pct8 += 100) {
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            struct problem p = problem_of(1, 2, 128, 64, pct8);
            float w[256];
            for (int at = 0; at < 256; at++)
                w[at] = values[i];
            struct quant_layer layer;
            assert_int_equal(quant_layer_init(&layer, &p, w, NULL), MT_OK);
            const struct quant_part *part = &layer.part[pct8 ? MT_PART_W8 : MT_PART_W4];
            for (int g = 0; g < 2; g++)
                assert_true(half_to_float(part->scales[g * 16]) > 0);
            part_check(&layer, part, w);
            quant_layer_release(&layer);
        }
    }
    struct problem p = problem_of(1, 2, 3, 64, 0);
    float w[6] = {1, 2, 3, 4, 5, NAN};
    struct quant_layer layer;
    assert_int_equal(quant_layer_init(&layer, &p, w, NULL), MT_USAGE);
    assert_string_equal(fail_message(), "weight [1][2] is not a finite number and cannot be quantised");
    w[5] = -INFINITY;
    assert_int_equal(quant_layer_init(&layer, &p, w, NULL), MT_USAGE);
    w[0] = NAN;
    w[5] = 6;
    assert_int_equal(quant_layer_init(&layer, &p, w, NULL), MT_USAGE);
    assert_non_null(strstr(fail_message(), "weight [0][0]"));
}

static void whole_groups_of_padding_have_scale_zero(void **state) {
    (void)state;
    for (int n = 15; n <= 17; n++) {
        struct problem q = problem_of(1, n, 64, 64, 100);
        struct quant_layer sized;
        assert_int_equal(quant_layer_random(&sized, &q, 1), MT_OK);
        assert_int_equal(sized.part[MT_PART_W8].padded_rows, n <= 16 ? 16 : 32);
        quant_layer_release(&sized);
    }
    struct problem p = problem_of(1, 17, 40, 64, 0);
    float w[17 * 40];
    for (int at = 0; at < 17 * 40; at++)
        w[at] = uniform();
    struct quant_layer layer;
    assert_int_equal(quant_layer_init(&layer, &p, w, NULL), MT_OK);
    const struct quant_part *part = &layer.part[MT_PART_W4];
    assert_int_equal(layer.groups, 2);
    assert_int_equal(part->padded_rows, 32);
    for (int row = 0; row < 32; row++) {
        assert_int_equal(part->scales[32 + row], 0);
        assert_int_equal(part->zeros[32 + row], 0);
        assert_int_equal(part->scales[row] != 0, row < 17);
        for (int k = 64; k < 128 && row < 17; k++)
            assert_int_equal(part->q[row * 128 + k], 0);
    }
    quant_layer_release(&layer);
}

static void the_caller_may_choose_the_wide_features(void **state) {
    (void)state;
    struct problem p = problem_of(1, 20, 128, 128, 15);
    float w[20 * 128];
    uint8_t is8[20] = {0};
    for (int at = 0; at < 20 * 128; at++)
        w[at] = uniform();
    is8[3] = is8[4] = is8[19] = 1;
    struct quant_layer layer;
    assert_int_equal(quant_layer_init(&layer, &p, w, is8), MT_OK);
    const struct quant_part *wide = &layer.part[MT_PART_W8], *narrow = &layer.part[MT_PART_W4];
    assert_int_equal(wide->rows, 3);
    assert_int_equal(wide->columns[0], 3);
    assert_int_equal(wide->columns[1], 4);
    assert_int_equal(wide->columns[2], 19);
    assert_int_equal(narrow->rows, 17);
    for (int row = 1; row < narrow->rows; row++)
        assert_true(narrow->columns[row] > narrow->columns[row - 1]);
    part_check(&layer, wide, w);
    part_check(&layer, narrow, w);
    quant_layer_release(&layer);
    memset(is8, 1, sizeof is8);
    assert_int_equal(quant_layer_init(&layer, &p, w, is8), MT_USAGE);
    assert_non_null(strstr(fail_message(), "20 of 20 features"));
    p.rows8 = p.n;
    assert_int_equal(quant_layer_init(&layer, &p, w, is8), MT_OK);
    assert_null(wide->columns);
    assert_int_equal(narrow->rows, 0);
    quant_layer_release(&layer);
}

/* Taking a layer apart into plain codes and importing them gives the same layer. */
static void codes_can_be_imported(void **state) {
    (void)state;
    struct problem p = problem_of(1, 37, 300, 128, 50);
    struct quant_layer made, back;
    assert_int_equal(quant_layer_random(&made, &p, 5), MT_OK);
    int8_t *q = xcalloc(37, 300);
    uint16_t scales[3 * 37];
    uint8_t zeros[3 * 37], is8[37] = {0};
    for (int i = 0; i < MT_PARTS; i++) {
        const struct quant_part *part = &made.part[i];
        for (int row = 0; row < part->rows; row++) {
            int column = part->columns[row];
            is8[column] = part->bits == 8;
            memcpy(q + column * 300, part->q + row * made.k_padded, 300);
            for (int g = 0; g < 3; g++) {
                scales[g * 37 + column] = part->scales[g * part->padded_rows + row];
                zeros[g * 37 + column] = part->zeros ? part->zeros[g * part->padded_rows + row] : 99;
            }
        }
    }
    struct quant_codes codes = {q, scales, zeros};
    assert_int_equal(quant_layer_import(&back, &p, &codes, is8), MT_OK);
    for (int i = 0; i < MT_PARTS; i++) {
        const struct quant_part *a = &made.part[i], *b = &back.part[i];
        size_t count = (size_t)made.groups * (size_t)a->padded_rows;
        assert_memory_equal(a->packed, b->packed, packed_bytes(a->bits, a->padded_rows, made.k_padded));
        assert_memory_equal(a->scales, b->scales, count * sizeof *a->scales);
        assert_true(i == MT_PART_W4 ? !memcmp(a->zeros, b->zeros, count) : !a->zeros && !b->zeros);
        assert_memory_equal(a->columns, b->columns, (size_t)a->rows * sizeof *a->columns);
    }
    quant_layer_release(&back);
    int narrow = made.part[MT_PART_W4].columns[3], wide = made.part[MT_PART_W8].columns[2];
    q[narrow * 300 + 140] = 16;
    assert_int_equal(quant_layer_import(&back, &p, &codes, is8), MT_USAGE);
    assert_string_equal(fail_message() + strcspn(fail_message(), "("),
                        "(codes 0..15 or -128..127, zero points 0..15, scales finite)");
    char place[64];
    snprintf(place, sizeof place, "feature %d, from input 128 on", narrow);
    assert_non_null(strstr(fail_message(), place));
    q[narrow * 300 + 140] = -1;
    assert_int_equal(quant_layer_import(&back, &p, &codes, is8), MT_USAGE);
    q[narrow * 300 + 140] = 15;
    q[wide * 300 + 299] = -128;
    scales[37 + wide] = 0x7c00;
    assert_int_equal(quant_layer_import(&back, &p, &codes, is8), MT_USAGE);
    scales[37 + wide] = 0x3c00;
    zeros[37 + narrow] = 16;
    assert_int_equal(quant_layer_import(&back, &p, &codes, is8), MT_USAGE);
    zeros[37 + narrow] = 0;
    codes.zeros = NULL;
    assert_int_equal(quant_layer_import(&back, &p, &codes, is8), MT_USAGE);
    assert_string_equal(fail_message(), "4-bit features need zero points");
    codes.zeros = zeros;
    assert_int_equal(quant_layer_import(&back, &p, &codes, is8), MT_OK);
    assert_int_equal(back.part[MT_PART_W8].q[2 * back.k_padded + 299], -128);
    quant_layer_release(&back);
    quant_layer_release(&made);
    free(q);
}

static void random_layers_repeat_and_cover(void **state) {
    (void)state;
    struct problem p = problem_of(1, 70, 500, 64, 50);
    struct quant_layer a, b;
    assert_int_equal(quant_layer_random(&a, &p, 7), MT_OK);
    assert_int_equal(quant_layer_random(&b, &p, 7), MT_OK);
    for (int i = 0; i < MT_PARTS; i++) {
        const struct quant_part *x = &a.part[i];
        size_t size = packed_bytes(x->bits, x->padded_rows, a.k_padded);
        assert_memory_equal(x->packed, b.part[i].packed, size);
        int seen[256] = {0};
        for (int at = 0; at < x->rows * a.k_padded; at++)
            seen[x->q[at] + 128]++;
        int low = x->bits == 4 ? 0 : -128, high = x->bits == 4 ? 15 : 127;
        for (int q = -128; q < 128; q++)
            assert_int_equal(seen[q + 128] > 0, q >= low && q <= high);
        for (int g = 0; g < a.groups; g++)
            for (int row = 0; row < x->rows; row++)
                assert_true(half_to_float(x->scales[g * x->padded_rows + row]) >= 0x1p-9f &&
                            half_to_float(x->scales[g * x->padded_rows + row]) < 0x1p-6f);
    }
    quant_layer_release(&b);
    assert_int_equal(quant_layer_random(&b, &p, 8), MT_OK);
    assert_memory_not_equal(a.part[0].packed, b.part[0].packed, 512);
    assert_memory_not_equal(a.part[0].packed, a.part[1].packed, 512);
    quant_layer_release(&a);
    quant_layer_release(&b);
}

/* The numbers are those of xoshiro256++ behind splitmix64, as another program draws them. */
static void random_layers_are_as_published(void **state) {
    (void)state;
    static const struct {
        int row, codes[12], last[8], scales[8], zeros[8];
    } want[MT_PARTS] = {
        {2,
         {42, -62, -78, -124, -5, 72, -89, -120, -82, 100, 30, 44},
         {-88, 19, 22, -12, 104, 42, 34, -11},
         {0x1ac6, 0x19c0, 0x1e0f, 0x230b, 0x1a3d, 0x1889, 0x1b89, 0x1b66},
         {0}},
        {3,
         {2, 15, 10, 12, 10, 13, 9, 1, 10, 15, 7, 10},
         {1, 7, 3, 5, 15, 11, 12, 7},
         {0x19f4, 0x1bf5, 0x1880, 0x19b2, 0x1d23, 0x1a55, 0x2318, 0x1e51},
         {4, 0, 15, 14, 13, 13, 6, 14}},
    };
    struct problem p = problem_of(1, 70, 500, 64, 50);
    struct quant_layer layer;
    assert_int_equal(quant_layer_random(&layer, &p, 7), MT_OK);
    for (int i = 0; i < MT_PARTS; i++) {
        const struct quant_part *part = &layer.part[i];
        const int8_t *q = part->q + want[i].row * layer.k_padded;
        for (int k = 0; k < 12; k++)
            assert_int_equal(q[k], want[i].codes[k]);
        for (int k = 0; k < 8; k++)
            assert_int_equal(q[492 + k], want[i].last[k]);
        for (int k = 500; k < 512; k++)
            assert_int_equal(q[k], want[i].zeros[7]);
        for (int g = 0; g < 8; g++) {
            assert_int_equal(part->scales[g * part->padded_rows + want[i].row], want[i].scales[g]);
            assert_int_equal(quant_zero(part, (size_t)(g * part->padded_rows + want[i].row)), want[i].zeros[g]);
        }
    }
    quant_layer_release(&layer);
}

/* ---- activations ---- */

static void check_activations(int group) {
    struct problem p = problem_of(9, 1, 300, group, 0);
    const int groups = (384 + group - 1) / group;
    for (int type = DTYPE_F16; type <= DTYPE_BF16; type++) {
        p.dtype = (enum dtype)type;
        uint16_t x[9 * 300];
        for (int at = 0; at < 9 * 300; at++)
            x[at] = dtype_from_float(p.dtype, uniform() * ldexpf(1, at / 300 * 2 - 8));
        /* Half the largest number of a group is 63.5 steps: these go the other way when x / s is computed as x * (1 /
         * s). */
        static const uint16_t largest[] = {0x3c03, 0x3c0b, 0x3c0f, 0x3c13};
        for (int m = 0; type == DTYPE_F16 && m < 4; m++)
            for (int k = 0; k < 128; k++)
                x[m * 300 + k] = (uint16_t)(largest[m] - (k ? 0x400 : 0));
        struct quant_acts acts;
        assert_int_equal(quant_acts_init(&acts, &p, x), MT_OK);
        assert_int_equal(acts.groups, groups);
        for (int m = 0; m < p.m; m++) {
            for (int g = 0; g < groups; g++) {
                float amax = 0;
                int sum = 0;
                for (int k = g * group; k < (g + 1) * group && k < p.k; k++)
                    amax = fmaxf(amax, fabsf(dtype_to_float(p.dtype, x[m * p.k + k])));
                volatile float s = fmaxf(amax / 127.0f, FLT_MIN);
                assert_true(acts.scales[g * p.m + m] == s);
                for (int k = g * group; k < (g + 1) * group && k < acts.k_padded; k++) {
                    float v = k < p.k ? dtype_to_float(p.dtype, x[m * p.k + k]) : 0;
                    int want = (int)fmaxf(-127, fminf(127, rintf(v / s)));
                    assert_int_equal(acts.q[m * acts.k_padded + k], want);
                    sum += want;
                }
                assert_int_equal(acts.sums[g * p.m + m], sum);
            }
        }
        quant_acts_release(&acts);
    }
}

static void activations_follow_the_formula(void **state) {
    (void)state;
    check_activations(64);
    check_activations(128);
    check_activations(256);
}

static void activations_without_size_give_zeros(void **state) {
    (void)state;
    struct problem p = problem_of(6, 1, 64, 64, 0);
    p.dtype = DTYPE_BF16;
    static const float fill[6] = {0, -0.0f, 0x1p-130f, 0x1p-121f, 0x1p-110f, 1};
    uint16_t x[6 * 64];
    for (int at = 0; at < 6 * 64; at++)
        x[at] = bf16_from_float(at % 2 ? fill[at / 64] : -fill[at / 64]);
    x[5 * 64 + 3] = 0x7fc0; /* one NaN */
    struct quant_acts acts;
    assert_int_equal(quant_acts_init(&acts, &p, x), MT_OK);
    assert_int_equal(acts.groups, 2);
    for (int m = 0; m < 6; m++) {
        assert_true(acts.scales[m] == (m < 4 ? FLT_MIN : fill[m] / 127.0f));
        assert_true(acts.scales[6 + m] == FLT_MIN); /* the group that is all padding */
        for (int k = 0; k < 128; k++)
            assert_int_equal(acts.q[m * 128 + k], m < 4 || k >= 64 || (m == 5 && k == 3) ? 0 : k % 2 ? 127 : -127);
        assert_int_equal(acts.sums[m], m == 5 ? -127 : 0);
        assert_int_equal(acts.sums[6 + m], 0);
    }
    quant_acts_release(&acts);
}

int main(void) {
    srand48(20);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_match_their_definition),
        cmocka_unit_test(runs_are_converted_as_single_numbers),
        cmocka_unit_test(rounding_is_to_nearest_even),
        cmocka_unit_test(schemes_have_names),
        cmocka_unit_test(problems_have_sizes),
        cmocka_unit_test(problems_have_limits),
        cmocka_unit_test(problems_are_compared_in_every_member),
        cmocka_unit_test(weights_follow_the_formula),
        cmocka_unit_test(random_layers_are_as_published),
        cmocka_unit_test(weights_stay_within_half_a_step),
        cmocka_unit_test(zero_and_extreme_groups_are_finite),
        cmocka_unit_test(whole_groups_of_padding_have_scale_zero),
        cmocka_unit_test(the_caller_may_choose_the_wide_features),
        cmocka_unit_test(codes_can_be_imported),
        cmocka_unit_test(random_layers_repeat_and_cover),
        cmocka_unit_test(activations_follow_the_formula),
        cmocka_unit_test(activations_without_size_give_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
