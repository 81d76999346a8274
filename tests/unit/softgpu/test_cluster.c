/* Clusters on the software device: who is where, shared memory of other CTAs, mbarriers and copies across CTAs, and
 * every way of using them wrongly. */
#include "hopper.h"

#define CLUSTER_SYNC "barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;\n"
#define MULTICAST    "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "

/* ---- special registers ---- */

static const char *const place_names[] = {"clusterid.x",     "clusterid.y",      "clusterid.z",      "nclusterid.x",
                                          "nclusterid.y",    "nclusterid.z",     "cluster_ctaid.x",  "cluster_ctaid.y",
                                          "cluster_ctaid.z", "cluster_nctaid.x", "cluster_nctaid.y", "cluster_nctaid.z",
                                          "cluster_ctarank", "cluster_nctarank", "ctaid.x",          "ctaid.y",
                                          "ctaid.z"};
enum { PLACES = sizeof place_names / sizeof *place_names };

static void build_places(struct str *ptx) {
    head(ptx, TWO_POINTERS);
    str_append(ptx, "mov.u32 %r4, %ctaid.z; mov.u32 %r5, %nctaid.y; mov.u32 %r6, %ctaid.y;\n"
                    "mad.lo.u32 %r4, %r4, %r5, %r6; mov.u32 %r5, %nctaid.x; mov.u32 %r6, %ctaid.x;\n"
                    "mad.lo.u32 %r4, %r4, %r5, %r6; mul.wide.u32 %rd3, %r4, 128; add.u64 %rd4, %rd2, %rd3;\n");
    for (int k = 0; k < PLACES; k++)
        str_printf(ptx, "mov.u32 %%r7, %%%s; st.global.u32 [%%rd4+%d], %%r7;\n", place_names[k], 4 * k);
    str_append(ptx, "mov.pred %p2, %is_explicit_cluster; selp.u32 %r7, 1, 0, %p2; st.global.u32 [%rd4+124], %r7; ret; "
                    "}\n");
}

static void check_places(const uint32_t grid[3], const uint32_t cluster[3]) {
    struct str ptx = {0};
    struct world w;
    build_places(&ptx);
    world_open(&w, ptx.data);
    struct pointers p = {world_alloc(&w, 16), world_alloc(&w, 16384)};
    memcpy(w.launch.grid, grid, sizeof w.launch.grid);
    memcpy(w.launch.cluster, cluster, sizeof w.launch.cluster);
    world_run_good(&w, &p);
    const uint32_t *got = p.out;
    uint32_t size = cluster[0] * cluster[1] * cluster[2];
    for (uint32_t z = 0; z < grid[2]; z++)
        for (uint32_t y = 0; y < grid[1]; y++)
            for (uint32_t x = 0; x < grid[0]; x++, got += 32) {
                const uint32_t at[3] = {x, y, z};
                for (int k = 0; k < 3; k++) {
                    assert_int_equal(got[k], at[k] / cluster[k]);
                    assert_int_equal(got[3 + k], grid[k] / cluster[k]);
                    assert_int_equal(got[6 + k], at[k] % cluster[k]);
                    assert_int_equal(got[9 + k], cluster[k]);
                    assert_int_equal(got[14 + k], at[k]);
                }
                assert_int_equal(got[12],
                                 x % cluster[0] + cluster[0] * (y % cluster[1] + cluster[1] * (z % cluster[2])));
                assert_int_equal(got[13], size);
                assert_int_equal(got[31], size > 1);
            }
    world_close(&w);
    str_release(&ptx);
}

static void test_places(void **state) {
    (void)state;
    check_places((uint32_t[]){4, 6, 2}, (uint32_t[]){2, 3, 1});
    check_places((uint32_t[]){4, 3, 6}, (uint32_t[]){2, 1, 3});
    check_places((uint32_t[]){16, 2, 2}, (uint32_t[]){16, 1, 1});
    check_places((uint32_t[]){4, 3, 2}, (uint32_t[]){1, 1, 1});
}

/* ---- shared memory of other CTAs ---- */

enum { THREADS = 64, GRID = 8 };

/* Every thread puts in[CTA * 64 + t] at %r5 in its CTA's `buf`; %r20: rank, %r21: CTAs in the cluster, %rd4: its place
 * in out. Then `steps`, and what is in %r8 goes to out. */
static void build_shared(struct str *ptx, const char *steps) {
    head(ptx, TWO_POINTERS);
    str_printf(ptx,
               "mov.u32 %%r20, %%cluster_ctarank; mov.u32 %%r21, %%cluster_nctarank; mov.u32 %%r22, %%ctaid.x;\n"
               "mad.lo.u32 %%r6, %%r22, 64, %%r1; mul.wide.u32 %%rd3, %%r6, 4; add.u64 %%rd4, %%rd1, %%rd3;\n"
               "ld.global.u32 %%r8, [%%rd4]; add.u64 %%rd4, %%rd2, %%rd3; shl.b32 %%r7, %%r1, 2;\n"
               "add.u32 %%r5, %%r2, %%r7; st.shared.u32 [%%r5], %%r8;\n"
               "add.u32 %%r23, %%r20, 1; rem.u32 %%r23, %%r23, %%r21;\n%s\n"
               "st.global.u32 [%%rd4], %%r8; ret; }\n",
               steps);
}

static uint32_t cluster_of_test; /* CTAs in a cluster, for the functions below */

/* The same thread of the next CTA of the cluster. */
static uint32_t neighbour(const uint32_t *in, uint32_t k) {
    uint32_t cta = k / THREADS, first = cta / cluster_of_test * cluster_of_test;
    return in[(first + (cta - first + 1) % cluster_of_test) * THREADS + k % THREADS];
}

/* Thread t of CTA t % size. */
static uint32_t spread(const uint32_t *in, uint32_t k) {
    uint32_t first = k / THREADS / cluster_of_test * cluster_of_test, t = k % THREADS;
    return in[(first + t % cluster_of_test) * THREADS + t];
}

/* All CTAs of the cluster add their values to those of CTA 0. */
static uint32_t summed(const uint32_t *in, uint32_t k) {
    uint32_t cta = k / THREADS, first = cta / cluster_of_test * cluster_of_test, sum = 0;
    for (uint32_t c = 0; c < cluster_of_test; c++)
        sum += in[(first + c) * THREADS + k % THREADS];
    return cta == first ? sum : in[k];
}

static void check_shared(uint32_t cluster, const char *steps, uint32_t (*value)(const uint32_t *, uint32_t)) {
    struct str ptx = {0};
    cluster_of_test = cluster;
    build_shared(&ptx, steps);
    check_run(&ptx, THREADS, &(struct expectation){SG_FAULT_NONE, "", value, GRID * THREADS, GRID, cluster});
    str_release(&ptx);
}

static void check_wrong(const char *steps, enum sg_fault_kind kind, const char *text) {
    struct str ptx = {0};
    build_shared(&ptx, steps);
    check_run(&ptx, THREADS, &(struct expectation){kind, text, NULL, 0, 2, 2});
    str_release(&ptx);
}

#define READ_NEXT   "mapa.shared::cluster.u32 %r24, %r5, %r23; ld.shared::cluster.u32 %r8, [%r24];\n"
#define WRITE_NEXT  "mapa.shared::cluster.u32 %r24, %r5, %r23; st.shared::cluster.u32 [%r24], %r8;\n"
#define WRITE_OTHER "mapa.shared::cluster.u32 %r24, %r5, %r23; st.shared::cluster.u32 [%r24+4096], %r8;\n"
#define READ_GENERIC                                                                                                   \
    "cvt.u64.u32 %rd5, %r5; cvta.shared.u64 %rd5, %rd5; mapa.u64 %rd6, %rd5, %r23; ld.u32 %r8, [%rd6];\n"

static void test_shared(void **state) {
    (void)state;
    for (uint32_t cluster = 2; cluster <= GRID; cluster *= 2) {
        check_shared(cluster, CLUSTER_SYNC READ_NEXT CLUSTER_SYNC, neighbour);
        check_shared(cluster, CLUSTER_SYNC READ_GENERIC CLUSTER_SYNC, neighbour);
        /* lanes of a warp in different CTAs */
        check_shared(cluster,
                     CLUSTER_SYNC "rem.u32 %r25, %r1, %r21; mapa.shared::cluster.u32 %r24, %r5, %r25;\n"
                                  "ld.shared::cluster.u32 %r8, [%r24];\n" CLUSTER_SYNC,
                     spread);
        /* writing: to the CTA before, by its predecessors */
        check_shared(
            cluster,
            "add.u32 %r23, %r20, %r21; sub.u32 %r23, %r23, 1; rem.u32 %r23, %r23, %r21;\n" CLUSTER_SYNC WRITE_OTHER
                CLUSTER_SYNC "ld.shared.u32 %r8, [%r5+4096];\n",
            neighbour);
        /* atomics: everybody adds to CTA 0, which adds to itself by an address of its own */
        check_shared(cluster,
                     "mov.u32 %r9, 0; st.shared.u32 [%r5+4096], %r9;\n" CLUSTER_SYNC
                     "mapa.shared::cluster.u32 %r24, %r5, 0; atom.relaxed.cluster.shared::cluster.add.u32 %r25, "
                     "[%r24+4096], %r8;\n" CLUSTER_SYNC
                     "setp.eq.u32 %p2, %r20, 0; @%p2 ld.shared.u32 %r8, [%r5+4096];\n",
                     summed);
        /* in two halves, relaxed with a fence of its own, by threads one by one */
        check_shared(cluster,
                     "fence.acq_rel.cluster; barrier.cluster.arrive.relaxed; add.u32 %r9, %r1, 1; "
                     "barrier.cluster.wait;\n" READ_NEXT "barrier.cluster.arrive; barrier.cluster.wait.acquire;\n",
                     neighbour);
    }
}

static void test_addresses(void **state) {
    (void)state;
    cluster_of_test = 2;
    /* %r8 = in where all is as it should be: rank of an address, windows, own addresses */
    check_shared(
        2,
        "mov.u32 %r9, %r8; mapa.shared::cluster.u32 %r24, %r5, %r23; getctarank.shared::cluster.u32 %r25, %r24;\n"
        "sub.u32 %r25, %r25, %r23; add.u32 %r8, %r8, %r25;\n"
        "getctarank.shared::cluster.u32 %r25, %r5; sub.u32 %r25, %r25, %r20; add.u32 %r8, %r8, %r25;\n"
        "mapa.shared::cluster.u32 %r24, %r5, %r20; sub.u32 %r24, %r24, %r5; add.u32 %r8, %r8, %r24;\n"
        "cvt.u64.u32 %rd5, %r5; cvta.shared.u64 %rd5, %rd5; mapa.u64 %rd6, %rd5, %r23;\n"
        "getctarank.u64 %r25, %rd6; sub.u32 %r25, %r25, %r23; add.u32 %r8, %r8, %r25;\n"
        "isspacep.shared::cluster %p2, %rd6; selp.u32 %r25, 0, 1, %p2; add.u32 %r8, %r8, %r25;\n"
        "isspacep.shared::cta %p2, %rd6; selp.u32 %r25, 1, 0, %p2; add.u32 %r8, %r8, %r25;\n"
        "isspacep.shared::cta %p2, %rd5; selp.u32 %r25, 0, 1, %p2; add.u32 %r8, %r8, %r25;\n"
        "cvta.to.shared::cluster.u64 %rd7, %rd6; cvt.u32.u64 %r26, %rd7; mapa.shared::cluster.u32 %r24, %r5, "
        "%r23;\nsub.u32 %r25, %r26, %r24; add.u32 %r8, %r8, %r25;\n"
        "ld.shared::cluster.u32 %r25, [%r5]; sub.u32 %r25, %r25, %r9; add.u32 %r8, %r8, %r25;\n",
        same_word);
    check_wrong("mapa.shared::cluster.u32 %r24, %r5, 2;", SG_FAULT_OUT_OF_BOUNDS, "no CTA 2 in a cluster of 2");
    check_wrong("mapa.u64 %rd6, %rd1, 1;", SG_FAULT_OUT_OF_BOUNDS, "is not in shared memory");
    check_wrong(CLUSTER_SYNC "mapa.shared::cluster.u32 %r24, %r5, %r23; ld.shared.u32 %r8, [%r24];\n" CLUSTER_SYNC,
                SG_FAULT_OUT_OF_BOUNDS, "an address in another CTA, which only .shared::cluster reaches");
    check_wrong(CLUSTER_SYNC
                "mapa.shared::cluster.u32 %r24, %r5, %r23; ld.shared::cluster.u32 %r8, [%r24+8192];\n" CLUSTER_SYNC,
                SG_FAULT_OUT_OF_BOUNDS, "4 bytes at shared 0x");
}

/* ---- order between CTAs ---- */

static void test_order(void **state) {
    (void)state;
    const char *unknown = "has perhaps not started", *ends = "may end before this reaches its shared memory";
    check_wrong(READ_NEXT CLUSTER_SYNC, SG_FAULT_ASYNC, unknown);
    check_wrong("bar.sync 0;\n" WRITE_NEXT CLUSTER_SYNC, SG_FAULT_ASYNC, unknown);
    /* that the CTA has started says nothing of what it has written */
    check_wrong("barrier.cluster.arrive.relaxed; barrier.cluster.wait;\n" READ_NEXT CLUSTER_SYNC, SG_FAULT_RACE,
                "of CTA ");

    check_wrong(CLUSTER_SYNC READ_NEXT "st.shared.u32 [%r5], %r1;\n" CLUSTER_SYNC, SG_FAULT_RACE, "of the cluster");
    /* the CTA that is read may be gone, or perhaps it is not: one of the two is found, whoever is first */
    check_wrong(CLUSTER_SYNC "setp.eq.u32 %p2, %r20, 1; @%p2 bra END;\n" READ_NEXT "END:\n", SG_FAULT_ASYNC,
                "nd"); /* may end before, has ended */
    (void)ends;
}

static void test_exit(void **state) {
    (void)state;
    /* CTA 0 reads early and CTA 1 waits for memory that CTA 0 writes: it ends later, but no rule says so */
    struct str ptx = {0};
    int seen[2] = {0};
    build_shared(&ptx, CLUSTER_SYNC "setp.eq.u32 %p2, %r20, 1; @%p2 bra END;\n" READ_NEXT "END:\n");
    for (uint64_t seed = 0; seed < 16; seed++) {
        struct world w;
        world_open(&w, ptx.data);
        struct pointers p = {world_alloc(&w, 8192), world_alloc(&w, 8192)};
        w.launch.block[0] = THREADS;
        w.launch.grid[0] = w.launch.cluster[0] = 2;
        w.launch.seed = seed;
        assert_false(world_run(&w, &p));
        assert_int_equal(w.fault.kind, SG_FAULT_ASYNC);
        bool gone = strstr(w.fault.text, "CTA 1 of the cluster has ended, and its shared memory with it");
        assert_true(gone || strstr(w.fault.text, "CTA 1 of the cluster may end before this reaches"));
        seen[gone]++;
        world_close(&w);
    }
    assert_true(seen[0] && seen[1]);
    str_release(&ptx);
}

static void test_barrier_misused(void **state) {
    (void)state;
    check_wrong("barrier.cluster.arrive; barrier.cluster.arrive; barrier.cluster.wait;", SG_FAULT_DIVERGENT_BARRIER,
                "has arrived before and not waited");
    check_wrong("barrier.cluster.wait;", SG_FAULT_DIVERGENT_BARRIER, "waits and has not arrived");
    check_wrong("setp.eq.u32 %p2, %r1, 3; @%p2 bra END;\n" CLUSTER_SYNC "END: bar.warp.sync 0xffffffff;",
                SG_FAULT_DIVERGENT_BARRIER, "lanes");
    check_wrong("setp.eq.u32 %p2, %r22, 1; @%p2 bra END;\n" CLUSTER_SYNC "END: bar.sync 0, 96;\n", SG_FAULT_DEADLOCK,
                "the barrier of the cluster lacks 64 of 128 threads");
    /* who has exited is not waited for */
    cluster_of_test = 2;
    check_shared(2,
                 "st.global.u32 [%rd4], %r8; setp.lt.u32 %p2, %r1, 20; @%p2 exit;\n"
                 "barrier.cluster.arrive; barrier.cluster.wait;\n",
                 same_word);
}

/* ---- mbarriers of other CTAs ---- */

/* Each thread writes to the next CTA and arrives there; each CTA waits for what comes to it. */
#define REMOTE_INIT "@%p1 mbarrier.init.shared::cta.b64 [bar], 64; fence.mbarrier_init.release.cluster;\n"
#define REMOTE_NEXT                                                                                                    \
    "mov.u32 %r10, bar; mapa.shared::cluster.u32 %r11, %r10, %r23; mapa.shared::cluster.u32 %r24, %r5, %r23;\n"
#define REMOTE_SEND   "st.shared::cluster.u32 [%r24+4096], %r8;\n"
#define REMOTE_ARRIVE "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r11];\n"
#define REMOTE_WAIT   "W: mbarrier.try_wait.parity.shared::cta.b64 %p8, [bar], 0; @!%p8 bra W;\n"
#define REMOTE_READ   "ld.shared.u32 %r8, [%r5+4096];\n"

/* The same thread of the CTA before. */
static uint32_t predecessor(const uint32_t *in, uint32_t k) {
    uint32_t cta = k / THREADS, first = cta / cluster_of_test * cluster_of_test;
    return in[(first + (cta - first + cluster_of_test - 1) % cluster_of_test) * THREADS + k % THREADS];
}

static void test_remote_arrivals(void **state) {
    (void)state;
    for (uint32_t cluster = 2; cluster <= GRID; cluster *= 2) {
        check_shared(
            cluster,
            REMOTE_INIT CLUSTER_SYNC REMOTE_NEXT REMOTE_SEND REMOTE_ARRIVE REMOTE_WAIT REMOTE_READ CLUSTER_SYNC,
            predecessor);
        /* the initialisation needs no more than its own fence */
        check_shared(
            cluster,
            REMOTE_INIT
            "barrier.cluster.arrive.relaxed.aligned; barrier.cluster.wait.acquire.aligned;\n" REMOTE_NEXT REMOTE_SEND
                REMOTE_ARRIVE REMOTE_WAIT REMOTE_READ CLUSTER_SYNC,
            predecessor);
        /* one thread announces bytes in the next CTA, and reports them */
        check_shared(
            cluster,
            REMOTE_INIT CLUSTER_SYNC REMOTE_NEXT REMOTE_SEND
            "setp.eq.u32 %p2, %r1, 5; @%p2 mbarrier.arrive.expect_tx.release.cluster.shared::cluster.b64 _, "
            "[%r11], 48;\n@!%p2 mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r11];\n"
            "@%p2 mbarrier.complete_tx.relaxed.cluster.shared::cluster.b64 [%r11], 48;\n" REMOTE_WAIT REMOTE_READ
                CLUSTER_SYNC,
            predecessor);
    }
}

static void test_wrong_arrivals(void **state) {
    (void)state;
    check_wrong(
        REMOTE_INIT CLUSTER_SYNC REMOTE_NEXT REMOTE_SEND
        "setp.ne.u32 %p2, %r6, 70; @%p2 mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r11];\n" REMOTE_WAIT
            REMOTE_READ CLUSTER_SYNC,
        SG_FAULT_DEADLOCK, "of CTA 0 phase 0 lacks 1 of 64 arrivals (0 under way), 0 bytes");
    check_wrong(REMOTE_INIT CLUSTER_SYNC REMOTE_NEXT
                "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r11], 65;\n" REMOTE_WAIT CLUSTER_SYNC,
                SG_FAULT_ASYNC, "lacks only 64 of 64");
    /* an arrival nobody waits for, and the CTA ends */
    check_wrong(REMOTE_INIT CLUSTER_SYNC REMOTE_NEXT REMOTE_ARRIVE, SG_FAULT_ASYNC, "nd");
    check_wrong(REMOTE_INIT REMOTE_NEXT REMOTE_ARRIVE REMOTE_WAIT, SG_FAULT_ASYNC, "has perhaps not started");
    check_wrong(REMOTE_INIT CLUSTER_SYNC REMOTE_NEXT "mbarrier.arrive.shared::cta.b64 _, [%r11];\n" CLUSTER_SYNC,
                SG_FAULT_UNINITIALIZED, "an address in another CTA: this instruction reaches only its own");
    check_wrong(CLUSTER_SYNC REMOTE_NEXT REMOTE_ARRIVE CLUSTER_SYNC, SG_FAULT_UNINITIALIZED, "no initialised mbarrier");
    /* data that is sent behind the arrival */
    check_wrong(REMOTE_INIT CLUSTER_SYNC REMOTE_NEXT REMOTE_ARRIVE REMOTE_WAIT
                "st.shared::cluster.u32 [%r24], %r8; ld.shared.u32 %r8, [%r5];\n" CLUSTER_SYNC,
                SG_FAULT_RACE, "of the cluster");
}

static void check_refused(const char *steps, const char *text) {
    struct str ptx = {0};
    build_shared(&ptx, steps);
    const char *error = world_complaint(ptx.data);
    if (!strstr(error, text))
        fail_msg("expected '%s', got: %s", text, error);
    str_release(&ptx);
}

static void test_refused(void **state) {
    (void)state;
    check_refused("mbarrier.arrive.release.cluster.shared::cluster.b64 %rd9, [%r11];", "its destination must be _");
    check_refused("mbarrier.try_wait.parity.shared::cluster.b64 %p8, [%r11], 0;", "can be arrived at only");
    check_refused("mbarrier.init.shared::cluster.b64 [%r11], 1;", "can be arrived at only");
    check_refused("barrier.cluster.sync;", "barrier.cluster");
    check_refused("barrier.cluster.wait.relaxed;", "barrier.cluster");
    check_refused("cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes.multicast::cluster [%r2], [%rd1], 16, "
                  "[bar], %h1;",
                  "unknown form of a bulk copy");
    check_refused("cp.async.bulk.shared::cta.shared::cta.mbarrier::complete_tx::bytes [%r2], [%r5], 16, [bar];",
                  "unknown form of a bulk copy");
}

/* ---- copies into other CTAs ---- */

/* Both CTAs of a cluster read the same 4 KiB in pieces of 512 bytes, round by round through two stages at `buf`: rank r
 * fetches half r of a piece for both. bar + 8 s: stage s is full; bar + 16 + 8 s: stage s is empty in both CTAs. Warp 0
 * fetches, warps 1 and 2 consume. */
struct ring {
    const char *init, *mask, *copy, *released, *count, *end;
};
static const struct ring good_ring = {
    .init = "fence.mbarrier_init.release.cluster;\n" CLUSTER_SYNC,
    .mask = "3",
    .copy = MULTICAST "[%r12], [%rd7], 256, [%r11], %h1;\n",
    .released = "mapa.shared::cluster.u32 %r15, %r14, 0; mapa.shared::cluster.u32 %r16, %r14, 1;\n"
                "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r15];\n"
                "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r16];\n",
    .count = "128",
    .end = CLUSTER_SYNC,
};

static void build_ring(struct str *ptx, const struct ring *ring) {
    head(ptx, TWO_POINTERS);
    str_printf(ptx,
               "mov.u32 %%r20, %%cluster_ctarank; mov.u32 %%r22, %%ctaid.x; mov.u32 %%r10, bar; mov.u16 %%h1, %s;\n"
               "@!%%p1 bra READY; mbarrier.init.shared::cta.b64 [bar], 1; mbarrier.init.shared::cta.b64 [bar+8], 1;\n"
               "mbarrier.init.shared::cta.b64 [bar+16], %s; mbarrier.init.shared::cta.b64 [bar+24], %s;\n"
               "READY: %s\n mov.u32 %%r9, 0; setp.ne.u32 %%p2, %%r3, 0; @%%p2 bra CONSUME; @!%%p1 bra END;\n",
               ring->mask, ring->count, ring->count, ring->init);
    str_printf(
        ptx,
        "FETCH: and.b32 %%r4, %%r9, 1; shl.b32 %%r5, %%r4, 3; add.u32 %%r11, %%r10, %%r5; shr.u32 %%r6, %%r9, 1;\n"
        "and.b32 %%r6, %%r6, 1; xor.b32 %%r7, %%r6, 1;\n"
        "EMPTY: mbarrier.try_wait.parity.shared::cta.b64 %%p8, [%%r11+16], %%r7; @!%%p8 bra EMPTY;\n"
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%%r11], 512;\n"
        "shl.b32 %%r12, %%r4, 9; add.u32 %%r12, %%r12, %%r2; shl.b32 %%r13, %%r20, 8; add.u32 %%r12, %%r12, "
        "%%r13;\n"
        "mul.wide.u32 %%rd5, %%r9, 512; cvt.u64.u32 %%rd6, %%r13; add.u64 %%rd7, %%rd1, %%rd5; add.u64 %%rd7, "
        "%%rd7, %%rd6;\n%s"
        "add.u32 %%r9, %%r9, 1; setp.lt.u32 %%p3, %%r9, 8; @%%p3 bra FETCH; bra END;\n",
        ring->copy);
    str_printf(
        ptx,
        "CONSUME: sub.u32 %%r17, %%r1, 32; shl.b32 %%r17, %%r17, 3; mul.wide.u32 %%rd8, %%r22, 4096;\n"
        "add.u64 %%rd8, %%rd8, %%rd2; cvt.u64.u32 %%rd9, %%r17; add.u64 %%rd8, %%rd8, %%rd9;\n"
        "NEXT: and.b32 %%r4, %%r9, 1; shl.b32 %%r5, %%r4, 3; add.u32 %%r14, %%r10, %%r5; shr.u32 %%r6, %%r9, 1;\n"
        "and.b32 %%r6, %%r6, 1;\n"
        "FULL: mbarrier.try_wait.parity.shared::cta.b64 %%p8, [%%r14], %%r6; @!%%p8 bra FULL;\n"
        "shl.b32 %%r12, %%r4, 9; add.u32 %%r12, %%r12, %%r2; add.u32 %%r12, %%r12, %%r17;\n"
        "ld.shared.v2.u32 {%%r18, %%r19}, [%%r12]; st.global.v2.u32 [%%rd8], {%%r18, %%r19};\n"
        "add.u32 %%r14, %%r14, 16;\n%s\n"
        "add.u64 %%rd8, %%rd8, 512; add.u32 %%r9, %%r9, 1; setp.lt.u32 %%p3, %%r9, 8; @%%p3 bra NEXT;\n"
        "END: bar.warp.sync 0xffffffff; %s ret; }\n",
        ring->released, ring->end);
}

static uint32_t repeated(const uint32_t *in, uint32_t k) {
    return in[k % 1024];
}

static void check_ring(const struct ring *ring, enum sg_fault_kind kind, const char *text) {
    struct str ptx = {0};
    build_ring(&ptx, ring);
    check_run(&ptx, 96, &(struct expectation){kind, text, repeated, 2048, 2, 2});
    str_release(&ptx);
}

static void test_multicast(void **state) {
    (void)state;
    check_ring(&good_ring, SG_FAULT_NONE, "");
    struct ring r = good_ring; /* each for itself and the other, without multicast */
    r.copy = "mapa.shared::cluster.u32 %r15, %r12, 0; mapa.shared::cluster.u32 %r16, %r11, 0;\n" BULK
             "[%r15], [%rd7], 256, [%r16];\n"
             "mapa.shared::cluster.u32 %r15, %r12, 1; mapa.shared::cluster.u32 %r16, %r11, 1;\n" BULK
             "[%r15], [%rd7], 256, [%r16];\n";
    check_ring(&r, SG_FAULT_NONE, "");
    /* what is counted: global memory once, shared memory in both */
    for (int k = 0; k < 2; k++) {
        struct str ptx = {0};
        struct world w;
        build_ring(&ptx, k ? &r : &good_ring);
        world_open(&w, ptx.data);
        struct pointers p = {world_alloc(&w, 8192), world_alloc(&w, 8192)};
        w.launch.block[0] = 96;
        w.launch.grid[0] = w.launch.cluster[0] = 2;
        world_run_good(&w, &p);
        assert_int_equal(w.counters.async_bytes, 4096u << k);
        assert_int_equal(w.counters.global_bytes_read, 4096u << k);
        assert_int_equal(w.counters.global_sectors, (128u << k) + 2 * 128);
        assert_true(w.counters.shared_wavefronts >= 2 * 4096 / 128);
        assert_in_range(w.counters.max_inflight_bytes, 256u << k, 512u << k); /* two stages */
        world_close(&w);
        str_release(&ptx);
    }
}

static void check_ring_with(size_t member, const char *text_of_member, enum sg_fault_kind kind, const char *text) {
    struct ring r = good_ring;
    memcpy((char *)&r + member, &text_of_member, sizeof text_of_member);
    check_ring(&r, kind, text);
}
#define RING(member, value, kind, text) check_ring_with(offsetof(struct ring, member), value, kind, text)

static void test_wrong_multicast(void **state) {
    (void)state;
    RING(mask, "5", SG_FAULT_OUT_OF_BOUNDS, "no CTA 2 in a cluster of 2");
    RING(mask, "0", SG_FAULT_ASYNC, "names no CTA");
    RING(mask, "1", SG_FAULT_DEADLOCK, "of CTA 1 phase 0 lacks 0 of 1 arrivals (0 under way), 512 bytes (0 under way)");
    RING(init, "fence.mbarrier_init.release.cluster; bar.sync 0;\n", SG_FAULT_ASYNC, "has perhaps not started");
    RING(init, CLUSTER_SYNC, SG_FAULT_ASYNC, "neither fence.mbarrier_init nor fence.proxy.async");
    RING(copy, MULTICAST "[%r12], [%rd7], 240, [%r11], %h1;\n", SG_FAULT_DEADLOCK, "512 bytes (480 under way)");
    RING(copy,
         "mapa.shared::cluster.u32 %r15, %r12, 1; mapa.shared::cluster.u32 %r16, %r11, 0;\n" BULK
         "[%r15], [%rd7], 256, [%r16];\n",
         SG_FAULT_ASYNC, "a copy to CTA 1 of the cluster with an mbarrier of CTA 0");
    /* consumers that release the stage to one of the two producers alone */
    RING(released,
         "mapa.shared::cluster.u32 %r15, %r14, 0; mbarrier.arrive.release.cluster.shared::cluster.b64 _, "
         "[%r15];\n",
         SG_FAULT_DEADLOCK, "of CTA 1 phase 0 lacks 128 of 128 arrivals");
}

/* A producer that waits for its own consumers alone writes over what the other CTA's may still read. */
static void test_stage_of_other(void **state) {
    (void)state;
    struct ring r = good_ring;
    r.count = "64";
    r.released = "mbarrier.arrive.shared::cta.b64 _, [%r14];\n";
    int raced = 0;
    for (uint64_t seed = 0; seed < 16; seed++) {
        struct str ptx = {0};
        struct world w;
        build_ring(&ptx, &r);
        world_open(&w, ptx.data);
        struct pointers p = {world_alloc(&w, 8192), world_alloc(&w, 8192)};
        w.launch.block[0] = 96;
        w.launch.grid[0] = w.launch.cluster[0] = 2;
        w.launch.seed = seed;
        assert_false(world_run(&w, &p));
        assert_true(w.fault.kind == SG_FAULT_RACE || w.fault.kind == SG_FAULT_ASYNC);
        raced += w.fault.kind == SG_FAULT_RACE && strstr(w.fault.text, "multicast") &&
                 strstr(w.fault.text, "of the cluster read it at PTX line");
        world_close(&w);
        str_release(&ptx);
    }
    assert_true(raced > 0);
}

/* Without the barrier at the end a CTA may be gone when the other's consumers release their last stages. */
static void test_ring_without_end(void **state) {
    (void)state;
    RING(end, "", SG_FAULT_ASYNC, "of the cluster ");
}

/* ---- from shared memory to shared memory ---- */

#define BETWEEN "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes "
#define SEND_INIT                                                                                                      \
    "@%p1 mbarrier.init.shared::cta.b64 [bar], 1; fence.mbarrier_init.release.cluster;\n"                              \
    "@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [bar], 256;\n"                                                  \
    "mov.u32 %r10, bar; mapa.shared::cluster.u32 %r11, %r10, %r23; mapa.shared::cluster.u32 %r24, %r2, %r23;\n"
#define SEND    "@%p1 " BETWEEN "[%r24+4096], [%r2], 256, [%r11];\n"
#define RECEIVE REMOTE_WAIT REMOTE_READ

static void test_between(void **state) {
    (void)state;
    for (uint32_t cluster = 2; cluster <= GRID; cluster *= 2)
        check_shared(cluster, SEND_INIT "fence.proxy.async;\n" CLUSTER_SYNC SEND RECEIVE CLUSTER_SYNC, predecessor);
    /* shared memory that was sent is one's own again when the other CTA has it */
    check_shared(2,
                 SEND_INIT "fence.proxy.async;\n" CLUSTER_SYNC SEND RECEIVE CLUSTER_SYNC "st.shared.u32 [%r5], %r1;\n",
                 predecessor);
    check_wrong(SEND_INIT CLUSTER_SYNC SEND RECEIVE CLUSTER_SYNC, SG_FAULT_ASYNC, "no fence.proxy.async followed");
    check_wrong(SEND_INIT "fence.proxy.async;\n" CLUSTER_SYNC "@%p1 " BETWEEN
                          "[%r24+4096], [%r2+16384], 256, [%r11];\n",
                SG_FAULT_OUT_OF_BOUNDS, "a bulk copy of 256 bytes from shared 0x4000 of ");
    check_wrong(SEND_INIT "fence.proxy.async;\n" CLUSTER_SYNC SEND
                          "@%p1 st.shared.u32 [%r5], %r1;\n" CLUSTER_SYNC RECEIVE,
                SG_FAULT_ASYNC, "may still be reading it");
    check_wrong(SEND_INIT "fence.proxy.async;\n" CLUSTER_SYNC SEND, SG_FAULT_ASYNC,
                "the CTA ended while this copy was");
}

/* ---- launches ---- */

static void test_launches(void **state) {
    (void)state;
    struct str ptx = {0};
    struct world w;
    build_shared(&ptx, CLUSTER_SYNC);
    world_open(&w, ptx.data);
    struct pointers p = {world_alloc(&w, 8192), world_alloc(&w, 8192)};
    w.launch.block[0] = THREADS;
    w.launch.grid[0] = 3;
    w.launch.cluster[0] = 2;
    world_run_bad(&w, &p, SG_FAULT_LAUNCH, "does not consist of whole clusters");
    w.launch.grid[0] = w.launch.cluster[0] = 17;
    world_run_bad(&w, &p, SG_FAULT_LAUNCH, "16 CTAs in a cluster are the most");
    world_close(&w);
    char *body = strstr(ptx.data, "{ .shared");
    struct str required = {0};
    str_append_bytes(&required, ptx.data, (size_t)(body - ptx.data));
    str_printf(&required, ".explicitcluster .reqnctapercluster 2, 1, 1\n%s", body);
    world_open(&w, required.data);
    p = (struct pointers){world_alloc(&w, 8192), world_alloc(&w, 8192)};
    w.launch.block[0] = THREADS;
    w.launch.grid[0] = 4;
    world_run_bad(&w, &p, SG_FAULT_LAUNCH, ".reqnctapercluster");
    w.launch.cluster[0] = 2;
    world_run_good(&w, &p);
    world_close(&w);
    str_release(&required);
    str_release(&ptx);
}

/* A sample of whole clusters counts what these clusters count, and writes nothing. */
static void test_sample(void **state) {
    (void)state;
    static const uint32_t columns[][2] = {{4, 0}, {5, 0}, {4, 1}, {5, 1}};
    struct str ptx = {0};
    struct world w;
    struct sg_counters whole;
    build_places(&ptx);
    world_open(&w, ptx.data);
    struct pointers p = {world_alloc(&w, 16), world_alloc(&w, 16384)};
    memcpy(w.launch.grid, (uint32_t[]){8, 4, 4}, sizeof w.launch.grid);
    memcpy(w.launch.cluster, (uint32_t[]){2, 2, 2}, sizeof w.launch.cluster);
    world_run_good(&w, &p);
    whole = w.counters;
    uint32_t *out = p.out;
    memset(out, 0xab, 16384);
    w.launch.sample = columns;
    w.launch.sample_count = 4;
    memset(&w.counters, 0, sizeof w.counters);
    world_run_good(&w, &p);
    assert_int_equal(w.counters.warp_instructions * 8, whole.warp_instructions);
    assert_int_equal(w.counters.global_bytes_written * 8, whole.global_bytes_written);
    for (int k = 0; k < 4096; k++)
        assert_int_equal(out[k], 0xabababab);
    w.launch.sample_count = 3;
    world_run_bad(&w, &p, SG_FAULT_LAUNCH, "whole clusters");
    world_close(&w);
    str_release(&ptx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_shared),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_exit),
        cmocka_unit_test(test_barrier_misused),
        cmocka_unit_test(test_remote_arrivals),
        cmocka_unit_test(test_wrong_arrivals),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_multicast),
        cmocka_unit_test(test_wrong_multicast),
        cmocka_unit_test(test_stage_of_other),
        cmocka_unit_test(test_ring_without_end),
        cmocka_unit_test(test_between),
        cmocka_unit_test(test_launches),
        cmocka_unit_test(test_sample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
