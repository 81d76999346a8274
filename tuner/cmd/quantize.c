/* mixtune quantize: a checkpoint of Hugging Face becomes packed layers. */
#include "tuner/quantize/quantize.h"
#include "cmd.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEY_MODEL = 0x300,
    KEY_SCHEME,
    KEY_SALIENCE,
    KEY_UNIFORM,
    KEY_BITS,
    KEY_BYTES,
    KEY_FILL,
    KEY_GROUP,
    KEY_SYMMETRIC,
    KEY_CLIP,
    KEY_METHOD,
    KEY_HESSIAN,
    KEY_ORDER,
    KEY_DAMPING,
    KEY_TP,
    KEY_REST,
    KEY_THREADS
};

static const struct argp_option table[] = {
    {"model", KEY_MODEL, "DIR", 0, "The checkpoint: a folder of safetensors files in fp32, fp16 or bf16", 20},
    {"out", 'o', "DIR", 0, "The folder to write; made when it is not there", 20},
    {"scheme", KEY_SCHEME, "LIST", 0,
     "w4a8, w8a8, p10 (10 % of the features keep 8 bits); w4a8-sym, p10-sym: 4-bit features without zero points "
     "(default: w4a8). Several share one pass over the weights and get a folder each, DIR/p10",
     21},
    {"bits", KEY_BITS, "B", 0, "In place of --scheme: as many 8-bit features as B bits per weight allow, all included",
     21},
    {"bytes", KEY_BYTES, "N", 0, "In place of --scheme: as many 8-bit features as fit into N bytes of packed layers",
     21},
    {"salience", KEY_SALIENCE, "FILE", 0,
     "Which features keep 8 bits: the most salient of the whole model. A safetensors file with a float tensor [n] for "
     "each weight that is quantised, of the weight's name",
     22},
    {"uniform", KEY_UNIFORM, NULL, 0,
     "The same share of every layer keeps 8 bits: by --salience, or where there is none those features whose rounding "
     "to 4 bits would lose most",
     22},
    {"fill", KEY_FILL, "N", 0,
     "Fill the features that keep 8 bits up to a multiple of N in each layer (default: none, as chosen)", 22},
    {"group", KEY_GROUP, "N", 0, "Group size along K: 64, 128, 256 (default: 128)", 23},
    {"symmetric", KEY_SYMMETRIC, NULL, 0, "4-bit features have no zero points, in every scheme", 23},
    {"clip", KEY_CLIP, NULL, 0,
     "Clip the range of each group where that makes its squared error less; with --hessian its error at the layer's "
     "output",
     23},
    {"method", KEY_METHOD, "NAME", 0,
     "rtn: round to nearest (default); gptq: round so that the outputs of the layers change least, which needs "
     "--hessian, LAPACKE and OpenBLAS",
     24},
    {"hessian", KEY_HESSIAN, "FILE", 0,
     "Sums of x'x of the layers' inputs in a calibration, for --method gptq and for --clip: a safetensors file or a "
     "folder of them with an index",
     24},
    {"group-order", KEY_ORDER, "NAME", 0,
     "In which order gptq visits the groups of a row: hessian, those with the largest inputs first (default), or index",
     24},
    {"damping", KEY_DAMPING, "X", 0,
     "Add this share of the mean of a Hessian's diagonal to it (default 0.01; raised where that is too little)", 24},
    {"tp", KEY_TP, "N", 0, "Split the layers for tensor parallelism over N GPUs, a folder each (default 1)", 25},
    {"rest", KEY_REST, "HOW", 0, "What is not quantised: copy it (default), or leave it in the model's files", 25},
    {"threads", KEY_THREADS, "N", 0, "At most N threads (default: one for each core)", 25},
    {0},
};

static enum mt_status rest_parse(const char *text, bool *leave) {
    *leave = !strcmp(text, "leave");
    return *leave || !strcmp(text, "copy") ? MT_OK : fail(MT_USAGE, "--rest: `%s` is neither copy nor leave", text);
}

static enum mt_status method_parse(const char *text, bool *gptq) {
    *gptq = !strcmp(text, "gptq");
    return *gptq || !strcmp(text, "rtn") ? MT_OK : fail(MT_USAGE, "--method: `%s` is neither rtn nor gptq", text);
}

static enum mt_status order_parse(const char *text, struct quantize_options *o) {
    o->group_order = strcmp(text, "index") ? ORDER_HESSIAN : ORDER_INDEX;
    return !strcmp(text, "index") || !strcmp(text, "hessian")
               ? MT_OK
               : fail(MT_USAGE, "--group-order: `%s` is neither hessian nor index", text);
}

static enum mt_status damping_parse(const char *text, double *out) {
    char *end;
    *out = strtod(text, &end);
    return end == text || *end || !(*out > 0 && *out <= 1)
               ? fail(MT_USAGE, "--damping: `%s` is not a share above 0 and up to 1, such as 0.01", text)
               : MT_OK;
}

/* What has no effect is a mistake. */
static enum mt_status check_method(const struct quantize_options *o) {
    if (o->gptq && !o->hessian)
        return fail(MT_USAGE, "--method gptq needs the sums of x'x of the layers' inputs: --hessian FILE, which "
                              "tuner/quantize/salience.py writes");
    if (o->hessian && !o->gptq && !o->clip)
        return fail(MT_USAGE, "--hessian is read by --method gptq and by --clip; give one of them, or leave it out");
    return MT_OK;
}

/* A share that is neither none nor all must be told how it is chosen. */
static enum mt_status check_choice(const struct quantize_options *o) {
    const struct amount_options *amount = &o->amount;
    const enum mt_status status = amount_check(amount);
    if (status)
        return status;
    bool some = amount->scheme_count == 0 && (amount->bits > 0 || amount->bytes > 0);
    for (int i = 0; i < amount->scheme_count; i++)
        some |= amount->scheme[i].scheme.per_mille > 0 && amount->scheme[i].scheme.per_mille < 1000;
    if (some && !o->salience && !amount->uniform)
        return fail(MT_USAGE,
                    "which features are to keep 8 bits? --salience FILE has a number for each (over the whole model, "
                    "best); --uniform takes the same share of every layer and needs no file");
    return MT_OK;
}

static enum mt_status check_zeros(const struct quantize_options *o) {
    int with = 0, without = 0;
    for (int i = 0; i < o->amount.scheme_count; i++)
        if (o->amount.scheme[i].scheme.per_mille < 1000) {
            without += o->amount.scheme[i].scheme.symmetric;
            with += !o->amount.scheme[i].scheme.symmetric;
        }
    if (with && without && !o->symmetric)
        return fail(MT_USAGE, "--scheme has features with and without zero points; run the command once for each");
    return MT_OK;
}

static enum mt_status check(struct quantize_options *o) {
    if (!o->model)
        return fail(MT_USAGE, "quantize needs the folder of a checkpoint: --model DIR");
    if (!o->out)
        return fail(MT_USAGE, "quantize needs the folder to write: --out DIR");
    enum mt_status status = check_method(o);
    if (!status)
        status = check_choice(o);
    if (!status)
        status = check_zeros(o);
    if (!status && !o->amount.scheme_count && o->amount.bits <= 0 && o->amount.bytes <= 0)
        status = amount_add_schemes("w4a8", &o->amount);
    return status;
}

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct quantize_options *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->common;
        return 0;
    case KEY_MODEL:
        o->model = arg;
        return 0;
    case 'o':
        o->out = arg;
        return 0;
    case KEY_SCHEME:
        return options_error(amount_add_schemes(arg, &o->amount));
    case KEY_BITS:
        return options_error(amount_set_bits(arg, &o->amount));
    case KEY_BYTES:
        return options_error(amount_set_bytes(arg, &o->amount));
    case KEY_SALIENCE:
        o->salience = arg;
        return 0;
    case KEY_UNIFORM:
        o->amount.uniform = true;
        return 0;
    case KEY_FILL:
        return options_error(fill_parse(arg, &o->fill));
    case KEY_GROUP:
        return options_error(group_parse(arg, &o->group));
    case KEY_SYMMETRIC:
        o->symmetric = true;
        return 0;
    case KEY_CLIP:
        o->clip = true;
        return 0;
    case KEY_METHOD:
        return options_error(method_parse(arg, &o->gptq));
    case KEY_HESSIAN:
        o->hessian = arg;
        return 0;
    case KEY_ORDER:
        return options_error(order_parse(arg, o));
    case KEY_DAMPING:
        return options_error(damping_parse(arg, &o->damping));
    case KEY_TP:
        return options_error(int_parse(arg, "--tp", 1, 1024, &o->tp));
    case KEY_REST:
        return options_error(rest_parse(arg, &o->leave_rest));
    case KEY_THREADS:
        return options_error(int_parse(arg, "--threads", 1, INT_MAX, &o->threads));
    case ARGP_KEY_END:
        return options_error(check(o));
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int cmd_quantize(int argc, char **argv) {
    struct quantize_options o = {.group = 128, .fill = 1, .tp = 1, .damping = 0.01};
    const struct argp_child children[] = {{&output_argp, 0, NULL, 0}, {0}};
    const struct argp argp = {
        .options = table,
        .parser = parse,
        .children = children,
        .doc = "Rounds the linear layers of a decoder to 4 and 8 bits and packs them as the kernels read them; "
               "everything else is copied. Interrupted, it goes on from there when run again.\v"
               "Example: mixtune quantize --model SmolLM2-135M --scheme p10 --salience p10.safetensors --out packed",
    };
    int status = options_parse(&argp, argc, argv, &o, &o.common);
    if (status == MT_OK)
        status = quantize_run(&o);
    return status;
}
