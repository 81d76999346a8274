#include "fit.h"
#include <string.h>

static int *knob_value(struct config *config, const char *name, size_t length) {
    for (int i = 0; i < config->family->knob_count; i++)
        if (strlen(config->family->knobs[i].name) == length && !memcmp(config->family->knobs[i].name, name, length))
            return &config->value[i];
    return NULL;
}

void config_adapt(struct config *config, const struct problem *p) {
    const bool has8 = p->rows8 > 0, has4 = p->rows8 < p->n;
    for (int i = 0; i < config->family->knob_count; i++) {
        const char *name = config->family->knobs[i].name;
        const size_t length = strlen(name);
        /* tile_n8 is tile_n for the 8-bit part of a mixed layer, blocks8 is blocks. */
        int *both = name[length - 1] == '8' ? knob_value(config, name, length - 1) : NULL;
        if (both && !(has8 && has4)) {
            if (has8 && config->value[i])
                *both = config->value[i];
            config->value[i] = config->family->knobs[i].fallback;
        }
        if (!has4 && !strcmp(name, "zero"))
            config->value[i] = config->family->knobs[i].fallback;
    }
}

bool config_fit(struct config *config, const struct problem *p, const struct device_limits *limits) {
    char reason[160];
    while (!config_allowed(config, p, limits, reason)) {
        int largest = -1;
        for (int i = 0; i < config->family->knob_count; i++)
            if (config->family->knobs[i].launch && config->value[i] > config->family->knobs[i].fallback &&
                (largest < 0 || config->value[i] > config->value[largest]))
                largest = i;
        if (largest < 0)
            return false;
        config->value[largest] /= 2;
    }
    return true;
}

struct sum_tree config_sums(const struct config *config, const struct problem *p, int sm_count) {
    struct launch_shape shape;
    config->family->shape(config, p, sm_count, &shape);
    return shape.sums;
}

static bool sums_as(const struct config *config, const struct problem *p, int sm_count, const struct sum_tree *sums) {
    const struct sum_tree own = config_sums(config, p, sm_count);
    return sum_tree_equal(&own, sums);
}

bool config_sum_as(struct config *config, const struct problem *p, int sm_count, const struct sum_tree *sums) {
    if (sums_as(config, p, sm_count, sums))
        return true;
    for (int i = 0; i < config->family->knob_count; i++)
        if (config->family->knobs[i].launch && strcmp(config->family->knobs[i].name, "raster") != 0)
            config->value[i] = config->family->knobs[i].fallback;
    int *split = knob_value(config, "split_k", strlen("split_k"));
    if (split && !sums_as(config, p, sm_count, sums))
        *split = sums->parts;
    return sums_as(config, p, sm_count, sums);
}
