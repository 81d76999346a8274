#include "hash.h"
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

/* The sources, one after the other, and where they end (sources.S). */
extern const char model_sources[], model_sources_end[];

void model_hash(const struct dev_profile *device, char out[MODEL_HASH]) {
    uint64_t words[2] = {XXH3_64bits(model_sources, (size_t)(model_sources_end - model_sources)), device->hash};
    snprintf(out, MODEL_HASH, "%016llx", (unsigned long long)XXH3_64bits(words, sizeof words));
}
