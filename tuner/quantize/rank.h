/* The weights that one rank has of a layer, and their rounding to nearest. */
#ifndef MT_RANK_H
#define MT_RANK_H

#include "runtime/layer/rows.h"
#include "source.h"
#include "tuner/choice/cut.h"
#include <stdatomic.h>

struct rank {
    const struct source *source;
    const struct fused *layer;
    const struct cut *cut;
    atomic_long bad; /* the first weight in [n][k] that is not finite, or LONG_MAX: rank_init() */
};

void rank_init(const struct source *source, const struct fused *layer, const struct cut *cut, struct rank *out);
/* The weight that row i is of, and its row there. */
const struct tensor *rank_source(const struct rank *rank, int i, int *row);
/* Row i: in the map, or in `buffer` [k]. */
const float *rank_row(const struct rank *rank, int i, float *buffer);
/* The source's pages have been used (tensor_drop()). */
void rank_drop(const struct rank *rank);

/* Weight `k` of row i is not finite. May be called by many threads. */
void rank_note_bad(struct rank *rank, int i, int k);
/* MT_USAGE with one sentence if that was called. */
enum mt_status rank_check(const struct rank *rank);

/* Rounds all rows to nearest at the widths that `rows` has. MT_USAGE if a weight is not finite. */
enum mt_status rank_round(struct rank *rank, struct quant_rows *rows);

#endif
