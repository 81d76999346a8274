#include "file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *kind_of(mode_t mode) {
    return S_ISDIR(mode) ? "a folder" : S_ISFIFO(mode) ? "a pipe" : S_ISSOCK(mode) ? "a socket" : "a device";
}

static enum mt_status check_file(const char *path, int fd, size_t most, enum mt_status bad) {
    struct stat info;
    if (fstat(fd, &info) != 0)
        return file_fail("read", path), bad;
    if (!S_ISREG(info.st_mode))
        return fail(bad, "%s is %s, and only a file is read; save what it holds in one", path, kind_of(info.st_mode));
    if ((uintmax_t)info.st_size > most)
        return fail(bad, "%s has %lld bytes, and at most %zu are read; is it the right file?", path,
                    (long long)info.st_size, most);
    return MT_OK;
}

/* A file that grows, or does not know its size, may have more. */
static enum mt_status read_all(const char *path, int fd, size_t most, enum mt_status bad, struct str *out) {
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
        status = read_all(path, fd, most, bad, out);
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
