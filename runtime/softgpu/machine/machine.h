/* The software device's processor: a PTX module that can be run, warp by warp, on the host.
 *
 * Two parts meet here: the machine (parser, interpreter, strictness), which implements these functions, and the driver
 * (contexts, memory, streams, time model), which calls them. */
#ifndef SG_MACHINE_H
#define SG_MACHINE_H

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

/* ---- modules ---- */
struct sg_module;   /* a parsed PTX text */
struct sg_function; /* one .entry of it */

/* Parses; NULL and one sentence with line and text in `error` if anything is unknown. `ptx` is copied. */
struct sg_module *sg_module_parse(const char *ptx, size_t length, char *error, size_t error_size);
void sg_module_free(struct sg_module *module);
const struct sg_function *sg_module_function(const struct sg_module *module, const char *name); /* NULL if none */
int sg_module_function_count(const struct sg_module *module);
const char *sg_module_function_name(const struct sg_module *module, int index);
/* Module-scope .global and .const variables: the driver allocates each and tells the address before the first launch.
 */
int sg_module_variable_count(const struct sg_module *module);
const char *sg_module_variable(const struct sg_module *module, int index, size_t *size, size_t *align,
                               const void **init /* NULL: zero */);
/* False for a variable that no code of the module names, such as the constants that a compiler leaves behind. */
bool sg_module_variable_named(const struct sg_module *module, int index);
void sg_module_variable_bind(struct sg_module *module, int index, uint64_t address);

struct sg_function_info {
    int param_count;
    const uint32_t *param_offset, *param_size; /* bytes, in the parameter block */
    uint32_t param_bytes;
    uint32_t shared_static, local_bytes;
    uint32_t max_threads;     /* .maxntid product, 0 if absent */
    uint32_t min_ctas_per_sm; /* .minnctapersm, 0 if absent */
    uint32_t cluster[3];      /* .reqnctapercluster, 0 if absent */
    bool opaque_pointers;     /* may load pointers from memory: its reach cannot be read off its parameters */
};
void sg_function_describe(const struct sg_function *function, struct sg_function_info *out);

/* ---- counters: what the time model reads; sums over the CTAs that were executed ---- */
enum sg_pipe {
    SG_PIPE_ALU,
    SG_PIPE_FMA,
    SG_PIPE_HALF,
    SG_PIPE_XU,
    SG_PIPE_LSU,
    SG_PIPE_FP64,
    SG_PIPE_BRANCH,
    SG_PIPE_TENSOR,
    SG_PIPE_COUNT
};
struct sg_counters {
    uint64_t warp_instructions, lane_instructions;
    uint64_t pipe[SG_PIPE_COUNT];                      /* warp instructions issued per pipe */
    uint64_t mma_ops_int8, mma_ops_f16, mma_ops_other; /* multiply-accumulates done by mma/wgmma */
    uint64_t shared_wavefronts;                        /* cycles of the shared-memory pipe, bank conflicts included */
    uint64_t shared_conflicts;                         /* of these, beyond the minimum */
    uint64_t global_requests, global_sectors, global_bytes_read, global_bytes_written; /* sector = 32 bytes */
    uint64_t async_bytes; /* of global_bytes_read, by cp.async and bulk copies */
    uint64_t barriers, atomics;
    uint64_t max_inflight_bytes;    /* most bytes of asynchronous copies in flight in one CTA */
    uint64_t spill_accesses;        /* local loads and stores */
    uint64_t max_warp_instructions; /* longest warp: for the latency bound */
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

struct sg_launch {
    const struct sg_function *function;
    const void *params; /* param_bytes of them */
    uint32_t grid[3], block[3], cluster[3];
    uint32_t shared_dynamic;
    uint32_t registers; /* of a thread at the start; 0: unknown, then setmaxnreg is not watched */
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
};

/* Runs to the end or the first fault. True if there was none. `counters` may be NULL. */
bool sg_run(const struct sg_launch *launch, struct sg_counters *counters, struct sg_fault *fault);

#endif
