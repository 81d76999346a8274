/* A linear layer of a quantised checkpoint, where its bytes are, and how they are read. */
#ifndef MT_CONVERT_LINEAR_H
#define MT_CONVERT_LINEAR_H

#include "codes.h"
#include "field.h"
#include "runtime/checkpoint/packed.h"

struct json_t;

enum linear_kind {
    LINEAR_FIELDS, /* codes and zero points are fields: compressed-tensors, GPTQ, AWQ */
    LINEAR_MIXLLM, /* numbers of any type, features in the order of `stored` */
    LINEAR_PACKED  /* part of a layer of a packed checkpoint */
};

struct linear {
    char *name; /* owned: "model.layers.3.self_attn.q_proj" */
    enum linear_kind kind;
    int n, k;
    int group, groups; /* group 0: one scale for all of K */
    int rows8;         /* features with 8 bits, 0 .. n */
    bool symmetric;    /* of features with 4 bits: their zero points are all 8, and none are kept */
    const struct tensor *codes, *scales, *zeros, *bias; /* NULL: there are none */
    struct field code, zero;                            /* LINEAR_FIELDS */
    size_t scale_row, scale_group;                      /* elements from one feature, one group, to the next */
    int *stored; /* owned, LINEAR_MIXLLM: where each feature is among the stored ones, of which the first rows8 have 8
                  * bits */
    const struct packed_layer *packed; /* LINEAR_PACKED: the layer, of which this is features first .. first + n - 1 */
    int first;
    const struct json_t *activations; /* what a config says of the inputs, NULL */
};
void linear_release(struct linear *linear);
/* Element `at` of a tensor of floats or of whole numbers up to 32 bits. */
float linear_number(const struct tensor *tensor, size_t at);
bool linear_is8(const struct linear *linear, int row); /* not LINEAR_PACKED */

/* What reading a layer has found. */
enum linear_fault {
    FAULT_NONE,
    FAULT_CODE,  /* out of range */
    FAULT_ZERO8, /* a zero point of a feature with 8 bits, which can have none */
    FAULT_ZERO4, /* not 0..15 */
    FAULT_SCALE  /* not finite, or beyond the range of fp16 */
};
struct linear_findings {
    enum linear_fault fault; /* of the first feature that has one */
    int row, at;             /* its feature; its input, or the group of inputs */
    double value;            /* of it */
    int64_t inexact;         /* scales that fp16 cannot hold exactly */
    int inexact_row, inexact_group;
    double inexact_value; /* of the first */
    double worst;         /* largest relative change of a scale */
    bool zeros_are_8;     /* of all features with 4 bits */
};
#define LINEAR_NO_FINDINGS ((struct linear_findings){.zeros_are_8 = true})
/* Adds those of `more`, other features of the same layer. */
void linear_findings_add(struct linear_findings *to, const struct linear_findings *more);

/* Reads scales and zero points of features begin .. end - 1, and adds to what was found. `codes` NULL: only for that;
 * else it is of the layer's n and k, and its group that of the layer, or any where the layer has one scale for all of
 * K. `values`: reads the codes, too. */
void linear_read(const struct linear *linear, int begin, int end, bool values, struct codes *codes,
                 struct linear_findings *findings);
/* The whole layer on all cores; not LINEAR_PACKED. Sets is8 and symmetric. */
void linear_read_all(const struct linear *linear, struct codes *codes, struct linear_findings *findings);

#endif
