/* The list of problems that a command line asks for. */
#ifndef MT_WORKLOAD_H
#define MT_WORKLOAD_H

#include "db/store.h"
#include "model.h"
#include "tuner/options.h"

struct work_item {
    struct problem problem;
    char model[MODEL_NAME]; /* "" for a bare shape */
    char layer[32];         /* "qkv"; "NxK" for a bare shape */
    int tp;
};
struct workload {
    struct work_item *item; /* in order: layer, dtype, group, scheme, then m increasing as given */
    int count;
    size_t capacity;
};

/* Combines layers (of --model and --shape, or of --checkpoint) with token counts, schemes, groups and dtypes;
 * repetitions are dropped. With --splits, and of a checkpoint, a layer comes with the points that stand for its splits,
 * which are logged; one that the table does not name is left out. MT_USAGE when neither a model nor a checkpoint nor a
 * shape is given, a checkpoint beside what it says itself, or a layer is unknown. */
enum mt_status workload_init(struct workload *workload, const struct work_options *options);
void workload_release(struct workload *workload);

/* True if both run on the same weights: only m differs. */
bool work_same_layer(const struct work_item *a, const struct work_item *b);
/* As the store names it; strings point into `item`. */
struct store_layer work_store_layer(const struct work_item *item);

#endif
