/* What the PTX that the machine runs comes to in the machine code beside it.
 *
 * The machine runs PTX; what a GPU would issue is machine code, of which there is more or less. A *region* is what every
 * iteration of a loop of a kernel's PTX does, without the loops inside it; or what it does on some condition; or the
 * code outside of all loops. Loops are found again in the machine code by what no compiler makes or loses (flow.h); so a
 * PTX instruction that was executed in a region stands for as many instructions of each pipe as the region has in both:
 * machine / (PTX * unrolled), where `unrolled` is how many iterations the compiler made into one. What PTX jumps around
 * and machine code only predicates is issued each time: it is no longer behind a condition there.
 *
 * A region that only waits for others (it reads flags, by strong loads, atomics or mbarriers, and does nothing else) is
 * no work but for its first iteration: the rest depends on who is late. */
#ifndef SG_PROFILE_REGIONS_H
#define SG_PROFILE_REGIONS_H

#include "flow.h"
#include "runtime/softgpu/ptx/ptx.h"

enum { REGIONS_MOST = 64 };
struct region {
    uint32_t steps; /* PTX instructions in it */
    bool waits;
    float issued;              /* instructions of machine code for one of PTX */
    float pipe[SG_PIPE_COUNT]; /* of these, by pipe */
};
struct expansion {
    uint32_t regions;
    struct region region[REGIONS_MOST];
};

/* Divides the kernel's PTX into regions, which its instructions then name, and finds each in `machine`. */
void regions_find(const struct sg_function *kernel, const struct flow *machine, struct expansion *out);

#endif
