/* Proves one configuration after another on one device, each on a problem that is asked for: what a worker process does
 * for `mixtune verify` (worker.h). */
#ifndef MT_PROVER_H
#define MT_PROVER_H

#include "tuner/plan/binaries.h"
#include "verify.h"

struct proof_job {
    struct problem problem;
    uint64_t seed;        /* of the random operands */
    struct config config; /* family NULL: the quantisation of the problem's activations */
    int binary;           /* index into the prover's binaries */
};

struct prover; /* holds the kernels, and the operands of the problem in hand */

/* `dev` stays the caller's. `on_step` is told before each step of a job what comes, as in "while it was proved": a sign
 * of life. A step `on_host` needs no device and takes as long as it takes. */
struct prover *prover_open(struct device *dev, void (*on_step)(void *context, const char *step, bool on_host),
                           void *context);
void prover_close(struct prover *p);
struct binaries *prover_binaries(struct prover *p);

/* Whatever becomes of the kernel is in *out; the failures are those of proof_init(). Jobs on one problem should follow
 * each other: they share operands, and read the activations as the device has quantised them if that was proved right
 * before. */
enum mt_status prover_prove(struct prover *p, const struct proof_job *job, struct check *out);

#endif
