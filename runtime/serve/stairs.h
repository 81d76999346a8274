/* How the time of a kernel grows with the number of tokens: a staircase of whole token tiles and waves.
 *
 * A CTA takes whole token tiles, and an SM whole CTAs, so a kernel takes as long for one more token until a tile is
 * full. The load of an SM is counted in CTAs: with c CTAs for each token tile and S SMs it is
 *
 *   load(m) = 0.7 * ceil(x) + 0.3 * x     with x = c * ceil(m / tile_m) / S
 *
 * for the last wave, which not all SMs share, is quicker than a full one, but not in proportion. Where the tiles of the
 * last wave are shared evenly (stream-K) it is x. Times between two known ones lie on the line through both over the
 * load, and where that is the same over m. ARCHITECTURE.md, "Dispatch", has what this was compared with. */
#ifndef MT_STAIRS_H
#define MT_STAIRS_H

#include "runtime/family/family.h"

struct stair {
    int tile_m;  /* tokens of one CTA */
    int ctas;    /* of each token tile */
    int workers; /* SMs */
    bool even;   /* the last wave is shared */
    double work; /* of one CTA, to compare kernels of which one was never timed: multiply-adds along K, and as many more
                    as its weights cost before they can be multiplied */
};

void stair_of(const struct launch_plan *plan, int sm_count, struct stair *out);
double stair_load(const struct stair *stair, int m);

/* A time that is known; ns 0: it is not. */
struct stair_time {
    int m;
    double ns;
};

/* A kernel that may serve between two tuned M, below the first or beyond the last. */
struct rival {
    struct stair stair;
    int slot;     /* whose kernel it is */
    bool promise; /* its time was taken on this layer and GPU */
    int m;        /* where it takes `ns` */
    double ns, load, per_load, per_token;
};

/* Sets all but `slot`, `stair` and `promise`. One of the times may be unknown: then it grows in proportion to the load,
 * which is true of many tokens, and too much of few. False if both are. */
bool rival_between(struct rival *rival, struct stair_time low, struct stair_time high);
/* Of a kernel without times, from one of another on the same layer: as loads and the work of a CTA compare. */
void rival_like(struct rival *rival, const struct stair *other, struct stair_time time);
double rival_ns(const struct rival *rival, int m);

#endif
