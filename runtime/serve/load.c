/* Loading: what the layers in use need, and nothing else. Kernels come from the bundle, or are compiled. */
#include "runtime/base/memory.h"
#include "runtime/base/parallel.h"
#include "runtime/base/str.h"
#include "sized.h"
#include "table.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each takes a compiler a second or so: what would take hours is not begun. */
enum { MOST_COMPILED = 1024 };

/* ---- compiling what a bundle has no images of ---- */

/* The first failure of many threads, with its sentence. */
struct compiling {
    struct mt_table *table;
    const int *image; /* which to compile */
    pthread_mutex_t lock;
    enum mt_status status;
    char sentence[1024];
};

static void compile_some(void *context, int begin, int end) {
    struct compiling *c = context;
    for (int i = begin; i < end; i++) {
        struct table_image *image = &c->table->images[c->image[i]];
        pthread_mutex_lock(&c->lock);
        const bool go_on = c->status == MT_OK;
        pthread_mutex_unlock(&c->lock);
        enum mt_status status =
            go_on ? kernel_compile(&c->table->dev, &image->build.config, &image->build.formats, &image->compiled)
                  : MT_OK;
        if (status == MT_OK)
            continue;
        image_release(&image->compiled);
        pthread_mutex_lock(&c->lock);
        if (c->status == MT_OK) {
            c->status = status;
            text_fit(c->sentence, sizeof c->sentence, "%s", fail_message());
        }
        pthread_mutex_unlock(&c->lock);
    }
}

/* Those of `image` that are not there yet, on all cores; or from the cache. */
static enum mt_status images_compile(struct mt_table *table, const int *image, int count) {
    struct compiling c = {.table = table, .image = image};
    if (count == 0)
        return MT_OK;
    if (count > MOST_COMPILED)
        return fail(MT_FAILURE, "the bundle has no kernels, and %d would have to be compiled; export it with them",
                    count);
    pthread_mutex_init(&c.lock, NULL);
    parallel_for(count, 1, compile_some, &c);
    pthread_mutex_destroy(&c.lock);
    if (c.status == MT_NO_DEVICE)
        return fail(c.status, "the bundle has no kernels%s, and none can be compiled here: %s; or %s",
                    table->other_gpu ? " for this GPU" : "", c.sentence,
                    table->other_gpu ? "tune and export on this GPU" : "export it without --no-images");
    return c.status == MT_OK ? MT_OK : fail(c.status, "a kernel of the bundle does not compile: %s", c.sentence);
}

/* The image of the quantisation kernel for a problem's group and type; -1: the bundle has none. */
static int quantize_image(const struct mt_table *table, const struct problem *p) {
    for (int i = 0; i < table->bundle.fallback_count; i++) {
        const struct contents_build *build = &table->images[table->fallback_image[i]].build;
        if (!build->config.family && build->formats.group == p->group && build->formats.dtype == p->dtype)
            return table->fallback_image[i];
    }
    return -1;
}

static void image_want(const struct mt_table *table, int image, bool *seen, int *list, int *count) {
    if (image < 0 || seen[image] || table->images[image].from || table->images[image].kernel.function ||
        table->images[image].compiled.data)
        return;
    seen[image] = true;
    list[(*count)++] = image;
}

/* Compiles what these layers run where the bundle has no images. */
static enum mt_status layers_compile(struct mt_table *table, const struct mt_layer *layers, int layer_count) {
    if (table->bundle.image_count)
        return MT_OK;
    bool *seen = mem_zeroed((size_t)table->image_count, sizeof *seen);
    int *list = mem_alloc((size_t)table->image_count * sizeof *list), count = 0;
    enum mt_status status = MT_FAILURE;
    if (seen && list) {
        for (int i = 0; i < layer_count; i++) {
            for (int j = 0; j < layers[i].slot_count; j++)
                image_want(table, layers[i].slots[j].image, seen, list, &count);
            image_want(table, quantize_image(table, &layers[i].problem), seen, list, &count);
        }
        status = images_compile(table, list, count);
    }
    free(seen);
    free(list);
    return status;
}

/* ---- loading ---- */

/* What the driver is given, unpacked. */
static enum mt_status image_take(const struct table_image *from, struct image *out) {
    *out = (struct image){.size = from->from->size,
                          .registers = from->usage.registers,
                          .spill_bytes = from->usage.local_bytes,
                          .smem_static = from->usage.smem_static};
    snprintf(out->hash, sizeof out->hash, "%.32s", from->from->hash);
    return bundle_unpack(from->from, &out->data);
}

/* Loads an image unless it is loaded. */
static enum mt_status image_load(struct mt_table *table, int index) {
    struct table_image *to = &table->images[index];
    struct image image = to->compiled;
    if (to->kernel.function)
        return MT_OK;
    to->compiled = (struct image){0};
    enum mt_status status = to->from ? image_take(to, &image) : MT_OK;
    if (status == MT_OK)
        status = kernel_load(&table->dev, &to->build.config, image, &to->kernel);
    if (status != MT_OK)
        return status;
    free(to->kernel.image.data); /* the driver has its own */
    to->kernel.image.data = NULL;
    return MT_OK;
}

/* The quantisation kernel for a layer's group and type: of the bundle, else compiled here. */
static enum mt_status layer_load_quantize(struct mt_table *table, struct mt_layer *layer) {
    const struct problem *p = &layer->problem;
    const int image = quantize_image(table, p);
    enum mt_status status = MT_OK;
    if (image >= 0) {
        layer->quantize = &table->images[image].kernel;
        return image_load(table, image);
    }
    struct kernel *own = &table->quantize[p->group / 128][p->dtype]; /* 64, 128, 256 -> 0, 1, 2 */
    if (!own->function)
        status = kernel_load_quantize(&table->dev, p, own);
    layer->quantize = own;
    return status;
}

/* What lookups read of a slot stays as it is: they take no lock. */
static void slot_take_kernel(const struct mt_table *table, struct slot *slot) {
    const struct kernel *from = &table->images[slot->image].kernel;
    slot->kernel.image = from->image;
    slot->kernel.module = from->module;
    slot->kernel.function = from->function;
    kernel_count_clusters(&table->dev, &slot->kernel);
}

static enum mt_status layer_load_compiled(struct mt_table *table, struct mt_layer *layer) {
    enum mt_status status = MT_OK;
    for (int i = 0; status == MT_OK && i < layer->slot_count; i++) {
        status = image_load(table, layer->slots[i].image);
        if (status == MT_OK)
            slot_take_kernel(table, &layer->slots[i]);
    }
    if (status == MT_OK)
        status = layer_load_quantize(table, layer);
    if (status == MT_OK)
        status = layer_set_ranges(layer);
    if (status == MT_OK)
        __atomic_store_n(&layer->loaded, true, __ATOMIC_RELEASE);
    return status;
}

enum mt_status layers_load(struct mt_table *table, struct mt_layer *layers, int count) {
    enum mt_status status = layers_compile(table, layers, count);
    for (int i = 0; status == MT_OK && i < count; i++)
        if (!layer_is_loaded(&layers[i]))
            status = layer_load_compiled(table, &layers[i]);
    return status;
}

enum mt_status mt_table_load(struct mt_table *table, const struct mt_layer *layer) {
    enum mt_status status = GIVEN("table", table);
    if (status != MT_OK || (layer && layer_is_loaded(layer)))
        return fail_settled(status);
    /* A layer that is not loaded is one of the tuned ones: others are made with their kernels. */
    const int first = layer ? (int)(layer - table->layers) : 0, count = layer ? 1 : table->layer_count;
    pthread_mutex_lock(&table->lock);
    status = layers_load(table, table->layers + first, count);
    pthread_mutex_unlock(&table->lock);
    return fail_settled(status);
}
