/* Fat binaries: a 16-byte header {magic, version, header size, bytes that follow}, then entries, each with a header
 * {kind, version, header size, payload size padded, payload size when compressed, ..., architecture, ..., flags,
 * ..., size when unpacked}. Compare the output of the toolkit's `fatbinary`. */
#include "image.h"
#include "runtime/base/str.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FATBIN_MAGIC = (int)0xBA55ED50, WRAPPER_MAGIC = 0x466243b1, FATBIN_VERSION = 1 };
enum { KIND_PTX = 1, KIND_CUBIN = 2 };
enum { FLAG_LZ4 = 0x2000, FLAG_ZSTD = 0x8000 };
enum { UNPACKED_LIMIT = 1 << 28 };
#define FAT_LIMIT ((uint64_t)1 << 40) /* of what is believed of the bytes that follow */

struct fat_header {
    uint32_t magic;
    uint16_t version, header_size;
    uint64_t size;
};

struct fat_entry {
    uint16_t kind, version;
    uint32_t header_size;
    uint64_t padded_size;
    uint32_t packed_size, options_offset;
    uint16_t minor, major;
    uint32_t arch, name_offset, name_length;
    uint64_t flags, reserved, unpacked_size;
};

struct wrapper {
    uint32_t magic, version;
    const void *data, *unused;
};

struct choice {
    struct fat_entry entry;
    const uint8_t *payload;
};

void dev_image_release(struct dev_image *image) {
    for (size_t i = 0; i < image->fact_count; i++) {
        free(image->facts[i].name);
        free(image->facts[i].code);
    }
    free(image->facts);
    free(image->ptx);
    *image = (struct dev_image){0};
}

const struct dev_kernel_facts *dev_image_facts(const struct dev_image *image, const char *kernel) {
    const struct dev_kernel_facts wanted = {.name = (char *)(uintptr_t)kernel};
    return image->fact_count
               ? bsearch(&wanted, image->facts, image->fact_count, sizeof wanted, dev_kernel_facts_by_name)
               : NULL;
}

/* The word after `directive` at the start of a line; false if it is not there, or longer than `out`. */
static bool directive_word(const char *text, const char *directive, char *out, size_t size) {
    size_t length = strlen(directive);
    for (const char *at = strstr(text, directive); at; at = strstr(at + length, directive)) {
        if ((at != text && at[-1] != '\n') || !isspace((unsigned char)at[length]))
            continue;
        at += length;
        while (*at == ' ' || *at == '\t')
            at++;
        size_t count = strcspn(at, ", \t\r\n");
        snprintf(out, size, "%.*s", (int)count, at);
        return count > 0 && count < size;
    }
    return false;
}

/* "sm_90a" compiles for 9.0 only, "sm_100f" for its family (10.x), "sm_80" for everything from 8.0 on. */
static bool target_fits(const char *target, unsigned cc) {
    char kind = 0;
    unsigned number = 0;
    if (sscanf(target, "sm_%u%c", &number, &kind) < 1)
        return false;
    return kind == 'a' ? number == cc : kind == 'f' ? number <= cc && number / 10 == cc / 10 : number <= cc;
}

/* Takes over `ptx`. */
static CUresult text_adopt(struct dev_image *out, char *ptx, unsigned cc, char *error, size_t size) {
    char version[16] = "";
    unsigned major = 0, minor = 0;
    out->ptx = ptx;
    out->ptx_length = strlen(ptx);
    if (!directive_word(ptx, ".version", version, sizeof version) || sscanf(version, "%u.%u", &major, &minor) != 2 ||
        !directive_word(ptx, ".target", out->target, sizeof out->target)) {
        snprintf(error, size, "the image is neither a fat binary, nor a cubin, nor PTX with .version and .target");
        return CUDA_ERROR_INVALID_IMAGE;
    }
    out->version = major * 10 + minor;
    if (!target_fits(out->target, cc)) {
        snprintf(error, size,
                 "the PTX is for %s and this device is sm_%u: compile it for an architecture that the device has",
                 out->target, cc);
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    }
    return CUDA_SUCCESS;
}

/* A 0-terminated copy of an entry's payload; NULL if it is damaged or packed in an unknown way. */
static uint8_t *payload_copy(const struct choice *c, size_t *size, const char **why) {
    const struct fat_entry *e = &c->entry;
    bool packed = e->flags & (FLAG_LZ4 | FLAG_ZSTD);
    *size = packed ? e->unpacked_size : e->padded_size;
    *why = "it is damaged";
    if ((packed && (e->packed_size > e->padded_size || e->header_size < sizeof *e)) || *size > UNPACKED_LIMIT)
        return NULL;
    if (!packed && e->packed_size) {
        *why = "it is compressed in a way other than zstd and LZ4; build with --no-compress";
        return NULL;
    }
    uint8_t *out = xmalloc(*size + 1);
    out[*size] = 0;
    bool good = true;
    if (!packed)
        memcpy(out, c->payload, *size);
    else if (e->flags & FLAG_ZSTD)
        good = dev_unpack_zstd(c->payload, e->packed_size, out, *size);
    else
        good = dev_unpack_lz4(c->payload, e->packed_size, out, *size);
    if (good)
        return out;
    free(out);
    return NULL;
}

/* Chooses among the entries: the newest PTX that is not newer than the device, the cubin nearest to it. */
static bool entries_scan(const uint8_t *at, const uint8_t *end, unsigned cc, struct choice *ptx, struct choice *cubin) {
    while ((size_t)(end - at) >= offsetof(struct fat_entry, reserved)) {
        struct fat_entry e = {0};
        memcpy(&e, at, (size_t)(end - at) < sizeof e ? (size_t)(end - at) : sizeof e);
        if (e.header_size < offsetof(struct fat_entry, reserved) || e.header_size > (size_t)(end - at) ||
            e.padded_size > (size_t)(end - at) - e.header_size)
            return false;
        struct choice *best = e.kind == KIND_PTX ? ptx : e.kind == KIND_CUBIN ? cubin : NULL;
        if (best && (!best->payload || (e.arch <= cc && (e.arch > best->entry.arch || best->entry.arch > cc))))
            *best = (struct choice){e, at + e.header_size};
        at += e.header_size + e.padded_size;
    }
    return at == end;
}

static CUresult fat_read(const uint8_t *data, unsigned cc, struct dev_image *out, char *error, size_t error_size) {
    struct fat_header h;
    struct choice ptx = {0}, cubin = {0};
    const char *why = "";
    size_t size;
    memcpy(&h, data, sizeof h);
    if (h.version != FATBIN_VERSION || h.header_size < sizeof h || h.size > FAT_LIMIT ||
        !entries_scan(data + h.header_size, data + h.header_size + h.size, cc, &ptx, &cubin)) {
        snprintf(error, error_size, "the fat binary is damaged or of a version other than %d", FATBIN_VERSION);
        return CUDA_ERROR_INVALID_IMAGE;
    }
    if (!ptx.payload) {
        snprintf(error, error_size, "this device runs PTX and the fat binary has none: build it with code=compute_%u",
                 cc);
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    }
    char *text = (char *)payload_copy(&ptx, &size, &why);
    if (!text) {
        snprintf(error, error_size, "the PTX of the fat binary cannot be read: %s", why);
        return CUDA_ERROR_INVALID_IMAGE;
    }
    CUresult result = text_adopt(out, text, cc, error, error_size);
    if (result != CUDA_SUCCESS || !cubin.payload)
        return result;
    uint8_t *elf = payload_copy(&cubin, &size, &why);
    bool good = elf && dev_cubin_read(elf, size, out);
    free(elf);
    if (!good) {
        snprintf(error, error_size, "the cubin of the fat binary cannot be read: %s", why);
        return CUDA_ERROR_INVALID_IMAGE;
    }
    out->cubin_arch = cubin.entry.arch;
    return CUDA_SUCCESS;
}

CUresult dev_image_read(const void *data, unsigned cc, struct dev_image *out, char *error, size_t error_size) {
    uint32_t magic;
    *out = (struct dev_image){0};
    /* A text may be shorter than four bytes, so its end is looked for first. */
    if (!memchr(data, 0, sizeof magic)) {
        memcpy(&magic, data, sizeof magic);
    } else {
        magic = 0;
    }
    if (magic == WRAPPER_MAGIC) {
        struct wrapper w;
        memcpy(&w, data, sizeof w);
        data = w.data;
        memcpy(&magic, data, sizeof magic);
    }
    CUresult result;
    if (magic == (uint32_t)FATBIN_MAGIC) {
        result = fat_read(data, cc, out, error, error_size);
    } else if (magic && !memcmp(data, "\177ELF", 4)) {
        snprintf(error, error_size,
                 "this device runs PTX and the image is a cubin alone: give it the PTX or a fat binary");
        result = CUDA_ERROR_NO_BINARY_FOR_GPU;
    } else {
        result = text_adopt(out, xstrdup(data), cc, error, error_size);
    }
    if (result != CUDA_SUCCESS)
        dev_image_release(out);
    return result;
}
