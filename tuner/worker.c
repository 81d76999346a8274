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
    MESSAGE_JOB,    /* command: struct job, then the image's bytes */
    MESSAGE_STEP,   /* worker: a sign of life; what it is about to do, as text */
    MESSAGE_RESULT, /* worker: struct result, then the samples */
};

struct hello {
    enum mt_status status;
    char message[512]; /* when the device did not open */
    struct device dev;
    char cublas_version[32];
};

struct job {
    struct work_item item;
    struct config config; /* its family lies at the same address in both processes */
    bool baseline;
    int binary;
    double beat_ns;
    bool has_image; /* the first time that this worker is sent the binary */
    struct image image;
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
    if (measurer)
        snprintf(hello.cublas_version, sizeof hello.cublas_version, "%s", cublas_version(measurer_cublas(measurer)));
    return link_send(link, MESSAGE_HELLO, &hello, sizeof hello, LINK_FOR_EVER) == LINK_OK;
}

static bool send_result(struct worker_link *link, enum mt_status status, const struct measured *measured) {
    struct result result = {.status = status};
    struct str bytes = {0};
    if (status)
        snprintf(result.message, sizeof result.message, "%s", fail_message());
    else
        result.measured = *measured;
    str_append_bytes(&bytes, &result, sizeof result);
    measured_pack(&result.measured, &bytes);
    bool sent = link_send(link, MESSAGE_RESULT, bytes.data, bytes.length, LINK_FOR_EVER) == LINK_OK;
    str_release(&bytes);
    return sent;
}

/* True when the worker can take another. */
static bool do_job(struct worker_link *link, struct measurer *measurer, const struct worker_message *message) {
    struct job job;
    struct measured measured = {0};
    memcpy(&job, message->data, sizeof job);
    if (job.has_image) {
        job.image.data = xmalloc(job.image.size);
        memcpy(job.image.data, message->data + sizeof job, job.image.size);
        binaries_adopt(measurer_binaries(measurer), job.binary, job.image);
    }
    struct candidate candidate = {.item = &job.item,
                                  .baseline = job.baseline,
                                  .config = job.config,
                                  .binary = job.binary,
                                  .beat_ns = job.beat_ns};
    enum mt_status status = measure(measurer, &candidate, &measured);
    bool sent = send_result(link, status, &measured), lost = measured.context_lost;
    if (!status)
        measured_release(&measured);
    return sent && !lost;
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
        if (!do_job(link, measurer, &message))
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

static enum link_result send_job(struct worker *w, const struct candidate *candidate, const struct binary *binary) {
    struct job job = {.item = *candidate->item,
                      .config = candidate->config,
                      .baseline = candidate->baseline,
                      .binary = candidate->binary,
                      .beat_ns = candidate->beat_ns};
    struct str bytes = {0};
    if (binary) {
        job.image = binary->image;
        job.has_image = !mark_sent(w, candidate->binary);
    }
    str_append_bytes(&bytes, &job, sizeof job);
    if (job.has_image)
        str_append_bytes(&bytes, job.image.data, job.image.size);
    enum link_result result =
        link_send(&w->link, MESSAGE_JOB, bytes.data, bytes.length, seconds_now() + w->options.patience);
    str_release(&bytes);
    return result;
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

static void describe_death(const struct worker *w, int exit_status, struct measured *out) {
    out->outcome = OUTCOME_CRASH;
    if (exit_status >= 0 && WIFSIGNALED(exit_status))
        snprintf(out->message, sizeof out->message, "its process was ended by signal %d (%s) %s", WTERMSIG(exit_status),
                 strsignal(WTERMSIG(exit_status)), w->step);
    else
        snprintf(out->message, sizeof out->message, "its process ended by itself %s", w->step);
}

enum mt_status worker_measure(struct worker *w, const struct candidate *candidate, const struct binaries *binaries,
                              struct measured *out) {
    const struct binary *binary = candidate->binary >= 0 ? &binaries->item[candidate->binary] : NULL;
    struct worker_message message;
    *out = (struct measured){.outcome = OUTCOME_OK};
    if (binary && !measured_binary(out, binary))
        return MT_OK;
    enum mt_status status = w->pid == 0 ? start_worker(w) : MT_OK;
    if (status)
        return status;
    snprintf(w->step, sizeof w->step, "before it began");
    enum link_result sent = send_job(w, candidate, binary);
    enum wait_result result = sent == LINK_OK     ? wait_for_word(w, w->options.patience, &message)
                              : sent == LINK_LATE ? WAIT_HUNG
                                                  : WAIT_DIED;
    switch (result) {
    case WAIT_MESSAGE:
        return adopt_result(w, &message, out);
    case WAIT_HUNG:
        out->outcome = OUTCOME_TIMEOUT;
        snprintf(out->message, sizeof out->message, "no sign of life for %.3g s %s", w->options.patience, w->step);
        end_process(w);
        return MT_OK;
    case WAIT_DIED:
        describe_death(w, end_process(w), out);
        return MT_OK;
    default:
        end_process(w);
        return fail(MT_INTERRUPTED, "interrupted %s", w->step);
    }
}
