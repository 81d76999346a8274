/* What a cubin (an ELF file with NVIDIA's sections) says of the kernels in it. */
#ifndef MT_CUBIN_H
#define MT_CUBIN_H

#include "runtime/base/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cubin_usage {
    int registers;   /* per thread */
    int local_bytes; /* stack per thread: spilled registers and local arrays */
    int smem_static; /* bytes, without what the driver reserves */
};

/* The largest of each over the kernels of the file: an image of the project has one kernel. MT_FAILURE if a number is
 * none that a kernel can have. */
enum mt_status cubin_usage(const void *cubin, size_t size, struct cubin_usage *out);

/* MT_OK if every table of the file lies within its `size` bytes, refers to what is there, and has the kernel `entry`:
 * whoever reads it by its own words reads no byte beyond. */
enum mt_status cubin_check(const void *cubin, size_t size, const char *entry);

struct cubin_ident {
    uint8_t version, abi; /* EI_VERSION and EI_ABIVERSION of the ELF header */
    const void *compat;   /* the .nv.compat section, inside `cubin`; NULL if there is none */
    size_t compat_size;
};
enum mt_status cubin_identify(const void *cubin, size_t size, struct cubin_ident *out);

/* Calls `visit` for the machine code of each kernel, which it may change. */
enum mt_status cubin_visit_code(void *cubin, size_t size, void (*visit)(void *context, void *code, size_t size),
                                void *context);

#endif
