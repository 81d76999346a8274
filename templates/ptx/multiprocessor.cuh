// The multiprocessor that the thread runs on, and one more than the highest number of any. PTX ISA "%smid", "%nsmid".
#pragma once

__device__ __forceinline__ unsigned multiprocessor() {
    unsigned number;
    asm volatile("mov.u32 %0, %%smid;" : "=r"(number)); // volatile: a thread that is preempted may go on elsewhere
    return number;
}

__device__ __forceinline__ unsigned multiprocessors() {
    unsigned count;
    asm("mov.u32 %0, %%nsmid;" : "=r"(count));
    return count;
}
