/* Weights at the ends of their ranges: codes that are all -128 against tokens that are all +-127, in the largest group,
 * and scales that are subnormal fp16 numbers. Every promotion of both families, bit for bit. */
#include "kernel_runs.h"
#include "runtime/base/str.h"
#include "runtime/layer/half.h"
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

enum { M = 11, N = 70, K = 600 };

struct kernels {
    const char *device, *family, *config; /* but for promote */
};
static const struct kernels both[] = {{"a100-sxm-80g", "sm80", "tile_n=64,tile_m=8,stages=2"},
                                      {"h100-sxm", "sm90", "tile_m=8,stages=4"}};

/* The codes, scales and tokens of a proof. */
struct given {
    int8_t q[N * K];
    uint16_t scales[10 * N], x[M * K];
    uint8_t zeros[10 * N];
};

/* A proof of what is given, in place of random numbers. */
static void proof_of(struct device *dev, const struct problem *p, const struct given *g, struct proof *out) {
    const struct quant_codes codes = {g->q, g->scales, problem_has_zeros(p) ? g->zeros : NULL};
    assert_int_equal(proof_make(out, p, true, 1), MT_OK);
    quant_layer_release(&out->layer);
    quant_acts_release(&out->acts);
    reference_release(&out->reference);
    memcpy(out->x, g->x, sizeof g->x);
    if (quant_layer_import(&out->layer, p, &codes, NULL) || quant_acts_init(&out->acts, p, out->x) ||
        reference_init(&out->reference, p, &out->layer, &out->acts, NULL) || proof_upload(out, dev))
        fail_msg("%s", fail_message());
}

/* All promotions, with zero points in both ways where there are any. */
static void check(const struct given *given, const struct problem *p) {
    uint64_t bits = 0;
    for (size_t i = 0; i < sizeof both / sizeof *both; i++) {
        struct device dev;
        struct proof proof;
        few_sms_open(&dev, both[i].device);
        proof_of(&dev, p, given, &proof);
        for (int promote = 0; promote < 3; promote++) {
            struct str text = {0};
            struct kernel kernel;
            str_printf(&text, "%s,promote=%d,zero=%d", both[i].config, promote, problem_has_zeros(p) && promote == 1);
            kernel_of(&dev, both[i].family, text.data, p, &kernel);
            const uint64_t got = right_bits(&proof, &kernel, true);
            assert_true(bits == 0 || got == bits);
            bits = got;
            kernel_unload(&dev, &kernel);
            str_release(&text);
        }
        proof_release(&proof);
        device_close(&dev);
    }
}

/* |P| is 128 * 127 * 256 in all groups but the last. */
static void the_largest_sums(void **state) {
    (void)state;
    static struct given g;
    const struct problem p = {.m = M, .n = N, .k = K, .group = 256, .rows8 = N};
    for (int m = 0; m < M; m++)
        for (int k = 0; k < K; k++) /* all of one sign, or half a group of each, or one that is otherwise */
            g.x[m * K + k] = half_from_float(m % 4 < 2    ? 1 - 2 * (m % 2)
                                             : m % 4 == 2 ? (k & 1) - 0.5f
                                             : k % 256    ? 1
                                                          : -1);
    for (int n = 0; n < N; n++) {
        for (int k = 0; k < K; k++)
            g.q[n * K + k] = n % 8 < 6 ? -128 : n % 8 == 6 ? 127 : (int8_t)(k % 256 - 128);
        for (int group = 0; group < 3; group++)
            g.scales[group * N + n] = half_from_float(n % 2 ? 0x1p-10f : 0.0007f);
    }
    check(&g, &p);
}

/* Every subnormal number of fp16 and the first normal ones, 2^-24 on; the tokens are large, so that products are not
 * small themselves. */
static void subnormal_scales(void **state) {
    (void)state;
    static struct given g;
    srand48(23);
    for (int at = 0; at < M * K; at++)
        g.x[at] = half_from_float((float)(drand48() * 2 - 1) * 60000);
    for (int kind = 0; kind < 3; kind++) { /* 8 bits; 4 bits; 4 bits, symmetric */
        const struct problem p = {.m = M,
                                  .n = N,
                                  .k = K,
                                  .group = kind == 1 ? 128 : 64,
                                  .rows8 = kind ? 0 : N,
                                  .symmetric = kind == 2,
                                  .dtype = kind == 1 ? DTYPE_BF16 : DTYPE_F16};
        for (int at = 0; at < N * K; at++)
            g.q[at] = (int8_t)(kind ? lrand48() & 15 : (lrand48() & 255) - 128);
        for (int at = 0; at < 10 * N; at++) {
            g.scales[at] = (uint16_t)(at < N ? 1 + at % 2 : 1 + lrand48() % 0x440);
            g.zeros[at] = (uint8_t)(lrand48() & 15);
        }
        for (int at = 0; p.dtype == DTYPE_BF16 && at < M * K; at++)
            g.x[at] = bf16_from_float((float)(drand48() * 2 - 1) * 60000);
        check(&g, &p);
        for (int at = 0; p.dtype == DTYPE_BF16 && at < M * K; at++)
            g.x[at] = half_from_float(bf16_to_float(g.x[at]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_largest_sums),
        cmocka_unit_test(subnormal_scales),
    };
    return cmocka_run_group_tests(tests, runs_begin, runs_end);
}
