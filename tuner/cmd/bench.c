#include "cmd.h"
#include "tuner/measure/operands.h"
#include "tuner/plan/fit.h"
#include "tuner/plan/plan.h"
#include "tuner/progress.h"
#include "tuner/report/files.h"
#include "tuner/report/tables.h"
#include "tuner/sweep/run.h"
#include <stdio.h>
#include <unistd.h>

enum { KEY_CONFIG = 0x200, KEY_FAMILY, KEY_QUICK, MAX_CONFIGS = 64 };

/* Columns of reports/bench.sql that its table does without. */
#define BENCH_HIDDEN                                                                                                   \
    ",uuid,template_hash,time_model,baseline_family,baseline_ns,baseline_lacks,missing,rejected,low_clock,registers,"  \
    "smem_bytes,"                                                                                                      \
    "spill_bytes,"

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
    const struct family *family;
    enum mt_status status = family_named(o->family, &family);
    if (status)
        return status;
    for (int i = 0; i < (o->config_count ? o->config_count : 1); i++) {
        struct config config;
        status = config_parse(family, o->config_count ? o->config[i] : "", &config);
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
                            p->k, problem_scheme(&w->item[i].problem), dev->name, reason);
        }
    return MT_OK;
}

/* Bytes that a launch must move at the least: for the bandwidth that people compare with the device's. */
static double least_bytes(const struct candidate *candidate) {
    struct operands shape = {.problem = candidate->item->problem, .quantised = !candidate->baseline};
    shape.ldw = shape.problem.k;
    return (double)(candidate->library == LIBRARY_QUANTIZE ? quantize_operands_traffic(&shape.problem)
                                                           : operands_traffic(&shape));
}

/* What is running: `store` holds what was measured so far, in memory only. */
struct benching {
    const struct bench_options *options;
    struct worker *worker;
    struct store *store;
    const struct plan *plan;
    const struct binaries *binaries;
    int wrong, failed;
    struct table_rest rest; /* what the terminal has no room for */
};

/* A line as soon as it is known; the first has the heading. A line that failed ends with why. */
static void print_row(struct benching *b, const struct rows *row, bool first) {
    const bool json = b->options->common.json;
    const bool failed = !rows_is(row, 0, "outcome", store_outcome_name(OUTCOME_OK));
    const struct table_style style = {
        .lift = ",model,tp,cache_state,origin,device_name,",
        .hide = failed ? BENCH_HIDDEN : BENCH_HIDDEN "outcome,message,",
        .last = 1,
        .least = 8,
        .headless = !first,
        .width = terminal_width(STDOUT_FILENO),
        .drop = first ? ",sample_count,low_ns,high_ns,group_size,dtype,rows8,n,k,gb_per_s,ratio,quantize_ns," : NULL,
        .rest = &b->rest,
    };
    struct str out = {0};
    if (json)
        rows_print_json(row, &out);
    else if (first && rows_is(row, 0, "origin", store_origin_name(ORIGIN_MODELLED)))
        str_append(&out, tables_modelled);
    if (!json)
        rows_print_table(row, &style, &out);
    fwrite(out.data, 1, out.length, stdout);
    fflush(stdout);
    str_release(&out);
}

static enum mt_status record(struct benching *b, int at, const struct measured *measured) {
    const struct candidate *candidate = &b->plan->item[at];
    struct store_measurement row;
    struct str config = {0};
    struct rows newest;
    char bytes[32];
    measured_row(candidate, measured, worker_device(b->worker)->software, &config, &row);
    b->wrong += row.outcome == OUTCOME_WRONG;
    b->failed += row.outcome != OUTCOME_OK;
    enum mt_status status = store_record(b->store, &row);
    str_release(&config);
    snprintf(bytes, sizeof bytes, "%.0f", least_bytes(candidate));
    const char *const values[] = {":bytes", bytes, NULL};
    if (status || (status = rows_read(store_handle(b->store), report_bench_sql, values, &newest)))
        return status;
    print_row(b, &newest, at == 0);
    rows_release(&newest);
    return MT_OK;
}

static enum mt_status run_plan(struct benching *b) {
    struct str rest = {0};
    enum mt_status status;
    if ((status = store_open(":memory:", &b->store)) || (status = run_begin(b->store, b->worker, "mixtune bench")))
        return status;
    for (int i = 0; i < b->plan->count && !status; i++) {
        struct measured measured;
        if (interrupted())
            return fail(MT_INTERRUPTED, "interrupted after %d of %d candidates", i, b->plan->count);
        if ((status = worker_measure(b->worker, &b->plan->item[i], b->binaries, &measured)))
            return status;
        status = record(b, i, &measured);
        measured_release(&measured);
    }
    rows_print_rest(&b->rest, terminal_width(STDOUT_FILENO), &rest);
    fputs(str_text(&rest), stdout);
    str_release(&rest);
    if (!status && b->failed)
        status = fail(b->wrong ? MT_WRONG : MT_FAILURE, "%d of %d candidates failed, %d of them with wrong results",
                      b->failed, b->plan->count, b->wrong);
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
    struct plan_target target = worker_target(worker, true);
    target.every = true;
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
        !(status = open_worker(&how, &worker)) && !(status = fit_memory(workload, worker_device(worker), true)) &&
        !(status = check_allowed(configs, workload, worker_device(worker))) &&
        !(status = make_plan(&plan, workload, configs, worker, &binaries)) &&
        !(status = binaries_compile(&binaries, worker_device(worker), o->common.quiet))) {
        struct benching b = {.options = o, .worker = worker, .plan = &plan, .binaries = &binaries};
        status = run_plan(&b);
        store_close(b.store);
        table_rest_release(&b.rest);
    }
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
