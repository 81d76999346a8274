#include "view.h"
#include "runtime/base/str.h"
#include <stdlib.h>

/* The file's own rounding decides the sizes, unless another is asked for. */
static enum mt_status take_rounding(struct view *v) {
    v->rounding = (struct saliences_rounding){.group = 128};
    const enum mt_status status = saliences_rounding(&v->file, &v->rounding);
    if (v->options->group)
        v->rounding.group = v->options->group;
    v->rounding.symmetric |= v->options->symmetric;
    return status ? status : saliences_compare(&v->file, v->rounding);
}

static enum mt_status take_order(struct view *v) {
    const struct modules *m = &v->layers.modules;
    float *value;
    enum mt_status status = saliences_read(&v->file, m, v->layers.module, SALIENCE, &value);
    if (status)
        return status;
    choice_order_init(m, value, &v->order);
    free(value);
    v->cut = xcalloc((size_t)m->count + 1, sizeof *v->cut);
    for (int i = 0; i < m->count && !status; i++)
        status = cut_layer(v->layers.module, &m->layer[i], NULL, 1, 0, &v->cut[i]);
    return status;
}

enum mt_status view_open(const struct salience_options *options, struct view *out) {
    *out = (struct view){.options = options};
    enum mt_status status = saliences_open(options->path, &out->file);
    if (status)
        return status;
    status = saliences_find_layers(&out->file, &out->layers);
    if (!status)
        status = take_rounding(out);
    if (!status)
        status = take_order(out);
    if (status)
        view_close(out);
    return status;
}

void view_close(struct view *v) {
    choice_order_release(&v->order);
    free(v->cut);
    saliences_release_layers(&v->layers);
    saliences_close(&v->file);
}

struct choice_sizes view_sizes(const struct view *v, bool symmetric) {
    return (struct choice_sizes){.modules = &v->layers.modules,
                                 .cut = v->cut,
                                 .tp = 1,
                                 .group = v->rounding.group,
                                 .fill = v->options->fill,
                                 .symmetric = symmetric};
}

enum mt_status view_choose(const struct view *v, const struct amount_options *amount, int index, struct choice *out) {
    const struct choice_sizes sizes = view_sizes(v, v->rounding.symmetric);
    return choice_make(&v->order, &sizes, amount, index, out);
}
