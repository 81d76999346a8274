/* A tensor map as this device encodes it in the 128 opaque bytes of a CUtensorMap: written by cuTensorMapEncodeTiled
 * (api/tensor.c), read by cp.async.bulk.tensor (bulk.c). Dimension 0 is the contiguous one. */
#ifndef SG_MEMORY_TENSOR_MAP_H
#define SG_MEMORY_TENSOR_MAP_H

#include <stdint.h>

enum { TENSOR_MAP_MAGIC = 0x50414d54, TENSOR_MAP_BYTES = 128, TENSOR_MAX_RANK = 5 };

struct tensor_map {
    uint32_t magic;
    uint8_t rank, element_bytes;
    uint8_t swizzle; /* address bits 4.. that are exclusive-ored with bits 7..: 0, 1 (32 bytes), 3 (64), 7 (128) */
    uint8_t type;    /* enum ptx_type, for reductions */
    uint64_t address;
    uint32_t size[TENSOR_MAX_RANK]; /* elements */
    uint16_t box[TENSOR_MAX_RANK];  /* elements, at most 256 */
    uint16_t spare2;
    uint64_t stride[TENSOR_MAX_RANK - 1]; /* bytes between elements of dimensions 1.. */
};
_Static_assert(sizeof(struct tensor_map) <= TENSOR_MAP_BYTES, "a tensor map fits its 128 bytes");

#endif
