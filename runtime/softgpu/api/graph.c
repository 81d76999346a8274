/* Graphs: the operations of a capture in their order. A replay runs them one after the other, so what was captured on
 * several streams gets the sum of its times. */
#include "runtime/base/array.h"
#include "runtime/base/str.h"
#include "state.h"
#include <stdlib.h>

static void nodes_release(struct cu_nodes *nodes) {
    for (int i = 0; i < nodes->count; i++)
        cu_op_unref(nodes->op[i]);
    free(nodes->op);
}

static void nodes_append(struct cu_nodes *nodes, struct cu_op *op) {
    array_grow(&nodes->op, &nodes->capacity, (size_t)nodes->count, sizeof(struct cu_op *));
    nodes->op[nodes->count++] = op;
}

void cu_graph_add(struct CUgraph_st *graph, struct cu_op *op) {
    op->in_graph = true;
    nodes_append(&graph->nodes, op);
}

static void graph_free(struct CUgraph_st **at) {
    struct CUgraph_st *graph = *at;
    *at = graph->next;
    nodes_release(&graph->nodes);
    free(graph);
}

static void executable_free(struct CUgraphExec_st **at) {
    struct CUgraphExec_st *executable = *at;
    *at = executable->next;
    nodes_release(&executable->nodes);
    free(executable);
}

void cu_graph_free_all(struct CUctx_st *context) {
    while (context->graphs)
        graph_free(&context->graphs);
    while (context->executables)
        executable_free(&context->executables);
}

/* Where the list points at the graph; NULL if it is not there. */
static struct CUgraph_st **graph_find(struct CUctx_st *context, CUgraph handle) {
    struct CUgraph_st **at = &context->graphs;
    while (*at && *at != handle)
        at = &(*at)->next;
    return *at ? at : NULL;
}

static struct CUgraphExec_st **executable_find(struct CUctx_st *context, CUgraphExec handle) {
    struct CUgraphExec_st **at = &context->executables;
    while (*at && *at != handle)
        at = &(*at)->next;
    return *at ? at : NULL;
}

CU_API cuStreamBeginCapture_v2(CUstream handle, CUstreamCaptureMode mode) {
    struct CUctx_st *context;
    struct CUstream_st *stream = NULL;
    CUresult result = cu_enter(&context);
    (void)mode;
    if (result == CUDA_SUCCESS)
        result = cu_stream_find(context, handle, &stream);
    if (result == CUDA_SUCCESS && stream == &context->null_stream)
        result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (result == CUDA_SUCCESS && stream->capture)
        result = CUDA_ERROR_ILLEGAL_STATE;
    if (result == CUDA_SUCCESS) {
        struct CUgraph_st *graph = xcalloc(1, sizeof *graph);
        graph->context = context;
        graph->next = context->graphs;
        context->graphs = graph;
        stream->capture = graph;
        stream->captures_origin = true;
    }
    return cu_leave(result);
}

CU_API cuStreamEndCapture(CUstream handle, CUgraph *out) {
    struct CUctx_st *context;
    struct CUstream_st *stream = NULL;
    CUresult result = cu_enter(&context);
    if (result == CUDA_SUCCESS)
        result = cu_stream_find(context, handle, &stream);
    if (result == CUDA_SUCCESS && !out)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS && !stream->capture)
        result = CUDA_ERROR_ILLEGAL_STATE;
    if (result == CUDA_SUCCESS && !stream->captures_origin)
        result = CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    if (result != CUDA_SUCCESS)
        return cu_leave(result);
    struct CUgraph_st *graph = stream->capture;
    for (struct CUstream_st *s = context->streams; s; s = s->next)
        if (s->capture == graph) {
            s->capture = NULL;
            s->captures_origin = false;
        }
    for (struct CUevent_st *e = context->events; e; e = e->next)
        if (e->capture == graph)
            e->capture = NULL;
    *out = graph;
    if (graph->broken) {
        graph_free(graph_find(context, graph));
        *out = NULL;
        result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    }
    return cu_leave(result);
}

CU_API cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus *out) {
    struct CUctx_st *context;
    struct CUstream_st *stream = NULL;
    CUresult result = cu_enter(&context);
    if (result == CUDA_SUCCESS)
        result = cu_stream_find(context, handle, &stream);
    if (result == CUDA_SUCCESS && !out)
        result = CUDA_ERROR_INVALID_VALUE;
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
    if (result == CUDA_SUCCESS && (!out || !graph_find(context, handle)))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS) {
        struct CUgraphExec_st *made = xcalloc(1, sizeof *made);
        made->context = context;
        for (int i = 0; i < handle->nodes.count; i++)
            nodes_append(&made->nodes, cu_op_clone(handle->nodes.op[i]));
        made->next = context->executables;
        context->executables = *out = made;
    }
    return cu_leave(result);
}

CU_API cuGraphLaunch(CUgraphExec handle, CUstream stream_handle) {
    struct CUctx_st *context;
    struct CUstream_st *stream = NULL;
    CUresult result = cu_enter(&context);
    if (result == CUDA_SUCCESS)
        result = cu_stream_find(context, stream_handle, &stream);
    if (result == CUDA_SUCCESS && !executable_find(context, handle))
        result = CUDA_ERROR_INVALID_VALUE;
    for (int i = 0; result == CUDA_SUCCESS && i < handle->nodes.count; i++) {
        const struct cu_op *node = handle->nodes.op[i];
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
    if (result == CUDA_SUCCESS && !executable_find(context, handle))
        result = CUDA_ERROR_INVALID_VALUE;
    return cu_leave(result);
}

CU_API cuGraphExecDestroy(CUgraphExec handle) {
    struct CUctx_st *context;
    CUresult result = cu_enter_quietly(&context);
    struct CUgraphExec_st **at = result == CUDA_SUCCESS ? executable_find(context, handle) : NULL;
    if (at)
        executable_free(at);
    else if (result == CUDA_SUCCESS)
        result = CUDA_ERROR_INVALID_VALUE;
    return cu_leave(result);
}

CU_API cuGraphDestroy(CUgraph handle) {
    struct CUctx_st *context;
    CUresult result = cu_enter_quietly(&context);
    struct CUgraph_st **at = result == CUDA_SUCCESS ? graph_find(context, handle) : NULL;
    if (at)
        graph_free(at);
    else if (result == CUDA_SUCCESS)
        result = CUDA_ERROR_INVALID_VALUE;
    return cu_leave(result);
}

CU_API cuGraphGetNodes(CUgraph handle, CUgraphNode *nodes, size_t *count) {
    struct CUctx_st *context;
    CUresult result = cu_enter(&context);
    if (result == CUDA_SUCCESS && (!count || nodes || !graph_find(context, handle)))
        result = nodes ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE; /* only the count is kept */
    if (result == CUDA_SUCCESS)
        *count = (size_t)handle->nodes.count;
    return cu_leave(result);
}
