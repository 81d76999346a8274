/* soft_seeds FOLDER: where the fuzzers begin. The project's small kernels, compiled: FOLDER/ptx has their texts,
 * FOLDER/image their images and the parts of these, as fuzz_image.c reads them. FOLDER/tensors has files of tensors and
 * their parts, as fuzz_tensors.c reads them. */
#include "runtime/base/file.h"
#include "runtime/base/str.h"
#include "runtime/jit/compile.h"
#include "runtime/softgpu/profile/image.h"
#include "tests/unit/checkpoint/make_packed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
static void put_kind(const char *folder, const char *fuzzer, const char *name, int kind, const void *data,
                     size_t size) {
    struct str seed = {0};
    str_append_bytes(&seed, &(char){(char)kind}, 1);
    str_append_bytes(&seed, data, size);
    put(folder, fuzzer, name, seed.data, seed.length);
    str_release(&seed);
}

static void put_image(const char *folder, const char *name, int kind, const uint8_t *data, size_t size) {
    put_kind(folder, "image", name, kind, data, size);
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

/* A file as it is, and its header and data with a 0 between them. */
static void put_file(const char *folder, const char *name, const char *path) {
    struct str text = {0}, parted = {0}, other = {0};
    uint64_t length;
    made(file_read(path, &text));
    memcpy(&length, text.data, sizeof length);
    str_printf(&other, "%s.parted", name);
    str_append_bytes(&parted, text.data + sizeof length, length);
    str_append_bytes(&parted, "", 1);
    str_append_bytes(&parted, text.data + sizeof length + length, text.length - sizeof length - length);
    put_kind(folder, "tensors", name, 0, text.data, text.length);
    put_kind(folder, "tensors", other.data, 1, parted.data, parted.length);
    str_release(&text);
    str_release(&parted);
    str_release(&other);
}

/* Its index, and what it says of each layer. */
static void put_packed_texts(const char *folder, const char *path) {
    static const char *const name = "a.safetensors";
    struct str index = {0}, text = {0};
    struct tensor_file file;
    make_packed_index(folder, &name, 1, "tiny");
    str_printf(&index, "%s/" FOLDER_INDEX, folder);
    made(file_read(index.data, &text));
    put_kind(folder, "tensors", "index", 2, text.data, text.length);
    unlink(index.data);
    made(tensor_file_open(path, &file));
    for (int i = 0; tensor_file_key(&file, i); i++) {
        const char *key = tensor_file_key(&file, i), *value = tensor_file_text(&file, key);
        if (*value == '{')
            put_kind(folder, "tensors", key, 3, value, strlen(value));
    }
    tensor_file_close(&file);
    str_release(&index);
    str_release(&text);
}

/* Tensors of every type and of 0 to 8 dimensions, one after another. */
static void make_plain_file(const char *path) {
    static const int64_t shape[8] = {2, 1, 3, 1, 1, 1, 2, 1}, none[2] = {0, 7};
    struct tensor_writer *writer = tensor_writer_new();
    tensor_writer_text(writer, "format", "pt");
    for (int i = 0, count = 1; i < TENSOR_OTHER; i++) {
        char name[24];
        snprintf(name, sizeof name, "model.%d.weight", i);
        tensor_writer_add(writer, name, tensor_type_name((enum tensor_type)i), i % 9, shape,
                          (size_t)count * tensor_type_bytes((enum tensor_type)i), 1);
        count = i % 9 == 8 ? 1 : count * (int)shape[i % 9];
    }
    tensor_writer_add(writer, "empty", "F8_E4M3", 2, none, 0, 1);
    made(tensor_writer_begin(writer, path));
    made(tensor_writer_end(writer));
    tensor_writer_free(writer);
}

static void put_tensors(const char *folder) {
    static const struct made_layer layers[] = {{"l.0", "qkv", 17, 70, 3, 64, false, TENSOR_BF16, 1, 0},
                                               {"l.0", "o", 5, 130, 0, 128, true, TENSOR_OTHER, 1, 0}};
    struct str path = {0};
    str_printf(&path, "%s/a.safetensors", folder);
    make_packed_file(path.data, layers, 1, 1); /* as fuzz_tensors.c has it */
    put_packed_texts(folder, path.data);
    make_packed_file(path.data, layers, 2, 1);
    put_file(folder, "packed", path.data);
    make_plain_file(path.data);
    put_file(folder, "plain", path.data);
    unlink(path.data);
    str_release(&path);
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
    put_tensors(argv[1]);
    return 0;
}
