/* What libFuzzer gives is read as the file of a software device. */
#include "given.h"
#include "runtime/softgpu/profile/profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct dev_profile *profile;
    if (!given_good(dev_profile_load(given_file(data, size), &profile)))
        return 0;
    if (!profile->name || !*profile->name || !profile->sm_count || !(profile->memory_gbs > 0))
        abort();
    dev_profile_free(profile);
    return 0;
}
