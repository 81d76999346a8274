#include "timer.h"
#include "../runtime/base/str.h"
#include "progress.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

const struct timer_limits timer_limits_normal = {30, 0.005, 15};
const struct timer_limits timer_limits_quick = {30, 0.02, 1};

const double timer_graph_below_ns = 20000;
enum { GRAPH_LAUNCHES = 20, WARM_UPS = 3, PROBES = 5, BATCH = 10, MAX_SAMPLES = 10000 };
/* Samples below this share of the device's highest clock were taken while it was throttled. */
static const double lowest_clock = 0.75;
/* A device that stays at a low clock for this share of the time limit is taken as it is. */
static const double patience_with_clock = 1.0 / 3;
static const struct timespec cool_down = {.tv_nsec = 20 * 1000 * 1000};
/* The funnel: what is slower than this many times the best is not timed in full. */
static const double hopeless = 2;

struct timer {
    struct device *dev;
    const struct timer_job *job;
    int turn;
    CUstream stream;
    CUevent begin[BATCH], end[BATCH];
    CUgraph graph;
    CUgraphExec executable; /* NULL: single launches */
    int launches_per_sample;
};

static enum mt_status check(const struct timer *t, CUresult result, const char *what) {
    return device_check(t->dev, result, what);
}

static enum mt_status make_events(struct timer *t) {
    const struct driver *drv = &t->dev->drv;
    enum mt_status status = check(t, drv->StreamCreate(&t->stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    for (int i = 0; i < BATCH && !status; i++)
        if (!(status = check(t, drv->EventCreate(&t->begin[i], CU_EVENT_DEFAULT), "cuEventCreate")))
            status = check(t, drv->EventCreate(&t->end[i], CU_EVENT_DEFAULT), "cuEventCreate");
    return status;
}

static void release_timer(struct timer *t) {
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
    enum mt_status status = t->job->launch(t->job->context, t->turn, t->stream);
    t->turn = (t->turn + 1) % t->job->rotation;
    return status;
}

/* One sample's work: a graph, or one launch. */
static enum mt_status launch_sample(struct timer *t) {
    if (t->executable)
        return check(t, t->dev->drv.GraphLaunch(t->executable, t->stream), "cuGraphLaunch");
    return launch_next(t);
}

/* Each sample between two events, one after another. */
static enum mt_status queue_samples(struct timer *t, int count) {
    const struct driver *drv = &t->dev->drv;
    enum mt_status status = MT_OK;
    for (int i = 0; i < count && !status; i++)
        if (!(status = check(t, drv->EventRecord(t->begin[i], t->stream), "cuEventRecord")) &&
            !(status = launch_sample(t)))
            status = check(t, drv->EventRecord(t->end[i], t->stream), "cuEventRecord");
    return status;
}

/* The device begins when all is queued. */
static enum mt_status queue_behind_gate(struct timer *t, int count) {
    struct gate *gate = t->job->gate;
    enum mt_status status = gate_shut(gate, t->stream);
    if (!status && !(status = queue_samples(t, count)))
        status = gate_stamp(gate, t->stream);
    gate_lift(gate);
    return status;
}

static enum mt_status read_samples(struct timer *t, int count, double *ns) {
    const struct driver *drv = &t->dev->drv;
    enum mt_status status = MT_OK;
    for (int i = 0; i < count && !status; i++) {
        float ms = 0;
        status = check(t, drv->EventElapsedTime(&ms, t->begin[i], t->end[i]), "cuEventElapsedTime");
        ns[i] = (double)ms * 1e6 / t->launches_per_sample;
        if (!status && !(ns[i] > 0))
            status = fail(MT_FAILURE, "the device reports a time of %g ms for a kernel", (double)ms);
    }
    return status;
}

/* Queues `count` samples back to back, then reads their times: the host waits for the device once. */
static enum mt_status take_samples(struct timer *t, int count, double *ns) {
    struct gate *gate = t->job->gate;
    enum mt_status status = gate ? queue_behind_gate(t, count) : queue_samples(t, count);
    /* The stream and not the last event: the second stamp comes after it. */
    CUresult result = status ? CUDA_SUCCESS
                      : gate ? t->dev->drv.StreamSynchronize(t->stream)
                             : t->dev->drv.EventSynchronize(t->end[count - 1]);
    if (!status)
        status = check(t, result, "the timed launch");
    if (t->job->alive)
        t->job->alive(t->job->context);
    return status ? status : read_samples(t, count, ns);
}

/* Whether the samples taken last are good: nothing waited for the host, and the clock had not dropped. */
static bool samples_count(const struct timer *t) {
    const struct gate *gate = t->job->gate;
    return !gate || (gate_held(gate) && gate_clock(gate) >= lowest_clock);
}

/* Between events too: on a software device a launch outside them would be executed, not estimated. */
static enum mt_status warm_up(struct timer *t) {
    double ns[WARM_UPS];
    return take_samples(t, WARM_UPS, ns);
}

static enum mt_status build_graph(struct timer *t) {
    const struct driver *drv = &t->dev->drv;
    int launches = t->job->rotation > GRAPH_LAUNCHES ? t->job->rotation : GRAPH_LAUNCHES;
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

/* Short kernels are timed as a graph. */
static enum mt_status choose_form(struct timer *t, double probe_ns) {
    return probe_ns < timer_graph_below_ns ? build_graph(t) : MT_OK;
}

static void adopt_probe(const double ns[PROBES], struct timing *out) {
    out->samples_ns = xmalloc(PROBES * sizeof *ns);
    memcpy(out->samples_ns, ns, PROBES * sizeof *ns);
    out->count = PROBES;
    out->estimate = stats_estimate(ns, PROBES);
    out->probed_only = true;
}

/* The funnel's first stage. */
static enum mt_status probe(struct timer *t, double *probe_ns, struct timing *out) {
    double ns[PROBES];
    enum mt_status status = take_samples(t, PROBES, ns);
    if (status)
        return status;
    *probe_ns = stats_median(ns, PROBES);
    if (t->job->beat_ns > 0 && *probe_ns > hopeless * t->job->beat_ns)
        adopt_probe(ns, out);
    return MT_OK;
}

static bool sure(const struct timer_limits *limits, const struct timing *timing, double spent) {
    return (timing->count >= limits->min_samples && estimate_half_width(&timing->estimate) < limits->half_width) ||
           spent > limits->max_seconds || timing->count >= MAX_SAMPLES;
}

static enum mt_status sample_until_sure(struct timer *t, struct timing *out) {
    const struct timer_limits *limits = t->job->limits;
    double started = seconds_now();
    for (;;) {
        out->samples_ns = xrealloc(out->samples_ns, (size_t)(out->count + BATCH) * sizeof *out->samples_ns);
        enum mt_status status = take_samples(t, BATCH, out->samples_ns + out->count);
        if (status)
            return status;
        double spent = seconds_now() - started;
        if (!samples_count(t) && spent < patience_with_clock * limits->max_seconds) {
            out->rejected += BATCH;
            nanosleep(&cool_down, NULL);
            continue;
        }
        out->count += BATCH;
        out->estimate = stats_estimate(out->samples_ns, out->count);
        if (sure(limits, out, spent))
            return MT_OK;
    }
}

enum mt_status timer_measure(struct device *dev, const struct timer_job *job, struct timing *out) {
    struct timer t = {.dev = dev, .job = job, .launches_per_sample = 1};
    double probe_ns = 0;
    *out = (struct timing){0};
    enum mt_status status;
    if (!(status = make_events(&t)) && !(status = warm_up(&t)) && !(status = probe(&t, &probe_ns, out)) &&
        !out->probed_only && !(status = choose_form(&t, probe_ns)))
        status = sample_until_sure(&t, out);
    out->launches_per_sample = t.launches_per_sample;
    release_timer(&t);
    if (status)
        timing_release(out);
    return status;
}

enum mt_status timer_open(struct device *dev, const struct timer_job *job, struct timer **out) {
    struct timer *t = xcalloc(1, sizeof *t);
    struct timing unused = {0};
    double probe_ns = 0;
    *t = (struct timer){.dev = dev, .job = job, .launches_per_sample = 1};
    enum mt_status status;
    if (!(status = make_events(t)) && !(status = warm_up(t)) && !(status = probe(t, &probe_ns, &unused)))
        status = choose_form(t, probe_ns);
    timing_release(&unused);
    if (status) {
        timer_close(t);
        t = NULL;
    }
    *out = t;
    return status;
}

enum mt_status timer_sample(struct timer *t, double *ns) {
    for (int again = 0;; again++) {
        enum mt_status status = take_samples(t, 1, ns);
        if (status || samples_count(t) || again == 5)
            return status;
        nanosleep(&cool_down, NULL);
    }
}

void timer_close(struct timer *t) {
    if (!t)
        return;
    release_timer(t);
    free(t);
}

void timing_release(struct timing *timing) {
    free(timing->samples_ns);
    *timing = (struct timing){0};
}
