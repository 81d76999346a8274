/* Tensor maps: CUDA Driver API, "Tensor Map Object Management". */
#include "runtime/softgpu/memory/tensor_map.h"
#include "state.h"

#include <stdio.h>
#include <string.h>

/* What is stored is the bits; what is reduced is these. T_NONE: this device has no such elements. */
static enum ptx_type element_type(CUtensorMapDataType type) {
    switch (type) {
    case CU_TENSOR_MAP_DATA_TYPE_UINT8:
        return T_U8;
    case CU_TENSOR_MAP_DATA_TYPE_UINT16:
        return T_U16;
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
        return T_F16;
    case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16:
        return T_BF16;
    case CU_TENSOR_MAP_DATA_TYPE_INT64:
        return T_S64;
    case CU_TENSOR_MAP_DATA_TYPE_UINT64:
        return T_U64;
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT64:
        return T_F64;
    case CU_TENSOR_MAP_DATA_TYPE_INT32:
        return T_S32;
    case CU_TENSOR_MAP_DATA_TYPE_UINT32:
        return T_U32;
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT32_FTZ:
    case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32:
    case CU_TENSOR_MAP_DATA_TYPE_TFLOAT32_FTZ:
        return T_F32;
    default:
        return T_NONE;
    }
}

static CUresult refuse(const char *why) {
    fprintf(stderr, "softgpu: cuTensorMapEncodeTiled: %s\n", why);
    return CUDA_ERROR_INVALID_VALUE;
}

/* Bits that the swizzle exclusive-ors; its span bounds the bytes of the box's inner dimension. */
static int swizzle_bits(CUtensorMapSwizzle swizzle, unsigned *span) {
    switch (swizzle) {
    case CU_TENSOR_MAP_SWIZZLE_NONE:
        *span = 1u << 30;
        return 0;
    case CU_TENSOR_MAP_SWIZZLE_32B:
        *span = 32;
        return 1;
    case CU_TENSOR_MAP_SWIZZLE_64B:
        *span = 64;
        return 3;
    case CU_TENSOR_MAP_SWIZZLE_128B:
        *span = 128;
        return 7;
    default:
        return -1;
    }
}

/* The requirements of the driver's documentation, each refused by itself. */
CU_API cuTensorMapEncodeTiled(CUtensorMap *out, CUtensorMapDataType type, cuuint32_t rank, void *address,
                              const cuuint64_t *size, const cuuint64_t *stride, const cuuint32_t *box,
                              const cuuint32_t *element_stride, CUtensorMapInterleave interleave,
                              CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion,
                              CUtensorMapFloatOOBfill fill) {
    const enum ptx_type element = element_type(type);
    const unsigned bytes = type_size(element);
    unsigned span = 0;
    const int bits = swizzle_bits(swizzle, &span);
    (void)promotion; /* changes speed alone */
    if (!out || !address || !size || !box || !element_stride || (rank > 1 && !stride) || (uintptr_t)out % 64)
        return refuse("an argument is missing, or the map is not aligned to 64 bytes");
    if (!bytes || bits < 0 || interleave != CU_TENSOR_MAP_INTERLEAVE_NONE || fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE)
        return refuse(
            "this device knows whole elements, no interleave, swizzles of 32, 64 and 128 bytes, and zero fill");
    if (rank < 1 || rank > TENSOR_MAX_RANK || (uintptr_t)address % 16)
        return refuse("the rank must be 1 to 5 and the address a multiple of 16");
    if (box[0] * bytes % 16 || box[0] * bytes > span)
        return refuse("the inner bytes of the box must be a multiple of 16 and no more than the swizzle spans");
    struct tensor_map map = {.magic = TENSOR_MAP_MAGIC,
                             .rank = (uint8_t)rank,
                             .element_bytes = (uint8_t)bytes,
                             .swizzle = (uint8_t)bits,
                             .type = (uint8_t)element,
                             .address = (uint64_t)(uintptr_t)address};
    for (unsigned k = 0; k < rank; k++) {
        if (size[k] == 0 || size[k] > UINT32_MAX || box[k] == 0 || box[k] > 256 || element_stride[k] != 1)
            return refuse("sizes are 1 to 2^32 - 1, boxes 1 to 256, and elements are not skipped");
        if (k && (stride[k - 1] % 16 || stride[k - 1] >> 40))
            return refuse("strides are multiples of 16 below 2^40");
        map.size[k] = (uint32_t)size[k];
        map.box[k] = (uint16_t)box[k];
        if (k)
            map.stride[k - 1] = stride[k - 1];
    }
    memset(out, 0, sizeof *out);
    memcpy(out, &map, sizeof map);
    return CUDA_SUCCESS;
}
