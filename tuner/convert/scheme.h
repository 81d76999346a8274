/* What the quantization_config of a checkpoint says of its linear layers. */
#ifndef MT_CONVERT_SCHEME_H
#define MT_CONVERT_SCHEME_H

#include "runtime/base/status.h"
#include <jansson.h>
#include <stdbool.h>

struct scheme_of {
    int bits;             /* 4, 8; 0: not said */
    int group;            /* along K; 0: one scale for all of K; -1: not said */
    bool asymmetric;      /* it says that there are zero points */
    const json_t *inputs; /* how activations are quantised, NULL */
};

/* compressed-tensors: of the layer called `name`, by the targets of the config's groups: its name and patterns before
 * classes, as engines do. MT_USAGE for a scheme that weights in groups cannot have. Without a config or a group that
 * fits nothing is said. */
enum mt_status scheme_compressed(const json_t *config, const char *name, struct scheme_of *out);

/* GPTQ: of all layers, with what the first of `dynamic`'s patterns that fits `name` says otherwise. MT_USAGE likewise.
 * Whether features are in another order is told by g_idx alone. */
enum mt_status scheme_gptq(json_t *config, const char *name, struct scheme_of *out);
/* AWQ: of all layers. */
enum mt_status scheme_awq(const json_t *config, struct scheme_of *out);

/* Whether `target` of a config means the layer `name`: the same name, or "re:" and a pattern of Python's re.match().
 * MT_USAGE for a pattern that cannot be understood. */
enum mt_status scheme_target(const char *target, const char *name, bool *out);

#endif
