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
    if (c->source_bytes == 16 && !run_of(w)->overlay) {
        memcpy(target, (const void *)(uintptr_t)c->source, 16);
        return;
    }
    if (c->source_bytes)
        global_read(w, target, c->source, c->source_bytes);
    memset(target + c->source_bytes, 0, (size_t)(c->bytes - c->source_bytes));
}

/* Bytes to read of each lane: all, or the optional operand: a size, or a predicate that says to read none. True if it is
 * all of each. */
static bool source_bytes(const struct warp *w, const struct insn *i, uint32_t bytes, uint32_t wanted[LANES]) {
    const bool has = i->srcs > 3 && !(i->srcs == 4 && (i->flags & F_POLICY));
    const bool predicate = has && i->src[3].kind == O_PRED;
    const uint32_t none = predicate ? src_pred(w, &i->src[3]) : 0;
    const uint32_t *size = has && !predicate ? src_lanes(w, &i->src[3]) : NULL;
    uint32_t less = 0;
    for (int lane = 0; lane < LANES; lane++) {
        wanted[lane] = size ? size[lane] : none >> lane & 1 ? 0 : bytes;
        less |= (uint32_t)(wanted[lane] != bytes) << lane;
    }
    return (less & w->exec) == 0;
}

/* How many bytes each lane reads, and that it may; false after a fault. */
static bool check_sources(struct warp *w, const struct insn *i, struct access *from, uint32_t wanted[LANES]) {
    const uint32_t bytes = from->bytes;
    if (source_bytes(w, i, bytes, wanted))
        return global_check(w, i, from);
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        const int lane = __builtin_ctz(rest);
        const uint64_t source = from->address[lane];
        if (wanted[lane] > bytes) {
            warp_fault(w, i, lane, SG_FAULT_OUT_OF_BOUNDS, "source size %u of a copy of %u bytes", wanted[lane], bytes);
            return false;
        }
        if (wanted[lane] && (source & (bytes - 1))) { /* 4, 8 or 16: a division would take longest of all */
            warp_fault(w, i, lane, SG_FAULT_MISALIGNED, "global address 0x%llx is not a multiple of %u",
                       (unsigned long long)source, bytes);
            return false;
        }
        if (wanted[lane] && !global_pointer(w, i, lane, source, wanted[lane]))
            return false;
    }
    return true;
}

/* Copies of the lanes that execute; all has been checked. */
static void issue(struct warp *w, const struct access *to, const struct access *from, const uint32_t *wanted) {
    struct warp_private *own = w->own;
    uint64_t sum = 0, source = 0; /* of one of them: they read one allocation, mostly */
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        const int lane = __builtin_ctz(rest);
        array_grow(&own->copy, &own->copy_capacity, own->copies, sizeof *own->copy);
        struct async_copy *c = &own->copy[own->copies++];
        c->source = from->address[lane];
        c->target = (uint32_t)to->address[lane];
        c->pc = w->pc - 1;
        c->group = own->groups[lane];
        c->bytes = (uint8_t)to->bytes;
        c->source_bytes = (uint8_t)wanted[lane];
        c->lane = (uint8_t)lane;
        c->done = false;
        __builtin_prefetch((const void *)(uintptr_t)c->source); /* read when it lands */
        c->serial = ++own->serial;
        sum += wanted[lane];
        source = wanted[lane] ? c->source : source;
        if (run_of(w)->launch->eager_async)
            move_bytes(w, c);
    }
    async_flight(w, (int64_t)to->bytes * __builtin_popcount(w->exec));
    w->count.async_bytes += sum;
    if (sum)
        global_moved(w, source, sum, false);
}

/* cp.async [target], [source], bytes{, source bytes or predicate}{, policy} */
void async_copy_issue(struct warp *w, const struct insn *i) {
    struct access to, from;
    uint32_t wanted[LANES];
    access_gather(w, &i->src[0], w->exec, &to);
    access_gather(w, &i->src[1], w->exec, &from);
    to.bytes = from.bytes = (unsigned)i->src[2].imm;
    from.contiguous = false;
    if (!shared_check(w, i, &to))
        return;
    shared_count(w, &to);
    if (!check_sources(w, i, &from, wanted))
        return;
    global_count_requests(w, &from); /* bytes are counted lane by lane: some may read less */
    if (is_strict(w) && !shadow_access_warp(w->cta, w, i, &to, USE_ISSUE))
        return;
    issue(w, &to, &from, wanted);
}

void async_commit(struct warp *w, const struct insn *i) {
    (void)i;
    for (int lane = 0; lane < LANES; lane++)
        w->own->groups[lane] += w->exec >> lane & 1;
}

/* Copies that land one after the other: those of one instruction go together to the watch. */
struct landing {
    struct warp *warp;
    struct access access;
    const struct async_copy *copy[LANES];
    uint32_t pc;
};

static void landing_begin(struct landing *l, struct warp *w) { /* most of it is filled when it is needed */
    l->warp = w;
    l->pc = 0;
    l->access.exec = 0;
    l->access.contiguous = false;
}

static bool flush(struct landing *l) {
    struct warp *w = l->warp;
    const struct insn *i = &run_of(w)->module->code[l->pc];
    uint32_t rest = is_strict(w) ? l->access.exec : 0;
    if (rest && !shadow_access_warp(w->cta, w, i, &l->access, USE_LAND))
        return false;
    if (rest) /* most likely that of all lanes */
        w->own->recent = global_alloc(w, l->copy[__builtin_ctz(rest)]->source);
    for (; rest; rest &= rest - 1) {
        const struct async_copy *c = l->copy[__builtin_ctz(rest)];
        written_copy(w->cta, w, i, c->lane, c->source, c->target, c->source_bytes);
    }
    l->access.exec = 0;
    return true;
}

static bool land(struct landing *l, struct async_copy *c) {
    struct warp *w = l->warp;
    if (!run_of(w)->launch->eager_async)
        move_bytes(w, c);
    c->done = true;
    async_flight(w, -(int64_t)c->bytes);
    if (l->access.exec && (l->pc != c->pc || l->access.exec >> c->lane) && !flush(l))
        return false;
    l->pc = c->pc;
    l->access.bytes = c->bytes;
    l->access.exec |= 1u << c->lane;
    l->access.address[c->lane] = c->target;
    l->copy[c->lane] = c;
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
    struct landing l;
    landing_begin(&l, w);
    for (size_t k = own->first_copy; k < own->copies; k++) {
        struct async_copy *c = &own->copy[k];
        if (!c->done && c->lane == lane && c->serial <= serial && !land(&l, c))
            return false;
    }
    if (!flush(&l))
        return false;
    compact(own);
    return true;
}

/* cp.async.wait_group n: all but the last n groups of each thread; cp.async.wait_all: everything it issued */
void async_wait(struct warp *w, const struct insn *i) {
    struct warp_private *own = w->own;
    struct landing l;
    landing_begin(&l, w);
    bool all = i->boolop == SUB_WAIT_ALL;
    uint32_t keep = all ? 0 : (uint32_t)i->src[0].imm;
    uint32_t wait = w->exec; /* lanes that may still have something to land: a lane's copies are in order */
    for (size_t k = own->first_copy; k < own->copies && wait; k++) {
        struct async_copy *c = &own->copy[k];
        bool mine = w->exec >> c->lane & 1;
        bool covered = all || (own->groups[c->lane] >= keep && c->group < own->groups[c->lane] - keep);
        wait &= ~((uint32_t)!covered << c->lane);
        if (!c->done && mine && covered && !land(&l, c))
            return;
    }
    if (!flush(&l))
        return;
    compact(own);
}
