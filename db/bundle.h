/* The bundle: the winners of one GPU type in one file, which a serving engine dispatches from.
 *
 * A small SQLite database (tables fingerprint, layer, entry, split_time, variant, fallback, image) that is written
 * once, by atomic rename, and read whole or not at all: a checksum over every byte of the file is checked before SQLite
 * sees it, and each kernel image has its own. Plain values only; the meaning of family and config texts is the
 * runtime's. */
#ifndef MT_BUNDLE_H
#define MT_BUNDLE_H

#include "runtime/base/status.h"
#include <stddef.h>

#define BUNDLE_VERSION 2 /* PRAGMA user_version: another version is refused */

/* What the winners were found on, and with. */
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

enum bundle_kind { BUNDLE_KERNEL, BUNDLE_CUBLAS };
enum bundle_origin { BUNDLE_MEASURED, BUNDLE_MODELLED };

/* The fastest of its kind for one layer at one M. Every (layer, M) has a BUNDLE_KERNEL entry; where cuBLAS in `dtype`
 * was faster it has a BUNDLE_CUBLAS entry too (family "cublas" or "cublaslt-best", config "", image_hash ""). */
struct bundle_entry {
    int layer; /* index into layers */
    int m;
    enum bundle_kind kind;
    const char *family, *config; /* canonical text of config_format(), launch knobs included */
    const char *image_hash;
    double expected_ns; /* median of the GEMM alone, in the state of the caches that winners are told in; > 0 */
    enum bundle_origin origin;
};

/* What a layer takes with the winner of the same layer's next lower or next higher rows8 at the same M: it tells what
 * runs with a number between them. Never faster than the layer's own entry by more than what counts as a tie. */
struct bundle_split_time {
    int layer, m;                /* as in an entry */
    const char *family, *config; /* as the other rows8 has it in its entry */
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

/* A fat binary, referred to by its hash. Any number of entries may share one. */
struct bundle_image {
    const char *hash;
    const void *data;
    size_t size;
    int registers, spill_bytes, smem_static; /* what the cubin says: members of the same names of struct image */
};

struct bundle {
    struct bundle_fingerprint fingerprint;
    const struct bundle_layer *layers;
    const struct bundle_entry *entries;
    const struct bundle_split_time *split_times;
    /* Winners for other formats than those of the layer that they won in: a layer of one width has no kernels for
     * both. `config` is the winner's, also where a knob had to change with the formats. */
    const struct bundle_build *variants;
    /* What is used where no layer is near: the default configuration of a family. Family "quantize" is the activation
     * quantisation (scheme "", config ""). */
    const struct bundle_build *fallbacks;
    const struct bundle_image *images; /* each hash once; every hash that is referred to */
    int layer_count, entry_count, split_time_count, variant_count, fallback_count, image_count;
    /* What bundle_release() frees. Zero in a bundle that is to be written: it stays the caller's. */
    void **owned;
    int owned_count;
    size_t owned_capacity;
};

/* Writes to a temporary beside `path`, then renames. MT_FAILURE if the bundle contradicts itself (an index or a hash
 * that leads nowhere, an entry twice, no kernel for a layer) or the file cannot be written; then an old file stays as
 * it was. */
enum mt_status bundle_write(const char *path, const struct bundle *bundle);

/* Reads all of it or nothing. MT_FAILURE with one sentence for a file that is missing, truncated, changed in any byte,
 * no bundle, of another version, or contradictory. Entries come ordered by layer, M and kind. */
enum mt_status bundle_read(const char *path, struct bundle *out);
void bundle_release(struct bundle *bundle);

#endif
