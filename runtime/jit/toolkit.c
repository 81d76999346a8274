#include "toolkit.h"
#include "runtime/base/log.h"
#include "verdict.h"
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__aarch64__)
#define TARGET "/targets/sbsa-linux/lib"
#define DEBIAN "/lib/aarch64-linux-gnu"
enum { MACHINE = EM_AARCH64 };
#else
#define TARGET "/targets/x86_64-linux/lib"
#define DEBIAN "/lib/x86_64-linux-gnu"
enum { MACHINE = EM_X86_64 };
#endif

static const char customary[] = "/usr/local/cuda";

/* Below a toolkit; a distribution's; below pip's `nvidia` (CUDA 13, then 12) and beside one of its folders; the
 * libraries' own. */
static const char *const folders[] = {"/lib64",
                                      "/lib",
                                      TARGET,
                                      DEBIAN,
                                      "/cu13/lib",
                                      "/cuda_nvrtc/lib",
                                      "/cublas/lib",
                                      "/../cublas/lib",
                                      "/../cuda_nvrtc/lib",
                                      ""};
static const int versions[] = {13, 12};

struct search {
    const struct toolkit_library *library;
    struct str *path;
    struct str why; /* the first reason against what was found */
    bool is_short;  /* and it is the machine's: another place would not help */
};

/* ---- one file ---- */

static void object(struct search *s, const char *file, const char *reason) {
    s->is_short = s->is_short || speaks_of_shortage(reason);
    if (s->why.length == 0)
        str_printf(&s->why, "%s: %s", file, reason);
}

/* The loader says of another architecture's library that there is no such file. */
static bool is_foreign(const char *file) {
    Elf64_Ehdr head;
    const int fd = open(file, O_RDONLY | O_CLOEXEC);
    const bool whole = fd >= 0 && read(fd, &head, sizeof head) == sizeof head;
    if (fd >= 0)
        close(fd);
    return whole && !memcmp(head.e_ident, ELFMAG, SELFMAG) && head.e_machine != MACHINE;
}

bool toolkit_path(const void *function, struct str *path) {
    Dl_info info;
    if (!dladdr(function, &info) || !info.dli_fname)
        return false;
    char *real = realpath(info.dli_fname, NULL);
    const bool known = real || errno == ENOMEM; /* without memory by the name that it has */
    str_append(path, real ? real : known ? info.dli_fname : "");
    free(real);
    return known;
}

/* False, and the search ends, if memory was short for the name of a file. */
static bool is_named(struct search *s, const struct str *file) {
    if (file->failed)
        object(s, s->library->title, strerror(ENOMEM));
    return !file->failed;
}

static bool is_good(struct search *s, void *handle, const char *file) {
    const struct toolkit_library *l = s->library;
    const char *lacking = symbols_find(handle, l->symbols, l->count, l->functions);
    struct str why = {0};
    if (lacking)
        str_printf(&why, "it has no function %s; CUDA 12.4 or later is needed", lacking);
    const bool good = !lacking && (!l->fits || l->fits(&why));
    if (!good)
        object(s, file, str_text(&why));
    str_release(&why);
    return good;
}

/* Any function tells where the library is. */
static void tell_path(const struct search *s, void *handle) {
    if (s->path && s->library->count)
        toolkit_path(dlsym(handle, s->library->symbols[0].name), s->path);
}

static bool opens(struct search *s, const char *file) {
    void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        const char *told = dlerror(), *reason = told ? told : strerror(ENOMEM);
        const size_t own = strlen(file);
        if (is_foreign(file))
            reason = "it is for another architecture";
        else if (!strncmp(reason, file, own) && !strncmp(reason + own, ": ", 2))
            reason += own + 2;
        if (strchr(file, '/') || !strstr(reason, strerror(ENOENT)))
            object(s, file, reason);
        return false;
    }
    if (is_good(s, handle, file)) {
        tell_path(s, handle);
        return true;
    }
    dlclose(handle);
    return false;
}

/* ---- the places ---- */

static bool opens_in(struct search *s, const char *home) {
    struct str file = {0};
    bool found = false;
    for (size_t f = 0; f < sizeof folders / sizeof *folders && !found; f++)
        for (size_t v = 0; v < sizeof versions / sizeof *versions && !found && !s->is_short; v++) {
            str_clear(&file);
            str_printf(&file, "%s%s/lib%s.so.%d", home, folders[f], s->library->name, versions[v]);
            if (!is_named(s, &file))
                break;
            if (access(file.data, F_OK) == 0)
                found = opens(s, file.data);
            else if (errno != ENOENT && errno != ENOTDIR)
                object(s, file.data, strerror(errno));
        }
    str_release(&file);
    return found;
}

static bool opens_by_name(struct search *s) {
    struct str file = {0};
    bool found = false;
    for (size_t v = 0; v < sizeof versions / sizeof *versions && !found && !s->is_short; v++) {
        str_clear(&file);
        str_printf(&file, "lib%s.so.%d", s->library->name, versions[v]);
        found = is_named(s, &file) && opens(s, file.data);
    }
    str_release(&file);
    return found;
}

/* Nothing was found in CUDA_HOME, and nothing there speaks against what was found. */
static void object_to_home(struct search *s, const char *home) {
    struct stat info;
    if (stat(home, &info) != 0)
        object(s, home, strerror(errno));
    else if (!S_ISDIR(info.st_mode))
        object(s, home, strerror(ENOTDIR));
    else
        str_printf(&s->why, "%s has no lib%s.so.13 or .12, in lib64, lib, %s or as pip's packages have it", home,
                   s->library->name, &TARGET[1]);
}

static enum mt_status fail_search(const struct search *s) {
    const struct toolkit_library *l = s->library;
    if (s->is_short)
        return fail(MT_FAILURE,
                    "%s cannot be opened: %s; free memory, or raise the limits (ulimit -n, ulimit -v), "
                    "then run the same command again",
                    l->title, s->why.failed ? strerror(ENOMEM) : str_text(&s->why));
    return fail(MT_NO_DEVICE,
                "no %s (lib%s.so.13 or .12) that can be used%s%s; install the CUDA toolkit 12.4 or later, or set "
                "CUDA_HOME to where it is",
                l->title, l->name, s->why.length ? ": " : "", str_text(&s->why));
}

enum mt_status toolkit_load(const struct toolkit_library *library, struct str *path) {
    struct str found = {0};
    struct search s = {.library = library, .path = &found};
    const char *home = getenv("CUDA_HOME");
    const bool named = home && *home;
    const bool at_home = named && opens_in(&s, home);
    const bool is_empty = named && !at_home && !s.is_short && s.why.length == 0;
    if (is_empty)
        object_to_home(&s, home);
    const bool good = at_home || (!s.is_short && opens_by_name(&s)) || (!s.is_short && opens_in(&s, customary));
    enum mt_status status = good ? str_status(&found) : fail_search(&s);
    if (good)
        log_debug("%s is %s", library->title, str_text(&found));
    if (good && named && !at_home)
        log_warn_once(is_empty ? home : str_text(&s.why), "CUDA_HOME is passed over: %s; %s is used", str_text(&s.why),
                      str_text(&found));
    if (path && status == MT_OK) {
        str_append(path, str_text(&found));
        status = str_status(path);
    }
    str_release(&found);
    str_release(&s.why);
    return status;
}

/* Beside a toolkit's library, beside those of a distribution, and in pip's other folder. */
void toolkit_headers(const char *path, struct str *folder) {
    static const char *const from[] = {"/../include", "/../../include", "/../../cuda_runtime/include"};
    const char *slash = strrchr(path, '/'), *home = getenv("CUDA_HOME");
    const char *const others[] = {home ? home : "", customary};
    struct str now = {0};
    char *real = NULL;
    for (size_t i = 0; i < 5 && !real; i++) {
        str_clear(&now);
        if (i < 3)
            str_printf(&now, "%.*s%s", slash ? (int)(slash - path) : 0, path, from[i]);
        else
            str_printf(&now, "%s/include", others[i - 3]);
        const size_t length = now.length;
        str_append(&now, "/cuda_fp16.h");
        if (!now.failed && access(now.data, R_OK) == 0) {
            now.data[length] = 0;
            real = realpath(now.data, NULL);
        }
    }
    str_append(folder, real ? real : "");
    free(real);
    str_release(&now);
}
