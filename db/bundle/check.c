#define XXH_INLINE_ALL
#include "private.h"
#include "runtime/base/str.h"
#include "runtime/base/visible.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define MARK        "mixtune bundle seal: "
#define BLANK       "00000000000000000000000000000000"
#define MARK_LENGTH (sizeof MARK - 1)
#define HEX         (BUNDLE_NAME_TEXT - 1)

const char bundle_blank_seal[] = MARK BLANK;

static void hash_text(XXH128_hash_t hash, char out[BUNDLE_NAME_TEXT]) {
    snprintf(out, BUNDLE_NAME_TEXT, "%016llx%016llx", (unsigned long long)hash.high64, (unsigned long long)hash.low64);
}

void bundle_image_name(const char *built, const void *data, size_t size, char out[BUNDLE_NAME_TEXT]) {
    /* Of two hashes of one length: no text and bytes look like others. */
    const XXH128_hash_t parts[2] = {XXH3_128bits(built, strlen(built)), XXH3_128bits(data, size)};
    hash_text(XXH3_128bits(parts, sizeof parts), out);
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
    char *hash = seal_find(file, size), text[BUNDLE_NAME_TEXT];
    if (!hash)
        return false;
    hash_text(XXH3_128bits(file, size), text);
    memcpy(hash, text, HEX);
    return true;
}

bool bundle_unseal(void *file, size_t size) {
    char *hash = seal_find(file, size), kept[HEX], text[BUNDLE_NAME_TEXT];
    if (!hash)
        return false;
    memcpy(kept, hash, HEX);
    memcpy(hash, BLANK, HEX);
    hash_text(XXH3_128bits(file, size), text);
    return !memcmp(kept, text, HEX);
}

/* ---- memory ---- */

/* Rows have many short texts: they share blocks. */
struct bundle_block {
    struct bundle_block *next;
    size_t used, room;
    _Alignas(16) char bytes[];
};
enum { BLOCK_BYTES = 1 << 16 };

void *bundle_alloc(struct bundle *bundle, size_t size) {
    const size_t rounded = (size + 15) / 16 * 16;
    struct bundle_block *block = bundle->owned;
    if (!block || block->room - block->used < rounded) {
        const size_t room = rounded > BLOCK_BYTES ? rounded : BLOCK_BYTES;
        block = mem_alloc(sizeof *block + room);
        if (!block)
            return NULL;
        *block = (struct bundle_block){.next = bundle->owned, .room = room};
        bundle->owned = block;
    }
    block->used += rounded;
    return block->bytes + block->used - rounded;
}

void bundle_release(struct bundle *bundle) {
    while (bundle->owned) {
        struct bundle_block *next = bundle->owned->next;
        free(bundle->owned);
        bundle->owned = next;
    }
    *bundle = (struct bundle){0};
}

/* ---- sizes and texts ---- */

static bool is_count(int count) {
    return count >= 0 && count <= BUNDLE_MOST_ENTRIES;
}

/* Of all GPU types together. Images that several have are counted where they are written (write.c). */
static enum mt_status counts_check(const struct bundle *bundles, int count) {
    long layers = 0, entries = 0, times = 0, variants = 0, fallbacks = 0;
    for (const struct bundle *b = bundles; b < bundles + count; b++) {
        if (!is_count(b->layer_count) || !is_count(b->entry_count) || !is_count(b->time_count) ||
            !is_count(b->variant_count) || !is_count(b->fallback_count) || b->image_count < 0 ||
            b->image_count > BUNDLE_MOST_IMAGES)
            return fail(MT_FAILURE, "the bundle has more rows for %s than a bundle can hold: export fewer",
                        b->fingerprint.gpu);
        layers += b->layer_count;
        entries += b->entry_count;
        times += b->time_count;
        variants += b->variant_count;
        fallbacks += b->fallback_count;
        if (!b->layer_count)
            return fail(MT_FAILURE, "the bundle has no layer for %s", b->fingerprint.gpu);
    }
    const struct {
        const char *what;
        long count, most;
    } counts[] = {{"layers", layers, BUNDLE_MOST_LAYERS},
                  {"entries", entries, BUNDLE_MOST_ENTRIES},
                  {"times", times, BUNDLE_MOST_ENTRIES},
                  {"variants", variants, BUNDLE_MOST_BUILDS},
                  {"fallbacks", fallbacks, BUNDLE_MOST_BUILDS}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (counts[i].count > counts[i].most)
            return fail(MT_FAILURE, "the bundle has %ld %s, and %ld is the most: export fewer", counts[i].count,
                        counts[i].what, counts[i].most);
    return MT_OK;
}

/* Names go into sentences and on to terminals: no controls, and whole characters. */
static enum mt_status text_check(const char *text, const char *what, int row) {
    if (!text)
        return fail(MT_FAILURE, "row %d of the bundle's %s lacks a text", row, what);
    const size_t length = strnlen(text, BUNDLE_MOST_TEXT + 1);
    if (length > BUNDLE_MOST_TEXT)
        return fail(MT_FAILURE, "row %d of the bundle's %s has a text of more than %d bytes", row, what,
                    BUNDLE_MOST_TEXT);
    return text_is_visible(text, length) ? MT_OK
                                         : fail(MT_FAILURE,
                                                "row %d of the bundle's %s has a text with characters that cannot be "
                                                "seen",
                                                row, what);
}

static enum mt_status texts_check(const char *const *texts, int count, const char *what, int row) {
    enum mt_status status = MT_OK;
    for (int i = 0; status == MT_OK && i < count; i++)
        status = text_check(texts[i], what, row);
    return status;
}
#define TEXTS_CHECK(what, row, ...)                                                                                    \
    texts_check((const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), what, \
                row)

static enum mt_status builds_texts(const struct bundle_build *builds, int count, const char *what) {
    enum mt_status status = MT_OK;
    for (int i = 0; status == MT_OK && i < count; i++)
        status = TEXTS_CHECK(what, i, builds[i].family, builds[i].config, builds[i].scheme, builds[i].dtype,
                             builds[i].image_hash);
    return status;
}

static enum mt_status all_texts(const struct bundle *b) {
    enum mt_status status = MT_OK;
    for (int i = 0; status == MT_OK && i < b->layer_count; i++)
        status =
            TEXTS_CHECK("layers", i, b->layers[i].name, b->layers[i].model, b->layers[i].scheme, b->layers[i].dtype);
    for (int i = 0; status == MT_OK && i < b->entry_count; i++)
        status = TEXTS_CHECK("entries", i, b->entries[i].family, b->entries[i].config, b->entries[i].image_hash);
    for (int i = 0; status == MT_OK && i < b->time_count; i++)
        status = TEXTS_CHECK("times", i, b->times[i].family, b->times[i].config);
    for (int i = 0; status == MT_OK && i < b->image_count; i++)
        status = TEXTS_CHECK("images", i, b->images[i].hash, b->images[i].built);
    if (status == MT_OK)
        status = builds_texts(b->variants, b->variant_count, "variants");
    return status == MT_OK ? builds_texts(b->fallbacks, b->fallback_count, "fallbacks") : status;
}

/* ---- contradictions ---- */

/* Rows of any kind in the order of their keys, so that equals are neighbours: everything is looked up by halving. */
struct index {
    const void **row;
    int count;
};

static enum mt_status index_make(const void *rows, int count, size_t bytes, int (*compare)(const void *, const void *),
                                 struct index *out) {
    *out = (struct index){mem_alloc((size_t)count * sizeof *out->row), count};
    if (!out->row)
        return MT_FAILURE;
    for (int i = 0; i < count; i++)
        out->row[i] = (const char *)rows + (size_t)i * bytes;
    qsort(out->row, (size_t)count, sizeof *out->row, compare);
    return MT_OK;
}

/* The second of two equal rows; NULL: no two are. */
static const void *index_twin(const struct index *index, int (*compare)(const void *, const void *)) {
    for (int i = 1; i < index->count; i++)
        if (!compare(&index->row[i - 1], &index->row[i]))
            return index->row[i];
    return NULL;
}

static const void *index_find(const struct index *index, const void *like, int (*compare)(const void *, const void *)) {
    const void **found = bsearch(&like, index->row, (size_t)index->count, sizeof *index->row, compare);
    return found ? *found : NULL;
}

/* qsort() and bsearch() give addresses of elements, which are addresses of rows. */
#define ROWS(type, a, b) const struct type *x = *(const struct type *const *)(a), *y = *(const struct type *const *)(b)
#define DIFFER_INT(member)                                                                                             \
    if (x->member != y->member)                                                                                        \
    return x->member < y->member ? -1 : 1
#define DIFFER_TEXT(member)                                                                                            \
    if (strcmp(x->member, y->member) != 0)                                                                             \
    return strcmp(x->member, y->member)

static int by_layer(const void *a, const void *b) {
    ROWS(bundle_layer, a, b);
    DIFFER_TEXT(name);
    DIFFER_TEXT(model);
    DIFFER_TEXT(scheme);
    DIFFER_TEXT(dtype);
    DIFFER_INT(tp);
    DIFFER_INT(n);
    DIFFER_INT(k);
    DIFFER_INT(group);
    DIFFER_INT(rows8);
    return 0;
}

static int by_entry(const void *a, const void *b) {
    ROWS(bundle_entry, a, b);
    return bundle_by_entry(x, y);
}

static int by_time(const void *a, const void *b) {
    ROWS(bundle_time, a, b);
    return bundle_by_time(x, y);
}

static int by_formats(const void *a, const void *b) {
    ROWS(bundle_build, a, b);
    DIFFER_TEXT(family);
    DIFFER_TEXT(scheme);
    DIFFER_TEXT(dtype);
    DIFFER_INT(group);
    return 0;
}

static int by_build(const void *a, const void *b) {
    ROWS(bundle_build, a, b);
    const int order = by_formats(a, b);
    if (order)
        return order;
    DIFFER_TEXT(config);
    return 0;
}

static int by_hash(const void *a, const void *b) {
    ROWS(bundle_image, a, b);
    DIFFER_TEXT(hash);
    return 0;
}

/* All names lead somewhere, or there are no images and no names. */
static bool image_named(const struct index *images, const char *hash) {
    const struct bundle_image wanted = {.hash = hash};
    return images->count ? index_find(images, &wanted, by_hash) != NULL : !*hash;
}

/* Packed ones are looked into when they are unpacked. */
static enum mt_status images_check(const struct bundle *b, const struct index *images) {
    size_t total = 0;
    for (int i = 0; i < b->image_count; i++) {
        char name[BUNDLE_NAME_TEXT];
        const struct bundle_image *image = &b->images[i];
        if (image->size < 1 || image->size > BUNDLE_MOST_IMAGE)
            return fail(MT_FAILURE, "kernel image %s has %zu bytes; it can have 1 to %d", image->hash, image->size,
                        BUNDLE_MOST_IMAGE);
        if (image->data)
            bundle_image_name(image->built, image->data, image->size, name);
        if (image->data && strcmp(name, image->hash) != 0)
            return fail(MT_FAILURE, "kernel image %s of the bundle has other bytes, whose name would be %s",
                        image->hash, name);
        total += image->size;
        if (total > BUNDLE_MOST_UNPACKED)
            return fail(MT_FAILURE, "the kernel images of the bundle have more than %d bytes together",
                        BUNDLE_MOST_UNPACKED);
    }
    const struct bundle_image *twin = index_twin(images, by_hash);
    return twin ? fail(MT_FAILURE, "the bundle has image %s twice", twin->hash) : MT_OK;
}

static bool time_good(double ns) {
    return isfinite(ns) && ns >= BUNDLE_LEAST_NS && ns <= BUNDLE_MOST_NS;
}

static bool fp16_named(const char *family) {
    return !strcmp(family, "cublas") || !strcmp(family, "cublaslt-best") || !strcmp(family, "f16");
}

static enum mt_status entry_check(const struct bundle *b, int i, const struct index *images) {
    const struct bundle_entry *e = &b->entries[i];
    if (e->layer < 0 || e->layer >= b->layer_count)
        return fail(MT_FAILURE, "bundle entry %d belongs to layer %d, of which there are %d", i, e->layer,
                    b->layer_count);
    const char *layer = b->layers[e->layer].name;
    if (e->kind < BUNDLE_KERNEL || e->kind > BUNDLE_INVARIANT)
        return fail(MT_FAILURE, "bundle entry %d, layer %s, M %d is of no kind", i, layer, e->m);
    if (e->quantize_ns != 0 && (e->kind == BUNDLE_FP16 || !time_good(e->quantize_ns)))
        return fail(MT_FAILURE, "bundle entry %d, layer %s, M %d: its quantisation takes %g ns", i, layer, e->m,
                    e->quantize_ns);
    if (e->m < 1 || !time_good(e->expected_ns))
        return fail(
            MT_FAILURE,
            "bundle entry %d, layer %s: M is %d and its time %g ns; both must be above 0, and the time at most %g", i,
            layer, e->m, e->expected_ns, BUNDLE_MOST_NS);
    if (e->kind != BUNDLE_FP16 && !image_named(images, e->image_hash))
        return fail(MT_FAILURE, "bundle entry %d, layer %s, M %d: its kernel image \"%s\" is not in the bundle", i,
                    layer, e->m, e->image_hash);
    if (e->kind == BUNDLE_FP16 && (*e->config || *e->image_hash || !fp16_named(e->family)))
        return fail(MT_FAILURE, "bundle entry %d, layer %s, M %d: %s is no GEMM in fp16", i, layer, e->m, e->family);
    return MT_OK;
}

/* Each (layer, M) has a kernel, each layer such an entry, and those that add up in one order stand at all of its M. */
static enum mt_status layers_served(const struct bundle *b, const struct index *entries) {
    int seen = 0, count[BUNDLE_INVARIANT + 1] = {0}; /* layers, in their order; entries of the last one */
    for (int i = 0; i <= entries->count; i++) {
        const struct bundle_entry *e = i < entries->count ? entries->row[i] : NULL,
                                  *before = i > 0 ? entries->row[i - 1] : NULL;
        const bool first = !e || !before || before->layer != e->layer;
        if ((e ? e->layer : b->layer_count) > seen)
            return fail(MT_FAILURE, "the bundle has no kernel for layer %s", b->layers[seen].name);
        if (e && e->kind != BUNDLE_KERNEL && (first || before->m != e->m))
            return fail(MT_FAILURE, "the bundle has an entry of another kind and no kernel for layer %s at M %d",
                        b->layers[e->layer].name, e->m);
        if (first && count[BUNDLE_INVARIANT] && count[BUNDLE_INVARIANT] != count[BUNDLE_KERNEL])
            return fail(MT_FAILURE, "layer %s of the bundle has kernels of one order at %d of its %d M",
                        b->layers[before->layer].name, count[BUNDLE_INVARIANT], count[BUNDLE_KERNEL]);
        if (first)
            memset(count, 0, sizeof count);
        if (e)
            count[e->kind]++;
        seen = e ? e->layer + 1 : seen;
    }
    return MT_OK;
}

static enum mt_status entries_check(const struct bundle *b, const struct index *entries, const struct index *images) {
    enum mt_status status = MT_OK;
    for (int i = 0; status == MT_OK && i < b->entry_count; i++)
        status = entry_check(b, i, images);
    const struct bundle_entry *twin = status == MT_OK ? index_twin(entries, by_entry) : NULL;
    if (twin)
        return fail(MT_FAILURE, "the bundle has two entries of one kind for layer %s at M %d",
                    b->layers[twin->layer].name, twin->m);
    return status == MT_OK ? layers_served(b, entries) : status;
}

static enum mt_status layers_check(const struct bundle *b) {
    struct index layers;
    for (int i = 0; i < b->layer_count; i++) {
        const struct bundle_layer *layer = &b->layers[i];
        if (layer->n < 1 || layer->k < 1 || layer->group < 1 || layer->tp < 1)
            return fail(MT_FAILURE, "bundle layer %s: N %d, K %d, the group size %d and tp %d must be above 0",
                        layer->name, layer->n, layer->k, layer->group, layer->tp);
        if (layer->rows8 < 0 || layer->rows8 > layer->n)
            return fail(MT_FAILURE, "bundle layer %s: %d of its %d features have 8 bits", layer->name, layer->rows8,
                        layer->n);
    }
    enum mt_status status = index_make(b->layers, b->layer_count, sizeof *b->layers, by_layer, &layers);
    const struct bundle_layer *twin = status == MT_OK ? index_twin(&layers, by_layer) : NULL;
    free(layers.row);
    return twin ? fail(MT_FAILURE, "the bundle has layer %s twice", twin->name) : status;
}

/* Each stands beside an entry of its layer, and no entry says it already. */
static enum mt_status times_check(const struct bundle *b, const struct index *entries) {
    struct index times;
    for (int i = 0; i < b->time_count; i++) {
        const struct bundle_time *t = &b->times[i];
        const struct bundle_entry wanted = {.layer = t->layer, .m = t->m, .kind = BUNDLE_KERNEL};
        const struct bundle_entry *beside = index_find(entries, &wanted, by_entry);
        if (!beside || !time_good(t->expected_ns))
            return fail(MT_FAILURE, "bundle time %d, layer %d, M %d, %g ns: it must be above 0, beside a winner", i,
                        t->layer, t->m, t->expected_ns);
        if (!strcmp(beside->family, t->family) && !strcmp(beside->config, t->config))
            return fail(MT_FAILURE, "bundle time %d is that of the winner itself, at M %d", i, t->m);
    }
    enum mt_status status = index_make(b->times, b->time_count, sizeof *b->times, by_time, &times);
    const struct bundle_time *twin = status == MT_OK ? index_twin(&times, by_time) : NULL;
    free(times.row);
    return twin ? fail(MT_FAILURE, "the bundle has a time of layer %d twice, at M %d", twin->layer, twin->m) : status;
}

static enum mt_status builds_check(const struct bundle_build *builds, int count, const char *what,
                                   const struct index *images) {
    struct index index;
    for (int i = 0; i < count; i++)
        if (!image_named(images, builds[i].image_hash))
            return fail(MT_FAILURE, "the %s of family %s for %s is not in the bundle", what, builds[i].family,
                        *builds[i].scheme ? builds[i].scheme : builds[i].dtype);
    enum mt_status status = index_make(builds, count, sizeof *builds, by_build, &index);
    const struct bundle_build *twin = status == MT_OK ? index_twin(&index, by_build) : NULL;
    free(index.row);
    return twin ? fail(MT_FAILURE, "the bundle has the %s of family %s for %s twice", what, twin->family, twin->scheme)
                : status;
}

/* Those of one family for the same formats are neighbours when they are in order. */
static enum mt_status defaults_check(const struct bundle *b) {
    struct index index;
    enum mt_status status = index_make(b->fallbacks, b->fallback_count, sizeof *b->fallbacks, by_formats, &index);
    for (int i = BUNDLE_MOST_DEFAULTS; status == MT_OK && i < index.count; i++) {
        const struct bundle_build *build = index.row[i];
        if (!by_formats(&index.row[i - BUNDLE_MOST_DEFAULTS], &index.row[i]))
            status = fail(MT_FAILURE, "the bundle has more than %d default kernels of family %s for %s",
                          BUNDLE_MOST_DEFAULTS, build->family, *build->scheme ? build->scheme : build->dtype);
    }
    free(index.row);
    return status;
}

static enum mt_status fingerprint_check(const struct bundle_fingerprint *f) {
    if (f->layout < 1)
        return fail(MT_FAILURE, "the bundle does not say in which layout its kernels for %s read weights", f->gpu);
    if (f->cc < 10 || f->cc > 999 || f->sm_count < 1 || f->sm_count > 4096 || f->software < 0 || f->software > 1 ||
        f->driver_version < 0 || f->toolkit < 0)
        return fail(MT_FAILURE,
                    "the bundle is for a GPU that cannot be: compute capability %d.%d, %d SMs, driver %d, NVRTC %d",
                    f->cc / 10, f->cc % 10, f->sm_count, f->driver_version, f->toolkit);
    return MT_OK;
}

enum mt_status bundle_check_gpus(const struct bundle_fingerprint *gpus, int count) {
    enum mt_status status = MT_OK;
    if (count < 1 || count > BUNDLE_MOST_GPUS)
        return fail(MT_FAILURE, "the bundle is for %d types of GPU; it can have 1 to %d", count, BUNDLE_MOST_GPUS);
    for (int i = 0; status == MT_OK && i < count; i++) {
        status = TEXTS_CHECK("fingerprint", i, gpus[i].gpu, gpus[i].template_hash);
        if (status == MT_OK)
            status = fingerprint_check(&gpus[i]);
        for (int j = 0; status == MT_OK && j < i; j++)
            if (gpus[i].cc == gpus[j].cc && gpus[i].sm_count == gpus[j].sm_count && !strcmp(gpus[i].gpu, gpus[j].gpu))
                status = fail(MT_FAILURE, "the bundle has %s with %d SMs twice", gpus[i].gpu, gpus[i].sm_count);
    }
    return status;
}

/* All but what is said of several types. */
static enum mt_status rows_check(const struct bundle *b) {
    struct index images = {0}, entries = {0};
    enum mt_status status = all_texts(b);
    if (status == MT_OK)
        status = index_make(b->images, b->image_count, sizeof *b->images, by_hash, &images);
    if (status == MT_OK)
        status = index_make(b->entries, b->entry_count, sizeof *b->entries, by_entry, &entries);
    if (status == MT_OK)
        status = images_check(b, &images);
    if (status == MT_OK)
        status = layers_check(b);
    if (status == MT_OK)
        status = entries_check(b, &entries, &images);
    if (status == MT_OK)
        status = times_check(b, &entries);
    if (status == MT_OK)
        status = builds_check(b->variants, b->variant_count, "winner", &images);
    if (status == MT_OK)
        status = builds_check(b->fallbacks, b->fallback_count, "default kernel", &images);
    if (status == MT_OK)
        status = defaults_check(b);
    free(images.row);
    free(entries.row);
    return status;
}

enum mt_status bundle_check_all(const struct bundle *bundles, int count) {
    struct bundle_fingerprint gpus[BUNDLE_MOST_GPUS];
    for (int i = 0; i < count && i < BUNDLE_MOST_GPUS; i++)
        gpus[i] = bundles[i].fingerprint;
    enum mt_status status = bundle_check_gpus(gpus, count);
    if (status == MT_OK)
        status = counts_check(bundles, count);
    for (int i = 0; status == MT_OK && i < count; i++)
        status = rows_check(&bundles[i]);
    return status;
}

enum mt_status bundle_check(const struct bundle *b) {
    return bundle_check_all(b, 1);
}
