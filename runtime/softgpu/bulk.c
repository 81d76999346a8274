/* cp.async.bulk and cp.async.bulk.tensor: the copy engine. Here what it moves, and the copies into shared memory, which
 * report to an mbarrier; bulk_store.c has those to global memory.
 *
 * A copy is a list of pieces of contiguous global bytes (one for a plain copy, the rows of the box for a tensor, cut at
 * the tensor's edges); with swizzle the 16-byte chunks of each 128 bytes change places (PTX ISA, "Tensor-memory
 * swizzling modes"). */
#include "base/str.h"
#include "softgpu/tensor_map.h"
#include "softgpu/warp_private.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 16, LINE = 128 };

static uint32_t swizzled(uint32_t address, uint8_t bits) {
    return address ^ ((address >> 7 & bits) << 4);
}

uint32_t bulk_run(const struct bulk_box *box, const struct bulk_piece *piece, uint32_t at, uint32_t *shared) {
    uint32_t linear = box->shared + piece->offset + at, left = piece->bytes - at, chunk = CHUNK - linear % CHUNK;
    *shared = swizzled(linear, box->swizzle);
    return !box->swizzle || left < chunk ? left : chunk;
}

void bulk_box_free(struct bulk_box *box) {
    free(box->piece);
    box->piece = NULL;
}

uint32_t bulk_shared(uint64_t address) {
    return (uint32_t)((address & WINDOW_MASK) == SHARED_WINDOW ? address - SHARED_WINDOW : address);
}

/* ---- what a copy moves ---- */

/* All of the box lies in the CTA's shared memory, all of the pieces in global memory. */
static bool check_box(struct warp *w, const struct insn *i, int lane, struct bulk_box *box) {
    uint32_t size = w->cta->shared_bytes, align = box->swizzle ? LINE : CHUNK;
    uint64_t end = (box->shared + (uint64_t)box->bytes + align - 1) / align * align;
    bool good = box->shared % CHUNK == 0 && end <= size;
    if (!good)
        warp_fault(w, i, lane, box->shared % CHUNK ? SG_FAULT_MISALIGNED : SG_FAULT_OUT_OF_BOUNDS,
                   "a bulk copy of %u bytes at shared 0x%x of %u", box->bytes, box->shared, size);
    for (uint32_t k = 0; k < box->pieces && good; k++)
        good = global_pointer(w, i, lane, box->piece[k].global, box->piece[k].bytes) != NULL;
    if (!good)
        bulk_box_free(box);
    return good;
}

static void add_piece(struct bulk_box *box, struct bulk_piece piece) {
    box->piece[box->pieces++] = piece;
    box->moved += piece.bytes;
}

bool bulk_box_linear(struct warp *w, const struct insn *i, int lane, uint64_t global, uint32_t shared, uint32_t bytes,
                     struct bulk_box *out) {
    if (bytes % CHUNK || global % CHUNK || bytes == 0) {
        warp_fault(w, i, lane, SG_FAULT_MISALIGNED,
                   "a bulk copy of %u bytes at global 0x%llx: both must be multiples of 16", bytes,
                   (unsigned long long)global);
        return false;
    }
    *out = (struct bulk_box){.shared = shared, .bytes = bytes, .piece = xmalloc(sizeof *out->piece)};
    add_piece(out, (struct bulk_piece){global, 0, bytes});
    return check_box(w, i, lane, out);
}

/* The map lies in the kernel's parameters or in global memory. */
static bool read_map(struct warp *w, const struct insn *i, int lane, uint64_t address, struct tensor_map *map) {
    const struct run *run = run_of(w);
    const uint8_t *bytes = NULL;
    if ((address & WINDOW_MASK) == PARAM_WINDOW) {
        uint64_t offset = address - PARAM_WINDOW;
        if (offset + TENSOR_MAP_BYTES <= run->function->param_bytes)
            bytes = (const uint8_t *)run->launch->params + offset;
    } else if (!(bytes = global_pointer(w, i, lane, address, TENSOR_MAP_BYTES))) {
        return false;
    }
    if (bytes)
        memcpy(map, bytes, sizeof *map);
    if (!bytes || address % 64 || map->magic != TENSOR_MAP_MAGIC || map->rank != i->num) {
        warp_fault(w, i, lane, SG_FAULT_ASYNC, "no %u-dimensional tensor map at 0x%llx", i->num,
                   (unsigned long long)address);
        return false;
    }
    return true;
}

/* The rows of the box, less what lies outside of the tensor. */
static void box_pieces(const struct tensor_map *map, const int32_t *corner, uint32_t rows, struct bulk_box *box) {
    const int64_t first = corner[0] > 0 ? corner[0] : 0, past = (int64_t)corner[0] + map->box[0],
                  end = past < map->size[0] ? past : map->size[0];
    const uint32_t row_bytes = map->box[0] * (uint32_t)map->element_bytes;
    for (uint32_t r = 0; r < rows && first < end; r++) {
        uint64_t address = map->address + (uint64_t)first * map->element_bytes;
        uint32_t index = r;
        bool inside = true;
        for (int k = 1; k < map->rank; k++) {
            int64_t at = corner[k] + (int64_t)(index % map->box[k]);
            index /= map->box[k];
            inside &= at >= 0 && at < map->size[k];
            address += (uint64_t)at * map->stride[k - 1];
        }
        if (inside)
            add_piece(box,
                      (struct bulk_piece){address, r * row_bytes + (uint32_t)(first - corner[0]) * map->element_bytes,
                                          (uint32_t)(end - first) * map->element_bytes});
    }
}

bool bulk_box_tensor(struct warp *w, const struct insn *i, int lane, uint64_t address, const struct operand *corner,
                     uint32_t shared, struct bulk_box *out) {
    struct tensor_map map;
    int32_t at[TENSOR_MAX_RANK] = {0};
    uint32_t rows = 1;
    if (!read_map(w, i, lane, address, &map))
        return false;
    if (shared % LINE) {
        warp_fault(w, i, lane, SG_FAULT_MISALIGNED, "a tensor copy at shared 0x%x, which is not a multiple of %d",
                   shared, LINE);
        return false;
    }
    for (int k = 0; k < map.rank; k++) {
        at[k] = (int32_t)lane_u32(w, &corner->vec[k], lane);
        rows *= k ? map.box[k] : 1;
    }
    *out = (struct bulk_box){.shared = shared,
                             .bytes = rows * map.box[0] * map.element_bytes,
                             .swizzle = map.swizzle,
                             .piece = xmalloc(rows * sizeof *out->piece)};
    box_pieces(&map, at, rows, out);
    return check_box(w, i, lane, out);
}

/* ---- into shared memory ---- */

static void move_bytes(struct cta *c, const struct deferred *d) {
    const struct bulk_box *box = &d->box;
    uint32_t shared;
    for (uint32_t at = 0; at < box->bytes && box->moved < box->bytes; at += CHUNK)
        memset(c->shared + swizzled(box->shared + at, box->swizzle), 0, CHUNK);
    for (const struct bulk_piece *p = box->piece; p < box->piece + box->pieces; p++)
        for (uint32_t at = 0, run; at < p->bytes; at += run) {
            run = bulk_run(box, p, at, &shared);
            global_read(&c->warp[d->warp], c->shared + shared, p->global + at, run);
        }
}

/* The same use of each of its 16-byte chunks of shared memory. */
static bool watch(struct cta *c, const struct deferred *d, enum shadow_use how) {
    const struct insn *i = &c->run->module->code[d->pc];
    const struct bulk_box *box = &d->box;
    for (uint32_t at = 0; c->shadow && at < box->bytes; at += CHUNK)
        if (!shadow_access(&c->warp[d->warp], i, d->lane, swizzled(box->shared + at, box->swizzle), CHUNK, how))
            return false;
    return true;
}

bool bulk_land(struct cta *c, const struct deferred *d) {
    async_flight(&c->warp[d->warp], -(int64_t)d->box.bytes);
    if (!c->run->launch->eager_async)
        move_bytes(c, d);
    return watch(c, d, USE_LAND);
}

/* Counts, marks the target as in flight, and hands the copy to the mbarrier. The box is taken over. */
static bool issue(struct warp *w, int lane, const struct mbarrier *b, const struct bulk_box *box) {
    struct cta *c = w->cta;
    struct deferred d = {.mbarrier = b->address, .warp = w->index, .lane = (uint8_t)lane, .pc = w->pc - 1, .box = *box};
    if (!watch(c, &d, USE_ISSUE)) {
        bulk_box_free(&d.box);
        return false;
    }
    if (c->run->launch->eager_async)
        move_bytes(c, &d);
    async_flight(w, d.box.bytes);
    w->count.async_bytes += d.box.moved;
    w->count.global_bytes_read += d.box.moved;
    w->count.global_sectors += (d.box.moved + 31) / 32;
    w->count.global_requests++;
    w->count.shared_wavefronts += (d.box.bytes + LINE - 1) / LINE;
    mbarrier_defer(w, &d);
    return true;
}

/* cp.async.bulk.shared.global [target], [source], bytes, [mbarrier] */
void bulk_copy_op(struct warp *w, const struct insn *i) {
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        struct bulk_box box;
        const struct mbarrier *b = mbarrier_of_copy(w, i, lane, lane_address(w, &i->src[3], lane));
        if (!b ||
            !bulk_box_linear(w, i, lane, lane_address(w, &i->src[1], lane),
                             bulk_shared(lane_address(w, &i->src[0], lane)), lane_u32(w, &i->src[2], lane), &box) ||
            !issue(w, lane, b, &box))
            return;
    }
    w->event = true;
}

/* cp.async.bulk.tensor.Nd.shared.global [target], [map, {coordinates}], [mbarrier] */
void bulk_tensor_op(struct warp *w, const struct insn *i) {
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        struct bulk_box box;
        const struct mbarrier *b = mbarrier_of_copy(w, i, lane, lane_address(w, &i->src[3], lane));
        if (!b ||
            !bulk_box_tensor(w, i, lane, lane_address(w, &i->src[1], lane), &i->src[2],
                             bulk_shared(lane_address(w, &i->src[0], lane)), &box) ||
            !issue(w, lane, b, &box))
            return;
    }
    w->event = true;
}
