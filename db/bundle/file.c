/* The bytes of a bundle: which files are taken at all. */
#include "runtime/base/file.h"
#include "private.h"
#include "runtime/base/memory.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sha2.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* Offsets in the header of an SQLite file (https://www.sqlite.org/fileformat.html), all big-endian. */
enum {
    PAGE_SIZE_AT = 16,
    WRITE_VERSION_AT = 18, /* this and the next: 1; 2 is a database with a log beside it */
    RESERVED_AT = 20,      /* bytes of each page */
    PAGE_COUNT_AT = 28,
    FREE_PAGES_AT = 36,
    LARGEST_ROOT_AT = 52, /* 0: no page maps */
    ENCODING_AT = 56,     /* 1: UTF-8 */
    USER_VERSION_AT = 60,
    APPLICATION_AT = 68,
    ROOT_AT = 100, /* what the first page is; behind the header of the file */
    HEADER_BYTES = 101,
    ROOT_LEAF = 13 /* all tables are described in this page: a few hundred at most, before anybody reads them */
};

static uint32_t big_endian(const unsigned char *at, int bytes) {
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | at[i];
    return value;
}

void bundle_digest(const void *data, size_t size, char out[BUNDLE_DIGEST_TEXT]) {
    _Static_assert(BUNDLE_DIGEST_TEXT == SHA256_DIGEST_STRING_LENGTH, "in hex");
    SHA256Data(data, size, out);
}

static enum mt_status header_check(const char *path, const unsigned char *header, size_t size) {
    if (size < HEADER_BYTES || memcmp(header, "SQLite format 3", 16) != 0 ||
        big_endian(header + APPLICATION_AT, 4) != BUNDLE_APPLICATION)
        return fail(MT_FAILURE, "%s is not a mixtune bundle: make one with `mixtune export`", path);
    const uint32_t version = big_endian(header + USER_VERSION_AT, 4), page = big_endian(header + PAGE_SIZE_AT, 2);
    if (version != BUNDLE_VERSION)
        return fail(MT_FAILURE,
                    "%s is a bundle of version %u, and this library reads version %d: export it again from its "
                    "database, with the `mixtune export` of this version",
                    path, (unsigned)version, BUNDLE_VERSION);
    const uint64_t whole = (uint64_t)(page == 1 ? 65536 : page) * big_endian(header + PAGE_COUNT_AT, 4);
    if (size < whole)
        return fail(MT_FAILURE, "%s is cut short: it has %zu of %llu bytes; copy it again", path, size,
                    (unsigned long long)whole);
    /* What SQLite makes of our tables; its other ways to store a database are more code that a file could aim at. */
    if (size != whole || page != BUNDLE_PAGE || header[ROOT_AT] != ROOT_LEAF ||
        big_endian(header + WRITE_VERSION_AT, 2) != 0x0101 || header[RESERVED_AT] != 0 ||
        big_endian(header + FREE_PAGES_AT, 4) != 0 || big_endian(header + LARGEST_ROOT_AT, 4) != 0 ||
        big_endian(header + ENCODING_AT, 4) != 1)
        return fail(MT_FAILURE,
                    "%s was changed or damaged: `mixtune export` does not write such a header; export it again", path);
    return MT_OK;
}

/* The size of a plain file that is open; MT_FAILURE for all else, which may have no end or wait for a writer. */
static enum mt_status size_check(const char *path, int fd, size_t *size) {
    struct stat info;
    if (fstat(fd, &info) != 0)
        return file_fail("read", path);
    if (!S_ISREG(info.st_mode))
        return fail(MT_FAILURE, "%s is not a file but %s: name a bundle that `mixtune export` wrote", path,
                    file_kind(info.st_mode));
    if (info.st_size > BUNDLE_MOST_BYTES)
        return fail(MT_FAILURE, "%s is not a mixtune bundle: it has %lld bytes, and a bundle at most %d", path,
                    (long long)info.st_size, BUNDLE_MOST_BYTES);
    *size = (size_t)info.st_size;
    return MT_OK;
}

/* Fills the bytes of `out` from `done` on, up to `size`. */
static enum mt_status read_to(const char *path, int fd, struct bundle_file *out, size_t done, size_t size) {
    while (done < size) {
        const ssize_t got = read(fd, out->data + done, size - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return file_fail("read", path);
        if (got == 0)
            return fail(MT_FAILURE, "%s is cut short: it has %zu of %zu bytes; copy it again", path, done, size);
        done += (size_t)got;
    }
    return MT_OK;
}

/* Of a file that anybody may have made the header comes first; where a digest is given, nothing before it. */
static enum mt_status bytes_read(const char *path, int fd, const char *sha256, struct bundle_file *out) {
    char digest[BUNDLE_DIGEST_TEXT];
    size_t first = 0;
    enum mt_status status = size_check(path, fd, &out->size);
    if (status == MT_OK && !(out->data = mem_alloc(out->size)))
        status = MT_FAILURE;
    if (status == MT_OK && !sha256) {
        first = out->size < HEADER_BYTES ? out->size : HEADER_BYTES;
        status = read_to(path, fd, out, 0, first);
        if (status == MT_OK)
            status = header_check(path, out->data, out->size);
    }
    if (status == MT_OK)
        status = read_to(path, fd, out, first, out->size);
    if (status != MT_OK || !sha256)
        return status;
    bundle_digest(out->data, out->size, digest);
    if (strcasecmp(digest, sha256) != 0)
        return fail(MT_FAILURE, "%s is not the bundle that is trusted: its SHA-256 is %s, not %s", path, digest,
                    sha256);
    return header_check(path, out->data, out->size);
}

static bool is_digest(const char *sha256) {
    size_t digits = 0;
    while (isxdigit((unsigned char)sha256[digits]))
        digits++;
    return digits == BUNDLE_DIGEST_TEXT - 1 && !sha256[digits];
}

enum mt_status bundle_file_read(const char *path, const char *sha256, struct bundle_file *out) {
    *out = (struct bundle_file){0};
    if (sha256 && !is_digest(sha256))
        return fail(MT_USAGE, "the SHA-256 that %s is to have is not 64 hex digits, as `sha256sum` prints them", path);
    /* Not to be waited for, whatever it is: a pipe has a writer some day. */
    const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return file_fail("open", path);
    enum mt_status status = bytes_read(path, fd, sha256, out);
    close(fd);
    if (status == MT_OK && !bundle_unseal(out->data, out->size))
        status =
            fail(MT_FAILURE, "%s was changed or damaged: its checksum does not match; copy or export it again", path);
    if (status != MT_OK) {
        free(out->data);
        *out = (struct bundle_file){0};
    }
    return status;
}
