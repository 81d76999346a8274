/* Kernel images as a driver is given them: PTX text, a cubin, or a fat binary of both. */
#ifndef SG_PROFILE_IMAGE_H
#define SG_PROFILE_IMAGE_H

#include <cuda.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the real compiler gave a kernel; read from a cubin. */
struct dev_kernel_facts {
    char *name;
    unsigned registers;   /* per thread */
    unsigned local_bytes; /* stack frame per thread, spills included */
    uint8_t *code;        /* its machine code; owned; NULL if the cubin has none */
    size_t code_bytes;
};

struct dev_image {
    char *ptx; /* owned; 0-terminated text */
    size_t ptx_length;
    char target[16];                /* of the text: "sm_80", "sm_90a" */
    unsigned version;               /* of the text: 90 for PTX 9.0 */
    unsigned cubin_arch;            /* of the cubin that the facts come from; 0 if the image has none */
    struct dev_kernel_facts *facts; /* sorted by name */
    size_t fact_count;
};

/* Picks the PTX that a device of compute capability `cc` would compile (the newest that is not newer than the device)
 * and the facts of the best cubin. `data` may also be the wrapper that nvcc puts around an embedded fat binary.
 * On failure nothing is held and `error` has one sentence. Release with dev_image_release(). */
CUresult dev_image_read(const void *data, unsigned cc, struct dev_image *out, char *error, size_t error_size);
void dev_image_release(struct dev_image *image);
const struct dev_kernel_facts *dev_image_facts(const struct dev_image *image, const char *kernel); /* NULL if none */

int dev_kernel_facts_by_name(const void *a, const void *b);
/* Reads the kernels of one cubin (ELF) into the image's facts; false if it is damaged. */
bool dev_cubin_read(const uint8_t *elf, size_t size, struct dev_image *image);

/* Fat binary payloads. False unless exactly `out_size` bytes come out. */
bool dev_unpack_lz4(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size);
bool dev_unpack_zstd(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_size);

#endif
