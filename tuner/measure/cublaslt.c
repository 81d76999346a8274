#include "cublaslt.h"
#include "memory.h"
#include "runtime/base/str.h"
#include "runtime/jit/toolkit.h"
#include <cublasLt.h>
#include <stdlib.h>

/* As for cuBLAS: what NVIDIA advises for cc 9.0. */
enum { WORKSPACE_BYTES = 32 << 20 };

struct cublaslt {
    struct device *dev;
    struct memory memory;
    CUdeviceptr workspace;
    cublasLtHandle_t handle;
    cublasStatus_t (*create)(cublasLtHandle_t *);
    cublasStatus_t (*destroy)(cublasLtHandle_t);
    cublasStatus_t (*desc_create)(cublasLtMatmulDesc_t *, cublasComputeType_t, cudaDataType_t);
    cublasStatus_t (*desc_destroy)(cublasLtMatmulDesc_t);
    cublasStatus_t (*desc_set)(cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t, const void *, size_t);
    cublasStatus_t (*layout_create)(cublasLtMatrixLayout_t *, cudaDataType, uint64_t, uint64_t, int64_t);
    cublasStatus_t (*layout_destroy)(cublasLtMatrixLayout_t);
    cublasStatus_t (*preference_create)(cublasLtMatmulPreference_t *);
    cublasStatus_t (*preference_destroy)(cublasLtMatmulPreference_t);
    cublasStatus_t (*preference_set)(cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t, const void *,
                                     size_t);
    cublasStatus_t (*heuristic)(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int,
                                cublasLtMatmulHeuristicResult_t[], int *);
    cublasStatus_t (*matmul)(cublasLtHandle_t, cublasLtMatmulDesc_t, const void *, const void *, cublasLtMatrixLayout_t,
                             const void *, cublasLtMatrixLayout_t, const void *, const void *, cublasLtMatrixLayout_t,
                             void *, cublasLtMatrixLayout_t, const cublasLtMatmulAlgo_t *, void *, size_t,
                             cudaStream_t);
};

struct lt_plan {
    const struct cublaslt *lt;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t w, x, y;
    cublasLtMatmulHeuristicResult_t algorithm[LT_MAX_ALGORITHMS];
    int count;
};

static enum mt_status check(cublasStatus_t result, const char *what) {
    if (result == CUBLAS_STATUS_ALLOC_FAILED)
        device_note_error(CUDA_ERROR_OUT_OF_MEMORY);
    return result == CUBLAS_STATUS_SUCCESS ? MT_OK
                                           : fail(MT_FAILURE, "cuBLASLt: %s gives status %d", what, (int)result);
}

static const struct symbol symbols[] = {
    {offsetof(struct cublaslt, create), "cublasLtCreate"},
    {offsetof(struct cublaslt, destroy), "cublasLtDestroy"},
    {offsetof(struct cublaslt, desc_create), "cublasLtMatmulDescCreate"},
    {offsetof(struct cublaslt, desc_destroy), "cublasLtMatmulDescDestroy"},
    {offsetof(struct cublaslt, desc_set), "cublasLtMatmulDescSetAttribute"},
    {offsetof(struct cublaslt, layout_create), "cublasLtMatrixLayoutCreate"},
    {offsetof(struct cublaslt, layout_destroy), "cublasLtMatrixLayoutDestroy"},
    {offsetof(struct cublaslt, preference_create), "cublasLtMatmulPreferenceCreate"},
    {offsetof(struct cublaslt, preference_destroy), "cublasLtMatmulPreferenceDestroy"},
    {offsetof(struct cublaslt, preference_set), "cublasLtMatmulPreferenceSetAttribute"},
    {offsetof(struct cublaslt, heuristic), "cublasLtMatmulAlgoGetHeuristic"},
    {offsetof(struct cublaslt, matmul), "cublasLtMatmul"},
};

enum mt_status cublaslt_open(struct device *dev, struct cublaslt **out) {
    *out = NULL;
    if (dev->software)
        return fail(MT_NO_DEVICE, "cuBLASLt does not run on a software device");
    struct cublaslt *lt = xcalloc(1, sizeof *lt);
    lt->dev = dev;
    const struct toolkit_library library = {"cublasLt", "cuBLASLt", symbols, sizeof symbols / sizeof *symbols,
                                            lt,         NULL};
    enum mt_status status = toolkit_load(&library, NULL);
    if (status == MT_FAILURE) /* it is there, and the machine is short of something */
        device_note_error(CUDA_ERROR_OPERATING_SYSTEM);
    if (!status)
        status = check(lt->create(&lt->handle), "cublasLtCreate");
    if (!status)
        status = memory_alloc(&lt->memory, dev, WORKSPACE_BYTES, &lt->workspace);
    if (status)
        cublaslt_close(lt);
    else
        *out = lt;
    return status;
}

/* The library stays open, as cuBLAS does. */
void cublaslt_close(struct cublaslt *lt) {
    if (!lt)
        return;
    if (lt->handle)
        lt->destroy(lt->handle);
    memory_release(&lt->memory, lt->dev);
    free(lt);
}

/* Column-major, as cublas_gemm() has it: Y' [N x M] = W' [K x N] transposed . X' [K x M]. */
static enum mt_status describe(struct lt_plan *plan, const struct mt_gemm_f16_args *a, enum dtype dtype) {
    const struct cublaslt *lt = plan->lt;
    const cudaDataType type = dtype == DTYPE_BF16 ? CUDA_R_16BF : CUDA_R_16F;
    const cublasOperation_t transposed = CUBLAS_OP_T;
    enum mt_status status;
    if ((status = check(lt->desc_create(&plan->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate")) ||
        (status = check(lt->desc_set(plan->desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed),
                        "cublasLtMatmulDescSetAttribute")) ||
        (status = check(lt->layout_create(&plan->w, type, (uint64_t)a->k, (uint64_t)a->n, a->ldw),
                        "cublasLtMatrixLayoutCreate")) ||
        (status = check(lt->layout_create(&plan->x, type, (uint64_t)a->k, (uint64_t)a->m, a->ldx),
                        "cublasLtMatrixLayoutCreate")))
        return status;
    return check(lt->layout_create(&plan->y, type, (uint64_t)a->n, (uint64_t)a->m, a->ldy),
                 "cublasLtMatrixLayoutCreate");
}

/* The library may propose what it then finds that it cannot run. */
static int keep_good(cublasLtMatmulHeuristicResult_t *algorithm, int count) {
    int kept = 0;
    for (int i = 0; i < count; i++)
        if (algorithm[i].state == CUBLAS_STATUS_SUCCESS)
            algorithm[kept++] = algorithm[i];
    return kept;
}

static enum mt_status find_algorithms(struct lt_plan *plan, int most) {
    const struct cublaslt *lt = plan->lt;
    const size_t workspace = WORKSPACE_BYTES;
    cublasLtMatmulPreference_t preference;
    enum mt_status status = check(lt->preference_create(&preference), "cublasLtMatmulPreferenceCreate");
    if (status)
        return status;
    status =
        check(lt->preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace),
              "cublasLtMatmulPreferenceSetAttribute");
    if (!status)
        status =
            check(lt->heuristic(lt->handle, plan->desc, plan->w, plan->x, plan->y, plan->y, preference,
                                most < LT_MAX_ALGORITHMS ? most : LT_MAX_ALGORITHMS, plan->algorithm, &plan->count),
                  "cublasLtMatmulAlgoGetHeuristic");
    lt->preference_destroy(preference);
    plan->count = status ? 0 : keep_good(plan->algorithm, plan->count);
    if (!status && plan->count == 0)
        status = fail(MT_FAILURE, "cuBLASLt proposes no algorithm");
    return status;
}

enum mt_status lt_plan_open(const struct cublaslt *lt, const struct mt_gemm_f16_args *args, enum dtype dtype, int most,
                            struct lt_plan **out) {
    struct lt_plan *plan = xcalloc(1, sizeof *plan);
    plan->lt = lt;
    *out = NULL;
    enum mt_status status = describe(plan, args, dtype);
    if (!status)
        status = find_algorithms(plan, most);
    if (status)
        lt_plan_close(plan);
    else
        *out = plan;
    return status;
}

void lt_plan_close(struct lt_plan *plan) {
    if (!plan)
        return;
    const cublasLtMatrixLayout_t layouts[] = {plan->w, plan->x, plan->y};
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        if (layouts[i])
            plan->lt->layout_destroy(layouts[i]);
    if (plan->desc)
        plan->lt->desc_destroy(plan->desc);
    free(plan);
}

int lt_plan_count(const struct lt_plan *plan) {
    return plan->count;
}

enum mt_status lt_plan_gemm(const struct lt_plan *plan, int index, const struct mt_gemm_f16_args *a, CUstream stream) {
    const struct cublaslt *lt = plan->lt;
    const float one = 1, zero = 0;
    return check(lt->matmul(lt->handle, plan->desc, &one, a->w, plan->w, a->x, plan->x, &zero, a->y, plan->y, a->y,
                            plan->y, &plan->algorithm[index].algo, memory_pointer(lt->workspace), WORKSPACE_BYTES,
                            (cudaStream_t)stream),
                 "cublasLtMatmul");
}
