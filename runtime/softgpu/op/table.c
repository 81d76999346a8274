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

static op_fn *(*const finder[OP_COUNT])(struct insn *i) = {
    [OP_abs] = find_number,         [OP_add] = find_number,         [OP_addc] = op_carry_find,
    [OP_and] = op_bits_find,        [OP_bfe] = op_bits_find,        [OP_bfi] = op_bits_find,
    [OP_bfind] = op_bits_find,      [OP_bmsk] = op_bits_find,       [OP_brev] = op_bits_find,
    [OP_clz] = op_bits_find,        [OP_cnot] = op_bits_find,       [OP_copysign] = op_float_find,
    [OP_cos] = op_approx_find,      [OP_cvt] = op_cvt_find,         [OP_div] = find_number,
    [OP_dp2a] = op_video_find,      [OP_dp4a] = op_video_find,      [OP_ex2] = op_approx_find,
    [OP_fma] = find_number,         [OP_fns] = op_bits_find,        [OP_ldmatrix] = op_matrix_find,
    [OP_lg2] = op_approx_find,      [OP_lop3] = op_bits_find,       [OP_mad] = find_number,
    [OP_mad24] = op_int_find,       [OP_madc] = op_carry_find,      [OP_max] = find_number,
    [OP_min] = find_number,         [OP_mma] = op_mma_find,         [OP_mov] = op_move_find,
    [OP_movmatrix] = op_mma_find,   [OP_mul] = find_number,         [OP_mul24] = op_int_find,
    [OP_neg] = find_number,         [OP_not] = op_bits_find,        [OP_or] = op_bits_find,
    [OP_popc] = op_bits_find,       [OP_prmt] = op_bits_find,       [OP_rcp] = find_number,
    [OP_rem] = op_int_find,         [OP_rsqrt] = op_approx_find,    [OP_sad] = op_int_find,
    [OP_selp] = op_compare_find,    [OP_set] = op_compare_find,     [OP_setp] = op_compare_find,
    [OP_shf] = op_bits_find,        [OP_shl] = op_bits_find,        [OP_shr] = op_bits_find,
    [OP_sin] = op_approx_find,      [OP_slct] = op_compare_find,    [OP_sqrt] = find_number,
    [OP_stmatrix] = op_matrix_find, [OP_sub] = find_number,         [OP_subc] = op_carry_find,
    [OP_szext] = op_bits_find,      [OP_tanh] = op_approx_find,     [OP_testp] = op_compare_find,
    [OP_vabsdiff] = op_video_find,  [OP_vabsdiff2] = op_video_find, [OP_vabsdiff4] = op_video_find,
    [OP_vadd] = op_video_find,      [OP_vadd2] = op_video_find,     [OP_vadd4] = op_video_find,
    [OP_vavrg2] = op_video_find,    [OP_vavrg4] = op_video_find,    [OP_vmad] = op_video_find,
    [OP_vmax] = op_video_find,      [OP_vmax2] = op_video_find,     [OP_vmax4] = op_video_find,
    [OP_vmin] = op_video_find,      [OP_vmin2] = op_video_find,     [OP_vmin4] = op_video_find,
    [OP_vset] = op_video_find,      [OP_vset2] = op_video_find,     [OP_vset4] = op_video_find,
    [OP_vshl] = op_video_find,      [OP_vshr] = op_video_find,      [OP_vsub] = op_video_find,
    [OP_vsub2] = op_video_find,     [OP_vsub4] = op_video_find,     [OP_xor] = op_bits_find,
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
static enum sg_pipe pipe_of(const struct insn *i) {
    const enum ptx_type type = i->type[0];
    switch (i->op) {
    case OP_mma:
        return SG_PIPE_TENSOR;
    case OP_ldmatrix:
    case OP_stmatrix:
        return SG_PIPE_LSU;
    case OP_cvt:
        return cvt_pipe(i);
    case OP_ex2:
    case OP_lg2:
    case OP_sin:
    case OP_cos:
    case OP_rcp:
    case OP_rsqrt:
    case OP_sqrt:
    case OP_tanh:
    case OP_div:
    case OP_rem:
    case OP_popc:
    case OP_clz:
    case OP_brev:
    case OP_bfind:
        return SG_PIPE_XU;
    case OP_dp2a:
    case OP_dp4a:
    case OP_mad24:
    case OP_mul24:
    case OP_madc:
        return SG_PIPE_FMA;
    case OP_setp:
    case OP_set:
    case OP_min:
    case OP_max:
        return type == T_F64 ? SG_PIPE_FP64 : SG_PIPE_ALU;
    case OP_mul:
    case OP_mad:
    case OP_fma:
    case OP_add:
    case OP_sub:
        if (is_half(type))
            return SG_PIPE_HALF;
        if (type == T_F64)
            return SG_PIPE_FP64;
        return type == T_F32 || (i->op != OP_add && i->op != OP_sub) ? SG_PIPE_FMA : SG_PIPE_ALU;
    default:
        return SG_PIPE_ALU;
    }
}

bool op_bind(struct insn *i, char *error, size_t error_size) {
    i->run = finder[i->op] ? finder[i->op](i) : NULL;
    if (!i->run) {
        snprintf(error, error_size, "%s%s%s%s%s: this combination of types and modifiers is not known", op_name(i->op),
                 i->types ? "." : "", i->types ? type_name(i->type[0]) : "", i->types > 1 ? "." : "",
                 i->types > 1 ? type_name(i->type[1]) : "");
        return false;
    }
    i->pipe = (uint8_t)pipe_of(i);
    return true;
}
