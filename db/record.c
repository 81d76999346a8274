/* Recording a measurement, and asking for one. */
#include "key.h"
#include "runtime/base/str.h"
#include "sql.h"
#include "store_private.h"
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As the CHECK constraints of db/schema.sql spell them. */
static const char *const outcome_names[] = {
    [OUTCOME_OK] = "ok",
    [OUTCOME_REFUSED] = "refused",
    [OUTCOME_COMPILE_FAILED] = "compile-failed",
    [OUTCOME_LAUNCH_FAILED] = "launch-failed",
    [OUTCOME_WRONG] = "wrong",
    [OUTCOME_TIMEOUT] = "timeout",
    [OUTCOME_CRASH] = "crash",
    [OUTCOME_ILLEGAL_ADDRESS] = "illegal-address",
};

const char *store_outcome_name(enum store_outcome outcome) {
    return outcome_names[outcome];
}

const char *store_origin_name(enum store_origin origin) {
    return origin == ORIGIN_MODELLED ? "modelled" : "measured";
}

static const char *cache_state(const struct store_measurement *m) {
    return m->cache_state && *m->cache_state ? m->cache_state : "cold";
}

/* A bare shape has no tensor parallelism, which is the same as 1. */
static int64_t layer_tp(const struct store_layer *layer) {
    return layer->tp < 1 ? 1 : layer->tp;
}

int64_t store_layer_key(const struct store_layer *layer) {
    struct key key;
    key_init(&key, "layer");
    key_text(&key, sql_text(layer->model));
    key_text(&key, sql_text(layer->layer));
    key_number(&key, layer->n);
    key_number(&key, layer->k);
    key_number(&key, layer_tp(layer));
    return key_finish(&key);
}

int64_t store_config_key(const struct store_measurement *m) {
    struct key key;
    key_init(&key, "config");
    key_text(&key, sql_text(m->family));
    key_text(&key, sql_text(m->config));
    return key_finish(&key);
}

enum mt_status store_insert_knobs(struct store *store, const char *table, int64_t config, const char *knobs) {
    char sql[64];
    snprintf(sql, sizeof sql, "INSERT OR IGNORE INTO %s VALUES (?, ?, ?)", table);
    char *copy = xstrdup(knobs), *rest = copy, *pair;
    enum mt_status status = MT_OK;
    while (status == MT_OK && (pair = strsep(&rest, ","))) {
        char *equals = strchr(pair, '='), *end;
        if (!equals)
            continue;
        *equals = 0;
        int64_t value = strtoll(equals + 1, &end, 10);
        if (end != equals + 1 && !*end)
            status = store_insert(store, sql, "iti", config, pair, value);
    }
    free(copy);
    return status;
}

static enum mt_status insert_parts(struct store *store, const struct store_measurement *m, int64_t layer,
                                   int64_t config) {
    enum mt_status status = store_insert(store, "INSERT OR IGNORE INTO layer VALUES (?, ?, ?, ?, ?, ?)", "ittiii",
                                         layer, sql_text(m->layer.model), sql_text(m->layer.layer), (int64_t)m->layer.n,
                                         (int64_t)m->layer.k, layer_tp(&m->layer));
    if (status == MT_OK)
        status = store_insert(store, "INSERT OR IGNORE INTO config VALUES (?, ?, ?)", "itt", config,
                              sql_text(m->family), sql_text(m->config));
    if (status == MT_OK && sqlite3_changes(store->db))
        status = store_insert_knobs(store, "knob", config, sql_text(m->config));
    return status;
}

unsigned char *store_encode_samples(const double *samples, int count) {
    unsigned char *bytes = xmalloc((size_t)count * 8);
    for (int i = 0; i < count; i++) {
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

static void bind_measurement(sqlite3_stmt *insert, const struct store_measurement *m) {
    int ok = m->outcome == OUTCOME_OK;
    sqlite3_bind_int(insert, 5, m->m);
    sqlite3_bind_int(insert, 6, m->group);
    sqlite3_bind_text(insert, 7, sql_text(m->scheme), -1, SQLITE_STATIC);
    sqlite3_bind_text(insert, 8, sql_text(m->dtype), -1, SQLITE_STATIC);
    sqlite3_bind_text(insert, 9, sql_text(m->binary), -1, SQLITE_STATIC);
    sqlite3_bind_text(insert, 10, store_outcome_name(m->outcome), -1, SQLITE_STATIC);
    sqlite3_bind_text(insert, 11, ok ? "" : sql_text(m->message), -1, SQLITE_STATIC);
    sqlite3_bind_text(insert, 12, store_origin_name(m->origin), -1, SQLITE_STATIC);
    sqlite3_bind_text(insert, 13, cache_state(m), -1, SQLITE_STATIC);
    if (ok) { /* what is not bound is NULL */
        if (m->samples_ns && m->sample_count > 0)
            sqlite3_bind_blob(insert, 14, store_encode_samples(m->samples_ns, m->sample_count), m->sample_count * 8,
                              free);
        sqlite3_bind_double(insert, 15, m->median_ns);
        sqlite3_bind_double(insert, 16, m->low_ns);
        sqlite3_bind_double(insert, 17, m->high_ns);
    }
    sqlite3_bind_int(insert, 18, m->registers);
    sqlite3_bind_int(insert, 19, m->smem_bytes);
    sqlite3_bind_int(insert, 20, m->spill_bytes);
    sqlite3_bind_int(insert, 22, m->rejected);
    if (m->low_clock > 0)
        sqlite3_bind_double(insert, 23, m->low_clock);
}

static enum mt_status insert_measurement(struct store *store, const struct store_measurement *m, int64_t layer,
                                         int64_t config) {
    int64_t created;
    enum mt_status status = store_clock(store, "SELECT max(created) FROM measurement", &created);
    if (status != MT_OK)
        return status;
    sqlite3_stmt *insert;
    status =
        sql_prepare(store->db, store->path,
                    "INSERT INTO measurement VALUES (content_key('measurement', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, "
                    "?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23), ?2, ?3, ?4, ?5, ?6, ?7, ?8, "
                    "?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)",
                    &insert);
    if (status != MT_OK)
        return status;
    sqlite3_bind_int64(insert, 2, store->run);
    sqlite3_bind_int64(insert, 3, layer);
    sqlite3_bind_int64(insert, 4, config);
    bind_measurement(insert, m);
    sqlite3_bind_int64(insert, 21, created);
    if (sqlite3_step(insert) != SQLITE_DONE)
        status = sql_fail(store->db, store->path, "cannot record a measurement");
    sqlite3_finalize(insert);
    return status;
}

enum mt_status store_record(struct store *store, const struct store_measurement *m) {
    if (!store->run)
        return fail(MT_FAILURE, "%s: a measurement belongs to a run, and none was begun: call store_begin() first",
                    store->path);
    enum mt_status status = store_lock(store);
    if (status != MT_OK)
        return status;
    int64_t layer = store_layer_key(&m->layer), config = store_config_key(m);
    status = insert_parts(store, m, layer, config);
    if (status == MT_OK)
        status = insert_measurement(store, m, layer, config);
    return store_unlock(store, status);
}

/* A library kernel is as old as its driver and cuBLAS, one of ours as its driver, NVRTC and templates: as `fact` has
 * it. */
static const char has_sql[] =
    "SELECT 1 FROM measurement AS x JOIN run ON run.id = x.run JOIN environment AS e ON e.id = run.environment "
    "JOIN config ON config.id = x.config "
    "WHERE x.config = ?1 AND x.layer = ?2 AND x.m = ?3 AND x.group_size = ?4 AND x.scheme = ?5 AND x.dtype = ?6 "
    "AND x.cache_state = ?7 AND x.origin = ?8 AND run.device = ?9 AND e.driver_version = ?10 "
    "AND CASE WHEN config.library THEN e.cublas_version = ?11 "
    "ELSE e.nvrtc_version = ?12 AND e.template_hash = ?13 END AND (x.outcome = 'ok' OR NOT ?14) LIMIT 1";

void store_retry_failed(struct store *store) {
    store->retry_failed = 1;
}

enum mt_status store_has(struct store *store, const struct store_measurement *key, int *found) {
    *found = 0;
    if (!store->run)
        return fail(MT_FAILURE, "%s: what is current depends on a run, and none was begun: call store_begin() first",
                    store->path);
    enum mt_status status = MT_OK;
    if (!store->has)
        status = sql_prepare(store->db, store->path, has_sql, &store->has);
    if (status != MT_OK)
        return status;
    sqlite3_stmt *has = store->has;
    sqlite3_bind_int64(has, 1, store_config_key(key));
    sqlite3_bind_int64(has, 2, store_layer_key(&key->layer));
    sqlite3_bind_int(has, 3, key->m);
    sqlite3_bind_int(has, 4, key->group);
    sqlite3_bind_text(has, 5, sql_text(key->scheme), -1, SQLITE_STATIC);
    sqlite3_bind_text(has, 6, sql_text(key->dtype), -1, SQLITE_STATIC);
    sqlite3_bind_text(has, 7, cache_state(key), -1, SQLITE_STATIC);
    sqlite3_bind_text(has, 8, store_origin_name(key->origin), -1, SQLITE_STATIC);
    sqlite3_bind_int64(has, 9, store->device);
    sqlite3_bind_int(has, 10, store->env.driver_version);
    sqlite3_bind_text(has, 11, store->env.cublas_version, -1, SQLITE_STATIC);
    sqlite3_bind_int(has, 12, store->env.nvrtc_version);
    sqlite3_bind_text(has, 13, store->env.template_hash, -1, SQLITE_STATIC);
    sqlite3_bind_int(has, 14, store->retry_failed);
    int rc = sqlite3_step(has);
    *found = rc == SQLITE_ROW;
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        status = sql_fail(store->db, store->path, "cannot read it");
    sqlite3_reset(has);
    sqlite3_clear_bindings(has);
    return status;
}
