/* Streams and events. */
#include "runtime/base/str.h"
#include "state.h"
#include <stdlib.h>

CUresult cu_stream_find(struct CUctx_st *context, CUstream handle, struct CUstream_st **out) {
    *out = &context->null_stream;
    if (!handle || handle == CU_STREAM_LEGACY || handle == CU_STREAM_PER_THREAD)
        return CUDA_SUCCESS;
    for (*out = context->streams; *out && *out != handle;)
        *out = (*out)->next;
    return *out ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cu_stream_enter(CUstream handle, struct CUctx_st **context, struct CUstream_st **out) {
    CUresult result = cu_enter(context);
    return result == CUDA_SUCCESS ? cu_stream_find(*context, handle, out) : result;
}

CUresult cu_event_find(struct CUctx_st *context, CUevent handle) {
    struct CUevent_st *e = context->events;
    while (e && e != handle)
        e = e->next;
    return e ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cu_capture_forbid(struct CUctx_st *context, struct CUstream_st *stream) {
    if (stream && stream != &context->null_stream && !stream->capture)
        return CUDA_SUCCESS;
    for (struct CUstream_st *s = context->streams; s; s = s->next) {
        bool bound =
            stream == s || !stream || (stream == &context->null_stream && !(s->flags & CU_STREAM_NON_BLOCKING));
        if (!s->capture || !bound)
            continue;
        s->capture->broken = true;
        return stream == &context->null_stream ? CUDA_ERROR_STREAM_CAPTURE_IMPLICIT
                                               : CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    return CUDA_SUCCESS;
}

CUresult cu_stream_push(struct CUstream_st *stream, struct cu_op *op) {
    if (stream->capture) {
        cu_graph_add(stream->capture, op);
        return CUDA_SUCCESS;
    }
    CUresult result = cu_capture_forbid(stream->context, stream);
    if (result == CUDA_SUCCESS)
        result = cu_op_bind(op);
    if (result == CUDA_SUCCESS)
        return cu_queue_submit(stream, op);
    cu_op_unref(op);
    return result;
}

CU_API cuStreamCreateWithPriority(CUstream *out, unsigned flags, int priority) {
    struct CUctx_st *context;
    CUresult result = cu_enter(&context);
    if (result == CUDA_SUCCESS && (!out || flags & ~(unsigned)CU_STREAM_NON_BLOCKING))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS) {
        struct CUstream_st *made = xcalloc(1, sizeof *made);
        *made =
            (struct CUstream_st){.context = context, .next = context->streams, .flags = flags, .priority = priority};
        context->streams = *out = made;
    }
    return cu_leave(result);
}

CU_API cuStreamCreate(CUstream *out, unsigned flags) {
    return cuStreamCreateWithPriority(out, flags, 0);
}

/* The stream's work is complete and off the timeline. */
static void stream_free(struct CUstream_st *stream) {
    struct CUstream_st **at = &stream->context->streams;
    while (*at != stream)
        at = &(*at)->next;
    *at = stream->next;
    free(stream);
}

void cu_stream_free_all(struct CUctx_st *context) {
    while (context->streams)
        stream_free(context->streams);
}

CU_API cuStreamDestroy_v2(CUstream handle) {
    struct CUctx_st *context;
    struct CUstream_st *stream = NULL;
    CUresult result = cu_stream_enter(handle, &context, &stream);
    if (result == CUDA_SUCCESS && stream == &context->null_stream)
        result = CUDA_ERROR_INVALID_HANDLE;
    if (result == CUDA_SUCCESS)
        result = cu_queue_settle(context, stream, NULL);
    if (result == CUDA_SUCCESS)
        stream_free(stream);
    return cu_leave(result);
}

CU_API cuStreamSynchronize(CUstream handle) {
    struct CUctx_st *context;
    struct CUstream_st *stream = NULL;
    CUresult result = cu_stream_enter(handle, &context, &stream);
    if (result == CUDA_SUCCESS)
        result = cu_capture_forbid(context, stream);
    if (result == CUDA_SUCCESS)
        result = cu_queue_settle(context, stream, NULL);
    return cu_leave(result);
}

/* Asking is as good as waiting: the modelled device has always finished by then. */
CU_API cuStreamQuery(CUstream handle) {
    return cuStreamSynchronize(handle);
}

/* Enters for a question about a stream, whose answer goes to `out`. */
static CUresult ask(CUstream handle, const void *out, struct CUstream_st **stream) {
    struct CUctx_st *context;
    return cu_needs(cu_stream_enter(handle, &context, stream), out);
}

CU_API cuStreamGetFlags(CUstream handle, unsigned *flags) {
    struct CUstream_st *stream;
    CUresult result = ask(handle, flags, &stream);
    if (result == CUDA_SUCCESS)
        *flags = stream->flags;
    return cu_leave(result);
}

CU_API cuStreamGetPriority(CUstream handle, int *priority) {
    struct CUstream_st *stream;
    CUresult result = ask(handle, priority, &stream);
    if (result == CUDA_SUCCESS)
        *priority = stream->priority;
    return cu_leave(result);
}

CU_API cuStreamGetCtx(CUstream handle, CUcontext *out) {
    struct CUstream_st *stream;
    CUresult result = ask(handle, out, &stream);
    if (result == CUDA_SUCCESS)
        *out = stream->context;
    return cu_leave(result);
}

CU_API cuLaunchHostFunc(CUstream handle, CUhostFn call, void *argument) {
    struct CUctx_st *context;
    struct CUstream_st *stream = NULL;
    CUresult result = cu_stream_enter(handle, &context, &stream);
    if (result == CUDA_SUCCESS && !call)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS) {
        struct cu_op *op = cu_op_new(context, CU_OP_CALL);
        op->call = call;
        op->argument = argument;
        op->seconds = 0;
        result = cu_stream_push(stream, op);
    }
    return cu_leave(result);
}

CU_API cuStreamWaitEvent(CUstream handle, CUevent event, unsigned flags) {
    struct CUctx_st *context;
    struct CUstream_st *stream = NULL;
    CUresult result = cu_stream_enter(handle, &context, &stream);
    (void)flags;
    if (result == CUDA_SUCCESS)
        result = cu_event_find(context, event);
    if (result != CUDA_SUCCESS)
        return cu_leave(result);
    if (event->capture) {
        if (stream->capture && stream->capture != event->capture)
            result = CUDA_ERROR_STREAM_CAPTURE_MERGE;
        else
            stream->capture = event->capture; /* the stream joins the capture */
    } else if (stream->capture) {
        result = event->record ? CUDA_ERROR_STREAM_CAPTURE_ISOLATION : CUDA_SUCCESS;
    } else if (event->record) {
        cu_queue_wait(stream, event->record);
    }
    return cu_leave(result);
}
