/* Both cuBLAS libraries in one, for tests: every GEMM is one small kernel that runs on the driver of fake_cuda.c,
 * and is loaded at its first launch after a synchronisation, as lazy loading may do it. Of the algorithms that
 * cuBLASLt proposes the first says that it is none, the second cannot be launched, and GOOD_ALGORITHM is the fastest.
 * Compiled with the soname of the one or the other; $FAKE_CUBLAS=broken cannot be opened. The file $FAKE_LOG gets a
 * line for each question to the heuristics, each launch, and each load behind a gate that is shut; $FAKE_OPERANDS the
 * addresses of weights and tokens of each GEMM of cuBLAS. One of those takes over 20 us, those of cuBLASLt less. */
#include <cublasLt.h>
#include <cublas_v2.h>
#include <cuda.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GOOD_ALGORITHM = 5, ALGORITHMS = 32 };

/* y[0] = sum of the thread's rounds: as slow as it is told. */
static const char ptx[] = ".version 8.0\n.target sm_80\n.address_size 64\n"
                          ".visible .entry fake_gemm(.param .u64 y, .param .u32 rounds)\n{\n"
                          ".reg .pred %p; .reg .b32 %r<4>; .reg .b64 %d<2>;\n"
                          "ld.param.u64 %d0, [y]; ld.param.u32 %r0, [rounds]; mov.u32 %r1, 0;\n"
                          "loop: add.u32 %r1, %r1, 1; setp.lt.u32 %p, %r1, %r0; @%p bra loop;\n"
                          "cvta.to.global.u64 %d1, %d0; mov.u32 %r2, 0; st.global.u32 [%d1], %r2; ret;\n}\n";

static struct {
    CUresult (*load)(CUmodule *, const void *);
    CUresult (*function)(CUfunction *, CUmodule, const char *);
    CUresult (*launch)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream,
                       void **, void **);
    CUresult (*synchronize)(void);
    CUresult (*capturing)(CUstream, CUstreamCaptureStatus *);
    int (*gate_is_shut)(void);
} driver;
static CUfunction loaded[ALGORITHMS];

static void note(const char *what, int number) {
    const char *path = getenv("FAKE_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) {
        fprintf(file, "%s %d\n", what, number);
        fclose(file);
    }
}

static void note_operands(const void *weights, const void *tokens) {
    const char *path = getenv("FAKE_OPERANDS");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) {
        fprintf(file, "%p %p\n", weights, tokens);
        fclose(file);
    }
}

static void *symbol(void *library, const char *name) {
    void *address = library ? dlsym(library, name) : NULL;
    if (!address)
        abort();
    return address;
}

static cublasStatus_t open_driver(void) {
    const char *state = getenv("FAKE_CUBLAS");
    if (state && !strcmp(state, "broken"))
        return CUBLAS_STATUS_NOT_INITIALIZED;
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    *(void **)&driver.load = symbol(library, "cuModuleLoadData");
    *(void **)&driver.function = symbol(library, "cuModuleGetFunction");
    *(void **)&driver.launch = symbol(library, "cuLaunchKernel");
    *(void **)&driver.synchronize = symbol(library, "cuCtxSynchronize");
    *(void **)&driver.capturing = symbol(library, "cuStreamIsCapturing");
    *(void **)&driver.gate_is_shut = symbol(library, "fakeGateIsShut");
    memset(loaded, 0, sizeof loaded); /* they belong to the context of an earlier handle */
    return CUBLAS_STATUS_SUCCESS;
}

/* Behind a gate it waits until that has no more patience with its host. */
static CUresult synchronize(void) {
    if (driver.gate_is_shut())
        note("waited", 0);
    return driver.synchronize();
}

static CUresult run(int algorithm, void *y, CUstream stream) {
    CUmodule module;
    CUstreamCaptureStatus state;
    unsigned rounds = algorithm == GOOD_ALGORITHM ? 100 : algorithm == 0 ? 6000 : 1000;
    void *params[] = {&y, &rounds};
    CUresult result = driver.capturing(stream, &state);
    if (result == CUDA_SUCCESS && !loaded[algorithm] && (result = synchronize()) == CUDA_SUCCESS &&
        (result = driver.load(&module, ptx)) == CUDA_SUCCESS)
        result = driver.function(&loaded[algorithm], module, "fake_gemm");
    if (result != CUDA_SUCCESS)
        return result;
    note(state == CU_STREAM_CAPTURE_STATUS_ACTIVE ? "captured" : "launched", algorithm);
    return driver.launch(loaded[algorithm], 1, 1, 1, 32, 1, 1, 0, stream, params, NULL);
}

static cublasStatus_t status_of(CUresult result) {
    return result == CUDA_SUCCESS ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

/* ---- cuBLAS ---- */

static CUstream current;

cublasStatus_t cublasCreate_v2(cublasHandle_t *handle) {
    *handle = (cublasHandle_t)loaded;
    return open_driver();
}
cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
    return handle ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_INITIALIZED;
}
cublasStatus_t cublasGetVersion_v2(cublasHandle_t handle, int *version) {
    *version = 130102;
    return cublasDestroy_v2(handle);
}
cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
    current = (CUstream)stream;
    return cublasDestroy_v2(handle);
}
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void *workspace, size_t size) {
    return workspace && size ? cublasDestroy_v2(handle) : CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t a, cublasOperation_t b, int m, int n, int k,
                            const void *alpha, const void *x, cudaDataType x_type, int ldx, const void *w,
                            cudaDataType w_type, int ldw, const void *beta, void *y, cudaDataType y_type, int ldy,
                            cublasComputeType_t compute, cublasGemmAlgo_t algorithm) {
    if (!handle || a != CUBLAS_OP_T || b != CUBLAS_OP_N || m < 1 || n < 1 || ldx < k || ldw < k || ldy < m || !alpha ||
        !beta || !x || !w || x_type != w_type || w_type != y_type || compute != CUBLAS_COMPUTE_32F ||
        algorithm != CUBLAS_GEMM_DEFAULT)
        return CUBLAS_STATUS_INVALID_VALUE;
    note_operands(x, w);
    return status_of(run(0, y, current));
}

/* ---- cuBLASLt ---- */

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    *handle = (cublasLtHandle_t)loaded;
    return open_driver();
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    return handle ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_INITIALIZED;
}

static cublasStatus_t make(void **out) {
    *out = malloc(1);
    return *out ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_ALLOC_FAILED;
}
static cublasStatus_t drop(void *object) {
    free(object);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out, cublasComputeType_t compute, cudaDataType_t scale) {
    return compute == CUBLAS_COMPUTE_32F && scale == CUDA_R_32F ? make((void **)out) : CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
    return drop(desc);
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc, cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t size) {
    return desc && attribute == CUBLASLT_MATMUL_DESC_TRANSA && value && size == sizeof(cublasOperation_t)
               ? CUBLAS_STATUS_SUCCESS
               : CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t pitch) {
    return (type == CUDA_R_16F || type == CUDA_R_16BF) && columns && pitch >= (int64_t)rows
               ? make((void **)out)
               : CUBLAS_STATUS_INVALID_VALUE;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
    return drop(layout);
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out) {
    return make((void **)out);
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
    return drop(preference);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void *value,
                                                    size_t size) {
    return preference && attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES && value && size == sizeof(size_t)
               ? CUBLAS_STATUS_SUCCESS
               : CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t *results, int *count) {
    if (!handle || !desc || !a || !b || !c || !d || !preference)
        return CUBLAS_STATUS_INVALID_VALUE;
    note("asked", requested);
    *count = requested < ALGORITHMS ? requested : ALGORITHMS;
    memset(results, 0, (size_t)*count * sizeof *results);
    for (int i = 0; i < *count; i++) {
        results[i].algo.data[0] = (uint64_t)i;
        results[i].state = i ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t a_layout, const void *b, cublasLtMatrixLayout_t b_layout,
                              const void *beta, const void *c, cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo, void *workspace,
                              size_t size, cudaStream_t stream) {
    if (!handle || !desc || !alpha || !a || !a_layout || !b || !b_layout || !beta || c != d || !c_layout || !d_layout ||
        !workspace || !size)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (algo->data[0] == 1)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    return status_of(run((int)algo->data[0], d, (CUstream)stream));
}
