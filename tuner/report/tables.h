/* Winners and measurements as all commands print them. */
#ifndef MT_TABLES_H
#define MT_TABLES_H

#include "rows.h"

/* On standard output: one JSON object a line, or tables for people, one for each origin with what is to be known of its
 * times. */
void tables_print(const struct rows *rows, bool json);

/* Appends rows of another kind: one JSON object a line, or a table in this style, of all of them where `last` is 0, as
 * wide as the terminal. */
void tables_append(const struct rows *rows, struct table_style style, bool json, struct str *out);

/* The line that stands above every table of modelled times. */
extern const char tables_modelled[];
/* What ROWS_MARK stands for; part of a sentence. */
extern const char tables_states_differ[];

#endif
