/* wgmma of floats: one warp's 16 rows of A times all columns of B, from shared memory.
 *
 * Every product is exact in a float (two numbers of at most 11 bits; bf16 alone can leave its range). Those of one
 * instruction are summed in float along k, each sum rounded to nearest, and the accumulator is added last. PTX leaves
 * order and precision open, and hardware keeps fewer bits of some types. */
#include "numeric.h"

enum { ROWS = 16, K_BYTES = 32 };
typedef float row8 __attribute__((vector_size(32)));

/* A, row-major [16][k], from its fragment registers. */
static void unpack_left(const struct mma_shape *s, const uint32_t *const *a, bool negate, float *left) {
    const int count = mma_register_k((enum ptx_type)s->a);
    float part[8 * K_BYTES / 2];
    for (int r = 0; r < 4; r++) {
        mma_unpack_rows(a[r], (enum ptx_type)s->a, part);
        for (int row = 0; row < 8; row++)
            for (int k = 0; k < count; k++) {
                const float x = part[row * count + k];
                left[(r % 2 * 8 + row) * s->k + r / 2 * count + k] = negate ? -x : x;
            }
    }
}

/* Eight columns of B, which lie as rows of K_BYTES. */
static void unpack_right(const struct mma_shape *s, const uint8_t *tile, row8 *right) {
    const int count = mma_register_k((enum ptx_type)s->b);
    float column[8 * K_BYTES / 2];
    for (int half = 0; half < 2; half++) {
        uint32_t words[32];
        for (int n = 0; n < 8; n++)
            memcpy(words + 4 * n, tile + n * K_BYTES + half * 16, 16);
        mma_unpack_rows(words, (enum ptx_type)s->b, column);
        for (int k = 0; k < count; k++)
            for (int n = 0; n < 8; n++)
                right[half * count + k][n] = column[n * count + k];
    }
}

void mma_float_wide(const struct mma_shape *s, bool negate, const uint32_t *const *a, const uint8_t *tile, int n,
                    float *product) {
    float left[ROWS * K_BYTES];
    row8 right[K_BYTES];
    unpack_left(s, a, negate, left);
    for (int first = 0; first < n; first += 8, tile += 8 * K_BYTES, product += ROWS * 8) {
        row8 sum[ROWS] = {{0}};
        unpack_right(s, tile, right);
        for (int k = 0; k < s->k; k++)
            for (int row = 0; row < ROWS; row++)
                sum[row] += left[row * s->k + k] * right[k];
        memcpy(product, sum, sizeof sum);
    }
}
