/* Registers, stack and machine code of the kernels in a cubin.
 *
 * A cubin is an ELF64 file. Its section ".nv.info" is a list of attributes {format, attribute, 16-bit value or size};
 * format 4 is followed by `size` bytes. EIATTR_REGCOUNT and EIATTR_FRAME_SIZE carry {symbol index, number}. */
#include "image.h"
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

/* One that has its bytes in the file. */
static bool section_at(const struct cubin *c, size_t index, Elf64_Shdr *out) {
    size_t offset = c->header.e_shoff + index * sizeof *out;
    if (index >= c->header.e_shnum || offset > c->size || c->size - offset < sizeof *out)
        return false;
    memcpy(out, c->data + offset, sizeof *out);
    return out->sh_type != SHT_NOBITS && out->sh_offset <= c->size && out->sh_size <= c->size - out->sh_offset;
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

struct symbols {
    Elf64_Shdr table, strings;
    uint32_t count;
};

static bool symbols_find(const struct cubin *c, struct symbols *out) {
    if (!section_named(c, ".symtab", &out->table) || out->table.sh_type != SHT_SYMTAB ||
        !section_at(c, out->table.sh_link, &out->strings) || out->strings.sh_type != SHT_STRTAB ||
        out->table.sh_size / sizeof(Elf64_Sym) > UINT32_MAX)
        return false;
    out->count = (uint32_t)(out->table.sh_size / sizeof(Elf64_Sym));
    return true;
}

/* Facts by the number of the kernel's symbol; without a name there are none. */
struct reader {
    struct cubin cubin;
    struct symbols symbols;
    struct dev_kernel_facts *of;
};

static struct dev_kernel_facts *facts_of(struct reader *r, uint32_t symbol) {
    if (symbol >= r->symbols.count)
        return NULL;
    struct dev_kernel_facts *facts = &r->of[symbol];
    Elf64_Sym s;
    memcpy(&s, r->cubin.data + r->symbols.table.sh_offset + symbol * sizeof s, sizeof s);
    const char *name = facts->name ? NULL : text_at(&r->cubin, &r->symbols.strings, s.st_name);
    if (name)
        facts->name = xstrdup(name);
    return facts->name ? facts : NULL;
}

static bool attributes_read(struct reader *r, const uint8_t *at, const uint8_t *end) {
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
            struct dev_kernel_facts *facts = facts_of(r, pair[0]);
            if (!facts)
                return false;
            *(attribute == ATTRIBUTE_REGCOUNT ? &facts->registers : &facts->local_bytes) = pair[1];
        }
        at += length;
    }
    return true;
}

/* A kernel's code is a section ".text.NAME"; the lower 24 bits of its sh_info are the kernel's symbol. */
static void code_read(struct reader *r) {
    const struct cubin *c = &r->cubin;
    Elf64_Shdr names, section;
    if (!section_at(c, c->header.e_shstrndx, &names) || names.sh_type != SHT_STRTAB)
        return;
    for (size_t i = 1; i < c->header.e_shnum; i++) {
        const char *name = section_at(c, i, &section) ? text_at(c, &names, section.sh_name) : NULL;
        if (!name || strncmp(name, ".text.", 6) != 0 || section.sh_type != SHT_PROGBITS)
            continue;
        const uint32_t symbol = section.sh_info & 0xffffff;
        struct dev_kernel_facts *facts = symbol < r->symbols.count && r->of[symbol].name ? &r->of[symbol] : NULL;
        if (!facts || facts->code || !section.sh_size)
            continue;
        facts->code_bytes = section.sh_size;
        facts->code = xmalloc(facts->code_bytes);
        memcpy(facts->code, c->data + section.sh_offset, facts->code_bytes);
    }
}

int dev_kernel_facts_by_name(const void *a, const void *b) {
    return strcmp(((const struct dev_kernel_facts *)a)->name, ((const struct dev_kernel_facts *)b)->name);
}

bool dev_cubin_read(const uint8_t *elf, size_t size, struct dev_image *image) {
    struct reader r = {.cubin = {.data = elf, .size = size}};
    struct cubin *c = &r.cubin;
    Elf64_Shdr info;
    if (size < sizeof c->header)
        return false;
    memcpy(&c->header, elf, sizeof c->header);
    if (memcmp(elf, ELFMAG, SELFMAG) || elf[EI_CLASS] != ELFCLASS64 || c->header.e_shentsize != sizeof info)
        return false;
    if (!section_named(c, ".nv.info", &info) || info.sh_type == SHT_NOBITS || !symbols_find(c, &r.symbols))
        return false;
    r.of = xcalloc((size_t)r.symbols.count + 1, sizeof *r.of);
    const bool good = attributes_read(&r, elf + info.sh_offset, elf + info.sh_offset + info.sh_size);
    if (good)
        code_read(&r);
    for (uint32_t k = 0; k < r.symbols.count; k++) /* those without a name go */
        if (r.of[k].name)
            r.of[image->fact_count++] = r.of[k];
    image->facts = r.of;
    qsort(image->facts, image->fact_count, sizeof *image->facts, dev_kernel_facts_by_name);
    return good && image->fact_count > 0;
}
