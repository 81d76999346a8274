/* Programs with clusters on a software H100: compiled by NVRTC, loaded and launched through the driver's functions,
 * compared with plain C. Also with one thing taken out of each, which must be found. */
#include "runtime/jit/compiler.h"

#include <cuda.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define good(call) assert_int_equal(call, CUDA_SUCCESS)

static char source[1 << 16];
static bool no_compiler;

/* The kernels, with `old` replaced; NULL: as they are. */
static CUmodule load(const char *old, const char *now) {
    static const char *const options[] = {"--std=c++17"};
    struct str text = {0}, ptx = {0}, cubin = {0};
    CUmodule module;
    if (no_compiler) {
        print_message("no NVRTC: skipped\n");
        skip();
    }
    const char *at = old ? strstr(source, old) : NULL;
    assert_true(!old == !at);
    str_append_bytes(&text, source, at ? (size_t)(at - source) : strlen(source));
    str_printf(&text, "%s%s", at ? now : "", at ? at + strlen(old) : "");
    if (compiler_run("cluster_kernels.cu", text.data, "sm_90a", options, 1, &cubin, &ptx, NULL))
        fail_msg("%s", fail_message());
    good(cuModuleLoadData(&module, ptx.data));
    str_release(&text);
    str_release(&ptx);
    str_release(&cubin);
    return module;
}

static CUdeviceptr upload(const void *bytes, size_t size) {
    CUdeviceptr out;
    good(cuMemAlloc(&out, size));
    good(cuMemcpyHtoD(out, bytes, size));
    return out;
}

static CUfunction kernel(CUmodule module, const char *name) {
    CUfunction out;
    good(cuModuleGetFunction(&out, module, name));
    return out;
}

enum { CTAS = 24, EACH = 500 };

static uint32_t *random_words(void) {
    static uint32_t in[CTAS * EACH];
    for (int i = 0; i < CTAS * EACH; i++)
        in[i] = (uint32_t)rand() * 2654435761u;
    return in;
}

static void test_sum(void **state) {
    (void)state;
    const uint32_t *in = random_words();
    uint32_t got[CTAS], each = EACH;
    CUmodule module = load(NULL, NULL);
    CUdeviceptr din = upload(in, sizeof(uint32_t) * CTAS * EACH), dout = upload(got, sizeof got);
    void *params[] = {&din, &each, &dout};
    for (unsigned size = 1; size <= 8; size *= 2) {
        CUlaunchAttribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, .value.clusterDim = {size, 1, 1}};
        CUlaunchConfig config = {.gridDimX = CTAS,
                                 .gridDimY = 1,
                                 .gridDimZ = 1,
                                 .blockDimX = 256,
                                 .blockDimY = 1,
                                 .blockDimZ = 1,
                                 .attrs = &attribute,
                                 .numAttrs = 1};
        good(cuLaunchKernelEx(&config, kernel(module, "cluster_sum"), params, NULL));
        good(cuMemcpyDtoH(got, dout, sizeof got));
        for (unsigned c = 0; c < CTAS / size; c++) {
            uint32_t want = 0;
            for (unsigned i = 0; i < size * EACH; i++)
                want += in[c * size * EACH + i];
            assert_int_equal(got[c], want);
        }
    }
    good(cuModuleUnload(module));
}

static void test_scatter(void **state) {
    (void)state;
    const uint32_t *in = random_words();
    uint32_t count[CTAS] = {0}, total[CTAS] = {0}, got[2][CTAS], each = EACH;
    CUmodule module = load(NULL, NULL);
    CUdeviceptr din = upload(in, sizeof(uint32_t) * CTAS * EACH),
                dout[2] = {upload(got, sizeof got[0]), upload(got, sizeof got[0])};
    void *params[] = {&din, &each, &dout[0], &dout[1]};
    for (int i = 0; i < CTAS * EACH; i++) {
        unsigned to = (unsigned)i / EACH / 4 * 4 + in[i] % 4;
        count[to]++;
        total[to] += in[i];
    }
    good(cuLaunchKernel(kernel(module, "cluster_scatter"), CTAS, 1, 1, 96, 1, 1, 0, NULL, params, NULL));
    for (int k = 0; k < 2; k++) {
        good(cuMemcpyDtoH(got[k], dout[k], sizeof got[k]));
        assert_memory_equal(got[k], k ? total : count, sizeof got[k]);
    }
    good(cuModuleUnload(module));
}

/* ---- the product ---- */

enum { M = 250, N = 72, K = 896, TILE_M = 64, TILE_N = 32 };

static void encode(CUtensorMap *map, CUtensorMapDataType type, CUdeviceptr address, const unsigned size[2],
                   unsigned bytes, const unsigned box[2]) {
    const cuuint64_t sizes[] = {size[0], size[1]}, stride[] = {(cuuint64_t)size[0] * bytes};
    const cuuint32_t boxes[] = {box[0], box[1]}, step[] = {1, 1};
    good(cuTensorMapEncodeTiled(map, type, 2, (void *)(uintptr_t)address, /* NOLINT(performance-no-int-to-ptr) */
                                sizes, stride, boxes, step, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE,
                                CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
}

struct product {
    uint8_t a[M][K], b[N][K];
    uint16_t c[M][N];
};

static CUresult multiply(CUmodule module, struct product *p) {
    CUtensorMap a, b, c;
    int k = K;
    for (size_t i = 0; i < sizeof p->a; i++)
        (&p->a[0][0])[i] = (uint8_t)(rand() >> 7);
    for (size_t i = 0; i < sizeof p->b; i++)
        (&p->b[0][0])[i] = (uint8_t)(rand() >> 7);
    memset(p->c, 0xee, sizeof p->c);
    CUdeviceptr da = upload(p->a, sizeof p->a), db = upload(p->b, sizeof p->b), dc = upload(p->c, sizeof p->c);
    encode(&a, CU_TENSOR_MAP_DATA_TYPE_UINT8, da, (unsigned[]){K, M}, 1, (unsigned[]){128, TILE_M});
    encode(&b, CU_TENSOR_MAP_DATA_TYPE_UINT8, db, (unsigned[]){K, N}, 1, (unsigned[]){128, TILE_N / 2});
    encode(&c, CU_TENSOR_MAP_DATA_TYPE_UINT16, dc, (unsigned[]){N, M}, 2, (unsigned[]){TILE_N, TILE_M});
    void *params[] = {&a, &b, &c, &k};
    CUresult result = cuLaunchKernel(kernel(module, "cluster_product"), (M + TILE_M - 1) / TILE_M,
                                     (N + TILE_N - 1) / TILE_N, 1, 160, 1, 1, 0, NULL, params, NULL);
    result = result ? result : cuCtxSynchronize();
    if (result == CUDA_SUCCESS)
        good(cuMemcpyDtoH(p->c, dc, sizeof p->c));
    return result;
}

static void test_product(void **state) {
    (void)state;
    static struct product p;
    CUmodule module = load(NULL, NULL);
    good(multiply(module, &p));
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) {
            uint32_t want = 0;
            for (int k = 0; k < K; k++)
                want += (uint32_t)p.a[m][k] * p.b[n][k];
            if (p.c[m][n] != (uint16_t)want)
                fail_msg("C[%d, %d] is %u, not %u", m, n, p.c[m][n], (uint16_t)want);
        }
    good(cuModuleUnload(module));
}

/* Each in a context of its own: a fault ends one. The sentences are on standard error; tests/unit has them. */
static void check_found(const char *old, const char *now, CUresult want) {
    static struct product p;
    CUcontext context;
    good(cuCtxCreate(&context, NULL, 0, 0));
    CUresult got = multiply(load(old, now), &p);
    good(cuCtxDestroy(context));
    if (got != want)
        fail_msg("'%s' for '%s': result %d, not %d", now, old, got, want);
}

static void test_taken_out(void **state) {
    (void)state;
    check_found("    cluster_sync();\n    if (threadIdx.x == kConsumers)", "    if (threadIdx.x == kConsumers)",
                CUDA_ERROR_LAUNCH_FAILED);
    check_found("    __syncwarp();\n    cluster_sync();\n}", "}", CUDA_ERROR_LAUNCH_FAILED);
    check_found("asm volatile(\"fence.mbarrier_init.release.cluster;\" ::: \"memory\");", "", CUDA_ERROR_LAUNCH_FAILED);
    check_found("fence.proxy.async.shared::cta;", "", CUDA_ERROR_LAUNCH_FAILED);
    check_found("cp.async.bulk.wait_group.read 0;", "", CUDA_ERROR_LAUNCH_FAILED);
    check_found("threadIdx.x % 32 < 2", "threadIdx.x % 32 < 1", CUDA_ERROR_LAUNCH_TIMEOUT);
    check_found("&s.full[at],\n                        3);", "&s.full[at], 1 << rank);", CUDA_ERROR_LAUNCH_TIMEOUT);
    check_found("(kRows + kColumns) * kStep)", "(kRows + kColumns) * kStep + 16)", CUDA_ERROR_LAUNCH_TIMEOUT);
}

static int setup(void **state) {
    (void)state;
    struct str ptx = {0}, cubin = {0};
    CUcontext context;
    FILE *file = fopen(MT_SOURCE_DIR "/tests/device/cluster_kernels.cu", "r");
    if (!file)
        return -1;
    source[fread(source, 1, sizeof source - 1, file)] = 0;
    fclose(file);
    no_compiler = compiler_run("empty.cu", "", "sm_90a", NULL, 0, &cubin, &ptx, NULL) == MT_NO_DEVICE;
    str_release(&ptx);
    str_release(&cubin);
    setenv("SOFTGPU_DEVICE", "h100-sxm", 1);
    srand(5);
    good(cuInit(0));
    good(cuDevicePrimaryCtxRetain(&context, 0));
    good(cuCtxSetCurrent(context));
    return 0;
}

static int teardown(void **state) {
    (void)state;
    good(cuDevicePrimaryCtxRelease(0));
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sum), cmocka_unit_test(test_scatter),
                                       cmocka_unit_test(test_product), cmocka_unit_test(test_taken_out)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
