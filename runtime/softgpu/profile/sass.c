/* What is decoded: the number of the instruction, who may execute it (its guard), and where a branch leads. Everything
 * else, registers and modifiers, is of no account here. */
#include "sass.h"
#include "opcodes.h"
#include "runtime/base/str.h"
#include <stdlib.h>
#include <string.h>

enum { BYTES = 16, BARRIERS = 16, NO_GUARD = 7 };
#define SG_PIPE_ISSUE SG_PIPE_COUNT

struct opcode {
    const char *name;
    uint8_t pipe, mark;
};
#define OPCODE(number, name, pipe, mark) [number] = {#name, SG_PIPE_##pipe, MARK_##mark},
static const struct opcode opcodes[512] = {SASS_OPCODES(OPCODE)};
#define NUMBER(number, name, pipe, mark) SASS_##name = (number),
enum { SASS_OPCODES(NUMBER) };

const char *sass_name(unsigned number) {
    return opcodes[number & 511].name;
}

struct word {
    uint64_t low, high;
};
struct code {
    const uint8_t *bytes;
    uint32_t count;
    unsigned cc;
};

static struct word word_at(const struct code *c, uint32_t index) {
    struct word w;
    memcpy(&w, c->bytes + (size_t)index * BYTES, sizeof w);
    return w;
}

static unsigned number_of(struct word w) {
    return (unsigned)(w.low & 511);
}

/* Bits 12 to 14: the predicate, of which number 7 is true; bit 15 negates. */
static bool guarded(struct word w) {
    return (w.low >> 12 & 15) != NO_GUARD;
}

/* A branch may have a second predicate, bits 87 to 90 (bra by a uniform one: form 5). */
static bool branch_may_fall(struct word w) {
    return guarded(w) || (w.high >> 23 & 15) != NO_GUARD || (w.low >> 9 & 7) == 2;
}

/* The instruction that a branch or BSSY names; UINT32_MAX if it is out of the code. Bits 34 to 81 count words of 4 bytes
 * from the next instruction on; in a branch for sm_90 or later they are the upper part, and bits 16 to 23 the lowest
 * 8. */
static uint32_t target_of(const struct code *c, uint32_t index, struct word w) {
    int64_t words = (int64_t)(w.high << 46) >> 16 | (int64_t)(w.low >> 34); /* 18 bits above the 30 of the low word */
    if (c->cc >= 90 && number_of(w) == SASS_BRA)
        words = (int64_t)((uint64_t)words << 8 | (w.low >> 16 & 255));
    const int64_t to = (int64_t)index + 1 + words / 4;
    return words % 4 == 0 && to >= 0 && to < c->count ? (uint32_t)to : UINT32_MAX;
}

static struct flow_step step_of(const struct code *c, uint32_t index, unsigned *unknown) {
    const struct word w = word_at(c, index);
    const unsigned number = number_of(w);
    const struct opcode *o = &opcodes[number];
    struct flow_step step = {.pipe = SG_PIPE_ISSUE, .mark = MARK_NONE, .falls = true};
    if (o->name) {
        step.pipe = o->pipe;
        step.mark = o->mark;
    } else {
        ++*unknown;
    }
    if (number == SASS_BRA) {
        step.falls = branch_may_fall(w);
        step.filler = target_of(c, index, w) == index;
    } else if (number == SASS_EXIT || number == SASS_RET || number == SASS_BRX) {
        step.falls = guarded(w);
    }
    step.filler |= number == SASS_NOP;
    return step;
}

/* Warps that part ways meet again where BSSY said: BSYNC goes there, wherever it stands. So the way through the code is
 * followed with what each of the convergence barriers was last told, depth first. */
struct path {
    uint32_t at, meets[BARRIERS];
};
struct paths {
    struct path *path;
    size_t count, capacity;
    bool *seen;
};

static void path_add(struct paths *p, const struct path *from, uint32_t at, const struct code *c) {
    if (at >= c->count || p->seen[at])
        return;
    if (p->count == p->capacity) {
        p->capacity = p->capacity ? 2 * p->capacity : 64;
        p->path = xrealloc(p->path, p->capacity * sizeof *p->path);
    }
    p->path[p->count] = *from;
    p->path[p->count++].at = at;
}

/* Follows one path to its end, or to where another has been. */
static void path_follow(struct paths *p, struct path now, const struct code *c, struct flow *out) {
    while (now.at < c->count && !p->seen[now.at]) {
        const uint32_t at = now.at;
        const struct word w = word_at(c, at);
        const unsigned number = number_of(w), barrier = (unsigned)(w.low >> 16 & (BARRIERS - 1));
        p->seen[at] = true;
        uint32_t to = UINT32_MAX;
        if (number == SASS_BRA)
            to = target_of(c, at, w);
        else if (number == SASS_BSSY)
            now.meets[barrier] = target_of(c, at, w);
        else if (number == SASS_BSYNC)
            to = now.meets[barrier];
        if (to < c->count && to != at) {
            flow_add_edge(out, at, to);
            path_add(p, &now, to, c);
        }
        if (number == SASS_BSYNC && to < c->count)
            out->step[at].falls = guarded(w);
        if (!out->step[at].falls)
            return;
        now.at++;
    }
}

void sass_read(const uint8_t *code, size_t bytes, unsigned cc, struct flow *out, unsigned *unknown) {
    const struct code c = {code, (uint32_t)(bytes / BYTES < UINT32_MAX / 4 ? bytes / BYTES : UINT32_MAX / 4), cc};
    struct paths p = {.seen = xcalloc((size_t)c.count + 1, sizeof *p.seen)};
    *out = (struct flow){0};
    *unknown = 0;
    for (uint32_t k = 0; k < c.count; k++)
        flow_add_step(out, step_of(&c, k, unknown));
    for (uint32_t k = 0; k < c.count; k++) { /* what nothing leads to begins with nothing known */
        struct path start = {.at = k};
        memset(start.meets, 0xff, sizeof start.meets);
        path_add(&p, &start, k, &c);
        while (p.count) {
            const struct path next = p.path[--p.count];
            path_follow(&p, next, &c, out);
        }
    }
    free(p.seen);
    free(p.path);
    flow_find_loops(out);
}
