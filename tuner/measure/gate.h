/* Two helpers that timing on a real device wants, both tiny kernels (templates/gate.cu).
 *
 * The gate holds a stream back until everything that is to be timed has been queued, so that no sample holds a moment
 * in which the device waited for the host. The stamps tell at which clock a multiprocessor ran in between. */
#ifndef MT_GATE_H
#define MT_GATE_H

#include "runtime/gpu/device.h"
#include <stdbool.h>

struct gate;

/* A software device needs neither: its times hold no waiting and its clock does not change. Both kernels have run once
 * when it returns. On failure *out is NULL. */
enum mt_status gate_open(struct device *dev, struct gate **out);
/* NULL is allowed. */
void gate_close(struct gate *gate);

/* Queues the kernel that waits, and behind it the first stamp. */
enum mt_status gate_shut(struct gate *gate, CUstream stream);
/* Queues the second stamp. */
enum mt_status gate_stamp(struct gate *gate, CUstream stream);
/* Lets the stream go on. Must follow gate_shut() whatever happens in between. */
void gate_lift(struct gate *gate);

/* After the stream has come to its end: whether it really waited, and the clock between the stamps over the device's
 * highest; 1 where that is not known: between stamps that no multiprocessor made both of, or that follow too soon. */
bool gate_held(const struct gate *gate);
double gate_clock(const struct gate *gate);

#endif
