/* The public interface from a bundle to the result: every element of Y against the exact reference. */
#include "runtime/base/file.h"
#include "runtime/base/str.h"
#include "runtime/mixtune.h"
#include "runtime/serve/table.h"
#include "tests/device/served.h"
#include <ctype.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

enum { TUNED = 3, LAYERS = 8 };

static char path[] = "/tmp/mixtune-dispatch-XXXXXX";

static const struct bundle_layer layers[LAYERS] = {
    {"a", "", 1, 100, 300, 128, 0, "w4a8", "fp16"},
    {"b", "", 1, 130, 520, 64, 13, "mixed", "bf16"},
    {"c", "", 1, 48, 640, 128, 48, "w8a8", "fp16"},
    {"d", "", 1, 49, 384, 64, 0, "w4a8", "fp16"}, /* one more than a multiple of 16 */
    {"e", "", 1, 90, 320, 64, 0, "w4a8", "bf16"}, /* two splits of one layer */
    {"e", "", 1, 90, 320, 64, 37, "mixed", "bf16"},
    {"s", "", 1, 70, 300, 128, 20, "mixed-sym", "fp16"},
    {"f", "", 1, 90, 384, 64, 0, "w4a8", "bf16"}, /* one split alone */
};
static const int tuned_m[TUNED] = {1, 16, 64};
static const char *const configs[TUNED] = {
    "tile_n=64,tile_m=8,stages=3,warps_n=2,split_k=2",
    "tile_n=64,tile_m=16,stages=3,warps_n=2,split_k=3",
    "tile_n=32,tile_m=32,stages=3,warps_n=2,warps_m=2,raster=2",
};
/* Of the mixed split of "e". */
static const char wide[] = "tile_n=32,tile_n8=64,tile_m=16,stages=3,warps_n=2,split_k=2,zero=1";

static void parts_fill(struct parts *p) {
    struct problem e = parts_problem(&layers[5]);
    parts_init(p, &dev, layers, LAYERS);
    for (int index = 0; index < LAYERS; index++) {
        const struct problem problem = parts_problem(&layers[index]);
        for (int i = 0; i < TUNED; i++)
            parts_entry(p, index, tuned_m[i], "sm80", index == 5 && i == 1 ? wide : configs[i], 1000.0 * tuned_m[i]);
        if (index < 4)
            parts_default(p, &problem, "sm80");
        if (index == 6) {
            struct problem narrow = problem;
            narrow.rows8 = 0;
            parts_variant(p, &narrow, "sm80", configs[0], configs[0]);
        }
        if (index < 2) /* layer 2 has the formats of layer 0; those of 3 are compiled when the table is opened */
            parts_quantize(p, &problem);
    }
    /* Each kernel for what its split does not have: mixed ones of the one, all 8 bits of the other. */
    for (int i = 0; i < TUNED; i++)
        parts_variant(p, &e, "sm80", configs[i], configs[i]);
    e.rows8 = e.n;
    parts_variant(p, &e, "sm80", configs[0], configs[0]);
    parts_variant(p, &e, "sm80", wide, "tile_n=64,tile_m=16,stages=3,warps_n=2");
}

static int set_up(void **state) {
    struct parts *parts = xmalloc(sizeof *parts);
    int file = mkstemp(path);
    if (file < 0)
        return -1;
    close(file);
    take(device_open(&dev, NULL));
    parts_fill(parts);
    take(bundle_write(path, &parts->bundle));
    *state = parts;
    return 0;
}

static int tear_down(void **state) {
    parts_release(*state);
    free(*state);
    device_close(&dev);
    return unlink(path);
}

static CUdeviceptr workspace_for(const struct mt_table *table, int m_max, size_t *bytes) {
    *bytes = 0;
    for (int i = 0; i < mt_table_layer_count(table); i++) {
        size_t own = mt_workspace_bytes(table, mt_table_layer_at(table, i), m_max);
        *bytes = own > *bytes ? own : *bytes;
    }
    assert_true(*bytes > 0);
    return zeroed(*bytes);
}

static void tuned_layers_are_right(void **state) {
    (void)state;
    static const int tokens[] = {1, 16, 17, 70, 5};
    struct mt_table *table;
    size_t bytes;
    settled(mt_table_open(path, 0, &table));
    CUdeviceptr workspace = workspace_for(table, 70, &bytes);
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        for (int layer = 0; layer < LAYERS; layer++)
            run(table, mt_table_layer_at(table, layer), tokens[i], workspace, bytes);
    dev.drv.MemFree(workspace);
    mt_table_close(table);
}

static void other_layers_are_right(void **state) {
    (void)state;
    static const struct {
        int n, k, rows8, group;
        enum mt_dtype dtype;
        enum mt_step step;
    } cases[] = {
        {77, 500, 0, 128, MT_FP16, MT_STEP_NEAREST_LAYER},
        {33, 129, 20, 64, MT_BF16, MT_STEP_NEAREST_LAYER},
        {40, 80, 40, 128, MT_FP16, MT_STEP_NEAREST_LAYER},
        {3, 3000, 0, 128, MT_FP16, MT_STEP_DEFAULT},
    };
    struct mt_table *table;
    size_t bytes;
    settled(mt_table_open(path, 0, &table));
    CUdeviceptr workspace = workspace_for(table, 20, &bytes);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct mt_layer *layer;
        const struct mt_shape shape = {.size = sizeof shape,
                                       .n = cases[i].n,
                                       .k = cases[i].k,
                                       .rows8 = cases[i].rows8,
                                       .group = cases[i].group,
                                       .dtype = cases[i].dtype};
        settled(mt_table_layer_shaped(table, &shape, &layer));
        assert_int_equal(layer->info.step, cases[i].step);
        assert_true(mt_workspace_bytes(table, layer, 20) <= bytes);
        run(table, layer, 20, workspace, bytes);
        run(table, layer, 1, workspace, bytes);
    }
    dev.drv.MemFree(workspace);
    mt_table_close(table);
}

/* Any number of 8-bit features, by the name of the layer: with the images of other formats, and with those that an
 * image was built for with other knobs. */
static void other_splits_are_right(void **state) {
    (void)state;
    static const struct {
        const char *layer;
        int rows8, slots;
        const char *at16; /* what its kernel for 16 tokens is called */
    } cases[] = {
        {"f", 1, 3, "tile_n=64,tile_n8=0,tile_m=16,tile_k=0,stages=3,warps_n=2"},
        {"f", 89, 3, "tile_n=64,tile_n8=0,tile_m=16,tile_k=0,stages=3,warps_n=2"},
        {"e", 1, 3, "tile_n=32,tile_n8=64,tile_m=16"}, /* a split with both widths is nearer than one with 4 bits */
        {"e", 36, 3, "tile_n=32,tile_n8=64,tile_m=16"},
        {"e", 38, 3, "tile_n=32,tile_n8=64,tile_m=16"},
        {"e", 89, 3, "tile_n=32,tile_n8=64,tile_m=16"},
        {"e", 90, 2, "tile_n=64,tile_n8=0,tile_m=16"}, /* the kernel for 64 tokens has no image */
        {"s", 19, 3, "tile_n=64,tile_n8=0,tile_m=16,tile_k=0,stages=3,warps_n=2"},
        {"s", 0, 1, "tile_n=64,tile_n8=0,tile_m=8,tile_k=0,stages=3,warps_n=2"},
    };
    struct mt_table *table;
    settled(mt_table_open(path, 0, &table));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct mt_layer *layer, *again;
        struct mt_query query = MT_QUERY_INIT;
        query.name = cases[i].layer;
        query.rows8 = cases[i].rows8;
        settled(mt_table_layer_named(table, &query, &layer));
        settled(mt_table_layer_named(table, &query, &again));
        assert_ptr_equal(layer, again);
        assert_int_equal(layer->info.step, MT_STEP_NEAREST_ROWS8);
        assert_int_equal(layer->slot_count, cases[i].slots);
        struct mt_choice choice = {.size = sizeof choice};
        take(mt_table_lookup(table, layer, 16, &choice));
        if (strncmp(choice.config, cases[i].at16, strlen(cases[i].at16)) != 0)
            fail_msg("%d features in 8 bits run %s", cases[i].rows8, choice.config);
        const size_t bytes = mt_workspace_bytes(table, layer, 70);
        CUdeviceptr workspace = zeroed(bytes);
        run(table, layer, 1, workspace, bytes);
        run(table, layer, 16, workspace, bytes);
        run(table, layer, 70, workspace, bytes);
        dev.drv.MemFree(workspace);
    }
    mt_table_close(table);
}

/* Without quantisation in the bundle each group size and type gets its own, compiled when the table is opened. */
static void quantisation_is_compiled_where_it_lacks(void **state) {
    const struct parts *parts = *state;
    struct bundle_build fallbacks[MOST_PARTS];
    struct bundle poorer = parts->bundle;
    struct mt_table *table;
    size_t bytes;
    poorer.fallbacks = fallbacks;
    poorer.fallback_count = 0;
    for (int i = 0; i < parts->bundle.fallback_count; i++)
        if (strcmp(parts->fallbacks[i].family, "quantize") != 0)
            fallbacks[poorer.fallback_count++] = parts->fallbacks[i];
    assert_int_equal(poorer.fallback_count, parts->bundle.fallback_count - 2);
    take(bundle_write(path, &poorer));
    settled(mt_table_open(path, 0, &table));
    CUdeviceptr workspace = workspace_for(table, 5, &bytes);
    for (int layer = 0; layer < LAYERS; layer++)
        run(table, mt_table_layer_at(table, layer), 5, workspace, bytes);
    dev.drv.MemFree(workspace);
    mt_table_close(table);
    take(bundle_write(path, &parts->bundle));
}

/* A bundle with all its rows, and with other images. */
struct renamed {
    struct bundle_entry entries[MOST_PARTS];
    struct bundle_build variants[MOST_PARTS], fallbacks[MOST_PARTS];
    struct bundle bundle;
};

/* Rows refer to `to` where they referred to `from`; NULL: to anything. */
static void rename_image(struct renamed *r, const struct bundle *bundle, const char *from, const char *to) {
    *r = (struct renamed){.bundle = *bundle};
    r->bundle.entries = memcpy(r->entries, bundle->entries, sizeof r->entries);
    r->bundle.variants = memcpy(r->variants, bundle->variants, sizeof r->variants);
    r->bundle.fallbacks = memcpy(r->fallbacks, bundle->fallbacks, sizeof r->fallbacks);
    for (int i = 0; i < MOST_PARTS; i++) {
        const char **const hashes[] = {&r->entries[i].image_hash, &r->variants[i].image_hash,
                                       &r->fallbacks[i].image_hash};
        for (int j = 0; j < 3; j++)
            if (*hashes[j] && (!from || !strcmp(*hashes[j], from)))
                *hashes[j] = to;
    }
}

static int images_loaded(const struct mt_table *table) {
    int loaded = 0;
    for (int i = 0; i < table->image_count; i++)
        loaded += table->images[i].kernel.function != NULL;
    return loaded;
}

/* A layer's kernels are loaded when it is asked for, or by mt_table_load(): those that it shares once, and no others. */
static void layers_are_loaded_when_they_are_used(void **state) {
    (void)state;
    struct mt_table *table;
    const struct mt_layer *layer;
    struct mt_query query = MT_QUERY_INIT;
    const struct mt_gemm_operands gemm = {.size = sizeof gemm, .m = 1};
    const struct mt_quantize_operands quantize = {.size = sizeof quantize, .m = 1, .ldx = 300, .x = 256};
    const struct mt_weights_info info = {.size = sizeof info, .layer = "d", .tp = 1, .n = 49, .k = 384, .group = 64};
    settled(mt_table_open(path, 0, &table));
    assert_int_equal(images_loaded(table), 0);
    layer = mt_table_layer_at(table, 0);
    struct mt_choice choice = {.size = sizeof choice};
    take(mt_table_lookup(table, layer, 16, &choice));
    assert_string_equal(choice.family, "sm80");
    assert_true(mt_workspace_bytes(table, layer, 16) > 0);
    assert_int_equal(mt_gemm_launch(table, layer, &gemm, NULL), MT_USAGE);
    assert_string_equal(mt_error_message(), "mt_gemm_launch: the kernels of layer a are not loaded; call "
                                            "mt_table_load() once before its first launch");
    assert_int_equal(mt_quantize_launch(table, layer, &quantize, NULL), MT_USAGE);
    assert_non_null(strstr(mt_error_message(), "mt_quantize_launch: the kernels of layer a are not loaded"));
    assert_int_equal(images_loaded(table), 0);
    query.name = "a";
    settled(mt_table_layer_named(table, &query, &layer));
    assert_ptr_equal(layer, mt_table_layer_at(table, 0));
    assert_int_equal(images_loaded(table), TUNED + 1); /* and quantising */
    settled(mt_table_layer_named(table, &query, &layer));
    settled(mt_table_load(table, layer));
    assert_int_equal(images_loaded(table), TUNED + 1);
    settled(mt_table_layer_for(table, &info, MT_FP16, &layer)); /* other kernels: another group */
    assert_ptr_equal(layer, mt_table_layer_at(table, 3));
    assert_int_equal(images_loaded(table), 2 * TUNED + 1); /* its quantisation is compiled */
    const struct mt_shape shape = {sizeof shape, 48, 640, 48, 128, MT_FP16, 0};
    settled(mt_table_layer_shaped(table, &shape, &layer));
    assert_ptr_equal(layer, mt_table_layer_at(table, 2));
    assert_int_equal(images_loaded(table), 3 * TUNED + 1);
    settled(mt_table_load(table, NULL));
    const int all = images_loaded(table);
    assert_true(all > 3 * TUNED + 1 && all < table->image_count);
    assert_int_equal(mt_table_load(NULL, layer), MT_USAGE);
    mt_table_close(table);
}

/* Without images everything that runs is compiled from the library's own templates, also for layers that were not
 * tuned, and what is not run is not. */
static void kernels_are_compiled_where_it_has_none(void **state) {
    const struct parts *parts = *state;
    struct renamed r;
    struct mt_table *table;
    const struct mt_layer *layer;
    struct mt_choice choice = {.size = sizeof choice};
    struct mt_query query = MT_QUERY_INIT;
    size_t bytes;
    rename_image(&r, &parts->bundle, NULL, "");
    r.bundle.image_count = 0;
    take(nvrtc_version(&r.bundle.fingerprint.toolkit));
    take(bundle_write(path, &r.bundle));
    settled(mt_table_open(path, 0, &table));
    take(mt_table_lookup(table, mt_table_layer_at(table, 0), 16, &choice));
    assert_true(choice.expected_ns == 16000);
    assert_int_equal(images_loaded(table), 0);
    settled(mt_table_load(table, NULL));
    const int loaded = images_loaded(table);
    assert_true(loaded > 0 && loaded < table->image_count);
    CUdeviceptr workspace = workspace_for(table, 5, &bytes);
    for (int i = 0; i < LAYERS; i++)
        run(table, mt_table_layer_at(table, i), 5, workspace, bytes);
    query.name = "e";
    query.rows8 = 90;
    take(mt_table_layer_named(table, &query, &layer));
    assert_int_equal(layer->info.step, MT_STEP_NEAREST_ROWS8);
    run(table, layer, 5, workspace, bytes);
    assert_true(images_loaded(table) > loaded);
    dev.drv.MemFree(workspace);
    mt_table_close(table);

    /* Kernels of another compiler have no times. */
    r.bundle.fingerprint.toolkit = 1;
    take(bundle_write(path, &r.bundle));
    take(mt_table_open(path, 0, &table));
    take(mt_table_lookup(table, mt_table_layer_at(table, 0), 16, &choice));
    assert_true(choice.expected_ns == 0);
    mt_table_close(table);

    /* Where none can be had the sentence says what to do. */
    char folder[] = "/tmp/mixtune-images-XXXXXX", nvrtc[64];
    assert_non_null(mkdtemp(folder));
    snprintf(nvrtc, sizeof nvrtc, "%s/nvrtc", folder);
    take(file_write_atomic(nvrtc, "1210", 4)); /* images of an NVRTC that nobody has, and none of them there */
    setenv("MIXTUNE_IMAGES", folder, 1);
    take(mt_table_open(path, 0, &table));
    query.rows8 = 37;
    assert_int_equal(mt_table_layer_named(table, &query, &layer), MT_NO_DEVICE);
    assert_null(layer);
    mt_table_close(table);
    assert_non_null(strstr(mt_error_message(), "the bundle has no kernels, and none can be compiled here: "));
    assert_non_null(strstr(mt_error_message(), "; or export it without --no-images"));
    unsetenv("MIXTUNE_IMAGES");
    unlink(nvrtc);
    rmdir(folder);
    take(bundle_write(path, &parts->bundle));
}

/* The digest of these very bytes, in either case of letters, and nothing else. */
static void trusted_files_are_told_by_their_digest(void **state) {
    const struct parts *parts = *state;
    struct mt_table *table;
    char digest[BUNDLE_DIGEST_TEXT], other[BUNDLE_DIGEST_TEXT], says[800];
    take(bundle_write_all(path, &parts->bundle, 1, digest));
    settled(mt_table_open_trusted(path, 0, digest, &table));
    mt_table_close(table);
    take(mt_table_open_trusted(path, 0, NULL, &table));
    mt_table_close(table);
    for (int i = 0; digest[i]; i++)
        other[i] = (char)toupper((unsigned char)digest[i]);
    other[64] = 0;
    take(mt_table_open_trusted(path, 0, other, &table));
    mt_table_close(table);
    for (int i = 0; i < 64; i++) {
        memcpy(other, digest, sizeof other);
        other[i] = other[i] == '0' ? '1' : '0';
        assert_int_equal(mt_table_open_trusted(path, 0, other, &table), MT_FAILURE);
        assert_null(table);
    }
    snprintf(says, sizeof says, "%s is not the bundle that is trusted: its SHA-256 is %s, not %s", path, digest, other);
    assert_string_equal(mt_error_message(), says);
    memcpy(other, digest, sizeof other);
    static const char *const wrong[] = {"", "0", "no digest"};
    for (int i = 0; i < 3; i++)
        assert_int_equal(mt_table_open_trusted(path, 0, wrong[i], &table), MT_USAGE);
    other[5] = 'g';
    assert_int_equal(mt_table_open_trusted(path, 0, other, &table), MT_USAGE);
    snprintf(says, sizeof says, "%s0", digest);
    assert_int_equal(mt_table_open_trusted(path, 0, says, &table), MT_USAGE);
    assert_null(table);
    assert_int_equal(mt_table_open(NULL, 0, &table), MT_USAGE);
    assert_int_equal(mt_table_open(path, 0, NULL), MT_USAGE);

    /* It comes before everything else that is wrong with the file. */
    take(file_write_atomic(path, "not a bundle", 12));
    assert_int_equal(mt_table_open_trusted(path, 0, digest, &table), MT_FAILURE);
    assert_non_null(strstr(mt_error_message(), "is not the bundle that is trusted"));
    take(bundle_write(path, &parts->bundle));
}

static void gemm_refused(const struct mt_table *table, const struct mt_layer *layer, const struct mt_gemm_operands *o,
                         const char *says) {
    assert_int_equal(mt_gemm_launch(table, layer, o, NULL), MT_USAGE);
    assert_string_equal(mt_error_message(), says);
}

static void quantize_refused(const struct mt_table *table, const struct mt_quantize_operands *o, const char *says) {
    assert_int_equal(mt_quantize_launch(table, mt_table_layer_at(table, 0), o, NULL), MT_USAGE);
    assert_string_equal(mt_error_message(), says);
}

/* A launch that is good but for its workspace, and then for its weights. */
static void wrong_workspaces_are_refused(const struct mt_table *table, const struct mt_layer *layer,
                                         struct mt_gemm_operands *o, struct mt_weights *w) {
    w->zeros[0] = 1; /* not read: it is the workspace that lacks */
    o->workspace = 0;
    gemm_refused(table, layer, o, "mt_gemm_launch: the workspace has 1048576 bytes; 274432 are needed at m = 1");
    o->workspace = 256;
    o->workspace_bytes = 274431; /* 2^18 + 3 x 2 x 64 x 8 x 4 - 1 */
    gemm_refused(table, layer, o, "mt_gemm_launch: the workspace has 274431 bytes; 274432 are needed at m = 1");
    w->layout = 2;
    gemm_refused(table, layer, o,
                 "mt_gemm_launch: the weights have layout 2, and the kernels read layout 1: repack them");
    w->layout = MT_LAYOUT;
    w->rows[0] = 16;
    w->rows[1] = 114;
    gemm_refused(table, layer, o,
                 "mt_gemm_launch: the layer has 13 8-bit and 117 4-bit features, and the weights 16 and 114: they were "
                 "packed for another layer");
}

/* Each address of a launch in a layer of both widths: null where it must not be, and one byte or one element further
 * than it may be. */
static void wrong_addresses_are_refused(void **state) {
    (void)state;
    struct mt_table *table;
    settled(mt_table_open(path, 0, &table));
    settled(mt_table_load(table, NULL));
    const struct mt_layer *layer = mt_table_layer_at(table, 1);
    struct mt_activations acts = {sizeof acts, 256, 256, 256};
    struct mt_weights w = {.size = sizeof w, .layout = MT_LAYOUT, .rows = {13, 117}};
    struct mt_gemm_operands o = {.size = sizeof o,
                                 .m = 1,
                                 .ldy = 130,
                                 .weights = &w,
                                 .x = &acts,
                                 .y = 256,
                                 .bias = 256,
                                 .workspace = 256,
                                 .workspace_bytes = 1 << 20};
    struct mt_quantize_operands q = {.size = sizeof q, .m = 1, .x = 256, .ldx = 300, .out = &acts};
    for (int i = 0; i < 2; i++)
        w.weights[i] = w.scales[i] = w.zeros[i] = w.columns[i] = 256;
    const struct {
        CUdeviceptr *address;
        unsigned align;
        const char *what;
        bool optional, quantize; /* may be null; is an operand of quantising (too) */
    } addresses[] = {
        {&o.y, 2, "y", false, false},
        {&o.bias, 2, "the bias", true, false},
        {&o.workspace, 256, "the workspace", true, false},
        {&acts.codes, 16, "the activations' codes", false, true},
        {&acts.scales, 4, "the activations' scales", false, true},
        {&acts.sums, 4, "the activations' sums", false, true},
        {&w.weights[0], 16, "the 8-bit weights", false, false},
        {&w.scales[0], 16, "the scales of the 8-bit weights", false, false},
        {&w.columns[0], 4, "the columns of the 8-bit weights", false, false},
        {&w.weights[1], 16, "the 4-bit weights", false, false},
        {&w.scales[1], 16, "the scales of the 4-bit weights", false, false},
        {&w.zeros[1], 16, "the zero points of the 4-bit weights", false, false},
        {&w.columns[1], 4, "the columns of the 4-bit weights", false, false},
        {&q.x, 2, "x", false, true},
    };
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        const unsigned align = addresses[i].align;
        char says[200];
        for (unsigned off = 0; off <= align; off = off ? 2 * off : 1) { /* 0: null */
            if (off == align || (off == 0 && addresses[i].optional))
                continue;
            *addresses[i].address = off ? 256 + off : 0;
            snprintf(says, sizeof says, "mt_%s_launch: the address of %s is null", "gemm", addresses[i].what);
            if (off)
                snprintf(says, sizeof says,
                         "mt_%s_launch: the address of %s is 0x%x; it must be a multiple of %u bytes", "gemm",
                         addresses[i].what, 256 + off, align);
            if (addresses[i].address != &q.x)
                gemm_refused(table, layer, &o, says);
            char *name = strstr(says, "gemm");
            if (addresses[i].quantize) {
                memmove(name + 8, name + 4, strlen(name + 4) + 1);
                memcpy(name, "quantize", 8);
                quantize_refused(table, &q, says);
            }
            *addresses[i].address = 256;
        }
    }
    wrong_workspaces_are_refused(table, layer, &o, &w);
    q.ldx = 299;
    quantize_refused(table, &q, "mt_quantize_launch: m is 1 and ldx 299; they must be 0 to 16777216, and at least 300");
    q.ldx = 300;
    q.m = -1;
    quantize_refused(table, &q,
                     "mt_quantize_launch: m is -1 and ldx 300; they must be 0 to 16777216, and at least 300");
    mt_table_close(table);
}

/* Without zero points their address is not looked at. */
static void symmetric_weights_have_no_zeros(void **state) {
    (void)state;
    struct mt_table *table;
    settled(mt_table_open(path, 0, &table));
    settled(mt_table_load(table, NULL));
    struct mt_layer layer = *mt_table_layer_at(table, 1);
    const struct mt_activations acts = {sizeof acts, 256, 256, 256};
    const struct mt_weights w = {.size = sizeof w,
                                 .layout = MT_LAYOUT,
                                 .rows = {13, 117},
                                 .weights = {256, 256},
                                 .scales = {256, 256},
                                 .columns = {256, 256}};
    const struct mt_gemm_operands o = {.size = sizeof o, .m = 1, .ldy = 130, .weights = &w, .x = &acts, .y = 256};
    gemm_refused(table, &layer, &o, "mt_gemm_launch: the address of the zero points of the 4-bit weights is null");
    layer.problem.symmetric = true;
    gemm_refused(table, &layer, &o, "mt_gemm_launch: the workspace has 0 bytes; 274432 are needed at m = 1");
    mt_table_close(table);
}

static void impossible_launches_are_refused(void **state) {
    (void)state;
    struct mt_table *table;
    settled(mt_table_open(path, 0, &table));
    settled(mt_table_load(table, NULL));
    const struct mt_layer *layer = mt_table_layer_at(table, 0);
    const struct mt_activations acts = {sizeof acts, 256, 256, 256};
    const struct mt_weights w = {.size = sizeof w,
                                 .layout = MT_LAYOUT,
                                 .rows = {0, 100},
                                 .weights = {0, 256},
                                 .scales = {0, 256},
                                 .zeros = {0, 256}};
    const struct mt_gemm_operands good = {.size = sizeof good,
                                          .m = 1,
                                          .ldy = 100,
                                          .weights = &w,
                                          .x = &acts,
                                          .y = 256,
                                          .workspace = 256,
                                          .workspace_bytes = 1 << 30};
    struct mt_gemm_operands o = good;
    o.m = -1;
    gemm_refused(table, layer, &o, "mt_gemm_launch: m is -1 and ldy 100; they must be 0 to 16777216, and at least 100");
    o = good;
    o.m = (1 << 24) + 1;
    gemm_refused(table, layer, &o,
                 "mt_gemm_launch: m is 16777217 and ldy 100; they must be 0 to 16777216, and at least 100");
    o = good;
    o.ldy = 99;
    gemm_refused(table, layer, &o, "mt_gemm_launch: m is 1 and ldy 99; they must be 0 to 16777216, and at least 100");
    o = good;
    o.flags = 3;
    gemm_refused(table, layer, &o, "mt_gemm_launch: this library does not know the flags 0x2");
    assert_int_equal(mt_gemm_launch(NULL, layer, &good, NULL), MT_USAGE);
    assert_string_equal(mt_error_message(), "mt_gemm_launch: table is NULL");
    gemm_refused(table, NULL, &good, "mt_gemm_launch: layer is NULL");
    gemm_refused(table, layer, NULL, "the address of a struct mt_gemm_operands is NULL");
    o = good;
    o.x = NULL;
    gemm_refused(table, layer, &o, "the address of a struct mt_activations is NULL");
    o = good;
    o.weights = NULL;
    gemm_refused(table, layer, &o, "the address of a struct mt_weights is NULL");
    assert_int_equal(mt_quantize_launch(table, NULL, NULL, NULL), MT_USAGE);
    assert_string_equal(mt_error_message(), "mt_quantize_launch: layer is NULL");
    quantize_refused(table, NULL, "the address of a struct mt_quantize_operands is NULL");
    /* A layer so wide that its tokens, each of them possible, cannot all be computed in one launch. */
    struct mt_layer widest = *layer;
    widest.problem.n = 1 << 24;
    layer_describe(&widest, NULL);
    o = good;
    o.ldy = 1 << 24;
    o.m = (1 << 16) + 1;
    gemm_refused(table, &widest, &o,
                 "mt_gemm_launch: M x N is 65537 x 16777216; a matrix can have at most 1099511627776 elements");
    o = good;
    o.workspace_bytes = mt_workspace_bytes(table, layer, 1) - 1;
    gemm_refused(table, layer, &o, "mt_gemm_launch: the workspace has 270335 bytes; 270336 are needed at m = 1");
    o = good;
    o.workspace = 0;
    gemm_refused(table, layer, &o, "mt_gemm_launch: the workspace has 1073741824 bytes; 270336 are needed at m = 1");
    mt_table_close(table);
}

/* ---- threads ---- */

enum { THREADS = 24, SHARED_M = 5 };

/* What all of them do with one table: own weights, outputs and workspaces, and layers of other splits that somebody
 * else may be making. */
struct share {
    struct mt_table *table;
    const float *w;
    struct mt_activations acts;
    const uint16_t *want; /* Y [SHARED_M][n] of layer 0 */
    int index;
    char failed[200];
};

static bool share_launch(struct share *s, const struct mt_layer *layer, uint16_t *y) {
    const size_t bytes = SHARED_M * (size_t)layer->info.n * sizeof *y;
    struct mt_weights weights = {.size = sizeof weights};
    struct mt_gemm_operands gemm = {.size = sizeof gemm,
                                    .m = SHARED_M,
                                    .ldy = layer->info.n,
                                    .weights = &weights,
                                    .x = &s->acts,
                                    .workspace_bytes = mt_workspace_bytes(s->table, layer, SHARED_M)};
    struct mt_packed *packed;
    const struct driver *drv = &dev.drv;
    if (mt_pack_float(layer, s->w, NULL, &packed) != MT_OK)
        return false;
    bool good = mt_weights_upload(s->table, packed, &weights) == MT_OK &&
                drv->MemAlloc(&gemm.y, bytes) == CUDA_SUCCESS &&
                drv->MemAlloc(&gemm.workspace, gemm.workspace_bytes) == CUDA_SUCCESS &&
                drv->MemsetD8(gemm.workspace, 0, gemm.workspace_bytes) == CUDA_SUCCESS &&
                mt_gemm_launch(s->table, layer, &gemm, NULL) == MT_OK && drv->CtxSynchronize() == CUDA_SUCCESS &&
                drv->MemcpyDtoH(y, gemm.y, bytes) == CUDA_SUCCESS;
    mt_packed_free(packed);
    mt_weights_free(s->table, &weights);
    drv->MemFree(gemm.y);
    drv->MemFree(gemm.workspace);
    return good;
}

static bool share_layers(struct share *s) {
    for (int i = 0; i < LAYERS; i++)
        if (mt_table_load(s->table, mt_table_layer_at(s->table, (s->index + i) % LAYERS)) != MT_OK)
            return false;
    for (int i = 0; i < 8; i++) {
        const struct mt_layer *layer;
        struct mt_query query = MT_QUERY_INIT;
        struct mt_choice choice = {.size = sizeof choice};
        query.name = "e";
        query.rows8 = 1 + (s->index + i) % 12;
        if (mt_table_layer_named(s->table, &query, &layer) != MT_OK ||
            mt_table_lookup(s->table, layer, 1 + s->index + i, &choice) != MT_OK || layer->info.rows8 != query.rows8)
            return false;
    }
    return true;
}

static void *share_table(void *argument) {
    struct share *s = argument;
    const struct mt_layer *layer = mt_table_layer_at(s->table, 0);
    uint16_t y[SHARED_M * 100];
    struct mt_gemm_operands none = {.size = sizeof none, .m = -1};
    bool good = dev.drv.CtxSetCurrent(dev.context) == CUDA_SUCCESS && share_layers(s) && share_launch(s, layer, y);
    if (!good)
        snprintf(s->failed, sizeof s->failed, "%.190s", mt_error_message());
    else if (memcmp(y, s->want, sizeof y) != 0)
        snprintf(s->failed, sizeof s->failed, "the output differs");
    else if (mt_gemm_launch(s->table, layer, &none, NULL) != MT_USAGE || !strstr(mt_error_message(), "m is -1"))
        snprintf(s->failed, sizeof s->failed, "the sentence is another thread's");
    return NULL;
}

static void many_threads_share_a_table(void **state) {
    (void)state;
    static struct share shares[THREADS];
    pthread_t thread[THREADS];
    struct operands o;
    uint16_t want[SHARED_M * 100];
    struct share first = {0};
    settled(mt_table_open(path, 0, &first.table));
    const struct mt_layer *layer = mt_table_layer_at(first.table, 0);
    settled(mt_table_load(first.table, layer));
    operands_init(&o, layer, SHARED_M);
    const size_t factors = SHARED_M * (size_t)o.acts.groups;
    first.acts = (struct mt_activations){.size = sizeof first.acts,
                                         .codes = upload(o.acts.q, SHARED_M * (size_t)o.acts.k_padded),
                                         .scales = upload(o.acts.scales, sizeof(float) * factors),
                                         .sums = upload(o.acts.sums, sizeof(int32_t) * factors)};
    first.w = o.w;
    first.want = want;
    assert_true(share_launch(&first, layer, want));
    for (int i = 0; i < THREADS; i++) {
        shares[i] = first;
        shares[i].index = i;
        assert_int_equal(pthread_create(&thread[i], NULL, share_table, &shares[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < THREADS; i++)
        assert_string_equal(shares[i].failed, "");
    const CUdeviceptr memory[] = {first.acts.codes, first.acts.scales, first.acts.sums};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        dev.drv.MemFree(memory[i]);
    operands_release(&o);
    mt_table_close(first.table);
}

static void other_bundles_are_refused(void **state) {
    struct parts *parts = *state;
    struct mt_table *table;
    struct bundle changed = parts->bundle;
    changed.fingerprint.gpu = "Another GPU";
    take(bundle_write(path, &changed));
    assert_int_equal(mt_table_open(path, 0, &table), MT_NO_DEVICE);
    assert_null(table);
    assert_non_null(strstr(mt_error_message(), "tuned on Another GPU"));
    take(mt_table_open(path, MT_ALLOW_OTHER_GPU, &table));
    mt_table_close(table);
    changed = parts->bundle;
    changed.fingerprint.template_hash = "0123";
    take(bundle_write(path, &changed));
    assert_int_equal(mt_table_open(path, MT_ALLOW_OTHER_GPU, &table), MT_FAILURE);
    assert_non_null(strstr(mt_error_message(), "other kernel templates"));
    changed = parts->bundle;
    changed.fingerprint.layout = 2;
    take(bundle_write(path, &changed));
    assert_int_equal(mt_table_open(path, MT_ALLOW_OTHER_GPU, &table), MT_FAILURE);
    assert_non_null(strstr(mt_error_message(), "layout 2"));
    struct bundle_image spoilt[MOST_PARTS];
    struct renamed r;
    char name[BUNDLE_NAME_TEXT];
    bundle_image_name(parts->images[0].built, "not a kernel", 12, name);
    rename_image(&r, &parts->bundle, parts->images[0].hash, name);
    memcpy(spoilt, parts->images, sizeof spoilt);
    spoilt[0] =
        (struct bundle_image){.hash = name, .built = parts->images[0].built, .data = "not a kernel", .size = 12};
    r.bundle.images = spoilt;
    take(bundle_write(path, &r.bundle));
    assert_int_equal(mt_table_open(path, 0, &table), MT_FAILURE);
    assert_non_null(strstr(mt_error_message(), "no fat binary as `mixtune export` writes them"));
    assert_null(table);
    /* Another kernel's image, well made. */
    rename_image(&r, &parts->bundle, parts->images[0].hash, parts->images[1].hash);
    take(bundle_write(path, &r.bundle));
    assert_int_equal(mt_table_open(path, 0, &table), MT_FAILURE);
    assert_non_null(strstr(mt_error_message(), "which is wanted; export it again"));
    take(bundle_write(path, &parts->bundle));
    settled(mt_table_open(path, 0, &table));
    mt_table_close(table);
}

int main(void) {
    srand48(24);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tuned_layers_are_right),
        cmocka_unit_test(other_layers_are_right),
        cmocka_unit_test(quantisation_is_compiled_where_it_lacks),
        cmocka_unit_test(kernels_are_compiled_where_it_has_none),
        cmocka_unit_test(layers_are_loaded_when_they_are_used),
        cmocka_unit_test(trusted_files_are_told_by_their_digest),
        cmocka_unit_test(other_splits_are_right),
        cmocka_unit_test(wrong_addresses_are_refused),
        cmocka_unit_test(symmetric_weights_have_no_zeros),
        cmocka_unit_test(impossible_launches_are_refused),
        cmocka_unit_test(many_threads_share_a_table),
        cmocka_unit_test(other_bundles_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
