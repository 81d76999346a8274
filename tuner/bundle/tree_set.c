#include "tree_set.h"
#include "runtime/base/visible.h"
#include "runtime/family/family.h"
#include "tuner/report/json_line.h"
#include "tuner/report/winner_set.h"
#include <stdlib.h>
#include <string.h>

static const double tie_band = 1.01;

/* The kernels that were timed for one layer: rows begin .. end of `timed`, winners first .. last. */
struct choosing {
    const struct rows *winners, *timed;
    int first, last, begin, end;
    struct sum_tree *trees; /* [timed->count]: of each row; then each once */
    struct sum_tree *distinct;
    int count;
    double *best; /* [count][last - first]: 0: none was timed */
};

static double time_of(const struct rows *rows, int row) {
    return strtod(rows_cell(rows, row, "median_ns"), NULL);
}

static int winner_of(const struct rows *timed, int row) {
    return atoi(rows_cell(timed, row, "row"));
}

static struct sum_tree tree_of(const struct rows *timed, int row, int sm_count) {
    const struct family *family = family_find(rows_cell(timed, row, "family"));
    struct launch_shape shape = {0};
    struct config config;
    struct problem p;
    if (family && !config_parse(family, rows_cell(timed, row, "config"), &config) && !rows_problem(timed, row, &p))
        family->shape(&config, &p, sm_count, &shape);
    return shape.sums;
}

static int number_of(struct choosing *c, const struct sum_tree *tree) {
    int i = 0;
    while (i < c->count && !sum_tree_equal(&c->distinct[i], tree))
        i++;
    return i;
}

/* The fastest kernel of each order at each M. */
static void find_best(struct choosing *c) {
    const int problems = c->last - c->first;
    for (int r = c->begin; r < c->end; r++)
        if (c->trees[r].parts && number_of(c, &c->trees[r]) == c->count)
            c->distinct[c->count++] = c->trees[r];
    c->best = xcalloc((size_t)c->count * (size_t)problems + 1, sizeof *c->best);
    for (int r = c->begin; r < c->end; r++) {
        if (!c->trees[r].parts)
            continue;
        double *best = &c->best[(long)number_of(c, &c->trees[r]) * problems + winner_of(c->timed, r) - c->first];
        const double ns = time_of(c->timed, r);
        *best = *best <= 0 || ns < *best ? ns : *best;
    }
}

/* The sum of a tree's times over the winners'; 0 where it lacks one. */
static double weight_of(const struct choosing *c, int tree) {
    const int problems = c->last - c->first;
    double sum = 0;
    for (int i = 0; i < problems; i++) {
        const double ns = c->best[(long)tree * problems + i];
        if (ns <= 0)
            return 0;
        sum += ns / time_of(c->winners, c->first + i);
    }
    return sum;
}

/* The number of the order that takes least; -1: there is none. */
static int choose(const struct choosing *c) {
    double least = 0;
    int best = -1;
    for (int i = 0; i < c->count; i++) {
        const double weight = weight_of(c, i);
        if (weight > 0 && (best < 0 || weight < least)) {
            least = weight;
            best = i;
        }
    }
    return best;
}

static void choose_for_layer(struct choosing *c, struct tree_cost *cost, bool *keep) {
    const int problems = c->last - c->first;
    c->count = 0;
    find_best(c);
    const int tree = choose(c);
    *cost = (struct tree_cost){.row = c->first};
    if (tree >= 0)
        cost->sums = c->distinct[tree];
    for (int r = c->begin; r < c->end; r++)
        keep[r] = tree >= 0 && sum_tree_equal(&c->trees[r], &c->distinct[tree]) &&
                  time_of(c->timed, r) <= tie_band * c->best[(long)tree * problems + winner_of(c->timed, r) - c->first];
    free(c->best);
}

/* Of the rows that are left. */
static void count_costs(const struct rows *winners, const struct rows *timed, struct tree_cost *costs, int count) {
    for (int i = 0, r = 0; i < count; i++) {
        const int end = i + 1 < count ? costs[i + 1].row : winners->count;
        for (; r < timed->count && winner_of(timed, r) < end; r++) {
            const double ratio = time_of(timed, r) / time_of(winners, winner_of(timed, r));
            costs[i].mean += ratio / (end - costs[i].row);
            if (ratio <= costs[i].worst)
                continue;
            costs[i].worst = ratio;
            costs[i].worst_m = atoi(rows_cell(timed, r, "m"));
        }
    }
}

int tree_set_keep(const struct rows *winners, struct rows *timed, int sm_count, struct tree_cost *costs) {
    const size_t rows = (size_t)timed->count + 1;
    struct choosing c = {.winners = winners,
                         .timed = timed,
                         .trees = xcalloc(rows, sizeof *c.trees),
                         .distinct = xcalloc(rows, sizeof *c.distinct)};
    bool *keep = xcalloc(rows, sizeof *keep);
    int count = 0;
    for (int r = 0; r < timed->count; r++)
        c.trees[r] = tree_of(timed, r, sm_count);
    for (; c.first < winners->count; c.first = c.last, c.begin = c.end) {
        for (c.last = c.first; c.last < winners->count && rows_same(winners, c.first, c.last, winner_set_layer);
             c.last++)
            ;
        for (c.end = c.begin; c.end < timed->count && winner_of(timed, c.end) < c.last; c.end++)
            ;
        choose_for_layer(&c, &costs[count++], keep);
    }
    rows_keep(timed, keep);
    winner_set_keep(timed);
    count_costs(winners, timed, costs, count);
    free(c.trees);
    free(c.distinct);
    free(keep);
    return count;
}

/* ---- printing ---- */

void tree_costs_print(const struct tree_cost *costs, int count, const struct rows *winners, struct str *out) {
    int without = 0;
    str_append(out, "Batch-invariant kernels (MT_BATCH_INVARIANT), their times over the winners':\n");
    for (int i = 0; i < count; i++) {
        const struct tree_cost *c = &costs[i];
        struct str name = {0};
        const char *model = rows_cell(winners, c->row, "model");
        without += c->sums.parts == 0;
        if (c->sums.parts == 0)
            continue;
        str_printf(&name, "%s%s%s", model, *model ? " " : "", rows_cell(winners, c->row, "layer"));
        str_append(out, "  ");
        str_append_visible(out, name.data, name.length, "");
        str_printf(out, " %s", rows_cell(winners, c->row, "scheme"));
        if (atoi(rows_cell(winners, c->row, "rows8")))
            str_printf(out, " (%s in 8 bits)", rows_cell(winners, c->row, "rows8"));
        str_printf(out, ": %.2f on average, %.2f at worst (M %d); K is added up ", c->mean, c->worst, c->worst_m);
        sum_tree_format(&c->sums, out);
        str_append(out, "\n");
        str_release(&name);
    }
    if (without)
        str_printf(out,
                   "  %d of %d layers have no order of addition that was timed at each of their M, and run the winners "
                   "that can add up in order; `mixtune sweep --batch-invariant` times what is missing\n",
                   without, count);
}

json_t *tree_costs_json(const struct tree_cost *costs, int count, const struct rows *winners) {
    json_t *list = json_array();
    for (int i = 0; i < count; i++) {
        const struct tree_cost *c = &costs[i];
        struct str sums = {0};
        sum_tree_format(&c->sums, &sums);
        json_t *item =
            json_pack("{so so si so si ss}", "model", json_text(rows_cell(winners, c->row, "model")), "layer",
                      json_text(rows_cell(winners, c->row, "layer")), "tp", atoi(rows_cell(winners, c->row, "tp")),
                      "scheme", json_text(rows_cell(winners, c->row, "scheme")), "rows8",
                      atoi(rows_cell(winners, c->row, "rows8")), "sums", c->sums.parts ? str_text(&sums) : "not timed");
        if (c->sums.parts) {
            json_object_set_new(item, "mean_ratio", json_real(c->mean));
            json_object_set_new(item, "worst_ratio", json_real(c->worst));
            json_object_set_new(item, "worst_m", json_integer(c->worst_m));
        }
        json_array_append_new(list, item);
        str_release(&sums);
    }
    return list;
}
