#include "gptq.h"
#include "blas.h"
#include "runtime/base/parallel.h"
#include "runtime/layer/half.h"
#include "runtime/layer/round.h"
#include "templates/gemm_args.h"
#include "tuner/progress.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS = 64, /* beside each other: one input of all of them is a row of the matrices here */
    SOME = 32  /* inputs that are rounded one by one; between such runs the feedback is a product of matrices */
};

struct job {
    struct rank *rank;
    const struct hessian *h;
    const struct gptq_plan *plan;
    struct quant_rows *rows;
    bool clip;
    int width;
    atomic_int overflown; /* a row whose weights became infinite, or INT_MAX */
};

/* The rows first .. first + count - 1; what is beyond count is 0. */
struct block {
    struct job *job;
    int first, count;
    double *w, *delta;      /* [k][ROWS], by places: the weights, and what rounding adds to them */
    int8_t *q;              /* [k][ROWS], by places */
    double *t, *x;          /* [group][ROWS]: T of the group in hand, and the weights that its scale is taken from */
    double *trial, *output; /* [group][ROWS]: δ_g of a ratio, and H_gg times it */
    uint16_t *scales;       /* [ROWS][groups] */
    uint8_t *zeros;         /* likewise */
    float s[ROWS];          /* of the group in hand */
    int zero[ROWS], low[ROWS], high[ROWS];
    double squares[ROWS], ridge[ROWS]; /* |δ L|² and |δ|² so far */
};

static void block_init(struct job *job, struct block *b) {
    const size_t each = ROWS * sizeof(double), k = (size_t)job->h->k, group = (size_t)job->h->group;
    const size_t groups = (size_t)job->h->groups;
    *b = (struct block){.job = job,
                        .w = xmalloc(k * each),
                        .delta = xmalloc(k * each),
                        .q = xmalloc(k * ROWS),
                        .t = xmalloc(group * each),
                        .x = xmalloc(group * each),
                        .trial = xmalloc(group * each),
                        .output = xmalloc(group * each),
                        .scales = xcalloc(ROWS * groups, sizeof *b->scales),
                        .zeros = xcalloc(ROWS * groups, 1)};
}

static void block_release(struct block *b) {
    free(b->w);
    free(b->delta);
    free(b->q);
    free(b->t);
    free(b->x);
    free(b->trial);
    free(b->output);
    free(b->scales);
    free(b->zeros);
}

/* Reads the weights. False if one is not finite. */
static bool block_load(struct block *b) {
    const struct hessian *h = b->job->h;
    float *buffer = xmalloc((size_t)h->k * sizeof *buffer);
    bool good = true;
    if (b->count < ROWS)
        memset(b->w, 0, (size_t)h->k * ROWS * sizeof *b->w);
    for (int r = 0; r < b->count; r++) {
        const float *row = rank_row(b->job->rank, b->first + r, buffer);
        for (int i = 0; i < h->k; i++)
            if (!isfinite(row[i])) {
                rank_note_bad(b->job->rank, b->first + r, i);
                good = false;
                break;
            }
        for (int p = 0; p < h->k; p++)
            b->w[(size_t)p * ROWS + (size_t)r] = (double)row[h->input[p]];
    }
    memset(b->squares, 0, sizeof b->squares);
    memset(b->ridge, 0, sizeof b->ridge);
    free(buffer);
    return good;
}

/* L, from one place and another. */
static const double *factor_at(const struct hessian *h, int place, int other) {
    return h->factor + (size_t)place * (size_t)h->stride + other;
}

/* ---- a group's scale ---- */

/* δ_g of plain rounding of the weights x, and of each row δ_g H_gg δ_gᵀ. */
INLINE void trial_round(const double *restrict x, int count, const float *restrict s, const int *restrict low,
                        const int *restrict high, double *restrict trial) {
    for (int i = 0; i < count; i++)
        for (int r = 0; r < ROWS; r++) {
            const double w = x[i * ROWS + r];
            const float product = (round_shifted((float)w, s[r], low[r], high[r]) - ROUNDER) * s[r];
            trial[i * ROWS + r] = (double)product - w;
        }
}

static void trial_errors(const struct block *b, int visit, int count, double error[ROWS]) {
    const struct hessian *h = b->job->h;
    const double *block = h->blocks + (size_t)visit * (size_t)h->group * (size_t)h->group;
    blas.gemm(BLAS_ROWS, BLAS_PLAIN, BLAS_PLAIN, count, ROWS, count, 1, block, h->group, b->trial, ROWS, 0, b->output,
              ROWS);
    memset(error, 0, ROWS * sizeof *error);
    for (int i = 0; i < count; i++)
        for (int r = 0; r < ROWS; r++)
            error[r] += b->trial[i * ROWS + r] * b->output[i * ROWS + r];
}

/* The weights x of one row, filled up with zeros; their number. */
static int row_of_group(const struct block *b, int r, int count, float *out) {
    enum { STEP = 64 };
    const int padded = (count + STEP - 1) / STEP * STEP;
    for (int i = 0; i < count; i++)
        out[i] = (float)b->x[i * ROWS + r];
    memset(out + count, 0, (size_t)(padded - count) * sizeof *out);
    return padded;
}

/* The grids of all rows with this ratio; false if a weight is not finite. */
static bool grids_make(struct block *b, int count, float ratio, struct round_grid grid[ROWS]) {
    enum { LARGEST = 256 };
    float w[LARGEST];
    for (int r = 0; r < ROWS; r++) {
        const int padded = row_of_group(b, r, count, w);
        if (!round_grid(b->job->width, b->job->rows->symmetric, w, padded, ratio, &grid[r])) {
            atomic_store(&b->job->overflown, b->first + r);
            return false;
        }
        b->s[r] = grid[r].s;
        b->low[r] = grid[r].low;
        b->high[r] = grid[r].high;
    }
    return true;
}

static bool grids_choose(struct block *b, int visit, int count, struct round_grid best[ROWS]) {
    struct round_grid grid[ROWS];
    double least[ROWS], error[ROWS];
    if (!grids_make(b, count, 1, best))
        return false;
    for (int i = 0; b->job->clip && i < ROUND_RATIOS; i++) {
        if (!grids_make(b, count, round_ratios[i], grid))
            return false;
        trial_round(b->x, count, b->s, b->low, b->high, b->trial);
        trial_errors(b, visit, count, error);
        for (int r = 0; r < ROWS; r++)
            if (i == 0 || error[r] < least[r]) {
                least[r] = error[r];
                best[r] = grid[r];
            }
    }
    return true;
}

static bool group_scale(struct block *b, int visit, int count) {
    const struct hessian *h = b->job->h;
    struct round_grid grid[ROWS];
    if (!grids_choose(b, visit, count, grid))
        return false;
    for (int r = 0; r < ROWS; r++) {
        const size_t at = (size_t)r * (size_t)h->groups + (size_t)h->visited[visit];
        b->s[r] = grid[r].s;
        b->zero[r] = grid[r].zero;
        b->low[r] = grid[r].low;
        b->high[r] = grid[r].high;
        b->scales[at] = grid[r].scale;
        b->zeros[at] = (uint8_t)grid[r].zero;
    }
    return true;
}

/* ---- its inputs ---- */

/* One input of all rows: its code, its δ, and its element of δ L. */
INLINE void input_round(struct block *b, double diagonal, const double *restrict w, const double *restrict t,
                        bool feedback, int8_t *restrict q, double *restrict delta) {
    for (int r = 0; r < ROWS; r++) {
        const double wanted = feedback ? w[r] - t[r] / diagonal : w[r];
        const float shifted = round_shifted((float)wanted, b->s[r], b->low[r], b->high[r]);
        const float product = (shifted - ROUNDER) * b->s[r];
        q[r] = (int8_t)((int)(bits_of_float(shifted) - ROUNDER_BITS) + b->zero[r]);
        delta[r] = (double)product - w[r];
        const double element = t[r] + delta[r] * diagonal;
        b->squares[r] += element * element;
        b->ridge[r] += delta[r] * delta[r];
    }
}

/* The inputs at the places begin .. end - 1 of a group that begins at `first`. */
INLINE void inputs_round(struct block *b, int first, int begin, int end) {
    const struct hessian *h = b->job->h;
    for (int p = end - 1; p >= begin; p--) {
        const size_t at = (size_t)p * ROWS;
        const double *row = factor_at(h, p, 0);
        double *delta = b->delta + at;
        input_round(b, row[p], b->w + at, b->t + (size_t)(p - first) * ROWS, b->job->plan->feedback, b->q + at, delta);
        for (int j = begin; j < p; j++) {
            double *t = b->t + (size_t)(j - first) * ROWS;
            for (int r = 0; r < ROWS; r++)
                t[r] += delta[r] * row[j];
        }
    }
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static void inputs_round_avx2(struct block *b, int first, int begin, int end) {
    inputs_round(b, first, begin, end);
}
#endif

static void inputs_round_any(struct block *b, int first, int begin, int end) {
#ifdef __x86_64__
    if (vectors_wide()) {
        inputs_round_avx2(b, first, begin, end);
        return;
    }
#endif
    inputs_round(b, first, begin, end);
}

/* T of the group at the places first .. end - 1, from all inputs that are rounded; and the weights for its scale. */
static void group_begin(struct block *b, int first, int end) {
    const struct hessian *h = b->job->h;
    const int count = end - first;
    const size_t bytes = (size_t)count * ROWS * sizeof *b->t;
    memset(b->t, 0, bytes);
    if (end < h->k)
        blas.gemm(BLAS_ROWS, BLAS_TRANSPOSED, BLAS_PLAIN, count, ROWS, h->k - end, 1, factor_at(h, end, first),
                  h->stride, b->delta + (size_t)end * ROWS, ROWS, 0, b->t, ROWS);
    memcpy(b->x, b->w + (size_t)first * ROWS, bytes);
    if (end == h->k || !b->job->plan->feedback)
        return;
    memcpy(b->output, b->t, bytes);
    blas.trsm(BLAS_ROWS, BLAS_LEFT, BLAS_LOWER, BLAS_TRANSPOSED, BLAS_NOT_UNIT, count, ROWS, 1,
              factor_at(h, first, first), h->stride, b->output, ROWS);
    for (int i = 0; i < count * ROWS; i++)
        b->x[i] -= b->output[i];
}

static bool group_round(struct block *b, int visit) {
    const struct hessian *h = b->job->h;
    const int first = h->end[visit + 1];
    group_begin(b, first, h->end[visit]);
    if (!group_scale(b, visit, h->end[visit] - first))
        return false;
    for (int end = h->end[visit], begin; end > first; end = begin) {
        begin = end - SOME > first ? end - SOME : first;
        inputs_round_any(b, first, begin, end);
        if (begin > first)
            blas.gemm(BLAS_ROWS, BLAS_TRANSPOSED, BLAS_PLAIN, begin - first, ROWS, end - begin, 1,
                      factor_at(h, begin, first), h->stride, b->delta + (size_t)begin * ROWS, ROWS, 1, b->t, ROWS);
    }
    return true;
}

/* ---- all rows ---- */

static void block_store(const struct block *b) {
    const struct hessian *h = b->job->h;
    struct quant_rows *rows = b->job->rows;
    int8_t *q = xmalloc((size_t)h->k);
    for (int r = 0; r < b->count; r++) {
        const size_t at = (size_t)r * (size_t)h->groups;
        for (int p = 0; p < h->k; p++)
            q[h->input[p]] = b->q[(size_t)p * ROWS + (size_t)r];
        quant_rows_import(rows, b->job->width, b->first + r, q, b->scales + at, b->zeros + at);
        const double error = b->squares[r] - h->ridge * b->ridge[r];
        rows->error[b->job->width][b->first + r] = error > 0 ? error : 0;
    }
    free(q);
}

static void blocks_round(void *context, int begin, int end) {
    struct job *job = context;
    struct block b;
    block_init(job, &b);
    for (int i = begin; i < end; i++) {
        b.first = i * ROWS;
        b.count = job->rows->n - b.first < ROWS ? job->rows->n - b.first : ROWS;
        bool good = block_load(&b);
        for (int v = 0; v < job->h->groups && good && !interrupted(); v++)
            good = group_round(&b, v);
        if (good && !interrupted())
            block_store(&b);
    }
    block_release(&b);
}

static enum mt_status round_all(struct rank *rank, const struct hessian *h, const struct gptq_plan *plan, bool clip,
                                struct quant_rows *rows) {
    struct job job = {.rank = rank, .h = h, .plan = plan, .rows = rows, .clip = clip, .overflown = -1};
    for (job.width = 0; job.width < MT_PARTS; job.width++)
        if (rows->q[job.width])
            parallel_for((rows->n - 1) / ROWS + 1, 1, blocks_round, &job);
    rank_drop(rank);
    enum mt_status status = rank_check(rank);
    if (!status && interrupted())
        status = fail(MT_INTERRUPTED, "interrupted");
    const int row = atomic_load(&job.overflown);
    if (!status && row >= 0)
        status = fail(MT_FAILURE, "GPTQ makes the weights of feature %d of %s infinite; a higher --damping may help",
                      row, rank->layer->name);
    return status;
}

/* ---- clipped or not ---- */

static void copy_row(const struct quant_rows *from, int width, int row, struct quant_rows *to) {
    const size_t k = (size_t)to->k_padded, groups = (size_t)to->groups, at = (size_t)row;
    memcpy(to->q[width] + at * k, from->q[width] + at * k, k);
    memcpy(to->scales[width] + at * groups, from->scales[width] + at * groups, groups * sizeof *to->scales[width]);
    if (width == MT_PART_W4 && to->zeros)
        memcpy(to->zeros + at * groups, from->zeros + at * groups, groups);
    to->error[width][row] = from->error[width][row];
}

/* Takes what is clipped where it is not worse: rows of `part` at one width. */
static void take_better(const struct rank *rank, const struct tensor *part, int width, const struct quant_rows *clipped,
                        struct quant_rows *rows) {
    double change = 0;
    int ignored;
    for (int i = 0; i < rows->n; i++)
        if (rank_source(rank, i, &ignored) == part)
            change += clipped->error[width][i] - rows->error[width][i];
    for (int i = 0; i < rows->n && change <= 0; i++)
        if (rank_source(rank, i, &ignored) == part)
            copy_row(clipped, width, i, rows);
}

enum mt_status gptq_round(struct rank *rank, const struct hessian *h, const struct gptq_plan *plan,
                          struct quant_rows *rows) {
    struct quant_rows clipped;
    enum mt_status status = round_all(rank, h, plan, false, rows);
    if (status || !plan->clip)
        return status;
    const struct problem p = {.m = 1, .n = rows->n, .k = rows->k, .group = rows->group, .symmetric = rows->symmetric};
    status = quant_rows_init(&clipped, &p, rows->q[MT_PART_W8], rows->q[MT_PART_W4]);
    if (!status)
        status = round_all(rank, h, plan, true, &clipped);
    for (int width = 0; width < MT_PARTS && !status; width++)
        for (int i = 0; i < rank->layer->part_count && rows->q[width]; i++)
            take_better(rank, rank->source->weight[rank->layer->part[i]], width, &clipped, rows);
    quant_rows_release(&clipped);
    return status;
}

double gptq_factor_operations(int k) {
    return (double)k * k * k / 3;
}

double gptq_row_operations(int n, int k) {
    return (double)n * k * k;
}
