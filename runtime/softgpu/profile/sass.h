/* Machine code of a cubin, sm_80 and later: 16 bytes an instruction. */
#ifndef SG_PROFILE_SASS_H
#define SG_PROFILE_SASS_H

#include "flow.h"

/* The code of one kernel, `bytes` of it, for compute capability `cc`, with its loops. `unknown` counts the instructions
 * whose number is in no list: they take an issue slot each. Free with flow_free(). */
void sass_read(const uint8_t *code, size_t bytes, unsigned cc, struct flow *out, unsigned *unknown);

/* For tables of counts: the name of an instruction's number (its low 9 bits); NULL if it is unknown. */
const char *sass_name(unsigned number);

#endif
