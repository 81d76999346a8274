/* Which group knows an arithmetic instruction, and which pipe of the SM issues it. */
#include "lanes.h"
#include "op.h"
#include <stdio.h>

/* One width: the lanes of `exec`, without a branch per lane. */
#define STORE(T)                                                                                                       \
    NO_DEPENDENCE for (int l = 0; l < LANES; l++)((T *)to)[l] =                                                        \
        w->exec & 1u << l ? ((const T *)value)[l] : ((const T *)to)[l]

void lanes_store(const struct warp *w, const struct operand *o, const void *value, unsigned size) {
    void *to = dst_lanes(w, o);
    if (lanes_all(w)) {
        memmove(to, value, (size_t)size * LANES);
        return;
    }
    switch (size) {
    case 2:
        STORE(uint16_t);
        break;
    case 4:
        STORE(uint32_t);
        break;
    case 8:
        STORE(uint64_t);
        break;
    default:
        STORE(unsigned __int128);
    }
}

op_fn *op_row_find(const struct op_row *row, size_t count, enum ptx_op op, enum ptx_type type, uint64_t flags) {
    for (size_t k = 0; k < count; k++)
        if (row[k].op == op && row[k].type == type && row[k].flags == flags)
            return row[k].run;
    return NULL;
}

static bool is_half(enum ptx_type type) {
    return type == T_F16 || type == T_F16X2 || type == T_BF16 || type == T_BF16X2;
}

/* Arithmetic that exists for integers and for floats. */
static op_fn *find_number(struct insn *i) {
    if (i->flags & (F_APPROX | F_FULL))
        return op_approx_find(i);
    if (is_half(i->type[0]))
        return op_half_find(i);
    if (i->type[0] == T_F32 || i->type[0] == T_F64)
        return op_float_find(i);
    return i->flags & F_CC ? op_carry_find(i) : op_int_find(i);
}

/* The groups of arithmetic; the machine binds the others. */
static op_fn *(*const finder[])(struct insn *i) = {
    [GROUP_NUMBER] = find_number,      [GROUP_INT] = op_int_find,       [GROUP_CARRY] = op_carry_find,
    [GROUP_BITS] = op_bits_find,       [GROUP_FLOAT] = op_float_find,   [GROUP_APPROX] = op_approx_find,
    [GROUP_COMPARE] = op_compare_find, [GROUP_CVT] = op_cvt_find,       [GROUP_VIDEO] = op_video_find,
    [GROUP_MMA] = op_mma_find,         [GROUP_MATRIX] = op_matrix_find, [GROUP_MOVE] = op_move_find,
};

/* cvt: packing to 16 bits and integer resizing are ordinary ALU work, widening f16 a half instruction; everything
 * between integers and floats, and everything with a 64-bit type, goes through the conversion unit. */
static enum sg_pipe cvt_pipe(const struct insn *i) {
    const enum ptx_type to = i->type[0], from = i->type[1];
    const bool wide = type_size(to) == 8 || type_size(from) == 8;
    if (!type_is_float(to) && !type_is_float(from))
        return SG_PIPE_ALU;
    if (wide || !type_is_float(to) || !type_is_float(from) || i->rnd >= RND_RNI)
        return SG_PIPE_XU;
    return from == T_F16 ? SG_PIPE_HALF : SG_PIPE_ALU;
}

/* After the arithmetic throughput table of the CUDA C++ Programming Guide (compute capability 8.0 and 9.0): 64 or 128
 * results per clock and SM on ALU and FMA, 16 on XU. */
enum sg_pipe op_pipe(const struct insn *i) {
    const enum ptx_type type = i->type[0];
    const enum sg_pipe pipe = ptx_op_facts[i->op].pipe;
    switch (pipe) {
    case SG_PIPE_BY_SUM:
    case SG_PIPE_BY_PRODUCT:
        if (is_half(type))
            return SG_PIPE_HALF;
        if (type == T_F64)
            return SG_PIPE_FP64;
        return type == T_F32 ? SG_PIPE_FMA : pipe == SG_PIPE_BY_PRODUCT ? SG_PIPE_IMAD : SG_PIPE_ALU;
    case SG_PIPE_BY_ORDER:
        return type == T_F64 ? SG_PIPE_FP64 : SG_PIPE_ALU;
    case SG_PIPE_BY_CONVERSION:
        return cvt_pipe(i);
    case SG_PIPE_BY_WGMMA:
        return i->sub == SUB_MMA ? SG_PIPE_TENSOR : SG_PIPE_BRANCH;
    case SG_PIPE_ALU:
    case SG_PIPE_FMA:
    case SG_PIPE_IMAD:
    case SG_PIPE_HALF:
    case SG_PIPE_XU:
    case SG_PIPE_LSU:
    case SG_PIPE_FP64:
    case SG_PIPE_BRANCH:
    case SG_PIPE_TENSOR:
    case SG_PIPE_COUNT:
    case SG_PIPE_NONE:
        break;
    }
    return pipe;
}

bool op_bind(struct insn *i, char *error, size_t error_size) {
    const enum ptx_group group = ptx_op_facts[i->op].group;
    i->run = group < sizeof finder / sizeof *finder && finder[group] ? finder[group](i) : NULL;
    if (!i->run)
        snprintf(error, error_size, "%s%s%s%s%s: this combination of types and modifiers is not known", op_name(i->op),
                 i->types ? "." : "", i->types ? type_name(i->type[0]) : "", i->types > 1 ? "." : "",
                 i->types > 1 ? type_name(i->type[1]) : "");
    return i->run != NULL;
}
