/* What is resident: clusters, their CTAs, warps with their splits. */
#ifndef SG_WARP_CTA_H
#define SG_WARP_CTA_H

#include "launch.h"
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
    RANK_SHIFT = 24      /* shared::cluster addresses: 1 + the CTA's rank above its own addresses; 0: the CTA at hand */
};
_Static_assert(MAX_WARPS <= 32, "a mask of warps or columns has 32 bits");
_Static_assert(MAX_WARPS % 4 == 0, "warp groups are whole");
_Static_assert(BARRIERS <= REGISTER_WAIT, "split.barrier tells a barrier from what stands for one");
_Static_assert((MAX_CLUSTER + 1ull) << RANK_SHIFT <= UINT32_MAX, "shared::cluster addresses have 32 bits");
_Static_assert(SPACE_MOST <= 1 << RANK_SHIFT, "static shared memory lies below the rank");

/* A warp is a set of splits: lanes that are at the same instruction with the same callers. */
enum split_state {
    SPLIT_RUNNABLE,
    SPLIT_PARKED, /* at a warp-wide instruction, until the other lanes come */
    SPLIT_BARRIER /* at a barrier of the CTA */
};
struct split {
    uint32_t pc, mask;
    uint32_t stack; /* of call_node; 0: in the entry */
    uint8_t state, barrier;
    uint64_t last_run; /* warp's clock */
};
struct call_node { /* equal callers have equal numbers, so that splits can be compared */
    uint32_t parent, depth;
    uint32_t return_pc, function;
    uint32_t called, next; /* the last node that has this one as parent, and the one before that; 0: none */
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
    uint32_t fences, pc;
    uint8_t lane;
    bool written;
};

/* A tile of an operand of wgmma in shared memory. */
struct wgmma_tile {
    uint64_t descriptor;
    uint16_t first, rows; /* what the warp reads */
    uint16_t extent;      /* rows that the warp group reads */
    char name;            /* A or B: whose "rows" are columns of the product */
    bool across;          /* MN-major: rows lie side by side, not k */
};
struct wgmma_read { /* by an instruction under way, and what it held */
    struct wgmma_tile tile;
    uint32_t group, pc;
    uint64_t hash;
};

/* wgmma of one warp: accumulators belong to the tensor core from the issue to the wait that covers them. */
struct wgmma_state {
    bool fenced;                 /* wgmma.fence since the last wait */
    uint32_t fences;             /* so far */
    uint32_t open, pending;      /* instructions not committed; registers (slots) that are under way */
    uint32_t committed;          /* groups so far */
    struct wgmma_register *line; /* NULL before the first fence or multiplication */
    uint64_t steps;              /* wgmma and setmaxnreg instructions so far */
    struct wgmma_read *read;     /* tiles of the instructions under way */
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
    uint8_t type;             /* enum ptx_type of what a reduction adds; of a tensor, its map's */
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

enum { TRAFFIC_SLOTS = 8 };
/* A register with bytes that come from memory which was never written. */
struct poison {
    uint32_t slot;
    uint16_t bytes[LANES]; /* a bit for each byte of each lane */
    uint32_t pc;           /* of the load, */
    uint8_t space;         /* and what it read */
    uint64_t address[LANES];
};
struct unwritten { /* found by the load at hand */
    uint64_t address;
    uint8_t bytes, space;
    int8_t lane; /* -1: whichever reads there */
};

struct warp_private {
    struct split split[LANES]; /* enough: each has lanes of its own */
    int splits, running;
    uint32_t stop_pc; /* where another split waits on this one's way */
    bool forced;      /* no other split can move: a warp-wide instruction that lacks lanes is a fault */
    bool rotate;      /* the last split used up its turn */
    struct call_node *node;
    size_t nodes, node_capacity;
    uint8_t *local;         /* LANES x local_bytes */
    uint8_t *local_written; /* a bit for each of them; NULL unless watched */
    struct poison *poison;
    size_t poisons, poison_capacity;
    struct unwritten *unwritten;
    size_t unwrittens, unwritten_capacity;
    const struct sg_alloc *recent;
    struct traffic_slot {
        const struct sg_alloc *alloc;
        struct sg_traffic moved;
    } traffic[TRAFFIC_SLOTS]; /* what the launch does not know yet */
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

struct shadow;
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
    struct shadow *shadow; /* NULL unless watched */
    uint8_t *frames;       /* one allocation for all warps */
    size_t frame_stride, local_stride;
    uint8_t *locals, *locals_written;
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
    uint64_t changes;    /* of what is ordered before what */
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
    uint32_t
        shared_reserved; /* the last of shared_bytes: for the system's own use, if the kernel asks where they are */
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

/* ---- split.c ---- */
void split_start(struct warp *w, uint32_t pc, uint32_t mask);
bool split_pick(struct warp *w); /* merges, then picks the one to run; false: none can */
void split_save(struct warp *w); /* the running one, after its slice */
void split_move(struct warp *w, uint32_t lanes, uint32_t pc,
                uint32_t stack);                      /* lanes of the running split go elsewhere */
void split_release(struct warp *w, unsigned barrier); /* those waiting there run again */
/* True if all `members` that live execute this instruction together; else waits for them (or faults) and returns
 * false. */
bool split_converge(struct warp *w, const struct insn *i, uint32_t members);

/* ---- fault.c ---- */
/* It may be waiting for another warp or CTA: strong loads, atomics and sleep are what waiting is made of, and
 * enough of them end the slice. */
void warp_polls(struct warp *w, unsigned weight);
enum { POLL_LIMIT = 16 }; /* in a slice */

#endif
