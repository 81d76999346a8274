/* What a quantization_config says of a layer. */
#include "tuner/convert/scheme.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static bool means(const char *target, const char *name) {
    bool fits;
    assert_int_equal(scheme_target(target, name, &fits), MT_OK);
    return fits;
}

static void targets(void **state) {
    (void)state;
    const char *name = "model.layers.12.mlp.down_proj";
    bool fits;
    assert_true(means(name, name));
    assert_false(means("model.layers.12.mlp.down", name));
    assert_true(means("re:.*down_proj$", name));
    assert_true(means("re:.*down", name)); /* re.match() looks at the beginning alone */
    assert_false(means("re:down_proj", name));
    assert_true(means("re:model\\.layers\\.\\d+\\.mlp\\.(?:up|down)_proj", name));
    assert_false(means("re:model\\.layers\\.\\d\\.mlp.*", name));
    assert_true(means("re:.*?layers.(1|12)[.]mlp.*", name));
    assert_false(means("re:.*self_attn|.*up_proj", name));
    assert_int_equal(scheme_target("re:(", name, &fits), MT_USAGE);
    assert_int_equal(scheme_target("re:^(?!.*down).*", name, &fits), MT_USAGE);
}

static const char config_text[] =
    "{\"config_groups\": {"
    "\"group_0\": {\"targets\": [\"Linear\"], \"weights\": {\"num_bits\": 4, \"type\": \"int\", \"symmetric\": false,"
    "              \"strategy\": \"group\", \"group_size\": 128}},"
    "\"group_1\": {\"targets\": [\"re:.*v_proj\", \"model.layers.0.mlp.up_proj\"], \"weights\": {\"num_bits\": 8,"
    "              \"symmetric\": true, \"strategy\": \"channel\"}, \"input_activations\": {\"num_bits\": 8}},"
    "\"group_2\": {\"targets\": [\"re:.*o_proj\"], \"weights\": {\"num_bits\": 8, \"type\": \"float\"}},"
    "\"group_3\": {\"targets\": [\"re:.*k_proj\"], \"weights\": {\"num_bits\": 8, \"strategy\": \"block\"}},"
    "\"group_4\": {\"targets\": [\"re:.*q_proj\"], \"weights\": {\"num_bits\": 3, \"strategy\": \"group\"}}}}";

static void names_come_before_classes(void **state) {
    (void)state;
    json_t *config = json_loads(config_text, 0, NULL);
    struct scheme_of s;
    assert_int_equal(scheme_compressed(config, "model.layers.1.mlp.up_proj", &s), MT_OK);
    assert_int_equal(s.bits, 4);
    assert_int_equal(s.group, 128);
    assert_true(s.asymmetric);
    assert_null(s.inputs);
    static const char *const wide[] = {"model.layers.0.mlp.up_proj", "model.layers.3.self_attn.v_proj"};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(scheme_compressed(config, wide[i], &s), MT_OK);
        assert_int_equal(s.bits, 8);
        assert_int_equal(s.group, 0);
        assert_false(s.asymmetric);
        assert_non_null(s.inputs);
    }
    static const char *const other[] = {"a.o_proj", "a.k_proj", "a.q_proj"}; /* floats, blocks, 3 bits */
    for (int i = 0; i < 3; i++)
        assert_int_equal(scheme_compressed(config, other[i], &s), MT_USAGE);
    json_decref(config);
    assert_int_equal(scheme_compressed(NULL, "a.q_proj", &s), MT_OK);
    assert_int_equal(s.bits, 0);
    assert_int_equal(s.group, -1);
}

static enum mt_status gptq(const char *text, struct scheme_of *out) {
    json_t *config = json_loads(text, 0, NULL);
    const enum mt_status status = scheme_gptq(config, "model.layers.0.mlp.down_proj", out);
    json_decref(config);
    return status;
}

static enum mt_status awq(const char *text, struct scheme_of *out) {
    json_t *config = json_loads(text, 0, NULL);
    const enum mt_status status = scheme_awq(config, out);
    json_decref(config);
    return status;
}

static void one_for_all(void **state) {
    (void)state;
    struct scheme_of s;
    assert_int_equal(gptq("{\"bits\": 8, \"group_size\": -1, \"sym\": true}", &s), MT_OK);
    assert_int_equal(s.group, 0);
    assert_false(s.asymmetric);
    assert_int_equal(gptq("{\"bits\": 4, \"group_size\": 64, \"sym\": false}", &s), MT_OK);
    assert_int_equal(s.group, 64);
    assert_true(s.asymmetric);
    assert_int_equal(gptq("{\"bits\": 3}", &s), MT_USAGE);
    assert_int_equal(
        gptq("{\"bits\": 4, \"group_size\": 128, \"sym\": true, \"dynamic\": {\"-:.*\": {},"
             " \"+:.*up_proj\": {\"bits\": 3}, \"+:.*\\\\.down_proj$\": {\"group_size\": 64, \"sym\": false},"
             " \".*down_proj\": {\"bits\": 2}}}",
             &s),
        MT_OK);
    assert_int_equal(s.bits, 4);
    assert_int_equal(s.group, 64);
    assert_true(s.asymmetric);
    assert_int_equal(awq("{\"bits\": 4, \"group_size\": 128, \"version\": \"gemm\", \"zero_point\": true}", &s), MT_OK);
    assert_int_equal(s.group, 128);
    assert_int_equal(awq("{\"w_bit\": 4, \"q_group_size\": 64, \"version\": \"GEMM\"}", &s), MT_OK);
    assert_int_equal(s.group, 64);
    assert_int_equal(awq("{\"bits\": 4, \"version\": \"gemv\"}", &s), MT_USAGE);
    assert_int_equal(awq("{\"bits\": 8}", &s), MT_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets),
        cmocka_unit_test(names_come_before_classes),
        cmocka_unit_test(one_for_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
