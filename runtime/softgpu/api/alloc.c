/* Allocating, freeing, and asking about addresses. */
#include "state.h"

/* `out` gets the address. */
static CUresult allocate(size_t size, bool host, uint64_t *out) {
    struct CUctx_st *context;
    struct cu_alloc *made = NULL;
    CUresult result = cu_enter(&context);
    if (result == CUDA_SUCCESS)
        result = cu_memory_alloc(context, size, host, &made);
    if (made)
        *out = made->base;
    return cu_leave(result);
}

/* `wait`: work that uses the memory is completed first, as hardware does; otherwise the free has its place in program
 * order. */
static CUresult release(uint64_t address, bool host, bool wait) {
    struct CUctx_st *context;
    CUresult result = cu_enter_quietly(&context);
    if (result != CUDA_SUCCESS || !address)
        return cu_leave(result);
    struct cu_alloc *a = cu_memory_find(context, address, cu_device.sequence);
    if (!a || a->base != address || a->host != host)
        return cu_leave(cu_fail(CUDA_ERROR_INVALID_VALUE, "0x%llx is freed, but %s", (unsigned long long)address,
                                a ? "it is no address that an allocation of this kind returned"
                                  : "it is not allocated: it was freed before, or never allocated"));
    result = context->error;
    if (result == CUDA_SUCCESS && wait)
        result = cu_queue_settle(context, NULL, NULL);
    cu_memory_kill(a);
    cu_queue_drop(context, false);
    return cu_leave(result);
}

CU_API cuMemAlloc_v2(CUdeviceptr *out, size_t size) {
    uint64_t address = 0;
    CUresult result = out ? allocate(size, false, &address) : CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        *out = address;
    return result;
}

CU_API cuMemAllocAsync(CUdeviceptr *out, size_t size, CUstream stream) {
    (void)stream; /* there is always room at once */
    return cuMemAlloc_v2(out, size);
}

CU_API cuMemFree_v2(CUdeviceptr address) {
    return release(address, false, true);
}

CU_API cuMemFreeAsync(CUdeviceptr address, CUstream stream) {
    (void)stream;
    return release(address, false, false);
}

CU_API cuMemHostAlloc(void **out, size_t size, unsigned flags) {
    uint64_t address = 0;
    CUresult result = CUDA_ERROR_INVALID_VALUE;
    if (out &&
        !(flags & ~(unsigned)(CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED)))
        result = allocate(size, true, &address);
    if (out && result == CUDA_SUCCESS)
        *out = (void *)(uintptr_t)address;
    return result;
}

CU_API cuMemAllocHost_v2(void **out, size_t size) {
    return cuMemHostAlloc(out, size, 0);
}

CU_API cuMemFreeHost(void *address) {
    return release((uint64_t)(uintptr_t)address, true, true);
}

CU_API cuMemHostGetDevicePointer_v2(CUdeviceptr *out, void *address, unsigned flags) {
    struct CUctx_st *context;
    CUresult result = cu_enter(&context);
    if (result == CUDA_SUCCESS) {
        const struct cu_alloc *a = cu_memory_find(context, (uint64_t)(uintptr_t)address, cu_device.sequence);
        result = out && !flags && a && a->host ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    }
    if (result == CUDA_SUCCESS)
        *out = (uint64_t)(uintptr_t)address;
    return cu_leave(result);
}

CU_API cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes) {
    struct CUctx_st *context;
    CUresult result = cu_enter(&context);
    if (result == CUDA_SUCCESS && (!free_bytes || !total_bytes))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS) {
        *total_bytes = (size_t)cu_device.profile->memory_mib << 20;
        *free_bytes = *total_bytes - cu_memory_used();
    }
    return cu_leave(result);
}

CU_API cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *size, CUdeviceptr address) {
    struct CUctx_st *context;
    CUresult result = cu_enter(&context);
    if (result != CUDA_SUCCESS)
        return cu_leave(result);
    const struct cu_alloc *a = cu_memory_find(context, address, cu_device.sequence);
    if (!a)
        return cu_leave(CUDA_ERROR_NOT_FOUND);
    if (base)
        *base = a->base;
    if (size)
        *size = a->size;
    return cu_leave(CUDA_SUCCESS);
}

static CUresult attribute(const struct cu_alloc *a, CUpointer_attribute which, CUdeviceptr address, void *out) {
    switch (which) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
        *(CUcontext *)out = a->context;
        break;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *(unsigned *)out = a->host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
        break;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
        *(CUdeviceptr *)out = address;
        break;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        if (!a->host)
            return CUDA_ERROR_INVALID_VALUE;
        *(void **)out = (void *)(uintptr_t)address;
        break;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        *(unsigned *)out = 0;
        break;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *(int *)out = 0;
        break;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
        *(CUdeviceptr *)out = a->base;
        break;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
        *(size_t *)out = a->size;
        break;
    case CU_POINTER_ATTRIBUTE_MAPPED:
        *(unsigned *)out = 1;
        break;
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
        *(unsigned long long *)out = a->id;
        break;
    default:
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    return CUDA_SUCCESS;
}

CU_API cuPointerGetAttribute(void *out, CUpointer_attribute which, CUdeviceptr address) {
    struct CUctx_st *context;
    CUresult result = cu_enter(&context);
    if (result == CUDA_SUCCESS) {
        const struct cu_alloc *a = cu_memory_find(context, address, cu_device.sequence);
        result = out && a ? attribute(a, which, address, out) : CUDA_ERROR_INVALID_VALUE;
    }
    return cu_leave(result);
}
