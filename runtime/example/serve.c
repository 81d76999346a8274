/* How a serving engine runs a quantised model: `serve BUNDLE CHECKPOINT [M [LAYERS]]`.
 *
 * Opens a packed checkpoint, and for each decoder layer (the first LAYERS, or all) uploads its linear layers from the
 * map, runs them one behind another at M tokens (16 unless told) in one CUDA graph, and compares every element of every
 * result with the exact product of the packed weights, unpacked here, and the quantised activations. Exit code 2 if one
 * is wrong.
 *
 * What lies between the linear layers (attention, norms, activation functions, routing) is the engine's. Here a layer
 * reads the output of the one before it where the shapes fit, as gate_up fits o, and random numbers elsewhere.
 * MIXTUNE_DEVICE chooses the device (driver.h). */
#include "driver.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A linear layer, and all that it needs on the device. */
struct linear {
    struct mt_weights_info info;
    struct mt_packed packed;
    const struct mt_layer *layer;
    int k_padded, groups;
    struct mt_weights weights;
    struct mt_activations acts;
    struct mt_quantize_operands quantize;
    struct mt_gemm_operands gemm;
};

struct server {
    struct mt_table *table;
    struct mt_weights_file *file;
    enum mt_dtype dtype;
    int m;
};

/* ---- a decoder layer ---- */

/* The length of "model.layers.3" in "model.layers.3.experts.7.down". */
static size_t block_length(const char *name) {
    for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.'))
        if (isdigit((unsigned char)dot[1]))
            return (size_t)(dot + 1 - name) + strspn(dot + 1, "0123456789");
    return strlen(name);
}

static struct mt_weights_info info_at(const struct server *s, int index) {
    struct mt_weights_info info = {.size = sizeof info};
    mixtune_check(mt_weights_at(s->file, index, &info), "the checkpoint");
    return info;
}

/* How many linear layers the decoder layer has that begins with this one. */
static int block_count(const struct server *s, int first) {
    const char *name = info_at(s, first).name;
    const size_t length = block_length(name);
    int count = 1;
    while (first + count < mt_weights_count(s->file)) {
        const char *next = info_at(s, first + count).name;
        if (block_length(next) != length || strncmp(next, name, length) != 0)
            break;
        count++;
    }
    return count;
}

static CUdeviceptr bias_upload(const struct server *s, const struct mt_weights_info *info) {
    const size_t bytes = (size_t)info->n * sizeof(uint16_t);
    if (!info->has_bias)
        return 0;
    uint16_t *bias = host_allocate((size_t)info->n, sizeof *bias);
    mixtune_check(mt_weights_bias(s->file, info->name, s->dtype, bias), "a bias");
    const CUdeviceptr memory = device_allocate(bytes);
    driver_check(cu.to_device(memory, bias, bytes), "copying a bias");
    free(bias);
    return memory;
}

static CUdeviceptr random_upload(const struct server *s, size_t count, unsigned seed) {
    float *x = host_allocate(count, sizeof *x);
    uint16_t *x16 = host_allocate(count, sizeof *x16);
    random_fill(x, count, seed);
    mt_from_float(s->dtype, x, x16, count);
    const CUdeviceptr memory = device_allocate(count * sizeof *x16);
    driver_check(cu.to_device(memory, x16, count * sizeof *x16), "copying the activations");
    free(x);
    free(x16);
    return memory;
}

/* `before` is the layer whose output it reads, NULL for random numbers. */
static void linear_init(struct linear *l, const struct server *s, int index, const struct linear *before) {
    const size_t m = (size_t)s->m;
    struct mt_layer_info about = {.size = sizeof about};
    *l = (struct linear){.info = info_at(s, index),
                         .packed.size = sizeof l->packed,
                         .weights.size = sizeof l->weights,
                         .acts.size = sizeof l->acts};
    mixtune_check(mt_weights_layer(s->file, l->info.name, NULL, &l->packed), "the weights");
    mixtune_check(mt_table_layer_for(s->table, &l->info, s->dtype, &l->layer), l->info.name);
    mixtune_check(mt_layer_describe(l->layer, &about), l->info.name);
    mixtune_check(mt_weights_upload(s->table, &l->packed, &l->weights), "uploading the weights");
    l->k_padded = about.k_padded;
    l->groups = about.groups;
    l->acts.codes = device_allocate(m * (size_t)l->k_padded);
    l->acts.scales = device_allocate(m * (size_t)l->groups * sizeof(float));
    l->acts.sums = device_allocate(m * (size_t)l->groups * sizeof(int32_t));
    l->quantize = (struct mt_quantize_operands){.size = sizeof l->quantize,
                                                .m = s->m,
                                                .ldx = l->info.k,
                                                .x = before ? before->gemm.y
                                                            : random_upload(s, m * (size_t)l->info.k, (unsigned)index),
                                                .out = &l->acts};
    l->gemm = (struct mt_gemm_operands){.size = sizeof l->gemm,
                                        .m = s->m,
                                        .ldy = l->info.n,
                                        .weights = &l->weights,
                                        .x = &l->acts,
                                        .bias = bias_upload(s, &l->info),
                                        .y = device_allocate(m * (size_t)l->info.n * sizeof(uint16_t))};
}

static void linear_release(struct linear *l, const struct server *s, const struct linear *before) {
    const CUdeviceptr memory[] = {l->acts.codes, l->acts.scales, l->acts.sums, before ? 0 : l->quantize.x,
                                  l->gemm.y,     l->gemm.bias};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        if (memory[i])
            cu.release(memory[i]);
    mt_weights_free(s->table, &l->weights);
}

/* All layers as one CUDA graph. Launches of one stream do not overlap, so one workspace serves all of them. */
static void block_run(struct linear *linear, int count, const struct server *s) {
    CUstream stream;
    CUgraph graph;
    CUgraphExec ready;
    size_t bytes = 0;
    for (int i = 0; i < count; i++) {
        const size_t own = mt_workspace_bytes(s->table, linear[i].layer, s->m);
        bytes = own > bytes ? own : bytes;
    }
    const CUdeviceptr workspace = device_zeros(bytes);
    driver_check(cu.stream_create(&stream, CU_STREAM_NON_BLOCKING), "a stream");
    driver_check(cu.capture_begin(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), "beginning the graph");
    for (int i = 0; i < count; i++) {
        linear[i].gemm.workspace = workspace;
        linear[i].gemm.workspace_bytes = bytes;
        mixtune_check(mt_quantize_launch(s->table, linear[i].layer, &linear[i].quantize, stream), "quantising");
        mixtune_check(mt_gemm_launch(s->table, linear[i].layer, &linear[i].gemm, stream), "the GEMM");
    }
    driver_check(cu.capture_end(stream, &graph), "ending the graph");
    driver_check(cu.graph_make(&ready, graph, 0), "making the graph");
    driver_check(cu.graph_launch(ready, stream), "launching the graph");
    driver_check(cu.stream_wait(stream), "running the graph");
    cu.graph_exec_destroy(ready);
    cu.graph_destroy(graph);
    cu.stream_destroy(stream);
    if (workspace)
        cu.release(workspace);
}

/* ---- the comparison ---- */

/* What the device had and computed. */
struct results {
    float *x, *y, *bias; /* [m][k], [m][n], [n] or NULL */
    int8_t *q;           /* [m][k_padded] */
    float *scales;       /* [groups][m] */
    int32_t *sums;       /* [groups][m] */
};

static void *from_device(CUdeviceptr memory, size_t count, size_t size) {
    void *to = host_allocate(count, size);
    driver_check(cu.to_host(to, memory, count * size), "copying from the device");
    return to;
}

static float *floats_from_device(const struct server *s, CUdeviceptr memory, size_t count) {
    uint16_t *half = from_device(memory, count, sizeof *half);
    float *to = host_allocate(count, sizeof *to);
    mt_to_float(s->dtype, half, to, count);
    free(half);
    return to;
}

static struct results results_of(const struct linear *l, const struct server *s) {
    const size_t m = (size_t)s->m, factors = m * (size_t)l->groups, n = (size_t)l->info.n;
    return (struct results){.x = floats_from_device(s, l->quantize.x, m * (size_t)l->info.k),
                            .y = floats_from_device(s, l->gemm.y, m * n),
                            .bias = l->gemm.bias ? floats_from_device(s, l->gemm.bias, n) : NULL,
                            .q = from_device(l->acts.codes, m * (size_t)l->k_padded, 1),
                            .scales = from_device(l->acts.scales, factors, sizeof(float)),
                            .sums = from_device(l->acts.sums, factors, sizeof(int32_t))};
}

static void results_release(struct results *r) {
    free(r->x);
    free(r->y);
    free(r->bias);
    free(r->q);
    free(r->scales);
    free(r->sums);
}

/* Codes times scales are the activations but for half a step, and the sums are those of the codes. */
static int activations_are_right(const struct linear *l, const struct results *r, int m) {
    for (int row = 0; row < m; row++)
        for (int g = 0; g < l->groups; g++) {
            const int end = (g + 1) * l->info.group < l->k_padded ? (g + 1) * l->info.group : l->k_padded;
            const size_t at = (size_t)g * (size_t)m + (size_t)row;
            int sum = 0;
            for (int k = g * l->info.group; k < end; k++) {
                const int q = r->q[(size_t)row * (size_t)l->k_padded + (size_t)k];
                const float x = k < l->info.k ? r->x[(size_t)row * (size_t)l->info.k + (size_t)k] : 0;
                if (!(fabs((double)x - (double)r->scales[at] * q) <= 0.5001 * (double)r->scales[at]))
                    return 0;
                sum += q;
            }
            if (sum != r->sums[at])
                return 0;
        }
    return 1;
}

/* Codes less zero points of a feature: [k_padded]. Blocks of 512 bytes hold 16 features by 32 inputs of 8 bits or 64 of
 * 4 (ARCHITECTURE.md, "Packed layout"). */
static void feature_unpack(const struct linear *l, int width, int row, int16_t *to) {
    const uint8_t *blocks = l->packed.weights[width], *zeros = l->packed.zeros[width];
    const int inputs = width == MT_W8 ? 32 : 64, slab = l->packed.padded_rows[width] / 16 * (128 / inputs);
    for (int k = 0; k < l->k_padded; k++) {
        const int block = k / 128 * slab + row / 16 * (128 / inputs) + k % 128 / inputs;
        const int lane = row % 8 * 4 + k % 16 / 4, word = row % 16 / 8 + k % 32 / 16 * 2;
        const uint8_t byte = blocks[(size_t)block * 512 + (size_t)(lane * 16 + word * 4 + k % 4)];
        const int zero = zeros ? zeros[k / l->info.group * l->packed.padded_rows[width] + row] : 8;
        if (width == MT_W8)
            to[k] = (int8_t)byte;
        else
            to[k] = (int16_t)((k % 64 < 32 ? byte & 15 : byte >> 4) - zero);
    }
}

/* The distance between neighbouring numbers of the type at `value`. */
static double ulp(enum mt_dtype dtype, double value) {
    const int digits = dtype == MT_BF16 ? 8 : 11, least = dtype == MT_BF16 ? -133 : -24;
    int exponent;
    frexp(value, &exponent);
    exponent -= digits;
    return ldexp(1, value == 0 || exponent < least ? least : exponent);
}

/* The worst error of a feature over what is allowed: an ulp at the exact result and 2^-20 of the sum of the sizes of its
 * terms (ARCHITECTURE.md, "Numbers"). */
static double feature_error(const struct linear *l, const struct results *r, const struct server *s, int width, int row,
                            const int16_t *w) {
    const uint16_t *weight_scales = l->packed.scales[width];
    const int32_t *columns = l->packed.columns[width];
    const size_t column = (size_t)(columns ? columns[row] : row), m = (size_t)s->m;
    double worst = 0;
    for (size_t token = 0; token < m; token++) {
        double want = 0, mass = 0;
        for (int g = 0; g < l->groups; g++) {
            const int end = (g + 1) * l->info.group < l->k_padded ? (g + 1) * l->info.group : l->k_padded;
            const int8_t *q = r->q + token * (size_t)l->k_padded;
            float scale;
            int sum = 0;
            for (int k = g * l->info.group; k < end; k++)
                sum += q[k] * w[k];
            mt_to_float(MT_FP16, &weight_scales[g * l->packed.padded_rows[width] + row], &scale, 1);
            const double term = (double)r->scales[(size_t)g * m + token] * (double)scale * sum;
            want += term;
            mass += fabs(term);
        }
        want += r->bias ? (double)r->bias[column] : 0;
        const double got = (double)r->y[token * (size_t)l->info.n + column];
        const double error = fabs(got - want) / (ulp(s->dtype, want) + 0x1p-20 * mass);
        worst = error <= worst ? worst : error; /* NaN is the worst */
    }
    return worst;
}

/* A line for the layer. 0 if all of it is right. */
static int linear_check(const struct linear *l, const struct server *s) {
    struct results r = results_of(l, s);
    struct mt_choice choice = {.size = sizeof choice};
    int16_t *w = host_allocate((size_t)l->k_padded, sizeof *w);
    double worst = activations_are_right(l, &r, s->m) ? 0 : INFINITY;
    for (int width = 0; width < 2; width++)
        for (int row = 0; row < l->packed.rows[width]; row++) {
            feature_unpack(l, width, row, w);
            const double error = feature_error(l, &r, s, width, row, w);
            worst = error <= worst ? worst : error;
        }
    const int wrong = !(worst <= 1);
    mixtune_check(mt_table_lookup(s->table, l->layer, s->m, &choice), "a lookup");
    printf("%-32s %6d %6d %6d  %-13s %5.0f %%  %-5s  %s\n", l->info.name, l->info.n, l->info.k, l->info.rows8,
           step_names[choice.step], 100 * worst, wrong ? "WRONG" : "good", choice.config);
    free(w);
    results_release(&r);
    return wrong;
}

/* The linear layers first .. first + count - 1, those of a decoder layer. How many are wrong. */
static int block_serve(const struct server *s, int first, int count) {
    struct linear *linear = host_allocate((size_t)count, sizeof *linear);
    const struct linear **before = host_allocate((size_t)count, sizeof *before);
    int wrong = 0;
    for (int i = 0; i < count; i++) {
        before[i] = i > 0 && linear[i - 1].info.n == info_at(s, first + i).k ? &linear[i - 1] : NULL;
        linear_init(&linear[i], s, first + i, before[i]);
    }
    block_run(linear, count, s);
    for (int i = 0; i < count; i++)
        wrong += linear_check(&linear[i], s);
    for (int i = 0; i < count; i++)
        linear_release(&linear[i], s, before[i]);
    free(linear);
    free((void *)before);
    fflush(stdout);
    return wrong;
}

/* Activations and results are of the type that the bundle was tuned for. */
static enum mt_dtype dtype_of(const struct mt_table *table) {
    struct mt_layer_info info = {.size = sizeof info};
    mixtune_check(mt_layer_describe(mt_table_layer_at(table, 0), &info), "the bundle");
    return info.dtype;
}

int main(int argc, char **argv) {
    if (argc < 3 || argc > 5) {
        fprintf(stderr, "usage: %s BUNDLE CHECKPOINT [M [LAYERS]]\n", argv[0]);
        return 64;
    }
    if (mt_api_version() != MT_API_VERSION)
        stop("libmixtune", "it has another version of the interface than this program was compiled with");
    struct server s = {.m = argc > 3 ? atoi(argv[3]) : 16};
    int layers = argc > 4 ? atoi(argv[4]) : 0, wrong = 0; /* 0: all */
    if (s.m < 1 || layers < 0)
        stop("arguments", "M is a number of tokens from 1 on, and LAYERS one of decoder layers");
    CUcontext context = context_open();
    mixtune_check(mt_weights_open(argv[2], MT_WEIGHTS_CHECK, &s.file), "opening the checkpoint");
    mixtune_check(mt_table_open(argv[1], 0, &s.table), "opening the bundle");
    s.dtype = dtype_of(s.table);
    printf("%-32s %6s %6s %6s  %-13s %7s  %-5s  %s\n", "layer", "N", "K", "8 bits", "step", "error", "", "kernel");
    for (int first = 0, count, done = 0; first < mt_weights_count(s.file) && (!layers || done < layers);
         first += count, done++) {
        count = block_count(&s, first);
        wrong += block_serve(&s, first, count);
    }
    printf("\nM = %d, %s; the worst error of each layer in percent of what is allowed. %d wrong\n", s.m,
           s.dtype == MT_FP16 ? "fp16" : "bf16", wrong);
    mt_table_close(s.table);
    mt_weights_close(s.file);
    cu.context_destroy(context);
    return wrong ? 2 : 0;
}
