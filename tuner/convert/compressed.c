/* compressed-tensors: pack-quantized and int-quantized. */
#include "formats.h"
#include "scheme.h"
#include <string.h>

static int ceil_div(int64_t a, int b) {
    return (int)((a + b - 1) / b);
}

static enum mt_status take_shape(const struct checkpoint *from, struct linear *l, const struct tensor *packed) {
    const struct tensor *shape = checkpoint_tensor(from, l->name, ".weight_shape");
    int64_t size[2];
    if (packed->rank != 2)
        return fail(MT_USAGE,
                    "%s: %.120s has weights of %d dimensions, and mixtune reads one tensor for each linear layer; save "
                    "the model with one for each expert",
                    checkpoint_path(from), l->name, packed->rank);
    if (!shape || shape->type != TENSOR_I64 || shape->rank != 1 || shape->shape[0] != 2)
        return fail(MT_USAGE, "%s: %.120s has no weight_shape of two numbers, which says how many inputs it has",
                    checkpoint_path(from), l->name);
    memcpy(size, shape->data, sizeof size);
    if (size[0] != packed->shape[0] || size[0] < 1 || size[0] > 1 << 24 || size[1] < 1 || size[1] > 1 << 24)
        return fail(MT_USAGE, "%s: weight_shape of %.120s says %lld x %lld, which its weight_packed is not",
                    checkpoint_path(from), l->name, (long long)size[0], (long long)size[1]);
    l->n = (int)size[0];
    l->k = (int)size[1];
    return MT_OK;
}

/* Packed along rows, or a byte each as older files have them. */
static enum mt_status take_zeros(const struct checkpoint *from, struct linear *l, int bits) {
    const struct tensor *zeros = checkpoint_tensor(from, l->name, ".weight_zero_point");
    const int per = 32 / bits;
    if (!zeros)
        return MT_OK;
    if (zeros->type == TENSOR_I8) {
        l->zero = (struct field){
            .bits = bits, .word = 1, .offset = bits == 4 ? 8 : 128, .row = (size_t)l->groups, .column = 1};
        return checkpoint_want(from, l, ".weight_zero_point", TENSOR_I8, l->n, l->groups, &l->zeros);
    }
    l->zero = (struct field){.bits = bits, .word = 4, .along_rows = true, .row = (size_t)l->groups, .column = 1};
    return checkpoint_want(from, l, ".weight_zero_point", TENSOR_I32, ceil_div(l->n, per), l->groups, &l->zeros);
}

/* Everything but the codes. */
static enum mt_status take_rest(const struct checkpoint *from, struct linear *l, int bits,
                                const struct scheme_of *scheme) {
    const struct tensor *scales = checkpoint_tensor(from, l->name, ".weight_scale");
    if (!scales || scales->rank != 2)
        return fail(MT_USAGE, "%s: %.120s has no weight_scale [%d, groups]", checkpoint_path(from), l->name, l->n);
    enum mt_status status = checkpoint_take_groups(from, l, scales->shape[1], scheme->group);
    if (!status)
        status = checkpoint_want(from, l, ".weight_scale", TENSOR_OTHER, l->n, l->groups, &l->scales);
    if (!status)
        status = take_zeros(from, l, bits);
    if (!status)
        status = checkpoint_check_order(from, l, checkpoint_tensor(from, l->name, ".weight_g_idx"));
    if (!status && checkpoint_tensor(from, l->name, ".weight_global_scale"))
        status = fail(MT_USAGE, "%s: %.120s has a weight_global_scale, which mixtune's formats have not",
                      checkpoint_path(from), l->name);
    l->kind = LINEAR_FIELDS;
    l->rows8 = bits == 8 ? l->n : 0;
    l->symmetric = !l->zeros || !scheme->asymmetric;
    l->scale_row = (size_t)l->groups;
    l->scale_group = 1;
    l->activations = scheme->inputs;
    return status ? status : checkpoint_take_bias(from, l);
}

static enum mt_status take_packed(struct checkpoint *from, const struct tensor *packed, size_t length) {
    struct linear *l = checkpoint_add(from, packed->name, length);
    struct scheme_of scheme;
    enum mt_status status = scheme_compressed(from->quantization, l->name, &scheme);
    if (!status)
        status = take_shape(from, l, packed);
    if (status)
        return status;
    const int bits = scheme.bits ? scheme.bits : packed->shape[1] == ceil_div(l->k, 8) ? 4 : 8;
    l->code = (struct field){.bits = bits, .word = 4, .row = (size_t)packed->shape[1], .column = 1};
    status = checkpoint_want(from, l, ".weight_packed", TENSOR_I32, l->n, ceil_div(l->k, 32 / bits), &l->codes);
    return status ? status : take_rest(from, l, bits, &scheme);
}

static enum mt_status take_bytes(struct checkpoint *from, const struct tensor *weight, size_t length) {
    struct linear *l = checkpoint_add(from, weight->name, length);
    struct scheme_of scheme;
    enum mt_status status = scheme_compressed(from->quantization, l->name, &scheme);
    if (!status && (weight->rank != 2 || weight->shape[0] < 1 || weight->shape[0] > 1 << 24 || weight->shape[1] < 1 ||
                    weight->shape[1] > 1 << 24))
        status = fail(MT_USAGE, "%s: %.120s.weight is no matrix of codes", checkpoint_path(from), l->name);
    if (status)
        return status;
    const int bits = scheme.bits ? scheme.bits : 8;
    l->n = (int)weight->shape[0];
    l->k = (int)weight->shape[1];
    l->codes = weight;
    l->code = (struct field){.bits = bits, .word = 1, .offset = bits == 4 ? 8 : 128, .row = (size_t)l->k, .column = 1};
    return take_rest(from, l, bits, &scheme);
}

enum mt_status compressed_find(struct checkpoint *from) {
    const json_t *transform = json_object_get(from->quantization, "transform_config");
    const struct folder *folder = &from->packed.folder;
    enum mt_status status = MT_OK;
    if (json_object_size(json_object_get(transform, "config_groups")) > 0)
        return fail(MT_USAGE,
                    "%s: quantization_config in config.json has a transform_config: weights and activations are "
                    "rotated, which mixtune's kernels do not do",
                    checkpoint_path(from));
    for (int i = 0; i < folder->count && !status; i++) {
        const struct tensor *t = folder->tensor[i];
        size_t length;
        if (checkpoint_suffix(t, ".weight_packed", &length))
            status = take_packed(from, t, length);
        else if (t->type == TENSOR_I8 && checkpoint_suffix(t, ".weight", &length))
            status = take_bytes(from, t, length);
    }
    return status;
}
