/* Who runs when: CTAs over host threads, warps within a CTA, splits within a warp. */
#include "parts.h"
#include "runtime/base/str.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    WARP_QUANTUM = 20000, /* instructions of a warp before another has its turn */
    SLICE = 512           /* instructions between looks at what a warp is doing */
};
enum turn { TURN_BLOCKED, TURN_GOES_ON, TURN_WAITS };
enum cta_result { CTA_DONE, CTA_STOPPED, CTA_GOES_ON, CTA_WAITS };

static uint64_t next_random(uint64_t *state) { /* splitmix64, Steele, Lea and Flood 2014 */
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* Registers that are not as they seem. */
static void guard(struct warp *w, const struct insn *i) {
    if (wgmma_watches(w))
        wgmma_guard(w, i);
    if (w->own->poisons)
        poison_guard(w, i);
}

/* The inner loop: instructions of one split until something happens. */
static void run_split(struct warp *w, uint64_t limit) {
    struct warp_private *own = w->own;
    const struct insn *code = run_of(w)->module->code;
    const uint8_t *frame = w->base[BANK_FRAME];
    const uint32_t stop = own->stop_pc;
    uint32_t active = w->active;
    const bool guarded = wgmma_watches(w) || w->own->poisons;
    uint64_t issued = 0, lanes = 0;
    unsigned region = w->in_region;
    w->event = false;
    while (issued < limit && w->pc != stop && !w->event) {
        const struct insn *i = code + w->pc++;
        uint32_t exec = active;
        issued++;
        w->count.pipe[i->pipe]++;
        w->region[i->region].steps++;
        if (i->region != region)
            w->region[region = i->region].entries++;
        if (i->guarded & GUARD_PREDICATE)
            exec &= *(const uint32_t *)(const void *)(frame + i->guard_slot) ^ i->guard_xor;
        lanes += (uint32_t)__builtin_popcount(exec);
        w->exec = exec;
        if (guarded && exec)
            guard(w, i);
        if (exec && (!(i->guarded & GUARD_TOGETHER) || exec == w->live || split_converge(w, i, UINT32_MAX)))
            i->run(w, i);
    }
    w->count.warp_instructions += issued;
    w->count.lane_instructions += lanes;
    w->in_region = (uint8_t)region;
    split_save(w);
}

static const struct insn *next_insn(const struct warp *w) {
    return &run_of(w)->module->code[w->own->split[w->own->running].pc];
}

/* Runs a warp until it ends, blocks, or its turn is over. */
static enum turn run_warp(struct warp *w) {
    struct warp_private *own = w->own;
    struct run *run = run_of(w);
    uint64_t end = w->count.warp_instructions + WARP_QUANTUM, most = run->launch->max_warp_instructions;
    int polling = 0;
    own->polls = 0;
    while (!run->stop && split_pick(w)) {
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

/* ---- CTAs ---- */

static void *aligned_bytes(size_t size) {
    return xaligned_alloc(64, size + 64);
}

static size_t local_marks(const struct cta *c) { /* of a warp: bytes of a bit for each byte */
    return (c->local_stride * LANES + 7) / 8;
}

enum { STRIDE_GAP = 192 }; /* an odd number of lines: no two warps on one cache set */

uint64_t cluster_bytes(const struct run *run) {
    const uint64_t warps = (run->threads + LANES - 1) / LANES, local = function_local_total(run->function);
    return run->cluster_ctas *
           (warps * (function_frame_total(run->function) + STRIDE_GAP + local * LANES) + run->shared_bytes);
}

static struct cta *cta_new(struct cluster *cl, uint32_t rank) {
    struct run *run = cl->run;
    struct cta *c = xcalloc(1, sizeof *c);
    c->run = run;
    c->cluster = cl;
    c->rank = rank;
    c->warps = (int)((run->threads + LANES - 1) / LANES);
    c->frame_stride = function_frame_total(run->function) + STRIDE_GAP;
    c->local_stride = function_local_total(run->function);
    c->shared_bytes = run->shared_bytes;
    c->frames = aligned_bytes(c->frame_stride * (size_t)c->warps);
    c->locals = aligned_bytes(c->local_stride * LANES * (size_t)c->warps);
    if (run->launch->checks & SG_CHECKS_WATCHED)
        c->locals_written = xcalloc(local_marks(c), (size_t)c->warps);
    c->shared = aligned_bytes(c->shared_bytes);
    for (int k = 0; k < c->warps; k++) {
        c->warp[k] = (struct warp){.base = {c->frames + c->frame_stride * (size_t)k, run->module->constants},
                                   .index = (uint8_t)k,
                                   .cta = c,
                                   .own = &c->own[k]};
        c->own[k].local = c->locals + c->local_stride * LANES * (size_t)k;
        c->own[k].local_written = c->locals_written ? c->locals_written + local_marks(c) * (size_t)k : NULL;
        c->own[k].column = (uint8_t)((rank * (uint32_t)c->warps + (uint32_t)k) % MAX_WARPS);
    }
    return c;
}

static void cta_free(struct cta *c) {
    for (int k = 0; k < c->warps; k++) {
        free(c->own[k].node);
        free(c->own[k].copy);
        poison_free(&c->warp[k]);
        bulk_store_drop(&c->warp[k]);
        free(c->own[k].store);
        wgmma_free(&c->warp[k]);
    }
    mbarrier_free(c);
    group_free(c);
    shadow_free(c);
    free(c->frames);
    free(c->locals);
    free(c->locals_written);
    free(c->shared);
    free(c);
}

/* Its place in the grid. Clusters run through the grid of clusters, and their CTAs through the cluster; in an estimate
 * they run through the columns in the order given, every z of each. */
static void cta_place(struct cta *c, uint32_t linear) {
    const struct run *run = c->run;
    const struct sg_launch *l = run->launch;
    const uint32_t *size = run->cluster, plane = size[0] * size[1];
    uint32_t inside[3] = {c->rank % size[0], c->rank / size[0] % size[1], c->rank / plane};
    if (l->sample) {
        uint32_t deep = l->grid[2] / size[2];
        const uint32_t *column = l->sample[linear / deep * plane + c->rank % plane];
        c->id[0] = column[0];
        c->id[1] = column[1];
        c->id[2] = linear % deep * size[2] + inside[2];
        return;
    }
    for (int k = 0; k < 3; k++) {
        uint32_t clusters = l->grid[k] / size[k];
        c->id[k] = linear % clusters * size[k] + inside[k];
        linear /= clusters;
    }
}

/* Everything a CTA has not written is poison: NaN as a float, -1 as an integer, no address as a pointer. */
static void cta_start(struct cta *c, uint32_t linear) {
    struct run *run = c->run;
    const struct sg_launch *l = run->launch;
    cta_place(c, linear);
    c->ended = false;
    c->live_threads = run->threads;
    c->random = l->seed ^ ((linear * run->cluster_ctas + c->rank) * 0xd1342543de82ef95ull);
    memset(c->barrier, 0, sizeof c->barrier);
    memset(c->frames, 0xff, c->frame_stride * (size_t)c->warps);
    memset(c->locals, 0xff, c->local_stride * LANES * (size_t)c->warps);
    if (c->locals_written)
        memset(c->locals_written, 0, local_marks(c) * (size_t)c->warps);
    memset(c->shared, 0xff, c->shared_bytes);
    mbarrier_reset(c);
    group_reset(c);
    if (l->checks & SG_CHECKS_WATCHED)
        shadow_reset(c);
    for (int k = 0; k < c->warps; k++) {
        struct warp *w = &c->warp[k];
        uint32_t lanes = run->threads - (uint32_t)k * LANES;
        memset(&w->count, 0, sizeof w->count);
        memset(w->region, 0, sizeof w->region);
        w->in_region = 0;
        w->carry = 0;
        c->own[k].cluster_arrived = c->own[k].cluster_passed = 0;
        c->own[k].registers = (l->registers + 7) / 8 * 8;
        async_drop(w);
        poison_reset(w);
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
    for (int k = 0; k < c->warps; k++) {
        count_machine_code(&c->warp[k]);
        global_moved_end(&c->warp[k]);
        counters_add(&c->run->total, &c->warp[k].count, 1);
    }
    pthread_mutex_unlock(&c->run->lock);
}

/* ---- clusters ---- */

static struct cluster *cluster_new(struct run *run) {
    struct cluster *cl = xcalloc(1, sizeof *cl);
    cl->run = run;
    cl->ctas = (int)run->cluster_ctas;
    for (int k = 0; k < cl->ctas; k++)
        cl->cta[k] = cta_new(cl, (uint32_t)k);
    return cl;
}

static void cluster_free(struct cluster *cl) {
    for (int k = 0; k < cl->ctas; k++)
        cta_free(cl->cta[k]);
    free(cl);
}

static void cluster_begin(struct cluster *cl, uint32_t linear) {
    cluster_start(cl);
    cl->random = cl->run->launch->seed + linear;
    for (int k = 0; k < cl->ctas; k++)
        cta_start(cl->cta[k], linear);
}

/* The instruction that a split waits at: waits but those for a barrier of the CTA are executed again. */
static const struct insn *waiting_at(const struct cta *c, const struct split *s) {
    bool again = s->state == SPLIT_BARRIER && s->barrier >= REGISTER_WAIT;
    return &c->run->module->code[s->pc && !again ? s->pc - 1 : s->pc];
}

struct deadlock {
    struct warp *first;
    char waits[640];
    bool divergent;
};

/* Lanes wait for others of their warp, which are not held up themselves, by an mbarrier or the like. */
static bool is_divergent(const struct warp_private *own) {
    bool parked = false, held = false;
    for (int s = 0; s < own->splits; s++) {
        const struct split *split = &own->split[s];
        parked |= split->state == SPLIT_PARKED;
        held |= split->state == SPLIT_BARRIER && split->barrier >= REGISTER_WAIT;
    }
    return parked && !held;
}

static void note_waiting(struct cta *c, struct deadlock *d) {
    size_t used = strlen(d->waits), most = used + 60;
    char of[32] = "";
    if (c->cluster->ctas > 1)
        snprintf(of, sizeof of, " of CTA %u", c->rank);
    for (int k = 0; k < c->warps; k++) {
        const struct warp_private *own = &c->own[k];
        d->divergent |= is_divergent(own);
        for (int s = 0; s < own->splits && c->warp[k].live && used < most && used < 200; s++) {
            d->first = d->first ? d->first : &c->warp[k];
            used += (size_t)snprintf(d->waits + used, sizeof d->waits - used, " warp %d%s at line %u;", k, of,
                                     waiting_at(c, &own->split[s])->line);
        }
    }
    registers_explain(c, d->waits, sizeof d->waits);
    if (c->live_threads)
        mbarrier_explain(c, d->waits, sizeof d->waits);
}

static void report_deadlock(struct cluster *cl) {
    struct deadlock d = {.waits = ""};
    for (int k = 0; k < cl->ctas; k++)
        note_waiting(cl->cta[k], &d);
    if (!d.first)
        return;
    cluster_explain(cl, d.waits, sizeof d.waits);
    const struct insn *i = waiting_at(d.first->cta, &d.first->own->split[0]);
    warp_fault(d.first, i, -1, d.divergent ? SG_FAULT_DIVERGENT_BARRIER : SG_FAULT_DEADLOCK,
               "no warp of the %s can go on, all wait:%s", cl->ctas > 1 ? "cluster" : "CTA", d.waits);
}

static void shuffle(int *order, int count, uint64_t *random) {
    for (int k = 0; k < count; k++) {
        int other = (int)(next_random(random) % (unsigned)(k + 1));
        order[k] = order[other];
        order[other] = k;
    }
}

struct round { /* one turn for every warp: instructions before and after, warps that ran, and that wait for memory */
    uint64_t before, after;
    int ran, waiting;
};

static void run_cta(struct cta *c, struct round *r) {
    int order[MAX_WARPS] = {0};
    shuffle(order, c->warps, &c->random);
    for (int k = 0; k < c->warps && !c->run->stop; k++) {
        struct warp *w = &c->warp[order[k]];
        if (!w->live)
            continue;
        r->before += w->count.warp_instructions;
        enum turn turn = run_warp(w);
        r->after += w->count.warp_instructions;
        r->ran += turn != TURN_BLOCKED;
        r->waiting += turn == TURN_WAITS;
    }
    if (c->live_threads || c->ended || c->run->stop)
        return;
    c->ended = true;
    bulk_end(c);
    group_end(c);
    if (c->shadow && c->cluster->ctas > 1)
        shadow_end(c);
}

/* One turn for every warp, in a random order. */
static enum cta_result run_cluster(struct cluster *cl) {
    int order[MAX_CLUSTER] = {0};
    struct round r = {0};
    if (cl->ctas > 1)
        shuffle(order, cl->ctas, &cl->random);
    for (int k = 0; k < cl->ctas; k++)
        run_cta(cl->cta[order[k]], &r);
    if (cl->run->stop)
        return CTA_STOPPED;
    if (cl->live_threads == 0)
        return CTA_DONE;
    if (r.before == r.after)
        report_deadlock(cl);
    return r.ran && r.ran == r.waiting ? CTA_WAITS : CTA_GOES_ON;
}

struct worker { /* the clusters of one host thread: one runs, others may wait for something in memory */
    struct run *run;
    struct cluster **cluster;
    int resident, count, spare; /* cluster[count … count + spare) are free to be used again */
};

static bool worker_start(struct worker *k) {
    uint32_t linear = atomic_fetch_add(&k->run->next, 1);
    if (linear >= k->run->clusters) {
        atomic_store(&k->run->next, k->run->clusters);
        return false;
    }
    if (k->spare)
        k->spare--;
    else
        k->cluster[k->count] = cluster_new(k->run);
    cluster_begin(k->cluster[k->count++], linear);
    return true;
}

static void worker_drop(struct worker *k, int index) {
    struct cluster *cl = k->cluster[index];
    for (int c = 0; c < cl->ctas; c++)
        cta_finish(cl->cta[c]);
    k->cluster[index] = k->cluster[--k->count];
    k->cluster[k->count] = cl;
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
    k.resident = (l->resident_ctas / (int)run->cluster_ctas + threads - 1) / threads;
    const uint64_t room = MACHINE_MOST / cluster_bytes(run) / (uint64_t)threads;
    k.resident = (uint64_t)k.resident > room ? (int)room : k.resident;
    k.resident = k.resident < 1 ? 1 : k.resident > (int)run->clusters ? (int)run->clusters : k.resident;
    k.cluster = xcalloc((size_t)k.resident, sizeof *k.cluster);
    int at = 0;
    unsigned waited = 0;
    while (!run->stop && (k.count || worker_start(&k))) {
        at = at < k.count ? at : 0;
        enum cta_result result = run_cluster(k.cluster[at]);
        if (result == CTA_DONE || result == CTA_STOPPED) {
            worker_drop(&k, at);
        } else if (result == CTA_WAITS) {
            /* What it waits for may come from a CTA that has not started. */
            at = k.count < k.resident && worker_start(&k) ? k.count - 1 : at + 1;
            wait_a_little(++waited);
            continue;
        }
        waited = 0;
    }
    while (k.count)
        worker_drop(&k, 0);
    for (int c = 0; c < k.spare; c++)
        cluster_free(k.cluster[c]);
    free(k.cluster);
    return NULL;
}
