/* The public interface: opening a table on a device, looking up. */
#include "runtime/base/str.h"
#include "runtime/layer/pack.h"
#include "sized.h"
#include "table.h"
#include "templates/gemm_args.h"
#include <stdio.h>
#include <string.h>

#define TABLE_FLAGS ((unsigned)(MT_ALLOW_CUBLAS | MT_ALLOW_OTHER_GPU | MT_BATCH_INVARIANT))

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
    enum mt_status status = GIVEN("table layer", table, layer);
    if (status != MT_OK)
        return status;
    if (m < 0) {
        status = sized_give(out, NULL, sizeof choice, "mt_choice");
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
