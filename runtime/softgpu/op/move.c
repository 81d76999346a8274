/* mov between registers, into predicates, and between a register and the vector of its parts. */
#include "lanes.h"

static void move_lanes(struct warp *w, const struct insn *i) {
    const unsigned size = type_size(i->type[0]);
    const void *from = src_lanes(w, &i->src[0]);
    void *to = dst_lanes(w, &i->dst[0]);
    if (!lanes_all(w))
        lanes_store(w, &i->dst[0], from, size);
    else
        memmove(to, from, (size_t)size * LANES);
}

static void move_pred(struct warp *w, const struct insn *i) {
    dst_pred(w, &i->dst[0], src_pred(w, &i->src[0]));
}

/* Copies a part of `size` bytes of every lane; `from` and `to` are the distances between lanes. */
static inline void copy_part(uint8_t *to, unsigned to_stride, const uint8_t *from, unsigned from_stride,
                             unsigned size) {
    for (int l = 0; l < LANES; l++)
        memcpy(to + (size_t)l * to_stride, from + (size_t)l * from_stride, size);
}

static void copy_parts(uint8_t *to, unsigned to_stride, const uint8_t *from, unsigned from_stride, unsigned size) {
    switch (size) {
    case 1:
        copy_part(to, to_stride, from, from_stride, 1);
        break;
    case 2:
        copy_part(to, to_stride, from, from_stride, 2);
        break;
    case 4:
        copy_part(to, to_stride, from, from_stride, 4);
        break;
    default:
        copy_part(to, to_stride, from, from_stride, 8);
    }
}

/* Two halves and a word: what every f16x2 kernel does. */
static void pack_halves(struct warp *w, const struct insn *i) {
    const uint16_t *low = src_lanes(w, &i->src[0].vec[0]), *high = src_lanes(w, &i->src[0].vec[1]);
    uint32_t value[LANES];
    for (int l = 0; l < LANES; l++)
        value[l] = low[l] | (uint32_t)high[l] << 16;
    lanes_store(w, &i->dst[0], value, 4);
}

static void unpack_halves(struct warp *w, const struct insn *i) {
    const uint32_t *from = src_lanes(w, &i->src[0]);
    uint16_t low[LANES], high[LANES];
    for (int l = 0; l < LANES; l++) {
        low[l] = (uint16_t)from[l];
        high[l] = (uint16_t)(from[l] >> 16);
    }
    lanes_store(w, &i->dst[0].vec[0], low, 2);
    lanes_store(w, &i->dst[0].vec[1], high, 2);
}

static void pack(struct warp *w, const struct insn *i) {
    const unsigned size = type_size(i->type[0]), count = i->src[0].count, part = size / count;
    _Alignas(16) uint8_t value[16 * LANES];
    for (unsigned k = 0; k < count; k++) {
        const struct operand *o = &i->src[0].vec[k];
        copy_parts(value + k * part, size, src_lanes(w, o), o->width, part);
    }
    lanes_store(w, &i->dst[0], value, size);
}

static void unpack(struct warp *w, const struct insn *i) {
    const unsigned size = type_size(i->type[0]), count = i->dst[0].count, part = size / count;
    const uint8_t *from = src_lanes(w, &i->src[0]);
    _Alignas(16) uint8_t value[16 * LANES]; /* first, for a destination that is also the source */
    memcpy(value, from, (size_t)size * LANES);
    for (unsigned k = 0; k < count; k++) {
        const struct operand *o = &i->dst[0].vec[k];
        _Alignas(16) uint8_t lane[8 * LANES];
        if (o->kind == O_SINK)
            continue;
        memset(lane, 0, sizeof lane);
        copy_parts(lane, o->width, value + k * part, size, part);
        lanes_store(w, o, lane, o->width);
    }
}

/* A word made of two 16-bit registers. */
static bool two_halves(const struct operand *o, unsigned size) {
    return size == 4 && o->count == 2 && o->vec[0].width == 2 && o->vec[1].width == 2;
}

op_fn *op_move_find(struct insn *i) {
    const unsigned size = type_size(i->type[0]);
    const struct operand *to = &i->dst[0], *from = &i->src[0];
    if (i->types != 1 || i->flags)
        return NULL;
    if (i->type[0] == T_PRED)
        return move_pred;
    if (size < 2)
        return NULL;
    if (from->kind == O_VEC)
        return two_halves(from, size) ? pack_halves : pack;
    if (to->kind == O_VEC)
        return two_halves(to, size) ? unpack_halves : unpack;
    return move_lanes;
}
