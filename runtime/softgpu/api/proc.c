/* Finding the functions by name. */
#include "state.h"
#include <cudaProfiler.h>
#include <string.h>

/* By name; several versions of one function with the newest first, each with the CUDA version that has it. */
static const struct {
    const char *name;
    int since;
    void *address;
} functions[] = {
#if CUDA_VERSION >= 12050
    {"cuCtxCreate", 12050, (void *)cuCtxCreate_v4},
#endif
    {"cuCtxCreate", 11040, (void *)cuCtxCreate_v3},
    {"cuCtxCreate", 0, (void *)cuCtxCreate_v2},
    {"cuCtxDestroy", 0, (void *)cuCtxDestroy_v2},
    {"cuCtxGetApiVersion", 0, (void *)cuCtxGetApiVersion},
    {"cuCtxGetCacheConfig", 0, (void *)cuCtxGetCacheConfig},
    {"cuCtxGetCurrent", 0, (void *)cuCtxGetCurrent},
    {"cuCtxGetDevice", 0, (void *)cuCtxGetDevice},
    {"cuCtxGetFlags", 0, (void *)cuCtxGetFlags},
    {"cuCtxGetId", 0, (void *)cuCtxGetId},
    {"cuCtxGetLimit", 0, (void *)cuCtxGetLimit},
    {"cuCtxGetStreamPriorityRange", 0, (void *)cuCtxGetStreamPriorityRange},
    {"cuCtxPopCurrent", 0, (void *)cuCtxPopCurrent_v2},
    {"cuCtxPushCurrent", 0, (void *)cuCtxPushCurrent_v2},
    {"cuCtxSetCacheConfig", 0, (void *)cuCtxSetCacheConfig},
    {"cuCtxSetCurrent", 0, (void *)cuCtxSetCurrent},
    {"cuCtxSetLimit", 0, (void *)cuCtxSetLimit},
    {"cuCtxSynchronize", 0, (void *)cuCtxSynchronize},
    {"cuDeviceCanAccessPeer", 0, (void *)cuDeviceCanAccessPeer},
    {"cuDeviceComputeCapability", 0, (void *)cuDeviceComputeCapability},
    {"cuDeviceGet", 0, (void *)cuDeviceGet},
    {"cuDeviceGetAttribute", 0, (void *)cuDeviceGetAttribute},
    {"cuDeviceGetByPCIBusId", 0, (void *)cuDeviceGetByPCIBusId},
    {"cuDeviceGetCount", 0, (void *)cuDeviceGetCount},
    {"cuDeviceGetName", 0, (void *)cuDeviceGetName},
    {"cuDeviceGetPCIBusId", 0, (void *)cuDeviceGetPCIBusId},
    {"cuDeviceGetUuid", 11040, (void *)cuDeviceGetUuid_v2},
    {"cuDeviceGetUuid", 0, (void *)cuDeviceGetUuid},
    {"cuDevicePrimaryCtxGetState", 0, (void *)cuDevicePrimaryCtxGetState},
    {"cuDevicePrimaryCtxRelease", 0, (void *)cuDevicePrimaryCtxRelease_v2},
    {"cuDevicePrimaryCtxRetain", 0, (void *)cuDevicePrimaryCtxRetain},
    {"cuDevicePrimaryCtxSetFlags", 0, (void *)cuDevicePrimaryCtxSetFlags_v2},
    {"cuDeviceTotalMem", 0, (void *)cuDeviceTotalMem_v2},
    {"cuDriverGetVersion", 0, (void *)cuDriverGetVersion},
    {"cuEventCreate", 0, (void *)cuEventCreate},
    {"cuEventDestroy", 0, (void *)cuEventDestroy_v2},
#if CUDA_VERSION >= 12080
    {"cuEventElapsedTime", 12080, (void *)cuEventElapsedTime_v2},
#endif
    {"cuEventElapsedTime", 0, (void *)cuEventElapsedTime},
    {"cuEventQuery", 0, (void *)cuEventQuery},
    {"cuEventRecord", 0, (void *)cuEventRecord},
    {"cuEventRecordWithFlags", 0, (void *)cuEventRecordWithFlags},
    {"cuEventSynchronize", 0, (void *)cuEventSynchronize},
    {"cuFuncGetAttribute", 0, (void *)cuFuncGetAttribute},
    {"cuFuncGetModule", 0, (void *)cuFuncGetModule},
    {"cuFuncGetName", 0, (void *)cuFuncGetName},
    {"cuFuncSetAttribute", 0, (void *)cuFuncSetAttribute},
    {"cuFuncSetCacheConfig", 0, (void *)cuFuncSetCacheConfig},
    {"cuGetErrorName", 0, (void *)cuGetErrorName},
    {"cuGetErrorString", 0, (void *)cuGetErrorString},
    {"cuGetProcAddress", 0, (void *)cuGetProcAddress_v2},
    {"cuGraphDestroy", 0, (void *)cuGraphDestroy},
    {"cuGraphExecDestroy", 0, (void *)cuGraphExecDestroy},
    {"cuGraphGetNodes", 0, (void *)cuGraphGetNodes},
    {"cuGraphInstantiate", 0, (void *)cuGraphInstantiateWithFlags},
    {"cuGraphInstantiateWithFlags", 0, (void *)cuGraphInstantiateWithFlags},
    {"cuGraphLaunch", 0, (void *)cuGraphLaunch},
    {"cuGraphUpload", 0, (void *)cuGraphUpload},
    {"cuInit", 0, (void *)cuInit},
    {"cuLaunchCooperativeKernel", 0, (void *)cuLaunchCooperativeKernel},
    {"cuLaunchHostFunc", 0, (void *)cuLaunchHostFunc},
    {"cuLaunchKernel", 0, (void *)cuLaunchKernel},
    {"cuLaunchKernelEx", 0, (void *)cuLaunchKernelEx},
    {"cuMemAlloc", 0, (void *)cuMemAlloc_v2},
    {"cuMemAllocAsync", 0, (void *)cuMemAllocAsync},
    {"cuMemAllocHost", 0, (void *)cuMemAllocHost_v2},
    {"cuMemFree", 0, (void *)cuMemFree_v2},
    {"cuMemFreeAsync", 0, (void *)cuMemFreeAsync},
    {"cuMemFreeHost", 0, (void *)cuMemFreeHost},
    {"cuMemGetAddressRange", 0, (void *)cuMemGetAddressRange_v2},
    {"cuMemGetInfo", 0, (void *)cuMemGetInfo_v2},
    {"cuMemHostAlloc", 0, (void *)cuMemHostAlloc},
    {"cuMemHostGetDevicePointer", 0, (void *)cuMemHostGetDevicePointer_v2},
    {"cuMemcpy", 0, (void *)cuMemcpy},
    {"cuMemcpyAsync", 0, (void *)cuMemcpyAsync},
    {"cuMemcpyDtoD", 0, (void *)cuMemcpyDtoD_v2},
    {"cuMemcpyDtoDAsync", 0, (void *)cuMemcpyDtoDAsync_v2},
    {"cuMemcpyDtoH", 0, (void *)cuMemcpyDtoH_v2},
    {"cuMemcpyDtoHAsync", 0, (void *)cuMemcpyDtoHAsync_v2},
    {"cuMemcpyHtoD", 0, (void *)cuMemcpyHtoD_v2},
    {"cuMemcpyHtoDAsync", 0, (void *)cuMemcpyHtoDAsync_v2},
    {"cuMemsetD16", 0, (void *)cuMemsetD16_v2},
    {"cuMemsetD16Async", 0, (void *)cuMemsetD16Async},
    {"cuMemsetD32", 0, (void *)cuMemsetD32_v2},
    {"cuMemsetD32Async", 0, (void *)cuMemsetD32Async},
    {"cuMemsetD8", 0, (void *)cuMemsetD8_v2},
    {"cuMemsetD8Async", 0, (void *)cuMemsetD8Async},
    {"cuModuleGetFunction", 0, (void *)cuModuleGetFunction},
    {"cuModuleGetFunctionCount", 0, (void *)cuModuleGetFunctionCount},
    {"cuModuleGetGlobal", 0, (void *)cuModuleGetGlobal_v2},
    {"cuModuleLoad", 0, (void *)cuModuleLoad},
    {"cuModuleLoadData", 0, (void *)cuModuleLoadData},
    {"cuModuleLoadDataEx", 0, (void *)cuModuleLoadDataEx},
    {"cuModuleLoadFatBinary", 0, (void *)cuModuleLoadFatBinary},
    {"cuModuleUnload", 0, (void *)cuModuleUnload},
    {"cuOccupancyMaxActiveBlocksPerMultiprocessor", 0, (void *)cuOccupancyMaxActiveBlocksPerMultiprocessor},
    {"cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags", 0,
     (void *)cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags},
    {"cuOccupancyMaxActiveClusters", 0, (void *)cuOccupancyMaxActiveClusters},
    {"cuOccupancyMaxPotentialBlockSize", 0, (void *)cuOccupancyMaxPotentialBlockSize},
    {"cuPointerGetAttribute", 0, (void *)cuPointerGetAttribute},
    {"cuProfilerStart", 0, (void *)cuProfilerStart},
    {"cuProfilerStop", 0, (void *)cuProfilerStop},
    {"cuStreamBeginCapture", 0, (void *)cuStreamBeginCapture_v2},
    {"cuStreamCreate", 0, (void *)cuStreamCreate},
    {"cuStreamCreateWithPriority", 0, (void *)cuStreamCreateWithPriority},
    {"cuStreamDestroy", 0, (void *)cuStreamDestroy_v2},
    {"cuStreamEndCapture", 0, (void *)cuStreamEndCapture},
    {"cuStreamGetCtx", 0, (void *)cuStreamGetCtx},
    {"cuStreamGetFlags", 0, (void *)cuStreamGetFlags},
    {"cuStreamGetPriority", 0, (void *)cuStreamGetPriority},
    {"cuStreamIsCapturing", 0, (void *)cuStreamIsCapturing},
    {"cuStreamQuery", 0, (void *)cuStreamQuery},
    {"cuStreamSynchronize", 0, (void *)cuStreamSynchronize},
    {"cuStreamWaitEvent", 0, (void *)cuStreamWaitEvent},
    {"cuTensorMapEncodeTiled", 0, (void *)cuTensorMapEncodeTiled},
};

const char *cu_function_named(size_t k) {
    return k < sizeof functions / sizeof *functions ? functions[k].name : NULL;
}

CU_API cuGetProcAddress_v2(const char *symbol, void **out, int version, cuuint64_t flags,
                           CUdriverProcAddressQueryResult *status) {
    CUdriverProcAddressQueryResult answer = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    if (!symbol || !out ||
        flags & ~(cuuint64_t)(CU_GET_PROC_ADDRESS_LEGACY_STREAM | CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM))
        return CUDA_ERROR_INVALID_VALUE;
    *out = NULL;
    for (size_t i = 0; i < sizeof functions / sizeof *functions && !*out; i++)
        if (!strcmp(functions[i].name, symbol) && version >= functions[i].since) {
            *out = functions[i].address;
            answer = CU_GET_PROC_ADDRESS_SUCCESS;
        }
    if (status)
        *status = answer;
    return *out || status ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CU_API cuGetProcAddress(const char *symbol, void **out, int version, cuuint64_t flags) {
    return cuGetProcAddress_v2(symbol, out, version, flags, NULL);
}
