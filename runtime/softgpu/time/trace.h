/* What the time model was given for a launch, one JSON object a line: for fitting its constants to measured times
 * (configs/devices/README.md).
 *
 *   label        what the program said of itself in SOFTGPU_TRACE_LABEL when the launch was estimated; "" if nothing
 *   kernel       its name
 *   counted, ctas, threads, ctas_per_sm, distinct, footprint, wgmma   of struct model_kernel
 *   counters     of struct sg_counters, by the names of `model_counters`
 *   seconds      what model_kernel_time() made of it */
#ifndef SG_TIME_TRACE_H
#define SG_TIME_TRACE_H

#include "model.h"

/* Every counter, in the order of the struct; the last name is NULL. */
struct model_counter {
    const char *name;
    size_t offset; /* of a uint64_t in struct sg_counters */
};
extern const struct model_counter model_counters[];

/* Appends the line to the file `path` in one write, so that lines of several processes do not mix. What goes wrong is
 * not told: a trace is no result. */
void model_trace(const char *path, const char *label, const char *name, const struct model_kernel *kernel,
                 double seconds);

#endif
