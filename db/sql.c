#include "sql.h"
#include <sqlite3.h>
#include <stddef.h>
#include <stdio.h>

/* What to do about an error, by its primary code. Recorded rows are whole in every one of these cases but a damaged
 * file. */
static const char *advice(int code) {
    switch (code) {
    case SQLITE_NOTADB:
        return "it is not a database: name a different file with --db";
    case SQLITE_CORRUPT:
        return "the file is damaged or cut short: restore a copy, or start a new one with --db (sqlite3's .recover "
               "saves "
               "what is left)";
    case SQLITE_FULL:
        return "the disk is full: free some space and run the same command again, every row recorded so far is kept";
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return "it cannot be written: make the file and its folder writable, or name another place with --db";
    case SQLITE_CANTOPEN:
        return "its folder does not exist or cannot be written: create it, or name another place with --db";
    case SQLITE_NOMEM:
        return "memory is short: free some, then run the same command again";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return "another process keeps it locked: wait for it to finish, then run the same command again";
    case SQLITE_IOERR:
        return "reading or writing failed: check that the disk is neither full nor failing, nor a file size limit set, "
               "then run "
               "the same command again; every row recorded so far is kept";
    default:
        return "the database refused it";
    }
}

enum mt_status sql_fail(sqlite3 *db, const char *path, const char *what) {
    return fail(MT_FAILURE, "%s: %s: %s (SQLite: %s)", path, what, advice(sqlite3_extended_errcode(db) & 0xff),
                sqlite3_errmsg(db)); /* both know what NULL means: no memory */
}

enum mt_status sql_prepare(sqlite3 *db, const char *path, const char *sql, sqlite3_stmt **out) {
    *out = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, out, NULL) != SQLITE_OK)
        return sql_fail(db, path, "cannot query it");
    return MT_OK;
}

enum mt_status sql_prepare_text(sqlite3 *db, const char *path, const struct str *sql, sqlite3_stmt **out) {
    *out = NULL;
    enum mt_status status = str_status(sql);
    return status == MT_OK ? sql_prepare(db, path, str_text(sql), out) : status;
}

enum mt_status sql_number(sqlite3 *db, const char *path, const char *sql, int64_t *out) {
    sqlite3_stmt *query;
    enum mt_status status = sql_prepare(db, path, sql, &query);
    if (status != MT_OK)
        return status;
    int rc = sqlite3_step(query);
    *out = rc == SQLITE_ROW ? sqlite3_column_int64(query, 0) : 0;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        status = sql_fail(db, path, "cannot read it");
    sqlite3_finalize(query);
    return status;
}

int sql_parameter(sqlite3_stmt *statement, const char *name) {
    char full[64]; /* on the stack: a row binds some fifty of them */
    snprintf(full, sizeof full, ":%s", name);
    return sqlite3_bind_parameter_index(statement, full);
}

bool sql_bind_number(sqlite3_stmt *statement, const char *name, int64_t number) {
    return sqlite3_bind_int64(statement, sql_parameter(statement, name), number) == SQLITE_OK;
}

bool sql_bind_real(sqlite3_stmt *statement, const char *name, double real) {
    return sqlite3_bind_double(statement, sql_parameter(statement, name), real) == SQLITE_OK;
}

bool sql_bind_text(sqlite3_stmt *statement, const char *name, const char *text) {
    return sqlite3_bind_text(statement, sql_parameter(statement, name), sql_text(text), -1, SQLITE_STATIC) == SQLITE_OK;
}

const char *sql_text(const char *maybe) {
    return maybe ? maybe : "";
}
