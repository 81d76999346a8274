/* The winners of one layer over all its batch sizes together: where kernels are within 1 % of the fastest, those that
 * serve more batch sizes win, so that fewer distinct kernels are compiled, shipped and loaded. Two configurations that
 * differ in launch knobs only are one kernel. */
#ifndef MT_WINNER_SET_H
#define MT_WINNER_SET_H

#include "rows.h"

/* `ns[problem * kernels + kernel]` is the time of a kernel at a problem, 0 where it has none; each problem has one.
 * Kernels stand in order of preference. chosen[problem] becomes a kernel within 1 % of the problem's fastest, such that
 * few are chosen in all: greedy set cover, less what it took too many. */
void winner_set_choose(const double *ns, int problems, int kernels, int *chosen);

/* What makes a layer one in those rows: names of columns, up to a NULL. */
extern const char *const winner_set_layer[];

/* Keeps one of the rows of each problem of reports/export.sql, or of another list that is ordered so. */
void winner_set_keep(struct rows *rows);

#endif
