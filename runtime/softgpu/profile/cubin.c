/* Registers and stack of the kernels in a cubin.
 *
 * A cubin is an ELF64 file. Its section ".nv.info" is a list of attributes {format, attribute, 16-bit value or size};
 * format 4 is followed by `size` bytes. EIATTR_REGCOUNT and EIATTR_FRAME_SIZE carry {symbol index, number}. */
#include "image.h"
#include "runtime/base/array.h"
#include "runtime/base/str.h"
#include <elf.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT_SIZED = 4, ATTRIBUTE_FRAME_SIZE = 0x11, ATTRIBUTE_REGCOUNT = 0x2f };

struct cubin {
    const uint8_t *data;
    size_t size;
    Elf64_Ehdr header;
};

static bool section_at(const struct cubin *c, size_t index, Elf64_Shdr *out) {
    size_t offset = c->header.e_shoff + index * sizeof *out;
    if (index >= c->header.e_shnum || offset > c->size || c->size - offset < sizeof *out)
        return false;
    memcpy(out, c->data + offset, sizeof *out);
    return out->sh_type == SHT_NOBITS || (out->sh_offset <= c->size && out->sh_size <= c->size - out->sh_offset);
}

/* A 0-terminated text in a string table; NULL if it is not inside. */
static const char *text_at(const struct cubin *c, const Elf64_Shdr *strings, size_t offset) {
    if (offset >= strings->sh_size || !memchr(c->data + strings->sh_offset + offset, 0, strings->sh_size - offset))
        return NULL;
    return (const char *)c->data + strings->sh_offset + offset;
}

static bool section_named(const struct cubin *c, const char *name, Elf64_Shdr *out) {
    Elf64_Shdr names;
    if (!section_at(c, c->header.e_shstrndx, &names) || names.sh_type != SHT_STRTAB)
        return false;
    for (size_t i = 1; i < c->header.e_shnum; i++) {
        const char *text = section_at(c, i, out) ? text_at(c, &names, out->sh_name) : NULL;
        if (text && !strcmp(text, name))
            return true;
    }
    return false;
}

static const char *symbol_name(const struct cubin *c, uint32_t index) {
    Elf64_Shdr symbols, strings;
    Elf64_Sym symbol;
    if (!section_named(c, ".symtab", &symbols) || index >= symbols.sh_size / sizeof symbol ||
        !section_at(c, symbols.sh_link, &strings) || strings.sh_type != SHT_STRTAB)
        return NULL;
    memcpy(&symbol, c->data + symbols.sh_offset + index * sizeof symbol, sizeof symbol);
    return text_at(c, &strings, symbol.st_name);
}

static struct dev_kernel_facts *facts_of(struct dev_image *image, const char *name) {
    for (size_t i = 0; i < image->fact_count; i++)
        if (!strcmp(image->facts[i].name, name))
            return &image->facts[i];
    array_grow(&image->facts, &image->fact_capacity, image->fact_count, sizeof *image->facts);
    struct dev_kernel_facts *made = &image->facts[image->fact_count++];
    *made = (struct dev_kernel_facts){.name = xstrdup(name)};
    return made;
}

bool dev_cubin_read(const uint8_t *elf, size_t size, struct dev_image *image) {
    struct cubin c = {.data = elf, .size = size};
    Elf64_Shdr info;
    if (size < sizeof c.header)
        return false;
    memcpy(&c.header, elf, sizeof c.header);
    if (memcmp(elf, ELFMAG, SELFMAG) || elf[EI_CLASS] != ELFCLASS64 || c.header.e_shentsize != sizeof info)
        return false;
    if (!section_named(&c, ".nv.info", &info))
        return false;
    const uint8_t *at = elf + info.sh_offset, *end = at + info.sh_size;
    while (end - at >= 4) {
        uint8_t format = at[0], attribute = at[1];
        uint16_t length;
        uint32_t pair[2];
        memcpy(&length, at + 2, sizeof length);
        at += 4;
        if (format != FORMAT_SIZED)
            continue;
        if (length > end - at)
            return false;
        bool wanted = attribute == ATTRIBUTE_REGCOUNT || attribute == ATTRIBUTE_FRAME_SIZE;
        if (wanted && length == sizeof pair) {
            memcpy(pair, at, sizeof pair);
            const char *name = symbol_name(&c, pair[0]);
            if (!name)
                return false;
            struct dev_kernel_facts *facts = facts_of(image, name);
            *(attribute == ATTRIBUTE_REGCOUNT ? &facts->registers : &facts->local_bytes) = pair[1];
        }
        at += length;
    }
    return image->fact_count > 0;
}
