#include "blas.h"
#include "runtime/base/symbols.h"
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>

struct blas blas;

static const struct symbol openblas_symbols[] = {
    {offsetof(struct blas, gemm), "cblas_dgemm"},
    {offsetof(struct blas, syrk), "cblas_dsyrk"},
    {offsetof(struct blas, trsm), "cblas_dtrsm"},
    {offsetof(struct blas, set_threads), "openblas_set_num_threads"},
};
static const struct symbol lapacke_symbols[] = {{offsetof(struct blas, potrf), "LAPACKE_dpotrf_work"}};

static enum mt_status open_library(const char *name, const struct symbol *symbols, size_t count, struct blas *out) {
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return fail(MT_FAILURE,
                    "GPTQ and --hessian need LAPACKE and OpenBLAS (Debian: apt-get install liblapacke "
                    "libopenblas0-pthread): %s",
                    dlerror());
    const char *missing = symbols_find(library, symbols, count, out);
    if (missing) {
        dlclose(library);
        return fail(MT_FAILURE, "%s has no function %s; install liblapacke and libopenblas0-pthread anew", name,
                    missing);
    }
    return MT_OK;
}

enum mt_status blas_open(void) {
    struct blas found;
    if (blas.gemm)
        return MT_OK;
    enum mt_status status =
        open_library("libopenblas.so.0", openblas_symbols, sizeof openblas_symbols / sizeof *openblas_symbols, &found);
    if (!status)
        status =
            open_library("liblapacke.so.3", lapacke_symbols, sizeof lapacke_symbols / sizeof *lapacke_symbols, &found);
    if (status)
        return status;
    found.set_threads(1);
    blas = found;
    return MT_OK;
}
