/* Attributes and occupancy of kernels, and their machine code. */
#include "runtime/base/log.h"
#include "runtime/base/str.h"
#include "runtime/softgpu/profile/regions.h"
#include "runtime/softgpu/profile/sass.h"
#include "state.h"

struct model_occupancy cu_function_occupancy(const struct CUfunc_st *function, unsigned threads, size_t dynamic) {
    return model_occupancy(cu_device.profile, threads, function->registers, function->info.shared_static + dynamic);
}

/* The largest CTA whose registers fit. */
int cu_function_max_threads(const struct CUfunc_st *function) {
    int threads = function->info.max_threads ? (int)function->info.max_threads : 1024;
    while (threads > 32 && !model_occupancy(cu_device.profile, (unsigned)threads, function->registers, 0).blocks)
        threads -= 32;
    return threads;
}

const struct expansion *cu_function_expansion(struct CUfunc_st *function) {
    const struct dev_image *image = &function->module->image;
    const struct dev_kernel_facts *facts = function->expansion ? NULL : dev_image_facts(image, function->name);
    if (!facts || !facts->code)
        return function->expansion;
    struct flow machine;
    unsigned unknown;
    sass_read(facts->code, facts->code_bytes, image->cubin_arch, &machine, &unknown);
    if (unknown)
        log_warn(
            "softgpu: %s: %u of %zu instructions of its machine code are of no known kind; each counts as an issue "
            "slot, so its modelled time may be short",
            function->name, unknown, machine.steps);
    function->expansion = xcalloc(1, sizeof *function->expansion);
    regions_find(function->code, &machine, function->expansion);
    flow_free(&machine);
    return function->expansion;
}

static bool function_alive(const struct CUctx_st *context, CUfunction handle) {
    for (const struct CUmod_st *m = context->modules; m; m = m->next)
        if (handle >= m->functions && handle < m->functions + m->function_count)
            return true;
    return false;
}

CUresult cu_function_enter(CUfunction handle, struct CUctx_st **context) {
    CUresult result = cu_enter(context);
    return result == CUDA_SUCCESS && !function_alive(*context, handle) ? CUDA_ERROR_INVALID_HANDLE : result;
}

static CUresult attribute(const struct CUfunc_st *f, CUfunction_attribute which, int *out) {
    const struct dev_image *image = &f->module->image;
    switch (which) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        *out = cu_function_max_threads(f);
        break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
        *out = (int)f->info.shared_static;
        break;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
        *out = 0; /* constant variables live in global memory here */
        break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
        *out = (int)f->local_bytes;
        break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
        *out = (int)f->registers;
        break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
        *out = (int)image->version;
        break;
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
        *out = image->cubin_arch ? (int)image->cubin_arch : (int)cu_device.profile->compute_capability;
        break;
    case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA:
    case CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET:
    case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
    case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
        *out = 0;
        break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        *out = f->dynamic_limit;
        break;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        *out = f->carveout;
        break;
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
        *out = (int)f->info.cluster[which - CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH];
        break;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CU_API cuFuncGetAttribute(int *out, CUfunction_attribute which, CUfunction handle) {
    struct CUctx_st *context;
    CUresult result = cu_function_enter(handle, &context);
    if (result == CUDA_SUCCESS)
        result = out ? attribute(handle, which, out) : CUDA_ERROR_INVALID_VALUE;
    return cu_leave(result);
}

CU_API cuFuncSetAttribute(CUfunction handle, CUfunction_attribute which, int value) {
    struct CUctx_st *context;
    CUresult result = cu_function_enter(handle, &context);
    if (result != CUDA_SUCCESS)
        return cu_leave(result);
    int most = (int)cu_device.profile->shared_per_block_kib * 1024 - (int)handle->info.shared_static;
    switch (which) {
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        if (value < 0 || value > most)
            result = cu_fail(CUDA_ERROR_INVALID_VALUE,
                             "%s cannot have %d bytes of dynamic shared memory: %d are left on this device",
                             handle->name, value, most);
        else
            handle->dynamic_limit = value;
        break;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        handle->carveout = value;
        break;
    case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
    case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
        break; /* hints */
    default:
        result = CUDA_ERROR_INVALID_VALUE;
    }
    return cu_leave(result);
}

CU_API cuFuncSetCacheConfig(CUfunction handle, CUfunc_cache config) {
    struct CUctx_st *context;
    (void)config; /* a hint */
    return cu_leave(cu_function_enter(handle, &context));
}

CU_API cuFuncGetModule(CUmodule *out, CUfunction handle) {
    struct CUctx_st *context;
    CUresult result = cu_needs(cu_function_enter(handle, &context), out);
    if (result == CUDA_SUCCESS)
        *out = handle->module;
    return cu_leave(result);
}

CU_API cuFuncGetName(const char **out, CUfunction handle) {
    struct CUctx_st *context;
    CUresult result = cu_needs(cu_function_enter(handle, &context), out);
    if (result == CUDA_SUCCESS)
        *out = handle->name;
    return cu_leave(result);
}

CU_API cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *out, CUfunction handle, int threads, size_t dynamic,
                                                            unsigned flags) {
    struct CUctx_st *context;
    CUresult result = cu_function_enter(handle, &context);
    (void)flags;
    if (result == CUDA_SUCCESS && (!out || threads < 1))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS) {
        bool fits = threads <= cu_function_max_threads(handle) &&
                    handle->info.shared_static + dynamic <= (size_t)cu_device.profile->shared_per_block_kib * 1024;
        *out = fits ? (int)cu_function_occupancy(handle, (unsigned)threads, dynamic).blocks : 0;
    }
    return cu_leave(result);
}

CU_API cuOccupancyMaxActiveBlocksPerMultiprocessor(int *out, CUfunction handle, int threads, size_t dynamic) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(out, handle, threads, dynamic, 0);
}

/* SMs have no GPCs here: clusters find room wherever their CTAs do. */
CU_API cuOccupancyMaxActiveClusters(int *out, CUfunction handle, const CUlaunchConfig *config) {
    struct CUctx_st *context;
    CUresult result = cu_function_enter(handle, &context);
    if (result == CUDA_SUCCESS && (!out || !config))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result != CUDA_SUCCESS)
        return cu_leave(result);
    const uint32_t *own = handle->info.cluster;
    const uint32_t block[3] = {config->blockDimX, config->blockDimY, config->blockDimZ};
    uint64_t size = own[0] ? sg_volume(own) : 1;
    for (unsigned i = 0; i < config->numAttrs; i++)
        if (config->attrs[i].id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION)
            size = sg_volume((uint32_t[3]){config->attrs[i].value.clusterDim.x, config->attrs[i].value.clusterDim.y,
                                           config->attrs[i].value.clusterDim.z});
    const uint64_t threads = sg_volume(block);
    if (size == 0 || size > MAX_CLUSTER || threads == 0 || threads > UINT32_MAX)
        return cu_leave(CUDA_ERROR_INVALID_VALUE);
    const unsigned blocks = cu_function_occupancy(handle, (unsigned)threads, config->sharedMemBytes).blocks;
    *out = (int)(blocks * cu_device.profile->sm_count / (unsigned)size);
    return cu_leave(CUDA_SUCCESS);
}

CU_API cuOccupancyMaxPotentialBlockSize(int *grid, int *block, CUfunction handle, CUoccupancyB2DSize size_of,
                                        size_t dynamic, int limit) {
    struct CUctx_st *context;
    CUresult result = cu_function_enter(handle, &context);
    if (result == CUDA_SUCCESS && (!grid || !block))
        result = CUDA_ERROR_INVALID_VALUE;
    if (result != CUDA_SUCCESS)
        return cu_leave(result);
    int most = cu_function_max_threads(handle), best = 0;
    if (limit > 0 && limit < most)
        most = limit;
    for (int threads = most; threads > 0; threads = threads > 32 ? (threads - 1) / 32 * 32 : 0) {
        size_t bytes = size_of ? size_of(threads) : dynamic;
        int resident = (int)cu_function_occupancy(handle, (unsigned)threads, bytes).blocks * threads;
        if (resident > best) {
            best = resident;
            *block = threads;
        }
    }
    if (best == 0)
        return cu_leave(CUDA_ERROR_INVALID_VALUE);
    *grid = best / *block * (int)cu_device.profile->sm_count;
    return cu_leave(CUDA_SUCCESS);
}
