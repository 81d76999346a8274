#include "foreign.h"
#include "runtime/base/parallel.h"
#include "runtime/base/str.h"
#include "runtime/layer/half.h"
#include <stdlib.h>
#include <string.h>

/* The tensors of a linear layer, in the order in which they are declared. */
enum { TENSOR_CODES, TENSOR_SCALES, TENSOR_ZEROS, TENSOR_ORDER, TENSOR_SHAPE = TENSOR_ORDER, TENSOR_BIAS };
static const char *const suffixes[][FOREIGN_TENSORS] = {
    {".weight_packed", ".weight_scale", ".weight_zero_point", ".weight_shape", ".bias"},
    {".qweight", ".scales", ".qzeros", ".g_idx", ".bias"},
};

static int bits_of(const struct linear *linear) {
    return linear->rows8 ? 8 : 4;
}

static int ceil_div(int a, int b) {
    return (a + b - 1) / b;
}

enum mt_status foreign_check(const struct checkpoint *from, enum foreign_format format) {
    static const char *const names[] = {"pack-quantized", "gptq"};
    for (int i = 0; i < from->count; i++) {
        const struct linear *l = &from->linear[i];
        const int per = 32 / bits_of(l);
        if (l->rows8 > 0 && l->rows8 < l->n)
            return fail(MT_USAGE,
                        "%s: %d of the %d features of %.120s have 8 bits, and %s has one width for each linear layer; "
                        "only layers that are all 4 bits or all 8 can be written, as --scheme w4a8 and w8a8 make them",
                        from->packed.folder.path.data, l->rows8, l->n, l->name, names[format]);
        if (l->group && l->k % l->group)
            return fail(MT_USAGE,
                        "%s: the %d inputs of %.120s are no multiple of its group size of %d, which %s needs; quantise "
                        "the model with a group size that divides them",
                        from->packed.folder.path.data, l->k, l->name, l->group, names[format]);
        if (format == FOREIGN_GPTQ && (l->k % per || l->n % per))
            return fail(MT_USAGE,
                        "%s: %.120s has %d features and %d inputs, and gptq needs multiples of %d; write it with --to "
                        "pack-quantized",
                        from->packed.folder.path.data, l->name, l->n, l->k, per);
    }
    return MT_OK;
}

/* ---- scales ---- */

static bool fits_bf16(const void *scales, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint16_t half;
        memcpy(&half, (const uint8_t *)scales + i * sizeof half, sizeof half);
        const float s = half_to_float(half);
        if (bf16_to_float(bf16_from_float(s)) != s)
            return false;
    }
    return true;
}

static bool scales_fit_bf16(const struct linear *l) {
    if (l->kind == LINEAR_PACKED) {
        bool good = true;
        for (int width = 0; width < 2; width++) {
            const struct tensor *scales = l->packed->tensor[width][PACKED_SCALES];
            good = good && (!scales || fits_bf16(scales->data, scales->bytes / sizeof(uint16_t)));
        }
        return good;
    }
    if (l->scales->type == TENSOR_F16)
        return fits_bf16(l->scales->data, l->scales->bytes / sizeof(uint16_t));
    for (size_t i = 0; i < (size_t)l->n * (size_t)l->groups; i++) {
        const float s = half_to_float(half_from_float(linear_number(l->scales, i)));
        if (bf16_to_float(bf16_from_float(s)) != s)
            return false;
    }
    return true;
}

enum tensor_type foreign_model_type(const struct checkpoint *from) {
    const json_t *text = json_object_get(from->config, "text_config");
    const char *type = NULL, *const keys[] = {"dtype", "torch_dtype"};
    for (int i = 0; i < 4 && !type; i++)
        type = json_string_value(json_object_get(i < 2 ? from->config : text, keys[i % 2]));
    return type && !strcmp(type, "float32") ? TENSOR_F32 : type && !strcmp(type, "bfloat16") ? TENSOR_BF16 : TENSOR_F16;
}

enum tensor_type foreign_scale_type(const struct checkpoint *from, const struct linear *linear,
                                    enum foreign_format format) {
    const enum tensor_type type = format == FOREIGN_GPTQ ? TENSOR_F16 : foreign_model_type(from);
    return type == TENSOR_BF16 && !scales_fit_bf16(linear) ? TENSOR_F16 : type;
}

static void scale_store(uint8_t *data, size_t at, enum tensor_type type, uint16_t half) {
    const float f = half_to_float(half);
    if (type == TENSOR_BF16)
        half = bf16_from_float(f);
    if (type == TENSOR_F32)
        memcpy(data + at * sizeof f, &f, sizeof f);
    else
        memcpy(data + at * sizeof half, &half, sizeof half);
}

/* ---- tensors ---- */

static struct field code_field(const struct linear *l, enum foreign_format format) {
    const int bits = bits_of(l);
    if (format == FOREIGN_GPTQ)
        return (struct field){.bits = bits, .word = 4, .row = 1, .column = (size_t)l->n};
    return (struct field){.bits = bits, .word = 4, .row = (size_t)ceil_div(l->k, 32 / bits), .column = 1};
}

static struct field zero_field(const struct linear *l, enum foreign_format format, int groups) {
    const int bits = bits_of(l);
    if (format == FOREIGN_GPTQ)
        return (struct field){
            .bits = bits, .word = 4, .along_rows = true, .row = 1, .column = (size_t)(l->n * bits / 32)};
    return (struct field){.bits = bits, .word = 4, .along_rows = true, .row = (size_t)groups, .column = 1};
}

static bool has_zeros(const struct linear *l, enum foreign_format format) {
    return format == FOREIGN_GPTQ || (l->rows8 == 0 && !l->symmetric);
}

struct shape {
    enum tensor_type type;
    int rank;
    int64_t size[2];
    size_t bytes;
};

static struct shape shape_of(const struct linear *l, enum foreign_format format, enum tensor_type scale_type,
                             int tensor) {
    const int per = 32 / bits_of(l), groups = l->group ? l->groups : 1;
    const bool gptq = format == FOREIGN_GPTQ;
    struct shape s = {TENSOR_I32, 2, {0, 0}, 0};
    switch (tensor) {
    case TENSOR_CODES:
        s.size[0] = gptq ? l->k / per : l->n;
        s.size[1] = gptq ? l->n : ceil_div(l->k, per);
        break;
    case TENSOR_SCALES:
        s.type = scale_type;
        s.size[0] = gptq ? groups : l->n;
        s.size[1] = gptq ? l->n : groups;
        break;
    case TENSOR_ZEROS:
        s.size[0] = gptq ? groups : ceil_div(l->n, per);
        s.size[1] = gptq ? l->n / per : groups;
        break;
    case TENSOR_SHAPE:
        s.type = gptq ? TENSOR_I32 : TENSOR_I64;
        s.rank = 1;
        s.size[0] = gptq ? l->k : 2;
        break;
    default:
        s.type = l->bias->type;
        s.rank = 1;
        s.size[0] = l->n;
    }
    s.bytes = tensor_type_bytes(s.type) * (size_t)s.size[0] * (s.rank == 2 ? (size_t)s.size[1] : 1);
    return s;
}

void foreign_declare(struct tensor_writer *writer, const struct linear *linear, enum foreign_format format,
                     enum tensor_type scale_type, int slot[FOREIGN_TENSORS]) {
    struct str name = {0};
    for (int i = 0; i < FOREIGN_TENSORS; i++) {
        slot[i] = -1;
        if ((i == TENSOR_ZEROS && !has_zeros(linear, format)) || (i == TENSOR_BIAS && !linear->bias))
            continue;
        const struct shape s = shape_of(linear, format, scale_type, i);
        str_clear(&name);
        str_printf(&name, "%s%s", linear->name, suffixes[format][i]);
        slot[i] = tensor_writer_add(writer, name.data, tensor_type_name(s.type), s.rank, s.size, s.bytes, 1);
    }
    str_release(&name);
}

/* ---- bytes ---- */

struct writing {
    const struct codes *codes;
    struct field field;
    void *data;
};

/* Both formats pack codes along the inputs, so features share no words. */
static void codes_write(void *context, int begin, int end) {
    const struct writing *w = context;
    const struct codes *codes = w->codes;
    uint8_t *row = xmalloc((size_t)codes->k);
    for (int i = begin; i < end; i++) {
        const int8_t *q = codes->q + (size_t)i * (size_t)codes->k;
        const uint8_t middle = codes->is8[i] ? 0x80 : 0; /* what stands for 0 */
        for (int k = 0; k < codes->k; k++)
            row[k] = (uint8_t)q[k] ^ middle;
        field_write(&w->field, w->data, i, codes->k, row);
    }
    free(row);
}

static void zeros_write(const struct writing *w) {
    const struct codes *codes = w->codes;
    uint8_t *row = xmalloc((size_t)codes->groups);
    for (int i = 0; i < codes->n; i++) {
        for (int g = 0; g < codes->groups; g++)
            row[g] = codes->is8[i] ? 128 : codes->zeros[(size_t)i * (size_t)codes->groups + (size_t)g];
        field_write(&w->field, w->data, i, codes->groups, row);
    }
    free(row);
}

static void scales_write(const struct codes *codes, enum foreign_format format, enum tensor_type type, void *data) {
    for (int i = 0; i < codes->n; i++)
        for (int g = 0; g < codes->groups; g++) {
            const size_t from = (size_t)i * (size_t)codes->groups + (size_t)g,
                         to = format == FOREIGN_GPTQ ? (size_t)g * (size_t)codes->n + (size_t)i : from;
            scale_store(data, to, type, codes->scales[from]);
        }
}

static void shape_write(const struct codes *codes, enum foreign_format format, void *data) {
    const int64_t size[2] = {codes->n, codes->k};
    if (format != FOREIGN_GPTQ)
        memcpy(data, size, sizeof size);
    for (int32_t k = 0; format == FOREIGN_GPTQ && k < codes->k; k++) {
        const int32_t group = k / codes->group;
        memcpy((uint8_t *)data + (size_t)k * sizeof group, &group, sizeof group);
    }
}

/* A layer of a packed checkpoint has the biases of all that were fused. */
static const void *bias_of(const struct linear *linear) {
    return linear->bias->data + (size_t)linear->first * tensor_type_bytes(linear->bias->type);
}

enum mt_status foreign_put(struct tensor_writer *writer, const struct linear *linear, enum foreign_format format,
                           enum tensor_type scale_type, const struct codes *codes, const int slot[FOREIGN_TENSORS]) {
    enum mt_status status = MT_OK;
    for (int i = 0; i < FOREIGN_TENSORS && !status; i++) {
        if (slot[i] < 0)
            continue;
        const struct shape s = shape_of(linear, format, scale_type, i);
        if (i == TENSOR_BIAS) {
            status = tensor_writer_put(writer, slot[i], 0, bias_of(linear), s.bytes);
            continue;
        }
        struct writing w = {codes,
                            i == TENSOR_CODES ? code_field(linear, format) : zero_field(linear, format, codes->groups),
                            xcalloc(s.bytes, 1)};
        if (i == TENSOR_CODES)
            parallel_for(codes->n, 16, codes_write, &w);
        else if (i == TENSOR_ZEROS)
            zeros_write(&w);
        else if (i == TENSOR_SCALES)
            scales_write(codes, format, scale_type, w.data);
        else
            shape_write(codes, format, w.data);
        status = tensor_writer_put(writer, slot[i], 0, w.data, s.bytes);
        free(w.data);
    }
    return status;
}
