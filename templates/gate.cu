// What timing needs beside the kernel that is timed. The memory is the host's, mapped.
#include "ptx/globaltimer.cuh"
#include "ptx/multiprocessor.cuh"

// One thread. Waits until the host sets `gate[0]`, but no longer than `limit_ns`: then it sets gate[1], for the host is late.
extern "C" __global__ void gate_wait(volatile unsigned *gate, unsigned long long limit_ns) {
    const unsigned long long start = globaltimer();
    while (gate[0] == 0)
        if (globaltimer() - start > limit_ns) {
            gate[1] = 1;
            return;
        }
}

// CTAs of one thread, as many as there are multiprocessors: what the clock of each and the common one show. Two such pairs of one
// multiprocessor tell the frequency in between; those of two do not, for each counts by itself. out: [room][2]
extern "C" __global__ void gate_stamp(volatile unsigned long long *out, unsigned room) {
    const unsigned here = multiprocessor();
    if (here < room) {
        out[here * 2] = static_cast<unsigned long long>(clock64());
        out[here * 2 + 1] = globaltimer();
    }
}
