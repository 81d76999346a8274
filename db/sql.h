/* Small helpers around SQLite: errors as sentences, one-number queries. */
#ifndef MT_SQL_H
#define MT_SQL_H

#include "runtime/base/status.h"
#include <stdint.h>

struct sqlite3;
struct sqlite3_stmt;

/* MT_FAILURE with one sentence: the file, what could not be done, why, and what to do about it. */
enum mt_status sql_fail(struct sqlite3 *db, const char *path, const char *what);

/* The first column of the first row of `sql`; 0 if there is none. */
enum mt_status sql_number(struct sqlite3 *db, const char *path, const char *sql, int64_t *out);

enum mt_status sql_prepare(struct sqlite3 *db, const char *path, const char *sql, struct sqlite3_stmt **out);

/* "" for NULL: no text column is ever NULL. */
const char *sql_text(const char *maybe);

#endif
