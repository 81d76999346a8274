/* A sweep is one sentence: read the space, compile, verify, time, record, promote. Verifying and timing one candidate
 * is worker_measure(), for it needs nothing but the candidate and the device, and may end its process. */
#include "sweep.h"
#include "crosses.h"
#include "lock.h"
#include "quarantine.h"
#include "rounds.h"
#include "run.h"
#include "runtime/base/log.h"
#include "runtime/gpu/nvml.h"
#include "tuner/plan/fit.h"
#include "tuner/plan/plan.h"
#include "tuner/progress.h"
#include "tuner/report/rows.h"
#include "tuner/search/order.h"
#include "tuner/search/trees.h"
#include "winners.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sweep {
    const struct sweep_options *options;
    double deadline; /* of seconds_now(); 0: none */
    struct workload workload;
    struct config_list configs;
    struct worker *worker;
    const struct device *dev; /* the worker's */
    struct binaries binaries;
    struct store *store;
    struct lock *lock;
    struct quarantine quarantine;
    struct plan plan;
    struct order *order;
    int skipped;        /* candidates that the options leave out */
    int without_image;  /* candidates that were left out, as their kernel cannot be had here */
    struct tally tally; /* samples that were not good */
    double best_ns;     /* of the problem in hand: what progress shows */
    const struct work_item *best_item;
};

/* A space that was named is read before anything is opened: most mistakes are in it. */
static enum mt_status read_space(struct sweep *s) {
    return s->options->space ? config_list_read(s->options->space, &s->configs) : MT_OK;
}

/* Without a named space, the one that belongs to the device; and of either, what the device can run. */
static enum mt_status fit_space(struct sweep *s) {
    struct device_limits limits;
    struct str names = {0};
    enum mt_status status = MT_OK;
    if (!s->options->space) {
        plan_default_spaces(s->dev, s->options->quick, &names);
        status = names.length ? config_list_read(names.data, &s->configs)
                              : fail(MT_NO_DEVICE, "%s has compute capability %d.%d; the kernels need 8.0 or later",
                                     s->dev->name, s->dev->cc / 10, s->dev->cc % 10);
    }
    str_release(&names);
    if (status)
        return status;
    if ((status = fit_memory(&s->workload, s->dev, false)) || (status = fit_check(&s->configs, &s->workload, s->dev)))
        return status;
    device_limits_of(s->dev, &limits);
    /* A search takes its pick itself. */
    bool all = s->options->search.strategy == SEARCH_EXHAUSTIVE;
    plan_thin(&s->configs, &s->workload, &limits, all ? s->options->search.max_configs : 0);
    return MT_OK;
}

/* What is recorded from here on belongs to a new run, with the state that the device is in now. */
static enum mt_status begin_run(struct sweep *s, const char *prefix) {
    struct str command = {0};
    str_printf(&command, "%s%s", prefix, s->options->command);
    enum mt_status status = run_begin(s->store, s->worker, command.data);
    str_release(&command);
    return status;
}

static void say_what_was_rejected(const struct sweep *s) {
    const struct rejected *r = &s->tally.rejected;
    char why[80] = "the host was late";
    if (r->clock > 0)
        snprintf(why, sizeof why, "the SM clock was down to %.0f %% of the highest", 100 * r->clock);
    if (s->tally.candidates)
        log_warn("%d candidates could not be timed at once as they should be: %s; %d samples were thrown away",
                 s->tally.candidates, why, r->samples);
}

/* Others that compute on the device spoil every time. */
static void look_for_others(const struct sweep *s) {
    int processes = s->dev->software ? 1 : nvml_compute_processes(s->dev->uuid);
    if (processes > 1)
        log_warn("%d other processes compute on %s: expect noise in every time", processes - 1, s->dev->name);
}

/* Before anything is planned: what the other sweep records need not be measured again. The run begins behind it, for
 * the toolchain of a device is that of its newest one. */
static enum mt_status lock_device(struct sweep *s) {
    enum mt_status status = MT_OK;
    if (!s->options->no_lock)
        status = lock_take(s->dev, s->options->db, !s->options->no_wait, s->deadline, &s->lock);
    if (!status)
        status = begin_run(s, "");
    if (!status && s->options->retry)
        store_retry_failed(s->store);
    else if (!status)
        status = quarantine_init(&s->quarantine, s->store, s->dev);
    if (!status)
        look_for_others(s);
    return status;
}

static enum mt_status make_plan(struct sweep *s) {
    const struct plan_target target = worker_target(s->worker, s->options->quick);
    enum mt_status status = plan_make(&s->plan, &s->workload, &s->configs, &target, &s->binaries, s->store);
    if (!status)
        status =
            order_open(&s->options->search, &s->plan, s->workload.count, &s->binaries, s->dev, s->store, &s->order);
    if (!status)
        log_info("%d problems on %s: %d candidates to measure, %d measured before", s->workload.count, s->dev->name,
                 order_total(s->order), s->plan.current);
    return status;
}

static enum mt_status compile(struct sweep *s) {
    s->binaries.deadline = s->deadline;
    return binaries_compile(&s->binaries, s->dev, s->options->common.quiet);
}

/* The next candidate, -1 at the end. A search decides late which binaries it wants: those that are new to it. */
static enum mt_status choose(struct sweep *s, int *index) {
    enum mt_status status = order_next(s->order, index);
    if (!status && *index >= 0 && s->options->search.strategy != SEARCH_EXHAUSTIVE)
        status = binaries_compile(&s->binaries, s->dev, true);
    return status;
}

static enum mt_status record(struct sweep *s, const struct candidate *candidate, const struct measured *measured) {
    struct str config_text = {0};
    struct store_measurement row, beside;
    enum mt_status status = MT_OK;
    measured_row(candidate, measured, s->dev->software, &config_text, &row);
    const struct rejected rejected = measured_rejected(measured);
    tally_add(&s->tally, &rejected);
    /* The row of the state that decides comes last: it says that the candidate has been measured. */
    for (int cache = 0; cache < CACHES && !status; cache++)
        if (measured_row_beside(measured, (enum store_cache)cache, &row, &beside))
            status = store_record(s->store, &beside);
    if (!status)
        status = store_record(s->store, &row);
    if (measured->outcome != OUTCOME_OK)
        log_debug("%s m=%d %s %s: %s: %s", row.layer.layer, row.m, row.family, row.config,
                  store_outcome_name(row.outcome), row.message);
    str_release(&config_text);
    return status;
}

static void show_progress(struct sweep *s, struct progress *progress, const struct candidate *candidate,
                          const struct measured *measured) {
    char note[128];
    bool good = measured->outcome == OUTCOME_OK;
    if (candidate->item != s->best_item)
        s->best_ns = 0;
    s->best_item = candidate->item;
    if (good && !candidate->baseline && (s->best_ns == 0 || measured->timing.estimate.median < s->best_ns))
        s->best_ns = measured->timing.estimate.median;
    snprintf(note, sizeof note, "%s m=%d, best %.2f us", candidate->item->layer, candidate->item->problem.m,
             s->best_ns / 1e3);
    progress_step(progress, good, s->best_ns > 0 ? note : NULL);
}

static enum mt_status must_stop(const struct sweep *s, int done) {
    bool late = s->deadline > 0 && seconds_now() > s->deadline;
    const char *why = interrupted() ? "interrupted" : late ? "stopped at the time limit" : NULL;
    if (!why)
        return MT_OK;
    return fail(MT_INTERRUPTED, "%s after %d of %d candidates; the same command goes on from there", why, done,
                order_total(s->order));
}

/* The sweep goes no further: the machine failed at this candidate. */
static enum mt_status stop_at(const struct sweep *s, const struct candidate *candidate, enum mt_status status) {
    struct str label = {0};
    if (status != MT_FAILURE)
        return status;
    candidate_label(candidate, s->dev->software, &label);
    status = fail(MT_FAILURE, "%s; the same command goes on from there, and --skip '%s' leaves this candidate out",
                  fail_message(), label.data);
    str_release(&label);
    return status;
}

/* The funnel is for devices whose times cost something: a modelled one is exact after its first sample. */
static enum mt_status run(struct sweep *s, const struct candidate *candidate, struct measured *out) {
    const struct binary *binary = candidate->binary >= 0 ? &s->binaries.item[candidate->binary] : NULL;
    struct candidate timed = *candidate;
    if (quarantine_refuses(&s->quarantine, binary, out))
        return MT_OK;
    if (!s->dev->software && !candidate->baseline && candidate->item == s->best_item)
        timed.beat_ns = s->best_ns;
    enum mt_status status = worker_measure(s->worker, &timed, &s->binaries, out);
    if (!status)
        quarantine_note(&s->quarantine, out);
    return stop_at(s, candidate, status);
}

/* The candidates of one problem are a batch: clocks, temperature and power are recorded with each. */
static enum mt_status begin_batch(struct sweep *s, const struct candidate *candidate) {
    return s->dev->software || candidate->item == s->best_item ? MT_OK : begin_run(s, "");
}

/* A kernel that cannot be had on this machine (runtime/jit/images.h) says nothing of the candidate: no row. */
static bool lacks_image(struct sweep *s, const struct candidate *candidate) {
    const int binary = candidate->binary;
    if (binary < 0 || s->binaries.item[binary].status != MT_NO_DEVICE)
        return false;
    if (s->without_image++ == 0)
        log_warn("some candidates are left out: %s", s->binaries.item[binary].message);
    return true;
}

static bool is_skipped(struct sweep *s, const struct candidate *candidate) {
    struct str label = {0};
    bool skipped = false;
    if (s->options->skip_count == 0)
        return false;
    candidate_label(candidate, s->dev->software, &label);
    for (int i = 0; i < s->options->skip_count && !skipped; i++)
        skipped = !strcmp(label.data, s->options->skip[i]);
    if (skipped)
        log_info("left out, as --skip says: %s", label.data);
    s->skipped += skipped;
    str_release(&label);
    return skipped;
}

static enum mt_status verify_time_record(struct sweep *s) {
    struct progress progress;
    enum mt_status status = MT_OK;
    progress_init(&progress, "sweep", order_total(s->order), s->options->common.quiet);
    for (int done = 0, at; !status && !(status = must_stop(s, done)) && !(status = choose(s, &at)) && at >= 0; done++) {
        const struct candidate *candidate = &s->plan.item[at];
        struct measured measured;
        if (lacks_image(s, candidate) || is_skipped(s, candidate)) {
            order_tell(s->order, at, 0);
            continue;
        }
        if ((status = begin_batch(s, candidate)))
            break;
        if ((status = run(s, candidate, &measured))) {
            status = status == MT_INTERRUPTED ? must_stop(s, done) : status;
            break;
        }
        order_tell(s->order, at, measured.outcome == OUTCOME_OK ? measured.timing.estimate.median : 0);
        progress.total = order_total(s->order);
        status = record(s, candidate, &measured);
        show_progress(s, &progress, candidate, &measured);
        measured_release(&measured);
    }
    progress_release(&progress);
    if (s->without_image)
        log_warn("%d candidates were left out, as their kernels are not among the images", s->without_image);
    if (!status && s->skipped < s->options->skip_count)
        log_warn("--skip names %d candidates that this sweep does not measure", s->options->skip_count - s->skipped);
    return status;
}

/* From here on the views are asked: they have to see what was measured with this toolchain, even where nothing was left
 * to measure, or another sweep that was not kept off has measured with a later one. */
static enum mt_status confirm(struct sweep *s) {
    return s->plan.current || s->best_item ? store_confirm(s->store) : MT_OK;
}

/* The first problem of the workload whose activations are quantised as in a row; NULL: none. */
static const struct work_item *item_of(const struct sweep *s, const struct rows *rows, int row) {
    for (int i = 0; i < s->workload.count; i++) {
        const struct problem *p = &s->workload.item[i].problem;
        if (p->m == atoi(rows_cell(rows, row, "m")) && p->k == atoi(rows_cell(rows, row, "k")) &&
            p->group == atoi(rows_cell(rows, row, "group_size")) && rows_is(rows, row, "dtype", dtype_name(p->dtype)))
            return &s->workload.item[i];
    }
    return NULL;
}

/* The quantisation does not play in finals. Where the device had another state at its time than at theirs, it is
 * measured again, in their run. */
static enum mt_status quantise_again(struct sweep *s) {
    static const char sql[] =
        "SELECT DISTINCT k, m, group_size, dtype FROM headline WHERE uuid = :uuid AND is_headline "
        "AND states_differ AND quantize_ns > 0";
    const char *const values[] = {":uuid", s->dev->uuid, NULL};
    struct rows rows;
    enum mt_status status = rows_read(store_handle(s->store), sql, values, &rows);
    for (int r = 0; r < rows.count && !status && !(status = must_stop(s, order_total(s->order))); r++) {
        struct candidate again = {.item = item_of(s, &rows, r), .baseline = true, .library = LIBRARY_QUANTIZE};
        struct measured measured;
        if (!again.item)
            continue;
        again.binary = binaries_add(&s->binaries, &again.config, &again.item->problem);
        s->binaries.item[again.binary].wanted = true;
        if (!(status = binaries_compile(&s->binaries, s->dev, true)) &&
            !(status = worker_measure(s->worker, &again, &s->binaries, &measured))) {
            status = record(s, &again, &measured);
            measured_release(&measured);
        }
    }
    rows_release(&rows);
    return status;
}

static enum mt_status finals(struct sweep *s) {
    struct rounds rounds = {s->worker, &s->binaries, s->store, s->options->finals, &s->tally};
    if (rounds.count < 0)
        rounds.count = s->dev->software ? 0 : ROUNDS_DEFAULT;
    enum mt_status status = rounds.count > 0 ? begin_run(s, ROUNDS_COMMAND) : MT_OK;
    for (int i = 0; i < s->workload.count && rounds.count > 0 && !status; i++)
        if (!(status = must_stop(s, order_total(s->order))))
            status = rounds_run(&rounds, &s->workload.item[i]);
    if (!status && rounds.count > 0 && !s->dev->software)
        status = quantise_again(s);
    return status;
}

static enum mt_status time_crosses(struct sweep *s, const struct plan *crosses, int *good) {
    enum mt_status status = binaries_compile(&s->binaries, s->dev, true);
    for (int i = 0; i < crosses->count && !status && !(status = must_stop(s, order_total(s->order))); i++) {
        const struct candidate *candidate = &crosses->item[i];
        struct measured measured;
        if (lacks_image(s, candidate) || is_skipped(s, candidate))
            continue;
        if ((status = begin_batch(s, candidate)))
            break;
        s->best_item = candidate->item;
        s->best_ns = 0;
        if (!(status = run(s, candidate, &measured))) {
            *good += measured.outcome == OUTCOME_OK;
            status = record(s, candidate, &measured);
            measured_release(&measured);
        }
    }
    return status;
}

/* A search chooses other candidates at every problem. The winners of the problems beside each are added, so that what
 * lies between can be compared. One that is better there wins there too, and goes on to the next. */
static enum mt_status cross_times(struct sweep *s) {
    enum mt_status status = MT_OK;
    for (int good = 1, all = 0; good && !status; all += good) {
        struct plan crosses;
        good = 0;
        if (!(status = crosses_plan(&crosses, &s->workload, s->dev, &s->binaries, s->store)))
            status = time_crosses(s, &crosses, &good);
        plan_release(&crosses);
        if (!good && all)
            log_info("%d winners were measured at the M and splits beside them too", all);
    }
    return status;
}

enum { TREE_ROUNDS = 3 };

/* What `export` chooses batch-invariant kernels from. What was measured by then decides which, so a sweep that was
 * stopped here may measure a few more. */
static enum mt_status tree_times(struct sweep *s) {
    enum mt_status status = MT_OK;
    int all = 0;
    for (int good = 1, round = 0; s->options->batch_invariant && good && round < TREE_ROUNDS && !status; round++) {
        struct plan trees;
        good = 0;
        if (!(status = trees_plan(&trees, &s->workload, s->dev, &s->binaries, s->store)))
            status = time_crosses(s, &trees, &good);
        plan_release(&trees);
        all += good;
    }
    if (all)
        log_info("%d kernels were measured that add up as others do at other M", all);
    return status;
}

/* Winners are never stored: the store derives them from what was recorded. */
static enum mt_status promote(struct sweep *s) {
    return winners_print(s->store, s->dev, &s->workload, s->options->common.json);
}

static void release(struct sweep *s) {
    order_close(s->order);
    plan_release(&s->plan);
    worker_close(s->worker);
    lock_release(s->lock);
    quarantine_release(&s->quarantine);
    binaries_release(&s->binaries, NULL);
    store_close(s->store);
    config_list_release(&s->configs);
    workload_release(&s->workload);
}

static enum mt_status open_device(struct sweep *s) {
    const struct worker_options options = {.device = s->options->common.device,
                                           .limits = s->options->quick ? &timer_limits_quick : &timer_limits_normal,
                                           .patience = s->options->patience};
    enum mt_status status = worker_open(&options, &s->worker);
    if (status)
        return status;
    s->dev = worker_device(s->worker);
    missing_warn(worker_missing(s->worker), s->dev->name);
    return MT_OK;
}

enum mt_status sweep_run(const struct sweep_options *options) {
    struct sweep s = {.options = options};
    if (options->time_limit > 0)
        s.deadline = seconds_now() + options->time_limit;
    enum mt_status status;
    interrupt_catch();
    if ((status = workload_init(&s.workload, &options->work)) || (status = read_space(&s)) ||
        (status = open_device(&s)) || (status = fit_space(&s)) || (status = store_open(options->db, &s.store)) ||
        (status = lock_device(&s)) || (status = make_plan(&s)) || (status = compile(&s)) ||
        (status = verify_time_record(&s)) || (status = confirm(&s)) || (status = finals(&s)) ||
        (status = tree_times(&s)) || (status = cross_times(&s)))
        goto out;
    status = promote(&s);
out:
    say_what_was_rejected(&s);
    release(&s);
    return status;
}
