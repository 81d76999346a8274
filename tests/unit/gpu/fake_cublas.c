/* Both cuBLAS libraries in one, for tests: every GEMM is one small kernel that runs on the driver of fake_cuda.c,
 * and is loaded at its first launch after a synchronisation, as lazy loading may do it. Of the algorithms that
 * cuBLASLt proposes the first says that it is none, the second cannot be launched, and GOOD_ALGORITHM is the fastest.
 * Compiled with the soname of the one or the other. $FAKE_CUBLAS=broken cannot be opened; with `wrong` cuBLAS writes
 * nothing, and the fastest algorithm of cuBLASLt twice the product. The file $FAKE_LOG gets a line for each question to
 * the heuristics, each launch, and each load behind a gate that is shut; $FAKE_OPERANDS the addresses of weights and
 * tokens of each GEMM of cuBLAS. One of those takes over 20 us, those of cuBLASLt less. */
#include <cublasLt.h>
#include <cublas_v2.h>
#include <cuda.h>
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GOOD_ALGORITHM = 5, ALGORITHMS = 32 };

/* y [features, tokens], its columns ldy apart, = factor * a' [features, k] . b [k, tokens], for k in whole steps of 16: a
 * warp for 16 features and 8 tokens. The first is as slow as it is told. Factor 0: nothing is written. */
#define LOAD(to, row, at) "ld.global.b32 " to ", [" row "+" #at "]; "
#define MULTIPLY(type)                                                                                                 \
    "mma.sync.aligned.m16n8k16.row.col.f32." #type "." #type ".f32 {%f0, %f1, %f2, %f3}, {%r16, %r17, %r18, %r19}, "   \
    "{%r20, %r21}, {%f0, %f1, %f2, %f3};\n"
#define STORE(sum, feature, token)                                                                                     \
    "setp.lt.u32 %p1, " feature ", %r4; setp.lt.and.u32 %p1, " token ", %r5, %p1; mul.f32 " sum ", " sum ", %f4; "     \
    "mad.lo.u32 %r22, " token ", %r9, " feature "; mul.wide.u32 %d3, %r22, 2; add.u64 %d3, %d2, %d3; "                 \
    "cvt.rn.f16.f32 %h0, " sum "; cvt.rn.bf16.f32 %h1, " sum                                                           \
    "; @%p0 mov.b16 %h0, %h1; @%p1 st.global.b16 [%d3], %h0;\n"
static const char ptx[] =
    ".version 8.0\n.target sm_80\n.address_size 64\n"
    ".visible .entry fake_gemm(.param .u64 y, .param .u64 a, .param .u64 b, .param .u32 features, .param .u32 tokens, "
    ".param .u32 k, .param .u32 lda, .param .u32 ldb, .param .u32 ldy, .param .u32 bf16, .param .f32 factor, "
    ".param .u32 rounds)\n{\n"
    ".reg .pred %p<3>; .reg .b16 %h<2>; .reg .b32 %r<24>; .reg .f32 %f<5>; .reg .b64 %d<8>;\n"
    "ld.param.u64 %d0, [a]; ld.param.u64 %d1, [b]; ld.param.u64 %d2, [y];\n"
    "ld.param.u32 %r4, [features]; ld.param.u32 %r5, [tokens]; ld.param.u32 %r6, [k]; ld.param.u32 %r7, [lda];\n"
    "ld.param.u32 %r8, [ldb]; ld.param.u32 %r9, [ldy]; ld.param.u32 %r10, [bf16]; ld.param.f32 %f4, [factor];\n"
    "ld.param.u32 %r11, [rounds]; setp.ne.u32 %p0, %r10, 0; mov.u32 %r0, %ctaid.x; mov.u32 %r1, %ctaid.y;\n"
    "add.u32 %r2, %r0, %r1; setp.ne.u32 %p1, %r2, 0; mov.u32 %r3, 0; @%p1 bra product;\n"
    "slow: add.u32 %r3, %r3, 1; setp.lt.u32 %p1, %r3, %r11; @%p1 bra slow;\n"
    "product: mov.u32 %r2, %tid.x; shr.u32 %r12, %r2, 2; and.b32 %r13, %r2, 3; shl.b32 %r13, %r13, 1;\n"
    "shl.b32 %r0, %r0, 4; shl.b32 %r1, %r1, 3; add.u32 %r0, %r0, %r12; add.u32 %r14, %r0, 8; add.u32 %r15, %r1, %r12;\n"
    "sub.u32 %r22, %r4, 1; min.u32 %r16, %r0, %r22; min.u32 %r17, %r14, %r22; sub.u32 %r22, %r5, 1;\n"
    "min.u32 %r18, %r15, %r22; add.u32 %r1, %r1, %r13; add.u32 %r23, %r1, 1;\n"
    "mad.lo.u32 %r16, %r16, %r7, %r13; mul.wide.u32 %d4, %r16, 2; add.u64 %d4, %d0, %d4;\n"
    "mad.lo.u32 %r17, %r17, %r7, %r13; mul.wide.u32 %d5, %r17, 2; add.u64 %d5, %d0, %d5;\n"
    "mad.lo.u32 %r18, %r18, %r8, %r13; mul.wide.u32 %d6, %r18, 2; add.u64 %d6, %d1, %d6;\n"
    "mov.f32 %f0, 0f00000000; mov.f32 %f1, %f0; mov.f32 %f2, %f0; mov.f32 %f3, %f0; mov.u32 %r3, 0;\n"
    "next: " LOAD("%r16", "%d4", 0) LOAD("%r17", "%d5", 0) LOAD("%r18", "%d4", 16) LOAD("%r19", "%d5", 16)
        LOAD("%r20", "%d6", 0) LOAD("%r21", "%d6", 16) "@%p0 bra wide;\n" MULTIPLY(f16) "bra more;\nwide: " MULTIPLY(
            bf16) "more: add.u64 %d4, %d4, 32; add.u64 %d5, %d5, 32; add.u64 %d6, %d6, 32; add.u32 %r3, %r3, 16;\n"
                  "setp.lt.u32 %p1, %r3, %r6; @%p1 bra next;\n"
                  "setp.eq.f32 %p2, %f4, 0f00000000; @%p2 bra done;\n" STORE("%f0", "%r0", "%r1")
                      STORE("%f1", "%r0", "%r23") STORE("%f2", "%r14", "%r1")
                          STORE("%f3", "%r14", "%r23") "done: ret;\n}\n";

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

struct product {
    const void *a, *b;
    void *y;
    unsigned features, tokens, k, lda, ldb, ldy, bf16;
};

static float factor_of(int algorithm) {
    const char *state = getenv("FAKE_CUBLAS");
    const bool wrong = state && !strcmp(state, "wrong");
    return wrong && algorithm == 0 ? 0 : wrong && algorithm == GOOD_ALGORITHM ? 2 : 1;
}

static CUresult run(int algorithm, struct product p, CUstream stream) {
    CUmodule module;
    CUstreamCaptureStatus state;
    unsigned rounds = algorithm == GOOD_ALGORITHM ? 100 : algorithm == 0 ? 6000 : 1000;
    float factor = factor_of(algorithm);
    void *params[] = {&p.y,   &p.a,   &p.b,   &p.features, &p.tokens, &p.k,
                      &p.lda, &p.ldb, &p.ldy, &p.bf16,     &factor,   &rounds};
    CUresult result = p.k % 16 ? CUDA_ERROR_NOT_SUPPORTED : driver.capturing(stream, &state);
    if (result == CUDA_SUCCESS && !loaded[algorithm] && (result = synchronize()) == CUDA_SUCCESS &&
        (result = driver.load(&module, ptx)) == CUDA_SUCCESS)
        result = driver.function(&loaded[algorithm], module, "fake_gemm");
    if (result != CUDA_SUCCESS)
        return result;
    note(state == CU_STREAM_CAPTURE_STATUS_ACTIVE ? "captured" : "launched", algorithm);
    return driver.launch(loaded[algorithm], (p.features + 15) / 16, (p.tokens + 7) / 8, 1, 32, 1, 1, 0, stream, params,
                         NULL);
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
    const struct product p = {x,
                              w,
                              y,
                              (unsigned)m,
                              (unsigned)n,
                              (unsigned)k,
                              (unsigned)ldx,
                              (unsigned)ldw,
                              (unsigned)ldy,
                              x_type == CUDA_R_16BF};
    return status_of(run(0, p, current));
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
struct layout {
    cudaDataType type;
    unsigned rows, columns, pitch;
};
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t pitch) {
    if ((type != CUDA_R_16F && type != CUDA_R_16BF) || !columns || pitch < (int64_t)rows)
        return CUBLAS_STATUS_INVALID_VALUE;
    struct layout *layout = malloc(sizeof *layout);
    if (!layout)
        return CUBLAS_STATUS_ALLOC_FAILED;
    *layout = (struct layout){type, (unsigned)rows, (unsigned)columns, (unsigned)pitch};
    *out = (cublasLtMatrixLayout_t)(void *)layout;
    return CUBLAS_STATUS_SUCCESS;
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
    const struct layout *weights = (const void *)a_layout, *tokens = (const void *)b_layout,
                        *out = (const void *)d_layout;
    const struct product p = {a,
                              b,
                              d,
                              weights->columns,
                              tokens->columns,
                              weights->rows,
                              weights->pitch,
                              tokens->pitch,
                              out->pitch,
                              weights->type == CUDA_R_16BF};
    return status_of(run((int)algo->data[0], p, (CUstream)stream));
}
