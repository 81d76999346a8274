#include "launch.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Dynamic shared memory up to here needs no asking. */
#define SMEM_WITHOUT_OPTIN (48 * 1024)

#define QUANTIZE_TEMPLATE "quantize_act.cu"

enum { MOST_GRID_Y = 65535 /* and Z */ };

void device_limits_of(const struct device *dev, struct device_limits *out) {
    *out = (struct device_limits){.cc = dev->cc,
                                  .sm_count = dev->sm_count,
                                  .smem_per_block_optin = dev->smem_per_block_optin,
                                  .smem_per_sm = dev->smem_per_sm,
                                  .regs_per_sm = dev->regs_per_sm,
                                  .threads_per_sm = dev->threads_per_sm};
}

/* `options` is one text with spaces between the options. */
static enum mt_status compile_for(const struct device *dev, const char *template_name, struct str *options,
                                  struct image *out) {
    const char **list = mem_zeroed(options->length / 2 + 1, sizeof *list);
    int count = 0;
    char arch[16], *rest = NULL;
    if (!list || str_status(options) != MT_OK) {
        free(list);
        return MT_FAILURE;
    }
    device_arch(dev, arch);
    for (char *word = strtok_r(options->data, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        list[count++] = word;
    const struct compile_request request = {template_name, list, count, arch};
    enum mt_status status = compile_kernel(&request, out);
    free(list);
    return status;
}

enum mt_status kernel_compile(const struct device *dev, const struct config *config, const struct problem *p,
                              struct image *out) {
    struct str options = {0};
    if (!config->family)
        return kernel_compile_quantize(dev, p, out);
    config->family->options(config, p, &options);
    enum mt_status status = compile_for(dev, config->family->template_name, &options, out);
    str_release(&options);
    return status;
}

/* Takes the image over; on failure nothing is held. Dynamic shared memory is allowed up to what the device has: how
 * much of it a launch takes follows from its problem. */
static enum mt_status load(struct device *dev, struct image image, const char *entry, struct kernel *out) {
    *out = (struct kernel){.image = image};
    int most_shared = dev->smem_per_block_optin - image.smem_static;
    CUresult result = dev->drv.CtxSetCurrent(dev->context);
    if (result == CUDA_SUCCESS)
        result = dev->drv.ModuleLoadData(&out->module, image.data);
    if (result == CUDA_SUCCESS)
        result = dev->drv.ModuleGetFunction(&out->function, out->module, entry);
    /* As much shared memory as the SM can have: the CTAs that a configuration wants on it are counted so. */
    if (result == CUDA_SUCCESS)
        result = dev->drv.FuncSetAttribute(out->function, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT,
                                           CU_SHAREDMEM_CARVEOUT_MAX_SHARED);
    if (result == CUDA_SUCCESS && most_shared > SMEM_WITHOUT_OPTIN)
        result = dev->drv.FuncSetAttribute(out->function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, most_shared);
    enum mt_status status = device_check(dev, result, "the kernel cannot be loaded");
    if (status != MT_OK) {
        fail_context(status, "%s", entry);
        kernel_unload(dev, out);
    }
    return status;
}

/* The CTAs of a cluster lie on the SMs of one GPC, and a GPC's SMs need not be a multiple of them: only the driver
 * knows how many clusters find room. Asked with the shared memory at which `ctas` CTAs just fit an SM. */
void kernel_count_clusters(const struct device *dev, struct kernel *kernel) {
    const int ctas = config_get_or(&kernel->config, "ctas", 1), own = kernel->image.smem_static;
    const int size = config_get_or(&kernel->config, "cluster", 1) * config_get_or(&kernel->config, "cluster_k", 1);
    kernel->clusters = 0;
    if (size <= 1)
        return;
    int shared = dev->smem_per_sm / ctas - MT_SYSTEM_SHARED - own, threads = 0;
    if (shared > dev->smem_per_block_optin - own)
        shared = dev->smem_per_block_optin - own;
    CUlaunchAttribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION,
                                   .value.clusterDim = {(unsigned)size, 1, 1}};
    CUresult result = dev->drv.FuncGetAttribute(&threads, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, kernel->function);
    const CUlaunchConfig config = {.gridDimX = (unsigned)size,
                                   .gridDimY = 1,
                                   .gridDimZ = 1,
                                   .blockDimX = (unsigned)threads,
                                   .blockDimY = 1,
                                   .blockDimZ = 1,
                                   .sharedMemBytes = (unsigned)shared,
                                   .attrs = &attribute,
                                   .numAttrs = 1};
    if (result != CUDA_SUCCESS ||
        dev->drv.OccupancyMaxActiveClusters(&kernel->clusters, kernel->function, &config) != CUDA_SUCCESS)
        kernel->clusters = 0; /* clusters that find no room wait for those that do: slower, and right all the same */
}

enum mt_status kernel_load(struct device *dev, const struct config *config, struct image image, struct kernel *out) {
    enum mt_status status = load(dev, image, config->family ? config->family->entry : QUANTIZE_ENTRY, out);
    if (status != MT_OK)
        return status;
    out->config = *config;
    if (config->family)
        kernel_count_clusters(dev, out);
    return MT_OK;
}

static void quantize_options(const struct problem *p, struct str *out) {
    str_printf(out, " -DGROUP=%d -DIN_BF16=%d", p->group, p->dtype == DTYPE_BF16);
}

void kernel_format_quantize(const struct problem *p, struct str *out) {
    str_append(out, QUANTIZE_TEMPLATE);
    quantize_options(p, out);
}

enum mt_status kernel_compile_quantize(const struct device *dev, const struct problem *p, struct image *out) {
    struct str options = {0};
    quantize_options(p, &options);
    enum mt_status status = compile_for(dev, QUANTIZE_TEMPLATE, &options, out);
    str_release(&options);
    return status;
}

enum mt_status kernel_load_quantize(struct device *dev, const struct problem *p, struct kernel *out) {
    struct image image;
    enum mt_status status = kernel_compile_quantize(dev, p, &image);
    return status == MT_OK ? load(dev, image, QUANTIZE_ENTRY, out) : status;
}

void kernel_unload(struct device *dev, struct kernel *kernel) {
    if (kernel->module)
        dev->drv.ModuleUnload(kernel->module);
    image_release(&kernel->image);
    memset(kernel, 0, sizeof *kernel);
}

/* Inline, for a launch costs less than to hand all that on once more. */
static inline __attribute__((always_inline)) enum mt_status launch(const struct device *dev,
                                                                   const struct kernel *kernel,
                                                                   const struct launch_shape *shape, void *args,
                                                                   const char *what, CUstream stream) {
    void *params[] = {args};
    /* The driver would take a grid that is too small for what was to be computed. */
    if (shape->items == INT_MAX || shape->grid[0] < 1 || shape->grid[1] > MOST_GRID_Y || shape->grid[2] > MOST_GRID_Y)
        return fail(MT_USAGE, "%s: the output has too many tiles for one launch; give it fewer tokens at a time", what);
    CUresult result = dev->drv.LaunchKernel(kernel->function, shape->grid[0], shape->grid[1], shape->grid[2],
                                            shape->block, 1, 1, (unsigned)shape->smem_bytes, stream, params, NULL);
    return result == CUDA_SUCCESS ? MT_OK : device_check(dev, result, what);
}

/* A tensor map of rows of 128-byte pieces with 128-byte swizzle, as wgmma reads and stmatrix writes them. */
static CUresult encode_rows(const struct device *dev, unsigned char *map, const void *base, int element_bytes,
                            int columns, int rows, int pitch, int box_rows) {
    const cuuint64_t size[] = {(cuuint64_t)columns, (cuuint64_t)rows},
                     stride[] = {(cuuint64_t)pitch * (cuuint64_t)element_bytes};
    const cuuint32_t box[] = {128 / (cuuint32_t)element_bytes, (cuuint32_t)box_rows}, element_stride[] = {1, 1};
    return dev->drv.TensorMapEncodeTiled(
        (CUtensorMap *)(void *)map, element_bytes == 1 ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : CU_TENSOR_MAP_DATA_TYPE_UINT16,
        2, (void *)(uintptr_t)base, size, stride, box, element_stride, CU_TENSOR_MAP_INTERLEAVE_NONE,
        CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

/* What a kernel does not read has one value all the same. A copy, because compilers make a slow loop of memset(). */
static inline void map_clear(unsigned char map[128]) {
    static const unsigned char nothing[128];
    memcpy(map, nothing, sizeof nothing);
}

/* Tokens and k beyond x are read as zeros; what lies beyond y is not written. */
static inline enum mt_status encode_maps(const struct device *dev, const struct launch_shape *shape,
                                         struct mt_gemm_args *args) {
    CUresult result = encode_rows(dev, args->x_map, args->x, 1, args->k_padded, args->m, args->k_padded, shape->x_rows);
    if (result == CUDA_SUCCESS && shape->store && args->n % 8 == 0 && args->ldy % 8 == 0 &&
        (uintptr_t)args->y % 16 == 0)
        result = encode_rows(dev, args->y_map, args->y, 2, args->n, args->m, args->ldy, shape->tile_m);
    else
        map_clear(args->y_map);
    return result == CUDA_SUCCESS
               ? MT_OK
               : device_check(dev, result, "the tensor maps of activations and output cannot be made");
}

enum mt_status launch_gemm_as(const struct device *dev, const struct kernel *kernel, struct launch_shape *shape,
                              struct mt_gemm_args *args, CUstream stream) {
    args->split_k = shape->split_k;
    args->stream_k = shape->stream_k;
    args->raster = shape->raster;
    const unsigned room = (unsigned)(kernel->clusters * shape->cluster);
    if (room && shape->grid[0] > room)
        shape->grid[0] = room;
    if (kernel->config.family->tensor_map) {
        enum mt_status status = encode_maps(dev, shape, args);
        if (status != MT_OK)
            return status;
    } else {
        map_clear(args->x_map);
        map_clear(args->y_map);
    }
    return launch(dev, kernel, shape, args, "the GEMM cannot be launched", stream);
}

enum mt_status launch_gemm(const struct device *dev, const struct kernel *kernel, const struct problem *p,
                           const struct mt_gemm_args *args, CUstream stream) {
    struct mt_gemm_args own = *args;
    struct launch_shape shape;
    kernel->config.family->shape(&kernel->config, p, dev->sm_count, &shape);
    return launch_gemm_as(dev, kernel, &shape, &own, stream);
}

enum mt_status launch_gemm_f16(const struct device *dev, const struct kernel *kernel, const struct problem *p,
                               const struct mt_gemm_f16_args *args, CUstream stream) {
    struct mt_gemm_f16_args own = *args;
    struct launch_shape shape;
    kernel->config.family->shape(&kernel->config, p, dev->sm_count, &shape);
    own.split_k = shape.split_k;
    own.raster = shape.raster;
    return launch(dev, kernel, &shape, &own, "the fp16 GEMM cannot be launched", stream);
}

enum mt_status launch_quantize(const struct device *dev, const struct kernel *kernel,
                               const struct mt_quantize_args *args, CUstream stream) {
    struct mt_quantize_args own = *args;
    const int across = (args->k_padded + MT_QUANTIZE_FEATURES - 1) / MT_QUANTIZE_FEATURES;
    const int tokens = args->m < MOST_GRID_Y ? args->m : MOST_GRID_Y;
    const struct launch_shape shape = {.grid = {(unsigned)across, (unsigned)tokens, 1}, .block = MT_QUANTIZE_THREADS};
    return launch(dev, kernel, &shape, &own, "the quantisation of activations cannot be launched", stream);
}
