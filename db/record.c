/* Recording a measurement. */
#include "columns.h"
#include "runtime/base/str.h"
#include "sql.h"
#include "store_private.h"
#include <endian.h>
#include <stdlib.h>
#include <string.h>

/* As the CHECK constraints of db/schema.sql spell them. */
static const char *const outcome_names[OUTCOMES] = {
    [OUTCOME_OK] = "ok",
    [OUTCOME_REFUSED] = "refused",
    [OUTCOME_COMPILE_FAILED] = "compile-failed",
    [OUTCOME_LAUNCH_FAILED] = "launch-failed",
    [OUTCOME_WRONG] = "wrong",
    [OUTCOME_TIMEOUT] = "timeout",
    [OUTCOME_CRASH] = "crash",
    [OUTCOME_ILLEGAL_ADDRESS] = "illegal-address",
    [OUTCOME_OUT_OF_MEMORY] = "out-of-memory",
};

const char *store_outcome_name(enum store_outcome outcome) {
    return outcome_names[outcome];
}

const char *store_origin_name(enum store_origin origin) {
    return origin == ORIGIN_MODELLED ? "modelled" : "measured";
}

enum store_origin store_origin_of(int software) {
    return software ? ORIGIN_MODELLED : ORIGIN_MEASURED;
}

const char *store_cache_name(enum store_cache cache) {
    static const char *const names[CACHES] = {"serving", "cold", "hot"};
    return names[cache];
}

enum store_cache store_cache_of(int software) {
    return software ? CACHE_COLD : CACHE_SERVING;
}

static const char *cache_state(const struct store_measurement *m) {
    return m->cache_state && *m->cache_state ? m->cache_state : "cold";
}

/* A bare shape has no tensor parallelism, which is the same as 1. */
static int64_t layer_tp(const struct store_layer *layer) {
    return layer->tp < 1 ? 1 : layer->tp;
}

static bool bind_layer(sqlite3_stmt *statement, const struct store_layer *layer) {
    return sql_bind_text(statement, "model", layer->model) && sql_bind_text(statement, "layer", layer->layer) &&
           sql_bind_number(statement, "n", layer->n) && sql_bind_number(statement, "k", layer->k) &&
           sql_bind_number(statement, "tp", layer_tp(layer));
}

bool store_bind_candidate(sqlite3_stmt *statement, const struct store_measurement *m) {
    return bind_layer(statement, &m->layer) && sql_bind_text(statement, "family", m->family) &&
           sql_bind_text(statement, "config", m->config) && sql_bind_number(statement, "m", m->m) &&
           sql_bind_number(statement, "group_size", m->group) && sql_bind_text(statement, "scheme", m->scheme) &&
           sql_bind_number(statement, "rows8", m->rows8) && sql_bind_text(statement, "dtype", m->dtype) &&
           sql_bind_text(statement, "cache_state", cache_state(m)) &&
           sql_bind_text(statement, "origin", store_origin_name(m->origin));
}

enum mt_status store_insert_knobs(struct store *store, const char *table, int64_t config, const char *knobs) {
    struct str sql = {0};
    sqlite3_stmt *insert;
    str_printf(&sql, "INSERT OR IGNORE INTO %s (config, name, value) VALUES (?, ?, ?)", table);
    enum mt_status status = sql_prepare_text(store->db, store->path, &sql, &insert);
    char *copy = status == MT_OK ? mem_text(knobs) : NULL, *rest = copy, *pair;
    if (status == MT_OK && !copy)
        status = MT_FAILURE;
    while (status == MT_OK && (pair = strsep(&rest, ","))) {
        char *equals = strchr(pair, '='), *end;
        if (!equals)
            continue;
        *equals = 0;
        int64_t value = strtoll(equals + 1, &end, 10);
        if (end == equals + 1 || *end)
            continue;
        if (sqlite3_bind_int64(insert, 1, config) || sqlite3_bind_text(insert, 2, pair, -1, SQLITE_STATIC) ||
            sqlite3_bind_int64(insert, 3, value) || sqlite3_step(insert) != SQLITE_DONE)
            status = sql_fail(store->db, store->path, "cannot record a row");
        sqlite3_reset(insert);
    }
    sqlite3_finalize(insert);
    free(copy);
    str_release(&sql);
    return status;
}

static enum mt_status insert_layer(struct store *store, const struct store_layer *layer, int64_t *key) {
    struct insert into;
    enum mt_status status = insert_begin(store, "layer", &into);
    if (status == MT_OK) {
        into.failed = !bind_layer(into.key, layer) || !bind_layer(into.row, layer);
        status = insert_row(&into, key, NULL);
    }
    insert_release(&into);
    return status;
}

static enum mt_status insert_config(struct store *store, const struct store_measurement *m, int64_t *key) {
    struct insert into;
    bool added = false;
    enum mt_status status = insert_begin(store, "config", &into);
    if (status == MT_OK) {
        insert_text(&into, "family", m->family);
        insert_text(&into, "config", m->config);
        status = insert_row(&into, key, &added);
    }
    insert_release(&into);
    return added ? store_insert_knobs(store, "knob", *key, sql_text(m->config)) : status;
}

unsigned char *store_encode_samples(const double *samples, int count) {
    unsigned char *bytes = mem_alloc((size_t)count * 8);
    for (int i = 0; bytes && i < count; i++) {
        uint64_t bits;
        memcpy(&bits, &samples[i], 8);
        bits = htole64(bits);
        memcpy(bytes + 8 * i, &bits, 8);
    }
    return bytes;
}

double store_decode_sample(const void *blob, int index) {
    uint64_t bits;
    double sample;
    memcpy(&bits, (const char *)blob + 8 * (size_t)index, 8);
    bits = le64toh(bits);
    memcpy(&sample, &bits, 8);
    return sample;
}

static void put_measurement(struct insert *into, const struct store_measurement *m) {
    bool ok = m->outcome == OUTCOME_OK;
    insert_number(into, "m", m->m);
    insert_number(into, "group_size", m->group);
    insert_text(into, "scheme", m->scheme);
    insert_number(into, "rows8", m->rows8);
    insert_text(into, "dtype", m->dtype);
    insert_text(into, "binary", m->binary);
    insert_text(into, "outcome", store_outcome_name(m->outcome));
    insert_text(into, "message", ok ? "" : m->message);
    insert_text(into, "origin", store_origin_name(m->origin));
    insert_text(into, "cache_state", cache_state(m));
    if (ok) {
        if (m->samples_ns && m->sample_count > 0)
            insert_samples(into, "samples", m->samples_ns, m->sample_count);
        insert_real(into, "median_ns", m->median_ns);
        insert_real(into, "low_ns", m->low_ns);
        insert_real(into, "high_ns", m->high_ns);
    }
    insert_number(into, "registers", m->registers);
    insert_number(into, "smem_bytes", m->smem_bytes);
    insert_number(into, "spill_bytes", m->spill_bytes);
    insert_number(into, "rejected", m->rejected);
    insert_number(into, "tries", m->tries < 1 ? 1 : m->tries);
    if (m->low_clock > 0)
        insert_real(into, "low_clock", m->low_clock);
}

static enum mt_status insert_measurement(struct store *store, const struct store_measurement *m, int64_t layer,
                                         int64_t config) {
    int64_t created, key;
    struct insert into;
    enum mt_status status = store_clock(store, "SELECT max(created) FROM measurement", &created);
    if (status != MT_OK)
        return status;
    status = insert_begin(store, "measurement", &into);
    if (status == MT_OK) {
        insert_number(&into, "run", store->run);
        insert_number(&into, "layer", layer);
        insert_number(&into, "config", config);
        insert_number(&into, "created", created);
        put_measurement(&into, m);
        status = insert_row(&into, &key, NULL);
    }
    insert_release(&into);
    return status;
}

enum mt_status store_record(struct store *store, const struct store_measurement *m) {
    if (!store->run)
        return fail(MT_FAILURE, "%s: a measurement belongs to a run, and none was begun: call store_begin() first",
                    store->path);
    enum mt_status status = store_lock(store);
    if (status != MT_OK)
        return status;
    int64_t layer = 0, config = 0;
    status = insert_layer(store, &m->layer, &layer);
    if (status == MT_OK)
        status = insert_config(store, m, &config);
    if (status == MT_OK)
        status = insert_measurement(store, m, layer, config);
    store->standing = false;
    return store_unlock(store, status);
}
