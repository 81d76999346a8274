/* NVRTC, opened at run time: CUDA C++ source in, machine code and PTX out. */
#ifndef MT_COMPILER_H
#define MT_COMPILER_H

#include "runtime/base/status.h"
#include "runtime/base/str.h"
#include <stdbool.h>

/* One source text without files around it. Appends to `cubin` and `ptx` (0-terminated); one run of the compiler makes
 * both. `name` is what messages call the source. MT_FAILURE with the compiler's first error: *verdict, which may be
 * NULL, is true when the compiler found fault with the source, and false when the machine was to blame, so that the
 * same source may compile a moment later. Without a usable NVRTC as compiler_find(). Any number of threads may compile
 * at once, and they do so in parallel. */
enum mt_status compiler_run(const char *name, const char *source, const char *arch, const char *const *options,
                            int option_count, struct str *cubin, struct str *ptx, bool *verdict);

struct compiler {
    int version;          /* as 1300 for 13.0 */
    const char *library;  /* the real path; valid for the life of the process */
    const char *builtins; /* likewise, of the library that it opens itself */
};

/* The NVRTC that is used. MT_NO_DEVICE without one that is usable: 12.4 or later, with its builtins; MT_FAILURE when
 * the machine was too short of memory or files to open it. */
enum mt_status compiler_find(struct compiler *out);

#endif
