/* Many kernels compiled on all cores. */
#ifndef MT_COMPILE_POOL_H
#define MT_COMPILE_POOL_H

#include "compile.h"

/* One request is finished. The image is the callee's from here on (empty when `status` is not MT_OK; then
 * fail_message() has the sentence). Calls come one at a time, from any thread and in any order. False stops: requests
 * that have not begun are left out, those that are being compiled still come here. */
typedef bool (*compile_done)(void *user, int index, enum mt_status status, struct image *image);

/* Compiles requests[0 .. count) with `threads` threads (0: one per core) and returns when all are done. NVRTC compiles
 * in parallel in one process, so threads do as well as processes would. MT_INTERRUPTED when `done` stopped it. */
enum mt_status compile_many(const struct compile_request *requests, int count, int threads, compile_done done,
                            void *user);

#endif
