/* Small helpers around SQLite: errors as sentences, one-number queries. */
#ifndef MT_SQL_H
#define MT_SQL_H

#include "runtime/base/status.h"
#include "runtime/base/str.h"
#include <stdbool.h>
#include <stdint.h>

struct sqlite3;
struct sqlite3_stmt;

/* MT_FAILURE with one sentence: the file, what could not be done, why, and what to do about it. `db` may be NULL where
 * memory was too short for one. */
enum mt_status sql_fail(struct sqlite3 *db, const char *path, const char *what);

/* The first column of the first row of `sql`; 0 if there is none. */
enum mt_status sql_number(struct sqlite3 *db, const char *path, const char *sql, int64_t *out);

enum mt_status sql_prepare(struct sqlite3 *db, const char *path, const char *sql, struct sqlite3_stmt **out);

/* As sql_prepare(), of a text that was put together; memory may have been short for that. */
enum mt_status sql_prepare_text(struct sqlite3 *db, const char *path, const struct str *sql, struct sqlite3_stmt **out);

/* Binds the parameter :name. A NULL text is ""; it must live until the statement has run. False if SQLite refuses, as
 * it does where there is no such parameter: sql_fail() says why. */
bool sql_bind_number(struct sqlite3_stmt *statement, const char *name, int64_t number);
bool sql_bind_real(struct sqlite3_stmt *statement, const char *name, double real);
bool sql_bind_text(struct sqlite3_stmt *statement, const char *name, const char *text);
/* The parameter's number, for other binds; 0, which SQLite refuses, if there is none. */
int sql_parameter(struct sqlite3_stmt *statement, const char *name);

/* "" for NULL: no text column is ever NULL. */
const char *sql_text(const char *maybe);

#endif
