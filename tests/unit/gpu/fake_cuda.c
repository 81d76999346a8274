/* The software device under the name of the real driver, for tests of what only real devices get: linked with
 * libsoftgpu.so as libcuda.so.1. Times are still modelled, and nothing that such a test records leaves it. */
#include <cuda.h>
#include <dlfcn.h>

/* The gate of tuner/measure/gate.c is all that is asked for in memory that host and device share, and begins with
 * the word that opens it. */
static volatile unsigned *gate;

CUresult cuMemHostAlloc(void **out, size_t size, unsigned flags) {
    CUresult (*real)(void **, size_t, unsigned);
    *(void **)&real = dlsym(RTLD_NEXT, "cuMemHostAlloc");
    CUresult result = real(out, size, flags);
    gate = result == CUDA_SUCCESS ? *out : NULL;
    return result;
}

CUresult cuMemFreeHost(void *memory) {
    CUresult (*real)(void *);
    *(void **)&real = dlsym(RTLD_NEXT, "cuMemFreeHost");
    gate = NULL;
    return real(memory);
}

/* For fake_cublas.c. */
int fakeGateIsShut(void);
int fakeGateIsShut(void) {
    return gate && !*gate;
}

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
