/* What the writer and the reader of packed checkpoints share. */
#ifndef MT_PACKED_PRIVATE_H
#define MT_PACKED_PRIVATE_H

#include "packed.h"

extern const char *const packed_part_names[2]; /* "w8", "w4" */
extern const char *const packed_kind_names[PACKED_KINDS];

struct packed_shape {
    enum tensor_type type;
    int rank;
    int64_t size[4];
    size_t bytes; /* 0: the layer has no such tensor */
};
void packed_shape(const struct packed_layer *layer, int width, enum packed_kind kind, struct packed_shape *out);

#endif
