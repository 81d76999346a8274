#include "cubin.h"
#include <elf.h>
#include <string.h>

/* Records of .nv.info: u8 format, u8 attribute, then a u16 value, or (format 4) a u16 size and as many bytes.
 * Those below hold the index of the kernel's symbol and a number; compare `ptxas -v`. */
enum { FORMAT_SIZED = 4, ATTRIBUTE_FRAME_SIZE = 0x11, ATTRIBUTE_MIN_STACK_SIZE = 0x12, ATTRIBUTE_REGISTERS = 0x2f };

/* The bytes that the driver keeps at the start of shared memory on sm_90 and later; ptxas counts them into
 * .nv.shared. */
#define RESERVED_SHARED 1024

struct elf {
    const char *data;
    size_t size;
    Elf64_Ehdr header;
};

static enum mt_status fail_damaged(void) {
    return fail(MT_FAILURE, "the machine code is not a complete cubin");
}

static bool section_at(const struct elf *elf, unsigned index, Elf64_Shdr *out) {
    if (index >= elf->header.e_shnum || elf->header.e_shentsize != sizeof *out || elf->header.e_shoff > elf->size)
        return false;
    if ((elf->size - elf->header.e_shoff) / sizeof *out <= index)
        return false;
    memcpy(out, elf->data + elf->header.e_shoff + index * sizeof *out, sizeof *out);
    return out->sh_type == SHT_NOBITS || (out->sh_offset <= elf->size && out->sh_size <= elf->size - out->sh_offset);
}

/* Name of a section, NULL if the file is damaged. */
static const char *section_name(const struct elf *elf, const Elf64_Shdr *section) {
    Elf64_Shdr names;
    if (!section_at(elf, elf->header.e_shstrndx, &names) || names.sh_type != SHT_STRTAB || names.sh_size == 0)
        return NULL;
    const char *text = elf->data + names.sh_offset;
    return section->sh_name < names.sh_size && text[names.sh_size - 1] == 0 ? text + section->sh_name : NULL;
}

static enum mt_status elf_open(struct elf *elf, const void *cubin, size_t size) {
    *elf = (struct elf){.data = cubin, .size = size};
    if (size < sizeof elf->header || memcmp(cubin, ELFMAG, SELFMAG) != 0)
        return fail_damaged();
    memcpy(&elf->header, cubin, sizeof elf->header);
    const Elf64_Ehdr *h = &elf->header;
    bool segments = h->e_phoff <= size && (size - h->e_phoff) / sizeof(Elf64_Phdr) >= h->e_phnum;
    return h->e_ident[EI_CLASS] == ELFCLASS64 && segments ? MT_OK : fail_damaged();
}

static void raise_to(int *value, uint32_t other) {
    if (*value < (int)other)
        *value = (int)other;
}

static bool read_info(const char *data, size_t size, struct cubin_usage *out) {
    for (size_t at = 0; at + 4 <= size;) {
        uint8_t format = (uint8_t)data[at], attribute = (uint8_t)data[at + 1];
        uint16_t length = 0;
        if (format == FORMAT_SIZED)
            memcpy(&length, data + at + 2, sizeof length);
        at += 4;
        if (length > size - at)
            return false;
        uint32_t pair[2];
        if (length == sizeof pair) {
            memcpy(pair, data + at, sizeof pair);
            if (attribute == ATTRIBUTE_REGISTERS)
                raise_to(&out->registers, pair[1]);
            else if (attribute == ATTRIBUTE_FRAME_SIZE || attribute == ATTRIBUTE_MIN_STACK_SIZE)
                raise_to(&out->local_bytes, pair[1]);
        }
        at += length;
    }
    return true;
}

enum mt_status cubin_usage(const void *cubin, size_t size, struct cubin_usage *out) {
    static const char shared[] = ".nv.shared.", reserved[] = ".nv.shared.reserved.";
    struct elf elf;
    bool reserves = false;
    *out = (struct cubin_usage){0};
    enum mt_status status = elf_open(&elf, cubin, size);
    if (status != MT_OK)
        return status;
    for (unsigned i = 1; i < elf.header.e_shnum; i++) {
        Elf64_Shdr section;
        const char *name = section_at(&elf, i, &section) ? section_name(&elf, &section) : NULL;
        if (!name)
            return fail_damaged();
        bool info = strcmp(name, ".nv.info") == 0 && section.sh_type != SHT_NOBITS;
        if (info && !read_info(elf.data + section.sh_offset, section.sh_size, out))
            return fail_damaged();
        if (strncmp(name, reserved, sizeof reserved - 1) == 0)
            reserves = true;
        else if (strncmp(name, shared, sizeof shared - 1) == 0)
            raise_to(&out->smem_static, (uint32_t)section.sh_size);
    }
    if (out->registers == 0)
        return fail(MT_FAILURE, "the machine code holds no kernel");
    if (reserves && out->smem_static >= RESERVED_SHARED)
        out->smem_static -= RESERVED_SHARED;
    return MT_OK;
}

enum mt_status cubin_identify(const void *cubin, size_t size, struct cubin_ident *out) {
    struct elf elf;
    *out = (struct cubin_ident){0};
    enum mt_status status = elf_open(&elf, cubin, size);
    if (status != MT_OK)
        return status;
    out->version = elf.header.e_ident[EI_VERSION];
    out->abi = elf.header.e_ident[EI_ABIVERSION];
    for (unsigned i = 1; i < elf.header.e_shnum; i++) {
        Elf64_Shdr section;
        const char *name = section_at(&elf, i, &section) ? section_name(&elf, &section) : NULL;
        if (!name)
            return fail_damaged();
        if (strcmp(name, ".nv.compat") == 0 && section.sh_type != SHT_NOBITS) {
            out->compat = elf.data + section.sh_offset;
            out->compat_size = section.sh_size;
        }
    }
    return MT_OK;
}

enum mt_status cubin_visit_code(void *cubin, size_t size, void (*visit)(void *context, void *code, size_t size),
                                void *context) {
    struct elf elf;
    enum mt_status status = elf_open(&elf, cubin, size);
    for (unsigned i = 1; i < elf.header.e_shnum && !status; i++) {
        Elf64_Shdr section;
        if (!section_at(&elf, i, &section))
            status = fail_damaged();
        else if (section.sh_type != SHT_NOBITS && (section.sh_flags & SHF_EXECINSTR))
            visit(context, (char *)cubin + section.sh_offset, section.sh_size);
    }
    return status;
}
