/* Numbers of 8-bit features that were not tuned: which of the neighbours' kernels they run, and in which image. */
#include "runtime/base/str.h"
#include "runtime/layer/split.h"
#include "runtime/serve/table.h"
#include "tests/unit/serve/configs.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

#define A     SM80(64, 0, 16, 4, 4, 1, 0, 1, 1)
#define B     SM80(128, 0, 16, 4, 4, 1, 0, 1, 1)
#define WIDE  SM80(64, 128, 16, 4, 4, 1, 1, 1, 1)
#define OTHER SM80(128, 0, 16, 3, 4, 1, 0, 1, 1)
#define PLAIN SM80(128, 0, 32, 4, 4, 1, 0, 1, 1) /* the default */

enum { LAYERS = 6 };
static const struct bundle_layer layers[LAYERS] = {
    {"qkv", "tiny", 1, 1600, 4096, 128, 160, "mixed", "fp16"},
    {"qkv", "tiny", 1, 1600, 4096, 128, 800, "mixed", "fp16"},
    {"o", "tiny", 1, 1600, 2048, 128, 0, "w4a8", "fp16"},
    {"o", "tiny", 1, 1600, 2048, 128, 1600, "w8a8", "fp16"},
    {"o", "tiny", 1, 1600, 2048, 128, 400, "mixed-sym", "fp16"},
    {"up", "big", 1, 1600, 4096, 128, 320, "mixed", "fp16"},
};
#define ENTRY(layer, m, config, image, ns)                                                                             \
    { layer, m, BUNDLE_KERNEL, "sm80", config, image, ns, BUNDLE_MODELLED, 0 }
static const struct bundle_entry entries[] = {
    ENTRY(0, 1, A, "mixA", 100),
    ENTRY(0, 16, A, "mixA", 1000),
    ENTRY(0, 64, WIDE, "mixW", 4000),
    ENTRY(1, 1, B, "mixB", 160),
    ENTRY(1, 16, A, "mixA", 1500),
    ENTRY(1, 32, B, "mixB", 2000),
    {1, 32, BUNDLE_FP16, "cublas", "", "", 1900, BUNDLE_MODELLED, 0},
    ENTRY(1, 64, WIDE, "mixW", 5000),
    ENTRY(2, 16, A, "w4A", 50),
    ENTRY(3, 16, B, "w8B", 110),
    ENTRY(4, 16, A, "symA", 60),
    ENTRY(5, 16, B, "mixB", 300),
};
static const struct bundle_time times[] = {
    {0, 1, "sm80", OTHER, 1, BUNDLE_MODELLED}, /* of another kernel */
    {0, 1, "sm80", B, 120, BUNDLE_MODELLED},
    {1, 1, "sm80", A, 180, BUNDLE_MODELLED},
};
static const struct bundle_build variants[] = {
    /* as bundle_read() orders them: by config, then scheme */
    {"sm80", B, "mixed", "fp16", 128, "mixB"},  {"sm80", B, "mixed-sym", "fp16", 128, "symB"},
    {"sm80", A, "mixed", "fp16", 128, "mixA"},  {"sm80", WIDE, "w4a8", "fp16", 128, "w4W"},
    {"sm80", WIDE, "w8a8", "fp16", 128, "w8W"},
};
static const struct bundle_build fallbacks[] = {
    {"sm80", PLAIN, "w4a8", "fp16", 128, "w4D"},
    {"sm80", PLAIN, "mixed", "fp16", 128, "mixD"},
    {"sm80", PLAIN, "w4a8-sym", "fp16", 128, "symD"},
};
#define IMAGE(name)                                                                                                    \
    { .hash = (name), .data = "x", .size = 1 }
static struct bundle_image images[] = {IMAGE("mixA"), IMAGE("mixB"), IMAGE("mixD"), IMAGE("mixL"), IMAGE("mixW"),
                                       IMAGE("symA"), IMAGE("symB"), IMAGE("symD"), IMAGE("w4A"),  IMAGE("w4D"),
                                       IMAGE("w4W"),  IMAGE("w8B"),  IMAGE("w8W")};

static struct bundle sample(void) {
    return (struct bundle){.fingerprint = {.gpu = "Example GPU", .cc = 80, .sm_count = 108, .layout = MT_LAYOUT},
                           .layers = layers,
                           .layer_count = LAYERS,
                           .entries = entries,
                           .entry_count = sizeof entries / sizeof *entries,
                           .times = times,
                           .time_count = sizeof times / sizeof *times,
                           .variants = variants,
                           .variant_count = sizeof variants / sizeof *variants,
                           .fallbacks = fallbacks,
                           .fallback_count = sizeof fallbacks / sizeof *fallbacks,
                           .images = images,
                           .image_count = sizeof images / sizeof *images};
}

static struct mt_table *table_of(struct bundle bundle, unsigned flags) {
    struct mt_table *table;
    images_built(&bundle, images);
    if (table_build(&bundle, &a100, flags, false, &table) != MT_OK)
        fail_msg("%s", fail_message());
    return table;
}

/* `like` is the number of a tuned layer that gives its names; -1: by shape, as layer 0. */
static struct mt_layer *derive(const struct mt_table *table, int like, int rows8) {
    struct problem p = mt_table_layer_at(table, like < 0 ? 0 : like)->problem;
    struct mt_layer *layer;
    p.rows8 = rows8;
    if (layer_derive(table, &p, like < 0 ? NULL : mt_table_layer_at(table, like), &layer) != MT_OK)
        fail_msg("%s", fail_message());
    return layer;
}

static const char *image_of(const struct mt_table *table, const struct mt_layer *layer, int slot) {
    return table->bundle.images[layer->slots[slot].image].hash;
}

/* A and B cross half way in bytes; where one time is missing it is in proportion to the bytes. */
static void kernels_are_chosen_by_their_times(void **state) {
    (void)state;
    struct mt_table *table = table_of(sample(), MT_ALLOW_FP16);
    static const int tuned_m[] = {1, 16, 32, 64};
    for (int rows8 = 161; rows8 < 800; rows8++) {
        struct mt_layer *layer = derive(table, 0, rows8);
        const struct problem *p = &layer->problem;
        const struct split_candidate first[2] = {{{160, 100}, {800, 180}}, {{160, 120}, {800, 160}}};
        const int best = split_choose(p, first, 2, 0, NULL);
        if (rows8 % 16 == 0)
            assert_int_equal(best, rows8 > 480);
        assert_int_equal(layer->tuned_count, 4); /* the M of either neighbour */
        assert_int_equal(layer->info.step, MT_STEP_NEAREST_ROWS8);
        assert_string_equal(layer->info.name, "qkv");
        assert_string_equal(layer->info.model, "tiny");
        assert_true(layer->info.rows8 == rows8 && layer->info.tp == 1);
        for (int i = 0; i < 4; i++) {
            struct mt_choice c = lookup(table, layer, tuned_m[i]);
            assert_int_equal(c.step, MT_STEP_NEAREST_ROWS8);
            assert_int_equal(c.tuned_m, tuned_m[i]);
            assert_int_equal(c.tuned_rows8, i == 0 ? (best ? 800 : 160) : i == 2 ? 800 : 160);
            assert_true(c.expected_ns == 0 && c.origin == MT_ORIGIN_MODELLED);
            /* fp16 takes 1900 at M = 32, whatever the split; ours 2000 at 800. */
            const bool slower =
                i == 2 && split_estimate(p, (struct split_time){160, 0}, (struct split_time){800, 2000}, 0) > 1900;
            assert_int_equal(c.kind, slower ? MT_KIND_FP16 : MT_KIND_KERNEL);
            assert_string_equal(c.config, slower ? "" : i == 0 ? (best ? B : A) : i == 1 ? A : i == 2 ? B : WIDE);
        }
        assert_string_equal(image_of(table, layer, 0), best ? "mixB" : "mixA");
        layer_release(layer);
    }
    table_release(table);
}

/* Beyond the tuned splits it is the outermost's kernels, in the image of the formats that are left. */
static void the_outermost_splits_reach_to_the_ends(void **state) {
    (void)state;
    struct mt_table *table = table_of(sample(), 0);
    struct mt_layer *layer = derive(table, 0, 5);
    assert_int_equal(layer->tuned_count, 3);
    assert_string_equal(lookup(table, layer, 1).config, A);
    assert_int_equal(lookup(table, layer, 1).tuned_rows8, 160);
    layer_release(layer);
    layer = derive(table, 0, 1599);
    assert_int_equal(layer->tuned_count, 4);
    assert_string_equal(lookup(table, layer, 1).config, B);
    layer_release(layer);

    /* Only WIDE has images of one width, and its tile is then that of the width. */
    for (int wide = 0; wide < 2; wide++) {
        layer = derive(table, 0, wide ? 1600 : 0);
        assert_int_equal(layer->tuned_count, 1);
        assert_string_equal(layer->info.formats, wide ? "w8a8" : "w4a8");
        assert_string_equal(image_of(table, layer, 0), wide ? "w8W" : "w4W");
        const struct config *config = &layer->slots[0].kernel.config;
        assert_int_equal(config_get(config, "tile_n"), wide ? 128 : 64);
        assert_int_equal(config_get(config, "tile_n8"), 0);
        assert_int_equal(config_get(config, "zero"), !wide);
        assert_non_null(strstr(lookup(table, layer, 1).config, wide ? "tile_n=128,tile_n8=0" : "tile_n=64,tile_n8=0"));
        layer_release(layer);
    }
    table_release(table);
}

/* Between layers of one width the mixed images run. Symmetric ones are splits of another layer, which shares w8a8. */
static void layers_of_one_width_lend_mixed_images(void **state) {
    (void)state;
    struct bundle bundle = sample();
    struct mt_table *table = table_of(bundle, 0);
    struct mt_layer *layer = derive(table, 2, 100);
    assert_string_equal(layer->info.formats, "mixed");
    assert_string_equal(image_of(table, layer, 0), "mixA"); /* 110 at all in 8 bits are 60 here, and 50 are 53 */
    layer_release(layer);
    layer = derive(table, 4, 1500);
    assert_string_equal(layer->info.formats, "mixed-sym");
    assert_string_equal(image_of(table, layer, 0), "symA");
    layer_release(layer);

    /* Without the images of A it is B, without either the default. */
    bundle.variants = variants;
    bundle.variant_count = 1;
    table_release(table);
    table = table_of(bundle, 0);
    layer = derive(table, 2, 100);
    assert_string_equal(image_of(table, layer, 0), "mixB");
    assert_int_equal(layer->slots[0].rows8, 1600);
    layer_release(layer);
    table_release(table);
    bundle.variant_count = 0;
    bundle.layers = layers + 2;
    bundle.layer_count = 2;
    struct bundle_entry two[] = {entries[8], entries[9]};
    two[0].layer = 0;
    two[1].layer = 1;
    bundle.entries = two;
    bundle.entry_count = 2;
    bundle.time_count = 0;
    table = table_of(bundle, 0);
    layer = derive(table, 0, 100);
    assert_int_equal(layer->info.step, MT_STEP_DEFAULT);
    assert_string_equal(lookup(table, layer, 5).config, PLAIN);
    layer_release(layer);
    table_release(table);
}

/* A split with both widths is next to the others that have both, however near one of one width is. */
static void mixed_splits_are_next_to_mixed_ones(void **state) {
    (void)state;
    static const struct bundle_layer three[] = {{"o", "tiny", 1, 1600, 2048, 128, 0, "w4a8", "fp16"},
                                                {"o", "tiny", 1, 1600, 2048, 128, 800, "mixed", "fp16"},
                                                {"o", "tiny", 1, 1600, 2048, 128, 1600, "w8a8", "fp16"}};
    static const struct bundle_entry fast_and_slow[] = {ENTRY(0, 16, A, "w4A", 50), ENTRY(1, 16, B, "mixB", 100),
                                                        ENTRY(2, 16, A, "w8B", 60)};
    struct bundle bundle = sample();
    bundle.layers = three;
    bundle.layer_count = 3;
    bundle.entries = fast_and_slow;
    bundle.entry_count = 3;
    bundle.time_count = 0;
    struct mt_table *table = table_of(bundle, 0);
    for (int rows8 = 1; rows8 < 1600; rows8 += 533) {
        struct mt_layer *layer = derive(table, 1, rows8);
        assert_string_equal(image_of(table, layer, 0), "mixB");
        assert_int_equal(lookup(table, layer, 16).tuned_rows8, 800);
        layer_release(layer);
    }
    table_release(table);
}

/* By shape all layers of these shapes are splits of one, by name only those of the name. */
static void names_keep_splits_apart(void **state) {
    (void)state;
    struct mt_table *table = table_of(sample(), 0);
    struct mt_layer *layer = derive(table, 0, 330);
    assert_int_equal(lookup(table, layer, 16).tuned_rows8, 160);
    layer_release(layer);
    layer = derive(table, -1, 330);
    assert_string_equal(layer->info.name, "");
    assert_int_equal(lookup(table, layer, 16).tuned_rows8, 320); /* 300 ns there, 1500 at 800 */
    layer_release(layer);
    layer = derive(table, 5, 900);
    assert_string_equal(layer->info.model, "big");
    assert_int_equal(lookup(table, layer, 1).tuned_rows8, 320);
    layer_release(layer);

    /* What there is no split of borrows from the nearest layer, of the nearest share of bytes. */
    static const struct { int rows8, lender; } near[] = {{100, 160}, {450, 320}, {1100, 800}};
    for (int i = 0; i < 3; i++) {
        const struct problem p = {.n = 1700, .k = 4096, .group = 128, .rows8 = near[i].rows8};
        assert_int_equal(layer_derive(table, &p, NULL, &layer), MT_OK);
        assert_int_equal(layer->info.step, MT_STEP_NEAREST_LAYER);
        assert_int_equal(lookup(table, layer, 16).tuned_rows8, near[i].lender);
        layer_release(layer);
    }
    table_release(table);
}

/* A GPU with little shared memory: kernels that need more are left out. A layer that has none left takes the default,
 * or else those of the nearest layer, and promises nothing. */
static void kernels_that_do_not_fit_are_left_out(void **state) {
    (void)state;
    struct device_limits small = a100;
    struct bundle_entry changed[sizeof entries / sizeof *entries];
    struct bundle bundle;
    struct mt_table *table;
    small.smem_per_block_optin = 110 << 10;
    memcpy(changed, entries, sizeof changed);
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        if (changed[i].layer == 5 || (changed[i].layer == 1 && changed[i].m == 64)) {
            changed[i].config = SM80(128, 0, 128, 6, 4, 2, 0, 1, 1);
            changed[i].image_hash = "mixL";
        }
    for (int fallback = 0; fallback < 2; fallback++) {
        bundle = sample();
        bundle.entries = changed;
        bundle.fallback_count = fallback ? bundle.fallback_count : 0;
        images_built(&bundle, images);
        if (table_build(&bundle, &small, 0, false, &table) != MT_OK)
            fail_msg("%s", fail_message());
        const struct mt_layer *up = mt_table_layer_at(table, 5), *qkv = mt_table_layer_at(table, 0);
        const struct mt_choice choice = lookup(table, up, 16);
        assert_int_equal(choice.step, fallback ? MT_STEP_DEFAULT : MT_STEP_NEAREST_LAYER);
        assert_int_equal(choice.tuned_m, fallback ? 0 : 16);
        assert_int_equal(choice.tuned_rows8, fallback ? 0 : 160); /* "qkv" is of its shape */
        assert_true(choice.expected_ns == 0);
        assert_int_equal(up->slot_count, fallback ? 1 : qkv->slot_count);
        assert_int_equal(qkv->info.step, MT_STEP_EXACT);
        assert_int_equal(lookup(table, mt_table_layer_at(table, 1), 64).tuned_m, 32);
        table_release(table);
    }
    small.smem_per_block_optin = 1 << 10;
    bundle = sample();
    images_built(&bundle, images);
    assert_int_equal(table_build(&bundle, &small, 0, false, &table), MT_NO_DEVICE);
    assert_string_equal(fail_message(), "layer qkv of the bundle: none of the kernels for it can run on this GPU");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_that_do_not_fit_are_left_out),
        cmocka_unit_test(kernels_are_chosen_by_their_times),
        cmocka_unit_test(the_outermost_splits_reach_to_the_ends),
        cmocka_unit_test(layers_of_one_width_lend_mixed_images),
        cmocka_unit_test(mixed_splits_are_next_to_mixed_ones),
        cmocka_unit_test(names_keep_splits_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
