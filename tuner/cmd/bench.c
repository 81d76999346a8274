#include "cmd.h"
#include "tuner/measure/operands.h"
#include "tuner/plan/plan.h"
#include "tuner/progress.h"
#include "tuner/sweep/worker.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEY_CONFIG = 0x200, KEY_FAMILY, KEY_QUICK, MAX_CONFIGS = 64 };

struct bench_options {
    struct common_options common;
    struct work_options work;
    const char *config[MAX_CONFIGS];
    int config_count;
    const char *family;
    bool quick;
};

static const struct argp_option table[] = {
    {"config", KEY_CONFIG, "KNOBS", 0, "\"tile_n=128,stages=4\"; knobs not named keep their default. May be repeated",
     20},
    {"family", KEY_FAMILY, "NAME", 0, "Kernel family of the configurations (default: sm80)", 20},
    {"quick", KEY_QUICK, NULL, 0, "Looser timing", 20},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct bench_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->work;
        state->child_inputs[1] = &o->common;
        return 0;
    case KEY_CONFIG:
        if (o->config_count == MAX_CONFIGS)
            return options_error(fail(MT_USAGE, "--config: at most %d configurations in one command", MAX_CONFIGS));
        o->config[o->config_count++] = arg;
        return 0;
    case KEY_FAMILY:
        o->family = arg;
        return 0;
    case KEY_QUICK:
        o->quick = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {{&work_argp, 0, NULL, 0}, {&common_argp, 0, NULL, 0}, {0}};
static const struct argp argp = {
    .options = table,
    .parser = parse,
    .children = children,
    .doc = "Times one or a few configurations of a shape beside the fp16 baseline; nothing is stored.\v"
           "Example: mixtune bench --shape 16,4096,4096 --config tile_m=16 --config tile_m=16,split_k=4"};

static enum mt_status read_configs(const struct bench_options *o, struct config_list *out) {
    const struct family *family = family_find(o->family);
    if (!family)
        return fail(MT_USAGE, "there is no kernel family `%s`; `mixtune info` lists them", o->family);
    for (int i = 0; i < (o->config_count ? o->config_count : 1); i++) {
        struct config config;
        enum mt_status status = config_parse(family, o->config_count ? o->config[i] : "", &config);
        if (status)
            return status;
        config_list_add(out, &config);
    }
    return MT_OK;
}

/* A configuration that was asked for and cannot run is the user's to know, not left out. */
static enum mt_status check_allowed(const struct config_list *configs, const struct workload *w,
                                    const struct device *dev) {
    struct device_limits limits;
    char reason[160];
    device_limits_of(dev, &limits);
    for (int c = 0; c < configs->count; c++)
        for (int i = 0; i < w->count; i++) {
            const struct problem *p = &w->item[i].problem;
            if (!config_allowed(&configs->config[c], p, &limits, reason))
                return fail(MT_USAGE, "configuration %d cannot run M=%d N=%d K=%d %s on %s: %s", c + 1, p->m, p->n,
                            p->k, w->item[i].scheme, dev->name, reason);
        }
    return MT_OK;
}

static void print_heading(const struct device *dev) {
    printf("%s, %s times, cold cache\n", dev->name, dev->software ? "MODELLED (not measured)" : "measured");
    printf("%-9s %6s %6s %6s %-6s %-5s %11s %23s %7s %9s  %s\n", "layer", "m", "n", "k", "scheme", "dtype", "us",
           "95 % interval", "samples", "GB/s", "configuration");
}

static void print_row(const struct store_measurement *row, double bytes) {
    const double us = row->median_ns / 1e3;
    printf("%-9s %6d %6d %6d %-6s %-5s ", row->layer.layer, row->m, row->layer.n, row->layer.k, row->scheme,
           row->dtype);
    if (row->outcome == OUTCOME_OK)
        printf("%11.2f %11.2f .. %8.2f %7d %9.1f  ", us, row->low_ns / 1e3, row->high_ns / 1e3, row->sample_count,
               bytes / row->median_ns);
    else
        printf("%s: %s  ", store_outcome_name(row->outcome), row->message);
    printf("%s %s\n", row->family, row->config);
    fflush(stdout);
}

static void print_json(const struct store_measurement *row, const struct device *dev) {
    json_t *object =
        json_pack("{ss ss si si si ss si ss ss ss ss ss ss si}", "device", dev->name, "layer", row->layer.layer, "m",
                  row->m, "n", row->layer.n, "k", row->layer.k, "scheme", row->scheme, "group", row->group, "dtype",
                  row->dtype, "family", row->family, "config", row->config, "origin", store_origin_name(row->origin),
                  "outcome", store_outcome_name(row->outcome), "message", row->message, "samples", row->sample_count);
    if (row->outcome == OUTCOME_OK) {
        json_object_set_new(object, "median_ns", json_real(row->median_ns));
        json_object_set_new(object, "low_ns", json_real(row->low_ns));
        json_object_set_new(object, "high_ns", json_real(row->high_ns));
    }
    char *text = json_dumps(object, JSON_COMPACT);
    puts(text);
    free(text);
    json_decref(object);
}

/* Bytes that a launch must move at the least: for the bandwidth that people compare with the device's. */
static double least_bytes(const struct candidate *candidate) {
    struct operands shape = {.problem = candidate->item->problem, .quantised = !candidate->baseline};
    shape.ldw = shape.problem.k;
    return (double)operands_traffic(&shape);
}

static enum mt_status run_plan(const struct bench_options *o, struct worker *worker, const struct plan *plan,
                               const struct binaries *binaries) {
    const struct device *dev = worker_device(worker);
    enum mt_status status = MT_OK;
    int wrong = 0, failed = 0;
    if (!o->common.json)
        print_heading(dev);
    for (int i = 0; i < plan->count && !status; i++) {
        struct measured measured;
        struct store_measurement row;
        struct str config = {0};
        if (interrupted())
            return fail(MT_INTERRUPTED, "interrupted after %d of %d candidates", i, plan->count);
        if ((status = worker_measure(worker, &plan->item[i], binaries, &measured)))
            return status;
        measured_row(&plan->item[i], &measured, dev->software, &config, &row);
        wrong += row.outcome == OUTCOME_WRONG;
        failed += row.outcome != OUTCOME_OK;
        if (o->common.json)
            print_json(&row, dev);
        else
            print_row(&row, least_bytes(&plan->item[i]));
        str_release(&config);
        measured_release(&measured);
    }
    if (failed)
        return fail(wrong ? MT_WRONG : MT_FAILURE, "%d of %d candidates failed, %d of them with wrong results", failed,
                    plan->count, wrong);
    return status;
}

static enum mt_status open_worker(const struct worker_options *how, struct worker **out) {
    enum mt_status status = worker_open(how, out);
    if (!status)
        missing_warn(worker_missing(*out), worker_device(*out)->name);
    return status;
}

static enum mt_status make_plan(struct plan *plan, const struct workload *workload, const struct config_list *configs,
                                const struct worker *worker, struct binaries *binaries) {
    const struct plan_target target = worker_target(worker, true);
    return plan_make(plan, workload, configs, &target, binaries, NULL);
}

static enum mt_status bench(const struct bench_options *o, struct workload *workload, struct config_list *configs) {
    const struct worker_options how = {.device = o->common.device,
                                       .limits = o->quick ? &timer_limits_quick : &timer_limits_normal};
    struct plan plan = {0};
    struct binaries binaries = {0};
    struct worker *worker = NULL;
    enum mt_status status;
    if (!(status = workload_init(workload, &o->work)) && !(status = read_configs(o, configs)) &&
        !(status = open_worker(&how, &worker)) && !(status = check_allowed(configs, workload, worker_device(worker))) &&
        !(status = make_plan(&plan, workload, configs, worker, &binaries)) &&
        !(status = binaries_compile(&binaries, worker_device(worker), o->common.quiet)))
        status = run_plan(o, worker, &plan, &binaries);
    plan_release(&plan);
    worker_close(worker);
    binaries_release(&binaries, NULL);
    return status;
}

int cmd_bench(int argc, char **argv) {
    struct bench_options o = {.family = "sm80"};
    struct workload workload = {0};
    struct config_list configs = {0};
    interrupt_catch();
    work_options_init(&o.work);
    enum mt_status status = options_parse(&argp, argc, argv, &o, &o.common);
    if (!status)
        status = bench(&o, &workload, &configs);
    config_list_release(&configs);
    workload_release(&workload);
    work_options_release(&o.work);
    return status;
}
