#include "cache.h"
#include "images.h"
#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include "runtime/base/str.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

/* Larger than any kernel: what a damaged file may not exceed. */
#define LARGEST_IMAGE (256u << 20)

static const char magic[8] = "MTIMAGE";

/* The start of a file; the image follows, compressed with zstd. */
struct file_header {
    char magic[8];
    uint64_t checksum; /* XXH3 of all that follows this member */
    uint32_t version;
    int32_t registers, spill_bytes, smem_static;
    uint64_t size; /* of the image */
};

static uint64_t checksum(const char *file, size_t size) {
    size_t skip = offsetof(struct file_header, version);
    return XXH3_64bits(file + skip, size - skip);
}

static enum mt_status image_path(const char *hash, struct str *folder, struct str *path) {
    enum mt_status status = cache_folder(folder);
    if (status != MT_OK)
        return status;
    str_append(folder, "/" CACHE_KERNELS);
    str_printf(path, "%s/%s", folder->data, hash);
    return MT_OK;
}

static bool decode(const struct str *file, struct image *image) {
    struct file_header header;
    if (file->length < sizeof header)
        return false;
    memcpy(&header, file->data, sizeof header);
    if (memcmp(header.magic, magic, sizeof magic) != 0 || header.version != CACHE_VERSION ||
        header.checksum != checksum(file->data, file->length) || header.size > LARGEST_IMAGE)
        return false;
    void *data = xmalloc(header.size + 1);
    size_t got = ZSTD_decompress(data, header.size, file->data + sizeof header, file->length - sizeof header);
    if (ZSTD_isError(got) || got != header.size) {
        free(data);
        return false;
    }
    image->data = data;
    image->size = got;
    image->registers = header.registers;
    image->spill_bytes = header.spill_bytes;
    image->smem_static = header.smem_static;
    image->from_cache = true;
    image->seconds = 0;
    return true;
}

static bool load(const char *path, struct image *image) {
    struct str file = {0};
    bool found = false;
    if (access(path, F_OK) != 0)
        return false;
    if (file_read(path, &file) != MT_OK)
        log_warn("the cached kernel is not used: %s", fail_message());
    else if (!(found = decode(&file, image)))
        log_warn("the cached kernel %s is damaged and is compiled again", path);
    str_release(&file);
    return found;
}

/* The images that the user named come first. */
bool cache_load(const char *hash, struct image *image) {
    struct str folder = {0}, path = {0};
    bool found = false;
    if (images_used()) {
        str_printf(&path, "%s/" CACHE_KERNELS "/%s", images_used(), hash);
        found = load(path.data, image);
        str_clear(&path);
    }
    if (!found && image_path(hash, &folder, &path) == MT_OK)
        found = load(path.data, image);
    str_release(&folder);
    str_release(&path);
    return found;
}

void cache_store(const struct image *image) {
    struct str folder = {0}, path = {0}, file = {0};
    struct file_header header = {.version = CACHE_VERSION,
                                 .registers = image->registers,
                                 .spill_bytes = image->spill_bytes,
                                 .smem_static = image->smem_static,
                                 .size = image->size};
    memcpy(header.magic, magic, sizeof magic);
    size_t bound = ZSTD_compressBound(image->size);
    char *packed = xmalloc(bound);
    size_t size = ZSTD_compress(packed, bound, image->data, image->size, 3);
    enum mt_status status = ZSTD_isError(size) ? fail(MT_FAILURE, "zstd: %s", ZSTD_getErrorName(size)) : MT_OK;
    if (status == MT_OK) {
        str_append_bytes(&file, &header, sizeof header);
        str_append_bytes(&file, packed, size);
        header.checksum = checksum(file.data, file.length);
        memcpy(file.data, &header, sizeof header);
        status = image_path(image->hash, &folder, &path);
    }
    if (status == MT_OK)
        status = folder_make(folder.data);
    if (status == MT_OK)
        status = file_write_atomic(path.data, file.data, file.length);
    if (status != MT_OK)
        log_warn_once("cache", "compiled kernels are not kept in the cache: %s", fail_message());
    free(packed);
    str_release(&folder);
    str_release(&path);
    str_release(&file);
}
