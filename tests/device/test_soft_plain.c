/* A plain program of the CUDA driver API, linked as against libcuda: nothing of the project is included. The kernels
 * are compiled by nvcc when it runs; without nvcc it is skipped. */
#include <cuda.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define good(call) assert_int_equal(call, CUDA_SUCCESS)

static CUmodule module;

static CUfunction kernel(const char *name) {
    CUfunction out;
    good(cuModuleGetFunction(&out, module, name));
    return out;
}

static CUdeviceptr upload(const void *bytes, size_t size) {
    CUdeviceptr out;
    good(cuMemAlloc(&out, size));
    good(cuMemcpyHtoD(out, bytes, size));
    return out;
}

static float random_float(void) {
    return (float)rand() / (float)RAND_MAX * 200 - 100;
}

/* PTX beside the program's temporary files; false if there is no nvcc. */
static bool kernels_compile(char *ptx, size_t size) {
    const char *home = getenv("CUDA_HOME");
    char folder[] = "/tmp/plain-driver-XXXXXX", command[1024], path[200];
    if (!mkdtemp(folder))
        return false;
    snprintf(path, sizeof path, "%s/k.ptx", folder);
    snprintf(command, sizeof command, "%s/bin/nvcc -ptx -arch=sm_80 -o %s %s/tests/device/plain_kernels.cu",
             home && *home ? home : "/usr/local/cuda", path, MT_SOURCE_DIR);
    bool made = system(command) == 0;
    FILE *file = made ? fopen(path, "r") : NULL;
    if (file) {
        ptx[fread(ptx, 1, size - 1, file)] = 0;
        fclose(file);
        unlink(path);
    }
    rmdir(folder);
    return made;
}

static int setup(void **state) {
    (void)state;
    static char ptx[1 << 18];
    CUdevice device;
    CUcontext context;
    char name[128];
    srand(11);
    good(cuInit(0));
    good(cuDeviceGet(&device, 0));
    good(cuDeviceGetName(name, sizeof name, device));
    assert_non_null(strstr(name, "software device"));
    good(cuDevicePrimaryCtxRetain(&context, device));
    good(cuCtxSetCurrent(context));
    if (kernels_compile(ptx, sizeof ptx))
        good(cuModuleLoadData(&module, ptx));
    return 0;
}

static int teardown(void **state) {
    (void)state;
    good(cuDevicePrimaryCtxRelease(0));
    return 0;
}

static void need_kernels(void) {
    if (!module) {
        print_message("no nvcc: skipped\n");
        skip();
    }
}

static void test_vector_add(void **state) {
    (void)state;
    need_kernels();
    enum { N = 10007 };
    static float a[N], b[N], c[N];
    int n = N;
    for (int i = 0; i < N; i++) {
        a[i] = random_float();
        b[i] = random_float();
    }
    CUdeviceptr da = upload(a, sizeof a), db = upload(b, sizeof b), dc = upload(a, sizeof a);
    void *params[] = {&da, &db, &dc, &n};
    good(cuLaunchKernel(kernel("vector_add"), (N + 255) / 256, 1, 1, 256, 1, 1, 0, NULL, params, NULL));
    good(cuMemcpyDtoH(c, dc, sizeof c));
    for (int i = 0; i < N; i++)
        assert_true(c[i] == a[i] + b[i]);
    good(cuMemFree(da));
    good(cuMemFree(db));
    good(cuMemFree(dc));
}

static void test_reduce(void **state) {
    (void)state;
    need_kernels();
    enum { N = 54321 };
    static int in[N];
    int n = N, sum = 0, got = 0;
    for (int i = 0; i < N; i++)
        sum += in[i] = rand() % 2001 - 1000;
    CUdeviceptr din = upload(in, sizeof in), dout = upload(&got, sizeof got);
    void *params[] = {&din, &n, &dout};
    for (int threads = 32; threads <= 1024; threads *= 2) {
        good(cuMemsetD32(dout, 0, 1));
        good(cuLaunchKernel(kernel("reduce_sum"), 13, 1, 1, (unsigned)threads, 1, 1, (unsigned)threads * 4, NULL,
                            params, NULL));
        good(cuMemcpyDtoH(&got, dout, sizeof got));
        assert_int_equal(got, sum);
    }
    good(cuMemFree(din));
    good(cuMemFree(dout));
}

static void test_transpose(void **state) {
    (void)state;
    need_kernels();
    enum { W = 77, H = 131 };
    static double in[H][W], out[W][H];
    int width = W, height = H;
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            in[y][x] = random_float();
    CUdeviceptr din = upload(in, sizeof in), dout = upload(in, sizeof in);
    void *params[] = {&din, &dout, &width, &height};
    good(cuLaunchKernel(kernel("transpose"), (W + 31) / 32, (H + 31) / 32, 1, 32, 8, 1, 0, NULL, params, NULL));
    good(cuMemcpyDtoH(out, dout, sizeof out));
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            assert_true(out[x][y] == in[y][x]);
    good(cuMemFree(din));
    good(cuMemFree(dout));
}

static void test_filter(void **state) {
    (void)state;
    need_kernels();
    enum { N = 3000 };
    static float in[N], out[N];
    float taps[5];
    int n = N, count = -1;
    size_t size;
    CUdeviceptr weights, calls;
    for (int i = 0; i < N; i++)
        in[i] = random_float();
    for (int k = 0; k < 5; k++)
        taps[k] = random_float();
    good(cuModuleGetGlobal(&weights, &size, module, "weights"));
    assert_int_equal(size, sizeof taps);
    good(cuModuleGetGlobal(&calls, &size, module, "calls"));
    good(cuMemcpyHtoD(weights, taps, sizeof taps));
    CUdeviceptr din = upload(in, sizeof in), dout = upload(in, sizeof in);
    void *params[] = {&din, &dout, &n};
    for (int i = 0; i < 3; i++)
        good(cuLaunchKernel(kernel("filter"), (N + 63) / 64, 1, 1, 64, 1, 1, 0, NULL, params, NULL));
    good(cuMemcpyDtoH(&count, calls, sizeof count));
    assert_int_equal(count, 3);
    good(cuMemcpyDtoH(out, dout, sizeof out));
    for (int i = 0; i < N; i++) {
        double want = 0, mass = 0;
        for (int k = -2; k <= 2; k++)
            if (i + k >= 0 && i + k < N) {
                want += (double)taps[k + 2] * in[i + k];
                mass += fabs((double)taps[k + 2] * in[i + k]);
            }
        assert_true(fabs(out[i] - want) <= mass * 1e-6);
    }
    good(cuMemFree(din));
    good(cuMemFree(dout));
}

/* What loaders and launchers ask for by other names. */
static void test_other_ways(void **state) {
    (void)state;
    void *address = NULL;
    CUdriverProcAddressQueryResult found;
    unsigned kind = 0;
    int major, minor, grid = 0, block = 0, blocks = 0;
    CUcontext context, owner;
    good(cuGetProcAddress("cuMemAlloc", &address, CUDA_VERSION, 0, &found));
    assert_ptr_equal(address, (void *)cuMemAlloc);
    good(cuGetProcAddress("cuCtxCreate", &address, CUDA_VERSION, 0, NULL));
    assert_ptr_equal(address, (void *)cuCtxCreate);
    assert_int_equal(cuGetProcAddress("cuNoSuchThing", &address, CUDA_VERSION, 0, NULL), CUDA_ERROR_NOT_FOUND);
    good(cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 0));
    good(cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0));
    assert_true(major >= 8 && minor < 10);
    int word = 5;
    CUdeviceptr x = upload(&word, sizeof word), copy = upload(&word, sizeof word);
    good(cuCtxGetCurrent(&context));
    good(cuPointerGetAttribute(&owner, CU_POINTER_ATTRIBUTE_CONTEXT, x));
    assert_ptr_equal(owner, context);
    good(cuPointerGetAttribute(&kind, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, x));
    assert_int_equal(kind, CU_MEMORYTYPE_DEVICE);
    good(cuMemsetD16(x, 0x1234, 2));
    good(cuMemcpy(copy, x, sizeof word));
    good(cuMemcpyDtoH(&word, copy, sizeof word));
    assert_int_equal(word, 0x12341234);
    need_kernels();
    good(cuOccupancyMaxPotentialBlockSize(&grid, &block, kernel("vector_add"), NULL, 0, 0));
    good(cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel("vector_add"), block, 0));
    assert_true(block % 32 == 0 && blocks > 0 && grid % blocks == 0);
    float a = 1.5f, b = 2.25f, c = 0;
    int n = 1;
    CUdeviceptr da = upload(&a, 4), db = upload(&b, 4), dc = upload(&c, 4);
    struct {
        CUdeviceptr a, b, c;
        int n;
    } packed = {da, db, dc, n};
    size_t size = sizeof packed;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END};
    CUlaunchConfig config = {
        .gridDimX = 1, .gridDimY = 1, .gridDimZ = 1, .blockDimX = 32, .blockDimY = 1, .blockDimZ = 1};
    good(cuLaunchKernelEx(&config, kernel("vector_add"), NULL, extra));
    good(cuMemcpyDtoH(&c, dc, 4));
    assert_true(c == 3.75f);
}

static void test_tiles(void **state) {
    (void)state;
    need_kernels();
    enum { N = 1024, TILE = 64 };
    static int in[N], out[N];
    for (int i = 0; i < N; i++)
        in[i] = rand() % 2001 - 1000;
    CUdeviceptr din = upload(in, sizeof in), dout = upload(out, sizeof out);
    void *params[] = {&din, &dout};
    good(cuLaunchKernel(kernel("tile_sums"), N / 256, 1, 1, 256, 1, 1, 0, NULL, params, NULL));
    good(cuMemcpyDtoH(out, dout, sizeof out));
    for (int i = 0; i < N; i++) {
        int sum = 0;
        for (int k = 0; k < TILE; k++)
            sum += in[i / TILE * TILE + k];
        assert_int_equal(out[i], 2 * sum + (i % TILE == TILE - 1));
    }
    good(cuMemFree(din));
    good(cuMemFree(dout));
}

/* Barriers of the whole grid, in two launches and between two events. */
static void test_grid(void **state) {
    (void)state;
    need_kernels();
    enum { BLOCKS = 24, ROUNDS = 3 };
    unsigned given[BLOCKS], want[BLOCKS], got[BLOCKS];
    int rounds = ROUNDS;
    CUevent begin, end;
    float ms = 0;
    for (int b = 0; b < BLOCKS; b++)
        given[b] = want[b] = 1;
    CUdeviceptr dgiven = upload(given, sizeof given), dtotal = upload(given, sizeof given);
    void *params[] = {&dgiven, &dtotal, &rounds};
    good(cuEventCreate(&begin, CU_EVENT_DEFAULT));
    good(cuEventCreate(&end, CU_EVENT_DEFAULT));
    for (int launch = 0; launch < 2; launch++) {
        good(cuEventRecord(begin, NULL));
        good(cuLaunchCooperativeKernel(kernel("grid_rounds"), BLOCKS, 1, 1, 64, 1, 1, 0, NULL, params));
        good(cuEventRecord(end, NULL));
        good(cuEventSynchronize(end));
        good(cuEventElapsedTime(&ms, begin, end));
        assert_true(ms > 0);
        for (int r = 0; r < ROUNDS; r++) {
            unsigned sum = 0;
            for (int b = 0; b < BLOCKS; b++)
                sum += want[b];
            for (int b = 0; b < BLOCKS; b++)
                want[b] = sum * (unsigned)(b + 1);
        }
    }
    good(cuMemcpyDtoH(got, dgiven, sizeof got));
    assert_memory_equal(got, want, sizeof got);
    assert_int_equal(cuLaunchCooperativeKernel(kernel("grid_rounds"), 1 << 20, 1, 1, 64, 1, 1, 0, NULL, params),
                     CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
    good(cuMemFree(dgiven));
    good(cuMemFree(dtotal));
}

static void test_time(void **state) {
    (void)state;
    need_kernels();
    enum { N = 1 << 24 };
    CUdeviceptr a, b, c;
    CUevent begin, end;
    CUstream stream;
    float ms;
    int n = N;
    good(cuMemAlloc(&a, (size_t)N * 4));
    good(cuMemAlloc(&b, (size_t)N * 4));
    good(cuMemAlloc(&c, (size_t)N * 4));
    good(cuMemsetD32(a, 0x3f800000, N));
    good(cuMemsetD32(b, 0x3f800000, N));
    good(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    good(cuEventCreate(&begin, CU_EVENT_DEFAULT));
    good(cuEventCreate(&end, CU_EVENT_DEFAULT));
    void *params[] = {&a, &b, &c, &n};
    good(cuEventRecord(begin, stream));
    for (int i = 0; i < 100; i++)
        good(cuLaunchKernel(kernel("vector_add"), N / 256, 1, 1, 256, 1, 1, 0, stream, params, NULL));
    good(cuEventRecord(end, stream));
    good(cuEventSynchronize(end));
    good(cuEventElapsedTime(&ms, begin, end));
    assert_true(ms > 100 * 3.0 * N * 4 / 2039e9 * 1e3); /* memory is the limit that no time is below */
    assert_true(ms < 200 * 3.0 * N * 4 / 2039e9 * 1e3);
    good(cuMemFree(a));
    good(cuMemFree(b));
    good(cuMemFree(c));
    good(cuStreamDestroy(stream));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vector_add), cmocka_unit_test(test_reduce),     cmocka_unit_test(test_transpose),
        cmocka_unit_test(test_filter),     cmocka_unit_test(test_tiles),      cmocka_unit_test(test_grid),
        cmocka_unit_test(test_time),       cmocka_unit_test(test_other_ways),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
