/* Preloaded: files cannot be opened for a while. $SHORT_OF is "FIRST COUNT ERRNO": of the calls of each process that open
 * a file, COUNT fail from number FIRST on, counted from 0. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_it(int folder, const char *path, int flags, int mode) {
    static atomic_int calls;
    const char *what = getenv("SHORT_OF");
    int first, count, error;
    const int call = atomic_fetch_add(&calls, 1);
    if (what && sscanf(what, "%d %d %d", &first, &count, &error) == 3 && call >= first && call - first < count) {
        errno = error;
        return -1;
    }
    return (int)syscall(SYS_openat, folder, path, flags, mode);
}

#define OPENS(name, parameters, folder)                                                                                \
    int name parameters {                                                                                              \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        const int mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, int) : 0;                                      \
        va_end(rest);                                                                                                  \
        return open_it(folder, path, flags, mode);                                                                     \
    }
OPENS(open, (const char *path, int flags, ...), AT_FDCWD)
OPENS(open64, (const char *path, int flags, ...), AT_FDCWD)
OPENS(openat, (int folder, const char *path, int flags, ...), folder)
OPENS(openat64, (int folder, const char *path, int flags, ...), folder)
