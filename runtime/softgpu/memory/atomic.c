/* atom and red: one lane after the other, each really atomic towards CTAs on other host threads. */
#include "memory.h"
#include "runtime/softgpu/op/numeric.h"

#include <string.h>

static uint64_t integer_result(struct reduction r, uint64_t old, uint64_t b, uint64_t c, unsigned bytes) {
    bool is_signed = type_is_signed((enum ptx_type)r.type);
    bool below = bytes == 8 ? (is_signed ? (int64_t)b < (int64_t)old : b < old)
                            : (is_signed ? (int32_t)b < (int32_t)old : (uint32_t)b < (uint32_t)old);
    switch (r.what) {
    case SUB_ADD:
        return old + b;
    case SUB_MIN:
        return below ? b : old;
    case SUB_MAX:
        return below ? old : b;
    case SUB_INC:
        return old >= b ? 0 : old + 1;
    case SUB_DEC:
        return old == 0 || old > b ? b : old - 1;
    case SUB_AND:
        return old & b;
    case SUB_OR:
        return old | b;
    case SUB_XOR:
        return old ^ b;
    case SUB_CAS:
        return old == b ? c : old;
    default: /* SUB_EXCH */
        return b;
    }
}

/* One element of a floating add, min or max. The binder lets only those three through. */
static float pick_f32(uint8_t sub, float a, float b) {
    return sub == SUB_ADD ? a + b : sub == SUB_MIN ? f32_min(a, b, false) : f32_max(a, b, false);
}

/* f16 sums are exact enough in float to be rounded once (24 bits hold the sum of two 11-bit numbers or its sticky
 * part). */
static uint16_t half_result(enum ptx_type type, uint8_t sub, uint16_t a, uint16_t b) {
    if (type == T_BF16)
        return bf16_of_f32(sub == SUB_ADD ? f32_add_odd(bf16_to_f32(a), bf16_to_f32(b))
                                          : pick_f32(sub, bf16_to_f32(a), bf16_to_f32(b)));
    return f16_of_f32(pick_f32(sub, f16_to_f32(a), f16_to_f32(b)));
}

static uint64_t float_result(struct reduction r, uint64_t old, uint64_t b) {
    enum ptx_type type = (enum ptx_type)r.type;
    if (type == T_F32)
        return f32_bits(pick_f32(r.what, f32_of((uint32_t)old), f32_of((uint32_t)b)));
    if (type == T_F64)
        return f64_bits(f64_of(old) + f64_of(b));
    if (type == T_F16 || type == T_BF16)
        return half_result(type, r.what, (uint16_t)old, (uint16_t)b);
    enum ptx_type half = type == T_BF16X2 ? T_BF16 : T_F16;
    return half_result(half, r.what, (uint16_t)old, (uint16_t)b) |
           (uint32_t)half_result(half, r.what, (uint16_t)(old >> 16), (uint16_t)(b >> 16)) << 16;
}

static uint64_t new_value(struct reduction r, uint64_t old, uint64_t b, uint64_t c, unsigned bytes) {
    bool bits = r.what == SUB_EXCH || r.what == SUB_CAS;
    if (!bits && type_is_float((enum ptx_type)r.type))
        return float_result(r, old, b);
    return integer_result(r, old, b, c, bytes);
}

static uint64_t load_bits(const void *p, unsigned bytes) {
    uint64_t value = 0;
    memcpy(&value, p, bytes);
    return value;
}

static uint64_t mask_bits(unsigned bytes) {
    return bytes == 8 ? ~0ull : (1ull << (8 * bytes)) - 1;
}

/* Replaces and returns what was there. */
static uint64_t update_host(struct reduction r, uint8_t *host, uint64_t b, uint64_t c, unsigned bytes) {
    uint64_t old = load_bits(host, bytes);
    for (;;) {
        uint64_t next = new_value(r, old, b, c, bytes) & mask_bits(bytes);
        bool done;
        if (bytes == 8) {
            done = __atomic_compare_exchange_n((uint64_t *)(void *)host, &old, next, false, __ATOMIC_SEQ_CST,
                                               __ATOMIC_SEQ_CST);
        } else if (bytes == 4) {
            uint32_t seen = (uint32_t)old;
            done = __atomic_compare_exchange_n((uint32_t *)(void *)host, &seen, (uint32_t)next, false, __ATOMIC_SEQ_CST,
                                               __ATOMIC_SEQ_CST);
            old = seen;
        } else {
            uint16_t seen = (uint16_t)old;
            done = __atomic_compare_exchange_n((uint16_t *)(void *)host, &seen, (uint16_t)next, false, __ATOMIC_SEQ_CST,
                                               __ATOMIC_SEQ_CST);
            old = seen;
        }
        if (done)
            return old;
    }
}

/* The same of global memory, as the launch sees it. */
static uint64_t update_global(struct warp *w, struct reduction r, uint64_t address, uint64_t b, uint64_t c,
                              unsigned bytes) {
    uint64_t old = 0;
    if (!run_of(w)->overlay) {
        written_mark(w, address, bytes, true);
        return update_host(r, (uint8_t *)(uintptr_t)address, b, c, bytes);
    }
    global_read(w, &old, address, bytes);
    uint64_t next = new_value(r, old, b, c, bytes);
    global_write(w, address, &next, bytes);
    return old;
}

void reduce_shared(struct reduction r, uint8_t *host, const uint8_t *with, uint32_t count) {
    const unsigned bytes = type_size((enum ptx_type)r.type);
    for (uint32_t at = 0; at < count; at += bytes)
        update_host(r, host + at, load_bits(with + at, bytes), 0, bytes);
}

void reduce_global(struct warp *w, struct reduction r, uint64_t address, const uint8_t *with, uint32_t count) {
    const unsigned bytes = type_size((enum ptx_type)r.type);
    for (uint32_t at = 0; at < count; at += bytes)
        update_global(w, r, address + at, load_bits(with + at, bytes), 0, bytes);
}

/* PTX ISA, "cp.reduce.async.bulk": what the copy engine does to which types, in global memory and in shared memory. */
bool reduction_exists(struct reduction r, bool global) {
    const unsigned type = r.type;
    const bool word = type == T_U32 || type == T_S32, half = type == T_F16 || type == T_BF16;
    switch (r.what) {
    case SUB_ADD:
        return word || type == T_U64 || (global && (half || type == T_F32 || type == T_F64));
    case SUB_MIN:
    case SUB_MAX:
        return word || (global && (half || type == T_U64 || type == T_S64));
    case SUB_INC:
    case SUB_DEC:
        return type == T_U32;
    case SUB_AND:
    case SUB_OR:
    case SUB_XOR:
        return type == T_B32 || (global && type == T_B64);
    default:
        return false;
    }
}

/* The place of one lane; `global` says whether it may be shadowed by the overlay. NULL after a fault. */
static uint8_t *place(struct warp *w, const struct insn *i, int lane, uint64_t address, unsigned bytes, bool *global) {
    uint64_t window = i->space == SPACE_GENERIC ? address & WINDOW_MASK : i->space == SPACE_SHARED ? SHARED_WINDOW : 0;
    if (i->space == SPACE_GENERIC && window)
        address &= ~WINDOW_MASK;
    *global = window != SHARED_WINDOW && window != LOCAL_WINDOW;
    if (address % bytes) {
        warp_fault(w, i, lane, SG_FAULT_MISALIGNED, "address 0x%llx is not a multiple of %u",
                   (unsigned long long)address, bytes);
        return NULL;
    }
    if (window == LOCAL_WINDOW) {
        uint8_t *host = local_pointer(w, i, lane, address, bytes);
        return !host || !w->own->local_written || local_access(w, i, lane, address, bytes, false) ? host : NULL;
    }
    if (window != SHARED_WINDOW) {
        uint8_t *host = global_pointer(w, i, lane, address, bytes);
        return host && (i->sub == SUB_EXCH || written_is(w, address, bytes) ||
                        warp_check(w, i, lane, SG_CHECK_UNINITIALIZED, "global 0x%llx was never written",
                                   (unsigned long long)address))
                   ? host
                   : NULL;
    }
    struct cta *c = w->cta;
    if (cluster_reaches(w, i) && !(c = cluster_peer(w, i, lane, &address)))
        return NULL;
    struct access one = {.exec = 1u << lane, .bytes = bytes};
    for (int k = 0; k < LANES; k++)
        one.address[k] = address;
    if (!shared_check(w, i, &one) ||
        (is_strict(w) && !shadow_access_in(c, w, i, lane, (uint32_t)address, bytes, USE_ATOMIC)))
        return NULL;
    return c->shared + address;
}

static void update_lane(struct warp *w, const struct insn *i, int lane, uint64_t address) {
    const struct reduction r = {i->sub, i->type[0]};
    const unsigned bytes = i->element;
    const struct operand *d = &i->dst[0];
    const struct operand *source = &i->src[1];
    bool global, returns = i->op == OP_atom;
    uint8_t *host = place(w, i, lane, address, i->bytes, &global);
    for (unsigned k = 0; host && k < i->vec; k++) {
        const struct operand *b = source->kind == O_VEC ? &source->vec[k] : source;
        const struct operand *out = d->kind == O_VEC ? &d->vec[k] : d;
        uint64_t value = load_bits((const uint8_t *)src_lanes(w, b) + (unsigned)lane * b->width, bytes), other = 0,
                 old = 0;
        if (i->sub == SUB_CAS)
            other = load_bits((const uint8_t *)src_lanes(w, &i->src[2]) + (unsigned)lane * i->src[2].width, bytes);
        old = global ? update_global(w, r, address + k * bytes, value, other, bytes)
                     : update_host(r, host + k * bytes, value, other, bytes);
        if (returns && out->kind == O_REG)
            memcpy((uint8_t *)dst_lanes(w, out) + (unsigned)lane * out->width, &old, bytes);
    }
}

void mem_atomic(struct warp *w, const struct insn *i) {
    struct access x;
    access_gather(w, &i->src[0], w->exec, &x);
    x.bytes = i->bytes;
    x.contiguous = false;
    w->count.atomics++;
    warp_polls(w, 1);
    bool ordered = (i->flags & (F_ACQUIRE | F_RELEASE)) && is_strict(w);
    if (ordered)
        shadow_fence(w);
    uint64_t window = i->space == SPACE_GENERIC  ? x.address[0] & WINDOW_MASK
                      : i->space == SPACE_SHARED ? SHARED_WINDOW
                                                 : 0;
    if (window == SHARED_WINDOW)
        shared_count(w, &x);
    else if (window == 0)
        global_count(w, &x, true);
    for (uint32_t rest = w->exec; rest && !run_of(w)->stop; rest &= rest - 1) {
        int lane = __builtin_ctz(rest);
        update_lane(w, i, lane, x.address[lane]);
    }
    if (ordered && !run_of(w)->stop)
        shadow_fence(w);
}
