/* Layers with any number of features in 8 bits, with zero points and without, on both devices and by both families:
 * every element, and the same bits from whichever kernel computes them. */
#include "kernel_runs.h"
#include "runtime/base/str.h"
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

enum { M = 19, N = 205, K = 301 };
static const int splits[] = {0, 1, 15, 16, 17, N / 10, N - 1, N};
enum { SPLITS = sizeof splits / sizeof *splits };

/* A group size with its kernels: of a mixed layer, and of layers of one width. */
struct split_case {
    const char *device, *family;
    int group;
    const char *mixed, *uniform, *start; /* `start`: zero=1 */
};

static const struct split_case cases[] = {
    {"a100-sxm-80g", "sm80", 64, "tile_n=64,tile_n8=128,tile_m=16,stages=3", "tile_n=64,tile_m=16,stages=3",
     "tile_n=64,tile_m=16,stages=3,zero=1"},
    {"a100-sxm-80g", "sm80", 128, "tile_n=128,tile_n8=64,tile_m=8,stages=3,promote=0,order=0",
     "tile_n=64,tile_m=8,stages=3,promote=0,order=0", "tile_n=64,tile_m=8,stages=3,promote=1,zero=1,order=0"},
    {"a100-sxm-80g", "sm80", 256, "tile_n=64,tile_m=24,stages=2,promote=1", "tile_n=64,tile_m=16,stages=2",
     "tile_n=64,tile_m=16,stages=2,zero=1"},
    {"h100-sxm", "sm80", 128, "tile_n=64,tile_m=24,stages=3,promote=1", "tile_n=64,tile_m=8,stages=3,promote=0",
     "tile_n=64,tile_m=8,stages=3,zero=1"},
    {"h100-sxm", "sm90", 64, "blocks=1,blocks8=2,tile_m=8,stages=4,consumers=2,ctas=1", "tile_m=16,stages=4",
     "tile_m=16,stages=4,zero=1"},
    {"h100-sxm", "sm90", 128, "blocks=2,blocks8=1,tile_m=16,stages=4,consumers=1,cluster=2,store=1,promote=0",
     "tile_m=24,stages=3,consumers=2,pingpong=1,promote=1", "tile_m=16,tile_k=256,stages=3,promote=1,zero=1"},
    {"h100-sxm", "sm90", 256, "blocks=1,tile_m=16,stages=3,consumers=2,pingpong=1", "tile_m=16,stages=2",
     "tile_m=16,stages=2,zero=1"},
};

/* The same layer with zero points, all of them 8. */
static void write_out_zero_points(struct proof *proof) {
    struct quant_part *part = &proof->layer.part[MT_PART_W4];
    const size_t count = (size_t)proof->layer.groups * (size_t)part->padded_rows;
    if (part->rows > 0) {
        part->zeros = xmalloc(count);
        memset(part->zeros, 8, count);
    }
    proof->problem.symmetric = false;
}

static void proof_of(struct device *dev, const struct problem *p, bool eights, struct proof *out) {
    if (proof_make(out, p, true, 20261127 + (uint64_t)p->rows8))
        fail_msg("%s", fail_message());
    if (eights)
        write_out_zero_points(out);
    if (proof_upload(out, dev))
        fail_msg("%s", fail_message());
}

/* The kernel of a mixed layer where tiles are shared along K: partial sums are as large as the larger tile of both. */
static void shared_along_k(struct device *dev, const struct split_case *c, struct proof *proof) {
    struct str text = {0};
    struct kernel kernel;
    str_printf(&text, "%s,split_k=2", c->mixed);
    kernel_of(dev, c->family, text.data, &proof->problem, &kernel);
    right_bits(proof, &kernel, false);
    kernel_unload(dev, &kernel);
    str_release(&text);
}

/* Runs the kernels of such layers; all give the same bits. */
static uint64_t bits_of(struct device *dev, const struct split_case *c, struct proof *proof) {
    const struct problem *p = &proof->problem;
    const bool mixed = p->rows8 > 0 && p->rows8 < p->n, zeros = problem_has_zeros(p);
    const char *const texts[] = {mixed ? c->mixed : c->uniform, !mixed && zeros ? c->start : NULL};
    uint64_t bits = 0;
    for (int i = 0; i < 2 && texts[i]; i++) {
        struct kernel kernel;
        kernel_of(dev, c->family, texts[i], p, &kernel);
        const uint64_t these = right_bits(proof, &kernel, true);
        assert_true(i == 0 || these == bits);
        bits = these;
        kernel_unload(dev, &kernel);
    }
    if (p->rows8 == 1)
        shared_along_k(dev, c, proof);
    return bits;
}

static void every_split(void **state) {
    const struct split_case *c = *state;
    struct problem p = {.m = M, .n = N, .k = K, .group = c->group, .bias = 1};
    p.dtype = c->group == 128 ? DTYPE_BF16 : DTYPE_F16;
    struct device dev;
    few_sms_open(&dev, c->device);
    for (int i = 0; i < SPLITS; i++) {
        struct proof proof;
        p.rows8 = splits[i];
        p.symmetric = false;
        proof_of(&dev, &p, false, &proof);
        assert_int_equal(proof.gemm.part[MT_PART_W8].rows, splits[i]);
        bits_of(&dev, c, &proof);
        proof_release(&proof);
        uint64_t bits[2];
        for (int eights = 0; eights < 2; eights++) {
            p.symmetric = true;
            proof_of(&dev, &p, eights, &proof);
            assert_true(!proof.gemm.part[MT_PART_W4].zeros == (!eights || splits[i] == N));
            bits[eights] = bits_of(&dev, c, &proof);
            proof_release(&proof);
        }
        assert_true(bits[0] == bits[1]);
    }
    device_close(&dev);
}

/* The problem on which a configuration is proved has as large a share in 8 bits, and each part that the real one has. */
static void proofs_keep_both_parts(void **state) {
    (void)state;
    static const struct {
        int n, rows8, proof_n, proof_rows8;
    } shares[] = {{4096, 0, 280, 0},      {4096, 1, 280, 1},
                  {4096, 15, 280, 1},     {4096, 410, 280, 28},
                  {4096, 4095, 280, 279}, {4096, 4096, 280, 280},
                  {17, 16, 273, 256},     {1, 1, 273, 273},
                  {1 << 24, 1, 280, 1},   {(1 << 24) - 1, (1 << 24) - 2, 273, 272}};
    struct config config;
    config_default(family_find("sm80"), &config);
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        struct problem small;
        const struct problem p = {.m = 64, .n = shares[i].n, .k = 4096, .group = 128, .rows8 = shares[i].rows8};
        proof_problem(&config, &p, &small);
        assert_int_equal(problem_check(&small), MT_OK);
        assert_int_equal(small.n, shares[i].proof_n);
        assert_int_equal(small.rows8, shares[i].proof_rows8);
        assert_string_equal(problem_scheme(&small), problem_scheme(&p));
    }
}

int main(void) {
    enum { CASES = sizeof cases / sizeof *cases };
    struct CMUnitTest tests[CASES + 1];
    char names[CASES][64];
    tests[CASES] = (struct CMUnitTest)cmocka_unit_test(proofs_keep_both_parts);
    for (size_t i = 0; i < CASES; i++) {
        snprintf(names[i], sizeof names[i], "%s on %s, groups of %d", cases[i].family, cases[i].device, cases[i].group);
        tests[i] = (struct CMUnitTest){names[i], every_split, NULL, NULL, (void *)(uintptr_t)&cases[i]};
    }
    return cmocka_run_group_tests(tests, runs_begin, runs_end);
}
