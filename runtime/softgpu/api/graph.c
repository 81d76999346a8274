/* Graphs: the operations of a capture in their order. A replay runs them one after the other, so what was captured on
 * several streams gets the sum of its times. */
#include "runtime/base/array.h"
#include "runtime/base/str.h"
#include "state.h"
#include <stdlib.h>

void cu_graph_add(struct cu_graph *graph, struct cu_op *op) {
    op->in_graph = true;
    array_grow(&graph->op, &graph->capacity, (size_t)graph->count, sizeof(struct cu_op *));
    graph->op[graph->count++] = op;
}

/* At the head of a list of the context. */
static struct cu_graph *graph_new(struct CUctx_st *context, struct cu_graph **list) {
    struct cu_graph *graph = xcalloc(1, sizeof *graph);
    graph->context = context;
    graph->next = *list;
    return *list = graph;
}

static void graph_free(struct cu_graph **at) {
    struct cu_graph *graph = *at;
    *at = graph->next;
    for (int i = 0; i < graph->count; i++)
        cu_op_unref(graph->op[i]);
    free(graph->op);
    free(graph);
}

void cu_graph_free_all(struct CUctx_st *context) {
    while (context->graphs)
        graph_free(&context->graphs);
    while (context->executables)
        graph_free(&context->executables);
}

/* Where the list points at what has this handle; NULL if it is not there. */
static struct cu_graph **graph_find(struct cu_graph **at, const void *handle) {
    while (*at && *at != handle)
        at = &(*at)->next;
    return *at ? at : NULL;
}

CU_API cuStreamBeginCapture_v2(CUstream handle, CUstreamCaptureMode mode) {
    struct CUctx_st *context;
    struct CUstream_st *stream = NULL;
    CUresult result = cu_stream_enter(handle, &context, &stream);
    (void)mode;
    if (result == CUDA_SUCCESS && stream == &context->null_stream)
        result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (result == CUDA_SUCCESS && stream->capture)
        result = CUDA_ERROR_ILLEGAL_STATE;
    if (result == CUDA_SUCCESS) {
        stream->capture = graph_new(context, &context->graphs);
        stream->captures_origin = true;
    }
    return cu_leave(result);
}

CU_API cuStreamEndCapture(CUstream handle, CUgraph *out) {
    struct CUctx_st *context;
    struct CUstream_st *stream = NULL;
    CUresult result = cu_needs(cu_stream_enter(handle, &context, &stream), out);
    if (result == CUDA_SUCCESS && !stream->capture)
        result = CUDA_ERROR_ILLEGAL_STATE;
    if (result == CUDA_SUCCESS && !stream->captures_origin)
        result = CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    if (result != CUDA_SUCCESS)
        return cu_leave(result);
    struct cu_graph *graph = stream->capture;
    for (struct CUstream_st *s = context->streams; s; s = s->next)
        if (s->capture == graph) {
            s->capture = NULL;
            s->captures_origin = false;
        }
    for (struct CUevent_st *e = context->events; e; e = e->next)
        if (e->capture == graph)
            e->capture = NULL;
    *out = (CUgraph)graph;
    if (graph->broken) {
        graph_free(graph_find(&context->graphs, graph));
        *out = NULL;
        result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    }
    return cu_leave(result);
}

CU_API cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus *out) {
    struct CUctx_st *context;
    struct CUstream_st *stream = NULL;
    CUresult result = cu_needs(cu_stream_enter(handle, &context, &stream), out);
    if (result == CUDA_SUCCESS)
        *out = !stream->capture          ? CU_STREAM_CAPTURE_STATUS_NONE
               : stream->capture->broken ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                         : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return cu_leave(result);
}

CU_API cuGraphInstantiateWithFlags(CUgraphExec *out, CUgraph handle, unsigned long long flags) {
    struct CUctx_st *context;
    CUresult result = cu_enter(&context);
    (void)flags;
    if (result == CUDA_SUCCESS && (!out || !graph_find(&context->graphs, handle)))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS) {
        struct cu_graph *made = graph_new(context, &context->executables);
        for (int i = 0; i < handle->graph.count; i++)
            cu_graph_add(made, cu_op_clone(handle->graph.op[i]));
        *out = (CUgraphExec)made;
    }
    return cu_leave(result);
}

CU_API cuGraphLaunch(CUgraphExec handle, CUstream stream_handle) {
    struct CUctx_st *context;
    struct CUstream_st *stream = NULL;
    CUresult result = cu_stream_enter(stream_handle, &context, &stream);
    if (result == CUDA_SUCCESS && !graph_find(&context->executables, handle))
        result = CUDA_ERROR_INVALID_VALUE;
    for (int i = 0; result == CUDA_SUCCESS && i < handle->graph.count; i++) {
        const struct cu_op *node = handle->graph.op[i];
        if (node->kind != CU_OP_RECORD)
            result = cu_stream_push(stream, cu_op_clone(node));
        else if ((result = cu_event_find(context, node->event)) == CUDA_SUCCESS)
            cu_queue_record(stream, node->event);
    }
    return cu_leave(result);
}

CU_API cuGraphUpload(CUgraphExec handle, CUstream stream) {
    struct CUctx_st *context;
    CUresult result = cu_enter(&context);
    (void)stream;
    if (result == CUDA_SUCCESS && !graph_find(&context->executables, handle))
        result = CUDA_ERROR_INVALID_VALUE;
    return cu_leave(result);
}

static CUresult destroy(const void *handle, bool executable) {
    struct CUctx_st *context;
    CUresult result = cu_enter_quietly(&context);
    if (result != CUDA_SUCCESS)
        return cu_leave(result);
    struct cu_graph **at = graph_find(executable ? &context->executables : &context->graphs, handle);
    if (at)
        graph_free(at);
    return cu_leave(at ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

CU_API cuGraphExecDestroy(CUgraphExec handle) {
    return destroy(handle, true);
}

CU_API cuGraphDestroy(CUgraph handle) {
    return destroy(handle, false);
}

CU_API cuGraphGetNodes(CUgraph handle, CUgraphNode *nodes, size_t *count) {
    struct CUctx_st *context;
    CUresult result = cu_enter(&context);
    if (result == CUDA_SUCCESS && (!count || nodes || !graph_find(&context->graphs, handle)))
        result = nodes ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE; /* only the count is kept */
    if (result == CUDA_SUCCESS)
        *count = (size_t)handle->graph.count;
    return cu_leave(result);
}
