#include "winner_set.h"
#include "runtime/base/str.h"
#include <stdlib.h>
#include <string.h>

static const double tie_band = 1.01;

struct cover {
    int problems, kernels;
    bool *good;  /* [problems][kernels]: within the band */
    int *chosen; /* [problems]: -1: none yet */
    int *picked, picks;
};

static void find_good(struct cover *c, const double *ns) {
    for (int p = 0; p < c->problems; p++) {
        const double *row = ns + (long)p * c->kernels;
        double fastest = 0;
        for (int k = 0; k < c->kernels; k++)
            if (row[k] > 0 && (fastest <= 0 || row[k] < fastest))
                fastest = row[k];
        for (int k = 0; k < c->kernels; k++)
            c->good[(long)p * c->kernels + k] = row[k] > 0 && row[k] <= tie_band * fastest;
    }
}

static bool is_good(const struct cover *c, int problem, int kernel) {
    return c->good[(long)problem * c->kernels + kernel];
}

/* The kernel that serves most problems which have none yet; of equals the preferred one. -1: all have one. */
static int pick(const struct cover *c) {
    int best = -1, most = 0;
    for (int k = 0; k < c->kernels; k++) {
        int serves = 0;
        for (int p = 0; p < c->problems; p++)
            serves += c->chosen[p] < 0 && is_good(c, p, k);
        if (serves > most) {
            most = serves;
            best = k;
        }
    }
    return best;
}

/* The pick, other than number `without`, that serves a problem first; -1: none. */
static int other_pick(const struct cover *c, int problem, int without) {
    for (int i = 0; i < c->picks; i++)
        if (i != without && c->picked[i] >= 0 && is_good(c, problem, c->picked[i]))
            return c->picked[i];
    return -1;
}

/* A pick whose problems the others can serve too, as happens to early ones, goes. */
static void drop_needless(struct cover *c) {
    for (int i = 0; i < c->picks; i++) {
        bool needed = false;
        for (int p = 0; p < c->problems && !needed; p++)
            needed = c->chosen[p] == c->picked[i] && other_pick(c, p, i) < 0;
        for (int p = 0; p < c->problems && !needed; p++)
            if (c->chosen[p] == c->picked[i])
                c->chosen[p] = other_pick(c, p, i);
        if (!needed)
            c->picked[i] = -1;
    }
}

void winner_set_choose(const double *ns, int problems, int kernels, int *chosen) {
    struct cover c = {problems,
                      kernels,
                      xcalloc((size_t)problems * (size_t)kernels + 1, sizeof(bool)),
                      chosen,
                      xcalloc((size_t)problems + 1, sizeof(int)),
                      0};
    find_good(&c, ns);
    for (int p = 0; p < problems; p++)
        chosen[p] = -1;
    for (int k; (k = pick(&c)) >= 0;) {
        c.picked[c.picks++] = k;
        for (int p = 0; p < problems; p++)
            if (chosen[p] < 0 && is_good(&c, p, k))
                chosen[p] = k;
    }
    drop_needless(&c);
    free(c.good);
    free(c.picked);
}

/* ---- on rows ---- */

const char *const winner_set_layer[] = {"model",      "tp",     "layer", "n",     "k",
                                        "group_size", "scheme", "rows8", "dtype", NULL};
static const char *const problem_columns[] = {"m", NULL};
static const char *const kernel_columns[] = {"family", "binary", NULL};

/* The rows begin .. end are of one layer. Of a kernel's configurations at one problem the first counts: they stand in
 * order of simplicity. */
static void keep_of_layer(const struct rows *rows, int begin, int end, int *number, bool *keep) {
    int *kernel = number, *problem = number + rows->count;
    const int kernels = rows_number(rows, begin, end, kernel_columns, kernel);
    const int problems = rows_number(rows, begin, end, problem_columns, problem);
    double *ns = xcalloc((size_t)kernels * (size_t)problems, sizeof *ns);
    int *chosen = xmalloc((size_t)problems * sizeof *chosen);
    for (int r = end - 1; r >= begin; r--)
        ns[(long)problem[r] * kernels + kernel[r]] = strtod(rows_cell(rows, r, "median_ns"), NULL);
    winner_set_choose(ns, problems, kernels, chosen);
    for (int r = begin; r < end; r++)
        if (chosen[problem[r]] == kernel[r]) {
            keep[r] = true;
            chosen[problem[r]] = -1; /* one row is enough */
        }
    free(ns);
    free(chosen);
}

void winner_set_keep(struct rows *rows) {
    bool *keep = xcalloc((size_t)rows->count + 1, sizeof *keep);
    int *number = xcalloc(2 * (size_t)rows->count + 1, sizeof *number);
    for (int begin = 0, end; begin < rows->count; begin = end) {
        for (end = begin; end < rows->count && rows_same(rows, begin, end, winner_set_layer); end++)
            ;
        keep_of_layer(rows, begin, end, number, keep);
    }
    rows_keep(rows, keep);
    free(keep);
    free(number);
}
