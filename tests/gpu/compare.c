/* compare --device cuda:0 [--against soft:h100-sxm]: compare.h says what it does. Writes TAP. */
#include "compare.h"
#include "runtime/base/log.h"
#include "runtime/base/parallel.h"
#include "runtime/layer/half.h"
#include "tuner/progress.h"
#include <argp.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEY_AGAINST = 0x100,
    KEY_WITH,
    KEY_KERNELS,
    KEY_LIST,
    KEY_ONLY,
    KEY_TIMEOUT,
    KEY_GIVE_UP,
    KEY_SERVE,
    MOST_SETTINGS = 8,
    MOST_WORDS = 32
};

struct options {
    const char *device, *against, *kernels, *serve;
    const char *setting[MOST_SETTINGS + 1];
    const char *only[MOST_WORDS];
    int settings, words, give_up;
    double timeout;
    bool list;
};

static const struct argp_option table[] = {
    {"device", 'd', "SPEC", 0, "The device that is checked (default: cuda:0)", 0},
    {"against", KEY_AGAINST, "SPEC", 0,
     "The device that it is compared with (default: the software device of its compute capability)", 0},
    {"with", KEY_WITH, "NAME=VALUE", 0, "For the environment of the checked device's process. May be repeated", 0},
    {"kernels", KEY_KERNELS, "FOLDER", 0, "Where compare*.cu are (default: tests/gpu of the source tree)", 0},
    {"only", KEY_ONLY, "WORD", 0, "Only cases whose name holds the word, or one of several such words", 0},
    {"timeout", KEY_TIMEOUT, "SECONDS", 0, "For one case on one device (default: 60)", 0},
    {"give-up", KEY_GIVE_UP, "N", 0,
     "After N cases that hung, died or lost the context skip the others of their kind: sm90, what needs compute "
     "capability 9.0, or sm80, all else (default: never)",
     0},
    {"list", KEY_LIST, NULL, 0, "Print the cases: kernel, file, name", 0},
    {"serve", KEY_SERVE, "SPEC", OPTION_HIDDEN, "", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct options *o = state->input;
    switch (key) {
    case 'd':
        o->device = arg;
        return 0;
    case KEY_AGAINST:
        o->against = arg;
        return 0;
    case KEY_WITH:
        if (o->settings == MOST_SETTINGS || !strchr(arg, '='))
            argp_error(state, "--with takes NAME=VALUE, at most %d times", MOST_SETTINGS);
        o->setting[o->settings++] = arg;
        return 0;
    case KEY_KERNELS:
        o->kernels = arg;
        return 0;
    case KEY_ONLY:
        if (o->words == MOST_WORDS)
            argp_error(state, "at most %d times --only", MOST_WORDS);
        o->only[o->words++] = arg;
        return 0;
    case KEY_TIMEOUT:
        o->timeout = strtod(arg, NULL);
        if (!(o->timeout > 0))
            argp_error(state, "--timeout takes seconds, not %s", arg);
        return 0;
    case KEY_GIVE_UP:
        o->give_up = atoi(arg);
        if (o->give_up < 1)
            argp_error(state, "--give-up takes a number of cases, not %s", arg);
        return 0;
    case KEY_LIST:
        o->list = true;
        return 0;
    case KEY_SERVE:
        o->serve = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    .options = table,
    .parser = parse,
    .doc = "Runs every PTX wrapper and every kernel family on two devices with the same random inputs and compares the "
           "bits; and tries what only a real device can get wrong. Writes TAP; exit code 2 when something differs."};

void case_add(struct case_list *list, const struct gpu_case *c, const char *name, ...) {
    struct str text = {0};
    va_list args;
    va_start(args, name);
    str_vprintf(&text, name, args);
    va_end(args);
    list->item = xrealloc(list->item, (size_t)(list->count + 1) * sizeof *list->item);
    list->item[list->count] = *c;
    list->item[list->count++].name = text.data; /* for the life of the process */
}

/* ---- judging ---- */

static bool is_nan(uint32_t bits) {
    return (bits & 0x7fffffff) > 0x7f800000;
}

/* Whether word i of both may stand. */
static bool agree(enum judge judge, const uint32_t *a, const uint32_t *b, size_t i) {
    if (a[i] == b[i])
        return true;
    if (judge == JUDGE_FLOATS)
        return is_nan(a[i]) && is_nan(b[i]);
    const size_t pair = i / 2 * 2;
    const double bound = ldexp(fmax(float_of_bits(a[pair + 1]), float_of_bits(b[pair + 1])), -18);
    return judge == JUDGE_SUMS && fabs((double)float_of_bits(a[i]) - (double)float_of_bits(b[i])) <= bound;
}

/* Sets `why` when the data differ by more than the case allows. */
static bool same_data(const struct gpu_case *c, const struct answer *a, const struct answer *b, struct str *why) {
    const size_t words = a->data.length / 4;
    const uint32_t *x = (const uint32_t *)(const void *)a->data.data, *y = (const uint32_t *)(const void *)b->data.data;
    size_t wrong = 0, first = 0, untouched = 0, other = 0;
    if (a->data.length != b->data.length) {
        str_printf(why, "%zu bytes, not %zu", a->data.length, b->data.length);
        return false;
    }
    for (size_t i = 0; i < words; i++) {
        const bool good = agree(c->judge, x, y, i);
        if (!good && wrong++ == 0)
            first = i;
        untouched += x[i] == 0xa5a5a5a5;
        other += good && x[i] != y[i];
    }
    if (wrong)
        str_printf(why, "%zu of %zu words differ; word %zu is %08x, not %08x", wrong, words, first, x[first], y[first]);
    else if (words && untouched == words)
        str_append(why, "nothing was written");
    else if (other)
        str_printf(why, "%zu of %zu words have other bits, as is allowed here", other, words);
    return !wrong && (!words || untouched < words);
}

/* ---- running ---- */

/* Kinds of cases: where one hangs, others of its kind may, too. */
enum kind { KIND_SM80, KIND_SM90, KINDS };
static const char *const kind_name[] = {"sm80", "sm90"};

static enum kind kind_of(const struct gpu_case *c) {
    return c->cc == 90 ? KIND_SM90 : KIND_SM80;
}

struct comparison {
    const struct options *options;
    struct case_list cases;
    struct side *device, *against;
    int passed, failed, skipped, number;
    int lost[KINDS]; /* cases that hung, died or lost the context */
    char *chosen;    /* by case */
};

struct compilation {
    const struct comparison *run;
    int cc;
};

static void compile_some(void *context, int begin, int end) {
    const struct compilation *job = context;
    const struct device dev = {.cc = job->cc};
    for (int i = begin; i < end; i++) {
        const struct gpu_case *c = &job->run->cases.item[i];
        struct image image;
        /* What does not compile is the case's own to tell. */
        if (!interrupted() && job->run->chosen[i] && c->compile && c->cc <= job->cc && (c->cc != 90 || job->cc == 90) &&
            c->compile(c, &dev, &image) == MT_OK)
            image_release(&image);
    }
}

/* Into the cache, on all cores: afterwards each process finds its kernels there. */
static void compile_all(const struct comparison *run) {
    struct compilation device = {run, side_facts(run->device)->cc}, against = {run, side_facts(run->against)->cc};
    parallel_for(run->cases.count, 1, compile_some, &device);
    if (against.cc != device.cc)
        parallel_for(run->cases.count, 1, compile_some, &against);
}

static void report(struct comparison *run, const struct gpu_case *c, enum state state, const char *why) {
    run->passed += state == STATE_OK;
    run->failed += state == STATE_FAILED;
    run->skipped += state == STATE_SKIPPED;
    printf("%s %d - %s%s%s\n", state == STATE_FAILED ? "not ok" : "ok", ++run->number, c->name,
           state == STATE_SKIPPED ? " # SKIP "
           : *why                 ? ": "
                                  : "",
           why);
    fflush(stdout);
}

static bool given_up(const struct comparison *run, enum kind kind) {
    return run->options->give_up > 0 && run->lost[kind] >= run->options->give_up;
}

/* What the two answers come to. Sets `why`. */
static enum state judge(const struct comparison *run, const struct gpu_case *c, const struct answer *a,
                        const struct answer *b, struct str *why) {
    if (a->state || b->state) { /* where one fails and one skips, the failure counts */
        const bool second = a->state == STATE_OK || (b->state == STATE_FAILED && a->state == STATE_SKIPPED);
        str_printf(why, "on %s: %s", side_facts(second ? run->against : run->device)->spec, second ? b->note : a->note);
        return second ? b->state : a->state;
    }
    if (c->judge != JUDGE_NONE)
        return same_data(c, a, b, why) ? STATE_OK : STATE_FAILED;
    str_append(why, a->note);
    return STATE_OK;
}

static void run_case(struct comparison *run, int number) {
    const struct gpu_case *c = &run->cases.item[number];
    const bool both = c->judge != JUDGE_NONE;
    struct answer a, b = {0};
    struct str why = {0};
    printf("# %d %s\n", run->number + 1, c->name); /* a machine that goes down with it has it in its log */
    fflush(stdout);
    side_ask(run->device, number);
    if (both)
        side_ask(run->against, number);
    side_answer(run->device, run->options->timeout, &a);
    if (both)
        side_answer(run->against, run->options->timeout, &b);
    if (!interrupted()) {
        enum state state = judge(run, c, &a, &b, &why);
        report(run, c, state, str_text(&why));
        run->lost[kind_of(c)] += a.lost || b.lost;
    }
    str_release(&a.data);
    str_release(&b.data);
    str_release(&why);
}

static void skip_case(struct comparison *run, const struct gpu_case *c) {
    char why[120];
    snprintf(why, sizeof why, "%s is given up after %d cases that hung, died or lost the context",
             kind_name[kind_of(c)], run->options->give_up);
    report(run, c, STATE_SKIPPED, why);
}

static enum mt_status open_sides(struct comparison *run) {
    const struct options *o = run->options;
    enum mt_status status = side_open(o->device, o->setting, &run->device);
    if (!status)
        status = side_open(o->against ? o->against : side_facts(run->device)->stand_in, NULL, &run->against);
    if (!status)
        printf("# %s: %s\n# against %s: %s\n", side_facts(run->device)->spec, side_facts(run->device)->name,
               side_facts(run->against)->spec, side_facts(run->against)->name);
    return status;
}

static enum mt_status summarise(const struct comparison *run, double compiling, double running) {
    printf("1..%d\n# %d passed, %d failed, %d skipped; %.1f s of compiling, %.1f s of running\n", run->number,
           run->passed, run->failed, run->skipped, compiling, running);
    for (enum kind kind = 0; kind < KINDS; kind++)
        if (given_up(run, kind))
            printf("# given up: %s\n", kind_name[kind]);
    if (interrupted())
        return fail(MT_INTERRUPTED, "interrupted after %d comparisons, of which %d failed", run->number, run->failed);
    if (!run->number)
        return fail(MT_USAGE, "no case has '%s' in its name; --list prints them", run->options->only[0]);
    return run->failed ? fail(MT_WRONG, "%d of %d comparisons failed", run->failed, run->number) : MT_OK;
}

static enum mt_status compare(struct comparison *run) {
    interrupt_catch();
    enum mt_status status = open_sides(run);
    if (status)
        return status;
    const double begin = seconds_now();
    compile_all(run);
    const double compiled = seconds_now();
    for (int i = 0; i < run->cases.count && !interrupted(); i++) {
        const struct gpu_case *c = &run->cases.item[i];
        if (run->chosen[i] && given_up(run, kind_of(c)))
            skip_case(run, c);
        else if (run->chosen[i])
            run_case(run, i);
    }
    side_kill(run->device);
    side_kill(run->against);
    return summarise(run, compiled - begin, seconds_now() - compiled);
}

int main(int argc, char **argv) {
    struct options o = {.device = "cuda:0", .timeout = 60, .kernels = MT_SOURCE_DIR "/tests/gpu"};
    struct comparison run = {.options = &o};
    argp_parse(&argp, argc, argv, 0, NULL, &o);
    /* The kernels here stand beside the templates that they include; a folder that the user names comes first. */
    setenv("MIXTUNE_TEMPLATES", o.kernels, 0);
    smoke_cases(&run.cases);
    wrapper_cases(&run.cases);
    family_cases(&run.cases);
    if (o.serve)
        side_serve(o.serve, &run.cases);
    run.chosen = xcalloc((size_t)run.cases.count, 1);
    for (int i = 0; i < run.cases.count; i++) {
        const struct gpu_case *c = &run.cases.item[i];
        run.chosen[i] = o.words == 0;
        for (int k = 0; k < o.words && !run.chosen[i]; k++)
            run.chosen[i] = strstr(c->name, o.only[k]) != NULL;
        if (o.list && run.chosen[i])
            printf("%s %s %s\n", c->kernel ? c->kernel : "-", c->file ? c->file : "-", c->name);
    }
    enum mt_status status = o.list ? MT_OK : compare(&run);
    if (status)
        fprintf(stderr, "compare: %s\n", fail_message());
    side_close(run.device);
    side_close(run.against);
    for (int i = 0; i < run.cases.count; i++)
        free((char *)(uintptr_t)run.cases.item[i].name);
    free(run.cases.item);
    free(run.chosen);
    return status;
}
