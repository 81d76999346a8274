#include "saliences.h"
#include "runtime/base/log.h"
#include "runtime/base/str.h"
#include "runtime/checkpoint/packed.h"
#include "tuner/options.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WEIGHT    ".weight"
#define WRITES_IT "tuner/quantize/salience.py writes such a file"

/* ---- the file ---- */

const char *calibration_text(const struct folder *folder, const char *key) {
    const char *text = folder_text(folder, key);
    return text || folder->file_count == 0 ? text : tensor_file_text(&folder->file[0], key);
}

/* A file that somebody made by hand may say nothing of itself, or what its library puts there. */
static enum mt_status check_format(const struct saliences *s) {
    const char *format = calibration_text(&s->folder, "format"), *version = calibration_text(&s->folder, "version");
    if (format && !strcmp(format, HESSIANS_FORMAT))
        return fail(MT_USAGE, "%s has Hessians, which --hessian takes; --salience takes a file of saliences", s->path);
    if (format && !strcmp(format, PACKED_FORMAT))
        return fail(MT_USAGE, "%s has packed layers; --salience takes a file of saliences", s->path);
    if (format && !strcmp(format, SALIENCES_FORMAT) && (!version || strcmp(version, CALIBRATION_VERSION) != 0))
        return fail(MT_USAGE,
                    "%s has saliences of version %.40s, and this mixtune reads version " CALIBRATION_VERSION
                    "; make it again with the salience.py of this one",
                    s->path, version ? version : "none");
    return MT_OK;
}

enum mt_status saliences_open(const char *path, struct saliences *out) {
    *out = (struct saliences){.path = path};
    enum mt_status status = folder_open(path, &out->folder);
    if (status)
        return fail_context(status, "--salience");
    status = check_format(out);
    if (status)
        saliences_close(out);
    return status;
}

void saliences_close(struct saliences *s) {
    folder_close(&s->folder);
}

enum mt_status saliences_rounding(const struct saliences *s, struct saliences_rounding *out) {
    const char *group = calibration_text(&s->folder, "group"), *symmetric = calibration_text(&s->folder, "symmetric");
    if (group && group_parse(group, &out->group))
        return fail(MT_USAGE, "%s: its metadata says group `%.40s`, which is not one of 64, 128, 256", s->path, group);
    if (symmetric && strcmp(symmetric, "true") != 0 && strcmp(symmetric, "false") != 0)
        return fail(MT_USAGE, "%s: its metadata says symmetric `%.40s`, which is neither true nor false", s->path,
                    symmetric);
    if (symmetric)
        out->symmetric = !strcmp(symmetric, "true");
    return MT_OK;
}

enum mt_status saliences_compare(const struct saliences *s, struct saliences_rounding now) {
    struct saliences_rounding then = now;
    const enum mt_status status = saliences_rounding(s, &then);
    if (!status && (then.group != now.group || then.symmetric != now.symmetric))
        log_warn(
            "%s judges another rounding: groups of %d %s zero points, not groups of %d %s them; the order is still "
            "taken from it",
            s->path, then.group, then.symmetric ? "without" : "with", now.group, now.symmetric ? "without" : "with");
    return status;
}

/* ---- numbers ---- */

/* WEIGHT, or what is beside it. */
static const struct tensor *find(const struct saliences *s, const struct module *module, const char *ending) {
    struct str name = {0};
    str_printf(&name, "%s" WEIGHT "%s", module->name, ending);
    const struct tensor *t = folder_find(&s->folder, name.data);
    str_release(&name);
    return t;
}

static enum mt_status missing(const struct saliences *s, const struct module *module, const char *ending) {
    if (!*ending)
        return fail(MT_USAGE,
                    "%s has no tensor %.200s" WEIGHT ": saliences are needed of every weight that is quantised",
                    s->path, module->name);
    return fail(MT_USAGE, "%s has no tensor %.200s" WEIGHT "%s, though others have one; " WRITES_IT, s->path,
                module->name, ending);
}

static enum mt_status check_numbers(const struct saliences *s, const struct tensor *t, const float *value, int n) {
    for (int i = 0; i < n; i++)
        if (!isfinite(value[i]) || value[i] < 0)
            return fail(MT_USAGE, "%s: number %d of tensor %.200s is %g; a salience is finite and not negative",
                        s->path, i, t->name, (double)value[i]);
    return MT_OK;
}

static enum mt_status take_whole(const struct saliences *s, const struct module *module, float *out) {
    const struct tensor *t = find(s, module, "");
    if (!t)
        return missing(s, module, "");
    if (t->rank != 1 || !tensor_is_float(t))
        return fail(MT_USAGE, "%s: tensor %.200s is no row of F32, F16 or BF16 numbers", s->path, t->name);
    if (t->shape[0] != module->n)
        return fail(MT_USAGE,
                    "%s: tensor %.200s has %lld numbers, but the weight has %d features; is it of another model?",
                    s->path, t->name, (long long)t->shape[0], module->n);
    tensor_floats(t, 0, (size_t)module->n, out);
    return check_numbers(s, t, out, module->n);
}

/* One of two rows, or their sum. */
static enum mt_status take_row(const struct saliences *s, const struct module *module, const char *ending, int row,
                               float *out) {
    const struct tensor *t = find(s, module, ending);
    if (!t)
        return missing(s, module, ending);
    if (t->rank != 2 || t->shape[0] != 2 || t->shape[1] != module->n || !tensor_is_float(t))
        return fail(MT_USAGE,
                    "%s: tensor %.200s is not [2, %d] numbers in F32, F16 or BF16, two for each feature of its "
                    "weight; " WRITES_IT,
                    s->path, t->name, module->n);
    tensor_floats(t, (size_t)row * (size_t)module->n, (size_t)module->n, out);
    return check_numbers(s, t, out, module->n);
}

static enum mt_status take_squares(const struct saliences *s, const struct module *module, float *out) {
    float *odd = xmalloc((size_t)module->n * sizeof *odd);
    enum mt_status status = take_row(s, module, ".squares", 0, out);
    if (!status)
        status = take_row(s, module, ".squares", 1, odd);
    for (int i = 0; i < module->n && !status; i++)
        out[i] += odd[i];
    free(odd);
    return status;
}

static enum mt_status take(const struct saliences *s, const struct module *module, enum saliences_kind kind,
                           float *out) {
    if (kind == SALIENCE)
        return take_whole(s, module, out);
    if (kind == SALIENCE_SQUARES)
        return take_squares(s, module, out);
    return take_row(s, module, ".halves", kind == SALIENCE_ODD, out);
}

enum mt_status saliences_read(const struct saliences *s, const struct modules *modules, const struct module *module,
                              enum saliences_kind kind, float **out) {
    enum mt_status status = MT_OK;
    size_t total = 0, at = 0;
    *out = NULL;
    for (int i = 0; i < modules->count; i++)
        total += (size_t)modules->layer[i].n;
    if (total > UINT32_MAX)
        return fail(MT_USAGE, "the model has too many features to be put in order");
    float *value = xmalloc((total + 1) * sizeof *value);
    for (int i = 0; i < modules->count && !status; i++)
        for (int j = 0; j < modules->layer[i].part_count && !status; j++) {
            const struct module *part = &module[modules->layer[i].part[j]];
            status = take(s, part, kind, value + at);
            at += (size_t)part->n;
        }
    if (status)
        free(value);
    else
        *out = value;
    return status;
}

bool saliences_have(const struct saliences *s, const struct modules *modules, const struct module *module,
                    enum saliences_kind kind) {
    static const char *const endings[] = {"", ".halves", ".halves", ".squares"};
    return find(s, &module[modules->layer[0].part[0]], endings[kind]) != NULL;
}

/* ---- layers ---- */

/* The only number of an I64 tensor, at least `least`. */
static enum mt_status take_count(const struct saliences *s, const struct tensor *t, int64_t least, int64_t *out) {
    *out = -1;
    if (t->type == TENSOR_I64 && t->rank == 1 && t->shape[0] == 1)
        memcpy(out, t->data, sizeof *out);
    return *out >= least ? MT_OK
                         : fail(MT_USAGE, "%s: tensor %.200s is not one I64 number of at least %lld; " WRITES_IT,
                                s->path, t->name, (long long)least);
}

enum mt_status saliences_tokens(const struct saliences *s, const struct module *module, int64_t *out) {
    const struct tensor *t = find(s, module, ".tokens");
    *out = -1;
    return t ? take_count(s, t, 0, out) : MT_OK;
}

/* Whether a tensor is WEIGHT itself; `length`: of the name without ".weight". */
static bool is_weight(const struct tensor *t, size_t *length) {
    const size_t all = strlen(t->name), ending = strlen(WEIGHT);
    *length = all > ending ? all - ending : 0;
    return *length && !strcmp(t->name + *length, WEIGHT);
}

static enum mt_status take_shape(const struct saliences *s, const struct tensor *t, struct module *out) {
    int64_t k;
    if (t->rank != 1)
        return fail(MT_USAGE,
                    "%s: tensor %.200s is no row of numbers: this is a checkpoint, or a file of Hessians; --salience "
                    "takes a file of saliences",
                    s->path, t->name);
    const struct tensor *inputs = find(s, out, ".inputs");
    if (!inputs)
        return fail(
            MT_USAGE,
            "%s was not made by salience.py: it has no tensor %.200s.inputs, from which `mixtune show` knows the "
            "input features of that weight",
            s->path, t->name);
    const enum mt_status status = take_count(s, inputs, 1, &k);
    if (status)
        return status;
    if (t->shape[0] < 1 || t->shape[0] > MODULE_MOST || k > MODULE_MOST)
        return fail(MT_USAGE, "%s: tensor %.200s is of a weight of %lld features with %lld inputs; a layer has 1 to %d",
                    s->path, t->name, (long long)t->shape[0], (long long)k, MODULE_MOST);
    out->n = (int)t->shape[0];
    out->k = (int)k;
    return MT_OK;
}

static void tell_unknown(const struct saliences *s, const struct saliences_layers *layers) {
    const char *example = NULL;
    int count = 0;
    for (int i = 0; i < layers->count; i++)
        if (layers->modules.layer_of[i] < 0) {
            example = example ? example : layers->module[i].name;
            count++;
        }
    if (count > 0)
        log_info("%s: %d weights are of no known linear layer of the decoder and are left out, such as %.200s", s->path,
                 count, example);
}

enum mt_status saliences_find_layers(const struct saliences *s, struct saliences_layers *out) {
    enum mt_status status = MT_OK;
    size_t length;
    *out = (struct saliences_layers){.module = xcalloc((size_t)s->folder.count + 1, sizeof *out->module)};
    for (int i = 0; i < s->folder.count && !status; i++) {
        const struct tensor *t = s->folder.tensor[i];
        if (!is_weight(t, &length))
            continue;
        struct module *module = &out->module[out->count++];
        char *name = xstrdup(t->name);
        name[length] = 0;
        module->name = name;
        status = take_shape(s, t, module);
    }
    if (!status && (status = modules_find(out->module, out->count, &out->modules)))
        fail_context(status, "%s", s->path);
    if (status)
        saliences_release_layers(out);
    else
        tell_unknown(s, out);
    return status;
}

void saliences_release_layers(struct saliences_layers *layers) {
    modules_release(&layers->modules);
    for (int i = 0; i < layers->count; i++)
        free((char *)(uintptr_t)layers->module[i].name);
    free(layers->module);
    *layers = (struct saliences_layers){0};
}
