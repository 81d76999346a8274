/* The queue and the timeline: lazy execution.
 *
 * A tuner times full-size GEMMs whose execution here would take minutes, and never looks at what they computed. So a
 * stream operation is noted, and happens when it can be observed.
 *
 * The queue holds operations that have not happened, in program order. That order is legal for any set of streams,
 * since a stream can only wait for what was submitted before. The timeline holds the same operations, and event
 * records and waits, until their modelled time is known.
 *
 * Waiting for a stream, an event or the context ("settling") takes what is ordered before that point off the timeline.
 * Of this, it runs at once: launches that are not between two timing events of their stream (so their faults surface
 * here, as on hardware), what the host could see without another call (copies to the host, page-locked memory, host
 * functions), and kernels that may load pointers from memory, whose reach is unknown. A launch between two timing
 * events only gets its modelled time, and stays in the queue with fills and copies on the device.
 *
 * It leaves the queue in one of two ways. Something that has to run, or a copy from or to the host, may touch an
 * allocation that it may touch: then it runs first, with all it depends on in the same way. Or all those allocations
 * have been freed, also those of what depends on it, or the context is destroyed: then nobody can tell, and it is
 * dropped.
 *
 * What a launch may touch is read off its parameters: every aligned 8-byte word that points into an allocation, and its
 * module's variables. An allocation that was freed stays in place while such operations refer to it. A program that is
 * correct on hardware sees the same memory as if everything ran at once; a faulty launch reports at the call that makes
 * it run. Several identical launches in a row are run until one changes nothing. */
#include "runtime/base/array.h"
#include "runtime/base/str.h"
#include "state.h"
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- records and ticks ---- */

void cu_record_unref(struct cu_record *record) {
    if (record && --record->refs == 0)
        free(record);
}

void cu_event_point(struct CUevent_st *event, struct cu_record *record) {
    cu_record_unref(event->record);
    event->record = record;
}

static struct cu_tick *tick_add(struct CUstream_st *stream) {
    struct CUctx_st *context = stream->context;
    struct cu_tick *tick = xcalloc(1, sizeof *tick);
    tick->stream = stream;
    tick->not_before = context->now;
    tick->previous = context->last;
    *(context->last ? &context->last->next : &context->first) = tick;
    context->last = tick;
    return tick;
}

static void tick_remove(struct CUctx_st *context, struct cu_tick *tick) {
    *(tick->previous ? &tick->previous->next : &context->first) = tick->next;
    *(tick->next ? &tick->next->previous : &context->last) = tick->previous;
    if (tick->op) {
        tick->op->waiting = false;
        cu_op_unref(tick->op);
    }
    cu_record_unref(tick->record);
    cu_record_unref(tick->wait);
    free(tick);
}

/* The default stream waits for every stream that was not made with NON_BLOCKING, and they for it. */
static bool is_blocking(const struct CUstream_st *stream) {
    return stream != &stream->context->null_stream && !(stream->flags & CU_STREAM_NON_BLOCKING);
}

static double stream_start(const struct CUstream_st *stream, double not_before) {
    const struct CUctx_st *context = stream->context;
    double start = stream->clock > not_before ? stream->clock : not_before;
    if (stream == &context->null_stream) {
        for (const struct CUstream_st *s = context->streams; s; s = s->next)
            if (is_blocking(s) && s->clock > start)
                start = s->clock;
    } else if (is_blocking(stream) && context->null_stream.clock > start) {
        start = context->null_stream.clock;
    }
    return start;
}

/* Moves the modelled clocks over one entry whose duration is known. */
static void tick_advance(struct cu_tick *tick) {
    struct CUstream_st *stream = tick->stream;
    double time = stream_start(stream, tick->not_before);
    if (tick->op) {
        const struct dev_profile *p = cu_device.profile;
        time += tick->op->seconds;
        if (tick->op->kind == CU_OP_LAUNCH)
            time += (tick->op->in_graph ? p->graph_node_us : p->launch_us) * 1e-6;
    }
    if (tick->wait && tick->wait->time > time)
        time = tick->wait->time;
    stream->clock = time;
    if (tick->record) {
        tick->record->time = time;
        tick->record->done = true;
    }
    if (time > stream->context->now)
        stream->context->now = time;
}

/* ---- running what is in the queue ---- */

static void queue_compact(struct CUctx_st *context) {
    int kept = 0;
    for (int i = 0; i < context->queued; i++) {
        if (context->queue[i]->done)
            cu_op_unref(context->queue[i]);
        else
            context->queue[kept++] = context->queue[i];
    }
    context->queued = kept;
}

static uint64_t reach_hash(const struct cu_op *op) {
    uint64_t hash = 0;
    for (int i = 0; i < op->reach_count; i++)
        hash = XXH3_64bits_withSeed((const void *)(uintptr_t)op->reach[i]->base, op->reach[i]->size, hash);
    return hash;
}

/* Runs the selected operations of the queue in order. Launches that repeat the one before are run until one leaves
 * every byte of its reach as it was: from there on each would do the same again. */
static CUresult queue_run_selected(struct CUctx_st *context) {
    CUresult result = CUDA_SUCCESS;
    const struct cu_op *last = NULL;
    bool settled = false, hashed = false;
    uint64_t hash = 0;
    for (int i = 0; i < context->queued && result == CUDA_SUCCESS; i++) {
        struct cu_op *op = context->queue[i];
        if (!op->selected || op->done)
            continue;
        bool repeat = last && cu_op_same_launch(last, op) && !op->host_visible;
        if (repeat && settled) {
            op->done = true;
            if (op->seconds < 0)
                op->seconds = last->seconds;
        } else {
            if (repeat && !hashed)
                hash = reach_hash(op);
            result = cu_op_run(op);
            hashed = repeat;
            uint64_t after = repeat ? reach_hash(op) : 0;
            settled = repeat && after == hash;
            hash = after;
        }
        last = op;
    }
    for (int i = 0; i < context->queued; i++)
        context->queue[i]->selected = false;
    queue_compact(context);
    return result;
}

static void mark_reach(const struct cu_op *op, uint64_t mark) {
    for (int i = 0; i < op->reach_count; i++)
        op->reach[i]->mark = mark;
}

static bool reach_marked(const struct cu_op *op, uint64_t mark) {
    for (int i = 0; i < op->reach_count; i++)
        if (op->reach[i]->mark == mark)
            return true;
    return false;
}

/* Adds to the selected operations whatever they may depend on through memory. An operation that is still on the
 * timeline is not ordered before them, so a correct program does not share memory with it: it stays. */
static void queue_close(struct CUctx_st *context, uint64_t mark) {
    for (int i = context->queued - 1; i >= 0; i--) {
        struct cu_op *op = context->queue[i];
        if (!op->selected && !op->waiting && reach_marked(op, mark))
            op->selected = true;
        if (op->selected)
            mark_reach(op, mark);
    }
}

static bool must_run(const struct cu_op *op) {
    return op->host_visible || (op->kind == CU_OP_LAUNCH && !op->timed) || op->kind == CU_OP_CALL;
}

/* ---- settling ---- */

/* Marks the entries that a stream (from its end) or a record waits for: one walk backwards over program order. */
static void timeline_select(struct CUctx_st *context, struct CUstream_st *stream, struct cu_record *record) {
    bool all = !stream && !record, blocking = false;
    context->null_stream.needed = false;
    for (struct CUstream_st *s = context->streams; s; s = s->next)
        s->needed = false;
    if (stream)
        stream->needed = true;
    for (struct cu_tick *t = context->last; t; t = t->previous) {
        if (t->record && (t->record == record || t->record->needed))
            t->stream->needed = true;
        t->selected = all || t->stream->needed;
        if (!all && t->stream == &context->null_stream && blocking)
            t->selected = true; /* a needed blocking stream came later */
        if (!all && context->null_stream.needed && is_blocking(t->stream))
            t->selected = true;
        if (!t->selected)
            continue;
        t->stream->needed = true;
        blocking = blocking || is_blocking(t->stream);
        if (t->wait)
            t->wait->needed = true;
    }
}

/* Fills that nothing in the queue precedes in their memory: a sample must see them (zeroed counters decide which way a
 * split-K kernel goes), and they cost little. */
static CUresult run_leading_fills(struct CUctx_st *context, const struct cu_op *launch) {
    const uint64_t mark = ++context->mark;
    CUresult result = CUDA_SUCCESS;
    for (int i = 0; i < context->queued && context->queue[i] != launch && result == CUDA_SUCCESS; i++) {
        struct cu_op *op = context->queue[i];
        if (!op->done && op->kind == CU_OP_FILL && !reach_marked(op, mark))
            result = cu_op_run(op);
        else if (!op->done)
            mark_reach(op, mark);
    }
    queue_compact(context);
    return result;
}

/* A launch's time from a sample; where the sample meets a fault, perhaps because its inputs have not been computed, it
 * is run. */
static CUresult tick_time(struct CUctx_st *context, struct cu_tick *tick) {
    struct cu_op *op = tick->op;
    if (!op || op->seconds >= 0)
        return CUDA_SUCCESS;
    if (op->kind != CU_OP_LAUNCH || op->done) {
        op->seconds = 0;
        return CUDA_SUCCESS;
    }
    CUresult filled = run_leading_fills(context, op);
    if (filled != CUDA_SUCCESS || cu_launch_estimate(op))
        return filled;
    op->selected = true;
    op->waiting = false;
    queue_close(context, ++context->mark);
    return queue_run_selected(context);
}

CUresult cu_queue_settle(struct CUctx_st *context, struct CUstream_st *stream, struct cu_record *record) {
    CUresult result = CUDA_SUCCESS;
    bool any = false;
    timeline_select(context, stream, record);
    for (struct cu_tick *t = context->first; t; t = t->next) {
        if (!t->selected || !t->op || t->op->done)
            continue;
        t->op->waiting = false; /* from here on it counts as ordered before */
        t->op->selected = must_run(t->op);
        any = any || t->op->selected;
    }
    if (any) {
        queue_close(context, ++context->mark);
        result = queue_run_selected(context);
    }
    for (struct cu_tick *t = context->first, *next; t && result == CUDA_SUCCESS; t = next) {
        next = t->next;
        if (!t->selected)
            continue;
        result = tick_time(context, t);
        if (result == CUDA_SUCCESS) {
            tick_advance(t);
            tick_remove(context, t);
        }
    }
    cu_queue_drop(context, false);
    return result;
}

/* ---- submitting ---- */

CUresult cu_queue_submit(struct CUstream_st *stream, struct cu_op *op) {
    struct CUctx_st *context = stream->context;
    op->sequence = ++cu_device.sequence;
    struct cu_tick *tick = tick_add(stream);
    tick->op = op; /* the timeline's reference is the caller's */
    op->waiting = true;
    /* Nothing is before it, and whether a fill or copy happens now or later cannot be told. */
    if (context->queued == 0 && context->first == tick && op->kind != CU_OP_LAUNCH && op->kind != CU_OP_CALL) {
        CUresult result = cu_op_run(op);
        tick_advance(tick);
        tick_remove(context, tick);
        return result;
    }
    array_grow(&context->queue, &context->queue_capacity, (size_t)context->queued, sizeof(struct cu_op *));
    op->refs++;
    context->queue[context->queued++] = op;
    return CUDA_SUCCESS;
}

void cu_queue_record(struct CUstream_st *stream, struct CUevent_st *event) {
    struct CUctx_st *context = stream->context;
    struct cu_record *record = xcalloc(1, sizeof *record);
    record->refs = 2;
    record->stream = stream;
    tick_add(stream)->record = record;
    cu_event_point(event, record);
    if (event->flags & CU_EVENT_DISABLE_TIMING)
        return;
    /* What lies between two timing events of a stream is asked for its time only. */
    if (!stream->first_timing)
        stream->first_timing = ++cu_device.sequence;
    for (struct cu_tick *t = context->last; t; t = t->previous) {
        if (t->stream != stream || !t->op)
            continue;
        if (t->op->timed || t->op->sequence < stream->first_timing)
            break; /* those before it were seen by an earlier record */
        t->op->timed = true;
    }
}

void cu_queue_wait(struct CUstream_st *stream, struct cu_record *record) {
    struct cu_tick *tick = tick_add(stream);
    tick->wait = record;
    record->refs++;
}

void cu_queue_drop(struct CUctx_st *context, bool everything) {
    uint64_t mark = ++context->mark;
    for (int i = context->queued - 1; i >= 0; i--) {
        struct cu_op *op = context->queue[i];
        /* What lives on freed memory alone can still be the input of something later that does not. */
        bool seen = op->waiting || op->host_visible || reach_marked(op, mark);
        for (int r = 0; r < op->reach_count && !seen; r++)
            seen = op->reach[r]->death == CU_ALIVE;
        if (seen)
            mark_reach(op, mark);
        op->done = op->done || everything || !seen;
    }
    queue_compact(context);
    while (everything && context->first)
        tick_remove(context, context->first);
}
