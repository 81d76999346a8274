/* Small helpers over device memory, for operands and proofs. */
#ifndef MT_MEMORY_H
#define MT_MEMORY_H

#include "runtime/gpu/device.h"
#include <stdint.h>

/* A list of allocations that are freed together. Addresses are aligned to 256 bytes. */
struct memory {
    CUdeviceptr *address;
    int count;
    size_t capacity, bytes; /* bytes: of all of them */
};

/* At least one byte is allocated. Where memory is short, MT_FAILURE says how much the process would have had, and
 * device_error() is CUDA_ERROR_OUT_OF_MEMORY. */
enum mt_status memory_alloc(struct memory *memory, struct device *dev, size_t bytes, CUdeviceptr *out);
/* Allocates and fills with a copy of `data`. */
enum mt_status memory_upload(struct memory *memory, struct device *dev, const void *data, size_t bytes,
                             CUdeviceptr *out);
/* Frees all; the allocations of a context that is gone are only forgotten by the driver. */
void memory_release(struct memory *memory, struct device *dev);

/* A device address as the pointer that launch arguments hold. */
void *memory_pointer(CUdeviceptr address);

#endif
