/* Packed checkpoints for tests: layers of random weights, quantised by rounding, in files and folders. */
#ifndef TEST_MAKE_PACKED_H
#define TEST_MAKE_PACKED_H

#include "runtime/base/file.h"
#include "runtime/base/str.h"
#include "runtime/checkpoint/packed.h"
#include "runtime/layer/half.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct made_layer {
    const char *block, *layer; /* "model.layers.3", "qkv" */
    int n, k, rows8, group;
    bool symmetric;
    enum tensor_type bias; /* TENSOR_OTHER: none */
    int tp, rank;          /* tp 0: not split */
};

static inline void made(enum mt_status status) {
    if (status) {
        fprintf(stderr, "%s\n", fail_message());
        abort();
    }
}

/* In -1 .. 1. */
static inline float made_number(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(*state >> 32) * 0x1p-31f;
}

static inline float *made_weights(const struct made_layer *from, uint64_t seed) {
    const size_t count = (size_t)from->n * (size_t)from->k;
    float *w = xmalloc(count * sizeof *w);
    for (size_t i = 0; i < count; i++)
        w[i] = made_number(&seed) * 0.1f;
    return w;
}

/* Of its type; freed by the caller. NULL: there is none. */
static inline void *made_bias(const struct made_layer *from, uint64_t seed) {
    float *bias = xmalloc((size_t)from->n * sizeof *bias);
    uint16_t *half = (uint16_t *)bias;
    for (int i = 0; i < from->n; i++)
        bias[i] = made_number(&seed);
    for (int i = 0; i < from->n && from->bias != TENSOR_F32; i++) {
        const float value = bias[i];
        half[i] = from->bias == TENSOR_F16 ? half_from_float(value) : bf16_from_float(value);
    }
    if (from->bias == TENSOR_OTHER) {
        free(bias);
        return NULL;
    }
    return bias;
}

/* `source` is one of two halves; the caller releases name and layer. */
static inline struct packed_layer made_declared(const struct made_layer *from, struct packed_source source[2]) {
    struct str name = {0};
    source[0] = (struct packed_source){(char *)(uintptr_t) "first", from->n - from->n / 2};
    source[1] = (struct packed_source){(char *)(uintptr_t) "second", from->n / 2};
    str_printf(&name, "%s.%s", from->block, from->layer);
    return (struct packed_layer){.name = name.data,
                                 .layer = xstrdup(from->layer),
                                 .n = from->n,
                                 .k = from->k,
                                 .rows8 = from->rows8,
                                 .rows8_chosen = from->rows8 - from->rows8 / 8,
                                 .group = from->group,
                                 .symmetric = from->symmetric,
                                 .tp = from->tp ? from->tp : 1,
                                 .rank = from->rank,
                                 .source = source,
                                 .source_count = from->n > 1 ? 2 : 1,
                                 .bias_type = from->bias};
}

static inline void made_put(struct tensor_writer *writer, const struct made_layer *from,
                            const struct packed_layer *layer, uint64_t seed) {
    const struct problem p = packed_problem(layer);
    struct quant_layer quant;
    float *w = made_weights(from, seed);
    void *bias = made_bias(from, seed + 1);
    made(quant_layer_init(&quant, &p, w, NULL));
    made(packed_put(writer, layer, &quant, bias));
    quant_layer_release(&quant);
    free(bias);
    free(w);
}

enum { MADE_MOST = 16 };

/* A file of at most MADE_MOST layers. */
static inline void make_packed_file(const char *path, const struct made_layer *from, int count, uint64_t seed) {
    struct tensor_writer *writer = tensor_writer_new();
    struct packed_source source[MADE_MOST][2];
    struct packed_layer layer[MADE_MOST];
    packed_declare_file(writer, "key");
    for (int i = 0; i < count; i++) {
        layer[i] = made_declared(&from[i], source[i]);
        packed_declare(writer, &layer[i]);
    }
    made(tensor_writer_begin(writer, path));
    for (int i = 0; i < count; i++) {
        made_put(writer, &from[i], &layer[i], seed + 16 * (uint64_t)i);
        free(layer[i].name);
        free(layer[i].layer);
    }
    made(tensor_writer_end(writer));
    tensor_writer_free(writer);
}

/* The index of `files` in a folder; `model` may be NULL. */
static inline void make_packed_index(const char *folder, const char *const *files, int count, const char *model) {
    json_t *map = json_object(), *metadata = json_object(), *root;
    struct str path = {0};
    for (int i = 0; i < count; i++) {
        struct tensor_file file;
        str_clear(&path);
        str_printf(&path, "%s/%s", folder, files[i]);
        made(tensor_file_open(path.data, &file));
        for (int j = 0; j < file.count; j++)
            if (!tensor_is_filler(&file.tensor[j]))
                json_object_set_new(map, file.tensor[j].name, json_string(files[i]));
        tensor_file_close(&file);
    }
    if (model)
        json_object_set_new(metadata, "model", json_string(model));
    root = json_pack("{so so}", "metadata", metadata, "weight_map", map);
    char *text = json_dumps(root, JSON_INDENT(1));
    str_clear(&path);
    str_printf(&path, "%s/" FOLDER_INDEX, folder);
    made(file_write_atomic(path.data, text, strlen(text)));
    free(text);
    json_decref(root);
    str_release(&path);
}

#endif
