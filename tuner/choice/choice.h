/* Which output features keep 8 bits: over the whole model by salience, or the same share of every layer. */
#ifndef MT_CHOICE_H
#define MT_CHOICE_H

#include "cut.h"
#include "tuner/options.h"
#include <stddef.h>
#include <stdint.h>

/* All features of all layers, in one order: the most salient first, of equals the first by layer and then by its place
 * in the layer. A feature counts one, whatever its K. */
struct choice_order {
    int layers;
    size_t total;
    size_t *first;   /* [layers + 1]: where the features of a layer begin when all are counted */
    uint32_t *order; /* [total]: features, the most salient first; NULL without saliences */
    uint32_t *place; /* [total]: where a feature stands in `order`; NULL likewise */
};
/* `salience` [total], finite: what saliences_read() gives; it is not changed. NULL: no saliences. */
void choice_order_init(const struct modules *modules, float *salience, struct choice_order *out);
void choice_order_release(struct choice_order *order);

/* What else decides the bytes of the packed layers. */
struct choice_sizes {
    const struct modules *modules;
    const struct cut *cut; /* [layers], of rank 0: those of other ranks have the same sizes */
    int tp, group, fill;
    bool symmetric;
};
/* Blocks, scales, zero points and columns of a layer of which `count` features are chosen, in all ranks together. */
size_t choice_layer_bytes(const struct choice_sizes *sizes, int layer, int count);
/* The same of all layers; count [layers]. */
size_t choice_bytes(const struct choice_sizes *sizes, const int *count);
/* Weights of all layers in all ranks: what bits per weight are counted over. */
size_t choice_weights(const struct choice_sizes *sizes);

/* Sets count [layers]: how many features of a layer are chosen. Uniform: round(n * share) of every layer; else those of
 * the first floor(total * share) in the order. */
void choice_share(const struct choice_order *order, struct scheme scheme, bool uniform, int *count);
/* Those of the first `length` in the order. */
void choice_first(const struct choice_order *order, size_t length, int *count);
/* The most that fit into `bytes`: of the order the longest beginning; uniform: the largest share in per mille, which
 * goes to *per_mille. MT_USAGE with the limits if `bytes` is less than with no feature in 8 bits or more than with all;
 * `bits`: they are told in bits per weight. */
enum mt_status choice_fit(const struct choice_order *order, const struct choice_sizes *sizes, bool uniform,
                          size_t bytes, bool bits, int *count, int *per_mille);

/* What the command line asks for, and how many features of each layer that is. */
struct choice {
    char name[32]; /* "p10", "4.5 bits" */
    bool symmetric;
    int *count; /* [layers], owned */
};
/* The scheme number `index`, or what bits or bytes allow: the errors of choice_fit(). `sizes` says whether all schemes
 * are symmetric. */
enum mt_status choice_make(const struct choice_order *order, const struct choice_sizes *sizes,
                           const struct amount_options *amount, int index, struct choice *out);

/* Sets is8 [total], of all features: the first count [layers] of each layer in the order. */
void choice_mark(const struct choice_order *order, const int *count, uint8_t *is8);
/* How many features of a rank are chosen where `count` of the whole layer are. A layer that is cut along N deals them
 * out: every rank has the same number, so that none is slower and one tuned split serves all; rounded up. */
int choice_rank_count(const struct fused *layer, const struct cut *cut, int count);
/* Sets some of is8 [cut->n], which is all 0: the `rank_count` most salient of the rank, without saliences those of the
 * largest error [cut->n]. */
void choice_features(const struct choice_order *order, int layer, const struct cut *cut, int rank_count,
                     const double *error, uint8_t *is8);

#endif
