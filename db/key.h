/* Content keys of rows: equal contents have equal keys in every database. */
#ifndef MT_KEY_H
#define MT_KEY_H

#include <stdbool.h>

struct sqlite3;

/* Adds content_key(table, column, ...) to a connection: the key of a row from all its other columns in their order.
 * False if memory is short. */
bool key_register(struct sqlite3 *db);

#endif
