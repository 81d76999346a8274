/* Contexts: each thread has a stack of current ones. */
#include "runtime/base/str.h"
#include "state.h"
#include <stdlib.h>
#include <string.h>

#define STACK_LIMIT 64

static _Thread_local CUcontext stack[STACK_LIMIT];
static _Thread_local int depth;
static struct CUctx_st *contexts;
static uint64_t contexts_made;

/* As the driver has them. They are kept and given back; nothing here is limited by them. */
static const size_t default_limits[CU_LIMITS] = {
    [CU_LIMIT_STACK_SIZE] = 1024,
    [CU_LIMIT_PRINTF_FIFO_SIZE] = 1 << 20,
    [CU_LIMIT_MALLOC_HEAP_SIZE] = 8 << 20,
    [CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH] = 2,
    [CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT] = 2048,
    [CU_LIMIT_MAX_L2_FETCH_GRANULARITY] = 64,
    [CU_LIMIT_PERSISTING_L2_CACHE_SIZE] = 0,
};

CUcontext cu_context_current(void) {
    return depth ? stack[depth - 1] : NULL;
}

struct CUctx_st *cu_context_find(CUcontext handle) {
    struct CUctx_st *c = contexts;
    while (c && c != handle)
        c = c->next;
    return c;
}

static struct CUctx_st *context_new(unsigned flags) {
    struct CUctx_st *made = xcalloc(1, sizeof *made);
    made->flags = flags;
    made->id = ++contexts_made;
    memcpy(made->limit, default_limits, sizeof made->limit);
    made->null_stream.context = made;
    made->next = contexts;
    contexts = made;
    return made;
}

/* What has not run is dropped: nobody can see it any more. */
static void context_free(struct CUctx_st *context) {
    struct CUctx_st **at = &contexts;
    cu_queue_drop(context, true);
    cu_graph_free_all(context);
    cu_stream_free_all(context);
    cu_event_free_all(context);
    cu_module_unload_all(context);
    cu_memory_kill_context(context);
    while (*at != context)
        at = &(*at)->next;
    *at = context->next;
    cu_time_cache_free(context->times);
    free(context->queue);
    free(context);
}

static CUresult push(CUcontext context) {
    if (depth == STACK_LIMIT)
        return cu_fail(CUDA_ERROR_INVALID_CONTEXT, "more than %d contexts are pushed on one thread", STACK_LIMIT);
    stack[depth++] = context;
    return CUDA_SUCCESS;
}

static CUresult create(CUcontext *out, unsigned flags, CUdevice device) {
    CUresult result = cu_enter(NULL);
    if (result == CUDA_SUCCESS && (!out || device != 0))
        result = out ? CUDA_ERROR_INVALID_DEVICE : CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS) {
        *out = context_new(flags);
        result = push(*out);
    }
    return cu_leave(result);
}

CU_API cuCtxCreate_v2(CUcontext *out, unsigned flags, CUdevice device) {
    return create(out, flags, device);
}

CU_API cuCtxCreate_v3(CUcontext *out, CUexecAffinityParam *affinity, int count, unsigned flags, CUdevice device) {
    (void)affinity;
    return count ? CUDA_ERROR_NOT_SUPPORTED : create(out, flags, device);
}

#if CUDA_VERSION >= 12050
/* Parameters that ask for nothing are those of a context without. */
CU_API cuCtxCreate_v4(CUcontext *out, CUctxCreateParams *params, unsigned flags, CUdevice device) {
    const bool asks = params && (params->numExecAffinityParams || params->cigParams);
    return asks ? CUDA_ERROR_NOT_SUPPORTED : create(out, flags, device);
}
#endif

CU_API cuCtxDestroy_v2(CUcontext handle) {
    CUresult result = cu_enter(NULL);
    struct CUctx_st *context = result == CUDA_SUCCESS ? cu_context_find(handle) : NULL;
    if (result == CUDA_SUCCESS && (!context || context == cu_device.primary))
        result = CUDA_ERROR_INVALID_CONTEXT;
    if (result == CUDA_SUCCESS) {
        if (depth && stack[depth - 1] == handle)
            depth--;
        context_free(context);
    }
    return cu_leave(result);
}

CU_API cuCtxSetCurrent(CUcontext handle) {
    CUresult result = cu_enter(NULL);
    if (result == CUDA_SUCCESS && handle && !cu_context_find(handle))
        result = CUDA_ERROR_INVALID_CONTEXT;
    if (result == CUDA_SUCCESS) {
        if (depth)
            depth--;
        if (handle)
            result = push(handle);
    }
    return cu_leave(result);
}

CU_API cuCtxGetCurrent(CUcontext *out) {
    CUresult result = cu_needs(cu_enter(NULL), out);
    if (result == CUDA_SUCCESS)
        *out = cu_context_current();
    return cu_leave(result);
}

CU_API cuCtxPushCurrent_v2(CUcontext handle) {
    CUresult result = cu_enter(NULL);
    if (result == CUDA_SUCCESS)
        result = cu_context_find(handle) ? push(handle) : CUDA_ERROR_INVALID_CONTEXT;
    return cu_leave(result);
}

CU_API cuCtxPopCurrent_v2(CUcontext *out) {
    CUresult result = cu_enter(NULL);
    if (result == CUDA_SUCCESS && !depth)
        result = CUDA_ERROR_INVALID_CONTEXT;
    if (result == CUDA_SUCCESS) {
        depth--;
        if (out)
            *out = stack[depth];
    }
    return cu_leave(result);
}

CU_API cuCtxGetDevice(CUdevice *out) {
    struct CUctx_st *context;
    CUresult result = cu_needs(cu_enter_quietly(&context), out);
    if (result == CUDA_SUCCESS)
        *out = 0;
    return cu_leave(result);
}

CU_API cuCtxGetFlags(unsigned *out) {
    struct CUctx_st *context;
    CUresult result = cu_needs(cu_enter_quietly(&context), out);
    if (result == CUDA_SUCCESS)
        *out = context->flags;
    return cu_leave(result);
}

CU_API cuCtxGetStreamPriorityRange(int *least, int *greatest) {
    struct CUctx_st *context;
    CUresult result = cu_enter(&context);
    if (result == CUDA_SUCCESS && least)
        *least = 0;
    if (result == CUDA_SUCCESS && greatest)
        *greatest = 0;
    return cu_leave(result);
}

CU_API cuCtxGetLimit(size_t *out, CUlimit limit) {
    struct CUctx_st *context;
    CUresult result = cu_needs(cu_enter(&context), out);
    if (result == CUDA_SUCCESS && (unsigned)limit >= CU_LIMITS)
        result = CUDA_ERROR_UNSUPPORTED_LIMIT;
    if (result == CUDA_SUCCESS)
        *out = context->limit[limit];
    return cu_leave(result);
}

CU_API cuCtxSetLimit(CUlimit limit, size_t value) {
    struct CUctx_st *context;
    CUresult result = cu_enter(&context);
    if (result == CUDA_SUCCESS && (unsigned)limit >= CU_LIMITS)
        result = CUDA_ERROR_UNSUPPORTED_LIMIT;
    if (result == CUDA_SUCCESS)
        context->limit[limit] = value;
    return cu_leave(result);
}

CU_API cuCtxGetCacheConfig(CUfunc_cache *out) {
    struct CUctx_st *context;
    CUresult result = cu_needs(cu_enter(&context), out);
    if (result == CUDA_SUCCESS)
        *out = context->cache_config;
    return cu_leave(result);
}

CU_API cuCtxSetCacheConfig(CUfunc_cache config) { /* a hint */
    struct CUctx_st *context;
    CUresult result = cu_enter(&context);
    if (result == CUDA_SUCCESS)
        context->cache_config = config;
    return cu_leave(result);
}

/* Of a context or, with NULL, of the current one. */
static CUresult enter_context(CUcontext handle, const void *out, struct CUctx_st **context) {
    CUresult result = cu_needs(handle ? cu_enter(NULL) : cu_enter(context), out);
    if (result == CUDA_SUCCESS && handle && !(*context = cu_context_find(handle)))
        result = CUDA_ERROR_INVALID_CONTEXT;
    return result;
}

CU_API cuCtxGetApiVersion(CUcontext handle, unsigned *out) {
    struct CUctx_st *context;
    CUresult result = enter_context(handle, out, &context);
    if (result == CUDA_SUCCESS)
        *out = 3020; /* of the contexts that there have been since CUDA 3.2 */
    return cu_leave(result);
}

CU_API cuCtxGetId(CUcontext handle, unsigned long long *out) {
    struct CUctx_st *context;
    CUresult result = enter_context(handle, out, &context);
    if (result == CUDA_SUCCESS)
        *out = context->id;
    return cu_leave(result);
}

CU_API cuCtxSynchronize(void) {
    struct CUctx_st *context;
    CUresult result = cu_enter(&context);
    if (result == CUDA_SUCCESS)
        result = cu_capture_forbid(context, NULL);
    if (result == CUDA_SUCCESS)
        result = cu_queue_settle(context, NULL, NULL);
    return cu_leave(result);
}

CU_API cuDevicePrimaryCtxRetain(CUcontext *out, CUdevice device) {
    CUresult result = cu_enter(NULL);
    if (result == CUDA_SUCCESS && (!out || device != 0))
        result = out ? CUDA_ERROR_INVALID_DEVICE : CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS) {
        if (!cu_device.primary)
            cu_device.primary = context_new(cu_device.primary_flags);
        cu_device.primary_uses++;
        *out = cu_device.primary;
    }
    return cu_leave(result);
}

CU_API cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    CUresult result = cu_enter(NULL);
    if (result == CUDA_SUCCESS && (device != 0 || !cu_device.primary_uses))
        result = device ? CUDA_ERROR_INVALID_DEVICE : CUDA_ERROR_INVALID_CONTEXT;
    if (result == CUDA_SUCCESS && --cu_device.primary_uses == 0) {
        context_free(cu_device.primary);
        cu_device.primary = NULL;
    }
    return cu_leave(result);
}

CU_API cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active) {
    CUresult result = cu_enter(NULL);
    if (result == CUDA_SUCCESS && (device != 0 || !flags || !active))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS) {
        *flags = cu_device.primary_flags;
        *active = cu_device.primary != NULL;
    }
    return cu_leave(result);
}

CU_API cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned flags) {
    CUresult result = cu_enter(NULL);
    if (result == CUDA_SUCCESS && device != 0)
        result = CUDA_ERROR_INVALID_DEVICE;
    if (result == CUDA_SUCCESS) {
        cu_device.primary_flags = flags;
        if (cu_device.primary)
            cu_device.primary->flags = flags;
    }
    return cu_leave(result);
}
