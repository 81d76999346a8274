#define XXH_INLINE_ALL
#include "regret_m.h"
#include "db/bundle/bundle.h"
#include "files.h"
#include "runtime/layer/pack.h"
#include "runtime/serve/table.h"
#include "tables.h"
#include "tuner/progress.h"
#include "winner_set.h"
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define NOISE 0.05
#define SEEDS 10
#define TIES  1.01 /* as in reports/export.sql */

/* A configuration of a layer. */
struct candidate_times {
    const char *family, *config, *binary, *built;
    int kernel;    /* configurations of one binary are one */
    double *ns;    /* [M]; 0: none */
    double *noisy; /* likewise */
};

struct token_layer {
    const struct rows *rows;
    int begin, end; /* its rows */
    int number;
    struct problem problem;
    struct int_list m;
    struct candidate_times *candidate;
    int candidates, kernels;
    bool *tuned; /* [M] */
    int *winner; /* [M]: a candidate; -1 where the M is not tuned */
    sqlite3_stmt *add;
};

/* ---- a layer's times ---- */

static int m_index(const struct token_layer *l, int m) {
    int low = 0, high = l->m.count - 1;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (l->m.value[middle] < m)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void read_m(struct token_layer *l) {
    for (int r = l->begin; r < l->end; r++)
        int_list_add(&l->m, atoi(rows_cell(l->rows, r, "m")));
    int_list_sort(&l->m);
}

static int kernel_of(struct token_layer *l, const struct candidate_times *c) {
    for (int i = 0; i < l->candidates; i++)
        if (!strcmp(l->candidate[i].family, c->family) && !strcmp(l->candidate[i].binary, c->binary))
            return l->candidate[i].kernel;
    return l->kernels++;
}

/* Rows of one configuration stand one behind another. */
static enum mt_status layer_read(struct token_layer *l, const struct rows *rows, int begin, int end) {
    static const char *const same[] = {"family", "config", NULL};
    *l = (struct token_layer){
        .rows = rows, .begin = begin, .end = end, .number = atoi(rows_cell(rows, begin, "token_layer"))};
    enum mt_status status = rows_problem(rows, begin, &l->problem);
    read_m(l);
    l->candidate = xcalloc((size_t)(end - begin) + 1, sizeof *l->candidate);
    l->tuned = xcalloc((size_t)l->m.count + 1, sizeof *l->tuned);
    l->winner = xcalloc((size_t)l->m.count + 1, sizeof *l->winner);
    for (int r = begin; r < end; r++) {
        struct candidate_times *c = &l->candidate[l->candidates - 1];
        if (r == begin || !rows_same(rows, r - 1, r, same)) {
            c = &l->candidate[l->candidates];
            *c = (struct candidate_times){.family = rows_cell(rows, r, "family"),
                                          .config = rows_cell(rows, r, "config"),
                                          .binary = rows_cell(rows, r, "binary"),
                                          .built = rows_cell(rows, r, "built"),
                                          .ns = xcalloc((size_t)l->m.count, sizeof *c->ns),
                                          .noisy = xcalloc((size_t)l->m.count, sizeof *c->noisy)};
            c->kernel = kernel_of(l, c);
            l->candidates++;
        }
        c->ns[m_index(l, atoi(rows_cell(rows, r, "m")))] = strtod(rows_cell(rows, r, "median_ns"), NULL);
    }
    return status;
}

static void layer_release_times(struct token_layer *l) {
    for (int i = 0; i < l->candidates; i++) {
        free(l->candidate[i].ns);
        free(l->candidate[i].noisy);
    }
    free(l->candidate);
    free(l->tuned);
    free(l->winner);
    int_list_release(&l->m);
}

/* ---- noise ---- */

static double uniform(uint64_t key, int part) {
    const uint64_t words[2] = {key, (uint64_t)part};
    return ((double)(XXH3_64bits(words, sizeof words) >> 11) + 0.5) / 9007199254740992.0;
}

/* A normal deviate of each time, by Box and Muller; the same for the same time whatever else there is. */
static void scatter(struct token_layer *l, int seed) {
    for (int i = 0; i < l->candidates; i++)
        for (int m = 0; m < l->m.count; m++) {
            const uint64_t words[4] = {(uint64_t)seed, (uint64_t)l->number,
                                       XXH3_64bits(l->candidate[i].config, strlen(l->candidate[i].config)),
                                       (uint64_t)l->m.value[m]};
            const uint64_t key = XXH3_64bits(words, sizeof words);
            const double normal = sqrt(-2 * log(uniform(key, 0))) * cos(2 * M_PI * uniform(key, 1));
            l->candidate[i].noisy[m] = l->candidate[i].ns[m] * (seed ? exp(NOISE * normal) : 1);
        }
}

/* ---- what would have been exported ---- */

static double fastest(const struct token_layer *l, int m, bool noisy) {
    double best = 0;
    for (int i = 0; i < l->candidates; i++) {
        const double ns = noisy ? l->candidate[i].noisy[m] : l->candidate[i].ns[m];
        if (ns > 0 && (best <= 0 || ns < best))
            best = ns;
    }
    return best;
}

/* The first of a kernel's configurations that is within the band at an M; -1: none is. */
static int good_at(const struct token_layer *l, int kernel, int m, double best) {
    for (int i = 0; i < l->candidates; i++)
        if (l->candidate[i].kernel == kernel && l->candidate[i].noisy[m] > 0 && l->candidate[i].noisy[m] <= TIES * best)
            return i;
    return -1;
}

static void choose_winners(struct token_layer *l) {
    int count = 0, *at = xmalloc((size_t)l->m.count * sizeof *at),
        *chosen = xmalloc((size_t)l->m.count * sizeof *chosen);
    for (int m = 0; m < l->m.count; m++) {
        l->winner[m] = -1;
        if (l->tuned[m])
            at[count++] = m;
    }
    double *ns = xcalloc((size_t)count * (size_t)l->kernels + 1, sizeof *ns);
    for (int p = 0; p < count; p++) {
        const double best = fastest(l, at[p], true);
        for (int k = 0; k < l->kernels; k++) {
            const int good = good_at(l, k, at[p], best);
            ns[(long)p * l->kernels + k] = good < 0 ? 0 : l->candidate[good].noisy[at[p]];
        }
    }
    winner_set_choose(ns, count, l->kernels, chosen);
    for (int p = 0; p < count; p++)
        l->winner[at[p]] = good_at(l, chosen[p], at[p], fastest(l, at[p], true));
    free(at);
    free(chosen);
    free(ns);
}

/* What a configuration takes, or the quickest other walk of its binary where it has no time (reports/times.sql). */
static double walked(const struct token_layer *l, int candidate, int m, bool noisy) {
    const struct candidate_times *c = &l->candidate[candidate];
    double best = noisy ? c->noisy[m] : c->ns[m];
    for (int i = 0; i < l->candidates && (noisy ? c->noisy[m] : c->ns[m]) <= 0; i++) {
        const double ns = noisy ? l->candidate[i].noisy[m] : l->candidate[i].ns[m];
        if (ns > 0 && (best <= 0 || ns < best) && !strcmp(l->candidate[i].family, c->family) &&
            !strcmp(l->candidate[i].built, c->built))
            best = ns;
    }
    return best;
}

/* The times of winners at the tuned M beside theirs; how many. */
static int beside(const struct token_layer *l, const int *tuned, int count, struct bundle_time *out) {
    int times = 0;
    for (int i = 0; i < count; i++)
        for (int j = i - RIVAL_REACH; j <= i + RIVAL_REACH; j++) {
            if (j < 0 || j >= count || l->winner[tuned[i]] == l->winner[tuned[j]])
                continue;
            const struct candidate_times *c = &l->candidate[l->winner[tuned[i]]];
            const double ns = walked(l, l->winner[tuned[i]], tuned[j], true);
            bool known = ns <= 0;
            for (int t = 0; t < times && !known; t++)
                known = out[t].m == l->m.value[tuned[j]] && out[t].config == c->config && out[t].family == c->family;
            if (!known)
                out[times++] = (struct bundle_time){0, l->m.value[tuned[j]], c->family, c->config, ns, BUNDLE_MODELLED};
        }
    qsort(out, (size_t)times, sizeof *out, bundle_by_time);
    return times;
}

/* The table that libmixtune would make of the winners, and what it points to. */
struct view {
    struct bundle_layer layer;
    struct bundle_entry *entries;
    struct bundle_time *times;
    int *tuned, count; /* indexes of M */
    struct mt_table *table;
};

static void view_release(struct view *v) {
    if (v->table)
        table_release(v->table);
    free(v->entries);
    free(v->times);
    free(v->tuned);
}

static void view_fill(struct view *v, const struct token_layer *l) {
    const struct rows *rows = l->rows;
    *v = (struct view){.layer = {.name = rows_cell(rows, l->begin, "layer"),
                                 .model = rows_cell(rows, l->begin, "model"),
                                 .tp = atoi(rows_cell(rows, l->begin, "tp")),
                                 .n = l->problem.n,
                                 .k = l->problem.k,
                                 .group = l->problem.group,
                                 .rows8 = l->problem.rows8,
                                 .scheme = rows_cell(rows, l->begin, "scheme"),
                                 .dtype = rows_cell(rows, l->begin, "dtype")},
                       .entries = xcalloc((size_t)l->m.count, sizeof *v->entries),
                       .times = xcalloc((size_t)l->m.count * 2 * RIVAL_REACH, sizeof *v->times),
                       .tuned = xmalloc((size_t)l->m.count * sizeof *v->tuned)};
    for (int m = 0; m < l->m.count; m++) {
        if (!l->tuned[m])
            continue;
        const struct candidate_times *c = &l->candidate[l->winner[m]];
        v->tuned[v->count] = m;
        v->entries[v->count++] = (struct bundle_entry){.m = l->m.value[m],
                                                       .kind = BUNDLE_KERNEL,
                                                       .family = c->family,
                                                       .config = c->config,
                                                       .image_hash = "",
                                                       .expected_ns = c->noisy[m],
                                                       .origin = BUNDLE_MODELLED};
    }
}

static enum mt_status view_open(struct view *v, const struct token_layer *l) {
    const struct device_limits limits =
        contents_limits(atoi(rows_cell(l->rows, l->begin, "cc")), atoi(rows_cell(l->rows, l->begin, "sm_count")));
    view_fill(v, l);
    struct bundle bundle = {.fingerprint = {.gpu = "",
                                            .cc = limits.cc,
                                            .sm_count = limits.sm_count,
                                            .template_hash = "",
                                            .layout = PACK_LAYOUT},
                            .layers = &v->layer,
                            .layer_count = 1,
                            .entries = v->entries,
                            .entry_count = v->count,
                            .times = v->times,
                            .time_count = beside(l, v->tuned, v->count, v->times)};
    return table_build(&bundle, &limits, 0, false, &v->table);
}

/* ---- asking it ---- */

static int candidate_named(const struct token_layer *l, const struct mt_choice *choice) {
    for (int i = 0; i < l->candidates; i++)
        if (!strcmp(l->candidate[i].family, choice->family) && !strcmp(l->candidate[i].config, choice->config))
            return i;
    return -1;
}

static enum mt_status add_choice(const struct token_layer *l, int m, int seed, int tuned,
                                 const struct mt_choice *choice) {
    const int chosen = candidate_named(l, choice);
    const double ns = chosen < 0 ? 0 : walked(l, chosen, m, false);
    sqlite3_bind_int(l->add, 1, l->number);
    sqlite3_bind_int(l->add, 2, seed ? (int)(100 * NOISE) : 0);
    sqlite3_bind_int(l->add, 3, tuned);
    sqlite3_bind_int(l->add, 4, l->m.value[m]);
    if (ns > 0)
        sqlite3_bind_double(l->add, 5, ns);
    else
        sqlite3_bind_null(l->add, 5);
    sqlite3_bind_double(l->add, 6, fastest(l, m, false));
    const int rc = sqlite3_step(l->add);
    sqlite3_reset(l->add);
    return rc == SQLITE_DONE ? MT_OK : rows_unreadable(sqlite3_db_handle(l->add));
}

/* With the M that are marked as tuned: what is looked up at `only`, or at all others (-1). */
static enum mt_status ask(struct token_layer *l, int seed, int only) {
    struct view view;
    choose_winners(l);
    enum mt_status status = view_open(&view, l);
    for (int m = 0; m < l->m.count && !status; m++) {
        struct mt_choice choice = {.size = sizeof choice};
        if (l->tuned[m] || (only >= 0 && m != only))
            continue;
        status = mt_table_lookup(view.table, mt_table_layer_at(view.table, 0), l->m.value[m], &choice);
        if (!status)
            status = add_choice(l, m, seed, view.count, &choice);
    }
    view_release(&view);
    return status;
}

static enum mt_status ask_all(struct token_layer *l, const struct int_list *asked) {
    const struct int_list usual = usual_tokens(), *keep = asked->count ? asked : &usual;
    enum mt_status status = MT_OK;
    int hidden = 0, kept = 0;
    for (int m = 0; m < l->m.count; m++) {
        for (int i = 0; i < keep->count; i++)
            l->tuned[m] = l->tuned[m] || keep->value[i] == l->m.value[m];
        hidden += !l->tuned[m];
        kept += l->tuned[m];
    }
    if (asked->count && !(hidden && kept))
        return MT_OK;
    for (int seed = 0; seed <= SEEDS && !status; seed++) {
        scatter(l, seed);
        if (hidden && kept) {
            status = ask(l, seed, -1);
            continue;
        }
        for (int m = 1; m + 1 < l->m.count && !status; m++) {
            for (int i = 0; i < l->m.count; i++)
                l->tuned[i] = i != m;
            status = ask(l, seed, m);
        }
    }
    return status;
}

static enum mt_status add_layers(sqlite3 *db, const struct rows *rows, const struct int_list *keep) {
    enum mt_status status = MT_OK;
    struct token_layer l = {0};
    sqlite3_stmt *add;
    if (sqlite3_prepare_v2(db, "INSERT INTO token_choice VALUES (?, ?, ?, ?, ?, ?)", -1, &add, NULL) != SQLITE_OK)
        return rows_unreadable(db);
    for (int begin = 0, end; begin < rows->count && !status; begin = end) {
        end = rows_run_end(rows, begin, "token_layer");
        status = layer_read(&l, rows, begin, end);
        l.add = add;
        if (!status && l.m.count > 2)
            status = ask_all(&l, keep);
        layer_release_times(&l);
    }
    sqlite3_finalize(add);
    return status;
}

enum mt_status regret_m(sqlite3 *db, const struct int_list *keep, struct rows *out) {
    struct rows rows = {0};
    *out = (struct rows){0};
    char *sql = sqlite3_mprintf(
        "CREATE TEMP TABLE token_time AS %s;"
        "CREATE TEMP TABLE token_layer AS SELECT DISTINCT token_layer, origin, device_name, uuid, cache_state, "
        "time_model, model, tp, layer, n, k, group_size, dtype, scheme, rows8 FROM token_time;"
        "CREATE TEMP TABLE token_choice (token_layer INTEGER, noise INTEGER, tuned INTEGER, m INTEGER, "
        "ns REAL, best_ns REAL);",
        report_tokens_sql);
    enum mt_status status = sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? MT_OK : rows_unreadable(db);
    sqlite3_free(sql);
    if (!status)
        status = rows_read(db, "SELECT * FROM token_time ORDER BY rowid", NULL, &rows);
    if (!status)
        status = add_layers(db, &rows, keep);
    if (!status)
        status = rows_read(db, report_regret_m_sql, NULL, out);
    rows_release(&rows);
    return status;
}

/* ---- printing ---- */

void regret_m_print(const struct rows *rows, struct str *out) {
    static const char *const set[] = {"origin", "device_name", "uuid",        "model", "tp",
                                      "dtype",  "group_size",  "cache_state", NULL};
    for (int first = 0, last; first < rows->count; first = last) {
        const struct table_style style = {.lift =
                                              ",model,tp,group_size,dtype,cache_state,device_name,origin,time_model,",
                                          .hide = ",section,uuid,",
                                          .rare = ",unknown,",
                                          .first = first,
                                          .last = 0,
                                          .width = terminal_width(STDOUT_FILENO)};
        struct table_style own = style;
        for (last = first + 1; last < rows->count && rows_same(rows, first, last, set); last++)
            ;
        own.last = last;
        str_append(out, first ? "\n" : "");
        if (rows_is(rows, first, "origin", "modelled"))
            str_append(out, tables_modelled);
        str_append(out, "M: what it costs to look up between the tuned M, in percent of the fastest kernel that was "
                        "timed there; with "
                        "noise every stored time was scattered by so many percent first\n");
        rows_print_table(rows, &own, out);
    }
}
