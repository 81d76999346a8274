/* The bundle: the winners of one or more GPU types in one file, which a serving engine dispatches from.
 *
 * A small SQLite database (tables fingerprint, layer, entry, time, variant, fallback, image) that is written
 * once, by atomic rename. Each GPU type has rows of its own; images are shared by their names. Who reads takes one type
 * after another, and gets nothing of the others. A checksum over every byte of the file is checked before SQLite
 * sees it, and the name of a kernel image is the hash of its bytes and of what they were built of: both tell damage,
 * not intent. So a file is believed in nothing: its size, its schema, the number of its rows and the type, size and
 * range of each value are checked, in time and memory that grow with the file. Plain values only; the meaning of family
 * and config texts is the runtime's (serve/contents.h). */
#ifndef MT_BUNDLE_H
#define MT_BUNDLE_H

#include "runtime/base/status.h"
#include <stdbool.h>
#include <stddef.h>

#define BUNDLE_VERSION 4 /* PRAGMA user_version: another version is refused */

/* The most that a file can hold, all its GPU types together: beyond what a sweep of many models makes, and read in
 * seconds. */
enum {
    BUNDLE_MOST_GPUS = 64,
    BUNDLE_MOST_BYTES = 256 << 20,    /* of the file */
    BUNDLE_MOST_IMAGE = 16 << 20,     /* of one image */
    BUNDLE_MOST_UNPACKED = 512 << 20, /* of all images together */
    BUNDLE_MOST_RATIO = 64,           /* of these to the bytes of the file; kernels shrink to a fifth or a tenth */
    BUNDLE_MOST_LAYERS = 1 << 14,
    BUNDLE_MOST_ENTRIES = 1 << 18, /* and times of other splits */
    BUNDLE_MOST_BUILDS = 1 << 16,  /* variants, and fallbacks */
    BUNDLE_MOST_DEFAULTS = 8,      /* fallbacks of one family for the same formats: a layer may try each */
    BUNDLE_MOST_IMAGES = 1 << 14,
    BUNDLE_MOST_TEXT = 1024, /* bytes of a name or a configuration */
};
#define BUNDLE_LEAST_NS 1e-3
#define BUNDLE_MOST_NS  1e15

#define BUNDLE_NAME_TEXT   33 /* name of an image: XXH3-128 in hex, and the 0 */
#define BUNDLE_DIGEST_TEXT 65 /* SHA-256 of a file in hex, as sha256sum prints it, and the 0 */

/* What the winners were found on, and with. The first three are the GPU type, which a file has once. */
struct bundle_fingerprint {
    const char *gpu;           /* name of the device, as the driver says it */
    int cc, sm_count;          /* 80 for 8.0 */
    int software;              /* 1: a software device; every time is modelled */
    int driver_version;        /* 13000 for 13.0 */
    int toolkit;               /* NVRTC version, 1300 for 13.0 */
    const char *template_hash; /* of the kernel templates */
    int layout;                /* in which all its kernels read packed weights */
};

struct bundle_layer {
    const char *name;           /* "qkv"; unique together with model, tp and all that follows */
    const char *model;          /* "llama-3.1-8b", "" for a bare shape */
    int tp;                     /* 1 without tensor parallelism */
    int n, k, group;            /* n and k after the split by tp */
    int rows8;                  /* output features that keep 8 bits */
    const char *scheme, *dtype; /* "mixed", "fp16": what its kernels are built for */
};

enum bundle_kind { BUNDLE_KERNEL, BUNDLE_FP16, BUNDLE_INVARIANT };
enum bundle_origin { BUNDLE_MEASURED, BUNDLE_MODELLED };

/* The fastest of its kind for one layer at one M. Every (layer, M) has a BUNDLE_KERNEL entry. BUNDLE_FP16 is the
 * strongest GEMM in `dtype` that was timed (family "cublas", "cublaslt-best" or "f16", mixtune's own; config "",
 * image_hash ""). A layer has it at each M where one was timed, provided that it is faster at one of them than the
 * kernel with the quantisation of its activations: it states a time, and whoever opens the bundle compares, between
 * these M, too. BUNDLE_INVARIANT is the fastest kernel that adds up in the one order that the layer has at every M
 * (runtime/family/sum_tree.h); a layer has it at each of its M, or at none. A bundle may have no images at all: then
 * each image_hash is "", and who opens it compiles. */
struct bundle_entry {
    int layer; /* index into layers */
    int m;
    enum bundle_kind kind;
    const char *family, *config; /* canonical text of config_format(), launch knobs included */
    const char *image_hash;
    double expected_ns; /* median of the GEMM alone, in the state of the caches that winners are told in; > 0 */
    enum bundle_origin origin;
    double quantize_ns; /* what quantising the activations takes before it, likewise; 0: not timed, or BUNDLE_FP16 */
};

/* What a layer takes at one of its M with a kernel that did not win there: one that won at the next lower or the next
 * higher M or rows8. These tell what runs between them. */
struct bundle_time {
    int layer, m;                /* as in an entry */
    const char *family, *config; /* as an entry of the layer, or of another split of it, has it */
    double expected_ns;          /* > 0 */
    enum bundle_origin origin;
};

/* A configuration's image for one choice of formats. */
struct bundle_build {
    const char *family, *config;
    const char *scheme, *dtype;
    int group;
    const char *image_hash;
};

/* A fat binary, referred to by its name. Any number of rows may share one. */
struct bundle_image {
    const char *hash;  /* bundle_image_name() of the rest */
    const char *built; /* what it was built of, in the runtime's words: a row that means another kernel shows */
    const void *data;  /* NULL in a bundle that was read: there it is packed, as in the file */
    size_t size;       /* bytes of the image, either way */
    const void *packed;
    size_t packed_size;
};
/* The bytes of an image, to free(). MT_FAILURE if they are damaged, or others than its name says. */
enum mt_status bundle_unpack(const struct bundle_image *image, void **out);
void bundle_image_name(const char *built, const void *data, size_t size, char out[BUNDLE_NAME_TEXT]);

/* What a file says of one GPU type. */
struct bundle {
    struct bundle_fingerprint fingerprint;
    const struct bundle_layer *layers;
    const struct bundle_entry *entries;
    const struct bundle_time *times;
    /* Winners for other formats than those of the layer that they won in: a layer of one width has no kernels for
     * both. `config` is the winner's, also where a knob had to change with the formats. */
    const struct bundle_build *variants;
    /* What is used where no layer is near, and beyond the outermost M: the configurations of a family for few and for
     * very many tokens. Family "quantize" is the activation
     * quantisation (scheme "", config ""). */
    const struct bundle_build *fallbacks;
    const struct bundle_image *images; /* each hash once; every hash that is referred to */
    int layer_count, entry_count, time_count, variant_count, fallback_count, image_count;
    /* What bundle_release() frees. NULL in a bundle that is to be written: it stays the caller's. */
    struct bundle_block *owned;
};

/* Writes `count` GPU types to a temporary beside `path`, then renames, and tells the SHA-256 of the file. MT_FAILURE if
 * one contradicts itself (an index or a hash that leads nowhere, an entry twice, no kernel for a layer), if a type
 * comes twice, if the file is larger than what is read, or if it cannot be written; then an old file stays as it was. */
enum mt_status bundle_write_all(const char *path, const struct bundle *bundles, int count,
                                char digest[BUNDLE_DIGEST_TEXT]);
/* The same of one. */
enum mt_status bundle_write(const char *path, const struct bundle *bundle);

/* A file that is open: all its bytes, in memory. */
struct bundle_source {
    const struct bundle_fingerprint *gpus; /* as they were written */
    int gpu_count;                         /* at least 1 */
    struct bundle_reader *reader;          /* owned */
};

/* Opens a file. Its checksum, header, schema and fingerprints are checked, and nothing else is looked at. MT_FAILURE
 * with one sentence for what is no file, or a file that is missing, truncated, changed in any byte, no bundle, or of
 * another version. `sha256`: what its SHA-256 must be (64 hex digits; NULL: any), which is compared before anything in
 * it is looked at; MT_USAGE if it is no digest. */
enum mt_status bundle_open(const char *path, const char *sha256, struct bundle_source *out);
/* Reads all of the GPU type number `gpu`, or nothing; of others rows are counted. MT_FAILURE for what contradicts
 * itself or is too much. Rows come ordered: entries by layer, M and kind, times by layer, M, family and config, builds
 * by family, config, scheme, dtype and group, images by hash; these stay packed, and nobody has looked into them yet.
 * Without `images` it is as if the bundle had none. The bundle stays when the source is closed. */
enum mt_status bundle_take(struct bundle_source *source, int gpu, bool images, struct bundle *out);
void bundle_close(struct bundle_source *source);

/* Opens a file, takes its first GPU type with its images, and closes it. */
enum mt_status bundle_read(const char *path, struct bundle *out);
void bundle_release(struct bundle *bundle);

/* Memory that bundle_release() frees; aligned for everything. NULL with the sentence if it is short. */
void *bundle_alloc(struct bundle *bundle, size_t size);

/* The orders in which rows come, for qsort() and bsearch(). */
int bundle_by_entry(const void *a, const void *b);
int bundle_by_time(const void *a, const void *b);
int bundle_by_build(const void *a, const void *b);

#endif
