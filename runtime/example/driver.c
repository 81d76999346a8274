#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* setenv, program_invocation_short_name */
#endif
#include "driver.h"
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct driver cu;

const char *const step_names[] = {"exact", "nearest M", "nearest split", "nearest layer", "default"};

static const struct {
    const char *name;
    void *member;
} functions[] = {
    {"cuInit", &cu.init},
    {"cuDeviceGet", &cu.device_get},
    {"cuCtxCreate_v2", &cu.context_create},
    {"cuCtxDestroy_v2", &cu.context_destroy},
    {"cuMemAlloc_v2", &cu.allocate},
    {"cuMemFree_v2", &cu.release},
    {"cuMemsetD8_v2", &cu.fill},
    {"cuMemcpyHtoD_v2", &cu.to_device},
    {"cuMemcpyDtoH_v2", &cu.to_host},
    {"cuStreamCreate", &cu.stream_create},
    {"cuStreamDestroy_v2", &cu.stream_destroy},
    {"cuStreamSynchronize", &cu.stream_wait},
    {"cuStreamBeginCapture_v2", &cu.capture_begin},
    {"cuStreamEndCapture", &cu.capture_end},
    {"cuGraphInstantiateWithFlags", &cu.graph_make},
    {"cuGraphLaunch", &cu.graph_launch},
    {"cuGraphExecDestroy", &cu.graph_exec_destroy},
    {"cuGraphDestroy", &cu.graph_destroy},
};

void stop(const char *what, const char *why) {
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, why);
    exit(1);
}

void driver_check(CUresult result, const char *what) {
    char number[40];
    snprintf(number, sizeof number, "driver error %d", (int)result);
    if (result != CUDA_SUCCESS)
        stop(what, number);
}

void mixtune_check(enum mt_status status, const char *what) {
    if (status != MT_OK)
        stop(what, mt_error_message());
}

void *host_allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (!memory)
        stop("out of memory", "the layer is too large for this machine");
    return memory;
}

CUdeviceptr device_allocate(size_t bytes) {
    CUdeviceptr memory;
    driver_check(cu.allocate(&memory, bytes), "device memory");
    return memory;
}

CUdeviceptr device_zeros(size_t bytes) {
    CUdeviceptr memory = 0;
    if (bytes) {
        memory = device_allocate(bytes);
        driver_check(cu.fill(memory, 0, bytes), "clearing device memory");
    }
    return memory;
}

/* True if the library is there, has all functions and finds a device. */
static int driver_open(const char *library) {
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; handle && i < sizeof functions / sizeof *functions; i++) {
        void *found = dlsym(handle, functions[i].name);
        if (!found)
            return 0;
        memcpy(functions[i].member, &found, sizeof found);
    }
    return handle && cu.init(0) == CUDA_SUCCESS;
}

CUcontext context_open(void) {
    const char *wanted = getenv("MIXTUNE_DEVICE");
    int soft = wanted && strncmp(wanted, "soft:", 5) == 0;
    int number = wanted && strncmp(wanted, "cuda:", 5) == 0 ? atoi(wanted + 5) : 0;
    CUdevice device;
    CUcontext context;
    if (soft)
        setenv("SOFTGPU_DEVICE", wanted + 5, 1);
    cu.software = soft || !driver_open("libcuda.so.1");
    if (cu.software && !driver_open("libsoftgpu.so"))
        stop("no device", "there is neither a CUDA driver with a GPU nor the software device");
    driver_check(cu.device_get(&device, number), "the device");
    driver_check(cu.context_create(&context, 0, device), "a context");
    return context;
}

void random_fill(float *to, size_t count, unsigned seed) {
    unsigned state = seed;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        to[i] = (float)(int)(state >> 8) * 0x1p-23f - 1;
    }
}
