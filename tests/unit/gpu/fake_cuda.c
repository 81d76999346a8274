/* The software device under the name of the real driver, for tests of what only real devices get: linked with
 * libsoftgpu.so as libcuda.so.1. Times are still modelled, and nothing that such a test records leaves it. */
#include <cuda.h>

/* NVRTC asks every libcuda.so.1 for it, and takes it that there is none. */
CUresult cuGetExportTable(const void **table, const CUuuid *which) {
    (void)which;
    *table = 0;
    return CUDA_ERROR_NOT_FOUND;
}

#ifdef NOTHING_LOADS
CUresult cuModuleLoadData(CUmodule *module, const void *image) {
    (void)module;
    (void)image;
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
}
#endif
