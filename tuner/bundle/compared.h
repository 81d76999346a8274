/* What the winners of a bundle were compared with, and what it would cost a server never to lose: the strongest GEMM in
 * fp16 (or bf16) that was timed at the same layer and M, against the kernel and the quantisation of its activations. */
#ifndef MT_COMPARED_H
#define MT_COMPARED_H

#include "db/bundle/bundle.h"
#include "runtime/base/str.h"
#include <jansson.h>
#include <stdbool.h>

/* A winner and what stands beside it. Texts are not owned. */
struct compared_point {
    int layer, m; /* as in struct bundle_entry */
    double kernel_ns, quantize_ns, fp16_ns;
    const char *fp16;  /* family of that GEMM */
    const char *lacks; /* libraries that were not timed, as in the view `baseline`: "cublas,cublaslt" */
};

/* A time of 0 was not taken. Without that of quantising the kernel stands alone; without that of fp16 nothing is lost.
 */
bool compared_loses(const struct compared_point *point);

/* How many decoder layers of its model have this layer; 0: not known. */
typedef int compared_decoders(const struct bundle_layer *layer);

struct compared {
    const struct bundle_layer *layers;
    const struct compared_point *points; /* one for each layer and M that is in the bundle, in the order of layers */
    int layer_count, point_count;
    enum bundle_origin origin;
    compared_decoders *decoders;
};

/* Which layers lose at any of their M: the bundle has the time of fp16 at all M of those. free() it. */
bool *compared_losers(const struct compared *c);

/* Appends sentences, a line each. */
void compared_print(const struct compared *c, struct str *out);
/* The same as an object. */
json_t *compared_json(const struct compared *c);

#endif
