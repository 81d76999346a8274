/* Operands of wgmma in shared memory: where they lie, that they may be read, and that they are still there at the wait.
 * PTX ISA, "Asynchronous Warpgroup Level Matrix Shared Memory Layout".
 *
 * A tile is made of chunks of 16 bytes. K-major, a chunk is a half of the 32 bytes that one row has along k; otherwise it
 * is 8 rows at one k (elements of 2 bytes, 16 k). Whatever the layout, a tile is handed out as rows of 32 bytes. */
#include "parts.h"
#include "runtime/base/array.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 16, PLAIN = 16 /* "width" without a swizzle */ };

void wgmma_operand_free(struct warp *w) {
    free(w->own->wgmma.read);
}

struct layout {
    uint32_t start, leading, stride; /* bytes */
    unsigned width;                  /* of a swizzled row: 128, 64, 32; or PLAIN */
};

/* Bytes that lie side by side from the start on: along k, or along the rows. */
static unsigned row_bytes(const struct layout *l, const struct wgmma_tile *t) {
    const unsigned bytes = t->across ? t->extent * 2u : WGMMA_K_BYTES;
    return bytes < l->width ? bytes : l->width;
}

/* Rows (or k) lie in groups of 8; the pattern of a swizzle repeats after such a group, so that groups must start at its
 * multiples. */
static bool is_laid_out(struct warp *w, const struct insn *i, const struct wgmma_tile *t, const struct layout *l) {
    const unsigned pattern = 8 * l->width;
    const bool several = t->across && t->extent * 2u > l->width;
    if (l->stride % pattern == 0 && l->start % pattern + row_bytes(l, t) <= l->width &&
        !(several && l->leading % pattern))
        return true;
    if (several && l->leading % pattern)
        warp_fault(w, i, -1, SG_FAULT_ASYNC,
                   "the matrix descriptor of %c has %u-byte swizzle and %u bytes between its columns of %u rows, which "
                   "must be a multiple of %u",
                   t->name, l->width, l->leading, l->width / 2, pattern);
    else
        warp_fault(w, i, -1, SG_FAULT_ASYNC,
                   "a matrix descriptor of %u-byte swizzle with start 0x%x and %u bytes between groups of 8 rows; both "
                   "must be multiples of %u, but for the offset along %s",
                   l->width, l->start, l->stride, pattern, t->across ? "the rows" : "k");
    return false;
}

static bool read_layout(struct warp *w, const struct insn *i, const struct wgmma_tile *t, struct layout *l) {
    static const unsigned widths[] = {PLAIN, 128, 64, 32};
    const uint64_t descriptor = t->descriptor;
    *l = (struct layout){.start = (uint32_t)(descriptor & 0x3fff) << 4,
                         .leading = (uint32_t)(descriptor >> 16 & 0x3fff) << 4,
                         .stride = (uint32_t)(descriptor >> 32 & 0x3fff) << 4,
                         .width = widths[descriptor >> 62]};
    if (descriptor >> 49 & 7) {
        warp_fault(w, i, -1, SG_FAULT_UNSUPPORTED, "a matrix descriptor with a base offset (0x%llx)",
                   (unsigned long long)descriptor);
        return false;
    }
    return l->width == PLAIN || is_laid_out(w, i, t, l);
}

/* Shared address of a chunk. K-major: half `second` of row `first`; otherwise 8 rows from 8 * `first` on at k `second`. */
static uint32_t chunk_address(const struct layout *l, bool across, unsigned first, unsigned second) {
    const unsigned group = first / 8, in_group = first % 8, wide = l->width / CHUNK;
    if (l->width == PLAIN)
        return l->start + (across ? first * l->stride + second / 8 * l->leading + second % 8 * CHUNK
                                  : group * l->stride + second * l->leading + in_group * CHUNK);
    const uint32_t address = l->start + (across ? first / wide * l->leading + first % wide * CHUNK +
                                                      second / 8 * l->stride + second % 8 * l->width
                                                : group * l->stride + in_group * l->width + second * CHUNK);
    return address ^ ((address >> 7 & (wide - 1)) << 4);
}

/* Chunk k of the tile, and the first row of it. */
static uint32_t tile_chunk(const struct layout *l, const struct wgmma_tile *t, unsigned k, unsigned *row) {
    *row = t->across ? k / 16 * 8 : k / 2;
    return t->across ? chunk_address(l, true, (t->first + *row) / 8, k % 16)
                     : chunk_address(l, false, t->first + *row, k % 2);
}

static bool copy_tile(struct warp *w, const struct insn *i, const struct layout *l, const struct wgmma_tile *t,
                      uint8_t *tile) {
    unsigned row;
    for (unsigned k = 0; k < t->rows * 2u; k++) {
        const uint32_t address = tile_chunk(l, t, k, &row);
        if (address + CHUNK > w->cta->shared_bytes) {
            warp_fault(w, i, -1, SG_FAULT_OUT_OF_BOUNDS, "row %u of %c lies at shared 0x%x of %u bytes", t->first + row,
                       t->name, address, w->cta->shared_bytes);
            return false;
        }
        const uint8_t *from = w->cta->shared + address;
        if (!t->across)
            memcpy(tile + k * CHUNK, from, CHUNK);
        for (unsigned n = 0; t->across && n < 8; n++)
            memcpy(tile + (row + n) * WGMMA_K_BYTES + k % 16 * 2, from + 2 * n, 2);
    }
    return true;
}

/* The tensor core reads the tile now. */
static bool watch_tile(struct warp *w, const struct insn *i, const struct layout *l, const struct wgmma_tile *t) {
    uint32_t address[2 * WGMMA_MAX_N];
    unsigned row;
    for (unsigned k = 0; k < t->rows * 2u; k++)
        address[k] = tile_chunk(l, t, k, &row);
    return shadow_access_rows(w->cta, w, i, address, t->rows * 2, USE_PROXY_READ);
}

static uint64_t hash_tile(const uint8_t *tile, size_t bytes) { /* FNV-1a over words */
    uint64_t hash = 0xcbf29ce484222325ull, word;
    for (size_t k = 0; k < bytes; k += sizeof word) {
        memcpy(&word, tile + k, sizeof word);
        hash = (hash ^ word) * 0x100000001b3ull;
    }
    return hash;
}

bool wgmma_operand_read(struct warp *w, const struct insn *i, const struct wgmma_tile *t, uint8_t *tile) {
    struct wgmma_state *s = &w->own->wgmma;
    struct layout l;
    if (!read_layout(w, i, t, &l) || !copy_tile(w, i, &l, t, tile))
        return false;
    if (!is_strict(w))
        return true;
    array_grow(&s->read, &s->read_capacity, s->reads, sizeof *s->read);
    s->read[s->reads++] =
        (struct wgmma_read){*t, s->committed, w->pc - 1, hash_tile(tile, (size_t)t->rows * WGMMA_K_BYTES)};
    return watch_tile(w, i, &l, t);
}

/* What a group read has not changed since, and nobody may have begun to change it: it is read up to here. */
static bool still_there(struct warp *w, const struct wgmma_read *r) {
    uint8_t tile[WGMMA_MAX_N * WGMMA_K_BYTES];
    const struct insn *i = &run_of(w)->module->code[r->pc];
    struct layout l;
    if (!read_layout(w, i, &r->tile, &l) || !copy_tile(w, i, &l, &r->tile, tile))
        return false;
    if (hash_tile(tile, (size_t)r->tile.rows * WGMMA_K_BYTES) != r->hash &&
        !warp_check(w, i, -1, SG_CHECK_WGMMA_OPERAND,
                    "its %c tile in shared memory was overwritten before wgmma.wait_group", r->tile.name))
        return false;
    return watch_tile(w, i, &l, &r->tile);
}

bool wgmma_operands_settle(struct warp *w, uint32_t done) {
    struct wgmma_state *s = &w->own->wgmma;
    size_t kept = 0;
    for (size_t k = 0; k < s->reads; k++) {
        if (s->read[k].group >= done)
            s->read[kept++] = s->read[k];
        else if (!still_there(w, &s->read[k]))
            return false;
    }
    s->reads = kept;
    return true;
}
