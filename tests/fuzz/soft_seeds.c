/* soft_seeds FOLDER: where the fuzzers begin. The project's small kernels, compiled: FOLDER/ptx has their texts,
 * FOLDER/image their images and the parts of these, as fuzz_image.c reads them. */
#include "runtime/base/file.h"
#include "runtime/base/str.h"
#include "runtime/jit/compile.h"
#include "runtime/softgpu/profile/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *folder, *file, *arch, *option;
    unsigned cc;
} sources[] = {
    {"tests/device", "plain_kernels.cu", "sm_80", NULL, 80},
    {"tests/device", "intrinsics.cu", "sm_80", "--device-int128", 80},
    {"tests/device", "cluster_kernels.cu", "sm_90a", NULL, 90},
    {"tests/gpu", "compare.cu", "sm_80", NULL, 80},
    {"tests/gpu", "compare_sm90.cu", "sm_90a", NULL, 90},
    {"tests/gpu", "compare_wgmma.cu", "sm_90a", "-DTOKENS=8", 90},
};

static void put(const char *folder, const char *kind, const char *name, const void *data, size_t size) {
    struct str path = {0};
    str_printf(&path, "%s/%s/%s", folder, kind, name);
    if (file_write_atomic(path.data, data, size) != MT_OK) {
        fprintf(stderr, "%s\n", fail_message());
        exit(1);
    }
    str_release(&path);
}

/* The byte that says what it is, then the data. */
static void put_image(const char *folder, const char *name, int kind, const uint8_t *data, size_t size) {
    struct str seed = {0};
    str_append_bytes(&seed, &(char){(char)kind}, 1);
    str_append_bytes(&seed, data, size);
    put(folder, "image", name, seed.data, seed.length);
    str_release(&seed);
}

/* A fat binary of one text as it is, and one packed as LZ4 literals. */
static void put_made(const char *folder) {
    static const char text[] = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{ ret; }\n";
    enum { ENTRY = 64, TEXT = sizeof text };
    uint8_t fat[16 + ENTRY + TEXT + 8] = {0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0};
    for (int packed = 0; packed < 2; packed++) {
        const size_t payload = packed ? 2 + TEXT : TEXT;
        uint8_t *entry = fat + 16, *at = entry + ENTRY;
        memset(entry, 0, ENTRY);
        memcpy(fat + 8, &(uint64_t){ENTRY + payload}, 8);
        memcpy(entry, ((uint16_t[]){1, 0x0101}), 4);
        memcpy(entry + 4, &(uint32_t){ENTRY}, 4);
        memcpy(entry + 8, &(uint64_t){payload}, 8);
        memcpy(entry + 16, &(uint32_t){packed ? (uint32_t)payload : 0}, 4);
        memcpy(entry + 28, &(uint32_t){80}, 4);
        memcpy(entry + 40, &(uint64_t){packed ? 0x2000 : 0}, 8);
        memcpy(entry + 56, &(uint64_t){TEXT}, 8);
        if (packed) { /* 15 literals and those of the next byte */
            *at++ = 0xf0;
            *at++ = TEXT - 15;
        }
        memcpy(at, text, TEXT);
        put_image(folder, packed ? "lz4.fat" : "plain.fat", 0, fat, 16 + ENTRY + payload);
        if (packed) {
            memmove(fat + 2, entry + ENTRY, payload);
            memcpy(fat, &(uint16_t){TEXT}, 2);
            put_image(folder, "lz4", 2, fat, 2 + payload);
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "Usage: soft_seeds FOLDER\n");
        return 64;
    }
    for (size_t k = 0; k < sizeof sources / sizeof *sources; k++) {
        const struct compile_request request = {sources[k].file, &sources[k].option, sources[k].option != NULL,
                                                sources[k].arch};
        struct image image;
        struct dev_image parts;
        char error[256];
        setenv("MIXTUNE_TEMPLATES", sources[k].folder, 1);
        if (compile_kernel(&request, &image) != MT_OK) {
            fprintf(stderr, "%s\n", fail_message());
            return 1;
        }
        if (dev_image_read(image.data, sources[k].cc, &parts, error, sizeof error) != CUDA_SUCCESS) {
            fprintf(stderr, "%s: %s\n", sources[k].file, error);
            return 1;
        }
        put(argv[1], "ptx", sources[k].file, parts.ptx, parts.ptx_length);
        put_image(argv[1], sources[k].file, 0, image.data, image.size);
        const uint8_t *elf = memmem(image.data, image.size, "\177ELF", 4);
        if (elf)
            put_image(argv[1], "cubin", 1, elf, image.size - (size_t)(elf - (const uint8_t *)image.data));
        if (parts.fact_count && parts.facts[0].code)
            put_image(argv[1], "code", 4, parts.facts[0].code, parts.facts[0].code_bytes);
        dev_image_release(&parts);
        image_release(&image);
    }
    put_made(argv[1]);
    return 0;
}
