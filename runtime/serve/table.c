#include "table.h"
#include "fit.h"
#include "runtime/base/array.h"
#include "runtime/base/memory.h"
#include "runtime/base/str.h"
#include "runtime/jit/fatbin.h"
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

/* Whether the lower of two slots still serves m: its time is modelled near the line between both. */
static bool slot_keeps(const struct slot *low, const struct slot *high, int m) {
    const double line = low->kernel_ns + (high->kernel_ns - low->kernel_ns) * (m - low->m) / (high->m - low->m);
    return low->kernel_ns * slot_growth(low, m) <= 1.01 * line;
}

/* The last M of tile number `tile`, counted from 1, at most `most`. */
static int tile_end(const struct slot *slot, int tile, int most) {
    const int64_t end = (int64_t)tile * slot->tile;
    return end < most ? (int)end : most;
}

/* The last M that the lower of two slots serves: the rule stands at mt_table_lookup(). A tile costs the same at each M
 * within it, and both the line and the cost of whole tiles are straight, so the last M is found by halving, whatever
 * the times are. */
static int slot_reach(const struct slot *low, const struct slot *high) {
    const int most = (int)pow(pow(low->m, 4) * high->m, 0.2); /* log(m / low) = log(high / m) / 4 */
    if (most <= low->m || slot_keeps(low, high, most))
        return most > low->m ? most : low->m;
    int kept = low->m, lost = most;
    if (high->kernel_ns >= low->kernel_ns) { /* the line rises: the end of a tile is its best M */
        int first = (low->m - 1) / low->tile + 1, last = (most - 1) / low->tile;
        if (first <= last && slot_keeps(low, high, tile_end(low, last, most)))
            return tile_end(low, last, most);
        while (first <= last) {
            const int middle = first + (last - first) / 2, end = tile_end(low, middle, most);
            if (slot_keeps(low, high, end)) {
                kept = end > kept ? end : kept;
                first = middle + 1;
            } else {
                last = middle - 1;
            }
        }
        return kept;
    }
    while (kept + 1 < lost) {
        const int middle = kept + (lost - kept) / 2;
        if (slot_keeps(low, high, middle))
            kept = middle;
        else
            lost = middle;
    }
    return kept;
}

void layer_set_ranges(struct mt_layer *layer) {
    for (int i = 0; i < layer->slot_count; i++)
        layer->slots[i].from = i == 0 ? 1 : slot_reach(&layer->slots[i - 1], &layer->slots[i]) + 1;
}

enum mt_status slot_prepare(const struct mt_table *table, const struct problem *p, struct slot *slot, bool *runs) {
    struct config *config = &slot->kernel.config;
    const struct config before = *config;
    struct problem at = *p;
    struct launch_shape shape;
    struct str text = {0};
    *runs = false;
    at.m = slot->m > 0 ? slot->m : 1;
    config_adapt(config, &at);
    if (table->flags & MT_BATCH_INVARIANT && !config_order(config, &at, table->limits.sm_count))
        return MT_OK;
    if (!config_fit(config, &at, &table->limits))
        return MT_OK;
    config->family->shape(config, &at, table->limits.sm_count, &shape);
    slot->tile = shape.tile_m;
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
    enum mt_status status = MT_OK;
    for (int i = 0, layer = -1; status == MT_OK && i < bundle->entry_count; i++) {
        const struct bundle_entry *entry = &bundle->entries[i];
        if (entry->layer != layer)
            status = contents_layer(&bundle->layers[layer = entry->layer], &p);
        table->entry_image[i] = -1;
        if (status == MT_OK && entry->kind == BUNDLE_KERNEL)
            status = walk_take(walk, contents_entry(&bundle->fingerprint, entry, &p, &build), &build, entry->image_hash,
                               &table->entry_image[i]);
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
        status = fatbin_check(image->from->data, image->from->size, arch, contents_entry_point(&image->build),
                              &image->usage);
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
                         .modelled = entry->origin == BUNDLE_MODELLED,
                         .image = table->entry_image[index],
                         .tuned = entry->config};
    return config_parse(family_find(entry->family), entry->config, &out->kernel.config);
}

/* Entries `first` and on are the layer's, up to what is returned. */
static enum mt_status layer_build(struct mt_table *table, int index, int *first) {
    const struct bundle *bundle = &table->bundle;
    struct mt_layer *layer = &table->layers[index];
    enum mt_status status = contents_layer(&bundle->layers[index], &layer->problem);
    if (status != MT_OK)
        return status;
    layer_describe(layer, &bundle->layers[index]);
    layer->promises = !table->foreign;
    for (int i; status == MT_OK && (i = *first) < bundle->entry_count && bundle->entries[i].layer == index; ++*first) {
        const struct bundle_entry *entry = &bundle->entries[i];
        struct slot slot, *last = layer->slot_count ? &layer->slots[layer->slot_count - 1] : NULL;
        bool modelled = entry->origin == BUNDLE_MODELLED, runs = false;
        if (entry->kind == BUNDLE_FP16) {
            /* Comes after the kernel of the same M. */
            if (last && last->m == entry->m && last->modelled == modelled && entry->expected_ns < last->kernel_ns)
                last->fp16_ns = entry->expected_ns;
            continue;
        }
        status = slot_from(table, i, &slot);
        if (status == MT_OK)
            status = slot_prepare(table, &layer->problem, &slot, &runs);
        if (status == MT_OK && runs)
            status = layer_add(layer, slot);
    }
    layer_set_ranges(layer);
    return status;
}

enum mt_status layer_add_default(const struct mt_table *table, struct mt_layer *layer) {
    const struct problem *p = &layer->problem;
    enum mt_status status = MT_OK;
    for (int i = 0; status == MT_OK && i < table->bundle.fallback_count && layer->slot_count == 0; i++) {
        const struct bundle_build *f = &table->bundle.fallbacks[i];
        const struct family *family = family_find(f->family);
        struct slot slot = {.image = table->fallback_image[i], .from = 1, .tuned = f->config};
        bool runs = false;
        if (!family || f->group != p->group || strcmp(f->dtype, dtype_name(p->dtype)) != 0 ||
            strcmp(f->scheme, problem_scheme(p)) != 0)
            continue;
        status = config_parse(family, f->config, &slot.kernel.config);
        if (status == MT_OK)
            status = slot_prepare(table, p, &slot, &runs);
        if (status != MT_OK || !runs)
            continue;
        layer->info.step = MT_STEP_DEFAULT;
        layer->promises = false;
        status = layer_add(layer, slot);
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
        struct mt_layer *layer = &table->layers[i];
        table->layer_count = i + 1;
        status = layer_build(table, i, &entry);
        if (status == MT_OK && layer->slot_count == 0)
            status = layer_add_default(table, layer);
        if (status == MT_OK && layer->slot_count == 0)
            status = fail(MT_FAILURE, "none of the kernels for it can run on this GPU");
        if (status != MT_OK)
            status = fail_context(MT_FAILURE, "layer %s of the bundle", bundle->layers[i].name);
    }
    return status;
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
    while (table->others) {
        struct mt_layer *next = table->others->next;
        layer_release(table->others);
        table->others = next;
    }
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
