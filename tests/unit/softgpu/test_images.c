/* Kernel images: which PTX of a fat binary a device takes, what it refuses, and the facts that it reads off a cubin. */
#include "runtime/softgpu/profile/image.h"
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
/* after the above */
#include <cmocka.h>

#define PTX(target) ".version 8.3\n.target " target "\n.address_size 64\n.entry k() { ret; }\n"

static void check_text(const char *text, unsigned cc, CUresult want, const char *sentence) {
    struct dev_image image;
    char error[512] = "";
    const CUresult result = dev_image_read(text, cc, &image, error, sizeof error);
    if (result != want || !strstr(error, sentence))
        fail_msg("'%.60s' on sm_%u gives %d, '%s'", text, cc, result, error);
    assert_true((image.ptx != NULL) == (want == CUDA_SUCCESS));
    dev_image_release(&image);
}

/* sm_80 runs on all that is not older, sm_90a on 9.0 alone, sm_100f on 10.x. */
static void test_targets(void **state) {
    (void)state;
    static const struct {
        const char *text;
        unsigned cc;
        bool fits;
    } cases[] = {
        {PTX("sm_80"), 80, true},        {PTX("sm_80"), 86, true},     {PTX("sm_80"), 103, true},
        {PTX("sm_86"), 80, false},       {PTX("sm_52"), 80, true},     {PTX("sm_90"), 89, false},
        {PTX("sm_90"), 90, true},        {PTX("sm_90a"), 90, true},    {PTX("sm_90a"), 80, false},
        {PTX("sm_90a"), 100, false},     {PTX("sm_90a"), 93, false},   {PTX("sm_100f"), 100, true},
        {PTX("sm_100f"), 103, true},     {PTX("sm_100f"), 110, false}, {PTX("sm_103f"), 100, false},
        {PTX("sm_100f"), 99, false},     {PTX("sm_100"), 110, true},   {PTX("compute_80"), 80, false},
        {PTX("sm_80, debug"), 80, true}, {PTX("sm_"), 80, false},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        check_text(cases[k].text, cases[k].cc, cases[k].fits ? CUDA_SUCCESS : CUDA_ERROR_NO_BINARY_FOR_GPU,
                   cases[k].fits ? "" : "compile it for an architecture that the device has");
    check_text(PTX("sm_90a"), 89, CUDA_ERROR_NO_BINARY_FOR_GPU,
               "the PTX is for sm_90a and this device is sm_89: compile it");
    static const char *const none[] = {"",
                                       "x",
                                       "PTX",
                                       ".target sm_80\n.entry k() { ret; }\n",
                                       ".version 8.3\n.entry k() { ret; }\n",
                                       ".version\n.target sm_80\n",
                                       ".version x\n.target sm_80\n",
                                       ".version 8\n.target sm_80\n",
                                       ".versions 8.3\n.target sm_80\n",
                                       ".version 8.3\n.target\n",
                                       " .version 8.3\n.target sm_80\n"};
    for (size_t k = 0; k < sizeof none / sizeof *none; k++)
        check_text(none[k], 80, CUDA_ERROR_INVALID_IMAGE,
                   "the image is neither a fat binary, nor a cubin, nor PTX with .version and .target");
    check_text("// .version 7.0\n.version \t8.3\n// .target sm_99\n.target\tsm_80\r\n", 80, CUDA_SUCCESS, "");
}

static void test_facts_of_text(void **state) {
    (void)state;
    struct dev_image image;
    char error[512];
    assert_int_equal(dev_image_read(PTX("sm_90a"), 90, &image, error, sizeof error), CUDA_SUCCESS);
    assert_string_equal(image.target, "sm_90a");
    assert_int_equal(image.version, 83);
    assert_int_equal(image.cubin_arch, 0);
    assert_string_equal(image.ptx, PTX("sm_90a"));
    assert_int_equal(image.ptx_length, strlen(PTX("sm_90a")));
    assert_null(dev_image_facts(&image, "k"));
    dev_image_release(&image);
    assert_null(image.ptx);
}

/* ---- fat binaries, made by hand ---- */

enum { PTX_KIND = 1, CUBIN_KIND = 2, HEADER = 16, ENTRY = 64, LZ4 = 0x2000, ZSTD = 0x8000 };

struct fat {
    uint8_t bytes[16384];
    size_t size;
};

static void put(uint8_t *at, uint64_t value, size_t bytes) {
    memcpy(at, &value, bytes);
}

static void fat_begin(struct fat *f) {
    memset(f, 0, sizeof *f);
    put(f->bytes, 0xBA55ED50, 4);
    put(f->bytes + 4, 1, 2);
    put(f->bytes + 6, HEADER, 2);
    f->size = HEADER;
}

/* Where its header is. `flags` and the unpacked size if it is packed. */
static uint8_t *fat_add(struct fat *f, unsigned kind, unsigned arch, const void *payload, size_t size, unsigned flags,
                        size_t unpacked) {
    uint8_t *at = f->bytes + f->size;
    const size_t padded = (size + 7) / 8 * 8;
    put(at, kind, 2);
    put(at + 4, ENTRY, 4);
    put(at + 8, padded, 8);
    put(at + 16, flags ? size : 0, 4);
    put(at + 28, arch, 4);
    put(at + 40, flags, 8);
    put(at + 56, unpacked, 8);
    memcpy(at + ENTRY, payload, size);
    f->size += ENTRY + padded;
    put(f->bytes + 8, f->size - HEADER, 8);
    return at;
}

static void add_text(struct fat *f, unsigned arch, const char *text) {
    fat_add(f, PTX_KIND, arch, text, strlen(text), 0, 0);
}

static CUresult read_fat(const struct fat *f, unsigned cc, struct dev_image *image, char error[512]) {
    error[0] = '\0';
    return dev_image_read(f->bytes, cc, image, error, 512);
}

static void check_choice(const struct fat *f, unsigned cc, const char *target) {
    struct dev_image image;
    char error[512];
    assert_int_equal(read_fat(f, cc, &image, error), CUDA_SUCCESS);
    assert_string_equal(image.target, target);
    dev_image_release(&image);
}

static void check_refused(const struct fat *f, CUresult want, const char *sentence) {
    struct dev_image image;
    char error[512];
    assert_int_equal(read_fat(f, 90, &image, error), want);
    if (!strstr(error, sentence))
        fail_msg("'%s' is said, not '%s'", error, sentence);
    assert_null(image.ptx);
    assert_int_equal(image.fact_count, 0);
}

/* The newest that is not newer than the device, wherever it stands; if all are newer the first, which is refused. */
static void test_choice(void **state) {
    (void)state;
    static struct fat f;
    static const unsigned orders[3][3] = {{75, 86, 90}, {90, 86, 75}, {86, 90, 75}};
    static const char *const texts[] = {PTX("sm_75"), PTX("sm_86"), PTX("sm_90")};
    for (int o = 0; o < 3; o++) {
        fat_begin(&f);
        fat_add(&f, 7, 90, "another kind", 12, 0, 0);
        for (int k = 0; k < 3; k++)
            add_text(&f, orders[o][k], texts[orders[o][k] == 75 ? 0 : orders[o][k] == 86 ? 1 : 2]);
        check_choice(&f, 80, "sm_75");
        check_choice(&f, 86, "sm_86");
        check_choice(&f, 89, "sm_86");
        check_choice(&f, 90, "sm_90");
        check_choice(&f, 103, "sm_90");
        struct dev_image image;
        char error[512];
        assert_int_equal(read_fat(&f, 70, &image, error), CUDA_ERROR_NO_BINARY_FOR_GPU);
    }
    /* in the wrapper that nvcc makes */
    struct {
        uint32_t magic, version;
        const void *data, *unused;
    } wrapper = {0x466243b1, 1, f.bytes, NULL};
    struct dev_image image;
    char error[512];
    assert_int_equal(dev_image_read(&wrapper, 86, &image, error, sizeof error), CUDA_SUCCESS);
    assert_string_equal(image.target, "sm_86");
    dev_image_release(&image);
}

static void test_damaged_fat(void **state) {
    (void)state;
    static struct fat f;
    const char *damaged = "the fat binary is damaged or of a version other than 1";
    uint8_t *entry;
    for (int k = 0; k < 9; k++) {
        fat_begin(&f);
        entry = fat_add(&f, PTX_KIND, 80, PTX("sm_80"), strlen(PTX("sm_80")), 0, 0);
        switch (k) {
        case 0:
            put(f.bytes + 4, 2, 2); /* another version */
            break;
        case 1:
            put(f.bytes + 6, HEADER - 1, 2);
            break;
        case 2:
            put(entry + 4, 47, 4); /* a header that ends before its last field */
            break;
        case 3:
            put(entry + 4, 4096, 4);
            break;
        case 4:
            put(entry + 8, 4096, 8);
            break;
        case 5:
            put(f.bytes + 8, f.size - HEADER - 1, 8); /* cut */
            break;
        case 6:
            put(f.bytes + 8, f.size - HEADER + 1, 8); /* with a rest */
            break;
        case 7:
            put(entry + 8, UINT64_MAX - 10, 8);
            break;
        default: /* good: the header is as long as its fields and no longer */
            memmove(entry + 48, entry + ENTRY, strlen(PTX("sm_80")));
            put(entry + 4, 48, 4);
            put(f.bytes + 8, f.size - HEADER - 16, 8);
            check_choice(&f, 80, "sm_80");
            continue;
        }
        check_refused(&f, CUDA_ERROR_INVALID_IMAGE, damaged);
    }
    fat_begin(&f);
    check_refused(&f, CUDA_ERROR_NO_BINARY_FOR_GPU,
                  "this device runs PTX and the fat binary has none: build it with code=compute_90");
    fat_begin(&f);
    fat_add(&f, PTX_KIND, 80, "no PTX", 6, 0, 0);
    check_refused(&f, CUDA_ERROR_INVALID_IMAGE, "neither a fat binary, nor a cubin");
    struct dev_image image;
    char error[512];
    assert_int_equal(dev_image_read("\177ELF\2\1\1", 90, &image, error, sizeof error), CUDA_ERROR_NO_BINARY_FOR_GPU);
    assert_non_null(strstr(error, "the image is a cubin alone: give it the PTX or a fat binary"));
}

static void test_packed(void **state) {
    (void)state;
    static struct fat f;
    static char packed[4096];
    const char *text = PTX("sm_80");
    const size_t length = strlen(text), size = ZSTD_compress(packed, sizeof packed, text, length, 3);
    const char *unreadable = "the PTX of the fat binary cannot be read: it is damaged";
    struct dev_image image;
    char error[512];
    assert_false(ZSTD_isError(size));
    fat_begin(&f);
    uint8_t *entry = fat_add(&f, PTX_KIND, 80, packed, size, ZSTD, length);
    assert_int_equal(read_fat(&f, 80, &image, error), CUDA_SUCCESS);
    assert_string_equal(image.ptx, text);
    dev_image_release(&image);
    put(entry + 56, length + 1, 8); /* another size than comes out */
    check_refused(&f, CUDA_ERROR_INVALID_IMAGE, unreadable);
    put(entry + 56, length - 1, 8);
    check_refused(&f, CUDA_ERROR_INVALID_IMAGE, unreadable);
    put(entry + 56, (1u << 28) + 1, 8);
    check_refused(&f, CUDA_ERROR_INVALID_IMAGE, unreadable);
    put(entry + 56, length, 8);
    put(entry + 16, size - 1, 4);
    check_refused(&f, CUDA_ERROR_INVALID_IMAGE, unreadable);
    put(entry + 16, 4096, 4); /* more than there is */
    check_refused(&f, CUDA_ERROR_INVALID_IMAGE, unreadable);
    put(entry + 16, size, 4);
    put(entry + 40, LZ4, 8);
    check_refused(&f, CUDA_ERROR_INVALID_IMAGE, unreadable);
    put(entry + 40, 0, 8);
    check_refused(&f, CUDA_ERROR_INVALID_IMAGE,
                  "it is compressed in a way other than zstd and LZ4; build with --no-compress");
    put(entry + 40, ZSTD, 8);
    check_choice(&f, 80, "sm_80");
    put(entry + 4, 56, 4); /* packed, and a header that has no room for the size */
    put(entry + 8, (size + 7) / 8 * 8 + 8, 8);
    check_refused(&f, CUDA_ERROR_INVALID_IMAGE, unreadable);
}

/* ---- cubins, made by hand ---- */

struct cubin {
    uint8_t bytes[4096];
    Elf64_Ehdr *header;
    Elf64_Shdr *section; /* null, .shstrtab, .strtab, .symtab, .nv.info */
    uint8_t *info;
    size_t size;
};
enum { NAMES = 1, STRINGS, SYMBOLS, INFO, SECTIONS };

static void add_attribute(struct cubin *c, unsigned format, unsigned attribute, unsigned symbol, unsigned number) {
    uint8_t *at = c->info + c->section[INFO].sh_size;
    const size_t size = format == 4 ? 12 : 4;
    at[0] = (uint8_t)format;
    at[1] = (uint8_t)attribute;
    put(at + 2, format == 4 ? 8 : number, 2);
    if (format == 4) {
        put(at + 4, symbol, 4);
        put(at + 8, number, 4);
    }
    c->section[INFO].sh_size += size;
}

/* Kernels gemm: 77 registers, 16 bytes of stack; act: 30 registers. */
static void make_cubin(struct cubin *c) {
    static const char names[] = "\0.shstrtab\0.strtab\0.symtab\0.nv.info", strings[] = "\0gemm\0act";
    memset(c, 0, sizeof *c);
    c->header = (Elf64_Ehdr *)(void *)c->bytes;
    c->section = (Elf64_Shdr *)(void *)(c->bytes + 64);
    memcpy(c->header->e_ident, ELFMAG, SELFMAG);
    c->header->e_ident[EI_CLASS] = ELFCLASS64;
    c->header->e_shoff = 64;
    c->header->e_shentsize = sizeof *c->section;
    c->header->e_shnum = SECTIONS;
    c->header->e_shstrndx = NAMES;
    c->section[NAMES] = (Elf64_Shdr){.sh_name = 1, .sh_type = SHT_STRTAB, .sh_offset = 512, .sh_size = sizeof names};
    c->section[STRINGS] =
        (Elf64_Shdr){.sh_name = 11, .sh_type = SHT_STRTAB, .sh_offset = 640, .sh_size = sizeof strings};
    c->section[SYMBOLS] = (Elf64_Shdr){
        .sh_name = 19, .sh_type = SHT_SYMTAB, .sh_offset = 704, .sh_size = 3 * sizeof(Elf64_Sym), .sh_link = STRINGS};
    c->section[INFO] = (Elf64_Shdr){.sh_name = 27, .sh_type = 0x70000000, .sh_offset = 1024};
    memcpy(c->bytes + 512, names, sizeof names);
    memcpy(c->bytes + 640, strings, sizeof strings);
    Elf64_Sym *symbol = (Elf64_Sym *)(void *)(c->bytes + 704);
    symbol[1].st_name = 1;
    symbol[2].st_name = 6;
    c->info = c->bytes + 1024;
    add_attribute(c, 4, 0x2f, 1, 77);
    add_attribute(c, 3, 0x1b, 0, 255); /* an attribute without a body */
    add_attribute(c, 4, 0x11, 1, 16);
    add_attribute(c, 4, 0x12, 1, 99); /* another one */
    add_attribute(c, 4, 0x2f, 2, 30);
    add_attribute(c, 4, 0x11, 2, 0);
    c->size = 1024 + c->section[INFO].sh_size;
}

static bool reads(const struct cubin *c, struct dev_image *image) {
    uint8_t *exact = malloc(c->size); /* so that a checker sees what lies behind it */
    memcpy(exact, c->bytes, c->size);
    *image = (struct dev_image){0};
    const bool good = dev_cubin_read(exact, c->size, image);
    free(exact);
    return good;
}

static bool is_damaged(const struct cubin *c) {
    struct dev_image image;
    const bool good = reads(c, &image);
    dev_image_release(&image);
    return !good;
}

static void test_cubin(void **state) {
    (void)state;
    struct cubin c;
    struct dev_image image;
    make_cubin(&c);
    assert_true(reads(&c, &image));
    assert_int_equal(image.fact_count, 2);
    assert_int_equal(dev_image_facts(&image, "gemm")->registers, 77);
    assert_int_equal(dev_image_facts(&image, "gemm")->local_bytes, 16);
    assert_int_equal(dev_image_facts(&image, "act")->registers, 30);
    assert_int_equal(dev_image_facts(&image, "act")->local_bytes, 0);
    assert_null(dev_image_facts(&image, "gem"));
    dev_image_release(&image);
    c.section[SECTIONS - 1].sh_type = SHT_NOBITS; /* takes up no bytes of the file, wherever it lies */
    c.section[SECTIONS - 1].sh_name = 0;
    c.section[SECTIONS - 1].sh_offset = 1 << 20;
    assert_true(is_damaged(&c));                     /* and then .nv.info is missing */
    for (int part = STRINGS; part <= INFO; part++) { /* and no part that is read */
        make_cubin(&c);
        c.section[part].sh_type = SHT_NOBITS;
        c.section[part].sh_offset = 1 << 20;
        assert_true(is_damaged(&c));
    }
}

static void test_damaged_cubin(void **state) {
    (void)state;
    struct cubin c;
    for (int k = 0; k < 16; k++) {
        make_cubin(&c);
        Elf64_Sym *symbol = (Elf64_Sym *)(void *)(c.bytes + 704);
        switch (k) {
        case 0:
            c.size = sizeof *c.header - 1;
            break;
        case 1:
            c.header->e_ident[EI_CLASS] = ELFCLASS32;
            break;
        case 2:
            c.header->e_ident[0] = 'E';
            break;
        case 3:
            c.header->e_shentsize--;
            break;
        case 4:
            c.header->e_shstrndx = SECTIONS;
            break;
        case 5:
            c.section[NAMES].sh_type = SHT_NOTE;
            break;
        case 6:
            c.header->e_shoff = c.size + 1;
            break;
        case 7:
            c.section[INFO].sh_offset = c.size - 8;
            break;
        case 8:
            c.section[INFO].sh_size += 4096;
            break;
        case 9:
            put(c.info + 2, 200, 2); /* beyond the end of the section */
            break;
        case 10:
            put(c.info + 4, 3, 4); /* no such symbol */
            break;
        case 11:
            c.section[SYMBOLS].sh_link = SECTIONS;
            break;
        case 12:
            symbol[1].st_name = 11; /* no such text */
            break;
        case 13:
            c.bytes[640 + 9] = 'x'; /* a text without an end */
            symbol[2].st_name = 8;
            break;
        case 14:
            c.section[INFO].sh_name = 19; /* .symtab again */
            break;
        default:
            c.section[INFO].sh_size = 0; /* nothing is said */
        }
        if (!is_damaged(&c))
            fail_msg("damage %d is not seen", k);
    }
    for (size_t cut = 1; cut < c.size; cut++) { /* nothing outside of the file is read */
        struct dev_image image;
        make_cubin(&c);
        c.size -= cut;
        reads(&c, &image);
        dev_image_release(&image);
    }
}

/* In a fat binary: the cubin nearest to the device, whose registers are then known. */
static void test_cubin_of_fat(void **state) {
    (void)state;
    static struct fat f;
    struct cubin c, other;
    struct dev_image image;
    char error[512];
    make_cubin(&c);
    make_cubin(&other);
    put(other.info + 8, 55, 4);
    fat_begin(&f);
    add_text(&f, 80, PTX("sm_80"));
    fat_add(&f, CUBIN_KIND, 80, c.bytes, c.size, 0, 0);
    fat_add(&f, CUBIN_KIND, 90, other.bytes, other.size, 0, 0);
    for (unsigned cc = 80; cc <= 90; cc += 5) {
        assert_int_equal(read_fat(&f, cc, &image, error), CUDA_SUCCESS);
        assert_int_equal(image.cubin_arch, cc < 90 ? 80 : 90);
        assert_int_equal(dev_image_facts(&image, "gemm")->registers, cc < 90 ? 77 : 55);
        dev_image_release(&image);
    }
    fat_begin(&f);
    add_text(&f, 80, PTX("sm_80"));
    uint8_t *entry = fat_add(&f, CUBIN_KIND, 90, c.bytes, c.size, 0, 0);
    entry[ENTRY] = 'x';
    check_refused(&f, CUDA_ERROR_INVALID_IMAGE, "the cubin of the fat binary cannot be read: it is damaged");
    put(entry + 16, 100, 4);
    check_refused(&f, CUDA_ERROR_INVALID_IMAGE,
                  "the cubin of the fat binary cannot be read: it is compressed in a way");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets),       cmocka_unit_test(test_facts_of_text), cmocka_unit_test(test_choice),
        cmocka_unit_test(test_damaged_fat),   cmocka_unit_test(test_packed),        cmocka_unit_test(test_cubin),
        cmocka_unit_test(test_damaged_cubin), cmocka_unit_test(test_cubin_of_fat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
