/* The state of a running warp, and what instruction handlers may ask of it. */
#ifndef SG_WARP_H
#define SG_WARP_H

#include "launch.h"
#include "runtime/softgpu/profile/regions.h"
#include "runtime/softgpu/ptx/insn.h"
#include "runtime/softgpu/time/counters.h"

enum { LANES = 32, FULL_MASK = -1 };

struct cta; /* cta.h */
struct split;

struct warp {
    uint8_t *base[BANK_COUNT]; /* the register frame, and the module's constants */
    uint32_t exec;             /* lanes that execute the current instruction: active and not guarded off */
    uint32_t pc;               /* of the next instruction of the running split */
    uint32_t active;           /* lanes of the running split */
    uint32_t carry;            /* CC.CF, a bit per lane: add.cc, addc, sub.cc, subc, mad.cc, madc */
    bool event;                /* leave the inner loop: splits changed, blocked, fault */
    uint8_t in_region;         /* of its last instruction */
    uint8_t index;             /* in its CTA */
    uint32_t live;             /* lanes that exist and have not exited */
    struct cta *cta;
    struct sg_counters count; /* merged into the launch's when the warp ends */
    struct {
        uint64_t steps, entries; /* PTX instructions in it, and times that it was entered */
    } region[REGIONS_MOST];
    struct warp_private *own; /* scheduler, memory and strictness state: warp/cta.h */
};

/* 32 lanes of a source; of a destination (which is always in the frame). */
static inline const void *src_lanes(const struct warp *w, const struct operand *o) {
    return w->base[o->bank] + o->slot;
}
static inline void *dst_lanes(const struct warp *w, const struct operand *o) {
    return w->base[BANK_FRAME] + o->slot;
}
static inline uint32_t src_pred(const struct warp *w, const struct operand *o) {
    uint32_t mask = *(const uint32_t *)(const void *)(w->base[o->bank] + o->slot);
    return o->negated ? ~mask : mask;
}
static inline void dst_pred(const struct warp *w, const struct operand *o, uint32_t mask) {
    uint32_t *p = (uint32_t *)(void *)(w->base[BANK_FRAME] + o->slot);
    *p = (*p & ~w->exec) | (mask & w->exec);
}

/* Stops the launch with one sentence: kernel, CTA, warp, lane (if >= 0), PTX line and instruction are added to the
 * text. */
__attribute__((format(printf, 5, 6))) void warp_fault(struct warp *w, const struct insn *i, int lane,
                                                      enum sg_fault_kind kind, const char *format, ...);

/* True if this check is switched off: then what it found is passed over. Otherwise the launch stops as above. */
__attribute__((format(printf, 5, 6))) bool warp_check(struct warp *w, const struct insn *i, int lane,
                                                      enum sg_check check, const char *format, ...);

/* Shared memory for instructions that move data in their own way: checks bounds, alignment to
 * `bytes` (a power of two, at most 16), races and initialisation of [address, address + bytes) as an access by this
 * lane. `address` is a shared address or a generic one that lies in the shared window (space tells). NULL after a
 * fault. */
uint8_t *shared_access(struct warp *w, const struct insn *i, int lane, enum ptx_space space, uint64_t address,
                       unsigned bytes, bool write);
/* The same for `rows` rows of 16 bytes, a multiple of 8, each by the lane of its number, and accounts for them as 8-row
 * matrices: 1 wavefront for each without bank conflicts. */
bool shared_rows(struct warp *w, const struct insn *i, int rows, bool write, uint8_t **row);
/* After a load of such rows: what of them was never written. */
void poison_matrices(struct warp *w, const struct insn *i, uint8_t *const *row);
/* Lane k's address operand: base register + offset. */
static inline uint64_t lane_address(const struct warp *w, const struct operand *o, int lane) {
    const uint8_t *p = w->base[o->bank] + o->slot;
    return (uint64_t)o->imm +
           (o->width == 8 ? ((const uint64_t *)(const void *)p)[lane] : ((const uint32_t *)(const void *)p)[lane]);
}

#endif
