/* The packed layout: blocks of 512 bytes, each the A fragment of one tensor-core instruction (8-bit) or of two
 * (4-bit). */
#include "pack.h"
#include "runtime/base/memory.h"
#include "runtime/base/parallel.h"
#include "templates/gemm_args.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES  64 /* four lanes of a block: what it has of features r and r + 8 */
#define BLOCK_BYTES (MT_N_PAD / 2 * LINE_BYTES)

/* A matrix that is packed or unpacked, by tiles of 16 features. */
struct packing {
    int bits, rows, padded_rows, k_padded;
    int8_t *q;          /* not written when packing */
    const int *columns; /* or NULL */
    int8_t *spare;      /* [k_padded], zero: what features beyond `rows` are read from, or written to */
    uint8_t *packed;    /* not written when unpacking */
    bool unpack;
};

typedef uint32_t words __attribute__((vector_size(16)));
struct line {
    words word[4];
};

size_t packed_bytes(int bits, int padded_rows, int k_padded) {
    return (size_t)padded_rows * (size_t)k_padded * (size_t)bits / 8;
}

/* Word j of lane i becomes word i of lane j: 32 k of features r and r + 8, as halves of 16, are a line of a block. */
static struct line transpose(struct line in) {
    const words low01 = __builtin_shufflevector(in.word[0], in.word[1], 0, 4, 1, 5);
    const words low23 = __builtin_shufflevector(in.word[2], in.word[3], 0, 4, 1, 5);
    const words high01 = __builtin_shufflevector(in.word[0], in.word[1], 2, 6, 3, 7);
    const words high23 = __builtin_shufflevector(in.word[2], in.word[3], 2, 6, 3, 7);
    return (struct line){
        {__builtin_shufflevector(low01, low23, 0, 1, 4, 5), __builtin_shufflevector(low01, low23, 2, 3, 6, 7),
         __builtin_shufflevector(high01, high23, 0, 1, 4, 5), __builtin_shufflevector(high01, high23, 2, 3, 6, 7)}};
}

static struct line line_load(const int8_t *upper, const int8_t *lower) {
    struct line line;
    memcpy(&line.word[0], upper, sizeof(words));
    memcpy(&line.word[1], lower, sizeof(words));
    memcpy(&line.word[2], upper + 16, sizeof(words));
    memcpy(&line.word[3], lower + 16, sizeof(words));
    return line;
}

static void line_store(struct line line, int8_t *upper, int8_t *lower) {
    memcpy(upper, &line.word[0], sizeof(words));
    memcpy(lower, &line.word[1], sizeof(words));
    memcpy(upper + 16, &line.word[2], sizeof(words));
    memcpy(lower + 16, &line.word[3], sizeof(words));
}

/* 128 k of 16 features, the slab's share of a tile. */
static void tile_pack(int bits, int8_t *const row[MT_N_PAD], size_t k, uint8_t *block) {
    const int step = bits == 4 ? 64 : 32;
    for (size_t end = k + MT_K_PAD; k < end; k += (size_t)step) {
        for (int r = 0; r < MT_N_PAD / 2; r++, block += LINE_BYTES) {
            struct line line = line_load(row[r] + k, row[r + 8] + k);
            if (bits == 4) {
                const struct line second = line_load(row[r] + k + 32, row[r + 8] + k + 32);
                for (int i = 0; i < 4; i++)
                    line.word[i] = (line.word[i] & 0x0f0f0f0f) | (second.word[i] & 0x0f0f0f0f) << 4;
            }
            line = transpose(line);
            memcpy(block, &line, sizeof line);
        }
    }
}

static void tile_unpack(int bits, const uint8_t *block, size_t k, int8_t *const row[MT_N_PAD]) {
    const int step = bits == 4 ? 64 : 32;
    for (size_t end = k + MT_K_PAD; k < end; k += (size_t)step) {
        for (int r = 0; r < MT_N_PAD / 2; r++, block += LINE_BYTES) {
            struct line line;
            memcpy(&line, block, sizeof line);
            line = transpose(line);
            if (bits == 4) {
                struct line second;
                for (int i = 0; i < 4; i++) {
                    second.word[i] = line.word[i] >> 4 & 0x0f0f0f0f;
                    line.word[i] &= 0x0f0f0f0f;
                }
                line_store(second, row[r] + k + 32, row[r + 8] + k + 32);
            }
            line_store(line, row[r] + k, row[r + 8] + k);
        }
    }
}

static int8_t *feature(const struct packing *p, int i) {
    if (i >= p->rows)
        return p->spare;
    return p->q + (size_t)(p->columns ? p->columns[i] : i) * (size_t)p->k_padded;
}

static void tiles_run(void *context, int begin, int end) {
    const struct packing *p = context;
    const size_t slab = packed_bytes(p->bits, p->padded_rows, MT_K_PAD),
                 share = packed_bytes(p->bits, MT_N_PAD, MT_K_PAD);
    for (int tile = begin; tile < end; tile++) {
        int8_t *row[MT_N_PAD];
        uint8_t *block = p->packed + (size_t)tile * share;
        for (int i = 0; i < MT_N_PAD; i++)
            row[i] = feature(p, tile * MT_N_PAD + i);
        for (int k = 0; k < p->k_padded; k += MT_K_PAD, block += slab) {
            if (p->unpack)
                tile_unpack(p->bits, block, (size_t)k, row);
            else
                tile_pack(p->bits, row, (size_t)k, block);
        }
    }
}

static enum mt_status packing_run(struct packing *p) {
    p->spare = mem_zeroed(1, (size_t)p->k_padded);
    if (!p->spare)
        return MT_FAILURE;
    parallel_for(p->padded_rows / MT_N_PAD, 1, tiles_run, p);
    free(p->spare);
    return MT_OK;
}

enum mt_status pack_weights(int bits, int rows, int padded_rows, int k_padded, const int8_t *q, const int *columns,
                            void *packed) {
    struct packing p = {bits, rows, padded_rows, k_padded, (int8_t *)(uintptr_t)q, columns, NULL, packed, false};
    return packing_run(&p);
}

enum mt_status unpack_weights(int bits, int rows, int padded_rows, int k_padded, const void *packed, int8_t *q) {
    struct packing p = {bits, rows, padded_rows, k_padded, q, NULL, NULL, (uint8_t *)(uintptr_t)packed, true};
    return packing_run(&p);
}
