/* What need not be measured again. There is one definition of it, the view `current`. It takes the toolchain of the
 * newest run that recorded something, and the run in hand has recorded nothing yet: so it is asked what it would say if
 * this run confirmed its toolchain, and the question is taken back. */
#include "columns.h"
#include "runtime/base/array.h"
#include "runtime/base/str.h"
#include "sql.h"
#include "store_private.h"
#include <stdlib.h>

/* A row of `current`: its candidate, itself, and whether it is good. */
struct standing {
    int64_t candidate, id, good;
};
struct standings {
    struct standing *item;
    size_t count, capacity;
};

static enum mt_status read_current(struct store *store, struct standings *out) {
    sqlite3_stmt *query;
    enum mt_status status =
        sql_prepare(store->db, store->path,
                    "SELECT content_key('candidate', layer_id, config_id, m, group_size, scheme, rows8, dtype, "
                    "cache_state, origin), id, outcome = 'ok' FROM current WHERE device = :device",
                    &query);
    int rc = SQLITE_DONE;
    if (status == MT_OK && !sql_bind_number(query, "device", store->device))
        status = sql_fail(store->db, store->path, "cannot read it");
    while (status == MT_OK && (rc = sqlite3_step(query)) == SQLITE_ROW) {
        if (!array_grow(&out->item, &out->capacity, out->count, sizeof *out->item)) {
            status = MT_FAILURE;
            break;
        }
        out->item[out->count++] = (struct standing){sqlite3_column_int64(query, 0), sqlite3_column_int64(query, 1),
                                                    sqlite3_column_int64(query, 2)};
    }
    if (status == MT_OK && rc != SQLITE_DONE)
        status = sql_fail(store->db, store->path, "cannot read it");
    sqlite3_finalize(query);
    return status;
}

static enum mt_status ask_current(struct store *store, struct standings *out) {
    const int64_t run = store->run;
    enum mt_status status = store_lock(store);
    if (status != MT_OK)
        return status;
    status = store_insert_run(store, true);
    if (status == MT_OK)
        status = read_current(store, out);
    if (sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK && status == MT_OK)
        status = sql_fail(store->db, store->path, "cannot read it");
    store->run = run;
    return status;
}

static enum mt_status fill_table(struct store *store, const struct standings *rows) {
    sqlite3_stmt *insert = NULL;
    enum mt_status status = MT_OK;
    if (sqlite3_exec(store->db,
                     "BEGIN; CREATE TEMP TABLE IF NOT EXISTS standing (candidate INTEGER PRIMARY KEY, "
                     "id INTEGER NOT NULL, good INTEGER NOT NULL); DELETE FROM temp.standing",
                     NULL, NULL, NULL) != SQLITE_OK)
        status = sql_fail(store->db, store->path, "cannot note what is current in it");
    if (status == MT_OK)
        status = sql_prepare(store->db, store->path, "INSERT INTO temp.standing VALUES (?, ?, ?)", &insert);
    for (size_t i = 0; i < rows->count && status == MT_OK; i++) {
        const struct standing *row = &rows->item[i];
        if (sqlite3_bind_int64(insert, 1, row->candidate) || sqlite3_bind_int64(insert, 2, row->id) ||
            sqlite3_bind_int64(insert, 3, row->good) || sqlite3_step(insert) != SQLITE_DONE)
            status = sql_fail(store->db, store->path, "cannot note what is current in it");
        sqlite3_reset(insert);
    }
    sqlite3_finalize(insert);
    return store_unlock(store, status);
}

enum mt_status store_standing(struct store *store) {
    struct standings rows = {0};
    if (!store->run)
        return fail(MT_FAILURE, "%s: what is current depends on a run, and none was begun: call store_begin() first",
                    store->path);
    if (store->standing)
        return MT_OK;
    enum mt_status status = ask_current(store, &rows);
    if (status == MT_OK)
        status = fill_table(store, &rows);
    store->standing = status == MT_OK;
    free(rows.item);
    return status;
}

static enum mt_status prepare_has(struct store *store) {
    struct str sql = {0};
    str_append(&sql, "SELECT good OR NOT :retry_failed FROM temp.standing WHERE candidate = content_key('candidate', ");
    columns_key("layer", &sql);
    str_append(&sql, ", ");
    columns_key("config", &sql);
    str_append(&sql, ", :m, :group_size, :scheme, :rows8, :dtype, :cache_state, :origin)");
    enum mt_status status = sql_prepare_text(store->db, store->path, &sql, &store->has);
    str_release(&sql);
    return status;
}

void store_retry_failed(struct store *store) {
    store->retry_failed = true;
}

enum mt_status store_has(struct store *store, const struct store_measurement *key, int *found) {
    *found = 0;
    enum mt_status status = store_standing(store);
    if (status == MT_OK && !store->has)
        status = prepare_has(store);
    if (status != MT_OK)
        return status;
    sqlite3_stmt *has = store->has;
    const bool bound = store_bind_candidate(has, key) && sql_bind_number(has, "retry_failed", store->retry_failed);
    const int rc = bound ? sqlite3_step(has) : SQLITE_ERROR;
    *found = rc == SQLITE_ROW && sqlite3_column_int(has, 0);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        status = sql_fail(store->db, store->path, "cannot read it");
    sqlite3_reset(has);
    sqlite3_clear_bindings(has);
    return status;
}

enum mt_status store_confirm(struct store *store) {
    static const char sql[] =
        "SELECT 1 FROM toolchain AS t JOIN environment AS e ON e.id = :environment WHERE t.device = :device "
        "AND (t.driver_version, t.nvrtc_version, t.template_hash, t.time_model) = "
        "(e.driver_version, e.nvrtc_version, e.template_hash, e.time_model) "
        "AND e.cublas_version IN ('', t.cublas_version)";
    sqlite3_stmt *query;
    enum mt_status status = store_lock(store);
    if (status != MT_OK)
        return status;
    status = sql_prepare(store->db, store->path, sql, &query);
    int rc = SQLITE_ROW;
    if (status == MT_OK) {
        const bool bound = sql_bind_number(query, "environment", store->environment) &&
                           sql_bind_number(query, "device", store->device);
        rc = bound ? sqlite3_step(query) : SQLITE_ERROR;
        if (rc != SQLITE_ROW && rc != SQLITE_DONE)
            status = sql_fail(store->db, store->path, "cannot read it");
    }
    sqlite3_finalize(query);
    if (status == MT_OK && rc == SQLITE_DONE)
        status = store_insert_run(store, true);
    return store_unlock(store, status);
}
