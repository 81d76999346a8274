#include "fp16_gemm.h"
#include "driver.h"
#include <cublas_v2.h>
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>

/* An engine links with -lcublas and calls these by name. The examples open it, as they do the driver. */
static struct {
    cublasStatus_t (*create)(cublasHandle_t *);
    cublasStatus_t (*destroy)(cublasHandle_t);
    cublasStatus_t (*set_stream)(cublasHandle_t, cudaStream_t);
    cublasStatus_t (*set_workspace)(cublasHandle_t, void *, size_t);
    cublasStatus_t (*gemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void *,
                           const void *, cudaDataType, int, const void *, cudaDataType, int, const void *, void *,
                           cudaDataType, int, cublasComputeType_t, cublasGemmAlgo_t);
} blas;

static cublasHandle_t handle;
static CUdeviceptr workspace; /* ours: cuBLAS would allocate one within a capture */
enum { WORKSPACE_BYTES = 32 << 20 };

static void check(cublasStatus_t result, const char *what) {
    char number[40];
    snprintf(number, sizeof number, "cuBLAS status %d", (int)result);
    if (result != CUBLAS_STATUS_SUCCESS)
        stop(what, number);
}

int fp16_gemm_open(void) {
    void *library = cu.software ? NULL : dlopen("libcublas.so.13", RTLD_NOW | RTLD_LOCAL);
    if (!library && !cu.software)
        library = dlopen("libcublas.so.12", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return 0;
    *(void **)&blas.create = dlsym(library, "cublasCreate_v2");
    *(void **)&blas.destroy = dlsym(library, "cublasDestroy_v2");
    *(void **)&blas.set_stream = dlsym(library, "cublasSetStream_v2");
    *(void **)&blas.set_workspace = dlsym(library, "cublasSetWorkspace_v2");
    *(void **)&blas.gemm = dlsym(library, "cublasGemmEx");
    if (!blas.create || !blas.destroy || !blas.set_stream || !blas.set_workspace || !blas.gemm)
        return 0;
    check(blas.create(&handle), "opening cuBLAS");
    workspace = device_allocate(WORKSPACE_BYTES);
    return 1;
}

void fp16_gemm_close(void) {
    blas.destroy(handle);
    cu.release(workspace);
}

/* cuBLAS is column-major: row-major Y [m][n] is its n x m matrix, X [m][k] its k x m, and W [n][k] its k x n, which is
 * to be transposed. So it computes Y' = W . X'. */
void fp16_gemm_launch(const struct mt_layer_info *layer, int m, CUdeviceptr x, CUdeviceptr w, CUdeviceptr y,
                      CUstream stream) {
    const cudaDataType type = layer->dtype == MT_BF16 ? CUDA_R_16BF : CUDA_R_16F;
    const int n = layer->n, k = layer->k;
    const float one = 1, zero = 0;
    check(blas.set_stream(handle, (cudaStream_t)stream), "the stream of cuBLAS"); /* which takes the workspace away */
    check(blas.set_workspace(handle, (void *)(uintptr_t)workspace, WORKSPACE_BYTES), "the workspace of cuBLAS");
    check(blas.gemm(handle, CUBLAS_OP_T, CUBLAS_OP_N, n, m, k, &one, (const void *)(uintptr_t)w, type, k,
                    (const void *)(uintptr_t)x, type, k, &zero, (void *)(uintptr_t)y, type, n, CUBLAS_COMPUTE_32F,
                    CUBLAS_GEMM_DEFAULT),
          "the GEMM in fp16");
}
