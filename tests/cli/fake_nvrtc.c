/* An NVRTC for tests, which lies before the real one: it links against it and passes on what it does not change.
 * $FAKE_NVRTC_VERSION is "12 3". $FAKE_NVRTC_FAIL is "6 2 LOG": the first 2 programs of this process whose source holds
 * $FAKE_NVRTC_OF fail with result 6 and that log, and all of them when the number is 0. "crash" in place of it: they
 * end the process. */
#include <dlfcn.h>
#include <nvrtc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local int is_marked; /* of the program that this thread compiles */
static _Thread_local const char *fake_log;
static atomic_int failed;

static void *real(const char *name) {
    void *function = dlsym(RTLD_NEXT, name);
    if (!function)
        abort();
    return function;
}

nvrtcResult nvrtcVersion(int *major, int *minor) {
    const char *version = getenv("FAKE_NVRTC_VERSION");
    nvrtcResult (*next)(int *, int *) = real(__func__);
    return version && sscanf(version, "%d %d", major, minor) == 2 ? NVRTC_SUCCESS : next(major, minor);
}

nvrtcResult nvrtcCreateProgram(nvrtcProgram *program, const char *source, const char *name, int headers,
                               const char *const *texts, const char *const *names) {
    nvrtcResult (*next)(nvrtcProgram *, const char *, const char *, int, const char *const *, const char *const *) =
        real(__func__);
    const char *of = getenv("FAKE_NVRTC_OF");
    is_marked = !of || strstr(source, of);
    fake_log = NULL;
    return next(program, source, name, headers, texts, names);
}

nvrtcResult nvrtcCompileProgram(nvrtcProgram program, int count, const char *const *options) {
    nvrtcResult (*next)(nvrtcProgram, int, const char *const *) = real(__func__);
    const char *fail = getenv("FAKE_NVRTC_FAIL");
    int result, most, at;
    if (!fail || !is_marked)
        return next(program, count, options);
    if (!strcmp(fail, "crash"))
        abort();
    if (sscanf(fail, "%d %d %n", &result, &most, &at) < 2)
        exit(99);
    if (most && atomic_fetch_add(&failed, 1) >= most)
        return next(program, count, options);
    fake_log = fail + at;
    return (nvrtcResult)result;
}

nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram program, size_t *size) {
    nvrtcResult (*next)(nvrtcProgram, size_t *) = real(__func__);
    if (!fake_log)
        return next(program, size);
    *size = strlen(fake_log) + 1;
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetProgramLog(nvrtcProgram program, char *log) {
    nvrtcResult (*next)(nvrtcProgram, char *) = real(__func__);
    if (!fake_log)
        return next(program, log);
    strcpy(log, fake_log);
    return NVRTC_SUCCESS;
}
