/* Dispatch without a device: which kernel a table answers with, and where from. */
#include "runtime/base/str.h"
#include "runtime/serve/table.h"
#include "tests/unit/serve/configs.h"
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

/* A bundle with layers at M 1, 16, 64, 1024 and 4096. Times: flat while memory-bound, then in proportion. */
static const int tuned_m[] = {1, 16, 64, 1024, 4096};
static const double tuned_ns[] = {8000, 8500, 11000, 100000, 400000};
enum { TUNED = 5, LAYERS = 4 };

static const struct bundle_layer layers[LAYERS] = {
    {"qkv", "tiny", 1, 6144, 4096, 128, 0, "w4a8", "fp16"},
    {"o", "tiny", 1, 64, 64, 128, 0, "w4a8", "fp16"},
    {"down", "tiny", 1, 4096, 14336, 64, 410, "mixed", "bf16"},
    {"qkv", "tiny", 2, 3072, 4096, 128, 0, "w4a8", "fp16"},
};
#define IMAGE(name)                                                                                                    \
    { .hash = (name), .data = (name), .size = 1 }
static struct bundle_image images[] = {IMAGE("a0"), IMAGE("a1"), IMAGE("a2"), IMAGE("a3"), IMAGE("c0"),
                                       IMAGE("c1"), IMAGE("c2"), IMAGE("c3"), IMAGE("d"),  IMAGE("q")};
enum { IMAGES = sizeof images / sizeof *images };
#define PLAIN SM80(128, 0, 16, 4, 4, 1, 0, 1, 1)
static const struct bundle_build fallbacks[] = {
    {"quantize", "", "", "fp16", 128, "q"},
    {"sm80", PLAIN, "w4a8", "fp16", 128, "d"},
};
/* Of a layer's M: one image for equal binaries. */
static const char *const narrow_images[] = {"a0", "a1", "a2", "a3", "a2"}, *const mixed_images[] = {"c0", "c1", "c2",
                                                                                                    "c3", "c2"};

static const char *config_at(int i) {
    static const char *const text[] = {SM80(128, 0, 8, 4, 4, 1, 0, 4, 1), SM80(128, 0, 16, 4, 4, 1, 0, 3, 1),
                                       SM80(128, 0, 32, 4, 4, 1, 0, 1, 1), SM80(128, 0, 64, 4, 4, 1, 0, 1, 8),
                                       SM80(128, 0, 32, 4, 4, 1, 0, 1, 1)};
    return text[i];
}

/* K of one step cannot be split. */
static const char *config_of(int layer, int i) {
    static const char *const text[] = {SM80(128, 0, 8, 4, 4, 1, 0, 1, 1), SM80(128, 0, 16, 4, 4, 1, 0, 1, 1)};
    return layer == 1 && i < 2 ? text[i] : config_at(i);
}

struct sample {
    struct bundle_entry entries[LAYERS * TUNED + 2];
    struct bundle bundle;
};

static void sample_init(struct sample *s) {
    int count = 0;
    for (int layer = 0; layer < LAYERS; layer++)
        for (int i = 0; i < TUNED; i++)
            s->entries[count++] = (struct bundle_entry){.layer = layer,
                                                        .m = tuned_m[i],
                                                        .kind = BUNDLE_KERNEL,
                                                        .family = "sm80",
                                                        .config = config_of(layer, i),
                                                        .image_hash = (layer == 2 ? mixed_images : narrow_images)[i],
                                                        .expected_ns = tuned_ns[i] * (layer + 1),
                                                        .origin = layer == 3 ? BUNDLE_MODELLED : BUNDLE_MEASURED};
    /* fp16 wins at 4096 in the first layer. In the order of bundle_read(). */
    s->entries[count++] = (struct bundle_entry){.layer = 0,
                                                .m = 4096,
                                                .kind = BUNDLE_FP16,
                                                .family = "cublas",
                                                .config = "",
                                                .image_hash = "",
                                                .expected_ns = 300000};
    for (int i = count - 1; i > TUNED; i--) {
        struct bundle_entry moved = s->entries[i];
        s->entries[i] = s->entries[i - 1];
        s->entries[i - 1] = moved;
    }
    s->bundle = (struct bundle){
        .fingerprint = {.gpu = "Example GPU", .cc = 80, .sm_count = 108, .template_hash = "", .layout = MT_LAYOUT},
        .layers = layers,
        .layer_count = LAYERS,
        .entries = s->entries,
        .entry_count = count,
        .fallbacks = fallbacks,
        .fallback_count = 2,
        .images = images,
        .image_count = IMAGES};
    images_built(&s->bundle, images);
}

static struct mt_table *table_of(struct sample *s, unsigned flags) {
    struct mt_table *table;
    sample_init(s);
    enum mt_status status = table_build(&s->bundle, &a100, flags, false, &table);
    if (status != MT_OK)
        print_message("%s\n", fail_message());
    assert_int_equal(status, MT_OK);
    return table;
}

static struct mt_layer *derive(const struct mt_table *table, struct problem p) {
    struct mt_layer *layer;
    if (layer_derive(table, &p, NULL, &layer) != MT_OK)
        fail_msg("%s", fail_message());
    return layer;
}

/* The load of an SM, as stairs.h has it, for kernels of 6144 features in tiles of 128. */
static double load(int tile, int m) {
    const double each = 48 * ceil((double)m / tile) / 108;
    return 0.7 * ceil(each) + 0.3 * each;
}

static void every_step_says_which_it_is(void **state) {
    (void)state;
    struct sample s;
    struct mt_table *table = table_of(&s, 0);
    const struct mt_layer *qkv = mt_table_layer_at(table, 0), *modelled = mt_table_layer_at(table, 3);
    for (int i = 0; i < TUNED; i++) {
        struct mt_choice c = lookup(table, qkv, tuned_m[i]);
        assert_int_equal(c.kind, MT_KIND_KERNEL);
        assert_int_equal(c.step, MT_STEP_EXACT);
        assert_int_equal(c.origin, MT_ORIGIN_MEASURED);
        assert_int_equal(c.tuned_m, tuned_m[i]);
        assert_true(c.expected_ns == tuned_ns[i]);
        assert_string_equal(c.family, "sm80");
        assert_string_equal(c.config, config_at(i));
        c = lookup(table, modelled, tuned_m[i]);
        assert_int_equal(c.origin, MT_ORIGIN_MODELLED);
        assert_true(c.expected_ns == tuned_ns[i] * 4);
    }
    struct mt_choice c = lookup(table, qkv, 40);
    assert_int_equal(c.step, MT_STEP_NEAREST_M);
    assert_int_equal(c.origin, MT_ORIGIN_MODELLED);
    assert_int_equal(c.tuned_m, 64);
    assert_true(c.expected_ns == 11000); /* as many tiles as at 64 */
    c = lookup(table, qkv, 8192);
    assert_int_equal(c.step, MT_STEP_NEAREST_M);
    assert_int_equal(c.tuned_m, 4096);
    assert_true(fabs(c.expected_ns - 800000) < 1e-3);
    c = lookup(table, qkv, 4097); /* one token more is one tile more */
    assert_true(fabs(c.expected_ns - 400000 * load(32, 4097) / load(32, 4096)) < 1e-3);
    assert_true(lookup(table, qkv, INT_MAX).expected_ns > 1e11);
    c = lookup(table, qkv, 1088); /* one wave more of the lower one's tiles */
    assert_int_equal(c.tuned_m, 1024);
    assert_true(fabs(c.expected_ns - 100000 * load(64, 1088) / load(64, 1024)) < 1e-3);
    c = lookup(table, qkv, 1025); /* and the other kernel has half of a tile left */
    assert_int_equal(c.tuned_m, 1024);

    /* Only its own times are promised. */
    struct mt_layer *other = derive(table, (struct problem){.n = 5000, .k = 4096, .group = 128});
    c = lookup(table, other, 64);
    assert_int_equal(c.step, MT_STEP_NEAREST_LAYER);
    assert_int_equal(c.origin, MT_ORIGIN_MODELLED);
    assert_int_equal(c.tuned_m, 64);
    assert_true(c.expected_ns == 0);
    layer_release(other);

    other = derive(table, (struct problem){.n = 1, .k = 1 << 20, .group = 128});
    c = lookup(table, other, 64);
    assert_int_equal(c.step, MT_STEP_DEFAULT);
    assert_int_equal(c.tuned_m, 0);
    assert_true(c.expected_ns == 0);
    assert_string_equal(c.config, PLAIN);
    layer_release(other);
    table_release(table);
}

/* A bundle of another GPU promises nothing, and runs the same kernels. */
static void foreign_times_are_not_promised(void **state) {
    (void)state;
    struct sample s;
    struct mt_table *table;
    sample_init(&s);
    assert_int_equal(table_build(&s.bundle, &a100, MT_ALLOW_OTHER_GPU, true, &table), MT_OK);
    const struct mt_layer *qkv = mt_table_layer_at(table, 0);
    for (int m = 1; m < 9000; m += 7) {
        struct mt_choice c = lookup(table, qkv, m);
        assert_true(c.expected_ns == 0);
        assert_int_equal(c.origin, MT_ORIGIN_MODELLED);
    }
    assert_int_equal(lookup(table, qkv, 16).step, MT_STEP_EXACT);
    assert_string_equal(lookup(table, qkv, 16).config, config_at(1));
    table_release(table);
}

static void no_tokens_are_nothing_to_do(void **state) {
    (void)state;
    struct sample s;
    struct mt_table *table = table_of(&s, MT_ALLOW_FP16);
    const struct mt_layer *qkv = mt_table_layer_at(table, 0);
    struct mt_choice c = lookup(table, qkv, 0);
    assert_int_equal(c.kind, MT_KIND_NOTHING);
    assert_true(c.expected_ns == 0 && c.tuned_m == 0 && !*c.family && !*c.config);
    assert_int_equal(mt_workspace_bytes(table, qkv, 0), 0);
    c.tuned_m = 7;
    assert_int_equal(mt_table_lookup(table, qkv, -1, &c), MT_USAGE);
    assert_string_equal(mt_error_message(), "mt_table_lookup: m is -1; it must be at least 0");
    assert_true(c.size == sizeof c && c.tuned_m == 0 && !c.config);

    /* Launches of nothing touch nothing: there is no device here. */
    const struct mt_quantize_operands quantize = {.size = sizeof quantize};
    struct mt_gemm_operands gemm = {.size = sizeof gemm, .flags = MT_PROGRAMMATIC};
    assert_int_equal(mt_quantize_launch(table, qkv, &quantize, NULL), MT_OK);
    assert_int_equal(mt_gemm_launch(table, qkv, &gemm, NULL), MT_OK);
    gemm.flags = 6;
    assert_int_equal(mt_gemm_launch(table, qkv, &gemm, NULL), MT_USAGE);
    assert_string_equal(mt_error_message(), "mt_gemm_launch: this library does not know the flags 0x6");
    table_release(table);
}

/* What cannot run in order is left out, what can gets its launch knobs for that, and such times are not promised. */
static void batch_invariance(void **state) {
    (void)state;
    struct sample s;
    struct mt_table *table = table_of(&s, MT_BATCH_INVARIANT | MT_ALLOW_FP16);
    const struct mt_layer *qkv = mt_table_layer_at(table, 0);
    assert_int_equal(qkv->slot_count, TUNED);
    assert_int_equal(config_get(&qkv->slots[0].kernel.config, "split_k"), 1);
    assert_int_equal(config_get(&qkv->slots[0].kernel.config, "tile_n"), 128);
    assert_int_equal(config_get(&qkv->slots[3].kernel.config, "raster"), 8);
    assert_non_null(strstr(lookup(table, qkv, 1).config, "tile_m=8,"));
    assert_non_null(strstr(lookup(table, qkv, 1).config, "split_k=1,"));
    for (int m = 1; m < 5000; m++) { /* 1 and 16 were split, and have no times as they run now */
        struct mt_choice c = lookup(table, qkv, m);
        assert_int_equal(c.kind, MT_KIND_KERNEL);
        assert_true((c.expected_ns > 0) == (c.tuned_m >= 64));
        assert_true(m < 64 || c.expected_ns > 0);
    }
    assert_true(lookup(table, qkv, 64).expected_ns == tuned_ns[2]);
    assert_string_equal(lookup(table, qkv, 64).config, config_at(2));
    assert_int_equal(mt_workspace_bytes(table, qkv, 5000), 0);
    struct mt_layer *other = derive(table, (struct problem){.n = 5000, .k = 4096, .group = 128});
    for (int i = 0; i < other->slot_count; i++)
        assert_int_equal(config_get(&other->slots[i].kernel.config, "split_k"), 1);
    layer_release(other);
    table_release(table);

    /* Hopper's kernels that share a tile within a cluster or a CTA cannot; with none left it is the default. */
    static const struct device_limits h100 = {.cc = 90,
                                              .sm_count = 132,
                                              .smem_per_block_optin = 232448,
                                              .smem_per_sm = 233472,
                                              .regs_per_sm = 65536,
                                              .threads_per_sm = 2048};
    static const char *const configs[] = {SM90(16, 8, 0, 2, 0), SM90(16, 8, 1, 1, 0), SM90(16, 8, 0, 1, 4)},
                             *const names[] = {"a0", "a1", "a2"};
    /* Of no use for few tokens alone. */
    static const struct bundle_build fallback[] = {{"sm90", SM90(64, 3, 0, 1, 0), "w4a8", "fp16", 128, "d"}};
    for (int first = 0; first < 3; first++) {
        struct bundle_entry entries[3];
        for (int i = 0; i < 3; i++)
            entries[i] = (struct bundle_entry){.m = 16 << i,
                                               .kind = BUNDLE_KERNEL,
                                               .family = "sm90",
                                               .config = configs[first == 2 && i == 0 ? 2 : i % 2],
                                               .image_hash = names[first == 2 && i == 0 ? 2 : i % 2],
                                               .expected_ns = 1000};
        struct bundle bundle = {.fingerprint = {.gpu = "", .cc = 90, .sm_count = 132, .layout = MT_LAYOUT},
                                .layers = layers,
                                .layer_count = 1,
                                .entries = entries,
                                .entry_count = 3,
                                .fallbacks = fallback,
                                .fallback_count = 1,
                                .images = images,
                                .image_count = IMAGES};
        images_built(&bundle, images);
        if (table_build(&bundle, &h100, first ? MT_BATCH_INVARIANT : 0, false, &table) != MT_OK)
            fail_msg("%s", fail_message());
        const struct mt_layer *layer = mt_table_layer_at(table, 0);
        struct mt_choice c = lookup(table, layer, 32);
        assert_int_equal(layer->tuned_count, first == 0 ? 3 : first == 1 ? 0 : 1);
        assert_int_equal(c.step, first == 0 ? MT_STEP_EXACT : first == 1 ? MT_STEP_DEFAULT : MT_STEP_NEAREST_M);
        assert_int_equal(c.tuned_m, first == 0 ? 32 : first == 1 ? 0 : 16);
        assert_true((c.expected_ns > 0) == (first == 0));
        assert_int_equal(config_get(&layer->slots[0].kernel.config, "stream_k"), 0);
        table_release(table);
    }
}

static void fp16_only_when_allowed(void **state) {
    (void)state;
    struct sample s;
    struct mt_table *table = table_of(&s, 0);
    assert_int_equal(lookup(table, mt_table_layer_at(table, 0), 4096).kind, MT_KIND_KERNEL);
    assert_true(lookup(table, mt_table_layer_at(table, 0), 4096).expected_ns == 400000);
    table_release(table);
    table = table_of(&s, MT_ALLOW_FP16);
    struct mt_choice c = lookup(table, mt_table_layer_at(table, 0), 4096);
    assert_int_equal(c.kind, MT_KIND_FP16);
    assert_int_equal(c.step, MT_STEP_EXACT);
    assert_int_equal(c.origin, MT_ORIGIN_MEASURED);
    assert_true(c.expected_ns == 300000 && c.quantize_ns == 0);
    assert_string_equal(c.family, "cublas");
    assert_string_equal(c.config, "");
    assert_int_equal(lookup(table, mt_table_layer_at(table, 0), 4000).kind, MT_KIND_FP16);
    assert_int_equal(lookup(table, mt_table_layer_at(table, 0), 1024).kind, MT_KIND_KERNEL);
    assert_int_equal(lookup(table, mt_table_layer_at(table, 1), 4096).kind, MT_KIND_KERNEL);
    table_release(table);

    /* Times of different origin are never compared; a slower GEMM is no choice. */
    for (int i = 0; i < 2; i++) {
        sample_init(&s);
        struct bundle_entry *entry = &s.entries[TUNED];
        assert_int_equal(entry->kind, BUNDLE_FP16);
        entry->origin = i ? BUNDLE_MEASURED : BUNDLE_MODELLED;
        entry->expected_ns = i ? 400001 : 300000;
        assert_int_equal(table_build(&s.bundle, &a100, MT_ALLOW_FP16, false, &table), MT_OK);
        assert_int_equal(lookup(table, mt_table_layer_at(table, 0), 4096).kind, MT_KIND_KERNEL);
        table_release(table);
    }
}

/* N and K must both be near; of such layers the one decides whose kernels fill the SMs most alike. */
static void nearest_layer_is_near_in_both(void **state) {
    (void)state;
    static const struct {
        int n, k, lender; /* the layer, -1: none is near */
    } shapes[] = {
        {6000, 4096, 0}, {3000, 4000, 3}, {100, 100, 1}, {1, 4096, -1},
        {4096, 1, -1},   {513, 64, -1},   {512, 512, 1}, {49153, 4096, -1},
    };
    struct sample s;
    struct mt_table *table = table_of(&s, 0);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct mt_layer *other = derive(table, (struct problem){.n = shapes[i].n, .k = shapes[i].k, .group = 128});
        assert_int_equal(other->info.step, shapes[i].lender < 0 ? MT_STEP_DEFAULT : MT_STEP_NEAREST_LAYER);
        if (shapes[i].lender >= 0) { /* origin and configuration tell whose kernels they are */
            assert_true(other->slots[0].modelled == (shapes[i].lender == 3));
            assert_true((strstr(other->slots[0].tuned, "split_k=1") != NULL) == (shapes[i].lender == 1));
        }
        layer_release(other);
    }
    table_release(table);
}

static void borrowed_kernels_fit_the_shape(void **state) {
    (void)state;
    struct sample s;
    struct mt_table *table = table_of(&s, 0);
    struct mt_layer *other = derive(table, (struct problem){.n = 70, .k = 100, .group = 128});
    assert_int_equal(other->slot_count, TUNED);
    for (int i = 0; i < other->slot_count; i++) /* K has one step: nothing to split */
        assert_int_equal(config_get(&other->slots[i].kernel.config, "split_k"), 1);
    assert_non_null(strstr(lookup(table, other, 1).config, "split_k=1"));
    assert_int_equal(config_get(&mt_table_layer_at(table, 0)->slots[0].kernel.config, "split_k"), 4);
    assert_int_equal(config_get(&mt_table_layer_at(table, 0)->slots[3].kernel.config, "raster"), 8);
    assert_int_equal(mt_workspace_bytes(table, other, 100000), 0);
    layer_release(other);

    struct problem p = {.n = 100, .k = 14336, .group = 64, .rows8 = 10, .dtype = DTYPE_BF16};
    other = derive(table, p); /* far, but there is no default for these formats */
    assert_int_equal(other->info.step, MT_STEP_NEAREST_LAYER);
    assert_int_equal(other->info.rows8, 10);
    layer_release(other);
    p.group = 256;
    assert_int_equal(layer_derive(table, &p, NULL, &other), MT_USAGE);
    assert_non_null(strstr(fail_message(), "mixed, group 256, bf16"));
    assert_null(other);
    table_release(table);
}

static void workspace_is_enough_for_every_m(void **state) {
    (void)state;
    struct sample s;
    struct mt_table *table = table_of(&s, 0);
    const struct mt_layer *qkv = mt_table_layer_at(table, 0);
    static const int limits[] = {1, 7, 16, 30, 64, 5000};
    size_t before = 0;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        size_t most = 0;
        for (int m = 1; m <= limits[i]; m++) {
            struct problem p = qkv->problem;
            struct launch_shape shape;
            const struct slot *slot = &qkv->slots[layer_slot(qkv, m)];
            p.m = m;
            slot->kernel.config.family->shape(&slot->kernel.config, &p, a100.sm_count, &shape);
            if (shape.partials_bytes > most && shape.counters_bytes <= 256 << 10)
                most = shape.partials_bytes;
        }
        const size_t enough = mt_workspace_bytes(table, qkv, limits[i]);
        assert_true(enough >= most + (256 << 10) && most > 0);
        assert_true(enough >= before); /* it grows with m_max */
        before = enough;
    }
    table_release(table);

    /* One slot that splits K and serves every M: beyond some M its counters have no room and K is not split. */
    sample_init(&s);
    struct bundle_entry only[LAYERS];
    for (int i = 0; i < LAYERS; i++) {
        only[i] = s.entries[0];
        only[i].layer = i;
        only[i].config = config_of(i, 0);
        only[i].image_hash = (i == 2 ? mixed_images : narrow_images)[0];
    }
    s.bundle.entries = only;
    s.bundle.entry_count = LAYERS;
    images_built(&s.bundle, images);
    assert_int_equal(table_build(&s.bundle, &a100, 0, false, &table), MT_OK);
    const struct mt_layer *one = mt_table_layer_at(table, 0);
    /* 48 feature tiles of 128; 65536 counters: 1365 token tiles of 8 */
    size_t largest = (size_t)48 * 1365 * 4 * 128 * 8 * sizeof(float) + (256 << 10);
    assert_int_equal(mt_workspace_bytes(table, one, 1365 * 8), largest);
    assert_int_equal(mt_workspace_bytes(table, one, 1365 * 8 + 1), largest);
    assert_int_equal(mt_workspace_bytes(table, one, 1 << 20), largest);
    assert_true(mt_workspace_bytes(table, one, 1364 * 8) < largest);
    table_release(table);
}

static CUresult no_context(CUcontext context) {
    (void)context;
    return CUDA_SUCCESS;
}

static CUresult any_module(CUmodule *out, const void *image) {
    (void)image;
    *out = (CUmodule)(void *)&images;
    return CUDA_SUCCESS;
}

static CUresult any_function(CUfunction *out, CUmodule module, const char *name) {
    (void)module, (void)name;
    *out = (CUfunction)(void *)&images;
    return CUDA_SUCCESS;
}

static CUresult no_attribute(CUfunction function, CUfunction_attribute attribute, int value) {
    (void)function, (void)attribute, (void)value;
    return CUDA_SUCCESS;
}

/* Loads whatever it is given. The tuned layers count as loaded: nothing is compiled for them. */
static void table_take_driver(struct mt_table *table) {
    for (int i = 0; i < table->layer_count; i++)
        table->layers[i].loaded = true;
    table->dev.drv.CtxSetCurrent = no_context;
    table->dev.drv.ModuleLoadData = any_module;
    table->dev.drv.ModuleGetFunction = any_function;
    table->dev.drv.FuncSetAttribute = no_attribute;
}

/* Images that were loaded so have memory alone. */
static void table_end(struct mt_table *table) {
    for (int i = 0; i < table->image_count; i++)
        image_release(&table->images[i].kernel.image);
    table_release(table);
}

static void layers_are_found_by_shape(void **state) {
    (void)state;
    struct sample s;
    struct mt_table *table = table_of(&s, 0);
    const struct mt_layer *layer, *again;
    assert_int_equal(mt_table_layer_count(table), LAYERS);
    assert_null(mt_table_layer_at(table, LAYERS));
    assert_null(mt_table_layer_at(table, -1));
    table_take_driver(table);
    struct mt_shape shape = {.size = sizeof shape, .n = 4096, .k = 14336, .rows8 = 410, .group = 64, .dtype = MT_BF16};
    assert_int_equal(mt_table_layer_shaped(table, &shape, &layer), MT_OK);
    assert_ptr_equal(layer, mt_table_layer_at(table, 2));

    static const struct {
        int n, k, rows8, group, dtype;
        const char *says;
    } wrong[] = {
        {0, 4000, 0, 128, MT_FP16, "N is 0"},
        {5000, 0, 0, 128, MT_FP16, "K is 0"},
        {5000, 4000, 0, 32, MT_FP16, "group size is 32"},
        {5000, 4000, 5001, 128, MT_FP16, "5001 of 5000 output features"},
        {5000, 4000, -1, 128, MT_FP16, "-1 of 5000 output features"},
        {5000, 4000, 0, 256, MT_FP16, "no kernel for w4a8, group 256, fp16"},
        {5000, 4000, 0, 128, MT_BF16, "no kernel for w4a8, group 128, bf16"},
        {5000, 4000, 5000, 128, MT_FP16, "no kernel for w8a8, group 128, fp16"},
        {5000, 4000, 5000, 128, 2, "dtype is 2"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        shape = (struct mt_shape){.size = sizeof shape,
                                  .n = wrong[i].n,
                                  .k = wrong[i].k,
                                  .rows8 = wrong[i].rows8,
                                  .group = wrong[i].group,
                                  .dtype = (enum mt_dtype)wrong[i].dtype};
        assert_int_equal(mt_table_layer_shaped(table, &shape, &layer), MT_USAGE);
        assert_null(layer);
        assert_non_null(strstr(mt_error_message(), wrong[i].says));
    }
    shape = (struct mt_shape){.size = sizeof shape, .n = 5000, .k = 4000, .group = 128};
    assert_int_equal(mt_table_layer_shaped(table, &shape, &layer), MT_OK);
    assert_int_equal(mt_table_layer_shaped(table, &shape, &again), MT_OK);
    assert_ptr_equal(layer, again);
    assert_non_null(layer->quantize);
    shape.symmetric = 1;
    assert_int_equal(mt_table_layer_shaped(table, &shape, &layer), MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "no kernel for w4a8-sym"));
    table_end(table);
}

static void layers_are_found_by_name(void **state) {
    (void)state;
    struct sample s;
    struct mt_table *table = table_of(&s, 0);
    const struct mt_layer *layer;
    struct mt_layer_info info = {.size = sizeof info};
    struct mt_query query = MT_QUERY_INIT;
    table_take_driver(table);
    query.name = "down";
    assert_int_equal(mt_table_layer_named(table, &query, &layer), MT_OK);
    assert_int_equal(mt_layer_describe(layer, &info), MT_OK);
    assert_string_equal(info.formats, "mixed");
    assert_string_equal(info.name, "down");
    assert_string_equal(info.model, "tiny");
    assert_true(info.size == sizeof info && info.tp == 1 && info.n == 4096 && info.k == 14336 && info.rows8 == 410 &&
                info.group == 64 && info.dtype == MT_BF16 && !info.symmetric && info.step == MT_STEP_EXACT);
    assert_int_equal(info.k_padded, 14336);
    assert_int_equal(info.groups, 224);
    assert_int_equal(info.layout, MT_LAYOUT);

    /* Each member alone tells layers apart; what matches none says what was asked for. */
    static const struct {
        struct mt_query query; /* without a size */
        int layer;             /* -1: none, -2: several */
        const char *says;
    } cases[] = {
        {{0, "o", "tiny", 0, 0, MT_ANY, MT_ANY, MT_ANY, 0}, 1, ""},
        {{0, "qkv", NULL, 2, 0, MT_ANY, MT_ANY, MT_ANY, 0}, 3, ""},
        {{0, NULL, NULL, 0, 64, MT_ANY, MT_ANY, MT_ANY, 0}, 2, ""},
        {{0, NULL, NULL, 0, 0, MT_BF16, MT_ANY, MT_ANY, 0}, 2, ""},
        {{0, NULL, NULL, 0, 0, MT_ANY, 410, MT_ANY, 0}, 2, ""},
        {{0, "o", NULL, 1, 128, MT_FP16, 0, 0, 0}, 1, ""},
        {{0, "o", "other", 0, 0, MT_ANY, MT_ANY, MT_ANY, 0},
         -1,
         "the bundle has no layer o of other; mt_table_layer_at() tells which layers it has"},
        {{0, "o", NULL, 3, 128, MT_BF16, 5, 1, 0},
         -1,
         "the bundle has no layer o, tp 3, group 128, bf16, symmetric, 5 features in 8 bits; mt_table_layer_at() tells "
         "which layers it has"},
        {{0, "qkv", NULL, 0, 0, MT_ANY, MT_ANY, MT_ANY, 0},
         -2,
         "the bundle has 2 times layer qkv: tiny/qkv fp16 group 128 tp 1 w4a8 with 0 of 6144 features in 8 bits, "
         "tiny/qkv fp16 group 128 tp 2 w4a8 with 0 of 3072 features in 8 bits; say more, or take one by "
         "mt_table_layer_at()"},
        {{0, "qkv", NULL, 0, 0, MT_ANY, 77, MT_ANY, 0},
         -2,
         "the bundle has 2 times layer qkv, 77 features in 8 bits: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        query = cases[i].query;
        query.size = sizeof query;
        enum mt_status status = mt_table_layer_named(table, &query, &layer);
        if (status != (cases[i].layer < 0 ? MT_USAGE : MT_OK))
            fail_msg("case %zu: %s", i, mt_error_message());
        assert_ptr_equal(layer, mt_table_layer_at(table, cases[i].layer));
        if (status != MT_OK && strncmp(mt_error_message(), cases[i].says, strlen(cases[i].says)) != 0)
            fail_msg("'%s' instead of '%s'", mt_error_message(), cases[i].says);
    }
    query = (struct mt_query)MT_QUERY_INIT;
    query.flags = 1;
    assert_int_equal(mt_table_layer_named(table, &query, &layer), MT_USAGE);
    assert_string_equal(mt_error_message(), "mt_table_layer_named: this library does not know the flags 0x1");
    query = (struct mt_query)MT_QUERY_INIT;
    query.name = "o";
    query.rows8 = 65;
    assert_int_equal(mt_table_layer_named(table, &query, &layer), MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "65 of 64 output features"));
    table_release(table);
}

static void other_bundles_are_refused(void **state) {
    (void)state;
    struct sample s;
    struct mt_table *table;
    sample_init(&s);
    s.entries[3].family = "sm999";
    assert_int_equal(table_build(&s.bundle, &a100, 0, false, &table), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "sm999"));
    assert_null(table);
    sample_init(&s);
    s.entries[3].family = "f16"; /* its arguments are others */
    assert_int_equal(table_build(&s.bundle, &a100, 0, false, &table), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "no quantised kernels of family \"f16\""));
    sample_init(&s);
    s.entries[TUNED - 1].m = (1 << 24) + 1;
    assert_int_equal(table_build(&s.bundle, &a100, 0, false, &table), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "layer qkv of the bundle: its winner at M 16777217: M is 16777217"));
    sample_init(&s);
    s.entries[3].config = "tile_q=3";
    assert_true(table_build(&s.bundle, &a100, 0, false, &table) != MT_OK);
    assert_non_null(strstr(fail_message(), "layer qkv"));

    sample_init(&s);
    s.bundle.fingerprint.layout = 2;
    assert_int_equal(table_build(&s.bundle, &a100, 0, false, &table), MT_FAILURE);
    assert_string_equal(fail_message(), "the kernels of the bundle read weights in layout 2, and this library packs "
                                        "layout 1: export it again with this version");
    struct bundle_layer lying[LAYERS];
    for (int i = 0; i < 2; i++) { /* a scheme that does not fit its rows8; more 8-bit features than there are */
        memcpy(lying, layers, sizeof lying);
        lying[2].rows8 = i ? 4097 : 0;
        sample_init(&s);
        s.bundle.layers = lying;
        assert_int_equal(table_build(&s.bundle, &a100, 0, false, &table), MT_FAILURE);
        assert_non_null(strstr(fail_message(), i ? "4097 of 4096" : "0 of 4096 features in 8 bits has scheme"));
        assert_non_null(strstr(fail_message(), "layer down"));
    }
}

/* ---- what needs no table ---- */

static void *another_thread(void *is_quiet) {
    *(bool *)is_quiet = *mt_error_message() == 0;
    return NULL;
}

static void the_library_tells_version_and_failures(void **state) {
    (void)state;
    struct sample s;
    struct mt_table *table = table_of(&s, 0), *none;
    const struct mt_layer *layer;
    pthread_t thread;
    bool is_quiet = false;
    assert_int_equal(mt_api_version(), 3);
    assert_int_equal(mt_api_version(), MT_API_VERSION);
    struct mt_query query = MT_QUERY_INIT;
    query.name = "nothing";
    assert_int_equal(mt_table_layer_named(table, &query, &layer), MT_USAGE);
    assert_string_equal(mt_error_message(),
                        "the bundle has no layer nothing; mt_table_layer_at() tells which layers it has");
    assert_int_equal(mt_table_open("nowhere", 24, &none), MT_USAGE);
    assert_string_equal(mt_error_message(), "mt_table_open: this library does not know the flags 0x18");
    assert_null(none);
    assert_int_equal(pthread_create(&thread, NULL, another_thread, &is_quiet), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(is_quiet);
    table_release(table);
    mt_table_close(NULL);
    mt_packed_free(NULL);
}

static void numbers_are_converted(void **state) {
    (void)state;
    static const struct {
        float value;
        uint16_t bits[2];
        float back[2];
    } cases[] = {
        {1, {0x3c00, 0x3f80}, {1, 1}},
        {-2.5f, {0xc100, 0xc020}, {-2.5f, -2.5f}},
        {65519, {0x7bff, 0x4780}, {65504, 65536}},
        {65520, {0x7c00, 0x4780}, {INFINITY, 65536}},
        {0x1p-24f, {0x0001, 0x3380}, {0x1p-24f, 0x1p-24f}},
        {0x1p-126f, {0, 0x0080}, {0, 0x1p-126f}},
        {1.00390625f, {0x3c04, 0x3f80}, {1.00390625f, 1}},         /* half way in bf16: to even */
        {1.01171875f, {0x3c0c, 0x3f82}, {1.01171875f, 1.015625f}}, /* likewise */
    };
    enum { COUNT = sizeof cases / sizeof *cases };
    float from[COUNT], to[COUNT + 1];
    uint16_t bits[COUNT + 1];
    for (int i = 0; i < COUNT; i++)
        from[i] = cases[i].value;
    for (int type = MT_FP16; type <= MT_BF16; type++) {
        bits[COUNT] = 0x1234;
        to[COUNT] = 5;
        mt_from_float((enum mt_dtype)type, from, bits, COUNT);
        mt_to_float((enum mt_dtype)type, bits, to, COUNT);
        for (int i = 0; i < COUNT; i++) {
            assert_int_equal(bits[i], cases[i].bits[type]);
            assert_true(to[i] == cases[i].back[type]);
        }
        assert_true(bits[COUNT] == 0x1234 && to[COUNT] == 5);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_says_which_it_is),     cmocka_unit_test(fp16_only_when_allowed),
        cmocka_unit_test(nearest_layer_is_near_in_both),   cmocka_unit_test(borrowed_kernels_fit_the_shape),
        cmocka_unit_test(workspace_is_enough_for_every_m), cmocka_unit_test(foreign_times_are_not_promised),
        cmocka_unit_test(no_tokens_are_nothing_to_do),     cmocka_unit_test(batch_invariance),
        cmocka_unit_test(layers_are_found_by_shape),       cmocka_unit_test(layers_are_found_by_name),
        cmocka_unit_test(other_bundles_are_refused),       cmocka_unit_test(the_library_tells_version_and_failures),
        cmocka_unit_test(numbers_are_converted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
