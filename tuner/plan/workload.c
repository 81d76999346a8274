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

/* One layer (model, layer, tp, n and k set in `base`) in all formats and for all token counts. */
static void add_layer(struct workload *w, const struct work_options *o, struct work_item base,
                      const struct int_list *m) {
    static const struct scheme w4a8 = {0};
    static const enum dtype fp16 = DTYPE_F16;
    static int group_default = 128;
    const struct scheme *schemes = o->scheme_count ? o->scheme : &w4a8;
    const enum dtype *dtypes = o->dtype_count ? o->dtype : &fp16;
    struct int_list groups = o->group.count ? o->group : (struct int_list){&group_default, 1, 0};
    for (int d = 0; d < (o->dtype_count ? o->dtype_count : 1); d++)
        for (int g = 0; g < groups.count; g++)
            for (int s = 0; s < (o->scheme_count ? o->scheme_count : 1); s++)
                for (int i = 0; i < m->count; i++) {
                    base.problem.dtype = dtypes[d];
                    base.problem.group = groups.value[g];
                    base.problem.scheme = schemes[s];
                    base.problem.m = m->value[i];
                    scheme_name(schemes[s], base.scheme);
                    add_item(w, &base);
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
        add_layer(w, o, base, m);
    }
    return MT_OK;
}

enum mt_status workload_init(struct workload *w, const struct work_options *o) {
    static int usual_m[] = {1, 16, 64, 256, 1024, 4096};
    *w = (struct workload){0};
    if (!o->model && !o->shape_count)
        return fail(MT_USAGE, "nothing to do: give --model NAME or --shape M,N,K (see --help)");
    struct int_list m = o->m.count ? o->m : (struct int_list){usual_m, sizeof usual_m / sizeof *usual_m, 0};
    for (int i = 0; i < o->shape_count; i++) {
        const struct shape *shape = &o->shape[i];
        int own_m = shape->m;
        struct work_item base = {.problem = {.n = shape->n, .k = shape->k}, .tp = 1};
        snprintf(base.layer, sizeof base.layer, "%dx%d", shape->n, shape->k);
        add_layer(w, o, base, own_m ? &(struct int_list){&own_m, 1, 0} : &m);
    }
    enum mt_status status = o->model ? add_model(w, o, &m) : MT_OK;
    if (status)
        workload_release(w);
    return status;
}

void workload_release(struct workload *w) {
    free(w->item);
    *w = (struct workload){0};
}
