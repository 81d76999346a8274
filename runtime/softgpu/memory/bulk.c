/* cp.async.bulk and cp.async.bulk.tensor: the copy engine. Here what it moves, and the copies into shared memory, which
 * report to an mbarrier; bulk_store.c has those to global memory.
 *
 * A copy is a list of pieces of contiguous global bytes (one for a plain copy, the rows of the box for a tensor, cut at
 * the tensor's edges); with swizzle the 16-byte chunks of each 128 bytes change places (PTX ISA, "Tensor-memory
 * swizzling modes"). */
#include "memory.h"
#include "runtime/base/str.h"
#include "tensor_map.h"

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

/* ---- what a copy moves ---- */

/* All of the box lies in a CTA's shared memory, all of the pieces in global memory or in another CTA's. */
static bool check_box(struct warp *w, const struct insn *i, int lane, struct bulk_box *box) {
    uint32_t size = w->cta->shared_bytes, align = box->swizzle ? LINE : CHUNK;
    uint64_t end = (box->shared + (uint64_t)box->bytes + align - 1) / align * align;
    bool good = box->shared % CHUNK == 0 && end <= size;
    if (!good)
        warp_fault(w, i, lane, box->shared % CHUNK ? SG_FAULT_MISALIGNED : SG_FAULT_OUT_OF_BOUNDS,
                   "a bulk copy of %u bytes at shared 0x%x of %u", box->bytes, box->shared, size);
    if (good && box->from && box->piece[0].global + box->bytes > size) {
        warp_fault(w, i, lane, SG_FAULT_OUT_OF_BOUNDS, "a bulk copy of %u bytes from shared 0x%llx of %u", box->bytes,
                   (unsigned long long)box->piece[0].global, size);
        good = false;
    }
    for (uint32_t k = 0; k < box->pieces && good && !box->from; k++)
        good = global_pointer(w, i, lane, box->piece[k].global, box->piece[k].bytes) != NULL;
    if (!good)
        bulk_box_free(box);
    return good;
}

struct reduction bulk_reduction(const struct insn *i, const struct bulk_box *box) {
    const bool bits = i->boolop == SUB_AND || i->boolop == SUB_OR || i->boolop == SUB_XOR;
    uint8_t type = box->type;
    if (!bulk_is_tensor(i))
        return (struct reduction){i->boolop, i->type[0]};
    if (bits && (type == T_U32 || type == T_S32))
        type = T_B32;
    if (bits && (type == T_U64 || type == T_S64))
        type = T_B64;
    if (i->boolop == SUB_ADD && type == T_S64) /* the same sum */
        type = T_U64;
    return (struct reduction){i->boolop, type};
}

static void add_piece(struct bulk_box *box, struct bulk_piece piece) {
    box->piece[box->pieces++] = piece;
    box->moved += piece.bytes;
}

static bool linear_is_aligned(struct warp *w, const struct insn *i, int lane, uint64_t global, uint32_t bytes) {
    if (bytes && bytes % CHUNK == 0 && global % CHUNK == 0)
        return true;
    warp_fault(w, i, lane, SG_FAULT_MISALIGNED,
               "a bulk copy of %u bytes, other side 0x%llx: both must be multiples of 16", bytes,
               (unsigned long long)global);
    return false;
}

bool bulk_box_linear(struct warp *w, const struct insn *i, int lane, uint64_t global, uint32_t bytes,
                     struct bulk_box *box) {
    if (!linear_is_aligned(w, i, lane, global, bytes))
        return false;
    box->bytes = bytes;
    box->piece = xmalloc(sizeof *box->piece);
    add_piece(box, (struct bulk_piece){global, 0, bytes});
    return check_box(w, i, lane, box);
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

/* The rows of the box, less what lies outside of the tensor. A row ends at a multiple of `granule` bytes. */
static void box_pieces(const struct tensor_map *map, const int32_t *corner, uint32_t rows, uint32_t granule,
                       struct bulk_box *box) {
    const int64_t first = corner[0] > 0 ? corner[0] : 0, past = (int64_t)corner[0] + map->box[0],
                  row_end = ((int64_t)map->size[0] * map->element_bytes + granule - 1) / granule * granule,
                  end = past < row_end / map->element_bytes ? past : row_end / map->element_bytes;
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
                     uint32_t granule, struct bulk_box *box) {
    struct tensor_map map;
    int32_t at[TENSOR_MAX_RANK] = {0};
    uint64_t rows = 1, bytes;
    if (!read_map(w, i, lane, address, &map))
        return false;
    if (box->shared % LINE) {
        warp_fault(w, i, lane, SG_FAULT_MISALIGNED, "a tensor copy at shared 0x%x, which is not a multiple of %d",
                   box->shared, LINE);
        return false;
    }
    for (int k = 0; k < map.rank; k++) {
        at[k] = (int32_t)lane_u32(w, &corner->vec[k], lane);
        rows *= k ? map.box[k] : 1;
    }
    bytes = rows * map.box[0] * map.element_bytes; /* up to 2^43: boxes have up to 256 elements a side */
    if (bytes > w->cta->shared_bytes) {
        warp_fault(w, i, lane, SG_FAULT_OUT_OF_BOUNDS, "a bulk copy of %llu bytes at shared 0x%x of %u",
                   (unsigned long long)bytes, box->shared, w->cta->shared_bytes);
        return false;
    }
    box->bytes = (uint32_t)bytes;
    box->swizzle = map.swizzle;
    box->type = map.type;
    box->piece = xmalloc(rows * sizeof *box->piece);
    box_pieces(&map, at, (uint32_t)rows, granule, box);
    return check_box(w, i, lane, box);
}

/* ---- shared memory that is being read ---- */

bool bulk_watch_source(struct cta *c, struct warp *w, uint32_t pc, int lane, const struct bulk_box *box,
                       enum shadow_use how) {
    const struct insn *i = &c->run->module->code[pc];
    uint32_t shared;
    if (c->shadow && box->from)
        return shadow_access_in(c, w, i, lane, (uint32_t)box->piece[0].global, box->bytes, how);
    for (const struct bulk_piece *p = box->piece; c->shadow && p < box->piece + box->pieces; p++)
        for (uint32_t at = 0, run; at < p->bytes; at += run) {
            run = bulk_run(box, p, at, &shared);
            for (uint32_t k = 0, part; k < run; k += part) { /* whole words, but for the ends */
                uint32_t odd = (shared + k) % 4;
                part = odd || run - k < 4 ? (4 - odd < run - k ? 4 - odd : run - k) : (run - k) & ~3u;
                if (!shadow_access_in(c, w, i, lane, shared + k, part, how))
                    return false;
            }
        }
    return true;
}

/* What copies of this CTA still read. */
struct reader {
    struct warp *warp;
    uint32_t pc;
    int lane;
    const struct bulk_box *box;
};
static size_t next_reader(struct cta *c, size_t at, struct reader *r) {
    size_t number = 0;
    for (int k = 0; k < c->warps; k++)
        for (size_t n = 0; n < c->own[k].stores; n++) {
            const struct bulk_store *s = &c->own[k].store[n];
            if (!s->read && number++ == at) {
                *r = (struct reader){&c->warp[k], s->pc, s->lane, &s->box};
                return number;
            }
        }
    for (int k = 0; k < c->cluster->ctas; k++)
        for (size_t n = 0; n < c->cluster->cta[k]->deferreds; n++) {
            const struct deferred *d = &c->cluster->cta[k]->deferred[n];
            if (d->box.from == c && number++ == at) {
                *r = (struct reader){d->warp, d->pc, d->lane, &d->box};
                return number;
            }
        }
    return 0;
}

static bool reads(const struct bulk_box *box, uint32_t address) {
    uint32_t shared;
    for (const struct bulk_piece *p = box->piece; p < box->piece + box->pieces; p++)
        for (uint32_t at = 0, run; at < p->bytes; at += run) {
            run = bulk_run(box, p, at, &shared);
            if (address - (box->from ? (uint32_t)p->global + at : shared) < run)
                return true;
        }
    return false;
}

const struct insn *bulk_reader(struct cta *c, uint32_t address) {
    struct reader r;
    for (size_t at = 0; (at = next_reader(c, at, &r));)
        if (reads(r.box, address))
            return &c->run->module->code[r.pc];
    return NULL;
}

bool bulk_return(struct cta *c, struct warp *w, uint32_t pc, int lane, const struct bulk_box *box) {
    struct reader r;
    if (!bulk_watch_source(c, w, pc, lane, box, USE_RETURN))
        return false;
    for (size_t at = 0; c->shadow && (at = next_reader(c, at, &r));)
        if (!bulk_watch_source(c, r.warp, r.pc, r.lane, r.box, USE_LEND))
            return false;
    return true;
}

void bulk_end(struct cta *c) {
    const struct deferred *d = c->deferred;
    struct reader r;
    if (c->deferreds &&
        !warp_check(d->warp, &c->run->module->code[d->pc], d->lane, SG_CHECK_COPY_END,
                    "the CTA ended while this copy was in flight: nobody waited for mbarrier 0x%x", d->mbarrier))
        return;
    if (next_reader(c, 0, &r) &&
        !warp_check(r.warp, &c->run->module->code[r.pc], r.lane, SG_CHECK_COPY_END, "%s",
                    r.box->from ? "the CTA ended while this copy was reading its shared memory"
                                : "the CTA ended while this bulk store was reading shared memory: its thread has not "
                                  "waited for its group (cp.async.bulk.commit_group, then cp.async.bulk.wait_group)"))
        return;
    bulk_store_end(c);
}

/* ---- into shared memory ---- */

static bool reduces(const struct cta *c, const struct deferred *d) {
    return c->run->module->code[d->pc].flags & F_REDUCE;
}

static void move_bytes(struct cta *c, const struct deferred *d) {
    const struct insn *i = &c->run->module->code[d->pc];
    const struct bulk_box *box = &d->box;
    uint32_t shared;
    if (reduces(c, d)) { /* between CTAs, in one piece */
        reduce_shared(bulk_reduction(i, box), c->shared + box->shared, box->from->shared + box->piece[0].global,
                      box->bytes);
        return;
    }
    for (uint32_t at = 0; at < box->bytes && box->moved < box->bytes; at += CHUNK)
        memset(c->shared + swizzled(box->shared + at, box->swizzle), 0, CHUNK);
    for (const struct bulk_piece *p = box->piece; p < box->piece + box->pieces; p++)
        for (uint32_t at = 0, run; at < p->bytes; at += run) {
            run = bulk_run(box, p, at, &shared);
            if (box->from)
                memcpy(c->shared + shared, box->from->shared + p->global + at, run);
            else
                global_read(d->warp, c->shared + shared, p->global + at, run);
        }
}

/* The same use of each of its 16-byte chunks of shared memory. */
static bool watch_target(struct cta *c, const struct deferred *d, enum shadow_use how) {
    const struct insn *i = &c->run->module->code[d->pc];
    const struct bulk_box *box = &d->box;
    for (uint32_t at = 0; c->shadow && at < box->bytes; at += CHUNK)
        if (!shadow_access_in(c, d->warp, i, d->lane, swizzled(box->shared + at, box->swizzle), CHUNK, how))
            return false;
    return true;
}

static void forget_unwritten(struct cta *c, const struct deferred *d) {
    const struct bulk_box *box = &d->box;
    uint32_t shared;
    for (const struct bulk_piece *p = box->piece; !box->from && p < box->piece + box->pieces; p++)
        for (uint32_t at = 0, run; at < p->bytes && !written_is(d->warp, p->global, p->bytes); at += run) {
            run = bulk_run(box, p, at, &shared);
            written_copy(c, d->warp, &c->run->module->code[d->pc], d->lane, p->global + at, shared, run);
        }
}

bool bulk_land(struct cta *c, const struct deferred *d) {
    async_flight(d->warp, -(int64_t)d->flight);
    if (!c->run->launch->eager_async)
        move_bytes(c, d);
    if (d->box.from && !bulk_return(d->box.from, d->warp, d->pc, d->lane, &d->box))
        return false;
    if (!watch_target(c, d, reduces(c, d) ? USE_REDUCE : USE_LAND))
        return false;
    forget_unwritten(c, d);
    return true;
}

struct destination { /* the CTAs, and where in each */
    struct cta *cta[MAX_CLUSTER];
    int ctas;
    uint64_t shared, mbarrier;
};

static uint64_t own_address(uint64_t address) {
    return address & ~WINDOW_MASK & ((1u << RANK_SHIFT) - 1);
}

static bool find_multicast(struct warp *w, const struct insn *i, int lane, struct destination *to) {
    uint32_t mask = lane_u32(w, &i->src[4], lane);
    to->shared = own_address(to->shared);
    to->mbarrier = own_address(to->mbarrier);
    if (mask == 0) {
        warp_fault(w, i, lane, SG_FAULT_ASYNC, "the mask of a multicast names no CTA");
        return false;
    }
    for (; mask; mask &= mask - 1) {
        struct cta *c = cluster_cta(w, i, lane, (uint32_t)__builtin_ctz(mask));
        if (!c)
            return false;
        to->cta[to->ctas++] = c;
    }
    return true;
}

/* Where the copy goes: by its addresses, or to the same place in each CTA of a mask. All mbarriers are there. */
static bool find_destination(struct warp *w, const struct insn *i, int lane, struct destination *to) {
    *to = (struct destination){.shared = lane_address(w, &i->src[0], lane) & ~WINDOW_MASK,
                               .mbarrier = lane_address(w, &i->src[3], lane) & ~WINDOW_MASK};
    if (i->flags & F_MULTICAST) {
        if (!find_multicast(w, i, lane, to))
            return false;
    } else {
        struct cta *c = w->cta, *reports = c;
        if ((i->flags & F_REMOTE) &&
            (!(c = cluster_peer(w, i, lane, &to->shared)) || !(reports = cluster_peer(w, i, lane, &to->mbarrier))))
            return false;
        if (c != reports) {
            warp_fault(w, i, lane, SG_FAULT_ASYNC, "a copy to CTA %u of the cluster with an mbarrier of CTA %u",
                       c->rank, reports->rank);
            return false;
        }
        to->cta[to->ctas++] = c;
    }
    for (int k = 0; k < to->ctas; k++)
        if (!mbarrier_of_copy(w, i, lane, to->cta[k], to->mbarrier))
            return false;
    return true;
}

/* What memory moves once, whatever the number of destinations. */
static void count_source(struct warp *w, const struct bulk_box *box) {
    if (box->from) {
        w->count.shared_wavefronts += (box->bytes + LINE - 1) / LINE;
        return;
    }
    async_flight(w, box->bytes);
    w->count.async_bytes += box->moved;
    if (box->pieces)
        global_moved(w, box->piece->global, box->moved, false);
    w->count.global_sectors += (box->moved + 31) / 32;
    w->count.global_requests++;
}

/* Marks the target as in flight, and hands the copy to the mbarrier. The box is taken over. */
static bool issue(struct cta *c, struct warp *w, int lane, uint32_t mbarrier, uint32_t flight, struct bulk_box box) {
    struct deferred d = {
        .mbarrier = mbarrier, .warp = w, .lane = (uint8_t)lane, .pc = w->pc - 1, .flight = flight, .box = box};
    bool good = watch_target(c, &d, reduces(c, &d) ? USE_REDUCE : USE_ISSUE) &&
                (!box.from || bulk_watch_source(box.from, w, d.pc, lane, &box, USE_LEND));
    if (!good) {
        bulk_box_free(&d.box);
        return false;
    }
    if (c->run->launch->eager_async)
        move_bytes(c, &d);
    w->count.shared_wavefronts += (box.bytes + LINE - 1) / LINE;
    mbarrier_defer(c, &d);
    return true;
}

/* To every destination; the box is taken over. */
static bool issue_all(struct warp *w, int lane, const struct destination *to, struct bulk_box *box) {
    bool good = true;
    count_source(w, box);
    for (int k = 0; k < to->ctas && good; k++) {
        struct bulk_box copy = *box;
        copy.piece = xmalloc(box->pieces * sizeof *copy.piece + 1);
        memcpy(copy.piece, box->piece, box->pieces * sizeof *copy.piece);
        good = issue(to->cta[k], w, lane, (uint32_t)to->mbarrier, k || box->from ? 0 : box->bytes, copy);
    }
    bulk_box_free(box);
    return good;
}

/* cp.async.bulk.shared.global [target], [source], bytes, [mbarrier]{, mask}; also .shared::cluster.shared::cta, which can
 * be a cp.reduce.async.bulk */
void bulk_copy_op(struct warp *w, const struct insn *i) {
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        struct destination to;
        if (!find_destination(w, i, lane, &to))
            return;
        bool shared = i->space2 == SPACE_SHARED;
        uint64_t source = lane_address(w, &i->src[1], lane);
        struct bulk_box box = {.shared = (uint32_t)to.shared, .from = shared ? w->cta : NULL};
        if (!bulk_box_linear(w, i, lane, shared ? source & ~WINDOW_MASK : source, lane_u32(w, &i->src[2], lane),
                             &box) ||
            !issue_all(w, lane, &to, &box))
            return;
    }
    w->event = true;
}

/* cp.async.bulk.tensor.Nd.shared.global [target], [map, {coordinates}], [mbarrier]{, mask} */
void bulk_tensor_op(struct warp *w, const struct insn *i) {
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        struct destination to;
        if (!find_destination(w, i, lane, &to))
            return;
        struct bulk_box box = {.shared = (uint32_t)to.shared};
        if (!bulk_box_tensor(w, i, lane, lane_address(w, &i->src[1], lane), &i->src[2], 1, &box) ||
            !issue_all(w, lane, &to, &box))
            return;
    }
    w->event = true;
}

/* cp.async.bulk.prefetch.L2.global [source], bytes; cp.async.bulk.prefetch.tensor.Nd.L2.global [map, {coordinates}]: a
 * hint, whose operands must be right. */
void bulk_prefetch_op(struct warp *w, const struct insn *i) {
    for (uint32_t rest = w->exec; rest; rest &= rest - 1) {
        const int lane = __builtin_ctz(rest);
        const uint64_t address = lane_address(w, &i->src[0], lane);
        struct tensor_map map;
        if (bulk_is_tensor(i) ? !read_map(w, i, lane, address, &map)
                              : !linear_is_aligned(w, i, lane, address, lane_u32(w, &i->src[1], lane)))
            return;
    }
}
