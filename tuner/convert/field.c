#include "field.h"
#include <string.h>

/* Little-endian, as safetensors has all numbers. */
static uint32_t word_load(const struct field *field, const uint8_t *data, size_t at) {
    if (field->word == 1)
        return data[at];
    uint32_t word;
    memcpy(&word, data + at * sizeof word, sizeof word);
    return word;
}

static void word_store(const struct field *field, uint8_t *data, size_t at, uint32_t word) {
    if (field->word == 1)
        data[at] = (uint8_t)word;
    else
        memcpy(data + at * sizeof word, &word, sizeof word);
}

/* Of a code within its word; `place` is its row or column. */
static int shift_of(const struct field *field, int place) {
    static const uint8_t nibble[8] = {0, 4, 1, 5, 2, 6, 3, 7}; /* that has row i of eight: AWQ */
    const int i = place % field_codes(field);
    return field->word == 1 ? 0 : field->bits * (field->interleaved ? nibble[i] : i);
}

/* Bits of a word that are one code. */
static uint32_t mask_of(const struct field *field) {
    return field->word == 1 || field->bits == 8 ? 0xff : 0xf;
}

/* The eight nibbles of a word as bytes, the lowest first, and back. */
static uint64_t nibbles_spread(uint32_t word) {
    uint64_t x = word;
    x = (x | x << 16) & 0x0000ffff0000ffff;
    x = (x | x << 8) & 0x00ff00ff00ff00ff;
    return (x | x << 4) & 0x0f0f0f0f0f0f0f0f;
}

static uint32_t nibbles_join(uint64_t x) {
    x = (x | x >> 4) & 0x00ff00ff00ff00ff;
    x = (x | x >> 8) & 0x0000ffff0000ffff;
    return (uint32_t)(x | x >> 16);
}

/* Whether a word has nothing but codes as they are. */
static bool is_plain(const struct field *field, int bits) {
    return field->word == 4 && field->bits == bits && field->offset == 0;
}

static void row_read(const struct field *field, const uint8_t *data, int row, int columns, uint8_t *out) {
    const int per = field_codes(field);
    const uint32_t mask = mask_of(field);
    size_t at = (size_t)row * field->row;
    int k = 0;
    for (; is_plain(field, 4) && k + per <= columns; k += per, at += field->column) {
        const uint64_t codes = nibbles_spread(word_load(field, data, at));
        memcpy(out + k, &codes, sizeof codes);
    }
    for (; field->word == 1 && field->column == 1 && k < columns; k++)
        out[k] = (uint8_t)(data[at + (size_t)k] + field->offset);
    for (; k < columns; k += per, at += field->column) {
        uint32_t word = word_load(field, data, at);
        for (int i = 0; i < per && k + i < columns; i++, word >>= field->bits & 31)
            out[k + i] = (uint8_t)((word + field->offset) & mask);
    }
}

/* Rows that are in the same words. */
static void rows_read(const struct field *field, const uint8_t *data, int row, int rows, int columns, uint8_t *out) {
    const int per = field_codes(field);
    const uint32_t mask = mask_of(field);
    int shift[8];
    size_t at = (size_t)(row / per) * field->row;
    for (int i = 0; i < rows; i++)
        shift[i] = shift_of(field, row + i);
    for (int k = 0; k < columns; k++, at += field->column) {
        const uint32_t word = word_load(field, data, at);
        for (int i = 0; i < rows; i++)
            out[(size_t)i * (size_t)columns + (size_t)k] = (uint8_t)(((word >> shift[i]) + field->offset) & mask);
    }
}

void field_read(const struct field *field, const void *data, int row, int rows, int columns, uint8_t *out) {
    const int per = field_codes(field);
    for (int end = row + rows, count; row < end; row += count, out += (size_t)count * (size_t)columns) {
        count = field->along_rows ? per - row % per : 1;
        count = count < end - row ? count : end - row;
        if (field->along_rows)
            rows_read(field, data, row, count, columns, out);
        else
            row_read(field, data, row, columns, out);
    }
}

/* Puts `codes` into one word, from its place `first` on. */
static void word_write(const struct field *field, uint8_t *data, size_t at, int first, int count,
                       const uint8_t *codes) {
    const uint32_t mask = mask_of(field);
    uint32_t kept = 0xffffffff, word = 0;
    for (int i = 0; i < count; i++) {
        const int shift = shift_of(field, first + i);
        kept &= ~(mask << shift);
        word |= (((uint32_t)codes[i] - field->offset) & mask) << shift;
    }
    word_store(field, data, at, kept ? (word_load(field, data, at) & kept) | word : word);
}

void field_write(const struct field *field, void *data, int row, int columns, const uint8_t *codes) {
    const int per = field_codes(field);
    size_t at = (size_t)(field->along_rows ? row / per : row) * field->row;
    int k = 0;
    for (; field->along_rows && k < columns; k++, at += field->column)
        word_write(field, data, at, row % per, 1, codes + k);
    for (; is_plain(field, 4) && k + per <= columns; k += per, at += field->column) {
        uint64_t bytes;
        memcpy(&bytes, codes + k, sizeof bytes);
        word_store(field, data, at, nibbles_join(bytes));
    }
    for (; is_plain(field, 8) && k + per <= columns; k += per, at += field->column) {
        uint32_t word;
        memcpy(&word, codes + k, sizeof word);
        word_store(field, data, at, word);
    }
    for (; k < columns; k += per, at += field->column)
        word_write(field, data, at, 0, columns - k < per ? columns - k : per, codes + k);
}
