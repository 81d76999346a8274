#include "table.h"
#include "fit.h"
#include "index.h"
#include "runtime/base/array.h"
#include "runtime/base/memory.h"
#include "runtime/base/str.h"
#include "runtime/jit/fatbin.h"
#include "runtime/layer/pack.h"
#include <stdlib.h>
#include <string.h>

/* ---- one layer ---- */

/* A default serves any M: what a family refuses for few tokens alone is slow there, and no more. */
enum { DEFAULT_TOKENS = 4096 };

enum mt_status slot_prepare(const struct mt_table *table, const struct mt_layer *layer, struct slot *slot, bool *runs) {
    struct config *config = &slot->kernel.config;
    const struct config before = *config;
    struct problem at = layer->problem;
    struct str text = {0};
    const int sm_count = table->limits.sm_count;
    *runs = false;
    at.m = slot->m > 0 ? slot->m : DEFAULT_TOKENS;
    config_adapt(config, &at);
    if (table->flags & MT_BATCH_INVARIANT && !config_sum_as(config, &at, sm_count, &layer->sums))
        return MT_OK;
    if (!config_fit(config, &at, &table->limits))
        return MT_OK;
    const struct sum_tree sums = config_sums(config, &at, sm_count);
    if (table->flags & MT_BATCH_INVARIANT && !sum_tree_equal(&sums, &layer->sums))
        return MT_OK;
    config_plan(config, &at, table->limits.sm_count, COUNTERS_BYTES, &slot->plan);
    slot->as_tuned = config_equal(config, &before);
    slot->own = NULL;
    slot->config = slot->tuned;
    if (!slot->as_tuned) {
        config_format(config, &text);
        enum mt_status status = str_status(&text);
        if (status != MT_OK)
            return status;
        slot->config = slot->own = text.data;
    }
    *runs = true;
    return MT_OK;
}

enum mt_status layer_add(struct mt_layer *layer, struct slot slot) {
    if (!array_grow(&layer->slots, &layer->slot_capacity, (size_t)layer->slot_count, sizeof slot)) {
        free(slot.own);
        return MT_FAILURE;
    }
    layer->slots[layer->slot_count++] = slot;
    return MT_OK;
}

void layer_describe(struct mt_layer *layer, const struct bundle_layer *from) {
    const struct problem *p = &layer->problem;
    layer->most_tokens = problem_most_tokens(p);
    layer->rows[MT_W8] = p->rows8;
    layer->rows[MT_W4] = p->n - p->rows8;
    for (int i = 0; i < MT_PARTS; i++)
        layer->padded_rows[i] = pack_padded(layer->rows[i]);
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
    free(layer->rivals);
    free(layer->first_rival);
    free(layer->ranges);
}

void layer_release(struct mt_layer *layer) {
    slots_release(layer);
    free(layer);
}

/* ---- binaries ---- */

static int by_name(const void *name, const void *image) {
    return strcmp(name, ((const struct bundle_image *)image)->hash);
}

/* A row's image, of those that the bundle has; `built` is what the row means. */
static enum mt_status image_claim(struct mt_table *table, const char *hash, const struct contents_build *build,
                                  const char *built, int *out) {
    const struct bundle *bundle = &table->bundle;
    const struct bundle_image *found =
        bsearch(hash, bundle->images, (size_t)bundle->image_count, sizeof *bundle->images, by_name);
    if (!found)
        return fail(MT_FAILURE, "kernel image \"%s\" is not in the bundle", hash);
    *out = (int)(found - bundle->images);
    struct table_image *image = &table->images[*out];
    if (strcmp(found->built, built) != 0)
        return fail(MT_FAILURE, "kernel image %s is \"%s\", and not \"%s\", which is wanted; export it again", hash,
                    found->built, built);
    image->used = true;
    image->from = found;
    image->build = *build;
    return MT_OK;
}

/* A row of a bundle without images: what it is built of, as a key. */
struct wanted {
    char key[BUNDLE_NAME_TEXT];
    struct contents_build build;
    int *image;
};

static int by_key(const void *a, const void *b) {
    return strcmp(((const struct wanted *)a)->key, ((const struct wanted *)b)->key);
}

/* Each binary once. */
static enum mt_status wanted_number(struct mt_table *table, struct wanted *wanted, int count) {
    int distinct = 0;
    qsort(wanted, (size_t)count, sizeof *wanted, by_key);
    for (int i = 0; i < count; i++) {
        distinct += i == 0 || strcmp(wanted[i].key, wanted[i - 1].key) != 0;
        *wanted[i].image = distinct - 1;
    }
    table->images = mem_zeroed((size_t)distinct, sizeof *table->images);
    if (!table->images)
        return MT_FAILURE;
    table->image_count = distinct;
    for (int i = 0; i < count; i++) {
        table->images[*wanted[i].image].used = true;
        table->images[*wanted[i].image].build = wanted[i].build;
    }
    return MT_OK;
}

/* Every row that has a kernel, one after another. */
struct walk {
    struct mt_table *table;
    struct wanted *wanted; /* NULL: the bundle has images */
    int count;
};

static enum mt_status walk_take(struct walk *walk, enum mt_status status, const struct contents_build *build,
                                const char *hash, int *image) {
    struct str built = {0};
    if (status != MT_OK)
        return status;
    contents_built(build, &built);
    status = str_status(&built);
    if (status == MT_OK && walk->wanted) {
        struct wanted *wanted = &walk->wanted[walk->count++];
        *wanted = (struct wanted){.build = *build, .image = image};
        bundle_image_name(built.data, "", 0, wanted->key);
    } else if (status == MT_OK) {
        status = image_claim(walk->table, hash, build, built.data, image);
    }
    str_release(&built);
    return status;
}

static enum mt_status walk_entries(struct walk *walk) {
    struct mt_table *table = walk->table;
    const struct bundle *bundle = &table->bundle;
    struct contents_build build;
    struct problem p;
    struct sum_tree sums = {0};
    enum mt_status status = MT_OK;
    for (int i = 0, layer = -1; status == MT_OK && i < bundle->entry_count; i++) {
        const struct bundle_entry *entry = &bundle->entries[i];
        if (entry->layer != layer) {
            status = contents_layer(&bundle->layers[layer = entry->layer], &p);
            sums = (struct sum_tree){0};
        }
        table->entry_image[i] = -1;
        if (status == MT_OK && entry->kind != BUNDLE_FP16)
            status = walk_take(walk, contents_entry(&bundle->fingerprint, entry, &p, &build), &build, entry->image_hash,
                               &table->entry_image[i]);
        if (status == MT_OK && entry->kind == BUNDLE_INVARIANT)
            status = contents_sums(&bundle->fingerprint, entry, &p, &sums);
        if (status != MT_OK)
            fail_context(status, "layer %s of the bundle", bundle->layers[layer].name);
    }
    return status;
}

static enum mt_status walk_builds(struct walk *walk) {
    struct mt_table *table = walk->table;
    const struct bundle *bundle = &table->bundle;
    struct contents_build build;
    enum mt_status status = MT_OK;
    for (int i = 0; status == MT_OK && i < bundle->variant_count; i++)
        status = walk_take(walk, contents_variant(&bundle->fingerprint, &bundle->variants[i], &build), &build,
                           bundle->variants[i].image_hash, &table->variant_image[i]);
    for (int i = 0; status == MT_OK && i < bundle->fallback_count; i++)
        status = walk_take(walk, contents_fallback(&bundle->fingerprint, &bundle->fallbacks[i], &build), &build,
                           bundle->fallbacks[i].image_hash, &table->fallback_image[i]);
    return status;
}

static enum mt_status table_take_images(struct mt_table *table) {
    const struct bundle *bundle = &table->bundle;
    const size_t rows = (size_t)(bundle->entry_count + bundle->variant_count + bundle->fallback_count);
    struct walk walk = {.table = table};
    if (bundle->image_count) {
        table->images = mem_zeroed((size_t)bundle->image_count, sizeof *table->images);
        table->image_count = table->images ? bundle->image_count : 0;
    } else {
        walk.wanted = mem_zeroed(rows, sizeof *walk.wanted);
    }
    enum mt_status status = table->images || walk.wanted ? walk_entries(&walk) : MT_FAILURE;
    if (status == MT_OK)
        status = walk_builds(&walk);
    if (status == MT_OK && walk.wanted)
        status = wanted_number(table, walk.wanted, walk.count);
    free(walk.wanted);
    return status;
}

enum mt_status table_check_images(struct mt_table *table) {
    const struct device made_for = {.cc = table->bundle.fingerprint.cc};
    enum mt_status status = MT_OK;
    char arch[16];
    device_arch(&made_for, arch);
    for (int i = 0; status == MT_OK && i < table->image_count; i++) {
        struct table_image *image = &table->images[i];
        if (!image->used || !image->from)
            continue;
        void *bytes;
        status = bundle_unpack(image->from, &bytes);
        if (status != MT_OK)
            break;
        status = fatbin_check(bytes, image->from->size, arch, contents_entry_point(&image->build), &image->usage);
        free(bytes);
        if (status != MT_OK)
            fail_context(status, "kernel image %s of the bundle cannot be given to a driver; export it again",
                         image->from->hash);
    }
    return status;
}

/* ---- building from a bundle ---- */

static enum mt_status slot_from(const struct mt_table *table, int index, struct slot *out) {
    const struct bundle_entry *entry = &table->bundle.entries[index];
    *out = (struct slot){.m = entry->m,
                         .rows8 = table->bundle.layers[entry->layer].rows8,
                         .kernel_ns = entry->expected_ns,
                         .quantize_ns = entry->quantize_ns,
                         .modelled = entry->origin == BUNDLE_MODELLED,
                         .image = table->entry_image[index],
                         .tuned = entry->config};
    return config_parse(family_find(entry->family), entry->config, &out->kernel.config);
}

/* The slots of kernels of one kind among the entries first .. end. */
static enum mt_status layer_fill(struct mt_table *table, struct mt_layer *layer, enum bundle_kind kind, int first,
                                 int end) {
    enum mt_status status = MT_OK;
    for (int i = first; status == MT_OK && i < end; i++) {
        const struct bundle_entry *entry = &table->bundle.entries[i];
        struct slot slot, *last = layer->slot_count ? &layer->slots[layer->slot_count - 1] : NULL;
        bool modelled = entry->origin == BUNDLE_MODELLED, runs = false;
        if (entry->kind == BUNDLE_FP16) {
            /* Comes after the kernel of the same M. */
            if (last && last->m == entry->m && last->modelled == modelled) {
                last->fp16_ns = entry->expected_ns;
                last->fp16 = entry->family;
            }
            continue;
        }
        if (entry->kind != kind)
            continue;
        status = slot_from(table, i, &slot);
        if (status == MT_OK && kind == BUNDLE_INVARIANT) { /* the same of each: contents_sums() */
            struct problem at = layer->problem;
            at.m = slot.m;
            layer->sums = config_sums(&slot.kernel.config, &at, table->limits.sm_count);
        }
        if (status == MT_OK)
            status = slot_prepare(table, layer, &slot, &runs);
        if (status == MT_OK && runs)
            status = layer_add(layer, slot);
    }
    return status;
}

/* Entries `first` and on are the layer's, up to what is returned. For MT_BATCH_INVARIANT they have kernels that add up
 * alike, or the winners are made to add up in order. */
static enum mt_status layer_build(struct mt_table *table, int index, int *first) {
    const struct bundle *bundle = &table->bundle;
    struct mt_layer *layer = &table->layers[index];
    const int begin = *first;
    enum mt_status status = contents_layer(&bundle->layers[index], &layer->problem);
    if (status != MT_OK)
        return status;
    layer_describe(layer, &bundle->layers[index]);
    layer->promises = !table->foreign;
    while (*first < bundle->entry_count && bundle->entries[*first].layer == index)
        ++*first;
    if (table->flags & MT_BATCH_INVARIANT)
        status = layer_fill(table, layer, BUNDLE_INVARIANT, begin, *first);
    if (status == MT_OK && layer->slot_count == 0) {
        layer->sums = SUM_IN_ORDER;
        status = layer_fill(table, layer, BUNDLE_KERNEL, begin, *first);
    }
    layer->tuned_count = layer->slot_count;
    if (status == MT_OK)
        status = layer_add_defaults(table, layer);
    return status == MT_OK ? layer_set_rivals(layer, &(struct known){known_tuned, table, layer}) : status;
}

/* What layers that borrow compare, all together: opening takes time in proportion to the rows. */
enum { BORROW_LOOKS = 1 << 20 };

/* Each layer has a slot at least. */
static enum mt_status layers_complete(struct mt_table *table) {
    enum mt_status status = MT_OK;
    int looks = BORROW_LOOKS;
    for (int i = 0; status == MT_OK && i < table->layer_count; i++) {
        struct mt_layer *layer = &table->layers[i];
        if (layer->slot_count)
            continue;
        status = layer_borrow_any(table, layer, &looks);
        if (status == MT_OK && !layer->slot_count)
            status = fail(MT_NO_DEVICE, "none of the kernels for it can run on this GPU");
        if (status != MT_OK)
            fail_context(status, "layer %s of the bundle", table->bundle.layers[i].name);
    }
    return status;
}

static enum mt_status table_fill(struct mt_table *table) {
    const struct bundle *bundle = &table->bundle;
    if (bundle->fingerprint.layout != MT_LAYOUT)
        return fail(MT_FAILURE,
                    "the kernels of the bundle read weights in layout %d, and this library packs layout %d: export it "
                    "again with this version",
                    bundle->fingerprint.layout, MT_LAYOUT);
    enum mt_status status = table_take_images(table);
    for (int i = 0, entry = 0; status == MT_OK && i < bundle->layer_count; i++) {
        table->layer_count = i + 1;
        status = layer_build(table, i, &entry);
        if (status != MT_OK)
            status = fail_context(MT_FAILURE, "layer %s of the bundle", bundle->layers[i].name);
    }
    if (status == MT_OK)
        status = layers_complete(table);
    return status == MT_OK ? index_make(table) : status;
}

/* What a launch takes at least: the quickest quantisation that was timed, which is little else; else half the quickest
 * kernel. */
static double floor_of(const struct bundle *bundle) {
    double quantize = 0, kernel = 0;
    for (int i = 0; i < bundle->entry_count; i++) {
        const struct bundle_entry *e = &bundle->entries[i];
        if (e->quantize_ns > 0 && (quantize <= 0 || e->quantize_ns < quantize))
            quantize = e->quantize_ns;
        if (kernel <= 0 || e->expected_ns < kernel)
            kernel = e->expected_ns;
    }
    return quantize > 0 && quantize < kernel ? quantize : kernel / 2;
}

/* Room for one number of each row. */
static bool rows_alloc(int **out, int count) {
    return (*out = mem_zeroed((size_t)count, sizeof **out)) != NULL;
}

enum mt_status table_build(struct bundle *bundle, const struct device_limits *limits, unsigned flags, bool foreign,
                           struct mt_table **out) {
    struct mt_table *table = mem_zeroed(1, sizeof *table);
    *out = NULL;
    if (!table)
        return MT_FAILURE;
    table->bundle = *bundle;
    *bundle = (struct bundle){0};
    table->limits = *limits;
    table->flags = flags;
    table->foreign = foreign;
    table->floor_ns = floor_of(&table->bundle);
    pthread_mutex_init(&table->lock, NULL);
    table->layers = mem_zeroed((size_t)table->bundle.layer_count, sizeof *table->layers);
    enum mt_status status = MT_FAILURE;
    if (table->layers && rows_alloc(&table->entry_image, table->bundle.entry_count) &&
        rows_alloc(&table->variant_image, table->bundle.variant_count) &&
        rows_alloc(&table->fallback_image, table->bundle.fallback_count))
        status = table_fill(table);
    if (status != MT_OK)
        table_release(table);
    else
        *out = table;
    return status;
}

void table_release(struct mt_table *table) {
    for (int i = 0; table->layers && i < table->layer_count; i++)
        slots_release(&table->layers[i]);
    index_release(table);
    for (int i = 0; i < table->image_count; i++)
        image_release(&table->images[i].compiled);
    free(table->layers);
    free(table->images);
    free(table->entry_image);
    free(table->variant_image);
    free(table->fallback_image);
    bundle_release(&table->bundle);
    pthread_mutex_destroy(&table->lock);
    free(table);
}
