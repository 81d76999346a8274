/* A process of its own that runs kernels on the device, so that whatever a kernel does, the command lives.
 *
 * The process is forked from the command and is the only one that holds a context on the device. It proves and times
 * one candidate after another (measure.h), or proves (prover.h), or probes (probe.h). The command watches: a worker
 * that gives no sign of life for too long, or crashes, is an outcome of the candidate, proof or step in hand, and the
 * next one gets a fresh worker; so does what follows a fault, for no context is made twice in one process. A worker
 * never outlives its command.
 *
 * What befalls the machine is no outcome: a process that somebody else kills or that does not start, a driver or a
 * library that fails. It is tried once more in a fresh worker, and then a failure, MT_FAILURE. No time runs while the
 * command or its worker is stopped. */
#ifndef MT_WORKER_H
#define MT_WORKER_H

#include "tuner/measure/measure.h"
#include "tuner/measure/probe.h"
#include "tuner/measure/prover.h"
#include "tuner/plan/plan.h"

struct worker;

struct worker_options {
    const char *device;                /* as device_open() takes it */
    const struct timer_limits *limits; /* of timings; NULL: the worker is for worker_prove() and worker_probe() only */
    double patience; /* seconds without a sign of life after which a candidate counts as hung; 0: as the device is */
};

/* Starts a worker, which opens the device: failures are those of device_open(). The strings and limits of `options`
 * must live as long. Call it before this process touches the device. */
enum mt_status worker_open(const struct worker_options *options, struct worker **out);
/* Ends the process. NULL is allowed. */
void worker_close(struct worker *w);

/* What the device is. Its functions, handle and context are not set: they belong to the worker process. */
const struct device *worker_device(const struct worker *w);
/* The version of cuBLAS that the worker can measure, "" if there is none. */
const char *worker_cublas_version(const struct worker *w);
bool worker_has_cublaslt(const struct worker *w);
/* What candidates can be planned for it. */
struct plan_target worker_target(const struct worker *w, bool quick);
/* What the worker in hand could not open. */
const struct missing *worker_missing(const struct worker *w);

/* Measures the candidate in the worker process. `binaries` are those that candidate->binary counts, compiled before. A
 * hang is OUTCOME_TIMEOUT and a crash of the process OUTCOME_CRASH. A failure that the machine might cause, too, counts
 * when it comes twice, in two processes (out->tries); a wrong number is one at once. Failures are the machine's;
 * MT_INTERRUPTED when the command was interrupted and the candidate did not end within seconds: nothing is known of it
 * then. Release *out with measured_release(). */
enum mt_status worker_measure(struct worker *w, const struct candidate *candidate, const struct binaries *binaries,
                              struct measured *out);

/* measure_rounds() in the worker. Whatever goes wrong, a hang or a crash too, is MT_FAILURE with the sentence. */
enum mt_status worker_rounds(struct worker *w, const struct candidate *candidates, int count, int rounds,
                             const struct binaries *binaries, double *ns, struct rejected *rejected);

/* prover_prove() in the worker; job->binary counts in `binaries`, and must have compiled. A hang is OUTCOME_TIMEOUT and
 * a crash OUTCOME_CRASH, both with `context_lost`. Failures as of worker_measure(), and those of prover_prove(). */
enum mt_status worker_prove(struct worker *w, const struct proof_job *job, const struct binaries *binaries,
                            struct check *out);

/* prober_measure() in the worker, of one step. What became of it is in *check, likewise: OUTCOME_WRONG where a kernel
 * did not do the work that it is timed for. */
enum mt_status worker_probe(struct worker *w, int step, struct check *check, struct limits *found);

#endif
