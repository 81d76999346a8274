/* Arithmetic: every instruction that neither moves memory nor decides who runs. */
#ifndef SG_OP_H
#define SG_OP_H

#include "runtime/softgpu/ptx/insn.h"

/* Gives an instruction of arithmetic its handler: sets i->run, may set i->aux. False with a sentence in `error` if the
 * combination of modifiers and types is unknown. Everything else binds in machine_bind. */
bool op_bind(struct insn *i, char *error, size_t error_size);
/* The pipe of an SM that issues it, of whatever group it is; SG_PIPE_NONE if nobody executes it. */
enum sg_pipe op_pipe(const struct insn *i);

#endif
