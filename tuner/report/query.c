#include "query.h"

#include "rows.h"
#include "runtime/base/log.h"
#include "runtime/base/near.h"
#include "runtime/base/str.h"
#include "runtime/jit/compile.h"
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_DB = 0x200, KEY_MODEL, KEY_LAYER, KEY_M, KEY_SCHEME, KEY_GPU, KEY_CACHE, KEY_ROWS8 };

static const struct argp_option query_table[] = {
    {"db", KEY_DB, "FILE", 0, "The database (default: " DEFAULT_DB ")", 10},
    {"model", KEY_MODEL, "NAME", 0, "Only this model", 11},
    {"layer", KEY_LAYER, "LIST", 0, "Only these layers, such as qkv,down or 4096x4096", 11},
    {"m", KEY_M, "LIST", 0, "Only these numbers of tokens: 1,16,4096 or 1:256:x2", 11},
    {"scheme", KEY_SCHEME, "LIST", 0,
     "Only these schemes: w4a8, w8a8, mixed, w4a8-sym, mixed-sym; or p10 where 10 % of a layer's features keep 8 bits",
     11},
    {"rows8", KEY_ROWS8, "LIST", 0, "Only layers with so many features in 8 bits: 0,1500", 11},
    {"gpu", KEY_GPU, "NAME", 0, "Only devices with NAME in their name", 11},
    {"cache", KEY_CACHE, "STATE", 0,
     "What lay in the caches: serving (weights come from memory, activations were just written), cold, hot or all "
     "(default: of winners the first of these that there is; of measurements all)",
     11},
    {0},
};

static enum mt_status cache_check(const char *text) {
    for (int cache = 0; cache < CACHES; cache++)
        if (!strcmp(text, store_cache_name((enum store_cache)cache)))
            return MT_OK;
    if (!strcmp(text, "all"))
        return MT_OK;
    return fail(MT_USAGE, "--cache: `%s` is not one of serving, cold, hot, all", text);
}

static bool is_mixed(const char *name) {
    return !strcmp(name, "mixed") || !strcmp(name, "mixed-sym");
}

static enum mt_status schemes_check(const char *list) {
    enum mt_status status = list_check(list, "--scheme");
    char *copy = xstrdup(list), *save;
    struct scheme scheme;
    for (char *name = strtok_r(copy, ",", &save); name && !status; name = strtok_r(NULL, ",", &save))
        status = is_mixed(name) ? MT_OK : scheme_parse(name, &scheme);
    free(copy);
    return status;
}

static error_t query_parse(int key, char *arg, struct argp_state *state) {
    struct query_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        return 0;
    case KEY_DB:
        o->db = arg;
        return 0;
    case KEY_MODEL:
        o->model = arg;
        return 0;
    case KEY_LAYER:
        o->layers = arg;
        return 0;
    case KEY_GPU:
        o->gpu = arg;
        return 0;
    case KEY_CACHE:
        o->cache = arg;
        return options_error(cache_check(arg));
    case KEY_M:
        return options_error(int_list_parse(arg, "--m", &o->m));
    case KEY_SCHEME:
        o->schemes = arg;
        return options_error(schemes_check(arg));
    case KEY_ROWS8:
        return options_error(counts_parse(arg, "--rows8", &o->rows8));
    case ARGP_KEY_ARG:
        return options_error(fail(MT_USAGE, "%s takes options only, not `%s`; --help lists them", state->name, arg));
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child query_children[] = {{&output_argp, 0, NULL, 0}, {0}};
const struct argp query_argp = {.options = query_table, .parser = query_parse, .children = query_children};

void query_options_release(struct query_options *o) {
    int_list_release(&o->m);
    int_list_release(&o->rows8);
}

/* Names as the store has them, and shares of a layer's features. */
static void append_schemes(const char *list, sqlite3_str *sql) {
    const char *joint = " AND (";
    char *copy = xstrdup(list), *save;
    for (char *name = strtok_r(copy, ",", &save); name; name = strtok_r(NULL, ",", &save), joint = " OR ") {
        struct scheme scheme;
        if (is_mixed(name))
            sqlite3_str_appendf(sql, "%sscheme = %Q", joint, name);
        else if (scheme_parse(name, &scheme) == MT_OK)
            sqlite3_str_appendf(sql, "%s(scheme IN (%s) AND rows8 = (n * %d + 500) / 1000)", joint,
                                scheme.symmetric ? "'w8a8', 'w4a8-sym', 'mixed-sym'" : "'w8a8', 'w4a8', 'mixed'",
                                scheme.per_mille);
    }
    sqlite3_str_appendall(sql, ")");
    free(copy);
}

/* The conditions on columns that headline, peer and fact share. Freed with sqlite3_free(). */
static char *conditions(const struct query_options *o) {
    sqlite3_str *sql = sqlite3_str_new(NULL);
    sqlite3_str_appendall(sql, "1");
    if (o->model)
        sqlite3_str_appendf(sql, " AND model = %Q", o->model);
    if (o->layers)
        sqlite3_str_appendf(sql, " AND instr(',' || %Q || ',', ',' || layer || ',')", o->layers);
    if (o->gpu)
        sqlite3_str_appendf(sql, " AND instr(lower(device_name), lower(%Q))", o->gpu);
    if (o->cache && strcmp(o->cache, "all") != 0)
        sqlite3_str_appendf(sql, " AND cache_state = %Q", o->cache);
    for (int i = 0; i < o->m.count; i++)
        sqlite3_str_appendf(sql, "%s%d%s", i ? "," : " AND m IN (", o->m.value[i], i + 1 == o->m.count ? ")" : "");
    for (int i = 0; i < o->rows8.count; i++)
        sqlite3_str_appendf(sql, "%s%d%s", i ? "," : " AND rows8 IN (", o->rows8.value[i],
                            i + 1 == o->rows8.count ? ")" : "");
    if (o->schemes)
        append_schemes(o->schemes, sql);
    return sqlite3_str_finish(sql);
}

/* Runs `sql` and frees it. */
static enum mt_status run(sqlite3 *db, char *sql) {
    enum mt_status status = MT_OK;
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        status = rows_unreadable(db);
    sqlite3_free(sql);
    return status;
}

enum mt_status query_ask(sqlite3 *db, const char *where) {
    return run(db, sqlite3_mprintf("CREATE TEMP TABLE swept AS SELECT layer AS layer_id, min(created) AS layer_order "
                                   "FROM measurement GROUP BY layer;"
                                   "CREATE TEMP TABLE asked AS SELECT * FROM headline JOIN swept USING (layer_id) "
                                   "WHERE %s;",
                                   where));
}

static enum mt_status make_tables(sqlite3 *db, const struct query_options *o) {
    char *where = conditions(o), *told = sqlite3_mprintf("%s%s", where, o->cache ? "" : " AND is_headline");
    enum mt_status status = query_ask(db, told);
    sqlite3_free(told);
    if (status == MT_OK)
        status = run(db, sqlite3_mprintf(
                             "CREATE TEMP TABLE newest AS SELECT id FROM current UNION ALL SELECT id FROM "
                             "current_peer;"
                             "CREATE INDEX temp.newest_id ON newest (id);"
                             "CREATE TEMP TABLE asked_peer AS SELECT * FROM peer JOIN swept USING "
                             "(layer_id) WHERE %s%s;"
                             "CREATE TEMP TABLE asked_fact AS SELECT *, CASE WHEN stale THEN 'stale' WHEN "
                             "doubtful THEN 'doubtful' WHEN id IN newest THEN 'current' ELSE 'replaced' END AS state "
                             "FROM fact JOIN swept USING (layer_id) WHERE %s;",
                             where, o->cache ? "" : " AND cache_state <> 'hot'", where));
    sqlite3_free(where);
    return status;
}

/* Rows that were made with something else than what is newest, and winners that this program would not compile the
 * same. */
static enum mt_status say_what_is_old(sqlite3 *db) {
    struct rows rows;
    enum mt_status status =
        rows_read(db, "SELECT count(*) AS n FROM asked_fact WHERE stale HAVING count(*) > 0", NULL, &rows);
    if (status != MT_OK)
        return status;
    if (rows.count)
        log_info(
            "%s older measurements are kept but do not count (another driver, NVRTC, CUDA library, release of a peer, "
            "kernel templates or time model); `mixtune show --all` lists them",
            rows_cell(&rows, 0, "n"));
    rows_release(&rows);
    char hash[33];
    if (template_hash(hash) != MT_OK)
        return MT_OK;
    const char *const values[] = {":hash", hash, NULL};
    status = rows_read(db, "SELECT DISTINCT device_name FROM asked WHERE template_hash <> :hash", values, &rows);
    for (int i = 0; status == MT_OK && i < rows.count; i++)
        log_warn(
            "the newest measurements on %s are of other kernel templates than this mixtune has: sweep again before you "
            "rely on them",
            rows.cell[i]);
    rows_release(&rows);
    return status;
}

const char *query_path(const struct query_options *o) {
    return o->db ? o->db : DEFAULT_DB;
}

enum mt_status query_open(const struct query_options *o, struct store **out) {
    const char *path = query_path(o);
    *out = NULL;
    if (access(path, F_OK) != 0)
        return fail(MT_FAILURE, "there is no database %s: `mixtune sweep` makes one, or name another with --db", path);
    enum mt_status status = store_open_reading(path, out);
    if (status == MT_OK)
        status = make_tables(store_handle(*out), o);
    if (status == MT_OK)
        status = say_what_is_old(store_handle(*out));
    if (status != MT_OK) {
        store_close(*out);
        *out = NULL;
    }
    return status;
}

/* MT_FAILURE if the database has nothing of that name at all; the first column of `sql` has its names. */
static enum mt_status check_name(const struct query_options *o, sqlite3 *db, const char *what, const char *name,
                                 const char *sql) {
    struct near near = {.wanted = name};
    struct str instead = {0};
    struct rows rows;
    enum mt_status status = rows_read(db, sql, NULL, &rows);
    if (status != MT_OK)
        return status;
    bool known = false;
    for (int r = 0; r < rows.count; r++) {
        known = known || !strcmp(rows.cell[r * rows.columns], name);
        near_offer(&near, rows.cell[r * rows.columns]);
    }
    near_print(&near, "; `mixtune show --all` lists what it has", &instead);
    if (!known)
        status = fail(MT_FAILURE, "%s has no %s `%s`%s", query_path(o), what, name, instead.data);
    rows_release(&rows);
    str_release(&instead);
    return status;
}

static enum mt_status check_layers(const struct query_options *o, sqlite3 *db) {
    enum mt_status status = MT_OK;
    char *copy = xstrdup(o->layers), *save;
    for (char *name = strtok_r(copy, ",", &save); name && !status; name = strtok_r(NULL, ",", &save))
        status = check_name(o, db, "layer", name, "SELECT DISTINCT layer FROM layer");
    free(copy);
    return status;
}

/* Part of a device's name is enough, so all that there are are told. */
static enum mt_status check_gpu(const struct query_options *o, sqlite3 *db) {
    const char *const values[] = {":part", o->gpu, NULL};
    struct str names = {0};
    struct rows rows;
    enum mt_status status = rows_read(db,
                                      "SELECT name, sum(instr(lower(name), lower(:part)) > 0) OVER () AS known "
                                      "FROM (SELECT DISTINCT name FROM device) ORDER BY name",
                                      values, &rows);
    if (status != MT_OK)
        return status;
    for (int r = 0; r < rows.count; r++)
        str_printf(&names, "%s%s", r ? ", " : "; it has ", rows_cell(&rows, r, "name"));
    if (!rows.count || rows_is(&rows, 0, "known", "0"))
        status = fail(MT_FAILURE, "%s has no device with `%s` in its name%s", query_path(o), o->gpu, str_text(&names));
    rows_release(&rows);
    str_release(&names);
    return status;
}

enum mt_status query_nothing(const struct query_options *o, struct sqlite3 *db, const char *what) {
    enum mt_status status = o->model ? check_name(o, db, "model", o->model, "SELECT DISTINCT model FROM layer") : MT_OK;
    if (status == MT_OK && o->layers)
        status = check_layers(o, db);
    if (status == MT_OK && o->gpu)
        status = check_gpu(o, db);
    if (status != MT_OK)
        return status;
    struct rows facts;
    if ((status = rows_read(db, "SELECT 1 FROM asked_fact WHERE state = 'current' LIMIT 1", NULL, &facts)))
        return status;
    status = facts.count ? fail(MT_FAILURE,
                                "%s has measurements that match these options, and no %s among them; `mixtune show "
                                "--all` lists them",
                                query_path(o), what)
                         : fail(MT_FAILURE, "%s has no %s that match these options; relax them, or run a sweep first",
                                query_path(o), what);
    rows_release(&facts);
    return status;
}
