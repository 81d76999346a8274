/* The packed layout against an independent statement of it: from an element to its place, the other way round than the
 * code. */
#include "runtime/base/str.h"
#include "runtime/layer/pack.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

/* Byte and shift at which code (row, k) is stored. */
static size_t place_of(int bits, int padded_rows, int row, int k, int *shift) {
    size_t slab = (size_t)(k / 128), tile = (size_t)(row / 16);
    int span = bits == 8 ? 32 : 64, per_slab = 128 / span;
    size_t block = (slab * (size_t)(padded_rows / 16) + tile) * (size_t)per_slab + (size_t)(k % 128 / span);
    int lane = row % 8 * 4 + k % 16 / 4;
    int word = (row % 16 >= 8) + 2 * (k % 32 >= 16);
    *shift = bits == 4 && k % 64 >= 32 ? 4 : 0;
    return block * 512 + (size_t)lane * 16 + (size_t)word * 4 + (size_t)(k % 4);
}

static void round_trip(int bits, int rows, int k_padded) {
    int padded = (rows + 15) / 16 * 16;
    size_t count = (size_t)rows * (size_t)k_padded, size = packed_bytes(bits, padded, k_padded);
    int8_t *q = xmalloc(count), *back = xmalloc(count);
    uint8_t *packed = xmalloc(size + 16), *want = xcalloc(size, 1);
    memset(packed, 0xa5, size + 16);
    memset(back, 0x5a, count);
    for (size_t i = 0; i < count; i++)
        q[i] = (int8_t)(bits == 4 ? lrand48() % 16 : lrand48() % 255 - 127);
    for (int row = 0; row < rows; row++) {
        for (int k = 0; k < k_padded; k++) {
            int shift;
            size_t at = place_of(bits, padded, row, k, &shift);
            assert_true(at < size);
            want[at] |= (uint8_t)((uint8_t)q[(size_t)row * (size_t)k_padded + (size_t)k] << shift);
        }
    }
    pack_weights(bits, rows, padded, k_padded, q, NULL, packed);
    assert_memory_equal(packed, want, size);
    for (int i = 0; i < 16; i++)
        assert_int_equal(packed[size + (size_t)i], 0xa5);
    unpack_weights(bits, rows, padded, k_padded, packed, back);
    assert_memory_equal(back, q, count);
    free(q);
    free(back);
    free(packed);
    free(want);
}

static void layout_is_as_stated(void **state) {
    (void)state;
    static const int rows[] = {1, 7, 16, 17, 33, 100, 128}, k[] = {128, 256, 640};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t j = 0; j < sizeof k / sizeof *k; j++) {
            round_trip(8, rows[i], k[j]);
            round_trip(4, rows[i], k[j]);
        }
    }
}

/* A few places worked out by hand, so that both statements cannot share a mistake. */
static void known_places(void **state) {
    (void)state;
    static int8_t q[32 * 256];
    static uint8_t packed[32 * 256];
    q[9 * 256 + 128 + 64 + 16 + 4 + 1] =
        77; /* row 9, k 213: slab 1, tile 0, block 2, lane 1 * 4 + 1, word a3, byte 1 */
    pack_weights(8, 32, 32, 256, q, NULL, packed);
    assert_int_equal(packed[(1 * 2 * 4 + 2) * 512 + 5 * 16 + 3 * 4 + 1], 77);
    memset(q, 0, sizeof q);
    q[16 * 256 + 32] = 11; /* row 16, k 32: slab 0, tile 1, block 0, lane 0, word a0, byte 0, high nibble */
    q[16 * 256 + 0] = 5;
    pack_weights(4, 32, 32, 256, q, NULL, packed);
    assert_int_equal(packed[1 * 2 * 512], 11 << 4 | 5);
    assert_int_equal(packed_bytes(4, 32, 256), 4096);
    assert_int_equal(packed_bytes(8, 32, 256), 8192);
}

int main(void) {
    srand48(21);
    const struct CMUnitTest tests[] = {cmocka_unit_test(layout_is_as_stated), cmocka_unit_test(known_places)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
