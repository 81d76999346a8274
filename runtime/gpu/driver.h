/* The functions of a CUDA driver library, real or software, looked up by the names that CUDA 12.0 and later export. */
#ifndef MT_DRIVER_H
#define MT_DRIVER_H

#include "device.h"

/* Opens the library and fills every member of `drv`. MT_NO_DEVICE when the library or one of the functions is missing,
 * MT_FAILURE when memory is short; then nothing is held. `flags` are dlopen's. */
enum mt_status driver_open(struct driver *drv, const char *path, int flags);

void driver_close(struct driver *drv);

#endif
