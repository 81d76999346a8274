/* Which words of global memory have been written: by copies and fills (api/memory.c), or by kernels, here. A word of which
 * a part was written counts as written. The bits are shared by all host threads. */
#include "memory.h"

enum { WORD = 4, BITS = 32 };

struct span { /* of words */
    uint64_t first, last;
};

static struct span span_of(const struct sg_alloc *a, uint64_t address, uint64_t bytes) {
    return (struct span){(address - a->base) / WORD, (address + bytes - 1 - a->base) / WORD};
}

static uint32_t mask_of(struct span s, uint64_t at) {
    const uint32_t from = at == s.first / BITS ? UINT32_MAX << s.first % BITS : UINT32_MAX;
    return at == s.last / BITS ? from & UINT32_MAX >> (BITS - 1 - s.last % BITS) : from;
}

static bool span_is_written(const struct sg_alloc *a, struct span s) {
    for (uint64_t at = s.first / BITS; at <= s.last / BITS; at++) {
        const uint32_t mask = mask_of(s, at);
        if ((__atomic_load_n(&a->written[at], __ATOMIC_RELAXED) & mask) != mask)
            return false;
    }
    return true;
}

void sg_written_mark(const struct sg_alloc *a, uint64_t address, uint64_t bytes, bool written) {
    if (!a->written || !bytes)
        return;
    const struct span s = span_of(a, address, bytes);
    for (uint64_t at = s.first / BITS; at <= s.last / BITS; at++) {
        const uint32_t mask = mask_of(s, at);
        if (!written)
            __atomic_fetch_and(&a->written[at], ~mask, __ATOMIC_RELAXED);
        else if ((__atomic_load_n(&a->written[at], __ATOMIC_RELAXED) & mask) != mask)
            __atomic_fetch_or(&a->written[at], mask, __ATOMIC_RELAXED);
    }
}

bool sg_written(const struct sg_alloc *a, uint64_t address, uint64_t bytes) {
    return !a->written || !bytes || span_is_written(a, span_of(a, address, bytes));
}

/* ---- what warps do; the addresses have been checked ---- */

/* The bits of a few bytes lie in one word of bits, as accesses are aligned and allocations begin at multiples of 128. */
static inline bool few_are_written(const struct sg_alloc *a, uint64_t address, unsigned bytes) {
    const uint64_t first = (address - a->base) / WORD;
    const unsigned words = (unsigned)(address % WORD + bytes + WORD - 1) / WORD;
    if (!a->written)
        return true;
    if (words + first % BITS > BITS)
        return sg_written(a, address, bytes);
    const uint32_t mask = UINT32_MAX >> (BITS - words) << first % BITS;
    return (__atomic_load_n(&a->written[first / BITS], __ATOMIC_RELAXED) & mask) == mask;
}

static inline const struct sg_alloc *alloc_at(const struct warp *w, const struct sg_alloc *a, uint64_t address) {
    return a && address - a->base < a->size ? a : global_alloc(w, address);
}

void written_mark(struct warp *w, uint64_t address, unsigned bytes, bool written) {
    if (is_strict(w))
        sg_written_mark(alloc_at(w, w->own->recent, address), address, bytes, written);
}

void written_store(struct warp *w, const struct access *x) {
    const struct sg_alloc *a = w->own->recent;
    if (x->contiguous) {
        written_mark(w, x->address[0], x->bytes * LANES, true);
        return;
    }
    for (uint32_t rest = x->exec; rest; rest &= rest - 1) {
        const uint64_t address = x->address[__builtin_ctz(rest)];
        a = alloc_at(w, a, address);
        if (!few_are_written(a, address, x->bytes))
            sg_written_mark(a, address, x->bytes, true);
    }
}

bool written_is(struct warp *w, uint64_t address, unsigned bytes) {
    return !is_strict(w) || sg_written(alloc_at(w, w->own->recent, address), address, bytes);
}

static bool note_lane(struct warp *w, const struct insn *i, int lane, uint64_t address, unsigned bytes) {
    if (!poison_defers(w, i))
        return warp_check(w, i, lane, SG_CHECK_UNINITIALIZED, "global 0x%llx was never written",
                          (unsigned long long)address);
    for (unsigned k = 0; k < bytes; k++)
        if (!written_is(w, address + k, 1))
            poison_note(w, -1, SPACE_GLOBAL, address + k, 1);
    return true;
}

bool written_load(struct warp *w, const struct insn *i, const struct access *x) {
    const struct sg_alloc *a = w->own->recent;
    if (x->contiguous && written_is(w, x->address[0], x->bytes * LANES))
        return true;
    for (uint32_t rest = x->exec; rest; rest &= rest - 1) {
        const int lane = __builtin_ctz(rest);
        const uint64_t address = x->address[lane];
        a = alloc_at(w, a, address);
        if (!few_are_written(a, address, x->bytes) && !note_lane(w, i, lane, address, x->bytes))
            return false;
    }
    return true;
}

void written_copy(struct cta *c, struct warp *w, const struct insn *i, int lane, uint64_t global, uint32_t shared,
                  unsigned bytes) {
    if (!c->shadow || !bytes || few_are_written(alloc_at(w, w->own->recent, global), global, bytes))
        return;
    for (unsigned k = 0, part; k < bytes; k += part) {
        part = shared % WORD == 0 && global % WORD == 0 && bytes - k >= WORD ? WORD : 1;
        if (!written_is(w, global + k, part))
            shadow_access_in(c, w, i, lane, shared + k, part, USE_FORGET);
    }
}
