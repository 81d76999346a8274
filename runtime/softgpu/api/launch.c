/* Launches: what hardware refuses is refused here at once. */
#include "runtime/base/str.h"
#include "state.h"
#include <stdlib.h>
#include <string.h>

static CUresult check_shape(const struct cu_op *op) {
    const struct CUfunc_st *f = op->function;
    const struct dev_profile *p = cu_device.profile;
    static const uint32_t grid_limit[3] = {0x7fffffff, 65535, 65535}, block_limit[3] = {1024, 1024, 64};
    for (int i = 0; i < 3; i++)
        if (op->grid[i] - 1 >= grid_limit[i] || op->block[i] - 1 >= block_limit[i])
            return cu_fail(CUDA_ERROR_INVALID_VALUE, "%s: grid %ux%ux%u of blocks %ux%ux%u is out of the limits",
                           f->name, op->grid[0], op->grid[1], op->grid[2], op->block[0], op->block[1], op->block[2]);
    uint32_t threads = op->block[0] * op->block[1] * op->block[2];
    if (threads > 1024 || (f->info.max_threads && threads > f->info.max_threads))
        return cu_fail(CUDA_ERROR_INVALID_VALUE, "%s: a block of %u threads, but %u are the most", f->name, threads,
                       f->info.max_threads ? f->info.max_threads : 1024);
    if ((int64_t)op->shared > f->dynamic_limit)
        return cu_fail(
            CUDA_ERROR_INVALID_VALUE,
            "%s: %u bytes of dynamic shared memory, but %d are allowed: set MAX_DYNAMIC_SHARED_SIZE_BYTES first",
            f->name, op->shared, f->dynamic_limit);
    if (f->info.shared_static + op->shared > p->shared_per_block_kib * 1024)
        return cu_fail(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
                       "%s: %u bytes of shared memory, but a block has at most %u KiB", f->name,
                       f->info.shared_static + op->shared, p->shared_per_block_kib);
    struct model_occupancy occupancy = cu_function_occupancy(f, threads, op->shared);
    if (!occupancy.blocks)
        return cu_fail(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
                       "%s: a block of %u threads with %u registers does not fit an SM (%s)", f->name, threads,
                       f->registers, occupancy.limit);
    return CUDA_SUCCESS;
}

static CUresult check_cluster(const struct cu_op *op) {
    const uint32_t *required = op->function->info.cluster;
    const uint64_t size = sg_volume(op->cluster);
    if (size > 1 && cu_device.profile->compute_capability < 90)
        return cu_fail(CUDA_ERROR_INVALID_CLUSTER_SIZE, "%s: clusters need compute capability 9.0", op->function->name);
    if (size > MAX_CLUSTER)
        return cu_fail(CUDA_ERROR_INVALID_CLUSTER_SIZE, "%s: a cluster of %llu blocks, but %d are the most",
                       op->function->name, (unsigned long long)size, MAX_CLUSTER);
    for (int i = 0; i < 3; i++)
        if (op->grid[i] % op->cluster[i] || (required[0] && op->cluster[i] != required[i]))
            return cu_fail(CUDA_ERROR_INVALID_CLUSTER_SIZE,
                           "%s: the cluster must divide the grid and be the one that the kernel was compiled for",
                           op->function->name);
    return CUDA_SUCCESS;
}

/* The parameter block, from an array of pointers or from a packed buffer. */
static CUresult take_params(struct cu_op *op, void **params, void **extra) {
    const struct sg_function_info *info = &op->function->info;
    const void *packed = NULL;
    size_t size = 0;
    op->params = xcalloc(1, info->param_bytes + 8);
    for (int i = 0; extra && extra[i] != CU_LAUNCH_PARAM_END; i += 2) {
        if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER)
            packed = extra[i + 1];
        else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE)
            memcpy(&size, extra[i + 1], sizeof size);
        else
            return CUDA_ERROR_INVALID_VALUE;
    }
    if (extra && (params || !packed || size < info->param_bytes))
        return cu_fail(CUDA_ERROR_INVALID_VALUE, "%s takes %u bytes of parameters in one of the two ways",
                       op->function->name, info->param_bytes);
    if (extra)
        memcpy(op->params, packed, info->param_bytes);
    for (int i = 0; !extra && i < info->param_count; i++) {
        if (!params || !params[i])
            return cu_fail(CUDA_ERROR_INVALID_VALUE, "%s takes %d parameters and number %d is missing",
                           op->function->name, info->param_count, i);
        memcpy(op->params + info->param_offset[i], params[i], info->param_size[i]);
    }
    return CUDA_SUCCESS;
}

/* Cooperative groups find the barrier of the grid in a workspace that the driver gives them, and that they leave as they
 * want to find it. */
static CUresult make_cooperative(struct cu_op *op) {
    enum { WORKSPACE = 256 };
    struct cu_alloc *made = NULL;
    op->cooperative = true;
    if (op->context->workspace)
        return CUDA_SUCCESS;
    CUresult result = cu_memory_alloc(op->context, WORKSPACE, false, &made);
    if (result == CUDA_SUCCESS) {
        memset((void *)(uintptr_t)made->base, 0, WORKSPACE);
        cu_memory_written(made, made->base, WORKSPACE, NULL, 0);
        op->context->workspace = made;
    }
    return result;
}

static CUresult launch(const CUlaunchConfig *c, const uint32_t cluster[3], bool cooperative, CUfunction function,
                       void **params, void **extra) {
    struct CUctx_st *context;
    struct CUstream_st *stream = NULL;
    CUresult result = cu_function_enter(function, &context);
    if (result == CUDA_SUCCESS)
        result = cu_stream_find(context, c->hStream, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    struct cu_op *op = cu_op_new(context, CU_OP_LAUNCH);
    op->function = function;
    function->module->refs++;
    memcpy(op->grid, (uint32_t[]){c->gridDimX, c->gridDimY, c->gridDimZ}, sizeof op->grid);
    memcpy(op->block, (uint32_t[]){c->blockDimX, c->blockDimY, c->blockDimZ}, sizeof op->block);
    for (int i = 0; i < 3; i++)
        op->cluster[i] = cluster[i] ? cluster[i] : function->info.cluster[i] ? function->info.cluster[i] : 1;
    op->shared = c->sharedMemBytes;
    result = check_shape(op);
    if (result == CUDA_SUCCESS)
        result = check_cluster(op);
    uint64_t slots =
        (uint64_t)cu_function_occupancy(function, op->block[0] * op->block[1] * op->block[2], op->shared).blocks *
        cu_device.profile->sm_count;
    if (result == CUDA_SUCCESS && cooperative && (uint64_t)op->grid[0] * op->grid[1] * op->grid[2] > slots)
        result = CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
    if (result == CUDA_SUCCESS && cooperative)
        result = make_cooperative(op);
    if (result == CUDA_SUCCESS)
        result = take_params(op, params, extra);
    if (result == CUDA_SUCCESS)
        return cu_stream_push(stream, op);
    cu_op_unref(op);
    return result;
}

static CUresult launch_plain(const unsigned grid[3], const unsigned block[3], unsigned shared, CUstream stream,
                             bool cooperative, CUfunction function, void **params, void **extra) {
    const CUlaunchConfig config = {.gridDimX = grid[0],
                                   .gridDimY = grid[1],
                                   .gridDimZ = grid[2],
                                   .blockDimX = block[0],
                                   .blockDimY = block[1],
                                   .blockDimZ = block[2],
                                   .sharedMemBytes = shared,
                                   .hStream = stream};
    return cu_leave(launch(&config, (uint32_t[3]){0}, cooperative, function, params, extra));
}

CU_API cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                      unsigned block_y, unsigned block_z, unsigned shared, CUstream stream, void **params,
                      void **extra) {
    return launch_plain((unsigned[]){grid_x, grid_y, grid_z}, (unsigned[]){block_x, block_y, block_z}, shared, stream,
                        false, function, params, extra);
}

CU_API cuLaunchCooperativeKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                 unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared, CUstream stream,
                                 void **params) {
    return launch_plain((unsigned[]){grid_x, grid_y, grid_z}, (unsigned[]){block_x, block_y, block_z}, shared, stream,
                        true, function, params, NULL);
}

/* Attributes other than these two only change when hardware starts or schedules the kernel. */
CU_API cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **params, void **extra) {
    uint32_t cluster[3] = {0};
    bool cooperative = false;
    if (!config)
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < config->numAttrs; i++) {
        const CUlaunchAttribute *a = &config->attrs[i];
        if (a->id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) {
            cluster[0] = a->value.clusterDim.x;
            cluster[1] = a->value.clusterDim.y;
            cluster[2] = a->value.clusterDim.z;
        } else if (a->id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE) {
            cooperative = a->value.cooperative != 0;
        }
    }
    return cu_leave(launch(config, cluster, cooperative, function, params, extra));
}
