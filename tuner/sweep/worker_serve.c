/* In the worker process: it answers one question after another. */
#include "runtime/base/file.h"
#include "runtime/base/str.h"
#include "worker_talk.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static void send_step(void *context, const char *step) {
    link_send(context, MESSAGE_STEP, step, strlen(step) + 1, LINK_FOR_EVER);
}

static bool send_hello(struct worker_link *link, enum mt_status status, const struct device *dev,
                       const struct measurer *measurer) {
    struct hello hello = {.status = status, .dev = *dev};
    hello.dev.drv = (struct driver){0};
    hello.dev.context = NULL;
    text_fit(hello.message, sizeof hello.message, "%s", status ? fail_message() : "");
    if (measurer) {
        snprintf(hello.cublas_version, sizeof hello.cublas_version, "%s", cublas_version(measurer_cublas(measurer)));
        hello.cublaslt = measurer_has_cublaslt(measurer);
        hello.missing = *measurer_missing(measurer);
    }
    return link_send(link, MESSAGE_HELLO, &hello, sizeof hello, LINK_FOR_EVER) == LINK_OK;
}

static void send_prover_step(void *context, const char *step, bool on_host) {
    link_send(context, on_host ? MESSAGE_LONG : MESSAGE_STEP, step, strlen(step) + 1, LINK_FOR_EVER);
}

/* `bytes` follow the head, when the status is good. */
static bool send_result(struct worker_link *link, enum mt_status status, const void *bytes, size_t count) {
    struct result head = {.status = status};
    struct str message = {0};
    if (status)
        text_fit(head.message, sizeof head.message, "%s", fail_message());
    str_append_bytes(&message, &head, sizeof head);
    if (!status && count)
        str_append_bytes(&message, bytes, count);
    bool sent = link_send(link, MESSAGE_RESULT, message.data, message.length, LINK_FOR_EVER) == LINK_OK;
    str_release(&message);
    return sent;
}

static void take_image(struct binaries *binaries, const struct worker_message *message) {
    struct binary_image head;
    memcpy(&head, message->data, sizeof head);
    head.image.data = xmalloc(head.image.size);
    memcpy(head.image.data, message->data + sizeof head, head.image.size);
    binaries_adopt(binaries, head.binary, head.image);
}

static struct candidate job_candidate(const struct job *job) {
    return (struct candidate){.item = &job->item,
                              .baseline = job->baseline,
                              .library = job->library,
                              .config = job->config,
                              .binary = job->binary,
                              .beat_ns = job->beat_ns};
}

/* What a worker process holds. */
struct server {
    struct worker_link *link;
    struct device dev;
    struct measurer *measurer; /* NULL: it times no candidates */
    struct prover *prover;
    struct prober *prober; /* NULL: not asked for yet */
};

/* Here and below: true when the worker can take another. */
static bool do_job(struct server *s, const struct worker_message *message) {
    struct job job;
    struct measured measured;
    struct str bytes = {0};
    memcpy(&job, message->data, sizeof job);
    const struct candidate candidate = job_candidate(&job);
    enum mt_status status = measure(s->measurer, &candidate, &measured);
    if (!status) {
        str_append_bytes(&bytes, &measured, sizeof measured);
        measured_pack(&measured, &bytes);
    }
    bool sent = send_result(s->link, status, bytes.data, bytes.length), more = sent;
    if (!status) {
        more = sent && !measured.context_lost;
        measured_release(&measured);
    }
    str_release(&bytes);
    return more;
}

static bool do_rounds(struct server *s, const struct worker_message *message) {
    int rounds, count = (int)((message->size - sizeof rounds) / sizeof(struct job));
    struct str times = {0};
    memcpy(&rounds, message->data, sizeof rounds);
    struct job *jobs = xcalloc((size_t)count, sizeof *jobs);
    struct candidate *candidates = xcalloc((size_t)count, sizeof *candidates);
    double *ns = xcalloc((size_t)count * (size_t)rounds, sizeof *ns);
    struct rejected *rejected = xcalloc((size_t)count, sizeof *rejected);
    memcpy(jobs, message->data + sizeof rounds, (size_t)count * sizeof *jobs);
    for (int i = 0; i < count; i++)
        candidates[i] = job_candidate(&jobs[i]);
    enum mt_status status = measure_rounds(s->measurer, candidates, count, rounds, ns, rejected);
    str_append_bytes(&times, ns, (size_t)count * (size_t)rounds * sizeof *ns);
    str_append_bytes(&times, rejected, (size_t)count * sizeof *rejected);
    bool sent = send_result(s->link, status, times.data, times.length);
    str_release(&times);
    free(rejected);
    free(ns);
    free(candidates);
    free(jobs);
    return sent && !status;
}

static bool send_checked(struct server *s, enum mt_status status, const struct checked *checked) {
    return send_result(s->link, status, checked, sizeof *checked) && !status && !checked->check.context_lost;
}

static bool do_proof(struct server *s, const struct worker_message *message) {
    struct proof_job job;
    struct checked checked = {0};
    memcpy(&job, message->data, sizeof job);
    enum mt_status status = prover_prove(s->prover, &job, &checked.check);
    return send_checked(s, status, &checked);
}

static bool do_probe(struct server *s, const struct worker_message *message) {
    int step;
    struct checked checked = {.check.outcome = OUTCOME_OK};
    memcpy(&step, message->data, sizeof step);
    send_step(s->link, "while it was measured");
    enum mt_status status = s->prober ? MT_OK : prober_open(&s->dev, &s->prober);
    if (!status) {
        enum mt_status measured = prober_measure(s->prober, step, &checked.found);
        if (measured)
            check_failure(&s->dev, &checked.check);
        if (measured == MT_WRONG)
            checked.check.outcome = OUTCOME_WRONG;
    }
    return send_checked(s, status, &checked);
}

static bool do_message(struct server *s, const struct worker_message *message) {
    device_note_error(CUDA_SUCCESS);
    switch (message->kind) {
    case MESSAGE_IMAGE:
        take_image(s->measurer ? measurer_binaries(s->measurer) : prover_binaries(s->prover), message);
        return true;
    case MESSAGE_JOB:
        return do_job(s, message);
    case MESSAGE_ROUNDS:
        return do_rounds(s, message);
    case MESSAGE_PROOF:
        return do_proof(s, message);
    case MESSAGE_PROBE:
        return do_probe(s, message);
    default:
        return false;
    }
}

/* Files that the driver and the CUDA libraries may have open at once. A library that is there and does not load for want
 * of them looks like one that is not there. */
enum { DESCRIPTORS = 24 };

/* Ends with the socket, and after a fault: a context that is lost may take the process's others with it. */
static void serve(struct worker_link *link, const struct worker_options *options) {
    struct server s = {.link = link};
    struct worker_message message;
    enum mt_status status = descriptors_check(DESCRIPTORS);
    if (!status)
        status = device_open(&s.dev, options->device);
    if (!status && options->limits) {
        if (!(status = measurer_open(&s.dev, options->limits, &s.measurer)))
            measurer_on_step(s.measurer, send_step, link);
    } else if (!status) {
        s.prover = prover_open(&s.dev, send_prover_step, link);
    }
    if (!send_hello(link, status, &s.dev, s.measurer) || status)
        return;
    while (link_receive(link, LINK_FOR_EVER, &message) == LINK_OK)
        if (!do_message(&s, &message))
            return;
    measurer_close(s.measurer);
    prover_close(s.prover);
    prober_close(s.prober);
    device_close(&s.dev);
}

/* ^C reaches every process of the terminal, and `timeout` signals its group: what becomes of the worker is the
 * command's to say. */
void worker_main(int fd, pid_t command, const struct worker_options *options) {
    struct worker_link link;
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != command) /* it died before the line above */
        _exit(MT_FAILURE);
    link_init(&link, fd);
    serve(&link, options);
    _exit(MT_OK);
}
