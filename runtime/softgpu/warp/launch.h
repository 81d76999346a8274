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
    uint32_t *written; /* a bit for each 4 bytes of which some were written; NULL: all were */
};
void sg_written_mark(const struct sg_alloc *a, uint64_t address, uint64_t bytes, bool written);
bool sg_written(const struct sg_alloc *a, uint64_t address, uint64_t bytes); /* all of them */
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
    SG_FAULT_LACKING, /* an instruction that this device does not have */
    SG_FAULT_ASYNC,
    SG_FAULT_LAUNCH
};
/* What is checked beyond what stops a kernel on hardware, each with its switch: X(name, word of SOFTGPU_CHECK, kind of
 * the fault, whether it needs the watch over shared memory, what it reports). */
#define SG_CHECKS(X)                                                                                                   \
    X(UNINITIALIZED, "uninitialized", UNINITIALIZED, true, "a use of a value from memory that was never written")      \
    X(RACE, "race", RACE, true, "two accesses to shared memory that nothing orders")                                   \
    X(COPY_WAIT, "copy-wait", ASYNC, true, "a use of bytes that an asynchronous copy is still writing")                \
    X(COPY_OVERLAP, "copy-overlap", ASYNC, true, "an asynchronous copy to bytes that another one is still writing")    \
    X(COPY_SOURCE, "copy-source", ASYNC, true, "a write to bytes that the copy engine may still be reading")           \
    X(COPY_END, "copy-end", ASYNC, false, "the end of a CTA whose shared memory a copy still reads or writes")         \
    X(PROXY_FENCE, "proxy-fence", ASYNC, true,                                                                         \
      "ordinary stores that the tensor core or the copy engine reads unfenced")                                        \
    X(MBARRIER_FENCE, "mbarrier-fence", ASYNC, true,                                                                   \
      "a copy that reports to an mbarrier whose initialisation is unfenced")                                           \
    X(MBARRIER_COUNT, "mbarrier-count", ASYNC, false, "an mbarrier for no arrivals, or for too many")                  \
    X(MBARRIER_ARRIVALS, "mbarrier-arrivals", ASYNC, false, "more arrivals than a phase lacks")                        \
    X(MBARRIER_BYTES, "mbarrier-bytes", ASYNC, false, "more bytes announced than an mbarrier counts")                  \
    X(CLUSTER_START, "cluster-start", ASYNC, true, "a use of a CTA's shared memory that may come before its start")    \
    X(CLUSTER_END, "cluster-end", ASYNC, true, "a use of a CTA's shared memory that may come after its end")           \
    X(WGMMA_FENCE, "wgmma-fence", ASYNC, false, "registers of a wgmma that were used since the last wgmma.fence")      \
    X(WGMMA_WAIT, "wgmma-wait", ASYNC, false, "a use of registers that a wgmma under way owns")                        \
    X(WGMMA_OPERAND, "wgmma-operand", ASYNC, true, "a tile in shared memory that changes while a wgmma may read it")   \
    X(WGMMA_GROUP, "wgmma-group", ASYNC, false, "warps of a warp group that do not execute the same")                  \
    X(WGMMA_UNIFORM, "wgmma-uniform", ASYNC, false, "lanes that give a wgmma different descriptors")
#define SG_CHECK_ENUM(name, ...)                       SG_CHECK_##name,
#define SG_CHECK_BIT(name, ...)                        | 1u << SG_CHECK_##name
#define SG_CHECK_WATCH(name, word, kind, watches, ...) | (uint32_t)(watches) << SG_CHECK_##name
enum sg_check { SG_CHECKS(SG_CHECK_ENUM) SG_CHECK_COUNT };
_Static_assert(SG_CHECK_COUNT <= 32, "sg_launch.checks has a bit for each check");
#define SG_CHECKS_ALL     (0u SG_CHECKS(SG_CHECK_BIT))
#define SG_CHECKS_WATCHED (0u SG_CHECKS(SG_CHECK_WATCH))
struct sg_check_facts {
    const char *word;
    enum sg_fault_kind kind;
    const char *what;
};
extern const struct sg_check_facts sg_check_facts[SG_CHECK_COUNT];
/* From "-race,-copy-overlap", "none,race" …: words in order, from all. False: `error` says which are known. */
bool sg_checks_parse(const char *list, uint32_t *checks, char *error, size_t size);

struct sg_fault {
    enum sg_fault_kind kind;
    char text[1280]; /* one sentence: kernel, CTA, warp, lane, PTX line and instruction, address, what is wrong */
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
    uint64_t grid_workspace;        /* address for %envreg1 and 2; 0: not a cooperative launch */
    uint64_t seed;                  /* order of warps */
    bool eager_async;               /* asynchronous copies land at once instead of at the last moment */
    uint32_t checks;                /* a bit for each enum sg_check */
    uint64_t max_warp_instructions; /* per warp, then SG_FAULT_TIMEOUT; 0: no limit */
    /* Estimate: run only these CTA columns (blockIdx.x, blockIdx.y; every blockIdx.z), in order, on one thread, with
     * global writes kept in a private overlay: memory is not changed. The columns of a cluster stand together, x first.
     * NULL: run everything. */
    const uint32_t (*sample)[2];
    int sample_count;
    struct sg_traffic *traffic; /* added to, one for each of memory->alloc; NULL: not asked for */
};

#endif
