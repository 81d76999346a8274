/* Where the libraries of the CUDA toolkit lie: what $CUDA_HOME names comes first, then what the loader knows, then the
 * customary place, /usr/local/cuda. A CUDA_HOME is a toolkit of any layout, pip's folder `nvidia`, or one within it. */
#ifndef MT_TOOLKIT_H
#define MT_TOOLKIT_H

#include "runtime/base/status.h"
#include "runtime/base/str.h"
#include "runtime/base/symbols.h"
#include <stdbool.h>

struct toolkit_library {
    const char *name;             /* "nvrtc" of libnvrtc.so.13 */
    const char *title;            /* for people: "NVRTC" */
    const struct symbol *symbols; /* what it must have */
    size_t count;
    void *functions; /* the struct whose members are set to them */
    /* Whether the library, whose functions are set, is good; else appends why not, without its path. May be NULL. */
    bool (*fits)(struct str *why);
};

/* Opens version 13 or 12 for good, at the first place where it opens, has all symbols and fits; appends where it really
 * lies to `path`, which may be NULL. A CUDA_HOME that cannot be used is warned of, once. MT_NO_DEVICE says why there is
 * none; MT_FAILURE what the machine was short of. */
enum mt_status toolkit_load(const struct toolkit_library *library, struct str *path);

/* Appends the real path of the library that has this function; false if it is unknown. */
bool toolkit_path(const void *function, struct str *path);

/* Appends the folder of the headers that go with the library at `path`; nothing if there are none, or memory is
 * short. */
void toolkit_headers(const char *path, struct str *folder);

#endif
