/* Global writes of an estimate: kept beside the memory in 64-byte lines, so that the sampled CTAs see each other's
 * results and nothing else changes. Used by one thread. */
#include "memory.h"
#include "runtime/base/str.h"

#include <stdlib.h>
#include <string.h>

enum { LINE = 64 };
struct line {
    uint64_t address; /* of the line; 0: free */
    uint64_t written; /* a bit per byte */
    uint8_t byte[LINE];
};
struct overlay {
    struct line *line;
    size_t capacity, count; /* capacity: a power of two */
};

struct overlay *overlay_new(void) {
    struct overlay *o = xcalloc(1, sizeof *o);
    o->capacity = 1024;
    o->line = xcalloc(o->capacity, sizeof *o->line);
    return o;
}

void overlay_free(struct overlay *o) {
    if (o)
        free(o->line);
    free(o);
}

bool overlay_is_empty(const struct overlay *o) {
    return o->count == 0;
}

static struct line *find_line(const struct overlay *o, uint64_t address) {
    size_t at = (address / LINE * 0x9e3779b97f4a7c15ull) >> 20 & (o->capacity - 1);
    while (o->line[at].address && o->line[at].address != address)
        at = (at + 1) & (o->capacity - 1);
    return &o->line[at];
}

static void grow(struct overlay *o) {
    struct overlay bigger = {xcalloc(2 * o->capacity, sizeof *o->line), 2 * o->capacity, o->count};
    for (size_t k = 0; k < o->capacity; k++)
        if (o->line[k].address)
            *find_line(&bigger, o->line[k].address) = o->line[k];
    free(o->line);
    *o = bigger;
}

void overlay_read(const struct overlay *o, void *target, uint64_t address, unsigned bytes) {
    uint8_t *out = target;
    const struct line *line = NULL;
    for (unsigned k = 0; k < bytes; k++) {
        uint64_t at = (address + k) % LINE;
        if (!line || at == 0)
            line = find_line(o, address + k - at);
        if (line->address && line->written >> at & 1)
            out[k] = line->byte[at];
    }
}

void overlay_write(struct overlay *o, uint64_t address, const void *source, unsigned bytes) {
    const uint8_t *in = source;
    for (unsigned k = 0; k < bytes; k++) {
        uint64_t at = (address + k) % LINE;
        if (2 * o->count >= o->capacity)
            grow(o);
        struct line *line = find_line(o, address + k - at);
        o->count += !line->address;
        line->address = address + k - at;
        line->written |= 1ull << at;
        line->byte[at] = in[k];
    }
}
