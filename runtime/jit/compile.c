#include "compile.h"
#include "cache.h"
#include "compiler.h"
#include "cubin.h"
#include "fatbin.h"
#include "images.h"
#include "runtime/base/log.h"
#include "runtime/base/str.h"
#include "template.h"
#include "yield.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Everything that the machine code depends on, but for the source. Each text goes in with its 0, so that no two lists
 * look alike. */
static void request_text(const struct compile_request *request, int version, struct str *out) {
    str_printf(out, "image %d, NVRTC %d, %d options", CACHE_VERSION, version, request->option_count);
    str_append_bytes(out, request->arch, strlen(request->arch) + 1);
    for (int i = 0; i < request->option_count; i++)
        str_append_bytes(out, request->options[i], strlen(request->options[i]) + 1);
}

/* The cache key: of both. */
static enum mt_status request_hash(const struct str *what, const struct str *source, char out[33]) {
    struct str key = {0};
    str_append_bytes(&key, str_text(what), what->length);
    str_append_bytes(&key, str_text(source), source->length);
    enum mt_status status = str_status(what) || str_status(source) ? MT_FAILURE : text_hash(&key, out);
    str_release(&key);
    return status;
}

/* A template cannot say it: the option is for what comes after NVRTC. */
static bool wants_yield(const struct compile_request *request) {
    for (int i = 0; i < request->option_count; i++)
        if (!strcmp(request->options[i], "-DYIELD=1"))
            return true;
    return false;
}

static enum mt_status image_build(const struct compile_request *request, const struct str *source, struct image *out) {
    struct str cubin = {0}, ptx = {0}, fat = {0};
    struct cubin_usage usage;
    double start = seconds_now();
    int marked;
    enum mt_status status = compiler_run(request->template_name, source->data, request->arch, request->options,
                                         request->option_count, &cubin, &ptx, &out->judged);
    out->seconds = seconds_now() - start;
    if (status == MT_OK && wants_yield(request))
        status = yield_between_ffma(cubin.data, cubin.length, &marked);
    if (status == MT_OK)
        status = cubin_usage(cubin.data, cubin.length, &usage);
    if (status == MT_OK)
        status = fatbin_write(request->arch, cubin.data, cubin.length, ptx.data, &fat);
    if (status == MT_OK)
        status = str_status(&fat);
    if (status == MT_OK) {
        out->data = fat.data; /* the image owns it now */
        out->size = fat.length;
        fat = (struct str){0};
        out->registers = usage.registers;
        out->spill_bytes = usage.local_bytes;
        out->smem_static = usage.smem_static;
    }
    str_release(&cubin);
    str_release(&ptx);
    str_release(&fat);
    return status;
}

enum mt_status nvrtc_version(int *out) {
    struct compiler compiler = {0};
    if (images_used())
        return images_version(out);
    enum mt_status status = compiler_find(&compiler);
    *out = compiler.version;
    return status;
}

enum mt_status nvrtc_describe(struct str *out) {
    struct compiler compiler = {0};
    const bool images = images_used();
    char *folder = images ? realpath(images_used(), NULL) : NULL;
    int version;
    enum mt_status status = nvrtc_version(&version);
    if (!status && !images)
        status = compiler_find(&compiler);
    if (!status)
        str_printf(out, "%s%d.%d, %s", images ? "images of " : "", version / 100, version / 10 % 10,
                   !images  ? compiler.library
                   : folder ? folder
                            : images_used());
    free(folder);
    return status ? status : str_status(out);
}

/* Images are of the NVRTC that made them: what another one makes may not stand beside them under the same version. */
static enum mt_status image_compile(const struct compile_request *request, const struct str *source, int version,
                                    struct image *out) {
    struct compiler here;
    const enum mt_status status = images_used() ? compiler_find(&here) : MT_OK;
    if (!images_used() || (status == MT_OK && here.version == version))
        return image_build(request, source, out);
    if (status == MT_FAILURE)
        return status;
    char compiler[32] = "there is no NVRTC here";
    if (!status)
        snprintf(compiler, sizeof compiler, "the NVRTC here is %d.%d", here.version / 100, here.version / 10 % 10);
    return fail(MT_NO_DEVICE,
                "%s has no image of this %s for %s, and %s, not the %d.%d of the images: add the image, or go without "
                "--images",
                images_used(), request->template_name, request->arch, compiler, version / 100, version / 10 % 10);
}

/* A driver is told no size: what is not whole must not come to it. */
static enum mt_status check_cached(const struct compile_request *request, struct image *image, bool *found) {
    struct cubin_usage usage;
    if (fatbin_check(image->data, image->size, request->arch, NULL, &usage) == MT_OK) {
        image->registers = usage.registers;
        image->spill_bytes = usage.local_bytes;
        image->smem_static = usage.smem_static;
        return MT_OK;
    }
    free(image->data);
    image->data = NULL;
    if (fail_is_memory()) /* a compiler would only want more of it */
        return MT_FAILURE;
    log_warn("the cached kernel %s is compiled again: %s", image->hash, fail_message());
    image->size = 0;
    image->from_cache = *found = false;
    return MT_OK;
}

enum mt_status compile_kernel(const struct compile_request *request, struct image *out) {
    struct str source = {0}, what = {0};
    int version;
    bool found = false;
    memset(out, 0, sizeof *out);
    enum mt_status status = nvrtc_version(&version);
    if (status == MT_OK)
        status = template_expand(request->template_name, &source);
    if (status == MT_OK) {
        request_text(request, version, &what);
        status = request_hash(&what, &source, out->hash);
    }
    if (status == MT_OK)
        status = cache_load(out->hash, &what, out, &found);
    if (status == MT_OK && found)
        status = check_cached(request, out, &found);
    if (status == MT_OK && !found) {
        status = image_compile(request, &source, version, out);
        if (status == MT_OK)
            cache_store(out, &what);
    }
    str_release(&source);
    str_release(&what);
    return status;
}

void image_release(struct image *image) {
    free(image->data);
    memset(image, 0, sizeof *image);
}
