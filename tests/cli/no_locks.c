/* A file system that lacks things, for tests, by LD_PRELOAD. In the folder NO_LOCKS_IN, and only there: flock() and POSIX
 * locks fail with the numbers in NO_FLOCK and NO_POSIX, and with NO_SHARED=1 no file can be mapped for several
 * processes. NO_LOCKS_TYPE is the type of the file system (statfs) of that folder, and all in it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

static int is_there(const char *path) {
    const char *folder = getenv("NO_LOCKS_IN");
    return folder && !strncmp(path, folder, strlen(folder));
}

/* The number in `name` when the file lies there; else 0. */
static int lacks(int fd, const char *name) {
    const char *value = getenv(name);
    char link[64], path[PATH_MAX];
    if (!value)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    return is_there(path) ? atoi(value) : 0;
}

int flock(int fd, int operation) {
    const int error = lacks(fd, "NO_FLOCK");
    return error ? errno = error, -1 : (int)syscall(SYS_flock, fd, operation);
}

int fcntl64(int fd, int command, ...) {
    va_list args;
    va_start(args, command);
    void *argument = va_arg(args, void *);
    va_end(args);
    const int is_lock = command == F_SETLK || command == F_SETLKW || command == F_GETLK;
    const int error = is_lock ? lacks(fd, "NO_POSIX") : 0;
    return error ? errno = error, -1 : (int)syscall(SYS_fcntl, fd, command, argument);
}

int fcntl(int fd, int command, ...) {
    va_list args;
    va_start(args, command);
    void *argument = va_arg(args, void *);
    va_end(args);
    return fcntl64(fd, command, argument);
}

void *mmap64(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
    if (fd >= 0 && (flags & MAP_SHARED) && lacks(fd, "NO_SHARED"))
        return errno = ENODEV, MAP_FAILED;
    return (void *)syscall(SYS_mmap, address, size, protection, flags, fd, offset);
}

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
    return mmap64(address, size, protection, flags, fd, offset);
}

int statfs(const char *path, struct statfs *out) {
    const char *type = getenv("NO_LOCKS_TYPE");
    const int rc = (int)syscall(SYS_statfs, path, out);
    if (rc == 0 && type && is_there(path))
        out->f_type = strtol(type, NULL, 0);
    return rc;
}
