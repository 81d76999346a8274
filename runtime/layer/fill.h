/* Which features fill the 8-bit part of a layer up, where more keep 8 bits than were chosen (split_filled()). */
#ifndef MT_FILL_H
#define MT_FILL_H

#include "problem.h"
#include <stdint.h>

/* `is8` [n] chooses fewer features than p->rows8; `filled` [n] gets these and the 4-bit features with the largest
 * squared error of rounding, |w - (q - z) s|^2 summed over the inputs in double, of equals the first, until there are
 * p->rows8. Fails as quant_layer_init() does. */
enum mt_status fill_choose(const struct problem *p, const float *w, const uint8_t *is8, uint8_t *filled);

/* The same of errors that are known, in place: is8 [n] gets those of the largest `error` [n] (>= 0) until rows8 of its
 * features are chosen. MT_FAILURE if memory is short. */
enum mt_status fill_largest(const double *error, int n, int rows8, uint8_t *is8);

#endif
