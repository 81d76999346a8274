#include "run.h"
#include "runtime/base/str.h"
#include "runtime/gpu/nvml.h"

enum mt_status run_begin(struct store *store, const struct worker *worker, const char *command) {
    const struct device *dev = worker_device(worker);
    const struct store_device device = {dev->uuid, dev->name, dev->cc, dev->sm_count, dev->software};
    struct store_environment env = {.driver_version = dev->driver_version,
                                    .cublas_version = worker_cublas_version(worker),
                                    .time_model = dev->time_model};
    struct str clocks = {0}, missing = {0}, nvrtc = {0};
    char templates[33];
    enum mt_status status;
    if ((status = template_hash(templates)) || (status = nvrtc_version(&env.nvrtc_version)) ||
        (status = nvrtc_describe(&nvrtc)))
        return status;
    missing_names(worker_missing(worker), &missing);
    if (!dev->software)
        nvml_describe(dev->uuid, &clocks);
    env.template_hash = templates;
    env.nvrtc = nvrtc.data;
    env.clocks = str_text(&clocks);
    env.missing = str_text(&missing);
    status = store_begin(store, &device, &env, command);
    str_release(&nvrtc);
    str_release(&clocks);
    str_release(&missing);
    return status;
}
