#include "regret.h"
#include "db/sql.h"
#include "files.h"
#include "runtime/base/log.h"
#include "runtime/layer/split.h"
#include "tables.h"
#include "tuner/options.h"
#include "tuner/progress.h"
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is tried; the first is told layer by layer. */
static const int numbers[] = {POINTS_USUAL, 2, 3, 4, 8};
enum { NUMBERS = sizeof numbers / sizeof *numbers };

struct winner {
    sqlite3_int64 config;
    double ns; /* 0: there is none */
};

/* One layer in one format. */
struct splits {
    sqlite3_int64 id;       /* split_layer */
    struct problem problem; /* without m and rows8 */
    struct split_list list; /* those that were tuned, of the table if there is one */
    struct int_list m;      /* increasing */
    struct winner *winner;  /* [splits][m] */
    int *stands;            /* [splits]: as points_choose() says */
};

struct regret {
    sqlite3 *db;
    const struct split_table *table;
    int fill;
    sqlite3_stmt *find, *add;
};

/* ---- what the database has ---- */

static int number_of(const struct rows *rows, int row, const char *name) {
    return atoi(rows_cell(rows, row, name));
}

static int index_of(const struct split_list *list, int rows8) {
    for (int i = 0; i < list->count; i++)
        if (list->item[i].rows8 == rows8)
            return i;
    return -1;
}

static int index_of_m(const struct int_list *list, int m) {
    int i = 0;
    while (list->value[i] != m)
        i++;
    return i;
}

/* Splits of the table that were not tuned anywhere leave `wanted` as they are found. */
static void splits_init(struct splits *s, const struct rows *rows, int begin, int end,
                        const struct split_list *wanted) {
    struct split_list tuned = {0};
    *s = (struct splits){.id = strtoll(rows_cell(rows, begin, "split_layer"), NULL, 10),
                         .problem = {.m = 1,
                                     .n = number_of(rows, begin, "n"),
                                     .k = number_of(rows, begin, "k"),
                                     .group = number_of(rows, begin, "group_size"),
                                     .symmetric = number_of(rows, begin, "symmetric")}};
    for (int r = begin; r < end; r++) {
        split_list_add(&tuned, number_of(rows, r, "rows8"), 1);
        int_list_add(&s->m, number_of(rows, r, "m"));
    }
    split_list_sort(&tuned);
    int_list_sort(&s->m);
    for (int i = 0; i < tuned.count; i++) {
        const int at = wanted ? index_of(wanted, tuned.item[i].rows8) : 0;
        if (at >= 0)
            split_list_add(&s->list, tuned.item[i].rows8, wanted ? wanted->item[at].weight : 1);
    }
    split_list_release(&tuned);
    s->winner = xcalloc((size_t)s->list.count * (size_t)s->m.count + 1, sizeof *s->winner);
    s->stands = xcalloc((size_t)s->list.count + 1, sizeof *s->stands);
    for (int r = begin; r < end; r++) {
        const int i = index_of(&s->list, number_of(rows, r, "rows8"));
        if (i >= 0)
            s->winner[i * s->m.count + index_of_m(&s->m, number_of(rows, r, "m"))] = (struct winner){
                strtoll(rows_cell(rows, r, "config_id"), NULL, 10), strtod(rows_cell(rows, r, "ns"), NULL)};
    }
}

static void splits_release(struct splits *s) {
    split_list_release(&s->list);
    int_list_release(&s->m);
    free(s->winner);
    free(s->stands);
}

/* The time of a configuration at a split; 0: it has none. */
static double time_of(const struct regret *r, const struct splits *s, int split, int m, sqlite3_int64 config) {
    double ns = 0;
    sqlite3_bind_int64(r->find, 1, s->id);
    sqlite3_bind_int(r->find, 2, s->list.item[split].rows8);
    sqlite3_bind_int(r->find, 3, s->m.value[m]);
    sqlite3_bind_int64(r->find, 4, config);
    if (sqlite3_step(r->find) == SQLITE_ROW)
        ns = sqlite3_column_double(r->find, 0);
    sqlite3_reset(r->find);
    return ns;
}

/* ---- choosing ---- */

static struct problem problem_at(const struct splits *s, int split, int m) {
    struct problem p = s->problem;
    p.m = s->m.value[m];
    p.rows8 = s->list.item[split].rows8;
    return p;
}

/* The points next to a hidden split, as indexes. */
static struct split_neighbours points_beside(const struct splits *s, int split) {
    const struct problem p = problem_at(s, split, 0);
    int *rows8 = xmalloc((size_t)s->list.count * sizeof *rows8);
    for (int i = 0; i < s->list.count; i++)
        rows8[i] = s->stands[i] == i ? s->list.item[i].rows8 : -1;
    const struct split_neighbours near = split_neighbours(&p, rows8, s->list.count);
    free(rows8);
    return near;
}

static struct split_time time_at(const struct regret *r, const struct splits *s, int split, int m,
                                 sqlite3_int64 config) {
    if (split < 0)
        return (struct split_time){0};
    return (struct split_time){s->list.item[split].rows8, time_of(r, s, split, m, config)};
}

/* What a hidden split takes: the time of the neighbours' winner that would be dispatched. 0: it is not known. */
static double hidden_time(const struct regret *r, const struct splits *s, int split, int m) {
    const struct split_neighbours near = points_beside(s, split);
    const int side[2] = {near.low, near.high};
    struct split_candidate candidate[2];
    sqlite3_int64 config[2];
    int count = 0;
    for (int i = 0; i < 2; i++) {
        const struct winner *w = side[i] < 0 ? NULL : &s->winner[side[i] * s->m.count + m];
        if (!w || w->ns <= 0)
            continue;
        config[count] = w->config;
        candidate[count++] =
            (struct split_candidate){time_at(r, s, side[0], m, w->config), time_at(r, s, side[1], m, w->config)};
    }
    const struct problem p = problem_at(s, split, m);
    const int chosen = split_choose(&p, candidate, count, 0, NULL);
    return chosen < 0 ? 0 : time_of(r, s, split, m, config[chosen]);
}

/* ---- recording ---- */

static void bind_time(sqlite3_stmt *statement, int at, double ns) {
    if (ns > 0)
        sqlite3_bind_double(statement, at, ns);
    else
        sqlite3_bind_null(statement, at);
}

struct choice {
    int most, rows8, m;
    bool is_point;
    double weight, ns, winner_ns;
};

static enum mt_status add_choice(const struct regret *r, sqlite3_int64 layer, const struct choice *c) {
    sqlite3_bind_int64(r->add, 1, layer);
    sqlite3_bind_int(r->add, 2, c->most);
    sqlite3_bind_int(r->add, 3, c->rows8);
    sqlite3_bind_int(r->add, 4, c->is_point);
    sqlite3_bind_int(r->add, 5, c->m);
    sqlite3_bind_double(r->add, 6, c->weight);
    bind_time(r->add, 7, c->ns);
    bind_time(r->add, 8, c->winner_ns);
    const int rc = sqlite3_step(r->add);
    sqlite3_reset(r->add);
    return rc == SQLITE_DONE ? MT_OK : rows_unreadable(r->db);
}

static enum mt_status add_splits(const struct regret *r, struct splits *s, int most) {
    enum mt_status status = MT_OK;
    points_choose(&s->problem, s->list.item, s->list.count, most, s->stands);
    for (int i = 0; i < s->list.count; i++)
        for (int m = 0; m < s->m.count && !status; m++) {
            const bool is_point = s->stands[i] == i;
            const double winner_ns = s->winner[i * s->m.count + m].ns;
            const struct choice c = {.most = most,
                                     .rows8 = s->list.item[i].rows8,
                                     .m = s->m.value[m],
                                     .is_point = is_point,
                                     .weight = s->list.item[i].weight,
                                     .ns = is_point ? winner_ns : hidden_time(r, s, i, m),
                                     .winner_ns = winner_ns};
            status = add_choice(r, s->id, &c);
        }
    return status;
}

/* What the table names and nobody tuned. */
static enum mt_status add_untuned(const struct regret *r, const struct splits *s, const struct split_list *wanted,
                                  int most) {
    enum mt_status status = MT_OK;
    for (int i = 0; i < wanted->count; i++)
        for (int m = 0; m < s->m.count && index_of(&s->list, wanted->item[i].rows8) < 0 && !status; m++)
            status = add_choice(r, s->id,
                                &(struct choice){.most = most,
                                                 .rows8 = wanted->item[i].rows8,
                                                 .m = s->m.value[m],
                                                 .weight = wanted->item[i].weight});
    return status;
}

/* The rows begin .. end are of one layer. */
static enum mt_status add_layer(const struct regret *r, const struct rows *rows, int begin, int end) {
    struct split_list wanted = {0};
    struct splits s;
    enum mt_status status = MT_OK;
    if (r->table && ((status = split_table_of(r->table, rows_cell(rows, begin, "layer"), number_of(rows, begin, "n"),
                                              r->fill, &wanted)) ||
                     !wanted.count))
        return status;
    splits_init(&s, rows, begin, end, r->table ? &wanted : NULL);
    for (int i = 0; i < NUMBERS && !status; i++) {
        if (s.list.count)
            status = add_splits(r, &s, numbers[i]);
        if (!status)
            status = add_untuned(r, &s, &wanted, numbers[i]);
    }
    splits_release(&s);
    split_list_release(&wanted);
    return status;
}

/* Layers of the table of which the database has nothing are in no row: they are told. */
static void say_absent(const struct split_table *table, const struct rows *rows) {
    for (int i = 0; i < table->count; i++) {
        bool there = false;
        for (int j = 0; j < i && !there; j++)
            there = !strcmp(table->line[i].layer, table->line[j].layer);
        for (int r = 0; r < rows->count && !there; r++)
            there = rows_is(rows, r, "layer", table->line[i].layer);
        if (!there)
            log_warn("%s, line %d: of layer %s nothing was tuned that these options ask for", table->path.data,
                     table->line[i].number, table->line[i].layer);
    }
}

static enum mt_status add_all(const struct regret *r) {
    struct rows rows;
    enum mt_status status = rows_read(
        r->db, "SELECT * FROM split_winner JOIN split_layer USING (split_layer) ORDER BY split_layer, rows8, m", NULL,
        &rows);
    if (status)
        return status;
    for (int begin = 0, end; begin < rows.count && !status; begin = end) {
        end = rows_run_end(&rows, begin, "split_layer");
        status = add_layer(r, &rows, begin, end);
    }
    if (!status && r->table)
        say_absent(r->table, &rows);
    rows_release(&rows);
    return status;
}

enum mt_status regret_splits(sqlite3 *db, const struct split_table *table, int fill, struct rows *out) {
    struct regret r = {.db = db, .table = table, .fill = fill};
    char most[16];
    const char *const values[] = {":most", most, NULL};
    snprintf(most, sizeof most, "%d", numbers[0]);
    *out = (struct rows){0};
    enum mt_status status = MT_OK;
    if (sqlite3_exec(db, report_splits_sql, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db,
                           "SELECT ns FROM split_time WHERE split_layer = ? AND rows8 = ? AND m = ? AND config_id = ?",
                           -1, &r.find, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db, "INSERT INTO split_choice VALUES (?, ?, ?, ?, ?, ?, ?, ?)", -1, &r.add, NULL) !=
            SQLITE_OK)
        status = rows_unreadable(db);
    if (!status && !(status = add_all(&r)))
        status = rows_read(db, report_regret_sql, values, out);
    sqlite3_finalize(r.find);
    sqlite3_finalize(r.add);
    return status;
}

/* ---- printing ---- */

static void print_section(const struct rows *rows, int first, int last, const char *heading, const char *hide,
                          struct str *out) {
    const struct table_style style = {.lift =
                                          ",model,tp,group_size,dtype,zeros,cache_state,device_name,origin,time_model,",
                                      .hide = hide,
                                      .rare = ",zeros,unknown,untuned,",
                                      .first = first,
                                      .last = last,
                                      .width = terminal_width(STDOUT_FILENO)};
    str_printf(out, "%s\n", heading);
    rows_print_table(rows, &style, out);
}

static bool is_new_set(const struct rows *rows, int row) {
    static const char *const set[] = {"origin", "device_name", "uuid",        "model", "tp",
                                      "dtype",  "group_size",  "cache_state", "zeros", NULL};
    return row == 0 || !rows_same(rows, row - 1, row, set);
}

void regret_print(const struct rows *rows, struct str *out) {
    for (int first = 0, last; first < rows->count; first = last) {
        const bool is_splits = rows_is(rows, first, "section", "splits");
        for (last = first + 1;
             last < rows->count && rows_is(rows, last, "section", rows_cell(rows, first, "section")) &&
             !is_new_set(rows, last);
             last++)
            ;
        str_append(out, first ? "\n" : "");
        if (is_new_set(rows, first) && rows_is(rows, first, "origin", "modelled"))
            str_append(out, tables_modelled);
        if (is_splits)
            print_section(
                rows, first, last,
                "splits: what it costs to tune at most 6 splits of each layer instead of all, in percent of the "
                "time",
                ",section,most,uuid,", out);
        else
            print_section(
                rows, first, last, "the same of all layers when at most so many splits of each are tuned",
                ",section,model,tp,group_size,dtype,zeros,cache_state,layer,origin,device_name,uuid,time_model,", out);
    }
}
