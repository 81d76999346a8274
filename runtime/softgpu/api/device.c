/* What there is to know of the device. */
#include "runtime/softgpu/time/hash.h"
#include "state.h"
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

/* Locks; CUDA_SUCCESS if the device is the one there is. */
static CUresult enter_device(CUdevice device, const void *out) {
    CUresult result = cu_enter(NULL);
    if (result == CUDA_SUCCESS && device != 0)
        result = CUDA_ERROR_INVALID_DEVICE;
    return result == CUDA_SUCCESS && !out ? CUDA_ERROR_INVALID_VALUE : result;
}

CU_API cuDeviceGetCount(int *count) {
    CUresult result = enter_device(0, count);
    if (result == CUDA_SUCCESS)
        *count = 1;
    return cu_leave(result);
}

CU_API cuDeviceGet(CUdevice *device, int ordinal) {
    CUresult result = enter_device(ordinal, device);
    if (result == CUDA_SUCCESS)
        *device = 0;
    return cu_leave(result);
}

CU_API cuDeviceGetName(char *name, int size, CUdevice device) {
    CUresult result = enter_device(device, name);
    if (result == CUDA_SUCCESS && size > 0)
        snprintf(name, (size_t)size, "%s (software device, modelled times)", cu_device.profile->name);
    return cu_leave(result);
}

/* From the device file's text: another description is another device. */
static CUresult uuid(CUuuid *out, CUdevice device) {
    CUresult result = enter_device(device, out);
    if (result == CUDA_SUCCESS) {
        uint64_t words[2] = {cu_device.profile->hash, XXH3_64bits(&cu_device.profile->hash, sizeof words[0])};
        memcpy(out->bytes, words, sizeof out->bytes);
    }
    return cu_leave(result);
}

CU_API cuDeviceGetUuid(CUuuid *out, CUdevice device) {
    return uuid(out, device);
}

CU_API cuDeviceGetUuid_v2(CUuuid *out, CUdevice device) {
    return uuid(out, device);
}

CU_API softgpuTimeModel(char *out, int size, CUdevice device) {
    CUresult result = enter_device(device, out);
    if (result == CUDA_SUCCESS && size < MODEL_HASH)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        model_hash(cu_device.profile, out);
    return cu_leave(result);
}

CU_API cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) {
    CUresult result = enter_device(device, bytes);
    if (result == CUDA_SUCCESS)
        *bytes = (size_t)cu_device.profile->memory_mib << 20;
    return cu_leave(result);
}

CU_API cuDeviceComputeCapability(int *major, int *minor, CUdevice device) {
    CUresult result = enter_device(device, major);
    if (result == CUDA_SUCCESS && !minor)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS) {
        *major = (int)cu_device.profile->compute_capability / 10;
        *minor = (int)cu_device.profile->compute_capability % 10;
    }
    return cu_leave(result);
}

static const char bus_id[] = "ffff:ff:1f.0"; /* no bus has it */

CU_API cuDeviceGetPCIBusId(char *id, int size, CUdevice device) {
    CUresult result = enter_device(device, id);
    if (result == CUDA_SUCCESS && size < 13)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        snprintf(id, (size_t)size, "%s", bus_id);
    return cu_leave(result);
}

CU_API cuDeviceGetByPCIBusId(CUdevice *device, const char *id) {
    CUresult result = enter_device(0, device);
    if (result == CUDA_SUCCESS && !id)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS && strcmp(id, bus_id))
        result = CUDA_ERROR_INVALID_DEVICE;
    if (result == CUDA_SUCCESS)
        *device = 0;
    return cu_leave(result);
}

/* There is one device, and none is its own peer. */
CU_API cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer) {
    CUresult result = enter_device(device, can);
    if (result == CUDA_SUCCESS && peer != 0)
        result = CUDA_ERROR_INVALID_DEVICE;
    if (result == CUDA_SUCCESS)
        *can = 0;
    return cu_leave(result);
}

/* What the device file says. */
static bool described(CUdevice_attribute which, int *out) {
    const struct dev_profile *p = cu_device.profile;
    const struct {
        CUdevice_attribute which;
        unsigned value;
    } table[] = {
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, p->compute_capability / 10},
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, p->compute_capability % 10},
        {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, p->sm_count},
        {CU_DEVICE_ATTRIBUTE_CLOCK_RATE, p->clock_mhz * 1000},
        /* Two transfers a clock: the rate that gives the bandwidth with the width below. */
        {CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, (unsigned)(p->memory_gbs * 1e6 / (2 * 4096 / 8.0))},
        {CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, 4096},
        {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, p->l2_kib * 1024},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, p->shared_per_sm_kib * 1024},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, p->shared_per_block_kib * 1024},
        {CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK, p->shared_reserved_bytes},
        {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, p->registers_per_sm},
        {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, p->registers_per_sm},
        {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, p->warps_per_sm * 32},
        {CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR, p->blocks_per_sm},
        {CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH, p->compute_capability >= 90},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].which == which) {
            *out = (int)table[i].value;
            return true;
        }
    return false;
}

/* What is the same on every device; everything else is zero, "no". */
static int common(CUdevice_attribute which) {
    switch (which) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
        return 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
        return 64;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
        return 0x7fffffff;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
        return 65535;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
        return 48 * 1024;
    case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY:
        return 64 * 1024;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
        return 32;
    case CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT:
        return 512;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
    case CU_DEVICE_ATTRIBUTE_GPU_OVERLAP:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
    case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
        return 1;
    default:
        return 0;
    }
}

CU_API cuDeviceGetAttribute(int *out, CUdevice_attribute which, CUdevice device) {
    CUresult result = enter_device(device, out);
    if (result == CUDA_SUCCESS &&
        (which < CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK || which >= CU_DEVICE_ATTRIBUTE_MAX))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS && !described(which, out))
        *out = common(which);
    return cu_leave(result);
}
