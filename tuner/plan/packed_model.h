/* What a packed checkpoint (docs/packed.md) says of the work: its layers, and the splits that they have. */
#ifndef MT_PACKED_MODEL_H
#define MT_PACKED_MODEL_H

#include "model.h"
#include "tuner/splits.h"
#include <stdbool.h>

struct packed_model {
    char model[MODEL_NAME];
    int tp, group; /* of all layers */
    bool symmetric;
    struct model_layer *layer; /* each once, as "qkv"; owned, and so are the names */
    int layer_count;
    size_t capacity;
    struct split_table table; /* a line for each layer of the checkpoint */
};

/* A folder of one rank. The model is called as the index says, else as the folder. Layers of one short name whose shape
 * is not that of the first of them are called NxK, as bare shapes are. MT_USAGE if there is no packed checkpoint at
 * `path`, its layers differ in group, zero points or ranks, or a name is too long; MT_FAILURE if it is damaged. */
enum mt_status packed_model_read(const char *path, struct packed_model *out);
void packed_model_release(struct packed_model *checkpoint);

#endif
