/* mixtune convert: quantised checkpoints from one format to another. */
#include "tuner/convert/convert.h"
#include "cmd.h"
#include "runtime/base/log.h"
#include "runtime/base/str.h"
#include "tuner/options.h"
#include "tuner/progress.h"
#include "tuner/report/json_line.h"
#include "tuner/shown.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct convert {
    struct common_options common;
    const char *model, *out;
    enum convert_to to;
    struct checkpoint_options options;
};

enum { KEY_MODEL = 0x300, KEY_TO, KEY_ROUND, KEY_GPTQ };
static const char *const to_names[] = {"mixtune", "pack-quantized", "gptq"};

static const struct argp_option convert_table[] = {
    {"model", KEY_MODEL, "DIR", 0, "The quantised checkpoint: a folder of safetensors files with its config.json", 20},
    {"out", 'o', "DIR", 0, "The folder to write", 20},
    {"to", KEY_TO, "FORMAT", 0, "mixtune (default), pack-quantized or gptq", 20},
    {"round-scales", KEY_ROUND, NULL, 0,
     "Round scales that fp16 cannot hold exactly; without it such a checkpoint is refused", 20},
    {"gptq-version", KEY_GPTQ, "N", 0,
     "1 or 2: how GPTQ's zero points are stored (default: as the config says, else as they look)", 20},
    {0},
};

static enum mt_status parse_to(const char *text, enum convert_to *out) {
    for (size_t i = 0; i < sizeof to_names / sizeof *to_names; i++)
        if (!strcmp(text, to_names[i])) {
            *out = (enum convert_to)i;
            return MT_OK;
        }
    return fail(MT_USAGE, "--to %.40s: the formats are mixtune, pack-quantized and gptq", text);
}

static error_t convert_parse(int key, char *arg, struct argp_state *state) {
    struct convert *o = state->input;
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
    case KEY_TO:
        return options_error(parse_to(arg, &o->to));
    case KEY_ROUND:
        o->options.round_scales = true;
        return 0;
    case KEY_GPTQ:
        return options_error(int_parse(arg, "--gptq-version", 1, 2, &o->options.gptq_version));
    case ARGP_KEY_END:
        if (!o->model || !o->out)
            return options_error(fail(MT_USAGE, "convert needs the checkpoint to read and the folder to write: mixtune "
                                                "convert --model DIR --out DIR"));
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* What a person should know of the conversion besides its result. */
static void tell_notes(const struct convert *o, const struct checkpoint *from, const struct convert_result *result) {
    if (*from->note)
        log_info("GPTQ's zero points are taken as those of v%d: %s; --gptq-version says it otherwise",
                 from->gptq_version, from->note);
    if (from->dropped)
        log_info("%d tensors that say how activations are quantised are left out: mixtune's are quantised as they come",
                 from->dropped);
    if (from->rounded)
        log_warn("%" PRId64 " of %" PRId64 " scales were rounded to fp16, the worst by %.2g %%", from->rounded,
                 from->scales, from->worst * 100);
    if (result->wide_scales)
        log_info("the scales of %d linear layers stay fp16, since bf16 cannot hold them: serve %s in fp16",
                 result->wide_scales, o->out);
}

static void print_summary(const struct convert *o, const struct checkpoint *from, const struct convert_result *r) {
    const double bits = (double)r->bytes * 8 / (double)r->weights;
    if (!o->common.json) {
        char version[8] = "";
        if (from->gptq_version)
            snprintf(version, sizeof version, " v%d", from->gptq_version);
        printf(
            "%s: %d linear layers of %s%s are %d of %s, %.3f bits per weight; %.1f %% of their features have 8 bits\n",
            shown(o->out), from->count, checkpoint_format_names[from->format], version, r->layers, to_names[o->to],
            bits, 100 * (double)r->rows8 / (double)r->rows);
        return;
    }
    json_t *line =
        json_pack("{so ss ss si si sI sI sI sf sI sI sf si}", "out", json_text(o->out), "from",
                  checkpoint_format_names[from->format], "to", to_names[o->to], "linear_layers", from->count, "layers",
                  r->layers, "weights", (json_int_t)r->weights, "features", (json_int_t)r->rows, "rows8",
                  (json_int_t)r->rows8, "bits_per_weight", bits, "scales", (json_int_t)from->scales, "scales_rounded",
                  (json_int_t)from->rounded, "worst_rounding", from->worst, "carried_tensors", from->carried_count);
    if (from->gptq_version)
        json_object_set_new(line, "gptq_version", json_integer(from->gptq_version));
    json_line(line);
}

static void count_features(const struct checkpoint *from, struct convert_result *result) {
    for (int i = 0; i < from->count; i++) {
        const struct linear *l = &from->linear[i];
        result->weights += (int64_t)l->n * l->k;
        result->rows += l->n;
        result->rows8 += l->rows8;
    }
}

static enum mt_status convert(const struct convert *o) {
    struct checkpoint from;
    struct convert_result result = {0};
    struct str text = {0};
    enum mt_status status = checkpoint_open(o->model, &o->options, &from);
    if (status)
        return status;
    count_features(&from, &result);
    str_printf(&text, "convert, scales %s, GPTQ v%d", o->options.round_scales ? "rounded" : "exact", from.gptq_version);
    if (o->to != TO_MIXTUNE)
        status = convert_to_foreign(&from, o->out, o->to, o->common.quiet, &result);
    else if (from.format == FORMAT_PACKED)
        status = fail(MT_USAGE, "%s is in mixtune's format already; --to pack-quantized and --to gptq write others",
                      o->model);
    else
        status = convert_to_packed(&from, o->out, text.data, o->common.quiet, &result);
    if (!status) {
        tell_notes(o, &from, &result);
        print_summary(o, &from, &result);
    }
    str_release(&text);
    checkpoint_close(&from);
    return status;
}

int cmd_convert(int argc, char **argv) {
    struct convert o = {0};
    const struct argp_child children[] = {{&output_argp, 0, NULL, 0}, {0}};
    const struct argp argp = {
        .options = convert_table,
        .parser = convert_parse,
        .children = children,
        .doc = "Writes a quantised checkpoint in another format, without changing a weight.\v"
               "Read are the formats of compressed-tensors (int-quantized, pack-quantized), GPTQ, AWQ (gemm), MixLLM "
               "and mixtune; which one it is, config.json or the tensors say. Codes, zero points and scales stay as "
               "they are; what cannot be held exactly is refused.",
    };
    int status = options_parse(&argp, argc, argv, &o, &o.common);
    if (status != MT_OK)
        return status;
    interrupt_catch();
    return convert(&o);
}
