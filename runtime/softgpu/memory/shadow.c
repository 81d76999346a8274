/* Watching shared memory: who wrote and read each word, and whether a barrier lies between.
 *
 * Happens-before in the manner of FastTrack (Flanagan and Freund, PLDI 2009), with one simplification that barriers
 * allow: time is one number for the whole cluster, the generation, which grows whenever a barrier or fence orders
 * anything. seen[u] of a warp is the last generation in which accesses by warp u are ordered before the warp's next
 * one. An access of warp u stamped s is therefore ordered before one of warp w exactly if s <= w.seen[u].
 *
 * The CTAs of a cluster share one clock, and u counts through their warps (warp_private.column): an access to another
 * CTA's shared memory is one like any other. */
#include "memory.h"
#include "runtime/base/array.h"
#include "runtime/base/str.h"

#include <stdio.h>
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
    for (size_t k = (c->shared_bytes - c->run->shared_reserved) / 4; k < c->shared_bytes / 4 && c->run->shared_reserved;
         k++)
        c->shadow[k].state = CELL_INIT; /* its user need not begin with a store */
    memset(c->remote, 0, sizeof c->remote);
    c->extras = 0;
    for (int k = 0; k < c->warps; k++) {
        memset(c->own[k].seen, 0, sizeof c->own[k].seen);
        c->own[k].seen_all = 0;
    }
}

void shadow_start(struct cluster *cl) {
    unsigned warps = (unsigned)(cl->ctas * cl->cta[0]->warps);
    cl->columns = warps < MAX_WARPS ? warps : MAX_WARPS;
    cl->generation = 2;
    memset(cl->fenced, 0, sizeof cl->fenced);
    memset(cl->proxy_fenced, 0, sizeof cl->proxy_fenced);
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

static bool ordered(const struct warp *w, unsigned column, uint32_t stamp) {
    const struct warp_private *own = w->own;
    return stamp <= own->seen_all || column == own->column || stamp <= own->seen[column];
}

static void update_all(const struct cluster *cl, struct warp_private *own) {
    uint32_t least = UINT32_MAX;
    for (unsigned u = 0; u < cl->columns; u++)
        least = u != own->column && own->seen[u] < least ? own->seen[u] : least;
    own->seen_all = least;
}

/* What comes after the last one that 32 bits count is taken as ordered: that errs towards silence. */
static uint32_t next_generation(struct cluster *cl) {
    return cl->generation < UINT32_MAX ? cl->generation++ : UINT32_MAX;
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
        all[c->own[k].column] = c->cluster->generation;
    }
    for (int k = 0; k < c->warps; k++) {
        if (!(waiters >> k & 1))
            continue;
        join(c->own[k].seen, all);
        update_all(c->cluster, &c->own[k]);
    }
    next_generation(c->cluster);
}

/* Fences order what they lie between, as far as one can tell without following the flags that carry the news:
 * everything fenced before is taken as known. That errs towards silence, never towards a false report. */
void shadow_fence(struct warp *w) {
    struct cluster *cl = w->cta->cluster;
    join(cl->fenced, w->own->seen);
    cl->fenced[w->own->column] = cl->generation;
    join(w->own->seen, cl->fenced);
    update_all(cl, w->own);
    next_generation(cl);
}

/* A proxy fence covers what is ordered before it: this warp's own stores, and those of others that a barrier has made
 * known to it. */
void shadow_fence_proxy(struct warp *w) {
    struct cluster *cl = w->cta->cluster;
    join(cl->proxy_fenced, w->own->seen);
    cl->proxy_fenced[w->own->column] = next_generation(cl);
}

void shadow_publish(struct warp *w, uint32_t *into) {
    join(into, w->own->seen);
    into[w->own->column] = next_generation(w->cta->cluster);
}

void shadow_publish_start(const struct warp *w, uint32_t *into) {
    join(into, w->cta->cluster->fenced);
    into[w->own->column] = into[w->own->column] ? into[w->own->column] : 1;
}

void shadow_learn(struct warp *w, const uint32_t *from) {
    join(w->own->seen, from);
    update_all(w->cta->cluster, w->own);
}

/* ---- the beginning and the end of a CTA, as other CTAs of its cluster know them ---- */

static bool is_own(const struct cta *c, unsigned column) {
    for (int k = 0; k < c->warps; k++)
        if (c->own[k].column == column)
            return true;
    return false;
}

bool shadow_remote(struct cta *c, struct warp *w, const struct insn *i, int lane) {
    bool started = false;
    for (int k = 0; k < c->warps && !started; k++)
        started = w->own->seen[c->own[k].column] || w->own->column == c->own[k].column;
    if (!started)
        started = warp_check(w, i, lane, SG_CHECK_CLUSTER_START,
                             "CTA %u of the cluster has perhaps not started: no barrier.cluster since the beginning",
                             c->rank);
    c->remote[w->own->column] = (struct remote_access){c->cluster->generation, w->pc - 1, w};
    return started;
}

void shadow_end(struct cta *c) {
    uint32_t known[MAX_WARPS] = {0};
    for (int k = 0; k < c->warps; k++)
        join(known, c->own[k].seen);
    for (unsigned u = 0; u < MAX_WARPS; u++)
        if (c->remote[u].stamp > known[u] && !is_own(c, u))
            warp_check(c->remote[u].warp, &c->run->module->code[c->remote[u].pc], -1, SG_CHECK_CLUSTER_END,
                       "CTA %u of the cluster may end before this reaches its shared memory: nothing that CTA waits "
                       "for comes after it (barrier.cluster at the end)",
                       c->rank);
}

/* ---- accesses ---- */

struct use {
    struct cta *c; /* whose shared memory it is */
    struct warp *w;
    const struct insn *i;
    int lane;
    uint32_t address, now; /* generation */
    unsigned bytes;        /* 4, or 1 of a word whose bytes are watched one by one */
    enum shadow_use how;
};

/* "warp 3", in a cluster "warp 3 of CTA 1" and, where columns are shared, perhaps not that one. */
static const char *who(const struct cluster *cl, unsigned column, char text[64]) {
    unsigned warps = (unsigned)cl->cta[0]->warps;
    if (cl->ctas == 1)
        snprintf(text, 64, "warp %u", column);
    else
        snprintf(text, 64, "warp %u of CTA %u of the cluster%s", column % warps, column / warps,
                 cl->columns < (unsigned)cl->ctas * warps ? " (or one 32 warps on)" : "");
    return text;
}

static bool report_race(const struct use *u, const char *what, unsigned column, uint32_t line) {
    char text[64];
    return warp_check(u->w, u->i, u->lane, SG_CHECK_RACE,
                      "shared 0x%x: %s %s it at PTX line %u and no barrier lies between", u->address,
                      who(u->c->cluster, column, text), what, line);
}

static bool is_write(enum shadow_use how) {
    return how == USE_WRITE || how == USE_STRONG_WRITE || how == USE_ATOMIC || how == USE_REDUCE || how == USE_ISSUE;
}

static bool is_read(enum shadow_use how) {
    return how == USE_READ || how == USE_PROXY_READ || how == USE_LEND;
}

static bool report_lent(const struct use *u) {
    const struct insn *reader = bulk_reader(u->c, u->address);
    bool store = !reader || reader->space == SPACE_GLOBAL;
    return warp_check(u->w, u->i, u->lane, SG_CHECK_COPY_SOURCE,
                      "shared 0x%x: the bulk %s of PTX line %u may still be reading it (no %s covers it)", u->address,
                      store ? "store" : "copy", reader ? reader->line : 0,
                      store ? "cp.async.bulk.wait_group" : "wait for its mbarrier");
}

static bool check_state(const struct use *u, const struct shadow_cell *s) {
    char text[64];
    if ((s->state & CELL_LENT) && is_write(u->how) && !report_lent(u))
        return false;
    if ((s->state & CELL_FLIGHT) && u->how != USE_LAND &&
        !warp_check(
            u->w, u->i, u->lane, u->how == USE_ISSUE ? SG_CHECK_COPY_OVERLAP : SG_CHECK_COPY_WAIT,
            "shared 0x%x: the asynchronous copy of PTX line %u by %s is still in flight (no wait for its group)",
            u->address, s->write_line, who(u->c->cluster, s->writer, text)))
        return false;
    if ((u->how == USE_PROXY_READ || u->how == USE_LEND || u->how == USE_REDUCE) && (s->state & CELL_GENERIC) &&
        s->write_stamp > u->c->cluster->proxy_fenced[s->writer] &&
        !warp_check(u->w, u->i, u->lane, SG_CHECK_PROXY_FENCE,
                    "shared 0x%x: %s wrote it by an ordinary store at PTX line %u and no fence.proxy.async followed",
                    u->address, who(u->c->cluster, s->writer, text), s->write_line))
        return false;
    if ((s->state & (CELL_INIT | CELL_FLIGHT)) ||
        !(is_read(u->how) || u->how == USE_STRONG_READ || u->how == USE_ATOMIC || u->how == USE_REDUCE))
        return true;
    if (poison_defers(u->w, u->i)) {
        poison_note(u->w, u->lane, SPACE_SHARED, u->address, u->bytes);
        return true;
    }
    return warp_check(u->w, u->i, u->lane, SG_CHECK_UNINITIALIZED, "shared 0x%x was never written", u->address);
}

static bool check_writer(const struct use *u, const struct shadow_cell *s) {
    bool strong =
        u->how == USE_ATOMIC || u->how == USE_REDUCE || u->how == USE_STRONG_READ || u->how == USE_STRONG_WRITE;
    if (s->write_stamp == 0 || ordered(u->w, s->writer, s->write_stamp) || (strong && (s->state & CELL_ATOMIC)))
        return true;
    return report_race(u, "wrote", s->writer, s->write_line);
}

static uint32_t reader_stamp(const struct cta *c, const struct shadow_cell *s, unsigned column) {
    return s->state & CELL_MANY ? c->extra[s->read_stamp].stamp[column] : s->read_stamp;
}

/* The readers that are not ordered before this access. */
static uint32_t open_readers(const struct use *u, const struct shadow_cell *s) {
    if (!(s->state & CELL_MANY) && s->read_stamp <= u->w->own->seen_all)
        return 0;
    uint32_t open = 0;
    for (uint32_t rest = s->readers; rest; rest &= rest - 1) {
        unsigned column = (unsigned)__builtin_ctz(rest);
        open |= (uint32_t)!ordered(u->w, column, reader_stamp(u->c, s, column)) << column;
    }
    return open;
}

static void note_reader(const struct use *u, struct shadow_cell *s) {
    struct cta *c = u->c;
    uint32_t me = 1u << u->w->own->column, open = s->readers && s->readers != me ? open_readers(u, s) : 0;
    s->read_line = u->i->line;
    if (!open) {
        s->readers = me;
        s->state &= (uint8_t)~CELL_MANY;
        s->read_stamp = u->now;
        return;
    }
    if (!(s->state & CELL_MANY) && s->read_stamp != u->now) {
        uint32_t old = s->read_stamp, record = new_extra(c);
        for (int k = 0; k < MAX_WARPS; k++)
            c->extra[record].stamp[k] = old;
        s->read_stamp = record;
        s->state |= CELL_MANY;
    }
    s->readers |= me;
    if (s->state & CELL_MANY)
        c->extra[s->read_stamp].stamp[u->w->own->column] = u->now;
}

static uint8_t state_after(enum shadow_use how, uint8_t before) {
    if (how == USE_ISSUE)
        return CELL_FLIGHT | (before & CELL_INIT);
    if (how == USE_REDUCE)
        return CELL_INIT | CELL_ATOMIC;
    return how == USE_WRITE ? CELL_INIT | CELL_GENERIC : CELL_INIT | CELL_GENERIC | CELL_ATOMIC;
}

/* The common cases, where nothing can be wrong: what happened before is ordered for all warps, or was this warp's own.
 * False: look closely. */
static inline bool use_quickly(const struct use *u, struct shadow_cell *s) {
    const struct warp_private *own = u->w->own;
    uint32_t me = 1u << own->column;
    if ((s->state & (CELL_FLIGHT | CELL_PARTS | CELL_MANY | CELL_LENT)) ||
        (s->write_stamp > own->seen_all && s->writer != own->column))
        return false;
    bool readers_known = s->read_stamp <= own->seen_all || (s->readers & ~me) == 0;
    if (u->how == USE_READ) {
        if (!(s->state & CELL_INIT) || !(readers_known || s->read_stamp == u->now))
            return false;
        s->readers = readers_known ? me : s->readers | me;
        s->read_stamp = u->now;
        s->read_line = u->i->line;
        return true;
    }
    if ((u->how != USE_WRITE && u->how != USE_ISSUE) || !readers_known)
        return false;
    s->writer = own->column;
    s->write_stamp = u->now;
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
    if (u->how == USE_FORGET) {
        s->state &= (uint8_t)~CELL_INIT;
        return true;
    }
    if (!check_state(u, s))
        return false;
    if (u->how == USE_LAND) {
        s->state = CELL_INIT;
        s->write_stamp = u->now;
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
    if (open && !report_race(u, "read", (unsigned)__builtin_ctz(open), s->read_line))
        return false;
    s->writer = u->w->own->column;
    s->write_stamp = u->now;
    s->write_line = u->i->line;
    s->readers = 0;
    s->state = state_after(u->how, s->state);
    return true;
}

static bool use_parts(struct use *u, struct shadow_cell *s, unsigned first, unsigned bytes) {
    struct cta *c = u->c;
    if (!(s->state & CELL_PARTS)) {
        struct shadow_cell whole = *s;
        uint32_t record = new_extra(c);
        for (int k = 0; k < 4; k++)
            c->extra[record].byte[k] = whole;
        s->state = CELL_PARTS;
        s->write_stamp = record;
    }
    uint32_t record = s->write_stamp, word = u->address & ~3u;
    u->bytes = 1;
    for (unsigned k = first; k < first + bytes; k++) {
        struct shadow_cell byte = c->extra[record].byte[k]; /* a copy: noting a reader may move the records */
        u->address = word + k;
        if (!use_cell(u, &byte))
            return false;
        c->extra[record].byte[k] = byte;
    }
    return true;
}

bool shadow_access_in(struct cta *c, struct warp *w, const struct insn *i, int lane, uint32_t address, unsigned bytes,
                      enum shadow_use how) {
    struct use u = {c, w, i, lane, address, c->cluster->generation, 4, how};
    struct shadow_cell *cell = c->shadow + address / 4;
    if (bytes < 4)
        return use_parts(&u, cell, address % 4, bytes);
    for (unsigned k = 0; k < bytes; k += 4, cell++) {
        u.address = address + k;
        u.bytes = 4;
        if (use_quickly(&u, cell))
            continue;
        if (cell->state & CELL_PARTS ? !use_parts(&u, cell, 0, 4) : !use_cell(&u, cell))
            return false;
    }
    return true;
}
