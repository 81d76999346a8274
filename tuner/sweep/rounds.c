#include "rounds.h"
#include "finals.h"
#include "runtime/base/array.h"
#include "runtime/base/log.h"
#include "runtime/base/str.h"
#include "tuner/report/rows.h"
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

/* Rows of the item of bind_item(). */
#define OF_ITEM                                                                                                        \
    "uuid = ?1 AND origin = ?2 AND cache_state = ?12 AND model = ?3 AND layer = ?4 AND tp = ?5 AND n = ?6 "            \
    "AND k = ?7 AND m = ?8 AND scheme = ?9 AND group_size = ?10 AND dtype = ?11 AND rows8 = ?13 "                      \
    "AND outcome = 'ok' "
static const char done_sql[] =
    "SELECT max(current.created * (run.command LIKE '" ROUNDS_COMMAND "%')) = max(current.created) "
    "FROM current JOIN run ON run.id = current.run WHERE " OF_ITEM;
/* In order of simplicity, as finals_winner() wants them and the store's view `winner` has them. */
static const char finalists_sql[] =
    "SELECT family, config, row_number() OVER (ORDER BY median_ns) AS place FROM current WHERE " OF_ITEM
    "ORDER BY split_k, stages, smem_bytes, registers, family, config";
/* A baseline knows no layer, scheme or group; the best of each family plays. */
static const char baselines_sql[] =
    "SELECT family, config, min(median_ns) FROM current WHERE uuid = ?1 AND origin = ?2 AND cache_state = ?12 "
    "AND n = ?6 AND k = ?7 AND m = ?8 AND dtype = ?11 AND outcome = 'ok' AND is_baseline AND family <> 'quantize' "
    "GROUP BY family";

static void bind_item(sqlite3_stmt *s, const struct device *dev, const struct work_item *item) {
    const struct problem *p = &item->problem;
    sqlite3_bind_text(s, 1, dev->uuid, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 2, store_origin_name(store_origin_of(dev->software)), -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 3, item->model, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 4, item->layer, -1, SQLITE_STATIC);
    sqlite3_bind_int(s, 5, item->tp);
    sqlite3_bind_int(s, 6, p->n);
    sqlite3_bind_int(s, 7, p->k);
    sqlite3_bind_int(s, 8, p->m);
    sqlite3_bind_text(s, 9, problem_scheme(p), -1, SQLITE_STATIC);
    sqlite3_bind_int(s, 10, p->group);
    sqlite3_bind_text(s, 11, dtype_name(p->dtype), -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 12, store_cache_name(store_cache_of(dev->software)), -1, SQLITE_STATIC);
    sqlite3_bind_int(s, 13, p->rows8);
}

struct field {
    struct candidate *item;
    int count, configs; /* the configurations come first, then the baselines */
    size_t capacity;
};

static enum mt_status prepare(const struct rounds *r, const struct work_item *item, const char *sql,
                              sqlite3_stmt **out) {
    struct sqlite3 *db = store_handle(r->store);
    if (sqlite3_prepare_v2(db, sql, -1, out, NULL) != SQLITE_OK)
        return rows_unreadable(db);
    bind_item(*out, worker_device(r->worker), item);
    return MT_OK;
}

static void add(const struct rounds *r, const struct work_item *item, const struct config *config, enum library library,
                bool baseline, struct field *field) {
    struct candidate candidate = {
        .item = item, .baseline = baseline, .config = *config, .library = library, .binary = -1};
    if (config->family) {
        candidate.binary = binaries_add(r->binaries, config, &item->problem);
        r->binaries->item[candidate.binary].wanted = true;
    }
    array_grow(&field->item, &field->capacity, (size_t)field->count, sizeof *field->item);
    field->item[field->count++] = candidate;
}

static enum mt_status add_rows(const struct rounds *r, const struct work_item *item, bool baselines,
                               struct field *field) {
    sqlite3_stmt *rows = NULL;
    enum mt_status status = prepare(r, item, baselines ? baselines_sql : finalists_sql, &rows);
    int rc = SQLITE_DONE;
    while (!status && (rc = sqlite3_step(rows)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(rows, 0);
        const struct family *family = family_find(name);
        enum library library = strcmp(name, "cublaslt-best") ? LIBRARY_CUBLAS : LIBRARY_CUBLASLT;
        struct config config = {0};
        if (family && (status = config_parse(family, (const char *)sqlite3_column_text(rows, 1), &config)))
            break;
        if (baselines || sqlite3_column_int(rows, 2) <= ROUNDS_BEST || config_is_default(&config))
            add(r, item, &config, library, baselines, field);
    }
    if (!status && rc != SQLITE_DONE)
        status = rows_unreadable(store_handle(r->store));
    sqlite3_finalize(rows);
    return status;
}

static enum mt_status choose(const struct rounds *r, const struct work_item *item, struct field *field) {
    sqlite3_stmt *row;
    enum mt_status status = prepare(r, item, done_sql, &row);
    if (status)
        return status;
    const int rc = sqlite3_step(row);
    const bool done = rc == SQLITE_ROW && sqlite3_column_int(row, 0);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        status = rows_unreadable(store_handle(r->store));
    sqlite3_finalize(row);
    if (status || done || (status = add_rows(r, item, false, field)))
        return status;
    field->configs = field->count;
    return add_rows(r, item, true, field);
}

void tally_add(struct tally *tally, const struct rejected *of_candidate) {
    rejected_add(&tally->rejected, of_candidate);
    tally->candidates += of_candidate->samples > 0 || of_candidate->clock > 0;
}

static enum mt_status record(const struct rounds *r, const struct candidate *candidate, const double *ns, int stride,
                             const struct rejected *rejected) {
    const struct family *family = candidate->config.family;
    struct measured measured = {.outcome = OUTCOME_OK};
    struct timing *timing = &measured.timing;
    struct str config = {0};
    struct store_measurement row;
    if (family) {
        struct launch_shape shape;
        family->shape(&candidate->config, &candidate->item->problem, worker_device(r->worker)->sm_count, &shape);
        measured_binary(&measured, &r->binaries->item[candidate->binary]);
        measured.smem_bytes += (int)shape.smem_bytes;
    }
    timing->samples_ns = xmalloc((size_t)r->count * sizeof *ns);
    timing->count = r->count;
    for (int i = 0; i < r->count; i++)
        timing->samples_ns[i] = ns[(size_t)i * (size_t)stride];
    timing->estimate = stats_estimate(timing->samples_ns, timing->count);
    timing->rejected = *rejected;
    tally_add(r->tally, rejected);
    measured_row(candidate, &measured, worker_device(r->worker)->software, &config, &row);
    enum mt_status status = store_record(r->store, &row);
    str_release(&config);
    measured_release(&measured);
    return status;
}

/* The winner among the configurations, which are the first of the field. */
static int winner_of(const struct field *field, const struct finals *finals) {
    double *ns = xmalloc((size_t)finals->rounds * (size_t)field->configs * sizeof *ns);
    for (int r = 0; r < finals->rounds; r++)
        memcpy(ns + (size_t)r * (size_t)field->configs, finals->ns + (size_t)r * (size_t)finals->finalists,
               (size_t)field->configs * sizeof *ns);
    const struct finals configs = {ns, finals->rounds, field->configs};
    int winner = finals_winner(&configs);
    free(ns);
    return winner;
}

static void tell(const struct field *field, const struct finals *finals) {
    const struct work_item *item = field->item[0].item;
    struct str text = {0};
    int winner = winner_of(field, finals), baseline = -1;
    for (int i = field->configs; i < field->count; i++)
        if (baseline < 0 || finals_ratio(finals, i, baseline).median < 1)
            baseline = i;
    if (baseline < 0)
        return;
    struct estimate e = finals_ratio(finals, baseline, winner);
    config_format(&field->item[winner].config, &text);
    log_info("finals: %s m=%d %s: %.3f times (%.3f .. %.3f) as fast as %s with %s", item->layer, item->problem.m,
             problem_scheme(&item->problem), e.median, e.low, e.high, candidate_family(&field->item[baseline]),
             text.data);
    str_release(&text);
}

static enum mt_status play(const struct rounds *r, const struct field *field, double *ns, struct rejected *rejected) {
    enum mt_status status = worker_rounds(r->worker, field->item, field->count, r->count, r->binaries, ns, rejected);
    if (!status) {
        const struct finals finals = {ns, r->count, field->count};
        tell(field, &finals);
    } else if (status == MT_FAILURE) {
        log_warn("no finals for %s m=%d: %s", field->item[0].item->layer, field->item[0].item->problem.m,
                 fail_message());
    }
    return status;
}

enum mt_status rounds_run(const struct rounds *r, const struct work_item *item) {
    struct field field = {0};
    enum mt_status status = choose(r, item, &field);
    double *ns = xcalloc((size_t)field.count * (size_t)r->count + 1, sizeof *ns);
    struct rejected *rejected = xcalloc((size_t)field.count + 1, sizeof *rejected);
    if (status || field.configs < 2 || (status = binaries_compile(r->binaries, worker_device(r->worker), true)))
        goto out;
    if ((status = play(r, &field, ns, rejected))) {
        status = status == MT_FAILURE ? MT_OK : status;
        goto out;
    }
    for (int i = 0; i < field.count && !status; i++)
        status = record(r, &field.item[i], ns + i, field.count, &rejected[i]);
out:
    free(rejected);
    free(ns);
    free(field.item);
    return status;
}
