#include "toolkit.h"
#include "runtime/base/str.h"
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

const char *const *toolkit_homes(void) {
    static _Thread_local const char *homes[4];
    const char *home = getenv("CUDA_HOME");
    int count = 0;
    if (home && *home)
        homes[count++] = home;
    homes[count++] = "";
    homes[count++] = "/usr/local/cuda";
    homes[count] = NULL;
    return homes;
}

static void *open_one(const char *home, const char *name, bool (*fits)(void *, const char *)) {
    struct str path = {0};
    str_printf(&path, "%s%s%s", home, *home ? "/lib64/" : "", name);
    void *library = dlopen(path.data, RTLD_NOW | RTLD_LOCAL);
    if (library && fits && !fits(library, path.data)) {
        dlclose(library);
        library = NULL;
    }
    str_release(&path);
    return library;
}

void *toolkit_open(const char *const *names, bool (*fits)(void *library, const char *path)) {
    void *library = NULL;
    for (const char *const *home = toolkit_homes(); *home && !library; home++)
        for (const char *const *name = names; *name && !library; name++)
            library = open_one(*home, *name, fits);
    return library;
}

enum mt_status toolkit_load(const char *name, const struct symbol *symbols, size_t count, void *functions) {
    char newest[32], older[32];
    const char *const names[] = {newest, older, NULL};
    snprintf(newest, sizeof newest, "lib%s.so.13", name);
    snprintf(older, sizeof older, "lib%s.so.12", name);
    void *library = toolkit_open(names, NULL);
    if (!library)
        return fail(MT_NO_DEVICE, "no %s or .12; install the CUDA toolkit, or set CUDA_HOME to where it is", newest);
    const char *lacking = symbols_find(library, symbols, count, functions);
    return lacking ? fail(MT_NO_DEVICE, "lib%s has no %s; install CUDA 12.4 or later", name, lacking) : MT_OK;
}
