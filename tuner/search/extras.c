#include "extras.h"
#include "runtime/base/array.h"
#include <stdlib.h>
#include <string.h>

static const char winners_sql[] =
    "SELECT model, layer, tp, n, k, m, scheme, rows8, group_size, dtype, family, config FROM winner "
    "WHERE uuid = :uuid AND origin = :origin AND cache_state = :cache";

enum mt_status extras_open(struct extras *e, struct plan *plan, const struct workload *workload,
                           const struct device *dev, struct binaries *binaries, struct store *store) {
    const char *const values[] = {":uuid",   dev->uuid,
                                  ":origin", store_origin_name(store_origin_of(dev->software)),
                                  ":cache",  store_cache_name(store_cache_of(dev->software)),
                                  NULL};
    *plan = (struct plan){0};
    *e = (struct extras){.plan = plan, .workload = workload, .dev = dev, .binaries = binaries, .store = store};
    device_limits_of(dev, &e->limits);
    enum mt_status status = rows_read(store_handle(store), winners_sql, values, &e->winners);
    e->problem = xcalloc((size_t)e->winners.count + 1, sizeof *e->problem);
    for (int r = 0; r < e->winners.count && !status; r++)
        if (rows_problem(&e->winners, r, &e->problem[r]))
            e->problem[r] = (struct problem){0}; /* which no work item is */
    return status;
}

enum mt_status extras_close(struct extras *e, enum mt_status status) {
    rows_release(&e->winners);
    free(e->problem);
    if (status)
        plan_release(e->plan);
    return status;
}

static bool is_of_item(const struct extras *e, int row, const struct work_item *item) {
    const struct rows *rows = &e->winners;
    return problem_equal(&e->problem[row], &item->problem) && rows_is(rows, row, "layer", item->layer) &&
           rows_is(rows, row, "model", item->model) && atoi(rows_cell(rows, row, "tp")) == item->tp;
}

bool extras_winner(const struct extras *e, const struct work_item *item, struct config *out) {
    int row = 0;
    while (row < e->winners.count && !is_of_item(e, row, item))
        row++;
    const struct family *family = row < e->winners.count ? family_find(rows_cell(&e->winners, row, "family")) : NULL;
    return family && config_parse(family, rows_cell(&e->winners, row, "config"), out) == MT_OK;
}

static bool is_planned(const struct plan *plan, const struct candidate *candidate) {
    for (int i = plan->count - 1; i >= 0 && plan->item[i].item == candidate->item; i--)
        if (config_equal(&plan->item[i].config, &candidate->config))
            return true;
    return false;
}

enum mt_status extras_add(struct extras *e, const struct work_item *item, const struct config *config) {
    struct candidate candidate = {.item = item, .config = *config, .binary = -1};
    struct store_measurement key;
    struct str text = {0};
    int found = 0;
    if (is_planned(e->plan, &candidate))
        return MT_OK;
    candidate_row(&candidate, e->dev->software, &text, &key);
    enum mt_status status = store_has(e->store, &key, &found);
    str_release(&text);
    if (status || found)
        return status;
    candidate.binary = binaries_add(e->binaries, &candidate.config, &item->problem);
    e->binaries->item[candidate.binary].wanted = true;
    array_grow(&e->plan->item, &e->plan->capacity, (size_t)e->plan->count, sizeof *e->plan->item);
    e->plan->item[e->plan->count++] = candidate;
    return MT_OK;
}
