/* Where a GEMM in fp16 is the answer: its time beside that of our kernel and the quantisation of its activations, at
 * tuned M, between them and beyond. */
#include "runtime/serve/table.h"
#include "tests/unit/serve/configs.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
/* after the above */
#include <cmocka.h>

static const struct bundle_layer layers[] = {{"qkv", "tiny", 1, 6144, 4096, 128, 0, "w4a8", "fp16"}};
static struct bundle_image images[] = {{.hash = "a", .data = "a", .size = 1}};
enum { TUNED = 5 };
static const int tuned_m[TUNED] = {1, 16, 64, 1024, 4096};
static const double tuned_ns[TUNED] = {8000, 8500, 11000, 100000, 400000};

/* A table of these times; 0: none. */
static struct mt_table *table_with(const double *quantize_ns, const double *fp16_ns, unsigned flags) {
    static struct bundle_entry all[2][2 * TUNED]; /* of two tables at a time, which point at them */
    static int tables;
    struct bundle_entry *entries = all[tables++ % 2];
    struct mt_table *table;
    int count = 0;
    for (int i = 0; i < TUNED; i++) {
        entries[count++] = (struct bundle_entry){.m = tuned_m[i],
                                                 .kind = BUNDLE_KERNEL,
                                                 .family = "sm80",
                                                 .config = SM80(128, 0, 16, 4, 4, 1, 0, 1, 1),
                                                 .image_hash = "a",
                                                 .expected_ns = tuned_ns[i],
                                                 .quantize_ns = quantize_ns[i]};
        if (fp16_ns[i] > 0)
            entries[count++] = (struct bundle_entry){.m = tuned_m[i],
                                                     .kind = BUNDLE_FP16,
                                                     .family = i < 3 ? "cublas" : "cublaslt-best",
                                                     .config = "",
                                                     .image_hash = "",
                                                     .expected_ns = fp16_ns[i]};
    }
    struct bundle bundle = {.fingerprint = {.gpu = "", .cc = 80, .sm_count = 108, .layout = MT_LAYOUT},
                            .layers = layers,
                            .layer_count = 1,
                            .entries = entries,
                            .entry_count = count,
                            .images = images,
                            .image_count = 1};
    images_built(&bundle, images);
    if (table_build(&bundle, &a100, flags, false, &table) != MT_OK)
        fail_msg("%s", fail_message());
    return table;
}

/* A kernel that is faster by itself and slower with its activations quantised loses; between two tuned M that differ
 * the lines cross once. */
static void quantising_counts(void **state) {
    (void)state;
    static const double quantize[TUNED] = {2000, 2000, 3000, 30000, 120000}, none[TUNED] = {0},
                        fp16[TUNED] = {9000, 12000, 20000, 120000, 480000};
    for (int counted = 0; counted < 2; counted++) {
        struct mt_table *table = table_with(counted ? quantize : none, fp16, MT_ALLOW_FP16),
                        *without = table_with(counted ? quantize : none, fp16, 0);
        const struct mt_layer *layer = mt_table_layer_at(table, 0);
        for (int i = 0; i < TUNED; i++) {
            const struct mt_choice c = lookup(table, layer, tuned_m[i]);
            const bool loses = counted && i != 1 && i != 2;
            assert_int_equal(c.kind, loses ? MT_KIND_FP16 : MT_KIND_KERNEL);
            assert_true(c.expected_ns == (loses ? fp16[i] : tuned_ns[i]));
            assert_true(c.quantize_ns == (loses || !counted ? 0 : quantize[i]));
            assert_string_equal(c.family, !loses ? "sm80" : i < 3 ? "cublas" : "cublaslt-best");
            assert_true(c.origin == MT_ORIGIN_MEASURED && c.step == MT_STEP_EXACT && c.tuned_m == tuned_m[i]);
        }
        int changes = 0, before = 0;
        for (int m = 1; m <= 20000; m++) {
            const struct mt_choice c = lookup(table, layer, m);
            int i = 0;
            while (i < TUNED - 1 && tuned_m[i + 1] <= m)
                i++;
            const int next = i < TUNED - 1 ? i + 1 : i;
            const double part = next > i ? (double)(m - tuned_m[i]) / (tuned_m[next] - tuned_m[i]) : 0,
                         grown = next > i ? 1 : (double)m / tuned_m[i],
                         q = counted ? (quantize[i] + (quantize[next] - quantize[i]) * part) * grown : 0,
                         f = (fp16[i] + (fp16[next] - fp16[i]) * part) * grown,
                         ours = lookup(without, mt_table_layer_at(without, 0), m).expected_ns;
            const bool loses = next > i ? f < ours + q : counted;
            assert_int_equal(c.kind, loses ? MT_KIND_FP16 : MT_KIND_KERNEL);
            assert_true(fabs(c.quantize_ns - (loses ? 0 : q)) < 1e-6);
            assert_true(!loses || fabs(c.expected_ns - f) < 1e-6);
            assert_true(c.step == MT_STEP_EXACT || c.origin == MT_ORIGIN_MODELLED);
            changes += m > 1 && c.kind != (enum mt_kind)before;
            before = (int)c.kind;
        }
        assert_true(!counted || changes >= 2); /* one each way; more where the stairs cross the line again */
        table_release(table);
        table_release(without);
    }
    /* Unless it is allowed; and never where a row's bits may not depend on M. */
    for (int i = 0; i < 2; i++) {
        struct mt_table *table = table_with(quantize, fp16, i ? MT_ALLOW_FP16 | MT_BATCH_INVARIANT : 0);
        for (int m = 1; m <= 5000; m += 7)
            assert_int_equal(lookup(table, mt_table_layer_at(table, 0), m).kind, MT_KIND_KERNEL);
        table_release(table);
    }
}

/* What was not timed is taken for as much as it can be, and never compared. */
static void fp16_that_was_timed_at_some_m(void **state) {
    (void)state;
    static const double quantize[TUNED] = {500, 0, 500, 500, 500}, fp16[TUNED] = {0, 8000, 0, 0, 390000};
    struct mt_table *table = table_with(quantize, fp16, MT_ALLOW_FP16);
    const struct mt_layer *layer = mt_table_layer_at(table, 0);
    static const struct {
        int m;
        enum mt_kind kind;
        double expected, quantize;
    } cases[] = {
        {1, MT_KIND_KERNEL, 8000, 500},      {15, MT_KIND_FP16, 8000, 0},     {16, MT_KIND_FP16, 8000, 0},
        {17, MT_KIND_FP16, 8500, 0},         {18, MT_KIND_KERNEL, 0, 0},      {64, MT_KIND_KERNEL, 11000, 500},
        {1024, MT_KIND_KERNEL, 100000, 500}, {4090, MT_KIND_FP16, 390000, 0}, {8192, MT_KIND_FP16, 780000, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct mt_choice c = lookup(table, layer, cases[i].m);
        if (c.kind != cases[i].kind || (cases[i].expected > 0 && fabs(c.expected_ns - cases[i].expected) > 1e-6) ||
            c.quantize_ns != cases[i].quantize)
            fail_msg("M %d: kind %d, %g ns, quantising %g ns", cases[i].m, (int)c.kind, c.expected_ns, c.quantize_ns);
    }
    /* A layer that borrows its kernels has the same answers, and no times. */
    const struct problem near = {.n = 5000, .k = 4096, .group = 128};
    struct mt_layer *other;
    if (layer_derive(table, &near, NULL, &other) != MT_OK)
        fail_msg("%s", fail_message());
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct mt_choice c = lookup(table, other, cases[i].m);
        if (lookup(table, layer, cases[i].m).step == MT_STEP_EXACT) /* between them stairs of another layer differ */
            assert_int_equal(c.kind, cases[i].kind);
        assert_true(c.expected_ns == 0 && c.quantize_ns == 0 && c.origin == MT_ORIGIN_MODELLED);
        assert_int_equal(c.step, MT_STEP_NEAREST_LAYER);
    }
    layer_release(other);
    table_release(table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantising_counts),
        cmocka_unit_test(fp16_that_was_timed_at_some_m),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
