#include "gate.h"
#include "../runtime/base/str.h"
#include "../runtime/compile.h"
#include <stdlib.h>
#include <string.h>

/* Queueing a batch takes the host well under a millisecond; after this long something else is wrong. */
static const unsigned long long wait_limit_ns = 200 * 1000 * 1000;

/* Host memory that the device sees: its own cache line for the host's word. */
struct shared {
    volatile unsigned open, late;
    unsigned unused[30];
    volatile unsigned long long stamp[2][2]; /* before and after: clock, nanoseconds */
};

struct gate {
    struct device *dev;
    CUmodule module;
    CUfunction wait, stamp;
    struct shared *host;
    CUdeviceptr shared; /* the same memory as the device sees it */
    double highest_hz;  /* 0: unknown */
};

static enum mt_status load_kernels(struct gate *gate) {
    const struct driver *drv = &gate->dev->drv;
    struct image image;
    char arch[16];
    device_arch(gate->dev, arch);
    const struct compile_request request = {.template_name = "gate.cu", .arch = arch};
    enum mt_status status = compile_kernel(&request, &image);
    if (status)
        return status;
    CUresult result = drv->ModuleLoadData(&gate->module, image.data);
    if (result == CUDA_SUCCESS)
        result = drv->ModuleGetFunction(&gate->wait, gate->module, "gate_wait");
    if (result == CUDA_SUCCESS)
        result = drv->ModuleGetFunction(&gate->stamp, gate->module, "gate_stamp");
    image_release(&image);
    return device_check(gate->dev, result, "the kernels of the timer cannot be loaded");
}

static enum mt_status map_memory(struct gate *gate) {
    const struct driver *drv = &gate->dev->drv;
    void *host;
    CUresult result =
        drv->MemHostAlloc(&host, sizeof *gate->host, CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_PORTABLE);
    if (result == CUDA_SUCCESS) {
        gate->host = host;
        memset(host, 0, sizeof *gate->host);
        result = drv->MemHostGetDevicePointer(&gate->shared, host, 0);
    }
    int khz;
    if (drv->DeviceGetAttribute(&khz, CU_DEVICE_ATTRIBUTE_CLOCK_RATE, gate->dev->handle) == CUDA_SUCCESS)
        gate->highest_hz = 1e3 * khz;
    return device_check(gate->dev, result, "no memory that host and device share");
}

enum mt_status gate_open(struct device *dev, struct gate **out) {
    *out = NULL;
    struct gate *gate = xcalloc(1, sizeof *gate);
    gate->dev = dev;
    enum mt_status status = load_kernels(gate);
    if (!status)
        status = map_memory(gate);
    if (status)
        gate_close(gate);
    else
        *out = gate;
    return status;
}

void gate_close(struct gate *gate) {
    if (!gate)
        return;
    if (gate->host)
        gate->dev->drv.MemFreeHost(gate->host);
    if (gate->module)
        gate->dev->drv.ModuleUnload(gate->module);
    free(gate);
}

static enum mt_status launch(struct gate *gate, CUfunction function, void **params, CUstream stream) {
    return device_check(gate->dev, gate->dev->drv.LaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL),
                        "a kernel of the timer cannot be launched");
}

static enum mt_status stamp(struct gate *gate, int which, CUstream stream) {
    CUdeviceptr out = gate->shared + offsetof(struct shared, stamp) + (size_t)which * sizeof gate->host->stamp[0];
    void *params[] = {&out};
    return launch(gate, gate->stamp, params, stream);
}

enum mt_status gate_shut(struct gate *gate, CUstream stream) {
    unsigned long long limit = wait_limit_ns;
    void *params[] = {&gate->shared, &limit};
    gate->host->open = gate->host->late = 0;
    enum mt_status status = launch(gate, gate->wait, params, stream);
    return status ? status : stamp(gate, 0, stream);
}

enum mt_status gate_stamp(struct gate *gate, CUstream stream) {
    return stamp(gate, 1, stream);
}

void gate_lift(struct gate *gate) {
    gate->host->open = 1;
}

bool gate_held(const struct gate *gate) {
    return !gate->host->late;
}

double gate_clock(const struct gate *gate) {
    volatile unsigned long long(*s)[2] = gate->host->stamp;
    double clocks = (double)(s[1][0] - s[0][0]), seconds = (double)(s[1][1] - s[0][1]) * 1e-9;
    /* The common clock moves in steps: a short stretch says nothing. */
    if (gate->highest_hz == 0 || s[1][0] <= s[0][0] || seconds < 20e-6)
        return 1;
    return clocks / seconds / gate->highest_hz;
}
