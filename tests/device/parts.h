/* What a bundle points to while a test puts one together for the device that it runs on. */
#ifndef TEST_PARTS_H
#define TEST_PARTS_H

#include "db/bundle/bundle.h"
#include "runtime/base/str.h"
#include "runtime/gpu/launch.h"
#include "runtime/layer/pack.h"
#include "runtime/serve/contents.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

enum { MOST_PARTS = 64 };

struct parts {
    struct device *dev;
    struct image image[MOST_PARTS];
    struct bundle_image images[MOST_PARTS];
    struct bundle_entry entries[MOST_PARTS];
    struct bundle_time times[MOST_PARTS];
    struct bundle_build variants[MOST_PARTS], fallbacks[MOST_PARTS];
    char names[MOST_PARTS][BUNDLE_NAME_TEXT];
    struct str texts[4 * MOST_PARTS];
    int text_count;
    char hash[33];
    struct bundle bundle;
};

static inline void take(enum mt_status status) {
    if (status != MT_OK)
        fail_msg("%s", fail_message());
}

static inline void parts_init(struct parts *p, struct device *dev, const struct bundle_layer *layers, int count) {
    memset(p, 0, sizeof *p);
    p->dev = dev;
    take(template_hash(p->hash));
    p->bundle = (struct bundle){.fingerprint = {.gpu = dev->name,
                                                .cc = dev->cc,
                                                .sm_count = dev->sm_count,
                                                .software = dev->software,
                                                .driver_version = dev->driver_version,
                                                .template_hash = p->hash,
                                                .layout = PACK_LAYOUT},
                                .layers = layers,
                                .layer_count = count,
                                .entries = p->entries,
                                .times = p->times,
                                .variants = p->variants,
                                .fallbacks = p->fallbacks,
                                .images = p->images};
}

static inline void parts_release(struct parts *p) {
    for (int i = 0; i < p->bundle.image_count; i++)
        image_release(&p->image[i]);
    for (int i = 0; i < p->text_count; i++)
        str_release(&p->texts[i]);
}

/* A configuration with all its knobs. */
static inline const char *parts_text(struct parts *p, const char *family, const char *text) {
    struct config config;
    assert_true(p->text_count < 4 * MOST_PARTS);
    take(config_parse(family_find(family), text, &config));
    config_format(&config, &p->texts[p->text_count]);
    return p->texts[p->text_count++].data;
}

/* Takes an image over; its name. */
static inline const char *parts_image(struct parts *p, struct image image, const struct contents_build *build) {
    char name[BUNDLE_NAME_TEXT];
    struct str *built = &p->texts[p->text_count];
    contents_built(build, built);
    bundle_image_name(built->data, image.data, image.size, name);
    for (int i = 0; i < p->bundle.image_count; i++) {
        if (!strcmp(p->images[i].hash, name)) {
            image_release(&image);
            str_clear(built);
            return p->images[i].hash;
        }
    }
    assert_true(p->bundle.image_count < MOST_PARTS);
    int at = p->bundle.image_count++;
    p->image[at] = image;
    memcpy(p->names[at], name, sizeof name);
    p->images[at] =
        (struct bundle_image){.hash = p->names[at], .built = built->data, .data = image.data, .size = image.size};
    p->text_count++;
    return p->names[at];
}

static inline struct problem parts_problem(const struct bundle_layer *layer) {
    struct problem p = {.m = 1, .n = layer->n, .k = layer->k, .group = layer->group, .rows8 = layer->rows8};
    take(problem_take_scheme(&p, layer->scheme));
    take(dtype_parse(layer->dtype, &p.dtype));
    return p;
}

static inline const char *parts_kernel(struct parts *p, const struct problem *problem, const char *family,
                                       const char *text) {
    struct config config;
    struct image image;
    take(config_parse(family_find(family), text, &config));
    take(kernel_compile(p->dev, &config, problem, &image));
    return parts_image(p, image, &(struct contents_build){config, *problem});
}

static inline void parts_entry_as(struct parts *p, enum bundle_kind kind, int layer, int m, const char *family,
                                  const char *config, double ns) {
    const struct problem problem = parts_problem(&p->bundle.layers[layer]);
    assert_true(p->bundle.entry_count < MOST_PARTS);
    p->entries[p->bundle.entry_count++] = (struct bundle_entry){.layer = layer,
                                                                .m = m,
                                                                .kind = kind,
                                                                .family = family,
                                                                .config = parts_text(p, family, config),
                                                                .image_hash = parts_kernel(p, &problem, family, config),
                                                                .expected_ns = ns,
                                                                .origin = BUNDLE_MODELLED};
}

static inline void parts_entry(struct parts *p, int layer, int m, const char *family, const char *config, double ns) {
    parts_entry_as(p, BUNDLE_KERNEL, layer, m, family, config, ns);
}

/* `built` is what is compiled for the formats of `problem` where a winner has the text `config`. */
static inline void parts_variant(struct parts *p, const struct problem *problem, const char *family, const char *config,
                                 const char *built) {
    assert_true(p->bundle.variant_count < MOST_PARTS);
    p->variants[p->bundle.variant_count++] = (struct bundle_build){
        family,         parts_text(p, family, config),          problem_scheme(problem), dtype_name(problem->dtype),
        problem->group, parts_kernel(p, problem, family, built)};
}

static inline void parts_default_as(struct parts *p, const struct problem *problem, const char *family,
                                    const char *config) {
    assert_true(p->bundle.fallback_count < MOST_PARTS);
    p->fallbacks[p->bundle.fallback_count++] = (struct bundle_build){
        family,         parts_text(p, family, config),           problem_scheme(problem), dtype_name(problem->dtype),
        problem->group, parts_kernel(p, problem, family, config)};
}

static inline void parts_default(struct parts *p, const struct problem *problem, const char *family) {
    parts_default_as(p, problem, family, "");
}

static inline void parts_quantize(struct parts *p, const struct problem *problem) {
    struct image image;
    take(kernel_compile_quantize(p->dev, problem, &image));
    p->fallbacks[p->bundle.fallback_count++] =
        (struct bundle_build){"quantize",
                              "",
                              "",
                              dtype_name(problem->dtype),
                              problem->group,
                              parts_image(p, image, &(struct contents_build){.formats = *problem})};
}

#endif
