/* What the examples share: a driver, a context and memory of a device.
 *
 * An engine links with -lcuda. The examples open the driver themselves, so that they also run on the software device
 * where there is no GPU: MIXTUNE_DEVICE is "cuda:N" or "soft:NAME", and without it a GPU is tried first. What fails
 * ends the program with a sentence and exit code 1. */
#ifndef EXAMPLE_DRIVER_H
#define EXAMPLE_DRIVER_H

#include "mixtune.h"

struct driver {
    int software; /* 1: it is the software device, on which no library of CUDA runs */
    CUresult (*init)(unsigned);
    CUresult (*device_get)(CUdevice *, int);
    CUresult (*context_create)(CUcontext *, unsigned, CUdevice);
    CUresult (*context_destroy)(CUcontext);
    CUresult (*allocate)(CUdeviceptr *, size_t);
    CUresult (*release)(CUdeviceptr);
    CUresult (*fill)(CUdeviceptr, unsigned char, size_t);
    CUresult (*to_device)(CUdeviceptr, const void *, size_t);
    CUresult (*to_host)(void *, CUdeviceptr, size_t);
    CUresult (*stream_create)(CUstream *, unsigned);
    CUresult (*stream_destroy)(CUstream);
    CUresult (*stream_wait)(CUstream);
    CUresult (*capture_begin)(CUstream, CUstreamCaptureMode);
    CUresult (*capture_end)(CUstream, CUgraph *);
    CUresult (*graph_make)(CUgraphExec *, CUgraph, unsigned long long);
    CUresult (*graph_launch)(CUgraphExec, CUstream);
    CUresult (*graph_exec_destroy)(CUgraphExec);
    CUresult (*graph_destroy)(CUgraph);
};
extern struct driver cu; /* after context_open() */

/* The context is current then. */
CUcontext context_open(void);

_Noreturn void stop(const char *what, const char *why);
void driver_check(CUresult result, const char *what);
void mixtune_check(enum mt_status status, const char *what);

void *host_allocate(size_t count, size_t size); /* zeros */
CUdeviceptr device_allocate(size_t bytes);
CUdeviceptr device_zeros(size_t bytes); /* 0 for none */

/* Numbers in -1 .. 1, the same in every run. */
void random_fill(float *to, size_t count, unsigned seed);

extern const char *const step_names[]; /* of enum mt_step */

#endif
