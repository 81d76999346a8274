#include "runtime/base/str.h"
#include "runtime/layer/split.h"
#include "tuner/report/tables.h"
#include "view.h"
#include <stdlib.h>

/* The orders that the choice is compared with; `order` is NULL where the file has no such numbers. */
struct ladder {
    const struct view *view;
    struct choice_order even, odd, squares;
    uint8_t *mark[2]; /* [features] */
    struct rows rows;
};

static enum mt_status take_order(const struct view *v, enum saliences_kind kind, struct choice_order *out) {
    const struct saliences_layers *layers = &v->layers;
    float *value;
    if (!saliences_have(&v->file, &layers->modules, layers->module, kind))
        return MT_OK;
    const enum mt_status status = saliences_read(&v->file, &layers->modules, layers->module, kind, &value);
    if (status)
        return status;
    choice_order_init(&layers->modules, value, out);
    free(value);
    return MT_OK;
}

/* Marks as many features as `count` chooses, by another order. */
static void mark(const struct choice_order *order, bool uniform, size_t chosen, const int *count, uint8_t *out) {
    int *own = xcalloc((size_t)order->layers + 1, sizeof *own);
    if (!uniform)
        choice_first(order, chosen, own);
    choice_mark(order, uniform ? count : own, out);
    free(own);
}

/* Puts the share of the chosen features that two orders have in common. */
static void put_overlap(struct ladder *l, const struct choice_order *a, const struct choice_order *b, bool uniform,
                        const int *count) {
    size_t chosen = 0, both = 0;
    for (int i = 0; i < l->view->order.layers; i++)
        chosen += (size_t)count[i];
    if (!a->order || !b->order || chosen == 0) {
        rows_put(&l->rows, NULL);
        return;
    }
    mark(a, uniform, chosen, count, l->mark[0]);
    mark(b, uniform, chosen, count, l->mark[1]);
    for (size_t i = 0; i < l->view->order.total; i++)
        both += l->mark[0][i] & l->mark[1][i];
    rows_put(&l->rows, "%.4f", (double)both / (double)chosen);
}

static enum mt_status add_row(struct ladder *l, const struct amount_options *amount, int index) {
    const struct view *v = l->view;
    struct choice choice;
    const enum mt_status status = view_choose(v, amount, index, &choice);
    if (!status) {
        const struct choice_sizes sizes = view_sizes(v, choice.symmetric);
        const size_t bytes = choice_bytes(&sizes, choice.count);
        long features8 = 0;
        for (int i = 0; i < v->order.layers; i++)
            features8 += split_filled(choice.count[i], v->cut[i].n, v->options->fill);
        rows_put(&l->rows, "%s", choice.name);
        rows_put(&l->rows, "%ld", features8);
        rows_put(&l->rows, "%.4f", 8.0 * (double)bytes / (double)choice_weights(&sizes));
        rows_put(&l->rows, "%zu", bytes);
        rows_put(&l->rows, "%.2f", (double)bytes / 1024 / 1024);
        put_overlap(l, &l->even, &l->odd, amount->uniform, choice.count);
        put_overlap(l, &v->order, &l->squares, amount->uniform, choice.count);
    }
    free(choice.count);
    return status;
}

static enum mt_status add_rows(struct ladder *l) {
    static const char usual[] = "p0,p1,p2,p5,p10,p12.5,p15,p20,p30,p50,p100";
    const struct amount_options *asked = &l->view->options->amount;
    struct amount_options amount = {.uniform = asked->uniform};
    enum mt_status status = MT_OK;
    if (asked->scheme_count > 0)
        amount = *asked;
    else
        status = amount_add_schemes(usual, &amount);
    for (int i = 0; i < amount.scheme_count && !status; i++)
        status = add_row(l, &amount, i);
    if (!status && (asked->bits > 0 || asked->bytes > 0))
        status = add_row(l, asked, 0);
    return status;
}

static void tell(const struct ladder *l, struct str *out) {
    const bool json = l->view->options->json;
    if (!json)
        str_append(out, "\n");
    tables_append(&l->rows, (struct table_style){.hide = ",layer_bytes,", .rare = ",overlap_halves,overlap_squares,"},
                  json, out);
    if (!json && l->even.order)
        str_append(out, "overlap_halves: of the features that the samples with even numbers choose, the share that "
                        "those with odd numbers choose too\n");
    if (!json && l->squares.order)
        str_append(
            out, "overlap_squares: of the features that are chosen, the share that would be without the first order\n");
}

enum mt_status view_tell_ladder(const struct view *v, struct str *out) {
    struct ladder l = {.view = v, .mark = {xmalloc(v->order.total), xmalloc(v->order.total)}};
    rows_init(&l.rows, "scheme,features8,bits_per_weight,layer_bytes,mib,overlap_halves,overlap_squares", ",scheme,");
    enum mt_status status = take_order(v, SALIENCE_EVEN, &l.even);
    if (!status)
        status = take_order(v, SALIENCE_ODD, &l.odd);
    if (!status)
        status = take_order(v, SALIENCE_SQUARES, &l.squares);
    if (!status)
        status = add_rows(&l);
    if (!status)
        tell(&l, out);
    choice_order_release(&l.even);
    choice_order_release(&l.odd);
    choice_order_release(&l.squares);
    free(l.mark[0]);
    free(l.mark[1]);
    rows_release(&l.rows);
    return status;
}
