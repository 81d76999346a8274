/* As test_forms.c, for copies: by lanes, by the copy engine, and the reductions among them. */
#include "forms.h"

static void test_copies(void **state) {
    (void)state;
    static const struct forms table[] = {
        {"cp.async.cg.shared.global.L2::cache_hint [%r1], [%rd1], 16, %r2, %rd3;",
         "unknown form of cp.async",
         {"cp.async.cg.shared.global [%r1], [%rd1], 8;", "cp.async.cg.shared.global [%r1], [%rd1], 4;",
          "cp.async.ca.shared.global [%r1], [%rd1], 12;", "cp.async.ca.shared.global [%r1], [%rd1], 5;",
          "cp.async.ca.shared.global [%r1], [%rd1], 0;", "cp.async.ca.shared.global [%r1], [%rd1], 32;",
          "cp.async.ca.shared.global [%r1], [%rd1], %r2;", "cp.async.ca.shared.global [%r1], [%rd1];",
          "cp.async.ca.global.shared [%rd1], [%r1], 16;", "cp.async.ca.shared.shared [%r1], [%r2], 16;",
          "cp.async.ca.shared [%r1], [%r2], 16;", "cp.async.ca.global [%rd1], [%rd2], 16;",
          "cp.async.ca.shared.global %r1, [%rd1], 16;", "cp.async.ca.shared.global [%r1], %rd1, 16;",
          "cp.async.ca.shared.global.sat [%r1], [%rd1], 16;", "cp.async.add.shared.global [%r1], [%rd1], 16;"}},
        {"cp.async.ca.shared::cta.global [%r1], [%rd1], 4, %p1;",
         "unknown kind of copy",
         {"cp.shared.global [%r1], [%rd1], 4;", "cp.add.async.shared.global [%r1], [%rd1], 4;"}},
        {"cp.async.wait_group 3;",
         "cp.async.wait_group needs a number",
         {"cp.async.wait_group %r1;", "cp.async.wait_group;"}},
        {"cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%r1];",
         "unknown form of cp.async",
         {"cp.async.mbarrier [%r1];"}},
        {"cp.async.wait_all;", "", {NULL}},
        {"cp.async.commit_group;", "", {NULL}},
        {"cp.async.ca.shared.global [buf], [%rd1], 8, 4;", "", {NULL}},
    };
    CHECK(table);
}

#define BULK_SENTENCE                                                                                                  \
    "unknown form of a bulk copy; those from global to shared memory with an mbarrier, between shared memories, and "  \
    "from shared to global memory are known"
#define LOAD  "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
#define LOADT "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"

static void test_bulk_copies(void **state) {
    (void)state;
    static const struct forms table[] = {
        {LOAD ".L2::cache_hint [%r1], [%rd1], %r2, [%r3], %rd4;",
         BULK_SENTENCE,
         {LOAD " [%r1], [%rd1], %r2;", LOAD " [%r1], [%rd1], %r2, [%r3], %rd4;",
          LOAD ".L2::cache_hint [%r1], [%rd1], %r2, [%r3];", LOAD " %r1, [%rd1], %r2, [%r3];",
          LOAD " [%r1], %rd1, %r2, [%r3];", LOAD " [%r1], [%rd1], %r2, %r3;", LOAD ".read [%r1], [%rd1], %r2, [%r3];",
          LOAD ".arrive [%r1], [%rd1], %r2, [%r3];",
          "cp.async.bulk.global.global.mbarrier::complete_tx::bytes [%rd1], [%rd2], %r2, [%r3];",
          "cp.async.bulk.shared::cta.shared::cta.mbarrier::complete_tx::bytes [%r1], [%r2], %r2, [%r3];",
          "cp.async.bulk.shared::cta.mbarrier::complete_tx::bytes [%r1], [%r2], %r2, [%r3];",
          "cp.async.bulk.local.global.mbarrier::complete_tx::bytes [%rd1], [%rd2], %r2, [%r3];",
          "cp.async.bulk.mbarrier::complete_tx::bytes [%r1], [%r2], %r2, [%r3];"}},
        {LOAD ".multicast::cluster [%r1], [%rd1], 64, [%r3], %h1;",
         BULK_SENTENCE,
         {LOAD ".multicast::cluster [%r1], [%rd1], 64, [%r3];",
          "cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes.multicast::cluster [%r1], [%rd1], 64, [%r3], "
          "%h1;",
          "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes.multicast::cluster [%r1], [%r2], 64, "
          "[%r3], %h1;"}},
        {"cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%r1], [%r2], 64, [%r3];",
         BULK_SENTENCE,
         {"cp.async.bulk.tensor.2d.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%r1], [%rd1, {%r4, %r5}], "
          "[%r3];"}},
        {LOADT ".multicast::cluster.L2::cache_hint [%r1], [%rd1, {%r4, %r5}], [%r3], %h1, %rd5;",
         BULK_SENTENCE,
         {LOADT " [%r1], [%rd1, {%r4}], [%r3];", LOADT " [%r1], [%rd1, {%r4, %r5, %r6}], [%r3];",
          LOADT " [%r1], [%rd1], %r4, [%r3];", LOADT " [%r1], [%rd1], [%r3];", LOADT " %r1, [%rd1, {%r4, %r5}], [%r3];",
          LOADT " [%r1], [%rd1, {%r4, %r5}], %r3;",
          "cp.async.bulk.tensor.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%rd1, {%r4, %r5}], "
          "[%r3];"}},
        {"cp.async.bulk.tensor.1d.shared::cta.global.mbarrier::complete_tx::bytes [%r1], [%rd1, {%r4}], [%r3];",
         BULK_SENTENCE,
         {"cp.async.bulk.tensor.1d.local.global.mbarrier::complete_tx::bytes [%rd1], [%rd1, {%r4}], [%r3];"}},
        {"cp.async.bulk.global.shared::cta.bulk_group.L2::cache_hint [%rd1], [%r1], %r2, %rd4;",
         BULK_SENTENCE,
         {"cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r1];",
          "cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r1], %r2, %rd4;",
          "cp.async.bulk.global.shared::cta.bulk_group %rd1, [%r1], %r2;",
          "cp.async.bulk.global.shared::cta.bulk_group [%rd1], %r1, %r2;",
          "cp.async.bulk.global.shared::cta.bulk_group.multicast::cluster [%rd1], [%r1], %r2, %h1;",
          "cp.async.bulk.global.shared::cluster.bulk_group [%rd1], [%r1], %r2;",
          "cp.async.bulk.global.shared::cta.bulk_group.arrive [%rd1], [%r1], %r2;"}},
        {"cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%rd1, {%r1, %r2, %r3}], [%r4];",
         BULK_SENTENCE,
         {"cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%rd1, {%r1, %r2, %r3}], [%r4];",
          "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%rd1, {%r1, %r2, %r3}], [%r4];",
          "cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%rd1, {%r1, %r2, %r3}], %r4;",
          "cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%rd1, {%r1, %r2, %r3}];",
          "cp.async.bulk.tensor.1d.global.shared::cta.bulk_group [%rd1], %r1, [%r4];"}},
        {"cp.async.bulk.wait_group.read 1;",
         "cp.async.bulk.wait_group needs a number",
         {"cp.async.bulk.wait_group.read %r1;", "cp.async.bulk.wait_group;", "cp.async.bulk.wait_group.sat 1;",
          "cp.async.bulk.commit_group.read;", "cp.async.bulk.commit_group.ftz;"}},
        {"cp.async.bulk.commit_group;", "", {NULL}},
    };
    CHECK(table);
}

#define REDUCTION_SENTENCE                                                                                             \
    "unknown form of a bulk reduction; those from shared memory to global memory, and to the shared memory of a CTA "  \
    "of "                                                                                                              \
    "the cluster, are known"
#define REDUCE  "cp.reduce.async.bulk.global.shared::cta.bulk_group"
#define BETWEEN "cp.reduce.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes"

static void test_bulk_reductions(void **state) {
    (void)state;
    static const struct forms table[] = {
        {REDUCE ".L2::cache_hint.add.noftz.bf16 [%rd1], [%r1], %r2, %rd3;",
         REDUCTION_SENTENCE,
         {REDUCE ".add.bf16 [%rd1], [%r1], %r2;", REDUCE ".add.noftz.f32 [%rd1], [%r1], %r2;",
          REDUCE ".add.s64 [%rd1], [%r1], %r2;", REDUCE ".min.f32 [%rd1], [%r1], %r2;",
          REDUCE ".max.b32 [%rd1], [%r1], %r2;", REDUCE ".inc.s32 [%rd1], [%r1], %r2;",
          REDUCE ".and.u32 [%rd1], [%r1], %r2;", REDUCE ".exch.b32 [%rd1], [%r1], %r2;",
          REDUCE ".u32 [%rd1], [%r1], %r2;", REDUCE ".add [%rd1], [%r1], %r2;", REDUCE ".add.u32 [%rd1], [%r1];",
          REDUCE ".add.u32.u32 [%rd1], [%r1], %r2;",
          "cp.reduce.async.bulk.shared::cta.global.bulk_group.add.u32 [%r1], [%rd1], %r2;"}},
        {BETWEEN ".xor.b32 [%r1], [%r2], 64, [%r3];",
         REDUCTION_SENTENCE,
         {BETWEEN ".xor.b64 [%r1], [%r2], 64, [%r3];", BETWEEN ".add.f32 [%r1], [%r2], 64, [%r3];",
          BETWEEN ".min.u64 [%r1], [%r2], 64, [%r3];", BETWEEN ".xor.b32 [%r1], [%r2], 64;",
          BETWEEN ".multicast::cluster.xor.b32 [%r1], [%r2], 64, [%r3], %h1;"}},
        {"cp.reduce.async.bulk.tensor.2d.global.shared::cta.dec.tile.bulk_group [%rd1, {%r1, %r2}], [%r3];",
         REDUCTION_SENTENCE,
         {"cp.reduce.async.bulk.tensor.2d.global.shared::cta.dec.tile.bulk_group [%rd1, {%r1}], [%r3];",
          "cp.reduce.async.bulk.tensor.1d.global.shared::cta.add.bulk_group.u32 [%rd1, {%r1}], [%r3];",
          "cp.reduce.async.bulk.tensor.1d.global.shared::cta.cas.bulk_group [%rd1, {%r1}], [%r3];",
          "cp.reduce.async.bulk.tensor.1d.global.shared::cta.bulk_group [%rd1, {%r1}], [%r3];"}},
        {"cp.async.bulk.prefetch.L2.global.L2::cache_hint [%rd1], %r1, %rd2;",
         "unknown form of a bulk prefetch",
         {"cp.async.bulk.prefetch.L2.global [%rd1];", "cp.async.bulk.prefetch.L2.shared [%r1], 64;",
          "cp.async.bulk.prefetch.L2.global %rd1, 64;", "cp.async.bulk.prefetch.L2.global [%rd1], 64, %rd2;",
          "cp.async.bulk.prefetch.L2.global [%rd1], [%rd1];"}},
        {"cp.async.bulk.prefetch.tensor.3d.L2.global.tile [%rd1, {%r1, %r2, %r3}];",
         "unknown form of a bulk prefetch",
         {"cp.async.bulk.prefetch.tensor.3d.L2.global [%rd1, {%r1, %r2}];",
          "cp.async.bulk.prefetch.tensor.L2.global [%rd1, {%r1}];", "cp.async.bulk.prefetch.3d.L2.global [%rd1], 64;"}},
        {"prefetch.local.L1 [%rd1];",
         "unknown form of a cache hint",
         {"prefetch.shared.L1 [%r1];", "prefetch.global.L1 %rd1;", "prefetch.global.L1 [%rd1], 128;",
          "prefetchu.global.L1 [%rd1];", "prefetch.global.L1.u32 [%rd1];", "discard.global.L2 [%rd1];",
          "discard.global.L2 [%rd1], 64;", "discard.shared.L2 [%r1], 128;",
          "applypriority.global.L2::evict_normal [%rd1], %r1;"}},
        {"prefetch.param.tensormap [in];", "", {NULL}},
        {"discard.L2 [%rd1], 128;", "", {NULL}},
        {"applypriority.global.L2::evict_normal [%rd1+128], 128;", "", {NULL}},
    };
    CHECK(table);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_copies), cmocka_unit_test(test_bulk_copies),
                                       cmocka_unit_test(test_bulk_reductions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
