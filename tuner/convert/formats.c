#include "formats.h"
#include "runtime/base/array.h"
#include "runtime/base/str.h"
#include <stdlib.h>
#include <string.h>

const char *checkpoint_path(const struct checkpoint *from) {
    return from->packed.folder.path.data;
}

const struct tensor *checkpoint_tensor(const struct checkpoint *from, const char *name, const char *suffix) {
    struct str full = {0};
    str_printf(&full, "%s%s", name, suffix);
    const struct tensor *tensor = folder_find(&from->packed.folder, full.data);
    str_release(&full);
    return tensor;
}

bool checkpoint_suffix(const struct tensor *tensor, const char *suffix, size_t *length) {
    const size_t all = strlen(tensor->name), end = strlen(suffix);
    *length = all - end;
    return all > end && !strcmp(tensor->name + all - end, suffix);
}

struct linear *checkpoint_add(struct checkpoint *from, const char *name, size_t length) {
    array_grow(&from->linear, &from->capacity, (size_t)from->count, sizeof *from->linear);
    struct linear *linear = &from->linear[from->count++];
    *linear = (struct linear){.name = xmalloc(length + 1)};
    memcpy(linear->name, name, length);
    linear->name[length] = 0;
    return linear;
}

enum mt_status checkpoint_take_bias(const struct checkpoint *from, struct linear *linear) {
    linear->bias = checkpoint_tensor(from, linear->name, ".bias");
    if (linear->bias &&
        (!tensor_is_float(linear->bias) || linear->bias->rank != 1 || linear->bias->shape[0] != (int64_t)linear->n))
        return fail(MT_USAGE, "%s: %.120s.bias is no bias of the layer's %d features", checkpoint_path(from),
                    linear->name, linear->n);
    return MT_OK;
}

enum mt_status checkpoint_want(const struct checkpoint *from, const struct linear *linear, const char *suffix,
                               enum tensor_type type, int64_t a, int64_t b, const struct tensor **out) {
    const struct tensor *t = checkpoint_tensor(from, linear->name, suffix);
    *out = t;
    if (!t)
        return fail(MT_USAGE, "%s: %.120s has no tensor %s, which its format needs", checkpoint_path(from),
                    linear->name, suffix + 1);
    if (t->rank != 2 || (type == TENSOR_OTHER ? !tensor_is_float(t) : t->type != type) || t->shape[0] != a ||
        t->shape[1] != b)
        return fail(
            MT_USAGE, "%s: tensor %.120s%s has not the type %s and shape [%lld, %lld] that a layer of %d x %d needs",
            checkpoint_path(from), linear->name, suffix, type == TENSOR_OTHER ? "of floats" : tensor_type_name(type),
            (long long)a, (long long)b, linear->n, linear->k);
    return MT_OK;
}

static bool is_group(int group) {
    return group == 64 || group == 128 || group == 256;
}

static int64_t groups_of(int k, int group) {
    return ((int64_t)k + group - 1) / group;
}

enum mt_status checkpoint_take_groups(const struct checkpoint *from, struct linear *linear, int64_t groups, int said) {
    int group = said;
    for (int size = 64; said <= 0 && size <= 256; size *= 2)
        if (groups > 1 && groups_of(linear->k, size) == groups)
            group = size;
    linear->groups = (int)groups;
    if (groups == 1 && !(is_group(group) && linear->k <= group))
        group = 0;
    linear->group = group;
    if (group <= 0 ? groups == 1 : groups_of(linear->k, group) == groups) {
        if (group == 0 || is_group(group))
            return MT_OK;
        return fail(MT_USAGE,
                    "%s: %.120s has scales for groups of %d inputs, and mixtune has groups of 64, 128 and 256; "
                    "quantise the model with one of those",
                    checkpoint_path(from), linear->name, group);
    }
    if (group > 0)
        return fail(MT_USAGE,
                    "%s: %.120s has scales for %lld groups of its %d inputs, which are not those of %d that the config "
                    "says",
                    checkpoint_path(from), linear->name, (long long)groups, linear->k, group);
    return fail(MT_USAGE,
                "%s: %.120s has scales for %lld groups of its %d inputs, and mixtune has groups of 64, 128 and 256; "
                "quantise the model with one of those",
                checkpoint_path(from), linear->name, (long long)groups, linear->k);
}

enum mt_status checkpoint_check_order(const struct checkpoint *from, const struct linear *linear,
                                      const struct tensor *order) {
    if (!order)
        return MT_OK;
    if (order->type != TENSOR_I32 || order->rank != 1 || order->shape[0] != linear->k)
        return fail(MT_USAGE, "%s: the order of the inputs of %.120s is no list of %d whole numbers",
                    checkpoint_path(from), linear->name, linear->k);
    for (int k = 0; k < linear->k; k++) {
        int32_t group;
        memcpy(&group, order->data + (size_t)k * sizeof group, sizeof group);
        if (group != (linear->group ? k / linear->group : 0))
            return fail(MT_USAGE,
                        "%s: the inputs of %.120s are grouped by their activations (act-order: input %d is in group "
                        "%d), and mixtune has groups of neighbours; quantise the model without act-order",
                        checkpoint_path(from), linear->name, k, group);
    }
    return MT_OK;
}
