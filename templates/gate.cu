// What timing needs beside the kernel that is timed. One thread each; the memory is the host's, mapped.
#include "ptx/globaltimer.cuh"

// Waits until the host sets `gate[0]`, but no longer than `limit_ns`: then it sets gate[1], for the host is late.
extern "C" __global__ void gate_wait(volatile unsigned *gate, unsigned long long limit_ns) {
    const unsigned long long start = globaltimer();
    while (gate[0] == 0)
        if (globaltimer() - start > limit_ns) {
            gate[1] = 1;
            return;
        }
}

// What the clock of this multiprocessor and the common one show: two such pairs tell the frequency in between.
extern "C" __global__ void gate_stamp(volatile unsigned long long *out) {
    out[0] = static_cast<unsigned long long>(clock64());
    out[1] = globaltimer();
}
