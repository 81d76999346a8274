/* Which forms of an instruction the machine knows. Beside each form that it takes stand the forms that are one change
 * away from it: none of them may be taken for the known one, and each is refused with a sentence that quotes it. */
#include "forms.h"

#define ARITHMETIC ": this combination of types and modifiers is not known"

static void test_matrices(void **state) {
    (void)state;
    static const struct forms table[] = {
        {"ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%r1, %r2, %r3, %r4}, [%r5];",
         "ldmatrix.b16" ARITHMETIC,
         {"ldmatrix.sync.aligned.m8n16.x4.shared.b16 {%r1, %r2, %r3, %r4}, [%r5];",
          "ldmatrix.sync.aligned.m16n8.x4.shared.b16 {%r1, %r2, %r3, %r4}, [%r5];",
          "ldmatrix.sync.aligned.m16n16.x4.shared.b16 {%r1, %r2, %r3, %r4}, [%r5];",
          "ldmatrix.sync.aligned.x4.shared.b16 {%r1, %r2, %r3, %r4}, [%r5];",
          "ldmatrix.sync.aligned.m8n8.shared.b16 {%r1, %r2, %r3, %r4}, [%r5];",
          "ldmatrix.sync.aligned.m8n8.shared.b16 %r1, [%r5];",
          "ldmatrix.sync.aligned.m8n8.3d.shared.b16 {%r1, %r2, %r3}, [%r5];",
          "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1, %r2, %r3}, [%r5];",
          "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r1, %r2, %r3}, [%r5];",
          "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r1, %r2}, [%r5];",
          "ldmatrix.sync.aligned.m8n8.x2.shared.b16 %r1, [%r5];",
          "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1, %r2, %r3, %r4}, %r5;",
          "ldmatrix.sync.aligned.m8n8.x4.global.b16 {%r1, %r2, %r3, %r4}, [%rd5];",
          "ldmatrix.sync.aligned.m8n8.x4.shared::cluster.b16 {%r1, %r2, %r3, %r4}, [%r5];",
          "ldmatrix.sync.aligned.relu.m8n8.x4.shared.b16 {%r1, %r2, %r3, %r4}, [%r5];"}},
        {"ldmatrix.sync.aligned.m8n8.x1.b16 {%r1}, [%rd5];",
         "ldmatrix.b8" ARITHMETIC,
         {"ldmatrix.sync.aligned.m8n8.x1.shared.b8 {%r1}, [%r5];"}},
        {"ldmatrix.sync.aligned.m8n8.x2.shared::cta.b16 {%r1, %r2}, [%r5+16];",
         "ldmatrix.b16.b16" ARITHMETIC,
         {"ldmatrix.sync.aligned.m8n8.x2.shared.b16.b16 {%r1, %r2}, [%r5];"}},
        {"ldmatrix.sync.aligned.m8n8.x1.shared.b16 %r1, [%r5];",
         "ldmatrix" ARITHMETIC,
         {"ldmatrix.sync.aligned.m8n8.x1.shared %r1, [%r5];"}},
        {"stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%r5], {%r1, %r2};",
         "stmatrix.b16" ARITHMETIC,
         {"stmatrix.sync.aligned.m8n16.x2.shared.b16 [%r5], {%r1, %r2};",
          "stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r5], {%r1, %r2};",
          "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%r5], {%r1, %r2};",
          "stmatrix.sync.aligned.m8n8.x2.shared.b16 %r5, {%r1, %r2};",
          "stmatrix.sync.aligned.m8n8.x2.global.b16 [%rd5], {%r1, %r2};"}},
        {"stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r5], {%r1};",
         "stmatrix.b8" ARITHMETIC,
         {"stmatrix.sync.aligned.m8n8.x1.shared.b8 [%r5], {%r1};"}},
        {"movmatrix.sync.aligned.m8n8.trans.b16 %r1, %r2;",
         "movmatrix.b16" ARITHMETIC,
         {"movmatrix.sync.aligned.m8n8.b16 %r1, %r2;", "movmatrix.sync.aligned.m8n16.trans.b16 %r1, %r2;",
          "movmatrix.sync.aligned.m16n8.trans.b16 %r1, %r2;"}},
        {"movmatrix.sync.aligned.m8n8.trans.b16 %r1, %r1;",
         "movmatrix.b32" ARITHMETIC,
         {"movmatrix.sync.aligned.m8n8.trans.b32 %r1, %r2;"}},
    };
    CHECK(table);
}

#define A2 "{%r1, %r2}"
#define A4 "{%r1, %r2, %r3, %r4}"
#define B1 "{%r5}"
#define B2 "{%r5, %r6}"
#define C4 "{%r8, %r9, %r10, %r11}"
#define D4 "{%r12, %r13, %r14, %r15}"

static void test_mma(void **state) {
    (void)state;
    static const struct forms table[] = {
        {"mma.sync.aligned.m16n8k32.row.col.satfinite.s32.s8.u8.s32 " D4 ", " A4 ", " B2 ", " C4 ";",
         "mma.s32.s8" ARITHMETIC,
         {"mma.sync.aligned.m16n8k32.col.col.s32.s8.u8.s32 " D4 ", " A4 ", " B2 ", " C4 ";",
          "mma.sync.aligned.m16n8k32.row.row.s32.s8.u8.s32 " D4 ", " A4 ", " B2 ", " C4 ";",
          "mma.sync.aligned.m16n8k32.row.s32.s8.u8.s32 " D4 ", " A4 ", " B2 ", " C4 ";",
          "mma.sync.aligned.m16n8k32.s32.s8.u8.s32 " D4 ", " A4 ", " B2 ", " C4 ";",
          "mma.sp.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 " D4 ", " A4 ", " B2 ", " C4 ";",
          "mma.sync.aligned.m32n8k32.row.col.s32.s8.u8.s32 " D4 ", " A4 ", " B2 ", " C4 ";",
          "mma.sync.aligned.m16n16k32.row.col.s32.s8.u8.s32 " D4 ", " A4 ", " B2 ", " C4 ";",
          "mma.sync.aligned.m16n8k24.row.col.s32.s8.u8.s32 " D4 ", " A4 ", " B2 ", " C4 ";",
          "mma.sync.aligned.m16n8k64.row.col.s32.s8.u8.s32 " D4 ", " A4 ", " B2 ", " C4 ";",
          "mma.sync.aligned.m16n8k16.row.col.s32.s8.u8.s32 " D4 ", " A4 ", " B2 ", " C4 ";",
          "mma.sync.aligned.m16n8k32.row.col.s32.s8.s4.s32 " D4 ", " A4 ", " B2 ", " C4 ";",
          "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8 " D4 ", " A4 ", " B2 ", " C4 ";",
          "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.f32 " D4 ", " A4 ", " B2 ", " C4 ";",
          "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 " D4 ", " A4 ", " B2 ";",
          "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 " D4 ", " A2 ", " B2 ", " C4 ";",
          "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 " D4 ", " A4 ", " B1 ", " C4 ";",
          "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 " D4 ", " A4 ", " B2 ", " A2 ";",
          "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 " A2 ", " A4 ", " B2 ", " C4 ";",
          "mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 " D4 ", " A4 ", %r5, " C4 ";",
          "mma.sync.aligned.m16n8k32.row.col.relu.s32.s8.u8.s32 " D4 ", " A4 ", " B2 ", " C4 ";"}},
        {"mma.sync.aligned.m8n8k16.row.col.s32.u8.s8.s32 {%r12, %r13}, {%r1}, {%r5}, {%r8, %r9};",
         "mma.f32.s8" ARITHMETIC,
         {"mma.sync.aligned.m16n8k32.row.col.f32.s8.u8.s32 " D4 ", " A4 ", " B2 ", " C4 ";"}},
        {"mma.sync.aligned.m16n8k64.row.col.s32.s4.u4.s32 " D4 ", " A4 ", " B2 ", " C4 ";",
         "mma.s32.s4" ARITHMETIC,
         {"mma.sync.aligned.m16n8k128.row.col.s32.s4.u4.s32 " D4 ", {%r1, %r2, %r3, %r4, %r1, %r2, %r3, %r4}, " A4
          ", " C4 ";",
          "mma.sync.aligned.m16n8k64.row.col.s32.s4.s8.s32 " D4 ", " A4 ", " B2 ", " C4 ";"}},
        {"mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.xor.popc " D4 ", " A4 ", " B2 ", " C4 ";",
         "mma.s32.b1" ARITHMETIC,
         {"mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32 " D4 ", " A4 ", " B2 ", " C4 ";",
          "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.or.popc " D4 ", " A4 ", " B2 ", " C4 ";"}},
        {"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 " D4 ", " A4 ", " B2 ", " C4 ";",
         "mma.f32.f16" ARITHMETIC,
         {"mma.sync.aligned.m16n8k16.row.col.satfinite.f32.f16.f16.f32 " D4 ", " A4 ", " B2 ", " C4 ";",
          "mma.sync.aligned.m16n8k16.row.col.f32.f16.bf16.f32 " D4 ", " A4 ", " B2 ", " C4 ";",
          "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.bf16 " D4 ", " A4 ", " B2 ", " A2 ";",
          "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f16 " D4 ", " A4 ", " B2 ", " C4 ";"}},
        {"mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%r12, %r13}, " A4 ", " B2 ", {%r8, %r9};",
         "mma.f16.bf16" ARITHMETIC,
         {"mma.sync.aligned.m16n8k16.row.col.f16.bf16.bf16.f32 {%r12, %r13}, " A4 ", " B2 ", " C4 ";"}},
        {"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 " D4 ", " A4 ", " B2 ", " C4 ";",
         "mma.f32.bf16" ARITHMETIC,
         {"mma.sync.aligned.m16n8k16.row.col.f32.bf16.f16.f32 " D4 ", " A4 ", " B2 ", " C4 ";",
          "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f16 " D4 ", " A4 ", " B2 ", {%r8, %r9};"}},
        {"mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e5m2.f32 " D4 ", " A4 ", " B2 ", " C4 ";",
         "mma.f32.e4m3" ARITHMETIC,
         {"mma.sync.aligned.m16n8k32.row.col.f32.e4m3.s8.f32 " D4 ", " A4 ", " B2 ", " C4 ";"}},
        {"mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 " D4 ", " A4 ", " B2 ", " C4 ";",
         "mma.f32.f32" ARITHMETIC,
         {"mma.sync.aligned.m16n8k8.row.col.f32.f32.f32.f32 " D4 ", " A4 ", " B2 ", " C4 ";"}},
        {"mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%d1, %d2}, {%d3}, {%d4}, {%d5, %d6};",
         "mma.f64.f64" ARITHMETIC,
         {"mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f32 {%d1, %d2}, {%d3}, {%d4}, {%d5, %d6};",
          "mma.sync.aligned.m8n8k4.row.col.satfinite.f64.f64.f64.f64 {%d1, %d2}, {%d3}, {%d4}, {%d5, %d6};"}},
        {"mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%d1, %d2}, {%d3}, {%d4}, {%d1, %d2};",
         "mma.f32.f64" ARITHMETIC,
         {"mma.sync.aligned.m8n8k4.row.col.f32.f64.f64.f64 {%d1, %d2}, {%d3}, {%d4}, {%d5, %d6};"}},
    };
    CHECK(table);
}

static void test_wgmma(void **state) {
    (void)state;
    static const struct forms table[] = {
        {"wgmma.mma_async.sync.aligned.m64n8k32.s32.u8.s8 " D4 ", " A4 ", %rd1, %p1;",
         "this form of wgmma is not known",
         {"wgmma.mma_async.sync.aligned.m64n8k32.f32.u8.s8 " D4 ", " A4 ", %rd1, %p1;",
          "wgmma.mma_async.sync.aligned.m64n8k32.s32.s4.s8 " D4 ", " A4 ", %rd1, %p1;",
          "wgmma.mma_async.sync.aligned.m64n8k32.s32.u8.b8 " D4 ", " A4 ", %rd1, %p1;",
          "wgmma.mma_async.sync.aligned.m64n8k32.s32.u8 " D4 ", " A4 ", %rd1, %p1;",
          "wgmma.mma_async.sync.aligned.m64n8k32.s32.u8.s8.s32 " D4 ", " A4 ", %rd1, %p1;",
          "wgmma.mma_async.sync.aligned.m32n8k32.s32.u8.s8 " D4 ", " A4 ", %rd1, %p1;",
          "wgmma.mma_async.sync.aligned.m64n8k16.s32.u8.s8 " D4 ", " A4 ", %rd1, %p1;",
          "wgmma.mma_async.sync.aligned.m64n12k32.s32.u8.s8 {%r1, %r2, %r3, %r4, %r5, %r6}, " A4 ", %rd1, %p1;",
          "wgmma.mma_async.sync.aligned.m64n24k32.s32.u8.s8 " D4 ", " A4 ", %rd1, %p1;",
          "wgmma.mma_async.sync.aligned.m64n8k32.s32.u8.s8 " A2 ", " A4 ", %rd1, %p1;",
          "wgmma.mma_async.sync.aligned.m64n8k32.s32.u8.s8 " D4 ", " A2 ", %rd1, %p1;",
          "wgmma.mma_async.sync.aligned.m64n8k32.s32.u8.s8 %r1, " A4 ", %rd1, %p1;",
          "wgmma.mma_async.sync.aligned.m64n8k32.s32.u8.s8 " D4 ", " A4 ", %rd1, %r1;",
          "wgmma.mma_async.sync.aligned.m64n8k32.s32.u8.s8 " D4 ", " A4 ", %rd1;",
          "wgmma.mma_async.sync.aligned.m64n8k32.s32.u8.s8 " D4 ", " A4 ", %rd1, %p1, 1;",
          "wgmma.mma_async.sp.sync.aligned.m64n8k32.s32.u8.s8 " D4 ", " A4 ", %rd1, %p1;"}},
        {"wgmma.mma_async.sync.aligned.m64n8k32.s32.u8.s8 " D4 ", %rd2, %rd1, 1;",
         "this form of wgmma is not known",
         {"wgmma.mma_async.sync.aligned.m64n8k32.s32.u8.s8 " D4 ", %rd2, %rd1, %p1, 1, 1;"}},
        {"wgmma.mma_async.sync.aligned.m64n8k16.f16.f16.f16 " A2 ", %rd2, %rd1, %p1, 1, -1, 0, 1;",
         "this form of wgmma is not known",
         {"wgmma.mma_async.sync.aligned.m64n8k16.f16.f16.f16 " D4 ", %rd2, %rd1, %p1, 1, -1, 0, 1;",
          "wgmma.mma_async.sync.aligned.m64n8k16.f16.f16.f16 " A2 ", %rd2, %rd1, %p1, 1, -1, 1;",
          "wgmma.mma_async.sync.aligned.m64n8k16.f16.f16.f16 " A2 ", " A4 ", %rd1, %p1, 1, -1, 0, 1;",
          "wgmma.mma_async.sync.aligned.m64n8k16.f16.f16.f16 " A2 ", %rd2, %rd1, %p1, 1, 0, 0, 1;",
          "wgmma.mma_async.sync.aligned.m64n8k16.f16.f16.f16 " A2 ", %rd2, %rd1, %p1, 1, 1, 0, -1;",
          "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16.satfinite " D4 ", %rd2, %rd1, %p1, 1, 1, 0, 0;",
          "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.bf16 " D4 ", %rd2, %rd1, %p1, 1, 1, 0, 0;",
          "wgmma.mma_async.sync.aligned.m64n8k16.f16.bf16.bf16 " A2 ", %rd2, %rd1, %p1, 1, 1, 0, 0;",
          "wgmma.mma_async.sync.aligned.m64n8k32.f32.f16.f16 " D4 ", %rd2, %rd1, %p1, 1, 1, 0, 0;"}},
        {"wgmma.mma_async.sync.aligned.m64n8k8.f32.tf32.tf32 " D4 ", " A4 ", %rd1, %p1, -1, 1;",
         "this form of wgmma is not known",
         {"wgmma.mma_async.sync.aligned.m64n8k8.f32.tf32.tf32 " D4 ", " A4 ", %rd1, %p1, -1, 1, 0;",
          "wgmma.mma_async.sync.aligned.m64n8k4.f32.tf32.tf32 " D4 ", " A4 ", %rd1, %p1, -1, 1;",
          "wgmma.mma_async.sync.aligned.m64n8k32.f32.e4m3.s8 " D4 ", " A4 ", %rd1, %p1, -1, 1;"}},
        {"wgmma.mma_async.sync.aligned.m64n8k32.s32.s8.u8.satfinite " D4 ", " A4 ", %rd1, %p1;",
         "this form of wgmma is not known",
         {"wgmma.wait_group.sync.aligned;", "wgmma.wait_group.sync.aligned %r1;", "wgmma.wait_group.sync.aligned 0, 1;",
          "wgmma.wait_group.relu.sync.aligned 0;", "wgmma.sync.aligned;"}},
        {"wgmma.fence.sync.aligned;", "this form of wgmma is not known", {"wgmma.fence.sync.aligned.trans;"}},
        {"wgmma.commit_group.sync.aligned;", "this form of wgmma is not known", {"wgmma.init.sync.aligned;"}},
        {"wgmma.wait_group.sync.aligned 7;", "this form of wgmma is not known", {"wgmma.commit_group.sat;"}},
        {"setmaxnreg.inc.sync.aligned.u32 40;",
         "setmaxnreg needs .inc or .dec and a number",
         {"setmaxnreg.sync.aligned.u32 40;", "setmaxnreg.inc.sync.aligned.u32 %r1;", "setmaxnreg.inc.sync.aligned.u32;",
          "setmaxnreg.add.sync.aligned.u32 40;", "setmaxnreg.dec.sync.aligned.u32 40, 40;"}},
        {"setmaxnreg.dec.sync.aligned.u32 40;", "", {NULL}},
    };
    CHECK(table);
}

static void test_loads_and_stores(void **state) {
    (void)state;
    static const struct forms table[] = {
        {"ld.relaxed.gpu.global.L1::no_allocate.L2::cache_hint.v4.f32 {%f1, %f2, _, %f4}, [%rd1+16], %rd2;",
         "unknown form of a load or store",
         {"ld.global [%rd1], %r1;", "ld.global.u32.u32 %r1, [%rd1];", "ld.global.pred %p1, [%rd1];",
          "ld.global.v8.u64 {%rd1, %rd2, %rd3, %rd4, %rd1, %rd2, %rd3, %rd4}, [%rd1];",
          "ld.global.sat.u32 %r1, [%rd1];", "st.global.noftz.u32 [%rd1], %r1;"}},
        {"ld.global.nc.v4.u64 {%rd1, %rd2, %rd3, %rd4}, [%rd5];",
         "a load or store with the wrong operands",
         {"ld.global.u32 %r1;", "ld.global.u32 %r1, [%rd1], %rd2;", "ld.global.L2::cache_hint.u32 %r1, [%rd1];",
          "ld.global.L2::cache_hint.u32 %r1, [%rd1], %rd2, %rd3;", "st.global.u32 [%rd1];",
          "st.global.u32 [%rd1], %r1, %r2;", "st.global.L2::cache_hint.u32 [%rd1], %r1;",
          "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.u32 [%r1], %r2, [%r3];"}},
        {"st.release.cluster.shared::cluster.v2.b16 [%r1], {%h1, 3};",
         "the vector has not as many elements as the instruction",
         {NULL}},
        {"ld.shared.v2.u8 {%h1, %r2}, [%r1];", "a register is narrower than the type", {NULL}},
        {"ld.global.b128 %q1, [%rd2];", "", {NULL}},
        {"ldu.global.u32 %r1, [%rd2];", "", {NULL}},
        {"st.volatile.global.f64 [%rd1], 0d3FF0000000000000;", "", {NULL}},
    };
    CHECK(table);
}

static void test_atomics(void **state) {
    (void)state;
    static const struct forms table[] = {
        {"atom.global.acq_rel.gpu.L2::cache_hint.add.f64 %d1, [%rd1], %d2, %rd2;",
         "unknown atomic operation",
         {"atom.global.min.f64 %d1, [%rd1], %d2;",
          "atom.global.max.f64 %d1, [%rd1], %d2;",
          "atom.global.add.u16 %h1, [%rd1], %h2;",
          "atom.global.add.u8 %h1, [%rd1], %h2;",
          "atom.global.and.f32 %f1, [%rd1], %f2;",
          "atom.global.inc.f32 %f1, [%rd1], %f2;",
          "atom.global.exch.b128 %q1, [%rd1], %q0;",
          "atom.global.exch.b8 %h1, [%rd1], %h2;",
          "atom.global.popc.b32 %r1, [%rd1], %r2;",
          "atom.global.u32 %r1, [%rd1], %r2;",
          "atom.global.add.u32 %r1, [%rd1];",
          "atom.global.add.u32 %r1, [%rd1], %r2, %r3;",
          "atom.global.add.u32 %r1, %rd1, %r2;",
          "atom.global.cas.b32 %r1, [%rd1], %r2;",
          "atom.global.cas.b32 %r1, [%rd1], %r2, %r3, %r4;",
          "atom.global.add.u32.u32 %r1, [%rd1], %r2;",
          "atom.global.add %r1, [%rd1], %r2;",
          "atom.global.v4.add.f64 {%d1, %d2, %d3, %d4}, [%rd1], {%d1, %d2, %d3, %d4};",
          "atom.global.L2::cache_hint.add.u32 %r1, [%rd1], %r2;",
          "atom.global.add.sat.u32 %r1, [%rd1], %r2;",
          "red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.add.u32 [%r1], %r2, [%r3];"}},
        {"atom.shared::cta.cas.b16 %h1, [%r1], %h2, %h3;",
         "an atomic operation on this state space",
         {"atom.local.add.u32 %r1, [%rd1], %r2;", "red.const.add.u32 [%rd1], %r2;",
          "atom.param.exch.b32 %r1, [%rd1], %r2;"}},
        {"atom.add.noftz.f16x2 %r1, [%rd1], %r2;", "", {NULL}},
        {"red.relaxed.gpu.global.add.noftz.v4.f32 [%rd1], {%f1, %f2, %f3, %f4};", "", {NULL}},
        {"atom.global.min.s64 %rd1, [%rd2], %rd3;", "", {NULL}},
        {"atom.exch.b16 %h1, [%rd2], %h3;", "", {NULL}},
        {"red.global.dec.u32 [%rd1], 7;", "", {NULL}},
    };
    CHECK(table);
}

static void test_barriers(void **state) {
    (void)state;
    static const struct forms table[] = {
        {"mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 %rd1, [%r1], %r2;",
         "unknown form of an mbarrier instruction",
         {"mbarrier.arrive.shared::cta.trans.b64 %rd1, [%r1];", "mbarrier.init.noinc.shared::cta.b64 [%r1], 1;",
          "mbarrier.shared::cta.b64 %rd1, [%r1];", "mbarrier.wait.shared::cta.b64 %rd1, [%r1];"}},
        {"mbarrier.arrive_drop.shared::cluster.b64 _, [%r1];",
         "an arrival at an mbarrier of .shared::cluster has no state: its destination must be _",
         {"mbarrier.arrive.shared::cluster.b64 %rd1, [%r1];", "mbarrier.arrive_drop.shared::cluster.b64 %rd1, [%r1];"}},
        {"mbarrier.expect_tx.relaxed.cluster.shared::cluster.b64 [%r1], 16;",
         "an mbarrier of another CTA can be arrived at only",
         {"mbarrier.init.shared::cluster.b64 [%r1], 1;", "mbarrier.inval.shared::cluster.b64 [%r1];",
          "mbarrier.test_wait.shared::cluster.b64 %p1, [%r1], %rd1;",
          "mbarrier.try_wait.parity.shared::cluster.b64 %p1, [%r1], 0;"}},
        {"mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p1, [%r1], %r2, 1000;", "", {NULL}},
        {"mbarrier.complete_tx.shared::cta.b64 [%r1], 16;", "", {NULL}},
        {"mbarrier.init.shared::cta.b64 [%r1+8], %r2;", "", {NULL}},
        {"mbarrier.inval.shared::cta.b64 [%r1];", "", {NULL}},
        {"barrier.cluster.arrive.release.aligned;",
         "unknown form of barrier.cluster",
         {"barrier.cluster.arrive 0;", "barrier.cluster.sync 0;", "bar.cluster.arrive;",
          "barrier.cluster.arrive.acquire;", "barrier.cluster.wait.release;", "barrier.cluster.wait.relaxed;",
          "barrier.cluster.red;"}},
        {"barrier.cluster.wait.acquire;", "", {NULL}},
        {"barrier.cluster.arrive.relaxed;", "", {NULL}},
        {"bar.warp.sync %r1;", "bar.warp.sync needs a member mask", {"bar.warp.sync;", "bar.warp.sync %r1, %r2;"}},
        {"bar.sync 1, %r2;",
         "unknown form of a barrier",
         {"bar.sync;", "bar.sync 1, 2, 3;", "bar.arrive 1;", "bar.arrive 1, 64, 3;", "bar 1;", "bar.all 1;",
          "bar.red.popc.u32 %r1, 0;", "bar.red.popc.u32 %r1, 0, 64, %p1, 5;", "bar.red.xor.pred %p1, 0, %p2;",
          "bar.red.u32 %r1, 0, %p1;", "bar.sync.trans 1;"}},
        {"barrier.cta.sync.aligned 0;", "", {NULL}},
        {"bar.arrive %r1, 64;", "", {NULL}},
        {"bar.red.and.pred %p1, 1, 64, !%p2;", "", {NULL}},
        {"fence.acq_rel.cluster;", "unknown fence", {"fence.arrive.gpu;", "membar.sat.gl;", "fence.proxy.noinc;"}},
        {"fence.proxy.async.shared::cta;", "", {NULL}},
        {"fence.mbarrier_init.release.cluster;", "", {NULL}},
    };
    CHECK(table);
}

static void test_warp_wide(void **state) {
    (void)state;
    static const struct forms table[] = {
        {"shfl.sync.bfly.b32 %r1|%p1, %r2, 1, 31, -1;",
         "unknown form of a warp-wide instruction",
         {"shfl.sync.b32 %r1, %r2, 1, 31, -1;",
          "shfl.sync.all.b32 %r1, %r2, 1, 31, -1;",
          "shfl.sync.up.b32 %r1, %r2, 1, 31;",
          "shfl.sync.up.b32 %r1, %r2, 1, 31, -1, -1;",
          "shfl.up.b32 %r1, %r2, 1, 31, -1;",
          "shfl.up.b32 %r1, %r2, 1;",
          "shfl.sync.arrive.b32 %r1, %r2, 1, 31, -1;",
          "shfl.sync.idx.sat.b32 %r1, %r2, 1, 31, -1;",
          "vote.sync.pred %p1, %p2, -1;",
          "vote.sync.eq.pred %p1, %p2, -1;",
          "vote.sync.popc.b32 %r1, %p2, -1;",
          "vote.sync.up.pred %p1, %p2, -1;",
          "match.uni.sync.b32 %r1, %r2, -1;",
          "match.any.sync.b32 %r1, %r2;",
          "match.any.sync.b32 %r1, %r2, -1, -1;",
          "redux.sync.add.s32 %r1, %r2;",
          "redux.sync.min.f32 %f1, %f2, -1;",
          "redux.sync.inc.u32 %r1, %r2, -1;",
          "redux.sync.dec.u32 %r1, %r2, -1;",
          "redux.sync.exch.b32 %r1, %r2, -1;",
          "redux.sync.s32 %r1, %r2, -1;",
          "elect.sync %r1|%p1;",
          "elect.sync %r1|%p1, -1, -1;"}},
        {"shfl.down.b32 %r1, %r2, 1, 31;", "unknown form of a warp-wide instruction", {"activemask.sat.b32 %r1;"}},
        {"shfl.sync.up.b32 %r1, %r2, %r3, 0, -1;", "vote.eq", {NULL}},
        {"shfl.idx.b32 %r1, %r2, %r3, 31;", "", {NULL}},
        {"vote.sync.ballot.b32 %r1, !%p1, %r2;", "", {NULL}},
        {"vote.sync.all.pred %p1, %p2, -1;", "", {NULL}},
        {"vote.sync.uni.pred %p1, %p2, -1;", "", {NULL}},
        {"match.all.sync.b64 %r1|%p1, %rd2, -1;", "", {NULL}},
        {"redux.sync.xor.b32 %r1, %r2, -1;", "", {NULL}},
        {"redux.sync.max.u32 %r1, %r2, -1;", "", {NULL}},
        {"elect.sync %r1|%p1, -1;", "", {NULL}},
        {"activemask.b32 %r1;", "", {NULL}},
    };
    CHECK(table);
}

static void test_addresses_and_flow(void **state) {
    (void)state;
    static const char address[] = "unknown form of an address conversion";
    static const struct forms table[] = {
        {"cvta.to.shared::cluster.u64 %rd1, %rd2;",
         address,
         {"cvta.to.shared.u64 %rd1;", "cvta.to.shared.u64 %rd1, %rd2, 1;", "cvta.sat.shared.u64 %rd1, %rd2;",
          "isspacep.global %p1;", "mapa.shared::cluster.u32 %r1, %r2;", "mapa.shared::cluster.u32 %r1, %r2, 0, 1;",
          "mapa.shared.u32 %r1, %r2, 0;", "mapa.global.u64 %rd1, %rd2, 0;", "mapa.to.shared::cluster.u32 %r1, %r2, 0;",
          "getctarank.shared.u32 %r1, %r2;", "getctarank.to.shared::cluster.u32 %r1, %r2;",
          "getctarank.shared::cluster.u32 %r1, %r2, 1;"}},
        {"isspacep.shared::cluster %p1, %rd1;", "", {NULL}},
        {"mapa.u64 %rd1, %rd2, %r1;", "", {NULL}},
        {"getctarank.u64 %r1, %rd2;", "", {NULL}},
        {"mapa.shared::cluster.u32 %r1, %r2, 3;", "", {NULL}},
        {"mov.u32 %r1, %tid.x;", "a special register needs a register to go to", {NULL}},
        {"createpolicy.fractional.L2::evict_last.b64 %rd1, 0f3F800000;",
         "unknown cache policy",
         {"createpolicy.range.global.L2::evict_last.b64 %rd1, [%rd2], 16, 32;"}},
        {"createpolicy.L2::evict_first.b64 %rd1;", "", {NULL}},
        {"trap;", "unknown form of a branch", {"exit.sat;", "ret.sync;", "trap.trans;"}},
        {"nanosleep.u32 100;", "", {NULL}},
        {"griddepcontrol.launch_dependents;", "", {NULL}},
        {"prefetch.global.L2 [%rd1];", "", {NULL}},
        {"pmevent 1;", "the software device does not execute this instruction", {"stacksave.u32 %r1;"}},
        {"brkpt;", "the software device does not execute this instruction", {"alloca.u64 %rd1, %rd2;"}},
    };
    CHECK(table);
}

static void test_conversions(void **state) {
    (void)state;
    static const struct forms table[] = {
        {"cvt.rni.sat.s32.f32 %r1, %f1;",
         "cvt.s32.f32" ARITHMETIC,
         {"cvt.s32.f32 %r1, %f1;", "cvt.rn.s32.f32 %r1, %f1;", "cvt.rp.s32.f32 %r1, %f1;",
          "cvt.rni.relu.s32.f32 %r1, %f1;", "cvt.rni.satfinite.s32.f32 %r1, %f1;", "cvt.rni.s32.f32 %r1, %f1, %f2;"}},
        {"cvt.rzi.ftz.s32.f32 %rd1, %f1;", "cvt.s32" ARITHMETIC, {"cvt.rzi.s32 %r1, %f1;"}},
        {"cvt.rp.f32.s32 %f1, %r1;",
         "cvt.f32.s32" ARITHMETIC,
         {"cvt.rni.f32.s32 %f1, %r1;", "cvt.rna.f32.s32 %f1, %r1;", "cvt.rn.relu.f32.s32 %f1, %r1;"}},
        {"cvt.u16.u32 %h1, %r1;",
         "cvt.u32.u16" ARITHMETIC,
         {"cvt.rn.u32.u16 %r1, %h1;", "cvt.ftz.u32.u16 %r1, %h1;", "cvt.u32.u16 %r1, %h1, %h2;"}},
        {"cvt.sat.u8.s32 %r1, %r2;",
         "cvt.u8.s32" ARITHMETIC,
         {"cvt.rzi.u8.s32 %r1, %r2;", "cvt.relu.u8.s32 %r1, %r2;"}},
        {"cvt.rn.f16.f32 %h1, %f1;",
         "cvt.f16.f32" ARITHMETIC,
         {"cvt.rs.f16.f32 %h1, %f1;", "cvt.rn.hi.f16.f32 %h1, %f1;", "cvt.rn.f16.f32 %h1, %f1, %f2;"}},
        {"cvt.rna.tf32.f32 %r1, %f1;", "cvt.tf32.s32" ARITHMETIC, {"cvt.rn.tf32.s32 %r1, %r2;"}},
        {"cvt.f64.f32 %d1, %f1;", "cvt.f64.f32" ARITHMETIC, {NULL}},
        {"cvt.rz.relu.f16x2.f32 %r1, %f1, %f2;",
         "cvt.f16x2.f32" ARITHMETIC,
         {"cvt.f16x2.f32 %r1, %f1, %f2;", "cvt.rm.f16x2.f32 %r1, %f1, %f2;", "cvt.rs.f16x2.f32 %r1, %f1, %f2, %r2;",
          "cvt.rn.f16x2.f32 %r1, %f1;", "cvt.rn.f16x2.f32 %r1, %f1, %f2, %f3;", "cvt.rn.ftz.f16x2.f32 %r1, %f1, %f2;"}},
        {"cvt.rn.bf16x2.f32 %r1, %f1, %f2;", "cvt.bf16x2.e4m3x2" ARITHMETIC, {"cvt.rn.bf16x2.e4m3x2 %r1, %h1;"}},
        {"cvt.rn.satfinite.relu.e4m3x2.f32 %h1, %f1, %f2;",
         "cvt.e4m3x2.f32" ARITHMETIC,
         {"cvt.rn.e4m3x2.f32 %h1, %f1, %f2;", "cvt.rn.satfinite.e4m3x2.f32 %h1, %f1;",
          "cvt.satfinite.e4m3x2.f32 %h1, %f1, %f2;"}},
        {"cvt.rn.satfinite.e5m2x2.f16x2 %h1, %r1;",
         "cvt.e5m2x2.f16x2" ARITHMETIC,
         {"cvt.rn.e5m2x2.f16x2 %h1, %r1;", "cvt.rn.satfinite.e5m2x2.f16x2 %h1, %r1, %r2;"}},
        {"cvt.rn.satfinite.e5m2x2.f16x2 %h1, %r1;",
         "cvt.e5m2x2.bf16x2" ARITHMETIC,
         {"cvt.rn.satfinite.e5m2x2.bf16x2 %h1, %r1;"}},
        {"cvt.rn.f16x2.e5m2x2 %r1, %h1;",
         "cvt.f16x2.e5m2x2" ARITHMETIC,
         {"cvt.f16x2.e5m2x2 %r1, %h1;", "cvt.rn.f16x2.e5m2x2 %r1, %h1, %h2;"}},
    };
    CHECK(table);
}

/* Every finder of arithmetic: a form that it knows, and those beside it. */
static void test_arithmetic(void **state) {
    (void)state;
    static const struct forms table[] = {
        {"add.sat.s32 %r1, %r2, %r3;",
         "add.u32" ARITHMETIC,
         {"add.sat.u32 %r1, %r2, %r3;", "add.hi.u32 %r1, %r2, %r3;"}},
        {"mul.wide.u32 %rd1, %r2, %r3;",
         "mul.u64" ARITHMETIC,
         {"mul.wide.u64 %rd1, %rd2, %rd3;", "mul.u64 %rd1, %rd2, %rd3;"}},
        {"mad.hi.sat.s32 %r1, %r2, %r3, %r4;", "mad.s32" ARITHMETIC, {"mad.lo.sat.s32 %r1, %r2, %r3, %r4;"}},
        {"rem.s16 %h1, %h2, %h3;", "rem.f32" ARITHMETIC, {"rem.f32 %f1, %f2, %f3;"}},
        {"max.relu.s32 %r1, %r2, %r3;", "max.u32" ARITHMETIC, {"max.relu.u32 %r1, %r2, %r3;"}},
        {"addc.cc.u64 %rd1, %rd2, %rd3;",
         "addc.u16" ARITHMETIC,
         {"addc.u16 %h1, %h2, %h3;", "addc.cc.u16 %h1, %h2, %h3;"}},
        {"subc.s32 %r1, %r2, %r3;",
         "subc.s32" ARITHMETIC,
         {"subc.sat.s32 %r1, %r2, %r3;", "subc.hi.s32 %r1, %r2, %r3;"}},
        {"madc.hi.cc.u32 %r1, %r2, %r3, %r4;", "madc.u32" ARITHMETIC, {"madc.cc.u32 %r1, %r2, %r3, %r4;"}},
        {"add.cc.u32 %r1, %r2, %r3;", "add.f32" ARITHMETIC, {"add.cc.f32 %f1, %f2, %f3;"}},
        {"add.rz.ftz.sat.f32 %f1, %f2, %f3;",
         "add.f32" ARITHMETIC,
         {"add.rni.f32 %f1, %f2, %f3;", "add.relu.f32 %f1, %f2, %f3;", "add.rna.f32 %f1, %f2, %f3;"}},
        {"fma.rp.f64 %d1, %d2, %d3, %d4;",
         "fma.f64" ARITHMETIC,
         {"fma.rn.sat.f64 %d1, %d2, %d3, %d4;", "fma.rn.ftz.f64 %d1, %d2, %d3, %d4;",
          "fma.rzi.f64 %d1, %d2, %d3, %d4;"}},
        {"add.rn.f32.f32 %f1, %f2, %f3;", "add.f32.f16" ARITHMETIC, {"add.rn.f32.f16 %f1, %f2, %f3;"}},
        {"min.NaN.f32 %f1, %f2, %f3, %f4;",
         "min.f32" ARITHMETIC,
         {"min.sat.f32 %f1, %f2, %f3;", "min.f32 %f1, %f2, %f3, %f4, %f5;", "min.f32 %f1, %f2;"}},
        {"max.f64 %d1, %d2, %d3;", "max.f64" ARITHMETIC, {"max.f64 %d1, %d2, %d3, %d4;", "max.NaN.f64 %d1, %d2, %d3;"}},
        {"neg.ftz.f32 %f1, %f2;", "neg.f32" ARITHMETIC, {"neg.sat.f32 %f1, %f2;", "neg.rz.f32 %f1, %f2;"}},
        {"copysign.f32 %f1, %f2, %f3;", "copysign.f16" ARITHMETIC, {"copysign.f16 %h1, %h2, %h3;"}},
        {"div.full.ftz.f32 %f1, %f2, %f3;",
         "div.f64" ARITHMETIC,
         {"div.full.f64 %d1, %d2, %d3;", "div.approx.f64 %d1, %d2, %d3;"}},
        {"rcp.approx.ftz.f64 %d1, %d2;", "rcp.f64" ARITHMETIC, {"rcp.approx.f64 %d1, %d2;"}},
        {"rsqrt.approx.f64 %d1, %d2;",
         "rsqrt.f32" ARITHMETIC,
         {"rsqrt.f32 %f1, %f2;", "rsqrt.approx.rz.f32 %f1, %f2;"}},
        {"sqrt.rm.f32 %f1, %f2;", "sqrt.f32" ARITHMETIC, {"sqrt.full.f32 %f1, %f2;", "sqrt.approx.sat.f32 %f1, %f2;"}},
        {"sin.approx.f32 %f1, %f2;", "sin.f16" ARITHMETIC, {"sin.approx.f16 %h1, %h2;"}},
        {"tanh.approx.f16x2 %r1, %r2;", "tanh.f64" ARITHMETIC, {"tanh.approx.f64 %d1, %d2;"}},
        {"ex2.approx.ftz.bf16x2 %r1, %r2;", "ex2.u32" ARITHMETIC, {"ex2.approx.u32 %r1, %r2;"}},
        {"add.rn.ftz.sat.f16x2 %r1, %r2, %r3;",
         "add.f16x2" ARITHMETIC,
         {"add.rz.f16x2 %r1, %r2, %r3;", "add.relu.f16x2 %r1, %r2, %r3;", "add.NaN.f16x2 %r1, %r2, %r3;"}},
        {"fma.rn.relu.bf16 %h1, %h2, %h3, %h4;", "fma.bf16" ARITHMETIC, {"fma.rn.oob.bf16 %h1, %h2, %h3, %h4;"}},
        {"min.xorsign.abs.f16 %h1, %h2, %h3;",
         "min.f16" ARITHMETIC,
         {"min.sat.f16 %h1, %h2, %h3;", "min.f16 %h1, %h2;", "min.f16 %h1, %h2, %h3, %h4, %h5;"}},
        {"neg.f16 %h1, %h2;", "div.f16" ARITHMETIC, {"div.f16 %h1, %h2, %h3;"}},
        {"abs.bf16x2 %r1, %r2;", "add.f16.f32" ARITHMETIC, {"add.f16.f32 %h1, %h2, %f3;"}},
    };
    CHECK(table);
}

static void test_moves_and_bits(void **state) {
    (void)state;
    static const struct forms table[] = {
        {"mov.b64 {%r1, %r2}, %rd1;", "mov.b64" ARITHMETIC, {NULL}},
        {"mov.b128 %q1, {%rd1, %rd2};", "mov.b64.b64" ARITHMETIC, {"mov.b64.b64 %rd1, %rd2;"}},
        {"mov.pred %p1, !%p2;", "mov.pred" ARITHMETIC, {NULL}},
        {"mov.b16 %h1, %h2;", "mov.b8" ARITHMETIC, {"mov.b8 %h1, %h2;"}},
        {"lop3.b32 %r1, %r2, %r3, %r4, 0x96;", "lop3.b32" ARITHMETIC, {NULL}},
        {"prmt.b32.ecr %r1, %r2, %r3, %r4;", "prmt.b32" ARITHMETIC, {"prmt.b32.add %r1, %r2, %r3, %r4;"}},
        {"shf.l.wrap.b32 %r1, %r2, %r3, %r4;",
         "shf.b32" ARITHMETIC,
         {"shf.l.b32 %r1, %r2, %r3, %r4;", "shf.wrap.b32 %r1, %r2, %r3, %r4;", "shf.l.r.wrap.b32 %r1, %r2, %r3, %r4;"}},
        {"and.pred %p1, %p2, %p3;", "and.f32" ARITHMETIC, {"and.f32 %f1, %f2, %f3;"}},
        {"bfind.shiftamt.u32 %r1, %r2;", "bfind.b32" ARITHMETIC, {"bfind.b32 %r1, %r2;"}},
    };
    CHECK(table);
}

static void test_comparisons_and_video(void **state) {
    (void)state;
    static const struct forms table[] = {
        {"setp.lt.and.ftz.f32 %p1|%p2, %f1, %f2, %p3;",
         "setp.f32" ARITHMETIC,
         {"setp.lo.f32 %p1, %f1, %f2;", "setp.f32 %p1, %f1, %f2;", "setp.lt.sat.f32 %p1, %f1, %f2;"}},
        {"setp.ne.b64 %p1, %rd1, %rd2;",
         "setp.b64" ARITHMETIC,
         {"setp.lt.b64 %p1, %rd1, %rd2;", "setp.ltu.b64 %p1, %rd1, %rd2;"}},
        {"setp.hs.u16 %p1, %h1, %h2;",
         "setp.u16" ARITHMETIC,
         {"setp.ltu.u16 %p1, %h1, %h2;", "setp.num.u16 %p1, %h1, %h2;"}},
        {"setp.nan.bf16x2 %p1|%p2, %r1, %r2;", "setp.u8" ARITHMETIC, {"setp.lt.u8 %p1, %h1, %h2;"}},
        {"setp.eq.s64 %p1, %rd1, %rd2;", "setp.tf32" ARITHMETIC, {"setp.eq.tf32 %p1, %r1, %r2;"}},
        {"set.lt.f16.f32 %h1, %f1, %f2;", "set.u64.f32" ARITHMETIC, {"set.lt.u64.f32 %rd1, %f1, %f2;"}},
        {"set.lt.u32.s64 %r1, %rd1, %rd2;", "set.u32" ARITHMETIC, {"set.lt.u32 %r1, %r1, %r2;"}},
        {"set.geu.ftz.u32.f16 %r1, %h1, %h2;",
         "set.u32.s32" ARITHMETIC,
         {"set.ltu.u32.s32 %r1, %r2, %r3;", "set.lt.sat.u32.s32 %r1, %r2, %r3;"}},
        {"selp.f64 %d1, %d2, %d3, %p1;", "selp.b32" ARITHMETIC, {"selp.ftz.b32 %r1, %r2, %r3, %p1;"}},
        {"selp.b16 %h1, %h2, %h3, %p1;", "selp.b128" ARITHMETIC, {"selp.b128 %q1, %q0, %q1, %p1;"}},
        {"slct.ftz.u64.f32 %rd1, %rd2, %rd3, %f1;", "slct.b32.u32" ARITHMETIC, {"slct.b32.u32 %r1, %r2, %r3, %r4;"}},
        {"slct.b16.s32 %h1, %h2, %h3, %r1;", "slct.b32" ARITHMETIC, {"slct.b32 %r1, %r2, %r3, %r4;"}},
        {"testp.finite.f32 %p1, %f1;", "testp.f16" ARITHMETIC, {"testp.finite.f16 %p1, %h1;"}},
        {"testp.subnormal.f64 %p1, %d1;", "testp.f32" ARITHMETIC, {"testp.f32 %p1, %f1;", "testp.add.f32 %p1, %f1;"}},
        {"dp4a.u32.s32 %r1, %r2, %r3, %r4;", "dp4a.u32" ARITHMETIC, {"dp4a.u32 %r1, %r2, %r3, %r4;"}},
        {"dp2a.lo.u32.u32 %r1, %r2, %r3, %r4;",
         "dp2a.u32.u32" ARITHMETIC,
         {"dp2a.wide.u32.u32 %r1, %r2, %r3, %r4;", "dp2a.lo.u32.u32 %r1, %r2, %r3;"}},
        {"dp4a.s32.s32 %r1, %r2, %r3, %r4;", "dp4a.u64.u32" ARITHMETIC, {"dp4a.u64.u32 %r1, %r2, %r3, %r4;"}},
        {"vmad.s32.u32.s32.sat.shr15 %r1, %r2.b0, %r3.h1, %r4;",
         "vmad.s32.u32" ARITHMETIC,
         {"vmad.s32.u32 %r1, %r2, %r3, %r4;", "vmad.s32.u32.s32.wrap %r1, %r2, %r3, %r4;",
          "vmad.s32.u32.s32 %r1, %r2, %r3;"}},
        {"vadd.s32.u32.s32.sat.max %r1, %r2, %r3, %r4;",
         "vadd.s32.u32" ARITHMETIC,
         {"vadd.s32.u32 %r1, %r2, %r3;", "vadd.s32.u32.s32 %r1, %r2, %r3, %r4;", "vadd.s32.u32.s32.max %r1, %r2, %r3;",
          "vadd.s32.u32.s32 %r1.b0, %r2, %r3;", "vadd.s32.u32.s32.ftz %r1, %r2, %r3;",
          "vadd.s32.u32.s64 %r1, %r2, %rd3;"}},
        {"vset4.u32.s32.gt %r1, %r2, %r3, %r4;",
         "vset4.u32.s32" ARITHMETIC,
         {"vset4.u32.s32.lo %r1, %r2, %r3, %r4;", "vset4.u32.s32 %r1, %r2, %r3, %r4;",
          "vset4.u32.s32.u32.gt %r1, %r2, %r3, %r4;", "vset4.u32.s32.gt %r1, %r2, %r3;"}},
        {"vadd2.u32.u32.u32.add %r1, %r2, %r3, %r4;", "vadd2.u32.u32" ARITHMETIC, {"vadd2.u32.u32.u32 %r1, %r2, %r3;"}},
    };
    CHECK(table);
}

static const struct {
    const char *sentence, *code[8];
} misfits[] = {
    {"destination 1 must be a vector of registers of 32 bits and has a register of 16 bits",
     {"ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1, %r2, %h3, %r4}, [%r5];"}},
    {"destination 1 must be a vector of registers of 32 bits and has a register of 64 bits",
     {"ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1, %rd2, %r3, %r4}, [%r5];"}},
    {"destination 1 must be a register of 32 bits and is a predicate",
     {"ldmatrix.sync.aligned.m8n8.x1.shared.b16 %p1, [%r5];", "mapa.shared::cluster.u32 %p1, %r2, 0;",
      "getctarank.shared::cluster.u32 %p1, %r2;"}},
    {"source 2 must be a vector of registers of 32 bits and has a register of 64 bits",
     {"stmatrix.sync.aligned.m8n8.x2.shared.b16 [%r5], {%r1, %rd2};"}},
    {"source 2 must be a value of 32 bits and is a number of 32 bits",
     {"stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r5], 7;"}},
    {"destination 1 must be a register of 32 bits and is a register of 64 bits",
     {"movmatrix.sync.aligned.m8n8.trans.b16 %rd1, %r2;", "cvt.rn.f16x2.f32 %rd1, %f1, %f2;"}},
    {"source 1 must be a value of 32 bits and is a register of 64 bits",
     {"movmatrix.sync.aligned.m8n8.trans.b16 %r1, %rd2;"}},
    {"source 1 must be a vector of registers of 32 bits and has a register of 64 bits",
     {"mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 {%r12, %r13, %r14, %r15}, {%r1, %r2, %rd3, %r4}, {%r5, "
      "%r6}, {%r8, %r9, %r10, %r11};"}},
    {"source 1 must be a vector of registers of 64 bits and has a register of 32 bits",
     {"mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%d1, %d2}, {%r3}, {%d4}, {%d5, %d6};"}},
    {"source 1 must be an address in brackets and is a register of 64 bits", {"ld.global.u32 %r1, %rd1;"}},
    {"source 1 must be an address in brackets and is a register of 32 bits",
     {"st.global.u32 %r1, %r2;", "mbarrier.init.shared::cta.b64 %r1, 4;", "mbarrier.inval.shared::cta.b64 %r1;",
      "mbarrier.arrive.shared::cta.b64 %rd1, %r1;", "mbarrier.expect_tx.shared::cta.b64 %r1, %r2;",
      "mbarrier.try_wait.shared::cta.b64 %p1, %r1, %rd1;"}},
    {"source 2 must be a vector of 2 registers of 16 bits or more and is a vector of 3",
     {"st.shared.v2.b16 [%r1], {%h1, %h2, %h3};"}},
    {"source 2 must be a vector of 4 registers of 16 bits or more and is a vector of 3",
     {"st.shared.v4.b16 [%r1], {%h1, %h2, %h3};"}},
    {"source 2 must be a vector of 2 registers of 16 bits or more and is a register of 16 bits",
     {"st.shared.v2.b16 [%r1], %h1;"}},
    {"source 2 must be a value of 16 bits or more and is a vector of 2", {"st.shared.b16 [%r1], {%h1, %h2};"}},
    {"destination 1 must be a vector of 2 registers of 16 bits or more and is a register of 16 bits",
     {"ld.shared.v2.b16 %h1, [%r1];"}},
    {"destination 1 must be a register of 32 bits or more and is a vector of 2", {"ld.shared.u32 {%r1, %r2}, [%r1];"}},
    {"destination 1 must be a register of 32 bits or more and is a register of 16 bits",
     {"ld.shared.u32 %h1, [%r1];", "cvt.rni.s32.f32 %h1, %f1;", "cvt.u32.u16 %h1, %h2;"}},
    {"destination 1 must be a register of 32 bits or more and is a predicate", {"ld.shared.b32 %p1, [%r1];"}},
    {"destination 1 must be a vector of 2 registers of 64 bits or more and has a register of 32 bits",
     {"ld.shared.v2.u64 {%rd1, %r2}, [%r1];"}},
    {"destination 1 must be a register of 128 bits or more and is a register of 64 bits",
     {"ld.global.b128 %rd1, [%rd2];"}},
    {"source 2 must be a value of 64 bits or more and is a register of 32 bits", {"st.shared.u64 [%r1], %r2;"}},
    {"source 2 must be a vector of 2 registers of 32 bits or more and has a register of 16 bits",
     {"st.shared.v2.f32 [%r1], {%f1, %h1};"}},
    {"source 2 must be a value of 32 bits or more and is a predicate", {"st.shared.u32 [%r1], %p1;"}},
    {"source 2 must be a value of 32 bits and is missing", {"mbarrier.init.shared::cta.b64 [%r1];"}},
    {"source 1 must be an address in brackets and is missing", {"mbarrier.arrive.shared::cta.b64 %rd1;"}},
    {"source 2 must be a value of 64 bits and is missing", {"mbarrier.test_wait.shared::cta.b64 %p1, [%r1];"}},
    {"destination 1 must be a predicate and is a register of 32 bits",
     {"mbarrier.try_wait.parity.shared::cta.b64 %r3, [%r1], %r2;", "mov.pred %r1, %p2;"}},
    {"source 2 must be a predicate and is a register of 32 bits", {"bar.red.popc.u32 %r1, 0, %r2;"}},
    {"source 1 must be a predicate and is a register of 32 bits",
     {"vote.sync.all.pred %p1, %r2, -1;", "mov.pred %p1, %r2;"}},
    {"destination 1 must be a register of 32 bits and is _",
     {"mapa.shared::cluster.u32 _, %r2, 0;", "mov.u32 _, %tid.x;"}},
    {"source 1 must be a value of 32 bits or more and is a register of 16 bits",
     {"cvt.rni.s32.f32 %r1, %h1;", "cvt.rn.f32.s32 %f1, %h1;", "cvt.rn.f16.f32 %h1, %h2;"}},
    {"destination 1 must be a register of 64 bits or more and is a register of 32 bits", {"cvt.f64.f32 %f2, %f1;"}},
    {"destination 1 must be a register of 32 bits and is a register of 16 bits",
     {"cvt.rn.f16x2.f32 %h1, %f1, %f2;", "cvt.rn.f16x2.e5m2x2 %h2, %h1;"}},
    {"destination 1 must be a register of 16 bits and is a register of 32 bits",
     {"cvt.rn.satfinite.e4m3x2.f32 %r1, %f1, %f2;"}},
    {"2 such parts do not make 64 bits",
     {"mov.b64 {%h1, %r2}, %rd1;", "mov.b64 %rd1, {%r1, _};", "mov.b64 {%q1, %q0}, %rd1;"}},
    {"3 such parts do not make 64 bits", {"mov.b64 {%r1, %r2, %r3}, %rd1;"}},
    {"1 such parts do not make 64 bits", {"mov.b64 {%rd1}, %rd2;"}},
    {"destination 1 must be a register of 64 bits and is a register of 32 bits",
     {"mov.b64 %r1, {%r1, %r2};", "mov.b64 %r1, %rd1;"}},
    {"source 1 must be a value of 64 bits and is a register of 32 bits", {"mov.b64 %rd1, %r1;"}},
    {"source 1 must be a value of 64 bits and is an address", {"mov.b64 %rd1, [%rd2];"}},
    {"mov takes one destination and one source", {"mov.b64 %rd1, %rd2, %rd3;", "mov.b64 %rd1;"}},
    {"source 4 must be a number and is a register of 32 bits", {"lop3.b32 %r1, %r2, %r3, %r4, %r5;"}},
};

/* Known forms with operands of another kind or width: they are refused when the module is loaded. test_operands.c
 * has all widths. */
static void test_operands(void **state) {
    (void)state;
    int wrong = 0;
    for (size_t n = 0; n < sizeof misfits / sizeof *misfits; n++)
        for (size_t k = 0; k < sizeof misfits[n].code / sizeof *misfits[n].code && misfits[n].code[k]; k++) {
            wrong += check_bad(misfits[n].code[k], misfits[n].sentence);
            wrong += refused ? 0 : complain(misfits[n].code[k], "a module", "none");
        }
    assert_int_equal(wrong, 0);
}

/* What the lexer and the parser refuse before anything is bound. */
static void test_modifiers(void **state) {
    (void)state;
    static const struct {
        const char *code, *error;
    } wrong[] = {
        {"cp.async.bulk.im2col.shared::cluster.global [%r1], [%rd1], 16, [%r3];", "unknown modifier .im2col of cp"},
        {"mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 " D4 ", " A4 ", " B2 ", " C4 ";",
         "unknown modifier .sp::ordered_metadata of mma"},
        {"ldmatrix.sync.aligned.m8n8n8.x1.shared.b16 %r1, [%r2];", "unknown modifier .m8n8n8 of ldmatrix"},
        {"ldmatrix.sync.aligned.m8.x1.shared.b16 %r1, [%r2];", "unknown modifier .m8 of ldmatrix"},
        {"ldmatrix.sync.aligned.m8n0.x1.shared.b16 %r1, [%r2];", "unknown modifier .m8n0 of ldmatrix"},
        {"ldmatrix.sync.aligned.m8n257.x1.shared.b16 %r1, [%r2];", "unknown modifier .m8n257 of ldmatrix"},
        {"ldmatrix.sync.aligned.n8m8.x1.shared.b16 %r1, [%r2];", "unknown modifier .n8m8 of ldmatrix"},
        {"ldmatrix.sync.aligned.m8n8.x3.shared.b16 %r1, [%r2];", "unknown modifier .x3 of ldmatrix"},
        {"ld.global.v3.u32 {%r1, %r2, %r3}, [%rd1];", "unknown modifier .v3 of ld"},
        {"cvt.pack.sat.u8.s32.b32 %r1, %r2, %r3, %r4;", "unknown modifier .pack of cvt"},
        {"vote.sync.cg.b32 %r1, %p1, -1;", "unknown form of a warp-wide instruction"},
        {"mma.f32.f32.f32.f32.f32 %r1, %r2, %r3, %r4;", "too many types"},
        {"tensormap.replace.tile.rank.global.b1024.b32 [%rd1], 4;", "unknown instruction tensormap in"},
        {"add.u32 %r1|%r2|%r3, %r4, %r5;", "too many destinations"},
        {"st.global.u32 [%rd1], %r1, %r2, %r3, %r4, %r5, %r6, %r7;", "too many operands"},
        {"cp.async.bulk.tensor.1d.global.shared::cta.bulk_group %r1, %r1, %r1, %r1, %r1, %r1, [%rd1, {%r1}];",
         "too many operands"},
        {"@%r1 add.u32 %r1, %r2, %r3;", "the guard %r1 is not a predicate"},
        {"@%p9 add.u32 %r1, %r2, %r3;", "the guard %p9 is not a predicate"},
        {"@7 add.u32 %r1, %r2, %r3;", "the guard 7 is not a predicate"},
        {"add.u32 %r1, -%r2, %r3;", "register %r2 cannot be negated here"},
        {"add.u32 %r1, !%r2, %r3;", "register %r2 cannot be negated here"},
        {"and.b32 %r1, ~%r2, %r3;", "register %r2 cannot be negated here"},
        {"selp.b32 %r1, %r2, %r3, -%p1;", "register %p1 cannot be negated here"},
        {"add.u32 %r1, %r2, buffer;", "buffer is not declared"},
        {"add.u32 %r1, %r2, ]3;", "unknown operand ']'"},
        {"add.u32 %r1, %r2, %tid.q;", "unknown register %tid.q"},
        {"ld.global.u32 %r1, [nowhere];", "nowhere is not declared"},
        {"add.u32 %r1, %r2, {%r3, nowhere};", "nowhere is not declared"},
        {"ld.global.u32 %r1, [%h1];", "register %h1 is too narrow for an address"},
        {"ld.global.u32 %r1, [%p1];", "register %p1 is too narrow for an address"},
        {"ld.global.u32 %r1, [%rd1+%r2];", "expected a number before '%r2'"},
        {"ld.global.u32 %r1, [%rd1;", "expected ']' before ';'"},
        {"mov.b64 %rd1, {%r1, %r2;", "expected '}' before ';'"},
        {"vadd.s32.s32.s32 %r1, %r2.b4, %r3;", "unknown selector .b4 of a register"},
        {"vadd.s32.s32.s32 %r1, %r2.x1, %r3;", "unknown selector .x1 of a register"},
        {"vadd.s32.s32.s32 %r1, %r2.b01230, %r3;", "unknown selector .b01230 of a register"},
        {"vadd.s32.s32.s32 %r1, %r2.b, %r3;", "unknown selector .b of a register"},
        {"brx.idx %r1 TARGETS;", "expected ',' before 'TARGETS'"},
        {"ld.param.u32 %r1, [in+8];", "an access of parameter bytes 8 … of 8, or a misaligned one"},
        {"ld.param.u64 %rd1, [in+4];", "an access of parameter bytes 4 … of 8, or a misaligned one"},
        {"ld.param.v2.u32 {%r1, %r2}, [in+4];", "an access of parameter bytes 4 … of 8, or a misaligned one"},
        {"ld.param.u32 %r1, [in+2];", "an access of parameter bytes 2 … of 8, or a misaligned one"},
    };
    int failed = 0;
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        const char *error = parse_one(wrong[k].code);
        if (!strstr(error, wrong[k].error) || strncmp(error, "PTX line 8: ", 12) != 0)
            failed += complain(wrong[k].code, error, wrong[k].error);
    }
    assert_int_equal(failed, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matrices),       cmocka_unit_test(test_mma),
        cmocka_unit_test(test_wgmma),          cmocka_unit_test(test_loads_and_stores),
        cmocka_unit_test(test_atomics),        cmocka_unit_test(test_barriers),
        cmocka_unit_test(test_warp_wide),      cmocka_unit_test(test_addresses_and_flow),
        cmocka_unit_test(test_conversions),    cmocka_unit_test(test_operands),
        cmocka_unit_test(test_modifiers),      cmocka_unit_test(test_arithmetic),
        cmocka_unit_test(test_moves_and_bits), cmocka_unit_test(test_comparisons_and_video),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
