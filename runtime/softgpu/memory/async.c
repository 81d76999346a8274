/* cp.async: copies that are issued now and land when their thread waits for them.
 *
 * PTX promises the data to the issuing thread after its wait and to nobody earlier, so that is when the copy happens
 * here: the source is read and the destination written at the wait. With eager_async it happens at issue; what may be
 * read when is judged the same way. */
#include "memory.h"
#include "runtime/base/array.h"

#include <string.h>

void async_drop(struct warp *w) {
    w->own->copies = w->own->first_copy = 0;
    w->own->inflight = w->own->max_inflight = 0;
    memset(w->own->groups, 0, sizeof w->own->groups);
}

void async_flight(struct warp *w, int64_t bytes) {
    struct warp_private *own = w->own;
    own->inflight += (uint64_t)bytes;
    own->max_inflight = own->inflight > own->max_inflight ? own->inflight : own->max_inflight;
}

static void move_bytes(struct warp *w, const struct async_copy *c) {
    uint8_t *target = w->cta->shared + c->target;
    if (c->source_bytes)
        global_read(w, target, c->source, c->source_bytes);
    memset(target + c->source_bytes, 0, (size_t)(c->bytes - c->source_bytes));
}

/* Bytes to read of each lane: all, or the optional operand: a size, or a predicate that says to read none. */
static uint32_t source_bytes(const struct warp *w, const struct insn *i, int lane, uint32_t bytes) {
    bool has = i->srcs > 3 && !(i->srcs == 4 && (i->flags & F_POLICY));
    if (!has)
        return bytes;
    if (i->src[3].kind == O_PRED)
        return src_pred(w, &i->src[3]) >> lane & 1 ? 0 : bytes;
    return ((const uint32_t *)src_lanes(w, &i->src[3]))[lane];
}

static bool issue_lane(struct warp *w, const struct insn *i, int lane, uint64_t target, uint64_t source) {
    struct warp_private *own = w->own;
    uint32_t bytes = (uint32_t)i->src[2].imm, wanted = source_bytes(w, i, lane, bytes);
    if (wanted > bytes) {
        warp_fault(w, i, lane, SG_FAULT_OUT_OF_BOUNDS, "source size %u of a copy of %u bytes", wanted, bytes);
        return false;
    }
    if (wanted && source % bytes) {
        warp_fault(w, i, lane, SG_FAULT_MISALIGNED, "global address 0x%llx is not a multiple of %u",
                   (unsigned long long)source, bytes);
        return false;
    }
    if (wanted && !global_pointer(w, i, lane, source, wanted))
        return false;
    if (is_strict(w) && !shadow_access(w, i, lane, (uint32_t)target, bytes, USE_ISSUE))
        return false;
    array_grow(&own->copy, &own->copy_capacity, own->copies, sizeof *own->copy);
    struct async_copy *c = &own->copy[own->copies++];
    *c = (struct async_copy){.source = source,
                             .target = (uint32_t)target,
                             .pc = w->pc - 1,
                             .group = own->groups[lane],
                             .bytes = (uint8_t)bytes,
                             .source_bytes = (uint8_t)wanted,
                             .lane = (uint8_t)lane,
                             .serial = ++own->serial};
    if (run_of(w)->launch->eager_async)
        move_bytes(w, c);
    async_flight(w, bytes);
    w->count.async_bytes += wanted;
    if (wanted)
        global_moved(w, source, wanted, false);
    return true;
}

/* cp.async [target], [source], bytes{, source bytes or predicate}{, policy} */
void async_copy_issue(struct warp *w, const struct insn *i) {
    struct access to, from;
    access_gather(w, &i->src[0], w->exec, &to);
    access_gather(w, &i->src[1], w->exec, &from);
    to.bytes = from.bytes = (unsigned)i->src[2].imm;
    from.contiguous = false;
    if (!shared_check(w, i, &to))
        return;
    shared_count(w, &to);
    global_count_requests(w, &from); /* bytes are counted lane by lane: some may read less */
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        if (!issue_lane(w, i, lane, to.address[lane], from.address[lane]))
            return;
    }
}

void async_commit(struct warp *w, const struct insn *i) {
    (void)i;
    for (int lane = 0; lane < LANES; lane++)
        w->own->groups[lane] += w->exec >> lane & 1;
}

static bool land(struct warp *w, struct async_copy *c) {
    const struct run *run = run_of(w);
    if (!run->launch->eager_async)
        move_bytes(w, c);
    c->done = true;
    async_flight(w, -(int64_t)c->bytes);
    const struct insn *i = &run->module->code[c->pc];
    if (is_strict(w) && !shadow_access(w, i, c->lane, c->target, c->bytes, USE_LAND))
        return false;
    written_copy(w->cta, w, i, c->lane, c->source, c->target, c->source_bytes);
    return true;
}

/* Forgets what has landed. */
static void compact(struct warp_private *own) {
    while (own->first_copy < own->copies && own->copy[own->first_copy].done)
        own->first_copy++;
    if (own->first_copy * 2 > own->copies) {
        own->copies -= own->first_copy;
        memmove(own->copy, own->copy + own->first_copy, own->copies * sizeof *own->copy);
        own->first_copy = 0;
    }
}

bool async_land_lane(struct warp *w, int lane, uint64_t serial) {
    struct warp_private *own = w->own;
    for (size_t k = own->first_copy; k < own->copies; k++) {
        struct async_copy *c = &own->copy[k];
        if (!c->done && c->lane == lane && c->serial <= serial && !land(w, c))
            return false;
    }
    compact(own);
    return true;
}

/* cp.async.wait_group n: all but the last n groups of each thread; cp.async.wait_all: everything it issued */
void async_wait(struct warp *w, const struct insn *i) {
    struct warp_private *own = w->own;
    bool all = i->boolop == SUB_WAIT_ALL;
    uint32_t keep = all ? 0 : (uint32_t)i->src[0].imm;
    for (size_t k = own->first_copy; k < own->copies; k++) {
        struct async_copy *c = &own->copy[k];
        bool mine = w->exec >> c->lane & 1;
        bool covered = all || (own->groups[c->lane] >= keep && c->group < own->groups[c->lane] - keep);
        if (!c->done && mine && covered && !land(w, c))
            return;
    }
    compact(own);
}
