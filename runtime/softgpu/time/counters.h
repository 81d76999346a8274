/* What a launch did, counted: what the time model reads. Sums over the CTAs that were executed. */
#ifndef SG_TIME_COUNTERS_H
#define SG_TIME_COUNTERS_H

#include "runtime/softgpu/ptx/insn.h"

struct sg_counters {
    uint64_t warp_instructions, lane_instructions;
    uint64_t pipe[SG_PIPE_COUNT]; /* warp instructions of PTX per pipe */
    /* The same in machine code (profile/regions.h), waits for others left out; where there is none, those of PTX. */
    uint64_t machine_instructions, machine_pipe[SG_PIPE_COUNT];
    uint64_t mma_ops_int8, mma_ops_f16, mma_ops_other; /* multiply-accumulates done by mma/wgmma */
    uint64_t shared_wavefronts;                        /* cycles of the shared-memory pipe, bank conflicts included */
    uint64_t shared_conflicts;                         /* of these, beyond the minimum */
    uint64_t global_requests, global_sectors, global_bytes_read, global_bytes_written; /* sector = 32 bytes */
    uint64_t async_bytes; /* of global_bytes_read, by cp.async and bulk copies */
    uint64_t barriers, atomics;
    uint64_t max_inflight_bytes;    /* most bytes of asynchronous copies in flight in one CTA */
    uint64_t spill_accesses;        /* local loads and stores */
    uint64_t max_warp_instructions; /* of machine code, of the longest warp: for the latency bound */
};
/* Adds one of them `weight` times; the members that are maxima stay maxima. */
void counters_add(struct sg_counters *sum, const struct sg_counters *one, uint64_t weight);

#endif
