/* The strict checks, one after the other: a kernel that only this check finds fault with. It is reported when the check is
 * on, alone or with all others, and runs when the check is off, whatever else is on. */
#include "hopper.h"

struct example {
    enum sg_check check;
    const char *text;
    uint32_t threads, cluster;
    const char *code;
};

#define CLUSTER_SYNC "barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;\n"
#define PROXY        "fence.proxy.async.shared::cta;\n"
#define COPY         "@%p1 cp.async.cg.shared.global [%r2], [%rd1], 16;\n"
#define FILL         "shl.b32 %r4, %r1, 4; add.u32 %r5, %r2, %r4; st.shared.v4.u32 [%r5], {%r1, %r1, %r1, %r1};\n"
#define STORE        "@%p1 cp.async.bulk.global.shared::cta.bulk_group [%rd2], [%r2], 16;\n"
#define COMMIT       "@%p1 cp.async.bulk.commit_group;\n"
#define WAIT         "@%p1 cp.async.bulk.wait_group 0;\n"
#define LOAD         "@%p1 " BULK "[%r2], [%rd1], 16, [bar];\n"
#define PEER         "mov.u32 %r20, %cluster_ctarank; xor.b32 %r20, %r20, 1; mapa.shared::cluster.u32 %r21, %r2, %r20;\n"
#define TOUCH        "@%p1 st.shared::cluster.u32 [%r21], %r1;\n"
/* B is 512 bytes of `buf`, A four registers: what they hold does not matter */
#define READY                                                                                                          \
    FILL PROXY                                                                                                         \
        "bar.sync 0; mov.u32 %r8, 0; mov.u32 %r9, 0; mov.u32 %r10, 0; mov.u32 %r11, 0;\n"                              \
        "mov.u64 %rd5, 0x800000080000; cvt.u64.u32 %rd6, %r2; shr.u64 %rd6, %rd6, 4; or.b64 %rd5, %rd5, %rd6;\n"       \
        "setp.eq.u32 %p3, 0, 0;\n"
#define W_FENCE "wgmma.fence.sync.aligned;\n"
#define MULTIPLY                                                                                                       \
    "wgmma.mma_async.sync.aligned.m64n8k32.s32.s8.s8 {%r8, %r9, %r10, %r11}, {%r1, %r1, %r1, %r1}, %rd5, %p3;\n"
#define W_COMMIT "wgmma.commit_group.sync.aligned;\n"
#define W_WAIT   "wgmma.wait_group.sync.aligned 0;\n"

static const struct example examples[] = {
    {SG_CHECK_UNINITIALIZED, "was never written", 32, 1, "ld.shared.u32 %r8, [%r2]; add.u32 %r8, %r8, 1;"},
    {SG_CHECK_RACE, "no barrier lies between", 64, 1,
     "and.b32 %r8, %r1, 31; setp.eq.u32 %p3, %r8, 0; @%p3 st.shared.u32 [%r2], %r1;"},
    {SG_CHECK_COPY_WAIT, "still in flight", 32, 1, COPY "@%p1 ld.shared.u32 %r8, [%r2]; cp.async.wait_all;"},
    {SG_CHECK_COPY_OVERLAP, "still in flight", 32, 1, COPY COPY "cp.async.wait_all; @%p1 ld.shared.u32 %r8, [%r2];"},
    {SG_CHECK_COPY_SOURCE, "may still be reading it", 32, 1, FILL PROXY STORE COMMIT FILL WAIT},
    {SG_CHECK_COPY_END, "the CTA ended while this bulk store", 32, 1, FILL PROXY STORE COMMIT},
    {SG_CHECK_COPY_END, "the CTA ended while this copy was in flight", 32, 1,
     INIT("1") FENCE "bar.sync 0;\n" EXPECT("16") LOAD},
    {SG_CHECK_PROXY_FENCE, "no fence.proxy.async followed", 32, 1, FILL STORE COMMIT WAIT},
    {SG_CHECK_MBARRIER_FENCE, "neither fence.mbarrier_init nor", 32, 1,
     INIT("1") "bar.sync 0;\n" EXPECT("16") LOAD
     "L: mbarrier.try_wait.parity.shared::cta.b64 %p8, [bar], 0; @!%p8 bra L;\n"},
    {SG_CHECK_MBARRIER_COUNT, "an mbarrier for 0 arrivals", 32, 1, INIT("0")},
    {SG_CHECK_MBARRIER_COUNT, "an mbarrier for 1048576 arrivals", 32, 1, INIT("1048576")},
    {SG_CHECK_MBARRIER_ARRIVALS, "2 arrivals at mbarrier", 32, 1,
     INIT("1") "@%p1 mbarrier.arrive.shared::cta.b64 _, [bar], 2;\n"},
    {SG_CHECK_MBARRIER_BYTES, "1048576 bytes announced", 32, 1,
     INIT("1") "@%p1 mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [bar], 1048576;\n"},
    {SG_CHECK_CLUSTER_START, "has perhaps not started", 32, 2, PEER TOUCH CLUSTER_SYNC},
    {SG_CHECK_CLUSTER_END, "of the cluster", 32, 2, CLUSTER_SYNC PEER TOUCH},
    {SG_CHECK_WGMMA_FENCE, "no wgmma.fence since", 128, 1, READY MULTIPLY W_COMMIT W_WAIT},
    {SG_CHECK_WGMMA_FENCE, "accumulator %r9 was written by", 128, 1,
     READY W_FENCE "mov.u32 %r9, 1;\n" MULTIPLY W_COMMIT W_WAIT},
    {SG_CHECK_WGMMA_WAIT, "reads an accumulator", 128, 1,
     READY W_FENCE MULTIPLY W_COMMIT "mov.u32 %r12, %r8;\n" W_WAIT},
    {SG_CHECK_WGMMA_WAIT, "writes a register of A", 128, 1, READY W_FENCE MULTIPLY W_COMMIT "mov.u32 %r1, 0;\n" W_WAIT},
    {SG_CHECK_WGMMA_OPERAND, "overwritten before wgmma.wait_group", 128, 1,
     READY W_FENCE MULTIPLY W_COMMIT "bar.sync 0; @%p1 st.shared.u32 [%r2], 77;\n" PROXY "bar.sync 0;\n" W_WAIT},
    {SG_CHECK_WGMMA_GROUP, "all four must do the same", 128, 1,
     READY W_FENCE MULTIPLY "setp.eq.u32 %p4, %r3, 2; @%p4 bra SKIP;\n" W_COMMIT "SKIP: " W_COMMIT W_WAIT},
    {SG_CHECK_WGMMA_GROUP, "this warp has ended without it", 128, 1,
     READY W_FENCE MULTIPLY W_COMMIT W_WAIT "setp.eq.u32 %p4, %r3, 2; @%p4 bra SKIP;\n" W_COMMIT "SKIP:"},
    {SG_CHECK_WGMMA_UNIFORM, "differs from that of lane 0", 128, 1,
     READY "setp.lt.u32 %p3, %r1, 100;\n" W_FENCE MULTIPLY W_COMMIT W_WAIT},
};
enum { EXAMPLES = sizeof examples / sizeof *examples };

/* The word of the check that stops it, "" if it runs. */
static const char *run(const struct example *e, uint32_t checks, uint64_t seed, char word[64]) {
    struct str ptx = {0};
    struct world w;
    head(&ptx, TWO_POINTERS);
    str_printf(&ptx, "%s\nret; }\n", e->code);
    world_open(&w, ptx.data);
    struct pointers p = {world_alloc(&w, 8192), world_alloc(&w, 8192)};
    w.launch.block[0] = e->threads;
    w.launch.grid[0] = w.launch.cluster[0] = e->cluster;
    w.launch.checks = checks;
    w.launch.seed = seed;
    w.launch.eager_async = seed % 2;
    word[0] = '\0';
    if (!world_run(&w, &p)) {
        const char *at = strrchr(w.fault.text, '[');
        snprintf(word, 64, "%.*s", at ? (int)strcspn(at + 1, "]") : 0, at ? at + 1 : "");
        if (w.fault.kind != sg_check_facts[e->check].kind || !strstr(w.fault.text, e->text))
            fail_msg("expected '%s', got %s", e->text, w.fault.text);
    }
    world_close(&w);
    str_release(&ptx);
    return word;
}

static void test_each_alone(void **state) {
    (void)state;
    char word[64];
    for (const struct example *e = examples; e < examples + EXAMPLES; e++)
        for (uint64_t seed = 0; seed < 4; seed++) {
            const uint32_t bit = 1u << e->check;
            const char *name = sg_check_facts[e->check].word;
            assert_string_equal(run(e, SG_CHECKS_ALL, seed, word), name);
            assert_string_equal(run(e, bit, seed, word), name);
            assert_string_equal(run(e, SG_CHECKS_ALL & ~bit, seed, word), "");
            assert_string_equal(run(e, 0, seed, word), "");
        }
}

/* Each check off: all kernels but its own are stopped as before. */
static void test_others_stay(void **state) {
    (void)state;
    char word[64];
    for (int off = 0; off < SG_CHECK_COUNT; off++)
        for (const struct example *e = examples; e < examples + EXAMPLES; e++)
            if ((int)e->check != off)
                assert_string_equal(run(e, SG_CHECKS_ALL & ~(1u << off), 1, word), sg_check_facts[e->check].word);
}

static void test_every_check_has_one(void **state) {
    (void)state;
    uint32_t seen = 0;
    for (const struct example *e = examples; e < examples + EXAMPLES; e++)
        seen |= 1u << e->check;
    assert_int_equal(seen, SG_CHECKS_ALL);
}

static void test_names(void **state) {
    (void)state;
    char error[600];
    static const struct {
        const char *list;
        uint32_t checks;
    } lists[] = {
        {"", SG_CHECKS_ALL},
        {"all", SG_CHECKS_ALL},
        {"none", 0},
        {"-race", SG_CHECKS_ALL & ~(1u << SG_CHECK_RACE)},
        {"-mbarrier-count,-copy-overlap",
         SG_CHECKS_ALL & ~(1u << SG_CHECK_MBARRIER_COUNT | 1u << SG_CHECK_COPY_OVERLAP)},
        {"none,race,copy-end", 1u << SG_CHECK_RACE | 1u << SG_CHECK_COPY_END},
        {"-race,race", SG_CHECKS_ALL},
        {"-all,wgmma-wait", 1u << SG_CHECK_WGMMA_WAIT},
    };
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++) {
        uint32_t checks = 77;
        assert_true(sg_checks_parse(lists[k].list, &checks, error, sizeof error));
        assert_int_equal(checks, lists[k].checks);
    }
    static const char *const wrong[] = {"races", "rac", "-none", "race,,copy-end", "race copy-end", "-", "--race"};
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        uint32_t checks = 77;
        assert_false(sg_checks_parse(wrong[k], &checks, error, sizeof error));
        assert_int_equal(checks, 77);
        assert_non_null(strstr(error, "there is no check '"));
        for (int c = 0; c < SG_CHECK_COUNT; c++) /* and all that there are */
            assert_non_null(strstr(error, sg_check_facts[c].word));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_alone),
        cmocka_unit_test(test_others_stay),
        cmocka_unit_test(test_every_check_has_one),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
