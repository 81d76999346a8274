/* What the operands of each instruction are: how wide, and of which kind. */
#ifndef SG_PTX_OPERANDS_H
#define SG_PTX_OPERANDS_H

#include "insn.h"

/* Bytes a lane of a number that stands as source `k` of an instruction whose modifiers are read; 0: a predicate. `type`
 * is that in which a fraction is written. */
unsigned operand_width(const struct insn *i, int k, enum ptx_type *type);
/* Whether all operands of a form that is known are what it needs; if not, a sentence in `error`. Handlers rely on
 * it: they read and write as many bytes of a register as its role has. */
bool operands_fit(const struct insn *i, char *error, size_t size);

#endif
