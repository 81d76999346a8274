/* NVRTC, opened at run time: CUDA C++ source in, machine code and PTX out. */
#ifndef MT_COMPILER_H
#define MT_COMPILER_H

#include "runtime/base/status.h"
#include "runtime/base/str.h"

/* One source text without files around it. Appends to `cubin` and `ptx` (0-terminated); one run of the compiler makes
 * both. `name` is what messages call the source. MT_FAILURE with the compiler's first error; MT_NO_DEVICE without
 * NVRTC. Any number of threads may compile at once, and they do so in parallel. */
enum mt_status compiler_run(const char *name, const char *source, const char *arch, const char *const *options,
                            int option_count, struct str *cubin, struct str *ptx);

/* Its version as 1300 for 13.0. MT_NO_DEVICE without NVRTC. */
enum mt_status compiler_version(int *out);

#endif
