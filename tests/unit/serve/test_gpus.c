/* Which of a bundle's GPU types a device gets. */
#include "runtime/jit/fatbin.h"
#include "runtime/mixtune.h"
#include "runtime/serve/gpus.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

enum { A100, A100_PCIE, H100, H200, L40S, SOFT_A100, B200, OLD, GPUS };

static const struct bundle_fingerprint gpus[GPUS] = {
    [A100] = {.gpu = "A100", .cc = 80, .sm_count = 108, .layout = MT_LAYOUT},
    [A100_PCIE] = {.gpu = "A100 small", .cc = 80, .sm_count = 98, .layout = MT_LAYOUT},
    [H100] = {.gpu = "H100", .cc = 90, .sm_count = 132, .layout = MT_LAYOUT},
    [H200] = {.gpu = "H200", .cc = 90, .sm_count = 140, .layout = MT_LAYOUT},
    [L40S] = {.gpu = "L40S", .cc = 89, .sm_count = 142, .layout = MT_LAYOUT},
    [SOFT_A100] = {.gpu = "A100 in software", .cc = 80, .sm_count = 108, .software = 1, .layout = MT_LAYOUT},
    [B200] = {.gpu = "B200", .cc = 100, .sm_count = 148, .layout = MT_LAYOUT},
    [OLD] = {.gpu = "A100 old", .cc = 80, .sm_count = 107, .layout = MT_LAYOUT + 1},
};

static struct device device(const char *name, int cc, int sm_count) {
    struct device dev = {.cc = cc, .sm_count = sm_count};
    snprintf(dev.name, sizeof dev.name, "%s", name);
    return dev;
}

static void images_run_where_they_have_code(void **state) {
    (void)state;
    static const struct {
        const char *arch;
        int cc;
        bool runs;
    } cases[] = {{"sm_80", 80, true},      {"sm_80", 86, true},    {"sm_80", 90, true},    {"sm_80", 120, true},
                 {"sm_80", 75, false},     {"sm_90a", 90, true},   {"sm_90a", 80, false},  {"sm_90a", 100, false},
                 {"sm_90a", 91, false},    {"sm_100f", 100, true}, {"sm_100f", 103, true}, {"sm_100f", 120, false},
                 {"sm_100f", 90, false},   {"sm_120", 120, true},  {"sm_120", 100, false}, {"", 80, false},
                 {"compute_80", 80, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (fatbin_runs_on(cases[i].arch, cases[i].cc) != cases[i].runs)
            fail_msg("%s on %d", cases[i].arch, cases[i].cc);
}

static void the_type_itself_is_taken_alone(void **state) {
    (void)state;
    int order[GPUS], count;
    for (int i = 0; i < GPUS; i++) {
        const struct device dev = device(gpus[i].gpu, gpus[i].cc, gpus[i].sm_count);
        for (unsigned flags = 0; flags <= MT_ALLOW_OTHER_GPU; flags += MT_ALLOW_OTHER_GPU) {
            assert_int_equal(gpus_order(gpus, GPUS, &dev, flags, order, &count), MT_OK);
            assert_int_equal(count, 1);
            assert_int_equal(order[0], i);
        }
    }
}

static void others_are_asked_for(void **state) {
    (void)state;
    int order[GPUS], count;
    static const struct {
        const char *name;
        int cc, sms;
    } devices[] = {{"A100", 80, 104}, {"A100", 86, 108}, {"A100 large", 80, 108}};
    for (int i = 0; i < 3; i++) {
        const struct device dev = device(devices[i].name, devices[i].cc, devices[i].sms);
        assert_false(gpu_is(&gpus[A100], &dev));
        assert_int_equal(gpus_order(gpus, 1, &dev, MT_ALLOW_FP16, order, &count), MT_NO_DEVICE);
        assert_int_equal(count, 0);
        assert_int_equal(gpus_order(gpus, 1, &dev, MT_ALLOW_OTHER_GPU, order, &count), MT_OK);
        assert_int_equal(count, 1);
    }
    assert_string_equal(
        fail_message(),
        "the bundle was tuned on A100 (compute capability 8.0, 108 SMs), but this is A100 large (compute "
        "capability 8.0, 108 SMs): tune and export on this GPU, or pass "
        "MT_ALLOW_OTHER_GPU");
    const struct device dev = device("T4", 75, 40);
    assert_int_equal(gpus_order(gpus, 3, &dev, 0, order, &count), MT_NO_DEVICE);
    assert_non_null(strstr(fail_message(),
                           "tuned on A100 (compute capability 8.0, 108 SMs), A100 small (compute capability 8.0, 98 "
                           "SMs) and H100 (compute capability 9.0, 132 SMs), but this is T4"));
    struct bundle_fingerprint many[20];
    for (int i = 0; i < 20; i++)
        many[i] = gpus[0];
    assert_int_equal(gpus_order(many, 20, &dev, 0, order, &count), MT_NO_DEVICE);
    assert_non_null(strstr(fail_message(), " and 12 more, but this is T4"));
}

static void the_nearest_comes_first(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int cc, sms;
        int first[5];
    } cases[] = {
        /* its own compute capability; the others' images that run; those that do not; another layout last */
        {"A800", 80, 100, {A100_PCIE, A100, SOFT_A100, H100, H200}},
        {"A800", 80, 104, {A100, A100_PCIE, SOFT_A100, H100, H200}},
        {"H20", 90, 78, {H100, H200, A100_PCIE, A100, L40S}},
        {"H20", 90, 150, {H200, H100, L40S, A100, A100_PCIE}},
        {"A10", 86, 72, {A100_PCIE, A100, SOFT_A100, H100, H200}},
        {"L4", 89, 58, {L40S, A100_PCIE, A100, SOFT_A100, H100}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct device dev = device(cases[i].name, cases[i].cc, cases[i].sms);
        int order[GPUS], count;
        assert_int_equal(gpus_order(gpus, GPUS, &dev, MT_ALLOW_OTHER_GPU, order, &count), MT_OK);
        assert_int_equal(count, GPUS);
        assert_int_equal(order[GPUS - 1], OLD);
        for (int j = 0; j < 5; j++)
            if (order[j] != cases[i].first[j])
                fail_msg("%s: number %d is %s and not %s", cases[i].name, j, gpus[order[j]].gpu,
                         gpus[cases[i].first[j]].gpu);
    }
}

/* What is compiled on another kind of GPU has the defaults of the families that run on both. */
static void defaults_are_added(void **state) {
    (void)state;
    static const struct bundle_layer layers[] = {{"a", "", 1, 64, 128, 128, 0, "w4a8", "fp16"},
                                                 {"b", "", 1, 64, 128, 128, 0, "w4a8", "fp16"},
                                                 {"c", "", 1, 64, 128, 64, 64, "w8a8", "bf16"}};
    struct bundle_build own[] = {{"quantize", "", "", "fp16", 128, ""}, {"sm90", "x", "w4a8", "fp16", 128, ""}};
    struct bundle bundle = {
        .fingerprint = gpus[H100], .layers = layers, .layer_count = 3, .fallbacks = own, .fallback_count = 2};
    const struct device a100 = device("A100", 80, 108);
    assert_int_equal(gpu_add_defaults(&bundle, &a100), MT_OK);
    assert_int_equal(bundle.fallback_count, 6); /* for few tokens and for many, each format once */
    int of[2] = {0, 0};
    for (int i = 0; i < bundle.fallback_count; i++) {
        const struct bundle_build *f = &bundle.fallbacks[i];
        if (strcmp(f->family, "sm80") != 0)
            continue;
        const bool wide = !strcmp(f->scheme, "w8a8");
        assert_string_equal(f->dtype, wide ? "bf16" : "fp16");
        assert_int_equal(f->group, wide ? 64 : 128);
        assert_string_equal(f->image_hash, "");
        of[wide]++;
        if (i > 0)
            assert_true(bundle_by_build(&bundle.fallbacks[i - 1], f) < 0);
    }
    assert_true(of[0] == 2 && of[1] == 2);
    struct bundle again = bundle;
    assert_int_equal(gpu_add_defaults(&again, &a100), MT_OK);
    assert_int_equal(again.fallback_count, 6); /* it has them */
    bundle_release(&again);                    /* the first's, too */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_run_where_they_have_code),
        cmocka_unit_test(the_type_itself_is_taken_alone),
        cmocka_unit_test(others_are_asked_for),
        cmocka_unit_test(the_nearest_comes_first),
        cmocka_unit_test(defaults_are_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
