/* Memory as warps reach it: loads, stores and atomics, asynchronous copies, mbarriers, and the watch over shared
 * memory. */
#ifndef SG_MEMORY_H
#define SG_MEMORY_H

#include "runtime/softgpu/warp/cta.h"

/* ---- access.c ---- */
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
/* The allocation that holds an address, which has been checked. */
const struct sg_alloc *global_alloc(const struct warp *w, uint64_t address);
bool global_check(struct warp *w, const struct insn *i, struct access *x);
void global_count(struct warp *w, const struct access *x, bool write);
/* Without the bytes. */
void global_count_requests(struct warp *w, const struct access *x);
/* Bytes moved, in the counters and for the allocation that holds `address`. */
void global_moved(struct warp *w, uint64_t address, uint64_t bytes, bool write);
void global_moved_end(struct warp *w); /* it has ended: the launch learns the rest */
bool shared_check(struct warp *w, const struct insn *i, struct access *x);
void shared_count(struct warp *w, const struct access *x);
uint8_t *local_pointer(struct warp *w, const struct insn *i, int lane, uint64_t address, unsigned bytes);
/* Copies bytes seen by the launch, overlay included. */
void global_read(struct warp *w, void *target, uint64_t address, unsigned bytes);
void global_write(struct warp *w, uint64_t address, const void *source, unsigned bytes);

/* ---- poison.c: values from memory that was never written ---- */
void poison_reset(struct warp *w);
void poison_free(struct warp *w);
/* A load reads such bytes; `lane` matters in local memory alone. */
void poison_note(struct warp *w, int lane, enum ptx_space space, uint64_t address, unsigned bytes);
void poison_load(struct warp *w, const struct insn *i, const struct access *x); /* after it: its registers */
void poison_store(struct cta *c, struct warp *w, const struct insn *i, const struct access *x, enum ptx_space space);
/* Before an instruction is executed: does it use such a value, or move it? */
void poison_guard(struct warp *w, const struct insn *i);
/* Loads may find such bytes and go on. */
static inline bool poison_defers(const struct warp *w, const struct insn *i) {
    return (i->op == OP_ld || i->op == OP_ldu || i->op == OP_ldmatrix) &&
           (run_of(w)->launch->checks >> SG_CHECK_UNINITIALIZED & 1);
}
/* Bytes of a lane's local memory are written, or have no value; an access to them, false after a fault; a copy. */
bool local_access(struct warp *w, const struct insn *i, int lane, uint64_t address, unsigned bytes, bool write);
void local_copy_marks(struct warp *w, int lane, uint64_t to, uint64_t from, unsigned bytes);
void local_mark(struct warp *w, int lane, uint64_t address, unsigned bytes, bool written);

/* ---- atomic.c ---- */
struct reduction {
    uint8_t what, type; /* enum ptx_sub, enum ptx_type */
};
bool reduction_exists(struct reduction r, bool global);
/* `count` bytes of elements, each atomically; the place has been checked. */
void reduce_shared(struct reduction r, uint8_t *host, const uint8_t *with, uint32_t count);
void reduce_global(struct warp *w, struct reduction r, uint64_t address, const uint8_t *with, uint32_t count);

/* ---- written.c: which global memory has been written ---- */
void written_mark(struct warp *w, uint64_t address, unsigned bytes, bool written);
bool written_is(struct warp *w, uint64_t address, unsigned bytes);
void written_store(struct warp *w, const struct access *x);
bool written_load(struct warp *w, const struct insn *i, const struct access *x); /* false after a fault */
/* After a copy of these bytes to shared memory of a CTA: what was never written has no value there either. */
void written_copy(struct cta *c, struct warp *w, const struct insn *i, int lane, uint64_t global, uint32_t shared,
                  unsigned bytes);

/* ---- overlay.c ---- */
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
    USE_REDUCE, /* an atomic by the copy engine */
    USE_ISSUE,  /* of an asynchronous copy */
    USE_LAND,   /* by the wait for it */
    USE_LEND,   /* to the copy engine, which reads it between now */
    USE_RETURN, /* and then */
    USE_FORGET  /* a value that is none was stored */
};

/* ---- peer.c: the shared memory of other CTAs of the cluster ---- */
/* The CTA whose shared memory an address lies in, which is left as one of that CTA's own. NULL after a fault: there is
 * no such CTA, it has ended, or nothing says that it has started. */
struct cta *cluster_peer(struct warp *w, const struct insn *i, int lane, uint64_t *address);
struct cta *cluster_cta(struct warp *w, const struct insn *i, int lane, uint32_t rank); /* the same by rank */
/* May this instruction reach into other CTAs: a generic address, or .shared::cluster? */
static inline bool cluster_reaches(const struct warp *w, const struct insn *i) {
    return run_of(w)->cluster_ctas > 1 && (i->space == SPACE_GENERIC || (i->flags & F_REMOTE));
}

/* ---- async.c ---- */
void async_drop(struct warp *w);                  /* a warp starts or ends */
void async_flight(struct warp *w, int64_t bytes); /* so many more, or fewer, are in flight */
/* Lands the copies of one lane up to a serial number; false after a fault. */
bool async_land_lane(struct warp *w, int lane, uint64_t serial);

/* ---- mbarrier.c, bulk.c, bulk_store.c: what Hopper adds ---- */
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
/* What a reduction does to the elements of this box. */
struct reduction bulk_reduction(const struct insn *i, const struct bulk_box *box);
/* Of a tensor, whose number of dimensions its name has. */
static inline bool bulk_is_tensor(const struct insn *i) {
    return i->num != 0;
}
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
/* The same by the lanes of an access. */
bool shadow_access_warp(struct cta *c, struct warp *w, const struct insn *i, const struct access *x,
                        enum shadow_use use);
/* The same of rows of 16 bytes, by no lane in particular. */
bool shadow_access_rows(struct cta *c, struct warp *w, const struct insn *i, const uint32_t *address, int rows,
                        enum shadow_use use);
/* Records that the watch has needed so far at once. */
size_t shadow_records(const struct cta *c);
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

/* ---- handlers of instructions ---- */
op_fn mem_load, mem_load_param, mem_store, mem_atomic, mem_prefetch, mem_discard;
op_fn mbarrier_init_op, mbarrier_inval_op, mbarrier_arrive_op, mbarrier_tx_op, mbarrier_arrive_async_op,
    mbarrier_wait_op;
op_fn bulk_copy_op, bulk_tensor_op, bulk_prefetch_op, bulk_store_op, bulk_store_commit, bulk_store_wait;
op_fn async_copy_issue, async_commit, async_wait;

#endif
