/* The formats of checkpoints: each finds its linear layers among the tensors. */
#ifndef MT_CONVERT_FORMATS_H
#define MT_CONVERT_FORMATS_H

#include "checkpoint.h"

enum mt_status compressed_find(struct checkpoint *from);
/* Also tells GPTQ's v1 from v2: `version` 1, 2, or 0 for what the checkpoint says. */
enum mt_status gptq_find(struct checkpoint *from, int version);
enum mt_status awq_find(struct checkpoint *from);
enum mt_status mixllm_find(struct checkpoint *from);
enum mt_status packed_find_linears(struct checkpoint *from);
enum mt_status packed_read(struct checkpoint *from, const struct linear *linear, int group, struct codes *out);

/* ---- what they share ---- */

const char *checkpoint_path(const struct checkpoint *from);
/* The tensor NAME + `suffix`, NULL if there is none. */
const struct tensor *checkpoint_tensor(const struct checkpoint *from, const char *name, const char *suffix);
/* Whether `tensor` is called PREFIX + `suffix`; then `*length` is that of the prefix. */
bool checkpoint_suffix(const struct tensor *tensor, const char *suffix, size_t *length);
/* A new linear layer, called by the first `length` bytes of `name`. Valid until the next one. */
struct linear *checkpoint_add(struct checkpoint *from, const char *name, size_t length);
/* Its bias, if there is one. MT_USAGE if that is none. */
enum mt_status checkpoint_take_bias(const struct checkpoint *from, struct linear *linear);
/* MT_USAGE if the tensor NAME + `suffix` is not there, or has another type (TENSOR_OTHER: any of floats) or shape than
 * [a][b]. */
enum mt_status checkpoint_want(const struct checkpoint *from, const struct linear *linear, const char *suffix,
                               enum tensor_type type, int64_t a, int64_t b, const struct tensor **out);
/* Sets group and groups of a layer whose k is known, from the number of groups that its scales have and what the config
 * says (-1: nothing, 0: one). */
enum mt_status checkpoint_take_groups(const struct checkpoint *from, struct linear *linear, int64_t groups, int said);
/* MT_USAGE unless order[k] == k / group: features in the order of activations cannot be cut into groups. NULL: good. */
enum mt_status checkpoint_check_order(const struct checkpoint *from, const struct linear *linear,
                                      const struct tensor *order);

#endif
