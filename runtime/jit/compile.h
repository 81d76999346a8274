/* Kernel templates -> machine code, with NVRTC (opened at run time) and an on-disk cache.
 *
 * An image is a fat binary with the cubin and the PTX of one kernel: the real driver takes the cubin, the software
 * device takes the PTX and reads registers off the cubin. The cache key is a content hash of source, headers,
 * options, architecture and NVRTC version; files are written by atomic rename, so any number of processes may share
 * the folder. */
#ifndef MT_COMPILE_H
#define MT_COMPILE_H

#include "runtime/base/status.h"
#include "runtime/base/str.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct compile_request {
    const char *template_name;  /* "gemm_sm80.cu" */
    const char *const *options; /* "-DTILE_N=128", ...; without architecture */
    int option_count;
    const char *arch; /* "sm_80" */
};

struct image {
    void *data; /* fat binary; owned, image_release() frees it */
    size_t size;
    char hash[33];   /* hex, the cache key */
    int registers;   /* per thread, from the cubin */
    int spill_bytes; /* local memory per thread, from the cubin */
    int smem_static; /* bytes */
    bool from_cache;
    bool judged;    /* of one that failed: the compiler found fault with the source, or with an option */
    double seconds; /* spent in NVRTC; 0 when from the cache */
};

/* Compiles or loads one kernel. Safe to call from many threads and processes at once.
 * MT_FAILURE with the compiler's first error when the source does not compile, and then `judged` is true; or with what
 * befell the machine (memory, files, the disk), which says nothing of the kernel: it may compile a moment later.
 * MT_NO_DEVICE when it cannot be had here: there is no usable NVRTC, or images of another NVRTC are used and it is not
 * among them. */
enum mt_status compile_kernel(const struct compile_request *request, struct image *out);
void image_release(struct image *image);

/* A hash over all templates: what tuned data is stamped with. */
enum mt_status template_hash(char out[33]);

/* The version of the NVRTC that kernels come from, as 1300 for 13.0: that of the images that are used (images.h), else
 * of the NVRTC here. */
enum mt_status nvrtc_version(int *out);

/* Appends it for people, with where it lies: "13.0, /usr/local/cuda-13.0/lib64/libnvrtc.so.13", or "images of 13.0,
 * FOLDER". */
enum mt_status nvrtc_describe(struct str *out);

/* Source text of a template (embedded in the library, or below $MIXTUNE_TEMPLATES when that is set: for changing
 * kernels without a rebuild). Appends to nothing: *text is valid for the life of the process. */
enum mt_status template_source(const char *name, const char **text);

#endif
