#include "workload.h"
#include "runtime/base/array.h"
#include "runtime/base/log.h"
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

static void add_item(struct workload *w, const struct work_item *item) {
    for (int i = 0; i < w->count; i++)
        if (problem_equal(&w->item[i].problem, &item->problem) && work_same_layer(&w->item[i], item))
            return;
    array_grow(&w->item, &w->capacity, (size_t)w->count, sizeof *w->item);
    w->item[w->count++] = *item;
}

/* A problem for every number of tokens. */
static void add_tokens(struct workload *w, struct work_item base, const struct int_list *m) {
    for (int i = 0; i < m->count; i++) {
        base.problem.m = m->value[i];
        add_item(w, &base);
    }
}

/* A command line, and what it names. */
struct asked {
    const struct work_options *options;
    struct split_table table; /* of --splits; of no lines: there is none */
    struct int_list m;        /* not owned */
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
    enum mt_status status = split_table_of(&a->table, item->layer, p->n, o->fill, &splits);
    if (!status && splits.count)
        add_points(a, item, &splits, say, out);
    split_list_release(&splits);
    for (int i = 0; i < o->rows8.count; i++)
        int_list_add(out, split_filled(o->rows8.value[i], p->n, o->fill));
    if (!a->table.count && !o->rows8.count)
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
                    add_tokens(w, base, m);
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

/* Every name in --layers must be a layer. */
static enum mt_status check_layers(const char *list, const struct model_layer *layers) {
    enum mt_status status = list_check(list, "--layers");
    char *copy = xstrdup(list), *save;
    for (char *p = strtok_r(copy, ",", &save); p && !status; p = strtok_r(NULL, ",", &save)) {
        bool known = false;
        for (int i = 0; i < MODEL_LAYERS; i++)
            known = known || !strcmp(p, layers[i].name);
        if (!known)
            status = fail(MT_USAGE, "--layers: there is no layer `%s`; there are qkv, o, gate_up, down", p);
    }
    free(copy);
    return status;
}

static bool table_names(const struct split_table *table, const char *layer) {
    for (int i = 0; i < table->count; i++)
        if (!strcmp(table->line[i].layer, layer))
            return true;
    return false;
}

static enum mt_status add_model(struct workload *w, const struct asked *a, const struct model *model,
                                const struct model_layer *layers) {
    const struct work_options *o = a->options;
    enum mt_status status = MT_OK;
    for (int i = 0; i < MODEL_LAYERS && !status; i++) {
        if (o->layers && !listed(o->layers, layers[i].name))
            continue;
        if (a->table.count && !table_names(&a->table, layers[i].name))
            log_info("%s is left out: %s does not name it", layers[i].name, a->table.path.data);
        struct work_item base = {.problem = {.n = layers[i].n, .k = layers[i].k}, .tp = o->tp};
        snprintf(base.model, sizeof base.model, "%s", model->name);
        snprintf(base.layer, sizeof base.layer, "%s", layers[i].name);
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
        if (a->table.count && !table_names(&a->table, base.layer))
            log_info("%s is left out: %s does not name it", base.layer, a->table.path.data);
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

/* Every layer of the table must be one of the model or a shape. */
static enum mt_status check_table(const struct asked *a, const struct model_layer *layers) {
    const struct work_options *o = a->options;
    for (int i = 0; i < a->table.count; i++) {
        const struct split_line *line = &a->table.line[i];
        bool known = false;
        for (int j = 0; o->model && j < MODEL_LAYERS; j++)
            known = known || !strcmp(line->layer, layers[j].name);
        for (int j = 0; j < o->shape_count && !known; j++) {
            char name[32];
            shape_name(&o->shape[j], name);
            known = !strcmp(line->layer, name);
        }
        if (!known)
            return fail(MT_USAGE, "%s, line %d: there is no layer `%s`; %s", a->table.path.data, line->number,
                        line->layer,
                        o->model ? "there are qkv, o, gate_up, down"
                                 : "with --shape N,K a layer's name is NxK, as in 4096x14336");
    }
    return MT_OK;
}

static enum mt_status add_all(struct workload *w, const struct asked *a) {
    const struct work_options *o = a->options;
    struct model model;
    struct model_layer layers[MODEL_LAYERS];
    enum mt_status status;
    if (o->model && ((status = model_read(o->model, &model)) || (status = model_layers(&model, o->tp, layers)) ||
                     (o->layers && (status = check_layers(o->layers, layers)))))
        return status;
    if ((status = check_table(a, layers)) || (status = add_shapes(w, a)))
        return status;
    return o->model ? add_model(w, a, &model, layers) : MT_OK;
}

enum mt_status workload_init(struct workload *w, const struct work_options *o) {
    static int usual_m[] = {1, 16, 64, 256, 1024, 4096};
    struct asked a = {.options = o,
                      .m = o->m.count ? o->m : (struct int_list){usual_m, sizeof usual_m / sizeof *usual_m, 0}};
    *w = (struct workload){0};
    if (!o->model && !o->shape_count)
        return fail(MT_USAGE, "nothing to do: give --model NAME or --shape M,N,K (see --help)");
    enum mt_status status = check_rows8(o);
    if (!status && o->splits)
        status = split_table_read(o->splits, &a.table);
    if (!status)
        status = add_all(w, &a);
    if (!status && !w->count)
        status = fail(MT_USAGE, "nothing to do: %s names none of the layers that --layers lists", a.table.path.data);
    split_table_release(&a.table);
    if (status)
        workload_release(w);
    return status;
}

void workload_release(struct workload *w) {
    free(w->item);
    *w = (struct workload){0};
}
