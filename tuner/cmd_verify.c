#include "binaries.h"
#include "cmd.h"
#include "plan.h"
#include "progress.h"
#include "verify.h"
#include "workload.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_CONFIG = 0x200, KEY_FAMILY, KEY_ALL, KEY_SPACE, KEY_BIAS, KEY_SEED };

struct verify_options {
    struct common_options common;
    struct work_options work;
    const char *config, *family, *space;
    bool all, bias;
    int seed;
};

static const struct argp_option table[] = {
    {"config", KEY_CONFIG, "KNOBS", 0, "\"tile_n=128,stages=4\"; knobs not named keep their default", 20},
    {"family", KEY_FAMILY, "NAME", 0, "Kernel family (default: sm80)", 20},
    {"all", KEY_ALL, NULL, 0, "Every configuration of the space", 20},
    {"space", KEY_SPACE, "LIST", 0, "Space for --all: names in configs/spaces/ or paths (default: the family's own)",
     20},
    {"bias", KEY_BIAS, NULL, 0, "With a bias", 20},
    {"seed", KEY_SEED, "N", 0, "Seed of the random operands (default: 1)", 20},
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
           "configurations without split-K must also agree bit for bit. Exit code 2 when a result is wrong.\v"
           "Example: mixtune verify --shape 17,4096,4096 --scheme w4a8,w8a8 --space proof-sm80"};

struct verification {
    struct proof proof; /* of the problem in hand */
    const struct verify_options *options;
    uint64_t hash; /* of the problem's first output without split-K */
    struct workload workload;
    struct config_list configs;
    struct binaries binaries;
    struct device dev;
    int right, wrong, refused, failed;
    int hashed; /* outputs of the problem that were compared bit for bit, the first included */
    struct device_limits limits;
    char first_reason[160]; /* why the first refused configuration was */
};

static enum mt_status read_configs(struct verification *v) {
    const struct verify_options *o = v->options;
    struct config config;
    if (o->all)
        return config_list_read(o->space ? o->space : o->family, &v->configs);
    const struct family *family = family_find(o->family);
    if (!family)
        return fail(MT_USAGE, "there is no kernel family `%s`; `mixtune info` lists them", o->family);
    enum mt_status status = config_parse(family, o->config ? o->config : "", &config);
    if (!status)
        config_list_add(&v->configs, &config);
    return status;
}

/* ---- printing ---- */

static void print_json(const struct work_item *item, const char *family, const char *config, const char *verdict,
                       double worst, const char *message) {
    const struct problem *p = &item->problem;
    json_t *row = json_pack("{ss ss si si si ss si ss ss sf ss}", "family", family, "config", config, "m", p->m, "n",
                            p->n, "k", p->k, "scheme", item->scheme, "group", p->group, "dtype", dtype_name(p->dtype),
                            "verdict", verdict, "worst", worst < 1e300 ? worst : 1e300, "message", message);
    char *text = json_dumps(row, JSON_COMPACT);
    puts(text);
    free(text);
    json_decref(row);
}

static void print_line(const struct verification *v, const struct work_item *item, const char *family,
                       const char *config, const struct check *check) {
    const struct problem *p = &item->problem;
    const char *verdict = check->outcome == OUTCOME_OK ? "right" : store_outcome_name(check->outcome);
    if (v->options->common.json) {
        print_json(item, family, config, verdict, check->verdict.worst, check->message);
        return;
    }
    printf("%-6s %-8s %s g%d %s %d,%d,%d  ", verdict, family, item->scheme, p->group, dtype_name(p->dtype), p->m, p->n,
           p->k);
    if (check->outcome == OUTCOME_OK)
        printf("worst error %.3f of allowed  %s\n", check->verdict.worst, config);
    else
        printf("%s  %s\n", check->message, config);
    fflush(stdout);
}

/* ---- running ---- */

static void count(struct verification *v, const struct check *check) {
    v->right += check->outcome == OUTCOME_OK;
    v->wrong += check->outcome == OUTCOME_WRONG;
    v->failed += check->outcome != OUTCOME_OK && check->outcome != OUTCOME_WRONG;
}

static enum mt_status open_proof(struct verification *v, const struct work_item *item) {
    struct problem p = item->problem;
    p.bias = v->options->bias;
    enum mt_status status =
        proof_init(&v->proof, &v->dev, &p, v->configs.config[0].family->quantised, (uint64_t)v->options->seed);
    if (status)
        proof_release(&v->proof);
    return status;
}

/* The device's own quantisation of the activations, which the GEMMs then read. */
static enum mt_status check_quantize(struct verification *v, const struct work_item *item) {
    struct kernel kernel;
    struct check check;
    if (!v->proof.quantised)
        return MT_OK;
    enum mt_status status = kernel_load_quantize(&v->dev, &v->proof.problem, &kernel);
    if (status)
        return status;
    verify_quantize(&v->proof, &kernel, &check);
    kernel_unload(&v->dev, &kernel);
    count(v, &check);
    print_line(v, item, "quantize", "", &check);
    return check.context_lost ? fail(MT_FAILURE, "quantize_act.cu: %s", check.message) : MT_OK;
}

/* Equal to the first output without split-K, bit for bit. */
static void check_bits(struct verification *v, const struct config *config, struct check *check) {
    struct launch_shape shape;
    config->family->shape(config, &v->proof.problem, verify_sms(&v->proof, config), &shape);
    if (check->outcome != OUTCOME_OK || !v->proof.quantised || !shape.in_order)
        return;
    if (v->hashed++ == 0)
        v->hash = check->hash;
    if (check->hash == v->hash)
        return;
    check->outcome = OUTCOME_WRONG;
    snprintf(check->message, sizeof check->message,
             "its bits differ from those of the first configuration without split-K");
}

/* A fault leaves the context unusable: a new one, with new operands. */
static enum mt_status reopen(struct verification *v, const struct work_item *item) {
    char spec[sizeof v->dev.spec];
    memcpy(spec, v->dev.spec, sizeof spec);
    proof_release(&v->proof);
    binaries_unload(&v->binaries, &v->dev);
    device_close(&v->dev);
    enum mt_status status = device_open(&v->dev, spec);
    return status ? status : open_proof(v, item);
}

static enum mt_status check_config(struct verification *v, const struct work_item *item, const struct config *config) {
    struct kernel *kernel;
    struct check check = {.outcome = OUTCOME_OK};
    char reason[160];
    if (!config_allowed(config, &v->proof.problem, &v->limits, reason)) {
        if (v->refused++ == 0)
            snprintf(v->first_reason, sizeof v->first_reason, "%s", reason);
        return MT_OK;
    }
    int index = binaries_add(&v->binaries, config, &v->proof.problem);
    struct binary *binary = &v->binaries.item[index];
    if (binary_kernel(binary, &v->dev, config, &kernel)) {
        check.outcome = binary->status ? OUTCOME_COMPILE_FAILED : OUTCOME_LAUNCH_FAILED;
        snprintf(check.message, sizeof check.message, "%s", fail_message());
    } else {
        verify_gemm(&v->proof, kernel, &check);
        check_bits(v, config, &check);
    }
    struct str text = {0};
    config_format(config, &text);
    count(v, &check);
    print_line(v, item, config->family->name, text.data, &check);
    str_release(&text);
    return check.context_lost ? reopen(v, item) : MT_OK;
}

static enum mt_status check_problem(struct verification *v, const struct work_item *item, struct progress *progress) {
    v->hashed = 0;
    enum mt_status status = open_proof(v, item);
    if (!status)
        status = check_quantize(v, item);
    for (int i = 0; i < v->configs.count && !status; i++) {
        int bad = v->wrong + v->failed;
        if (interrupted())
            status = fail(MT_INTERRUPTED, "interrupted: %d right, %d wrong so far", v->right, v->wrong);
        else
            status = check_config(v, item, &v->configs.config[i]);
        progress_step(progress, v->wrong + v->failed == bad, NULL);
    }
    if (!status && v->hashed > 1 && !v->options->common.json)
        printf("%d configurations without split-K compared bit for bit; the first output's hash is %016" PRIx64 "\n",
               v->hashed, v->hash);
    proof_release(&v->proof);
    return status;
}

static enum mt_status compile(struct verification *v) {
    char reason[160];
    for (int i = 0; i < v->workload.count; i++)
        for (int c = 0; c < v->configs.count; c++) {
            const struct problem *p = &v->workload.item[i].problem;
            const struct config *config = &v->configs.config[c];
            if (!config_allowed(config, p, &v->limits, reason))
                continue;
            int binary = binaries_add(&v->binaries, config, p);
            v->binaries.item[binary].wanted = true;
        }
    return binaries_compile(&v->binaries, &v->dev, v->options->common.quiet);
}

static enum mt_status conclude(const struct verification *v) {
    if (v->options->common.json)
        printf("{\"right\":%d,\"wrong\":%d,\"refused\":%d,\"failed\":%d}\n", v->right, v->wrong, v->refused, v->failed);
    else if (v->failed)
        printf("%d right, %d wrong, %d refused, %d failed\n", v->right, v->wrong, v->refused, v->failed);
    else
        printf("%d right, %d wrong, %d refused\n", v->right, v->wrong, v->refused);
    if (v->wrong)
        return fail(MT_WRONG, "%d results are wrong", v->wrong);
    if (v->failed)
        return fail(MT_FAILURE, "%d configurations did not compile or run", v->failed);
    if (v->refused == v->configs.count * v->workload.count)
        return fail(MT_USAGE, "no configuration can run here: %s", v->first_reason);
    return MT_OK;
}

static enum mt_status verify(struct verification *v) {
    struct progress progress;
    enum mt_status status;
    if ((status = workload_init(&v->workload, &v->options->work)) || (status = read_configs(v)) ||
        (status = device_open(&v->dev, v->options->common.device)))
        return status;
    device_limits_of(&v->dev, &v->limits);
    if ((status = compile(v)))
        return status;
    progress_init(&progress, "verify", (long)v->configs.count * v->workload.count,
                  v->options->common.quiet || v->configs.count == 1 ||
                      isatty(STDOUT_FILENO)); /* there the lines tell */
    for (int i = 0; i < v->workload.count && !status; i++)
        status = check_problem(v, &v->workload.item[i], &progress);
    progress_release(&progress);
    return status ? status : conclude(v);
}

int cmd_verify(int argc, char **argv) {
    struct verify_options o = {.family = "sm80", .seed = 1};
    struct verification v = {.options = &o};
    interrupt_catch();
    work_options_init(&o.work);
    enum mt_status status = options_parse(&argp, argc, argv, &o, &o.common);
    if (!status)
        status = verify(&v);
    binaries_release(&v.binaries, &v.dev);
    device_close(&v.dev);
    config_list_release(&v.configs);
    workload_release(&v.workload);
    work_options_release(&o.work);
    return status;
}
