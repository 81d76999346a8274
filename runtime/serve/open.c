/* The public interface: opening a table on a device. Its kernels come from the bundle, or are compiled. */
#include "gpus.h"
#include "runtime/base/memory.h"
#include "runtime/base/parallel.h"
#include "runtime/base/str.h"
#include "table.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_FLAGS ((unsigned)(MT_ALLOW_FP16 | MT_ALLOW_OTHER_GPU | MT_BATCH_INVARIANT))

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
        return fail(c.status,
                    "the bundle has no kernels, and none can be compiled here: %s; or export it without --no-images",
                    c.sentence);
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

/* Compiles what these layers run, and nothing else, where the bundle has no images. */
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

/* The driver gets a copy, which the kernel owns. */
static enum mt_status image_copy(const struct table_image *from, struct image *out) {
    *out = (struct image){.size = from->from->size,
                          .registers = from->usage.registers,
                          .spill_bytes = from->usage.local_bytes,
                          .smem_static = from->usage.smem_static};
    snprintf(out->hash, sizeof out->hash, "%.32s", from->from->hash);
    out->data = mem_alloc(out->size);
    if (!out->data)
        return MT_FAILURE;
    memcpy(out->data, from->from->data, out->size);
    return MT_OK;
}

/* Loads an image unless it is loaded. */
static enum mt_status image_load(struct mt_table *table, int index) {
    struct table_image *to = &table->images[index];
    struct image image = to->compiled;
    if (to->kernel.function)
        return MT_OK;
    to->compiled = (struct image){0};
    enum mt_status status = to->from ? image_copy(to, &image) : MT_OK;
    return status == MT_OK ? kernel_load(&table->dev, &to->build.config, image, &to->kernel) : status;
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

static enum mt_status layer_load_compiled(struct mt_table *table, struct mt_layer *layer) {
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

enum mt_status layer_load(struct mt_table *table, struct mt_layer *layer) {
    enum mt_status status = layers_compile(table, layer, 1);
    return status == MT_OK ? layer_load_compiled(table, layer) : status;
}

/* ---- opening ---- */

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

/* Whether the times of the bundle are not those of the kernels that it gives here. */
static bool bundle_is_foreign(const struct bundle *bundle, const struct device *dev) {
    int version;
    return !gpu_is(&bundle->fingerprint, dev) ||
           (!bundle->image_count && (nvrtc_version(&version) != MT_OK || version != bundle->fingerprint.toolkit));
}

/* A table of one GPU type of a bundle, without a device yet. Images that have no code for this GPU are left packed, and
 * kernels are compiled. */
static enum mt_status table_take(struct bundle_source *source, int gpu, const struct device *dev, unsigned flags,
                                 struct mt_table **out) {
    struct device_limits limits;
    struct bundle bundle = {0};
    const bool images = gpu_runs_images(&source->gpus[gpu], dev);
    enum mt_status status = check_templates(&source->gpus[gpu]);
    if (status == MT_OK)
        status = bundle_take(source, gpu, images, &bundle);
    if (status == MT_OK && !images)
        status = gpu_add_defaults(&bundle, dev);
    device_limits_of(dev, &limits);
    if (status == MT_OK)
        status = table_build(&bundle, &limits, flags, bundle_is_foreign(&bundle, dev), out);
    bundle_release(&bundle);
    if (status != MT_OK)
        return status;
    (*out)->other_gpu = !gpu_is(&source->gpus[gpu], dev);
    status = table_check_images(*out);
    if (status != MT_OK) {
        table_release(*out);
        *out = NULL;
    }
    return status;
}

/* The first of the types that fit which has kernels that run here. Takes the device over. */
static enum mt_status open_on(struct device *dev, struct bundle_source *source, unsigned flags, struct mt_table **out) {
    struct mt_table *table = NULL;
    int order[BUNDLE_MOST_GPUS], count;
    enum mt_status status = gpus_order(source->gpus, source->gpu_count, dev, flags, order, &count);
    for (int i = 0; i < count && !table; i++) {
        status = table_take(source, order[i], dev, flags, &table);
        if (status != MT_OK && status != MT_NO_DEVICE)
            break;
    }
    if (status == MT_NO_DEVICE && count)
        status = gpus_fail(source->gpus, source->gpu_count, dev);
    if (status != MT_OK)
        return status;
    table->dev = *dev;
    *dev = (struct device){0};
    status = layers_compile(table, table->layers, table->layer_count);
    for (int i = 0; status == MT_OK && i < table->layer_count; i++)
        status = layer_load_compiled(table, &table->layers[i]);
    if (status == MT_OK)
        *out = table;
    else
        mt_table_close(table);
    return status;
}

enum mt_status mt_table_open_trusted(const char *path, unsigned flags, const char *sha256, struct mt_table **out) {
    struct bundle_source source;
    struct device dev = {0};
    if (!out)
        return fail(MT_USAGE, "mt_table_open: the address for the table is null");
    *out = NULL;
    if (!path)
        return fail(MT_USAGE, "mt_table_open: the path is null");
    if (flags & ~TABLE_FLAGS)
        return fail(MT_USAGE, "mt_table_open: this library does not know the flags 0x%x", flags & ~TABLE_FLAGS);
    enum mt_status status = bundle_open(path, sha256, &source);
    if (status != MT_OK)
        return status;
    status = device_adopt(&dev);
    if (status == MT_OK)
        status = open_on(&dev, &source, flags, out);
    if (status != MT_OK)
        fail_context(status, "%s", path);
    bundle_close(&source);
    if (dev.context)
        device_close(&dev);
    return fail_settled(status);
}

enum mt_status mt_table_open(const char *path, unsigned flags, struct mt_table **out) {
    return mt_table_open_trusted(path, flags, NULL, out);
}

void mt_table_close(struct mt_table *table) {
    if (!table)
        return;
    for (int i = 0; i < table->image_count; i++)
        kernel_unload(&table->dev, &table->images[i].kernel);
    for (int i = 0; i < 3 * 2; i++)
        kernel_unload(&table->dev, &table->quantize[i / 2][i % 2]);
    device_close(&table->dev);
    table_release(table);
}
