/* The rows of a query, and the ways to print them: for people, for programs, for a page. */
#ifndef MT_ROWS_H
#define MT_ROWS_H

#include "runtime/base/status.h"
#include "runtime/base/str.h"
#include "runtime/layer/problem.h"
#include <stdbool.h>

struct sqlite3;

/* A small result as a whole. Released with rows_release(). */
struct rows {
    int columns, count;
    size_t capacity; /* rows that `cell` has room for */
    char **name;     /* [columns], owned */
    char **cell;     /* [count][columns], owned; NULL is NULL */
    bool *text;      /* [columns]: some cell is text */
    int filled;      /* cells of the row that rows_put() has begun */
};

/* MT_FAILURE: that the database cannot be read, why, and what to do about it. */
enum mt_status rows_unreadable(struct sqlite3 *db);

/* Runs `sql` (one statement); fails with rows_unreadable(). Its parameters :a, :b ... are bound to `values` by name:
 * a NULL-terminated list of name, value, name, value; NULL for none. */
enum mt_status rows_read(struct sqlite3 *db, const char *sql, const char *const *values, struct rows *out);
void rows_release(struct rows *rows);
/* Rows that no query gives: without rows at first, with the columns of a list ("layer,features"), of which those in
 * `texts` (",layer,") hold text. */
void rows_init(struct rows *rows, const char *columns, const char *texts);
/* Puts the next cell of a row, as printf() would; NULL is NULL. With its last cell it is a row. */
void rows_put(struct rows *rows, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Leaves only the rows whose `keep` is true. */
void rows_keep(struct rows *rows, const bool *keep);
/* Appends all rows of `more`, whose columns are found by name; what it does not have is NULL. */
void rows_append(struct rows *rows, const struct rows *more);

/* The index of a column, -1 if there is none; a cell, "" for NULL. */
int rows_column(const struct rows *rows, const char *name);
const char *rows_cell(const struct rows *rows, int row, const char *name);
bool rows_is(const struct rows *rows, int row, const char *name, const char *text);
/* Whether two rows have the same cells in columns whose names are a NULL-terminated list. */
bool rows_same(const struct rows *rows, int a, int b, const char *const *columns);
/* Appends a text that rows have in common which are the same in these columns, of this query or of another one. */
void rows_key(const struct rows *rows, int row, const char *const *columns, struct str *out);
/* Numbers the rows `begin` .. `end` - 1 in number[begin] and on: the same in these columns, the same number, counted
 * from 0 in the order in which they come. The count of numbers. */
int rows_number(const struct rows *rows, int begin, int end, const char *const *columns, int *number);
/* The columns m, n, k, rows8, group_size, scheme and dtype as a problem. Fails for a scheme or type that there is
 * not. */
enum mt_status rows_problem(const struct rows *rows, int row, struct problem *out);

/* The end of the run of rows that have the same cell as row `first`: the index after the last of them. */
int rows_run_end(const struct rows *rows, int first, const char *name);

/* Stands behind the ratios of a row whose `states_differ` is 1. */
#define ROWS_MARK "*"
/* Appends. A table for people: columns of `lift` (",model,dtype,") that are the same in every row move into one line
 * above it, those of `hide` are left out, and those of `rare` where all rows have 0 or nothing; `first`..`last` are the
 * rows that it shows. Times, whose columns end in _ns, are shown in us with two decimals, and so are ratios;
 * shares are percentages.
 * Rows that are printed one by one stand under each other when their columns are at least so wide, and only the first
 * has the heading.
 * A table that is wider than `width` characters (0: as wide as it is) leaves out columns of `drop`, the first of that
 * list first, and texts keep their two ends around an ellipsis; a line below says so. Rows that are printed one by one
 * share a `rest`, and whoever prints them says at the end what is in it. */
struct table_rest {
    struct str without; /* ",low_ns,family,": columns that a row had no room for; the rows behind it lack them, too */
    struct str shorter; /* likewise, of texts */
};
struct table_style {
    const char *lift, *hide, *rare;
    int first, last;
    int least; /* width of each column */
    bool headless;
    int width;
    const char *drop;
    struct table_rest *rest; /* NULL where all rows are printed at once */
};
/* What a good measurement, a layer of 4 bits alone or a software device has nothing of. */
#define ROWS_RARE ",rows8,cublas_version,baseline_lacks,missing,rejected,low_clock,time_model,"
void rows_print_table(const struct rows *rows, const struct table_style *style, struct str *out);
/* The line below; nothing if nothing was left out. */
void rows_print_rest(const struct table_rest *rest, int width, struct str *out);
void table_rest_release(struct table_rest *rest);
void rows_print_html(const struct rows *rows, const struct table_style *style, struct str *out);
/* RFC 4180 with a header line, one row a line, and one JSON object a line. In CSV a text that a spreadsheet would take
 * for a formula stands behind a ', and so does one that begins with that. */
void rows_print_csv(const struct rows *rows, struct str *out);
void rows_print_json(const struct rows *rows, struct str *out);

/* Appends a text; one of more characters than `width` keeps its two ends around an ellipsis. */
void text_shorten(const char *text, int width, struct str *out);

/* Text made visible, with &, <, > and quotes made safe for HTML, between tags and in an attribute. */
void html_escape(const char *text, struct str *out);

#endif
