/* Content keys of rows: equal contents have equal keys in every database. */
#ifndef MT_KEY_H
#define MT_KEY_H

#include "runtime/base/str.h"
#include <stdint.h>

struct sqlite3;

/* Collect a row's table and fields, then finish. */
struct key {
    struct str bytes;
};

void key_init(struct key *key, const char *table);
void key_text(struct key *key, const char *text);
void key_number(struct key *key, int64_t number);
void key_bytes(struct key *key, const void *bytes, size_t size);
/* The key: XXH3, 64 bits. Releases the rest. */
int64_t key_finish(struct key *key);

/* Adds content_key(table, column, ...) to a connection: the key of a row from all its other columns in their order. */
void key_register(struct sqlite3 *db);

#endif
