#include "packed.h"
#include "packed_private.h"
#include "runtime/base/str.h"
#include "runtime/layer/pack.h"
#include "templates/gemm_args.h"
#include "tree.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the metadata say of a layer's bytes. */
struct hashes {
    char tensor[2][PACKED_KINDS][33], bias[33];
};

/* Stands for a hash until the bytes are known. */
static const char unknown[33] = "00000000000000000000000000000000";

void packed_declare_file(struct tensor_writer *writer, const char *key) {
    tensor_writer_text(writer, "format", PACKED_FORMAT);
    tensor_writer_text(writer, "version", PACKED_VERSION);
    tensor_writer_text(writer, "layout", PACKED_LAYOUT);
    tensor_writer_text(writer, "key", key);
}

static void put_hash(struct str *to, const char *name, const char *hash) {
    str_printf(to, "%s\"%s\":\"%s\"", to->data[to->length - 1] == '{' ? "" : ",", name, hash);
}

static void declare_text(struct tensor_writer *writer, const struct packed_layer *layer, const struct hashes *hash) {
    struct str text = {0};
    str_append(&text, "{\"layer\":");
    tree_quote(&text, layer->layer);
    str_printf(&text, ",\"n\":%d,\"k\":%d,\"group\":%d,\"symmetric\":%s", layer->n, layer->k, layer->group,
               layer->symmetric ? "true" : "false");
    str_printf(&text, ",\"tp\":%d,\"rank\":%d,\"rows8_chosen\":%d,\"rows8\":%d,\"parts\":[", layer->tp, layer->rank,
               layer->rows8_chosen, layer->rows8);
    for (int i = 0; i < layer->source_count; i++) {
        str_append(&text, i ? ",[" : "[");
        tree_quote(&text, layer->source[i].name);
        str_printf(&text, ",%d]", layer->source[i].rows);
    }
    str_append(&text, "],\"hash\":{");
    for (int i = 0; i < MT_PARTS * PACKED_KINDS && !text.failed; i++) {
        const int width = i / PACKED_KINDS, kind = i % PACKED_KINDS;
        char name[24];
        snprintf(name, sizeof name, "%s.%s", packed_part_names[width], packed_kind_names[kind]);
        if (layer->slot[width][kind] >= 0)
            put_hash(&text, name, hash->tensor[width][kind]);
    }
    if (layer->bias_slot >= 0 && !text.failed)
        put_hash(&text, "bias", hash->bias);
    str_append(&text, "}}");
    tensor_writer_text(writer, layer->name, text.failed ? NULL : str_text(&text));
    str_release(&text);
}

void packed_declare(struct tensor_writer *writer, struct packed_layer *layer) {
    struct hashes hash;
    struct str name = {0};
    for (int width = 0; width < MT_PARTS; width++)
        for (int kind = 0; kind < PACKED_KINDS; kind++) {
            struct packed_shape shape;
            packed_shape(layer, width, (enum packed_kind)kind, &shape);
            str_clear(&name);
            str_printf(&name, "%s.%s.%s", layer->name, packed_part_names[width], packed_kind_names[kind]);
            layer->slot[width][kind] = shape.bytes
                                           ? tensor_writer_add(writer, str_text(&name), tensor_type_name(shape.type),
                                                               shape.rank, shape.size, shape.bytes, WRITER_ALIGNMENT)
                                           : -1;
            memcpy(hash.tensor[width][kind], unknown, sizeof unknown);
        }
    memcpy(hash.bias, unknown, sizeof unknown);
    const int64_t n = layer->n;
    str_clear(&name);
    str_printf(&name, "%s.bias", layer->name);
    layer->bias_slot = layer->bias_type == TENSOR_OTHER
                           ? -1
                           : tensor_writer_add(writer, str_text(&name), tensor_type_name(layer->bias_type), 1, &n,
                                               (size_t)n * tensor_type_bytes(layer->bias_type), WRITER_ALIGNMENT);
    str_release(&name);
    declare_text(writer, layer, &hash);
}

enum mt_status packed_put(struct tensor_writer *writer, const struct packed_layer *layer,
                          const struct quant_layer *quant, const void *bias) {
    struct hashes hash;
    enum mt_status status = MT_OK;
    for (int width = 0; width < MT_PARTS; width++) {
        const struct quant_part *part = &quant->part[width];
        const void *const data[PACKED_KINDS] = {part->packed, part->scales, part->zeros, part->columns};
        for (int kind = 0; kind < PACKED_KINDS && !status; kind++) {
            const size_t bytes = packed_tensor_bytes(layer, width, (enum packed_kind)kind);
            if (!bytes)
                continue;
            packed_hash(data[kind], bytes, hash.tensor[width][kind]);
            status = tensor_writer_put(writer, layer->slot[width][kind], 0, data[kind], bytes);
        }
    }
    if (!status && layer->bias_slot >= 0) {
        const size_t bytes = (size_t)layer->n * tensor_type_bytes(layer->bias_type);
        packed_hash(bias, bytes, hash.bias);
        status = tensor_writer_put(writer, layer->bias_slot, 0, bias, bytes);
    }
    if (!status)
        declare_text(writer, layer, &hash);
    return status;
}
