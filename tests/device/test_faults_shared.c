/* The sm90 family broken on purpose (faults.h says how) where CTAs work together: tiles shared along K. The software
 * H100 has few SMs, so that there are more tiles than CTAs, and not a whole number of times. */
#include "faults.h"
#include "small_device.h"

#define STREAM "tile_m=16,tile_k=128,stages=3,consumers=2,stream_k=1"

static const struct mutation mutations[] = {
    {"stream-K: two parts share a slot", "tile/schedule.cuh", "2 * first + 2, 2}", "2 * first + 2, 0}", "w4a8",
     STREAM ",ctas=2", OUTCOME_WRONG, NULL},
    {"stream-K: one part too few is waited for", "tile/schedule.cuh", "last - first + 1", "last - first", "w4a8",
     STREAM, OUTCOME_WRONG, NULL},
    {"stream-K: a stretch that is one step short", "tile/schedule.cuh", "min(end - zero, steps)}",
     "min(end - zero, steps) - 1}", "w8a8", STREAM, OUTCOME_WRONG, NULL},
    {"the first CTA takes the sum, not the last", "tile/epilogue.cuh", "== static_cast<unsigned>(parts.count - 1)",
     "== 0", "w8a8", STREAM, OUTCOME_WRONG, NULL},
};

static int start_suite(void **state) {
    return set_up(state) || !small_device("h100-sxm", 4, folder, suite.device) ? -1 : 0;
}

int main(void) {
    suite = (struct suite){"sm90", "", mutations, sizeof mutations / sizeof *mutations, start_suite, 88};
    return suite_run();
}
