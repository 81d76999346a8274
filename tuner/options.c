#include "options.h"
#include "runtime/base/array.h"
#include "runtime/base/log.h"
#include "runtime/base/str.h"
#include "runtime/base/visible.h"
#include "runtime/jit/images.h"
#include "splits.h"
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void int_list_release(struct int_list *list) {
    free(list->value);
    *list = (struct int_list){0};
}

void int_list_add(struct int_list *list, int value) {
    array_grow(&list->value, &list->capacity, (size_t)list->count, sizeof *list->value);
    list->value[list->count++] = value;
}

static int by_number(const void *a, const void *b) {
    const int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

void int_list_sort(struct int_list *list) {
    int kept = 0;
    if (list->count)
        qsort(list->value, (size_t)list->count, sizeof *list->value, by_number);
    for (int i = 0; i < list->count; i++)
        if (!kept || list->value[kept - 1] != list->value[i])
            list->value[kept++] = list->value[i];
    list->count = kept;
}

struct int_list usual_tokens(void) {
    static int usual[] = {1,   8,   16,  32,  48,  64,  80,  96,  112, 128, 160,  192,  224,  256,
                          288, 320, 384, 416, 448, 512, 576, 640, 768, 896, 1024, 1536, 2048, 4096};
    return (struct int_list){usual, sizeof usual / sizeof *usual, 0};
}

enum mt_status list_check(const char *text, const char *what) {
    return text[strspn(text, ",")] ? MT_OK : fail(MT_USAGE, "%s: the list is empty", what);
}

enum mt_status int_parse(const char *text, const char *what, int min, int max, int *out) {
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (end == text || *end || errno || value < min || value > max)
        return fail(MT_USAGE, "%s: `%s` is not a whole number from %d to %d", what, text, min, max);
    *out = (int)value;
    return MT_OK;
}

enum { MOST_VALUES = 100000 };

/* first:last:step, where a step of xF multiplies; nothing below `min`. */
static enum mt_status range_parse(char *text, const char *what, int min, struct int_list *out) {
    char *save, *part[4];
    int first, last, step, parts = 0;
    for (char *p = strtok_r(text, ":", &save); p && parts < 4; p = strtok_r(NULL, ":", &save))
        part[parts++] = p;
    if (parts != 3)
        return fail(MT_USAGE, "%s: a range is first:last:step, such as 1:256:x2 or 64:256:64", what);
    bool multiply = *part[2] == 'x';
    enum mt_status status;
    if ((status = int_parse(part[0], what, multiply ? 1 : min, INT_MAX, &first)) ||
        (status = int_parse(part[1], what, 1, INT_MAX, &last)) ||
        (status = int_parse(part[2] + multiply, what, multiply ? 2 : 1, INT_MAX, &step)))
        return status;
    if (first > last)
        return fail(MT_USAGE, "%s: the range from %d to %d is empty", what, first, last);
    if (!multiply && (last - first) / step > MOST_VALUES)
        return fail(MT_USAGE, "%s: the range from %d to %d in steps of %d has over %d values", what, first, last, step,
                    MOST_VALUES);
    for (long value = first; value <= last && out->count <= MOST_VALUES; value = multiply ? value * step : value + step)
        int_list_add(out, (int)value);
    return MT_OK;
}

static int by_value(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Keeps the first of equal ones, so that a long list costs no more than what it says. */
static void drop_repetitions(struct int_list *list) {
    const size_t count = (size_t)list->count;
    int64_t *sorted = xcalloc(count + 1, sizeof *sorted); /* value, then place */
    bool *again = xcalloc(count + 1, sizeof *again);
    for (size_t i = 0; i < count; i++)
        sorted[i] = (int64_t)list->value[i] << 32 | (int64_t)i;
    qsort(sorted, count, sizeof *sorted, by_value);
    for (size_t i = 1; i < count; i++)
        again[sorted[i] & 0xffffffff] = sorted[i] >> 32 == sorted[i - 1] >> 32;
    list->count = 0;
    for (size_t i = 0; i < count; i++)
        if (!again[i])
            list->value[list->count++] = list->value[i];
    free(sorted);
    free(again);
}

static enum mt_status numbers_parse(const char *text, const char *what, int min, struct int_list *out) {
    enum mt_status status = list_check(text, what);
    char *copy = xstrdup(text), *save;
    for (char *p = strtok_r(copy, ",", &save); p && !status && out->count <= MOST_VALUES;
         p = strtok_r(NULL, ",", &save)) {
        if (strchr(p, ':')) {
            status = range_parse(p, what, min, out);
        } else {
            int value;
            status = int_parse(p, what, min, INT_MAX, &value);
            if (!status)
                int_list_add(out, value);
        }
    }
    free(copy);
    if (!status && out->count > MOST_VALUES)
        status = fail(MT_USAGE, "%s: the list has over %d values", what, MOST_VALUES);
    drop_repetitions(out);
    return status;
}

enum mt_status int_list_parse(const char *text, const char *what, struct int_list *out) {
    return numbers_parse(text, what, 1, out);
}

enum mt_status counts_parse(const char *text, const char *what, struct int_list *out) {
    return numbers_parse(text, what, 0, out);
}

enum mt_status seconds_parse(const char *text, const char *what, double *out) {
    char *end;
    double value = strtod(text, &end);
    double unit = *end == 'm' ? 60 : *end == 'h' ? 3600 : 1;
    if (*end && strchr("smh", *end))
        end++;
    if (end == text || *end || !(value > 0) || value * unit > 1e9) /* seconds: 30 years */
        return fail(MT_USAGE, "%s: `%s` is not a time such as 90s, 15m or 2h", what, text);
    *out = value * unit;
    return MT_OK;
}

error_t options_error(enum mt_status status) {
    return status == MT_OK ? 0 : EINVAL;
}

void command_words(int argc, char **argv, struct str *out) {
    for (int i = 0; i < argc; i++) {
        str_append(out, i ? " " : "");
        str_append_visible(out, argv[i], strlen(argv[i]), "");
    }
}

static ssize_t write_visible(void *real, const char *text, size_t count) {
    struct str visible = {0};
    str_append_visible(&visible, text, count, "\n");
    const size_t written = fwrite(str_text(&visible), 1, visible.length, real);
    str_release(&visible);
    return written ? (ssize_t)count : 0;
}

/* What argp and getopt() say quotes the command line, and may end the process, which flushes it. */
static error_t parse_visibly(const struct argp *argp, int argc, char **argv, void *input) {
    FILE *real = stderr, *visible = fopencookie(real, "w", (cookie_io_functions_t){.write = write_visible});
    if (visible)
        stderr = visible;
    const error_t error = argp_parse(argp, argc, argv, 0, NULL, input);
    stderr = real;
    if (visible)
        fclose(visible);
    return error;
}

enum mt_status options_parse(const struct argp *argp, int argc, char **argv, void *input,
                             const struct common_options *common) {
    if (parse_visibly(argp, argc, argv, input) != 0)
        return MT_USAGE;
    if (common && common->quiet)
        log_set_level(LOG_WARN);
    return MT_OK;
}

/* ---- common ---- */

enum { KEY_IMAGES = 0x500 };

static const struct argp_option common_table[] = {
    {"device", 'd', "SPEC", 0,
     "cuda:N, or soft:NAME for a software device (default: $MIXTUNE_DEVICE, else cuda:0, else soft:a100-sxm-80g)", 90},
    {"images", KEY_IMAGES, "DIR", 0,
     "Run the compiled kernels of DIR, whatever NVRTC is here: an unpacked archive of `make gpu-archive` has them in "
     "images/ (default: $MIXTUNE_IMAGES)",
     90},
    {0},
};

static const struct argp_option output_table[] = {
    {"json", 'j', NULL, 0, "Print results as JSON, one object a line", 91},
    {"quiet", 'q', NULL, 0, "No progress and no notes on standard error", 91},
    {0},
};

static error_t output_parse(int key, char *arg, struct argp_state *state) {
    struct common_options *o = state->input;
    (void)arg;
    switch (key) {
    case 'j':
        o->json = true;
        return 0;
    case 'q':
        o->quiet = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp output_argp = {.options = output_table, .parser = output_parse};

static error_t common_parse(int key, char *arg, struct argp_state *state) {
    struct common_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = o;
        return 0;
    case 'd':
        o->device = arg;
        return 0;
    case KEY_IMAGES: /* by the environment, so that it holds for every process and thread */
        return setenv(IMAGES_VARIABLE, arg, 1);
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child common_children[] = {{&output_argp, 0, NULL, 0}, {0}};
const struct argp common_argp = {.options = common_table, .parser = common_parse, .children = common_children};

/* ---- work ---- */

enum {
    KEY_MODEL = 0x100,
    KEY_CHECKPOINT,
    KEY_LAYERS,
    KEY_TP,
    KEY_SHAPE,
    KEY_M,
    KEY_SCHEME,
    KEY_GROUP,
    KEY_DTYPE,
    KEY_ROWS8,
    KEY_SPLITS,
    KEY_POINTS,
    KEY_FILL
};

static const struct argp_option work_table[] = {
    {"model", KEY_MODEL, "NAME", 0,
     "A name in configs/models/, or the path of a Hugging Face config.json or of its folder", 10},
    {"checkpoint", KEY_CHECKPOINT, "DIR", 0,
     "A packed checkpoint (of `mixtune quantize`): its model, layers, ranks, groups and zero points, and how many "
     "features of each layer keep 8 bits; in place of --model, --tp, --group, --scheme and --splits",
     10},
    {"layers", KEY_LAYERS, "LIST", 0, "Of the model's layers only these: qkv,o,gate_up,down", 10},
    {"tp", KEY_TP, "N", 0, "Split the model's layers for tensor parallelism over N GPUs (default 1)", 10},
    {"shape", KEY_SHAPE, "M,N,K", 0,
     "Tokens, output features, input features; or N,K with the tokens of --m. May be repeated", 10},
    {"m", KEY_M, "LIST", 0,
     "Numbers of tokens: 1,16,4096 or 1:256:x2 (default: 28 from 1 to 4096, as close as tiles and waves ask for)", 11},
    {"rows8", KEY_ROWS8, "LIST", 0, "Output features of each --shape that keep 8 bits: 0,1500 (default: as --scheme)",
     10},
    {"splits", KEY_SPLITS, "FILE", 0,
     "A table of layer,rows8,weight: how many features of each layer keep 8 bits, and how many layers do so; a name in "
     "configs/splits/ or a path",
     10},
    {"points", KEY_POINTS, "N", 0,
     "Of --splits or --checkpoint measure at most N splits of each layer, chosen to stand for all (default: 6)", 10},
    {"fill", KEY_FILL, "N", 0,
     "Fill the features that keep 8 bits up to a multiple of N (default: none, as chosen): 16 leaves no padding in "
     "their "
     "part",
     11},
    {"scheme", KEY_SCHEME, "LIST", 0,
     "w4a8, w8a8, p10 (10 % of the features of every layer keep 8 bits); w4a8-sym, p10-sym: 4-bit features without "
     "zero points (default: w4a8)",
     11},
    {"group", KEY_GROUP, "LIST", 0, "Group sizes along K: 64, 128, 256 (default: 128)", 11},
    {"dtype", KEY_DTYPE, "LIST", 0, "Activations and output: fp16, bf16 (default: fp16)", 11},
    {0},
};

static enum mt_status shape_add(struct work_options *o, const char *text) {
    int n[4] = {0}, count = 0;
    enum mt_status status = MT_OK;
    char *copy = xstrdup(text), *save;
    for (char *p = strtok_r(copy, ",", &save); p && count < 4 && !status; p = strtok_r(NULL, ",", &save))
        status = int_parse(p, "--shape", 1, INT_MAX, &n[count++]);
    free(copy);
    if (!status && count != 2 && count != 3)
        status = fail(MT_USAGE, "--shape: `%s` is not M,N,K or N,K", text);
    if (!status && o->shape_count == MAX_SHAPES)
        status = fail(MT_USAGE, "--shape: at most %d shapes in one command", MAX_SHAPES);
    if (!status)
        o->shape[o->shape_count++] =
            count == 3 ? (struct shape){n[0], n[1], n[2]} : (struct shape){.m = 0, .n = n[0], .k = n[1]};
    return status;
}

enum mt_status schemes_parse(const char *text, struct scheme out[MAX_SCHEMES], int *count) {
    enum mt_status status = list_check(text, "--scheme");
    char *copy = xstrdup(text), *save;
    for (char *p = strtok_r(copy, ",", &save); p && !status; p = strtok_r(NULL, ",", &save)) {
        if (*count == MAX_SCHEMES)
            status = fail(MT_USAGE, "--scheme: at most %d schemes in one command", MAX_SCHEMES);
        else
            status = scheme_parse(p, &out[(*count)++]);
    }
    free(copy);
    return status;
}

static enum mt_status dtypes_add(struct work_options *o, const char *text) {
    enum mt_status status = list_check(text, "--dtype");
    char *copy = xstrdup(text), *save;
    for (char *p = strtok_r(copy, ",", &save); p && !status; p = strtok_r(NULL, ",", &save)) {
        if (o->dtype_count == 2)
            status = fail(MT_USAGE, "--dtype: fp16, bf16, or both");
        else
            status = dtype_parse(p, &o->dtype[o->dtype_count++]);
    }
    free(copy);
    return status;
}

enum mt_status group_check(int group) {
    return group == 64 || group == 128 || group == 256
               ? MT_OK
               : fail(MT_USAGE, "--group: %d is not one of 64, 128, 256", group);
}

static enum mt_status groups_add(struct work_options *o, const char *text) {
    enum mt_status status = int_list_parse(text, "--group", &o->group);
    for (int i = 0; i < o->group.count && !status; i++)
        status = group_check(o->group.value[i]);
    return status;
}

enum mt_status fill_parse(const char *text, int *out) {
    *out = 1;
    return !strcmp(text, "none") ? MT_OK : int_parse(text, "--fill", 1, 4096, out);
}

static error_t work_parse(int key, char *arg, struct argp_state *state) {
    struct work_options *o = state->input;
    switch (key) {
    case KEY_MODEL:
        o->model = arg;
        return 0;
    case KEY_CHECKPOINT:
        o->checkpoint = arg;
        return 0;
    case KEY_LAYERS:
        o->layers = arg;
        return 0;
    case KEY_TP:
        return options_error(int_parse(arg, "--tp", 1, 1024, &o->tp));
    case KEY_SHAPE:
        return options_error(shape_add(o, arg));
    case KEY_M:
        return options_error(int_list_parse(arg, "--m", &o->m));
    case KEY_SCHEME:
        return options_error(schemes_parse(arg, o->scheme, &o->scheme_count));
    case KEY_ROWS8:
        return options_error(counts_parse(arg, "--rows8", &o->rows8));
    case KEY_SPLITS:
        o->splits = arg;
        return 0;
    case KEY_POINTS:
        return options_error(int_parse(arg, "--points", 1, 1000000, &o->points));
    case KEY_FILL:
        return options_error(fill_parse(arg, &o->fill));
    case KEY_GROUP:
        return options_error(groups_add(o, arg));
    case KEY_DTYPE:
        return options_error(dtypes_add(o, arg));
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp work_argp = {.options = work_table, .parser = work_parse};

enum mt_status amount_add_schemes(const char *text, struct amount_options *o) {
    enum mt_status status = list_check(text, "--scheme");
    char *copy = xstrdup(text), *save;
    for (char *p = strtok_r(copy, ",", &save); p && !status; p = strtok_r(NULL, ",", &save)) {
        if (o->scheme_count == MAX_SCHEMES) {
            status = fail(MT_USAGE, "--scheme: at most %d schemes in one command", MAX_SCHEMES);
            break;
        }
        struct named_scheme *s = &o->scheme[o->scheme_count++];
        if (!(status = scheme_parse(p, &s->scheme)))
            snprintf(s->name, sizeof s->name, "%s", p);
        for (int i = 0; i < o->scheme_count - 1 && !status; i++)
            if (!strcmp(o->scheme[i].name, s->name))
                status = fail(MT_USAGE, "--scheme: %s is there twice", p);
    }
    free(copy);
    return status;
}

enum mt_status amount_set_bits(const char *text, struct amount_options *o) {
    char *end;
    o->bits = strtod(text, &end);
    return end == text || *end || !isfinite(o->bits) || o->bits <= 0 || o->bits > 64
               ? fail(MT_USAGE, "--bits: `%s` is not a number of bits per weight such as 4.5", text)
               : MT_OK;
}

enum mt_status amount_set_bytes(const char *text, struct amount_options *o) {
    char *end;
    o->bytes = strtoll(text, &end, 10);
    return end == text || *end || o->bytes <= 0 || o->bytes == LLONG_MAX
               ? fail(MT_USAGE, "--bytes: `%s` is not a number of bytes", text)
               : MT_OK;
}

enum mt_status amount_check(const struct amount_options *o) {
    if ((o->bits > 0 || o->bytes > 0) && o->scheme_count > 0)
        return fail(MT_USAGE, "--scheme says how many features keep 8 bits, and so does --%s; give one of them",
                    o->bits > 0 ? "bits" : "bytes");
    if (o->bits > 0 && o->bytes > 0)
        return fail(MT_USAGE, "--bits and --bytes both say how large the layers may be; give one of them");
    return MT_OK;
}

enum mt_status group_parse(const char *text, int *out) {
    const enum mt_status status = int_parse(text, "--group", 64, 256, out);
    return status ? status : group_check(*out);
}

void work_options_init(struct work_options *work) {
    *work = (struct work_options){.points = POINTS_USUAL, .fill = 1};
}

void work_options_release(struct work_options *work) {
    int_list_release(&work->m);
    int_list_release(&work->group);
    int_list_release(&work->rows8);
}
