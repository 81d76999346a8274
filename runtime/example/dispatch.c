/* How a serving engine uses a bundle: `dispatch [--fp16] BUNDLE [LAYER [M [ROWS8]]]`.
 *
 * Prints which kernel runs each layer at a few batch sizes, then quantises and packs random weights for one layer, runs
 * it at M tokens (17 unless told) in a CUDA graph, and compares some elements of the result with the product of the
 * numbers before they were quantised. ROWS8 features of it keep 8 bits, whether that was tuned or not; without it as
 * many as the bundle has first. MIXTUNE_DEVICE chooses the device (driver.h).
 *
 * --fp16 is for a server that keeps fp16 weights beside the packed ones, as many MiB as `mixtune export` says. It runs
 * cuBLAS (fp16_gemm.c) where the bundle says that this is faster, quantising counted, and so never loses. */
#include "driver.h"
#include "fp16_gemm.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void choices_print(const struct mt_table *table) {
    static const int tokens[] = {1, 17, 256, 3000};
    printf("%-10s %6s %6s %6s %5s  %-13s %9s  %-8s %s\n", "layer", "N", "K", "8 bits", "M", "step", "expected", "",
           "kernel");
    for (int i = 0; i < mt_table_layer_count(table); i++) {
        const struct mt_layer *layer = mt_table_layer_at(table, i);
        struct mt_layer_info info = {.size = sizeof info};
        mixtune_check(mt_layer_describe(layer, &info), "a layer");
        for (size_t j = 0; j < sizeof tokens / sizeof *tokens; j++) {
            struct mt_choice choice = {.size = sizeof choice};
            mixtune_check(mt_table_lookup(table, layer, tokens[j], &choice), "a lookup");
            printf("%-10s %6d %6d %6d %5d  %-13s %6.1f us  %-8s %s\n", info.name, info.n, info.k, info.rows8, tokens[j],
                   step_names[choice.step], choice.expected_ns / 1000,
                   choice.origin == MT_ORIGIN_MEASURED ? "measured" : "modelled",
                   choice.kind == MT_KIND_FP16 ? "a GEMM in fp16" : choice.config);
        }
    }
}

/* Everything on the device that one layer needs. */
struct served {
    struct mt_weights weights;
    struct mt_activations acts;
    struct mt_quantize_operands quantize;
    struct mt_gemm_operands gemm;
    struct mt_layer_info info;
    CUdeviceptr w16; /* the same weights in the layer's type, for cuBLAS; 0: our kernel runs */
};

/* Whether the layer runs on cuBLAS at m tokens: only a table that was opened with MT_ALLOW_FP16 says so. */
static int wants_fp16(const struct mt_table *table, const struct mt_layer *layer, int m) {
    struct mt_choice choice = {.size = sizeof choice};
    mixtune_check(mt_table_lookup(table, layer, m, &choice), "a lookup");
    if (choice.kind != MT_KIND_FP16)
        return 0;
    if (fp16_gemm_open())
        return 1;
    printf("\nA GEMM in fp16 is faster here, and the server's to run; this device has none, so our kernel runs.\n");
    return 0;
}

static CUdeviceptr weights_upload(const struct mt_layer_info *info, const float *w) {
    size_t count = (size_t)info->n * (size_t)info->k;
    uint16_t *half = host_allocate(count, sizeof *half);
    mt_from_float(info->dtype, w, half, count);
    CUdeviceptr memory = device_allocate(count * sizeof *half);
    driver_check(cu.to_device(memory, half, count * sizeof *half), "copying the fp16 weights");
    free(half);
    return memory;
}

static void served_init(struct served *s, const struct mt_table *table, const struct mt_layer *layer, const float *w,
                        const uint16_t *x, int m) {
    struct mt_layer_info info = {.size = sizeof info};
    struct mt_packed *packed;
    mixtune_check(mt_layer_describe(layer, &info), "the layer");
    size_t tokens = (size_t)m, input = tokens * (size_t)info.k * sizeof *x, factors = tokens * (size_t)info.groups;
    *s = (struct served){
        .info = info,
        .weights = {.size = sizeof s->weights},
        .acts = {.size = sizeof s->acts,
                 .codes = device_allocate(tokens * (size_t)info.k_padded),
                 .scales = device_allocate(factors * sizeof(float)),
                 .sums = device_allocate(factors * sizeof(int32_t))},
        .quantize = {.size = sizeof s->quantize, .m = m, .ldx = info.k, .x = device_allocate(input), .out = &s->acts},
        .gemm = {.size = sizeof s->gemm,
                 .m = m,
                 .ldy = info.n,
                 .weights = &s->weights,
                 .x = &s->acts,
                 .y = device_allocate(tokens * (size_t)info.n * sizeof(uint16_t)),
                 .workspace_bytes = mt_workspace_bytes(table, layer, m)}};
    mixtune_check(mt_pack_float(layer, w, NULL, &packed), "packing the weights");
    mixtune_check(mt_weights_upload(table, packed, &s->weights), "uploading the weights");
    mt_packed_free(packed);
    s->gemm.workspace = device_zeros(s->gemm.workspace_bytes);
    driver_check(cu.to_device(s->quantize.x, x, input), "copying the activations");
    if (wants_fp16(table, layer, m))
        s->w16 = weights_upload(&info, w);
}

static void served_release(struct served *s, const struct mt_table *table) {
    const CUdeviceptr memory[] = {s->acts.codes, s->acts.scales, s->acts.sums,     s->gemm.y,
                                  s->quantize.x, s->w16,         s->gemm.workspace};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        if (memory[i])
            cu.release(memory[i]);
    mt_weights_free(table, &s->weights);
    if (s->w16)
        fp16_gemm_close();
}

static void served_launch(const struct served *s, const struct mt_table *table, const struct mt_layer *layer,
                          CUstream stream) {
    if (s->w16) {
        fp16_gemm_launch(&s->info, s->gemm.m, s->quantize.x, s->w16, s->gemm.y, stream);
        return;
    }
    mixtune_check(mt_quantize_launch(table, layer, &s->quantize, stream), "quantising the activations");
    mixtune_check(mt_gemm_launch(table, layer, &s->gemm, stream), "the GEMM");
}

/* Quantisation and GEMM as one CUDA graph, launched twice: the second launch finds the workspace as the first left
 * it. */
static void served_run(const struct served *s, const struct mt_table *table, const struct mt_layer *layer) {
    CUstream stream;
    CUgraph graph;
    CUgraphExec ready;
    driver_check(cu.stream_create(&stream, CU_STREAM_NON_BLOCKING), "a stream");
    if (s->w16) /* its first launch loads kernels, which no graph can hold */
        served_launch(s, table, layer, stream);
    driver_check(cu.capture_begin(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), "beginning the graph");
    served_launch(s, table, layer, stream);
    driver_check(cu.capture_end(stream, &graph), "ending the graph");
    driver_check(cu.graph_make(&ready, graph, 0), "making the graph");
    for (int i = 0; i < 2; i++)
        driver_check(cu.graph_launch(ready, stream), "launching the graph");
    driver_check(cu.stream_wait(stream), "running the graph");
    cu.graph_exec_destroy(ready);
    cu.graph_destroy(graph);
    cu.stream_destroy(stream);
}

/* Mean size of the error over that of the result, for one output feature in `step` of every token. */
static double error_of(const float *w, const float *x, const float *y, int m, int n, int k, int step) {
    double error = 0, total = 0;
    for (int row = 0; row < m; row++) {
        for (int column = row % step; column < n; column += step) {
            double want = 0;
            for (int i = 0; i < k; i++)
                want += (double)x[(size_t)row * (size_t)k + (size_t)i] * w[(size_t)column * (size_t)k + (size_t)i];
            double off = y[(size_t)row * (size_t)n + (size_t)column] - want;
            error += off < 0 ? -off : off;
            total += want < 0 ? -want : want;
        }
    }
    return error / total;
}

/* 0 if the result is what quantised numbers can be. */
static int layer_run(const struct mt_table *table, const struct mt_layer *layer, int m) {
    struct mt_layer_info info = {.size = sizeof info};
    struct served served;
    mixtune_check(mt_layer_describe(layer, &info), "the layer");
    int n = info.n, k = info.k, step = n / 128 + 1;
    size_t inputs = (size_t)m * (size_t)k, outputs = (size_t)m * (size_t)n, weights = (size_t)n * (size_t)k;
    float *w = host_allocate(weights, sizeof *w), *x = host_allocate(inputs, sizeof *x),
          *y = host_allocate(outputs, sizeof *y);
    uint16_t *x16 = host_allocate(inputs, sizeof *x16), *y16 = host_allocate(outputs, sizeof *y16);
    random_fill(w, weights, 1);
    for (size_t i = 0; i < weights; i++)
        w[i] *= 0.02f;
    random_fill(x, inputs, 2);
    mt_from_float(info.dtype, x, x16, inputs);
    mt_to_float(info.dtype, x16, x, inputs);

    served_init(&served, table, layer, w, x16, m);
    served_run(&served, table, layer);
    driver_check(cu.to_host(y16, served.gemm.y, outputs * sizeof *y16), "copying the result");
    int fp16 = served.w16 != 0;
    served_release(&served, table);

    /* Weights spread evenly over 16 levels keep an error of 1/15 of their size; 256 levels one of 1/255; bf16, which
     * has 8 bits for the fraction, one of 1/512. */
    mt_to_float(info.dtype, y16, y, outputs);
    double error = error_of(w, x, y, m, n, k, step), limit = fp16 ? 0.01 : info.rows8 < info.n ? 0.09 : 0.02;
    int wrong = !(error < limit);
    printf("\n%s at M = %d%s: Y differs from the product before quantisation by %.2f %% (limit %.0f %%): %s\n",
           *info.name ? info.name : "layer", m, fp16 ? " in fp16" : "", 100 * error, 100 * limit,
           wrong ? "WRONG" : "good");
    free(w);
    free(x);
    free(y);
    free(x16);
    free(y16);
    return wrong;
}

/* The layer of that name, or the one with the fewest weights. */
static const struct mt_layer *layer_choose(const struct mt_table *table, const char *name) {
    const struct mt_layer *best = NULL;
    double least = 0;
    for (int i = 0; i < mt_table_layer_count(table); i++) {
        struct mt_layer_info info = {.size = sizeof info};
        mixtune_check(mt_layer_describe(mt_table_layer_at(table, i), &info), "a layer");
        double weights = (double)info.n * info.k;
        if ((name && strcmp(info.name, name) != 0) || (best && (name || weights >= least)))
            continue;
        least = weights;
        best = mt_table_layer_at(table, i);
    }
    if (!best)
        stop(name ? name : "the bundle", "no such layer");
    return best;
}

/* The same layer with so many features in 8 bits. */
static const struct mt_layer *layer_split(struct mt_table *table, const struct mt_layer *layer, int rows8) {
    struct mt_layer_info info = {.size = sizeof info};
    mixtune_check(mt_layer_describe(layer, &info), "the layer");
    struct mt_query query = MT_QUERY_INIT;
    query.name = info.name;
    query.model = info.model;
    query.tp = info.tp;
    query.group = info.group;
    query.dtype = (int)info.dtype;
    query.rows8 = rows8;
    query.symmetric = info.rows8 < info.n ? info.symmetric : MT_ANY;
    mixtune_check(mt_table_layer_named(table, &query, &layer), "the layer with this many features in 8 bits");
    return layer;
}

int main(int argc, char **argv) {
    const char *program = argv[0];
    unsigned flags = 0;
    if (argc > 1 && strcmp(argv[1], "--fp16") == 0) {
        flags = MT_ALLOW_FP16;
        argv++;
        argc--;
    }
    if (argc < 2 || argc > 5) {
        fprintf(stderr, "usage: %s [--fp16] BUNDLE [LAYER [M [ROWS8]]]\n", program);
        return 64;
    }
    if (mt_api_version() != MT_API_VERSION)
        stop("libmixtune", "it has another version of the interface than this program was compiled with");
    int m = argc > 3 ? atoi(argv[3]) : 17;
    struct mt_table *table;
    CUcontext context = context_open();
    mixtune_check(mt_table_open(argv[1], flags, &table), "opening the bundle");
    const struct mt_layer *layer = layer_choose(table, argc > 2 ? argv[2] : NULL);
    if (argc > 4)
        layer = layer_split(table, layer, atoi(argv[4]));
    mixtune_check(mt_table_load(table, layer), "loading the layer's kernels");
    choices_print(table);
    fflush(stdout);
    int wrong = layer_run(table, layer, m < 1 ? 1 : m);
    mt_table_close(table);
    cu.context_destroy(context);
    return wrong ? 2 : 0;
}
