/* The software device's processor: runs a module of PTX, warp by warp, on the host. The driver (contexts, memory,
 * streams, time model) calls it. */
#ifndef SG_MACHINE_H
#define SG_MACHINE_H

#include "runtime/softgpu/ptx/ptx.h"
#include "runtime/softgpu/time/counters.h"
#include "runtime/softgpu/warp/launch.h"

/* ptx_parse() with all instructions that this machine has. */
struct sg_module *sg_module_parse(const char *ptx, size_t length, char *error, size_t error_size);

/* Runs to the end or the first fault. True if there was none. `counters` may be NULL. */
bool sg_run(const struct sg_launch *launch, struct sg_counters *counters, struct sg_fault *fault);

#endif
