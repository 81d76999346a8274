/* bundle_seeds FOLDER: where fuzz_bundle begins. FOLDER/bundle.world is a small bundle for soft:a100-sxm-80g, which the
 * fuzzer changes; FOLDER/bundle has inputs, as fuzz_bundle.c reads them. */
#include "db/bundle/private.h"
#include "runtime/base/file.h"
#include "tests/device/parts.h"
#include <stdio.h>
#include <stdlib.h>

enum { KIND_FILE, KIND_PAGES, KIND_IMAGE, KIND_ROWS };

static const struct bundle_layer layers[] = {
    {"a", "t", 1, 24, 128, 128, 0, "w4a8", "fp16"},
    {"b", "t", 1, 40, 128, 128, 0, "w4a8", "fp16"},
};
#define CONFIG "tile_n=32,tile_m=8,stages=2,warps_n=2,order=0"
#define OTHER  "tile_n=32,tile_m=8,stages=3,warps_n=2,order=0"

static struct device dev;

static void fill(struct parts *p) {
    struct problem narrow;
    parts_init(p, &dev, layers, 2);
    narrow = parts_problem(&layers[0]);
    parts_entry(p, 0, 1, "sm80", CONFIG, 1000);
    parts_entry(p, 0, 16, "sm80", CONFIG, 2000);
    p->entries[p->bundle.entry_count++] =
        (struct bundle_entry){0, 16, BUNDLE_FP16, "cublas", "", "", 1900, BUNDLE_MODELLED, 0};
    parts_entry(p, 1, 16, "sm80", CONFIG, 2500); /* the same image */
    p->times[p->bundle.time_count++] =
        (struct bundle_time){1, 16, "sm80", parts_text(p, "sm80", OTHER), 2600, BUNDLE_MODELLED};
    p->fallbacks[p->bundle.fallback_count++] =
        (struct bundle_build){"sm80", parts_text(p, "sm80", CONFIG), "w4a8", "fp16", 128, p->entries[0].image_hash};
    p->variants[p->bundle.variant_count++] =
        (struct bundle_build){"sm80", parts_text(p, "sm80", CONFIG), "w4a8", "fp16", 128, p->entries[0].image_hash};
    parts_quantize(p, &narrow);
}

static void put(const char *folder, const char *name, int kind, const void *data, size_t size) {
    struct str seed = {0}, path = {0};
    str_append_bytes(&seed, &(char){(char)kind}, 1);
    str_append_bytes(&seed, data, size);
    str_printf(&path, "%s/bundle/%s", folder, name);
    take(file_write_atomic(path.data, seed.data, seed.length));
    str_release(&seed);
    str_release(&path);
}

static void put_bundle(const char *folder, const char *name, const struct bundle *bundles, int count) {
    struct str path = {0}, file = {0}, other = {0};
    char digest[BUNDLE_DIGEST_TEXT];
    str_printf(&path, "%s/bundle.world", folder);
    take(bundle_write_all(path.data, bundles, count, digest));
    take(file_read(path.data, &file));
    str_printf(&other, "%s.pages", name);
    put(folder, name, KIND_FILE, file.data, file.length);
    put(folder, other.data, KIND_PAGES, file.data, file.length);
    str_release(&path);
    str_release(&file);
    str_release(&other);
}

int main(int argc, char **argv) {
    static struct parts parts;
    struct bundle bare;
    if (argc != 2) {
        fprintf(stderr, "Usage: bundle_seeds FOLDER\n");
        return 64;
    }
    take(device_open(&dev, "soft:a100-sxm-80g"));
    fill(&parts);
    bare = parts.bundle;
    struct bundle_entry entries[MOST_PARTS];
    struct bundle_build variants[MOST_PARTS], fallbacks[MOST_PARTS];
    bare.entries = memcpy(entries, parts.entries, sizeof entries);
    bare.variants = memcpy(variants, parts.variants, sizeof variants);
    bare.fallbacks = memcpy(fallbacks, parts.fallbacks, sizeof fallbacks);
    bare.image_count = 0;
    for (int i = 0; i < MOST_PARTS; i++)
        entries[i].image_hash = variants[i].image_hash = fallbacks[i].image_hash = "";
    put_bundle(argv[1], "bare", &bare, 1);
    struct bundle several[3] = {bare, parts.bundle, parts.bundle}; /* types of GPU */
    several[0].fingerprint.gpu = "another";
    several[0].fingerprint.cc = 90;
    several[2].fingerprint.gpu = "a third";
    put_bundle(argv[1], "several", several, 3);
    put_bundle(argv[1], "whole", &parts.bundle, 1);
    for (int i = 0; i < parts.bundle.image_count; i++) {
        struct str image = {0};
        char name[16];
        snprintf(name, sizeof name, "image%d", i);
        str_append_bytes(&image, &(char){(char)i}, 1);
        str_append_bytes(&image, parts.images[i].data, parts.images[i].size);
        put(argv[1], name, KIND_IMAGE, image.data, image.length);
        str_release(&image);
    }
    /* Which table, row and column, what, and then a number or a text with its 0. */
    static const char rows[] = "\1\1\1\0\7\0\0\0"
                               "\2\1\4\2tile_n=32\0"
                               "\1\0\7\3w8a8";
    put(argv[1], "rows", KIND_ROWS, rows, sizeof rows);
    parts_release(&parts);
    device_close(&dev);
    return 0;
}
