#define XXH_INLINE_ALL
#include "bundle_private.h"
#include "runtime/base/str.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define MARK        "mixtune bundle seal: "
#define BLANK       "00000000000000000000000000000000"
#define MARK_LENGTH (sizeof MARK - 1)
#define HEX         (HASH_TEXT - 1)

const char bundle_blank_seal[] = MARK BLANK;

void bundle_hash(const void *data, size_t size, char out[HASH_TEXT]) {
    XXH128_hash_t hash = XXH3_128bits(data, size);
    snprintf(out, HASH_TEXT, "%016llx%016llx", (unsigned long long)hash.high64, (unsigned long long)hash.low64);
}

/* The hash behind the only mark of the file, NULL if there is none or more than one. */
static char *seal_find(void *file, size_t size) {
    char *found = memmem(file, size, MARK, MARK_LENGTH);
    if (!found)
        return NULL;
    char *end = (char *)file + size, *hash = found + MARK_LENGTH;
    if ((size_t)(end - hash) < HEX || memmem(hash, (size_t)(end - hash), MARK, MARK_LENGTH))
        return NULL;
    return hash;
}

bool bundle_seal(void *file, size_t size) {
    char *hash = seal_find(file, size), text[HASH_TEXT];
    if (!hash)
        return false;
    bundle_hash(file, size, text);
    memcpy(hash, text, HEX);
    return true;
}

bool bundle_unseal(void *file, size_t size) {
    char *hash = seal_find(file, size), kept[HEX], text[HASH_TEXT];
    if (!hash)
        return false;
    memcpy(kept, hash, HEX);
    memcpy(hash, BLANK, HEX);
    bundle_hash(file, size, text);
    return !memcmp(kept, text, HEX);
}

/* ---- contradictions ---- */

static bool image_exists(const struct bundle *bundle, const char *hash) {
    for (int i = 0; hash && i < bundle->image_count; i++)
        if (!strcmp(bundle->images[i].hash, hash))
            return true;
    return false;
}

static enum mt_status entry_check(const struct bundle *bundle, int index) {
    const struct bundle_entry *e = &bundle->entries[index];
    if (e->layer < 0 || e->layer >= bundle->layer_count)
        return fail(MT_FAILURE, "bundle entry %d belongs to layer %d, of which there are %d", index, e->layer,
                    bundle->layer_count);
    const char *layer = bundle->layers[e->layer].name;
    if (e->m < 1 || !isfinite(e->expected_ns) || e->expected_ns <= 0)
        return fail(MT_FAILURE, "bundle entry %d, layer %s: M is %d and its time %g ns; both must be above 0", index,
                    layer, e->m, e->expected_ns);
    if (e->kind == BUNDLE_KERNEL && !image_exists(bundle, e->image_hash))
        return fail(MT_FAILURE, "bundle entry %d, layer %s, M %d: its kernel image %s is not in the bundle", index,
                    layer, e->m, e->image_hash ? e->image_hash : "");
    for (int i = 0; i < index; i++) {
        const struct bundle_entry *other = &bundle->entries[i];
        if (other->layer == e->layer && other->m == e->m && other->kind == e->kind)
            return fail(MT_FAILURE, "the bundle has two entries of one kind for layer %s at M %d", layer, e->m);
    }
    return MT_OK;
}

static enum mt_status layer_check(const struct bundle *bundle, int index) {
    const struct bundle_layer *layer = &bundle->layers[index];
    if (layer->n < 1 || layer->k < 1 || layer->group < 1)
        return fail(MT_FAILURE, "bundle layer %s: N %d, K %d and the group size %d must be above 0", layer->name,
                    layer->n, layer->k, layer->group);
    if (layer->rows8 < 0 || layer->rows8 > layer->n)
        return fail(MT_FAILURE, "bundle layer %s: %d of its %d features have 8 bits", layer->name, layer->rows8,
                    layer->n);
    for (int i = 0; i < bundle->entry_count; i++)
        if (bundle->entries[i].layer == index && bundle->entries[i].kind == BUNDLE_KERNEL)
            return MT_OK;
    return fail(MT_FAILURE, "the bundle has no kernel for layer %s", layer->name);
}

/* It stands beside an entry of its layer, and no entry says it already. */
static enum mt_status split_time_check(const struct bundle *bundle, int index) {
    const struct bundle_split_time *t = &bundle->split_times[index];
    bool beside = false;
    for (int i = 0; i < bundle->entry_count; i++) {
        const struct bundle_entry *e = &bundle->entries[i];
        if (e->layer != t->layer || e->m != t->m || e->kind != BUNDLE_KERNEL)
            continue;
        beside = true;
        if (!strcmp(e->family, t->family) && !strcmp(e->config, t->config))
            return fail(MT_FAILURE, "bundle split time %d is that of the winner itself, at M %d", index, t->m);
    }
    if (!beside || !isfinite(t->expected_ns) || t->expected_ns <= 0)
        return fail(MT_FAILURE, "bundle split time %d, layer %d, M %d, %g ns: it must be above 0, beside a winner",
                    index, t->layer, t->m, t->expected_ns);
    return MT_OK;
}

static enum mt_status builds_check(const struct bundle *bundle, const struct bundle_build *builds, int count,
                                   const char *what) {
    for (int i = 0; i < count; i++)
        if (!image_exists(bundle, builds[i].image_hash))
            return fail(MT_FAILURE, "the %s of family %s for %s is not in the bundle", what, builds[i].family,
                        *builds[i].scheme ? builds[i].scheme : builds[i].dtype);
    return MT_OK;
}

enum mt_status bundle_check(const struct bundle *bundle) {
    enum mt_status status = MT_OK;
    if (bundle->layer_count < 1)
        return fail(MT_FAILURE, "the bundle has no layer");
    if (bundle->fingerprint.layout < 1)
        return fail(MT_FAILURE, "the bundle does not say in which layout its kernels read weights");
    for (int i = 0; i < bundle->image_count; i++)
        for (int j = 0; j < i; j++)
            if (!strcmp(bundle->images[i].hash, bundle->images[j].hash))
                return fail(MT_FAILURE, "the bundle has image %s twice", bundle->images[i].hash);
    for (int i = 0; status == MT_OK && i < bundle->entry_count; i++)
        status = entry_check(bundle, i);
    for (int i = 0; status == MT_OK && i < bundle->layer_count; i++)
        status = layer_check(bundle, i);
    for (int i = 0; status == MT_OK && i < bundle->split_time_count; i++)
        status = split_time_check(bundle, i);
    if (status == MT_OK)
        status = builds_check(bundle, bundle->variants, bundle->variant_count, "winner");
    if (status == MT_OK)
        status = builds_check(bundle, bundle->fallbacks, bundle->fallback_count, "default kernel");
    return status;
}

void bundle_release(struct bundle *bundle) {
    for (int i = 0; i < bundle->owned_count; i++)
        free(bundle->owned[i]);
    free(bundle->owned);
    *bundle = (struct bundle){0};
}
