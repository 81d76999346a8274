#include "columns.h"

#include "runtime/base/str.h"
#include "sql.h"
#include "store_private.h"
#include <stdlib.h>
#include <string.h>

const struct table store_tables[STORE_TABLES] = {
    {"device", "uuid, name, cc, sm_count, software"},
    {"environment", "driver_version, nvrtc_version, template_hash, cublas_version, clocks, time_model"},
    {"run", "device, environment, command, started, missing, nvrtc, confirms"},
    {"device_limit", "run, name, value, unit, origin, created"},
    {"layer", "model, layer, n, k, tp"},
    {"config", "family, config"},
    {"measurement",
     "run, layer, config, m, group_size, scheme, dtype, binary, outcome, message, origin, cache_state, samples, "
     "median_ns, low_ns, high_ns, registers, smem_bytes, spill_bytes, created, rejected, low_clock, "
     "rows8, tries"},
};

/* The first for a name that there is not: its columns are not those that are bound. */
static const struct table *find(const char *name) {
    for (int t = 0; t < STORE_TABLES; t++)
        if (!strcmp(store_tables[t].name, name))
            return &store_tables[t];
    return store_tables;
}

/* ", :uuid, :name, ..." */
static void append_parameters(const struct table *t, struct str *sql) {
    for (const char *p = t->columns; *p; p += strspn(p, ", ")) {
        const size_t length = strcspn(p, ",");
        str_printf(sql, ", :%.*s", (int)length, p);
        p += length;
    }
}

void columns_key(const char *table, struct str *sql) {
    str_printf(sql, "content_key('%s'", table);
    append_parameters(find(table), sql);
    str_append(sql, ")");
}

enum mt_status insert_begin(struct store *store, const char *table, struct insert *out) {
    const struct table *t = find(table);
    struct str key = {0}, insert = {0};
    *out = (struct insert){.store = store};
    str_append(&key, "SELECT ");
    columns_key(table, &key);
    str_printf(&insert, "INSERT INTO %s (id, %s) VALUES (:id", t->name, t->columns);
    append_parameters(t, &insert);
    str_append(&insert, ") ON CONFLICT (id) DO NOTHING");
    enum mt_status status = sql_prepare_text(store->db, store->path, &key, &out->key);
    if (status == MT_OK)
        status = sql_prepare_text(store->db, store->path, &insert, &out->row);
    str_release(&key);
    str_release(&insert);
    return status;
}

static void note(struct insert *into, bool key, bool row) {
    into->failed = into->failed || !key || !row;
}

void insert_number(struct insert *into, const char *column, int64_t number) {
    note(into, sql_bind_number(into->key, column, number), sql_bind_number(into->row, column, number));
}

void insert_real(struct insert *into, const char *column, double real) {
    note(into, sql_bind_real(into->key, column, real), sql_bind_real(into->row, column, real));
}

void insert_text(struct insert *into, const char *column, const char *text) {
    note(into, sql_bind_text(into->key, column, text), sql_bind_text(into->row, column, text));
}

void insert_samples(struct insert *into, const char *column, const double *samples, int count) {
    unsigned char *bytes = store_encode_samples(samples, count);
    const int size = count * 8;
    if (!bytes) {
        into->failed = true;
        return;
    }
    const int key = sqlite3_bind_blob(into->key, sql_parameter(into->key, column), bytes, size, SQLITE_TRANSIENT);
    const int row = sqlite3_bind_blob(into->row, sql_parameter(into->row, column), bytes, size, free);
    note(into, key == SQLITE_OK, row == SQLITE_OK);
}

/* SQLite knows no error where memory was short before it was asked. */
static enum mt_status fail_value(const struct store *store) {
    if (sqlite3_errcode(store->db) == SQLITE_OK)
        return fail(MT_FAILURE, "%s: cannot record a row: memory is short", store->path);
    return sql_fail(store->db, store->path, "cannot record a row");
}

enum mt_status insert_row(struct insert *into, int64_t *key, bool *added) {
    struct store *store = into->store;
    enum mt_status status = into->failed ? fail_value(store) : MT_OK;
    if (status == MT_OK && sqlite3_step(into->key) == SQLITE_ROW)
        *key = sqlite3_column_int64(into->key, 0);
    else if (status == MT_OK)
        status = sql_fail(store->db, store->path, "cannot compute the key of a row");
    if (status == MT_OK && (!sql_bind_number(into->row, "id", *key) || sqlite3_step(into->row) != SQLITE_DONE))
        status = sql_fail(store->db, store->path, "cannot record a row");
    if (added)
        *added = status == MT_OK && sqlite3_changes(store->db) > 0;
    sqlite3_reset(into->key);
    sqlite3_reset(into->row);
    sqlite3_clear_bindings(into->key);
    sqlite3_clear_bindings(into->row);
    into->failed = false;
    return status;
}

void insert_release(struct insert *into) {
    sqlite3_finalize(into->key);
    sqlite3_finalize(into->row);
    *into = (struct insert){0};
}
