/* ld and st, in every state space. */
#include "memory.h"

#include <string.h>

/* ---- between memory and registers ---- */

static const struct operand *element_of(const struct operand *o, unsigned k) {
    return o->kind == O_VEC ? &o->vec[k] : o;
}

/* One lane's value, extended to the width of the register as its type says. */
static inline void put_value(uint8_t *d, unsigned width, const uint8_t *s, unsigned size, bool is_signed) {
    uint64_t value = 0;
    memcpy(&value, s, size < 8 ? size : 8);
    if (is_signed && size < 8 && value >> (8 * size - 1))
        value |= ~0ull << (8 * size);
    memset(d, 0, width);
    memcpy(d, &value, width < 8 ? width : 8);
}

static inline void spread_words(uint32_t *d, const uint8_t *s, unsigned stride, unsigned at) {
    for (int lane = 0; lane < LANES; lane++)
        memcpy(&d[lane], s + (unsigned)lane * stride + at, 4);
}

static inline void collect_words(uint8_t *d, const uint32_t *s, unsigned stride, unsigned at) {
    for (int lane = 0; lane < LANES; lane++)
        memcpy(d + (unsigned)lane * stride + at, &s[lane], 4);
}

/* Lanes of a register that is as wide as the element; the sizes are spelt out so that the copies become single
 * moves. */
static void load_lanes(uint8_t *d, const uint8_t *const host[LANES], uint32_t exec, unsigned at, unsigned size) {
    for (uint32_t rest = exec; rest; rest &= rest - 1) {
        unsigned lane = (unsigned)__builtin_ctz(rest);
        const uint8_t *s = host[lane] + at;
        if (size == 4)
            memcpy(d + lane * 4, s, 4);
        else if (size == 2)
            memcpy(d + lane * 2, s, 2);
        else if (size == 8)
            memcpy(d + lane * 8, s, 8);
        else
            memcpy(d + lane * 16, s, 16);
    }
}

static void store_lanes(uint8_t *const host[LANES], const uint8_t *s, uint32_t exec, unsigned at, unsigned width,
                        unsigned size) {
    for (uint32_t rest = exec; rest; rest &= rest - 1) {
        unsigned lane = (unsigned)__builtin_ctz(rest);
        uint8_t *d = host[lane] + at;
        if (size == 4)
            memcpy(d, s + lane * width, 4);
        else if (size == 2)
            memcpy(d, s + lane * width, 2);
        else if (size == 8)
            memcpy(d, s + lane * width, 8);
        else
            memcpy(d, s + lane * width, size);
    }
}

/* The same with zeros behind: an element of 1 or 2 bytes in a register of 2 or 4. */
static void load_short(uint8_t *d, const uint8_t *const host[LANES], uint32_t exec, unsigned at, unsigned size,
                       unsigned width) {
    for (uint32_t rest = exec; rest; rest &= rest - 1) {
        const unsigned lane = (unsigned)__builtin_ctz(rest);
        const uint8_t *s = host[lane] + at;
        const uint32_t value = size == 1 ? s[0] : s[0] | (uint32_t)s[1] << 8;
        if (width == 4)
            memcpy(d + lane * 4, &value, 4);
        else
            memcpy(d + lane * 2, &value, 2);
    }
}

static void load_registers(struct warp *w, const struct insn *i, const struct access *x,
                           const uint8_t *const host[LANES]) {
    for (unsigned k = 0; k < i->vec; k++) {
        const struct operand *o = element_of(&i->dst[0], k);
        uint8_t *d = dst_lanes(w, o);
        unsigned width = o->kind == O_SINK ? x->element : o->width;
        if (x->contiguous && x->element == 4 && width == 4) {
            spread_words((uint32_t *)(void *)d, host[0], x->bytes, 4 * k);
            continue;
        }
        if (width == x->element) {
            load_lanes(d, host, x->exec, k * x->element, width);
            continue;
        }
        bool is_signed = type_is_signed((enum ptx_type)i->type[0]) && !type_is_float((enum ptx_type)i->type[0]);
        if (!is_signed && x->element < width && width <= 4) {
            load_short(d, host, x->exec, k * x->element, x->element, width);
            continue;
        }
        for (uint32_t rest = x->exec; rest; rest &= rest - 1) {
            unsigned lane = (unsigned)__builtin_ctz(rest);
            put_value(d + lane * width, width, host[lane] + k * x->element, x->element, is_signed);
        }
    }
}

static void store_registers(struct warp *w, const struct insn *i, const struct access *x, uint8_t *const host[LANES]) {
    for (unsigned k = 0; k < i->vec; k++) {
        const struct operand *o = element_of(&i->src[1], k);
        const uint8_t *s = src_lanes(w, o);
        if (x->contiguous && x->element == 4 && o->width == 4) {
            collect_words(host[0], (const uint32_t *)(const void *)s, x->bytes, 4 * k);
            continue;
        }
        store_lanes(host, s, x->exec, k * x->element, o->width, x->element);
    }
}

static void access_shape(const struct insn *i, struct access *x) {
    x->element = i->element;
    x->bytes = i->bytes;
    x->contiguous = false;
}

/* ---- one space each; the access is gathered ---- */

static void load_global(struct warp *w, const struct insn *i, struct access *x) {
    const uint8_t *host[LANES];
    uint8_t seen[LANES][32];
    if (!global_check(w, i, x))
        return;
    global_count(w, x, false);
    const struct overlay *overlay = run_of(w)->overlay;
    bool merge = overlay && !overlay_is_empty(overlay);
    for (int lane = 0; lane < LANES; lane++) {
        host[lane] = (const uint8_t *)(uintptr_t)x->address[lane];
        if (merge)
            global_read(w, seen[lane], x->address[lane], x->bytes);
        if (merge)
            host[lane] = seen[lane];
    }
    x->contiguous &= !merge;
    if (i->flags & (F_STRONG | F_VOLATILE | F_ACQUIRE)) {
        warp_polls(w, 1);
        atomic_thread_fence(memory_order_seq_cst);
    }
    if (is_strict(w) && !written_load(w, i, x))
        return;
    load_registers(w, i, x, host);
    if (w->own->unwrittens)
        poison_load(w, i, x);
    if ((i->flags & F_ACQUIRE) && is_strict(w))
        shadow_fence(w);
}

/* In an estimate: into the overlay. */
static void store_aside(struct warp *w, const struct insn *i, struct access *x) {
    uint8_t *host[LANES], value[LANES][32] = {{0}};
    for (int lane = 0; lane < LANES; lane++)
        host[lane] = value[lane];
    x->contiguous = false;
    store_registers(w, i, x, host);
    for (uint32_t rest = x->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        global_write(w, x->address[lane], value[lane], x->bytes);
    }
}

static void store_global(struct warp *w, const struct insn *i, struct access *x) {
    uint8_t *host[LANES];
    if (!global_check(w, i, x))
        return;
    global_count(w, x, true);
    if (i->flags & F_RELEASE) {
        atomic_thread_fence(memory_order_seq_cst);
        if (is_strict(w))
            shadow_fence(w);
    }
    if (run_of(w)->overlay) {
        store_aside(w, i, x);
        return;
    }
    for (int lane = 0; lane < LANES; lane++)
        host[lane] = (uint8_t *)(uintptr_t)x->address[lane];
    store_registers(w, i, x, host);
    if (is_strict(w))
        written_store(w, x);
}

static bool shared_hosts(struct cta *c, struct warp *w, const struct insn *i, struct access *x, uint8_t *host[LANES],
                         bool write) {
    if (!shared_check(w, i, x))
        return false;
    shared_count(w, x);
    bool strong = i->flags & (F_STRONG | F_VOLATILE | F_ACQUIRE | F_RELEASE);
    if (strong && !write)
        warp_polls(w, 1);
    if ((i->flags & (F_ACQUIRE | F_RELEASE)) && is_strict(w))
        shadow_fence(w);
    enum shadow_use use = strong ? (write ? USE_STRONG_WRITE : USE_STRONG_READ) : write ? USE_WRITE : USE_READ;
    if (is_strict(w) && !shadow_access_warp(c, w, i, x, use))
        return false;
    for (int lane = 0; lane < LANES; lane++)
        host[lane] = c->shared + x->address[lane];
    return true;
}

static void access_shared_in(struct cta *c, struct warp *w, const struct insn *i, struct access *x, bool write) {
    uint8_t *host[LANES];
    if (!shared_hosts(c, w, i, x, host, write))
        return;
    if (write)
        store_registers(w, i, x, host);
    else
        load_registers(w, i, x, (const uint8_t *const *)host);
    if (write && w->own->poisons)
        poison_store(c, w, i, x, SPACE_SHARED);
    else if (w->own->unwrittens)
        poison_load(w, i, x);
}

/* Lanes may reach into different CTAs of the cluster: each CTA's go as an access of its own. */
static void access_shared(struct warp *w, const struct insn *i, struct access *x, bool write) {
    if (!cluster_reaches(w, i)) {
        access_shared_in(w->cta, w, i, x, write);
        return;
    }
    for (uint32_t rest = x->exec; rest && !run_of(w)->stop;) {
        int first = __builtin_ctz(rest);
        uint64_t address = x->address[first], above = address;
        struct cta *c = cluster_peer(w, i, first, &address);
        if (!c)
            return;
        above -= address;
        struct access part = *x;
        part.exec = 0;
        for (int lane = 0; lane < LANES; lane++) {
            bool same = x->address[lane] >> RANK_SHIFT == above >> RANK_SHIFT;
            part.exec |= (rest & (uint32_t)same << lane);
            part.address[lane] = same ? x->address[lane] - above : address;
        }
        part.exec |= 1u << first;
        rest &= ~part.exec;
        access_shared_in(c, w, i, &part, write);
    }
}

static void access_local(struct warp *w, const struct insn *i, struct access *x, bool write) {
    uint8_t *host[LANES] = {0};
    for (uint32_t rest = x->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        host[lane] = local_pointer(w, i, lane, x->address[lane], x->bytes);
        if (!host[lane])
            return;
        if (w->own->local_written && !local_access(w, i, lane, x->address[lane], x->bytes, write))
            return;
    }
    w->count.spill_accesses += i->space != SPACE_PARAM;
    if (write)
        store_registers(w, i, x, host);
    else
        load_registers(w, i, x, (const uint8_t *const *)host);
    if (write && w->own->poisons)
        poison_store(w->cta, w, i, x, SPACE_LOCAL);
    else if (w->own->unwrittens)
        poison_load(w, i, x);
}

static void load_parameter(struct warp *w, const struct insn *i, struct access *x) {
    const struct run *run = run_of(w);
    const uint8_t *host[LANES] = {0};
    for (uint32_t rest = x->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        uint64_t at = x->address[lane];
        if (at % x->bytes) {
            warp_fault(w, i, lane, SG_FAULT_MISALIGNED, "parameter offset %llu is not a multiple of %u",
                       (unsigned long long)at, x->bytes);
            return;
        }
        if (at >= run->function->param_bytes || x->bytes > run->function->param_bytes - at) {
            warp_fault(w, i, lane, SG_FAULT_OUT_OF_BOUNDS, "%u bytes at offset %llu of %u parameter bytes", x->bytes,
                       (unsigned long long)at, run->function->param_bytes);
            return;
        }
        host[lane] = (const uint8_t *)run->launch->params + at;
    }
    load_registers(w, i, x, host);
}

static void access_space(struct warp *w, const struct insn *i, struct access *x, enum ptx_space space, bool write) {
    if (space == SPACE_SHARED)
        access_shared(w, i, x, write);
    else if (space == SPACE_LOCAL)
        access_local(w, i, x, write);
    else if (space == SPACE_PARAM && !write)
        load_parameter(w, i, x);
    else if (space == SPACE_PARAM)
        warp_fault(w, i, -1, SG_FAULT_OUT_OF_BOUNDS, "kernel parameters cannot be written");
    else if (write)
        store_global(w, i, x);
    else
        load_global(w, i, x);
}

/* Generic addresses: lanes may be in different windows, each goes as an access of its own. */
static void access_generic(struct warp *w, const struct insn *i, struct access *x, bool write) {
    static const enum ptx_space spaces[4] = {SPACE_GLOBAL, SPACE_SHARED, SPACE_LOCAL, SPACE_PARAM};
    for (unsigned k = 0; k < 4; k++) {
        struct access part = *x;
        part.exec = 0;
        for (uint32_t rest = x->exec; rest; rest &= rest - 1) {
            int lane = __builtin_ctz(rest);
            uint64_t window = x->address[lane] >> 56;
            part.exec |= (uint32_t)(k == 0 ? window == 0 || window > 3 : window == k) << lane;
        }
        if (!part.exec)
            continue;
        uint64_t other = x->address[__builtin_ctz(part.exec)];
        for (int lane = 0; lane < LANES; lane++)
            part.address[lane] = (part.exec >> lane & 1 ? x->address[lane] : other) & (k ? ~WINDOW_MASK : ~0ull);
        access_space(w, i, &part, spaces[k], write);
        if (run_of(w)->stop)
            return;
    }
}

static void access_memory(struct warp *w, const struct insn *i, const struct operand *address, bool write) {
    struct access x;
    access_gather(w, address, w->exec, &x);
    access_shape(i, &x);
    if (i->space == SPACE_GENERIC)
        access_generic(w, i, &x, write);
    else
        access_space(w, i, &x,
                     i->space == SPACE_PARAM && i->aux[0] == PARAM_LOCAL ? SPACE_LOCAL : (enum ptx_space)i->space,
                     write);
}

void mem_load(struct warp *w, const struct insn *i) {
    access_memory(w, i, &i->src[0], false);
}

void mem_store(struct warp *w, const struct insn *i) {
    access_memory(w, i, &i->src[0], true);
}

/* A kernel parameter at a fixed offset, which the parser has checked: all lanes get the same. */
void mem_load_param(struct warp *w, const struct insn *i) {
    const uint8_t *host[LANES];
    struct access x = {.exec = w->exec};
    access_shape(i, &x);
    for (int lane = 0; lane < LANES; lane++)
        host[lane] = (const uint8_t *)run_of(w)->launch->params + i->aux[1];
    load_registers(w, i, &x, host);
}

/* discard.L2: nobody may use what was there. */
void mem_discard(struct warp *w, const struct insn *i) {
    enum { LINE = 128 };
    uint8_t poison[LINE];
    memset(poison, 0xff, sizeof poison);
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        const int lane = __builtin_ctz(rest);
        const uint64_t address = lane_address(w, &i->src[0], lane);
        if (address % LINE) {
            warp_fault(w, i, lane, SG_FAULT_MISALIGNED, "address 0x%llx is not a multiple of %d",
                       (unsigned long long)address, LINE);
            return;
        }
        if (!global_pointer(w, i, lane, address, LINE))
            return;
        global_write(w, address, poison, LINE);
        written_mark(w, address, LINE, false);
    }
}

/* Nothing moves, and a prefetch may name any address. */
void mem_prefetch(struct warp *w, const struct insn *i) {
    (void)w;
    (void)i;
}
