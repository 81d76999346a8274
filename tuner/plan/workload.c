#include "workload.h"
#include "packed_model.h"
#include "runtime/base/array.h"
#include "runtime/base/log.h"
#include "runtime/base/near.h"
#include "runtime/base/str.h"
#include "runtime/layer/split.h"
#include "tuner/splits.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool work_same_layer(const struct work_item *a, const struct work_item *b) {
    struct problem pa = a->problem, pb = b->problem;
    pa.m = pb.m = 1;
    return problem_equal(&pa, &pb) && !strcmp(a->layer, b->layer) && !strcmp(a->model, b->model) && a->tp == b->tp;
}

struct store_layer work_store_layer(const struct work_item *item) {
    return (struct store_layer){
        .model = item->model, .layer = item->layer, .n = item->problem.n, .k = item->problem.k, .tp = item->tp};
}

enum { MOST_PROBLEMS = 10000 }; /* a model at every M up to 256 in all schemes is fewer */

/* Everything that a command computes passes here: what is beyond the limits is refused before it costs memory. */
static enum mt_status add_item(struct workload *w, const struct work_item *item) {
    const enum mt_status status = problem_check(&item->problem);
    if (status)
        return fail_context(status, "layer %s%s%s", item->layer, *item->model ? " of " : "", item->model);
    for (int i = 0; i < w->count; i++)
        if (problem_equal(&w->item[i].problem, &item->problem) && work_same_layer(&w->item[i], item))
            return MT_OK;
    if (w->count == MOST_PROBLEMS)
        return fail(MT_USAGE,
                    "these are more than %d problems, which no sweep comes to the end of; name fewer with --m",
                    MOST_PROBLEMS);
    array_grow(&w->item, &w->capacity, (size_t)w->count, sizeof *w->item);
    w->item[w->count++] = *item;
    return MT_OK;
}

/* A problem for every number of tokens. */
static enum mt_status add_tokens(struct workload *w, struct work_item base, const struct int_list *m) {
    enum mt_status status = MT_OK;
    for (int i = 0; i < m->count && !status; i++) {
        base.problem.m = m->value[i];
        status = add_item(w, &base);
    }
    return status;
}

/* A command line, and what it names. */
struct asked {
    const struct work_options *options;
    const struct split_table *table; /* of --splits or --checkpoint; of no lines: there is none */
    const char *model;
    const struct model_layer *layer; /* of the model */
    int layer_count;
    struct int_list m; /* not owned */
};

static void say_points(const char *layer, const struct split_list *splits, const int *stands, const double *weight) {
    struct str text = {0};
    double all = 0, alone = 0;
    int points = 0;
    for (int i = 0; i < splits->count; i++) {
        all += splits->item[i].weight;
        alone += stands[i] < 0 ? splits->item[i].weight : 0;
        if (stands[i] == i)
            str_printf(&text, "%s %d (stands for %.10g)", points++ ? "," : "", splits->item[i].rows8, weight[i]);
    }
    log_info("%s: %d of %d splits are tuned, for all %.10g layers that the table counts; rows8%s", layer, points,
             splits->count, all, str_text(&text));
    if (alone > 0)
        log_warn(
            "%s: %.10g layers have splits that need other kernels than those that are tuned (all in 4 bits, or all "
            "in 8); with more --points they are tuned too",
            layer, alone);
    str_release(&text);
}

/* Of a layer's splits in the table those that are tuned. */
static void add_points(const struct asked *a, const struct work_item *item, const struct split_list *splits, bool say,
                       struct int_list *out) {
    int *stands = xcalloc((size_t)splits->count, sizeof *stands);
    double *weight = xcalloc((size_t)splits->count, sizeof *weight);
    points_choose(&item->problem, splits->item, splits->count, a->options->points, stands);
    for (int i = 0; i < splits->count; i++) {
        if (stands[i] == i)
            int_list_add(out, splits->item[i].rows8);
        if (stands[i] >= 0)
            weight[stands[i]] += splits->item[i].weight;
    }
    if (say)
        say_points(item->layer, splits, stands, weight);
    free(stands);
    free(weight);
}

/* What of a layer in one format keeps 8 bits: as --splits or --rows8 say, else the share of its scheme, which is set.
 * Nothing where the table does not name the layer. */
static enum mt_status layer_rows8(const struct asked *a, const struct work_item *item, bool say, struct int_list *out) {
    const struct work_options *o = a->options;
    const struct problem *p = &item->problem;
    struct split_list splits = {0};
    enum mt_status status = split_table_of(a->table, item->layer, p->n, o->fill, &splits);
    if (!status && splits.count)
        add_points(a, item, &splits, say, out);
    split_list_release(&splits);
    for (int i = 0; i < o->rows8.count; i++)
        int_list_add(out, split_filled(o->rows8.value[i], p->n, o->fill));
    if (!a->table->count && !o->rows8.count)
        int_list_add(out, split_filled(p->rows8, p->n, o->fill));
    return status;
}

/* One layer (model, layer, tp, n and k set in `base`) in all formats and for all token counts. */
static enum mt_status add_layer(struct workload *w, const struct asked *a, struct work_item base,
                                const struct int_list *m) {
    static const struct scheme w4a8 = {0};
    static const enum dtype fp16 = DTYPE_F16;
    static int group_default = 128;
    const struct work_options *o = a->options;
    const struct scheme *schemes = o->scheme_count ? o->scheme : &w4a8;
    const enum dtype *dtypes = o->dtype_count ? o->dtype : &fp16;
    struct int_list groups = o->group.count ? o->group : (struct int_list){&group_default, 1, 0};
    enum mt_status status = MT_OK;
    for (int d = 0; d < (o->dtype_count ? o->dtype_count : 1); d++)
        for (int g = 0; g < groups.count; g++)
            for (int s = 0; s < (o->scheme_count ? o->scheme_count : 1) && !status; s++) {
                struct int_list rows8 = {0};
                base.problem.dtype = dtypes[d];
                base.problem.group = groups.value[g];
                scheme_apply(schemes[s], &base.problem);
                status = layer_rows8(a, &base, d == 0, &rows8);
                for (int r = 0; r < rows8.count && !status; r++) {
                    base.problem.rows8 = rows8.value[r];
                    status = add_tokens(w, base, m);
                }
                int_list_release(&rows8);
            }
    return status;
}

static bool listed(const char *list, const char *name) {
    size_t length = strlen(name);
    for (const char *p = list; (p = strstr(p, name)); p += length)
        if ((p == list || p[-1] == ',') && (p[length] == ',' || !p[length]))
            return true;
    return false;
}

static bool has_layer(const struct asked *a, const char *name) {
    for (int i = 0; i < a->layer_count; i++)
        if (!strcmp(a->layer[i].name, name))
            return true;
    return false;
}

/* "; did you mean qkv?", else "; there are qkv, o, gate_up, down". */
static void print_layers(const struct asked *a, const char *wanted, struct str *out) {
    struct near near = {.wanted = wanted};
    struct str all = {0};
    for (int i = 0; i < a->layer_count; i++) {
        str_printf(&all, "%s%s", i ? ", " : "; there are ", a->layer[i].name);
        near_offer(&near, a->layer[i].name);
    }
    near_print(&near, str_text(&all), out);
    str_release(&all);
}

/* Every name in --layers must be a layer. */
static enum mt_status check_layers(const struct asked *a, const char *list) {
    enum mt_status status = list_check(list, "--layers");
    char *copy = xstrdup(list), *save;
    struct str names = {0};
    for (char *p = strtok_r(copy, ",", &save); p && !status; p = strtok_r(NULL, ",", &save))
        if (!has_layer(a, p)) {
            print_layers(a, p, &names);
            status = fail(MT_USAGE, "--layers: there is no layer `%s`%s", p, str_text(&names));
        }
    str_release(&names);
    free(copy);
    return status;
}

static bool table_names(const struct split_table *table, const char *layer) {
    for (int i = 0; i < table->count; i++)
        if (!strcmp(table->line[i].layer, layer))
            return true;
    return false;
}

static enum mt_status add_model(struct workload *w, const struct asked *a) {
    const struct work_options *o = a->options;
    enum mt_status status = MT_OK;
    for (int i = 0; i < a->layer_count && !status; i++) {
        const struct model_layer *layer = &a->layer[i];
        if (o->layers && !listed(o->layers, layer->name))
            continue;
        if (a->table->count && !table_names(a->table, layer->name))
            log_info("%s is left out: %s does not name it", layer->name, a->table->path.data);
        struct work_item base = {.problem = {.n = layer->n, .k = layer->k}, .tp = o->tp ? o->tp : 1};
        snprintf(base.model, sizeof base.model, "%s", a->model);
        snprintf(base.layer, sizeof base.layer, "%s", layer->name);
        status = add_layer(w, a, base, &a->m);
    }
    return status;
}

static void shape_name(const struct shape *shape, char out[32]) {
    snprintf(out, 32, "%dx%d", shape->n, shape->k);
}

static enum mt_status add_shapes(struct workload *w, const struct asked *a) {
    const struct work_options *o = a->options;
    enum mt_status status = MT_OK;
    for (int i = 0; i < o->shape_count && !status; i++) {
        const struct shape *shape = &o->shape[i];
        int own_m = shape->m;
        struct work_item base = {.problem = {.n = shape->n, .k = shape->k}, .tp = 1};
        shape_name(shape, base.layer);
        if (a->table->count && !table_names(a->table, base.layer))
            log_info("%s is left out: %s does not name it", base.layer, a->table->path.data);
        status = add_layer(w, a, base, own_m ? &(struct int_list){&own_m, 1, 0} : &a->m);
    }
    return status;
}

/* Numbers of features belong to shapes; whether 4-bit features have zero points is left to say. */
static enum mt_status check_rows8(const struct work_options *o) {
    const char *what = o->splits ? "--splits" : "--rows8";
    if (o->rows8.count && o->splits)
        return fail(MT_USAGE, "--rows8 and --splits both say how many features keep 8 bits; give one of them");
    if (o->rows8.count && (o->model || !o->shape_count))
        return fail(MT_USAGE, "--rows8 belongs to --shape; the layers of a model take --scheme p10 or --splits FILE");
    for (int s = 0; (o->rows8.count || o->splits) && s < o->scheme_count; s++)
        if (o->scheme[s].per_mille)
            return fail(MT_USAGE,
                        "%s says how many features keep 8 bits, and --scheme too: with %s it can be w4a8 or w4a8-sym",
                        what, what);
    for (int i = 0; i < o->rows8.count; i++)
        for (int j = 0; j < o->shape_count; j++)
            if (o->rows8.value[i] > o->shape[j].n)
                return fail(MT_USAGE, "--rows8: %d features cannot keep 8 bits where there are %d", o->rows8.value[i],
                            o->shape[j].n);
    return MT_OK;
}

static enum mt_status no_layer(const struct asked *a, const struct split_line *line) {
    struct str instead = {0};
    print_layers(a, line->layer, &instead);
    enum mt_status status =
        fail(MT_USAGE, "%s, line %d: there is no layer `%s`%s", a->table->path.data, line->number, line->layer,
             a->layer_count ? instead.data : "; with --shape N,K a layer's name is NxK, as in 4096x14336");
    str_release(&instead);
    return status;
}

/* Every layer of the table must be one of the model or a shape. */
static enum mt_status check_table(const struct asked *a) {
    const struct work_options *o = a->options;
    for (int i = 0; i < a->table->count; i++) {
        const struct split_line *line = &a->table->line[i];
        bool known = has_layer(a, line->layer);
        for (int j = 0; j < o->shape_count && !known; j++) {
            char name[32];
            shape_name(&o->shape[j], name);
            known = !strcmp(line->layer, name);
        }
        if (!known)
            return no_layer(a, line);
    }
    return MT_OK;
}

static enum mt_status add_all(struct workload *w, const struct asked *a) {
    const struct work_options *o = a->options;
    enum mt_status status = o->layers && a->layer ? check_layers(a, o->layers) : MT_OK;
    if (!status)
        status = check_table(a);
    if (!status)
        status = add_shapes(w, a);
    if (!status)
        status = add_model(w, a);
    if (!status && !w->count)
        status =
            fail(MT_USAGE, "nothing to do: %s names none of the layers that --layers lists", str_text(&a->table->path));
    return status;
}

static struct int_list tokens_of(const struct work_options *o) {
    return o->m.count ? o->m : usual_tokens();
}

/* What --model and --shape say, in the splits of --splits. */
static enum mt_status add_told(struct workload *w, const struct work_options *o) {
    struct split_table table = {0};
    struct model model;
    struct model_layer layers[MODEL_LAYERS];
    struct asked a = {.options = o, .table = &table, .m = tokens_of(o)};
    enum mt_status status = check_rows8(o);
    if (!status && o->splits)
        status = split_table_read(o->splits, &table);
    if (!status && o->model) {
        status = model_read(o->model, &model);
        if (!status)
            status = model_layers(&model, o->tp ? o->tp : 1, layers);
        a.model = model.name;
        a.layer = layers;
        a.layer_count = MODEL_LAYERS;
    }
    if (!status)
        status = add_all(w, &a);
    split_table_release(&table);
    return status;
}

/* ---- a checkpoint ---- */

static enum mt_status check_alone(const struct work_options *o) {
    const struct {
        const char *option;
        bool given;
    } others[] = {{"--model", o->model},
                  {"--shape", o->shape_count},
                  {"--splits", o->splits},
                  {"--scheme", o->scheme_count},
                  {"--rows8", o->rows8.count},
                  {"--group", o->group.count},
                  {"--tp", o->tp},
                  {"--fill", o->fill > 1}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (others[i].given)
            return fail(MT_USAGE, "%s cannot stand beside --checkpoint, which says that itself; leave it out",
                        others[i].option);
    return MT_OK;
}

/* As if the command line said what the checkpoint does. */
static enum mt_status add_checkpoint(struct workload *w, const struct work_options *o) {
    struct packed_model checkpoint = {0};
    enum mt_status status = check_alone(o);
    if (!status)
        status = packed_model_read(o->checkpoint, &checkpoint);
    if (!status) {
        struct work_options told = *o;
        told.tp = checkpoint.tp;
        told.group = (struct int_list){&checkpoint.group, 1, 0};
        told.scheme[told.scheme_count++] = (struct scheme){.symmetric = checkpoint.symmetric};
        status = add_all(w, &(struct asked){.options = &told,
                                            .table = &checkpoint.table,
                                            .model = checkpoint.model,
                                            .layer = checkpoint.layer,
                                            .layer_count = checkpoint.layer_count,
                                            .m = tokens_of(o)});
    }
    packed_model_release(&checkpoint);
    return status;
}

enum mt_status workload_init(struct workload *w, const struct work_options *o) {
    enum mt_status status;
    *w = (struct workload){0};
    if (o->checkpoint)
        status = add_checkpoint(w, o);
    else if (o->model || o->shape_count)
        status = add_told(w, o);
    else
        status = fail(MT_USAGE, "nothing to do: give --model NAME, --checkpoint DIR or --shape M,N,K (see --help)");
    if (status)
        workload_release(w);
    return status;
}

void workload_release(struct workload *w) {
    free(w->item);
    *w = (struct workload){0};
}
