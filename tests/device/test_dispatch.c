/* The public interface from a bundle to the result: every element of Y against the exact reference. */
#include "runtime/base/str.h"
#include "runtime/layer/half.h"
#include "runtime/layer/reference.h"
#include "runtime/mixtune.h"
#include "runtime/serve/table.h"
#include "templates/gemm_args.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

enum { TUNED = 3, LAYERS = 4, GAP = 3 /* elements between rows of X and Y */ };

static struct device dev;
static char path[] = "/tmp/mixtune-dispatch-XXXXXX";

static const struct bundle_layer layers[LAYERS] = {
    {"a", "", 1, 100, 300, 128, "w4a8", "fp16"},
    {"b", "", 1, 130, 520, 64, "w4.4a8", "bf16"},
    {"c", "", 1, 48, 640, 128, "w8a8", "fp16"},
    {"d", "", 1, 49, 384, 64, "w4a8", "fp16"}, /* one more than a multiple of 16 */
};
static const int tuned_m[TUNED] = {1, 16, 64};
static const char *const configs[TUNED] = {
    "tile_n=64,tile_m=8,stages=3,warps_n=2,split_k=2",
    "tile_n=64,tile_m=16,stages=3,warps_n=2,split_k=3",
    "tile_n=32,tile_m=32,stages=3,warps_n=2,warps_m=2,raster=2",
};

/* What a bundle points to while it is written. */
struct parts {
    struct image image[LAYERS * (TUNED + 2)];
    struct bundle_image images[LAYERS * (TUNED + 2)];
    struct bundle_entry entries[LAYERS * TUNED];
    struct bundle_fallback fallbacks[2 * LAYERS];
    char hash[33];
    struct bundle bundle;
};

static void take(enum mt_status status) {
    if (status != MT_OK)
        fail_msg("%s", fail_message());
}

static const char *parts_add(struct parts *p, struct image image) {
    for (int i = 0; i < p->bundle.image_count; i++) {
        if (!strcmp(p->images[i].hash, image.hash)) {
            image_release(&image);
            return p->images[i].hash;
        }
    }
    int at = p->bundle.image_count++;
    p->image[at] = image;
    p->images[at] = (struct bundle_image){.hash = p->image[at].hash,
                                          .data = image.data,
                                          .size = image.size,
                                          .registers = image.registers,
                                          .spill_bytes = image.spill_bytes,
                                          .smem_static = image.smem_static};
    return p->image[at].hash;
}

static void parts_add_layer(struct parts *p, int index) {
    const struct bundle_layer *layer = &layers[index];
    struct problem problem = {.m = 1, .n = layer->n, .k = layer->k, .group = layer->group, .rows8 = layer->rows8};
    struct config config;
    struct image image;
    struct kernel quantize;
    take(problem_take_scheme(&problem, layer->scheme));
    take(dtype_parse(layer->dtype, &problem.dtype));
    for (int i = 0; i < TUNED; i++) {
        take(config_parse(family_find("sm80"), configs[i], &config));
        take(kernel_compile(&dev, &config, &problem, &image));
        p->entries[p->bundle.entry_count++] = (struct bundle_entry){.layer = index,
                                                                    .m = tuned_m[i],
                                                                    .kind = BUNDLE_KERNEL,
                                                                    .family = "sm80",
                                                                    .config = configs[i],
                                                                    .image_hash = parts_add(p, image),
                                                                    .expected_ns = 1000.0 * tuned_m[i],
                                                                    .origin = BUNDLE_MODELLED};
    }
    take(config_parse(family_find("sm80"), "", &config));
    take(kernel_compile(&dev, &config, &problem, &image));
    struct bundle_fallback fallback = {"sm80", "", layer->scheme, layer->dtype, layer->group, parts_add(p, image)};
    p->fallbacks[p->bundle.fallback_count++] = fallback;
    if (index >= 2) /* the formats of layer 0 again; left to be compiled when the table is opened */
        return;
    take(kernel_load_quantize(&dev, &problem, &quantize));
    fallback = (struct bundle_fallback){"quantize", "", "", layer->dtype, layer->group, parts_add(p, quantize.image)};
    p->fallbacks[p->bundle.fallback_count++] = fallback;
    quantize.image = (struct image){0}; /* the bundle's now */
    kernel_unload(&dev, &quantize);
}

static void parts_init(struct parts *p) {
    memset(p, 0, sizeof *p);
    take(template_hash(p->hash));
    p->bundle = (struct bundle){.fingerprint = {.gpu = dev.name,
                                                .cc = dev.cc,
                                                .sm_count = dev.sm_count,
                                                .software = dev.software,
                                                .driver_version = dev.driver_version,
                                                .template_hash = p->hash},
                                .layers = layers,
                                .layer_count = LAYERS,
                                .entries = p->entries,
                                .fallbacks = p->fallbacks,
                                .images = p->images};
    for (int i = 0; i < LAYERS; i++)
        parts_add_layer(p, i);
}

static void parts_release(struct parts *p) {
    for (int i = 0; i < p->bundle.image_count; i++)
        image_release(&p->image[i]);
}

static int set_up(void **state) {
    struct parts *parts = xmalloc(sizeof *parts);
    int file = mkstemp(path);
    if (file < 0)
        return -1;
    close(file);
    take(device_open(&dev, NULL));
    parts_init(parts);
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

/* ---- one launch ---- */

static CUdeviceptr upload(const void *from, size_t bytes) {
    CUdeviceptr to;
    take(device_check(&dev, dev.drv.MemAlloc(&to, bytes), "allocating"));
    take(device_check(&dev, dev.drv.MemcpyHtoD(to, from, bytes), "copying"));
    return to;
}

static void download(void *to, CUdeviceptr from, size_t bytes) {
    take(device_check(&dev, dev.drv.MemcpyDtoH(to, from, bytes), "copying"));
}

static float uniform(void) {
    return (float)drand48() * 2 - 1;
}

/* Host copies of what one launch works on. */
struct operands {
    struct problem p;
    float *w;
    uint16_t *x, *bias, *y; /* x and y with GAP unused elements after each row */
    struct quant_layer layer;
    struct quant_acts acts;
    struct reference ref;
};

static void operands_init(struct operands *o, const struct mt_layer *layer, int m) {
    o->p = layer->problem;
    o->p.m = m;
    o->p.bias = 1;
    int n = o->p.n, k = o->p.k, ldx = k + GAP, ldy = n + GAP;
    o->w = xmalloc(sizeof *o->w * (size_t)n * (size_t)k);
    o->bias = xmalloc(sizeof *o->bias * (size_t)n);
    o->x = xmalloc(sizeof *o->x * (size_t)m * (size_t)ldx);
    o->y = xmalloc(sizeof *o->y * (size_t)m * (size_t)ldy);
    uint16_t *dense = xmalloc(sizeof *dense * (size_t)m * (size_t)k);
    for (int i = 0; i < n * k; i++)
        o->w[i] = uniform() * 0.05f;
    for (int i = 0; i < n; i++)
        o->bias[i] = dtype_from_float(o->p.dtype, uniform());
    memset(o->x, 0xff, sizeof *o->x * (size_t)m * (size_t)ldx); /* NaN in the gaps */
    memset(o->y, 0xff, sizeof *o->y * (size_t)m * (size_t)ldy);
    for (int row = 0; row < m; row++)
        for (int i = 0; i < k; i++)
            o->x[row * ldx + i] = dense[row * k + i] = dtype_from_float(o->p.dtype, uniform() * 3);
    take(quant_layer_init(&o->layer, &o->p, o->w, NULL));
    take(quant_acts_init(&o->acts, &o->p, dense));
    take(reference_init(&o->ref, &o->p, &o->layer, &o->acts, o->bias));
    free(dense);
}

static void operands_release(struct operands *o) {
    quant_layer_release(&o->layer);
    quant_acts_release(&o->acts);
    reference_release(&o->ref);
    free(o->w);
    free(o->x);
    free(o->bias);
    free(o->y);
}

/* Quantisation on the device gives what it gives on the host, bit for bit. */
static void activations_check(const struct operands *o, const struct mt_activations *x) {
    size_t codes = (size_t)o->p.m * (size_t)o->acts.k_padded, factors = (size_t)o->acts.groups * (size_t)o->p.m;
    int8_t *q = xmalloc(codes);
    float *scales = xmalloc(factors * sizeof *scales);
    int32_t *sums = xmalloc(factors * sizeof *sums);
    download(q, x->codes, codes);
    download(scales, x->scales, factors * sizeof *scales);
    download(sums, x->sums, factors * sizeof *sums);
    assert_memory_equal(q, o->acts.q, codes);
    assert_memory_equal(scales, o->acts.scales, factors * sizeof *scales);
    assert_memory_equal(sums, o->acts.sums, factors * sizeof *sums);
    free(q);
    free(scales);
    free(sums);
}

static void result_check(const struct operands *o, const char *what) {
    struct verdict verdict;
    int ldy = o->p.n + GAP;
    reference_compare(&o->ref, o->p.dtype, o->y, ldy, &verdict);
    if (verdict.wrong)
        fail_msg("%s, M %d: %ld elements are wrong, the first [%d][%d] is %g instead of %g", what, o->p.m,
                 verdict.wrong, verdict.first_m, verdict.first_n, verdict.got, verdict.want);
    for (int m = 0; m < o->p.m; m++)
        for (int n = o->p.n; n < ldy; n++)
            assert_int_equal(o->y[m * ldy + n], 0xffff);
}

/* Captures quantisation and GEMM in a graph and launches it. */
static void launch(const struct mt_table *table, const struct mt_layer *layer,
                   const struct mt_quantize_operands *quantize, const struct mt_gemm_operands *gemm) {
    CUstream stream;
    CUgraph graph;
    CUgraphExec ready;
    take(device_check(&dev, dev.drv.StreamCreate(&stream, CU_STREAM_NON_BLOCKING), "stream"));
    take(device_check(&dev, dev.drv.StreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), "capture"));
    take(mt_quantize_launch(table, layer, quantize, stream));
    take(mt_gemm_launch(table, layer, gemm, stream));
    take(device_check(&dev, dev.drv.StreamEndCapture(stream, &graph), "capture"));
    take(device_check(&dev, dev.drv.GraphInstantiate(&ready, graph, 0), "graph"));
    take(device_check(&dev, dev.drv.GraphLaunch(ready, stream), "graph"));
    take(device_check(&dev, dev.drv.StreamSynchronize(stream), "graph"));
    dev.drv.GraphExecDestroy(ready);
    dev.drv.GraphDestroy(graph);
    dev.drv.StreamDestroy(stream);
}

/* `workspace` was zeroed once and is used by every layer in turn. */
static void run(const struct mt_table *table, const struct mt_layer *layer, int m, CUdeviceptr workspace,
                size_t bytes) {
    struct operands o;
    struct mt_packed *packed;
    struct mt_gemm_operands gemm = {
        .m = m, .ldy = layer->problem.n + GAP, .workspace = workspace, .workspace_bytes = bytes};
    operands_init(&o, layer, m);
    take(mt_pack_float(layer, o.w, NULL, &packed));
    take(mt_weights_upload(table, packed, &gemm.weights));
    mt_packed_free(packed);
    size_t y_bytes = sizeof *o.y * (size_t)m * (size_t)gemm.ldy;
    gemm.bias = upload(o.bias, sizeof *o.bias * (size_t)o.p.n);
    gemm.y = upload(o.y, y_bytes);
    gemm.x.codes = upload(o.acts.q, (size_t)m * (size_t)o.acts.k_padded); /* of the right size; written over */
    gemm.x.scales = upload(o.acts.scales, sizeof(float) * (size_t)m * (size_t)o.acts.groups);
    gemm.x.sums = upload(o.acts.sums, sizeof(int32_t) * (size_t)m * (size_t)o.acts.groups);
    dev.drv.MemsetD8(gemm.x.codes, 0x55, (size_t)m * (size_t)o.acts.k_padded);
    struct mt_quantize_operands quantize = {.m = m, .ldx = o.p.k + GAP, .out = gemm.x};
    quantize.x = upload(o.x, sizeof *o.x * (size_t)m * (size_t)quantize.ldx);

    launch(table, layer, &quantize, &gemm);
    download(o.y, gemm.y, y_bytes);
    activations_check(&o, &gemm.x);
    result_check(&o, layer->info.name);
    const CUdeviceptr memory[] = {gemm.bias, gemm.y, gemm.x.codes, gemm.x.scales, gemm.x.sums, quantize.x};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        dev.drv.MemFree(memory[i]);
    mt_weights_free(table, &gemm.weights);
    operands_release(&o);
}

static CUdeviceptr workspace_for(const struct mt_table *table, int m_max, size_t *bytes) {
    CUdeviceptr workspace;
    *bytes = 0;
    for (int i = 0; i < mt_table_layer_count(table); i++) {
        size_t own = mt_workspace_bytes(table, mt_table_layer_at(table, i), m_max);
        *bytes = own > *bytes ? own : *bytes;
    }
    assert_true(*bytes > 0);
    take(device_check(&dev, dev.drv.MemAlloc(&workspace, *bytes), "allocating"));
    take(device_check(&dev, dev.drv.MemsetD8(workspace, 0, *bytes), "clearing"));
    return workspace;
}

static void tuned_layers_are_right(void **state) {
    (void)state;
    static const int tokens[] = {1, 16, 17, 70, 5};
    struct mt_table *table;
    size_t bytes;
    take(mt_table_open(path, 0, &table));
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
        struct mt_shape shape;
        enum mt_step step;
    } cases[] = {
        {{77, 500, 128, MT_FP16, "w4a8"}, MT_STEP_NEAREST_LAYER},
        {{33, 129, 64, MT_BF16, "w4.4a8"}, MT_STEP_NEAREST_LAYER},
        {{40, 80, 128, MT_FP16, "w8a8"}, MT_STEP_NEAREST_LAYER},
        {{3, 3000, 128, MT_FP16, "w4a8"}, MT_STEP_DEFAULT},
    };
    struct mt_table *table;
    size_t bytes;
    take(mt_table_open(path, 0, &table));
    CUdeviceptr workspace = workspace_for(table, 20, &bytes);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct mt_layer *layer;
        take(mt_table_layer_shaped(table, &cases[i].shape, &layer));
        assert_int_equal(mt_table_lookup(table, layer, 20).step, cases[i].step);
        assert_true(mt_workspace_bytes(table, layer, 20) <= bytes);
        run(table, layer, 20, workspace, bytes);
        run(table, layer, 1, workspace, bytes);
    }
    dev.drv.MemFree(workspace);
    mt_table_close(table);
}

/* Without quantisation in the bundle each group size and type gets its own, compiled when the table is opened. */
static void quantisation_is_compiled_where_it_lacks(void **state) {
    const struct parts *parts = *state;
    struct bundle_fallback fallbacks[2 * LAYERS];
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
    take(mt_table_open(path, 0, &table));
    CUdeviceptr workspace = workspace_for(table, 5, &bytes);
    for (int layer = 0; layer < LAYERS; layer++)
        run(table, mt_table_layer_at(table, layer), 5, workspace, bytes);
    dev.drv.MemFree(workspace);
    mt_table_close(table);
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

/* Each address that must not be null, in a layer of both widths. */
static void null_addresses_are_refused(void **state) {
    (void)state;
    static const char gemm_says[] = "mt_gemm_launch: the address of the activations or of y is null",
                      quantize_says[] = "mt_quantize_launch: the address of x or of the output is null",
                      wide[] = "mt_gemm_launch: the layer has 13 8-bit features, but their weights have a null address",
                      narrow[] =
                          "mt_gemm_launch: the layer has 117 4-bit features, but their weights have a null address";
    struct mt_table *table;
    take(mt_table_open(path, 0, &table));
    const struct mt_layer *layer = mt_table_layer_at(table, 1);
    struct mt_gemm_operands o = {.m = 1, .ldy = 130, .y = 256, .x = {256, 256, 256}};
    for (int i = 0; i < 2; i++)
        o.weights.part[i].weights = o.weights.part[i].scales = o.weights.part[i].zeros = 256;
    const struct {
        CUdeviceptr *address;
        const char *says;
    } addresses[] = {
        {&o.y, gemm_says},
        {&o.x.codes, gemm_says},
        {&o.x.scales, gemm_says},
        {&o.x.sums, gemm_says},
        {&o.weights.part[0].weights, wide},
        {&o.weights.part[0].scales, wide},
        {&o.weights.part[1].weights, narrow},
        {&o.weights.part[1].scales, narrow},
        {&o.weights.part[1].zeros, narrow},
    };
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        *addresses[i].address = 0;
        gemm_refused(table, layer, &o, addresses[i].says);
        *addresses[i].address = 256;
    }
    o.weights.part[0].zeros = 0; /* not read: it is the workspace that lacks */
    gemm_refused(
        table, layer, &o,
        "mt_gemm_launch: the workspace has 0 bytes; 274432 are needed at m = 1"); /* 2^18 + 3 x 2 x 64 x 8 x 4 */

    struct mt_quantize_operands q = {.m = 1, .x = 256, .ldx = 300, .out = {256, 256, 256}};
    CUdeviceptr *const outputs[] = {&q.x, &q.out.codes, &q.out.scales, &q.out.sums};
    for (int i = 0; i < 4; i++) {
        *outputs[i] = 0;
        quantize_refused(table, &q, quantize_says);
        *outputs[i] = 256;
    }
    q.ldx = 299;
    quantize_refused(table, &q, "mt_quantize_launch: m is 1 and ldx 299; they must be at least 1 and 300");
    q.ldx = 300;
    q.m = 0;
    quantize_refused(table, &q, "mt_quantize_launch: m is 0 and ldx 300; they must be at least 1 and 300");
    mt_table_close(table);
}

static void impossible_launches_are_refused(void **state) {
    (void)state;
    struct mt_table *table;
    take(mt_table_open(path, 0, &table));
    const struct mt_layer *layer = mt_table_layer_at(table, 0);
    struct mt_gemm_operands good = {
        .m = 1, .ldy = 100, .y = 256, .x = {256, 256, 256}, .workspace = 256, .workspace_bytes = 1 << 30};
    good.weights.part[MT_PART_W4].weights = good.weights.part[MT_PART_W4].scales = good.weights.part[MT_PART_W4].zeros =
        256;
    struct mt_gemm_operands o = good;
    o.m = 0;
    gemm_refused(table, layer, &o, "mt_gemm_launch: m is 0 and ldy 100; they must be at least 1 and 100");
    o = good;
    o.ldy = 99;
    gemm_refused(table, layer, &o, "mt_gemm_launch: m is 1 and ldy 99; they must be at least 1 and 100");
    o = good;
    o.workspace_bytes = mt_workspace_bytes(table, layer, 1) - 1;
    gemm_refused(table, layer, &o, "mt_gemm_launch: the workspace has 270335 bytes; 270336 are needed at m = 1");
    o = good;
    o.workspace = 0;
    gemm_refused(table, layer, &o, "mt_gemm_launch: the workspace has 1073741824 bytes; 270336 are needed at m = 1");
    mt_table_close(table);
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
    struct bundle_image spoilt[LAYERS * (TUNED + 2)];
    memcpy(spoilt, parts->images, sizeof spoilt);
    spoilt[0].data = "not a kernel";
    spoilt[0].size = 12;
    changed = parts->bundle;
    changed.images = spoilt;
    take(bundle_write(path, &changed));
    assert_int_equal(mt_table_open(path, 0, &table), MT_FAILURE);
    assert_null(table);
    take(bundle_write(path, &parts->bundle));
    take(mt_table_open(path, 0, &table));
    mt_table_close(table);
}

int main(void) {
    srand48(24);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tuned_layers_are_right),
        cmocka_unit_test(other_layers_are_right),
        cmocka_unit_test(quantisation_is_compiled_where_it_lacks),
        cmocka_unit_test(null_addresses_are_refused),
        cmocka_unit_test(impossible_launches_are_refused),
        cmocka_unit_test(other_bundles_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
