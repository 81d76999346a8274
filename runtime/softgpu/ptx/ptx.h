/* A PTX text as the rest of the device sees it: a module with functions and variables. */
#ifndef SG_PTX_H
#define SG_PTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sg_module;   /* a parsed PTX text */
struct sg_function; /* one .entry of it */

struct insn;
/* Gives a parsed instruction its handler; false with a sentence in `error` for a form that is not known, whose
 * handler ends the launch. */
typedef bool ptx_bind_fn(struct insn *i, char *error, size_t error_size);
/* Parses; NULL and one sentence with line and text in `error` if the text is not right. `ptx` is copied. */
struct sg_module *ptx_parse(const char *ptx, size_t length, ptx_bind_fn *bind, char *error, size_t error_size);
void sg_module_free(struct sg_module *module);
const struct sg_function *sg_module_function(const struct sg_module *module, const char *name); /* NULL if none */
int sg_module_function_count(const struct sg_module *module);
int sg_module_function_index(const struct sg_module *module, const char *name); /* -1 if there is none */
const struct sg_function *sg_module_function_at(const struct sg_module *module, int index);
const char *sg_module_function_name(const struct sg_module *module, int index);
/* Module-scope .global and .const variables: the driver allocates each and tells the address before the first
 * launch. */
int sg_module_variable_count(const struct sg_module *module);
const char *sg_module_variable(const struct sg_module *module, int index, size_t *size, size_t *align,
                               const void **init /* NULL: zero */);
/* False for a variable that no code of the module names, such as the constants that a compiler leaves behind. */
bool sg_module_variable_named(const struct sg_module *module, int index);
int sg_module_variable_index(const struct sg_module *module, const char *name); /* -1 if there is none */
void sg_module_variable_bind(struct sg_module *module, int index, uint64_t address);
/* When all variables have their addresses and what they begin with: puts the addresses into code and variables. */
void sg_module_link(struct sg_module *module);

/* The instructions that the device does not have: each is a sentence with line and text, NULL behind the last. A launch
 * that executes one ends with it. */
const char *sg_module_lacks(const struct sg_module *module, size_t index);

struct sg_function_info {
    int param_count;
    const uint32_t *param_offset, *param_size; /* bytes, in the parameter block */
    uint32_t param_bytes;
    uint32_t shared_static, local_bytes;
    uint32_t max_threads;     /* .maxntid product, 0 if absent */
    uint32_t min_ctas_per_sm; /* .minnctapersm, 0 if absent */
    uint32_t cluster[3];      /* .reqnctapercluster, 0 if absent */
    bool opaque_pointers;     /* may load pointers from memory: its reach cannot be read off its parameters */
};
void sg_function_describe(const struct sg_function *function, struct sg_function_info *out);

#endif
