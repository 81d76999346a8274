#include "convert.h"
#include "runtime/base/parallel.h"
#include "runtime/base/str.h"
#include "runtime/layer/rows.h"
#include "templates/gemm_args.h"
#include "tuner/choice/modules.h"
#include "tuner/progress.h"
#include "tuner/quantize/output.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* The group of layers that have one scale for all of K, alone or with others like them. */
enum { CHANNEL_GROUP = 128 };

struct packing {
    struct checkpoint *from;
    struct modules modules;
    struct packed_layer *layer; /* [modules.count] */
};

static const struct linear *part_of(const struct packing *p, int layer, int part) {
    return &p->from->linear[p->modules.layer[layer].part[part]];
}

/* ---- what is fused ---- */

static enum mt_status check_modules(const struct packing *p) {
    for (int i = 0; i < p->from->count; i++)
        if (p->modules.layer_of[i] < 0)
            return fail(MT_USAGE,
                        "%s: %.120s is quantised, and mixtune packs attention and MLP of the decoder alone; take a "
                        "checkpoint in which it is not",
                        p->from->packed.folder.path.data, p->from->linear[i].name);
    return MT_OK;
}

static enum mt_status find_modules(struct packing *p) {
    const struct checkpoint *from = p->from;
    struct module *module = xcalloc((size_t)from->count, sizeof *module);
    for (int i = 0; i < from->count; i++)
        module[i] = (struct module){from->linear[i].name, from->linear[i].n, from->linear[i].k};
    enum mt_status status = modules_find(module, from->count, &p->modules);
    free(module);
    if (status)
        return fail_context(status, "%s", from->packed.folder.path.data);
    return check_modules(p);
}

/* Parts with one scale for all of K take the group size of the others. */
static enum mt_status take_group(const struct packing *p, int index, struct packed_layer *out) {
    const struct linear *owner = NULL;
    for (int i = 0; i < p->modules.layer[index].part_count; i++) {
        const struct linear *l = part_of(p, index, i);
        if (!l->group)
            continue;
        if (owner && owner->group != l->group)
            return fail(MT_USAGE,
                        "%s: %.120s has groups of %d inputs and %.120s of %d, and both run as one layer; quantise them "
                        "with one group size",
                        p->from->packed.folder.path.data, owner->name, owner->group, l->name, l->group);
        owner = owner ? owner : l;
    }
    out->group = owner ? owner->group : CHANNEL_GROUP;
    return MT_OK;
}

/* Where only some parts have a bias, that of the others is 0. */
static enum mt_status take_bias(const struct packing *p, int index, struct packed_layer *out) {
    const struct linear *owner = NULL;
    out->bias_type = TENSOR_OTHER;
    for (int i = 0; i < p->modules.layer[index].part_count; i++) {
        const struct linear *l = part_of(p, index, i);
        if (!l->bias)
            continue;
        if (owner && owner->bias->type != l->bias->type)
            return fail(MT_USAGE, "%s: the biases of %.120s and %.120s have different types, and both run as one layer",
                        p->from->packed.folder.path.data, owner->name, l->name);
        owner = l;
        out->bias_type = l->bias->type;
    }
    return MT_OK;
}

static enum mt_status describe(const struct packing *p, int index, struct packed_layer *out) {
    const struct fused *fused = &p->modules.layer[index];
    *out = (struct packed_layer){.name = xstrdup(fused->name),
                                 .layer = xstrdup(fused->layer),
                                 .n = fused->n,
                                 .k = fused->k,
                                 .symmetric = true,
                                 .tp = 1,
                                 .source = xcalloc((size_t)fused->part_count, sizeof *out->source),
                                 .source_count = fused->part_count};
    for (int i = 0; i < fused->part_count; i++) {
        const struct linear *l = part_of(p, index, i);
        out->source[i] = (struct packed_source){xstrdup(l->name), l->n};
        out->rows8 += l->rows8;
        out->symmetric = out->symmetric && (l->symmetric || l->rows8 == l->n);
    }
    out->rows8_chosen = out->rows8;
    out->symmetric = out->symmetric && out->rows8 < out->n; /* as `mixtune quantize` says it of 8 bits alone */
    const enum mt_status status = take_group(p, index, out);
    return status ? status : take_bias(p, index, out);
}

/* ---- one layer ---- */

struct importing {
    struct quant_rows *rows;
    const struct codes *codes;
    int first; /* feature of the layer that is the first of the part */
    atomic_int bad;
};

static void rows_import(void *context, int begin, int end) {
    struct importing *job = context;
    const struct codes *codes = job->codes;
    for (int i = begin; i < end; i++) {
        const size_t at = (size_t)i * (size_t)codes->groups;
        const int width = codes->is8[i] ? MT_PART_W8 : MT_PART_W4;
        if (quant_rows_import(job->rows, width, job->first + i, codes->q + (size_t)i * (size_t)codes->k,
                              codes->scales + at, codes->is8[i] ? NULL : codes->zeros + at) >= 0)
            atomic_store(&job->bad, i + 1);
    }
}

static enum mt_status import_part(const struct packing *p, int index, int part, int first, struct quant_rows *rows,
                                  uint8_t *is8) {
    const struct linear *l = part_of(p, index, part);
    struct codes codes;
    enum mt_status status = checkpoint_read(p->from, l, rows->group, &codes);
    if (status)
        return status;
    struct importing job = {.rows = rows, .codes = &codes, .first = first};
    parallel_for(l->n, 16, rows_import, &job);
    memcpy(is8 + first, codes.is8, (size_t)l->n);
    codes_release(&codes);
    checkpoint_drop(l);
    const int bad = atomic_load(&job.bad);
    return bad ? fail(MT_USAGE, "%s: feature %d of %.120s has a code, a scale or a zero point that is out of range",
                      p->from->packed.folder.path.data, bad - 1, l->name)
               : MT_OK;
}

static enum mt_status import_layer(const struct packing *p, int index, struct quant_layer *out) {
    const struct packed_layer *layer = &p->layer[index];
    const struct problem problem = packed_problem(layer);
    uint8_t *is8 = xcalloc((size_t)layer->n, 1);
    struct quant_rows rows;
    enum mt_status status = quant_rows_init(&rows, &problem, layer->rows8 > 0, layer->rows8 < layer->n);
    for (int i = 0, first = 0; i < layer->source_count && !status; first += layer->source[i++].rows)
        status = import_part(p, index, i, first, &rows, is8);
    if (!status)
        status = quant_rows_pack(&rows, is8, out);
    quant_rows_release(&rows);
    free(is8);
    return status;
}

static void *join_biases(const struct packing *p, int index) {
    const struct packed_layer *layer = &p->layer[index];
    const size_t each = tensor_type_bytes(layer->bias_type);
    uint8_t *bias = layer->bias_type == TENSOR_OTHER ? NULL : xcalloc((size_t)layer->n, each);
    for (int i = 0, first = 0; bias && i < layer->source_count; first += layer->source[i++].rows) {
        const struct linear *l = part_of(p, index, i);
        if (l->bias)
            memcpy(bias + (size_t)first * each, l->bias->data, (size_t)l->n * each);
    }
    return bias;
}

/* ---- the folder ---- */

static enum mt_status write_file(const struct packing *p, struct output *output, int first, int count,
                                 struct progress *progress) {
    enum mt_status status = output_begin(output, p->modules.layer[first].decoder, p->layer + first, count);
    for (int i = first; i < first + count && !status; i++) {
        struct quant_layer quant = {0};
        if (interrupted())
            return fail(MT_INTERRUPTED, "interrupted; the same command goes on from there");
        void *bias = join_biases(p, i);
        status = import_layer(p, i, &quant);
        if (!status)
            status = output_put(output, &p->layer[i], &quant, bias);
        quant_layer_release(&quant);
        free(bias);
        progress_step(progress, true, p->layer[i].name);
    }
    return status ? status : output_end(output);
}

static enum mt_status write_files(const struct packing *p, struct output *output, struct progress *progress) {
    enum mt_status status = MT_OK;
    for (int first = 0, end; first < p->modules.count && !status; first = end) {
        const int decoder = p->modules.layer[first].decoder;
        for (end = first; end < p->modules.count && p->modules.layer[end].decoder == decoder; end++)
            ;
        if (!output_has(output, decoder))
            status = write_file(p, output, first, end - first, progress);
    }
    return status;
}

/* Of the folder's tensors those that are carried are in no layer. */
static uint8_t *taken_tensors(const struct checkpoint *from) {
    uint8_t *taken = xmalloc((size_t)from->packed.folder.count + 1);
    for (int i = 0, next = 0; i < from->packed.folder.count; i++) {
        taken[i] = next >= from->carried_count || from->carried[next] != from->packed.folder.tensor[i];
        next += !taken[i];
    }
    return taken;
}

/* The model's config without what another format says of its weights. */
static char *plain_config(const struct checkpoint *from) {
    json_t *config = from->config ? json_deep_copy(from->config) : json_object();
    json_object_del(config, "quantization_config");
    json_object_del(json_object_get(config, "text_config"), "quantization_config");
    char *text = json_dumps(config, JSON_INDENT(2));
    json_decref(config);
    return text;
}

/* As a problem's scheme is called (runtime/layer/problem.h). */
static const char *scheme_of(const struct packing *p, const struct convert_result *result) {
    bool symmetric = true;
    if (result->rows8 == result->rows)
        return "w8a8";
    for (int i = 0; i < p->modules.count; i++)
        symmetric = symmetric && (p->layer[i].symmetric || p->layer[i].rows8 == p->layer[i].n);
    return result->rows8 ? symmetric ? "mixed-sym" : "mixed" : symmetric ? "w4a8-sym" : "w4a8";
}

static enum mt_status write_folder(const struct packing *p, const char *out, const char *options, bool quiet,
                                   struct convert_result *result) {
    char *config = plain_config(p->from);
    const struct output_plan plan = {.path = out,
                                     .source = &p->from->packed.folder,
                                     .options = options,
                                     .scheme = scheme_of(p, result),
                                     .group = p->layer[0].group,
                                     .tp = 1,
                                     .config = config};
    struct output *output;
    struct progress progress;
    enum mt_status status = output_open(&plan, &output);
    if (!status) {
        progress_init(&progress, "convert", p->modules.count, quiet);
        status = write_files(p, output, &progress);
        progress_release(&progress);
    }
    uint8_t *taken = taken_tensors(p->from);
    if (!status)
        status = output_finish(output, taken);
    if (!status)
        result->bytes = output_layer_bytes(output);
    output_close(output);
    free(taken);
    free(config);
    return status;
}

enum mt_status convert_to_packed(struct checkpoint *from, const char *out, const char *options, bool quiet,
                                 struct convert_result *result) {
    struct packing p = {.from = from};
    enum mt_status status = find_modules(&p);
    p.layer = xcalloc((size_t)p.modules.count + 1, sizeof *p.layer);
    for (int i = 0; i < p.modules.count && !status; i++)
        status = describe(&p, i, &p.layer[i]);
    result->layers = p.modules.count;
    if (!status)
        status = write_folder(&p, out, options, quiet, result);
    for (int i = 0; i < p.modules.count; i++)
        packed_layer_release(&p.layer[i]);
    free(p.layer);
    modules_release(&p.modules);
    return status;
}
