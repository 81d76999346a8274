/* mixtune report: CSV files, plots and one self-contained HTML page of what a database holds. */
#include "cmd.h"
#include "runtime/base/file.h"
#include "runtime/base/log.h"
#include "tuner/report/files.h"
#include "tuner/report/json_line.h"
#include "tuner/report/plot.h"
#include "tuner/report/query.h"
#include "tuner/report/tables.h"
#include "tuner/shown.h"
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct report {
    struct query_options query;
    const char *out;
};

enum { PAGE_FAILURES = 200, PAGE_PEERS = 600 };

static const struct argp_option report_table[] = {
    {"out", 'o', "FOLDER", 0, "Where to write: index.html, the plots, data/ (default: report)", 20},
    {0},
};

static error_t report_parse(int key, char *arg, struct argp_state *state) {
    struct report *o = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &o->query;
        return 0;
    case 'o':
        o->out = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- the page ---- */

static void append_base64(const unsigned char *data, size_t size, struct str *out) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        unsigned bits = (unsigned)data[i] << 16 | (i + 1 < size ? (unsigned)data[i + 1] << 8 : 0) |
                        (i + 2 < size ? data[i + 2] : 0);
        char four[4] = {digits[bits >> 18], digits[bits >> 12 & 63], i + 1 < size ? digits[bits >> 6 & 63] : '=',
                        i + 2 < size ? digits[bits & 63] : '='};
        str_append_bytes(out, four, 4);
    }
}

static enum mt_status append_picture(const char *dir, const char *name, const char *alt, struct str *page) {
    struct str path = {0}, picture = {0};
    str_printf(&path, "%s/%s.svg", dir, name);
    enum mt_status status = file_read(path.data, &picture);
    if (status == MT_OK) {
        str_append(page, "<img alt=\"");
        html_escape(alt, page);
        str_append(page, "\" src=\"data:image/svg+xml;base64,");
        append_base64((const unsigned char *)picture.data, picture.length, page);
        str_append(page, "\">\n");
    }
    str_release(&path);
    str_release(&picture);
    return status;
}

static void append_warning(const char *what, struct str *page) {
    str_printf(page,
               "<p class=\"modelled\"><strong>Modelled.</strong> Every time in %s is modelled on a software device, "
               "cold caches "
               "and all. They "
               "compare configurations with each other and are no speed-up of a real GPU.</p>\n",
               what);
}

/* What the marks of the rows stand for. */
static void append_marks(const struct rows *rows, int first, int end, struct str *page) {
    int marked = 0;
    for (int r = first; r < end; r++)
        marked += rows_is(rows, r, "states_differ", "1");
    if (marked)
        str_printf(page, "<p>" ROWS_MARK " %d of %d rows: %s.</p>\n", marked, end - first, tables_states_differ);
}

/* Rows of the page, one table for each origin. */
static void append_rows(const struct rows *rows, int last, struct str *page) {
    static const char lift[] =
        ",origin,model,tp,group_size,dtype,cache_state,device_name,uuid,family,template_hash,time_model,"
        "clocks,baseline_lacks,missing,";
    for (int first = 0, end; first < last; first = end) {
        end = rows_run_end(rows, first, "origin");
        end = end < last ? end : last;
        bool modelled = rows_is(rows, first, "origin", store_origin_name(ORIGIN_MODELLED));
        /* An interval of a modelled time has no meaning. */
        struct table_style style = {.lift = lift,
                                    .hide = modelled ? ",low_ns,high_ns,ratio_low,ratio_high,ratio_with_quantize_low,"
                                                       "ratio_with_quantize_high,states_differ,"
                                                     : ",low_ns,high_ns,states_differ,",
                                    .rare = ROWS_RARE,
                                    .first = first,
                                    .last = end};
        if (modelled && (rows_column(rows, "median_ns") >= 0 || rows_column(rows, "ratio") >= 0))
            append_warning("this table", page);
        rows_print_html(rows, &style, page);
        append_marks(rows, first, end, page);
    }
}

struct page_table {
    const char *name, *sql, *heading;
    int limit;        /* rows on the page; 0: all */
    const char *note; /* what the rows mean; NULL: that is clear */
    bool always;      /* also without rows */
};

/* A table of the page, and all its rows as DIR/data/NAME.csv. */
static enum mt_status append_table(sqlite3 *db, const char *dir, const struct page_table *table, struct str *page) {
    struct rows rows;
    struct str path = {0}, csv = {0};
    enum mt_status status = rows_read(db, table->sql, NULL, &rows);
    if (status != MT_OK)
        return status;
    if (!table->always && !rows.count) {
        rows_release(&rows);
        return MT_OK;
    }
    rows_print_csv(&rows, &csv);
    str_printf(&path, "%s/data/%s.csv", dir, table->name);
    status = file_write_atomic(path.data, csv.data, csv.length);
    int last = table->limit && rows.count > table->limit ? table->limit : rows.count;
    str_printf(page, "<h2>%s</h2>\n%s", table->heading, rows.count ? "" : "<p>None.</p>\n");
    if (table->note && rows.count)
        str_printf(page, "<p>%s</p>\n", table->note);
    append_rows(&rows, last, page);
    if (last < rows.count)
        str_printf(page, "<p>These are %d of %d; data/%s.csv beside this page has all.</p>\n", last, rows.count,
                   table->name);
    rows_release(&rows);
    str_release(&path);
    str_release(&csv);
    return status;
}

static void append_written(json_t *written, const char *dir, const char *name, const char *extension) {
    struct str path = {0};
    str_printf(&path, "%s/%s.%s", dir, name, extension);
    json_array_append_new(written, json_text(path.data));
    str_release(&path);
}

/* Draws the plots of one set and puts them on the page. */
static enum mt_status append_set(sqlite3 *db, const char *dir, const struct plot_set *set, json_t *written,
                                 struct str *page) {
    char *names[PLOT_KINDS] = {0};
    struct str where = {0};
    plot_set_where(set, &where);
    const char *model = rows_cell(set->sets, set->row, "model");
    log_info("drawing %s, %s", *model ? model : "bare shapes", where.data);
    enum mt_status status = plot_draw(db, dir, set, names);
    str_append(page, "<h2>");
    html_escape(*model ? model : "Bare shapes", page);
    str_append(page, ": ");
    html_escape(where.data, page);
    str_append(page, "</h2>\n");
    if (plot_set_modelled(set))
        append_warning("these plots", page);
    if (status == MT_OK && !names[PLOT_SPEEDUP])
        str_append(page, "<p>No fp16 baseline was recorded for these shapes, so there is no speed-up to draw.</p>\n");
    for (int kind = 0; kind < PLOT_KINDS; kind++) {
        if (status == MT_OK && names[kind]) {
            status = append_picture(dir, names[kind], names[kind], page);
            append_written(written, dir, names[kind], "svg");
            append_written(written, dir, names[kind], "png");
        }
        free(names[kind]);
    }
    str_release(&where);
    return status;
}

static enum mt_status append_tables(sqlite3 *db, const char *dir, struct str *page) {
    static const struct page_table tables[] = {
        {"winners", report_winners_sql, "Winners", 0,
         "ratio_with_quantize: the headline, the time of the strongest fp16 kernel there is (baseline_family) over "
         "that of "
         "quantising the activations and the winner; ratio leaves quantising out. Each stands beside its share of the "
         "floor: "
         "the time that the bytes and multiplications take at the least, over the time that was taken. cache_state "
         "says "
         "what lay in the caches: serving (weights come from memory, activations were just written), cold or hot.",
         true},
        {"peer-summary", report_peer_summary_sql, "Winners over peers in short", 0,
         "ratio: the mean over all layers and batch sizes, above 1 where the winner is faster; losses: how many are "
         "not. Of each peer the fastest of its configurations.",
         false},
        {"peers", report_peers_sql, "Peers", PAGE_PEERS,
         "Kernels of others beside the winner of the same shape: ratio is peer over winner, below 1 where the peer is "
         "faster.",
         false},
        {"paper", report_paper_sql, "Beside Figure 5 of MixLLM (arXiv 2412.14590)", 0,
         "Mean speed-ups over M = 1, 2, 4 &hellip; 1024. ratio_with_quantize and ratio: over the kernels that "
         "baseline_family names, with the time of quantising and without; ratio_over_torch: over torch fp16, without. "
         "The "
         "paper's is over torch fp16 on its own GPU, with operands that the L2 cache still held.",
         false},
        {"devices", report_devices_sql, "Devices and environments", 0, NULL, true},
        {"outcomes", report_outcomes_sql, "Candidates", 0, NULL, true},
        {"failures", report_failures_sql, "Failures", PAGE_FAILURES, NULL, true},
    };
    enum mt_status status = MT_OK;
    for (size_t i = 0; i < sizeof tables / sizeof *tables && status == MT_OK; i++)
        status = append_table(db, dir, &tables[i], page);
    return status;
}

static enum mt_status write_page(const char *dir, const struct str *body, json_t *written) {
    static const char mark[] = "{{body}}";
    const char *at = strstr(report_page_html, mark);
    struct str page = {0}, path = {0};
    str_append_bytes(&page, report_page_html, (size_t)(at - report_page_html));
    str_append_bytes(&page, body->data, body->length);
    str_append(&page, at + strlen(mark));
    str_printf(&path, "%s/index.html", dir);
    enum mt_status status = file_write_atomic(path.data, page.data, page.length);
    append_written(written, dir, "index", "html");
    str_release(&page);
    str_release(&path);
    return status;
}

/* ---- the command ---- */

static enum mt_status make_folders(const char *dir) {
    struct str data = {0};
    str_printf(&data, "%s/data", dir);
    enum mt_status status = folder_make(data.data);
    str_release(&data);
    return status;
}

static enum mt_status draw_all(sqlite3 *db, const char *dir, const struct rows *sets, json_t *written) {
    struct str page = {0};
    enum mt_status status = make_folders(dir);
    for (int i = 0; i < sets->count && status == MT_OK; i++)
        status = append_set(db, dir, &(struct plot_set){sets, i}, written, &page);
    if (status == MT_OK)
        status = append_tables(db, dir, &page);
    if (status == MT_OK)
        status = write_page(dir, &page, written);
    str_release(&page);
    return status;
}

static void print_written(json_t *written, bool json) {
    if (json)
        json_line(json_incref(written));
    for (size_t i = 0; !json && i < json_array_size(written); i++)
        puts(shown(json_string_value(json_array_get(written, i))));
}

static enum mt_status report(const struct report *o) {
    enum mt_status status = plot_check();
    if (status != MT_OK)
        return status;
    struct store *store;
    status = query_open(&o->query, &store);
    if (status != MT_OK)
        return status;
    struct rows sets;
    json_t *written = json_array();
    status = rows_read(store_handle(store), report_sets_sql, NULL, &sets);
    if (status == MT_OK && !sets.count)
        status = query_nothing(&o->query, store_handle(store), "winners");
    if (status == MT_OK)
        status = draw_all(store_handle(store), o->out, &sets, written);
    if (status == MT_OK)
        print_written(written, o->query.common.json);
    rows_release(&sets);
    json_decref(written);
    store_close(store);
    return status;
}

int cmd_report(int argc, char **argv) {
    struct report o = {.out = "report"};
    const struct argp_child children[] = {{&query_argp, 0, NULL, 0}, {0}};
    const struct argp argp = {
        .options = report_table,
        .parser = report_parse,
        .children = children,
        .doc = "Draws the winners of a database against the fp16 baseline (svg and png) and writes a page with the "
               "plots, the tables "
               "and the failures.",
    };
    int status = options_parse(&argp, argc, argv, &o, &o.query.common);
    if (status == MT_OK)
        status = report(&o);
    query_options_release(&o.query);
    return status;
}
