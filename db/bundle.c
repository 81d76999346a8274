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
    for (int i = 0; i < bundle->entry_count; i++)
        if (bundle->entries[i].layer == index && bundle->entries[i].kind == BUNDLE_KERNEL)
            return MT_OK;
    return fail(MT_FAILURE, "the bundle has no kernel for layer %s", layer->name);
}

enum mt_status bundle_check(const struct bundle *bundle) {
    enum mt_status status = MT_OK;
    if (bundle->layer_count < 1)
        return fail(MT_FAILURE, "the bundle has no layer");
    for (int i = 0; i < bundle->image_count; i++)
        for (int j = 0; j < i; j++)
            if (!strcmp(bundle->images[i].hash, bundle->images[j].hash))
                return fail(MT_FAILURE, "the bundle has image %s twice", bundle->images[i].hash);
    for (int i = 0; status == MT_OK && i < bundle->entry_count; i++)
        status = entry_check(bundle, i);
    for (int i = 0; status == MT_OK && i < bundle->layer_count; i++)
        status = layer_check(bundle, i);
    for (int i = 0; status == MT_OK && i < bundle->fallback_count; i++)
        if (!image_exists(bundle, bundle->fallbacks[i].image_hash))
            status =
                fail(MT_FAILURE, "the default kernel of family %s is not in the bundle", bundle->fallbacks[i].family);
    return status;
}

void bundle_release(struct bundle *bundle) {
    for (int i = 0; i < bundle->owned_count; i++)
        free(bundle->owned[i]);
    free(bundle->owned);
    *bundle = (struct bundle){0};
}
