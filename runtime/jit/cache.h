/* Compiled kernels on disk: one file per image, kernels/<hash> in the cache folder, shared by any number of processes;
 * and read, never written, in a folder of images that the user named (images.h). */
#ifndef MT_CACHE_H
#define MT_CACHE_H

#include "compile.h"

/* Changes whenever the meaning of a file in the cache does: part of the hash. */
#define CACHE_VERSION 1
/* The folder of the images, in the cache and in what images.h uses. */
#define CACHE_KERNELS "kernels"

/* Fills all of `image` but `hash` and is true if a good file of that hash is there. A damaged file is warned of and not
 * used. */
bool cache_load(const char *hash, struct image *image);

/* Writes `image` under its hash. A cache that cannot be written is one warning per process, not a failure. */
void cache_store(const struct image *image);

#endif
