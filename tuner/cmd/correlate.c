/* mixtune correlate: how well the time model of a software device ranks what was measured on the GPU. */
#include "cmd.h"
#include "runtime/base/str.h"
#include "tuner/report/json_line.h"
#include "tuner/report/query.h"
#include "tuner/report/rows.h"
#include "tuner/search/rank.h"
#include "tuner/shown.h"
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_MODEL_DEVICE = 0x300 };

struct correlate_options {
    struct query_options query;
    const char *model_device;
};

static const struct argp_option table[] = {
    {"model-device", KEY_MODEL_DEVICE, "NAME", 0,
     "The software device with NAME in its name (default: the one that has the GPU's compute capability)", 20},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct correlate_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->query;
        return 0;
    case KEY_MODEL_DEVICE:
        o->model_device = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- the two devices ---- */

static const char devices_sql[] =
    "SELECT DISTINCT device, device_name, cc, time_model FROM asked_fact WHERE software = :software AND state = "
    "'current' "
    "AND outcome = 'ok' AND cache_state = 'cold' AND (:cc = '' OR cc = CAST(:cc AS INTEGER)) "
    "AND instr(lower(device_name), lower(:name)) ORDER BY device_name, device";

/* The one that fits; none and several are sentences. */
static enum mt_status find_device(sqlite3 *db, bool software, const char *name, const char *cc, struct rows *out) {
    const char *const values[] = {":software", software ? "1" : "0", ":name", name ? name : "", ":cc", cc, NULL};
    const char *what = software ? "software device" : "GPU", *option = software ? "--model-device" : "--gpu";
    enum mt_status status = rows_read(db, devices_sql, values, out);
    if (status == MT_OK && out->count == 0)
        status = fail(MT_FAILURE, "no good times of a %s%s%s that could be compared: sweep there too, and merge", what,
                      *cc ? " of compute capability " : "", cc);
    if (status == MT_OK && out->count > 1)
        status = fail(MT_USAGE, "there are %d times a %s that fits, %s and %s among them: name one with %s", out->count,
                      what, out->cell[1], out->cell[out->columns + 1], option);
    return status;
}

/* ---- pairs ---- */

struct pair {
    const char *problem, *family; /* of the rows that they were read from */
    int m;
    bool baseline;
    double measured, modelled;
};
struct pairs {
    struct pair *item;
    int count;
};

/* A shape that two layers share was measured for either. */
static const char pairs_sql[] =
    "WITH newest AS (SELECT *, max(created) FROM asked_fact WHERE state = 'current' AND outcome = 'ok' "
    "AND cache_state = 'cold' GROUP BY device, config_id, n, k, m, scheme, rows8, group_size, dtype) "
    "SELECT printf('%d,%d,%d %s %d %d %s', a.m, a.n, a.k, a.scheme, a.rows8, a.group_size, a.dtype) AS problem, "
    "a.family, a.m, "
    "a.is_baseline AS baseline, a.median_ns AS measured, b.median_ns AS modelled "
    "FROM newest AS a JOIN newest AS b ON b.config_id = a.config_id AND b.n = a.n AND b.k = a.k AND b.m = a.m "
    "AND b.scheme = a.scheme AND b.rows8 = a.rows8 AND b.group_size = a.group_size AND b.dtype = a.dtype "
    "AND b.template_hash = a.template_hash "
    "WHERE a.device = CAST(:gpu AS INTEGER) AND a.origin = 'measured' AND b.device = CAST(:model AS INTEGER) "
    "AND b.origin = 'modelled' AND NOT a.is_library ORDER BY problem, a.family, a.config";

static enum mt_status read_pairs(sqlite3 *db, const char *gpu, const char *model, struct rows *rows,
                                 struct pairs *out) {
    const char *const values[] = {":gpu", gpu, ":model", model, NULL};
    enum mt_status status = rows_read(db, pairs_sql, values, rows);
    if (status != MT_OK)
        return status;
    if (!rows->count)
        return fail(MT_FAILURE, "the two devices have no candidate in common: sweep the same layers, batch sizes and "
                                "spaces on both with the same mixtune, and merge");
    out->item = xcalloc((size_t)rows->count, sizeof *out->item);
    for (int i = 0; i < rows->count; i++)
        out->item[out->count++] = (struct pair){.problem = rows_cell(rows, i, "problem"),
                                                .family = rows_cell(rows, i, "family"),
                                                .m = atoi(rows_cell(rows, i, "m")),
                                                .baseline = *rows_cell(rows, i, "baseline") == '1',
                                                .measured = strtod(rows_cell(rows, i, "measured"), NULL),
                                                .modelled = strtod(rows_cell(rows, i, "modelled"), NULL)};
    return MT_OK;
}

/* ---- what is told of some of the pairs ---- */

struct finding {
    const char *family; /* "all": every quantised family, in one contest */
    const char *range;
    int pairs, problems, ordered; /* problems with two candidates or more; of these, those with an order */
    double rho, low, high;        /* over all problems together */
    double within;                /* mean of the rho within each problem; NAN if none has one */
    double regret, worst;         /* mean and worst over the problems; NAN if there is none */
    double pruned, pruned_worst;  /* likewise, when the model's best tenth is measured */
};

static const struct range {
    const char *name;
    int first, last;
} ranges[] = {{"all", 1, INT32_MAX}, {"1-16", 1, 16}, {"17-255", 17, 255}, {"256-", 256, INT32_MAX}};
enum { RANGES = sizeof ranges / sizeof *ranges };

static bool belongs(const struct pair *p, const char *family, const struct range *range) {
    return p->m >= range->first && p->m <= range->last &&
           (strcmp(family, "all") ? !strcmp(p->family, family) : !p->baseline);
}

/* `measured` and `modelled` are of one problem. */
static void add_problem(const double *measured, const double *modelled, int count, struct finding *f) {
    if (count < 2)
        return;
    double rho = rank_spearman(modelled, measured, count), regret = rank_regret(modelled, measured, count);
    double pruned = rank_pruning(modelled, measured, count, (count + 9) / 10);
    f->problems++;
    f->regret += regret;
    f->worst = fmax(f->worst, regret);
    f->pruned += pruned;
    f->pruned_worst = fmax(f->pruned_worst, pruned);
    if (count > 2 && !isnan(rho)) {
        f->ordered++;
        f->within += rho;
    }
}

static void find(const struct pairs *pairs, const char *family, const struct range *range, struct finding *f) {
    double *measured = xcalloc((size_t)pairs->count, sizeof *measured);
    double *modelled = xcalloc((size_t)pairs->count, sizeof *modelled);
    int first = 0; /* of the problem in hand */
    const char *problem = "";
    *f = (struct finding){.family = family, .range = range->name};
    for (int i = 0; i < pairs->count; i++) {
        const struct pair *p = &pairs->item[i];
        if (!belongs(p, family, range))
            continue;
        if (strcmp(problem, p->problem) != 0) {
            add_problem(measured + first, modelled + first, f->pairs - first, f);
            first = f->pairs;
            problem = p->problem;
        }
        measured[f->pairs] = p->measured;
        modelled[f->pairs++] = p->modelled;
    }
    add_problem(measured + first, modelled + first, f->pairs - first, f);
    f->rho = rank_spearman(modelled, measured, f->pairs);
    rank_interval(f->rho, f->pairs, &f->low, &f->high);
    f->within = f->ordered ? f->within / f->ordered : NAN;
    f->regret = f->problems ? f->regret / f->problems : NAN;
    f->worst = f->problems ? f->worst : NAN;
    f->pruned = f->problems ? f->pruned / f->problems : NAN;
    f->pruned_worst = f->problems ? f->pruned_worst : NAN;
    free(measured);
    free(modelled);
}

/* ---- telling it ---- */

static void print_number(double value, int width) {
    if (isnan(value))
        printf(" %*s", width, "-");
    else
        printf(" %*.3f", width, value);
}

static void print_row(const struct finding *f) {
    printf("%-8s %-7s %6d %8d", shown(f->family), f->range, f->pairs, f->problems);
    const double values[] = {f->rho, f->low, f->high, f->within, f->regret, f->worst, f->pruned, f->pruned_worst};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        print_number(values[i], 7);
    puts("");
}

static json_t *number_or_null(double value) {
    return isnan(value) ? json_null() : json_real(value);
}

/* The two devices, and which time model the second one's times are of. */
struct sides {
    const char *gpu, *model, *time_model;
};

static void print_json(const struct finding *f, const struct sides *sides) {
    json_t *object =
        json_pack("{so so so so ss si si so so so so so so so so}", "gpu", json_text(sides->gpu), "model_device",
                  json_text(sides->model), "time_model", json_text(sides->time_model), "family", json_text(f->family),
                  "m", f->range, "pairs", f->pairs, "problems", f->problems, "rho", number_or_null(f->rho), "low",
                  number_or_null(f->low), "high", number_or_null(f->high), "rho_within", number_or_null(f->within),
                  "regret_mean", number_or_null(f->regret), "regret_worst", number_or_null(f->worst), "pruned_mean",
                  number_or_null(f->pruned), "pruned_worst", number_or_null(f->pruned_worst));
    json_line(object);
}

static void print_heading(const struct sides *sides) {
    printf("%s measured, %s modelled%s%s; cold cache\n"
           "rho: Spearman's over all problems, with its 95 %% interval; within: the mean of each problem's own;\n"
           "regret: the measured time of the candidate that the model puts first, over the best measured one\n"
           "pruned: the same of the best among the tenth that the model puts first\n"
           "Over the favourites of a search these say little: draw candidates with sweep --strategy sample\n"
           "%-8s %-7s %6s %8s %7s %7s %7s %7s %7s %7s %7s %7s\n",
           shown(sides->gpu), shown(sides->model), *sides->time_model ? ", time model " : "", shown(sides->time_model),
           "family", "m", "pairs", "problems", "rho", "low", "high", "within", "regret", "worst", "pruned", "worst");
}

/* Each family once, in the order of the pairs, then all together; each over all m and over stretches of it. */
static void print_findings(const struct pairs *pairs, const struct sides *sides, bool json) {
    const char **names = xcalloc((size_t)pairs->count + 1, sizeof *names);
    int count = 0;
    for (int i = 0; i < pairs->count; i++) {
        int at = 0;
        while (at < count && strcmp(names[at], pairs->item[i].family) != 0)
            at++;
        if (at == count)
            names[count++] = pairs->item[i].family;
    }
    names[count++] = "all";
    if (!json)
        print_heading(sides);
    for (int n = 0; n < count; n++)
        for (int r = 0; r < RANGES; r++) {
            struct finding f;
            find(pairs, names[n], &ranges[r], &f);
            if (f.pairs && json)
                print_json(&f, sides);
            else if (f.pairs)
                print_row(&f);
        }
    free(names);
}

static enum mt_status correlate(const struct correlate_options *o) {
    struct query_options query = o->query;
    struct store *store;
    struct rows gpu = {0}, model = {0}, rows = {0};
    struct pairs pairs = {0};
    query.gpu = NULL; /* it would leave the software device out */
    enum mt_status status = query_open(&query, &store);
    if (status != MT_OK)
        return status;
    sqlite3 *db = store_handle(store);
    if (!(status = find_device(db, false, o->query.gpu, "", &gpu)) &&
        !(status = find_device(db, true, o->model_device, o->model_device ? "" : rows_cell(&gpu, 0, "cc"), &model)) &&
        !(status = read_pairs(db, rows_cell(&gpu, 0, "device"), rows_cell(&model, 0, "device"), &rows, &pairs))) {
        const struct sides sides = {rows_cell(&gpu, 0, "device_name"), rows_cell(&model, 0, "device_name"),
                                    rows_cell(&model, 0, "time_model")};
        print_findings(&pairs, &sides, o->query.common.json);
    }
    free(pairs.item);
    rows_release(&gpu);
    rows_release(&model);
    rows_release(&rows);
    store_close(store);
    return status;
}

int cmd_correlate(int argc, char **argv) {
    struct correlate_options o = {0};
    const struct argp_child children[] = {{&query_argp, 0, NULL, 0}, {0}};
    const struct argp argp = {
        .options = table,
        .parser = parse,
        .children = children,
        .doc = "How well the time model of a software device ranks what was measured on a GPU: of the candidates that "
               "a database has of both, per family and range of tokens, Spearman's rank correlation, and what it "
               "costs to trust the model.",
    };
    int status = options_parse(&argp, argc, argv, &o, &o.query.common);
    if (status == MT_OK)
        status = correlate(&o);
    query_options_release(&o.query);
    return status;
}
