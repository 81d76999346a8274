#include "binaries.h"
#include "crash.h"
#include "runtime/base/array.h"
#include "runtime/base/parallel.h"
#include "runtime/base/str.h"
#include "tuner/progress.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

int binaries_add(struct binaries *b, const struct config *config, const struct problem *p) {
    struct str text = {0};
    if (config->family)
        config_format_binary(config, p, &text);
    else
        str_printf(&text, "quantize g%d %s", p->group, dtype_name(p->dtype));
    const int index = keys_number(&b->texts, str_text(&text));
    str_release(&text);
    if (index < b->count)
        return index;
    array_grow(&b->item, &b->capacity, (size_t)b->count, sizeof *b->item);
    b->item[b->count] = (struct binary){.text = b->texts.text[index], .config = *config, .formats = *p};
    return b->count++;
}

struct compile_all {
    struct binaries *binaries;
    const struct device *dev;
    struct progress progress;
    pthread_mutex_t lock; /* of `progress` and `failed` */
    int failed;           /* in need of another try */
};

static bool must_stop(const struct compile_all *all) {
    return interrupted() || (all->binaries->deadline > 0 && seconds_now() > all->binaries->deadline);
}

static bool is_waiting(const struct binary *b) {
    return b->wanted && !b->tried;
}

/* True when the try decides: it is good, or cannot be had here. */
static bool try_once(const struct compile_all *all, struct binary *b) {
    image_release(&b->image);
    free(b->message);
    crash_at_work(b->text);
    b->status = kernel_compile(all->dev, &b->config, &b->formats, &b->image);
    crash_at_work(NULL);
    b->message = b->status ? xstrdup(fail_message()) : NULL;
    b->tries = 1;
    return b->status == MT_OK || b->status == MT_NO_DEVICE;
}

static void done(struct compile_all *all, struct binary *b) {
    b->tried = true;
    progress_step(&all->progress, b->status == MT_OK, NULL);
}

static void compile_some(void *context, int begin, int end) {
    struct compile_all *all = context;
    for (int i = begin; i < end; i++) {
        struct binary *b = &all->binaries->item[i];
        if (!is_waiting(b) || must_stop(all))
            continue;
        const bool decided = try_once(all, b);
        pthread_mutex_lock(&all->lock);
        if (decided)
            done(all, b);
        else
            all->failed++;
        pthread_mutex_unlock(&all->lock);
    }
}

/* One failure may be that of a moment in which many compiled at once. Of the compiler's verdicts and the machine's
 * failures, what has come twice holds. */
static enum mt_status confirm(struct compile_all *all, struct binary *b) {
    int times[2] = {0};
    bool good = false;
    for (times[b->image.judged]++; !good && times[0] < 2 && times[1] < 2 && !must_stop(all);) {
        good = try_once(all, b);
        times[b->image.judged] += !good;
    }
    if (!good && times[0] == 2)
        return fail_context(fail(b->status, "%s", b->message), "%s", b->text);
    if (good || times[1] == 2) {
        b->tries = good ? 1 : 2;
        done(all, b);
    }
    return MT_OK;
}

static enum mt_status confirm_failures(struct compile_all *all) {
    enum mt_status status = MT_OK;
    for (int i = 0; i < all->binaries->count && !status; i++) {
        struct binary *b = &all->binaries->item[i];
        if (is_waiting(b) && b->message)
            status = confirm(all, b);
    }
    return status;
}

/* Whether nothing at all could be compiled; `why` is one of the sentences. */
static bool no_compiler(const struct binaries *b, const char **why) {
    bool had = false;
    *why = NULL;
    for (int i = 0; i < b->count; i++) {
        const struct binary *binary = &b->item[i];
        had = had || (binary->tried && binary->status != MT_NO_DEVICE);
        if (binary->tried && binary->status == MT_NO_DEVICE && !*why)
            *why = binary->message;
    }
    return *why && !had;
}

enum mt_status binaries_compile(struct binaries *b, const struct device *dev, bool quiet) {
    struct compile_all all = {.binaries = b, .dev = dev};
    struct crash_guard guard;
    int waiting = 0;
    for (int i = 0; i < b->count; i++)
        waiting += is_waiting(&b->item[i]);
    pthread_mutex_init(&all.lock, NULL);
    progress_init(&all.progress, "compile", waiting, quiet);
    crash_guard(&guard);
    parallel_for(b->count, 1, compile_some, &all);
    const enum mt_status status = all.failed ? confirm_failures(&all) : MT_OK;
    crash_release(&guard);
    progress_release(&all.progress);
    pthread_mutex_destroy(&all.lock);
    if (status)
        return status;
    if (all.progress.done < waiting)
        return fail(MT_INTERRUPTED, "%s after compiling %ld of %d kernels; the same command goes on from there",
                    interrupted() ? "interrupted" : "stopped at the time limit", all.progress.done, waiting);
    const char *why;
    return no_compiler(b, &why) ? fail(MT_NO_DEVICE, "%s", why) : MT_OK;
}

static struct image image_copy(const struct image *image) {
    struct image copy = *image;
    copy.data = xmalloc(image->size);
    memcpy(copy.data, image->data, image->size);
    return copy;
}

enum mt_status binary_kernel(struct binary *b, struct device *dev, const struct config *config, struct kernel **out) {
    if (b->status)
        return fail(b->status, "%s", b->message);
    if (!b->loaded) {
        enum mt_status status = kernel_load(dev, config, image_copy(&b->image), &b->kernel);
        if (status)
            return status;
        b->loaded = true;
    }
    b->kernel.config = *config;
    *out = &b->kernel;
    return MT_OK;
}

void binaries_adopt(struct binaries *b, int index, struct image image) {
    array_grow(&b->item, &b->capacity, (size_t)index, sizeof *b->item);
    if (index >= b->count)
        b->count = index + 1;
    b->item[index].tried = true;
    b->item[index].image = image;
}

void binaries_unload(struct binaries *b, struct device *dev) {
    for (int i = 0; i < b->count; i++) {
        if (b->item[i].loaded)
            kernel_unload(dev, &b->item[i].kernel);
        b->item[i].loaded = false;
    }
}

void binaries_release(struct binaries *b, struct device *dev) {
    binaries_unload(b, dev);
    for (int i = 0; i < b->count; i++) {
        image_release(&b->item[i].image);
        free(b->item[i].message);
    }
    free(b->item);
    keys_release(&b->texts);
    *b = (struct binaries){0};
}
