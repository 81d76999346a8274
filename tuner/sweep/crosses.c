#include "crosses.h"
#include "runtime/base/array.h"
#include "runtime/serve/fit.h"
#include "runtime/serve/table.h"
#include "tuner/report/rows.h"
#include <stdlib.h>
#include <string.h>

static const char winners_sql[] =
    "SELECT model, layer, tp, n, k, m, scheme, rows8, group_size, dtype, family, config FROM winner "
    "WHERE uuid = :uuid AND origin = :origin AND cache_state = :cache";

/* The same layer in the same format at the same batch size, and other features in 8 bits. */
static bool same_but_rows8(const struct work_item *a, const struct work_item *b) {
    struct problem pa = a->problem, pb = b->problem;
    const bool same_kernels = !strcmp(problem_scheme(&pa), problem_scheme(&pb));
    pa.rows8 = pb.rows8;
    return same_kernels && problem_equal(&pa, &pb) && !strcmp(a->layer, b->layer) && !strcmp(a->model, b->model) &&
           a->tp == b->tp;
}

/* The nearest such problem with more (step 1) or less (step -1) features in 8 bits; NULL: there is none. */
static const struct work_item *neighbour(const struct workload *w, const struct work_item *of, int step) {
    const struct work_item *best = NULL;
    for (int i = 0; i < w->count; i++) {
        const struct work_item *item = &w->item[i];
        const int distance = step * (item->problem.rows8 - of->problem.rows8);
        if (distance > 0 && same_but_rows8(item, of) &&
            (!best || distance < step * (best->problem.rows8 - of->problem.rows8)))
            best = item;
    }
    return best;
}

static bool same_but_m(const struct work_item *a, const struct work_item *b) {
    struct problem pa = a->problem, pb = b->problem;
    pa.m = pb.m;
    return problem_equal(&pa, &pb) && !strcmp(a->layer, b->layer) && !strcmp(a->model, b->model) && a->tp == b->tp;
}

/* The next larger (step 1) or smaller (step -1) M of the same layer than `m`; NULL: there is none. */
static const struct work_item *next_m(const struct workload *w, const struct work_item *of, int m, int step) {
    const struct work_item *best = NULL;
    for (int i = 0; i < w->count; i++) {
        const struct work_item *item = &w->item[i];
        const int distance = step * (item->problem.m - m);
        if (distance > 0 && same_but_m(item, of) && (!best || distance < step * (best->problem.m - m)))
            best = item;
    }
    return best;
}

static bool is_of_item(const struct rows *rows, int row, const struct work_item *item) {
    struct problem p;
    return rows_is(rows, row, "layer", item->layer) && rows_is(rows, row, "model", item->model) &&
           atoi(rows_cell(rows, row, "tp")) == item->tp && !rows_problem(rows, row, &p) &&
           problem_equal(&p, &item->problem);
}

struct crossing {
    struct plan *plan;
    const struct device *dev;
    const struct rows *winners;
    struct device_limits limits;
    struct binaries *binaries;
    struct store *store;
};

static bool is_planned(const struct plan *plan, const struct candidate *candidate) {
    for (int i = plan->count - 1; i >= 0 && plan->item[i].item == candidate->item; i--)
        if (config_equal(&plan->item[i].config, &candidate->config))
            return true;
    return false;
}

/* Has the winner at `from` measured at `item`. */
static enum mt_status cross(struct crossing *c, const struct work_item *item, const struct work_item *from) {
    struct candidate candidate = {.item = item, .binary = -1};
    struct store_measurement key;
    struct str text = {0};
    int row = 0, found = 0;
    while (row < c->winners->count && !is_of_item(c->winners, row, from))
        row++;
    const struct family *family = row < c->winners->count ? family_find(rows_cell(c->winners, row, "family")) : NULL;
    if (!family)
        return MT_OK;
    enum mt_status status = config_parse(family, rows_cell(c->winners, row, "config"), &candidate.config);
    /* A walk that is none here (raster, stream_k) is cut to one, as the launch does. */
    if (status || !config_fit(&candidate.config, &item->problem, &c->limits) || is_planned(c->plan, &candidate))
        return status;
    candidate_row(&candidate, c->dev->software, &text, &key);
    status = store_has(c->store, &key, &found);
    str_release(&text);
    if (status || found)
        return status;
    candidate.binary = binaries_add(c->binaries, &candidate.config, &item->problem);
    c->binaries->item[candidate.binary].wanted = true;
    array_grow(&c->plan->item, &c->plan->capacity, (size_t)c->plan->count, sizeof *c->plan->item);
    c->plan->item[c->plan->count++] = candidate;
    return MT_OK;
}

/* The winners on one side of a problem. */
static enum mt_status cross_item(struct crossing *c, const struct workload *w, const struct work_item *item, int step) {
    const struct work_item *from = neighbour(w, item, step);
    enum mt_status status = from ? cross(c, item, from) : MT_OK;
    from = item;
    for (int far = 0; far < RIVAL_REACH && !status && (from = next_m(w, item, from->problem.m, step)); far++)
        status = cross(c, item, from);
    return status;
}

enum mt_status crosses_plan(struct plan *out, const struct workload *workload, const struct device *dev,
                            struct binaries *binaries, struct store *store) {
    const char *const values[] = {":uuid",   dev->uuid,
                                  ":origin", store_origin_name(store_origin_of(dev->software)),
                                  ":cache",  store_cache_name(store_cache_of(dev->software)),
                                  NULL};
    struct rows winners;
    struct crossing c = {.plan = out, .dev = dev, .winners = &winners, .binaries = binaries, .store = store};
    *out = (struct plan){0};
    enum mt_status status = rows_read(store_handle(store), winners_sql, values, &winners);
    if (status)
        return status;
    device_limits_of(dev, &c.limits);
    for (int i = 0; i < workload->count && !status; i++)
        for (int step = -1; step <= 1 && !status; step += 2)
            status = cross_item(&c, workload, &workload->item[i], step);
    rows_release(&winners);
    if (status)
        plan_release(out);
    return status;
}
