/* The watch over shared memory against a plain spelling of its rules, byte by byte and with a stamp for every reader:
 * random accesses of every kind and width, in any order that a kernel could have, until one is wrong. Both must say the
 * same of it. */
#include "runtime/base/str.h"
#include "runtime/softgpu/memory/memory.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

enum { BYTES = 512, WARPS = 4, INSNS = 5, MOST_ACCESSES = 2 * LANES };

struct byte {
    bool init, flight, atomic, generic, lent;
    uint32_t write_stamp, write_line, writer, readers, read_line, read_stamp[MAX_WARPS];
};
struct stage {
    struct run run;
    struct sg_module module;
    struct sg_function function;
    struct sg_launch launch;
    struct cluster cluster;
    struct insn insn[INSNS];
    struct byte byte[2][BYTES]; /* of each CTA */
    bool noted[BYTES];          /* by the last load: it read what was never written */
    uint32_t published[MAX_WARPS];
};
/* What begins an asynchronous use of shared memory, and what ends it. */
static const enum shadow_use ends[USE_FORGET + 1] = {[USE_ISSUE] = USE_LAND, [USE_LEND] = USE_RETURN};
/* One instruction of a warp: what it accesses, in order. */
struct deed {
    struct cta *cta;
    struct warp *warp;
    const struct insn *insn;
    enum shadow_use how;
    struct access access; /* of a whole warp where `by` says so */
    enum { BY_ONE, BY_ROWS, BY_WARP } by;
    int count, lane[MOST_ACCESSES];
    uint32_t address[MOST_ACCESSES];
    unsigned bytes;
};

static uint32_t any(uint32_t count) {
    return (uint32_t)lrand48() % count;
}

/* ---- the plain spelling ---- */

static bool is_ordered(const struct warp *w, unsigned column, uint32_t stamp) {
    return column == w->own->column || stamp <= w->own->seen[column];
}

static const char *name_of(const struct cluster *cl, unsigned column) {
    static char text[64];
    if (cl->ctas == 1)
        snprintf(text, sizeof text, "warp %u", column);
    else
        snprintf(text, sizeof text, "warp %u of CTA %u of the cluster", column % WARPS, column / WARPS);
    return text;
}

static bool is_on(const struct deed *d, enum sg_check check) {
    return d->cta->run->launch->checks >> check & 1;
}

/* What is wrong with this use of a byte, and which check says so; SG_CHECK_COUNT: nothing. */
static enum sg_check judge(const struct deed *d, const struct byte *b, uint32_t open, char text[400]) {
    const struct cluster *cl = d->cta->cluster;
    const enum shadow_use how = d->how;
    const bool reads = how == USE_READ || how == USE_PROXY_READ || how == USE_LEND, adds = how == USE_REDUCE;
    const bool strong = how == USE_ATOMIC || adds || how == USE_STRONG_READ || how == USE_STRONG_WRITE;
    const bool writes = (strong && how != USE_STRONG_READ) || how == USE_WRITE || how == USE_ISSUE;
    const bool proxy = how == USE_PROXY_READ || how == USE_LEND || adds;
    const bool ordered = how == USE_LAND || b->write_stamp == 0 || is_ordered(d->warp, b->writer, b->write_stamp) ||
                         (strong && b->atomic);
    const enum sg_check copy = how == USE_ISSUE ? SG_CHECK_COPY_OVERLAP : SG_CHECK_COPY_WAIT;
    if (b->lent && writes && is_on(d, SG_CHECK_COPY_SOURCE)) {
        strcpy(text, ": the bulk store of PTX line 0 may still be reading it (no cp.async.bulk.wait_group covers it)");
        return SG_CHECK_COPY_SOURCE;
    }
    if (b->flight && how != USE_LAND && is_on(d, copy)) {
        snprintf(text, 400, ": the asynchronous copy of PTX line %u by %s is still in flight (no wait for its group)",
                 b->write_line, name_of(cl, b->writer));
        return copy;
    }
    if (proxy && b->generic && b->write_stamp > cl->proxy_fenced[b->writer] && is_on(d, SG_CHECK_PROXY_FENCE)) {
        snprintf(text, 400, ": %s wrote it by an ordinary store at PTX line %u and no fence.proxy.async followed",
                 name_of(cl, b->writer), b->write_line);
        return SG_CHECK_PROXY_FENCE;
    }
    if (!b->init && !b->flight && d->insn->op != OP_ld &&
        (reads || how == USE_STRONG_READ || how == USE_ATOMIC || adds) && is_on(d, SG_CHECK_UNINITIALIZED)) {
        strcpy(text, " was never written");
        return SG_CHECK_UNINITIALIZED;
    }
    if ((ordered && !(writes && open)) || !is_on(d, SG_CHECK_RACE))
        return SG_CHECK_COUNT;
    snprintf(text, 400, ": %s %s it at PTX line %u and no barrier lies between",
             name_of(cl, ordered ? (unsigned)__builtin_ctz(open) : b->writer), ordered ? "read" : "wrote",
             ordered ? b->read_line : b->write_line);
    return SG_CHECK_RACE;
}

static void note(const struct deed *d, struct byte *b, uint32_t open) {
    const unsigned me = d->warp->own->column;
    const uint32_t now = d->cta->cluster->generation, line = d->insn->line;
    const enum shadow_use how = d->how;
    if (how == USE_FORGET) {
        b->init = false;
    } else if (how == USE_LAND) {
        b->init = true;
        b->flight = b->generic = b->atomic = b->lent = false;
        b->readers = 0;
        b->write_stamp = now;
    } else if (how == USE_READ || how == USE_PROXY_READ || how == USE_LEND || how == USE_RETURN) {
        b->lent = how == USE_LEND || (b->lent && how != USE_RETURN);
        b->readers = (open ? b->readers : 0) | 1u << me;
        b->read_stamp[me] = now;
        b->read_line = line;
    } else if (how != USE_STRONG_READ) {
        *b = (struct byte){.init = b->init || how != USE_ISSUE,
                           .flight = how == USE_ISSUE,
                           .generic = how != USE_ISSUE && how != USE_REDUCE,
                           .atomic = how == USE_STRONG_WRITE || how == USE_ATOMIC || how == USE_REDUCE,
                           .write_stamp = now,
                           .write_line = line,
                           .writer = me};
    }
}

/* Copies end where they have begun. */
static bool is_possible(const struct stage *s, const struct deed *d) {
    for (int k = 0; k < d->count && (d->how == USE_LAND || d->how == USE_RETURN); k++)
        for (uint32_t at = d->address[k]; at < d->address[k] + d->bytes; at++) {
            const struct byte *b = &s->byte[d->cta->rank][at];
            if (d->how == USE_LAND ? !b->flight : !b->lent)
                return false;
        }
    return true;
}

/* True if it may be done, and then it is; else the sentence. */
static bool do_plainly(struct stage *s, const struct deed *d, char text[640]) {
    struct byte *memory = s->byte[d->cta->rank];
    for (int k = 0; k < d->count; k++)
        for (uint32_t at = d->address[k]; at < d->address[k] + d->bytes; at++) {
            struct byte *b = &memory[at];
            uint32_t open = 0;
            char what[400], lane[24] = "";
            for (unsigned u = 0; u < MAX_WARPS; u++)
                open |= (b->readers >> u & 1 && !is_ordered(d->warp, u, b->read_stamp[u]) ? 1u : 0u) << u;
            const bool ends_only = d->how == USE_RETURN || d->how == USE_FORGET;
            const enum sg_check check = ends_only ? SG_CHECK_COUNT : judge(d, b, open, what);
            if (check != SG_CHECK_COUNT) {
                if (d->lane[k] >= 0)
                    snprintf(lane, sizeof lane, ", lane %d", d->lane[k]);
                snprintf(text, 640, "k: CTA (%u,0,0), warp %u%s, PTX line %u 'text': shared 0x%x%s [%s]",
                         d->warp->cta->id[0], d->warp->index, lane, d->insn->line, at, what,
                         sg_check_facts[check].word);
                return false;
            }
            s->noted[at] |= d->insn->op == OP_ld && !ends_only && !b->init && !b->flight && d->how != USE_WRITE &&
                            d->how != USE_STRONG_WRITE && d->how != USE_ISSUE && is_on(d, SG_CHECK_UNINITIALIZED);
            note(d, b, open);
        }
    return true;
}

/* ---- the stage ---- */

static struct stage *stage_new(int ctas) {
    struct stage *s = xcalloc(1, sizeof *s);
    s->function.name = "k";
    s->function.module = &s->module;
    s->launch.function = &s->function;
    s->run = (struct run){
        .launch = &s->launch, .function = &s->function, .module = &s->module, .cluster_ctas = (uint32_t)ctas};
    pthread_mutex_init(&s->run.lock, NULL);
    s->cluster.run = &s->run;
    s->cluster.ctas = ctas;
    for (int k = 0; k < INSNS; k++)
        s->insn[k] = (struct insn){.line = 100 + (uint32_t)k, .text = "text", .op = k == 4 ? OP_ld : OP_st};
    for (int k = 0; k < ctas; k++) {
        struct cta *c = s->cluster.cta[k] = xcalloc(1, sizeof *c);
        c->run = &s->run;
        c->cluster = &s->cluster;
        c->rank = c->id[0] = (uint32_t)k;
        c->warps = WARPS;
        c->shared_bytes = BYTES;
        for (int n = 0; n < WARPS; n++) {
            c->warp[n] = (struct warp){.index = (uint8_t)n, .cta = c, .own = &c->own[n], .live = UINT32_MAX};
            c->own[n].column = (uint8_t)(k * WARPS + n);
        }
    }
    return s;
}

static void stage_begin(struct stage *s) {
    memset(s->byte, 0, sizeof s->byte);
    memset(s->published, 0, sizeof s->published);
    s->run.fault.kind = SG_FAULT_NONE;
    s->run.stop = false;
    s->launch.checks = SG_CHECKS_ALL;
    shadow_start(&s->cluster);
    for (int k = 0; k < s->cluster.ctas; k++)
        shadow_reset(s->cluster.cta[k]);
}

static void stage_free(struct stage *s) {
    for (int k = 0; k < s->cluster.ctas; k++) {
        for (int n = 0; n < WARPS; n++)
            poison_free(&s->cluster.cta[k]->warp[n]);
        shadow_free(s->cluster.cta[k]);
        free(s->cluster.cta[k]);
    }
    free(s);
}

static void order_something(struct stage *s) {
    struct cta *c = s->cluster.cta[any((uint32_t)s->cluster.ctas)];
    struct warp *w = &c->warp[any(WARPS)];
    switch (any(6)) {
    case 0:
        shadow_barrier(c, (1u << WARPS) - 1, (1u << WARPS) - 1);
        break;
    case 1:
        shadow_barrier(c, any(1u << WARPS), any(1u << WARPS));
        break;
    case 2:
        shadow_fence(w);
        break;
    case 3:
        shadow_fence_proxy(w);
        break;
    case 4:
        shadow_publish(w, s->published);
        break;
    default:
        shadow_learn(w, s->published);
    }
}

static void draw_warp(struct deed *d) {
    static const unsigned sizes[] = {1, 2, 4, 8, 16};
    struct access *x = &d->access;
    d->bytes = x->bytes = sizes[any(5)];
    x->contiguous = any(2);
    x->exec = x->contiguous || any(2) ? UINT32_MAX : (uint32_t)mrand48() | 1u << any(LANES);
    const uint32_t places = BYTES / d->bytes, first = any(places - LANES + 1), step = any(4);
    for (uint32_t lane = 0; lane < LANES; lane++)
        x->address[lane] = (uint64_t)d->bytes * (x->contiguous ? first + lane
                                                 : any(4)      ? (first + lane * step) % places
                                                               : any(places));
    d->count = 0;
    for (int lane = 0; lane < LANES; lane++) {
        if (!(x->exec >> lane & 1))
            continue;
        d->lane[d->count] = lane;
        d->address[d->count++] = (uint32_t)x->address[lane];
    }
}

static void draw(struct stage *s, struct deed *d) {
    *d = (struct deed){.cta = s->cluster.cta[any((uint32_t)s->cluster.ctas)],
                       .insn = &s->insn[any(INSNS)],
                       .how = any(3) ? (any(2) ? USE_READ : USE_WRITE) : (enum shadow_use)any(USE_FORGET + 1),
                       .by = any(3)};
    d->warp = &s->cluster.cta[any((uint32_t)s->cluster.ctas)]->warp[any(WARPS)];
    if (d->by == BY_WARP) {
        draw_warp(d);
        return;
    }
    d->count = d->by == BY_ROWS ? 1 + (int)any(MOST_ACCESSES) : 1;
    d->bytes = d->by == BY_ROWS ? 16 : any(2) ? 1 + any(4) : 4 * (1 + any(BYTES / 4));
    d->bytes = d->bytes == 3 ? 2 : d->bytes;
    const uint32_t unit = d->bytes < 4 ? d->bytes : 4, places = (BYTES - d->bytes) / unit + 1, first = any(places);
    for (int k = 0; k < d->count; k++) {
        d->address[k] = unit * ((first + (uint32_t)k * 4) % places);
        d->lane[k] = -1;
    }
}

static bool do_watched(const struct deed *d) {
    if (d->by == BY_WARP)
        return shadow_access_warp(d->cta, d->warp, d->insn, &d->access, d->how);
    if (d->by == BY_ROWS)
        return shadow_access_rows(d->cta, d->warp, d->insn, d->address, d->count, d->how);
    return shadow_access_in(d->cta, d->warp, d->insn, d->lane[0], d->address[0], d->bytes, d->how);
}

/* Each byte that was never written is noted by the load that reads it. */
static void check_notes(const struct stage *s, struct warp *w) {
    bool noted[BYTES] = {false};
    for (size_t k = 0; k < w->own->unwrittens; k++) {
        const struct unwritten *u = &w->own->unwritten[k];
        assert_int_equal(u->space, SPACE_SHARED);
        for (unsigned b = 0; b < u->bytes; b++)
            noted[u->address + b] = true;
    }
    w->own->unwrittens = 0;
    assert_memory_equal(noted, s->noted, sizeof noted);
}

/* Many right accesses, then one that is wrong. Without some of the checks more of them are right. */
static void play(struct stage *s, uint32_t without, int accesses) {
    struct byte before[2][BYTES];
    struct deed d, last = {.count = 0}, begun = last;
    char text[640];
    stage_begin(s);
    for (int k = 0; k < s->cluster.ctas * WARPS; k++)
        poison_reset(&s->cluster.cta[k / WARPS]->warp[k % WARPS]);
    s->launch.checks &= ~without;
    for (int done = 0;;) {
        if (any(3) == 0)
            order_something(s);
        draw(s, &d);
        if (last.count && any(4) == 0) /* an instruction in a loop */
            d = last;
        if (begun.count && any(2)) {
            d = begun;
            d.how = ends[d.how];
            begun.count = 0;
        }
        if (!is_possible(s, &d))
            continue;
        memcpy(before, s->byte, sizeof before);
        memset(s->noted, 0, sizeof s->noted);
        if (do_plainly(s, &d, text)) {
            if (!do_watched(&d))
                fail_msg("a false report: %s", s->run.fault.text);
            check_notes(s, d.warp);
            begun = ends[d.how] ? d : begun;
            last = d;
            done++;
            continue;
        }
        if (done >= accesses)
            break;
        memcpy(s->byte, before, sizeof before);
    }
    assert_false(do_watched(&d));
    assert_string_equal(s->run.fault.text, text);
}

static void it_says_what_the_plain_rules_say(void **state) {
    (void)state;
    for (int ctas = 1; ctas <= 2; ctas++) {
        struct stage *s = stage_new(ctas);
        for (int k = 0; k < 1000; k++)
            play(s, any(4) ? 0 : 1u << any(SG_CHECK_COUNT), (int)any(60));
        stage_free(s);
    }
}

/* Of each CTA: a state for each byte and word, those of the access under way, and readers for each of them. */
static void it_needs_no_more_the_longer_it_runs(void **state) {
    (void)state;
    struct stage *s = stage_new(2);
    play(s, 0, 20000);
    for (int k = 0; k < 2; k++) {
        const size_t records = shadow_records(s->cluster.cta[k]), most = 2 * (BYTES + BYTES / 4 + 2 * 16 + 8);
        if (records > most)
            fail_msg("%zu records for %d bytes, more than %zu", records, BYTES, most);
    }
    stage_free(s);
}

/* What a pipeline does: one warp fills a buffer, the others read it at times of their own, and say when they have. */
static void turn(struct stage *s, bool wait) {
    struct cta *c = s->cluster.cta[0];
    const uint32_t all = (1u << WARPS) - 1;
    assert_true(shadow_access_in(c, &c->warp[0], &s->insn[0], 0, 0, BYTES, USE_WRITE));
    shadow_barrier(c, all, all);
    for (int n = 1; n < WARPS; n++)
        for (uint32_t at = 0; at < BYTES; at += 64) {
            assert_true(shadow_access_in(c, &c->warp[n], &s->insn[n], 0, at, 64, USE_READ));
            shadow_publish(&c->warp[n], s->published);
        }
    if (wait)
        shadow_learn(&c->warp[0], s->published);
}

static void a_race_after_many_turns_is_found(void **state) {
    (void)state;
    struct stage *s = stage_new(1);
    struct cta *c = s->cluster.cta[0];
    stage_begin(s);
    turn(s, true);
    turn(s, true);
    const size_t records = shadow_records(c);
    for (int k = 0; k < 30000; k++)
        turn(s, true);
    assert_int_equal(shadow_records(c), records);
    turn(s, false);
    assert_false(shadow_access_in(c, &c->warp[0], &s->insn[0], 7, 64, 16, USE_WRITE));
    assert_string_equal(s->run.fault.text, "k: CTA (0,0,0), warp 0, lane 7, PTX line 100 'text': shared 0x40: warp 1 "
                                           "read it at PTX line 103 and no barrier lies between [race]");
    stage_free(s);
}

/* The same instruction again, with nothing but news in between. */
static void what_a_warp_learns_counts_at_once(void **state) {
    (void)state;
    struct stage *s = stage_new(1);
    struct cta *c = s->cluster.cta[0];
    const uint32_t all = (1u << WARPS) - 1;
    stage_begin(s);
    assert_true(shadow_access_in(c, &c->warp[0], &s->insn[0], 0, 0, 4, USE_WRITE));
    shadow_barrier(c, all, all);
    assert_true(shadow_access_in(c, &c->warp[1], &s->insn[1], 0, 0, 4, USE_READ));
    shadow_publish(&c->warp[1], s->published);
    for (int k = 0; k < 3; k++) {
        assert_true(shadow_access_in(c, &c->warp[2], &s->insn[2], 0, 0, 4, USE_READ));
        if (k == 1)
            shadow_learn(&c->warp[2], s->published);
    }
    assert_false(shadow_access_in(c, &c->warp[0], &s->insn[3], 0, 0, 4, USE_WRITE));
    assert_non_null(strstr(s->run.fault.text, "shared 0x0: warp 2 read it at PTX line 102 and"));
    stage_free(s);
}

int main(void) {
    srand48(3);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_what_the_plain_rules_say),
        cmocka_unit_test(it_needs_no_more_the_longer_it_runs),
        cmocka_unit_test(what_a_warp_learns_counts_at_once),
        cmocka_unit_test(a_race_after_many_turns_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
