#include "images.h"
#include "cache.h"
#include "trusted.h"
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

const char *images_used(void) {
    const char *folder = getenv(IMAGES_VARIABLE);
    return folder && *folder ? folder : NULL;
}

/* Appends the file `nvrtc`. Who named the folder wants its images: where one cannot be trusted that is a failure, and
 * not, as with a cache, one less to look at. */
static enum mt_status read_version(const char *path, struct str *text) {
    int folder = -1, kernels = -1;
    bool found = false;
    struct str name = {0};
    enum mt_status status = trusted_folder(AT_FDCWD, images_used(), images_used(), &folder);
    str_printf(&name, "%s/" CACHE_KERNELS, images_used());
    if (status == MT_OK && folder >= 0)
        status = str_status(&name) ? MT_FAILURE : trusted_folder(folder, CACHE_KERNELS, name.data, &kernels);
    if (status == MT_OK && folder >= 0)
        status = trusted_read(folder, "nvrtc", path, 64, text, &found);
    if (status == MT_OK && !found)
        status = fail(MT_USAGE, "%s is no folder of images: it has no file nvrtc", images_used());
    if (kernels >= 0)
        close(kernels);
    if (folder >= 0)
        close(folder);
    str_release(&name);
    return status;
}

enum mt_status images_version(int *out) {
    struct str path = {0}, text = {0};
    char *end = NULL;
    *out = 0;
    str_printf(&path, "%s/nvrtc", images_used());
    enum mt_status status = str_status(&path) ? MT_FAILURE : read_version(path.data, &text);
    if (status == MT_OK) {
        const long version = strtol(str_text(&text), &end, 10);
        if (version < 1200 || version > 9990 || (*end && *end != '\n'))
            status =
                fail(MT_USAGE, "%s must hold the version of the NVRTC that made the images, such as 1300", path.data);
        else
            *out = (int)version;
    }
    str_release(&path);
    str_release(&text);
    return status;
}
