/* The public interface: opening a table on a device, looking up, launching. */
#include "runtime/base/str.h"
#include "runtime/layer/pack.h"
#include "sized.h"
#include "table.h"
#include "templates/gemm_args.h"
#include <stdio.h>
#include <string.h>

/* Split-K counters have a place of their own at the start of the workspace, because every launch must find them zero
 * while the sums behind them may hold anything. A launch with more tiles fills the GPU without splitting K. */
#define COUNTERS_BYTES ((size_t)256 << 10)

/* Every index of a launch is an int, with room for padding: as problem_check() has it. */
#define MOST_TOKENS (1 << 24)

#define TABLE_FLAGS  ((unsigned)(MT_ALLOW_CUBLAS | MT_ALLOW_OTHER_GPU | MT_BATCH_INVARIANT))
#define LAUNCH_FLAGS ((unsigned)MT_PROGRAMMATIC)

_Static_assert((int)MT_FP16 == (int)DTYPE_F16 && (int)MT_BF16 == (int)DTYPE_BF16, "the public type is the inner one");
_Static_assert((int)MT_W8 == (int)MT_PART_W8 && (int)MT_W4 == (int)MT_PART_W4, "parts are what the kernels have");
_Static_assert(MT_LAYOUT == PACK_LAYOUT, "the public layout is the one that is packed");

/* Activation quantisation, as far as loading a kernel asks. */
static const struct family quantize_family = {.name = "quantize", .entry = "quantize_act"};

int mt_api_version(void) {
    return MT_API_VERSION;
}

const char *mt_error_message(void) {
    return fail_message();
}

/* ---- opening ---- */

/* Loads an image unless it is loaded. */
static enum mt_status image_load(struct mt_table *table, int index) {
    const struct bundle_image *from = &table->bundle.images[index];
    struct table_image *to = &table->images[index];
    const struct config config = {.family = to->family ? to->family : &quantize_family};
    if (to->kernel.function)
        return MT_OK;
    if (strlen(from->hash) >= sizeof to->kernel.image.hash)
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
    return kernel_load(&table->dev, &config, image, &to->kernel);
}

/* The quantisation kernel for a layer's group and type: from the bundle, else compiled here. */
static enum mt_status layer_load_quantize(struct mt_table *table, struct mt_layer *layer) {
    const struct problem *p = &layer->problem;
    enum mt_status status = MT_OK;
    for (int i = 0; i < table->bundle.fallback_count; i++) {
        const struct bundle_build *f = &table->bundle.fallbacks[i];
        if (strcmp(f->family, quantize_family.name) != 0 || f->group != p->group ||
            strcmp(f->dtype, dtype_name(p->dtype)) != 0)
            continue;
        const int image = image_index(&table->bundle, f->image_hash);
        status = image_load(table, image);
        layer->quantize = &table->images[image].kernel;
        return status;
    }
    struct kernel *own = &table->quantize[p->group / 128][p->dtype]; /* 64, 128, 256 -> 0, 1, 2 */
    if (!own->function)
        status = kernel_load_quantize(&table->dev, p, own);
    layer->quantize = own;
    return status;
}

enum mt_status layer_load(struct mt_table *table, struct mt_layer *layer) {
    enum mt_status status = MT_OK;
    for (int i = 0; status == MT_OK && i < layer->slot_count; i++) {
        struct kernel *kernel = &layer->slots[i].kernel;
        const struct config own = kernel->config;
        status = image_load(table, layer->slots[i].image);
        if (status != MT_OK)
            break;
        *kernel = table->images[layer->slots[i].image].kernel;
        kernel->config = own;
        kernel_count_clusters(&table->dev, kernel);
    }
    return status == MT_OK ? layer_load_quantize(table, layer) : status;
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
    if (flags & ~TABLE_FLAGS)
        return fail(MT_USAGE, "mt_table_open: this library does not know the flags 0x%x", flags & ~TABLE_FLAGS);
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
    const bool foreign = !table_is_for(&bundle.fingerprint, &dev);
    status = table_build(&bundle, &limits, flags, foreign, &table);
    if (status != MT_OK)
        goto out;
    table->dev = dev;
    dev = (struct device){0};
    for (int i = 0; status == MT_OK && i < table->layer_count; i++)
        status = layer_load(table, &table->layers[i]);
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
    return fail_settled(status);
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

/* ---- lookup ---- */

enum mt_status mt_table_lookup(const struct mt_table *table, const struct mt_layer *layer, int m,
                               struct mt_choice *out) {
    struct mt_choice choice = {.kind = MT_KIND_NOTHING, .origin = MT_ORIGIN_MODELLED, .family = "", .config = ""};
    if (m < 0) {
        enum mt_status status = sized_give(out, NULL, sizeof choice, "mt_choice");
        return status == MT_OK ? fail(MT_USAGE, "mt_table_lookup: m is %d; it must be at least 0", m) : status;
    }
    if (m > 0) {
        const struct slot *slot = &layer->slots[layer_slot(layer, m)];
        choice = (struct mt_choice){.step = layer->info.step,
                                    .tuned_m = slot->m,
                                    .tuned_rows8 = slot->rows8,
                                    .expected_ns = layer_time(layer, m),
                                    .origin = MT_ORIGIN_MODELLED,
                                    .family = slot->kernel.config.family->name,
                                    .config = slot->config};
        if (choice.step == MT_STEP_EXACT && slot->m != m)
            choice.step = MT_STEP_NEAREST_M;
        if (choice.step == MT_STEP_EXACT && !slot->modelled && choice.expected_ns > 0)
            choice.origin = MT_ORIGIN_MEASURED;
        if (slot->cublas_ns > 0 && (table->flags & (MT_ALLOW_CUBLAS | MT_BATCH_INVARIANT)) == MT_ALLOW_CUBLAS) {
            choice.kind = MT_KIND_CUBLAS;
            choice.expected_ns *= slot->cublas_ns / slot->kernel_ns;
        }
    }
    return sized_give(out, &choice, sizeof choice, "mt_choice");
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
    m_max = m_max < MOST_TOKENS ? m_max : MOST_TOKENS;
    for (int i = 0; i < layer->slot_count && layer->slots[i].from <= m_max; i++) {
        int to = i + 1 < layer->slot_count && layer->slots[i + 1].from <= m_max ? layer->slots[i + 1].from - 1 : m_max;
        size_t partials = slot_partials(layer, &layer->slots[i], table->limits.sm_count, to);
        if (partials > most)
            most = partials;
    }
    return most ? COUNTERS_BYTES + most : 0;
}

static struct mt_gemm_part part_of(const struct mt_weights *weights, int width) {
    const int rows = weights->rows[width];
    return (struct mt_gemm_part){.weights = (const void *)weights->weights[width],
                                 .scales = (const void *)weights->scales[width],
                                 .zeros = (const unsigned char *)weights->zeros[width],
                                 .columns = (const int *)weights->columns[width],
                                 .rows = rows,
                                 .padded_rows = pack_padded(rows)};
}

static enum mt_status weights_check(const struct mt_layer *layer, const struct mt_weights *w) {
    const struct problem *p = &layer->problem;
    if (w->layout != MT_LAYOUT)
        return fail(MT_USAGE, "mt_gemm_launch: the weights have layout %d, and the kernels read layout %d: repack them",
                    w->layout, MT_LAYOUT);
    if (w->rows[MT_W8] != p->rows8 || w->rows[MT_W4] != p->n - p->rows8)
        return fail(MT_USAGE,
                    "mt_gemm_launch: the layer has %d 8-bit and %d 4-bit features, and the weights %d and %d: they "
                    "were packed for another layer",
                    p->rows8, p->n - p->rows8, w->rows[MT_W8], w->rows[MT_W4]);
    for (int i = 0; i < MT_PARTS; i++)
        if (w->rows[i] > 0 && (!w->weights[i] || !w->scales[i] || (i == MT_W4 && problem_has_zeros(p) && !w->zeros[i])))
            return fail(MT_USAGE, "mt_gemm_launch: the layer has %d %s features, but their weights have a null address",
                        w->rows[i], i == MT_W8 ? "8-bit" : "4-bit");
    return MT_OK;
}

/* Operands as this library has them. */
struct gemm_operands {
    struct mt_gemm_operands o;
    struct mt_weights weights;
    struct mt_activations x;
};

static enum mt_status activations_take(struct mt_activations *own, const struct mt_activations *given,
                                       const char *function) {
    enum mt_status status = sized_take(own, sizeof *own, given, "mt_activations");
    if (status == MT_OK && (!own->codes || !own->scales || !own->sums))
        status = fail(MT_USAGE, "%s: the codes, scales or sums of the activations have a null address", function);
    return status;
}

static enum mt_status operands_take(const struct mt_layer *layer, struct gemm_operands *g) {
    const struct mt_gemm_operands *o = &g->o;
    if (o->m < 0 || o->m > MOST_TOKENS || o->ldy < layer->problem.n)
        return fail(MT_USAGE, "mt_gemm_launch: m is %d and ldy %d; they must be 0 to %d, and at least %d", o->m, o->ldy,
                    MOST_TOKENS, layer->problem.n);
    if (!o->y)
        return fail(MT_USAGE, "mt_gemm_launch: the address of y is null");
    enum mt_status status = activations_take(&g->x, o->x, "mt_gemm_launch");
    if (status == MT_OK)
        status = sized_take(&g->weights, sizeof g->weights, o->weights, "mt_weights");
    return status == MT_OK ? weights_check(layer, &g->weights) : status;
}

enum mt_status mt_gemm_launch(const struct mt_table *table, const struct mt_layer *layer,
                              const struct mt_gemm_operands *given, CUstream stream) {
    struct gemm_operands g;
    const struct mt_gemm_operands *o = &g.o;
    enum mt_status status = sized_take(&g.o, sizeof g.o, given, "mt_gemm_operands");
    if (status == MT_OK && o->flags & ~LAUNCH_FLAGS)
        status = fail(MT_USAGE, "mt_gemm_launch: this library does not know the flags 0x%x", o->flags & ~LAUNCH_FLAGS);
    if (status == MT_OK && o->m != 0)
        status = operands_take(layer, &g);
    if (status != MT_OK || o->m == 0)
        return fail_settled(status);
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
        .part = {part_of(&g.weights, MT_W8), part_of(&g.weights, MT_W4)},
        .x = (const signed char *)g.x.codes,
        .x_scales = (const float *)g.x.scales,
        .x_sums = (const int *)g.x.sums,
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
    return fail_settled(launch_gemm_as(&table->dev, &slot->kernel, &shape, &args, stream));
}

enum mt_status mt_quantize_launch(const struct mt_table *table, const struct mt_layer *layer,
                                  const struct mt_quantize_operands *given, CUstream stream) {
    struct mt_quantize_operands o;
    struct mt_activations out;
    enum mt_status status = sized_take(&o, sizeof o, given, "mt_quantize_operands");
    if (status != MT_OK || o.m == 0)
        return fail_settled(status);
    if (o.m < 0 || o.m > MOST_TOKENS || o.ldx < layer->problem.k)
        return fail(MT_USAGE, "mt_quantize_launch: m is %d and ldx %d; they must be 0 to %d, and at least %d", o.m,
                    o.ldx, MOST_TOKENS, layer->problem.k);
    if (!o.x)
        return fail(MT_USAGE, "mt_quantize_launch: the address of x is null");
    status = activations_take(&out, o.out, "mt_quantize_launch");
    if (status != MT_OK)
        return status;
    const struct mt_quantize_args args = {.x = (const void *)o.x,
                                          .q = (signed char *)out.codes,
                                          .scales = (float *)out.scales,
                                          .sums = (int *)out.sums,
                                          .m = o.m,
                                          .k = layer->problem.k,
                                          .k_padded = layer->info.k_padded,
                                          .groups = layer->info.groups,
                                          .ldx = o.ldx};
    return fail_settled(launch_quantize(&table->dev, layer->quantize, &args, stream));
}
