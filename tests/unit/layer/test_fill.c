/* Which features fill a part up: against the errors computed from the definition of 4-bit numbers. */
#include "runtime/base/str.h"
#include "runtime/layer/fill.h"
#include "runtime/layer/half.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

enum { N = 30, K = 300, GROUP = 64 };

/* |w - (q - z) s|^2 of a group, of zeros beyond K too: s = (max - min) / 15 in fp16 over a range with 0 in it. */
static double group_error(const float *w, int count) {
    float low = 0, high = 0;
    double error = 0;
    for (int i = 0; i < count; i++) {
        low = fminf(low, w[i]);
        high = fmaxf(high, w[i]);
    }
    const float s = half_to_float(half_from_float((high - low) / 15));
    const float z = fminf(fmaxf(rintf(-low / s), 0), 15);
    for (int i = 0; i < count; i++) {
        const float q = fminf(fmaxf(rintf(w[i] / s) + z, 0), 15);
        const double off = (double)w[i] - (double)(q - z) * (double)s;
        error += off * off;
    }
    return error;
}

static void the_largest_errors_are_filled(void **state) {
    (void)state;
    static float w[N * K];
    double error[N];
    srand48(5);
    for (int trial = 0; trial < 40; trial++) {
        uint8_t is8[N] = {0}, filled[N];
        const struct problem p = {.m = 1, .n = N, .k = K, .group = GROUP, .rows8 = 16};
        for (int i = 0; i < N; i++) {
            const float size = 0.5f + (float)drand48() * 2;
            for (int k = 0; k < K; k++)
                w[i * K + k] = ((float)drand48() * 2 - 1) * size;
        }
        memcpy(w + 7 * K, w + 3 * K, sizeof(float) * K); /* two that lose the same */
        for (int i = 0; i < N; i++) {
            error[i] = 0;
            for (int k = 0; k < K; k += GROUP)
                error[i] += group_error(w + i * K + k, K - k < GROUP ? K - k : GROUP);
        }
        const int chosen = 1 + (int)(drand48() * 16);
        for (int count = 0; count < chosen;) {
            const int i = (int)(drand48() * N);
            count += !is8[i];
            is8[i] = 1;
        }
        assert_int_equal(fill_choose(&p, w, is8, filled), MT_OK);
        int rows8 = 0;
        for (int i = 0; i < N; i++) {
            rows8 += filled[i];
            assert_true(filled[i] || !is8[i]);
            for (int j = 0; j < N; j++) /* none that was left out loses more than one that was taken */
                if (filled[i] && !is8[i] && !filled[j])
                    assert_true(error[i] >= error[j] * (1 - 1e-12));
        }
        assert_int_equal(rows8, 16);
        if (!is8[3] && !is8[7])
            assert_true(filled[3] >= filled[7]);
    }
}

/* All lose the same: the first are taken, but for those that were chosen. */
static void equals_go_to_the_first(void **state) {
    (void)state;
    static float w[N * K];
    uint8_t is8[N] = {0}, filled[N];
    const struct problem p = {.m = 1, .n = N, .k = K, .group = GROUP, .rows8 = 16};
    is8[2] = is8[20] = 1;
    assert_int_equal(fill_choose(&p, w, is8, filled), MT_OK);
    for (int i = 0; i < N; i++)
        assert_int_equal(filled[i], i <= 14 || i == 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_largest_errors_are_filled),
        cmocka_unit_test(equals_go_to_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
