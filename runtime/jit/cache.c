#include "cache.h"
#include "images.h"
#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include "runtime/base/str.h"
#include "trusted.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>
#include <zstd_errors.h>

/* Larger than any kernel, and than what is said of one: what a damaged file may not exceed. */
enum { LARGEST_IMAGE = 256 << 20, LARGEST_WHAT = 1 << 20, MOST_SHARED = 1 << 20, MOST_SPILLED = 1 << 24 };

static const char magic[8] = "MTIMAGE";

/* The start of a file; `what_size` bytes that the key stands for and the image, compressed with zstd, follow. */
struct file_header {
    char magic[8];
    uint64_t checksum; /* XXH3 of all that follows this member */
    uint32_t version;
    int32_t registers, spill_bytes, smem_static;
    uint64_t size; /* of the image */
    char hash[32]; /* the name of the file */
    uint64_t what_size;
};
_Static_assert(sizeof(struct file_header) == 80, "without gaps");

static uint64_t checksum(const char *file, size_t size) {
    size_t skip = offsetof(struct file_header, version);
    return XXH3_64bits(file + skip, size - skip);
}

/* ---- loading ---- */

static bool is_good(const struct file_header *h, const struct str *file, const char *hash, const struct str *what) {
    const size_t room = file->length - sizeof *h;
    return !memcmp(h->magic, magic, sizeof magic) && h->version == CACHE_VERSION &&
           h->checksum == checksum(file->data, file->length) && !strncmp(h->hash, hash, sizeof h->hash) &&
           h->what_size == what->length && h->what_size <= room &&
           !memcmp(file->data + sizeof *h, str_text(what), what->length) && h->size <= LARGEST_IMAGE &&
           h->registers >= 0 && h->registers <= 255 && h->spill_bytes >= 0 && h->spill_bytes <= MOST_SPILLED &&
           h->smem_static >= 0 && h->smem_static <= MOST_SHARED &&
           ZSTD_getFrameContentSize(file->data + sizeof *h + what->length, room - what->length) == h->size;
}

static enum mt_status decode(const struct str *file, const char *hash, const struct str *what, struct image *image,
                             bool *found) {
    struct file_header header;
    if (file->length < sizeof header)
        return MT_OK;
    memcpy(&header, file->data, sizeof header);
    if (!is_good(&header, file, hash, what))
        return MT_OK;
    void *data = mem_alloc(header.size + 1);
    if (!data)
        return MT_FAILURE;
    const size_t skip = sizeof header + what->length;
    const size_t got = ZSTD_decompress(data, header.size, file->data + skip, file->length - skip);
    if (ZSTD_isError(got) || got != header.size) {
        free(data);
        return ZSTD_getErrorCode(got) == ZSTD_error_memory_allocation ? memory_short(header.size) : MT_OK;
    }
    image->data = data;
    image->size = got;
    image->registers = header.registers;
    image->spill_bytes = header.spill_bytes;
    image->smem_static = header.smem_static;
    image->from_cache = true;
    image->seconds = 0;
    *found = true;
    return MT_OK;
}

/* What is wrong is told once, and the kernel is compiled; not so where memory is short. */
static enum mt_status pass_over(enum mt_status status, const struct str *path) {
    if (str_status(path) != MT_OK)
        return MT_FAILURE;
    if (status != MT_OK)
        log_warn_once(path->data, "compiled kernels there are not used: %s", fail_message());
    return MT_OK;
}

static enum mt_status load_file(int kernels, const char *hash, const struct str *what, const struct str *path,
                                struct image *image, bool *found) {
    struct str file = {0};
    bool there = false;
    enum mt_status status = str_status(path);
    if (status == MT_OK)
        status = trusted_read(kernels, hash, path->data, LARGEST_IMAGE + LARGEST_WHAT, &file, &there);
    if (status != MT_OK && !file.failed)
        status = pass_over(status, path);
    else if (status == MT_OK && there) {
        status = decode(&file, hash, what, image, found);
        if (status == MT_OK && !*found)
            log_warn("the cached kernel %s is damaged, or is not of that name, and is compiled again", path->data);
    }
    str_release(&file);
    return status;
}

/* `path` is of the folder, which may be missing, and then of what is in it. */
static enum mt_status load_from(struct str *path, const char *hash, const struct str *what, struct image *image,
                                bool *found) {
    int folder = -1, kernels = -1;
    enum mt_status status = str_status(path);
    if (status == MT_OK)
        status = pass_over(trusted_folder(AT_FDCWD, path->data, path->data, &folder), path);
    str_append(path, "/" CACHE_KERNELS);
    if (status == MT_OK && folder >= 0)
        status = pass_over(trusted_folder(folder, CACHE_KERNELS, str_text(path), &kernels), path);
    str_printf(path, "/%s", hash);
    if (status == MT_OK && kernels >= 0)
        status = load_file(kernels, hash, what, path, image, found);
    if (kernels >= 0)
        close(kernels);
    if (folder >= 0)
        close(folder);
    return status;
}

/* The images that the user named come first. */
enum mt_status cache_load(const char *hash, const struct str *what, struct image *image, bool *found) {
    struct str path = {0};
    enum mt_status status = str_status(what);
    *found = false;
    if (status == MT_OK && images_used()) {
        str_append(&path, images_used());
        status = load_from(&path, hash, what, image, found);
        str_clear(&path);
    }
    if (status == MT_OK && !*found && cache_folder(&path) == MT_OK)
        status = load_from(&path, hash, what, image, found);
    if (path.failed)
        status = str_status(&path);
    str_release(&path);
    return status;
}

/* ---- storing ---- */

static enum mt_status encode(const struct image *image, const struct str *what, struct str *file) {
    struct file_header header = {.version = CACHE_VERSION,
                                 .registers = image->registers,
                                 .spill_bytes = image->spill_bytes,
                                 .smem_static = image->smem_static,
                                 .size = image->size,
                                 .what_size = what->length};
    memcpy(header.magic, magic, sizeof magic);
    memcpy(header.hash, image->hash, strnlen(image->hash, sizeof header.hash));
    const size_t bound = ZSTD_compressBound(image->size);
    str_append_bytes(file, &header, sizeof header);
    str_append_bytes(file, str_text(what), what->length);
    if (str_status(what) || !str_reserve(file, bound))
        return str_status(what) ? MT_FAILURE : str_status(file);
    const size_t size = ZSTD_compress(file->data + file->length, bound, image->data, image->size, 3);
    if (ZSTD_isError(size))
        return fail(MT_FAILURE, "zstd: %s", ZSTD_getErrorName(size));
    file->length += size;
    header.checksum = checksum(file->data, file->length);
    memcpy(file->data, &header, sizeof header);
    return MT_OK;
}

/* Its parents as they come, for they are not mixtune's. */
static enum mt_status make_parents(const char *path) {
    char *parent = mem_text(path);
    if (!parent)
        return MT_FAILURE;
    size_t length = strlen(parent);
    while (length > 1 && parent[length - 1] == '/')
        parent[--length] = 0;
    char *slash = strrchr(parent, '/');
    if (slash)
        *slash = 0;
    enum mt_status status = slash && *parent ? folder_make(parent) : MT_OK;
    free(parent);
    return status;
}

enum mt_status cache_make(struct str *path) {
    enum mt_status status = cache_folder(path);
    struct stat info;
    if (status != MT_OK || (stat(path->data, &info) == 0 && S_ISDIR(info.st_mode)))
        return status;
    status = make_parents(path->data);
    if (status == MT_OK && mkdir(path->data, 0700) != 0 && errno != EEXIST)
        status = file_fail("make the folder", path->data);
    return status;
}

/* Opens kernels/, to which `path` leads then, and makes it where it is missing. */
static enum mt_status open_kernels(struct str *path, int *kernels) {
    int folder = -1;
    *kernels = -1;
    enum mt_status status = cache_make(path);
    if (status == MT_OK)
        status = trusted_folder(AT_FDCWD, path->data, path->data, &folder);
    if (status == MT_OK && folder < 0) {
        errno = ENOTDIR;
        status = file_fail("make the folder", path->data);
    }
    str_append(path, "/" CACHE_KERNELS);
    if (status == MT_OK)
        status = str_status(path);
    const bool made = status == MT_OK && mkdirat(folder, CACHE_KERNELS, 0700) == 0;
    const int error = errno;
    if (status == MT_OK)
        status = trusted_folder(folder, CACHE_KERNELS, path->data, kernels);
    if (status == MT_OK && *kernels < 0 && !made) {
        errno = error == EEXIST ? ENOTDIR : error;
        status = file_fail("make the folder", path->data);
    }
    if (folder >= 0)
        close(folder);
    return status;
}

void cache_store(const struct image *image, const struct str *what) {
    struct str path = {0}, file = {0};
    int kernels = -1;
    enum mt_status status = encode(image, what, &file);
    if (status == MT_OK)
        status = open_kernels(&path, &kernels);
    str_printf(&path, "/%s", image->hash);
    if (status == MT_OK)
        status = str_status(&path);
    if (status == MT_OK)
        status = trusted_write(kernels, image->hash, path.data, file.data, file.length);
    if (status != MT_OK)
        log_warn_once("cache", "compiled kernels are not kept in the cache: %s", fail_message());
    if (kernels >= 0)
        close(kernels);
    str_release(&path);
    str_release(&file);
}
