/* The lists of PTX (ptx/lists.h): every entry has a word that finds it, every instruction somebody who executes it, its
 * pipe, and the lanes that must execute it together. */
#include "runtime/softgpu/ptx/module.h"
#include "runtime/softgpu/ptx/names.h"
#include "world.h"

static struct modifier word(enum ptx_op op, const char *text) {
    return modifier_find(op, text, strlen(text));
}

static void expect_word(enum ptx_op op, const char *text, enum modifier_kind kind, uint32_t value) {
    const struct modifier m = word(op, text);
    if (m.kind != kind || m.value != value)
        fail_msg("%s.%s is modifier %u of kind %d, not %u of kind %d", op_name(op), text, m.value, m.kind, value, kind);
}

static void mnemonics(void **state) {
    (void)state;
    for (int op = 0; op < OP_COUNT; op++)
        assert_int_equal(op_find(op_name((enum ptx_op)op), strlen(op_name((enum ptx_op)op))), op);
    assert_int_equal(op_find("ad", 2), OP_COUNT);
    assert_int_equal(op_find("addx", 4), OP_COUNT);
}

static void types(void **state) {
    (void)state;
    for (int type = T_PRED; type < T_COUNT; type++) {
        const char *name = type_name((enum ptx_type)type);
        assert_int_equal(type_find(name, strlen(name)), type);
        expect_word(OP_add, name, MOD_TYPE, (uint32_t)type);
        /* The number at the end of a name is the bits of one element. */
        const char *digits = name + strcspn(name, "0123456789"), *pair = strstr(name, "x2");
        unsigned bits = type == T_PRED ? 0 : type == T_TF32 ? 32 : (unsigned)atoi(digits) * (pair ? 2 : 1);
        if (name[0] == 'e')
            bits = pair ? 16 : 8;
        if (type == T_U4 || type == T_S4 || type == T_B1)
            bits = 32; /* eight, or 32, of them in a register */
        assert_int_equal(8 * type_size((enum ptx_type)type), bits);
        assert_int_equal(type_is_float((enum ptx_type)type), strchr("fet", name[0]) || !strncmp(name, "bf", 2));
        assert_int_equal(type_is_signed((enum ptx_type)type), name[0] == 's' || type_is_float((enum ptx_type)type));
    }
    assert_int_equal(type_find("", 0), T_NONE);
}

static void special_registers(void **state) {
    (void)state;
#define ROW(name, text) {SR_##name, text},
    static const struct {
        enum ptx_special number;
        const char *text;
    } list[] = {PTX_SPECIALS(ROW)};
#undef ROW
    assert_int_equal(sizeof list / sizeof *list, SR_COUNT - 1);
    for (size_t k = 0; k < sizeof list / sizeof *list; k++)
        assert_int_equal(special_find(list[k].text, strlen(list[k].text)), list[k].number);
    assert_int_equal(special_find("%tid", 4), SR_NONE);
    assert_int_equal(special_find("", 0), SR_NONE);
}

/* What no word means everywhere, and the words that mean it in one instruction. */
static const struct {
    enum ptx_op op;
    const char *text;
    enum modifier_kind kind;
    uint32_t value;
} only_in[] = {{OP_cp, "cg", MOD_FLAG, BIT_BYPASS},
               {OP_bar, "sync", MOD_SUB, SUB_SYNC},
               {OP_vote, "uni", MOD_SUB, SUB_UNI},
               {OP_setp, "lo", MOD_COMPARE, CMP_LO},
               {OP_set, "hi", MOD_COMPARE, CMP_HI}};

static bool is_only_in(enum modifier_kind kind, uint32_t value) {
    for (size_t k = 0; k < sizeof only_in / sizeof *only_in; k++)
        if (only_in[k].kind == kind && only_in[k].value == value)
            return true;
    return kind == MOD_FLAG && (value == BIT_ROW_B || value == BIT_COL_B || value == BIT_REMOTE); /* test flags() */
}

static void modifiers(void **state) {
    (void)state;
#define ROUND(name, ...)   {MOD_ROUND, RND_##name, {__VA_ARGS__}},
#define COMPARE(name, ...) {MOD_COMPARE, CMP_##name, {__VA_ARGS__}},
#define SUB(name, ...)     {MOD_SUB, SUB_##name, {__VA_ARGS__}},
#define BIT(name, ...)     {MOD_FLAG, BIT_##name, {__VA_ARGS__}},
    static const struct {
        enum modifier_kind kind;
        uint32_t value;
        const char *words[3];
    } list[] = {PTX_ROUNDS(ROUND) PTX_COMPARES(COMPARE) PTX_SUBS(SUB) PTX_FLAGS(BIT)};
    assert_int_equal(sizeof list / sizeof *list, RND_COUNT + CMP_COUNT + SUB_COUNT - 3 + FLAG_COUNT);
    for (size_t k = 0; k < sizeof list / sizeof *list; k++) {
        if (!list[k].words[0] != is_only_in(list[k].kind, list[k].value))
            fail_msg("modifier %u of kind %d has no word", list[k].value, list[k].kind);
        for (int n = 0; n < 3 && list[k].words[n]; n++)
            expect_word(OP_add, list[k].words[n], list[k].kind, list[k].value);
    }
    for (size_t k = 0; k < sizeof only_in / sizeof *only_in; k++)
        expect_word(only_in[k].op, only_in[k].text, only_in[k].kind, only_in[k].value);
    expect_word(OP_mul, "lo", MOD_FLAG, BIT_LO);
    expect_word(OP_ld, "cg", MOD_IGNORE, 0);
    expect_word(OP_ld, "L2::128B", MOD_IGNORE, 0);
    expect_word(OP_mma, "m16n8k32", MOD_SHAPE, 16 | 8 << 10 | 32 << 20);
    assert_int_equal(word(OP_mma, "m16n8k").kind, MOD_UNKNOWN);
    assert_int_equal(word(OP_mma, "m4294967304n8").kind, MOD_UNKNOWN); /* not m8n8 */
    assert_int_equal(word(OP_add, "").kind, MOD_UNKNOWN);
}

/* One instruction of each kind as it is bound: its pipe, and whether the lanes of the warp must execute it
 * together. For mnemonics whose pipe depends on more, a row for each way. SG_PIPE_NONE: it is refused. */
static const struct row {
    enum ptx_op op;
    enum sg_pipe pipe;
    bool together;
    const char *text;
} rows[] = {
    {OP_abs, SG_PIPE_ALU, false, "abs.s32 %r1, %r2;"},
    {OP_activemask, SG_PIPE_ALU, false, "activemask.b32 %r1;"},
    {OP_add, SG_PIPE_ALU, false, "add.u64 %d1, %d2, %d3;"},
    {OP_add, SG_PIPE_FMA, false, "add.f32 %r1, %r2, %r3;"},
    {OP_add, SG_PIPE_FP64, false, "add.f64 %d1, %d2, %d3;"},
    {OP_add, SG_PIPE_HALF, false, "add.f16 %h1, %h2, %h3;"},
    {OP_add, SG_PIPE_HALF, false, "add.f16x2 %r1, %r2, %r3;"},
    {OP_addc, SG_PIPE_ALU, false, "addc.u32 %r1, %r2, %r3;"},
    {OP_unknown, SG_PIPE_NONE, false, "unknown.u32 %r1, %r2;"},
    {OP_alloca, SG_PIPE_NONE, false, "alloca.u32 %r1, %r2;"},
    {OP_and, SG_PIPE_ALU, false, "and.b32 %r1, %r2, %r3;"},
    {OP_applypriority, SG_PIPE_LSU, false, "applypriority.global.L2::evict_normal [%d1], 128;"},
    {OP_atom, SG_PIPE_LSU, false, "atom.global.add.u32 %r1, [%d1], %r2;"},
    {OP_bar, SG_PIPE_BRANCH, false, "bar.sync 0;"},
    {OP_barrier, SG_PIPE_BRANCH, false, "barrier.cluster.arrive;"},
    {OP_bfe, SG_PIPE_ALU, false, "bfe.u32 %r1, %r2, %r3, %r4;"},
    {OP_bfi, SG_PIPE_ALU, false, "bfi.b32 %r1, %r2, %r3, %r4, %r5;"},
    {OP_bfind, SG_PIPE_XU, false, "bfind.u32 %r1, %r2;"},
    {OP_bmsk, SG_PIPE_ALU, false, "bmsk.clamp.b32 %r1, %r2, %r3;"},
    {OP_bra, SG_PIPE_BRANCH, false, "bra DONE;"},
    {OP_brev, SG_PIPE_XU, false, "brev.b32 %r1, %r2;"},
    {OP_brkpt, SG_PIPE_BRANCH, false, "brkpt;"},
    {OP_brx, SG_PIPE_BRANCH, false, "T: .branchtargets DONE; brx.idx %r1, T;"},
    {OP_call, SG_PIPE_BRANCH, false, "call.uni g;"},
    {OP_clz, SG_PIPE_XU, false, "clz.b32 %r1, %r2;"},
    {OP_cnot, SG_PIPE_ALU, false, "cnot.b32 %r1, %r2;"},
    {OP_copysign, SG_PIPE_ALU, false, "copysign.f32 %r1, %r2, %r3;"},
    {OP_cos, SG_PIPE_XU, false, "cos.approx.f32 %r1, %r2;"},
    {OP_cp, SG_PIPE_LSU, false, "cp.async.cg.shared.global [%r1], [%d1], 16;"},
    {OP_createpolicy, SG_PIPE_ALU, false, "createpolicy.fractional.L2::evict_last.b64 %d1, 0f3F800000;"},
    {OP_cvt, SG_PIPE_ALU, false, "cvt.u64.u32 %d1, %r1;"},
    {OP_cvt, SG_PIPE_ALU, false, "cvt.rn.f16x2.f32 %r1, %r2, %r3;"},
    {OP_cvt, SG_PIPE_ALU, false, "cvt.rn.bf16.f32 %h1, %r1;"},
    {OP_cvt, SG_PIPE_HALF, false, "cvt.f32.f16 %r1, %h1;"},
    {OP_cvt, SG_PIPE_XU, false, "cvt.rn.f32.s32 %r1, %r2;"},
    {OP_cvt, SG_PIPE_XU, false, "cvt.rni.s32.f32 %r1, %r2;"},
    {OP_cvt, SG_PIPE_XU, false, "cvt.rni.f32.f32 %r1, %r2;"},
    {OP_cvt, SG_PIPE_XU, false, "cvt.f64.f32 %d1, %r1;"},
    {OP_cvta, SG_PIPE_ALU, false, "cvta.to.global.u64 %d1, %d2;"},
    {OP_discard, SG_PIPE_LSU, false, "discard.global.L2 [%d1], 128;"},
    {OP_div, SG_PIPE_XU, false, "div.s32 %r1, %r2, %r3;"},
    {OP_dp2a, SG_PIPE_IMAD, false, "dp2a.lo.u32.u32 %r1, %r2, %r3, %r4;"},
    {OP_dp4a, SG_PIPE_IMAD, false, "dp4a.s32.s32 %r1, %r2, %r3, %r4;"},
    {OP_elect, SG_PIPE_ALU, false, "elect.sync %r1|%p1, -1;"},
    {OP_ex2, SG_PIPE_XU, false, "ex2.approx.f32 %r1, %r2;"},
    {OP_exit, SG_PIPE_BRANCH, false, "exit;"},
    {OP_fence, SG_PIPE_LSU, false, "fence.acq_rel.gpu;"},
    {OP_fma, SG_PIPE_FMA, false, "fma.rn.f32 %r1, %r2, %r3, %r4;"},
    {OP_fma, SG_PIPE_HALF, false, "fma.rn.bf16x2 %r1, %r2, %r3, %r4;"},
    {OP_fns, SG_PIPE_ALU, false, "fns.b32 %r1, %r2, %r3, %r4;"},
    {OP_getctarank, SG_PIPE_ALU, false, "getctarank.shared::cluster.u32 %r1, %r2;"},
    {OP_griddepcontrol, SG_PIPE_LSU, false, "griddepcontrol.wait;"},
    {OP_isspacep, SG_PIPE_ALU, false, "isspacep.shared %p1, %d1;"},
    {OP_istypep, SG_PIPE_NONE, false, "istypep %p1, %d1;"},
    {OP_ld, SG_PIPE_LSU, false, "ld.global.v2.u32 {%r1, %r2}, [%d1];"},
    {OP_ldmatrix, SG_PIPE_LSU, true, "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r1, %r2}, [%r3];"},
    {OP_ldu, SG_PIPE_LSU, false, "ldu.global.u32 %r1, [%d1];"},
    {OP_lg2, SG_PIPE_XU, false, "lg2.approx.f32 %r1, %r2;"},
    {OP_lop3, SG_PIPE_ALU, false, "lop3.b32 %r1, %r2, %r3, %r4, 0x96;"},
    {OP_mad, SG_PIPE_IMAD, false, "mad.lo.s32 %r1, %r2, %r3, %r4;"},
    {OP_mad, SG_PIPE_FP64, false, "mad.rn.f64 %d1, %d2, %d3, %d4;"},
    {OP_mad24, SG_PIPE_IMAD, false, "mad24.lo.s32 %r1, %r2, %r3, %r4;"},
    {OP_madc, SG_PIPE_IMAD, false, "madc.lo.u32 %r1, %r2, %r3, %r4;"},
    {OP_mapa, SG_PIPE_ALU, false, "mapa.shared::cluster.u32 %r1, %r2, 1;"},
    {OP_match, SG_PIPE_LSU, false, "match.any.sync.b32 %r1, %r2, -1;"},
    {OP_max, SG_PIPE_ALU, false, "max.f32 %r1, %r2, %r3;"},
    {OP_max, SG_PIPE_ALU, false, "max.f16 %h1, %h2, %h3;"},
    {OP_max, SG_PIPE_FP64, false, "max.f64 %d1, %d2, %d3;"},
    {OP_mbarrier, SG_PIPE_LSU, false, "mbarrier.init.shared.b64 [%r1], 1;"},
    {OP_membar, SG_PIPE_LSU, false, "membar.gl;"},
    {OP_min, SG_PIPE_ALU, false, "min.s32 %r1, %r2, %r3;"},
    {OP_mma, SG_PIPE_TENSOR, true,
     "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%r1, %r2}, {%r3}, {%r4}, {%r5, %r6};"},
    {OP_mov, SG_PIPE_ALU, false, "mov.b32 %r1, %r2;"},
    {OP_mov, SG_PIPE_ALU, false, "mov.u32 %r1, %laneid;"},
    {OP_movmatrix, SG_PIPE_ALU, true, "movmatrix.sync.aligned.m8n8.trans.b16 %r1, %r2;"},
    {OP_mul, SG_PIPE_IMAD, false, "mul.wide.u32 %d1, %r1, %r2;"},
    {OP_mul, SG_PIPE_FP64, false, "mul.f64 %d1, %d2, %d3;"},
    {OP_mul24, SG_PIPE_IMAD, false, "mul24.lo.u32 %r1, %r2, %r3;"},
    {OP_multimem, SG_PIPE_NONE, false, "multimem.red.add.u32 [%d1], %r1;"},
    {OP_nanosleep, SG_PIPE_LSU, false, "nanosleep.u32 100;"},
    {OP_neg, SG_PIPE_ALU, false, "neg.f64 %d1, %d2;"},
    {OP_not, SG_PIPE_ALU, false, "not.pred %p1, %p2;"},
    {OP_or, SG_PIPE_ALU, false, "or.b64 %d1, %d2, %d3;"},
    {OP_pmevent, SG_PIPE_LSU, false, "pmevent 1;"},
    {OP_popc, SG_PIPE_XU, false, "popc.b32 %r1, %r2;"},
    {OP_prefetch, SG_PIPE_LSU, false, "prefetch.global.L2 [%d1];"},
    {OP_prefetchu, SG_PIPE_LSU, false, "prefetchu.L1 [%d1];"},
    {OP_prmt, SG_PIPE_ALU, false, "prmt.b32 %r1, %r2, %r3, 0x3210;"},
    {OP_rcp, SG_PIPE_XU, false, "rcp.rn.f32 %r1, %r2;"},
    {OP_red, SG_PIPE_LSU, false, "red.global.add.u32 [%d1], %r2;"},
    {OP_redux, SG_PIPE_LSU, false, "redux.sync.add.s32 %r1, %r2, -1;"},
    {OP_rem, SG_PIPE_XU, false, "rem.u32 %r1, %r2, %r3;"},
    {OP_ret, SG_PIPE_BRANCH, false, "ret;"},
    {OP_rsqrt, SG_PIPE_XU, false, "rsqrt.approx.f32 %r1, %r2;"},
    {OP_sad, SG_PIPE_ALU, false, "sad.u32 %r1, %r2, %r3, %r4;"},
    {OP_selp, SG_PIPE_ALU, false, "selp.b32 %r1, %r2, %r3, %p1;"},
    {OP_set, SG_PIPE_ALU, false, "set.lt.u32.f64 %r1, %d1, %d2;"},
    {OP_setmaxnreg, SG_PIPE_LSU, true, "setmaxnreg.dec.sync.aligned.u32 40;"},
    {OP_setp, SG_PIPE_ALU, false, "setp.lt.f32 %p1, %r1, %r2;"},
    {OP_setp, SG_PIPE_FP64, false, "setp.lt.f64 %p1, %d1, %d2;"},
    {OP_shf, SG_PIPE_ALU, false, "shf.l.wrap.b32 %r1, %r2, %r3, %r4;"},
    {OP_shfl, SG_PIPE_LSU, false, "shfl.sync.bfly.b32 %r1, %r2, 1, 31, -1;"},
    {OP_shl, SG_PIPE_ALU, false, "shl.b32 %r1, %r2, %r3;"},
    {OP_shr, SG_PIPE_ALU, false, "shr.u32 %r1, %r2, %r3;"},
    {OP_sin, SG_PIPE_XU, false, "sin.approx.f32 %r1, %r2;"},
    {OP_slct, SG_PIPE_ALU, false, "slct.b32.s32 %r1, %r2, %r3, %r4;"},
    {OP_sqrt, SG_PIPE_XU, false, "sqrt.rn.f64 %d1, %d2;"},
    {OP_st, SG_PIPE_LSU, false, "st.shared.u32 [%r1], %r2;"},
    {OP_stackrestore, SG_PIPE_NONE, false, "stackrestore.u32 %r1;"},
    {OP_stacksave, SG_PIPE_NONE, false, "stacksave.u32 %r1;"},
    {OP_stmatrix, SG_PIPE_LSU, true, "stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r1], {%r2};"},
    {OP_sub, SG_PIPE_ALU, false, "sub.s32 %r1, %r2, %r3;"},
    {OP_sub, SG_PIPE_FMA, false, "sub.f32 %r1, %r2, %r3;"},
    {OP_subc, SG_PIPE_ALU, false, "subc.u32 %r1, %r2, %r3;"},
    {OP_szext, SG_PIPE_ALU, false, "szext.wrap.s32 %r1, %r2, %r3;"},
    {OP_tanh, SG_PIPE_XU, false, "tanh.approx.f32 %r1, %r2;"},
    {OP_testp, SG_PIPE_ALU, false, "testp.finite.f32 %p1, %r1;"},
    {OP_trap, SG_PIPE_BRANCH, false, "trap;"},
    {OP_vabsdiff, SG_PIPE_ALU, false, "vabsdiff.u32.u32.u32 %r1, %r2, %r3;"},
    {OP_vabsdiff2, SG_PIPE_ALU, false, "vabsdiff2.u32.u32.u32 %r1, %r2, %r3, %r4;"},
    {OP_vabsdiff4, SG_PIPE_ALU, false, "vabsdiff4.u32.u32.u32 %r1, %r2, %r3, %r4;"},
    {OP_vadd, SG_PIPE_ALU, false, "vadd.u32.u32.u32 %r1, %r2.b0, %r3.h1;"},
    {OP_vadd2, SG_PIPE_ALU, false, "vadd2.u32.u32.u32 %r1, %r2, %r3, %r4;"},
    {OP_vadd4, SG_PIPE_ALU, false, "vadd4.u32.u32.u32 %r1, %r2, %r3, %r4;"},
    {OP_vavrg2, SG_PIPE_ALU, false, "vavrg2.u32.u32.u32 %r1, %r2, %r3, %r4;"},
    {OP_vavrg4, SG_PIPE_ALU, false, "vavrg4.u32.u32.u32 %r1, %r2, %r3, %r4;"},
    {OP_vmad, SG_PIPE_ALU, false, "vmad.u32.u32.u32 %r1, %r2, %r3, %r4;"},
    {OP_vmax, SG_PIPE_ALU, false, "vmax.s32.s32.s32 %r1, %r2, %r3;"},
    {OP_vmax2, SG_PIPE_ALU, false, "vmax2.s32.s32.s32 %r1, %r2, %r3, %r4;"},
    {OP_vmax4, SG_PIPE_ALU, false, "vmax4.s32.s32.s32 %r1, %r2, %r3, %r4;"},
    {OP_vmin, SG_PIPE_ALU, false, "vmin.s32.s32.s32 %r1, %r2, %r3;"},
    {OP_vmin2, SG_PIPE_ALU, false, "vmin2.s32.s32.s32 %r1, %r2, %r3, %r4;"},
    {OP_vmin4, SG_PIPE_ALU, false, "vmin4.s32.s32.s32 %r1, %r2, %r3, %r4;"},
    {OP_vote, SG_PIPE_ALU, false, "vote.sync.all.pred %p1, %p2, -1;"},
    {OP_vset, SG_PIPE_ALU, false, "vset.u32.u32.lt %r1, %r2, %r3;"},
    {OP_vset2, SG_PIPE_ALU, false, "vset2.u32.u32.lt %r1, %r2, %r3, %r4;"},
    {OP_vset4, SG_PIPE_ALU, false, "vset4.u32.u32.lt %r1, %r2, %r3, %r4;"},
    {OP_vshl, SG_PIPE_ALU, false, "vshl.u32.u32.u32.clamp %r1, %r2, %r3;"},
    {OP_vshr, SG_PIPE_ALU, false, "vshr.u32.u32.u32.wrap %r1, %r2, %r3;"},
    {OP_vsub, SG_PIPE_ALU, false, "vsub.u32.u32.u32 %r1, %r2, %r3;"},
    {OP_vsub2, SG_PIPE_ALU, false, "vsub2.u32.u32.u32 %r1, %r2, %r3, %r4;"},
    {OP_vsub4, SG_PIPE_ALU, false, "vsub4.u32.u32.u32 %r1, %r2, %r3, %r4;"},
    {OP_wgmma, SG_PIPE_BRANCH, true, "wgmma.fence.sync.aligned;"},
    {OP_wgmma, SG_PIPE_BRANCH, true, "wgmma.commit_group.sync.aligned;"},
    {OP_wgmma, SG_PIPE_BRANCH, true, "wgmma.wait_group.sync.aligned 0;"},
    {OP_wgmma, SG_PIPE_TENSOR, true,
     "wgmma.mma_async.sync.aligned.m64n8k32.s32.s8.s8 {%r1, %r2, %r3, %r4}, {%r5, %r6, %r7, %r8}, %d1, %p1;"},
    {OP_wmma, SG_PIPE_NONE, false, "wmma.mma.sync.aligned.m16n16k16.row.col.f16.f16 {%r1}, {%r2}, {%r3}, {%r4};"},
    {OP_xor, SG_PIPE_ALU, false, "xor.b16 %h1, %h2, %h3;"},
};

/* The instruction is the only one of its mnemonic in the kernel's text. NULL: it is refused. */
static struct sg_module *parse(const char *text, char *error, size_t size) {
    char ptx[1024];
    snprintf(ptx, sizeof ptx,
             PTX_HEAD ".func g() { ret; }\n.visible .entry k()\n"
                      "{ .reg .pred %%p<4>; .reg .b16 %%h<4>; .reg .b32 %%r<9>; .reg .b64 %%d<5>;\n%s\nDONE: exit; }\n",
             text);
    return sg_module_parse(ptx, strlen(ptx), error, size);
}

static const struct insn *find_insn(const struct sg_module *m, const struct row *row) {
    const struct sg_function *k = sg_module_function(m, "k");
    for (uint32_t at = k->first; at < k->end; at++)
        if (m->code[at].op == row->op)
            return &m->code[at];
    return NULL;
}

static void instructions(void **state) {
    (void)state;
    bool seen[OP_COUNT] = {false};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        char error[256] = "";
        struct sg_module *m = parse(rows[k].text, error, sizeof error);
        const struct insn *i = m ? find_insn(m, &rows[k]) : NULL;
        seen[rows[k].op] = true;
        if (rows[k].pipe == SG_PIPE_NONE) {
            const char *lacks = m ? sg_module_lacks(m, 0) : error;
            const char *why = rows[k].op == OP_unknown ? "unknown instruction unknown"
                                                       : "the software device does not execute this instruction";
            if (!lacks || strncmp(lacks, "PTX line 7: ", 12) != 0 || !strstr(lacks, why) ||
                !strstr(lacks, op_name(rows[k].op)))
                fail_msg("'%s' is not named as missing: '%s'", rows[k].text, lacks ? lacks : "");
        } else if (!i) {
            fail_msg("'%s' is refused: '%s'", rows[k].text, error);
        } else if (i->pipe != rows[k].pipe || !(i->guarded & GUARD_TOGETHER) == rows[k].together) {
            fail_msg("'%s' has pipe %d and guard %d", rows[k].text, i->pipe, i->guarded);
        }
        sg_module_free(m);
    }
    for (int op = 0; op < OP_COUNT; op++)
        if (!seen[op])
            fail_msg("%s has no row in this test", op_name((enum ptx_op)op));
}

/* Flags that code sets: the second layout of mma, and .shared::cluster. */
static void flags(void **state) {
    (void)state;
    static const struct {
        enum ptx_op op;
        uint64_t flags;
        const char *text;
    } list[] = {
        {OP_mma, F_SYNC | F_ALIGNED | F_ROW_A | F_COL_B,
         "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%r1, %r2}, {%r3}, {%r4}, {%r5, %r6};"},
        {OP_st, F_REMOTE, "st.shared::cluster.u32 [%r1], %r2;"},
        {OP_st, F_POLICY, "st.global.L2::cache_hint.u32 [%d1], %r2, %d2;"},
        {OP_st, F_RELEASE, "st.release.gpu.global.u32 [%d1], %r2;"},
        {OP_cp, F_BYPASS, "cp.async.cg.shared.global [%r1], [%d1], 16;"},
        {OP_cp, 0, "cp.async.ca.shared.global [%r1], [%d1], 16;"},
    };
    for (size_t k = 0; k < sizeof list / sizeof *list; k++) {
        char error[256] = "";
        struct sg_module *m = parse(list[k].text, error, sizeof error);
        if (!m)
            fail_msg("%s", error);
        assert_int_equal(find_insn(m, &(struct row){.op = list[k].op})->flags, list[k].flags);
        sg_module_free(m);
    }
    /* B by rows is another product than the one that the machine has. */
    char error[256] = "";
    struct sg_module *m = parse("mma.sync.aligned.m8n8k16.row.row.s32.s8.s8.s32 {%r1, %r2}, {%r3}, {%r4}, {%r5, %r6};",
                                error, sizeof error);
    assert_non_null(m);
    assert_non_null(strstr(sg_module_lacks(m, 0), "mma"));
    assert_null(sg_module_lacks(m, 1));
    sg_module_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mnemonics), cmocka_unit_test(types),        cmocka_unit_test(special_registers),
        cmocka_unit_test(modifiers), cmocka_unit_test(instructions), cmocka_unit_test(flags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
