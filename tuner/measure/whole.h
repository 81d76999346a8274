/* Whole outputs of the timed operands: what a proof at a small shape cannot see, and what a library computes, which runs
 * at no other shape. */
#ifndef MT_WHOLE_H
#define MT_WHOLE_H

#include "operands.h"
#include "timer.h"
#include "verify.h"

/* Launches turn 0 over an output of NaN and reads that back, [m][n], for the caller to free. NULL, with the sentence, when
 * it does not run. */
uint16_t *whole_output(const struct operands *o, timed_launch launch, void *context);

/* Whether `y` is the product of fp16/bf16 operands: every element is written, and those of some tokens and features,
 * the first and the last among them, are as near to the exact sums as sums in fp32 must be. */
void whole_product(const struct operands *o, const uint16_t *y, struct check *out);

/* Whether two outputs that may differ in the order of their sums alone are as near to each other. */
void whole_alike(const struct operands *o, const uint16_t *y, const uint16_t *other, struct check *out);

#endif
