#include "cubin.h"
#include <elf.h>
#include <limits.h>
#include <string.h>

/* Records of .nv.info: u8 format, u8 attribute, then a u16 value, or (format 4) a u16 size and as many bytes.
 * Those below hold the index of the kernel's symbol and a number; compare `ptxas -v`. */
enum { FORMAT_SIZED = 4, ATTRIBUTE_FRAME_SIZE = 0x11, ATTRIBUTE_MIN_STACK_SIZE = 0x12, ATTRIBUTE_REGISTERS = 0x2f };

/* The bytes that the driver keeps at the start of shared memory on sm_90 and later; ptxas counts them into
 * .nv.shared. */
#define RESERVED_SHARED 1024

/* More than any GPU has. */
enum { MOST_REGISTERS = 256, MOST_LOCAL = 1 << 20, MOST_SHARED = 1 << 20 };

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

/* What is no int becomes one that no kernel can have. */
static void raise_to(int *value, uint64_t other) {
    const int number = other > INT_MAX ? INT_MAX : (int)other;
    if (*value < number)
        *value = number;
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
            raise_to(&out->smem_static, section.sh_size);
    }
    if (out->registers == 0)
        return fail(MT_FAILURE, "the machine code holds no kernel");
    if (out->registers > MOST_REGISTERS || out->local_bytes > MOST_LOCAL || out->smem_static > MOST_SHARED)
        return fail(MT_FAILURE,
                    "the machine code asks for %d registers, %d bytes of stack and %d of shared memory: it is damaged",
                    out->registers, out->local_bytes, out->smem_static);
    if (reserves && out->smem_static >= RESERVED_SHARED)
        out->smem_static -= RESERVED_SHARED;
    return MT_OK;
}

/* ---- what lies within the file ---- */

static bool segments_within(const struct elf *elf) {
    const Elf64_Ehdr *h = &elf->header;
    bool good = h->e_phnum == 0 || h->e_phentsize == sizeof(Elf64_Phdr);
    for (unsigned i = 0; good && i < h->e_phnum; i++) {
        Elf64_Phdr segment; /* the table is within: elf_open() */
        memcpy(&segment, elf->data + h->e_phoff + i * sizeof segment, sizeof segment);
        good = segment.p_offset <= elf->size && segment.p_filesz <= elf->size - segment.p_offset;
    }
    return good;
}

/* A section number that a symbol may have. */
static bool is_section(const struct elf *elf, unsigned index) {
    return index < elf->header.e_shnum || index >= SHN_LORESERVE;
}

/* Whether a symbol is the kernel: a global function in the section that is named after it. */
static bool is_entry(const struct elf *elf, const Elf64_Sym *symbol, const char *name, const char *entry) {
    static const char text[] = ".text.";
    Elf64_Shdr code;
    if (strcmp(name, entry) != 0 || ELF64_ST_TYPE(symbol->st_info) != STT_FUNC ||
        ELF64_ST_BIND(symbol->st_info) != STB_GLOBAL || !section_at(elf, symbol->st_shndx, &code))
        return false;
    const char *section = section_name(elf, &code);
    return section && !strncmp(section, text, sizeof text - 1) && !strcmp(section + sizeof text - 1, entry) &&
           code.sh_type == SHT_PROGBITS && code.sh_flags & SHF_EXECINSTR && symbol->st_value <= code.sh_size &&
           symbol->st_size <= code.sh_size - symbol->st_value;
}

/* The names of all symbols, and the sections that they are in. */
static bool symbols_within(const struct elf *elf, const Elf64_Shdr *table, const char *entry, bool *found) {
    Elf64_Shdr names;
    if (table->sh_entsize != sizeof(Elf64_Sym) || table->sh_size % sizeof(Elf64_Sym) ||
        !section_at(elf, table->sh_link, &names) || names.sh_type != SHT_STRTAB || names.sh_size == 0)
        return false;
    const char *text = elf->data + names.sh_offset;
    if (text[names.sh_size - 1] != 0)
        return false;
    for (uint64_t i = 0; i < table->sh_size / sizeof(Elf64_Sym); i++) {
        Elf64_Sym symbol;
        memcpy(&symbol, elf->data + table->sh_offset + i * sizeof symbol, sizeof symbol);
        if (symbol.st_name >= names.sh_size || !is_section(elf, symbol.st_shndx))
            return false;
        *found = *found || is_entry(elf, &symbol, text + symbol.st_name, entry);
    }
    return true;
}

/* Each change of the code by its address lies in it, and is by a symbol that there is. */
static bool relocations_within(const struct elf *elf, const Elf64_Shdr *table) {
    Elf64_Shdr symbols, target;
    const size_t bytes = table->sh_type == SHT_RELA ? sizeof(Elf64_Rela) : sizeof(Elf64_Rel);
    if (table->sh_entsize != bytes || table->sh_size % bytes || !section_at(elf, table->sh_link, &symbols) ||
        symbols.sh_type != SHT_SYMTAB || !section_at(elf, table->sh_info, &target))
        return false;
    for (uint64_t i = 0; i < table->sh_size / bytes; i++) {
        Elf64_Rel one; /* the beginning of both */
        memcpy(&one, elf->data + table->sh_offset + i * bytes, sizeof one);
        if (one.r_offset >= target.sh_size || ELF64_R_SYM(one.r_info) >= symbols.sh_size / sizeof(Elf64_Sym))
            return false;
    }
    return true;
}

enum mt_status cubin_check(const void *cubin, size_t size, const char *entry) {
    struct elf elf;
    bool found = false;
    enum mt_status status = elf_open(&elf, cubin, size);
    if (status == MT_OK && !segments_within(&elf))
        status = fail_damaged();
    for (unsigned i = 0; status == MT_OK && i < elf.header.e_shnum; i++) {
        Elf64_Shdr section;
        const bool good =
            section_at(&elf, i, &section) && section_name(&elf, &section) &&
            (section.sh_type != SHT_SYMTAB || symbols_within(&elf, &section, entry, &found)) &&
            ((section.sh_type != SHT_REL && section.sh_type != SHT_RELA) || relocations_within(&elf, &section));
        status = good ? MT_OK : fail_damaged();
    }
    if (status == MT_OK && !found)
        status = fail(MT_FAILURE, "the machine code has no kernel %s", entry);
    return status;
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
