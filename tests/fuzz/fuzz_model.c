/* What libFuzzer gives is read as a model's config.json, and split over GPUs. */
#include "given.h"
#include "tuner/plan/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const int ranks[] = {1, 2, 3, 8, 1024};
    struct model model;
    struct model_layer layer[MODEL_LAYERS];
    if (!given_good(model_read(given_file(data, size), &model)))
        return 0;
    for (size_t i = 0; i < sizeof ranks / sizeof *ranks; i++) {
        if (!given_good(model_layers(&model, ranks[i], layer)))
            continue;
        for (int j = 0; j < MODEL_LAYERS; j++)
            if (layer[j].n < 1 || layer[j].k < 1)
                abort();
    }
    return 0;
}
