/* What several subcommands take on their command line.
 *
 * A command lists `common_argp` (and `work_argp`) as argp children and sets state->child_inputs at ARGP_KEY_INIT to its
 * struct common_options (and struct work_options). Bad values make argp_parse() return non-zero with the sentence
 * recorded by fail(): the command then returns MT_USAGE. options_parse() does that. */
#ifndef MT_OPTIONS_H
#define MT_OPTIONS_H

#include "runtime/base/status.h"
#include "runtime/base/str.h"
#include "runtime/layer/problem.h"
#include <argp.h>
#include <stdbool.h>

#define MIXTUNE_VERSION "mixtune 0.1.0"

/* The database of every command that is not given --db. */
#define DEFAULT_DB "mixtune.db"

/* Growable list of numbers. Released with int_list_release(). */
struct int_list {
    int *value;
    int count;
    size_t capacity;
};
void int_list_release(struct int_list *list);
void int_list_add(struct int_list *list, int value);
/* Increasing, each value once. */
void int_list_sort(struct int_list *list);
/* Appends "1,16,4096", "1:256:x2" (1, 2, 4 ... 256) or "64:256:64" (step 64); every value in 1 .. INT_MAX.
 * MT_USAGE with `what` (the option's name) in the sentence. */
enum mt_status int_list_parse(const char *text, const char *what, struct int_list *out);
/* The same for numbers that may be 0: "0,15,1500", "0:4096:512". */
enum mt_status counts_parse(const char *text, const char *what, struct int_list *out);
/* The M of a sweep that names none, which are not the caller's: so many that a lookup between them is within a few
 * percent of the best (`mixtune show --regret`). */
struct int_list usual_tokens(void);
/* Commas alone are no list: MT_USAGE with `what`. */
enum mt_status list_check(const char *text, const char *what);
/* One whole number in min .. max. */
enum mt_status int_parse(const char *text, const char *what, int min, int max, int *out);
/* Seconds: "90", "90s", "15m", "2h". */
enum mt_status seconds_parse(const char *text, const char *what, double *out);

/* ---- --device, --json, --quiet ---- */
struct common_options {
    const char *device; /* NULL: the default of device_open() */
    bool json, quiet;
};
extern const struct argp common_argp;
/* --json and --quiet alone, for commands without a device; its input is a struct common_options too. */
extern const struct argp output_argp;

/* ---- what to compute: --model, --checkpoint, --shape, --rows8, --splits, --points, --fill, --m, --scheme, --group,
 * --dtype ---- */
enum { MAX_SHAPES = 64, MAX_SCHEMES = 16 };
struct shape {
    int m, n, k; /* m = 0: taken from --m */
};
struct work_options {
    const char *model;      /* name or path, NULL */
    const char *checkpoint; /* folder of a packed checkpoint, NULL (plan/packed_model.h) */
    const char *layers;     /* "qkv,o", NULL for all */
    int tp;                 /* 0: not told, which is 1 */
    struct shape shape[MAX_SHAPES];
    int shape_count;
    struct int_list m, group;
    struct int_list rows8; /* of each --shape */
    const char *splits;    /* a table of splits, NULL (splits.h) */
    int points;            /* how many of them at most are tuned of each layer */
    int fill;              /* features in 8 bits are filled up to a multiple; 1: as chosen */
    struct scheme scheme[MAX_SCHEMES];
    int scheme_count;
    enum dtype dtype[2];
    int dtype_count;
};
extern const struct argp work_argp;
/* Appends "w4a8,w8a8", the argument of --scheme. */
enum mt_status schemes_parse(const char *text, struct scheme out[MAX_SCHEMES], int *count);
/* MT_USAGE for what is no group size. */
enum mt_status group_check(int group);
/* The argument of --fill: a multiple, or none, which is 1. */
enum mt_status fill_parse(const char *text, int *out);

/* ---- how many features keep 8 bits: --scheme, or --bits, or --bytes ---- */
struct named_scheme {
    char name[16]; /* "p12.5", as it was typed */
    struct scheme scheme;
};
struct amount_options {
    struct named_scheme scheme[MAX_SCHEMES];
    int scheme_count; /* 0: by `bits` or `bytes` */
    double bits;      /* per weight; 0: not said */
    long long bytes;  /* of all layers; 0: not said */
    bool uniform;     /* the same share of every layer, not the most salient of the model */
};
enum mt_status amount_add_schemes(const char *text, struct amount_options *amount);
enum mt_status amount_set_bits(const char *text, struct amount_options *amount);
enum mt_status amount_set_bytes(const char *text, struct amount_options *amount);
/* MT_USAGE if more than one of them says how many. */
enum mt_status amount_check(const struct amount_options *amount);
/* The argument of a --group that is one number. */
enum mt_status group_parse(const char *text, int *out);

void work_options_init(struct work_options *work);
void work_options_release(struct work_options *work);

/* argp_parse(), with MT_USAGE for bad values. Wrong option names end the process with MT_USAGE inside argp. Applies
 * `common` (log level) when it is not NULL. */
enum mt_status options_parse(const struct argp *argp, int argc, char **argv, void *input,
                             const struct common_options *common);

/* Appends what the user typed, visible, so that every reader of the database takes it; before options_parse(), which
 * reorders it. */
void command_words(int argc, char **argv, struct str *out);

/* For argp parsers: 0 for MT_OK, else a code that makes argp_parse() stop. */
error_t options_error(enum mt_status status);

#endif
