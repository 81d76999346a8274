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

/* Binds the parameter :name, which must exist. A NULL text is ""; it must live until the statement has run. */
void sql_bind_number(struct sqlite3_stmt *statement, const char *name, int64_t number);
void sql_bind_real(struct sqlite3_stmt *statement, const char *name, double real);
void sql_bind_text(struct sqlite3_stmt *statement, const char *name, const char *text);
/* The parameter's number, for other binds. */
int sql_parameter(struct sqlite3_stmt *statement, const char *name);

/* "" for NULL: no text column is ever NULL. */
const char *sql_text(const char *maybe);

#endif
