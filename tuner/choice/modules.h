/* The linear layers of a decoder, by the names that Hugging Face's checkpoints have, and what an engine fuses of them:
 * q, k and v are one GEMM, gate and up too. */
#ifndef MT_MODULES_H
#define MT_MODULES_H

#include "runtime/base/status.h"
#include <stdbool.h>

/* Problems have no larger shapes (runtime/layer/problem.h). */
enum { MODULE_MOST = 1 << 24 };

/* A linear layer of the checkpoint, or what may be one. */
struct module {
    const char *name; /* without ".weight"; the caller's */
    int n, k;         /* output and input features; 0: it is no matrix */
};

enum module_role {
    ROLE_Q,
    ROLE_K,
    ROLE_V,
    ROLE_QKV, /* fused in the checkpoint */
    ROLE_O,
    ROLE_GATE,
    ROLE_UP,
    ROLE_GATE_UP, /* fused in the checkpoint: gate, then up */
    ROLE_DOWN,
    ROLES
};
extern const char *const role_names[ROLES]; /* "q", "k" ... */

/* A layer as an engine runs it: its features are those of its parts, one after the other. */
enum { FUSED_PARTS = 3 };
struct fused {
    char *name;  /* "model.layers.3.experts.7.gate_up" */
    char *layer; /* "experts.gate_up": the same without numbers and what is before them */
    int decoder; /* 3 */
    int n, k;
    int part_count;
    int part[FUSED_PARTS]; /* indexes of the modules */
    enum module_role role[FUSED_PARTS];
};
/* "o" and "down": tensor parallelism cuts their input features, not their output features. */
bool fused_along_k(const struct fused *layer);

enum {
    MODULE_OUTSIDE = -1, /* of no decoder layer, or a router: nobody expects it to be quantised */
    MODULE_UNKNOWN = -2, /* of a decoder layer, but with a name that is not known */
};
struct modules {
    struct fused *layer; /* by decoder layer; within one qkv, o, gate_up, down, then the experts in their order */
    int count;
    int *layer_of; /* of each module given: its index in `layer`, or MODULE_OUTSIDE or MODULE_UNKNOWN */
    int decoders;  /* 1 + the largest `decoder` */
};

/* Decoder layers are P.layers.N with any P that names no tower for images or sound; of several such P that with most
 * linear layers counts. MT_USAGE with one sentence if there is no linear layer, a part of a fused layer is missing or
 * there twice, or parts do not fit together. Release with modules_release(). */
enum mt_status modules_find(const struct module *module, int count, struct modules *out);
void modules_release(struct modules *modules);

#endif
