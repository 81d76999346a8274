/* Runs the same small programs with the same inputs on two devices and compares what they compute, bit by bit.
 *
 * Each device lives in a process of its own (compare_side.c): a kernel that crashes or hangs on one ends nothing else,
 * and two software devices with different settings can be compared. Both processes make the same list of cases, so that
 * a case is known by its number. */
#ifndef COMPARE_H
#define COMPARE_H

#include "runtime/base/str.h"
#include "runtime/gpu/device.h"
#include "runtime/jit/compile.h"
#include <stdbool.h>
#include <stdint.h>

enum state { STATE_OK, STATE_SKIPPED, STATE_FAILED };

/* What a case came to on one device. */
struct answer {
    enum state state;
    char note[400];  /* why not OK, or what else is worth a line; may be empty */
    struct str data; /* what the two devices must agree on */
    bool lost;       /* the case hung, the process died or the context is unusable: the next case gets a new process */
};

/* How two answers are compared: words of 32 bits; words that are floats, where any NaN is like any other; pairs of
 * floats {value, mass}, whose values may differ by 2^-18 of the mass; or not at all: it runs on the device alone. */
enum judge { JUDGE_WORDS, JUDGE_FLOATS, JUDGE_SUMS, JUDGE_NONE };

struct gpu_case {
    const char *name;
    void (*run)(const struct gpu_case *c, struct device *dev, struct answer *out);
    /* Compiles what run() will load, so that it is in the cache; of `dev` only the compute capability is known. NULL:
     * nothing, or another case does. */
    enum mt_status (*compile)(const struct gpu_case *c, const struct device *dev, struct image *out);
    enum judge judge;
    int cc;                    /* the compute capability that it needs, 90 for exactly 9.0 (sm_90a) */
    int number;                /* for run() and compile(): of its detail */
    int variant;               /* likewise */
    const char *kernel, *file; /* of a wrapper: for the list */
};

struct case_list {
    struct gpu_case *item;
    int count;
};

/* Each appends its cases, in a fixed order. */
void smoke_cases(struct case_list *list);
void wrapper_cases(struct case_list *list);
void family_cases(struct case_list *list);
void case_add(struct case_list *list, const struct gpu_case *c, const char *name, ...)
    __attribute__((format(printf, 3, 4)));

/* MT_OK, or marks the answer as failed with the last failure's sentence, after `what`, and asks the context whether it
 * survived. Returns `status`. */
enum mt_status answer_status(struct answer *out, struct device *dev, enum mt_status status, const char *what);
void answer_skip(struct answer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
void answer_fail(struct answer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- the process of a device ---- */
struct side;
struct side_facts { /* of the device, once it is open */
    char name[128], spec[DEVICE_SPEC], stand_in[DEVICE_SPEC];
    int cc;
    bool software;
};

/* Starts a process for the device. `settings` are "NAME=VALUE" for its environment, ended by NULL; NULL: none. */
enum mt_status side_open(const char *spec, const char *const *settings, struct side **out);
/* Kills the process, which side_close() does too, but without waiting for it. NULL is allowed. */
void side_kill(struct side *side);
void side_close(struct side *side);
const struct side_facts *side_facts(const struct side *side);
/* Asks for a case; the answer is fetched later, so that two sides work at the same time. */
void side_ask(struct side *side, int number);
/* Waits `seconds` for the answer, no longer: then, and when the process dies, that is the answer, and a new process is
 * started for the next case, even if the old one cannot be killed. ^C ends the wait, too: then the answer says nothing.
 * The answer's data is released by the caller. */
void side_answer(struct side *side, double seconds, struct answer *out);

/* What such a process does, with the device's spec; never returns. */
void side_serve(const char *spec, const struct case_list *cases) __attribute__((noreturn));

#endif
