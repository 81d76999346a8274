/* Proves and times candidates on one device.
 *
 * Whatever becomes of a candidate is an outcome, that the device has not the memory for it, too. Trouble that is not
 * the candidate's is a failure. This is what a worker process does (worker.h). */
#ifndef MT_MEASURE_H
#define MT_MEASURE_H

#include "baseline.h"
#include "operands.h"
#include "timer.h"
#include "tuner/plan/binaries.h"
#include "tuner/plan/candidate.h"
#include "verify.h"

struct measured {
    enum store_outcome outcome;
    char message[320];
    struct timing timing;         /* in the state of the caches that decides (store_cache_of()); when OUTCOME_OK */
    struct timing beside[CACHES]; /* in the other ones; no samples on a software device, which has one */
    int registers, smem_bytes, spill_bytes;
    char binary[33];   /* "" where nothing was built */
    int tries;         /* independent ones, each in a process of its own, that a failure stands on; 0: one */
    bool context_lost; /* the device's context is unusable: this process can measure nothing more */
    bool machine;      /* the message says what befell the machine: nothing is known of the candidate */
};

/* What a real device is measured with, and why this process has not got it; "" for what is there. A software device
 * wants none of it. */
enum part { PART_CUBLAS, PART_CUBLASLT, PART_GATE, PARTS };
struct missing {
    char reason[PARTS][256];
};
/* "cublas", "cublaslt" or "gate". */
const char *part_name(enum part part);
/* Appends the names of what is missing, as in "cublas,gate"; nothing when all is there. */
void missing_names(const struct missing *missing, struct str *out);
/* One warning for each: what it costs, and why it is missing. Times without it are times all the same. */
void missing_warn(const struct missing *missing, const char *device);

struct measurer; /* holds the device's kernels, proofs and operands between candidates */

/* `dev` stays the caller's; `limits` must live as long. MT_FAILURE when a library is there and the machine, or a full
 * device, keeps it from starting. */
enum mt_status measurer_open(struct device *dev, const struct timer_limits *limits, struct measurer **out);
void measurer_close(struct measurer *m);
struct binaries *measurer_binaries(struct measurer *m);
/* NULL where there is none. */
const struct cublas *measurer_cublas(const struct measurer *m);
bool measurer_has_cublaslt(const struct measurer *m);
const struct missing *measurer_missing(const struct measurer *m);
/* `on_step` is told before each step of a candidate what comes, as in "while it was timed": a sign of life. */
void measurer_on_step(struct measurer *m, void (*on_step)(void *context, const char *step), void *context);

/* Proves, times and proves again. Candidates of one layer, and in it of one m, should follow each other: they share
 * operands. Release with measured_release(). */
enum mt_status measure(struct measurer *m, const struct candidate *candidate, struct measured *out);
void measured_release(struct measured *measured);

/* What is known of a candidate before it runs: the facts of its binary. False, with the outcome filled in, if that did
 * not compile. */
bool measured_binary(struct measured *measured, const struct binary *binary);
/* The samples as bytes, for another process: `measured` itself travels as it lies in memory. unpack() makes the samples
 * anew from those bytes. */
void measured_pack(const struct measured *measured, struct str *bytes);
void measured_unpack(struct measured *measured, const char *bytes);

/* Times candidates of one problem, each proved before, in turns: `rounds` times one sample of each, in changing
 * order, so that whatever drifts meets all of them alike; all as graphs, or all by single launches. `ns` is
 * [rounds][count], and `rejected`, [count], says what of each was thrown away. What fails fails them all; afterwards
 * the device may be unusable. */
enum mt_status measure_rounds(struct measurer *m, const struct candidate *candidates, int count, int rounds, double *ns,
                              struct rejected *rejected);

/* The row that the store keeps, candidate_row() with what was measured; `config_text` (appended to) holds the
 * configuration and must live as long as the row. */
void measured_row(const struct candidate *candidate, const struct measured *measured, bool software,
                  struct str *config_text, struct store_measurement *out);
/* The row of a candidate that was also timed in another state of the caches; false if it was not. `first` is the row of
 * the one that decides. */
bool measured_row_beside(const struct measured *measured, enum store_cache cache, const struct store_measurement *first,
                         struct store_measurement *out);
/* What was thrown away in all states. */
struct rejected measured_rejected(const struct measured *measured);

#endif
