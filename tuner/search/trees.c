#include "trees.h"
#include "extras.h"
#include "runtime/serve/fit.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char times_sql[] =
    "SELECT m, family, config, median_ns FROM current "
    "WHERE uuid = :uuid AND origin = :origin AND cache_state = :cache AND outcome = 'ok' AND NOT is_baseline "
    "AND model = :model AND layer = :layer AND tp = CAST(:tp AS INTEGER) AND n = CAST(:n AS INTEGER) "
    "AND k = CAST(:k AS INTEGER) AND scheme = :scheme AND rows8 = CAST(:rows8 AS INTEGER) "
    "AND group_size = CAST(:group AS INTEGER) AND dtype = :dtype";

enum { MOST_TREES = 64, MOST_PLANNED = 8, STEP = 128 /* a K step that every family has */ };
#define GOOD_ENOUGH 1.05 /* times a winner's time: nothing faster of that tree is looked for */

struct best {
    double ns; /* 0: none was timed */
    struct config config;
};

/* The problems of a layer, which differ in M alone, and the fastest kernel of each tree there. */
struct layer {
    struct extras *extras;
    const struct work_item *item;
    int count;
    struct best *winner; /* [count] */
    struct best *best;   /* [MOST_TREES][count] */
    struct sum_tree trees[MOST_TREES];
    int tree_count;
};

static struct best *best_of(const struct layer *layer, int tree, int at) {
    return &layer->best[(long)tree * layer->count + at];
}

/* ---- what was timed ---- */

static enum mt_status times_read(const struct layer *layer, struct rows *out) {
    const struct extras *e = layer->extras;
    const struct work_item *item = layer->item;
    const struct problem *p = &item->problem;
    const int numbers[] = {item->tp, p->n, p->k, p->rows8, p->group};
    char text[5][16];
    for (int i = 0; i < 5; i++)
        snprintf(text[i], sizeof text[i], "%d", numbers[i]);
    const char *const values[] = {":uuid",   e->dev->uuid,
                                  ":origin", store_origin_name(store_origin_of(e->dev->software)),
                                  ":cache",  store_cache_name(store_cache_of(e->dev->software)),
                                  ":model",  item->model,
                                  ":layer",  item->layer,
                                  ":tp",     text[0],
                                  ":n",      text[1],
                                  ":k",      text[2],
                                  ":rows8",  text[3],
                                  ":group",  text[4],
                                  ":scheme", problem_scheme(p),
                                  ":dtype",  dtype_name(p->dtype),
                                  NULL};
    return rows_read(store_handle(e->store), times_sql, values, out);
}

static void take(struct best *best, double ns, const struct config *config) {
    if (best->ns <= 0 || ns < best->ns)
        *best = (struct best){ns, *config};
}

/* The number of a tree, which is added; -1: it is none, or one too many. */
static int tree_number(struct layer *layer, const struct sum_tree *tree) {
    int i = 0;
    while (i < layer->tree_count && !sum_tree_equal(&layer->trees[i], tree))
        i++;
    if (!tree->parts || i == MOST_TREES)
        return -1;
    if (i == layer->tree_count)
        layer->trees[layer->tree_count++] = *tree;
    return i;
}

static void times_take(struct layer *layer, const struct rows *rows) {
    const int steps = problem_k_padded(&layer->item->problem) / STEP;
    for (int parts = 1; parts <= 4; parts *= 2) { /* in order, and what suits most layers, timed or not */
        const struct sum_tree tree = sum_tree_of(steps, STEP, parts, 1);
        tree_number(layer, &tree);
    }
    for (int r = 0; r < rows->count; r++) {
        const struct family *family = family_find(rows_cell(rows, r, "family"));
        const double ns = strtod(rows_cell(rows, r, "median_ns"), NULL);
        struct config config;
        int at = 0;
        while (at < layer->count && layer->item[at].problem.m != atoi(rows_cell(rows, r, "m")))
            at++;
        if (at == layer->count || !family || config_parse(family, rows_cell(rows, r, "config"), &config))
            continue;
        const struct sum_tree tree = config_sums(&config, &layer->item[at].problem, layer->extras->limits.sm_count);
        const int number = tree_number(layer, &tree);
        take(&layer->winner[at], ns, &config);
        if (number >= 0)
            take(best_of(layer, number, at), ns, &config);
    }
}

/* ---- which trees are worth it ---- */

/* The mean of a tree's times over the winners' where it was timed; 1 where it was not at all. */
static double hope_of(const struct layer *layer, int tree) {
    double sum = 0;
    int count = 0;
    for (int i = 0; i < layer->count; i++) {
        const double ns = best_of(layer, tree, i)->ns;
        sum += ns > 0 ? ns / layer->winner[i].ns : 0;
        count += ns > 0;
    }
    return count ? sum / count : 1;
}

/* In order, and those that come nearest to the winners. */
static int trees_choose(const struct layer *layer, int chosen[MOST_PLANNED]) {
    double hope[MOST_TREES];
    int count = 1;
    for (int i = 0; i < layer->tree_count; i++)
        hope[i] = hope_of(layer, i);
    chosen[0] = 0;
    while (count < MOST_PLANNED && count < layer->tree_count) {
        int best = -1;
        for (int i = 1; i < layer->tree_count; i++)
            if (hope[i] > 0 && (best < 0 || hope[i] < hope[best]))
                best = i;
        chosen[count++] = best;
        hope[best] = 0;
    }
    return count;
}

/* ---- what is planned ---- */

static void knob_set(struct config *config, const char *name, int value) {
    for (int i = 0; i < config->family->knob_count; i++)
        if (!strcmp(config->family->knobs[i].name, name))
            config->value[i] = value;
}

/* Has a kernel measured if it adds up so, perhaps with other launch-time knobs. */
static enum mt_status plan_as(struct extras *e, const struct work_item *item, struct config config,
                              const struct sum_tree *tree) {
    const struct problem *p = &item->problem;
    if (!config_sum_as(&config, p, e->limits.sm_count, tree) || !config_fit(&config, p, &e->limits))
        return MT_OK;
    const struct sum_tree sums = config_sums(&config, p, e->limits.sm_count);
    return sum_tree_equal(&sums, tree) ? extras_add(e, item, &config) : MT_OK;
}

/* The kernel with each of the ways to share K. */
static enum mt_status plan_kernel(struct extras *e, const struct work_item *item, const struct config *config,
                                  const struct sum_tree *tree) {
    struct config split = *config, cluster;
    enum mt_status status = plan_as(e, item, *config, tree);
    knob_set(&split, "cluster_k", 1);
    knob_set(&split, "share_k", tree->turns > 1);
    if (tree->turns > 1) {
        knob_set(&split, "consumers", tree->turns);
        knob_set(&split, "tile_k", tree->step);
    }
    if (!status)
        status = plan_as(e, item, split, tree);
    cluster = split;
    knob_set(&cluster, "split_k", 1);
    knob_set(&cluster, "stream_k", 0);
    knob_set(&cluster, "cluster_k", tree->parts);
    return status ? status : plan_as(e, item, cluster, tree);
}

/* The next M on one side at which a kernel of the tree was timed; -1: there is none. */
static int next_timed(const struct layer *layer, int tree, int at, int step) {
    for (int i = at; i >= 0 && i < layer->count; i += step)
        if (best_of(layer, tree, i)->ns > 0)
            return i;
    return -1;
}

static enum mt_status plan_tree(const struct layer *layer, int tree, int at) {
    const int below = next_timed(layer, tree, at, -1), above = next_timed(layer, tree, at, 1);
    const double here = best_of(layer, tree, at)->ns;
    const struct best *donors[] = {&layer->winner[at], at > 0 ? &layer->winner[at - 1] : NULL,
                                   at + 1 < layer->count ? &layer->winner[at + 1] : NULL,
                                   below >= 0 ? best_of(layer, tree, below) : NULL,
                                   above >= 0 ? best_of(layer, tree, above) : NULL};
    enum mt_status status = MT_OK;
    if (here > 0 && here <= GOOD_ENOUGH * layer->winner[at].ns)
        return MT_OK;
    for (size_t i = 0; i < sizeof donors / sizeof *donors && !status; i++)
        if (donors[i] && donors[i]->ns > 0)
            status = plan_kernel(layer->extras, &layer->item[at], &donors[i]->config, &layer->trees[tree]);
    return status;
}

static enum mt_status plan_layer(struct extras *e, const struct work_item *item, int count) {
    struct layer layer = {.extras = e,
                          .item = item,
                          .count = count,
                          .winner = xcalloc((size_t)count, sizeof *layer.winner),
                          .best = xcalloc((size_t)MOST_TREES * (size_t)count, sizeof *layer.best)};
    struct rows rows = {0};
    int chosen[MOST_PLANNED];
    enum mt_status status = times_read(&layer, &rows);
    if (!status)
        times_take(&layer, &rows);
    const int trees = status ? 0 : trees_choose(&layer, chosen);
    for (int at = 0; at < count && !status; at++)
        for (int i = 0; i < trees && !status; i++)
            status = plan_tree(&layer, chosen[i], at);
    rows_release(&rows);
    free(layer.winner);
    free(layer.best);
    return status;
}

enum mt_status trees_plan(struct plan *out, const struct workload *workload, const struct device *dev,
                          struct binaries *binaries, struct store *store) {
    struct extras e;
    enum mt_status status = extras_open(&e, out, workload, dev, binaries, store);
    for (int begin = 0, end; begin < workload->count && !status; begin = end) {
        for (end = begin; end < workload->count && work_same_layer(&workload->item[begin], &workload->item[end]); end++)
            ;
        status = plan_layer(&e, &workload->item[begin], end - begin);
    }
    return extras_close(&e, status);
}
