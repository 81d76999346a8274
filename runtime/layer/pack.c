/* The packed layout: blocks of 512 bytes, each the A fragment of one tensor-core instruction (8-bit) or of two
 * (4-bit). */
#include "pack.h"
#include "runtime/base/parallel.h"
#include "templates/gemm_args.h"
#include <string.h>

#define BLOCK_BYTES 512
#define LANE_BYTES  16

/* A matrix that is packed or unpacked, by slabs of 128 k. */
struct packing {
    int bits, rows, padded_rows, k_padded;
    const int8_t *q;  /* packing: the source */
    int8_t *unpacked; /* unpacking: the target */
    uint8_t *packed;
};

size_t packed_bytes(int bits, int padded_rows, int k_padded) {
    return (size_t)padded_rows * (size_t)k_padded * (size_t)bits / 8;
}

/* Where word j of a lane is from, within its block: 16 features by 32 k. */
static int word_row(int lane, int j) {
    return lane / 4 + 8 * (j & 1);
}

static int word_k(int lane, int j) {
    return lane % 4 * 4 + 16 * (j >> 1);
}

static uint32_t codes_load(const struct packing *p, int row, int k) {
    uint32_t codes = 0;
    if (row < p->rows)
        memcpy(&codes, p->q + (size_t)row * (size_t)p->k_padded + k, sizeof codes);
    return codes;
}

static void codes_store(const struct packing *p, int row, int k, uint32_t codes) {
    if (row < p->rows)
        memcpy(p->unpacked + (size_t)row * (size_t)p->k_padded + k, &codes, sizeof codes);
}

static void block_pack(const struct packing *p, int row, int k, uint8_t *block) {
    for (int lane = 0; lane < 32; lane++) {
        for (int j = 0; j < 4; j++) {
            int r = row + word_row(lane, j), at = k + word_k(lane, j);
            uint32_t word = codes_load(p, r, at);
            if (p->bits == 4)
                word = (word & 0x0f0f0f0f) | (codes_load(p, r, at + 32) & 0x0f0f0f0f) << 4;
            memcpy(block + lane * LANE_BYTES + j * 4, &word, sizeof word);
        }
    }
}

static void block_unpack(const struct packing *p, int row, int k, const uint8_t *block) {
    for (int lane = 0; lane < 32; lane++) {
        for (int j = 0; j < 4; j++) {
            int r = row + word_row(lane, j), at = k + word_k(lane, j);
            uint32_t word;
            memcpy(&word, block + lane * LANE_BYTES + j * 4, sizeof word);
            if (p->bits == 4) {
                codes_store(p, r, at + 32, word >> 4 & 0x0f0f0f0f);
                word &= 0x0f0f0f0f;
            }
            codes_store(p, r, at, word);
        }
    }
}

static void slabs_run(void *context, int begin, int end) {
    const struct packing *p = context;
    int block_k = p->bits == 4 ? 64 : 32;
    for (int slab = begin; slab < end; slab++) {
        uint8_t *block = p->packed + packed_bytes(p->bits, p->padded_rows, MT_K_PAD) * (size_t)slab;
        for (int row = 0; row < p->padded_rows; row += MT_N_PAD) {
            for (int k = slab * MT_K_PAD; k < (slab + 1) * MT_K_PAD; k += block_k, block += BLOCK_BYTES) {
                if (p->unpacked)
                    block_unpack(p, row, k, block);
                else
                    block_pack(p, row, k, block);
            }
        }
    }
}

void pack_weights(int bits, int rows, int padded_rows, int k_padded, const int8_t *q, void *packed) {
    struct packing p = {bits, rows, padded_rows, k_padded, q, NULL, packed};
    parallel_for(k_padded / MT_K_PAD, 1, slabs_run, &p);
}

void unpack_weights(int bits, int rows, int padded_rows, int k_padded, const void *packed, int8_t *q) {
    struct packing p = {bits, rows, padded_rows, k_padded, NULL, q, (uint8_t *)(uintptr_t)packed};
    parallel_for(k_padded / MT_K_PAD, 1, slabs_run, &p);
}
