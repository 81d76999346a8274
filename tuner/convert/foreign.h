/* Linear layers as other formats store them: compressed-tensors' pack-quantized, and GPTQ v2. Both have one width, one
 * group size and one kind of zero points for each linear layer. */
#ifndef MT_CONVERT_FOREIGN_H
#define MT_CONVERT_FOREIGN_H

#include "checkpoint.h"

enum foreign_format { FOREIGN_PACK_QUANTIZED, FOREIGN_GPTQ };

/* MT_USAGE with one sentence for the first linear layer that the format cannot have. */
enum mt_status foreign_check(const struct checkpoint *from, enum foreign_format format);

/* What the model's config says of its activations: TENSOR_F32, TENSOR_F16, TENSOR_BF16; F16 where it says nothing. */
enum tensor_type foreign_model_type(const struct checkpoint *from);
/* The type that a linear layer's scales get: that of the model, if it holds all of them exactly, else F16. */
enum tensor_type foreign_scale_type(const struct checkpoint *from, const struct linear *linear,
                                    enum foreign_format format);

/* Declares the tensors of a linear layer; `slot` gets their indexes. */
enum { FOREIGN_TENSORS = 5 };
void foreign_declare(struct tensor_writer *writer, const struct linear *linear, enum foreign_format format,
                     enum tensor_type scale_type, int slot[FOREIGN_TENSORS]);
/* Puts their bytes. `codes` has the group size of the layer, or one group for all of K. */
enum mt_status foreign_put(struct tensor_writer *writer, const struct linear *linear, enum foreign_format format,
                           enum tensor_type scale_type, const struct codes *codes, const int slot[FOREIGN_TENSORS]);

/* The model's config.json with the quantization_config of the format. Owned by the caller. */
json_t *foreign_config(const struct checkpoint *from, enum foreign_format format);

#endif
