/* Clusters: whose shared memory an address is in. */
#include "memory.h"

struct cta *cluster_cta(struct warp *w, const struct insn *i, int lane, uint32_t rank) {
    const struct cluster *cl = w->cta->cluster;
    if (rank >= (uint32_t)cl->ctas) {
        warp_fault(w, i, lane, SG_FAULT_OUT_OF_BOUNDS, "there is no CTA %u in a cluster of %d", rank, cl->ctas);
        return NULL;
    }
    struct cta *c = cl->cta[rank];
    if (c == w->cta)
        return c;
    if (c->live_threads == 0 && !warp_check(w, i, lane, SG_CHECK_CLUSTER_END,
                                            "CTA %u of the cluster has ended, and its shared memory with it", rank))
        return NULL;
    return !is_strict(w) || shadow_remote(c, w, i, lane) ? c : NULL;
}

struct cta *cluster_peer(struct warp *w, const struct insn *i, int lane, uint64_t *address) {
    uint64_t number = *address >> RANK_SHIFT;
    if (number == 0 || number > MAX_CLUSTER || w->cta->cluster->ctas == 1)
        return w->cta; /* its own, or no address at all: found by who looks at the bounds */
    *address &= (1u << RANK_SHIFT) - 1;
    return cluster_cta(w, i, lane, (uint32_t)number - 1);
}
