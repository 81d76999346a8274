/* MT_BATCH_INVARIANT without a device: which kernels of one order of addition a layer has. */
#include "runtime/serve/fit.h"
#include "runtime/serve/table.h"
#include "tests/unit/serve/configs.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

enum { TUNED = 3 };

static const int tuned_m[TUNED] = {1, 16, 64};
static const double tuned_ns[TUNED] = {8000, 8500, 11000};
static const struct bundle_layer qkv = {"qkv", "tiny", 1, 6144, 4096, 128, 0, "w4a8", "fp16"};
#define IMAGE(name)                                                                                                    \
    { .hash = (name), .data = (name), .size = 1 }
static struct bundle_image images[] = {IMAGE("a0"), IMAGE("a1"), IMAGE("a2"), IMAGE("b0"), IMAGE("b1"), IMAGE("b2")};
enum { IMAGES = sizeof images / sizeof *images };
static const char *const names[2][TUNED] = {{"a0", "a1", "a2"}, {"b0", "b1", "b2"}}; /* of w4a8, and mixed */
static const char *const won[TUNED] = {SM80(128, 0, 8, 4, 4, 1, 0, 4, 1), SM80(128, 0, 16, 4, 4, 1, 0, 3, 1),
                                       SM80(128, 0, 32, 4, 4, 1, 0, 1, 1)};

static struct mt_layer *derive(const struct mt_table *table, struct problem p) {
    struct mt_layer *layer;
    if (layer_derive(table, &p, NULL, &layer) != MT_OK)
        fail_msg("%s", fail_message());
    return layer;
}

/* Kernels at three M, each with one of BUNDLE_INVARIANT behind it. */
struct ordered {
    struct bundle_entry entries[2 * 2 * TUNED];
    struct bundle bundle;
};

static void ordered_init(struct ordered *o, const struct bundle_layer *list, int count,
                         const char *const (*same)[TUNED]) {
    o->bundle = (struct bundle){.fingerprint = {.gpu = "", .cc = 80, .sm_count = 108, .layout = MT_LAYOUT},
                                .layers = list,
                                .layer_count = count,
                                .entries = o->entries,
                                .images = images,
                                .image_count = IMAGES};
    for (int layer = 0; layer < count; layer++)
        for (int i = 0; i < TUNED && same[layer][i]; i++)
            for (int kind = BUNDLE_KERNEL; kind <= BUNDLE_INVARIANT; kind += BUNDLE_INVARIANT)
                o->entries[o->bundle.entry_count++] =
                    (struct bundle_entry){.layer = layer,
                                          .m = tuned_m[i],
                                          .kind = (enum bundle_kind)kind,
                                          .family = "sm80",
                                          .config = kind ? same[layer][i] : won[i],
                                          .image_hash = names[(list[layer].rows8 > 0)][i],
                                          .expected_ns = tuned_ns[i] + (kind ? 500 : 0)};
    images_built(&o->bundle, images);
}

#define FOUR(i, split)                                                                                                 \
    ((i) == 0   ? SM80(128, 0, 8, 4, 4, 1, 0, split, 1)                                                                \
     : (i) == 1 ? SM80(128, 0, 16, 4, 4, 1, 0, split, 1)                                                               \
                : SM80(128, 0, 32, 4, 4, 1, 0, split, 1))

/* Kernels of one order take the winners' place, with their times and all they have; other ones are refused. */
static void one_order_at_every_m(void **state) {
    (void)state;
    static const char *const same[1][TUNED] = {{FOUR(0, 4), FOUR(1, 4), FOUR(2, 4)}};
    struct ordered o;
    struct mt_table *table;
    ordered_init(&o, &qkv, 1, same);
    assert_int_equal(table_build(&o.bundle, &a100, MT_BATCH_INVARIANT, false, &table), MT_OK);
    const struct mt_layer *layer = mt_table_layer_at(table, 0);
    assert_int_equal(layer->slot_count, 3);
    for (int i = 0; i < 3; i++) {
        const struct mt_choice c = lookup(table, layer, tuned_m[i]);
        assert_int_equal(c.step, MT_STEP_EXACT);
        assert_string_equal(c.config, same[0][i]);
        assert_true(c.expected_ns == tuned_ns[i] + 500);
    }
    /* Split-K at every M takes its workspace, up to as many tokens as it has counters for: 48 x 1365 tiles. */
    const size_t counters = 256 << 10, tile = sizeof(float) * 128 * 32;
    assert_int_equal(mt_workspace_bytes(table, layer, 64), counters + (size_t)48 * 2 * 4 * tile);
    assert_int_equal(mt_workspace_bytes(table, layer, 32 * 1365), counters + (size_t)48 * 1365 * 4 * tile);
    assert_int_equal(mt_workspace_bytes(table, layer, 1 << 20), counters + (size_t)48 * 1365 * 4 * tile);
    const struct mt_weights weights = {
        .size = sizeof weights, .layout = MT_LAYOUT, .rows = {0, 6144}, {0, 256}, {0, 256}, {0, 256}, {0, 256}, 0};
    const struct mt_activations x = {.size = sizeof x, .codes = 256, .scales = 256, .sums = 256};
    const struct mt_gemm_operands gemm = {
        .size = sizeof gemm, .m = 32 * 1365 + 1, .ldy = 6144, .weights = &weights, .x = &x, .y = 256};
    table->layers[0].loaded = true; /* there is no device, and it is not launched */
    assert_int_equal(mt_gemm_launch(table, layer, &gemm, NULL), MT_USAGE);
    assert_string_equal(mt_error_message(), "mt_gemm_launch: batch-invariant sums of 43681 tokens need more counters "
                                            "than a workspace has room for: launch fewer tokens at a time, whose bits "
                                            "are the same");
    table_release(table);

    /* Without the flag they are not looked at; without such kernels the winners add up in order. */
    ordered_init(&o, &qkv, 1, same);
    assert_int_equal(table_build(&o.bundle, &a100, 0, false, &table), MT_OK);
    assert_string_equal(lookup(table, mt_table_layer_at(table, 0), 16).config, won[1]);
    table_release(table);

    for (int flag = 0; flag < 2; flag++) {
        ordered_init(&o, &qkv, 1, same);
        o.entries[5].config = FOUR(2, 3);
        assert_int_equal(table_build(&o.bundle, &a100, flag ? MT_BATCH_INVARIANT : 0, false, &table), MT_FAILURE);
        assert_string_equal(fail_message(), "layer qkv of the bundle: its batch-invariant kernel at M 64 adds up in 3 "
                                            "parts of 1408, and at lower M in 4 parts of 1024: bits would depend on M; "
                                            "export it again");
    }
}

static void agree(const struct mt_layer *layer, int slots, int first, enum mt_step step) {
    assert_int_equal(layer->slot_count, slots);
    assert_int_equal(layer->info.step, step);
    assert_int_equal(layer->sums.first, first);
    for (int i = 0; i < slots; i++) {
        struct problem at = layer->problem;
        at.m = 1;
        const struct sum_tree sums = config_sums(&layer->slots[i].kernel.config, &at, 108);
        assert_true(sum_tree_equal(&sums, &layer->sums));
    }
}

/* A layer that takes its kernels from others takes such of one order: of one neighbour where both have another, and in
 * order where another K would be cut at places that differ. */
static void derived_layers_have_one_order(void **state) {
    (void)state;
    static const struct bundle_layer splits[2] = {{"up", "", 1, 4096, 4096, 128, 400, "mixed", "fp16"},
                                                  {"up", "", 1, 4096, 4096, 128, 900, "mixed", "fp16"}};
    static const char *const apart[2][TUNED] = {{FOUR(0, 4), FOUR(1, 4), FOUR(2, 4)},
                                                {FOUR(0, 2), FOUR(1, 2), FOUR(2, 2)}},
                             *const alike[2][TUNED] = {{FOUR(0, 4), FOUR(1, 4), FOUR(2, 4)},
                                                       {FOUR(0, 4), FOUR(1, 4), FOUR(2, 4)}};
    struct ordered o;
    struct mt_table *table;
    struct mt_layer *layer;
    for (int same = 0; same < 2; same++) {
        ordered_init(&o, splits, 2, same ? alike : apart);
        o.entries[3].expected_ns = 100; /* one of the lower split's is the better one */
        assert_int_equal(table_build(&o.bundle, &a100, MT_BATCH_INVARIANT, false, &table), MT_OK);
        for (int near = 0; near < 2; near++) {
            layer = derive(table, (struct problem){.n = 4096, .k = 4096, .group = 128, .rows8 = near ? 800 : 500});
            agree(layer, 3, near && !same ? 2048 : 1024, MT_STEP_NEAREST_ROWS8);
            layer_release(layer);
        }
        table_release(table);
    }

    /* K of 5 steps: 4 parts of 2, 1, 1, 1 steps with one kernel; and of 2, 1 for 3 steps of 256 with the other. */
    static const char *const steps[1][TUNED] = {
        {"tile_n=128,tile_n8=0,tile_m=8,tile_k=256,stages=4,warps_n=4,warps_m=1,ctas=1,promote=2,zero=0,order=1,"
         "split_k=2,raster=1",
         FOUR(1, 2), FOUR(2, 2)}};
    ordered_init(&o, &qkv, 1, steps);
    o.entries[0].config = steps[0][0];
    images_built(&o.bundle, images);
    assert_int_equal(table_build(&o.bundle, &a100, MT_BATCH_INVARIANT, false, &table), MT_OK);
    layer = derive(table, (struct problem){.n = 6144, .k = 4608, .group = 128});
    agree(layer, 3, 2304, MT_STEP_NEAREST_LAYER);
    layer_release(layer);
    layer = derive(table, (struct problem){.n = 6144, .k = 640, .group = 128});
    agree(layer, 3, 0, MT_STEP_NEAREST_LAYER);
    assert_int_equal(config_get(&layer->slots[2].kernel.config, "split_k"), 1);
    layer_release(layer);
    table_release(table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_order_at_every_m),
        cmocka_unit_test(derived_layers_have_one_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
