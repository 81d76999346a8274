#include "compiler.h"
#include "runtime/base/log.h"
#include "runtime/base/symbols.h"
#include "toolkit.h"
#include "verdict.h"
#include <dlfcn.h>
#include <errno.h>
#include <glob.h>
#include <libgen.h>
#include <link.h>
#include <nvrtc.h>
#include <pthread.h>
#include <stdio.h>
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

/* What the design asks for: CUDA 12.4. */
enum { OLDEST = 1240 };

static enum mt_status open_status;
static char open_message[1024];      /* of a failure, for every thread */
static struct str library, builtins; /* real paths */
static int version_number;
static struct str include_option; /* "--include-path=..." when there is a toolkit with headers, else empty */

/* NVRTC opens its builtins by their plain name, which the loader knows if they are open already. It need not know the
 * folder of an NVRTC that was opened by its path. */
static bool open_builtins_at(const char *file, struct str *why) {
    struct link_map *map;
    void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (handle && dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0) {
        char *real = realpath(map->l_name, NULL);
        str_clear(&builtins);
        str_append(&builtins, real ? real : map->l_name);
        free(real);
    } else if (!handle && why->length == 0) {
        const char *told = dlerror();
        str_append(why, told ? told : strerror(ENOMEM));
    }
    return handle != NULL;
}

/* The search then says that the machine is to blame. */
static void lack_memory(struct str *why) {
    if (why->length == 0)
        str_append(why, strerror(ENOMEM));
}

static bool open_builtins_in(const char *folder, const char *name, struct str *why) {
    struct str file = {0};
    str_printf(&file, "%s/%s", folder, name);
    if (file.failed)
        lack_memory(why);
    const bool found = !file.failed && access(file.data, F_OK) == 0 && open_builtins_at(file.data, why);
    str_release(&file);
    return found;
}

/* Beside a library that tells another version than it is of. */
static bool open_any_builtins_in(const char *folder, struct str *why) {
    struct str pattern = {0};
    glob_t all = {0};
    bool found = false;
    str_printf(&pattern, "%s/libnvrtc-builtins.so.[0-9]*", folder);
    const int rc = pattern.failed ? GLOB_NOSPACE : glob(pattern.data, 0, NULL, &all);
    if (rc == GLOB_NOSPACE)
        lack_memory(why);
    if (rc == 0)
        for (size_t i = 0; i < all.gl_pathc && !found; i++)
            found = open_builtins_at(all.gl_pathv[i], why);
    globfree(&all);
    str_release(&pattern);
    return found;
}

static bool open_builtins(int major, int minor, struct str *why) {
    char name[48];
    Dl_info info = {0};
    struct str real = {0}, linked = {0}, unused = {0};
    snprintf(name, sizeof name, "libnvrtc-builtins.so.%d.%d", major, minor);
    dladdr(nvrtc.compile, &info);
    str_append(&real, library.data);
    str_append(&linked, info.dli_fname ? info.dli_fname : "");
    const bool named = !real.failed && !linked.failed;
    const char *const folders[] = {named ? dirname(real.data) : ".", named ? dirname(linked.data) : "."};
    bool found = false;
    for (int i = 0; i < 2 && !found && named; i++)
        found = open_builtins_in(folders[i], name, why);
    found = found || open_builtins_at(name, &unused);
    for (int i = 0; i < 2 && !found && named; i++)
        found = open_any_builtins_in(folders[i], why);
    if (!found && (!named || unused.failed))
        lack_memory(why);
    if (!found && speaks_of_shortage(str_text(&unused)) && why->length == 0)
        str_append(why, str_text(&unused));
    if (!found && why->length == 0)
        str_printf(
            why, "it compiles nothing without %s, which comes with it and is neither in %s nor where the loader looks",
            name, folders[0]);
    str_release(&real);
    str_release(&linked);
    str_release(&unused);
    return found;
}

static bool nvrtc_fits(struct str *why) {
    int major = 0, minor = 0;
    str_clear(&library);
    if (nvrtc.version(&major, &minor) != NVRTC_SUCCESS || !toolkit_path((const void *)nvrtc.compile, &library)) {
        str_append(why, "it does not tell its version");
        return false;
    }
    if (library.failed) {
        lack_memory(why);
        return false;
    }
    version_number = major * 100 + minor * 10;
    if (version_number < OLDEST) {
        str_printf(why, "it is NVRTC %d.%d, and %d.%d or later is needed", major, minor, OLDEST / 100,
                   OLDEST / 10 % 10);
        return false;
    }
    return open_builtins(major, minor, why);
}

static enum mt_status nvrtc_find(void) {
    static const struct toolkit_library wanted = {"nvrtc", "NVRTC",   symbols, sizeof symbols / sizeof *symbols,
                                                  &nvrtc,  nvrtc_fits};
    enum mt_status status = toolkit_load(&wanted, NULL);
    if (status != MT_OK)
        return status;
    struct str headers = {0};
    toolkit_headers(library.data, &headers);
    str_clear(&include_option);
    if (headers.length)
        str_printf(&include_option, "--include-path=%s", headers.data);
    status = str_status(&headers) || str_status(&include_option) ? MT_FAILURE : str_status(&builtins);
    str_release(&headers);
    return status;
}

/* Once for the process, but for what the machine was short of a moment ago: that is tried again. */
static enum mt_status nvrtc_open(void) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static bool is_known;
    pthread_mutex_lock(&lock);
    if (!is_known) {
        open_status = nvrtc_find();
        text_fit(open_message, sizeof open_message, "%s", open_status ? fail_message() : "");
        is_known = open_status != MT_FAILURE;
    }
    const enum mt_status status = open_status ? fail(open_status, "%s", open_message) : MT_OK;
    pthread_mutex_unlock(&lock);
    return status;
}

enum mt_status compiler_find(struct compiler *out) {
    enum mt_status status = nvrtc_open();
    *out = status ? (struct compiler){0, "", ""} : (struct compiler){version_number, library.data, builtins.data};
    return status;
}

/* A verdict on the source, or a failure of the machine. */
static enum mt_status fail_compile(const char *name, const char *arch, nvrtcProgram program, nvrtcResult result,
                                   bool *verdict) {
    size_t size = 0;
    struct str log = {0}, line = {0};
    if (program && nvrtc.log_size(program, &size) == NVRTC_SUCCESS && size > 1) {
        if (str_reserve(&log, size))
            *log.data = 0;
        if (log.data && nvrtc.log(program, log.data) == NVRTC_SUCCESS)
            log.length = strnlen(log.data, size);
    }
    *verdict = log_is_verdict(str_text(&log), &line) &&
               (result == NVRTC_ERROR_COMPILATION || result == NVRTC_ERROR_INVALID_OPTION);
    if (log.length)
        log_debug("the compiler on %s for %s:\n%s", name, arch, log.data);
    const char *what = line.length ? line.data : log.failed || line.failed ? strerror(ENOMEM) : nvrtc.error(result);
    const enum mt_status status =
        *verdict
            ? fail(MT_FAILURE, "%s does not compile for %s: %s", name, arch, what)
            : fail(MT_FAILURE,
                   "NVRTC could not compile %s for %s, and the kernel is not to blame: %s; look at free memory, the "
                   "limits (ulimit) and the CUDA toolkit, then run the same command again",
                   name, arch, what);
    str_release(&log);
    str_release(&line);
    return status;
}

/* Appends what `get` yields, of `size` bytes, to `out`. */
static nvrtcResult append_result(nvrtcProgram program, nvrtcResult (*get_size)(nvrtcProgram, size_t *),
                                 nvrtcResult (*get)(nvrtcProgram, char *), struct str *out) {
    size_t size = 0;
    nvrtcResult result = get_size(program, &size);
    if (result != NVRTC_SUCCESS)
        return result;
    if (!str_reserve(out, size + 1))
        return NVRTC_ERROR_OUT_OF_MEMORY;
    result = get(program, out->data + out->length);
    if (result == NVRTC_SUCCESS)
        out->length += size;
    out->data[out->length] = 0;
    return result;
}

enum mt_status compiler_run(const char *name, const char *source, const char *arch, const char *const *options,
                            int option_count, struct str *cubin, struct str *ptx, bool *verdict) {
    bool unasked;
    verdict = verdict ? verdict : &unasked;
    *verdict = false;
    enum mt_status status = nvrtc_open();
    if (status != MT_OK)
        return status;
    nvrtcProgram program = NULL;
    char arch_option[64];
    const char **all = mem_zeroed((size_t)option_count + 4, sizeof *all);
    int count = 0;
    if (!all)
        return MT_FAILURE;
    text_fit(arch_option, sizeof arch_option, "--gpu-architecture=%s", arch);
    all[count++] = arch_option;
    all[count++] = "--std=c++17";
    all[count++] = "--device-as-default-execution-space";
    if (include_option.length > 0)
        all[count++] = include_option.data;
    for (int i = 0; i < option_count; i++)
        all[count++] = options[i];

    nvrtcResult result = nvrtc.create(&program, source, name, 0, NULL, NULL);
    if (result == NVRTC_SUCCESS)
        result = nvrtc.compile(program, count, all);
    /* For a real architecture NVRTC keeps the PTX that the machine code was made from. */
    if (result == NVRTC_SUCCESS)
        result = append_result(program, nvrtc.cubin_size, nvrtc.cubin, cubin);
    if (result == NVRTC_SUCCESS)
        result = append_result(program, nvrtc.ptx_size, nvrtc.ptx, ptx);
    if (result != NVRTC_SUCCESS)
        status = fail_compile(name, arch, program, result, verdict);
    if (program)
        nvrtc.destroy(&program);
    free(all);
    return status;
}
