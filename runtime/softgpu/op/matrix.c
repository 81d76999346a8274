/* ldmatrix and stmatrix: 8 x 8 matrices of 16-bit elements between shared memory and the registers of a warp.
 *
 * Lane 8 j + r gives the address of row r of matrix j, 16 bytes. Register j, as 32 lanes of 4 bytes, is the matrix row
 * by row. */
#include "lanes.h"

enum { ROWS = 8, ROW_BYTES = 16, MAX_MATRICES = 4 };

static const struct operand *nth(const struct operand *o, int k) {
    return o->kind == O_VEC ? &o->vec[k] : o;
}

static void ldmatrix_op(struct warp *w, const struct insn *i) {
    uint8_t *row[MAX_MATRICES * ROWS];
    uint32_t matrix[MAX_MATRICES][LANES];
    if (!lanes_whole(w, i) || !shared_rows(w, i, i->num * ROWS, false, row))
        return;
    for (int r = 0; r < i->num * ROWS; r++)
        memcpy((uint8_t *)matrix[r / ROWS] + r % ROWS * ROW_BYTES, row[r], ROW_BYTES);
    for (int j = 0; j < i->num; j++) {
        if (i->flags & F_TRANS)
            matrix_transpose(matrix[j], matrix[j]);
        memcpy(dst_lanes(w, nth(&i->dst[0], j)), matrix[j], sizeof matrix[j]);
    }
    poison_matrices(w, i, row);
}

static void stmatrix_op(struct warp *w, const struct insn *i) {
    uint8_t *row[MAX_MATRICES * ROWS];
    if (!lanes_whole(w, i) || !shared_rows(w, i, i->num * ROWS, true, row))
        return;
    for (int j = 0; j < i->num; j++) {
        uint32_t matrix[LANES];
        memcpy(matrix, src_lanes(w, nth(&i->src[1], j)), sizeof matrix);
        if (i->flags & F_TRANS)
            matrix_transpose(matrix, matrix);
        for (int r = 0; r < ROWS; r++)
            memcpy(row[j * ROWS + r], (const uint8_t *)matrix + r * ROW_BYTES, ROW_BYTES);
    }
}

/* A register for each matrix. */
static bool holds_matrices(const struct operand *o, int count) {
    return (o->kind == O_VEC ? o->count : 1) == count;
}

op_fn *op_matrix_find(struct insn *i) {
    const bool load = i->op == OP_ldmatrix;
    const bool known = i->shape[0] == 8 && i->shape[1] == 8 && i->types == 1 && i->type[0] == T_B16 &&
                       (i->num == 1 || i->num == 2 || i->num == 4) &&
                       holds_matrices(load ? &i->dst[0] : &i->src[1], i->num) && i->src[0].kind == O_ADDRESS &&
                       (i->space == SPACE_SHARED || i->space == SPACE_GENERIC);
    if (!known || (i->flags & ~(F_SYNC | F_ALIGNED | F_TRANS)))
        return NULL;
    return load ? ldmatrix_op : stmatrix_op;
}
