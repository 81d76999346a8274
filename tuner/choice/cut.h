/* What a rank of tensor parallelism has of a layer: pieces of q, k, v, gate and up along their output features, by heads
 * where there are any, and of o and down along their input features. */
#ifndef MT_CUT_H
#define MT_CUT_H

#include "modules.h"
#include "tuner/plan/model.h"

struct cut_piece {
    int part;        /* of the fused layer */
    int first, rows; /* features of that part */
    int whole;       /* the first one's place among the features of the whole layer */
};
enum { CUT_PIECES = 3 };
struct cut {
    int n, k, first_k; /* of the rank; inputs first_k .. first_k + k - 1 */
    struct cut_piece piece[CUT_PIECES];
    int count;
};

/* `module`: those that the layer's parts are indexes of. `model` has the heads; it may be NULL where tp is 1. More
 * ranks than heads of k and v share them. MT_USAGE with one sentence if the layer cannot be cut so. */
enum mt_status cut_layer(const struct module *module, const struct fused *layer, const struct model *model, int tp,
                         int rank, struct cut *out);

/* The place in the whole layer of feature i of the rank. */
int cut_feature(const struct cut *cut, int i);

#endif
