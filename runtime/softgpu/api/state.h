/* The driver's objects, and what its files offer each other.
 *
 * One lock covers everything: an exported function takes it with cu_enter() and gives it back with cu_leave(). Every
 * function declared here runs under it. */
#ifndef SG_API_STATE_H
#define SG_API_STATE_H

/* The header then declares every version of a function by its own name, so that each can be defined. */
#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>

#include "runtime/softgpu/machine/machine.h"
#include "runtime/softgpu/profile/image.h"
#include "runtime/softgpu/profile/profile.h"
#include "runtime/softgpu/time/model.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CU_API __attribute__((visibility("default"))) CUresult CUDAAPI

/* ---- the device and its settings ---- */
struct cu_device {
    bool ready;
    struct dev_profile *profile;
    int host_threads;
    uint64_t seed, watchdog; /* warp instructions of one warp before a kernel counts as hung */
    bool eager_async, log;
    uint32_t checks;
    uint64_t sequence; /* of operations, allocations and frees, in program order */
    struct CUctx_st *primary;
    int primary_uses;
    unsigned primary_flags;
};
extern struct cu_device cu_device;

/* Exported beside the driver API, and asked for by name: cuInit() for whoever says himself why it fails. */
CU_API softgpuOpen(char *why, int size);
/* The same: which time model the device's times are of (time/hash.h). */
CU_API softgpuTimeModel(char *out, int size, CUdevice device);

/* Takes the lock. `context` may be NULL where a function needs none; otherwise the calling thread's current context,
 * and the result is its sticky error if it has one. */
CUresult cu_enter(struct CUctx_st **context);
CUresult cu_leave(CUresult result);
/* cu_enter() that lets a context with a sticky error pass, for tearing down. */
CUresult cu_enter_quietly(struct CUctx_st **context);
/* What came of entering, and CUDA_ERROR_INVALID_VALUE if an argument that must be there is NULL. */
static inline CUresult cu_needs(CUresult entered, const void *argument) {
    return entered == CUDA_SUCCESS && !argument ? CUDA_ERROR_INVALID_VALUE : entered;
}
/* One sentence on standard error; returns `result`. */
CUresult cu_fail(CUresult result, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A host function is running on this thread: no driver function may be called from it. */
void cu_callback_begin(void);
void cu_callback_end(void);

/* ---- memory ---- */
#define CU_ALIVE UINT64_MAX
struct cu_alloc {
    uint64_t base, size;
    uint32_t id;
    char *map; /* pages that hold it */
    size_t map_size;
    bool host; /* page-locked: the host sees it without a call */
    struct CUctx_st *context;
    uint64_t birth, death; /* sequence numbers; death is CU_ALIVE until it is freed */
    int refs;              /* one of the program until it is freed, one of each operation that may touch it */
    uint64_t mark;         /* of the flush that visits it */
    bool plain;            /* has had cu_memory_overwrite() */
    uint32_t *written;     /* as of sg_alloc; owned */
};
CUresult cu_memory_alloc(struct CUctx_st *context, size_t size, bool host, struct cu_alloc **out);
/* The allocation of that context that holds `address` and is alive at `sequence`; NULL if none. */
struct cu_alloc *cu_memory_find(const struct CUctx_st *context, uint64_t address, uint64_t sequence);
/* A range that one call reads or writes: a sentence and CUDA_ERROR_INVALID_VALUE unless it is inside one allocation. */
CUresult cu_memory_range(const struct CUctx_st *context, uint64_t address, size_t size, struct cu_alloc **out);
bool cu_memory_is_ours(uint64_t address); /* within the space that allocations come from, used or not */
/* These bytes are about to be written without being read. A whole large allocation then gets fresh pages, which cost
 * less than copies of poison. */
void cu_memory_overwrite(struct cu_alloc *alloc, uint64_t address, size_t bytes);
/* These bytes have been written, as copies of those at `src`, or with NULL by other means. */
void cu_memory_written(const struct cu_alloc *alloc, uint64_t address, size_t bytes, const struct cu_alloc *from,
                       uint64_t src);
void cu_memory_kill(struct cu_alloc *alloc); /* the program has freed it */
void cu_memory_unref(struct cu_alloc *alloc);
void cu_memory_kill_context(const struct CUctx_st *context);
uint64_t cu_memory_used(void);
/* What a kernel may access that was launched at `sequence`; valid until the next allocation or free. */
struct sg_memory cu_memory_table(const struct CUctx_st *context, uint64_t sequence);
/* Allocations of the context alive at `sequence`; at most `capacity` go to `out`. Returns how many there are. */
int cu_memory_list(const struct CUctx_st *context, uint64_t sequence, struct cu_alloc **out, int capacity);

/* ---- modules ---- */
struct CUfunc_st {
    struct CUmod_st *module;
    const struct sg_function *code;
    struct sg_function_info info;
    char *name;
    unsigned registers, local_bytes;
    bool registers_estimated;
    struct expansion *expansion; /* of its PTX to the machine code beside it; NULL until cu_function_expansion() */
    int dynamic_limit;           /* bytes of dynamic shared memory that a launch may ask for */
    int carveout;
};
struct CUmod_st {
    struct CUctx_st *context;
    struct CUmod_st *next;
    struct sg_module *code;
    struct dev_image image;
    struct CUfunc_st *functions;
    int function_count;
    struct cu_alloc **variables; /* one per module variable, each a reference; NULL: nothing has asked for it */
    int variable_count;
    int refs; /* one of the program until it is unloaded, one of each operation that runs a function of it */
    uint64_t serial;
    bool wgmma;
};
void cu_module_unref(struct CUmod_st *module);
void cu_module_unload_all(struct CUctx_st *context);
struct model_occupancy cu_function_occupancy(const struct CUfunc_st *function, unsigned threads, size_t dynamic);
int cu_function_max_threads(const struct CUfunc_st *function);
/* Found when it is first asked for; NULL if the image has no machine code. */
const struct expansion *cu_function_expansion(struct CUfunc_st *function);
const char *cu_function_named(size_t k); /* of the driver API, without its version; NULL behind the last */
/* cu_enter() for a function of the current context. */
CUresult cu_function_enter(CUfunction handle, struct CUctx_st **context);

/* ---- operations: what a stream is asked to do ---- */
enum cu_op_kind { CU_OP_LAUNCH, CU_OP_FILL, CU_OP_COPY, CU_OP_CALL, CU_OP_RECORD };
struct cu_op {
    enum cu_op_kind kind;
    uint64_t sequence;
    int refs; /* queue and timeline */
    struct CUctx_st *context;
    bool timed;              /* between two timing events of its stream: only its duration is asked for */
    bool in_graph;           /* replayed by a graph */
    bool done;               /* its effect has happened, or can no longer be seen */
    bool waiting;            /* still on the timeline */
    bool selected;           /* by the flush that is going on */
    double seconds;          /* below zero: not known yet */
    struct cu_alloc **reach; /* allocations that it may touch; each holds a reference */
    int reach_count;
    size_t reach_capacity;
    bool host_visible; /* its effect can be seen without a call */

    struct CUfunc_st *function; /* launch; holds its module */
    uint32_t grid[3], block[3], cluster[3], shared;
    bool cooperative; /* its CTAs may wait for each other: all of them are resident */
    uint8_t *params;  /* owned */

    uint64_t dst, src;           /* fill: dst; copy: both */
    bool dst_device, src_device; /* which of them must be device memory */
    size_t bytes;
    uint32_t value, width; /* fill: value of `width` bytes, repeated */
    void *staged;          /* owned: bytes of pageable host memory, taken when the call was made */

    CUhostFn call;
    void *argument;
    struct CUevent_st *event; /* record inside a graph */
};
struct cu_op *cu_op_new(struct CUctx_st *context, enum cu_op_kind kind);
struct cu_op *cu_op_clone(const struct cu_op *op); /* without its reach */
void cu_op_unref(struct cu_op *op);
/* Finds the reach, as of now. Ranges of fills and copies are checked: a sentence and CUDA_ERROR_INVALID_VALUE. */
CUresult cu_op_bind(struct cu_op *op);
/* True for two launches that do the same to the same memory. */
bool cu_op_same_launch(const struct cu_op *a, const struct cu_op *b);
/* Does it. On a fault the context's error is set and returned. */
CUresult cu_op_run(struct cu_op *op);
/* Runs all CTAs of a launch and keeps its modelled time; false on a fault. */
bool cu_launch_run(struct cu_op *op, struct sg_fault *fault);
/* The modelled time of a launch that was not run, from a sample of its CTAs; false if the sample met a fault. Equal
 * launches are sampled once. */
bool cu_launch_estimate(struct cu_op *op);

/* ---- streams, events, the queue ---- */
struct cu_record { /* one cuEventRecord */
    int refs;
    bool done, needed;
    double time; /* modelled seconds since the context was made */
    struct CUstream_st *stream;
};
struct CUevent_st {
    struct CUctx_st *context;
    struct CUevent_st *next;
    unsigned flags;
    struct cu_record *record; /* the last one; NULL if none */
    struct cu_graph *capture; /* recorded last in a capture */
};
struct CUstream_st {
    struct CUctx_st *context;
    struct CUstream_st *next;
    unsigned flags;
    int priority;
    double clock;             /* modelled seconds */
    uint64_t first_timing;    /* sequence of its first timing event; 0 if none */
    struct cu_graph *capture; /* being captured into it */
    bool captures_origin;
    bool needed;
};
void cu_record_unref(struct cu_record *record);
void cu_event_point(struct CUevent_st *event, struct cu_record *record); /* takes over the reference */

struct cu_tick { /* an entry of the timeline */
    struct cu_tick *next, *previous;
    struct CUstream_st *stream;
    double not_before;
    struct cu_op *op; /* one of these three */
    struct cu_record *record;
    struct cu_record *wait;
    bool selected;
};
/* Adds to a stream, or to the graph that it is captured into. Takes over `op`, also on failure. */
CUresult cu_stream_push(struct CUstream_st *stream, struct cu_op *op);
/* Adds to a stream. Takes over `op`, whose reach is known. A fill or copy that has nothing before it happens at
 * once. */
CUresult cu_queue_submit(struct CUstream_st *stream, struct cu_op *op);
void cu_queue_record(struct CUstream_st *stream, struct CUevent_st *event);
void cu_queue_wait(struct CUstream_st *stream, struct cu_record *record);
/* Waits for a stream, a record or (both NULL) the whole context: faults of what must run surface, times are known. */
CUresult cu_queue_settle(struct CUctx_st *context, struct CUstream_st *stream, struct cu_record *record);
/* Drops what can no longer be observed. */
void cu_queue_drop(struct CUctx_st *context, bool everything);

/* ---- graphs ---- */
/* Of both kinds: the handle of one is its address. */
struct cu_graph {
    struct CUctx_st *context;
    struct cu_graph *next;
    struct cu_op **op; /* in the order of capture: each runs after the one before */
    int count;
    size_t capacity;
    bool broken; /* a call that cannot be captured was made meanwhile */
};
struct CUgraph_st {
    struct cu_graph graph;
};
struct CUgraphExec_st {
    struct cu_graph graph;
};
void cu_graph_add(struct cu_graph *graph, struct cu_op *op); /* takes over `op` */
void cu_graph_free_all(struct CUctx_st *context);

/* ---- contexts ---- */
enum { CU_LIMITS = CU_LIMIT_PERSISTING_L2_CACHE_SIZE + 1 }; /* those that a context can set */
struct CUctx_st {
    struct CUctx_st *next;
    CUresult error; /* sticky: set by a fault, stays */
    unsigned flags;
    uint64_t id; /* no two contexts of a process have the same */
    size_t limit[CU_LIMITS];
    CUfunc_cache cache_config;
    struct CUmod_st *modules;
    struct CUstream_st *streams, null_stream;
    struct CUevent_st *events;
    struct cu_graph *graphs, *executables;
    struct cu_tick *first, *last; /* timeline, in program order */
    struct cu_op **queue;         /* not yet run, in program order */
    int queued;
    size_t queue_capacity;
    struct cu_alloc *workspace; /* of cooperative launches, for the barrier of their grid; NULL before the first */
    double now;                 /* modelled time at which the host last waited until */
    struct cu_time_cache *times;
    uint64_t mark;
};
CUcontext cu_context_current(void);                 /* of the calling thread; may have been destroyed */
struct CUctx_st *cu_context_find(CUcontext handle); /* NULL unless it is alive */
/* NULL (the default stream), a stream of the context, or CUDA_ERROR_INVALID_HANDLE. */
CUresult cu_stream_find(struct CUctx_st *context, CUstream handle, struct CUstream_st **out);
CUresult cu_stream_enter(CUstream handle, struct CUctx_st **context, struct CUstream_st **out); /* cu_enter(), too */
CUresult cu_event_find(struct CUctx_st *context, CUevent handle);
/* CUDA_SUCCESS unless a capture forbids to wait for, or to use uncaptured, `stream` (NULL: the context); then the
 * capture is broken. */
CUresult cu_capture_forbid(struct CUctx_st *context, struct CUstream_st *stream);
void cu_stream_free_all(struct CUctx_st *context);
void cu_event_free_all(struct CUctx_st *context);
void cu_time_cache_free(struct cu_time_cache *cache);

#endif
