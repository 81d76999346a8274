/* Copies and fills. */
#include "runtime/base/str.h"
#include "state.h"
#include <string.h>

enum side { HOST, DEVICE, EITHER };

/* `wait`: the call returns when the copy is done. A copy from pageable host memory takes the bytes at once, one to it
 * waits, as the driver's documentation has it. */
static CUresult copy(uint64_t dst, enum side to, uint64_t src, enum side from, size_t bytes, CUstream handle,
                     bool wait) {
    struct CUctx_st *context;
    struct CUstream_st *stream = NULL;
    CUresult result = cu_stream_enter(handle, &context, &stream);
    if (result != CUDA_SUCCESS || bytes == 0)
        return cu_leave(result);
    const struct cu_alloc *a = cu_memory_find(context, dst, cu_device.sequence);
    const struct cu_alloc *b = cu_memory_find(context, src, cu_device.sequence);
    bool to_host = to == HOST || (to == EITHER && !cu_memory_is_ours(dst));
    bool from_host = from == HOST || (from == EITHER && !cu_memory_is_ours(src));
    struct cu_op *op = cu_op_new(context, CU_OP_COPY);
    op->dst = dst;
    op->src = src;
    op->bytes = bytes;
    op->dst_device = !to_host;
    op->src_device = !from_host;
    op->seconds =
        model_copy_seconds(cu_device.profile, to_host || from_host ? MODEL_COPY_HOST : MODEL_COPY_DEVICE, bytes);
    bool pageable_from = from_host && !b, pageable_to = to_host && !a;
    if (pageable_from && !wait && !stream->capture && (context->queued || context->first))
        op->staged = memcpy(xmalloc(bytes), (const void *)(uintptr_t)src, bytes);
    result = cu_stream_push(stream, op);
    if (result == CUDA_SUCCESS && !stream->capture && (wait ? to_host || from_host : pageable_to))
        result = cu_queue_settle(context, stream, NULL);
    return cu_leave(result);
}

CU_API cuMemcpyHtoD_v2(CUdeviceptr dst, const void *src, size_t bytes) {
    return copy(dst, DEVICE, (uint64_t)(uintptr_t)src, HOST, bytes, NULL, true);
}

CU_API cuMemcpyDtoH_v2(void *dst, CUdeviceptr src, size_t bytes) {
    return copy((uint64_t)(uintptr_t)dst, HOST, src, DEVICE, bytes, NULL, true);
}

CU_API cuMemcpyDtoD_v2(CUdeviceptr dst, CUdeviceptr src, size_t bytes) {
    return copy(dst, DEVICE, src, DEVICE, bytes, NULL, true);
}

CU_API cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t bytes) {
    return copy(dst, EITHER, src, EITHER, bytes, NULL, true);
}

CU_API cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void *src, size_t bytes, CUstream stream) {
    return copy(dst, DEVICE, (uint64_t)(uintptr_t)src, HOST, bytes, stream, false);
}

CU_API cuMemcpyDtoHAsync_v2(void *dst, CUdeviceptr src, size_t bytes, CUstream stream) {
    return copy((uint64_t)(uintptr_t)dst, HOST, src, DEVICE, bytes, stream, false);
}

CU_API cuMemcpyDtoDAsync_v2(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream) {
    return copy(dst, DEVICE, src, DEVICE, bytes, stream, false);
}

CU_API cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream) {
    return copy(dst, EITHER, src, EITHER, bytes, stream, false);
}

static CUresult fill(CUdeviceptr dst, uint32_t value, uint32_t width, size_t count, CUstream handle) {
    struct CUctx_st *context;
    struct CUstream_st *stream = NULL;
    CUresult result = cu_stream_enter(handle, &context, &stream);
    if (result == CUDA_SUCCESS && dst % width)
        result =
            cu_fail(CUDA_ERROR_INVALID_VALUE, "a fill with values of %u bytes starts at the unaligned address 0x%llx",
                    width, (unsigned long long)dst);
    if (result != CUDA_SUCCESS || count == 0)
        return cu_leave(result);
    if (count > SIZE_MAX / width)
        return cu_leave(CUDA_ERROR_INVALID_VALUE);
    struct cu_op *op = cu_op_new(context, CU_OP_FILL);
    op->dst = dst;
    op->value = value;
    op->width = width;
    op->bytes = count * width;
    op->seconds = model_copy_seconds(cu_device.profile, MODEL_FILL, op->bytes);
    return cu_leave(cu_stream_push(stream, op));
}

CU_API cuMemsetD8_v2(CUdeviceptr dst, unsigned char value, size_t count) {
    return fill(dst, value, 1, count, NULL);
}

CU_API cuMemsetD16_v2(CUdeviceptr dst, unsigned short value, size_t count) {
    return fill(dst, value, 2, count, NULL);
}

CU_API cuMemsetD32_v2(CUdeviceptr dst, unsigned value, size_t count) {
    return fill(dst, value, 4, count, NULL);
}

CU_API cuMemsetD8Async(CUdeviceptr dst, unsigned char value, size_t count, CUstream stream) {
    return fill(dst, value, 1, count, stream);
}

CU_API cuMemsetD16Async(CUdeviceptr dst, unsigned short value, size_t count, CUstream stream) {
    return fill(dst, value, 2, count, stream);
}

CU_API cuMemsetD32Async(CUdeviceptr dst, unsigned value, size_t count, CUstream stream) {
    return fill(dst, value, 4, count, stream);
}
