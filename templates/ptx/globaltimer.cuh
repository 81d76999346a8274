// Nanoseconds of the clock that all multiprocessors share; it moves in steps of up to a microsecond.
#pragma once

__device__ __forceinline__ unsigned long long globaltimer() {
    unsigned long long ns;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ns));
    return ns;
}
