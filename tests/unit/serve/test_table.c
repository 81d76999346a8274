/* Dispatch without a device: which kernel a table answers with, and where from. */
#include "runtime/base/str.h"
#include "runtime/layer/half.h"
#include "runtime/layer/quant.h"
#include "runtime/serve/table.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

static const struct device_limits a100 = {.cc = 80,
                                          .sm_count = 108,
                                          .smem_per_block_optin = 166912,
                                          .smem_per_sm = 167936,
                                          .regs_per_sm = 65536,
                                          .threads_per_sm = 2048};

/* A bundle with layers at M 1, 16, 64, 1024 and 4096. Times: flat while memory-bound, then in proportion. */
static const int tuned_m[] = {1, 16, 64, 1024, 4096};
static const double tuned_ns[] = {8000, 8500, 11000, 100000, 400000};
enum { TUNED = 5, LAYERS = 4 };

static const int tile_m[] = {8, 16, 32, 64, 32}; /* of config_at() */

static const struct bundle_layer layers[LAYERS] = {
    {"qkv", "tiny", 1, 6144, 4096, 128, "w4a8", "fp16"},
    {"o", "tiny", 1, 64, 64, 128, "w4a8", "fp16"},
    {"down", "tiny", 1, 4096, 14336, 64, "w4.4a8", "bf16"},
    {"qkv", "tiny", 2, 3072, 4096, 128, "w4a8", "fp16"},
};
static const struct bundle_image images[] = {{.hash = "a", .data = "a", .size = 1},
                                             {.hash = "b", .data = "b", .size = 1},
                                             {.hash = "q", .data = "q", .size = 1}};
static const struct bundle_fallback fallbacks[] = {
    {"sm80", "tile_m=16", "w4a8", "fp16", 128, "b"},
    {"quantize", "", "", "fp16", 128, "q"},
};

static const char *config_at(int i) {
    static const char *const text[] = {"tile_n=128,tile_m=8,split_k=4", "tile_m=16,split_k=3", "tile_m=32",
                                       "tile_m=64,raster=8", "tile_m=32,raster=1"};
    return text[i];
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
                                                        .config = config_at(i),
                                                        .image_hash = i % 2 ? "a" : "b",
                                                        .expected_ns = tuned_ns[i] * (layer + 1),
                                                        .origin = layer == 3 ? BUNDLE_MODELLED : BUNDLE_MEASURED};
    /* cuBLAS wins at 4096 in the first layer; a slower one at 1024 does not. In the order of bundle_read(). */
    s->entries[count++] = (struct bundle_entry){.layer = 0,
                                                .m = 4096,
                                                .kind = BUNDLE_CUBLAS,
                                                .family = "cublas",
                                                .config = "",
                                                .image_hash = "",
                                                .expected_ns = 300000};
    for (int i = count - 1; i > TUNED; i--) {
        struct bundle_entry moved = s->entries[i];
        s->entries[i] = s->entries[i - 1];
        s->entries[i - 1] = moved;
    }
    s->bundle = (struct bundle){.fingerprint = {.gpu = "Example GPU", .cc = 80, .sm_count = 108, .template_hash = ""},
                                .layers = layers,
                                .layer_count = LAYERS,
                                .entries = s->entries,
                                .entry_count = count,
                                .fallbacks = fallbacks,
                                .fallback_count = 2,
                                .images = images,
                                .image_count = 3};
}

static struct mt_table *table_of(struct sample *s, unsigned flags) {
    struct mt_table *table;
    sample_init(s);
    enum mt_status status = table_build(&s->bundle, &a100, flags, &table);
    if (status != MT_OK)
        print_message("%s\n", fail_message());
    assert_int_equal(status, MT_OK);
    return table;
}

static void every_step_says_which_it_is(void **state) {
    (void)state;
    struct sample s;
    struct mt_table *table = table_of(&s, 0);
    const struct mt_layer *qkv = mt_table_layer_at(table, 0), *modelled = mt_table_layer_at(table, 3);
    for (int i = 0; i < TUNED; i++) {
        struct mt_choice c = mt_table_lookup(table, qkv, tuned_m[i]);
        assert_int_equal(c.kind, MT_KIND_KERNEL);
        assert_int_equal(c.step, MT_STEP_EXACT);
        assert_int_equal(c.origin, MT_ORIGIN_MEASURED);
        assert_int_equal(c.tuned_m, tuned_m[i]);
        assert_true(c.expected_ns == tuned_ns[i]);
        assert_string_equal(c.family, "sm80");
        assert_string_equal(c.config, config_at(i));
        assert_int_equal(qkv->slots[i].tile, tile_m[i]);
        c = mt_table_lookup(table, modelled, tuned_m[i]);
        assert_int_equal(c.origin, MT_ORIGIN_MODELLED);
        assert_true(c.expected_ns == tuned_ns[i] * 4);
    }
    struct mt_choice c = mt_table_lookup(table, qkv, 40);
    assert_int_equal(c.step, MT_STEP_NEAREST_M);
    assert_int_equal(c.origin, MT_ORIGIN_MODELLED);
    assert_int_equal(c.tuned_m, 64);
    assert_true(c.expected_ns == 8500 + (11000 - 8500) * 24 / 48.0);
    c = mt_table_lookup(table, qkv, 8192);
    assert_int_equal(c.step, MT_STEP_NEAREST_M);
    assert_int_equal(c.tuned_m, 4096);
    assert_true(c.expected_ns == 800000);
    c = mt_table_lookup(table, qkv, 4097); /* one token more is one tile more */
    assert_true(fabs(c.expected_ns - 400000 * 129 / 128.0) < 1e-6);
    c = mt_table_lookup(table, qkv, 1088); /* near the lower one, and whole tiles */
    assert_int_equal(c.tuned_m, 1024);

    struct problem p = {.n = 5000, .k = 4096, .group = 128};
    struct mt_layer *other;
    assert_int_equal(layer_derive(table, &p, &other), MT_OK);
    c = mt_table_lookup(table, other, 64);
    assert_int_equal(c.step, MT_STEP_NEAREST_LAYER);
    assert_int_equal(c.origin, MT_ORIGIN_MODELLED);
    assert_true(fabs(c.expected_ns - 11000 * 5000 / 6144.0) < 1e-6);
    layer_release(other);

    p = (struct problem){.n = 1, .k = 1 << 20, .group = 128};
    assert_int_equal(layer_derive(table, &p, &other), MT_OK);
    c = mt_table_lookup(table, other, 64);
    assert_int_equal(c.step, MT_STEP_DEFAULT);
    assert_int_equal(c.tuned_m, 0);
    assert_true(c.expected_ns == 0);
    assert_string_equal(c.config, "tile_m=16");
    layer_release(other);
    table_release(table);
}

/* The rule of mixtune.h, in logarithms: whether m or anything above it is near enough to `low` and not slower there. */
static bool lower_serves(int low, int m) {
    double a = tuned_m[low], b = tuned_m[low + 1];
    for (; m < b && 4 * log(m / a) <= log(b / m) + 1e-12; m++) {
        double line = tuned_ns[low] + (tuned_ns[low + 1] - tuned_ns[low]) * (m - a) / (b - a);
        if (tuned_ns[low] * ceil((double)m / tile_m[low]) / ceil(a / tile_m[low]) <= 1.01 * line)
            return true;
    }
    return false;
}

static void nearest_m_follows_the_rule(void **state) {
    (void)state;
    struct sample s;
    struct mt_table *table = table_of(&s, 0);
    const struct mt_layer *qkv = mt_table_layer_at(table, 0);
    int below = 0;
    double before = 0;
    for (int m = 1; m <= 5000; m++) {
        int high = 0;
        while (high < TUNED - 1 && tuned_m[high] < m)
            high++;
        int want = high > 0 && m < tuned_m[high] && lower_serves(high - 1, m) ? high - 1 : high;
        struct mt_choice c = mt_table_lookup(table, qkv, m);
        assert_int_equal(c.tuned_m, tuned_m[want]);
        assert_true(c.expected_ns >= before);
        before = c.expected_ns;
        below += m != tuned_m[want] && tuned_m[want] < m && m < 4096;
    }
    assert_true(below > 10);
    table_release(table);
}

static void cublas_only_when_allowed(void **state) {
    (void)state;
    struct sample s;
    struct mt_table *table = table_of(&s, 0);
    assert_int_equal(mt_table_lookup(table, mt_table_layer_at(table, 0), 4096).kind, MT_KIND_KERNEL);
    assert_true(mt_table_lookup(table, mt_table_layer_at(table, 0), 4096).expected_ns == 400000);
    table_release(table);
    table = table_of(&s, MT_ALLOW_CUBLAS);
    struct mt_choice c = mt_table_lookup(table, mt_table_layer_at(table, 0), 4096);
    assert_int_equal(c.kind, MT_KIND_CUBLAS);
    assert_int_equal(c.step, MT_STEP_EXACT);
    assert_true(fabs(c.expected_ns - 300000) < 1e-6);
    assert_int_equal(mt_table_lookup(table, mt_table_layer_at(table, 0), 4000).kind, MT_KIND_CUBLAS);
    assert_int_equal(mt_table_lookup(table, mt_table_layer_at(table, 0), 1024).kind, MT_KIND_KERNEL);
    assert_int_equal(mt_table_lookup(table, mt_table_layer_at(table, 1), 4096).kind, MT_KIND_KERNEL);
    table_release(table);

    /* Times of different origin are never compared; a slower cuBLAS is no choice. */
    for (int i = 0; i < 2; i++) {
        sample_init(&s);
        struct bundle_entry *entry = &s.entries[TUNED];
        assert_int_equal(entry->kind, BUNDLE_CUBLAS);
        entry->origin = i ? BUNDLE_MEASURED : BUNDLE_MODELLED;
        entry->expected_ns = i ? 400001 : 300000;
        assert_int_equal(table_build(&s.bundle, &a100, MT_ALLOW_CUBLAS, &table), MT_OK);
        assert_int_equal(mt_table_lookup(table, mt_table_layer_at(table, 0), 4096).kind, MT_KIND_KERNEL);
        table_release(table);
    }
}

/* N and K are compared each for itself. */
static void nearest_layer_is_near_in_both(void **state) {
    (void)state;
    static const struct {
        int n, k;
        double ns; /* of the lender at M 1, grown to this N and K; 0: none is near */
    } shapes[] = {
        {6000, 4096, 8000.0 * 6000 * 4096 / (6144.0 * 4096)},
        {3000, 4000, 32000.0 * 3000 * 4000 / (3072.0 * 4096)},
        {100, 100, 16000.0 * 100 * 100 / (64.0 * 64)},
        {1, 4096, 0},
        {4096, 1, 0},
        {513, 64, 0},
        {512, 512, 32000.0 * 512 * 512 / (3072.0 * 4096)},
        {49153, 4096, 0},
    };
    struct sample s;
    struct mt_table *table = table_of(&s, 0);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct problem p = {.n = shapes[i].n, .k = shapes[i].k, .group = 128};
        struct mt_layer *other;
        assert_int_equal(layer_derive(table, &p, &other), MT_OK);
        assert_int_equal(other->info.step, shapes[i].ns > 0 ? MT_STEP_NEAREST_LAYER : MT_STEP_DEFAULT);
        assert_true(fabs(mt_table_lookup(table, other, 1).expected_ns - shapes[i].ns) <= 1e-9 * shapes[i].ns);
        layer_release(other);
    }
    table_release(table);
}

static void borrowed_kernels_fit_the_shape(void **state) {
    (void)state;
    struct sample s;
    struct mt_table *table = table_of(&s, 0);
    struct problem p = {.n = 70, .k = 100, .group = 128};
    struct mt_layer *other;
    assert_int_equal(layer_derive(table, &p, &other), MT_OK);
    assert_int_equal(other->slot_count, TUNED);
    for (int i = 0; i < other->slot_count; i++) /* K has one step: nothing to split */
        assert_int_equal(config_get(&other->slots[i].kernel.config, "split_k"), 1);
    assert_int_equal(config_get(&mt_table_layer_at(table, 0)->slots[0].kernel.config, "split_k"), 4);
    assert_int_equal(config_get(&mt_table_layer_at(table, 0)->slots[3].kernel.config, "raster"), 8);
    assert_int_equal(mt_workspace_bytes(table, other, 100000), 0);
    layer_release(other);

    p = (struct problem){.n = 4, .k = 14336, .group = 64, .rows8 = 1, .dtype = DTYPE_BF16};
    assert_int_equal(layer_derive(table, &p, &other), MT_USAGE); /* no feature would keep 8 bits */
    p.n = 100;
    assert_int_equal(layer_derive(table, &p, &other), MT_OK); /* far, but there is no default for these formats */
    assert_int_equal(other->info.step, MT_STEP_NEAREST_LAYER);
    assert_int_equal(other->info.rows[0], 10);
    layer_release(other);
    p.group = 256;
    assert_int_equal(layer_derive(table, &p, &other), MT_USAGE);
    assert_non_null(strstr(fail_message(), "w4.4a8, group 256, bf16"));
    assert_null(other);
    table_release(table);
}

static void workspace_is_enough_for_every_m(void **state) {
    (void)state;
    struct sample s;
    struct mt_table *table = table_of(&s, 0);
    const struct mt_layer *qkv = mt_table_layer_at(table, 0);
    static const int limits[] = {1, 7, 16, 30, 64, 5000};
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
        assert_int_equal(mt_workspace_bytes(table, qkv, limits[i]), most ? most + (256 << 10) : 0);
        assert_true(most > 0);
    }
    table_release(table);

    /* One slot that splits K and serves every M: beyond some M its counters have no room and K is not split. */
    sample_init(&s);
    struct bundle_entry only[LAYERS];
    for (int i = 0; i < LAYERS; i++) {
        only[i] = s.entries[0];
        only[i].layer = i;
        only[i].config = layers[i].k > 128 ? "tile_n=128,tile_m=8,split_k=4" : "tile_m=8";
    }
    s.bundle.entries = only;
    s.bundle.entry_count = LAYERS;
    assert_int_equal(table_build(&s.bundle, &a100, 0, &table), MT_OK);
    const struct mt_layer *one = mt_table_layer_at(table, 0);
    /* 48 feature tiles of 128; 65536 counters: 1365 token tiles of 8 */
    size_t largest = (size_t)48 * 1365 * 4 * 128 * 8 * sizeof(float) + (256 << 10);
    assert_int_equal(mt_workspace_bytes(table, one, 1365 * 8), largest);
    assert_int_equal(mt_workspace_bytes(table, one, 1365 * 8 + 1), largest);
    assert_int_equal(mt_workspace_bytes(table, one, 1 << 20), largest);
    assert_true(mt_workspace_bytes(table, one, 1364 * 8) < largest);
    table_release(table);
}

static void layers_are_found(void **state) {
    (void)state;
    struct sample s;
    struct mt_table *table = table_of(&s, 0);
    const struct mt_layer *layer;
    struct mt_layer_info info;
    assert_int_equal(mt_table_layer_count(table), LAYERS);
    assert_null(mt_table_layer_at(table, LAYERS));
    assert_int_equal(mt_table_layer_named(table, NULL, "down", NULL, &layer), MT_OK);
    mt_layer_describe(layer, &info);
    assert_string_equal(info.shape.scheme, "w4.4a8");
    assert_int_equal(info.shape.dtype, MT_BF16);
    assert_int_equal(info.k_padded, 14336);
    assert_int_equal(info.groups, 224);
    assert_int_equal(info.rows[0], 410);
    assert_int_equal(info.rows[1], 3686);
    assert_int_equal(mt_table_layer_named(table, "tiny", "o", "w4a8", &layer), MT_OK);
    assert_int_equal(mt_table_layer_named(table, "other", "o", NULL, &layer), MT_USAGE);
    assert_int_equal(mt_table_layer_named(table, NULL, "o", "w8a8", &layer), MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "no layer o in w8a8"));
    assert_int_equal(mt_table_layer_named(table, NULL, "qkv", NULL, &layer), MT_USAGE); /* tp 1 and tp 2 */
    assert_non_null(strstr(mt_error_message(), "2 layers"));
    assert_null(layer);
    struct mt_shape shape = {4096, 14336, 64, MT_BF16, "w4.4a8"};
    assert_int_equal(mt_table_layer_shaped(table, &shape, &layer), MT_OK);
    assert_ptr_equal(layer, mt_table_layer_at(table, 2));
    shape.scheme = "w5";
    assert_int_equal(mt_table_layer_shaped(table, &shape, &layer), MT_USAGE);
    shape.scheme = "w4a8";
    shape.group = 32;
    assert_int_equal(mt_table_layer_shaped(table, &shape, &layer), MT_USAGE);
    assert_null(layer);

    static const struct {
        struct mt_shape shape;
        const char *says;
    } wrong[] = {
        {{0, 4000, 128, MT_FP16, "w4a8"}, "N is 0"},
        {{5000, 0, 128, MT_FP16, "w4a8"}, "K is 0"},
        {{5000, 4000, 256, MT_FP16, "w4a8"}, "no kernel for w4a8, group 256, fp16"},
        {{5000, 4000, 128, MT_BF16, "w4a8"}, "no kernel for w4a8, group 128, bf16"},
        {{5000, 4000, 128, MT_FP16, "w8a8"}, "no kernel for w8a8, group 128, fp16"},
        {{4, 4000, 64, MT_BF16, "w4.4a8"}, "4 features are too few for a mix of widths"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(mt_table_layer_shaped(table, &wrong[i].shape, &layer), MT_USAGE);
        assert_null(layer);
        assert_non_null(strstr(mt_error_message(), wrong[i].says));
    }
    shape = (struct mt_shape){5000, 4000, 128, MT_FP16, "w4a8"};
    const struct mt_layer *again;
    assert_int_equal(mt_table_layer_shaped(table, &shape, &layer), MT_OK);
    assert_int_equal(mt_table_layer_shaped(table, &shape, &again), MT_OK);
    assert_ptr_equal(layer, again);
    assert_non_null(layer->quantize);
    table_release(table);
}

static void other_devices_and_bundles_are_refused(void **state) {
    (void)state;
    struct device dev = {.cc = 80, .sm_count = 108, .name = "Example GPU"};
    struct bundle_fingerprint made_for = {.gpu = "Example GPU", .cc = 80, .sm_count = 108};
    assert_int_equal(table_check_device(&made_for, &dev, 0), MT_OK);
    dev.sm_count = 104;
    assert_int_equal(table_check_device(&made_for, &dev, 0), MT_NO_DEVICE);
    assert_non_null(strstr(fail_message(), "104 SMs"));
    assert_int_equal(table_check_device(&made_for, &dev, MT_ALLOW_OTHER_GPU), MT_OK);
    dev = (struct device){.cc = 90, .sm_count = 108, .name = "Example GPU"};
    assert_int_equal(table_check_device(&made_for, &dev, 0), MT_NO_DEVICE);
    dev = (struct device){.cc = 80, .sm_count = 108, .name = "Another GPU"};
    assert_int_equal(table_check_device(&made_for, &dev, MT_ALLOW_CUBLAS), MT_NO_DEVICE);

    struct sample s;
    struct mt_table *table;
    sample_init(&s);
    s.entries[3].family = "sm999";
    assert_int_equal(table_build(&s.bundle, &a100, 0, &table), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "sm999"));
    assert_null(table);
    sample_init(&s);
    s.entries[3].config = "tile_q=3";
    assert_true(table_build(&s.bundle, &a100, 0, &table) != MT_OK);
    assert_non_null(strstr(fail_message(), "layer qkv"));

    /* A GPU with little shared memory: kernels that need more are left out. */
    struct device_limits small = a100;
    small.smem_per_block_optin = 110 << 10;
    sample_init(&s);
    s.entries[4].config = "tile_n=128,tile_m=128,warps_n=4,warps_m=2,stages=8";
    assert_int_equal(table_build(&s.bundle, &small, 0, &table), MT_OK);
    assert_int_equal(mt_table_layer_at(table, 0)->slot_count, TUNED - 1);
    assert_int_equal(mt_table_lookup(table, mt_table_layer_at(table, 0), 4096).tuned_m, 1024);
    table_release(table);
    small.smem_per_block_optin = 1 << 10;
    sample_init(&s);
    assert_int_equal(table_build(&s.bundle, &small, 0, &table), MT_FAILURE);
    assert_non_null(strstr(fail_message(), "can run on this GPU"));
}

/* ---- what needs no table ---- */

static void *another_thread(void *is_quiet) {
    *(bool *)is_quiet = *mt_error_message() == 0;
    return NULL;
}

static void the_library_tells_version_and_failures(void **state) {
    (void)state;
    struct sample s;
    struct mt_table *table = table_of(&s, 0);
    const struct mt_layer *layer;
    pthread_t thread;
    bool is_quiet = false;
    assert_int_equal(mt_api_version(), 1);
    assert_int_equal(mt_api_version(), MT_API_VERSION);
    assert_int_equal(mt_table_layer_named(table, NULL, "nothing", NULL, &layer), MT_USAGE);
    assert_string_equal(mt_error_message(), "the bundle has no layer nothing; mt_table_layer_at() lists those it has");
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

/* ---- packing ---- */

static void assert_same_part(const struct mt_packed_part *a, const struct mt_packed_part *b) {
    assert_int_equal(a->rows, b->rows);
    assert_int_equal(a->padded_rows, b->padded_rows);
    assert_true(a->weights_bytes == b->weights_bytes && a->scales_bytes == b->scales_bytes &&
                a->zeros_bytes == b->zeros_bytes && a->columns_bytes == b->columns_bytes);
    assert_memory_equal(a->weights, b->weights, a->weights_bytes);
    assert_memory_equal(a->scales, b->scales, a->scales_bytes);
    assert_memory_equal(a->zeros, b->zeros, a->zeros_bytes);
    assert_memory_equal(a->columns, b->columns, a->columns_bytes);
}

/* A layer's codes, scales and zero points as another program would have them. */
struct foreign {
    int8_t codes[100 * 300];
    uint16_t scales[5 * 100];
    uint8_t zeros[5 * 100], is8[100];
};

static void take_apart(const struct quant_layer *layer, struct foreign *out) {
    *out = (struct foreign){0};
    for (int i = 0; i < 2; i++) {
        const struct quant_part *part = &layer->part[i];
        for (int row = 0; row < part->rows; row++) {
            int column = part->columns[row];
            out->is8[column] = part->bits == 8;
            memcpy(out->codes + column * 300, part->q + row * layer->k_padded, 300);
            for (int g = 0; g < 5; g++) {
                out->scales[g * 100 + column] = part->scales[g * part->padded_rows + row];
                out->zeros[g * 100 + column] = part->zeros[g * part->padded_rows + row];
            }
        }
    }
}

/* 100 features of 300 inputs, a tenth of them in 8 bits; groups of 64. */
static void codes_are_packed_as_floats_are(void **state) {
    (void)state;
    static const struct mt_packed_part sizes[2] = {{.rows = 10,
                                                    .padded_rows = 16,
                                                    .weights_bytes = 16 * 384,
                                                    .scales_bytes = 6 * 16 * 2,
                                                    .zeros_bytes = 6 * 16,
                                                    .columns_bytes = 10 * 4},
                                                   {.rows = 90,
                                                    .padded_rows = 96,
                                                    .weights_bytes = 96 * 192,
                                                    .scales_bytes = 6 * 96 * 2,
                                                    .zeros_bytes = 6 * 96,
                                                    .columns_bytes = 90 * 4}};
    struct sample s;
    struct mt_table *table = table_of(&s, 0);
    struct problem p = {.n = 100, .k = 300, .group = 64, .rows8 = 10, .dtype = DTYPE_BF16};
    struct mt_layer *layer;
    struct mt_packed *from_floats, *from_codes;
    struct quant_layer quantised;
    struct foreign *foreign = xmalloc(sizeof *foreign);
    float *w = xmalloc(100 * 300 * sizeof *w);
    for (int i = 0; i < 100 * 300; i++)
        w[i] = (float)(i * 7919 % 1000 - 500) / 700;
    assert_int_equal(layer_derive(table, &p, &layer), MT_OK);
    assert_int_equal(mt_pack_float(layer, w, NULL, &from_floats), MT_OK);
    p.m = 1;
    assert_int_equal(quant_layer_init(&quantised, &p, w, NULL), MT_OK);
    take_apart(&quantised, foreign);
    for (int spread = 0; spread < 2; spread++) {
        assert_int_equal(mt_pack_codes(layer, foreign->codes, foreign->scales, foreign->zeros,
                                       spread ? NULL : foreign->is8, &from_codes),
                         MT_OK);
        for (int i = 0; i < 2; i++) {
            const struct mt_packed_part *part = &from_codes->part[i];
            assert_true(part->rows == sizes[i].rows && part->padded_rows == sizes[i].padded_rows);
            assert_int_equal(part->weights_bytes, sizes[i].weights_bytes);
            assert_int_equal(part->scales_bytes, sizes[i].scales_bytes);
            assert_int_equal(part->zeros_bytes, sizes[i].zeros_bytes);
            assert_int_equal(part->columns_bytes, sizes[i].columns_bytes);
            assert_same_part(part, &from_floats->part[i]);
        }
        mt_packed_free(from_codes);
    }
    /* What cannot be packed leaves nothing. */
    foreign->scales[99] = 0x7c00;
    assert_int_equal(mt_pack_codes(layer, foreign->codes, foreign->scales, foreign->zeros, foreign->is8, &from_codes),
                     MT_USAGE);
    assert_null(from_codes);
    assert_non_null(strstr(mt_error_message(), "feature 99, from input 0 on"));
    foreign->is8[5] ^= 1;
    assert_int_equal(mt_pack_float(layer, w, foreign->is8, &from_codes), MT_USAGE);
    assert_null(from_codes);
    quant_layer_release(&quantised);
    mt_packed_free(from_floats);
    layer_release(layer);
    table_release(table);
    free(foreign);
    free(w);
}

/* Device memory that is only noted down. */
static struct {
    size_t bytes;
    int copies, frees;
    CUdeviceptr to[8];
    const void *from[8];
    size_t size[8];
} upload;

static CUresult note_alloc(CUdeviceptr *out, size_t bytes) {
    upload.bytes = bytes;
    *out = 0x10000;
    return CUDA_SUCCESS;
}

static CUresult note_copy(CUdeviceptr to, const void *from, size_t bytes) {
    assert_true(upload.copies < 8);
    upload.to[upload.copies] = to;
    upload.from[upload.copies] = from;
    upload.size[upload.copies++] = bytes;
    return CUDA_SUCCESS;
}

static CUresult note_free(CUdeviceptr address) {
    assert_int_equal(address, 0x10000);
    upload.frees++;
    return CUDA_SUCCESS;
}

/* One allocation, in which each tensor begins at a multiple of 256. */
static void tensors_lie_one_behind_another(void **state) {
    (void)state;
    static char tensor[7];
    static const size_t size[7] = {256, 257, 255, 1, 1000, 512, 300};
    static const CUdeviceptr at[7] = {0x10000, 0x10100, 0x10300, 0x10400, 0x10500, 0x10900, 0x10b00};
    const struct mt_packed packed = {{{.weights = &tensor[0],
                                       .scales = &tensor[1],
                                       .zeros = &tensor[2],
                                       .columns = &tensor[3],
                                       .weights_bytes = 256,
                                       .scales_bytes = 257,
                                       .zeros_bytes = 255,
                                       .columns_bytes = 1},
                                      {.weights = &tensor[4],
                                       .scales = &tensor[5],
                                       .zeros = &tensor[6],
                                       .weights_bytes = 1000,
                                       .scales_bytes = 512,
                                       .zeros_bytes = 300}}};
    struct mt_table table = {.dev.drv = {.MemAlloc = note_alloc, .MemcpyHtoD = note_copy, .MemFree = note_free}};
    struct mt_weights weights;
    assert_int_equal(mt_weights_upload(&table, &packed, &weights), MT_OK);
    assert_int_equal(upload.bytes, 0x10d00 - 0x10000);
    assert_int_equal(upload.copies, 7);
    for (int i = 0; i < 7; i++) {
        assert_int_equal(upload.to[i], at[i]);
        assert_int_equal(upload.size[i], size[i]);
        assert_ptr_equal(upload.from[i], &tensor[i]);
    }
    assert_int_equal(weights.memory, 0x10000);
    assert_true(weights.part[0].weights == at[0] && weights.part[0].scales == at[1] && weights.part[0].zeros == at[2] &&
                weights.part[0].columns == at[3]);
    assert_true(weights.part[1].weights == at[4] && weights.part[1].scales == at[5] && weights.part[1].zeros == at[6] &&
                weights.part[1].columns == 0);
    mt_weights_free(&table, &weights);
    assert_int_equal(upload.frees, 1);
    assert_int_equal(weights.memory + weights.part[0].weights, 0);
    mt_weights_free(&table, &weights);
    assert_int_equal(upload.frees, 1);
}

/* All features of one width: no columns, and nothing of the other. */
static void a_layer_of_one_width(void **state) {
    (void)state;
    struct sample s;
    struct mt_table *table = table_of(&s, 0);
    static float w[64 * 64];
    struct mt_packed *packed;
    w[0] = 1;
    assert_int_equal(mt_pack_float(mt_table_layer_at(table, 1), w, NULL, &packed), MT_OK);
    assert_true(packed->part[0].rows == 0 && packed->part[0].weights_bytes == 0 && packed->part[0].scales_bytes == 0 &&
                packed->part[0].zeros_bytes == 0 && !packed->part[0].weights);
    assert_true(packed->part[1].rows == 64 && packed->part[1].padded_rows == 64 && !packed->part[1].columns &&
                packed->part[1].columns_bytes == 0);
    /* Lane 0's first word has k 0..3 of feature 0, of which the first is 15 of 15 steps. */
    assert_int_equal(*(const unsigned char *)packed->part[1].weights & 15, 15);
    assert_int_equal(*(const uint16_t *)packed->part[1].scales, half_from_float(1 / 15.0f));
    mt_packed_free(packed);
    table_release(table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_says_which_it_is),
        cmocka_unit_test(nearest_m_follows_the_rule),
        cmocka_unit_test(cublas_only_when_allowed),
        cmocka_unit_test(nearest_layer_is_near_in_both),
        cmocka_unit_test(borrowed_kernels_fit_the_shape),
        cmocka_unit_test(workspace_is_enough_for_every_m),
        cmocka_unit_test(layers_are_found),
        cmocka_unit_test(other_devices_and_bundles_are_refused),
        cmocka_unit_test(the_library_tells_version_and_failures),
        cmocka_unit_test(numbers_are_converted),
        cmocka_unit_test(codes_are_packed_as_floats_are),
        cmocka_unit_test(a_layer_of_one_width),
        cmocka_unit_test(tensors_lie_one_behind_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
