#include "workload.h"
#include "runtime/base/array.h"
#include "runtime/base/str.h"
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

/* One layer (model, layer, tp, n and k set in `base`) in all formats and for all token counts. `rows8` (may be empty)
 * takes the place of the schemes' shares. */
static void add_layer(struct workload *w, const struct work_options *o, struct work_item base,
                      const struct int_list *rows8, const struct int_list *m) {
    static const struct scheme w4a8 = {0};
    static const enum dtype fp16 = DTYPE_F16;
    static int group_default = 128;
    const struct scheme *schemes = o->scheme_count ? o->scheme : &w4a8;
    const enum dtype *dtypes = o->dtype_count ? o->dtype : &fp16;
    struct int_list groups = o->group.count ? o->group : (struct int_list){&group_default, 1, 0};
    for (int d = 0; d < (o->dtype_count ? o->dtype_count : 1); d++)
        for (int g = 0; g < groups.count; g++)
            for (int s = 0; s < (o->scheme_count ? o->scheme_count : 1); s++)
                for (int r = 0; r < (rows8->count ? rows8->count : 1); r++) {
                    base.problem.dtype = dtypes[d];
                    base.problem.group = groups.value[g];
                    scheme_apply(schemes[s], &base.problem);
                    if (rows8->count)
                        base.problem.rows8 = rows8->value[r];
                    add_tokens(w, base, m);
                }
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

static enum mt_status add_model(struct workload *w, const struct work_options *o, const struct int_list *m) {
    struct model model;
    struct model_layer layers[MODEL_LAYERS];
    enum mt_status status;
    if ((status = model_read(o->model, &model)) || (status = model_layers(&model, o->tp, layers)) ||
        (o->layers && (status = check_layers(o->layers, layers))))
        return status;
    for (int i = 0; i < MODEL_LAYERS; i++) {
        if (o->layers && !listed(o->layers, layers[i].name))
            continue;
        struct work_item base = {.problem = {.n = layers[i].n, .k = layers[i].k}, .tp = o->tp};
        snprintf(base.model, sizeof base.model, "%s", model.name);
        snprintf(base.layer, sizeof base.layer, "%s", layers[i].name);
        add_layer(w, o, base, &(struct int_list){0}, m);
    }
    return MT_OK;
}

/* Numbers of features belong to shapes; whether 4-bit features have zero points is left to say. */
static enum mt_status check_rows8(const struct work_options *o) {
    if (o->rows8.count && (o->model || !o->shape_count))
        return fail(MT_USAGE, "--rows8 belongs to --shape; the layers of a model take --scheme p10 or --splits FILE");
    for (int s = 0; o->rows8.count && s < o->scheme_count; s++)
        if (o->scheme[s].per_mille)
            return fail(MT_USAGE, "--rows8 says how many features keep 8 bits, and --scheme too: with --rows8 it can "
                                  "be w4a8 or w4a8-sym");
    for (int i = 0; i < o->rows8.count; i++)
        for (int j = 0; j < o->shape_count; j++)
            if (o->rows8.value[i] > o->shape[j].n)
                return fail(MT_USAGE, "--rows8: %d features cannot keep 8 bits where there are %d", o->rows8.value[i],
                            o->shape[j].n);
    return MT_OK;
}

enum mt_status workload_init(struct workload *w, const struct work_options *o) {
    static int usual_m[] = {1, 16, 64, 256, 1024, 4096};
    *w = (struct workload){0};
    if (!o->model && !o->shape_count)
        return fail(MT_USAGE, "nothing to do: give --model NAME or --shape M,N,K (see --help)");
    enum mt_status status = check_rows8(o);
    if (status)
        return status;
    struct int_list m = o->m.count ? o->m : (struct int_list){usual_m, sizeof usual_m / sizeof *usual_m, 0};
    for (int i = 0; i < o->shape_count; i++) {
        const struct shape *shape = &o->shape[i];
        int own_m = shape->m;
        struct work_item base = {.problem = {.n = shape->n, .k = shape->k}, .tp = 1};
        snprintf(base.layer, sizeof base.layer, "%dx%d", shape->n, shape->k);
        add_layer(w, o, base, &o->rows8, own_m ? &(struct int_list){&own_m, 1, 0} : &m);
    }
    status = o->model ? add_model(w, o, &m) : MT_OK;
    if (status)
        workload_release(w);
    return status;
}

void workload_release(struct workload *w) {
    free(w->item);
    *w = (struct workload){0};
}
