#include "rows.h"
#include "json_line.h"
#include "runtime/base/array.h"
#include "runtime/base/visible.h"
#include "tuner/keys.h"

#include "db/sql.h"
#include <jansson.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum mt_status rows_unreadable(sqlite3 *db) {
    return sql_fail(db, sqlite3_db_filename(db, "main"), "cannot read it");
}

static bool in_list(const char *list, const char *name) {
    for (const char *at = list; at && (at = strstr(at, name)); at++)
        if (at > list && at[-1] == ',' && at[strlen(name)] == ',')
            return true;
    return false;
}

void rows_init(struct rows *rows, const char *columns, const char *texts) {
    *rows = (struct rows){.columns = 1};
    for (const char *p = columns; *p; p++)
        rows->columns += *p == ',';
    rows->name = xcalloc((size_t)rows->columns, sizeof *rows->name);
    rows->text = xcalloc((size_t)rows->columns, sizeof *rows->text);
    for (int c = 0; c < rows->columns; c++) {
        const size_t length = strcspn(columns, ",");
        rows->name[c] = xcalloc(length + 1, 1);
        memcpy(rows->name[c], columns, length);
        rows->text[c] = in_list(texts, rows->name[c]);
        columns += length + 1;
    }
}

/* A text of SQL may have a 0 within, behind which another would begin the same: it is made visible. */
static char *take_cell(sqlite3_stmt *query, int column) {
    const char *text = (const char *)sqlite3_column_text(query, column);
    const size_t length = (size_t)sqlite3_column_bytes(query, column);
    struct str visible = {0};
    if (!text || strlen(text) == length)
        return text ? xstrdup(text) : NULL;
    str_append_visible(&visible, text, length, "");
    return visible.data;
}

static void add_row(struct rows *rows, sqlite3_stmt *query) {
    array_grow(&rows->cell, &rows->capacity, (size_t)rows->count, (size_t)rows->columns * sizeof *rows->cell);
    for (int c = 0; c < rows->columns; c++) {
        rows->cell[rows->count * rows->columns + c] = take_cell(query, c);
        rows->text[c] |= sqlite3_column_type(query, c) == SQLITE_TEXT;
    }
    rows->count++;
}

enum mt_status rows_read(sqlite3 *db, const char *sql, const char *const *values, struct rows *out) {
    *out = (struct rows){0};
    sqlite3_stmt *query;
    if (sqlite3_prepare_v2(db, sql, -1, &query, NULL) != SQLITE_OK)
        return rows_unreadable(db);
    for (int i = 0; values && values[i]; i += 2) {
        int at = sqlite3_bind_parameter_index(query, values[i]);
        if (at)
            sqlite3_bind_text(query, at, values[i + 1], -1, SQLITE_STATIC);
    }
    out->columns = sqlite3_column_count(query);
    out->name = xcalloc((size_t)out->columns, sizeof *out->name);
    out->text = xcalloc((size_t)out->columns, sizeof *out->text);
    for (int c = 0; c < out->columns; c++)
        out->name[c] = xstrdup(sqlite3_column_name(query, c));
    int rc;
    while ((rc = sqlite3_step(query)) == SQLITE_ROW)
        add_row(out, query);
    sqlite3_finalize(query);
    if (rc == SQLITE_DONE)
        return MT_OK;
    rows_release(out);
    return rows_unreadable(db);
}

void rows_release(struct rows *rows) {
    for (int c = 0; c < rows->columns; c++)
        free(rows->name[c]);
    for (int i = 0; i < rows->count * rows->columns; i++)
        free(rows->cell[i]);
    free(rows->name);
    free(rows->cell);
    free(rows->text);
    *rows = (struct rows){0};
}

void rows_put(struct rows *rows, const char *format, ...) {
    struct str text = {0};
    va_list args;
    if (rows->filled == 0)
        array_grow(&rows->cell, &rows->capacity, (size_t)rows->count, (size_t)rows->columns * sizeof *rows->cell);
    va_start(args, format);
    if (format) {
        str_append(&text, "");
        str_vprintf(&text, format, args);
    }
    va_end(args);
    rows->cell[(long)rows->count * rows->columns + rows->filled++] = text.data;
    if (rows->filled == rows->columns) {
        rows->filled = 0;
        rows->count++;
    }
}

void rows_keep(struct rows *rows, const bool *keep) {
    int kept = 0;
    for (int r = 0; r < rows->count; r++) {
        char **cell = rows->cell + (long)r * rows->columns;
        for (int c = 0; c < rows->columns && !keep[r]; c++)
            free(cell[c]);
        if (keep[r])
            memmove(rows->cell + (long)kept++ * rows->columns, cell, (size_t)rows->columns * sizeof *cell);
    }
    rows->count = kept;
}

void rows_append(struct rows *rows, const struct rows *more) {
    for (int r = 0; r < more->count; r++) {
        array_grow(&rows->cell, &rows->capacity, (size_t)rows->count, (size_t)rows->columns * sizeof *rows->cell);
        char **cell = rows->cell + (long)rows->count++ * rows->columns;
        for (int c = 0; c < rows->columns; c++) {
            const int from = rows_column(more, rows->name[c]);
            const char *text = from < 0 ? NULL : more->cell[(long)r * more->columns + from];
            cell[c] = text ? xstrdup(text) : NULL;
        }
    }
}

int rows_column(const struct rows *rows, const char *name) {
    for (int c = 0; c < rows->columns; c++)
        if (!strcmp(rows->name[c], name))
            return c;
    return -1;
}

static const char *cell_at(const struct rows *rows, int row, int column) {
    return rows->cell[row * rows->columns + column];
}

const char *rows_cell(const struct rows *rows, int row, const char *name) {
    int column = rows_column(rows, name);
    const char *cell = column < 0 ? NULL : cell_at(rows, row, column);
    return cell ? cell : "";
}

bool rows_is(const struct rows *rows, int row, const char *name, const char *text) {
    return !strcmp(rows_cell(rows, row, name), text);
}

bool rows_same(const struct rows *rows, int a, int b, const char *const *columns) {
    while (*columns && rows_is(rows, a, *columns, rows_cell(rows, b, *columns)))
        columns++;
    return !*columns;
}

void rows_key(const struct rows *rows, int row, const char *const *columns, struct str *out) {
    for (; *columns; columns++) {
        const char *text = rows_cell(rows, row, *columns);
        str_append_int(out, (int)strlen(text));
        str_append(out, ":");
        str_append(out, text);
    }
}

int rows_number(const struct rows *rows, int begin, int end, const char *const *columns, int *number) {
    struct keys keys = {0};
    struct str key = {0};
    for (int r = begin; r < end; r++) {
        str_clear(&key);
        rows_key(rows, r, columns, &key);
        number[r] = keys_number(&keys, str_text(&key));
    }
    const int count = keys.count;
    keys_release(&keys);
    str_release(&key);
    return count;
}

enum mt_status rows_problem(const struct rows *rows, int row, struct problem *out) {
    *out = (struct problem){.m = atoi(rows_cell(rows, row, "m")),
                            .n = atoi(rows_cell(rows, row, "n")),
                            .k = atoi(rows_cell(rows, row, "k")),
                            .group = atoi(rows_cell(rows, row, "group_size"))};
    out->rows8 = atoi(rows_cell(rows, row, "rows8"));
    enum mt_status status = problem_take_scheme(out, rows_cell(rows, row, "scheme"));
    return status ? status : dtype_parse(rows_cell(rows, row, "dtype"), &out->dtype);
}

int rows_run_end(const struct rows *rows, int first, const char *name) {
    int end = first;
    while (end < rows->count && rows_is(rows, end, name, rows_cell(rows, first, name)))
        end++;
    return end;
}

static bool ends_with(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a >= b && !strcmp(text + a - b, end);
}

/* A column's name stands where a row would: times are in ns, and shown in us. */
enum { HEADING = -1 };

static void print_heading(const char *name, size_t length, struct str *out) {
    const bool is_time = length > 3 && !memcmp(name + length - 3, "_ns", 3);
    str_append_bytes(out, name, is_time ? length - 2 : length);
    str_append(out, is_time ? "us" : "");
}

static void format_cell(const struct rows *rows, int row, int column, struct str *out) {
    const char *name = rows->name[column], *cell = row == HEADING ? name : cell_at(rows, row, column);
    const bool is_time = ends_with(name, "_ns");
    if (row == HEADING)
        print_heading(name, strlen(name), out);
    else if (!cell || !*cell)
        str_append(out, "-");
    else if (is_time)
        str_printf(out, "%.2f", strtod(cell, NULL) / 1e3);
    else if (!strncmp(name, "ratio", 5) || !strcmp(name, "over_floor"))
        str_printf(out, "%.2fx%s", strtod(cell, NULL), rows_is(rows, row, "states_differ", "1") ? ROWS_MARK : "");
    else if (!strncmp(name, "floor_share", 11))
        str_printf(out, "%.0f%%", 100 * strtod(cell, NULL));
    else
        str_append_visible(out, cell, strlen(cell), "");
}

/* Characters on the screen: bytes that do not continue a UTF-8 sequence. */
static int width_of(const char *text) {
    int width = 0;
    for (; *text; text++)
        width += (*text & 0xc0) != 0x80;
    return width;
}

enum place { PLACE_COLUMN, PLACE_ABOVE, PLACE_NOWHERE };

static bool says_nothing(const struct rows *rows, const struct table_style *style, int column) {
    for (int r = style->first; r < style->last; r++) {
        const char *cell = cell_at(rows, r, column);
        if (cell && *cell && strcmp(cell, "0") != 0)
            return false;
    }
    return true;
}

static enum place place_of(const struct rows *rows, const struct table_style *style, int column) {
    if (in_list(style->hide, rows->name[column]) ||
        (style->rest && in_list(style->rest->without.data, rows->name[column])) ||
        (in_list(style->rare, rows->name[column]) && says_nothing(rows, style, column)))
        return PLACE_NOWHERE;
    if (!in_list(style->lift, rows->name[column]))
        return PLACE_COLUMN;
    const char *first = rows_cell(rows, style->first, rows->name[column]);
    for (int r = style->first; r < style->last; r++)
        if (strcmp(first, rows_cell(rows, r, rows->name[column])) != 0)
            return PLACE_COLUMN;
    return *first ? PLACE_ABOVE : PLACE_NOWHERE;
}

/* "model llama-3.1-8b, dtype fp16": what all rows share. */
static bool print_lifted(const struct rows *rows, const struct table_style *style, struct str *out) {
    bool any = false;
    for (int c = 0; c < rows->columns && style->first < style->last; c++)
        if (place_of(rows, style, c) == PLACE_ABOVE) {
            str_append(out, any ? ", " : "");
            format_cell(rows, HEADING, c, out);
            str_append(out, " ");
            format_cell(rows, style->first, c, out);
            any = true;
        }
    return any;
}

/* One cell, padded to `width`: text to the left, numbers to the right. The last column is not padded. */
static void print_padded(const char *text, int width, bool left, bool last, struct str *out) {
    int pad = width - width_of(text);
    str_printf(out, "%*s%s%*s%s", left || pad < 0 ? 0 : pad, "", text, left && !last && pad > 0 ? pad : 0, "",
               last ? "\n" : "  ");
}

static int widest(const struct rows *rows, const struct table_style *style, int column) {
    struct str cell = {0};
    format_cell(rows, HEADING, column, &cell);
    int width = width_of(cell.data);
    for (int r = style->first; r < style->last; r++) {
        str_clear(&cell);
        format_cell(rows, r, column, &cell);
        int w = width_of(cell.data);
        width = w > width ? w : width;
    }
    str_release(&cell);
    return width > style->least ? width : style->least;
}

void text_shorten(const char *text, int width, struct str *out) {
    const int all = width_of(text), head = width / 2, tail = width - head - 1;
    int at = -1;
    for (const char *p = text; *p; p++) {
        at += (*p & 0xc0) != 0x80;
        if (all <= width || at < head || at >= all - tail)
            str_append_bytes(out, p, 1);
        else if (at == head && (*p & 0xc0) != 0x80)
            str_append(out, "\u2026");
    }
}

static void print_line(const struct rows *rows, int row, const int *width, int last, struct str *out) {
    struct str cell = {0}, fitting = {0};
    for (int c = 0; c <= last; c++)
        if (width[c]) {
            str_clear(&cell);
            str_clear(&fitting);
            format_cell(rows, row, c, &cell);
            text_shorten(cell.data, width[c], &fitting);
            print_padded(str_text(&fitting), width[c], rows->text[c], c == last, out);
        }
    str_release(&cell);
    str_release(&fitting);
}

/* ---- to fit a terminal ---- */

static int total(const struct rows *rows, const int *width) {
    int sum = -2;
    for (int c = 0; c < rows->columns; c++)
        sum += width[c] ? width[c] + 2 : 0;
    return sum;
}

/* Makes the widest texts shorter, as long as there is too much, and none of them than `least`. */
static void narrow(const struct rows *rows, const struct table_style *style, int least, int *width) {
    for (int over = total(rows, width) - style->width, at = 0; over > 0; over--) {
        for (int c = 0; c < rows->columns; c++)
            if (rows->text[c] && (!rows->text[at] || width[c] > width[at]))
                at = c;
        if (!rows->text[at] || width[at] <= least)
            return;
        width[at]--;
    }
}

/* The first column of `drop` that the table still has; -1 if there is none. */
static int next_to_drop(const struct rows *rows, const struct table_style *style, const int *width) {
    const char *p = style->drop;
    for (size_t length; p && *++p; p += length) { /* behind a comma */
        length = strcspn(p, ",");
        for (int c = 0; c < rows->columns; c++)
            if (width[c] && strlen(rows->name[c]) == length && !memcmp(rows->name[c], p, length))
                return c;
    }
    return -1;
}

/* Columns are left out rather than long texts given less than a third of the terminal. What room that gives too much
 * goes to the texts up to GOOD, to the last columns that it suffices for, and to the texts again. */
static void fit(const struct rows *rows, const struct table_style *style, const int *natural, int *width) {
    enum { GOOD = 40, LEAST = 12 };
    int longs = 0;
    for (int c = 0; c < rows->columns; c++)
        longs += rows->text[c] && natural[c] > 2 * LEAST;
    const int share = style->width / 3 / (longs ? longs : 1), good = share < LEAST  ? LEAST
                                                                     : share < GOOD ? share
                                                                                    : GOOD;
    int *dropped = xcalloc((size_t)rows->columns + 1, sizeof *dropped), count = 0;
    for (;;) {
        narrow(rows, style, good, width);
        const int drop = total(rows, width) > style->width ? next_to_drop(rows, style, width) : -1;
        if (drop < 0)
            break;
        dropped[count++] = drop;
        width[drop] = 0;
    }
    for (int c = 0; c < rows->columns; c++)
        width[c] = !width[c] ? 0 : rows->text[c] && natural[c] > GOOD ? GOOD : natural[c];
    narrow(rows, style, good, width);
    while (count-- > 0)
        if (total(rows, width) + natural[dropped[count]] + 2 <= style->width)
            width[dropped[count]] = natural[dropped[count]];
    for (int c = 0; c < rows->columns; c++)
        width[c] = width[c] ? natural[c] : 0;
    narrow(rows, style, LEAST, width);
    free(dropped);
}

/* "low_us, config" of ",low_ns,config,". */
static void print_headings(const char *label, const char *list, struct str *out) {
    const char *p = list, *joint = label;
    for (size_t length; p && *p && *++p; p += length, joint = ", ") {
        length = strcspn(p, ",");
        str_printf(out, "%s", joint);
        print_heading(p, length, out);
    }
}

void table_rest_release(struct table_rest *rest) {
    str_release(&rest->without);
    str_release(&rest->shorter);
}

void rows_print_rest(const struct table_rest *rest, int width, struct str *out) {
    if (!rest->without.length && !rest->shorter.length)
        return;
    str_printf(out, "To fit %d columns", width);
    print_headings(", left out: ", rest->without.data, out);
    print_headings(rest->without.length ? "; shortened: " : ", shortened: ", rest->shorter.data, out);
    str_append(out, "; --json leaves out nothing.\n");
}

/* Adds the columns that are narrower than they should be. */
static void list_missing(const struct rows *rows, const int *natural, const int *width, struct table_rest *rest) {
    for (int c = 0; c < rows->columns; c++) {
        struct str *list = width[c] ? &rest->shorter : &rest->without;
        if (width[c] < natural[c] && !in_list(list->data, rows->name[c]))
            str_printf(list, "%s%s,", list->length ? "" : ",", rows->name[c]);
    }
}

void rows_print_table(const struct rows *rows, const struct table_style *style, struct str *out) {
    int *natural = xcalloc((size_t)rows->columns + 1, sizeof *natural), last = -1;
    int *width = xcalloc((size_t)rows->columns + 1, sizeof *width);
    struct table_rest rest = {0};
    for (int c = 0; c < rows->columns; c++)
        natural[c] = width[c] = place_of(rows, style, c) == PLACE_COLUMN ? widest(rows, style, c) : 0;
    if (style->width)
        fit(rows, style, natural, width);
    for (int c = 0; c < rows->columns; c++)
        last = width[c] ? c : last;
    if (!style->headless) {
        str_append(out, print_lifted(rows, style, out) ? "\n" : "");
        print_line(rows, HEADING, width, last, out);
    }
    for (int r = style->first; r < style->last; r++)
        print_line(rows, r, width, last, out);
    list_missing(rows, natural, width, style->rest ? style->rest : &rest);
    if (!style->rest)
        rows_print_rest(&rest, style->width, out);
    table_rest_release(&rest);
    free(natural);
    free(width);
}

void html_escape(const char *text, struct str *out) {
    struct str visible = {0};
    str_append_visible(&visible, text, strlen(text), "");
    for (const char *p = str_text(&visible); *p; p++) {
        const char *name = *p == '&'    ? "&amp;"
                           : *p == '<'  ? "&lt;"
                           : *p == '>'  ? "&gt;"
                           : *p == '"'  ? "&quot;"
                           : *p == '\'' ? "&#39;"
                                        : NULL;
        if (name)
            str_append(out, name);
        else
            str_append_bytes(out, p, 1);
    }
    str_release(&visible);
}

static void print_html_cells(const struct rows *rows, const struct table_style *style, int row, struct str *out) {
    const char *tag = row == HEADING ? "th" : "td";
    struct str cell = {0};
    for (int c = 0; c < rows->columns; c++) {
        if (place_of(rows, style, c) != PLACE_COLUMN)
            continue;
        str_clear(&cell);
        format_cell(rows, row, c, &cell);
        str_printf(out, "<%s%s>", tag, rows->text[c] ? " class=\"text\"" : "");
        html_escape(cell.data, out);
        str_printf(out, "</%s>", tag);
    }
    str_release(&cell);
}

void rows_print_html(const struct rows *rows, const struct table_style *style, struct str *out) {
    struct str cell = {0};
    if (print_lifted(rows, style, &cell)) {
        str_append(out, "<p class=\"shared\">");
        html_escape(cell.data, out);
        str_append(out, "</p>\n");
    }
    str_append(out, "<div class=\"scroll\"><table>\n<thead><tr>");
    print_html_cells(rows, style, HEADING, out);
    str_append(out, "</tr></thead>\n<tbody>\n");
    for (int r = style->first; r < style->last; r++) {
        str_append(out, "<tr>");
        print_html_cells(rows, style, r, out);
        str_append(out, "</tr>\n");
    }
    str_append(out, "</tbody></table></div>\n");
    str_release(&cell);
}

/* A spreadsheet computes a cell that begins like a formula, whether it is quoted or not. */
static bool is_formula(const char *text) {
    static const char *const wide[] = {"\uff1d", "\uff0b", "\uff0d", "\uff20"}; /* the same in full width */
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (!strncmp(text, wide[i], strlen(wide[i])))
            return true;
    return *text && strchr("=+-@'", *text);
}

/* The two rules for texts leave a cell that is ordinary as it is, and any other can be told from it: a text that begins
 * with a ' lost nothing but that. Numbers may begin with a sign. */
static void print_csv_field(const char *cell, bool text, bool last, struct str *out) {
    struct str visible = {0};
    str_append(&visible, text && cell && is_formula(cell) ? "'" : "");
    str_append_visible(&visible, cell ? cell : "", cell ? strlen(cell) : 0, "");
    const bool quote = strpbrk(str_text(&visible), ",;\"") != NULL;
    str_append(out, quote ? "\"" : "");
    for (const char *p = str_text(&visible); *p; p++) {
        str_append(out, *p == '"' ? "\"" : "");
        str_append_bytes(out, p, 1);
    }
    str_append(out, quote ? "\"" : "");
    str_append(out, last ? "\n" : ",");
    str_release(&visible);
}

void rows_print_csv(const struct rows *rows, struct str *out) {
    for (int c = 0; c < rows->columns; c++)
        print_csv_field(rows->name[c], false, c + 1 == rows->columns, out);
    for (int i = 0; i < rows->count * rows->columns; i++) {
        const int column = i % rows->columns;
        print_csv_field(rows->cell[i], rows->text[column], column + 1 == rows->columns, out);
    }
}

void rows_print_json(const struct rows *rows, struct str *out) {
    for (int r = 0; r < rows->count; r++) {
        json_t *object = json_object();
        for (int c = 0; c < rows->columns; c++) {
            const char *cell = cell_at(rows, r, c);
            char *end;
            json_t *value;
            if (!cell)
                value = json_null();
            else if (rows->text[c])
                value = json_text(cell);
            else if (strpbrk(cell, ".eE"))
                value = json_real(strtod(cell, &end));
            else
                value = json_integer(strtoll(cell, &end, 10));
            json_object_set_new(object, rows->name[c], value ? value : json_null());
        }
        json_line_append(object, out);
    }
}
