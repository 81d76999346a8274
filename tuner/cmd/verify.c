#include "cmd.h"
#include "runtime/base/array.h"
#include "runtime/base/log.h"
#include "runtime/base/str.h"
#include "tuner/plan/fit.h"
#include "tuner/progress.h"
#include "tuner/report/json_line.h"
#include "tuner/shown.h"
#include "tuner/sweep/worker.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_CONFIG = 0x200, KEY_FAMILY, KEY_ALL, KEY_SPACE, KEY_BIAS, KEY_SEED, KEY_TIMEOUT, KEY_GIVE_UP, KEY_COMPILE };

struct verify_options {
    struct common_options common;
    struct work_options work;
    const char *config, *family, *space;
    bool all, bias, compile_only;
    int seed, give_up;
    double patience;
};

static const struct argp_option table[] = {
    {"config", KEY_CONFIG, "KNOBS", 0, "\"tile_n=128,stages=4\"; knobs not named keep their default", 20},
    {"family", KEY_FAMILY, "NAME", 0,
     "Kernel family (default: sm80 with --config, else every quantised family of the device)", 20},
    {"all", KEY_ALL, NULL, 0, "Every configuration of the space", 20},
    {"space", KEY_SPACE, "LIST", 0, "Space for --all: names in configs/spaces/ or paths (default: the families' own)",
     20},
    {"bias", KEY_BIAS, NULL, 0, "With a bias", 20},
    {"seed", KEY_SEED, "N", 0, "Seed of the random operands (default: 1)", 20},
    {"timeout", KEY_TIMEOUT, "TIME", 0,
     "A configuration that gives no sign of life for so long has hung (default: 30s; 2m on a software device)", 20},
    {"give-up", KEY_GIVE_UP, "N", 0,
     "After N configurations of a family that hung, crashed or lost the device's context skip the others (default: "
     "never)",
     20},
    {"compile-only", KEY_COMPILE, NULL, 0, "Put the kernels into the cache, and run none", 20},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct verify_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->work;
        state->child_inputs[1] = &o->common;
        return 0;
    case KEY_CONFIG:
        o->config = arg;
        return 0;
    case KEY_FAMILY:
        o->family = arg;
        return 0;
    case KEY_ALL:
        o->all = true;
        return 0;
    case KEY_SPACE:
        o->space = arg;
        o->all = true;
        return 0;
    case KEY_BIAS:
        o->bias = true;
        return 0;
    case KEY_SEED:
        return options_error(int_parse(arg, "--seed", 0, 1 << 30, &o->seed));
    case KEY_TIMEOUT:
        return options_error(seconds_parse(arg, "--timeout", &o->patience));
    case KEY_COMPILE:
        o->compile_only = true;
        return 0;
    case KEY_GIVE_UP:
        return options_error(int_parse(arg, "--give-up", 1, 1000000, &o->give_up));
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {{&work_argp, 0, NULL, 0}, {&common_argp, 0, NULL, 0}, {0}};
static const struct argp argp = {
    .options = table,
    .parser = parse,
    .children = children,
    .doc = "Quantises random activations on the device, runs the GEMM and compares every element with the exact "
           "reference; "
           "configurations that add up in one order, as all without split-K do, must also agree bit for bit. Exit code "
           "2 when a result is wrong.\v"
           "Example: mixtune verify --shape 17,4096,4096 --scheme w4a8,w8a8 --space proof-sm80"};

/* Outputs of a problem whose sums have one tree. */
struct alike {
    struct sum_tree sums;
    uint64_t hash; /* of the first of them */
    int count;
};

struct verification {
    const struct verify_options *options;
    struct workload workload;
    struct config_list configs;
    struct binaries binaries;
    struct worker *worker;
    const struct device *dev; /* the worker's */
    struct device_limits limits;
    bool quantised; /* some configuration's family is */
    struct alike *alike;
    int alikes; /* orders that the problem's outputs were added up in */
    size_t alike_capacity;
    int right, wrong, refused, failed, skipped;
    int *lost; /* by family_number(), the quantisation (NULL) last: kernels that hung, crashed or lost the context */
};

/* What was named is read before anything is opened: most mistakes are in it. */
static enum mt_status read_configs(struct verification *v) {
    const struct verify_options *o = v->options;
    struct config config;
    if (o->space || (o->all && o->family))
        return config_list_read(o->space ? o->space : o->family, &v->configs);
    if (!o->family && !o->config)
        return MT_OK;
    const struct family *family;
    enum mt_status status = family_named(o->family ? o->family : "sm80", &family);
    if (!status)
        status = config_parse(family, o->config ? o->config : "", &config);
    if (!status)
        config_list_add(&v->configs, &config);
    return status;
}

/* Every quantised family of the device; the oldest first, which is the surest to run. */
static enum mt_status default_configs(struct verification *v) {
    struct str spaces = {0};
    enum mt_status status = MT_OK;
    for (int i = FAMILY_COUNT - 1; i >= 0; i--) {
        const struct family *family = family_list()[i];
        struct config config;
        if (!family->quantised || !family_runs_on(family, v->dev->cc))
            continue;
        config_default(family, &config);
        if (v->options->all)
            str_printf(&spaces, "%s%s", spaces.length ? "," : "", family->name);
        else
            config_list_add(&v->configs, &config);
    }
    if (spaces.length)
        status = config_list_read(spaces.data, &v->configs);
    str_release(&spaces);
    if (!status && v->configs.count == 0)
        status = fail(MT_NO_DEVICE, "%s has compute capability %d.%d; the kernels need 8.0 or later", v->dev->name,
                      v->dev->cc / 10, v->dev->cc % 10);
    return status;
}

/* ---- printing ---- */

static void print_json(const struct work_item *item, const char *family, const char *config, const char *verdict,
                       double worst, const char *message) {
    const struct problem *p = &item->problem;
    json_t *row = json_pack("{ss ss si si si ss si si ss ss sf so}", "family", family, "config", config, "m", p->m, "n",
                            p->n, "k", p->k, "scheme", problem_scheme(p), "rows8", p->rows8, "group_size", p->group,
                            "dtype", dtype_name(p->dtype), "verdict", verdict, "worst", worst < 1e300 ? worst : 1e300,
                            "message", json_text(message));
    json_line(row);
}

static void print_text(const struct work_item *item, const char *family, const char *config, const char *verdict,
                       const struct check *check) {
    const struct problem *p = &item->problem;
    printf("%-6s %-8s %s g%d %s %d,%d,%d", verdict, family, problem_scheme(p), p->group, dtype_name(p->dtype), p->m,
           p->n, p->k);
    if (p->rows8 > 0 && p->rows8 < p->n)
        printf(", %d of 8 bits", p->rows8);
    printf("  ");
    if (check->outcome == OUTCOME_OK)
        printf("worst error %.3f of allowed  %s\n", check->verdict.worst, config);
    else
        printf("%s  %s\n", shown(check->message), config);
}

static void print_line(const struct verification *v, const struct work_item *item, const char *family,
                       const char *config, const struct check *check) {
    const char *verdict = check->outcome == OUTCOME_OK ? "right" : store_outcome_name(check->outcome);
    if (v->options->common.json)
        print_json(item, family, config, verdict, check->verdict.worst, check->message);
    else
        print_text(item, family, config, verdict, check);
    fflush(stdout);
}

/* ---- running ---- */

/* As binaries_add() and worker_prove() take it. */
static const struct config quantisation = {0};

static enum mt_status stopped(const struct verification *v) {
    return fail(MT_INTERRUPTED, "interrupted: %d right, %d wrong so far", v->right, v->wrong);
}

/* Equal to the first output that was added up in the same order, of whatever family, bit for bit. */
static void check_bits(struct verification *v, struct check *check) {
    struct str order = {0};
    int i = 0;
    if (check->outcome != OUTCOME_OK || check->sums.parts == 0)
        return;
    while (i < v->alikes && !sum_tree_equal(&v->alike[i].sums, &check->sums))
        i++;
    if (i == v->alikes) {
        array_grow(&v->alike, &v->alike_capacity, (size_t)i, sizeof *v->alike);
        v->alike[v->alikes++] = (struct alike){check->sums, check->hash, 0};
    }
    v->alike[i].count++;
    if (check->hash == v->alike[i].hash)
        return;
    sum_tree_format(&check->sums, &order);
    check->outcome = OUTCOME_WRONG;
    snprintf(check->message, sizeof check->message,
             "its bits differ from those of the first configuration that also adds up %s", str_text(&order));
    str_release(&order);
}

static void print_alike(const struct verification *v) {
    for (int i = 0; i < v->alikes; i++) {
        const struct alike *a = &v->alike[i];
        struct str order = {0};
        sum_tree_format(&a->sums, &order);
        if (a->count > 1)
            printf("%d configurations that add up %s compared bit for bit; the first output's hash is "
                   "%016" PRIx64 "\n",
                   a->count, str_text(&order), a->hash);
        str_release(&order);
    }
}

static bool given_up(const struct verification *v, const struct family *family) {
    return v->options->give_up > 0 && v->lost[family_number(family)] >= v->options->give_up;
}

static void tell(struct verification *v, const struct work_item *item, const struct config *config,
                 const struct check *check) {
    const struct family *family = config->family;
    const char *name = family ? family->name : "quantize";
    struct str text = {0};
    if (family)
        config_format(config, &text);
    v->right += check->outcome == OUTCOME_OK;
    v->wrong += check->outcome == OUTCOME_WRONG;
    v->failed += check->outcome != OUTCOME_OK && check->outcome != OUTCOME_WRONG;
    print_line(v, item, name, str_text(&text), check);
    str_release(&text);
    if (!check->context_lost)
        return;
    v->lost[family_number(family)]++;
    if (given_up(v, family))
        log_warn("%s is given up after %d kernels that hung, crashed or lost the context: the rest of it is skipped",
                 name, v->options->give_up);
}

/* A configuration of the problem, or its quantisation when the configuration has no family: a line, whatever comes of
 * it. */
static enum mt_status prove(struct verification *v, const struct work_item *item, const struct config *config) {
    if (given_up(v, config->family)) {
        v->skipped++;
        return MT_OK;
    }
    struct check check = {.outcome = OUTCOME_OK};
    struct proof_job job = {.problem = item->problem,
                            .seed = (uint64_t)v->options->seed,
                            .config = *config,
                            .binary = binaries_add(&v->binaries, config, &item->problem)};
    job.problem.bias = v->options->bias;
    const struct binary *binary = &v->binaries.item[job.binary];
    enum mt_status status = MT_OK;
    if (binary->status) {
        check.outcome = OUTCOME_COMPILE_FAILED;
        text_fit(check.message, sizeof check.message, "%s", binary->message);
    } else if ((status = worker_prove(v->worker, &job, &v->binaries, &check))) {
        return status == MT_INTERRUPTED ? stopped(v) : status;
    }
    check_bits(v, &check);
    tell(v, item, config, &check);
    return MT_OK;
}

/* The device's own quantisation of the activations, which the GEMMs then read. */
static enum mt_status check_quantize(struct verification *v, const struct work_item *item) {
    return v->quantised ? prove(v, item, &quantisation) : MT_OK;
}

static enum mt_status check_config(struct verification *v, const struct work_item *item, const struct config *config) {
    char reason[160];
    if (config_allowed(config, &item->problem, &v->limits, reason))
        return prove(v, item, config);
    v->refused++;
    return MT_OK;
}

static enum mt_status check_problem(struct verification *v, const struct work_item *item, struct progress *progress) {
    v->alikes = 0;
    enum mt_status status = check_quantize(v, item);
    for (int i = 0; i < v->configs.count && !status; i++) {
        int bad = v->wrong + v->failed;
        if (interrupted())
            status = stopped(v);
        else
            status = check_config(v, item, &v->configs.config[i]);
        progress_step(progress, v->wrong + v->failed == bad, NULL);
    }
    if (!status && !v->options->common.json)
        print_alike(v);
    return status;
}

static void want(struct verification *v, const struct config *config, const struct problem *p) {
    const int binary = binaries_add(&v->binaries, config, p);
    v->binaries.item[binary].wanted = true;
}

static enum mt_status compile(struct verification *v) {
    char reason[160];
    for (int c = 0; c < v->configs.count; c++)
        v->quantised = v->quantised || v->configs.config[c].family->quantised;
    for (int i = 0; i < v->workload.count; i++) {
        const struct problem *p = &v->workload.item[i].problem;
        if (v->quantised)
            want(v, &quantisation, p);
        for (int c = 0; c < v->configs.count; c++)
            if (config_allowed(&v->configs.config[c], p, &v->limits, reason))
                want(v, &v->configs.config[c], p);
    }
    return binaries_compile(&v->binaries, v->dev, v->options->common.quiet);
}

static enum mt_status conclude_compiled(const struct verification *v) {
    int good = 0, bad = 0;
    for (int i = 0; i < v->binaries.count; i++) {
        const struct binary *binary = &v->binaries.item[i];
        good += binary->status == MT_OK;
        if (binary->status && bad++ == 0)
            log_warn("%s", binary->message);
    }
    printf(v->options->common.json ? "{\"compiled\":%d,\"failed\":%d}\n" : "%d kernels compiled, %d failed\n", good,
           bad);
    return bad ? fail(MT_FAILURE, "%d kernels did not compile", bad) : MT_OK;
}

static void print_counts(const struct verification *v) {
    if (v->options->common.json) {
        printf("{\"right\":%d,\"wrong\":%d,\"refused\":%d,\"failed\":%d,\"skipped\":%d}\n", v->right, v->wrong,
               v->refused, v->failed, v->skipped);
        return;
    }
    printf("%d right, %d wrong, %d refused", v->right, v->wrong, v->refused);
    if (v->failed)
        printf(", %d failed", v->failed);
    if (v->skipped)
        printf(", %d skipped", v->skipped);
    putchar('\n');
}

static enum mt_status conclude(const struct verification *v) {
    print_counts(v);
    if (v->wrong)
        return fail(MT_WRONG, "%d results are wrong", v->wrong);
    if (v->failed)
        return fail(MT_FAILURE, "%d configurations did not compile or run", v->failed);
    return MT_OK;
}

static enum mt_status verify(struct verification *v) {
    const struct worker_options how = {.device = v->options->common.device, .patience = v->options->patience};
    struct progress progress;
    enum mt_status status;
    if ((status = workload_init(&v->workload, &v->options->work)) || (status = read_configs(v)) ||
        (status = worker_open(&how, &v->worker)))
        return status;
    v->dev = worker_device(v->worker);
    device_limits_of(v->dev, &v->limits);
    v->lost = xcalloc(FAMILY_COUNT + 1, sizeof *v->lost);
    if ((v->configs.count == 0 && (status = default_configs(v))) || (status = fit_memory(&v->workload, v->dev, true)) ||
        (status = fit_check(&v->configs, &v->workload, v->dev)) || (status = compile(v)))
        return status;
    if (v->options->compile_only)
        return conclude_compiled(v);
    progress_init(&progress, "verify", (long)v->configs.count * v->workload.count,
                  v->options->common.quiet || v->configs.count == 1 ||
                      isatty(STDOUT_FILENO)); /* there the lines tell */
    for (int i = 0; i < v->workload.count && !status; i++)
        status = check_problem(v, &v->workload.item[i], &progress);
    progress_release(&progress);
    return status ? status : conclude(v);
}

int cmd_verify(int argc, char **argv) {
    struct verify_options o = {.seed = 1};
    struct verification v = {.options = &o};
    interrupt_catch();
    work_options_init(&o.work);
    enum mt_status status = options_parse(&argp, argc, argv, &o, &o.common);
    if (!status)
        status = verify(&v);
    worker_close(v.worker);
    binaries_release(&v.binaries, NULL);
    config_list_release(&v.configs);
    workload_release(&v.workload);
    work_options_release(&o.work);
    free(v.lost);
    free(v.alike);
    return status;
}
