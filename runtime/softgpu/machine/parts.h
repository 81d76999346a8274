/* What the files of the machine offer each other: scheduling, flow, barriers, warp groups. */
#ifndef SG_MACHINE_PARTS_H
#define SG_MACHINE_PARTS_H

#include "runtime/softgpu/memory/memory.h"

/* ---- bind.c: the machine's own handlers, and op_bind() for arithmetic ---- */
bool machine_bind(struct insn *i, char *error, size_t error_size);

/* ---- sched.c ---- */
void *run_worker(void *run);
uint64_t cluster_bytes(const struct run *run); /* registers, local and shared memory */
#define MACHINE_MOST ((uint64_t)1 << 32)       /* of these, for all clusters that are resident at a time */

/* ---- count.c ---- */
void count_machine_code(struct warp *w); /* when it has ended */

/* ---- cluster.c ---- */
void cluster_start(struct cluster *cl); /* its barrier; its CTAs have started */
void cluster_exit(struct warp *w, uint32_t lanes);
void cluster_explain(const struct cluster *cl, char *text, size_t size);

/* ---- wgmma.c ---- */
void wgmma_reset(struct warp *w, size_t frame_bytes);
void wgmma_free(struct warp *w);
/* ---- wgmma_operand.c: tiles in shared memory. All false after a fault. ---- */
enum { WGMMA_K_BYTES = 32, WGMMA_MAX_N = 256 };
/* Copies the tile as rows of WGMMA_K_BYTES; it will be looked at again by the wait for the group that is open. */
bool wgmma_operand_read(struct warp *w, const struct insn *i, const struct wgmma_tile *t, uint8_t *tile);
bool wgmma_operands_settle(struct warp *w, uint32_t done); /* of the first `done` groups */
void wgmma_operand_free(struct warp *w);
/* Registers are watched from a wgmma.fence to the wait for the last wgmma after it. */
static inline bool wgmma_watches(const struct warp *w) {
    return w->own->wgmma.fenced || w->own->wgmma.pending;
}
/* Does this instruction touch a register that is the tensor core's? Faults if so, and else remembers what it
 * touches. */
void wgmma_guard(struct warp *w, const struct insn *i);
/* The warp executes the next instruction of its group; false after a fault: it is not that of the others. */
bool group_step(struct warp *w, const struct insn *i);
void group_end(struct cta *c); /* all have executed the same */
void group_reset(struct cta *c);
void group_free(struct cta *c);
/* Warps that wait for registers: appends to `text`. */
void registers_explain(const struct cta *c, char *text, size_t size);

/* ---- handlers, bound in bind.c ---- */
op_fn flow_bra, flow_brx, flow_exit, flow_call, flow_ret, flow_trap;
op_fn flow_lacking; /* for what the device does not have */
op_fn addr_cvta, addr_isspacep, addr_special, addr_policy, addr_mapa, addr_getctarank;
op_fn cluster_arrive_op, cluster_wait_op;
op_fn wgmma_fence_op, wgmma_commit_op, wgmma_wait_op, wgmma_mma_op, sync_setmaxnreg;
bool wgmma_bind(struct insn *i); /* false: this form is not known */
void sync_exit(struct cta *c);   /* threads have exited: barriers may be complete */
op_fn sync_barrier, sync_warp, sync_fence, sync_shfl, sync_vote, sync_match, sync_redux, sync_activemask, sync_elect,
    sync_nothing;
void call_extern(struct warp *w, const struct insn *i, const char *name);

#endif
