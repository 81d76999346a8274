#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include "runtime/base/str.h"
#include "runtime/base/visible.h"
#include "shares.h"
#include "tuner/keys.h"
#include "tuner/report/files.h"
#include "tuner/report/plot.h"
#include "view.h"
#include <stdlib.h>
#include <string.h>

/* What all layers of one class have in one decoder layer. */
struct cell {
    long features, features8;
};
struct grid {
    struct keys classes; /* "q", "experts.gate" */
    struct cell *cell;   /* [MOST_KINDS][decoders] */
    int decoders;
};

static void fill_grid(const struct view *v, const struct choice *choice, struct grid *out) {
    uint8_t *is8 = xmalloc(v->order.total);
    choice_mark(&v->order, choice->count, is8);
    *out = (struct grid){.decoders = v->layers.modules.decoders};
    out->cell = xcalloc((size_t)MOST_KINDS * (size_t)out->decoders, sizeof *out->cell);
    for (int i = 0; i < v->order.layers; i++) {
        const struct fused *layer = &v->layers.modules.layer[i];
        int rows[FUSED_PARTS], rows8[FUSED_PARTS];
        view_count_parts(v, i, is8, rows, rows8);
        for (int j = 0; j < layer->part_count; j++) {
            char name[48];
            share_part_name(layer, j, name, sizeof name);
            const int class = keys_number(&out->classes, name);
            if (class >= MOST_KINDS)
                continue; /* more names than any model has */
            struct cell *cell = &out->cell[(long)class * out->decoders + layer->decoder];
            cell->features += rows[j];
            cell->features8 += rows8[j];
        }
    }
    free(is8);
}

static void grid_rows(const struct grid *grid, struct rows *out) {
    rows_init(out, "class_at,class,decoder,features,features8,percent8", ",class,");
    for (int class = 0; class < grid->classes.count && class < MOST_KINDS; class ++)
        for (int i = 0; i < grid->decoders; i++) {
            const struct cell *cell = &grid->cell[(long)class * grid->decoders + i];
            if (cell->features == 0)
                continue;
            rows_put(out, "%d", class + 1);
            rows_put(out, "%s", grid->classes.text[class]);
            rows_put(out, "%d", i);
            rows_put(out, "%ld", cell->features);
            rows_put(out, "%ld", cell->features8);
            rows_put(out, "%.3f", 100.0 * (double)cell->features8 / (double)cell->features);
        }
}

/* The model's name, as much of it as a title has room for. */
static void put_model(const struct view *v, struct str *script) {
    enum { MOST = 40 };
    const char *model = calibration_text(&v->file.folder, "model");
    struct str visible = {0}, fitting = {0};
    model = model && *model ? model : "a model without a name";
    str_append_visible(&visible, model, strlen(model), "");
    text_shorten(visible.data, MOST, &fitting);
    plot_text(script, "model", fitting.data);
    str_release(&visible);
    str_release(&fitting);
}

static void make_script(const struct view *v, const struct choice *choice, const struct rows *rows, int decoders,
                        struct str *script) {
    size_t chosen = 0;
    struct str text = {0};
    for (int i = 0; i < v->order.layers; i++)
        chosen += (size_t)choice->count[i];
    str_append(script, "# Written by `mixtune show --salience`. In the folder above: gnuplot data/THIS_FILE\n");
    plot_text(script, "name", "salience");
    plot_text(script, "data", "salience.csv");
    put_model(v, script);
    str_printf(&text, "%s: %zu of %zu features keep 8 bits, %s", choice->name, chosen, v->order.total,
               v->options->amount.uniform ? "the same share of every layer" : "the most salient of the whole model");
    plot_text(script, "chosen", text.data);
    str_printf(script, "decoders = %d\n", decoders);
    plot_names(script, "classes", rows, "class_at", "class");
    plot_body(report_salience_gp, script);
    str_release(&text);
}

static enum mt_status write_all(const struct view *v, const struct choice *choice, const struct grid *grid) {
    const char *out = v->options->out;
    struct str path = {0}, csv = {0}, script = {0};
    struct rows rows;
    grid_rows(grid, &rows);
    rows_print_csv(&rows, &csv);
    make_script(v, choice, &rows, grid->decoders, &script);
    str_printf(&path, "%s/data", out);
    enum mt_status status = folder_make(path.data);
    str_clear(&path);
    str_printf(&path, "%s/salience.csv", out);
    if (!status)
        status = file_write_atomic(path.data, csv.data, csv.length);
    if (!status)
        status = plot_script(out, "salience", &script);
    if (!status)
        log_info("%s/salience.svg, .png and .csv: the share of each class in each decoder layer", out);
    rows_release(&rows);
    str_release(&path);
    str_release(&csv);
    str_release(&script);
    return status;
}

enum mt_status view_draw(const struct view *v, const struct amount_options *amount) {
    struct choice choice;
    struct grid grid = {0};
    enum mt_status status = view_choose(v, amount, 0, &choice);
    if (!status) {
        fill_grid(v, &choice, &grid);
        status = write_all(v, &choice, &grid);
    }
    keys_release(&grid.classes);
    free(grid.cell);
    free(choice.count);
    return status;
}
