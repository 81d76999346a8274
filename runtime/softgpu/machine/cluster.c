/* The barrier of all threads of a cluster. */
#include "parts.h"

#include <stdio.h>
#include <string.h>

void cluster_start(struct cluster *cl) {
    cl->live_threads = cl->run->threads * (uint32_t)cl->ctas;
    cl->arrived = 0;
    memset(cl->published, 0, sizeof cl->published);
    memset(cl->completed, 0, sizeof cl->completed);
    shadow_start(cl);
}

static void complete_if_full(struct cluster *cl) {
    if (cl->arrived == 0 || cl->arrived < cl->live_threads)
        return;
    cl->arrived = 0;
    memcpy(cl->completed, cl->published, sizeof cl->completed);
    for (int k = 0; k < cl->ctas; k++)
        for (int n = 0; n < cl->cta[k]->warps; n++) {
            struct warp *w = &cl->cta[k]->warp[n];
            w->own->cluster_passed |= w->own->cluster_arrived;
            w->own->cluster_arrived = 0;
            split_release(w, CLUSTER_WAIT);
        }
}

/* Threads that have exited are not waited for, whether they have arrived or not. */
void cluster_exit(struct warp *w, uint32_t lanes) {
    struct cluster *cl = w->cta->cluster;
    cl->live_threads -= (uint32_t)__builtin_popcount(lanes);
    cl->arrived -= (uint32_t)__builtin_popcount(lanes & w->own->cluster_arrived);
    w->own->cluster_arrived &= ~lanes;
    w->own->cluster_passed &= ~lanes;
    complete_if_full(cl);
}

void cluster_explain(const struct cluster *cl, char *text, size_t size) {
    size_t used = strlen(text);
    if (cl->arrived && used < size)
        snprintf(text + used, size - used, " the barrier of the cluster lacks %u of %u threads;",
                 cl->live_threads - cl->arrived, cl->live_threads);
}

/* barrier.cluster.arrive{.release, .relaxed} */
void cluster_arrive_op(struct warp *w, const struct insn *i) {
    struct cluster *cl = w->cta->cluster;
    struct warp_private *own = w->own;
    if ((i->flags & F_ALIGNED) && !split_converge(w, i, UINT32_MAX))
        return;
    uint32_t twice = w->exec & (own->cluster_arrived | own->cluster_passed);
    if (twice) {
        warp_fault(w, i, __builtin_ctz(twice), SG_FAULT_DIVERGENT_BARRIER,
                   "this thread has arrived before and not waited since (barrier.cluster.wait)");
        return;
    }
    if (is_strict(w) && (i->flags & F_STRONG)) /* .relaxed */
        shadow_publish_start(w, cl->published);
    else if (is_strict(w))
        shadow_publish(w, cl->published);
    own->cluster_arrived |= w->exec;
    cl->arrived += (uint32_t)__builtin_popcount(w->exec);
    w->count.barriers++;
    complete_if_full(cl);
    w->event = true; /* a waiting split of this warp may have been released */
}

/* barrier.cluster.wait{.acquire} */
void cluster_wait_op(struct warp *w, const struct insn *i) {
    struct warp_private *own = w->own;
    if ((i->flags & F_ALIGNED) && !split_converge(w, i, UINT32_MAX))
        return;
    uint32_t never = w->exec & ~(own->cluster_arrived | own->cluster_passed);
    if (never) {
        warp_fault(w, i, __builtin_ctz(never), SG_FAULT_DIVERGENT_BARRIER,
                   "this thread waits and has not arrived (barrier.cluster.arrive)");
        return;
    }
    if ((own->cluster_passed & w->exec) == w->exec) {
        own->cluster_passed &= ~w->exec;
        if (is_strict(w))
            shadow_learn(w, w->cta->cluster->completed);
        return;
    }
    /* Parked, to execute this again when the phase is complete. */
    uint32_t others = w->active & ~w->exec;
    if (others)
        split_move(w, others, w->pc, own->split[own->running].stack);
    struct split *s = &own->split[own->running];
    s->state = SPLIT_BARRIER;
    s->barrier = CLUSTER_WAIT;
    w->pc--;
    split_save(w);
    w->event = true;
}
