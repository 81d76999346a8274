#include "summary.h"
#include "runtime/base/array.h"
#include "runtime/checkpoint/packed.h"
#include "templates/gemm_args.h"
#include "tuner/progress.h"
#include "tuner/report/json_line.h"
#include "tuner/report/rows.h"
#include "tuner/shown.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Layers of one kind: their features, and of each layer the share in 8 bits. */
struct kind {
    char name[48];
    long features, features8;
    double *share; /* of each layer, owned */
    int count;
    size_t capacity;
};
enum { MOST_KINDS = 64 };
struct kinds {
    struct kind kind[MOST_KINDS];
    int count;
};

static void add_share(struct kinds *kinds, const char *name, int features, int features8) {
    int i = 0;
    while (i < kinds->count && strcmp(kinds->kind[i].name, name) != 0)
        i++;
    if (i == MOST_KINDS)
        return; /* more names than any model has */
    struct kind *kind = &kinds->kind[i];
    if (i == kinds->count) {
        kinds->count++;
        text_fit(kind->name, sizeof kind->name, "%s", name);
    }
    kind->features += features;
    kind->features8 += features8;
    array_grow(&kind->share, &kind->capacity, (size_t)kind->count, sizeof *kind->share);
    kind->share[kind->count++] = (double)features8 / features;
}

/* Features first .. end - 1 of a layer that have 8 bits. */
static int count8(const struct packed_layer *layer, int first, int end) {
    const struct tensor *columns = layer->tensor[MT_PART_W8][PACKED_COLUMNS];
    int count = 0;
    if (!columns)
        return layer->rows8 > 0 ? end - first : 0;
    for (int i = 0; i < layer->rows8; i++) {
        int32_t column;
        memcpy(&column, columns->data + (size_t)i * sizeof column, sizeof column);
        count += column >= first && column < end;
    }
    return count;
}

/* "experts.gate" of a part of "experts.gate_up". */
static void part_name(const struct fused *layer, int part, char *out, size_t size) {
    const char *dot = strrchr(layer->layer, '.');
    text_fit(out, size, "%.*s%s", dot ? (int)(dot - layer->layer) + 1 : 0, layer->layer, role_names[layer->role[part]]);
}

static void add_layer(struct kinds *parts, struct kinds *fused, const struct fused *layer,
                      const struct packed_layer *packed) {
    int first = 0;
    for (int i = 0; i < packed->source_count && i < layer->part_count; i++) {
        const int end = first + packed->source[i].rows;
        char name[48];
        part_name(layer, i, name, sizeof name);
        add_share(parts, name, end - first, count8(packed, first, end));
        first = end;
    }
    if (layer->part_count > 1)
        add_share(fused, layer->layer, packed->n, packed->rows8);
}

static enum mt_status add_folder(const struct source *source, const char *path, struct kinds *parts,
                                 struct kinds *fused, double *bits, double *weights) {
    struct packed_folder packed;
    enum mt_status status = packed_open(path, &packed);
    if (status)
        return status;
    for (int i = 0; i < source->modules.count && !status; i++) {
        const struct fused *layer = &source->modules.layer[i];
        const struct packed_layer *found = packed_find(&packed, layer->name);
        if (!found) {
            status = fail(MT_FAILURE, "%s has no layer %.120s, which was written there", path, layer->name);
            break;
        }
        add_layer(parts, fused, layer, found);
        *bits += 8.0 * (double)packed_layer_bytes(found);
        *weights += (double)found->n * found->k;
    }
    packed_close(&packed);
    return status;
}

/* ---- the table ---- */

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void add_cell(struct rows *rows, const char *format, double value) {
    struct str text = {0};
    str_printf(&text, format, value);
    array_grow(&rows->cell, &rows->capacity, (size_t)rows->count, sizeof *rows->cell);
    rows->cell[rows->count++] = text.data;
}

static void add_text(struct rows *rows, const char *text) {
    array_grow(&rows->cell, &rows->capacity, (size_t)rows->count, sizeof *rows->cell);
    rows->cell[rows->count++] = xstrdup(text);
}

/* While it is filled `count` counts cells. */
static void add_kinds(struct rows *rows, const char *scheme, struct kinds *kinds) {
    for (int i = 0; i < kinds->count; i++) {
        struct kind *kind = &kinds->kind[i];
        qsort(kind->share, (size_t)kind->count, sizeof *kind->share, by_size);
        const double middle = (kind->share[kind->count / 2] + kind->share[(kind->count - 1) / 2]) / 2;
        add_text(rows, scheme);
        add_text(rows, kind->name);
        add_cell(rows, "%.0f", kind->count);
        add_cell(rows, "%.0f", (double)kind->features);
        add_cell(rows, "%.1f", 100.0 * (double)kind->features8 / (double)kind->features);
        add_cell(rows, "%.1f", 100 * kind->share[0]);
        add_cell(rows, "%.1f", 100 * middle);
        add_cell(rows, "%.1f", 100 * kind->share[kind->count - 1]);
        free(kind->share);
    }
}

static void print_shares(const struct summary *s, struct kinds *parts, struct kinds *fused, bool json) {
    static const char *const names[] = {"scheme",   "layer",          "layers",          "features",
                                        "percent8", "least_percent8", "median_percent8", "most_percent8"};
    enum { COLUMNS = sizeof names / sizeof *names };
    struct rows rows = {.columns = COLUMNS};
    struct str out = {0};
    rows.name = xcalloc(COLUMNS, sizeof *rows.name);
    rows.text = xcalloc(COLUMNS, sizeof *rows.text);
    for (int i = 0; i < COLUMNS; i++)
        rows.name[i] = xstrdup(names[i]);
    rows.text[0] = rows.text[1] = true;
    add_kinds(&rows, s->scheme, parts);
    add_kinds(&rows, s->scheme, fused);
    rows.count /= COLUMNS;
    const struct table_style style = {.lift = ",scheme,", .last = rows.count, .width = terminal_width(STDOUT_FILENO)};
    if (json)
        rows_print_json(&rows, &out);
    else
        rows_print_table(&rows, &style, &out);
    fwrite(str_text(&out), 1, out.length, stdout);
    str_release(&out);
    rows_release(&rows);
}

static void print_sizes(const struct summary *s, double bits_per_weight, bool json) {
    if (json) {
        json_line(json_pack("{ss sf sI sI so}", "scheme", s->scheme, "bits_per_weight", bits_per_weight, "layer_bytes",
                            (json_int_t)s->layer_bytes, "rest_bytes", (json_int_t)s->rest_bytes, "out",
                            json_text(s->path[0].data)));
        return;
    }
    const double mib = 1024.0 * 1024.0;
    printf("%s: %.3f bits per weight with scales and padding; %.1f MiB of layers, %.1f MiB of the rest; %s%s\n\n",
           s->scheme, bits_per_weight, (double)s->layer_bytes / mib, (double)s->rest_bytes / mib,
           shown(s->path[0].data), s->tp > 1 ? " and its other ranks" : "");
}

enum mt_status summary_print(const struct summary *s, bool json) {
    struct kinds *parts = xcalloc(1, sizeof *parts), *fused = xcalloc(1, sizeof *fused);
    double bits = 0, weights = 0;
    enum mt_status status = MT_OK;
    for (int i = 0; i < s->tp && !status; i++)
        status = add_folder(s->source, s->path[i].data, parts, fused, &bits, &weights);
    if (!status) {
        print_shares(s, parts, fused, json);
        print_sizes(s, bits / weights, json);
    }
    free(parts);
    free(fused);
    return status;
}
