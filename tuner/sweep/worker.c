#include "worker.h"
#include "runtime/base/array.h"
#include "runtime/base/log.h"
#include "tuner/progress.h"
#include "worker_link.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Seconds: for the device to open; for a candidate in hand to end after ^C; for a killed process to be gone, and the
 * same after ^C; for a process to close its device. */
static const double start_patience = 180, interrupt_grace = 5, reap_patience = 30, reap_grace = 2, close_patience = 5;
/* Seconds without a sign of life after which a candidate counts as hung. A software device works slowly. */
static const double patience_real = 30, patience_software = 120;

enum kind {
    MESSAGE_HELLO,  /* worker: struct hello */
    MESSAGE_IMAGE,  /* command: struct binary_image, then the image's bytes; before the first job that needs it */
    MESSAGE_JOB,    /* command: struct job */
    MESSAGE_ROUNDS, /* command: int, the rounds; then a struct job for each that takes part */
    MESSAGE_PROOF,  /* command: struct proof_job */
    MESSAGE_PROBE,  /* command: int, the step of the probe */
    MESSAGE_STEP,   /* worker: a sign of life; what it is about to do, as text */
    MESSAGE_LONG,   /* worker: likewise, of what needs no device and takes as long as it takes */
    MESSAGE_RESULT, /* worker: struct result; then struct measured and the samples, of rounds [rounds][count] times and
                       [count] rejected, of a proof and a probe struct checked */
};

struct hello {
    enum mt_status status;
    char message[512]; /* when the device did not open */
    struct device dev;
    char cublas_version[32];
    bool cublaslt;
    struct missing missing;
};

struct binary_image {
    int binary;
    struct image image;
};

struct job {
    struct work_item item;
    struct config config; /* its family lies at the same address in both processes */
    enum library library;
    bool baseline;
    int binary;
    double beat_ns;
};

struct result {
    enum mt_status status;
    char message[512]; /* when the status is not MT_OK: nothing follows */
};

/* What became of a proof, or of a step of the probe. */
struct checked {
    struct check check;
    struct limits found; /* of a step that went well */
};

struct worker {
    struct worker_options options;
    struct device dev;
    char cublas_version[32];
    bool cublaslt;
    struct missing missing;
    pid_t pid; /* 0: none runs */
    struct worker_link link;
    bool *sent; /* by binary: this worker has the image */
    size_t sent_capacity;
    char step[64]; /* what the worker is doing */
};

/* ---- in the worker process ---- */

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

/* Ends with the socket, and after a fault: a context that is lost may take the process's others with it. */
static void serve(struct worker_link *link, const struct worker_options *options) {
    struct server s = {.link = link};
    struct worker_message message;
    enum mt_status status = device_open(&s.dev, options->device);
    if (!status && options->limits) {
        s.measurer = measurer_open(&s.dev, options->limits);
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
static void worker_main(int fd, pid_t command, const struct worker_options *options) {
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

/* ---- in the command: the process ---- */

/* Waits until the process is gone; false when it still is there after so many seconds. */
static bool reap(const struct worker *w, double patience, int *exit_status) {
    const double started = seconds_now();
    while (waitpid(w->pid, exit_status, WNOHANG) == 0) {
        if (seconds_now() - started > (interrupted() ? reap_grace : patience))
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 2 * 1000 * 1000}, NULL);
    }
    return true;
}

static void forget_process(struct worker *w) {
    w->pid = 0;
    link_release(&w->link);
    free(w->sent);
    w->sent = NULL;
    w->sent_capacity = 0;
}

/* Makes sure that the process is gone. Its exit status as of waitpid(), -1 if it does not go. */
static int end_process(struct worker *w) {
    int exit_status = -1;
    if (w->pid == 0)
        return -1;
    kill(w->pid, SIGKILL);
    if (!reap(w, reap_patience, &exit_status)) {
        log_warn("worker process %d does not end; the device driver may be stuck", (int)w->pid);
        exit_status = -1;
    }
    forget_process(w);
    return exit_status;
}

/* Lets the process close its device: a profiler or a sanitizer that watches it has its last word then. */
static void dismiss_process(struct worker *w) {
    int exit_status;
    if (w->pid == 0 || interrupted())
        return;
    shutdown(w->link.fd, SHUT_RDWR);
    if (reap(w, close_patience, &exit_status))
        forget_process(w);
}

enum wait_result { WAIT_MESSAGE, WAIT_HUNG, WAIT_DIED, WAIT_INTERRUPTED };

/* Waits for the worker's next word that is more than a sign of life. */
static enum wait_result wait_for_word(struct worker *w, double patience, struct worker_message *out) {
    double until = seconds_now() + patience, leave = 0;
    for (;;) {
        double now = seconds_now();
        if (interrupted() && leave == 0)
            leave = now + interrupt_grace;
        if (leave > 0 && now > leave)
            return WAIT_INTERRUPTED;
        if (now > until)
            return WAIT_HUNG;
        enum link_result result = link_receive(&w->link, until < now + 0.2 ? until : now + 0.2, out);
        if (result == LINK_CLOSED)
            return WAIT_DIED;
        if (result == LINK_LATE)
            continue;
        if (out->kind != MESSAGE_STEP && out->kind != MESSAGE_LONG)
            return WAIT_MESSAGE;
        text_fit(w->step, sizeof w->step, "%.*s", (int)out->size, out->data);
        until = out->kind == MESSAGE_LONG ? LINK_FOR_EVER : seconds_now() + patience;
    }
}

static enum mt_status fork_worker(struct worker *w) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return fail(MT_FAILURE, "no socket for a worker process: %m");
    fflush(NULL); /* what is buffered would be written twice */
    pid_t command = getpid(), pid = fork();
    if (pid == 0) {
        close(ends[0]);
        worker_main(ends[1], command, &w->options);
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return fail(MT_FAILURE, "no worker process can be started: %m");
    }
    w->pid = pid;
    link_init(&w->link, ends[0]);
    return MT_OK;
}

static enum mt_status adopt_hello(struct worker *w, const struct worker_message *message) {
    struct hello hello;
    memcpy(&hello, message->data, sizeof hello);
    if (hello.status)
        return fail(hello.status, "%s", hello.message);
    w->dev = hello.dev;
    w->options.device = w->dev.spec; /* the next one opens the same */
    w->cublaslt = hello.cublaslt;
    w->missing = hello.missing;
    memcpy(w->cublas_version, hello.cublas_version, sizeof w->cublas_version);
    if (w->options.patience <= 0)
        w->options.patience = w->dev.software ? patience_software : patience_real;
    return MT_OK;
}

static enum mt_status start_worker(struct worker *w) {
    struct worker_message message;
    enum mt_status status = fork_worker(w);
    if (status)
        return status;
    switch (wait_for_word(w, start_patience, &message)) {
    case WAIT_MESSAGE:
        status = adopt_hello(w, &message);
        break;
    case WAIT_HUNG:
        status = fail(MT_NO_DEVICE, "the device does not open within %.0f s", start_patience);
        break;
    case WAIT_DIED:
        status = fail(MT_NO_DEVICE, "the worker process died while it opened the device");
        break;
    case WAIT_INTERRUPTED:
        status = fail(MT_INTERRUPTED, "interrupted while the device was opened");
    }
    if (status)
        end_process(w);
    return status;
}

enum mt_status worker_open(const struct worker_options *options, struct worker **out) {
    struct worker *w = xcalloc(1, sizeof *w);
    w->options = *options;
    enum mt_status status = start_worker(w);
    if (status) {
        worker_close(w);
        w = NULL;
    }
    *out = w;
    return status;
}

void worker_close(struct worker *w) {
    if (!w)
        return;
    dismiss_process(w);
    end_process(w);
    free(w);
}

const struct device *worker_device(const struct worker *w) {
    return &w->dev;
}

const char *worker_cublas_version(const struct worker *w) {
    return w->cublas_version;
}

bool worker_has_cublaslt(const struct worker *w) {
    return w->cublaslt;
}

struct plan_target worker_target(const struct worker *w, bool quick) {
    return (struct plan_target){worker_device(w), *worker_cublas_version(w), worker_has_cublaslt(w), quick};
}

const struct missing *worker_missing(const struct worker *w) {
    return &w->missing;
}

/* ---- in the command: a candidate ---- */

static bool mark_sent(struct worker *w, int binary) {
    array_grow(&w->sent, &w->sent_capacity, (size_t)binary, sizeof *w->sent);
    bool before = w->sent[binary];
    w->sent[binary] = true;
    return before;
}

static enum link_result send_image(struct worker *w, const struct binaries *binaries, int binary) {
    if (binary < 0 || mark_sent(w, binary))
        return LINK_OK;
    const struct binary_image head = {binary, binaries->item[binary].image};
    struct str bytes = {0};
    str_append_bytes(&bytes, &head, sizeof head);
    str_append_bytes(&bytes, head.image.data, head.image.size);
    enum link_result result =
        link_send(&w->link, MESSAGE_IMAGE, bytes.data, bytes.length, seconds_now() + w->options.patience);
    str_release(&bytes);
    return result;
}

static struct job job_of(const struct candidate *candidate) {
    return (struct job){.item = *candidate->item,
                        .config = candidate->config,
                        .baseline = candidate->baseline,
                        .library = candidate->library,
                        .binary = candidate->binary,
                        .beat_ns = candidate->beat_ns};
}

/* What is asked of a worker. */
struct question {
    enum kind kind;
    const void *bytes;
    size_t size;
    const struct binaries *binaries; /* that it needs, by number */
    const int *binary;
    int binary_count;
};

/* Sends a message that asks for a result, behind the images that it needs, and waits for the answer. */
static enum wait_result ask(struct worker *w, const struct question *q, struct worker_message *answer) {
    enum link_result sent = LINK_OK;
    snprintf(w->step, sizeof w->step, "before it began");
    for (int i = 0; i < q->binary_count && sent == LINK_OK; i++)
        sent = send_image(w, q->binaries, q->binary[i]);
    if (sent == LINK_OK)
        sent = link_send(&w->link, q->kind, q->bytes, q->size, seconds_now() + w->options.patience);
    if (sent != LINK_OK)
        return sent == LINK_LATE ? WAIT_HUNG : WAIT_DIED;
    return wait_for_word(w, w->options.patience, answer);
}

/* The status of a result, whose content is at *body. */
static enum mt_status open_result(const struct worker_message *message, const char **body) {
    struct result result;
    memcpy(&result, message->data, sizeof result);
    *body = message->data + sizeof result;
    return result.status ? fail(result.status, "%s", result.message) : MT_OK;
}

/* Ends a worker that gave no result: what that is an outcome of, and a sentence. */
static enum store_outcome give_up(struct worker *w, enum wait_result why, char message[320]) {
    int exit_status = end_process(w);
    if (why == WAIT_HUNG) {
        text_fit(message, 320, "no sign of life for %g s %s", w->options.patience, w->step);
        return OUTCOME_TIMEOUT;
    }
    if (exit_status >= 0 && WIFSIGNALED(exit_status))
        text_fit(message, 320, "its process was ended by signal %d (%s) %s", WTERMSIG(exit_status),
                 strsignal(WTERMSIG(exit_status)), w->step);
    else
        text_fit(message, 320, "its process ended by itself %s", w->step);
    return OUTCOME_CRASH;
}

static enum mt_status interrupt(struct worker *w) {
    end_process(w);
    return fail(MT_INTERRUPTED, "interrupted %s", w->step);
}

static enum mt_status need_worker(struct worker *w) {
    return w->pid == 0 ? start_worker(w) : MT_OK;
}

enum mt_status worker_measure(struct worker *w, const struct candidate *candidate, const struct binaries *binaries,
                              struct measured *out) {
    struct worker_message message;
    const char *body;
    *out = (struct measured){.outcome = OUTCOME_OK};
    if (candidate->binary >= 0 && !measured_binary(out, &binaries->item[candidate->binary]))
        return MT_OK;
    enum mt_status status = need_worker(w);
    if (status)
        return status;
    const struct job job = job_of(candidate);
    enum wait_result result =
        ask(w, &(struct question){MESSAGE_JOB, &job, sizeof job, binaries, &candidate->binary, 1}, &message);
    if (result == WAIT_INTERRUPTED)
        return interrupt(w);
    if (result != WAIT_MESSAGE) {
        out->outcome = give_up(w, result, out->message);
        return MT_OK;
    }
    if ((status = open_result(&message, &body)))
        return status;
    memcpy(out, body, sizeof *out);
    measured_unpack(out, body + sizeof *out);
    if (out->context_lost)
        end_process(w);
    return MT_OK;
}

enum mt_status worker_rounds(struct worker *w, const struct candidate *candidates, int count, int rounds,
                             const struct binaries *binaries, double *ns, struct rejected *rejected) {
    struct worker_message message;
    struct str bytes = {0};
    char lost[320];
    const char *body;
    enum mt_status status = need_worker(w);
    if (status)
        return status;
    int *binary = xcalloc((size_t)count, sizeof *binary);
    str_append_bytes(&bytes, &rounds, sizeof rounds);
    for (int i = 0; i < count; i++) {
        const struct job job = job_of(&candidates[i]);
        str_append_bytes(&bytes, &job, sizeof job);
        binary[i] = candidates[i].binary;
    }
    enum wait_result result =
        ask(w, &(struct question){MESSAGE_ROUNDS, bytes.data, bytes.length, binaries, binary, count}, &message);
    str_release(&bytes);
    free(binary);
    if (result == WAIT_INTERRUPTED)
        return interrupt(w);
    if (result != WAIT_MESSAGE) {
        give_up(w, result, lost);
        return fail(MT_FAILURE, "%s", lost);
    }
    if ((status = open_result(&message, &body))) {
        end_process(w); /* it has ended by itself */
        return status;
    }
    const size_t times = (size_t)count * (size_t)rounds * sizeof *ns;
    memcpy(ns, body, times);
    memcpy(rejected, body + times, (size_t)count * sizeof *rejected);
    return MT_OK;
}

/* Asks for what is answered with a struct checked. */
static enum mt_status ask_checked(struct worker *w, const struct question *question, struct checked *out) {
    struct worker_message message;
    const char *body;
    *out = (struct checked){.check.outcome = OUTCOME_OK};
    enum mt_status status = need_worker(w);
    if (status)
        return status;
    enum wait_result result = ask(w, question, &message);
    if (result == WAIT_INTERRUPTED)
        return interrupt(w);
    if (result != WAIT_MESSAGE) {
        out->check.outcome = give_up(w, result, out->check.message);
        out->check.context_lost = true;
        return MT_OK;
    }
    if (!(status = open_result(&message, &body)))
        memcpy(out, body, sizeof *out);
    if (status || out->check.context_lost)
        end_process(w); /* it has ended by itself */
    return status;
}

enum mt_status worker_prove(struct worker *w, const struct proof_job *job, const struct binaries *binaries,
                            struct check *out) {
    struct checked checked;
    const struct question question = {MESSAGE_PROOF, job, sizeof *job, binaries, &job->binary, 1};
    enum mt_status status = ask_checked(w, &question, &checked);
    *out = checked.check;
    return status;
}

enum mt_status worker_probe(struct worker *w, int step, struct check *check, struct limits *found) {
    struct checked checked;
    const struct question question = {.kind = MESSAGE_PROBE, .bytes = &step, .size = sizeof step};
    enum mt_status status = ask_checked(w, &question, &checked);
    *check = checked.check;
    *found = checked.found;
    return status;
}
