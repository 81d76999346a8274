/* PTX as the machine holds it: a flat array of decoded instructions whose operands are already places in memory.
 *
 * Registers live in a warp's frame, as a structure of arrays: one slot per register, 32 lanes of 2, 4, 8 or 16 bytes,
 * 64-byte aligned; a predicate is one uint32_t with a bit per lane. Immediates and symbol addresses are expanded to 32
 * lanes when the module is parsed, in a bank of constants, so a source operand is always a pointer to 32 lanes
 * (operand.bank says in which of warp.base[] its slot is). Slots of different widths never overlap, and a destination
 * never overlaps a source unless both name the same register. */
#ifndef SG_PTX_INSN_H
#define SG_PTX_INSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct warp;
struct insn;
/* Executes for the lanes of w->exec, which is never empty; lanes outside keep their destination. */
typedef void op_fn(struct warp *w, const struct insn *i);

/* Types. The order is that of type_table in ptx/names.c. */
enum ptx_type {
    T_NONE,
    T_PRED,
    T_B8,
    T_B16,
    T_B32,
    T_B64,
    T_B128,
    T_U8,
    T_U16,
    T_U32,
    T_U64,
    T_S8,
    T_S16,
    T_S32,
    T_S64,
    T_F16,
    T_F16X2,
    T_BF16,
    T_BF16X2,
    T_TF32,
    T_F32,
    T_F64,
    T_U16X2,
    T_S16X2,
    T_F32X2,
    T_U4,
    T_S4,
    T_B1,
    T_E4M3,
    T_E5M2,
    T_E4M3X2,
    T_E5M2X2,
    T_COUNT
};

/* Mnemonics up to the first dot. The list is the only one: ptx/names.c expands it to the names. */
/* clang-format off */
#define PTX_OPS(X) \
    X(abs) X(activemask) X(add) X(addc) X(alloca) X(and) X(applypriority) X(atom) X(bar) X(barrier) X(bfe) \
    X(bfi) X(bfind) X(bmsk) X(bra) X(brev) X(brkpt) X(brx) X(call) X(clz) X(cnot) X(copysign) X(cos) X(cp) \
    X(createpolicy) X(cvt) X(cvta) X(discard) X(div) X(dp2a) X(dp4a) X(elect) X(ex2) X(exit) X(fence) X(fma) \
    X(fns) X(getctarank) X(griddepcontrol) X(isspacep) X(istypep) X(ld) X(ldmatrix) X(ldu) X(lg2) X(lop3) \
    X(mad) X(mad24) X(madc) X(mapa) X(match) X(max) X(mbarrier) X(membar) X(min) X(mma) X(mov) X(movmatrix) \
    X(mul) X(mul24) X(multimem) X(nanosleep) X(neg) X(not) X(or) X(pmevent) X(popc) X(prefetch) X(prefetchu) \
    X(prmt) X(rcp) X(red) X(redux) X(rem) X(ret) X(rsqrt) X(sad) X(selp) X(set) X(setmaxnreg) X(setp) X(shf) \
    X(shfl) X(shl) X(shr) X(sin) X(slct) X(sqrt) X(st) X(stackrestore) X(stacksave) X(stmatrix) X(sub) \
    X(subc) X(szext) X(tanh) X(testp) X(trap) X(vabsdiff) X(vabsdiff2) X(vabsdiff4) X(vadd) X(vadd2) X(vadd4) \
    X(vavrg2) X(vavrg4) X(vmad) X(vmax) X(vmax2) X(vmax4) X(vmin) X(vmin2) X(vmin4) X(vote) X(vset) X(vset2) \
    X(vset4) X(vshl) X(vshr) X(vsub) X(vsub2) X(vsub4) X(wgmma) X(wmma) X(xor)
/* clang-format on */
#define PTX_OP_ENUM(name) OP_##name,
enum ptx_op { PTX_OPS(PTX_OP_ENUM) OP_COUNT };

enum ptx_round { RND_NONE, RND_RN, RND_RZ, RND_RM, RND_RP, RND_RNA, RND_RS, RND_RNI, RND_RZI, RND_RMI, RND_RPI };
/* Comparisons; CMP_LO … CMP_HS are the unsigned ones, the …U ones are true if an operand is NaN. */
enum ptx_compare {
    CMP_NONE,
    CMP_EQ,
    CMP_NE,
    CMP_LT,
    CMP_LE,
    CMP_GT,
    CMP_GE,
    CMP_LO,
    CMP_LS,
    CMP_HI,
    CMP_HS,
    CMP_EQU,
    CMP_NEU,
    CMP_LTU,
    CMP_LEU,
    CMP_GTU,
    CMP_GEU,
    CMP_NUM,
    CMP_NAN
};
/* What an instruction with variants does: atom.add, vote.any, shfl.bfly, vadd.….max, setp.….and, mma.….xor.popc */
enum ptx_sub {
    SUB_NONE,
    SUB_ADD,
    SUB_MIN,
    SUB_MAX,
    SUB_INC,
    SUB_DEC,
    SUB_AND,
    SUB_OR,
    SUB_XOR,
    SUB_EXCH,
    SUB_CAS,
    SUB_POPC,
    SUB_ALL,
    SUB_ANY,
    SUB_UNI,
    SUB_BALLOT,
    SUB_EQ,
    SUB_UP,
    SUB_DOWN,
    SUB_BFLY,
    SUB_IDX,
    SUB_SYNC,
    SUB_ARRIVE,
    SUB_RED,
    SUB_WARP,
    SUB_CTA,
    SUB_GL,
    SUB_SYS,
    SUB_CLUSTER,
    SUB_PROXY,
    SUB_ASYNC,
    SUB_COMMIT_GROUP,
    SUB_WAIT_GROUP,
    SUB_WAIT_ALL,
    SUB_MBARRIER,
    SUB_REDUCE,
    SUB_TENSOR,
    SUB_PREFETCH,
    SUB_LOAD,
    SUB_STORE,
    SUB_MMA,
    SUB_FENCE,
    SUB_FRACTIONAL,
    SUB_RANGE,
    SUB_CVT,
    SUB_INIT,
    SUB_INVAL,
    SUB_TEST_WAIT,
    SUB_TRY_WAIT,
    SUB_EXPECT_TX,
    SUB_COMPLETE_TX,
    SUB_ARRIVE_DROP,
    SUB_WAIT,
    SUB_LAUNCH_DEPENDENTS,
    SUB_MBARRIER_INIT,
    /* testp */
    SUB_FINITE,
    SUB_INFINITE,
    SUB_NUMBER,
    SUB_NOTANUMBER,
    SUB_NORMAL,
    SUB_SUBNORMAL,
    /* prmt */
    SUB_F4E,
    SUB_B4E,
    SUB_RC8,
    SUB_ECL,
    SUB_ECR,
    SUB_RC16
};
enum ptx_space { SPACE_GENERIC, SPACE_GLOBAL, SPACE_SHARED, SPACE_LOCAL, SPACE_PARAM, SPACE_CONST, SPACE_REG };

#define FLAG(n)       (1ull << (n))
#define F_FTZ         FLAG(0)
#define F_SAT         FLAG(1)
#define F_SATFINITE   FLAG(2)
#define F_RELU        FLAG(3)
#define F_APPROX      FLAG(4)
#define F_FULL        FLAG(5)
#define F_WIDE        FLAG(6)
#define F_HI          FLAG(7)
#define F_LO          FLAG(8)
#define F_CC          FLAG(9)
#define F_UNI         FLAG(10)
#define F_NAN         FLAG(11) /* min.NaN, max.NaN */
#define F_XORSIGN     FLAG(12) /* .xorsign.abs */
#define F_ABS         FLAG(13)
#define F_TRANS       FLAG(14)
#define F_SYNC        FLAG(15)
#define F_ALIGNED     FLAG(16)
#define F_LEFT        FLAG(17) /* shf.l */
#define F_RIGHT       FLAG(18)
#define F_CLAMP       FLAG(19) /* shf, bmsk, vshl */
#define F_WRAP        FLAG(20)
#define F_SHIFTAMT    FLAG(21)
#define F_NOFTZ       FLAG(22)
#define F_TO          FLAG(23) /* cvta.to */
#define F_VOLATILE    FLAG(24)
#define F_STRONG      FLAG(25) /* relaxed, acquire, release, acq_rel, mmio */
#define F_NONCOHERENT FLAG(26) /* ld.global.nc */
#define F_POLICY      FLAG(27) /* .L2::cache_hint: a last operand holds the policy */
#define F_BYPASS      FLAG(28) /* cp.async.cg */
#define F_OOB         FLAG(29)
#define F_SPARSE      FLAG(30)
#define F_NOINC       FLAG(31)
#define F_CLUSTER     FLAG(32) /* the scope, and barrier.cluster */
#define F_ROW_A       FLAG(33) /* mma: .row for A; absent with F_COL_A present means .col */
#define F_COL_A       FLAG(34)
#define F_ROW_B       FLAG(35)
#define F_COL_B       FLAG(36)
#define F_PO          FLAG(38) /* vmad.po, vadd*.po */
#define F_SHR7        FLAG(39)
#define F_SHR15       FLAG(40)
#define F_ACQUIRE     FLAG(41)
#define F_RELEASE     FLAG(42)
#define F_PARITY      FLAG(43) /* mbarrier waits */
#define F_BULK        FLAG(44) /* cp.async.bulk */
#define F_TENSORMAP   FLAG(45)
#define F_READ        FLAG(46) /* cp.async.bulk.wait_group.read */
#define F_REMOTE      FLAG(47) /* .shared::cluster: an address in any CTA of the cluster */
#define F_MULTICAST   FLAG(48)

/* Which part of an SM an instruction occupies. */
enum sg_pipe {
    SG_PIPE_ALU,
    SG_PIPE_FMA,
    SG_PIPE_HALF,
    SG_PIPE_XU,
    SG_PIPE_LSU,
    SG_PIPE_FP64,
    SG_PIPE_BRANCH,
    SG_PIPE_TENSOR,
    SG_PIPE_COUNT
};
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

enum { MAX_DST = 2, MAX_SRC = 6 };
/* Bits of insn.guarded: @p stands before it; all lanes of the warp must execute it together (.sync.aligned). */
enum { GUARD_PREDICATE = 1, GUARD_TOGETHER = 2 };
struct insn {
    op_fn *run;
    uint32_t guard_slot; /* predicate in the frame */
    uint32_t guard_xor;  /* 0, or ~0 for @!p */
    uint16_t op;         /* enum ptx_op */
    uint8_t guarded;     /* GUARD_… */
    uint8_t pipe;        /* enum sg_pipe: set when the instruction is bound */
    uint8_t type[4];     /* in the order of the text: cvt.dst.src, set.dst.src, mma.d.a.b.c */
    uint8_t types;
    uint8_t cmp, rnd, sub, space;
    uint8_t space2;    /* second one: cp.async.….shared.global has space SHARED, space2 GLOBAL */
    uint8_t vec;       /* .v2 .v4 .v8; else 1 */
    uint8_t num;       /* .x1 .x2 .x4 of ldmatrix, .1d to .5d of a tensor; 0 if absent */
    uint8_t boolop;    /* enum ptx_sub: SUB_AND, SUB_OR, SUB_XOR of setp and set */
    uint16_t shape[3]; /* m, n, k of mma; ldmatrix m8n8: {8, 8, 0} */
    uint8_t dsts, srcs;
    uint64_t flags;
    uint32_t line;               /* of the PTX text */
    uint16_t select[4];          /* video operands: of dst[0], src[0..2]; see SELECT below */
    struct operand dst[MAX_DST]; /* setp's p|q and shfl's d|p are dst[0], dst[1]; dst[1] is O_SINK if not written */
    struct operand src[MAX_SRC];
    const char *text; /* the instruction as written, for messages */
    uint32_t aux[2];  /* owner's own: the binder may keep precomputed values here */
};
/* Byte or halfword selectors of the video instructions: r.b0, r.h1, r.b3210, r.h10. 0: none. */
#define SELECT_IS_HALF(s) ((s) >> 12 == 2)
#define SELECT_COUNT(s)   ((s) >> 8 & 15)
#define SELECT_DIGIT(s, k)                                                                                             \
    ((s) >> (2 * (k)) & 3) /* k = 0: the rightmost digit. Vmad-like: values 4 … 7 are not used                       \
                            */

enum ptx_special {
    SR_NONE,
    SR_TID_X,
    SR_TID_Y,
    SR_TID_Z,
    SR_NTID_X,
    SR_NTID_Y,
    SR_NTID_Z,
    SR_CTAID_X,
    SR_CTAID_Y,
    SR_CTAID_Z,
    SR_NCTAID_X,
    SR_NCTAID_Y,
    SR_NCTAID_Z,
    SR_LANEID,
    SR_WARPID,
    SR_NWARPID,
    SR_SMID,
    SR_NSMID,
    SR_GRIDID,
    SR_LANEMASK_EQ,
    SR_LANEMASK_LE,
    SR_LANEMASK_LT,
    SR_LANEMASK_GE,
    SR_LANEMASK_GT,
    SR_CLOCK,
    SR_CLOCK_HI,
    SR_CLOCK64,
    SR_GLOBALTIMER,
    SR_GLOBALTIMER_LO,
    SR_GLOBALTIMER_HI,
    SR_DYNAMIC_SMEM_SIZE,
    SR_TOTAL_SMEM_SIZE,
    SR_AGGR_SMEM_SIZE,
    SR_RESERVED_SMEM_OFFSET_BEGIN,
    SR_CLUSTERID_X,
    SR_CLUSTERID_Y,
    SR_CLUSTERID_Z,
    SR_NCLUSTERID_X,
    SR_NCLUSTERID_Y,
    SR_NCLUSTERID_Z,
    SR_CLUSTER_CTAID_X,
    SR_CLUSTER_CTAID_Y,
    SR_CLUSTER_CTAID_Z,
    SR_CLUSTER_NCTAID_X,
    SR_CLUSTER_NCTAID_Y,
    SR_CLUSTER_NCTAID_Z,
    SR_CLUSTER_CTARANK,
    SR_CLUSTER_NCTARANK,
    SR_IS_EXPLICIT_CLUSTER,
    SR_TID_W,
    SR_COUNT
};

/* Bytes of one value of a type in a register (1 for the 8-bit types), 0 for T_NONE and T_PRED. */
unsigned type_size(enum ptx_type type);
bool type_is_float(enum ptx_type type); /* f16, bf16, f32, f64 and their pairs */
bool type_is_signed(enum ptx_type type);
const char *type_name(enum ptx_type type);
const char *op_name(enum ptx_op op);

#endif
