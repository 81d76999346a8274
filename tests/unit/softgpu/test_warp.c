/* What a thread can ask of its place, and what the threads of a warp and of a CTA do together: barriers with results,
 * votes, matches, reductions, and the instructions that take a whole warp. */
#include "runtime/base/str.h"
#include "world.h"

/* Code between: it sets %r9 of each thread, which is stored at out[thread + 64 * CTA]; %r1 is the thread of the CTA,
 * %r2 the lane, %p1 whether the lane is below 12. */
static const char before[] =
    ".version 8.6\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 out, .param .u32 given)\n"
    "{ .shared .align 128 .b8 buf[1024]; .local .align 16 .b8 depot[48];\n"
    ".reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<24>; .reg .b64 %rd<12>; .reg .f32 %f<9>; .reg .f64 %d<9>;\n"
    "mov.u32 %r10, %tid.x; mov.u32 %r11, %tid.y; mov.u32 %r12, %tid.z; mov.u32 %r13, %ntid.x; mov.u32 %r14, %ntid.y;\n"
    "mad.lo.u32 %r15, %r12, %r14, %r11; mad.lo.u32 %r1, %r15, %r13, %r10; and.b32 %r2, %r1, 31;\n"
    "setp.lt.u32 %p1, %r2, 12;\n";
static const char after[] =
    "\nmov.u32 %r10, %ctaid.x; mov.u32 %r11, %ctaid.y; mov.u32 %r12, %ctaid.z; mov.u32 %r13, %nctaid.x;\n"
    "mov.u32 %r14, %nctaid.y; mad.lo.u32 %r15, %r12, %r14, %r11; mad.lo.u32 %r15, %r15, %r13, %r10;\n"
    "mad.lo.u32 %r15, %r15, 64, %r1; ld.param.u64 %rd10, [out]; mul.wide.u32 %rd11, %r15, 4;\n"
    "add.u64 %rd10, %rd10, %rd11; st.global.u32 [%rd10], %r9; ret; }\n";

struct params {
    uint32_t *out, given;
};
typedef uint32_t value_fn(uint32_t thread, uint32_t cta);

static void open_code(struct world *w, struct params *p, const char *code) {
    struct str ptx = {0};
    str_printf(&ptx, "%s%s%s", before, code, after);
    world_open(w, ptx.data);
    str_release(&ptx);
    p->out = world_alloc(w, 64 * 64 * 4);
    p->given = 0x1234;
    w->launch.block[0] = 64;
}

static void compare(const struct params *p, const char *code, uint32_t threads, uint32_t ctas, value_fn *want) {
    for (uint32_t c = 0; c < ctas; c++)
        for (uint32_t t = 0; t < threads; t++)
            if (p->out[64 * c + t] != want(t, c))
                fail_msg("'%s': thread %u of CTA %u gives %x, not %x", code, t, c, p->out[64 * c + t], want(t, c));
}

/* With 64 threads in one CTA, for a few orders of the warps. */
static void check(const char *code, value_fn *want) {
    for (uint64_t seed = 0; seed < 3; seed++) {
        struct world w;
        struct params p;
        open_code(&w, &p, code);
        w.launch.seed = seed;
        world_run_good(&w, &p);
        compare(&p, code, 64, 1, want);
        world_close(&w);
    }
}

static void check_bad(const char *code, enum sg_fault_kind kind, const char *text) {
    struct world w;
    struct params p;
    open_code(&w, &p, code);
    world_run_bad(&w, &p, kind, text);
    world_close(&w);
}

/* ---- places ---- */

#define V(name) static uint32_t name(__attribute__((unused)) uint32_t t, __attribute__((unused)) uint32_t c)

V(tid) {
    return t % 4 | t / 4 % 3 << 8 | t / 12 << 16;
}
V(ntid) {
    return 4 | 3 << 8 | 5 << 16;
}
V(ctaid) {
    return c % 3 | c / 3 % 2 << 8 | c / 6 << 16;
}
V(nctaid) {
    return 3 | 2 << 8 | 4 << 16;
}
V(of_warp) {
    return t / 32 | 64 << 8 | t % 32 << 16;
}
V(of_sm) {
    return c % 5 | 5 << 8;
}
V(equal_mask) {
    return 1u << t % 32;
}
V(up_to_mask) {
    return ~0u >> (31 - t % 32);
}
V(from_mask) {
    return ~0u << t % 32;
}
V(above_mask) {
    return (uint32_t)(~0ull << (t % 32 + 1));
}
V(below_mask) {
    return (1u << t % 32) - 1;
}
V(memory_sizes) {
    return 1024 + 1024 + 256 + 256;
} /* static, dynamic twice, and both twice: see below */
V(zero) {
    return 0;
}
V(one) {
    return 1;
}

#define THREE(name)                                                                                                    \
    "mov.u32 %r20, %" name ".x; mov.u32 %r21, %" name ".y; mov.u32 %r22, %" name ".z;\n"                               \
    "shl.b32 %r21, %r21, 8; shl.b32 %r22, %r22, 16; or.b32 %r9, %r20, %r21; or.b32 %r9, %r9, %r22;"

static void check_place(const char *code, value_fn *want) {
    struct world w;
    struct params p;
    open_code(&w, &p, code);
    memcpy(w.launch.block, (uint32_t[]){4, 3, 5}, 12);
    memcpy(w.launch.grid, (uint32_t[]){3, 2, 4}, 12);
    w.launch.sm_count = 5;
    w.launch.shared_dynamic = 256;
    world_run_good(&w, &p);
    compare(&p, code, 60, 24, want);
    world_close(&w);
}

static void test_places(void **state) {
    (void)state;
    check_place(THREE("tid"), tid);
    check_place(THREE("ntid"), ntid);
    check_place(THREE("ctaid"), ctaid);
    check_place(THREE("nctaid"), nctaid);
    check_place(THREE("clusterid"), ctaid); /* without clusters each CTA is one */
    check_place(THREE("nclusterid"), nctaid);
    check_place(THREE("cluster_ctaid"), zero);
    check_place("mov.u32 %r20, %warpid; mov.u32 %r21, %nwarpid; mov.u32 %r22, %laneid;\n"
                "shl.b32 %r21, %r21, 8; shl.b32 %r22, %r22, 16; or.b32 %r9, %r20, %r21; or.b32 %r9, %r9, %r22;",
                of_warp);
    check_place("mov.u32 %r20, %smid; mov.u32 %r21, %nsmid; shl.b32 %r21, %r21, 8; or.b32 %r9, %r20, %r21;", of_sm);
    check_place("mov.u32 %r9, %lanemask_eq;", equal_mask);
    check_place("mov.u32 %r9, %lanemask_le;", up_to_mask);
    check_place("mov.u32 %r9, %lanemask_lt;", below_mask);
    check_place("mov.u32 %r9, %lanemask_ge;", from_mask);
    check_place("mov.u32 %r9, %lanemask_gt;", above_mask);
    check_place("mov.u32 %r20, %dynamic_smem_size; mov.u32 %r21, %total_smem_size; mov.u32 %r22, %aggr_smem_size;\n"
                "add.u32 %r9, %r20, %r21; sub.u32 %r22, %r22, 256; add.u32 %r9, %r9, %r22; add.u32 %r9, %r9, 0;",
                memory_sizes);
    check_place("mov.u32 %r9, %tid.w;", zero);
    check_place("mov.u64 %rd1, %gridid; cvt.u32.u64 %r9, %rd1;", zero);
    check_place("mov.u32 %r9, %reserved_smem_offset_begin; mov.u32 %r20, %reserved_smem_offset_end;\n"
                "mov.u32 %r21, %reserved_smem_offset_cap; add.u32 %r9, %r9, %r21; sub.u32 %r9, %r20, %r9;",
                zero);
    check_place("mov.u32 %r9, %reserved_smem_offset_1; mov.u32 %r20, %reserved_smem_offset_0; sub.u32 %r9, %r9, %r20;\n"
                "shr.u32 %r9, %r9, 9;",
                one);
    check_place("mov.u32 %r9, %reserved_smem_offset_begin; mov.u32 %r20, %total_smem_size; sub.u32 %r9, %r9, %r20;",
                zero);
    check_place("mov.u32 %r9, %reserved_smem_offset_1; atom.shared.and.b32 %r20, [%r9+508], 0; "
                "ld.relaxed.cta.shared.u32 %r9, [%r9+508];",
                zero);
    check_place("mov.pred %p2, %is_explicit_cluster; selp.u32 %r9, 1, 0, %p2;", zero);
    check_place("mov.u32 %r9, %cluster_nctarank;", one);
    check_place("mov.u32 %r9, %cluster_ctarank;", zero);
}

/* The clock goes on with each instruction; the upper half of a small number is 0. */
V(clock_grows) {
    return 7;
}
static void test_clocks(void **state) {
    (void)state;
    check(
        "mov.u32 %r20, %clock; LATER: mov.u64 %rd1, %clock64; cvt.u32.u64 %r22, %rd1; setp.eq.u32 %p2, %r20, %r22;\n"
        "@%p2 bra LATER; setp.lt.u32 %p2, %r20, %r22; selp.u32 %r9, 1, 0, %p2; mov.u32 %r23, %clock_hi;\n"
        "setp.eq.u32 %p3, %r23, 0;\n"
        "@%p3 add.u32 %r9, %r9, 2; mov.u64 %rd2, %globaltimer; mov.u32 %r20, %globaltimer_hi; shr.u64 %rd4, %rd2, 32;\n"
        "cvt.u32.u64 %r21, %rd4; sub.u32 %r20, %r20, %r21; add.u32 %r20, %r20, 1; setp.le.u32 %p4, %r20, 2;\n"
        "setp.gt.u64 %p5, %rd2, 1600000000000000000; and.pred %p4, %p4, %p5; @%p4 add.u32 %r9, %r9, 4;", /* now */
        clock_grows);
}

/* ---- addresses ---- */

V(spaces) {
    return 0x5a;
}
static void test_addresses(void **state) {
    (void)state;
    /* a generic address tells its space; and back */
    check("mov.u64 %rd1, buf; cvta.shared.u64 %rd2, %rd1; mov.u64 %rd3, depot; cvta.local.u64 %rd4, %rd3;\n"
          "ld.param.u64 %rd5, [out]; cvta.global.u64 %rd6, %rd5; mov.u32 %r9, 0; isspacep.shared %p2, %rd2;\n"
          "@%p2 or.b32 %r9, %r9, 2; isspacep.shared %p2, %rd4; @%p2 or.b32 %r9, %r9, 1; isspacep.local %p2, %rd4;\n"
          "@%p2 or.b32 %r9, %r9, 8; isspacep.global %p2, %rd6; @%p2 or.b32 %r9, %r9, 16; isspacep.global %p2, %rd2;\n"
          "@%p2 or.b32 %r9, %r9, 1; isspacep.shared::cluster %p2, %rd2; @%p2 or.b32 %r9, %r9, 64;\n"
          "cvta.to.shared.u64 %rd7, %rd2; setp.ne.u64 %p2, %rd7, %rd1; @%p2 or.b32 %r9, %r9, 1;\n"
          "cvta.to.local.u64 %rd7, %rd4; setp.ne.u64 %p2, %rd7, %rd3; @%p2 or.b32 %r9, %r9, 1;\n"
          "cvta.param.u64 %rd8, given; isspacep.param %p2, %rd8; @!%p2 or.b32 %r9, %r9, 1;",
          spaces);
    check_bad("ld.param.u64 %rd1, [out]; mapa.u64 %rd2, %rd1, 0;", SG_FAULT_OUT_OF_BOUNDS, "is not in shared memory");
    check_bad("mov.u32 %r3, buf; mapa.shared::cluster.u32 %r3, %r3, 1;", SG_FAULT_OUT_OF_BOUNDS,
              "there is no CTA 1 in a cluster of 1");
    check("createpolicy.fractional.L2::evict_first.b64 %rd1, 1.0; cvt.u32.u64 %r9, %rd1;", one);
}

/* ---- barriers ---- */

V(counted) {
    return 40;
}
V(all_and) {
    return 1;
}
V(one_or) {
    return 1;
}
V(counted_twice) {
    return 33 * 1000 + 5;
}
V(of_others) {
    return t ^ 32;
}

static void test_barriers(void **state) {
    (void)state;
    check("setp.lt.u32 %p2, %r1, 40; bar.red.popc.u32 %r9, 3, %p2;", counted);
    check("setp.lt.u32 %p2, %r1, 64; barrier.red.and.pred %p3, 0, %p2; selp.u32 %r9, 1, 0, %p3;", all_and);
    check("setp.lt.u32 %p2, %r1, 63; bar.red.and.pred %p3, 0, %p2; selp.u32 %r9, 1, 0, %p3;", zero);
    check("setp.eq.u32 %p2, %r1, 63; bar.red.or.pred %p3, 0, 64, %p2; selp.u32 %r9, 1, 0, %p3;", one_or);
    check("setp.gt.u32 %p2, %r1, 64; bar.red.or.pred %p3, 0, %p2; selp.u32 %r9, 1, 0, %p3;", zero);
    check("setp.gt.u32 %p2, %r1, 30; bar.red.popc.u32 %r20, 0, !%p2; setp.lt.u32 %p2, %r1, 5;\n" /* is empty again */
          "bar.red.popc.u32 %r21, 0, %p2; add.u32 %r20, %r20, 2; mad.lo.u32 %r9, %r20, 1000, %r21;",
          counted_twice);
    /* one warp arrives and goes on, the other waits for it */
    check(
        "mov.u32 %r20, buf; shl.b32 %r21, %r1, 2; add.u32 %r20, %r20, %r21; st.shared.u32 [%r20], %r1;\n"
        "setp.lt.u32 %p2, %r1, 32; @%p2 bar.arrive 1, 64; @!%p2 bar.sync 1, 64; bar.sync 2; xor.b32 %r20, %r20, 128;\n"
        "ld.shared.u32 %r9, [%r20];",
        of_others);
    /* the threads that are gone count no more */
    check_bad("setp.lt.u32 %p2, %r1, 40; @%p2 bra ON; trap; ON: bar.sync 0; mov.u32 %r9, 0;", SG_FAULT_TRAP, "trap");
    const char *none = "does not exist";
    check_bad("bar.sync 16;", SG_FAULT_DIVERGENT_BARRIER, "barrier 16 for 0 threads does not exist");
    check_bad("bar.sync 15, 33;", SG_FAULT_DIVERGENT_BARRIER, none);
    check_bad("mov.u32 %r20, 0; bar.sync 1, %r20;", SG_FAULT_DIVERGENT_BARRIER, none);
    check_bad("setp.lt.u32 %p2, %r1, 32; @%p2 bar.sync 1, 64; @!%p2 bar.sync 1, 96;", SG_FAULT_DIVERGENT_BARRIER,
              "barrier 1 is awaited with");
    check_bad("setp.lt.u32 %p2, %r1, 32; @%p2 bar.sync 1; @!%p2 bar.sync 1, 64;", SG_FAULT_DIVERGENT_BARRIER,
              "barrier 1 is awaited with");
}

static void test_exits(void **state) {
    (void)state;
    /* the last threads leave while the first wait: the barrier is complete with those that are left */
    struct world w;
    struct params p;
    open_code(&w, &p,
              "mov.u32 %r9, 0; setp.ge.u32 %p2, %r1, 20; @%p2 exit; bar.red.popc.u32 %r9, 0, %p1;\n"
              "setp.lt.u32 %p2, %r9, 100; @%p2 add.u32 %r9, %r9, 0x6b;");
    memset(p.out, 0, 256);
    world_run_good(&w, &p);
    for (uint32_t t = 0; t < 64; t++)
        assert_int_equal(p.out[t], t < 20 ? 12 + 0x6b : 0);
    world_close(&w);
}

/* ---- within a warp ---- */

static uint32_t value_of(uint32_t t) { /* what the code below computes */
    return t * 2654435761u;
}
#define VALUE "mul.lo.u32 %r3, %r1, 2654435761;\n"

V(most_unsigned) {
    uint32_t r = 0;
    for (uint32_t k = t / 32 * 32; k < t / 32 * 32 + 32; k++)
        r = value_of(k) > r ? value_of(k) : r;
    return r;
}
V(most_signed) {
    int32_t r = INT32_MIN;
    for (uint32_t k = t / 32 * 32; k < t / 32 * 32 + 32; k++)
        r = (int32_t)value_of(k) > r ? (int32_t)value_of(k) : r;
    return (uint32_t)r;
}
V(least_unsigned) {
    uint32_t r = ~0u;
    for (uint32_t k = t / 32 * 32; k < t / 32 * 32 + 32; k++)
        r = value_of(k) < r ? value_of(k) : r;
    return r;
}
static uint32_t folded(uint32_t t, char how) {
    uint32_t all = ~0u, any = 0, odd = 0;
    for (uint32_t k = t / 32 * 32; k < t / 32 * 32 + 32; k++) {
        const uint32_t x = value_of(k) | 0x11000;
        all &= x;
        any |= x & 0xff00ff;
        odd ^= x;
    }
    return how == '&' ? all : how == '|' ? any : odd;
}
V(folded_and) {
    return folded(t, '&');
}
V(folded_or) {
    return folded(t, '|');
}
V(folded_xor) {
    return folded(t, '^');
}
V(parts_sum) { /* lanes below 12 among themselves, and the others */
    const uint32_t base = t / 32 * 32, from = t % 32 < 12 ? 0 : 12, to = t % 32 < 12 ? 12 : 32;
    uint32_t r = 0;
    for (uint32_t k = from; k < to; k++)
        r += value_of(base + k);
    return r;
}
V(parts_mask) {
    return t % 32 < 12 ? 0xfffu : 0xfffff000u;
}
V(same_wide) {
    return t % 32 < 16 ? 0xffffu : 0xffff0000u;
}
V(all_same) {
    return ~0u;
}
V(none_same) {
    return 0;
}
V(elected) {
    return t % 32 == 0 ? 0x100 : 0;
}
V(elected_part) {
    return t % 32 < 12 ? (t % 32 == 0 ? 0x100 : 0) : 12 | (t % 32 == 12 ? 0x100 : 0);
}
V(uniform) {
    return t < 32;
}
V(from_gone) {
    return t % 32 < 12 ? value_of(t % 32 == 11 ? t : t + 1) : 5;
}
V(old_sum) {
    return t % 32 < 12 ? 0xfff : 0;
}

#define PARTS "selp.b32 %r4, 0xfff, 0xfffff000, %p1;\n"

static void test_warp_wide(void **state) {
    (void)state;
    check(VALUE "redux.sync.max.u32 %r9, %r3, -1;", most_unsigned);
    check(VALUE "redux.sync.max.s32 %r9, %r3, -1;", most_signed);
    check(VALUE "redux.sync.min.u32 %r9, %r3, -1;", least_unsigned);
    check(VALUE "or.b32 %r3, %r3, 0x11000; redux.sync.and.b32 %r9, %r3, -1;", folded_and);
    check(VALUE "and.b32 %r3, %r3, 0xff00ff; and.b32 %r5, %r3, 0xff00ff; or.b32 %r3, %r3, 0x10000;\n"
                "redux.sync.or.b32 %r9, %r3, -1;",
          folded_or);
    check(VALUE "or.b32 %r3, %r3, 0x11000; redux.sync.xor.b32 %r9, %r3, -1;", folded_xor);
    /* two masks in one instruction: each part on its own */
    check(VALUE PARTS "redux.sync.add.u32 %r9, %r3, %r4;", parts_sum);
    check(PARTS "setp.eq.u32 %p2, 0, 0; vote.sync.ballot.b32 %r9, %p2, %r4;", parts_mask);
    check(PARTS "match.any.sync.b32 %r9, 7, %r4;", parts_mask);
    check(PARTS "elect.sync %r5|%p3, %r4; selp.u32 %r9, 0x100, 0, %p3; or.b32 %r9, %r9, %r5;", elected_part);
    check("elect.sync _|%p3, -1; selp.u32 %r9, 0x100, 0, %p3;", elected);
    check("shr.u32 %r5, %r2, 4; cvt.u64.u32 %rd1, %r5; shl.b64 %rd1, %rd1, 40; match.any.sync.b64 %r9, %rd1, -1;",
          same_wide);
    check("match.all.sync.b32 %r9|%p2, 9, -1; @!%p2 mov.u32 %r9, 1;", all_same);
    check("match.all.sync.b32 %r9|%p2, %r2, -1; @%p2 mov.u32 %r9, 1;", none_same);
    check("shr.u32 %r5, %r1, 5; mov.u32 %r6, 31; selp.u32 %r7, 1, 0, %p1; mul.lo.u32 %r7, %r7, %r5;\n" /* warp 0: 0 */
          "setp.ne.u32 %p2, %r7, 0; vote.sync.uni.pred %p3, %p2, -1; selp.u32 %r9, 1, 0, %p3;",
          uniform);
    check("setp.eq.u32 %p2, 0, 0; vote.sync.uni.pred %p3, %p2, -1; selp.u32 %r9, 1, 0, %p3;", one);
    check("vote.sync.all.pred %p3, %p1, -1; selp.u32 %r9, 1, 0, %p3;", zero);
    check("vote.sync.any.pred %p3, %p1, -1; selp.u32 %r9, 1, 0, %p3;", one);
    /* a lane that is not there has nothing to give; the forms without .sync take the lanes that are there */
    check(VALUE "mov.u32 %r9, 5; @%p1 shfl.sync.down.b32 %r9, %r3, 1, 0x1f, 0xfff; setp.eq.u32 %p2, %r2, 11;\n"
                "@%p2 mov.u32 %r9, %r3;",
          from_gone);
    check("mov.u32 %r9, 0; @%p1 vote.ballot.b32 %r9, %p1;", old_sum);
    check("mov.u32 %r9, 0; @%p1 activemask.b32 %r9;", old_sum);
    check_bad("@%p1 bra ON; bar.warp.sync 0xfff; ON: mov.u32 %r9, 0;", SG_FAULT_DIVERGENT_BARRIER,
              "this lane executes it but is not in its member mask 00000fff");
    check_bad("mov.u32 %r9, 0; @%p1 bar.warp.sync -1;", SG_FAULT_DIVERGENT_BARRIER, "fffff000, which are named too");
}

V(lane_number) {
    return t % 32;
}
V(shfl_gone) {
    return ~0u;
}
static void test_missing_lanes(void **state) {
    (void)state;
    struct world w;
    struct params p;
    /* lanes from 12 on have left; lane 11 asks the one behind it */
    open_code(&w, &p, "mov.u32 %r9, 0; @!%p1 exit; shfl.sync.down.b32 %r9, %r2, 1, 31, -1;");
    memset(p.out, 0, 256);
    world_run_good(&w, &p);
    for (uint32_t t = 0; t < 64; t++)
        assert_int_equal(p.out[t], t % 32 < 11 ? t % 32 + 1 : t % 32 == 11 ? shfl_gone(t, 0) : 0);
    world_close(&w);
    check("bar.warp.sync -1; mov.u32 %r9, %r2;", lane_number);
}

/* ---- instructions of a whole warp: lanes that are not yet there are waited for ---- */

/* The lanes from 12 on go another way, behind the rest of the code, and come back to MEET. */
#define DETOUR "mov.u32 %r20, buf; shl.b32 %r21, %r2, 4; add.u32 %r20, %r20, %r21; @!%p1 bra LATER; MEET:\n"
#define RETURN "\nbra OUT; LATER: add.u32 %r9, %r2, 0; bra MEET; OUT:"

V(transposed) {
    return ((t % 4 * 2 * 8 + t % 32 / 4) & 0xffff) | (uint32_t)((t % 4 * 2 + 1) * 8 + t % 32 / 4) << 16;
}
V(row_start) {
    return t % 32 / 4 * 0x100 + t % 4;
}
V(stored) {
    return t % 4 == 0 ? t % 32 / 4 * 4 + 0x50 : t % 32 / 4 * 4 + 0x50 + t % 4;
}
V(product) {
    return 16 * 3 * 2 + 7;
}

static void check_one_warp(const char *code, value_fn *want) {
    struct world w;
    struct params p;
    open_code(&w, &p, code);
    w.launch.block[0] = 32;
    world_run_good(&w, &p);
    compare(&p, code, 32, 1, want);
    world_close(&w);
}

static void test_whole_warps(void **state) {
    (void)state;
    /* element 8 r + c of the matrix, two to a lane */
    check_one_warp("shl.b32 %r5, %r2, 1; add.u32 %r6, %r5, 1; shl.b32 %r6, %r6, 16; or.b32 %r7, %r5, %r6;\n" DETOUR
                   "movmatrix.sync.aligned.m8n8.trans.b16 %r9, %r7;" RETURN,
                   transposed);
    /* row r of shared memory holds words 0x100 r … 0x100 r + 3 */
    check_one_warp("mov.u32 %r20, buf; shl.b32 %r21, %r2, 2; add.u32 %r22, %r20, %r21; shr.u32 %r5, %r2, 2;\n"
                   "shl.b32 %r5, %r5, 8; and.b32 %r6, %r2, 3; or.b32 %r5, %r5, %r6; st.shared.u32 [%r22], %r5;\n"
                   "bar.warp.sync -1;\n" DETOUR "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r9}, [%r20];" RETURN,
                   row_start);
    check_one_warp("add.u32 %r7, %r2, 0x50;\n" DETOUR "stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r20], {%r7};\n"
                   "bra READ; LATER: add.u32 %r9, %r2, 0; bra MEET; READ: bar.warp.sync -1; mov.u32 %r20, buf;\n"
                   "shl.b32 %r21, %r2, 2; add.u32 %r20, %r20, %r21; ld.shared.u32 %r9, [%r20];",
                   stored);
    check_one_warp("mov.u32 %r5, 0x03030303; mov.u32 %r6, 0x02020202; mov.u32 %r7, 7; mov.u32 %r8, 7;\n" DETOUR
                   "mma.sync.aligned.m8n8k16.row.col.s32.s8.u8.s32 {%r9, %r10}, {%r5}, {%r6}, {%r7, %r8};" RETURN,
                   product);
    check_bad("mov.u32 %r20, buf; @%p1 movmatrix.sync.aligned.m8n8.trans.b16 %r9, %r2;", SG_FAULT_DIVERGENT_BARRIER,
              "lanes 00000fff arrive here and lanes fffff000, which are named too, never do");
    check_bad("@!%p1 exit; movmatrix.sync.aligned.m8n8.trans.b16 %r9, %r2;", SG_FAULT_DIVERGENT_BARRIER,
              "all 32 lanes must execute it together; active are 0x00000fff");
    check_bad("@!%p1 exit; mma.sync.aligned.m8n8k16.row.col.s32.s8.u8.s32 {%r9, %r10}, {%r5}, {%r6}, {%r7, %r8};",
              SG_FAULT_DIVERGENT_BARRIER, "all 32 lanes must execute it together");
    check_bad("@!%p1 exit; mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%d1, %d2}, {%d3}, {%d4}, {%d5, %d6};",
              SG_FAULT_DIVERGENT_BARRIER, "all 32 lanes must execute it together");
    check_bad("@!%p1 exit; mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f1, %f2, %f3, %f4}, {%r3, %r4, %r5, "
              "%r6}, {%r7, %r8}, {%f1, %f2, %f3, %f4};",
              SG_FAULT_DIVERGENT_BARRIER, "all 32 lanes must execute it together");
    check_bad("mov.u32 %r20, buf; @!%p1 exit; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r9}, [%r20];",
              SG_FAULT_DIVERGENT_BARRIER, "all 32 lanes must execute it together");
}

/* ---- control flow ---- */

V(far_target) {
    return t % 32 == 3 ? 30 : 10 * (t % 3);
}
static void test_branches(void **state) {
    (void)state;
    check("rem.u32 %r3, %r1, 3; and.b32 %r5, %r2, 31; setp.eq.u32 %p2, %r5, 3; @%p2 mov.u32 %r3, 3;\n"
          "T: .branchtargets A, B, C, D;\n brx.idx %r3, T;\n"
          "A: mov.u32 %r9, 0; bra.uni E; B: mov.u32 %r9, 10; bra.uni E; C: mov.u32 %r9, 20; bra.uni E; D: mov.u32 %r9, "
          "30; E:",
          far_target);
    check_bad("T: .branchtargets A, B; A: mov.u32 %r3, 2; brx.idx %r3, T; B: mov.u32 %r9, 0;", SG_FAULT_OUT_OF_BOUNDS,
              "index 2 of 2 branch targets");
    check_bad("brkpt;", SG_FAULT_TRAP, "the kernel stopped itself");
    check("pmevent 3; griddepcontrol.wait; prefetch.global.L2 [%rd1]; nanosleep.u32 10; mov.u32 %r9, 1;", one);
}

/* ---- refused launches ---- */

static void test_launches(void **state) {
    (void)state;
    struct world w;
    struct params p;
    open_code(&w, &p, "mov.u32 %r9, 1;");
    w.launch.grid[1] = 0;
    world_run_bad(&w, &p, SG_FAULT_LAUNCH, "impossible number of CTAs");
    w.launch.grid[1] = 1;
    w.launch.block[0] = 1025;
    world_run_bad(&w, &p, SG_FAULT_LAUNCH, "threads");
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),        cmocka_unit_test(test_clocks),      cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_barriers),      cmocka_unit_test(test_exits),       cmocka_unit_test(test_warp_wide),
        cmocka_unit_test(test_missing_lanes), cmocka_unit_test(test_whole_warps), cmocka_unit_test(test_branches),
        cmocka_unit_test(test_launches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
