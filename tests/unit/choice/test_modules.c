/* Which names are linear layers of a decoder, what is fused of them and in which order. */
#include "tuner/choice/modules.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 40 };

/* Names with the shape NxK, 96x64 where none is said; ends with NULL. */
static enum mt_status find(const char *const *names, struct modules *out) {
    struct module module[MOST];
    int count = 0;
    for (; names[count]; count++)
        module[count] = (struct module){names[count], 96, 64};
    return modules_find(module, count, out);
}

static void assert_layers(const char *const *names, const char *const *expected) {
    struct modules modules;
    assert_int_equal(find(names, &modules), MT_OK);
    int i = 0;
    for (; i < modules.count && expected[i]; i++)
        assert_string_equal(modules.layer[i].name, expected[i]);
    assert_null(expected[i]);
    assert_int_equal(i, modules.count);
    modules_release(&modules);
}

static void layers_are_fused_in_order(void **state) {
    (void)state;
    const char *const names[] = {"model.layers.1.mlp.down_proj",    "model.layers.10.self_attn.o_proj",
                                 "model.layers.1.self_attn.v_proj", "model.layers.1.mlp.up_proj",
                                 "model.layers.1.self_attn.q_proj", "model.layers.1.mlp.gate_proj",
                                 "model.layers.1.self_attn.k_proj", "model.layers.2.self_attn.o_proj",
                                 "model.layers.1.self_attn.o_proj", NULL};
    const char *const expected[] = {"model.layers.1.qkv",
                                    "model.layers.1.o",
                                    "model.layers.1.gate_up",
                                    "model.layers.1.down",
                                    "model.layers.2.o",
                                    "model.layers.10.o",
                                    NULL};
    struct modules modules;
    assert_layers(names, expected);
    assert_int_equal(find(names, &modules), MT_OK);
    const struct fused *qkv = &modules.layer[0], *gate_up = &modules.layer[2];
    const int q_k_v[] = {4, 6, 2};
    assert_int_equal(qkv->n, 3 * 96);
    assert_int_equal(qkv->k, 64);
    assert_int_equal(qkv->part_count, 3);
    assert_memory_equal(qkv->part, q_k_v, sizeof q_k_v);
    assert_int_equal(gate_up->part[0], 5);
    assert_int_equal(gate_up->role[1], ROLE_UP);
    assert_string_equal(gate_up->layer, "gate_up");
    assert_int_equal(modules.layer_of[0], 3);
    assert_int_equal(modules.decoders, 11);
    assert_false(fused_along_k(qkv));
    assert_true(fused_along_k(&modules.layer[1]));
    assert_true(fused_along_k(&modules.layer[3]));
    modules_release(&modules);
}

static void experts_follow_the_dense_layers(void **state) {
    (void)state;
    const char *const names[] = {"layers.0.mlp.shared_expert.up_proj",
                                 "layers.0.mlp.experts.10.down_proj",
                                 "layers.0.mlp.experts.2.up_proj",
                                 "layers.0.mlp.experts.2.gate_proj",
                                 "layers.0.block_sparse_moe.experts.3.w1",
                                 "layers.0.block_sparse_moe.experts.3.w2",
                                 "layers.0.block_sparse_moe.experts.3.w3",
                                 "layers.0.mlp.shared_expert.gate_proj",
                                 "layers.0.self_attn.qkv_proj",
                                 "layers.0.mlp.gate_up_proj",
                                 NULL};
    const char *const expected[] = {"layers.0.qkv",
                                    "layers.0.gate_up",
                                    "layers.0.experts.2.gate_up",
                                    "layers.0.experts.3.gate_up",
                                    "layers.0.experts.3.down",
                                    "layers.0.experts.10.down",
                                    "layers.0.shared_expert.gate_up",
                                    NULL};
    struct modules modules;
    assert_layers(names, expected);
    assert_int_equal(find(names, &modules), MT_OK);
    assert_string_equal(modules.layer[3].layer, "experts.gate_up");
    assert_int_equal(modules.layer[3].part[0], 4); /* w1 is gate */
    assert_int_equal(modules.layer[3].part[1], 6);
    assert_string_equal(modules.layer[6].layer, "shared_expert.gate_up");
    modules_release(&modules);
}

static void others_are_left(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int place;
    } other[] = {
        {"lm_head", MODULE_OUTSIDE},
        {"model.embed_tokens", MODULE_OUTSIDE},
        {"model.vision_tower.encoder.layers.0.self_attn.q_proj", MODULE_OUTSIDE},
        {"visual.layers.0.mlp.down_proj", MODULE_OUTSIDE},
        {"model.Audio_encoder.layers.0.self_attn.o_proj", MODULE_OUTSIDE},
        {"language_model.layers.0.mlp.gate", MODULE_OUTSIDE},
        {"language_model.layers.0.block_sparse_moe.gate", MODULE_OUTSIDE},
        {"language_model.layers.0.self_attn.rotary", MODULE_UNKNOWN},
        {"language_model.layers.0.mlp.experts.x.up_proj", MODULE_UNKNOWN},
        {"language_model.layers.0.mlp.experts.01.up_proj", MODULE_UNKNOWN},
        {"language_model.layers.0.self_attn.q_proj.extra", MODULE_UNKNOWN},
        {"language_model.layers.0.mlp.w1", MODULE_UNKNOWN},
        {"language_model.layers.123456.mlp.down_proj", MODULE_OUTSIDE},
        {"mylayers.0.mlp.down_proj", MODULE_OUTSIDE},
        {"draft.layers.0.self_attn.o_proj", MODULE_UNKNOWN}, /* the smaller decoder */
        {"language_model.layers.0.self_attn.o_proj", 0},
        {"language_model.layers.0.mlp.down_proj", 1},
    };
    enum { COUNT = sizeof other / sizeof *other };
    const char *names[COUNT + 1] = {0};
    struct modules modules;
    for (int i = 0; i < COUNT; i++)
        names[i] = other[i].name;
    assert_int_equal(find(names, &modules), MT_OK);
    for (int i = 0; i < COUNT; i++) {
        if (modules.layer_of[i] != other[i].place)
            print_message("%s\n", other[i].name);
        assert_int_equal(modules.layer_of[i], other[i].place);
    }
    modules_release(&modules);
}

static void assert_refused(const char *const *names, const char *words) {
    struct modules modules;
    assert_int_equal(find(names, &modules), MT_USAGE);
    if (!strstr(fail_message(), words))
        print_message("%s\n", fail_message());
    assert_non_null(strstr(fail_message(), words));
}

static void what_does_not_fit_is_a_sentence(void **state) {
    (void)state;
    assert_refused((const char *[]){"lm_head", NULL}, "no tensor is a linear layer");
    assert_refused((const char *[]){"layers.0.self_attn.q_proj", "layers.0.self_attn.k_proj", NULL},
                   "q_proj is there without the layer v");
    assert_refused((const char *[]){"layers.0.self_attn.v_proj", NULL}, "v_proj is there without the layer q");
    assert_refused((const char *[]){"layers.0.mlp.gate_proj", NULL}, "without the layer up");
    assert_refused((const char *[]){"layers.0.mlp.up_proj", NULL}, "without the layer gate");
    assert_refused(
        (const char *[]){"layers.0.mlp.gate_proj", "layers.0.mlp.up_proj", "layers.0.mlp.gate_up_proj", NULL},
        "both there");
    assert_refused((const char *[]){"layers.0.mlp.down_proj", "layers.0.mlp.down_proj", NULL}, "both there");
    struct modules modules;
    struct module k[] = {{"layers.0.mlp.gate_proj", 96, 64}, {"layers.0.mlp.up_proj", 96, 65}};
    assert_int_equal(modules_find(k, 2, &modules), MT_USAGE);
    assert_non_null(strstr(fail_message(), "64 input features"));
    struct module n[] = {{"layers.0.mlp.gate_proj", 96, 64}, {"layers.0.mlp.up_proj", 97, 64}};
    assert_int_equal(modules_find(n, 2, &modules), MT_USAGE);
    assert_non_null(strstr(fail_message(), "97"));
    struct module none[] = {{"layers.0.mlp.down_proj", 0, 0}};
    assert_int_equal(modules_find(none, 1, &modules), MT_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_are_fused_in_order),
        cmocka_unit_test(experts_follow_the_dense_layers),
        cmocka_unit_test(others_are_left),
        cmocka_unit_test(what_does_not_fit_is_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
