/* Compiled kernels on disk: one file per image, kernels/<hash> in the cache folder, shared by any number of processes
 * of one user; and read, never written, in a folder of images that the user named (images.h).
 *
 * A file says itself which key it is for and what that stands for, so a copy of it under another name is not used. A
 * folder or a file that others could change is passed over (trusted.h). */
#ifndef MT_CACHE_H
#define MT_CACHE_H

#include "compile.h"

/* Changes whenever the meaning of a file in the cache does: part of the hash. */
#define CACHE_VERSION 2
/* The folder of the images, in the cache and in what images.h uses. */
#define CACHE_KERNELS "kernels"

/* Fills all of `image` but `hash` if a good file of that hash is there, whose request is `what` (all that the hash is
 * of but the source); else *found is false. A damaged file, and one that is not to be trusted, is warned of and not
 * used. MT_FAILURE if memory is short. */
enum mt_status cache_load(const char *hash, const struct str *what, struct image *image, bool *found);

/* Writes `image` under its hash. A cache that cannot be written is one warning per process, not a failure. */
void cache_store(const struct image *image, const struct str *what);

/* The cache folder, made for this user alone where it is missing. */
enum mt_status cache_make(struct str *path);

#endif
