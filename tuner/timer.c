#include "timer.h"
#include "../runtime/base/str.h"
#include "progress.h"
#include <stdlib.h>

const struct timer_limits timer_limits_normal = {30, 0.005, 15};
const struct timer_limits timer_limits_quick = {30, 0.02, 1};

/* Kernels shorter than this are timed as a graph: the host could not launch them fast enough one by one. */
static const double graph_below_ns = 20000;
enum { GRAPH_LAUNCHES = 20, WARM_UPS = 3, PROBES = 5, BATCH = 10, MAX_SAMPLES = 10000 };

struct timer {
    struct device *dev;
    timed_launch launch;
    void *context;
    int rotation, turn;
    CUstream stream;
    CUevent begin[BATCH], end[BATCH];
    CUgraph graph;
    CUgraphExec executable; /* NULL: single launches */
    int launches_per_sample;
};

static enum mt_status check(const struct timer *t, CUresult result, const char *what) {
    return device_check(t->dev, result, what);
}

static enum mt_status open_timer(struct timer *t) {
    const struct driver *drv = &t->dev->drv;
    enum mt_status status = check(t, drv->StreamCreate(&t->stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    for (int i = 0; i < BATCH && !status; i++)
        if (!(status = check(t, drv->EventCreate(&t->begin[i], CU_EVENT_DEFAULT), "cuEventCreate")))
            status = check(t, drv->EventCreate(&t->end[i], CU_EVENT_DEFAULT), "cuEventCreate");
    return status;
}

static void close_timer(struct timer *t) {
    const struct driver *drv = &t->dev->drv;
    if (t->executable)
        drv->GraphExecDestroy(t->executable);
    if (t->graph)
        drv->GraphDestroy(t->graph);
    for (int i = 0; i < BATCH; i++) {
        if (t->begin[i])
            drv->EventDestroy(t->begin[i]);
        if (t->end[i])
            drv->EventDestroy(t->end[i]);
    }
    if (t->stream)
        drv->StreamDestroy(t->stream);
}

static enum mt_status launch_next(struct timer *t) {
    enum mt_status status = t->launch(t->context, t->turn, t->stream);
    t->turn = (t->turn + 1) % t->rotation;
    return status;
}

/* One sample's work: a graph, or one launch. */
static enum mt_status launch_sample(struct timer *t) {
    if (t->executable)
        return check(t, t->dev->drv.GraphLaunch(t->executable, t->stream), "cuGraphLaunch");
    return launch_next(t);
}

/* Queues `count` samples back to back, then reads their times: the host waits for the device once. */
static enum mt_status take_samples(struct timer *t, int count, double *ns) {
    const struct driver *drv = &t->dev->drv;
    enum mt_status status = MT_OK;
    for (int i = 0; i < count && !status; i++)
        if (!(status = check(t, drv->EventRecord(t->begin[i], t->stream), "cuEventRecord")) &&
            !(status = launch_sample(t)))
            status = check(t, drv->EventRecord(t->end[i], t->stream), "cuEventRecord");
    if (!status)
        status = check(t, drv->EventSynchronize(t->end[count - 1]), "the timed launch");
    for (int i = 0; i < count && !status; i++) {
        float ms = 0;
        status = check(t, drv->EventElapsedTime(&ms, t->begin[i], t->end[i]), "cuEventElapsedTime");
        ns[i] = (double)ms * 1e6 / t->launches_per_sample;
        if (!status && !(ns[i] > 0))
            status = fail(MT_FAILURE, "the device reports a time of %g ms for a kernel", (double)ms);
    }
    return status;
}

/* Between events too: on a software device a launch outside them would be executed, not estimated. */
static enum mt_status warm_up(struct timer *t) {
    double ns[WARM_UPS];
    return take_samples(t, WARM_UPS, ns);
}

static enum mt_status build_graph(struct timer *t) {
    const struct driver *drv = &t->dev->drv;
    int launches = t->rotation > GRAPH_LAUNCHES ? t->rotation : GRAPH_LAUNCHES;
    enum mt_status status =
        check(t, drv->StreamBeginCapture(t->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), "cuStreamBeginCapture");
    if (status)
        return status;
    for (int i = 0; i < launches && !status; i++)
        status = launch_next(t);
    CUresult ended = drv->StreamEndCapture(t->stream, &t->graph);
    if (status || (status = check(t, ended, "cuStreamEndCapture")) ||
        (status = check(t, drv->GraphInstantiate(&t->executable, t->graph, 0), "cuGraphInstantiate")))
        return status;
    t->launches_per_sample = launches;
    return warm_up(t);
}

static enum mt_status choose_form(struct timer *t) {
    double ns[PROBES];
    enum mt_status status = take_samples(t, PROBES, ns);
    if (status || stats_median(ns, PROBES) >= graph_below_ns)
        return status;
    return build_graph(t);
}

static enum mt_status sample_until_sure(struct timer *t, const struct timer_limits *limits, struct timing *out) {
    double started = seconds_now();
    for (;;) {
        out->samples_ns = xrealloc(out->samples_ns, (size_t)(out->count + BATCH) * sizeof *out->samples_ns);
        enum mt_status status = take_samples(t, BATCH, out->samples_ns + out->count);
        if (status)
            return status;
        out->count += BATCH;
        if (out->count < limits->min_samples)
            continue;
        out->estimate = stats_estimate(out->samples_ns, out->count);
        if (estimate_half_width(&out->estimate) < limits->half_width || seconds_now() - started > limits->max_seconds ||
            out->count >= MAX_SAMPLES)
            return MT_OK;
    }
}

enum mt_status timer_measure(struct device *dev, timed_launch launch, void *context, int rotation,
                             const struct timer_limits *limits, struct timing *out) {
    struct timer t = {.dev = dev, .launch = launch, .context = context, .rotation = rotation, .launches_per_sample = 1};
    *out = (struct timing){0};
    enum mt_status status;
    if (!(status = open_timer(&t)) && !(status = warm_up(&t)) && !(status = choose_form(&t)))
        status = sample_until_sure(&t, limits, out);
    out->launches_per_sample = t.launches_per_sample;
    close_timer(&t);
    if (status)
        timing_release(out);
    return status;
}

void timing_release(struct timing *timing) {
    free(timing->samples_ns);
    *timing = (struct timing){0};
}
