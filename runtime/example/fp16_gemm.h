/* The GEMM that a server runs where mt_table_lookup() says MT_KIND_FP16: Y = X . W^T on weights in the layer's type. */
#ifndef EXAMPLE_FP16_GEMM_H
#define EXAMPLE_FP16_GEMM_H

#include "mixtune.h"

/* Once, in the context that is current. 0 where there is no cuBLAS, as on a software device. */
int fp16_gemm_open(void);
void fp16_gemm_close(void);

/* X [m][k], W [n][k] and Y [m][n] are row-major. Asynchronous; can be captured in a CUDA graph after a first launch
 * outside of one, at which cuBLAS loads its kernels. */
void fp16_gemm_launch(const struct mt_layer_info *layer, int m, CUdeviceptr x, CUdeviceptr w, CUdeviceptr y,
                      CUstream stream);

#endif
