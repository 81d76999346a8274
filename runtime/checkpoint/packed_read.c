#include "packed.h"
#include "packed_private.h"
#include "runtime/base/array.h"
#include "runtime/base/str.h"
#include "runtime/layer/pack.h"
#include "templates/gemm_args.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the texts ---- */

static bool take_number(const struct tree_value *root, const char *key, int low, int high, int *out) {
    const struct tree_value *value = tree_get(root, key);
    if (!tree_is(value, TREE_INTEGER) || value->number < low || value->number > high)
        return false;
    *out = (int)value->number;
    return true;
}

/* Whether it lists linear layers whose features make up n. */
static bool sources_agree(const struct tree_value *list, int n) {
    int64_t sum = 0;
    if (!tree_is(list, TREE_ARRAY) || list->count < 1 || list->count > 64)
        return false;
    for (int i = 0; i < list->count; i++) {
        const struct tree_value *pair = list->item[i];
        if (!tree_is(pair, TREE_ARRAY) || pair->count != 2 || !pair->item[0]->text ||
            !tensor_name_plain(pair->item[0]->text) || pair->item[1]->type != TREE_INTEGER ||
            pair->item[1]->number < 1 || pair->item[1]->number > n)
            return false;
        sum += pair->item[1]->number;
    }
    return sum == n;
}

static enum mt_status take_sources(const struct tree_value *list, struct packed_layer *layer) {
    layer->source = mem_zeroed((size_t)list->count, sizeof *layer->source);
    if (!layer->source)
        return MT_FAILURE;
    for (; layer->source_count < list->count; layer->source_count++) {
        struct tree_value *const *pair = list->item[layer->source_count]->item;
        struct packed_source *source = &layer->source[layer->source_count];
        source->rows = (int)pair[1]->number;
        source->name = mem_text(pair[0]->text);
        if (!source->name)
            return MT_FAILURE;
    }
    return MT_OK;
}

static void take_hash(const struct tree_value *root, const char *key, char out[33]) {
    const char *hash = tree_get_text(root, key);
    snprintf(out, 33, "%s", hash ? hash : "");
}

static void take_hashes(const struct tree_value *root, struct packed_layer *layer) {
    for (int width = 0; width < MT_PARTS; width++)
        for (int kind = 0; kind < PACKED_KINDS; kind++) {
            char key[24];
            snprintf(key, sizeof key, "%s.%s", packed_part_names[width], packed_kind_names[kind]);
            take_hash(root, key, layer->hash[width][kind]);
        }
    take_hash(root, "bias", layer->bias_hash);
}

/* Numbers that a layer can have, and texts that can be shown. */
static bool take_shape(const struct tree_value *root, struct packed_layer *layer) {
    const struct tree_value *symmetric = tree_get(root, "symmetric");
    const char *name = tree_get_text(root, "layer");
    if (!name || !*name || !tensor_name_plain(name) || !tree_is(symmetric, TREE_BOOL) ||
        !take_number(root, "n", 1, 1 << 24, &layer->n) || !take_number(root, "k", 1, 1 << 24, &layer->k) ||
        !take_number(root, "group", 64, 256, &layer->group) || !take_number(root, "tp", 1, 1024, &layer->tp) ||
        !take_number(root, "rank", 0, layer->tp - 1, &layer->rank) ||
        !take_number(root, "rows8", 0, layer->n, &layer->rows8) ||
        !take_number(root, "rows8_chosen", 0, layer->rows8, &layer->rows8_chosen) ||
        !sources_agree(tree_get(root, "parts"), layer->n))
        return false;
    layer->symmetric = symmetric->number != 0;
    const struct problem p = packed_problem(layer);
    return problem_check(&p) == MT_OK;
}

enum { LAYER_TEXT_MOST = 1 << 16 }; /* a layer has a dozen numbers and a few names */

/* What the metadata of a file say of a layer. */
static enum mt_status take_layer(const char *path, const char *name, const char *text, struct packed_layer *layer) {
    struct tree tree;
    *layer = (struct packed_layer){.bias_type = TENSOR_OTHER};
    if (strlen(text) > LAYER_TEXT_MOST)
        return fail(MT_FAILURE, "%s: its metadata say more of layer %.120s than makes sense", path, name);
    enum mt_status status = tree_read(path, text, strlen(text), &tree);
    if (status)
        return fail_context(status, "layer %.120s", name);
    const struct tree_value *root = &tree.value[0];
    if (!take_shape(root, layer)) {
        status = fail(MT_FAILURE, "%s: what its metadata say of layer %.120s makes no sense", path, name);
    } else {
        take_hashes(tree_get(root, "hash"), layer);
        layer->name = mem_text(name);
        layer->layer = mem_text(tree_get_text(root, "layer"));
        status = layer->name && layer->layer ? take_sources(tree_get(root, "parts"), layer) : MT_FAILURE;
    }
    tree_release(&tree);
    return status;
}

/* ---- the tensors ---- */

static bool same_shape(const struct tensor *t, const struct packed_shape *shape) {
    if (t->type != shape->type || t->rank != shape->rank)
        return false;
    for (int i = 0; i < shape->rank; i++)
        if (t->shape[i] != shape->size[i])
            return false;
    return true;
}

static bool aligned(const struct packed_folder *packed, const struct tensor *t) {
    for (int i = 0; i < packed->folder.file_count; i++) {
        const struct tensor_file *file = &packed->folder.file[i];
        if (t->data >= file->map && t->data < file->map + file->size)
            return (size_t)(t->data - file->map) % WRITER_ALIGNMENT == 0;
    }
    return false;
}

static enum mt_status find_tensors(const struct packed_folder *packed, struct packed_layer *layer) {
    struct str name = {0};
    enum mt_status status = MT_OK;
    for (int i = 0; i < MT_PARTS * PACKED_KINDS && !status; i++) {
        const int width = i / PACKED_KINDS, kind = i % PACKED_KINDS;
        struct packed_shape shape;
        packed_shape(layer, width, (enum packed_kind)kind, &shape);
        if (!shape.bytes)
            continue;
        str_clear(&name);
        str_printf(&name, "%s.%s.%s", layer->name, packed_part_names[width], packed_kind_names[kind]);
        if ((status = str_status(&name)) != MT_OK)
            break;
        const struct tensor *t = folder_find(&packed->folder, name.data);
        if (!t)
            status = fail(MT_FAILURE, "%s: there is no tensor %.120s, which the layer's %d features in %s need",
                          packed->folder.path.data, name.data, packed_rows(layer, width), packed_part_names[width]);
        else if (!same_shape(t, &shape) || !aligned(packed, t))
            status = fail(MT_FAILURE, "%s: tensor %.120s has not the type, shape or alignment that its layer needs",
                          packed->folder.path.data, name.data);
        layer->tensor[width][kind] = t;
    }
    str_clear(&name);
    str_printf(&name, "%s.bias", layer->name);
    if (!status)
        status = str_status(&name);
    layer->bias = status ? NULL : folder_find(&packed->folder, name.data);
    if (!status && layer->bias) {
        layer->bias_type = layer->bias->type;
        if (layer->bias->rank != 1 || layer->bias->shape[0] != layer->n || !tensor_is_float(layer->bias))
            status = fail(MT_FAILURE, "%s: tensor %.120s is no bias of %d features", packed->folder.path.data,
                          name.data, layer->n);
    }
    str_release(&name);
    return status;
}

/* ---- files and folders ---- */

static bool is_file_key(const char *key) {
    return !strcmp(key, "format") || !strcmp(key, "version") || !strcmp(key, "layout") || !strcmp(key, "key");
}

static enum mt_status take_file(struct packed_folder *packed, const struct tensor_file *file) {
    const char *format = tensor_file_text(file, "format"), *version = tensor_file_text(file, "version"),
               *layout = tensor_file_text(file, "layout");
    if (!format || strcmp(format, PACKED_FORMAT) != 0)
        return MT_OK; /* what is not quantised */
    if (!version || strcmp(version, PACKED_VERSION) != 0 || !layout || strcmp(layout, PACKED_LAYOUT) != 0) {
        version = version ? version : "none";
        layout = layout ? layout : "none";
        return fail(
            MT_FAILURE,
            "%s has version %.20s and layout %.20s of packed checkpoints, and this library reads version %s and "
            "layout %s; quantise the model again",
            file->path, version, layout, PACKED_VERSION, PACKED_LAYOUT);
    }
    const char *key;
    for (int i = 0; (key = tensor_file_key(file, i)) != NULL; i++) {
        if (is_file_key(key))
            continue;
        if (!array_grow(&packed->layer, &packed->capacity, (size_t)packed->count, sizeof *packed->layer))
            return MT_FAILURE;
        struct packed_layer *layer = &packed->layer[packed->count++];
        enum mt_status status = take_layer(file->path, key, tensor_file_text(file, key), layer);
        if (!status)
            status = find_tensors(packed, layer);
        if (status)
            return status;
    }
    return MT_OK;
}

static int by_name(const void *a, const void *b) {
    const struct packed_layer *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static enum mt_status sort_layers(struct packed_folder *packed) {
    packed->by_name = mem_zeroed((size_t)packed->count, sizeof *packed->by_name);
    if (!packed->by_name)
        return MT_FAILURE;
    for (int i = 0; i < packed->count; i++)
        packed->by_name[i] = &packed->layer[i];
    qsort((void *)packed->by_name, (size_t)packed->count, sizeof *packed->by_name, by_name);
    for (int i = 1; i < packed->count; i++)
        if (!strcmp(packed->by_name[i - 1]->name, packed->by_name[i]->name))
            return fail(MT_FAILURE, "%s: two files have a layer %.120s", packed->folder.path.data,
                        packed->by_name[i]->name);
    return MT_OK;
}

/* Several schemes or ranks have a folder each, and both one within another: the first of those that is a checkpoint,
 * which `path` becomes. */
static bool find_inside(struct str *path, int depth) {
    struct dirent **entry = NULL;
    const int count = depth > 0 ? scandir(str_text(path), &entry, NULL, alphasort) : 0;
    const size_t length = path->length;
    bool found = false;
    for (int i = 0; i < count; i++) {
        if (!found && *entry[i]->d_name != '.' &&
            str_reserve(path, strlen(entry[i]->d_name) + sizeof FOLDER_INDEX + 2)) {
            str_printf(path, "/%s/" FOLDER_INDEX, entry[i]->d_name);
            found = access(path->data, R_OK) == 0;
            path->length -= strlen("/" FOLDER_INDEX);
            path->data[path->length] = 0;
            found = found || find_inside(path, depth - 1);
            if (!found)
                path->data[path->length = length] = 0;
        }
        free(entry[i]);
    }
    free(entry);
    return found;
}

static enum mt_status fail_outside(const char *path) {
    struct str inside = {0};
    enum mt_status status = MT_USAGE; /* with the sentence that there is */
    str_append(&inside, path);
    if (find_inside(&inside, 2))
        status = fail(MT_USAGE, "%s is no packed checkpoint; give the one of a scheme or rank in it, such as %s", path,
                      inside.data);
    str_release(&inside);
    return status;
}

enum mt_status packed_open(const char *path, struct packed_folder *out) {
    *out = (struct packed_folder){0};
    enum mt_status status = folder_open(path, &out->folder);
    if (status == MT_USAGE)
        return fail_outside(path);
    for (int i = 0; i < out->folder.file_count && !status; i++)
        status = take_file(out, &out->folder.file[i]);
    if (!status && out->count == 0)
        status = fail(MT_USAGE, "%s is no packed checkpoint; make one with `mixtune quantize`", path);
    if (!status)
        status = sort_layers(out);
    if (status)
        packed_close(out);
    return status;
}

void packed_close(struct packed_folder *packed) {
    for (int i = 0; i < packed->count; i++)
        packed_layer_release(&packed->layer[i]);
    free(packed->layer);
    free((void *)packed->by_name);
    folder_close(&packed->folder);
    *packed = (struct packed_folder){0};
}

const struct packed_layer *packed_find(const struct packed_folder *packed, const char *name) {
    const struct packed_layer key = {.name = (char *)(uintptr_t)name}, *wanted = &key;
    const struct packed_layer **found = packed->count ? bsearch(&wanted, (void *)packed->by_name, (size_t)packed->count,
                                                                sizeof *packed->by_name, by_name)
                                                      : NULL;
    return found ? *found : NULL;
}

/* ---- bytes ---- */

enum mt_status packed_check_columns(const struct packed_folder *packed, const struct packed_layer *layer) {
    uint8_t *seen = mem_zeroed((size_t)layer->n, 1);
    bool good = true;
    if (!seen)
        return MT_FAILURE;
    for (int width = 0; width < MT_PARTS; width++) {
        const struct tensor *t = layer->tensor[width][PACKED_COLUMNS];
        int32_t before = -1, column;
        for (int i = 0; t && good && i < packed_rows(layer, width); i++, before = column) {
            memcpy(&column, t->data + (size_t)i * sizeof column, sizeof column);
            good = column > before && column < layer->n && !seen[column]++;
        }
    }
    free(seen);
    return good ? MT_OK
                : fail(MT_FAILURE, "%s: the columns of layer %.120s do not name each of its %d features once, in order",
                       packed->folder.path.data, layer->name, layer->n);
}

static enum mt_status check_hash(const struct packed_folder *packed, const struct tensor *t, const char *wanted) {
    char hash[33];
    packed_hash(t->data, t->bytes, hash);
    if (!strcmp(hash, wanted))
        return MT_OK;
    return fail(MT_FAILURE, "%s: the bytes of tensor %.120s are not those that were written; copy the checkpoint again",
                packed->folder.path.data, t->name);
}

enum mt_status packed_check_hashes(const struct packed_folder *packed, const struct packed_layer *layer) {
    enum mt_status status = layer->bias ? check_hash(packed, layer->bias, layer->bias_hash) : MT_OK;
    for (int i = 0; i < MT_PARTS * PACKED_KINDS && !status; i++) {
        const int width = i / PACKED_KINDS, kind = i % PACKED_KINDS;
        if (layer->tensor[width][kind])
            status = check_hash(packed, layer->tensor[width][kind], layer->hash[width][kind]);
    }
    return status;
}
