#include "replay.h"
#include "db/store.h"
#include "guide.h"
#include "tuner/report/files.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What makes a problem one; `sweep` is what makes a sweep one. */
static const char *const sweep_columns[] = {"origin", "device_name", "uuid", "cache_state", "model", "tp", NULL};
static const char *const problem_columns[] = {"layer", "n", "k", "group_size", "scheme", "rows8", "dtype", "m", NULL};

bool replay_same_sweep(const struct replay_set *set, int a, int b) {
    return rows_same(&set->rows, set->item[a].row, set->item[b].row, sweep_columns);
}

static enum mt_status read_configs(const struct rows *rows, int begin, int end, struct replay_problem *p) {
    p->config = xmalloc((size_t)(end - begin) * sizeof *p->config);
    p->ns = xcalloc((size_t)(end - begin), sizeof *p->ns);
    for (int r = begin; r < end; r++) {
        const struct family *family = family_find(rows_cell(rows, r, "family"));
        if (!family)
            return fail(MT_FAILURE,
                        "this mixtune has no kernel family `%s`, which the database names: replay with the "
                        "mixtune that swept",
                        rows_cell(rows, r, "family"));
        enum mt_status status = config_parse(family, rows_cell(rows, r, "config"), &p->config[p->count]);
        if (status)
            return status;
        p->ns[p->count] = strtod(rows_cell(rows, r, "median_ns"), NULL);
        if (p->ns[p->count] > 0 && (p->best_ns <= 0 || p->ns[p->count] < p->best_ns))
            p->best_ns = p->ns[p->count];
        p->count++;
    }
    return MT_OK;
}

static void problem_release(struct replay_problem *p) {
    free(p->config);
    free(p->ns);
    free(p->modelled_ns);
}

/* Modelled times guide the search for measured ones; on a software device they are what is searched. */
static enum mt_status read_guide(struct sqlite3 *db, const struct rows *rows, struct replay_problem *p) {
    if (!rows_is(rows, p->row, "origin", store_origin_name(ORIGIN_MEASURED)))
        return MT_OK;
    return guide_read(db, &p->problem, atoi(rows_cell(rows, p->row, "cc")), p->sm_count, p->config, p->count,
                      &p->modelled_ns);
}

enum mt_status replay_read(struct sqlite3 *db, struct replay_set *out) {
    *out = (struct replay_set){0};
    enum mt_status status = rows_read(db, report_replay_sql, NULL, &out->rows);
    const struct rows *rows = &out->rows;
    if (status)
        return status;
    out->item = xcalloc((size_t)rows->count + 1, sizeof *out->item);
    for (int begin = 0, end; begin < rows->count && !status; begin = end) {
        for (end = begin; end < rows->count && rows_same(rows, begin, end, sweep_columns) &&
                          rows_same(rows, begin, end, problem_columns);
             end++)
            ;
        struct replay_problem *p = &out->item[out->count];
        *p = (struct replay_problem){.row = begin, .sm_count = atoi(rows_cell(rows, begin, "sm_count"))};
        if (!(status = rows_problem(rows, begin, &p->problem)) && !(status = read_configs(rows, begin, end, p)))
            status = read_guide(db, rows, p);
        if (!status && p->best_ns > 0)
            out->count++;
        else
            problem_release(p);
    }
    if (!status && !out->count)
        status =
            fail(MT_FAILURE, "the database has no good measurements that match these options; relax them, or run a "
                             "sweep first");
    if (status)
        replay_release(out);
    return status;
}

void replay_release(struct replay_set *set) {
    for (int i = 0; i < set->count; i++)
        problem_release(&set->item[i]);
    free(set->item);
    rows_release(&set->rows);
    *set = (struct replay_set){0};
}

void replay_run(const struct replay_problem *problem, const struct search_rules *rules, struct model_samples *memory,
                struct replay_run *out) {
    const struct search_pool pool = {&problem->problem, problem->config, problem->count, problem->sm_count,
                                     problem->modelled_ns};
    struct search *search = search_open(&pool, rules, memory);
    double best_ns = INFINITY;
    *out = (struct replay_run){.distance = xmalloc(((size_t)problem->count + 1) * sizeof *out->distance)};
    for (int i; (i = search_next(search)) >= 0;) {
        search_tell(search, i, problem->ns[i]);
        if (problem->ns[i] > 0 && problem->ns[i] < best_ns)
            best_ns = problem->ns[i];
        out->distance[out->measured++] = best_ns / problem->best_ns - 1;
        if (!out->within && best_ns <= 1.01 * problem->best_ns)
            out->within = out->measured;
    }
    search_close(search);
}

void replay_run_release(struct replay_run *run) {
    free(run->distance);
    *run = (struct replay_run){0};
}
