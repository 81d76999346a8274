/* What export says of the winners beside the strongest fp16 GEMM, and which layers get its times. */
#include "tuner/bundle/compared.h"
#include "tuner/report/json_line.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

static const struct bundle_layer layers[] = {
    {"qkv", "tiny", 1, 6144, 4096, 128, 0, "w4a8", "fp16"},   {"qkv", "tiny", 1, 6144, 4096, 128, 614, "mixed", "fp16"},
    {"down", "tiny", 1, 4096, 14336, 128, 0, "w4a8", "fp16"}, {"qkv", "tiny", 2, 3072, 4096, 128, 0, "w4a8", "fp16"},
    {"64x256", "", 1, 64, 256, 128, 0, "w4a8", "fp16"},
};
enum { LAYERS = sizeof layers / sizeof *layers };

static int decoders_of_tiny(const struct bundle_layer *layer) {
    return layer->tp == 1 && !strcmp(layer->model, "tiny") ? 32 : 0;
}

static struct compared compared_of(const struct compared_point *points, int count, enum bundle_origin origin) {
    return (struct compared){layers, points, LAYERS, count, origin, decoders_of_tiny};
}

/* Both, with a | after the sentences. */
static void says(const struct compared *c, const char *want, const char *want_json) {
    struct str text = {0}, json = {0};
    compared_print(c, &text);
    json_line_append(compared_json(c), &json);
    if (strcmp(str_text(&text), want) != 0)
        fail_msg("it says\n%sand not\n%s", str_text(&text), want);
    if (want_json && strcmp(str_text(&json), want_json) != 0)
        fail_msg("it says\n%sand not\n%s", str_text(&json), want_json);
    str_release(&text);
    str_release(&json);
}

/* 1.1 times as fast by itself, 0.90 with its activations quantised: a loss. */
static void quantising_decides(void **state) {
    (void)state;
    static const struct compared_point points[] = {
        {0, 1, 1000, 100, 2000, "cublas", ""},        {0, 512, 9000, 2000, 9900, "cublaslt-best", ""},
        {1, 1, 1000, 100, 2000, "cublas", ""},        {1, 512, 7000, 2000, 9900, "cublaslt-best", ""},
        {2, 1, 1000, 500, 1400, "cublaslt-best", ""},
    };
    const struct compared c = compared_of(points, 5, BUNDLE_MEASURED);
    bool *losers = compared_losers(&c);
    assert_true(compared_loses(&points[1]) && compared_loses(&points[4]) && !compared_loses(&points[3]));
    assert_true(losers[0] && !losers[1] && losers[2] && !losers[3] && !losers[4]);
    free(losers);
    says(&c,
         "compared with the faster of cuBLAS and cuBLASLt, quantising counted: slower at 2 of 5 (layer, M), at worst "
         "0.90x at qkv of tiny, w4a8, M 512\n"
         "a server that runs the fp16 GEMM there keeps fp16 weights on each GPU, beside the packed ones:\n"
         "  up to 160.0 MiB for each decoder layer of tiny (qkv, down), up to 5120.0 MiB for its 32\n"
         "off by default: only a server that opens the bundle with MT_ALLOW_FP16 is told where\n",
         "{\"compared_with\":[\"cublas\",\"cublaslt-best\"],\"compared\":5,\"slower\":2,\"quantize_untimed\":0,"
         "\"libraries_untimed\":0,\"worst\":{\"model\":\"tiny\",\"layer\":\"qkv\",\"tp\":1,\"scheme\":\"w4a8\","
         "\"rows8\":0,\"m\":512,\"ratio\":0.9},\"fp16_weights\":[{\"model\":\"tiny\",\"tp\":1,\"layers\":[\"qkv\","
         "\"down\"],\"layer_count\":2,\"mib_per_decoder_layer\":160.0,\"decoder_layers\":32,\"mib\":5120.0,"
         "\"at_most\":true}],\"flag\":\"MT_ALLOW_FP16\",\"on_by_default\":false}\n");
}

static void what_was_not_timed_is_told(void **state) {
    (void)state;
    static const struct compared_point points[] = {
        {0, 1, 1000, 0, 1100, "cublas", "cublaslt"},
        {0, 16, 1000, 0, 900, "cublas", "cublaslt"},
        {0, 64, 1000, 200, 0, "", ""},
    };
    const struct compared some = compared_of(points, 3, BUNDLE_MEASURED), none = compared_of(points + 2, 1, 0);
    says(&some,
         "compared with cuBLAS, the kernels alone: slower at 1 of 2 (layer, M), at worst 0.90x at qkv of tiny, w4a8, "
         "M 16\n"
         "  quantising was not timed at 2 of them, where the kernel alone is compared\n"
         "  cuBLAS or cuBLASLt was not timed at 2 of them\n"
         "  no fp16 GEMM was timed at 1 more\n"
         "a server that runs the fp16 GEMM there keeps fp16 weights on each GPU, beside the packed ones:\n"
         "  up to 48.0 MiB for each decoder layer of tiny (qkv), up to 1536.0 MiB for its 32\n"
         "off by default: only a server that opens the bundle with MT_ALLOW_FP16 is told where\n",
         NULL);
    says(
        &none,
        "compared with nothing: no fp16 GEMM was timed beside these winners; the same `mixtune sweep` again times it\n",
        "{\"compared_with\":[],\"compared\":0,\"slower\":0,\"quantize_untimed\":0,\"libraries_untimed\":0,\"worst\":"
        "null,\"fp16_weights\":[],\"flag\":\"MT_ALLOW_FP16\",\"on_by_default\":false}\n");
}

/* No word of libraries that cannot run there. */
static void software_devices_have_no_libraries(void **state) {
    (void)state;
    struct compared_point points[] = {
        {3, 1, 1000, 100, 1000, "f16", ""},
        {4, 1, 1000, 100, 550, "f16", ""},
    };
    struct compared c = compared_of(points, 2, BUNDLE_MODELLED);
    says(
        &c,
        "compared with mixtune's own fp16 kernel (modelled), quantising counted: slower at 2 of 2 (layer, M), at worst "
        "0.50x at 64x256, w4a8, M 1\n"
        "a server that runs the fp16 GEMM there keeps fp16 weights on each GPU, beside the packed ones:\n"
        "  24.0 MiB for each decoder layer of tiny at tp 2 (qkv)\n"
        "  0.03 MiB for 64x256\n"
        "off by default: only a server that opens the bundle with MT_ALLOW_FP16 is told where\n",
        NULL);
    points[0].fp16_ns = points[1].fp16_ns = 1100; /* equals lose nothing */
    says(&c, "compared with mixtune's own fp16 kernel (modelled), quantising counted: slower at none of 2 (layer, M)\n",
         NULL);
    points[0].fp16 = "cublas", points[1].fp16 = "f16";
    c.origin = BUNDLE_MEASURED;
    says(&c,
         "compared with the fastest of cuBLAS, cuBLASLt and mixtune's own fp16 kernel, quantising counted: slower at "
         "none of 2 (layer, M)\n",
         NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantising_decides),
        cmocka_unit_test(what_was_not_timed_is_told),
        cmocka_unit_test(software_devices_have_no_libraries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
