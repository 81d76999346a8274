#include "merge.h"

#include "columns.h"
#include "guard.h"
#include "reading.h"
#include "runtime/base/str.h"
#include "sql.h"
#include "store_private.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- sources ---- */

/* Before SQLite looks at it, which takes an empty file for a new database. */
static enum mt_status check_header(const char *path) {
    char header[16] = "";
    struct stat info;
    const int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    const bool readable = fd >= 0 && fstat(fd, &info) == 0;
    const bool special = readable && !S_ISREG(info.st_mode) && !S_ISCHR(info.st_mode);
    const ssize_t size = readable && !special ? read(fd, header, sizeof header) : -1;
    const int error = errno;
    if (fd >= 0)
        close(fd);
    if (special)
        return guard_files(path);
    if (size < 0)
        return fail(MT_FAILURE, "%s cannot be read: %s", path, strerror(error));
    if (size == sizeof header && !memcmp(header, "SQLite format 3", sizeof header))
        return MT_OK;
    return fail(MT_FAILURE, "%s is neither a database of mixtune nor a T4 file%s", path, size ? "" : ": it is empty");
}

enum mt_status merge_source_open(const char *path, struct store **out) {
    *out = NULL;
    enum mt_status status = check_header(path);
    if (status == MT_OK)
        status = guard_files(path);
    if (status == MT_OK)
        status = reading_copy(path, out);
    if (status == MT_OK && (status = merge_check(*out)) != MT_OK) {
        store_close(*out);
        *out = NULL;
    }
    return status;
}

/* ---- rows ---- */

/* The knobs of all configurations, into `table`. */
static enum mt_status derive_knobs(struct store *store, const char *table) {
    sqlite3_stmt *query;
    enum mt_status status = sql_prepare(store->db, store->path, "SELECT id, config FROM main.config", &query);
    int rc = SQLITE_DONE;
    while (status == MT_OK && (rc = sqlite3_step(query)) == SQLITE_ROW)
        status = store_insert_knobs(store, table, sqlite3_column_int64(query, 0),
                                    sql_text((const char *)sqlite3_column_text(query, 1)));
    if (status == MT_OK && rc != SQLITE_DONE)
        status = sql_fail(store->db, store->path, "cannot read it");
    sqlite3_finalize(query);
    return status;
}

enum mt_status merge_insert_knobs(struct store *source) {
    return derive_knobs(source, "main.knob");
}

/* ---- checks ---- */

/* MT_FAILURE when `sql` has a row; its first column is the rest of the sentence. */
static enum mt_status expect_none(struct store *store, const char *sql) {
    sqlite3_stmt *query;
    enum mt_status status = sql_prepare(store->db, store->path, sql, &query);
    if (status != MT_OK)
        return status;
    int rc = sqlite3_step(query);
    if (rc == SQLITE_ROW)
        status = fail(MT_FAILURE, "%s is damaged: %s; restore a copy of it, or leave it out", store->path,
                      sql_text((const char *)sqlite3_column_text(query, 0)));
    else if (rc != SQLITE_DONE)
        status = sql_fail(store->db, store->path, "cannot read it");
    sqlite3_finalize(query);
    return status;
}

static enum mt_status check_keys(struct store *store) {
    enum mt_status status = MT_OK;
    for (int t = 0; t < STORE_TABLES && status == MT_OK; t++) {
        struct str sql = {0};
        str_printf(&sql,
                   "SELECT 'row ' || id || ' of the table %s is not what its key says' FROM %s "
                   "WHERE id <> content_key('%s', %s) LIMIT 1",
                   store_tables[t].name, store_tables[t].name, store_tables[t].name, store_tables[t].columns);
        status = str_status(&sql) ? MT_FAILURE : expect_none(store, sql.data);
        str_release(&sql);
    }
    return status;
}

static enum mt_status check_knobs(struct store *store) {
    if (sqlite3_exec(
            store->db,
            "DROP TABLE IF EXISTS temp.knob_expected; CREATE TEMP TABLE knob_expected (config INTEGER, name TEXT, "
            "value INTEGER, PRIMARY KEY (config, name)) STRICT, WITHOUT ROWID",
            NULL, NULL, NULL) != SQLITE_OK)
        return sql_fail(store->db, store->path, "cannot check it");
    enum mt_status status = derive_knobs(store, "temp.knob_expected");
    if (status == MT_OK)
        status =
            expect_none(store, "SELECT 'the knobs of configuration ' || config || ' are not those of its text' FROM "
                               "(SELECT * FROM (SELECT * FROM knob EXCEPT SELECT * FROM knob_expected) UNION ALL "
                               "SELECT * FROM (SELECT * FROM knob_expected EXCEPT SELECT * FROM knob)) LIMIT 1");
    return status;
}

enum mt_status merge_check(struct store *store) {
    enum mt_status status =
        expect_none(store, "SELECT replace(integrity_check, char(10), ' ') FROM pragma_integrity_check(1) "
                           "WHERE integrity_check <> 'ok'");
    if (status == MT_OK)
        status = expect_none(store, "SELECT 'a row of the table ' || \"table\" || ' refers to a row of ' || "
                                    "parent || ' that is not there' FROM pragma_foreign_key_check LIMIT 1");
    if (status == MT_OK)
        status = check_keys(store);
    if (status == MT_OK)
        status = guard_values(store->db, store->path);
    if (status == MT_OK)
        status = check_knobs(store);
    if (status == MT_OK)
        status = expect_none(store, "SELECT 'measurement ' || measurement.id || ' claims to be measured, on a software "
                                    "device' FROM measurement JOIN run ON run.id = measurement.run JOIN device ON "
                                    "device.id = run.device WHERE device.software AND origin = 'measured' LIMIT 1");
    if (status == MT_OK)
        status = expect_none(store, "SELECT 'limit ' || device_limit.id || ' claims to be measured, on a software "
                                    "device' FROM device_limit JOIN run ON run.id = device_limit.run JOIN device ON "
                                    "device.id = run.device WHERE device.software AND origin = 'measured' LIMIT 1");
    return status;
}

/* ---- the union ---- */

/* Copies the rows that are not there. */
static enum mt_status copy_rows(struct store *target, struct store *source, const char *name, const char *columns,
                                int64_t *added, int64_t *read) {
    struct str select = {0}, sql = {0};
    str_printf(&select, "SELECT %s FROM main.%s", columns, name);
    str_printf(&sql, "INSERT INTO main.%s (%s) VALUES (?", name, columns);
    for (const char *p = columns; *p; p++)
        if (*p == ',')
            str_append(&sql, ", ?");
    str_append(&sql, ") ON CONFLICT DO NOTHING");
    sqlite3_stmt *query = NULL, *insert = NULL;
    enum mt_status status = sql_prepare_text(source->db, source->path, &select, &query);
    if (status == MT_OK)
        status = sql_prepare_text(target->db, target->path, &sql, &insert);
    int rc = SQLITE_DONE;
    while (status == MT_OK && (rc = sqlite3_step(query)) == SQLITE_ROW) {
        int bound = SQLITE_OK;
        for (int c = 0; c < sqlite3_column_count(query) && bound == SQLITE_OK; c++)
            bound = sqlite3_bind_value(insert, c + 1, sqlite3_column_value(query, c));
        if (bound != SQLITE_OK || sqlite3_step(insert) != SQLITE_DONE)
            status = sql_fail(target->db, target->path, "cannot add the rows, it stays as it was");
        else
            *added += sqlite3_changes(target->db);
        sqlite3_reset(insert);
        ++*read;
    }
    if (status == MT_OK && rc != SQLITE_DONE)
        status = sql_fail(source->db, source->path, "cannot read the copy of it");
    sqlite3_finalize(query);
    sqlite3_finalize(insert);
    str_release(&select);
    str_release(&sql);
    return status;
}

static enum mt_status add_source(struct store *target, struct store *source, struct merge_count *out) {
    enum mt_status status = MT_OK;
    for (int t = 0; t < STORE_TABLES && status == MT_OK; t++) {
        struct str columns = {0};
        int64_t added = 0, read = 0;
        str_printf(&columns, "id, %s", store_tables[t].columns);
        status = str_status(&columns) ? MT_FAILURE
                                      : copy_rows(target, source, store_tables[t].name, columns.data, &added, &read);
        if (!strcmp(store_tables[t].name, "run"))
            out->runs += added, out->runs_read += read;
        if (!strcmp(store_tables[t].name, "measurement"))
            out->measurements += added, out->measurements_read += read;
        str_release(&columns);
    }
    int64_t added = 0, read = 0;
    if (status == MT_OK)
        status = copy_rows(target, source, "knob", "config, name, value", &added, &read);
    return status;
}

enum mt_status merge_into(struct store *target, struct store *const *source, int count, struct merge_count *out) {
    *out = (struct merge_count){0};
    enum mt_status status = merge_check(target);
    if (status == MT_OK)
        status = store_lock(target);
    if (status != MT_OK)
        return status;
    for (int i = 0; i < count && status == MT_OK; i++)
        status = add_source(target, source[i], out);
    return store_unlock(target, status);
}
