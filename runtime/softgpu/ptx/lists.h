/* The lists of PTX, each the only one: the enums of insn.h, the words of names.c and the tables of op/ and machine/ are
 * made of them, so that what is added here is known everywhere or does not compile. */
#ifndef SG_PTX_LISTS_H
#define SG_PTX_LISTS_H

/* clang-format off */

/* Mnemonics up to the first dot: X(name, pipe, lanes, group).
 *   pipe   the part of an SM that it occupies, of enum sg_pipe; BY_…: its types or its form decide, in op_pipe()
 *   lanes  ALONE: each lane for itself. TOGETHER: all lanes that live, as .sync.aligned has it. BY_FORM: its handler waits
 *          for the lanes that its modifiers or its member mask name
 *   group  who binds and executes it, of enum ptx_group; NOBODY: it is refused */
#define PTX_OPS(X) \
    X(abs,            ALU,           ALONE,    NUMBER) \
    X(activemask,     ALU,           ALONE,    WARP) \
    X(add,            BY_SUM,        ALONE,    NUMBER) \
    X(addc,           ALU,           ALONE,    CARRY) \
    X(alloca,         NONE,          ALONE,    NOBODY) \
    X(and,            ALU,           ALONE,    BITS) \
    X(applypriority,  LSU,           ALONE,    HINT) \
    X(atom,           LSU,           ALONE,    ATOMIC) \
    X(bar,            BRANCH,        BY_FORM,  BARRIER) \
    X(barrier,        BRANCH,        BY_FORM,  BARRIER) \
    X(bfe,            ALU,           ALONE,    BITS) \
    X(bfi,            ALU,           ALONE,    BITS) \
    X(bfind,          XU,            ALONE,    BITS) \
    X(bmsk,           ALU,           ALONE,    BITS) \
    X(bra,            BRANCH,        ALONE,    FLOW) \
    X(brev,           XU,            ALONE,    BITS) \
    X(brkpt,          BRANCH,        ALONE,    FLOW) \
    X(brx,            BRANCH,        ALONE,    FLOW) \
    X(call,           BRANCH,        ALONE,    FLOW) \
    X(clz,            XU,            ALONE,    BITS) \
    X(cnot,           ALU,           ALONE,    BITS) \
    X(copysign,       ALU,           ALONE,    FLOAT) \
    X(cos,            XU,            ALONE,    APPROX) \
    X(cp,             LSU,           ALONE,    COPY) \
    X(createpolicy,   ALU,           ALONE,    POLICY) \
    X(cvt,            BY_CONVERSION, ALONE,    CVT) \
    X(cvta,           ALU,           ALONE,    ADDRESS) \
    X(discard,        LSU,           ALONE,    HINT) \
    X(div,            XU,            ALONE,    NUMBER) \
    X(dp2a,           IMAD,          ALONE,    VIDEO) \
    X(dp4a,           IMAD,          ALONE,    VIDEO) \
    X(elect,          ALU,           BY_FORM,  WARP) \
    X(ex2,            XU,            ALONE,    APPROX) \
    X(exit,           BRANCH,        ALONE,    FLOW) \
    X(fence,          LSU,           ALONE,    FENCE) \
    X(fma,            BY_PRODUCT,    ALONE,    NUMBER) \
    X(fns,            ALU,           ALONE,    BITS) \
    X(getctarank,     ALU,           ALONE,    ADDRESS) \
    X(griddepcontrol, LSU,           ALONE,    PAUSE) \
    X(isspacep,       ALU,           ALONE,    ADDRESS) \
    X(istypep,        NONE,          ALONE,    NOBODY) \
    X(ld,             LSU,           ALONE,    ACCESS) \
    X(ldmatrix,       LSU,           TOGETHER, MATRIX) \
    X(ldu,            LSU,           ALONE,    ACCESS) \
    X(lg2,            XU,            ALONE,    APPROX) \
    X(lop3,           ALU,           ALONE,    BITS) \
    X(mad,            BY_PRODUCT,    ALONE,    NUMBER) \
    X(mad24,          IMAD,          ALONE,    INT) \
    X(madc,           IMAD,          ALONE,    CARRY) \
    X(mapa,           ALU,           ALONE,    ADDRESS) \
    X(match,          LSU,           BY_FORM,  WARP) \
    X(max,            BY_ORDER,      ALONE,    NUMBER) \
    X(mbarrier,       LSU,           ALONE,    MBARRIER) \
    X(membar,         LSU,           ALONE,    FENCE) \
    X(min,            BY_ORDER,      ALONE,    NUMBER) \
    X(mma,            TENSOR,        TOGETHER, MMA) \
    X(mov,            ALU,           ALONE,    MOVE) \
    X(movmatrix,      ALU,           TOGETHER, MMA) \
    X(mul,            BY_PRODUCT,    ALONE,    NUMBER) \
    X(mul24,          IMAD,          ALONE,    INT) \
    X(multimem,       NONE,          ALONE,    NOBODY) \
    X(nanosleep,      LSU,           ALONE,    PAUSE) \
    X(neg,            ALU,           ALONE,    NUMBER) \
    X(not,            ALU,           ALONE,    BITS) \
    X(or,             ALU,           ALONE,    BITS) \
    X(pmevent,        LSU,           ALONE,    PAUSE) \
    X(popc,           XU,            ALONE,    BITS) \
    X(prefetch,       LSU,           ALONE,    HINT) \
    X(prefetchu,      LSU,           ALONE,    HINT) \
    X(prmt,           ALU,           ALONE,    BITS) \
    X(rcp,            XU,            ALONE,    NUMBER) \
    X(red,            LSU,           ALONE,    ATOMIC) \
    X(redux,          LSU,           BY_FORM,  WARP) \
    X(rem,            XU,            ALONE,    INT) \
    X(ret,            BRANCH,        ALONE,    FLOW) \
    X(rsqrt,          XU,            ALONE,    APPROX) \
    X(sad,            ALU,           ALONE,    INT) \
    X(selp,           ALU,           ALONE,    COMPARE) \
    X(set,            BY_ORDER,      ALONE,    COMPARE) \
    X(setmaxnreg,     LSU,           TOGETHER, REGISTERS) \
    X(setp,           BY_ORDER,      ALONE,    COMPARE) \
    X(shf,            ALU,           ALONE,    BITS) \
    X(shfl,           LSU,           BY_FORM,  WARP) \
    X(shl,            ALU,           ALONE,    BITS) \
    X(shr,            ALU,           ALONE,    BITS) \
    X(sin,            XU,            ALONE,    APPROX) \
    X(slct,           ALU,           ALONE,    COMPARE) \
    X(sqrt,           XU,            ALONE,    NUMBER) \
    X(st,             LSU,           ALONE,    ACCESS) \
    X(stackrestore,   NONE,          ALONE,    NOBODY) \
    X(stacksave,      NONE,          ALONE,    NOBODY) \
    X(stmatrix,       LSU,           TOGETHER, MATRIX) \
    X(sub,            BY_SUM,        ALONE,    NUMBER) \
    X(subc,           ALU,           ALONE,    CARRY) \
    X(szext,          ALU,           ALONE,    BITS) \
    X(tanh,           XU,            ALONE,    APPROX) \
    X(testp,          ALU,           ALONE,    COMPARE) \
    X(trap,           BRANCH,        ALONE,    FLOW) \
    X(unknown,        NONE,          ALONE,    NOBODY) /* every other */ \
    X(vabsdiff,       ALU,           ALONE,    VIDEO) \
    X(vabsdiff2,      ALU,           ALONE,    VIDEO) \
    X(vabsdiff4,      ALU,           ALONE,    VIDEO) \
    X(vadd,           ALU,           ALONE,    VIDEO) \
    X(vadd2,          ALU,           ALONE,    VIDEO) \
    X(vadd4,          ALU,           ALONE,    VIDEO) \
    X(vavrg2,         ALU,           ALONE,    VIDEO) \
    X(vavrg4,         ALU,           ALONE,    VIDEO) \
    X(vmad,           ALU,           ALONE,    VIDEO) \
    X(vmax,           ALU,           ALONE,    VIDEO) \
    X(vmax2,          ALU,           ALONE,    VIDEO) \
    X(vmax4,          ALU,           ALONE,    VIDEO) \
    X(vmin,           ALU,           ALONE,    VIDEO) \
    X(vmin2,          ALU,           ALONE,    VIDEO) \
    X(vmin4,          ALU,           ALONE,    VIDEO) \
    X(vote,           ALU,           BY_FORM,  WARP) \
    X(vset,           ALU,           ALONE,    VIDEO) \
    X(vset2,          ALU,           ALONE,    VIDEO) \
    X(vset4,          ALU,           ALONE,    VIDEO) \
    X(vshl,           ALU,           ALONE,    VIDEO) \
    X(vshr,           ALU,           ALONE,    VIDEO) \
    X(vsub,           ALU,           ALONE,    VIDEO) \
    X(vsub2,          ALU,           ALONE,    VIDEO) \
    X(vsub4,          ALU,           ALONE,    VIDEO) \
    X(wgmma,          BY_WGMMA,      TOGETHER, WGMMA) \
    X(wmma,           NONE,          ALONE,    NOBODY) \
    X(xor,            ALU,           ALONE,    BITS)

/* Modifiers that are bits of insn.flags: X(name, words). NULL: no word means it everywhere; code sets it. */
#define PTX_FLAGS(X) \
    X(FTZ, "ftz") \
    X(SAT, "sat") \
    X(SATFINITE, "satfinite") \
    X(RELU, "relu") \
    X(APPROX, "approx") \
    X(FULL, "full") \
    X(WIDE, "wide") \
    X(HI, "hi") \
    X(LO, "lo") \
    X(CC, "cc") \
    X(UNI, "uni") \
    X(NAN, "NaN") /* min.NaN, max.NaN */ \
    X(XORSIGN, "xorsign") /* .xorsign.abs */ \
    X(ABS, "abs") \
    X(TRANS, "trans") \
    X(SYNC, "sync") \
    X(ALIGNED, "aligned") \
    X(LEFT, "l") /* shf.l */ \
    X(RIGHT, "r") \
    X(CLAMP, "clamp") /* shf, bmsk, vshl */ \
    X(WRAP, "wrap") \
    X(SHIFTAMT, "shiftamt") \
    X(NOFTZ, "noftz") \
    X(TO, "to") /* cvta.to */ \
    X(VOLATILE, "volatile") \
    X(STRONG, "relaxed", "mmio") \
    X(NONCOHERENT, "nc") /* ld.global.nc */ \
    X(POLICY, "L2::cache_hint") /* a last operand holds it */ \
    X(BYPASS, NULL) /* cp.async.cg */ \
    X(OOB, "oob") \
    X(SPARSE, "sp") \
    X(NOINC, "noinc") \
    X(CLUSTER, "cluster") /* the scope, and barrier.cluster */ \
    X(ROW_A, "row") /* mma: the first .row or .col is of A, the second of B */ \
    X(COL_A, "col") \
    X(ROW_B, NULL) \
    X(COL_B, NULL) \
    X(PO, "po") /* vmad.po, vadd*.po */ \
    X(SHR7, "shr7") \
    X(SHR15, "shr15") \
    X(ACQUIRE, "acquire", "acq_rel", "sc") \
    X(RELEASE, "release") \
    X(PARITY, "parity") /* mbarrier waits */ \
    X(BULK, "bulk") /* cp.async.bulk */ \
    X(TENSORMAP, "tensormap") \
    X(READ, "read") /* cp.async.bulk.wait_group.read */ \
    X(REMOTE, NULL) /* .shared::cluster: an address in any CTA of the cluster */ \
    X(MULTICAST, "multicast::cluster") \
    X(REDUCE, "reduce") /* cp.reduce.async.bulk */ \
    X(PREFETCH, "prefetch") /* cp.async.bulk.prefetch */

/* What an instruction with variants does: atom.add, vote.any, shfl.bfly, vadd.….max, setp.….and, mma.….xor.popc:
 * X(name, words). NULL: as above. Where bind.c and op/ go by their order, a _Static_assert says so. */
#define PTX_SUBS(X) \
    X(ADD, "add") X(MIN, "min") X(MAX, "max") X(INC, "inc") X(DEC, "dec") X(AND, "and") X(OR, "or") X(XOR, "xor") \
    X(EXCH, "exch") X(CAS, "cas") X(POPC, "popc") X(ALL, "all") X(ANY, "any") X(UNI, NULL) X(BALLOT, "ballot") \
    X(UP, "up") X(DOWN, "down") X(BFLY, "bfly") X(IDX, "idx") X(SYNC, NULL) X(ARRIVE, "arrive") X(RED, "red") \
    X(WARP, "warp") X(PROXY, "proxy") X(ASYNC, "async") X(COMMIT_GROUP, "commit_group") X(WAIT_GROUP, "wait_group") \
    X(WAIT_ALL, "wait_all") X(MBARRIER, "mbarrier") X(TENSOR, "tensor") X(MMA, "mma_async", "mma") X(FENCE, "fence") \
    X(FRACTIONAL, "fractional") X(RANGE, "range") X(INIT, "init") X(INVAL, "inval") X(TEST_WAIT, "test_wait") \
    X(TRY_WAIT, "try_wait") X(EXPECT_TX, "expect_tx") X(COMPLETE_TX, "complete_tx") X(ARRIVE_DROP, "arrive_drop") \
    X(WAIT, "wait") X(LAUNCH_DEPENDENTS, "launch_dependents") X(MBARRIER_INIT, "mbarrier_init") \
    /* testp */ X(FINITE, "finite") X(INFINITE, "infinite") X(NUMBER, "number") X(NOTANUMBER, "notanumber") \
    X(NORMAL, "normal") X(SUBNORMAL, "subnormal") \
    /* prmt */ X(F4E, "f4e") X(B4E, "b4e") X(RC8, "rc8") X(ECL, "ecl") X(ECR, "ecr") X(RC16, "rc16")

/* Rounding: X(name, word). Those to an integer come last. */
#define PTX_ROUNDS(X) \
    X(RN, "rn") X(RZ, "rz") X(RM, "rm") X(RP, "rp") X(RNA, "rna") X(RS, "rs") X(RNI, "rni") X(RZI, "rzi") \
    X(RMI, "rmi") X(RPI, "rpi")

/* Comparisons: X(name, word). LO … HS are the unsigned ones, the …U ones are true if an operand is NaN. NULL: .lo
 * and .hi are flags elsewhere. */
#define PTX_COMPARES(X) \
    X(EQ, "eq") X(NE, "ne") X(LT, "lt") X(LE, "le") X(GT, "gt") X(GE, "ge") X(LO, NULL) X(LS, "ls") X(HI, NULL) \
    X(HS, "hs") X(EQU, "equ") X(NEU, "neu") X(LTU, "ltu") X(LEU, "leu") X(GTU, "gtu") X(GEU, "geu") X(NUM, "num") \
    X(NAN, "nan")

/* Types: X(name, word, bytes of one value in a register, is a float, is signed). */
#define PTX_TYPES(X) \
    X(PRED, "pred", 0, false, false) \
    X(B8, "b8", 1, false, false) \
    X(B16, "b16", 2, false, false) \
    X(B32, "b32", 4, false, false) \
    X(B64, "b64", 8, false, false) \
    X(B128, "b128", 16, false, false) \
    X(U8, "u8", 1, false, false) \
    X(U16, "u16", 2, false, false) \
    X(U32, "u32", 4, false, false) \
    X(U64, "u64", 8, false, false) \
    X(S8, "s8", 1, false, true) \
    X(S16, "s16", 2, false, true) \
    X(S32, "s32", 4, false, true) \
    X(S64, "s64", 8, false, true) \
    X(F16, "f16", 2, true, true) \
    X(F16X2, "f16x2", 4, true, true) \
    X(BF16, "bf16", 2, true, true) \
    X(BF16X2, "bf16x2", 4, true, true) \
    X(TF32, "tf32", 4, true, true) \
    X(F32, "f32", 4, true, true) \
    X(F64, "f64", 8, true, true) \
    X(U16X2, "u16x2", 4, false, false) \
    X(S16X2, "s16x2", 4, false, true) \
    X(F32X2, "f32x2", 8, true, true) \
    X(U4, "u4", 4, false, false) \
    X(S4, "s4", 4, false, true) \
    X(B1, "b1", 4, false, false) \
    X(E4M3, "e4m3", 1, true, true) \
    X(E5M2, "e5m2", 1, true, true) \
    X(E4M3X2, "e4m3x2", 2, true, true) \
    X(E5M2X2, "e5m2x2", 2, true, true)

/* Special registers: X(name, word). */
#define PTX_SPECIALS(X) \
    X(TID_X, "%tid.x") X(TID_Y, "%tid.y") X(TID_Z, "%tid.z") X(NTID_X, "%ntid.x") X(NTID_Y, "%ntid.y") \
    X(NTID_Z, "%ntid.z") X(CTAID_X, "%ctaid.x") X(CTAID_Y, "%ctaid.y") X(CTAID_Z, "%ctaid.z") \
    X(NCTAID_X, "%nctaid.x") X(NCTAID_Y, "%nctaid.y") X(NCTAID_Z, "%nctaid.z") X(LANEID, "%laneid") \
    X(WARPID, "%warpid") X(NWARPID, "%nwarpid") X(SMID, "%smid") X(NSMID, "%nsmid") X(GRIDID, "%gridid") \
    X(LANEMASK_EQ, "%lanemask_eq") X(LANEMASK_LE, "%lanemask_le") X(LANEMASK_LT, "%lanemask_lt") \
    X(LANEMASK_GE, "%lanemask_ge") X(LANEMASK_GT, "%lanemask_gt") X(CLOCK, "%clock") X(CLOCK_HI, "%clock_hi") \
    X(CLOCK64, "%clock64") X(GLOBALTIMER, "%globaltimer") X(GLOBALTIMER_LO, "%globaltimer_lo") \
    X(GLOBALTIMER_HI, "%globaltimer_hi") X(DYNAMIC_SMEM_SIZE, "%dynamic_smem_size") \
    X(TOTAL_SMEM_SIZE, "%total_smem_size") X(AGGR_SMEM_SIZE, "%aggr_smem_size") \
    X(RESERVED_SMEM_OFFSET_BEGIN, "%reserved_smem_offset_begin") \
    X(RESERVED_SMEM_OFFSET_END, "%reserved_smem_offset_end") \
    X(RESERVED_SMEM_OFFSET_CAP, "%reserved_smem_offset_cap") X(RESERVED_SMEM_OFFSET_0, "%reserved_smem_offset_0") \
    X(RESERVED_SMEM_OFFSET_1, "%reserved_smem_offset_1") X(CLUSTERID_X, "%clusterid.x") \
    X(CLUSTERID_Y, "%clusterid.y") X(CLUSTERID_Z, "%clusterid.z") X(NCLUSTERID_X, "%nclusterid.x") \
    X(NCLUSTERID_Y, "%nclusterid.y") X(NCLUSTERID_Z, "%nclusterid.z") X(CLUSTER_CTAID_X, "%cluster_ctaid.x") \
    X(CLUSTER_CTAID_Y, "%cluster_ctaid.y") X(CLUSTER_CTAID_Z, "%cluster_ctaid.z") \
    X(CLUSTER_NCTAID_X, "%cluster_nctaid.x") X(CLUSTER_NCTAID_Y, "%cluster_nctaid.y") \
    X(CLUSTER_NCTAID_Z, "%cluster_nctaid.z") X(CLUSTER_CTARANK, "%cluster_ctarank") \
    X(CLUSTER_NCTARANK, "%cluster_nctarank") X(IS_EXPLICIT_CLUSTER, "%is_explicit_cluster") X(TID_W, "%tid.w") \
    X(ENVREG1, "%envreg1") X(ENVREG2, "%envreg2")
/* clang-format on */

#endif
