/* Who runs when: CTAs over host threads, warps within a CTA, splits within a warp. */
#include "base/str.h"
#include "softgpu/warp_private.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    WARP_QUANTUM = 20000, /* instructions of a warp before another has its turn */
    SLICE = 512,          /* instructions between looks at what a warp is doing */
    POLL_LIMIT = 16       /* strong loads and atomics in a slice: perhaps it waits for somebody */
};
enum turn { TURN_BLOCKED, TURN_GOES_ON, TURN_WAITS };
enum cta_result { CTA_DONE, CTA_STOPPED, CTA_GOES_ON, CTA_WAITS };

static uint64_t next_random(uint64_t *state) { /* splitmix64, Steele, Lea and Flood 2014 */
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

void warp_fault(struct warp *w, const struct insn *i, int lane, enum sg_fault_kind kind, const char *format, ...) {
    struct run *run = run_of(w);
    const struct cta *c = w->cta;
    w->event = true;
    pthread_mutex_lock(&run->lock);
    if (run->fault.kind == SG_FAULT_NONE) {
        run->fault.kind = kind;
        char what[320], where[32] = "";
        va_list args;
        va_start(args, format);
        vsnprintf(what, sizeof what, format, args);
        va_end(args);
        if (lane >= 0)
            snprintf(where, sizeof where, ", lane %d", lane);
        snprintf(run->fault.text, sizeof run->fault.text, "%s: CTA (%u,%u,%u), warp %u%s, PTX line %u '%.120s': %s",
                 run->function->name, c->id[0], c->id[1], c->id[2], w->index, where, i->line, i->text, what);
    }
    pthread_mutex_unlock(&run->lock);
    run->stop = true;
}

/* The inner loop: instructions of one split until something happens. */
static void run_split(struct warp *w, uint64_t limit) {
    struct warp_private *own = w->own;
    const struct insn *code = run_of(w)->module->code;
    const uint8_t *frame = w->base[BANK_FRAME];
    const uint32_t stop = own->stop_pc;
    uint32_t active = w->active;
    const bool guarded = own->wgmma.pending != 0;
    uint64_t issued = 0, lanes = 0;
    w->event = false;
    while (issued < limit && w->pc != stop && !w->event) {
        const struct insn *i = code + w->pc++;
        uint32_t exec = active;
        issued++;
        w->count.pipe[i->pipe]++;
        if (i->guarded & GUARD_PREDICATE)
            exec &= *(const uint32_t *)(const void *)(frame + i->guard_slot) ^ i->guard_xor;
        lanes += (uint32_t)__builtin_popcount(exec);
        w->exec = exec;
        if (guarded && exec)
            wgmma_guard(w, i);
        if (exec && (!(i->guarded & GUARD_TOGETHER) || exec == w->live || split_converge(w, i, UINT32_MAX)))
            i->run(w, i);
    }
    w->count.warp_instructions += issued;
    w->count.lane_instructions += lanes;
    split_save(w);
}

static const struct insn *next_insn(const struct warp *w) {
    return &run_of(w)->module->code[w->own->split[w->own->running].pc];
}

/* Strong loads, atomics and sleep are what waiting is made of: enough of them end the slice. */
void warp_polls(struct warp *w, unsigned weight) {
    w->own->polls += weight;
    w->event |= w->own->polls >= POLL_LIMIT;
}

/* Runs a warp until it ends, blocks, or its turn is over. */
static enum turn run_warp(struct warp *w) {
    struct warp_private *own = w->own;
    struct run *run = run_of(w);
    uint64_t end = w->count.warp_instructions + WARP_QUANTUM, most = run->launch->max_warp_instructions;
    int polling = 0;
    own->polls = 0;
    while (!run->stop && split_choose(w)) {
        run_split(w, SLICE);
        if (own->polls >= POLL_LIMIT) {
            own->polls = 0;
            own->rotate = true;
            polling++;
        }
        if (most && w->count.warp_instructions > most)
            warp_fault(w, next_insn(w), -1, SG_FAULT_TIMEOUT, "still running after %llu instructions of this warp",
                       (unsigned long long)w->count.warp_instructions);
        if (polling > own->splits)
            return TURN_WAITS;
        if (w->count.warp_instructions >= end)
            return TURN_GOES_ON;
    }
    return TURN_BLOCKED;
}

static void merge_counters(struct sg_counters *into, const struct sg_counters *from) {
    uint64_t longest = into->max_warp_instructions, inflight = into->max_inflight_bytes;
    uint64_t *a = (uint64_t *)into;
    const uint64_t *b = (const uint64_t *)from;
    for (size_t k = 0; k < sizeof *into / sizeof *a; k++)
        a[k] += b[k];
    into->max_warp_instructions = from->warp_instructions > longest ? from->warp_instructions : longest;
    into->max_inflight_bytes = from->max_inflight_bytes > inflight ? from->max_inflight_bytes : inflight;
}

/* ---- CTAs ---- */

static void *aligned_bytes(size_t size) {
    void *p = aligned_alloc(64, (size + 127) / 64 * 64);
    if (!p)
        abort();
    return p;
}

static struct cta *cta_new(struct run *run) {
    struct cta *c = xcalloc(1, sizeof *c);
    c->run = run;
    c->warps = (int)((run->threads + LANES - 1) / LANES);
    c->frame_stride =
        function_frame_total(run->function) + 192; /* an odd number of lines: no two warps on one cache set */
    c->local_stride = function_local_total(run->function);
    c->shared_bytes = run->shared_bytes;
    c->frames = aligned_bytes(c->frame_stride * (size_t)c->warps);
    c->locals = aligned_bytes(c->local_stride * LANES * (size_t)c->warps);
    c->shared = aligned_bytes(c->shared_bytes);
    for (int k = 0; k < c->warps; k++) {
        c->warp[k] = (struct warp){.base = {c->frames + c->frame_stride * (size_t)k, run->module->constants},
                                   .index = (uint8_t)k,
                                   .cta = c,
                                   .own = &c->own[k]};
        c->own[k].local = c->locals + c->local_stride * LANES * (size_t)k;
    }
    return c;
}

static void cta_free(struct cta *c) {
    for (int k = 0; k < c->warps; k++) {
        free(c->own[k].node);
        free(c->own[k].copy);
        bulk_store_drop(&c->warp[k]);
        free(c->own[k].store);
        wgmma_free(&c->warp[k]);
    }
    mbarrier_free(c);
    shadow_free(c);
    free(c->frames);
    free(c->locals);
    free(c->shared);
    free(c);
}

/* Everything a CTA has not written is poison: NaN as a float, -1 as an integer, no address as a pointer. */
static void cta_start(struct cta *c, uint32_t linear) {
    struct run *run = c->run;
    const struct sg_launch *l = run->launch;
    c->id[0] = linear % l->grid[0];
    c->id[1] = linear / l->grid[0] % l->grid[1];
    c->id[2] = linear / l->grid[0] / l->grid[1];
    if (l->sample) { /* columns in the order given, every z of each */
        const uint32_t *column = l->sample[linear / l->grid[2]];
        c->id[0] = column[0];
        c->id[1] = column[1];
        c->id[2] = linear % l->grid[2];
    }
    c->live_threads = run->threads;
    c->random = l->seed ^ (linear * 0xd1342543de82ef95ull);
    memset(c->barrier, 0, sizeof c->barrier);
    memset(c->frames, 0xff, c->frame_stride * (size_t)c->warps);
    memset(c->locals, 0xff, c->local_stride * LANES * (size_t)c->warps);
    memset(c->shared, 0xff, c->shared_bytes);
    mbarrier_reset(c);
    if (l->strict)
        shadow_reset(c);
    for (int k = 0; k < c->warps; k++) {
        struct warp *w = &c->warp[k];
        uint32_t lanes = run->threads - (uint32_t)k * LANES;
        memset(&w->count, 0, sizeof w->count);
        w->carry = 0;
        async_drop(w);
        bulk_store_drop(w);
        wgmma_reset(w, c->frame_stride);
        split_start(w, run->function->first, lanes >= LANES ? UINT32_MAX : (1u << lanes) - 1);
    }
}

static void cta_finish(struct cta *c) {
    /* Each warp at its own worst: on a GPU they run at the same time. */
    uint64_t inflight = 0;
    for (int k = 0; k < c->warps; k++)
        inflight += c->own[k].max_inflight;
    c->warp[0].count.max_inflight_bytes = inflight;
    pthread_mutex_lock(&c->run->lock);
    for (int k = 0; k < c->warps; k++)
        merge_counters(&c->run->total, &c->warp[k].count);
    pthread_mutex_unlock(&c->run->lock);
}

/* The instruction that a split waits at: a wait for an mbarrier is executed again, others are behind it. */
static const struct insn *waiting_at(const struct cta *c, const struct split *s) {
    bool again = s->state == SPLIT_BARRIER && s->barrier == MBARRIER_WAIT;
    return &c->run->module->code[s->pc && !again ? s->pc - 1 : s->pc];
}

static void report_deadlock(struct cta *c) {
    struct warp *first = NULL;
    char waits[280] = "";
    bool divergent = false;
    int used = 0;
    for (int k = 0; k < c->warps; k++) {
        const struct warp_private *own = &c->own[k];
        for (int s = 0; s < own->splits && used < 60; s++) {
            first = first ? first : &c->warp[k];
            divergent |= own->split[s].state == SPLIT_PARKED;
            used += snprintf(waits + used, sizeof waits - (size_t)used, " warp %d at line %u;", k,
                             waiting_at(c, &own->split[s])->line);
        }
    }
    if (!first)
        return;
    mbarrier_explain(c, waits, sizeof waits);
    const struct insn *i = waiting_at(c, &first->own->split[0]);
    warp_fault(first, i, -1, divergent ? SG_FAULT_DIVERGENT_BARRIER : SG_FAULT_DEADLOCK,
               "no warp of the CTA can go on, all wait:%s", waits);
}

/* One turn for every warp, in a random order. */
static enum cta_result run_cta(struct cta *c) {
    int order[MAX_WARPS], waiting = 0, ran = 0;
    uint64_t before = 0, after = 0;
    for (int k = 0; k < c->warps; k++) {
        int other = (int)(next_random(&c->random) % (unsigned)(k + 1));
        order[k] = order[other];
        order[other] = k;
    }
    for (int k = 0; k < c->warps && !c->run->stop; k++) {
        struct warp *w = &c->warp[order[k]];
        if (!w->live)
            continue;
        before += w->count.warp_instructions;
        enum turn turn = run_warp(w);
        after += w->count.warp_instructions;
        ran += turn != TURN_BLOCKED;
        waiting += turn == TURN_WAITS;
    }
    if (c->run->stop)
        return CTA_STOPPED;
    if (c->live_threads == 0) {
        if (c->deferreds)
            warp_fault(&c->warp[c->deferred[0].warp], &c->run->module->code[c->deferred[0].pc], c->deferred[0].lane,
                       SG_FAULT_ASYNC, "the CTA ended while this copy was in flight: nobody waited for mbarrier 0x%x",
                       c->deferred[0].mbarrier);
        bulk_store_end(c);
        return CTA_DONE;
    }
    if (before == after)
        report_deadlock(c);
    return ran && ran == waiting ? CTA_WAITS : CTA_GOES_ON;
}

struct worker { /* the CTAs of one host thread: one runs, others may wait for something in memory */
    struct run *run;
    struct cta **cta;
    int resident, count, spare; /* cta[count … count + spare) are free to be used again */
};

static bool worker_start_cta(struct worker *k) {
    uint32_t linear = atomic_fetch_add(&k->run->next, 1);
    if (linear >= k->run->ctas) {
        atomic_store(&k->run->next, k->run->ctas);
        return false;
    }
    if (k->spare)
        k->spare--;
    else
        k->cta[k->count] = cta_new(k->run);
    cta_start(k->cta[k->count++], linear);
    return true;
}

static void worker_drop_cta(struct worker *k, int index) {
    struct cta *c = k->cta[index];
    cta_finish(c);
    k->cta[index] = k->cta[--k->count];
    k->cta[k->count] = c;
    k->spare++;
}

/* It may wait for a CTA of another host thread. */
static void wait_a_little(unsigned times) {
    const struct timespec pause = {.tv_nsec = 20000};
    if (times % 64)
        sched_yield();
    else
        nanosleep(&pause, NULL);
}

void *run_worker(void *data) {
    struct run *run = data;
    const struct sg_launch *l = run->launch;
    struct worker k = {.run = run};
    int threads = l->sample || l->host_threads < 1 ? 1 : l->host_threads;
    k.resident = (l->resident_ctas + threads - 1) / threads;
    k.resident = k.resident < 1 ? 1 : k.resident > (int)run->ctas ? (int)run->ctas : k.resident;
    k.cta = xcalloc((size_t)k.resident, sizeof(struct cta *));
    int at = 0;
    unsigned waited = 0;
    while (!run->stop && (k.count || worker_start_cta(&k))) {
        at = at < k.count ? at : 0;
        enum cta_result result = run_cta(k.cta[at]);
        if (result == CTA_DONE || result == CTA_STOPPED) {
            worker_drop_cta(&k, at);
        } else if (result == CTA_WAITS) {
            /* What it waits for may come from a CTA that has not started. */
            at = k.count < k.resident && worker_start_cta(&k) ? k.count - 1 : at + 1;
            wait_a_little(++waited);
            continue;
        }
        waited = 0;
    }
    while (k.count)
        worker_drop_cta(&k, 0);
    for (int c = 0; c < k.spare; c++)
        cta_free(k.cta[c]);
    free(k.cta);
    return NULL;
}
