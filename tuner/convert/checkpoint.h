/* A quantised checkpoint of any format as linear layers and what is carried along. */
#ifndef MT_CONVERT_CHECKPOINT_H
#define MT_CONVERT_CHECKPOINT_H

#include "linear.h"
#include "runtime/base/status.h"
#include <jansson.h>

enum checkpoint_format { FORMAT_COMPRESSED, FORMAT_GPTQ, FORMAT_AWQ, FORMAT_MIXLLM, FORMAT_PACKED };
extern const char *const checkpoint_format_names[]; /* "compressed-tensors", "GPTQ" ... */

struct checkpoint_options {
    bool round_scales; /* scales that fp16 cannot hold are rounded, else refused */
    int gptq_version;  /* 1, 2; 0: what the checkpoint says, or its values */
};

struct checkpoint {
    enum checkpoint_format format;
    struct packed_folder packed; /* of which FORMAT_PACKED uses more than the folder */
    json_t *config;              /* config.json; NULL */
    json_t *quantization;        /* what it says of quantisation, or a file beside it; NULL */
    struct linear *linear;       /* by name */
    int count;
    size_t capacity;
    const struct tensor **carried; /* tensors that belong to no linear layer, by name */
    int carried_count;
    int dropped;      /* tensors of linear layers that only say how activations were quantised */
    int gptq_version; /* FORMAT_GPTQ: 1, 2 */
    char note[200];   /* how it was told where the checkpoint does not say it, "" */
    int64_t scales;   /* in all */
    int64_t rounded;  /* of them */
    double worst;     /* largest relative change of one */
    /* LINEAR_PACKED: the layer that was read last. */
    const struct packed_layer *unpacked;
    int8_t *q[2];
};

/* Opens `path`, finds what is quantised, and checks everything that can be wrong with it, so that what comes later does
 * not end half way. MT_USAGE with one sentence for a checkpoint that is not quantised, or not in a way that mixtune can
 * hold exactly; MT_FAILURE for a damaged one. */
enum mt_status checkpoint_open(const char *path, const struct checkpoint_options *options, struct checkpoint *out);
void checkpoint_close(struct checkpoint *from);

/* A linear layer's codes; `group`: linear->group, or where that is 0 any, as K. Release with codes_release(). One
 * thread at a time. */
enum mt_status checkpoint_read(struct checkpoint *from, const struct linear *linear, int group, struct codes *out);
/* Its bytes will not be used again. */
void checkpoint_drop(const struct linear *linear);

#endif
