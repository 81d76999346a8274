#include "schema.h"
#include "guard.h"
#include "key.h"
#include "runtime/base/embed.h"
#include "runtime/base/log.h"
#include "sql.h"
#include <sqlite3.h>
#include <stdio.h>

EMBED_FILE(schema_sql, "db/schema.sql");
EMBED_FILE(schema_2_sql, "db/schema_2.sql");
EMBED_FILE(schema_3_sql, "db/schema_3.sql");
EMBED_FILE(schema_4_sql, "db/schema_4.sql");
EMBED_FILE(schema_5_sql, "db/schema_5.sql");
EMBED_FILE(schema_6_sql, "db/schema_6.sql");
EMBED_FILE(schema_7_sql, "db/schema_7.sql");
EMBED_FILE(schema_8_sql, "db/schema_8.sql");
EMBED_FILE(schema_9_sql, "db/schema_9.sql");
EMBED_FILE(schema_10_sql, "db/schema_10.sql");
extern const char schema_sql[], schema_2_sql[], schema_3_sql[], schema_4_sql[], schema_5_sql[], schema_6_sql[],
    schema_7_sql[], schema_8_sql[], schema_9_sql[], schema_10_sql[];

const char *const *schema_steps(int *count) {
    static const char *const steps[] = {schema_sql,   schema_2_sql,  schema_3_sql, schema_4_sql,
                                        schema_5_sql, schema_6_sql,  schema_7_sql, schema_8_sql,
                                        schema_9_sql, schema_10_sql, NULL};
    if (count)
        *count = sizeof steps / sizeof *steps - 1;
    return steps;
}

static enum mt_status run_steps(sqlite3 *db, const char *path, const char *const *steps, int from, int count) {
    for (int i = from; i < count; i++)
        if (sqlite3_exec(db, steps[i], NULL, NULL, NULL) != SQLITE_OK)
            return sql_fail(db, path, "cannot bring it up to date");
    return MT_OK;
}

enum mt_status schema_fresh(const char *path, int version, sqlite3 **out) {
    int count;
    const char *const *steps = schema_steps(&count);
    enum mt_status status = MT_OK;
    *out = NULL;
    if (sqlite3_open(":memory:", out) != SQLITE_OK || !key_register(*out) ||
        sqlite3_exec(*out, "PRAGMA temp_store = MEMORY", NULL, NULL, NULL) != SQLITE_OK)
        status = sql_fail(*out, path, "cannot compare its schema");
    if (status == MT_OK)
        status = run_steps(*out, path, steps, 0, version < count ? version : count);
    if (status != MT_OK) {
        sqlite3_close_v2(*out);
        *out = NULL;
    }
    return status;
}

static enum mt_status mark(sqlite3 *db, const char *path, int version) {
    char pragma[96];
    snprintf(pragma, sizeof pragma, "PRAGMA user_version = %d; PRAGMA application_id = %d", version,
             SCHEMA_APPLICATION);
    if (sqlite3_exec(db, pragma, NULL, NULL, NULL) != SQLITE_OK)
        return sql_fail(db, path, "cannot bring it up to date");
    return MT_OK;
}

static enum mt_status check_version(const char *path, int64_t application, int64_t user, int64_t objects, int newest) {
    if (application != SCHEMA_APPLICATION && (application != 0 || user != 0 || objects != 0))
        return fail(MT_FAILURE, "%s is an SQLite database of another program: name a different file with --db", path);
    if (user > newest)
        return fail(
            MT_FAILURE,
            "%s was written by a newer mixtune (database version %d, this program knows %d): use that mixtune, or "
            "name a different file with --db",
            path, (int)user, newest);
    if (user < 0)
        return fail(MT_FAILURE,
                    "%s is damaged: there is no database version %d; restore a copy of it, or name a different file "
                    "with --db",
                    path, (int)user);
    return MT_OK;
}

/* Whether these are ours to change: a new file, or one that this program made and understands. */
enum mt_status schema_version(sqlite3 *db, const char *path, int count, int *version) {
    int64_t application = 0, user = 0, objects = 0;
    /* One look at all three: between two, another process may have made the tables. */
    const bool alone = sqlite3_get_autocommit(db) && sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK;
    *version = 0;
    enum mt_status status = sql_number(db, path, "SELECT count(*) FROM sqlite_schema", &objects);
    if (status == MT_OK)
        status = sql_number(db, path, "PRAGMA application_id", &application);
    if (status == MT_OK)
        status = sql_number(db, path, "PRAGMA user_version", &user);
    if (status == MT_OK)
        status = check_version(path, application, user, objects, count);
    if (status == MT_OK)
        status = guard_schema(db, path, (int)user);
    if (status == MT_OK)
        *version = (int)user;
    if (alone && sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK && status == MT_OK)
        status = sql_fail(db, path, "cannot read it");
    return status;
}

enum mt_status schema_migrate(sqlite3 *db, const char *path, const char *const *steps, int count) {
    int version = 0;
    if (!key_register(db)) /* the steps compute keys */
        return sql_fail(db, path, "cannot open it");
    enum mt_status status = schema_version(db, path, count, &version);
    if (status != MT_OK || version == count)
        return status;
    /* Another process may be doing the same: look again under the lock. */
    if (sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return sql_fail(db, path, "cannot write to it");
    status = schema_version(db, path, count, &version);
    if (status == MT_OK && version < count)
        status = run_steps(db, path, steps, version, count);
    if (status == MT_OK && version < count)
        status = mark(db, path, count);
    if (status == MT_OK && sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        status = sql_fail(db, path, "cannot bring it up to date");
    if (!sqlite3_get_autocommit(db))
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    if (status == MT_OK && version > 0 && version < count)
        log_info("%s: brought from database version %d to %d", path, version, count);
    return status;
}
