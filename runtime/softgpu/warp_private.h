/* The machine at work: launch, CTAs, warps with their splits. Only the machine's own files include this. */
#ifndef SG_WARP_PRIVATE_H
#define SG_WARP_PRIVATE_H

#include "softgpu/ptx_module.h"
#include "softgpu/warp.h"

#include <pthread.h>
#include <stdatomic.h>

enum { MAX_WARPS = 32, BARRIERS = 16 };

/* A warp is a set of splits: lanes that are at the same instruction with the same callers. */
enum split_state {
    SPLIT_RUNNABLE,
    SPLIT_PARKED, /* at a warp-wide instruction, until the other lanes come */
    SPLIT_BARRIER /* at a barrier of the CTA */
};
struct split {
    uint32_t pc, mask;
    uint16_t stack; /* of call_node; 0: in the entry */
    uint8_t state, barrier;
    uint64_t last_run; /* warp's clock */
};
struct call_node { /* equal callers have equal numbers, so that splits can be compared */
    uint16_t parent, depth;
    uint32_t return_pc, function;
};

struct async_copy { /* one lane's cp.async */
    uint64_t source;
    uint32_t target, pc, group;
    uint8_t bytes, source_bytes, lane;
    bool done;
};

struct warp_private {
    struct split split[LANES];
    int splits, running;
    uint32_t stop_pc; /* where another split waits on this one's way */
    bool forced;      /* no other split can move: a warp-wide instruction that lacks lanes is a fault */
    bool rotate;      /* the last split used up its turn */
    struct call_node *node;
    size_t nodes, node_capacity;
    uint8_t *local; /* LANES x local_bytes */
    const struct sg_alloc *recent;
    uint64_t polls; /* strong loads and atomics of this slice: a warp that does little else waits for somebody */
    struct async_copy *copy;
    size_t copies, copy_capacity, first_copy;
    uint32_t groups[LANES];          /* committed by each lane */
    uint64_t inflight, max_inflight; /* bytes */
    /* happens-before: seen[u] is the last generation of warp u's accesses that are ordered before this warp's next one
     */
    uint32_t seen[MAX_WARPS], seen_all;
};

struct barrier {
    uint32_t arrived, expected; /* threads; expected 0: all that live */
    uint32_t participants;      /* warps */
    uint32_t popc, seen;        /* bar.red */
    bool all, any, used;
};

struct shadow_cell;
struct cta {
    struct run *run;
    struct warp warp[MAX_WARPS];
    struct warp_private own[MAX_WARPS];
    int warps;
    uint32_t id[3];
    uint8_t *shared;
    uint32_t shared_bytes, live_threads;
    struct barrier barrier[BARRIERS];
    struct shadow_cell *shadow; /* one per 4 bytes; NULL unless strict */
    struct shadow_extra *extra;
    size_t extras, extra_capacity;
    uint32_t generation;        /* of accesses: grows at every barrier and fence */
    uint32_t fenced[MAX_WARPS]; /* what fences have published */
    uint8_t *frames;            /* one allocation for all warps */
    size_t frame_stride, local_stride;
    uint8_t *locals;
    uint64_t random;
};

struct overlay;
struct run {
    const struct sg_launch *launch;
    const struct sg_function *function;
    struct sg_module *module;
    uint32_t threads, shared_static, shared_bytes;
    uint32_t ctas;
    _Atomic uint32_t next;
    _Atomic bool stop;
    pthread_mutex_t lock; /* counters and fault */
    struct sg_counters total;
    struct sg_fault fault;
    struct overlay *overlay; /* estimate mode */
};

static inline struct run *run_of(const struct warp *w) {
    return w->cta->run;
}
static inline bool is_strict(const struct warp *w) {
    return w->cta->shadow != NULL;
}

/* ---- flow.c: splits ---- */
void split_start(struct warp *w, uint32_t pc, uint32_t mask);
bool split_choose(struct warp *w); /* merges, then picks the one to run; false: none can */
void split_save(struct warp *w);   /* the running one, after its slice */
void split_move(struct warp *w, uint32_t lanes, uint32_t pc,
                uint16_t stack);                      /* lanes of the running split go elsewhere */
void split_release(struct warp *w, unsigned barrier); /* those waiting there run again */
/* True if all `members` that live execute this instruction together; else waits for them (or faults) and returns false.
 */
bool split_converge(struct warp *w, const struct insn *i, uint32_t members);

/* ---- sched.c ---- */
void *run_worker(void *run);
void warp_polls(struct warp *w, unsigned weight); /* it may be waiting for another warp or CTA */

/* ---- memory ---- */
struct access {
    uint64_t address[LANES]; /* lanes that do not take part repeat one that does */
    uint32_t exec;
    unsigned bytes;   /* per lane: all elements */
    unsigned element; /* bytes of one */
    bool contiguous;  /* all 32 lanes, each behind the one before */
};
void access_gather(const struct warp *w, const struct operand *o, uint32_t exec, struct access *x);
/* Host pointer of a checked global range, NULL after a fault. */
uint8_t *global_pointer(struct warp *w, const struct insn *i, int lane, uint64_t address, unsigned bytes);
bool global_check(struct warp *w, const struct insn *i, struct access *x);
void global_count(struct warp *w, const struct access *x, bool write);
bool shared_check(struct warp *w, const struct insn *i, struct access *x);
void shared_count(struct warp *w, const struct access *x);
uint8_t *local_pointer(struct warp *w, const struct insn *i, int lane, uint64_t address, unsigned bytes);
/* Copies bytes seen by the launch, overlay included. */
void global_read(struct warp *w, void *target, uint64_t address, unsigned bytes);
void global_write(struct warp *w, uint64_t address, const void *source, unsigned bytes);

struct overlay *overlay_new(void);
void overlay_free(struct overlay *o);
bool overlay_is_empty(const struct overlay *o);
void overlay_read(const struct overlay *o, void *target, uint64_t address, unsigned bytes);
void overlay_write(struct overlay *o, uint64_t address, const void *source, unsigned bytes);

/* ---- async.c ---- */
void async_drop(struct warp *w); /* a warp starts or ends */

/* ---- shadow.c: shared memory under watch; all false after a fault ---- */
enum shadow_use {
    USE_READ,
    USE_WRITE,
    USE_STRONG_READ, /* volatile, relaxed …: no race among themselves and with atomics */
    USE_STRONG_WRITE,
    USE_ATOMIC,
    USE_ISSUE, /* of an asynchronous copy */
    USE_LAND   /* by the wait for it */
};
void shadow_reset(struct cta *c);
void shadow_free(struct cta *c);
bool shadow_access(struct warp *w, const struct insn *i, int lane, uint32_t address, unsigned bytes,
                   enum shadow_use use);
void shadow_barrier(struct cta *c, uint32_t participants, uint32_t waiters);
void shadow_fence(struct warp *w);

/* ---- handlers, bound in bind.c ---- */
op_fn flow_bra, flow_brx, flow_exit, flow_call, flow_ret, flow_trap;
op_fn mem_load, mem_load_param, mem_store, mem_atomic, mem_prefetch;
op_fn addr_cvta, addr_isspacep, addr_special, addr_policy;
op_fn async_copy_issue, async_commit, async_wait;
void sync_exit(struct cta *c); /* threads have exited: barriers may be complete */
op_fn sync_barrier, sync_warp, sync_fence, sync_shfl, sync_vote, sync_match, sync_redux, sync_activemask, sync_elect,
    sync_nothing;
void call_extern(struct warp *w, const struct insn *i, const char *name);

#endif
