#include "checkpoint.h"
#include "formats.h"
#include "runtime/base/parallel.h"
#include "runtime/base/str.h"
#include "tuner/json_file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const checkpoint_format_names[] = {"compressed-tensors", "GPTQ", "AWQ", "MixLLM", "mixtune"};

/* ---- what it is ---- */

static enum mt_status load_json(const char *folder, const char *name, json_t **out) {
    struct str path = {0};
    enum mt_status status = MT_OK;
    str_printf(&path, "%s/%s", folder, name);
    *out = NULL;
    if (access(path.data, F_OK) == 0)
        status = json_file_read(path.data, JSON_CONFIG_MOST, MT_USAGE, out);
    str_release(&path);
    return status;
}

/* config.json has it since a while; before, each format had a file of its own. */
static enum mt_status load_config(struct checkpoint *from) {
    static const char *const files[] = {"quantize_config.json", "quant_config.json"};
    enum mt_status status = load_json(checkpoint_path(from), "config.json", &from->config);
    from->quantization = json_incref(json_object_get(from->config, "quantization_config"));
    if (!from->quantization) /* of early compressed-tensors */
        from->quantization = json_incref(json_object_get(from->config, "compression_config"));
    if (!from->quantization) /* of a model with towers */
        from->quantization =
            json_incref(json_object_get(json_object_get(from->config, "text_config"), "quantization_config"));
    for (int i = 0; i < 2 && !status && !from->quantization; i++)
        status = load_json(checkpoint_path(from), files[i], &from->quantization);
    return status;
}

static bool by_method(const char *method, enum checkpoint_format *out) {
    static const struct {
        const char *name;
        enum checkpoint_format format;
    } methods[] = {
        {"compressed-tensors", FORMAT_COMPRESSED},
        {"gptq", FORMAT_GPTQ},
        {"gptq_marlin", FORMAT_GPTQ},
        {"awq", FORMAT_AWQ},
        {"mixllm", FORMAT_MIXLLM},
    };
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (!strcmp(method, methods[i].name)) {
            *out = methods[i].format;
            return true;
        }
    return false;
}

/* By the first tensor that only one format has. */
static bool by_tensors(const struct checkpoint *from, enum checkpoint_format *out) {
    const struct folder *folder = &from->packed.folder;
    struct str name = {0};
    bool found = false;
    for (int i = 0; i < folder->count && !found; i++) {
        const struct tensor *t = folder->tensor[i];
        size_t length;
        found = checkpoint_suffix(t, ".weight_packed", &length) || checkpoint_suffix(t, ".weight_scale", &length);
        *out = FORMAT_COMPRESSED;
        if (found || !checkpoint_suffix(t, ".qweight", &length))
            continue;
        found = true;
        str_clear(&name);
        str_append_bytes(&name, t->name, length);
        const struct tensor *scales = checkpoint_tensor(from, name.data, ".scales");
        if (checkpoint_tensor(from, name.data, ".indices"))
            *out = FORMAT_MIXLLM;
        else if (scales && scales->rank == 2 && t->rank == 2 && t->shape[1] == scales->shape[1] / 8)
            *out = FORMAT_AWQ;
        else
            *out = FORMAT_GPTQ;
    }
    str_release(&name);
    return found;
}

static enum mt_status detect(struct checkpoint *from) {
    const json_t *said = json_object_get(from->quantization, "quant_method");
    const char *method = json_string_value(said);
    if (method && by_method(method, &from->format))
        return MT_OK;
    if (method)
        return fail(MT_USAGE,
                    "%s is quantised by %.40s, as its config.json says, and mixtune reads compressed-tensors, gptq, "
                    "awq, mixllm and its own format",
                    checkpoint_path(from), method);
    if (by_tensors(from, &from->format))
        return MT_OK;
    return fail(MT_USAGE, "%s is not quantised; `mixtune quantize` does that", checkpoint_path(from));
}

/* ---- opening ---- */

static bool is_packed(const struct folder *folder) {
    for (int i = 0; i < folder->file_count; i++) {
        const char *format = tensor_file_text(&folder->file[i], "format");
        if (format && !strcmp(format, PACKED_FORMAT))
            return true;
    }
    return false;
}

static enum mt_status open_folder(const char *path, struct checkpoint *from) {
    enum mt_status status = folder_open(path, &from->packed.folder);
    if (status || !is_packed(&from->packed.folder))
        return status;
    folder_close(&from->packed.folder);
    from->format = FORMAT_PACKED;
    return packed_open(path, &from->packed);
}

static enum mt_status find_linears(struct checkpoint *from, int gptq_version) {
    switch (from->format) {
    case FORMAT_COMPRESSED:
        return compressed_find(from);
    case FORMAT_GPTQ:
        return gptq_find(from, gptq_version);
    case FORMAT_AWQ:
        return awq_find(from);
    case FORMAT_MIXLLM:
        return mixllm_find(from);
    default:
        return packed_find_linears(from);
    }
}

static int by_name(const void *a, const void *b) {
    const struct linear *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* The linear layer that has the tensor. */
static const struct linear *owner_of(const struct checkpoint *from, const struct tensor *tensor) {
    const char *dot = strrchr(tensor->name, '.');
    struct str name = {0};
    str_append_bytes(&name, tensor->name, dot ? (size_t)(dot - tensor->name) : 0);
    const struct linear key = {.name = name.data};
    const struct linear *found =
        name.length && from->count ? bsearch(&key, from->linear, (size_t)from->count, sizeof key, by_name) : NULL;
    str_release(&name);
    return found;
}

static int by_address(const void *a, const void *b) {
    const struct tensor *const *x = a, *const *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* All tensors of packed layers, by address. Owned by the caller. */
static const struct tensor **packed_tensors(const struct checkpoint *from, size_t *count) {
    const size_t each = 2 * PACKED_KINDS + 1;
    const struct tensor **all = xcalloc((size_t)from->packed.count * each + 1, sizeof(struct tensor *));
    *count = 0;
    for (int i = 0; i < from->packed.count; i++) {
        const struct packed_layer *layer = &from->packed.layer[i];
        for (int j = 0; j < 2 * PACKED_KINDS; j++)
            if (layer->tensor[j / PACKED_KINDS][j % PACKED_KINDS])
                all[(*count)++] = layer->tensor[j / PACKED_KINDS][j % PACKED_KINDS];
        if (layer->bias)
            all[(*count)++] = layer->bias;
    }
    qsort((void *)all, *count, sizeof *all, by_address);
    return all;
}

static const char *weight_type(const struct checkpoint *from, const struct tensor *scale, size_t length) {
    struct str name = {0};
    str_append_bytes(&name, scale->name, length);
    const struct tensor *weight = checkpoint_tensor(from, name.data, ".weight");
    str_release(&name);
    return weight ? weight->type_name : "unknown";
}

/* Scales that belong to no layer are those of weights in a format that nothing here has read. */
static enum mt_status check_carried(const struct checkpoint *from) {
    size_t length;
    for (int i = 0; i < from->carried_count; i++)
        if (from->format == FORMAT_COMPRESSED && checkpoint_suffix(from->carried[i], ".weight_scale", &length))
            return fail(MT_USAGE, "%s: %.*s has weights of type %.20s, and mixtune has integers of 4 and 8 bits",
                        checkpoint_path(from), (int)(length < 120 ? length : 120), from->carried[i]->name,
                        weight_type(from, from->carried[i], length));
    return MT_OK;
}

static void find_carried(struct checkpoint *from) {
    const struct folder *folder = &from->packed.folder;
    size_t count;
    const struct tensor **packed = packed_tensors(from, &count);
    free((void *)from->carried);
    from->carried_count = from->dropped = 0;
    from->carried = xcalloc((size_t)folder->count + 1, sizeof(struct tensor *));
    for (int i = 0; i < folder->count; i++) {
        const struct tensor *t = folder->tensor[i];
        const bool filler = from->format == FORMAT_PACKED && tensor_is_filler(t);
        if (from->format == FORMAT_PACKED
                ? bsearch(&t, (void *)packed, count, sizeof(struct tensor *), by_address) != NULL
                : owner_of(from, t) != NULL)
            from->dropped += strstr(t->name, ".input_") || strstr(t->name, ".output_");
        else if (!filler)
            from->carried[from->carried_count++] = t;
    }
    free((void *)packed);
}

/* ---- checks ---- */

struct survey {
    const struct checkpoint *from;
    struct linear_findings *found; /* of each linear layer */
};

/* Codes are looked at where the format can hold what mixtune cannot. */
static bool may_have_bad_codes(const struct linear *l) {
    return l->kind == LINEAR_MIXLLM || (l->kind == LINEAR_FIELDS && l->code.word == 1 && l->code.bits == 4);
}

static void linears_check(void *context, int begin, int end) {
    const struct survey *survey = context;
    for (int i = begin; i < end; i++) {
        const struct linear *l = &survey->from->linear[i];
        survey->found[i] = LINEAR_NO_FINDINGS;
        if (l->kind != LINEAR_PACKED)
            linear_read(l, 0, l->n, may_have_bad_codes(l), NULL, &survey->found[i]);
    }
}

static enum mt_status tell_fault(const struct checkpoint *from, const struct linear *l,
                                 const struct linear_findings *found) {
    const char *path = checkpoint_path(from);
    const int bits = linear_is8(l, found->row) ? 8 : 4;
    switch (found->fault) {
    case FAULT_NONE:
        return MT_OK;
    case FAULT_CODE:
        return fail(MT_USAGE, "%s: %.120s has the code %g at feature %d, input %d, which is none of %d bits", path,
                    l->name, found->value, found->row, found->at, bits);
    case FAULT_ZERO8:
        return fail(MT_USAGE,
                    "%s: %.120s has 8-bit weights with zero points (%g above the middle at feature %d, group %d), and "
                    "mixtune's are symmetric; quantise the model with symmetric 8-bit weights",
                    path, l->name, found->value, found->row, found->at);
    case FAULT_ZERO4:
        return fail(MT_USAGE, "%s: %.120s has the zero point %g at feature %d, group %d, which is none of 0 to 15",
                    path, l->name, found->value, found->row, found->at);
    default:
        return fail(MT_USAGE,
                    "%s: %.120s has the scale %g at feature %d, group %d, which fp16 cannot hold: it ends at 65504",
                    path, l->name, found->value, found->row, found->at);
    }
}

static enum mt_status tell_scales(const struct checkpoint *from, int64_t inexact, const struct linear *l,
                                  const struct linear_findings *first) {
    return fail(MT_USAGE,
                "%s: fp16 cannot hold %lld of the %lld scales exactly, the first %.9g of %.120s at feature %d, group "
                "%d; --round-scales rounds them, the worst by %.2g %%",
                checkpoint_path(from), (long long)inexact, (long long)from->scales, first->inexact_value, l->name,
                first->inexact_row, first->inexact_group, from->worst * 100);
}

/* Layers without zero points, or whose config says that they are symmetric, are so if they have no other. */
static enum mt_status check(struct checkpoint *from, bool round_scales) {
    struct survey survey = {from, xcalloc((size_t)from->count, sizeof *survey.found)};
    enum mt_status status = MT_OK;
    int first = -1;
    parallel_for(from->count, 1, linears_check, &survey);
    for (int i = 0; i < from->count && !status; i++) {
        struct linear *l = &from->linear[i];
        const struct linear_findings *found = &survey.found[i];
        from->scales += (int64_t)l->n * l->groups;
        from->rounded += found->inexact;
        from->worst = found->worst > from->worst ? found->worst : from->worst;
        first = first < 0 && found->inexact ? i : first;
        if (l->kind != LINEAR_PACKED)
            l->symmetric = l->symmetric && found->zeros_are_8;
        status = tell_fault(from, l, found);
    }
    if (!status && from->rounded && !round_scales)
        status = tell_scales(from, from->rounded, &from->linear[first], &survey.found[first]);
    free(survey.found);
    return status;
}

static enum mt_status check_names(const struct checkpoint *from) {
    for (int i = 1; i < from->count; i++)
        if (!strcmp(from->linear[i - 1].name, from->linear[i].name))
            return fail(MT_USAGE, "%s: %.120s has weights in two formats", checkpoint_path(from), from->linear[i].name);
    return MT_OK;
}

static enum mt_status open_all(const char *path, const struct checkpoint_options *options, struct checkpoint *from) {
    enum mt_status status = open_folder(path, from);
    if (!status)
        status = load_config(from);
    if (!status && from->format != FORMAT_PACKED)
        status = detect(from);
    if (!status)
        status = find_linears(from, options->gptq_version);
    if (!status && from->count == 0) {
        find_carried(from);
        status = check_carried(from);
    }
    if (!status && from->count == 0)
        status = fail(MT_USAGE, "%s has no linear layer that is quantised as %s does it", path,
                      checkpoint_format_names[from->format]);
    if (status)
        return status;
    qsort(from->linear, (size_t)from->count, sizeof *from->linear, by_name);
    status = check_names(from);
    if (!status)
        status = check(from, options->round_scales);
    find_carried(from);
    return status ? status : check_carried(from);
}

enum mt_status checkpoint_open(const char *path, const struct checkpoint_options *options, struct checkpoint *out) {
    *out = (struct checkpoint){.format = FORMAT_COMPRESSED};
    const enum mt_status status = open_all(path, options, out);
    if (status)
        checkpoint_close(out);
    return status;
}

void checkpoint_close(struct checkpoint *from) {
    for (int i = 0; i < from->count; i++)
        linear_release(&from->linear[i]);
    free(from->linear);
    free((void *)from->carried);
    free(from->q[0]);
    free(from->q[1]);
    json_decref(from->config);
    json_decref(from->quantization);
    packed_close(&from->packed);
    *from = (struct checkpoint){.format = FORMAT_COMPRESSED};
}

/* ---- reading ---- */

enum mt_status checkpoint_read(struct checkpoint *from, const struct linear *linear, int group, struct codes *out) {
    struct linear_findings found = LINEAR_NO_FINDINGS;
    if (linear->kind == LINEAR_PACKED)
        return packed_read(from, linear, group, out);
    codes_init(out, linear->n, linear->k, group);
    linear_read_all(linear, out, &found);
    return tell_fault(from, linear, &found);
}

void checkpoint_drop(const struct linear *linear) {
    if (linear->codes)
        tensor_drop(linear->codes);
    for (int i = 0; linear->packed && i < 2; i++)
        if (linear->packed->tensor[i][PACKED_BLOCKS])
            tensor_drop(linear->packed->tensor[i][PACKED_BLOCKS]);
}
