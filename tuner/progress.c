#include "progress.h"
#include "runtime/base/log.h"
#include "shown.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t interrupt_seen;
static double interrupt_time;

/* timeout(1) signals its command twice within microseconds, by itself and with its group: that is one signal. */
static void on_interrupt(int signal_number) {
    const double now = seconds_now(), same = 0.5;
    if (!interrupt_seen) {
        interrupt_time = now;
        interrupt_seen = 1;
    } else if (now - interrupt_time > same) {
        signal(signal_number, SIG_DFL);
        raise(signal_number);
    }
}

void interrupt_catch(void) {
    struct sigaction action = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool interrupted(void) {
    return interrupt_seen;
}

double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void progress_init(struct progress *p, const char *verb, long total, bool quiet) {
    const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
    *p = (struct progress){.verb = verb, .total = total, .quiet = quiet || !log_enabled(LOG_INFO)};
    p->terminal = isatty(STDERR_FILENO) && term && *term;
    p->colour = p->terminal && !(no_colour && *no_colour);
    p->started = p->shown = seconds_now();
}

static void print_left(const struct progress *p, char out[32]) {
    double spent = seconds_now() - p->started;
    double left = p->done > 0 ? spent / (double)p->done * (double)(p->total - p->done) : 0;
    if (left >= 3600)
        snprintf(out, 32, "%.1f h left", left / 3600);
    else if (left >= 90)
        snprintf(out, 32, "%.0f min left", left / 60);
    else
        snprintf(out, 32, "%.0f s left", left);
}

static const char *print_failed(const struct progress *p, char out[32]) {
    *out = 0;
    if (p->failed)
        snprintf(out, 32, ", %ld failed", p->failed);
    return out;
}

int terminal_width(int fd) {
    const char *told = getenv("COLUMNS");
    struct winsize size;
    if (!isatty(fd))
        return 0;
    if (told && atoi(told) > 0)
        return atoi(told);
    return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* All columns but the last, behind which some terminals wrap. */
static int terminal_room(void) {
    return terminal_width(STDERR_FILENO) - 1;
}

/* One line, which the next bar overwrites: where there is no room the note goes, then the bar gets shorter. */
static void print_bar(const struct progress *p, const char *note) {
    enum { WIDTH = 24, LEAST = 4 };
    char left[32], failed[32], bar[WIDTH + 1];
    print_left(p, left);
    print_failed(p, failed);
    int room = terminal_room() - snprintf(NULL, 0, "%s [] %ld/%ld%s, %s", p->verb, p->done, p->total, failed, left);
    int width = room < LEAST ? LEAST : room < WIDTH ? room : WIDTH;
    note = note ? shown(note) : NULL;
    if (note && snprintf(NULL, 0, ", %s", note) > room - width)
        note = NULL;
    for (int i = 0; i < width; i++)
        bar[i] = (long)i * p->total < p->done * width ? '#' : '.';
    bar[width] = 0;
    char coloured[48] = "";
    if (p->failed)
        snprintf(coloured, sizeof coloured, ", %s%ld failed%s", p->colour ? "\033[31m" : "", p->failed,
                 p->colour ? "\033[0m" : "");
    /* In one piece, so that no half of a bar is ever seen. */
    fprintf(stderr, "\r\033[K%s%s%s [%s] %ld/%ld%s, %s%s%s", p->colour ? "\033[1m" : "", p->verb,
            p->colour ? "\033[0m" : "", bar, p->done, p->total, coloured, left, note ? ", " : "", note ? note : "");
    fflush(stderr);
}

static void print_line(const struct progress *p, const char *note) {
    char left[32], failed[32];
    print_left(p, left);
    log_info("%s: %ld of %ld%s, %s%s%s", p->verb, p->done, p->total, print_failed(p, failed), left, note ? ", " : "",
             note ? note : "");
}

void progress_step(struct progress *p, bool good, const char *note) {
    p->done++;
    p->failed += !good;
    double now = seconds_now();
    if (p->quiet || now - p->shown < (p->terminal ? 0.1 : 5))
        return;
    p->shown = now;
    if (p->terminal)
        print_bar(p, note);
    else
        print_line(p, note);
}

void progress_release(struct progress *p) {
    if (p->quiet || p->total == 0)
        return;
    if (p->terminal)
        fputs("\r\033[K", stderr);
    char failed[32];
    log_info("%s: %ld of %ld in %.1f s%s", p->verb, p->done, p->total, seconds_now() - p->started,
             print_failed(p, failed));
}
