#include "toolkit.h"
#include "runtime/base/str.h"
#include <dlfcn.h>
#include <stddef.h>
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
