#include "table.h"
#include "fit.h"
#include "runtime/base/array.h"
#include "runtime/base/str.h"
#include "templates/gemm_args.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- one layer ---- */

int layer_slot(const struct mt_layer *layer, int m) {
    int low = 0, high = layer->slot_count - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (layer->slots[middle].from <= m)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Time at m over time at the tuned M, for a kernel that works through its tokens tile by tile. */
static double slot_growth(const struct slot *slot, int m) {
    int tuned = (slot->m - 1) / slot->tile + 1, tiles = (m - 1) / slot->tile + 1;
    return (double)tiles / tuned;
}

/* Straight lines through the tuned times; level below the first; grown by the number of token tiles beyond the last. */
double layer_time(const struct mt_layer *layer, int m) {
    int i = layer_slot(layer, m);
    const struct slot *s = layer->slots;
    if (!layer->promises || !s[i].as_tuned)
        return 0;
    if (s[i].m > m && i > 0)
        i--;
    double ns = s[i].kernel_ns;
    if (m > s[i].m && i + 1 < layer->slot_count)
        ns = s[i].as_tuned && s[i + 1].as_tuned ? ns + (s[i + 1].kernel_ns - ns) * (m - s[i].m) / (s[i + 1].m - s[i].m)
                                                : 0;
    else if (m > s[i].m && s[i].m > 0)
        ns *= slot_growth(&s[i], m);
    return ns;
}

/* The last M that the lower of two slots serves: the rule stands at mt_table_lookup(). */
static int slot_reach(const struct slot *low, const struct slot *high) {
    int m = (int)pow(pow(low->m, 4) * high->m, 0.2); /* log(m / low) = log(high / m) / 4 */
    for (; m > low->m; m--) {
        double line = low->kernel_ns + (high->kernel_ns - low->kernel_ns) * (m - low->m) / (high->m - low->m);
        if (low->kernel_ns * slot_growth(low, m) <= 1.01 * line)
            break;
    }
    return m;
}

void layer_set_ranges(struct mt_layer *layer) {
    for (int i = 0; i < layer->slot_count; i++)
        layer->slots[i].from = i == 0 ? 1 : slot_reach(&layer->slots[i - 1], &layer->slots[i]) + 1;
}

bool slot_prepare(const struct mt_table *table, const struct problem *p, struct slot *slot) {
    struct config *config = &slot->kernel.config;
    const struct config before = *config;
    struct problem at = *p;
    struct launch_shape shape;
    at.m = slot->m > 0 ? slot->m : 1;
    config_adapt(config, &at);
    if (table->flags & MT_BATCH_INVARIANT && !config_order(config, &at, table->limits.sm_count))
        return false;
    if (!config_fit(config, &at, &table->limits))
        return false;
    config->family->shape(config, &at, table->limits.sm_count, &shape);
    slot->tile = shape.tile_m;
    slot->as_tuned = config_equal(config, &before);
    slot->own = NULL;
    slot->config = slot->tuned;
    if (!slot->as_tuned) {
        struct str text = {0};
        config_format(config, &text);
        slot->config = slot->own = text.data;
    }
    return true;
}

void layer_add(struct mt_layer *layer, struct slot slot) {
    array_grow(&layer->slots, &layer->slot_capacity, (size_t)layer->slot_count, sizeof slot);
    layer->slots[layer->slot_count++] = slot;
}

void layer_describe(struct mt_layer *layer, const struct bundle_layer *from) {
    const struct problem *p = &layer->problem;
    layer->info = (struct mt_layer_info){.size = sizeof layer->info,
                                         .model = from ? from->model : "",
                                         .name = from ? from->name : "",
                                         .tp = from ? from->tp : 1,
                                         .n = p->n,
                                         .k = p->k,
                                         .rows8 = p->rows8,
                                         .group = p->group,
                                         .dtype = (enum mt_dtype)p->dtype,
                                         .symmetric = problem_symmetric(p),
                                         .formats = problem_scheme(p),
                                         .k_padded = problem_k_padded(p),
                                         .groups = problem_groups(p),
                                         .layout = MT_LAYOUT};
}

static void slots_release(struct mt_layer *layer) {
    for (int i = 0; i < layer->slot_count; i++)
        free(layer->slots[i].own);
    free(layer->slots);
}

void layer_release(struct mt_layer *layer) {
    slots_release(layer);
    free(layer);
}

/* ---- building from a bundle ---- */

int image_index(const struct bundle *bundle, const char *hash) {
    int i = 0;
    while (strcmp(bundle->images[i].hash, hash) != 0) /* bundle_read() saw that it is there */
        i++;
    return i;
}

/* Notes which family an image belongs to, from something that refers to it. */
static enum mt_status image_claim(struct mt_table *table, const char *hash, const char *family) {
    struct table_image *image = &table->images[image_index(&table->bundle, hash)];
    const struct family *found = family_find(family);
    if ((!found || !found->quantised) && strcmp(family, "quantize") != 0)
        return fail(MT_FAILURE,
                    "the bundle has a kernel of family %s, of which this library knows no quantised ones: export it "
                    "again with this version",
                    family);
    if (image->used && image->family != found)
        return fail(MT_FAILURE, "the bundle has one kernel image for two families");
    image->used = true;
    image->family = found;
    return MT_OK;
}

static enum mt_status slot_from(const struct mt_table *table, const struct bundle_entry *entry, struct slot *out) {
    const struct family *family = family_find(entry->family);
    *out = (struct slot){.m = entry->m,
                         .rows8 = table->bundle.layers[entry->layer].rows8,
                         .kernel_ns = entry->expected_ns,
                         .modelled = entry->origin == BUNDLE_MODELLED,
                         .image = image_index(&table->bundle, entry->image_hash),
                         .tuned = entry->config};
    return config_parse(family, entry->config, &out->kernel.config);
}

static enum mt_status layer_build(struct mt_table *table, int index) {
    const struct bundle *bundle = &table->bundle;
    const struct bundle_layer *from = &bundle->layers[index];
    struct mt_layer *layer = &table->layers[index];
    struct problem *p = &layer->problem;
    *p = (struct problem){.m = 1, .n = from->n, .k = from->k, .group = from->group, .rows8 = from->rows8};
    enum dtype dtype;
    enum mt_status status = problem_take_scheme(p, from->scheme);
    if (status == MT_OK)
        status = dtype_parse(from->dtype, &dtype);
    if (status == MT_OK)
        status = problem_check(p);
    if (status != MT_OK)
        return status;
    p->m = 0;
    p->dtype = dtype;
    layer_describe(layer, from);
    layer->promises = !table->foreign;
    for (int i = 0; i < bundle->entry_count; i++) {
        const struct bundle_entry *entry = &bundle->entries[i];
        struct slot slot, *last = layer->slot_count ? &layer->slots[layer->slot_count - 1] : NULL;
        if (entry->layer != index)
            continue;
        p->m = entry->m;
        status = problem_check(p);
        p->m = 0;
        if (status != MT_OK)
            return status;
        bool modelled = entry->origin == BUNDLE_MODELLED;
        if (entry->kind == BUNDLE_CUBLAS) {
            /* Comes after the kernel of the same M. */
            if (last && last->m == entry->m && last->modelled == modelled && entry->expected_ns < last->kernel_ns)
                last->cublas_ns = entry->expected_ns;
            continue;
        }
        status = slot_from(table, entry, &slot);
        if (status != MT_OK)
            return status;
        if (slot_prepare(table, p, &slot))
            layer_add(layer, slot);
    }
    layer_set_ranges(layer);
    return MT_OK;
}

bool layer_add_default(const struct mt_table *table, struct mt_layer *layer) {
    const struct problem *p = &layer->problem;
    for (int i = 0; i < table->bundle.fallback_count && layer->slot_count == 0; i++) {
        const struct bundle_build *f = &table->bundle.fallbacks[i];
        const struct family *family = family_find(f->family);
        struct slot slot = {.image = image_index(&table->bundle, f->image_hash), .from = 1, .tuned = f->config};
        if (!family || f->group != p->group || strcmp(f->dtype, dtype_name(p->dtype)) != 0 ||
            strcmp(f->scheme, problem_scheme(p)) != 0 ||
            config_parse(family, f->config, &slot.kernel.config) != MT_OK || !slot_prepare(table, p, &slot))
            continue;
        layer->info.step = MT_STEP_DEFAULT;
        layer->promises = false;
        layer_add(layer, slot);
    }
    return layer->slot_count > 0;
}

static enum mt_status table_fill(struct mt_table *table) {
    const struct bundle *bundle = &table->bundle;
    enum mt_status status = MT_OK;
    if (bundle->fingerprint.layout != MT_LAYOUT)
        return fail(MT_FAILURE,
                    "the kernels of the bundle read weights in layout %d, and this library packs layout %d: export it "
                    "again with this version",
                    bundle->fingerprint.layout, MT_LAYOUT);
    for (int i = 0; status == MT_OK && i < bundle->entry_count; i++)
        if (bundle->entries[i].kind == BUNDLE_KERNEL)
            status = image_claim(table, bundle->entries[i].image_hash, bundle->entries[i].family);
    for (int i = 0; status == MT_OK && i < bundle->variant_count; i++)
        status = image_claim(table, bundle->variants[i].image_hash, bundle->variants[i].family);
    for (int i = 0; status == MT_OK && i < bundle->fallback_count; i++)
        status = image_claim(table, bundle->fallbacks[i].image_hash, bundle->fallbacks[i].family);
    for (int i = 0; status == MT_OK && i < bundle->layer_count; i++) {
        struct mt_layer *layer = &table->layers[i];
        status = layer_build(table, i);
        if (status == MT_OK && layer->slot_count == 0 && !layer_add_default(table, layer))
            status = fail(MT_FAILURE, "none of the kernels for it can run on this GPU");
        if (status != MT_OK)
            status = fail_context(MT_FAILURE, "layer %s of the bundle", bundle->layers[i].name);
    }
    return status;
}

enum mt_status table_build(struct bundle *bundle, const struct device_limits *limits, unsigned flags, bool foreign,
                           struct mt_table **out) {
    struct mt_table *table = xcalloc(1, sizeof *table);
    table->bundle = *bundle;
    table->limits = *limits;
    table->flags = flags;
    table->foreign = foreign;
    table->layer_count = bundle->layer_count;
    table->layers = xcalloc((size_t)bundle->layer_count + 1, sizeof *table->layers);
    table->images = xcalloc((size_t)bundle->image_count + 1, sizeof *table->images);
    pthread_mutex_init(&table->lock, NULL);
    *bundle = (struct bundle){0};
    enum mt_status status = table_fill(table);
    if (status != MT_OK)
        table_release(table);
    *out = status == MT_OK ? table : NULL;
    return status;
}

void table_release(struct mt_table *table) {
    for (int i = 0; i < table->layer_count; i++)
        slots_release(&table->layers[i]);
    while (table->others) {
        struct mt_layer *next = table->others->next;
        layer_release(table->others);
        table->others = next;
    }
    free(table->layers);
    free(table->images);
    bundle_release(&table->bundle);
    pthread_mutex_destroy(&table->lock);
    free(table);
}

bool table_is_for(const struct bundle_fingerprint *made_for, const struct device *dev) {
    return strcmp(made_for->gpu, dev->name) == 0 && made_for->cc == dev->cc && made_for->sm_count == dev->sm_count;
}

enum mt_status table_check_device(const struct bundle_fingerprint *made_for, const struct device *dev, unsigned flags) {
    if (table_is_for(made_for, dev) || flags & MT_ALLOW_OTHER_GPU)
        return MT_OK;
    return fail(
        MT_NO_DEVICE,
        "the bundle was tuned on %s (compute capability %d.%d, %d SMs), but this is %s (%d.%d, %d SMs): tune and "
        "export on this GPU, or pass MT_ALLOW_OTHER_GPU",
        made_for->gpu, made_for->cc / 10, made_for->cc % 10, made_for->sm_count, dev->name, dev->cc / 10, dev->cc % 10,
        dev->sm_count);
}
