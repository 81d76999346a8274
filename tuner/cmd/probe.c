/* mixtune probe: what the device can do at best, into the database. */
#include "cmd.h"
#include "db/store.h"
#include "runtime/base/log.h"
#include "runtime/base/str.h"
#include "runtime/gpu/nvml.h"
#include "runtime/jit/compile.h"
#include "tuner/options.h"
#include "tuner/progress.h"
#include "tuner/report/json_line.h"
#include "tuner/shown.h"
#include "tuner/sweep/lock.h"
#include "tuner/sweep/run.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { KEY_DB = 0x200, KEY_TIMEOUT };

struct probe_options {
    struct common_options common;
    const char *db;
    double patience;
    const char *command; /* what the user typed */
};

static const struct argp_option table[] = {
    {"db", KEY_DB, "FILE", 0, "The database that gets the limits (default: " DEFAULT_DB ")", 20},
    {"timeout", KEY_TIMEOUT, "TIME", 0,
     "A limit whose kernel gives no sign of life for so long is lost (default: 30s; 2m on a software device)", 20},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct probe_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        return 0;
    case KEY_DB:
        o->db = arg;
        return 0;
    case KEY_TIMEOUT:
        return options_error(seconds_parse(arg, "--timeout", &o->patience));
    case ARGP_KEY_ARG:
        return options_error(fail(MT_USAGE, "probe takes options only, not `%s`; --help lists them", arg));
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {{&common_argp, 0, NULL, 0}, {0}};
static const struct argp argp = {
    .options = table,
    .parser = parse,
    .children = children,
    .doc = "Measures what the device can do at best: bandwidths, rates of the tensor core and of single instructions, "
           "latencies, the cost of a launch. `mixtune show --floor` sets the winners against it. Each limit is "
           "kept as it comes; one whose kernel hangs, crashes or does not do its work costs no other.\v"
           "Example: mixtune probe --device cuda:0"};

struct probing {
    const struct probe_options *options;
    struct worker *worker;
    const struct device *dev; /* the worker's */
    struct store *store;
    int kept, lost;
    bool wrong; /* a kernel did not do its work */
};

/* ---- printing ---- */

static void print_heading(const struct probing *p) {
    if (!p->options->common.json)
        printf("%s, %s limits\n", shown(p->dev->name), p->dev->software ? "MODELLED (not measured)" : "measured");
    fflush(stdout);
}

/* `missing` says why there is no value; NULL: there is. */
static void print_limit(const struct probing *p, const struct limit *l, const char *missing) {
    if (p->options->common.json) {
        json_t *object = json_pack("{so ss ss}", "device_name", json_text(p->dev->name), "origin",
                                   store_origin_name(store_origin_of(p->dev->software)), "name", l->name);
        if (missing)
            json_object_set_new(object, "missing", json_text(missing));
        else
            json_object_update_new(object, json_pack("{sf ss}", "value", l->value, "unit", l->unit));
        json_line(object);
    } else if (missing) {
        printf("%-16s %12s  %s\n", l->name, "-", shown(missing));
    } else {
        printf("%-16s %12.2f  %s\n", l->name, l->value, l->unit);
    }
    fflush(stdout);
}

/* ---- measuring ---- */

static enum mt_status keep(struct probing *p, const struct limits *found) {
    enum mt_status status = MT_OK;
    for (int i = 0; i < found->count && !status; i++) {
        const struct limit *l = &found->item[i];
        const struct store_limit row = {l->name, l->unit, l->value, store_origin_of(p->dev->software)};
        if ((status = store_record_limit(p->store, &row)))
            break;
        p->kept++;
        print_limit(p, l, NULL);
    }
    return status;
}

static enum mt_status measure_limit(struct probing *p, int step, const char *name) {
    struct check check;
    struct limits found;
    enum mt_status status = interrupted() ? MT_INTERRUPTED : worker_probe(p->worker, step, &check, &found);
    if (status == MT_INTERRUPTED)
        return fail(status, "interrupted; the %d limits that were measured are kept", p->kept);
    if (status || check.outcome == OUTCOME_OK)
        return status ? status : keep(p, &found);
    p->lost++;
    p->wrong = p->wrong || check.outcome == OUTCOME_WRONG;
    print_limit(p, &(struct limit){.name = name}, check.message);
    return MT_OK;
}

static int count_limits(const struct device *dev) {
    int count = 0;
    for (int step = 0; step < probe_steps(); step++)
        count += probe_step(dev, step) != NULL;
    return count;
}

static enum mt_status measure_limits(struct probing *p) {
    struct progress progress;
    enum mt_status status = MT_OK;
    progress_init(&progress, "probe", count_limits(p->dev),
                  p->options->common.quiet || isatty(STDOUT_FILENO)); /* there the lines tell */
    for (int step = 0; step < probe_steps() && !status; step++) {
        const char *name = probe_step(p->dev, step);
        const int lost = p->lost;
        if (!name)
            continue;
        status = measure_limit(p, step, name);
        progress_step(&progress, p->lost == lost, name);
    }
    progress_release(&progress);
    if (!status && p->lost)
        status = fail(p->wrong ? MT_WRONG : MT_FAILURE, "%d of %d limits could not be measured; the others are kept",
                      p->lost, count_limits(p->dev));
    return status;
}

static enum mt_status probe(const struct probe_options *o) {
    struct probing p = {.options = o};
    const struct worker_options how = {.device = o->common.device, .patience = o->patience};
    struct lock *lock = NULL;
    enum mt_status status = worker_open(&how, &p.worker);
    if (status)
        return status;
    p.dev = worker_device(p.worker);
    int processes = p.dev->software ? 1 : nvml_compute_processes(p.dev->uuid);
    if (processes > 1)
        log_warn("%d other processes compute on %s: the measured limits will be too low", processes - 1, p.dev->name);
    if (!(status = store_open(o->db, &p.store)) && !(status = lock_take(p.dev, o->db, true, 0, &lock)) &&
        !(status = probe_compile(p.dev)) && !(status = run_begin(p.store, p.worker, o->command))) {
        print_heading(&p);
        status = measure_limits(&p);
    }
    worker_close(p.worker);
    lock_release(lock);
    store_close(p.store);
    return status;
}

int cmd_probe(int argc, char **argv) {
    struct probe_options o = {.db = DEFAULT_DB};
    struct str command = {0};
    command_words(argc, argv, &command);
    o.command = command.data;
    interrupt_catch();
    enum mt_status status = options_parse(&argp, argc, argv, &o, &o.common);
    if (!status)
        status = probe(&o);
    str_release(&command);
    return status;
}
