/* Special registers, and addresses between state spaces. */
#include "parts.h"

#include <string.h>
#include <time.h>

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The instructions of all warps so far stand for the clock. */
static uint64_t clock_of(const struct warp *w) {
    uint64_t sum = 0;
    for (int k = 0; k < w->cta->warps; k++)
        sum += w->cta->warp[k].count.warp_instructions;
    return sum + 1;
}

#define TRIPLE(name) (SR_##name##_Y == SR_##name##_X + 1 && SR_##name##_Z == SR_##name##_X + 2)
_Static_assert(TRIPLE(TID) && TRIPLE(NTID) && TRIPLE(CTAID) && TRIPLE(NCTAID) && TRIPLE(CLUSTERID) &&
                   TRIPLE(NCLUSTERID) && TRIPLE(CLUSTER_CTAID) && TRIPLE(CLUSTER_NCTAID),
               "x, y and z follow each other");
_Static_assert(SR_RESERVED_SMEM_OFFSET_1 - SR_RESERVED_SMEM_OFFSET_BEGIN == 4, "the offsets are a range");
_Static_assert(SR_LANEMASK_GT - SR_LANEMASK_EQ == 4, "the masks of lanes are a range");

static uint64_t uniform_special(const struct warp *w, enum ptx_special number) {
    const struct cta *c = w->cta;
    const struct sg_launch *l = c->run->launch;
    const uint32_t *cluster = c->run->cluster;
    uint64_t linear = c->id[0] + (uint64_t)l->grid[0] * (c->id[1] + (uint64_t)l->grid[1] * c->id[2]);
    switch (number) {
    case SR_NTID_X:
    case SR_NTID_Y:
    case SR_NTID_Z:
        return l->block[number - SR_NTID_X];
    case SR_CTAID_X:
    case SR_CTAID_Y:
    case SR_CTAID_Z:
        return c->id[number - SR_CTAID_X];
    case SR_CLUSTERID_X:
    case SR_CLUSTERID_Y:
    case SR_CLUSTERID_Z:
        return c->id[number - SR_CLUSTERID_X] / cluster[number - SR_CLUSTERID_X];
    case SR_CLUSTER_CTAID_X:
    case SR_CLUSTER_CTAID_Y:
    case SR_CLUSTER_CTAID_Z:
        return c->id[number - SR_CLUSTER_CTAID_X] % cluster[number - SR_CLUSTER_CTAID_X];
    case SR_CLUSTER_CTARANK:
        return c->rank;
    case SR_NCTAID_X:
    case SR_NCTAID_Y:
    case SR_NCTAID_Z:
        return l->grid[number - SR_NCTAID_X];
    case SR_NCLUSTERID_X:
    case SR_NCLUSTERID_Y:
    case SR_NCLUSTERID_Z:
        return l->grid[number - SR_NCLUSTERID_X] / cluster[number - SR_NCLUSTERID_X];
    case SR_CLUSTER_NCTAID_X:
    case SR_CLUSTER_NCTAID_Y:
    case SR_CLUSTER_NCTAID_Z:
        return cluster[number - SR_CLUSTER_NCTAID_X];
    case SR_CLUSTER_NCTARANK:
        return c->run->cluster_ctas;
    case SR_IS_EXPLICIT_CLUSTER:
        return c->run->cluster_ctas > 1 || c->run->function->cluster[0];
    case SR_WARPID:
        return w->index;
    case SR_NWARPID:
        return 64;
    case SR_SMID:
        return linear % (l->sm_count ? l->sm_count : 1);
    case SR_NSMID:
        return l->sm_count;
    case SR_CLOCK:
    case SR_CLOCK64:
        return clock_of(w);
    case SR_CLOCK_HI:
        return clock_of(w) >> 32;
    case SR_GLOBALTIMER:
    case SR_GLOBALTIMER_LO:
        return now_ns();
    case SR_GLOBALTIMER_HI:
        return now_ns() >> 32;
    case SR_DYNAMIC_SMEM_SIZE:
        return l->shared_dynamic;
    case SR_TOTAL_SMEM_SIZE:
    case SR_AGGR_SMEM_SIZE:
        return c->run->shared_static + l->shared_dynamic;
    case SR_ENVREG1:
        return l->grid_workspace >> 32;
    case SR_ENVREG2:
        return (uint32_t)l->grid_workspace;
    case SR_RESERVED_SMEM_OFFSET_BEGIN:
    case SR_RESERVED_SMEM_OFFSET_0:
        return c->shared_bytes - c->run->shared_reserved;
    case SR_RESERVED_SMEM_OFFSET_1: /* the first half is another's */
        return c->shared_bytes - c->run->shared_reserved / 2;
    case SR_RESERVED_SMEM_OFFSET_END:
        return c->shared_bytes;
    case SR_RESERVED_SMEM_OFFSET_CAP:
        return c->run->shared_reserved;
    default:
        return 0;
    }
}

static uint32_t lane_special(const struct warp *w, enum ptx_special number, uint32_t lane) {
    const uint32_t *block = run_of(w)->launch->block;
    uint32_t thread = w->index * LANES + lane;
    switch (number) {
    case SR_TID_X:
        return thread % block[0];
    case SR_TID_Y:
        return thread / block[0] % block[1];
    case SR_TID_Z:
        return thread / block[0] / block[1];
    case SR_LANEID:
        return lane;
    case SR_LANEMASK_EQ:
        return 1u << lane;
    case SR_LANEMASK_LE:
        return UINT32_MAX >> (31 - lane);
    case SR_LANEMASK_LT:
        return (1u << lane) - 1;
    case SR_LANEMASK_GE:
        return UINT32_MAX << lane;
    default:
        return ~(UINT32_MAX >> (31 - lane));
    }
}

static bool varies_by_lane(enum ptx_special number) {
    return (number >= SR_TID_X && number <= SR_TID_Z) || number == SR_LANEID ||
           (number >= SR_LANEMASK_EQ && number <= SR_LANEMASK_GT);
}

static void put_lane(void *lanes, unsigned width, int lane, uint64_t value) {
    memcpy((uint8_t *)lanes + (unsigned)lane * width, &value, width);
}

void addr_special(struct warp *w, const struct insn *i) {
    enum ptx_special number = (enum ptx_special)i->src[0].imm;
    void *d = dst_lanes(w, &i->dst[0]);
    bool varies = varies_by_lane(number);
    uint64_t value = varies ? 0 : uniform_special(w, number);
    if (i->dst[0].kind == O_PRED) {
        dst_pred(w, &i->dst[0], value ? UINT32_MAX : 0);
        return;
    }
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        put_lane(d, i->dst[0].width, lane, varies ? lane_special(w, number, (uint32_t)lane) : value);
    }
}

static uint64_t window_of(enum ptx_space space) {
    return space == SPACE_SHARED  ? SHARED_WINDOW
           : space == SPACE_LOCAL ? LOCAL_WINDOW
           : space == SPACE_PARAM ? PARAM_WINDOW
                                  : 0;
}

static uint64_t get_lane(const void *lanes, unsigned width, int lane) {
    uint64_t value = 0;
    memcpy(&value, (const uint8_t *)lanes + (unsigned)lane * width, width);
    return value;
}

void addr_cvta(struct warp *w, const struct insn *i) {
    const void *s = src_lanes(w, &i->src[0]);
    uint64_t window = window_of((enum ptx_space)i->space);
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        uint64_t value = get_lane(s, i->src[0].width, lane);
        put_lane(dst_lanes(w, &i->dst[0]), i->dst[0].width, lane, i->flags & F_TO ? value - window : value + window);
    }
}

void addr_isspacep(struct warp *w, const struct insn *i) {
    const void *s = src_lanes(w, &i->src[0]);
    uint64_t window = window_of((enum ptx_space)i->space);
    uint32_t inside = 0;
    for (int lane = 0; lane < LANES; lane++) {
        uint64_t value = get_lane(s, i->src[0].width, lane);
        bool other_cta = i->space == SPACE_SHARED && !(i->flags & F_REMOTE) && (value & ~WINDOW_MASK) >> RANK_SHIFT;
        inside |= (uint32_t)((value & WINDOW_MASK) == window && !other_cta) << lane;
    }
    dst_pred(w, &i->dst[0], inside);
}

/* mapa{.shared::cluster}: d, address, rank: the same place in another CTA of the cluster */
void addr_mapa(struct warp *w, const struct insn *i) {
    const void *s = src_lanes(w, &i->src[0]);
    const uint64_t low = (1u << RANK_SHIFT) - 1;
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        uint64_t value = get_lane(s, i->src[0].width, lane);
        uint32_t rank = lane_u32(w, &i->src[1], lane);
        if (i->space == SPACE_GENERIC && (value & WINDOW_MASK) != SHARED_WINDOW) {
            warp_fault(w, i, lane, SG_FAULT_OUT_OF_BOUNDS, "0x%llx is not in shared memory", (unsigned long long)value);
            return;
        }
        if (rank >= run_of(w)->cluster_ctas) {
            warp_fault(w, i, lane, SG_FAULT_OUT_OF_BOUNDS, "there is no CTA %u in a cluster of %u", rank,
                       run_of(w)->cluster_ctas);
            return;
        }
        uint64_t above = rank == w->cta->rank ? 0 : (uint64_t)(rank + 1) << RANK_SHIFT;
        put_lane(dst_lanes(w, &i->dst[0]), i->dst[0].width, lane, (value & (WINDOW_MASK | low)) | above);
    }
}

void addr_getctarank(struct warp *w, const struct insn *i) {
    const void *s = src_lanes(w, &i->src[0]);
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        uint64_t number = (get_lane(s, i->src[0].width, lane) & ~WINDOW_MASK) >> RANK_SHIFT;
        put_lane(dst_lanes(w, &i->dst[0]), i->dst[0].width, lane, number ? number - 1 : w->cta->rank);
    }
}

/* Cache policies have no effect on values: any number will do. */
void addr_policy(struct warp *w, const struct insn *i) {
    for (uint32_t rest = w->exec; rest; rest &= rest - 1)
        put_lane(dst_lanes(w, &i->dst[0]), 8, __builtin_ctz(rest), 1);
}
