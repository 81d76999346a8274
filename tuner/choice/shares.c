#include "shares.h"
#include "runtime/base/array.h"
#include "tuner/report/tables.h"
#include <stdlib.h>
#include <string.h>

static void add_share(struct share_kinds *kinds, const char *name, int features, int features8) {
    int i = 0;
    while (i < kinds->count && strcmp(kinds->kind[i].name, name) != 0)
        i++;
    if (i == MOST_KINDS)
        return; /* more names than any model has */
    struct share_kind *kind = &kinds->kind[i];
    if (i == kinds->count) {
        kinds->count++;
        text_fit(kind->name, sizeof kind->name, "%s", name);
    }
    kind->features += features;
    kind->features8 += features8;
    array_grow(&kind->share, &kind->capacity, (size_t)kind->count, sizeof *kind->share);
    kind->share[kind->count++] = (double)features8 / features;
}

void share_part_name(const struct fused *layer, int part, char *out, size_t size) {
    const char *dot = strrchr(layer->layer, '.');
    text_fit(out, size, "%.*s%s", dot ? (int)(dot - layer->layer) + 1 : 0, layer->layer, role_names[layer->role[part]]);
}

void shares_add(struct shares *shares, const struct fused *layer, const int rows[FUSED_PARTS],
                const int rows8[FUSED_PARTS]) {
    int all = 0, all8 = 0;
    for (int i = 0; i < layer->part_count; i++) {
        char name[sizeof shares->parts.kind->name];
        share_part_name(layer, i, name, sizeof name);
        add_share(&shares->parts, name, rows[i], rows8[i]);
        all += rows[i];
        all8 += rows8[i];
    }
    if (layer->part_count > 1)
        add_share(&shares->fused, layer->layer, all, all8);
}

void shares_release(struct shares *shares) {
    for (int i = 0; i < MOST_KINDS; i++) {
        free(shares->parts.kind[i].share);
        free(shares->fused.kind[i].share);
    }
    *shares = (struct shares){0};
}

/* ---- the table ---- */

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void add_kinds(struct rows *rows, const char *scheme, struct share_kinds *kinds) {
    for (int i = 0; i < kinds->count; i++) {
        struct share_kind *kind = &kinds->kind[i];
        qsort(kind->share, (size_t)kind->count, sizeof *kind->share, by_size);
        const double middle = (kind->share[kind->count / 2] + kind->share[(kind->count - 1) / 2]) / 2;
        rows_put(rows, "%s", scheme);
        rows_put(rows, "%s", kind->name);
        rows_put(rows, "%d", kind->count);
        rows_put(rows, "%ld", kind->features);
        rows_put(rows, "%.1f", 100.0 * (double)kind->features8 / (double)kind->features);
        rows_put(rows, "%.1f", 100 * kind->share[0]);
        rows_put(rows, "%.1f", 100 * middle);
        rows_put(rows, "%.1f", 100 * kind->share[kind->count - 1]);
    }
}

void shares_rows_init(struct rows *rows) {
    rows_init(rows, "scheme,layer,layers,features,percent8,least_percent8,median_percent8,most_percent8",
              ",scheme,layer,");
}

void shares_rows(struct shares *shares, const char *scheme, struct rows *rows) {
    add_kinds(rows, scheme, &shares->parts);
    add_kinds(rows, scheme, &shares->fused);
}

void shares_print(const struct rows *rows, bool json, struct str *out) {
    tables_append(rows, (struct table_style){.lift = ",scheme,"}, json, out);
}
