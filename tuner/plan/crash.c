#include "crash.h"
#include "runtime/base/status.h"
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static const int signals[CRASH_SIGNALS] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE};

static _Thread_local const char *volatile at_work;
/* The thread's own stack may be what could not grow. */
static _Thread_local char stack[64 << 10];
static _Thread_local stack_t stack_before; /* who set it may take it away with the thread */

static void say(const char *text) {
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        return; /* there is nobody to tell */
}

static void on_crash(int number) {
    (void)number;
    if (!at_work)
        return; /* the handler is reset: what happened happens again, and ends the process as it would have */
    say("mixtune: NVRTC crashed while it compiled ");
    say(at_work);
    say("; it does so when memory is short: free some and run the same command again, or take this configuration "
        "out of the space\n");
    _exit(MT_FAILURE);
}

void crash_guard(struct crash_guard *guard) {
    const struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK | (int)SA_RESETHAND};
    for (int i = 0; i < CRASH_SIGNALS; i++) {
        sigaction(signals[i], NULL, &guard->before[i]);
        if (!(guard->before[i].sa_flags & SA_SIGINFO) && guard->before[i].sa_handler == SIG_DFL)
            sigaction(signals[i], &action, NULL);
    }
}

void crash_release(struct crash_guard *guard) {
    for (int i = 0; i < CRASH_SIGNALS; i++)
        sigaction(signals[i], &guard->before[i], NULL);
}

void crash_at_work(const char *what) {
    const stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
    if (what && !at_work)
        sigaltstack(&own, &stack_before);
    else if (!what && at_work)
        sigaltstack(&stack_before, NULL);
    at_work = what;
}
