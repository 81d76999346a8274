#include "winners.h"
#include "runtime/base/log.h"
#include "tuner/report/files.h"
#include "tuner/report/query.h"
#include "tuner/report/tables.h"
#include <sqlite3.h>

/* The rows of the workload's problems. Freed with sqlite3_free(). */
static char *of_workload(const struct device *dev, const struct workload *workload) {
    sqlite3_str *sql = sqlite3_str_new(NULL);
    sqlite3_str_appendf(sql,
                        "uuid = %Q AND origin = %Q AND cache_state = %Q AND (model, layer, tp, n, k, m, scheme, "
                        "rows8, group_size, dtype) IN (VALUES ",
                        dev->uuid, store_origin_name(store_origin_of(dev->software)),
                        store_cache_name(store_cache_of(dev->software)));
    for (int i = 0; i < workload->count; i++) {
        const struct work_item *item = &workload->item[i];
        const struct problem *p = &item->problem;
        sqlite3_str_appendf(sql, "%s(%Q, %Q, %d, %d, %d, %d, %Q, %d, %d, %Q)", i ? ", " : "", item->model, item->layer,
                            item->tp, p->n, p->k, p->m, problem_scheme(p), p->rows8, p->group, dtype_name(p->dtype));
    }
    sqlite3_str_appendall(sql, ")");
    return sqlite3_str_finish(sql);
}

enum mt_status winners_print(struct store *store, const struct device *dev, const struct workload *workload,
                             bool json) {
    sqlite3 *db = store_handle(store);
    struct rows rows = {0};
    char *where = of_workload(dev, workload);
    enum mt_status status = query_ask(db, where);
    if (!status && !(status = rows_read(db, report_winners_sql, NULL, &rows)))
        tables_print(&rows, json);
    if (!status && !rows.count)
        log_info("no configuration is good: `mixtune show --failed` gives the reasons");
    rows_release(&rows);
    sqlite3_free(where);
    return status;
}
