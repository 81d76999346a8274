/* Watching shared memory: who wrote and read each word, and whether a barrier lies between.
 *
 * Happens-before in the manner of FastTrack (Flanagan and Freund, PLDI 2009), with one simplification that barriers
 * allow: time is one number for the whole CTA, the generation, which grows whenever a barrier or fence orders anything.
 * seen[u] of a warp is the last generation in which accesses by warp u are ordered before the warp's next one. An
 * access of warp u stamped s is therefore ordered before one of warp w exactly if s <= w.seen[u]. */
#include "base/str.h"
#include "softgpu/warp_private.h"

#include <stdlib.h>
#include <string.h>

enum {
    CELL_INIT = 1,
    CELL_FLIGHT = 2,   /* target of an asynchronous copy that has not landed */
    CELL_ATOMIC = 4,   /* last written by an atomic or strong store */
    CELL_PARTS = 8,    /* the bytes are watched one by one: write_stamp is the number of their extra record */
    CELL_GENERIC = 32, /* written by ordinary stores: the tensor core sees it after a proxy fence only */
    CELL_MANY = 16,    /* the readers have a stamp each: read_stamp is the number of their extra record */
    CELL_LENT = 64     /* the copy engine reads it until a wait says that it has */
};
/* One word, or one byte of a word that was ever accessed in part. */
struct shadow_cell {
    uint32_t write_stamp, write_line; /* stamp 0: never */
    uint32_t read_stamp, read_line;
    uint32_t readers; /* warps, since the last write */
    uint8_t writer;
    uint8_t state; /* CELL_… */
};
struct shadow_extra {
    union {
        struct shadow_cell byte[4];
        uint32_t stamp[MAX_WARPS];
    };
};

void shadow_reset(struct cta *c) {
    size_t cells = (c->shared_bytes + 3) / 4 + 1;
    if (!c->shadow)
        c->shadow = xmalloc(cells * sizeof *c->shadow);
    memset(c->shadow, 0, cells * sizeof *c->shadow);
    c->extras = 0;
    c->generation = 1;
    memset(c->fenced, 0, sizeof c->fenced);
    memset(c->proxy_fenced, 0, sizeof c->proxy_fenced);
    for (int k = 0; k < c->warps; k++) {
        memset(c->own[k].seen, 0, sizeof c->own[k].seen);
        c->own[k].seen_all = 0;
    }
}

void shadow_free(struct cta *c) {
    free(c->shadow);
    free(c->extra);
}

static uint32_t new_extra(struct cta *c) {
    array_grow(&c->extra, &c->extra_capacity, c->extras, sizeof *c->extra);
    return (uint32_t)c->extras++;
}

/* ---- order ---- */

static bool ordered(const struct warp *w, unsigned warp, uint32_t stamp) {
    const struct warp_private *own = w->own;
    return stamp <= own->seen_all || warp == w->index || stamp <= own->seen[warp];
}

static void update_all(struct cta *c, int k) {
    uint32_t least = UINT32_MAX;
    for (int u = 0; u < c->warps; u++)
        least = u != k && c->own[k].seen[u] < least ? c->own[k].seen[u] : least;
    c->own[k].seen_all = least;
}

static void join(uint32_t *into, const uint32_t *from) {
    for (int u = 0; u < MAX_WARPS; u++)
        into[u] = from[u] > into[u] ? from[u] : into[u];
}

void shadow_barrier(struct cta *c, uint32_t participants, uint32_t waiters) {
    uint32_t all[MAX_WARPS] = {0};
    for (int k = 0; k < c->warps; k++) {
        bool exited = c->warp[k].live == 0; /* nothing of it can come later */
        if (!exited && !(participants >> k & 1))
            continue;
        join(all, c->own[k].seen);
        all[k] = c->generation;
    }
    for (int k = 0; k < c->warps; k++) {
        if (!(waiters >> k & 1))
            continue;
        join(c->own[k].seen, all);
        update_all(c, k);
    }
    c->generation++;
}

/* Fences order what they lie between, as far as one can tell without following the flags that carry the news:
 * everything fenced before is taken as known. That errs towards silence, never towards a false report. */
void shadow_fence(struct warp *w) {
    struct cta *c = w->cta;
    join(c->fenced, w->own->seen);
    c->fenced[w->index] = c->generation;
    join(w->own->seen, c->fenced);
    update_all(c, w->index);
    c->generation++;
}

/* A proxy fence covers what is ordered before it: this warp's own stores, and those of others that a barrier has made
 * known to it. */
void shadow_fence_proxy(struct warp *w) {
    struct cta *c = w->cta;
    join(c->proxy_fenced, w->own->seen);
    c->proxy_fenced[w->index] = c->generation++;
}

void shadow_publish(struct warp *w, uint32_t *into) {
    struct cta *c = w->cta;
    join(into, w->own->seen);
    into[w->index] = c->generation++;
}

void shadow_learn(struct warp *w, const uint32_t *from) {
    join(w->own->seen, from);
    update_all(w->cta, w->index);
}

/* ---- accesses ---- */

struct use {
    struct warp *w;
    const struct insn *i;
    int lane;
    uint32_t address;
    enum shadow_use how;
};

static bool report_race(const struct use *u, const char *what, unsigned warp, uint32_t line) {
    warp_fault(u->w, u->i, u->lane, SG_FAULT_RACE,
               "shared 0x%x: warp %u %s it at PTX line %u and no barrier lies between", u->address, warp, what, line);
    return false;
}

static bool is_write(enum shadow_use how) {
    return how == USE_WRITE || how == USE_STRONG_WRITE || how == USE_ATOMIC || how == USE_ISSUE;
}

static bool is_read(enum shadow_use how) {
    return how == USE_READ || how == USE_PROXY_READ || how == USE_LEND;
}

static bool report_lent(const struct use *u) {
    const struct cta *c = u->w->cta;
    const struct bulk_store *store = bulk_store_reading(c, u->address);
    warp_fault(u->w, u->i, u->lane, SG_FAULT_ASYNC,
               "shared 0x%x: the bulk store of PTX line %u may still be reading it (no cp.async.bulk.wait_group covers "
               "it)",
               u->address, store ? c->run->module->code[store->pc].line : 0);
    return false;
}

static bool check_state(const struct use *u, const struct shadow_cell *s) {
    if ((s->state & CELL_LENT) && is_write(u->how))
        return report_lent(u);
    if ((s->state & CELL_FLIGHT) && u->how != USE_LAND) {
        warp_fault(
            u->w, u->i, u->lane, SG_FAULT_ASYNC,
            "shared 0x%x: the asynchronous copy of PTX line %u by warp %u is still in flight (no wait for its group)",
            u->address, s->write_line, s->writer);
        return false;
    }
    if ((u->how == USE_PROXY_READ || u->how == USE_LEND) && (s->state & CELL_GENERIC) &&
        s->write_stamp > u->w->cta->proxy_fenced[s->writer]) {
        warp_fault(
            u->w, u->i, u->lane, SG_FAULT_ASYNC,
            "shared 0x%x: warp %u wrote it by an ordinary store at PTX line %u and no fence.proxy.async followed",
            u->address, s->writer, s->write_line);
        return false;
    }
    if (!(s->state & CELL_INIT) && (is_read(u->how) || u->how == USE_STRONG_READ || u->how == USE_ATOMIC)) {
        warp_fault(u->w, u->i, u->lane, SG_FAULT_UNINITIALIZED, "shared 0x%x was never written", u->address);
        return false;
    }
    return true;
}

static bool check_writer(const struct use *u, const struct shadow_cell *s) {
    bool strong = u->how == USE_ATOMIC || u->how == USE_STRONG_READ || u->how == USE_STRONG_WRITE;
    if (s->write_stamp == 0 || ordered(u->w, s->writer, s->write_stamp) || (strong && (s->state & CELL_ATOMIC)))
        return true;
    return report_race(u, "wrote", s->writer, s->write_line);
}

static uint32_t reader_stamp(const struct cta *c, const struct shadow_cell *s, unsigned warp) {
    return s->state & CELL_MANY ? c->extra[s->read_stamp].stamp[warp] : s->read_stamp;
}

/* The readers that are not ordered before this access. */
static uint32_t open_readers(const struct use *u, const struct shadow_cell *s) {
    if (!(s->state & CELL_MANY) && s->read_stamp <= u->w->own->seen_all)
        return 0;
    uint32_t open = 0;
    for (uint32_t rest = s->readers; rest; rest &= rest - 1) {
        unsigned warp = (unsigned)__builtin_ctz(rest);
        open |= (uint32_t)!ordered(u->w, warp, reader_stamp(u->w->cta, s, warp)) << warp;
    }
    return open;
}

static void note_reader(const struct use *u, struct shadow_cell *s) {
    struct cta *c = u->w->cta;
    uint32_t me = 1u << u->w->index, open = s->readers && s->readers != me ? open_readers(u, s) : 0;
    s->read_line = u->i->line;
    if (!open) {
        s->readers = me;
        s->state &= (uint8_t)~CELL_MANY;
        s->read_stamp = c->generation;
        return;
    }
    if (!(s->state & CELL_MANY) && s->read_stamp != c->generation) {
        uint32_t old = s->read_stamp, record = new_extra(c);
        for (int k = 0; k < MAX_WARPS; k++)
            c->extra[record].stamp[k] = old;
        s->read_stamp = record;
        s->state |= CELL_MANY;
    }
    s->readers |= me;
    if (s->state & CELL_MANY)
        c->extra[s->read_stamp].stamp[u->w->index] = c->generation;
}

static uint8_t state_after(enum shadow_use how, uint8_t before) {
    if (how == USE_ISSUE)
        return CELL_FLIGHT | (before & CELL_INIT);
    return how == USE_WRITE ? CELL_INIT | CELL_GENERIC : CELL_INIT | CELL_GENERIC | CELL_ATOMIC;
}

/* The common cases, where nothing can be wrong: what happened before is ordered for all warps, or was this warp's own.
 * False: look closely. */
static inline bool use_quickly(const struct use *u, struct shadow_cell *s) {
    const struct warp_private *own = u->w->own;
    uint32_t now = u->w->cta->generation, me = 1u << u->w->index;
    if ((s->state & (CELL_FLIGHT | CELL_PARTS | CELL_MANY | CELL_LENT)) ||
        (s->write_stamp > own->seen_all && s->writer != u->w->index))
        return false;
    bool readers_known = s->read_stamp <= own->seen_all || (s->readers & ~me) == 0;
    if (u->how == USE_READ) {
        if (!(s->state & CELL_INIT) || !(readers_known || s->read_stamp == now))
            return false;
        s->readers = readers_known ? me : s->readers | me;
        s->read_stamp = now;
        s->read_line = u->i->line;
        return true;
    }
    if ((u->how != USE_WRITE && u->how != USE_ISSUE) || !readers_known)
        return false;
    s->writer = u->w->index;
    s->write_stamp = now;
    s->write_line = u->i->line;
    s->readers = 0;
    s->state = state_after(u->how, s->state);
    return true;
}

static bool use_cell(const struct use *u, struct shadow_cell *s) {
    if (u->how == USE_RETURN) {
        s->state &= (uint8_t)~CELL_LENT;
        note_reader(u, s);
        return true;
    }
    if (!check_state(u, s))
        return false;
    if (u->how == USE_LAND) {
        s->state = CELL_INIT;
        s->write_stamp = u->w->cta->generation;
        return true;
    }
    if (!check_writer(u, s))
        return false;
    if (is_read(u->how))
        note_reader(u, s);
    s->state |= u->how == USE_LEND ? CELL_LENT : 0;
    if (is_read(u->how) || u->how == USE_STRONG_READ)
        return true;
    uint32_t open = s->readers ? open_readers(u, s) : 0;
    if (open)
        return report_race(u, "read", (unsigned)__builtin_ctz(open), s->read_line);
    s->writer = u->w->index;
    s->write_stamp = u->w->cta->generation;
    s->write_line = u->i->line;
    s->readers = 0;
    s->state = state_after(u->how, s->state);
    return true;
}

static bool use_parts(struct use *u, struct shadow_cell *s, unsigned first, unsigned bytes) {
    struct cta *c = u->w->cta;
    if (!(s->state & CELL_PARTS)) {
        struct shadow_cell whole = *s;
        uint32_t record = new_extra(c);
        for (int k = 0; k < 4; k++)
            c->extra[record].byte[k] = whole;
        s->state = CELL_PARTS;
        s->write_stamp = record;
    }
    uint32_t record = s->write_stamp, word = u->address & ~3u;
    for (unsigned k = first; k < first + bytes; k++) {
        struct shadow_cell byte = c->extra[record].byte[k]; /* a copy: noting a reader may move the records */
        u->address = word + k;
        if (!use_cell(u, &byte))
            return false;
        c->extra[record].byte[k] = byte;
    }
    return true;
}

bool shadow_access(struct warp *w, const struct insn *i, int lane, uint32_t address, unsigned bytes,
                   enum shadow_use how) {
    struct use u = {w, i, lane, address, how};
    struct shadow_cell *cell = w->cta->shadow + address / 4;
    if (bytes < 4)
        return use_parts(&u, cell, address % 4, bytes);
    for (unsigned k = 0; k < bytes; k += 4, cell++) {
        u.address = address + k;
        if (use_quickly(&u, cell))
            continue;
        if (cell->state & CELL_PARTS ? !use_parts(&u, cell, 0, 4) : !use_cell(&u, cell))
            return false;
    }
    return true;
}
