#include "trusted.h"
#include "runtime/base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static enum mt_status check_owner(const struct stat *info, const char *path) {
    if (info->st_uid != geteuid() && info->st_uid != 0)
        return fail(
            MT_USAGE,
            "%s belongs to user %u, who can change what is run here: use a folder of your own, or have it chowned "
            "to you",
            path, (unsigned)info->st_uid);
    if (info->st_mode & 022)
        return fail(MT_USAGE,
                    "%s can be written by other users than its owner, who can change what is run here: chmod go-w it",
                    path);
    return MT_OK;
}

static bool is_missing(int error) {
    return error == ENOENT || error == ENOTDIR;
}

enum mt_status trusted_folder(int at, const char *name, const char *path, int *fd) {
    struct stat info;
    *fd = openat(at, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0)
        return is_missing(errno) ? MT_OK : file_fail("open", path);
    enum mt_status status = fstat(*fd, &info) == 0 ? check_owner(&info, path) : file_fail("open", path);
    if (status != MT_OK) {
        close(*fd);
        *fd = -1;
    }
    return status;
}

static enum mt_status read_open(int fd, const char *path, size_t most, struct str *out) {
    struct stat info;
    if (fstat(fd, &info) != 0)
        return file_fail("read", path);
    if (!S_ISREG(info.st_mode))
        return fail(MT_USAGE, "%s is no plain file: remove it", path);
    enum mt_status status = check_owner(&info, path);
    if (status != MT_OK)
        return status;
    if ((size_t)info.st_size > most)
        return fail(MT_USAGE, "%s is larger than such a file can be: remove it", path);
    return file_read_all(path, fd, most, MT_FAILURE, out);
}

enum mt_status trusted_read(int folder, const char *name, const char *path, size_t most, struct str *out, bool *found) {
    /* A pipe would wait for a writer without O_NONBLOCK. */
    const int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    *found = fd >= 0;
    if (fd < 0 && errno == ELOOP)
        return fail(MT_USAGE, "%s is a link: put the file itself there", path);
    if (fd < 0)
        return is_missing(errno) ? MT_OK : file_fail("open", path);
    enum mt_status status = read_open(fd, path, most, out);
    close(fd);
    return status;
}

enum mt_status trusted_write(int folder, const char *name, const char *path, const void *data, size_t size) {
    static atomic_uint count;
    char temporary[128];
    int fd, error = 0;
    do {
        snprintf(temporary, sizeof temporary, "%.64s.%ld-%u.tmp", name, (long)getpid(), atomic_fetch_add(&count, 1));
        fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    } while (fd < 0 && errno == EEXIST);
    if (fd < 0)
        return file_fail("write", path);
    if (!file_write_all(fd, data, size) || fsync(fd) != 0)
        error = errno;
    if (close(fd) != 0 && !error)
        error = errno;
    if (!error && renameat(folder, temporary, folder, name) != 0)
        error = errno;
    if (!error) {
        file_flush_folder(path);
        return MT_OK;
    }
    unlinkat(folder, temporary, 0);
    errno = error;
    return file_fail("write", path);
}
