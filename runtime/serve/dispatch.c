/* The public interface: opening a table on a device, looking up, launching. */
#include "runtime/base/str.h"
#include "table.h"
#include "templates/gemm_args.h"
#include <stdio.h>
#include <string.h>

/* Split-K counters have a place of their own at the start of the workspace, because every launch must find them zero
 * while the sums behind them may hold anything. A launch with more tiles fills the GPU without splitting K. */
#define COUNTERS_BYTES ((size_t)256 << 10)

_Static_assert((int)MT_FP16 == (int)DTYPE_F16 && (int)MT_BF16 == (int)DTYPE_BF16, "the public type is the inner one");

/* Activation quantisation, as far as loading a kernel asks. */
static const struct family quantize_family = {.name = "quantize", .entry = "quantize_act"};

int mt_api_version(void) {
    return MT_API_VERSION;
}

const char *mt_error_message(void) {
    return fail_message();
}

/* ---- opening ---- */

static enum mt_status image_load(struct mt_table *table, int index) {
    const struct bundle_image *from = &table->bundle.images[index];
    const struct config config = {.family =
                                      table->images[index].family ? table->images[index].family : &quantize_family};
    if (strlen(from->hash) >= sizeof table->images[index].kernel.image.hash)
        return fail(MT_FAILURE, "kernel image %s of the bundle has a name that is no hash; export it again",
                    from->hash);
    /* The driver is told no size, and reads what is no fat binary up to a zero: here is one. */
    struct image image = {.data = xcalloc(from->size + 1, 1),
                          .size = from->size,
                          .registers = from->registers,
                          .spill_bytes = from->spill_bytes,
                          .smem_static = from->smem_static};
    memcpy(image.data, from->data, from->size);
    snprintf(image.hash, sizeof image.hash, "%s", from->hash);
    return kernel_load(&table->dev, &config, image, &table->images[index].kernel);
}

/* The quantisation kernel for a layer's group and type: from the bundle, else compiled here. Under the lock. */
static enum mt_status layer_take_quantize(struct mt_table *table, struct mt_layer *layer) {
    const struct problem *p = &layer->problem;
    for (int i = 0; i < table->bundle.fallback_count; i++) {
        const struct bundle_fallback *f = &table->bundle.fallbacks[i];
        if (strcmp(f->family, quantize_family.name) != 0 || f->group != p->group ||
            strcmp(f->dtype, dtype_name(p->dtype)) != 0)
            continue;
        for (int j = 0; j < table->bundle.image_count; j++)
            if (!strcmp(table->bundle.images[j].hash, f->image_hash))
                layer->quantize = &table->images[j].kernel;
        return MT_OK;
    }
    struct kernel *own = &table->quantize[p->group / 128][p->dtype]; /* 64, 128, 256 -> 0, 1, 2 */
    enum mt_status status = MT_OK;
    if (!own->function)
        status = kernel_load_quantize(&table->dev, p, own);
    if (status == MT_OK)
        layer->quantize = own;
    return status;
}

static enum mt_status table_load(struct mt_table *table) {
    enum mt_status status = MT_OK;
    for (int i = 0; status == MT_OK && i < table->bundle.image_count; i++)
        if (table->images[i].used)
            status = image_load(table, i);
    for (int i = 0; status == MT_OK && i < table->layer_count; i++) {
        layer_take_kernels(table, &table->layers[i]);
        status = layer_take_quantize(table, &table->layers[i]);
    }
    return status;
}

/* Kernel arguments are a struct that the templates define, so both sides must have the same. */
static enum mt_status check_templates(const struct bundle_fingerprint *made_for) {
    char own[33];
    enum mt_status status = template_hash(own);
    if (status == MT_OK && strcmp(own, made_for->template_hash) != 0)
        status = fail(MT_FAILURE,
                      "the bundle was made with other kernel templates than this library has: export it again with "
                      "this version");
    return status;
}

enum mt_status mt_table_open(const char *path, unsigned flags, struct mt_table **out) {
    struct bundle bundle = {0};
    struct device dev = {0};
    struct device_limits limits;
    struct mt_table *table = NULL;
    *out = NULL;
    enum mt_status status = bundle_read(path, &bundle);
    if (status != MT_OK)
        return status;
    status = device_adopt(&dev);
    if (status != MT_OK)
        goto out;
    status = table_check_device(&bundle.fingerprint, &dev, flags);
    if (status == MT_OK)
        status = check_templates(&bundle.fingerprint);
    if (status != MT_OK)
        goto out;
    device_limits_of(&dev, &limits);
    status = table_build(&bundle, &limits, flags, &table);
    if (status != MT_OK)
        goto out;
    table->dev = dev;
    dev = (struct device){0};
    status = table_load(table);
    if (status == MT_OK)
        *out = table;
    else
        mt_table_close(table);
out:
    if (status != MT_OK)
        fail_context(status, "%s", path);
    bundle_release(&bundle);
    if (dev.context)
        device_close(&dev);
    return status;
}

void mt_table_close(struct mt_table *table) {
    if (!table)
        return;
    for (int i = 0; i < table->bundle.image_count; i++)
        kernel_unload(&table->dev, &table->images[i].kernel);
    for (int i = 0; i < 3 * 2; i++)
        kernel_unload(&table->dev, &table->quantize[i / 2][i % 2]);
    device_close(&table->dev);
    table_release(table);
}

/* ---- layers ---- */

int mt_table_layer_count(const struct mt_table *table) {
    return table->layer_count;
}

const struct mt_layer *mt_table_layer_at(const struct mt_table *table, int index) {
    return index >= 0 && index < table->layer_count ? &table->layers[index] : NULL;
}

void mt_layer_describe(const struct mt_layer *layer, struct mt_layer_info *info) {
    *info = layer->info;
}

enum mt_status mt_table_layer_named(const struct mt_table *table, const char *model, const char *name,
                                    const char *scheme, const struct mt_layer **out) {
    struct str found = {0};
    int count = 0;
    *out = NULL;
    for (int i = 0; i < table->layer_count; i++) {
        const struct mt_layer_info *info = &table->layers[i].info;
        if (strcmp(info->name, name) != 0 || (model && strcmp(info->model, model) != 0) ||
            (scheme && strcmp(info->shape.scheme, scheme) != 0))
            continue;
        *out = &table->layers[i];
        str_printf(&found, "%s%s/%s %s %s group %d tp %d", count++ ? ", " : "", info->model, info->name,
                   info->shape.scheme, dtype_name((enum dtype)info->shape.dtype), info->shape.group, info->tp);
    }
    enum mt_status status = MT_OK;
    if (count == 0)
        status = fail(MT_USAGE, "the bundle has no layer %s%s%s; mt_table_layer_at() lists those it has", name,
                      scheme ? " in " : "", scheme ? scheme : "");
    else if (count > 1)
        status = fail(MT_USAGE, "%s is the name of %d layers (%s): narrow it down, or take one by mt_table_layer_at()",
                      name, count, found.data);
    if (status != MT_OK)
        *out = NULL;
    str_release(&found);
    return status;
}

static bool layer_is(const struct mt_layer *layer, const struct problem *p) {
    const struct problem *q = &layer->problem;
    return q->n == p->n && q->k == p->k && q->group == p->group && q->rows8 == p->rows8 &&
           problem_symmetric(q) == problem_symmetric(p) && q->dtype == p->dtype;
}

static const struct mt_layer *layer_known(const struct mt_table *table, const struct problem *p) {
    for (int i = 0; i < table->layer_count; i++)
        if (layer_is(&table->layers[i], p))
            return &table->layers[i];
    for (const struct mt_layer *other = table->others; other; other = other->next)
        if (layer_is(other, p))
            return other;
    return NULL;
}

enum mt_status mt_table_layer_shaped(struct mt_table *table, const struct mt_shape *shape,
                                     const struct mt_layer **out) {
    struct problem p = {.m = 1,
                        .n = shape->n,
                        .k = shape->k,
                        .rows8 = shape->rows8,
                        .group = shape->group,
                        .dtype = shape->dtype == MT_BF16 ? DTYPE_BF16 : DTYPE_F16};
    struct mt_layer *made = NULL;
    *out = NULL;
    enum mt_status status = problem_take_scheme(&p, shape->scheme);
    if (status == MT_OK)
        status = problem_check(&p);
    if (status != MT_OK)
        return status;
    p.m = 0;
    pthread_mutex_lock(&table->lock);
    *out = layer_known(table, &p);
    if (!*out)
        status = layer_derive(table, &p, &made);
    if (made)
        status = layer_take_quantize(table, made);
    if (status == MT_OK && made) {
        made->next = table->others;
        *out = table->others = made;
    } else if (made) {
        layer_release(made);
    }
    pthread_mutex_unlock(&table->lock);
    return status;
}

/* ---- lookup ---- */

struct mt_choice mt_table_lookup(const struct mt_table *table, const struct mt_layer *layer, int m) {
    const struct slot *slot = &layer->slots[layer_slot(layer, m)];
    struct mt_choice choice = {.step = layer->info.step,
                               .tuned_m = slot->m,
                               .expected_ns = layer_time(layer, m),
                               .origin = MT_ORIGIN_MODELLED,
                               .family = slot->kernel.config.family->name,
                               .config = slot->config};
    if (choice.step == MT_STEP_EXACT && slot->m != m)
        choice.step = MT_STEP_NEAREST_M;
    if (choice.step == MT_STEP_EXACT && !slot->modelled)
        choice.origin = MT_ORIGIN_MEASURED;
    if (slot->cublas_ns > 0 && table->flags & MT_ALLOW_CUBLAS) {
        choice.kind = MT_KIND_CUBLAS;
        choice.expected_ns *= slot->cublas_ns / slot->kernel_ns;
    }
    return choice;
}

/* ---- launches ---- */

/* How a slot's kernel is launched for one problem: without split-K where its counters have no room. */
static void slot_shape(const struct slot *slot, const struct problem *p, int sm_count, struct launch_shape *shape) {
    const struct family *family = slot->kernel.config.family;
    family->shape(&slot->kernel.config, p, sm_count, shape);
    if (shape->counters_bytes <= COUNTERS_BYTES)
        return;
    struct config config = slot->kernel.config;
    for (int i = 0; i < family->knob_count; i++)
        if (!strcmp(family->knobs[i].name, "split_k"))
            config.value[i] = 1;
    family->shape(&config, p, sm_count, shape);
}

static size_t slot_partials_at(const struct mt_layer *layer, const struct slot *slot, int sm_count, int m) {
    struct problem p = layer->problem;
    struct launch_shape shape;
    p.m = m;
    slot_shape(slot, &p, sm_count, &shape);
    return shape.partials_bytes;
}

/* The most room for partial sums that a slot needs at any M up to `to`. With split-K it grows with M until the counters
 * have no room any more, from where on it is 0; with stream-K it is the same at every M. */
static size_t slot_partials(const struct mt_layer *layer, const struct slot *slot, int sm_count, int to) {
    size_t most = slot_partials_at(layer, slot, sm_count, to);
    int low = slot->from, high = most ? slot->from : to; /* the first M that needs none is in low .. high */
    while (low < high) {
        int middle = low + (high - low) / 2;
        size_t partials = slot_partials_at(layer, slot, sm_count, middle);
        if (partials > most)
            most = partials;
        if (partials)
            low = middle + 1;
        else
            high = middle;
    }
    return most;
}

size_t mt_workspace_bytes(const struct mt_table *table, const struct mt_layer *layer, int m_max) {
    size_t most = 0;
    for (int i = 0; i < layer->slot_count && layer->slots[i].from <= m_max; i++) {
        int to = i + 1 < layer->slot_count && layer->slots[i + 1].from <= m_max ? layer->slots[i + 1].from - 1 : m_max;
        size_t partials = slot_partials(layer, &layer->slots[i], table->limits.sm_count, to);
        if (partials > most)
            most = partials;
    }
    return most ? COUNTERS_BYTES + most : 0;
}

static struct mt_gemm_part part_of(const struct mt_weights *weights, int index, int rows) {
    return (struct mt_gemm_part){.weights = (const void *)weights->part[index].weights,
                                 .scales = (const void *)weights->part[index].scales,
                                 .zeros = (const unsigned char *)weights->part[index].zeros,
                                 .columns = (const int *)weights->part[index].columns,
                                 .rows = rows,
                                 .padded_rows = (rows + MT_N_PAD - 1) / MT_N_PAD * MT_N_PAD};
}

static enum mt_status gemm_check(const struct mt_layer *layer, const struct mt_gemm_operands *o) {
    if (o->m < 1 || o->ldy < layer->problem.n)
        return fail(MT_USAGE, "mt_gemm_launch: m is %d and ldy %d; they must be at least 1 and %d", o->m, o->ldy,
                    layer->problem.n);
    if (!o->x.codes || !o->x.scales || !o->x.sums || !o->y)
        return fail(MT_USAGE, "mt_gemm_launch: the address of the activations or of y is null");
    for (int i = 0; i < MT_PARTS; i++)
        if (layer->info.rows[i] > 0 && (!o->weights.part[i].weights || !o->weights.part[i].scales ||
                                        (i == MT_PART_W4 && !layer->problem.symmetric && !o->weights.part[i].zeros)))
            return fail(MT_USAGE, "mt_gemm_launch: the layer has %d %s features, but their weights have a null address",
                        layer->info.rows[i], i == MT_PART_W8 ? "8-bit" : "4-bit");
    return MT_OK;
}

enum mt_status mt_gemm_launch(const struct mt_table *table, const struct mt_layer *layer,
                              const struct mt_gemm_operands *o, CUstream stream) {
    enum mt_status status = gemm_check(layer, o);
    if (status != MT_OK)
        return status;
    struct problem p = layer->problem;
    const struct slot *slot = &layer->slots[layer_slot(layer, o->m)];
    struct launch_shape shape;
    p.m = o->m;
    p.bias = o->bias != 0;
    slot_shape(slot, &p, table->limits.sm_count, &shape);
    if (shape.partials_bytes > 0 && (!o->workspace || o->workspace_bytes < COUNTERS_BYTES + shape.partials_bytes))
        return fail(MT_USAGE, "mt_gemm_launch: the workspace has %zu bytes; %zu are needed at m = %d",
                    o->workspace_bytes, COUNTERS_BYTES + shape.partials_bytes, p.m);
    const struct mt_gemm_args args = {
        .part = {part_of(&o->weights, MT_PART_W8, layer->info.rows[MT_PART_W8]),
                 part_of(&o->weights, MT_PART_W4, layer->info.rows[MT_PART_W4])},
        .x = (const signed char *)o->x.codes,
        .x_scales = (const float *)o->x.scales,
        .x_sums = (const int *)o->x.sums,
        .y = (void *)o->y,
        .bias = (const void *)o->bias,
        .partials = shape.partials_bytes ? (float *)(o->workspace + COUNTERS_BYTES) : NULL,
        .counters = shape.partials_bytes ? (unsigned *)o->workspace : NULL,
        .m = p.m,
        .n = p.n,
        .k_padded = layer->info.k_padded,
        .groups = layer->info.groups,
        .ldy = o->ldy,
    };
    return launch_gemm_as(&table->dev, &slot->kernel, &shape, &args, stream);
}

enum mt_status mt_quantize_launch(const struct mt_table *table, const struct mt_layer *layer,
                                  const struct mt_quantize_operands *o, CUstream stream) {
    if (o->m < 1 || o->ldx < layer->problem.k)
        return fail(MT_USAGE, "mt_quantize_launch: m is %d and ldx %d; they must be at least 1 and %d", o->m, o->ldx,
                    layer->problem.k);
    if (!o->x || !o->out.codes || !o->out.scales || !o->out.sums)
        return fail(MT_USAGE, "mt_quantize_launch: the address of x or of the output is null");
    const struct mt_quantize_args args = {.x = (const void *)o->x,
                                          .q = (signed char *)o->out.codes,
                                          .scales = (float *)o->out.scales,
                                          .sums = (int *)o->out.sums,
                                          .m = o->m,
                                          .k = layer->problem.k,
                                          .k_padded = layer->info.k_padded,
                                          .groups = layer->info.groups,
                                          .ldx = o->ldx};
    return launch_quantize(&table->dev, layer->quantize, &args, stream);
}
