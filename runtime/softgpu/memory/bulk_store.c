/* cp.async.bulk and cp.async.bulk.tensor to global memory, and cp.reduce.async.bulk, which combines what is there with
 * what comes: copies out of shared memory in groups.
 *
 * Both ends happen at the last moment that PTX allows: shared memory is read when the issuing thread waits for the
 * group
 * (.read is enough), global memory is written when it waits without .read, or when the CTA has ended. Until shared
 * memory has been read it is lent to the copy engine: who writes there is found. */
#include "memory.h"
#include "runtime/base/array.h"
#include "runtime/base/str.h"

#include <stdlib.h>
#include <string.h>

/* Seen on H100: a row whose end is no multiple of 16 bytes is overwritten up to the next one. Of reductions that has not
 * been seen. */
enum { STORE_GRANULE = 16 };
enum { HELD_MOST = 256 }; /* stores of a warp that are read and not written: a persistent kernel has no end of them */

static void store_free(struct bulk_store *s) {
    bulk_box_free(&s->box);
    free(s->held);
}

void bulk_store_drop(struct warp *w) {
    for (size_t k = 0; k < w->own->stores; k++)
        store_free(&w->own->store[k]);
    w->own->stores = 0;
    memset(w->own->store_groups, 0, sizeof w->own->store_groups);
}

/* ---- the two ends of a copy ---- */

static void read_shared(struct warp *w, struct bulk_store *s) {
    uint32_t shared;
    uint8_t *to = s->held = xmalloc(s->box.moved + 1); /* a box outside of the tensor moves nothing */
    for (const struct bulk_piece *p = s->box.piece; p < s->box.piece + s->box.pieces; p++)
        for (uint32_t at = 0, run; at < p->bytes; at += run, to += run) {
            run = bulk_run(&s->box, p, at, &shared);
            memcpy(to, w->cta->shared + shared, run);
        }
}

/* Once. */
static void write_global(struct warp *w, struct bulk_store *s) {
    const struct insn *i = &run_of(w)->module->code[s->pc];
    const uint8_t *from = s->held;
    for (const struct bulk_piece *p = s->box.piece; from && p < s->box.piece + s->box.pieces; from += p->bytes, p++)
        if (i->flags & F_REDUCE)
            reduce_global(w, bulk_reduction(i, &s->box), p->global, from, p->bytes);
        else
            global_write(w, p->global, from, p->bytes);
    free(s->held);
    s->held = NULL;
}

static bool finish_read(struct warp *w, struct bulk_store *s) {
    if (!run_of(w)->launch->eager_async)
        read_shared(w, s);
    s->read = true;
    return bulk_return(w->cta, w, s->pc, s->lane, &s->box);
}

/* Writes what has been read, of the lanes in `exec` up to `groups[lane]`, or the oldest `most`; forgets it. */
static void finish_writes(struct warp *w, size_t most, uint32_t exec, const uint32_t *groups) {
    struct warp_private *own = w->own;
    size_t kept = 0;
    for (size_t k = 0; k < own->stores; k++) {
        struct bulk_store *s = &own->store[k];
        bool covered = s->read && (k < most || ((exec >> s->lane & 1) && s->group < groups[s->lane]));
        if (covered) {
            write_global(w, s);
            store_free(s);
        } else {
            own->store[kept++] = *s;
        }
    }
    own->stores = kept;
}

void bulk_store_end(struct cta *c) {
    static const uint32_t none[LANES];
    for (int k = 0; k < c->warps; k++) {
        struct warp_private *own = &c->own[k];
        for (size_t n = 0; n < own->stores; n++) { /* nobody has waited for it, which is passed over */
            if (!own->store[n].read && !c->run->launch->eager_async)
                read_shared(&c->warp[k], &own->store[n]);
            own->store[n].read = true;
        }
        finish_writes(&c->warp[k], SIZE_MAX, 0, none);
    }
}

/* ---- instructions ---- */

static void count_store(struct warp *w, const struct bulk_box *box) {
    for (const struct bulk_piece *p = box->piece; p < box->piece + box->pieces; p++)
        w->count.global_sectors += (p->global + p->bytes - 1) / 32 - p->global / 32 + 1;
    if (box->pieces)
        global_moved(w, box->piece->global, box->moved, true);
    w->count.global_requests++;
    w->count.shared_wavefronts += (box->bytes + 127) / 128;
}

/* A tensor's elements are known only now. */
static bool check_reduction(struct warp *w, const struct insn *i, int lane, struct bulk_box *box) {
    if (reduction_exists(bulk_reduction(i, box), true))
        return true;
    warp_fault(w, i, lane, SG_FAULT_ASYNC, "the tensor map's elements are %s, and they cannot be reduced so",
               type_name((enum ptx_type)box->type));
    bulk_box_free(box);
    return false;
}

/* cp.async.bulk.global.shared::cta.bulk_group [target], [source], bytes
 * cp.async.bulk.tensor.Nd.global.shared::cta.bulk_group [map, {coordinates}], [source]
 * cp.reduce.async.bulk…: the same with an operation and, but for tensors, a type */
void bulk_store_op(struct warp *w, const struct insn *i) {
    struct warp_private *own = w->own;
    const bool tensor = bulk_is_tensor(i);
    const uint32_t granule = i->flags & F_REDUCE ? 1 : STORE_GRANULE;
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        uint64_t global = lane_address(w, &i->src[0], lane);
        uint64_t shared = lane_address(w, &i->src[tensor ? 2 : 1], lane) & ~WINDOW_MASK;
        struct bulk_store s = {
            .pc = w->pc - 1, .group = own->store_groups[lane], .lane = (uint8_t)lane, .box.shared = (uint32_t)shared};
        if (tensor ? !bulk_box_tensor(w, i, lane, global, &i->src[1], granule, &s.box)
                   : !bulk_box_linear(w, i, lane, global, lane_u32(w, &i->src[2], lane), &s.box))
            return;
        if ((i->flags & F_REDUCE) && !check_reduction(w, i, lane, &s.box))
            return;
        array_grow(&own->store, &own->store_capacity, own->stores, sizeof s);
        own->store[own->stores++] = s;
        if (!bulk_watch_source(w->cta, w, s.pc, lane, &s.box, USE_LEND))
            return;
        count_store(w, &s.box);
        if (run_of(w)->launch->eager_async) {
            read_shared(w, &own->store[own->stores - 1]);
            write_global(w, &own->store[own->stores - 1]);
        }
    }
}

void bulk_store_commit(struct warp *w, const struct insn *i) {
    (void)i;
    for (int lane = 0; lane < LANES; lane++)
        w->own->store_groups[lane] += w->exec >> lane & 1;
}

/* cp.async.bulk.wait_group{.read} n: all but the last n groups of each thread */
void bulk_store_wait(struct warp *w, const struct insn *i) {
    struct warp_private *own = w->own;
    uint32_t keep = (uint32_t)i->src[0].imm, covered[LANES];
    for (int lane = 0; lane < LANES; lane++)
        covered[lane] = own->store_groups[lane] > keep ? own->store_groups[lane] - keep : 0;
    for (size_t k = 0; k < own->stores; k++) {
        struct bulk_store *s = &own->store[k];
        if (!s->read && (w->exec >> s->lane & 1) && s->group < covered[s->lane] && !finish_read(w, s))
            return;
    }
    size_t most = own->stores > HELD_MOST ? own->stores - HELD_MOST : 0;
    finish_writes(w, most, i->flags & F_READ ? 0 : w->exec, covered);
}
