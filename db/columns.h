/* The columns of every table, written once: what adds rows, computes keys, checks them and joins databases is made
 * from this list. db/schema.sql says what a new column means. */
#ifndef MT_COLUMNS_H
#define MT_COLUMNS_H

#include "store.h"
#include <stdbool.h>

struct sqlite3_stmt;
struct str;

/* In the order in which rows refer to each other. `columns` are all but the key, in the order in which the schema made
 * them: what the key is the hash of. The table `knob` has no key; it follows from `config`. */
struct table {
    const char *name, *columns;
};
enum { STORE_TABLES = 7 };
extern const struct table store_tables[STORE_TABLES];

/* Appends an SQL expression: the key of a row whose columns are parameters of their names, as in :started. */
void columns_key(const char *table, struct str *sql);

/* Rows of one table in the making, column by column, by name. What is not set is NULL; texts must live until the row is
 * added. A value that could not be taken makes insert_row() fail. */
struct insert {
    struct store *store;
    struct sqlite3_stmt *key, *row;
    bool failed;
};
/* insert_release() also after a failure. */
enum mt_status insert_begin(struct store *store, const char *table, struct insert *out);
void insert_number(struct insert *into, const char *column, int64_t number);
void insert_real(struct insert *into, const char *column, double real);
void insert_text(struct insert *into, const char *column, const char *text); /* NULL is "" */
void insert_samples(struct insert *into, const char *column, const double *samples, int count);
/* Adds the row, unless it is there, and begins the next. `added` may be NULL. */
enum mt_status insert_row(struct insert *into, int64_t *key, bool *added);
void insert_release(struct insert *into);

#endif
