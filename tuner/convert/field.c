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

void field_read(const struct field *field, const void *data, int row, int columns, uint8_t *out) {
    const int per = field_codes(field);
    const uint32_t mask = mask_of(field);
    if (field->along_rows) {
        const int shift = shift_of(field, row);
        size_t at = (size_t)(row / per) * field->row;
        for (int k = 0; k < columns; k++, at += field->column)
            out[k] = (uint8_t)(((word_load(field, data, at) >> shift) + field->offset) & mask);
        return;
    }
    size_t at = (size_t)row * field->row;
    for (int k = 0; k < columns; k += per, at += field->column) {
        uint32_t word = word_load(field, data, at);
        for (int i = 0; i < per && k + i < columns; i++, word >>= field->bits & 31)
            out[k + i] = (uint8_t)((word + field->offset) & mask);
    }
}

void field_write(const struct field *field, void *data, int row, int columns, const uint8_t *codes) {
    const int per = field_codes(field);
    const uint32_t mask = mask_of(field);
    for (int k = 0; k < columns; k++) {
        const size_t at = field->along_rows ? (size_t)(row / per) * field->row + (size_t)k * field->column
                                            : (size_t)row * field->row + (size_t)(k / per) * field->column;
        const int shift = shift_of(field, field->along_rows ? row : k);
        const uint32_t code = ((uint32_t)codes[k] - field->offset) & mask;
        word_store(field, data, at, (word_load(field, data, at) & ~(mask << shift)) | code << shift);
    }
}
