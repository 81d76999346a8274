/* Status codes, and the sentence that goes with a failure.
 *
 * A status is also the exit code of the `mixtune` command: this is the one table of them. */
#ifndef MT_BASE_STATUS_H
#define MT_BASE_STATUS_H

enum mt_status {
    MT_OK = 0,
    MT_FAILURE = 1,      /* anything that has no better code */
    MT_WRONG = 2,        /* a kernel computed wrong numbers */
    MT_REGRESSION = 3,   /* a confirmed slow-down */
    MT_USAGE = 64,       /* bad command line, config, space or model file */
    MT_NO_DEVICE = 69,   /* the device, its driver or a CUDA library is missing, or is the wrong one */
    MT_INTERRUPTED = 75, /* stopped by a signal or a time limit; the same command goes on from there */
};

#endif

/* mixtune.h shows its users the codes alone. */
#if !defined(MT_BASE_STATUS_SENTENCES) && !defined(MT_STATUS_CODES_ONLY)
#define MT_BASE_STATUS_SENTENCES

#include <stdbool.h>

/* Records one sentence (what, where, what to do) for this thread and returns `status`. The sentence
 * replaces the previous one. Use as `return fail(MT_USAGE, "...", ...)`. */
enum mt_status fail(enum mt_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts context before the recorded sentence ("while reading X: ...") and returns `status`. */
enum mt_status fail_context(enum mt_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Ends a function that callers know by its status alone: where that is good no sentence stays, neither of an earlier
 * failure nor of one that was mended on the way. Returns `status`. */
enum mt_status fail_settled(enum mt_status status);

/* Whether this thread's last failure, or what it was put before as context, was one of memory (memory.h). */
bool fail_is_memory(void);
void fail_note_memory(void);

/* The sentence of this thread's last failure, "" if none. Owned by the library; valid until the next failure. */
const char *fail_message(void);

#endif
