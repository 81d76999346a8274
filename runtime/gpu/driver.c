#include "driver.h"
#include "runtime/base/symbols.h"
#include "runtime/jit/verdict.h"
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

/* cuda.h maps plain names to the newest version of a function; what is exported, and since when, is the versioned name.
 * The versions below have the signatures of struct driver and are in every driver since 12.0: cuCtxCreate_v2 and
 * cuEventElapsedTime are no longer what cuda.h of CUDA 13 calls by these names. */
static const struct symbol symbols[] = {
#define FUNCTION(name, symbol)                                                                                         \
    { offsetof(struct driver, name), symbol }
    FUNCTION(Init, "cuInit"),
    FUNCTION(DriverGetVersion, "cuDriverGetVersion"),
    FUNCTION(GetErrorName, "cuGetErrorName"),
    FUNCTION(GetErrorString, "cuGetErrorString"),
    FUNCTION(DeviceGetCount, "cuDeviceGetCount"),
    FUNCTION(DeviceGet, "cuDeviceGet"),
    FUNCTION(DeviceGetName, "cuDeviceGetName"),
    FUNCTION(DeviceGetUuid, "cuDeviceGetUuid_v2"),
    FUNCTION(DeviceTotalMem, "cuDeviceTotalMem_v2"),
    FUNCTION(DeviceGetAttribute, "cuDeviceGetAttribute"),
    FUNCTION(CtxCreate, "cuCtxCreate_v2"),
    FUNCTION(CtxDestroy, "cuCtxDestroy_v2"),
    FUNCTION(CtxSetCurrent, "cuCtxSetCurrent"),
    FUNCTION(CtxSynchronize, "cuCtxSynchronize"),
    FUNCTION(ModuleLoadData, "cuModuleLoadData"),
    FUNCTION(ModuleUnload, "cuModuleUnload"),
    FUNCTION(ModuleGetFunction, "cuModuleGetFunction"),
    FUNCTION(FuncGetAttribute, "cuFuncGetAttribute"),
    FUNCTION(FuncSetAttribute, "cuFuncSetAttribute"),
    FUNCTION(OccupancyMaxActiveBlocksPerMultiprocessor, "cuOccupancyMaxActiveBlocksPerMultiprocessor"),
    FUNCTION(OccupancyMaxActiveClusters, "cuOccupancyMaxActiveClusters"),
    FUNCTION(MemAlloc, "cuMemAlloc_v2"),
    FUNCTION(MemFree, "cuMemFree_v2"),
    FUNCTION(MemcpyHtoD, "cuMemcpyHtoD_v2"),
    FUNCTION(MemcpyDtoH, "cuMemcpyDtoH_v2"),
    FUNCTION(MemcpyDtoD, "cuMemcpyDtoD_v2"),
    FUNCTION(MemcpyHtoDAsync, "cuMemcpyHtoDAsync_v2"),
    FUNCTION(MemcpyDtoHAsync, "cuMemcpyDtoHAsync_v2"),
    FUNCTION(MemsetD8, "cuMemsetD8_v2"),
    FUNCTION(MemsetD32Async, "cuMemsetD32Async"),
    FUNCTION(MemHostAlloc, "cuMemHostAlloc"),
    FUNCTION(MemFreeHost, "cuMemFreeHost"),
    FUNCTION(MemHostGetDevicePointer, "cuMemHostGetDevicePointer_v2"),
    FUNCTION(StreamCreate, "cuStreamCreate"),
    FUNCTION(StreamDestroy, "cuStreamDestroy_v2"),
    FUNCTION(StreamSynchronize, "cuStreamSynchronize"),
    FUNCTION(StreamWaitEvent, "cuStreamWaitEvent"),
    FUNCTION(StreamBeginCapture, "cuStreamBeginCapture_v2"),
    FUNCTION(StreamEndCapture, "cuStreamEndCapture"),
    FUNCTION(GraphInstantiate, "cuGraphInstantiateWithFlags"),
    FUNCTION(GraphLaunch, "cuGraphLaunch"),
    FUNCTION(GraphExecDestroy, "cuGraphExecDestroy"),
    FUNCTION(GraphDestroy, "cuGraphDestroy"),
    FUNCTION(EventCreate, "cuEventCreate"),
    FUNCTION(EventDestroy, "cuEventDestroy_v2"),
    FUNCTION(EventRecord, "cuEventRecord"),
    FUNCTION(EventSynchronize, "cuEventSynchronize"),
    FUNCTION(EventElapsedTime, "cuEventElapsedTime"),
    FUNCTION(LaunchKernel, "cuLaunchKernel"),
    FUNCTION(TensorMapEncodeTiled, "cuTensorMapEncodeTiled"),
#undef FUNCTION
};

enum { SYMBOLS = sizeof symbols / sizeof *symbols };
_Static_assert(SYMBOLS == sizeof(struct driver) / sizeof(void *) - 1, "every member of struct driver has its symbol");

enum mt_status driver_open(struct driver *drv, const char *path, int flags) {
    memset(drv, 0, sizeof *drv);
    drv->library = dlopen(path, flags);
    if (!drv->library) {
        const char *told = dlerror(), *why = told ? told : strerror(ENOMEM);
        return fail(speaks_of_shortage(why) ? MT_FAILURE : MT_NO_DEVICE, "%s", why);
    }
    const char *lacking = symbols_find(drv->library, symbols, SYMBOLS, drv);
    if (!lacking)
        return MT_OK;
    driver_close(drv);
    return fail(MT_NO_DEVICE, "the driver %s has no function %s; mixtune needs a driver of CUDA 12.4 or later", path,
                lacking);
}

void driver_close(struct driver *drv) {
    if (drv->library)
        dlclose(drv->library);
    memset(drv, 0, sizeof *drv);
}
