#include "tuner/sweep/sweep.h"
#include "cmd.h"
#include "runtime/base/str.h"
#include <limits.h>

enum {
    KEY_SPACE = 0x200,
    KEY_DB,
    KEY_TIME,
    KEY_MAX,
    KEY_QUICK,
    KEY_TIMEOUT,
    KEY_RETRY,
    KEY_FINALS,
    KEY_NO_WAIT,
    KEY_NO_LOCK,
    KEY_STRATEGY,
    KEY_PATIENCE,
    KEY_SEED,
    KEY_SKIP,
    KEY_BATCH_INVARIANT
};

static const struct argp_option table[] = {
    {"space", KEY_SPACE, "LIST", 0,
     "Names in configs/spaces/ or paths of space files (default: the one of each kernel family that runs on the "
     "device)",
     20},
    {"db", KEY_DB, "FILE", 0, "Database (default: " DEFAULT_DB "); what it already holds is not measured again", 20},
    {"time-limit", KEY_TIME, "TIME", 0, "Stop after 90s, 15m, 2h; the same command goes on from there", 20},
    {"max-configs", KEY_MAX, "N", 0,
     "At most N configurations: all of the same N of each family, spread over the space; or, with a search, N for each "
     "problem",
     20},
    {"patience", KEY_PATIENCE, "LEVEL", 0,
     "quick: a guided search of 5% of the configurations; normal: of 10% and the neighbours of the best; exhaustive "
     "(default): all",
     20},
    {"strategy", KEY_STRATEGY, "NAME", 0,
     "How to search: exhaustive, random (starts and neighbours), guided (by a cost model that learns from what is "
     "measured, and on a GPU by the modelled times that the database has of it) or sample (--max-configs of each "
     "problem, drawn at random, of each family alike: what `correlate` wants). Default: as --patience; alone it means "
     "--patience normal",
     20},
    {"seed", KEY_SEED, "N", 0, "Seed of what a search draws at random (default: 0)", 20},
    {"quick", KEY_QUICK, NULL, 0, "The small spaces (quick-*) and looser timing", 20},
    {"timeout", KEY_TIMEOUT, "TIME", 0,
     "A candidate that gives no sign of life for so long has hung (default: 30s; 2m on a software device)", 20},
    {"finals", KEY_FINALS, "ROUNDS", 0,
     "Time the best of each problem once more, in turns, this often (default: 20; 0 on a software device, whose times "
     "do not vary)",
     20},
    {"batch-invariant", KEY_BATCH_INVARIANT, NULL, 0,
     "Also measure, for each layer and M, kernels that add up K in order and as the layer's winners at other M do, so "
     "that "
     "`export` finds an order that serves every M",
     20},
    {"retry", KEY_RETRY, NULL, 0, "Also measure what failed before; kernels that hung or crashed are run again", 20},
    {"skip", KEY_SKIP, "CANDIDATE", 0,
     "Leave out a candidate at which a sweep stopped, as it named it. May be repeated", 20},
    {"no-wait", KEY_NO_WAIT, NULL, 0, "End at once, instead of waiting, when another sweep has the device", 20},
    {"no-lock", KEY_NO_LOCK, NULL, 0,
     "Do not lock the device: only where nothing else sweeps on it, nor into the database", 20},
    {0},
};

enum { MAX_SKIPPED = 64 };

struct sweep_arguments {
    struct sweep_options options;
    const char *skip[MAX_SKIPPED];
    bool has_strategy, has_patience;
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct sweep_arguments *a = state->input;
    struct sweep_options *o = &a->options;
    int seed = 0;
    error_t error;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->work;
        state->child_inputs[1] = &o->common;
        return 0;
    case KEY_SPACE:
        o->space = arg;
        return 0;
    case KEY_DB:
        o->db = arg;
        return 0;
    case KEY_TIME:
        return options_error(seconds_parse(arg, "--time-limit", &o->time_limit));
    case KEY_MAX:
        return options_error(int_parse(arg, "--max-configs", 1, 1000000, &o->search.max_configs));
    case KEY_PATIENCE:
        a->has_patience = true;
        return options_error(search_patience_parse(arg, &o->search.patience));
    case KEY_STRATEGY:
        a->has_strategy = true;
        return options_error(search_strategy_parse(arg, &o->search.strategy));
    case KEY_SEED:
        error = options_error(int_parse(arg, "--seed", 0, INT_MAX, &seed));
        o->search.seed = (uint64_t)seed;
        return error;
    case KEY_TIMEOUT:
        return options_error(seconds_parse(arg, "--timeout", &o->patience));
    case KEY_FINALS:
        return options_error(int_parse(arg, "--finals", 0, 10000, &o->finals));
    case KEY_SKIP:
        if (o->skip_count == MAX_SKIPPED)
            return options_error(fail(MT_USAGE, "--skip: at most %d candidates in one command", MAX_SKIPPED));
        a->skip[o->skip_count++] = arg;
        return 0;
    case KEY_BATCH_INVARIANT:
        o->batch_invariant = true;
        return 0;
    case KEY_RETRY:
        o->retry = true;
        return 0;
    case KEY_NO_WAIT:
        o->no_wait = true;
        return 0;
    case KEY_NO_LOCK:
        o->no_lock = true;
        return 0;
    case KEY_QUICK:
        o->quick = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child children[] = {{&work_argp, 0, NULL, 0}, {&common_argp, 0, NULL, 0}, {0}};
static const struct argp argp = {.options = table,
                                 .parser = parse,
                                 .children = children,
                                 .doc = "Measures the configurations of a space for the layers of a model, proves "
                                        "each first, and keeps everything in a "
                                        "database. Interrupted, it goes on from there when run again.\v"
                                        "Example: mixtune sweep --model llama-3.1-8b --m 1:256:x2 --scheme w4a8,w8a8"};

int cmd_sweep(int argc, char **argv) {
    struct sweep_arguments a = {.options = {.db = DEFAULT_DB, .finals = -1, .search.patience = PATIENCE_EXHAUSTIVE}};
    struct sweep_options *o = &a.options;
    struct str command = {0};
    command_words(argc, argv, &command);
    o->command = command.data;
    o->skip = a.skip;
    work_options_init(&o->work);
    enum mt_status status = options_parse(&argp, argc, argv, &a, &o->common);
    if (!a.has_strategy)
        o->search.strategy = search_patience_strategy(o->search.patience);
    else if (!a.has_patience)
        o->search.patience = PATIENCE_NORMAL;
    if (!status)
        status = sweep_run(o);
    work_options_release(&o->work);
    str_release(&command);
    return status;
}
