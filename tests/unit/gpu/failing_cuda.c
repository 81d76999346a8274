/* A driver whose N-th call fails, under the name of the real one. All others go on to the software device beside it.
 *
 * It is opened and not linked, so that a function which is missing here is missing in the driver, too. */
#define __CUDA_API_VERSION_INTERNAL
#include "failing_cuda.h"
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct failing_cuda failing_cuda;

static void *library;

/* Three folders up from this file: the build folder. */
__attribute__((constructor)) static void open_device(void) {
    Dl_info own;
    char path[4096];
    if (!dladdr(&failing_cuda, &own))
        abort();
    snprintf(path, sizeof path, "%.*s/../../../libsoftgpu.so", (int)(strrchr(own.dli_fname, '/') - own.dli_fname),
             own.dli_fname);
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        abort();
    }
}

static bool fails(const char *name) {
    if (++failing_cuda.calls != failing_cuda.at)
        return false;
    failing_cuda.name = name;
    return true;
}

static bool releases(const char *name) {
    return strstr(name, "Destroy") || strstr(name, "Free") || strstr(name, "Unload");
}

static bool makes(const char *name) {
    return strstr(name, "Alloc") || strstr(name, "Create") || strstr(name, "LoadData") || strstr(name, "Instantiate") ||
           strstr(name, "EndCapture");
}

#define REALLY(name, params)                                                                                           \
    CUresult(*really) params; /* NOLINT(bugprone-macro-parentheses) */                                                 \
    void *symbol = dlsym(library, #name);                                                                              \
    memcpy(&really, &symbol, sizeof really)

/* What releases something does so even when it fails: nobody could do it again. */
#define FORWARD(name, params, args)                                                                                    \
    CUresult name params {                                                                                             \
        REALLY(name, params);                                                                                          \
        const bool failing = fails(#name);                                                                             \
        if (failing && !releases(#name))                                                                               \
            return failing_cuda.result;                                                                                \
        failing_cuda.inside = true;                                                                                    \
        const CUresult result = really args;                                                                           \
        failing_cuda.inside = false;                                                                                   \
        if (result == CUDA_SUCCESS)                                                                                    \
            failing_cuda.held += makes(#name) - releases(#name);                                                       \
        return failing ? failing_cuda.result : result;                                                                 \
    }

FORWARD(cuInit, (unsigned flags), (flags))
FORWARD(cuDriverGetVersion, (int *out), (out))
FORWARD(cuDeviceGetCount, (int *out), (out))
FORWARD(cuDeviceGet, (CUdevice * out, int index), (out, index))
FORWARD(cuDeviceGetName, (char *out, int size, CUdevice device), (out, size, device))
FORWARD(cuDeviceGetUuid_v2, (CUuuid * out, CUdevice device), (out, device))
FORWARD(cuDeviceTotalMem_v2, (size_t * out, CUdevice device), (out, device))
FORWARD(cuDeviceGetAttribute, (int *out, CUdevice_attribute which, CUdevice device), (out, which, device))
FORWARD(cuCtxCreate_v2, (CUcontext * out, unsigned flags, CUdevice device), (out, flags, device))
FORWARD(cuCtxDestroy_v2, (CUcontext context), (context))
FORWARD(cuCtxSetCurrent, (CUcontext context), (context))
FORWARD(cuCtxGetCurrent, (CUcontext * out), (out))
FORWARD(cuCtxGetDevice, (CUdevice * out), (out))
FORWARD(cuCtxSynchronize, (void), ())
FORWARD(cuModuleLoadData, (CUmodule * out, const void *image), (out, image))
FORWARD(cuModuleUnload, (CUmodule module), (module))
FORWARD(cuModuleGetFunction, (CUfunction * out, CUmodule module, const char *name), (out, module, name))
FORWARD(cuFuncGetAttribute, (int *out, CUfunction_attribute which, CUfunction function), (out, which, function))
FORWARD(cuFuncSetAttribute, (CUfunction function, CUfunction_attribute which, int value), (function, which, value))
FORWARD(cuOccupancyMaxActiveBlocksPerMultiprocessor, (int *out, CUfunction function, int threads, size_t shared),
        (out, function, threads, shared))
FORWARD(cuOccupancyMaxActiveClusters, (int *out, CUfunction function, const CUlaunchConfig *config),
        (out, function, config))
FORWARD(cuMemAlloc_v2, (CUdeviceptr * out, size_t bytes), (out, bytes))
FORWARD(cuMemFree_v2, (CUdeviceptr address), (address))
FORWARD(cuMemcpyHtoD_v2, (CUdeviceptr to, const void *from, size_t bytes), (to, from, bytes))
FORWARD(cuMemcpyDtoH_v2, (void *to, CUdeviceptr from, size_t bytes), (to, from, bytes))
FORWARD(cuMemcpyDtoD_v2, (CUdeviceptr to, CUdeviceptr from, size_t bytes), (to, from, bytes))
FORWARD(cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void *from, size_t bytes, CUstream stream),
        (to, from, bytes, stream))
FORWARD(cuMemcpyDtoHAsync_v2, (void *to, CUdeviceptr from, size_t bytes, CUstream stream), (to, from, bytes, stream))
FORWARD(cuMemsetD8_v2, (CUdeviceptr to, unsigned char value, size_t bytes), (to, value, bytes))
FORWARD(cuMemsetD32Async, (CUdeviceptr to, unsigned value, size_t words, CUstream stream), (to, value, words, stream))
FORWARD(cuMemHostAlloc, (void **out, size_t bytes, unsigned flags), (out, bytes, flags))
FORWARD(cuMemFreeHost, (void *memory), (memory))
FORWARD(cuMemHostGetDevicePointer_v2, (CUdeviceptr * out, void *memory, unsigned flags), (out, memory, flags))
FORWARD(cuStreamCreate, (CUstream * out, unsigned flags), (out, flags))
FORWARD(cuStreamDestroy_v2, (CUstream stream), (stream))
FORWARD(cuStreamSynchronize, (CUstream stream), (stream))
FORWARD(cuStreamWaitEvent, (CUstream stream, CUevent event, unsigned flags), (stream, event, flags))
FORWARD(cuStreamBeginCapture_v2, (CUstream stream, CUstreamCaptureMode mode), (stream, mode))
FORWARD(cuStreamEndCapture, (CUstream stream, CUgraph *out), (stream, out))
FORWARD(cuGraphInstantiateWithFlags, (CUgraphExec * out, CUgraph graph, unsigned long long flags), (out, graph, flags))
FORWARD(cuGraphLaunch, (CUgraphExec graph, CUstream stream), (graph, stream))
FORWARD(cuGraphExecDestroy, (CUgraphExec graph), (graph))
FORWARD(cuGraphDestroy, (CUgraph graph), (graph))
FORWARD(cuEventCreate, (CUevent * out, unsigned flags), (out, flags))
FORWARD(cuEventDestroy_v2, (CUevent event), (event))
FORWARD(cuEventRecord, (CUevent event, CUstream stream), (event, stream))
FORWARD(cuEventSynchronize, (CUevent event), (event))
FORWARD(cuEventElapsedTime, (float *ms, CUevent begin, CUevent end), (ms, begin, end))
FORWARD(cuLaunchKernel,
        (CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
         unsigned shared, CUstream stream, void **params, void **extra),
        (function, gx, gy, gz, bx, by, bz, shared, stream, params, extra))
FORWARD(cuTensorMapEncodeTiled,
        (CUtensorMap * out, CUtensorMapDataType type, cuuint32_t rank, void *address, const cuuint64_t *size,
         const cuuint64_t *stride, const cuuint32_t *box, const cuuint32_t *step, CUtensorMapInterleave interleave,
         CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion, CUtensorMapFloatOOBfill fill),
        (out, type, rank, address, size, stride, box, step, interleave, swizzle, promotion, fill))

/* Asked only about a failure: these two are no calls that fail. */
CUresult cuGetErrorName(CUresult result, const char **out) {
    REALLY(cuGetErrorName, (CUresult, const char **));
    return really(result, out);
}

CUresult cuGetErrorString(CUresult result, const char **out) {
    REALLY(cuGetErrorString, (CUresult, const char **));
    return really(result, out);
}

/* NVRTC asks every libcuda.so.1 for it, and takes it that there is none. */
CUresult cuGetExportTable(const void **table, const CUuuid *which) {
    (void)which;
    *table = 0;
    return CUDA_ERROR_NOT_FOUND;
}
