#include "numeric.h"
#ifdef __AVX2__
#include <immintrin.h>
#endif

/* Eight columns of one row; the compiler maps it to whatever the host has. */
typedef float row8 __attribute__((vector_size(32)));

int mma_unpack_rows(const uint32_t *reg, enum ptx_type type, float *out) {
    const uint8_t *bytes = (const uint8_t *)reg;
    switch (type) {
    case T_S8:
        for (int i = 0; i < 128; i++)
            out[i] = (float)(int8_t)bytes[i];
        return 16;
    case T_U8:
        for (int i = 0; i < 128; i++)
            out[i] = (float)bytes[i];
        return 16;
    case T_S4:
        for (int i = 0; i < 128; i++) {
            out[2 * i] = (float)((int8_t)(bytes[i] << 4) >> 4);
            out[2 * i + 1] = (float)((int8_t)bytes[i] >> 4);
        }
        return 32;
    case T_U4:
        for (int i = 0; i < 128; i++) {
            out[2 * i] = (float)(bytes[i] & 15);
            out[2 * i + 1] = (float)(bytes[i] >> 4);
        }
        return 32;
    case T_F16:
        f16_to_f32_n((const uint16_t *)(const void *)reg, out, 64);
        return 8;
    case T_BF16:
        bf16_to_f32_n((const uint16_t *)(const void *)reg, out, 64);
        return 8;
    case T_E4M3:
        for (int i = 0; i < 128; i++) {
            const uint32_t b = bytes[i];
            const float x = f32_of((b & 0x7f) << 20) * 0x1p120f;
            out[i] = (b & 0x7f) == 0x7f ? f32_of(F32_NAN) : f32_of(f32_bits(x) | (b & 0x80) << 24);
        }
        return 16;
    case T_E5M2:
        for (int i = 0; i < 128; i++)
            out[i] = f16_to_f32((uint16_t)(bytes[i] << 8));
        return 16;
    default: /* T_TF32: the low 13 bits are not read */
        for (int i = 0; i < 32; i++)
            out[i] = f32_of(reg[i] & 0xffffe000u);
        return 4;
    }
}

/* B's registers hold columns; the multiplication wants rows along n. */
static void unpack_columns(const uint32_t *const *reg, int registers, enum ptx_type type, row8 *out) {
    float column[8 * 32];
    for (int r = 0, k0 = 0; r < registers; r++) {
        const int count = mma_unpack_rows(reg[r], type, column);
        for (int k = 0; k < count; k++)
            for (int n = 0; n < 8; n++)
                ((float *)&out[k0 + k])[n] = column[n * count + k];
        k0 += count;
    }
}

int mma_register_k(enum ptx_type type) {
    switch (type) {
    case T_B1:
        return 128;
    case T_S4:
    case T_U4:
        return 32;
    case T_S8:
    case T_U8:
    case T_E4M3:
    case T_E5M2:
        return 16;
    case T_F16:
    case T_BF16:
        return 8;
    case T_TF32:
    case T_F64:
        return 4;
    default:
        return 0;
    }
}

/* out [m][8] = A * B. Sums in float, along k: exact for the integer types, as 64 * 15 * 15 and 32 * 255 * 255 <
 * 2^24. */
static void multiply(const struct mma_shape *s, const uint32_t *const *a, const uint32_t *const *b, row8 *out) {
    const int count = mma_register_k(s->a), blocks = count ? s->k / count : 0, halves = s->m / 8;
    row8 right[MMA_MOST_K];
    unpack_columns(b, blocks, s->b, right);
    for (int h = 0; h < halves; h++) {
        row8 sum[8] = {{0}};
        for (int block = 0; block < blocks; block++) {
            float left[8 * 32];
            mma_unpack_rows(a[block * halves + h], s->a, left);
            for (int k = 0; k < count; k++)
                for (int row = 0; row < 8; row++)
                    sum[row] += left[row * count + k] * right[block * count + k];
        }
        memcpy(out + 8 * h, sum, sizeof sum);
    }
}

/* b1: a word holds 32 elements; the product of two is their and or xor, the sum a population count. */
static void multiply_bits(const struct mma_shape *s, const uint32_t *const *a, const uint32_t *const *b, int32_t *out) {
    const int halves = s->m / 8, blocks = s->k / 128;
    for (int row = 0; row < s->m; row++)
        for (int n = 0; n < 8; n++) {
            int32_t sum = 0;
            for (int word = 0; word < 4 * blocks; word++) {
                const uint32_t x = a[word / 4 * halves + row / 8][4 * (row % 8) + word % 4];
                const uint32_t y = b[word / 4][4 * n + word % 4];
                sum += __builtin_popcount(s->popc_xor ? x ^ y : x & y);
            }
            out[8 * row + n] = sum;
        }
}

#ifdef __AVX2__
/* The bytes of each 32-bit word as two pairs of 16-bit numbers: (0, 2) and (1, 3). A and B pair theirs alike. */
static void byte_pairs(__m256i x, bool sign, __m256i *even, __m256i *odd) {
    const __m256i up = _mm256_slli_epi16(x, 8);
    *even = sign ? _mm256_srai_epi16(up, 8) : _mm256_srli_epi16(up, 8);
    *odd = sign ? _mm256_srai_epi16(x, 8) : _mm256_srli_epi16(x, 8);
}

static __m256i two_columns(const uint32_t *b, int n) { /* n and n + 4 */
    const __m128i *from = (const __m128i *)(const void *)b;
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(from + n)), _mm_loadu_si128(from + n + 4), 1);
}

/* A B register as four vectors: word t of its eight columns. */
static void column_words(const uint32_t *b, __m256i word[4]) {
    const __m256i c04 = two_columns(b, 0), c15 = two_columns(b, 1), c26 = two_columns(b, 2), c37 = two_columns(b, 3);
    const __m256i low01 = _mm256_unpacklo_epi32(c04, c15), high01 = _mm256_unpackhi_epi32(c04, c15);
    const __m256i low23 = _mm256_unpacklo_epi32(c26, c37), high23 = _mm256_unpackhi_epi32(c26, c37);
    word[0] = _mm256_unpacklo_epi64(low01, low23);
    word[1] = _mm256_unpackhi_epi64(low01, low23);
    word[2] = _mm256_unpacklo_epi64(high01, high23);
    word[3] = _mm256_unpackhi_epi64(high01, high23);
}

/* The words of an A register as pairs, in memory: the multiplication loads each into all columns. Not inlined, or the
 * compiler takes them out of vectors again, one by one. */
static __attribute__((noinline)) void row_pairs(const uint32_t *a, bool sign, int32_t *even, int32_t *odd) {
    for (int i = 0; i < 32; i += 8) {
        __m256i e, o;
        byte_pairs(_mm256_loadu_si256((const __m256i *)(const void *)(a + i)), sign, &e, &o);
        _mm256_storeu_si256((__m256i *)(void *)(even + i), e);
        _mm256_storeu_si256((__m256i *)(void *)(odd + i), o);
    }
}

/* Bytes, with the pairwise multiply-add of 16-bit numbers; one vector is a row of eight columns. */
static void multiply_bytes(const struct mma_shape *s, const uint32_t *const *a, const uint32_t *const *b,
                           int32_t *out) {
    const int halves = s->m / 8, blocks = s->k / 16;
    __m256i even[2][4], odd[2][4];
    int32_t left_even[4][32], left_odd[4][32];
    for (int r = 0; r < halves * blocks; r++)
        row_pairs(a[r], s->a == T_S8, left_even[r], left_odd[r]);
    for (int block = 0; block < blocks; block++) {
        __m256i word[4];
        column_words(b[block], word);
        for (int t = 0; t < 4; t++)
            byte_pairs(word[t], s->b == T_S8, &even[block][t], &odd[block][t]);
    }
    for (int half = 0; half < halves; half++) {
        __m256i sum[8] = {{0}}; /* unrolled, so that they stay in registers */
        for (int block = 0; block < blocks; block++)
            for (int t = 0; t < 4; t++) {
                const int32_t *x = left_even[block * halves + half] + t, *y = left_odd[block * halves + half] + t;
#pragma GCC unroll 8
                for (int row = 0; row < 8; row++) {
                    const __m256i p = _mm256_madd_epi16(_mm256_set1_epi32(x[4 * row]), even[block][t]);
                    const __m256i q = _mm256_madd_epi16(_mm256_set1_epi32(y[4 * row]), odd[block][t]);
                    sum[row] = _mm256_add_epi32(sum[row], _mm256_add_epi32(p, q));
                }
            }
#pragma GCC unroll 8
        for (int row = 0; row < 8; row++)
            _mm256_storeu_si256((__m256i *)(void *)(out + 64 * half + 8 * row), sum[row]);
    }
}
#endif

/* The exact products; every path gives the same. */
static void multiply_int(const struct mma_shape *s, const uint32_t *const *a, const uint32_t *const *b, int32_t *out) {
#ifdef __AVX2__
    if (mma_register_k(s->a) == 16) {
        multiply_bytes(s, a, b, out);
        return;
    }
#endif
    if (s->a == T_B1) {
        multiply_bits(s, a, b, out);
        return;
    }
    row8 rows[MMA_MOST_M];
    multiply(s, a, b, rows);
    const float *x = (const float *)rows;
    for (int i = 0; i < 8 * s->m; i++)
        out[i] = (int32_t)x[i];
}

void mma_int(const struct mma_shape *s, const uint32_t *const *a, const uint32_t *const *b, const int32_t *const *c,
             int32_t *const *d) {
    int32_t product[MMA_MOST_M * 8];
    multiply_int(s, a, b, product);
    int32_t sum[MMA_MOST_M / 4][32]; /* complete before d is written: its registers may be those of c in any order */
    for (int r = 0; r < s->m / 4; r++) {
        const int32_t *p = product + r / 2 * 64 + r % 2;
        for (int lane = 0; lane < 32; lane++)
            sum[r][lane] = (int32_t)((uint32_t)c[r][lane] + (uint32_t)p[2 * lane]);
        for (int lane = 0; s->saturate && lane < 32; lane++) /* it wrapped where both operands differ from it in sign */
            if (((c[r][lane] ^ sum[r][lane]) & (p[2 * lane] ^ sum[r][lane])) < 0)
                sum[r][lane] = p[2 * lane] < 0 ? INT32_MIN : INT32_MAX;
    }
    for (int r = 0; r < s->m / 4; r++)
        memcpy(d[r], sum[r], sizeof sum[r]);
}

void mma_float(const struct mma_shape *s, const uint32_t *const *a, const uint32_t *const *b, const float *c,
               float *d) {
    row8 sum[MMA_MOST_M];
    multiply(s, a, b, sum);
    const float *x = (const float *)sum;
    for (int i = 0; i < 8 * s->m; i++)
        d[i] = f32_canonical(c[i] + x[i]);
}

void mma_double(const struct mma_shape *s, const double *const *a, const double *const *b, const double *const *c,
                double *const *d) {
    const int halves = s->m / 8;
    double sum[MMA_MOST_M * 8];
    for (int row = 0; row < s->m; row++)
        for (int n = 0; n < 8; n++) {
            double x = c[row / 8 * 2 + n % 2][4 * (row % 8) + n / 2];
            for (int k = 0; k < s->k; k++)
                x = fma(a[k / 4 * halves + row / 8][4 * (row % 8) + k % 4], b[k / 4][4 * n + k % 4], x);
            sum[8 * row + n] = x;
        }
    for (int r = 0; r < s->m / 4; r++)
        for (int lane = 0; lane < 32; lane++)
            d[r][lane] = sum[r / 2 * 64 + 2 * lane + r % 2];
}

void mma_tile_of_f32(const float *const *reg, int m, float *tile) {
    for (int r = 0; r < m / 4; r++)
        for (int lane = 0; lane < 32; lane++)
            tile[r / 2 * 64 + 2 * lane + r % 2] = reg[r][lane];
}

void mma_tile_to_f32(const float *tile, int m, float *const *reg) {
    for (int r = 0; r < m / 4; r++)
        for (int lane = 0; lane < 32; lane++)
            reg[r][lane] = tile[r / 2 * 64 + 2 * lane + r % 2];
}

void mma_tile_of_f16(const uint16_t *const *reg, int m, float *tile) {
    for (int r = 0; r < m / 8; r++)
        f16_to_f32_n(reg[r], tile + 64 * r, 64);
}

void mma_tile_to_f16(const float *tile, int m, uint16_t *const *reg) {
    for (int r = 0; r < m / 8; r++)
        f16_of_f32_n(tile + 64 * r, reg[r], 64);
}

void matrix_transpose(const uint32_t *from, uint32_t *to) {
    uint16_t matrix[8][8], transposed[8][8];
    memcpy(matrix, from, sizeof matrix);
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 8; j++)
            transposed[j][i] = matrix[i][j];
    memcpy(to, transposed, sizeof transposed);
}
