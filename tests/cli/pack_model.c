/* pack_model FOLDER KIND: a packed checkpoint with random weights of a model of two decoder layers, as `mixtune quantize`
 * writes it, for tests that serve one. KIND is p10 (each layer with another number of features in 8 bits, and zero
 * points) or symmetric. */
#include "tests/unit/checkpoint/make_packed.h"

enum { LAYERS = 2, LINEARS = 4, FILES = LAYERS };

/* Hidden 192, intermediate 208 (no multiple of 128), and the numbers of 8-bit features. */
static const struct {
    const char *layer;
    int n, k, rows8[LAYERS];
    bool bias;
} linears[LINEARS] = {
    {"qkv", 240, 192, {33, 80}, true},
    {"o", 192, 144, {0, 16}, false},
    {"gate_up", 416, 192, {1, 48}, false},
    {"down", 192, 208, {192, 17}, true},
};

int main(int argc, char **argv) {
    static const char *const files[FILES] = {"layer-00000.safetensors", "layer-00001.safetensors"};
    static const char *const blocks[LAYERS] = {"model.layers.0", "model.layers.1"};
    if (argc != 3) {
        fprintf(stderr, "Usage: pack_model FOLDER p10|symmetric\n");
        return 64;
    }
    const bool symmetric = !strcmp(argv[2], "symmetric");
    made(folder_make(argv[1]));
    for (int i = 0; i < LAYERS; i++) {
        struct made_layer layer[LINEARS];
        struct str path = {0};
        for (int j = 0; j < LINEARS; j++)
            layer[j] = (struct made_layer){.block = blocks[i],
                                           .layer = linears[j].layer,
                                           .n = linears[j].n,
                                           .k = linears[j].k,
                                           .rows8 = linears[j].rows8[i],
                                           .group = symmetric ? 64 : 128,
                                           .symmetric = symmetric,
                                           .bias = linears[j].bias ? TENSOR_BF16 : TENSOR_OTHER};
        str_printf(&path, "%s/%s", argv[1], files[i]);
        make_packed_file(path.data, layer, LINEARS, 1000 * (uint64_t)i);
        str_release(&path);
    }
    make_packed_index(argv[1], files, FILES, "tiny");
    return 0;
}
