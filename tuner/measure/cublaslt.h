/* cuBLASLt, opened at run time: the algorithms that its heuristics propose for one fp16/bf16 GEMM, each to be run. */
#ifndef MT_CUBLASLT_H
#define MT_CUBLASLT_H

#include "runtime/gpu/launch.h"

struct cublaslt; /* libcublasLt on one device */
struct lt_plan;  /* one problem with its algorithms */

/* MT_NO_DEVICE, and *out NULL, where there is no libcublasLt or the device is a software one. */
enum mt_status cublaslt_open(struct device *dev, struct cublaslt **out);
void cublaslt_close(struct cublaslt *lt);

enum { LT_MAX_ALGORITHMS = 16 };

/* For Y[M, N] = X[M, K] . W[N, K]^T with the row lengths of `args`, whose pointers do not matter. At least one
 * algorithm, at most `most`, the likeliest first; MT_FAILURE when the library proposes none. */
enum mt_status lt_plan_open(const struct cublaslt *lt, const struct mt_gemm_f16_args *args, enum dtype dtype, int most,
                            struct lt_plan **out);
/* NULL is allowed. */
void lt_plan_close(struct lt_plan *plan);
int lt_plan_count(const struct lt_plan *plan);

/* Runs algorithm 0 <= index < count asynchronously on `stream`. May be captured. */
enum mt_status lt_plan_gemm(const struct lt_plan *plan, int index, const struct mt_gemm_f16_args *args,
                            CUstream stream);

#endif
