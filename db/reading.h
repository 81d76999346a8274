/* Databases that are only read, wherever they lie. */
#ifndef MT_READING_H
#define MT_READING_H

#include "store.h"

/* A private copy, brought up to date, gone when it is closed; consistent even while a sweep writes to the original, to
 * which nothing is ever written. MT_FAILURE with a sentence that names the file. */
enum mt_status reading_copy(const char *path, struct store **out);

/* A private database without rows. `name` is for sentences. */
enum mt_status reading_empty(const char *name, struct store **out);

#endif
