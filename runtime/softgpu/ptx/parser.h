/* The parser's view of a module while it is being built. */
#ifndef SG_PTX_PARSER_H
#define SG_PTX_PARSER_H

#include "lex.h"
#include "module.h"

enum symbol_kind {
    SYM_REGS,
    SYM_VARIABLE,
    SYM_SHARED,
    SYM_DYNAMIC_SHARED,
    SYM_LOCAL,
    SYM_PARAM,
    SYM_LABEL,
    SYM_TARGETS,
    SYM_FUNCTION,
    SYM_PROTOTYPE
};
struct symbol {
    const char *name;
    uint32_t length, hash, scope;
    enum symbol_kind kind;
    uint32_t index; /* first register, variable, instruction, first target, or function */
    uint32_t count; /* registers of `%r<count>`; targets; 0: a single one */
    bool module_scope;
    uint64_t offset, size;
    int32_t next;
};
struct label_use {
    uint32_t insn, target; /* target: index into targets + 1 instead of an instruction's operand */
    const char *name;
    uint32_t length, line, scope;
};
struct parser {
    struct lexer lex;
    struct sg_module *m;
    struct sg_function *f;
    char *error;
    size_t error_size;
    struct symbol *symbol;
    size_t symbols, symbol_capacity;
    int32_t *bucket; /* 1 + number of a symbol, by hash; a power of two of them */
    size_t buckets;
    struct label_use *use;
    size_t uses, use_capacity;
    size_t *first_use; /* by scope: how many uses there were when it was opened */
    size_t first_use_capacity;
    uint32_t scope;             /* depth */
    struct operand coordinates; /* of the last [map, {…}]; kind O_NONE if it was a plain address */
    bool address_is_local;      /* the last [symbol] is one of local memory */
    ptx_bind_fn *bind;
    char lack[256];      /* why the statement at hand is one that the device does not have; "" if it may be known */
    const char **reason; /* of these, by aux[0] of OP_unknown */
    size_t reasons, reason_capacity;
};

/* Records one sentence with the current line (unless one is there) and returns false. */
__attribute__((format(printf, 2, 3))) bool parse_error(struct parser *p, const char *format, ...);
/* The statement at hand may be right, but the device does not have it; false. */
__attribute__((format(printf, 2, 3))) bool parse_lack(struct parser *p, const char *format, ...);
bool parse_expect(struct parser *p, const char *text); /* consumes it */
bool parse_accept(struct parser *p, const char *text);
bool parse_integer(struct parser *p, int64_t *value);     /* optional sign */
bool parse_huge(struct parser *p, const struct token *t); /* the sentence for TOK_HUGE */
bool parse_align(struct parser *p, uint64_t *align);      /* behind .align */
/* `[n][m]…`, perhaps none: their product, 0 with `[]`. Says whether there were any. */
bool parse_elements(struct parser *p, uint64_t *elements, bool *array);
/* Gives a variable its place behind the *total bytes of its state space. */
bool parse_place(struct parser *p, const struct token *name, uint64_t bytes, uint64_t align, uint32_t *total,
                 uint64_t *offset);
void parse_skip_line(struct parser *p);
bool parse_skip_statement(struct parser *p); /* to behind the next ';' */

struct symbol *symbol_add(struct parser *p, const struct token *name, enum symbol_kind kind);
struct symbol *symbol_find(struct parser *p, const char *name, size_t length, uint32_t *range_index);
bool scope_open(struct parser *p);
bool scope_close(struct parser *p); /* resolves the labels of the scope */
bool label_used(struct parser *p, uint32_t insn, uint32_t target, const struct token *name);
uint32_t vreg_new(struct sg_function *f, unsigned width);

bool parse_variable(struct parser *p, bool external); /* at the state space; module or function scope */
bool parse_statement(struct parser *p);               /* one instruction, guard included */
/* The rest of a statement that the device does not have, behind its mnemonic: only that it is one, of things that are
 * declared. `first` is the number of its first instruction. */
bool parse_unknown(struct parser *p, size_t first, uint32_t line);
bool parse_call(struct parser *p, struct insn *i);
struct insn *insn_emit(struct parser *p, enum ptx_op op, uint32_t line);
bool parse_operand_symbol(struct parser *p, const struct token *name, unsigned width, struct operand *o);
uint64_t float_literal(const struct token *t, enum ptx_type type,
                       bool minus); /* bits in `type`; bit types keep the literal's */
/* Gives the registers of a function places in the frame, from 0, and rewrites its operands. Also finds
 * opaque_pointers. */
void function_allocate_registers(struct sg_function *f);
void function_rebase(struct sg_function *f); /* moves its frame to frame_base */
/* Operands of an instruction, vector elements one by one. */
void insn_each_register(struct insn *i, void (*visit)(struct operand *o, bool written, void *data), void *data);

#endif
