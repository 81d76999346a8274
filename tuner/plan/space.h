/* A search space: for one kernel family, the values that each knob may take.
 *
 * A space file is YAML:
 *     family: sm80
 *     values:
 *       tile_n: [64, 128]
 *       tile_m: [8, 16, 32]
 *     configs:
 *       - tile_n=256,tile_m=8,stages=3
 * The space is the Cartesian product of the values, and the configurations that are written out; a knob that is not
 * named keeps its default. A file needs only one of both. Combinations that config_allowed() refuses are left out where
 * the space is walked. */
#ifndef MT_SPACE_H
#define MT_SPACE_H

#include "runtime/family/family.h"

struct space {
    const struct family *family;
    int *values[MT_MAX_KNOBS]; /* owned; NULL where the knob keeps its default */
    uint32_t counts[MT_MAX_KNOBS];
    struct config *listed; /* owned */
    uint32_t listed_count;
};

/* `name` is a name in configs/spaces/ or a path. MT_USAGE with file, line and reason for YAML that is broken, knobs
 * that the family does not have, values that are not whole numbers and a configuration that cannot be read. */
enum mt_status space_read(const char *name, struct space *out);
void space_release(struct space *space);

/* How many there are, and each: 0 <= index < size. First the product, in which the last knob runs fastest. */
long space_size(const struct space *space);
void space_config(const struct space *space, long index, struct config *out);

/* ---- several spaces together, as a list of configurations ---- */
struct config_list {
    struct config *config;
    int count;
    size_t capacity;
    bool implied[FAMILY_COUNT]; /* by family_number(): its default is there although no space lists it */
};
void config_list_release(struct config_list *list);
void config_list_add(struct config_list *list, const struct config *config);
/* All configurations of `spaces` (names or paths, separated by commas), each once, a family's default before its
 * others. */
enum mt_status config_list_read(const char *spaces, struct config_list *out);

#endif
