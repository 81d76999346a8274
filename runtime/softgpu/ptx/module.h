/* A parsed module, and the parser's view of it while it is being built. */
#ifndef SG_PTX_MODULE_H
#define SG_PTX_MODULE_H

#include "insn.h"
#include "lex.h"
#include "runtime/softgpu/machine/machine.h"

/* Generic addresses: global ones are host addresses; the other spaces are windows above them. */
#define SHARED_WINDOW 0x0100000000000000ull
#define LOCAL_WINDOW  0x0200000000000000ull
#define PARAM_WINDOW  0x0300000000000000ull
/* Pointers to functions: not memory, never 0. */
#define FUNCTION_ADDRESS(index) (((uint64_t)(index) + 1) * 16)
#define WINDOW_MASK             0xff00000000000000ull

/* Grows *array so that element `count` exists, all new bytes zero. */
void array_grow(void *array, size_t *capacity, size_t count, size_t element);

/* ---- what stays ---- */
struct variable { /* .global or .const of module scope */
    char *name;
    uint64_t size, align, address;
    uint8_t *init; /* NULL: zero */
    bool constant;
    bool named; /* by an instruction or by another variable: else no kernel can reach it */
};
struct pointer_init { /* bytes of a variable's initialiser that hold an address */
    uint32_t variable, target;
    bool function; /* target is a function, not a variable */
    uint64_t offset, addend;
    uint32_t bytes, shift; /* bits [shift, shift + 8 bytes) of the address */
};
enum fixup_kind { FIX_VARIABLE, FIX_SHARED, FIX_DYNAMIC_SHARED, FIX_LOCAL, FIX_FUNCTION };
struct const_fixup { /* a constant that depends on a layout known later */
    enum fixup_kind kind;
    uint32_t slot, index; /* of the variable or function */
    uint8_t width;
    uint64_t addend;
};
struct vreg {
    uint8_t width; /* bytes per lane, 0: predicate */
    bool used;
    uint32_t slot; /* bytes in the frame, once allocated */
};
struct sg_function {
    struct sg_module *module;
    char *name;
    bool entry, defined;
    uint32_t first, end; /* instructions */
    uint32_t index;
    /* Parameters of an entry: offsets in the parameter block. Of a .func: offsets in its local memory, returns first.
     */
    uint32_t params, returns;
    uint32_t *param_offset, *param_size;
    uint32_t param_bytes;
    uint32_t shared_bytes; /* its own .shared variables */
    uint32_t local_bytes, local_base;
    uint32_t frame_bytes, frame_base, sink_slot;
    uint32_t max_threads, min_ctas, cluster[3];
    bool calls, opaque_pointers;
    struct vreg *vreg; /* while parsing */
    size_t vregs, vreg_capacity;
};
enum { CONSTANT_BUCKETS = 4096 };
struct constant_entry { /* direct-mapped: a constant that was pushed out is merely stored twice */
    uint64_t bits;
    uint32_t width, slot1; /* slot + 1 */
};
struct sg_module {
    char *text;
    struct insn *code;
    size_t insns, insn_capacity;
    struct sg_function **function;
    size_t functions, function_capacity;
    struct variable *variable;
    size_t variables, variable_capacity;
    struct pointer_init *pointer;
    size_t pointers, pointer_capacity;
    struct const_fixup *fixup;
    size_t fixups, fixup_capacity;
    uint8_t *constants; /* 64-byte aligned, 32 lanes each */
    size_t constant_bytes, constant_capacity;
    struct constant_entry *constant_index;
    uint32_t *targets; /* instruction indices of brx.idx lists */
    size_t target_count, target_capacity;
    uint32_t shared_bytes;  /* .shared of module scope, before every function's own */
    bool common_dynamic;    /* a .func uses dynamic shared memory: it begins at the same place for every entry */
    uint32_t dynamic_align; /* of .extern .shared; at least 16 */
    uint32_t func_frame, func_local; /* all .func together */
    void **blocks;                   /* small allocations owned by the module */
    size_t block_count, block_capacity;
};

void *module_alloc(struct sg_module *m, size_t size); /* zeroed; lives as long as the module */
char *module_string(struct sg_module *m, const char *text, size_t length);
/* Slot of 32 equal lanes in the constant bank. width 0: a predicate mask. */
uint32_t module_constant(struct sg_module *m, uint64_t bits, unsigned width);
uint32_t module_symbol_constant(struct sg_module *m, enum fixup_kind kind, uint32_t index, uint64_t addend,
                                unsigned width);
void module_apply_fixups(struct sg_module *m, bool layout); /* layout: of functions; else variables' addresses */
uint32_t function_shared_static(const struct sg_function *f);
/* Total of an entry: its own and, if it calls, those of all .func. */
uint32_t function_frame_total(const struct sg_function *f);
uint32_t function_local_total(const struct sg_function *f);

/* ---- while parsing ---- */
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
/* aux[0] of ld and st with .param; PARAM_FIXED has its offset in aux[1] */
enum { PARAM_BLOCK, PARAM_LOCAL, PARAM_FIXED };
enum { SYMBOL_BUCKETS = 1024 };
struct parser {
    struct lexer lex;
    struct sg_module *m;
    struct sg_function *f;
    char *error;
    size_t error_size;
    struct symbol *symbol;
    size_t symbols, symbol_capacity;
    int32_t bucket[SYMBOL_BUCKETS];
    struct label_use *use;
    size_t uses, use_capacity;
    uint32_t scope;             /* depth */
    struct operand coordinates; /* of the last [map, {…}]; kind O_NONE if it was a plain address */
    bool address_is_local;      /* the last [symbol] is one of local memory */
};

/* Records one sentence with the current line (unless one is there) and returns false. */
__attribute__((format(printf, 2, 3))) bool parse_error(struct parser *p, const char *format, ...);
bool parse_expect(struct parser *p, const char *text); /* consumes it */
bool parse_accept(struct parser *p, const char *text);
bool parse_integer(struct parser *p, int64_t *value); /* optional sign */
void parse_skip_line(struct parser *p);
bool parse_skip_statement(struct parser *p); /* to behind the next ';' */

struct symbol *symbol_add(struct parser *p, const struct token *name, enum symbol_kind kind);
struct symbol *symbol_find(struct parser *p, const char *name, size_t length, uint32_t *range_index);
void scope_open(struct parser *p);
bool scope_close(struct parser *p); /* resolves the labels of the scope */
bool label_used(struct parser *p, uint32_t insn, uint32_t target, const struct token *name);
uint32_t vreg_new(struct sg_function *f, unsigned width);

bool parse_variable(struct parser *p, bool external); /* at the state space; module or function scope */
bool parse_statement(struct parser *p);               /* one instruction, guard included */
bool parse_call(struct parser *p, struct insn *i);
struct insn *insn_emit(struct parser *p, enum ptx_op op, uint32_t line);
bool parse_operand_symbol(struct parser *p, const struct token *name, unsigned width, struct operand *o);
uint64_t float_literal(const struct token *t, enum ptx_type type,
                       bool minus); /* bits in `type`; bit types keep the literal's */
/* Gives the registers of a function places in the frame, from 0, and rewrites its operands. Also finds opaque_pointers.
 */
void function_allocate_registers(struct sg_function *f);
void function_rebase(struct sg_function *f); /* moves its frame to frame_base */
/* Operands of an instruction, vector elements one by one. */
void insn_each_register(struct insn *i, void (*visit)(struct operand *o, bool written, void *data), void *data);
/* Binds handlers: op_bind for arithmetic, the machine's own for the rest. */
bool machine_bind(struct insn *i, char *error, size_t error_size);

#endif
