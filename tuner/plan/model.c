#include "model.h"
#include "db/bundle/bundle.h"
#include "runtime/base/file.h"
#include "runtime/base/str.h"
#include "runtime/checkpoint/tensors.h"
#include "tuner/json_file.h"
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads a positive whole number. `fallback` >= 1 stands in for an absent (or null) field; 0: the field must be
 * there. */
static enum mt_status read_field(const json_t *root, const char *path, const char *field, int fallback, int *out) {
    const json_t *value = json_object_get(root, field);
    if ((!value || json_is_null(value)) && fallback > 0) {
        *out = fallback;
        return MT_OK;
    }
    if (!value)
        return fail(MT_USAGE, "%s has no field `%s`, which the shapes of the layers follow from; add it", path, field);
    if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > INT_MAX)
        return fail(MT_USAGE, "%s: the field `%s` is not a whole number of at least 1 and at most %d", path, field,
                    INT_MAX);
    *out = (int)json_integer_value(value);
    return MT_OK;
}

static enum mt_status read_fields(const json_t *root, const char *path, struct model *out) {
    enum mt_status status;
    if ((status = read_field(root, path, "hidden_size", 0, &out->hidden)) ||
        (status = read_field(root, path, "intermediate_size", 0, &out->intermediate)) ||
        (status = read_field(root, path, "num_attention_heads", 0, &out->heads)) ||
        (status = read_field(root, path, "vocab_size", 0, &out->vocab)) ||
        (status = read_field(root, path, "num_key_value_heads", out->heads, &out->kv_heads)))
        return status;
    bool derived = out->hidden % out->heads == 0;
    if ((status = read_field(root, path, "head_dim", derived ? out->hidden / out->heads : 0, &out->head_dim)))
        return status;
    const char *const decoders = "num_hidden_layers"; /* no shape follows from it */
    if (json_is_integer(json_object_get(root, decoders)) &&
        (status = read_field(root, path, decoders, 0, &out->decoders)))
        return status;
    if (out->heads % out->kv_heads)
        return fail(MT_USAGE, "%s: num_attention_heads (%d) is not a multiple of num_key_value_heads (%d)", path,
                    out->heads, out->kv_heads);
    long widest = (long)(out->heads + 2L * out->kv_heads) * out->head_dim;
    if (widest > INT_MAX || 2L * out->intermediate > INT_MAX)
        return fail(MT_USAGE, "%s: its layers have more than %d features", path, INT_MAX);
    return MT_OK;
}

/* The part of `path` [length] behind its last slash; `length` becomes that of what is before the slash. */
static const char *take_part(const char *path, size_t *length, size_t *part) {
    size_t begin = *length;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    *part = *length - begin;
    *length = begin > 0 ? begin - 1 : 0;
    return path + begin;
}

/* The name of a folder [length]. In the cache of Hugging Face it is models--ORG--NAME/snapshots/HASH. */
static const char *folder_name(const char *path, size_t length, size_t *out) {
    static const char cached[] = "models--";
    size_t snapshots, repository;
    const char *name = take_part(path, &length, out), *above = take_part(path, &length, &snapshots),
               *model = take_part(path, &length, &repository);
    if (snapshots != strlen("snapshots") || strncmp(above, "snapshots", snapshots) != 0 || repository < sizeof cached ||
        strncmp(model, cached, strlen(cached)) != 0)
        return name;
    const char *begin = model + repository;
    while (begin[-1] != '-' || begin[-2] != '-')
        begin--;
    *out = (size_t)(model + repository - begin);
    return begin;
}

/* A name stands in databases, tables and JSON. */
static bool is_plain(const char *name) {
    json_t *text = json_string(name); /* NULL for what is no UTF-8 */
    const bool plain = text && *name && tensor_name_plain(name);
    json_decref(text);
    return plain;
}

enum mt_status model_name_of(const char *path, char out[MODEL_NAME]) {
    size_t before = strlen(path), length;
    const char *base = take_part(path, &before, &length);
    const bool is_folder = !strcmp(base, "config.json") && before > 0;
    const char *folder = is_folder ? folder_name(path, before, &length) : base;
    if (is_folder && length == 0) /* of the root */
        length = strlen("config");
    else if (is_folder)
        base = folder;
    else if (length > 5 && !strcmp(base + length - 5, ".json"))
        length -= 5;
    if (length >= MODEL_NAME)
        return fail(MT_USAGE, "%s: the model's name has %zu bytes and can have %d: give the %s a shorter one", path,
                    length, MODEL_NAME - 1, is_folder ? "folder" : "file");
    snprintf(out, MODEL_NAME, "%.*s", (int)length, base);
    if (!is_plain(out))
        return fail(MT_USAGE,
                    "the model is called as its %s, whose name is no UTF-8 text without control characters: "
                    "give it another one",
                    is_folder ? "folder" : "file");
    return MT_OK;
}

enum mt_status model_folder_name(const char *folder, char out[MODEL_NAME]) {
    char *whole = realpath(folder, NULL);
    struct str file = {0};
    if (!whole)
        return fail(MT_FAILURE, "cannot find the folder %s: %s", folder, strerror(errno));
    str_printf(&file, "%s/config.json", whole);
    const enum mt_status status = model_name_of(file.data, out);
    str_release(&file);
    free(whole);
    return status;
}

/* Of config.json that of the folder that it is in, whatever that is called here: "." has no name. */
static enum mt_status take_name(const char *path, char out[MODEL_NAME]) {
    size_t before = strlen(path), length;
    if (strcmp(take_part(path, &before, &length), "config.json") != 0)
        return model_name_of(path, out);
    struct str folder = {0};
    str_append_bytes(&folder, path, strlen(path) - length);
    const enum mt_status status = model_folder_name(folder.length ? folder.data : ".", out);
    str_release(&folder);
    return status;
}

/* What is called so in configs/models/, or the file, or the config.json in the folder. */
static enum mt_status find_file(const char *name, struct str *path) {
    struct stat info;
    const bool is_folder = stat(name, &info) == 0 && S_ISDIR(info.st_mode);
    const enum mt_status status = config_find("models", name, "json", path);
    if (!status || !is_folder)
        return status;
    str_clear(path);
    str_printf(path, "%s/config.json", name);
    return access(path->data, F_OK) == 0
               ? MT_OK
               : fail(MT_USAGE, "the folder %s has no config.json, so it is no model of Hugging Face", name);
}

enum mt_status model_read(const char *name, struct model *out) {
    struct str path = {0};
    json_t *root = NULL;
    *out = (struct model){0};
    enum mt_status status = find_file(name, &path);
    if (status)
        goto out;
    if ((status = json_file_read(path.data, JSON_CONFIG_MOST, MT_USAGE, &root)))
        goto out;
    if (!json_is_object(root)) {
        status = fail(MT_USAGE, "%s is not a JSON object with the fields of a model", path.data);
        goto out;
    }
    status = take_name(path.data, out->name);
    if (!status)
        status = read_fields(root, path.data, out);
out:
    json_decref(root);
    str_release(&path);
    return status;
}

enum mt_status model_layers(const struct model *model, int tp, struct model_layer out[MODEL_LAYERS]) {
    if (model->heads % tp)
        return fail(MT_USAGE, "--tp %d does not divide the %d attention heads of %s", tp, model->heads, model->name);
    if (model->intermediate % tp)
        return fail(MT_USAGE, "--tp %d does not divide the intermediate size %d of %s", tp, model->intermediate,
                    model->name);
    bool repeated = tp > model->kv_heads;
    if (repeated ? tp % model->kv_heads : model->kv_heads % tp)
        return fail(MT_USAGE, "--tp %d neither divides nor is a multiple of the %d key/value heads of %s", tp,
                    model->kv_heads, model->name);
    int heads = model->heads / tp, kv_heads = repeated ? 1 : model->kv_heads / tp;
    int intermediate = model->intermediate / tp;
    out[0] = (struct model_layer){"qkv", (heads + 2 * kv_heads) * model->head_dim, model->hidden};
    out[1] = (struct model_layer){"o", model->hidden, heads * model->head_dim};
    out[2] = (struct model_layer){"gate_up", 2 * intermediate, model->hidden};
    out[3] = (struct model_layer){"down", model->hidden, intermediate};
    return MT_OK;
}

int model_decoders(const struct bundle_layer *layer) {
    struct model model;
    struct model_layer layers[MODEL_LAYERS];
    if (!*layer->model || strchr(layer->model, '/') || model_read(layer->model, &model) != MT_OK ||
        model_layers(&model, layer->tp, layers) != MT_OK)
        return 0;
    for (int i = 0; i < MODEL_LAYERS; i++)
        if (!strcmp(layers[i].name, layer->name) && layers[i].n == layer->n && layers[i].k == layer->k)
            return model.decoders;
    return 0;
}
