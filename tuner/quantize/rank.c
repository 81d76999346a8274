#include "rank.h"
#include "runtime/base/parallel.h"
#include <limits.h>
#include <stdlib.h>

void rank_init(const struct source *source, const struct fused *layer, const struct cut *cut, struct rank *out) {
    *out = (struct rank){.source = source, .layer = layer, .cut = cut, .bad = LONG_MAX};
}

const struct tensor *rank_source(const struct rank *rank, int i, int *row) {
    int piece = 0;
    while (i >= rank->cut->piece[piece].rows)
        i -= rank->cut->piece[piece++].rows;
    *row = rank->cut->piece[piece].first + i;
    return rank->source->weight[rank->layer->part[rank->cut->piece[piece].part]];
}

const float *rank_row(const struct rank *rank, int i, float *buffer) {
    int row;
    const struct tensor *t = rank_source(rank, i, &row);
    const size_t first = (size_t)row * (size_t)t->shape[1] + (size_t)rank->cut->first_k;
    return tensor_view(t, first, (size_t)rank->cut->k, buffer);
}

void rank_drop(const struct rank *rank) {
    for (int i = 0; i < rank->layer->part_count; i++)
        tensor_drop(rank->source->weight[rank->layer->part[i]]);
}

void rank_note_bad(struct rank *rank, int i, int k) {
    const long at = (long)i * rank->cut->k + k;
    long before = atomic_load(&rank->bad);
    while (at < before && !atomic_compare_exchange_weak(&rank->bad, &before, at))
        ;
}

enum mt_status rank_check(const struct rank *rank) {
    const long bad = atomic_load(&rank->bad);
    int row;
    if (bad == LONG_MAX)
        return MT_OK;
    const struct tensor *t = rank_source(rank, (int)(bad / rank->cut->k), &row);
    const long column = rank->cut->first_k + bad % rank->cut->k;
    float value;
    tensor_floats(t, (size_t)row * (size_t)t->shape[1] + (size_t)column, 1, &value);
    return fail(MT_USAGE, "tensor %.200s, row %d, column %ld is %g, which cannot be quantised", t->name, row, column,
                (double)value);
}

/* Some of the rows. */
struct rounding {
    struct rank *rank;
    struct quant_rows *rows;
    int first;
};

static void rows_round(void *context, int begin, int end) {
    const struct rounding *r = context;
    float *buffer = xmalloc((size_t)r->rows->k * sizeof *buffer);
    for (int i = r->first + begin; i < r->first + end; i++) {
        const int bad = quant_rows_take(r->rows, i, rank_row(r->rank, i, buffer));
        if (bad >= 0)
            rank_note_bad(r->rank, i, bad);
    }
    free(buffer);
}

/* Lets go of the source's pages every few rows. */
enum mt_status rank_round(struct rank *rank, struct quant_rows *rows) {
    enum { AT_ONCE = 32 << 20 }; /* weights */
    const int most = AT_ONCE / rows->k > 16 ? AT_ONCE / rows->k : 16;
    for (int first = 0; first < rows->n; first += most) {
        struct rounding r = {rank, rows, first};
        parallel_for(rows->n - first < most ? rows->n - first : most, 16, rows_round, &r);
        rank_drop(rank);
    }
    return rank_check(rank);
}
