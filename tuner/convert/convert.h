/* Writes a quantised checkpoint in another format. */
#ifndef MT_CONVERT_H
#define MT_CONVERT_H

#include "checkpoint.h"

enum convert_to { TO_MIXTUNE, TO_PACK_QUANTIZED, TO_GPTQ };

struct convert_result {
    int layers;          /* as an engine runs them; of other formats as many as linear layers */
    int wide_scales;     /* TO_PACK_QUANTIZED: linear layers with scales that the model's bf16 cannot hold */
    int64_t weights;     /* of all linear layers */
    int64_t rows, rows8; /* their features, and those with 8 bits */
    size_t bytes;        /* of the tensors of linear layers */
    int carried;         /* tensors that are not quantised */
};

/* Packed: a file for each decoder layer; a run that was killed goes on from the first that is missing. MT_USAGE, with
 * nothing written, for what mixtune cannot hold. `options`: what decides the bytes besides the checkpoint. */
enum mt_status convert_to_packed(struct checkpoint *from, const char *out, const char *options, bool quiet,
                                 struct convert_result *result);
/* The other formats: the folder appears whole under its name; until then it is OUT.part. */
enum mt_status convert_to_foreign(struct checkpoint *from, const char *out, enum convert_to format, bool quiet,
                                  struct convert_result *result);

#endif
