/* mixtune replay: how near a search comes to the best of a stored exhaustive sweep, and after how many measurements. */
#include "tuner/search/replay.h"
#include "cmd.h"
#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include "tuner/report/files.h"
#include "tuner/report/json_line.h"
#include "tuner/report/plot.h"
#include "tuner/report/query.h"
#include "tuner/shown.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STRATEGIES = SEARCH_SAMPLE + 1, MAX_SEEDS = 1000, CURVE_POINTS = 200 };

struct replay {
    struct query_options query;
    bool strategy[STRATEGIES]; /* none: all */
    int seeds, share;          /* percent */
    const char *out;
    struct replay_set set;
    struct replay_run *run; /* [strategies][problems][seeds] */
};

enum { KEY_STRATEGY = 0x400, KEY_SEEDS, KEY_SHARE };

static const struct argp_option replay_table[] = {
    {"strategy", KEY_STRATEGY, "LIST", 0, "Of exhaustive, random, guided, sample (default: all but sample)", 20},
    {"seeds", KEY_SEEDS, "N", 0, "Repeat what is drawn at random with N seeds (default: 10)", 20},
    {"share", KEY_SHARE, "PERCENT", 0, "Measure at most this share of the configurations (default: 10)", 20},
    {"out", 'o', "FOLDER", 0, "Also write the curve of distance against measurements: replay.svg and .png, data/", 20},
    {0},
};

static enum mt_status strategies_parse(const char *text, struct replay *o) {
    enum mt_status status = list_check(text, "--strategy");
    char *copy = xstrdup(text), *save;
    for (char *p = strtok_r(copy, ",", &save); p && !status; p = strtok_r(NULL, ",", &save)) {
        enum search_strategy strategy = SEARCH_EXHAUSTIVE;
        if (!(status = search_strategy_parse(p, &strategy)))
            o->strategy[strategy] = true;
    }
    free(copy);
    return status;
}

static error_t replay_parse(int key, char *arg, struct argp_state *state) {
    struct replay *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->query;
        return 0;
    case KEY_STRATEGY:
        return options_error(strategies_parse(arg, o));
    case KEY_SEEDS:
        return options_error(int_parse(arg, "--seeds", 1, MAX_SEEDS, &o->seeds));
    case KEY_SHARE:
        return options_error(int_parse(arg, "--share", 1, 100, &o->share));
    case 'o':
        o->out = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- running ---- */

static struct replay_run *run_of(const struct replay *o, int strategy, int problem, int seed) {
    return &o->run[((long)strategy * o->set.count + problem) * o->seeds + seed];
}

static int problems_of_sweep(const struct replay *o, int problem) {
    int count = 0;
    for (int i = 0; i < o->set.count; i++)
        count += replay_same_sweep(&o->set, i, problem);
    return count;
}

/* Problem by problem as a sweep would go, so that one learns from those before it. */
static void run_sweeps(struct replay *o, int strategy, int seed) {
    struct model_samples memory = {0};
    for (int i = 0; i < o->set.count; i++) {
        const struct replay_problem *p = &o->set.item[i];
        if (i && !replay_same_sweep(&o->set, i - 1, i))
            samples_release(&memory);
        int budget = p->count * o->share / 100;
        if (strategy == SEARCH_GUIDED)
            budget = search_guided_budget(budget, problems_of_sweep(o, i), !memory.count && !p->modelled_ns);
        const struct search_rules rules = {.strategy = (enum search_strategy)strategy,
                                           .seed = (uint64_t)seed * 1000003 + (uint64_t)i,
                                           .budget = budget > 0 ? budget : 1};
        replay_run(p, &rules, &memory, run_of(o, strategy, i, seed));
    }
    samples_release(&memory);
}

static void run_all(struct replay *o) {
    o->run = xcalloc((size_t)(STRATEGIES * o->set.count * o->seeds), sizeof *o->run);
    for (int s = 0; s < STRATEGIES; s++)
        for (int seed = 0; seed < o->seeds && o->strategy[s]; seed++)
            run_sweeps(o, s, seed);
}

/* ---- printing ---- */

/* What came of some problems with all seeds, at the end of their budgets. */
struct outcome {
    int runs, within;
    double measurements, share;  /* mean; share in percent */
    double needed, needed_share; /* mean measurements until within 1 %, of the runs that came there */
    double mean, worst;          /* distance to the best in percent; infinite where nothing good was measured */
};

static void outcome_add(struct outcome *out, const struct replay_run *run, int count) {
    const double distance = 100 * run->distance[run->measured - 1];
    out->runs++;
    out->measurements += run->measured;
    out->share += 100.0 * run->measured / count;
    out->mean += distance;
    out->worst = fmax(out->worst, distance);
    if (run->within) {
        out->within++;
        out->needed += run->within;
        out->needed_share += 100.0 * run->within / count;
    }
}

static void outcome_finish(struct outcome *out) {
    out->measurements /= out->runs;
    out->share /= out->runs;
    out->mean /= out->runs;
    if (out->within) {
        out->needed /= out->within;
        out->needed_share /= out->within;
    }
}

static void print_number(double value, const char *unit, int width) {
    char text[32];
    if (isfinite(value))
        snprintf(text, sizeof text, "%.1f%s", value, unit);
    else
        snprintf(text, sizeof text, "-");
    printf(" %*s", width, text);
}

static void print_json(const struct replay *o, int first, bool total, int strategy, const struct outcome *r) {
    const struct rows *rows = &o->set.rows;
    const struct replay_problem *p = &o->set.item[first];
    static const char *const sweep_names[] = {"origin", "device_name", "model"};
    static const char *const names[] = {"layer", "scheme", "dtype"};
    json_t *row = json_object();
    for (int i = 0; i < 3; i++)
        json_object_set_new(row, sweep_names[i], json_text(rows_cell(rows, p->row, sweep_names[i])));
    for (int i = 0; i < 3 && !total; i++)
        json_object_set_new(row, names[i], json_text(rows_cell(rows, p->row, names[i])));
    if (!total) {
        json_object_set_new(row, "rows8", json_integer(p->problem.rows8));
        json_object_set_new(row, "m", json_integer(p->problem.m));
        json_object_set_new(row, "configs", json_integer(p->count));
        json_object_set_new(row, "best_ns", json_real(p->best_ns));
    }
    json_object_set_new(row, "strategy", json_string(search_strategy_name((enum search_strategy)strategy)));
    json_object_set_new(row, "runs", json_integer(r->runs));
    json_object_set_new(row, "within_1_percent", json_integer(r->within));
    json_object_set_new(row, "measurements", json_real(r->measurements));
    json_object_set_new(row, "share_percent", json_real(r->share));
    json_object_set_new(row, "needed", r->within ? json_real(r->needed) : json_null());
    json_object_set_new(row, "mean_percent", isfinite(r->mean) ? json_real(r->mean) : json_null());
    json_object_set_new(row, "worst_percent", isfinite(r->worst) ? json_real(r->worst) : json_null());
    json_line(row);
}

static void print_outcome(const struct replay *o, int first, bool total, int strategy, const struct outcome *r) {
    const struct rows *rows = &o->set.rows;
    const struct replay_problem *p = &o->set.item[first];
    if (o->query.common.json) {
        print_json(o, first, total, strategy, r);
        return;
    }
    char m[16], configs[16];
    snprintf(m, sizeof m, "%d", p->problem.m);
    snprintf(configs, sizeof configs, "%d", p->count);
    printf("%-16s %-11s %6s %-9s %6s %7s  %-10s",
           *rows_cell(rows, p->row, "model") ? shown(rows_cell(rows, p->row, "model")) : "-",
           total ? "all" : shown(rows_cell(rows, p->row, "layer")), total ? "" : m,
           total ? "" : shown(rows_cell(rows, p->row, "scheme")), total ? "" : rows_cell(rows, p->row, "rows8"),
           total ? "" : configs, search_strategy_name((enum search_strategy)strategy));
    print_number(r->measurements, "", 8);
    print_number(r->share, "%", 7);
    printf(" %5d/%-5d", r->within, r->runs);
    print_number(r->within ? r->needed : INFINITY, "", 7);
    print_number(r->within ? r->needed_share : INFINITY, "%", 7);
    print_number(r->mean, "%", 8);
    print_number(r->worst, "%", 8);
    putchar('\n');
}

static void print_range(const struct replay *o, int first, int end, bool total) {
    for (int s = 0; s < STRATEGIES; s++) {
        struct outcome r = {0};
        for (int i = first; i < end && o->strategy[s]; i++)
            for (int seed = 0; seed < o->seeds; seed++)
                outcome_add(&r, run_of(o, s, i, seed), o->set.item[i].count);
        if (!o->strategy[s])
            continue;
        outcome_finish(&r);
        print_outcome(o, first, total, s, &r);
    }
}

static void print_results(const struct replay *o) {
    if (!o->query.common.json) {
        printf("%d problems, %d seeds, at most %d %% of the configurations measured\n", o->set.count, o->seeds,
               o->share);
        printf("%-16s %-11s %6s %-9s %6s %7s  %-10s %8s %7s %-11s %15s %8s %8s\n", "model", "layer", "m", "scheme",
               "rows8", "configs", "strategy", "measured", "", "within 1 %", "after", "distance", "worst");
    }
    for (int begin = 0, end; begin < o->set.count; begin = end) {
        for (end = begin; end < o->set.count && replay_same_sweep(&o->set, begin, end); end++)
            print_range(o, end, end + 1, false);
        print_range(o, begin, end, true);
    }
}

/* ---- the curve ---- */

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The distances of all runs of a strategy after `share` percent of the measurements, sorted. */
static void sort_distances(const struct replay *o, int strategy, double share, double *sorted) {
    int count = 0;
    for (int i = 0; i < o->set.count; i++)
        for (int seed = 0; seed < o->seeds; seed++) {
            const struct replay_run *run = run_of(o, strategy, i, seed);
            int measured = (int)(share * o->set.item[i].count / 100);
            measured = measured < run->measured ? measured : run->measured;
            sorted[count++] = measured ? run->distance[measured - 1] : INFINITY;
        }
    qsort(sorted, (size_t)count, sizeof *sorted, compare);
}

static void append_distance(double distance, struct str *csv) {
    if (isfinite(distance))
        str_printf(csv, ",%.4f", 100 * distance);
    else
        str_append(csv, ",");
}

static void make_curve(const struct replay *o, struct str *csv) {
    const int count = o->set.count * o->seeds;
    double *sorted = xmalloc((size_t)count * sizeof *sorted);
    str_append(csv, "strategy,share_percent,median_percent,p90_percent,worst_percent\n");
    for (int s = 0; s < STRATEGIES; s++)
        for (int x = 1; x <= CURVE_POINTS && o->strategy[s]; x++) {
            const double share = (double)o->share * x / CURVE_POINTS;
            sort_distances(o, s, share, sorted);
            str_printf(csv, "%s,%.3f", search_strategy_name((enum search_strategy)s), share);
            append_distance(sorted[(count - 1) / 2], csv);
            append_distance(sorted[(count - 1) * 9 / 10], csv);
            append_distance(sorted[count - 1], csv);
            str_append(csv, "\n");
        }
    free(sorted);
}

static void make_script(const struct replay *o, struct str *script) {
    str_append(script, "# Written by `mixtune replay`. In the folder above: gnuplot data/THIS_FILE\n");
    plot_text(script, "name", "replay");
    plot_text(script, "data", "data/replay.csv");
    plot_text(script, "origin", rows_cell(&o->set.rows, o->set.item[0].row, "origin"));
    str_printf(script, "problems = %d\nseeds = %d\nshare = %d\nstrategies = '", o->set.count, o->seeds, o->share);
    for (int s = 0; s < STRATEGIES; s++)
        if (o->strategy[s])
            str_printf(script, "%s ", search_strategy_name((enum search_strategy)s));
    str_append(script, "'\n");
    plot_body(report_replay_gp, script);
}

static enum mt_status draw(const struct replay *o) {
    struct str folder = {0}, csv = {0}, script = {0};
    str_printf(&folder, "%s/data", o->out);
    enum mt_status status = folder_make(folder.data);
    str_append(&folder, "/replay.csv");
    make_curve(o, &csv);
    make_script(o, &script);
    if (!status)
        status = file_write_atomic(folder.data, csv.data, csv.length);
    if (!status && !(status = plot_script(o->out, "replay", &script)))
        log_info("%s: %s/replay.svg, .png and data/replay.csv", "the curve", o->out);
    str_release(&folder);
    str_release(&csv);
    str_release(&script);
    return status;
}

/* ---- the command ---- */

static enum mt_status replay(struct replay *o) {
    struct store *store;
    enum mt_status status = o->out ? plot_check() : MT_OK;
    if (status || (status = query_open(&o->query, &store)))
        return status;
    if (!(status = replay_read(store_handle(store), &o->set))) {
        run_all(o);
        print_results(o);
        if (o->out)
            status = draw(o);
    }
    store_close(store);
    return status;
}

static void release(struct replay *o) {
    for (int i = 0; o->run && i < STRATEGIES * o->set.count * o->seeds; i++)
        replay_run_release(&o->run[i]);
    free(o->run);
    replay_release(&o->set);
    query_options_release(&o->query);
}

int cmd_replay(int argc, char **argv) {
    struct replay o = {.seeds = 10, .share = 10};
    const struct argp_child children[] = {{&query_argp, 0, NULL, 0}, {0}};
    const struct argp argp = {
        .options = replay_table,
        .parser = replay_parse,
        .children = children,
        .doc =
            "Plays search strategies against an exhaustive sweep that a database holds, without a device, and prints "
            "after how many measurements they come how near to its best configurations.\v"
            "Example: mixtune replay --db full.db --strategy guided,random --out replay",
    };
    enum mt_status status = options_parse(&argp, argc, argv, &o, &o.query.common);
    if (!status) {
        bool some = false;
        for (int s = 0; s < STRATEGIES; s++)
            some = some || o.strategy[s];
        for (int s = 0; s <= SEARCH_GUIDED && !some; s++)
            o.strategy[s] = true;
        status = replay(&o);
    }
    release(&o);
    return status;
}
