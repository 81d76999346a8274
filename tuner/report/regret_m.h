/* What it costs to tune a few M and to look up between them: from a database that has more of them. */
#ifndef MT_REGRET_M_H
#define MT_REGRET_M_H

#include "rows.h"
#include "tuner/options.h"

/* Of each layer the M of `keep` count as tuned, and layers that have none of these or no others are left out. An empty
 * list means those of a sweep that names none, and where a layer has no others, each of its M but the outermost is left
 * out in turn. A bundle of the winners at those, as `mixtune export` makes it, is looked up at the others by libmixtune
 * itself, once with the times as they are and several times with each scattered by 5 %. `out` has the rows of
 * reports/regret_m.sql, none where no layer has three M. Of a database that query_open() opened; once. */
enum mt_status regret_m(struct sqlite3 *db, const struct int_list *keep, struct rows *out);

/* Appends them as tables for people. */
void regret_m_print(const struct rows *rows, struct str *out);

#endif
