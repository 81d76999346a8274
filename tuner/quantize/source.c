#include "source.h"
#include "runtime/base/log.h"
#include "runtime/base/str.h"
#include "runtime/checkpoint/packed.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define WEIGHT ".weight"

/* The name without ".weight". */
static char *module_name(const struct tensor *t, bool *is_weight) {
    char *name = xstrdup(t->name);
    const size_t length = strlen(name), ending = strlen(WEIGHT);
    *is_weight = length > ending && !strcmp(name + length - ending, WEIGHT);
    if (*is_weight)
        name[length - ending] = 0;
    return name;
}

static bool fits(const struct tensor *t) {
    return t->rank == 2 && t->shape[0] <= MODULE_MOST && t->shape[1] <= MODULE_MOST;
}

/* What has more than one dimension may be a linear layer. */
static void list_modules(struct source *s) {
    s->module = xcalloc((size_t)s->folder.count + 1, sizeof *s->module);
    s->weight = xcalloc((size_t)s->folder.count + 1, sizeof *s->weight);
    s->bias = xcalloc((size_t)s->folder.count + 1, sizeof *s->bias);
    s->taken = xcalloc((size_t)s->folder.count + 1, 1);
    for (int i = 0; i < s->folder.count; i++) {
        const struct tensor *t = s->folder.tensor[i];
        bool is_weight;
        if (t->rank < 2)
            continue;
        struct module *m = &s->module[s->module_count];
        m->name = module_name(t, &is_weight);
        if (is_weight && fits(t)) {
            m->n = (int)t->shape[0];
            m->k = (int)t->shape[1];
        }
        s->weight[s->module_count++] = t;
    }
}

/* ---- what is there is of use ---- */

static enum mt_status check_type(const struct tensor *t) {
    if (tensor_is_float(t))
        return MT_OK;
    return fail(
        MT_USAGE,
        "tensor %.200s is of type %.20s; weights are quantised from F32, F16 or BF16, and what has been quantised "
        "before goes through `mixtune convert`",
        t->name, t->type_name);
}

static enum mt_status find_bias(struct source *s, int module) {
    struct str name = {0};
    str_printf(&name, "%s.bias", s->module[module].name);
    const struct tensor *t = folder_find(&s->folder, name.data);
    str_release(&name);
    s->bias[module] = t;
    if (!t)
        return MT_OK;
    if (t->rank != 1 || t->shape[0] != s->module[module].n)
        return fail(MT_USAGE, "tensor %.200s is no bias of the %d features of its layer", t->name, s->module[module].n);
    return check_type(t);
}

/* The biases of what is fused become one tensor: there must be all, of one type. */
static enum mt_status check_biases(const struct source *s, const struct fused *layer) {
    const struct tensor *first = s->bias[layer->part[0]];
    for (int i = 1; i < layer->part_count; i++) {
        const struct tensor *other = s->bias[layer->part[i]];
        if ((first == NULL) != (other == NULL) || (first && first->type != other->type))
            return fail(MT_USAGE, "%s and %s run as one layer, but only one has a bias, or they are of two types",
                        s->module[layer->part[0]].name, s->module[layer->part[i]].name);
    }
    return MT_OK;
}

static enum mt_status check_layers(struct source *s) {
    enum mt_status status = MT_OK;
    for (int i = 0; i < s->modules.count && !status; i++) {
        const struct fused *layer = &s->modules.layer[i];
        for (int j = 0; j < layer->part_count && !status; j++)
            if (!(status = check_type(s->weight[layer->part[j]])))
                status = find_bias(s, layer->part[j]);
        if (!status)
            status = check_biases(s, layer);
    }
    return status;
}

static int place_of(const struct source *s, const struct tensor *t) {
    int low = 0, high = s->folder.count;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (strcmp(s->folder.tensor[middle]->name, t->name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void mark_taken(struct source *s) {
    for (int i = 0; i < s->module_count; i++)
        if (s->modules.layer_of[i] >= 0) {
            s->taken[place_of(s, s->weight[i])] = 1;
            if (s->bias[i])
                s->taken[place_of(s, s->bias[i])] = 1;
        }
}

static void tell_unknown(const struct source *s) {
    const char *example[2] = {0};
    int count = 0;
    for (int i = 0; i < s->module_count; i++) {
        if (s->modules.layer_of[i] != MODULE_UNKNOWN)
            continue;
        if (count < 2)
            example[count] = s->weight[i]->name;
        count++;
    }
    if (count > 0)
        log_info("%d tensors of decoder layers are of no known linear layer and stay as they are: %s%s%s%s", count,
                 example[0], count > 1 ? ", " : "", count > 1 ? example[1] : "", count > 2 ? " …" : "");
}

/* One file may be a part of the model alone, and nobody would notice. */
static enum mt_status open_folder(const char *path, struct source *out) {
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISDIR(info.st_mode))
        return fail(MT_USAGE, "%s is a file; --model takes the folder of the model", path);
    return folder_open(path, &out->folder);
}

/* Nothing is known by its name: perhaps because it was quantised before, into tensors of other names. */
static enum mt_status tell_nothing(const struct source *source, const char *path, enum mt_status status) {
    for (int i = 0; i < source->folder.count; i++) {
        const char *end = strrchr(source->folder.tensor[i]->name, '.');
        if (end && (!strcmp(end, ".qweight") || !strcmp(end, ".weight_packed")))
            return fail(MT_USAGE, "%s is quantised already; `mixtune convert` takes such a checkpoint", path);
    }
    return fail_context(status, "%s", path);
}

enum mt_status source_open(const char *path, struct source *out) {
    *out = (struct source){0};
    enum mt_status status = open_folder(path, out);
    if (status)
        return status;
    const char *format = folder_text(&out->folder, "format");
    if (format && !strcmp(format, PACKED_FORMAT))
        status = fail(MT_USAGE, "%s is packed already; --model takes the model that it was made of", path);
    list_modules(out);
    if (!status && (status = modules_find(out->module, out->module_count, &out->modules)))
        status = tell_nothing(out, path, status);
    if (!status)
        status = check_layers(out);
    if (status) {
        source_close(out);
        return status;
    }
    mark_taken(out);
    tell_unknown(out);
    return MT_OK;
}

void source_close(struct source *source) {
    modules_release(&source->modules);
    for (int i = 0; i < source->module_count; i++)
        free((char *)(uintptr_t)source->module[i].name);
    free(source->module);
    free((void *)source->weight);
    free((void *)source->bias);
    free(source->taken);
    folder_close(&source->folder);
    *source = (struct source){0};
}

size_t source_bytes(const struct source *source) {
    size_t bytes = 0;
    for (int i = 0; i < source->module_count; i++)
        bytes += source->modules.layer_of[i] >= 0 ? source->weight[i]->bytes : 0;
    return bytes;
}
