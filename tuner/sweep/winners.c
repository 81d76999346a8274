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

/* All failed: MT_FAILURE with the commonest reason. MT_OK where nothing was measured at all. */
static enum mt_status say_why_none(sqlite3 *db, const char *where) {
    struct rows rows;
    struct str sql = {0};
    str_printf(&sql,
               "SELECT outcome, message, count(*) AS times, sum(count(*)) OVER () AS failed, max(created) FROM current "
               "WHERE %s AND NOT is_baseline GROUP BY outcome ORDER BY outcome = 'refused', times DESC LIMIT 1",
               where);
    enum mt_status status = rows_read(db, sql.data, NULL, &rows);
    if (!status && rows.count)
        status = fail(MT_FAILURE,
                      "all %s candidates failed, %s of them with the outcome %s, as in: %s; `mixtune show --failed` "
                      "lists them",
                      rows_cell(&rows, 0, "failed"), rows_cell(&rows, 0, "times"), rows_cell(&rows, 0, "outcome"),
                      rows_cell(&rows, 0, "message"));
    else if (!status)
        log_warn("no candidate was measured");
    rows_release(&rows);
    str_release(&sql);
    return status;
}

/* Problems among others that have winners. */
static enum mt_status warn_of_losers(sqlite3 *db, const char *where) {
    struct rows rows;
    struct str sql = {0};
    str_printf(&sql,
               "SELECT layer, m, scheme FROM current WHERE %s AND NOT is_baseline GROUP BY layer_id, m, scheme, rows8, "
               "group_size, dtype HAVING max(outcome = 'ok') = 0 ORDER BY min(created)",
               where);
    enum mt_status status = rows_read(db, sql.data, NULL, &rows);
    if (!status && rows.count)
        log_warn("%d problems have no good configuration, as %s m=%s %s: `mixtune show --failed` gives the reasons",
                 rows.count, rows_cell(&rows, 0, "layer"), rows_cell(&rows, 0, "m"), rows_cell(&rows, 0, "scheme"));
    rows_release(&rows);
    str_release(&sql);
    return status;
}

enum mt_status winners_print(struct store *store, const struct device *dev, const struct workload *workload,
                             bool json) {
    sqlite3 *db = store_handle(store);
    struct rows rows = {0};
    char *where = of_workload(dev, workload);
    enum mt_status status = query_ask(db, where);
    if (!status && !(status = rows_read(db, report_winners_sql, NULL, &rows)))
        tables_print(&rows, json);
    if (!status)
        status = rows.count ? warn_of_losers(db, where) : say_why_none(db, where);
    rows_release(&rows);
    sqlite3_free(where);
    return status;
}
