#include "gpus.h"
#include "runtime/base/memory.h"
#include "runtime/jit/fatbin.h"
#include "runtime/layer/pack.h"
#include "runtime/mixtune.h"
#include <stdlib.h>
#include <string.h>

enum { LISTED = 8 /* in a sentence */ };

bool gpu_is(const struct bundle_fingerprint *made_for, const struct device *dev) {
    return strcmp(made_for->gpu, dev->name) == 0 && made_for->cc == dev->cc && made_for->sm_count == dev->sm_count;
}

bool gpu_runs_images(const struct bundle_fingerprint *made_for, const struct device *dev) {
    const struct device built_for = {.cc = made_for->cc};
    char arch[16];
    device_arch(&built_for, arch);
    return fatbin_runs_on(arch, dev->cc);
}

static void gpus_print(const struct bundle_fingerprint *gpus, int count, struct str *out) {
    for (int i = 0; i < count && i < LISTED; i++)
        str_printf(out, "%s%.80s (compute capability %d.%d, %d SMs)",
                   !i              ? ""
                   : i + 1 < count ? ", "
                                   : " and ",
                   gpus[i].gpu, gpus[i].cc / 10, gpus[i].cc % 10, gpus[i].sm_count);
    if (count > LISTED)
        str_printf(out, " and %d more", count - LISTED);
}

/* ---- the nearest ---- */

/* How far a type is from the device; compared member by member. */
struct distance {
    int unread;   /* kernels read another layout than this library packs */
    int kind;     /* 0: the same compute capability; 1: its images run here; 2: they do not */
    int software; /* times are modelled there and measured here, or the other way round */
    int sms;
    int number;
};

static struct distance distance_of(const struct bundle_fingerprint *gpu, const struct device *dev, int number) {
    return (struct distance){.unread = gpu->layout != PACK_LAYOUT,
                             .kind = gpu->cc == dev->cc          ? 0
                                     : gpu_runs_images(gpu, dev) ? 1
                                                                 : 2,
                             .software = (gpu->software != 0) != dev->software,
                             .sms = abs(gpu->sm_count - dev->sm_count),
                             .number = number};
}

static int by_distance(const void *a, const void *b) {
    const struct distance *x = a, *y = b;
    const int differences[] = {x->unread - y->unread, x->kind - y->kind, x->software - y->software, x->sms - y->sms,
                               x->number - y->number};
    int i = 0;
    while (i < 4 && !differences[i])
        i++;
    return differences[i];
}

enum mt_status gpus_order(const struct bundle_fingerprint *gpus, int count, const struct device *dev, unsigned flags,
                          int *order, int *found) {
    struct distance distances[BUNDLE_MOST_GPUS];
    *found = 1;
    for (*order = 0; *order < count; ++*order)
        if (gpu_is(&gpus[*order], dev))
            return MT_OK;
    *found = 0;
    if (!(flags & MT_ALLOW_OTHER_GPU)) {
        struct str list = {0};
        gpus_print(gpus, count, &list);
        enum mt_status status =
            fail(MT_NO_DEVICE,
                 "the bundle was tuned on %s, but this is %s (compute capability %d.%d, %d SMs): tune and export on "
                 "this GPU, or pass MT_ALLOW_OTHER_GPU",
                 str_text(&list), dev->name, dev->cc / 10, dev->cc % 10, dev->sm_count);
        str_release(&list);
        return status;
    }
    for (int i = 0; i < count; i++)
        distances[i] = distance_of(&gpus[i], dev, i);
    qsort(distances, (size_t)count, sizeof *distances, by_distance);
    for (int i = 0; i < count; i++)
        order[i] = distances[i].number;
    *found = count;
    return MT_OK;
}

enum mt_status gpus_fail(const struct bundle_fingerprint *gpus, int count, const struct device *dev) {
    struct str list = {0};
    gpus_print(gpus, count, &list);
    enum mt_status status =
        fail_context(MT_NO_DEVICE, "nothing that the bundle has, for %s, runs on %s (compute capability %d.%d, %d SMs)",
                     str_text(&list), dev->name, dev->cc / 10, dev->cc % 10, dev->sm_count);
    str_release(&list);
    return status;
}

/* ---- what it lacks ---- */

enum { STAND_INS = 2 /* of a family, at the most */ };

/* The text of a configuration, which the bundle owns. */
static const char *config_text(struct bundle *bundle, const struct config *config) {
    struct str text = {0};
    char *own = NULL;
    config_format(config, &text);
    if (str_status(&text) == MT_OK && (own = bundle_alloc(bundle, text.length + 1)))
        memcpy(own, text.data, text.length + 1);
    str_release(&text);
    return own;
}

/* A row for the formats of each layer. */
static enum mt_status config_add(struct bundle *bundle, const struct config *config, struct bundle_build *list,
                                 int *count) {
    const char *text = config_text(bundle, config);
    if (!text)
        return MT_FAILURE;
    for (int i = 0; i < bundle->layer_count; i++) {
        const struct bundle_layer *layer = &bundle->layers[i];
        list[(*count)++] =
            (struct bundle_build){config->family->name, text, layer->scheme, layer->dtype, layer->group, ""};
    }
    return MT_OK;
}

enum mt_status gpu_add_defaults(struct bundle *bundle, const struct device *dev) {
    const size_t most =
        (size_t)bundle->fallback_count + (size_t)bundle->layer_count * (size_t)(STAND_INS * FAMILY_COUNT);
    struct bundle_build *list = bundle_alloc(bundle, most * sizeof *list);
    struct config config;
    int count = bundle->fallback_count, kept = 0;
    enum mt_status status = list ? MT_OK : MT_FAILURE;
    if (status == MT_OK && count)
        memcpy(list, bundle->fallbacks, (size_t)count * sizeof *list);
    for (int i = 0; family_list()[i]; i++) {
        const struct family *family = family_list()[i];
        if (!family->quantised || !family_runs_on(family, dev->cc) || !family_runs_on(family, bundle->fingerprint.cc))
            continue;
        for (int number = 0; status == MT_OK && number < STAND_INS && family_stand_in(family, number, &config);
             number++)
            status = config_add(bundle, &config, list, &count);
    }
    if (status != MT_OK)
        return status;
    qsort(list, (size_t)count, sizeof *list, bundle_by_build);
    for (int i = 0; i < count; i++)
        if (i == 0 || bundle_by_build(&list[i], &list[i - 1]) != 0)
            list[kept++] = list[i];
    bundle->fallbacks = list;
    bundle->fallback_count = kept;
    return MT_OK;
}
