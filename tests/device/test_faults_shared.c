/* The sm90 family broken on purpose (faults.h says how) where CTAs work together: tiles shared along K, and clusters.
 * The software H100 has few SMs, so that there are more tiles than CTAs, and not a whole number of times. */
#include "faults.h"
#include "small_device.h"

#define CLUSTER   "tile_m=32,tile_k=128,stages=3,consumers=1,cluster=2"
#define CLUSTER_K "tile_m=16,tile_k=128,stages=3,consumers=2,cluster_k=4"
#define STREAM    "tile_m=16,tile_k=128,stages=3,consumers=2,stream_k=1"

static const struct mutation mutations[] = {
    {"stream-K: two parts share a slot", "tile/schedule.cuh", "2 * first + 2, 2}", "2 * first + 2, 0}", "w4a8",
     STREAM ",ctas=2", OUTCOME_WRONG, NULL},
    {"stream-K: one part too few is waited for", "tile/schedule.cuh", "last - first + 1", "last - first", "w4a8",
     STREAM, OUTCOME_WRONG, NULL},
    {"stream-K: a stretch that is one step short", "tile/schedule.cuh", "min(end - zero, steps)}",
     "min(end - zero, steps) - 1}", "w8a8", STREAM, OUTCOME_WRONG, NULL},
    {"the first CTA takes the sum, not the last", "tile/epilogue.cuh", "== static_cast<unsigned>(parts.count - 1)",
     "== 0", "w8a8", STREAM, OUTCOME_WRONG, NULL},

    /* Clusters. */
    {"no cluster barrier after the barriers' initialisation", "gemm_sm90.cu", "cluster_sync(); // everybody's",
     "__syncthreads(); // everybody's", "w4a8", CLUSTER, OUTCOME_CRASH, "cluster barrier|mbarrier"},
    {"no cluster barrier before the end", "gemm_sm90.cu", "cluster_sync(); // nobody", "; // nobody", "w4a8", CLUSTER,
     OUTCOME_CRASH, "may end before this reaches its shared memory"},
    {"only this CTA's producer hears of an empty stage", "tile/hopper_tile.cuh", "if (lane < Cluster)",
     "if (lane == cluster_rank())", "w4a8", CLUSTER, OUTCOME_TIMEOUT, "lacks 4 of 8 arrivals"},
    {"a producer that waits for its own CTA only", "tile/hopper_tile.cuh", "Cluster * members * 4", "members * 4",
     "w8a8", CLUSTER, OUTCOME_CRASH, "lacks only|still in flight|no barrier lies between"},
    {"tokens for one CTA only", "tile/hopper_tile.cuh", "(1 << Cluster) - 1", "1 << cluster_rank()", "w4a8", CLUSTER,
     OUTCOME_TIMEOUT, "bytes"},
    {"both CTAs load the same tokens", "tile/hopper_tile.cuh", "m0 + first, barrier", "m0, barrier", "w8a8", CLUSTER,
     OUTCOME_WRONG, NULL},
    {"both CTAs load to the same place", "tile/hopper_tile.cuh", "tokens_at + first * 128", "tokens_at", "w8a8",
     CLUSTER, OUTCOME_CRASH, "still in flight|never written"},
    {"the sum is taken before the others have theirs", "tile/hopper_epilogue.cuh",
     "mbarrier_wait<true>(ready, round % 2);", "", "w4a8", CLUSTER_K, OUTCOME_CRASH,
     "never written|no barrier lies between"},
    {"the next partial sums come before these are read", "tile/hopper_epilogue.cuh",
     "mbarrier_wait<true>(freed, round % 2 ^ 1);", "", "w4a8", CLUSTER_K, OUTCOME_CRASH, "no barrier lies between"},
    {"nobody is told that the partial sums are read", "tile/hopper_epilogue.cuh", "mbarrier_publish_at(freed, lane);",
     ";", "w8a8", CLUSTER_K, OUTCOME_TIMEOUT, "lacks 8 of 8 arrivals"},
    {"partial sums of the first CTA twice", "tile/hopper_epilogue.cuh", "address_at(shared_address(shared), other)",
     "address_at(shared_address(shared), 1)", "w4a8", CLUSTER_K, OUTCOME_WRONG, NULL},
};

static int start_suite(void **state) {
    return set_up(state) || !small_device("h100-sxm", 4, folder, suite.device) ? -1 : 0;
}

int main(void) {
    suite = (struct suite){"sm90", "", mutations, sizeof mutations / sizeof *mutations, start_suite, 88};
    return suite_run();
}
