/* The machine at work: launch, CTAs, warps with their splits. Only the machine's own files include this. */
#ifndef SG_WARP_PRIVATE_H
#define SG_WARP_PRIVATE_H

#include "runtime/softgpu/ptx/module.h"
#include "warp.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    MAX_WARPS = 32,
    BARRIERS = 16,
    MBARRIERS = 64,      /* in one CTA */
    REGISTER_WAIT = 252, /* these stand for a barrier number: in a split that waits for registers (setmaxnreg), */
    CLUSTER_WAIT = 253,  /* for the barrier of the cluster, */
    MBARRIER_WAIT = 254, /* or for any mbarrier of the CTA to change */
    MAX_CLUSTER = 16,    /* CTAs */
    RANK_SHIFT = 24      /* shared::cluster addresses: 1 + the CTA's rank above its own addresses; 0: the CTA at hand */
};

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
    uint64_t serial; /* of the warp's copies */
};

/* What the tensor core has to do with a register, which is a 64-byte line of the frame. */
struct wgmma_register {
    uint32_t sum, operand; /* 1 + the group under way whose accumulator it is, whose A it belongs to; 0: none */
    /* An access to it while watched, and how many wgmma.fence had come before: the last write or, without one, the
     * first read. */
    uint32_t fences;
    uint32_t pc : 26, lane : 5, written : 1;
};

/* wgmma of one warp: accumulators belong to the tensor core from the issue to the wait that covers them. */
struct wgmma_state {
    bool fenced;                 /* wgmma.fence since the last wait */
    uint32_t fences;             /* so far */
    uint32_t open, pending;      /* instructions not committed; registers (slots) that are under way */
    uint32_t committed;          /* groups so far */
    struct wgmma_register *line; /* NULL before the first fence */
    uint64_t steps;              /* wgmma and setmaxnreg instructions so far */
    struct wgmma_read *read;     /* B tiles of the instructions under way */
    size_t reads, read_capacity;
};

/* What a bulk copy moves between global and shared memory. */
struct bulk_piece { /* contiguous on both sides, but for the swizzle */
    uint64_t global;
    uint32_t offset, bytes; /* from the box's beginning in shared memory */
};
struct bulk_box {
    uint32_t shared, bytes;   /* all of it in shared memory; what no piece covers lies outside of the tensor */
    uint32_t pieces, moved;   /* bytes of all pieces */
    uint8_t swizzle;          /* address bits that are exclusive-ored: 0, 1, 3 or 7 */
    struct cta *from;         /* not NULL: the other side is this CTA's shared memory, not global memory */
    struct bulk_piece *piece; /* owned */
};
struct bulk_store { /* one lane's copy to global memory, until its bytes are written */
    struct bulk_box box;
    uint32_t pc, group;
    uint8_t lane;
    bool read;     /* shared memory may be written again */
    uint8_t *held; /* owned: the bytes of the pieces, once read */
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
    uint64_t serial;                 /* of the last asynchronous copy */
    struct bulk_store *store;        /* bulk copies to global memory, in the order of their issue */
    size_t stores, store_capacity;
    uint32_t store_groups[LANES]; /* of them: committed by each lane */
    struct wgmma_state wgmma;
    uint32_t registers;                       /* of a thread; 0: nobody knows */
    uint32_t cluster_arrived, cluster_passed; /* lanes that have not waited for the cluster's barrier since: its phase
                                                 is open, is complete */
    /* Happens-before among the warps of the cluster: seen[u] is the last generation of accesses by the warp of column u
     * that are ordered before this warp's next one. */
    uint32_t seen[MAX_WARPS], seen_all;
    uint8_t column; /* its own; warps that are 32 apart in a cluster share one, and then some races go unseen */
};

struct barrier {
    uint32_t arrived, expected; /* threads; expected 0: all that live */
    uint32_t participants;      /* warps */
    uint32_t popc, seen;        /* bar.red */
    bool all, any, used;
};

/* An mbarrier object. Its state lives here, not in its 8 bytes of shared memory, which PTX calls opaque. */
struct mbarrier {
    struct cta *cta;
    uint32_t address, expected, missing; /* arrivals of a phase; those still to come in this one */
    int64_t bytes;                       /* announced and not yet copied */
    uint64_t phase;                      /* completed phases */
    uint32_t line, stamp;                /* of its initialisation: PTX line, generation */
    uint8_t writer;                      /* column of the warp that initialised it, */
    bool fenced;                         /* and has executed fence.mbarrier_init since */
    uint32_t published[MAX_WARPS];       /* happens-before of the arrivals of this phase, */
    uint32_t completed[MAX_WARPS];       /* and of all completed ones */
};
/* Work that an mbarrier waits for and that happens at the last moment: when somebody waits, and nothing else is
 * missing. */
struct deferred {
    uint32_t mbarrier; /* address */
    struct warp *warp; /* that issued it: perhaps of another CTA */
    uint8_t lane;
    bool arrival; /* of a lane's cp.async up to `serial`; else a bulk copy */
    uint64_t serial;
    uint32_t pc, flight; /* bytes that are in flight for it */
    struct bulk_box box; /* of a bulk copy; owned */
};

/* What the four warps of a warp group must execute together: the instructions so far, from number `first` on. */
struct group_log {
    uint32_t *pc;
    size_t count, capacity;
    uint64_t first;
};

struct shadow_cell;
struct remote_access { /* the last one of a warp to the shared memory of another CTA */
    uint32_t stamp, pc;
    struct warp *warp;
};
struct cta {
    struct run *run;
    struct cluster *cluster;
    uint32_t rank; /* in it */
    bool ended;
    struct remote_access remote[MAX_WARPS]; /* to this CTA, by column */
    struct mbarrier mbarrier[MBARRIERS];
    int mbarriers;
    struct deferred *deferred;
    size_t deferreds, deferred_capacity;
    struct warp warp[MAX_WARPS];
    struct warp_private own[MAX_WARPS];
    int warps;
    uint32_t id[3];
    uint8_t *shared;
    uint32_t shared_bytes, live_threads;
    struct group_log group[MAX_WARPS / 4];
    uint32_t pool; /* registers that setmaxnreg has released */
    struct barrier barrier[BARRIERS];
    struct shadow_cell *shadow; /* one per 4 bytes; NULL unless strict */
    struct shadow_extra *extra;
    size_t extras, extra_capacity;
    uint8_t *frames; /* one allocation for all warps */
    size_t frame_stride, local_stride;
    uint8_t *locals;
    uint64_t random;
};

/* CTAs that are resident together and see each other's shared memory: the unit of scheduling. One alone without
 * clusters. */
struct cluster {
    struct run *run;
    struct cta *cta[MAX_CLUSTER];
    int ctas;
    uint32_t live_threads, arrived; /* at its barrier */
    uint32_t published[MAX_WARPS], completed[MAX_WARPS];
    uint32_t generation; /* of accesses: grows at every barrier and fence; 1: a warp is known to have started */
    unsigned columns;
    uint32_t fenced[MAX_WARPS];       /* what fences have published */
    uint32_t proxy_fenced[MAX_WARPS]; /* generation of each warp's last fence.proxy.async */
    uint64_t random;
};

struct overlay;
struct run {
    const struct sg_launch *launch;
    const struct sg_function *function;
    struct sg_module *module;
    uint32_t threads, shared_static, shared_bytes;
    uint32_t cluster[3], cluster_ctas; /* CTAs in a cluster */
    uint32_t clusters;
    _Atomic uint32_t next; /* cluster */
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

/* A 32-bit number of a lane; immediates may stand among 64-bit operands, and masks of CTAs have 16 bits. */
static inline uint32_t lane_u32(const struct warp *w, const struct operand *o, int lane) {
    const void *lanes = src_lanes(w, o);
    return o->width == 8   ? (uint32_t)((const uint64_t *)lanes)[lane]
           : o->width == 2 ? ((const uint16_t *)lanes)[lane]
                           : ((const uint32_t *)lanes)[lane];
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

/* ---- cluster.c ---- */
void cluster_start(struct cluster *cl); /* its barrier; its CTAs have started */
void cluster_exit(struct warp *w, uint32_t lanes);
/* The CTA whose shared memory an address lies in, which is left as one of that CTA's own. NULL after a fault: there is
 * no such CTA, it has ended, or nothing says that it has started. */
struct cta *cluster_peer(struct warp *w, const struct insn *i, int lane, uint64_t *address);
struct cta *cluster_cta(struct warp *w, const struct insn *i, int lane, uint32_t rank); /* the same by rank */
void cluster_explain(const struct cluster *cl, char *text, size_t size);
/* May this instruction reach into other CTAs: a generic address, or .shared::cluster? */
static inline bool cluster_reaches(const struct warp *w, const struct insn *i) {
    return run_of(w)->cluster_ctas > 1 && (i->space == SPACE_GENERIC || (i->flags & F_REMOTE));
}

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

/* What is done to shared memory under watch. */
enum shadow_use {
    USE_READ,
    USE_PROXY_READ, /* by the tensor core */
    USE_WRITE,
    USE_STRONG_READ, /* volatile, relaxed …: no race among themselves and with atomics */
    USE_STRONG_WRITE,
    USE_ATOMIC,
    USE_ISSUE, /* of an asynchronous copy */
    USE_LAND,  /* by the wait for it */
    USE_LEND,  /* to the copy engine, which reads it between now */
    USE_RETURN /* and then */
};

/* ---- async.c ---- */
void async_drop(struct warp *w);                  /* a warp starts or ends */
void async_flight(struct warp *w, int64_t bytes); /* so many more, or fewer, are in flight */
/* Lands the copies of one lane up to a serial number; false after a fault. */
bool async_land_lane(struct warp *w, int lane, uint64_t serial);

/* ---- mbarrier.c, bulk.c, wgmma.c: what Hopper adds ---- */
void mbarrier_reset(struct cta *c);
void mbarrier_free(struct cta *c);
void mbarrier_defer(struct cta *c, const struct deferred *d); /* of an mbarrier of this CTA; takes it over */
/* fence.mbarrier_init: what this warp initialised may be used by the copy engine. */
void mbarrier_fence_init(struct warp *w);
/* The mbarrier of a CTA that a copy by the copy engine reports to, at this address of its own; NULL after a fault. */
struct mbarrier *mbarrier_of_copy(struct warp *w, const struct insn *i, int lane, struct cta *c, uint64_t address);
/* What is wrong with the mbarriers of a CTA that cannot go on: appends to `text`. */
void mbarrier_explain(const struct cta *c, char *text, size_t size);
bool bulk_land(struct cta *c, const struct deferred *d); /* false after a fault */
/* The parts of a bulk copy that its two directions share. Boxes are owned by who gets them; false after a fault. */
bool bulk_box_linear(struct warp *w, const struct insn *i, int lane, uint64_t global, uint32_t bytes,
                     struct bulk_box *box);
/* A row that the tensor ends is cut at a multiple of `granule` bytes. */
bool bulk_box_tensor(struct warp *w, const struct insn *i, int lane, uint64_t map, const struct operand *corner,
                     uint32_t granule, struct bulk_box *box);
void bulk_box_free(struct bulk_box *box);
/* The next bytes of a piece from `at` on that are contiguous in shared memory too, and where they lie there. */
uint32_t bulk_run(const struct bulk_box *box, const struct bulk_piece *piece, uint32_t at, uint32_t *shared);
/* The same use of all that a copy out of shared memory reads there; what falls outside of a tensor is not read. */
bool bulk_watch_source(struct cta *c, struct warp *w, uint32_t pc, int lane, const struct bulk_box *box,
                       enum shadow_use how);
/* These bytes have been read: they are free again, but for what other copies still read. */
bool bulk_return(struct cta *c, struct warp *w, uint32_t pc, int lane, const struct bulk_box *box);
/* The CTA has ended: nothing may be on the way from or to its shared memory. What stores have read is written. */
void bulk_end(struct cta *c);
void bulk_store_drop(struct warp *w);
void bulk_store_end(struct cta *c); /* what has been read is written */
/* The instruction whose copy still reads this byte of shared memory; NULL: none. */
const struct insn *bulk_reader(struct cta *c, uint32_t address);
void wgmma_reset(struct warp *w, size_t frame_bytes);
void wgmma_free(struct warp *w);
/* Registers are watched from a wgmma.fence to the wait for the last wgmma after it. */
static inline bool wgmma_watches(const struct warp *w) {
    return w->own->wgmma.fenced || w->own->wgmma.pending;
}
/* Does this instruction touch a register that is the tensor core's? Faults if so, and else remembers what it touches.
 */
void wgmma_guard(struct warp *w, const struct insn *i);
/* The warp executes the next instruction of its group; false after a fault: it is not that of the others. */
bool group_step(struct warp *w, const struct insn *i);
void group_end(struct cta *c); /* all have executed the same */
void group_reset(struct cta *c);
void group_free(struct cta *c);
/* Warps that wait for registers: appends to `text`. */
void registers_explain(const struct cta *c, char *text, size_t size);

/* ---- shadow.c: shared memory under watch; all false after a fault ---- */
void shadow_reset(struct cta *c);
void shadow_start(struct cluster *cl); /* its clock */
void shadow_free(struct cta *c);
/* Of shared memory of the CTA, by a warp of its cluster. */
bool shadow_access_in(struct cta *c, struct warp *w, const struct insn *i, int lane, uint32_t address, unsigned bytes,
                      enum shadow_use use);
static inline bool shadow_access(struct warp *w, const struct insn *i, int lane, uint32_t address, unsigned bytes,
                                 enum shadow_use use) {
    return shadow_access_in(w->cta, w, i, lane, address, bytes, use);
}
/* A warp reaches into the CTA: is it known to have started, and will it be known when the CTA ends? */
bool shadow_remote(struct cta *c, struct warp *w, const struct insn *i, int lane);
void shadow_end(struct cta *c);
/* An arrival without release: that the warp has started, and what fences have published. */
void shadow_publish_start(const struct warp *w, uint32_t *into);
void shadow_barrier(struct cta *c, uint32_t participants, uint32_t waiters);
void shadow_fence(struct warp *w);
void shadow_fence_proxy(struct warp *w);
/* An arrival publishes what the warp has done; a wait that succeeds makes what was published known to it. */
void shadow_publish(struct warp *w, uint32_t *into);
void shadow_learn(struct warp *w, const uint32_t *from);

/* ---- handlers, bound in bind.c ---- */
op_fn flow_bra, flow_brx, flow_exit, flow_call, flow_ret, flow_trap;
op_fn mem_load, mem_load_param, mem_store, mem_atomic, mem_prefetch;
op_fn addr_cvta, addr_isspacep, addr_special, addr_policy, addr_mapa, addr_getctarank;
op_fn cluster_arrive_op, cluster_wait_op;
op_fn mbarrier_init_op, mbarrier_inval_op, mbarrier_arrive_op, mbarrier_tx_op, mbarrier_arrive_async_op,
    mbarrier_wait_op;
op_fn bulk_copy_op, bulk_tensor_op, bulk_store_op, bulk_store_commit, bulk_store_wait;
op_fn wgmma_fence_op, wgmma_commit_op, wgmma_wait_op, wgmma_mma_op, sync_setmaxnreg;
bool wgmma_bind(struct insn *i); /* false: this form is not known */
op_fn async_copy_issue, async_commit, async_wait;
void sync_exit(struct cta *c); /* threads have exited: barriers may be complete */
op_fn sync_barrier, sync_warp, sync_fence, sync_shfl, sync_vote, sync_match, sync_redux, sync_activemask, sync_elect,
    sync_nothing;
void call_extern(struct warp *w, const struct insn *i, const char *name);

#endif
