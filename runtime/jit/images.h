/* Compiled kernels that travel: a machine runs them whatever NVRTC it has, or has none.
 *
 * $MIXTUNE_IMAGES (the command's --images) names a folder that looks like a cache: kernels/<hash>, as cache.h has it,
 * and beside it the file `nvrtc` with the version that compiled them, as "1300" for 13.0. Everything is then looked up,
 * and recorded, under that version. Such a folder is as trustworthy as whoever made it: it holds machine code. */
#ifndef MT_IMAGES_H
#define MT_IMAGES_H

#include "runtime/base/status.h"

#define IMAGES_VARIABLE "MIXTUNE_IMAGES"

/* The folder; NULL where none is used. */
const char *images_used(void);

/* The version of the NVRTC that compiled the images. MT_USAGE when the folder does not say it, or when others could
 * change what is in it (trusted.h). */
enum mt_status images_version(int *out);

#endif
