/* A launch: what a kernel is started with, and the fault that may end it. */
#ifndef SG_WARP_LAUNCH_H
#define SG_WARP_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- global memory: owned by the driver, looked up by the machine on every access ---- */
struct sg_alloc {
    uint64_t base; /* device address; equal to the host address of the bytes */
    uint64_t size; /* requested bytes: one byte beyond is out of bounds */
    uint32_t id;
};
/* Sorted by base, no overlap, gaps between them. Replaced as a whole while nothing runs. */
struct sg_memory {
    const struct sg_alloc *alloc;
    int count;
};

enum sg_fault_kind {
    SG_FAULT_NONE,
    SG_FAULT_OUT_OF_BOUNDS,
    SG_FAULT_MISALIGNED,
    SG_FAULT_UNINITIALIZED,
    SG_FAULT_RACE,
    SG_FAULT_DIVERGENT_BARRIER,
    SG_FAULT_DEADLOCK,
    SG_FAULT_TIMEOUT,
    SG_FAULT_TRAP,
    SG_FAULT_ASSERT,
    SG_FAULT_UNSUPPORTED,
    SG_FAULT_ASYNC,
    SG_FAULT_LAUNCH
};
struct sg_fault {
    enum sg_fault_kind kind;
    char text[1024]; /* one sentence: kernel, CTA, warp, lane, PTX line and instruction, address, what is wrong */
};

enum { MAX_CLUSTER = 16 }; /* CTAs */

/* How many a grid, a block or a cluster has; UINT64_MAX where they are more than 64 bits count. */
static inline uint64_t sg_volume(const uint32_t size[3]) {
    uint64_t all;
    return __builtin_mul_overflow((uint64_t)size[0] * size[1], size[2], &all) ? UINT64_MAX : all;
}

/* Bytes that a launch moved from and to one allocation. */
struct sg_traffic {
    uint64_t read, written;
};

struct sg_function;
struct expansion;
struct sg_launch {
    const struct sg_function *function;
    const void *params; /* param_bytes of them */
    uint32_t grid[3], block[3], cluster[3];
    uint32_t shared_dynamic;
    uint32_t registers;                /* of a thread at the start; 0: unknown, then setmaxnreg is not watched */
    const struct expansion *expansion; /* of its PTX to machine code (profile/regions.h); NULL: there is none */
    const struct sg_memory *memory;
    int host_threads;               /* CTAs run in parallel over these */
    int resident_ctas;              /* CTAs that may wait for each other at a time, >= 1 (occupancy x SMs) */
    uint32_t sm_count;              /* for %nsmid */
    uint64_t seed;                  /* order of warps */
    bool eager_async;               /* asynchronous copies land at once instead of at the last moment */
    bool strict;                    /* shadow memory: races, uninitialised reads */
    uint64_t max_warp_instructions; /* per warp, then SG_FAULT_TIMEOUT; 0: no limit */
    /* Estimate: run only these CTA columns (blockIdx.x, blockIdx.y; every blockIdx.z), in order, on one thread, with
     * global writes kept in a private overlay: memory is not changed. The columns of a cluster stand together, x first.
     * NULL: run everything. */
    const uint32_t (*sample)[2];
    int sample_count;
    struct sg_traffic *traffic; /* added to, one for each of memory->alloc; NULL: not asked for */
};

#endif
