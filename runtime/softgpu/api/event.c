#include "runtime/base/str.h"
#include "state.h"
#include <stdlib.h>

CU_API cuEventCreate(CUevent *out, unsigned flags) {
    struct CUctx_st *context;
    CUresult result = cu_enter(&context);
    unsigned known = CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS;
    if (result == CUDA_SUCCESS && (!out || flags & ~known))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS) {
        struct CUevent_st *made = xcalloc(1, sizeof *made);
        *made = (struct CUevent_st){.context = context, .next = context->events, .flags = flags};
        context->events = *out = made;
    }
    return cu_leave(result);
}

static void event_free(struct CUevent_st *event) {
    struct CUevent_st **at = &event->context->events;
    while (*at != event)
        at = &(*at)->next;
    *at = event->next;
    cu_record_unref(event->record);
    free(event);
}

void cu_event_free_all(struct CUctx_st *context) {
    while (context->events)
        event_free(context->events);
}

/* Enters, and checks the event. A context with a sticky error still lets its events be destroyed. */
static CUresult enter_event(CUevent event, struct CUctx_st **context) {
    CUresult result = cu_enter(context);
    return result == CUDA_SUCCESS ? cu_event_find(*context, event) : result;
}

CU_API cuEventDestroy_v2(CUevent event) {
    struct CUctx_st *context;
    CUresult result = cu_enter_quietly(&context);
    if (result == CUDA_SUCCESS)
        result = cu_event_find(context, event);
    if (result == CUDA_SUCCESS)
        event_free(event);
    return cu_leave(result);
}

CU_API cuEventRecordWithFlags(CUevent event, CUstream handle, unsigned flags) {
    struct CUctx_st *context;
    struct CUstream_st *stream = NULL;
    CUresult result = enter_event(event, &context);
    if (result == CUDA_SUCCESS)
        result = cu_stream_find(context, handle, &stream);
    if (result == CUDA_SUCCESS && !stream->capture)
        result = cu_capture_forbid(context, stream);
    if (result != CUDA_SUCCESS)
        return cu_leave(result);
    if (stream->capture && flags & CU_EVENT_RECORD_EXTERNAL) {
        struct cu_op *op = cu_op_new(context, CU_OP_RECORD);
        op->event = event;
        cu_graph_add(stream->capture, op);
    } else if (stream->capture) {
        event->capture = stream->capture; /* only marks a place that another stream can wait for */
        cu_event_point(event, NULL);
    } else {
        event->capture = NULL;
        cu_queue_record(stream, event);
    }
    return cu_leave(result);
}

CU_API cuEventRecord(CUevent event, CUstream handle) {
    return cuEventRecordWithFlags(event, handle, CU_EVENT_RECORD_DEFAULT);
}

CU_API cuEventSynchronize(CUevent event) {
    struct CUctx_st *context;
    CUresult result = enter_event(event, &context);
    if (result == CUDA_SUCCESS && event->capture)
        result = CUDA_ERROR_CAPTURED_EVENT;
    if (result == CUDA_SUCCESS && event->record && !event->record->done)
        result = cu_queue_settle(context, NULL, event->record);
    return cu_leave(result);
}

CU_API cuEventQuery(CUevent event) {
    return cuEventSynchronize(event);
}

static CUresult elapsed(float *milliseconds, CUevent start, CUevent end) {
    struct CUctx_st *context;
    CUresult result = enter_event(start, &context);
    if (result == CUDA_SUCCESS)
        result = cu_event_find(context, end);
    if (result != CUDA_SUCCESS)
        return result;
    if (!milliseconds)
        return CUDA_ERROR_INVALID_VALUE;
    if (!start->record || !end->record || (start->flags | end->flags) & CU_EVENT_DISABLE_TIMING)
        return CUDA_ERROR_INVALID_HANDLE;
    if (!start->record->done || !end->record->done)
        return CUDA_ERROR_NOT_READY;
    *milliseconds = (float)((end->record->time - start->record->time) * 1e3);
    return CUDA_SUCCESS;
}

CU_API cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
    return cu_leave(elapsed(milliseconds, start, end));
}

#if CUDA_VERSION >= 12080
CU_API cuEventElapsedTime_v2(float *milliseconds, CUevent start, CUevent end) {
    return cu_leave(elapsed(milliseconds, start, end));
}
#endif
