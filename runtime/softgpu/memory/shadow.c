/* Watching shared memory: who wrote and read each word, and whether a barrier lies between.
 *
 * Happens-before in the manner of FastTrack (Flanagan and Freund, PLDI 2009), with one simplification that barriers
 * allow: time is one number for the whole cluster, the generation, which grows whenever a barrier or fence orders
 * anything. seen[u] of a warp is the last generation in which accesses by warp u are ordered before the warp's next
 * one. An access of warp u stamped s is therefore ordered before one of warp w exactly if s <= w.seen[u].
 *
 * The CTAs of a cluster share one clock, and u counts through their warps (warp_private.column): an access to another
 * CTA's shared memory is one like any other.
 *
 * Most words share their history with their neighbours, so a word holds only the number of its state. What an access
 * does depends on the state that it finds: it is worked out for the first word in a state, and the others follow by
 * comparing numbers. States are counted and used again, so their number is bounded by the words, however long a kernel
 * runs. */
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
    CELL_PARTS = 8,    /* the bytes are in different states: part[] */
    CELL_GENERIC = 32, /* written by ordinary stores: the tensor core sees it after a proxy fence only */
    CELL_MANY = 16,    /* the readers have a stamp each: read_stamp is the number of their record */
    CELL_LENT = 64     /* the copy engine reads it until a wait says that it has */
};
/* Of words, or of bytes of a word that was accessed in part. */
struct shadow_state {
    union {
        struct {
            uint32_t write_stamp, write_line; /* stamp 0: never */
            uint32_t read_stamp, read_line;   /* 0 without readers */
        };
        uint32_t part[4];
        uint32_t next; /* of a free one: the next free one, 0 at the end */
    };
    uint32_t readers; /* warps, since the last write */
    uint8_t writer;
    uint8_t state; /* CELL_… */
    uint32_t uses; /* words, bytes and steps that refer to it */
};
struct readers { /* their stamps, by column; of a free one the next free one is stamp[0], 0 at the end */
    uint32_t stamp[MAX_WARPS];
};
/* A state taken out to be changed. */
struct cell {
    struct shadow_state s;
    uint32_t stamp[MAX_WARPS]; /* with CELL_MANY */
};

/* What an access makes of the words in state `from`. */
struct step {
    uint32_t from, to, words; /* words that have gone this way; they are not yet counted in shadow_state.uses */
};
enum { STEPS = 16, NO_STATE = -1 };

struct shadow {
    uint32_t *word;             /* the state of each 4 bytes; 0: never accessed */
    struct shadow_state *state; /* [0] stays */
    struct readers *readers;    /* [0] is not used: 0 ends the list of free ones */
    size_t states, state_capacity, reader_records, reader_capacity;
    uint32_t free_state, free_readers;
    /* The steps of the access under way, good as long as nothing else happens that they depend on. */
    const struct warp *warp;
    const struct insn *insn;
    uint64_t change; /* cluster.changes */
    enum shadow_use how;
    unsigned span;          /* bytes within a word, as first + 8 * count; 0: whole words */
    unsigned steps, recent; /* recent: the last one taken; without any, the first one's `from` is NO_STATE */
    struct step step[STEPS];
};

void shadow_start(struct cluster *cl) {
    unsigned warps = (unsigned)(cl->ctas * cl->cta[0]->warps);
    cl->columns = warps < MAX_WARPS ? warps : MAX_WARPS;
    cl->generation = 2;
    memset(cl->fenced, 0, sizeof cl->fenced);
    memset(cl->proxy_fenced, 0, sizeof cl->proxy_fenced);
}

void shadow_free(struct cta *c) {
    if (!c->shadow)
        return;
    free(c->shadow->word);
    free(c->shadow->state);
    free(c->shadow->readers);
    free(c->shadow);
}

size_t shadow_records(const struct cta *c) {
    return c->shadow->states + c->shadow->reader_records;
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
    cl->changes++;
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
    w->cta->cluster->changes++;
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

/* ---- what an access does to a state ---- */

struct use {
    struct cta *c; /* whose shared memory it is */
    struct warp *w;
    const struct insn *i;
    int lane;
    uint32_t address, now; /* generation */
    enum shadow_use how;
    const struct access *access; /* by `lane` and those that follow; NULL: by it alone */
    unsigned bytes;              /* 4, or 1 of a word whose bytes are looked at one by one */
    bool noted;                  /* something about these bytes alone */
};

/* The first one that accesses the byte at hand. */
static int lane_of(const struct use *u) {
    for (uint32_t rest = u->access ? u->access->exec >> u->lane << u->lane : 0; rest; rest &= rest - 1) {
        const int lane = __builtin_ctz(rest);
        if (u->address - (uint32_t)u->access->address[lane] < u->access->bytes)
            return lane;
    }
    return u->lane;
}

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
    return warp_check(u->w, u->i, lane_of(u), SG_CHECK_RACE,
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
    return warp_check(u->w, u->i, lane_of(u), SG_CHECK_COPY_SOURCE,
                      "shared 0x%x: the bulk %s of PTX line %u may still be reading it (no %s covers it)", u->address,
                      store ? "store" : "copy", reader ? reader->line : 0,
                      store ? "cp.async.bulk.wait_group" : "wait for its mbarrier");
}

static bool check_state(struct use *u, const struct shadow_state *s) {
    char text[64];
    if ((s->state & CELL_LENT) && is_write(u->how) && !report_lent(u))
        return false;
    if ((s->state & CELL_FLIGHT) && u->how != USE_LAND &&
        !warp_check(
            u->w, u->i, lane_of(u), u->how == USE_ISSUE ? SG_CHECK_COPY_OVERLAP : SG_CHECK_COPY_WAIT,
            "shared 0x%x: the asynchronous copy of PTX line %u by %s is still in flight (no wait for its group)",
            u->address, s->write_line, who(u->c->cluster, s->writer, text)))
        return false;
    if ((u->how == USE_PROXY_READ || u->how == USE_LEND || u->how == USE_REDUCE) && (s->state & CELL_GENERIC) &&
        s->write_stamp > u->c->cluster->proxy_fenced[s->writer] &&
        !warp_check(u->w, u->i, lane_of(u), SG_CHECK_PROXY_FENCE,
                    "shared 0x%x: %s wrote it by an ordinary store at PTX line %u and no fence.proxy.async followed",
                    u->address, who(u->c->cluster, s->writer, text), s->write_line))
        return false;
    if ((s->state & (CELL_INIT | CELL_FLIGHT)) ||
        !(is_read(u->how) || u->how == USE_STRONG_READ || u->how == USE_ATOMIC || u->how == USE_REDUCE))
        return true;
    if (poison_defers(u->w, u->i)) {
        poison_note(u->w, -1, SPACE_SHARED, u->address, u->bytes);
        u->noted = true;
        return true;
    }
    return warp_check(u->w, u->i, lane_of(u), SG_CHECK_UNINITIALIZED, "shared 0x%x was never written", u->address);
}

static bool check_writer(const struct use *u, const struct shadow_state *s) {
    bool strong =
        u->how == USE_ATOMIC || u->how == USE_REDUCE || u->how == USE_STRONG_READ || u->how == USE_STRONG_WRITE;
    if (s->write_stamp == 0 || ordered(u->w, s->writer, s->write_stamp) || (strong && (s->state & CELL_ATOMIC)))
        return true;
    return report_race(u, "wrote", s->writer, s->write_line);
}

/* The readers that are not ordered before this access. */
static uint32_t open_readers(const struct use *u, const struct cell *cell) {
    const struct shadow_state *s = &cell->s;
    if (!(s->state & CELL_MANY) && s->read_stamp <= u->w->own->seen_all)
        return 0;
    uint32_t open = 0;
    for (uint32_t rest = s->readers; rest; rest &= rest - 1) {
        unsigned column = (unsigned)__builtin_ctz(rest);
        uint32_t stamp = s->state & CELL_MANY ? cell->stamp[column] : s->read_stamp;
        open |= (uint32_t)!ordered(u->w, column, stamp) << column;
    }
    return open;
}

static void note_reader(const struct use *u, struct cell *cell) {
    struct shadow_state *s = &cell->s;
    uint32_t me = 1u << u->w->own->column, open = s->readers && s->readers != me ? open_readers(u, cell) : 0;
    s->read_line = u->i->line;
    if (!open) {
        s->readers = me;
        s->state &= (uint8_t)~CELL_MANY;
        s->read_stamp = u->now;
        return;
    }
    if (!(s->state & CELL_MANY) && s->read_stamp != u->now) {
        for (int k = 0; k < MAX_WARPS; k++)
            cell->stamp[k] = s->read_stamp;
        s->state |= CELL_MANY;
    }
    s->readers |= me;
    if (s->state & CELL_MANY)
        cell->stamp[u->w->own->column] = u->now;
}

static uint8_t state_after(enum shadow_use how, uint8_t before) {
    if (how == USE_ISSUE)
        return CELL_FLIGHT | (before & CELL_INIT);
    if (how == USE_REDUCE)
        return CELL_INIT | CELL_ATOMIC;
    return how == USE_WRITE ? CELL_INIT | CELL_GENERIC : CELL_INIT | CELL_GENERIC | CELL_ATOMIC;
}

static bool use_cell(struct use *u, struct cell *cell) {
    struct shadow_state *s = &cell->s;
    if (u->how == USE_RETURN) {
        s->state &= (uint8_t)~CELL_LENT;
        note_reader(u, cell);
        return true;
    }
    if (u->how == USE_FORGET) {
        s->state &= (uint8_t)~CELL_INIT;
        return true;
    }
    if (!check_state(u, s))
        return false;
    if (u->how == USE_LAND) {
        s->readers = s->read_stamp = s->read_line = 0;
        s->state = CELL_INIT;
        s->write_stamp = u->now;
        return true;
    }
    if (!check_writer(u, s))
        return false;
    if (is_read(u->how))
        note_reader(u, cell);
    s->state |= u->how == USE_LEND ? CELL_LENT : 0;
    if (is_read(u->how) || u->how == USE_STRONG_READ)
        return true;
    uint32_t open = s->readers ? open_readers(u, cell) : 0;
    if (open && !report_race(u, "read", (unsigned)__builtin_ctz(open), s->read_line))
        return false;
    s->writer = u->w->own->column;
    s->write_stamp = u->now;
    s->write_line = u->i->line;
    s->readers = s->read_stamp = s->read_line = 0;
    s->state = state_after(u->how, s->state);
    return true;
}

/* ---- states ---- */

static void drop_state(struct shadow *s, uint32_t id, uint32_t uses) {
    struct shadow_state *old = &s->state[id];
    old->uses -= uses;
    if (old->uses || id == 0)
        return;
    if (old->state & CELL_MANY) {
        s->readers[old->read_stamp].stamp[0] = s->free_readers;
        s->free_readers = old->read_stamp;
    }
    if (old->state & CELL_PARTS)
        for (int k = 0; k < 4; k++)
            drop_state(s, old->part[k], 1);
    old->next = s->free_state;
    s->free_state = id;
}

static uint32_t new_readers(struct shadow *s) {
    const uint32_t free_one = s->free_readers;
    if (free_one) {
        s->free_readers = s->readers[free_one].stamp[0];
        return free_one;
    }
    array_grow(&s->readers, &s->reader_capacity, s->reader_records, sizeof *s->readers);
    return (uint32_t)s->reader_records++;
}

/* A copy, whose uses the caller counts. */
static inline uint32_t put_state(struct shadow *s, const struct shadow_state *state) {
    uint32_t id = s->free_state;
    if (id) {
        s->free_state = s->state[id].next;
    } else {
        array_grow(&s->state, &s->state_capacity, s->states, sizeof *s->state);
        id = (uint32_t)s->states++;
    }
    s->state[id] = *state;
    s->state[id].uses = 0;
    return id;
}

static uint32_t new_state(struct shadow *s, const struct cell *cell) {
    const uint32_t id = put_state(s, &cell->s);
    if (cell->s.state & CELL_MANY) {
        const uint32_t record = s->state[id].read_stamp = new_readers(s);
        memcpy(s->readers[record].stamp, cell->stamp, sizeof cell->stamp);
    }
    return id;
}

static void take_out(const struct shadow *s, uint32_t id, struct cell *cell) {
    cell->s = s->state[id];
    if (cell->s.state & CELL_MANY)
        memcpy(cell->stamp, s->readers[cell->s.read_stamp].stamp, sizeof cell->stamp);
}

/* But for their readers' stamps. */
static inline bool are_alike(const struct shadow_state *a, const struct shadow_state *b) {
    return a->write_stamp == b->write_stamp && a->write_line == b->write_line && a->read_line == b->read_line &&
           a->readers == b->readers && a->writer == b->writer && a->state == b->state;
}

static bool is_state(const struct shadow *s, uint32_t id, const struct cell *cell) {
    const struct shadow_state *a = &s->state[id];
    if (!are_alike(a, &cell->s))
        return false;
    return a->state & CELL_MANY ? memcmp(s->readers[a->read_stamp].stamp, cell->stamp, sizeof cell->stamp) == 0
                                : a->read_stamp == cell->s.read_stamp;
}

/* The common cases of next_state(), where nothing can be wrong: what happened before is ordered for all warps, or was
 * this warp's own. False: look closely. */
static inline bool next_quickly(const struct use *u, uint32_t from, uint32_t hint, uint32_t *to) {
    struct shadow *s = u->c->shadow;
    const struct shadow_state *old = &s->state[from], *other = &s->state[hint];
    const struct warp_private *own = u->w->own;
    const uint32_t me = 1u << own->column;
    const bool lands = u->how == USE_LAND;
    if ((old->state & (CELL_PARTS | CELL_MANY | CELL_LENT)) || lands != ((old->state & CELL_FLIGHT) != 0) ||
        (!lands && old->write_stamp > own->seen_all && old->writer != own->column))
        return false;
    const bool readers_known = old->read_stamp <= own->seen_all || !(old->readers & ~me);
    struct shadow_state next = *old;
    if (u->how == USE_READ || (u->how == USE_PROXY_READ && !(old->state & CELL_GENERIC))) {
        if (!(old->state & CELL_INIT) || !(readers_known || old->read_stamp == u->now))
            return false;
        next.readers = readers_known ? me : old->readers | me;
        next.read_stamp = u->now;
        next.read_line = u->i->line;
    } else {
        if (!lands && ((u->how != USE_WRITE && u->how != USE_ISSUE) || !readers_known))
            return false;
        next.write_stamp = u->now;
        next.write_line = lands ? old->write_line : u->i->line;
        next.writer = lands ? old->writer : own->column;
        next.readers = next.read_stamp = next.read_line = 0;
        next.state = lands ? CELL_INIT : state_after(u->how, old->state);
    }
    if (are_alike(old, &next) && old->read_stamp == next.read_stamp)
        *to = from;
    else if (are_alike(other, &next) && other->read_stamp == next.read_stamp)
        *to = hint;
    else
        *to = put_state(s, &next);
    return true;
}

/* Where an access takes a state whose bytes are alike; `hint` may be that state. False after a fault. */
static bool next_state(struct use *u, uint32_t from, uint32_t hint, uint32_t *to) {
    struct shadow *s = u->c->shadow;
    struct cell cell;
    if (next_quickly(u, from, hint, to))
        return true;
    take_out(s, from, &cell);
    if (!use_cell(u, &cell))
        return false;
    *to = is_state(s, from, &cell) ? from : is_state(s, hint, &cell) ? hint : new_state(s, &cell);
    return true;
}

/* The same where not all bytes are accessed, or they are in different states. */
static bool next_parts(struct use *u, uint32_t from, uint32_t *to) {
    struct shadow *s = u->c->shadow;
    const unsigned first = s->span % 8, end = s->span ? first + s->span / 8 : 4;
    const uint32_t word = u->address & ~3u;
    struct cell cell = {.s = {.state = CELL_PARTS}};
    u->bytes = 1;
    for (unsigned k = 0; k < 4; k++) {
        const uint32_t part = s->state[from].state & CELL_PARTS ? s->state[from].part[k] : from;
        cell.s.part[k] = part;
        u->address = word + k;
        if (k >= first && k < end && !next_state(u, part, k ? cell.s.part[k - 1] : 0, &cell.s.part[k]))
            return false;
        s->state[cell.s.part[k]].uses++; /* it stays while the next is made */
    }
    u->bytes = 4;
    const uint32_t *part = cell.s.part;
    const bool alike = part[0] == part[1] && part[0] == part[2] && part[0] == part[3];
    *to = alike ? part[0] : new_state(s, &cell);
    for (unsigned k = 0; k < 4 && alike; k++)
        s->state[part[0]].uses--; /* the caller counts its own */
    return true;
}

/* ---- accesses ---- */

/* Counts the words that have moved, then lets go of the states. */
static void forget_steps(struct shadow *s) {
    for (struct step *t = s->step; t < s->step + s->steps; t++) {
        s->state[t->from].uses -= t->words;
        s->state[t->to].uses += t->words;
    }
    for (struct step *t = s->step; t < s->step + s->steps; t++) {
        drop_state(s, t->from, 1);
        drop_state(s, t->to, 1);
    }
    s->steps = s->recent = 0;
    s->step[0].from = (uint32_t)NO_STATE;
}

void shadow_reset(struct cta *c) {
    const size_t words = (c->shared_bytes + 3) / 4 + 1;
    if (!c->shadow) {
        c->shadow = xcalloc(1, sizeof *c->shadow);
        c->shadow->word = xmalloc(words * sizeof *c->shadow->word);
        array_grow(&c->shadow->state, &c->shadow->state_capacity, 0, sizeof *c->shadow->state);
    }
    struct shadow *s = c->shadow;
    memset(s->word, 0, words * sizeof *s->word);
    s->states = s->reader_records = 1;
    s->free_state = s->free_readers = 0;
    s->warp = NULL;
    s->steps = 0;
    forget_steps(s);
    if (c->run->shared_reserved) { /* its user need not begin with a store */
        const uint32_t reserved = put_state(s, &(struct shadow_state){.state = CELL_INIT});
        for (uint32_t at = (c->shared_bytes - c->run->shared_reserved) / 4; at < c->shared_bytes / 4; at++) {
            s->word[at] = reserved;
            s->state[reserved].uses++;
        }
    }
    memset(c->remote, 0, sizeof c->remote);
    for (int k = 0; k < c->warps; k++) {
        memset(c->own[k].seen, 0, sizeof c->own[k].seen);
        c->own[k].seen_all = 0;
    }
}

/* The step from a state that no word was in so far. NULL after a fault. */
static __attribute__((noinline)) struct step *new_step(struct use *u, uint32_t from) {
    struct shadow *s = u->c->shadow;
    if (s->steps == STEPS)
        forget_steps(s);
    const uint32_t hint = s->steps ? s->step[s->steps - 1].to : 0;
    uint32_t to;
    s->state[from].uses++; /* not to be used again for what is made of it */
    if (s->span || (s->state[from].state & CELL_PARTS) ? !next_parts(u, from, &to) : !next_state(u, from, hint, &to))
        return NULL;
    s->state[to].uses++;
    s->step[s->steps] = (struct step){from, to, 0};
    s->recent = s->steps++;
    return &s->step[s->recent];
}

static inline struct step *find_step(struct use *u, uint32_t from) {
    struct shadow *s = u->c->shadow;
    if (s->step[s->recent].from == from)
        return &s->step[s->recent];
    for (unsigned k = 0; k < s->steps; k++)
        if (s->step[k].from == from) {
            s->recent = k;
            return &s->step[k];
        }
    return new_step(u, from);
}

/* Are the steps so far those of this access too? */
static inline bool goes_on(const struct use *u, unsigned span) {
    const struct shadow *s = u->c->shadow;
    return s->insn == u->i && s->warp == u->w && s->change == u->c->cluster->changes && s->how == u->how &&
           s->span == span;
}

static void begin_access(const struct use *u, unsigned span) {
    struct shadow *s = u->c->shadow;
    forget_steps(s);
    s->warp = u->w;
    s->insn = u->i;
    s->change = u->c->cluster->changes;
    s->how = u->how;
    s->span = span;
}

/* Four words at a time. */
typedef uint32_t quad __attribute__((vector_size(16), aligned(4)));
static inline bool all_are(const uint32_t *word, uint32_t state) {
    uint64_t half[2];
    memcpy(half, word, sizeof half);
    const uint64_t want = state * 0x100000001ull;
    return ((half[0] ^ want) | (half[1] ^ want)) == 0;
}
static inline void set_all(uint32_t *word, uint32_t state) {
    *(quad *)word = (quad){state, state, state, state};
}

/* Other words in the same state are to be noted too: they must not go this way unseen. */
static void forget_noted(struct use *u) {
    forget_steps(u->c->shadow);
    u->noted = false;
}

/* How many of the words are in the step's first state; they are moved to its second. */
static inline uint32_t move_words(uint32_t *word, uint32_t words, struct step *t) {
    uint32_t k = 0;
    for (; k + 4 <= words && all_are(word + k, t->from); k += 4)
        set_all(word + k, t->to);
    for (; k < words && word[k] == t->from; k++)
        word[k] = t->to;
    t->words += k;
    return k;
}

/* Of whole words. */
static bool use_words(struct use *u, uint32_t bytes) {
    const uint32_t begin = u->address, words = (bytes + 3) / 4;
    uint32_t *word = u->c->shadow->word + begin / 4;
    if (!goes_on(u, 0))
        begin_access(u, 0);
    for (uint32_t at = 0; at < words;) {
        u->address = begin + 4 * at;
        struct step *t = find_step(u, word[at]);
        if (!t)
            return false;
        at += move_words(word + at, u->noted ? 1 : words - at, t);
        if (u->noted)
            forget_noted(u);
    }
    return true;
}

static bool use_part(struct use *u, unsigned bytes) {
    uint32_t *word = u->c->shadow->word + u->address / 4;
    const unsigned span = u->address % 4 + 8 * bytes;
    if (!goes_on(u, span))
        begin_access(u, span);
    struct step *t = find_step(u, *word);
    if (!t)
        return false;
    *word = t->to;
    t->words++;
    if (u->noted)
        forget_noted(u);
    return true;
}

/* Any bytes: those of a word that are not all of it are a use of their own. */
static __attribute__((noinline)) bool use_odd_bytes(struct use *u, uint32_t begin, uint32_t end) {
    for (uint32_t next; begin < end; begin = next) {
        const uint32_t whole = (end - begin) & ~3u, odd = begin % 4;
        next = begin + (odd || !whole ? (4 - odd < end - begin ? 4 - odd : end - begin) : whole);
        u->address = begin;
        if (odd || !whole ? !use_part(u, next - begin) : !use_words(u, whole))
            return false;
    }
    return true;
}

/* Four words, most often in the state of the last ones, by an access that goes on. */
static inline bool use_quad(struct use *u, uint32_t address) {
    struct shadow *s = u->c->shadow;
    uint32_t *word = s->word + address / 4;
    struct step *t = &s->step[s->recent];
    if (all_are(word, t->from)) {
        set_all(word, t->to);
        t->words += 4;
        return true;
    }
    u->address = address;
    return use_words(u, 16);
}

/* The bytes of a run of lanes. */
static inline bool use_run(struct use *u, uint32_t begin, uint32_t end) {
    if ((begin | end) % 4)
        return use_odd_bytes(u, begin, end);
    if (end - begin == 16 && goes_on(u, 0))
        return use_quad(u, begin);
    u->address = begin;
    return use_words(u, end - begin);
}

bool shadow_access_in(struct cta *c, struct warp *w, const struct insn *i, int lane, uint32_t address, unsigned bytes,
                      enum shadow_use how) {
    struct use u = {c, w, i, lane, address, c->cluster->generation, how, NULL, 4, false};
    return bytes < 4 ? use_part(&u, bytes) : use_words(&u, bytes);
}

bool shadow_access_rows(struct cta *c, struct warp *w, const struct insn *i, const uint32_t *address, int rows,
                        enum shadow_use how) {
    struct use u = {c, w, i, -1, 0, c->cluster->generation, how, NULL, 4, false};
    if (!goes_on(&u, 0))
        begin_access(&u, 0);
    for (int k = 0; k < rows; k++)
        if (!use_quad(&u, address[k]))
            return false;
    return true;
}

/* Lanes whose bytes follow each other go together, and a broadcast is one access. */
bool shadow_access_warp(struct cta *c, struct warp *w, const struct insn *i, const struct access *x,
                        enum shadow_use how) {
    struct use u = {c, w, i, 0, 0, c->cluster->generation, how, x, 4, false};
    const uint32_t bytes = x->bytes;
    u.lane = __builtin_ctz(x->exec);
    uint32_t begin = (uint32_t)x->address[u.lane], last = begin;
    if (x->contiguous)
        return use_run(&u, begin, begin + LANES * bytes);
    for (uint32_t rest = x->exec & (x->exec - 1); rest; rest &= rest - 1) {
        const int lane = __builtin_ctz(rest);
        const uint32_t address = (uint32_t)x->address[lane];
        if (address != last + bytes && (address != last || how == USE_ISSUE)) {
            if (!use_run(&u, begin, last + bytes))
                return false;
            begin = address;
            u.lane = lane;
        }
        last = address;
    }
    return use_run(&u, begin, last + bytes);
}
