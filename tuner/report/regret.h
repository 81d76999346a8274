/* What it costs to tune a few of many, and to choose for the others by what is known of those: from a database in which
 * all were tuned. */
#ifndef MT_REGRET_H
#define MT_REGRET_H

#include "rows.h"
#include "tuner/splits.h"

/* Splits of a layer: at most so many are tuned as a sweep would choose them, the winners of all others are hidden, and
 * split_choose() takes one of their neighbours' winners, whose time there is known. `table` says which splits count,
 * filled up to multiples of `fill`, and how much; NULL: all that the database has, alike. `out` has the rows of reports/regret.sql, none where there is
 * nothing to tell of. Of a database that query_open() opened; once. */
enum mt_status regret_splits(struct sqlite3 *db, const struct split_table *table, int fill, struct rows *out);

/* Appends them as tables for people. */
void regret_print(const struct rows *rows, struct str *out);

#endif
