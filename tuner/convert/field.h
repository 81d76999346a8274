/* Matrices of unsigned codes in the words of other formats: of all of them, reading and writing. */
#ifndef MT_CONVERT_FIELD_H
#define MT_CONVERT_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a matrix [rows][columns] of codes lies in little-endian words. Rows are output features; columns are input
 * features, or groups of them.
 *
 *   | matrix                               | word                              | along   |
 *   | ------------------------------------ | --------------------------------- | ------- |
 *   | compressed-tensors, weight_packed    | int32 [N][ceil(K / per)]          | columns |
 *   | … weight_zero_point                  | int32 [ceil(N / per)][groups]     | rows    |
 *   | … int-quantized: weight, zero points | int8 [N][K], [N][groups]          | columns |
 *   | GPTQ, qweight                        | int32 [K / per][N]                | columns |
 *   | GPTQ, qzeros                         | int32 [groups][N / per]           | rows    |
 *   | AWQ, qweight and qzeros              | int32 [K][N / 8], [groups][N / 8] | rows    |
 */
struct field {
    int bits;           /* of a code: 4, 8 */
    int word;           /* bytes: 4, 1 */
    bool along_rows;    /* the codes of a word are of one column; else of one row */
    bool interleaved;   /* AWQ: nibble i has row 0, 2, 4, 6, 1, 3, 5, 7 of the eight */
    uint8_t offset;     /* added to what is stored, modulo 256 where a word is one byte, else modulo 2^bits */
    size_t row, column; /* words from one row to the next, from one column to the next; where several share a word,
                          * from it to the next word */
};

/* Codes in a word. A byte has one, whatever its bits. */
static inline int field_codes(const struct field *field) {
    return field->word == 1 ? 1 : 32 / field->bits;
}
/* Rows `row` .. row + rows - 1 of the matrix at `data`, which is aligned to nothing: out [rows][columns]. Codes 0 ..
 * 2^bits - 1; in words of one byte 0..255. Rows that share words are read fastest together. */
void field_read(const struct field *field, const void *data, int row, int rows, int columns, uint8_t *out);
/* Writes one row. Where several rows share a word, its other rows stay; what no code fills stays as it was. Not for two
 * threads at such a word. */
void field_write(const struct field *field, void *data, int row, int columns, const uint8_t *codes);

#endif
