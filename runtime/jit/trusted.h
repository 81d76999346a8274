/* Folders and files whose content is run here. Whoever can write to one decides what that is, so it must be this user's
 * or root's, and nobody else may have the right to write. Looked at is what was opened, not what bore the name a moment
 * before. */
#ifndef MT_TRUSTED_H
#define MT_TRUSTED_H

#include "runtime/base/status.h"
#include "runtime/base/str.h"

/* Opens the folder `name` in the folder `at` (or AT_FDCWD). *fd is -1 if there is none. MT_USAGE where it is not to be
 * trusted, MT_FAILURE where it cannot be opened; `path` is what the sentence calls it. The descriptor is good for
 * openat() and its like alone. */
enum mt_status trusted_folder(int at, const char *name, const char *path, int *fd);

/* Reads a plain file of at most `most` bytes, and no link, likewise. *found is false if there is none. */
enum mt_status trusted_read(int folder, const char *name, const char *path, size_t most, struct str *out, bool *found);

/* Writes `name` there as file_write_atomic() does, for its user alone to change. */
enum mt_status trusted_write(int folder, const char *name, const char *path, const void *data, size_t size);

#endif
