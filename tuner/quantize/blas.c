#include "blas.h"
#include "runtime/base/log.h"
#include "runtime/base/parallel.h"
#include "runtime/base/symbols.h"
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct blas blas;

static const struct symbol openblas_symbols[] = {
    {offsetof(struct blas, gemm), "cblas_dgemm"},
    {offsetof(struct blas, syrk), "cblas_dsyrk"},
    {offsetof(struct blas, trsm), "cblas_dtrsm"},
    {offsetof(struct blas, set_threads), "openblas_set_num_threads"},
    {offsetof(struct blas, parallel), "openblas_get_parallel"},
    {offsetof(struct blas, config), "openblas_get_config"},
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

static void limit_threads(void) {
    enum { USUAL = 64 };
    const char *most = strstr(blas.config(), "MAX_THREADS=");
    int threads = most ? atoi(strchr(most, '=') + 1) : USUAL;
    if (blas.parallel() != 1) {
        log_warn(
            "this OpenBLAS can be called by one thread alone, so only one is used; Debian's libopenblas0-pthread can "
            "by all");
        threads = 1;
    }
    if (parallel_threads() > threads)
        parallel_limit(threads);
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
    blas = found;
    blas.set_threads(1);
    limit_threads();
    return MT_OK;
}
