#include "compare.h"
#include "runtime/base/log.h"
#include "runtime/base/status.h"
#include "tuner/progress.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* The child talks on these, so that what a library prints on standard output does no harm. */
enum { REQUESTS = 3, ANSWERS = 4 };
enum { OPEN_SECONDS = 60, DATA_SECONDS = 10 };

struct header {
    int state, lost;
    size_t bytes;
    char note[sizeof((struct answer *)0)->note];
};

struct side {
    char *spec; /* owned */
    const char *const *settings;
    struct side_facts facts;
    pid_t child; /* 0: none */
    int requests, answers;
    struct answer dead; /* why there is no child, or the case could not be asked for */
};

enum mt_status answer_status(struct answer *out, struct device *dev, enum mt_status status, const char *what) {
    if (status) {
        answer_fail(out, "%s%s%s", what, *what ? ": " : "", fail_message());
        out->lost = dev->context && dev->drv.CtxSynchronize() != CUDA_SUCCESS;
    }
    return status;
}

static void answer_set(struct answer *out, enum state state, const char *format, va_list args) {
    out->state = state;
    vsnprintf(out->note, sizeof out->note, format, args);
}

void answer_skip(struct answer *out, const char *format, ...) {
    va_list args;
    va_start(args, format);
    answer_set(out, STATE_SKIPPED, format, args);
    va_end(args);
}

void answer_fail(struct answer *out, const char *format, ...) {
    va_list args;
    va_start(args, format);
    answer_set(out, STATE_FAILED, format, args);
    va_end(args);
}

static const double for_ever = 1e300;

/* False at the given time of seconds_now(), and after ^C. */
static bool wait_for(int fd, double until) {
    while (!interrupted()) {
        const double left = until - seconds_now();
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (poll(&ready, 1, left > 0.1 ? 100 : left > 0 ? (int)(left * 1000) + 1 : 0) > 0)
            return true;
        if (left <= 0)
            return false;
    }
    return false;
}

/* All of it; false when the other end is gone, or it has not come in time. */
static bool read_all(int fd, void *data, size_t bytes, double until) {
    for (char *at = data; bytes > 0;) {
        ssize_t got = wait_for(fd, until) ? read(fd, at, bytes) : 0;
        if (got <= 0)
            return false;
        at += got;
        bytes -= (size_t)got;
    }
    return true;
}

static bool write_all(int fd, const void *data, size_t bytes) {
    for (const char *at = data; bytes > 0;) {
        ssize_t put = write(fd, at, bytes);
        if (put <= 0)
            return false;
        at += put;
        bytes -= (size_t)put;
    }
    return true;
}

/* ---- the child ---- */

/* A kernel that nobody waited for may have failed, too. */
static void run_case(const struct gpu_case *c, struct device *dev, struct answer *out) {
    c->run(c, dev, out);
    if (!out->lost && device_check(dev, dev->drv.CtxSynchronize(), "it left the context unusable")) {
        if (out->state != STATE_FAILED)
            answer_fail(out, "%s", fail_message());
        out->lost = true;
    }
}

void side_serve(const char *spec, const struct case_list *cases) {
    struct device dev;
    struct side_facts facts = {0};
    struct header header = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody is left to ask */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* what becomes of this process is the parent's to say */
    signal(SIGTERM, SIG_IGN);
    enum mt_status status = device_open(&dev, spec);
    header.state = (int)status;
    snprintf(header.note, sizeof header.note, "%s", status ? fail_message() : "");
    if (!status) {
        snprintf(facts.name, sizeof facts.name, "%s", dev.name);
        snprintf(facts.spec, sizeof facts.spec, "%s", dev.spec);
        snprintf(facts.stand_in, sizeof facts.stand_in, "%s", device_stand_in(&dev));
        facts.cc = dev.cc;
        facts.software = dev.software;
    }
    if (!write_all(ANSWERS, &header, sizeof header) || !write_all(ANSWERS, &facts, sizeof facts))
        _exit(1);
    for (int number; !status && read_all(REQUESTS, &number, sizeof number, for_ever);) {
        const struct gpu_case *c = &cases->item[number];
        struct answer answer = {0};
        if (c->cc > dev.cc || (c->cc == 90 && dev.cc != 90))
            answer_skip(&answer, "it needs compute capability %s%d.%d", c->cc == 90 ? "" : "at least ", c->cc / 10,
                        c->cc % 10);
        else
            run_case(c, &dev, &answer);
        header = (struct header){.state = (int)answer.state, .lost = answer.lost, .bytes = answer.data.length};
        memcpy(header.note, answer.note, sizeof header.note);
        if (!write_all(ANSWERS, &header, sizeof header) || !write_all(ANSWERS, answer.data.data, answer.data.length))
            break;
        str_release(&answer.data);
        if (answer.lost) /* what a fault leaves behind ends with the process */
            _exit(0);
    }
    _exit(0);
}

/* ---- the parent ---- */

/* In the child, between fork and exec. */
static void become(const struct side *side, int requests, int answers) {
    /* Neither may overwrite the other on its way. */
    int from = fcntl(requests, F_DUPFD, 10), to = fcntl(answers, F_DUPFD, 10);
    dup2(from, REQUESTS);
    dup2(to, ANSWERS);
    close(from);
    close(to);
    for (const char *const *s = side->settings; s && *s; s++)
        putenv((char *)(uintptr_t)*s);
    execl("/proc/self/exe", "compare", "--serve", side->spec, (char *)NULL);
    _exit(127);
}

/* Waits until the child is gone; false when it still is there after so many seconds. */
static bool reap(const struct side *side, double seconds) {
    const double until = seconds_now() + seconds;
    while (waitpid(side->child, NULL, WNOHANG) == 0) {
        if (seconds_now() > until)
            return false;
        usleep(2000);
    }
    return true;
}

/* Ends the child; `how` it would have ended by itself, 0 if it still ran. */
static void stop(struct side *side, int *how) {
    const double patience = interrupted() ? 2 : 5;
    *how = 0;
    if (!side->child)
        return;
    close(side->requests);
    close(side->answers);
    if (waitpid(side->child, how, WNOHANG) == 0) {
        kill(side->child, SIGKILL);
        if (!reap(side, patience))
            printf("# process %d of %s does not end; the device driver may be stuck\n", (int)side->child, side->spec);
    }
    side->child = 0;
}

void side_kill(struct side *side) {
    if (side && side->child)
        kill(side->child, SIGKILL);
}

static enum mt_status start(struct side *side) {
    int requests[2], answers[2];
    struct header header;
    if (pipe2(requests, O_CLOEXEC) || pipe2(answers, O_CLOEXEC))
        return fail(MT_FAILURE, "no pipe to the process of %s: %s", side->spec, strerror(errno));
    fflush(NULL);
    side->child = fork();
    if (side->child < 0)
        return fail(MT_FAILURE, "no process for %s: %s", side->spec, strerror(errno));
    if (side->child == 0)
        become(side, requests[0], answers[1]);
    close(requests[0]);
    close(answers[1]);
    side->requests = requests[1];
    side->answers = answers[0];
    enum mt_status status = MT_OK;
    const double until = seconds_now() + OPEN_SECONDS;
    if (!read_all(side->answers, &header, sizeof header, until) ||
        !read_all(side->answers, &side->facts, sizeof side->facts, until))
        status = interrupted() ? fail(MT_INTERRUPTED, "interrupted while %s was opened", side->spec)
                               : fail(MT_FAILURE, "the process of %s has not opened the device", side->spec);
    else if (header.state)
        status = fail((enum mt_status)header.state, "%s", header.note);
    int how;
    if (status)
        stop(side, &how);
    return status;
}

enum mt_status side_open(const char *spec, const char *const *settings, struct side **out) {
    struct side *side = xcalloc(1, sizeof *side);
    signal(SIGPIPE, SIG_IGN);
    side->spec = xstrdup(spec);
    side->settings = settings;
    enum mt_status status = start(side);
    if (status) {
        free(side->spec);
        free(side);
        side = NULL;
    }
    *out = side;
    return status;
}

void side_close(struct side *side) {
    if (!side)
        return;
    int how;
    stop(side, &how);
    free(side->spec);
    free(side);
}

const struct side_facts *side_facts(const struct side *side) {
    return &side->facts;
}

void side_ask(struct side *side, int number) {
    side->dead = (struct answer){0};
    if (!side->child && start(side))
        answer_fail(&side->dead, "%s", fail_message());
    else if (!write_all(side->requests, &number, sizeof number))
        answer_fail(&side->dead, "its process is gone");
    side->dead.lost = side->dead.state != STATE_OK;
}

/* What became of a child that gave no answer. */
static void describe_end(int how, bool ran, double seconds, struct answer *out) {
    if (ran)
        answer_fail(out, "no answer within %.0f s: it hangs", seconds);
    else if (WIFSIGNALED(how))
        answer_fail(out, "the process was killed by signal %d (%s)", WTERMSIG(how), strsignal(WTERMSIG(how)));
    else
        answer_fail(out, "the process ended with code %d", WEXITSTATUS(how));
    out->lost = true;
}

void side_answer(struct side *side, double seconds, struct answer *out) {
    struct header header;
    int how;
    *out = side->dead;
    if (out->state)
        return;
    if (!read_all(side->answers, &header, sizeof header, seconds_now() + seconds)) {
        if (interrupted())
            return;
        struct pollfd end = {.fd = side->answers, .events = POLLIN};
        bool ran = poll(&end, 1, 0) == 0; /* a closed pipe is ready */
        if (!ran)
            usleep(50000); /* who has closed it is a zombie soon, not at once */
        stop(side, &how);
        describe_end(how, ran, seconds, out);
        return;
    }
    *out = (struct answer){.state = (enum state)header.state, .lost = header.lost};
    memcpy(out->note, header.note, sizeof out->note);
    char *data = xmalloc(header.bytes + 1);
    if (read_all(side->answers, data, header.bytes, seconds_now() + DATA_SECONDS)) {
        str_append_bytes(&out->data, data, header.bytes);
    } else {
        answer_fail(out, "the process ended in the middle of its answer");
        out->lost = true;
    }
    free(data);
    if (out->lost)
        stop(side, &how);
}
