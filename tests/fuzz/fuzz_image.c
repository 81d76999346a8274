/* What libFuzzer gives is read as an image or one of its parts: the first byte says which. */
#include "runtime/softgpu/profile/image.h"
#include "runtime/softgpu/profile/sass.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { KIND_IMAGE, KIND_CUBIN, KIND_LZ4, KIND_ZSTD, KIND_CODE, KINDS };
enum { HEADER = 16, MOST_UNPACKED = 1 << 16 };

/* A driver is not told how long an image is, so a header that promises more than there is cannot be told from one
 * that is right. All else must be: texts end in a 0, as strings do. */
static void read_image(const uint8_t *data, size_t size) {
    static const uint8_t fat[4] = {0x50, 0xed, 0x55, 0xba}, wrapper[4] = {0xb1, 0x43, 0x62, 0x46};
    struct dev_image image;
    char error[256] = "";
    uint16_t header;
    uint64_t behind;
    if (size >= sizeof fat && memcmp(data, wrapper, sizeof wrapper) == 0)
        return; /* a pointer of its own */
    if (size >= sizeof fat && memcmp(data, fat, sizeof fat) == 0) {
        if (size < HEADER)
            return;
        memcpy(&header, data + 6, sizeof header);
        memcpy(&behind, data + 8, sizeof behind);
        if (header > size || behind > size - header)
            return;
    }
    uint8_t *copy = calloc(1, size + 1);
    memcpy(copy, data, size);
    for (unsigned cc = 80; cc <= 90; cc += 10)
        if (dev_image_read(copy, cc, &image, error, sizeof error) == CUDA_SUCCESS) {
            for (size_t k = 0; k < image.fact_count; k++)
                if (!dev_image_facts(&image, image.facts[k].name))
                    abort();
            dev_image_release(&image);
        } else if (!error[0]) {
            abort();
        }
    free(copy);
}

/* The machine code of each kernel, and any bytes as if they were machine code. */
static void decode(const struct dev_image *image, unsigned cc) {
    for (size_t k = 0; k < image->fact_count; k++) {
        struct flow flow;
        unsigned unknown;
        if (!image->facts[k].code)
            continue;
        sass_read(image->facts[k].code, image->facts[k].code_bytes, cc, &flow, &unknown);
        flow_free(&flow);
    }
}

static void read_cubin(const uint8_t *data, size_t size) {
    struct dev_image image = {0};
    uint8_t *exact = malloc(size ? size : 1); /* so that one byte beyond is one too many */
    memcpy(exact, data, size);
    dev_cubin_read(exact, size, &image);
    decode(&image, size % 2 ? 80 : 90);
    dev_image_release(&image);
    free(exact);
}

static void unpack(bool zstd, const uint8_t *data, size_t size) {
    uint16_t wanted;
    if (size < sizeof wanted)
        return;
    memcpy(&wanted, data, sizeof wanted);
    uint8_t *out = malloc(wanted ? wanted : 1);
    (zstd ? dev_unpack_zstd : dev_unpack_lz4)(data + sizeof wanted, size - sizeof wanted, out, wanted);
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    switch (data[0] % KINDS) {
    case KIND_IMAGE:
        read_image(data + 1, size - 1);
        break;
    case KIND_CUBIN:
        read_cubin(data + 1, size - 1);
        break;
    case KIND_CODE: {
        struct flow flow;
        unsigned unknown;
        sass_read(data + 1, size - 1, size % 2 ? 80 : 90, &flow, &unknown);
        flow_free(&flow);
        break;
    }
    default:
        unpack(data[0] % KINDS == KIND_ZSTD, data + 1, size - 1);
    }
    return 0;
}
