#include "file.h"
#include "near.h"
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum mt_status file_fail(const char *doing, const char *path) {
    int error = errno;
    const char *advice = "";
    if (error == ENOSPC || error == EDQUOT)
        advice = "; free some space or choose another folder";
    else if (error == EROFS)
        advice = "; choose a folder on a writable file system";
    else if (error == EACCES || error == EPERM)
        advice = "; check its permissions or choose another folder";
    return fail(MT_FAILURE, "cannot %s %s: %s%s", doing, path, strerror(error), advice);
}

/* ---- reading ---- */

const char *file_kind(mode_t mode) {
    return S_ISDIR(mode) ? "a folder" : S_ISFIFO(mode) ? "a pipe" : S_ISSOCK(mode) ? "a socket" : "a device";
}

static enum mt_status check_file(const char *path, int fd, size_t most, enum mt_status bad) {
    struct stat info;
    if (fstat(fd, &info) != 0)
        return file_fail("read", path), bad;
    if (!S_ISREG(info.st_mode))
        return fail(bad, "%s is %s, and only a file is read; save what it holds in one", path, file_kind(info.st_mode));
    if ((uintmax_t)info.st_size > most)
        return fail(bad, "%s has %lld bytes, and at most %zu are read; is it the right file?", path,
                    (long long)info.st_size, most);
    return MT_OK;
}

/* A file that grows, or does not know its size, may have more. */
enum mt_status file_read_all(const char *path, int fd, size_t most, enum mt_status bad, struct str *out) {
    enum { PIECE = 65536 };
    const size_t before = out->length;
    enum mt_status status = MT_OK;
    ssize_t got;
    do {
        if (!str_reserve(out, PIECE))
            return MT_FAILURE;
        got = read(fd, out->data + out->length, PIECE);
        out->length += got > 0 ? (size_t)got : 0;
    } while ((got > 0 && out->length - before <= most) || (got < 0 && errno == EINTR));
    if (got < 0)
        status = (file_fail("read", path), bad);
    else if (out->length - before > most)
        status = fail(bad, "%s has more than %zu bytes, and no more are read; is it the right file?", path, most);
    if (status)
        out->length = before;
    out->data[out->length] = 0;
    return status;
}

enum mt_status file_read_most(const char *path, size_t most, enum mt_status bad, struct str *out) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return file_fail("open", path), bad;
    enum mt_status status = check_file(path, fd, most, bad);
    if (!status)
        status = file_read_all(path, fd, most, bad, out);
    close(fd);
    return status;
}

enum mt_status file_read(const char *path, struct str *out) {
    return file_read_most(path, SIZE_MAX / 4, MT_FAILURE, out);
}

static enum mt_status check_text(const char *path, const char *text, size_t length, enum mt_status bad) {
    if (length >= 2 && (!memcmp(text, "\xff\xfe", 2) || !memcmp(text, "\xfe\xff", 2)))
        return fail(bad, "%s is text in UTF-16; save it as UTF-8", path);
    const char *zero = memchr(text, 0, length);
    int line = 1;
    for (const char *at = text; zero && at < zero; at++)
        line += *at == '\n';
    return zero ? fail(bad, "%s, line %d: a byte is 0, so this is not text", path, line) : MT_OK;
}

enum mt_status file_read_text(const char *path, size_t most, enum mt_status bad, struct str *out) {
    static const char mark[] = "\xef\xbb\xbf"; /* of byte order, which UTF-8 needs none of */
    const size_t before = out->length;
    enum mt_status status = file_read_most(path, most, bad, out);
    if (!status)
        status = check_text(path, out->data + before, out->length - before, bad);
    if (status)
        return status;
    char *text = out->data + before;
    if (strncmp(text, mark, strlen(mark)) == 0) {
        out->length -= strlen(mark);
        memmove(text, text + strlen(mark), out->length - before + 1);
    }
    return MT_OK;
}

/* ---- writing ---- */

bool file_write_all(int fd, const void *data, size_t size) {
    const char *at = data;
    while (size > 0) {
        ssize_t done = write(fd, at, size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return false;
        at += done;
        size -= (size_t)done;
    }
    return true;
}

/* Opens a new file beside `path` for writing; its name goes to `name`. mkstemp() would make it private to the user. */
static int temporary_open(const char *path, struct str *name) {
    static atomic_uint count;
    for (;;) {
        str_clear(name);
        str_printf(name, "%s.%ld-%u.tmp", path, (long)getpid(), atomic_fetch_add(&count, 1));
        if (name->failed) {
            errno = ENOMEM;
            return -1;
        }
        int fd = open(name->data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
}

/* A file system that cannot do it (EINVAL) has nothing to flush. */
void file_flush_folder(const char *path) {
    char *folder = mem_text(path);
    if (!folder)
        return; /* the rename is done all the same */
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = 0;
    int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(folder);
}

/* A device or a pipe: renaming over it would replace it with a plain file. */
static enum mt_status special_write(const char *path, const void *data, size_t size) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return file_fail("write", path);
    enum mt_status status = file_write_all(fd, data, size) ? MT_OK : file_fail("write", path);
    if (close(fd) != 0 && status == MT_OK)
        status = file_fail("write", path);
    return status;
}

enum mt_status file_write_atomic(const char *path, const void *data, size_t size) {
    enum mt_status status = MT_OK;
    struct stat old;
    if (stat(path, &old) == 0 && !S_ISREG(old.st_mode) && !S_ISDIR(old.st_mode))
        return special_write(path, data, size);
    struct str temporary = {0};
    int fd = temporary_open(path, &temporary);
    if (fd < 0) {
        status = file_fail("write", path);
        goto out;
    }
    bool good = file_write_all(fd, data, size) && fsync(fd) == 0;
    int error = errno;
    if (close(fd) != 0 && good) {
        good = false;
        error = errno;
    }
    if (good && rename(temporary.data, path) != 0) {
        good = false;
        error = errno;
    }
    if (!good) {
        errno = error;
        status = file_fail("write", path);
        unlink(temporary.data);
    } else {
        file_flush_folder(path);
    }
out:
    str_release(&temporary);
    return status;
}

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

enum mt_status descriptors_check(int count) {
    int *opened = mem_zeroed((size_t)count, sizeof *opened), had = 0, error = 0;
    if (!opened)
        return MT_FAILURE;
    while (had < count && (opened[had] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        had++;
    if (had < count)
        error = errno;
    for (int i = 0; i < had; i++)
        close(opened[i]);
    free(opened);
    if (had == count)
        return MT_OK;
    return fail(MT_FAILURE, "only %d more files can be opened, and %d may be needed: %s; raise the limit (ulimit -n)",
                had, count, strerror(error));
}

enum mt_status folder_make(const char *path) {
    enum mt_status status = MT_OK;
    char *part = mem_text(path);
    if (!part)
        return MT_FAILURE;
    for (char *end = part + 1; *part; end++) {
        if (*end != '/' && *end != 0)
            continue;
        char kept = *end;
        *end = 0;
        /* A read-only parent may answer EROFS for a folder that exists. */
        if (mkdir(part, 0777) != 0 && !is_folder(part)) {
            if (errno == EEXIST)
                errno = ENOTDIR;
            status = file_fail("make the folder", part);
            break;
        }
        *end = kept;
        if (!kept)
            break;
    }
    free(part);
    return status;
}

static bool is_file(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

/* Sets `path` to folder/kind/name, or with .ext, if that is a file. */
static bool config_in(const char *folder, const char *kind, const char *name, const char *ext, struct str *path) {
    str_clear(path);
    str_printf(path, "%s/%s/%s", folder, kind, name);
    if (is_file(str_text(path)))
        return true;
    str_printf(path, ".%s", ext);
    return is_file(str_text(path));
}

bool own_folder(struct str *out) {
    static const char here = 0;
    Dl_info info;
    if (!dladdr(&here, &info) || !info.dli_fname)
        return false;
    /* A program's own name is what it was called by, so it may not be a path at all. */
    char *real = realpath(strchr(info.dli_fname, '/') ? info.dli_fname : "/proc/self/exe", NULL);
    if (!real)
        return false;
    str_append_bytes(out, real, (size_t)(strrchr(real, '/') - real));
    free(real);
    return !out->failed;
}

/* Sets `folder` to the i-th place where configs/ may be; false if there is no such place. The last is always one. */
enum { CONFIG_FOLDERS = 4 };
static bool config_folder(int i, struct str *folder) {
    static const char *const beside[] = {"/../configs", "/../share/mixtune/configs"};
    const char *given = getenv("MIXTUNE_CONFIGS");
    str_clear(folder);
    if (i == 0 && given)
        str_append(folder, given);
    else if ((i == 1 || i == 2) && own_folder(folder))
        str_append(folder, beside[i - 1]);
    else if (i == 3)
        str_append(folder, MT_SOURCE_DIR "/configs");
    return folder->length > 0;
}

/* The names of one kind in a folder, without their ending: those that are near, and to `all`, if they are few. */
static void offer_configs(const char *folder, const char *kind, const char *ext, struct near *near, struct str *all) {
    enum { FEW = 12 };
    struct str path = {0};
    struct dirent **entry = NULL;
    str_printf(&path, "%s/%s", folder, kind);
    const int count = scandir(str_text(&path), &entry, NULL, alphasort);
    const bool list = !all->length && count <= FEW + 2; /* with . and .. */
    for (int i = 0; i < count; i++) {
        char *end = strrchr(entry[i]->d_name, '.');
        if (end && !strcmp(end + 1, ext)) {
            *end = 0;
            near_offer(near, entry[i]->d_name);
            if (list)
                str_printf(all, "%s%s", all->length ? ", " : "; there are ", entry[i]->d_name);
        }
        free(entry[i]);
    }
    free(entry);
    str_release(&path);
}

static enum mt_status config_missing(const char *kind, const char *name, const char *ext) {
    struct near near = {.wanted = name};
    struct str folder = {0}, all = {0}, instead = {0};
    if (strchr(name, '/'))
        return access(name, F_OK) == 0
                   ? fail(MT_USAGE, "%s is no file but a folder, a pipe or a device; give the path of a file", name)
                   : fail(MT_USAGE, "there is no file %s", name);
    for (int i = 0; i < CONFIG_FOLDERS; i++)
        if (config_folder(i, &folder))
            offer_configs(str_text(&folder), kind, ext, &near, &all);
    near_print(&near, all.length ? str_text(&all) : "; give one of the names there, or the path of a file", &instead);
    enum mt_status status = fail(MT_USAGE, "there is no %s.%s in configs/%s%s", name, ext, kind, str_text(&instead));
    str_release(&folder);
    str_release(&all);
    str_release(&instead);
    return status;
}

enum mt_status config_find(const char *kind, const char *name, const char *ext, struct str *path) {
    struct str folder = {0};
    bool found = strchr(name, '/') || is_file(name);
    if (found) {
        str_clear(path);
        str_append(path, name);
        found = is_file(name);
    }
    for (int i = 0; i < CONFIG_FOLDERS && !found && !strchr(name, '/'); i++)
        found = config_folder(i, &folder) && config_in(str_text(&folder), kind, name, ext, path);
    str_release(&folder);
    if (str_status(path) != MT_OK)
        return MT_FAILURE;
    return found ? MT_OK : config_missing(kind, name, ext);
}

enum mt_status cache_folder(struct str *path) {
    const char *own = getenv("MIXTUNE_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    str_clear(path);
    if (own && *own)
        str_append(path, own);
    else if (xdg && *xdg == '/') /* the XDG specification says to ignore a relative path */
        str_printf(path, "%s/mixtune", xdg);
    else if (home && *home)
        str_printf(path, "%s/.cache/mixtune", home);
    else
        return fail(MT_FAILURE, "no place for the cache: set MIXTUNE_CACHE_DIR or HOME");
    return str_status(path);
}

enum mt_status runtime_folder(struct str *path) {
    const char *xdg = getenv("XDG_RUNTIME_DIR");
    struct stat info;
    str_clear(path);
    if (xdg && *xdg == '/' && is_folder(xdg))
        str_printf(path, "%s/mixtune", xdg);
    else
        str_printf(path, "/tmp/mixtune-%u", (unsigned)getuid());
    if (str_status(path) != MT_OK)
        return MT_FAILURE;
    if (mkdir(path->data, 0700) != 0 && errno != EEXIST)
        return file_fail("make the folder", path->data);
    /* In /tmp anybody may have made it, or a link of that name. */
    if (lstat(path->data, &info) != 0 || !S_ISDIR(info.st_mode) || info.st_uid != getuid() || (info.st_mode & 022) != 0)
        return fail(MT_FAILURE, "%s is not a folder of yours alone; remove it, or set MIXTUNE_CACHE_DIR to one that is",
                    path->data);
    return MT_OK;
}
