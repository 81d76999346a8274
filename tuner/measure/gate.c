#include "gate.h"
#include "runtime/base/str.h"
#include "runtime/jit/compile.h"
#include <stdlib.h>
#include <string.h>

/* Queueing a batch takes the host well under a millisecond; after this long something else is wrong. */
static const unsigned long long wait_limit_ns = 200 * 1000 * 1000;

/* Multiprocessors have numbers that need not follow each other; larger ones than these give no stamp. */
enum { MULTIPROCESSORS = 512 };

/* Host memory that the device sees: its own cache line for the host's word. */
struct shared {
    volatile unsigned open, late;
    unsigned unused[30];
    volatile unsigned long long stamp[2][MULTIPROCESSORS][2]; /* before and after: clock, nanoseconds; 0: none */
};

_Static_assert(offsetof(struct shared, stamp) == 128, "the stamps begin behind the host's cache line");

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
    if (status == MT_FAILURE && !image.judged)
        device_note_error(CUDA_ERROR_OPERATING_SYSTEM);
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

static enum mt_status launch(struct gate *gate, CUfunction function, unsigned ctas, void **params, CUstream stream) {
    return device_check(gate->dev, gate->dev->drv.LaunchKernel(function, ctas, 1, 1, 1, 1, 1, 0, stream, params, NULL),
                        "a kernel of the timer cannot be launched");
}

static enum mt_status queue_wait(struct gate *gate, CUstream stream) {
    unsigned long long limit = wait_limit_ns;
    void *params[] = {&gate->shared, &limit};
    return launch(gate, gate->wait, 1, params, stream);
}

static enum mt_status queue_stamp(struct gate *gate, int which, CUstream stream) {
    CUdeviceptr out = gate->shared + offsetof(struct shared, stamp) + (size_t)which * sizeof gate->host->stamp[0];
    unsigned room = MULTIPROCESSORS;
    void *params[] = {&out, &room};
    return launch(gate, gate->stamp, (unsigned)gate->dev->sm_count, params, stream);
}

/* A kernel that has not run yet may be loaded when it is launched, and loading may wait for what runs: the stamp must
 * not come to that behind the gate. */
static enum mt_status run_once(struct gate *gate) {
    enum mt_status status;
    gate->host->open = 1;
    if ((status = queue_wait(gate, NULL)) || (status = queue_stamp(gate, 0, NULL)))
        return status;
    return device_check(gate->dev, gate->dev->drv.CtxSynchronize(), "the kernels of the timer do not run");
}

enum mt_status gate_open(struct device *dev, struct gate **out) {
    *out = NULL;
    struct gate *gate = xcalloc(1, sizeof *gate);
    gate->dev = dev;
    enum mt_status status = load_kernels(gate);
    if (!status)
        status = map_memory(gate);
    if (!status)
        status = run_once(gate);
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

enum mt_status gate_shut(struct gate *gate, CUstream stream) {
    memset(gate->host, 0, sizeof *gate->host);
    enum mt_status status = queue_wait(gate, stream);
    return status ? status : queue_stamp(gate, 0, stream);
}

enum mt_status gate_stamp(struct gate *gate, CUstream stream) {
    return queue_stamp(gate, 1, stream);
}

void gate_lift(struct gate *gate) {
    gate->host->open = 1;
}

bool gate_held(const struct gate *gate) {
    return !gate->host->late;
}

double gate_clock(const struct gate *gate) {
    const struct shared *host = gate->host;
    for (int i = 0; i < MULTIPROCESSORS && gate->highest_hz > 0; i++) {
        const volatile unsigned long long *before = host->stamp[0][i], *after = host->stamp[1][i];
        const double clocks = (double)(after[0] - before[0]), seconds = (double)(after[1] - before[1]) * 1e-9;
        /* The common clock moves in steps: a short stretch says nothing. */
        if (before[1] && after[0] > before[0] && after[1] > before[1] && seconds >= 20e-6)
            return clocks / seconds / gate->highest_hz;
    }
    return 1;
}
