/* The buffers that timing runs on: several sets of weights and tokens, so that no launch finds its inputs in the
 * cache.
 *
 * Contents are random and in a sane range, never zeros. Right numbers are the proof's business (proof.h), so the
 * host keeps no copy. Outputs are written but never read back on a software device, where timed launches are only
 * estimated. */
#ifndef MT_OPERANDS_H
#define MT_OPERANDS_H

#include "memory.h"
#include "runtime/gpu/launch.h"

/* At most so many sets: more would only cost memory and allocations. */
enum { OPERAND_SETS = 256 };

/* One buffer of each set, an allocation of its own: to the device it is the whole operand. */
struct copies {
    CUdeviceptr set[OPERAND_SETS];
};

struct operands {
    struct device *dev;
    struct problem problem; /* with the m of the last operands_set_tokens() */
    bool quantised;         /* false: fp16/bf16 operands of a baseline */
    int weight_sets, token_sets;
    struct memory weight_memory, token_memory, work_memory;
    struct copies weights[2], scales[2], zeros; /* by MT_PART_*; a baseline uses weights[0] only */
    CUdeviceptr columns[2];                     /* of a mixed layer, one for all sets; 0 of a uniform one */
    struct copies x, x_scales, x_sums, y;
    CUdeviceptr partials, counters;
    size_t partials_bytes, counters_bytes;
    int ldw; /* baseline: elements between rows of x and w, a multiple of 8 */
};

/* Elements from one row of fp16/bf16 operands to the next, here and in proofs: rows start at multiples of 16 bytes. */
int row_length(const struct problem *p);

/* Allocates and fills the weights of a layer. operands_release() also after a failure. */
enum mt_status operands_init(struct operands *o, struct device *dev, const struct problem *p, bool quantised);
/* Allocates and fills activations and outputs for m tokens, in place of earlier ones. */
enum mt_status operands_set_tokens(struct operands *o, int m);
/* Gives a launch the workspace that it needs, no more: a time must not depend on which configuration came before.
 * Counters are zero. */
enum mt_status operands_reserve(struct operands *o, const struct launch_shape *shape);
void operands_release(struct operands *o);

/* How many launches pass before the same inputs come again. */
int operands_rotation(const struct operands *o);
/* Launch arguments of turn 0, 1, 2, ... of the weights and of the tokens with their output; any non-negative numbers. */
void operands_gemm_args(const struct operands *o, int turn, int tokens, struct mt_gemm_args *out);
void operands_f16_args(const struct operands *o, int turn, int tokens, struct mt_gemm_f16_args *out);

/* The same for quantize_act.cu: fp16/bf16 activations in, int8 with scales and sums out. */
struct quantize_operands {
    struct device *dev;
    struct problem problem;
    int sets; /* launches that pass before the same buffers come again */
    struct memory memory;
    struct copies x, q, scales, sums;
};
/* quantize_operands_release() also after a failure. */
enum mt_status quantize_operands_init(struct quantize_operands *o, struct device *dev, const struct problem *p);
void quantize_operands_args(const struct quantize_operands *o, int turn, struct mt_quantize_args *out);
void quantize_operands_release(struct quantize_operands *o);

/* Bytes that one launch reads and writes at least once: weights, scales, tokens, output. */
size_t operands_traffic(const struct operands *o);
/* The same of one quantisation: tokens in, codes, scales and sums out. */
size_t quantize_operands_traffic(const struct problem *p);

#endif
