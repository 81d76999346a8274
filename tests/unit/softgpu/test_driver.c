/* The software device's driver: memory, errors, modules and their images. */
#include "driver.h"
#include <unistd.h>

/* A module variable, and no parameter. */
static const char counter_body[] = ".address_size 64\n"
                                   ".visible .global .align 4 .u32 counter[4] = {5, 6, 7, 8};\n"
                                   ".visible .entry bump()\n"
                                   "{\n"
                                   ".reg .b32 %r<3>; .reg .b64 %rd<2>;\n"
                                   "mov.u64 %rd1, counter;\n"
                                   "ld.global.u32 %r1, [%rd1];\n"
                                   "add.s32 %r2, %r1, 1;\n"
                                   "st.global.u32 [%rd1], %r2;\n"
                                   "ret;\n"
                                   "}\n";

static void test_allocation(void **state) {
    (void)state;
    CUdeviceptr a, b, c;
    uint32_t word[2];
    good(cuMemAlloc_v2(&a, 100));
    good(cuMemAlloc_v2(&b, 8));
    assert_int_equal(a % 512, 0);
    assert_int_not_equal(a % 1024, 0); /* nothing is promised beyond that */
    assert_true(b - a >= 512 + 100 || a - b >= 512);
    good(cuMemcpyDtoH_v2(word, b, 8));
    assert_int_equal(word[0], 0xFFADFFAD);
    assert_int_equal(word[1], 0xFFADFFAD);
    assert_int_equal(cuMemcpyDtoH_v2(word, b + 4, 8), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemAlloc_v2(&c, (size_t)82 << 30), CUDA_ERROR_OUT_OF_MEMORY);
    good(cuMemAlloc_v2(&c, (size_t)60 << 30)); /* costs nothing until it is written */
    good(cuMemcpyDtoH_v2(word, c + ((size_t)59 << 30), 8));
    assert_int_equal(word[1], 0xFFADFFAD);
    CUdeviceptr d;
    assert_int_equal(cuMemAlloc_v2(&d, (size_t)30 << 30), CUDA_ERROR_OUT_OF_MEMORY);
    good(cuMemFree_v2(c));
    good(cuMemAlloc_v2(&d, (size_t)30 << 30));
    good(cuMemFree_v2(d));
    good(cuMemFree_v2(a));
    assert_int_equal(cuMemFree_v2(a), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemFree_v2(b + 4), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemcpyHtoD_v2(a, word, 4), CUDA_ERROR_INVALID_VALUE);
    good(cuMemFree_v2(b));
}

static void test_use_after_free(void **state) {
    struct fixture *f = *state;
    CUdeviceptr x;
    good(cuMemAlloc_v2(&x, 64));
    good(cuMemFree_v2(x));
    good(launch_store(f, x, 0, 1));
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    CUdeviceptr y;
    assert_int_equal(cuMemAlloc_v2(&y, 64), CUDA_ERROR_ILLEGAL_ADDRESS); /* sticky */
}

static void test_out_of_bounds(void **state) {
    struct fixture *f = *state;
    CUdeviceptr x;
    uint32_t word = 0;
    good(cuMemAlloc_v2(&x, 64));
    good(launch_store(f, x, 60, 1234));
    good(cuMemcpyDtoH_v2(&word, x + 60, 4));
    assert_int_equal(word, 1234);
    good(launch_store(f, x, 64, 1));
    assert_int_equal(cuMemcpyDtoH_v2(&word, x, 4), CUDA_ERROR_ILLEGAL_ADDRESS);
}

static void test_misaligned(void **state) {
    struct fixture *f = *state;
    CUdeviceptr x;
    good(cuMemAlloc_v2(&x, 64));
    good(launch_store(f, x, 6, 1));
    assert_int_equal(cuStreamSynchronize(NULL), CUDA_ERROR_MISALIGNED_ADDRESS);
}

/* Freeing waits for what uses the memory, so it reports its faults. */
static void test_fault_at_free(void **state) {
    struct fixture *f = *state;
    CUdeviceptr x;
    good(cuMemAlloc_v2(&x, 64));
    good(launch_store(f, x, 64, 1));
    assert_int_equal(cuMemFree_v2(x), CUDA_ERROR_ILLEGAL_ADDRESS);
}

static void test_module_variable(void **state) {
    (void)state;
    CUmodule module;
    CUfunction bump;
    CUdeviceptr counter;
    size_t size;
    uint32_t words[4];
    good(cuModuleLoadData(&module, ptx_for("sm_80", counter_body)));
    good(cuModuleGetFunction(&bump, module, "bump"));
    good(cuModuleGetGlobal_v2(&counter, &size, module, "counter"));
    assert_int_equal(size, 16);
    for (int i = 0; i < 3; i++)
        good(cuLaunchKernel(bump, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL));
    good(cuMemcpyDtoH_v2(words, counter, 16));
    assert_int_equal(words[0], 8);
    assert_int_equal(words[3], 8);
    good(cuModuleUnload(module));
    assert_int_equal(cuMemcpyDtoH_v2(words, counter, 16), CUDA_ERROR_INVALID_VALUE);
}

static void test_refusals(void **state) {
    struct fixture *f = *state;
    CUmodule module;
    CUfunction function;
    CUdeviceptr x;
    unsigned n = 1;
    good(cuMemAlloc_v2(&x, 64));
    good(cuMemsetD32_v2(x, 5, 16));
    void *params[] = {&x, &n, &n, NULL};
    assert_int_equal(cuLaunchKernel(f->affine, 1, 1, 1, 128, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
    params[3] = &n;
    assert_int_equal(cuLaunchKernel(f->affine, 0, 1, 1, 128, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuLaunchKernel(f->affine, 1, 1, 1, 2048, 1, 1, 0, NULL, params, NULL), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuLaunchKernel(f->affine, 1, 1, 1, 128, 1, 1, 50000, NULL, params, NULL),
                     CUDA_ERROR_INVALID_VALUE);
    good(cuFuncSetAttribute(f->affine, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 163 * 1024));
    good(cuLaunchKernel(f->affine, 1, 1, 1, 128, 1, 1, 163 * 1024, NULL, params, NULL));
    assert_int_equal(cuFuncSetAttribute(f->affine, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 164 * 1024),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuModuleGetFunction(&function, f->module, "affin"), CUDA_ERROR_NOT_FOUND);
    assert_int_equal(cuModuleLoadData(&module, ptx_for("sm_90a", ptx_body)), CUDA_ERROR_NO_BINARY_FOR_GPU);
    assert_int_equal(cuModuleLoadData(&module, "no image"), CUDA_ERROR_INVALID_IMAGE);
    assert_int_equal(cuModuleLoadData(&module, ".version 8.0\n.target sm_80\n.address_size 64\nnonsense\n"),
                     CUDA_ERROR_INVALID_PTX);
    good(cuModuleLoadData(&module, ptx_for("sm_80, texmode", ptx_body)));
    assert_int_equal(cuModuleLoadData(&module, ptx_for("sm_80_and_much_more", ptx_body)), CUDA_ERROR_INVALID_IMAGE);
    good(cuCtxSynchronize());
}

/* Numbers whose product is 2^32, or 4 more, are no small numbers. */
static void test_huge_clusters(void **state) {
    struct fixture *f = *state;
    const unsigned zero[3] = {65536, 32768, 2}, four[3] = {1300, 2501, 1321};
    CUlaunchAttribute a = {.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION};
    CUlaunchConfig config = {.gridDimX = zero[0],
                             .gridDimY = zero[1],
                             .gridDimZ = zero[2],
                             .blockDimX = 32,
                             .blockDimY = 1,
                             .blockDimZ = 1,
                             .attrs = &a,
                             .numAttrs = 1};
    CUdeviceptr x;
    unsigned n = 1;
    int clusters;
    good(cuMemAlloc_v2(&x, 64));
    void *params[] = {&x, &n, &n, &n};
    a.value.clusterDim.x = zero[0], a.value.clusterDim.y = zero[1], a.value.clusterDim.z = zero[2];
    assert_int_equal(cuLaunchKernelEx(&config, f->affine, params, NULL), CUDA_ERROR_INVALID_CLUSTER_SIZE);
    a.value.clusterDim.x = four[0], a.value.clusterDim.y = four[1], a.value.clusterDim.z = four[2];
    assert_int_equal(cuOccupancyMaxActiveClusters(&clusters, f->affine, &config), CUDA_ERROR_INVALID_VALUE);
    a.value.clusterDim.x = 4, a.value.clusterDim.y = a.value.clusterDim.z = 1;
    good(cuOccupancyMaxActiveClusters(&clusters, f->affine, &config));
    assert_int_equal(clusters, 32 * 108 / 4); /* 32 blocks fit each of 108 SMs */
    config.blockDimX = four[0], config.blockDimY = four[1], config.blockDimZ = four[2];
    assert_int_equal(cuOccupancyMaxActiveClusters(&clusters, f->affine, &config), CUDA_ERROR_INVALID_VALUE);
}

static void test_many_contexts(void **state) {
    struct fixture *f = *state; /* its context is the first of 64 */
    CUcontext current;
    for (int k = 1; k < 64; k++)
        good(cuCtxPushCurrent_v2(f->context));
    assert_int_equal(cuCtxPushCurrent_v2(f->context), CUDA_ERROR_INVALID_CONTEXT);
    for (int k = 1; k < 64; k++) {
        good(cuCtxPopCurrent_v2(&current));
        assert_ptr_equal(current, f->context);
    }
    good(cuCtxGetCurrent(&current));
    assert_ptr_equal(current, f->context);
}

/* ---- images ---- */

/* Runs a tool of the toolkit; its output goes to `out`. False if it is not there or fails. */
static bool tool(const char *folder, const char *arguments, char *out, size_t size) {
    const char *home = getenv("CUDA_HOME");
    char command[1024];
    snprintf(command, sizeof command, "cd %s && %s/bin/%s 2>&1", folder, home && *home ? home : "/usr/local/cuda",
             arguments);
    FILE *pipe = popen(command, "r");
    if (!pipe)
        return false;
    size_t got = fread(out, 1, size - 1, pipe);
    out[got] = 0;
    return pclose(pipe) == 0;
}

static size_t file_bytes(const char *folder, const char *name, char *out, size_t size) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t got = fread(out, 1, size, file);
    fclose(file);
    unlink(path);
    return got;
}

static void test_images(void **state) {
    struct fixture *f = *state;
    static char image[65536], text[8192];
    char folder[] = "/tmp/soft-driver-XXXXXX", path[512];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/k.ptx", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(ptx_for("sm_80", ptx_body), file);
    fclose(file);
    if (!tool(folder, "ptxas -v -arch sm_80 k.ptx -o k.cubin", text, sizeof text)) {
        unlink(path);
        rmdir(folder);
        skip(); /* no toolkit */
    }
    const char *at = strstr(text, "'gather'");
    assert_non_null(at);
    int want = atoi(strstr(at, "Used ") + 5), registers;
    static const char *const modes[] = {"none", "speed", "size", "balance", "default"};
    for (int i = 0; i < 5; i++) {
        CUmodule module;
        CUfunction function;
        char arguments[400];
        snprintf(
            arguments, sizeof arguments,
            "fatbinary --create k.fatbin -64 --compress-all --compress-mode=%s --image3=kind=elf,sm=80,file=k.cubin "
            "--image3=kind=ptx,sm=80,file=k.ptx",
            modes[i]);
        assert_true(tool(folder, arguments, text, sizeof text));
        size_t size = file_bytes(folder, "k.fatbin", image, sizeof image);
        good(cuModuleLoadData(&module, image));
        good(cuModuleGetFunction(&function, module, "gather"));
        good(cuFuncGetAttribute(&registers, CU_FUNC_ATTRIBUTE_NUM_REGS, function));
        assert_int_equal(registers, want);
        uint32_t x[COUNT];
        CUdeviceptr dx = random_buffer(x), dy = random_buffer(x);
        CUfunction kept = f->gather;
        f->gather = function;
        launch_gather(f, NULL, dx, dy, COUNT);
        f->gather = kept;
        affine_host(x, 1, 1);
        expect(dx, x);
        good(cuModuleUnload(module));
        good(cuMemFree_v2(dx));
        good(cuMemFree_v2(dy));
        image[16 + 4] ^= 0x7f; /* the first entry's header size */
        assert_int_equal(cuModuleLoadData(&module, image), CUDA_ERROR_INVALID_IMAGE);
        assert_true(size > 1000);
    }
    CUmodule module;
    file_bytes(folder, "k.cubin", image, sizeof image);
    assert_int_equal(cuModuleLoadData(&module, image), CUDA_ERROR_NO_BINARY_FOR_GPU);
    unlink(path);
    rmdir(folder);
}

static void test_unpack_damaged(void **state) {
    (void)state;
    /* literals "abc", then 9 bytes from 3 back, then the literal "z" */
    const uint8_t packed[] = {0x35, 'a', 'b', 'c', 3, 0, 0x10, 'z'};
    uint8_t out[13];
    assert_true(dev_unpack_lz4(packed, sizeof packed, out, sizeof out));
    assert_memory_equal(out, "abcabcabcabcz", 13);
    for (size_t size = 0; size < sizeof packed; size++)
        assert_false(dev_unpack_lz4(packed, size, out, sizeof out));
    assert_false(dev_unpack_lz4(packed, sizeof packed, out, 12));
    /* lengths of 15 and more go on: 16 and 273 literals, a match of 19 + 255 + 0 bytes */
    uint8_t long_one[600], long_out[600];
    size_t used = 0;
    long_one[used++] = 0xf0 | 15;
    long_one[used++] = 255;
    long_one[used++] = 3;
    for (int k = 0; k < 273; k++)
        long_one[used++] = (uint8_t)(7 * k);
    long_one[used++] = 17; /* from 273 back */
    long_one[used++] = 1;
    long_one[used++] = 255;
    long_one[used++] = 0;
    long_one[used++] = 0xf0;
    long_one[used++] = 1;
    for (int k = 0; k < 16; k++)
        long_one[used++] = 'e';
    assert_true(dev_unpack_lz4(long_one, used, long_out, 273 + 274 + 16));
    for (int k = 0; k < 273 + 274; k++)
        assert_int_equal(long_out[k], (uint8_t)(7 * (k % 273)));
    assert_int_equal(long_out[273 + 274 + 15], 'e');
    const uint8_t endless[] = {0xf0, 255, 255}, endless_match[] = {0x1f, 'a', 1, 0, 255};
    assert_false(dev_unpack_lz4(endless, sizeof endless, long_out, sizeof long_out));
    assert_false(dev_unpack_lz4(endless_match, sizeof endless_match, long_out, 1 + 15 + 255 + 4));
    const uint8_t before_start[] = {0x15, 'a', 2, 0, 0x10, 'z'};
    assert_false(dev_unpack_lz4(before_start, sizeof before_start, out, 11));
}

int main(void) {
    setenv("SOFTGPU_DEVICE", "a100-sxm-80g", 1);
    const struct CMUnitTest tests[] = {
        driver_test(test_allocation),    driver_test(test_use_after_free),      driver_test(test_out_of_bounds),
        driver_test(test_misaligned),    driver_test(test_fault_at_free),       driver_test(test_module_variable),
        driver_test(test_huge_clusters), driver_test(test_many_contexts),       driver_test(test_refusals),
        driver_test(test_images),        cmocka_unit_test(test_unpack_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
