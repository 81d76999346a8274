#include "timer.h"
#include "runtime/base/array.h"
#include "runtime/base/str.h"
#include "tuner/progress.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

const struct timer_limits timer_limits_normal = {30, 0.005, 15};
const struct timer_limits timer_limits_quick = {30, 0.02, 1};

const double timer_graph_below_ns = 20000;
enum { GRAPH_LAUNCHES = 20, WARM_UPS = 3, PROBES = 5, BATCH = 10, MAX_SAMPLES = 10000, TRIES = 6 };
/* Launches that wait behind the gate: a driver that has room for no more would make the host wait for the device. */
enum { MOST_QUEUED = 512 };
_Static_assert(WARM_UPS <= BATCH && PROBES <= BATCH, "a sample queued has events of its own");
/* Samples below this share of the device's highest clock were taken while it was throttled. */
static const double lowest_clock = 0.75;
/* When none has counted for this share of the time limit, the device is taken as it is. */
static const double patience = 1.0 / 3;
static const struct timespec cool_down = {.tv_nsec = 20 * 1000 * 1000};
/* The funnel: what is slower than this many times the best is not timed in full. */
static const double hopeless = 2;

struct timer {
    struct device *dev;
    const struct timer_job *job;
    int own_turn, *turn;
    CUstream stream;
    CUevent begin[BATCH], end[BATCH];
    CUgraph graph;
    CUgraphExec executable; /* NULL: single launches */
    int launches_per_sample;
    double probe_ns[PROBES]; /* of the form in hand */
    bool is_short;
    struct rejected rejected;
    double own_bad_since, *bad_since;
};

void rejected_add(struct rejected *sum, const struct rejected *more) {
    sum->samples += more->samples;
    if (more->clock > 0 && (sum->clock == 0 || more->clock < sum->clock))
        sum->clock = more->clock;
}

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
    enum mt_status status = t->job->launch(t->job->context, *t->turn, t->stream);
    *t->turn = (*t->turn + 1) % t->job->rotation;
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
    if (status) /* what was queued before that must not outlive its operands */
        t->dev->drv.StreamSynchronize(t->stream);
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

/* Whether the samples taken last are kept; if not, the device has had time to recover. Where that does not help for
 * long, they are taken as they are until some count again. */
static bool keep(struct timer *t, int count, bool last_try) {
    const double now = seconds_now();
    if (samples_count(t)) {
        *t->bad_since = 0;
        return true;
    }
    if (*t->bad_since == 0)
        *t->bad_since = now;
    const double clock = gate_clock(t->job->gate);
    const bool kept = last_try || now - *t->bad_since > patience * t->job->limits->max_seconds;
    const struct rejected these = {kept ? 0 : count, clock < lowest_clock ? clock : 0};
    rejected_add(&t->rejected, &these);
    if (!kept)
        nanosleep(&cool_down, NULL);
    return kept;
}

/* As many of `count` samples as may be queued at once. */
static int batch_of(const struct timer *t, int count) {
    const int fit = MOST_QUEUED / t->launches_per_sample;
    return fit < 1 ? 1 : fit < count ? fit : count;
}

static enum mt_status take_good(struct timer *t, int count, double *ns) {
    enum mt_status status = MT_OK;
    for (int done = 0, tries = 0; done < count && !status;) {
        const int batch = batch_of(t, count - done);
        if ((status = take_samples(t, batch, ns + done)))
            break;
        if (keep(t, batch, ++tries >= TRIES))
            done += batch;
    }
    return status;
}

/* A function of ours or of a library may be loaded at its first launch, and loading may wait for all that runs: nothing
 * must be held back then. Nor does this stream wait for what was copied and cleared on the null stream. A software
 * device would execute what lies outside events, and needs none of it. */
static enum mt_status launch_once(struct timer *t) {
    const struct driver *drv = &t->dev->drv;
    enum mt_status status;
    if (t->dev->software)
        return MT_OK;
    if ((status = check(t, drv->CtxSynchronize(), "what came before a timed launch")) || (status = launch_sample(t)))
        return status;
    return check(t, drv->StreamSynchronize(t->stream), "the first launch");
}

/* Between events too: on a software device a launch outside them would be executed, not estimated. */
static enum mt_status warm_up(struct timer *t) {
    double ns[WARM_UPS];
    enum mt_status status = launch_once(t);
    return status ? status : take_samples(t, batch_of(t, WARM_UPS), ns);
}

/* Until it is ready to be sampled by single launches. */
static enum mt_status start(struct timer *t, struct device *dev, const struct timer_job *job) {
    *t = (struct timer){.dev = dev, .job = job, .launches_per_sample = 1};
    t->turn = job->turn ? job->turn : &t->own_turn;
    t->bad_since = job->bad_since ? job->bad_since : &t->own_bad_since;
    enum mt_status status;
    if ((status = make_events(t)) || (status = warm_up(t)) || (status = take_good(t, PROBES, t->probe_ns)))
        return status;
    t->is_short = stats_median(t->probe_ns, PROBES) < timer_graph_below_ns;
    return MT_OK;
}

bool timer_is_short(const struct timer *t) {
    return t->is_short;
}

/* Whole rotations, from the first turn on: when the graph runs again, or one like it, each input was last used a
 * rotation ago. */
enum mt_status timer_capture(struct timer *t) {
    const struct driver *drv = &t->dev->drv;
    const int rotation = t->job->rotation, launches = (GRAPH_LAUNCHES + rotation - 1) / rotation * rotation;
    enum mt_status status =
        check(t, drv->StreamBeginCapture(t->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), "cuStreamBeginCapture");
    if (status)
        return status;
    *t->turn = 0;
    for (int i = 0; i < launches && !status; i++)
        status = launch_next(t);
    CUresult ended = drv->StreamEndCapture(t->stream, &t->graph);
    if (status || (status = check(t, ended, "cuStreamEndCapture")) ||
        (status = check(t, drv->GraphInstantiate(&t->executable, t->graph, 0), "cuGraphInstantiate")))
        return status;
    t->launches_per_sample = launches;
    return warm_up(t);
}

static void adopt_probe(const struct timer *t, struct timing *out) {
    out->samples_ns = xmalloc(sizeof t->probe_ns);
    memcpy(out->samples_ns, t->probe_ns, sizeof t->probe_ns);
    out->count = PROBES;
    out->estimate = stats_estimate(t->probe_ns, PROBES);
    out->probed_only = true;
}

/* The funnel. What there is to beat was timed as a graph if it is short, and then a single launch, with its overhead,
 * condemns nobody: unless it is so long that the overhead is not what makes it so. */
static enum mt_status drop_hopeless(struct timer *t, struct timing *out) {
    const double beat = t->job->beat_ns, limit = hopeless * beat, single = stats_median(t->probe_ns, PROBES);
    if (beat <= 0 || single <= limit)
        return MT_OK;
    if (beat < timer_graph_below_ns && single <= limit + timer_graph_below_ns) {
        enum mt_status status = timer_capture(t);
        if (status || (status = take_good(t, PROBES, t->probe_ns)))
            return status;
    }
    if (stats_median(t->probe_ns, PROBES) > limit)
        adopt_probe(t, out);
    return MT_OK;
}

/* Short kernels are timed as a graph. */
static enum mt_status choose_form(struct timer *t) {
    return t->is_short && !t->executable ? timer_capture(t) : MT_OK;
}

static bool sure(const struct timer_limits *limits, const struct timing *timing, double spent) {
    return (timing->count >= limits->min_samples && estimate_half_width(&timing->estimate) < limits->half_width) ||
           spent > limits->max_seconds || timing->count >= MAX_SAMPLES;
}

static enum mt_status sample_until_sure(struct timer *t, struct timing *out) {
    const struct timer_limits *limits = t->job->limits;
    const double started = seconds_now();
    size_t capacity = 0;
    for (;;) {
        const int batch = batch_of(t, BATCH);
        array_grow(&out->samples_ns, &capacity, (size_t)(out->count + batch - 1), sizeof *out->samples_ns);
        enum mt_status status = take_samples(t, batch, out->samples_ns + out->count);
        if (status)
            return status;
        if (keep(t, batch, false)) {
            out->count += batch;
            out->estimate = stats_estimate(out->samples_ns, out->count);
        }
        if (out->count > 0 && sure(limits, out, seconds_now() - started))
            return MT_OK;
    }
}

enum mt_status timer_measure(struct device *dev, const struct timer_job *job, struct timing *out) {
    struct timer t;
    *out = (struct timing){0};
    enum mt_status status = start(&t, dev, job);
    if (!status && !(status = drop_hopeless(&t, out)) && !out->probed_only && !(status = choose_form(&t)))
        status = sample_until_sure(&t, out);
    out->launches_per_sample = t.launches_per_sample;
    out->rejected = t.rejected;
    release_timer(&t);
    if (status)
        timing_release(out);
    return status;
}

enum mt_status timer_open(struct device *dev, const struct timer_job *job, struct timer **out) {
    struct timer *t = xmalloc(sizeof *t);
    enum mt_status status = start(t, dev, job);
    if (status) {
        timer_close(t);
        t = NULL;
    }
    *out = t;
    return status;
}

enum mt_status timer_sample(struct timer *t, double *ns) {
    return take_good(t, 1, ns);
}

const struct rejected *timer_rejected(const struct timer *t) {
    return &t->rejected;
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
