/* Machine code in which long runs of multiply-adds let other warps go first.
 *
 * While one warp promotes sums, it issues a multiply-add every clock, and the scheduler prefers the warp that it is at:
 * the wgmma of another warp group waits for the end of the run. ptxas asks for no change. Set the bit that does in
 * every second multiply-add, and the two overlap; results do not change. Seen on H100: 4 to 8 % of a prefill
 * (templates/README.md). */
#ifndef MT_YIELD_H
#define MT_YIELD_H

#include "runtime/base/status.h"
#include <stddef.h>

/* Marks every second FFMA of each run of them, in place. *marked: how many. MT_FAILURE when it is no cubin. Images are
 * cached as they come out of here, and nothing in their keys is of this file: with a change of it goes another
 * CACHE_VERSION (cache.h). */
enum mt_status yield_between_ffma(void *cubin, size_t size, int *marked);

#endif
