/* What a device can do at best, measured on it: the limits that floors (db/schema_5.sql) are computed from.
 *
 *   name              unit            what is timed (templates/probe.cu)
 *   dram_read_load    GB/s            16-byte loads of a buffer of 4 to 12 times the L2 cache; the best size
 *   dram_read_bulk    GB/s            the same by bulk copies (compute capability 9.0)
 *   dram_write        GB/s            16-byte stores of all of it
 *   l2_read           GB/s            16-byte loads of a quarter of the L2 cache, again and again
 *   int8_mma          TOPS            mma.sync m16n8k32 on signed bytes, from registers
 *   int8_wgmma_nN     TOPS            wgmma m64nNk32 on signed bytes, weights from registers (sm_90a)
 *   f16_mma           TFLOPS          mma.sync m16n8k16, fp32 sums
 *   fma, mad, lop3    lanes/clock/SM  one instruction; `mad` is of 32-bit integers
 *   add               lanes/clock/SM  of integers; the compiler deals them out to two pipes
 *   convert           lanes/clock/SM  integer to float
 *   clock             MHz             of the SMs while `fma` ran
 *   shared_read       bytes/clock/SM  16-byte loads from shared memory
 *   shared_quad       bytes/clock/SM  the same where every quad of a warp reads the same 64 bytes: what lanes receive
 *   launch            us              from launch to launch of a kernel that does nothing
 *   graph_node        us              the same inside a graph
 *   l2_latency        ns              one thread that follows links in L2; one address addition a link is in it
 *   dram_latency      ns              the same through memory
 *
 * Rates of kernels that do not depend on memory are of the difference between a long and a short launch, so that
 * nothing but the loop counts. They are divided by the clock at which the timer saw the device run. A multiplication
 * and an addition are two operations; a GB is 1e9 bytes. Every kernel is first run on a small problem whose result is
 * known, and MT_WRONG says which one did not do its work.
 *
 * On a software device the values are what its time model gives for these kernels, so they come out as the constants
 * of the model. It does not see that links depend on each other: its latencies are divided by `loads_in_flight`. */
#ifndef MT_PROBE_H
#define MT_PROBE_H

#include "runtime/gpu/device.h"

enum { MAX_LIMITS = 32 };
struct limit {
    const char *name, *unit;
    double value;
};
struct limits {
    struct limit item[MAX_LIMITS];
    int count;
};

/* The probe goes in steps, each of which measures one limit (`fma` also tells the clock), so that one that fails costs
 * no other. All of them take half a minute on a GPU. */
int probe_steps(void);
/* The limit that a step, 0 to probe_steps() - 1, measures; NULL on a device that has no such limit. */
const char *probe_step(const struct device *dev, int step);
/* Puts the kernels into the cache. Of `dev` only the compute capability matters. */
enum mt_status probe_compile(const struct device *dev);

struct prober; /* holds the kernels and a large buffer between steps */
/* `dev` stays the caller's. */
enum mt_status prober_open(struct device *dev, struct prober **out);
/* NULL is allowed. */
void prober_close(struct prober *p);
/* Appends to `out` what the step found. */
enum mt_status prober_measure(struct prober *p, int step, struct limits *out);

/* The limit of that name, 0 if there is none. */
double limit_value(const struct limits *limits, const char *name);

#endif
