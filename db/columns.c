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

static const struct table *find(const char *name) {
    const struct table *t = store_tables;
    while (strcmp(t->name, name) != 0)
        t++;
    return t;
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
    enum mt_status status = sql_prepare(store->db, store->path, key.data, &out->key);
    if (status == MT_OK)
        status = sql_prepare(store->db, store->path, insert.data, &out->row);
    str_release(&key);
    str_release(&insert);
    return status;
}

void insert_number(const struct insert *into, const char *column, int64_t number) {
    sql_bind_number(into->key, column, number);
    sql_bind_number(into->row, column, number);
}

void insert_real(const struct insert *into, const char *column, double real) {
    sql_bind_real(into->key, column, real);
    sql_bind_real(into->row, column, real);
}

void insert_text(const struct insert *into, const char *column, const char *text) {
    sql_bind_text(into->key, column, text);
    sql_bind_text(into->row, column, text);
}

void insert_samples(const struct insert *into, const char *column, const double *samples, int count) {
    unsigned char *bytes = store_encode_samples(samples, count);
    sqlite3_bind_blob(into->key, sql_parameter(into->key, column), bytes, count * 8, SQLITE_TRANSIENT);
    sqlite3_bind_blob(into->row, sql_parameter(into->row, column), bytes, count * 8, free);
}

enum mt_status insert_row(const struct insert *into, int64_t *key, bool *added) {
    struct store *store = into->store;
    enum mt_status status = MT_OK;
    if (sqlite3_step(into->key) == SQLITE_ROW)
        *key = sqlite3_column_int64(into->key, 0);
    else
        status = sql_fail(store->db, store->path, "cannot compute the key of a row");
    if (status == MT_OK) {
        sql_bind_number(into->row, "id", *key);
        if (sqlite3_step(into->row) != SQLITE_DONE)
            status = sql_fail(store->db, store->path, "cannot record a row");
    }
    if (added)
        *added = status == MT_OK && sqlite3_changes(store->db) > 0;
    sqlite3_reset(into->key);
    sqlite3_reset(into->row);
    sqlite3_clear_bindings(into->key);
    sqlite3_clear_bindings(into->row);
    return status;
}

void insert_release(struct insert *into) {
    sqlite3_finalize(into->key);
    sqlite3_finalize(into->row);
    *into = (struct insert){0};
}
