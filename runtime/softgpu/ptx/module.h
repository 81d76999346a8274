/* A parsed module: what stays of a PTX text. */
#ifndef SG_PTX_MODULE_H
#define SG_PTX_MODULE_H

#include "insn.h"
#include "ptx.h"

/* Generic addresses: global ones are host addresses; the other spaces are windows above them. */
#define SHARED_WINDOW 0x0100000000000000ull
#define LOCAL_WINDOW  0x0200000000000000ull
#define PARAM_WINDOW  0x0300000000000000ull
/* Pointers to functions: not memory, never 0. */
#define FUNCTION_ADDRESS(index) (((uint64_t)(index) + 1) * 16)
#define WINDOW_MASK             0xff00000000000000ull

/* What a text may ask for: beyond these it is refused, so that the numbers below, in 31 or 32 bits, hold all there
 * is. */
enum {
    TEXT_MOST = INT32_MAX,    /* bytes: it has fewer instructions, symbols and lines */
    REGISTERS_MOST = 1 << 21, /* of a function */
    BANK_MOST = 1 << 27,      /* bytes of a bank: the registers of a warp, the constants of a module */
    SPACE_MOST = 1 << 24,     /* bytes of the variables of a state space but .global and .const */
    ALIGN_MOST = 1 << 20,
    SCOPES_MOST = 256 /* in each other */
};
_Static_assert(2ull * BANK_MOST < 1u << 31,
               "operand.slot holds every slot, also of an instruction that is one too many");
_Static_assert(512ull * REGISTERS_MOST + BANK_MOST <= UINT32_MAX, "a function's registers are counted in 32 bits");
_Static_assert(2ull * SPACE_MOST + ALIGN_MOST <= UINT32_MAX, "function_shared_static() sums in 32 bits");

/* aux[0] of ld and st with .param; PARAM_FIXED has its offset in aux[1] */
enum { PARAM_BLOCK, PARAM_LOCAL, PARAM_FIXED };

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
    uint32_t first, end;   /* instructions */
    uint32_t first_target; /* of its .branchtargets, in the module's */
    uint32_t index;
    /* Parameters of an entry: offsets in the parameter block. Of a .func: offsets in its local memory, returns
     * first. */
    uint32_t params, returns;
    uint32_t *param_offset, *param_size;
    uint32_t param_bytes;
    uint32_t shared_bytes; /* its own .shared variables */
    uint32_t local_bytes, local_base;
    uint32_t frame_bytes, frame_base, sink_slot;
    uint32_t max_threads, min_ctas, cluster[3];
    bool calls, opaque_pointers;
    struct vreg *vreg; /* while parsing */
    size_t vregs, vreg_capacity, param_capacity;
};
struct lack { /* an instruction that the device does not have; insn.aux[0] is its number */
    const char *why, *sentence;
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
    uint64_t init_bytes; /* of those with an initialiser */
    struct pointer_init *pointer;
    size_t pointers, pointer_capacity;
    struct const_fixup *fixup;
    size_t fixups, fixup_capacity;
    uint32_t *fixup_bucket; /* 1 + number, by the hash of what it is; a power of two of them */
    size_t fixup_buckets;
    uint8_t *constants; /* 64-byte aligned, 32 lanes each */
    size_t constant_bytes, constant_capacity;
    struct constant_entry *constant_index;
    uint32_t *targets; /* instruction indices of brx.idx lists */
    size_t target_count, target_capacity;
    uint32_t shared_bytes;  /* .shared of module scope, before every function's own */
    bool common_dynamic;    /* a .func uses dynamic shared memory: it begins at the same place for every entry */
    uint32_t dynamic_align; /* of .extern .shared; at least 16 */
    uint32_t func_frame, func_local;                    /* all .func together */
    uint32_t shared_most;                               /* of the functions' own .shared variables */
    bool func_opaque;                                   /* opaque_pointers of any .func */
    uint32_t *entry, *entry_by_name, *variable_by_name; /* numbers of functions, of entries, of variables */
    size_t entries;
    struct lack *lack; /* sg_module_lacks() */
    size_t lack_count, lack_capacity;
    void **blocks; /* small allocations owned by the module */
    size_t block_count, block_capacity;
};

void *module_alloc(struct sg_module *m, size_t size); /* zeroed; lives as long as the module */
char *module_string(struct sg_module *m, const char *text, size_t length);
/* Slot of 32 equal lanes in the constant bank. width 0: a predicate mask. */
uint32_t module_constant(struct sg_module *m, uint64_t bits, unsigned width);
uint32_t module_symbol_constant(struct sg_module *m, enum fixup_kind kind, uint32_t index, uint64_t addend,
                                unsigned width);
void module_index(struct sg_module *m);                     /* entries and variables by name */
void module_apply_fixups(struct sg_module *m, bool layout); /* layout: of functions; else variables' addresses */
uint32_t function_shared_static(const struct sg_function *f);
/* Total of an entry: its own and, if it calls, those of all .func. */
uint32_t function_frame_total(const struct sg_function *f);
uint32_t function_local_total(const struct sg_function *f);

#endif
