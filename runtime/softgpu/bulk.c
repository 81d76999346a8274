/* cp.async.bulk and cp.async.bulk.tensor into shared memory: the copy engine, which reports to an mbarrier.
 *
 * A copy is a list of pieces of contiguous global bytes (one for a plain copy, the rows of the box for a tensor) that
 * go to consecutive shared bytes; with swizzle the 16-byte chunks of each 128 bytes change places (PTX ISA,
 * "Tensor-memory swizzling modes"). */
#include "base/str.h"
#include "softgpu/tensor_map.h"
#include "softgpu/warp_private.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 16 };

static uint32_t swizzled(uint32_t address, uint8_t bits) {
    return address ^ ((address >> 7 & bits) << 4);
}

static void move_bytes(struct cta *c, const struct deferred *d) {
    for (uint32_t at = 0; at < d->bytes; at += CHUNK) {
        uint8_t *target = c->shared + swizzled(d->target + at, d->swizzle);
        uint64_t source = d->source[at / d->piece];
        if (source)
            global_read(&c->warp[d->warp], target, source + at % d->piece, CHUNK);
        else
            memset(target, 0, CHUNK);
    }
}

/* The same use of each of its 16-byte chunks of shared memory. */
static bool watch(struct cta *c, const struct deferred *d, enum shadow_use how) {
    const struct insn *i = &c->run->module->code[d->pc];
    for (uint32_t at = 0; c->shadow && at < d->bytes; at += CHUNK)
        if (!shadow_access(&c->warp[d->warp], i, d->lane, swizzled(d->target + at, d->swizzle), CHUNK, how))
            return false;
    return true;
}

bool bulk_land(struct cta *c, const struct deferred *d) {
    async_flight(&c->warp[d->warp], -(int64_t)d->bytes);
    if (!c->run->launch->eager_async)
        move_bytes(c, d);
    return watch(c, d, USE_LAND);
}

/* Counts, marks the target as in flight, and hands the copy to the mbarrier. `d` is taken over. */
static void issue(struct warp *w, const struct insn *i, struct deferred *d, uint32_t real_bytes) {
    struct cta *c = w->cta;
    if (d->target % CHUNK || d->target > c->shared_bytes || d->bytes > c->shared_bytes - d->target) {
        warp_fault(w, i, d->lane, d->target % CHUNK ? SG_FAULT_MISALIGNED : SG_FAULT_OUT_OF_BOUNDS,
                   "a bulk copy of %u bytes to shared 0x%x of %u", d->bytes, d->target, c->shared_bytes);
        free(d->source);
        return;
    }
    if (!watch(c, d, USE_ISSUE)) {
        free(d->source);
        return;
    }
    if (c->run->launch->eager_async)
        move_bytes(c, d);
    async_flight(w, d->bytes);
    w->count.async_bytes += real_bytes;
    w->count.global_bytes_read += real_bytes;
    w->count.global_sectors += (real_bytes + 31) / 32;
    w->count.global_requests++;
    w->count.shared_wavefronts += (d->bytes + 127) / 128;
    mbarrier_defer(w, d);
}

static uint32_t shared_of(uint64_t address) {
    return (uint32_t)((address & WINDOW_MASK) == SHARED_WINDOW ? address - SHARED_WINDOW : address);
}

/* cp.async.bulk.shared.global [target], [source], bytes, [mbarrier] */
void bulk_copy_op(struct warp *w, const struct insn *i) {
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        uint64_t source = lane_address(w, &i->src[1], lane);
        uint32_t bytes = lane_u32(w, &i->src[2], lane);
        const struct mbarrier *b = mbarrier_of_copy(w, i, lane, lane_address(w, &i->src[3], lane));
        if (!b)
            return;
        if (bytes % CHUNK || source % CHUNK || bytes == 0) {
            warp_fault(w, i, lane, SG_FAULT_MISALIGNED,
                       "a bulk copy of %u bytes from 0x%llx: both must be multiples of 16", bytes,
                       (unsigned long long)source);
            return;
        }
        if (!global_pointer(w, i, lane, source, bytes))
            return;
        struct deferred d = {.mbarrier = b->address,
                             .warp = w->index,
                             .lane = (uint8_t)lane,
                             .pc = w->pc - 1,
                             .target = shared_of(lane_address(w, &i->src[0], lane)),
                             .bytes = bytes,
                             .piece = bytes,
                             .source = xmalloc(sizeof *d.source)};
        d.source[0] = source;
        issue(w, i, &d, bytes);
    }
    w->event = true;
}

/* ---- tensors ---- */

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

/* Fills the source address of each row of the box; rows or chunks outside the tensor are zeros. Pieces are 16-byte
 * chunks, so that a row may be cut by the tensor's edge. Returns the bytes that are really read. */
static uint32_t box_pieces(const struct tensor_map *map, const int32_t *corner, uint32_t rows, uint32_t row_bytes,
                           uint64_t *source) {
    uint32_t read = 0, chunks = row_bytes / CHUNK, per = CHUNK / map->element_bytes;
    for (uint32_t r = 0; r < rows; r++) {
        uint64_t address = map->address;
        uint32_t index = r;
        bool inside = true;
        for (int k = 1; k < map->rank; k++) {
            int64_t at = corner[k] + (int64_t)(index % map->box[k]);
            index /= map->box[k];
            inside &= at >= 0 && at < map->size[k];
            address += (uint64_t)at * map->stride[k - 1];
        }
        for (uint32_t q = 0; q < chunks; q++) {
            int64_t x = corner[0] + (int64_t)(q * per);
            bool here = inside && x >= 0 && x + per <= map->size[0];
            source[r * chunks + q] = here ? address + (uint64_t)x * map->element_bytes : 0;
            read += here ? CHUNK : 0;
        }
    }
    return read;
}

static bool check_edges(struct warp *w, const struct insn *i, int lane, const struct tensor_map *map,
                        const int32_t *corner) {
    uint32_t per = CHUNK / map->element_bytes;
    if (map->size[0] % per == 0 && corner[0] % (int32_t)per == 0)
        return true;
    warp_fault(w, i, lane, SG_FAULT_UNSUPPORTED, "a tensor copy whose edge cuts 16 bytes: size %u, corner %d",
               map->size[0], corner[0]);
    return false;
}

/* cp.async.bulk.tensor.Nd.shared.global [target], [map, {coordinates}], [mbarrier] */
void bulk_tensor_op(struct warp *w, const struct insn *i) {
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        struct tensor_map map;
        int32_t corner[TENSOR_MAX_RANK] = {0};
        const struct mbarrier *b = mbarrier_of_copy(w, i, lane, lane_address(w, &i->src[3], lane));
        if (!b || !read_map(w, i, lane, lane_address(w, &i->src[1], lane), &map))
            return;
        for (int k = 0; k < map.rank; k++)
            corner[k] = (int32_t)lane_u32(w, &i->src[2].vec[k], lane);
        if (!check_edges(w, i, lane, &map, corner))
            return;
        uint32_t rows = 1, row_bytes = map.box[0] * (uint32_t)map.element_bytes;
        for (int k = 1; k < map.rank; k++)
            rows *= map.box[k];
        uint32_t target = shared_of(lane_address(w, &i->src[0], lane));
        if (target % 128) {
            warp_fault(w, i, lane, SG_FAULT_MISALIGNED, "a tensor copy to shared 0x%x, which is not a multiple of 128",
                       target);
            return;
        }
        struct deferred d = {.mbarrier = b->address,
                             .warp = w->index,
                             .lane = (uint8_t)lane,
                             .pc = w->pc - 1,
                             .target = target,
                             .bytes = rows * row_bytes,
                             .piece = CHUNK,
                             .swizzle = map.swizzle,
                             .source = xmalloc((size_t)rows * (row_bytes / CHUNK) * sizeof *d.source)};
        uint32_t read = box_pieces(&map, corner, rows, row_bytes, d.source);
        for (uint32_t q = 0; q < d.bytes / CHUNK; q++)
            if (d.source[q] && !global_pointer(w, i, lane, d.source[q], CHUNK)) {
                free(d.source);
                return;
            }
        issue(w, i, &d, read);
    }
    w->event = true;
}
