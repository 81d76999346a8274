#include "prover.h"
#include "runtime/base/str.h"
#include <stdlib.h>

struct prover {
    struct device *dev;
    struct binaries binaries;
    struct proof proofs[2]; /* of the problem in hand, by whether its operands are quantised; without a device: none */
    void (*on_step)(void *, const char *, bool);
    void *context;
};

struct prover *prover_open(struct device *dev, void (*on_step)(void *context, const char *step, bool on_host),
                           void *context) {
    struct prover *p = xcalloc(1, sizeof *p);
    p->dev = dev;
    p->on_step = on_step;
    p->context = context;
    return p;
}

void prover_close(struct prover *p) {
    if (!p)
        return;
    for (int i = 0; i < 2; i++)
        proof_release(&p->proofs[i]);
    binaries_release(&p->binaries, p->dev);
    free(p);
}

struct binaries *prover_binaries(struct prover *p) {
    return &p->binaries;
}

static bool has_operands(const struct proof *proof, const struct proof_job *job) {
    return proof->dev && problem_equal(&proof->problem, &job->problem) && proof->seed == job->seed;
}

static enum mt_status need_proof(struct prover *p, const struct proof_job *job, struct proof **out) {
    const bool quantised = !job->config.family || job->config.family->quantised;
    struct proof *proof = *out = &p->proofs[quantised];
    for (int i = 0; i < 2; i++)
        if (!has_operands(&p->proofs[i], job))
            proof_release(&p->proofs[i]);
    if (proof->dev)
        return MT_OK;
    p->on_step(p->context, "while its exact answer was computed", true);
    enum mt_status status = proof_make(proof, &job->problem, quantised, job->seed);
    if (!status) {
        p->on_step(p->context, "while its operands were copied to the device", false);
        status = proof_upload(proof, p->dev);
    }
    if (status)
        proof_release(proof);
    return status;
}

enum mt_status prover_prove(struct prover *p, const struct proof_job *job, struct check *out) {
    struct proof *proof;
    struct kernel *kernel;
    *out = (struct check){.outcome = OUTCOME_OK};
    enum mt_status status = need_proof(p, job, &proof);
    if (status)
        return status;
    p->on_step(p->context, "while it was loaded", false);
    if (binary_kernel(&p->binaries.item[job->binary], p->dev, &job->config, &kernel)) {
        check_failure(p->dev, out);
        return MT_OK;
    }
    p->on_step(p->context, "while it was proved", false);
    if (job->config.family) {
        verify_gemm(proof, kernel, out);
        return MT_OK;
    }
    verify_quantize(proof, kernel, out);
    if (out->outcome != OUTCOME_OK) /* what is left of activations that were quantised wrongly is no operand */
        proof_release(proof);
    return MT_OK;
}
