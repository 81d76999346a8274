#include "winners.h"
#include <jansson.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char query[] =
    "SELECT family, config, median_ns, low_ns, high_ns, baseline_family, baseline_ns, ratio, ratio_low, ratio_high "
    "FROM speedup WHERE uuid = ?1 AND origin = ?2 AND cache_state = 'cold' AND model = ?3 AND layer = ?4 AND tp = ?5 "
    "AND "
    "n = ?6 AND k = ?7 AND m = ?8 AND scheme = ?9 AND group_size = ?10 AND dtype = ?11";
enum { FAMILY, CONFIG, MEDIAN, LOW, HIGH, BASELINE_FAMILY, BASELINE, RATIO, RATIO_LOW, RATIO_HIGH };

void winners_bind(sqlite3_stmt *s, const struct device *dev, const struct work_item *item) {
    const struct problem *p = &item->problem;
    enum store_origin origin = dev->software ? ORIGIN_MODELLED : ORIGIN_MEASURED;
    sqlite3_reset(s);
    sqlite3_bind_text(s, 1, dev->uuid, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, store_origin_name(origin), -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 3, item->model, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 4, item->layer, -1, SQLITE_STATIC);
    sqlite3_bind_int(s, 5, item->tp);
    sqlite3_bind_int(s, 6, p->n);
    sqlite3_bind_int(s, 7, p->k);
    sqlite3_bind_int(s, 8, p->m);
    sqlite3_bind_text(s, 9, item->scheme, -1, SQLITE_STATIC);
    sqlite3_bind_int(s, 10, p->group);
    sqlite3_bind_text(s, 11, dtype_name(p->dtype), -1, SQLITE_STATIC);
}

static void print_heading(const struct device *dev) {
    printf("%s, %s times, cold cache\n", dev->name, dev->software ? "MODELLED (not measured)" : "measured");
    printf("%-16s %-9s %6s %-7s %5s %-5s %11s %11s  %-9s %8s  %s\n", "model", "layer", "m", "scheme", "group", "dtype",
           "us", "baseline us", "baseline", "speed-up", "configuration");
}

static void print_row(sqlite3_stmt *s, const struct work_item *item) {
    const struct problem *p = &item->problem;
    printf("%-16s %-9s %6d %-7s %5d %-5s %11.2f ", *item->model ? item->model : "-", item->layer, p->m, item->scheme,
           p->group, dtype_name(p->dtype), sqlite3_column_double(s, MEDIAN) / 1e3);
    if (sqlite3_column_type(s, BASELINE) == SQLITE_NULL)
        printf("%11s  %-9s %8s  ", "-", "-", "-");
    else
        printf("%11.2f  %-9s %8.2f  ", sqlite3_column_double(s, BASELINE) / 1e3,
               (const char *)sqlite3_column_text(s, BASELINE_FAMILY), sqlite3_column_double(s, RATIO));
    printf("%s %s\n", (const char *)sqlite3_column_text(s, FAMILY), (const char *)sqlite3_column_text(s, CONFIG));
}

static json_t *real_or_null(sqlite3_stmt *s, int column) {
    return sqlite3_column_type(s, column) == SQLITE_NULL ? json_null() : json_real(sqlite3_column_double(s, column));
}

static void print_json(sqlite3_stmt *s, const struct device *dev, const struct work_item *item) {
    const struct problem *p = &item->problem;
    json_t *row = json_pack(
        "{ss ss ss si si si si ss si ss ss ss so so so ss? so so so so}", "device", dev->name, "model", item->model,
        "layer", item->layer, "tp", item->tp, "m", p->m, "n", p->n, "k", p->k, "scheme", item->scheme, "group",
        p->group, "dtype", dtype_name(p->dtype), "family", (const char *)sqlite3_column_text(s, FAMILY), "config",
        (const char *)sqlite3_column_text(s, CONFIG), "median_ns", real_or_null(s, MEDIAN), "low_ns",
        real_or_null(s, LOW), "high_ns", real_or_null(s, HIGH), "baseline_family",
        (const char *)sqlite3_column_text(s, BASELINE_FAMILY), "baseline_ns", real_or_null(s, BASELINE), "ratio",
        real_or_null(s, RATIO), "ratio_low", real_or_null(s, RATIO_LOW), "ratio_high", real_or_null(s, RATIO_HIGH));
    json_object_set_new(row, "origin", json_string(dev->software ? "modelled" : "measured"));
    char *text = json_dumps(row, JSON_COMPACT);
    puts(text);
    free(text);
    json_decref(row);
}

enum mt_status winners_print(struct store *store, const struct device *dev, const struct workload *workload,
                             bool json) {
    sqlite3 *db = store_handle(store);
    sqlite3_stmt *s;
    if (sqlite3_prepare_v2(db, query, -1, &s, NULL) != SQLITE_OK)
        return fail(MT_FAILURE, "the database cannot be asked for its winners: %s", sqlite3_errmsg(db));
    if (!json)
        print_heading(dev);
    int result = SQLITE_DONE;
    for (int i = 0; i < workload->count && result != SQLITE_ERROR; i++) {
        winners_bind(s, dev, &workload->item[i]);
        while ((result = sqlite3_step(s)) == SQLITE_ROW)
            if (json)
                print_json(s, dev, &workload->item[i]);
            else
                print_row(s, &workload->item[i]);
        if (result != SQLITE_DONE)
            result = SQLITE_ERROR;
    }
    enum mt_status status = result == SQLITE_DONE
                                ? MT_OK
                                : fail(MT_FAILURE, "reading the winners from the database: %s", sqlite3_errmsg(db));
    sqlite3_finalize(s);
    return status;
}
