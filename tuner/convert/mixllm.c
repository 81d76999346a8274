/* What the published code of MixLLM saves: features with 8 bits before those with 4, `indices` with the output feature
 * of each, and numbers in whatever type its concatenation has left (int16, float32, where all have one width uint8). */
#include "formats.h"
#include "runtime/base/str.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_list(const struct tensor *t, int n) {
    return t && t->rank == 1 && t->shape[0] == n &&
           (t->type == TENSOR_I32 || t->type == TENSOR_F32 || t->type == TENSOR_BOOL);
}

/* Inverts `indices`, which must name each feature once; of both widths in increasing order or not. */
static enum mt_status take_indices(const struct checkpoint *from, struct linear *l) {
    const struct tensor *indices = checkpoint_tensor(from, l->name, ".indices"),
                        *is8 = checkpoint_tensor(from, l->name, ".is_int8_channel");
    bool good = is_list(indices, l->n) && is_list(is8, l->n);
    l->stored = xmalloc((size_t)l->n * sizeof *l->stored);
    memset(l->stored, -1, (size_t)l->n * sizeof *l->stored);
    for (int i = 0; good && i < l->n; i++) {
        const float feature = linear_number(indices, (size_t)i);
        const bool wide = linear_number(is8, (size_t)i) != 0;
        good = feature >= 0 && feature < (float)l->n && feature == floorf(feature) && l->stored[(int)feature] < 0 &&
               (!wide || l->rows8 == i);
        if (good)
            l->stored[(int)feature] = i;
        l->rows8 += wide;
    }
    if (good)
        return MT_OK;
    return fail(MT_USAGE,
                "%s: indices and is_int8_channel of %.120s do not name each of its %d features once, those with 8 bits "
                "first; save the model with the features that each width has",
                checkpoint_path(from), l->name, l->n);
}

static bool is_number(const struct tensor *t) {
    return t && t->rank == 2 &&
           (t->type == TENSOR_U8 || t->type == TENSOR_I8 || t->type == TENSOR_I16 || tensor_is_float(t));
}

static enum mt_status take(struct checkpoint *from, const struct tensor *qweight, size_t length) {
    struct linear *l = checkpoint_add(from, qweight->name, length);
    const struct tensor *scale = checkpoint_tensor(from, l->name, ".scale"),
                        *zero = checkpoint_tensor(from, l->name, ".zero");
    if (!is_number(qweight) || !is_number(scale) || !is_number(zero) || qweight->shape[0] < 1 ||
        qweight->shape[0] > 1 << 24 || qweight->shape[1] < 1 || qweight->shape[1] > 1 << 24 || scale->shape[0] < 1 ||
        scale->shape[0] > qweight->shape[1] || zero->shape[0] != scale->shape[0] || zero->shape[1] != qweight->shape[0])
        return fail(MT_USAGE, "%s: %.120s has no qweight [N, K], scale [groups, N] and zero [groups, N]",
                    checkpoint_path(from), l->name);
    l->kind = LINEAR_MIXLLM;
    l->n = (int)qweight->shape[0];
    l->k = (int)qweight->shape[1];
    l->codes = qweight;
    l->zeros = zero;
    l->scale_row = 1;
    l->scale_group = (size_t)l->n;
    enum mt_status status = checkpoint_want(from, l, ".scale", TENSOR_OTHER, scale->shape[0], l->n, &l->scales);
    if (!status)
        status = take_indices(from, l);
    if (!status)
        status = checkpoint_take_groups(from, l, scale->shape[0], -1);
    return status ? status : checkpoint_take_bias(from, l);
}

enum mt_status mixllm_find(struct checkpoint *from) {
    const struct folder *folder = &from->packed.folder;
    enum mt_status status = MT_OK;
    for (int i = 0; i < folder->count && !status; i++) {
        size_t length;
        if (checkpoint_suffix(folder->tensor[i], ".qweight", &length))
            status = take(from, folder->tensor[i], length);
    }
    return status;
}
