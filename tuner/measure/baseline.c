#include "baseline.h"
#include "runtime/base/str.h"
#include "runtime/jit/toolkit.h"
#include <cublas_v2.h>
#include <stdio.h>
#include <stdlib.h>

/* The workspace is ours: cuBLAS would allocate its own inside a capture. 32 MiB is what NVIDIA advises for cc 9.0. */
enum { WORKSPACE_BYTES = 32 << 20 };

struct cublas {
    struct device *dev;
    struct memory memory;
    CUdeviceptr workspace;
    cublasHandle_t handle;
    char version[32];
    cublasStatus_t (*create)(cublasHandle_t *);
    cublasStatus_t (*destroy)(cublasHandle_t);
    cublasStatus_t (*get_version)(cublasHandle_t, int *);
    cublasStatus_t (*set_stream)(cublasHandle_t, cudaStream_t);
    cublasStatus_t (*set_workspace)(cublasHandle_t, void *, size_t);
    cublasStatus_t (*gemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void *,
                           const void *, cudaDataType, int, const void *, cudaDataType, int, const void *, void *,
                           cudaDataType, int, cublasComputeType_t, cublasGemmAlgo_t);
};

static const struct symbol symbols[] = {
    {offsetof(struct cublas, create), "cublasCreate_v2"},
    {offsetof(struct cublas, destroy), "cublasDestroy_v2"},
    {offsetof(struct cublas, get_version), "cublasGetVersion_v2"},
    {offsetof(struct cublas, set_stream), "cublasSetStream_v2"},
    {offsetof(struct cublas, set_workspace), "cublasSetWorkspace_v2"},
    {offsetof(struct cublas, gemm), "cublasGemmEx"},
};

static enum mt_status check(cublasStatus_t result, const char *what) {
    if (result == CUBLAS_STATUS_ALLOC_FAILED)
        device_note_error(CUDA_ERROR_OUT_OF_MEMORY);
    return result == CUBLAS_STATUS_SUCCESS ? MT_OK : fail(MT_FAILURE, "cuBLAS: %s gives status %d", what, (int)result);
}

static enum mt_status open_handle(struct cublas *cublas) {
    int version = 0;
    enum mt_status status;
    if ((status = check(cublas->create(&cublas->handle), "cublasCreate")) ||
        (status = check(cublas->get_version(cublas->handle, &version), "cublasGetVersion")) ||
        (status = memory_alloc(&cublas->memory, cublas->dev, WORKSPACE_BYTES, &cublas->workspace)))
        return status;
    snprintf(cublas->version, sizeof cublas->version, "%d.%d.%d", version / 10000, version / 100 % 100, version % 100);
    return MT_OK;
}

enum mt_status cublas_open(struct device *dev, struct cublas **out) {
    *out = NULL;
    if (dev->software)
        return fail(MT_NO_DEVICE, "cuBLAS does not run on a software device");
    struct cublas *cublas = xcalloc(1, sizeof *cublas);
    cublas->dev = dev;
    const struct toolkit_library library = {"cublas", "cuBLAS", symbols, sizeof symbols / sizeof *symbols,
                                            cublas,   NULL};
    enum mt_status status = toolkit_load(&library, NULL);
    if (status == MT_FAILURE) /* it is there, and the machine is short of something */
        device_note_error(CUDA_ERROR_OPERATING_SYSTEM);
    if (!status)
        status = open_handle(cublas);
    if (status)
        cublas_close(cublas);
    else
        *out = cublas;
    return status;
}

/* The library stays open: it does not survive being closed while a context that it has used lives. */
void cublas_close(struct cublas *cublas) {
    if (!cublas)
        return;
    if (cublas->handle)
        cublas->destroy(cublas->handle);
    memory_release(&cublas->memory, cublas->dev);
    free(cublas);
}

const char *cublas_version(const struct cublas *cublas) {
    return cublas ? cublas->version : "";
}

/* cuBLAS is column-major, so row-major Y[M, N] is its N x M matrix with ldy between columns: Y' = W . X', where W[N, K]
 * row-major is read as K x N and transposed, and X[M, K] row-major is K x M as it stands. */
enum mt_status cublas_gemm(const struct cublas *cublas, const struct mt_gemm_f16_args *a, enum dtype dtype,
                           CUstream stream) {
    cudaDataType type = dtype == DTYPE_BF16 ? CUDA_R_16BF : CUDA_R_16F;
    const float one = 1, zero = 0;
    enum mt_status status;
    /* Setting the stream also takes the workspace away. */
    if ((status = check(cublas->set_stream(cublas->handle, (cudaStream_t)stream), "cublasSetStream")) ||
        (status = check(cublas->set_workspace(cublas->handle, memory_pointer(cublas->workspace), WORKSPACE_BYTES),
                        "cublasSetWorkspace")))
        return status;
    return check(cublas->gemm(cublas->handle, CUBLAS_OP_T, CUBLAS_OP_N, a->n, a->m, a->k, &one, a->w, type, a->ldw,
                              a->x, type, a->ldx, &zero, a->y, type, a->ldy, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                 "cublasGemmEx");
}
