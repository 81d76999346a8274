#include "t4.h"

#include "json_line.h"
#include "rows.h"
#include "tuner/options.h"
#include <errno.h>
#include <jansson.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

/* ---- what both directions share ---- */

static const struct {
    enum store_outcome outcome;
    const char *invalidity;
} invalidities[] = {
    {OUTCOME_OK, "correct"},
    {OUTCOME_REFUSED, "constraints"},
    {OUTCOME_COMPILE_FAILED, "compile"},
    {OUTCOME_LAUNCH_FAILED, "runtime"},
    {OUTCOME_WRONG, "correctness"},
    {OUTCOME_TIMEOUT, "timeout"},
    {OUTCOME_CRASH, "runtime"},
    {OUTCOME_ILLEGAL_ADDRESS, "runtime"},
    {OUTCOME_OUT_OF_MEMORY, "runtime"},
};

const char *t4_invalidity(const char *outcome) {
    for (size_t i = 0; i < sizeof invalidities / sizeof *invalidities; i++)
        if (!strcmp(store_outcome_name(invalidities[i].outcome), outcome))
            return invalidities[i].invalidity;
    return NULL;
}

/* A knob is a number where its text is one. */
static json_t *knob_value(const char *text) {
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    return *text && !*end && !errno ? json_integer(number) : json_string(text);
}

json_t *t4_configuration(const char *family, const char *config) {
    json_t *object = json_pack("{ss}", "family", family);
    char *copy = xstrdup(config), *rest = copy, *pair;
    while (object && (pair = strsep(&rest, ","))) {
        char *equals = strchr(pair, '=');
        if (equals)
            *equals = 0;
        if (*pair)
            json_object_set_new(object, pair, knob_value(equals ? equals + 1 : ""));
    }
    free(copy);
    return object;
}

/* ---- rows as JSON ---- */

static json_t *cell_value(sqlite3_stmt *query, int column) {
    switch (sqlite3_column_type(query, column)) {
    case SQLITE_INTEGER:
        return json_integer(sqlite3_column_int64(query, column));
    case SQLITE_FLOAT:
        return json_real(sqlite3_column_double(query, column));
    default: {
        const char *text = (const char *)sqlite3_column_text(query, column);
        const size_t length = (size_t)sqlite3_column_bytes(query, column);
        return text && strlen(text) == length ? json_string(text) : NULL; /* no reader takes a 0 within */
    }
    }
}

/* NULL when a cell is not what JSON can hold. */
static json_t *row_object(sqlite3_stmt *query) {
    json_t *object = json_object();
    for (int c = 0; c < sqlite3_column_count(query); c++)
        if (json_object_set_new(object, sqlite3_column_name(query, c), cell_value(query, c)) != 0) {
            json_decref(object);
            return NULL;
        }
    return object;
}

static const char *unit_of(const char *name) {
    size_t length = strlen(name);
    if (!strncmp(name, "time", 4))
        return "ns";
    return length > 6 && !strcmp(name + length - 6, "_bytes") ? "bytes" : "";
}

/* Columns of results_sql with a place of their own; the rest goes into `measurements`. */
enum { COLUMN_TIMESTAMP, COLUMN_FAMILY, COLUMN_CONFIG, COLUMN_OUTCOME, COLUMN_SAMPLES, COLUMN_REST };

static json_t *row_measurements(sqlite3_stmt *query) {
    json_t *list = json_array();
    for (int c = COLUMN_REST; c < sqlite3_column_count(query); c++) {
        const char *name = sqlite3_column_name(query, c);
        if (sqlite3_column_type(query, c) != SQLITE_NULL &&
            json_array_append_new(list, json_pack("{ss so ss}", "name", name, "value", cell_value(query, c), "unit",
                                                  unit_of(name))) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *row_samples(sqlite3_stmt *query) {
    json_t *list = json_array();
    const void *blob = sqlite3_column_blob(query, COLUMN_SAMPLES);
    int count = sqlite3_column_bytes(query, COLUMN_SAMPLES) / 8;
    for (int i = 0; i < count; i++)
        if (json_array_append_new(list, json_real(store_decode_sample(blob, i))) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

/* "" for NULL, which a database of mixtune does not have there. */
static const char *text_at(sqlite3_stmt *query, int column) {
    const char *text = (const char *)sqlite3_column_text(query, column);
    return text ? text : "";
}

static json_t *row_result(sqlite3_stmt *query) {
    const char *outcome = text_at(query, COLUMN_OUTCOME);
    return json_pack("{so so s{so} ss si s[s] so}", "timestamp", cell_value(query, COLUMN_TIMESTAMP), "configuration",
                     t4_configuration(text_at(query, COLUMN_FAMILY), text_at(query, COLUMN_CONFIG)), "times",
                     "runtimes", row_samples(query), "invalidity", t4_invalidity(outcome), "correctness",
                     !strcmp(outcome, store_outcome_name(OUTCOME_OK)), "objectives", "time", "measurements",
                     row_measurements(query));
}

/* Takes `value`. */
static void append_json(struct str *out, json_t *value) {
    json_append(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17), out);
}

/* ---- the file ---- */

static enum mt_status unwritable(sqlite3 *db) {
    return fail(MT_FAILURE,
                "%s: a row cannot be written as JSON: a time is no number, or a text is not UTF-8 or has a 0",
                sqlite3_db_filename(db, "main"));
}

/* Rows of `sql` as a JSON list, an element a line. */
static enum mt_status append_list(sqlite3 *db, const char *sql, json_t *(*element)(sqlite3_stmt *), struct str *out,
                                  int *count) {
    sqlite3_stmt *query;
    enum mt_status status = MT_OK;
    int rc = sqlite3_prepare_v2(db, sql, -1, &query, NULL);
    str_append(out, "[");
    for (*count = 0; rc == SQLITE_OK && status == MT_OK && sqlite3_step(query) == SQLITE_ROW; ++*count) {
        str_append(out, *count ? ",\n" : "\n");
        json_t *value = element(query);
        if (value)
            append_json(out, value);
        else
            status = unwritable(db);
    }
    str_append(out, "]");
    if (rc == SQLITE_OK)
        rc = sqlite3_finalize(query);
    if (status == MT_OK && rc != SQLITE_OK)
        status = rows_unreadable(db);
    return status;
}

#define ISO_TIME(column)                                                                                               \
    "strftime('%Y-%m-%dT%H:%M:%S', " column " / 1000000000, 'unixepoch') || printf('.%09dZ', " column " % 1000000000)"

/* The rows that are written, and their places in their lists. */
static enum mt_status make_lists(sqlite3 *db, const struct t4_choice *choice) {
    char *sql = sqlite3_mprintf(
        "CREATE TEMP TABLE t4_id AS SELECT id FROM asked_fact WHERE outcome <> 'ok' OR NOT %d;"
        "CREATE TEMP TABLE t4_run AS SELECT row_number() OVER (ORDER BY started, id) - 1 AS place, * FROM run "
        "WHERE id IN (SELECT run FROM measurement WHERE id IN t4_id) "
        "OR confirms AND device IN (SELECT device FROM asked_fact WHERE id IN t4_id) "
        "OR %d AND NOT EXISTS (SELECT 1 FROM measurement WHERE measurement.run = run.id);"
        "CREATE TEMP TABLE t4_device AS SELECT row_number() OVER (ORDER BY id) - 1 AS place, * FROM device "
        "WHERE id IN (SELECT device FROM t4_run);"
        "CREATE TEMP TABLE t4_environment AS SELECT row_number() OVER (ORDER BY id) - 1 AS place, * FROM environment "
        "WHERE id IN (SELECT environment FROM t4_run);"
        "CREATE TEMP TABLE t4_layer AS SELECT row_number() OVER (ORDER BY id) - 1 AS place, * FROM layer "
        "WHERE id IN (SELECT layer FROM measurement WHERE id IN t4_id);"
        "CREATE INDEX temp.t4_run_id ON t4_run (id); CREATE INDEX temp.t4_layer_id ON t4_layer (id);",
        choice->failed, choice->empty_runs);
    enum mt_status status = MT_OK;
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        status = rows_unreadable(db);
    sqlite3_free(sql);
    return status;
}

static const char results_sql[] = "SELECT " ISO_TIME(
    "x.created") ", c.family, c.config, x.outcome, x.samples, "
                 "x.median_ns AS time, x.low_ns AS time_low, x.high_ns AS time_high, r.place AS run, l.place AS layer, "
                 "x.m AS m, x.group_size AS group_size, x.scheme AS scheme, x.rows8 AS rows8, x.dtype AS dtype, "
                 "x.origin AS origin, "
                 "x.cache_state AS cache_state, x.outcome AS outcome, x.message AS message, x.binary AS binary, "
                 "x.registers AS registers, x.smem_bytes AS smem_bytes, x.spill_bytes AS spill_bytes, x.rejected "
                 "AS rejected, x.low_clock AS low_clock, x.tries AS tries, c.config AS config "
                 "FROM measurement AS x JOIN config AS c ON c.id = x.config JOIN t4_run AS r ON r.id = x.run "
                 "JOIN t4_layer AS l ON l.id = x.layer WHERE x.id IN t4_id ORDER BY x.created, x.id";

/* What the schema itself has room for. */
static const char metadata_sql[] =
    "SELECT 'CUDA' AS compute_api, (SELECT coalesce(group_concat(name, ', '), '') FROM (SELECT DISTINCT name FROM "
    "t4_device ORDER BY "
    "name)) "
    "AS device, 'mixtune' AS autotuner, substr(:version, 9) AS autotuner_version, 'nanoseconds' AS timeunit";

static const struct list {
    const char *name, *sql;
} lists[] = {
    {"devices", "SELECT uuid, name, cc, sm_count, software FROM t4_device ORDER BY place"},
    {"environments", "SELECT driver_version, nvrtc_version, template_hash, cublas_version, clocks, time_model FROM "
                     "t4_environment ORDER BY place"},
    {"runs",
     "SELECT d.place AS device, e.place AS environment, command, " ISO_TIME(
         "started") " AS started, missing, nvrtc, confirms FROM t4_run AS r JOIN t4_device AS d ON d.id = r.device "
                    "JOIN t4_environment AS e ON e.id = r.environment ORDER BY r.place"},
    {"layers", "SELECT model, layer, n, k, tp FROM t4_layer ORDER BY place"},
    {"limits", "SELECT r.place AS run, name, value, unit, origin, " ISO_TIME(
                   "created") " AS created FROM device_limit AS x JOIN t4_run AS r ON r.id = x.run ORDER BY x.created, "
                              "x.id"},
};

static enum mt_status append_metadata(sqlite3 *db, struct str *out) {
    enum mt_status status = MT_OK;
    sqlite3_stmt *query;
    json_t *common = NULL;
    bool there = false;
    if (sqlite3_prepare_v2(db, metadata_sql, -1, &query, NULL) == SQLITE_OK) {
        sqlite3_bind_text(query, 1, MIXTUNE_VERSION, -1, SQLITE_STATIC);
        if ((there = sqlite3_step(query) == SQLITE_ROW))
            common = row_object(query);
    }
    sqlite3_finalize(query);
    if (!common)
        return there ? unwritable(db) : rows_unreadable(db);
    append_json(out, common);
    out->data[--out->length] = 0; /* the brace: one more member follows */
    str_append(out, ",\n\"mixtune\":{");
    for (size_t i = 0; i < sizeof lists / sizeof *lists && status == MT_OK; i++) {
        int rows;
        str_printf(out, "%s\n\"%s\":", i ? "," : "", lists[i].name);
        status = append_list(db, lists[i].sql, row_object, out, &rows);
    }
    str_append(out, "}}");
    return status;
}

enum mt_status t4_write(struct store *store, const struct t4_choice *choice, struct str *out, int *count) {
    sqlite3 *db = store_handle(store);
    *count = 0;
    enum mt_status status = make_lists(db, choice);
    if (status != MT_OK)
        return status;
    str_append(out, "{\"schema_version\":\"1.1.0\",\n\"metadata\":");
    status = append_metadata(db, out);
    str_append(out, ",\n\"results\":");
    if (status == MT_OK)
        status = append_list(db, results_sql, row_result, out, count);
    str_append(out, "}\n");
    return status;
}
