/* PTX as the machine holds it: a flat array of decoded instructions whose operands are already places in memory.
 *
 * Registers live in a warp's frame, as a structure of arrays: one slot per register, 32 lanes of 2, 4, 8 or 16 bytes,
 * 64-byte aligned; a predicate is one uint32_t with a bit per lane. Immediates and symbol addresses are expanded to 32
 * lanes when the module is parsed, in a bank of constants, so a source operand is always a pointer to 32 lanes
 * (operand.bank says in which of warp.base[] its slot is). Slots of different widths never overlap, and a destination
 * never overlaps a source unless both name the same register. */
#ifndef SG_PTX_INSN_H
#define SG_PTX_INSN_H

#include "lists.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct warp;
struct insn;
/* Executes for the lanes of w->exec, which is never empty; lanes outside keep their destination. */
typedef void op_fn(struct warp *w, const struct insn *i);

#define PTX_ENUM_OP(name, ...)      OP_##name,
#define PTX_ENUM_TYPE(name, ...)    T_##name,
#define PTX_ENUM_ROUND(name, ...)   RND_##name,
#define PTX_ENUM_COMPARE(name, ...) CMP_##name,
#define PTX_ENUM_SUB(name, ...)     SUB_##name,
#define PTX_ENUM_SPECIAL(name, ...) SR_##name,
#define PTX_ENUM_BIT(name, ...)     BIT_##name,
enum ptx_op { PTX_OPS(PTX_ENUM_OP) OP_COUNT };
enum ptx_type { T_NONE, PTX_TYPES(PTX_ENUM_TYPE) T_COUNT };
enum ptx_round { RND_NONE, PTX_ROUNDS(PTX_ENUM_ROUND) RND_COUNT };
enum ptx_compare { CMP_NONE, PTX_COMPARES(PTX_ENUM_COMPARE) CMP_COUNT };
enum ptx_sub { SUB_NONE, PTX_SUBS(PTX_ENUM_SUB) SUB_COUNT };
enum ptx_special { SR_NONE, PTX_SPECIALS(PTX_ENUM_SPECIAL) SR_COUNT };
/* The number of each flag, and the flag itself, F_…: enumerators of 64 bits are in C23, and in gcc and clang
 * before it. */
enum ptx_flag_bit { PTX_FLAGS(PTX_ENUM_BIT) FLAG_COUNT };
#define PTX_ENUM_FLAG(name, ...) F_##name = 1ull << BIT_##name,
enum ptx_flag { PTX_FLAGS(PTX_ENUM_FLAG) };
enum ptx_space { SPACE_GENERIC, SPACE_GLOBAL, SPACE_SHARED, SPACE_LOCAL, SPACE_PARAM, SPACE_CONST, SPACE_REG };

/* Which part of an SM an instruction occupies. */
enum sg_pipe {
    SG_PIPE_ALU,
    SG_PIPE_FMA,
    SG_PIPE_IMAD, /* integer multiply-add: on a part of the FMA pipe */
    SG_PIPE_HALF,
    SG_PIPE_XU,
    SG_PIPE_LSU,
    SG_PIPE_FP64,
    SG_PIPE_BRANCH,
    SG_PIPE_TENSOR,
    SG_PIPE_COUNT,
    /* In PTX_OPS, for what depends on more than the instruction's name. */
    SG_PIPE_BY_SUM,        /* add, sub: the first type */
    SG_PIPE_BY_PRODUCT,    /* mul, mad, fma: likewise */
    SG_PIPE_BY_ORDER,      /* min, max, set, setp: likewise */
    SG_PIPE_BY_CONVERSION, /* cvt: both types and the rounding */
    SG_PIPE_BY_WGMMA,      /* the multiplication itself, or what is around it */
    SG_PIPE_NONE           /* nobody executes it */
};
/* Which lanes must execute an instruction together. */
enum ptx_exec { EXEC_ALONE, EXEC_TOGETHER, EXEC_BY_FORM };
/* Who binds and executes an instruction: a part of op/, or of the machine. */
enum ptx_group {
    GROUP_NUMBER, /* arithmetic that exists for integers and for floats: its type decides */
    GROUP_INT,
    GROUP_CARRY,
    GROUP_BITS,
    GROUP_FLOAT,
    GROUP_APPROX,
    GROUP_COMPARE,
    GROUP_CVT,
    GROUP_VIDEO,
    GROUP_MMA,
    GROUP_MATRIX,
    GROUP_MOVE, /* special registers by the machine, all else by op/ */
    GROUP_ACCESS,
    GROUP_ATOMIC,
    GROUP_COPY,
    GROUP_MBARRIER,
    GROUP_FENCE,
    GROUP_ADDRESS,
    GROUP_HINT,
    GROUP_POLICY,
    GROUP_BARRIER,
    GROUP_WARP,
    GROUP_FLOW,
    GROUP_PAUSE,
    GROUP_WGMMA,
    GROUP_REGISTERS,
    GROUP_NOBODY
};
struct ptx_op_facts { /* a row of PTX_OPS */
    const char *name;
    enum sg_pipe pipe;
    enum ptx_exec exec;
    enum ptx_group group;
};
extern const struct ptx_op_facts ptx_op_facts[OP_COUNT];

enum operand_kind {
    O_NONE,
    O_REG,     /* slot of 32 lanes, width bytes each */
    O_PRED,    /* slot of one uint32_t lane mask; `negated` for !p */
    O_IMM,     /* 32 equal lanes in the constant bank, already converted to the width the instruction reads; also imm */
    O_SINK,    /* `_` or absent second destination: a slot that may be written and is never read */
    O_VEC,     /* {…}: count elements at vec */
    O_ADDRESS, /* [base + imm]: slot, bank and width are those of the base (4 or 8 bytes; a base is always there) */
    O_LABEL,   /* imm is the instruction index */
    O_SPECIAL, /* special register number in imm (enum ptx_special): read by `mov` alone */
    O_LIST     /* call arguments: count elements at vec, kind O_ADDRESS in the parameter area of the caller */
};
enum { BANK_FRAME, BANK_CONST, BANK_COUNT };
struct operand {
    uint8_t kind, bank;
    uint8_t width; /* bytes per lane of the register really named: may be wider than the type in ld, st, cvt */
    uint8_t count; /* O_VEC, O_LIST */
    uint32_t slot : 31, negated : 1; /* byte offset in warp.base[bank] */
    union {
        int64_t imm; /* bits of the immediate (a float in the instruction's type), or the byte offset of an address */
        const struct operand *vec;
    };
};

enum { MAX_DST = 2, MAX_SRC = 7 };
/* Bits of insn.guarded: @p stands before it; all lanes of the warp must execute it together (.sync.aligned). */
enum { GUARD_PREDICATE = 1, GUARD_TOGETHER = 2 };
struct insn {
    op_fn *run;
    uint32_t guard_slot; /* predicate in the frame */
    uint32_t guard_xor;  /* 0, or ~0 for @!p */
    uint16_t op;         /* enum ptx_op */
    uint8_t guarded;     /* GUARD_… */
    uint8_t pipe;        /* enum sg_pipe: set when the instruction is bound */
    uint8_t region;      /* of its kernel, once profile/regions.h has divided it; else 0 */
    uint8_t type[4];     /* in the order of the text: cvt.dst.src, set.dst.src, mma.d.a.b.c */
    uint8_t types;
    uint8_t cmp, rnd, sub, space;
    uint8_t space2;    /* second one: cp.async.….shared.global has space SHARED, space2 GLOBAL */
    uint8_t vec;       /* .v2 .v4 .v8; else 1 */
    uint8_t num;       /* .x1 .x2 .x4 of ldmatrix, .1d to .5d of a tensor; 0 if absent */
    uint8_t boolop;    /* enum ptx_sub: SUB_AND, SUB_OR, SUB_XOR of setp and set */
    uint16_t shape[3]; /* m, n, k of mma; ldmatrix m8n8: {8, 8, 0} */
    uint8_t dsts, srcs;
    uint8_t element, bytes; /* ld, st, atom, red, once bound: of one element, and of all that a lane moves */
    uint64_t flags;
    uint32_t line;               /* of the PTX text */
    uint16_t select[4];          /* video operands: of dst[0], src[0..2]; see SELECT below */
    struct operand dst[MAX_DST]; /* setp's p|q and shfl's d|p are dst[0], dst[1]; dst[1] is O_SINK if not written */
    struct operand src[MAX_SRC];
    const char *text; /* the instruction as written, for messages */
    uint32_t aux[2];  /* owner's own: the binder may keep precomputed values here */
};
_Static_assert(FLAG_COUNT <= 64, "insn.flags has a bit for each flag");
_Static_assert(OP_COUNT <= UINT16_MAX, "insn.op holds every mnemonic");
_Static_assert(T_COUNT <= UINT8_MAX && CMP_COUNT <= UINT8_MAX && RND_COUNT <= UINT8_MAX && SUB_COUNT <= UINT8_MAX &&
                   SG_PIPE_COUNT <= UINT8_MAX,
               "the bytes of an instruction hold every type, comparison, rounding, sub and pipe");
/* Byte or halfword selectors of the video instructions: r.b0, r.h1, r.b3210, r.h10. 0: none. */
#define SELECT_IS_HALF(s) ((s) >> 12 == 2)
#define SELECT_COUNT(s)   ((s) >> 8 & 15)
/* k = 0: the rightmost digit. Values 4 … 7, of vmad and its like, are not used. */
#define SELECT_DIGIT(s, k) ((s) >> (2 * (k)) & 3)

struct ptx_type_facts { /* a row of PTX_TYPES */
    const char *name;
    uint8_t size;
    bool is_float, is_signed;
};
extern const struct ptx_type_facts ptx_type_facts[T_COUNT];

/* Bytes of one value of a type in a register (1 for the 8-bit types), 0 for T_NONE and T_PRED. */
static inline unsigned type_size(enum ptx_type type) {
    return ptx_type_facts[type].size;
}
static inline bool type_is_float(enum ptx_type type) { /* f16, bf16, f32, f64 and their pairs */
    return ptx_type_facts[type].is_float;
}
static inline bool type_is_signed(enum ptx_type type) {
    return ptx_type_facts[type].is_signed;
}
static inline const char *type_name(enum ptx_type type) {
    return ptx_type_facts[type].name;
}
static inline const char *op_name(enum ptx_op op) {
    return ptx_op_facts[op].name;
}

#endif
