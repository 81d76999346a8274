/* The lock, the settings, cuInit. The settings are environment variables, read by cuInit:
 *
 *   SOFTGPU_DEVICE    name or path of a device file (a100-sxm-80g)
 *   SOFTGPU_SEED      draws the order of the warps (1)
 *   SOFTGPU_ASYNC     asynchronous copies land late, when they must have, or eager, at once (late)
 *   SOFTGPU_CHECK     which strict checks there are (all): a list of names, or -names; all, none (warp/launch.h)
 *   SOFTGPU_THREADS   host threads that run CTAs (the number of cores)
 *   SOFTGPU_WATCHDOG  instructions of one warp after which a kernel counts as hung (16777216)
 *   SOFTGPU_LOG       1: a line on standard error for each launch that is run or estimated
 *   SOFTGPU_TRACE     file that gets a line for each launch that is estimated: what the time model was given
 *                     (time/trace.h), with the text that SOFTGPU_TRACE_LABEL has at that moment; both are read then
 *   SOFTGPU_PROCESSOR plain: as on a processor without AVX2, for tests
 *
 * This folder is compiled for every processor: its functions answer before cuInit has looked at it, too. */
#include "state.h"
#include "runtime/base/str.h"
#include "runtime/base/visible.h"
#include <cudaProfiler.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct cu_device cu_device;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local bool in_callback; /* this thread holds the lock, and must not ask for it */

/* A warp of a full-size GEMM issues less than 1e6 instructions. */
#define WATCHDOG (1u << 24)

CUresult cu_fail(CUresult result, const char *format, ...) {
    struct str text = {0}, line = {0};
    va_list args;
    va_start(args, format);
    str_vprintf(&text, format, args);
    va_end(args);
    str_shorten_words(&text, WORD_MOST);
    str_append_visible(&line, str_text(&text), text.length, "");
    fprintf(stderr, "softgpu: %s\n", str_text(&line)); /* one write: lines of several threads do not mix */
    str_release(&text);
    str_release(&line);
    return result;
}

void cu_callback_begin(void) {
    in_callback = true;
}

void cu_callback_end(void) {
    in_callback = false;
}

static CUresult enter(void) {
    if (in_callback)
        return cu_fail(CUDA_ERROR_NOT_PERMITTED, "a host function of a stream must not call the driver");
    pthread_mutex_lock(&lock);
    return cu_device.ready ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
}

CUresult cu_enter_quietly(struct CUctx_st **context) {
    CUresult result = enter();
    if (result != CUDA_SUCCESS || !context)
        return result;
    CUcontext current = cu_context_current();
    *context = current ? cu_context_find(current) : NULL;
    return *context ? CUDA_SUCCESS : current ? CUDA_ERROR_CONTEXT_IS_DESTROYED : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult cu_enter(struct CUctx_st **context) {
    CUresult result = cu_enter_quietly(context);
    return result == CUDA_SUCCESS && context ? (*context)->error : result;
}

CUresult cu_leave(CUresult result) {
    if (!in_callback)
        pthread_mutex_unlock(&lock);
    return result;
}

static uint64_t number_from(const char *name, uint64_t fallback) {
    const char *text = getenv(name);
    char *end = NULL;
    uint64_t value = text ? strtoull(text, &end, 0) : 0;
    if (!text || !*text)
        return fallback;
    if (*end) {
        cu_fail(CUDA_SUCCESS, "%s=%s is no number; %llu is used", name, text, (unsigned long long)fallback);
        return fallback;
    }
    return value;
}

/* What the Makefile lets the compiler use (SIMD). A processor that has these four has all of x86-64-v3. */
static enum mt_status processor_check(void) {
#ifdef __x86_64__
    const char *as = getenv("SOFTGPU_PROCESSOR");
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("bmi") ||
        !__builtin_cpu_supports("bmi2") || (as && !strcmp(as, "plain")))
        return fail(MT_NO_DEVICE, "the software device needs a processor with AVX2, FMA and BMI2 (x86-64-v3), and this "
                                  "one is older; take another machine, or a GPU");
#endif
    return MT_OK;
}

static enum mt_status settings_read(void) {
    const char *name = getenv("SOFTGPU_DEVICE"), *async = getenv("SOFTGPU_ASYNC"), *check = getenv("SOFTGPU_CHECK");
    char error[600];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    enum mt_status status = processor_check();
    if (!status)
        status = dev_profile_load(name && *name ? name : "a100-sxm-80g", &cu_device.profile);
    if (status)
        return status;
    if (async && *async && strcmp(async, "late") && strcmp(async, "eager"))
        return fail(MT_USAGE, "SOFTGPU_ASYNC=%s is unknown: give late or eager", async);
    if (!sg_checks_parse(check ? check : "", &cu_device.checks, error, sizeof error))
        return fail(MT_USAGE, "SOFTGPU_CHECK=%s: %s", check, error);
    cu_device.eager_async = async && !strcmp(async, "eager");
    cu_device.seed = number_from("SOFTGPU_SEED", 1);
    cu_device.log = number_from("SOFTGPU_LOG", 0) != 0;
    cu_device.watchdog = number_from("SOFTGPU_WATCHDOG", WATCHDOG);
    cu_device.host_threads = (int)number_from("SOFTGPU_THREADS", cores > 0 ? (uint64_t)cores : 1);
    if (cu_device.host_threads < 1)
        cu_device.host_threads = 1;
    cu_device.ready = true;
    return MT_OK;
}

/* No device works without memory. */
static void end_without_memory(void) {
    fprintf(stderr, "softgpu: %s\n", fail_message());
    exit(MT_FAILURE);
}

/* `why` becomes the sentence that a failure has, "" where there is none. */
static CUresult start(unsigned flags, char *why, size_t size) {
    memory_end_with(end_without_memory);
    CUresult result = enter();
    *why = 0;
    if (result == CUDA_ERROR_NOT_INITIALIZED) {
        const enum mt_status status = flags ? MT_OK : settings_read();
        if (status)
            text_fit(why, size, "%s", fail_message());
        result = flags || status == MT_USAGE ? CUDA_ERROR_INVALID_VALUE : status ? CUDA_ERROR_NO_DEVICE : CUDA_SUCCESS;
    }
    return cu_leave(result);
}

CU_API softgpuOpen(char *why, int size) {
    return why && size > 0 ? start(0, why, (size_t)size) : CUDA_ERROR_INVALID_VALUE;
}

CU_API cuInit(unsigned flags) {
    char why[1024];
    const CUresult result = start(flags, why, sizeof why);
    return *why ? cu_fail(result, "%s", why) : result;
}

CU_API cuDriverGetVersion(int *version) {
    if (!version)
        return CUDA_ERROR_INVALID_VALUE;
    *version = CUDA_VERSION;
    return CUDA_SUCCESS;
}

CU_API cuProfilerStart(void) {
    struct CUctx_st *context;
    return cu_leave(cu_enter(&context));
}

CU_API cuProfilerStop(void) {
    return cuProfilerStart();
}
