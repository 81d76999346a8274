/* cuBLAS, which quantised kernels are compared with: family "cublas" is cublasGemmEx with its default algorithm,
 * where the library can be opened and the device is real. */
#ifndef MT_BASELINE_H
#define MT_BASELINE_H

#include "memory.h"
#include "runtime/gpu/launch.h"

struct cublas; /* libcublas on one device, opened at run time */

/* MT_NO_DEVICE, and *out NULL, where there is no libcublas or the device is a software one. */
enum mt_status cublas_open(struct device *dev, struct cublas **out);
void cublas_close(struct cublas *cublas);
/* "13.0.2"; "" for NULL. Owned by `cublas`. */
const char *cublas_version(const struct cublas *cublas);
/* Y[M, N] = X[M, K] . W[N, K]^T asynchronously on `stream`; no bias. May be captured. */
enum mt_status cublas_gemm(const struct cublas *cublas, const struct mt_gemm_f16_args *args, enum dtype dtype,
                           CUstream stream);

#endif
