#include "measure.h"
#include "cublaslt.h"
#include "runtime/base/array.h"
#include "runtime/base/log.h"
#include "runtime/base/str.h"
#include "whole.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Proofs of one layer's tile shapes are few; another layer brings others. */
enum { MAX_PROOFS = 32 };
/* How many of cuBLASLt's proposals are tried when time is short. */
enum { FEW_ALGORITHMS = 8 };

/* The verdict on a configuration, good for every problem that it is proved on in the same way. */
struct proved {
    struct config config;
    struct problem problem;
    struct check check;
};

/* The fastest of cuBLASLt's algorithms for a shape, as measured. */
struct lt_choice {
    int m, n, k;
    enum dtype dtype;
    struct lt_plan *plan;
    int algorithm;
};

struct measurer {
    struct device *dev;
    const struct timer_limits *limits;
    struct binaries binaries;
    struct cublas *cublas;
    struct cublaslt *lt;
    struct lt_choice *lt_choice; /* kept: finals ask again, and several schemes share a shape */
    int lt_choices;
    size_t lt_choice_capacity;
    struct gate *gate; /* NULL: none */
    struct missing missing;
    double bad_since; /* as timer_job has it */
    struct operands operands;
    struct proof proofs[MAX_PROOFS];
    int proof_count;
    struct proved *proved;
    int proved_count;
    size_t proved_capacity;
    uint16_t *whole; /* the output of the current operands, once a configuration has summed it in order */
    void (*on_step)(void *, const char *);
    void *on_step_context;
};

const char *part_name(enum part part) {
    static const char *const names[PARTS] = {"cublas", "cublaslt", "gate"};
    return names[part];
}

void missing_names(const struct missing *missing, struct str *out) {
    const char *separator = "";
    for (int i = 0; i < PARTS; i++)
        if (*missing->reason[i]) {
            str_printf(out, "%s%s", separator, part_name((enum part)i));
            separator = ",";
        }
}

void missing_warn(const struct missing *missing, const char *device) {
    static const char *const costs[PARTS] = {
        [PART_CUBLAS] = "cuBLAS is no baseline",
        [PART_CUBLASLT] = "cuBLASLt is no baseline",
        [PART_GATE] = "times can hold time in which the device waited for the host, and a low clock is not noticed",
    };
    for (int i = 0; i < PARTS; i++)
        if (*missing->reason[i])
            log_warn("%s: %s (%s)", device, costs[i], missing->reason[i]);
}

/* What is not there is missing. What is there and finds no memory, say, is a failure of the machine: a sweep without
 * its baseline is not what was asked for. */
static enum mt_status note_missing(struct measurer *m, enum part part, enum mt_status status) {
    if (status && (device_error() == CUDA_ERROR_OUT_OF_MEMORY || device_error_is_machine(device_error())))
        return status;
    if (status)
        text_fit(m->missing.reason[part], sizeof m->missing.reason[part], "%s", fail_message());
    return MT_OK;
}

enum mt_status measurer_open(struct device *dev, const struct timer_limits *limits, struct measurer **out) {
    struct measurer *m = *out = xcalloc(1, sizeof *m);
    enum mt_status status;
    m->dev = dev;
    m->limits = limits;
    device_note_error(CUDA_SUCCESS);
    if (dev->software || (!(status = note_missing(m, PART_CUBLAS, cublas_open(dev, &m->cublas))) &&
                          !(status = note_missing(m, PART_CUBLASLT, cublaslt_open(dev, &m->lt))) &&
                          !(status = note_missing(m, PART_GATE, gate_open(dev, &m->gate)))))
        return MT_OK;
    measurer_close(m);
    *out = NULL;
    return status;
}

void measurer_close(struct measurer *m) {
    if (!m)
        return;
    for (int i = 0; i < m->proof_count; i++)
        proof_release(&m->proofs[i]);
    operands_release(&m->operands);
    cublas_close(m->cublas);
    for (int i = 0; i < m->lt_choices; i++)
        lt_plan_close(m->lt_choice[i].plan);
    free(m->lt_choice);
    cublaslt_close(m->lt);
    gate_close(m->gate);
    binaries_release(&m->binaries, m->dev);
    free(m->whole);
    free(m->proved);
    free(m);
}

struct binaries *measurer_binaries(struct measurer *m) {
    return &m->binaries;
}

const struct cublas *measurer_cublas(const struct measurer *m) {
    return m->cublas;
}

bool measurer_has_cublaslt(const struct measurer *m) {
    return m->lt;
}

const struct missing *measurer_missing(const struct measurer *m) {
    return &m->missing;
}

void measurer_on_step(struct measurer *m, void (*on_step)(void *, const char *), void *context) {
    m->on_step = on_step;
    m->on_step_context = context;
}

static void step(const struct measurer *m, const char *what) {
    if (m->on_step)
        m->on_step(m->on_step_context, what);
}

/* ---- proving ---- */

static enum mt_status find_proof(struct measurer *m, const struct problem *p, bool quantised, struct proof **out) {
    for (int i = 0; i < m->proof_count; i++)
        if (m->proofs[i].quantised == quantised && problem_equal(&m->proofs[i].problem, p)) {
            *out = &m->proofs[i];
            return MT_OK;
        }
    if (m->proof_count == MAX_PROOFS)
        while (m->proof_count > 0)
            proof_release(&m->proofs[--m->proof_count]);
    *out = &m->proofs[m->proof_count];
    enum mt_status status = proof_init(*out, m->dev, p, quantised, (uint64_t)p->m + (uint64_t)p->n);
    if (status)
        proof_release(*out);
    else
        m->proof_count++;
    return status;
}

static enum mt_status run_proof(struct measurer *m, struct kernel *kernel, const struct problem *p, struct check *out) {
    struct proof *proof;
    enum mt_status status = find_proof(m, p, kernel->config.family->quantised, &proof);
    if (status)
        return status;
    verify_gemm(proof, kernel, out);
    return MT_OK;
}

/* Once for all problems that are proved in the same way. */
static enum mt_status prove(struct measurer *m, struct kernel *kernel, const struct problem *p, struct check *out) {
    struct problem small;
    proof_problem(&kernel->config, p, &small);
    for (int i = m->proved_count - 1; i >= 0; i--)
        if (config_equal(&m->proved[i].config, &kernel->config) && problem_equal(&m->proved[i].problem, &small)) {
            *out = m->proved[i].check;
            return MT_OK;
        }
    enum mt_status status = run_proof(m, kernel, &small, out);
    if (status)
        return status;
    array_grow(&m->proved, &m->proved_capacity, (size_t)m->proved_count, sizeof *m->proved);
    m->proved[m->proved_count++] = (struct proved){.config = kernel->config, .problem = small, .check = *out};
    return MT_OK;
}

/* ---- timing ---- */

struct timed {
    struct measurer *m;
    const struct operands *operands;
    const struct quantize_operands *quantize; /* of quantize_act.cu, if not NULL */
    const struct kernel *kernel;              /* NULL: a library kernel */
    const struct lt_plan *lt;                 /* of cuBLASLt, if not NULL */
    int algorithm;
    enum store_cache cache;
};

static enum mt_status launch_timed(void *context, int turn, CUstream stream) {
    const struct timed *t = context;
    const struct operands *o = t->operands;
    const int tokens = t->cache == CACHE_SERVING ? 0 : turn; /* a server has one set of activations, and many weights */
    if (t->quantize) {
        struct mt_quantize_args args;
        quantize_operands_args(t->quantize, turn, &args);
        return launch_quantize(t->m->dev, t->kernel, &args, stream);
    }
    if (o->quantised) {
        struct mt_gemm_args args;
        operands_gemm_args(o, turn, tokens, &args);
        return launch_gemm(o->dev, t->kernel, &o->problem, &args, stream);
    }
    struct mt_gemm_f16_args args;
    operands_f16_args(o, turn, tokens, &args);
    if (t->kernel)
        return launch_gemm_f16(o->dev, t->kernel, &o->problem, &args, stream);
    return t->lt ? lt_plan_gemm(t->lt, t->algorithm, &args, stream)
                 : cublas_gemm(t->m->cublas, &args, o->problem.dtype, stream);
}

/* The operands of a candidate's layer and m, made when they are not those of the candidate before. */
static enum mt_status prepare_operands(struct measurer *m, const struct problem *p, bool quantised) {
    struct operands *o = &m->operands;
    struct problem same_m = o->problem;
    same_m.m = p->m;
    bool same_layer = o->dev && o->quantised == quantised && problem_equal(&same_m, p);
    if (same_layer && o->problem.m == p->m)
        return MT_OK;
    free(m->whole);
    m->whole = NULL;
    enum mt_status status = MT_OK;
    if (!same_layer) {
        operands_release(o);
        status = operands_init(o, m->dev, p, quantised);
    }
    if (!status)
        status = operands_set_tokens(o, p->m);
    if (status)
        operands_release(o);
    return status;
}

/* On a real device the output of the timed operands is bit for bit that of every other configuration without split-K;
 * sums in another order may differ in the last bits. That of fp16/bf16 operands is compared with exact sums, too. */
static void compare_full_output(struct measurer *m, struct timed *timed, struct check *out) {
    const struct operands *o = timed->operands;
    const struct config *config = &timed->kernel->config;
    struct launch_shape shape;
    config->family->shape(config, &o->problem, m->dev->sm_count, &shape);
    uint16_t *y = whole_output(o, launch_timed, timed), **first = o == &m->operands ? &m->whole : NULL;
    if (!y)
        check_failure(m->dev, out);
    else if (!o->quantised)
        whole_product(o, y, out);
    const bool in_order = sum_tree_in_order(&shape.sums);
    if (out->outcome == OUTCOME_OK && first && *first && !in_order)
        whole_alike(o, y, *first, out);
    if (out->outcome == OUTCOME_OK && first && *first && in_order &&
        memcmp(y, *first, (size_t)o->problem.m * (size_t)o->problem.n * sizeof *y) != 0)
        check_wrong(out, "its full-size output differs in some bit from that of the first configuration");
    if (out->outcome == OUTCOME_OK && first && !*first && in_order) {
        *first = y;
        y = NULL;
    }
    free(y);
}

static void sign_of_life(void *context) {
    const struct timed *t = context;
    step(t->m, "while it was timed");
}

/* Launches until the same inputs come again. A quantisation has no weights: what a server's has to read is hot. */
static int rotation_of(const struct timed *timed) {
    if (timed->cache == CACHE_HOT)
        return 1;
    if (timed->quantize)
        return timed->cache == CACHE_SERVING ? 1 : timed->quantize->sets;
    return operands_rotation(timed->operands);
}

static struct timer_job job_for(struct timed *timed) {
    return (struct timer_job){.launch = launch_timed,
                              .context = timed,
                              .rotation = rotation_of(timed),
                              .gate = timed->m->gate,
                              .bad_since = &timed->m->bad_since,
                              .alive = sign_of_life,
                              .limits = timed->m->limits};
}

/* First in the state of the caches that decides; then in the other states of a real device. What is far from the best
 * is only probed, and not with hot caches: cold ones are what a time model is held against. */
static void time_candidate(struct measurer *m, struct timed *timed, double beat_ns, struct measured *out,
                           struct check *check) {
    const enum store_cache first = store_cache_of(m->dev->software);
    timed->cache = first;
    struct timer_job job = job_for(timed);
    job.beat_ns = beat_ns;
    enum mt_status status = timer_measure(m->dev, &job, &out->timing);
    for (int cache = 0; cache < CACHES && !m->dev->software && !status; cache++) {
        if (cache == (int)first || (cache == CACHE_HOT && out->timing.probed_only))
            continue;
        timed->cache = (enum store_cache)cache;
        job = job_for(timed);
        job.beat_ns = out->timing.probed_only ? beat_ns : 0;
        status = timer_measure(m->dev, &job, &out->beside[cache]);
    }
    if (status)
        check_failure(m->dev, check);
}

/* ---- a candidate ---- */

static void not_ok(struct measured *out, enum store_outcome outcome, const char *message) {
    out->outcome = outcome;
    text_fit(out->message, sizeof out->message, "%s", message);
}

void measured_release(struct measured *measured) {
    timing_release(&measured->timing);
    for (int cache = 0; cache < CACHES; cache++)
        timing_release(&measured->beside[cache]);
}

static void adopt_check(struct measured *out, const struct check *check) {
    if (check->outcome == OUTCOME_OK)
        return;
    measured_release(out);
    not_ok(out, check->outcome, check->message);
    out->context_lost = check->context_lost;
    out->machine = check->machine;
}

/* A software device keeps every estimated launch until nobody can see what it would have written. */
static void forget_timed(struct measurer *m) {
    if (m->dev->software)
        operands_release(&m->operands);
}

/* ---- taking turns ---- */

/* What several launches read, and whose turn it is: each input comes again after all others, whoever reads it. */
struct inputs {
    const struct operands *operands;
    int turn;
};

struct turn {
    struct kernel kernel; /* a copy: finalists may differ in launch knobs alone and share a loaded one */
    struct timed timed;
    struct timer_job job;
    struct timer *timer;
};

static enum mt_status turn_open(struct turn *turn, struct inputs *inputs) {
    turn->timed.cache = store_cache_of(turn->timed.m->dev->software);
    turn->job = job_for(&turn->timed);
    turn->job.turn = &inputs->turn;
    return timer_open(turn->timed.m->dev, &turn->job, &turn->timer);
}

/* Those without a timer do not take part. */
static bool some_are_short(const struct turn *turns, int count) {
    for (int i = 0; i < count; i++)
        if (turns[i].timer && timer_is_short(turns[i].timer))
            return true;
    return false;
}

static void turns_close(struct turn *turns, int count) {
    for (int i = 0; i < count; i++)
        timer_close(turns[i].timer);
    free(turns);
}

/* ---- library kernels ---- */

/* Median of a few samples, as the funnel takes them. */
static enum mt_status probe_algorithm(struct timer *timer, bool graph, double *out) {
    enum { PROBES = 5 };
    double ns[PROBES];
    enum mt_status status = graph ? timer_capture(timer) : MT_OK;
    for (int i = 0; i < PROBES && !status; i++)
        status = timer_sample(timer, &ns[i]);
    *out = status ? HUGE_VAL : stats_median(ns, PROBES);
    return status;
}

/* What a library computes is proved where it is timed: it has other kernels for other shapes. MT_WRONG says how it is
 * wrong. */
static enum mt_status prove_library(struct measurer *m, struct timed *timed) {
    struct check check = {.outcome = OUTCOME_OK};
    step(m, "while it was proved");
    uint16_t *y = whole_output(timed->operands, launch_timed, timed);
    if (!y)
        return MT_FAILURE;
    whole_product(timed->operands, y, &check);
    free(y);
    if (check.outcome == OUTCOME_WRONG)
        return fail(MT_WRONG, "%s", check.message);
    return check.outcome == OUTCOME_OK ? MT_OK : MT_FAILURE;
}

/* An algorithm that the library cannot run after all, or that computes wrong numbers, is out of the race; when none is
 * left, the last failure is told. */
static enum mt_status fastest_algorithm(struct measurer *m, struct inputs *inputs, struct lt_choice *choice) {
    const int count = lt_plan_count(choice->plan);
    struct turn *turns = xcalloc((size_t)count, sizeof *turns);
    double best = HUGE_VAL, ns;
    enum mt_status status = MT_OK;
    for (int i = 0; i < count; i++) {
        turns[i].timed = (struct timed){.m = m, .operands = inputs->operands, .lt = choice->plan, .algorithm = i};
        enum mt_status failed = turn_open(&turns[i], inputs);
        status = failed ? failed : status;
    }
    const bool graph = some_are_short(turns, count);
    for (int i = 0; i < count; i++) {
        enum mt_status failed = turns[i].timer ? probe_algorithm(turns[i].timer, graph, &ns) : MT_OK;
        if (turns[i].timer && !failed && ns < best && !(failed = prove_library(m, &turns[i].timed)))
            best = ns, choice->algorithm = i;
        status = failed ? failed : status;
    }
    turns_close(turns, count);
    return best < HUGE_VAL ? MT_OK : status;
}

/* NULL, with the status, where the library has no algorithm that runs. It stays where it is until another is chosen. */
static const struct lt_choice *choose_algorithm(struct measurer *m, const struct operands *o, enum mt_status *status) {
    const struct problem *p = &o->problem;
    const bool few = m->limits->max_seconds <= timer_limits_quick.max_seconds;
    struct lt_choice choice = {.m = p->m, .n = p->n, .k = p->k, .dtype = p->dtype};
    struct inputs inputs = {.operands = o};
    struct mt_gemm_f16_args args;
    *status = MT_OK;
    for (int i = 0; i < m->lt_choices; i++) {
        const struct lt_choice *c = &m->lt_choice[i];
        if (c->m == p->m && c->n == p->n && c->k == p->k && c->dtype == p->dtype)
            return c;
    }
    operands_f16_args(o, 0, 0, &args);
    *status = lt_plan_open(m->lt, &args, p->dtype, few ? FEW_ALGORITHMS : LT_MAX_ALGORITHMS, &choice.plan);
    if (!*status)
        *status = fastest_algorithm(m, &inputs, &choice);
    if (*status) {
        lt_plan_close(choice.plan);
        return NULL;
    }
    array_grow(&m->lt_choice, &m->lt_choice_capacity, (size_t)m->lt_choices, sizeof *m->lt_choice);
    m->lt_choice[m->lt_choices] = choice;
    return &m->lt_choice[m->lt_choices++];
}

/* Fails when there is no such kernel for the problem; MT_WRONG when there is none that computes it. */
static enum mt_status library_timed(struct measurer *m, const struct candidate *candidate, const struct operands *o,
                                    struct timed *out) {
    const enum part part = candidate->library == LIBRARY_CUBLASLT ? PART_CUBLASLT : PART_CUBLAS;
    enum mt_status status;
    *out = (struct timed){.m = m, .operands = o};
    if (part == PART_CUBLAS ? !m->cublas : !m->lt) /* an earlier process had it */
        return fail(MT_FAILURE, "%s", m->missing.reason[part]);
    if (part == PART_CUBLAS)
        return prove_library(m, out);
    const struct lt_choice *choice = choose_algorithm(m, o, &status);
    if (choice) {
        out->lt = choice->plan;
        out->algorithm = choice->algorithm;
    }
    return status;
}

/* A library that is wrong is no baseline; any other failure is one of the launch. */
static void library_failure(struct measurer *m, enum mt_status status, struct check *out) {
    if (status == MT_WRONG)
        check_wrong(out, "%s", fail_message());
    else if (status)
        check_failure(m->dev, out);
}

static enum mt_status measure_library(struct measurer *m, const struct candidate *candidate, struct measured *out) {
    struct check check = {.outcome = OUTCOME_OK};
    struct timed timed;
    step(m, "while its operands were made");
    enum mt_status status = prepare_operands(m, &candidate->item->problem, false);
    if (status)
        return status;
    library_failure(m, library_timed(m, candidate, &m->operands, &timed), &check);
    if (check.outcome == OUTCOME_OK)
        time_candidate(m, &timed, 0, out, &check);
    if (check.outcome == OUTCOME_OK)
        library_failure(m, prove_library(m, &timed), &check);
    adopt_check(out, &check);
    return MT_OK;
}

/* What a quantisation is proved on: all the tokens with few features, the last group ragged; and all the features, of
 * all tokens or of as many as take milliseconds. */
enum { QUANTIZE_PROOFS = 2, QUANTIZE_ELEMENTS = 1 << 20, QUANTIZE_TOKENS = 17 };
static void quantize_proof_problems(const struct problem *p, struct problem out[QUANTIZE_PROOFS]) {
    const int cheap = QUANTIZE_ELEMENTS / p->k, tokens = cheap > QUANTIZE_TOKENS ? cheap : QUANTIZE_TOKENS;
    out[0] = out[1] = *p;
    out[0].k = p->group + 44;
    out[1].m = p->m < tokens ? p->m : tokens;
}

/* With operands of its own, for they are spoilt when it is wrong. */
static enum mt_status prove_quantize(struct measurer *m, const struct kernel *kernel, const struct problem *p,
                                     struct check *out) {
    struct problem problems[QUANTIZE_PROOFS];
    enum mt_status status = MT_OK;
    *out = (struct check){.outcome = OUTCOME_OK};
    quantize_proof_problems(p, problems);
    for (int i = 0; i < QUANTIZE_PROOFS && !status && out->outcome == OUTCOME_OK; i++) {
        struct proof proof;
        step(m, "while it was proved");
        if (!(status = proof_init_acts(&proof, m->dev, &problems[i], (uint64_t)p->m + (uint64_t)p->k)))
            verify_quantize(&proof, kernel, out);
        proof_release(&proof);
    }
    return status;
}

static enum mt_status measure_quantize(struct measurer *m, struct binary *binary, const struct problem *p,
                                       struct measured *out) {
    struct check check = {.outcome = OUTCOME_OK};
    struct quantize_operands operands;
    struct kernel *kernel = NULL;
    step(m, "while its operands were made");
    enum mt_status status = quantize_operands_init(&operands, m->dev, p);
    if (!status && binary_kernel(binary, m->dev, &(struct config){0}, &kernel)) {
        check_failure(m->dev, &check);
    } else if (!status) {
        struct timed timed = {.m = m, .quantize = &operands, .kernel = kernel};
        status = prove_quantize(m, kernel, p, &check);
        if (!status && check.outcome == OUTCOME_OK)
            time_candidate(m, &timed, 0, out, &check);
        if (!status && check.outcome == OUTCOME_OK && !m->dev->software)
            status = prove_quantize(m, kernel, p, &check);
    }
    adopt_check(out, &check);
    quantize_operands_release(&operands);
    return status;
}

/* After timing: it still computes the right numbers. */
static enum mt_status prove_again(struct measurer *m, struct timed *timed, struct kernel *kernel,
                                  const struct problem *p, struct check *check) {
    struct problem small;
    step(m, "while it was proved again");
    compare_full_output(m, timed, check);
    if (check->outcome != OUTCOME_OK)
        return MT_OK;
    proof_problem(&kernel->config, p, &small);
    return run_proof(m, kernel, &small, check);
}

static enum mt_status measure_kernel(struct measurer *m, struct binary *binary, const struct candidate *candidate,
                                     struct measured *out) {
    const struct problem *p = &candidate->item->problem;
    const struct family *family = candidate->config.family;
    struct kernel *kernel;
    struct check check = {.outcome = OUTCOME_OK};
    struct launch_shape shape;
    step(m, "while it was loaded");
    if (binary_kernel(binary, m->dev, &candidate->config, &kernel)) {
        check_failure(m->dev, &check);
        adopt_check(out, &check);
        return MT_OK;
    }
    step(m, "while it was proved");
    enum mt_status status = prove(m, kernel, p, &check);
    if (status)
        return status;
    adopt_check(out, &check);
    if (check.outcome != OUTCOME_OK)
        return MT_OK;
    family->shape(&candidate->config, p, m->dev->sm_count, &shape);
    out->smem_bytes += (int)shape.smem_bytes;
    step(m, "while its operands were made");
    if ((status = prepare_operands(m, p, family->quantised)) || (status = operands_reserve(&m->operands, &shape)))
        return status;
    struct timed timed = {.m = m, .operands = &m->operands, .kernel = kernel};
    time_candidate(m, &timed, candidate->beat_ns, out, &check);
    /* Timed launches on a software device are estimates that write nothing: there is nothing to check again. */
    if (check.outcome == OUTCOME_OK && !m->dev->software)
        status = prove_again(m, &timed, kernel, p, &check);
    adopt_check(out, &check);
    return status;
}

/* ---- finals ---- */

/* The workspace that the neediest of the baselines, or of the others, asks for: all of them run on it. */
static enum mt_status reserve_for_all(struct operands *o, const struct candidate *candidates, int count,
                                      bool baselines) {
    struct launch_shape most = {0};
    for (int i = 0; i < count; i++) {
        struct launch_shape shape;
        if (candidates[i].baseline != baselines || !candidates[i].config.family)
            continue;
        candidates[i].config.family->shape(&candidates[i].config, &candidates[i].item->problem, o->dev->sm_count,
                                           &shape);
        if (shape.partials_bytes > most.partials_bytes)
            most.partials_bytes = shape.partials_bytes;
        if (shape.counters_bytes > most.counters_bytes)
            most.counters_bytes = shape.counters_bytes;
    }
    return operands_reserve(o, &most);
}

static enum mt_status make_plain_operands(struct measurer *m, const struct problem *p, struct operands *plain) {
    enum mt_status status = operands_init(plain, m->dev, p, false);
    return status ? status : operands_set_tokens(plain, p->m);
}

/* A finalist was proved when it was measured, perhaps long ago and under another driver. */
static enum mt_status prove_finalist(struct measurer *m, struct turn *turn, const struct problem *p) {
    struct check check = {.outcome = OUTCOME_OK};
    step(m, "while it was proved");
    enum mt_status status = prove(m, &turn->kernel, p, &check);
    if (!status && check.outcome == OUTCOME_OK && !m->dev->software)
        compare_full_output(m, &turn->timed, &check);
    return status || check.outcome == OUTCOME_OK ? status : fail(MT_WRONG, "%s", check.message);
}

static enum mt_status finalist_open(struct measurer *m, const struct candidate *candidate, struct inputs *inputs,
                                    struct turn *turn) {
    struct kernel *kernel = NULL;
    struct str name = {0};
    enum mt_status status;
    if (!candidate->config.family) {
        status = library_timed(m, candidate, inputs->operands, &turn->timed);
    } else if (!(status = binary_kernel(&m->binaries.item[candidate->binary], m->dev, &candidate->config, &kernel))) {
        turn->kernel = *kernel;
        turn->timed = (struct timed){.m = m, .operands = inputs->operands, .kernel = &turn->kernel};
        status = prove_finalist(m, turn, &candidate->item->problem);
    }
    if (status == MT_WRONG) {
        str_printf(&name, "%s ", candidate_family(candidate));
        if (candidate->config.family)
            config_format(&candidate->config, &name);
        status = fail_context(MT_FAILURE, "%sis wrong now, and was right when it was measured", name.data);
    }
    str_release(&name);
    return status ? status : turn_open(turn, inputs);
}

static enum mt_status play(struct turn *turns, int count, int rounds, double *ns) {
    const bool graph = some_are_short(turns, count);
    enum mt_status status = MT_OK;
    for (int i = 0; i < count && graph && !status; i++)
        status = timer_capture(turns[i].timer);
    for (int r = 0; r < rounds && !status; r++)
        for (int i = 0; i < count && !status; i++) {
            int at = (i + r) % count;
            status = timer_sample(turns[at].timer, &ns[r * count + at]);
        }
    return status;
}

enum mt_status measure_rounds(struct measurer *m, const struct candidate *candidates, int count, int rounds, double *ns,
                              struct rejected *rejected) {
    const struct problem *p = &candidates[0].item->problem;
    struct operands plain = {0};
    struct inputs inputs[2] = {{.operands = &m->operands}, {.operands = &plain}};
    struct turn *turns = xcalloc((size_t)count, sizeof *turns);
    enum mt_status status;
    step(m, "while its operands were made");
    if ((status = prepare_operands(m, p, true)) || (status = reserve_for_all(&m->operands, candidates, count, false)) ||
        (status = make_plain_operands(m, p, &plain)) || (status = reserve_for_all(&plain, candidates, count, true)))
        goto out;
    for (int i = 0; i < count && !status; i++)
        status = finalist_open(m, &candidates[i], &inputs[candidates[i].baseline], &turns[i]);
    if (!status)
        status = play(turns, count, rounds, ns);
    for (int i = 0; i < count && !status; i++)
        rejected[i] = *timer_rejected(turns[i].timer);
out:
    turns_close(turns, count);
    operands_release(&plain);
    forget_timed(m);
    return status;
}

bool measured_binary(struct measured *measured, const struct binary *binary) {
    if (binary->status) {
        not_ok(measured, OUTCOME_COMPILE_FAILED, binary->message);
        measured->tries = binary->tries;
        return false;
    }
    measured->registers = binary->image.registers;
    measured->spill_bytes = binary->image.spill_bytes;
    measured->smem_bytes = binary->image.smem_static;
    snprintf(measured->binary, sizeof measured->binary, "%s", binary->image.hash);
    return true;
}

/* A software device that traces its estimates writes beside each what it was for. */
static void label_trace(const struct measurer *m, const struct candidate *candidate) {
    struct str label = {0};
    if (!m->dev->software || !getenv("SOFTGPU_TRACE"))
        return;
    candidate_label(candidate, true, &label);
    setenv("SOFTGPU_TRACE_LABEL", label.data, 1);
    str_release(&label);
}

static enum mt_status measure_any(struct measurer *m, const struct candidate *candidate, struct measured *out) {
    struct binary *binary = candidate->binary >= 0 ? &m->binaries.item[candidate->binary] : NULL;
    if (binary && !measured_binary(out, binary))
        return MT_OK;
    if (candidate->config.family)
        return measure_kernel(m, binary, candidate, out);
    return candidate->library == LIBRARY_QUANTIZE ? measure_quantize(m, binary, &candidate->item->problem, out)
                                                  : measure_library(m, candidate, out);
}

enum mt_status measure(struct measurer *m, const struct candidate *candidate, struct measured *out) {
    *out = (struct measured){.outcome = OUTCOME_OK};
    label_trace(m, candidate);
    enum mt_status status = measure_any(m, candidate, out);
    if (candidate->config.family)
        forget_timed(m);
    if (status == MT_FAILURE && device_error() == CUDA_ERROR_OUT_OF_MEMORY) {
        adopt_check(out, &(struct check){.outcome = OUTCOME_OUT_OF_MEMORY});
        text_fit(out->message, sizeof out->message, "%s", fail_message());
        return MT_OK;
    }
    if (status)
        measured_release(out);
    return status;
}

static void pack_timing(const struct timing *timing, struct str *bytes) {
    if (timing->count)
        str_append_bytes(bytes, timing->samples_ns, (size_t)timing->count * sizeof(double));
}

void measured_pack(const struct measured *measured, struct str *bytes) {
    pack_timing(&measured->timing, bytes);
    for (int cache = 0; cache < CACHES; cache++)
        pack_timing(&measured->beside[cache], bytes);
}

/* Where the next one begins. */
static const char *unpack_timing(struct timing *timing, const char *bytes) {
    size_t size = (size_t)timing->count * sizeof(double);
    timing->samples_ns = size ? xmalloc(size) : NULL;
    if (size)
        memcpy(timing->samples_ns, bytes, size);
    return bytes + size;
}

void measured_unpack(struct measured *measured, const char *bytes) {
    bytes = unpack_timing(&measured->timing, bytes);
    for (int cache = 0; cache < CACHES; cache++)
        bytes = unpack_timing(&measured->beside[cache], bytes);
}

static void row_times(struct store_measurement *row, const struct timing *timing) {
    row->samples_ns = timing->samples_ns;
    row->sample_count = timing->count;
    row->median_ns = timing->estimate.median;
    row->low_ns = timing->estimate.low;
    row->high_ns = timing->estimate.high;
    row->rejected = timing->rejected.samples;
    row->low_clock = timing->rejected.clock;
}

void measured_row(const struct candidate *candidate, const struct measured *measured, bool software,
                  struct str *config_text, struct store_measurement *out) {
    candidate_row(candidate, software, config_text, out);
    out->binary = measured->binary;
    out->outcome = measured->outcome;
    out->message = measured->message;
    out->tries = measured->tries;
    row_times(out, &measured->timing);
    out->registers = measured->registers;
    out->smem_bytes = measured->smem_bytes;
    out->spill_bytes = measured->spill_bytes;
}

bool measured_row_beside(const struct measured *measured, enum store_cache cache, const struct store_measurement *first,
                         struct store_measurement *out) {
    if (measured->beside[cache].count == 0)
        return false;
    *out = *first;
    out->cache_state = store_cache_name(cache);
    row_times(out, &measured->beside[cache]);
    return true;
}

struct rejected measured_rejected(const struct measured *measured) {
    struct rejected sum = measured->timing.rejected;
    for (int cache = 0; cache < CACHES; cache++)
        rejected_add(&sum, &measured->beside[cache].rejected);
    return sum;
}
