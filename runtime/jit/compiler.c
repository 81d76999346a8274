#include "compiler.h"
#include "runtime/base/log.h"
#include "runtime/base/symbols.h"
#include "toolkit.h"
#include <nvrtc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct nvrtc {
    nvrtcResult (*version)(int *, int *);
    const char *(*error)(nvrtcResult);
    nvrtcResult (*create)(nvrtcProgram *, const char *, const char *, int, const char *const *, const char *const *);
    nvrtcResult (*destroy)(nvrtcProgram *);
    nvrtcResult (*compile)(nvrtcProgram, int, const char *const *);
    nvrtcResult (*log_size)(nvrtcProgram, size_t *);
    nvrtcResult (*log)(nvrtcProgram, char *);
    nvrtcResult (*cubin_size)(nvrtcProgram, size_t *);
    nvrtcResult (*cubin)(nvrtcProgram, char *);
    nvrtcResult (*ptx_size)(nvrtcProgram, size_t *);
    nvrtcResult (*ptx)(nvrtcProgram, char *);
} nvrtc;

static const struct symbol symbols[] = {
    {offsetof(struct nvrtc, version), "nvrtcVersion"},
    {offsetof(struct nvrtc, error), "nvrtcGetErrorString"},
    {offsetof(struct nvrtc, create), "nvrtcCreateProgram"},
    {offsetof(struct nvrtc, destroy), "nvrtcDestroyProgram"},
    {offsetof(struct nvrtc, compile), "nvrtcCompileProgram"},
    {offsetof(struct nvrtc, log_size), "nvrtcGetProgramLogSize"},
    {offsetof(struct nvrtc, log), "nvrtcGetProgramLog"},
    {offsetof(struct nvrtc, cubin_size), "nvrtcGetCUBINSize"},
    {offsetof(struct nvrtc, cubin), "nvrtcGetCUBIN"},
    {offsetof(struct nvrtc, ptx_size), "nvrtcGetPTXSize"},
    {offsetof(struct nvrtc, ptx), "nvrtcGetPTX"},
};

static bool is_open;
static int version_number;
static struct str include_option; /* "--include-path=..." when there is a toolkit with headers, else empty */

/* True when all functions were found in the library. */
static bool library_fits(void *library, const char *path) {
    int major, minor;
    if (symbols_find(library, symbols, sizeof symbols / sizeof *symbols, &nvrtc))
        return false;
    if (nvrtc.version(&major, &minor) != NVRTC_SUCCESS)
        return false;
    version_number = major * 100 + minor * 10;
    log_debug("NVRTC %d.%d from %s", major, minor, path);
    return true;
}

static void nvrtc_find(void) {
    static const char *const names[] = {"libnvrtc.so.13", "libnvrtc.so.12", NULL};
    struct str path = {0};
    is_open = toolkit_open(names, library_fits);
    for (const char *const *home = toolkit_homes(); *home && include_option.length == 0; home++) {
        str_clear(&path);
        str_printf(&path, "%s/include/cuda_fp16.h", *home);
        if (**home && access(path.data, R_OK) == 0)
            str_printf(&include_option, "--include-path=%s/include", *home);
    }
    str_release(&path);
}

static enum mt_status nvrtc_open(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, nvrtc_find);
    if (is_open)
        return MT_OK;
    return fail(MT_NO_DEVICE,
                "no NVRTC (libnvrtc.so.13 or .12), which compiles the kernels; install the CUDA toolkit 12.4 or later, "
                "or set CUDA_HOME to where it is");
}

enum mt_status compiler_version(int *out) {
    enum mt_status status = nvrtc_open();
    *out = version_number;
    return status;
}

/* The first line of the log that says error, else the first line. */
static enum mt_status fail_compile(const char *name, const char *arch, nvrtcProgram program, nvrtcResult result) {
    size_t size = 0;
    char *log = NULL;
    if (nvrtc.log_size(program, &size) == NVRTC_SUCCESS && size > 1) {
        log = xcalloc(size + 1, 1);
        if (nvrtc.log(program, log) != NVRTC_SUCCESS)
            *log = 0;
    }
    const char *line = log ? log : "";
    for (const char *at = line; at && *at; at = strchr(at, '\n'), at = at ? at + 1 : NULL) {
        const char *end = strchrnul(at, '\n');
        if (memmem(at, (size_t)(end - at), "error", 5) || memmem(at, (size_t)(end - at), "fatal", 5)) {
            line = at;
            break;
        }
    }
    if (log)
        log_debug("the compiler on %s for %s:\n%s", name, arch, log);
    int length = (int)(strchrnul(line, '\n') - line);
    enum mt_status status =
        fail(MT_FAILURE, "%s does not compile for %s: %.*s", name, arch,
             length ? length : (int)strlen(nvrtc.error(result)), length ? line : nvrtc.error(result));
    free(log);
    return status;
}

/* Appends what `get` yields, of `size` bytes, to `out`. */
static nvrtcResult append_result(nvrtcProgram program, nvrtcResult (*get_size)(nvrtcProgram, size_t *),
                                 nvrtcResult (*get)(nvrtcProgram, char *), struct str *out) {
    size_t size = 0;
    nvrtcResult result = get_size(program, &size);
    if (result != NVRTC_SUCCESS)
        return result;
    char *data = xmalloc(size + 1);
    result = get(program, data);
    if (result == NVRTC_SUCCESS)
        str_append_bytes(out, data, size);
    free(data);
    return result;
}

enum mt_status compiler_run(const char *name, const char *source, const char *arch, const char *const *options,
                            int option_count, struct str *cubin, struct str *ptx) {
    enum mt_status status = nvrtc_open();
    if (status != MT_OK)
        return status;
    nvrtcProgram program = NULL;
    struct str arch_option = {0};
    const char **all = xcalloc((size_t)option_count + 4, sizeof *all);
    int count = 0;
    str_printf(&arch_option, "--gpu-architecture=%s", arch);
    all[count++] = arch_option.data;
    all[count++] = "--std=c++17";
    all[count++] = "--device-as-default-execution-space";
    if (include_option.length > 0)
        all[count++] = include_option.data;
    for (int i = 0; i < option_count; i++)
        all[count++] = options[i];

    nvrtcResult result = nvrtc.create(&program, source, name, 0, NULL, NULL);
    if (result != NVRTC_SUCCESS) {
        status = fail(MT_FAILURE, "the compiler does not take %s: %s", name, nvrtc.error(result));
        goto out;
    }
    result = nvrtc.compile(program, count, all);
    /* For a real architecture NVRTC keeps the PTX that the machine code was made from. */
    if (result == NVRTC_SUCCESS)
        result = append_result(program, nvrtc.cubin_size, nvrtc.cubin, cubin);
    if (result == NVRTC_SUCCESS)
        result = append_result(program, nvrtc.ptx_size, nvrtc.ptx, ptx);
    if (result != NVRTC_SUCCESS)
        status = fail_compile(name, arch, program, result);
out:
    if (program)
        nvrtc.destroy(&program);
    free(all);
    str_release(&arch_option);
    return status;
}
