/* A problem with its exact answer: random operands on host and device, and the reference of the output.
 *
 * Device buffers have exactly the size that a kernel may touch, so that a device which checks bounds finds every step
 * beyond them. */
#ifndef MT_PROOF_H
#define MT_PROOF_H

#include "memory.h"
#include "runtime/gpu/launch.h"
#include "runtime/layer/reference.h"

struct proof {
    struct device *dev; /* NULL until proof_upload() */
    struct problem problem;
    uint64_t seed;
    bool quantised;           /* false: a fp16/bf16 GEMM of a baseline */
    uint16_t *x, *bias;       /* host, bits of the dtype: [m][k] and [n] (NULL without bias) */
    struct quant_layer layer; /* the weights, or w [n][k], on the host: until proof_upload() */
    uint16_t *w;
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
/* The two halves of proof_init(): what takes long and needs no device, and what needs one, which stays the caller's. */
enum mt_status proof_make(struct proof *proof, const struct problem *p, bool quantised, uint64_t seed);
enum mt_status proof_upload(struct proof *proof, struct device *dev);
/* One without weights and reference, for verify_quantize() alone. */
enum mt_status proof_init_acts(struct proof *proof, struct device *dev, const struct problem *p, uint64_t seed);
void proof_release(struct proof *proof);

/* The exact Y[m][n] = X[m][k] . W[n][k]^T (+ bias[n], unless it is NULL) of a fp16/bf16 GEMM, from bits of p->dtype, with
 * what sums in fp32 may lose. reference_release() afterwards. Runs on all cores. */
void plain_reference(const struct problem *p, const uint16_t *x, const uint16_t *w, const uint16_t *bias,
                     struct reference *out);

/* The problem that a configuration is proved on before it is timed for `p`: every tile has a ragged edge, the last K
 * step is partial, and the exact answer takes milliseconds. */
void proof_problem(const struct config *config, const struct problem *p, struct problem *out);

#endif
