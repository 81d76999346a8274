/* The software device under the name of the real driver, for tests of what only real devices get: linked with
 * libsoftgpu.so as libcuda.so.1. Times are still modelled, and nothing that such a test records leaves it. */
#include <cuda.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

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

/* The file $FAKE_CUDA_BREAKS holds two numbers: so many launches with dynamic shared memory are good, whoever makes
 * them, and so many of the next give the error $FAKE_CUDA_ERROR. */
static CUresult breaks(void) {
    const char *path = getenv("FAKE_CUDA_BREAKS"), *error = getenv("FAKE_CUDA_ERROR");
    int good = 0, bad = 0;
    FILE *file = path ? fopen(path, "r+") : NULL;
    if (!file)
        return CUDA_SUCCESS;
    if (fscanf(file, "%d %d", &good, &bad) == 2 && good + bad > 0) {
        rewind(file);
        fprintf(file, "%d %d \n", good > 0 ? good - 1 : 0, good > 0 ? bad : bad - 1);
    }
    fclose(file);
    return good == 0 && bad > 0 && error ? (CUresult)atoi(error) : CUDA_SUCCESS;
}

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                        unsigned block_y, unsigned block_z, unsigned shared, CUstream stream, void **params,
                        void **extra) {
    CUresult (*real)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream,
                     void **, void **);
    const CUresult broken = shared ? breaks() : CUDA_SUCCESS;
    *(void **)&real = dlsym(RTLD_NEXT, "cuLaunchKernel");
    return broken ? broken
                  : real(function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared, stream, params, extra);
}

#ifdef NOTHING_LOADS
CUresult cuModuleLoadData(CUmodule *module, const void *image) {
    (void)module;
    (void)image;
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
}
#endif
