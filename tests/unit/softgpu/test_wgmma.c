/* wgmma on the software device: the product against a triple loop for every kind of descriptor, and every way of using
 * the tensor core's asynchrony wrongly, found and named. */
#include "runtime/base/str.h"
#include "world.h"

enum { M = 64, K = 32, MAX_N = 256, IMAGE = 40960, MBARRIER = IMAGE };

struct wgmma_case {
    int n, steps;             /* columns of D; k32 steps */
    unsigned width;           /* of the swizzle: 128, 64, 32; 16: none */
    unsigned leading, stride; /* of the descriptor: bytes */
    bool a_signed, b_signed, adds;
};

/* The parts of the kernel that a test replaces; NULL: as it should be. */
struct pieces {
    const char *load;       /* of the image of B into shared memory, and what makes it visible */
    const char *fence;      /* before the multiplications */
    const char *commit;     /* after them */
    const char *wait;       /* before D is read */
    const char *scale;      /* sets %p3, whether the first step adds */
    const char *descriptor; /* changes %rd7 */
    const char *saturates;  /* ".satfinite": D begins with the ends of its range, and there is one step */
};

static const struct pieces right = {
    .load = "@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r4], 40960;\n"
            "@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%rd1], 40960, [%r4];\n"
            "FULL: mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r4], 0; @!%p2 bra FULL;\n",
    .fence = "wgmma.fence.sync.aligned;",
    .commit = "wgmma.commit_group.sync.aligned;",
    .wait = "wgmma.wait_group.sync.aligned 0;",
    .scale = "",
    .descriptor = "",
    .saturates = "",
};

static const char *piece(const char *given, const char *fallback) {
    return given ? given : fallback;
}

/* Bytes between the starts of two steps along k, in the image. */
static unsigned step_bytes(const struct wgmma_case *t) {
    return t->width > 16 ? K : 2 * t->leading;
}

static void list(struct str *ptx, const char *name, int first, int count) {
    for (int k = 0; k < count; k++)
        str_printf(ptx, "%s%%%s%d", k ? ", " : "{", name, first + k);
    str_append(ptx, "}");
}

/* k(b, a, d, out, descriptor): one warp group, A and D in the order of its registers. */
static void build(struct str *ptx, const struct wgmma_case *t, const struct pieces *p) {
    str_append(ptx,
               ".version 8.0\n.target sm_90a\n.address_size 64\n.extern .shared .align 1024 .b8 buf[];\n"
               ".visible .entry k(.param .u64 b, .param .u64 a, .param .u64 d, .param .u64 out, .param .u64 "
               "desc)\n{\n"
               ".reg .pred %p<9>; .reg .b32 %r<32>; .reg .b32 %d<144>; .reg .b32 %a<64>; .reg .b64 %rd<32>;\n"
               "ld.param.u64 %rd1, [b]; ld.param.u64 %rd2, [a]; ld.param.u64 %rd3, [d]; ld.param.u64 %rd4, "
               "[out];\n"
               "mov.u32 %r1, %tid.x; mov.u32 %r2, buf; setp.eq.u32 %p1, %r1, 0; add.u32 %r4, %r2, 40960;\n"
               "@%p1 mbarrier.init.shared::cta.b64 [%r4], 1; fence.mbarrier_init.release.cluster; bar.sync 0;\n"
               "mul.wide.u32 %rd5, %r1, 16; add.u64 %rd2, %rd2, %rd5; mul.wide.u32 %rd6, %r1, 4;\n"
               "add.u64 %rd3, %rd3, %rd6; add.u64 %rd4, %rd4, %rd6;\n"
               "ld.param.u64 %rd7, [desc]; shr.u32 %r5, %r2, 4; cvt.u64.u32 %rd8, %r5; or.b64 %rd7, %rd7, %rd8;\n");
    for (int s = 0; s < t->steps; s++) {
        str_append(ptx, "ld.global.v4.u32 ");
        list(ptx, "a", s * 4, 4);
        str_printf(ptx, ", [%%rd2+%d];\n", s * 2048);
    }
    for (int k = 0; k < t->n / 2; k++)
        str_printf(ptx, "ld.global.u32 %%d%d, [%%rd3+%d];\n", k, k * 512);
    str_printf(ptx, "setp.ne.u32 %%p3, %d, 0; setp.eq.u32 %%p4, 0, 0;\n%s\n%s\n%s\n%s\n", t->adds,
               piece(p->scale, right.scale), piece(p->load, right.load), piece(p->descriptor, right.descriptor),
               piece(p->fence, right.fence));
    for (int s = 0; s < t->steps; s++) {
        str_printf(ptx, "add.u64 %%rd9, %%rd7, %u; wgmma.mma_async.sync.aligned.m64n%dk32%s.s32.%s.%s ",
                   (unsigned)s * step_bytes(t) / 16, t->n, piece(p->saturates, right.saturates),
                   t->a_signed ? "s8" : "u8", t->b_signed ? "s8" : "u8");
        list(ptx, "d", 0, t->n / 2);
        str_append(ptx, ", ");
        list(ptx, "a", s * 4, 4);
        str_printf(ptx, ", %%rd9, %s;\n", s ? "%p4" : "%p3");
    }
    str_printf(ptx, "%s\n%s\n", piece(p->commit, right.commit), piece(p->wait, right.wait));
    for (int k = 0; k < t->n / 2; k++)
        str_printf(ptx, "st.global.u32 [%%rd4+%d], %%d%d;\n", k * 512, k);
    str_append(ptx, "ret; }\n");
}

/* Where byte k of row n lies: PTX ISA, "Strides" and the tables of the swizzling modes. */
static unsigned image_place(const struct wgmma_case *t, int n, int k) {
    const unsigned row = (unsigned)n, chunk = (unsigned)k / 16, byte = (unsigned)k % 16;
    switch (t->width) {
    case 128:
        return row / 8 * t->stride + row % 8 * 128 + (chunk ^ row % 8) * 16 + byte;
    case 64:
        return row / 8 * t->stride + row % 8 * 64 + (chunk ^ row / 2 % 4) * 16 + byte;
    case 32:
        return row / 8 * t->stride + row % 8 * 32 + (chunk ^ row / 4 % 2) * 16 + byte;
    default:
        return row / 8 * t->stride + chunk * t->leading + row % 8 * 16 + byte;
    }
}

static uint64_t descriptor_of(const struct wgmma_case *t) {
    const uint64_t mode = t->width == 128 ? 1 : t->width == 64 ? 2 : t->width == 32 ? 3 : 0;
    return (uint64_t)(t->leading / 16) << 16 | (uint64_t)(t->stride / 16) << 32 | mode << 62;
}

static int value_of(uint8_t byte, bool is_signed) {
    return is_signed ? (int8_t)byte : byte;
}

/* Element (row, k) of A as the registers of the warp group hold it: [step][thread][16 bytes]. */
static uint8_t a_byte(const uint8_t *a, int row, int k) {
    const int step = k / K, thread = row / 16 * 32 + row % 8 * 4 + k % 16 / 4, word = k % K / 16 * 2 + row % 16 / 8;
    return a[(step * 128 + thread) * 16 + word * 4 + k % 4];
}

/* The same of D: [register][thread]. */
static int d_index(int row, int column) {
    const int thread = row / 16 * 32 + row % 8 * 4 + column % 8 / 2;
    return (column / 8 * 4 + row % 16 / 8 * 2 + column % 2) * 128 + thread;
}

struct params {
    void *b, *a, *d, *out;
    uint64_t descriptor;
};

static void open_case(struct world *w, struct params *p, const struct wgmma_case *t, const struct pieces *pieces) {
    struct str ptx = {0};
    build(&ptx, t, pieces);
    world_open(w, ptx.data);
    str_release(&ptx);
    p->b = world_alloc(w, 2 * IMAGE);
    p->a = world_alloc(w, (size_t)t->steps * 2048);
    p->d = world_alloc(w, MAX_N / 2 * 512);
    for (int k = 0; pieces->saturates && k < MAX_N / 2 * 128; k++)
        ((int32_t *)p->d)[k] = k % 2 ? INT32_MAX : INT32_MIN;
    p->out = world_alloc(w, MAX_N / 2 * 512);
    p->descriptor = descriptor_of(t);
    w->launch.block[0] = 128;
    w->launch.shared_dynamic = MBARRIER + 8;
}

static void compare(const struct params *p, const struct wgmma_case *t, bool saturates) {
    for (int row = 0; row < M; row++)
        for (int n = 0; n < t->n; n++) {
            const int at = d_index(row, n);
            int64_t sum = t->adds ? ((int32_t *)p->d)[at] : 0;
            for (int k = 0; k < t->steps * K; k++)
                sum += value_of(a_byte(p->a, row, k), t->a_signed) *
                       value_of(((uint8_t *)p->b)[image_place(t, n, k)], t->b_signed);
            if (saturates)
                sum = sum > INT32_MAX ? INT32_MAX : sum < INT32_MIN ? INT32_MIN : sum;
            if (((uint32_t *)p->out)[at] != (uint32_t)sum)
                fail_msg("n %d, width %u: D[%d, %d] is %d, not %d", t->n, t->width, row, n, ((int32_t *)p->out)[at],
                         (int32_t)sum);
        }
}

static void check_good(const struct wgmma_case *t, const struct pieces *pieces) {
    for (uint64_t seed = 0; seed < 2; seed++) {
        struct world w;
        struct params p;
        open_case(&w, &p, t, pieces);
        w.launch.seed = seed;
        w.launch.eager_async = seed % 2;
        world_run_good(&w, &p);
        compare(&p, t, pieces->saturates != NULL);
        assert_int_equal(w.counters.mma_ops_int8, (uint64_t)M * (uint64_t)t->n * K * (uint64_t)t->steps);
        world_close(&w);
    }
}

static void test_products(void **state) {
    (void)state;
    static const struct wgmma_case cases[] = {
        {8, 4, 128, 16, 1024, true, true, true},    {24, 4, 128, 16, 1024, false, true, false},
        {256, 4, 128, 16, 1024, true, true, false}, {208, 2, 128, 16, 1024, false, false, true},
        {64, 2, 64, 16, 512, true, false, true},    {48, 1, 64, 16, 1024, false, true, false},
        {32, 1, 32, 16, 256, true, true, false},    {176, 1, 32, 16, 256, false, true, true},
        {16, 2, 16, 128, 512, true, true, true},    {80, 3, 16, 1280, 128, false, true, false},
    };
    static const struct pieces none = {0};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        check_good(&cases[k], &none);
    check_good(&(struct wgmma_case){16, 1, 128, 16, 1024, true, true, true},
               &(struct pieces){.saturates = ".satfinite"});
}

/* ---- faults ---- */

static const struct wgmma_case plain = {16, 4, 128, 16, 1024, true, true, true};

static void check_bad(const struct pieces *pieces, enum sg_fault_kind kind, const char *text) {
    for (uint64_t seed = 0; seed < 4; seed++) {
        struct world w;
        struct params p;
        open_case(&w, &p, &plain, pieces);
        w.launch.seed = seed;
        w.launch.eager_async = seed % 2;
        world_run_bad(&w, &p, kind, text);
        world_close(&w);
    }
}

static void test_missing_steps(void **state) {
    (void)state;
    check_bad(&(struct pieces){.fence = ""}, SG_FAULT_ASYNC, "no wgmma.fence");
    check_bad(&(struct pieces){.wait = ""}, SG_FAULT_ASYNC, "reads an accumulator");
    check_bad(&(struct pieces){.wait = "wgmma.wait_group.sync.aligned 1;"}, SG_FAULT_ASYNC, "reads an accumulator");
    check_bad(&(struct pieces){.commit = ""}, SG_FAULT_ASYNC, "no wgmma.wait_group covers it");
    check_bad(&(struct pieces){.wait = "mov.b32 %d3, 0; wgmma.wait_group.sync.aligned 0;"}, SG_FAULT_ASYNC,
              "writes an accumulator");
    /* a group of its own that is empty moves the wait past the real one */
    check_good(&plain, &(struct pieces){.commit = "wgmma.commit_group.sync.aligned; wgmma.commit_group.sync.aligned;",
                                        .wait = "wgmma.wait_group.sync.aligned 1;"});
    /* what the wait has given back may be read, and needs a new fence */
    check_good(&plain, &(struct pieces){.fence = "wgmma.fence.sync.aligned; wgmma.wait_group.sync.aligned 0; "
                                                 "wgmma.fence.sync.aligned;"});
    check_bad(&(struct pieces){.fence = "wgmma.fence.sync.aligned; wgmma.wait_group.sync.aligned 0;"}, SG_FAULT_ASYNC,
              "no wgmma.fence");
}

/* The threads of the warp group copy the image by themselves. */
#define STORES                                                                                                         \
    "mov.u32 %r6, 0; add.u64 %rd10, %rd1, %rd5; shl.b32 %r7, %r1, 4; add.u32 %r7, %r2, %r7;\n"                         \
    "COPY: ld.global.v4.u32 {%r8, %r9, %r10, %r11}, [%rd10]; st.shared.v4.u32 [%r7], {%r8, %r9, %r10, %r11};\n"        \
    "add.u64 %rd10, %rd10, 2048; add.u32 %r7, %r7, 2048; add.u32 %r6, %r6, 1; setp.lt.u32 %p5, %r6, 20; @%p5 bra "     \
    "COPY;\n"

static void test_proxies(void **state) {
    (void)state;
    check_good(&plain, &(struct pieces){.load = STORES "fence.proxy.async; bar.sync 0;"});
    check_good(&plain, &(struct pieces){.load = STORES "fence.proxy.async.shared::cta; bar.sync 0;"});
    check_good(&plain, &(struct pieces){.load = STORES "bar.sync 0; fence.proxy.async;"});
    check_bad(&(struct pieces){.load = STORES "bar.sync 0;"}, SG_FAULT_ASYNC, "no fence.proxy.async followed");
    check_bad(&(struct pieces){.load = STORES "fence.proxy.async; @%p1 st.shared.u32 [%r2], %r8; bar.sync 0;"},
              SG_FAULT_ASYNC, "no fence.proxy.async followed");
    check_bad(&(struct pieces){.load = "bar.sync 0;"}, SG_FAULT_UNINITIALIZED, "never written");
}

/* %s: after the next copy into the stage of B has begun, and before the wait for the multiplications. */
#define NEXT_COPY                                                                                                      \
    "wgmma.commit_group.sync.aligned; bar.sync 0;\n"                                                                   \
    "@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r4], 1024;\n"                                                 \
    "@%p1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%rd1+40960], 1024, [%r4];\n"
#define NEXT_WAIT "NEXT: mbarrier.try_wait.parity.shared::cta.b64 %p2, [%r4], 1; @!%p2 bra NEXT;\n"

static void test_overwritten(void **state) {
    (void)state;
    check_bad(&(struct pieces){.commit = NEXT_COPY NEXT_WAIT}, SG_FAULT_ASYNC, "overwritten before wgmma.wait_group");
    check_good(
        &plain,
        &(struct pieces){
            .commit = "wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;\n" NEXT_COPY NEXT_WAIT});
    /* the copy has not landed when the multiplications end: it may land before */
    for (int eager = 0; eager < 2; eager++) {
        struct world w;
        struct params p;
        open_case(&w, &p, &plain, &(struct pieces){.commit = NEXT_COPY "bar.sync 0;"});
        w.launch.eager_async = eager;
        world_run_bad(&w, &p, SG_FAULT_ASYNC, eager ? "overwritten before wgmma.wait_group" : "still in flight");
        world_close(&w);
    }
    /* ordinary stores, by a warp that knows that the multiplications were issued and no more */
    check_bad(&(struct pieces){.commit = "wgmma.commit_group.sync.aligned; bar.sync 0;\n"
                                         "@%p1 st.shared.u32 [%r2], %r1; bar.sync 0;"},
              SG_FAULT_ASYNC, "overwritten before wgmma.wait_group");
}

/* The registers of A are read until the wait: other registers may be written and these read. */
static void test_registers_of_a(void **state) {
    (void)state;
    const char *text = "writes a register of A";
    check_bad(&(struct pieces){.wait = "mov.b32 %a0, 0; wgmma.wait_group.sync.aligned 0;"}, SG_FAULT_ASYNC, text);
    check_bad(&(struct pieces){.commit = "ld.global.u32 %a15, [%rd4]; wgmma.commit_group.sync.aligned;"},
              SG_FAULT_ASYNC, text);
    check_bad(&(struct pieces){.wait = "wgmma.wait_group.sync.aligned 1; mov.b32 %a3, %a2; "
                                       "wgmma.wait_group.sync.aligned 0;"},
              SG_FAULT_ASYNC, text);
    check_good(&plain, &(struct pieces){.wait = "mov.b32 %r20, %a0; mov.b32 %a20, %r20; "
                                                "wgmma.wait_group.sync.aligned 0; mov.b32 %a0, 0;"});
}

#define FENCE "wgmma.fence.sync.aligned; "
#define NO    ", and no wgmma.fence lies between the two"

static void check_runs(const struct pieces *pieces) { /* whatever it computes */
    struct world w;
    struct params p;
    open_case(&w, &p, &plain, pieces);
    world_run_good(&w, &p);
    world_close(&w);
}

/* Between a fence and a wgmma nobody may touch its accumulators, or write its registers of A. */
static void check_order(const char *code, const char *scale, const char *text) {
    char late[1024], fenced[1024];
    snprintf(late, sizeof late, FENCE "%s", code);
    snprintf(fenced, sizeof fenced, FENCE "%s " FENCE, code);
    check_bad(&(struct pieces){.fence = late, .scale = scale}, SG_FAULT_ASYNC, text);
    check_runs(&(struct pieces){.fence = fenced, .scale = scale});
}

static void test_fence_and_accumulators(void **state) {
    (void)state;
    const char *overwrites = "setp.ne.u32 %p3, 0, 0;";
    check_order("mov.b32 %d3, 7;", NULL, "accumulator %d3 was written by PTX line 33 'mov.b32 %d3, 7'" NO);
    check_order("mov.b32 %d3, 7;", overwrites, "accumulator %d3 was written by PTX line 33");
    check_order("mov.b32 %d7, %d0;", NULL, "accumulator %d0 was read by");
    check_order("ld.global.v2.u32 {%d6, %d5}, [%rd2];", NULL, "accumulator %d5 was written by");
    check_order("st.global.u32 [%rd4], %d2;", NULL, "accumulator %d2 was read by");
    check_order("add.u32 %d1, %d1, 1; st.global.u32 [%rd4], %d1;", NULL, "accumulator %d1 was written by");
    check_order("setp.eq.u32 %p5, %r1, 37; @%p5 mov.b32 %d3, 7;", NULL,
                "warp 1, lane 5, PTX line 34 'wgmma.mma_async.sync.aligned.m64n16k32.s32.s8.s8 {%d0, %d1");
    check_good(&plain, &(struct pieces){.fence = FENCE "mov.b32 %d20, 7; mov.b32 %d21, %d20; mov.b32 %r20, %r1;"});
    check_good(&plain, &(struct pieces){.fence = "mov.b32 %r20, %d3; mov.b32 %d3, 7; mov.b32 %d3, %r20; " FENCE});
    check_good(&plain, &(struct pieces){.fence = FENCE "mov.b32 %r20, %d3; mov.b32 %d3, %r20; " FENCE});
}

static void test_fence_and_a(void **state) {
    (void)state;
    check_order("mov.b32 %a5, 0;", NULL, "register of A %a5 was written by PTX line 33 'mov.b32 %a5, 0'" NO);
    check_order("mov.b32 %r20, %a0; ld.global.v2.u32 {%a14, %a15}, [%rd2];", NULL, "register of A %a14 was written by");
    check_order("xor.b32 %a3, %a3, 1; mov.b32 %r20, %a3;", NULL, "register of A %a3 was written by");
    check_good(&plain, &(struct pieces){.fence = FENCE "mov.b32 %r20, %a0; mov.b32 %a20, %a15;"});
}

/* A second product while the first one is under way, and what comes before it. */
#define SECOND(n, d, a)                                                                                                \
    "wgmma.mma_async.sync.aligned.m64n" #n "k32.s32.s8.s8 " d ", " a ", %rd7, %p4; wgmma.commit_group.sync.aligned;"
#define COMMIT "wgmma.commit_group.sync.aligned; "
#define OTHERS "{%d20, %d21, %d22, %d23}"
#define SET    "mov.b32 %d20, 0; mov.b32 %d21, 0; mov.b32 %d22, 0; mov.b32 %d23, 0; "
#define SAME_A "{%a0, %a1, %a2, %a3}"

static void test_fence_and_groups(void **state) {
    (void)state;
    check_runs(&(struct pieces){.fence = SET FENCE, .commit = COMMIT SECOND(8, OTHERS, SAME_A)});
    check_runs(&(struct pieces){.commit = COMMIT SET FENCE SECOND(8, OTHERS, SAME_A)});
    check_bad(&(struct pieces){.commit = COMMIT SET SECOND(8, OTHERS, SAME_A)}, SG_FAULT_ASYNC,
              "accumulator %d20 was written by");
    check_bad(
        &(struct pieces){.commit = COMMIT SET FENCE "mov.b32 %a20, 0; mov.b32 %d23, 1; " SECOND(8, OTHERS, SAME_A)},
        SG_FAULT_ASYNC, "accumulator %d23 was written by");
    /* the same accumulators: in order without a fence if the shape is the same */
    check_runs(&(struct pieces){.commit = COMMIT SECOND(16, "{%d0, %d1, %d2, %d3, %d4, %d5, %d6, %d7}", SAME_A)});
    check_runs(&(struct pieces){.commit = COMMIT FENCE SECOND(8, "{%d0, %d1, %d2, %d3}", SAME_A)});
    check_bad(&(struct pieces){.commit = COMMIT SECOND(8, "{%d0, %d1, %d2, %d3}", SAME_A)}, SG_FAULT_ASYNC,
              "accumulator %d0 was written by PTX line");
    check_bad(&(struct pieces){.commit = COMMIT SET FENCE SECOND(8, OTHERS, "{%a0, %a1, %d5, %a3}")}, SG_FAULT_ASYNC,
              "reads an accumulator");
}

/* A wait for all groups but one: what only the groups that are done have read is free, the rest is not. The second
 * product reads the first 32 bytes of each row, the first one reads 128. */
#define TWO "wgmma.commit_group.sync.aligned; " SECOND(8, OTHERS, SAME_A)
static void test_groups_and_tiles(void **state) {
    (void)state;
    const char *text = "overwritten before wgmma.wait_group";
    check_runs(&(struct pieces){.fence = SET FENCE,
                                .commit = TWO "wgmma.wait_group.sync.aligned 1; bar.sync 0;\n"
                                              "@%p1 st.shared.u32 [%r2+96], %r1; bar.sync 0;"});
    check_bad(&(struct pieces){.fence = SET FENCE,
                               .commit = TWO "wgmma.wait_group.sync.aligned 2; bar.sync 0;\n"
                                             "@%p1 st.shared.u32 [%r2+96], %r1; bar.sync 0;"},
              SG_FAULT_ASYNC, text);
    check_bad(&(struct pieces){.fence = SET FENCE,
                               .commit = TWO "wgmma.wait_group.sync.aligned 1; bar.sync 0;\n"
                                             "@%p1 st.shared.u32 [%r2+16], %r1; bar.sync 0;"},
              SG_FAULT_ASYNC, text);
    check_bad(&(struct pieces){.fence = SET FENCE, .commit = TWO "wgmma.wait_group.sync.aligned 1; mov.b32 %d20, 0;"},
              SG_FAULT_ASYNC, "writes an accumulator");
    check_runs(&(struct pieces){.fence = SET FENCE, .commit = TWO "wgmma.wait_group.sync.aligned 1; mov.b32 %d0, 0;"});
}

/* The four warps of a group must do the same. */
#define WARP_2 "shr.u32 %r20, %r1, 5; setp.eq.u32 %p5, %r20, 2; "

static void test_warp_group(void **state) {
    (void)state;
    const char *other = "all four must do the same";
    check_bad(&(struct pieces){.commit = WARP_2 "@%p5 bra SKIP; wgmma.commit_group.sync.aligned; SKIP:"},
              SG_FAULT_ASYNC, other);
    check_bad(&(struct pieces){.fence = WARP_2 "@%p5 bra SKIP; wgmma.fence.sync.aligned; SKIP: "
                                               "wgmma.fence.sync.aligned;"},
              SG_FAULT_ASYNC, other);
    check_bad(&(struct pieces){.wait = "wgmma.wait_group.sync.aligned 0;\n" WARP_2
                                       "@!%p5 bra SKIP; wgmma.wait_group.sync.aligned 0; SKIP:"},
              SG_FAULT_ASYNC, "this warp has ended without it, and others of its warp group have executed it");
    struct world w;
    struct params p;
    open_case(&w, &p, &plain, &(struct pieces){0});
    w.launch.block[0] = 96;
    world_run_bad(&w, &p, SG_FAULT_ASYNC, "a warp group has 4 warps, and of this one there are only 3");
    world_close(&w);
}

/* More instructions than the record of a group keeps, by warps that are far apart. */
static void test_long_group(void **state) {
    (void)state;
    check_good(&plain, &(struct pieces){.wait = "wgmma.wait_group.sync.aligned 0; mov.u32 %r20, 0;\n"
                                                "LONG: wgmma.commit_group.sync.aligned; "
                                                "wgmma.wait_group.sync.aligned 0;\n"
                                                "add.u32 %r20, %r20, 1; setp.lt.u32 %p5, %r20, 9000; @%p5 bra LONG;"});
}

/* `turns` turns of a loop of three instructions; then warp 3 executes `own` where the others executed a fence. With
 * `held` it begins when they are done, or else it goes along with them. */
static void run_apart(int turns, bool held, const char *own, const char *text) {
    char wait[1600];
    snprintf(wait, sizeof wait,
             "wgmma.wait_group.sync.aligned 0; @%%p1 st.shared.u32 [%%r2+20480], 0; bar.sync 0;\n"
             "shr.u32 %%r20, %%r1, 5; setp.eq.u32 %%p5, %%r20, 3; mov.u32 %%r21, 0; %s\n\n"
             "LONG: wgmma.fence.sync.aligned; wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;\n"
             "add.u32 %%r21, %%r21, 1; setp.lt.u32 %%p6, %%r21, %d; @%%p6 bra LONG; @%%p5 bra OTHER;\n"
             "/*here*/ wgmma.fence.sync.aligned;\n"
             "red.relaxed.cta.shared.add.u32 [%%r2+20480], 1; bra DONE;\n"
             "HOLD: ld.relaxed.cta.shared.u32 %%r22, [%%r2+20480]; setp.lt.u32 %%p6, %%r22, 96; @%%p6 bra HOLD;\n"
             "bra LONG; OTHER: %s\nDONE: wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;\n",
             held ? "@%p5 bra HOLD;" : "", turns, own);
    const struct pieces pieces = {.wait = wait};
    struct str ptx = {0};
    char line[96];
    int at = 1;
    build(&ptx, &plain, &pieces);
    for (const char *c = ptx.data; c < strstr(ptx.data, "/*here*/"); c++)
        at += *c == '\n';
    snprintf(line, sizeof line, "another warp of its warp group executes PTX line %d in its place", at);
    str_release(&ptx);
    if (held) /* or else warp 3 may be the first of them */
        check_bad(&pieces, SG_FAULT_ASYNC, line);
    check_bad(&pieces, SG_FAULT_ASYNC, text);
}

static void test_far_apart(void **state) {
    (void)state;
    run_apart(10, true, "wgmma.commit_group.sync.aligned;", "warp 3, PTX line");
    run_apart(3000, true, "wgmma.commit_group.sync.aligned;", "'wgmma.commit_group.sync.aligned'");
    run_apart(3000, true, "wgmma.wait_group.sync.aligned 0;", "'wgmma.wait_group.sync.aligned 0'");
    run_apart(3000, false, "wgmma.commit_group.sync.aligned;", "all four must do the same");
}

/* ---- setmaxnreg ---- */

/* Three warp groups of 168 registers: the first gives, the others take. */
static void run_registers(const char *first, const char *others, uint32_t registers, enum sg_fault_kind kind,
                          const char *text) {
    struct str ptx = {0};
    str_printf(&ptx,
               ".version 8.0\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 in)\n"
               "{ .reg .pred %%p<3>; .reg .b32 %%r<3>; mov.u32 %%r1, %%tid.x; setp.lt.u32 %%p1, %%r1, 128;\n"
               "@%%p1 bra FIRST;\n%s\nret;\nFIRST: %s\nret; }\n",
               others, first);
    for (uint64_t seed = 0; seed < 8; seed++) {
        struct world w;
        world_open(&w, ptx.data);
        void *in = world_alloc(&w, 16);
        w.launch.block[0] = 384;
        w.launch.registers = registers;
        w.launch.seed = seed;
        if (kind == SG_FAULT_NONE)
            world_run_good(&w, &in);
        else
            world_run_bad(&w, &in, kind, text);
        world_close(&w);
    }
    str_release(&ptx);
}

#define DOWN(n) "setmaxnreg.dec.sync.aligned.u32 " #n ";"
#define UP(n)   "setmaxnreg.inc.sync.aligned.u32 " #n ";"

static void test_registers(void **state) {
    (void)state;
    run_registers(DOWN(40), UP(232), 168, SG_FAULT_NONE, "");
    run_registers(DOWN(24), UP(240), 168, SG_FAULT_NONE, "");
    run_registers(DOWN(40), UP(232) DOWN(168) UP(232), 165, SG_FAULT_NONE, ""); /* 165 are 168 */
    run_registers(DOWN(40), UP(240), 0, SG_FAULT_NONE, "");                     /* unknown: not watched */
    /* 8 for each of 256 threads too many: the last warp waits for ever */
    run_registers(DOWN(40), UP(240), 168, SG_FAULT_DEADLOCK,
                  "has 168 registers and wants 240, which takes 2304, and 256 are released");
    run_registers("", UP(176), 168, SG_FAULT_DEADLOCK, "wants 176, which takes 256, and 0 are released");
    run_registers(DOWN(176), "", 168, SG_FAULT_ASYNC, "down to 176 registers by a warp that has 168");
    run_registers(DOWN(40), UP(160), 168, SG_FAULT_ASYNC, "up to 160 registers by a warp that has 168");
    run_registers(DOWN(16), "", 168, SG_FAULT_UNSUPPORTED, "multiples of 8 from 24 to 256");
    run_registers(DOWN(44), "", 168, SG_FAULT_UNSUPPORTED, "multiples of 8 from 24 to 256");
    run_registers(DOWN(40), "setp.lt.u32 %p2, %r1, 256; @%p2 bra SKIP; " UP(232) " ret; SKIP: " UP(176) UP(232), 168,
                  SG_FAULT_NONE, "");
    run_registers(DOWN(40), "setp.lt.u32 %p2, %r1, 224; @%p2 bra SKIP; " UP(176) " SKIP:", 168, SG_FAULT_ASYNC,
                  "this warp has ended without it");
}

static void test_descriptors(void **state) {
    (void)state;
    /* 16 bytes too much between groups of 8 rows; half of it; twice of it in a tile that ends the memory */
    check_bad(&(struct pieces){.descriptor = "add.u64 %rd7, %rd7, 0x100000000;"}, SG_FAULT_ASYNC, "matrix descriptor");
    check_bad(&(struct pieces){.descriptor = "sub.u64 %rd7, %rd7, 0x2000000000;"}, SG_FAULT_ASYNC,
              "512 bytes between groups of 8 rows");
    check_bad(&(struct pieces){.descriptor = "add.u64 %rd7, %rd7, 2496; add.u64 %rd7, %rd7, 0x4000000000;"},
              SG_FAULT_OUT_OF_BOUNDS, "row 8 of B");
    check_bad(&(struct pieces){.descriptor = "add.u64 %rd7, %rd7, 8;"}, SG_FAULT_ASYNC, "start 0x80");
    check_bad(&(struct pieces){.descriptor = "and.b32 %r6, %r1, 1; shl.b32 %r6, %r6, 6; cvt.u64.u32 %rd10, %r6; "
                                             "add.u64 %rd7, %rd7, %rd10;"},
              SG_FAULT_ASYNC, "differs from that of lane 0");
    check_bad(&(struct pieces){.descriptor = "or.b64 %rd7, %rd7, 0x2000000000000;"}, SG_FAULT_UNSUPPORTED,
              "a matrix descriptor with a base offset");
    check_bad(&(struct pieces){.scale = "setp.lt.u32 %p3, %r1, 100;"}, SG_FAULT_ASYNC, "differs from that of lane 0");
}

static void test_unknown_forms(void **state) {
    (void)state;
    static const struct wgmma_case cases[] = {{40, 1, 128, 16, 1024, true, true, true},
                                              {272, 1, 128, 16, 1024, true, true, true}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct str ptx = {0};
        build(&ptx, &cases[k], &right);
        const char *error = world_complaint(ptx.data);
        if (!strstr(error, "wgmma"))
            fail_msg("%s", error);
        str_release(&ptx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),       cmocka_unit_test(test_missing_steps),
        cmocka_unit_test(test_proxies),        cmocka_unit_test(test_overwritten),
        cmocka_unit_test(test_registers_of_a), cmocka_unit_test(test_fence_and_accumulators),
        cmocka_unit_test(test_fence_and_a),    cmocka_unit_test(test_fence_and_groups),
        cmocka_unit_test(test_warp_group),     cmocka_unit_test(test_long_group),
        cmocka_unit_test(test_far_apart),      cmocka_unit_test(test_groups_and_tiles),
        cmocka_unit_test(test_registers),      cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_unknown_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
