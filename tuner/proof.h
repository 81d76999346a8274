/* A problem with its exact answer: random operands on host and device, and the reference of the output.
 *
 * Device buffers have exactly the size that a kernel may touch, so that a device which checks bounds finds every step
 * beyond them. */
#ifndef MT_PROOF_H
#define MT_PROOF_H

#include "../runtime/launch.h"
#include "../runtime/reference.h"
#include "memory.h"

struct proof {
    struct device *dev;
    struct problem problem;
    bool quantised;         /* false: a fp16/bf16 GEMM of a baseline */
    uint16_t *x, *bias;     /* host, bits of the dtype: [m][k] and [n] (NULL without bias) */
    struct quant_acts acts; /* x quantised on the host */
    struct reference reference;
    struct memory memory;
    CUdeviceptr device_x; /* [m][ldx] as x; ldx of `f16` */
    CUdeviceptr q, scales, sums;
    struct mt_gemm_args gemm; /* device pointers; y, partials and counters are set for each run (verify.h) */
    struct mt_gemm_f16_args f16;
};

/* Random numbers from `seed`; a group of activations is all zero and one has an outlier. proof_release() also after a
 * failure. MT_USAGE for shapes that cannot be quantised. */
enum mt_status proof_init(struct proof *proof, struct device *dev, const struct problem *p, bool quantised,
                          uint64_t seed);
void proof_release(struct proof *proof);

/* The problem that a configuration is proved on before it is timed for `p`: every tile has a ragged edge, the last K
 * step is partial, and the exact answer takes milliseconds. */
void proof_problem(const struct config *config, const struct problem *p, struct problem *out);

#endif
