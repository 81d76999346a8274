/* From what a kernel did to the time that it would take: a roofline with waves, occupancy and latency.
 *
 * n are the counts of one CTA (mean), G the CTAs of the grid, S the SMs, o the CTAs that fit an SM, and
 * B = ceil(G / S) the CTAs of the busiest SM. The terms are, in clocks:
 *
 *   issue    B * n.machine_instructions / schedulers
 *   pipe p   B * 32 * n.machine_pipe[p] / lanes[p]  (programming guide, "arithmetic instruction throughput"; integer
 *                                                   multiply-adds share the FMA pipe, at imad_lanes at most)
 *   tensor   B * sum over types (n.macs / macs per clock) / fraction
 *                                                   (fraction is 1 for wgmma, else mma_sync_fraction)
 *   shared   B * n.shared_wavefronts                (one 128-byte wavefront per clock and SM)
 *   port     B * 32 * n.sectors / bytes per clock of one SM's L2 port
 *   l2       G * 32 * n.sectors / bytes per clock of the whole L2
 *   dram     D / (bandwidth * efficiency)
 *   latency  ceil(G / (S * o)) * max(chain, stream)
 *
 * D: the bytes that memory has to move from a cold cache. R and W are the whole traffic of reads and writes, T = R + W;
 * U is the same if each byte is read once and written once, F the bytes that are touched at all: of an allocation no
 * more than it has, and no more than its traffic. If F fits L2, D = U. If it does not, every wave of C = min(G, S * o)
 * CTAs loads its operands again, and a wave shares operands as a square of tiles does: D is the larger of U and
 * T / sqrt(C).
 *
 * chain: the longest warp alone, its instructions times warp_interval_clocks, plus one latency for every loads_in_flight
 * of its plain loads.
 * stream: Little's law for asynchronous copies, one latency for every (bytes in flight) of n.async_bytes.
 * The latency is the mean of L2's and memory's, weighted with D / T.
 *
 * Time = one memory latency, to fill the pipeline
 *      + (work^p + shared^p + l2^p + dram^p + latency^p)^(1/p), where p is overlap_exponent and l2 the larger of port and
 *        l2; work = (slots^q + tensor^q)^(1/q), where slots is the largest of issue and the pipes, and q is
 *        mma_overlap_exponent, or p in kernels with wgmma
 *      + ceil(G / (S * o)) * n.atomics * atomic_us
 *      + wgmma_setup_us for kernels with wgmma.
 *
 * The caller adds the gap between launches (launch_us, graph_node_us). configs/devices/README.md says what of this was
 * seen on hardware, and where the exponent comes from. */
#ifndef SG_TIME_MODEL_H
#define SG_TIME_MODEL_H

#include "counters.h"
#include "runtime/softgpu/profile/profile.h"
#include <stdbool.h>

/* CTAs of one kernel that fit an SM at a time. */
struct model_occupancy {
    unsigned blocks;   /* 0: the kernel cannot be launched so */
    const char *limit; /* what runs out first: "registers", "shared memory", "warps", "blocks" */
};
/* Rules of the CUDA occupancy calculator: registers are allocated per warp in granules within one of the SM's
 * partitions, shared memory in 128 bytes with a reserve per CTA. */
struct model_occupancy model_occupancy(const struct dev_profile *device, unsigned threads, unsigned registers,
                                       size_t shared_bytes);

struct model_kernel {
    const struct sg_counters *counters; /* sums over `counted` CTAs */
    uint64_t counted, ctas;             /* CTAs that were run, CTAs of the grid; counted >= 1 */
    unsigned threads;                   /* per CTA */
    unsigned ctas_per_sm;               /* >= 1 */
    uint64_t distinct;                  /* bytes moved if each is read once and written once */
    uint64_t footprint;                 /* bytes touched */
    bool wgmma;
};

enum model_term {
    MODEL_ISSUE,
    MODEL_ALU,
    MODEL_FMA,
    MODEL_HALF,
    MODEL_XU,
    MODEL_LSU,
    MODEL_FP64,
    MODEL_BRANCH,
    MODEL_TENSOR,
    MODEL_SHARED,
    MODEL_PORT,
    MODEL_L2,
    MODEL_DRAM,
    MODEL_LATENCY,
    MODEL_TERMS
};
struct model_time {
    double seconds;
    enum model_term limit;
    double term[MODEL_TERMS]; /* seconds each */
};
void model_kernel_time(const struct dev_profile *device, const struct model_kernel *kernel, struct model_time *out);
const char *model_term_name(enum model_term term);

enum model_copy { MODEL_COPY_HOST, MODEL_COPY_DEVICE, MODEL_FILL };
double model_copy_seconds(const struct dev_profile *device, enum model_copy kind, uint64_t bytes);

#endif
