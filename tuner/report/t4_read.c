#include "t4.h"

#include "db/columns.h"
#include "db/merge.h"
#include "db/reading.h"
#include "db/sql.h"
#include "runtime/layer/problem.h"
#include "tuner/json_file.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A pipe would be read to its end and then opened for the second time. */
enum mt_status t4_recognise(const char *path, bool *out) {
    char first[4096];
    struct stat info;
    ssize_t size = 0, at = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    *out = false;
    if (fd < 0 || fstat(fd, &info) != 0 || (S_ISREG(info.st_mode) && (size = read(fd, first, sizeof first)) < 0)) {
        const enum mt_status status = fail(MT_FAILURE, "%s cannot be read: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return status;
    }
    close(fd);
    if (!S_ISREG(info.st_mode))
        return fail(MT_FAILURE, "%s is no file; give databases of mixtune or T4 files", path);
    if (size >= 3 && !memcmp(first, "\xef\xbb\xbf", 3))
        at = 3;
    while (at < size && isspace((unsigned char)first[at]))
        at++;
    *out = at < size && (first[at] == '{' || first[at] == '[');
    return MT_OK;
}

/* The rows of one list of `metadata.mixtune`: their keys, by position. */
struct keys {
    int64_t *key;
    int count;
};

struct reader {
    const char *path;
    struct store *source;
    char where[64]; /* what is being read, for sentences: "results[3]" */
    struct keys devices, environments, runs, layers;
    struct insert config, measurement;
};

/* ---- fields ---- */

enum kind { KIND_OBJECT, KIND_ARRAY, KIND_TEXT, KIND_INTEGER, KIND_NUMBER };

static bool is_kind(const json_t *value, enum kind kind) {
    switch (kind) {
    case KIND_OBJECT:
        return json_is_object(value);
    case KIND_ARRAY:
        return json_is_array(value);
    case KIND_TEXT:
        return json_is_string(value);
    case KIND_INTEGER:
        return json_is_integer(value) && json_integer_value(value) >= INT_MIN && json_integer_value(value) <= INT_MAX;
    case KIND_NUMBER:
        return json_is_number(value);
    }
    return false;
}

static enum mt_status check_kind(const struct reader *r, const json_t *value, const char *name, enum kind kind) {
    static const char *const words[] = {"an object", "a list", "a text", "a whole number of 32 bits", "a number"};
    if (!value)
        return fail(MT_FAILURE, "%s: %s has no field `%s`", r->path, r->where, name);
    if (!is_kind(value, kind))
        return fail(MT_FAILURE, "%s: `%s` of %s is not %s", r->path, name, r->where, words[kind]);
    return MT_OK;
}

static enum mt_status field(const struct reader *r, const json_t *object, const char *name, enum kind kind,
                            const json_t **out) {
    *out = json_object_get(object, name);
    return check_kind(r, *out, name, kind);
}

/* The value of that name in the list `measurements` of a result; NULL: there is none. */
static const json_t *find_measured(const json_t *list, const char *name) {
    const json_t *entry, *out = NULL;
    size_t i;
    json_array_foreach(list, i, entry) {
        const char *entry_name = json_string_value(json_object_get(entry, "name"));
        if (entry_name && !strcmp(entry_name, name))
            out = json_object_get(entry, "value");
    }
    return out;
}

static enum mt_status measured(const struct reader *r, const json_t *list, const char *name, enum kind kind,
                               const json_t **out) {
    *out = find_measured(list, name);
    return check_kind(r, *out, name, kind);
}

static void put(struct insert *into, const char *column, const json_t *value) {
    if (json_is_integer(value))
        insert_number(into, column, json_integer_value(value));
    else if (json_is_real(value))
        insert_real(into, column, json_real_value(value));
    else
        insert_text(into, column, json_string_value(value));
}

/* "2026-11-23T13:05:00.123456789Z" -> nanoseconds since 1970. */
static enum mt_status time_parse(const struct reader *r, const json_t *value, const char *name, int64_t *out) {
    const char *text = json_string_value(value);
    struct tm tm = {0};
    long nanoseconds = -1;
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    char *end = NULL;
    if (rest && *rest == '.' && strlen(rest) == 11 && isdigit(rest[1]))
        nanoseconds = strtol(rest + 1, &end, 10);
    int64_t since = 0; /* to the year 2262 */
    if (nanoseconds < 0 || strcmp(end, "Z") != 0 || __builtin_mul_overflow((int64_t)timegm(&tm), 1000000000, &since) ||
        __builtin_add_overflow(since, nanoseconds, &since))
        return fail(MT_FAILURE, "%s: `%s` of %s is `%s`, not a time such as 2026-11-23T13:05:00.123456789Z", r->path,
                    name, r->where, text);
    *out = since;
    return MT_OK;
}

/* A position in one of the lists -> the key of its row. */
static enum mt_status reference(const struct reader *r, const json_t *value, const char *name, const struct keys *keys,
                                int64_t *out) {
    json_int_t at = json_integer_value(value);
    if (at < 0 || at >= keys->count)
        return fail(MT_FAILURE, "%s: `%s` of %s is %" JSON_INTEGER_FORMAT ", and there are %d of them", r->path, name,
                    r->where, at, keys->count);
    *out = keys->key[at];
    return MT_OK;
}

/* Adds the row whose columns are set. */
static enum mt_status add_row(const struct reader *r, struct insert *into, int64_t *key) {
    if (insert_row(into, key, NULL) == MT_OK)
        return MT_OK;
    return fail(MT_FAILURE, "%s: %s cannot be a row of the database: %s", r->path, r->where,
                sqlite3_errmsg(store_handle(r->source)));
}

/* ---- metadata.mixtune ---- */

struct column {
    const char *name;
    enum kind kind;
    bool newer; /* a text that older files do not have, and is "" there */
};

static enum mt_status put_columns(const struct reader *r, struct insert *into, const json_t *row,
                                  const struct column *columns) {
    enum mt_status status = MT_OK;
    for (int c = 0; columns[c].name && status == MT_OK; c++) {
        const json_t *value = json_object_get(row, columns[c].name);
        if (!value && columns[c].newer) {
            insert_text(into, columns[c].name, "");
            continue;
        }
        status = field(r, row, columns[c].name, columns[c].kind, &value);
        if (status == MT_OK)
            put(into, columns[c].name, value);
    }
    return status;
}

/* A run refers to a device and an environment. */
static enum mt_status put_run(const struct reader *r, struct insert *into, const json_t *row) {
    const json_t *device, *environment, *command, *started, *missing = json_object_get(row, "missing"),
                                                            *nvrtc = json_object_get(row, "nvrtc"),
                                                            *confirms = json_object_get(row, "confirms");
    int64_t keys[2], time;
    enum mt_status status = missing ? check_kind(r, missing, "missing", KIND_TEXT) : MT_OK;
    if (!status && nvrtc)
        status = check_kind(r, nvrtc, "nvrtc", KIND_TEXT);
    if (!status && confirms)
        status = check_kind(r, confirms, "confirms", KIND_INTEGER);
    if (status || (status = field(r, row, "device", KIND_INTEGER, &device)) ||
        (status = field(r, row, "environment", KIND_INTEGER, &environment)) ||
        (status = field(r, row, "command", KIND_TEXT, &command)) ||
        (status = field(r, row, "started", KIND_TEXT, &started)) ||
        (status = reference(r, device, "device", &r->devices, &keys[0])) ||
        (status = reference(r, environment, "environment", &r->environments, &keys[1])) ||
        (status = time_parse(r, started, "started", &time)))
        return status;
    insert_number(into, "device", keys[0]);
    insert_number(into, "environment", keys[1]);
    put(into, "command", command);
    insert_number(into, "started", time);
    insert_text(into, "missing", json_string_value(missing));
    insert_text(into, "nvrtc", json_string_value(nvrtc));
    insert_number(into, "confirms", json_integer_value(confirms));
    return MT_OK;
}

/* A limit refers to a run. */
static enum mt_status put_limit(const struct reader *r, struct insert *into, const json_t *row) {
    const json_t *run, *name, *value, *unit, *origin, *created;
    int64_t key, time;
    enum mt_status status;
    if ((status = field(r, row, "run", KIND_INTEGER, &run)) || (status = field(r, row, "name", KIND_TEXT, &name)) ||
        (status = field(r, row, "value", KIND_NUMBER, &value)) || (status = field(r, row, "unit", KIND_TEXT, &unit)) ||
        (status = field(r, row, "origin", KIND_TEXT, &origin)) ||
        (status = field(r, row, "created", KIND_TEXT, &created)) ||
        (status = reference(r, run, "run", &r->runs, &key)) || (status = time_parse(r, created, "created", &time)))
        return status;
    insert_number(into, "run", key);
    put(into, "name", name);
    insert_real(into, "value", json_number_value(value));
    put(into, "unit", unit);
    put(into, "origin", origin);
    insert_number(into, "created", time);
    return MT_OK;
}

typedef enum mt_status (*row_putter)(const struct reader *r, struct insert *into, const json_t *row);

/* One list into one table; without `columns` a row is set by `put_row`. */
static enum mt_status read_list(struct reader *r, const json_t *mixtune, const char *name, const char *table,
                                const struct column *columns, row_putter put_row, struct keys *out) {
    const json_t *list, *row;
    struct insert into;
    snprintf(r->where, sizeof r->where, "metadata.mixtune");
    enum mt_status status = field(r, mixtune, name, KIND_ARRAY, &list);
    if (status != MT_OK)
        return status;
    status = insert_begin(r->source, table, &into);
    out->key = xcalloc(json_array_size(list) + 1, sizeof *out->key);
    size_t i;
    json_array_foreach(list, i, row) {
        if (status != MT_OK)
            break;
        snprintf(r->where, sizeof r->where, "metadata.mixtune.%s[%zu]", name, i);
        status = columns ? put_columns(r, &into, row, columns) : put_row(r, &into, row);
        if (status == MT_OK)
            status = add_row(r, &into, &out->key[out->count++]);
    }
    insert_release(&into);
    return status;
}

static enum mt_status read_metadata(struct reader *r, const json_t *root) {
    static const struct column device[] = {{"uuid", KIND_TEXT, false},        {"name", KIND_TEXT, false},
                                           {"cc", KIND_INTEGER, false},       {"sm_count", KIND_INTEGER, false},
                                           {"software", KIND_INTEGER, false}, {0}};
    static const struct column environment[] = {{"driver_version", KIND_INTEGER, false},
                                                {"nvrtc_version", KIND_INTEGER, false},
                                                {"template_hash", KIND_TEXT, false},
                                                {"cublas_version", KIND_TEXT, false},
                                                {"clocks", KIND_TEXT, false},
                                                {"time_model", KIND_TEXT, true},
                                                {0}};
    static const struct column layer[] = {{"model", KIND_TEXT, false}, {"layer", KIND_TEXT, false},
                                          {"n", KIND_INTEGER, false},  {"k", KIND_INTEGER, false},
                                          {"tp", KIND_INTEGER, false}, {0}};
    const json_t *metadata, *mixtune;
    snprintf(r->where, sizeof r->where, "the file");
    enum mt_status status = field(r, root, "metadata", KIND_OBJECT, &metadata);
    if (status == MT_OK) {
        snprintf(r->where, sizeof r->where, "metadata");
        status = field(r, metadata, "mixtune", KIND_OBJECT, &mixtune);
    }
    if (status != MT_OK)
        return fail(
            MT_FAILURE,
            "%s: the field `metadata.mixtune` is missing: only T4 files that `mixtune show --format t4` wrote say "
            "on which device and for which layer they were measured",
            r->path);
    if ((status = read_list(r, mixtune, "devices", "device", device, NULL, &r->devices)) ||
        (status = read_list(r, mixtune, "environments", "environment", environment, NULL, &r->environments)) ||
        (status = read_list(r, mixtune, "runs", "run", NULL, put_run, &r->runs)) ||
        (status = read_list(r, mixtune, "layers", "layer", layer, NULL, &r->layers)))
        return status;
    struct keys limits = {0}; /* nothing refers to them; older files have none */
    if (json_object_get(mixtune, "limits"))
        status = read_list(r, mixtune, "limits", "device_limit", NULL, put_limit, &limits);
    free(limits.key);
    return status;
}

/* ---- results ---- */

/* The configuration stands in the file twice: as the schema wants it and as the database keeps it. */
static enum mt_status read_config(struct reader *r, const json_t *result, const json_t *list, int64_t *key) {
    const json_t *configuration, *family, *config;
    enum mt_status status;
    if ((status = field(r, result, "configuration", KIND_OBJECT, &configuration)) ||
        (status = check_kind(r, json_object_get(configuration, "family"), "configuration.family", KIND_TEXT)) ||
        (status = measured(r, list, "config", KIND_TEXT, &config)))
        return status;
    family = json_object_get(configuration, "family");
    json_t *same = t4_configuration(json_string_value(family), json_string_value(config));
    if (!json_equal(same, configuration))
        status = fail(MT_FAILURE, "%s: `configuration` of %s is not what its measurement `config` says: %s", r->path,
                      r->where, json_string_value(config));
    json_decref(same);
    if (status != MT_OK)
        return status;
    put(&r->config, "family", family);
    put(&r->config, "config", config);
    return add_row(r, &r->config, key);
}

static enum mt_status check_validity(const struct reader *r, const json_t *result, const char *outcome, bool *good) {
    const json_t *invalidity, *correctness;
    enum mt_status status;
    *good = !strcmp(outcome, store_outcome_name(OUTCOME_OK));
    if ((status = field(r, result, "invalidity", KIND_TEXT, &invalidity)) ||
        (status = field(r, result, "correctness", KIND_NUMBER, &correctness)))
        return status;
    const char *want = t4_invalidity(outcome);
    if (!want)
        return fail(MT_FAILURE, "%s: `outcome` of %s is `%s`, which is none", r->path, r->where, outcome);
    if (strcmp(want, json_string_value(invalidity)) != 0)
        return fail(MT_FAILURE, "%s: `invalidity` of %s is `%s`, and its outcome `%s` is `%s`", r->path, r->where,
                    json_string_value(invalidity), outcome, want);
    if (json_number_value(correctness) != *good)
        return fail(MT_FAILURE, "%s: `correctness` of %s is not %d, and its outcome is `%s`", r->path, r->where, *good,
                    outcome);
    return MT_OK;
}

static enum mt_status put_times(struct reader *r, const json_t *result, const json_t *list) {
    static const char *const names[] = {"time", "time_low", "time_high"}, *const columns[] = {"median_ns", "low_ns",
                                                                                              "high_ns"};
    const json_t *times, *runtimes, *value;
    enum mt_status status = field(r, result, "times", KIND_OBJECT, &times);
    if (status == MT_OK)
        status = field(r, times, "runtimes", KIND_ARRAY, &runtimes);
    for (int i = 0; i < 3 && status == MT_OK; i++)
        if ((status = measured(r, list, names[i], KIND_NUMBER, &value)) == MT_OK)
            insert_real(&r->measurement, columns[i], json_number_value(value));
    if (status != MT_OK)
        return status;
    size_t i, count = json_array_size(runtimes);
    if (!count)
        return fail(MT_FAILURE, "%s: `times.runtimes` of %s is empty, and its outcome is `ok`", r->path, r->where);
    double *samples = xcalloc(count, sizeof *samples);
    json_array_foreach(runtimes, i, value) {
        if (!json_is_number(value))
            status = fail(MT_FAILURE, "%s: `times.runtimes[%zu]` of %s is not a number", r->path, i, r->where);
        samples[i] = json_number_value(value);
    }
    insert_samples(&r->measurement, "samples", samples, (int)count);
    free(samples);
    return status;
}

/* Of samples that were thrown away, and of tries, older files say nothing. */
static enum mt_status put_rejected(struct reader *r, const json_t *list) {
    const json_t *samples = find_measured(list, "rejected"), *clock = find_measured(list, "low_clock"),
                 *tries = find_measured(list, "tries");
    enum mt_status status = samples ? check_kind(r, samples, "rejected", KIND_INTEGER) : MT_OK;
    if (status == MT_OK && clock)
        status = check_kind(r, clock, "low_clock", KIND_NUMBER);
    if (status == MT_OK && tries)
        status = check_kind(r, tries, "tries", KIND_INTEGER);
    insert_number(&r->measurement, "rejected", json_integer_value(samples));
    insert_number(&r->measurement, "tries", tries ? json_integer_value(tries) : 1);
    if (clock)
        insert_real(&r->measurement, "low_clock", json_number_value(clock));
    return status;
}

/* Before version 9 of the database a scheme's name had the share of features in 8 bits, in percent: w4.4a8 is 10. -1:
 * it is no such name. */
static long old_share(const char *scheme) {
    char *end;
    if (*scheme != 'w')
        return -1;
    const double bits = strtod(scheme + 1, &end);
    return strcmp(end, "a8") != 0 || !(bits >= 4 && bits <= 8) ? -1 : lround(25 * (bits - 4));
}

/* The scheme is that of a layer with so many of its features in 8 bits; baselines and some peers have words of their
 * own. */
static enum mt_status check_split(const struct reader *r, const char *scheme, int64_t n, int64_t rows8) {
    struct problem p = {.n = (int)n, .rows8 = (int)rows8};
    if (rows8 < 0 || rows8 > n)
        return fail(MT_FAILURE, "%s: `rows8` of %s is %lld, and the layer has %lld features", r->path, r->where,
                    (long long)rows8, (long long)n);
    if ((rows8 || problem_scheme_known(scheme)) && problem_take_scheme(&p, scheme) != MT_OK)
        return fail(MT_FAILURE,
                    "%s: `scheme` of %s is `%s`, which is not that of a layer with %lld of %lld features in "
                    "8 bits",
                    r->path, r->where, scheme, (long long)rows8, (long long)n);
    return MT_OK;
}

/* Scheme and rows8; of rows8 older files say nothing. */
static enum mt_status put_split(struct reader *r, const json_t *list, int64_t layer) {
    const json_t *scheme, *rows8 = find_measured(list, "rows8");
    char sql[64];
    int64_t n = 0;
    snprintf(sql, sizeof sql, "SELECT n FROM layer WHERE id = %lld", (long long)layer);
    enum mt_status status = measured(r, list, "scheme", KIND_TEXT, &scheme);
    if (status == MT_OK && rows8)
        status = check_kind(r, rows8, "rows8", KIND_INTEGER);
    if (status == MT_OK)
        status = sql_number(store_handle(r->source), r->path, sql, &n);
    if (status != MT_OK)
        return status;
    const char *name = json_string_value(scheme);
    const long share = rows8 ? -1 : old_share(name);
    int64_t kept = json_integer_value(rows8);
    if (share >= 0) {
        kept = (n * share + 50) / 100;
        name = problem_scheme(&(struct problem){.n = (int)n, .rows8 = (int)kept});
    }
    insert_text(&r->measurement, "scheme", name);
    insert_number(&r->measurement, "rows8", kept);
    return check_split(r, name, n, kept);
}

static enum mt_status read_result(struct reader *r, const json_t *result) {
    static const struct column plain[] = {
        {"m", KIND_INTEGER, false},          {"group_size", KIND_INTEGER, false}, {"dtype", KIND_TEXT, false},
        {"binary", KIND_TEXT, false},        {"outcome", KIND_TEXT, false},       {"message", KIND_TEXT, false},
        {"origin", KIND_TEXT, false},        {"cache_state", KIND_TEXT, false},   {"registers", KIND_INTEGER, false},
        {"smem_bytes", KIND_INTEGER, false}, {"spill_bytes", KIND_INTEGER, false}};
    const json_t *list, *run, *layer, *outcome, *timestamp, *value;
    int64_t keys[3], created, key;
    bool good;
    enum mt_status status;
    if ((status = field(r, result, "timestamp", KIND_TEXT, &timestamp)) ||
        (status = time_parse(r, timestamp, "timestamp", &created)) ||
        (status = field(r, result, "measurements", KIND_ARRAY, &list)) ||
        (status = read_config(r, result, list, &keys[2])) || (status = measured(r, list, "run", KIND_INTEGER, &run)) ||
        (status = reference(r, run, "run", &r->runs, &keys[0])) ||
        (status = measured(r, list, "layer", KIND_INTEGER, &layer)) ||
        (status = reference(r, layer, "layer", &r->layers, &keys[1])) ||
        (status = measured(r, list, "outcome", KIND_TEXT, &outcome)) ||
        (status = check_validity(r, result, json_string_value(outcome), &good)) ||
        (good && (status = put_times(r, result, list))) || (status = put_rejected(r, list)) ||
        (status = put_split(r, list, keys[1])))
        return status;
    insert_number(&r->measurement, "run", keys[0]);
    insert_number(&r->measurement, "layer", keys[1]);
    insert_number(&r->measurement, "config", keys[2]);
    insert_number(&r->measurement, "created", created);
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        if ((status = measured(r, list, plain[i].name, plain[i].kind, &value)) != MT_OK)
            return status;
        put(&r->measurement, plain[i].name, value);
    }
    return add_row(r, &r->measurement, &key);
}

static enum mt_status read_results(struct reader *r, const json_t *root) {
    const json_t *results, *result;
    snprintf(r->where, sizeof r->where, "the file");
    enum mt_status status = field(r, root, "results", KIND_ARRAY, &results);
    if (status == MT_OK)
        status = insert_begin(r->source, "config", &r->config);
    if (status == MT_OK)
        status = insert_begin(r->source, "measurement", &r->measurement);
    size_t i;
    json_array_foreach(results, i, result) {
        snprintf(r->where, sizeof r->where, "results[%zu]", i);
        if (status == MT_OK)
            status = read_result(r, result);
    }
    insert_release(&r->config);
    insert_release(&r->measurement);
    return status;
}

/* ---- the file ---- */

static enum mt_status check_version(const struct reader *r, const json_t *root) {
    const json_t *version;
    enum mt_status status = field(r, root, "schema_version", KIND_TEXT, &version);
    if (status == MT_OK && strncmp(json_string_value(version), "1.", 2) != 0)
        status = fail(MT_FAILURE, "%s: `schema_version` is `%s`, and this program reads version 1", r->path,
                      json_string_value(version));
    return status;
}

static enum mt_status read_all(struct reader *r, const json_t *root) {
    snprintf(r->where, sizeof r->where, "the file");
    enum mt_status status;
    sqlite3 *db = store_handle(r->source);
    if (!json_is_object(root))
        return fail(MT_FAILURE, "%s: a T4 file is a JSON object, and this is not one", r->path);
    sqlite3_exec(db, "BEGIN", NULL, NULL, NULL); /* one transaction: a row each would be slow */
    if ((status = check_version(r, root)) || (status = read_metadata(r, root)) || (status = read_results(r, root)) ||
        (status = merge_insert_knobs(r->source)))
        return status;
    if (sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        return fail(MT_FAILURE, "%s: cannot read it into a temporary file: %s", r->path, sqlite3_errmsg(db));
    return merge_check(r->source);
}

enum mt_status t4_read(const char *path, struct store **out) {
    struct reader r = {.path = path};
    *out = NULL;
    json_t *root;
    enum mt_status status = json_file_read(path, JSON_T4_MOST, MT_FAILURE, &root);
    if (!status)
        status = reading_empty(path, &r.source);
    if (!status)
        status = read_all(&r, root);
    json_decref(root);
    free(r.devices.key);
    free(r.environments.key);
    free(r.runs.key);
    free(r.layers.key);
    if (status == MT_OK)
        *out = r.source;
    else
        store_close(r.source);
    return status;
}
