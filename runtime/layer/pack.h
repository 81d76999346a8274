/* The packed layout of weights (ARCHITECTURE.md, "Packed layout"). */
#ifndef MT_PACK_H
#define MT_PACK_H

#include <stddef.h>
#include <stdint.h>

/* The number of this layout, which stands beside packed weights wherever they are kept. */
#define PACK_LAYOUT 1

/* Bytes of the packed weights of `padded_rows` features. */
size_t packed_bytes(int bits, int padded_rows, int k_padded);
/* q [..][k_padded] -> blocks. Feature i of `rows` is row columns[i] of q; NULL: row i. Features beyond `rows` are packed
 * as 0, and have scales of 0. */
void pack_weights(int bits, int rows, int padded_rows, int k_padded, const int8_t *q, const int *columns, void *packed);
/* The way back, to q [rows][k_padded]. */
void unpack_weights(int bits, int rows, int padded_rows, int k_padded, const void *packed, int8_t *q);

#endif
