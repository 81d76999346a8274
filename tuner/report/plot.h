/* The plots of a report: the data as CSV, a gnuplot script beside it, and the pictures that gnuplot draws from them. */
#ifndef MT_PLOT_H
#define MT_PLOT_H

#include "rows.h"

/* One device, origin, model and format: the columns of reports/sets.sql. */
struct plot_set {
    const struct rows *sets;
    int row;
};
enum plot_kind { PLOT_SPEEDUP, PLOT_TIME, PLOT_WINNERS, PLOT_PEERS, PLOT_KINDS };

/* MT_OK if gnuplot can be run; else a sentence that says what to install. */
enum mt_status plot_check(void);

/* Writes DIR/data/SET.csv (SET-peers.csv for the peers), DIR/data/SET-KIND.gp and DIR/SET-KIND.svg and .png, for kinds
 * that the data allow (without a baseline there is no speed-up to draw). names[kind] becomes "SET-KIND", owned by the
 * caller, or NULL. */
enum mt_status plot_draw(struct sqlite3 *db, const char *dir, const struct plot_set *set, char *names[PLOT_KINDS]);

/* Appends NAME = "VALUE" to a script. The value is data, whatever it is: visible (runtime/base/visible.h), and nothing
 * of it a command, a format or an end of the string. */
void plot_text(struct str *script, const char *name, const char *value);
/* Appends array NAME = [...]: the different texts of a column, each a value as of plot_text(), in their order; `at` is a
 * column that numbers them from 1 on. */
void plot_names(struct str *script, const char *name, const struct rows *rows, const char *at, const char *column);
/* Appends one of reports/, behind what all of them share. */
void plot_body(const char *body, struct str *script);
/* Writes DIR/data/NAME.gp and lets gnuplot run it in DIR; it must leave NAME.svg and NAME.png there, whole. */
enum mt_status plot_script(const char *dir, const char *name, const struct str *script);

/* "SET": made of device, model and formats; fit for a file name, and no other set's. Appends. */
void plot_set_name(const struct plot_set *set, struct str *out);
/* "modelled on software device A100-SXM-80G, time model 0123456789abcdef" or "measured on NVIDIA ...". Appends. */
void plot_set_where(const struct plot_set *set, struct str *out);
bool plot_set_modelled(const struct plot_set *set);

#endif
