/* Codes in words as other formats have them, against words that were written by hand. */
#include "tuner/convert/field.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void assert_row(const struct field *field, const void *data, int row, int columns, const uint8_t *want) {
    uint8_t got[16];
    assert_true(columns <= 16);
    field_read(field, data, row, 1, columns, got);
    assert_memory_equal(got, want, (size_t)columns);
}

/* Code i of a word of pack-quantized is input 8w + i. */
static void nibbles_along_the_inputs(void **state) {
    (void)state;
    const uint32_t words[2][2] = {{0x76543210, 0x000000a9}, {0x01234567, 0x000000ef}};
    const struct field field = {.bits = 4, .word = 4, .row = 2, .column = 1};
    assert_row(&field, words, 0, 10, (const uint8_t[]){0, 1, 2, 3, 4, 5, 6, 7, 9, 10});
    assert_row(&field, words, 1, 10, (const uint8_t[]){7, 6, 5, 4, 3, 2, 1, 0, 15, 14});
}

/* GPTQ: the word of inputs 0..7 of feature 1 is beside that of feature 0. */
static void nibbles_of_gptq(void **state) {
    (void)state;
    const uint32_t words[2][3] = {{0x11111111, 0x76543210, 0x22222222}, {0x33333333, 0xfedcba98, 0x44444444}};
    const struct field field = {.bits = 4, .word = 4, .row = 1, .column = 3};
    assert_row(&field, words, 1, 16, (const uint8_t[]){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15});
}

/* Zero points of GPTQ v1: along the features, stored less 1; 15 is what 0 less 1 leaves. */
static void zeros_less_one(void **state) {
    (void)state;
    const uint32_t words[2][2] = {{0x7654321f, 0}, {0x00000077, 0x00000005}}; /* two groups of 16 features */
    struct field field = {.bits = 4, .word = 4, .along_rows = true, .offset = 1, .row = 1, .column = 2};
    assert_row(&field, words, 0, 2, (const uint8_t[]){0, 8});
    assert_row(&field, words, 1, 2, (const uint8_t[]){2, 8});
    assert_row(&field, words, 8, 2, (const uint8_t[]){1, 6});
    field.bits = 8;
    const uint32_t bytes[1] = {0x7f80ff00};
    assert_row(&field, bytes, 3, 1, (const uint8_t[]){128});
    assert_row(&field, bytes, 1, 1, (const uint8_t[]){0});
}

/* AWQ: eight features with codes 0..7 have their nibbles in the order 0, 2, 4, 6, 1, 3, 5, 7. */
static void nibbles_of_awq(void **state) {
    (void)state;
    const uint32_t words[2][1] = {{0x75316420}, {0xfdb9eca8}};
    const struct field field = {.bits = 4, .word = 4, .along_rows = true, .interleaved = true, .row = 1, .column = 1};
    for (uint8_t row = 0; row < 8; row++)
        assert_row(&field, words, row, 2, (const uint8_t[]){row, (uint8_t)(row + 8)});
}

/* int-quantized: a byte each, 4-bit codes from -8 on. */
static void bytes(void **state) {
    (void)state;
    const int8_t codes[2][3] = {{-8, 0, 7}, {-128, -1, 127}};
    struct field field = {.bits = 4, .word = 1, .offset = 8, .row = 3, .column = 1};
    assert_row(&field, codes, 0, 3, (const uint8_t[]){0, 8, 15});
    field.bits = 8;
    field.offset = 128;
    assert_row(&field, codes, 1, 3, (const uint8_t[]){0, 127, 255});
}

static void what_is_written_is_read(void **state) {
    (void)state;
    static const struct field fields[] = {
        {.bits = 4, .word = 4, .row = 2, .column = 1},
        {.bits = 8, .word = 4, .row = 3, .column = 1},
        {.bits = 4, .word = 4, .row = 1, .column = 16},
        {.bits = 4, .word = 4, .along_rows = true, .row = 10, .column = 1},
        {.bits = 8, .word = 4, .along_rows = true, .offset = 1, .row = 1, .column = 4},
        {.bits = 4, .word = 4, .along_rows = true, .interleaved = true, .row = 1, .column = 2},
        {.bits = 8, .word = 1, .offset = 128, .row = 10, .column = 1},
    };
    for (size_t f = 0; f < sizeof fields / sizeof *fields; f++) {
        uint32_t words[64] = {0};
        uint8_t codes[16][10];
        for (int row = 0; row < 16; row++)
            for (int k = 0; k < 10; k++)
                codes[row][k] = (uint8_t)((row * 11 + k * 7 + 3) % (fields[f].bits == 4 ? 16 : 256));
        for (int row = 0; row < 16; row++)
            field_write(&fields[f], words, row, 10, codes[row]);
        for (int row = 0; row < 16; row++)
            assert_row(&fields[f], words, row, 10, codes[row]);
        uint8_t together[16][10];
        field_read(&fields[f], words, 3, 13, 10, together[3]);
        assert_memory_equal(together[3], codes[3], 13 * 10);
    }
    uint32_t words[2] = {0};
    field_write(&fields[0], words, 0, 10, (const uint8_t[]){0, 1, 2, 3, 4, 5, 6, 7, 9, 10});
    assert_int_equal(words[0], 0x76543210);
    assert_int_equal(words[1], 0xa9); /* what no code fills is 0 */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nibbles_along_the_inputs),
        cmocka_unit_test(nibbles_of_gptq),
        cmocka_unit_test(zeros_less_one),
        cmocka_unit_test(nibbles_of_awq),
        cmocka_unit_test(bytes),
        cmocka_unit_test(what_is_written_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
