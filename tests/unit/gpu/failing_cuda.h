/* What a test tells tests/unit/gpu/failing_cuda.c, and is told by it. */
#ifndef TEST_FAILING_CUDA_H
#define TEST_FAILING_CUDA_H

#include <cuda.h>
#include <stdbool.h>

struct failing_cuda {
    int at, calls;    /* the call that fails, counted from 1 (0: none); the calls so far */
    CUresult result;  /* what it gives */
    const char *name; /* of the function that failed; NULL: none has */
    int held;         /* contexts, modules, allocations, streams, events and graphs */
    bool inside;      /* a call is under way */
};
extern struct failing_cuda failing_cuda;

#endif
