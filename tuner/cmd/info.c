#include "cmd.h"
#include "runtime/base/file.h"
#include "runtime/gpu/launch.h"
#include "runtime/jit/compile.h"
#include "runtime/jit/compiler.h"
#include "runtime/jit/images.h"
#include "runtime/jit/toolkit.h"
#include "tuner/options.h"
#include "tuner/report/json_line.h"
#include "tuner/shown.h"
#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct argp_child children[] = {{&common_argp, 0, NULL, 0}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state) {
    (void)arg;
    if (key != ARGP_KEY_INIT)
        return ARGP_ERR_UNKNOWN;
    state->child_inputs[0] = state->input;
    return 0;
}

static const struct argp argp = {.parser = parse,
                                 .children = children,
                                 .doc = "Shows the device and its limits, the compiler, the kernel families with every "
                                        "knob, and the known spaces and models. "
                                        "Works without a GPU."};

/* Everything is collected as JSON first: the text is printed from it, so both say the same. */

static json_t *missing_json(void) {
    return json_pack("{so}", "missing", json_text(fail_message()));
}

static json_t *device_json(const char *spec) {
    struct device dev = {0};
    char arch[16];
    if (device_open(&dev, spec))
        return missing_json();
    device_arch(&dev, arch);
    json_t *object = json_pack("{so so so sb ss ss si si si si si si si sf si ss}", "spec", json_text(dev.spec), "name",
                               json_text(dev.name), "uuid", json_text(dev.uuid), "software", (int)dev.software,
                               "stand_in", device_stand_in(&dev), "arch", arch, "compute_capability", dev.cc,
                               "sm_count", dev.sm_count, "l2_bytes", dev.l2_bytes, "smem_per_sm", dev.smem_per_sm,
                               "smem_per_block", dev.smem_per_block_optin, "registers_per_sm", dev.regs_per_sm,
                               "threads_per_sm", dev.threads_per_sm, "memory_gib", (double)dev.memory_bytes / (1 << 30),
                               "driver_version", dev.driver_version, "time_model", dev.time_model);
    device_close(&dev);
    return object;
}

/* What compiles here, or compiled the images that are used in its place. */
static json_t *compiler_json(void) {
    int version;
    char hash[33];
    struct compiler here = {0};
    if (nvrtc_version(&version) || (!images_used() && compiler_find(&here)) || template_hash(hash))
        return missing_json();
    json_t *compiler = json_pack("{si ss}", "nvrtc_version", version, "template_hash", hash);
    if (images_used())
        json_object_set_new(compiler, "images", json_text(images_used()));
    else
        json_object_update_new(
            compiler, json_pack("{so so}", "library", json_text(here.library), "builtins", json_text(here.builtins)));
    return compiler;
}

/* Where a baseline's library lies; the device is not asked whether it can run it. */
static json_t *library_json(const char *name, const char *title, const char *function) {
    void *address;
    const struct symbol symbol = {0, function};
    const struct toolkit_library library = {name, title, &symbol, 1, &address, NULL};
    struct str path = {0};
    json_t *json =
        toolkit_load(&library, &path) ? missing_json() : json_pack("{so}", "library", json_text(str_text(&path)));
    str_release(&path);
    return json;
}

static json_t *families_json(void) {
    json_t *families = json_array();
    for (const struct family *const *f = family_list(); *f; f++) {
        json_t *knobs = json_array();
        for (int i = 0; i < (*f)->knob_count; i++) {
            const struct knob *knob = &(*f)->knobs[i];
            json_array_append_new(knobs, json_pack("{ss ss si sb}", "name", knob->name, "doc", knob->doc, "default",
                                                   knob->fallback, "launch", (int)knob->launch));
        }
        json_array_append_new(families,
                              json_pack("{ss ss si sb so}", "name", (*f)->name, "template", (*f)->template_name,
                                        "min_cc", (*f)->min_cc, "quantised", (int)(*f)->quantised, "knobs", knobs));
    }
    return families;
}

/* The names beside a shipped file, without their ending. */
static json_t *names_json(const char *kind, const char *shipped, const char *ext) {
    struct str path = {0};
    json_t *names = json_array();
    struct dirent **entry = NULL;
    int count = 0;
    char *slash = config_find(kind, shipped, ext, &path) == MT_OK ? strrchr(path.data, '/') : NULL;
    if (slash) {
        *slash = 0;
        count = scandir(path.data, &entry, NULL, alphasort);
    }
    for (int i = 0; i < count; i++) {
        char *dot = strrchr(entry[i]->d_name, '.');
        if (dot && dot > entry[i]->d_name && !strcmp(dot + 1, ext)) {
            *dot = 0;
            json_array_append_new(names, json_text(entry[i]->d_name));
        }
        free(entry[i]);
    }
    free(entry);
    str_release(&path);
    return names;
}

static long cache_bytes, cache_files; /* nftw() hands its callback no context */

static int add_size(const char *path, const struct stat *info, int type, struct FTW *ftw) {
    (void)path;
    (void)ftw;
    if (type == FTW_F) {
        cache_bytes += (long)info->st_size;
        cache_files++;
    }
    return 0;
}

static json_t *cache_json(void) {
    struct str path = {0};
    if (cache_folder(&path)) {
        str_release(&path);
        return missing_json();
    }
    cache_bytes = cache_files = 0;
    nftw(path.data, add_size, 16, FTW_PHYS);
    json_t *object = json_pack("{so sI sI}", "folder", json_text(path.data), "files", (json_int_t)cache_files, "bytes",
                               (json_int_t)cache_bytes);
    str_release(&path);
    return object;
}

/* ---- text ---- */

/* As it may be printed; NULL if there is none. */
static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? shown(text) : NULL;
}

static int number_of(const json_t *object, const char *key) {
    return (int)json_integer_value(json_object_get(object, key));
}

static void print_device(const json_t *device) {
    if (text_of(device, "missing")) {
        printf("device    none: %s\n", text_of(device, "missing"));
        return;
    }
    int cc = number_of(device, "compute_capability"), driver = number_of(device, "driver_version");
    printf("device    %s: %s%s\n", text_of(device, "spec"), text_of(device, "name"),
           json_is_true(json_object_get(device, "software")) ? " (times are modelled)" : "");
    printf("          compute capability %d.%d (%s), %d SMs, %.1f MB of L2, %.1f GiB of memory\n", cc / 10, cc % 10,
           text_of(device, "arch"), number_of(device, "sm_count"), number_of(device, "l2_bytes") / 1e6,
           json_real_value(json_object_get(device, "memory_gib")));
    printf("          per SM: %d threads, %d registers, %d KiB of shared memory (%d KiB a CTA)\n",
           number_of(device, "threads_per_sm"), number_of(device, "registers_per_sm"),
           number_of(device, "smem_per_sm") / 1024, number_of(device, "smem_per_block") / 1024);
    printf("          driver API %d.%d, %s\n", driver / 1000, driver % 1000 / 10, text_of(device, "uuid"));
    printf("          stand-in %s\n", text_of(device, "stand_in"));
    if (*text_of(device, "time_model"))
        printf("          time model %s\n", text_of(device, "time_model"));
}

static void print_compiler(const json_t *compiler) {
    const int version = number_of(compiler, "nvrtc_version");
    const char *images = text_of(compiler, "images");
    if (text_of(compiler, "missing")) {
        printf("compiler  none: %s\n", text_of(compiler, "missing"));
        return;
    }
    printf("compiler  %sNVRTC %d.%d, templates %s\n", images ? "images of " : "", version / 100, version % 100 / 10,
           text_of(compiler, "template_hash"));
    if (images)
        printf("          %s\n", images);
    else
        printf("          %s\n          %s\n", text_of(compiler, "library"), text_of(compiler, "builtins"));
}

static void print_library(const char *heading, const json_t *library) {
    const char *missing = text_of(library, "missing");
    printf("%-9s %s%s\n", heading, missing ? "none: " : "", missing ? missing : text_of(library, "library"));
}

static void print_families(const json_t *families) {
    size_t f, k;
    json_t *family, *knob;
    json_array_foreach(families, f, family) {
        int cc = number_of(family, "min_cc");
        printf("\nfamily %s: templates/%s, compute capability %d.%d and later%s\n", text_of(family, "name"),
               text_of(family, "template"), cc / 10, cc % 10,
               json_is_true(json_object_get(family, "quantised")) ? "" : ", a baseline");
        json_array_foreach(json_object_get(family, "knobs"), k, knob)
            printf("  %-10s %s (default %d%s)\n", text_of(knob, "name"), text_of(knob, "doc"),
                   number_of(knob, "default"), json_is_true(json_object_get(knob, "launch")) ? ", set at launch" : "");
    }
}

static void print_names(const char *heading, const json_t *names) {
    size_t i;
    json_t *name;
    printf("%-9s", heading);
    json_array_foreach(names, i, name) printf("%s %s", i ? "," : "", shown(json_string_value(name)));
    putchar('\n');
}

static void print_text(const json_t *info) {
    const json_t *cache = json_object_get(info, "cache");
    print_device(json_object_get(info, "device"));
    print_compiler(json_object_get(info, "compiler"));
    print_library("cuBLAS", json_object_get(info, "cublas"));
    print_library("cuBLASLt", json_object_get(info, "cublaslt"));
    if (text_of(cache, "missing"))
        printf("cache     none: %s\n", text_of(cache, "missing"));
    else
        printf("cache     %s: %d kernels, %.1f MB\n", text_of(cache, "folder"), number_of(cache, "files"),
               (double)json_integer_value(json_object_get(cache, "bytes")) / 1e6);
    print_families(json_object_get(info, "families"));
    putchar('\n');
    print_names("spaces", json_object_get(info, "spaces"));
    print_names("models", json_object_get(info, "models"));
    print_names("devices", json_object_get(info, "devices"));
}

int cmd_info(int argc, char **argv) {
    struct common_options o = {0};
    enum mt_status status = options_parse(&argp, argc, argv, &o, &o);
    if (status)
        return status;
    json_t *device = device_json(o.device);
    /* A device that was asked for and is not there is an error; that there is none at all is information. */
    if (o.device && text_of(device, "missing"))
        status = fail(MT_NO_DEVICE, "%s", text_of(device, "missing"));
    json_t *info = json_pack("{so so}", "device", device, "compiler", compiler_json());
    json_object_set_new(info, "cublas", library_json("cublas", "cuBLAS", "cublasCreate_v2"));
    json_object_set_new(info, "cublaslt", library_json("cublasLt", "cuBLASLt", "cublasLtCreate"));
    json_object_update_new(info, json_pack("{so so so so so}", "cache", cache_json(), "families", families_json(),
                                           "spaces", names_json("spaces", "sm80", "yaml"), "models",
                                           names_json("models", "llama-3.1-8b", "json"), "devices",
                                           names_json("devices", "a100-sxm-80g", "yaml")));
    if (!o.json)
        print_text(info);
    else
        json_line(json_incref(info));
    json_decref(info);
    return status;
}
