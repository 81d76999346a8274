/* The public interface to packed checkpoints: packed_layer, seen through struct mt_weights_info and struct
 * mt_packed. */
#include "runtime/base/str.h"
#include "runtime/checkpoint/packed.h"
#include "runtime/layer/half.h"
#include "runtime/layer/pack.h"
#include "runtime/mixtune.h"
#include "sized.h"
#include "templates/gemm_args.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct mt_weights_file {
    struct packed_folder packed;
};

static enum mt_status check_all(const struct packed_folder *packed) {
    enum mt_status status = MT_OK;
    for (int i = 0; i < packed->count && !status; i++) {
        status = packed_check_hashes(packed, &packed->layer[i]);
        if (!status)
            status = packed_check_columns(packed, &packed->layer[i]);
    }
    return status;
}

enum mt_status mt_weights_open(const char *path, unsigned flags, struct mt_weights_file **out) {
    enum mt_status status = GIVEN("path file", path, out);
    if (status != MT_OK)
        return status;
    *out = NULL;
    if (flags & ~(unsigned)MT_WEIGHTS_CHECK)
        return fail(MT_USAGE, "mt_weights_open: this library does not know the flags 0x%x",
                    flags & ~(unsigned)MT_WEIGHTS_CHECK);
    struct mt_weights_file *file = mem_zeroed(1, sizeof *file);
    if (!file)
        return MT_FAILURE;
    status = packed_open(path, &file->packed);
    if (!status && flags & MT_WEIGHTS_CHECK)
        status = check_all(&file->packed);
    if (status)
        mt_weights_close(file);
    else
        *out = file;
    return fail_settled(status);
}

void mt_weights_close(struct mt_weights_file *file) {
    if (!file)
        return;
    packed_close(&file->packed);
    free(file);
}

int mt_weights_count(const struct mt_weights_file *file) {
    return file->packed.count;
}

static enum mt_status info_give(const struct packed_layer *layer, struct mt_weights_info *out) {
    const struct mt_weights_info info = {.size = sizeof info,
                                         .name = layer->name,
                                         .layer = layer->layer,
                                         .tp = layer->tp,
                                         .rank = layer->rank,
                                         .n = layer->n,
                                         .k = layer->k,
                                         .rows8 = layer->rows8,
                                         .group = layer->group,
                                         .rows8_chosen = layer->rows8_chosen,
                                         .symmetric = layer->symmetric,
                                         .layout = PACK_LAYOUT,
                                         .has_bias = layer->bias != NULL};
    return sized_give(out, &info, sizeof info, "mt_weights_info");
}

enum mt_status mt_weights_at(const struct mt_weights_file *file, int index, struct mt_weights_info *info) {
    enum mt_status status = GIVEN("file", file);
    if (status != MT_OK)
        return status;
    if (index >= 0 && index < file->packed.count)
        return fail_settled(info_give(&file->packed.layer[index], info));
    status = sized_give(info, NULL, sizeof *info, "mt_weights_info");
    return status ? status
                  : fail(MT_USAGE, "mt_weights_at: there is no layer %d; %s has %d, from 0 on", index,
                         file->packed.folder.path.data, file->packed.count);
}

/* MT_USAGE with the first names that there are. */
static enum mt_status find(const struct mt_weights_file *file, const char *name, const struct packed_layer **out) {
    enum { SHOWN = 8 };
    const struct packed_folder *packed = &file->packed;
    struct str names = {0};
    *out = packed_find(packed, name);
    if (*out)
        return MT_OK;
    for (int i = 0; i < packed->count && i < SHOWN; i++)
        str_printf(&names, "%s%.80s", i ? ", " : "", packed->layer[i].name);
    enum mt_status status = fail(MT_USAGE, "%s has no layer %.120s; it has %d: %s%s", packed->folder.path.data, name,
                                 packed->count, str_text(&names), packed->count > SHOWN ? ", ..." : "");
    str_release(&names);
    return status;
}

static void take_tensor(const struct tensor *tensor, const void **data, size_t *bytes) {
    *data = tensor ? tensor->data : NULL;
    *bytes = tensor ? tensor->bytes : 0;
}

enum mt_status mt_weights_layer(const struct mt_weights_file *file, const char *name, struct mt_weights_info *info,
                                struct mt_packed *out) {
    const struct packed_layer *layer;
    enum mt_status status = GIVEN("file name", file, name);
    if (!status)
        status = sized_give(out, NULL, sizeof *out, "mt_packed");
    if (!status && info)
        status = sized_give(info, NULL, sizeof *info, "mt_weights_info");
    if (!status)
        status = find(file, name, &layer);
    if (!status)
        status = packed_check_columns(&file->packed, layer);
    if (status)
        return status;
    struct mt_packed own = {.layout = PACK_LAYOUT, .rows8 = layer->rows8, .rows8_chosen = layer->rows8_chosen};
    for (int i = 0; i < MT_PARTS; i++) {
        const struct tensor *const *tensor = layer->tensor[i];
        own.rows[i] = packed_rows(layer, i);
        own.padded_rows[i] = pack_padded(own.rows[i]);
        take_tensor(tensor[PACKED_BLOCKS], &own.weights[i], &own.weights_bytes[i]);
        take_tensor(tensor[PACKED_SCALES], &own.scales[i], &own.scales_bytes[i]);
        take_tensor(tensor[PACKED_ZEROS], &own.zeros[i], &own.zeros_bytes[i]);
        take_tensor(tensor[PACKED_COLUMNS], &own.columns[i], &own.columns_bytes[i]);
    }
    if (info)
        status = info_give(layer, info);
    return fail_settled(status ? status : sized_give(out, &own, sizeof own, "mt_packed"));
}

enum mt_status mt_weights_bias(const struct mt_weights_file *file, const char *name, enum mt_dtype dtype,
                               uint16_t *to) {
    enum { PIECE = 256 };
    float piece[PIECE];
    const struct packed_layer *layer;
    enum mt_status status = GIVEN("file name", file, name);
    if (status)
        return status;
    if (dtype != MT_FP16 && dtype != MT_BF16)
        return fail(MT_USAGE, "mt_weights_bias: dtype is %d; it must be MT_FP16 or MT_BF16", (int)dtype);
    status = GIVEN("to", to);
    if (status)
        return status;
    status = find(file, name, &layer);
    if (!status && !layer->bias)
        status = fail(MT_USAGE, "%s: layer %.120s has no bias", file->packed.folder.path.data, name);
    for (int begin = 0; !status && begin < layer->n; begin += PIECE) {
        const int count = layer->n - begin < PIECE ? layer->n - begin : PIECE;
        tensor_floats(layer->bias, (size_t)begin, (size_t)count, piece);
        for (int i = 0; i < count && !status; i++) {
            to[begin + i] = dtype_from_float((enum dtype)dtype, piece[i]);
            if (!isfinite(dtype_to_float((enum dtype)dtype, to[begin + i])))
                status = fail(MT_FAILURE, "%s: the bias of layer %.120s at feature %d is %g, which %s cannot hold%s",
                              file->packed.folder.path.data, name, begin + i, (double)piece[i],
                              dtype_name((enum dtype)dtype),
                              isfinite(piece[i]) ? "; serve the model in bf16" : "; the source is damaged");
        }
    }
    if (status && layer)
        memset(to, 0, (size_t)layer->n * sizeof *to);
    return fail_settled(status);
}
