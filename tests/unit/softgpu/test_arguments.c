/* What the driver answers for modules, functions, launches, streams, events and graphs: right values, and for each
 * wrong argument its code and its sentence. */
#include "driver.h"

/* Two kernels with shapes of their own: `bounded` has limits and static shared memory, `clustered` a cluster. */
static const char shaped_body[] =
    ".address_size 64\n"
    ".visible .global .align 4 .u32 total[3];\n"
    ".visible .const .align 8 .b8 fixed[24] = {1, 2, 3};\n"
    ".visible .entry bounded(.param .u64 px, .param .u8 pb, .param .align 8 .b8 ps[24], .param .u16 ph)\n"
    ".maxntid 96, 2, 1\n.minnctapersm 3\n"
    "{\n.shared .align 16 .b8 room[5008]; .local .align 8 .b8 depot[40]; .reg .b32 %r<9>; .reg .b16 %h<3>; .reg .b64 "
    "%rd<3>;\n"
    "ld.param.u64 %rd1, [px]; ld.param.u8 %r1, [pb]; ld.param.u64 %rd2, [ps+16]; ld.param.u16 %h1, [ph];\n"
    "cvt.u32.u16 %r2, %h1; st.global.v2.u32 [%rd1], {%r1, %r2}; st.global.u64 [%rd1+8], %rd2;\n"
    "mov.u32 %r3, %nctaid.x; mov.u32 %r4, %ntid.y; mov.u32 %r5, %dynamic_smem_size; mov.u32 %r6, %cluster_nctarank;\n"
    "st.global.v4.u32 [%rd1+16], {%r3, %r4, %r5, %r6}; ret;\n}\n"
    ".visible .entry clustered(.param .u64 px)\n.reqnctapercluster 2, 1, 2\n"
    "{\n.reg .b32 %r<3>; .reg .b64 %rd<3>; ld.param.u64 %rd1, [px]; mov.u32 %r1, %cluster_nctarank;\n"
    "st.global.u32 [%rd1], %r1; ret;\n}\n"
    ".visible .entry huge()\n.maxntid 1024\n{\n.shared .align 16 .b8 room[49008]; ret;\n}\n";

struct shaped {
    CUmodule module;
    CUfunction bounded, clustered, huge;
    CUdeviceptr out;
};

static struct shaped load_shaped(void) {
    struct shaped s;
    good(cuModuleLoadData(&s.module, ptx_for("sm_80", shaped_body)));
    good(cuModuleGetFunction(&s.bounded, s.module, "bounded"));
    good(cuModuleGetFunction(&s.clustered, s.module, "clustered"));
    good(cuModuleGetFunction(&s.huge, s.module, "huge"));
    good(cuMemAlloc_v2(&s.out, 64));
    return s;
}

static int attribute(CUfunction f, CUfunction_attribute which) {
    int value = -99;
    good(cuFuncGetAttribute(&value, which, f));
    return value;
}

/* ---- modules ---- */

static void test_modules(void **state) {
    const struct fixture *f = *state;
    struct shaped s = load_shaped();
    unsigned count = 0;
    CUmodule other = NULL;
    CUfunction function = NULL;
    CUdeviceptr x = 0;
    size_t size = 0;
    uint8_t bytes[24];
    good(cuModuleGetFunctionCount(&count, s.module));
    assert_int_equal(count, 3);
    assert_int_equal(cuModuleGetFunctionCount(NULL, s.module), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuModuleGetFunctionCount(&count, (CUmodule)state), CUDA_ERROR_INVALID_VALUE);
    good(cuModuleGetGlobal_v2(&x, &size, s.module, "total"));
    assert_int_equal(size, 12);
    good(cuMemcpyDtoH_v2(bytes, x, 12));
    for (int k = 0; k < 12; k++)
        assert_int_equal(bytes[k], 0);
    good(cuModuleGetGlobal_v2(NULL, &size, s.module, "fixed"));
    assert_int_equal(size, 24);
    good(cuModuleGetGlobal_v2(&x, NULL, s.module, "fixed"));
    good(cuMemcpyDtoH_v2(bytes, x, 24));
    for (int k = 0; k < 24; k++)
        assert_int_equal(bytes[k], k < 3 ? k + 1 : 0);
    assert_int_equal(cuModuleGetGlobal_v2(&x, &size, s.module, "none"), CUDA_ERROR_NOT_FOUND);
    assert_int_equal(cuModuleGetGlobal_v2(&x, &size, s.module, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuModuleGetGlobal_v2(&x, &size, NULL, "total"), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuModuleGetFunction(&function, s.module, "bound"), CUDA_ERROR_NOT_FOUND);
    assert_int_equal(cuModuleGetFunction(&function, NULL, "bounded"), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuModuleGetFunction(NULL, s.module, "bounded"), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuModuleGetFunction(&function, s.module, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuModuleLoadData(NULL, "x"), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuModuleLoadData(&other, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_null(function);
    assert_null(other);
    good(cuModuleUnload(s.module));
    assert_int_equal(cuModuleUnload(s.module), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuModuleGetFunction(&function, s.module, "bounded"), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuFuncGetModule(&other, s.bounded), CUDA_ERROR_INVALID_HANDLE);
    good(cuModuleGetFunction(&function, f->module, "gather"));
    assert_ptr_equal(function, f->gather);
}

static void test_ways_to_load(void **state) {
    (void)state;
    char path[] = "/tmp/soft-arguments-XXXXXX";
    const char *ptx = ptx_for("sm_80", shaped_body);
    CUmodule module = NULL;
    CUfunction function;
    FILE *file = fdopen(mkstemp(path), "w");
    assert_non_null(file);
    fputs(ptx, file);
    fclose(file);
    good(cuModuleLoad(&module, path));
    good(cuModuleGetFunction(&function, module, "huge"));
    unlink(path);
    refused(cuModuleLoad(&module, path), CUDA_ERROR_FILE_NOT_FOUND, path);
    assert_int_equal(cuModuleLoad(&module, NULL), CUDA_ERROR_INVALID_VALUE);
    good(cuModuleLoadFatBinary(&module, ptx));
    good(cuModuleGetFunction(&function, module, "huge"));
    CUjit_option options[] = {CU_JIT_MAX_REGISTERS, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES,
                              CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {(void *)(uintptr_t)32, (void *)(uintptr_t)512, (void *)(uintptr_t)256};
    good(cuModuleLoadDataEx(&module, ptx, 3, options, values));
    assert_ptr_equal(values[0], (void *)(uintptr_t)32);
    assert_null(values[1]);
    assert_null(values[2]);
    good(cuModuleLoadDataEx(&module, ptx, 0, NULL, NULL));
    good(cuModuleGetFunction(&function, module, "bounded"));
    refused(cuModuleLoadData(&module, ptx_for("sm_80", "nonsense\n")), CUDA_ERROR_INVALID_PTX,
            "cannot load the module: PTX line 3: unknown directive nonsense");
    refused(cuModuleLoadData(&module, ptx_for("sm_90", shaped_body)), CUDA_ERROR_NO_BINARY_FOR_GPU,
            "the PTX is for sm_90 and this device is sm_80: compile it for an architecture that the device has");
    refused(cuModuleLoadData(&module, "hello"), CUDA_ERROR_INVALID_IMAGE,
            "the image is neither a fat binary, nor a cubin, nor PTX with .version and .target");
}

/* A variable that does not fit: the module is not loaded, and leaves no memory behind. One that no instruction names has
 * memory when it is asked for. */
static void test_no_memory_for_variables(void **state) {
    (void)state;
    CUmodule module = NULL;
    const unsigned kept = cu_device.profile->memory_mib;
    size_t before, after, total, size = 1;
    CUdeviceptr c = 0;
    cu_device.profile->memory_mib = 1;
    good(cuMemGetInfo_v2(&before, &total));
    static const char variables[] = ".address_size 64\n.global .b8 a[500000];\n.global .b8 b[400000];\n"
                                    ".global .b8 c[300000] = {7, 8};\n.entry k() { .reg .b64 %rd; ";
    char text[512];
    snprintf(text, sizeof text, "%smov.u64 %%rd, a; mov.u64 %%rd, b; mov.u64 %%rd, c; ret; }\n", variables);
    assert_int_equal(cuModuleLoadData(&module, ptx_for("sm_80", text)), CUDA_ERROR_OUT_OF_MEMORY);
    good(cuMemGetInfo_v2(&after, &total));
    assert_int_equal(after, before);
    assert_null(module);
    snprintf(text, sizeof text, "%smov.u64 %%rd, a; mov.u64 %%rd, b; ret; }\n", variables);
    good(cuModuleLoadData(&module, ptx_for("sm_80", text)));
    good(cuMemGetInfo_v2(&after, &total));
    assert_in_range(before - after, 900000, 901024);
    assert_int_equal(cuModuleGetGlobal_v2(&c, &size, module, "c"), CUDA_ERROR_OUT_OF_MEMORY);
    cu_device.profile->memory_mib = kept;
    good(cuModuleGetGlobal_v2(&c, &size, module, "c"));
    uint8_t bytes[3];
    CUdeviceptr again;
    good(cuMemcpyDtoH_v2(bytes, c, 3));
    assert_true(bytes[0] == 7 && bytes[1] == 8 && bytes[2] == 0 && size == 300000);
    good(cuModuleGetGlobal_v2(&again, NULL, module, "c"));
    assert_true(again == c);
    cu_device.profile->memory_mib = 1;
    good(cuModuleUnload(module));
    good(cuMemGetInfo_v2(&after, &total));
    cu_device.profile->memory_mib = kept;
    assert_int_equal(after, before);
}

/* ---- functions ---- */

static void test_function_attributes(void **state) {
    (void)state;
    struct shaped s = load_shaped();
    CUmodule module = NULL;
    const char *name = NULL;
    int value = -99;
    assert_int_equal(attribute(s.bounded, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK), 192);
    assert_int_equal(attribute(s.clustered, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK), 1024);
    assert_int_equal(attribute(s.bounded, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES), 5008);
    assert_int_equal(attribute(s.bounded, CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES), 0);
    assert_int_equal(attribute(s.bounded, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES), 48); /* 40, in pieces of 16 */
    assert_int_equal(attribute(s.clustered, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES), 0);
    /* guesses: 65536 registers for 3 * 192 threads, 40 where nothing is said, and for 1024 threads */
    assert_int_equal(attribute(s.bounded, CU_FUNC_ATTRIBUTE_NUM_REGS), 112);
    assert_int_equal(attribute(s.clustered, CU_FUNC_ATTRIBUTE_NUM_REGS), 40);
    assert_int_equal(attribute(s.huge, CU_FUNC_ATTRIBUTE_NUM_REGS), 64);
    assert_int_equal(attribute(s.bounded, CU_FUNC_ATTRIBUTE_PTX_VERSION), 80);
    assert_int_equal(attribute(s.bounded, CU_FUNC_ATTRIBUTE_BINARY_VERSION), 80);
    assert_int_equal(attribute(s.bounded, CU_FUNC_ATTRIBUTE_CACHE_MODE_CA), 0);
    assert_int_equal(attribute(s.bounded, CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET), 0);
    assert_int_equal(attribute(s.bounded, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED), 0);
    assert_int_equal(attribute(s.bounded, CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE), 0);
    assert_int_equal(attribute(s.bounded, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES), 48 * 1024 - 5008);
    assert_int_equal(attribute(s.huge, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES), 144);
    assert_int_equal(attribute(s.bounded, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT), -1);
    assert_int_equal(attribute(s.clustered, CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH), 2);
    assert_int_equal(attribute(s.clustered, CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT), 1);
    assert_int_equal(attribute(s.clustered, CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH), 2);
    assert_int_equal(attribute(s.bounded, CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH), 0);
    assert_int_equal(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX, s.bounded), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuFuncGetAttribute(NULL, CU_FUNC_ATTRIBUTE_NUM_REGS, s.bounded), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_NUM_REGS, NULL), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(value, -99);
    good(cuFuncGetModule(&module, s.bounded));
    assert_ptr_equal(module, s.module);
    good(cuFuncGetName(&name, s.clustered));
    assert_string_equal(name, "clustered");
    assert_int_equal(cuFuncGetModule(NULL, s.bounded), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuFuncGetName(NULL, s.bounded), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuFuncGetName(&name, (CUfunction)state), CUDA_ERROR_INVALID_HANDLE);
    good(cuFuncSetCacheConfig(s.bounded, CU_FUNC_CACHE_PREFER_L1));
    assert_int_equal(cuFuncSetCacheConfig(NULL, CU_FUNC_CACHE_PREFER_L1), CUDA_ERROR_INVALID_HANDLE);
}

static void test_set_attributes(void **state) {
    (void)state;
    struct shaped s = load_shaped();
    const CUfunction_attribute dynamic = CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    const int most = 163 * 1024 - 5008;
    good(cuFuncSetAttribute(s.bounded, dynamic, most));
    assert_int_equal(attribute(s.bounded, dynamic), most);
    refused(cuFuncSetAttribute(s.bounded, dynamic, most + 1), CUDA_ERROR_INVALID_VALUE,
            "bounded cannot have 161905 bytes of dynamic shared memory: 161904 are left on this device");
    refused(cuFuncSetAttribute(s.bounded, dynamic, -1), CUDA_ERROR_INVALID_VALUE, "cannot have -1 bytes");
    assert_int_equal(attribute(s.bounded, dynamic), most);
    good(cuFuncSetAttribute(s.bounded, dynamic, 0));
    assert_int_equal(attribute(s.bounded, dynamic), 0);
    good(cuFuncSetAttribute(s.bounded, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, 75));
    assert_int_equal(attribute(s.bounded, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT), 75);
    assert_int_equal(attribute(s.huge, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT), -1);
    good(cuFuncSetAttribute(s.bounded, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1));
    good(cuFuncSetAttribute(s.bounded, CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE, 1));
    assert_int_equal(cuFuncSetAttribute(s.bounded, CU_FUNC_ATTRIBUTE_NUM_REGS, 32), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuFuncSetAttribute(NULL, dynamic, 32), CUDA_ERROR_INVALID_HANDLE);
}

static size_t CUDA_CB shared_of(int threads) {
    return (size_t)threads * 256;
}

static void test_occupancy(void **state) {
    const struct fixture *f = *state;
    struct shaped s = load_shaped();
    int blocks = -9, grid = -9, block = -9;
    /* 40 registers: a warp takes 1280, a quarter of the SM 12 warps; 108 SMs */
    good(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f->affine, 128, 0));
    assert_int_equal(blocks, 12);
    good(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(&blocks, f->affine, 1024, 0, 1));
    assert_int_equal(blocks, 1);
    good(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f->affine, 128, 40 * 1024));
    assert_int_equal(blocks, 4);
    good(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f->affine, 128, 163 * 1024));
    assert_int_equal(blocks, 1);
    good(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f->affine, 128, 163 * 1024 + 1));
    assert_int_equal(blocks, 0);
    good(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, s.bounded, 192, 163 * 1024 - 5008));
    assert_int_equal(blocks, 1);
    good(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, s.bounded, 192, 163 * 1024 - 5007));
    assert_int_equal(blocks, 0);
    good(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, s.bounded, 193, 0));
    assert_int_equal(blocks, 0);
    good(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, f->affine, 1, 0));
    assert_int_equal(blocks, 32);
    assert_int_equal(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, s.bounded, 0, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuOccupancyMaxActiveBlocksPerMultiprocessor(NULL, s.bounded, 1, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, NULL, 1, 0), CUDA_ERROR_INVALID_HANDLE);

    good(cuOccupancyMaxPotentialBlockSize(&grid, &block, f->affine, NULL, 0, 0)); /* 48 warps: 3 x 512 and others */
    assert_int_equal(block * (grid / 108), 48 * 32);
    assert_int_equal(grid % 108, 0);
    good(cuOccupancyMaxPotentialBlockSize(&grid, &block, f->affine, NULL, 0, 100)); /* 15 x 96; 100 gives 12 x 100 */
    assert_int_equal(block, 96);
    assert_int_equal(grid, 16 * 108);
    good(cuOccupancyMaxPotentialBlockSize(&grid, &block, f->affine, NULL, 150 * 1024, 256));
    assert_int_equal(block, 256);
    assert_int_equal(grid, 108);
    good(cuOccupancyMaxPotentialBlockSize(&grid, &block, f->affine, shared_of, 0, 0)); /* 163 KiB are 652 threads */
    assert_int_equal(block * (grid / 108), 640);
    assert_int_equal(cuOccupancyMaxPotentialBlockSize(&grid, &block, f->affine, NULL, 170 * 1024, 0),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuOccupancyMaxPotentialBlockSize(NULL, &block, f->affine, NULL, 0, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuOccupancyMaxPotentialBlockSize(&grid, NULL, f->affine, NULL, 0, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuOccupancyMaxPotentialBlockSize(&grid, &block, NULL, NULL, 0, 0), CUDA_ERROR_INVALID_HANDLE);
}

static CUresult clusters(int *out, CUfunction f, unsigned x, unsigned y, unsigned z, unsigned threads) {
    CUlaunchAttribute attributes[] = {{.id = CU_LAUNCH_ATTRIBUTE_PRIORITY, .value.priority = 1},
                                      {.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, .value.clusterDim = {x, y, z}}};
    const CUlaunchConfig config = {.gridDimX = 64,
                                   .gridDimY = 4,
                                   .gridDimZ = 4,
                                   .blockDimX = threads,
                                   .blockDimY = 2,
                                   .blockDimZ = 1,
                                   .attrs = attributes,
                                   .numAttrs = x == 9 ? 0 : 2};
    return cuOccupancyMaxActiveClusters(out, f, &config);
}

static void test_active_clusters(void **state) {
    const struct fixture *f = *state;
    struct shaped s = load_shaped();
    int count = -9;
    good(clusters(&count, f->affine, 2, 2, 1, 64));
    assert_int_equal(count, 12 * 108 / 4);
    good(clusters(&count, f->affine, 9, 0, 0, 64)); /* no attribute, and no cluster of its own */
    assert_int_equal(count, 12 * 108);
    good(clusters(&count, s.clustered, 9, 0, 0, 64)); /* its own, of 2 x 1 x 2 */
    assert_int_equal(count, 12 * 108 / 4);
    good(clusters(&count, f->affine, 4, 4, 1, 64));
    assert_int_equal(count, 81);
    assert_int_equal(clusters(&count, f->affine, 17, 1, 1, 64), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(clusters(&count, f->affine, 0, 1, 1, 64), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(clusters(&count, f->affine, 1, 1, 1, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(clusters(NULL, f->affine, 1, 1, 1, 64), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuOccupancyMaxActiveClusters(&count, f->affine, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(clusters(&count, NULL, 1, 1, 1, 64), CUDA_ERROR_INVALID_HANDLE);
}

/* ---- launches ---- */

struct dims {
    unsigned x, y, z;
};

static CUresult launch_huge(struct shaped *s, struct dims grid, struct dims block, unsigned shared) {
    return cuLaunchKernel(s->huge, grid.x, grid.y, grid.z, block.x, block.y, block.z, shared, NULL, NULL, NULL);
}

static void test_launch_limits(void **state) {
    (void)state;
    struct shaped s = load_shaped();
    const struct dims one = {1, 1, 1};
    static const struct {
        struct dims grid, block;
    } outside[] = {{{0, 1, 1}, {1, 1, 1}},     {{1, 0, 1}, {1, 1, 1}},     {{1, 1, 0}, {1, 1, 1}},
                   {{1, 65536, 1}, {1, 1, 1}}, {{1, 1, 65536}, {1, 1, 1}}, {{0x80000000u, 1, 1}, {1, 1, 1}},
                   {{1, 1, 1}, {0, 1, 1}},     {{1, 1, 1}, {1, 0, 1}},     {{1, 1, 1}, {1, 1, 0}},
                   {{1, 1, 1}, {1025, 1, 1}},  {{1, 1, 1}, {1, 1025, 1}},  {{1, 1, 1}, {1, 1, 65}}};
    for (size_t k = 0; k < sizeof outside / sizeof *outside; k++) {
        char want[200];
        snprintf(want, sizeof want, "huge: grid %ux%ux%u of blocks %ux%ux%u is out of the limits", outside[k].grid.x,
                 outside[k].grid.y, outside[k].grid.z, outside[k].block.x, outside[k].block.y, outside[k].block.z);
        refused(launch_huge(&s, outside[k].grid, outside[k].block, 0), CUDA_ERROR_INVALID_VALUE, want);
    }
    good(launch_huge(&s, one, (struct dims){4, 4, 64}, 0));
    good(launch_huge(&s, one, (struct dims){1, 1024, 1}, 0));
    good(launch_huge(&s, (struct dims){1, 65535, 1}, one, 0));
    good(cuCtxSynchronize());
    refused(launch_huge(&s, one, (struct dims){5, 4, 52}, 0), CUDA_ERROR_INVALID_VALUE,
            "huge: a block of 1040 threads, but 1024 are the most");
    good(launch_huge(&s, one, one, 144));
    refused(launch_huge(&s, one, one, 145), CUDA_ERROR_INVALID_VALUE,
            "huge: 145 bytes of dynamic shared memory, but 144 are allowed: set MAX_DYNAMIC_SHARED_SIZE_BYTES first");
    s.huge->dynamic_limit = 1 << 20; /* as if nothing had been looked at when it was set */
    refused(launch_huge(&s, one, one, 163 * 1024 - 49008 + 1), CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
            "huge: 166913 bytes of shared memory, but a block has at most 163 KiB");
    good(launch_huge(&s, one, one, 163 * 1024 - 49008));
    s.huge->registers = 128;
    refused(launch_huge(&s, one, (struct dims){1024, 1, 1}, 0), CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
            "huge: a block of 1024 threads with 128 registers does not fit an SM (registers)");
    good(launch_huge(&s, one, (struct dims){512, 1, 1}, 0));
    assert_int_equal(cuLaunchKernel(NULL, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuLaunchKernel(s.huge, 1, 1, 1, 1, 1, 1, 0, (CUstream)state, NULL, NULL),
                     CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuLaunchKernelEx(NULL, s.huge, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
    good(cuCtxSynchronize());
}

struct block { /* bounded's parameters, as they lie */
    CUdeviceptr x;
    uint8_t byte;
    uint64_t array[3];
    uint16_t half;
};

static void check_bounded(CUdeviceptr out, const uint32_t want[8]) {
    uint32_t got[8];
    good(cuMemcpyDtoH_v2(got, out, sizeof got));
    for (int k = 0; k < 8; k++)
        assert_int_equal(got[k], want[k]);
    good(cuMemsetD32_v2(out, 0, 8));
}

static void test_parameters(void **state) {
    (void)state;
    struct shaped s = load_shaped();
    struct block p = {s.out, 200, {1, 2, 0x500000006}, 40000};
    void *params[] = {&p.x, &p.byte, p.array, &p.half};
    size_t size = sizeof p, less = 34;
    void *packed[] = {CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_BUFFER_POINTER, &p, CU_LAUNCH_PARAM_END};
    void *small[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &p, CU_LAUNCH_PARAM_BUFFER_SIZE, &less, CU_LAUNCH_PARAM_END};
    void *no_size[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &p, CU_LAUNCH_PARAM_END};
    void *no_pointer[] = {CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END};
    void *other[] = {(void *)7, &p, CU_LAUNCH_PARAM_END};
    good(cuLaunchKernel(s.bounded, 3, 1, 1, 96, 2, 1, 100, NULL, params, NULL));
    check_bounded(s.out, (const uint32_t[]){200, 40000, 6, 5, 3, 2, 100, 1});
    good(cuLaunchKernel(s.bounded, 2, 1, 1, 32, 1, 1, 0, NULL, NULL, packed));
    check_bounded(s.out, (const uint32_t[]){200, 40000, 6, 5, 2, 1, 0, 1});
    less = 42; /* what the parameters take, without the padding behind the last */
    good(cuLaunchKernel(s.bounded, 2, 1, 1, 32, 1, 1, 0, NULL, NULL, small));
    check_bounded(s.out, (const uint32_t[]){200, 40000, 6, 5, 2, 1, 0, 1});
    less = 41;
    const char *sentence = "bounded takes 42 bytes of parameters in one of the two ways";
    refused(cuLaunchKernel(s.bounded, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, small), CUDA_ERROR_INVALID_VALUE, sentence);
    refused(cuLaunchKernel(s.bounded, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, no_size), CUDA_ERROR_INVALID_VALUE, sentence);
    refused(cuLaunchKernel(s.bounded, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, no_pointer), CUDA_ERROR_INVALID_VALUE, sentence);
    refused(cuLaunchKernel(s.bounded, 1, 1, 1, 1, 1, 1, 0, NULL, params, packed), CUDA_ERROR_INVALID_VALUE, sentence);
    assert_int_equal(cuLaunchKernel(s.bounded, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, other), CUDA_ERROR_INVALID_VALUE);
    params[2] = NULL;
    refused(cuLaunchKernel(s.bounded, 1, 1, 1, 1, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE,
            "bounded takes 4 parameters and number 2 is missing");
    refused(cuLaunchKernel(s.bounded, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL), CUDA_ERROR_INVALID_VALUE,
            "bounded takes 4 parameters and number 0 is missing");
    refused(cuLaunchKernel(s.bounded, 1, 1, 1, 97, 2, 1, 0, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE,
            "bounded: a block of 194 threads, but 192 are the most");
}

static CUresult launch_cluster(CUfunction function, struct dims grid, struct dims cluster, void **params) {
    CUlaunchAttribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION,
                                   .value.clusterDim = {cluster.x, cluster.y, cluster.z}};
    const CUlaunchConfig config = {.gridDimX = grid.x,
                                   .gridDimY = grid.y,
                                   .gridDimZ = grid.z,
                                   .blockDimX = 32,
                                   .blockDimY = 1,
                                   .blockDimZ = 1,
                                   .attrs = &attribute,
                                   .numAttrs = 1};
    return cuLaunchKernelEx(&config, function, params, NULL);
}

static void test_clusters(void **state) {
    (void)state;
    struct shaped s = load_shaped();
    struct block p = {s.out, 1, {0}, 1};
    void *params[] = {&p.x, &p.byte, p.array, &p.half};
    uint32_t ranks = 0;
    const char *divides = "the cluster must divide the grid and be the one that the kernel was compiled for";
    refused(launch_cluster(s.bounded, (struct dims){4, 1, 1}, (struct dims){2, 1, 1}, params),
            CUDA_ERROR_INVALID_CLUSTER_SIZE, "bounded: clusters need compute capability 9.0");
    good(launch_cluster(s.bounded, (struct dims){4, 1, 1}, (struct dims){1, 1, 1}, params));
    good(cuCtxSynchronize());
    cu_device.profile->compute_capability = 90;
    good(launch_cluster(s.bounded, (struct dims){4, 4, 2}, (struct dims){4, 2, 2}, params));
    check_bounded(s.out, (const uint32_t[]){1, 1, 0, 0, 4, 1, 0, 16});
    refused(launch_cluster(s.bounded, (struct dims){17, 1, 1}, (struct dims){17, 1, 1}, params),
            CUDA_ERROR_INVALID_CLUSTER_SIZE, "bounded: a cluster of 17 blocks, but 16 are the most");
    refused(launch_cluster(s.bounded, (struct dims){5, 4, 4}, (struct dims){2, 1, 1}, params),
            CUDA_ERROR_INVALID_CLUSTER_SIZE, divides);
    refused(launch_cluster(s.bounded, (struct dims){4, 5, 4}, (struct dims){1, 2, 1}, params),
            CUDA_ERROR_INVALID_CLUSTER_SIZE, divides);
    refused(launch_cluster(s.bounded, (struct dims){4, 4, 5}, (struct dims){1, 1, 2}, params),
            CUDA_ERROR_INVALID_CLUSTER_SIZE, divides);
    good(cuLaunchKernel(s.clustered, 4, 1, 2, 32, 1, 1, 0, NULL, params, NULL)); /* its own */
    good(cuMemcpyDtoH_v2(&ranks, s.out, 4));
    assert_int_equal(ranks, 4);
    good(launch_cluster(s.clustered, (struct dims){4, 1, 2}, (struct dims){2, 1, 2}, params));
    refused(launch_cluster(s.clustered, (struct dims){4, 2, 2}, (struct dims){2, 2, 2}, params),
            CUDA_ERROR_INVALID_CLUSTER_SIZE, divides);
    refused(cuLaunchKernel(s.clustered, 3, 1, 2, 32, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_INVALID_CLUSTER_SIZE,
            divides);
    good(cuCtxSynchronize());
    cu_device.profile->compute_capability = 80;
}

static void test_cooperative(void **state) {
    (void)state;
    struct shaped s = load_shaped();
    const CUlaunchAttribute asks = {.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE, .value.cooperative = 1};
    CUlaunchAttribute attribute = asks;
    CUlaunchConfig config = {.gridDimX = 108,
                             .gridDimY = 2,
                             .gridDimZ = 1,
                             .blockDimX = 512,
                             .blockDimY = 1,
                             .blockDimZ = 1,
                             .attrs = &attribute,
                             .numAttrs = 1};
    good(cuLaunchCooperativeKernel(s.huge, 108, 1, 2, 512, 1, 1, 0, NULL, NULL)); /* two a multiprocessor */
    assert_int_equal(cuLaunchCooperativeKernel(s.huge, 217, 1, 1, 512, 1, 1, 0, NULL, NULL),
                     CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
    good(cuLaunchKernel(s.huge, 217, 1, 1, 512, 1, 1, 0, NULL, NULL, NULL));
    good(cuLaunchKernelEx(&config, s.huge, NULL, NULL));
    config.gridDimX = 109;
    assert_int_equal(cuLaunchKernelEx(&config, s.huge, NULL, NULL), CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
    attribute.value.cooperative = 0;
    good(cuLaunchKernelEx(&config, s.huge, NULL, NULL));
    good(cuCtxSynchronize());
}

/* ---- copies and fills by every name ---- */

static void test_copies(void **state) {
    (void)state;
    uint8_t host[64], got[64], *pinned;
    CUdeviceptr x, y;
    CUstream stream;
    for (int k = 0; k < 64; k++)
        host[k] = (uint8_t)(3 * k + 1);
    good(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    good(cuMemAlloc_v2(&x, 64));
    good(cuMemAlloc_v2(&y, 64));
    good(cuMemAllocHost_v2((void **)&pinned, 64));
    good(cuMemcpy(x, (CUdeviceptr)(uintptr_t)host, 64));
    good(cuMemcpyDtoDAsync_v2(y, x, 64, stream));
    good(cuMemcpyDtoHAsync_v2(pinned, y, 64, stream));
    good(cuStreamSynchronize(stream));
    assert_memory_equal(pinned, host, 64);
    memset(pinned, 9, 64);
    good(cuMemcpyAsync(x, (CUdeviceptr)(uintptr_t)pinned, 32, stream));
    good(cuMemcpyAsync((CUdeviceptr)(uintptr_t)got, x, 64, stream));
    good(cuStreamSynchronize(stream));
    assert_memory_equal(got, pinned, 32);
    assert_memory_equal(got + 32, host + 32, 32);
    good(cuMemcpyHtoDAsync_v2(x, host, 64, NULL));
    good(cuMemsetD8Async(x + 1, 0xab, 3, NULL));
    good(cuMemsetD16Async(x + 4, 0x1234, 2, NULL));
    good(cuMemsetD32Async(x + 8, 0xdeadbeef, 1, NULL));
    good(cuMemcpy((CUdeviceptr)(uintptr_t)got, x, 64));
    static const uint8_t filled[] = {0xab, 0xab, 0xab, 0x34, 0x12, 0x34, 0x12, 0xef, 0xbe, 0xad, 0xde};
    memcpy(host + 1, filled, sizeof filled);
    assert_memory_equal(got, host, 64);
    good(cuMemcpyDtoD_v2(x + 8, x, 16)); /* overlapping */
    good(cuMemcpyDtoH_v2(got, x, 64));
    memmove(host + 8, host, 16);
    assert_memory_equal(got, host, 64);
    assert_int_equal(cuMemcpyHtoDAsync_v2(x, host, 8, (CUstream)state), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuMemsetD8Async(x, 1, 8, (CUstream)state), CUDA_ERROR_INVALID_HANDLE);
    refused(cuMemcpyDtoDAsync_v2(y + 1, x, 64, stream), CUDA_ERROR_INVALID_VALUE, "go beyond the end");
    refused(cuMemcpyDtoDAsync_v2(y, x + 1, 64, stream), CUDA_ERROR_INVALID_VALUE, "go beyond the end");
    good(cuStreamDestroy_v2(stream));
}

/* ---- streams and events ---- */

static void test_streams(void **state) {
    const struct fixture *f = *state;
    CUstream stream = NULL, none = (CUstream)state;
    CUcontext context = NULL;
    unsigned flags = 9;
    int priority = 9;
    CUevent event;
    good(cuStreamCreateWithPriority(&stream, CU_STREAM_NON_BLOCKING, -2));
    good(cuStreamGetFlags(stream, &flags));
    assert_int_equal(flags, CU_STREAM_NON_BLOCKING);
    good(cuStreamGetPriority(stream, &priority));
    assert_int_equal(priority, -2);
    good(cuStreamGetCtx(stream, &context));
    assert_ptr_equal(context, f->context);
    good(cuStreamQuery(stream));
    good(cuStreamQuery(NULL));
    good(cuStreamSynchronize(CU_STREAM_LEGACY));
    good(cuStreamSynchronize(CU_STREAM_PER_THREAD));
    good(cuStreamGetFlags(NULL, &flags));
    assert_int_equal(flags, 0);
    assert_int_equal(cuStreamCreate(&stream, 2), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuStreamCreate(NULL, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuStreamGetFlags(stream, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuStreamGetPriority(stream, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuStreamGetCtx(stream, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuStreamGetFlags(none, &flags), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuStreamGetPriority(none, &priority), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuStreamGetCtx(none, &context), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuStreamQuery(none), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuStreamDestroy_v2(none), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuStreamDestroy_v2(NULL), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuLaunchHostFunc(none, (CUhostFn)(void *)free, NULL), CUDA_ERROR_INVALID_HANDLE);
    good(cuEventCreate(&event, 0));
    assert_int_equal(cuStreamWaitEvent(none, event, 0), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuStreamWaitEvent(stream, (CUevent)state, 0), CUDA_ERROR_INVALID_HANDLE);
    good(cuStreamWaitEvent(stream, event, 0)); /* never recorded: nothing to wait for */
    good(cuStreamDestroy_v2(stream));
    assert_int_equal(cuStreamGetFlags(stream, &flags), CUDA_ERROR_INVALID_HANDLE);
}

static void test_events(void **state) {
    (void)state;
    CUevent a, b, untimed, none = (CUevent)state;
    float ms = -1;
    assert_int_equal(cuEventCreate(&a, 8), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuEventCreate(NULL, 0), CUDA_ERROR_INVALID_VALUE);
    good(cuEventCreate(&a, CU_EVENT_BLOCKING_SYNC));
    good(cuEventCreate(&b, 0));
    good(cuEventCreate(&untimed, CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS));
    good(cuEventSynchronize(a)); /* never recorded */
    good(cuEventQuery(a));
    assert_int_equal(cuEventElapsedTime(&ms, a, b), CUDA_ERROR_INVALID_HANDLE);
    good(cuEventRecord(a, NULL));
    assert_int_equal(cuEventElapsedTime(&ms, a, b), CUDA_ERROR_INVALID_HANDLE);
    good(cuEventRecordWithFlags(b, NULL, CU_EVENT_RECORD_EXTERNAL)); /* outside of a capture an ordinary one */
    good(cuEventRecord(untimed, NULL));
    assert_int_equal(cuEventElapsedTime(&ms, a, b), CUDA_ERROR_NOT_READY);
    good(cuEventQuery(b));
    good(cuEventElapsedTime(&ms, a, b));
    assert_true(ms == 0);
#if CUDA_VERSION >= 12080
    ms = -1;
    good(cuEventElapsedTime_v2(&ms, a, b));
    assert_true(ms == 0);
#endif
    assert_int_equal(cuEventElapsedTime(&ms, a, untimed), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuEventElapsedTime(&ms, untimed, b), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuEventElapsedTime(NULL, a, b), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuEventElapsedTime(&ms, none, b), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuEventElapsedTime(&ms, a, none), CUDA_ERROR_INVALID_HANDLE);
    struct CUevent_st alike = *b; /* recorded, but nobody's */
    assert_int_equal(cuEventElapsedTime(&ms, a, &alike), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuEventElapsedTime(&ms, &alike, b), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuEventRecord(none, NULL), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuEventRecord(a, (CUstream)state), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuEventSynchronize(none), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuEventDestroy_v2(none), CUDA_ERROR_INVALID_HANDLE);
    good(cuEventDestroy_v2(a));
    assert_int_equal(cuEventQuery(a), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuEventDestroy_v2(a), CUDA_ERROR_INVALID_HANDLE);
    good(cuEventQuery(b));
}

/* ---- captures and graphs ---- */

static CUstreamCaptureStatus capture_of(CUstream stream) {
    CUstreamCaptureStatus status = (CUstreamCaptureStatus)9;
    good(cuStreamIsCapturing(stream, &status));
    return status;
}

static void test_capture_errors(void **state) {
    struct fixture *f = *state;
    CUstream a, b, plain, none = (CUstream)state;
    CUevent fork, before, timing;
    CUgraph graph = NULL;
    CUstreamCaptureStatus status;
    uint32_t x[COUNT];
    CUdeviceptr dx = random_buffer(x);
    good(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
    good(cuStreamCreate(&b, CU_STREAM_NON_BLOCKING));
    good(cuStreamCreate(&plain, CU_STREAM_DEFAULT));
    good(cuEventCreate(&fork, CU_EVENT_DISABLE_TIMING));
    good(cuEventCreate(&before, 0));
    good(cuEventCreate(&timing, 0));
    good(cuEventRecord(before, a));
    assert_int_equal(cuStreamBeginCapture_v2(NULL, CU_STREAM_CAPTURE_MODE_GLOBAL),
                     CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    assert_int_equal(cuStreamBeginCapture_v2(none, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuStreamEndCapture(a, &graph), CUDA_ERROR_ILLEGAL_STATE);
    assert_int_equal(capture_of(a), CU_STREAM_CAPTURE_STATUS_NONE);
    good(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    assert_int_equal(capture_of(a), CU_STREAM_CAPTURE_STATUS_ACTIVE);
    assert_int_equal(capture_of(b), CU_STREAM_CAPTURE_STATUS_NONE);
    assert_int_equal(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_ERROR_ILLEGAL_STATE);
    assert_int_equal(cuStreamEndCapture(a, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuStreamEndCapture(none, &graph), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuStreamIsCapturing(a, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuStreamIsCapturing(none, &status), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuStreamWaitEvent(a, before, 0), CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    good(cuEventRecord(fork, a));
    assert_int_equal(cuEventSynchronize(fork), CUDA_ERROR_CAPTURED_EVENT);
    good(cuStreamWaitEvent(b, fork, 0));
    assert_int_equal(capture_of(b), CU_STREAM_CAPTURE_STATUS_ACTIVE);
    assert_int_equal(cuStreamEndCapture(b, &graph), CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    good(cuStreamBeginCapture_v2(plain, CU_STREAM_CAPTURE_MODE_GLOBAL));
    assert_int_equal(cuStreamWaitEvent(plain, fork, 0), CUDA_ERROR_STREAM_CAPTURE_MERGE);
    good(cuStreamWaitEvent(b, fork, 0)); /* again: it is of the same capture */
    good(cuStreamEndCapture(a, &graph));
    assert_int_equal(capture_of(b), CU_STREAM_CAPTURE_STATUS_NONE);
    good(cuEventSynchronize(fork));
    /* `plain` is an ordinary stream: the default stream would have to wait for it */
    assert_int_equal(cuMemsetD8_v2(dx, 1, 1), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    assert_int_equal(capture_of(plain), CU_STREAM_CAPTURE_STATUS_INVALIDATED);
    assert_int_equal(cuStreamEndCapture(plain, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    assert_null(graph);
    good(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_GLOBAL));
    good(cuMemsetD8_v2(dx, 1, 1)); /* a stream that does not block is none of the default stream's business */
    good(cuStreamSynchronize(b));
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    assert_int_equal(cuStreamEndCapture(a, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    good(cuStreamBeginCapture_v2(plain, CU_STREAM_CAPTURE_MODE_GLOBAL));
    assert_int_equal(cuEventRecord(timing, NULL), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    assert_int_equal(cuStreamEndCapture(plain, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    launch_affine(f, a, dx, COUNT, 3, 1); /* and everything works as before */
    good(cuStreamSynchronize(a));
    good(cuMemFree_v2(dx));
}

static unsigned calls;
static void CUDA_CB count_call(void *argument) {
    calls += (unsigned)(uintptr_t)argument;
}

/* All kinds of nodes, launched twice, and timed by events inside. */
static void test_graph_nodes(void **state) {
    struct fixture *f = *state;
    CUstream a;
    CUevent begin, end;
    CUgraph graph, none = (CUgraph)state;
    CUgraphExec exec = NULL;
    CUgraphNode nodes[8];
    size_t count = 0;
    float ms = -1;
    uint32_t x[COUNT], y[COUNT];
    CUdeviceptr dx = random_buffer(x), dy = random_buffer(y);
    good(cuStreamCreate(&a, CU_STREAM_NON_BLOCKING));
    good(cuEventCreate(&begin, 0));
    good(cuEventCreate(&end, 0));
    good(cuStreamBeginCapture_v2(a, CU_STREAM_CAPTURE_MODE_RELAXED));
    good(cuEventRecordWithFlags(begin, a, CU_EVENT_RECORD_EXTERNAL));
    launch_affine(f, a, dx, COUNT, 3, 1);
    good(cuMemcpyDtoDAsync_v2(dy, dx, BYTES, a));
    good(cuMemsetD32Async(dy, 7, 10, a));
    good(cuLaunchHostFunc(a, count_call, (void *)5));
    good(cuEventRecordWithFlags(end, a, CU_EVENT_RECORD_EXTERNAL));
    good(cuStreamEndCapture(a, &graph));
    good(cuGraphGetNodes(graph, NULL, &count));
    assert_int_equal(count, 6);
    assert_int_equal(cuGraphGetNodes(graph, nodes, &count), CUDA_ERROR_NOT_SUPPORTED);
    assert_int_equal(cuGraphGetNodes(graph, NULL, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuGraphGetNodes(none, NULL, &count), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuGraphInstantiateWithFlags(NULL, graph, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuGraphInstantiateWithFlags(&exec, none, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuGraphLaunch((CUgraphExec)state, a), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuGraphUpload((CUgraphExec)state, a), CUDA_ERROR_INVALID_VALUE);
    good(cuGraphInstantiateWithFlags(&exec, graph, 0));
    good(cuGraphUpload(exec, a));
    assert_int_equal(cuGraphLaunch(exec, (CUstream)state), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(calls, 0);
    for (int k = 0; k < 2; k++) {
        good(cuGraphLaunch(exec, a));
        affine_host(x, 3, 1);
    }
    good(cuStreamSynchronize(a));
    assert_int_equal(calls, 10);
    good(cuEventElapsedTime(&ms, begin, end));
    assert_true(ms > 0.002f && ms < 0.1f);
    expect(dx, x);
    memcpy(y, x, sizeof y);
    for (int k = 0; k < 10; k++)
        y[k] = 7;
    expect(dy, y);
    good(cuEventDestroy_v2(end)); /* what records it cannot be launched any more */
    assert_int_equal(cuGraphLaunch(exec, a), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuGraphDestroy(none), CUDA_ERROR_INVALID_VALUE);
    good(cuGraphDestroy(graph));
    assert_int_equal(cuGraphDestroy(graph), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuGraphExecDestroy((CUgraphExec)state), CUDA_ERROR_INVALID_VALUE);
    good(cuGraphExecDestroy(exec));
    assert_int_equal(cuGraphExecDestroy(exec), CUDA_ERROR_INVALID_VALUE);
}

/* Things go in another order than they came. */
static void test_any_order(void **state) {
    const struct fixture *f = *state;
    CUmodule module[3];
    CUstream stream[3];
    CUevent event[3];
    CUgraph graph[3];
    CUgraphExec exec[3];
    CUfunction function;
    unsigned flags;
    size_t count;
    for (int k = 0; k < 3; k++) {
        good(cuModuleLoadData(&module[k], ptx_for("sm_80", shaped_body)));
        good(cuStreamCreate(&stream[k], CU_STREAM_NON_BLOCKING));
        good(cuEventCreate(&event[k], 0));
        good(cuStreamBeginCapture_v2(stream[k], CU_STREAM_CAPTURE_MODE_RELAXED));
        good(cuStreamEndCapture(stream[k], &graph[k]));
        good(cuGraphInstantiateWithFlags(&exec[k], graph[k], 0));
    }
    static const int order[3] = {1, 0, 2};
    for (int k = 0; k < 3; k++) {
        good(cuModuleUnload(module[order[k]]));
        good(cuStreamDestroy_v2(stream[order[k]]));
        good(cuEventDestroy_v2(event[order[k]]));
        good(cuGraphDestroy(graph[order[k]]));
        good(cuGraphExecDestroy(exec[order[k]]));
        for (int left = 0; left < 3; left++) {
            const bool gone = order[0] == left || (k > 0 && order[1] == left) || k == 2;
            assert_int_equal(cuModuleGetFunction(&function, module[left], "huge"),
                             gone ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS);
            assert_int_equal(cuStreamGetFlags(stream[left], &flags), gone ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS);
            assert_int_equal(cuEventQuery(event[left]), gone ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS);
            assert_int_equal(cuGraphGetNodes(graph[left], NULL, &count),
                             gone ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS);
            assert_int_equal(cuGraphUpload(exec[left], NULL), gone ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS);
        }
    }
    good(cuModuleGetFunction(&function, f->module, "affine"));
}

/* After a fault the context says so at every call, and can still be taken down. */
static void test_sticky(void **state) {
    struct fixture *f = *state;
    CUdeviceptr x;
    CUstream stream;
    CUevent event;
    CUgraph graph;
    CUgraphExec exec;
    int value;
    unsigned count;
    good(cuMemAlloc_v2(&x, 64));
    good(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    good(cuEventCreate(&event, 0));
    good(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    good(cuStreamEndCapture(stream, &graph));
    good(cuGraphInstantiateWithFlags(&exec, graph, 0));
    good(launch_store(f, x, 64, 1));
    refused(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS, "store_at: CTA (0,0,0), warp 0, lane 0");
    assert_int_equal(cuMemsetD8_v2(x, 1, 1), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(cuStreamQuery(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(cuEventQuery(event), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(cuGraphLaunch(exec, stream), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(launch_store(f, x, 0, 1), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(cuModuleGetFunctionCount(&count, f->module), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_NUM_REGS, f->affine), CUDA_ERROR_ILLEGAL_ADDRESS);
    good(cuEventDestroy_v2(event));
    good(cuGraphExecDestroy(exec));
    good(cuGraphDestroy(graph));
    good(cuModuleUnload(f->module));
    assert_int_equal(cuMemFree_v2(x), CUDA_ERROR_ILLEGAL_ADDRESS); /* is freed all the same */
    assert_int_equal(f->context->error, CUDA_ERROR_ILLEGAL_ADDRESS);
    refused(cuMemFree_v2(x), CUDA_ERROR_INVALID_VALUE, "it is not allocated");
}

int main(void) {
    setenv("SOFTGPU_DEVICE", "a100-sxm-80g", 1);
    const struct CMUnitTest tests[] = {
        driver_test(test_modules),
        driver_test(test_ways_to_load),
        driver_test(test_no_memory_for_variables),
        driver_test(test_function_attributes),
        driver_test(test_set_attributes),
        driver_test(test_occupancy),
        driver_test(test_active_clusters),
        driver_test(test_launch_limits),
        driver_test(test_parameters),
        driver_test(test_clusters),
        driver_test(test_cooperative),
        driver_test(test_copies),
        driver_test(test_streams),
        driver_test(test_events),
        driver_test(test_capture_errors),
        driver_test(test_graph_nodes),
        driver_test(test_sticky),
        driver_test(test_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
