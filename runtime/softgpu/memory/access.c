/* Addresses of a warp: gathering, checking against what exists, counting what the memory system would move. */
#include "memory.h"

#include <string.h>

void access_gather(const struct warp *w, const struct operand *o, uint32_t exec, struct access *x) {
    const void *base = src_lanes(w, o);
    const uint64_t offset = (uint64_t)o->imm;
    x->exec = exec;
    if (o->width == 8) {
        const uint64_t *a = base;
        for (int lane = 0; lane < LANES; lane++)
            x->address[lane] = a[lane] + offset;
    } else {
        const uint32_t *a = base;
        for (int lane = 0; lane < LANES; lane++)
            x->address[lane] = (uint32_t)(a[lane] + offset);
    }
    if (exec != UINT32_MAX) {
        uint64_t other = x->address[__builtin_ctz(exec)];
        for (int lane = 0; lane < LANES; lane++)
            x->address[lane] = exec >> lane & 1 ? x->address[lane] : other;
    }
}

/* Lowest and highest address, alignment, and whether the lanes follow each other. */
static void access_range(struct access *x, uint64_t *low, uint64_t *high, uint64_t *bits) {
    uint64_t least = x->address[0], most = least, all = 0, apart = 0, first = least;
    for (int lane = 0; lane < LANES; lane++) {
        uint64_t a = x->address[lane];
        least = a < least ? a : least;
        most = a > most ? a : most;
        all |= a;
        apart |= a ^ (first + (uint64_t)lane * x->bytes);
    }
    x->contiguous = apart == 0 && x->exec == UINT32_MAX;
    *low = least;
    *high = most;
    *bits = all;
}

static int misaligned_lane(const struct access *x) {
    int lane = 0;
    while (lane < LANES - 1 && !((x->exec >> lane & 1) && x->address[lane] % x->bytes))
        lane++;
    return lane;
}

static bool fault_misaligned(struct warp *w, const struct insn *i, const struct access *x, const char *space) {
    int lane = misaligned_lane(x);
    warp_fault(w, i, lane, SG_FAULT_MISALIGNED, "%s address 0x%llx is not a multiple of %u", space,
               (unsigned long long)x->address[lane], x->bytes);
    return false;
}

/* ---- global ---- */

/* The allocation at or before an address; NULL if all are behind it. */
static const struct sg_alloc *find_alloc(const struct sg_memory *memory, uint64_t address) {
    int low = 0, high = memory ? memory->count : 0;
    while (low < high) {
        int middle = (low + high) / 2;
        if (memory->alloc[middle].base <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &memory->alloc[low - 1] : NULL;
}

static bool alloc_holds(const struct sg_alloc *a, uint64_t address, uint64_t bytes) {
    return a && address >= a->base && bytes <= a->size && address - a->base <= a->size - bytes;
}

static void fault_global(struct warp *w, const struct insn *i, int lane, uint64_t address, unsigned bytes) {
    const struct sg_memory *memory = run_of(w)->launch->memory;
    const struct sg_alloc *a = find_alloc(memory, address);
    if (!a && memory && memory->count)
        a = &memory->alloc[0];
    if (!a)
        warp_fault(w, i, lane, SG_FAULT_OUT_OF_BOUNDS, "%u bytes at 0x%llx: there is no allocation", bytes,
                   (unsigned long long)address);
    else if (address < a->base)
        warp_fault(w, i, lane, SG_FAULT_OUT_OF_BOUNDS,
                   "%u bytes at 0x%llx: %llu before allocation %u, which begins at 0x%llx", bytes,
                   (unsigned long long)address, (unsigned long long)(a->base - address), a->id,
                   (unsigned long long)a->base);
    else
        warp_fault(w, i, lane, SG_FAULT_OUT_OF_BOUNDS,
                   "%u bytes at 0x%llx: offset %llu of allocation %u, which has %llu bytes from 0x%llx", bytes,
                   (unsigned long long)address, (unsigned long long)(address - a->base), a->id,
                   (unsigned long long)a->size, (unsigned long long)a->base);
}

const struct sg_alloc *global_alloc(const struct warp *w, uint64_t address) {
    const struct sg_alloc *a = w->own->recent;
    return alloc_holds(a, address, 1) ? a : find_alloc(run_of(w)->launch->memory, address);
}

uint8_t *global_pointer(struct warp *w, const struct insn *i, int lane, uint64_t address, unsigned bytes) {
    if (!alloc_holds(w->own->recent, address, bytes)) {
        const struct sg_alloc *a = find_alloc(run_of(w)->launch->memory, address);
        if (!alloc_holds(a, address, bytes)) {
            fault_global(w, i, lane, address, bytes);
            return NULL;
        }
        w->own->recent = a;
    }
    return (uint8_t *)(uintptr_t)address;
}

bool global_check(struct warp *w, const struct insn *i, struct access *x) {
    uint64_t low, high, bits;
    access_range(x, &low, &high, &bits);
    if (bits & (x->bytes - 1))
        return fault_misaligned(w, i, x, "global");
    const struct sg_alloc *a = w->own->recent;
    if (alloc_holds(a, low, x->bytes) && high - a->base <= a->size - x->bytes)
        return true;
    for (uint32_t rest = x->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        if (!global_pointer(w, i, lane, x->address[lane], x->bytes))
            return false;
    }
    return true;
}

/* Distinct values of address / 32. An access is aligned and at most 32 bytes, so it lies in one sector. */
static unsigned count_sectors(const struct access *x) {
    uint64_t seen[64] = {0};
    uint8_t used[64] = {0};
    unsigned count = 0;
    uint64_t last = ~0ull;
    for (int lane = 0; lane < LANES; lane++) {
        uint64_t sector = x->address[lane] / 32;
        if (sector == last)
            continue;
        last = sector;
        unsigned at = (unsigned)sector & 63;
        while (used[at] && seen[at] != sector)
            at = (at + 1) & 63;
        count += !used[at];
        used[at] = 1;
        seen[at] = sector;
    }
    return count;
}

void global_count_requests(struct warp *w, const struct access *x) {
    unsigned sectors =
        x->contiguous ? (unsigned)((x->address[31] + x->bytes - 1) / 32 - x->address[0] / 32 + 1) : count_sectors(x);
    w->count.global_requests++;
    w->count.global_sectors += sectors;
}

void global_count(struct warp *w, const struct access *x, bool write) {
    uint64_t bytes = (uint64_t)__builtin_popcount(x->exec) * x->bytes;
    global_count_requests(w, x);
    if (bytes)
        global_moved(w, x->address[__builtin_ctz(x->exec)], bytes, write);
}

static void traffic_tell(const struct sg_launch *l, struct traffic_slot *slot) {
    struct sg_traffic *all = slot->alloc ? &l->traffic[slot->alloc - l->memory->alloc] : NULL;
    if (all) {
        __atomic_fetch_add(&all->read, slot->moved.read, __ATOMIC_RELAXED);
        __atomic_fetch_add(&all->written, slot->moved.written, __ATOMIC_RELAXED);
    }
    *slot = (struct traffic_slot){0};
}

void global_moved(struct warp *w, uint64_t address, uint64_t bytes, bool write) {
    const struct sg_launch *l = run_of(w)->launch;
    *(write ? &w->count.global_bytes_written : &w->count.global_bytes_read) += bytes;
    if (!l->traffic)
        return;
    const struct sg_alloc *a = w->own->recent;
    if (!alloc_holds(a, address, 1) && !alloc_holds(a = find_alloc(l->memory, address), address, 1))
        return;
    struct traffic_slot *slot = &w->own->traffic[(size_t)(a - l->memory->alloc) % TRAFFIC_SLOTS];
    if (slot->alloc != a) {
        traffic_tell(l, slot);
        slot->alloc = a;
    }
    *(write ? &slot->moved.written : &slot->moved.read) += bytes;
}

void global_moved_end(struct warp *w) {
    for (int k = 0; k < TRAFFIC_SLOTS && run_of(w)->launch->traffic; k++)
        traffic_tell(run_of(w)->launch, &w->own->traffic[k]);
}

void global_read(struct warp *w, void *target, uint64_t address, unsigned bytes) {
    memcpy(target, (const void *)(uintptr_t)address, bytes);
    const struct overlay *o = run_of(w)->overlay;
    if (o && !overlay_is_empty(o))
        overlay_read(o, target, address, bytes);
}

void global_write(struct warp *w, uint64_t address, const void *source, unsigned bytes) {
    struct overlay *o = run_of(w)->overlay;
    if (o)
        overlay_write(o, address, source, bytes);
    else
        memcpy((void *)(uintptr_t)address, source, bytes);
    written_mark(w, address, bytes, true);
}

/* ---- shared ---- */

static bool fault_shared(struct warp *w, const struct insn *i, int lane, uint64_t address, unsigned bytes) {
    const struct run *run = run_of(w);
    bool other = run->cluster_ctas > 1 && address >> RANK_SHIFT && address >> RANK_SHIFT <= run->cluster_ctas;
    warp_fault(w, i, lane, SG_FAULT_OUT_OF_BOUNDS, "%u bytes at shared 0x%llx of %u bytes (%u static, %u dynamic)%s",
               bytes, (unsigned long long)address, run->shared_bytes, run->shared_static, run->launch->shared_dynamic,
               other ? ": an address in another CTA, which only .shared::cluster reaches" : "");
    return false;
}

bool shared_check(struct warp *w, const struct insn *i, struct access *x) {
    uint64_t low, high, bits;
    access_range(x, &low, &high, &bits);
    if (bits & (x->bytes - 1))
        return fault_misaligned(w, i, x, "shared");
    if (high + x->bytes <= w->cta->shared_bytes && high <= UINT32_MAX)
        return true;
    for (uint32_t rest = x->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        if (x->address[lane] > UINT32_MAX || x->address[lane] + x->bytes > w->cta->shared_bytes)
            return fault_shared(w, i, lane, x->address[lane], x->bytes);
    }
    return false;
}

/* Does each of the groups of banks have one address at most? */
static bool without_conflict(const uint64_t *address, unsigned lanes, unsigned unit) {
    uint32_t line[LANES] = {0}, taken = 0;
    const unsigned shift = (unsigned)__builtin_ctz(unit), last = 128 / unit - 1;
    for (unsigned k = 0; k < lanes; k++) {
        const uint32_t at = (uint32_t)(address[k] >> shift), group = at & last;
        if ((taken >> group & 1) && line[group] != at)
            return false;
        taken |= 1u << group;
        line[group] = at;
    }
    return true;
}

/* Cycles of the 32 banks of 4 bytes: a warp goes in as many parts as its bytes fill 128; within a part the units (4, 8
 * or 16 bytes) that fall on the same banks go one after the other, except that equal addresses go together. */
static unsigned part_cycles(const uint64_t *address, unsigned lanes, unsigned unit) {
    if (without_conflict(address, lanes, unit))
        return 1;
    uint64_t line[LANES];
    uint8_t next[LANES] = {0}, head[LANES], depth[LANES];
    unsigned groups = 128 / unit, most = 1;
    memset(head, LANES, groups);
    memset(depth, 0, groups);
    for (unsigned k = 0; k < lanes; k++) {
        line[k] = address[k] / unit;
        unsigned group = (unsigned)line[k] % groups, at = head[group];
        while (at < LANES && line[at] != line[k])
            at = next[at];
        if (at < LANES)
            continue;
        next[k] = head[group];
        head[group] = (uint8_t)k;
        most = ++depth[group] > most ? depth[group] : most;
    }
    return most;
}

void shared_count(struct warp *w, const struct access *x) {
    unsigned unit = x->bytes < 4    ? 4
                    : x->bytes > 16 ? 16
                                    : x->bytes,
             cycles = 0, repeat = x->bytes > 16 ? x->bytes / 16 : 1;
    unsigned lanes = 128 / unit, parts = LANES / lanes;
    if (x->contiguous)
        cycles = parts;
    for (unsigned part = 0; part < parts && !x->contiguous; part++)
        cycles += part_cycles(x->address + part * lanes, lanes, unit);
    w->count.shared_wavefronts += cycles * repeat;
    w->count.shared_conflicts += (cycles - parts) * repeat;
}

uint8_t *shared_access(struct warp *w, const struct insn *i, int lane, enum ptx_space space, uint64_t address,
                       unsigned bytes, bool write) {
    if (space == SPACE_GENERIC)
        address -= SHARED_WINDOW;
    if (address % bytes) {
        warp_fault(w, i, lane, SG_FAULT_MISALIGNED, "shared address 0x%llx is not a multiple of %u",
                   (unsigned long long)address, bytes);
        return NULL;
    }
    if (address >= w->cta->shared_bytes || bytes > w->cta->shared_bytes - address) {
        fault_shared(w, i, lane, address, bytes);
        return NULL;
    }
    if (is_strict(w) && !shadow_access(w, i, lane, (uint32_t)address, bytes, write ? USE_WRITE : USE_READ))
        return NULL;
    return w->cta->shared + address;
}

bool shared_rows(struct warp *w, const struct insn *i, int rows, bool write, uint8_t **row) {
    struct access x = {.exec = rows < LANES ? (1u << rows) - 1 : UINT32_MAX, .bytes = 16};
    access_gather(w, &i->src[0], x.exec, &x);
    for (int k = 0; i->space == SPACE_GENERIC && k < LANES; k++)
        x.address[k] -= SHARED_WINDOW;
    if (!shared_check(w, i, &x) ||
        (is_strict(w) && !shadow_access_warp(w->cta, w, i, &x, write ? USE_WRITE : USE_READ)))
        return false;
    for (int k = 0; k < rows; k++)
        row[k] = w->cta->shared + x.address[k];
    for (int first = 0; first < rows; first += 8) {
        unsigned cycles = part_cycles(x.address + first, 8, 16);
        w->count.shared_wavefronts += cycles;
        w->count.shared_conflicts += cycles - 1;
    }
    return true;
}

/* ---- local ---- */

static bool is_written(const struct warp *w, int lane, uint64_t address) {
    const uint64_t bit = (uint64_t)lane * w->cta->local_stride + address;
    return w->own->local_written[bit / 8] >> bit % 8 & 1;
}

void local_mark(struct warp *w, int lane, uint64_t address, unsigned bytes, bool written) {
    uint8_t *map = w->own->local_written;
    for (unsigned k = 0; map && k < bytes; k++) {
        const uint64_t bit = (uint64_t)lane * w->cta->local_stride + address + k;
        map[bit / 8] = (uint8_t)((map[bit / 8] & ~(1u << bit % 8)) | (unsigned)written << bit % 8);
    }
}

bool local_access(struct warp *w, const struct insn *i, int lane, uint64_t address, unsigned bytes, bool write) {
    if (write) {
        local_mark(w, lane, address, bytes, true);
        return true;
    }
    for (unsigned k = 0; k < bytes; k++)
        if (is_written(w, lane, address + k))
            continue;
        else if (poison_defers(w, i))
            poison_note(w, lane, SPACE_LOCAL, address + k, 1);
        else if (!warp_check(w, i, lane, SG_CHECK_UNINITIALIZED, "local 0x%llx was never written",
                             (unsigned long long)address + k))
            return false;
    return true;
}

void local_copy_marks(struct warp *w, int lane, uint64_t to, uint64_t from, unsigned bytes) {
    for (unsigned k = 0; w->own->local_written && k < bytes; k++)
        local_mark(w, lane, to + k, 1, is_written(w, lane, from + k));
}

uint8_t *local_pointer(struct warp *w, const struct insn *i, int lane, uint64_t address, unsigned bytes) {
    if (address % bytes) {
        warp_fault(w, i, lane, SG_FAULT_MISALIGNED, "local address 0x%llx is not a multiple of %u",
                   (unsigned long long)address, bytes);
        return NULL;
    }
    if (address >= w->cta->local_stride || bytes > w->cta->local_stride - address) {
        warp_fault(w, i, lane, SG_FAULT_OUT_OF_BOUNDS, "%u bytes at local 0x%llx of %zu bytes", bytes,
                   (unsigned long long)address, w->cta->local_stride);
        return NULL;
    }
    return w->own->local + (size_t)lane * w->cta->local_stride + address;
}
