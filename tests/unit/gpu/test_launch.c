/* What the driver is asked when a kernel is loaded and launched, seen by a driver that only writes it down. The numbers
 * are worked out by hand from the documentation of the launch, not from the code. */
#include "runtime/gpu/launch.h"
#include "tests/unit/family/config_of.h"
#include <stdlib.h>

/* ---- a driver that writes down ---- */

struct map_call {
    CUtensorMapDataType type;
    const void *base;
    unsigned long long size[2], stride;
    unsigned box[2];
    bool as_wgmma_reads; /* rank 2, no steps, 128-byte swizzle, zeros outside */
};

static struct {
    const void *image;
    char entry[32];
    int unloaded, carveout, dynamic; /* dynamic: -1 when not set */
    int cluster_calls, threads, clusters;
    CUresult attribute_result, cluster_result;
    CUlaunchConfig cluster_config;
    CUlaunchAttribute cluster_attribute;
    unsigned grid[3], block[3], shared;
    CUstream stream;
    struct mt_gemm_args gemm;
    struct mt_gemm_f16_args f16;
    struct mt_quantize_args quantize;
    struct map_call map[4];
    int maps, launches;
} seen;

static int context, module, function, stream;

static CUresult set_current(CUcontext which) {
    assert_ptr_equal(which, &context);
    return CUDA_SUCCESS;
}

static CUresult load_data(CUmodule *out, const void *image) {
    seen.image = image;
    *out = (CUmodule)(void *)&module;
    return CUDA_SUCCESS;
}

static CUresult get_function(CUfunction *out, CUmodule from, const char *name) {
    assert_ptr_equal(from, &module);
    strncpy(seen.entry, name, sizeof seen.entry - 1);
    *out = (CUfunction)(void *)&function;
    return strcmp(name, "gemm_f16") ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

static CUresult unload(CUmodule which) {
    assert_ptr_equal(which, &module);
    seen.unloaded++;
    return CUDA_SUCCESS;
}

static CUresult set_attribute(CUfunction which, CUfunction_attribute attribute, int value) {
    assert_ptr_equal(which, &function);
    if (attribute == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT)
        seen.carveout = value;
    else if (attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
        seen.dynamic = value;
    else
        fail_msg("attribute %d is set", (int)attribute);
    return CUDA_SUCCESS;
}

static CUresult get_attribute(int *out, CUfunction_attribute attribute, CUfunction which) {
    assert_ptr_equal(which, &function);
    assert_int_equal(attribute, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
    *out = seen.threads;
    return seen.attribute_result;
}

static CUresult max_clusters(int *out, CUfunction which, const CUlaunchConfig *config) {
    assert_ptr_equal(which, &function);
    seen.cluster_calls++;
    seen.cluster_config = *config;
    assert_int_equal(config->numAttrs, 1);
    seen.cluster_attribute = config->attrs[0];
    *out = seen.clusters;
    return seen.cluster_result;
}

static CUresult launch_kernel(CUfunction which, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                              unsigned bz, unsigned shared, CUstream on, void **params, void **extra) {
    assert_ptr_equal(which, &function);
    assert_null(extra);
    memcpy(seen.grid, (unsigned[]){gx, gy, gz}, sizeof seen.grid);
    memcpy(seen.block, (unsigned[]){bx, by, bz}, sizeof seen.block);
    seen.shared = shared;
    seen.stream = on;
    seen.launches++;
    /* Which of the three it is, the caller knows. */
    if (!strcmp(seen.entry, "quantize_act"))
        memcpy(&seen.quantize, params[0], sizeof seen.quantize);
    else if (!strcmp(seen.entry, "gemm_f16"))
        memcpy(&seen.f16, params[0], sizeof seen.f16);
    else
        memcpy(&seen.gemm, params[0], sizeof seen.gemm);
    return CUDA_SUCCESS;
}

static CUresult encode(CUtensorMap *out, CUtensorMapDataType type, cuuint32_t rank, void *base, const cuuint64_t *size,
                       const cuuint64_t *stride, const cuuint32_t *box, const cuuint32_t *step,
                       CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion,
                       CUtensorMapFloatOOBfill fill) {
    assert_true(seen.maps < 4);
    seen.map[seen.maps++] = (struct map_call){
        .type = type,
        .base = base,
        .size = {size[0], size[1]},
        .stride = stride[0],
        .box = {box[0], box[1]},
        .as_wgmma_reads = rank == 2 && step[0] == 1 && step[1] == 1 && interleave == CU_TENSOR_MAP_INTERLEAVE_NONE &&
                          swizzle == CU_TENSOR_MAP_SWIZZLE_128B && promotion == CU_TENSOR_MAP_L2_PROMOTION_L2_128B &&
                          fill == CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE};
    memset(out, seen.maps, sizeof *out);
    return CUDA_SUCCESS;
}

static CUresult no_name(CUresult result, const char **out) {
    (void)result, (void)out;
    return CUDA_ERROR_INVALID_VALUE;
}

/* Numbers of an H100. */
static struct device hopper(void) {
    memset(&seen, 0, sizeof seen);
    seen.dynamic = -1;
    return (struct device){.drv = {.CtxSetCurrent = set_current,
                                   .ModuleLoadData = load_data,
                                   .ModuleGetFunction = get_function,
                                   .ModuleUnload = unload,
                                   .FuncSetAttribute = set_attribute,
                                   .FuncGetAttribute = get_attribute,
                                   .OccupancyMaxActiveClusters = max_clusters,
                                   .LaunchKernel = launch_kernel,
                                   .TensorMapEncodeTiled = encode,
                                   .GetErrorName = no_name,
                                   .GetErrorString = no_name},
                           .context = (CUcontext)(void *)&context,
                           .cc = 90,
                           .sm_count = 132,
                           .smem_per_sm = 228 << 10,
                           .smem_per_block_optin = 227 << 10,
                           .regs_per_sm = 65536,
                           .threads_per_sm = 2048};
}

static struct kernel kernel_of(const char *family, const char *text) {
    return (struct kernel){.config = config_of(family, text), .function = (CUfunction)(void *)&function};
}

/* ---- clusters ---- */

/* An SM's shared memory is shared by `ctas` CTAs, each of which has 1 KiB of the system's and its static part beside
 * what it asks for. No CTA may ask for more than a CTA can have. */
static void clusters_are_counted_with_the_room_of_a_cta(void **state) {
    (void)state;
    static const struct {
        const char *config;
        int own, per_sm, per_cta;
        unsigned size;
        int shared;
    } cases[] = {
        {"cluster=2,ctas=1", 0, 233472, 232448, 2, 232448},
        {"cluster=2,ctas=2", 0, 233472, 232448, 2, 115712},      /* 233472 / 2 - 1024 */
        {"cluster=2,ctas=2", 512, 233472, 232448, 2, 115200},    /* and its 512 of its own */
        {"cluster=4,ctas=3", 100, 233472, 232448, 4, 76700},     /* 77824 - 1024 - 100 */
        {"cluster_k=8,ctas=1", 48, 233472, 232448, 8, 232400},   /* as much as a CTA can have */
        {"cluster=2,ctas=1", 1000, 300000, 232448, 2, 231448},   /* 297976 would be more than that */
        {"cluster_k=2,ctas=2", 1000, 468896, 232448, 2, 231448}, /* 232424 would be, too */
        {"cluster_k=2,ctas=2", 1000, 466944, 232448, 2, 231448}, /* 231448 is just not */
        {"cluster_k=2,ctas=2", 1000, 466942, 232448, 2, 231447},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct device dev = hopper();
        dev.smem_per_sm = cases[i].per_sm;
        dev.smem_per_block_optin = cases[i].per_cta;
        struct kernel kernel = kernel_of("sm90", cases[i].config);
        kernel.image.smem_static = cases[i].own;
        seen.threads = 384;
        seen.clusters = 61;
        kernel_count_clusters(&dev, &kernel);
        assert_int_equal(kernel.clusters, 61);
        assert_int_equal(seen.cluster_calls, 1);
        assert_int_equal(seen.cluster_config.sharedMemBytes, cases[i].shared);
        assert_int_equal(seen.cluster_attribute.id, CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION);
        assert_int_equal(seen.cluster_attribute.value.clusterDim.x, cases[i].size);
        assert_int_equal(seen.cluster_attribute.value.clusterDim.y, 1);
        assert_int_equal(seen.cluster_attribute.value.clusterDim.z, 1);
        assert_int_equal(seen.cluster_config.gridDimX, cases[i].size);
        assert_int_equal(seen.cluster_config.gridDimY, 1);
        assert_int_equal(seen.cluster_config.gridDimZ, 1);
        assert_int_equal(seen.cluster_config.blockDimX, 384);
        assert_int_equal(seen.cluster_config.blockDimY, 1);
        assert_int_equal(seen.cluster_config.blockDimZ, 1);
    }
}

static void clusters_that_nobody_counts_are_none(void **state) {
    (void)state;
    struct device dev = hopper();
    struct kernel kernel = kernel_of("sm90", "cluster=1,cluster_k=1");
    kernel.clusters = 7;
    kernel_count_clusters(&dev, &kernel);
    assert_int_equal(kernel.clusters, 0);
    kernel = kernel_of("sm80", "");
    kernel_count_clusters(&dev, &kernel);
    assert_int_equal(kernel.clusters + seen.cluster_calls, 0);
    kernel = kernel_of("sm90", "cluster=2");
    seen.clusters = 9;
    seen.cluster_result = CUDA_ERROR_INVALID_CLUSTER_SIZE;
    kernel_count_clusters(&dev, &kernel);
    assert_int_equal(kernel.clusters, 0);
    assert_int_equal(seen.cluster_calls, 1);
    seen.cluster_result = CUDA_SUCCESS;
    seen.attribute_result = CUDA_ERROR_INVALID_HANDLE;
    kernel_count_clusters(&dev, &kernel);
    assert_int_equal(kernel.clusters, 0);
}

/* A launch has no more clusters than find room at once. */
static void a_launch_has_no_more_clusters_than_fit(void **state) {
    (void)state;
    static const struct {
        const char *config;
        int clusters;
        unsigned grid;
    } cases[] = {
        /* 132 SMs hold 66 pairs, and the problem has 4 x 64 tiles of pairs. */
        {"cluster=2", 0, 132},  {"cluster=2", 60, 120}, {"cluster=2", 66, 132},   {"cluster=2", 67, 132},
        {"cluster=4", 30, 120}, {"cluster=4", 33, 132}, {"cluster_k=8", 15, 120}, {"cluster=1", 0, 132},
    };
    const struct problem p = {.m = 256, .n = 16384, .k = 4096, .group = 128, .dtype = DTYPE_F16};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct device dev = hopper();
        struct kernel kernel = kernel_of("sm90", cases[i].config);
        const struct mt_gemm_args args = {.m = 256, .n = 16384, .k_padded = 4096, .ldy = 16384};
        kernel.clusters = cases[i].clusters;
        assert_int_equal(launch_gemm(&dev, &kernel, &p, &args, NULL), MT_OK);
        assert_int_equal(seen.launches, 1);
        assert_int_equal(seen.grid[0], cases[i].grid);
        assert_int_equal(seen.grid[1], 1);
        assert_int_equal(seen.grid[2], 1);
    }
}

/* A grid would be too small for so many tiles: the driver is not asked. */
static void more_tiles_than_a_grid_are_refused(void **state) {
    (void)state;
    static const char *const names[] = {"sm80", "sm90"};
    const struct problem p = {.m = 1 << 24, .n = 1 << 24, .k = 4096, .group = 128, .dtype = DTYPE_F16};
    for (int i = 0; i < 2; i++) {
        struct device dev = hopper();
        struct kernel kernel = kernel_of(names[i], "");
        const struct mt_gemm_args args = {.m = p.m, .n = p.n, .k_padded = 4096, .ldy = p.n};
        assert_int_equal(launch_gemm(&dev, &kernel, &p, &args, NULL), MT_USAGE);
        assert_non_null(strstr(fail_message(), "too many tiles for one launch; give it fewer tokens at a time"));
        assert_int_equal(seen.launches, 0);
    }
}

/* ---- loading ---- */

static struct image image_of(int smem_static) {
    return (struct image){.data = calloc(1, 8), .size = 8, .registers = 99, .smem_static = smem_static};
}

/* More than 48 KiB must be asked for; a CTA's static part counts. */
static void loading_asks_for_all_the_shared_memory(void **state) {
    (void)state;
    static const struct {
        int per_cta, own, dynamic;
    } cases[] = {{232448, 0, 232448}, {232448, 1000, 231448}, {49153, 0, 49153},
                 {49152, 0, -1},      {50152, 1000, -1},      {50153, 1000, 49153}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct device dev = hopper();
        struct kernel kernel;
        const struct config config = config_of("sm80", "");
        struct image image = image_of(cases[i].own);
        dev.smem_per_block_optin = cases[i].per_cta;
        assert_int_equal(kernel_load(&dev, &config, image, &kernel), MT_OK);
        assert_ptr_equal(seen.image, image.data);
        assert_string_equal(seen.entry, "gemm_sm80");
        assert_int_equal(seen.carveout, 100); /* percent */
        assert_int_equal(seen.dynamic, cases[i].dynamic);
        assert_true(config_equal(&kernel.config, &config));
        assert_int_equal(kernel.image.registers, 99);
        kernel_unload(&dev, &kernel);
        assert_int_equal(seen.unloaded, 1);
        assert_true(!kernel.image.data && !kernel.function && !kernel.module);
        kernel_unload(&dev, &kernel);
        assert_int_equal(seen.unloaded, 1);
    }
}

static void loading_finds_the_entry(void **state) {
    (void)state;
    struct device dev = hopper();
    struct kernel kernel;
    const struct config quantize = {.family = NULL}, pairs = config_of("sm90", "cluster=2"), f16 = config_of("f16", "");
    seen.clusters = 66;
    assert_int_equal(kernel_load(&dev, &quantize, image_of(0), &kernel), MT_OK);
    assert_string_equal(seen.entry, "quantize_act");
    assert_int_equal(seen.cluster_calls, 0);
    kernel_unload(&dev, &kernel);
    assert_int_equal(kernel_load(&dev, &pairs, image_of(0), &kernel), MT_OK);
    assert_string_equal(seen.entry, "gemm_sm90");
    assert_int_equal(kernel.clusters, 66);
    kernel_unload(&dev, &kernel);
    /* get_function() knows no such entry. */
    seen.unloaded = 0;
    assert_int_equal(kernel_load(&dev, &f16, image_of(0), &kernel), MT_FAILURE);
    assert_string_equal(fail_message(),
                        "gemm_f16: the kernel cannot be loaded: an error that the driver does not name (500): no "
                        "description");
    assert_true(seen.unloaded == 1 && !kernel.image.data && !kernel.module && !kernel.function);
}

static void limits_are_those_of_the_device(void **state) {
    (void)state;
    const struct device dev = {
        .cc = 1, .sm_count = 2, .smem_per_block_optin = 3, .smem_per_sm = 4, .regs_per_sm = 5, .threads_per_sm = 6};
    struct device_limits limits;
    device_limits_of(&dev, &limits);
    assert_int_equal(limits.cc, 1);
    assert_int_equal(limits.sm_count, 2);
    assert_int_equal(limits.smem_per_block_optin, 3);
    assert_int_equal(limits.smem_per_sm, 4);
    assert_int_equal(limits.regs_per_sm, 5);
    assert_int_equal(limits.threads_per_sm, 6);
}

/* ---- launching ---- */

/* 300 features in tiles of 128 and 100 tokens in tiles of 32: 3 x 4 tiles, each shared by two CTAs. */
static void a_gemm_of_sm80(void **state) {
    (void)state;
    struct device dev = hopper();
    struct kernel kernel = kernel_of("sm80", "split_k=2,raster=3,stages=3");
    const struct problem p = {.m = 100, .n = 300, .k = 1000, .group = 128, .dtype = DTYPE_F16};
    const struct mt_gemm_args args = {.m = 100, .n = 300, .k_padded = 1024, .ldy = 300, .split_k = 9, .raster = 9};
    assert_int_equal(launch_gemm(&dev, &kernel, &p, &args, (CUstream)(void *)&stream), MT_OK);
    assert_memory_equal(seen.grid, ((unsigned[]){12, 1, 2}), sizeof seen.grid);
    assert_memory_equal(seen.block, ((unsigned[]){128, 1, 1}), sizeof seen.block);
    /* Three stages of 32 x 128 codes of tokens, 128 x 64 bytes of weights, and for the one group 128 scales of 2 bytes,
     * 32 of 4 and 128 zero points, rounded up to 128. */
    assert_int_equal(seen.shared, 3 * (4096 + 8192 + 256 + 128 + 128));
    assert_ptr_equal(seen.stream, &stream);
    assert_int_equal(seen.maps, 0);
    struct mt_gemm_args want = args;
    want.split_k = 2;
    want.stream_k = 0;
    want.raster = 3;
    assert_memory_equal(&seen.gemm, &want, sizeof want);
    assert_int_equal(args.split_k, 9);
}

static void a_gemm_of_f16(void **state) {
    (void)state;
    struct device dev = hopper();
    struct kernel kernel = kernel_of("f16", "raster=2,split_k=3");
    const struct problem p = {.m = 130, .n = 300, .k = 1000, .group = 128, .dtype = DTYPE_F16};
    const struct mt_gemm_f16_args args = {.m = 130, .n = 300, .k = 1000, .ldx = 1000, .ldw = 1000, .ldy = 300};
    strcpy(seen.entry, "gemm_f16");
    assert_int_equal(launch_gemm_f16(&dev, &kernel, &p, &args, (CUstream)(void *)&stream), MT_OK);
    assert_memory_equal(seen.grid, ((unsigned[]){9, 1, 3}), sizeof seen.grid); /* 3 tiles of 128, 3 of 64 */
    assert_memory_equal(seen.block, ((unsigned[]){128, 1, 1}), sizeof seen.block);
    assert_int_equal(seen.shared, 4 * (128 + 64) * 64 * 2);
    assert_ptr_equal(seen.stream, &stream);
    assert_int_equal(seen.f16.raster, 2);
    assert_int_equal(seen.f16.split_k, 3);
    assert_int_equal(seen.f16.ldy, 300);
}

/* A CTA takes 1024 features; rows of CTAs walk over the tokens, 65535 at most. */
static void a_quantisation(void **state) {
    (void)state;
    static const struct {
        int m, k_padded;
        unsigned across, down;
    } cases[] = {{1, 128, 1, 1},          {7, 1024, 1, 7},         {7, 1152, 2, 7},
                 {7, 2048, 2, 7},         {7, 2176, 3, 7},         {65534, 1024, 1, 65534},
                 {65535, 1024, 1, 65535}, {65536, 1024, 1, 65535}, {1 << 20, 128, 1, 65535}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct device dev = hopper();
        const struct kernel kernel = {.function = (CUfunction)(void *)&function};
        const struct mt_quantize_args args = {.m = cases[i].m, .k = 100, .k_padded = cases[i].k_padded, .ldx = 104};
        strcpy(seen.entry, "quantize_act");
        assert_int_equal(launch_quantize(&dev, &kernel, &args, (CUstream)(void *)&stream), MT_OK);
        assert_memory_equal(seen.grid, ((unsigned[]){cases[i].across, cases[i].down, 1}), sizeof seen.grid);
        assert_memory_equal(seen.block, ((unsigned[]){128, 1, 1}), sizeof seen.block);
        assert_int_equal(seen.shared, 0);
        assert_ptr_equal(seen.stream, &stream);
        assert_memory_equal(&seen.quantize, &args, sizeof args);
    }
}

/* x is read in boxes of 128 codes by the tokens of a CTA's share; y is written in boxes of 64 elements by the tile's
 * tokens, where all its rows begin at multiples of 16 bytes. */
static void tensor_maps(void **state) {
    (void)state;
    static const struct {
        const char *config;
        int n, ldy;
        uintptr_t y;
        int maps;
        unsigned x_rows, tile_m;
    } cases[] = {
        {"store=1,tile_m=64", 4096, 4096, 1024, 2, 64, 64},
        {"store=1,tile_m=64,cluster=4", 4096, 4104, 1040, 2, 16, 64},
        {"store=1,tile_m=32,cluster=2", 136, 136, 16, 2, 16, 32},
        {"store=0,tile_m=64", 4096, 4096, 1024, 1, 64, 64},
        {"store=1,tile_m=64", 4100, 4104, 1024, 1, 64, 64}, /* n % 8 */
        {"store=1,tile_m=64", 4096, 4100, 1024, 1, 64, 64}, /* ldy % 8 */
        {"store=1,tile_m=64", 4096, 4096, 1032, 1, 64, 64}, /* y % 16 */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct device dev = hopper();
        struct kernel kernel = kernel_of("sm90", cases[i].config);
        const struct problem p = {.m = 90, .n = cases[i].n, .k = 1000, .group = 128, .dtype = DTYPE_F16};
        const struct mt_gemm_args args = {.x = (void *)(uintptr_t)4096, /* NOLINT(performance-no-int-to-ptr) */
                                          .y = (void *)cases[i].y,      /* NOLINT(performance-no-int-to-ptr) */
                                          .m = 90,
                                          .n = cases[i].n,
                                          .k_padded = 1024,
                                          .ldy = cases[i].ldy};
        assert_int_equal(launch_gemm(&dev, &kernel, &p, &args, NULL), MT_OK);
        assert_int_equal(seen.maps, cases[i].maps);
        const struct map_call *x = &seen.map[0], *y = &seen.map[1];
        assert_int_equal(x->type, CU_TENSOR_MAP_DATA_TYPE_UINT8);
        assert_ptr_equal(x->base, args.x);
        assert_true(x->as_wgmma_reads && x->size[0] == 1024 && x->size[1] == 90 && x->stride == 1024);
        assert_int_equal(x->box[0], 128);
        assert_int_equal(x->box[1], cases[i].x_rows);
        assert_int_equal(seen.gemm.x_map[5], 1);
        assert_int_equal(seen.gemm.y_map[5], cases[i].maps == 2 ? 2 : 0);
        if (cases[i].maps == 1)
            continue;
        assert_int_equal(y->type, CU_TENSOR_MAP_DATA_TYPE_UINT16);
        assert_ptr_equal(y->base, args.y);
        assert_true(y->as_wgmma_reads && y->size[0] == (unsigned)cases[i].n && y->size[1] == 90);
        assert_int_equal(y->stride, 2 * cases[i].ldy);
        assert_int_equal(y->box[0], 64);
        assert_int_equal(y->box[1], cases[i].tile_m);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clusters_are_counted_with_the_room_of_a_cta),
        cmocka_unit_test(clusters_that_nobody_counts_are_none),
        cmocka_unit_test(a_launch_has_no_more_clusters_than_fit),
        cmocka_unit_test(more_tiles_than_a_grid_are_refused),
        cmocka_unit_test(loading_asks_for_all_the_shared_memory),
        cmocka_unit_test(loading_finds_the_entry),
        cmocka_unit_test(limits_are_those_of_the_device),
        cmocka_unit_test(a_gemm_of_sm80),
        cmocka_unit_test(a_gemm_of_f16),
        cmocka_unit_test(a_quantisation),
        cmocka_unit_test(tensor_maps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
