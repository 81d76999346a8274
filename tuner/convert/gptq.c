/* GPTQ and AWQ (gemm): both have qweight, qzeros and scales, and lay them out otherwise. */
#include "formats.h"
#include "runtime/base/str.h"
#include "scheme.h"
#include <stdlib.h>
#include <string.h>

static bool good_size(int64_t size) {
    return size >= 1 && size <= 1 << 24;
}

/* N and groups, which scales [groups][N] have in both formats. */
static enum mt_status take_scales(const struct checkpoint *from, struct linear *l, const struct tensor *qweight) {
    const struct tensor *scales = checkpoint_tensor(from, l->name, ".scales");
    if (!scales || scales->rank != 2 || !good_size(scales->shape[0]) || !good_size(scales->shape[1]) ||
        qweight->type != TENSOR_I32 || qweight->rank != 2 || !good_size(qweight->shape[0]))
        return fail(MT_USAGE, "%s: %.120s has no scales [groups, N] beside its qweight, or qweight is no I32 matrix",
                    checkpoint_path(from), l->name);
    l->n = (int)scales->shape[1];
    l->groups = (int)scales->shape[0];
    l->kind = LINEAR_FIELDS;
    l->scale_row = 1;
    l->scale_group = (size_t)l->n;
    return checkpoint_want(from, l, ".scales", TENSOR_OTHER, l->groups, l->n, &l->scales);
}

static enum mt_status gptq_take(struct checkpoint *from, const struct tensor *qweight, size_t length) {
    struct linear *l = checkpoint_add(from, qweight->name, length);
    const struct tensor *zeros = checkpoint_tensor(from, l->name, ".qzeros");
    struct scheme_of scheme;
    enum mt_status status = scheme_gptq(from->quantization, l->name, &scheme);
    if (!status)
        status = take_scales(from, l, qweight);
    if (status)
        return status;
    /* The width is what qzeros say, whatever the config does. */
    const int bits = zeros && zeros->rank == 2 && zeros->shape[1] == l->n / 4 ? 8 : 4, per = 32 / bits;
    l->k = (int)(qweight->shape[0] * per <= 1 << 24 ? qweight->shape[0] * per : 1 << 24);
    l->code = (struct field){.bits = bits, .word = 4, .row = 1, .column = (size_t)l->n};
    l->zero = (struct field){.bits = bits, .word = 4, .along_rows = true, .row = 1, .column = (size_t)(l->n / per)};
    l->rows8 = bits == 8 ? l->n : 0;
    l->symmetric = !scheme.asymmetric;
    if (l->n % per)
        status = fail(MT_USAGE, "%s: %.120s has %d features, and GPTQ needs a multiple of %d", checkpoint_path(from),
                      l->name, l->n, per);
    if (!status)
        status = checkpoint_want(from, l, ".qweight", TENSOR_I32, l->k / per, l->n, &l->codes);
    if (!status)
        status = checkpoint_want(from, l, ".qzeros", TENSOR_I32, l->groups, l->n / per, &l->zeros);
    if (!status)
        status = checkpoint_take_groups(from, l, l->groups, scheme.group);
    if (!status)
        status = checkpoint_check_order(from, l, checkpoint_tensor(from, l->name, ".g_idx"));
    return status ? status : checkpoint_take_bias(from, l);
}

/* ---- v1 or v2 ---- */

struct stored_zeros {
    int64_t count, low, high;  /* in all; of the symmetric ones as v1 and as v2 store them */
    int64_t count4, sum4;      /* of 4 bits */
    const struct linear *full; /* the first that has a 15 among those of 4 bits */
};

static void zeros_count(const struct linear *l, struct stored_zeros *out) {
    const int zero = l->code.bits == 4 ? 8 : 128;
    uint8_t *row = xmalloc((size_t)l->groups);
    for (int i = 0; i < l->n; i++) {
        field_read(&l->zero, l->zeros->data, i, 1, l->groups, row);
        for (int g = 0; g < l->groups; g++) {
            out->count++;
            out->low += row[g] == zero - 1;
            out->high += row[g] == zero;
            out->count4 += zero == 8;
            out->sum4 += zero == 8 ? row[g] : 0;
            if (zero == 8 && row[g] == 15 && !out->full)
                out->full = l;
        }
    }
    free(row);
}

/* Zero points of weights that lie on both sides of 0 alike are 7.5 on average; v1 stores them less 1, and stores no 15.
 * What the config says (0: nothing) counts, unless it also says that they are symmetric, and they are as the other
 * version stores that: some tools write v2 and call it v1. */
static int version_by_values(struct checkpoint *from, int said, const struct stored_zeros *zeros) {
    const bool symmetric = json_is_true(json_object_get(from->quantization, "sym"));
    const double mean = zeros->count4 ? (double)zeros->sum4 / (double)zeros->count4 : 0;
    const int alike = zeros->high == zeros->count ? 2 : zeros->low == zeros->count ? 1 : 0;
    if (said && (!symmetric || !alike || alike == said))
        return said;
    if (alike) {
        text_fit(from->note, sizeof from->note, "%s; all of them are symmetric, as v%d stores that",
                 said ? "the config says the other" : "the config does not say which", alike);
        return alike;
    }
    const int version = zeros->full || mean >= 7 ? 2 : 1;
    if (zeros->full)
        text_fit(from->note, sizeof from->note, "the config does not say which; some are 15, which v1 does not store");
    else
        text_fit(from->note, sizeof from->note,
                 "the config does not say which; their mean is %.2f, and about %s is expected of v%d", mean,
                 version == 1 ? "6.5" : "7.5", version);
    return version;
}

/* Newer tools say `format`. */
static const char *format_said(const json_t *config) {
    const char *format = json_string_value(json_object_get(config, "checkpoint_format"));
    return format ? format : json_string_value(json_object_get(config, "format"));
}

static enum mt_status take_version(struct checkpoint *from, int version) {
    const char *format = format_said(from->quantization);
    const int said = !format ? 0 : !strcmp(format, "gptq_v2") ? 2 : !strcmp(format, "gptq") ? 1 : -1;
    struct stored_zeros zeros = {0};
    if (said < 0)
        return fail(MT_USAGE,
                    "%s: quantization_config in config.json has the checkpoint_format %.40s, and mixtune reads gptq "
                    "and gptq_v2",
                    checkpoint_path(from), format);
    for (int i = 0; i < from->count; i++)
        zeros_count(&from->linear[i], &zeros);
    from->gptq_version = version ? version : version_by_values(from, said, &zeros);
    if (from->gptq_version == 1 && zeros.full)
        return fail(MT_USAGE,
                    "%s: qzeros of %.120s have a 15, which v1 of GPTQ's format does not store: it is read as 0 or as "
                    "16; if they are those of v2, say --gptq-version 2",
                    checkpoint_path(from), zeros.full->name);
    for (int i = 0; i < from->count; i++)
        from->linear[i].zero.offset = from->gptq_version == 1;
    return MT_OK;
}

enum mt_status gptq_find(struct checkpoint *from, int version) {
    const struct folder *folder = &from->packed.folder;
    enum mt_status status = MT_OK;
    for (int i = 0; i < folder->count && !status; i++) {
        size_t length;
        if (checkpoint_suffix(folder->tensor[i], ".qweight", &length))
            status = gptq_take(from, folder->tensor[i], length);
    }
    return status || from->count == 0 ? status : take_version(from, version);
}

/* ---- AWQ ---- */

static enum mt_status awq_take(struct checkpoint *from, const struct tensor *qweight, size_t length) {
    struct linear *l = checkpoint_add(from, qweight->name, length);
    struct scheme_of scheme;
    enum mt_status status = scheme_awq(from->quantization, &scheme);
    if (!status)
        status = take_scales(from, l, qweight);
    if (status)
        return status;
    l->k = (int)qweight->shape[0];
    l->code = (struct field){
        .bits = 4, .word = 4, .along_rows = true, .interleaved = true, .row = 1, .column = (size_t)(l->n / 8)};
    l->zero = l->code;
    l->symmetric = !scheme.asymmetric;
    if (l->n % 8 || !good_size(l->k))
        status = fail(MT_USAGE, "%s: %.120s has %d features, and AWQ needs a multiple of 8", checkpoint_path(from),
                      l->name, l->n);
    if (!status)
        status = checkpoint_want(from, l, ".qweight", TENSOR_I32, l->k, l->n / 8, &l->codes);
    if (!status)
        status = checkpoint_want(from, l, ".qzeros", TENSOR_I32, l->groups, l->n / 8, &l->zeros);
    if (!status)
        status = checkpoint_take_groups(from, l, l->groups, scheme.group);
    return status ? status : checkpoint_take_bias(from, l);
}

enum mt_status awq_find(struct checkpoint *from) {
    const struct folder *folder = &from->packed.folder;
    enum mt_status status = MT_OK;
    for (int i = 0; i < folder->count && !status; i++) {
        size_t length;
        if (checkpoint_suffix(folder->tensor[i], ".qweight", &length))
            status = awq_take(from, folder->tensor[i], length);
    }
    return status;
}
