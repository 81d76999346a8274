/* A checkpoint of Hugging Face whose weights are floats, and the linear layers in it. */
#ifndef MT_SOURCE_H
#define MT_SOURCE_H

#include "runtime/checkpoint/folder.h"
#include "tuner/choice/modules.h"

struct source {
    struct folder folder;
    struct module *module; /* of all that may be a linear layer */
    int module_count;
    struct modules modules;
    const struct tensor **weight, **bias; /* [module_count]; bias NULL: it has none */
    uint8_t *taken;                       /* [folder.count]: the tensor belongs to a layer */
};

/* MT_USAGE or MT_FAILURE with one sentence: there is no checkpoint, it is damaged, it has no linear layers that are known
 * (modules.h), or a weight or bias is no F32, F16 or BF16 of the shape that it must have. A note names what lies in
 * decoder layers and is not known. */
enum mt_status source_open(const char *path, struct source *out);
void source_close(struct source *source);

/* Bytes of the weights of all layers. */
size_t source_bytes(const struct source *source);

#endif
