#include "worker.h"
#include "runtime/base/array.h"
#include "runtime/base/log.h"
#include "runtime/gpu/nvml.h"
#include "tuner/progress.h"
#include "worker_talk.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Seconds: for the device to open; for a candidate in hand to end after ^C; for a killed process to be gone, and the
 * same after ^C; for a process to close its device. */
static const double start_patience = 180, interrupt_grace = 5, reap_patience = 30, reap_grace = 2, close_patience = 5;
/* Seconds without a sign of life after which a candidate counts as hung. A software device works slowly. */
static const double patience_real = 30, patience_software = 120;

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
    bool stopped;  /* by a signal, as of kill -STOP: it loses no patience */
    bool known;    /* a worker has opened the device before */
};

static const char before_it_began[] = "before it began";

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
    w->stopped = false;
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

/* A worker that somebody has stopped does not hang. */
static bool is_stopped(struct worker *w) {
    siginfo_t info = {0};
    while (waitid(P_PID, (id_t)w->pid, &info, WSTOPPED | WCONTINUED | WNOHANG) == 0 && info.si_pid) {
        w->stopped = info.si_code == CLD_STOPPED;
        info.si_pid = 0;
    }
    return w->stopped;
}

/* Waits for the worker's next word that is more than a sign of life. */
static enum wait_result wait_for_word(struct worker *w, double patience, struct worker_message *out) {
    static const double piece = 0.2;
    double left = patience, leave = 0;
    for (;;) {
        if (interrupted() && leave == 0)
            leave = seconds_now() + interrupt_grace;
        if (leave > 0 && seconds_now() > leave)
            return WAIT_INTERRUPTED;
        if (left <= 0)
            return WAIT_HUNG;
        enum link_result result = link_receive(&w->link, left < piece ? left : piece, out);
        if (result == LINK_CLOSED)
            return WAIT_DIED;
        if (result == LINK_LATE) {
            left -= is_stopped(w) ? 0 : piece;
            continue;
        }
        if (out->kind != MESSAGE_STEP && out->kind != MESSAGE_LONG)
            return WAIT_MESSAGE;
        text_fit(w->step, sizeof w->step, "%.*s", (int)out->size, out->data);
        left = out->kind == MESSAGE_LONG ? LINK_FOR_EVER : patience;
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

/* What an earlier worker could time with and this one could not open is the machine's trouble: no baseline may be lost
 * on the way. */
static enum mt_status check_parts(const struct worker *w, const struct missing *missing) {
    for (int part = 0; part < PARTS && w->known; part++)
        if (*missing->reason[part] && !*w->missing.reason[part])
            return fail(MT_FAILURE, "%s cannot be opened any more: %s", part_name((enum part)part),
                        missing->reason[part]);
    return MT_OK;
}

static enum mt_status adopt_hello(struct worker *w, const struct worker_message *message) {
    struct hello hello;
    memcpy(&hello, message->data, sizeof hello);
    if (hello.status)
        return fail(hello.status, "%s", hello.message);
    enum mt_status status = check_parts(w, &hello.missing);
    if (status)
        return status;
    w->known = true;
    w->dev = hello.dev;
    w->options.device = w->dev.spec; /* the next one opens the same */
    w->cublaslt = hello.cublaslt;
    w->missing = hello.missing;
    memcpy(w->cublas_version, hello.cublas_version, sizeof w->cublas_version);
    if (w->options.patience <= 0)
        w->options.patience = w->dev.software ? patience_software : patience_real;
    return MT_OK;
}

/* *again: the failure may be of a moment. */
static enum mt_status start_once(struct worker *w, bool *again) {
    struct worker_message message;
    enum mt_status status = fork_worker(w);
    *again = true;
    if (status)
        return status;
    switch (wait_for_word(w, start_patience, &message)) {
    case WAIT_MESSAGE:
        status = adopt_hello(w, &message);
        *again = w->known || status == MT_FAILURE;
        break;
    case WAIT_HUNG:
        status = fail(MT_NO_DEVICE, "the device does not open within %.0f s", start_patience);
        *again = false;
        break;
    case WAIT_DIED:
        status = fail(MT_NO_DEVICE, "the worker process died while it opened the device");
        break;
    case WAIT_INTERRUPTED:
        status = fail(MT_INTERRUPTED, "interrupted while the device was opened");
        *again = false;
    }
    if (status)
        end_process(w);
    return status;
}

static enum mt_status start_worker(struct worker *w) {
    enum { STARTS = 4 };
    bool again;
    enum mt_status status = start_once(w, &again);
    for (int start = 1; start < STARTS && status && again && !interrupted(); start++) {
        nanosleep(&(struct timespec){.tv_nsec = (long)start * 100 * 1000 * 1000}, NULL);
        status = start_once(w, &again);
    }
    if (status && status != MT_INTERRUPTED && w->known)
        status = fail_context(MT_FAILURE, "no further worker process starts on %s", w->dev.name);
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
    return (struct plan_target){.dev = worker_device(w),
                                .cublas = *worker_cublas_version(w),
                                .cublaslt = worker_has_cublaslt(w),
                                .quick = quick};
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
    enum link_result result = link_send(&w->link, MESSAGE_IMAGE, bytes.data, bytes.length, w->options.patience);
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
    snprintf(w->step, sizeof w->step, "%s", before_it_began);
    for (int i = 0; i < q->binary_count && sent == LINK_OK; i++)
        sent = send_image(w, q->binaries, q->binary[i]);
    if (sent == LINK_OK)
        sent = link_send(&w->link, q->kind, q->bytes, q->size, w->options.patience);
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

/* Signals that a process brings upon itself. All others somebody sent: a system that is short of memory, a limit of the
 * job, a user. */
static bool is_crash(int signal) {
    return signal == SIGSEGV || signal == SIGBUS || signal == SIGABRT || signal == SIGILL || signal == SIGFPE ||
           signal == SIGTRAP || signal == SIGSYS;
}

/* Ends a worker that gave no result. MT_OK when that is an outcome of what it was asked; MT_FAILURE when it befell the
 * machine. */
static enum mt_status give_up(struct worker *w, enum wait_result why, struct check *out) {
    const bool began = strcmp(w->step, before_it_began) != 0;
    const int ended = end_process(w), signal = ended >= 0 && WIFSIGNALED(ended) ? WTERMSIG(ended) : 0;
    *out = (struct check){.outcome = why == WAIT_HUNG ? OUTCOME_TIMEOUT : OUTCOME_CRASH, .context_lost = true};
    if (why == WAIT_HUNG)
        text_fit(out->message, sizeof out->message, "no sign of life for %g s %s", w->options.patience, w->step);
    else if (is_crash(signal))
        text_fit(out->message, sizeof out->message, "its process was ended by signal %d (%s) %s", signal,
                 strsignal(signal), w->step);
    else if (signal)
        text_fit(out->message, sizeof out->message,
                 "its process was killed by somebody else, with signal %d (%s), %s; a machine or a job that is short "
                 "of memory does so",
                 signal, strsignal(signal), w->step);
    else
        text_fit(out->message, sizeof out->message, "its process ended by itself %s", w->step);
    return began && (why == WAIT_HUNG || is_crash(signal)) ? MT_OK : fail(MT_FAILURE, "%s", out->message);
}

static enum mt_status interrupt(struct worker *w) {
    end_process(w);
    return fail(MT_INTERRUPTED, "interrupted %s", w->step);
}

/* Asks the worker in hand, or a fresh one. The answer is at *body; NULL: there is none, and *outcome says what came of
 * it. MT_FAILURE: the machine failed, not what was asked for. */
static enum mt_status ask_once(struct worker *w, const struct question *q, const char **body, struct check *outcome) {
    struct worker_message message;
    enum mt_status status = w->pid == 0 ? start_worker(w) : MT_OK;
    *body = NULL;
    if (status)
        return status;
    const enum wait_result result = ask(w, q, &message);
    if (result == WAIT_INTERRUPTED)
        return interrupt(w);
    if (result != WAIT_MESSAGE)
        return give_up(w, result, outcome);
    if (!(status = open_result(&message, body)))
        return MT_OK;
    end_process(w);
    return status;
}

static void try_again(void) {
    log_warn("%s; tried again in another process", fail_message());
}

/* ---- in the command: a candidate ---- */

static enum mt_status measure_once(struct worker *w, const struct candidate *candidate, const struct binaries *binaries,
                                   struct measured *out) {
    const struct job job = job_of(candidate);
    const struct question question = {MESSAGE_JOB, &job, sizeof job, binaries, &candidate->binary, 1};
    struct check outcome;
    const char *body;
    enum mt_status status = ask_once(w, &question, &body, &outcome);
    if (status)
        return status;
    *out = (struct measured){.outcome = OUTCOME_OK};
    if (candidate->binary >= 0)
        measured_binary(out, &binaries->item[candidate->binary]);
    if (body) {
        memcpy(out, body, sizeof *out);
        measured_unpack(out, body + sizeof *out);
    } else {
        out->outcome = outcome.outcome;
        text_fit(out->message, sizeof out->message, "%s", outcome.message);
    }
    if (out->context_lost)
        end_process(w);
    return out->machine ? fail(MT_FAILURE, "%s", out->message) : MT_OK;
}

/* The machine failed at a candidate once more. */
static enum mt_status blame_machine(const struct candidate *candidate) {
    return fail_context(MT_FAILURE, "twice at %s m=%d, %s", candidate->item->layer, candidate->item->problem.m,
                        candidate_family(candidate));
}

/* Whether a failure is one of the candidate. Other processes may hold the memory that it lacks. */
static bool is_its_own(const struct worker *w, const struct measured *measured) {
    return measured->outcome != OUTCOME_OUT_OF_MEMORY || w->dev.software || nvml_compute_processes(w->dev.uuid) <= 1;
}

enum mt_status worker_measure(struct worker *w, const struct candidate *candidate, const struct binaries *binaries,
                              struct measured *out) {
    enum { TRIES = 2 };
    char first[320] = "";
    *out = (struct measured){.outcome = OUTCOME_OK};
    if (candidate->binary >= 0 && !measured_binary(out, &binaries->item[candidate->binary]))
        return MT_OK;
    for (int machine = 0, failures = 0;;) {
        enum mt_status status = measure_once(w, candidate, binaries, out);
        if (status == MT_FAILURE && ++machine < TRIES) {
            try_again();
            continue;
        }
        if (status)
            return status == MT_FAILURE ? blame_machine(candidate) : status;
        if (out->outcome == OUTCOME_OK && *first)
            log_warn("%s m=%d, %s: right and timed at its second try; at the first, %s", candidate->item->layer,
                     candidate->item->problem.m, candidate_family(candidate), first);
        if (out->outcome == OUTCOME_OK || out->outcome == OUTCOME_WRONG)
            return MT_OK;
        const bool own = is_its_own(w, out);
        end_process(w); /* the tries are independent */
        out->tries = ++failures;
        if (failures == TRIES && own)
            return MT_OK;
        if (failures == TRIES) {
            fail(MT_FAILURE, "%s; other processes compute on %s", out->message, w->dev.name);
            return blame_machine(candidate);
        }
        if (out->outcome != OUTCOME_OUT_OF_MEMORY) /* a fresh worker has none of what the one before kept */
            text_fit(first, sizeof first, "%s", out->message);
    }
}

enum mt_status worker_rounds(struct worker *w, const struct candidate *candidates, int count, int rounds,
                             const struct binaries *binaries, double *ns, struct rejected *rejected) {
    struct str bytes = {0};
    struct check outcome;
    const char *body;
    int *binary = xcalloc((size_t)count, sizeof *binary);
    str_append_bytes(&bytes, &rounds, sizeof rounds);
    for (int i = 0; i < count; i++) {
        const struct job job = job_of(&candidates[i]);
        str_append_bytes(&bytes, &job, sizeof job);
        binary[i] = candidates[i].binary;
    }
    const struct question question = {MESSAGE_ROUNDS, bytes.data, bytes.length, binaries, binary, count};
    enum mt_status status = ask_once(w, &question, &body, &outcome);
    if (status == MT_FAILURE) {
        try_again();
        status = ask_once(w, &question, &body, &outcome);
    }
    if (!status && !body)
        status = fail(MT_FAILURE, "%s", outcome.message);
    str_release(&bytes);
    free(binary);
    if (status)
        return status;
    const size_t times = (size_t)count * (size_t)rounds * sizeof *ns;
    memcpy(ns, body, times);
    memcpy(rejected, body + times, (size_t)count * sizeof *rejected);
    return MT_OK;
}

/* ---- in the command: what is answered with a struct checked ---- */

static enum mt_status checked_once(struct worker *w, const struct question *question, struct checked *out) {
    const char *body;
    *out = (struct checked){.check.outcome = OUTCOME_OK};
    enum mt_status status = ask_once(w, question, &body, &out->check);
    if (status || !body)
        return status;
    memcpy(out, body, sizeof *out);
    if (out->check.context_lost)
        end_process(w); /* it has ended by itself */
    return out->check.machine ? fail(MT_FAILURE, "%s", out->check.message) : MT_OK;
}

static enum mt_status ask_checked(struct worker *w, const struct question *question, struct checked *out) {
    enum mt_status status = checked_once(w, question, out);
    if (status != MT_FAILURE)
        return status;
    try_again();
    return checked_once(w, question, out);
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
