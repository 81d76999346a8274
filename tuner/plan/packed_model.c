#include "packed_model.h"
#include "runtime/base/array.h"
#include "runtime/checkpoint/packed.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum mt_status take_model(const struct folder *folder, char out[MODEL_NAME]) {
    const char *told = folder_text(folder, "model");
    if (told && *told) {
        if (strlen(told) >= MODEL_NAME || !tensor_name_plain(told))
            return fail(MT_USAGE, "%s: the model's name in its index has control characters, or more than %d bytes",
                        folder->path.data, MODEL_NAME - 1);
        snprintf(out, MODEL_NAME, "%s", told);
        return MT_OK;
    }
    return model_folder_name(folder->path.data, out);
}

/* "qkv", or NxK where that is the name of another shape. */
static void call_layer(const struct packed_model *c, const struct packed_layer *layer, char name[32]) {
    snprintf(name, 32, "%s", layer->layer);
    for (int i = 0; i < c->layer_count; i++)
        if (!strcmp(c->layer[i].name, name) && (c->layer[i].n != layer->n || c->layer[i].k != layer->k))
            snprintf(name, 32, "%dx%d", layer->n, layer->k);
}

static void add_layer(struct packed_model *c, const struct packed_layer *layer, const char *name) {
    for (int i = 0; i < c->layer_count; i++)
        if (!strcmp(c->layer[i].name, name))
            return;
    array_grow(&c->layer, &c->capacity, (size_t)c->layer_count, sizeof *c->layer);
    c->layer[c->layer_count++] = (struct model_layer){xstrdup(name), layer->n, layer->k};
}

static enum mt_status take_layer(struct packed_model *c, const struct packed_folder *packed,
                                 const struct packed_layer *layer) {
    struct split_line line = {.split = {layer->rows8, 1}};
    const struct packed_layer *first = &packed->layer[0];
    if (layer->group != first->group || layer->symmetric != first->symmetric || layer->tp != first->tp)
        return fail(MT_USAGE,
                    "%s: %.120s has groups of %d%s and %d ranks, and %.120s groups of %d%s and %d ranks; a sweep takes "
                    "layers of one kind",
                    packed->folder.path.data, first->name, first->group, first->symmetric ? " without zero points" : "",
                    first->tp, layer->name, layer->group, layer->symmetric ? " without zero points" : "", layer->tp);
    if (strlen(layer->layer) >= sizeof line.layer || strchr(layer->layer, ','))
        return fail(MT_USAGE, "%s: the short name %.80s of %.120s has a comma or more than %zu characters",
                    packed->folder.path.data, layer->layer, layer->name, sizeof line.layer - 1);
    call_layer(c, layer, line.layer);
    add_layer(c, layer, line.layer);
    split_table_add(&c->table, line);
    return MT_OK;
}

enum mt_status packed_model_read(const char *path, struct packed_model *out) {
    struct packed_folder packed;
    *out = (struct packed_model){0};
    enum mt_status status = packed_open(path, &packed);
    if (status)
        return status;
    str_append(&out->table.path, path);
    out->tp = packed.layer[0].tp;
    out->group = packed.layer[0].group;
    out->symmetric = packed.layer[0].symmetric;
    status = take_model(&packed.folder, out->model);
    for (int i = 0; i < packed.count && !status; i++)
        status = take_layer(out, &packed, &packed.layer[i]);
    packed_close(&packed);
    if (status)
        packed_model_release(out);
    return status;
}

void packed_model_release(struct packed_model *c) {
    for (int i = 0; i < c->layer_count; i++)
        free((char *)(uintptr_t)c->layer[i].name);
    free(c->layer);
    split_table_release(&c->table);
    *c = (struct packed_model){0};
}
