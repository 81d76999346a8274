/* What the NVIDIA Management Library tells of a GPU: opened when it is first asked, kept
 * for the life of the process, and not missed where there is none. */
#ifndef MT_NVML_H
#define MT_NVML_H

#include "runtime/base/str.h"

/* Appends one JSON object: driver, sm_mhz, memory_mhz, sm_max_mhz, power_limit_w, power_w, temperature_c, throttle
 * (the reasons as a list of names), persistence. What the library does not tell is left out; nothing at all is appended
 * without the library or without a GPU of that UUID ("GPU-xxxxxxxx-..."). */
void nvml_describe(const char *uuid, struct str *out);

/* How many processes compute on the GPU, one's own among them; -1 if unknown. Their numbers mean nothing inside a
 * container. */
int nvml_compute_processes(const char *uuid);

#endif
