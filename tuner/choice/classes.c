#include "runtime/base/str.h"
#include "shares.h"
#include "view.h"
#include <stdlib.h>

void view_count_parts(const struct view *v, int layer, const uint8_t *is8, int rows[FUSED_PARTS],
                      int rows8[FUSED_PARTS]) {
    const struct fused *fused = &v->layers.modules.layer[layer];
    size_t at = v->order.first[layer];
    for (int i = 0; i < FUSED_PARTS; i++) {
        rows[i] = i < fused->part_count ? v->layers.module[fused->part[i]].n : 0;
        rows8[i] = 0;
        for (int j = 0; j < rows[i]; j++)
            rows8[i] += is8[at++];
    }
}

static enum mt_status add_choice(const struct view *v, const struct amount_options *amount, int index,
                                 struct rows *out) {
    struct choice choice;
    const enum mt_status status = view_choose(v, amount, index, &choice);
    if (!status) {
        struct shares *shares = xcalloc(1, sizeof *shares);
        uint8_t *is8 = xmalloc(v->order.total);
        choice_mark(&v->order, choice.count, is8);
        for (int i = 0; i < v->order.layers; i++) {
            int rows[FUSED_PARTS], rows8[FUSED_PARTS];
            view_count_parts(v, i, is8, rows, rows8);
            shares_add(shares, &v->layers.modules.layer[i], rows, rows8);
        }
        shares_rows(shares, choice.name, out);
        shares_release(shares);
        free(shares);
        free(is8);
    }
    free(choice.count);
    return status;
}

enum mt_status view_tell_classes(const struct view *v, const struct amount_options *amount, struct str *out) {
    struct rows rows;
    enum mt_status status = MT_OK;
    shares_rows_init(&rows);
    for (int i = 0; i < (amount->scheme_count ? amount->scheme_count : 1) && !status; i++)
        status = add_choice(v, amount, i, &rows);
    if (!status) {
        if (!v->options->json)
            str_append(out, "\n");
        shares_print(&rows, v->options->json, out);
    }
    rows_release(&rows);
    return status;
}
