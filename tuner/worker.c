#include "worker.h"
#include "../runtime/base/log.h"
#include "progress.h"
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

/* Seconds: for the device to open; for a candidate in hand to end after ^C; for a killed process to be gone. */
static const double start_patience = 180, interrupt_grace = 5, reap_patience = 30;
/* Seconds without a sign of life after which a candidate counts as hung. A software device works slowly. */
static const double patience_real = 30, patience_software = 120;

enum kind {
    MESSAGE_HELLO,  /* worker: struct hello */
    MESSAGE_IMAGE,  /* command: struct binary_image, then the image's bytes; before the first job that needs it */
    MESSAGE_JOB,    /* command: struct job */
    MESSAGE_ROUNDS, /* command: int, the rounds; then a struct job for each that takes part */
    MESSAGE_STEP,   /* worker: a sign of life; what it is about to do, as text */
    MESSAGE_RESULT, /* worker: struct result, then the samples; of rounds [rounds][count] times, [count] rejected */
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
    char message[512]; /* when the status is not MT_OK */
    struct measured measured;
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
    int sent_count;
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
    snprintf(hello.message, sizeof hello.message, "%s", status ? fail_message() : "");
    if (measurer) {
        snprintf(hello.cublas_version, sizeof hello.cublas_version, "%s", cublas_version(measurer_cublas(measurer)));
        hello.cublaslt = measurer_has_cublaslt(measurer);
        hello.missing = *measurer_missing(measurer);
    }
    return link_send(link, MESSAGE_HELLO, &hello, sizeof hello, LINK_FOR_EVER) == LINK_OK;
}

/* `bytes` follow the head. */
static bool send_result(struct worker_link *link, struct result *head, const struct str *bytes) {
    struct str message = {0};
    if (head->status)
        snprintf(head->message, sizeof head->message, "%s", fail_message());
    str_append_bytes(&message, head, sizeof *head);
    if (!head->status && bytes->length)
        str_append_bytes(&message, bytes->data, bytes->length);
    bool sent = link_send(link, MESSAGE_RESULT, message.data, message.length, LINK_FOR_EVER) == LINK_OK;
    str_release(&message);
    return sent;
}

static void take_image(struct measurer *measurer, const struct worker_message *message) {
    struct binary_image head;
    memcpy(&head, message->data, sizeof head);
    head.image.data = xmalloc(head.image.size);
    memcpy(head.image.data, message->data + sizeof head, head.image.size);
    binaries_adopt(measurer_binaries(measurer), head.binary, head.image);
}

static struct candidate job_candidate(const struct job *job) {
    return (struct candidate){.item = &job->item,
                              .baseline = job->baseline,
                              .library = job->library,
                              .config = job->config,
                              .binary = job->binary,
                              .beat_ns = job->beat_ns};
}

/* True when the worker can take another. */
static bool do_job(struct worker_link *link, struct measurer *measurer, const struct worker_message *message) {
    struct job job;
    struct result result = {0};
    struct str samples = {0};
    memcpy(&job, message->data, sizeof job);
    const struct candidate candidate = job_candidate(&job);
    result.status = measure(measurer, &candidate, &result.measured);
    if (!result.status)
        measured_pack(&result.measured, &samples);
    bool sent = send_result(link, &result, &samples);
    if (!result.status)
        measured_release(&result.measured);
    str_release(&samples);
    return sent && !result.measured.context_lost;
}

static bool do_rounds(struct worker_link *link, struct measurer *measurer, const struct worker_message *message) {
    int rounds, count = (int)((message->size - sizeof rounds) / sizeof(struct job));
    struct result result = {0};
    struct str times = {0};
    memcpy(&rounds, message->data, sizeof rounds);
    struct job *jobs = xcalloc((size_t)count, sizeof *jobs);
    struct candidate *candidates = xcalloc((size_t)count, sizeof *candidates);
    double *ns = xcalloc((size_t)count * (size_t)rounds, sizeof *ns);
    struct rejected *rejected = xcalloc((size_t)count, sizeof *rejected);
    memcpy(jobs, message->data + sizeof rounds, (size_t)count * sizeof *jobs);
    for (int i = 0; i < count; i++)
        candidates[i] = job_candidate(&jobs[i]);
    result.status = measure_rounds(measurer, candidates, count, rounds, ns, rejected);
    str_append_bytes(&times, ns, (size_t)count * (size_t)rounds * sizeof *ns);
    str_append_bytes(&times, rejected, (size_t)count * sizeof *rejected);
    bool sent = send_result(link, &result, &times);
    str_release(&times);
    free(rejected);
    free(ns);
    free(candidates);
    free(jobs);
    return sent && !result.status;
}

static bool do_message(struct worker_link *link, struct measurer *measurer, const struct worker_message *message) {
    switch (message->kind) {
    case MESSAGE_IMAGE:
        take_image(measurer, message);
        return true;
    case MESSAGE_JOB:
        return do_job(link, measurer, message);
    case MESSAGE_ROUNDS:
        return do_rounds(link, measurer, message);
    default:
        return false;
    }
}

/* Ends with the socket, and after a fault: a context that is lost may take the process's others with it. */
static void serve(struct worker_link *link, const struct worker_options *options) {
    struct device dev;
    struct worker_message message;
    enum mt_status status = device_open(&dev, options->device);
    struct measurer *measurer = status ? NULL : measurer_open(&dev, options->limits);
    if (measurer)
        measurer_on_step(measurer, send_step, link);
    if (!send_hello(link, status, &dev, measurer) || status)
        return;
    while (link_receive(link, LINK_FOR_EVER, &message) == LINK_OK)
        if (!do_message(link, measurer, &message))
            return;
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

/* Makes sure that the process is gone. Its exit status as of waitpid(), -1 if it does not go. */
static int end_process(struct worker *w) {
    int exit_status = -1;
    double started = seconds_now();
    if (w->pid == 0)
        return -1;
    kill(w->pid, SIGKILL);
    while (waitpid(w->pid, &exit_status, WNOHANG) == 0) {
        if (seconds_now() - started > reap_patience) {
            log_warn("worker process %d does not end; the device driver may be stuck", (int)w->pid);
            exit_status = -1;
            break;
        }
        nanosleep(&(struct timespec){.tv_nsec = 2 * 1000 * 1000}, NULL);
    }
    w->pid = 0;
    link_release(&w->link);
    free(w->sent);
    w->sent = NULL;
    w->sent_count = 0;
    return exit_status;
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
        if (out->kind != MESSAGE_STEP)
            return WAIT_MESSAGE;
        snprintf(w->step, sizeof w->step, "%.*s", (int)out->size, out->data);
        until = now + patience;
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

const struct missing *worker_missing(const struct worker *w) {
    return &w->missing;
}

/* ---- in the command: a candidate ---- */

static bool mark_sent(struct worker *w, int binary) {
    if (binary >= w->sent_count) {
        w->sent = xrealloc(w->sent, (size_t)(binary + 1) * sizeof *w->sent);
        memset(w->sent + w->sent_count, 0, (size_t)(binary + 1 - w->sent_count) * sizeof *w->sent);
        w->sent_count = binary + 1;
    }
    bool before = w->sent[binary];
    w->sent[binary] = true;
    return before;
}

static enum link_result send_image(struct worker *w, const struct candidate *candidate,
                                   const struct binaries *binaries) {
    if (candidate->binary < 0 || mark_sent(w, candidate->binary))
        return LINK_OK;
    const struct binary_image head = {candidate->binary, binaries->item[candidate->binary].image};
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

/* Sends a message that asks for a result, behind the images that it needs, and waits for the answer. */
static enum wait_result ask(struct worker *w, const struct candidate *candidates, int count,
                            const struct binaries *binaries, enum kind kind, const struct str *bytes,
                            struct worker_message *answer) {
    enum link_result sent = LINK_OK;
    snprintf(w->step, sizeof w->step, "before it began");
    for (int i = 0; i < count && sent == LINK_OK; i++)
        sent = send_image(w, &candidates[i], binaries);
    if (sent == LINK_OK)
        sent = link_send(&w->link, kind, bytes->data, bytes->length, seconds_now() + w->options.patience);
    if (sent != LINK_OK)
        return sent == LINK_LATE ? WAIT_HUNG : WAIT_DIED;
    return wait_for_word(w, w->options.patience, answer);
}

static enum mt_status adopt_result(struct worker *w, const struct worker_message *message, struct measured *out) {
    struct result result;
    memcpy(&result, message->data, sizeof result);
    if (result.status)
        return fail(result.status, "%s", result.message);
    *out = result.measured;
    measured_unpack(out, message->data + sizeof result);
    if (out->context_lost)
        end_process(w);
    return MT_OK;
}

/* Ends a worker that gave no result. */
static void give_up(struct worker *w, enum wait_result why, struct measured *out) {
    int exit_status = end_process(w);
    if (why == WAIT_HUNG) {
        out->outcome = OUTCOME_TIMEOUT;
        snprintf(out->message, sizeof out->message, "no sign of life for %.3g s %s", w->options.patience, w->step);
        return;
    }
    out->outcome = OUTCOME_CRASH;
    if (exit_status >= 0 && WIFSIGNALED(exit_status))
        snprintf(out->message, sizeof out->message, "its process was ended by signal %d (%s) %s", WTERMSIG(exit_status),
                 strsignal(WTERMSIG(exit_status)), w->step);
    else
        snprintf(out->message, sizeof out->message, "its process ended by itself %s", w->step);
}

static enum mt_status interrupt(struct worker *w) {
    end_process(w);
    return fail(MT_INTERRUPTED, "interrupted %s", w->step);
}

enum mt_status worker_measure(struct worker *w, const struct candidate *candidate, const struct binaries *binaries,
                              struct measured *out) {
    struct worker_message message;
    struct str bytes = {0};
    *out = (struct measured){.outcome = OUTCOME_OK};
    if (candidate->binary >= 0 && !measured_binary(out, &binaries->item[candidate->binary]))
        return MT_OK;
    enum mt_status status = w->pid == 0 ? start_worker(w) : MT_OK;
    if (status)
        return status;
    const struct job job = job_of(candidate);
    str_append_bytes(&bytes, &job, sizeof job);
    enum wait_result result = ask(w, candidate, 1, binaries, MESSAGE_JOB, &bytes, &message);
    str_release(&bytes);
    if (result == WAIT_MESSAGE)
        return adopt_result(w, &message, out);
    if (result == WAIT_INTERRUPTED)
        return interrupt(w);
    give_up(w, result, out);
    return MT_OK;
}

enum mt_status worker_rounds(struct worker *w, const struct candidate *candidates, int count, int rounds,
                             const struct binaries *binaries, double *ns, struct rejected *rejected) {
    struct worker_message message;
    struct str bytes = {0};
    struct measured lost;
    enum mt_status status = w->pid == 0 ? start_worker(w) : MT_OK;
    if (status)
        return status;
    str_append_bytes(&bytes, &rounds, sizeof rounds);
    for (int i = 0; i < count; i++) {
        const struct job job = job_of(&candidates[i]);
        str_append_bytes(&bytes, &job, sizeof job);
    }
    enum wait_result result = ask(w, candidates, count, binaries, MESSAGE_ROUNDS, &bytes, &message);
    str_release(&bytes);
    if (result == WAIT_INTERRUPTED)
        return interrupt(w);
    if (result != WAIT_MESSAGE) {
        give_up(w, result, &lost);
        return fail(MT_FAILURE, "%s", lost.message);
    }
    struct result head;
    memcpy(&head, message.data, sizeof head);
    if (!head.status) {
        const size_t times = (size_t)count * (size_t)rounds * sizeof *ns;
        memcpy(ns, message.data + sizeof head, times);
        memcpy(rejected, message.data + sizeof head + times, (size_t)count * sizeof *rejected);
        return MT_OK;
    }
    status = fail(head.status, "%s", head.message);
    end_process(w); /* it has ended by itself */
    return status;
}
