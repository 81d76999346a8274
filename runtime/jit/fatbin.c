#include "fatbin.h"
#include "cubin.h"
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { KIND_PTX = 1, KIND_ELF = 2, OPTIONS_TEXT = 72 };
enum {
    FLAG_64BIT_CUDA = 0x11,
    FLAG_ARCH_SPECIFIC = 0x100000,
    FLAG_FAMILY_SPECIFIC = 0x200000,
    FLAG_COMPAT = 0x1000000
};

struct file_header {
    uint32_t magic;
    uint16_t version, header_size;
    uint64_t size;
};

struct entry_header {
    uint16_t kind, version;
    uint32_t header_size;
    uint64_t size;
    uint32_t compressed_size, options_offset;
    uint16_t minor, major;
    uint32_t arch;
    uint64_t name;
    uint64_t flags;
    uint64_t unused, raw_size;
};
_Static_assert(sizeof(struct file_header) == 16 && sizeof(struct entry_header) == 64, "as in the file");

static size_t pad8(size_t size) {
    return (size + 7) / 8 * 8;
}

static void append_padded(struct str *out, const void *data, size_t size) {
    str_append_bytes(out, data, size);
    str_append_bytes(out, "\0\0\0\0\0\0\0", pad8(size) - size);
}

/* `compat` (may be empty) goes behind the options, which are an empty text. Entries without either have
 * `options_offset` 0. */
static enum mt_status append_entry(struct str *out, struct entry_header header, const struct str *compat,
                                   const void *data, size_t size) {
    struct str extra = {0};
    if (header.options_offset > 0) {
        uint32_t numbers[2] = {OPTIONS_TEXT, (uint32_t)compat->length};
        str_append_bytes(&extra, numbers, sizeof numbers);
        str_append_bytes(&extra, "", 1);
        str_append_bytes(&extra, compat->data, compat->length);
    }
    header.version = 0x0101;
    header.header_size = (uint32_t)(sizeof header + pad8(extra.length));
    header.size = pad8(size);
    str_append_bytes(out, &header, sizeof header);
    append_padded(out, extra.data, extra.length);
    append_padded(out, data, size);
    enum mt_status status = str_status(&extra);
    str_release(&extra);
    return status;
}

bool fatbin_runs_on(const char *arch, int cc) {
    int number;
    char suffix = 0;
    if (sscanf(arch, "sm_%d%c", &number, &suffix) < 1 || cc < number)
        return false;
    return suffix == 'a' ? cc == number : suffix == 'f' ? cc / 10 == number / 10 : true;
}

enum mt_status fatbin_write(const char *arch, const void *cubin, size_t cubin_size, const char *ptx, struct str *out) {
    unsigned number, major, minor;
    char suffix = 0;
    if (sscanf(arch, "sm_%u%c", &number, &suffix) < 1)
        return fail(MT_FAILURE, "a fat binary cannot be written for the architecture '%s'; it should be like sm_80",
                    arch);
    const char *version = strstr(ptx, ".version ");
    if (!version || sscanf(version, ".version %u.%u", &major, &minor) != 2)
        return fail(MT_FAILURE, "the PTX for %s has no .version line", arch);
    struct cubin_ident ident;
    enum mt_status status = cubin_identify(cubin, cubin_size, &ident);
    if (status != MT_OK)
        return status;

    struct entry_header header = {.arch = number, .flags = FLAG_64BIT_CUDA};
    header.flags |= suffix == 'a' ? FLAG_ARCH_SPECIFIC : suffix == 'f' ? FLAG_FAMILY_SPECIFIC : 0;
    struct entry_header elf = header, text = header;
    elf.kind = KIND_ELF;
    elf.major = ident.version;
    elf.minor = ident.abi;
    struct str compat = {0};
    if (number >= 100 && ident.compat) {
        str_append_bytes(&compat, ident.compat, ident.compat_size);
        elf.flags |= FLAG_COMPAT;
        elf.options_offset = sizeof elf;
    }
    text.kind = KIND_PTX;
    text.major = (uint16_t)major;
    text.minor = (uint16_t)minor;
    text.options_offset = sizeof text;

    size_t start = out->length;
    struct file_header file = {.magic = 0xba55ed50, .version = 1, .header_size = sizeof file};
    str_append_bytes(out, &file, sizeof file);
    status = str_status(&compat);
    if (status == MT_OK)
        status = append_entry(out, elf, &compat, cubin, cubin_size);
    if (status == MT_OK)
        status = append_entry(out, text, &(struct str){0}, ptx, strlen(ptx) + 1);
    str_release(&compat);
    if (status == MT_OK)
        status = str_status(out);
    if (status != MT_OK)
        return status;
    file.size = out->length - start - sizeof file;
    memcpy(out->data + start, &file, sizeof file);
    return MT_OK;
}

const void *fatbin_cubin(const void *fatbin, size_t size, size_t *cubin_size) {
    const char *bytes = fatbin;
    struct entry_header entry;
    for (size_t at = sizeof(struct file_header); at + sizeof entry <= size; at += entry.header_size + entry.size) {
        memcpy(&entry, bytes + at, sizeof entry);
        if (entry.header_size > size - at || entry.size > size - at - entry.header_size)
            break;
        if (entry.kind != KIND_ELF)
            continue;
        *cubin_size = (size_t)entry.size;
        return bytes + at + entry.header_size;
    }
    return NULL;
}

/* ---- what somebody else wrote ---- */

static enum mt_status fail_foreign(void) {
    return fail(MT_FAILURE, "the bytes are no fat binary as `mixtune export` writes them");
}

/* The payload of the entry at `*at`, which is of `kind`; moves on to the next one. NULL if it is not within. */
static const char *entry_next(const char *bytes, size_t size, size_t *at, int kind, size_t *payload) {
    struct entry_header entry;
    if (*at > size || size - *at < sizeof entry)
        return NULL;
    memcpy(&entry, bytes + *at, sizeof entry);
    const size_t room = size - *at;
    if (entry.kind != kind || entry.header_size < sizeof entry || entry.header_size > room ||
        entry.size > room - entry.header_size)
        return NULL;
    const char *data = bytes + *at + entry.header_size;
    *payload = (size_t)entry.size;
    *at += entry.header_size + (size_t)entry.size;
    return data;
}

/* Whether the text declares the kernel, for that architecture. */
static bool ptx_has(const char *ptx, const char *arch, const char *entry) {
    const size_t length = strlen(entry);
    const char *target = strstr(ptx, "\n.target ");
    bool found = false;
    if (!target || strncmp(target + strlen("\n.target "), arch, strlen(arch)) != 0)
        return false;
    for (const char *at = strstr(ptx, ".entry "); at && !found; at = strstr(at, ".entry ")) {
        at += strlen(".entry ");
        found = !strncmp(at, entry, length) && strchr("( \n", at[length]);
    }
    return found;
}

/* The name of the first kernel of a text, "" if it has none. */
static void first_entry(const char *ptx, char out[256]) {
    const char *at = strstr(ptx, ".entry ");
    const size_t length = at ? strcspn(at += strlen(".entry "), "( \n") : 0;
    out[0] = 0;
    if (at && length < 256) {
        memcpy(out, at, length);
        out[length] = 0;
    }
}

/* Written once more from its two parts, so that every byte beside them is one of ours. */
enum mt_status fatbin_check(const void *fatbin, size_t size, const char *arch, const char *entry,
                            struct cubin_usage *usage) {
    const char *bytes = fatbin;
    size_t at = sizeof(struct file_header), cubin_size = 0, ptx_size = 0;
    struct str again = {0};
    char first[256];
    const char *cubin = entry_next(bytes, size, &at, KIND_ELF, &cubin_size);
    const char *ptx = cubin ? entry_next(bytes, size, &at, KIND_PTX, &ptx_size) : NULL;
    if (!ptx || at != size || !memchr(ptx, 0, ptx_size))
        return fail_foreign();
    if (!entry) {
        first_entry(ptx, first);
        entry = first;
    }
    enum mt_status status = cubin_check(cubin, cubin_size, entry);
    if (status == MT_OK)
        status = cubin_usage(cubin, cubin_size, usage);
    if (status == MT_OK && !ptx_has(ptx, arch, entry))
        status = fail(MT_FAILURE, "its PTX has no kernel %s for %s", entry, arch);
    if (status == MT_OK)
        status = fatbin_write(arch, cubin, cubin_size, ptx, &again);
    if (status == MT_OK && (again.length != size || memcmp(again.data, fatbin, size) != 0))
        status = fail_foreign();
    str_release(&again);
    return status;
}
