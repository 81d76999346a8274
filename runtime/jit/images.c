#include "images.h"
#include "runtime/base/file.h"
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

const char *images_used(void) {
    const char *folder = getenv(IMAGES_VARIABLE);
    return folder && *folder ? folder : NULL;
}

enum mt_status images_version(int *out) {
    struct str path = {0}, text = {0};
    char *end = NULL;
    str_printf(&path, "%s/nvrtc", images_used());
    /* A file that is there and cannot be read now is the machine's doing. */
    const bool is_folder = access(path.data, F_OK) == 0;
    enum mt_status status = file_read(path.data, &text);
    *out = status ? 0 : (int)strtol(text.data, &end, 10);
    if (status)
        status = is_folder ? status : fail_context(MT_USAGE, "%s is no folder of images", images_used());
    else if (*out < 1200 || *out > 9990 || (*end && *end != '\n'))
        status = fail(MT_USAGE, "%s must hold the version of the NVRTC that made the images, such as 1300", path.data);
    str_release(&path);
    str_release(&text);
    return status;
}
