/* A compiler that crashes, as NVRTC does when memory is short, ends the command with a sentence in place of a signal. */
#ifndef MT_CRASH_H
#define MT_CRASH_H

#include <signal.h>

enum { CRASH_SIGNALS = 5 };

struct crash_guard {
    struct sigaction before[CRASH_SIGNALS];
};

/* From here to crash_release() a crash of a thread that is at work says so and exits with MT_FAILURE; signals that have
 * a handler already keep it. One guard at a time, by the thread that starts the others. */
void crash_guard(struct crash_guard *guard);
void crash_release(struct crash_guard *guard);

/* What the calling thread compiles, for the sentence; NULL: nothing. Must live until the next call. */
void crash_at_work(const char *what);

#endif
