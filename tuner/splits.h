/* How many features keep 8 bits, layer by layer of a model: the tables that --splits reads, and those of --checkpoint. */
#ifndef MT_SPLITS_H
#define MT_SPLITS_H

#include "runtime/base/status.h"
#include "runtime/base/str.h"
#include "runtime/layer/problem.h"

/* A split of a layer, and how many layers of the model (or calls) have it. */
struct split {
    int rows8;
    double weight;
};
struct split_list {
    struct split *item;
    int count;
    size_t capacity;
};
void split_list_add(struct split_list *list, int rows8, double weight);
/* Puts them in increasing order; equal ones become one with all their weight. */
void split_list_sort(struct split_list *list);
void split_list_release(struct split_list *list);

struct split_line {
    char layer[32];
    struct split split;
    int number; /* of the line in the file; 0: of no file, but of a checkpoint (tuner/plan/packed_model.h) */
};
struct split_table {
    struct str path;
    struct split_line *line; /* as they stand in the file */
    int count;
    size_t capacity;
};

/* A name in configs/splits/ or a path: lines "layer,rows8,weight", the weight 1 where it is left out; empty lines, what
 * follows a # and a first line of just these words say nothing. MT_USAGE with file, line and what to write for a line
 * that is none of these. */
enum mt_status split_table_read(const char *name, struct split_table *out);
void split_table_release(struct split_table *table);
/* Appends a line; the layer's name fits. */
void split_table_add(struct split_table *table, struct split_line line);

/* The splits of a layer with n features, sorted, filled up to multiples of `fill` (split.h). None: the table does not
 * name it. MT_USAGE with file and line where more than n features are to keep 8 bits. */
enum mt_status split_table_of(const struct split_table *table, const char *layer, int n, int fill,
                              struct split_list *out);

/* ---- which of them are tuned ---- */

enum { POINTS_USUAL = 6 };

/* How badly a split is served by what is tuned at `point`: the square of the logarithm of the ratio of the layer's bytes,
 * without the padding of its parts. Times grow with the bytes. At the point its kernel is the best; what others gain on
 * it begins with nothing there, as between a curve and its tangent, and so grows with the square of the distance.
 * 1 where one of the two has a kernel for both widths and the other has not: their kernels are other binaries. */
double point_loss(const struct problem *layer, int rows8, int point);

/* Chooses at most `most` >= 1 of `count` >= 1 splits in increasing order, such that the sum of weight * loss is least,
 * the loss of each being that to the nearest point. stands[i] becomes the index of the point that split i is nearest
 * to: i where it is a point, -1 where none is of its kind. All are points where they are no more than `most`. Of
 * `layer` all but m and rows8 counts. Returns the sum. */
double points_choose(const struct problem *layer, const struct split *splits, int count, int most, int *stands);

#endif
