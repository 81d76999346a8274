/* A program of the CUDA driver API from its first call to its last, as samples of the API are written: a context of each
 * kind that there is, a module from a fat binary by nvcc, parameters in both ways. It is linked as against libcuda and
 * includes nothing of the project; without nvcc what needs kernels is skipped. */
#include <cuda.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define good(call) assert_int_equal(call, CUDA_SUCCESS)

static unsigned char fat[1 << 20];
static size_t fat_bytes;
static CUdevice device;

/* A fat binary with machine code and PTX, packed as nvcc packs it. */
static void compile(const char *options) {
    const char *home = getenv("CUDA_HOME");
    char folder[] = "/tmp/soft-program-XXXXXX", command[1024], path[200];
    fat_bytes = 0;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/k.fatbin", folder);
    snprintf(command, sizeof command, "%s/bin/nvcc -fatbin %s -o %s %s/tests/device/program_kernels.cu",
             home && *home ? home : "/usr/local/cuda", options, path, MT_SOURCE_DIR);
    FILE *file = system(command) == 0 ? fopen(path, "rb") : NULL;
    if (file) {
        fat_bytes = fread(fat, 1, sizeof fat, file);
        fclose(file);
        unlink(path);
    }
    rmdir(folder);
    assert_true(fat_bytes < sizeof fat);
}

static int attribute(CUdevice_attribute which) {
    int value = -1;
    good(cuDeviceGetAttribute(&value, which, device));
    return value;
}

static int setup(void **state) {
    (void)state;
    int count = 0;
    size_t memory = 0;
    char name[128];
    srand(5);
    good(cuInit(0));
    good(cuDeviceGetCount(&count));
    assert_int_equal(count, 1);
    good(cuDeviceGet(&device, 0));
    good(cuDeviceGetName(name, sizeof name, device));
    assert_non_null(strstr(name, "software device"));
    good(cuDeviceTotalMem(&memory, device));
    assert_true(memory >= (size_t)1 << 30);
    assert_true(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) >= 8);
    assert_true(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR) >= 0);
    assert_int_equal(attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_MODE), CU_COMPUTEMODE_DEFAULT);
    assert_int_equal(attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE), 32);
    assert_true(attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT) > 0);
    assert_true(attribute(CU_DEVICE_ATTRIBUTE_CLOCK_RATE) > 0);
    compile("-gencode=arch=compute_80,code=[sm_80,compute_80]");
    return 0;
}

static void need_kernels(void) {
    if (!fat_bytes) {
        print_message("no nvcc: skipped\n");
        skip();
    }
}

static CUdeviceptr upload(const float *values, size_t count) {
    CUdeviceptr out = 0;
    good(cuMemAlloc(&out, count * sizeof *values));
    good(cuMemcpyHtoD(out, values, count * sizeof *values));
    return out;
}

static void fill(float *values, size_t count) {
    for (size_t k = 0; k < count; k++)
        values[k] = (float)(rand() % 2001 - 1000) / 8;
}

/* One vector in each context: all that it made goes with it. */
static void run_vectors(void) {
    enum { N = 50021 };
    static float a[N], b[N], out[N];
    CUmodule module;
    CUfunction combine;
    CUdeviceptr scale;
    size_t bytes = 0, limit = 0;
    float twice = 2, factor = -0.5f;
    int n = N;
    fill(a, N);
    fill(b, N);
    good(cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, 1 << 20));
    good(cuCtxGetLimit(&limit, CU_LIMIT_MALLOC_HEAP_SIZE));
    assert_int_equal(limit, 1 << 20);
    good(cuModuleLoadData(&module, fat));
    good(cuModuleGetFunction(&combine, module, "combine"));
    assert_int_equal(cuModuleGetFunction(&combine, module, "no_such_kernel"), CUDA_ERROR_NOT_FOUND);
    good(cuModuleGetGlobal(&scale, &bytes, module, "scale"));
    assert_int_equal(bytes, sizeof twice);
    good(cuMemcpyHtoD(scale, &twice, sizeof twice));
    CUdeviceptr da = upload(a, N), db = upload(b, N), dout = upload(out, N);
    void *params[] = {&da, &db, &dout, &factor, &n};
    good(cuLaunchKernel(combine, (N + 255) / 256, 1, 1, 256, 1, 1, 0, NULL, params, NULL));
    good(cuCtxSynchronize());
    good(cuMemcpyDtoH(out, dout, sizeof out));
    for (int k = 0; k < N; k++)
        assert_true(out[k] == 2 * (a[k] - 0.5f * b[k]));
    good(cuMemFree(da));
    good(cuMemFree(db));
    good(cuMemFree(dout));
    good(cuModuleUnload(module));
}

/* cuCtxCreate as it was before affinities, with them, and with parameters: a header names only one of them. */
static void *create_of(int version) {
    void *out = NULL;
    CUdriverProcAddressQueryResult found;
    good(cuGetProcAddress("cuCtxCreate", &out, version, CU_GET_PROC_ADDRESS_DEFAULT, &found));
    assert_int_equal(found, CU_GET_PROC_ADDRESS_SUCCESS);
    return out;
}

static CUcontext create(int kind) {
    CUresult (*plain)(CUcontext *, unsigned, CUdevice) = NULL;
    CUresult (*affine)(CUcontext *, CUexecAffinityParam *, int, unsigned, CUdevice) = NULL;
    CUcontext made = NULL;
    *(void **)&plain = create_of(3020);
    *(void **)&affine = create_of(11040);
    if (kind == 0)
        good(plain(&made, 0, device));
    if (kind == 1)
        good(affine(&made, NULL, 0, CU_CTX_SCHED_BLOCKING_SYNC, device));
#if CUDA_VERSION >= 12050
    CUresult (*with)(CUcontext *, CUctxCreateParams *, unsigned, CUdevice) = NULL;
    CUctxCreateParams nothing = {0};
    *(void **)&with = create_of(12050);
    if (kind == 2 || kind == 3)
        good(with(&made, kind == 2 ? &nothing : NULL, 0, device));
    enum { KINDS = 4 };
#else
    enum { KINDS = 2 };
#endif
    assert_true(made || kind >= KINDS);
    return made;
}

static void test_contexts(void **state) {
    (void)state;
    need_kernels();
    CUcontext context, current;
    for (int kind = 0; (context = create(kind)); kind++) {
        good(cuCtxGetCurrent(&current));
        assert_ptr_equal(context, current);
        run_vectors();
        good(cuCtxDestroy(context));
        good(cuCtxGetCurrent(&current));
        assert_null(current);
    }
}

/* A product in tiles of two sizes: parameters as pointers and as one buffer. */
struct packed { /* as the kernel has its parameters */
    CUdeviceptr a, b, out;
    int m, n, k;
};

static void run_product(CUmodule module, int edge, struct packed p, int in_buffer) {
    char name[32];
    CUfunction product;
    snprintf(name, sizeof name, "product_%d", edge);
    good(cuModuleGetFunction(&product, module, name));
    const unsigned across = (unsigned)((p.n + edge - 1) / edge), down = (unsigned)((p.m + edge - 1) / edge),
                   side = (unsigned)edge, shared = 2 * side * side * sizeof(float);
    void *params[] = {&p.a, &p.b, &p.out, &p.m, &p.n, &p.k};
    size_t size = sizeof p;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &p, CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END};
    good(cuLaunchKernel(product, across, down, 1, side, side, 1, shared, NULL, in_buffer ? NULL : params,
                        in_buffer ? extra : NULL));
}

static void test_product(void **state) {
    (void)state;
    need_kernels();
    enum { ROWS = 45, COLUMNS = 70, DEPTH = 51 };
    static float a[ROWS * DEPTH], b[DEPTH * COLUMNS], out[ROWS * COLUMNS];
    CUcontext context;
    CUmodule module;
    context = create(0);
    good(cuModuleLoadData(&module, fat));
    fill(a, ROWS * DEPTH);
    fill(b, DEPTH * COLUMNS);
    for (int way = 0; way < 4; way++) {
        memset(out, 0xff, sizeof out);
        struct packed p = {
            upload(a, ROWS * DEPTH), upload(b, DEPTH * COLUMNS), upload(out, ROWS * COLUMNS), ROWS, COLUMNS, DEPTH};
        run_product(module, way % 2 ? 32 : 16, p, way / 2);
        good(cuMemcpyDtoH(out, p.out, sizeof out));
        for (int row = 0; row < ROWS; row++)
            for (int column = 0; column < COLUMNS; column++) {
                double sum = 0;
                for (int k = 0; k < DEPTH; k++)
                    sum += (double)a[row * DEPTH + k] * b[k * COLUMNS + column];
                assert_true(fabs(out[row * COLUMNS + column] - sum) <= 1e-5 * DEPTH * 125 * 125);
            }
        good(cuMemFree(p.a));
        good(cuMemFree(p.b));
        good(cuMemFree(p.out));
    }
    good(cuCtxDestroy(context));
}

/* Machine code alone cannot run here. */
static void test_no_ptx(void **state) {
    (void)state;
    need_kernels();
    CUcontext context;
    CUmodule module;
    compile("-gencode=arch=compute_80,code=sm_80");
    context = create(0);
    assert_int_equal(cuModuleLoadData(&module, fat), CUDA_ERROR_NO_BINARY_FOR_GPU);
    good(cuCtxDestroy(context));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contexts),
        cmocka_unit_test(test_product),
        cmocka_unit_test(test_no_ptx),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
