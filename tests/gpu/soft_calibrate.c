/* Fits the constants of a software device to times that were measured on the GPU that it stands for, and prints them as
 * lines for its file in configs/devices/ (whose README.md has the method).
 *
 *     SOFTGPU_TRACE=trace mixtune sweep --device soft:h100-sxm ... --db modelled.db
 *     soft_calibrate --trace trace --device h100-sxm --db measured.db
 *     soft_calibrate --trace trace --device h100-sxm --simulate altered.yaml   (SIMULATED: which constants can be found
 *                                                                               in such a sweep at all) */
#include "model_fit.h"
#include "runtime/base/log.h"
#include "runtime/softgpu/time/trace.h"
#include "tuner/measure/measure.h"
#include "tuner/report/query.h"
#include "tuner/report/rows.h"
#include <jansson.h>
#include <stdio.h>
#include <xxhash.h>

enum { KEY_TRACE = 0x300, KEY_PROFILE, KEY_SIMULATE, KEY_NOISE, KEY_SEED };

struct options {
    struct query_options query;
    const char *trace, *profile, *simulate;
    double noise; /* standard deviation of the logarithm */
    int seed;
};

static const struct argp_option table[] = {
    {"trace", KEY_TRACE, "FILE", 0, "What SOFTGPU_TRACE wrote during a sweep on the software device", 1},
    {"device", KEY_PROFILE, "NAME", 0, "The software device whose constants are fitted: a name or a path", 1},
    {"simulate", KEY_SIMULATE, "NAME", 0,
     "No database: the measured times are those of this software device, with noise. Says what a fit can find", 2},
    {"noise", KEY_NOISE, "SHARE", 0, "Of simulated times (default: 0.03)", 2},
    {"seed", KEY_SEED, "N", 0, "Of the noise (default: 1)", 2},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->query;
        return 0;
    case KEY_TRACE:
        o->trace = arg;
        return 0;
    case KEY_PROFILE:
        o->profile = arg;
        return 0;
    case KEY_SIMULATE:
        o->simulate = arg;
        return 0;
    case KEY_NOISE:
        o->noise = strtod(arg, NULL);
        return 0;
    case KEY_SEED:
        return options_error(int_parse(arg, "--seed", 0, 1000000, &o->seed));
    case ARGP_KEY_END:
        return o->trace && o->profile ? 0 : options_error(fail(MT_USAGE, "give --trace and --device; --help explains"));
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- the trace ---- */

static uint64_t member(const json_t *object, const char *name) {
    return (uint64_t)json_integer_value(json_object_get(object, name));
}

/* The half that is held out is made of whole configurations: those that are fitted say nothing of them. */
static bool hold_out(const char *label) {
    const char *end = strchr(label, '|');
    end = end ? strchr(end + 1, '|') : NULL;
    return end && XXH3_64bits(label, (size_t)(end - label)) & 1;
}

static enum mt_status read_line(const char *line, const char *path, struct fit_point *out) {
    json_error_t error;
    json_t *object = json_loads(line, 0, &error);
    const json_t *counters = json_object_get(object, "counters");
    const char *label = json_string_value(json_object_get(object, "label"));
    enum mt_status status = MT_OK;
    *out = (struct fit_point){0};
    if (!label || !json_is_object(counters) || !json_is_integer(json_object_get(object, "ctas_per_sm"))) {
        status = fail(MT_FAILURE, "%s has a line that is not of a trace: %.60s", path, line);
    } else {
        out->label = xstrdup(label);
        out->family = xstrdup(label);
        out->family[strcspn(out->family, "|")] = 0;
        out->held_out = hold_out(label);
        for (const struct model_counter *c = model_counters; c->name; c++)
            *(uint64_t *)(void *)((char *)&out->counters + c->offset) = member(counters, c->name);
        out->kernel = (struct model_kernel){.counted = member(object, "counted"),
                                            .ctas = member(object, "ctas"),
                                            .threads = (unsigned)member(object, "threads"),
                                            .ctas_per_sm = (unsigned)member(object, "ctas_per_sm"),
                                            .distinct = member(object, "distinct"),
                                            .footprint = member(object, "footprint"),
                                            .wgmma = json_is_true(json_object_get(object, "wgmma"))};
    }
    json_decref(object);
    return status;
}

static int by_label(const void *a, const void *b) {
    return strcmp(((const struct fit_point *)a)->label, ((const struct fit_point *)b)->label);
}

static void point_release(struct fit_point *p) {
    free(p->label);
    free(p->family);
}

/* Lines of a candidate that was estimated twice are equal: one stays. */
static void sort_points(struct fit_points *points) {
    int kept = 0;
    if (points->count)
        qsort(points->item, (size_t)points->count, sizeof *points->item, by_label);
    for (int i = 0; i < points->count; i++)
        if (kept && !strcmp(points->item[kept - 1].label, points->item[i].label))
            point_release(&points->item[i]);
        else
            points->item[kept++] = points->item[i];
    points->count = kept;
}

/* Lines without a label are of launches that were no candidate. */
static enum mt_status read_trace(const char *path, struct fit_points *out) {
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t size = 0;
    enum mt_status status = file ? MT_OK : fail(MT_FAILURE, "%s cannot be read: %m", path);
    while (file && !status && getline(&line, &size, file) > 0) {
        struct fit_point point;
        if ((status = read_line(line, path, &point)))
            break;
        if (!*point.label) {
            point_release(&point);
            continue;
        }
        out->item = xrealloc(out->item, (size_t)(out->count + 1) * sizeof *out->item);
        out->item[out->count++] = point;
    }
    free(line);
    if (file)
        fclose(file);
    sort_points(out);
    if (!status && !out->count)
        status = fail(MT_FAILURE, "%s names no candidate: write it during `mixtune sweep --device soft:...`", path);
    return status;
}

/* ---- the times ---- */

static const char measured_sql[] =
    "SELECT family, config, m, n, k, scheme, rows8, group_size, dtype, median_ns, device_name FROM asked_fact "
    "WHERE state = 'current' AND outcome = 'ok' AND origin = 'measured' AND cache_state = 'cold' ORDER BY created";

static struct store_measurement row_of(const struct rows *rows, int i) {
    return (struct store_measurement){.family = rows_cell(rows, i, "family"),
                                      .config = rows_cell(rows, i, "config"),
                                      .m = atoi(rows_cell(rows, i, "m")),
                                      .layer = {.n = atoi(rows_cell(rows, i, "n")), .k = atoi(rows_cell(rows, i, "k"))},
                                      .scheme = rows_cell(rows, i, "scheme"),
                                      .rows8 = atoi(rows_cell(rows, i, "rows8")),
                                      .group = atoi(rows_cell(rows, i, "group_size")),
                                      .dtype = rows_cell(rows, i, "dtype")};
}

/* Points without a time are left out. */
static void keep_timed(struct fit_points *points) {
    int kept = 0;
    for (int i = 0; i < points->count; i++)
        if (points->item[i].measured_ns > 0)
            points->item[kept++] = points->item[i];
        else
            point_release(&points->item[i]);
    points->count = kept;
}

static enum mt_status take_measured(const struct options *o, struct fit_points *points) {
    struct store *store;
    struct rows rows = {0};
    enum mt_status status = query_open(&o->query, &store);
    if (status)
        return status;
    status = rows_read(store_handle(store), measured_sql, NULL, &rows);
    for (int i = 0; i < rows.count && !status; i++) {
        struct str label = {0};
        const struct store_measurement row = row_of(&rows, i);
        if (strcmp(rows_cell(&rows, i, "device_name"), rows_cell(&rows, 0, "device_name")) != 0)
            status = fail(MT_USAGE, "the database has measured times of %s and of %s: name one with --gpu",
                          rows_cell(&rows, 0, "device_name"), rows_cell(&rows, i, "device_name"));
        row_label(&row, &label);
        const struct fit_point key = {.label = label.data};
        struct fit_point *p = bsearch(&key, points->item, (size_t)points->count, sizeof *points->item, by_label);
        if (p) {
            p->measured_ns = strtod(rows_cell(&rows, i, "median_ns"), NULL);
            p->graph = p->measured_ns < timer_graph_below_ns;
        }
        str_release(&label);
    }
    rows_release(&rows);
    store_close(store);
    keep_timed(points);
    if (!status && points->count < 2 * FIT_CONSTANTS)
        status = fail(MT_FAILURE,
                      "only %d measured candidates are in the trace: sweep the same layers, batch sizes and "
                      "spaces on both devices",
                      points->count);
    return status;
}

/* Sum of twelve uniform numbers, less six: near enough to a normal one. */
static double draw_normal(uint64_t *state) {
    double sum = -6;
    for (int i = 0; i < 12; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        sum += (double)(*state >> 11) / 9007199254740992.0;
    }
    return sum;
}

static enum mt_status take_simulated(const struct options *o, struct fit_points *points) {
    struct dev_profile *truth;
    uint64_t state = (uint64_t)o->seed * 0x9E3779B97F4A7C15u;
    enum mt_status status = dev_profile_load(o->simulate, &truth);
    for (int i = 0; i < points->count && !status; i++) {
        struct fit_point *p = &points->item[i];
        p->graph = fit_ns(truth, p, false) < timer_graph_below_ns;
        p->measured_ns = fit_ns(truth, p, p->graph) * exp(o->noise * draw_normal(&state));
    }
    if (!status)
        dev_profile_free(truth);
    return status;
}

/* ---- telling it ---- */

static void print_rhos(const struct fit_points *points, const struct dev_profile *stock,
                       const struct dev_profile *fitted) {
    const char *families[8] = {0};
    int known = 0;
    for (int i = 0; i < points->count; i++) {
        int at = 0;
        while (at < known && strcmp(families[at], points->item[i].family) != 0)
            at++;
        if (at == known && known < 7)
            families[known++] = points->item[i].family;
    }
    for (int f = 0; f <= known; f++) {
        int count;
        double before = fit_rho(stock, points, families[f], &count), low, high;
        double after = fit_rho(fitted, points, families[f], &count);
        rank_interval(after, count, &low, &high);
        printf("# %-8s %5d held out: Spearman's rho %.3f -> %.3f (%.3f .. %.3f)\n",
               f < known ? families[f] : "together", count, before, after, low, high);
    }
}

static void print_fit(const struct options *o, const struct fit_points *points, struct dev_profile *stock,
                      struct dev_profile *fitted, const double cost[FIT_CONSTANTS]) {
    double before = fit_loss(stock, points), after = fit_loss(fitted, points);
    printf("# %s%s, fitted to %d candidates; typical error of the fitted half %.1f %% -> %.1f %%\n",
           o->simulate ? "SIMULATED times, nothing was measured: " : "", o->profile, points->count,
           100 * fit_error(before), 100 * fit_error(after));
    print_rhos(points, stock, fitted);
    for (int c = 0; c < FIT_CONSTANTS; c++) {
        double was = *fit_value(stock, c), is = *fit_value(fitted, c);
        if (is == was)
            printf("# %s stays at %g: no other value explains these times better\n", fit_constants[c].name, was);
        else
            printf("%s: %.4g # was %g; with that, and the others fitted to it, the error were %.1f %%%s\n",
                   fit_constants[c].name, is, was, 100 * fit_error(cost[c]),
                   is <= fit_constants[c].low || is >= fit_constants[c].high ? "; AT A BOUND: do not trust it" : "");
    }
}

static enum mt_status calibrate(const struct options *o, struct fit_points *points) {
    struct dev_profile *stock;
    enum mt_status status = dev_profile_load(o->profile, &stock);
    if (status)
        return status;
    if (!(status = read_trace(o->trace, points)) &&
        !(status = o->simulate ? take_simulated(o, points) : take_measured(o, points))) {
        struct dev_profile fitted = *stock;
        double cost[FIT_CONSTANTS];
        fit(&fitted, points, cost);
        print_fit(o, points, stock, &fitted, cost);
    }
    dev_profile_free(stock);
    return status;
}

int main(int argc, char **argv) {
    struct options o = {.noise = 0.03, .seed = 1};
    struct fit_points points = {0};
    const struct argp_child children[] = {{&query_argp, 0, NULL, 0}, {0}};
    const struct argp argp = {
        .options = table,
        .parser = parse,
        .children = children,
        .doc = "Fits the constants of a software device's time model to measured times.",
    };
    argp_err_exit_status = MT_USAGE;
    enum mt_status status = options_parse(&argp, argc, argv, &o, &o.query.common);
    if (!status)
        status = calibrate(&o, &points);
    if (status)
        log_error("%s", fail_message());
    for (int i = 0; i < points.count; i++)
        point_release(&points.item[i]);
    free(points.item);
    query_options_release(&o.query);
    return status;
}
