/* mbarrier objects: phases that complete when all arrivals and all announced bytes are in.
 *
 * Asynchronous copies that complete on an mbarrier happen at the last moment that PTX allows: when a warp waits for the
 * phase and nothing but them is missing. (With eager_async the bytes move at once; what may be read when is judged the
 * same way.) A warp that waits is not run again until an mbarrier of its CTA changes, so
 * that a lost arrival is a deadlock with a name. */
#include "memory.h"
#include "runtime/base/array.h"
#include "runtime/base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MBARRIER_BYTES = 8 };

void mbarrier_reset(struct cta *c) {
    for (size_t k = 0; k < c->deferreds; k++)
        bulk_box_free(&c->deferred[k].box);
    c->mbarriers = 0;
    c->deferreds = 0;
}

void mbarrier_free(struct cta *c) {
    mbarrier_reset(c);
    free(c->deferred);
}

static struct mbarrier *lookup(struct cta *c, uint32_t address) {
    for (int k = 0; k < c->mbarriers; k++)
        if (c->mbarrier[k].address == address)
            return &c->mbarrier[k];
    return NULL;
}

/* NULL after a fault: the CTA has no mbarrier at this address, or nothing orders its initialisation before this. */
static struct mbarrier *find_in(struct cta *c, struct warp *w, const struct insn *i, int lane, uint64_t address) {
    struct mbarrier *b = address <= UINT32_MAX ? lookup(c, (uint32_t)address) : NULL;
    if (!b)
        warp_fault(w, i, lane, SG_FAULT_UNINITIALIZED, "there is no initialised mbarrier at shared 0x%llx%s",
                   (unsigned long long)address,
                   address >> RANK_SHIFT ? ", an address in another CTA: this instruction reaches only its own" : "");
    /* Its initialisation is an ordinary store: without a barrier since, this use races with it. */
    else if (is_strict(w) && !shadow_access_in(c, w, i, lane, b->address, MBARRIER_BYTES, USE_STRONG_READ))
        return NULL;
    return b;
}

/* The same for the address of a lane, in another CTA too where the instruction says .shared::cluster. */
static struct mbarrier *find(struct warp *w, const struct insn *i, int lane) {
    uint64_t address = lane_address(w, &i->src[0], lane);
    struct cta *c = w->cta;
    if ((address & WINDOW_MASK) == SHARED_WINDOW)
        address -= SHARED_WINDOW;
    if ((i->flags & F_REMOTE) && !(c = cluster_peer(w, i, lane, &address)))
        return NULL;
    return find_in(c, w, i, lane, address);
}

struct mbarrier *mbarrier_of_copy(struct warp *w, const struct insn *i, int lane, struct cta *c, uint64_t address) {
    struct mbarrier *b = find_in(c, w, i, lane, address);
    if (!b || !is_strict(w) || b->fenced || b->stamp <= c->cluster->proxy_fenced[b->writer])
        return b;
    const bool off =
        warp_check(w, i, lane, SG_CHECK_MBARRIER_FENCE,
                   "mbarrier 0x%x was initialised at PTX line %u and neither fence.mbarrier_init nor fence.proxy.async "
                   "followed",
                   b->address, b->line);
    return off ? b : NULL;
}

void mbarrier_fence_init(struct warp *w) {
    struct cta *c = w->cta;
    for (int k = 0; k < c->mbarriers; k++)
        c->mbarrier[k].fenced |= c->mbarrier[k].writer == w->own->column;
}

/* Waiters look again. */
static void wake(struct cta *c) {
    for (int k = 0; k < c->warps; k++)
        split_release(&c->warp[k], MBARRIER_WAIT);
}

static void complete_if_full(struct mbarrier *b) {
    if (b->missing == 0 && b->bytes == 0) {
        b->phase++;
        b->missing = b->expected;
        memcpy(b->completed, b->published, sizeof b->completed);
    }
    wake(b->cta);
}

static bool arrive(struct warp *w, const struct insn *i, int lane, struct mbarrier *b, uint32_t count) {
    if (count > b->missing) {
        if (!warp_check(w, i, lane, SG_CHECK_MBARRIER_ARRIVALS,
                        "%u arrivals at mbarrier 0x%x, whose phase %llu lacks only %u of %u", count, b->address,
                        (unsigned long long)b->phase, b->missing, b->expected))
            return false;
        count = b->missing;
    }
    if (is_strict(w))
        shadow_publish(w, b->published);
    b->missing -= count;
    complete_if_full(b);
    return true;
}

/* ---- what happens at the last moment ---- */

static bool perform(struct cta *c, const struct deferred *d) {
    struct warp *w = d->warp;
    const struct insn *i = &c->run->module->code[d->pc];
    struct mbarrier *b = lookup(c, d->mbarrier);
    if (d->arrival)
        return async_land_lane(w, d->lane, d->serial) && arrive(w, i, d->lane, b, 1);
    if (!bulk_land(c, d))
        return false;
    if (c->shadow)
        shadow_publish(w, b->published);
    b->bytes -= d->box.bytes;
    complete_if_full(b);
    return true;
}

static bool perform_all(struct cta *c, uint32_t mbarrier) {
    for (size_t k = 0; k < c->deferreds;) {
        struct deferred d = c->deferred[k];
        if (d.mbarrier != mbarrier) {
            k++;
            continue;
        }
        memmove(&c->deferred[k], &c->deferred[k + 1], (--c->deferreds - k) * sizeof d);
        bool good = perform(c, &d);
        bulk_box_free(&d.box);
        if (!good)
            return false;
    }
    return true;
}

/* Arrivals and bytes that are deferred for an mbarrier. */
struct under_way {
    uint32_t arrivals;
    int64_t bytes;
};
static struct under_way under_way(const struct cta *c, const struct mbarrier *b) {
    struct under_way sum = {0};
    for (size_t k = 0; k < c->deferreds; k++)
        if (c->deferred[k].mbarrier == b->address) {
            sum.arrivals += c->deferred[k].arrival;
            sum.bytes += c->deferred[k].box.bytes;
        }
    return sum;
}

/* True if nothing but deferred work is missing for the phase. */
static bool only_deferred_missing(const struct cta *c, const struct mbarrier *b) {
    const struct under_way sum = under_way(c, b);
    return (sum.arrivals || sum.bytes) && sum.arrivals == b->missing && sum.bytes == b->bytes;
}

void mbarrier_defer(struct cta *c, const struct deferred *d) {
    array_grow(&c->deferred, &c->deferred_capacity, c->deferreds, sizeof *c->deferred);
    c->deferred[c->deferreds++] = *d;
    wake(c);
}

static bool is_awaited(const struct cta *c, const struct mbarrier *b) {
    for (int k = 0; k < c->warps; k++)
        for (int s = 0; s < c->own[k].splits; s++) {
            const struct split *split = &c->own[k].split[s];
            if (split->state != SPLIT_BARRIER || split->barrier != MBARRIER_WAIT)
                continue;
            const struct insn *i = &c->run->module->code[split->pc];
            if ((lane_address(&c->warp[k], &i->src[0], __builtin_ctz(split->mask)) & ~WINDOW_MASK) == b->address)
                return true;
        }
    return false;
}

void mbarrier_explain(const struct cta *c, char *text, size_t size) {
    size_t used = strlen(text);
    for (int k = 0; k < c->mbarriers && used < size; k++) {
        const struct mbarrier *b = &c->mbarrier[k];
        if (!is_awaited(c, b))
            continue;
        const struct under_way sum = under_way(c, b);
        char of[32] = "";
        if (c->cluster->ctas > 1)
            snprintf(of, sizeof of, " of CTA %u", c->rank);
        int n =
            snprintf(text + used, size - used,
                     " mbarrier 0x%x%s phase %llu lacks %u of %u arrivals (%u under way), %lld bytes (%lld under way);",
                     b->address, of, (unsigned long long)b->phase, b->missing, b->expected, sum.arrivals,
                     (long long)b->bytes, (long long)sum.bytes);
        used += n > 0 ? (size_t)n : 0;
    }
}

/* ---- instructions ---- */

void mbarrier_init_op(struct warp *w, const struct insn *i) {
    struct cta *c = w->cta;
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        uint64_t address = lane_address(w, &i->src[0], lane);
        uint32_t count = lane_u32(w, &i->src[1], lane);
        if (!shared_access(w, i, lane, (enum ptx_space)i->space, address, MBARRIER_BYTES, true))
            return;
        address &= ~WINDOW_MASK;
        if ((count == 0 || count >= 1u << 20) &&
            !warp_check(w, i, lane, SG_CHECK_MBARRIER_COUNT, "an mbarrier for %u arrivals; 1 to 2^20 - 1 are possible",
                        count))
            return;
        struct mbarrier *b = lookup(c, (uint32_t)address);
        if (!b && c->mbarriers == MBARRIERS) {
            warp_fault(w, i, lane, SG_FAULT_UNSUPPORTED, "more than %d mbarriers in a CTA", MBARRIERS);
            return;
        }
        b = b ? b : &c->mbarrier[c->mbarriers++];
        *b = (struct mbarrier){.cta = c,
                               .address = (uint32_t)address,
                               .expected = count,
                               .missing = count,
                               .line = i->line,
                               .stamp = c->cluster->generation,
                               .writer = w->own->column};
    }
}

void mbarrier_inval_op(struct warp *w, const struct insn *i) {
    int lane = __builtin_ctz(w->exec);
    struct mbarrier *b = find(w, i, lane);
    if (b)
        *b = w->cta->mbarrier[--w->cta->mbarriers];
}

static void put_state(struct warp *w, const struct insn *i, int lane, uint64_t phase) {
    if (i->dst[0].kind == O_REG)
        ((uint64_t *)dst_lanes(w, &i->dst[0]))[lane] = phase;
}

/* Bytes announced, or reported if negative; PTX keeps them in 21 bits. */
static bool add_bytes(struct warp *w, const struct insn *i, int lane, struct mbarrier *b, int64_t bytes) {
    b->bytes += bytes;
    if (b->bytes > -(1 << 20) && b->bytes < 1 << 20)
        return true;
    return warp_check(w, i, lane, SG_CHECK_MBARRIER_BYTES,
                      "%lld bytes announced at mbarrier 0x%x; 2^20 - 1 are the most", (long long)b->bytes, b->address);
}

/* mbarrier.arrive{.expect_tx}, .arrive_drop: state, [address]{, count or bytes} */
void mbarrier_arrive_op(struct warp *w, const struct insn *i) {
    const bool expects = i->boolop == SUB_EXPECT_TX;
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        struct mbarrier *b = find(w, i, lane);
        if (!b)
            return;
        uint32_t number = i->srcs > 1 ? lane_u32(w, &i->src[1], lane) : 1;
        put_state(w, i, lane, b->phase);
        if (expects && !add_bytes(w, i, lane, b, number))
            return;
        if (i->sub == SUB_ARRIVE_DROP)
            b->expected -= expects ? 1 : number;
        if (!arrive(w, i, lane, b, expects ? 1 : number))
            return;
    }
    w->event = true; /* a waiting split of this warp may have been woken */
}

/* mbarrier.expect_tx, .complete_tx: bytes are announced or reported by hand. */
void mbarrier_tx_op(struct warp *w, const struct insn *i) {
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        struct mbarrier *b = find(w, i, lane);
        if (!b)
            return;
        int64_t bytes = lane_u32(w, &i->src[1], lane);
        if (!add_bytes(w, i, lane, b, i->sub == SUB_EXPECT_TX ? bytes : -bytes))
            return;
        complete_if_full(b);
    }
}

/* cp.async.mbarrier.arrive{.noinc} */
void mbarrier_arrive_async_op(struct warp *w, const struct insn *i) {
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        struct mbarrier *b = find(w, i, lane);
        if (!b)
            return;
        if (!(i->flags & F_NOINC))
            b->missing++;
        const struct deferred d = {.mbarrier = b->address,
                                   .warp = w,
                                   .lane = (uint8_t)lane,
                                   .arrival = true,
                                   .serial = w->own->serial,
                                   .pc = w->pc - 1};
        mbarrier_defer(w->cta, &d);
    }
    w->event = true;
}

/* Parks the running split until an mbarrier changes; then it executes this instruction again. */
static void wait_for_change(struct warp *w) {
    struct split *s = &w->own->split[w->own->running];
    s->state = SPLIT_BARRIER;
    s->barrier = MBARRIER_WAIT;
    w->pc--;
    split_save(w);
    w->event = true;
}

static bool is_complete(const struct mbarrier *b, const struct insn *i, uint64_t state) {
    return i->flags & F_PARITY ? (b->phase & 1) != (state & 1) : b->phase > state;
}

static uint64_t state_operand(const struct warp *w, const struct insn *i, int lane) {
    return i->flags & F_PARITY ? lane_u32(w, &i->src[1], lane) : ((const uint64_t *)src_lanes(w, &i->src[1]))[lane];
}

/* mbarrier.test_wait, .try_wait{.parity}: p, [address], state or parity{, time hint}. try_wait may suspend the thread;
 * here it does so until the phase is complete, as no time passes on this device. */
void mbarrier_wait_op(struct warp *w, const struct insn *i) {
    uint32_t complete = 0;
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        struct mbarrier *b = find(w, i, lane);
        if (!b)
            return;
        uint64_t state = state_operand(w, i, lane);
        if (!is_complete(b, i, state) && only_deferred_missing(w->cta, b) && !perform_all(w->cta, b->address))
            return;
        if (!is_complete(b, i, state))
            continue;
        complete |= 1u << lane;
        if (is_strict(w))
            shadow_learn(w, b->completed);
    }
    if (!complete && i->sub == SUB_TRY_WAIT && w->exec == w->active) {
        wait_for_change(w);
        return;
    }
    if (complete != w->exec)
        warp_polls(w, 1);
    dst_pred(w, &i->dst[0], complete);
}
