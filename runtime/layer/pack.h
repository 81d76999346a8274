/* The packed layout of weights (ARCHITECTURE.md, "Packed layout"). */
#ifndef MT_PACK_H
#define MT_PACK_H

#include "runtime/base/status.h"
#include "templates/gemm_args.h"
#include <stddef.h>
#include <stdint.h>

/* The number of this layout, which stands beside packed weights wherever they are kept. */
#define PACK_LAYOUT 1

/* Features of a part with its padding. */
static inline int pack_padded(int rows) {
    return (rows + MT_N_PAD - 1) / MT_N_PAD * MT_N_PAD;
}
/* Bytes of the packed weights of `padded_rows` features. */
size_t packed_bytes(int bits, int padded_rows, int k_padded);
/* Both are MT_FAILURE if memory is short. q [..][k_padded] -> blocks. Feature i of `rows` is row columns[i] of q; NULL:
 * row i. Features beyond `rows` are packed as 0, and have scales of 0. */
enum mt_status pack_weights(int bits, int rows, int padded_rows, int k_padded, const int8_t *q, const int *columns,
                            void *packed);
/* The way back, to q [rows][k_padded]. */
enum mt_status unpack_weights(int bits, int rows, int padded_rows, int k_padded, const void *packed, int8_t *q);

#endif
