#include "guide.h"
#include "tuner/report/rows.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char query[] =
    "WITH modelled AS (SELECT * FROM current WHERE origin = 'modelled' AND outcome = 'ok' AND NOT is_baseline "
    "AND cache_state = 'cold' AND cc = CAST(:cc AS INTEGER) AND n = CAST(:n AS INTEGER) AND k = CAST(:k AS INTEGER) "
    "AND m = CAST(:m AS INTEGER) AND scheme = :scheme AND rows8 = CAST(:rows8 AS INTEGER) "
    "AND group_size = CAST(:group AS INTEGER) AND dtype = :dtype) "
    "SELECT family, config, min(median_ns) AS ns FROM modelled WHERE device = (SELECT device FROM modelled "
    "ORDER BY abs(sm_count - CAST(:sm_count AS INTEGER)), device LIMIT 1) GROUP BY family, config";

static enum mt_status ask(struct sqlite3 *db, const struct problem *p, int cc, int sm_count, struct rows *rows) {
    char number[7][12];
    const int values[7] = {cc, p->n, p->k, p->m, p->group, sm_count, p->rows8};
    for (int i = 0; i < 7; i++)
        snprintf(number[i], sizeof number[i], "%d", values[i]);
    const char *const bound[] = {":cc",    number[0], ":n",      number[1],         ":k",        number[2],
                                 ":m",     number[3], ":group",  number[4],         ":sm_count", number[5],
                                 ":rows8", number[6], ":scheme", problem_scheme(p), ":dtype",    dtype_name(p->dtype),
                                 NULL};
    return rows_read(db, query, bound, rows);
}

enum mt_status guide_read(struct sqlite3 *db, const struct problem *problem, int cc, int sm_count,
                          const struct config *config, int count, double **modelled_ns) {
    struct rows rows;
    struct str text = {0};
    *modelled_ns = NULL;
    enum mt_status status = ask(db, problem, cc, sm_count, &rows);
    if (status)
        return status;
    double *ns = xcalloc((size_t)count + 1, sizeof *ns);
    int known = 0;
    for (int i = 0; i < count; i++) {
        str_clear(&text);
        config_format(&config[i], &text);
        for (int r = 0; r < rows.count && ns[i] <= 0; r++)
            if (rows_is(&rows, r, "config", text.data) && rows_is(&rows, r, "family", config[i].family->name))
                ns[i] = strtod(rows_cell(&rows, r, "ns"), NULL);
        known += ns[i] > 0;
    }
    str_release(&text);
    rows_release(&rows);
    if (known)
        *modelled_ns = ns;
    else
        free(ns);
    return MT_OK;
}
