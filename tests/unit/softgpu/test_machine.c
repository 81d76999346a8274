/* The machine of the software device executes PTX rightly: control flow, calls, memory, warp-wide instructions. */
#include "world.h"

/* c[i] = a[i] + b[i] for i < n */
static const char vector_add[] =
    PTX_HEAD ".visible .entry k(.param .u64 pa, .param .u64 pb, .param .u64 pc, .param .u32 pn)\n"
             "{ .reg .pred %p<2>; .reg .b32 %r<9>; .reg .b64 %rd<9>;\n"
             "ld.param.u32 %r1, [pn]; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x;\n"
             "mad.lo.s32 %r5, %r2, %r3, %r4; setp.ge.s32 %p1, %r5, %r1; @%p1 bra DONE;\n"
             "ld.param.u64 %rd1, [pa]; ld.param.u64 %rd2, [pb]; ld.param.u64 %rd3, [pc];\n"
             "cvta.to.global.u64 %rd1, %rd1; mul.wide.s32 %rd4, %r5, 4; add.s64 %rd5, %rd1, %rd4;\n"
             "add.s64 %rd6, %rd2, %rd4; add.s64 %rd7, %rd3, %rd4;\n"
             "ld.global.nc.L1::no_allocate.u32 %r6, [%rd5]; ld.u32 %r7, [%rd6]; add.s32 %r8, %r6, %r7;\n"
             "st.global.cs.u32 [%rd7], %r8;\nDONE: ret; }\n";

static void test_vector_add(void **state) {
    (void)state;
    struct world w;
    world_open(&w, vector_add);
    enum { N = 1003 };
    uint32_t *a = world_alloc(&w, N * 4), *b = world_alloc(&w, N * 4), *c = world_alloc(&w, N * 4), canary = c[N];
    struct {
        uint32_t *a, *b, *c;
        uint32_t n;
    } p = {a, b, c, N};
    w.launch.grid[0] = (N + 127) / 128;
    w.launch.block[0] = 128;
    world_run_good(&w, &p);
    for (int k = 0; k < N; k++)
        assert_int_equal(c[k], a[k] + b[k]);
    assert_int_equal(c[N], canary);
    assert_int_equal(w.counters.global_bytes_read, 2 * 4 * N);
    assert_int_equal(w.counters.global_bytes_written, 4 * N);
    assert_int_equal(w.counters.global_requests, 3 * 32);
    assert_int_equal(w.counters.global_sectors, 3 * ((N * 4 + 31) / 32));
    assert_int_equal(w.counters.warp_instructions, 32 * 20); /* each of 32 warps has 20 */
    assert_int_equal(w.counters.max_warp_instructions, 20);
    /* the same addition in estimate mode changes nothing */
    memset(c, 0x5a, N * 4);
    const uint32_t column[2][2] = {{1, 0}, {7, 0}};
    w.launch.sample = column;
    w.launch.sample_count = 2;
    world_run_good(&w, &p);
    assert_int_equal(c[128], 0x5a5a5a5a);
    assert_int_equal(w.counters.global_bytes_written, 4 * (128 + N - 7 * 128));
    world_close(&w);
}

/* out[i]: number of Collatz steps of i + 1, and a nested condition that adds 1000 for odd lanes below 20 */
static const char divergence[] =
    PTX_HEAD ".visible .entry k(.param .u64 out)\n"
             "{ .reg .pred %p<6>; .reg .b32 %r<9>; .reg .b64 %rd<4>;\n"
             "mov.u32 %r1, %tid.x; add.u32 %r2, %r1, 1; mov.u32 %r3, 0;\n"
             "LOOP: setp.eq.u32 %p1, %r2, 1; @%p1 bra OUT; and.b32 %r4, %r2, 1; setp.eq.u32 %p2, %r4, 0;\n"
             "@%p2 bra EVEN; mad.lo.u32 %r2, %r2, 3, 1; bra NEXT;\n"
             "EVEN: shr.u32 %r2, %r2, 1;\nNEXT: add.u32 %r3, %r3, 1; bra.uni LOOP;\n"
             "OUT: and.b32 %r5, %r1, 1; setp.ne.u32 %p3, %r5, 0; @!%p3 bra STORE;\n"
             "setp.lt.u32 %p4, %r1, 20; @%p4 add.u32 %r3, %r3, 1000;\n"
             "STORE: ld.param.u64 %rd1, [out]; mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2;\n"
             "activemask.b32 %r6; st.global.u32 [%rd3], %r3; st.global.u32 [%rd3+4096], %r6; exit; }\n";

static void test_divergence(void **state) {
    (void)state;
    struct world w;
    world_open(&w, divergence);
    uint32_t *out = world_alloc(&w, 8192);
    w.launch.block[0] = 96;
    world_run_good(&w, &out);
    for (uint32_t k = 0; k < 96; k++) {
        uint32_t steps = 0;
        for (uint64_t x = k + 1; x != 1; steps++)
            x = x % 2 ? 3 * x + 1 : x / 2;
        assert_int_equal(out[k], steps + (k % 2 && k < 20 ? 1000 : 0));
        assert_int_equal(out[1024 + k], UINT32_MAX); /* the lanes have met again */
    }
    world_close(&w);
}

/* f(x) calls g(x) twice, in diverged lanes; g uses local memory. A switch over brx.idx chooses what to add. */
static const char calls[] = PTX_HEAD
    ".func (.param .b32 r) g(.param .b32 x)\n"
    "{ .local .align 4 .b8 depot[16]; .reg .b64 %SP; .reg .b64 %SPL; .reg .b32 %r<5>; .reg .b64 %rd<4>;\n"
    "mov.u64 %SPL, depot; cvta.local.u64 %SP, %SPL; ld.param.u32 %r1, [x]; st.local.u32 [%SPL+4], %r1;\n"
    "and.b32 %r2, %r1, 3; mul.wide.u32 %rd1, %r2, 4; add.s64 %rd2, %SP, %rd1; st.u32 [%rd2], 77; ld.local.u32 %r3, "
    "[%SPL+4];\n"
    "shl.b32 %r4, %r3, 1; st.param.b32 [r+0], %r4; ret; }\n"
    ".func (.param .b32 r) f(.param .b32 x)\n"
    "{ .reg .pred %p<2>; .reg .b32 %r<5>; ld.param.u32 %r1, [x]; setp.gt.u32 %p1, %r1, 15; @%p1 bra BIG;\n"
    "{ .param .b32 a; st.param.b32 [a+0], %r1; .param .b32 v; call.uni (v), g, (a); ld.param.b32 %r2, [v+0]; } bra "
    "END;\n"
    "BIG: add.u32 %r3, %r1, 5;\n"
    "{ .param .b32 a; st.param.b32 [a+0], %r3; .param .b32 v; call.uni (v), g, (a); ld.param.b32 %r2, [v+0]; }\n"
    "END: add.u32 %r2, %r2, %r1; st.param.b32 [r+0], %r2; ret; }\n"
    ".visible .entry k(.param .u64 out)\n"
    "{ .reg .pred %p<2>; .reg .b32 %r<8>; .reg .b64 %rd<4>; mov.u32 %r1, %tid.x;\n"
    "{ .param .b32 a; st.param.b32 [a+0], %r1; .param .b32 v; call.uni (v), f, (a); ld.param.b32 %r2, [v+0]; }\n"
    "and.b32 %r3, %r1, 3;\nTABLE: .branchtargets L0, L1, L2, L1;\n brx.idx %r3, TABLE;\n"
    "L0: add.u32 %r2, %r2, 100; bra END;\nL1: add.u32 %r2, %r2, 200; bra END;\nL2: add.u32 %r2, %r2, 300;\n"
    "END: ld.param.u64 %rd1, [out]; mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2; st.global.u32 [%rd3], %r2; "
    "ret; }\n";

static uint32_t expected_call(uint32_t x) {
    uint32_t g = x > 15 ? x + 5 : x;
    uint32_t doubled = 2 * (g % 4 == 1 ? 77 : g); /* the store through the generic address hits the variable itself */
    return doubled + x + (x % 4 == 0 ? 100 : x % 4 == 2 ? 300 : 200);
}

static void test_calls(void **state) {
    (void)state;
    struct world w;
    world_open(&w, calls);
    uint32_t *out = world_alloc(&w, 256);
    w.launch.block[0] = 50;
    world_run_good(&w, &out);
    for (uint32_t k = 0; k < 50; k++)
        assert_int_equal(out[k], expected_call(k));
    world_close(&w);
}

/* Sum of 256 numbers per CTA: halving in shared memory, then an atomic to a total of all CTAs. */
static const char reduction[] = PTX_HEAD
    ".visible .entry k(.param .u64 in, .param .u64 total)\n"
    "{ .shared .align 4 .b8 buf[1024]; .reg .pred %p<4>; .reg .b32 %r<16>; .reg .b64 %rd<6>;\n"
    "mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mad.lo.u32 %r3, %r2, 256, %r1;\n"
    "ld.param.u64 %rd1, [in]; mul.wide.u32 %rd2, %r3, 4; add.s64 %rd3, %rd1, %rd2; ld.global.u32 %r4, [%rd3];\n"
    "mov.u32 %r5, buf; shl.b32 %r6, %r1, 2; add.u32 %r7, %r5, %r6; st.shared.u32 [%r7], %r4; mov.u32 %r8, 128;\n"
    "LOOP: bar.sync 0; setp.ge.u32 %p1, %r1, %r8; @%p1 bra SKIP; shl.b32 %r9, %r8, 2; add.u32 %r10, %r7, %r9;\n"
    "ld.shared.u32 %r11, [%r10]; ld.shared.u32 %r12, [%r7]; add.u32 %r12, %r12, %r11; st.shared.u32 [%r7], %r12;\n"
    "SKIP: shr.u32 %r8, %r8, 1; setp.ne.u32 %p2, %r8, 0; @%p2 bra LOOP;\n"
    "setp.ne.u32 %p3, %r1, 0; @%p3 bra END; ld.param.u64 %rd4, [total];\n"
    "atom.global.add.u32 %r13, [%rd4], %r12; red.global.max.u32 [%rd4+4], %r12; END: ret; }\n";

static void test_reduction(void **state) {
    (void)state;
    struct world w;
    world_open(&w, reduction);
    enum { CTAS = 23 };
    uint32_t *in = world_alloc(&w, CTAS * 1024), *total = world_alloc(&w, 8), sum = 0, most = 0;
    struct {
        uint32_t *in, *total;
    } p = {in, total};
    for (int c = 0; c < CTAS; c++) {
        uint32_t part = 0;
        for (int k = 0; k < 256; k++)
            part += in[c * 256 + k];
        sum += part;
        most = part > most ? part : most;
    }
    w.launch.grid[0] = CTAS;
    w.launch.block[0] = 256;
    for (uint64_t seed = 0; seed < 5; seed++) {
        total[0] = total[1] = 0;
        w.launch.seed = seed;
        world_run_good(&w, &p);
        assert_int_equal(total[0], sum);
        assert_int_equal(total[1], most);
    }
    assert_int_equal(w.counters.barriers, CTAS * 8 * 8);
    assert_int_equal(w.counters.atomics, CTAS * 2);
    world_close(&w);
}

/* Every lane of every CTA through each kind of atomic; a lock taken with cas by diverged lanes. */
static const char atomics[] = PTX_HEAD
    ".visible .entry k(.param .u64 out)\n"
    "{ .reg .pred %p<4>; .reg .b32 %r<16>; .reg .b64 %rd<6>; .reg .f32 %f<4>; .reg .f64 %fd<4>;\n"
    "ld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x;\n"
    "red.global.add.f32 [%rd1], 0f3F000000; red.global.add.f64 [%rd1+8], 0d3FE0000000000000;\n"
    "mov.u64 %rd2, 5; atom.add.u64 %rd3, [%rd1+16], %rd2; mov.b32 %r2, 0x3C003C00; red.global.add.noftz.f16x2 "
    "[%rd1+24], %r2;\n"
    "atom.global.inc.u32 %r3, [%rd1+28], 6; red.global.min.s32 [%rd1+32], -7; red.global.or.b32 [%rd1+36], %r1;\n"
    "LOCK: atom.global.acquire.gpu.cas.b32 %r4, [%rd1+40], 0, 1; setp.ne.u32 %p1, %r4, 0; @%p1 bra LOCK;\n"
    "ld.volatile.global.u32 %r5, [%rd1+44]; add.u32 %r5, %r5, 3; st.volatile.global.u32 [%rd1+44], %r5; membar.gl;\n"
    "atom.global.exch.b32 %r6, [%rd1+40], 0; ret; }\n";

static void test_atomics(void **state) {
    (void)state;
    struct world w;
    world_open(&w, atomics);
    uint32_t *out = world_alloc(&w, 64);
    memset(out, 0, 64);
    w.launch.grid[0] = 6;
    w.launch.block[0] = 64;
    world_run_good(&w, &out);
    float f;
    double d;
    memcpy(&f, out, 4);
    memcpy(&d, out + 2, 8);
    assert_true(f == 192);
    assert_true(d == 192);
    assert_int_equal(out[4], 5 * 384);
    assert_int_equal(out[6], 0x5e005e00); /* 384 */
    assert_int_equal(out[7], 384 % 7);
    assert_int_equal((int32_t)out[8], -7);
    assert_int_equal(out[9], 63);
    assert_int_equal(out[10], 0);
    assert_int_equal(out[11], 3 * 384);
    /* In an estimate the sampled CTAs see each other's writes, and the memory sees none: the lock would hang
     * otherwise. */
    uint32_t before[16];
    const uint32_t columns[2][2] = {{0, 0}, {4, 0}};
    memcpy(before, out, 64);
    w.launch.sample = columns;
    w.launch.sample_count = 2;
    world_run_good(&w, &out);
    assert_memory_equal(before, out, 64);
    assert_true(w.counters.atomics >= 2 * 2 * 8);
    world_close(&w);
}

/* Shuffles, votes, match and redux on random numbers. */
static const char warp_wide[] = PTX_HEAD
    ".visible .entry k(.param .u64 in, .param .u64 out)\n"
    "{ .reg .pred %p<9>; .reg .b32 %r<24>; .reg .b64 %rd<6>;\n"
    "ld.param.u64 %rd1, [in]; ld.param.u64 %rd2, [out]; mov.u32 %r1, %laneid; mul.wide.u32 %rd3, %r1, 4;\n"
    "add.s64 %rd1, %rd1, %rd3; mul.wide.u32 %rd4, %r1, 64; add.s64 %rd2, %rd2, %rd4; ld.global.u32 %r2, [%rd1];\n"
    "shfl.sync.up.b32 %r3|%p1, %r2, 3, 0, -1; selp.u32 %r4, 1, 0, %p1;\n"
    "shfl.sync.down.b32 %r5, %r2, 5, 31, -1; shfl.sync.bfly.b32 %r6, %r2, 9, 31, -1;\n"
    "shfl.sync.idx.b32 %r7, %r2, %r2, 0x1807, -1;\n"
    "and.b32 %r8, %r2, 3; setp.eq.u32 %p2, %r8, 0; vote.sync.ballot.b32 %r9, %p2, -1; vote.sync.any.pred %p3, !%p2, "
    "-1;\n"
    "selp.u32 %r10, 1, 0, %p3; match.any.sync.b32 %r11, %r8, -1; redux.sync.add.s32 %r12, %r2, -1;\n"
    "redux.sync.min.s32 %r13, %r2, -1; elect.sync _|%p4, -1; selp.u32 %r14, 1, 0, %p4; mov.u32 %r15, %lanemask_lt;\n"
    "st.global.v4.u32 [%rd2], {%r3, %r4, %r5, %r6}; st.global.v4.u32 [%rd2+16], {%r7, %r9, %r10, %r11};\n"
    "st.global.v2.u32 [%rd2+32], {%r12, %r13}; st.global.v2.u32 [%rd2+40], {%r14, %r15}; ret; }\n";

static void test_warp_wide(void **state) {
    (void)state;
    struct world w;
    world_open(&w, warp_wide);
    uint32_t *in = world_alloc(&w, 128), *out = world_alloc(&w, 2048), ballot = 0, sum = 0;
    int32_t least = INT32_MAX;
    struct {
        uint32_t *in, *out;
    } p = {in, out};
    world_run_good(&w, &p);
    for (int k = 0; k < 32; k++) {
        ballot |= (uint32_t)(in[k] % 4 == 0) << k;
        sum += in[k];
        least = (int32_t)in[k] < least ? (int32_t)in[k] : least;
    }
    for (int k = 0; k < 32; k++) {
        uint32_t same = 0, *o = out + 16 * k;
        for (int j = 0; j < 32; j++)
            same |= (uint32_t)(in[j] % 4 == in[k] % 4) << j;
        assert_int_equal(o[0], in[k < 3 ? k : k - 3]);
        assert_int_equal(o[1], k >= 3);
        assert_int_equal(o[2], in[k > 26 ? k : k + 5]);
        assert_int_equal(o[3], in[k ^ 9]);
        assert_int_equal(o[4], in[(k & 24) | (int)(in[k] & 7)]);
        assert_int_equal(o[5], ballot);
        assert_int_equal(o[6], ballot != UINT32_MAX);
        assert_int_equal(o[7], same);
        assert_int_equal(o[8], sum);
        assert_int_equal((int32_t)o[9], least);
        assert_int_equal(o[10], k == 0);
        assert_int_equal(o[11], (1u << k) - 1);
    }
    world_close(&w);
}

/* Two stages of 16-byte copies with a tail that is filled with zeros; bar.red at the end. */
static const char async_copies[] =
    PTX_HEAD ".visible .entry k(.param .u64 in, .param .u64 out)\n"
             "{ .shared .align 16 .b8 buf[2048]; .reg .pred %p<4>; .reg .b32 %r<24>; .reg .b64 %rd<9>;\n"
             "ld.param.u64 %rd1, [in]; ld.param.u64 %rd2, [out]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd3, %r1, 16; "
             "add.s64 %rd4, %rd1, %rd3;\n"
             "mov.u32 %r2, buf; shl.b32 %r3, %r1, 4; add.u32 %r4, %r2, %r3; cp.async.cg.shared.global [%r4], [%rd4], "
             "16; cp.async.commit_group;\n"
             "and.b32 %r5, %r1, 15; cp.async.ca.shared.global.L2::128B [%r4+1024], [%rd4+1024], 16, %r5; "
             "cp.async.commit_group;\n"
             "cp.async.wait_group 1; bar.sync 0; xor.b32 %r6, %r3, 0x200; add.u32 %r6, %r2, %r6; ld.shared.v4.u32 "
             "{%r7, %r8, %r9, %r10}, [%r6];\n"
             "cp.async.wait_all; setp.lt.u32 %p1, %r1, 40; bar.red.popc.u32 %r15, 0, %p1; ld.shared.v4.u32 {%r11, "
             "%r12, %r13, %r14}, [%r6+1024];\n"
             "add.s64 %rd5, %rd2, %rd3; st.global.v4.u32 [%rd5], {%r7, %r8, %r9, %r10}; st.global.v4.u32 [%rd5+1024], "
             "{%r11, %r12, %r13, %r14};\n"
             "mul.wide.u32 %rd6, %r1, 4; add.s64 %rd7, %rd2, %rd6; st.global.u32 [%rd7+2048], %r15; ret; }\n";

static void test_async_copies(void **state) {
    (void)state;
    struct world w;
    world_open(&w, async_copies);
    uint8_t *in = world_alloc(&w, 2048), *out = world_alloc(&w, 2048 + 256);
    struct {
        uint8_t *in, *out;
    } p = {in, out};
    w.launch.block[0] = 64;
    for (int eager = 0; eager < 2; eager++) {
        memset(out, 0xcc, 2048 + 256);
        w.launch.eager_async = eager;
        world_run_good(&w, &p);
        for (int k = 0; k < 1024; k++) {
            int from = k ^ 0x200, size = from / 16 % 16;
            assert_int_equal(out[k], in[from]);
            assert_int_equal(out[1024 + k], from % 16 < size ? in[1024 + from] : 0);
        }
        for (int k = 0; k < 64; k++)
            assert_int_equal(((uint32_t *)(void *)(out + 2048))[k], 40);
        assert_int_equal(w.counters.max_inflight_bytes, 2048);
        assert_int_equal(w.counters.async_bytes, 1024 + 4 * 120);
    }
    world_close(&w);
}

/* Shared-memory wavefronts: lanes a stride of words apart. */
static const char strides[] =
    PTX_HEAD ".visible .entry k(.param .u32 stride)\n"
             "{ .shared .align 16 .b8 buf[8192]; .reg .b32 %r<9>; mov.u32 %r1, %tid.x; ld.param.u32 %r2, [stride];\n"
             "mul.lo.u32 %r3, %r1, %r2; shl.b32 %r3, %r3, 2; mov.u32 %r4, buf; add.u32 %r4, %r4, %r3; st.shared.u32 "
             "[%r4], %r1; ret; }\n";

static void test_bank_conflicts(void **state) {
    (void)state;
    struct world w;
    world_open(&w, strides);
    const uint32_t wavefronts[][2] = {{0, 1}, {1, 1}, {2, 2}, {3, 1}, {8, 8}, {32, 32}, {33, 1}};
    for (size_t k = 0; k < sizeof wavefronts / sizeof *wavefronts; k++) {
        world_run_good(&w, &wavefronts[k][0]);
        assert_int_equal(w.counters.shared_wavefronts, wavefronts[k][1]);
        assert_int_equal(w.counters.shared_conflicts, wavefronts[k][1] - 1);
    }
    world_close(&w);
}

/* CTA 0 waits for a flag that the last CTA sets: progress needs all of them at once. */
static const char flag[] = PTX_HEAD
    ".global .align 4 .u32 ready = 0;\n.global .align 8 .u64 where = generic(ready);\n"
    ".const .align 4 .b8 table[8] = {1, 2, 3, 4, 5, 6, 7, 8};\n"
    ".visible .entry k(.param .u64 out)\n"
    "{ .reg .pred %p<4>; .reg .b32 %r<9>; .reg .b64 %rd<5>; mov.u32 %r1, %ctaid.x; setp.ne.u32 %p1, %r1, 3; @%p1 bra "
    "WAIT;\n"
    "ld.global.u64 %rd1, [where]; membar.gl; st.volatile.u32 [%rd1], 1;\n"
    "WAIT: ld.acquire.gpu.global.u32 %r2, [ready]; setp.eq.u32 %p2, %r2, 0; @%p2 bra WAIT;\n"
    "ld.const.u32 %r3, [table+4]; ld.param.u64 %rd2, [out]; mul.wide.u32 %rd3, %r1, 4; add.s64 %rd4, %rd2, %rd3;\n"
    "st.global.u32 [%rd4], %r3; ret; }\n";

static void test_ctas_wait_for_each_other(void **state) {
    (void)state;
    struct world w;
    world_open(&w, flag);
    for (int k = 0; k < sg_module_variable_count(w.module); k++) {
        size_t size, align;
        const void *init;
        assert_non_null(sg_module_variable(w.module, k, &size, &align, &init));
        void *p = world_alloc(&w, size);
        memset(p, 0, size);
        if (init)
            memcpy(p, init, size);
        sg_module_variable_bind(w.module, k, (uintptr_t)p);
    }
    sg_module_link(w.module);
    uint32_t *out = world_alloc(&w, 16);
    w.launch.grid[0] = 4;
    w.launch.host_threads = 1;
    world_run_good(&w, &out);
    for (int k = 0; k < 4; k++)
        assert_int_equal(out[k], 0x08070605);
    world_close(&w);
}

/* A register that a guarded write leaves alone in the next turn of a loop must keep its slot: sum of 10 times the value
 * that the first turn set, and of other registers that could have taken the slot. */
static const char loop_carried[] = PTX_HEAD
    ".visible .entry k(.param .u64 out)\n"
    "{ .reg .pred %p<3>; .reg .b32 %r<9>; .reg .b64 %rd<4>; mov.u32 %r1, 0; mov.u32 %r2, 0; mov.u32 %r3, 1; mov.u32 "
    "%r7, %tid.x;\n"
    "LOOP: setp.eq.u32 %p1, %r1, 0; add.u32 %r4, %r7, 5; @%p1 mov.u32 %r3, %r4; add.u32 %r2, %r2, %r3;\n"
    "mul.lo.u32 %r5, %r1, 1000; add.u32 %r2, %r2, %r5; add.u32 %r1, %r1, 1; setp.lt.u32 %p2, %r1, 10; @%p2 bra LOOP;\n"
    "ld.param.u64 %rd1, [out]; mul.wide.u32 %rd2, %r7, 4; add.s64 %rd3, %rd1, %rd2; st.global.u32 [%rd3], %r2; ret; "
    "}\n";

static void test_registers_share_slots(void **state) {
    (void)state;
    struct world w;
    world_open(&w, loop_carried);
    uint32_t *out = world_alloc(&w, 128);
    world_run_good(&w, &out);
    for (uint32_t k = 0; k < 32; k++)
        assert_int_equal(out[k], 10 * (k + 5) + 45000);
    world_close(&w);
}

/* out[lane] = the four words of in[lane], the last one first; then two floats are added to sum[lane]. */
static const char vectors[] = PTX_HEAD
    ".visible .entry k(.param .u64 in, .param .u64 out, .param .u64 sum)\n"
    "{ .reg .b32 %r<9>; .reg .b64 %d<9>; mov.u32 %r1, %tid.x; mul.wide.u32 %d4, %r1, 16; mul.wide.u32 %d5, %r1, 8;\n"
    "ld.param.u64 %d1, [in]; ld.param.u64 %d2, [out]; ld.param.u64 %d3, [sum]; add.u64 %d1, %d1, %d4;\n"
    "add.u64 %d2, %d2, %d4; add.u64 %d3, %d3, %d5; ld.global.v4.u32 {%r2, %r3, %r4, %r5}, [%d1];\n"
    "st.global.v4.u32 [%d2], {%r5, %r4, %r3, %r2}; red.global.add.v2.f32 [%d3], {0f3F800000, 0f40000000}; ret; }\n";

static void test_vectors(void **state) {
    (void)state;
    struct world w;
    world_open(&w, vectors);
    uint32_t *in = world_alloc(&w, 32 * 16), *out = world_alloc(&w, 32 * 16);
    float *sum = world_alloc(&w, 32 * 8);
    struct {
        void *in, *out, *sum;
    } p = {in, out, sum};
    memset(sum, 0, 32 * 8);
    world_run_good(&w, &p);
    for (int k = 0; k < 128; k++)
        assert_int_equal(out[k], in[k ^ 3]);
    for (int k = 0; k < 64; k++)
        assert_true(sum[k] == (float)(1 + k % 2));
    assert_int_equal(w.counters.global_bytes_read, 32 * 16);
    assert_int_equal(w.counters.global_bytes_written, 32 * 16 + 32 * 8);
    p.in = in + 2; /* all of a lane's bytes must be aligned together, and inside */
    world_run_bad(&w, &p, SG_FAULT_MISALIGNED, "is not a multiple of 16");
    p.in = in;
    p.sum = sum + 1;
    world_run_bad(&w, &p, SG_FAULT_MISALIGNED, "is not a multiple of 8");
    p.sum = sum;
    w.launch.block[0] = 33;
    world_run_bad(&w, &p, SG_FAULT_OUT_OF_BOUNDS, "16 bytes at");
    world_close(&w);
}

/* Every CTA of a column counts itself and traps unless it finds what those before it have left. */
static const char estimate[] = PTX_HEAD
    ".visible .entry k(.param .u64 count)\n"
    "{ .reg .pred %p<3>; .reg .b32 %r<9>; .reg .b64 %rd<2>; mov.u32 %r1, %ctaid.z; ld.param.u64 %rd1, [count];\n"
    "mov.u32 %r2, %tid.x; setp.ne.u32 %p1, %r2, 0; @%p1 exit; atom.global.add.u32 %r3, [%rd1], 1; setp.ne.u32 %p2, "
    "%r3, %r1;\n"
    "@%p2 trap; ld.global.u32 %r4, [%rd1]; add.u32 %r3, %r3, 1; setp.ne.u32 %p2, %r4, %r3; @%p2 trap;\n"
    "ld.global.u32 %r5, [%rd1+4]; setp.ne.u32 %p2, %r5, %r1; @%p2 trap; st.global.u32 [%rd1+4], %r4; ret; }\n";

static void test_estimate(void **state) {
    (void)state;
    struct world w;
    world_open(&w, estimate);
    uint32_t *count = world_alloc(&w, 8);
    const uint32_t column[1][2] = {{3, 1}};
    memset(count, 0, 8);
    w.launch.grid[0] = w.launch.grid[1] = w.launch.grid[2] = 4;
    w.launch.sample = column;
    w.launch.sample_count = 1;
    world_run_good(&w, &count);
    assert_int_equal(count[0], 0);
    assert_int_equal(count[1], 0);
    assert_int_equal(w.counters.atomics, 4);
    world_close(&w);
}

static void test_unknown_text(void **state) {
    (void)state;
    static const struct {
        const char *body, *error;
    } wrong[] = {{"frobnicate.u32 %r1, %r2;", "frobnicate"},
                 {"add.u32.odd %r1, %r1, %r2;", ".odd"},
                 {"add.u32 %r1, %r1, %r9;", "%r9"},
                 {"bra NOWHERE;", "NOWHERE"},
                 {"ld.global.v3.u32 %r1, [%r2];", ".v3"},
                 {"mov.u32 %r1, %nonsense;", "%nonsense"},
                 {"st.shared.u32 [%r1], %r2, %r3;", "operands"},
                 {"add.u32 %r1, %r1", "expected ';'"}};
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        char text[512];
        snprintf(text, sizeof text, PTX_HEAD ".visible .entry k()\n{ .reg .b32 %%r<4>;\n\n%s\nret; }\n", wrong[k].body);
        const char *error = world_complaint(text);
        if (!strstr(error, wrong[k].error) || !strstr(error, "line "))
            fail_msg("'%s' gives '%s'", wrong[k].body, error);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vector_add),
        cmocka_unit_test(test_divergence),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_reduction),
        cmocka_unit_test(test_atomics),
        cmocka_unit_test(test_warp_wide),
        cmocka_unit_test(test_async_copies),
        cmocka_unit_test(test_bank_conflicts),
        cmocka_unit_test(test_registers_share_slots),
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_estimate),
        cmocka_unit_test(test_unknown_text),
        cmocka_unit_test(test_ctas_wait_for_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
