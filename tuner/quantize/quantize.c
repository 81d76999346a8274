/* For each decoder layer, for each of its linear layers: round all features at 4 and 8 bits once, put every scheme and
 * rank together from that, write. */
#include "quantize.h"
#include "blas.h"
#include "gptq.h"
#include "hessian.h"
#include "output.h"
#include "rank.h"
#include "runtime/base/log.h"
#include "runtime/base/parallel.h"
#include "runtime/base/str.h"
#include "runtime/layer/fill.h"
#include "runtime/layer/rows.h"
#include "runtime/layer/split.h"
#include "summary.h"
#include "templates/gemm_args.h"
#include "tuner/choice/choice.h"
#include "tuner/choice/saliences.h"
#include "tuner/progress.h"
#include "tuner/report/json_line.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The folder of one rank of one scheme. */
struct folder_out {
    struct output_plan plan;
    struct output *output;
    bool lacks;                  /* the decoder layer in hand */
    struct packed_layer *packed; /* its layers */
};

/* A scheme, and how it chooses. */
struct target {
    struct choice choice;
    struct folder_out *to; /* [tp] */
    struct str *path;      /* [tp] */
};

struct work {
    const struct quantize_options *o;
    struct source source;
    struct hessians hessians; /* empty without --hessian */
    struct model model;
    struct cut *cut; /* [tp][layers] */
    struct choice_order order;
    struct target *target;
    int target_count;
    struct str facts; /* what all targets are made with */
    struct progress progress;
    size_t read;
};

static const struct cut *cut_of(const struct work *w, int rank, int layer) {
    return &w->cut[(size_t)rank * (size_t)w->source.modules.count + (size_t)layer];
}

/* ---- one layer ---- */

/* What becomes of a layer in one rank. */
static int rows8_chosen(const struct work *w, const struct target *target, int rank, int layer) {
    return choice_rank_count(&w->source.modules.layer[layer], cut_of(w, rank, layer), target->choice.count[layer]);
}

static void describe(const struct work *w, const struct target *target, int rank, int layer, struct packed_layer *out) {
    const struct fused *fused = &w->source.modules.layer[layer];
    const struct cut *cut = cut_of(w, rank, layer);
    const struct tensor *bias = w->source.bias[fused->part[0]];
    const int chosen = rows8_chosen(w, target, rank, layer);
    *out = (struct packed_layer){.name = xstrdup(fused->name),
                                 .layer = xstrdup(fused->layer),
                                 .n = cut->n,
                                 .k = cut->k,
                                 .rows8 = split_filled(chosen, cut->n, w->o->fill),
                                 .rows8_chosen = chosen,
                                 .group = w->o->group,
                                 .symmetric = target->choice.symmetric,
                                 .tp = w->o->tp,
                                 .rank = rank,
                                 .bias_type = TENSOR_OTHER};
    /* Ranks that are cut along K are added up: one alone has the bias. */
    if (bias && (!fused_along_k(fused) || rank == 0))
        out->bias_type = bias->type;
    out->source = xcalloc((size_t)fused->part_count, sizeof *out->source);
    out->source_count = fused->part_count;
    for (int i = 0; i < fused->part_count; i++)
        out->source[i].name = xstrdup(w->source.module[fused->part[i]].name);
    for (int i = 0; i < cut->count; i++)
        out->source[cut->piece[i].part].rows += cut->piece[i].rows;
}

/* Rounds what a rank has of a layer; `hessian` is of its inputs, or has no factor. */
static enum mt_status round_rank(const struct work *w, int layer, int rank, const bool width[2],
                                 const struct hessian *hessian, struct quant_rows *rows) {
    const struct fused *fused = &w->source.modules.layer[layer];
    const struct cut *cut = cut_of(w, rank, layer);
    const struct gptq_plan plan = {.feedback = w->o->gptq, .clip = w->o->clip};
    struct problem p = {.m = 1, .n = cut->n, .k = cut->k, .group = w->o->group};
    struct rank weights;
    for (int i = 0; i < w->target_count; i++)
        p.symmetric |= w->target[i].choice.symmetric;
    const enum mt_status status = quant_rows_init(rows, &p, width[MT_PART_W8], width[MT_PART_W4]);
    if (status)
        return fail_context(status, "%s", fused->name);
    rows->clip = w->o->clip;
    rank_init(&w->source, fused, cut, &weights);
    return hessian->factor ? gptq_round(&weights, hessian, &plan, rows) : rank_round(&weights, rows);
}

/* Ranks that are cut along N have the same inputs: the first one's factor stays for all. */
static enum mt_status factor_for(const struct work *w, int layer, int rank, struct hessian *hessian) {
    const struct fused *fused = &w->source.modules.layer[layer];
    const struct hessian_plan plan = {.group = w->o->group,
                                      .by_index = w->o->group_order == ORDER_INDEX,
                                      .damping = w->o->damping,
                                      .blocks = w->o->clip};
    if (!w->o->hessian || (rank > 0 && !fused_along_k(fused)))
        return MT_OK;
    hessian_release(hessian);
    const enum mt_status status =
        hessian_factor(w->hessians.of[layer], fused->name, cut_of(w, rank, layer), &plan, hessian);
    if (!status && !hessian->factor)
        log_warn("no token came to %s in the calibration: its weights are rounded to nearest", fused->name);
    return status;
}

static enum mt_status round_ranks(const struct work *w, int layer, const bool width[2], struct quant_rows *rows) {
    struct hessian hessian = {0};
    enum mt_status status = MT_OK;
    for (int rank = 0; rank < w->o->tp && !status; rank++) {
        status = factor_for(w, layer, rank, &hessian);
        if (!status)
            status = round_rank(w, layer, rank, width, &hessian, &rows[rank]);
    }
    hessian_release(&hessian);
    return status;
}

/* A layer that is cut along K keeps the same features in all ranks: by the error of all of them together. */
static double *sum_errors(const struct work *w, int layer, const struct quant_rows *rows) {
    if (w->order.place || !fused_along_k(&w->source.modules.layer[layer]) || !rows->error[MT_PART_W4])
        return NULL;
    double *sum = xcalloc((size_t)rows->n, sizeof *sum);
    for (int rank = 0; rank < w->o->tp; rank++)
        for (int i = 0; i < rows->n; i++)
            sum[i] += rows[rank].error[MT_PART_W4][i];
    return sum;
}

/* Sets is8 [n] of one rank. */
static void choose(const struct work *w, int layer, const struct packed_layer *packed, const double *sum,
                   const struct quant_rows *rows, uint8_t *is8) {
    const double *error = rows->error[MT_PART_W4];
    if (packed->rows8 == 0 || packed->rows8 == packed->n) {
        memset(is8, packed->rows8 > 0, (size_t)packed->n);
        return;
    }
    choice_features(&w->order, layer, cut_of(w, packed->rank, layer), packed->rows8_chosen, sum ? sum : error, is8);
    fill_largest(error, packed->n, packed->rows8, is8);
}

/* The rank's bias, NULL if it has none; the caller frees it. */
static uint8_t *cut_bias(const struct work *w, int layer, const struct packed_layer *packed) {
    const struct fused *fused = &w->source.modules.layer[layer];
    const struct cut *cut = cut_of(w, packed->rank, layer);
    if (packed->bias_type == TENSOR_OTHER)
        return NULL;
    const size_t each = tensor_type_bytes(packed->bias_type);
    uint8_t *bias = xmalloc((size_t)packed->n * each), *at = bias;
    for (int i = 0; i < cut->count; i++) {
        const struct cut_piece *piece = &cut->piece[i];
        const struct tensor *t = w->source.bias[fused->part[piece->part]];
        memcpy(at, t->data + (size_t)piece->first * each, (size_t)piece->rows * each);
        at += (size_t)piece->rows * each;
    }
    return bias;
}

static enum mt_status put_layer(const struct work *w, int layer, struct folder_out *to,
                                const struct packed_layer *packed, const double *sum, const struct quant_rows *rows) {
    struct quant_layer quant;
    uint8_t *is8 = xcalloc((size_t)packed->n, 1);
    choose(w, layer, packed, sum, rows, is8);
    enum mt_status status = quant_rows_pack(rows, is8, &quant);
    if (!status) {
        uint8_t *bias = cut_bias(w, layer, packed);
        status = output_put(to->output, packed, &quant, bias);
        free(bias);
        quant_layer_release(&quant);
    }
    free(is8);
    return status;
}

/* Which widths the folders need that lack the layer; `at`: its place in the decoder layer. */
static void find_widths(const struct work *w, int at, bool width[2]) {
    width[MT_PART_W8] = width[MT_PART_W4] = false;
    for (int i = 0; i < w->target_count; i++)
        for (int rank = 0; rank < w->o->tp; rank++) {
            const struct folder_out *to = &w->target[i].to[rank];
            if (to->lacks) {
                width[MT_PART_W8] |= to->packed[at].rows8 > 0;
                width[MT_PART_W4] |= to->packed[at].rows8 < to->packed[at].n;
            }
        }
}

static enum mt_status quantize_layer(struct work *w, int layer, int at) {
    const int tp = w->o->tp;
    struct quant_rows *rows = xcalloc((size_t)tp, sizeof *rows);
    double *sum = NULL;
    bool width[2];
    find_widths(w, at, width);
    enum mt_status status = round_ranks(w, layer, width, rows);
    if (!status)
        sum = sum_errors(w, layer, rows);
    for (int i = 0; i < w->target_count * tp && !status; i++) {
        struct folder_out *to = &w->target[i / tp].to[i % tp];
        if (to->lacks)
            status = put_layer(w, layer, to, &to->packed[at], sum, &rows[i % tp]);
    }
    const struct fused *fused = &w->source.modules.layer[layer];
    for (int i = 0; i < fused->part_count; i++)
        w->read += w->source.weight[fused->part[i]]->bytes;
    free(sum);
    for (int rank = 0; rank < tp; rank++)
        quant_rows_release(&rows[rank]);
    free(rows);
    return status;
}

/* ---- one decoder layer ---- */

static enum mt_status begin_file(struct work *w, const struct target *target, int rank, int first, int end) {
    struct folder_out *to = &target->to[rank];
    to->packed = xcalloc((size_t)(end - first), sizeof *to->packed);
    for (int i = first; i < end; i++)
        describe(w, target, rank, i, &to->packed[i - first]);
    return output_begin(to->output, w->source.modules.layer[first].decoder, to->packed, end - first);
}

static void release_packed(struct folder_out *to, int count) {
    for (int i = 0; to->packed && i < count; i++)
        packed_layer_release(&to->packed[i]);
    free(to->packed);
    to->packed = NULL;
}

/* The layers first .. end - 1 are those of one decoder layer. */
static enum mt_status quantize_decoder(struct work *w, int first, int end) {
    const int folders = w->target_count * w->o->tp;
    enum mt_status status = MT_OK;
    bool lacks = false;
    for (int i = 0; i < folders && !status; i++) {
        const struct target *target = &w->target[i / w->o->tp];
        struct folder_out *to = &target->to[i % w->o->tp];
        to->lacks = !output_has(to->output, w->source.modules.layer[first].decoder);
        lacks |= to->lacks;
        if (to->lacks)
            status = begin_file(w, target, i % w->o->tp, first, end);
    }
    for (int i = first; i < end && !status; i++) {
        if (lacks && !interrupted())
            status = quantize_layer(w, i, i - first);
        if (interrupted())
            status = fail(MT_INTERRUPTED, "interrupted after %ld of %ld layers; the same command goes on from there",
                          w->progress.done, w->progress.total);
        if (!status)
            progress_step(&w->progress, true, NULL);
    }
    for (int i = 0; i < folders; i++) {
        struct folder_out *to = &w->target[i / w->o->tp].to[i % w->o->tp];
        if (to->lacks && !status)
            status = output_end(to->output);
        release_packed(to, end - first);
    }
    return status;
}

static enum mt_status quantize_all(struct work *w) {
    const struct modules *m = &w->source.modules;
    enum mt_status status = MT_OK;
    progress_init(&w->progress, "quantize", m->count, w->o->common.quiet);
    for (int first = 0, end; first < m->count && !status; first = end) {
        for (end = first; end < m->count && m->layer[end].decoder == m->layer[first].decoder; end++)
            ;
        status = quantize_decoder(w, first, end);
    }
    progress_release(&w->progress);
    return status;
}

/* ---- what is to be made ---- */

static enum mt_status cut_all(struct work *w) {
    const struct modules *m = &w->source.modules;
    enum mt_status status = MT_OK;
    if (w->o->tp > 1) {
        struct str path = {0};
        str_printf(&path, "%s/config.json", w->source.folder.path.data);
        status = model_read(path.data, &w->model);
        str_release(&path);
        if (status)
            return fail_context(status, "--tp cuts by heads");
    }
    w->cut = xcalloc((size_t)w->o->tp * (size_t)m->count, sizeof *w->cut);
    for (int rank = 0; rank < w->o->tp; rank++)
        for (int i = 0; i < m->count && !status; i++)
            status = cut_layer(w->source.module, &m->layer[i], &w->model, w->o->tp, rank,
                               &w->cut[(size_t)rank * (size_t)m->count + (size_t)i]);
    return status;
}

/* Features in 4 bits have no zero points in any scheme, or in all. */
static bool is_symmetric(const struct quantize_options *o) {
    bool symmetric = o->symmetric;
    for (int i = 0; i < o->amount.scheme_count; i++)
        symmetric |= o->amount.scheme[i].scheme.symmetric;
    return symmetric;
}

static enum mt_status put_in_order(struct work *w) {
    const struct modules *m = &w->source.modules;
    struct saliences saliences;
    float *value = NULL;
    if (w->o->salience) {
        enum mt_status status = saliences_open(w->o->salience, &saliences);
        if (status)
            return status;
        status = saliences_compare(&saliences, (struct saliences_rounding){w->o->group, is_symmetric(w->o)});
        if (!status)
            status = saliences_read(&saliences, m, w->source.module, SALIENCE, &value);
        saliences_close(&saliences);
        if (status)
            return status;
    }
    choice_order_init(m, value, &w->order);
    free(value);
    return MT_OK;
}

static void collect_facts(struct work *w) {
    char hash[33] = "none";
    if (w->order.order)
        packed_hash(w->order.order, w->order.total * sizeof *w->order.order, hash);
    str_printf(&w->facts, "quantize clip %d fill %d uniform %d salience %s bits %.17g bytes %lld heads %d %d",
               w->o->clip, w->o->fill, w->o->amount.uniform, hash, w->o->amount.bits, w->o->amount.bytes,
               w->model.heads, w->model.kv_heads);
    if (w->o->hessian)
        str_printf(&w->facts, " gptq %d hessian %s order %d damping %.17g", w->o->gptq, w->hessians.hash,
                   w->o->group_order, w->o->damping);
}

static enum mt_status open_hessians(struct work *w) {
    if (!w->o->hessian)
        return MT_OK;
    enum mt_status status = blas_open();
    return status ? status : hessians_open(w->o->hessian, &w->source, &w->hessians);
}

static enum mt_status choose_target(const struct work *w, int i, struct target *target) {
    const struct choice_sizes sizes = {.modules = &w->source.modules,
                                       .cut = w->cut,
                                       .tp = w->o->tp,
                                       .group = w->o->group,
                                       .fill = w->o->fill,
                                       .symmetric = w->o->symmetric};
    return choice_make(&w->order, &sizes, &w->o->amount, i, &target->choice);
}

/* How features were rounded, for whoever finds the folder later. */
static const char *method_text(const struct quantize_options *o) {
    if (!o->clip)
        return o->gptq ? "gptq" : "rtn";
    if (o->gptq)
        return "gptq, clipped by outputs";
    return o->hessian ? "rtn, clipped by outputs" : "rtn, clipped by weights";
}

static enum mt_status open_folder(const struct work *w, struct target *target, int rank) {
    struct folder_out *to = &target->to[rank];
    struct str *path = &target->path[rank];
    str_append(path, w->o->out);
    if (w->target_count > 1)
        str_printf(path, "/%s", target->choice.name);
    if (w->o->tp > 1)
        str_printf(path, "/rank-%d-of-%d", rank, w->o->tp);
    to->plan = (struct output_plan){.path = path->data,
                                    .source = &w->source.folder,
                                    .options = w->facts.data,
                                    .scheme = target->choice.name,
                                    .method = method_text(w->o),
                                    .group = w->o->group,
                                    .symmetric = target->choice.symmetric,
                                    .tp = w->o->tp,
                                    .rank = rank,
                                    .leave_rest = w->o->leave_rest};
    return output_open(&to->plan, &to->output);
}

/* Everything is chosen before the first folder is made. */
static enum mt_status open_targets(struct work *w) {
    enum mt_status status = MT_OK;
    w->target_count = w->o->amount.scheme_count > 0 ? w->o->amount.scheme_count : 1;
    w->target = xcalloc((size_t)w->target_count, sizeof *w->target);
    for (int i = 0; i < w->target_count && !status; i++)
        status = choose_target(w, i, &w->target[i]);
    for (int i = 0; i < w->target_count && !status; i++) {
        w->target[i].to = xcalloc((size_t)w->o->tp, sizeof *w->target[i].to);
        w->target[i].path = xcalloc((size_t)w->o->tp, sizeof *w->target[i].path);
        for (int rank = 0; rank < w->o->tp && !status; rank++)
            status = open_folder(w, &w->target[i], rank);
    }
    return status;
}

/* How many widths of a layer's rows the schemes need. */
static int widths_of(const struct work *w, int layer) {
    bool wide = false, narrow = false;
    for (int i = 0; i < w->target_count; i++) {
        wide |= w->target[i].choice.count[layer] > 0;
        narrow |= w->target[i].choice.count[layer] < w->source.modules.layer[layer].n;
    }
    return wide + narrow;
}

/* Of all layers, whatever of them is done. */
static void tell_cost(const struct work *w) {
    double operations = 0;
    int largest = 0;
    for (int i = 0; i < w->source.modules.count; i++) {
        const struct cut *cut = cut_of(w, 0, i);
        const int factors = fused_along_k(&w->source.modules.layer[i]) ? w->o->tp : 1;
        const int rounds = w->o->tp * widths_of(w, i) * (w->o->clip ? 2 : 1);
        operations += factors * gptq_factor_operations(cut->k) + rounds * gptq_row_operations(cut->n, cut->k);
        largest = cut->k > largest ? cut->k : largest;
    }
    log_info("%s takes %.2g operations in fp64; the largest Hessian is %d x %d (%.2g GB)",
             w->o->gptq ? "GPTQ" : "--clip by output error", operations, largest, largest,
             1e-9 * sizeof(double) * largest * largest);
}

/* ---- the end ---- */

static enum mt_status finish(struct work *w) {
    enum mt_status status = MT_OK;
    for (int i = 0; i < w->target_count * w->o->tp && !status; i++)
        status = output_finish(w->target[i / w->o->tp].to[i % w->o->tp].output, w->source.taken);
    return status;
}

static enum mt_status print_all(const struct work *w, double seconds) {
    const bool json = w->o->common.json;
    enum mt_status status = MT_OK;
    for (int i = 0; i < w->target_count && !status; i++) {
        const struct target *target = &w->target[i];
        struct summary summary = {
            .source = &w->source, .scheme = target->choice.name, .path = target->path, .tp = w->o->tp};
        for (int rank = 0; rank < w->o->tp; rank++) {
            summary.layer_bytes += output_layer_bytes(target->to[rank].output);
            summary.rest_bytes += output_rest_bytes(target->to[rank].output);
        }
        status = summary_print(&summary, json);
    }
    const double rate = seconds > 0 ? (double)w->read / seconds / 1e9 : 0;
    if (!status && json)
        json_line(
            json_pack("{sf sI sf}", "seconds", seconds, "source_bytes", (json_int_t)w->read, "source_gb_per_s", rate));
    else if (!status)
        printf("%.1f MB of weights in %.2f s: %.2f GB/s\n", (double)w->read / 1e6, seconds, rate);
    return status;
}

static void work_release(struct work *w) {
    for (int i = 0; i < w->target_count; i++) {
        struct target *target = &w->target[i];
        for (int rank = 0; target->to && rank < w->o->tp; rank++) {
            output_close(target->to[rank].output);
            str_release(&target->path[rank]);
        }
        free(target->to);
        free(target->path);
        free(target->choice.count);
    }
    free(w->target);
    free(w->cut);
    str_release(&w->facts);
    choice_order_release(&w->order);
    hessians_close(&w->hessians);
    source_close(&w->source);
}

enum mt_status quantize_run(const struct quantize_options *o) {
    struct work w = {.o = o};
    const double started = seconds_now();
    interrupt_catch();
    parallel_limit(o->threads);
    enum mt_status status = source_open(o->model, &w.source);
    if (status)
        return status;
    status = cut_all(&w);
    if (!status)
        status = put_in_order(&w);
    if (!status)
        status = open_hessians(&w);
    if (!status) {
        collect_facts(&w);
        status = open_targets(&w);
    }
    if (!status && o->hessian && !o->common.quiet)
        tell_cost(&w);
    if (!status)
        status = quantize_all(&w);
    if (!status)
        status = finish(&w);
    if (!status)
        status = print_all(&w, seconds_now() - started);
    work_release(&w);
    return status;
}
